//! Clients that speak Socket.IO: their engine, the namespaces they are in, what their packets do.

use core::{fmt::Write, net::IpAddr};
use std::{borrow::Cow, rc::Rc};

use log::debug;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{
    Data, Form, Hub, Login, Refusal, SpaceId,
    broadcast::string,
    client::{Agent, Client},
    event,
    rules::Occasion,
};
use crate::{
    clock::Now,
    engineio::{
        self, Engine, Error, Packet, Revision,
        engine::{Expired, Meaning, Timing, Transport},
        payload,
    },
    frame::Opcode,
    http::Fields,
    key::{ClientKey, ConnKey, SessionKey},
    plain::{json, json_string},
    sign::Signature,
    socketio::{
        self, Kind,
        packet::{Event, head},
        placeholder,
    },
    websocket::Close,
};

/// What a client has that speaks Socket.IO.
pub struct Socket {
    /// Its session of Engine.IO.
    pub engine: Engine,
    /// Its address if it has one, a space, and the query it opened the session with: namespaces may be joined with it
    /// at any time.
    opening: Box<str>,
    agent: Rc<Agent>,
    /// The namespaces it is in.
    pub sessions: SmallVec<[(SpaceId, SessionKey); 1]>,
    /// A packet whose attachments have not all come.
    assembly: Option<Box<Assembly>>,
}

const _: () = assert!(size_of::<Socket>() <= 104);

#[derive(Default)]
struct Assembly {
    packet: String,
    wanted: usize,
    attachments: Vec<Vec<u8>>,
    size: usize,
}

/// A request to open a session.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The protocol.
    pub revision: Revision,
    /// Whether the client takes no bytes in bodies.
    pub base64: bool,
    /// All of the query.
    pub query: &'a str,
    /// The peer's address.
    pub ip: Option<IpAddr>,
    /// The page.
    pub referer: &'a str,
    /// The browser.
    pub user_agent: &'a str,
}

impl Socket {
    /// What is left of it when its client is gone.
    pub fn into_agent(self) -> Rc<Agent> {
        self.agent
    }
}

impl Hub {
    /// Opens a session: its handshake is queued, and for revision 3 the answer to joining `/`.
    pub fn open(&mut self, opening: &Opening<'_>, websocket: Option<ConnKey>, now: Now) -> ClientKey {
        let agent = self.agents.intern(opening.referer, opening.user_agent);
        let timing = self.timing();
        let transport = websocket.map_or(Transport::Polling(None), Transport::WebSocket);
        let socket = Socket {
            engine: Engine::new(opening.revision, opening.base64, transport, &timing, now.time),
            opening: [&opening.ip.map(|ip| ip.to_string()).unwrap_or_default(), " ", &credentials(opening.query)]
                .concat()
                .into(),
            agent,
            sessions: SmallVec::new(),
            assembly: None,
        };
        let key = self.clients.insert(Client { conn: websocket, socket: Some(socket.into()), ..Client::default() });
        let upgrades = if websocket.is_some() { "" } else { "\"websocket\"" };
        let mut packet = format!(
            "0{{\"sid\":\"{}\",\"upgrades\":[{upgrades}],\"pingInterval\":{},\"pingTimeout\":{}",
            self.sids.engine(key),
            timing.ping_interval.as_millis(),
            timing.ping_timeout.as_millis()
        );
        if opening.revision == Revision::V4 {
            let _ = write!(packet, ",\"maxPayload\":{}", self.config.socketio.max_payload);
        }
        packet.push('}');
        self.send(key, Opcode::Text, packet.as_bytes());
        self.rearm.push(key);
        if opening.revision == Revision::V3 {
            self.connect(key, "/", "", "", now);
        }
        key
    }

    fn timing(&self) -> Timing {
        let config = &self.config.socketio;
        Timing {
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            connect_timeout: config.connect_timeout,
        }
    }

    /// Handles the packets of a POST. After an error the session is closed.
    pub fn post_packets(&mut self, key: ClientKey, body: &[u8], binary: bool, now: Now) -> Result<(), Error> {
        let engine = self.engine_mut(key).ok_or(Error::UnknownSid)?;
        let revision = engine.revision;
        if !engine.takes_posts() {
            return Err(Error::BadRequest("the session has another transport"));
        }
        if body.len() as u64 > self.config.socketio.max_payload {
            self.close(key, Close::TOO_BIG);
            return Err(Error::TooLarge);
        }
        let mut outcome = Ok(());
        let decoded = payload::decode(body, revision, binary, &mut |packet| {
            outcome = self.handle_packet(key, &packet, now);
            let ending = self.clients.get(key).is_none_or(|client| client.ending);
            if outcome.is_err() || ending {
                core::ops::ControlFlow::Break(())
            } else {
                core::ops::ControlFlow::Continue(())
            }
        });
        let outcome = outcome.and(decoded);
        if outcome.is_err() {
            self.close(key, Close::PROTOCOL);
        }
        outcome
    }

    /// A message of a WebSocket.
    pub(super) fn handle_frame(&mut self, key: ClientKey, message: event::Incoming<'_>, now: Now) {
        let Some(revision) = self.engine_mut(key).map(|engine| engine.revision) else { return };
        let packet = match message {
            event::Incoming::Text(text) => Packet::from_text(text),
            event::Incoming::Binary(bytes) => Packet::from_binary(bytes, revision),
        };
        if let Err(error) = packet.and_then(|packet| self.handle_packet(key, &packet, now)) {
            self.stats.protocol_errors += 1;
            debug!("client {key:?} broke the protocol: {}", error.message());
            self.close(key, if error == Error::TooLarge { Close::TOO_BIG } else { Close::PROTOCOL });
        }
    }

    /// Handles a packet, however it came. After an error the session must be closed.
    pub fn handle_packet(&mut self, key: ClientKey, packet: &Packet<'_>, now: Now) -> Result<(), Error> {
        let timing = self.timing();
        let Some(engine) = self.engine_mut(key) else { return Ok(()) };
        match engine.handle_packet(packet, &timing, now.time)? {
            Meaning::Nothing => self.rearm.push(key),
            Meaning::Pong => {
                let Packet::Ping(data) = packet else { return Ok(()) };
                self.send(key, Opcode::Text, [b"3", data.as_bytes()].concat().as_slice());
            }
            Meaning::Close => self.close(key, Close::ASKED),
            Meaning::Message => match packet {
                Packet::Text(text) => self.handle_text(key, text, now)?,
                Packet::Binary(bytes) => self.handle_attachment(key, bytes, now)?,
                _ => {}
            },
        }
        Ok(())
    }

    /// What is due for an engine.
    pub fn expire_engine(&mut self, key: ClientKey, now: Now) -> Expired {
        let timing = self.timing();
        let Some(engine) = self.engine_mut(key) else { return Expired::Nothing };
        let expired = engine.handle_timeout(&timing, now.time);
        match expired {
            Expired::Ping => self.send(key, Opcode::Text, b"2"),
            Expired::Dead => {
                self.stats.ping_timeouts += 1;
                self.close(key, Close::GONE);
            }
            Expired::Probe(_) => self.mark_dirty(key),
            Expired::Nothing => {}
        }
        expired
    }

    /// An engine's deadline may be nearer than it was.
    pub fn rearm(&mut self, key: ClientKey) {
        self.rearm.push(key);
    }

    /// Clients whose deadlines may be nearer than they were.
    pub fn take_rearmed(&mut self) -> Vec<ClientKey> {
        core::mem::take(&mut self.rearm)
    }

    fn socket_mut(&mut self, key: ClientKey) -> Option<&mut Socket> {
        self.clients.get_mut(key).filter(|client| !client.ending)?.socket.as_deref_mut()
    }

    fn handle_text(&mut self, key: ClientKey, text: &str, now: Now) -> Result<(), Error> {
        let (most, timing) = (self.config.limits.message as usize, self.timing());
        let Some(socket) = self.socket_mut(key) else { return Ok(()) };
        if socket.assembly.is_some() {
            return Err(Error::Malformed("attachments were to come"));
        }
        if text.len() > most {
            return Err(Error::TooLarge);
        }
        let packet = socketio::Packet::parse(text).map_err(|error| Error::Malformed(error.0))?;
        if packet.attachments == 0 {
            return self.handle_whole(key, &packet, &[], now);
        }
        if packet.attachments > MOST_ATTACHMENTS || !placeholder::are_right(packet.data, packet.attachments) {
            return Err(Error::Malformed("illegal attachments"));
        }
        if text.len() > most {
            return Err(Error::TooLarge);
        }
        let assembly =
            Assembly { packet: text.into(), wanted: packet.attachments, size: text.len(), ..Assembly::default() };
        socket.assembly = Some(assembly.into());
        let connected = !socket.sessions.is_empty();
        if connected {
            socket.engine.set_state(connected, true, &timing, now.time);
        }
        self.rearm.push(key);
        Ok(())
    }

    fn handle_attachment(&mut self, key: ClientKey, bytes: &[u8], now: Now) -> Result<(), Error> {
        let (most, timing) = (self.config.limits.message as usize, self.timing());
        let Some(socket) = self.socket_mut(key) else { return Ok(()) };
        let assembly = socket.assembly.as_mut().ok_or(Error::Malformed("bytes that belong to no packet"))?;
        assembly.size += bytes.len();
        if assembly.size > most {
            return Err(Error::TooLarge);
        }
        assembly.attachments.push(bytes.into());
        if assembly.attachments.len() < assembly.wanted {
            return Ok(());
        }
        let connected = !socket.sessions.is_empty();
        if connected {
            socket.engine.set_state(connected, false, &timing, now.time);
        }
        let Some(assembly) = socket.assembly.take() else { return Ok(()) };
        let packet = socketio::Packet::parse(&assembly.packet).map_err(|error| Error::Malformed(error.0))?;
        self.handle_whole(key, &packet, &assembly.attachments, now)
    }

    fn handle_whole(
        &mut self,
        key: ClientKey,
        packet: &socketio::Packet<'_>,
        attachments: &[Vec<u8>],
        now: Now,
    ) -> Result<(), Error> {
        let space = self.find_space(packet.namespace);
        let Some(socket) = self.socket_mut(key) else { return Ok(()) };
        let found = space.and_then(|space| socket.sessions.iter().find(|(known, _)| *known == space)).copied();
        if matches!(packet.kind, Kind::Connect | Kind::Disconnect) {
            // Coming and going costs more than a message does, and brings others messages too.
            let Some(client) = self.clients.get_mut(key) else { return Ok(()) };
            client.moves = client.moves.saturating_add(1);
            if client.moves > FREE_MOVES && !self.take_rate(key, MOVE_COST, now) {
                self.stats.rate_limited += 1;
                return Err(Error::Malformed("too many packets of that type"));
            }
        }
        match (packet.kind, found) {
            (Kind::Connect, None) => self.connect(key, packet.namespace, packet.query, packet.data, now),
            (Kind::Connect, Some(_)) => return Err(Error::Malformed("the namespace was joined already")),
            (Kind::Disconnect, Some((_, session))) => {
                self.leave_session(session, true);
                self.drop_session(key, session, now);
            }
            // Who waits to be let in is not heard yet.
            (kind, Some((_, session))) if kind != Kind::Disconnect && self.is_pending(session) => {}
            (Kind::Event | Kind::BinaryEvent, Some((space, session))) => {
                self.handle_socketio_event(key, space, session, packet, attachments, now);
            }
            (Kind::Ack | Kind::BinaryAck, Some((_, session))) => {
                self.handle_ack(session, packet.id.unwrap_or_default(), packet.data, attachments);
            }
            // A namespace that was left in between is nobody's fault.
            _ => {}
        }
        Ok(())
    }

    /// Forgets one of a client's sessions.
    pub(super) fn drop_session(&mut self, key: ClientKey, session: SessionKey, now: Now) {
        let timing = self.timing();
        let Some(socket) = self.clients.get_mut(key).and_then(|client| client.socket.as_deref_mut()) else { return };
        socket.sessions.retain(|(_, known)| *known != session);
        if socket.sessions.is_empty() {
            socket.engine.set_state(false, false, &timing, now.time);
            self.rearm.push(key);
        }
    }

    /// Joins a namespace, or says why not in the way that each generation of clients can see.
    fn connect(&mut self, key: ClientKey, namespace: &str, query: &str, auth: &str, now: Now) {
        let Some(socket) = self.socket_mut(key) else { return };
        let revision = socket.engine.revision;
        let (opening, agent) = (socket.opening.clone(), socket.agent.clone());
        let (ip, own) = opening.split_once(' ').expect("it was made with a space");
        let ip = ip.parse().ok();
        let Some(space) = self.find_space(namespace) else {
            self.refused_namespace(namespace, ip, &agent);
            self.count_refusal(key);
            return self.refuse(key, revision, namespace, "Invalid namespace");
        };
        let fields = Fields::parse(own.as_bytes());
        let more = Fields::parse(query.as_bytes());
        let proof: socketio::packet::Fields<'_> = serde_json::from_str(auth).unwrap_or_default();
        // What CONNECT brings wins over what the handshake brought.
        let field = |name: &str| match (proof.get(name), more.get(name)) {
            (Some(raw), _) => event::scalar(raw).into_owned(),
            (None, "") => fields.get(name).to_owned(),
            (None, value) => value.to_owned(),
        };
        let names = ["source", "room_ids", "sign", "sign_type", "ts", "userid", "username", "ext_info", "watch_quit"];
        let [source, room_ids, sign, sign_type, ts, userid, username, ext_info, watch_quit] = names.map(field);
        let login = Login {
            source: &source,
            room_ids: &room_ids,
            signature: Signature::new(&sign, &sign_type, &ts),
            userid: &userid,
            username: &username,
            ext_info: &ext_info,
            watch_quit: event::is_one(&watch_quit),
            form: if revision == Revision::V3 { Form::SocketIo3 } else { Form::SocketIo4 },
            ip,
            referer: &agent.referer,
            user_agent: &agent.user_agent,
        };
        let session = match self.admit_session(key, space, &login, &[own, query].join("&"), auth, now) {
            Ok(session) => session,
            Err(refusal) => {
                self.count_refusal(key);
                return self.refuse(key, revision, namespace, &refusal.text());
            }
        };
        if let Some(socket) = self.socket_mut(key) {
            socket.sessions.push((space, session));
        }
        if !self.is_pending(session) {
            self.greet_packet(key, session, auth, now);
        }
    }

    fn is_pending(&self, session: SessionKey) -> bool {
        self.sessions.get(session).is_some_and(|session| session.pending)
    }

    /// Tells a client that it is in a namespace.
    pub(super) fn greet_packet(&mut self, key: ClientKey, session: SessionKey, auth: &str, now: Now) {
        let Some(space) = self.sessions.get(session).map(|session| session.space) else { return };
        let namespace = self.spaces[space as usize].name.clone();
        let timing = self.timing();
        let Some(socket) = self.socket_mut(key) else { return };
        socket.engine.set_state(true, false, &timing, now.time);
        let revision = socket.engine.revision;
        let sid = self.sids.socket(session);
        self.send_packet(key, Kind::Connect, &namespace, None, &[], |out| {
            if revision == Revision::V4 {
                out.extend_from_slice(format!("{{\"sid\":\"{sid}\"}}").as_bytes());
            }
        });
        self.welcome(session, if auth.is_empty() { "{}" } else { auth });
    }

    /// What a namespace sends to who comes in.
    pub(super) fn welcome(&mut self, session: SessionKey, auth: &str) {
        let Some(space) = self.sessions.get(session).map(|session| session.space) else { return };
        let config = self.spaces[space as usize].config.clone();
        if let Some(welcome) = &config.welcome {
            let data = welcome.data.as_ref().map_or_else(|| auth.to_owned(), json);
            self.tell_session(session, &welcome.event, &data);
        }
    }

    /// A client that is refused again and again has lost its way: it is closed, and may begin anew.
    pub(super) fn count_refusal(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        client.refusals += 1;
        if client.refusals >= MOST_REFUSALS {
            self.close(key, Close::PROTOCOL);
        }
    }

    fn refused_namespace(&mut self, namespace: &str, ip: Option<IpAddr>, agent: &Agent) {
        self.stats.logins_refused += 1;
        self.journal.error("connect", "Invalid namespace", |line| {
            line.cut("nsp", namespace);
            if let Some(ip) = ip {
                line.shown("ip", ip);
            }
            line.some("referer", &agent.referer);
            line.some("user_agent", &agent.user_agent);
        });
    }

    pub(super) fn refuse(&mut self, key: ClientKey, revision: Revision, namespace: &str, why: &str) {
        let quoted = json_string(why);
        match revision {
            Revision::V4 => self.send_packet(key, Kind::ConnectError, namespace, None, &[], |out| {
                out.extend_from_slice(format!("{{\"message\":{quoted}}}").as_bytes());
            }),
            // The shipped client listens for nothing but sys_error, and stays away after a DISCONNECT.
            Revision::V3 if namespace == "/" => {
                self.send_packet(key, Kind::Connect, namespace, None, &[], |_| {});
                self.send_event(key, namespace, "sys_error", &quoted);
                self.send_packet(key, Kind::Disconnect, namespace, None, &[], |_| {});
            }
            Revision::V3 => self.send_packet(key, Kind::ConnectError, namespace, None, &[], |out| {
                out.extend_from_slice(quoted.as_bytes());
            }),
        }
    }

    /// Takes a session out of its namespace and says so: the client does not come back by itself.
    pub fn disconnect(&mut self, session: SessionKey, now: Now) {
        let Some((key, space)) = self.sessions.get(session).map(|session| (session.client, session.space)) else {
            return;
        };
        self.leave_session(session, true);
        let name = self.spaces[space as usize].name.clone();
        self.send_packet(key, Kind::Disconnect, &name, None, &[], |_| {});
        self.drop_session(key, session, now);
    }

    fn handle_socketio_event(
        &mut self,
        key: ClientKey,
        space: SpaceId,
        session: SessionKey,
        packet: &socketio::Packet<'_>,
        attachments: &[Vec<u8>],
        now: Now,
    ) {
        let Some(event) = packet.event() else { return };
        self.stats.client_messages += 1;
        let answer = if !self.take_rate(key, 1, now) {
            self.stats.rate_limited += 1;
            Err(Refusal::RateExceeded)
        } else {
            match (&*event.name, space, self.spaces[space as usize].config.join) {
                ("postMsg", 0, _) => self.post_msg(session, &event, attachments, now),
                ("join" | "leave", 0, _) | ("join" | "leave", _, true) => {
                    let text = |index: usize| event.args.get(index).map_or(Cow::Borrowed(""), |raw| event::scalar(raw));
                    let list = event.args.first().map_or_else(String::new, |raw| event::rooms(raw));
                    let (sign, sign_type, ts) = (text(1), text(2), text(3));
                    let signature = Signature::new(&sign, &sign_type, &ts);
                    self.change_rooms(session, &list, &signature, now, &*event.name == "join")
                }
                _ => {
                    let list = event.list();
                    let occasion = Occasion { name: &event.name, list: &list, attachments, ack: packet.id };
                    return self.apply_rule(session, &occasion, now);
                }
            }
        };
        self.conclude_packet(session, packet.id, answer);
    }

    /// What became of an event.
    pub(super) fn conclude_packet(&mut self, session: SessionKey, id: Option<&str>, answer: Result<String, Refusal>) {
        let Some((key, space)) = self.sessions.get(session).map(|session| (session.client, session.space)) else {
            return;
        };
        let namespace = self.spaces[space as usize].name.clone();
        match (answer, id) {
            (Ok(_), None) => {}
            (Ok(data), Some(id)) => self.send_packet(key, Kind::Ack, &namespace, Some(id), &[], |out| {
                out.extend_from_slice(format!("[{{\"code\":1,\"msg\":\"\",\"data\":{data}}}]").as_bytes());
            }),
            (Err(refusal), id) => {
                self.refused_message(Some(session), refusal);
                let why = json_string(&refusal.text());
                match id {
                    Some(id) => self.send_packet(key, Kind::Ack, &namespace, Some(id), &[], |out| {
                        out.extend_from_slice(format!("[{{\"code\":0,\"msg\":{why},\"data\":\"\"}}]").as_bytes());
                    }),
                    None => self.send_event(key, &namespace, "sys_error", &why),
                }
            }
        }
    }

    fn post_msg(
        &mut self,
        session: SessionKey,
        event: &Event<'_>,
        attachments: &[Vec<u8>],
        now: Now,
    ) -> Result<String, Refusal> {
        let json = event.args.first().map_or("null", |raw: &&RawValue| raw.get());
        let data = match attachments {
            [] => Data::Json(json),
            attachments => Data::Mixed { json, attachments },
        };
        let list = event.args.get(1).map_or_else(String::new, |raw| event::rooms(raw));
        self.post_data(session, data, &list, now)
    }

    /// Queues an event with one argument, given as JSON.
    fn send_event(&mut self, key: ClientKey, namespace: &str, name: &str, data: &str) {
        self.send_packet(key, Kind::Event, namespace, None, &[], |out| {
            out.push(b'[');
            string(out, name);
            out.push(b',');
            out.extend_from_slice(data.as_bytes());
            out.push(b']');
        });
    }

    /// Queues a packet and its attachments.
    pub(super) fn send_packet(
        &mut self,
        key: ClientKey,
        kind: Kind,
        namespace: &str,
        id: Option<&str>,
        attachments: &[Vec<u8>],
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(revision) = self.engine_mut(key).map(|engine| engine.revision) else { return };
        let run = self.turn.single(Opcode::Text, |out| {
            out.push(b'4');
            head(out, kind, attachments.len(), namespace, id);
            fill(out);
        });
        self.queue(key, run);
        for bytes in attachments {
            let run = self.turn.single(Opcode::Binary, |out| attachment(out, revision, bytes));
            self.queue(key, run);
        }
    }
}

/// A query without what only opened the session: it is kept as long as the session is.
fn credentials(query: &str) -> String {
    let known = |field: &&str| !["EIO", "transport", "t", "b64"].contains(&field.split('=').next().unwrap_or_default());
    query.split('&').filter(known).collect::<Vec<_>>().join("&")
}

/// Appends an attachment as a WebSocket carries it.
pub fn attachment(out: &mut Vec<u8>, revision: Revision, bytes: &[u8]) {
    if revision == Revision::V3 {
        out.push(engineio::packet::MESSAGE);
    }
    out.extend_from_slice(bytes);
}

/// What joining or leaving a namespace takes from a client's message rate, after the first times.
const MOVE_COST: u64 = 20;
const FREE_MOVES: u8 = 8;
/// Refused logins of one session of Engine.IO.
const MOST_REFUSALS: u8 = 10;
/// Attachments of one packet.
pub const MOST_ATTACHMENTS: usize = 100;
