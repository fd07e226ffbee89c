//! Sessions as operators look for them (docs/protocol.md, Sessions): a search, all about one, and the generations of clients.

use core::time::Duration;

use super::{
    context::Context,
    outcome::Outcome,
    source::find_source,
    why::{language, local},
};
use crate::{
    engineio::Revision,
    http::{Head, Reply},
    hub::{Hub, why::Question},
    json::{ObjectWriter, quote},
    key::SessionKey,
    language::Language,
    message::Form,
    presence::search::{self, Order, Wanted, library, revision},
    state::{
        SessionInfo,
        client::{Carrier, Mode},
    },
};

/// What the server knows about the connection of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// Whether it uses TLS.
    pub tls: bool,
    /// Bytes that the kernel has sent and the peer has not confirmed, if that is known.
    pub unconfirmed: Option<u32>,
    /// The heartbeat of a plain WebSocket.
    pub heartbeat: Option<Heartbeat>,
}

/// How far a heartbeat is.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Whether a ping is unanswered.
    pub asked: bool,
    /// How long it takes until the next ping; if one is unanswered, until the client is given up.
    pub next: Duration,
}

/// `GET /api/sessions?source=&search=&room_id=&order=&limit=&after=`: sessions of this relay.
pub fn sessions(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    list(head, cx).unwrap_or_else(|refusal| refusal).with("Cache-Control", "no-store")
}

fn list(head: &Head<'_>, cx: &Context<'_>) -> Result<Reply, Reply> {
    let fields = head.fields();
    let wrong = |why: &str| Reply::refusal(400, why);
    let tenant = find_source(&fields, cx)?;
    let number = |name: &str, default: usize| match fields.get(name) {
        "" => Some(default),
        text => text.parse().ok(),
    };
    let order = match fields.get("order") {
        "" => Order::Any,
        "newest" => Order::Newest,
        "unsent" => Order::Unsent,
        _ => return Err(wrong("order must be newest or unsent")),
    };
    let most = number("limit", DEFAULT_LIMIT).filter(|limit| (1..=MAX_LIMIT).contains(limit));
    let (Some(most), Some(after)) = (most, number("after", 0)) else {
        return Err(wrong("limit must be 1 to 200, and after the number that the last answer has as next"));
    };
    let (text, room) = (fields.get("search"), fields.get("room_id"));
    if text.len() > MAX_SEARCH {
        return Err(wrong("search must have at most 200 bytes"));
    }
    let state = &cx.hub.state;
    let found = search::find(state, &Wanted { tenant, text, room, order, after, most });
    let records = found.sessions.iter().filter_map(|key| {
        let mut out = vec![b'{'];
        write_session(*key, cx.hub, MAX_TEXT, &mut out)?;
        out.push(b'}');
        String::from_utf8(out).ok()
    });
    let records: Vec<String> = records.collect();
    let (name, total, _) =
        state.tenants().find(|(name, ..)| state.known_tenant(name) == Some(tenant)).unwrap_or_default();
    Ok(Reply::json(
        200,
        format!(
            "{{\"source\":{},\"sessions\":{total},\"next\":{},\"list\":[{}]}}",
            quote(name),
            found.next.map_or("null".into(), |next| next.to_string()),
            records.join(",")
        )
        .into_bytes(),
    ))
}

/// `GET /api/session?socket_id=&language=`: all about a session of this relay.
pub fn session(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    find(head, cx).unwrap_or_else(|refusal| refusal.with("Cache-Control", "no-store").into())
}

fn find(head: &Head<'_>, cx: &Context<'_>) -> Result<Outcome, Reply> {
    let fields = head.fields();
    let socket_id = fields.get("socket_id");
    if socket_id.is_empty() {
        return Err(Reply::refusal(400, NO_SOCKET_ID));
    }
    let language = language(&fields)?;
    let found = cx.hub.state.find_session(socket_id).filter(|key| !cx.hub.state.is_pending(*key));
    found.map(|key| Outcome::Describe(key, language)).ok_or_else(|| Reply::refusal(404, NO_SESSION))
}

/// The answer to `GET /api/session`. `confirmed` is the stamp up to which its client has all messages, if that is known.
pub fn describe(
    key: SessionKey,
    language: Language,
    connection: &Connection,
    confirmed: Option<u64>,
    hub: &Hub,
) -> Reply {
    let body = describe_session(key, language, connection, confirmed, hub);
    let reply = body.map_or_else(|| Reply::refusal(404, NO_SESSION), |body| Reply::json(200, body));
    reply.with("Cache-Control", "no-store")
}

fn describe_session(
    key: SessionKey,
    language: Language,
    connection: &Connection,
    confirmed: Option<u64>,
    hub: &Hub,
) -> Option<Vec<u8>> {
    let (state, now) = (&hub.state, hub.state.now);
    let session = state.sessions.get(key)?;
    let (tenant, client) = (session.tenant, session.client);
    let mut out = format!("{{\"source\":{}", quote(&state.tenants[tenant.index()].name)).into_bytes();
    write_session(key, hub, MAX_LONG_TEXT, &mut out)?;
    let names = state.room_names(session);
    let rooms = names.iter().take(MAX_ROOMS).map(|room| {
        let (members, keeps) = (state.member_count(tenant, room), hub.history.has_rule(state, tenant, room));
        format!("{{\"room_id\":{},\"members\":{members},\"kept\":{keeps}}}", quote(room))
    });
    let rooms: Vec<_> = rooms.collect();
    let mut line = ObjectWriter::within(&mut out);
    line.raw("all_rooms", |out| out.extend_from_slice(format!("[{}]", rooms.join(",")).as_bytes()));
    line.raw("client", |out| out.extend_from_slice(describe_client(key, session.form, connection, hub).as_bytes()));
    line.raw("heartbeat", |out| out.extend_from_slice(heartbeat(key, connection, hub).as_bytes()));
    let recovery = state.tracks.get(client).map_or("null".to_owned(), |track| {
        let rooms: Vec<&str> = names.iter().map(|room| &**room).collect();
        let position = confirmed.unwrap_or(track.proven());
        let waiting = hub.history.count_after(state, tenant, &rooms, position);
        format!("{{\"confirmed\":\"{}\",\"unconfirmed\":{waiting}}}", hub.history.id_at(position))
    });
    line.raw("recovery", |out| out.extend_from_slice(recovery.as_bytes()));
    let (userid, socket_id) = (state.user_of(key), state.socket_id(key));
    // Of one without a user, what happened to the session itself.
    let socket_id = if userid.is_empty() { &*socket_id } else { "" };
    let events =
        hub.explain(&Question { tenant, id: None, userid, room: "", socket_id, confirmed: &[] }, language).lines;
    let events = events.iter().skip(events.len().saturating_sub(MAX_EVENTS));
    let events =
        events.map(|event| format!("{{\"time\":{},\"text\":{}}}", quote(&local(event.time, now)), quote(&event.text)));
    let events: Vec<_> = events.collect();
    line.raw("events", |out| out.extend_from_slice(format!("[{}]", events.join(",")).as_bytes()));
    out.push(b'}');
    Some(out)
}

fn describe_client(key: SessionKey, form: Form, connection: &Connection, hub: &Hub) -> String {
    let state = &hub.state;
    let client = state.sessions.get(key).map(|session| session.client);
    let sessions = client.map(|client| state.sessions_of(client)).unwrap_or_default();
    let sessions = sessions.iter().filter_map(|key| state.sessions.get(*key));
    let namespaces: Vec<_> =
        sessions.map(|session| quote(&state.namespaces[session.namespace as usize].name)).collect();
    let revision = match revision(form) {
        Some(Revision::V3) => "3",
        Some(Revision::V4) => "4",
        None => "null",
    };
    let unconfirmed = connection.unconfirmed.map_or("null".into(), |bytes| bytes.to_string());
    format!(
        "{{\"library\":\"{}\",\"revision\":{revision},\"namespaces\":[{}],\"tls\":{},\"unconfirmed\":{unconfirmed}}}",
        library(form),
        namespaces.join(","),
        connection.tls
    )
}

/// The heartbeat of a session's client.
fn heartbeat(key: SessionKey, connection: &Connection, hub: &Hub) -> String {
    let state = &hub.state;
    let socket = state.sessions.get(key).and_then(|session| state.clients.get(session.client)?.socket.as_ref());
    let (interval, timeout) = match socket {
        Some(_) => (hub.config().socketio.ping_interval, hub.config().socketio.ping_timeout),
        None => (hub.config().websocket.ping_interval, hub.config().websocket.ping_timeout),
    };
    let beat = match socket {
        Some(socket) => {
            let (asked, due) = socket.engine.heartbeat();
            Some(Heartbeat { asked, next: due.since(state.now.time) })
        }
        None => connection.heartbeat,
    };
    let Some(Heartbeat { asked, next }) = beat else { return "null".into() };
    let state = if asked { "asked" } else { "alive" };
    format!(
        "{{\"state\":\"{state}\",\"next\":{:.1},\"interval\":{},\"timeout\":{}}}",
        next.as_secs_f64(),
        interval.as_secs_f64(),
        timeout.as_secs_f64()
    )
}

/// Writes the fields that lists have too. `None` if the session is gone.
fn write_session(key: SessionKey, hub: &Hub, longest: usize, out: &mut Vec<u8>) -> Option<()> {
    let state = &hub.state;
    let session = state.sessions.get(key)?;
    let client = state.clients.get(session.client)?;
    let names = state.room_names(session);
    let info = SessionInfo { rooms: None, ..state.info(key, session) };
    let mut line = ObjectWriter::within(out);
    line.cut_texts(longest);
    info.write(&mut line);
    line.display("since", session.identity.since());
    line.display("room_count", names.len());
    let first: Vec<_> = names.iter().take(FIRST_ROOMS).map(|room| quote(room)).collect();
    line.raw("rooms", |out| out.extend_from_slice(format!("[{}]", first.join(",")).as_bytes()));
    line.text(
        "transport",
        match client.carrier() {
            _ if session.form.is_stream() => "stream",
            _ if state.is_polling(session.client) => "polling",
            Carrier::Nothing => "none",
            Carrier::Socket(_) | Carrier::Poll(_) => "websocket",
        },
    );
    line.display("unsent", client.outbox.bytes());
    line.text(
        "state",
        match client.mode {
            Mode::Live => "live",
            Mode::Behind => "behind",
            Mode::Ending => "ending",
        },
    );
    Some(())
}

/// `GET /api/generations?source=`: how many clients of which protocol each page has.
pub fn generations(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    count(head, cx).unwrap_or_else(|refusal| refusal).with("Cache-Control", "no-store")
}

fn count(head: &Head<'_>, cx: &Context<'_>) -> Result<Reply, Reply> {
    let fields = head.fields();
    let tenant = match fields.get("source") {
        "" => None,
        _ => Some(find_source(&fields, cx)?),
    };
    let found = search::generations(&cx.hub.state, tenant, MAX_LIMIT);
    let list = found.iter().map(|found| {
        let search::Generation { protocol, library, page, clients, browsers, example } = found;
        format!(
            "{{\"protocol\":\"{protocol}\",\"library\":\"{library}\",\"page\":{},\"clients\":{clients},\"browsers\":{browsers},\
             \"example\":{}}}",
            quote(page),
            quote(&cx.hub.state.socket_id(*example))
        )
    });
    let list: Vec<_> = list.collect();
    Ok(Reply::json(200, format!("{{\"list\":[{}]}}", list.join(",")).into_bytes()))
}

const NO_SOCKET_ID: &str = "socket_id can not be null!";
const NO_SESSION: &str = "no session of this relay has this socket_id";
/// Sessions of an answer, unless the request says otherwise, and the most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
/// Bytes of a text that is searched for.
const MAX_SEARCH: usize = 200;
/// Bytes of a field in a list, and in the description of one session.
const MAX_TEXT: usize = 300;
const MAX_LONG_TEXT: usize = 8192;
/// Rooms of a session in a list, and in its description.
const FIRST_ROOMS: usize = 10;
const MAX_ROOMS: usize = 500;
/// Events of a session's description.
const MAX_EVENTS: usize = 50;
