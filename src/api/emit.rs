//! `POST /api/emit`: a backend sends an event to a user, a room, a session or a whole namespace (docs/protocol.md, POST
//! /api/emit).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    access::client_ip,
    body::{Body, FieldError, body, text_or_number},
    context::Context,
    gate::{self, gate_backend, has_token},
    refused::refused,
};
use crate::{
    http::{Fields, Reply, Request},
    json::{MAX_DEPTH, Object, array_items, is_deeper, quote, string},
    message::Target,
    names::is_reserved,
    sign::{Scheme, Signature, Subject},
    state::{Keyed, Refusal, Refused, Verified},
};

/// Sends an event. The answer contains the number of sessions of this relay that get it. The request carries a
/// signature or the admin token.
pub fn emit(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let params = Params::read(request)?;
    let refused = |refusal: Refusal| refused(200, refusal, None);
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
    if kind == "room_id" && to.contains(',') {
        return Err(refused(Refusal::RoomComma));
    }
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
        verified = match cx.hub.state.verify(tenant, &subject, &signature, cx.now) {
            Ok(verified) => verified,
            Err(refusal) => return Err(refuse(request, cx, &subject, &signature, refusal)),
        };
    }
    let key = params.text("idempotency_key")?;
    // The arguments, not the text that is signed: that is the same for a list in `data` and in `args`.
    let fields = ["emit", &nsp, kind, to, &event, &args].map(str::as_bytes);
    let repeated = Keyed::new(&source, &key, &fields)
        .and_then(|keyed| Ok((keyed, cx.hub.state.find_repeated(tenant, verified, keyed.as_ref(), cx.now)?)));
    let keyed = match repeated {
        Ok((_, Some(first))) => return Ok(accepted(first.sessions)),
        Ok((keyed, None)) => keyed,
        Err(refusal) => return Err(refuse(request, cx, &subject, &Signature::new(&sign, "", ""), refusal)),
    };
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
        return Err(refuse(request, cx, &subject, &Signature::new(&sign, "", ""), refusal));
    }
    let sessions = cx.hub.emit_json(tenant, &nsp, &target, &event, &args);
    if let Some(keyed) = &keyed {
        cx.hub.state.remember(tenant, keyed, sessions, cx.now);
    }
    Ok(accepted(sessions))
}

/// The answer to an event that was sent to `sessions` sessions of this relay.
fn accepted(sessions: usize) -> Reply {
    let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"sessions\":{sessions}}}}}");
    Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
}

/// Counts and logs an event whose signature or key is refused. Returns the answer.
fn refuse(
    request: &Request<'_>,
    cx: &mut Context<'_>,
    subject: &Subject<'_>,
    signature: &Signature<'_>,
    refusal: Refusal,
) -> Reply {
    let ip = client_ip(cx.peer, &request.head, &cx.hub.config().trusted_proxies);
    let reader = gate::reader(&request.head, cx);
    let state = &mut cx.hub.state;
    state.stats.notifies_refused += 1;
    if let Subject::Emit { source, nsp, to, event, .. } = *subject {
        let (why, reason) = (refusal.text(), refusal.reason());
        // A socket's id, a user and a room all are receivers.
        let facts = [("nsp", nsp), ("to", to), ("event", event)];
        let reason = reason.as_deref();
        let refused = Refused { what: "event", source, is_known: true, why: &why, reason, ip, facts: &facts };
        state.log_refusal(&refused);
    }
    let explanation = state.explain(subject, signature, refusal, reader);
    refused(200, refusal, explanation.as_ref())
}

/// The fields of a request. In JSON, `data` and `args` may be any value.
enum Params<'a> {
    Form(Box<Fields<'a>>),
    Json(Object<'a>),
}

impl<'a> Params<'a> {
    fn read(request: &Request<'a>) -> Result<Params<'a>, Reply> {
        match body(request)? {
            Body::Form(form) => Ok(Params::Form(form.fields().into())),
            Body::Json(text) => match serde_json::from_str(text) {
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
            Params::Form(_) => match (self.text("args")?, self.text("data")?) {
                (list, data) if list.is_empty() && data.is_empty() => Ok((String::new(), String::new())),
                (list, data) if list.is_empty() => Ok((data.to_string(), quote(&data))),
                (list, _) => Ok((list.to_string(), inner(&list)?)),
            },
            Params::Json(fields) => match (fields.get("args"), fields.get("data")) {
                (None, None) => Ok((String::new(), String::new())),
                (Some(list), _) => Ok((list.get().to_owned(), inner(list.get())?)),
                (None, Some(data)) => {
                    let signed = string(data.get()).unwrap_or(data.get().into());
                    Ok((signed.into_owned(), data.get().to_owned()))
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
