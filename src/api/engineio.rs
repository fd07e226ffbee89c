//! Engine.IO requests under `socketio.path`: handshakes, polls, posts and WebSocket upgrades (docs/protocol.md, Socket.IO and
//! Engine.IO).

use std::borrow::Cow;

use super::{
    access::{client_ip, is_proxied, origin_allowed, origin_reason, refuses_origin},
    context::Context,
    cors::{preflight, with_credentials as cors},
    gate::login_token,
    outcome::Outcome,
};
use crate::{
    engineio::{
        Engine, Error, Revision,
        engine::Polled,
        payload::{Bodies, Composer},
    },
    events::{
        socketio::{self, Opening},
        violation::Violation,
    },
    http::{self, Fields, Head, Reply, Request},
    json::quote,
    key::ClientKey,
    sign::token,
    websocket::{Close, handshake},
};

/// Handles a request under `socketio.path`.
pub fn request(request: &Request<'_>, cx: &mut Context<'_>) -> Outcome {
    let head = &request.head;
    let config = cx.hub.config().clone();
    let allowed = origin_allowed(head.origin, &config);
    let origin = if allowed { head.origin } else { "" };
    if head.method == "OPTIONS" {
        let options = Reply::new(204, "", &b""[..]).with("Allow", "GET, POST, OPTIONS");
        return preflight(cors(options, origin), head, "GET, POST", allowed).into();
    }
    if !allowed {
        // Readable, so that the page's developer learns the reason. The answer depends on nothing else.
        refuses_origin(head, cx);
        let reason = quote(&origin_reason(head.origin));
        let body = format!("{{\"code\":4,\"message\":\"Forbidden\",\"reason\":{reason}}}");
        return cors(Reply::json(403, body.into_bytes()).with("Cache-Control", "no-store"), head.origin).into();
    }
    handle(request, cx, origin).unwrap_or_else(|violation| cors(refusal(violation), origin).into())
}

fn handle(request: &Request<'_>, cx: &mut Context<'_>, origin: &str) -> Result<Outcome, Violation> {
    let head = &request.head;
    let fields = head.fields();
    let revision = match fields.get("EIO") {
        "3" => Revision::V3,
        "4" => Revision::V4,
        "" if !fields.get("sid").is_empty() || is_old_client(&fields) => Revision::V3,
        _ => return Err(Error::UnsupportedVersion.into()),
    };
    let websocket = match fields.get("transport") {
        "polling" => false,
        "websocket" => true,
        _ => return Err(Error::UnknownTransport.into()),
    };
    let sid = fields.get("sid");
    let client = match sid {
        "" => None,
        sid => Some(cx.hub.state.find_engine(sid).ok_or(Error::UnknownSid)?),
    };
    if client.is_none() && head.method != "GET" {
        return Err(Error::BadHandshakeMethod.into());
    }
    if cx.stopping {
        let stopping = Reply::refusal(503, "relay is stopping, come back").with("Retry-After", "1");
        return Ok(cors(stopping, origin).into());
    }
    if client.is_none() {
        let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
        if cx.refuses_address(ip, websocket) {
            return Ok(cors(http::Error::TooManyFromAddress.into(), origin).into());
        }
    }
    if client.is_none() && cx.hub.state.is_short_of_memory() {
        cx.hub.state.stats.memory_connections_refused += 1;
        return Ok(cors(http::Error::Memory.into(), origin).into());
    }
    match (client, websocket) {
        (None, false) => {
            // Checked before a session is opened.
            if !fields.get("j").is_empty() {
                return Err(Error::Jsonp.into());
            }
            let Some(client) = open(head, &fields, cx, revision, false) else {
                return Ok(cors(http::Error::Unavailable.into(), origin).into());
            };
            let _ = cx.hub.state.poll(client, cx.conn)?;
            Ok(Outcome::AwaitPackets { client, origin: origin.into() })
        }
        (client, true) => {
            let response = match handshake::accept(head, &cx.hub.config().websocket.protocols) {
                Ok(response) => response,
                // engine.io answers this one in its own format.
                Err(handshake::Error::NoUpgrade) => return Err(Error::NoUpgrade.into()),
                Err(error) => return Ok(cors(error.into(), origin).into()),
            };
            let Some(client) = client else {
                return Ok(match open(head, &fields, cx, revision, true) {
                    Some(client) => Outcome::Upgrade { client, response },
                    None => cors(http::Error::Unavailable.into(), origin).into(),
                });
            };
            let engine = cx.hub.state.engine_mut(client).ok_or(Error::UnknownSid)?;
            match engine.handle_probe(cx.conn, wants_base64(&fields), cx.now.time) {
                Ok(()) => {
                    cx.hub.state.rearm(client);
                    Ok(Outcome::Probe { client, response })
                }
                // As engine.io does: the WebSocket is opened and closed. The session keeps the one it has.
                Err(_) => Ok(Outcome::Last([response, Close::SECOND.frame()].concat())),
            }
        }
        (Some(client), false) => match head.method {
            "GET" => Ok(match cx.hub.state.poll(client, cx.conn)? {
                Polled::Waits => Outcome::AwaitPackets { client, origin: origin.into() },
                Polled::Noop => cors(noop(cx.hub.state.engine_mut(client)), origin).into(),
            }),
            "POST" => {
                let media_type = head.content_type.split(';').next().unwrap_or_default().trim_end();
                let binary = media_type.eq_ignore_ascii_case("application/octet-stream");
                socketio::post_packets(cx.hub, client, request.body, binary, cx.now)?;
                Ok(cors(Reply::new(200, "text/html", &b"ok"[..]).with("Cache-Control", "no-store"), origin).into())
            }
            _ => Err(Error::Method.into()),
        },
    }
}

/// Opens a session, or returns `None` if there is no place for it. Sessions count against the limit for connections,
/// because a polling session has no connection between two polls.
fn open(
    head: &Head<'_>,
    fields: &Fields<'_>,
    cx: &mut Context<'_>,
    revision: Revision,
    websocket: bool,
) -> Option<ClientKey> {
    if !cx.hub.state.make_room(cx.max_connections) {
        return None;
    }
    let config = cx.hub.config().clone();
    let query = match login_token(head, fields) {
        jwt if fields.get(token::FIELD).is_empty() && !jwt.is_empty() => {
            format!("{}&{}={jwt}", head.query, token::FIELD).into()
        }
        _ => Cow::Borrowed(head.query),
    };
    let opening = Opening {
        revision,
        base64: websocket && wants_base64(fields),
        bodies: match wants_base64(fields) {
            true => Bodies::Text,
            false if is_timestamp_of_1_3(fields.get("t")) => Bodies::Bytes,
            false => Bodies::Any,
        },
        query: &query,
        proxied: is_proxied(head, cx),
        ip: client_ip(cx.peer, head, &config.trusted_proxies),
        referer: &head.referer,
        user_agent: &head.user_agent,
    };
    Some(socketio::open(cx.hub, &opening, websocket.then_some(cx.conn), cx.now))
}

/// The reply to a poll, with the encoded packets.
pub fn payload(body: Vec<u8>, binary: bool) -> Reply {
    let kind = if binary { "application/octet-stream" } else { "text/plain; charset=UTF-8" };
    Reply::new(200, kind, body).with("Cache-Control", "no-store")
}

/// The reply to a poll with a single noop packet.
pub fn noop(engine: Option<&mut Engine>) -> Reply {
    let (revision, bodies) = engine.map_or((Revision::V4, Bodies::Any), |engine| (engine.revision, engine.bodies));
    let mut composer = Composer::new(revision, bodies, 1);
    composer.push_text(b"6".into());
    let (body, binary) = composer.finish();
    payload(body, binary)
}

/// Whether a handshake without `EIO` is of revision 3: socket.io-client-swift before 16 sends no `EIO`, but `b64` or the fields
/// of a login. A request with nothing but fields of Engine.IO is refused, as by engine.io.
fn is_old_client(fields: &Fields<'_>) -> bool {
    fields.iter().any(|(name, value)| !value.is_empty() && !["EIO", "transport", "t", "j", "sid"].contains(&name))
}

/// Whether a client wants binary data as base64: `b64=1`.
fn wants_base64(fields: &Fields<'_>) -> bool {
    !fields.get("b64").is_empty()
}

/// Whether this is the `t` of a client before Socket.IO 1.4: the time in milliseconds, a hyphen, and a counter.
fn is_timestamp_of_1_3(t: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    t.split_once('-').is_some_and(|(time, counter)| time.len() >= 13 && is_number(time) && is_number(counter))
}

fn refusal(violation: Violation) -> Reply {
    let message = quote(&violation.to_string());
    let body = format!("{{\"code\":{},\"message\":{message}}}", violation.code());
    Reply::new(violation.status(), "application/json", body.into_bytes()).with("Cache-Control", "no-store")
}
