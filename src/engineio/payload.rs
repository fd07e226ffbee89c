//! Payloads: the packets of one HTTP body (Engine.IO protocol, "Payload encoding").
//!
//! Revision 4 separates packets by the record separator U+001E and encodes binary packets in base64. Revision 3 puts the
//! length in front of each packet, in UTF-16 code units. A binary body of revision 3 frames every packet instead with a byte
//! for the kind, the digits of the length as bytes 0 to 9, and 255.
//!
//! Long because 240 lines of it are tests that cut bodies at every byte.

use core::ops::ControlFlow;
use std::{
    borrow::Cow,
    io::{self, ErrorKind, Write},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    error::Error,
    latin1,
    packet::{MESSAGE, Packet},
    revision::Revision,
};
use crate::text::without_bom;

/// Decodes a body and passes each packet to `handle` until that returns [`ControlFlow::Break`]. `binary` says whether the body
/// is `application/octet-stream`, which only revision 3 has.
///
/// Fails at the first packet that does not follow the protocol; the packets before it were passed on.
pub fn decode(
    body: &[u8],
    revision: Revision,
    binary: bool,
    handle: &mut dyn FnMut(Packet<'_>) -> ControlFlow<()>,
) -> Result<(), Error> {
    match (revision, binary) {
        (Revision::V4, _) => decode_v4(text(without_bom(body))?, handle),
        (Revision::V3, false) => decode_v3(text(without_bom(body))?, utf16_prefix, handle),
        (Revision::V3, true) => decode_v3_binary(body, handle),
    }
}

fn decode_v4(body: &str, handle: &mut dyn FnMut(Packet<'_>) -> ControlFlow<()>) -> Result<(), Error> {
    for packet in body.split(SEPARATOR) {
        if handle(Packet::from_text(packet, Revision::V4)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Decodes the text of a body whose client encoded it twice ([`latin1::decoded_twice`]):
/// the lengths count the bytes of the text.
pub fn decode_twice(body: &str, handle: &mut dyn FnMut(Packet<'_>) -> ControlFlow<()>) -> Result<(), Error> {
    decode_v3(body, |text, bytes| text.is_char_boundary(bytes).then_some(bytes), handle)
}

/// Decodes a body of text. `prefix` says how many bytes the first packet has, by the length in front of it.
fn decode_v3(
    mut body: &str,
    prefix: impl Fn(&str, usize) -> Option<usize>,
    handle: &mut dyn FnMut(Packet<'_>) -> ControlFlow<()>,
) -> Result<(), Error> {
    while !body.is_empty() {
        let (length, rest) = body.split_once(':').ok_or(Error::PacketLength)?;
        let digits = (1..=9).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit());
        let units: usize = length.parse().ok().filter(|_| digits).ok_or(Error::PacketLength)?;
        let (packet, rest) = rest.split_at(prefix(rest, units).ok_or(Error::PacketLength)?);
        if handle(Packet::from_text(packet, Revision::V3)?).is_break() {
            break;
        }
        body = rest;
    }
    Ok(())
}

fn decode_v3_binary(mut body: &[u8], handle: &mut dyn FnMut(Packet<'_>) -> ControlFlow<()>) -> Result<(), Error> {
    while let [kind, rest @ ..] = body {
        let end =
            rest.iter().take(10).position(|byte| *byte == 255).filter(|end| *end > 0).ok_or(Error::PacketLength)?;
        let mut length = 0;
        for digit in &rest[..end] {
            if *digit > 9 {
                return Err(Error::PacketLength);
            }
            length = length * 10 + usize::from(*digit);
        }
        let rest = &rest[end + 1..];
        let (packet, rest) = rest.split_at_checked(length).ok_or(Error::PacketLength)?;
        let packet = match kind {
            0 => Packet::from_text(text(packet)?, Revision::V3)?,
            1 => Packet::from_binary(packet, Revision::V3)?,
            _ => return Err(Error::PacketKind),
        };
        if handle(packet).is_break() {
            break;
        }
        body = rest;
    }
    Ok(())
}

/// The number of bytes that the first `units` UTF-16 code units of `text` have in UTF-8; `None` if the text is shorter or the
/// last unit is half a character.
fn utf16_prefix(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

/// The length of `text` in UTF-16 code units.
fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    core::str::from_utf8(bytes).map_err(|_| Error::PayloadNotUtf8)
}

/// The bodies in which a client of revision 3 wants the answers to its polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// Always text: the client asked for `b64`.
    Text,
    /// Text or bytes, as the packets need it: clients read both.
    Any,
    /// Always bytes: Socket.IO clients before 1.4 take a body of text for the answer to a POST.
    Bytes,
}

/// Composes the body that answers a poll from the frames that a WebSocket would carry, so that a message is encoded once for
/// all transports.
///
/// The outbox writes to it as to a socket: [`Write::write`] accepts the bytes of frames in pieces of any size, and
/// fails with [`ErrorKind::WouldBlock`] between two frames once the body is full.
pub struct Composer {
    revision: Revision,
    /// The bodies that the client wants.
    bodies: Bodies,
    /// The number of packets after which the body is full.
    max_packets: usize,
    packets: Vec<Composed>,
    /// An incomplete frame.
    frame: Vec<u8>,
    /// Bytes of all packets.
    size: usize,
}

/// A packet as encoded for a WebSocket.
enum Composed {
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl Composed {
    /// Whether it is text that has one byte for each character.
    fn is_ascii(&self) -> bool {
        matches!(self, Composed::Text(text) if text.is_ascii())
    }
}

impl Composer {
    /// An empty body of at most `max_packets` packets. `bodies` is for revision 3; revision 4 has text only.
    pub fn new(revision: Revision, bodies: Bodies, max_packets: usize) -> Composer {
        Composer { revision, bodies, max_packets, packets: Vec::new(), frame: Vec::new(), size: 0 }
    }

    /// Whether the body has no packet.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The encoded body, and whether it is binary (`application/octet-stream`).
    pub fn finish(self) -> (Vec<u8>, bool) {
        debug_assert!(self.frame.is_empty(), "the last frame is complete");
        let binary = self.revision == Revision::V3
            && match self.bodies {
                Bodies::Text => false,
                Bodies::Bytes => true,
                // Clients before 2.0 count the length of text in bytes, later ones in UTF-16 units; and the former fail
                // to read a body of text that is large. A binary body means the same to all.
                Bodies::Any => self.size > LARGE_TEXT || !self.packets.iter().all(Composed::is_ascii),
            };
        let mut body = Vec::with_capacity(self.size + self.packets.len() * 8);
        for (index, packet) in self.packets.iter().enumerate() {
            match (self.revision, packet) {
                (Revision::V4, packet) => {
                    if index > 0 {
                        body.push(SEPARATOR as u8);
                    }
                    match packet {
                        Composed::Text(text) => body.extend_from_slice(text),
                        Composed::Binary(bytes) => {
                            body.push(b'b');
                            body.extend_from_slice(BASE64.encode(bytes).as_bytes());
                        }
                    }
                }
                (Revision::V3, Composed::Text(text)) if binary => push_framed(&mut body, 0, text),
                (Revision::V3, Composed::Binary(bytes)) if binary => push_framed(&mut body, 1, bytes),
                (Revision::V3, Composed::Text(text)) => {
                    let units = utf16_len(&String::from_utf8_lossy(text));
                    body.extend_from_slice(format!("{units}:").as_bytes());
                    body.extend_from_slice(text);
                }
                (Revision::V3, Composed::Binary(bytes)) => {
                    // The first byte is the type, as on a WebSocket.
                    let encoded = BASE64.encode(bytes.get(1..).unwrap_or_default());
                    body.extend_from_slice(format!("{}:b{MESSAGE}{encoded}", encoded.len() + 2).as_bytes());
                }
            }
        }
        (body, binary)
    }

    /// Adds a text packet, in revision 3 in ASCII. If a character outside the basic multilingual plane is left in it (in the
    /// name of a namespace), it is the last of its body: the protocol counts UTF-16 code units, but clients in Python
    /// count characters and would misplace the next packet.
    pub fn push_text(&mut self, mut text: Vec<u8>) {
        if self.revision == Revision::V3 {
            text = latin1::to_ascii(text);
        }
        self.size += text.len();
        // Those characters have four bytes in UTF-8, the first of which is 0xF0 or more.
        if self.revision == Revision::V3 && text.iter().any(|byte| *byte >= 0xf0) {
            self.max_packets = 0;
        }
        self.packets.push(Composed::Text(text));
    }

    /// Whether the body accepts no further frame.
    fn is_full(&self) -> bool {
        self.frame.is_empty() && (self.packets.len() >= self.max_packets || self.size >= FULL)
    }

    /// The lengths of the header and of the whole frame, or `None` if the header is incomplete.
    fn frame_length(&self) -> Option<(usize, usize)> {
        let (head, length) = match *self.frame.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(self.frame.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(self.frame.get(2..10)?.try_into().ok()?) as usize),
            length => (2, usize::from(length)),
        };
        Some((head, head + length))
    }
}

impl Write for Composer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_full() {
            // The header byte by byte, then the payload at once.
            let wanted = self.frame_length().map_or(1, |(_, length)| length - self.frame.len());
            let part = &bytes[taken..bytes.len().min(taken + wanted)];
            self.frame.extend_from_slice(part);
            taken += part.len();
            if let Some((head, length)) = self.frame_length()
                && self.frame.len() == length
            {
                let mut payload = core::mem::take(&mut self.frame);
                let kind = payload[0] & 15;
                payload.drain(..head);
                match kind {
                    1 => self.push_text(payload),
                    2 => {
                        self.size += payload.len();
                        self.packets.push(Composed::Binary(payload));
                    }
                    // Ping and close frames are only for WebSockets.
                    _ => {}
                }
            }
        }
        if taken == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a packet of a binary body of revision 3; `kind` is 0 for text and 1 for binary.
fn push_framed(body: &mut Vec<u8>, kind: u8, packet: &[u8]) {
    body.push(kind);
    body.extend(itoa::Buffer::new().format(packet.len()).bytes().map(|digit| digit - b'0'));
    body.push(255);
    body.extend_from_slice(packet);
}

/// Encodes packets as a client would, and says whether the body is binary. For tests and tools.
pub fn encode(packets: &[Packet<'_>], revision: Revision, bytes: bool) -> (Vec<u8>, bool) {
    let any = packets.iter().any(|packet| matches!(packet, Packet::Binary(_)));
    let bodies = if bytes && any { Bodies::Bytes } else { Bodies::Text };
    let mut composer = Composer::new(revision, bodies, packets.len());
    for packet in packets {
        let text = |kind: char, data: &str| Composed::Text(format!("{kind}{data}").into_bytes());
        composer.packets.push(match packet {
            Packet::Open(data) => text('0', data),
            Packet::Close => text('1', ""),
            Packet::Ping(data) => text('2', data),
            Packet::Pong(data) => text('3', data),
            Packet::Text(data) => text('4', data),
            Packet::Binary(data) if revision == Revision::V3 => Composed::Binary([&[MESSAGE], &**data].concat()),
            Packet::Binary(data) => Composed::Binary(Cow::clone(data).into_owned()),
            Packet::Upgrade => text('5', ""),
            Packet::Noop => text('6', ""),
        });
    }
    composer.finish()
}

/// The record separator between packets in revision 4.
const SEPARATOR: char = '\x1e';
/// Bytes after which the body is full.
const FULL: usize = 1 << 20;
/// Bytes up to which a body of text is read by all clients: those before 2.0 pass each byte as an argument of one call, and
/// the engine with the lowest limit (JavaScriptCore) takes 65,536 of them.
const LARGE_TEXT: usize = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Batch, Opcode};

    fn decoded(body: &[u8], revision: Revision, binary: bool) -> Result<Vec<String>, Error> {
        let mut packets = Vec::new();
        decode(body, revision, binary, &mut |packet| {
            packets.push(format!("{packet:?}"));
            ControlFlow::Continue(())
        })?;
        Ok(packets)
    }

    fn shown(packets: &[Packet<'_>]) -> Vec<String> {
        packets.iter().map(|packet| format!("{packet:?}")).collect()
    }

    /// The examples of the protocol's documents.
    #[test]
    fn examples_of_the_protocol() {
        let hello = [Packet::Text("hello"), Packet::Ping(""), Packet::Text("world")];
        assert_eq!(encode(&hello, Revision::V4, true).0, b"4hello\x1e2\x1e4world");
        let mixed = [Packet::Text("hello"), Packet::Binary(b"\x01\x02\x03\x04"[..].into())];
        assert_eq!(encode(&mixed, Revision::V4, true).0, b"4hello\x1ebAQIDBA==");
        assert_eq!(encode(&[Packet::Text("hello")], Revision::V3, true).0, b"6:4hello");
        let euro = [Packet::Text("€"), Packet::Binary(b"\x01\x02\x03\x04"[..].into())];
        assert_eq!(encode(&euro, Revision::V3, false).0, "2:4€10:b4AQIDBA==".as_bytes());
        let (body, binary) = encode(&euro, Revision::V3, true);
        assert!(binary);
        assert_eq!(body, b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04");
    }

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let lists: [&[Packet<'_>]; 4] = [
            &[Packet::Text("")],
            &[Packet::Text("a𝄞:€"), Packet::Ping("probe"), Packet::Text("12:4x"), Packet::Close],
            &[Packet::Binary(b""[..].into()), Packet::Text("\u{0}"), Packet::Binary(b"\xff\x00\x1e"[..].into())],
            &[Packet::Upgrade, Packet::Noop, Packet::Pong("x"), Packet::Open("{}")],
        ];
        for packets in lists {
            for (revision, bytes) in [(Revision::V4, true), (Revision::V3, false), (Revision::V3, true)] {
                let (body, binary) = encode(packets, revision, bytes);
                assert_eq!(decoded(&body, revision, binary), Ok(shown(packets)), "{revision:?} {bytes}");
            }
        }
    }

    #[test]
    fn malformed_payloads_are_refused() {
        for body in ["", "7", "4a\x1e", "bAQ=", "b*", "4a\x1e\x1e4b", "abc"] {
            assert!(decoded(body.as_bytes(), Revision::V4, false).is_err(), "{body:?}");
        }
        for body in
            ["1", "1:", "2:4", "x:4", ":4", "-1:4", "+1:4", "0:", "1:9", "2:4𝄞", "9999999999:4", "3:b4*", "1:4,"]
        {
            assert!(decoded(body.as_bytes(), Revision::V3, false).is_err(), "{body:?}");
        }
        for body in [
            &b"\x00"[..],
            b"\x00\xff",
            b"\x00\x01\xff",
            b"\x02\x01\xff4",
            b"\x00\x0a\xff4",
            b"\x01\x01\xff\x05",
            b"\x00\x02\xff4\xff",
        ] {
            assert!(decoded(body, Revision::V3, true).is_err(), "{body:?}");
        }
        assert!(decoded(b"4\xff", Revision::V4, false).is_err());
        assert_eq!(decoded(b"", Revision::V3, false), Ok(vec![]));
    }

    /// A truncated body is refused, or decodes to the first of its packets.
    #[test]
    fn truncated_payloads() {
        let packets =
            [Packet::Text("a𝄞€"), Packet::Binary(b"\x01\x02\xff"[..].into()), Packet::Ping("probe"), Packet::Text("b")];
        for (revision, bytes) in [(Revision::V4, true), (Revision::V3, false), (Revision::V3, true)] {
            let (body, binary) = encode(&packets, revision, bytes);
            for cut in 0..body.len() {
                if let Ok(found) = decoded(&body[..cut], revision, binary) {
                    // Only the last packet can be truncated.
                    let complete = found.len().saturating_sub(1);
                    assert_eq!(found[..complete], shown(&packets)[..complete], "{revision:?} {cut}");
                }
            }
        }
    }

    /// The bodies that answer polls, from these frames.
    fn composed(texts: &[&str], bodies: Bodies) -> Vec<(Vec<u8>, bool)> {
        let mut batch = Batch::default();
        for text in texts {
            batch.push(Opcode::Text, |out| out.extend_from_slice(text.as_bytes()));
        }
        let (_, end) = batch.push_raw(&[]);
        let (mut rest, mut found) = (batch.slice(0, end), Vec::new());
        while !rest.is_empty() {
            let mut composer = Composer::new(Revision::V3, bodies, 16);
            rest = &rest[composer.write(rest).unwrap()..];
            found.push(composer.finish());
        }
        found
    }

    #[test]
    fn text_of_revision_3_is_ascii() {
        let (texts, body) = (["42[\"e\",\"ü中😀\"]", "2"], "34:42[\"e\",\"\\u00fc\\u4e2d\\ud83d\\ude00\"]1:2");
        for bodies in [Bodies::Text, Bodies::Any] {
            assert_eq!(composed(&texts, bodies), [(body.as_bytes().to_vec(), false)], "{bodies:?}");
        }
        assert_eq!(composed(&["2"], Bodies::Bytes), [(b"\x00\x01\xff2".to_vec(), true)]);
    }

    /// Each reading of text is tried, so the answer must not depend on it.
    #[test]
    fn large_text_is_binary_unless_the_client_wants_text() {
        let text = format!("4{}", "x".repeat(LARGE_TEXT));
        assert!(composed(&[&text], Bodies::Any)[0].1 && !composed(&[&text], Bodies::Text)[0].1);
        assert!(!composed(&[&text[1..]], Bodies::Any)[0].1);
    }

    #[test]
    fn a_namespace_beyond_ascii() {
        let texts = ["42/a,[]", "42/𝄞,[\"€\"]", "42/€,[]"];
        let text: Vec<_> =
            composed(&texts, Bodies::Text).into_iter().map(|(body, _)| String::from_utf8(body)).collect();
        assert_eq!(text, [Ok("7:42/a,[]16:42/𝄞,[\"\\u20ac\"]".into()), Ok("7:42/€,[]".to_owned())]);
        let binary: Vec<_> = composed(&texts, Bodies::Any).into_iter().map(|(_, binary)| binary).collect();
        assert_eq!(binary, [true, true]);
    }

    /// The body of a 1.x client, cut at every byte: the packets before the cut, or an error.
    #[test]
    fn text_that_was_encoded_twice() {
        let texts = ["42[\"ü中😀\"]", "2probe", "4é"];
        let body: String = texts.iter().map(|text| format!("{}:{text}", text.len())).collect();
        let decoded = |text: &str| {
            let mut found = Vec::new();
            decode_twice(text, &mut |packet| {
                found.push(format!("{packet:?}"));
                ControlFlow::Continue(())
            })
            .map(|()| found)
        };
        let all: Vec<String> =
            ["Text(\"2[\\\"ü中😀\\\"]\")", "Ping(\"probe\")", "Text(\"é\")"].map(String::from).into();
        assert_eq!(decoded(&body).as_deref(), Ok(&all[..]));
        for cut in (0..body.len()).filter(|cut| body.is_char_boundary(*cut)) {
            if let Ok(found) = decoded(&body[..cut]) {
                assert_eq!(found, all[..found.len()], "{cut}");
            }
        }
        assert!(decoded("2:4é").is_err() && decoded("9:4é").is_err());
    }

    /// Frames arrive in pieces of any size; a body has at most sixteen packets.
    #[test]
    fn bodies_are_composed_from_frames() {
        let mut batch = Batch::default();
        for number in 0..20 {
            batch.push(Opcode::Text, |out| out.extend_from_slice(format!("4{number}").as_bytes()));
            if number == 3 {
                batch.push(Opcode::Ping, |_| {});
                batch.push(Opcode::Binary, |out| out.extend_from_slice(&[b'x'; 70_000]));
                batch.push(Opcode::Binary, |out| out.extend_from_slice(&[b'x'; 200]));
            }
        }
        let (_, end) = batch.push_raw(&[]);
        let bytes = batch.slice(0, end);
        for piece in [1, 2, 3, 7, 1000, bytes.len()] {
            let mut rest = bytes;
            let mut all = Vec::new();
            let mut bodies = 0;
            while !rest.is_empty() {
                let mut composer = Composer::new(Revision::V4, Bodies::Any, 16);
                while let Ok(taken) = composer.write(&rest[..piece.min(rest.len())]) {
                    rest = &rest[taken..];
                    if rest.is_empty() {
                        break;
                    }
                }
                bodies += 1;
                let found = decoded(&composer.finish().0, Revision::V4, false).unwrap();
                assert!(found.len() <= 16);
                all.extend(found);
            }
            assert_eq!((bodies, all.len()), (2, 22), "{piece}");
            assert_eq!(all[21], "Text(\"19\")");
        }
    }
}
