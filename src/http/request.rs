//! Requests: the request line and the headers that relay uses, validated while they are parsed.

use core::mem::MaybeUninit;
use std::borrow::Cow;

use httparse::Status;
use memchr::memchr;

use super::{
    error::{Error, Syntax},
    fields::Fields,
};
use crate::limits::Limits;

/// A complete request. It borrows from the buffer it was received in.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The request line and the headers.
    pub head: Head<'a>,
    /// The body without its transfer coding; empty if there is none.
    pub body: &'a [u8],
}

/// A request line and the headers that relay uses. An absent header is an empty string.
///
/// Headers are `str`: a value that is not UTF-8 counts as absent, except in `Referer` and `User-Agent`, where U+FFFD
/// replaces invalid bytes.
#[derive(Clone, Debug, Default)]
pub struct Head<'a> {
    /// The method, as sent: methods are case-sensitive (RFC 9110 section 9.1).
    pub method: &'a str,
    /// The target's path, as sent: with its escapes.
    pub raw_path: &'a str,
    /// The target's query, as sent, without the `?`; empty if there is none.
    pub query: &'a str,
    /// Whether the version is HTTP/1.1; otherwise it is HTTP/1.0.
    pub http11: bool,
    /// Whether another request may follow on the connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the request has `Connection: upgrade` and `Upgrade: websocket` (RFC 6455 section 4.2.1).
    pub upgrade: bool,
    /// Whether a browser asks for a page to show (its `Accept` begins like that), not a program.
    pub navigation: bool,
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
    /// How the end of the body is found.
    pub framing: Framing,
    /// `Access-Control-Request-Headers`
    pub request_headers: &'a str,
    /// Whether there is `Access-Control-Request-Private-Network: true`.
    pub request_private_network: bool,
    /// `Accept`
    pub accept: &'a str,
    /// `Accept-Language`
    pub accept_language: &'a str,
    /// `Authorization`
    pub authorization: &'a str,
    /// `Content-Encoding`
    pub content_encoding: &'a str,
    /// `Content-Type`
    pub content_type: &'a str,
    /// `If-None-Match`
    pub if_none_match: &'a str,
    /// `Last-Event-ID`; `None` if there is none.
    pub last_event_id: Option<&'a str>,
    /// `Origin`
    pub origin: &'a str,
    /// `Referer`
    pub referer: Cow<'a, str>,
    /// `Sec-WebSocket-Key`
    pub sec_websocket_key: &'a str,
    /// The values of all `Sec-WebSocket-Protocol` headers, joined by commas.
    pub sec_websocket_protocol: Cow<'a, str>,
    /// `Sec-WebSocket-Version`
    pub sec_websocket_version: &'a str,
    /// `User-Agent`
    pub user_agent: Cow<'a, str>,
    /// The values of all `X-Forwarded-For` headers, joined by commas.
    pub forwarded_for: Cow<'a, str>,
    /// Whether there is an `X-Forwarded-For`, even an empty one.
    pub has_forwarded_for: bool,
    /// The values of all `Forwarded` headers, joined by commas.
    pub forwarded: Cow<'a, str>,
    /// Whether there is a `Via`.
    pub has_via: bool,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Neither header is present: there is no body.
    #[default]
    Absent,
    /// `Content-Length`: bytes of the body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl<'a> Head<'a> {
    /// Parses the head at the start of `bytes`. Returns it with its length in bytes, or `None` if its end has not arrived.
    ///
    /// Fails with [`Error::HeadTooLarge`] if it exceeds `limits`, with [`Error::BadRequest`] if it is malformed, and with
    /// the status that fits if its version, expectation or transfer coding is not supported.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Option<(Head<'a>, usize)>, Error> {
        let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let allowed = (limits.request_headers as usize).min(MAX_HEADERS);
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(bytes, &mut storage[..allowed]) {
            Ok(Status::Complete(length)) if length as u64 <= limits.request_head => length,
            Ok(Status::Partial) if bytes.len() as u64 <= limits.request_head => return Ok(None),
            Ok(_) => return Err(Error::HeadTooLarge),
            Err(error) => return Err(parse_error(error, bytes)),
        };
        let mut head =
            Head { method: parsed.method.unwrap_or_default(), http11: parsed.version == Some(1), ..Head::default() };
        (head.raw_path, head.query) = split_target(parsed.path.unwrap_or_default(), head.method)?;
        head.keep_alive = head.http11;
        head.read_headers(parsed.headers)?;
        Ok(Some((head, length)))
    }

    /// The path, percent-decoded (RFC 3986 section 2.1). U+FFFD replaces bytes that are not UTF-8.
    pub fn path(&self) -> Cow<'a, str> {
        match self.raw_path.contains('%') {
            true => percent_encoding::percent_decode_str(self.raw_path).decode_utf8_lossy(),
            false => self.raw_path.into(),
        }
    }

    /// The query, decoded.
    pub fn fields(&self) -> Fields<'a> {
        Fields::parse(self.query.as_bytes())
    }

    #[inline]
    fn read_headers(&mut self, headers: &[httparse::Header<'a>]) -> Result<(), Error> {
        let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
        let (mut connection_upgrade, mut upgrade_websocket) = (false, false);
        for header in headers {
            let text = || core::str::from_utf8(header.value).unwrap_or_default().trim_ascii();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let once = |field: &mut &'a str, name| match core::mem::replace(field, text()) {
                "" => Ok(()),
                _ => Err(Syntax::Repeated(name)),
            };
            match header.name.len() {
                4 if is("host") => {
                    hosts += 1;
                    if header.value.iter().any(|byte| matches!(byte, b' ' | b',' | b'/' | b'@' | b'\t')) {
                        return Err(Syntax::Host.into());
                    }
                }
                6 if is("origin") => once(&mut self.origin, "Origin")?,
                6 if is("accept") => {
                    self.accept = text();
                    self.navigation = self.accept.starts_with("text/html,application/xhtml+xml");
                }
                6 if is("expect") => {
                    if !text().eq_ignore_ascii_case("100-continue") {
                        return Err(Error::ExpectationFailed);
                    }
                    self.expect_continue = self.http11;
                }
                3 if is("via") => self.has_via = true,
                7 if is("upgrade") => upgrade_websocket |= has_token(text(), "websocket"),
                7 if is("referer") => self.referer = lossy(header.value),
                10 if is("connection") => {
                    let text = text();
                    connection_upgrade |= has_token(text, "upgrade");
                    if has_token(text, "close") {
                        self.keep_alive = false;
                    } else if !self.http11 && has_token(text, "keep-alive") {
                        self.keep_alive = true;
                    }
                }
                10 if is("user-agent") => self.user_agent = lossy(header.value),
                12 if is("content-type") => once(&mut self.content_type, "Content-Type")?,
                13 if is("authorization") => once(&mut self.authorization, "Authorization")?,
                13 if is("if-none-match") => self.if_none_match = text(),
                13 if is("last-event-id") => self.last_event_id = Some(text()),
                14 if is("content-length") => {
                    lengths += 1;
                    let digits = header.value.trim_ascii();
                    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                        return Err(Syntax::ContentLength.into());
                    }
                    if digits.len() > 18 {
                        return Err(Error::BodyTooLarge);
                    }
                    let length = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
                    self.framing = Framing::Length(length);
                }
                9 if is("forwarded") => append(&mut self.forwarded, lossy(header.value)),
                15 if is("x-forwarded-for") => {
                    self.has_forwarded_for = true;
                    append(&mut self.forwarded_for, lossy(header.value));
                }
                15 if is("accept-language") => self.accept_language = text(),
                16 if is("content-encoding") => once(&mut self.content_encoding, "Content-Encoding")?,
                17 if is("transfer-encoding") => {
                    codings += 1;
                    if !text().eq_ignore_ascii_case("chunked") {
                        return Err(Error::NotImplemented);
                    }
                }
                17 if is("sec-websocket-key") => once(&mut self.sec_websocket_key, "Sec-WebSocket-Key")?,
                22 if is("sec-websocket-protocol") => append(&mut self.sec_websocket_protocol, text().into()),
                21 if is("sec-websocket-version") => self.sec_websocket_version = text(),
                30 if is("access-control-request-headers") => self.request_headers = text(),
                38 if is("access-control-request-private-network") => {
                    self.request_private_network = text().eq_ignore_ascii_case("true");
                }
                _ => {}
            }
        }
        if hosts > 1 || (hosts == 0 && self.http11) {
            return Err(Syntax::HostCount.into());
        }
        match (lengths, codings) {
            (0 | 1, 0) => {}
            (0, 1) if self.http11 => self.framing = Framing::Chunked,
            (0, _) => return Err(Syntax::TransferEncoding.into()),
            (_, 0) => return Err(Syntax::Repeated("Content-Length").into()),
            _ => return Err(Syntax::LengthAndCoding.into()),
        }
        self.upgrade = self.http11 && connection_upgrade && upgrade_websocket;
        Ok(())
    }
}

/// The path and the query of a target in origin form, absolute form, or `*` for OPTIONS (RFC 9112 section 3.2).
fn split_target<'a>(target: &'a str, method: &str) -> Result<(&'a str, &'a str), Syntax> {
    let has_scheme = |scheme: &str| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let path = match target.as_bytes().first() {
        Some(b'/') => target,
        Some(b'*') if target == "*" && method == "OPTIONS" => target,
        _ if has_scheme("http://") || has_scheme("https://") => {
            let authority = &target[target.find("//").map_or(0, |at| at + 2)..];
            match authority.find(['/', '?']) {
                Some(at) if authority[at..].starts_with('/') => &authority[at..],
                Some(at) => return Ok(("/", &authority[at + 1..])),
                None => "/",
            }
        }
        _ => return Err(Syntax::Target),
    };
    // A target has no fragment, but some clients send one. Queries are long: `split_once` searches them several times slower.
    let end = memchr(b'#', path.as_bytes()).unwrap_or(path.len());
    let path = &path[..end];
    Ok(match path.bytes().position(|byte| byte == b'?') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, ""),
    })
}

/// `value` with U+FFFD for what is not UTF-8. `String::from_utf8_lossy` alone decodes each character, which takes six times as
/// long for a usual `User-Agent`.
fn lossy(value: &[u8]) -> Cow<'_, str> {
    core::str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed)
}

/// Appends to a comma-separated list the list of another header with the same name.
fn append<'a>(list: &mut Cow<'a, str>, more: Cow<'a, str>) {
    match list.is_empty() {
        true => *list = more,
        false => {
            let list = list.to_mut();
            list.push(',');
            list.push_str(&more);
        }
    }
}

/// Whether a header's comma-separated list contains `token`, in any case.
fn has_token(list: &str, token: &str) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn parse_error(error: httparse::Error, bytes: &[u8]) -> Error {
    match error {
        httparse::Error::TooManyHeaders => Error::HeadTooLarge,
        // httparse also reports an extra space as a wrong version.
        httparse::Error::Version if names_version(bytes) => Error::VersionNotSupported,
        httparse::Error::HeaderName => Syntax::HeaderName.into(),
        httparse::Error::HeaderValue => Syntax::HeaderValue.into(),
        // The start of a client's first TLS record.
        _ if bytes.starts_with(&[22, 3]) => Error::UnexpectedTls,
        _ => Syntax::Request.into(),
    }
}

/// Whether the request line has three words, of which the last is a version (RFC 9112 section 2.3).
fn names_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r' || *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.by_ref().nth(2).unwrap_or_default();
    version.starts_with(b"HTTP/") && words.next().is_none()
}

/// The largest `limits.request_headers`. The array is on the stack and stays uninitialized until a header is parsed.
const MAX_HEADERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Head<'_>, Error> {
        let (head, length) = Head::parse(text.as_bytes(), &Limits::default())?.expect("a complete head");
        assert_eq!(length, text.len());
        Ok(head)
    }

    #[test]
    fn a_head_is_parsed() {
        let head = parse(
            "GET /ws?a=b&c HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
             sec-websocket-key: k\r\nSec-WebSocket-Version: 13\r\nX-Forwarded-For: 1.1.1.1\r\n\
             X-Forwarded-For: 2.2.2.2\r\nUser-Agent: \u{e4}\r\n\r\n",
        )
        .unwrap();
        assert_eq!((head.raw_path, head.query), ("/ws", "a=b&c"));
        assert!(head.upgrade && head.keep_alive && head.http11);
        assert_eq!((head.sec_websocket_key, head.sec_websocket_version), ("k", "13"));
        assert_eq!(head.forwarded_for, "1.1.1.1,2.2.2.2");
        assert_eq!(head.user_agent, "ä");
        assert_eq!(head.framing, Framing::Absent);
    }

    #[test]
    fn targets() {
        let target = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            parse(&text).map(|head| (head.path().into_owned(), head.query.to_owned()))
        };
        let ok = |path: &str, query: &str| Ok((path.to_owned(), query.to_owned()));
        assert_eq!(target("/a%20b/?q=1?2"), ok("/a b/", "q=1?2"));
        assert_eq!(target("http://h:80/a?b"), ok("/a", "b"));
        assert_eq!(target("HTTP://h"), ok("/", ""));
        assert_eq!(target("http://h?x"), ok("/", "x"));
        assert_eq!(target("/%ff"), ok("/\u{fffd}", ""));
        assert!(target("*").is_err() && target("a").is_err() && target("h:80").is_err());
        assert!(parse("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").is_ok());
    }

    #[test]
    fn keep_alive_by_version() {
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().keep_alive);
        assert!(!parse("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap().keep_alive);
        let upgrade = "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert!(!parse(upgrade).unwrap().upgrade);
    }

    /// Each of these could be read as another request by a proxy in front of relay (RFC 9112 section 11.2).
    #[test]
    fn ambiguous_requests_are_refused() {
        let refused = |lines: &str| {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
            Head::parse(text.as_bytes(), &Limits::default()).unwrap_err().status()
        };
        assert_eq!(refused("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400);
        assert_eq!(refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400);
        assert_eq!(refused("Transfer-Encoding: gzip, chunked"), 501);
        assert_eq!(refused("Transfer-Encoding: xchunked"), 501);
        assert_eq!(refused("Content-Length: 1\r\nContent-Length: 1"), 400);
        assert_eq!(refused("Content-Length: 1, 1"), 400);
        assert_eq!(refused("Content-Length: +1"), 400);
        assert_eq!(refused("Content-Length: -1"), 400);
        assert_eq!(refused("Content-Length: 0x1"), 400);
        assert_eq!(refused("Content-Length: "), 400);
        assert_eq!(refused("Content-Length: 99999999999999999999999"), 413);
        assert_eq!(refused("Host: y"), 400);
        assert_eq!(refused("Content-Length : 1"), 400);
        assert_eq!(refused("A: b\r\n c"), 400);
        assert_eq!(refused(" A: b"), 400);
        assert_eq!(refused("A: b\rc"), 400);
        assert_eq!(refused("A: b\0c"), 400);
        assert_eq!(refused("A b"), 400);
        assert_eq!(refused("Expect: tea"), 417);
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}", 400),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ] {
            assert_eq!(Head::parse(text.as_bytes(), &Limits::default()).unwrap_err().status(), status, "{text:?}");
        }
    }

    #[test]
    fn bounds() {
        let limits = Limits { request_head: 256, request_headers: 8, ..Limits::default() };
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(300));
        assert_eq!(Head::parse(long.as_bytes(), &limits).unwrap_err(), Error::HeadTooLarge);
        assert_eq!(Head::parse(&long.as_bytes()[..257], &limits).unwrap_err(), Error::HeadTooLarge);
        assert!(Head::parse(&long.as_bytes()[..256], &limits).unwrap().is_none());
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a:b\r\n".repeat(8));
        assert_eq!(Head::parse(many.as_bytes(), &limits).unwrap_err(), Error::HeadTooLarge);
    }
}
