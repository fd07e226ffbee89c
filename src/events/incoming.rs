//! A WebSocket message as it came.

/// A WebSocket message.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// Of text frames.
    Text(&'a str),
    /// Of binary frames.
    Binary(&'a [u8]),
}
