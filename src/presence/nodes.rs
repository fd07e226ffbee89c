//! Who is in the rooms at other relays. Each relay owns its users: it says who came and left, numbered by source, and keeps to
//! `grace` itself. Whoever misses a number asks for everything. The users of a relay that is gone leave after `grace`.
//!
//! Everything here comes from Redis, so all of it is bounded: relays, bytes of users and rooms, and how often is asked.

use core::{mem, time::Duration};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use super::{
    room::{NodeIndex, cost},
    tracker::Tracker,
};
use crate::{
    clock::Time,
    cluster::{Present, Roll, RollRoom},
    state::{Stats, TenantId},
};

/// The users at other relays.
#[derive(Default)]
pub struct Nodes {
    /// By [`NodeIndex`].
    nodes: Vec<Option<Node>>,
    /// Bytes that they take.
    bytes: usize,
    /// When each relay may ask for everything again.
    answered: HashMap<(Box<str>, TenantId), Time>,
}

/// Another relay.
struct Node {
    name: Box<str>,
    sources: BTreeMap<TenantId, Source>,
    /// When its users leave, because it is gone.
    until: Time,
}

/// What is known of a source at another relay.
#[derive(Default)]
struct Source {
    /// The number of the last change.
    last: u64,
    /// Whether changes were missed.
    stale: bool,
    /// When to ask again at the earliest.
    ask_after: Time,
    /// Rooms in which the relay has users or guests.
    rooms: HashSet<Rc<str>>,
    /// The pieces of an answer that have arrived.
    roll: Option<Pieces>,
}

/// The pieces of an answer.
struct Pieces {
    number: u64,
    next: u64,
    rooms: Vec<RollRoom>,
    bytes: usize,
}

/// The numbers of the newest changes at a relay, by tenant.
pub type Numbers = Vec<(TenantId, u64)>;

/// A relay and a source of which everything must be asked for.
pub type Ask = (Box<str>, TenantId);

impl Nodes {
    /// When [`Nodes::expire`] has something to do.
    pub fn deadline(&self) -> Time {
        self.nodes.iter().flatten().map(|node| node.until).min().unwrap_or(Time::NEVER)
    }

    /// Handles changes at another relay. Returns what must be asked for, if changes were missed.
    pub fn handle_present(
        &mut self,
        present: &Present,
        tracker: &mut Tracker,
        stats: &mut Stats,
        now: Time,
    ) -> Option<Ask> {
        let index = self.find_or_add(&present.node, stats)?;
        let source = self.source(index, present.tenant)?;
        if present.number <= source.last {
            return None;
        }
        source.stale |= present.number != source.last + 1;
        source.last = present.number;
        let room: Rc<str> = (*present.room).into();
        for userid in &present.left {
            self.set_user(index, (present.tenant, &room), userid, None, tracker, stats, now);
        }
        for (userid, name, sessions) in &present.came {
            self.set_user(index, (present.tenant, &room), userid, Some((name, *sessions)), tracker, stats, now);
        }
        if let Some(guests) = present.guests {
            self.set_guests(index, (present.tenant, &room), guests, tracker, stats, now);
        }
        if !present.left.is_empty() || present.guests == Some(0) {
            self.forget_empty(index, present.tenant, &room, tracker);
        }
        self.ask(index, present.tenant, stats, now)
    }

    /// Handles a piece of everything that another relay has. The last piece replaces what was known.
    pub fn handle_roll(&mut self, roll: Roll, tracker: &mut Tracker, stats: &mut Stats, now: Time) {
        let Some(index) = self.find_or_add(&roll.node, stats) else { return };
        let taken = self.bytes;
        let Some(source) = self.source(index, roll.tenant) else { return };
        let mut pieces = match source.roll.take() {
            Some(pieces) if roll.piece > 0 => pieces,
            old if roll.piece == 0 => {
                let freed = old.map_or(0, |pieces| pieces.bytes);
                self.bytes = taken.saturating_sub(freed);
                Pieces { number: roll.number, next: 0, rooms: Vec::new(), bytes: 0 }
            }
            _ => return,
        };
        let (taken, more) = (self.bytes, roll.rooms.iter().map(roll_bytes).sum::<usize>());
        let Some(source) = self.source(index, roll.tenant) else { return };
        if (pieces.number, pieces.next) != (roll.number, roll.piece) || taken + more > MOST_BYTES {
            if taken + more > MOST_BYTES {
                // Asking again would not help.
                (source.last, source.stale) = (roll.number, false);
                stats.presence_dropped += 1;
            }
            self.bytes = taken.saturating_sub(pieces.bytes);
            return;
        }
        pieces.next += 1;
        pieces.bytes += more;
        pieces.rooms.extend(roll.rooms);
        if !roll.last {
            source.roll = Some(pieces);
            self.bytes = taken + more;
            return;
        }
        (source.last, source.stale) = (roll.number, false);
        let (rooms, mut gone) = (pieces.rooms, source.rooms.clone());
        self.bytes = (taken + more).saturating_sub(pieces.bytes);
        let mut found: BTreeMap<Rc<str>, (u32, Vec<RollRoom>)> = BTreeMap::new();
        for room in rooms {
            let entry = found.entry((*room.room).into()).or_default();
            entry.0 = room.guests;
            entry.1.push(room);
        }
        for (name, (guests, pieces)) in found {
            gone.remove(&name);
            let place = (roll.tenant, &name);
            let users = pieces.iter().flat_map(|piece| &piece.users);
            let there: HashSet<&str> = users.clone().map(|(userid, ..)| &**userid).collect();
            let before = tracker.room(roll.tenant, &name).map(|room| room.at_node(index)).unwrap_or_default();
            for userid in before.iter().filter(|userid| !there.contains(&***userid)) {
                self.set_user(index, place, userid, None, tracker, stats, now);
            }
            for (userid, username, sessions) in users {
                self.set_user(index, place, userid, Some((username, *sessions)), tracker, stats, now);
            }
            self.set_guests(index, place, guests, tracker, stats, now);
            self.forget_empty(index, roll.tenant, &name, tracker);
        }
        gone.iter().for_each(|room| self.clear_room(index, (roll.tenant, room), tracker, stats, now));
    }

    /// Handles the list of relays that are alive, with the numbers of their newest changes by tenant; `None` for a relay that
    /// does not keep track. Returns what must be asked for.
    pub fn handle_check(
        &mut self,
        alive: &[(&str, Option<Numbers>)],
        is_alive: impl Fn(&str) -> bool,
        grace: Duration,
        stats: &mut Stats,
        now: Time,
    ) -> Vec<Ask> {
        for node in self.nodes.iter_mut().flatten() {
            let off = alive.iter().any(|(name, numbers)| **name == *node.name && numbers.is_none());
            match is_alive(&node.name) && !off {
                true => node.until = Time::NEVER,
                false if node.until == Time::NEVER => node.until = now.after(grace),
                false => {}
            }
        }
        let mut asks = Vec::new();
        for (name, numbers) in alive {
            for (tenant, number) in numbers.iter().flatten().filter(|(_, number)| *number > 0) {
                let Some(index) = self.find_or_add(name, stats) else { continue };
                let Some(source) = self.source(index, *tenant) else { continue };
                source.stale |= *number > source.last;
                asks.extend(self.ask(index, *tenant, stats, now));
            }
        }
        asks
    }

    /// Whether to answer a relay that asks for everything: once a second.
    pub fn may_answer(&mut self, node: &str, tenant: TenantId, now: Time) -> bool {
        if self.answered.len() >= MOST_NODES {
            self.answered.retain(|_, next| *next > now);
        }
        let key = (node.into(), tenant);
        if self.answered.get(&key).is_some_and(|next| *next > now) || self.answered.len() >= MOST_NODES {
            return false;
        }
        self.answered.insert(key, now.after(ANSWER_INTERVAL));
        true
    }

    /// Lets the users of relays leave that were gone for too long.
    pub fn expire(&mut self, tracker: &mut Tracker, stats: &mut Stats, now: Time) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].as_ref().is_some_and(|node| node.until <= now) {
                self.remove(index as NodeIndex, tracker, stats, now);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Nodes::default();
    }

    /// Forgets a tenant that now belongs to another source. The caller forgets its rooms.
    pub fn forget(&mut self, tenant: TenantId, tracker: &mut Tracker, stats: &mut Stats, now: Time) {
        for index in 0..self.nodes.len() {
            self.clear_source(index as NodeIndex, tenant, tracker, stats, now);
        }
    }

    fn remove(&mut self, index: NodeIndex, tracker: &mut Tracker, stats: &mut Stats, now: Time) {
        let tenants: Vec<TenantId> =
            self.nodes[index as usize].iter().flat_map(|node| node.sources.keys().copied()).collect();
        for tenant in tenants {
            self.clear_source(index, tenant, tracker, stats, now);
        }
        self.nodes[index as usize] = None;
    }

    fn clear_source(
        &mut self,
        index: NodeIndex,
        tenant: TenantId,
        tracker: &mut Tracker,
        stats: &mut Stats,
        now: Time,
    ) {
        let known = self.nodes[index as usize].as_mut().and_then(|node| node.sources.get_mut(&tenant));
        let Some(source) = known else { return };
        let (rooms, roll) = (mem::take(&mut source.rooms), source.roll.take());
        self.bytes = self.bytes.saturating_sub(SOURCE_BYTES + roll.map_or(0, |pieces| pieces.bytes));
        for room in rooms {
            self.bytes = self.bytes.saturating_sub(ROOM_BYTES + room.len());
            self.clear_room(index, (tenant, &room), tracker, stats, now);
        }
        if let Some(node) = &mut self.nodes[index as usize] {
            node.sources.remove(&tenant);
        }
    }

    /// Removes all users and guests of a relay from a room.
    fn clear_room(
        &mut self,
        index: NodeIndex,
        place: (TenantId, &Rc<str>),
        tracker: &mut Tracker,
        stats: &mut Stats,
        now: Time,
    ) {
        let users = tracker.room(place.0, place.1).map(|room| room.at_node(index)).unwrap_or_default();
        for userid in users {
            self.set_user(index, place, &userid, None, tracker, stats, now);
        }
        self.set_guests(index, place, 0, tracker, stats, now);
        self.forget_empty(index, place.0, place.1, tracker);
    }

    #[expect(clippy::too_many_arguments, reason = "a place, a value, and what they are applied to")]
    fn set_user(
        &mut self,
        index: NodeIndex,
        (tenant, room): (TenantId, &Rc<str>),
        userid: &str,
        found: Option<(&str, u32)>,
        tracker: &mut Tracker,
        stats: &mut Stats,
        now: Time,
    ) {
        if found.is_some_and(|(name, _)| self.bytes + usize::from(cost(userid, name)) > MOST_BYTES)
            || (found.is_some() && !self.add_room(index, tenant, room))
        {
            stats.presence_dropped += 1;
            return;
        }
        if found.is_none() && tracker.room(tenant, room).is_none() {
            return;
        }
        let bytes = &mut self.bytes;
        tracker.change(tenant, room, now, |room| {
            let (freed, taken) = room.set_remote(index, userid, found);
            *bytes = (*bytes + taken).saturating_sub(freed);
        });
    }

    fn set_guests(
        &mut self,
        index: NodeIndex,
        (tenant, room): (TenantId, &Rc<str>),
        guests: u32,
        tracker: &mut Tracker,
        stats: &mut Stats,
        now: Time,
    ) {
        if guests > 0 && !self.add_room(index, tenant, room) {
            stats.presence_dropped += 1;
            return;
        }
        if guests > 0 || tracker.room(tenant, room).is_some() {
            tracker.change(tenant, room, now, |room| room.set_remote_guests(index, guests));
        }
    }

    /// Remembers that a relay has users or guests in a room. Returns whether there is memory for that.
    fn add_room(&mut self, index: NodeIndex, tenant: TenantId, room: &Rc<str>) -> bool {
        let bytes = self.bytes + ROOM_BYTES + room.len();
        let Some(source) = self.source(index, tenant) else { return false };
        if source.rooms.contains(room) {
            return true;
        }
        if bytes > MOST_BYTES {
            return false;
        }
        source.rooms.insert(room.clone());
        self.bytes = bytes;
        true
    }

    /// Forgets a room in which a relay has nobody.
    fn forget_empty(&mut self, index: NodeIndex, tenant: TenantId, room: &Rc<str>, tracker: &Tracker) {
        if tracker.room(tenant, room).is_some_and(|room| room.has_node(index)) {
            return;
        }
        if self.source(index, tenant).is_some_and(|source| source.rooms.remove(room)) {
            self.bytes = self.bytes.saturating_sub(ROOM_BYTES + room.len());
        }
    }

    /// A source of a relay, which is added if there is memory for it.
    fn source(&mut self, index: NodeIndex, tenant: TenantId) -> Option<&mut Source> {
        let node = self.nodes.get_mut(index as usize)?.as_mut()?;
        if !node.sources.contains_key(&tenant) {
            if self.bytes + SOURCE_BYTES > MOST_BYTES {
                return None;
            }
            self.bytes += SOURCE_BYTES;
        }
        Some(node.sources.entry(tenant).or_default())
    }

    fn find_or_add(&mut self, name: &str, stats: &mut Stats) -> Option<NodeIndex> {
        let is = |node: &Option<Node>| node.as_ref().is_some_and(|node| *node.name == *name);
        if let Some(index) = self.nodes.iter().position(is) {
            return NodeIndex::try_from(index).ok();
        }
        let free = self.nodes.iter().position(Option::is_none).unwrap_or(self.nodes.len());
        if free >= MOST_NODES {
            stats.presence_dropped += 1;
            return None;
        }
        let node = Some(Node { name: name.into(), sources: BTreeMap::new(), until: Time::NEVER });
        match self.nodes.get_mut(free) {
            Some(place) => *place = node,
            None => self.nodes.push(node),
        }
        NodeIndex::try_from(free).ok()
    }

    /// Asks for everything if changes were missed, but not too often.
    fn ask(&mut self, index: NodeIndex, tenant: TenantId, stats: &mut Stats, now: Time) -> Option<Ask> {
        let source = self.source(index, tenant)?;
        if !source.stale || source.ask_after > now {
            return None;
        }
        source.ask_after = now.after(ASK_INTERVAL);
        stats.presence_missed += 1;
        Some((self.nodes[index as usize].as_ref()?.name.clone(), tenant))
    }
}

/// What a room in a piece of an answer takes in memory, in bytes.
fn roll_bytes(room: &RollRoom) -> usize {
    let users = room.users.iter().map(|(userid, name, _)| usize::from(cost(userid, name)));
    ROOM_BYTES + room.room.len() + users.sum::<usize>()
}

/// The most other relays.
const MOST_NODES: usize = 1024;
/// Bytes that the users and rooms of other relays may take.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that a source of another relay takes.
const SOURCE_BYTES: usize = 200;
/// Bytes that a room of another relay takes besides its name.
const ROOM_BYTES: usize = 400;
/// How often a relay is asked for everything, at most.
const ASK_INTERVAL: Duration = Duration::from_secs(2);
/// How often a relay that asks for everything gets an answer, at most.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
