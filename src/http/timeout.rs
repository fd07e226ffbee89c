//! What to do when the deadline of a connection has passed.

use super::error::Error;

/// The action that `Exchange::handle_timeout` asks of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing: the deadline has moved, see `Exchange::poll_timeout`.
    Early,
    /// Answer the incomplete request with `Exchange::refuse`.
    Refuse(Error),
    /// Flush, then close: a reply with status 503 is queued.
    Replied,
    /// Close: there is nothing to send.
    Close,
}
