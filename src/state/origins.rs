//! How many connections and clients each address has (`limits.per_address`).
//!
//! An address costs an entry of 16 bytes and a place in the table while something from it is open, and nothing
//! afterwards. Connections and clients keep the number of their entry: four bytes, which fit where the address does not.

use core::{
    hash::BuildHasher,
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};
use std::hash::RandomState;

use hashbrown::HashTable;
use log::warn;
use slab::Slab;

use crate::{
    clock::{Throttle, Time},
    config::Network,
    key::OriginKey,
};

/// An address that is counted: an IPv4 address, or a /64 network of IPv6, because one customer usually has a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(NonZeroU64);

impl Origin {
    /// The origin of a peer or of a client behind proxies. `None` for those that are not counted: peers of Unix sockets,
    /// loopback addresses and trusted proxies, which stand for many clients.
    pub fn new(ip: Option<IpAddr>, trusted: &[Network]) -> Option<Origin> {
        let ip = ip?.to_canonical();
        if ip.is_loopback() || trusted.iter().any(|network| network.contains(Some(ip))) {
            return None;
        }
        let bits = match ip {
            // No network of IPv6 that is in use begins with 32 zeros (RFC 4291 section 4).
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        NonZeroU64::new(bits).map(Origin)
    }
}

/// The origins of open connections and clients.
#[derive(Default)]
pub struct Origins {
    entries: Slab<Entry>,
    /// The indexes of the entries, by origin.
    table: HashTable<u32>,
    hasher: RandomState,
    warnings: Throttle,
}

struct Entry {
    origin: Origin,
    count: NonZeroU32,
}

impl Origins {
    /// How many connections and clients an origin has.
    pub fn count(&self, origin: Origin) -> u64 {
        self.find(origin).map_or(0, |index| self.entries[index as usize].count.get().into())
    }

    /// Counts a connection or a client. It must [leave](Origins::leave) with the key.
    pub fn enter(&mut self, origin: Origin) -> OriginKey {
        if let Some(index) = self.find(origin) {
            let entry = &mut self.entries[index as usize];
            entry.count = entry.count.saturating_add(1);
            return OriginKey::new(index);
        }
        let index = self.entries.insert(Entry { origin, count: NonZeroU32::MIN });
        let index = u32::try_from(index).expect("fewer than 2^32 origins: each belongs to a connection");
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |index: &u32| hasher.hash_one(entries[*index as usize].origin.0);
        self.table.insert_unique(hasher.hash_one(origin.0), index, hash);
        OriginKey::new(index)
    }

    /// Forgets a connection or a client, and the origin with its last one.
    pub fn leave(&mut self, key: OriginKey) {
        let index = key.index();
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        if let Some(count) = NonZeroU32::new(entry.count.get() - 1) {
            entry.count = count;
            return;
        }
        let hash = self.hasher.hash_one(entry.origin.0);
        if let Ok(found) = self.table.find_entry(hash, |other| *other == index) {
            found.remove();
        }
        self.entries.remove(index as usize);
        if self.entries.is_empty() {
            (self.entries, self.table) = (Slab::new(), HashTable::new());
        }
    }

    /// The number of origins.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Logs that something from `ip` was refused, now and then.
    pub fn warn(&mut self, ip: Option<IpAddr>, limit: u64, now: Time) {
        if let (Some(ip), Some(left_out)) = (ip, self.warnings.pass(WARNING_INTERVAL, now)) {
            warn!(
                "{ip} has {limit} connections and sessions, as many as limits.per_address allows: more are refused \
                 ({left_out} others were refused since the last such line). If this is a proxy, add it to trusted_proxies"
            );
        }
    }

    fn find(&self, origin: Origin) -> Option<u32> {
        let hash = self.hasher.hash_one(origin.0);
        self.table.find(hash, |index| self.entries[*index as usize].origin == origin).copied()
    }
}

/// The least time between two warnings: anyone can cause them.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(ip: &str) -> Option<Origin> {
        let trusted = ["10.0.0.0/8", "unix"].map(|network| Network::parse(network).unwrap());
        Origin::new(ip.parse().ok(), &trusted)
    }

    #[test]
    fn what_is_counted() {
        for ip in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "10.1.2.3", "unix", "0.0.0.0"] {
            assert_eq!(origin(ip), None, "{ip}");
        }
        assert_eq!(origin("192.0.2.1"), origin("::ffff:192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("2001:db8:1:2::3"), origin("2001:db8:1:2:ffff::"));
        assert_ne!(origin("2001:db8:1:2::3"), origin("2001:db8:1:3::3"));
        let private = Origin::new("10.1.2.3".parse().ok(), &[]);
        assert!(private.is_some(), "a private address that is no trusted proxy");
    }

    #[test]
    fn nothing_is_kept_of_an_address_that_left() {
        let mut origins = Origins::default();
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|ip| origin(ip).unwrap());
        let keys = [origins.enter(one), origins.enter(two), origins.enter(one)];
        assert_eq!((origins.count(one), origins.count(two), origins.len()), (2, 1, 2));
        origins.leave(keys[0]);
        assert_eq!((origins.count(one), origins.count(two), origins.len()), (1, 1, 2));
        origins.leave(keys[2]);
        assert_eq!((origins.count(one), origins.count(two), origins.len()), (0, 1, 1));
        origins.leave(keys[1]);
        assert!(origins.is_empty() && origins.entries.capacity() == 0 && origins.table.capacity() == 0);
        // Many addresses, in a mixed order.
        let mut open = Vec::new();
        for number in 0..20_000_u64 {
            open.push(origins.enter(Origin(NonZeroU64::new(number % 7000 + 1).unwrap())));
            if number % 3 == 0 {
                let at = (number * 31 % open.len() as u64) as usize;
                origins.leave(open.swap_remove(at));
            }
        }
        let counted: u64 = (1..=7000).map(|number| origins.count(Origin(NonZeroU64::new(number).unwrap()))).sum();
        assert_eq!((counted, origins.table.len()), (open.len() as u64, origins.len()));
        open.into_iter().for_each(|key| origins.leave(key));
        assert!(origins.is_empty() && origins.table.is_empty());
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!((size_of::<Entry>(), size_of::<Option<OriginKey>>()), (16, 4));
    }
}
