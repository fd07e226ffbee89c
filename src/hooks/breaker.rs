//! The circuit breaker: after several failures in a row relay stops calling the backend for a while, and calls fail at
//! once.

use core::time::Duration;

use super::failure::Failure;
use crate::{clock::Time, health::Health};

/// Closed while the backend answers. Open after too many failures in a row. Then one call is sent after each pause, to
/// test whether the backend has recovered.
///
/// Only that test lengthens the pause. Calls that were already in flight when the breaker opened say nothing new: they
/// were sent to the same backend before the pause, and fail together with those that opened it.
#[derive(Default)]
pub struct Breaker {
    configured: bool,
    failures: u32,
    pause: Duration,
    open: Option<Open>,
    epoch: Epoch,
    health: Health,
}

/// The breaker is open.
struct Open {
    /// When the next test may be sent.
    until: Time,
    /// The failure with which other calls fail.
    failure: Failure,
    /// The call in flight that tests the backend.
    test: Option<u64>,
}

/// When an attempt was sent: it rises whenever the breaker opens, a test fails, or another backend is configured. The
/// failure of an attempt of an earlier epoch is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u64);

impl Breaker {
    /// Closes the breaker and forgets all failures, because another backend is configured now, or none. Calls in flight
    /// went to the backend of before.
    pub fn configure(&mut self, configured: bool) {
        self.configured = configured;
        self.epoch.0 += 1;
        self.close();
    }

    /// Closes the breaker: the backend has answered.
    pub fn close(&mut self) {
        self.failures = 0;
        self.pause = Duration::ZERO;
        self.open = None;
        self.health = if self.configured { Health::Fine } else { Health::Off };
    }

    /// Reports that a call is sent. While the breaker is open, that call is the test. Pass the result to
    /// [`Breaker::record`] if the attempt fails.
    pub fn begin_attempt(&mut self, number: u64) -> Epoch {
        if let Some(open) = &mut self.open {
            open.test = Some(number);
        }
        self.epoch
    }

    /// Reports that an attempt has ended, whatever its result.
    pub fn end_attempt(&mut self, number: u64) {
        if let Some(open) = &mut self.open {
            open.test.take_if(|test| *test == number);
        }
    }

    /// Counts the failure of an attempt. Returns whether the breaker is open now; then the caller must fail the waiting
    /// calls as well. `seed` varies the length of the pause, so that several relays do not all retry at the same time.
    pub fn record(&mut self, failure: &Failure, epoch: Epoch, seed: u64, now: Time) -> bool {
        if epoch != self.epoch {
            return self.open.is_some();
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < TOLERATED {
            return false;
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        let percent = 50 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 100;
        let until = now.after(self.pause * percent / 100);
        self.open = Some(Open { until, failure: failure.clone(), test: None });
        self.epoch.0 += 1;
        self.health = Health::Failing(failure.to_string());
        true
    }

    /// When the next call may be sent, if the breaker is open.
    pub fn open_until(&self) -> Option<Time> {
        self.open.as_ref().map(|open| open.until)
    }

    /// Whether a call is in flight that tests the backend. No other call is sent before it ends.
    pub fn is_testing(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.test.is_some())
    }

    /// Whether a call may be sent now. While the breaker is open only one may be in flight, besides those that were
    /// sent before it opened.
    pub fn allows(&self, now: Time) -> bool {
        self.open.as_ref().is_none_or(|open| open.until <= now && open.test.is_none())
    }

    /// The failure with which a new call fails at once. `None` if calls are accepted.
    pub fn rejects(&self, now: Time) -> Option<&Failure> {
        self.open.as_ref().filter(|_| !self.allows(now)).map(|open| &open.failure)
    }

    /// Whether the backend answers.
    pub fn health(&self) -> &Health {
        &self.health
    }
}

/// Failures in a row that open the breaker.
const TOLERATED: u32 = 5;
/// The first pause. It doubles with each failed test.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_and_closes() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.health(), &Health::Off);
        breaker.configure(true);
        assert_eq!(breaker.health(), &Health::Fine);
        let failure = Failure::Status(503);
        let epoch = breaker.begin_attempt(1);
        assert!((0..4).all(|_| !breaker.record(&failure, epoch, 7, Time::START)));
        assert!(breaker.allows(Time::START));
        assert!(breaker.record(&failure, epoch, 7, Time::START));
        assert_eq!(breaker.health(), &Health::Failing("status 503".into()));
        let until = breaker.open_until().unwrap();
        assert!((500_000..1_500_000).contains(&until.micros()), "{until:?}");
        assert_eq!(breaker.rejects(Time::START), Some(&failure));
        assert_eq!((breaker.rejects(until), breaker.is_testing()), (None, false));
        let test = breaker.begin_attempt(2);
        assert_eq!((breaker.rejects(until), breaker.is_testing()), (Some(&failure), true));
        breaker.end_attempt(1);
        assert!(breaker.is_testing(), "that was not the test");
        breaker.end_attempt(2);
        assert_eq!((breaker.rejects(until), breaker.is_testing()), (None, false));
        breaker.close();
        assert_eq!((breaker.health(), breaker.open_until()), (&Health::Fine, None));
        assert!(!breaker.record(&failure, test, 7, until), "it counts from zero again");
    }

    /// The pause is 1 s, however many calls were in flight. Each failed test doubles it, up to a limit.
    #[test]
    fn only_tests_lengthen_the_pause() {
        let pause = |breaker: &Breaker, now: Time| breaker.open_until().unwrap().since(now).as_millis();
        for in_flight in [5, 10, 32, 1000] {
            let mut breaker = Breaker::default();
            breaker.configure(true);
            let epoch = breaker.begin_attempt(1);
            (0..in_flight).for_each(|_| {
                breaker.record(&Failure::Timeout, epoch, 1, Time::START);
            });
            let first = pause(&breaker, Time::START);
            assert!((500..1500).contains(&first), "{in_flight} in flight: {first} ms");
            let mut now = Time::START;
            for test in 1..10 {
                now = breaker.open_until().unwrap();
                let current = breaker.begin_attempt(test);
                assert!(breaker.record(&Failure::Timeout, epoch, 1, now), "it is open, and stays so");
                assert_eq!(breaker.open_until(), Some(now), "a call from before is no test");
                breaker.end_attempt(test);
                assert!(breaker.record(&Failure::Timeout, current, 1, now));
                let expected = (first << test).min(first * 30);
                assert_eq!(pause(&breaker, now), expected, "after {test} tests");
            }
            assert!(pause(&breaker, now) <= 45_000);
        }
    }

    /// A call that was sent before the breaker opened may fail long after it has closed.
    #[test]
    fn late_failures_are_ignored() {
        let mut breaker = Breaker::default();
        breaker.configure(true);
        let before = breaker.begin_attempt(1);
        (0..5).for_each(|_| {
            breaker.record(&Failure::Timeout, before, 1, Time::START);
        });
        let test = breaker.begin_attempt(2);
        breaker.close();
        assert!((0..100).all(|_| !breaker.record(&Failure::Timeout, before, 1, Time::START)));
        assert_eq!(breaker.health(), &Health::Fine);
        breaker.configure(true);
        assert!((0..100).all(|_| !breaker.record(&Failure::Timeout, test, 1, Time::START)), "of another backend");
    }
}
