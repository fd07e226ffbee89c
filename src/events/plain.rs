//! Messages of plain WebSocket clients (docs/protocol.md, Plain WebSocket). With `format=json` they are `postMsg`,
//! `join`, `leave`, `who`, `ping`, `ack`, and events for the namespace's rules; with `format=text` they are the data itself.

use std::borrow::Cow;

use super::{
    acknowledge::{answer_plain, handle_ack},
    incoming::Incoming,
    renewal,
    requests::{change_rooms, check_copies, is_built_in, post_data, who},
    rules::apply_rule,
};
use crate::{
    clock::Now,
    frame::Opcode,
    hub::{Hub, publish::Origin},
    json::{Object, scalar},
    key::{ClientKey, SessionKey},
    message::{ClientEvent, Data, Form},
    names::{is_reserved, nested_room_list, room_list},
    sign::{Signature, Terms},
    state::Refusal,
    trace::Quoted,
    websocket::Close,
};

/// Handles a message of a plain WebSocket client. Does nothing if the client has no session any more.
pub fn handle_message(hub: &mut Hub, key: ClientKey, message: Incoming<'_>, now: Now) {
    let Some(session) = hub.state.clients.get(key).and_then(|client| client.session) else { return };
    let Some(form) = hub.state.sessions.get(session).map(|session| session.form) else { return };
    // With format=text a byte order mark is part of the data.
    let message = if form == Form::Text { message } else { message.without_bom() };
    hub.state.stats.client_messages += 1;
    if !hub.state.take_rate(key, 1, now) {
        hub.state.stats.rate_limited += 1;
        hub.state.stats.client_messages_refused += 1;
        return match form {
            form if form != Form::Text => {
                answer_plain(hub, key, requested_ack(message).as_deref(), Err(Refusal::RateExceeded))
            }
            // A text client has no frame for errors.
            _ => hub.state.close(key, Close::RATE),
        };
    }
    match (form, message) {
        (Form::Text, Incoming::Text(text)) => post_text(hub, key, session, Data::Text(text), now),
        (Form::Text, Incoming::Binary(bytes)) => post_text(hub, key, session, Data::Binary(bytes), now),
        (_, Incoming::Binary(_)) => answer_plain(hub, key, None, Err(Refusal::BinaryNotJson)),
        (_, Incoming::Text(text)) => match serde_json::from_str::<Object<'_>>(text) {
            Ok(fields) => handle_event(hub, key, session, &fields, now),
            Err(_) => answer_plain(hub, key, None, Err(Refusal::NotJson)),
        },
    }
}

/// Publishes data to all rooms of a session (`format=text`).
fn post_text(hub: &mut Hub, client: ClientKey, key: SessionKey, data: Data<'_>, now: Now) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let (tenant, rooms) = (session.tenant, hub.state.room_names(session));
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    if hub.state.check_may_post(key).is_err() {
        hub.state.stats.client_messages_refused += 1;
        return hub.state.close(client, Close::READ_ONLY);
    }
    if hub.state.check_post(session, &rooms).is_err() {
        hub.state.stats.client_messages_refused += 1;
        return hub.state.close(client, Close::POSTS_OFF);
    }
    if check_copies(hub, client, data, rooms.len(), now).is_err() {
        hub.state.stats.client_messages_refused += 1;
        return hub.state.close(client, Close::RATE);
    }
    if !rooms.is_empty() {
        hub.publish_from(Origin::Session(key), tenant, &rooms, data, "");
        hub.state.stats.posted += 1;
    }
}

fn handle_event(hub: &mut Hub, key: ClientKey, session: SessionKey, fields: &Object<'_>, now: Now) {
    let ack = ack(fields);
    let field = |name: &str| fields.get(name).map_or(Cow::Borrowed(""), |value| scalar(value));
    let list = fields.get("room_ids").or(fields.get("room_id"));
    let event = fields.get("event").map_or(Cow::Borrowed("postMsg"), |event| scalar(event));
    let Some(namespace) = hub.state.sessions.get(session).map(|session| session.namespace) else { return };
    hub.state.trace_session(session, format_args!("sent event {}", Quoted(&event)));
    let result = match &*event {
        "postMsg" if is_built_in(&hub.state, namespace, &event) => {
            let data = fields.get("data").map_or("null", |data| data.get());
            let list = list.map_or_else(String::new, |raw| nested_room_list(raw));
            post_data(hub, session, Data::Json(data), &list, now)
        }
        "join" | "leave" if is_built_in(&hub.state, namespace, &event) => {
            let [sign, sign_type, ts, exp, ro] = ["sign", "sign_type", "ts", "exp", "ro"].map(field);
            let signature = Signature::of_login(&sign, &sign_type, &ts, Terms { exp: &exp, ro: &ro });
            let list = list.map_or(Ok(String::new()), |raw| room_list(raw));
            let list = list.map_err(|error| Refusal::from_name(error, Refusal::RoomsMissing));
            list.and_then(|list| change_rooms(hub, session, &list, &signature, now, event == "join"))
        }
        "renew" if renewal::is_for(hub, session) => renewal::renew(hub, session, fields, now),
        "who" if is_built_in(&hub.state, namespace, &event) => {
            let list = list.map_or_else(String::new, |raw| nested_room_list(raw));
            who(hub, session, &list, now)
        }
        "ping" if ack.is_none() => return hub.state.send(key, Opcode::Text, b"{\"event\":\"pong\"}"),
        "ping" => Ok(String::from("\"\"")),
        "ack" => {
            let Some(id) = ack else { return };
            return handle_ack(hub, session, &id, &arguments(fields), &[]);
        }
        _ if is_reserved(&event) => Err(Refusal::UnknownEvent),
        _ => {
            let list = arguments(fields);
            let client_event = ClientEvent { name: &event, list: &list, attachments: &[], ack: ack.as_deref() };
            return apply_rule(hub, session, &client_event, now);
        }
    };
    answer_plain(hub, key, ack.as_deref(), result);
}

/// The `ack` of a message that is refused before it is parsed.
fn requested_ack(message: Incoming<'_>) -> Option<String> {
    let Incoming::Text(text) = message else { return None };
    ack(&serde_json::from_str(text).ok()?)
}

/// The arguments of an event as a JSON array: `args`, or `data` as the only one.
fn arguments(fields: &Object<'_>) -> String {
    match (fields.get("args").map(|raw| raw.get()), fields.get("data")) {
        (Some(list), _) if list.starts_with('[') => list.to_owned(),
        (_, Some(data)) => format!("[{}]", data.get()),
        _ => "[]".to_owned(),
    }
}

/// The `ack` of a message, as JSON: a number or a string of at most [`MAX_ACK_LEN`] bytes.
fn ack(fields: &Object<'_>) -> Option<String> {
    let ack = fields.get("ack")?.get();
    let scalar = ack.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    (scalar && ack.len() <= MAX_ACK_LEN).then(|| ack.to_owned())
}

/// Longest `ack` that is answered, in bytes as written.
const MAX_ACK_LEN: usize = 64;
