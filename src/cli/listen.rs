//! `relay listen`: joins rooms and prints their messages.

use core::fmt::Display;
use std::{
    io::{self, Read, Write},
    process,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use lexopt::Parser;
use serde_json::Value as Json;
use tungstenite::{Message, WebSocket, protocol::Role};

use super::{
    arguments::Stop,
    commands,
    credentials::{Account, Credentials, Purpose, encode},
    endpoint::{ANSWER_MAX, Endpoint, Sends, Stream},
    error::{Error, UsageError},
    options::Options,
    position::Position,
    refusal::reason,
    terminal::{complain, visible},
};
use crate::{
    history::Since,
    http::response::{Reader, Response},
    json::{Object, quote, scalar, string, to_text},
    server::process::random,
    sign::{Subject, token::FIELD},
    websocket::handshake::accept_key,
};

/// Rooms to listen to.
#[derive(Debug)]
pub struct Listen {
    account: Account,
    login: Login,
    /// What it asks for at first.
    since: String,
}

/// What a login has, and how messages are printed.
#[derive(Debug)]
struct Login {
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
        let mut options = Options::parse(parser, &commands::LISTEN)?;
        let account = Account::new(&mut options)?;
        let mut rooms = options.all("room");
        if rooms.is_empty() {
            rooms = core::mem::take(&mut options.words);
        }
        options.no_more_words()?;
        let since = options.text("since");
        Since::parse(&since).map_err(|error| UsageError::Since(since.clone(), error))?;
        let rooms = Some(rooms.join(",")).filter(|rooms| !rooms.is_empty()).ok_or(UsageError::MissingRooms)?;
        let login = Login {
            rooms,
            userid: options.text("userid"),
            username: options.text("username"),
            ext_info: options.text("ext-info"),
            is_json: options.has("json"),
            once: options.has("once"),
        };
        Ok(Listen { account, login, since })
    }

    /// Prints messages until the process is killed. Reconnects after a lost connection, but not after a refused login, and asks
    /// for the messages that it has missed.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let credentials = self.account.credentials(Purpose::Login)?;
        let mut position = Position::new(self.since);
        let mut backoff = SHORTEST_PAUSE;
        loop {
            let began = Instant::now();
            let lost = match self.login.listen_once(&credentials, &endpoint, &mut position) {
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
}

impl Login {
    /// One connection, from the login to its end.
    fn listen_once(
        &self,
        credentials: &Credentials,
        endpoint: &Endpoint,
        position: &mut Position,
    ) -> Result<(), Error> {
        let mut fields = vec![
            ("source", credentials.source.clone()),
            ("room_ids", self.rooms.clone()),
            ("userid", self.userid.clone()),
            ("username", self.username.clone()),
            ("ext_info", self.ext_info.clone()),
            ("since", position.begin()),
        ];
        let (source, userid) = (&credentials.source, &self.userid);
        let mut jwt = credentials.jwt()?;
        fields.extend(jwt.clone().map(|jwt| (FIELD, jwt)));
        fields.extend(credentials.sign(&Subject::Connect { source, userid, room_ids: &self.rooms }));
        let lost = |why: &dyn Display| Error::Connection(endpoint.to_string(), why.to_string());
        let mut stream = endpoint.connect()?;
        let target = format!("{}{}?{}", endpoint.path, endpoint.websocket, encode(&fields));
        let mut socket = match upgrade(&mut stream, &endpoint.host, &target) {
            Ok(Upgraded::Socket(ahead)) => WebSocket::from_partially_read(stream, ahead, Role::Client, None),
            Ok(Upgraded::Refused(answer)) => {
                let body = serde_json::from_slice::<Json>(&answer.body).unwrap_or_default();
                let why = reason(&body).unwrap_or_else(|| "no reason given".into());
                return Err(match answer.status {
                    status @ 500.. => lost(&format_args!("status {status}: {why}")),
                    status => Error::LoginRefused(endpoint.to_string(), status, why),
                });
            }
            Err(error) if is_timeout(&error) => return Err(lost(&"the handshake timed out")),
            Err(error) => return Err(lost(&error)),
        };
        complain(&format_args!("listening to {} of {source} at {endpoint}", self.rooms));
        let mut pinged = false;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    pinged = false;
                    if is_warning(&text)
                        && let Some(new) = credentials.jwt()?.filter(|new| jwt.as_ref() != Some(new))
                    {
                        let frame = format!("{{\"event\":\"renew\",\"{FIELD}\":{}}}", quote(&new));
                        socket.send(Message::text(frame)).map_err(|error| lost(&error))?;
                        jwt = Some(new);
                    }
                    if self.handle(&text, position) && self.once {
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

    /// Prints what a frame carries, unless it is a message that came before. Returns whether it is a message of a room.
    fn handle(&self, text: &str, position: &mut Position) -> bool {
        let frame: Object<'_> = serde_json::from_str(text).unwrap_or_default();
        let field = |name: &str| frame.get(name).map_or("".into(), |raw| scalar(raw));
        let event = field("event");
        let line = match &*event {
            "recovery" => {
                position.note_recovery(&field("id"));
                if frame.get("recovered").is_some_and(|raw| raw.get() == "false") {
                    let rooms = frame.get("rooms").and_then(|raw| serde_json::from_str::<Vec<String>>(raw.get()).ok());
                    let rooms = visible(&rooms.unwrap_or_default().join(", "));
                    complain(&format_args!("messages to {rooms} may be missing: relay has not kept them"));
                }
                return false;
            }
            "newMsg" if !position.note_message(&field("id")) => return false,
            _ if self.is_json => text.to_owned(),
            "newMsg" => {
                let data = frame.get("data").map_or("null", |raw| raw.get());
                let compact = || serde_json::from_str::<Json>(data).map_or_else(|_| data.into(), |data| to_text(&data));
                format!("{}\t{}", field("room_id"), string(data).map_or_else(compact, String::from))
            }
            "sys_error" => {
                let refusal = serde_json::from_str::<Json>(text).unwrap_or_default();
                complain(&reason(&refusal).unwrap_or_else(|| visible(&field("msg"))));
                return false;
            }
            _ => return false,
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{}", visible(&line)).and_then(|()| out.flush()).is_err() {
            // The reader has gone (`relay listen room | head -1`): a normal end.
            process::exit(0);
        }
        event == "newMsg"
    }
}

/// Whether a frame says that the login expires.
fn is_warning(text: &str) -> bool {
    let frame: Object<'_> = serde_json::from_str(text).unwrap_or_default();
    frame.get("event").is_some_and(|event| scalar(event) == "expiring")
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
