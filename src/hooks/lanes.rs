//! Calls by lane: one of each lane is sent at a time, in order, and lanes take turns.

use std::collections::{HashMap, VecDeque};

use super::call::Lane;

/// The calls of every lane, by their numbers.
#[derive(Default)]
pub struct Lanes {
    lanes: HashMap<Lane, Calls>,
    /// Lanes whose first call can be sent.
    ready: VecDeque<Lane>,
}

/// The calls of one lane, in order.
#[derive(Default)]
struct Calls {
    numbers: VecDeque<u64>,
    bytes: usize,
}

impl Lanes {
    /// How many calls a lane has, and how many bytes they are.
    pub fn size(&self, lane: Lane) -> (usize, usize) {
        self.lanes.get(&lane).map_or((0, 0), |calls| (calls.numbers.len(), calls.bytes))
    }

    /// Appends a call to its lane.
    pub fn push(&mut self, lane: Lane, number: u64, bytes: usize) {
        let calls = self.lanes.entry(lane).or_default();
        calls.numbers.push_back(number);
        calls.bytes += bytes;
        if calls.numbers.len() == 1 {
            self.ready.push_back(lane);
        }
    }

    /// Whether the first call of some lane can be sent.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the next call to send. Its lane is ready again only after the call is removed, or after
    /// [`Lanes::mark_ready`] or [`Lanes::mark_next`].
    pub fn next_ready(&mut self) -> Option<u64> {
        let lane = self.ready.pop_front()?;
        self.lanes.get(&lane)?.numbers.front().copied()
    }

    /// Marks the first call of a lane to be sent again, after those of other lanes.
    pub fn mark_ready(&mut self, lane: Lane) {
        self.ready.push_back(lane);
    }

    /// Marks the first call of a lane to be sent next.
    pub fn mark_next(&mut self, lane: Lane) {
        self.ready.push_front(lane);
    }

    /// Removes a call. If it was the first of its lane, the next one becomes ready. `in_flight` says whether the call
    /// was in flight, so that its lane was not ready.
    pub fn remove(&mut self, lane: Lane, number: u64, bytes: usize, in_flight: bool) {
        let Some(calls) = self.lanes.get_mut(&lane) else { return };
        let first = calls.numbers.front() == Some(&number);
        calls.numbers.retain(|known| *known != number);
        calls.bytes -= bytes;
        match (calls.numbers.is_empty(), first) {
            (true, _) => {
                self.lanes.remove(&lane);
                if !in_flight {
                    self.ready.retain(|known| *known != lane);
                }
            }
            (false, true) if in_flight || !self.ready.contains(&lane) => self.ready.push_back(lane),
            (false, _) => {}
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
        assert_eq!([lanes.next_ready(), lanes.next_ready(), lanes.next_ready()], [Some(1), Some(4), None]);
        lanes.remove(one, 1, 10, true);
        lanes.remove(one, 3, 10, false);
        assert_eq!([lanes.next_ready(), lanes.next_ready()], [Some(2), None]);
        lanes.remove(one, 2, 10, true);
        lanes.remove(two, 4, 10, true);
        assert!(lanes.is_empty() && !lanes.has_ready());
    }
}
