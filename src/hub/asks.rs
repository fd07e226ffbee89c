//! Acknowledgements that are awaited: an event went to others, and the first of them that answers answers its sender.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use crate::{clock::Time, key::SessionKey};

/// What is awaited, by the number under which receivers were asked.
#[derive(Default)]
pub struct Asks {
    last: u64,
    open: HashMap<u64, Ask>,
    /// In the order of their deadlines, since all have the same patience.
    due: VecDeque<(Time, u64)>,
}

/// Who wants to know, and who may answer.
pub struct Ask {
    /// The sender.
    pub session: SessionKey,
    /// Its own name for the acknowledgement.
    pub id: Box<str>,
    receivers: SmallVec<[SessionKey; 2]>,
}

impl Asks {
    /// Asks these; the number to ask under. Nothing if too much is awaited already.
    pub fn open(&mut self, session: SessionKey, id: &str, receivers: &[SessionKey], now: Time) -> Option<u64> {
        if self.open.len() >= MOST_ASKS {
            return None;
        }
        self.last += 1;
        self.open.insert(self.last, Ask { session, id: id.into(), receivers: receivers.into() });
        self.due.push_back((now.after(PATIENCE), self.last));
        Some(self.last)
    }

    /// Somebody answers. Only the first counts, and only of those who were asked.
    pub fn answered(&mut self, number: u64, by: SessionKey) -> Option<Ask> {
        self.open.get(&number).filter(|ask| ask.receivers.contains(&by))?;
        let ask = self.open.remove(&number);
        self.sweep();
        ask
    }

    /// When the next one gives up.
    pub fn deadline(&self) -> Time {
        self.due.front().map_or(Time::NEVER, |(due, _)| *due)
    }

    /// Those nobody has answered in time.
    pub fn expired(&mut self, now: Time) -> Vec<Ask> {
        let mut expired = Vec::new();
        while let Some((_, number)) = self.due.pop_front_if(|(due, _)| *due <= now) {
            expired.extend(self.open.remove(&number));
        }
        self.sweep();
        expired
    }

    /// Drops deadlines of what was answered.
    fn sweep(&mut self) {
        while self.due.front().is_some_and(|(_, number)| !self.open.contains_key(number)) {
            self.due.pop_front();
        }
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many may be awaited: some 10 MB.
const MOST_ASKS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Slots;

    #[test]
    fn the_first_who_was_asked() {
        let mut slots: Slots<SessionKey, ()> = Slots::new();
        let [sender, one, two, other] = [(); 4].map(|()| slots.insert(()));
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut asks = Asks::default();
        let first = asks.open(sender, "7", &[one, two], at(1)).unwrap();
        let second = asks.open(sender, "8", &[one], at(2)).unwrap();
        assert_eq!(asks.deadline(), at(11));
        assert!(asks.answered(first, other).is_none(), "it was not asked");
        assert!(asks.answered(99, one).is_none());
        assert_eq!(&*asks.answered(first, two).unwrap().id, "7");
        assert!(asks.answered(first, one).is_none(), "it was answered");
        assert_eq!(asks.deadline(), at(12), "what was answered is not waited for");
        assert!(asks.expired(at(11)).is_empty());
        let expired = asks.expired(at(12));
        assert_eq!((expired.len(), &*expired[0].id), (1, "8"));
        assert!(asks.answered(second, one).is_none(), "too late");
        assert_eq!(asks.deadline(), Time::NEVER);
    }
}
