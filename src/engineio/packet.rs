//! Packets of Engine.IO (the protocol's documents, "Packet encoding"): a digit for the type, then the data; over a
//! WebSocket one packet a message.

use std::borrow::Cow;

use super::{Error, Revision};

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake; a server sends it.
    Open(&'a str),
    /// The session is to end.
    Close,
    /// "Are you there?", with what the answer must repeat.
    Ping(&'a str),
    /// The answer.
    Pong(&'a str),
    /// A message.
    Text(&'a str),
    /// A message of bytes.
    Binary(Cow<'a, [u8]>),
    /// The transport has changed.
    Upgrade,
    /// Nothing: it ends a poll.
    Noop,
}

impl<'a> Packet<'a> {
    /// Reads a packet that came as text.
    pub fn from_text(text: &'a str) -> Result<Packet<'a>, Error> {
        let data = text.get(1..).unwrap_or_default();
        match text.as_bytes().first() {
            Some(b'0') => Ok(Packet::Open(data)),
            Some(b'1') => Ok(Packet::Close),
            Some(b'2') => Ok(Packet::Ping(data)),
            Some(b'3') => Ok(Packet::Pong(data)),
            Some(b'4') => Ok(Packet::Text(data)),
            Some(b'5') => Ok(Packet::Upgrade),
            Some(b'6') => Ok(Packet::Noop),
            _ => Err(Error::Malformed("an unknown type of packet")),
        }
    }

    /// Reads a packet that came as bytes: revision 4 sends them as they are, revision 3 puts the type before them.
    pub fn from_binary(bytes: &'a [u8], revision: Revision) -> Result<Packet<'a>, Error> {
        match (revision, bytes) {
            (Revision::V4, _) => Ok(Packet::Binary(bytes.into())),
            (Revision::V3, [MESSAGE, data @ ..]) => Ok(Packet::Binary(data.into())),
            (Revision::V3, _) => Err(Error::Malformed("only messages can be binary")),
        }
    }
}

/// The type of a message.
pub const MESSAGE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        for (text, packet) in [
            ("0{}", Packet::Open("{}")),
            ("1", Packet::Close),
            ("2probe", Packet::Ping("probe")),
            ("3", Packet::Pong("")),
            ("4hello", Packet::Text("hello")),
            ("4€", Packet::Text("€")),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ] {
            assert_eq!(Packet::from_text(text), Ok(packet));
        }
        for text in ["", "7", "a", "€4", " 4"] {
            assert!(Packet::from_text(text).is_err(), "{text}");
        }
        assert_eq!(Packet::from_binary(b"\x04ab", Revision::V4), Ok(Packet::Binary(b"\x04ab"[..].into())));
        assert_eq!(Packet::from_binary(b"\x04ab", Revision::V3), Ok(Packet::Binary(b"ab"[..].into())));
        assert!(Packet::from_binary(b"\x02ab", Revision::V3).is_err());
        assert!(Packet::from_binary(b"", Revision::V3).is_err());
    }
}
