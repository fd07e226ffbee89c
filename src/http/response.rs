//! Responses to requests that relay sends (RFC 9112 sections 6 and 9): status, body, and whether the connection can be
//! reused.

use core::{fmt, mem};

use super::{
    chunked::{Chunked, Decoded},
    error::Error,
};
use crate::language::Language;

/// A complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
    /// Whether another request may follow on the connection (RFC 9112 section 9.3).
    pub reusable: bool,
}

/// Reads one response that arrives in pieces. Use a new reader for each response.
#[derive(Debug, Default)]
pub struct Reader {
    input: Vec<u8>,
    head: Option<Head>,
    chunked: Chunked,
    interim: u32,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    length: usize,
    framing: Framing,
    keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length(u64),
    Chunked,
    /// The body ends when the server closes the connection.
    Close,
}

/// Why a response cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// More than ten interim responses (1xx) precede the response.
    Interim,
    /// The body has more bytes than allowed.
    BodyTooLarge,
    /// The chunked body is malformed (RFC 9112 section 7.1).
    Chunks,
    /// The connection was closed in the middle of the response.
    Incomplete,
    /// The connection was closed before the response.
    Missing,
    /// The head has more than 16 KiB.
    HeadTooLarge,
    /// The bytes are not an HTTP response.
    Syntax,
    /// `Content-Length` is not a decimal number.
    ContentLength,
    /// There are two different values of `Content-Length`.
    ContentLengths,
    /// `Transfer-Encoding` is not `chunked`.
    TransferEncoding,
    /// There are both `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.3).
    LengthAndCoding,
}

impl Malformed {
    /// The error in a language.
    pub fn words(self, language: Language) -> &'static str {
        let (english, chinese) = match self {
            Malformed::Interim => ("too many interim responses", "临时应答过多"),
            Malformed::BodyTooLarge => ("the body is too large", "正文过大"),
            Malformed::Chunks => ("malformed chunked body", "分块正文的格式不正确"),
            Malformed::Incomplete => {
                ("the connection was closed before the response was complete", "应答尚未完整，连接已关闭")
            }
            Malformed::Missing => ("the connection was closed without a response", "没有应答，连接已关闭"),
            Malformed::HeadTooLarge => ("the head is larger than 16 KiB", "头部超过 16 KiB"),
            Malformed::Syntax => ("not an HTTP response", "不是 HTTP 应答"),
            Malformed::ContentLength => ("Content-Length must be a decimal number", "Content-Length 必须是十进制数"),
            Malformed::ContentLengths => ("two different values of Content-Length", "Content-Length 有两个不同的值"),
            Malformed::TransferEncoding => ("Transfer-Encoding must be chunked", "Transfer-Encoding 必须是 chunked"),
            Malformed::LengthAndCoding => (
                "Content-Length and Transfer-Encoding exclude each other",
                "Content-Length 与 Transfer-Encoding 不能同时出现",
            ),
        };
        language.pick(english, chinese)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words(Language::English))
    }
}

impl std::error::Error for Malformed {}

impl Reader {
    /// Whether anything has arrived.
    pub fn has_begun(&self) -> bool {
        self.head.is_some() || !self.input.is_empty()
    }

    /// The status code, once the head is complete.
    pub fn status(&self) -> Option<u16> {
        self.head.map(|head| head.status)
    }

    /// The fields of the head in their order, with names in small letters. None until the head is complete.
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        let head = self.head.map_or(0, |head| head.length);
        let Ok(httparse::Status::Complete(_)) = response.parse(&self.input[..head]) else { return Vec::new() };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        response.headers.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect()
    }

    /// The part of an incomplete body that has arrived, without its transfer coding. After 101, the bytes that follow the head.
    pub fn received(&self) -> &[u8] {
        match self.head {
            Some(Head { framing: Framing::Chunked, .. }) => self.chunked.body(),
            Some(head) => &self.input[head.length..],
            None => &[],
        }
    }

    /// Reads the bytes that have arrived since the last call. Returns the response once it is complete.
    ///
    /// Fails if the response is malformed, if its head is larger than 16 KiB, if its body has more than `max_body` bytes,
    /// or if more than ten interim responses precede it.
    pub fn handle_input(&mut self, bytes: &[u8], max_body: u64) -> Result<Option<Response>, Malformed> {
        self.input.extend_from_slice(bytes);
        while self.head.is_none() {
            match self.parse()? {
                // An interim response: the final one follows (RFC 9110 section 15.2). After 101 there is none: another protocol
                // begins.
                Some(head) if (100..200).contains(&head.status) && head.status != UPGRADED => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Err(Malformed::Interim);
                    }
                    self.input.drain(..head.length);
                }
                Some(head) => self.head = Some(head),
                None => return Ok(None),
            }
        }
        let Some(head) = self.head else { return Ok(None) };
        let coded = &self.input[head.length..];
        let complete = match head.framing {
            Framing::Length(length) if length > max_body => return Err(Malformed::BodyTooLarge),
            Framing::Length(length) => {
                (coded.len() as u64 >= length).then(|| (coded[..length as usize].to_vec(), length))
            }
            Framing::Chunked => match self.chunked.handle_input(coded, max_body) {
                Ok(Decoded { taken, complete: true }) => Some((mem::take(&mut self.chunked).into_body(), taken as u64)),
                Ok(Decoded { taken, complete: false }) => {
                    // The decoder has these bytes now.
                    self.input.drain(head.length..head.length + taken);
                    None
                }
                Err(Error::BodyTooLarge) => return Err(Malformed::BodyTooLarge),
                Err(_) => return Err(Malformed::Chunks),
            },
            Framing::Close if coded.len() as u64 > max_body => return Err(Malformed::BodyTooLarge),
            Framing::Close => None,
        };
        let Some((body, length)) = complete else { return Ok(None) };
        // Bytes after the response belong to no request, so the connection cannot be reused.
        let reusable = head.keep_alive && (self.input.len() - head.length) as u64 == length;
        Ok(Some(Response { status: head.status, body, reusable }))
    }

    /// The server has closed the connection: returns the response if that ends its body (RFC 9112 section 6.3), and fails if
    /// the response is incomplete.
    pub fn handle_end(&mut self) -> Result<Response, Malformed> {
        match self.head {
            Some(Head { status, length, framing: Framing::Close, .. }) => {
                Ok(Response { status, body: self.input.split_off(length), reusable: false })
            }
            Some(_) => Err(Malformed::Incomplete),
            None if self.input.is_empty() => Err(Malformed::Missing),
            None => Err(Malformed::Incomplete),
        }
    }

    /// Parses the head at the start of the input, or returns `None` if its end has not arrived.
    fn parse(&self) -> Result<Option<Head>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.input.len() > MAX_HEAD => {
                return Err(Malformed::HeadTooLarge);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed::Syntax),
        };
        let status = response.code.ok_or(Malformed::Syntax)?;
        let mut keep_alive = response.version == Some(1);
        let (mut size, mut chunked) = (None, false);
        for field in response.headers.iter() {
            let value = core::str::from_utf8(field.value).unwrap_or_default().trim();
            if field.name.eq_ignore_ascii_case("content-length") {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let number = value.parse::<u64>().ok().filter(|_| digits).ok_or(Malformed::ContentLength)?;
                if size.replace(number).is_some_and(|before| before != number) {
                    return Err(Malformed::ContentLengths);
                }
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") || chunked {
                    return Err(Malformed::TransferEncoding);
                }
                chunked = true;
            } else if field.name.eq_ignore_ascii_case("connection") {
                for option in value.split(',').map(str::trim) {
                    keep_alive &= !option.eq_ignore_ascii_case("close");
                    keep_alive |= option.eq_ignore_ascii_case("keep-alive");
                }
            }
        }
        let framing = match (status, chunked, size) {
            (100..200 | 204 | 304, ..) => Framing::Length(0),
            (_, true, Some(_)) => return Err(Malformed::LengthAndCoding),
            (_, true, None) => Framing::Chunked,
            (_, false, Some(size)) => Framing::Length(size),
            (_, false, None) => Framing::Close,
        };
        let keep_alive = keep_alive && framing != Framing::Close && status != UPGRADED;
        Ok(Some(Head { status, length, framing, keep_alive }))
    }
}

/// Switching Protocols.
const UPGRADED: u16 = 101;
/// Interim responses (1xx) before the final one.
const MAX_INTERIM: u32 = 10;
/// Header lines.
const MAX_HEADERS: usize = 64;
/// Bytes of the status line and the headers.
const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Option<Response>, Malformed> {
        let mut reader = Reader::default();
        for piece in pieces {
            if let Some(response) = reader.handle_input(piece, 100)? {
                return Ok(Some(response));
            }
        }
        reader.handle_end().map(Some)
    }

    #[test]
    fn a_cut_changes_nothing() {
        let response = |status, body: &str, reusable| Ok(Some(Response { status, body: body.into(), reusable }));
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", response(200, "hi", true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nhi", response(200, "hi", false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", response(200, "hi", false)),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", response(200, "hi", true)),
            ("HTTP/1.1 204 None\r\n\r\n", response(204, "", true)),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n",
                response(201, "", true),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\nA: b\r\n\r\n",
                response(200, "hi!", true),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", response(200, "to the end", false)),
            ("HTTP/1.1 502 \r\n\r\n", response(502, "", false)),
            ("HTTP/1.1 101 Upgrade\r\nUpgrade: x\r\n\r\n", response(101, "", false)),
        ] {
            for cut in 0..text.len() {
                let (one, other) = text.as_bytes().split_at(cut);
                assert_eq!(read(&[one, other]), expected, "{text:?} cut at {cut}");
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes), expected, "{text:?}");
        }
    }

    #[test]
    fn what_has_come_of_an_incomplete_response() {
        let read = |text: &str| {
            let mut reader = Reader::default();
            let _ = reader.handle_input(text.as_bytes(), 100);
            let text = String::from_utf8(reader.received().to_vec()).unwrap();
            (reader.status(), reader.fields().len(), text)
        };
        let part = |status, fields, text: &str| (status, fields, text.to_owned());
        assert_eq!(read("HTTP/1.1 200 OK\r\nA: b\r\n"), part(None, 0, ""));
        assert_eq!(
            read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nA: c\r\n\r\nx"),
            part(Some(200), 2, "x")
        );
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), part(Some(200), 1, "abc"));
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncd"),
            part(Some(200), 1, "abcd")
        );
        assert_eq!(read("HTTP/1.1 101 Upgrade\r\nUpgrade: x\r\n\r\n\u{1}\u{2}"), part(Some(101), 1, "\u{1}\u{2}"));
    }

    /// A backend that sends one byte in each chunk, with an extension.
    #[test]
    fn chunks_are_kept_once_and_decoded() {
        let mut reader = Reader::default();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(reader.handle_input(head, 100_000), Ok(None));
        for _ in 0..5_000 {
            assert_eq!(reader.handle_input(b"1;x\r\na\r\n", 100_000), Ok(None));
        }
        assert_eq!(reader.input.len(), head.len());
        let extended = [&b"1;"[..], &[b'x'; 4000], b"\r\na\r\n"].concat();
        let refused = (0..4).find_map(|_| reader.handle_input(&extended, 100_000).err());
        assert_eq!(refused, Some(Malformed::Chunks));
    }

    #[test]
    fn surplus_bytes_end_the_reuse() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(!read(&[text]).unwrap().unwrap().reusable);
    }

    #[test]
    fn malformed_responses_are_refused() {
        for text in [
            "",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        ] {
            assert!(read(&[text.as_bytes()]).is_err(), "{text:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(101));
        assert!(read(&[long.as_bytes()]).is_err());
        let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
        assert!(read(&[head.as_bytes()]).is_err());
    }
}
