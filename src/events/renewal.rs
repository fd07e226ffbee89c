//! Logins that expire: their renewal, the warning before the end, and the end (docs/protocol.md, Logins that expire).

use std::borrow::Cow;

use crate::{
    clock::Now,
    hub::Hub,
    json::{Object, quote, scalar, write_strings},
    key::SessionKey,
    names::{RoomId, Rooms, room_list},
    sign::{Signature, Subject, Terms, token},
    state::{Due, Grant, Refusal},
    websocket::Close,
};

/// Whether relay itself handles the event `renew` of a session: only if its login has a limit. Of others it is an event like any
/// other.
pub fn is_for(hub: &Hub, key: SessionKey) -> bool {
    hub.state.grants.get(key).is_some()
}

/// Handles `renew`: a new login of the same user takes the place of the old one. `fields` are those of a login. The session
/// leaves the rooms that it does not allow. Returns the `data` of the acknowledgement.
pub fn renew(hub: &mut Hub, key: SessionKey, fields: &Object<'_>, now: Now) -> Result<String, Refusal> {
    let field = |name: &str| fields.get(name).map_or(Cow::Borrowed(""), |raw| scalar(raw));
    let jwt = field(token::FIELD);
    let Some(userid) = hub.state.grants.get(key).map(|grant| grant.userid.clone()) else {
        return Err(Refusal::UnknownEvent);
    };
    let tenant = hub.state.sessions.get(key).ok_or(Refusal::SourceUnknown)?.tenant;
    if !jwt.is_empty() {
        let claims = hub.state.verify_token(tenant, &jwt, now)?;
        if *claims.userid != *userid {
            return Err(Refusal::OtherUser);
        }
        let grant = Grant::of_token(&claims);
        return Ok(apply(hub, key, grant, |grant, room| grant.allows(room), now));
    }
    let [sign, sign_type, ts, exp, ro] = ["sign", "sign_type", "ts", "exp", "ro"].map(field);
    if sign.is_empty() {
        return Err(Refusal::ConnectSignMissing);
    }
    let list = fields.get("room_ids").map_or(Ok(String::new()), |raw| room_list(raw));
    let list = list.map_err(|error| Refusal::from_name(error, Refusal::RoomsMissing))?;
    let rooms = hub.login_rooms(&list)?;
    let source = hub.state.tenants[tenant.index()].name.clone();
    let subject = Subject::Connect { source: &source, userid: &userid, room_ids: &list };
    let signature = Signature::of_login(&sign, &sign_type, &ts, Terms { exp: &exp, ro: &ro });
    let grant = hub.state.verify_login(tenant, &subject, &signature, now)?;
    let grant = grant.unwrap_or(Grant { userid, expires: None, rooms: None, may_post: true });
    let mut names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    names.sort_unstable();
    Ok(apply(hub, key, grant, |_, room| names.binary_search(&room).is_ok(), now))
}

/// Sets the new grant of a session, and leaves the rooms that it does not allow.
fn apply(hub: &mut Hub, key: SessionKey, grant: Grant, allows: impl Fn(&Grant, &str) -> bool, now: Now) -> String {
    let names = hub.state.sessions.get(key).map(|session| hub.state.room_names(session)).unwrap_or_default();
    let left: Vec<&str> = names.iter().map(|name| &**name).filter(|room| !allows(&grant, room)).collect();
    if let Ok(rooms) = Rooms::parse(&left.join(","), usize::MAX, 0) {
        hub.state.leave_all(key, &rooms);
    }
    let exp = grant.expires.map_or_else(|| "null".to_owned(), |exp| exp.to_string());
    hub.state.set_grant(key, grant, now);
    hub.state.stats.logins_renewed += 1;
    let mut data = format!("{{\"exp\":{exp},\"left\":").into_bytes();
    write_strings(&mut data, &left);
    data.push(b'}');
    String::from_utf8(data).expect("JSON is text")
}

/// Warns the clients whose logins end soon, and ends the sessions whose logins have ended. Not all in one turn, if many are
/// due at once.
pub fn handle_timeout(hub: &mut Hub, now: Now) {
    for _ in 0..MOST_IN_A_TURN {
        let Some((key, due)) = hub.state.grants.poll(now) else { return };
        match due {
            Due::Warning { .. } if hub.state.is_pending(key) => hub.state.grants.postpone(key, now),
            Due::Warning { seconds, exp } => {
                hub.state.send_to_session(key, "expiring", &format!("{{\"seconds\":{seconds},\"exp\":{exp}}}"));
            }
            Due::End => {
                hub.state.stats.logins_expired += 1;
                end(hub, key, now);
            }
        }
    }
}

/// Ends a session. A Socket.IO client gets the reason as `sys_error`. If it has no other session, its connection is closed:
/// official clients reconnect after that, and not after a DISCONNECT.
fn end(hub: &mut Hub, key: SessionKey, now: Now) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let (client, namespace, pending) = (session.client, session.namespace, session.pending);
    let is_only = hub.state.socket_mut(client).is_some_and(|socket| socket.sessions.len() == 1);
    if pending || !is_only {
        return hub.expel_with_reason(key, Close::EXPIRED, now);
    }
    let namespace = hub.state.namespaces[namespace as usize].name.clone();
    hub.state.send_event(client, &namespace, "sys_error", &quote(Close::EXPIRED.reason));
    hub.state.close(client, Close::EXPIRED);
}

/// How many sessions are warned or ended in a turn of the event loop.
const MOST_IN_A_TURN: usize = 1000;

#[cfg(test)]
mod tests;
