//! Kept messages by request: `GET /api/history`, and `GET /sse` with `poll=1` (docs/protocol.md, Recovery).

use std::rc::Rc;

use super::{
    access::client_ip,
    connect::{Peer, login, refuse},
    context::Context,
    gate::{self, has_token, login_token},
    refused::refused,
};
use crate::{
    history::{Position, Recovery, Since},
    hooks::Kind,
    http::{Fields, Head, Reply},
    hub::login::{Allowed, Login},
    json::write_strings,
    message::Form,
    state::{Refusal, TenantId},
};

/// The rooms that a request may read.
pub(super) struct Readable {
    /// Their tenant.
    pub tenant: TenantId,
    /// Their names, each once.
    pub rooms: Vec<Rc<str>>,
}

/// `GET /api/history`: the kept messages of rooms.
pub fn history(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    answer(head, cx).unwrap_or_else(|refusal| refusal).with("Cache-Control", "no-store")
}

fn answer(head: &Head<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let fields = head.fields();
    let wrong = |why: &str| Reply::refusal(400, why);
    let limit = match fields.get("limit") {
        "" => DEFAULT_LIMIT,
        text => text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| wrong(WRONG_LIMIT))?,
    };
    let since = match fields.get("since") {
        "" => None,
        text => Some(Since::parse(text).map_err(|error| wrong(&error.to_string()))?),
    };
    let readable = readable(head, &fields, fields.get("room_ids"), cx)?;
    let (hub, tenant) = (&*cx.hub, readable.tenant);
    let rooms: Vec<&str> = readable.rooms.iter().map(|room| &**room).collect();
    let Position { stamp, gaps } =
        hub.history.position(&hub.state, tenant, &rooms, &hub.allowed(since.unwrap_or(Since::All)));
    let total = hub.history.count_after(&hub.state, tenant, &rooms, stamp);
    // Without a position, the newest.
    let skip = if since.is_none() { total.saturating_sub(limit) } else { 0 };
    let mut out = b"{\"code\":1,\"msg\":\"\",\"data\":{\"messages\":[".to_vec();
    let (mut last, mut count) = (hub.state.ids.last(), 0);
    for found in hub.history.entries_after(&hub.state, tenant, &rooms, stamp).skip(skip).take(limit) {
        out.extend_from_slice(if count == 0 { b"{" } else { b",{" });
        let content = found.entry.content();
        let source = &hub.state.tenants[tenant.index()].name;
        found.message(content.data(), source, rooms[found.room], "/").write_fields(true, &mut out);
        (last, count) = (found.entry.stamp(), count + 1);
    }
    if skip + count == total {
        last = hub.state.ids.last();
    }
    let complete = gaps.is_empty() && count == total;
    out.extend_from_slice(format!("],\"complete\":{complete}").as_bytes());
    if !gaps.is_empty() {
        let missing: Vec<&str> = gaps.iter().map(|index| rooms[*index]).collect();
        out.extend_from_slice(b",\"rooms\":");
        write_strings(&mut out, &missing);
    }
    out.extend_from_slice(format!(",\"id\":\"{}\"}}}}", hub.history.id_at(last)).as_bytes());
    Ok(Reply::json(200, out))
}

/// `GET /sse?format=lines&poll=1`: the kept messages since the position, as lines, and then the end. `login` has the form of
/// lines.
pub fn lines(head: &Head<'_>, namespace: &str, login: &Login<'_>, cx: &mut Context<'_>) -> Reply {
    let readable = match by_login(head, namespace, login, cx) {
        Ok(readable) => readable,
        Err(refusal) => return refusal,
    };
    let (hub, tenant) = (&mut *cx.hub, readable.tenant);
    let rooms: Vec<&str> = readable.rooms.iter().map(|room| &**room).collect();
    let since = hub.allowed(login.since.unwrap_or(Since::All));
    let Position { stamp, gaps } = hub.history.position(&hub.state, tenant, &rooms, &since);
    let mut out = Vec::new();
    if login.since.is_some() {
        let missing: Vec<&str> = gaps.iter().map(|index| rooms[*index]).collect();
        let missed = hub.history.count_after(&hub.state, tenant, &rooms, stamp);
        Recovery { missing: &missing, missed, id: hub.history.id_at(stamp) }.count(&mut hub.state).write_line(&mut out);
    }
    let source = hub.state.tenants[tenant.index()].name.clone();
    for found in hub.history.entries_after(&hub.state, tenant, &rooms, stamp) {
        let content = found.entry.content();
        found.message(content.data(), &source, rooms[found.room], namespace).encode(Form::Lines, &mut out);
    }
    Reply::new(200, "application/x-ndjson", out).with("Cache-Control", "no-store")
}

/// Checks the login of a request, or its admin token. `room_ids` are the rooms that it asks for.
pub(super) fn readable(
    head: &Head<'_>,
    fields: &Fields<'_>,
    room_ids: &str,
    cx: &mut Context<'_>,
) -> Result<Readable, Reply> {
    let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
    if has_token(head) && fields.get("sign").is_empty() && login_token(head, fields).is_empty() {
        gate::gate_backend(head, "", [fields.get("source")], cx)?;
        let refused = |refusal| refused(200, refusal, None);
        let tenant = cx.hub.state.tenant(fields.get("source")).map_err(refused)?;
        let rooms = cx.hub.login_rooms(room_ids).map_err(refused)?;
        return Ok(Readable { tenant, rooms: rooms.names() });
    }
    let (namespace, login) = login(head, fields, ip, Form::JsonTime);
    by_login(head, namespace, &Login { room_ids, ..login }, cx)
}

/// Checks a login as for a session. What the backend would decide is not decided here: then it is refused.
fn by_login(head: &Head<'_>, namespace: &str, login: &Login<'_>, cx: &mut Context<'_>) -> Result<Readable, Reply> {
    let checked = cx.hub.check_login(namespace, login, cx.now);
    let Allowed { namespace: found, tenant, rooms } = match checked {
        Ok(admitted) => admitted,
        Err(refusal) => {
            log::debug!("{} may not read about its rooms: {}", Peer(login), refusal.text());
            return Err(refuse(head, cx, login, refusal));
        }
    };
    if cx.hub.hooks.has_hook(&cx.hub.state, found, Kind::Connect) {
        return Err(Reply::refusal(403, BACKEND_DECIDES));
    }
    let Some(rooms) = rooms else { return Err(refused(401, Refusal::RoomsMissing, None)) };
    Ok(Readable { tenant, rooms })
}

/// Messages of an answer, unless the request says otherwise.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
const WRONG_LIMIT: &str = "limit must be a whole number from 1 to 1000";
const BACKEND_DECIDES: &str = "the backend decides about logins to this namespace: read this with the admin token";
