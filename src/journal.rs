//! What has happened of late to sessions and messages, so that an operator can be told why somebody did not get a message
//! (docs/protocol.md, Why).
//!
//! It is a ring of small records: one for each publication and room, and one whenever a session begins, ends, changes its rooms,
//! is lost, comes back or falls behind. Nothing is written for a delivery: who got a message follows from who was in the room.
//! Names are not in it, only their hashes, because the question brings the names.
//!
//! Events that backends emit, and what is refused or goes wrong, have smaller rings of their own. Equal records of a minute are
//! one record there. So a backend that emits many events, a stranger whose logins are refused, or a backend with a wrong key,
//! pushes out only others of its kind.

mod reason;
mod record;

use core::{hash::BuildHasher, time::Duration};
use std::{
    collections::{HashSet, VecDeque},
    hash::RandomState,
};

use self::record::FURTHER;
pub use self::{
    reason::Reason,
    record::{EVERY, More, Publication, Recipient, Record, Subject, What, pack, unpack},
};
use crate::{
    clock::Time,
    key::{Handle, SessionKey},
    language::Language,
};

/// The records.
#[derive(Default)]
pub struct Journal {
    events: Ring,
    emitted: Ring,
    refusals: Ring,
    is_on: bool,
    hasher: RandomState,
    /// Reasons, which records name by their index.
    reasons: Vec<Reason<'static>>,
    /// The last record when unused reasons were last dropped.
    recycled: u64,
    /// The relays that have published messages; those of publications name them by their index.
    nodes: Vec<u32>,
    /// The reason of what happens to sessions now, if they have none of their own. Empty: none.
    pub cause: Reason<'static>,
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
    pub fn note_publication(&mut self, time: Time, publication: Publication) {
        if !self.is_on {
            return;
        }
        let Publication { tenant, room: who, stamp, id: session, node, is_further, queued, kept } = publication;
        let what = if kept { What::Kept } else { What::Published };
        let count = (queued as u32 & !FURTHER) | if is_further { FURTHER } else { 0 };
        let reason = node.map_or(0, |node| self.node(node));
        self.events.push(Record { time, stamp, who, session, count, tenant, what, reason }, MOST_EVENTS);
    }

    /// Writes what has happened to a session of a user.
    pub fn note(&mut self, time: Time, what: What, (tenant, userid): (u16, &str), session: SessionKey, more: More<'_>) {
        self.note_of(time, what, (tenant, self.user(tenant, userid)), session, more);
    }

    /// The same for a user of whom the [hash](Journal::user) is known.
    pub fn note_of(&mut self, time: Time, what: What, (tenant, who): (u16, u64), session: SessionKey, more: More<'_>) {
        if !self.is_on {
            return;
        }
        let More { stamp, count, reason } = more;
        let reason = if reason.is_empty() { self.cause.clone() } else { reason };
        let reason = self.reason(&reason);
        let session = session.key().to_bits();
        self.events.push(Record { time, stamp, who, session, count, tenant, what, reason }, MOST_EVENTS);
    }

    /// Writes what concerns no single user.
    pub fn note_command(&mut self, time: Time, what: What, (tenant, room): (u16, u64), count: usize) {
        if self.is_on {
            let (stamp, session, count) = (0, 0, count as u32);
            self.events.push(Record { time, stamp, who: room, session, count, tenant, what, reason: 0 }, MOST_EVENTS);
        }
    }

    /// Writes that an event was emitted, and whether a session of this relay was to get it. Equal ones of a minute are one record.
    pub fn note_event(&mut self, time: Time, recipient: Recipient, subject: Subject, is_sent: bool) {
        if self.is_on {
            let Subject { tenant, who, session } = subject;
            let (what, stamp, reason) = (What::Emitted(recipient), time.micros(), u8::from(!is_sent));
            let record = Record { time, stamp, who, session, count: 1, tenant, what, reason };
            self.emitted.gather(record, MOST_EMITTED);
        }
    }

    /// Writes that a login was refused.
    pub fn note_refused_login(&mut self, time: Time, (tenant, userid): (u16, &str), reason: &Reason<'_>) {
        let who = self.user(tenant, userid);
        self.note_refusal(time, What::Refused, Subject { tenant, who, session: 0 }, 1, reason);
    }

    /// Writes that something about a session of a user was refused.
    pub fn note_failure(
        &mut self,
        time: Time,
        what: What,
        (tenant, who): (u16, u64),
        session: SessionKey,
        reason: &Reason<'_>,
    ) {
        let session = session.key().to_bits();
        self.note_refusal(time, what, Subject { tenant, who, session }, 1, reason);
    }

    /// Writes that something was refused or is missing, `count` times. If the same happened in the last minute, it is added to
    /// that.
    pub fn note_refusal(&mut self, time: Time, what: What, subject: Subject, count: u64, reason: &Reason<'_>) {
        if !self.is_on {
            return;
        }
        let Subject { tenant, who, session } = subject;
        let (reason, count) = (self.reason(reason), u32::try_from(count).unwrap_or(u32::MAX));
        let record = Record { time, stamp: time.micros(), who, session, count, tenant, what, reason };
        self.refusals.gather(record, MOST_REFUSALS);
    }

    /// Drops the records of these sources, because their indexes belong to others now.
    pub fn forget(&mut self, tenants: &HashSet<u16>) {
        if tenants.is_empty() {
            return;
        }
        for ring in [&mut self.events, &mut self.emitted, &mut self.refusals] {
            ring.records.retain(|record| !tenants.contains(&record.tenant));
        }
    }

    /// Drops the records of events in a namespace, because its index belongs to another one now.
    pub fn forget_namespace(&mut self, index: u64) {
        let is_of = |record: &Record| record.session == index && record.what != What::Emitted(Recipient::Session);
        self.emitted.records.retain(|record| !is_of(record));
    }

    /// The records, the oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let mut rings = [&self.events, &self.emitted, &self.refusals].map(|ring| ring.records.iter().peekable());
        core::iter::from_fn(move || {
            let times = rings.iter_mut().map(|ring| ring.peek().map(|record| record.time)).enumerate();
            let (_, next) = times.filter_map(|(index, time)| Some((time?, index))).min()?;
            rings[next].next()
        })
    }

    /// The records of publications and sessions, the oldest first: all but refusals and events.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.events.records.iter()
    }

    /// Since when it has all publications, and all that has happened to sessions. `None`: since relay was started.
    pub fn since(&self) -> Option<Time> {
        self.events.since()
    }

    /// Since when it has all refusals. `None`: since relay was started.
    pub fn refusals_since(&self) -> Option<Time> {
        self.refusals.since()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        [&self.events, &self.emitted, &self.refusals]
            .iter()
            .map(|ring| ring.records.capacity() * size_of::<Record>())
            .sum()
    }

    /// The hash of a user of a source.
    pub fn user(&self, tenant: u16, userid: &str) -> u64 {
        self.hasher.hash_one((tenant, userid))
    }

    /// Why it has happened; empty if that was not noted.
    pub fn why(&self, record: &Record, language: Language) -> &str {
        if !has_reason(record.what) {
            return "";
        }
        let reason = record.reason.checked_sub(1).and_then(|index| self.reasons.get(usize::from(index)));
        reason.map_or("", |reason| reason.text(language))
    }

    /// The relay that has given out the id of a publication: `None` for this one. It is 0 if it is not known which one.
    pub fn origin(&self, record: &Record) -> Option<u32> {
        let index = record.reason.checked_sub(1)?;
        Some(self.nodes.get(usize::from(index)).copied().unwrap_or(0))
    }

    fn node(&mut self, node: u32) -> u8 {
        let index = self.nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
            if self.nodes.len() < MOST_NODES {
                self.nodes.push(node);
                return self.nodes.len() - 1;
            }
            MOST_NODES
        });
        index as u8 + 1
    }

    fn reason(&mut self, reason: &Reason<'_>) -> u8 {
        if reason.is_empty() {
            return 0;
        }
        let reason = reason.cut(MAX_REASON);
        if let Some(index) = self.reasons.iter().position(|known| *known == reason) {
            return index as u8 + 1;
        }
        // Texts with a name in them must not fill the memory, and those of a backend not the places of relay's own.
        let places = if reason.is_foreign() { 0..MOST_FOREIGN } else { MOST_FOREIGN..MOST_REASONS };
        self.reasons.resize(MOST_REASONS, Reason::default());
        let last = places.end - 1;
        let is_unused = |reasons: &[Reason<'_>]| (places.start..last).find(|index| reasons[*index].is_empty());
        let mut index = is_unused(&self.reasons);
        if index.is_none() {
            self.recycle();
            index = is_unused(&self.reasons);
        }
        self.reasons[index.unwrap_or(last)] = if index.is_some() { reason.into_owned() } else { OTHER };
        index.unwrap_or(last) as u8 + 1
    }

    /// Drops the reasons that no record names any more, once in a while.
    fn recycle(&mut self) {
        let written = self.events.written + self.refusals.written;
        if written - self.recycled < RECYCLE {
            return;
        }
        self.recycled = written;
        let mut used = [false; MOST_REASONS + 1];
        for record in self.events.records.iter().chain(&self.refusals.records) {
            if has_reason(record.what) {
                used[usize::from(record.reason)] = true;
            }
        }
        let free = self.reasons.iter_mut().zip(&used[1..]).filter(|(_, used)| !**used);
        free.for_each(|(reason, _)| *reason = Reason::default());
    }
}

/// Records, the oldest first.
#[derive(Default)]
struct Ring {
    records: VecDeque<Record>,
    /// How many were written.
    written: u64,
    /// Whether some were dropped for newer ones.
    is_cut: bool,
}

impl Ring {
    fn push(&mut self, record: Record, most: usize) {
        self.written += 1;
        let length = self.records.len();
        if length >= most {
            self.records.pop_front();
            self.is_cut = true;
        } else if length == self.records.capacity() {
            // It would grow to twice its size, beyond what it needs.
            self.records.reserve_exact(length.clamp(FIRST, most - length));
        }
        self.records.push_back(record);
    }

    /// Adds a record, or counts it in an equal one of the last minute.
    fn gather(&mut self, record: Record, most: usize) {
        let parts = |record: &Record| (record.what, record.tenant, record.who, record.session, record.reason);
        let is_same = |known: &&mut Record| parts(known) == parts(&record) && record.time.since(known.time) < GATHER;
        match self.records.iter_mut().rev().take(COMPARED).find(is_same) {
            Some(known) => {
                known.count = known.count.saturating_add(record.count);
                known.stamp = record.stamp;
            }
            None => self.push(record, most),
        }
    }

    fn since(&self) -> Option<Time> {
        self.records.front().filter(|_| self.is_cut).map(|record| record.time)
    }
}

/// Whether records of this kind name a reason.
fn has_reason(what: What) -> bool {
    !matches!(what, What::Published | What::Kept | What::Emitted(_))
}

/// Records of the rings: together 36,864 in 1.4 MiB.
const MOST_EVENTS: usize = 28_672;
const MOST_EMITTED: usize = 4096;
const MOST_REFUSALS: usize = 4096;
/// The first size of a ring.
const FIRST: usize = 64;
/// For how long equal refusals are gathered in one record, and with how many records a new one is compared.
const GATHER: Duration = Duration::from_secs(60);
const COMPARED: usize = 32;
/// Places for texts that are not relay's own.
const MOST_FOREIGN: usize = 100;
/// Reasons, and their bytes in a language.
const MOST_REASONS: usize = 200;
const MAX_REASON: usize = 120;
/// The last reason, which stands for all others.
const OTHER: Reason<'static> = Reason::fixed("another reason", "其他原因");
/// How many records are written between two looks at which reasons are used.
const RECYCLE: u64 = 1024;
/// Other relays that publications name.
const MOST_NODES: usize = 254;

#[cfg(test)]
mod tests;
