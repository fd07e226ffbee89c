//! How many bytes all files of the log may have together.
//!
//! The folder is measured when relay writes the first line, and again when as much was written as fitted into it then.
//! In between only the bytes that are written are counted. Files that others removed make the next measurement come
//! earlier than necessary, which costs nothing else.

/// The bytes that may be written before the folder is measured again.
pub struct Budget {
    total: u64,
    room: u64,
}

impl Budget {
    /// A budget of `total` bytes for a folder that was not measured yet; `u64::MAX` is no limit.
    pub fn new(total: u64) -> Budget {
        Budget { total, room: if total == u64::MAX { total } else { 0 } }
    }

    /// The bytes that all files may have together.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest size of a file, so that removing one never removes the greater part of the log.
    pub fn max_file(&self) -> u64 {
        self.total / 8
    }

    /// Whether `bytes` may be written; then they are counted.
    pub fn take(&mut self, bytes: u64) -> bool {
        let rest = self.room.checked_sub(bytes);
        self.room = rest.unwrap_or(self.room);
        rest.is_some()
    }

    /// How many bytes of files to remove from a folder that has `used`, before `bytes` more are written. If any, then so
    /// many that the folder need not be measured again soon.
    pub fn excess(&self, used: u64, bytes: u64) -> u64 {
        match used.saturating_add(bytes) > self.total {
            true => used.saturating_add(bytes.max(self.total / 16)).saturating_sub(self.total),
            false => 0,
        }
    }

    /// Sets the size of the folder.
    pub fn set_used(&mut self, used: u64) {
        self.room = self.total.saturating_sub(used);
    }
}

/// Sorts days into the order in which their files are removed: oldest first, then days in the future, which a wrong
/// clock has made, and today last.
pub fn sort_for_removal<T>(days: &mut [T], today: i64, number: impl Fn(&T) -> i64) {
    days.sort_by_key(|day| {
        let day = number(day);
        (day == today, day)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stays_within_its_budget() {
        let (mut budget, mut used, mut removals) = (Budget::new(1600), 400, 0);
        assert!(!budget.take(1), "it must be measured first");
        for _ in 0..10_000 {
            if !budget.take(7) {
                let excess = budget.excess(used, 7);
                used -= excess;
                removals += u32::from(excess > 0);
                budget.set_used(used);
                assert!(budget.take(7));
            }
            used += 7;
            assert!(used <= 1600);
        }
        assert!(removals < 10_000 * 7 / 90, "{removals}");
    }

    #[test]
    fn excess() {
        let budget = Budget::new(1600);
        assert_eq!(
            [(0, 1600), (1500, 100), (1500, 101), (2000, 1)].map(|(used, bytes)| budget.excess(used, bytes)),
            [0, 0, 1, 500]
        );
        let mut unlimited = Budget::new(u64::MAX);
        assert!(unlimited.take(1 << 60), "it need not be measured");
    }

    #[test]
    fn today_is_removed_last() {
        let mut days = [12, 9, 10, 400, 8];
        sort_for_removal(&mut days, 10, |day| *day);
        assert_eq!(days, [8, 9, 12, 400, 10]);
    }
}
