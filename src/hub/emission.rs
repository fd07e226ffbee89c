//! An event on its way to sessions, and how each form of client gets it.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json, value::RawValue};

use super::{
    Hub, Opcode, Run, SpaceId, TenantId,
    broadcast::string,
    client::Form,
    siblings::Reach,
    socketio::{MOST_ATTACHMENTS, attachment},
};
use crate::{
    engineio::Revision,
    frame::Turn,
    key::{ClientKey, SessionKey},
    plain::json,
    socketio::{Kind, packet::head, placeholder},
};

/// An event as it is passed on: its arguments stay the text they were.
#[derive(Clone, Copy, Debug)]
pub struct Emission<'a> {
    /// What is called.
    pub name: &'a str,
    /// The arguments, with commas between them and nothing around.
    pub args: &'a str,
    /// What belongs in place of their placeholders.
    pub attachments: &'a [Vec<u8>],
    /// The number under which receivers may acknowledge it.
    pub ask: Option<u64>,
    /// Whether it is dropped for who has not yet read what came before.
    pub volatile: bool,
}

/// Where an event goes: a client, and its session's namespace and form.
pub type Receiver = (ClientKey, SpaceId, Form);

impl<'a> Emission<'a> {
    /// An event with these arguments.
    pub fn new(name: &'a str, args: &'a str) -> Emission<'a> {
        Emission { name, args, attachments: &[], ask: None, volatile: false }
    }

    /// Whether clients of that form have a frame for it: text clients have none for events, and JSON clients would take
    /// these for answers of relay.
    fn is_for(&self, form: Form) -> bool {
        match form {
            Form::Text => false,
            Form::Json => !["ack", "pong"].contains(&self.name),
            Form::SocketIo3 | Form::SocketIo4 => true,
        }
    }

    /// Appends the frames that carry it in a form: one, and in Socket.IO one more for each attachment.
    fn frames(&self, form: Form, namespace: &str, turn: &mut Turn, batch: u32) -> Run {
        let mut run = turn.push(batch, Opcode::Text, |out| self.encode(form, namespace, out));
        let revision = match form {
            Form::Json | Form::Text => return run,
            Form::SocketIo3 => Revision::V3,
            Form::SocketIo4 => Revision::V4,
        };
        for bytes in self.attachments {
            run.end = turn.push(batch, Opcode::Binary, |out| attachment(out, revision, bytes)).end;
        }
        run
    }

    fn encode(&self, form: Form, namespace: &str, out: &mut Vec<u8>) {
        let ask = self.ask.map(|ask| ask.to_string());
        match form {
            Form::Json | Form::Text => {
                out.extend_from_slice(b"{\"event\":");
                string(out, self.name);
                data(out, self.args, self.attachments);
                if let Some(ask) = ask {
                    out.extend_from_slice(format!(",\"ack\":{ask}").as_bytes());
                }
                out.push(b'}');
            }
            Form::SocketIo3 | Form::SocketIo4 => {
                out.push(b'4');
                head(out, Kind::Event, self.attachments.len(), namespace, ask.as_deref());
                out.push(b'[');
                string(out, self.name);
                if !self.args.is_empty() {
                    out.push(b',');
                    out.extend_from_slice(self.args.as_bytes());
                }
                out.push(b']');
            }
        }
    }
}

/// Appends arguments as fields of a JSON client's object: one as `data`, several as `args`, none not at all.
pub(super) fn data(out: &mut Vec<u8>, args: &str, attachments: &[Vec<u8>]) {
    if args.is_empty() {
        return;
    }
    let one = serde_json::from_str::<&RawValue>(args).is_ok();
    out.extend_from_slice(if one { b",\"data\":" } else { b",\"args\":[" });
    match attachments {
        [] => out.extend_from_slice(args.as_bytes()),
        _ => placeholder::replace(args, out, |number, out| {
            super::broadcast::base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
        }),
    }
    if !one {
        out.push(b']');
    }
}

impl Hub {
    /// Queues an event for each of these; how many will get it. Text clients have no frame for events.
    pub(super) fn emit_to(&mut self, receivers: &[Receiver], emission: &Emission<'_>) -> usize {
        let mut runs: Vec<((SpaceId, Form), Run)> = Vec::new();
        let mut reached = 0;
        for (client, space, form) in receivers {
            if !emission.is_for(*form) || !self.may_get(*client, emission) {
                continue;
            }
            let known = runs.iter().find(|(known, _)| *known == (*space, *form)).map(|(_, run)| *run);
            let run = known.unwrap_or_else(|| {
                let batch = self.turn.open();
                let run = emission.frames(*form, &self.spaces[*space as usize].name, &mut self.turn, batch);
                runs.push(((*space, *form), run));
                run
            });
            self.queue(*client, run);
            reached += 1;
        }
        self.stats.emitted += reached as u64;
        reached
    }

    /// The same for the members of a room in a namespace, but not for `except`. What a room gets in a turn lies together,
    /// so that who gets all of it is written to in one piece.
    pub(super) fn emit_to_room(
        &mut self,
        (tenant, space, room): (u16, SpaceId, &str),
        except: Option<SessionKey>,
        emission: &Emission<'_>,
    ) -> usize {
        let table = &mut self.tenants[tenant as usize].rooms[space as usize];
        let Some(index) = table.find(room) else { return 0 };
        let members = core::mem::take(&mut table.room_mut(index).members);
        let mut runs = [None::<Run>; Form::COUNT];
        let mut reached = 0;
        for member in &members {
            if Some(member.session) == except || !emission.is_for(member.form) || !self.may_get(member.client, emission)
            {
                continue;
            }
            let form = member.form;
            let run = *runs[form as usize].get_or_insert_with(|| {
                let room = self.tenants[tenant as usize].rooms[space as usize].room_mut(index);
                let batch = room.batches.of(form, &mut self.turn);
                emission.frames(form, &self.spaces[space as usize].name, &mut self.turn, batch)
            });
            self.queue(member.client, run);
            reached += 1;
        }
        self.tenants[tenant as usize].rooms[space as usize].room_mut(index).members = members;
        self.stats.emitted += reached as u64;
        reached
    }

    /// Whether an event is for who keeps up, and this client does.
    fn may_get(&mut self, client: ClientKey, emission: &Emission<'_>) -> bool {
        let Some(client) = self.clients.get(client).filter(|client| !client.ending) else { return false };
        let dropped = emission.volatile && client.outbox.is_behind();
        self.stats.volatile_dropped += u64::from(dropped);
        !dropped
    }

    /// A session as a receiver.
    pub(super) fn receiver(&self, key: SessionKey) -> Option<Receiver> {
        self.sessions.get(key).map(|session| (session.client, session.space, session.form))
    }

    /// Everybody of a tenant in a namespace.
    pub(super) fn everybody(&self, tenant: u16, space: SpaceId) -> Vec<Receiver> {
        let there = self.admitted().filter(|(_, session)| session.tenant == tenant && session.space == space);
        there.map(|(_, session)| (session.client, space, session.form)).collect()
    }

    /// The members of a room in all namespaces.
    pub(super) fn members(&self, tenant: u16, room: &str) -> Vec<Receiver> {
        let tables = self.tenants[tenant as usize].rooms.iter().enumerate();
        let found = tables.filter_map(|(space, table)| Some((space as SpaceId, table.room(table.find(room)?))));
        found
            .flat_map(|(space, room)| room.members.iter().map(move |member| (member.client, space, member.form)))
            .collect()
    }

    /// An event from a backend; how many sessions of this relay get it. Siblings are told.
    pub fn emit(&mut self, tenant: TenantId, namespace: &str, target: &Target<'_>, emission: &Emission<'_>) -> usize {
        let Some(space) = self.find_space(namespace) else { return 0 };
        let reached = self.emit_here(tenant, space, target, emission);
        // A session that was found is nowhere else.
        if reached == 0 || !matches!(target, Target::Session(_)) {
            self.share_emission((tenant.0, namespace), Reach::Target(target), emission, (None, false));
        }
        reached
    }

    /// The same without a word to siblings.
    pub(super) fn emit_here(
        &mut self,
        tenant: TenantId,
        space: SpaceId,
        target: &Target<'_>,
        emission: &Emission<'_>,
    ) -> usize {
        match target {
            Target::Room(room) => self.emit_to_room((tenant.0, space, room), None, emission),
            Target::Namespace => self.emit_to(&self.everybody(tenant.0, space), emission),
            Target::User(userid) => {
                let sessions = self.user_sessions(tenant.0, space, userid);
                let receivers: Vec<_> = sessions.iter().filter_map(|key| self.receiver(*key)).collect();
                self.emit_to(&receivers, emission)
            }
            Target::Session(name) => {
                let own = |key: &SessionKey| self.sessions.get(*key).is_some_and(|session| session.tenant == tenant.0);
                let receiver = self.find_session(name).filter(own).and_then(|key| self.receiver(key));
                self.emit_to(receiver.as_slice(), emission)
            }
        }
    }
}

impl Hub {
    /// The same with arguments as a backend writes them: bytes are `{"_base64":"…"}`, which clients of Socket.IO get as
    /// bytes.
    pub fn emit_json(
        &mut self,
        tenant: TenantId,
        namespace: &str,
        target: &Target<'_>,
        event: &str,
        args: &str,
    ) -> usize {
        let (args, attachments) = unpack(args);
        self.emit(tenant, namespace, target, &Emission { attachments: &attachments, ..Emission::new(event, &args) })
    }

    /// Whether there is such a namespace.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.find_space(name).is_some()
    }
}

/// Arguments with placeholders in place of `{"_base64":"…"}`, and the bytes. What has none stays the text it was.
pub(super) fn unpack(args: &str) -> (Cow<'_, str>, Vec<Vec<u8>>) {
    if !args.contains("\"_base64\"") {
        return (args.into(), Vec::new());
    }
    let Ok(mut values) = serde_json::from_str::<Vec<Value>>(&format!("[{args}]")) else {
        return (args.into(), Vec::new());
    };
    // Who says that he is a placeholder is not put beside real ones.
    if values.iter().any(|value| placeholder::marked(value) > 0) {
        return (args.into(), Vec::new());
    }
    let mut attachments = Vec::new();
    values.iter_mut().for_each(|value| take_bytes(value, &mut attachments));
    let list: Vec<String> = values.iter().map(json).collect();
    (list.join(",").into(), attachments)
}

fn take_bytes(value: &mut Value, attachments: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| take_bytes(value, attachments)),
        Value::Object(fields) => {
            let text = fields.get("_base64").and_then(Value::as_str).filter(|_| fields.len() == 1);
            let bytes = text.and_then(|text| BASE64.decode(text).ok());
            match bytes.filter(|_| attachments.len() < MOST_ATTACHMENTS) {
                Some(bytes) => {
                    *value = json!({"_placeholder": true, "num": attachments.len()});
                    attachments.push(bytes);
                }
                None => fields.values_mut().for_each(|value| take_bytes(value, attachments)),
            }
        }
        _ => {}
    }
}

/// Whom a backend means, in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The members of a room.
    Room(&'a str),
    /// The sessions of a user.
    User(&'a str),
    /// One session by its name, whatever namespace it is in.
    Session(&'a str),
    /// Everybody of the tenant.
    Namespace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_backends() {
        assert_eq!(unpack("1, {\"b\": 1.0, \"a\":2}"), ("1, {\"b\": 1.0, \"a\":2}".into(), vec![]));
        let (args, bytes) = unpack("[{\"_base64\":\"AP8=\"}],{\"_base64\":\"%\"},{\"_base64\":\"AA==\",\"x\":1}");
        let expected = "[{\"_placeholder\":true,\"num\":0}],{\"_base64\":\"%\"},{\"_base64\":\"AA==\",\"x\":1}";
        let parse = |text: &str| serde_json::from_str::<Value>(&format!("[{text}]")).unwrap();
        assert_eq!((parse(&args), bytes), (parse(expected), vec![vec![0, 255]]));
    }

    #[test]
    fn forms() {
        let encode = |emission: &Emission<'_>, form| {
            let mut out = Vec::new();
            emission.encode(form, "/n", &mut out);
            String::from_utf8(out).unwrap()
        };
        let one = Emission::new("a\"b", "{\"x\": 1.0}");
        assert_eq!(encode(&one, Form::Json), "{\"event\":\"a\\\"b\",\"data\":{\"x\": 1.0}}");
        assert_eq!(encode(&one, Form::SocketIo4), "42/n,[\"a\\\"b\",{\"x\": 1.0}]");
        let several = Emission { ask: Some(7), ..Emission::new("e", "1, [2]") };
        assert_eq!(encode(&several, Form::Json), "{\"event\":\"e\",\"args\":[1, [2]],\"ack\":7}");
        assert_eq!(encode(&several, Form::SocketIo3), "42/n,7[\"e\",1, [2]]");
        assert_eq!(encode(&Emission::new("e", ""), Form::Json), "{\"event\":\"e\"}");
        assert_eq!(encode(&Emission::new("e", ""), Form::SocketIo4), "42/n,[\"e\"]");
        let attachments = [vec![0, 255]];
        let args = "{\"_placeholder\":true,\"num\":0}";
        let binary = Emission { attachments: &attachments, ..Emission::new("e", args) };
        assert_eq!(encode(&binary, Form::Json), "{\"event\":\"e\",\"data\":{\"_base64\":\"AP8=\"}}");
        assert_eq!(encode(&binary, Form::SocketIo4), format!("451-/n,[\"e\",{args}]"));
    }
}
