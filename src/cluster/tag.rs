//! What a reply of Redis belongs to.

use super::cached_lookups::Topic;

/// The command that a reply belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A publication, by its number in the queue.
    Publish(u64),
    /// A write; only an error matters.
    Write,
    /// A write of a batch of records.
    Batch,
    /// Whether our heartbeat key existed.
    OwnKey,
    /// Whether one of our records existed.
    Sample,
    /// The list of relays.
    Nodes,
    /// Whether the heartbeat key of this relay exists.
    NodeKey(Box<str>),
    /// Whether this relay is to clean up after that one.
    CleanupLock(Box<str>),
    /// Whether the relay that is cleaned up after is alive again.
    CleanupCheck,
    /// A part of a hash that is cleaned up.
    CleanupScan,
    /// The date of a source's logins of today.
    Date(Box<str>),
    /// That date before a new one was set.
    OldDate(Box<str>),
    /// A part of a look-up, and the scan it belongs to.
    Scan(Topic, u64),
    /// The number of records of a source, by scan and index.
    Count(u64, usize),
    /// How many relays subscribe to the commands.
    Subscribers,
}
