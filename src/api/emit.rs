//! `POST /api/emit`: any event, from a backend to a user, a room, a socket or everybody in a namespace (contract
//! section 8).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    context::Context,
    gate::gate,
    notify::{Body, FieldError, body, text_or_number},
};
use crate::{
    http::{Fields, Reply, Request},
    json::{Object, array_items, quote},
    message::Target,
    names::is_reserved,
    sign::{Signature, Subject},
    state::Refusal,
};

/// Answers how many sessions get it. Signed as a notification is, or sent with the admin token.
pub fn emit(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let order = Order::read(request)?;
    let refused = |refusal: Refusal| Reply::refusal(200, &refusal.text());
    let missing = |name: &str| Reply::refusal(200, &format!("{name} can not be null!"));
    let event = order.text("event")?;
    if event.is_empty() {
        return Err(missing("event"));
    }
    if is_reserved(&event) {
        return Err(Reply::refusal(200, "this event's name belongs to Socket.IO!"));
    }
    let source = order.text("source")?;
    if source.is_empty() {
        return Err(refused(Refusal::SourceMissing));
    }
    let nsp = match order.text("nsp")? {
        nsp if nsp.is_empty() => "/".into(),
        nsp => nsp,
    };
    let mut named = Vec::new();
    for kind in KINDS {
        let to = order.text(kind)?;
        if !to.is_empty() {
            named.push((kind, to));
        }
    }
    let (kind, to) = match named.as_slice() {
        [] => ("nsp", ""),
        [(kind, to)] => (*kind, &**to),
        _ => return Err(Reply::refusal(400, "room_id, userid and socket_id: one of them would be right")),
    };
    let tenant = cx.hub.state.known_tenant(&source).ok_or_else(|| refused(Refusal::SourceUnknown))?;
    let (signed, args) = order.arguments()?;
    let sign = order.text("sign")?;
    if sign.is_empty() {
        let token = order.text("token")?;
        if token.is_empty() && request.head.authorization.is_empty() && request.head.fields().get("token").is_empty() {
            return Err(refused(Refusal::NotifySignMissing));
        }
        gate(&request.head, &token, cx)?;
    } else {
        let (sign_type, ts) = (order.text("sign_type")?, order.text("ts")?);
        let subject = Subject::Emit { source: &source, nsp: &nsp, kind, to, event: &event, data: signed.as_bytes() };
        let tenant = cx.hub.state.tenant(&source).map_err(refused)?;
        if !cx.hub.state.verify(tenant, &subject, &Signature::new(&sign, &sign_type, &ts), cx.now) {
            cx.hub.state.stats.notifies_refused += 1;
            return Err(refused(Refusal::NotifySignWrong));
        }
    }
    let target = match kind {
        "room_id" => Target::Room(to),
        "userid" => Target::User(to),
        "socket_id" => Target::Session(to),
        _ => Target::Namespace,
    };
    if !cx.hub.state.has_namespace(&nsp) {
        return Err(refused(Refusal::NamespaceUnknown));
    }
    let sessions = cx.hub.emit_json(tenant, &nsp, &target, &event, &args);
    let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"sessions\":{sessions}}}}}");
    Ok(Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store"))
}

/// The fields of an order, of which `data` and `args` may be any JSON.
enum Order<'a> {
    Form(Box<Fields<'a>>),
    Json(Object<'a>),
}

impl<'a> Order<'a> {
    fn read(request: &Request<'a>) -> Result<Order<'a>, Reply> {
        match body(request)? {
            Body::Form(bytes) => Ok(Order::Form(Fields::parse(bytes).into())),
            Body::Json(bytes) => match serde_json::from_slice(bytes) {
                Ok(fields) => Ok(Order::Json(fields)),
                Err(_) => Err(Reply::refusal(400, "the body must be a JSON object")),
            },
        }
    }

    /// A field that is text.
    fn text(&self, name: &str) -> Result<Cow<'_, str>, Reply> {
        match self {
            Order::Form(fields) => match fields.all(name).nth(1) {
                None => Ok(fields.get(name).into()),
                Some(_) => Err(FieldError::Repeated.into()),
            },
            Order::Json(fields) => match fields.get(name) {
                None => Ok("".into()),
                Some(raw) => text_or_number(raw).map_err(Reply::from),
            },
        }
    }

    /// What is signed of the arguments, and the arguments with commas between them: `args` is a list of them, `data` is
    /// the only one, and without either there is none.
    fn arguments(&self) -> Result<(String, String), Reply> {
        match self {
            Order::Form(fields) => match (fields.get("args"), fields.get("data")) {
                ("", "") => Ok((String::new(), String::new())),
                ("", data) => Ok((data.to_owned(), quote(data))),
                (list, _) => Ok((list.to_owned(), inner(list)?)),
            },
            Order::Json(fields) => match (fields.get("args"), fields.get("data")) {
                (None, None) => Ok((String::new(), String::new())),
                (Some(list), _) => Ok((list.get().to_owned(), inner(list.get())?)),
                (None, Some(data)) => {
                    let value = serde_json::from_str::<String>(data.get());
                    Ok((value.unwrap_or_else(|_| data.get().to_owned()), data.get().to_owned()))
                }
            },
        }
    }
}

/// What stands in a JSON array.
fn inner(list: &str) -> Result<String, Reply> {
    match serde_json::from_str::<Vec<&RawValue>>(list) {
        Ok(_) => Ok(array_items(list).to_owned()),
        Err(_) => Err(Reply::refusal(400, "args is a JSON array")),
    }
}

/// The fields that name whom.
const KINDS: [&str; 3] = ["room_id", "userid", "socket_id"];
