//! Socket.IO clients that are in no namespace: at most a share of the places, the oldest is closed first.
//!
//! A handshake needs no login, and a polling client not even a connection. Without a share, one peer could take all
//! places within a tenth of a second.

use core::time::Duration;
use std::collections::{HashSet, VecDeque};

use super::client::Client;
use crate::{
    clock::{Throttle, Time},
    key::{ClientKey, Slots},
};

/// The clients that are in no namespace.
#[derive(Default)]
pub struct Strangers {
    /// In the order in which they arrived, or left their last namespace. Entries of clients that have joined a namespace
    /// or are gone are dropped later.
    queue: VecDeque<(Time, ClientKey)>,
    count: usize,
    warnings: Throttle,
}

impl Strangers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Removes a client that joins a namespace or ends. Call it before the client shows that.
    pub fn remove(&mut self, client: &Client) {
        self.count -= usize::from(client.is_stranger());
    }

    /// Whether to log that one is closed. Returns how many were not logged since the last time.
    pub fn may_warn(&mut self, now: Time) -> Option<u64> {
        self.warnings.pass(WARNING_INTERVAL, now)
    }

    /// How many entries the queue has.
    #[cfg(test)]
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Adds a client.
    pub fn push(&mut self, key: ClientKey, clients: &Slots<ClientKey, Client>, now: Time) {
        self.count += 1;
        self.queue.push_back((now, key));
        // Dropping stale entries costs as much as adding them did.
        if self.queue.len() > 2 * self.count + SLACK {
            let mut seen = HashSet::with_capacity(self.count);
            let is_stranger = |key: ClientKey| clients.get(key).is_some_and(Client::is_stranger);
            self.queue.retain(|(_, key)| is_stranger(*key) && seen.insert(*key));
            self.queue.shrink_to(2 * self.count + SLACK);
        }
    }

    /// Takes the oldest, if it arrived at `before` or earlier. Not one whose login waits for the backend: it would have to
    /// begin again.
    pub fn take_oldest(&mut self, clients: &Slots<ClientKey, Client>, before: Time) -> Option<ClientKey> {
        let mut skipped = 0;
        while let Some((since, key)) = self.queue.front().copied() {
            let client = clients.get(key).filter(|client| client.is_stranger());
            if client.is_some_and(|client| !client.has_pending_login()) {
                return (since <= before).then(|| self.queue.pop_front().map(|(_, key)| key)).flatten();
            }
            self.queue.pop_front();
            if client.is_some() {
                self.queue.push_back((since, key));
                skipped += 1;
                if skipped == MAX_SKIPPED.min(self.queue.len()) {
                    return None;
                }
            }
        }
        None
    }
}

impl Client {
    /// Whether this is a Socket.IO client that is in no namespace and is not being closed.
    pub fn is_stranger(&self) -> bool {
        !self.is_ending() && self.socket.as_ref().is_some_and(|socket| !socket.engine.is_connected())
    }

    /// Whether a login of this stranger waits for the backend.
    fn has_pending_login(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| !socket.sessions.is_empty())
    }
}

/// The least time between two warnings: anyone can cause them.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Clients with pending logins that are passed over in a search.
const MAX_SKIPPED: usize = 64;
/// Stale entries that are always tolerated.
const SLACK: usize = 64;
