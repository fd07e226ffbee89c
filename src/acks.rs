//! Acknowledgements that are awaited: an event went to others, and the first of them that answers answers its sender.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use crate::{clock::Time, key::SessionKey};

/// What is awaited, by the number under which receivers were asked.
#[derive(Default)]
pub struct PendingAcks {
    last: u64,
    open: HashMap<u64, PendingAck>,
    /// In the order of their deadlines, since all have the same patience.
    due: VecDeque<(Time, u64)>,
}

/// Who wants to know, and who may answer.
pub struct PendingAck {
    /// The sender.
    pub requester: Requester,
    receivers: SmallVec<[SessionKey; 2]>,
    /// Whether a sibling's clients were asked too.
    remote: bool,
}

/// Who wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A session, and its own name for the acknowledgement.
    Session(SessionKey, Box<str>),
    /// A session of another relay, and the number under which that one acks.
    Node(Box<str>, u64),
}

impl PendingAcks {
    /// PendingAcks these; the number to ack under. Nothing if too much is awaited already.
    pub fn open(&mut self, requester: Requester, receivers: &[SessionKey], remote: bool, now: Time) -> Option<u64> {
        if self.open.len() >= MOST_ASKS {
            return None;
        }
        self.last += 1;
        self.open.insert(self.last, PendingAck { requester, receivers: receivers.into(), remote });
        self.due.push_back((now.after(PATIENCE), self.last));
        Some(self.last)
    }

    /// Somebody answers. Only the first counts, and only of those who were asked.
    pub fn answered(&mut self, number: u64, by: SessionKey) -> Option<PendingAck> {
        self.open.get(&number).filter(|ack| ack.receivers.contains(&by))?;
        self.cancel(number)
    }

    /// A client of a sibling answers.
    pub fn answered_remotely(&mut self, number: u64) -> Option<PendingAck> {
        self.open.get(&number).filter(|ack| ack.remote)?;
        self.cancel(number)
    }

    /// Nobody is asked any more.
    pub fn cancel(&mut self, number: u64) -> Option<PendingAck> {
        let ack = self.open.remove(&number);
        self.sweep();
        ack
    }

    /// When the next one gives up.
    pub fn deadline(&self) -> Time {
        self.due.front().map_or(Time::NEVER, |(due, _)| *due)
    }

    /// Those nobody has answered in time.
    pub fn expired(&mut self, now: Time) -> Vec<PendingAck> {
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
        let mut acks = PendingAcks::default();
        let by = |id: &str| Requester::Session(sender, id.into());
        let first = acks.open(by("7"), &[one, two], false, at(1)).unwrap();
        let second = acks.open(by("8"), &[one], true, at(2)).unwrap();
        assert_eq!(acks.deadline(), at(11));
        assert!(acks.answered(first, other).is_none(), "it was not asked");
        assert!(acks.answered(99, one).is_none());
        assert!(acks.answered_remotely(first).is_none(), "no sibling was asked");
        assert_eq!(acks.answered(first, two).unwrap().requester, by("7"));
        assert!(acks.answered(first, one).is_none(), "it was answered");
        assert_eq!(acks.deadline(), at(12), "what was answered is not waited for");
        assert!(acks.expired(at(11)).is_empty());
        let expired = acks.expired(at(12));
        assert_eq!((expired.len(), &expired[0].requester), (1, &by("8")));
        assert!(acks.answered(second, one).is_none(), "too late");
        assert_eq!(acks.deadline(), Time::NEVER);
        let third = acks.open(by("9"), &[], true, at(20)).unwrap();
        assert_eq!(acks.answered_remotely(third).unwrap().requester, by("9"));
        let fourth = acks.open(by("9"), &[], true, at(20)).unwrap();
        assert!(acks.cancel(fourth).is_some() && acks.answered_remotely(fourth).is_none());
    }
}
