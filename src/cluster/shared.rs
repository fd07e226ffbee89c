//! What this relay publishes to the cluster and knows of it, apart from the connections.

use super::{
    cached_lookups::CachedLookups, nodes::Nodes, publisher::Publisher, records::Records, refused::Refused,
    user_lookups::UserLookups,
};
use crate::{health::Health, message_log::MessageLog, state::State};

/// The parts of a cluster that the connections work on, and that its callers use.
#[derive(Default)]
pub struct Shared {
    pub publisher: Publisher,
    pub nodes: Nodes,
    pub records: Records,
    pub cached: CachedLookups,
    pub users: UserLookups,
    /// Whether `from_sys` on the channel of messages replaces a signature (`redis.trust_from_sys`).
    pub trust: bool,
    /// Publications for this relay alone since the start.
    pub answers: u64,
    /// Whether the connections work, as operators see it.
    pub health: Health,
}

/// The shared parts, and what they work on.
pub struct Context<'a> {
    pub shared: &'a mut Shared,
    pub state: &'a mut State,
    pub log: &'a mut MessageLog,
}

impl Context<'_> {
    /// Counts a publication that is refused, and records it in the message log.
    pub fn refuse(&mut self, reason: &Refused, text: &str) {
        self.state.stats.redis_refused += 1;
        self.log.error("redis", &reason.to_string(), |line| line.cut("message", text));
    }
}
