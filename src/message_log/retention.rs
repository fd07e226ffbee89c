//! Which days are kept, and when old ones are removed.
//!
//! The age of a folder depends on the wall clock, which can be wrong: a machine boots with a dead battery, a time server
//! lies, somebody sets the wrong year. So the wall clock is trusted only after it has agreed with the monotonic clock for
//! an hour. Until then nothing is removed for its age; `message_log.total` still bounds the folder.

use core::time::Duration;

use crate::clock::{Date, Now, Time};

/// The day for which a folder is named, if it is more than `days` days ago.
pub fn expired(folder: &str, today: i64, days: u64) -> Option<Date> {
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    Date::parse(folder).filter(|day| today.saturating_sub(day.number()) > days)
}

/// Decides when to remove old folders: once a day, by a clock that is trusted.
pub struct Schedule {
    /// How far the wall clock is ahead of the monotonic clock, in seconds.
    offset: i64,
    /// From when on the wall clock is trusted, unless it jumps before.
    trusted_at: Time,
    /// The last day on which folders were removed.
    done: i64,
    deadline: Time,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { offset: i64::MAX, trusted_at: Time::NEVER, done: i64::MIN, deadline: Time::START }
    }
}

impl Schedule {
    /// Whether to remove old folders now.
    pub fn is_due(&mut self, now: Now) -> bool {
        let seconds = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let offset = seconds(now.unix).saturating_sub(seconds(now.time.micros() / 1_000_000));
        // The offset is not that of the last check: a wall clock that goes too fast must be noticed as well.
        if offset.abs_diff(self.offset) > TOLERANCE {
            (self.offset, self.trusted_at) = (offset, now.time.after(TRUST));
        }
        let (today, trusted) = (now.day(), self.trusted_at <= now.time);
        let due = trusted && self.done != today;
        if due {
            self.done = today;
        }
        self.deadline = now.time.after(INTERVAL);
        if !trusted {
            self.deadline = self.deadline.min(self.trusted_at);
        }
        due
    }

    /// The schedule for another folder, or another number of days: nothing was removed there today. The clock stays as
    /// trusted as it was.
    pub fn anew(&self) -> Schedule {
        Schedule { done: i64::MIN, deadline: Time::START, ..*self }
    }

    /// When to ask again.
    pub fn deadline(&self) -> Time {
        self.deadline
    }
}

/// How long the wall clock must agree with the monotonic clock before folders are removed.
pub const TRUST: Duration = Duration::from_secs(3600);
/// How many seconds the clocks may differ from when they were first compared. Time servers correct a clock by less than a
/// minute a day without a jump.
const TOLERANCE: u64 = 60;
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

    const DAY: u64 = 86_400;
    const START: u64 = 20_000 * DAY;

    /// The clocks `seconds` after the start; the wall clock is `ahead` seconds ahead.
    fn at(seconds: u64, ahead: i64) -> Now {
        let unix = (START + seconds).saturating_add_signed(ahead);
        Now { unix, micros: 0, time: Time::from_micros(seconds * 1_000_000), utc_offset: 0 }
    }

    #[test]
    fn once_a_day() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.deadline(), Time::START);
        assert!(!schedule.is_due(at(0, 0)));
        assert_eq!(schedule.deadline(), at(600, 0).time);
        assert!(!schedule.is_due(at(3599, 0)));
        assert_eq!(schedule.deadline(), at(3600, 0).time);
        assert!(schedule.is_due(at(3600, 0)) && !schedule.is_due(at(3601, 0)));
        assert!(!schedule.is_due(at(DAY - 2, 1)), "the same day, a second of correction");
        assert!(schedule.is_due(at(DAY, 0)) && !schedule.is_due(at(DAY + 1, 0)));
    }

    #[test]
    fn a_clock_that_jumps_is_not_trusted() {
        let forty = 40 * DAY as i64;
        let mut schedule = Schedule::default();
        schedule.is_due(at(0, 0));
        assert!(schedule.is_due(at(4000, 0)));
        let due = (5000..5000 + 3600).filter(|second| schedule.is_due(at(*second, forty))).count();
        assert_eq!(due, 0, "40 days ahead for almost an hour");
        assert!(!schedule.is_due(at(8600, 0)) && !schedule.is_due(at(12_199, 0)), "and back");
        assert!(!schedule.is_due(at(12_200, 0)), "this day is done");
        assert!(schedule.is_due(at(DAY, 0)));
        // A clock that goes a thousand times too fast.
        let due = (DAY + 1..DAY + 50_000).filter(|second| schedule.is_due(at(*second, (*second - DAY) as i64 * 999)));
        assert_eq!(due.count(), 0);
        // Back by years, as after the loss of a battery.
        assert!((100_000..103_600).all(|second| !schedule.is_due(at(2 * DAY + second, -forty * 100))));
    }

    #[test]
    fn a_correction_that_stays_is_believed() {
        let ahead = 40 * DAY as i64;
        let mut schedule = Schedule::default();
        assert!(!schedule.is_due(at(0, 0)) && !schedule.is_due(at(10, ahead)));
        assert!(!schedule.is_due(at(3609, ahead)) && schedule.is_due(at(3610, ahead)));
    }
}
