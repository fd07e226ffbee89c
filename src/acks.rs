//! Pending acknowledgements: a client sent an event and wants an acknowledgement, relay forwarded the event, and the
//! acknowledgement of the first receiver is forwarded to the sender (docs/protocol.md, Rules, `ack = "peer"`).

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use crate::{clock::Time, key::SessionKey};

/// The pending acknowledgements, by number. Receivers get the number with the event.
#[derive(Default)]
pub struct PendingAcks {
    last: u64,
    pending: HashMap<u64, PendingAck>,
    /// In the order of their deadlines, which is the order of registration. At most twice as many as are pending, and
    /// a few.
    deadlines: VecDeque<(Time, u64)>,
    /// The receivers of all of them.
    receivers: usize,
}

/// A pending acknowledgement.
pub struct PendingAck {
    /// The sender.
    pub requester: Requester,
    /// The sessions of this relay that may answer, sorted.
    receivers: SmallVec<[SessionKey; 2]>,
    /// Whether sessions of other relays may answer.
    remote: bool,
}

/// The sender of an event that asks for an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A session of this relay, and its id of the acknowledgement.
    Session(SessionKey, Box<str>),
    /// Another relay by its node name, and its number of the acknowledgement.
    Node(Box<str>, u64),
}

impl PendingAcks {
    /// Registers an acknowledgement that one of `receivers`, or with `remote` a session of another relay, may answer
    /// within 10 s. Returns its number, or `None` if 100,000 are pending or they have a million receivers.
    pub fn register(&mut self, requester: Requester, receivers: &[SessionKey], remote: bool, now: Time) -> Option<u64> {
        if self.pending.len() >= MAX_PENDING || self.receivers + receivers.len() > MAX_RECEIVERS {
            return None;
        }
        self.last += 1;
        self.receivers += receivers.len();
        let mut receivers: SmallVec<[SessionKey; 2]> = receivers.into();
        receivers.sort_unstable();
        self.pending.insert(self.last, PendingAck { requester, receivers, remote });
        self.deadlines.push_back((now.after(TIMEOUT), self.last));
        Some(self.last)
    }

    /// Takes an acknowledgement that a session of this relay answers. `None` if it is not pending, or if the session is
    /// not one of its receivers.
    pub fn resolve(&mut self, number: u64, session: SessionKey) -> Option<PendingAck> {
        self.pending.get(&number).filter(|pending| pending.receivers.binary_search(&session).is_ok())?;
        self.cancel(number)
    }

    /// Takes an acknowledgement that a session of another relay answers. `None` if it is not pending, or was not sent
    /// there.
    pub fn resolve_remote(&mut self, number: u64) -> Option<PendingAck> {
        self.pending.get(&number).filter(|pending| pending.remote)?;
        self.cancel(number)
    }

    /// Takes an acknowledgement that is no longer needed.
    pub fn cancel(&mut self, number: u64) -> Option<PendingAck> {
        let cancelled = self.remove(number);
        self.drop_stale_deadlines();
        cancelled
    }

    fn remove(&mut self, number: u64) -> Option<PendingAck> {
        let pending = self.pending.remove(&number)?;
        self.receivers -= pending.receivers.len();
        Some(pending)
    }

    /// The earliest deadline.
    pub fn deadline(&self) -> Time {
        self.deadlines.front().map_or(Time::NEVER, |(deadline, _)| *deadline)
    }

    /// Takes the acknowledgements whose deadline has passed.
    pub fn expired(&mut self, now: Time) -> Vec<PendingAck> {
        let mut expired = Vec::new();
        while let Some((deadline, number)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            expired.extend(self.remove(number));
        }
        self.drop_stale_deadlines();
        expired
    }

    /// Drops deadlines whose acknowledgements are no longer pending: those at the front, and the others once they are
    /// more than half.
    fn drop_stale_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.pending.len() + 64 {
            self.deadlines.retain(|(_, number)| self.pending.contains_key(number));
        }
        while self.deadlines.front().is_some_and(|(_, number)| !self.pending.contains_key(number)) {
            self.deadlines.pop_front();
        }
    }
}

/// The time within which a receiver must answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most pending acknowledgements: some 10 MB.
const MAX_PENDING: usize = 100_000;
/// Most receivers of all pending acknowledgements: 8 MB. A user may have many thousand sessions.
const MAX_RECEIVERS: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Slots;

    #[test]
    fn only_the_first_receiver_answers() {
        let mut slots: Slots<SessionKey, ()> = Slots::new();
        let [sender, one, two, other] = [(); 4].map(|()| slots.insert(()));
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut acks = PendingAcks::default();
        let requester = |id: &str| Requester::Session(sender, id.into());
        let first = acks.register(requester("7"), &[one, two], false, at(1)).unwrap();
        let second = acks.register(requester("8"), &[one], true, at(2)).unwrap();
        assert_eq!(acks.deadline(), at(11));
        assert!(acks.resolve(first, other).is_none(), "not a receiver");
        assert!(acks.resolve(99, one).is_none());
        assert!(acks.resolve_remote(first).is_none(), "not sent to other relays");
        assert_eq!(acks.resolve(first, two).unwrap().requester, requester("7"));
        assert!(acks.resolve(first, one).is_none(), "answered already");
        assert_eq!(acks.deadline(), at(12), "the first deadline is dropped");
        assert!(acks.expired(at(11)).is_empty());
        let expired = acks.expired(at(12));
        assert_eq!((expired.len(), &expired[0].requester), (1, &requester("8")));
        assert!(acks.resolve(second, one).is_none(), "too late");
        assert_eq!(acks.deadline(), Time::NEVER);
        let third = acks.register(requester("9"), &[], true, at(20)).unwrap();
        assert_eq!(acks.resolve_remote(third).unwrap().requester, requester("9"));
        let fourth = acks.register(requester("9"), &[], true, at(20)).unwrap();
        assert!(acks.cancel(fourth).is_some() && acks.resolve_remote(fourth).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut slots: Slots<SessionKey, ()> = Slots::new();
        let keys: Vec<SessionKey> = (0..20_000).rev().map(|_| slots.insert(())).collect();
        let mut acks = PendingAcks::default();
        let register = |acks: &mut PendingAcks, receivers: &[SessionKey]| {
            acks.register(Requester::Session(keys[0], "1".into()), receivers, false, Time::START)
        };
        let all: Vec<u64> = (0..100).map_while(|_| register(&mut acks, &keys)).collect();
        assert_eq!(all.len(), MAX_RECEIVERS / keys.len());
        assert!(acks.resolve(all[0], keys[19_999]).is_some());
        assert!(register(&mut acks, &keys).is_some() && register(&mut acks, &keys).is_none());
        for _ in 0..10_000 {
            let number = register(&mut acks, &[]).unwrap();
            assert!(acks.cancel(number).is_some());
        }
        assert!(acks.deadlines.len() < 1000, "{}", acks.deadlines.len());
        assert_eq!(acks.expired(Time::NEVER).len(), all.len());
        assert_eq!((acks.receivers, acks.deadlines.len()), (0, 0));
    }
}
