//! What clients are known to have received, so that those that cannot say where they were get what they have missed
//! (docs/protocol.md, Return).
//!
//! A delivery costs nothing here: nothing is noted for kept messages. Noted are the frames that the history does not have
//! (answers, pings, events), because they are between the messages in what is sent. When a client is lost, the bytes that
//! its peer has not confirmed are laid over both, from the newest back (`history::walk`).

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{
    clock::Time,
    key::{ClientKey, Handle, Key, SessionKey},
    state::room::RoomIndex,
};

/// The tracks of clients, by the slots of their keys.
#[derive(Default)]
pub struct Tracks {
    pub(super) slots: Vec<Option<Box<Track>>>,
    pub(super) count: usize,
    /// The clients that wait for the time of their next question.
    pub(super) due: BinaryHeap<Reverse<(Time, ClientKey)>>,
    /// Clients with a new proof, if somebody waits for it.
    pub(super) proved: Vec<ClientKey>,
    /// Clients that have answered the question whether they are alive.
    pub(super) answered: Vec<ClientKey>,
}

/// What a client is known to have received.
#[derive(Debug)]
pub struct Track {
    pub(super) key: Key,
    /// It has all messages up to this stamp, or they are not for it.
    pub(super) proven: u64,
    /// The newest stamp that a WebSocket ping has named, which its pong will prove.
    pub(super) asked: u64,
    pub(super) asked_at: Time,
    /// The number of such pings, and the first of them whose pong counts.
    pub(super) asks: u32,
    pub(super) first_ask: u32,
    /// What is on its way to it. `None`: nothing, as for all that are idle.
    flow: Option<Box<Flow>>,
    /// How it is found out what it has received.
    pub proof: Proof,
    /// Whether it has shown that it is alive since its login.
    pub alive: bool,
    /// Whether it goes on from an earlier position, see [`Track::go_back`].
    pub resumed: bool,
    /// Whether it was silent when it was asked, so that another may go on from its position. It is alive if it answers after all.
    pub is_aside: bool,
    /// Since when it is asked for a sign of life: the first ping whose pong counts. What it has sent before may have been on its way
    /// for a long time.
    pub(super) question: Option<u32>,
    /// Whether the last answer to a poll was given since then, so that the next poll counts.
    pub(super) answers: bool,
    /// Whether it is in `Tracks::due`.
    pub(super) waits: bool,
    /// How many wait for its proofs.
    pub(super) watchers: u32,
    /// Whether it was begun for a receipt alone, and ends with it.
    pub(super) is_lent: bool,
}

/// What is on its way to a client.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// What the next poll will prove.
    pub(super) poll: u64,
    /// How far kept messages are queued while it is behind.
    pub(super) cursor: Option<u64>,
    /// Bytes of frames that the history does not have, by the stamp of the message before them, the oldest first.
    pub(super) others: Vec<(u64, u32)>,
    /// Bytes of the last answer to a poll, until the next poll.
    pub(super) flight: u32,
    /// Bytes that the kernel has sent and the peer has not confirmed, as read at the loss.
    pub(super) unconfirmed: Option<u32>,
    /// See [`Track::stall`].
    pub(super) stall: Option<Stall>,
    /// The order of what was sent before this stamp is not that of the stamps.
    pub(super) fence: u64,
    /// What the history has of these rooms up to the stamp was never sent to the session.
    pub(super) joined: Vec<(SessionKey, RoomIndex, u64)>,
}

/// The flow of a client to which nothing is on its way.
static NOTHING: Flow = Flow {
    poll: 0,
    cursor: None,
    others: Vec::new(),
    flight: 0,
    unconfirmed: None,
    stall: None,
    fence: 0,
    joined: Vec::new(),
};

// One for each client of a room that keeps messages.
const _: () = assert!(size_of::<Track>() <= 72);

/// What a client had received at a time at which it may have been giving up.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    /// How far messages were queued for it.
    pub newest: u64,
    /// How many bytes of what was queued were not confirmed.
    pub bytes: usize,
    /// The question whose answer shows that it did not give up.
    pub(super) question: u32,
}

/// How it is found out what a client has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By what its kernel has confirmed.
    Tcp,
    /// By pongs of its WebSocket: between relay and the client is a proxy, which confirms what the client never gets.
    Pong,
}

impl Tracks {
    /// The track of a client.
    pub fn get(&self, client: ClientKey) -> Option<&Track> {
        self.slots.get(client.key().index())?.as_deref().filter(|track| track.key == client.key())
    }

    /// The track of a client, for writing.
    pub fn get_mut(&mut self, client: ClientKey) -> Option<&mut Track> {
        self.slots.get_mut(client.key().index())?.as_deref_mut().filter(|track| track.key == client.key())
    }

    /// The number of tracks.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The clients that have a track.
    #[cfg(feature = "fuzzing")]
    pub fn keys(&self) -> impl Iterator<Item = ClientKey> {
        self.slots.iter().flatten().map(|track| ClientKey::wrap(track.key))
    }

    /// Asserts that tracks are counted right, and that what they note is in order.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self) {
        assert_eq!(self.keys().count(), self.count, "tracks");
        for track in self.slots.iter().flatten() {
            assert!(track.others().is_sorted_by_key(|(before, _)| *before) && track.others().len() <= MAX_OTHERS);
        }
    }

    /// Begins the track of a client, which has all messages up to `stamp`. One that has a track keeps it.
    pub fn begin(&mut self, client: ClientKey, stamp: u64, proof: Proof) {
        if let Some(track) = self.get_mut(client) {
            if core::mem::take(&mut track.is_lent) {
                track.proof = proof;
            }
            return;
        }
        let index = client.key().index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let track = Track {
            key: client.key(),
            proven: stamp,
            asked: 0,
            asked_at: Time::START,
            asks: 0,
            first_ask: 0,
            flow: None,
            proof,
            alive: false,
            resumed: false,
            is_aside: false,
            question: None,
            answers: false,
            waits: false,
            watchers: 0,
            is_lent: false,
        };
        // One that is left of an earlier client in this slot is replaced.
        if self.slots[index].replace(Box::new(track)).is_none() {
            self.count += 1;
        }
    }

    /// Ends the track of a client that is gone.
    pub fn end(&mut self, client: ClientKey) {
        if self.get(client).is_some() {
            self.slots[client.key().index()] = None;
            self.count -= 1;
        }
        if self.count == 0 {
            self.slots = Vec::new();
            self.due.clear();
        }
    }

    /// Notes that a client gets no messages after this stamp.
    pub fn freeze(&mut self, client: ClientKey, stamp: u64) {
        if let Some(track) = self.get_mut(client) {
            let cursor = track.cursor().unwrap_or(stamp).min(stamp);
            track.set_cursor(Some(cursor));
        }
    }

    /// Takes the clients with a new proof for which somebody waits ([`Track::watch`]). One may be there twice.
    pub fn take_proved(&mut self) -> Vec<ClientKey> {
        core::mem::take(&mut self.proved)
    }

    /// Takes the clients that have answered the question whether they are alive ([`ask_life`](super::State::ask_life)).
    pub fn take_answered(&mut self) -> Vec<ClientKey> {
        core::mem::take(&mut self.answered)
    }

    /// Notes a proof: the client has all messages up to a stamp.
    pub(super) fn prove(&mut self, client: ClientKey, stamp: u64) {
        let Some(track) = self.get_mut(client) else { return };
        track.alive = true;
        track.prove(stamp);
        if track.watchers > 0 {
            self.proved.push(client);
        }
    }

    /// When [`ask_due`](super::State::ask_due) has something to do.
    pub fn deadline(&self) -> Time {
        let due = self.due.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        if self.proved.is_empty() && self.answered.is_empty() { due } else { Time::START }
    }
}

impl Track {
    /// It has all messages up to this stamp, or they are not for it.
    pub fn proven(&self) -> u64 {
        self.proven
    }

    /// Goes on from an earlier stamp: the messages after it are replayed.
    pub fn go_back(&mut self, stamp: u64) {
        // Another session of the client may go on from a still earlier one.
        let stamp = stamp.min(self.proven);
        (self.proven, self.resumed) = (stamp, true);
        // Older questions would prove more than it has.
        (self.asked, self.first_ask) = (0, self.asks);
        let Flow { flight, fence, .. } = *self.flow();
        self.flow = Some(Box::new(Flow { cursor: Some(stamp), flight, fence, ..Flow::default() }));
    }

    /// The payload of a ping whose pong will prove all messages up to this stamp.
    pub(super) fn next_question(&mut self, stamp: u64, now: Time) -> [u8; PING] {
        let number = self.asks;
        (self.asked, self.asked_at, self.asks) = (self.asked.max(stamp), now, number.wrapping_add(1));
        let mut payload = [0; PING];
        payload[..8].copy_from_slice(&stamp.to_be_bytes());
        payload[8..].copy_from_slice(&number.to_be_bytes());
        payload
    }

    /// Asks for the client in [`Tracks::take_proved`] at each proof, until [`Track::unwatch`] was called as often.
    pub fn watch(&mut self) {
        self.watchers += 1;
    }

    /// See [`Track::watch`].
    pub fn unwatch(&mut self) {
        self.watchers = self.watchers.saturating_sub(1);
    }

    /// How far kept messages are queued while it is behind. `None`: as far as they are published.
    pub fn cursor(&self) -> Option<u64> {
        self.flow().cursor
    }

    /// Notes how far kept messages are queued.
    pub fn set_cursor(&mut self, cursor: Option<u64>) {
        if cursor.is_some() || self.flow.is_some() {
            self.flow_mut().cursor = cursor;
        }
    }

    /// The frames that the history does not have: the stamp of the message before them, and their bytes. The oldest first.
    pub fn others(&self) -> &[(u64, u32)] {
        &self.flow().others
    }

    /// The newest stamp of all when a session joined a room after its login: older messages of the room were not sent to it.
    pub fn joined_at(&self, session: SessionKey, room: RoomIndex) -> u64 {
        let found = self.flow().joined.iter().find(|(joined, index, _)| (*joined, *index) == (session, room));
        found.map_or(0, |(.., stamp)| *stamp)
    }

    /// Notes that a session was never sent what a room has up to this stamp.
    pub fn note_joined(&mut self, session: SessionKey, room: RoomIndex, stamp: u64) {
        if stamp <= self.proven {
            return;
        }
        let flow = self.flow_mut();
        flow.joined.retain(|(joined, index, _)| (*joined, *index) != (session, room));
        if flow.joined.len() >= MAX_JOINED {
            // Then more is repeated.
            flow.fence = flow.fence.max(stamp);
            flow.joined.clear();
        }
        flow.joined.push((session, room, stamp));
    }

    /// Notes that what was sent until now is not in the order of the stamps, because two sessions of the client got messages
    /// from the history.
    pub fn set_fence(&mut self, stamp: u64) {
        self.flow_mut().fence = stamp;
    }

    /// Before this stamp, what was sent is not in the order of the stamps.
    pub fn fence(&self) -> u64 {
        self.flow().fence
    }

    /// Bytes of the last answer to a poll that the client has not confirmed by the next poll.
    pub fn flight(&self) -> u32 {
        self.flow().flight
    }

    /// The bytes that the peer's kernel has not confirmed. `None` if that is not known.
    pub fn unconfirmed(&self) -> Option<u32> {
        self.flow().unconfirmed
    }

    /// What is known from the time at which a sign of life was late, or the peer confirmed nothing. What was confirmed since then
    /// may have been thrown away by a client that had given up.
    pub fn stall(&self) -> Option<Stall> {
        self.flow().stall
    }

    fn prove(&mut self, stamp: u64) {
        let stamp = stamp.max(self.proven);
        self.proven = stamp;
        let Some(flow) = &mut self.flow else { return };
        flow.stall = flow.stall.filter(|stall| stall.newest >= stamp);
        flow.others.retain(|(before, _)| *before > stamp);
        flow.joined.retain(|(.., until)| *until > stamp);
        if flow.is_nothing(stamp) {
            self.flow = None;
        }
    }

    pub(super) fn flow(&self) -> &Flow {
        self.flow.as_deref().unwrap_or(&NOTHING)
    }

    pub(super) fn flow_mut(&mut self) -> &mut Flow {
        self.flow.get_or_insert_default()
    }

    /// Notes a frame that the history does not have, after the message with the stamp `before`.
    pub(super) fn add_other(&mut self, before: u64, bytes: usize) {
        if before <= self.proven {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Flow { others, fence, .. } = self.flow_mut();
        match others.last_mut() {
            Some((last, _)) if *last > before => {
                // Another session of the client gets older messages now. Then more is repeated.
                *fence = (*fence).max(*last);
                others.clear();
            }
            Some((last, sum)) if *last == before => *sum = sum.saturating_add(bytes),
            _ => others.push((before, bytes)),
        }
        if others.len() > MAX_OTHERS {
            // At the older place: then at most more messages are repeated, and none is lost.
            let (_, bytes) = others.remove(1);
            others[0].1 = others[0].1.saturating_add(bytes);
        }
    }
}

impl Flow {
    /// Whether a client that has all messages up to a stamp needs it no more.
    fn is_nothing(&self, proven: u64) -> bool {
        let Flow { poll: _, cursor, others, flight, unconfirmed: _, stall, fence, joined } = self;
        let is_empty = others.is_empty() && joined.is_empty() && *flight == 0;
        is_empty && cursor.is_none() && stall.is_none() && *fence <= proven
    }
}

/// Rooms that were joined since the last proof.
const MAX_JOINED: usize = 64;
/// Bytes of the payload of a ping: a stamp, and the number of the ping.
pub(super) const PING: usize = 12;
/// Places of frames that the history does not have. More are merged, so that an idle client takes little memory.
const MAX_OTHERS: usize = 16;
