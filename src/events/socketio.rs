//! Packets of Socket.IO clients (docs/protocol.md, Socket.IO and Engine.IO).

use core::{fmt::Write, net::IpAddr};
use std::borrow::Cow;

use log::debug;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{
    acknowledge::{answer_socketio, handle_ack},
    charge::charged,
    incoming::Incoming,
    renewal,
    requests::{change_rooms, is_built_in, post_data, who},
    rules::apply_rule,
    socketio_login::connect,
    violation::Violation,
};
use crate::{
    clock::Now,
    engineio::{
        Engine, Error, Packet, Revision,
        engine::{Meaning, Transport},
        payload::{self, Bodies},
    },
    frame::Opcode,
    hub::Hub,
    json::{Object, scalar},
    key::{ClientKey, ConnKey, SessionKey},
    limits::{Limits, MAX_BEFORE_LOGIN},
    memory,
    message::{ClientEvent, Data, bytes::MAX_ATTACHMENTS},
    names::{nested_room_list, room_list},
    sign::{Signature, Terms, token},
    socketio::{self, Kind, packet::Event, placeholder},
    state::{
        Client, NamespaceId, Refusal,
        socket::{Assembly, Socket},
    },
    trace::Quoted,
    websocket::Close,
};

/// An Engine.IO handshake.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The protocol revision.
    pub revision: Revision,
    /// Whether binary data goes over the WebSocket as base64 in text frames (`b64`).
    pub base64: bool,
    /// The bodies in which a client of revision 3 wants the answers to its polls.
    pub bodies: Bodies,
    /// The whole query.
    pub query: &'a str,
    /// Whether a proxy or TLS is between relay and the client.
    pub proxied: bool,
    /// The client's address. `None` for a peer of a Unix socket.
    pub ip: Option<IpAddr>,
    /// The `Referer` header.
    pub referer: &'a str,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
}

/// Opens an Engine.IO session, on the WebSocket `websocket` or with polling. Queues the handshake packet, and in
/// revision 3 the answer to the login to `/`.
pub fn open(hub: &mut Hub, opening: &Opening<'_>, websocket: Option<ConnKey>, now: Now) -> ClientKey {
    let agent = hub.state.agents.intern(opening.referer, opening.user_agent);
    let timing = hub.state.timing();
    let transport = websocket.map_or(Transport::Polling(None), Transport::WebSocket);
    let mut engine = Engine::new(opening.revision, transport, &timing, now.time);
    (engine.base64, engine.bodies, engine.proxied) = (opening.base64, opening.bodies, opening.proxied);
    let socket = Socket {
        engine,
        handshake: [&opening.ip.map(|ip| ip.to_string()).unwrap_or_default(), " ", &login_query(opening.query)]
            .concat()
            .into(),
        agent,
        sessions: SmallVec::new(),
        assembly: None,
    };
    let client = Client { conn: websocket, socket: Some(socket.into()), ..Client::default() };
    let key = hub.state.insert_client(client, opening.ip);
    let upgrades = if websocket.is_some() { "" } else { "\"websocket\"" };
    let mut packet = format!(
        "0{{\"sid\":\"{}\",\"upgrades\":[{upgrades}],\"pingInterval\":{},\"pingTimeout\":{}",
        hub.state.sids.engine(key),
        timing.ping_interval.as_millis(),
        timing.ping_timeout.as_millis()
    );
    if opening.revision == Revision::V4 {
        let _ = write!(packet, ",\"maxPayload\":{}", hub.config().socketio.max_payload);
    }
    packet.push('}');
    hub.state.send(key, Opcode::Text, packet.as_bytes());
    hub.state.rearm(key);
    if opening.revision == Revision::V3 {
        connect(hub, key, "/", "", "", now);
    }
    let transport = hub.state.transport_name(Some(key));
    hub.state.trace_client(key, format_args!("began {transport}"));
    key
}

/// Handles the packets of a POST. After an error the session is closed, except if it is unknown or uses another
/// transport.
pub fn post_packets(hub: &mut Hub, key: ClientKey, body: &[u8], binary: bool, now: Now) -> Result<(), Violation> {
    let max_payload = hub.config().socketio.max_payload;
    let engine = hub.state.engine_mut(key).ok_or(Error::UnknownSid)?;
    let revision = engine.revision;
    if !engine.takes_posts() {
        return Err(Error::OtherTransport.into());
    }
    if body.len() as u64 > max_payload {
        hub.state.close(key, Close::TOO_BIG);
        return Err(Error::TooLarge.into());
    }
    let twice = if binary { None } else { engine.decode_twice(body) };
    let mut outcome = Ok(());
    let mut handle = |packet: Packet<'_>| {
        outcome = charged(hub, key, packet.size(), now, |hub| handle_packet(hub, key, &packet, now));
        let ending = hub.state.clients.get(key).is_none_or(|client| client.is_ending());
        if outcome.is_err() || ending {
            core::ops::ControlFlow::Break(())
        } else {
            core::ops::ControlFlow::Continue(())
        }
    };
    let decoded = match twice {
        Some(text) => payload::decode_twice(&text, &mut handle),
        None => payload::decode(body, revision, binary, &mut handle),
    };
    let outcome = outcome.and(decoded.map_err(Violation::from));
    if let Err(violation) = &outcome {
        hub.state.trace_client(key, format_args!("broke the protocol: {violation}"));
        hub.state.close(key, Close::PROTOCOL);
    }
    outcome
}

/// Handles a WebSocket message. After an error the client is closed.
pub fn handle_frame(hub: &mut Hub, key: ClientKey, message: Incoming<'_>, now: Now) {
    let Some(revision) = hub.state.engine_mut(key).map(|engine| engine.revision) else { return };
    let packet = match message {
        Incoming::Text(text) => Packet::from_text(text, revision),
        Incoming::Binary(bytes) => Packet::from_binary(bytes, revision),
    };
    let packet = packet.map_err(Violation::from);
    if let Err(violation) = packet.and_then(|packet| handle_packet(hub, key, &packet, now)) {
        hub.state.stats.protocol_errors += 1;
        debug!("client {key:?} broke the protocol: {violation}");
        hub.state.trace_client(key, format_args!("broke the protocol: {violation}"));
        hub.state.close(key, violation.close());
    }
}

/// Handles a packet of either transport. After an error the caller must close the session.
pub fn handle_packet(hub: &mut Hub, key: ClientKey, packet: &Packet<'_>, now: Now) -> Result<(), Violation> {
    let timing = hub.state.timing();
    match packet {
        Packet::Ping(_) => hub.state.trace_client(key, format_args!("sent a ping")),
        Packet::Pong(_) => hub.state.trace_client(key, format_args!("sent a pong")),
        _ => {}
    }
    let Some(engine) = hub.state.engine_mut(key) else { return Ok(()) };
    match engine.handle_packet(packet, &timing, now.time)? {
        Meaning::Nothing => hub.state.rearm(key),
        Meaning::Pong => {
            let Packet::Ping(data) = packet else { return Ok(()) };
            hub.state.send(key, Opcode::Text, [b"3", data.as_bytes()].concat().as_slice());
            hub.state.ask(key);
        }
        Meaning::Close => {
            // A client that leaves has left its namespaces before. One that closes its polling transport, because it takes its
            // connection for lost, has not.
            hub.lose(key);
            hub.state.close(key, Close::NORMAL);
        }
        Meaning::Message => match packet {
            Packet::Text(text) => handle_text(hub, key, text, now)?,
            Packet::Binary(bytes) => handle_attachment(hub, key, bytes, now)?,
            _ => {}
        },
    }
    Ok(())
}

/// Handles the text of a Socket.IO packet. A packet with attachments is kept until they have arrived.
fn handle_text(hub: &mut Hub, key: ClientKey, text: &str, now: Now) -> Result<(), Violation> {
    let (limits, timing) = (hub.config().limits.clone(), hub.state.timing());
    let most = [false, true].map(|logged_in| hub.state.max_unfinished(logged_in));
    let Some(socket) = hub.state.socket_mut(key) else { return Ok(()) };
    if socket.assembly.is_some() {
        return Err(Violation::AttachmentsMissing);
    }
    if text.len() > limits.message as usize {
        return Err(Error::TooLarge.into());
    }
    let packet = socketio::Packet::parse(text)?;
    if packet.attachments == 0 {
        return handle_complete(hub, key, &packet, &[], now);
    }
    if packet.attachments > MAX_ATTACHMENTS || !placeholder::are_valid(packet.data, packet.attachments) {
        return Err(Violation::Attachments);
    }
    let connected = socket.engine.is_connected();
    let mut assembly = Assembly { packet: text.into(), wanted: packet.attachments, ..Assembly::default() };
    grow(&mut assembly, text.len(), connected, &limits, most)?;
    socket.assembly = Some(assembly.into());
    if connected {
        socket.engine.set_state(true, true, &timing, now.time);
    }
    hub.state.rearm(key);
    Ok(())
}

/// Handles an attachment. The last one completes the packet.
fn handle_attachment(hub: &mut Hub, key: ClientKey, bytes: &[u8], now: Now) -> Result<(), Violation> {
    let (limits, timing) = (hub.config().limits.clone(), hub.state.timing());
    let most = [false, true].map(|logged_in| hub.state.max_unfinished(logged_in));
    let Some(socket) = hub.state.socket_mut(key) else { return Ok(()) };
    let connected = socket.engine.is_connected();
    let assembly = socket.assembly.as_mut().ok_or(Violation::StrayAttachment)?;
    grow(assembly, bytes.len(), connected, &limits, most)?;
    assembly.attachments.push(bytes.into());
    if assembly.attachments.len() < assembly.wanted {
        return Ok(());
    }
    if connected {
        socket.engine.set_state(true, false, &timing, now.time);
    }
    let Some(assembly) = socket.assembly.take() else { return Ok(()) };
    let packet = socketio::Packet::parse(&assembly.packet)?;
    handle_complete(hub, key, &packet, &assembly.attachments, now)
}

/// Counts `bytes` more of an incomplete packet. Fails if the packet becomes too large, or if there is too much incomplete
/// input in all: more than `most`, before a login and after it.
fn grow(
    assembly: &mut Assembly,
    bytes: usize,
    logged_in: bool,
    limits: &Limits,
    most: [usize; 2],
) -> Result<(), Violation> {
    assembly.size += bytes;
    assembly.charge.set(assembly.size);
    let max_size = if logged_in { limits.message } else { limits.message.min(MAX_BEFORE_LOGIN) };
    if assembly.size as u64 > max_size {
        return Err(Error::TooLarge.into());
    }
    if memory::unfinished() > most[usize::from(logged_in)] {
        return Err(Violation::Unfinished);
    }
    Ok(())
}

/// Handles a Socket.IO packet with all its attachments.
fn handle_complete(
    hub: &mut Hub,
    key: ClientKey,
    packet: &socketio::Packet<'_>,
    attachments: &[Vec<u8>],
    now: Now,
) -> Result<(), Violation> {
    let namespace = hub.state.find_namespace(packet.namespace);
    let Some(socket) = hub.state.socket_mut(key) else { return Ok(()) };
    let found = namespace.and_then(|namespace| socket.sessions.iter().find(|(known, _)| *known == namespace)).copied();
    if matches!(packet.kind, Kind::Connect | Kind::Disconnect) {
        // Joining and leaving costs more than a message, and can cause messages to others.
        let Some(client) = hub.state.clients.get_mut(key) else { return Ok(()) };
        client.namespace_changes = client.namespace_changes.saturating_add(1);
        if client.namespace_changes > FREE_CHANGES && !hub.state.take_rate(key, CHANGE_COST, now) {
            hub.state.stats.rate_limited += 1;
            return Err(Violation::TooManyMoves);
        }
    }
    match (packet.kind, found) {
        (Kind::Connect, None) => connect(hub, key, packet.namespace, packet.query, packet.data, now),
        (Kind::Connect, Some(_)) => return Err(Violation::Connected),
        (Kind::Disconnect, Some((_, session))) => {
            hub.leave(session);
            hub.state.drop_session(key, session, now);
        }
        // Packets of a pending session are ignored.
        (kind, Some((_, session))) if kind != Kind::Disconnect && hub.state.is_pending(session) => {}
        (Kind::Event | Kind::BinaryEvent, Some((namespace, session))) => {
            handle_event(hub, key, namespace, session, packet, attachments, now);
        }
        (Kind::Ack | Kind::BinaryAck, Some((_, session))) => {
            handle_ack(hub, session, packet.id.unwrap_or_default(), packet.data, attachments);
        }
        // The client may not know yet that its session has ended.
        _ => {}
    }
    Ok(())
}

/// Handles an event of an admitted session.
fn handle_event(
    hub: &mut Hub,
    key: ClientKey,
    namespace: NamespaceId,
    session: SessionKey,
    packet: &socketio::Packet<'_>,
    attachments: &[Vec<u8>],
    now: Now,
) {
    let Some(event) = packet.event() else { return };
    hub.state.stats.client_messages += 1;
    hub.state.trace_session(session, format_args!("sent event {}", Quoted(&event.name)));
    let answer = if !hub.state.take_rate(key, 1, now) {
        hub.state.stats.rate_limited += 1;
        Err(Refusal::RateExceeded)
    } else {
        match &*event.name {
            "postMsg" if is_built_in(&hub.state, namespace, &event.name) => {
                post_msg(hub, session, &event, attachments, now)
            }
            "join" | "leave" if is_built_in(&hub.state, namespace, &event.name) => {
                let text = |index: usize| event.args.get(index).map_or(Cow::Borrowed(""), |raw| scalar(raw));
                let [sign, sign_type, ts, exp, ro] = [1, 2, 3, 4, 5].map(text);
                let signature = Signature::of_login(&sign, &sign_type, &ts, Terms { exp: &exp, ro: &ro });
                let list = event.args.first().map_or(Ok(String::new()), |raw| room_list(raw));
                let list = list.map_err(|error| Refusal::from_name(error, Refusal::RoomsMissing));
                list.and_then(|list| change_rooms(hub, session, &list, &signature, now, &*event.name == "join"))
            }
            "renew" if renewal::is_for(hub, session) => {
                let raw = event.args.first().map_or("", |raw| raw.get());
                let object = match raw.as_bytes().first() {
                    Some(b'"') => format!("{{\"{}\":{raw}}}", token::FIELD),
                    _ => raw.to_owned(),
                };
                let fields: Object<'_> = serde_json::from_str(&object).unwrap_or_default();
                renewal::renew(hub, session, &fields, now)
            }
            "who" if is_built_in(&hub.state, namespace, &event.name) => {
                let list = event.args.first().map_or_else(String::new, |raw| nested_room_list(raw));
                who(hub, session, &list, now)
            }
            _ => {
                let list = event.list();
                let client_event = ClientEvent { name: &event.name, list: &list, attachments, ack: packet.id };
                return apply_rule(hub, session, &client_event, now);
            }
        }
    };
    answer_socketio(hub, session, packet.id, answer);
}

/// Handles `postMsg` with its attachments.
fn post_msg(
    hub: &mut Hub,
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
    let list = event.args.get(1).map_or_else(String::new, |raw| nested_room_list(raw));
    post_data(hub, session, data, &list, now)
}

/// A handshake's query without the fields of Engine.IO, because it is kept as long as the session.
fn login_query(query: &str) -> String {
    let is_login_field =
        |field: &&str| !["EIO", "transport", "t", "b64"].contains(&field.split('=').next().unwrap_or_default());
    query.split('&').filter(is_login_field).collect::<Vec<_>>().join("&")
}

/// The number of messages as which joining or leaving a namespace counts against a client's rate, after the first
/// [`FREE_CHANGES`] times.
const CHANGE_COST: u64 = 20;

/// How often a client may join or leave a namespace at no cost.
const FREE_CHANGES: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::MessageId,
        state::{End, testing::config},
    };

    /// A client that polls is removed after its last answer only if its sessions have ended: what a lost one has missed is kept
    /// when its connection is freed.
    #[test]
    fn a_lost_poller_waits_for_the_end_of_its_connection() {
        let [lost, closed] = [true, false].map(|is_lost| {
            let config =
                config("[sources.one]\nsign_key = \"k\"\n[namespaces.\"/\"]\nauth = \"open\"\nsource = \"one\"\n");
            let mut hub = Hub::new(config, MessageId::first(1000, 7), [0; 32]);
            let opening = Opening {
                revision: Revision::V4,
                base64: false,
                bodies: Bodies::Any,
                query: "",
                proxied: false,
                ip: None,
                referer: "",
                user_agent: "",
            };
            let client = open(&mut hub, &opening, None, Now::default());
            handle_packet(&mut hub, client, &Packet::Text("0"), Now::default()).unwrap();
            assert_eq!(hub.state.session_count(), 1);
            assert!(!hub.state.is_closed_poller(client));
            match is_lost {
                true => hub.state.lose(client),
                false => hub.end(client, End::Closed(Close::NORMAL), true),
            }
            hub.state.is_closed_poller(client)
        });
        assert_eq!((lost, closed), (false, true));
    }
}
