//! The JSON about who is in a room (docs/protocol.md, Presence).

use super::room::{Change, Room};
use crate::json::write_string;

/// The members of the event for a client that does not know who is in a room.
pub fn here(room: &Room, most: usize) -> String {
    let users = room.is_named(most).then_some((0, most));
    with_head(room, |out| {
        if let Some(page) = users {
            out.extend_from_slice(b",\"here\":[");
            write_users(out, room, page);
            out.push(b']');
        }
    })
}

/// The members of the event about a change.
pub fn changed(room: &Room, change: &Change, most: usize) -> String {
    match change {
        Change::Everybody => here(room, most),
        Change::Numbers => with_head(room, |_| {}),
        Change::Names { came, left } => with_head(room, |out| {
            if !came.is_empty() {
                out.extend_from_slice(b",\"came\":[");
                for (index, (userid, name)) in came.iter().enumerate() {
                    out.extend_from_slice(if index > 0 { b",{\"userid\":" } else { b"{\"userid\":" });
                    write_string(out, userid);
                    out.extend_from_slice(b",\"username\":");
                    write_string(out, name);
                    out.push(b'}');
                }
                out.push(b']');
            }
            if !left.is_empty() {
                out.extend_from_slice(b",\"left\":[");
                for (index, userid) in left.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(out, userid);
                }
                out.push(b']');
            }
        }),
    }
}

/// Appends the users of a room on a page: how many are skipped, and how many are listed at most. Ends early once `out` has
/// [`MOST_LIST_BYTES`].
pub fn write_users(out: &mut Vec<u8>, room: &Room, (skip, most): (usize, usize)) {
    for (index, (userid, user)) in room.users().skip(skip).take(most).enumerate() {
        if out.len() > MOST_LIST_BYTES {
            return;
        }
        out.extend_from_slice(if index > 0 { b",{\"userid\":" } else { b"{\"userid\":" });
        write_string(out, userid);
        out.extend_from_slice(b",\"username\":");
        write_string(out, &user.name);
        out.extend_from_slice(format!(",\"sessions\":{}}}", user.all_sessions()).as_bytes());
    }
}

/// The room's name, what `fill` writes, and the numbers.
fn with_head(room: &Room, fill: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"\"room_id\":".to_vec();
    write_string(&mut out, &room.name);
    fill(&mut out);
    out.extend_from_slice(format!(",\"count\":{},\"guests\":{}", room.count(), room.guests()).as_bytes());
    String::from_utf8(out).expect("made of text")
}

/// The size in bytes at which a list ends early, because building it blocks the event loop.
pub const MOST_LIST_BYTES: usize = 4 * 1024 * 1024;
