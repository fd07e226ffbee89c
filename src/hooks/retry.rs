//! Which calls are sent again, and when.

use core::time::Duration;

use super::call::Kind;
use crate::clock::Time;

/// How far a failed attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The backend has not received the call.
    NotSent,
    /// The backend has most likely not received the call: it was closing the connection.
    ProbablyNotSent,
    /// The backend may have handled the call.
    MaybeSent,
}

/// The attempts at a call so far.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// The kind of the call.
    pub kind: Kind,
    /// The number of attempts.
    pub count: u32,
    /// When the call was queued.
    pub since: Time,
}

/// The decision about a call after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is sent again without a pause. The attempt does not count as a failure of the backend.
    AtOnce,
    /// It is sent again after a pause.
    After(Duration),
    /// It has failed.
    Never,
}

impl Attempts {
    /// Decides what happens after the last attempt. If the backend may have received the call, only connects and
    /// disconnects are sent again: a message may already have had its effect. Retries end after `timeout` (the
    /// configured one), or later for disconnects, because no client waits for them.
    pub fn retry(self, delivery: Delivery, timeout: Duration, now: Time) -> Retry {
        let Attempts { kind, count, since } = self;
        if delivery == Delivery::ProbablyNotSent && count == 1 {
            return Retry::AtOnce;
        }
        let allowed = delivery == Delivery::NotSent || kind != Kind::Message;
        let pause = FIRST_PAUSE * 2u32.saturating_pow(count.saturating_sub(1).min(10));
        let patience = match kind {
            Kind::Connect | Kind::Message => timeout,
            Kind::Disconnect => DISCONNECT_PATIENCE,
        };
        match allowed && count < MOST_ATTEMPTS && since.after(patience) > now.after(pause) {
            true => Retry::After(pause),
            false => Retry::Never,
        }
    }
}

/// The pause before the second attempt. It doubles before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MOST_ATTEMPTS: u32 = 8;
/// How long relay tries to deliver a disconnect.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(kind: Kind, count: u32, delivery: Delivery, millis: u64) -> Retry {
        let now = Time::from_micros(millis * 1000);
        Attempts { kind, count, since: Time::START }.retry(delivery, Duration::from_secs(3), now)
    }

    #[test]
    fn a_message_that_may_have_arrived_is_not_repeated() {
        let first = Retry::After(Duration::from_millis(200));
        assert_eq!(retry(Kind::Message, 1, Delivery::MaybeSent, 0), Retry::Never);
        assert_eq!(retry(Kind::Message, 1, Delivery::NotSent, 0), first);
        assert_eq!(retry(Kind::Connect, 1, Delivery::MaybeSent, 0), first);
        assert_eq!(retry(Kind::Disconnect, 1, Delivery::MaybeSent, 0), first);
    }

    #[test]
    fn a_stale_connection_is_tried_again_once() {
        assert_eq!(retry(Kind::Message, 1, Delivery::ProbablyNotSent, 9000), Retry::AtOnce);
        assert_eq!(retry(Kind::Message, 2, Delivery::ProbablyNotSent, 0), Retry::Never);
        assert_eq!(retry(Kind::Connect, 2, Delivery::ProbablyNotSent, 0), Retry::After(Duration::from_millis(400)));
    }

    #[test]
    fn retries_end() {
        assert_eq!(retry(Kind::Connect, 1, Delivery::NotSent, 2799), Retry::After(Duration::from_millis(200)));
        assert_eq!(retry(Kind::Connect, 1, Delivery::NotSent, 2800), Retry::Never);
        assert_eq!(retry(Kind::Disconnect, 5, Delivery::NotSent, 60_000), Retry::After(Duration::from_millis(3200)));
        assert_eq!(retry(Kind::Disconnect, 5, Delivery::NotSent, 120_000), Retry::Never);
        assert_eq!(retry(Kind::Disconnect, 8, Delivery::NotSent, 60_000), Retry::Never);
    }
}
