//! Streams: logins with `GET /sse` (docs/protocol.md, Server-Sent Events).

use core::net::IpAddr;

use log::debug;

use super::{
    access::{client_ip, origin_allowed, refuses_origin},
    connect::{Peer, login, origin_refused, refuse},
    context::Context,
    cors::{preflight, with_credentials},
    history,
    outcome::Outcome,
    path::normal,
};
use crate::{
    config::Config,
    history::Since,
    http::{self, Fields, Head, Reply, reply::endless_head},
    hub::login::{Admitted, Login},
    key::Handle,
    message::{Form, stream::retry},
};

/// Whether a request is one for a stream: to `/sse`, or to the path of WebSockets without an upgrade, by a client that accepts
/// a stream of events.
pub fn is_stream(head: &Head<'_>, config: &Config) -> bool {
    let path = head.path();
    let is = |known: &str| normal(&path).eq_ignore_ascii_case(normal(known));
    match is(&config.websocket.path) {
        true => !head.upgrade && matches!(head.method, "GET" | "HEAD") && accepts_events(head.accept),
        false => is_path(&path, config),
    }
}

/// Whether a path is that of streams only.
pub fn is_path(path: &str, config: &Config) -> bool {
    let is = |known: &str| normal(path).eq_ignore_ascii_case(normal(known));
    is(PATH) && !is(&config.websocket.path) && !config.socketio.paths.iter().any(|known| is(known))
}

/// A request for a stream. Returns the head of a response that does not end, or a reply.
pub fn stream(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    let config = cx.hub.config().clone();
    let origin = if origin_allowed(head.origin, &config) { head.origin } else { "" };
    match open(head, origin, cx) {
        Outcome::Reply(reply) => {
            let reply = if origin.is_empty() { reply } else { with_credentials(reply, origin) };
            match head.method {
                "OPTIONS" => preflight(reply, head, "GET", !origin.is_empty()).into(),
                _ => reply.into(),
            }
        }
        other => other,
    }
}

/// Logs in, or says why not. `origin` is the `Origin` of a page that may read the answer.
fn open(head: &Head<'_>, origin: &str, cx: &mut Context<'_>) -> Outcome {
    match head.method {
        "GET" | "HEAD" => {}
        "OPTIONS" => return Reply::new(204, "", &b""[..]).with("Allow", METHODS).into(),
        _ => return Reply::refusal(405, "this is read with GET").with("Allow", METHODS).into(),
    }
    let fields = head.fields();
    let form = match fields.get("format") {
        "" | "json" => Form::Sse,
        "text" => Form::SseText,
        "lines" => Form::Lines,
        _ => return Reply::refusal(400, "format is json, text or lines").into(),
    };
    let event_source = form != Form::Lines;
    let seed = cx.conn.key().to_bits() ^ cx.now.time.micros();
    let later = |reply: Reply| if event_source { come_back(seed) } else { reply };
    if cx.stopping {
        return later(Reply::refusal(503, "relay is stopping, come back").with("Retry-After", "1")).into();
    }
    if cx.hub.state.is_short_of_memory() {
        cx.hub.state.stats.memory_connections_refused += 1;
        return later(http::Error::Memory.into()).into();
    }
    if refuses_origin(head, cx) {
        return origin_refused(head).with("Access-Control-Allow-Origin", "*").into();
    }
    let config = cx.hub.config().clone();
    let ip = client_ip(cx.peer, head, &config.trusted_proxies);
    let (namespace, login) = stream_login(head, &fields, ip, form);
    if cx.refuses_address(ip, true) {
        debug!("{} was refused: limits.per_address", Peer(&login));
        return later(http::Error::TooManyFromAddress.into()).into();
    }
    if form == Form::Lines && fields.get("poll") == "1" {
        return history::lines(head, namespace, &login, cx).into();
    }
    let response = response(form, origin, cx.now.unix);
    if head.method == "HEAD" {
        return match cx.hub.check_login(namespace, &login, cx.now) {
            Ok(_) => Outcome::Last(response),
            Err(refusal) => refuse(head, cx, &login, refusal).into(),
        };
    }
    match cx.hub.admit(namespace, &login, head.query, cx.conn, cx.now) {
        Ok(Admitted { client, pending: true, .. }) => {
            debug!("{} waits for the backend to admit it", Peer(&login));
            Outcome::AwaitBackend { client, response, origin: origin.into(), event_source }
        }
        Ok(Admitted { client, .. }) => {
            debug!("{} connected to rooms {:?} of source {:?}", Peer(&login), login.room_ids, login.source);
            Outcome::Upgrade { client, response }
        }
        Err(refusal) => {
            debug!("{} was refused: {}", Peer(&login), refusal.text());
            refuse(head, cx, &login, refusal).into()
        }
    }
}

/// The namespace and the login in a request for a stream.
fn stream_login<'a>(
    head: &'a Head<'_>,
    fields: &'a Fields<'_>,
    ip: Option<IpAddr>,
    form: Form,
) -> (&'a str, Login<'a>) {
    let (namespace, mut login) = login(head, fields, ip, form);
    // An EventSource repeats its URL at each attempt, so what it says in the header is newer.
    let since = head.last_event_id.filter(|id| !id.is_empty()).or(fields.find("since"));
    // An EventSource would repeat a wrong one for ever.
    login.since = since.map(|text| Since::parse(text).unwrap_or(Since::Unknown));
    (namespace, login)
}

/// The head of a stream. Its body ends with the connection, so that all clients of a room can share the same bytes.
fn response(form: Form, origin: &str, unix: u64) -> Vec<u8> {
    let content_type = if form == Form::Lines { "application/x-ndjson" } else { EVENT_STREAM };
    let reply = Reply::new(200, content_type, &b""[..])
        .with("Cache-Control", "no-cache, no-transform")
        // nginx would keep messages back.
        .with("X-Accel-Buffering", "no");
    let reply = if origin.is_empty() { reply } else { with_credentials(reply, origin) };
    endless_head(content_type, &reply.headers, unix)
}

/// The answer to an EventSource that may come back later: any status but 200 would end it for good. It waits for 2 to 10
/// seconds. `seed` is any number that differs between clients.
pub fn come_back(seed: u64) -> Reply {
    let body = format!("retry: {}\n\n", retry(2000, 10_000, seed));
    Reply::new(200, EVENT_STREAM, body.into_bytes()).with("Cache-Control", "no-store")
}

/// Whether an answer to the request must be one that an EventSource survives. Its format is not one for other programs.
pub fn is_event_source(head: &Head<'_>, config: &Config) -> bool {
    is_stream(head, config) && matches!(head.method, "GET" | "HEAD") && head.fields().get("format") != "lines"
}

/// Whether a client lists event streams in `Accept` (RFC 9110 section 12.5.1).
fn accepts_events(accept: &str) -> bool {
    let media_type =
        |range: &str| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENT_STREAM);
    accept.split(',').any(media_type)
}

/// The path of streams.
const PATH: &str = "/sse";
/// The methods of the path of streams.
const METHODS: &str = "GET, HEAD, OPTIONS";
const EVENT_STREAM: &str = "text/event-stream";
