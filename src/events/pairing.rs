//! Pairing: pages and apps of one user in two namespaces (docs/protocol.md, Pairing).

use super::users::send_status;
use crate::{cluster::UserQuery, config::Auth, hub::Hub, key::SessionKey, message::ClientEvent, state::NamespaceId};

/// Handles `user_login`: registers the session for the user that it names. If logins are signed or decided by the
/// backend, that must be the user of its login.
pub fn user_login(hub: &mut Hub, key: SessionKey, client_event: &ClientEvent<'_>) {
    let userid = client_event.field("userId");
    let Some(session) = hub.state.sessions.get(key) else { return };
    let signed = hub.state.namespaces[session.namespace as usize].config.auth != Auth::Open;
    let valid = hub.config().limits.room_id as usize >= userid.len() && !userid.is_empty();
    let succeeded = valid && (!signed || session.identity.userid() == userid);
    if succeeded {
        hub.state.register_user(key, &userid);
    }
    let info = format!("{{\"succeeded\":{succeeded}}}");
    hub.state.send_to_session(key, "login_info", &info);
    if let Some(id) = client_event.ack {
        hub.state.acknowledge(key, id, &format!("[{info}]"), &[]);
    }
}

/// Handles `check_app_status`: whether a user has a session in the namespace `other`, here or at another relay.
pub fn check_status(hub: &mut Hub, key: SessionKey, other: NamespaceId, client_event: &ClientEvent<'_>) {
    let mut userid = client_event.field("userId");
    if userid.is_empty() {
        userid = hub.state.user_of(key).to_owned();
    }
    let tenant = hub.state.tenant_in(key, other);
    let connected = tenant.is_some_and(|tenant| !hub.state.user_sessions(tenant, other, &userid).is_empty());
    let namespace = hub.state.namespaces[other as usize].name.clone();
    let query = UserQuery::Status { session: key, ack: client_event.ack.map(Into::into) };
    if connected
        || tenant.is_none_or(|tenant| {
            hub.cluster.find_user(&mut hub.state, (tenant, &namespace, &userid), query, None).is_err()
        })
    {
        send_status(hub, key, client_event.ack, connected);
    }
}
