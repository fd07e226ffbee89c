//! The message rate of a client.

use core::num::NonZeroU64;

use crate::{clock::Time, limits::Limits};

/// A token bucket in eight bytes: the time in microseconds at which the bucket will be full again (the generic cell
/// rate algorithm).
#[derive(Clone, Copy, Default)]
pub struct Rate(Option<NonZeroU64>);

impl Rate {
    /// Takes `count` messages at `now`, and returns whether `limits.message_rate` and `limits.message_burst` allow
    /// them. A `count` above the burst is allowed if the bucket is full; the excess delays later messages.
    pub fn take(&mut self, count: u64, limits: &Limits, now: Time) -> bool {
        if limits.message_rate == 0 {
            return true;
        }
        let interval = 1_000_000 / limits.message_rate;
        let full_at = self.0.map_or(0, NonZeroU64::get).max(now.micros());
        let spare = limits.message_burst.saturating_sub(count);
        if full_at - now.micros() > interval * spare {
            return false;
        }
        self.0 = NonZeroU64::new(full_at + interval * count);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limits = Limits { message_rate: 100, message_burst: 5, ..Limits::default() };
        let mut rate = Rate::default();
        let mut taken = |millis: u64| rate.take(1, &limits, Time::from_micros(millis * 1000));
        assert_eq!((0..7).filter(|_| taken(1000)).count(), 5);
        assert!(!taken(1009) && taken(1010) && !taken(1010) && taken(1025));
        assert_eq!((0..7).filter(|_| taken(9000)).count(), 5);
        let free = Limits { message_rate: 0, ..limits.clone() };
        assert!((0..1000).all(|_| rate.take(1, &free, Time::START)));
    }
}
