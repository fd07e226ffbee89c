//! What to do when the deadline of a connection has passed.

use super::error::Error;

/// The action that `Exchange::handle_timeout` asks of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing: the deadline has moved, see `Exchange::poll_timeout`.
    Early,
    /// Answer the incomplete request with `Exchange::refuse`.
    Refuse(Error),
    /// Answer with `Exchange::refuse`: the connection is over a limit, and its first request has not come.
    Overdue(Error),
    /// Flush, then close: a reply with status 503 is queued.
    Replied,
    /// Close: there is nothing to send.
    Close,
}
