//! RESP2, the Redis serialization protocol, version 2 (redis.io, "Redis serialization protocol specification"), which Redis
//! and Valkey use by default.
//!
//! relay has its own decoder because a subscriber must tolerate a message that is too large: it skips the message while
//! it arrives, and continues after it. The decoders of crates need a complete reply in one buffer.

use core::fmt;
use std::{borrow::Cow, mem};

/// A reply or message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple string, such as `OK`.
    Text(String),
    /// An error: a code in capitals, such as `NOAUTH`, and a text.
    Error(String),
    /// An integer.
    Integer(i64),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// A bulk string that was skipped because it, or the reply with it, is too long: its length in bytes.
    TooLong(u64),
    /// The null bulk string or array.
    Null,
    /// An array.
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a simple or bulk string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Text(text) => Some(text.as_bytes()),
            Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a simple or bulk string, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    /// The value of an integer, or of a string of digits.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Integer(number) => Some(*number),
            other => other.text()?.parse().ok(),
        }
    }

    /// The elements of an array.
    pub fn array(self) -> Option<Vec<Reply>> {
        match self {
            Reply::Array(list) => Some(list),
            _ => None,
        }
    }
}

/// A violation of the protocol by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The first byte is not the type of a RESP2 value.
    Type(u8),
    /// A line is empty or does not end with CR LF.
    Line,
    /// A line has more than 64 KiB.
    LineTooLong,
    /// An integer or a length is not a decimal number.
    Number,
    /// A bulk string has a negative length.
    Length(i64),
    /// A bulk string is not followed by CR LF.
    StringEnd,
    /// A reply has more values and lines than relay keeps.
    TooLarge,
    /// An array has a negative length or more than 4,194,304 elements, or is nested more than 8 levels deep.
    Array,
}

/// The first byte of an alert of TLS (RFC 8446 section 5.1), which answers a client that does not speak it.
const TLS_ALERT: u8 = 21;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Malformed::Type(TLS_ALERT) {
            return f.write_str("it speaks TLS at this port: write rediss:// in place of redis://");
        }
        f.write_str("not a Redis server: ")?;
        match self {
            Malformed::Type(byte) => write!(f, "unknown RESP2 type {:?}", char::from(*byte)),
            Malformed::Line => f.write_str("a line is empty or does not end with CR LF"),
            Malformed::LineTooLong => write!(f, "a line has more than {MAX_LINE} bytes"),
            Malformed::Number => f.write_str("invalid integer"),
            Malformed::Length(length) => write!(f, "a string has the length {length}"),
            Malformed::StringEnd => f.write_str("a string does not end with CR LF"),
            Malformed::TooLarge => f.write_str("a reply is too large"),
            Malformed::Array => f.write_str("an array is too long or nested too deep"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Decodes replies that arrive in pieces.
pub struct Reader {
    max_string: u64,
    /// An incomplete line.
    line: Vec<u8>,
    /// An incomplete bulk string.
    bulk: Option<Bulk>,
    /// The incomplete arrays, the outermost first.
    open: Vec<Open>,
    /// Bytes of all bulk strings kept for the current reply.
    held: u64,
}

struct Bulk {
    length: u64,
    /// Missing bytes, including CR LF.
    left: u64,
    /// The bytes; `None` if the string is skipped.
    kept: Option<Vec<u8>>,
}

struct Open {
    /// Missing elements.
    left: usize,
    list: Vec<Reply>,
}

impl Reader {
    /// A reader that keeps bulk strings of up to `max_string` bytes and skips longer ones.
    pub fn new(max_string: u64) -> Reader {
        Reader { max_string, line: Vec::new(), bulk: None, open: Vec::new(), held: 0 }
    }

    /// Returns the next complete reply, or `None` if its end has not arrived. Advances `input` past what was read.
    pub fn poll(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        loop {
            let Some(value) = self.value(input)? else { return Ok(None) };
            // The strings of bulk strings were counted when they began.
            self.held += size_of::<Reply>() as u64;
            if let Reply::Text(text) | Reply::Error(text) = &value {
                self.held += text.len() as u64;
            }
            if self.held > MAX_HELD + MAX_OVERHEAD {
                return Err(Malformed::TooLarge);
            }
            if let Some(reply) = self.place(value) {
                self.held = 0;
                return Ok(Some(reply));
            }
        }
    }

    /// Reads a value that is not an array, or an empty array. Begins an array that is not empty.
    fn value(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
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
                    Some(_) => Err(Malformed::StringEnd),
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
                        let keep = length <= self.max_string && self.held + length <= MAX_HELD;
                        self.held += if keep { length } else { 0 };
                        // A server may announce more than it sends.
                        let kept = keep.then(|| Vec::with_capacity((length as usize + 2).min(MAX_RESERVED)));
                        self.bulk = Some(Bulk { length, left: length.saturating_add(2), kept });
                    }
                    length => return Err(Malformed::Length(length)),
                },
                b'*' => match number(&line)? {
                    -1 => return Ok(Some(Reply::Null)),
                    0 => return Ok(Some(Reply::Array(Vec::new()))),
                    left @ 1.. if left as u64 <= MAX_ITEMS && self.open.len() < MAX_DEPTH => {
                        // No memory is reserved: a server may announce more than it sends.
                        self.open.push(Open { left: left as usize, list: Vec::new() });
                    }
                    _ => return Err(Malformed::Array),
                },
                other => return Err(Malformed::Type(other)),
            }
        }
    }

    /// Adds a value to the innermost incomplete array. Returns the outermost value once it is complete.
    fn place(&mut self, mut value: Reply) -> Option<Reply> {
        while let Some(open) = self.open.last_mut() {
            open.list.push(value);
            open.left -= 1;
            if open.left > 0 {
                return None;
            }
            value = Reply::Array(mem::take(&mut open.list));
            self.open.pop();
        }
        Some(value)
    }

    /// Reads a line, without its CR LF. Copies only if it arrives in several pieces.
    fn line<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (now, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        if self.line.len() + now.len() > MAX_LINE {
            return Err(Malformed::LineTooLong);
        }
        *input = rest;
        if end.is_none() || !self.line.is_empty() {
            self.line.extend_from_slice(now);
        }
        if end.is_none() {
            return Ok(None);
        }
        if self.line.is_empty() {
            let line = now.strip_suffix(b"\r\n").filter(|line| !line.is_empty());
            return line.map(|line| Some(line.into())).ok_or(Malformed::Line);
        }
        let mut line = mem::take(&mut self.line);
        if !line.ends_with(b"\r\n") || line.len() < 3 {
            return Err(Malformed::Line);
        }
        line.truncate(line.len() - 2);
        Ok(Some(line.into()))
    }
}

/// The number after the type of a line.
fn number(line: &[u8]) -> Result<i64, Malformed> {
    let digits = core::str::from_utf8(&line[1..]).ok();
    digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed::Number)
}

/// Appends an encoded command: an array of bulk strings.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    begin(out, parts.len());
    parts.iter().for_each(|bytes| part(out, bytes));
}

/// Appends the beginning of a command of `parts` strings; [`part`] appends each of them.
pub fn begin(out: &mut Vec<u8>, parts: usize) {
    length(out, b'*', parts);
}

/// Appends the next string of a command.
pub fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Bytes of a line: a simple string, an error or a number.
const MAX_LINE: usize = 64 * 1024;
/// Bytes of all bulk strings that are kept for one reply.
const MAX_HELD: u64 = 256 * 1024 * 1024;
/// Elements of an array.
const MAX_ITEMS: u64 = 4 * 1024 * 1024;
/// Bytes of the values of one reply, besides its strings: enough for an array of the most elements.
const MAX_OVERHEAD: u64 = MAX_ITEMS * size_of::<Reply>() as u64;
/// Bytes that are reserved for a string before it arrives.
const MAX_RESERVED: usize = 4096;
/// Levels of nested arrays.
const MAX_DEPTH: usize = 8;

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
    fn a_cut_changes_nothing() {
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
    fn malformed_replies_are_refused() {
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
