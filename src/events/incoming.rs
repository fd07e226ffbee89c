//! WebSocket messages.

use crate::text::text_without_bom;

/// A complete WebSocket message.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// From text frames.
    Text(&'a str),
    /// From binary frames.
    Binary(&'a [u8]),
}

impl Incoming<'_> {
    /// The message without a byte order mark: programs of Windows write one before their first text.
    pub fn without_bom(self) -> Self {
        match self {
            Incoming::Text(text) => Incoming::Text(text_without_bom(text)),
            Incoming::Binary(_) => self,
        }
    }

    /// Bytes of the message.
    pub fn size(self) -> usize {
        match self {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(bytes) => bytes.len(),
        }
    }
}
