//! Server-Sent Events as a client reads them ("Server-sent events" in the HTML standard). Separate from relay's own encoder, so
//! that a mistake there shows.

use crate::error::ConnectionError;

/// A block: the lines up to an empty one, without comments and `retry`. Fields that it does not have are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block<'a> {
    /// The name of the event.
    pub event: &'a [u8],
    /// The id.
    pub id: &'a [u8],
    /// The data, if there is any.
    pub data: Option<&'a [u8]>,
}

/// Handles a block. An error ends the connection.
pub type Handler<'a> = dyn FnMut(Block<'_>) -> Result<(), ConnectionError> + 'a;

/// Calls `handle` with each complete block in `bytes` until it fails, and returns how many bytes these were; the rest is the
/// beginning of another block. Fails on fields that relay does not send. A block has at most one line of data, since JSON is one
/// line.
pub fn parse(bytes: &[u8], handle: &mut Handler<'_>) -> Result<usize, ConnectionError> {
    let (mut used, mut at, mut block) = (0, 0, Block::default());
    while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[at..at + length];
        at += length + 1;
        if line.is_empty() {
            handle(block)?;
            (used, block) = (at, Block::default());
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" if block.data.is_some() => return Err(ConnectionError::malformed("a second line of data")),
            b"data" => block.data = Some(value),
            b"id" => block.id = value,
            b"event" => block.event = value,
            b"" | b"retry" => {}
            _ => return Err(ConnectionError::malformed("an event stream has an unknown field")),
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<(usize, Vec<String>), ConnectionError> {
        let mut blocks = Vec::new();
        let used = parse(bytes, &mut |block| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            blocks.push(format!("{} {} {:?}", text(block.event), text(block.id), block.data.map(text)));
            Ok(())
        });
        used.map(|used| (used, blocks))
    }

    #[test]
    fn every_cut() {
        let bytes = b"retry: 2734\nid: 1\n\nid: 2\ndata: {\"a\":\"b: c\"}\n\n:\n\nevent: e\ndata:  x\n\ndata\n\nid";
        let expected =
            [" 1 None", " 2 Some(\"{\\\"a\\\":\\\"b: c\\\"}\")", "  None", "e  Some(\" x\")", "  Some(\"\")"];
        assert_eq!(parsed(bytes).unwrap(), (bytes.len() - 2, expected.map(str::to_owned).to_vec()));
        for cut in 0..=bytes.len() {
            let (used, mut blocks) = parsed(&bytes[..cut]).unwrap();
            assert!(used <= cut);
            blocks.extend(parsed(&bytes[used..]).unwrap().1);
            assert_eq!(blocks, expected, "{cut}");
        }
    }

    #[test]
    fn malformed_streams() {
        for bytes in [&b"data: a\ndata: b\n\n"[..], b"ids: 1\n", b"HTTP/1.1 200 OK\r\n", b"{}\n"] {
            assert!(parsed(bytes).is_err(), "{bytes:?}");
        }
        assert!(parse(b":\n\n", &mut |_| Err(ConnectionError::Closed)).is_err());
    }
}
