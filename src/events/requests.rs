//! The built-in events of plain WebSocket and Socket.IO clients: `postMsg`, `join`, `leave`, `who`.

use crate::{
    clock::Now,
    config::Auth,
    hub::{Hub, publish::Origin},
    json::{MAX_DEPTH, is_deeper},
    key::{ClientKey, SessionKey},
    message::Data,
    names::{RoomId, Rooms},
    sign::{Signature, Subject},
    state::{MAIN, NamespaceId, Reader, Refusal, State},
};

/// Whether relay itself handles the event `name` in a namespace: always in `/`; in a namespace with `auth = "sign"` if no rule
/// and no `forward` is for it; `join` and `leave` where the namespace lets clients choose their rooms;
/// and `who` while `presence.events` is on, if no rule and no `forward` is for it.
pub fn is_built_in(state: &State, namespace: NamespaceId, name: &str) -> bool {
    let config = &state.namespaces[namespace as usize].config;
    match name {
        "who" => {
            let forwarded = config.pairing.is_some() && config.forward.iter().any(|forward| forward == name);
            state.config().presence.events && !forwarded && config.rule(name).is_none()
        }
        "join" | "leave" if config.join => true,
        "postMsg" | "join" | "leave" if namespace == MAIN => true,
        "postMsg" | "join" | "leave" => {
            let forwarded = config.pairing.is_some() && config.forward.iter().any(|forward| forward == name);
            config.auth == Auth::Sign && !forwarded && config.rule(name).is_none()
        }
        _ => false,
    }
}

/// Handles `postMsg`: publishes to the rooms in `list` of the session's source. Whether the session must be a member is a
/// setting of the source. Returns the `data` of the acknowledgement.
pub fn post_data(hub: &mut Hub, key: SessionKey, data: Data<'_>, list: &str, now: Now) -> Result<String, Refusal> {
    match data {
        Data::Json("null" | "\"\"") | Data::Mixed { json: "null" | "\"\"", .. } => return Err(Refusal::DataMissing),
        Data::Json(json) | Data::Mixed { json, .. } if is_deeper(json, MAX_DEPTH) => {
            return Err(Refusal::TooDeep("data"));
        }
        _ => {}
    }
    let limits = &hub.config().limits;
    let rooms = Rooms::parse(list, limits.room_id as usize, limits.rooms_per_session as usize)
        .map_err(|error| Refusal::from_name(error, Refusal::RoomMissing))?;
    let session = hub.state.sessions.get(key).ok_or(Refusal::SourceUnknown)?;
    let (client, tenant) = (session.client, session.tenant);
    hub.state.check_may_post(key)?;
    let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    hub.state.check_post(session, &names)?;
    check_copies(hub, client, data, names.len(), now)?;
    let id = hub.publish_from(Origin::Session(key), tenant, &names, data, "");
    hub.state.stats.posted += 1;
    Ok(format!("{{\"id\":\"{id}\"}}"))
}

/// Handles `who`: who is in a room of the session. A large answer counts as several deliveries. Returns the `data` of the
/// acknowledgement.
pub fn who(hub: &mut Hub, key: SessionKey, list: &str, now: Now) -> Result<String, Refusal> {
    let limits = &hub.config().limits;
    let rooms = Rooms::parse(list, limits.room_id as usize, 0)
        .map_err(|error| Refusal::from_name(error, Refusal::RoomMissing))?;
    let mut rooms = rooms.iter();
    let room = rooms.next().filter(|_| rooms.next().is_none()).ok_or(Refusal::RoomComma)?;
    let answer = hub.who(key, room.as_str())?;
    if let Some(client) = hub.state.sessions.get(key).map(|session| session.client) {
        hub.state.charge(client, 1, answer.len(), now);
    }
    Ok(answer)
}

/// Checks whether a client may send data to `rooms` rooms. Each room after the first counts as one more message of its
/// rate. The total size of the copies is limited as well, because one client may be a member of all the rooms.
pub fn check_copies(hub: &mut Hub, client: ClientKey, data: Data<'_>, rooms: usize, now: Now) -> Result<(), Refusal> {
    if rooms > 1 && data.size() * rooms > MAX_COPIES * hub.config().limits.message as usize {
        return Err(Refusal::TooLargeForRooms);
    }
    if !hub.state.has_memory_for(data.size() * rooms) {
        return Err(Refusal::NoMemory);
    }
    if rooms > 1 && !hub.state.take_rate(client, rooms as u64 - 1, now) {
        hub.state.stats.rate_limited += 1;
        return Err(Refusal::RateExceeded);
    }
    Ok(())
}

/// Handles `join` and `leave`. They need the signature of a login, unless the namespace has `join = true` or the login had a
/// token, which then says what the session may join (docs/protocol.md, Changing rooms). Returns the `data` of the acknowledgement.
pub fn change_rooms(
    hub: &mut Hub,
    key: SessionKey,
    list: &str,
    signature: &Signature<'_>,
    now: Now,
    join: bool,
) -> Result<String, Refusal> {
    let session = hub.state.sessions.get(key).ok_or(Refusal::SourceUnknown)?;
    let grant = hub.state.grants.get(key);
    let has_token = grant.is_some_and(|grant| grant.rooms.is_some());
    let unsigned = has_token || hub.state.namespaces[session.namespace as usize].config.join;
    if signature.hex.is_empty() && !unsigned {
        return Err(Refusal::ConnectSignMissing);
    }
    let rooms = hub.login_rooms(list)?;
    if let Some(grant) = grant.filter(|_| has_token && join)
        && !rooms.iter().all(|room| grant.allows(room.as_str()))
    {
        return Err(Refusal::RoomNotAllowed);
    }
    let tenant = session.tenant;
    let source = hub.state.tenants[tenant.index()].name.clone();
    let subject = Subject::Connect { source: &source, userid: session.identity.userid(), room_ids: list };
    if !unsigned && let Err(refusal) = hub.state.verify(tenant, &subject, signature, now) {
        let userid = session.identity.userid().to_owned();
        let subject = Subject::Connect { source: &source, userid: &userid, room_ids: list };
        hub.state.explain(&subject, signature, refusal, Reader::Stranger);
        return Err(refusal);
    }
    let max = hub.config().limits.rooms_per_session as usize;
    let table = hub.state.tenants[tenant.index()].table(session.namespace);
    let find = |room: &str| table.and_then(|table| table.find(room));
    let joined = hub.state.joined(session);
    let is_in = |room: &str| find(room).is_some_and(|index| joined.contains(&index));
    let mut new: Vec<&str> = rooms.iter().map(RoomId::as_str).filter(|room| !is_in(room)).collect();
    new.sort_unstable();
    new.dedup();
    if join && session.rooms.len() + new.len() > max {
        return Err(Refusal::RoomsTooMany(max));
    }
    if join {
        hub.state.join_all(key, &rooms, max)
    } else {
        hub.state.leave_all(key, &rooms)
    }
    Ok("\"\"".into())
}

/// Largest size of all copies of a client's message, as a multiple of `limits.message`.
const MAX_COPIES: usize = 4;
