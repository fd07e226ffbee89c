//! Wrong admin tokens, counted by address.

use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use std::collections::HashMap;

use crate::clock::Time;

/// Who guessed admin tokens wrong. While an address must wait, a short token is refused there though it be right. Each address may do so ten times, and then once in six seconds: a program that tries
/// words gets through 14,400 a day.
#[derive(Default)]
pub struct Guesses {
    /// By address: when all its wrong guesses will be forgiven.
    forgiven: HashMap<Ipv6Addr, Time>,
}

impl Guesses {
    /// How long an address must wait before it may show a token again; nothing if it need not.
    pub fn wait(&self, who: Ipv6Addr, now: Time) -> Option<Duration> {
        let over = self.forgiven.get(&who)?.since(now).checked_sub(EACH * (BURST - 1))?;
        (!over.is_zero()).then_some(over)
    }

    /// One more wrong token; whether it was the last that the address had.
    pub fn wrong(&mut self, who: Ipv6Addr, now: Time) -> bool {
        if self.forgiven.len() >= MOST_GUESSERS {
            self.forgiven.retain(|_, forgiven| *forgiven > now);
        }
        // With so many guessers at once the one to be forgiven first is forgotten.
        if self.forgiven.len() >= MOST_GUESSERS
            && let Some(first) = self.forgiven.iter().min_by_key(|(_, forgiven)| **forgiven).map(|(who, _)| *who)
        {
            self.forgiven.remove(&first);
        }
        let forgiven = self.forgiven.entry(who).or_insert(now);
        *forgiven = (*forgiven).max(now).after(EACH);
        self.wait(who, now).is_some()
    }
}

/// Whose guesses are counted together: an address of version 4, or a network of version 6, which one customer has.
pub fn guesser(ip: Option<IpAddr>) -> Ipv6Addr {
    match ip {
        Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
        Some(IpAddr::V6(ip)) => Ipv6Addr::from(u128::from(ip) >> 64 << 64),
        None => Ipv6Addr::UNSPECIFIED,
    }
}

/// Wrong tokens an address has.
pub const BURST: u32 = 10;
/// How long it takes to get one back.
const EACH: Duration = Duration::from_secs(6);
/// Addresses whose guesses are remembered.
const MOST_GUESSERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        guesser(text.parse().ok())
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn guesses_are_slowed() {
        let mut guesses = Guesses::default();
        let who = ip("192.0.2.1");
        let locked: Vec<_> = (0..10).map(|_| guesses.wrong(who, at(100))).collect();
        assert_eq!(locked.iter().filter(|locked| **locked).count(), 1, "the tenth is the last");
        assert_eq!(guesses.wait(who, at(100)), Some(Duration::from_secs(6)));
        assert_eq!(guesses.wait(who, at(105)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wait(who, at(106)), None);
        assert!(guesses.wrong(who, at(106)), "one more, and again a wait");
        assert_eq!(guesses.wait(ip("192.0.2.2"), at(106)), None, "others do not wait");
        assert_eq!(guesses.wait(who, at(200)), None);
    }

    #[test]
    fn networks_of_version_6() {
        assert_eq!(ip("2001:db8:1:2:3::4"), ip("2001:db8:1:2:ffff::"));
        assert_ne!(ip("2001:db8:1:2::"), ip("2001:db8:1:3::"));
        assert_ne!(guesser(None), ip("0.0.0.0"));
    }

    #[test]
    fn guessers_are_bounded() {
        let mut guesses = Guesses::default();
        let held = ip("192.0.2.1");
        for _ in 0..10 {
            guesses.wrong(held, at(1));
        }
        for number in 0..100_000u128 {
            guesses.wrong(Ipv6Addr::from(number << 64 | 1 << 127), at(1));
        }
        assert_eq!(guesses.forgiven.len(), MOST_GUESSERS);
        assert!(guesses.wait(held, at(1)).is_some(), "who has guessed most is remembered longest");
        guesses.wrong(held, at(1000));
        assert_eq!(guesses.forgiven.len(), 1, "the rest is forgiven");
    }
}
