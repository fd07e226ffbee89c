//! When a disk that failed counts as healthy again.
//!
//! A nearly full disk accepts short lines and refuses long ones. If each result changed the health, alerts and the log
//! would follow every line. So a success counts only after some time without a failure, and that time doubles with each
//! relapse.

use core::time::Duration;

use crate::clock::Time;

/// The failures of a disk.
#[derive(Default)]
pub struct Recovery {
    last_failure: Time,
    /// When the disk last counted as healthy again.
    healthy_since: Time,
    /// How long no write may have failed before a success counts.
    quiet: Duration,
}

impl Recovery {
    /// Records a failure. `healthy` is whether the disk counted as healthy until now.
    pub fn record_failure(&mut self, healthy: bool, now: Time) {
        if healthy {
            let relapse = !self.quiet.is_zero() && now.since(self.healthy_since) < RELAPSE;
            self.quiet = if relapse { (self.quiet * 2).min(MAX_QUIET) } else { MIN_QUIET };
        }
        self.last_failure = now;
    }

    /// Records a success. Returns whether the disk counts as healthy now.
    pub fn record_success(&mut self, now: Time) -> bool {
        let healthy = self.healthy_at() <= now;
        if healthy {
            self.healthy_since = now;
        }
        healthy
    }

    /// The time from which on a success counts.
    pub fn healthy_at(&self) -> Time {
        self.last_failure.after(self.quiet)
    }
}

/// The least and the most time without a failure after which a success counts.
const MIN_QUIET: Duration = Duration::from_secs(5);
const MAX_QUIET: Duration = Duration::from_secs(320);
/// A failure within this time after a recovery is a relapse.
const RELAPSE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a disk for `seconds`, with a write every 100 ms; returns how often its health changed.
    fn changes(seconds: u64, fails: impl Fn(u64) -> bool) -> usize {
        let (mut recovery, mut healthy, mut changes) = (Recovery::default(), true, 0);
        for step in 0..seconds * 10 {
            let now = Time::from_micros(step * 100_000);
            let before = healthy;
            healthy = match fails(step) {
                true => {
                    recovery.record_failure(healthy, now);
                    false
                }
                false => healthy || recovery.record_success(now),
            };
            changes += usize::from(healthy != before);
        }
        changes
    }

    #[test]
    fn health_does_not_flap() {
        assert_eq!(changes(3600, |step| step % 2 == 0), 1, "every other write fails");
        assert_eq!(changes(60, |step| step == 100), 2, "a single failure");
        assert!(changes(3600, |step| step % 100 == 0) < 20, "a failure every ten seconds");
        assert_eq!(changes(36_000, |step| step % 36_000 == 0), 20, "a failure an hour is not a relapse");
    }

    #[test]
    fn a_success_counts_after_some_seconds() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut recovery = Recovery::default();
        recovery.record_failure(true, at(100));
        recovery.record_failure(false, at(103));
        assert_eq!((recovery.record_success(at(107)), recovery.healthy_at()), (false, at(108)));
        assert!(recovery.record_success(at(108)));
        recovery.record_failure(true, at(110));
        assert_eq!(recovery.healthy_at(), at(120), "twice as long after a relapse");
    }
}
