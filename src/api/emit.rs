//! `POST /api/emit`: a backend sends an event to a user, a room, a session or a whole namespace (docs/protocol.md, POST
//! /api/emit).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    context::Context,
    gate::{gate_backend, has_token},
    notify::{Body, FieldError, body, text_or_number},
};
use crate::{
    http::{Fields, Reply, Request},
    json::{MAX_DEPTH, Object, array_items, is_deeper, quote},
    message::Target,
    names::is_reserved,
    sign::{Scheme, Signature, Subject},
    state::{Refusal, Verified},
};

/// Sends an event. The answer contains the number of sessions of this relay that get it. The request carries a
/// signature or the admin token.
pub fn emit(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let params = Params::read(request)?;
    let refused = |refusal: Refusal| Reply::refusal(200, &refusal.text());
    let missing = |name: &str| Reply::refusal(200, &format!("{name} can not be null!"));
    let event = params.text("event")?;
    if event.is_empty() {
        return Err(missing("event"));
    }
    if is_reserved(&event) {
        return Err(Reply::refusal(200, "this event's name belongs to Socket.IO!"));
    }
    let source = params.text("source")?;
    if source.is_empty() {
        return Err(refused(Refusal::SourceMissing));
    }
    let nsp = match params.text("nsp")? {
        nsp if nsp.is_empty() => "/".into(),
        nsp => nsp,
    };
    let mut named = Vec::new();
    for kind in KINDS {
        let to = params.text(kind)?;
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
    let (signed, args) = params.arguments()?;
    if is_deeper(&args, MAX_DEPTH) {
        return Err(refused(Refusal::TooDeep("args")));
    }
    let subject = Subject::Emit { source: &source, nsp: &nsp, kind, to, event: &event, data: signed.as_bytes() };
    if let Some(field) = subject.control_field(Scheme::HmacSha256) {
        return Err(refused(Refusal::ControlCharacter(field)));
    }
    let mut verified = Verified::UNSIGNED;
    let sign = params.text("sign")?;
    if sign.is_empty() {
        let token = params.text("token")?;
        if token.is_empty() && !has_token(&request.head) {
            return Err(refused(Refusal::NotifySignMissing));
        }
        gate_backend(&request.head, &token, [&*source], cx)?;
    } else {
        let (sign_type, ts) = (params.text("sign_type")?, params.text("ts")?);
        let tenant = cx.hub.state.tenant(&source).map_err(refused)?;
        let signature = Signature::new(&sign, &sign_type, &ts);
        verified = cx.hub.state.verify(tenant, &subject, &signature, cx.now).map_err(|refusal| {
            cx.hub.state.stats.notifies_refused += 1;
            refused(refusal)
        })?;
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
    if let Err(refusal) = cx.hub.state.accept(tenant, verified, cx.now) {
        cx.hub.state.stats.notifies_refused += 1;
        return Err(refused(refusal));
    }
    let sessions = cx.hub.emit_json(tenant, &nsp, &target, &event, &args);
    let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"sessions\":{sessions}}}}}");
    Ok(Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store"))
}

/// The fields of a request. In JSON, `data` and `args` may be any value.
enum Params<'a> {
    Form(Box<Fields<'a>>),
    Json(Object<'a>),
}

impl<'a> Params<'a> {
    fn read(request: &Request<'a>) -> Result<Params<'a>, Reply> {
        match body(request)? {
            Body::Form(bytes) => Ok(Params::Form(Fields::parse(bytes).into())),
            Body::Json(bytes) => match serde_json::from_slice(bytes) {
                Ok(fields) => Ok(Params::Json(fields)),
                Err(_) => Err(Reply::refusal(400, "the body must be a JSON object")),
            },
        }
    }

    /// A text field; empty if it is missing.
    fn text(&self, name: &str) -> Result<Cow<'_, str>, Reply> {
        match self {
            Params::Form(fields) => match fields.all(name).nth(1) {
                None => Ok(fields.get(name).into()),
                Some(_) => Err(FieldError::Repeated.into()),
            },
            Params::Json(fields) => match fields.get(name) {
                None => Ok("".into()),
                Some(raw) => text_or_number(raw).map_err(Reply::from),
            },
        }
    }

    /// The text that is signed, and the arguments as JSON values with commas between them: those in the array `args`, or
    /// `data` as the only argument, or none.
    fn arguments(&self) -> Result<(String, String), Reply> {
        match self {
            Params::Form(fields) => match (fields.get("args"), fields.get("data")) {
                ("", "") => Ok((String::new(), String::new())),
                ("", data) => Ok((data.to_owned(), quote(data))),
                (list, _) => Ok((list.to_owned(), inner(list)?)),
            },
            Params::Json(fields) => match (fields.get("args"), fields.get("data")) {
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

/// The text between the brackets of a JSON array.
fn inner(list: &str) -> Result<String, Reply> {
    match serde_json::from_str::<Vec<&RawValue>>(list) {
        Ok(_) => Ok(array_items(list).to_owned()),
        Err(_) => Err(Reply::refusal(400, "args is a JSON array")),
    }
}

/// The fields that choose the receivers; at most one is given.
const KINDS: [&str; 3] = ["room_id", "userid", "socket_id"];
