//! The sessions that are not away, by who they are.

use std::collections::{BTreeSet, HashMap};

use crate::key::SessionKey;

/// What is remembered of a session in case it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who it is; `None` if only its `pid` can bring it back.
    pub identity: Option<u64>,
    /// A hash of the rooms that its login named.
    pub list: u64,
    /// A hash of the user that its login named.
    pub user: u64,
    /// Whether its login proves that it is this user.
    pub is_proven: bool,
}

/// The sessions that will be away when they are lost.
#[derive(Default)]
pub struct Live {
    known: HashMap<SessionKey, Known>,
    by_identity: BTreeSet<(u64, SessionKey)>,
}

impl Live {
    /// Adds a session.
    pub fn add(&mut self, session: SessionKey, known: Known) {
        self.known.insert(session, known);
        if let Some(identity) = known.identity {
            self.by_identity.insert((identity, session));
        }
    }

    /// What is remembered of a session.
    pub fn get(&self, session: SessionKey) -> Option<Known> {
        self.known.get(&session).copied()
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionKey) -> Option<Known> {
        let known = self.known.remove(&session)?;
        if let Some(identity) = known.identity {
            self.by_identity.remove(&(identity, session));
        }
        Some(known)
    }

    /// The sessions that are the same as a new one.
    pub fn find(&self, identity: u64) -> impl Iterator<Item = SessionKey> {
        let found = self.by_identity.range((identity, super::away::first_key())..);
        found.take_while(move |(of, _)| *of == identity).map(|(_, session)| *session)
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
