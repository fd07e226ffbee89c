//! A message, and how each form of member gets it.

use core::fmt;
use std::borrow::Cow;
use std::io::Write;

use data_encoding::BASE64;

use super::client::Form;
use crate::frame::Opcode;

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// A string.
    Text(&'a str),
    /// Any JSON value, as it was written: it is passed on to the letter.
    Json(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// A message's name: grows within a relay's life, and no other relay or life has the same.
///
/// 51 bits count microseconds since 1970 from the start on, one more for each message, so that ids go on growing after a
/// restart; 30 random bits tell relays apart, and lives of one whose clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    number: u64,
    node: u32,
    /// Which of the rooms of one publication.
    part: u32,
}

impl MessageId {
    /// The first id of a life that begins at `unix_micros`.
    pub fn first(unix_micros: u64, node: u32) -> MessageId {
        MessageId { number: unix_micros, node: node & 0x3fff_ffff, part: 0 }
    }

    /// The id after this one.
    pub fn next(self) -> MessageId {
        MessageId { number: self.number + 1, ..self }
    }

    /// The id in the `part`-th room of the publication: one publication is a message in each of its rooms.
    pub fn part(self, part: usize) -> MessageId {
        MessageId { part: part as u32, ..self }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |number: u64, count: u32| {
            (0..count).rev().map(move |place| char::from(DIGITS[(number >> (5 * place)) as usize & 31]))
        };
        let mut text = [0; 17];
        let all = digits(self.number, 11).chain(digits(self.node.into(), 6));
        all.zip(&mut text).for_each(|(digit, place)| *place = digit as u8);
        f.write_str(core::str::from_utf8(&text).expect("digits are ASCII"))?;
        if self.part > 0 { write!(f, ".{}", self.part) } else { Ok(()) }
    }
}

/// Base32hex: digits in the order of their values, so that ids sort as they grow.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// A message on its way to the members of one room.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The tenant's name.
    pub source: &'a str,
    /// The room's name.
    pub room: &'a str,
    /// What it carries.
    pub data: Data<'a>,
    /// Its name.
    pub id: MessageId,
}

impl Message<'_> {
    /// The kind of frame that carries it in a form.
    pub fn opcode(&self, form: Form) -> Opcode {
        match (form, self.data) {
            (Form::Text, Data::Binary(_)) => Opcode::Binary,
            _ => Opcode::Text,
        }
    }

    /// Appends what such a frame contains.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        let Message { source, room, data, id } = self;
        match form {
            Form::Json => {
                out.extend_from_slice(b"{\"event\":\"newMsg\",\"source\":");
                string(out, source);
                out.extend_from_slice(b",\"data\":");
                match data {
                    Data::Text(text) => string(out, text),
                    Data::Json(json) => out.extend_from_slice(json.as_bytes()),
                    Data::Binary(bytes) => {
                        out.extend_from_slice(b"{\"_base64\":\"");
                        base64(out, bytes);
                        out.extend_from_slice(b"\"}");
                    }
                }
                out.extend_from_slice(b",\"room_id\":");
                string(out, room);
                write!(out, ",\"id\":\"{id}\"}}").expect("writing to memory succeeds");
            }
            Form::Text => match data {
                Data::Text(text) => out.extend_from_slice(text.as_bytes()),
                Data::Json(json) => out.extend_from_slice(&plain(json)),
                Data::Binary(bytes) => out.extend_from_slice(bytes),
            },
        }
    }
}

/// Appends a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string in memory is always serializable");
}

/// A JSON string's value, any other value's text. (A string with half a surrogate pair has no value: its text.)
fn plain(json: &str) -> Cow<'_, [u8]> {
    let value = json.starts_with('"').then(|| serde_json::from_str::<String>(json).ok()).flatten();
    value.map_or(Cow::Borrowed(json.as_bytes()), |value| Cow::Owned(value.into_bytes()))
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let begin = out.len();
    out.resize(begin + BASE64.encode_len(bytes.len()), 0);
    BASE64.encode_mut(bytes, &mut out[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(data: Data<'_>, form: Form) -> String {
        let mut out = Vec::new();
        Message { source: "de\"mo", room: "r\n", data, id: MessageId::first(0, 0) }.encode(form, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn forms() {
        let json = |data| {
            format!(
                "{{\"event\":\"newMsg\",\"source\":\"de\\\"mo\",\"data\":{data},\"room_id\":\"r\\n\",\"id\":\"00000000000000000\"}}"
            )
        };
        assert_eq!(packet(Data::Text("a\"ä"), Form::Json), json("\"a\\\"ä\""));
        assert_eq!(packet(Data::Json("{\"b\" : 1.0, \"a\":2}"), Form::Json), json("{\"b\" : 1.0, \"a\":2}"));
        assert_eq!(packet(Data::Binary(b"\0\xffx"), Form::Json), json("{\"_base64\":\"AP94\"}"));
        assert_eq!(packet(Data::Text("a\"ä"), Form::Text), "a\"ä");
        assert_eq!(packet(Data::Json("\"\\u00e4\\n\""), Form::Text), "ä\n");
        assert_eq!(packet(Data::Json("\"\\ud800\""), Form::Text), "\"\\ud800\"");
        assert_eq!(packet(Data::Json("[1, 2]"), Form::Text), "[1, 2]");
    }

    #[test]
    fn ids_grow_and_differ() {
        let mut id = MessageId::first(1_795_000_000_000_000, 7);
        let mut last = id.to_string();
        assert_eq!(last.len(), 17);
        for _ in 0..100 {
            id = id.next();
            assert!(id.to_string() > last);
            last = id.to_string();
        }
        assert!(id.part(1).to_string() > last && id.part(0).to_string() == last);
        assert_ne!(MessageId::first(5, 1).to_string(), MessageId::first(5, 2).to_string());
        assert!(MessageId::first(1_795_000_000_000_200, 1).to_string() > last);
    }
}
