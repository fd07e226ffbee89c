//! The sessions that are not away, by who they are.

use core::{cmp::Reverse, net::IpAddr};
use std::collections::{BTreeSet, HashMap};

use super::away::first_key;
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
    known: HashMap<SessionKey, (Known, Option<IpAddr>, u64)>,
    /// By identity and address, the newest first.
    by_address: BTreeSet<(u64, Option<IpAddr>, Reverse<u64>, SessionKey)>,
    logins: u64,
}

impl Live {
    /// Adds a session that has come from an address.
    pub fn add(&mut self, session: SessionKey, known: Known, ip: Option<IpAddr>) {
        self.logins += 1;
        self.known.insert(session, (known, ip, self.logins));
        if let Some(identity) = known.identity {
            self.by_address.insert((identity, ip, Reverse(self.logins), session));
        }
    }

    /// What is remembered of a session.
    pub fn get(&self, session: SessionKey) -> Option<Known> {
        self.known.get(&session).map(|(known, ..)| *known)
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionKey) -> Option<Known> {
        let (known, ip, login) = self.known.remove(&session)?;
        if let Some(identity) = known.identity {
            self.by_address.remove(&(identity, ip, Reverse(login), session));
        }
        Some(known)
    }

    /// The sessions that are the same as a new one from an address: those of that address first.
    pub fn find(&self, identity: u64, ip: Option<IpAddr>) -> impl Iterator<Item = SessionKey> {
        let near = self.by_address.range((identity, ip, Reverse(u64::MAX), first_key())..);
        let near = near.take_while(move |(of, at, ..)| (*of, *at) == (identity, ip));
        let all = self.by_address.range((identity, None, Reverse(u64::MAX), first_key())..);
        let others = all.take_while(move |(of, ..)| *of == identity).filter(move |(_, at, ..)| *at != ip);
        near.chain(others).map(|(.., session)| *session)
    }

    /// All sessions.
    #[cfg(feature = "fuzzing")]
    pub fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        self.known.keys().copied()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Handle, Key};

    #[test]
    fn the_nearest_and_newest_are_found_first() {
        let key = |index: u64| SessionKey::wrap(Key::from_bits((1 << 32) | index).unwrap());
        let ip = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let known = |identity| Known { identity: Some(identity), list: 0, user: 0, is_proven: false };
        let mut live = Live::default();
        for (index, identity, from) in [(5, 1, ip(2)), (4, 1, ip(1)), (3, 1, ip(2)), (2, 2, ip(2)), (1, 1, None)] {
            live.add(key(index), known(identity), from);
        }
        let found = |live: &Live, from| live.find(1, from).collect::<Vec<_>>();
        assert_eq!(found(&live, ip(2)), [3, 5, 1, 4].map(key));
        assert_eq!(found(&live, ip(9)), [1, 4, 3, 5].map(key));
        live.remove(key(3));
        assert_eq!((found(&live, None), live.len()), ([1, 4, 5].map(key).to_vec(), 4));
    }
}
