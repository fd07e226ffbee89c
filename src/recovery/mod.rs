//! Sessions that outlive their connections (docs/protocol.md, Return).
//!
//! A session that is lost without a goodbye is *away*: its name, its rooms and its position in the order of all messages are
//! kept for `recovery.window`. Its client and the session itself are gone, so that nothing that goes over sessions or members
//! has to know about it. Who logs in again and is the same takes it over, and gets what was published meanwhile.

mod asking;
mod away;
mod claim;
mod live;

pub use self::{
    asking::{Asking, Resolved},
    away::{Away, AwaySession},
    claim::{Claim, Recalled},
    live::{Known, Live},
};

use core::hash::{BuildHasher, Hash};
use std::hash::RandomState;

use crate::clock::Time;

/// The sessions that are away, those that may be one day, and the logins that wait for one.
#[derive(Default)]
pub struct Returns {
    /// The sessions that are away.
    pub away: Away,
    /// The sessions that are not, by who they are.
    pub live: Live,
    /// The logins that wait for word of older sessions.
    pub asking: Asking,
    hasher: RandomState,
}

impl Returns {
    /// A hash that nobody can foresee.
    pub fn hash(&self, value: &(impl Hash + ?Sized)) -> u64 {
        self.hasher.hash_one(value)
    }

    /// When a session is away for too long, or a question was not answered in time.
    pub fn deadline(&self) -> Time {
        self.away.deadline().min(self.asking.deadline())
    }
}
