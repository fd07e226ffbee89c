//! The history of all rooms.

use core::time::Duration;
use std::{
    collections::{HashMap, vec_deque::Iter},
    rc::Rc,
};

use super::{
    counts::Counts,
    entry::{Entry, Published},
    eviction::{Victim, find_victim},
    merge::{Entries, Found},
    ring::{Floors, Ring},
    rings::Rings,
    rules::Rules,
    since::{Position, Since},
};
use crate::{
    clock::Time,
    config,
    message::MessageId,
    room_hash::HashedRoom,
    state::{State, TenantId},
};

/// The kept messages of all rooms.
pub struct History {
    /// An id of this relay.
    own: MessageId,
    rules: Rules,
    is_on: bool,
    /// `history.memory`.
    memory: usize,
    /// See [`History::reserve`].
    reserved: usize,
    rings: Rings,
    counts: Counts,
    /// The next ring that [`History::expire`] looks at, and when.
    hand: usize,
    look_at: Time,
    /// The ring that was last looked at for a message to drop.
    eviction_hand: usize,
    /// See [`History::hold`].
    held: HashMap<TenantId, Held>,
}

/// Messages of a tenant's rooms without history that wait for clients.
#[derive(Default)]
struct Held {
    /// How many clients they wait for.
    clients: usize,
    /// The newest stamp of all when the last of such clients was done.
    newest: u64,
}

/// A room whose messages were removed because it keeps nothing any more.
#[derive(Debug)]
pub struct Cleared {
    /// The tenant of the room.
    pub tenant: TenantId,
    /// Its name.
    pub room: Rc<str>,
    /// The newest stamp of its messages.
    pub newest: u64,
}

impl History {
    /// A history that keeps nothing, see [`History::configure`]. `first` is an id of this relay.
    pub fn new(first: MessageId) -> History {
        History {
            own: first,
            rules: Rules::default(),
            is_on: false,
            memory: 0,
            reserved: 0,
            rings: Rings::default(),
            counts: Counts::default(),
            hand: 0,
            look_at: Time::START,
            eviction_hand: 0,
            held: HashMap::new(),
        }
    }

    /// Applies a configuration, after [`State::reload`]. Smaller bounds take effect at once. Rings of rooms that keep nothing any
    /// more are removed, and returned, unless no room keeps anything now. So are those of sources that are not known any more.
    pub fn configure(&mut self, settings: &config::History, state: &State) -> Vec<Cleared> {
        let (rules, mut cleared) = (Rules::new(settings), Vec::new());
        self.memory = usize::try_from(settings.memory).unwrap_or(usize::MAX);
        if rules != self.rules {
            self.is_on = rules.is_on();
            self.rules = rules;
            self.apply_rules(state, &mut cleared);
        }
        let gone: Vec<TenantId> =
            state.tenant_ids().filter(|tenant| !state.tenants[tenant.index()].is_known()).collect();
        gone.into_iter().for_each(|tenant| self.forget(tenant));
        self.keep_budget(state);
        cleared
    }

    fn apply_rules(&mut self, state: &State, cleared: &mut Vec<Cleared>) {
        if !self.is_on {
            return self.rings.clear(state.ids.last());
        }
        // Rooms that have no ring may not have kept what was published until now.
        self.rings.raise_floors(state.ids.last());
        let second = second_of(state);
        for index in (0..self.rings.all().len()).rev() {
            let ring = &self.rings.all()[index];
            match self.rules.find(&state.tenants[ring.tenant.index()].name, &ring.name) {
                None => {
                    let newest = ring.newest().map_or(0, |entry| entry.stamp());
                    cleared.push(Cleared { tenant: ring.tenant, room: ring.name.clone(), newest });
                    self.rings.remove(index);
                }
                Some(bounds) if bounds == *ring.bounds() => {}
                Some(bounds) => {
                    let evicted = &mut self.counts.evicted;
                    self.rings.change(index, |ring| ring.set_bounds(bounds, second, evicted));
                    self.rings.remove_if_empty(index);
                }
            }
        }
    }

    /// Whether any room keeps messages. If not, nothing else here needs to be called.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Keeps a message to a room, if a rule says so and there is room for it; returns whether it was kept. Must be called for
    /// each message to each room while the history [is on](History::is_on), with growing stamps, before it is delivered.
    pub fn keep(&mut self, state: &State, tenant: TenantId, hashed: HashedRoom<'_>, message: &Published<'_>) -> bool {
        self.rings.note(tenant, message.stamp);
        let (room, known) = (hashed.name, self.rings.find_hashed(tenant, hashed));
        let bounds = match known {
            Some(index) => Some(*self.rings.all()[index].bounds()),
            None => self.rules.find(&state.tenants[tenant.index()].name, room),
        };
        let Some(bounds) = bounds else { return false };
        if Entry::cost_of(message, self.own) > bounds.bytes as usize {
            self.rings.raise_floor(tenant, room, message.stamp);
            return false;
        }
        if !self.rings.can_expire() {
            self.look_at = state.now.time.after(LOOK_INTERVAL);
        }
        let second = second_of(state);
        let (entry, evicted) = (Entry::new(message, second, self.own), &mut self.counts.evicted);
        let index = known.unwrap_or_else(|| self.rings.add(tenant, room, bounds));
        self.rings.change(index, |ring| ring.push(entry, second, evicted));
        self.counts.kept += 1;
        if self.rings.bytes() <= self.budget(state) {
            return true;
        }
        if !self.keep_budget(state) {
            self.drop_message(tenant, room, message.stamp);
        }
        self.newest_is(tenant, room, message.stamp)
    }

    /// Drops the message with this stamp if it is still there, because there is no memory for it.
    fn drop_message(&mut self, tenant: TenantId, room: &str, stamp: u64) {
        let is_there = self.newest_is(tenant, room, stamp);
        if let Some(index) = self.rings.find(tenant, room).filter(|_| is_there) {
            self.rings.change(index, Ring::drop_newest);
            self.counts.evicted.memory += 1;
            self.rings.remove_if_empty(index);
        }
    }

    /// Whether the newest message of a room has this stamp.
    fn newest_is(&self, tenant: TenantId, room: &str, stamp: u64) -> bool {
        self.rings.get(tenant, room).and_then(Ring::newest).is_some_and(|entry| entry.stamp() == stamp)
    }

    /// The most bytes that all messages may take: `history.memory`, but no more than a share of `limits.memory`.
    fn budget(&self, state: &State) -> usize {
        self.whole_budget(state).saturating_sub(self.reserved)
    }

    /// Drops messages until all fit into the budget. Returns whether they do. Call it after `limits.memory` has changed.
    pub fn keep_budget(&mut self, state: &State) -> bool {
        self.shrink(state, self.budget(state))
    }

    /// Drops messages that take `wanted` bytes, or all that may be dropped, because memory is short. Returns how many bytes they
    /// took.
    pub fn give_up(&mut self, state: &State, wanted: usize) -> usize {
        let before = self.rings.bytes();
        self.shrink(state, before.saturating_sub(wanted));
        before - self.rings.bytes()
    }

    /// Drops messages until all take at most `bytes`. Returns whether they do.
    fn shrink(&mut self, state: &State, bytes: usize) -> bool {
        let second = second_of(state);
        while self.rings.bytes() > bytes {
            let Some((index, victim)) = find_victim(&self.rings, &mut self.eviction_hand, second, state) else {
                return false;
            };
            let evicted = &mut self.counts.evicted;
            if victim == Victim::Expired {
                self.rings.change(index, |ring| ring.expire(second, evicted));
            } else {
                evicted.memory += 1;
                self.rings.change(index, Ring::drop_oldest);
            }
            self.rings.remove_if_empty(index);
        }
        true
    }

    /// The position of a client that wants the messages of these rooms since `since`.
    pub fn position(&self, state: &State, tenant: TenantId, rooms: &[&str], since: &Since) -> Position {
        let newest = state.ids.last();
        let whole = |stamp| Position { stamp, gaps: Vec::new() };
        let stamp = match *since {
            Since::New => return whole(newest),
            Since::Unknown => return Position { stamp: newest, gaps: (0..rooms.len()).collect() },
            // Right before the oldest, so that a client that comes back with this position has missed nothing.
            Since::All => {
                let oldest = self.entries_after(state, tenant, rooms, 0).next();
                return whole(oldest.map_or(newest, |found| found.entry.stamp() - 1));
            }
            Since::Age(age) => {
                let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                state.ids.number_at(state.now.time).saturating_sub(age)
            }
            Since::Id(id) if id.is_same_node(self.own) => id.stamp(),
            Since::Id(id) => match self.find_foreign(tenant, rooms, id) {
                Some(entry) => entry.stamp(),
                None => {
                    // Another relay made it: what this one published since then, and a little more as clocks differ.
                    let stamp = id.number().saturating_sub(CLOCK_DIFFERENCE).min(newest);
                    return Position { stamp, gaps: (0..rooms.len()).collect() };
                }
            },
        };
        let stamp = stamp.min(newest);
        let is_gap = |(index, room): (usize, &&str)| (!self.is_whole(state, tenant, room, stamp)).then_some(index);
        let gaps = rooms.iter().enumerate().filter_map(is_gap).collect();
        // Two relays may have delivered messages of the same moment in different orders: rather repeat some than lose one.
        let is_foreign = matches!(since, Since::Id(id) if !id.is_same_node(self.own));
        Position { stamp: if is_foreign { stamp.saturating_sub(MOMENT) } else { stamp }, gaps }
    }

    /// The stamp of the message with this id, if it is of this relay or kept in one of these rooms.
    pub fn stamp_of(&self, tenant: TenantId, rooms: &[&str], id: MessageId) -> Option<u64> {
        match id.is_same_node(self.own) {
            true => Some(id.stamp()),
            false => self.find_foreign(tenant, rooms, id).map(Entry::stamp),
        }
    }

    fn find_foreign(&self, tenant: TenantId, rooms: &[&str], id: MessageId) -> Option<&Entry> {
        let rings = rooms.iter().filter_map(|room| self.rings.get(tenant, room));
        rings.filter_map(|ring| ring.find_foreign(id)).max_by_key(|entry| entry.stamp())
    }

    /// Whether no message to the room after a stamp is missing. It can be `false` though none is missing, if the room has kept
    /// nothing for a while.
    pub fn is_whole(&self, state: &State, tenant: TenantId, room: &str, stamp: u64) -> bool {
        self.is_on && stamp >= self.floors(state, tenant, room).newest()
    }

    /// Which messages to the room may be missing.
    pub fn floors(&self, state: &State, tenant: TenantId, room: &str) -> Floors {
        let dropped = match self.rings.get(tenant, room) {
            Some(ring) => return ring.floors_at(second_of(state)),
            None if self.has_rule(state, tenant, room) => self.rings.floor(tenant),
            // It keeps nothing, so any message may have been one to it.
            None => self.rings.newest(tenant).max(self.unordered(state, tenant)),
        };
        Floors { dropped, ..Floors::default() }
    }

    /// Notes that messages of rooms without history wait for a client that is behind: it may get them after newer messages of
    /// other rooms. So whoever says that it has a newer message may lack them.
    pub fn hold(&mut self, tenant: TenantId) {
        self.held.entry(tenant).or_default().clients += 1;
    }

    /// Notes that such a client has got them, or is gone.
    pub fn release(&mut self, state: &State, tenant: TenantId) {
        if let Some(held) = self.held.get_mut(&tenant) {
            held.clients -= 1;
            held.newest = state.ids.last();
        }
    }

    /// The first stamp from which on a client has all messages of rooms without history that came before the one that it names.
    fn unordered(&self, state: &State, tenant: TenantId) -> u64 {
        match self.held.get(&tenant) {
            None => 0,
            // Also from that message itself: it may have been the last one that the client got.
            Some(Held { clients: 0, newest }) => newest + 1,
            Some(_) => state.ids.last() + 1,
        }
    }

    /// Whether a room keeps messages.
    pub fn has_rule(&self, state: &State, tenant: TenantId, room: &str) -> bool {
        self.rules.find(&state.tenants[tenant.index()].name, room).is_some()
    }

    /// The number of kept messages of these rooms after a stamp.
    pub fn count_after(&self, state: &State, tenant: TenantId, rooms: &[&str], stamp: u64) -> usize {
        let second = second_of(state);
        let mut rings: Vec<usize> = rooms.iter().filter_map(|room| self.rings.find(tenant, room)).collect();
        // A room that is named twice counts once.
        rings.sort_unstable();
        rings.dedup();
        rings.iter().map(|index| self.rings.all()[*index].after(stamp, second).len()).sum()
    }

    /// The position after the message with this stamp, as clients give it back.
    pub fn id_at(&self, stamp: u64) -> MessageId {
        self.own.with_number(stamp)
    }

    /// The kept messages of these rooms after a stamp, in order. Call it again with the stamp of the last one to go on.
    pub fn entries_after<'a>(&'a self, state: &State, tenant: TenantId, rooms: &[&str], stamp: u64) -> Entries<'a> {
        let second = second_of(state);
        let found = rooms.iter().enumerate().filter_map(|(index, room)| {
            let ring = self.rings.get(tenant, room)?;
            Some((index, ring.after(stamp, second)))
        });
        Entries::new(self.own, found)
    }

    /// The kept messages of one room after a stamp and up to another, in order. `None` if it keeps none.
    pub fn room_after(
        &self,
        state: &State,
        tenant: TenantId,
        room: &str,
        stamp: u64,
        until: u64,
    ) -> Option<Iter<'_, Entry>> {
        Some(self.rings.get(tenant, room)?.between(stamp, until, second_of(state)))
    }

    /// A kept message with its id.
    pub fn found<'a>(&self, entry: &'a Entry) -> Found<'a> {
        Found { room: 0, id: entry.id(self.own), entry }
    }

    /// Sets how many bytes of `history.memory` are taken by other things than messages.
    pub fn reserve(&mut self, bytes: usize) {
        self.reserved = bytes;
    }

    /// The most bytes that messages and what is reserved may take together.
    pub fn whole_budget(&self, state: &State) -> usize {
        self.memory.min(state.memory_limit / SHARE)
    }

    /// The newest message of a room whose rule has `last`, for a session that joins it.
    pub fn last_value(&self, tenant: TenantId, room: &str) -> Option<Found<'_>> {
        let ring = self.rings.get(tenant, room).filter(|ring| ring.bounds().last)?;
        let entry = ring.newest()?;
        Some(self.found(entry))
    }

    /// Drops messages that are too old in some rings, once a second. Those that it has not come to yet are kept, but not given
    /// out.
    pub fn expire(&mut self, now: Time) {
        if now < self.look_at || !self.rings.can_expire() {
            return;
        }
        self.look_at = now.after(LOOK_INTERVAL);
        for _ in 0..LOOKS.min(self.rings.all().len()) {
            let index = if self.hand < self.rings.all().len() { self.hand } else { 0 };
            let evicted = &mut self.counts.evicted;
            self.rings.change(index, |ring| ring.expire(second(now), evicted));
            let removed = self.rings.remove_if_empty(index);
            self.hand = if removed { index } else { index + 1 };
        }
    }

    /// When to call [`History::expire`].
    pub fn deadline(&self) -> Time {
        if self.rings.can_expire() { self.look_at } else { Time::NEVER }
    }

    /// Drops the messages of a tenant.
    pub fn forget(&mut self, tenant: TenantId) {
        self.rings.forget(tenant);
    }

    /// Bytes of all kept messages and their rings.
    pub fn bytes(&self) -> usize {
        self.rings.bytes()
    }

    /// The number of kept messages.
    pub fn messages(&self) -> usize {
        self.rings.messages()
    }

    /// The number of rooms that keep a message.
    pub fn rooms(&self) -> usize {
        self.rings.all().len()
    }

    /// Asserts that bytes and messages are counted right, and that they fit into the budget. The exception: last values of rooms
    /// with members are not dropped when the bound becomes smaller.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self, state: &State) {
        self.rings.check();
        let is_last = |ring: &Ring| ring.bounds().last && ring.len() == 1;
        assert!(self.bytes() <= self.budget(state) || self.rings.all().iter().all(is_last), "history.memory");
    }

    /// Counters since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// The second of the turn, as entries have it.
fn second_of(state: &State) -> u32 {
    second(state.now.time)
}

fn second(now: Time) -> u32 {
    u32::try_from(now.micros() / 1_000_000).unwrap_or(u32::MAX)
}

/// Between two times at which [`History::expire`] looks at rings.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How many rings [`History::expire`] looks at each time.
const LOOKS: usize = 64;

/// What part of `limits.memory` all messages may take: the other parts are for clients and requests.
const SHARE: usize = 4;

/// For how long the order of messages may differ between two relays, in microseconds.
const MOMENT: u64 = 100_000;

/// How much the clocks of two relays may differ, in microseconds.
const CLOCK_DIFFERENCE: u64 = 2_000_000;

#[cfg(test)]
mod tests;
