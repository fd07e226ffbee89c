//! Rate limiting of wrong admin tokens, by client address.

use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use std::collections::HashMap;

use crate::clock::{Throttle, Time};

/// The token buckets of addresses that sent wrong admin tokens. Each address may send ten wrong tokens, then one every six
/// seconds, which is 14,400 a day. During a lock-out even a correct short token is refused.
#[derive(Default)]
pub struct Guesses {
    /// When the bucket of each address will be full again.
    refilled_at: HashMap<Ipv6Addr, Time>,
    warnings: Throttle,
}

impl Guesses {
    /// Whether to log a lock-out: anyone can cause them. Returns how many were not logged since the last one.
    pub fn may_warn(&mut self, now: Time) -> Option<u64> {
        self.warnings.pass(WARNING_INTERVAL, now)
    }

    /// How long an address must wait until its next token is checked; `None` if it need not wait.
    pub fn wait(&self, network: Ipv6Addr, now: Time) -> Option<Duration> {
        let over = self.refilled_at.get(&network)?.since(now).checked_sub(REFILL_INTERVAL * (BURST - 1))?;
        (!over.is_zero()).then_some(over)
    }

    /// Counts a wrong token. Returns whether the address must wait from now on.
    pub fn record(&mut self, network: Ipv6Addr, now: Time) -> bool {
        if self.refilled_at.len() >= MAX_ADDRESSES {
            self.refilled_at.retain(|_, refilled_at| *refilled_at > now);
        }
        // At the limit, drop the address whose bucket will be full earliest.
        if self.refilled_at.len() >= MAX_ADDRESSES
            && let Some(first) =
                self.refilled_at.iter().min_by_key(|(_, refilled_at)| **refilled_at).map(|(network, _)| *network)
        {
            self.refilled_at.remove(&first);
        }
        let refilled_at = self.refilled_at.entry(network).or_insert(now);
        *refilled_at = (*refilled_at).max(now).after(REFILL_INTERVAL);
        self.wait(network, now).is_some()
    }
}

/// The key under which an address is counted: the address itself for IPv4, its /64 network for IPv6, because one customer
/// usually has a whole /64. Unix sockets share one key.
pub fn client_network(ip: Option<IpAddr>) -> Ipv6Addr {
    match ip {
        Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
        Some(IpAddr::V6(ip)) => Ipv6Addr::from(u128::from(ip) >> 64 << 64),
        None => Ipv6Addr::UNSPECIFIED,
    }
}

/// Wrong tokens that an address may send before it must wait.
pub const BURST: u32 = 10;
/// How long it takes until an address may send one more.
const REFILL_INTERVAL: Duration = Duration::from_secs(6);
/// The least time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// The most addresses that are remembered.
const MAX_ADDRESSES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        client_network(text.parse().ok())
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn guesses_are_slowed() {
        let mut guesses = Guesses::default();
        let network = ip("192.0.2.1");
        let locked: Vec<_> = (0..10).map(|_| guesses.record(network, at(100))).collect();
        assert_eq!(locked.iter().filter(|locked| **locked).count(), 1, "only the tenth begins a lock-out");
        assert_eq!(guesses.wait(network, at(100)), Some(Duration::from_secs(6)));
        assert_eq!(guesses.wait(network, at(105)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wait(network, at(106)), None);
        assert!(guesses.record(network, at(106)), "the next wrong token begins another lock-out");
        assert_eq!(guesses.wait(ip("192.0.2.2"), at(106)), None, "others do not wait");
        assert_eq!(guesses.wait(network, at(200)), None);
    }

    #[test]
    fn networks_of_version_6() {
        assert_eq!(ip("2001:db8:1:2:3::4"), ip("2001:db8:1:2:ffff::"));
        assert_ne!(ip("2001:db8:1:2::"), ip("2001:db8:1:3::"));
        assert_ne!(client_network(None), ip("0.0.0.0"));
    }

    #[test]
    fn guessers_are_bounded() {
        let mut guesses = Guesses::default();
        let locked = ip("192.0.2.1");
        for _ in 0..10 {
            guesses.record(locked, at(1));
        }
        for number in 0..100_000u128 {
            guesses.record(Ipv6Addr::from(number << 64 | 1 << 127), at(1));
        }
        assert_eq!(guesses.refilled_at.len(), MAX_ADDRESSES);
        assert!(guesses.wait(locked, at(1)).is_some(), "the address with the most wrong tokens is kept");
        guesses.record(locked, at(1000));
        assert_eq!(guesses.refilled_at.len(), 1, "full buckets are dropped");
    }
}
