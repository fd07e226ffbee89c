//! Bodies of HTTP long polling (the Engine.IO protocol's "Payload encoding"), read anew here and not by what relay itself
//! writes them with, so that a mistake there shows.

use crate::engineio::Revision;

/// Hands each packet of a body to `handle` until it fails. The error says what is no such body.
pub fn take(
    body: &[u8],
    revision: Revision,
    handle: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    if revision == Revision::V4 {
        return body.split(|byte| *byte == SEPARATOR).try_for_each(handle);
    }
    let mut rest = body;
    while !rest.is_empty() {
        let colon = rest.iter().take(10).position(|byte| *byte == b':').ok_or("a packet without a length")?;
        let (length, behind) = (core::str::from_utf8(&rest[..colon]), &rest[colon + 1..]);
        let units: usize =
            length.ok().and_then(|length| length.parse().ok()).ok_or("a packet's length is no number")?;
        let (packet, others) = behind.split_at_checked(bytes_of(behind, units)).ok_or("a packet is cut off")?;
        handle(packet)?;
        rest = others;
    }
    Ok(())
}

/// How many bytes of UTF-8 make so many UTF-16 code units; more than there are if it is cut off.
fn bytes_of(text: &[u8], units: usize) -> usize {
    // What is measured with is ASCII.
    if text.get(..units).is_some_and(<[u8]>::is_ascii) {
        return units;
    }
    let (mut at, mut seen) = (0, 0);
    while seen < units {
        // A character of four bytes is two units; the bytes that continue one are none.
        let (bytes, size) = match text.get(at) {
            Some(0xf0..) => (4, 2),
            Some(0xe0..) => (3, 1),
            Some(0xc0..) => (2, 1),
            Some(_) => (1, 1),
            None => return usize::MAX,
        };
        (at, seen) = (at + bytes, seen + size);
    }
    at
}

/// Appends a body of one packet.
pub fn push(out: &mut Vec<u8>, revision: Revision, packet: &str) {
    if revision == Revision::V3 {
        out.extend_from_slice(format!("{}:", packet.encode_utf16().count()).as_bytes());
    }
    out.extend_from_slice(packet.as_bytes());
}

const SEPARATOR: u8 = 0x1e;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::{Packet, payload};

    fn taken(body: &[u8], revision: Revision) -> Result<Vec<String>, String> {
        let mut packets = Vec::new();
        take(body, revision, &mut |packet| {
            packets.push(String::from_utf8_lossy(packet).into_owned());
            Ok(())
        })?;
        Ok(packets)
    }

    #[test]
    fn the_documents_examples() {
        assert_eq!(taken(b"4hello\x1e2\x1e4world", Revision::V4).unwrap(), ["4hello", "2", "4world"]);
        assert_eq!(taken("2:4€10:b4AQIDBA==".as_bytes(), Revision::V3).unwrap(), ["4€", "b4AQIDBA=="]);
    }

    #[test]
    fn what_relay_composes() {
        let packets = [Packet::Text("2[\"newMsg\",{}]"), Packet::Text("a𝄞é€"), Packet::Ping(""), Packet::Text("12:4x")];
        for revision in [Revision::V3, Revision::V4] {
            let (body, _) = payload::encode(&packets, revision, false);
            assert_eq!(taken(&body, revision).unwrap(), ["42[\"newMsg\",{}]", "4a𝄞é€", "2", "412:4x"]);
            for packet in ["2", "40", "4€"] {
                let mut body = Vec::new();
                push(&mut body, revision, packet);
                assert_eq!(taken(&body, revision).unwrap(), [packet]);
            }
        }
    }

    #[test]
    fn what_is_no_body() {
        for body in ["4hello", "9:4hello", "x:4", ":4", "3:4", "99999999999:4", "2:4€1", "5:𝄞𝄞"] {
            assert!(taken(body.as_bytes(), Revision::V3).is_err(), "{body}");
        }
        assert!(take(b"6", Revision::V4, &mut |_| Err("no".into())).is_err());
    }
}
