//! `refreshPage`: pages are told to load themselves again.

use super::{Hub, SpaceId, TenantId, client::Form};
use crate::{
    frame::{Opcode, Run},
    key::{ClientKey, SessionKey},
    socketio::{Kind, packet::head},
};

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Everybody.
    All,
    /// Everybody of a tenant.
    Source(TenantId),
    /// The members of a room, in all namespaces.
    Room(TenantId, &'a str),
    /// One session.
    Session(&'a str),
    /// What the old server called a room: a source's name and a room's in one; or a session's name. There may be several
    /// such rooms: `ab` + `c` and `a` + `bc`.
    Prefixed(&'a str),
}

impl Hub {
    /// Queues `refreshPage` for everybody who is meant, and says how many that were. Text clients have no frame for it.
    pub fn refresh(&mut self, target: Target<'_>) -> usize {
        let mut told: Vec<(ClientKey, SpaceId, Form)> = Vec::new();
        match target {
            Target::All | Target::Source(_) => {
                let meant = |tenant: u16| target == Target::All || target == Target::Source(TenantId(tenant));
                let sessions = self.sessions.iter().filter(|(_, session)| meant(session.tenant));
                told.extend(sessions.map(|(_, session)| (session.client, session.space, session.form)));
            }
            Target::Room(tenant, room) => self.add_members(tenant.0, room, &mut told),
            Target::Session(name) => told.extend(self.find_session(name).and_then(|key| self.session_place(key))),
            Target::Prefixed(name) => {
                for tenant in 0..self.tenants.len() {
                    if let Some(room) = name.strip_prefix(&*self.tenants[tenant].name) {
                        self.add_members(tenant as u16, room, &mut told);
                    }
                }
                told.extend(self.find_session(name).and_then(|key| self.session_place(key)));
            }
        }
        told.retain(|(.., form)| *form != Form::Text);
        // Encoded once for each namespace and form.
        let mut runs: Vec<[Option<Run>; Form::COUNT]> = vec![[None; Form::COUNT]; self.spaces.len()];
        for (client, space, form) in &told {
            let run = match runs[*space as usize][*form as usize] {
                Some(run) => run,
                None => {
                    let batch = self.turn.open();
                    let namespace = &self.spaces[*space as usize].name;
                    self.turn.push(batch, Opcode::Text, |out| encode(*form, namespace, out))
                }
            };
            runs[*space as usize][*form as usize] = Some(run);
            self.queue(*client, run);
        }
        told.len()
    }

    fn add_members(&self, tenant: u16, room: &str, told: &mut Vec<(ClientKey, SpaceId, Form)>) {
        for (space, table) in self.tenants[tenant as usize].rooms.iter().enumerate() {
            let Some(index) = table.find(room) else { continue };
            let members = table.room(index).members.iter();
            told.extend(members.map(|member| (member.client, space as SpaceId, member.form)));
        }
    }

    fn session_place(&self, key: SessionKey) -> Option<(ClientKey, SpaceId, Form)> {
        self.sessions.get(key).map(|session| (session.client, session.space, session.form))
    }
}

fn encode(form: Form, namespace: &str, out: &mut Vec<u8>) {
    match form {
        Form::Json | Form::Text => out.extend_from_slice(b"{\"event\":\"refreshPage\"}"),
        Form::SocketIo3 | Form::SocketIo4 => {
            out.push(b'4');
            head(out, Kind::Event, 0, namespace, None);
            out.extend_from_slice(b"[\"refreshPage\"]");
        }
    }
}
