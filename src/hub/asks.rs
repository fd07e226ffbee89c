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
    pub asker: Asker,
    receivers: SmallVec<[SessionKey; 2]>,
    /// Whether a sibling's clients were asked too.
    remote: bool,
}

/// Who wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A session, and its own name for the acknowledgement.
    Session(SessionKey, Box<str>),
    /// A session of another relay, and the number under which that one asks.
    Relay(Box<str>, u64),
}

impl Asks {
    /// Asks these; the number to ask under. Nothing if too much is awaited already.
    pub fn open(&mut self, asker: Asker, receivers: &[SessionKey], remote: bool, now: Time) -> Option<u64> {
        if self.open.len() >= MOST_ASKS {
            return None;
        }
        self.last += 1;
        self.open.insert(self.last, Ask { asker, receivers: receivers.into(), remote });
        self.due.push_back((now.after(PATIENCE), self.last));
        Some(self.last)
    }

    /// Somebody answers. Only the first counts, and only of those who were asked.
    pub fn answered(&mut self, number: u64, by: SessionKey) -> Option<Ask> {
        self.open.get(&number).filter(|ask| ask.receivers.contains(&by))?;
        self.cancel(number)
    }

    /// A client of a sibling answers.
    pub fn answered_remotely(&mut self, number: u64) -> Option<Ask> {
        self.open.get(&number).filter(|ask| ask.remote)?;
        self.cancel(number)
    }

    /// Nobody is asked any more.
    pub fn cancel(&mut self, number: u64) -> Option<Ask> {
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
        let by = |id: &str| Asker::Session(sender, id.into());
        let first = asks.open(by("7"), &[one, two], false, at(1)).unwrap();
        let second = asks.open(by("8"), &[one], true, at(2)).unwrap();
        assert_eq!(asks.deadline(), at(11));
        assert!(asks.answered(first, other).is_none(), "it was not asked");
        assert!(asks.answered(99, one).is_none());
        assert!(asks.answered_remotely(first).is_none(), "no sibling was asked");
        assert_eq!(asks.answered(first, two).unwrap().asker, by("7"));
        assert!(asks.answered(first, one).is_none(), "it was answered");
        assert_eq!(asks.deadline(), at(12), "what was answered is not waited for");
        assert!(asks.expired(at(11)).is_empty());
        let expired = asks.expired(at(12));
        assert_eq!((expired.len(), &expired[0].asker), (1, &by("8")));
        assert!(asks.answered(second, one).is_none(), "too late");
        assert_eq!(asks.deadline(), Time::NEVER);
        let third = asks.open(by("9"), &[], true, at(20)).unwrap();
        assert_eq!(asks.answered_remotely(third).unwrap().asker, by("9"));
        let fourth = asks.open(by("9"), &[], true, at(20)).unwrap();
        assert!(asks.cancel(fourth).is_some() && asks.answered_remotely(fourth).is_none());
    }
}
