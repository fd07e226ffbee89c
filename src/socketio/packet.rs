//! Packets (Socket.IO protocol, "Packet encoding"): a digit for the type, then, each of them optional, the number of
//! attachments and a dash, the namespace and a comma, the id of the acknowledgement, and JSON data.

use core::fmt;
use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    json::{Object, string},
    names::is_reserved,
};

/// The type of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Joins a namespace, or confirms that.
    Connect,
    /// Leaves a namespace.
    Disconnect,
    /// An event.
    Event,
    /// The acknowledgement of an event.
    Ack,
    /// Refuses a [`Kind::Connect`]; called ERROR in revision 4.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An acknowledgement with attachments.
    BinaryAck,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Connect,
        Kind::Disconnect,
        Kind::Event,
        Kind::Ack,
        Kind::ConnectError,
        Kind::BinaryEvent,
        Kind::BinaryAck,
    ];

    /// Whether a packet of this kind has attachments.
    pub fn is_binary(self) -> bool {
        matches!(self, Kind::BinaryEvent | Kind::BinaryAck)
    }

    /// The binary variant of this kind if there are attachments, else the other one.
    pub fn with(self, attachments: usize) -> Kind {
        match (self, attachments) {
            (Kind::Event | Kind::BinaryEvent, 0) => Kind::Event,
            (Kind::Event | Kind::BinaryEvent, _) => Kind::BinaryEvent,
            (Kind::Ack | Kind::BinaryAck, 0) => Kind::Ack,
            (Kind::Ack | Kind::BinaryAck, _) => Kind::BinaryAck,
            (other, _) => other,
        }
    }
}

/// Why a text is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The first character is not the digit of a packet type.
    Type,
    /// A binary packet has no number of attachments of up to four digits.
    AttachmentCount,
    /// The id of the acknowledgement has more than 20 digits.
    IdTooLong,
    /// The data do not have the form that the packet type requires.
    Data,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Type => "unknown packet type",
            Error::AttachmentCount => "the number of attachments is missing",
            Error::IdTooLong => "the id of the acknowledgement has more than 20 digits",
            Error::Data => "the data do not have the form that the packet type requires",
        })
    }
}

impl std::error::Error for Error {}

/// A packet with its data as JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The type.
    pub kind: Kind,
    /// The number of binary messages that follow.
    pub attachments: usize,
    /// The namespace; `/` if the packet names none.
    pub namespace: &'a str,
    /// The query after the namespace of a [`Kind::Connect`], which only revision 4 has; else empty.
    pub query: &'a str,
    /// The id of the acknowledgement that is requested or given: up to 20 digits, which the answer repeats unchanged.
    pub id: Option<&'a str>,
    /// JSON, or an empty string.
    pub data: &'a str,
}

impl<'a> Packet<'a> {
    /// Parses a packet. Its data have the form that its type requires: an array whose first element is a name that is not
    /// reserved for events, an array for acknowledgements, an object or nothing for CONNECT, nothing for DISCONNECT.
    pub fn parse(text: &'a str) -> Result<Packet<'a>, Error> {
        let digit = text.bytes().next().filter(u8::is_ascii_digit).ok_or(Error::Type)?;
        let kind = *Kind::ALL.get(usize::from(digit - b'0')).ok_or(Error::Type)?;
        let mut rest = &text[1..];
        let mut attachments = 0;
        if kind.is_binary() {
            let (count, behind) = rest.split_once('-').ok_or(Error::AttachmentCount)?;
            let digits = (1..=4).contains(&count.len()) && count.bytes().all(|byte| byte.is_ascii_digit());
            attachments = count.parse().ok().filter(|_| digits).ok_or(Error::AttachmentCount)?;
            rest = behind;
        }
        let (mut namespace, mut query) = ("/", "");
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            (namespace, query) = namespace.split_once('?').unwrap_or((namespace, ""));
        }
        let id = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
        if id.len() > MAX_ID {
            return Err(Error::IdTooLong);
        }
        let data = &rest[id.len()..];
        let id = (!id.is_empty()).then_some(id);
        let packet = Packet { kind, attachments, namespace, query, id, data };
        packet.check()?;
        Ok(packet)
    }

    /// Checks that the data have the form that the type requires.
    fn check(&self) -> Result<(), Error> {
        let valid = match self.kind {
            Kind::Connect => self.data.is_empty() || serde_json::from_str::<Object<'_>>(self.data).is_ok(),
            Kind::Disconnect => self.data.is_empty(),
            Kind::Event | Kind::BinaryEvent => self.event().is_some_and(|event| !is_reserved(&event.name)),
            Kind::Ack | Kind::BinaryAck => {
                serde_json::from_str::<Vec<&RawValue>>(self.data).is_ok() && self.id.is_some()
            }
            Kind::ConnectError => false,
        };
        if valid { Ok(()) } else { Err(Error::Data) }
    }

    /// The name and the arguments of an event, or `None` if the data are not those of an event.
    pub fn event(&self) -> Option<Event<'a>> {
        let list: Vec<&RawValue> = serde_json::from_str(self.data).ok()?;
        let raw = list.first()?.get();
        let name: Cow<'a, str> = match raw.as_bytes()[0] {
            b'"' => string(raw)?,
            b'-' | b'0'..=b'9' => raw.into(),
            _ => return None,
        };
        // Raw values are slices of the data, so the text after the name can be forwarded verbatim.
        let behind = raw.as_ptr() as usize - self.data.as_ptr() as usize + raw.len();
        Some(Event { name, rest: &self.data[behind..], args: list[1..].to_vec() })
    }
}

/// The data of an event: `["name", arguments…]`.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The name. A number counts as its text.
    pub name: Cow<'a, str>,
    /// The text after the name: a comma and the arguments, if there are any, and the closing bracket.
    pub rest: &'a str,
    /// The arguments.
    pub args: Vec<&'a RawValue>,
}

impl Event<'_> {
    /// The arguments as a JSON array, verbatim.
    pub fn list(&self) -> String {
        format!("[{}", self.rest.trim_start().trim_start_matches(','))
    }
}

/// Appends the part of a packet in front of its data. Takes the binary variant of `kind` if there are attachments, and omits
/// the namespace `/`.
pub fn head(out: &mut Vec<u8>, kind: Kind, attachments: usize, namespace: &str, id: Option<&str>) {
    let kind = kind.with(attachments);
    out.push(b'0' + kind as u8);
    if kind.is_binary() {
        out.extend_from_slice(itoa::Buffer::new().format(attachments).as_bytes());
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(id.unwrap_or_default().as_bytes());
}

/// Digits of the id of an acknowledgement.
const MAX_ID: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(packet: &Packet<'_>) -> String {
        let mut out = Vec::new();
        head(&mut out, packet.kind, packet.attachments, packet.namespace, packet.id);
        String::from_utf8(out).unwrap() + packet.data
    }

    #[test]
    fn parsing_and_encoding_are_inverse() {
        for text in [
            "0",
            "0{\"token\":\"123\"}",
            "0/admin,",
            "0/admin,{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}",
            "1",
            "1/admin,",
            "2[\"hey\",\"Jude\"]",
            "2/admin,456[\"project:delete\",123]",
            "212[\"foo\"]",
            "2[1,{\"a\":1e400}]",
            "3/admin,456[]",
            "313[\"bar\"]",
            "51-[\"hello\",{\"_placeholder\":true,\"num\":0}]",
            "51-/admin,456[\"project:delete\",{\"_placeholder\":true,\"num\":0}]",
            "61-/admin,456[{\"_placeholder\":true,\"num\":0}]",
            "2[\"€𝄞\"]",
        ] {
            let packet = Packet::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert_eq!(encoded(&packet), text);
        }
    }

    #[test]
    fn malformed_packets_are_refused() {
        for text in [
            "",
            "7",
            "9",
            "a",
            "€",
            "0abc",
            "0[]",
            "0\"x\"",
            "1[]",
            "2",
            "2{}",
            "2[]",
            "2[null]",
            "2[{}]",
            "2abc[\"x\"]",
            "2[\"connect\"]",
            "2[\"disconnecting\"]",
            "2[\"x\"",
            "2[\"x\"]]",
            "2-1[\"x\"]",
            "2999999999999999999999[\"x\"]",
            "3[1]",
            "31{}",
            "4{}",
            "5[\"x\"]",
            "5-[\"x\"]",
            "5x-[\"x\"]",
            "599999-[\"x\"]",
            "51[\"x-y\"]",
        ] {
            assert!(Packet::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn connect_has_a_query_behind_the_namespace() {
        for text in ["0/web?userid=7&x=%2C", "0/web?userid=7&x=%2C,"] {
            let packet = Packet::parse(text).unwrap();
            assert_eq!((packet.namespace, packet.query, packet.data), ("/web", "userid=7&x=%2C", ""));
        }
    }

    #[test]
    fn events() {
        let event = Packet::parse("2[ \"a\\u0062\" , 1.50 , {\"b\" :2}]").unwrap().event().unwrap();
        assert_eq!((&*event.name, event.rest), ("ab", " , 1.50 , {\"b\" :2}]"));
        assert_eq!((event.args.len(), event.list().as_str()), (2, "[ 1.50 , {\"b\" :2}]"));
        let event = Packet::parse("2[\"a\"]").unwrap().event().unwrap();
        assert_eq!((event.rest, event.list().as_str()), ("]", "[]"));
    }

    #[test]
    fn truncated_packets_are_refused() {
        let text = "51-/admin,456[\"project:€\",{\"_placeholder\":true,\"num\":0}]";
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert!(Packet::parse(&text[..cut]).is_err(), "{cut}");
        }
    }
}
