//! User look-ups: whether another relay has sessions of a user. An event for the user is itself the question; its
//! sender gets an error only if no relay has the user.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
};

use crate::{clock::Time, key::SessionKey};

/// A question of a session about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserQuery {
    /// An event was published for a user. Its sender gets an error if no relay has the user.
    Reach {
        /// The sender.
        session: SessionKey,
        /// The acknowledgement that it wants from the user.
        ack: Option<Box<str>>,
        /// The number of the pending acknowledgement.
        pending: Option<u64>,
    },
    /// Whether the user is online.
    Status {
        /// The session that asks.
        session: SessionKey,
        /// The acknowledgement that it wants.
        ack: Option<Box<str>>,
    },
}

/// Open look-ups, by number.
#[derive(Default)]
pub struct UserLookups {
    last: u64,
    /// The query, and the relays that have not answered.
    open: BTreeMap<u64, (UserQuery, BTreeSet<Box<str>>)>,
    /// In the order of their deadlines, since all take the same time.
    due: VecDeque<(Time, u64)>,
}

impl UserLookups {
    /// Opens a look-up that waits for the answers of `nodes`. Returns its number, or the query if too many are open.
    pub fn open(&mut self, query: UserQuery, nodes: BTreeSet<Box<str>>, now: Time) -> Result<u64, UserQuery> {
        if self.open.len() >= MOST_LOOKUPS {
            return Err(query);
        }
        let number = match query {
            // Other relays send acknowledgements with this number as well.
            UserQuery::Reach { pending: Some(pending), .. } => pending,
            _ => {
                self.last += 1;
                // So that it differs from the numbers of pending acknowledgements.
                self.last | 1 << 48
            }
        };
        self.open.insert(number, (query, nodes));
        self.due.push_back((now.after(PATIENCE), number));
        Ok(number)
    }

    /// Handles the answer of a relay. Returns the query and whether the user was found, once that is known.
    pub fn answer(&mut self, number: u64, node: &str, found: bool) -> Option<(UserQuery, bool)> {
        let (_, waiting) = self.open.get_mut(&number)?;
        waiting.remove(node);
        if !found && !waiting.is_empty() {
            return None;
        }
        let (query, _) = self.open.remove(&number)?;
        if self.due.len() > 2 * self.open.len() + 64 {
            self.due.retain(|(_, number)| self.open.contains_key(number));
        }
        while self.due.front().is_some_and(|(_, number)| !self.open.contains_key(number)) {
            self.due.pop_front();
        }
        Some((query, found))
    }

    /// Takes all queries, because no answers will come.
    pub fn take_all(&mut self) -> Vec<UserQuery> {
        self.due.clear();
        mem::take(&mut self.open).into_values().map(|(query, _)| query).collect()
    }

    /// Takes the queries that were not answered in time.
    pub fn expire(&mut self, now: Time) -> Vec<UserQuery> {
        let mut expired = Vec::new();
        while let Some((_, number)) = self.due.front().filter(|(due, _)| *due <= now) {
            expired.extend(self.open.remove(number).map(|(query, _)| query));
            self.due.pop_front();
        }
        expired
    }

    /// When the next query expires.
    pub fn deadline(&self) -> Time {
        self.due.front().map_or(Time::NEVER, |(due, _)| *due)
    }
}

/// The most look-ups that may be open.
const MOST_LOOKUPS: usize = 10_000;
/// How long to wait for the answers of other relays.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Handle, Key};

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn status() -> UserQuery {
        UserQuery::Status { session: SessionKey::wrap(Key::from_bits(1 << 32).unwrap()), ack: None }
    }

    fn nodes(names: &[&str]) -> BTreeSet<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn the_first_to_find_or_the_last_not_to_find_decides() {
        let mut lookups = UserLookups::default();
        let one = lookups.open(status(), nodes(&["a", "b"]), at(0)).unwrap();
        let two = lookups.open(status(), nodes(&["a", "b"]), at(500)).unwrap();
        assert_ne!(one, two);
        assert_eq!(lookups.answer(one, "a", false), None);
        assert_eq!(lookups.answer(one, "a", false), None);
        assert_eq!(lookups.deadline(), at(1000));
        assert_eq!(lookups.answer(one, "b", false), Some((status(), false)));
        assert_eq!(lookups.deadline(), at(1500));
        assert_eq!(lookups.answer(two, "b", true), Some((status(), true)));
        assert_eq!((lookups.answer(two, "a", true), lookups.deadline()), (None, Time::NEVER));
    }

    #[test]
    fn an_acknowledgement_and_its_lookup_have_one_number() {
        let mut lookups = UserLookups::default();
        let session = SessionKey::wrap(Key::from_bits(1 << 32).unwrap());
        let query = UserQuery::Reach { session, ack: Some("5".into()), pending: Some(7) };
        assert_eq!(lookups.open(query.clone(), nodes(&["a"]), at(0)), Ok(7));
        assert_eq!(lookups.answer(7, "a", true), Some((query, true)));
        assert!(lookups.open(status(), nodes(&["a"]), at(0)).unwrap() > 1 << 48);
    }

    #[test]
    fn lookups_expire_and_are_bounded() {
        let mut lookups = UserLookups::default();
        lookups.open(status(), nodes(&["a"]), at(0)).unwrap();
        lookups.open(status(), nodes(&["a"]), at(1)).unwrap();
        assert_eq!(lookups.expire(at(999)).len(), 0);
        assert_eq!((lookups.expire(at(1000)).len(), lookups.deadline()), (1, at(1001)));
        assert_eq!((lookups.take_all().len(), lookups.deadline()), (1, Time::NEVER));
        for _ in 0..MOST_LOOKUPS {
            lookups.open(status(), nodes(&["a"]), at(0)).unwrap();
        }
        assert!(lookups.open(status(), nodes(&["a"]), at(0)).is_err());
    }
}
