//! `GET /api/presence`: lists the users in rooms (docs/protocol.md, Presence).

use super::{
    context::Context,
    history::{Readable, readable},
};
use crate::{
    http::{Head, Reply},
    json::write_string,
    presence::objects::write_users,
};

/// `GET /api/presence`: the users in rooms.
pub fn presence(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    answer(head, cx).unwrap_or_else(|refusal| refusal).with("Cache-Control", "no-store")
}

fn answer(head: &Head<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let fields = head.fields();
    let number = |name: &str, default: usize| match fields.get(name) {
        "" => Some(default),
        text => text.parse().ok(),
    };
    let (Some(skip), Some(most @ 0..=MAX_LIMIT)) = (number("offset", 0), number("limit", DEFAULT_LIMIT)) else {
        return Err(Reply::refusal(400, WRONG_PAGE));
    };
    let rooms = match fields.get("room_ids") {
        "" => fields.get("room"),
        rooms => rooms,
    };
    let Readable { tenant, rooms } = readable(head, &fields, rooms, cx)?;
    if !cx.hub.presence.tracker.is_on() {
        return Err(Reply::refusal(404, OFF));
    }
    cx.hub.update_presence();
    let mut out = b"{\"code\":1,\"msg\":\"\",\"data\":{\"rooms\":[".to_vec();
    for (index, name) in rooms.iter().enumerate() {
        let room = cx.hub.presence.tracker.room(tenant, name);
        out.extend_from_slice(if index > 0 { b",{\"room_id\":" } else { b"{\"room_id\":" });
        write_string(&mut out, name);
        out.extend_from_slice(b",\"users\":[");
        if let Some(room) = room {
            write_users(&mut out, room, (skip, most));
        }
        let (count, guests) = room.map_or((0, 0), |room| (room.count(), room.guests()));
        out.extend_from_slice(format!("],\"count\":{count},\"guests\":{guests}}}").as_bytes());
    }
    out.extend_from_slice(b"]}}");
    Ok(Reply::json(200, out))
}

/// Users of each room in an answer, unless the request says otherwise.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
const WRONG_PAGE: &str = "limit must be 0 to 10000, and offset a whole number";
const OFF: &str = "presence is off: set events = true in [presence]";
