//! What logins allow that end at some time, or that allow less than others (docs/protocol.md, Logins that expire).
//!
//! They are beside the sessions and not in them, so that a session without one is not larger.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use crate::{
    clock::{Now, Time},
    config::RoomPattern,
    key::SessionKey,
    sign::{Claims, LEEWAY},
};

/// What the login of a session allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user of the login.
    pub userid: Box<str>,
    /// Until when it is valid, in Unix seconds. `None`: for ever.
    pub expires: Option<u64>,
    /// The rooms that the session may join without a signature. `None`: joining needs one.
    pub rooms: Option<Box<[RoomPattern]>>,
    /// Whether the session may send messages.
    pub may_post: bool,
}

impl Grant {
    /// What a token allows.
    pub fn of_token(claims: &Claims) -> Grant {
        // Every name is a pattern: those that are none were refused with the token.
        let rooms = claims.rooms.iter().filter_map(|room| RoomPattern::parse(room).ok()).collect();
        Grant {
            userid: claims.userid.as_str().into(),
            expires: Some(claims.expires),
            rooms: Some(rooms),
            may_post: claims.may_post,
        }
    }

    /// Whether the session may join a room without a signature.
    pub fn allows(&self, room: &str) -> bool {
        self.rooms.as_ref().is_some_and(|rooms| rooms.iter().any(|pattern| pattern.matches(room)))
    }
}

/// What is due for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its client should renew the login, which is valid for these seconds.
    Warning {
        /// Seconds until `exp`.
        seconds: u64,
        /// `exp`, in Unix seconds.
        exp: u64,
    },
    /// The login is not valid any more.
    End,
}

/// The grants of all sessions that have one. All operations are O(log n).
#[derive(Default)]
pub struct Grants {
    entries: HashMap<SessionKey, Entry>,
    /// When something is due for each session whose grant ends.
    due: BTreeSet<(Time, SessionKey)>,
}

struct Entry {
    grant: Grant,
    /// Its time in `due`. [`Time::NEVER`] if it has none.
    at: Time,
    end: Time,
    is_warned: bool,
}

impl Grants {
    /// The grant of a session.
    pub fn get(&self, key: SessionKey) -> Option<&Grant> {
        self.entries.get(&key).map(|entry| &entry.grant)
    }

    /// Sets the grant of a session. It is warned `warning` before the end, or when a third of the time is left, whichever is
    /// later.
    pub fn set(&mut self, key: SessionKey, grant: Grant, warning: Duration, now: Now) {
        self.remove(key);
        let (mut at, mut end) = (Time::NEVER, Time::NEVER);
        if let Some(expires) = grant.expires {
            let left = Duration::from_secs(expires.saturating_sub(now.unix));
            end = now.time.after(Duration::from_secs(expires.saturating_add(LEEWAY).saturating_sub(now.unix)));
            at = now.time.after(left - warning.min(left / 3));
            self.due.insert((at, key));
        }
        self.entries.insert(key, Entry { grant, at, end, is_warned: false });
    }

    /// Forgets a session.
    pub fn remove(&mut self, key: SessionKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.due.remove(&(entry.at, key));
        }
        if self.entries.capacity() > 1024 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// The number of grants.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no session has a grant.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When [`Grants::poll`] has something.
    pub fn deadline(&self) -> Time {
        self.due.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// The next session for which something is due. After [`Due::End`] it has no grant any more.
    pub fn poll(&mut self, now: Now) -> Option<(SessionKey, Due)> {
        let (at, key) = *self.due.first().filter(|(at, _)| *at <= now.time)?;
        self.due.remove(&(at, key));
        let entry = self.entries.get_mut(&key)?;
        let exp = entry.grant.expires.unwrap_or_default();
        if entry.is_warned || entry.end <= now.time {
            self.entries.remove(&key);
            return Some((key, Due::End));
        }
        (entry.at, entry.is_warned) = (entry.end, true);
        self.due.insert((entry.end, key));
        // By the monotonic clock, as the end: the other one can be set.
        let seconds = entry.end.since(now.time).as_secs().saturating_sub(LEEWAY);
        Some((key, Due::Warning { seconds, exp }))
    }

    /// Warns a session again a second later: it could not be told.
    pub fn postpone(&mut self, key: SessionKey, now: Now) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.due.remove(&(entry.at, key));
        (entry.at, entry.is_warned) = (now.time.after(Duration::from_secs(1)).min(entry.end), false);
        self.due.insert((entry.at, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Handle, Key};

    fn key(index: u64) -> SessionKey {
        SessionKey::wrap(Key::from_bits((1 << 32) | index).unwrap())
    }

    fn at(seconds: u64) -> Now {
        Now { time: Time::START.after(Duration::from_secs(seconds)), unix: 1000 + seconds, ..Now::default() }
    }

    fn grant(expires: Option<u64>) -> Grant {
        Grant { userid: "7".into(), expires, rooms: None, may_post: true }
    }

    const WARNING: Duration = Duration::from_secs(30);

    #[test]
    fn a_warning_and_then_the_end() {
        let mut grants = Grants::default();
        grants.set(key(1), grant(Some(1300)), WARNING, at(0));
        assert_eq!((grants.deadline(), grants.poll(at(269))), (at(270).time, None));
        assert_eq!(grants.poll(at(271)), Some((key(1), Due::Warning { seconds: 29, exp: 1300 })));
        assert_eq!((grants.deadline(), grants.poll(at(304)), grants.len()), (at(305).time, None, 1));
        assert_eq!(grants.poll(at(305)), Some((key(1), Due::End)));
        assert_eq!((grants.deadline(), grants.is_empty(), grants.poll(at(999))), (Time::NEVER, true, None));
    }

    #[test]
    fn short_logins_are_warned_later() {
        let mut grants = Grants::default();
        grants.set(key(1), grant(Some(1030)), WARNING, at(0));
        assert_eq!(grants.deadline(), at(20).time);
        // Only the leeway is left.
        grants.set(key(1), grant(Some(1000)), WARNING, at(3));
        assert_eq!(grants.poll(at(3)), Some((key(1), Due::Warning { seconds: 0, exp: 1000 })));
        assert_eq!(grants.poll(at(4)), None);
        assert_eq!(grants.poll(at(5)), Some((key(1), Due::End)));
        // A late turn skips the warning.
        grants.set(key(2), grant(Some(1100)), WARNING, at(0));
        assert_eq!(grants.poll(at(500)), Some((key(2), Due::End)));
    }

    #[test]
    fn a_new_grant_takes_the_place_of_the_old_one() {
        let mut grants = Grants::default();
        for (number, expires) in [Some(1100), None, Some(253_402_300_799), Some(1200)].into_iter().enumerate() {
            grants.set(key(1), grant(expires), WARNING, at(number as u64));
            assert_eq!((grants.len(), grants.due.len()), (1, usize::from(expires.is_some())));
        }
        grants.poll(at(170)).unwrap();
        grants.set(key(1), grant(Some(2000)), WARNING, at(171));
        assert_eq!(grants.poll(at(900)), None, "it is warned again, later");
        grants.remove(key(1));
        assert_eq!((grants.len(), grants.due.len(), grants.deadline()), (0, 0, Time::NEVER));
    }

    #[test]
    fn a_warning_can_be_postponed() {
        let mut grants = Grants::default();
        grants.set(key(1), grant(Some(1300)), WARNING, at(0));
        grants.poll(at(270)).unwrap();
        grants.postpone(key(1), at(270));
        assert_eq!((grants.deadline(), grants.due.len()), (at(271).time, 1));
        assert!(matches!(grants.poll(at(271)), Some((_, Due::Warning { .. }))));
        grants.postpone(key(1), at(304));
        assert_eq!(grants.poll(at(305)), Some((key(1), Due::End)));
        grants.postpone(key(1), at(305));
        assert!(grants.due.is_empty());
    }

    /// Against a list that is searched: the same sessions, in the order of time.
    #[test]
    fn many() {
        let (mut grants, mut expected, mut seed) = (Grants::default(), Vec::new(), 7_u64);
        for index in 0..500 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let expires = 1100 + (seed >> 33) % 1000;
            grants.set(key(index), grant(Some(expires)), WARNING, at(0));
            if index % 3 == 0 {
                grants.remove(key(index));
            } else {
                expected.push((expires + LEEWAY, key(index)));
            }
        }
        expected.sort_unstable();
        let mut ended = Vec::new();
        for second in 0..1200 {
            while let Some((key, due)) = grants.poll(at(second)) {
                if due == Due::End {
                    ended.push((1000 + second, key));
                }
            }
        }
        assert_eq!(ended, expected);
        assert!(grants.is_empty() && grants.due.is_empty());
    }
}
