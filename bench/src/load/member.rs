//! The clients and the backend of the plain load.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{Dialect, TIMEOUT, channel::Channel};
use crate::{
    engineio::Revision,
    error::{ConnectionError, Error},
    frames::{self, Opcode},
    member::{UPGRADE, printable},
    responses,
};

/// A client in a room.
pub struct Member {
    /// Its connection. Non-blocking.
    pub stream: Channel,
    bytes: Vec<u8>,
    /// The number of the message that must arrive next.
    pub(super) next: usize,
}

impl Member {
    /// Connects client `number` to a room and waits until it has joined.
    pub fn connect(addr: SocketAddr, dialect: &Dialect, room: &str, number: usize) -> Result<Member, Error> {
        let failed = |error: ConnectionError| Error::Failed(format!("client {number}: {error}"));
        let stream = open(addr).and_then(|stream| Channel::new(stream, addr.ip(), dialect.authorities.as_deref()));
        let mut member = Member { stream: stream.map_err(|e| failed(e.into()))?, bytes: Vec::new(), next: 0 };
        member.handshake(dialect, room, number).map_err(failed)?;
        Ok(member)
    }

    fn handshake(&mut self, dialect: &Dialect, room: &str, number: usize) -> Result<(), ConnectionError> {
        let target = dialect.connect_target(room, number);
        // One write: several would cost the server several reads, which count as part of the connect.
        self.stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: relay\r\n{UPGRADE}\r\n").as_bytes())?;
        let head = loop {
            if let Some(at) = find(&self.bytes, b"\r\n\r\n") {
                break self.bytes.drain(..at + 4).collect::<Vec<_>>();
            }
            self.read_more()?;
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(ConnectionError::Refused(printable(&head)));
        }
        if let Some(revision) = dialect.socketio {
            if revision == Revision::V4 {
                self.stream.write_all(&frame(Opcode::Text, b"40"))?;
            }
            let mut joined = false;
            while !joined {
                let used = frames::parse(&self.bytes, &mut |_, payload| {
                    joined |= payload.starts_with(b"40");
                    Ok(())
                })?;
                self.bytes.drain(..used);
                if !joined {
                    self.read_more()?;
                }
            }
        }
        self.stream.socket().set_nonblocking(true)?;
        Ok(())
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
        let next = &mut self.next;
        let used = frames::parse(&self.bytes, &mut |opcode, payload| {
            match (opcode, payload) {
                (Opcode::Close, _) => {
                    let reason = printable(payload.get(2..).unwrap_or_default());
                    let code = payload.get(..2).map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
                    return Err(ConnectionError::CloseFrame { code, reason });
                }
                (Opcode::Ping, _) => frames::push(&mut answer, Opcode::Pong, payload),
                (_, b"2") => frames::push(&mut answer, Opcode::Text, b"3"),
                _ => {
                    let wrong = || {
                        let text = printable(payload);
                        ConnectionError::malformed(format!(
                            "lost, duplicated or out of order: message {next} is {text}"
                        ))
                    };
                    let expected = all.get(*next).ok_or_else(wrong)?;
                    if payload.get(*place..*place + expected.len()) != Some(expected) {
                        *place = find(payload, expected).ok_or_else(wrong)?;
                    }
                    *next += rooms;
                    messages += 1;
                }
            }
            Ok(())
        })?;
        self.bytes.drain(..used);
        self.stream.write_all(&answer)?;
        Ok(messages)
    }
}

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

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::push(&mut frame, opcode, payload);
    frame
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
