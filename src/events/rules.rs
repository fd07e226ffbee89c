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
    message::{ClientEvent, Event, Target},
    state::Refusal,
    trace::Quoted,
};

/// Handles an event by pairing or by the first matching rule. If no rule matches, a client that asked for an
/// acknowledgement gets the refusal, so that it does not wait for ever; the others get nothing.
pub fn apply_rule(hub: &mut Hub, key: SessionKey, client_event: &ClientEvent<'_>, now: Now) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let namespace = session.namespace;
    let config = hub.state.namespaces[namespace as usize].config.clone();
    if let Some(other) = config.pairing.as_deref().and_then(|other| hub.state.find_namespace(other)) {
        match client_event.name {
            "user_login" => return user_login(hub, key, client_event),
            "check_app_status" => return check_status(hub, key, other, client_event),
            name if config.forward.iter().any(|forward| forward == name) => {
                if client_event.is_too_deep() {
                    return answer_event(hub, key, client_event.ack, Err(Refusal::TooDeep("args")));
                }
                if let Err(refusal) = hub.state.check_may_post(key) {
                    return answer_event(hub, key, client_event.ack, Err(refusal));
                }
                return send_to_user(hub, key, other, &client_event.forward(name), Some(&Ack::Peer), client_event, now);
            }
            _ => {}
        }
    }
    let Some(rule) = config.rule(client_event.name) else {
        match client_event.ack {
            Some(_) => answer_event(hub, key, client_event.ack, Err(Refusal::UnknownEvent)),
            None => hub.state.stats.client_messages_refused += 1,
        }
        return;
    };
    if client_event.is_too_deep() {
        return answer_event(hub, key, client_event.ack, Err(Refusal::TooDeep("args")));
    }
    let is_to_others = matches!(rule.send, Send::User | Send::Others | Send::Rooms | Send::Namespace);
    if is_to_others && let Err(refusal) = hub.state.check_may_post(key) {
        return answer_event(hub, key, client_event.ack, Err(refusal));
    }
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

/// Sends an event back to its sender. With `ack = "peer"`, the sender's acknowledgement of that copy answers the
/// original.
fn send_back(hub: &mut Hub, key: SessionKey, event: &Event<'_>, rule: &Rule, client_event: &ClientEvent<'_>, now: Now) {
    let ack = match (&rule.ack, client_event.ack) {
        (Some(Ack::Peer), Some(id)) => hub.acks.register(Requester::Session(key, id.into()), &[key], false, now.time),
        _ => None,
    };
    let receiver = hub.state.receiver(key);
    hub.state.emit_to(receiver.as_slice(), &Event { ack, ..*event });
}

/// Sends an event once to each member of a session's rooms, here and at other relays.
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
    hub.state.trace_session(key, format_args!("the backend is asked about event {}", Quoted(client_event.name)));
    if !hub.hooks.message(&mut hub.state, key, client_event) {
        answer_event(hub, key, client_event.ack, Err(Refusal::UnknownEvent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::MessageId,
        state::testing::{Login, config, received, session},
    };

    const CONFIG: &str = r#"
[sources.one]
sign_key = "key"
[hooks]
url = "http://127.0.0.1:9/"
events = ["message"]
[namespaces."/"]
rules = [
    { event = "others", send = "others" },
    { event = "rooms", send = "rooms", as = "renamed" },
    { event = "self", send = "self" },
    { event = "namespace", send = "namespace" },
    { event = "user", send = "user" },
    { event = "hook", send = "hook" },
    { event = "drop", send = "drop", ack = "echo" },
]
"#;

    /// A hub with the sender, a member of the sender's room, and the user 8 in another room.
    fn hub() -> (Hub, [SessionKey; 3]) {
        let mut hub = Hub::new(config(CONFIG), MessageId::first(1000, 7), [0; 32]);
        let sessions = [("6", "room"), ("7", "room"), ("8", "other")]
            .map(|(userid, rooms)| session(&mut hub.state, Login { userid, rooms, ..Login::default() }));
        (hub, sessions)
    }

    fn send(hub: &mut Hub, sender: SessionKey, name: &str, ack: Option<&str>) {
        let event = ClientEvent { name, list: r#"[{"userId":"8"}]"#, attachments: &[], ack };
        apply_rule(hub, sender, &event, Now::default());
    }

    #[test]
    fn each_rule_has_its_receivers() {
        let (mut hub, sessions) = hub();
        for (event, name, receivers) in [
            ("others", "others", [0, 1, 0]),
            ("rooms", "renamed", [1, 1, 0]),
            ("self", "self", [1, 0, 0]),
            ("namespace", "namespace", [1, 1, 1]),
            ("user", "user", [0, 0, 1]),
            ("hook", "hook", [0, 0, 0]),
            ("drop", "drop", [0, 0, 0]),
        ] {
            send(&mut hub, sessions[0], event, None);
            let frames = sessions.map(|key| received(&mut hub.state, key));
            assert_eq!(frames.each_ref().map(Vec::len), receivers, "{event}");
            let expected = format!(r#"{{"event":"{name}","data":{{"userId":"8"}}}}"#);
            assert!(frames.iter().flatten().all(|frame| *frame == expected), "{event}: {frames:?}");
            assert_eq!(hub.hooks.has_calls(), ["hook", "drop"].contains(&event), "{event}");
        }
        assert_eq!((hub.state.stats.events, hub.state.stats.emitted), (7, 8));
    }

    #[test]
    fn acknowledgements_follow_the_rule() {
        let (mut hub, [sender, ..]) = hub();
        for (event, expected) in [
            ("drop", r#"{"event":"ack","ack":5,"code":1,"msg":"","data":{"userId":"8"}}"#),
            ("unknown", r#"{"event":"ack","ack":5,"code":0,"msg":"unknown event!","data":""}"#),
        ] {
            send(&mut hub, sender, event, Some("5"));
            assert_eq!(received(&mut hub.state, sender), [expected], "{event}");
        }
        send(&mut hub, sender, "others", Some("5"));
        assert!(received(&mut hub.state, sender).is_empty(), "a rule without `ack` never answers");
    }
}
