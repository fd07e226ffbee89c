//! The walk back: which messages a lost client has not received, from how many bytes its peer has not confirmed
//! (docs/protocol.md, Return).

use core::iter::Rev;
use std::{
    collections::{BinaryHeap, vec_deque::Iter},
    rc::Rc,
};

use super::{entry::Entry, store::History};
use crate::{
    key::{ClientKey, SessionKey},
    message::Form,
    state::{State, room::RoomIndex, track::Track},
};

/// The kept messages of one room of one session, from the newest back.
struct Room<'a> {
    next: Option<&'a Entry>,
    rest: Rev<Iter<'a, Entry>>,
    session: SessionKey,
    index: RoomIndex,
    name: Rc<str>,
    source: Rc<str>,
    namespace: Rc<str>,
    form: Form,
}

impl<'a> Room<'a> {
    /// Takes the next message, which was sent to the session before those that were taken already.
    fn take(&mut self, track: &Track, newest: u64) -> Option<&'a Entry> {
        let was_sent =
            |entry: &&Entry| entry.stamp() <= newest && !track.is_before_join(self.session, self.index, entry.stamp());
        let next = self.rest.find(was_sent);
        core::mem::replace(&mut self.next, next)
    }
}

/// The stamp up to which a client has all messages, if its peer has not confirmed the last `tail` bytes of what was queued for
/// it. What was confirmed only in part counts as not received, and so does what is uncertain: then a message is repeated, and
/// none is lost.
pub fn position(history: &History, state: &State, client: ClientKey, track: &Track, tail: usize) -> u64 {
    let (proven, newest) = (track.proven(), track.cursor().unwrap_or(state.ids.last()));
    let mut rooms = rooms(history, state, client, track, newest);
    let stamps = rooms.iter().enumerate().filter_map(|(index, room)| Some((room.next?.stamp(), index)));
    let mut heap: BinaryHeap<(u64, usize)> = stamps.collect();
    let mut others = track.others().iter().rev().filter(|(before, _)| *before <= newest).peekable();
    let (mut left, mut position, mut scratch) = (tail, newest, Vec::new());
    while left > 0 {
        let other = others.peek().map_or(0, |(before, _)| *before);
        let message = heap.peek().map_or(0, |(stamp, _)| *stamp);
        let stamp = other.max(message);
        if stamp <= proven || stamp <= track.fence() {
            return proven;
        }
        // It was queued after the message with its stamp.
        if other >= message {
            left = left.saturating_sub(others.next().map_or(0, |(_, bytes)| *bytes as usize));
            continue;
        }
        let Some((_, index)) = heap.pop() else { return proven };
        let room = &mut rooms[index];
        let Some(entry) = room.take(track, newest) else { return proven };
        heap.extend(room.next.map(|next| (next.stamp(), index)));
        position = stamp - 1;
        let content = entry.content();
        let found = history.found(entry);
        let message = found.message(content.data(), &room.source, &room.name, &room.namespace);
        left = left.saturating_sub(message.frames_len(room.form, &mut scratch));
    }
    position
}

/// The rooms of a client that keep messages which are not proven.
fn rooms<'a>(history: &'a History, state: &State, client: ClientKey, track: &Track, newest: u64) -> Vec<Room<'a>> {
    let mut rooms = Vec::new();
    for key in state.sessions_of(client) {
        let Some(session) = state.sessions.get(key) else { continue };
        for (membership, name) in session.rooms.iter().zip(state.room_names(session)) {
            let Some(messages) = history.room_after(state, session.tenant, &name, track.proven()) else { continue };
            let mut room = Room {
                next: None,
                rest: messages.rev(),
                session: key,
                index: membership.room,
                name,
                source: state.tenants[session.tenant.index()].name.clone(),
                namespace: state.namespaces[session.namespace as usize].name.clone(),
                form: session.form,
            };
            room.take(track, newest);
            rooms.push(room);
        }
    }
    rooms
}
