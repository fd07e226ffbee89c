//! Other relays over Redis (docs/cluster.md, docs/protocol.md: Redis). Relays with the same Redis act as one: a message
//! reaches the members of its rooms at all of them, and operators see the sessions of all of them.
//!
//! [`Cluster`] publishes what other relays need to know, turns what they publish into [`Command`]s as data, maintains the
//! presence records of this relay's sessions, and looks up what other relays have. It decides when to connect to Redis and
//! what is sent on which connection; the server moves the bytes. Delivery at this relay never waits for Redis.
//!
//! Outgoing: [`publisher`] numbers and seals, [`publish`] has the commands, [`send_queue`] keeps them until Redis confirms
//! them. Incoming: [`connections`] yields publications, [`incoming`] checks and decodes them. State in Redis: [`upkeep`].
//! What callers and connections work on together is [`shared`].

mod cached_lookups;
mod channel;
mod cleanup;
mod command;
mod connections;
mod dates;
mod facade;
mod fields;
mod hold;
mod incoming;
mod incoming_message;
mod keys;
mod liveness;
mod nodes;
mod publish;
mod publisher;
mod record_writer;
mod records;
mod refused;
mod remote_sessions;
mod scans;
mod seal;
mod send_queue;
mod shared;
mod status;
mod tag;
mod upkeep;
mod user_lookups;

#[cfg(test)]
mod testing;

pub use self::{
    cached_lookups::{Answer, Seen, Topic},
    channel::Channel,
    command::{Command, IncomingEvent, IncomingMessage, Reach, Recipients, RefreshTarget},
    connections::Input,
    facade::{Cluster, Reconfigured},
    nodes::NodeInfo,
    publisher::Publication,
    remote_sessions::RemoteSessions,
    user_lookups::UserQuery,
};
