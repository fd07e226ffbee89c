//! A client in a room: it logs in, receives messages and answers pings.

use mio::{Registry, Token};

use crate::{
    connection::{Connection, Stream},
    engineio::{self, Revision},
    error::ConnectionError,
    event_stream::{self, Block},
    frames::{self, Opcode},
    responses,
    workload::{Form, Workload},
};

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain WebSocket, at `/ws`.
    Ws,
    /// Socket.IO over a WebSocket, without polling first.
    SocketIo(Revision),
    /// Socket.IO over HTTP long polling.
    Polling(Revision),
    /// A stream of Server-Sent Events, at `/sse`. It only receives.
    Sse,
}

impl Kind {
    /// Every kind, with its name on the command line.
    pub const ALL: [(&str, Kind); 6] = [
        ("ws", Kind::Ws),
        ("sio4", Kind::SocketIo(Revision::V4)),
        ("sio3", Kind::SocketIo(Revision::V3)),
        ("polling4", Kind::Polling(Revision::V4)),
        ("polling3", Kind::Polling(Revision::V3)),
        ("sse", Kind::Sse),
    ];

    /// All names.
    pub const NAMES: [&str; 6] = {
        let mut names = [""; 6];
        let mut at = 0;
        while at < names.len() {
            names[at] = Kind::ALL[at].0;
            at += 1;
        }
        names
    };

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The form of the messages that it receives.
    pub fn form(self) -> Form {
        match self {
            Kind::Ws => Form::Json,
            Kind::SocketIo(_) | Kind::Polling(_) => Form::Packet,
            Kind::Sse => Form::Block,
        }
    }

    /// Whether the client can send messages.
    pub fn can_send(self) -> bool {
        self != Kind::Sse
    }

    /// Whether the client sends the pings, as in revision 3.
    pub fn sends_pings(self) -> bool {
        matches!(self, Kind::SocketIo(Revision::V3) | Kind::Polling(Revision::V3))
    }
}

/// An event of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It joined its room.
    Joined,
    /// It received a message.
    Message(&'a [u8]),
    /// The server acknowledged the member's own message.
    Acknowledged,
}

/// A connected client.
#[derive(Debug)]
pub struct Member {
    connection: Connection,
    session: Session,
    /// When it started to connect: nanoseconds of the run's clock.
    pub started: u64,
    /// When it last sent a ping.
    pinged: u64,
}

#[derive(Debug)]
struct Session {
    kind: Kind,
    stage: Stage,
    /// The id of its Engine.IO session.
    sid: String,
    /// The interval in nanoseconds at which it sends pings; never, unless it is on the client to do so.
    ping_interval: u64,
    /// Whether it stops polling once it has joined.
    once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has sent the WebSocket upgrade, or the request for a stream.
    Upgrading,
    /// It waits for the Engine.IO or Socket.IO handshake, or for the first block of the stream.
    Opening,
    /// It is in its room.
    Joined,
}

impl Member {
    /// Starts to connect and to log in with the query string `login`. With `once` a polling client stops polling once it has
    /// joined.
    pub fn new(
        stream: Stream,
        (registry, token): (&Registry, Token),
        kind: Kind,
        (workload, login): (&Workload, &str),
        once: bool,
        started: u64,
    ) -> Result<Member, ConnectionError> {
        let connection = Connection::new(stream, registry, token)?;
        let (stage, target, headers) = match kind {
            Kind::Ws => (Stage::Upgrading, format!("/ws?{login}"), UPGRADE),
            Kind::SocketIo(revision) => (Stage::Upgrading, engineio::path(revision, "websocket", login), UPGRADE),
            Kind::Polling(revision) => (Stage::Opening, engineio::path(revision, "polling", login), ""),
            Kind::Sse => (Stage::Upgrading, format!("/sse?{login}"), "Accept: text/event-stream\r\n"),
        };
        let session = Session { kind, stage, sid: String::new(), ping_interval: u64::MAX, once };
        let mut member = Member { connection, session, started, pinged: started };
        let mut request = Vec::new();
        workload.get(&target, headers, &mut request);
        member.connection.push(&request);
        member.connection.flush()?;
        Ok(member)
    }

    /// Whether it is in its room.
    pub fn has_joined(&self) -> bool {
        self.session.stage == Stage::Joined
    }

    /// Handles a writable socket.
    pub fn handle_writable(&mut self) -> Result<(), ConnectionError> {
        self.connection.flush()
    }

    /// Reads what is available and calls `handle` with each event. Returns `true` if there may be more to read. An error ends
    /// the member.
    pub fn handle_readable(
        &mut self,
        buffer: &mut [u8],
        workload: &Workload,
        handle: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool, ConnectionError> {
        let (session, mut out) = (&mut self.session, Vec::new());
        let more = self.connection.read(buffer, &mut |bytes| session.receive(bytes, workload, &mut out, handle))?;
        if !out.is_empty() {
            self.connection.push(&out);
            self.connection.flush()?;
        }
        Ok(more)
    }

    /// Sends a message to an empty room, if its kind [can](Kind::can_send). For a polling client it returns the packet, which the caller must POST.
    pub fn send_message(&mut self, workload: &Workload) -> Result<Option<String>, ConnectionError> {
        self.send(&workload.client_message(self.session.kind.form()))
    }

    /// Sends a ping if one is due. For a polling client it returns the packet, which the caller must POST.
    pub fn ping(&mut self, now: u64) -> Result<Option<String>, ConnectionError> {
        if !self.has_joined() || now.saturating_sub(self.pinged) < self.session.ping_interval {
            return Ok(None);
        }
        self.pinged = now;
        self.send("2")
    }

    /// The packet that ends the session of a polling client, which would outlive its connection. The caller must POST it.
    pub fn close_packet(&self) -> Option<String> {
        matches!(self.session.kind, Kind::Polling(_)).then(|| "1".into())
    }

    /// The target and the body of a POST with this packet, for a polling client.
    pub fn post(&self, packet: &str) -> Option<(String, Vec<u8>)> {
        let Kind::Polling(revision) = self.session.kind else { return None };
        let mut body = Vec::new();
        engineio::push(&mut body, revision, packet);
        Some((self.session.target(revision), body))
    }

    fn send(&mut self, packet: &str) -> Result<Option<String>, ConnectionError> {
        if let Kind::Polling(_) = self.session.kind {
            return Ok(Some(packet.into()));
        }
        let mut frame = Vec::new();
        frames::push(&mut frame, Opcode::Text, packet.as_bytes());
        self.connection.push(&frame);
        self.connection.flush().map(|()| None)
    }
}

impl Session {
    /// Parses received bytes, appends the answers to `out`, and returns how many bytes it used.
    fn receive(
        &mut self,
        bytes: &[u8],
        workload: &Workload,
        out: &mut Vec<u8>,
        handle: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, ConnectionError> {
        if let Kind::Polling(revision) = self.kind {
            return responses::parse(bytes, &mut |status, body| match (status, body) {
                // The response to a POST.
                (200, b"ok") => Ok(()),
                (200, _) => {
                    engineio::parse(body, revision, &mut |packet| {
                        self.handle_packet(packet, revision, workload, out, handle)
                    })?;
                    if !(self.once && self.stage == Stage::Joined) {
                        workload.get(&self.target(revision), "", out);
                    }
                    Ok(())
                }
                _ => Err(ConnectionError::Refused(format!("{status}: {}", printable(body)))),
            });
        }
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            used = match self.receive_head(bytes)? {
                Some(length) => length,
                None => return Ok(0),
            };
            self.stage = Stage::Opening;
            if self.kind == Kind::Ws {
                self.join(handle);
            }
        }
        if self.kind == Kind::Sse {
            let more = event_stream::parse(&bytes[used..], &mut |block| self.handle_block(block, handle))?;
            return Ok(used + more);
        }
        let more = frames::parse(&bytes[used..], &mut |opcode, payload| match (opcode, self.kind) {
            (Opcode::Text, Kind::SocketIo(revision)) => self.handle_packet(payload, revision, workload, out, handle),
            (Opcode::Text, _) => handle_text(payload, handle),
            (Opcode::Ping, _) => {
                frames::push(out, Opcode::Pong, payload);
                Ok(())
            }
            (Opcode::Pong, _) => Ok(()),
            (Opcode::Binary, _) => Err(ConnectionError::malformed("a binary message, but none was sent")),
            (Opcode::Close, _) => {
                let (code, reason) = payload.split_at_checked(2).unwrap_or((&[0, 0], b""));
                let code = u16::from_be_bytes([code[0], code[1]]);
                Err(ConnectionError::CloseFrame { code, reason: printable(reason) })
            }
        })?;
        Ok(used + more)
    }

    /// Checks the head of the response to an upgrade or to the request for a stream. Returns its length once it is complete.
    fn receive_head(&self, bytes: &[u8]) -> Result<Option<usize>, ConnectionError> {
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            let too_long = bytes.len() > responses::MAX_HEAD;
            return if too_long { Err(ConnectionError::TooLong(bytes.len())) } else { Ok(None) };
        };
        let length = head + 4;
        let (status, field, why): (&[u8], _, _) = match self.kind {
            Kind::Sse => (b"HTTP/1.1 200 ", "Content-Type: text/event-stream\r\n", "the response is no event stream"),
            _ => (b"HTTP/1.1 101 ", ACCEPT, "the upgrade response has a wrong Sec-WebSocket-Accept"),
        };
        if !bytes.starts_with(status) {
            let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(ConnectionError::Refused(format!("{}: {}", printable(line), printable(&bytes[length..]))));
        }
        match contains(&bytes[..length], field.as_bytes()) {
            true => Ok(Some(length)),
            false => Err(ConnectionError::malformed(why)),
        }
    }

    /// Handles a block of a stream. The first one has only an id: the position of the client.
    fn handle_block(&mut self, block: Block<'_>, handle: &mut dyn FnMut(Event<'_>)) -> Result<(), ConnectionError> {
        match block {
            Block { event: b"", id: b"", data: None } => {}
            Block { event: b"", id: b"", data: Some(_) } => {
                return Err(ConnectionError::malformed("a message of a stream has no id"));
            }
            Block { event: b"", data: None, .. } => self.join(handle),
            Block { event: b"", id, data: Some(data) } if contains(data, id) => handle(Event::Message(data)),
            Block { event: b"", .. } => {
                return Err(ConnectionError::malformed("a message of a stream differs from its block in the id"));
            }
            Block { event, data, .. } => {
                let data = printable(data.unwrap_or_default());
                return Err(ConnectionError::Refused(format!("event {}: {data}", printable(event))));
            }
        }
        Ok(())
    }

    /// Handles an Engine.IO packet.
    fn handle_packet(
        &mut self,
        packet: &[u8],
        revision: Revision,
        workload: &Workload,
        out: &mut Vec<u8>,
        handle: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ConnectionError> {
        match packet {
            [b'4', b'2', ..] if !packet.starts_with(b"42[\"sys_error\"") => handle(Event::Message(packet)),
            [b'4', b'3', ..] if contains(packet, b"\"code\":1") => handle(Event::Acknowledged),
            [b'0', open @ ..] => {
                let open: Result<serde_json::Value, _> = serde_json::from_slice(open);
                let open =
                    open.map_err(|error| ConnectionError::malformed(format!("invalid Engine.IO handshake: {error}")))?;
                let sid = open["sid"].as_str();
                let sid = sid.ok_or_else(|| ConnectionError::malformed("the Engine.IO handshake has no sid"))?;
                sid.clone_into(&mut self.sid);
                if revision == Revision::V3 {
                    // Three quarters of the announced interval, in nanoseconds.
                    self.ping_interval = open["pingInterval"].as_u64().unwrap_or(25_000).max(1).saturating_mul(750_000);
                } else {
                    self.answer("40", revision, workload, out);
                }
            }
            [b'4', b'0', ..] => self.join(handle),
            [b'2', data @ ..] => self.answer(&format!("3{}", printable(data)), revision, workload, out),
            [b'3', ..] | b"6" => {}
            b"1" => return Err(ConnectionError::SessionClosed),
            _ => return Err(ConnectionError::Refused(printable(packet))),
        }
        Ok(())
    }

    fn answer(&self, packet: &str, revision: Revision, workload: &Workload, out: &mut Vec<u8>) {
        match self.kind {
            // A poll has just been answered and the next one is not sent yet, so the connection is free for a POST.
            Kind::Polling(_) => {
                let mut body = Vec::new();
                engineio::push(&mut body, revision, packet);
                workload.post(&self.target(revision), TEXT, &body, out);
            }
            _ => frames::push(out, Opcode::Text, packet.as_bytes()),
        }
    }

    fn join(&mut self, handle: &mut dyn FnMut(Event<'_>)) {
        if self.stage != Stage::Joined {
            self.stage = Stage::Joined;
            handle(Event::Joined);
        }
    }

    fn target(&self, revision: Revision) -> String {
        engineio::path(revision, "polling", &format!("sid={}", self.sid))
    }
}

/// Handles a text message of a plain WebSocket.
fn handle_text(text: &[u8], handle: &mut dyn FnMut(Event<'_>)) -> Result<(), ConnectionError> {
    if text.starts_with(b"{\"event\":\"ack\"") && contains(text, b"\"code\":1") {
        handle(Event::Acknowledged);
    } else if text.starts_with(b"{\"event\":\"ack\"") || text.starts_with(b"{\"event\":\"sys_error\"") {
        return Err(ConnectionError::Refused(printable(text)));
    } else {
        handle(Event::Message(text));
    }
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Untrusted bytes as one line of text, at most 300 bytes of them.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The media type of a POST with packets.
pub const TEXT: &str = "text/plain;charset=UTF-8";
/// The headers of a WebSocket upgrade, with the sample key of RFC 6455 section 1.3: a load needs no random key.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The `Sec-WebSocket-Accept` that belongs to this key (RFC 6455 section 1.3).
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[cfg(test)]
mod tests;
