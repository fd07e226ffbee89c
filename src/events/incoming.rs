//! WebSocket messages.

/// A complete WebSocket message.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// From text frames.
    Text(&'a str),
    /// From binary frames.
    Binary(&'a [u8]),
}
