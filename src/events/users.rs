//! Events for the sessions of a user, at any relay.

use super::acknowledge::answer_event;
use crate::{
    acks::Requester,
    clock::Now,
    cluster::{Reach, UserQuery},
    config::Ack,
    hub::Hub,
    json::quote,
    key::SessionKey,
    message::{ClientEvent, Event, Target},
    state::{NamespaceId, Refusal},
};

/// Sends an event to the sessions of a user, here and at other relays. The user is `userId` in the first argument, or
/// the sender's own user if that is missing. If there is no such session, the sender gets `error_message`
/// (docs/protocol.md, Rules).
pub fn send_to_user(
    hub: &mut Hub,
    key: SessionKey,
    namespace: NamespaceId,
    event: &Event<'_>,
    ack: Option<&Ack>,
    client_event: &ClientEvent<'_>,
    now: Now,
) {
    let mut userid = client_event.field("userId");
    if userid.is_empty() {
        userid = hub.state.user_of(key).to_owned();
    }
    let tenant = hub.state.tenant_in(key, namespace);
    let sessions = tenant.map(|tenant| hub.state.user_sessions(tenant, namespace, &userid)).unwrap_or_default();
    let requested = client_event.ack.filter(|_| ack == Some(&Ack::Peer));
    let remote = hub.cluster.has_nodes();
    let pending = requested
        .filter(|_| remote || !sessions.is_empty())
        .and_then(|id| hub.acks.register(Requester::Session(key, id.into()), &sessions, remote, now.time));
    if requested.is_some() && pending.is_none() && (remote || !sessions.is_empty()) {
        return answer_event(hub, key, requested, Err(Refusal::NoAnswer));
    }
    let receivers: Vec<_> = sessions.iter().filter_map(|session| hub.state.receiver(*session)).collect();
    if !receivers.is_empty() {
        hub.state.emit_to(&receivers, &Event { ack: pending, ..*event });
    }
    let namespace = hub.state.namespaces[namespace as usize].name.clone();
    let Some(tenant) = tenant else { return send_not_connected(hub, key, requested) };
    if !receivers.is_empty() {
        if remote {
            let target = Target::User(&userid);
            let number = (pending, pending.is_some());
            hub.cluster.publish_event(&mut hub.state, (tenant, &namespace), Reach::Target(&target), event, number);
        }
        return;
    }
    let query = UserQuery::Reach { session: key, ack: requested.map(Into::into), pending };
    let user = (tenant, &*namespace, &*userid);
    if hub.cluster.find_user(&mut hub.state, user, query, Some((event, pending.is_some()))).is_err() {
        if let Some(pending) = pending {
            hub.acks.cancel(pending);
        }
        send_not_connected(hub, key, requested);
    }
}

/// Answers an event whose user has no session.
pub fn send_not_connected(hub: &mut Hub, key: SessionKey, ack: Option<&str>) {
    let Some(tenant) = hub.state.sessions.get(key).map(|session| session.tenant) else { return };
    let text = hub.state.texts(tenant).not_logged_in;
    hub.state.send_to_session(key, "error_message", &format!("{{\"message\":{}}}", quote(&text)));
    if ack.is_some() {
        answer_event(hub, key, ack, Err(Refusal::NotLoggedIn));
    }
}

/// Answers `check_app_status` (docs/protocol.md, Pairing).
pub fn send_status(hub: &mut Hub, key: SessionKey, ack: Option<&str>, connected: bool) {
    let status = format!("{{\"status\":{}}}", u8::from(connected));
    hub.state.send_to_session(key, "check_app_status", &status);
    if let Some(id) = ack {
        hub.state.acknowledge(key, id, &format!("[{status}]"), &[]);
    }
}

/// Finishes a user look-up: `found` says whether another relay has sessions of the user.
pub fn finish_query(hub: &mut Hub, query: UserQuery, found: bool) {
    match query {
        UserQuery::Reach { .. } if found => {}
        UserQuery::Reach { session, ack, pending } => {
            // An acknowledgement may have arrived although the answer to the look-up was lost.
            if pending.is_some_and(|pending| hub.acks.cancel(pending).is_none()) {
                return;
            }
            send_not_connected(hub, session, ack.as_deref());
        }
        UserQuery::Status { session, ack } => send_status(hub, session, ack.as_deref(), found),
    }
}
