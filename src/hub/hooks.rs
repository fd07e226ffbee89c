//! What the business backend is told, and what its answers do (contract section 9).

use std::{borrow::Cow, collections::BTreeMap, mem};

use serde_json::value::RawValue;

use super::{
    Effect, Hub, Refusal, Session, SpaceId,
    broadcast::{base64, string},
    client::{Form, Identity},
    emission::{Emission, Target, unpack},
    event,
    journal::Line,
    rules::Occasion,
};
use crate::{
    clock::Now,
    config::Auth,
    hooks::{Call, Failure, Kind},
    http::Fields,
    key::{ClientKey, SessionKey},
    names::{Rooms, is_reserved},
    socketio::placeholder,
    websocket::Close,
};

/// Calls whose answers are awaited, and those that are to be sent.
#[derive(Default)]
pub struct Asking {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    outbox: Vec<Call>,
}

impl Asking {
    /// Whether there are calls to be sent.
    pub fn has_calls(&self) -> bool {
        !self.outbox.is_empty()
    }
}

enum Waiting {
    /// A session that is not let in yet, the rooms it wants, and what it said.
    Connect(Box<Connecting>),
    /// An event, whose acknowledgement somebody may want.
    Message {
        session: SessionKey,
        ack: Option<Box<str>>,
    },
    Disconnect,
}

struct Connecting {
    session: SessionKey,
    lane: (ClientKey, SpaceId),
    rooms: Vec<Box<str>>,
    auth: Box<str>,
    /// What is told if it has gone by the time that it is let in, all but the end.
    farewell: Vec<u8>,
}

impl Hub {
    /// Calls that are to be sent; say what came of each with [`Hub::handle_answer`].
    pub fn take_calls(&mut self) -> Vec<Call> {
        mem::take(&mut self.asking.outbox)
    }

    /// Whether the backend is told of such events of a namespace.
    pub(super) fn tells(&self, space: SpaceId, event: &str) -> bool {
        let hooks = &self.config.hooks;
        self.spaces[space as usize].config.uses_hooks()
            && hooks.url.is_some()
            && hooks.events.iter().any(|known| known == event)
    }

    /// Asks whether a session may come in: it waits, unseen.
    pub(super) fn ask_to_connect(
        &mut self,
        key: SessionKey,
        rooms: Option<&Rooms<'_>>,
        query: &str,
        auth: &str,
        now: Now,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.pending = true;
        let lane = (session.client, session.space);
        let rooms: Vec<Box<str>> =
            rooms.iter().flat_map(|rooms| rooms.iter()).map(|room| room.as_str().into()).collect();
        let names: Vec<&str> = rooms.iter().map(|room| &**room).collect();
        let mut body = self.begin_body(key, "connect", &names, now);
        body.extend_from_slice(b",\"query\":{");
        let fields = Fields::parse(query.as_bytes());
        let mut known: Vec<&str> = Vec::new();
        for (name, value) in fields.iter() {
            // A signature is nobody else's business.
            if name == "sign" || known.contains(&name) || known.len() >= MOST_QUERY {
                continue;
            }
            if !known.is_empty() {
                body.push(b',');
            }
            known.push(name);
            string(&mut body, name);
            body.push(b':');
            string(&mut body, value);
        }
        body.extend_from_slice(b"},\"auth\":");
        body.extend_from_slice(if auth.is_empty() { b"null" } else { auth.as_bytes() });
        let farewell = self.begin_body(key, "disconnect", &names, now);
        let connecting = Connecting { session: key, lane, auth: auth.into(), farewell, rooms: rooms.clone() };
        self.call(lane, Kind::Connect, body, Waiting::Connect(connecting.into()));
    }

    /// Passes an event on to the backend.
    pub(super) fn ask_about(&mut self, key: SessionKey, occasion: &Occasion<'_>, now: Now) {
        if !self.tells_messages() {
            return self.conclude(key, occasion.ack, Err(Refusal::UnknownEvent));
        }
        let Some(session) = self.sessions.get(key) else { return };
        let lane = (session.client, session.space);
        let rooms = self.room_names(session);
        let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
        let mut body = self.begin_body(key, "message", &rooms, now);
        body.extend_from_slice(b",\"name\":");
        string(&mut body, occasion.name);
        body.extend_from_slice(b",\"args\":");
        match occasion.attachments {
            [] => body.extend_from_slice(occasion.list.as_bytes()),
            attachments => placeholder::replace(occasion.list, &mut body, |number, out| {
                base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
            }),
        }
        let waiting = Waiting::Message { session: key, ack: occasion.ack.map(Into::into) };
        self.call(lane, Kind::Message, body, waiting);
    }

    fn tells_messages(&self) -> bool {
        let hooks = &self.config.hooks;
        hooks.url.is_some() && hooks.events.iter().any(|known| known == "message")
    }

    /// Tells that a session is over; it is still there, to be described.
    pub(super) fn tell_of_end(&mut self, key: SessionKey, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        if !self.tells(session.space, "disconnect") {
            return;
        }
        let lane = (session.client, session.space);
        let rooms = self.room_names(session);
        let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
        let body = self.begin_body(key, "disconnect", &rooms, now);
        self.call(lane, Kind::Disconnect, body, Waiting::Disconnect);
    }

    /// The fields that every call has.
    fn begin_body(&self, key: SessionKey, event: &'static str, rooms: &[&str], now: Now) -> Vec<u8> {
        let mut body = b"{".to_vec();
        let Some(session) = self.sessions.get(key) else { return body };
        let socket_id = self.sids.socket(key);
        let mut line = Line::within(&mut body);
        line.text("event", event);
        line.text("nsp", &self.spaces[session.space as usize].name);
        line.text("socket_id", &socket_id);
        line.text("source", &self.tenants[session.tenant as usize].name);
        line.text("userid", self.user_of(key));
        line.text("username", session.identity.username());
        match session.identity.ip() {
            Some(ip) => line.text("ip", &ip.to_string()),
            None => line.text("ip", ""),
        }
        line.shown("ts", now.unix);
        body.extend_from_slice(b",\"rooms\":[");
        for (index, room) in rooms.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            string(&mut body, room);
        }
        body.push(b']');
        body
    }

    fn call(&mut self, lane: (ClientKey, SpaceId), kind: Kind, mut body: Vec<u8>, waiting: Waiting) {
        self.last_id = self.last_id.next();
        let id = self.last_id.to_string();
        body.extend_from_slice(format!(",\"id\":\"{id}\"}}").as_bytes());
        let body = String::from_utf8(body).expect("made of text");
        self.asking.last += 1;
        let number = self.asking.last;
        self.asking.waiting.insert(number, waiting);
        self.asking.outbox.push(Call { number, lane, kind, id: id.into(), body: body.into() });
    }

    /// What came of a call.
    pub fn handle_answer(&mut self, number: u64, result: Result<Vec<u8>, Failure>, now: Now) {
        let Some(waiting) = self.asking.waiting.remove(&number) else { return };
        let text = result.map(|body| String::from_utf8(body).unwrap_or_default());
        let parsed = text.as_ref().map(|text| Answer::parse(text).unwrap_or_default());
        match waiting {
            Waiting::Disconnect => {}
            Waiting::Connect(connecting) => self.decide(*connecting, parsed, now),
            Waiting::Message { session, ack } => match parsed {
                Ok(answer) => {
                    if let (Some(id), Some(list)) = (&ack, answer.ack) {
                        let (args, attachments) = unpack(super::rules::inner(list));
                        self.acknowledge(session, id, &format!("[{args}]"), &attachments);
                    }
                    self.obey(session, &answer, now);
                }
                Err(failure) => self.conclude(session, ack.as_deref(), Err(refusal(failure))),
            },
        }
    }

    /// Lets a session in that waited for it, or not.
    fn decide(&mut self, connecting: Connecting, answer: Result<Answer<'_>, &Failure>, now: Now) {
        let Connecting { session: key, lane, rooms, auth, farewell } = connecting;
        let allowed = match &answer {
            Ok(answer) => answer.allow && !answer.disconnect,
            Err(_) => self.config.hooks.allow_on_failure,
        };
        let Some(session) = self.sessions.get_mut(key) else {
            // It has gone in the meantime; who was told of its coming is told of its going.
            if allowed && answer.is_ok() && self.tells(lane.1, "disconnect") {
                self.call(lane, Kind::Disconnect, farewell, Waiting::Disconnect);
            }
            return;
        };
        let client = session.client;
        if !allowed {
            let why = match &answer {
                Ok(answer) => answer.error.as_deref().unwrap_or("not allowed!").to_owned(),
                Err(failure) => refusal(failure).text().into_owned(),
            };
            let namespace = self.spaces[lane.1 as usize].name.clone();
            self.forget_pending(key);
            self.stats.logins_refused += 1;
            self.journal.error("connect", &why, |line| line.cut("nsp", &namespace));
            return self.refuse_pending(client, key, &namespace, &why, now);
        }
        session.pending = false;
        if let Ok(answer) = &answer
            && (answer.userid.is_some() || answer.username.is_some())
        {
            rename(session, answer);
        }
        let userid = session.identity.userid().to_owned();
        // The rooms it asked for are its own if it signed them, or if the namespace says so.
        let config = &self.spaces[lane.1 as usize].config;
        let own = config.auth == Auth::Sign || config.join;
        for room in rooms.iter().filter(|_| own) {
            if let Ok(list) = Rooms::parse(room, room.len(), 1) {
                list.iter().for_each(|room| self.join(key, room));
            }
        }
        self.let_in(key, &userid, now);
        self.greet(client, key, &auth, now);
        if let Ok(answer) = &answer {
            self.obey(key, answer, now);
        }
    }

    /// Takes a session out that nobody has seen.
    fn forget_pending(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.remove(key) {
            self.agents.release(session.identity.into_agent());
        }
    }

    /// Does what an answer says, in the name of a session.
    fn obey(&mut self, key: SessionKey, answer: &Answer<'_>, now: Now) {
        for room in &answer.leave {
            if let Ok(list) = Rooms::parse(room, room.len(), 0) {
                list.iter().for_each(|room| self.leave(key, room));
            }
        }
        let limits = self.config.limits.clone();
        for room in &answer.join {
            let Ok(list) = Rooms::parse(room, limits.room_id as usize, 0) else { continue };
            for room in list.iter() {
                let few = self
                    .sessions
                    .get(key)
                    .is_some_and(|session| (session.rooms.len() as u64) < limits.rooms_per_session);
                if few {
                    self.join(key, room);
                }
            }
        }
        for emit in &answer.emit {
            self.obey_emit(key, emit);
        }
        if answer.disconnect {
            self.expel(key, Close::OPERATOR, now);
        }
    }

    fn obey_emit(&mut self, key: SessionKey, emit: &Emit<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let (tenant, space) = (session.tenant, session.space);
        let (args, attachments) = unpack(emit.args);
        let emission = Emission { attachments: &attachments, ..Emission::new(&emit.event, &args) };
        let own = self.spaces[space as usize].name.clone();
        let namespace = emit.nsp.as_deref().unwrap_or(&own);
        let Some(there) = self.find_space(namespace) else { return };
        let tenant = if there == space { Some(tenant) } else { self.tenant_there(key, there) };
        let Some(tenant) = tenant.map(super::TenantId) else { return };
        match &emit.to {
            To::Oneself => {
                let receiver = self.receiver(key);
                self.emit_to(receiver.as_slice(), &emission);
            }
            To::Room(room) => drop(self.emit(tenant, namespace, &Target::Room(room), &emission)),
            To::User(user) => drop(self.emit(tenant, namespace, &Target::User(user), &emission)),
            To::Socket(name) => drop(self.emit(tenant, namespace, &Target::Session(name), &emission)),
            To::Namespace => drop(self.emit(tenant, namespace, &Target::Namespace, &emission)),
        }
    }

    /// Tells a client that it is in.
    fn greet(&mut self, client: ClientKey, key: SessionKey, auth: &str, now: Now) {
        match self.sessions.get(key).map(|session| session.form) {
            Some(Form::SocketIo3 | Form::SocketIo4) => self.greet_packet(client, key, auth, now),
            Some(Form::Json | Form::Text) => {
                self.effects.push_back(Effect::Admit { client });
                self.welcome(key, "{}");
            }
            None => {}
        }
    }

    /// Tells a client that it is not let in, and why.
    fn refuse_pending(&mut self, client: ClientKey, key: SessionKey, namespace: &str, why: &str, now: Now) {
        if self.is_socketio(client) {
            self.drop_session(client, key, now);
            self.count_refusal(client);
            if let Some(revision) = self.engine_mut(client).map(|engine| engine.revision) {
                self.refuse(client, revision, namespace, why);
            }
        } else {
            self.effects.push_back(Effect::Refuse { client, why: why.into() });
        }
    }
}

/// Whether the bytes are an answer.
pub fn makes_sense(body: &[u8]) -> bool {
    core::str::from_utf8(body).is_ok_and(|text| Answer::parse(text).is_some())
}

fn refusal(failure: &Failure) -> Refusal {
    match failure {
        Failure::Busy => Refusal::BackendBusy,
        Failure::Down(_) => Refusal::BackendDown,
    }
}

/// The backend knows better who this is.
fn rename(session: &mut Session, answer: &Answer<'_>) {
    let identity = &session.identity;
    let cut = |text: &str| text[..text.floor_char_boundary(super::login::LONGEST_NAME)].to_owned();
    let userid = answer.userid.as_deref().map_or_else(|| identity.userid().to_owned(), cut);
    let username = answer.username.as_deref().map_or_else(|| identity.username().to_owned(), cut);
    let (agent, ip, since) = (identity.agent().clone(), identity.ip(), identity.since());
    let renamed = Identity::new(&userid, &username, identity.ext_info(), agent, ip, since);
    // The agent is counted by who holds it: the old identity lets go of it.
    session.identity = renamed;
}

/// What the backend says.
#[derive(Default)]
struct Answer<'a> {
    allow: bool,
    error: Option<String>,
    userid: Option<String>,
    username: Option<String>,
    /// A list of arguments.
    ack: Option<&'a str>,
    emit: Vec<Emit<'a>>,
    join: Vec<String>,
    leave: Vec<String>,
    disconnect: bool,
}

struct Emit<'a> {
    event: String,
    /// Without brackets.
    args: &'a str,
    to: To,
    nsp: Option<String>,
}

enum To {
    Oneself,
    Room(String),
    User(String),
    Socket(String),
    Namespace,
}

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl<'a> Answer<'a> {
    /// Reads an answer; nothing if it makes no sense. An empty one says yes to everything and no more.
    fn parse(text: &'a str) -> Option<Answer<'a>> {
        let mut answer = Answer { allow: true, ..Answer::default() };
        if text.trim().is_empty() {
            return Some(answer);
        }
        let fields: Object<'a> = serde_json::from_str(text).ok()?;
        for (name, value) in fields {
            let raw = value.get();
            match &*name {
                "allow" if raw == "null" => answer.allow = false,
                _ if raw == "null" => {}
                "allow" => answer.allow = serde_json::from_str(raw).ok()?,
                "error" if !text.contains("\"allow\"") => {
                    // Who says what is wrong does not mean yes.
                    answer.allow = false;
                    answer.error = Some(event::scalar(value).into_owned());
                }
                "disconnect" => answer.disconnect = serde_json::from_str(raw).ok()?,
                "error" => answer.error = Some(event::scalar(value).into_owned()),
                "userid" => answer.userid = Some(event::scalar(value).into_owned()),
                "username" => answer.username = Some(event::scalar(value).into_owned()),
                "ack" => {
                    serde_json::from_str::<Vec<&RawValue>>(raw).ok()?;
                    answer.ack = Some(raw);
                }
                "join" => answer.join = names(value)?,
                "leave" => answer.leave = names(value)?,
                "emit" => {
                    let list: Vec<&'a RawValue> = match raw.starts_with('[') {
                        true => serde_json::from_str(raw).ok()?,
                        false => vec![value],
                    };
                    answer.emit = list.into_iter().map(Emit::parse).collect::<Option<_>>()?;
                }
                _ => {}
            }
        }
        Some(answer)
    }
}

impl<'a> Emit<'a> {
    fn parse(value: &'a RawValue) -> Option<Emit<'a>> {
        let fields: Object<'a> = serde_json::from_str(value.get()).ok()?;
        let event = fields.get("event").map(|name| event::scalar(name).into_owned())?;
        let args = match fields.get("args").map(|args| args.get()) {
            None => "",
            Some(list) => {
                serde_json::from_str::<Vec<&RawValue>>(list).ok()?;
                super::rules::inner(list)
            }
        };
        if event.is_empty() || is_reserved(&event) {
            return None;
        }
        let (mut to, mut nsp) = (To::Oneself, None);
        match fields.get("to").map(|to| to.get()) {
            None | Some("\"self\"" | "null") => {}
            Some(object) => {
                let fields: Object<'_> = serde_json::from_str(object).ok()?;
                let text = |name: &str| fields.get(name).map(|value| event::scalar(value).into_owned());
                nsp = text("nsp");
                to = match (text("room"), text("user"), text("socket_id")) {
                    (Some(room), None, None) => To::Room(room),
                    (None, Some(user), None) => To::User(user),
                    (None, None, Some(socket)) => To::Socket(socket),
                    (None, None, None) if nsp.is_some() => To::Namespace,
                    _ => return None,
                };
            }
        }
        Some(Emit { event, args, to, nsp })
    }
}

/// A name or a list of names.
fn names(value: &RawValue) -> Option<Vec<String>> {
    match value.get().starts_with('[') {
        true => {
            let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            Some(list.into_iter().map(|name| event::scalar(name).into_owned()).collect())
        }
        false => Some(vec![event::scalar(value).into_owned()]),
    }
}

/// Fields of a query that are told.
const MOST_QUERY: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for right in [
            "",
            " \n",
            "{}",
            "{\"allow\":true,\"more\":1}",
            "{\"ack\":[1,{}],\"join\":\"a\",\"leave\":[\"b\",7],\"disconnect\":false}",
            "{\"emit\":[{\"event\":\"e\",\"args\":[1],\"to\":\"self\"},{\"event\":\"e\",\"to\":{\"room\":\"r\"}}]}",
            "{\"emit\":{\"event\":\"e\",\"to\":{\"user\":7,\"nsp\":\"/app\"}},\"ack\":null}",
        ] {
            assert!(Answer::parse(right).is_some(), "{right}");
        }
        for wrong in [
            "x",
            "[]",
            "{\"allow\":1}",
            "{\"ack\":{}}",
            "{\"emit\":[{}]}",
            "{\"emit\":[{\"event\":\"disconnect\"}]}",
            "{\"emit\":[{\"event\":\"e\",\"args\":{}}]}",
            "{\"emit\":[{\"event\":\"e\",\"to\":\"all\"}]}",
            "{\"emit\":[{\"event\":\"e\",\"to\":{}}]}",
            "{\"emit\":[{\"event\":\"e\",\"to\":{\"room\":\"r\",\"user\":\"u\"}}]}",
            "{\"disconnect\":\"yes\"}",
        ] {
            assert!(Answer::parse(wrong).is_none(), "{wrong}");
        }
        let answer = Answer::parse("{\"allow\":false,\"error\":\"no\",\"ack\":[ 1 ]}").unwrap();
        assert_eq!((answer.allow, answer.error.as_deref(), answer.ack), (false, Some("no"), Some("[ 1 ]")));
    }
}
