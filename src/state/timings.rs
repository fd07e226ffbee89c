//! How long turns take, and how long publications wait until they are written.
//!
//! A publication is not followed to each member. Clients wait in two queues, which are consumed from the front
//! ([`FlushQueue`](super::flush_queue::FlushQueue)), so it is enough to know where in its queue the publications of a turn
//! begin and end. The first write is over once a client behind the beginning was taken, the last one once all up to the end
//! were. That costs a few steps a turn, whatever the number of members.

use std::collections::VecDeque;

use super::flush_queue::{Dirty, Position};
use crate::{clock::Time, histogram::Histogram};

/// The histograms, and the publications that wait.
pub struct Timings {
    /// From waking to waiting again.
    pub turns: Histogram,
    /// From the beginning of the turn that accepts a publication to the end of the one with the first write to a member.
    pub first_writes: Histogram,
    /// From there to the end of the one with the last write. Members that do not read have been tried once.
    pub last_writes: Histogram,
    /// The longest turn since [`Timings::take_longest`], in microseconds.
    longest: u64,
    urgent: Lane,
    bulk: Lane,
}

impl Default for Timings {
    fn default() -> Timings {
        let [turns, first_writes, last_writes] = [(); 3].map(|()| Histogram::default());
        Timings { turns, first_writes, last_writes, longest: 0, urgent: Lane::new(), bulk: Lane::new() }
    }
}

impl Timings {
    /// Counts a publication that was queued for the members of a room.
    #[inline]
    pub fn note_publication(&mut self, dirty: Dirty) {
        match dirty {
            Dirty::Bulk => self.bulk.fresh += 1,
            Dirty::No | Dirty::Urgent => self.urgent.fresh += 1,
        }
    }

    /// The time of the longest turn since the last call, in microseconds.
    pub fn take_longest(&mut self) -> u64 {
        core::mem::take(&mut self.longest)
    }

    /// Counts a turn, and the publications whose first or last write was in it.
    #[inline]
    pub fn end_turn(&mut self, begin: Time, end: Time, urgent: Position, bulk: Position) {
        let time = micros(begin, end);
        self.turns.add(time, 1);
        self.longest = self.longest.max(time);
        for (lane, position) in [(&mut self.urgent, urgent), (&mut self.bulk, bulk)] {
            if !lane.waiting.is_empty() || (lane.fresh > 0 && position.taken < position.appended) {
                lane.end_turn(begin, end, position, &mut self.first_writes, &mut self.last_writes);
                continue;
            }
            // The common case: everything was written at once.
            lane.appended = position.appended;
            if lane.fresh > 0 {
                let count = core::mem::take(&mut lane.fresh);
                self.first_writes.add(micros(begin, end), count);
                self.last_writes.add(micros(begin, end), count);
            }
        }
    }
}

fn micros(begin: Time, end: Time) -> u64 {
    end.micros().saturating_sub(begin.micros())
}

/// The publications that wait in one queue.
struct Lane {
    /// Publications of this turn.
    fresh: u64,
    /// How many clients had been appended to the queue at the end of the last turn.
    appended: u64,
    /// Those of earlier turns, the oldest first; at most [`MOST`].
    waiting: VecDeque<Waiting>,
}

/// The publications of a turn.
struct Waiting {
    accepted: Time,
    count: u64,
    /// How many of them have not been written to anybody.
    untouched: u64,
    /// The part of the queue with their members.
    begin: u64,
    end: u64,
}

impl Lane {
    fn new() -> Lane {
        Lane { fresh: 0, appended: 0, waiting: VecDeque::with_capacity(MOST) }
    }

    /// Counts the publications whose first or last write was in a turn, if some wait for a later one.
    #[cold]
    fn end_turn(
        &mut self,
        accepted: Time,
        now: Time,
        queue: Position,
        first_writes: &mut Histogram,
        last_writes: &mut Histogram,
    ) {
        let begin = core::mem::replace(&mut self.appended, queue.appended);
        let count = core::mem::take(&mut self.fresh);
        if count > 0 {
            self.add(Waiting { accepted, count, untouched: count, begin, end: queue.appended });
        }
        for waiting in &mut self.waiting {
            // All members may have been in the queue before.
            if waiting.untouched > 0 && (queue.taken > waiting.begin || queue.taken >= waiting.end) {
                first_writes.add(micros(waiting.accepted, now), core::mem::take(&mut waiting.untouched));
            }
        }
        while let Some(waiting) = self.waiting.front().filter(|waiting| queue.taken >= waiting.end) {
            last_writes.add(micros(waiting.accepted, now), waiting.count);
            self.waiting.pop_front();
        }
    }

    /// Adds the publications of a turn. If too many turns wait, they join those of the turn before, which makes their times
    /// longer than they are.
    fn add(&mut self, fresh: Waiting) {
        let full = self.waiting.len() == MOST;
        match self.waiting.back_mut().filter(|_| full) {
            None => self.waiting.push_back(fresh),
            Some(last) => {
                if last.untouched == 0 {
                    last.begin = fresh.begin;
                }
                last.count += fresh.count;
                last.untouched += fresh.count;
                last.end = fresh.end;
            }
        }
    }
}

/// Turns with publications that wait, for each queue.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// The number of first and last writes, and their sums in milliseconds.
    fn sums(timings: &Timings) -> [(u64, u128); 2] {
        [&timings.first_writes, &timings.last_writes].map(|times| (times.count(), times.sum().as_millis()))
    }

    const IDLE: Position = Position { appended: 0, taken: 0 };

    #[test]
    fn what_is_written_at_once_takes_one_turn() {
        let mut timings = Timings::default();
        timings.note_publication(Dirty::Urgent);
        timings.note_publication(Dirty::Urgent);
        timings.end_turn(at(10), at(13), Position { appended: 5, taken: 5 }, IDLE);
        assert_eq!(sums(&timings), [(2, 6), (2, 6)]);
        timings.end_turn(at(20), at(21), Position { appended: 9, taken: 9 }, IDLE);
        assert_eq!(sums(&timings), [(2, 6), (2, 6)], "others write as well");
        assert_eq!((timings.turns.count(), timings.turns.sum().as_millis()), (2, 4));
    }

    #[test]
    fn a_large_fan_out_takes_several_turns() {
        let mut timings = Timings::default();
        timings.note_publication(Dirty::Bulk);
        timings.end_turn(at(0), at(2), IDLE, Position { appended: 600, taken: 256 });
        assert_eq!(sums(&timings), [(1, 2), (0, 0)]);
        // A second one waits behind it, and a small one does not.
        timings.note_publication(Dirty::Bulk);
        timings.note_publication(Dirty::Urgent);
        timings.end_turn(at(2), at(4), Position { appended: 1, taken: 1 }, Position { appended: 900, taken: 512 });
        assert_eq!(sums(&timings), [(2, 4), (1, 2)]);
        timings.end_turn(at(4), at(7), Position { appended: 1, taken: 1 }, Position { appended: 900, taken: 700 });
        assert_eq!(sums(&timings), [(3, 9), (2, 9)]);
        timings.end_turn(at(7), at(9), Position { appended: 1, taken: 1 }, Position { appended: 900, taken: 900 });
        assert_eq!(sums(&timings), [(3, 9), (3, 16)]);
        assert!(timings.bulk.waiting.is_empty());
    }

    #[test]
    fn members_that_wait_already_are_not_appended() {
        let mut timings = Timings::default();
        timings.end_turn(at(0), at(1), IDLE, Position { appended: 10, taken: 0 });
        timings.note_publication(Dirty::Bulk);
        timings.end_turn(at(1), at(2), IDLE, Position { appended: 10, taken: 5 });
        assert_eq!(sums(&timings), [(0, 0), (0, 0)]);
        timings.end_turn(at(2), at(3), IDLE, Position { appended: 10, taken: 10 });
        assert_eq!(sums(&timings), [(1, 2), (1, 2)]);
    }

    #[test]
    fn too_many_turns_are_counted_together() {
        let mut timings = Timings::default();
        let turns = MOST as u64 + 10;
        for turn in 0..turns {
            timings.note_publication(Dirty::Bulk);
            timings.end_turn(at(turn), at(turn + 1), IDLE, Position { appended: turn + 1, taken: 0 });
        }
        assert_eq!((timings.bulk.waiting.len(), sums(&timings)), (MOST, [(0, 0), (0, 0)]));
        assert_eq!(timings.bulk.waiting.capacity(), VecDeque::<Waiting>::with_capacity(MOST).capacity());
        timings.end_turn(at(turns), at(turns), IDLE, Position { appended: turns, taken: turns });
        assert_eq!(sums(&timings).map(|(count, _)| count), [turns, turns], "none is lost");
    }
}
