//! The chunked transfer coding (RFC 9112 section 7.1).
//!
//! The decoder is strict: it refuses every body that two parsers could read differently (RFC 9112 section 11).

use super::error::{Error, Syntax};

/// Decodes a chunked body that arrives in pieces. It keeps the decoded data only.
#[derive(Debug, Default)]
pub struct Chunked {
    body: Vec<u8>,
    state: State,
    /// Bytes of chunk extensions so far.
    extensions: usize,
}

/// How far [`Chunked::handle_input`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes at the start of the input that are decoded. Do not pass them again.
    pub taken: usize,
    /// Whether the body is complete.
    pub complete: bool,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    /// The next line is a chunk's size.
    #[default]
    Size,
    /// A chunk's data: the number of missing bytes.
    Data(u64),
    /// The CR LF that ends a chunk's data.
    DataEnd,
    /// The next line is a trailer, or the empty line that ends the body. Bytes of trailers so far.
    Trailer(usize),
    /// The body is complete.
    Complete,
}

impl Chunked {
    /// The data decoded so far.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The decoded data of a complete body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Bytes of memory for the data.
    pub fn memory(&self) -> usize {
        self.body.capacity()
    }

    /// Decodes as much as possible of `encoded`: what was left over of the last call, and what has arrived since. At most
    /// 4,097 bytes of an incomplete line are left over.
    ///
    /// Fails with [`Error::BodyTooLarge`] as soon as a chunk's size makes the body larger than `max_body` bytes, with
    /// [`Error::HeadTooLarge`] if the trailers have more than 4,096 bytes, and with [`Error::BadRequest`] if the coding is
    /// malformed or all chunk extensions together have more than 16 KiB.
    pub fn handle_input(&mut self, encoded: &[u8], max_body: u64) -> Result<Decoded, Error> {
        let mut taken = 0;
        loop {
            let rest = &encoded[taken..];
            let incomplete = Ok(Decoded { taken, complete: false });
            match self.state {
                State::Size => {
                    let Some(line) = line(rest)? else { return incomplete };
                    let (size, extensions) = chunk_size(line)?;
                    self.extensions += extensions;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(Syntax::ChunkExtensions.into());
                    }
                    if self.body.len() as u64 + size > max_body {
                        return Err(Error::BodyTooLarge);
                    }
                    taken += line.len() + 2;
                    self.state = if size == 0 { State::Trailer(0) } else { State::Data(size) };
                }
                State::Data(missing) => {
                    let part = &rest[..rest.len().min(usize::try_from(missing).unwrap_or(usize::MAX))];
                    if part.is_empty() {
                        return incomplete;
                    }
                    self.body.extend_from_slice(part);
                    taken += part.len();
                    let missing = missing - part.len() as u64;
                    self.state = if missing == 0 { State::DataEnd } else { State::Data(missing) };
                }
                State::DataEnd => {
                    match rest {
                        [b'\r', b'\n', ..] => taken += 2,
                        [] | [b'\r'] => return incomplete,
                        _ => return Err(Syntax::ChunkEnd.into()),
                    }
                    self.state = State::Size;
                }
                State::Trailer(so_far) => {
                    let Some(line) = line(rest)? else { return incomplete };
                    taken += line.len() + 2;
                    let so_far = so_far + line.len() + 2;
                    if so_far > MAX_LINE {
                        return Err(Error::HeadTooLarge);
                    }
                    self.state = if line.is_empty() { State::Complete } else { State::Trailer(so_far) };
                }
                State::Complete => return Ok(Decoded { taken, complete: true }),
            }
        }
    }
}

/// The line at the start of `bytes` without its CR LF, or `None` if its end has not arrived. A bare CR or LF is refused:
/// some parsers take it for a line end.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Syntax> {
    match bytes.iter().take(MAX_LINE + 2).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' && !bytes[..at - 1].contains(&b'\r') => Ok(Some(&bytes[..at - 1])),
        Some(_) => Err(Syntax::ChunkLine),
        None if bytes.len() > MAX_LINE => Err(Syntax::ChunkLineTooLong),
        None => Ok(None),
    }
}

/// The size in a line `1*HEXDIG [ chunk-ext ]`, and the bytes of the extensions, which are ignored (RFC 9112 section
/// 7.1.1).
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Syntax> {
    let digits = match line.iter().position(|byte| *byte == b';') {
        Some(at) => line[..at].trim_ascii_end(),
        None => line,
    };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) || line.contains(&0) {
        return Err(Syntax::ChunkSize);
    }
    let extensions = line.len() - digits.len();
    let digits = core::str::from_utf8(digits).map_err(|_| Syntax::ChunkSize)?;
    Ok((u64::from_str_radix(digits, 16).map_err(|_| Syntax::ChunkSize)?, extensions))
}

/// Bytes of a size line with its extensions, and of all trailers together.
const MAX_LINE: usize = 4096;
/// Bytes of all extensions together. No known client sends any; hyper has the same limit.
const MAX_EXTENSIONS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoded: &[u8], max_body: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut chunked = Chunked::default();
        let complete = chunked.handle_input(encoded, max_body)?.complete;
        Ok(complete.then(|| chunked.into_body()))
    }

    #[test]
    fn a_cut_changes_nothing() {
        let encoded = b"4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET";
        for cut in 0..encoded.len() {
            let mut chunked = Chunked::default();
            let early = chunked.handle_input(&encoded[..cut], 100).unwrap();
            assert_eq!(early.complete, cut >= encoded.len() - 3, "{cut}");
            let late = chunked.handle_input(&encoded[early.taken..], 100).unwrap();
            assert!(late.complete);
            assert_eq!(chunked.body(), b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(early.taken + late.taken, encoded.len() - 3);
        }
    }

    #[test]
    fn byte_by_byte() {
        let encoded = b"3\r\nabc\r\n0\r\n\r\n";
        let (mut chunked, mut begin) = (Chunked::default(), 0);
        for end in 1..=encoded.len() {
            let decoded = chunked.handle_input(&encoded[begin..end], 3).unwrap();
            begin += decoded.taken;
            assert_eq!(decoded.complete, end == encoded.len());
        }
    }

    #[test]
    fn extensions_are_bounded_in_all() {
        let chunk = [&b"1;"[..], &[b'x'; 3999], b"\r\na\r\n"].concat();
        let mut chunked = Chunked::default();
        for _ in 0..4 {
            let decoded = chunked.handle_input(&chunk, 100).unwrap();
            assert_eq!(decoded, Decoded { taken: chunk.len(), complete: false });
        }
        assert_eq!(chunked.handle_input(&chunk, 100), Err(Syntax::ChunkExtensions.into()));
        let small = b"1;x\r\na\r\n".repeat(2000);
        assert_eq!(Chunked::default().handle_input(&small, 10_000).unwrap().taken, small.len());
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"1 \r\n",
            b" 1\r\n",
            b"1\n",
            b"1\r\nab\r\n",
            b"1\r\naXX",
            b"1;a\nb\r\n",
            b"1;a\rb\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\nx\n\r\n",
        ] {
            assert!(matches!(decode(bad, 100), Err(Error::BadRequest(_))), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(decode(b"5\r\n", 4), Err(Error::BodyTooLarge));
        assert_eq!(decode(b"fffffffffffffff\r\n", 4), Err(Error::BodyTooLarge));
        assert_eq!(decode(b"2\r\nab\r\n3\r\n", 4), Err(Error::BodyTooLarge));
        assert!(decode(&[b'1'; 5000], 4).is_err());
        let trailers = [&b"0\r\n"[..], &b"a: b\r\n".repeat(2000)].concat();
        assert_eq!(decode(&trailers, 4), Err(Error::HeadTooLarge));
        assert_eq!(decode(b"000002 ;x=y\r\nab\r\n0\r\n\r\n", 4), Ok(Some(b"ab".to_vec())));
    }
}
