//! A receipt that waits: for the counts of other relays, or until clients are known to have the message.

use core::time::Duration;
use std::{collections::BTreeSet, rc::Rc};

use smallvec::SmallVec;

use super::{
    count::{Count, Names},
    receipt::Receipt,
};
use crate::{
    clock::Time,
    key::{ClientKey, SessionKey},
    state::Keyed,
};

/// A receipt that is not done.
#[derive(Debug)]
pub struct Open {
    /// The sessions and users that get it.
    pub asker: Asker,
    /// The receipt as far as it is known.
    pub receipt: Receipt,
    /// The other relays that have not counted.
    counting: BTreeSet<Box<str>>,
    counts_until: Time,
    /// The clients that are waited for, if that was asked for.
    pub waiting: Option<Waiting>,
    /// The time of its entry among the deadlines.
    pub armed: Time,
}

/// Who gets a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A backend.
    Backend {
        /// The number of the answer that the receipt is a part of.
        answer: u64,
        /// The number of this receipt among those that the answer waits for.
        place: usize,
        /// The key of the request.
        keyed: Option<Keyed>,
    },
    /// Another relay, which has given the receipt this number.
    Relay(Box<str>, u64),
}

/// The clients that must be known to have a message.
#[derive(Debug)]
pub struct Waiting {
    /// They must have all messages up to this stamp.
    pub stamp: u64,
    /// How long to wait.
    until: Time,
    /// Those that it was queued for with their sessions, in order; without sessions, they are not waited for any more.
    clients: Vec<(ClientKey, SmallVec<[SessionKey; 1]>)>,
    /// How many are waited for.
    left: usize,
    /// The other relays that wait for their clients.
    relays: BTreeSet<Box<str>>,
    /// The sessions that have got it.
    acked: u64,
    /// Their users, in any order, and one several times if it has several sessions.
    users: Vec<Box<str>>,
    /// Users that other relays have not named.
    more: u64,
}

impl Waiting {
    /// Waits until `until` for the clients of sessions, which must have all messages up to a stamp.
    pub fn new(stamp: u64, until: Time, mut sessions: Vec<(ClientKey, SessionKey)>) -> Waiting {
        sessions.sort_unstable();
        sessions.dedup();
        let mut clients: Vec<(ClientKey, SmallVec<[SessionKey; 1]>)> = Vec::with_capacity(sessions.len());
        for (client, session) in sessions {
            match clients.last_mut().filter(|(last, _)| *last == client) {
                Some((_, sessions)) => sessions.push(session),
                None => clients.push((client, SmallVec::from_buf([session]))),
            }
        }
        let left = clients.len();
        Waiting { stamp, until, clients, left, relays: BTreeSet::new(), acked: 0, users: Vec::new(), more: 0 }
    }

    /// The number of clients that are waited for.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The clients that are waited for.
    pub fn clients(&self) -> impl Iterator<Item = ClientKey> {
        self.clients.iter().filter(|(_, sessions)| !sessions.is_empty()).map(|(client, _)| *client)
    }

    /// Waits no longer for a client. Returns its sessions, or none if it was not waited for.
    pub fn take(&mut self, client: ClientKey) -> SmallVec<[SessionKey; 1]> {
        let found = self.clients.binary_search_by_key(&client, |(client, _)| *client);
        let sessions = found.map(|index| core::mem::take(&mut self.clients[index].1)).unwrap_or_default();
        self.left -= usize::from(!sessions.is_empty());
        sessions
    }

    /// The sessions that have got the message, and their users.
    fn acked(&self) -> (u64, Names) {
        let mut names = Names::new(self.users.iter().map(|user| &**user).collect());
        names.more = names.more.saturating_add(self.more);
        (self.acked, names)
    }
}

impl Open {
    /// A receipt that waits for the counts of `relays` and, with `waiting`, for clients.
    pub fn new(
        asker: Asker,
        receipt: Receipt,
        relays: BTreeSet<Box<str>>,
        waiting: Option<Waiting>,
        now: Time,
    ) -> Open {
        Open { asker, receipt, counting: relays, counts_until: now.after(PATIENCE), waiting, armed: Time::NEVER }
    }

    /// Handles the counts of another relay, by room. `waits` says whether it will tell who has got the message.
    pub fn handle_counts(&mut self, node: &str, counts: Vec<Count>, waits: bool) {
        if !self.counting.remove(node) {
            return;
        }
        if counts.len() != self.receipt.rooms.len() {
            self.receipt.complete = false;
            return;
        }
        if let Some(waiting) = &mut self.waiting {
            if waits {
                waiting.relays.insert(node.into());
            } else if counts.iter().any(|count| count.sessions > 0) {
                self.receipt.complete = false;
            }
        }
        for (room, count) in self.receipt.rooms.iter_mut().zip(counts) {
            room.counts.push(Rc::new(count));
        }
    }

    /// Handles the last word of another relay about who has got the message.
    pub fn handle_acked(&mut self, node: &str, sessions: u64, users: Names) {
        let Some(waiting) = &mut self.waiting else { return };
        if !waiting.relays.remove(node) {
            return;
        }
        waiting.acked = waiting.acked.saturating_add(sessions);
        waiting.users.extend(users.list);
        waiting.more = waiting.more.saturating_add(users.more);
    }

    /// Notes that a client has got the message. `user` are the users of sessions. Returns whether it was waited for.
    pub fn ack<'a>(&mut self, client: ClientKey, user: impl Fn(SessionKey) -> &'a str) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let sessions = waiting.take(client);
        waiting.acked += sessions.len() as u64;
        if self.receipt.names {
            let users = sessions.iter().map(|session| user(*session)).filter(|user| !user.is_empty());
            waiting.users.extend(users.map(Box::from));
        }
        !sessions.is_empty()
    }

    /// Gives up what has taken too long.
    pub fn expire(&mut self, now: Time) {
        if now >= self.counts_until {
            self.receipt.complete &= self.counting.is_empty();
            self.counting.clear();
        }
        if let Some(waiting) = &mut self.waiting
            && now >= waiting.until.after(PATIENCE)
        {
            self.receipt.complete &= waiting.relays.is_empty();
            waiting.relays.clear();
        }
    }

    /// Whether there is nothing more to wait for.
    pub fn is_done(&self, now: Time) -> bool {
        let acked = |waiting: &Waiting| waiting.relays.is_empty() && (waiting.left == 0 || now >= waiting.until);
        self.counting.is_empty() && self.waiting.as_ref().is_none_or(acked)
    }

    /// When to call [`Open::expire`] next.
    pub fn deadline(&self, now: Time) -> Time {
        let counts = if self.counting.is_empty() { Time::NEVER } else { self.counts_until };
        let Some(waiting) = &self.waiting else { return counts };
        let clients = if waiting.left == 0 || now >= waiting.until { Time::NEVER } else { waiting.until };
        let relays = if waiting.relays.is_empty() { Time::NEVER } else { waiting.until.after(PATIENCE) };
        counts.min(clients).min(relays)
    }

    /// The receipt as it is now. It is incomplete if other relays have not answered.
    pub fn snapshot(&self) -> Receipt {
        let mut receipt = self.receipt.clone();
        let relays = self.waiting.as_ref().map_or(0, |waiting| waiting.relays.len());
        receipt.complete &= self.counting.is_empty() && relays == 0;
        receipt.acked = self.waiting.as_ref().map(Waiting::acked);
        receipt
    }

    /// How many names its counts have, as a measure of its memory.
    pub fn name_count(&self) -> usize {
        let counts = self.receipt.rooms.iter().flat_map(|room| &room.counts);
        counts.map(|count| count.users.list.len() + count.away.list.len()).sum()
    }
}

/// How long to wait for the counts of other relays, and for their last word after the time that the backend has given.
const PATIENCE: Duration = Duration::from_millis(200);
