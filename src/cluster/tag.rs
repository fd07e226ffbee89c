//! Which command a reply of Redis answers.

use super::cached_lookups::Topic;

/// The command that a reply answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A publication, by its number in the queue.
    Publish(u64),
    /// A write of which only an error matters.
    Write,
    /// A write of a batch of records.
    Batch,
    /// Whether this relay's heartbeat key existed.
    OwnKey,
    /// Whether a record of this relay exists.
    Sample,
    /// The list of relays.
    Nodes,
    /// Whether the heartbeat key of this relay exists.
    NodeKey(Box<str>),
    /// Whether this relay got the lock for cleaning up after that one.
    CleanupLock(Box<str>),
    /// Whether the relay that is cleaned up after is alive again.
    CleanupCheck,
    /// A part of a hash that is cleaned up.
    CleanupScan,
    /// The date of a source's counts of logins.
    Date(Box<str>),
    /// That date before today's replaced it.
    OldDate(Box<str>),
    /// A part of a look-up, and the scan it belongs to.
    Scan(Topic, u64),
    /// The number of records of a source, by scan and index.
    Count(u64, usize),
    /// How many relays subscribe to the commands.
    Subscribers,
}
