//! The circuit breaker: after several failures in a row relay stops calling the backend for a while, and calls fail at
//! once.

use core::time::Duration;

use super::failure::Failure;
use crate::{clock::Time, health::Health};

/// Closed while the backend answers. Open after too many failures in a row. Then one call is sent after each pause, to
/// test whether the backend has recovered.
#[derive(Default)]
pub struct Breaker {
    configured: bool,
    failures: u32,
    pause: Duration,
    /// While the breaker is open: when the next call may be sent, and the failure with which other calls fail.
    open: Option<(Time, Failure)>,
    health: Health,
}

impl Breaker {
    /// Closes the breaker and forgets all failures, because another backend is configured now, or none.
    pub fn configure(&mut self, configured: bool) {
        self.configured = configured;
        self.close();
    }

    /// Closes the breaker: the backend has answered.
    pub fn close(&mut self) {
        self.failures = 0;
        self.pause = Duration::ZERO;
        self.open = None;
        self.health = if self.configured { Health::Fine } else { Health::Off };
    }

    /// Counts a failure. Returns whether the breaker is open now; then the caller must fail the waiting calls as well.
    /// `seed` varies the length of the pause, so that several relays do not all retry at the same time.
    pub fn record(&mut self, failure: &Failure, seed: u64, now: Time) -> bool {
        self.failures += 1;
        if self.failures < TOLERATED {
            return false;
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        let percent = 50 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 100;
        self.open = Some((now.after(self.pause * percent / 100), failure.clone()));
        self.health = Health::Failing(failure.to_string());
        true
    }

    /// When the next call may be sent, if the breaker is open.
    pub fn open_until(&self) -> Option<Time> {
        self.open.as_ref().map(|(until, _)| *until)
    }

    /// Whether a call may be sent now. While the breaker is open only one may be in flight.
    pub fn allows(&self, in_flight: usize, now: Time) -> bool {
        self.open_until().is_none_or(|until| until <= now && in_flight == 0)
    }

    /// The failure with which a new call fails at once. `None` if calls are accepted.
    pub fn rejects(&self, in_flight: usize, now: Time) -> Option<&Failure> {
        self.open.as_ref().filter(|_| !self.allows(in_flight, now)).map(|(_, failure)| failure)
    }

    /// Whether the backend answers.
    pub fn health(&self) -> &Health {
        &self.health
    }
}

/// Failures in a row that open the breaker.
const TOLERATED: u32 = 5;
/// The first pause. It doubles with each further failure.
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
        assert!((0..4).all(|_| !breaker.record(&failure, 7, Time::START)));
        assert!(breaker.allows(9, Time::START));
        assert!(breaker.record(&failure, 7, Time::START));
        assert_eq!(breaker.health(), &Health::Failing("status 503".into()));
        let until = breaker.open_until().unwrap();
        assert!((500_000..1_500_000).contains(&until.micros()), "{until:?}");
        assert_eq!(breaker.rejects(0, Time::START), Some(&failure));
        assert_eq!((breaker.rejects(0, until), breaker.rejects(1, until)), (None, Some(&failure)));
        breaker.close();
        assert_eq!((breaker.health(), breaker.open_until()), (&Health::Fine, None));
        assert!(!breaker.record(&failure, 7, until), "it counts from zero again");
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.record(&Failure::Timeout, 1, Time::START);
        }
        assert!(breaker.open_until().unwrap().micros() <= 45_000_000);
    }
}
