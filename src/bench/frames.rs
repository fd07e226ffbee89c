//! WebSocket frames as a client reads and writes them (RFC 6455 section 5).

/// A kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// The closing handshake.
    Close,
    /// "Are you there?"
    Ping,
    /// The answer.
    Pong,
}

/// What is done with a frame; the error ends the connection.
pub type Handler<'a> = dyn FnMut(Opcode, &[u8]) -> Result<(), String> + 'a;

/// Hands each whole frame of `bytes` to `handle` until it fails; how many bytes they were. What is left over is the
/// beginning of a frame. The error says what no server may send; relay sends no frame in fragments.
pub fn take(bytes: &[u8], handle: &mut Handler<'_>) -> Result<usize, String> {
    let mut at = 0;
    while let [first, second, rest @ ..] = &bytes[at..] {
        let opcode = match first {
            0x81 => Opcode::Text,
            0x82 => Opcode::Binary,
            0x88 => Opcode::Close,
            0x89 => Opcode::Ping,
            0x8a => Opcode::Pong,
            _ => return Err(format!("a frame begins with {first:#04x}")),
        };
        let (head, length) = match (second, rest) {
            (0..126, _) => (2, usize::from(*second)),
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (10, usize::try_from(length).map_err(|_| format!("a frame of {length} bytes"))?)
            }
            (126 | 127, _) => break,
            _ => return Err("a server's frame is masked".into()),
        };
        let Some(payload) = bytes[at + head..].get(..length) else { break };
        handle(opcode, payload)?;
        at += head + length;
    }
    Ok(at)
}

/// Appends a frame as a client sends it. The mask is zero, which a server cannot tell from any other.
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

    /// A client's frame as a server would send it.
    fn unmasked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push(&mut frame, opcode, payload);
        frame[1] &= 0x7f;
        let mask = frame.len() - payload.len() - 4;
        frame.drain(mask..mask + 4);
        frame
    }

    fn taken(bytes: &[u8]) -> (usize, Vec<(Opcode, Vec<u8>)>) {
        let mut frames = Vec::new();
        let used = take(bytes, &mut |opcode, payload| {
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
        // Within the long one a few cuts say what all would.
        let dull = ends[3] + 20..ends[4] - 20;
        for cut in (0..=bytes.len()).filter(|cut| !dull.contains(cut) || cut % 5000 == 0) {
            let (used, mut frames) = taken(&bytes[..cut]);
            assert_eq!(used, ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0), "{cut}");
            let (more, rest) = taken(&bytes[used..]);
            frames.extend(rest);
            assert_eq!((used + more, frames.as_slice()), (bytes.len(), payloads.as_slice()), "{cut}");
        }
    }

    #[test]
    fn what_no_server_sends() {
        for bytes in [&b"\x81\x80\0\0\0\0"[..], b"\x01\x01x", b"\x80\x01x", b"\xc1\x01x", b"HTTP"] {
            assert!(take(bytes, &mut |_, _| Ok(())).is_err(), "{bytes:?}");
        }
        assert_eq!(take(b"\x81\x01x\x81\x01y", &mut |_, _| Err("no".into())), Err("no".into()));
    }
}
