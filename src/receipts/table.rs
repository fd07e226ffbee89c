//! All receipts that are open, and the clients that they wait for.

use core::{mem, time::Duration};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use smallvec::SmallVec;

use super::{
    answers::Answers,
    count::{Count, Counter, Names},
    open::{Open, Waiting},
};
use crate::{
    clock::Time,
    key::ClientKey,
    state::{State, confirm::Sign},
};

/// The receipts that are open.
#[derive(Default)]
pub struct Receipts {
    /// Counts the members of rooms.
    pub counter: Counter,
    /// The answers that wait for receipts.
    pub answers: Answers,
    last: u64,
    open: BTreeMap<u64, Open>,
    due: BTreeSet<(Time, u64)>,
    watched: HashMap<ClientKey, Watched>,
    /// Clients that each open receipt waits for, of all receipts together.
    waiting: usize,
    /// Names in all receipts.
    names: usize,
    /// The clients of whom it must be looked whether they have confirmed the message, in turn.
    to_look: VecDeque<ClientKey>,
    look_at: Time,
    /// Receipts that may be done.
    changed: BTreeSet<u64>,
}

/// A client that receipts wait for.
#[derive(Default)]
struct Watched {
    /// The receipts, the oldest first.
    receipts: SmallVec<[u64; 1]>,
    /// The newest stamp that one of them waits for.
    stamp: u64,
    /// Whether it is in the queue of those to look at.
    is_looked_at: bool,
}

impl Receipts {
    /// The number of open receipts.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no receipt is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        let watched = self.watched.capacity() * size_of::<(ClientKey, Watched)>();
        let (open, clients) = (self.open.len() * size_of::<Open>(), self.waiting * size_of::<(ClientKey, u64)>());
        open + self.names * NAME_BYTES + watched + clients
    }

    /// Whether another receipt can be opened.
    pub fn has_room(&self) -> bool {
        self.open.len() < MAX_OPEN && self.names < MAX_NAMES_OPEN
    }

    /// Whether so many more clients can be waited for.
    pub fn may_wait_for(&self, clients: u64) -> bool {
        self.waiting as u64 + clients <= MAX_WAITING
    }

    /// The number that the next receipt will have.
    pub fn next_number(&self) -> u64 {
        self.last + 1
    }

    /// Opens a receipt. Asks the clients that it waits for what they have received.
    pub fn open(&mut self, mut open: Open, state: &mut State) {
        self.last += 1;
        let number = self.last;
        if let Some(waiting) = &open.waiting {
            self.waiting += waiting.left();
            self.watched.reserve(waiting.left());
            let (stamp, mut asked) = (waiting.stamp, Vec::with_capacity(waiting.left()));
            for client in waiting.clients() {
                self.watch(client, number, stamp, state);
                match state.sign_of(client, stamp) {
                    Sign::Pong => asked.push(client),
                    Sign::Never => {}
                    Sign::Poll | Sign::Tcp | Sign::Later => self.look_later(client, state.now.time),
                }
            }
            state.ask_all(&asked);
        }
        self.names += open.name_count();
        open.armed = open.deadline(state.now.time);
        self.due.insert((open.armed, number));
        self.changed.insert(number);
        self.open.insert(number, open);
    }

    fn watch(&mut self, client: ClientKey, number: u64, stamp: u64, state: &mut State) {
        let watched = self.watched.entry(client).or_default();
        if watched.receipts.is_empty() {
            // What came before is not known to have been received, but nobody asks for that.
            state.lend_track(client, stamp - 1);
            if let Some(track) = state.tracks.get_mut(client) {
                track.watch();
            }
        }
        watched.receipts.push(number);
        watched.stamp = stamp;
    }

    fn look_later(&mut self, client: ClientKey, now: Time) {
        let Some(watched) = self.watched.get_mut(&client).filter(|watched| !watched.is_looked_at) else { return };
        watched.is_looked_at = true;
        if self.to_look.is_empty() {
            self.look_at = now.after(FIRST_LOOK);
        }
        self.to_look.push_back(client);
    }

    /// Handles a new proof of a client.
    pub fn handle_proof(&mut self, client: ClientKey, state: &mut State) {
        let Some(proven) = state.tracks.get(client).map(|track| track.proven()) else { return };
        let Some(watched) = self.watched.get_mut(&client) else { return };
        let mut proved = SmallVec::<[u64; 1]>::new();
        let open = &self.open;
        watched.receipts.retain(|number| {
            let stamp = open.get(number).and_then(|open| open.waiting.as_ref()).map_or(0, |waiting| waiting.stamp);
            let waits = stamp > proven;
            if !waits {
                proved.push(*number);
            }
            waits
        });
        for number in proved {
            let Some(open) = self.open.get_mut(&number) else { continue };
            if open.ack(client, |session| state.user_of(session)) {
                self.waiting -= 1;
                self.changed.insert(number);
            }
        }
        self.release(client, state);
    }

    /// Ends the watch of a client that no receipt waits for.
    fn release(&mut self, client: ClientKey, state: &mut State) {
        if self.watched.get(&client).is_some_and(|watched| watched.receipts.is_empty()) {
            self.watched.remove(&client);
            if let Some(track) = state.tracks.get_mut(client) {
                track.unwatch();
            }
            state.tracks.give_back(client);
        }
    }

    /// Waits no longer for a client that ends.
    pub fn forget(&mut self, client: ClientKey, state: &mut State) {
        let Some(watched) = self.watched.get_mut(&client) else { return };
        for number in mem::take(&mut watched.receipts) {
            let waiting = self.open.get_mut(&number).and_then(|open| open.waiting.as_mut());
            if waiting.is_some_and(|waiting| !waiting.take(client).is_empty()) {
                self.waiting -= 1;
                self.changed.insert(number);
            }
        }
        self.release(client, state);
    }

    /// Handles the counts of another relay. `waits` says whether it will tell who has got the message.
    pub fn handle_counts(&mut self, number: u64, node: &str, counts: Vec<Count>, waits: bool) {
        self.change(number, |open| open.handle_counts(node, counts, waits));
    }

    /// Handles the last word of another relay about who has got a message.
    pub fn handle_acked(&mut self, number: u64, node: &str, sessions: u64, users: Names) {
        self.change(number, |open| open.handle_acked(node, sessions, users));
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let before = open.name_count();
        change(open);
        self.names = self.names - before + open.name_count();
        self.changed.insert(number);
    }

    /// Takes the receipts that are done.
    pub fn take_done(&mut self, state: &mut State) -> Vec<Open> {
        let now = state.now.time;
        while let Some((_, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            self.changed.insert(number);
        }
        let mut done = Vec::new();
        for number in mem::take(&mut self.changed) {
            let Some(open) = self.open.get_mut(&number) else { continue };
            open.expire(now);
            if open.is_done(now) {
                done.extend(self.close(number, state));
            } else {
                self.due.remove(&(open.armed, number));
                open.armed = open.deadline(now);
                self.due.insert((open.armed, number));
            }
        }
        done
    }

    /// Takes all receipts, because relay stops.
    pub fn take_all(&mut self, state: &mut State) -> Vec<Open> {
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.close(number, state)).collect()
    }

    /// Drops the receipts of an answer whose connection is gone.
    pub fn cancel(&mut self, answer: u64, state: &mut State) {
        for number in self.answers.cancel(answer) {
            self.close(number, state);
        }
    }

    fn close(&mut self, number: u64, state: &mut State) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.due.remove(&(open.armed, number));
        self.changed.remove(&number);
        self.names -= open.name_count();
        for client in open.waiting.iter().flat_map(Waiting::clients) {
            self.waiting -= 1;
            if let Some(watched) = self.watched.get_mut(&client) {
                watched.receipts.retain(|known| *known != number);
            }
            self.release(client, state);
        }
        if self.watched.is_empty() {
            self.watched = HashMap::new();
        }
        Some(open)
    }

    /// Takes clients of whom it must be looked whether the kernel of their peer has confirmed everything; then call
    /// [`State::note_confirmed`] for those. Asks clients that have got a WebSocket meanwhile, or that have caught up.
    pub fn take_looks(&mut self, state: &mut State) -> Vec<ClientKey> {
        let now = state.now.time;
        if now < self.look_deadline() {
            return Vec::new();
        }
        let (mut streams, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..self.to_look.len().min(LOOKS) {
            let Some(client) = self.to_look.pop_front() else { break };
            let Some(watched) = self.watched.get_mut(&client) else { continue };
            match state.sign_of(client, watched.stamp) {
                Sign::Tcp => streams.push(client),
                Sign::Pong => asked.push(client),
                Sign::Poll | Sign::Later => {}
                Sign::Never => {
                    watched.is_looked_at = false;
                    continue;
                }
            }
            watched.is_looked_at = !asked.ends_with(&[client]);
            if watched.is_looked_at {
                self.to_look.push_back(client);
            }
        }
        state.ask_all(&asked);
        self.look_at = now.after(LOOK_INTERVAL);
        streams
    }

    fn look_deadline(&self) -> Time {
        if self.to_look.is_empty() { Time::NEVER } else { self.look_at }
    }

    /// When a receipt or a client must be looked at.
    pub fn deadline(&self) -> Time {
        if !self.changed.is_empty() {
            return Time::START;
        }
        self.due.first().map_or(Time::NEVER, |(at, _)| *at).min(self.look_deadline())
    }
}

/// The most receipts that may be open.
const MAX_OPEN: usize = 1000;
/// The most clients that all receipts wait for together. One that several receipts wait for counts several times.
const MAX_WAITING: u64 = 100_000;
/// About how many bytes a name takes in a receipt.
const NAME_BYTES: usize = 48;
/// The most names in all open receipts.
const MAX_NAMES_OPEN: usize = 500_000;
/// Clients that are looked at at once: that takes about a millisecond.
const LOOKS: usize = 1000;
/// When the first of them are looked at: the peer has to get the message first.
const FIRST_LOOK: Duration = Duration::from_millis(2);
/// How long after that the next are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
