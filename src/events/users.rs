//! Events for a user's sessions, wherever they are, and what the sender learns of them.

use super::acknowledge::conclude;
use crate::{
    acks::Requester,
    clock::Now,
    cluster::{Reach, UserQuery},
    config::Ack,
    hub::Hub,
    key::SessionKey,
    message::{ClientEvent, Event, Target},
    state::{NamespaceId, Refusal},
};

/// Sends an event to the sessions of the user that the payload names (`userId`), else of the sender's own user: here and at
/// other relays.
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
    let tenant = hub.state.tenant_there(key, namespace);
    let sessions = tenant.map(|tenant| hub.state.user_sessions(tenant, namespace, &userid)).unwrap_or_default();
    let wanted = client_event.ack.filter(|_| ack == Some(&Ack::Peer));
    let remote = hub.cluster.has_nodes();
    let pending = wanted
        .filter(|_| remote || !sessions.is_empty())
        .and_then(|id| hub.acks.open(Requester::Session(key, id.into()), &sessions, remote, now.time));
    if wanted.is_some() && pending.is_none() && (remote || !sessions.is_empty()) {
        return conclude(hub, key, wanted, Err(Refusal::NoAnswer));
    }
    let receivers: Vec<_> = sessions.iter().filter_map(|session| hub.state.receiver(*session)).collect();
    if !receivers.is_empty() {
        hub.state.emit_to(&receivers, &Event { ack: pending, ..*event });
    }
    let namespace = hub.state.namespaces[namespace as usize].name.clone();
    let Some(tenant) = tenant else { return send_not_there(hub, key, wanted) };
    if !receivers.is_empty() {
        if remote {
            let target = Target::User(&userid);
            let number = (pending, pending.is_some());
            hub.cluster.publish_event(&mut hub.state, (tenant, &namespace), Reach::Target(&target), event, number);
        }
        return;
    }
    let query = UserQuery::Reach { session: key, ack: wanted.map(Into::into), pending };
    let there = (tenant, &*namespace, &*userid);
    if hub.cluster.find_user(&mut hub.state, there, query, Some((event, pending.is_some()))).is_err() {
        if let Some(pending) = pending {
            hub.acks.cancel(pending);
        }
        send_not_there(hub, key, wanted);
    }
}

/// Tells a session that the user whom its event was for has no session.
pub fn send_not_there(hub: &mut Hub, key: SessionKey, wanted: Option<&str>) {
    hub.state.tell_session(key, "error_message", "{\"message\":\"未登录\"}");
    if wanted.is_some() {
        conclude(hub, key, wanted, Err(Refusal::NotLoggedIn));
    }
}

/// The answer to `check_app_status`.
pub fn send_status(hub: &mut Hub, key: SessionKey, ack: Option<&str>, there: bool) {
    let status = format!("{{\"status\":{}}}", u8::from(there));
    hub.state.tell_session(key, "check_app_status", &status);
    if let Some(id) = ack {
        hub.state.acknowledge(key, id, &format!("[{status}]"), &[]);
    }
}

/// Does what a look-up of a user was for, once it is known whether another relay has the user.
pub fn finish_query(hub: &mut Hub, query: UserQuery, found: bool) {
    match query {
        UserQuery::Reach { .. } if found => {}
        UserQuery::Reach { session, ack, pending } => {
            // It may have been acknowledged although the answer to the look-up is lost.
            if pending.is_some_and(|pending| hub.acks.cancel(pending).is_none()) {
                return;
            }
            send_not_there(hub, session, ack.as_deref());
        }
        UserQuery::Status { session, ack } => send_status(hub, session, ack.as_deref(), found),
    }
}
