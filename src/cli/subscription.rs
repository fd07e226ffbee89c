//! Rooms whose events a command follows: it logs in, reconnects, and asks for the messages that it has missed.

use core::{fmt::Display, ops::ControlFlow};
use std::{
    borrow::Cow,
    io::{self, Read, Write},
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value as Json;
use tungstenite::{Message, WebSocket, protocol::Role};

use super::{
    credentials::{Credentials, encode},
    endpoint::{ANSWER_MAX, Endpoint, Stream},
    error::Error,
    position::Position,
    refusal::reason,
    terminal::{complain, visible},
};
use crate::{
    http::response::{Reader, Response},
    json::{Object, quote, scalar},
    server::process::random,
    sign::{Subject, token::FIELD},
    websocket::handshake::accept_key,
};

/// What a login has.
#[derive(Debug)]
pub struct Subscription {
    /// The rooms, separated by commas.
    pub rooms: String,
    /// The id of the user.
    pub userid: String,
    /// The name of the user.
    pub username: String,
    /// Further information about the user.
    pub ext_info: String,
}

/// An event that has arrived.
pub struct Frame<'a> {
    /// The frame as it was received.
    pub text: &'a str,
    /// The name of the event.
    pub event: Cow<'a, str>,
    fields: Object<'a>,
}

impl<'a> Frame<'a> {
    fn parse(text: &'a str) -> Frame<'a> {
        let fields: Object<'_> = serde_json::from_str(text).unwrap_or_default();
        let event = fields.get("event").map_or("".into(), |raw| scalar(raw));
        Frame { text, event, fields }
    }

    /// A field that is a string or a number, as text; empty if it is neither.
    pub fn field(&self, name: &str) -> Cow<'_, str> {
        self.fields.get(name).map_or("".into(), |raw| scalar(raw))
    }

    /// A field as JSON.
    pub fn json(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name).map(|raw| raw.get())
    }

    /// Prints the reason of a `sys_error` to standard error.
    pub fn complain(&self) {
        let refusal = serde_json::from_str::<Json>(self.text).unwrap_or_default();
        complain(&reason(&refusal).unwrap_or_else(|| visible(&self.field("msg"))));
    }
}

impl Subscription {
    /// Passes events to `handle` until it breaks, each message once. Reconnects after a lost connection, but not after a refused
    /// login, and asks for the messages since `since`, later for those that it has missed.
    pub fn follow(
        &self,
        credentials: &Credentials,
        endpoint: &Endpoint,
        since: String,
        handle: &mut dyn FnMut(&Frame<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut position = Position::new(since);
        let mut backoff = SHORTEST_PAUSE;
        loop {
            let began = Instant::now();
            let lost = match self.follow_once(credentials, endpoint, &mut position, handle) {
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
    fn follow_once(
        &self,
        credentials: &Credentials,
        endpoint: &Endpoint,
        position: &mut Position,
        handle: &mut dyn FnMut(&Frame<'_>) -> ControlFlow<()>,
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
        complain(&format_args!("listening to {} of {source} at {endpoint}", visible(&self.rooms)));
        let mut pinged = false;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    pinged = false;
                    let frame = Frame::parse(&text);
                    if frame.event == "expiring"
                        && let Some(new) = credentials.jwt()?.filter(|new| jwt.as_ref() != Some(new))
                    {
                        let frame = format!("{{\"event\":\"renew\",\"{FIELD}\":{}}}", quote(&new));
                        socket.send(Message::text(frame)).map_err(|error| lost(&error))?;
                        jwt = Some(new);
                    }
                    if is_new(&frame, position) && handle(&frame).is_break() {
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
}

/// Notes where the listener stands. Returns whether the event is for the command: not `recovery`, and no message that came before.
fn is_new(frame: &Frame<'_>, position: &mut Position) -> bool {
    match &*frame.event {
        "recovery" => {
            position.note_recovery(&frame.field("id"));
            if frame.json("recovered") == Some("false") {
                let rooms = frame.json("rooms").and_then(|raw| serde_json::from_str::<Vec<String>>(raw).ok());
                let rooms = visible(&rooms.unwrap_or_default().join(", "));
                complain(&format_args!("messages to {rooms} may be missing: relay has not kept them"));
            }
            false
        }
        "newMsg" => position.note_message(&frame.field("id")),
        _ => true,
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
