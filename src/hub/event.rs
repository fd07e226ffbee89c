//! What a plain WebSocket client's message does (contract section 5): `postMsg`, `join`, `leave`, `ping`, or in
//! `format=text` the data itself.

use core::fmt::Write;
use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use super::{By, Data, Form, Hub, Refusal, TenantId, rules::Occasion};
use crate::{
    clock::Now,
    frame::Opcode,
    key::{ClientKey, SessionKey},
    names::{RoomId, Rooms, is_reserved},
    plain::{json_string, sorted},
    sign::{Signature, Subject},
    websocket::Close,
};

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// In a text frame.
    Text(&'a str),
    /// In a binary frame.
    Binary(&'a [u8]),
}

/// A JSON client's message: an object, its values still text.
type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl Hub {
    /// A client sent a message.
    pub fn handle_message(&mut self, key: ClientKey, message: Incoming<'_>, now: Now) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        if client.socket.is_some() {
            return self.handle_frame(key, message, now);
        }
        let Some(session) = client.session else { return };
        let Some(form) = self.sessions.get(session).map(|session| session.form) else { return };
        self.stats.client_messages += 1;
        if !self.take_rate(key, 1, now) {
            self.stats.rate_limited += 1;
            self.stats.client_messages_refused += 1;
            return match form {
                Form::Json | Form::SocketIo3 | Form::SocketIo4 => {
                    self.answer(key, message.ack().as_deref(), Err(Refusal::RateExceeded))
                }
                // There is no frame in which a text client could be told.
                Form::Text => self.close(key, Close::RATE),
            };
        }
        match (form, message) {
            (Form::Text, Incoming::Text(text)) => self.say(key, session, Data::Text(text), now),
            (Form::Text, Incoming::Binary(bytes)) => self.say(key, session, Data::Binary(bytes), now),
            (_, Incoming::Binary(_)) => self.answer(key, None, Err(Refusal::BinaryNotJson)),
            (_, Incoming::Text(text)) => match serde_json::from_str::<Fields<'_>>(text) {
                Ok(fields) => self.handle_event(key, session, &fields, now),
                Err(_) => self.answer(key, None, Err(Refusal::NotJson)),
            },
        }
    }

    /// Data to all rooms the session is in.
    fn say(&mut self, client: ClientKey, key: SessionKey, data: Data<'_>, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        let (tenant, rooms) = (session.tenant, self.room_names(session));
        let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
        if self.may_spread(client, data, rooms.len(), now).is_err() {
            self.stats.client_messages_refused += 1;
            return self.close(client, Close::RATE);
        }
        if !rooms.is_empty() {
            self.publish_from(By::Session(key), tenant, &rooms, data, "");
            self.stats.posted += 1;
        }
    }

    fn handle_event(&mut self, key: ClientKey, session: SessionKey, fields: &Fields<'_>, now: Now) {
        let ack = ack(fields);
        let field = |name: &str| fields.get(name).map_or(Cow::Borrowed(""), |value| scalar(value));
        let list = || fields.get("room_ids").or(fields.get("room_id")).map_or_else(String::new, |raw| rooms(raw));
        let event = fields.get("event").map_or(Cow::Borrowed("postMsg"), |event| scalar(event));
        let Some(space) = self.sessions.get(session).map(|session| session.space) else { return };
        let (main, join) = (space == super::MAIN, self.spaces[space as usize].config.join);
        let answer = match &*event {
            "postMsg" if main => {
                let data = fields.get("data").map_or("null", |data| data.get());
                self.post_data(session, Data::Json(data), &list(), now)
            }
            "join" | "leave" if main || join => {
                let (sign, sign_type, ts) = (field("sign"), field("sign_type"), field("ts"));
                let signature = Signature::new(&sign, &sign_type, &ts);
                self.change_rooms(session, &list(), &signature, now, event == "join")
            }
            "ping" if ack.is_none() => return self.send(key, Opcode::Text, b"{\"event\":\"pong\"}"),
            "ping" => Ok(String::from("\"\"")),
            "ack" => {
                let Some(id) = ack else { return };
                return self.handle_ack(session, &id, &arguments(fields), &[]);
            }
            _ if is_reserved(&event) => Err(Refusal::UnknownEvent),
            _ => {
                let list = arguments(fields);
                let occasion = Occasion { name: &event, list: &list, attachments: &[], ack: ack.as_deref() };
                return self.apply_rule(session, &occasion, now);
            }
        };
        self.answer(key, ack.as_deref(), answer);
    }

    /// `postMsg`: to rooms of the session's own source, whether it is in them or not. The acknowledgement's data.
    pub(super) fn post_data(
        &mut self,
        key: SessionKey,
        data: Data<'_>,
        list: &str,
        now: Now,
    ) -> Result<String, Refusal> {
        if let Data::Json("null" | "\"\"") | Data::Mixed { json: "null" | "\"\"", .. } = data {
            return Err(Refusal::DataMissing);
        }
        let limits = &self.config.limits;
        let rooms = Rooms::parse(list, limits.room_id as usize, limits.rooms_per_session as usize)
            .map_err(|error| Refusal::from_name(error, Refusal::RoomMissing))?;
        let session = self.sessions.get(key).ok_or(Refusal::SourceUnknown)?;
        let (client, tenant) = (session.client, session.tenant);
        self.may_spread(client, data, rooms.iter().len(), now)?;
        let rooms: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
        let id = self.publish_from(By::Session(key), tenant, &rooms, data, "");
        self.stats.posted += 1;
        Ok(format!("{{\"id\":\"{id}\"}}"))
    }

    /// Whether a client's message may go to so many rooms: each of them counts as a message, and their copies together
    /// must not flood who is in all of them.
    fn may_spread(&mut self, client: ClientKey, data: Data<'_>, rooms: usize, now: Now) -> Result<(), Refusal> {
        if rooms > 1 && data.size() * rooms > SPREAD * self.config.limits.message as usize {
            return Err(Refusal::TooWide);
        }
        if rooms > 1 && !self.take_rate(client, rooms as u64 - 1, now) {
            self.stats.rate_limited += 1;
            return Err(Refusal::RateExceeded);
        }
        Ok(())
    }

    /// `join` and `leave`, signed as a login is, unless the namespace lets clients choose.
    pub(super) fn change_rooms(
        &mut self,
        key: SessionKey,
        list: &str,
        signature: &Signature<'_>,
        now: Now,
        join: bool,
    ) -> Result<String, Refusal> {
        let session = self.sessions.get(key).ok_or(Refusal::SourceUnknown)?;
        let free = self.spaces[session.space as usize].config.join;
        if signature.hex.is_empty() && !free {
            return Err(Refusal::ConnectSignMissing);
        }
        let rooms = self.login_rooms(list)?;
        let tenant = TenantId(session.tenant);
        let source = self.tenants[tenant.0 as usize].name.clone();
        let subject = Subject::Connect { source: &source, userid: session.identity.userid(), room_ids: list };
        if !free && !self.verify(tenant, &subject, signature, now) {
            return Err(Refusal::ConnectSignWrong);
        }
        let most = self.config.limits.rooms_per_session as usize;
        let table = &self.tenants[tenant.0 as usize].rooms[session.space as usize];
        let is_in =
            |room: &str| table.find(room).is_some_and(|index| session.rooms.iter().any(|place| place.room == index));
        let mut new = sorted(rooms.iter().map(RoomId::as_str).filter(|room| !is_in(room)).collect());
        new.dedup();
        if join && session.rooms.len() + new.len() > most {
            return Err(Refusal::RoomsTooMany(most));
        }
        for room in rooms.iter() {
            if join { self.join(key, room) } else { self.leave(key, room) }
        }
        Ok("\"\"".into())
    }

    /// Acknowledges, if that was asked for; otherwise only a refusal is said.
    pub(super) fn answer(&mut self, key: ClientKey, ack: Option<&str>, answer: Result<String, Refusal>) {
        let mut text = String::new();
        let written = match (ack, &answer) {
            (None, Ok(_)) => return,
            (Some(ack), Ok(data)) => write!(text, r#"{{"event":"ack","ack":{ack},"code":1,"msg":"","data":{data}}}"#),
            (Some(ack), Err(refusal)) => {
                let why = json_string(&refusal.text());
                write!(text, r#"{{"event":"ack","ack":{ack},"code":0,"msg":{why},"data":""}}"#)
            }
            (None, Err(refusal)) => write!(text, r#"{{"event":"sys_error","msg":{}}}"#, json_string(&refusal.text())),
        };
        written.expect("writing to memory succeeds");
        if let Err(refusal) = answer {
            self.refused_message(self.clients.get(key).and_then(|client| client.session), refusal);
        }
        self.send(key, Opcode::Text, text.as_bytes());
    }

    /// A session's message did nothing.
    pub(super) fn refused_message(&mut self, key: Option<SessionKey>, refusal: Refusal) {
        self.stats.client_messages_refused += 1;
        let socket_id = key.filter(|_| self.journal.is_on()).map(|key| self.sids.socket(key));
        let session = key.and_then(|key| self.sessions.get(key));
        self.journal.error("message", &refusal.text(), |line| {
            line.some("socket_id", socket_id.as_deref().unwrap_or_default());
            if let Some(session) = session {
                line.text("source", &self.tenants[session.tenant as usize].name);
                line.some("userid", session.identity.userid());
                line.some("username", session.identity.username());
            }
        });
    }
}

impl Incoming<'_> {
    /// The acknowledgement a JSON message asks for.
    fn ack(&self) -> Option<String> {
        let Incoming::Text(text) = self else { return None };
        ack(&serde_json::from_str(text).ok()?)
    }
}

/// The arguments of a JSON client's event as an array: `args`, or the one that is `data`.
fn arguments(fields: &Fields<'_>) -> String {
    match (fields.get("args").map(|raw| raw.get()), fields.get("data")) {
        (Some(list), _) if list.starts_with('[') => list.to_owned(),
        (_, Some(data)) => format!("[{}]", data.get()),
        _ => "[]".to_owned(),
    }
}

/// The `ack` of a message as it was written: a number or a short string.
fn ack(fields: &Fields<'_>) -> Option<String> {
    let ack = fields.get("ack")?.get();
    let scalar = ack.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    (scalar && ack.len() <= LONGEST_ACK).then(|| ack.to_owned())
}

/// Rooms as a message names them, comma separated: a string, a number, or a list of those.
pub(super) fn rooms(raw: &RawValue) -> String {
    match raw.get().starts_with('[').then(|| serde_json::from_str::<Vec<&RawValue>>(raw.get())) {
        Some(Ok(list)) => list.into_iter().map(scalar).collect::<Vec<_>>().join(","),
        _ => scalar(raw).into_owned(),
    }
}

/// A string's value, a number's text; nothing for anything else.
pub(super) fn scalar(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(text).unwrap_or_default().into(),
        Some(b'-' | b'0'..=b'9') => text.into(),
        _ => "".into(),
    }
}

/// All copies of a client's message together may be so many times as large as a message.
const SPREAD: usize = 4;
/// Bytes of an acknowledgement's name that are carried back.
const LONGEST_ACK: usize = 64;

/// `parseInt(value) == 1`, which is what the old server asked.
pub fn is_one(value: &str) -> bool {
    let value = value.trim_start();
    let value = value.strip_prefix('+').unwrap_or(value);
    let (digits, radix) = match value.strip_prefix("0x").or(value.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (value, 10),
    };
    let digits = digits.find(|c: char| !c.is_digit(radix)).map_or(digits, |end| &digits[..end]);
    digits.trim_start_matches('0') == "1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_int() {
        for one in ["1", "01", "1abc", " 1", "1.9", "0x1", "+1"] {
            assert!(is_one(one), "{one}");
        }
        for other in ["", "0", "2", "11", "true", "-1", "x1", "0x", "0x11"] {
            assert!(!is_one(other), "{other}");
        }
    }
}
