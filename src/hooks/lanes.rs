//! Calls by lane: one of each lane is sent at a time, in order, and lanes take turns.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::call::Lane;

/// The calls of every lane, by their numbers. No operation visits other calls or lanes: a queue of many thousands may
/// fail at once.
#[derive(Default)]
pub struct Lanes {
    lanes: HashMap<Lane, Calls>,
    /// Lanes whose first call can be sent, by their turns.
    ready: BTreeMap<i64, Lane>,
}

/// The calls of one lane.
#[derive(Default)]
struct Calls {
    /// In order: numbers rise.
    numbers: BTreeSet<u64>,
    bytes: usize,
    /// The lane's key in [`Lanes::ready`].
    turn: Option<i64>,
}

impl Lanes {
    /// How many calls a lane has, and how many bytes they are.
    pub fn size(&self, lane: Lane) -> (usize, usize) {
        self.lanes.get(&lane).map_or((0, 0), |calls| (calls.numbers.len(), calls.bytes))
    }

    /// Appends a call to its lane. Its number is higher than those of earlier calls.
    pub fn push(&mut self, lane: Lane, number: u64, bytes: usize) {
        let calls = self.lanes.entry(lane).or_default();
        calls.numbers.insert(number);
        calls.bytes += bytes;
        if calls.numbers.len() == 1 {
            self.mark_ready(lane);
        }
    }

    /// Whether the first call of some lane can be sent.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the next call to send. Its lane is ready again only after the call is removed, or after
    /// [`Lanes::mark_ready`] or [`Lanes::mark_next`].
    pub fn next_ready(&mut self) -> Option<u64> {
        let (_, lane) = self.ready.pop_first()?;
        let calls = self.lanes.get_mut(&lane)?;
        calls.turn = None;
        calls.numbers.first().copied()
    }

    /// Marks the first call of a lane to be sent again, after those of other lanes.
    pub fn mark_ready(&mut self, lane: Lane) {
        let turn = self.ready.last_key_value().map_or(0, |(last, _)| last + 1);
        self.mark(lane, turn);
    }

    /// Marks the first call of a lane to be sent next.
    pub fn mark_next(&mut self, lane: Lane) {
        let turn = self.ready.first_key_value().map_or(0, |(first, _)| first - 1);
        self.mark(lane, turn);
    }

    fn mark(&mut self, lane: Lane, turn: i64) {
        let Some(calls) = self.lanes.get_mut(&lane).filter(|calls| calls.turn.is_none()) else { return };
        calls.turn = Some(turn);
        self.ready.insert(turn, lane);
    }

    /// Removes a call. If it was the first of its lane, the next one becomes ready.
    pub fn remove(&mut self, lane: Lane, number: u64, bytes: usize) {
        let Some(calls) = self.lanes.get_mut(&lane) else { return };
        let first = calls.numbers.first() == Some(&number);
        if !calls.numbers.remove(&number) {
            return;
        }
        calls.bytes -= bytes;
        if calls.numbers.is_empty() {
            if let Some(turn) = self.lanes.remove(&lane).and_then(|calls| calls.turn) {
                self.ready.remove(&turn);
            }
        } else if first {
            self.mark_ready(lane);
        }
    }

    /// Whether no call is left.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ClientKey, Slots};

    #[test]
    fn one_call_of_each_lane_at_a_time() {
        let mut slots: Slots<ClientKey, ()> = Slots::new();
        let [one, two] = [(); 2].map(|()| (slots.insert(()), 0));
        let mut lanes = Lanes::default();
        for (number, lane) in [(1, one), (2, one), (3, one), (4, two)] {
            lanes.push(lane, number, 10);
        }
        assert_eq!((lanes.size(one), lanes.size(two)), ((3, 30), (1, 10)));
        assert_eq!([lanes.next_ready(), lanes.next_ready(), lanes.next_ready()], [Some(1), Some(4), None]);
        lanes.mark_ready(two);
        lanes.mark_next(one);
        lanes.mark_ready(one);
        assert_eq!([lanes.next_ready(), lanes.next_ready(), lanes.next_ready()], [Some(1), Some(4), None]);
        lanes.remove(one, 1, 10);
        lanes.remove(one, 3, 10);
        assert_eq!([lanes.next_ready(), lanes.next_ready()], [Some(2), None]);
        lanes.remove(one, 2, 10);
        lanes.remove(one, 2, 10);
        lanes.remove(two, 4, 10);
        assert!(lanes.is_empty() && !lanes.has_ready());
    }

    /// A call that waits to be retried keeps its lane from being ready; the next one takes its place if it fails.
    #[test]
    fn removing_calls_that_are_not_in_flight() {
        let mut slots: Slots<ClientKey, ()> = Slots::new();
        let [one, two] = [(); 2].map(|()| (slots.insert(()), 0));
        let mut lanes = Lanes::default();
        for (number, lane) in [(1, one), (2, two), (3, one)] {
            lanes.push(lane, number, 10);
        }
        lanes.remove(one, 1, 10);
        assert_eq!([lanes.next_ready(), lanes.next_ready(), lanes.next_ready()], [Some(3), Some(2), None]);
        lanes.push(one, 4, 10);
        assert_eq!(lanes.next_ready(), None, "3 waits to be retried");
        lanes.remove(one, 3, 10);
        assert_eq!([lanes.next_ready(), lanes.next_ready()], [Some(4), None]);
        lanes.mark_ready(one);
        lanes.remove(one, 4, 10);
        lanes.remove(two, 2, 10);
        assert!(lanes.is_empty());
    }
}
