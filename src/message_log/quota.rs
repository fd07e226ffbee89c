//! How many lines a second others may cause.

use crate::clock::Time;

/// A token bucket for lines, which counts those that it refuses.
#[derive(Default)]
pub struct Quota {
    /// Lines a second.
    rate: u64,
    /// Lines at once.
    burst: u64,
    /// The time in microseconds at which the bucket will be full again.
    full_at: u64,
    /// Lines refused since the last one that was allowed.
    skipped: u64,
    /// Lines refused since the start.
    left_out: u64,
}

impl Quota {
    /// A quota of so many lines a second, and at once.
    pub fn new((rate, burst): (u32, u32)) -> Quota {
        Quota { rate: rate.into(), burst: burst.into(), ..Quota::default() }
    }

    /// Whether a line may be written now; then returns how many were refused before it. `room` is whether there is room
    /// for it.
    pub fn take(&mut self, room: bool, now: Time) -> Option<u64> {
        let (now, interval) = (now.micros(), 1_000_000 / self.rate.max(1));
        let full_at = self.full_at.max(now);
        if !room || full_at - now > interval * self.burst.saturating_sub(1) {
            self.skipped += 1;
            self.left_out += 1;
            return None;
        }
        self.full_at = full_at + interval;
        Some(core::mem::take(&mut self.skipped))
    }

    /// Lines refused since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let at = |millis: u64| Time::from_micros(millis * 1000);
        let mut quota = Quota::new((100, 5));
        assert_eq!((0..8).filter(|_| quota.take(true, at(0)) == Some(0)).count(), 5);
        assert_eq!((quota.take(true, at(9)), quota.take(true, at(10))), (None, Some(4)));
        assert_eq!((quota.take(false, at(100)), quota.take(true, at(100)), quota.left_out()), (None, Some(1), 5));
        assert_eq!((0..8).filter(|_| quota.take(true, at(9000)).is_some()).count(), 5, "the bucket has a bottom");
    }
}
