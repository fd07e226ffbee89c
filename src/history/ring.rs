//! The kept messages of one room.

use std::{
    collections::{VecDeque, vec_deque::Iter},
    rc::Rc,
};

use super::{
    bounds::Bounds,
    counts::Evicted,
    entry::{ALLOCATION, Entry},
};
use crate::{message::MessageId, state::TenantId};

/// The kept messages of one room, in all namespaces.
#[derive(Debug)]
pub struct Ring {
    /// The tenant of the room.
    pub tenant: TenantId,
    /// The name of the room.
    pub name: Rc<str>,
    bounds: Bounds,
    /// In the order of their stamps, which is that of their age.
    entries: VecDeque<Entry>,
    /// Bytes of the entries.
    bytes: usize,
    /// The newest stamps of messages that are missing.
    floors: Floors,
}

/// Which messages of a room may be missing. Two numbers, because a message that was too large to be kept says nothing about
/// older ones, which may still be here, and be dropped later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// The newest stamp of a message that was dropped. Older ones are not here either.
    pub dropped: u64,
    /// The newest stamp of a message that was never kept.
    pub unkept: u64,
}

impl Floors {
    /// The newest stamp of a message that may be missing.
    pub fn newest(self) -> u64 {
        self.dropped.max(self.unkept)
    }
}

impl Ring {
    /// An empty ring. Messages up to the stamp `floor` may be missing.
    pub fn new(tenant: TenantId, name: Rc<str>, bounds: Bounds, floor: u64) -> Ring {
        Ring { tenant, name, bounds, entries: VecDeque::new(), bytes: 0, floors: Floors { dropped: floor, unkept: 0 } }
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bounds.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The newest stamp of a message that is missing here; see [`Ring::floors_at`].
    pub fn floor(&self) -> u64 {
        self.floors.newest()
    }

    /// Which messages are missing here, or too old at `second`.
    pub fn floors_at(&self, second: u32) -> Floors {
        let expired = self.expired(second);
        let newest = expired.checked_sub(1).map_or(0, |last| self.entries[last].stamp());
        Floors { dropped: self.floors.dropped.max(newest), ..self.floors }
    }

    /// The bytes that the ring takes, with its place in the tables.
    pub fn footprint(&self) -> usize {
        let unused = self.entries.capacity() - self.entries.len();
        RING + self.name.len() + self.bytes + unused * size_of::<Entry>()
    }

    /// Asserts that the counters and bounds hold.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self) {
        assert_eq!(self.bytes, self.entries.iter().map(Entry::cost).sum::<usize>(), "bytes of {}", self.name);
        assert!(self.entries.len() <= self.bounds.count as usize && self.bytes <= self.bounds.bytes as usize);
        assert!(self.entries.iter().is_sorted_by(|one, other| one.stamp() < other.stamp()), "order of {}", self.name);
    }

    /// The oldest message.
    pub fn oldest(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The newest message.
    pub fn newest(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// The messages after a stamp that are not too old at `second`, in order.
    pub fn after(&self, stamp: u64, second: u32) -> Iter<'_, Entry> {
        let after = self.entries.partition_point(|entry| entry.stamp() <= stamp);
        self.entries.range(after.max(self.expired(second))..)
    }

    /// As [`Ring::after`], up to another stamp.
    pub fn between(&self, stamp: u64, until: u64, second: u32) -> Iter<'_, Entry> {
        let before = |stamp: u64| self.entries.partition_point(|entry| entry.stamp() <= stamp);
        let end = before(until);
        self.entries.range(before(stamp).max(self.expired(second)).min(end)..end)
    }

    /// The message that another relay published with this id.
    pub fn find_foreign(&self, id: MessageId) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.has_foreign_id(id))
    }

    /// How many messages are too old at `second`. The newest never is if the bounds have `last`.
    pub fn expired(&self, second: u32) -> usize {
        let expired = self.entries.partition_point(|entry| entry.is_expired(&self.bounds, second));
        if self.bounds.last { expired.min(self.len().saturating_sub(1)) } else { expired }
    }

    /// Adds a message, which is larger in stamp than all others and within the bounds by itself. Drops those that are too
    /// many then.
    pub fn push(&mut self, entry: Entry, second: u32, evicted: &mut Evicted) {
        // As the newest message is another one now, the bounds leave none of those that are too old.
        while self.entries.front().is_some_and(|entry| entry.is_expired(&self.bounds, second)) {
            self.drop_oldest();
            evicted.age += 1;
        }
        self.make_room(1, entry.cost(), evicted);
        if self.entries.len() == self.entries.capacity() {
            // By a factor of four, so that a room with one message needs place for one.
            let wanted = (self.entries.capacity() * 4).clamp(1, self.bounds.count as usize);
            self.entries.reserve_exact(wanted.saturating_sub(self.entries.len()).max(1));
        }
        self.bytes += entry.cost();
        self.entries.push_back(entry);
    }

    /// Drops the oldest messages until there is room for `count` more with `cost` bytes.
    fn make_room(&mut self, count: usize, cost: usize, evicted: &mut Evicted) {
        while self.len() + count > self.bounds.count as usize && !self.is_empty() {
            self.drop_oldest();
            evicted.count += 1;
        }
        while self.bytes + cost > self.bounds.bytes as usize && !self.is_empty() {
            self.drop_oldest();
            evicted.bytes += 1;
        }
    }

    /// Drops the messages that are too old at `second`.
    pub fn expire(&mut self, second: u32, evicted: &mut Evicted) {
        let expired = self.expired(second);
        (0..expired).for_each(|_| self.drop_oldest());
        evicted.age += expired as u64;
        self.shrink();
    }

    /// Applies new bounds.
    pub fn set_bounds(&mut self, bounds: Bounds, second: u32, evicted: &mut Evicted) {
        // Those that were too old must not come back, even if the new bounds would allow them.
        self.expire(second, evicted);
        self.bounds = bounds;
        self.expire(second, evicted);
        self.make_room(0, 0, evicted);
        self.shrink();
    }

    /// Drops the oldest message.
    pub fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost();
            self.floors.dropped = self.floors.dropped.max(entry.stamp());
        }
    }

    /// Drops the newest message, for which there is no memory, and gives back the room for more.
    pub fn drop_newest(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.bytes -= entry.cost();
            self.note_unkept(entry.stamp());
            self.entries.shrink_to_fit();
        }
    }

    /// Notes that the message with this stamp is not kept.
    pub fn note_unkept(&mut self, stamp: u64) {
        self.floors.unkept = self.floors.unkept.max(stamp);
    }

    /// Gives back room that many messages needed.
    fn shrink(&mut self) {
        if self.entries.capacity() > 16 && self.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.len() * 2);
        }
    }
}

/// Bytes of a ring without its name and its entries: itself in a vector, two allocations, the counters of its name, and its
/// place in a hash table. tests/protocol/history.rs compares it with what is allocated.
const RING: usize = size_of::<Ring>() * 3 / 2 + 2 * ALLOCATION + 16 + 38;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::entry::Published,
        message::{Author, Data},
        state::testing,
    };

    fn entry(stamp: u64, second: u32, data: &str) -> Entry {
        let id = MessageId::first(stamp, 7);
        let message = Published { stamp, id, data: Data::Text(data), filename: "", author: Author::Backend };
        Entry::new(&message, second, id)
    }

    fn ring(bounds: Bounds) -> Ring {
        let tenant = testing::state(testing::CONFIG).tenant("one").unwrap();
        Ring::new(tenant, "room".into(), bounds, 3)
    }

    fn stamps(ring: &Ring, after: u64, second: u32) -> Vec<u64> {
        ring.after(after, second).map(Entry::stamp).collect()
    }

    const BOUNDS: Bounds = Bounds { count: 3, seconds: 10, bytes: 1000, last: false };

    #[test]
    fn the_oldest_are_dropped() {
        let (mut ring, mut evicted) = (ring(BOUNDS), Evicted::default());
        for stamp in [10, 12, 14] {
            ring.push(entry(stamp, 1, "x"), 1, &mut evicted);
        }
        assert_eq!(
            (stamps(&ring, 0, 1), stamps(&ring, 10, 1), stamps(&ring, 14, 1)),
            (vec![10, 12, 14], vec![12, 14], vec![])
        );
        assert_eq!((ring.floor(), evicted.total()), (3, 0));
        ring.push(entry(16, 8, "x"), 8, &mut evicted);
        assert_eq!((stamps(&ring, 0, 8), ring.floor(), evicted.count), (vec![12, 14, 16], 10, 1));
        ring.push(entry(18, 9, &"x".repeat(900)), 9, &mut evicted);
        assert_eq!((stamps(&ring, 0, 9), ring.floor()), (vec![16, 18], 14));
        assert_eq!((evicted.count, evicted.bytes), (2, 1));
        // Eleven seconds after second 8.
        assert_eq!((stamps(&ring, 0, 18), ring.floors_at(18).dropped), (vec![16, 18], 14));
        assert_eq!((stamps(&ring, 0, 19), ring.floors_at(19).dropped, ring.floor()), (vec![18], 16, 14));
        ring.expire(19, &mut evicted);
        assert_eq!((ring.len(), ring.floor(), evicted.age), (1, 16, 1));
        ring.expire(20, &mut evicted);
        assert_eq!((ring.len(), ring.floor(), evicted.age), (0, 18, 2));
    }

    #[test]
    fn the_last_value_stays() {
        let (mut ring, mut evicted) = (ring(Bounds { last: true, ..BOUNDS }), Evicted::default());
        ring.push(entry(10, 0, "x"), 0, &mut evicted);
        ring.push(entry(11, 0, "x"), 0, &mut evicted);
        assert_eq!((stamps(&ring, 0, 100), ring.floors_at(100).dropped), (vec![11], 10));
        ring.expire(100, &mut evicted);
        assert_eq!((ring.len(), evicted.age), (1, 1));
        ring.push(entry(12, 100, "x"), 100, &mut evicted);
        assert_eq!((stamps(&ring, 0, 100), ring.floor(), evicted.age), (vec![12], 11, 2));
        ring.set_bounds(BOUNDS, 200, &mut evicted);
        assert_eq!((ring.len(), ring.floor()), (0, 12));
    }

    #[test]
    fn a_longer_age_does_not_bring_old_messages_back() {
        let (mut ring, mut evicted) = (ring(BOUNDS), Evicted::default());
        ring.push(entry(10, 0, "x"), 0, &mut evicted);
        ring.push(entry(11, 5, "x"), 5, &mut evicted);
        assert_eq!((stamps(&ring, 0, 12), ring.floors_at(12).dropped), (vec![11], 10));
        ring.set_bounds(Bounds { seconds: 100, ..BOUNDS }, 12, &mut evicted);
        assert_eq!((stamps(&ring, 0, 12), ring.floors_at(12).dropped, evicted.age), (vec![11], 10, 1));
    }

    #[test]
    fn memory_grows_with_the_messages_and_is_given_back() {
        let (mut ring, mut evicted) = (ring(Bounds { count: 100, bytes: 1 << 20, ..BOUNDS }), Evicted::default());
        let mut capacities = Vec::new();
        for stamp in 10..110 {
            ring.push(entry(stamp, 0, &"x".repeat(128)), 0, &mut evicted);
            capacities.push(ring.entries.capacity());
        }
        capacities.dedup();
        assert_eq!(capacities, [1, 4, 16, 64, 100]);
        assert!(ring.footprint() <= 100 * 200, "{} bytes for 100 messages of 128 bytes", ring.footprint());
        ring.set_bounds(Bounds { count: 5, ..BOUNDS }, 0, &mut evicted);
        assert_eq!((ring.len(), evicted.count), (5, 95));
        assert!(ring.entries.capacity() <= 16);
    }
}
