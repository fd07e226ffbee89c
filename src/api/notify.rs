//! Notifications from backends: `POST /api/notify` and `POST /api/notify/batch` (docs/protocol.md, Notifications).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    access::client_ip,
    body::{Body, FieldError, body, text_or_number},
    context::Context,
    gate::{self, gate_backend, has_token},
    refused::refused_json,
};
use crate::{
    http::{Fields, Head, Reply, Request},
    journal::{self, EVERY, Reason, What},
    json::{MAX_DEPTH, Object, is_deeper, quote, string},
    message::{
        Data,
        new_msg::{MAX_COPIES_SIZE, copies_size},
    },
    names::{Rooms, is_file_safe},
    receipts::{Answer, ReceiptRequest, check_rooms},
    room_hash::room_hash,
    sign::{Signature, Subject},
    state::{Keyed, Reader, Refusal, Refused, Verified},
};

/// `POST /api/notify`: one notification, as a form or as JSON.
pub fn single(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Notified, Reply> {
    let mut answer = cx.hub.receipts.answers.begin();
    let accepted = match body(request)? {
        Body::Form(form) => {
            let fields = form.fields();
            let notification = Notification::from_form(&fields)?;
            let proof = notification.proof(&request.head, cx)?;
            notification.publish(proof, &request.head, cx, true, &mut answer)
        }
        Body::Json(text) => {
            let fields = serde_json::from_str::<Object<'_>>(text).map_err(|_| FieldError::NotObject)?;
            let notification = Notification::from_json(&fields)?;
            let proof = notification.proof(&request.head, cx)?;
            notification.publish(proof, &request.head, cx, true, &mut answer)
        }
    };
    match accepted {
        Ok(Written::Nothing) => Ok(Notified::Now(Reply::json(200, SUCCESS.as_bytes()))),
        Ok(Written::Result) => Ok(Notified::new(answer, cx)),
        Err(rejection) => Err(Reply::json(200, rejection.json.into_bytes())),
    }
}

/// `POST /api/notify/batch`: up to 10,000 notifications as JSON, each signed unless the request has a token. They are
/// published in order, and each has its own result in the answer. With a wrong token none is published.
pub fn batch(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Notified, Reply> {
    let Body::Json(text) = body(request)? else {
        return Err(Reply::refusal(415, "a batch is application/json"));
    };
    let fields = serde_json::from_str::<Object<'_>>(text).ok();
    let messages = fields.as_ref().and_then(|fields| {
        let messages = fields.get("messages")?;
        serde_json::from_str::<Vec<&RawValue>>(messages.get()).ok()
    });
    let (Some(fields), Some(messages)) = (fields.as_ref(), messages) else {
        return Err(Reply::refusal(400, "the body must be {\"messages\":[…]}"));
    };
    if messages.len() > MAX_BATCH {
        return Err(Reply::refusal(413, &format!("a batch has at most {MAX_BATCH} messages")));
    }
    let parsed: Vec<Result<Notification<'_>, FieldError>> =
        messages.iter().map(|message| Notification::from_text(message.get())).collect();
    let token = fields.get("token").map_or(Ok("".into()), |raw| text_or_number(raw))?;
    let by_token = !token.is_empty() || has_token(&request.head);
    let mut unsigned = parsed.iter().flatten().filter(|known| known.sign.is_empty()).map(|known| &*known.source);
    // Once for all, so that a batch counts as one wrong token.
    if by_token && let Some(first) = unsigned.next() {
        gate_backend(&request.head, &token, [first].into_iter().chain(unsigned), cx)?;
    }
    let (mut refused, mut explained, mut answer) = (0, false, cx.hub.receipts.answers.begin());
    for (index, notification) in parsed.iter().enumerate() {
        if index > 0 {
            answer.push(",");
        }
        let outcome = match notification {
            Ok(notification) => {
                let proof = if by_token && notification.sign.is_empty() { Proof::Token } else { Proof::Signature };
                // An explanation takes time: a batch has one.
                notification.publish(proof, &request.head, cx, !explained, &mut answer)
            }
            Err(error) => Err(Rejection { json: error.json(), is_explained: false }),
        };
        match outcome {
            Ok(Written::Nothing) => answer.push(SUCCESS),
            Ok(Written::Result) => {}
            Err(rejection) => {
                refused += 1;
                explained |= rejection.is_explained;
                answer.push(&rejection.json);
            }
        }
    }
    let (code, msg) = match refused {
        0 => (1, String::new()),
        _ => (0, format!("{refused} of {} messages refused", messages.len())),
    };
    answer.push_front(&format!("{{\"code\":{code},\"msg\":{},\"data\":[", quote(&msg)));
    answer.push("]}");
    Ok(Notified::new(answer, cx))
}

/// The answer to a request with notifications.
pub enum Notified {
    /// This reply.
    Now(Reply),
    /// The answer with this number, when its receipts are done.
    Later(u64),
}

impl Notified {
    fn new(answer: Answer, cx: &mut Context<'_>) -> Notified {
        if !answer.is_open() {
            return Notified::Now(Reply::json(200, answer.into_text()));
        }
        let number = answer.number;
        cx.hub.receipts.answers.wait(cx.conn, answer);
        Notified::Later(number)
    }
}

/// What a notification that was accepted has appended to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// Nothing: its result is [`SUCCESS`].
    Nothing,
    /// Its result, which has a receipt.
    Result,
}

/// What allows a backend to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its signature, which is still to be checked.
    Signature,
    /// A token, which has been checked.
    Token,
}

/// The answer to a notification that is not published.
struct Rejection {
    json: String,
    /// Whether it explains what is wrong with the signature.
    is_explained: bool,
}

/// The fields of a notification, not yet checked.
struct Notification<'a> {
    source: Cow<'a, str>,
    room_id: Cow<'a, str>,
    data: Payload<'a>,
    sign: Cow<'a, str>,
    sign_type: Cow<'a, str>,
    ts: Cow<'a, str>,
    filename: Cow<'a, str>,
    token: Cow<'a, str>,
    idempotency_key: Cow<'a, str>,
    receipt: Cow<'a, str>,
    wait: Cow<'a, str>,
    ms: Cow<'a, str>,
}

enum Payload<'a> {
    Missing,
    /// The value of a form field.
    Text(&'a str),
    /// A JSON string: its text in the request, and its value. The signature covers the value.
    String(&'a str, Cow<'a, str>),
    /// Any other JSON value: its text in the request, which the signature covers.
    Json(&'a str),
}

impl<'a> Notification<'a> {
    fn from_form(fields: &'a Fields<'_>) -> Result<Notification<'a>, FieldError> {
        let [mut source, mut data, mut sign, mut sign_type, mut ts, mut filename, mut token, mut key] = [None; 8];
        let [mut receipt, mut wait, mut ms] = [None; 3];
        let mut room_id: Option<Cow<'_, str>> = None;
        for (name, value) in fields.iter() {
            let field = match name {
                "source" => &mut source,
                "data" => &mut data,
                "sign" => &mut sign,
                "sign_type" => &mut sign_type,
                "ts" => &mut ts,
                "filename" => &mut filename,
                "token" => &mut token,
                "idempotency_key" => &mut key,
                "receipt" => &mut receipt,
                "wait" => &mut wait,
                "ms" => &mut ms,
                "room_id" => {
                    match &mut room_id {
                        None => room_id = Some(value.into()),
                        Some(rooms) => rooms.to_mut().extend([",", value]),
                    }
                    continue;
                }
                _ => continue,
            };
            if field.replace(value).is_some() {
                return Err(FieldError::Repeated);
            }
        }
        let text = |field: Option<&'a str>| field.unwrap_or_default().into();
        Ok(Notification {
            source: text(source),
            room_id: room_id.unwrap_or_default(),
            data: data.filter(|data| !data.is_empty()).map_or(Payload::Missing, Payload::Text),
            sign: text(sign),
            sign_type: text(sign_type),
            ts: text(ts),
            filename: text(filename),
            token: text(token),
            idempotency_key: text(key),
            receipt: text(receipt),
            wait: text(wait),
            ms: text(ms),
        })
    }

    /// Parses an item of a batch.
    fn from_text(text: &'a str) -> Result<Notification<'a>, FieldError> {
        let fields = serde_json::from_str::<Object<'a>>(text).map_err(|_| FieldError::NotObject)?;
        Notification::from_json(&fields)
    }

    fn from_json(fields: &Object<'a>) -> Result<Notification<'a>, FieldError> {
        let field = |name: &str| fields.get(name).map_or(Ok(Cow::Borrowed("")), |raw| text_or_number(raw));
        let room_id = match fields.get("room_id") {
            Some(raw) if raw.get().starts_with('[') => {
                let list = serde_json::from_str::<Vec<&RawValue>>(raw.get()).map_err(|_| FieldError::NotText)?;
                list.into_iter().map(text_or_number).collect::<Result<Vec<_>, _>>()?.join(",").into()
            }
            _ => field("room_id")?,
        };
        let data = match fields.get("data").map(|raw| raw.get()) {
            None | Some("null" | "\"\"") => Payload::Missing,
            Some(text) if text.starts_with('"') => Payload::String(text, string(text).ok_or(FieldError::NotText)?),
            Some(text) => Payload::Json(text),
        };
        Ok(Notification {
            source: field("source")?,
            room_id,
            data,
            sign: field("sign")?,
            sign_type: field("sign_type")?,
            ts: field("ts")?,
            filename: field("filename")?,
            token: field("token")?,
            idempotency_key: field("idempotency_key")?,
            receipt: field("receipt")?,
            wait: field("wait")?,
            ms: field("ms")?,
        })
    }

    /// What allows this request to send. A signature that is given decides, whatever token is beside it; a token without a
    /// signature must be right.
    fn proof(&self, head: &Head<'_>, cx: &mut Context<'_>) -> Result<Proof, Reply> {
        if !self.sign.is_empty() || (self.token.is_empty() && !has_token(head)) {
            return Ok(Proof::Signature);
        }
        gate_backend(head, &self.token, [&*self.source], cx)?;
        Ok(Proof::Token)
    }

    /// Publishes it, or returns the answer to a refusal. With `explains`, that has an explanation of a wrong signature if the
    /// sender may read one.
    fn publish(
        &self,
        proof: Proof,
        head: &Head<'_>,
        cx: &mut Context<'_>,
        explains: bool,
        answer: &mut Answer,
    ) -> Result<Written, Rejection> {
        self.try_publish(proof, cx, answer).map_err(|refusal| self.refuse(head, cx, refusal, explains))
    }

    /// Counts and logs a refusal. Returns the answer.
    #[cold]
    fn refuse(&self, head: &Head<'_>, cx: &mut Context<'_>, refusal: Refusal, explains: bool) -> Rejection {
        cx.hub.state.stats.notifies_refused += 1;
        let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
        cx.hub.log.error("notify", &refusal.text(), |line| {
            line.nonempty("source", &self.source);
            line.nonempty("room_id", &self.room_id);
            if let Some(ip) = ip {
                line.display("ip", ip);
            }
        });
        let state = &mut cx.hub.state;
        let (why, reason) = (refusal.text(), refusal.reason());
        let facts = [("room_id", &*self.room_id)];
        let is_known = state.tenant(&self.source).is_ok();
        let reason = reason.as_deref();
        let refused =
            Refused { what: "notification", source: &self.source, is_known, why: &why, reason, ip, facts: &facts };
        state.log_refusal(&refused);
        self.note(cx, What::PublicationRefused, &Reason::new(|language| refusal.words(language)));
        let reader = if explains { gate::reader(head, cx) } else { Reader::Stranger };
        let signature = Signature::new(&self.sign, &self.sign_type, &self.ts);
        let explanation =
            if explains { cx.hub.state.explain(&self.subject(), &signature, refusal, reader) } else { None };
        Rejection { json: refused_json(refusal, explanation.as_ref()), is_explained: explanation.is_some() }
    }

    /// Writes to the journal that it is not published.
    #[cold]
    fn note(&self, cx: &mut Context<'_>, what: What, why: &Reason<'_>) {
        let (state, room) = (&mut cx.hub.state, self.room_id.split(',').next().unwrap_or_default());
        let tenant = state.known_tenant(&self.source).map_or(EVERY, |tenant| tenant.0);
        let subject = journal::Subject { tenant, who: room_hash(room), session: 0 };
        state.journal.note_refusal(cx.now.time, what, subject, 1, why);
    }

    /// The fields that the signature covers.
    fn subject(&self) -> Subject<'_> {
        let data = match &self.data {
            Payload::Missing => "",
            Payload::Text(text) => text,
            Payload::String(_, value) => value,
            Payload::Json(raw) => raw,
        };
        Subject::Notify { source: &self.source, room_id: &self.room_id, data: data.as_bytes() }
    }

    fn try_publish(&self, proof: Proof, cx: &mut Context<'_>, answer: &mut Answer) -> Result<Written, Refusal> {
        if self.source.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        let data = match &self.data {
            Payload::Missing => return Err(Refusal::DataMissing),
            Payload::Text(text) => Data::Text(text),
            Payload::String(raw, _) => Data::Json(raw),
            Payload::Json(raw) if is_deeper(raw, MAX_DEPTH) => return Err(Refusal::TooDeep("data")),
            Payload::Json(raw) => Data::Json(raw),
        };
        if proof == Proof::Signature && self.sign.is_empty() {
            return Err(Refusal::NotifySignMissing);
        }
        let longest = cx.hub.config().limits.room_id as usize;
        let rooms =
            Rooms::parse(&self.room_id, longest, 0).map_err(|error| Refusal::from_name(error, Refusal::RoomMissing))?;
        let receipt = ReceiptRequest::parse(&self.receipt, &self.wait, &self.ms)?;
        let (tenant, verified) = match proof {
            Proof::Signature => {
                let tenant = cx.hub.state.tenant(&self.source)?;
                let signature = Signature::new(&self.sign, &self.sign_type, &self.ts);
                (tenant, cx.hub.state.verify(tenant, &self.subject(), &signature, cx.now)?)
            }
            // A source without a key, which only a namespace names, has no other way to notify.
            Proof::Token => {
                (cx.hub.state.known_tenant(&self.source).ok_or(Refusal::SourceUnknown)?, Verified::UNSIGNED)
            }
        };
        let filename = if self.filename.trim().is_empty() { "" } else { &self.filename };
        let keyed = self.keyed(filename)?;
        if let Some(first) = cx.hub.state.find_repeated(tenant, verified, keyed.as_ref(), cx.now)? {
            self.note(cx, What::Repeated, &Reason::default());
            let Some(receipt) = first.receipt else { return Ok(Written::Nothing) };
            answer.push(&format!("{BEFORE_RECEIPT}{receipt}}}"));
            return Ok(Written::Result);
        }
        if !filename.is_empty() && !is_file_safe(filename) {
            return Err(Refusal::FilenameUnsafe);
        }
        if !cx.hub.state.may_use_filename(tenant, filename) {
            return Err(Refusal::FilenameTaken);
        }
        let copies = copies_size(data, rooms.iter().len());
        if rooms.iter().len() > 1 && copies > MAX_COPIES_SIZE {
            return Err(Refusal::TooLargeForRooms);
        }
        if !cx.hub.state.has_memory_for(copies) {
            return Err(Refusal::NoMemory);
        }
        if receipt.is_some() {
            check_rooms(rooms.iter().len())?;
        }
        cx.hub.state.accept(tenant, verified, cx.now)?;
        let id = cx.hub.publish(tenant, &rooms, data, filename);
        cx.hub.state.stats.notifies += 1;
        if let Some(keyed) = &keyed {
            cx.hub.state.remember(tenant, keyed, 0, cx.now);
        }
        let Some(receipt) = receipt else { return Ok(Written::Nothing) };
        answer.push(BEFORE_RECEIPT);
        cx.hub.give_receipt((tenant, &rooms), id, receipt, keyed, answer);
        answer.push("}");
        Ok(Written::Result)
    }

    /// Its key, with all that is published: the signature does not cover the type of the data, nor the file name.
    fn keyed(&self, filename: &str) -> Result<Option<Keyed>, Refusal> {
        let (kind, data) = match &self.data {
            Payload::Missing => ("", ""),
            Payload::Text(text) => ("string", *text),
            Payload::String(_, value) => ("string", &**value),
            Payload::Json(raw) => ("json", *raw),
        };
        let fields = ["notify", &self.room_id, filename, kind, data].map(str::as_bytes);
        Keyed::new(&self.source, &self.idempotency_key, &fields)
    }
}

/// The most messages in a batch. A body of the default size holds fewer valid ones, but many more tiny invalid ones:
/// without this limit, the answer to those would be thirty times as large as the request.
const MAX_BATCH: usize = 10_000;
/// The result of a notification with a receipt, up to that.
const BEFORE_RECEIPT: &str = "{\"code\":1,\"msg\":\"message notify successed!\",\"data\":";
const SUCCESS: &str = "{\"code\":1,\"msg\":\"message notify successed!\",\"data\":\"\"}";
