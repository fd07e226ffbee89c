//! The sessions that are not away, by who they are.

use core::{cmp::Reverse, hash::BuildHasher, net::IpAddr};
use std::{
    collections::{BTreeSet, HashMap},
    hash::RandomState,
};

use crate::key::{Handle, Key, SessionKey};

/// What is remembered of a session in case it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who it is; `None` if only its `pid` can bring it back.
    pub identity: Option<u64>,
    /// A hash of the rooms that its login named.
    pub list: u32,
    /// A hash of the user that its login named.
    pub user: u64,
    /// Whether its login proves that it is this user.
    pub is_proven: bool,
}

/// The sessions that will be away when they are lost.
#[derive(Default)]
pub struct Live {
    known: HashMap<SessionKey, Entry>,
    /// The bits of their keys by identity and address, the newest first: keys grow with each session.
    by_address: BTreeSet<(u64, Address, Reverse<u64>)>,
    hasher: RandomState,
}

/// What is [known](Known), in 32 bytes: there is one for each session.
struct Entry {
    /// 0: none.
    identity: u64,
    user: u64,
    list: u32,
    address: Address,
    is_proven: bool,
}

/// A hash of an address: who has another one with the same hash gains nothing but a place in an order.
type Address = u32;

impl Live {
    /// Adds a session that has come from an address.
    pub fn add(&mut self, session: SessionKey, known: Known, ip: Option<IpAddr>) {
        let address = self.address(ip);
        let Known { identity, list, user, is_proven } = known;
        if let Some(identity) = identity {
            self.by_address.insert((identity, address, Reverse(session.key().to_bits())));
        }
        let identity = identity.unwrap_or(0);
        self.known.insert(session, Entry { identity, user, list, address, is_proven });
    }

    /// What is remembered of a session.
    pub fn get(&self, session: SessionKey) -> Option<Known> {
        self.known.get(&session).map(Entry::known)
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionKey) -> Option<Known> {
        let entry = self.known.remove(&session)?;
        self.by_address.remove(&(entry.identity, entry.address, Reverse(session.key().to_bits())));
        Some(entry.known())
    }

    /// The sessions that are the same as a new one from an address: those of that address first.
    pub fn find(&self, identity: u64, ip: Option<IpAddr>) -> impl Iterator<Item = SessionKey> {
        let address = self.address(ip);
        let near = self.by_address.range((identity, address, Reverse(u64::MAX))..);
        let near = near.take_while(move |(of, at, _)| (*of, *at) == (identity, address));
        let all = self.by_address.range((identity, 0, Reverse(u64::MAX))..);
        let others = all.take_while(move |(of, ..)| *of == identity).filter(move |(_, at, _)| *at != address);
        near.chain(others).filter_map(|(.., Reverse(bits))| Key::from_bits(*bits)).map(SessionKey::wrap)
    }

    fn address(&self, ip: Option<IpAddr>) -> Address {
        self.hasher.hash_one(ip) as Address
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

impl Entry {
    fn known(&self) -> Known {
        let Entry { identity, user, list, is_proven, .. } = *self;
        Known { identity: Some(identity).filter(|identity| *identity != 0), list, user, is_proven }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_and_newest_are_found_first() {
        let key = |number: u64| SessionKey::wrap(Key::from_bits((number << 32) | (9 - number)).unwrap());
        let ip = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let known = |identity| Known { identity: Some(identity), list: 0, user: 0, is_proven: false };
        let mut live = Live::default();
        for (number, identity, from) in [(1, 1, ip(2)), (2, 1, ip(1)), (3, 1, ip(2)), (4, 2, ip(2)), (5, 1, None)] {
            live.add(key(number), known(identity), from);
        }
        let found = |live: &Live, from, near: usize| {
            let mut found: Vec<_> = live.find(1, from).collect();
            found[near..].sort_by_key(|key| key.key().to_bits());
            found
        };
        assert_eq!(found(&live, ip(2), 2), [3, 1, 2, 5].map(key));
        assert_eq!(found(&live, ip(9), 0), [1, 2, 3, 5].map(key));
        live.remove(key(3));
        assert_eq!((found(&live, None, 1), live.known.len()), ([5, 1, 2].map(key).to_vec(), 4));
    }
}
