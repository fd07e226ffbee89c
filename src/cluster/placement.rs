//! Checks that both connections lead to the same server. After a failover the subscription may stay at the old master,
//! where it receives less and less; then it must be opened again at the server of the commands.
//!
//! The check counts the subscribers of this relay's own channel: a server at which nobody has subscribed to it is not
//! the one of the subscription. That also works behind a proxy or an address that moves.

use core::time::Duration;

use crate::{clock::Time, redis::Reply};

/// The schedule and the result of the checks.
#[derive(Default)]
pub struct Placement {
    /// When to check; `None` if Redis does not permit it.
    next: Option<Time>,
    /// The subscription that the unanswered check is about: when it became ready.
    asked: Option<Time>,
    /// Whether the last server of the commands became a replica, where the subscription may still be.
    demoted: bool,
    /// When the subscription may be moved again, and the pause after the next move. It doubles while moves do not help:
    /// a proxy may send each connection to another server.
    move_after: Time,
    pause: Duration,
}

impl Placement {
    /// Handles a new connection for commands, or a new subscription: a check is due.
    pub fn begin(&mut self, now: Time) {
        (self.next, self.asked) = (Some(now), None);
    }

    /// Handles the loss of the connection for commands. `demoted`: its server became a replica.
    pub fn handle_end(&mut self, demoted: bool) {
        (self.next, self.asked) = (None, None);
        self.demoted |= demoted;
    }

    /// When to call [`Placement::take_check`] next.
    pub fn deadline(&self) -> Time {
        self.next.unwrap_or(Time::NEVER)
    }

    /// Whether to count the subscribers now. `subscribed` is the time at which the subscription became ready.
    pub fn take_check(&mut self, subscribed: Option<Time>, interval: Duration, now: Time) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = Some(now.after(interval));
        }
        if !due || subscribed.is_none() || self.asked.is_some() {
            return false;
        }
        self.asked = subscribed;
        true
    }

    /// Handles the reply to a count. Returns whether the subscription must be opened again.
    pub fn handle_count(&mut self, reply: Reply, subscribed: Option<Time>, interval: Duration, now: Time) -> bool {
        // The subscription may have ended since the check, or another one may have begun.
        let same = self.asked.take().is_some_and(|asked| Some(asked) == subscribed);
        let count = reply.array().and_then(|parts| parts.get(1)?.integer());
        if count.is_none() {
            self.next = None;
        }
        let elsewhere = match count {
            Some(count) => count == 0,
            None => self.demoted,
        };
        if count.is_some_and(|count| count > 0) {
            self.pause = Duration::ZERO;
        }
        if !same || !elsewhere || now < self.move_after {
            self.demoted &= !same;
            return false;
        }
        self.demoted = false;
        self.pause = (self.pause * 2).clamp(interval, LONGEST_PAUSE);
        self.move_after = now.after(self.pause);
        true
    }
}

/// The longest pause between moves that do not help.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn count(count: i64) -> Reply {
        Reply::Array(vec![Reply::Bulk(b"chat:relay:abc123".to_vec()), Reply::Integer(count)])
    }

    #[test]
    fn a_subscription_elsewhere_is_moved() {
        let mut placement = Placement::default();
        assert!(!placement.take_check(Some(at(0)), BEAT, at(9)), "there is no connection");
        placement.begin(at(10));
        assert!(!placement.take_check(None, BEAT, at(10)), "there is no subscription");
        placement.begin(at(11));
        assert!(placement.take_check(Some(at(11)), BEAT, at(11)) && !placement.take_check(Some(at(11)), BEAT, at(11)));
        assert!(!placement.handle_count(count(1), Some(at(11)), BEAT, at(11)));
        assert_eq!(placement.deadline(), at(16));
        assert!(placement.take_check(Some(at(11)), BEAT, at(16)));
        assert!(!placement.handle_count(count(0), Some(at(15)), BEAT, at(16)), "that is another subscription");
        assert!(placement.take_check(Some(at(15)), BEAT, at(21)));
        assert!(placement.handle_count(count(0), Some(at(15)), BEAT, at(21)));
        placement.handle_end(false);
        assert_eq!(placement.deadline(), Time::NEVER);
    }

    /// Moves that do not help become rare.
    #[test]
    fn moves_in_vain() {
        let mut placement = Placement::default();
        placement.begin(at(0));
        let mut moves = Vec::new();
        for second in 0..2000 {
            if placement.take_check(Some(at(0)), BEAT, at(second))
                && placement.handle_count(count(0), Some(at(0)), BEAT, at(second))
            {
                moves.push(second);
            }
        }
        assert_eq!(moves, [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835]);
        placement.take_check(Some(at(0)), BEAT, at(2000));
        placement.handle_count(count(1), Some(at(0)), BEAT, at(2000));
        assert!(placement.take_check(Some(at(0)), BEAT, at(3000)));
        assert!(placement.handle_count(count(0), Some(at(0)), BEAT, at(3000)));
        assert!(placement.take_check(Some(at(0)), BEAT, at(3005)));
        assert!(placement.handle_count(count(0), Some(at(0)), BEAT, at(3005)), "the pause is short again");
    }

    /// Without the permission to count, the subscription is moved once after each failover.
    #[test]
    fn without_permission() {
        let refused = || Reply::Error("NOPERM".into());
        let mut placement = Placement::default();
        placement.begin(at(0));
        assert!(placement.take_check(Some(at(0)), BEAT, at(0)));
        assert!(!placement.handle_count(refused(), Some(at(0)), BEAT, at(0)));
        assert_eq!(placement.deadline(), Time::NEVER, "it is not asked again");
        placement.handle_end(true);
        placement.begin(at(60));
        assert!(placement.take_check(Some(at(0)), BEAT, at(60)));
        assert!(placement.handle_count(refused(), Some(at(0)), BEAT, at(60)));
        placement.begin(at(61));
        assert!(placement.take_check(Some(at(61)), BEAT, at(61)));
        assert!(!placement.handle_count(refused(), Some(at(61)), BEAT, at(61)));
    }
}
