//! Steering: pages are told to load themselves again, sessions are ended (contract section 7).

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use super::{
    context::Context,
    gate::gate,
    html::{escape, page},
    notify::{Body, body, text_or_number},
};
use crate::{
    cluster::RefreshTarget as Target,
    http::{Fields, Framing, Head, Reply, Request},
    key::SessionKey,
    state::TenantId,
    websocket::Close,
};

/// `POST /api/refresh`: `refreshPage` for a room (`source` and `room_id`), a source, a session (`socket_id`), or with
/// `all=1` for everybody.
pub fn refresh(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let order = Order::read(request, cx, &["source", "room_id", "room", "socket_id", "all"])?;
    let source = order.source(cx)?;
    let room = order.get("room_id").or(order.get("room"));
    let target = match (source, room, order.get("socket_id"), order.get("all")) {
        (None, None, None, Some("1" | "true")) => Target::All,
        (source, None, Some(socket_id), None) => Target::Session(source, socket_id.into()),
        (Some(source), None, None, None) => Target::Source(source),
        (Some(source), Some(room), None, None) => Target::Room(source, room.into()),
        (None, Some(_), None, None) => return Err(Reply::refusal(400, "source can not be null!")),
        _ => return Err(Reply::refusal(400, "say whom: source and room_id, source, socket_id, or all=1")),
    };
    let told = cx.hub.refresh(&target);
    Ok(done(told))
}

/// `POST /api/disconnect`: ends the sessions of a user (`userid`, of one `source` or of all), or one (`socket_id`).
pub fn disconnect(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let order = Order::read(request, cx, &["source", "userid", "socket_id"])?;
    let source = order.source(cx)?;
    let sessions: Vec<SessionKey> = match (order.get("userid"), order.get("socket_id")) {
        (None, Some(socket_id)) => order.session(socket_id, source, cx).into_iter().collect(),
        (Some(userid), None) => cx.hub.state.sessions_of_user(source, userid),
        (None, None) => return Err(Reply::refusal(400, "userid or socket_id can not be null!")),
        (Some(_), Some(_)) => {
            return Err(Reply::refusal(400, "userid and socket_id are both given: one would be right"));
        }
    };
    let found =
        !sessions.is_empty() || order.get("socket_id").is_some_and(|name| cx.hub.state.find_session(name).is_some());
    if !found || order.get("userid").is_some() {
        cx.hub.cluster.publish_disconnect(&mut cx.hub.state, source, order.get("userid"), order.get("socket_id"));
    }
    for session in &sessions {
        cx.hub.expel(*session, Close::OPERATOR, cx.now);
    }
    Ok(done(sessions.len()))
}

/// `GET /refreshpage`: the old server's page. `room` is a source's and a room's name in one, or a session's name; or with
/// `source` just the room's. Without it everybody is told.
pub fn refresh_page(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    let fields = head.fields();
    let room = fields.all("room").next();
    // Empty and beside a room it means nothing; alone it is somebody's slip, and not everybody.
    let source = fields.all("source").next().filter(|source| !source.is_empty() || room.is_none());
    let tenant = source.and_then(|source| cx.hub.state.known_tenant(source));
    let target = match (source, tenant, room) {
        (None, _, None) => Some(Target::All),
        (None, _, Some(room)) => Some(Target::Prefixed(room.into())),
        (Some(_), Some(tenant), None) => Some(Target::Source(tenant)),
        (Some(_), Some(tenant), Some(room)) => Some(Target::Room(tenant, room.into())),
        (Some(_), None, _) => None,
    };
    if let Some(target) = target {
        cx.hub.refresh(&target);
    }
    page(format!("refreshPage:{}", escape(room.unwrap_or("undefined"))))
}

fn done(sessions: usize) -> Reply {
    let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"sessions\":{sessions}}}}}");
    Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
}

/// What an operator wants: fields of the query, and of a body that is a form or JSON. Each must be known, be said once,
/// and say something: half an order would be another one.
struct Order {
    pairs: Vec<(String, String)>,
}

impl Order {
    /// Reads it, and lets nobody pass without the token, which may be one of the fields.
    fn read(request: &Request<'_>, cx: &mut Context<'_>, known: &[&str]) -> Result<Order, Reply> {
        let mut order = Order { pairs: owned(&request.head.fields()) };
        let empty = request.head.framing == Framing::Absent || request.body.is_empty();
        let read = if empty { Ok(()) } else { order.read_body(request) };
        // A wrong body is not discussed with strangers.
        gate(&request.head, order.get("token").unwrap_or_default(), cx)?;
        read?;
        for (index, (name, value)) in order.pairs.iter().enumerate().filter(|(_, (name, _))| name != "token") {
            let wrong = match () {
                () if !known.contains(&&**name) => format!("there is no field {name:?}"),
                () if value.is_empty() => format!("{name} is empty"),
                () if order.pairs[..index].iter().any(|(before, _)| before == name) => format!("{name} is given twice"),
                () => continue,
            };
            return Err(Reply::refusal(400, &wrong));
        }
        Ok(order)
    }

    fn read_body(&mut self, request: &Request<'_>) -> Result<(), Reply> {
        match body(request)? {
            Body::Form(bytes) => self.pairs.extend(owned(&Fields::parse(bytes))),
            Body::Json(bytes) => {
                let wrong = |_| Reply::refusal(400, "the body must be a JSON object of strings and numbers");
                let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(bytes).map_err(wrong)?;
                for (name, value) in fields {
                    let value = match value.get() {
                        "true" => "true".into(),
                        _ => text_or_number(value)?,
                    };
                    self.pairs.push((name.into_owned(), value.into_owned()));
                }
            }
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn source(&self, cx: &Context<'_>) -> Result<Option<TenantId>, Reply> {
        let Some(source) = self.get("source") else { return Ok(None) };
        let unknown = || Reply::refusal(404, "this source can not be configured!");
        cx.hub.state.known_tenant(source).map(Some).ok_or_else(unknown)
    }

    /// The session of that name, if it is the source's.
    fn session(&self, socket_id: &str, source: Option<TenantId>, cx: &Context<'_>) -> Option<SessionKey> {
        let found = cx.hub.state.find_session(socket_id)?;
        (source.is_none() || cx.hub.state.tenant_of(found) == source).then_some(found)
    }
}

fn owned(fields: &Fields<'_>) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
