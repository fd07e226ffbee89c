//! Engine.IO as a client speaks it over HTTP long polling: session URLs and the bodies of requests and responses ("Payload
//! encoding" in the protocol documents). Separate from relay's own encoder, so that a mistake there shows.

use crate::error::ConnectionError;

/// A revision of the Engine.IO protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: Socket.IO 1.x and 2.x. The client sends the pings.
    V3,
    /// `EIO=4`: Socket.IO 3.x and 4.x. The server sends the pings.
    V4,
}

impl Revision {
    /// The value of the `EIO` parameter.
    pub fn number(self) -> u8 {
        match self {
            Revision::V3 => 3,
            Revision::V4 => 4,
        }
    }
}

/// The path and query of an Engine.IO request; `query` is appended.
pub fn path(revision: Revision, transport: &str, query: &str) -> String {
    // With b64, relay sends large bodies as text, too.
    let base64 = if revision == Revision::V3 && transport == "polling" { "&b64=1" } else { "" };
    format!("/socket.io/?EIO={}&transport={transport}{base64}&{query}", revision.number())
}

/// Calls `handle` with each packet of a body until it fails. Fails if the body is malformed.
pub fn parse(
    body: &[u8],
    revision: Revision,
    handle: &mut dyn FnMut(&[u8]) -> Result<(), ConnectionError>,
) -> Result<(), ConnectionError> {
    if revision == Revision::V4 {
        return body.split(|byte| *byte == SEPARATOR).try_for_each(handle);
    }
    let malformed = ConnectionError::malformed;
    let mut rest = body;
    while !rest.is_empty() {
        let colon = rest.iter().take(10).position(|byte| *byte == b':');
        let colon = colon.ok_or_else(|| malformed("a polling packet has no length"))?;
        let length = core::str::from_utf8(&rest[..colon]).ok().and_then(|length| length.parse().ok());
        let units: usize = length.ok_or_else(|| malformed("the length of a polling packet is not a number"))?;
        let packets = &rest[colon + 1..];
        let split = packets.split_at_checked(utf8_length(packets, units));
        let (packet, others) = split.ok_or_else(|| malformed("a polling packet is cut off"))?;
        handle(packet)?;
        rest = others;
    }
    Ok(())
}

/// Appends a body with one packet.
pub fn push(out: &mut Vec<u8>, revision: Revision, packet: &str) {
    if revision == Revision::V3 {
        out.extend_from_slice(format!("{}:", packet.encode_utf16().count()).as_bytes());
    }
    out.extend_from_slice(packet.as_bytes());
}

/// The length in bytes of the first `units` UTF-16 code units of a UTF-8 text; more than `text` has if it is cut off.
fn utf8_length(text: &[u8], units: usize) -> usize {
    // The messages of a load are ASCII.
    if text.get(..units).is_some_and(<[u8]>::is_ascii) {
        return units;
    }
    let (mut at, mut seen) = (0, 0);
    while seen < units {
        // A character of four bytes is a surrogate pair: two units.
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

const SEPARATOR: u8 = 0x1e;

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(body: &[u8], revision: Revision) -> Result<Vec<String>, ConnectionError> {
        let mut packets = Vec::new();
        parse(body, revision, &mut |packet| {
            packets.push(String::from_utf8_lossy(packet).into_owned());
            Ok(())
        })?;
        Ok(packets)
    }

    #[test]
    fn examples_of_the_specification() {
        assert_eq!(packets(b"4hello\x1e2\x1e4world", Revision::V4).unwrap(), ["4hello", "2", "4world"]);
        assert_eq!(packets("2:4€10:b4AQIDBA==".as_bytes(), Revision::V3).unwrap(), ["4€", "b4AQIDBA=="]);
    }

    #[test]
    fn lengths_are_utf16_code_units() {
        let bodies = [
            (Revision::V3, "15:42[\"newMsg\",{}]6:4a𝄞é€1:26:412:4x"),
            (Revision::V4, "42[\"newMsg\",{}]\u{1e}4a𝄞é€\u{1e}2\u{1e}412:4x"),
        ];
        for (revision, body) in bodies {
            assert_eq!(packets(body.as_bytes(), revision).unwrap(), ["42[\"newMsg\",{}]", "4a𝄞é€", "2", "412:4x"]);
            for packet in ["2", "40", "4€"] {
                let mut body = Vec::new();
                push(&mut body, revision, packet);
                assert_eq!(packets(&body, revision).unwrap(), [packet]);
            }
        }
    }

    #[test]
    fn malformed_bodies() {
        for body in ["4hello", "9:4hello", "x:4", ":4", "3:4", "99999999999:4", "2:4€1", "5:𝄞𝄞"] {
            assert!(packets(body.as_bytes(), Revision::V3).is_err(), "{body}");
        }
        assert!(parse(b"6", Revision::V4, &mut |_| Err(ConnectionError::Closed)).is_err());
    }
}
