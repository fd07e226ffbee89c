//! WebSocket messages.

/// A complete WebSocket message.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// From text frames.
    Text(&'a str),
    /// From binary frames.
    Binary(&'a [u8]),
}

impl Incoming<'_> {
    /// Bytes of the message.
    pub fn size(self) -> usize {
        match self {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(bytes) => bytes.len(),
        }
    }
}
