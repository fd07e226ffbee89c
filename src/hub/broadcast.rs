//! A message, and how each form of member gets it.

use core::fmt;
use std::borrow::Cow;
use std::io::Write;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{client::Form, room::Batches, socketio::attachment};
use crate::{
    engineio::Revision,
    frame::{Opcode, Run, Turn},
    socketio::{Kind, packet::head, placeholder},
};

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// A string.
    Text(&'a str),
    /// Any JSON value, as it was written: it is passed on to the letter.
    Json(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A JSON value with placeholders for bytes (Socket.IO), and the bytes.
    Mixed {
        /// The value.
        json: &'a str,
        /// What belongs in place of the placeholders, by their numbers.
        attachments: &'a [Vec<u8>],
    },
}

impl<'a> Data<'a> {
    /// The only attachment, if the data is nothing else.
    fn bare(self) -> Option<&'a [u8]> {
        match self {
            Data::Binary(bytes) => Some(bytes),
            Data::Mixed { json, attachments } => match placeholder::find(json).as_slice() {
                [(place, number)] if place.len() == json.trim().len() => attachments.get(*number).map(Vec::as_slice),
                _ => None,
            },
            Data::Text(_) | Data::Json(_) => None,
        }
    }

    /// Appends it as JSON, bytes as `{"_base64":"…"}`.
    pub fn write_json(self, out: &mut Vec<u8>) {
        match self {
            Data::Text(text) => string(out, text),
            Data::Json(json) => out.extend_from_slice(json.as_bytes()),
            Data::Binary(bytes) => base64(out, bytes),
            Data::Mixed { json, attachments } => {
                placeholder::replace(json, out, |number, out| {
                    base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
                });
            }
        }
    }

    /// Its bytes.
    pub fn size(self) -> usize {
        match self {
            Data::Text(text) | Data::Json(text) => text.len(),
            Data::Binary(bytes) => bytes.len(),
            Data::Mixed { json, attachments } => json.len() + attachments.iter().map(Vec::len).sum::<usize>(),
        }
    }

    fn attachment_count(self) -> usize {
        match self {
            Data::Text(_) | Data::Json(_) => 0,
            Data::Binary(_) => 1,
            Data::Mixed { attachments, .. } => attachments.len(),
        }
    }

    fn attachment(self, index: usize) -> &'a [u8] {
        match self {
            Data::Binary(bytes) => bytes,
            Data::Mixed { attachments, .. } => &attachments[index],
            Data::Text(_) | Data::Json(_) => &[],
        }
    }
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

    /// Reads an id as it is shown, without a part.
    pub fn parse(text: &str) -> Option<MessageId> {
        let value = |text: &str| {
            text.bytes().try_fold(0u64, |sum, digit| {
                let place = DIGITS.iter().position(|known| *known == digit)?;
                Some(sum << 5 | place as u64)
            })
        };
        let (number, node) = (text.len() == 17).then(|| text.split_at_checked(11)).flatten()?;
        Some(MessageId { number: value(number)?, node: value(node)? as u32, part: 0 })
    }

    /// What this life of a relay is called among its siblings: the last six digits of its ids.
    pub fn node(self) -> String {
        self.part(0).to_string()[11..].to_owned()
    }

    /// The id in the `part`-th room of the publication: one publication is a message in each of its rooms.
    pub fn part(self, part: usize) -> MessageId {
        MessageId { part: part as u32, ..self }
    }

    fn digits(self) -> [u8; 17] {
        let mut text = [0; 17];
        let (number, node) = text.split_at_mut(11);
        for (part, mut rest) in [(number, self.number), (node, self.node.into())] {
            for digit in part.iter_mut().rev() {
                *digit = DIGITS[rest as usize & 31];
                rest >>= 5;
            }
        }
        text
    }

    /// Appends it as it is shown.
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digits());
        if self.part > 0 {
            write!(out, ".{}", self.part).expect("writing to memory succeeds");
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.digits()).expect("digits are ASCII"))?;
        if self.part > 0 { write!(f, ".{}", self.part) } else { Ok(()) }
    }
}

/// Bytes of all copies of a message, one for each of its rooms.
pub const MOST_SPREAD: usize = 64 * 1024 * 1024;

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
    /// The log file it asks for, or nothing.
    pub filename: &'a str,
    /// The namespace its members are in.
    pub namespace: &'a str,
}

impl Message<'_> {
    /// Encodes it for the first member of a form in a room; out of the way of all others.
    #[cold]
    pub fn open(&self, form: Form, turn: &mut Turn, batches: &mut Batches) -> Run {
        let batch = batches.of(form, turn);
        self.frames(form, turn, batch)
    }

    /// Appends the frames that carry it in a form to a batch: one, and in Socket.IO one more for each attachment.
    pub fn frames(&self, form: Form, turn: &mut Turn, batch: u32) -> Run {
        let opcode = match form {
            Form::Text if self.data.bare().is_some() => Opcode::Binary,
            _ => Opcode::Text,
        };
        let mut run = turn.push(batch, opcode, |out| self.encode(form, out));
        let revision = match form {
            Form::Json | Form::Text => return run,
            Form::SocketIo3 => Revision::V3,
            Form::SocketIo4 => Revision::V4,
        };
        for index in 0..self.data.attachment_count() {
            let bytes = self.data.attachment(index);
            run.end = turn.push(batch, Opcode::Binary, |out| attachment(out, revision, bytes)).end;
        }
        run
    }

    /// Appends what the first of them contains.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        let Message { source, room, data, id, .. } = self;
        match form {
            Form::Json => {
                out.extend_from_slice(b"{\"event\":\"newMsg\",\"source\":");
                string(out, source);
                out.extend_from_slice(b",\"data\":");
                data.write_json(out);
                out.extend_from_slice(b",\"room_id\":");
                string(out, room);
                out.extend_from_slice(b",\"id\":\"");
                id.write(out);
                out.extend_from_slice(b"\"}");
            }
            Form::Text => match (data.bare(), data) {
                (Some(bytes), _) => out.extend_from_slice(bytes),
                (None, Data::Text(text)) => out.extend_from_slice(text.as_bytes()),
                (None, Data::Json(json)) => out.extend_from_slice(&plain(json)),
                (None, _) => data.write_json(out),
            },
            Form::SocketIo3 | Form::SocketIo4 => {
                out.push(b'4');
                head(out, Kind::Event, data.attachment_count(), self.namespace, None);
                out.extend_from_slice(b"[\"newMsg\",{\"source\":");
                string(out, source);
                out.extend_from_slice(b",\"data\":");
                match data {
                    Data::Binary(_) => out.extend_from_slice(b"{\"_placeholder\":true,\"num\":0}"),
                    Data::Mixed { json, .. } => out.extend_from_slice(json.as_bytes()),
                    Data::Text(_) | Data::Json(_) => data.write_json(out),
                }
                out.extend_from_slice(b",\"room_id\":");
                string(out, room);
                out.extend_from_slice(b",\"from_sys\":true");
                if !self.filename.is_empty() {
                    out.extend_from_slice(b",\"filename\":");
                    string(out, self.filename);
                }
                out.extend_from_slice(b",\"id\":\"");
                id.write(out);
                out.extend_from_slice(b"\"}]");
            }
        }
    }
}

/// Appends a JSON string. Most need no escape, which a look at the whole finds out with half the instructions that going
/// from escape to escape takes (a message of 128 bytes: 640 and 1,240).
pub fn string(out: &mut Vec<u8>, text: &str) {
    if !needs_escape(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    serde_json::to_writer(out, text).expect("a string in memory is always serializable");
}

/// Whether a byte is a control character, a quotation mark or a backslash: eight at a time, since the release is built for
/// size and no loop in it becomes one over vectors. (What is subtracted from a byte borrows from the next only where one is
/// found.)
fn needs_escape(text: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let mut words = text.chunks_exact(8);
    let mut found = 0;
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        found |= below(word, b' ');
        found |= below(word ^ (ONES * u64::from(b'"')), 1);
        found |= below(word ^ (ONES * u64::from(b'\\')), 1);
    }
    found & (ONES << 7) != 0 || words.remainder().iter().any(|byte| matches!(byte, 0..b' ' | b'"' | b'\\'))
}

/// A JSON string's value, any other value's text. (A string with half a surrogate pair has no value: its text.)
fn plain(json: &str) -> Cow<'_, [u8]> {
    let value = json.starts_with('"').then(|| serde_json::from_str::<String>(json).ok()).flatten();
    value.map_or(Cow::Borrowed(json.as_bytes()), |value| Cow::Owned(value.into_bytes()))
}

/// Appends bytes as `{"_base64":"…"}`.
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"_base64\":\"");
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    BASE64.encode_slice(bytes, &mut out[begin..]).expect("four digits for three bytes");
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte in every place of what is looked at eight bytes at a time, between bytes of all kinds.
    #[test]
    fn strings() {
        for byte in 0..=127_u8 {
            for (place, length) in (0..20).flat_map(|place| (place + 1..21).map(move |length| (place, length))) {
                for other in [' ', '~', '\u{7f}', 'é'] {
                    let char = |at| if at == place { char::from(byte) } else { other };
                    let text: String = (0..length).map(char).collect();
                    let mut out = Vec::new();
                    string(&mut out, &text);
                    assert_eq!(String::from_utf8(out).unwrap(), serde_json::Value::from(text).to_string());
                }
            }
        }
    }

    fn packet(data: Data<'_>, form: Form) -> String {
        let mut out = Vec::new();
        Message { source: "de\"mo", room: "r\n", data, id: MessageId::first(0, 0), filename: "", namespace: "/" }
            .encode(form, &mut out);
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
        assert_eq!(MessageId::parse(&last), Some(id));
        assert_eq!((id.node().as_str(), &last[11..]), ("000007", "000007"));
        for wrong in ["", "00000000000000000x", "0000000000000000w", "0000000000000000", "000000000é0000000"] {
            assert_eq!(MessageId::parse(wrong), None, "{wrong}");
        }
        assert_ne!(MessageId::first(5, 1).to_string(), MessageId::first(5, 2).to_string());
        assert!(MessageId::first(1_795_000_000_000_200, 1).to_string() > last);
    }
}
