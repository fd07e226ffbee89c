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
        let interval = interval(limits);
        let full_at = self.0.map_or(0, NonZeroU64::get).max(now.micros());
        let spare = limits.message_burst.saturating_sub(count);
        if full_at - now.micros() > interval * spare {
            return false;
        }
        self.0 = NonZeroU64::new(full_at + interval * count);
        true
    }

    /// Charges a message for its deliveries. The message itself was taken before; the deliveries count in its place if they
    /// cost more of `limits.delivery_rate` than it costs of `limits.message_rate`. A bucket that is overdrawn delays later
    /// messages.
    pub fn charge(&mut self, deliveries: u64, limits: &Limits, now: Time) {
        if limits.message_rate == 0 || limits.delivery_rate == 0 {
            return;
        }
        let cost = deliveries.saturating_mul(1_000_000) / limits.delivery_rate;
        let more = cost.saturating_sub(interval(limits));
        let full_at = self.0.map_or(0, NonZeroU64::get).max(now.micros());
        self.0 = NonZeroU64::new(full_at.saturating_add(more));
    }
}

/// Microseconds in which the bucket gains a message.
fn interval(limits: &Limits) -> u64 {
    1_000_000 / limits.message_rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_count() {
        let limits = Limits { message_rate: 100, message_burst: 5, delivery_rate: 10_000, ..Limits::default() };
        let mut rate = Rate::default();
        let mut send = |millis: u64, deliveries: u64| {
            let now = Time::from_micros(millis * 1000);
            let allowed = rate.take(1, &limits, now);
            if allowed {
                rate.charge(deliveries, &limits, now);
            }
            allowed
        };
        assert!((0..5).all(|_| send(1000, 100)) && !send(1000, 100), "100 deliveries are worth one message");
        assert!(send(9000, 1000), "1000 are worth ten: 100 ms");
        assert!(!send(9059, 1) && send(9060, 1));
        let free = Limits { delivery_rate: 0, ..limits.clone() };
        let mut rate = Rate::default();
        rate.charge(1_000_000, &free, Time::START);
        assert!(rate.take(1, &free, Time::START));
    }

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
