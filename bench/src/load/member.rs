//! The clients and the backend of the plain load.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{Dialect, TIMEOUT, channel::Channel};
use crate::{
    engineio::Revision,
    error::{ConnectionError, Error},
    event_stream::{self, Block},
    frames::{self, Opcode},
    member::{UPGRADE, printable},
    responses,
};

/// A client in a room.
pub struct Member {
    /// Its connection. Non-blocking.
    pub stream: Channel,
    bytes: Vec<u8>,
    /// Whether it has a stream of Server-Sent Events in place of a WebSocket.
    is_stream: bool,
    /// The number of the message that must arrive next.
    pub(super) next: usize,
    /// The id of the last message that it received.
    pub(super) id: String,
    /// How many messages it missed before it came back, if the server has said so and keeps all of them.
    pub(super) missed: Option<usize>,
}

impl Member {
    /// Connects client `number` to a room and waits until it has joined.
    pub fn connect(addr: SocketAddr, dialect: &Dialect, room: &str, number: usize) -> Result<Member, Error> {
        let mut member = Member::begin(addr, dialect, room, number, None)?;
        member.join(dialect, number)?;
        Ok(member)
    }

    /// Connects client `number` and sends its login to a room, with the id of the last message that it received if it comes
    /// back. [`Member::join`] waits for the answer.
    pub fn begin(
        addr: SocketAddr,
        dialect: &Dialect,
        room: &str,
        number: usize,
        since: Option<&str>,
    ) -> Result<Member, Error> {
        let failed = |error| Error::Failed(format!("client {number}: {}", ConnectionError::from(error)));
        let stream = open(addr).and_then(|stream| Channel::new(stream, addr.ip(), dialect.authorities.as_deref()));
        let mut stream = stream.map_err(failed)?;
        let target = dialect.connect_target(room, number);
        let since = since.map_or(String::new(), |since| format!("&since={since}"));
        let headers = if dialect.stream { "Accept: text/event-stream\r\n" } else { UPGRADE };
        let request = format!("GET {target}{since} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
        // One write: several would cost the server several reads, which count as part of the connect.
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let (bytes, id) = (Vec::new(), String::new());
        Ok(Member { stream, bytes, is_stream: dialect.stream, next: 0, id, missed: None })
    }

    /// Waits until it has joined.
    pub fn join(&mut self, dialect: &Dialect, number: usize) -> Result<(), Error> {
        self.handshake(dialect).map_err(|error| Error::Failed(format!("client {number}: {error}")))
    }

    fn handshake(&mut self, dialect: &Dialect) -> Result<(), ConnectionError> {
        let head = loop {
            if let Some(at) = find(&self.bytes, b"\r\n\r\n") {
                break self.bytes.drain(..at + 4).collect::<Vec<_>>();
            }
            self.read_more()?;
        };
        if !head.starts_with(if self.is_stream { b"HTTP/1.1 200" } else { b"HTTP/1.1 101" }) {
            return Err(ConnectionError::Refused(printable(&head)));
        }
        if self.is_stream {
            self.id = printable(&self.read_past(|bytes, found| {
                // The first block has the position of the client.
                event_stream::parse(bytes, &mut |block| found(block.id, !block.id.is_empty()))
            })?);
            // The ends of its line and of the block.
            self.bytes.drain(..2);
        }
        if let Some(revision) = dialect.socketio {
            if revision == Revision::V4 {
                self.stream.write_all(&frame(Opcode::Text, b"40"))?;
            }
            self.read_past(|bytes, found| {
                frames::parse(bytes, &mut |_, payload| found(payload, payload.starts_with(b"40")))
            })?;
        }
        if dialect.talks {
            self.stream.write_all(&frame(Opcode::Pong, b""))?;
        }
        self.stream.socket().set_nonblocking(true)?;
        Ok(())
    }

    /// Reads until `parse` has found something, and removes the bytes up to its end. What follows is left for
    /// [`Member::receive`].
    fn read_past(
        &mut self,
        parse: impl Fn(&[u8], &mut Found<'_>) -> Result<usize, ConnectionError>,
    ) -> Result<Vec<u8>, ConnectionError> {
        loop {
            let (mut place, begin) = (None, self.bytes.as_ptr().addr());
            let parsed = parse(&self.bytes, &mut |part, is_it| {
                if is_it {
                    let at = part.as_ptr().addr() - begin;
                    place = Some(at..at + part.len());
                    // Ends the parser.
                    return Err(ConnectionError::Closed);
                }
                Ok(())
            });
            if let Some(place) = place {
                let part = self.bytes[place.clone()].to_vec();
                self.bytes.drain(..place.end);
                return Ok(part);
            }
            parsed?;
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), ConnectionError> {
        let mut part = [0; 1024];
        match self.stream.read(&mut part)? {
            0 => Err(ConnectionError::Closed),
            length => {
                self.bytes.extend_from_slice(&part[..length]);
                Ok(())
            }
        }
    }

    /// Reads what is available and returns the number of messages. Each must be the next one for its room: every `rooms`-th of
    /// `all`. `place` is where the data was in the previous message, which is mostly where it is in this one.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        all: &[Vec<u8>],
        rooms: usize,
        place: &mut usize,
    ) -> Result<usize, ConnectionError> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(length) => {
                    self.bytes.extend_from_slice(&buffer[..length]);
                    if length < buffer.len() && self.stream.is_empty_after_short_read() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let (mut messages, mut answer) = (0, Vec::new());
        let Member { bytes, next, missed, is_stream, id: last, .. } = self;
        let mut message = |text: &[u8], id: &[u8]| {
            let wrong = || {
                let text = printable(text);
                ConnectionError::malformed(format!("lost, duplicated or out of order: message {next} is {text}"))
            };
            let expected = all.get(*next).ok_or_else(wrong)?;
            if text.get(*place..*place + expected.len()) != Some(expected) {
                *place = find(text, expected).ok_or_else(wrong)?;
            }
            let id = core::str::from_utf8(id).map_err(|_| wrong())?;
            last.clear();
            last.push_str(id);
            *next += rooms;
            messages += 1;
            Ok(())
        };
        let mut recovery = |text: &[u8]| {
            *missed = whole(text);
            missed
                .map(|_| ())
                .ok_or_else(|| ConnectionError::malformed(format!("messages are lost: {}", printable(text))))
        };
        let used = if *is_stream {
            event_stream::parse(bytes, &mut |block| match block {
                // A keep-alive, or the position again.
                Block { event: b"", data: None, .. } => Ok(()),
                Block { event: b"", data: Some(text), id } => message(text, id),
                Block { event: b"recovery", data: Some(text), .. } => recovery(text),
                Block { event, data, .. } => {
                    let data = printable(data.unwrap_or_default());
                    Err(ConnectionError::Refused(format!("event {}: {data}", printable(event))))
                }
            })?
        } else {
            frames::parse(bytes, &mut |opcode, payload| {
                match (opcode, payload) {
                    (Opcode::Close, _) => {
                        let reason = printable(payload.get(2..).unwrap_or_default());
                        let code = payload.get(..2).map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
                        return Err(ConnectionError::CloseFrame { code, reason });
                    }
                    (Opcode::Ping, _) => frames::push(&mut answer, Opcode::Pong, payload),
                    (_, b"2") => frames::push(&mut answer, Opcode::Text, b"3"),
                    _ if RECOVERY.iter().any(|head| payload.starts_with(head)) => recovery(payload)?,
                    _ => message(payload, id_of(payload))?,
                }
                Ok(())
            })?
        };
        self.bytes.drain(..used);
        self.stream.write_all(&answer)?;
        Ok(messages)
    }
}

/// Takes a part of the bytes that are parsed, and whether it is what [`Member::read_past`] waits for.
type Found<'a> = dyn FnMut(&[u8], bool) -> Result<(), ConnectionError> + 'a;

/// A backend on one connection.
pub struct Publisher {
    pub(super) stream: TcpStream,
    bytes: Vec<u8>,
    /// The number of responses so far.
    pub(super) responses: usize,
}

impl Publisher {
    /// Connects.
    pub(super) fn connect(addr: SocketAddr) -> io::Result<Publisher> {
        let stream = open(addr)?;
        stream.set_nonblocking(true)?;
        Ok(Publisher { stream, bytes: Vec::new(), responses: 0 })
    }

    /// Reads what is available. Every response must accept its notification.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<(), ConnectionError> {
        while let Ok(length) = self.stream.read(buffer) {
            if length == 0 {
                return Err(ConnectionError::Closed);
            }
            self.bytes.extend_from_slice(&buffer[..length]);
        }
        self.parse()
    }

    /// Waits for so many responses altogether, on a blocking connection.
    pub(super) fn wait(&mut self, responses: usize) -> Result<(), ConnectionError> {
        let mut part = [0; 1024];
        while self.responses < responses {
            match self.stream.read(&mut part)? {
                0 => return Err(ConnectionError::Closed),
                length => self.bytes.extend_from_slice(&part[..length]),
            }
            self.parse()?;
        }
        Ok(())
    }

    fn parse(&mut self) -> Result<(), ConnectionError> {
        let responses = &mut self.responses;
        let used = responses::parse(&self.bytes, &mut |status, body| {
            if !(200..210).contains(&status) || find(body, b"\"code\":0").is_some() {
                return Err(ConnectionError::Refused(format!("{status} {}", printable(body))));
            }
            *responses += 1;
            Ok(())
        })?;
        self.bytes.drain(..used);
        Ok(())
    }
}

/// A blocking connection with a time-out, for the handshake.
fn open(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The beginnings of the event `recovery` on a WebSocket.
const RECOVERY: [&[u8]; 2] = [b"{\"event\":\"recovery\"", b"42[\"recovery\""];

/// How many messages a client missed according to the event `recovery`; `None` if not all of them are kept.
fn whole(text: &[u8]) -> Option<usize> {
    let head = b"\"recovered\":true,\"missed\":";
    let digits = &text[find(text, head)? + head.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    core::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The id in a message. Empty if there is none.
fn id_of(text: &[u8]) -> &[u8] {
    let head = b"\"id\":\"";
    // It is near the end.
    let at = text.windows(head.len()).rposition(|part| part == head);
    at.and_then(|at| text[at + head.len()..].split(|byte| *byte == b'"').next()).unwrap_or_default()
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::push(&mut frame, opcode, payload);
    frame
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
