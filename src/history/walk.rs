//! The walk back: which messages a lost client has not received, from how many bytes its peer has not confirmed
//! (docs/protocol.md, Return).

use core::iter::{Peekable, Rev};
use std::{
    collections::{BinaryHeap, HashMap, vec_deque::Iter},
    rc::Rc,
};

use super::{entry::Entry, store::History};
use crate::{
    key::ClientKey,
    message::Form,
    state::{NamespaceId, State, TenantId, track::Track},
};

/// The walks of a turn. Thousands of clients can be lost in one, most of them in the same rooms: what is known of the lengths of
/// a room's messages is used for all of them, and the work of a turn is bounded.
#[derive(Default)]
pub struct Walks {
    lengths: HashMap<Place, Lengths>,
    /// How many messages were encoded in this turn.
    encoded: usize,
}

/// Where the lengths of messages are the same.
type Place = (TenantId, NamespaceId, Form, Rc<str>, u64);

/// The messages of a room from the newest back: the stamp of each, and the bytes of it and of all newer ones.
#[derive(Default)]
struct Lengths {
    messages: Vec<(u64, usize)>,
}

/// The kept messages of one room of one session, from the newest back.
struct Room<'a> {
    messages: Peekable<Rev<Iter<'a, Entry>>>,
    /// Older ones were not sent to the session.
    joined: u64,
    tenant: TenantId,
    namespace: NamespaceId,
    name: Rc<str>,
    form: Form,
}

/// What a client has not confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// How far messages were queued.
    pub newest: u64,
    /// How many bytes of what was queued are not confirmed.
    pub bytes: usize,
}

impl Walks {
    /// Begins a turn.
    pub fn begin_turn(&mut self) {
        if self.encoded > 0 || !self.lengths.is_empty() {
            *self = Walks::default();
        }
    }

    /// The stamp up to which a client has all messages. A message that was confirmed only in part counts as not received, and so
    /// does one of which that is uncertain: rather repeat a message than lose one.
    pub fn position(&mut self, history: &History, state: &State, client: ClientKey, track: &Track, tail: Tail) -> u64 {
        let mut rooms = rooms(history, state, client, track, tail.newest);
        match rooms.as_mut_slice() {
            [room] => self.of_room(history, state, room, track, tail),
            rooms => self.of_rooms(history, state, rooms, track, tail),
        }
    }

    /// The position of a client with messages of one room only.
    fn of_room(&mut self, history: &History, state: &State, room: &Room<'_>, track: &Track, tail: Tail) -> u64 {
        let place = (room.tenant, room.namespace, room.form, room.name.clone(), tail.newest);
        let mut lengths = self.lengths.remove(&place).unwrap_or_default();
        let lowest = track.proven().max(track.fence()).max(room.joined);
        let mut others = 0;
        let mut position = None;
        for (before, bytes) in track.others().iter().rev().filter(|(before, _)| *before <= tail.newest) {
            if *before <= lowest {
                break;
            }
            let newer = self.bytes_after(history, state, room, &mut lengths, (*before, tail.newest), tail.bytes);
            if others + newer >= tail.bytes {
                break;
            }
            others += *bytes as usize;
            if others + newer >= tail.bytes {
                position = Some(lengths.lowest_after(*before).map_or(tail.newest, |stamp| stamp - 1));
                break;
            }
        }
        let wanted = tail.bytes - others.min(tail.bytes);
        let position = position.or_else(|| {
            if wanted == 0 {
                return Some(tail.newest);
            }
            self.bytes_after(history, state, room, &mut lengths, (lowest, tail.newest), wanted);
            lengths.find(wanted).filter(|stamp| *stamp > lowest).map(|stamp| stamp - 1)
        });
        self.lengths.insert(place, lengths);
        position.unwrap_or(track.proven())
    }

    /// The bytes of the messages of a room after a stamp and up to the newest that was queued, or `enough` of them.
    fn bytes_after(
        &mut self,
        history: &History,
        state: &State,
        room: &Room<'_>,
        lengths: &mut Lengths,
        (stamp, newest): (u64, u64),
        enough: usize,
    ) -> usize {
        let (mut last, mut sum) = lengths.messages.last().copied().unwrap_or((u64::MAX, 0));
        if last > stamp && sum < enough {
            let newest = newest.min(last.saturating_sub(1));
            let entries = history.room_after(state, room.tenant, &room.name, stamp, newest);
            let mut scratch = Vec::new();
            for entry in entries.into_iter().flatten().rev() {
                if sum >= enough || !self.may_encode() {
                    break;
                }
                sum += length(history, state, room, entry, &mut scratch);
                last = entry.stamp();
                lengths.messages.push((last, sum));
            }
        }
        let count = lengths.messages.partition_point(|(of, _)| *of > stamp);
        count.checked_sub(1).map_or(0, |index| lengths.messages[index].1)
    }

    /// The position of a client with messages of several rooms, or of a room in several namespaces.
    fn of_rooms(&mut self, history: &History, state: &State, rooms: &mut [Room<'_>], track: &Track, tail: Tail) -> u64 {
        let mut heap: BinaryHeap<(u64, usize)> = BinaryHeap::new();
        for (index, room) in rooms.iter_mut().enumerate() {
            heap.extend(room.messages.peek().map(|entry| (entry.stamp(), index)));
        }
        let mut others = track.others().iter().rev().filter(|(before, _)| *before <= tail.newest).peekable();
        let (mut left, mut position, mut scratch) = (tail.bytes, tail.newest, Vec::new());
        while left > 0 {
            let other = others.peek().map_or(0, |(before, _)| *before);
            let message = heap.peek().map_or(0, |(stamp, _)| *stamp);
            let stamp = other.max(message);
            if stamp <= track.proven() || stamp <= track.fence() || !self.may_encode() {
                return track.proven();
            }
            // It was queued after the message with its stamp.
            if other >= message {
                left = left.saturating_sub(others.next().map_or(0, |(_, bytes)| *bytes as usize));
                continue;
            }
            let Some((_, index)) = heap.pop() else { return track.proven() };
            let room = &mut rooms[index];
            let Some(entry) = room.messages.next() else { return track.proven() };
            heap.extend(room.messages.peek().map(|next| (next.stamp(), index)));
            position = stamp - 1;
            left = left.saturating_sub(length(history, state, room, entry, &mut scratch));
        }
        position
    }

    /// Whether one more message may be encoded in this turn.
    fn may_encode(&mut self) -> bool {
        self.encoded += 1;
        self.encoded <= MOST_ENCODED
    }
}

impl Lengths {
    /// The newest message that, with all newer ones, has at least these bytes.
    fn find(&self, bytes: usize) -> Option<u64> {
        let index = self.messages.partition_point(|(_, sum)| *sum < bytes);
        self.messages.get(index).map(|(stamp, _)| *stamp)
    }

    /// The oldest of the messages after a stamp.
    fn lowest_after(&self, stamp: u64) -> Option<u64> {
        let count = self.messages.partition_point(|(of, _)| *of > stamp);
        count.checked_sub(1).map(|index| self.messages[index].0)
    }
}

/// The bytes that a message takes in the form of a room.
fn length(history: &History, state: &State, room: &Room<'_>, entry: &Entry, scratch: &mut Vec<u8>) -> usize {
    let (source, namespace) =
        (&state.tenants[room.tenant.index()].name, &state.namespaces[room.namespace as usize].name);
    let content = entry.content();
    let found = history.found(entry);
    found.message(content.data(), source, &room.name, namespace).frames_len(room.form, scratch)
}

/// The rooms of a client with messages that are not proven.
fn rooms<'a>(history: &'a History, state: &State, client: ClientKey, track: &Track, newest: u64) -> Vec<Room<'a>> {
    let mut rooms = Vec::new();
    for key in state.sessions_of(client) {
        let Some(session) = state.sessions.get(key) else { continue };
        for (membership, name) in session.rooms.iter().zip(state.room_names(session)) {
            let joined = track.joined_at(key, membership.room).max(track.proven());
            let messages = history.room_after(state, session.tenant, &name, joined, newest);
            let Some(messages) = messages.filter(|messages| messages.len() > 0) else { continue };
            rooms.push(Room {
                messages: messages.rev().peekable(),
                joined,
                tenant: session.tenant,
                namespace: session.namespace,
                name,
                form: session.form,
            });
        }
    }
    rooms
}

/// How many messages are encoded in a turn only to know their lengths: this takes some ten milliseconds. Clients that are lost in the
/// same turn beyond that get more messages again.
const MOST_ENCODED: usize = 100_000;
