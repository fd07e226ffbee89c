//! The message rate of a client.

use core::num::NonZeroU64;

use crate::{clock::Time, limits::Limits};

/// How much of a rate was used: a token bucket in eight bytes (the generic cell rate algorithm: the time at which all
/// that was taken will have been earned).
#[derive(Clone, Copy, Default)]
pub struct Rate(Option<NonZeroU64>);

impl Rate {
    /// Takes `count` messages at `now`; whether they may pass. More than a burst may pass after a rest, as a debt.
    pub fn take(&mut self, count: u64, limits: &Limits, now: Time) -> bool {
        if limits.message_rate == 0 {
            return true;
        }
        let each = 1_000_000 / limits.message_rate;
        let earned = self.0.map_or(0, NonZeroU64::get).max(now.micros());
        let free = limits.message_burst.saturating_sub(count);
        if earned - now.micros() > each * free {
            return false;
        }
        self.0 = NonZeroU64::new(earned + each * count);
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
