//! One request and its answer, as far as a judgement needs it.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value as Json;

use super::target::{Connection, Route, TIMEOUT};
use crate::{http::response::Reader, server::process::random, websocket::handshake::accept_key};

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, with names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body; what came of it, if the answer does not end.
    pub body: Vec<u8>,
}

impl Answer {
    /// The values of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a header; empty without one.
    pub fn header<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// The body as JSON; `null` if it is something else.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether relay has answered: it answers errors with JSON of two shapes (docs/protocol.md, Status codes).
    pub fn is_of_relay(&self) -> bool {
        let json = self.json();
        json.get("code").is_some_and(Json::is_number) && (json.get("msg").is_some() || json.get("message").is_some())
    }

    /// What the answer says, for a sentence: the status, the program that names itself, and the begin of a text.
    pub fn describe(&self) -> String {
        let json = self.json();
        let said = ["reason", "msg", "message"].iter().find_map(|name| json.get(*name)?.as_str());
        let said = said.map(str::to_owned).unwrap_or_else(|| title(&String::from_utf8_lossy(&self.body)));
        let said: String = said.chars().take(MAX_SAID).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {said:?}") };
        let server: String = self.header("server").chars().take(MAX_SAID).collect();
        let server = if server.is_empty() { String::new() } else { format!(" by {server}") };
        format!("status {}{server}{said}", self.status)
    }
}

/// The title of a page, or else the first line of a text.
fn title(body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let within = lower.find("<title>").map(|at| at + "<title>".len());
    let found = within.and_then(|begin| Some(&body[begin..begin + lower[begin..].find("</title>")?]));
    found.unwrap_or_else(|| body.trim_start().lines().next().unwrap_or_default()).trim().to_owned()
}

/// A request to make.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path below the prefix, with the query.
    pub path: &'a str,
    /// Further headers, each with its line end.
    pub headers: String,
    /// The body of a POST.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A GET.
    pub fn get(path: &'a str) -> Request<'a> {
        Request { method: "GET", path, headers: String::new(), body: b"" }
    }

    /// A POST.
    pub fn post(path: &'a str, body: &'a [u8]) -> Request<'a> {
        Request { method: "POST", body, ..Request::get(path) }
    }

    /// Adds a header, unless its value is empty.
    pub fn with(mut self, name: &str, value: &str) -> Request<'a> {
        if !value.is_empty() {
            self.headers += &format!("{name}: {value}\r\n");
        }
        self
    }

    /// The bytes of the request to an address.
    fn head(&self, route: &Route) -> String {
        let Request { method, path, headers, body } = self;
        let (prefix, host) = (&route.target.prefix, route.target.authority());
        let length = if *method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\n{headers}{length}\r\n")
    }

    /// Makes the request on a new connection, and reads the answer to its end.
    pub fn ask(&self, route: &Route) -> io::Result<Answer> {
        let mut connection = route.connect()?;
        let head = self.head(route);
        // A server may refuse a body before it has read it: what it says counts.
        let sent = send(&mut connection, head.as_bytes()).and_then(|()| send(&mut connection, self.body));
        let deadline = Instant::now() + TIMEOUT;
        let mut incoming = Incoming::default();
        while incoming.answer.is_none() {
            match incoming.read(&mut connection, deadline) {
                Ok(true) => {}
                Ok(false) => incoming.end(),
                Err(error) => return sent.and(Err(error)),
            }
            if incoming.failed {
                return sent.and(Err(io::Error::new(ErrorKind::InvalidData, "the answer is not HTTP")));
            }
        }
        Ok(incoming.answer.unwrap_or_default())
    }

    /// Makes the request on a new connection, and reads the head of the answer and what comes behind it until `is_enough`
    /// says so, until it is complete, or until the time is over.
    pub fn open(&self, route: &Route, time: Duration, is_enough: impl Fn(&Answer) -> bool) -> io::Result<Opened> {
        let mut connection = route.connect()?;
        send(&mut connection, self.head(route).as_bytes())?;
        let deadline = Instant::now() + time;
        let (mut seen, mut ended) = (Vec::new(), false);
        loop {
            if let Some((mut answer, length)) = parse_head(&seen)? {
                let whole = (answer.status != 101).then(|| Reader::default().handle_input(&seen, MAX_ANSWER as u64));
                if let Some(Ok(Some(response))) = whole {
                    answer.body = response.body;
                    return Ok(Opened { answer, connection });
                }
                answer.body = seen.split_off(length);
                if ended || is_enough(&answer) {
                    return Ok(Opened { answer, connection });
                }
                seen.extend_from_slice(&answer.body);
                if Instant::now() >= deadline {
                    return Ok(Opened { answer, connection });
                }
            } else if ended {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed without an answer"));
            }
            let mut piece = [0; 4096];
            connection.wait_until(deadline)?;
            match connection.read(&mut piece) {
                Ok(0) => ended = true,
                Ok(length) => seen.extend_from_slice(&piece[..length]),
                Err(error) if is_timeout(&error) && seen.is_empty() => {
                    return Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"));
                }
                Err(error) if is_timeout(&error) => ended = true,
                Err(error) => return Err(error),
            }
            ended |= seen.len() > MAX_ANSWER;
        }
    }
}

/// An answer that need not have ended, and its connection.
pub struct Opened {
    /// The answer, with what has come of its body.
    pub answer: Answer,
    /// The connection.
    pub connection: Connection,
}

/// A handshake for a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    key: String,
}

impl Handshake {
    /// A handshake with a random key.
    pub fn new() -> Handshake {
        Handshake { key: BASE64.encode(random::<16>()) }
    }

    /// The request for a path.
    pub fn request<'a>(&self, path: &'a str) -> Request<'a> {
        let get = Request::get(path).with("Connection", "Upgrade").with("Upgrade", "websocket");
        get.with("Sec-WebSocket-Version", "13").with("Sec-WebSocket-Key", &self.key)
    }

    /// Whether an answer completes it.
    pub fn accepts(&self, answer: &Answer) -> bool {
        answer.status == 101
            && answer.header("sec-websocket-accept") == accept_key(self.key.as_bytes())
            && answer.header("upgrade").eq_ignore_ascii_case("websocket")
    }
}

/// An answer that arrives.
#[derive(Default)]
struct Incoming {
    seen: Vec<u8>,
    reader: Reader,
    answer: Option<Answer>,
    failed: bool,
}

impl Incoming {
    /// Reads once. Returns whether there may be more.
    fn read(&mut self, connection: &mut Connection, deadline: Instant) -> io::Result<bool> {
        let mut piece = [0; 16_384];
        connection.wait_until(deadline)?;
        let length = connection.read(&mut piece)?;
        if self.seen.len() < MAX_ANSWER {
            self.seen.extend_from_slice(&piece[..length]);
        }
        match self.reader.handle_input(&piece[..length], MAX_ANSWER as u64) {
            Ok(Some(response)) => self.take(response.body),
            Ok(None) => {}
            Err(_) => self.failed = true,
        }
        Ok(length > 0)
    }

    fn end(&mut self) {
        match self.reader.handle_end() {
            Ok(response) if self.answer.is_none() => self.take(response.body),
            Ok(_) => {}
            Err(_) => self.failed = self.answer.is_none(),
        }
    }

    fn take(&mut self, body: Vec<u8>) {
        let mut at = 0;
        while let Ok(Some((answer, length))) = parse_head(&self.seen[at..]) {
            // Interim answers precede it.
            if (100..200).contains(&answer.status) && answer.status != 101 {
                at += length;
                continue;
            }
            self.answer = Some(Answer { body, ..answer });
            return;
        }
        self.failed = true;
    }
}

/// The head of an answer and its length, once it is complete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Response::new(&mut headers);
    let failed = |_| io::Error::new(ErrorKind::InvalidData, "the answer is not HTTP");
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(failed)? else { return Ok(None) };
    let pair = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    let headers = head.headers.iter().map(pair).collect();
    Ok(Some((Answer { status: head.code.unwrap_or(0), headers, body: Vec::new() }, length)))
}

/// Sends bytes, of which all must be accepted in time.
fn send(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + SEND_TIMEOUT;
    for piece in bytes.chunks(1 << 16) {
        connection.write_all(piece)?;
        if Instant::now() > deadline {
            return Err(io::Error::new(ErrorKind::TimedOut, "it accepts data too slowly"));
        }
    }
    connection.flush()
}

/// Whether nothing came in time.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// For the body of a request.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// What logs show of a check.
const AGENT: &str = concat!("relay-doctor/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 1 << 20;
/// Characters of what others say in a sentence.
const MAX_SAID: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_a_sentence() {
        let answer = |body: &str| Answer { status: 404, headers: Vec::new(), body: body.into() };
        assert_eq!(answer("").describe(), "status 404");
        assert_eq!(answer("<HTML><Title>404 Not\nFound</title>").describe(), "status 404: \"404 Not\\nFound\"");
        assert_eq!(answer("{\"code\":0,\"msg\":\"no\",\"reason\":\"so\"}").describe(), "status 404: \"so\"");
        assert!(answer(&"ä".repeat(1000)).describe().len() < 300);
        assert!(answer("{\"code\":3,\"message\":\"Bad request\"}").is_of_relay());
        assert!(!answer("{\"message\":\"no Route matched\"}").is_of_relay());
        let nginx = Answer { headers: vec![("server".into(), "nginx".into())], ..answer("") };
        assert_eq!(nginx.describe(), "status 404 by nginx");
    }

    #[test]
    fn handshakes() {
        let handshake = Handshake { key: "dGhlIHNhbXBsZSBub25jZQ==".into() };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers =
            vec![header("upgrade", "WebSocket"), header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
        let answer = Answer { status: 101, headers, body: Vec::new() };
        assert!(handshake.accepts(&answer));
        assert!(!handshake.accepts(&Answer { status: 200, ..answer.clone() }));
        assert!(!Handshake::new().accepts(&answer), "another key");
    }
}
