//! The chunked transfer coding (RFC 9112 section 7.1), strictly: what two parsers could read differently is refused.

use super::Error;

/// Decodes a body that arrives in pieces; feed it the bytes from [`Chunked::taken`] on.
#[derive(Debug, Default)]
pub struct Chunked {
    body: Vec<u8>,
    /// Encoded bytes that are dealt with.
    taken: usize,
    state: State,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    /// Before a line that says the next chunk's size.
    #[default]
    Size,
    /// So many bytes of a chunk are missing.
    Data(u64),
    /// Before the line end behind a chunk's data.
    End,
    /// Before a trailer line or the empty line that ends it all; bytes of trailers so far.
    Trailer(usize),
    /// The body is whole.
    Whole,
}

impl Chunked {
    /// How many of the encoded bytes were dealt with so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The decoded body, as far as it is there.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes all it can of `encoded`, which is the whole coded body so far; says whether the body is whole.
    pub fn handle_input(&mut self, encoded: &[u8], most: u64) -> Result<bool, Error> {
        loop {
            let rest = &encoded[self.taken..];
            match self.state {
                State::Size => {
                    let Some(line) = line(rest, LONGEST_LINE)? else { return Ok(false) };
                    let size = chunk_size(line)?;
                    if self.body.len() as u64 + size > most {
                        return Err(Error::BodyTooLarge);
                    }
                    self.taken += line.len() + 2;
                    self.state = if size == 0 { State::Trailer(0) } else { State::Data(size) };
                }
                State::Data(missing) => {
                    let part = &rest[..rest.len().min(usize::try_from(missing).unwrap_or(usize::MAX))];
                    if part.is_empty() {
                        return Ok(false);
                    }
                    self.body.extend_from_slice(part);
                    self.taken += part.len();
                    let missing = missing - part.len() as u64;
                    self.state = if missing == 0 { State::End } else { State::Data(missing) };
                }
                State::End => {
                    match rest {
                        [b'\r', b'\n', ..] => self.taken += 2,
                        [] | [b'\r'] => return Ok(false),
                        _ => return Err(Error::BadRequest("a chunk is longer than it says")),
                    }
                    self.state = State::Size;
                }
                State::Trailer(so_far) => {
                    let Some(line) = line(rest, LONGEST_LINE)? else { return Ok(false) };
                    self.taken += line.len() + 2;
                    let so_far = so_far + line.len();
                    if so_far > LONGEST_LINE {
                        return Err(Error::HeadTooLarge);
                    }
                    self.state = if line.is_empty() { State::Whole } else { State::Trailer(so_far) };
                }
                State::Whole => return Ok(true),
            }
        }
    }
}

/// The line at the start, without its end; nothing if it is not whole yet.
fn line(bytes: &[u8], longest: usize) -> Result<Option<&[u8]>, Error> {
    match bytes.iter().take(longest + 2).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' && !bytes[..at - 1].contains(&b'\r') => Ok(Some(&bytes[..at - 1])),
        Some(_) => Err(Error::BadRequest("a chunk's line does not end with CR LF")),
        None if bytes.len() > longest => Err(Error::BadRequest("a chunk's line is too long")),
        None => Ok(None),
    }
}

/// `1*HEXDIG [ chunk-ext ]`; extensions are ignored.
fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let bad = Error::BadRequest("a chunk's size is no hexadecimal number");
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = match line.contains(&b';') {
        true => digits.trim_ascii_end(),
        false => digits,
    };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) || line.contains(&0) {
        return Err(bad);
    }
    let digits = core::str::from_utf8(digits).map_err(|_| bad)?;
    u64::from_str_radix(digits, 16).map_err(|_| bad)
}

/// Bytes of a size line with its extensions, and of all trailers together.
const LONGEST_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoded: &[u8], most: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut chunked = Chunked::default();
        let whole = chunked.handle_input(encoded, most)?;
        Ok(whole.then(|| chunked.body().to_vec()))
    }

    #[test]
    fn every_cut() {
        let encoded = b"4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET";
        for cut in 0..encoded.len() {
            let mut chunked = Chunked::default();
            let early = chunked.handle_input(&encoded[..cut], 100).unwrap();
            assert_eq!(early, cut >= encoded.len() - 3, "{cut}");
            assert!(chunked.handle_input(encoded, 100).unwrap());
            assert_eq!(chunked.body(), b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(chunked.taken(), encoded.len() - 3);
        }
    }

    #[test]
    fn byte_by_byte() {
        let encoded = b"3\r\nabc\r\n0\r\n\r\n";
        let mut chunked = Chunked::default();
        for end in 1..=encoded.len() {
            assert_eq!(chunked.handle_input(&encoded[..end], 3).unwrap(), end == encoded.len());
        }
    }

    #[test]
    fn traps() {
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
