//! The tokens of event sources in mio's poll. A client's connection has the token [`CONNS`] plus its slot.

/// The socket that signals write to.
pub const SIGNALS: usize = 0;
/// The waker, which the threads of the message log and the resolver use.
pub const WAKER: usize = 1;
/// The first listener.
pub const LISTENERS: usize = 2;
/// The first connection.
pub const CONNS: usize = 64;
/// The first connection to the backend.
pub const HOOKS: usize = usize::MAX / 2;
/// The first of the two connections to Redis.
pub const REDIS: usize = usize::MAX - 8;
/// The connection to a Sentinel.
pub const SENTINEL: usize = REDIS + 2;
