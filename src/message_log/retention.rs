//! Which days are kept, and when old ones are removed.

use core::time::Duration;

use crate::clock::{Date, Time};

/// The day for which a folder is named, if it is more than `days` days ago.
pub fn expired(folder: &str, today: i64, days: u64) -> Option<Date> {
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    Date::parse(folder).filter(|day| today.saturating_sub(day.number()) > days)
}

/// Decides when to remove old folders: once a day.
pub struct Schedule {
    /// The local day, and the time from which it counts as settled.
    day: (i64, Time),
    /// The last day on which folders were removed.
    done: i64,
    deadline: Time,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { day: (i64::MIN, Time::NEVER), done: i64::MIN, deadline: Time::START }
    }
}

impl Schedule {
    /// Whether to remove old folders now. A new day must last for some seconds first: otherwise a clock that jumps
    /// ahead for a moment would delete the log.
    pub fn is_due(&mut self, today: i64, now: Time) -> bool {
        if self.day.0 != today {
            self.day = (today, now.after(SETTLED));
        }
        self.deadline = now.after(INTERVAL);
        if self.done == today {
            return false;
        }
        self.deadline = self.deadline.min(self.day.1);
        let due = self.day.1 <= now;
        if due {
            self.done = today;
        }
        due
    }

    /// When to ask again.
    pub fn deadline(&self) -> Time {
        self.deadline
    }
}

/// How long a day must last before folders are removed.
const SETTLED: Duration = Duration::from_secs(5);
/// How often to check the day.
const INTERVAL: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_days() {
        let today = Date::parse("2026-03-01").unwrap().number();
        for (folder, old) in [
            ("2026-03-02", false),
            ("2026-03-01", false),
            ("2026-02-27", false),
            ("2026-02-26", true),
            ("2025-01-01", true),
            ("2026-02-30", false),
            ("notes", false),
            ("2025-01-01.bak", false),
        ] {
            assert_eq!(expired(folder, today, 2).is_some(), old, "{folder}");
        }
        assert_eq!(expired("1970-01-01", today, u64::MAX), None, "everything is kept");
    }

    #[test]
    fn once_a_day() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut schedule = Schedule::default();
        assert_eq!(schedule.deadline(), Time::START);
        assert!(!schedule.is_due(7, at(0)));
        assert_eq!(schedule.deadline(), at(5));
        assert!(!schedule.is_due(7, at(4)) && schedule.is_due(7, at(5)) && !schedule.is_due(7, at(6)));
        assert_eq!(schedule.deadline(), at(606));
        // The clock jumps ahead for a moment.
        assert!(!schedule.is_due(400, at(10)) && !schedule.is_due(7, at(12)) && !schedule.is_due(7, at(60)));
        assert!(!schedule.is_due(8, at(100)) && schedule.is_due(8, at(105)));
    }
}
