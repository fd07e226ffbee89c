//! What has happened of late to sessions and messages, so that an operator can be told why somebody did not get a message
//! (docs/protocol.md, Why).
//!
//! It is a ring of small records: one for each publication and room, and one whenever a session begins, ends, changes its rooms,
//! is lost or comes back. Nothing is written for a delivery: who got a message follows from who was in the room. Names are not
//! in it, only their hashes, because the question brings the names.

use core::hash::BuildHasher;
use std::{collections::VecDeque, hash::RandomState};

use crate::{
    clock::Time,
    key::{Handle, SessionKey},
};

/// The records, the oldest first.
#[derive(Default)]
pub struct Journal {
    records: VecDeque<Record>,
    is_on: bool,
    hasher: RandomState,
    /// Texts of reasons, which records name by their index.
    reasons: Vec<Box<str>>,
}

/// Something that has happened: 40 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// When.
    pub time: Time,
    /// A stamp of messages, or the hash of a room: see [`What`].
    pub stamp: u64,
    /// The hash of the user, or of the room of a publication.
    pub who: u64,
    /// The bits of the session's key, or the stamp of a publication's id.
    pub session: u64,
    /// See [`What`].
    pub count: u32,
    /// The index of the source.
    pub tenant: u16,
    /// What has happened.
    pub what: What,
    reason: u8,
}

const _: () = assert!(size_of::<Record>() <= 40);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A message was published to a room that does not keep it. `stamp` is its stamp here, `count` for how many sessions it was
    /// queued.
    Published,
    /// The same in a room that keeps it.
    Kept,
    /// A session has begun.
    Came,
    /// A session has joined a room; `stamp` is the hash of its name.
    Joined,
    /// A session has left a room; `stamp` is the hash of its name.
    Left,
    /// A session has ended for good.
    Ended,
    /// A session was lost. It has all messages up to `stamp`, if `count` is 1; if it is 0, this is not known.
    Lost,
    /// A session did not answer when it was asked whether it is there.
    Silent,
    /// A session goes on from `stamp` in place of one that was lost; `count` is the number of messages that it gets again.
    Returned,
    /// A login was refused.
    Refused,
}

impl Journal {
    /// Begins to write.
    pub fn begin(&mut self) {
        self.is_on = true;
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Writes that a message was published to a room.
    pub fn note_publication(
        &mut self,
        time: Time,
        (tenant, room): (u16, u64),
        (stamp, id): (u64, u64),
        queued: usize,
        kept: bool,
    ) {
        let (what, count) = (if kept { What::Kept } else { What::Published }, queued as u32);
        self.push(Record { time, stamp, who: room, session: id, count, tenant, what, reason: 0 });
    }

    /// Writes what has happened to a session of a user.
    pub fn note(&mut self, time: Time, what: What, (tenant, userid): (u16, &str), session: SessionKey, more: More<'_>) {
        if !self.is_on {
            return;
        }
        let (who, reason) = (self.user(tenant, userid), self.reason(more.reason));
        let More { stamp, count, .. } = more;
        self.push(Record { time, stamp, who, session: session.key().to_bits(), count, tenant, what, reason });
    }

    /// Writes that a login was refused.
    pub fn note_refusal(&mut self, time: Time, (tenant, userid): (u16, &str), reason: &str) {
        if !self.is_on {
            return;
        }
        let (who, reason) = (self.user(tenant, userid), self.reason(reason));
        self.push(Record { time, stamp: 0, who, session: 0, count: 0, tenant, what: What::Refused, reason });
    }

    fn push(&mut self, record: Record) {
        if !self.is_on {
            return;
        }
        if self.records.len() >= MOST {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// The records, the oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }

    /// Since when it has everything. `None`: since relay was started.
    pub fn since(&self) -> Option<Time> {
        self.records.front().filter(|_| self.records.len() >= MOST).map(|record| record.time)
    }

    /// The hash of a user of a source.
    pub fn user(&self, tenant: u16, userid: &str) -> u64 {
        self.hasher.hash_one((tenant, userid))
    }

    /// Why it has happened; empty if that was not noted.
    pub fn why(&self, record: &Record) -> &str {
        record.reason.checked_sub(1).and_then(|index| self.reasons.get(usize::from(index))).map_or("", |reason| reason)
    }

    fn reason(&mut self, text: &str) -> u8 {
        if text.is_empty() {
            return 0;
        }
        let known = self.reasons.iter().position(|known| **known == *text);
        let index = known.unwrap_or_else(|| {
            // There are far fewer; texts with a name in them must not fill the memory.
            if self.reasons.len() >= MOST_REASONS {
                return self.reasons.len() - 1;
            }
            let is_last = self.reasons.len() == MOST_REASONS - 1;
            self.reasons.push(if is_last { "another reason" } else { text }.into());
            self.reasons.len() - 1
        });
        index as u8 + 1
    }
}

/// What else a record says.
#[derive(Clone, Copy, Debug, Default)]
pub struct More<'a> {
    /// See [`What`].
    pub stamp: u64,
    /// See [`What`].
    pub count: u32,
    /// Why it has happened.
    pub reason: &'a str,
}

/// Records: 1.25 MiB.
const MOST: usize = 32_768;
/// Texts of reasons.
const MOST_REASONS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn session(number: u64) -> SessionKey {
        SessionKey::wrap(Key::from_bits(number << 32).unwrap())
    }

    #[test]
    fn the_oldest_records_are_dropped() {
        let mut journal = Journal::default();
        journal.note(Time::START, What::Came, (0, "u"), session(1), More::default());
        assert_eq!(journal.records().len(), 0, "it is off");
        journal.begin();
        for number in 0..MOST as u64 + 5 {
            let time = Time::from_micros(number);
            journal.note(time, What::Came, (0, "u"), session(number + 1), More::default());
            assert_eq!(journal.since().is_some(), number + 1 >= MOST as u64);
        }
        assert_eq!((journal.records().len(), journal.since()), (MOST, Some(Time::from_micros(5))));
    }

    #[test]
    fn reasons_are_bounded() {
        let mut journal = Journal::default();
        journal.begin();
        for number in 0..2 * MOST_REASONS {
            journal.note_refusal(Time::START, (0, ""), &format!("reason {number}"));
        }
        let whys: Vec<&str> = journal.records().map(|record| journal.why(record)).collect();
        assert_eq!(
            (whys[0], whys[198], whys[199], whys[399]),
            ("reason 0", "reason 198", "another reason", "another reason")
        );
        journal.note_refusal(Time::START, (0, ""), "reason 7");
        journal.note_refusal(Time::START, (0, ""), "");
        let last: Vec<&str> = journal.records().rev().take(2).map(|record| journal.why(record)).collect();
        assert_eq!(last, ["", "reason 7"]);
    }

    #[test]
    fn users_of_different_sources_differ() {
        let journal = Journal::default();
        assert_ne!(journal.user(0, "1"), journal.user(1, "1"));
        assert_ne!(journal.user(0, "1"), journal.user(0, "2"));
        assert_eq!(journal.user(0, "1"), journal.user(0, "1"));
    }
}
