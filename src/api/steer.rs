//! Steering: pages are told to load themselves again, sessions are ended (contract section 7).

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use super::{
    Context, admin,
    html::{escape, page},
    notify::{Body, body, scalar},
};
use crate::{
    http::{Fields, Framing, Head, Reply, Request},
    hub::{TenantId, refresh::Target},
    websocket::Close,
};

/// `POST /api/refresh`: `refreshPage` for a room (`source` and `room_id`), a source, a session (`socket_id`), or without
/// any of these for everybody.
pub fn refresh(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let order = Order::read(request, cx)?;
    let source = order.source(cx)?;
    let room = order.get("room_id", order.get("room", ""));
    let target = match (source, room, order.get("socket_id", "")) {
        (None, "", "") => Target::All,
        (None, "", socket_id) => Target::Session(socket_id),
        (None, ..) => return Err(Reply::refusal(400, "source can not be null!")),
        (Some(source), "", _) => Target::Source(source),
        (Some(source), room, _) => Target::Room(source, room),
    };
    let told = cx.hub.refresh(target);
    Ok(done(told))
}

/// `POST /api/disconnect`: ends the sessions of a user (`userid`, of one `source` or of all), or one (`socket_id`).
pub fn disconnect(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let order = Order::read(request, cx)?;
    let source = order.source(cx)?;
    let sessions = match (order.get("userid", ""), order.get("socket_id", "")) {
        ("", "") => return Err(Reply::refusal(400, "userid or socket_id can not be null!")),
        ("", socket_id) => cx.hub.find_session(socket_id).into_iter().collect(),
        (userid, _) => cx.hub.sessions_of_user(source, userid),
    };
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
    let source = Some(fields.get("source")).filter(|source| !source.is_empty());
    let tenant = source.and_then(|source| cx.hub.known_tenant(source));
    let target = match (source, tenant, room) {
        (None, _, None) => Some(Target::All),
        (None, _, Some(room)) => Some(Target::Prefixed(room)),
        (Some(_), Some(tenant), None) => Some(Target::Source(tenant)),
        (Some(_), Some(tenant), Some(room)) => Some(Target::Room(tenant, room)),
        (Some(_), None, _) => None,
    };
    if let Some(target) = target {
        cx.hub.refresh(target);
    }
    page(format!("refreshPage:{}", escape(room.unwrap_or("undefined"))))
}

fn done(sessions: usize) -> Reply {
    let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"sessions\":{sessions}}}}}");
    Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
}

/// What an operator wants: fields of the query, and of a body that is a form or JSON.
struct Order<'a> {
    query: Fields<'a>,
    form: Fields<'a>,
    json: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

impl<'a> Order<'a> {
    /// Reads it, and lets nobody pass without the token, which may be one of the fields.
    fn read(request: &Request<'a>, cx: &mut Context<'_>) -> Result<Order<'a>, Reply> {
        let mut order = Order { query: request.head.fields(), form: Fields::default(), json: BTreeMap::new() };
        let empty = request.head.framing == Framing::Absent || request.body.is_empty();
        let read = if empty { Ok(()) } else { order.read_body(request) };
        // A wrong body is not discussed with strangers.
        admin::gate(&request.head, order.get("token", ""), cx)?;
        read.map(|()| order)
    }

    fn read_body(&mut self, request: &Request<'a>) -> Result<(), Reply> {
        match body(request)? {
            Body::Form(bytes) => self.form = Fields::parse(bytes),
            Body::Json(bytes) => {
                let wrong = |_| Reply::refusal(400, "the body must be a JSON object of strings and numbers");
                let fields: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_slice(bytes).map_err(wrong)?;
                for (name, value) in fields {
                    self.json.insert(name, scalar(value).map_err(|why| Reply::refusal(400, why))?);
                }
            }
        }
        Ok(())
    }

    fn get<'s>(&'s self, name: &str, default: &'s str) -> &'s str {
        let given = [self.json.get(name).map_or("", |value| value), self.form.get(name), self.query.get(name)];
        given.into_iter().find(|value| !value.is_empty()).unwrap_or(default)
    }

    fn source(&self, cx: &Context<'_>) -> Result<Option<TenantId>, Reply> {
        match self.get("source", "") {
            "" => Ok(None),
            source => match cx.hub.known_tenant(source) {
                Some(tenant) => Ok(Some(tenant)),
                None => Err(Reply::refusal(404, "this source can not be configured!")),
            },
        }
    }
}
