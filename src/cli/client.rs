//! Requests of the commands and their answers. What then goes on, a stream or a WebSocket, begins here too.

use core::fmt;
use std::{
    error,
    io::{self, ErrorKind, Write},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

use super::connection::{Connection, is_timeout};
use crate::http::response::{Malformed, Reader};

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    version: &'a str,
    /// Further headers, each with its line end.
    headers: String,
    /// Only a POST has one.
    body: &'a [u8],
}

/// The server that gets a request.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// The header `Host`.
    pub host: &'a str,
    /// What precedes every path, without a slash at the end.
    pub prefix: &'a str,
}

/// How long a request may take, and how large its answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until all of the request is accepted.
    pub sending: Duration,
    /// From then on until the answer is complete.
    pub answer: Duration,
    /// Bytes of its body.
    pub body: u64,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, with names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body; what has come of it, if the answer does not end. After 101, the first bytes of the other protocol.
    pub body: Vec<u8>,
}

/// An answer that need not have ended, and its connection.
pub struct Opened {
    /// The answer, with what has come of its body.
    pub answer: Answer,
    /// The connection.
    pub connection: Connection,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// It did not come, or was not complete, in time.
    Late,
    /// The server did not accept the request in time.
    Stuck,
    /// Its body has more bytes than this.
    TooLarge(u64),
    /// It is malformed or incomplete.
    Malformed(Malformed),
    /// The connection has failed.
    Connection(io::Error),
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub fn new(method: &'a str, target: &'a str) -> Request<'a> {
        Request { method, target, version: "1.1", headers: String::new(), body: b"" }
    }

    /// A GET of a path with its query.
    pub fn get(target: &'a str) -> Request<'a> {
        Request::new("GET", target)
    }

    /// A POST.
    pub fn post(target: &'a str, body: &'a [u8]) -> Request<'a> {
        Request { body, ..Request::new("POST", target) }
    }

    /// Adds a header, unless its value is empty.
    pub fn with(mut self, name: &str, value: &str) -> Request<'a> {
        if !value.is_empty() {
            self.headers += &format!("{name}: {value}\r\n");
        }
        self
    }

    /// Adds a token, unless it is empty.
    pub fn bearer(self, token: &str) -> Request<'a> {
        let value = if token.is_empty() { String::new() } else { format!("Bearer {token}") };
        self.with("Authorization", &value)
    }

    /// Makes it one of HTTP/1.0, to which no proxy answers in chunks.
    pub fn without_chunks(self) -> Request<'a> {
        Request { version: "1.0", ..self }
    }

    /// Sends it and reads the answer to its end.
    pub fn ask(&self, connection: &mut Connection, server: Server<'_>, limits: &Limits) -> Result<Answer, NoAnswer> {
        // A server may refuse a body before it has read it: what it says counts.
        let sent = self.send(connection, server, limits.sending);
        let mut incoming = Incoming::new(limits);
        loop {
            match incoming.read(connection) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) => return sent.and(Err(error)),
            }
        }
    }

    /// Sends it and reads the answer until `is_enough` says so, until it is complete, or until the time is over. Fails if no head
    /// has come by then.
    pub fn open(
        &self,
        mut connection: Connection,
        server: Server<'_>,
        limits: &Limits,
        is_enough: impl Fn(&Answer) -> bool,
    ) -> Result<Opened, NoAnswer> {
        self.send(&mut connection, server, limits.sending)?;
        let (mut incoming, mut answer) = (Incoming::new(limits), None);
        loop {
            let read = incoming.read(&mut connection);
            let begun = incoming.begun(&mut answer).map(&is_enough);
            match (read, begun) {
                (Ok(Some(answer)), _) => return Ok(Opened { answer, connection }),
                (Ok(None), None | Some(false)) => {}
                (Err(error), None) => return Err(error),
                // What comes of an answer that does not end well is enough as well.
                (Ok(None), Some(true)) | (Err(_), Some(_)) => {
                    return Ok(Opened { answer: answer.unwrap_or_default(), connection });
                }
            }
        }
    }

    fn send(&self, connection: &mut Connection, server: Server<'_>, time: Duration) -> Result<(), NoAnswer> {
        let Request { method, target, version, headers, body } = self;
        let Server { host, prefix } = server;
        let length = if *method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let head = format!("{method} {prefix}{target} HTTP/{version}\r\nHost: {host}\r\n{headers}{length}\r\n");
        let failed = |error: io::Error| if is_timeout(&error) { NoAnswer::Stuck } else { NoAnswer::Connection(error) };
        let deadline = Instant::now() + time;
        for mut rest in [head.as_bytes(), body] {
            while !rest.is_empty() {
                if Instant::now() > deadline {
                    return Err(NoAnswer::Stuck);
                }
                match connection.write(&rest[..rest.len().min(PIECE)]) {
                    Ok(0) => return Err(failed(ErrorKind::WriteZero.into())),
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        connection.flush().map_err(failed)
    }
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

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is something else.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Late => f.write_str("no answer in time"),
            NoAnswer::Stuck => f.write_str("it accepts data too slowly"),
            NoAnswer::TooLarge(most) => write!(f, "the answer is larger than {} MiB", most >> 20),
            NoAnswer::Malformed(Malformed::Syntax) => f.write_str("the answer is not HTTP"),
            NoAnswer::Malformed(malformed) => malformed.fmt(f),
            NoAnswer::Connection(error) => error.fmt(f),
        }
    }
}

impl error::Error for NoAnswer {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            NoAnswer::Malformed(malformed) => Some(malformed),
            NoAnswer::Connection(error) => Some(error),
            NoAnswer::Late | NoAnswer::Stuck | NoAnswer::TooLarge(_) => None,
        }
    }
}

/// An answer that arrives.
struct Incoming {
    reader: Reader,
    piece: Vec<u8>,
    deadline: Instant,
    most: u64,
}

impl Incoming {
    fn new(limits: &Limits) -> Incoming {
        let deadline = Instant::now() + limits.answer;
        Incoming { reader: Reader::default(), piece: vec![0; PIECE], deadline, most: limits.body }
    }

    /// Reads once. Returns the answer once it is complete.
    fn read(&mut self, connection: &mut Connection) -> Result<Option<Answer>, NoAnswer> {
        let length = connection.read_until(&mut self.piece, self.deadline).map_err(|error| match error {
            error if is_timeout(&error) => NoAnswer::Late,
            error => NoAnswer::Connection(error),
        })?;
        let response = match length {
            0 if connection.is_truncated() && self.reader.has_begun() => Err(Malformed::Incomplete),
            0 => self.reader.handle_end().map(Some),
            _ => self.reader.handle_input(&self.piece[..length], self.most),
        };
        let response = response.map_err(|malformed| match malformed {
            Malformed::BodyTooLarge => NoAnswer::TooLarge(self.most),
            malformed => NoAnswer::Malformed(malformed),
        })?;
        Ok(response.map(|response| {
            let body = if response.status == 101 { self.reader.received().to_vec() } else { response.body };
            Answer { status: response.status, headers: self.reader.fields(), body }
        }))
    }

    /// Adds what has come to an answer, which begins with its head. `None` before it.
    fn begun<'a>(&self, answer: &'a mut Option<Answer>) -> Option<&'a Answer> {
        let status = self.reader.status()?;
        let answer = answer.get_or_insert_with(|| Answer { status, headers: self.reader.fields(), body: Vec::new() });
        let received = self.reader.received();
        answer.body.extend_from_slice(&received[answer.body.len().min(received.len())..]);
        Some(answer)
    }
}

/// Bytes of a read or a write.
const PIECE: usize = 1 << 16;
/// The limits of most requests.
pub const USUAL: Limits = Limits { sending: Duration::from_secs(600), answer: Duration::from_secs(60), body: 1 << 20 };
/// Those of `/metrics`, which has some lines for each source.
pub const METRICS: Limits = Limits { body: 16 << 20, ..USUAL };
