//! What clients of every kind may ask for: `postMsg`, `join`, `leave`.

use crate::{
    clock::Now,
    hub::{Hub, publish::Origin},
    key::{ClientKey, SessionKey},
    message::Data,
    names::{RoomId, Rooms},
    sign::{Signature, Subject},
    state::Refusal,
};

/// `postMsg`: publishes to rooms of the session's own source, whether it is in them or not. Returns the data of the
/// acknowledgement.
pub fn post_data(hub: &mut Hub, key: SessionKey, data: Data<'_>, list: &str, now: Now) -> Result<String, Refusal> {
    if let Data::Json("null" | "\"\"") | Data::Mixed { json: "null" | "\"\"", .. } = data {
        return Err(Refusal::DataMissing);
    }
    let limits = &hub.config().limits;
    let rooms = Rooms::parse(list, limits.room_id as usize, limits.rooms_per_session as usize)
        .map_err(|error| Refusal::from_name(error, Refusal::RoomMissing))?;
    let session = hub.state.sessions.get(key).ok_or(Refusal::SourceUnknown)?;
    let (client, tenant) = (session.client, session.tenant);
    may_spread(hub, client, data, rooms.iter().len(), now)?;
    let rooms: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    let id = hub.publish_from(Origin::Session(key), tenant, &rooms, data, "");
    hub.state.stats.posted += 1;
    Ok(format!("{{\"id\":\"{id}\"}}"))
}

/// Whether a client's message may go to so many rooms. Each room counts as a message of its rate, and all copies together are
/// bounded, since a client may be in all of the rooms.
pub fn may_spread(hub: &mut Hub, client: ClientKey, data: Data<'_>, rooms: usize, now: Now) -> Result<(), Refusal> {
    if rooms > 1 && data.size() * rooms > SPREAD * hub.config().limits.message as usize {
        return Err(Refusal::TooWide);
    }
    if rooms > 1 && !hub.state.take_rate(client, rooms as u64 - 1, now) {
        hub.state.stats.rate_limited += 1;
        return Err(Refusal::RateExceeded);
    }
    Ok(())
}

/// `join` and `leave`: signed as a login is, unless the namespace lets clients choose their rooms.
pub fn change_rooms(
    hub: &mut Hub,
    key: SessionKey,
    list: &str,
    signature: &Signature<'_>,
    now: Now,
    join: bool,
) -> Result<String, Refusal> {
    let session = hub.state.sessions.get(key).ok_or(Refusal::SourceUnknown)?;
    let free = hub.state.namespaces[session.namespace as usize].config.join;
    if signature.hex.is_empty() && !free {
        return Err(Refusal::ConnectSignMissing);
    }
    let rooms = hub.login_rooms(list)?;
    let tenant = session.tenant;
    let source = hub.state.tenants[tenant.index()].name.clone();
    let subject = Subject::Connect { source: &source, userid: session.identity.userid(), room_ids: list };
    if !free && !hub.state.verify(tenant, &subject, signature, now) {
        return Err(Refusal::ConnectSignWrong);
    }
    let most = hub.config().limits.rooms_per_session as usize;
    let table = &hub.state.tenants[tenant.index()].rooms[session.namespace as usize];
    let is_in =
        |room: &str| table.find(room).is_some_and(|index| session.rooms.iter().any(|place| place.room == index));
    let mut new: Vec<&str> = rooms.iter().map(RoomId::as_str).filter(|room| !is_in(room)).collect();
    new.sort_unstable();
    new.dedup();
    if join && session.rooms.len() + new.len() > most {
        return Err(Refusal::RoomsTooMany(most));
    }
    for room in rooms.iter() {
        if join { hub.state.join(key, room) } else { hub.state.leave(key, room) }
    }
    Ok("\"\"".into())
}

/// All copies of a client's message together may be so many times as large as `limits.message`.
const SPREAD: usize = 4;
