//! What is said about sessions that were lost, once `presence.grace` is over: `user_quit` to their rooms, and the hook
//! `disconnect` (docs/protocol.md, What waits for the grace).

use std::{collections::BTreeMap, rc::Rc};

use super::tracker::Tracker;
use crate::{clock::Time, hooks::Lane, state::TenantId};

/// The sessions that were lost and of which something will be said.
#[derive(Default)]
pub struct Farewells {
    /// By the time at which it is said, and a number.
    waiting: BTreeMap<(Time, u64), Farewell>,
    last: u64,
}

/// A session that was lost.
pub struct Farewell {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its rooms.
    pub rooms: Vec<Rc<str>>,
    /// Its user. Empty if it had none.
    pub userid: Box<str>,
    /// The name of the user.
    pub username: Box<str>,
    /// Whether its rooms get `user_quit`.
    pub quits: bool,
    /// The call to the backend, if there is one.
    pub call: Option<(Lane, Vec<u8>)>,
}

impl Farewell {
    /// The rooms in which the user has no session.
    pub fn left_rooms(&self, tracker: &Tracker) -> Vec<&str> {
        let is_there = |room: &str| {
            let user = tracker.room(self.tenant, room).and_then(|room| room.user(&self.userid));
            user.is_some_and(|user| user.all_sessions() > 0)
        };
        self.rooms.iter().map(|room| &**room).filter(|room| !is_there(room)).collect()
    }

    /// Whether the user has a session in one of its rooms again.
    pub fn is_back(&self, tracker: &Tracker) -> bool {
        self.left_rooms(tracker).len() < self.rooms.len()
    }
}

impl Farewells {
    /// When the next one is due.
    pub fn deadline(&self) -> Time {
        self.waiting.first_key_value().map_or(Time::NEVER, |((at, _), _)| *at)
    }

    /// Adds a session of which something is said at that time. Sessions beyond `MOST_WAITING` are due early.
    pub fn add(&mut self, at: Time, farewell: Farewell) {
        self.last += 1;
        let at = if self.waiting.len() < MOST_WAITING { at } else { Time::START };
        self.waiting.insert((at, self.last), farewell);
    }

    /// Takes the next one that is due.
    pub fn poll(&mut self, now: Time) -> Option<Farewell> {
        self.waiting.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }

    /// Forgets what rooms of a tenant would get.
    pub fn forget(&mut self, tenant: TenantId) {
        self.waiting
            .values_mut()
            .filter(|farewell| farewell.tenant == tenant)
            .for_each(|farewell| farewell.quits = false);
    }
}

/// The most sessions that wait.
const MOST_WAITING: usize = 100_000;
