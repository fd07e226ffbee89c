//! Rooms whose events a command follows: it logs in, reconnects, and asks for the messages that it has missed.

use core::{fmt::Display, ops::ControlFlow};
use std::{
    borrow::Cow,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use tungstenite::{Message, WebSocket, protocol::Role};

use super::{
    client::Opened,
    connection::is_timeout,
    credentials::{Credentials, encode},
    endpoint::{Endpoint, TIMEOUT},
    error::Error,
    handshake::Handshake,
    position::Position,
    refusal::reason,
    terminal::{complain, visible},
};
use crate::{
    json::{Object, quote, scalar},
    server::process::random,
    sign::{Subject, token::FIELD},
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
        let (handshake, target) = (Handshake::new(), format!("{}?{}", endpoint.websocket, encode(&fields)));
        let Opened { answer, connection } = endpoint.open(&handshake.request(&target), |_| false)?;
        match answer.status {
            101 if handshake.accepts(&answer) => {}
            101 => return Err(lost(&"the answer is not a WebSocket handshake")),
            status => {
                let why = reason(&answer.json()).unwrap_or_else(|| "no reason given".into());
                return Err(match status {
                    500.. => lost(&format_args!("status {status}: {why}")),
                    _ => Error::LoginRefused(endpoint.to_string(), status, why),
                });
            }
        }
        connection.set_read_timeout(TIMEOUT).map_err(|error| lost(&error))?;
        let mut socket = WebSocket::from_partially_read(connection, answer.body, Role::Client, None);
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

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
