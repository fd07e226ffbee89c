//! WebSocket frames as a client reads and writes them (RFC 6455 section 5).

use crate::error::ConnectionError;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// Binary data.
    Binary,
    /// The closing handshake.
    Close,
    /// A ping.
    Ping,
    /// The answer to a ping.
    Pong,
}

/// Handles a frame. An error ends the connection.
pub type Handler<'a> = dyn FnMut(Opcode, &[u8]) -> Result<(), ConnectionError> + 'a;

/// Calls `handle` with each complete frame in `bytes` until it fails, and returns how many bytes these were; the rest is the
/// beginning of another frame. Fails if a server must not send such a frame. Fragments are not supported: relay sends none.
pub fn parse(bytes: &[u8], handle: &mut Handler<'_>) -> Result<usize, ConnectionError> {
    let mut at = 0;
    while let [first, second, rest @ ..] = &bytes[at..] {
        let opcode = match first {
            0x81 => Opcode::Text,
            0x82 => Opcode::Binary,
            0x88 => Opcode::Close,
            0x89 => Opcode::Ping,
            0x8a => Opcode::Pong,
            _ => return Err(ConnectionError::malformed(format!("invalid first byte of a frame: {first:#04x}"))),
        };
        let (head, length) = match (second, rest) {
            (0..126, _) => (2, usize::from(*second)),
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (10, usize::try_from(length).map_err(|_| ConnectionError::TooLong(usize::MAX))?)
            }
            (126 | 127, _) => break,
            _ => return Err(ConnectionError::malformed("a frame of the server is masked")),
        };
        let Some(payload) = bytes[at + head..].get(..length) else { break };
        handle(opcode, payload)?;
        at += head + length;
    }
    Ok(at)
}

/// Appends a frame as a client sends it. The masking key is zero: valid, and the payload needs no second pass.
pub fn push(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.push(match opcode {
        Opcode::Text => 0x81,
        Opcode::Binary => 0x82,
        Opcode::Close => 0x88,
        Opcode::Ping => 0x89,
        Opcode::Pong => 0x8a,
    });
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server sends it.
    fn unmasked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push(&mut frame, opcode, payload);
        frame[1] &= 0x7f;
        let mask = frame.len() - payload.len() - 4;
        frame.drain(mask..mask + 4);
        frame
    }

    fn parsed(bytes: &[u8]) -> (usize, Vec<(Opcode, Vec<u8>)>) {
        let mut frames = Vec::new();
        let used = parse(bytes, &mut |opcode, payload| {
            frames.push((opcode, payload.to_vec()));
            Ok(())
        });
        (used.unwrap(), frames)
    }

    #[test]
    fn every_cut() {
        let payloads: [(Opcode, Vec<u8>); 7] = [
            (Opcode::Text, b"hello".to_vec()),
            (Opcode::Ping, Vec::new()),
            (Opcode::Text, vec![b'x'; 125]),
            (Opcode::Binary, vec![0xff; 126]),
            (Opcode::Text, vec![b'y'; 70_000]),
            (Opcode::Pong, b"p".to_vec()),
            (Opcode::Close, vec![3, 232]),
        ];
        let mut ends = Vec::new();
        let mut bytes = Vec::new();
        for (opcode, payload) in &payloads {
            bytes.extend(unmasked(*opcode, payload));
            ends.push(bytes.len());
        }
        // Within the long payload a few cuts are enough.
        let sampled = ends[3] + 20..ends[4] - 20;
        for cut in (0..=bytes.len()).filter(|cut| !sampled.contains(cut) || cut % 5000 == 0) {
            let (used, mut frames) = parsed(&bytes[..cut]);
            assert_eq!(used, ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0), "{cut}");
            let (more, rest) = parsed(&bytes[used..]);
            frames.extend(rest);
            assert_eq!((used + more, frames.as_slice()), (bytes.len(), payloads.as_slice()), "{cut}");
        }
    }

    #[test]
    fn invalid_frames() {
        for bytes in [&b"\x81\x80\0\0\0\0"[..], b"\x01\x01x", b"\x80\x01x", b"\xc1\x01x", b"HTTP"] {
            assert!(parse(bytes, &mut |_, _| Ok(())).is_err(), "{bytes:?}");
        }
        assert!(parse(b"\x81\x01x\x81\x01y", &mut |_, _| Err(ConnectionError::Closed)).is_err());
    }
}
