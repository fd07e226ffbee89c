//! Answers to clients' events: acknowledgements and refusals. `data` of an answer is JSON.

use core::fmt::Write;
use std::borrow::Cow;

use crate::{
    acks::Requester,
    frame::Opcode,
    hub::Hub,
    journal::{Reason, What},
    json::quote,
    key::{ClientKey, SessionKey},
    message::client_event::is_list_too_deep,
    socketio::Kind,
    state::Refusal,
    trace::Quoted,
};

/// Answers an event of a plain WebSocket client: with an acknowledgement if the client asked for one, otherwise with
/// `sys_error` if the event was refused.
pub fn answer_plain(hub: &mut Hub, key: ClientKey, ack: Option<&str>, answer: Result<String, Refusal>) {
    let session = hub.state.clients.get(key).and_then(|client| client.session);
    let mut text = String::new();
    let written = match (ack, &answer) {
        (None, Ok(_)) => return,
        (Some(ack), Ok(data)) => write!(text, r#"{{"event":"ack","ack":{ack},"code":1,"msg":"","data":{data}}}"#),
        (Some(ack), Err(refusal)) => {
            let (why, details) = (quote(&text_of(hub, session, *refusal)), refusal.details(None));
            write!(text, r#"{{"event":"ack","ack":{ack},"code":0,"msg":{why},"data":""{details}}}"#)
        }
        (None, Err(refusal)) => {
            let (why, details) = (quote(&text_of(hub, session, *refusal)), refusal.details(None));
            write!(text, r#"{{"event":"sys_error","msg":{why}{details}}}"#)
        }
    };
    written.expect("writing to memory succeeds");
    if let Err(refusal) = answer {
        record_refusal(hub, session, refusal);
    }
    hub.state.send(key, Opcode::Text, text.as_bytes());
}

/// The text of a refusal for a client. That of a user who is not connected is up to the source.
fn text_of(hub: &Hub, session: Option<SessionKey>, refusal: Refusal) -> Cow<'static, str> {
    let session = session.and_then(|key| hub.state.sessions.get(key)).filter(|_| refusal == Refusal::NotLoggedIn);
    session.map_or_else(|| refusal.text(), |session| hub.state.texts(session.tenant).not_logged_in.into())
}

/// Counts a refused message of a session, and writes it to `error.log`.
pub fn record_refusal(hub: &mut Hub, key: Option<SessionKey>, refusal: Refusal) {
    hub.state.stats.client_messages_refused += 1;
    if let Some(key) = key {
        hub.state.trace_session(key, format_args!("what it sent is refused: {}", Quoted(&refusal.text())));
        hub.state.note_failure(key, What::MessageRefused, &Reason::new(|language| refusal.words(language)));
    }
    let socket_id = key.filter(|_| hub.log.is_on()).map(|key| hub.state.socket_id(key));
    let session = key.and_then(|key| hub.state.sessions.get(key));
    hub.log.error("message", &refusal.text(), |line| {
        line.nonempty("socket_id", socket_id.as_deref().unwrap_or_default());
        if let Some(session) = session {
            line.text("source", &hub.state.tenants[session.tenant.index()].name);
            line.nonempty("userid", session.identity.userid());
            line.nonempty("username", session.identity.username());
        }
    });
}

/// Answers an event of a Socket.IO client: with an acknowledgement if the client asked for one, otherwise with
/// `sys_error` if the event was refused.
pub fn answer_socketio(hub: &mut Hub, session: SessionKey, id: Option<&str>, answer: Result<String, Refusal>) {
    let Some((key, namespace)) = hub.state.sessions.get(session).map(|session| (session.client, session.namespace))
    else {
        return;
    };
    let namespace = hub.state.namespaces[namespace as usize].name.clone();
    match (answer, id) {
        (Ok(_), None) => {}
        (Ok(data), Some(id)) => hub.state.send_packet(key, Kind::Ack, &namespace, Some(id), &[], |out| {
            out.extend_from_slice(format!("[{{\"code\":1,\"msg\":\"\",\"data\":{data}}}]").as_bytes());
        }),
        (Err(refusal), id) => {
            record_refusal(hub, Some(session), refusal);
            let why = quote(&text_of(hub, Some(session), refusal));
            match id {
                Some(id) => hub.state.send_packet(key, Kind::Ack, &namespace, Some(id), &[], |out| {
                    let details = refusal.details(None);
                    out.extend_from_slice(format!("[{{\"code\":0,\"msg\":{why},\"data\":\"\"{details}}}]").as_bytes());
                }),
                None => hub.state.send_event(key, &namespace, "sys_error", &why),
            }
        }
    }
}

/// Handles a session's acknowledgement `id` of an event: forwards it to the sender, unless it is late, is nested too
/// deeply, or another session has acknowledged the event.
pub fn handle_ack(hub: &mut Hub, key: SessionKey, id: &str, list: &str, attachments: &[Vec<u8>]) {
    if is_list_too_deep(list) {
        // Other relays would drop it. The sender gets `nobody answered!`.
        hub.state.stats.client_messages_refused += 1;
        return;
    }
    let pending = id.parse().ok().and_then(|number| hub.acks.resolve(number, key));
    if let Some(pending) = pending {
        forward_ack(hub, pending.requester, list, attachments);
    }
}

/// Forwards an acknowledgement, a JSON array of arguments, to the session that asked for it, here or at another relay.
pub fn forward_ack(hub: &mut Hub, requester: Requester, list: &str, attachments: &[Vec<u8>]) {
    match requester {
        Requester::Session(session, id) => hub.state.acknowledge(session, &id, list, attachments),
        Requester::Node(node, number) => hub.cluster.send_ack(&mut hub.state, &node, number, list, attachments),
    }
}

/// Answers an event of a session in the form of its client.
pub fn answer_event(hub: &mut Hub, key: SessionKey, ack: Option<&str>, result: Result<String, Refusal>) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    match session.form {
        form if form.is_socketio() => answer_socketio(hub, key, ack, result),
        _ => answer_plain(hub, session.client, ack, result),
    }
}
