//! `relay listen`: joins rooms and prints their messages.

use core::fmt::Display;
use std::{
    io::{self, Read, Write},
    process,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use lexopt::{
    Arg::{Long, Value},
    Parser, ValueExt,
};
use serde_json::Value as Json;
use tungstenite::{Message, WebSocket, protocol::Role};

use super::{
    arguments::{self, Stop, value},
    credentials::{Credentials, encode},
    endpoint::{ANSWER_MAX, Endpoint, Stream},
    error::{Error, UsageError},
    terminal::{complain, visible},
};
use crate::{
    http::response::{Reader, Response},
    json::to_text,
    server::process::random,
    websocket::handshake::accept_key,
};

/// Rooms to listen to.
#[derive(Debug)]
pub struct Listen {
    credentials: Credentials,
    url: String,
    rooms: String,
    userid: String,
    username: String,
    ext_info: String,
    is_json: bool,
    once: bool,
}

impl Listen {
    /// Parses what follows `listen`.
    pub fn parse(parser: &mut Parser) -> Result<Listen, Stop> {
        let mut listen = Listen {
            credentials: Credentials::default(),
            url: "http://127.0.0.1:4000".into(),
            rooms: String::new(),
            userid: String::new(),
            username: String::new(),
            ext_info: String::new(),
            is_json: false,
            once: false,
        };
        let (mut words, mut rooms) = (Vec::new(), Vec::new());
        while let Some(argument) = arguments::next(parser)? {
            match argument {
                Long("source") => listen.credentials.source = value(parser)?,
                Long("key") => listen.credentials.key = Some(value(parser)?),
                Long("key-file") => listen.credentials.key_file = Some(value(parser)?),
                Long("hmac") => listen.credentials.hmac = true,
                Long("url") => listen.url = value(parser)?,
                Long("userid") => listen.userid = value(parser)?,
                Long("username") => listen.username = value(parser)?,
                Long("ext-info") => listen.ext_info = value(parser)?,
                Long("json") => listen.is_json = true,
                Long("once") => listen.once = true,
                Long("room-id" | "room-ids") => rooms.push(value(parser)?),
                Value(word) => words.push(word.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        if rooms.is_empty() {
            rooms = core::mem::take(&mut words);
        }
        listen.rooms = rooms.join(",");
        if listen.rooms.is_empty() {
            return Err(UsageError::MissingRooms.into());
        }
        arguments::no_more(words.into_iter())?;
        Ok(listen)
    }

    /// Prints messages until the process is killed. Reconnects after a lost connection, but not after a refused login.
    pub fn run(self) -> Result<(), Error> {
        let key = self.credentials.find_key()?;
        let endpoint = Endpoint::parse(&self.url)?;
        let mut backoff = SHORTEST_PAUSE;
        loop {
            let began = Instant::now();
            let lost = match self.listen_once(&key, &endpoint) {
                Err(lost @ Error::Connection(..)) => lost,
                ended => return ended,
            };
            if began.elapsed() > LONGEST_PAUSE {
                backoff = SHORTEST_PAUSE;
            }
            // Half to the whole of it, so that many listeners do not reconnect all at once.
            let pause = backoff.mul_f64(0.5 + f64::from(random::<1>()[0]) / 512.0);
            complain(&format_args!("{lost}; reconnecting in {:.1} s", pause.as_secs_f64()));
            sleep(pause);
            backoff = (backoff * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection, from the login to its end.
    fn listen_once(&self, key: &str, endpoint: &Endpoint) -> Result<(), Error> {
        let mut fields = vec![
            ("source", self.credentials.source.clone()),
            ("room_ids", self.rooms.clone()),
            ("userid", self.userid.clone()),
            ("username", self.username.clone()),
            ("ext_info", self.ext_info.clone()),
        ];
        fields.extend(self.credentials.sign_connect(key, &self.userid, &self.rooms));
        let lost = |why: &dyn Display| Error::Connection(self.url.clone(), why.to_string());
        let mut stream = endpoint.connect()?;
        let target = format!("{}/ws?{}", endpoint.path, encode(&fields));
        let mut socket = match upgrade(&mut stream, &endpoint.host, &target) {
            Ok(Upgraded::Socket(ahead)) => WebSocket::from_partially_read(stream, ahead, Role::Client, None),
            Ok(Upgraded::Refused(answer)) => {
                let body = serde_json::from_slice::<Json>(&answer.body).unwrap_or_default();
                let why = body["msg"].as_str().unwrap_or("no reason given");
                return Err(match answer.status {
                    status @ 500.. => lost(&format_args!("status {status}: {why}")),
                    status => Error::LoginRefused(self.url.clone(), status, why.into()),
                });
            }
            Err(error) if is_timeout(&error) => return Err(lost(&"the handshake timed out")),
            Err(error) => return Err(lost(&error)),
        };
        complain(&format_args!("listening to {} of {} at {}", self.rooms, self.credentials.source, self.url));
        let mut pinged = false;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    pinged = false;
                    if self.print(&text) && self.once {
                        let _ = socket.close(None);
                        return Ok(());
                    }
                }
                Ok(Message::Close(Some(frame))) => return Err(lost(&format_args!("closed: {frame}"))),
                Ok(Message::Close(None)) => return Err(lost(&"closed")),
                Ok(_) => pinged = false,
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) && !pinged => {
                    pinged = true;
                    let ping = Message::Ping(Default::default());
                    socket.send(ping).map_err(|error| lost(&error))?;
                }
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    /// Prints what a frame carries. Returns whether it is a message of a room.
    fn print(&self, text: &str) -> bool {
        let frame: Json = serde_json::from_str(text).unwrap_or_default();
        let line = match frame["event"].as_str() {
            _ if self.is_json => text.to_owned(),
            Some("newMsg") => {
                let data = frame["data"].as_str().map_or_else(|| to_text(&frame["data"]), String::from);
                format!("{}\t{}", frame["room_id"].as_str().unwrap_or_default(), data)
            }
            Some("sys_error") => {
                complain(&visible(frame["msg"].as_str().unwrap_or_default()));
                return false;
            }
            _ => return false,
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{}", visible(&line)).and_then(|()| out.flush()).is_err() {
            // The reader has gone (`relay listen room | head -1`): a normal end.
            process::exit(0);
        }
        frame["event"] == "newMsg"
    }
}

/// The answer to an upgrade request.
enum Upgraded {
    /// The handshake is complete; these bytes of the first frames came with it.
    Socket(Vec<u8>),
    Refused(Response),
}

/// A client's handshake (RFC 6455 section 4.1). tungstenite's own needs another HTTP library.
fn upgrade(stream: &mut Stream, host: &str, target: &str) -> io::Result<Upgraded> {
    let key = BASE64.encode(random::<16>());
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let malformed = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let (mut refusal, mut seen, mut piece) = (Reader::default(), Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece)?;
        let answer = match length {
            0 => Some(refusal.handle_end()),
            _ => {
                seen.extend_from_slice(&piece[..length]);
                let mut headers = [httparse::EMPTY_HEADER; 64];
                let mut head = httparse::Response::new(&mut headers);
                if let Ok(httparse::Status::Complete(end)) = head.parse(&seen)
                    && head.code == Some(101)
                {
                    if !accepts(&head, &key) {
                        return Err(malformed("the answer is not a WebSocket handshake"));
                    }
                    return Ok(Upgraded::Socket(seen.split_off(end)));
                }
                refusal.handle_input(&piece[..length], ANSWER_MAX).transpose()
            }
        };
        match answer {
            Some(Ok(answer)) => return Ok(Upgraded::Refused(answer)),
            Some(Err(error)) => return Err(malformed(&error.to_string())),
            None if seen.len() as u64 > ANSWER_MAX => return Err(malformed("the answer is larger than 1 MiB")),
            None => {}
        }
    }
}

/// Whether a response with status 101 accepts the upgrade that was asked for with `key`.
fn accepts(head: &httparse::Response<'_, '_>, key: &str) -> bool {
    let has = |name: &str, is_right: &dyn Fn(&[u8]) -> bool| {
        head.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name) && is_right(header.value))
    };
    has("sec-websocket-accept", &|value| value == accept_key(key.as_bytes()).as_bytes())
        && has("upgrade", &|value| value.eq_ignore_ascii_case(b"websocket"))
        && has("connection", &|value| value.eq_ignore_ascii_case(b"upgrade"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// `relay listen --help`.
pub const HELP: &str = "\
relay listen ROOMS…

Joins rooms and prints a line for each message: the room, a tab, the data. Reconnects when the connection
is lost; exits with code 1 when the login is refused.

  --url URL               http://host:port or unix:PATH (default: http://127.0.0.1:4000)
  --source NAME           the source (default: demo)
  --key KEY, --key-file FILE
                          its key (default: the key in this machine's configuration)
  --hmac                  use hmac-sha256 in place of md5
  --userid ID, --username NAME, --ext-info TEXT
                          the user to log in as
  --json                  print each frame as it was received
  --once                  exit after the first message
";
