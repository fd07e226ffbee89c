//! Tags that say which command a reply of Redis answers.

use super::cached_lookups::Topic;

/// The command that a reply answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A publication, by its number in the queue.
    Publish(u64),
    /// A write whose reply is ignored unless it is an error.
    Write,
    /// A write of a batch of records.
    Batch,
    /// Whether this relay's heartbeat key existed.
    OwnKey,
    /// Whether a record of this relay exists.
    Sample,
    /// The list of relays.
    Nodes,
    /// Whether the heartbeat key of the relay with this name exists.
    NodeKey(Box<str>),
    /// Whether this relay got the lock for cleaning up after the relay with this name.
    CleanupLock(Box<str>),
    /// Whether the relay whose records are being removed is alive again.
    CleanupCheck,
    /// A part of a hash that is cleaned up.
    CleanupScan,
    /// The date of a source's counts of logins.
    Date(Box<str>),
    /// The date that today's date replaced.
    OldDate(Box<str>),
    /// A part of a look-up, and the scan it belongs to.
    Scan(Topic, u64),
    /// The number of records of a source: the number of the scan, and the index of the source in it.
    Count(u64, usize),
    /// How many relays subscribe to the commands.
    Subscribers,
    /// Whether this relay's subscription is at the same server.
    OwnSubscription,
    /// A write that proves publications, up to the one with this number.
    Proof(u64),
}
