//! What a namespace's configuration makes of a client's event (contract section 8): its rules, and the pairing of users
//! with those of another namespace.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    Hub, Refusal, SpaceId,
    asks::Asker,
    client::Form,
    emission::{Emission, Target},
    event,
    inquiry::Wish,
    siblings::Reach,
};
use crate::{
    clock::{Now, Time},
    config::{Ack, Auth, Rule, Send},
    key::SessionKey,
    plain::json,
    socketio::Kind,
};

/// An event as it came from a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion<'a> {
    /// What is called.
    pub name: &'a str,
    /// Its arguments as a JSON array.
    pub list: &'a str,
    /// What belongs in place of their placeholders.
    pub attachments: &'a [Vec<u8>],
    /// The acknowledgement that the client wants.
    pub ack: Option<&'a str>,
}

impl<'a> Occasion<'a> {
    fn args(&self) -> &'a str {
        inner(self.list)
    }

    /// The event passed on as it is.
    fn emission(&self, name: &'a str) -> Emission<'a> {
        Emission { attachments: self.attachments, ..Emission::new(name, self.args()) }
    }

    /// A field of its first argument, which is an object or the text of one.
    fn field(&self, name: &str) -> String {
        let list: Vec<&RawValue> = serde_json::from_str(self.list).unwrap_or_default();
        let Some(first) = list.first() else { return String::new() };
        let text = event::scalar(first);
        let object = if first.get().starts_with('"') { &*text } else { first.get() };
        let fields: BTreeMap<std::borrow::Cow<'_, str>, &RawValue> = serde_json::from_str(object).unwrap_or_default();
        fields.get(name).map_or_else(String::new, |value| event::scalar(value).into_owned())
    }
}

impl Hub {
    /// Does what is configured for an event; without a rule nothing happens.
    pub(super) fn apply_rule(&mut self, key: SessionKey, occasion: &Occasion<'_>, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        let (space, form) = (session.space, session.form);
        let config = self.spaces[space as usize].config.clone();
        if let Some(other) = config.pairing.as_deref().and_then(|other| self.find_space(other)) {
            match occasion.name {
                "user_login" => return self.user_login(key, occasion),
                "check_app_status" => return self.check_status(key, other, occasion, now),
                name if config.forward.iter().any(|forward| forward == name) => {
                    return self.send_to_user(key, other, &occasion.emission(name), Some(&Ack::Peer), occasion, now);
                }
                _ => {}
            }
        }
        let Some(rule) = config.rule(occasion.name) else {
            self.stats.client_messages_refused += 1;
            // A server of Socket.IO without a handler says nothing either.
            if form == Form::Json && occasion.ack.is_some() {
                self.conclude(key, occasion.ack, Err(Refusal::UnknownEvent));
            }
            return;
        };
        self.stats.events += 1;
        let name = rule.rename.as_deref().unwrap_or(occasion.name);
        let emission = Emission { volatile: rule.volatile, ..occasion.emission(name) };
        match rule.send {
            Send::Drop => {}
            Send::Hook => {
                // An acknowledgement is answered once: here, or by the backend.
                let own = matches!(rule.ack, None | Some(Ack::Hook));
                self.ask_about(key, &Occasion { ack: occasion.ack.filter(|_| own), ..*occasion }, now);
            }
            Send::SelfOnly => self.send_back(key, &emission, rule, occasion, now),
            Send::User => {
                let to = rule.to.as_deref().map_or(Some(space), |to| self.find_space(to));
                if let Some(to) = to {
                    self.send_to_user(key, to, &emission, rule.ack.as_ref(), occasion, now);
                }
            }
            Send::Others => self.send_to_rooms(key, &emission, Some(key)),
            Send::Rooms => self.send_to_rooms(key, &emission, None),
            Send::Namespace => {
                let Some(tenant) = self.sessions.get(key).map(|session| session.tenant) else { return };
                self.emit_to(&self.everybody(tenant, space), &emission);
                let namespace = self.spaces[space as usize].name.clone();
                let reach = Reach::Target(&Target::Namespace);
                self.share_emission((tenant, &namespace), reach, &emission, (None, false));
            }
        }
        match (occasion.ack, &rule.ack) {
            (Some(id), Some(Ack::Echo)) => self.acknowledge(key, id, occasion.list, occasion.attachments),
            (Some(id), Some(Ack::Value(value))) => self.acknowledge(key, id, &format!("[{}]", json(value)), &[]),
            (None, _) | (_, Some(Ack::Peer | Ack::Hook) | None) => {}
        }
    }

    fn send_back(&mut self, key: SessionKey, emission: &Emission<'_>, rule: &Rule, occasion: &Occasion<'_>, now: Now) {
        let ask = match (&rule.ack, occasion.ack) {
            (Some(Ack::Peer), Some(id)) => self.asks.open(Asker::Session(key, id.into()), &[key], false, now.time),
            _ => None,
        };
        let receiver = self.receiver(key);
        self.emit_to(receiver.as_slice(), &Emission { ask, ..*emission });
    }

    /// To all who are in a room with a session, here and at siblings: each once, however many rooms they share.
    fn send_to_rooms(&mut self, key: SessionKey, emission: &Emission<'_>, except: Option<SessionKey>) {
        let Some(session) = self.sessions.get(key) else { return };
        let (tenant, space, rooms) = (session.tenant, session.space, self.room_names(session));
        let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
        if rooms.is_empty() {
            return;
        }
        self.emit_to_rooms((tenant, space), &rooms, except, emission);
        let namespace = self.spaces[space as usize].name.clone();
        self.share_emission((tenant, &namespace), Reach::Rooms(&rooms), emission, (None, false));
    }

    /// To the members of rooms that are here: each once.
    pub(super) fn emit_to_rooms(
        &mut self,
        (tenant, space): (u16, SpaceId),
        rooms: &[&str],
        except: Option<SessionKey>,
        emission: &Emission<'_>,
    ) -> usize {
        if let [room] = rooms {
            return self.emit_to_room((tenant, space, room), except, emission);
        }
        let table = &self.tenants[tenant as usize].rooms[space as usize];
        let members = rooms.iter().filter_map(|room| table.find(room)).flat_map(|index| &table.room(index).members);
        let mut members: Vec<_> = members.filter(|member| Some(member.session) != except).copied().collect();
        members.sort_unstable_by_key(|member| member.session);
        members.dedup_by_key(|member| member.session);
        let receivers: Vec<_> = members.into_iter().map(|member| (member.client, space, member.form)).collect();
        self.emit_to(&receivers, emission)
    }

    /// To the sessions of the user that the payload names, else of the sender's own; also those at siblings.
    fn send_to_user(
        &mut self,
        key: SessionKey,
        space: SpaceId,
        emission: &Emission<'_>,
        ack: Option<&Ack>,
        occasion: &Occasion<'_>,
        now: Now,
    ) {
        let mut userid = occasion.field("userId");
        if userid.is_empty() {
            userid = self.user_of(key).to_owned();
        }
        let tenant = self.tenant_there(key, space);
        let sessions = tenant.map(|tenant| self.user_sessions(tenant, space, &userid)).unwrap_or_default();
        let wanted = occasion.ack.filter(|_| ack == Some(&Ack::Peer));
        let remote = !self.siblings.known.is_empty();
        let ask = wanted
            .filter(|_| remote || !sessions.is_empty())
            .and_then(|id| self.asks.open(Asker::Session(key, id.into()), &sessions, remote, now.time));
        if wanted.is_some() && ask.is_none() && (remote || !sessions.is_empty()) {
            return self.conclude(key, wanted, Err(Refusal::NoAnswer));
        }
        let receivers: Vec<_> = sessions.iter().filter_map(|session| self.receiver(*session)).collect();
        if !receivers.is_empty() {
            self.emit_to(&receivers, &Emission { ask, ..*emission });
        }
        let namespace = self.spaces[space as usize].name.clone();
        let Some(tenant) = tenant else { return self.say_not_there(key, wanted) };
        if !receivers.is_empty() {
            if remote {
                let target = Target::User(&userid);
                let number = (ask, ask.is_some());
                self.share_emission((tenant, &namespace), Reach::Target(&target), emission, number);
            }
            return;
        }
        let wish = Wish::Reach { session: key, ack: wanted.map(Into::into), ask };
        let there = (tenant, &*namespace, &*userid);
        if self.inquire(there, wish, Some((emission, ask.is_some())), now).is_err() {
            if let Some(ask) = ask {
                self.asks.cancel(ask);
            }
            self.say_not_there(key, wanted);
        }
    }

    /// The user whom an event was for is nowhere.
    pub(super) fn say_not_there(&mut self, key: SessionKey, wanted: Option<&str>) {
        self.tell_session(key, "error_message", "{\"message\":\"未登录\"}");
        if wanted.is_some() {
            self.conclude(key, wanted, Err(Refusal::NotLoggedIn));
        }
    }

    /// `user_login`: who a session is. Where logins are signed or decided by the backend it cannot say another user.
    fn user_login(&mut self, key: SessionKey, occasion: &Occasion<'_>) {
        let userid = occasion.field("userId");
        let Some(session) = self.sessions.get(key) else { return };
        let signed = self.spaces[session.space as usize].config.auth != Auth::Open;
        let known = self.config.limits.room_id as usize >= userid.len() && !userid.is_empty();
        let right = known && (!signed || session.identity.userid() == userid);
        if right {
            self.register_user(key, &userid);
        }
        let info = format!("{{\"succeeded\":{right}}}");
        self.tell_session(key, "login_info", &info);
        if let Some(id) = occasion.ack {
            self.acknowledge(key, id, &format!("[{info}]"), &[]);
        }
    }

    /// `check_app_status`: whether a user is at the other side.
    fn check_status(&mut self, key: SessionKey, other: SpaceId, occasion: &Occasion<'_>, now: Now) {
        let mut userid = occasion.field("userId");
        if userid.is_empty() {
            userid = self.user_of(key).to_owned();
        }
        let tenant = self.tenant_there(key, other);
        let there = tenant.is_some_and(|tenant| !self.user_sessions(tenant, other, &userid).is_empty());
        let namespace = self.spaces[other as usize].name.clone();
        let wish = Wish::Status { session: key, ack: occasion.ack.map(Into::into) };
        if there || tenant.is_none_or(|tenant| self.inquire((tenant, &namespace, &userid), wish, None, now).is_err()) {
            self.say_status(key, occasion.ack, there);
        }
    }

    /// The answer to `check_app_status`.
    pub(super) fn say_status(&mut self, key: SessionKey, ack: Option<&str>, there: bool) {
        let status = format!("{{\"status\":{}}}", u8::from(there));
        self.tell_session(key, "check_app_status", &status);
        if let Some(id) = ack {
            self.acknowledge(key, id, &format!("[{status}]"), &[]);
        }
    }

    /// An event with one argument for one session.
    pub(super) fn tell_session(&mut self, key: SessionKey, name: &str, data: &str) {
        let receiver = self.receiver(key);
        self.emit_to(receiver.as_slice(), &Emission::new(name, data));
    }

    /// Somebody acknowledges an event that was passed on: its sender gets the answer.
    pub(super) fn handle_ack(&mut self, key: SessionKey, id: &str, list: &str, attachments: &[Vec<u8>]) {
        let ask = id.parse().ok().and_then(|number| self.asks.answered(number, key));
        if let Some(ask) = ask {
            self.pass_ack(ask.asker, list, attachments);
        }
    }

    /// What was answered to who asked: a session here, or one of another relay.
    pub(super) fn pass_ack(&mut self, asker: Asker, list: &str, attachments: &[Vec<u8>]) {
        match asker {
            Asker::Session(session, id) => self.acknowledge(session, &id, list, attachments),
            Asker::Relay(node, number) => self.share_ack(node, number, list, attachments),
        }
    }

    /// The answer to a session's event: a list of arguments.
    pub(super) fn acknowledge(&mut self, key: SessionKey, id: &str, list: &str, attachments: &[Vec<u8>]) {
        let Some(session) = self.sessions.get(key) else { return };
        let (client, namespace) = (session.client, self.spaces[session.space as usize].name.clone());
        match session.form {
            Form::SocketIo3 | Form::SocketIo4 => {
                self.send_packet(client, Kind::Ack, &namespace, Some(id), attachments, |out| {
                    out.extend_from_slice(list.as_bytes());
                });
            }
            Form::Json => {
                let mut text = format!("{{\"event\":\"ack\",\"ack\":{id},\"code\":1,\"msg\":\"\"").into_bytes();
                super::emission::data(&mut text, inner(list), attachments);
                text.push(b'}');
                self.send(client, crate::frame::Opcode::Text, &text);
            }
            Form::Text => {}
        }
    }

    /// What became of a session's event, in the words of relay itself: an acknowledgement if one was asked for, else a
    /// refusal only.
    pub(super) fn conclude(&mut self, key: SessionKey, ack: Option<&str>, answer: Result<String, Refusal>) {
        let Some(session) = self.sessions.get(key) else { return };
        match session.form {
            Form::SocketIo3 | Form::SocketIo4 => self.conclude_packet(key, ack, answer),
            Form::Json | Form::Text => self.answer(session.client, ack, answer),
        }
    }

    /// When [`Hub::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Time {
        self.asks.deadline().min(self.inquiry_deadline())
    }

    /// Answers what nobody has acknowledged in time.
    pub fn handle_timeout(&mut self, now: Now) {
        for ask in self.asks.expired(now.time) {
            if let Asker::Session(session, id) = ask.asker {
                self.conclude(session, Some(&id), Err(Refusal::NoAnswer));
            }
        }
        self.expire_inquiries(now.time);
    }
}

/// What stands in a JSON array, to the letter; nothing if there is nothing.
pub fn inner(list: &str) -> &str {
    let inner = list.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or_default();
    if inner.trim().is_empty() { "" } else { inner }
}
