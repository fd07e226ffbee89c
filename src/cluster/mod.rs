//! Other relays over Redis (docs/cluster.md, docs/protocol.md: Redis). Relays with the same Redis act as one: a message
//! reaches the members of its rooms at all of them, and operators see the sessions of all of them.
//!
//! [`Cluster`] publishes messages and commands, decodes those of other relays into [`Command`]s, maintains the presence
//! records of this relay's sessions, and looks up users and sessions of other relays. It decides when to connect to
//! Redis and what to send on which connection; the server does the I/O. Delivery at this relay never waits for Redis.
//!
//! From Redis to a client: `connections` yields the publications of the subscriber connection; `incoming` verifies
//! the origin of each (`seal`) and passes it to `incoming_message` or `incoming_command`, which check and decode
//! it; [`events::cluster`](crate::events::cluster) carries out the `command`.
//!
//! From a client to Redis: `publisher` numbers and seals messages and the commands of `outgoing_command`;
//! `send_queue` keeps them until Redis confirms them. After an outage `hold` delays them until other relays have
//! subscribed again. `placement` finds a subscription that a failover left on another server.
//!
//! In Redis: `upkeep` has the schedule. `records` collects changes of sessions and `record_writer` writes them;
//! `liveness` finds out which relays are alive, `cleanup` removes the records of those that are not, and `dates`
//! resets the counts of the day's logins. `keys` has the names.
//!
//! Look-ups: `user_lookups` asks other relays for a user; `scans` reads data for operators' pages, which
//! `cached_lookups` keeps for two seconds. `presence` has the commands about who is in which room, and
//! `receipts` those about who gets a message.
//!
//! `membership` has the methods of [`Cluster`]; `context` has the state that they share with `connections`.

mod cached_lookups;
mod channel;
mod cleanup;
mod command;
mod connections;
mod context;
mod dates;
mod fields;
mod hold;
mod incoming;
mod incoming_command;
mod incoming_message;
mod keys;
mod liveness;
mod membership;
mod nodes;
mod outgoing_command;
mod placement;
mod presence;
mod publisher;
mod receipts;
mod record_writer;
mod records;
mod refused;
mod remote_sessions;
mod scans;
mod seal;
mod send_queue;
mod status;
mod tag;
mod upkeep;
mod user_lookups;

#[cfg(test)]
mod testing;

pub use self::{
    cached_lookups::{Answer, Lookup, Topic},
    channel::Channel,
    command::{Command, IncomingEvent, IncomingMessage, Reach, Recipients, RefreshTarget},
    connections::Input,
    membership::{Cluster, Reconfigured},
    nodes::NodeInfo,
    presence::{OwnRoom, PIECE, Present, PresentUser, Roll, RollRoom, numbers},
    publisher::Publication,
    receipts::{CountQuery, Counted, CountedRoom, RemoteAcked},
    remote_sessions::RemoteSessions,
    user_lookups::UserQuery,
};
