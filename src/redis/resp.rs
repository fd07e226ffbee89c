//! The Redis serialization protocol, version 2 (redis.io, "Redis serialization protocol specification"): what every Redis
//! from 5 on and Valkey speak without being asked.
//!
//! Our own, since a subscriber must survive what it cannot hold: a message beyond the bound is skipped as it comes, and the
//! ones behind it are still understood. The crates' codecs want a whole reply in one buffer.

use std::{borrow::Cow, mem};

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A short text, like `OK`.
    Text(String),
    /// It could not do that, and why: a word in capitals, and more.
    Error(String),
    /// A number.
    Integer(i64),
    /// Any bytes.
    Bulk(Vec<u8>),
    /// So many bytes that they were not kept.
    TooLong(u64),
    /// Nothing there.
    Null,
    /// Several of those.
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a string of either kind.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Text(text) => Some(text.as_bytes()),
            Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The same if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    /// A number, which some commands say in digits.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Integer(number) => Some(*number),
            other => other.text()?.parse().ok(),
        }
    }

    /// The parts of an array.
    pub fn array(self) -> Option<Vec<Reply>> {
        match self {
            Reply::Array(list) => Some(list),
            _ => None,
        }
    }
}

/// Why this is not a server of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Takes replies out of bytes that come in any pieces.
pub struct Reader {
    longest: u64,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// A bulk string that is coming.
    bulk: Option<Bulk>,
    /// Arrays that are open, the outermost first.
    open: Vec<Open>,
    /// Bytes held for the reply that is coming.
    held: u64,
}

struct Bulk {
    length: u64,
    /// How many bytes are to come, with the two that end it.
    left: u64,
    /// None: it is too long to be kept.
    kept: Option<Vec<u8>>,
}

struct Open {
    left: usize,
    list: Vec<Reply>,
}

impl Reader {
    /// A reader that keeps strings of up to `longest` bytes.
    pub fn new(longest: u64) -> Reader {
        Reader { longest, line: Vec::new(), bulk: None, open: Vec::new(), held: 0 }
    }

    /// The next whole reply; what was looked at is taken from `input`.
    pub fn poll(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        loop {
            let Some(reply) = self.piece(input)? else { return Ok(None) };
            if let Some(whole) = self.place(reply) {
                self.held = 0;
                return Ok(Some(whole));
            }
        }
    }

    /// A reply that is no array, or an array that is empty.
    fn piece(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        loop {
            if let Some(bulk) = &mut self.bulk {
                let count = bulk.left.min(input.len() as u64) as usize;
                let (now, rest) = input.split_at(count);
                *input = rest;
                if let Some(kept) = &mut bulk.kept {
                    kept.extend_from_slice(now);
                }
                bulk.left -= count as u64;
                if bulk.left > 0 {
                    return Ok(None);
                }
                let Some(Bulk { length, kept, .. }) = self.bulk.take() else { return Ok(None) };
                return match kept {
                    None => Ok(Some(Reply::TooLong(length))),
                    Some(mut bytes) if bytes.ends_with(b"\r\n") => {
                        bytes.truncate(length as usize);
                        Ok(Some(Reply::Bulk(bytes)))
                    }
                    Some(_) => Err(Malformed("a string does not end where it should")),
                };
            }
            let Some(line) = self.line(input)? else { return Ok(None) };
            let text = || String::from_utf8_lossy(&line[1..]).into_owned();
            match line[0] {
                b'+' => return Ok(Some(Reply::Text(text()))),
                b'-' => return Ok(Some(Reply::Error(text()))),
                b':' => return Ok(Some(Reply::Integer(number(&line)?))),
                b'$' => match number(&line)? {
                    -1 => return Ok(Some(Reply::Null)),
                    length @ 0.. => {
                        let length = length as u64;
                        let keep = length <= self.longest && self.held + length <= MOST_HELD;
                        self.held += if keep { length } else { 0 };
                        let kept = keep.then(|| Vec::with_capacity(length as usize + 2));
                        self.bulk = Some(Bulk { length, left: length.saturating_add(2), kept });
                    }
                    _ => return Err(Malformed("a string's length is negative")),
                },
                b'*' => match number(&line)? {
                    -1 => return Ok(Some(Reply::Null)),
                    0 => return Ok(Some(Reply::Array(Vec::new()))),
                    left @ 1.. if left as u64 <= MOST_ITEMS && self.open.len() < DEEPEST => {
                        // No place is reserved for what is only announced.
                        self.open.push(Open { left: left as usize, list: Vec::new() });
                    }
                    _ => return Err(Malformed("an array is too long or too deep")),
                },
                _ => return Err(Malformed("a reply begins with no sign of RESP2")),
            }
        }
    }

    /// Puts a reply where it belongs; the outermost one, once it is whole.
    fn place(&mut self, mut reply: Reply) -> Option<Reply> {
        while let Some(open) = self.open.last_mut() {
            open.list.push(reply);
            open.left -= 1;
            if open.left > 0 {
                return None;
            }
            reply = Reply::Array(mem::take(&mut open.list));
            self.open.pop();
        }
        Some(reply)
    }

    /// A line without its end; mostly it is whole where it came.
    fn line<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (now, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        if self.line.len() + now.len() > LONGEST_LINE {
            return Err(Malformed("a line has no end"));
        }
        *input = rest;
        if end.is_none() || !self.line.is_empty() {
            self.line.extend_from_slice(now);
        }
        if end.is_none() {
            return Ok(None);
        }
        const WRONG: Malformed = Malformed("a line is empty or does not end with CR LF");
        if self.line.is_empty() {
            let line = now.strip_suffix(b"\r\n").filter(|line| !line.is_empty());
            return line.map(|line| Some(line.into())).ok_or(WRONG);
        }
        let mut line = mem::take(&mut self.line);
        if !line.ends_with(b"\r\n") || line.len() < 3 {
            return Err(WRONG);
        }
        line.truncate(line.len() - 2);
        Ok(Some(line.into()))
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let digits = core::str::from_utf8(&line[1..]).ok();
    digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed("a number is none"))
}

/// Appends a command: an array of strings.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    begin(out, parts.len());
    parts.iter().for_each(|bytes| part(out, bytes));
}

/// Appends the beginning of a command of so many parts.
pub fn begin(out: &mut Vec<u8>, parts: usize) {
    out.extend_from_slice(format!("*{parts}\r\n").as_bytes());
}

/// Appends a command's next part.
pub fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Bytes of a short text, an error or a number.
const LONGEST_LINE: usize = 64 * 1024;
/// Bytes of all strings of a reply that are kept.
const MOST_HELD: u64 = 256 * 1024 * 1024;
/// Parts of an array.
const MOST_ITEMS: u64 = 4 * 1024 * 1024;
/// Arrays within arrays.
const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut Reader, pieces: &[&[u8]]) -> Result<Vec<Reply>, Malformed> {
        let mut found = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(reply) = reader.poll(&mut input)? {
                found.push(reply);
            }
            assert!(input.is_empty());
        }
        Ok(found)
    }

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.into())
    }

    #[test]
    fn every_cut_says_the_same() {
        let input = b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n\
                      *3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$11\r\n12345678901\r\n*2\r\n*1\r\n:1\r\n*2\r\n$-1\r\n+x\r\n:2\r\n";
        let expected = vec![
            Reply::Text("OK".into()),
            Reply::Error("ERR no".into()),
            Reply::Integer(-7),
            bulk("a\r\nbc"),
            Reply::Null,
            Reply::Null,
            Reply::Array(vec![]),
            bulk(""),
            Reply::Array(vec![bulk("message"), bulk("c"), Reply::TooLong(11)]),
            Reply::Array(vec![
                Reply::Array(vec![Reply::Integer(1)]),
                Reply::Array(vec![Reply::Null, Reply::Text("x".into())]),
            ]),
            Reply::Integer(2),
        ];
        for cut in 0..=input.len() {
            let (one, two) = input.split_at(cut);
            assert_eq!(all(&mut Reader::new(10), &[one, two]).as_ref(), Ok(&expected), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(all(&mut Reader::new(10), &bytes), Ok(expected));
    }

    #[test]
    fn what_is_none() {
        for wrong in [
            &b"hello\r\n"[..],
            b"\r\n",
            b"+\n",
            b":x\r\n",
            b":\r\n",
            b"$-2\r\n",
            b"$x\r\n",
            b"*99999999\r\n",
            b"$3\r\nabcde",
            b"%1\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            &[b'+'; 70_000],
        ] {
            let found = all(&mut Reader::new(100), &[wrong]);
            assert!(found.is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn commands() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"k", b"\r\n"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n");
        let read = all(&mut Reader::new(100), &[&out]).unwrap();
        assert_eq!(read, [Reply::Array(vec![bulk("SET"), bulk("k"), bulk("\r\n")])]);
    }
}
