//! Rules of a namespace for clients' events (docs/protocol.md, Namespaces and rules).

use super::{
    acknowledge::answer_event,
    pairing::{check_status, user_login},
    users::send_to_user,
};
use crate::{
    acks::Requester,
    clock::Now,
    cluster::Reach,
    config::{Ack, Rule, Send},
    hub::Hub,
    json::to_text,
    key::SessionKey,
    message::{ClientEvent, Event, Form, Target},
    state::Refusal,
};

/// Handles an event by pairing or by the first matching rule. Without one, only plain WebSocket clients that asked for
/// an acknowledgement get an answer.
pub fn apply_rule(hub: &mut Hub, key: SessionKey, client_event: &ClientEvent<'_>, now: Now) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let (namespace, form) = (session.namespace, session.form);
    let config = hub.state.namespaces[namespace as usize].config.clone();
    if let Some(other) = config.pairing.as_deref().and_then(|other| hub.state.find_namespace(other)) {
        match client_event.name {
            "user_login" => return user_login(hub, key, client_event),
            "check_app_status" => return check_status(hub, key, other, client_event),
            name if config.forward.iter().any(|forward| forward == name) => {
                return send_to_user(hub, key, other, &client_event.forward(name), Some(&Ack::Peer), client_event, now);
            }
            _ => {}
        }
    }
    let Some(rule) = config.rule(client_event.name) else {
        hub.state.stats.client_messages_refused += 1;
        // Socket.IO clients get no answer, as from a Socket.IO server without a handler.
        if form == Form::Json && client_event.ack.is_some() {
            answer_event(hub, key, client_event.ack, Err(Refusal::UnknownEvent));
        }
        return;
    };
    hub.state.stats.events += 1;
    let name = rule.rename.as_deref().unwrap_or(client_event.name);
    let event = Event { volatile: rule.volatile, ..client_event.forward(name) };
    match rule.send {
        Send::Drop => {}
        Send::Hook => {
            // The backend acknowledges the event, unless the rule does.
            let by_backend = matches!(rule.ack, None | Some(Ack::Hook));
            ask_backend(hub, key, &ClientEvent { ack: client_event.ack.filter(|_| by_backend), ..*client_event });
        }
        Send::SelfOnly => send_back(hub, key, &event, rule, client_event, now),
        Send::User => {
            let to = rule.to.as_deref().map_or(Some(namespace), |to| hub.state.find_namespace(to));
            if let Some(to) = to {
                send_to_user(hub, key, to, &event, rule.ack.as_ref(), client_event, now);
            }
        }
        Send::Others => send_to_rooms(hub, key, &event, Some(key)),
        Send::Rooms => send_to_rooms(hub, key, &event, None),
        Send::Namespace => {
            let Some(tenant) = hub.state.sessions.get(key).map(|session| session.tenant) else { return };
            let receivers = hub.state.namespace_receivers(tenant, namespace);
            hub.state.emit_to(&receivers, &event);
            let namespace = hub.state.namespaces[namespace as usize].name.clone();
            let reach = Reach::Target(&Target::Namespace);
            hub.cluster.publish_event(&mut hub.state, (tenant, &namespace), reach, &event, (None, false));
        }
    }
    match (client_event.ack, &rule.ack) {
        (Some(id), Some(Ack::Echo)) => hub.state.acknowledge(key, id, client_event.list, client_event.attachments),
        (Some(id), Some(Ack::Value(value))) => hub.state.acknowledge(key, id, &format!("[{}]", to_text(value)), &[]),
        (None, _) | (_, Some(Ack::Peer | Ack::Hook) | None) => {}
    }
}

/// Sends an event back to its sender, which may acknowledge it to itself.
fn send_back(hub: &mut Hub, key: SessionKey, event: &Event<'_>, rule: &Rule, client_event: &ClientEvent<'_>, now: Now) {
    let ack = match (&rule.ack, client_event.ack) {
        (Some(Ack::Peer), Some(id)) => hub.acks.register(Requester::Session(key, id.into()), &[key], false, now.time),
        _ => None,
    };
    let receiver = hub.state.receiver(key);
    hub.state.emit_to(receiver.as_slice(), &Event { ack, ..*event });
}

/// Sends an event to the members of a session's rooms, here and at other relays, once to each.
fn send_to_rooms(hub: &mut Hub, key: SessionKey, event: &Event<'_>, except: Option<SessionKey>) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let (tenant, namespace, rooms) = (session.tenant, session.namespace, hub.state.room_names(session));
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    if rooms.is_empty() {
        return;
    }
    hub.state.emit_to_rooms((tenant, namespace), &rooms, except, event);
    let namespace = hub.state.namespaces[namespace as usize].name.clone();
    hub.cluster.publish_event(&mut hub.state, (tenant, &namespace), Reach::Rooms(&rooms), event, (None, false));
}

/// Forwards an event to the backend.
fn ask_backend(hub: &mut Hub, key: SessionKey, client_event: &ClientEvent<'_>) {
    if !hub.hooks.message(&mut hub.state, key, client_event) {
        answer_event(hub, key, client_event.ack, Err(Refusal::UnknownEvent));
    }
}
