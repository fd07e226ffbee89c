//! Packets (Engine.IO protocol, "Packet encoding"): a digit for the type, followed by the data. Over a WebSocket, each
//! message is one packet.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{error::Error, revision::Revision};

/// One packet. The data of text packets borrow from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake, sent by the server: JSON.
    Open(&'a str),
    /// The session ends.
    Close,
    /// A ping, with data that the pong must repeat.
    Ping(&'a str),
    /// The answer to a ping.
    Pong(&'a str),
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// The WebSocket takes over from polling.
    Upgrade,
    /// No content: it ends a pending poll.
    Noop,
}

impl<'a> Packet<'a> {
    /// Bytes of its data.
    pub fn size(&self) -> usize {
        match self {
            Packet::Open(text) | Packet::Ping(text) | Packet::Pong(text) | Packet::Text(text) => text.len(),
            Packet::Binary(bytes) => bytes.len(),
            Packet::Close | Packet::Upgrade | Packet::Noop => 0,
        }
    }

    /// Parses a packet that was sent as text: in a payload, or in a text frame. Clients send binary data as text too, as
    /// `b` and base64 (`forceBase64`); in revision 3 the type of the packet follows the `b`. Fails if the type is unknown.
    pub fn from_text(text: &'a str, revision: Revision) -> Result<Packet<'a>, Error> {
        let data = text.get(1..).unwrap_or_default();
        match text.as_bytes().first() {
            Some(b'b') => {
                let encoded = match revision {
                    Revision::V3 => data.strip_prefix(char::from(b'0' + MESSAGE)).ok_or(Error::BinaryNotMessage)?,
                    Revision::V4 => data,
                };
                BASE64.decode(encoded).map(|bytes| Packet::Binary(bytes.into())).map_err(|_| Error::NotBase64)
            }
            Some(b'0') => Ok(Packet::Open(data)),
            Some(b'1') => Ok(Packet::Close),
            Some(b'2') => Ok(Packet::Ping(data)),
            Some(b'3') => Ok(Packet::Pong(data)),
            Some(b'4') => Ok(Packet::Text(data)),
            Some(b'5') => Ok(Packet::Upgrade),
            Some(b'6') => Ok(Packet::Noop),
            _ => Err(Error::PacketType),
        }
    }

    /// Parses a packet that was sent as bytes, which is a message. In revision 3 the type is in front of the data; fails if it is
    /// not [`MESSAGE`].
    pub fn from_binary(bytes: &'a [u8], revision: Revision) -> Result<Packet<'a>, Error> {
        match (revision, bytes) {
            (Revision::V4, _) => Ok(Packet::Binary(bytes.into())),
            (Revision::V3, [MESSAGE, data @ ..]) => Ok(Packet::Binary(data.into())),
            (Revision::V3, _) => Err(Error::BinaryNotMessage),
        }
    }
}

/// The type of a message: the first byte of a binary packet in revision 3.
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
            for revision in [Revision::V3, Revision::V4] {
                assert_eq!(Packet::from_text(text, revision), Ok(packet.clone()));
            }
        }
        for text in ["", "7", "a", "€4", " 4"] {
            for revision in [Revision::V3, Revision::V4] {
                assert!(Packet::from_text(text, revision).is_err(), "{text}");
            }
        }
        assert_eq!(Packet::from_binary(b"\x04ab", Revision::V4), Ok(Packet::Binary(b"\x04ab"[..].into())));
        assert_eq!(Packet::from_binary(b"\x04ab", Revision::V3), Ok(Packet::Binary(b"ab"[..].into())));
        assert!(Packet::from_binary(b"\x02ab", Revision::V3).is_err());
        assert!(Packet::from_binary(b"", Revision::V3).is_err());
    }

    /// Cut at every byte, base64 is binary data or an error.
    #[test]
    fn binary_data_as_text() {
        for (revision, text, rest) in [(Revision::V4, "bAQL/", 1), (Revision::V3, "b4AQL/", 2)] {
            for cut in 0..=text.len() {
                let found = Packet::from_text(&text[..cut], revision);
                match cut {
                    0 => assert_eq!(found, Err(Error::PacketType)),
                    cut if cut < rest => assert_eq!(found, Err(Error::BinaryNotMessage)),
                    cut if cut == rest => assert_eq!(found, Ok(Packet::Binary(b""[..].into()))),
                    cut if cut == text.len() => assert_eq!(found, Ok(Packet::Binary(b"\x01\x02\xff"[..].into()))),
                    _ => assert_eq!(found, Err(Error::NotBase64), "{cut}"),
                }
            }
        }
        assert_eq!(Packet::from_text("b2AQL/", Revision::V3), Err(Error::BinaryNotMessage));
        assert_eq!(Packet::from_text("b€", Revision::V4), Err(Error::NotBase64));
    }
}
