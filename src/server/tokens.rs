//! The tokens by which the poll names its sources. Connections of clients have [`CONNS`] and their slot.

/// Signals.
pub const SIGNALS: usize = 0;
/// The waker of other threads: the message log's, and the one that resolves names.
pub const WAKER: usize = 1;
/// The first listener.
pub const LISTENERS: usize = 2;
/// The first connection.
pub const CONNS: usize = 64;
/// The first connection to the backend.
pub const HOOKS: usize = usize::MAX / 2;
/// The first of the two connections to Redis.
pub const REDIS: usize = usize::MAX - 8;
