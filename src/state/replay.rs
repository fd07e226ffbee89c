//! Signatures that were used: an hmac-sha256 signature of a notification or an emitted event is good for one of them
//! (docs/protocol.md, Signatures).
//!
//! relay remembers a signature for as long as its `ts` is within `sign_window`. Only valid signatures get here, so a
//! stranger cannot fill the memory. It is bounded nevertheless: beyond [`MAX_MARKS`] the oldest are forgotten and
//! counted.

use std::collections::{BTreeMap, HashSet};

use crate::sign::Mark;

/// Signatures that were used, by their time.
pub struct UsedMarks {
    /// By the second divided by [`SLICE`], so that old ones can be dropped together.
    slices: BTreeMap<u64, HashSet<u128>>,
    count: usize,
    max: usize,
    /// How many were dropped before their time, since this was last taken.
    pub forgotten: u64,
}

impl Default for UsedMarks {
    fn default() -> UsedMarks {
        UsedMarks { slices: BTreeMap::new(), count: 0, max: MAX_MARKS, forgotten: 0 }
    }
}

impl UsedMarks {
    /// Adds a mark. Returns false if it is there already. Marks before the second `oldest` are dropped.
    pub fn insert(&mut self, mark: Mark, oldest: u64) -> bool {
        while self.slices.first_key_value().is_some_and(|(slice, _)| *slice < oldest / SLICE) {
            self.drop_oldest();
        }
        let slice = mark.second / SLICE;
        if self.slices.get(&slice).is_some_and(|marks| marks.contains(&mark.digest)) {
            return false;
        }
        if self.count >= self.max {
            self.forgotten += self.drop_oldest() as u64;
        }
        self.count += 1;
        self.slices.entry(slice).or_default().insert(mark.digest)
    }

    /// Bytes that they take, at most.
    pub fn bytes(&self) -> usize {
        self.count * MARK_BYTES
    }

    /// Drops the oldest slice, and returns how many marks it had.
    fn drop_oldest(&mut self) -> usize {
        let dropped = self.slices.pop_first().map_or(0, |(_, marks)| marks.len());
        self.count -= dropped;
        dropped
    }
}

/// The most signatures that are remembered: at most 40 MB. With the default `sign_window`, this is enough for 3,000
/// notifications a second.
pub const MAX_MARKS: usize = 1_000_000;

/// Bytes of a signature in a table that has just grown.
const MARK_BYTES: usize = 40;

/// The seconds of `ts` whose signatures are dropped together.
const SLICE: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(second: u64, digest: u128) -> Mark {
        Mark { second, digest }
    }

    #[test]
    fn marks_are_kept_for_the_window() {
        let mut used = UsedMarks::default();
        // From the future, the past and the present: all are kept as long as they would be accepted.
        for second in [1300, 700, 1000] {
            assert!(used.insert(mark(second, 1), 700), "{second}");
        }
        for now in 1000..=1600 {
            for second in [700, 1000, 1300].into_iter().filter(|second| second + 300 >= now) {
                assert!(!used.insert(mark(second, 1), now - 300), "{second} at {now}");
            }
        }
        assert_eq!((used.count, used.bytes()), (1, 40), "the others are gone");
        assert!(used.insert(mark(9000, 1), 8700));
        assert_eq!((used.count, used.slices.len(), used.forgotten), (1, 1, 0));
    }

    #[test]
    fn the_oldest_are_forgotten_at_the_bound() {
        let mut used = UsedMarks { max: 4, ..UsedMarks::default() };
        for (second, digest) in [(1000, 1), (1001, 2), (1100, 3), (1100, 4)] {
            assert!(used.insert(mark(second, digest), 0));
        }
        assert!(!used.insert(mark(1001, 2), 0), "a replay forgets nothing");
        assert!(used.insert(mark(1100, 5), 0));
        assert_eq!((used.count, used.forgotten), (3, 2));
        assert!(!used.insert(mark(1100, 3), 0) && used.insert(mark(1000, 1), 0));
    }
}
