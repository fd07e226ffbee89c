//! Delays publications after an outage of Redis until the other relays, which lost their connections as well, have
//! subscribed again.

use core::time::Duration;

use crate::{clock::Time, redis::Reply};

/// A delay of all publications of this relay.
pub struct Hold {
    /// The number of subscribers at which the delay ends, this relay included.
    subscribers: usize,
    /// When the delay ends at the latest. By then all relays have tried to reconnect.
    until: Time,
    /// When to count the subscribers; `None` while the answer is awaited, or if counting is not permitted.
    next_look: Option<Time>,
}

impl Hold {
    /// A delay until `others` relays have subscribed, at most for `patience`.
    pub fn new(others: usize, patience: Duration, now: Time) -> Hold {
        // Not at once: Redis may still count subscribers whose connections have ended.
        Hold { subscribers: others + 1, until: now.after(patience), next_look: Some(now.after(LOOK)) }
    }

    /// Whether its time limit has passed.
    pub fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }

    /// Whether to count the subscribers now. Returns true once for each count.
    pub fn take_look(&mut self, now: Time) -> bool {
        self.next_look.take_if(|look| *look <= now).is_some()
    }

    /// Handles the reply to a count. Returns whether all relays have subscribed. If Redis does not permit counting, the
    /// delay lasts until its time limit.
    pub fn handle_count(&mut self, reply: Reply, now: Time) -> bool {
        let count = reply.array().and_then(|parts| usize::try_from(parts.get(1)?.integer()?).ok());
        if count.is_some() {
            self.next_look = Some(now.after(LOOK));
        }
        count.is_some_and(|count| count >= self.subscribers)
    }

    /// When to count again, or to give up.
    pub fn deadline(&self) -> Time {
        self.until.min(self.next_look.unwrap_or(Time::NEVER))
    }
}

/// How often the subscribers are counted.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_all_are_there_or_patience_ends() {
        let at = |millis: u64| Time::from_micros(millis * 1000);
        let count = |count| Reply::Array(vec![Reply::Bulk(b"chat:relay".to_vec()), Reply::Integer(count)]);
        let mut hold = Hold::new(2, Duration::from_secs(1), at(0));
        assert!(!hold.take_look(at(49)) && hold.take_look(at(50)) && !hold.take_look(at(60)));
        assert_eq!(hold.deadline(), at(1000));
        assert!(!hold.handle_count(count(2), at(60)));
        assert_eq!(hold.deadline(), at(110));
        assert!(hold.take_look(at(110)) && hold.handle_count(count(3), at(111)));
        assert!(hold.take_look(at(161)) && !hold.handle_count(Reply::Error("NOPERM".into()), at(161)));
        assert!(!hold.take_look(at(999)) && !hold.is_over(at(999)) && hold.is_over(at(1000)));
    }
}
