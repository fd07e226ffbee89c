//! `refreshPage`: pages are told to load themselves again.

use super::{
    Hub, TenantId,
    emission::{Emission, Receiver},
};
use crate::key::SessionKey;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Everybody.
    All,
    /// Everybody of a tenant.
    Source(TenantId),
    /// The members of a room, in all namespaces.
    Room(TenantId, &'a str),
    /// One session, if it is that tenant's.
    Session(Option<TenantId>, &'a str),
    /// What the old server called a room: a source's name and a room's in one; or a session's name. There may be several
    /// such rooms: `ab` + `c` and `a` + `bc`.
    Prefixed(&'a str),
}

impl Hub {
    /// Queues `refreshPage` for everybody who is meant, and says how many that were here; siblings are told. Text clients
    /// have no frame for it.
    pub fn refresh(&mut self, target: Target<'_>) -> usize {
        let told = self.refresh_here(target);
        if told == 0 || !matches!(target, Target::Session(..)) {
            self.share_refresh(target);
        }
        told
    }

    /// The same without a word to siblings.
    pub(super) fn refresh_here(&mut self, target: Target<'_>) -> usize {
        let mut told: Vec<Receiver> = Vec::new();
        match target {
            Target::All | Target::Source(_) => {
                let meant = |tenant: u16| target == Target::All || target == Target::Source(TenantId(tenant));
                let sessions = self.admitted().filter(|(_, session)| meant(session.tenant));
                told.extend(sessions.map(|(_, session)| (session.client, session.space, session.form)));
            }
            Target::Room(tenant, room) => told = self.members(tenant.0, room),
            Target::Session(tenant, name) => {
                let meant = |key: &SessionKey| tenant.is_none() || self.tenant_of(*key) == tenant;
                told.extend(self.find_session(name).filter(meant).and_then(|key| self.receiver(key)));
            }
            Target::Prefixed(name) => {
                for tenant in 0..self.tenants.len() {
                    if let Some(room) = name.strip_prefix(&*self.tenants[tenant].name) {
                        told.extend(self.members(tenant as u16, room));
                    }
                }
                told.extend(self.find_session(name).and_then(|key| self.receiver(key)));
            }
        }
        self.emit_to(&told, &Emission::new("refreshPage", ""))
    }
}
