//! Time as the pure floors know it: a number that is passed in, never asked for.
//!
//! The world reads the clock once a turn and hands a [`Now`] down; tests make their own. A [`Time`] is eight bytes with
//! no epoch anybody could misuse, which is what a deadline in every connection may cost.

use core::time::Duration;

/// A point on relay's own clock: microseconds since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the process.
    pub const START: Time = Time(0);
    /// A deadline that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The point `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since the start.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The point `wait` after this one; a wait too long to count ends [never](Time::NEVER).
    pub fn after(self, wait: Duration) -> Time {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this point is; zero if it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The clocks as they stood when the turn began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// The monotonic clock: deadlines and rates.
    pub time: Time,
    /// The wall clock, unix seconds: signatures and dates.
    pub unix: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stays_never() {
        assert_eq!(Time::NEVER.after(Duration::from_secs(1)), Time::NEVER);
        assert_eq!(Time::START.after(Duration::MAX), Time::NEVER);
        assert_eq!(Time::START.since(Time::NEVER), Duration::ZERO);
        assert_eq!(Time::from_micros(1500).since(Time::from_micros(500)), Duration::from_millis(1));
    }
}
