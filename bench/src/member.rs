//! A client in a room: it logs in, receives messages and answers pings.

use mio::{Registry, Token};

use crate::{
    connection::{Connection, Stream},
    engineio::{self, Revision},
    error::ConnectionError,
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
}

impl Kind {
    /// Every kind, with its name on the command line.
    pub const ALL: [(&str, Kind); 5] = [
        ("ws", Kind::Ws),
        ("sio4", Kind::SocketIo(Revision::V4)),
        ("sio3", Kind::SocketIo(Revision::V3)),
        ("polling4", Kind::Polling(Revision::V4)),
        ("polling3", Kind::Polling(Revision::V3)),
    ];

    /// All names.
    pub const NAMES: [&str; 5] = {
        let mut names = [""; 5];
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
        if self == Kind::Ws { Form::Json } else { Form::Packet }
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
    /// It has sent the WebSocket upgrade.
    Upgrading,
    /// It waits for the Engine.IO or Socket.IO handshake.
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

    /// Sends a message to an empty room. For a polling client it returns the packet, which the caller must POST.
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
            let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                let too_long = bytes.len() > responses::MAX_HEAD;
                return if too_long { Err(ConnectionError::TooLong(bytes.len())) } else { Ok(0) };
            };
            used = head + 4;
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                return Err(ConnectionError::Refused(format!("{}: {}", printable(line), printable(&bytes[used..]))));
            }
            if !contains(&bytes[..used], ACCEPT.as_bytes()) {
                return Err(ConnectionError::malformed("the upgrade response has a wrong Sec-WebSocket-Accept"));
            }
            self.stage = Stage::Opening;
            if self.kind == Kind::Ws {
                self.join(handle);
            }
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
mod tests {
    use super::*;

    fn session_of(kind: Kind, stage: Stage) -> Session {
        Session { kind, stage, sid: String::new(), ping_interval: u64::MAX, once: false }
    }

    /// Feeds the bytes to a session in two pieces, cut at every place.
    fn every_cut(kind: Kind, stage: Stage, bytes: &[u8], expected: &[&str], sent: &[&str]) {
        let workload = Workload::new("0123abcd", "demo", "k", "h", 1, 32);
        for cut in 0..=bytes.len() {
            let (mut session, mut out, mut events) = (session_of(kind, stage), Vec::new(), Vec::new());
            let mut handle = |event: Event<'_>| {
                events.push(match event {
                    Event::Message(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                });
            };
            let used = session.receive(&bytes[..cut], &workload, &mut out, &mut handle).unwrap();
            let rest = session.receive(&bytes[used..], &workload, &mut out, &mut handle).unwrap();
            assert_eq!((used + rest, events.as_slice()), (bytes.len(), strings(expected).as_slice()), "cut at {cut}");
            let text = String::from_utf8_lossy(&out).into_owned();
            let places: Vec<_> = sent.iter().map(|part| text.find(part)).collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{sent:?} in {text:?}");
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn upgraded(texts: &[&str]) -> Vec<u8> {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        let mut bytes = head.into_bytes();
        for text in texts {
            bytes.extend_from_slice(&[0x81, text.len() as u8]);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    fn responses(bodies: &[&str]) -> Vec<u8> {
        let response = |body: &&str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        bodies.iter().map(response).collect::<String>().into_bytes()
    }

    #[test]
    fn plain_websocket() {
        let mut bytes = upgraded(&["{\"event\":\"newMsg\"}", "{\"event\":\"ack\",\"ack\":1,\"code\":1}"]);
        bytes.extend_from_slice(b"\x89\x02hi");
        every_cut(Kind::Ws, Stage::Upgrading, &bytes, &["Joined", "{\"event\":\"newMsg\"}", "Acknowledged"], &["hi"]);
    }

    #[test]
    fn socket_io() {
        let (v3, v4) = (Kind::SocketIo(Revision::V3), Kind::SocketIo(Revision::V4));
        let texts = ["0{\"sid\":\"s\"}", "40", "42[\"newMsg\",{}]", "6", "431[{\"code\":1}]"];
        let events = ["Joined", "42[\"newMsg\",{}]", "Acknowledged"];
        every_cut(v3, Stage::Upgrading, &upgraded(&[&texts[..], &["3"]].concat()), &events, &[]);
        every_cut(v4, Stage::Upgrading, &upgraded(&[&texts[..], &["2x"]].concat()), &events, &["40", "3x"]);
    }

    #[test]
    fn polling() {
        let (v3, v4) = (Kind::Polling(Revision::V3), Kind::Polling(Revision::V4));
        let v3_bodies = ["12:0{\"sid\":\"s\"}2:40", "15:42[\"newMsg\",{}]", "1:3"];
        let poll = "GET /socket.io/?EIO=3&transport=polling&b64=1&sid=s ";
        every_cut(v3, Stage::Opening, &responses(&v3_bodies), &["Joined", "42[\"newMsg\",{}]"], &[poll]);
        let v4_bodies = ["0{\"sid\":\"s\"}", "ok", "40{}\x1e42[1]\x1e2\x1e42[2]"];
        let sent = ["POST /socket.io/?EIO=4&transport=polling&sid=s ", "\r\n\r\n40GET ", "\r\n\r\n3GET "];
        every_cut(v4, Stage::Opening, &responses(&v4_bodies), &["Joined", "42[1]", "42[2]"], &sent);
    }

    #[test]
    fn refusals_name_the_reason() {
        let workload = Workload::new("0123abcd", "demo", "k", "h", 1, 32);
        let refused = |kind, stage, bytes: &[u8]| {
            session_of(kind, stage).receive(bytes, &workload, &mut Vec::new(), &mut |_| {}).unwrap_err().to_string()
        };
        let unauthorized = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nwhy";
        assert_eq!(refused(Kind::Ws, Stage::Upgrading, unauthorized), "refused: HTTP/1.1 401 Unauthorized: why");
        assert_eq!(refused(Kind::Polling(Revision::V4), Stage::Opening, unauthorized), "refused: 401: why");
        let other = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: x\r\n\r\n";
        assert!(refused(Kind::Ws, Stage::Upgrading, other).contains("Accept"));
        for text in ["44{\"message\":\"no\"}", "42[\"sys_error\",\"no\"]", "41", "431[{\"code\":0}]", "x"] {
            let error = refused(Kind::SocketIo(Revision::V4), Stage::Upgrading, &upgraded(&[text]));
            assert!(error.contains(text), "{error}");
        }
        assert!(refused(Kind::Ws, Stage::Joined, b"\x88\x05\x03\xf1slo").contains("1009 slo"));
        assert!(refused(Kind::Ws, Stage::Joined, b"\x81\x15{\"event\":\"sys_error\"}").contains("sys_error"));
    }

    #[test]
    fn names() {
        for (name, kind) in Kind::ALL {
            assert_eq!(kind.name(), name);
        }
    }
}
