//! Packets of Socket.IO (the protocol's documents, "Packet encoding"): a digit for the type, the number of attachments and
//! a dash, the namespace and a comma, the acknowledgement's id, and JSON, most of which may be missing.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::names::is_reserved;

/// Types of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Joins a namespace, or says that it was joined.
    Connect,
    /// Leaves it.
    Disconnect,
    /// An event.
    Event,
    /// The answer to one.
    Ack,
    /// A refusal of [`Kind::Connect`]; in revision 4 called error.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An answer with attachments.
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

    /// Whether attachments follow.
    pub fn is_binary(self) -> bool {
        matches!(self, Kind::BinaryEvent | Kind::BinaryAck)
    }

    /// The same kind for a packet with so many attachments.
    pub fn with(self, attachments: usize) -> Kind {
        match self {
            Kind::Event | Kind::BinaryEvent => {
                if attachments > 0 {
                    Kind::BinaryEvent
                } else {
                    Kind::Event
                }
            }
            Kind::Ack | Kind::BinaryAck => {
                if attachments > 0 {
                    Kind::BinaryAck
                } else {
                    Kind::Ack
                }
            }
            other => other,
        }
    }
}

/// What is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub &'static str);

/// A packet, its data still text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// How many messages of bytes follow it.
    pub attachments: usize,
    /// The namespace, `/` unless it says another.
    pub namespace: &'a str,
    /// Revision 4 puts a query behind the namespace of a [`Kind::Connect`].
    pub query: &'a str,
    /// The acknowledgement that is wanted or answered: digits, passed back as they came.
    pub id: Option<&'a str>,
    /// JSON, or nothing.
    pub data: &'a str,
}

impl<'a> Packet<'a> {
    /// Reads a packet. Its data is of the shape its kind demands: an array that begins with a name, an array, an object.
    pub fn parse(text: &'a str) -> Result<Packet<'a>, Error> {
        let digit = text.bytes().next().filter(u8::is_ascii_digit).ok_or(Error("an unknown type of packet"))?;
        let kind = *Kind::ALL.get(usize::from(digit - b'0')).ok_or(Error("an unknown type of packet"))?;
        let mut rest = &text[1..];
        let mut attachments = 0;
        if kind.is_binary() {
            let (count, behind) = rest.split_once('-').ok_or(Error("no number of attachments"))?;
            let digits = (1..=4).contains(&count.len()) && count.bytes().all(|byte| byte.is_ascii_digit());
            attachments = count.parse().ok().filter(|_| digits).ok_or(Error("no number of attachments"))?;
            rest = behind;
        }
        let (mut namespace, mut query) = ("/", "");
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            (namespace, query) = namespace.split_once('?').unwrap_or((namespace, ""));
        }
        let id = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
        if id.len() > LONGEST_ID {
            return Err(Error("the acknowledgement's id is too long"));
        }
        let data = &rest[id.len()..];
        let id = (!id.is_empty()).then_some(id);
        let packet = Packet { kind, attachments, namespace, query, id, data };
        packet.check()?;
        Ok(packet)
    }

    fn check(&self) -> Result<(), Error> {
        let right = match self.kind {
            Kind::Connect => self.data.is_empty() || serde_json::from_str::<Fields<'_>>(self.data).is_ok(),
            Kind::Disconnect => self.data.is_empty(),
            Kind::Event | Kind::BinaryEvent => self.event().is_some_and(|event| !is_reserved(&event.name)),
            Kind::Ack | Kind::BinaryAck => {
                serde_json::from_str::<Vec<&RawValue>>(self.data).is_ok() && self.id.is_some()
            }
            Kind::ConnectError => false,
        };
        if right { Ok(()) } else { Err(Error("the packet's data is not what its type demands")) }
    }

    /// An event's name and arguments.
    pub fn event(&self) -> Option<Event<'a>> {
        let list: Vec<&RawValue> = serde_json::from_str(self.data).ok()?;
        let raw = list.first()?.get();
        let name: Cow<'a, str> = match raw.as_bytes()[0] {
            b'"' => serde_json::from_str::<String>(raw).ok()?.into(),
            b'-' | b'0'..=b'9' => raw.into(),
            _ => return None,
        };
        // The values are slices of the data: what stands behind the name is passed on to the letter.
        let behind = raw.as_ptr() as usize - self.data.as_ptr() as usize + raw.len();
        Some(Event { name, rest: &self.data[behind..], args: list[1..].to_vec() })
    }
}

/// The fields of an object, their values still text.
pub type Fields<'a> = std::collections::BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The data of an event.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What is called.
    pub name: Cow<'a, str>,
    /// The text behind the name: nothing or a comma and the arguments, and the closing bracket.
    pub rest: &'a str,
    /// The arguments.
    pub args: Vec<&'a RawValue>,
}

impl Event<'_> {
    /// The arguments alone, as an array.
    pub fn list(&self) -> String {
        format!("[{}", self.rest.trim_start().trim_start_matches(','))
    }
}

/// Appends all of a packet that stands before its data. The namespace `/` is left out.
pub fn head(out: &mut Vec<u8>, kind: Kind, attachments: usize, namespace: &str, id: Option<&str>) {
    let kind = kind.with(attachments);
    out.push(b'0' + kind as u8);
    if kind.is_binary() {
        out.extend_from_slice(attachments.to_string().as_bytes());
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(id.unwrap_or_default().as_bytes());
}

/// Digits of an acknowledgement's id.
const LONGEST_ID: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn emit(packet: &Packet<'_>) -> String {
        let mut out = Vec::new();
        head(&mut out, packet.kind, packet.attachments, packet.namespace, packet.id);
        String::from_utf8(out).unwrap() + packet.data
    }

    #[test]
    fn parse_and_emit_are_inverse() {
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
            assert_eq!(emit(&packet), text);
        }
    }

    #[test]
    fn what_is_no_packet() {
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
    fn a_query_stands_behind_the_namespace() {
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
    fn every_cut() {
        let text = "51-/admin,456[\"project:€\",{\"_placeholder\":true,\"num\":0}]";
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert!(Packet::parse(&text[..cut]).is_err(), "{cut}");
        }
    }
}
