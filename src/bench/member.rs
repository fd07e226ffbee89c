//! A client in a room, of any kind: it logs in, listens, answers pings.

use mio::{Registry, Token};
use tungstenite::handshake::derive_accept_key;

use super::{
    answers,
    frames::{self, Opcode},
    link::{Link, Stream},
    polling,
    script::{Form, Script, session},
};
use crate::engineio::Revision;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain WebSocket, at `/ws`.
    Ws,
    /// Socket.IO over a WebSocket from the beginning.
    SocketIo(Revision),
    /// Socket.IO over HTTP long polling.
    Polling(Revision),
}

impl Kind {
    /// All there are, as the command line names them.
    pub const ALL: [(&str, Kind); 5] = [
        ("ws", Kind::Ws),
        ("sio4", Kind::SocketIo(Revision::V4)),
        ("sio3", Kind::SocketIo(Revision::V3)),
        ("polling4", Kind::Polling(Revision::V4)),
        ("polling3", Kind::Polling(Revision::V3)),
    ];

    /// As the command line names it.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// How its messages are wrapped.
    pub fn form(self) -> Form {
        if self == Kind::Ws { Form::Json } else { Form::Packet }
    }

    /// Whether it is the client that pings, as in revision 3.
    pub fn pings(self) -> bool {
        matches!(self, Kind::SocketIo(Revision::V3) | Kind::Polling(Revision::V3))
    }
}

/// What a member has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It is in its room from now on.
    Joined,
    /// A message, as it came.
    Message(&'a [u8]),
    /// What it said was accepted.
    Accepted,
}

/// A connected client.
#[derive(Debug)]
pub struct Member {
    link: Link,
    session: Session,
    /// When it began to connect: nanoseconds of the run's clock.
    pub began: u64,
    /// When it pinged last.
    pinged: u64,
}

#[derive(Debug)]
struct Session {
    kind: Kind,
    stage: Stage,
    /// The name of its Engine.IO session.
    sid: String,
    /// After how many nanoseconds it pings, if it is on the client to do so.
    ping_after: u64,
    /// Whether it only wants to come in, and then polls no more.
    once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The upgrade is asked for.
    Upgrading,
    /// Engine.IO's or Socket.IO's welcome is awaited.
    Opening,
    /// It is in its room.
    Joined,
}

impl Member {
    /// Begins to connect and to log in as `login` says; `once`: to come in and no more.
    pub fn new(
        stream: Stream,
        (registry, token): (&Registry, Token),
        kind: Kind,
        (script, login): (&Script, &str),
        once: bool,
        began: u64,
    ) -> Result<Member, String> {
        let link = Link::new(stream, registry, token).map_err(|error| error.to_string())?;
        let (stage, target, headers) = match kind {
            Kind::Ws => (Stage::Upgrading, format!("/ws?{login}"), UPGRADE),
            Kind::SocketIo(revision) => (Stage::Upgrading, session(revision, "websocket", login), UPGRADE),
            Kind::Polling(revision) => (Stage::Opening, session(revision, "polling", login), ""),
        };
        let session = Session { kind, stage, sid: String::new(), ping_after: u64::MAX, once };
        let mut member = Member { link, session, began, pinged: began };
        let mut request = Vec::new();
        script.get(&target, headers, &mut request);
        member.link.push(&request);
        member.link.flush()?;
        Ok(member)
    }

    /// Whether it is in its room.
    pub fn has_joined(&self) -> bool {
        self.session.stage == Stage::Joined
    }

    /// Its socket takes more.
    pub fn handle_writable(&mut self) -> Result<(), String> {
        self.link.flush()
    }

    /// Reads what is there; whether there may be more. The error says why it is over with this member.
    pub fn handle_readable(
        &mut self,
        buffer: &mut [u8],
        script: &Script,
        hear: &mut dyn FnMut(Heard<'_>),
    ) -> Result<bool, String> {
        let (session, mut out) = (&mut self.session, Vec::new());
        let more = self.link.read(buffer, &mut |bytes| session.take(bytes, script, &mut out, hear))?;
        if !out.is_empty() {
            self.link.push(&out);
            self.link.flush()?;
        }
        Ok(more)
    }

    /// Says something to a room in which nobody is; what a client that polls would have to post instead.
    pub fn say(&mut self, script: &Script) -> Result<Option<String>, String> {
        self.send(&script.say(self.session.kind.form()))
    }

    /// Pings, if it is on the client to do so and time to; what a client that polls would have to post instead.
    pub fn ping(&mut self, now: u64) -> Result<Option<String>, String> {
        if !self.has_joined() || now.saturating_sub(self.pinged) < self.session.ping_after {
            return Ok(None);
        }
        self.pinged = now;
        self.send("2")
    }

    /// The end of a session that polls, which goes on without a connection: what has to be posted.
    pub fn leave(&self) -> Option<String> {
        matches!(self.session.kind, Kind::Polling(_)).then(|| "1".into())
    }

    /// Where a client that polls posts, and a packet as it is posted.
    pub fn post(&self, packet: &str) -> Option<(String, Vec<u8>)> {
        let Kind::Polling(revision) = self.session.kind else { return None };
        let mut body = Vec::new();
        polling::push(&mut body, revision, packet);
        Some((self.session.target(revision), body))
    }

    fn send(&mut self, packet: &str) -> Result<Option<String>, String> {
        if let Kind::Polling(_) = self.session.kind {
            return Ok(Some(packet.into()));
        }
        let mut frame = Vec::new();
        frames::push(&mut frame, Opcode::Text, packet.as_bytes());
        self.link.push(&frame);
        self.link.flush().map(|()| None)
    }
}

impl Session {
    /// Uses what has come, and appends what is to be sent; how many bytes were used.
    fn take(
        &mut self,
        bytes: &[u8],
        script: &Script,
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(Heard<'_>),
    ) -> Result<usize, String> {
        if let Kind::Polling(revision) = self.kind {
            return answers::take(bytes, &mut |status, body| match (status, body) {
                // A post's answer.
                (200, b"ok") => Ok(()),
                (200, _) => {
                    polling::take(body, revision, &mut |packet| self.packet(packet, revision, script, out, hear))?;
                    if !(self.once && self.stage == Stage::Joined) {
                        script.get(&self.target(revision), "", out);
                    }
                    Ok(())
                }
                _ => Err(format!("refused with {status}: {}", shown(body))),
            });
        }
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return if bytes.len() > answers::MOST_HEAD {
                    Err("an answer's head has no end".into())
                } else {
                    Ok(0)
                };
            };
            used = head + 4;
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                return Err(format!("refused with {}: {}", shown(line), shown(&bytes[used..])));
            }
            let accept = derive_accept_key(KEY.as_bytes());
            if !bytes[..used].windows(accept.len()).any(|window| window == accept.as_bytes()) {
                return Err("the upgrade's answer has another Sec-WebSocket-Accept".into());
            }
            self.stage = Stage::Opening;
            if self.kind == Kind::Ws {
                self.join(hear);
            }
        }
        let more = frames::take(&bytes[used..], &mut |opcode, payload| match (opcode, self.kind) {
            (Opcode::Text, Kind::SocketIo(revision)) => self.packet(payload, revision, script, out, hear),
            (Opcode::Text, _) => event(payload, hear),
            (Opcode::Ping, _) => {
                frames::push(out, Opcode::Pong, payload);
                Ok(())
            }
            (Opcode::Pong, _) => Ok(()),
            (Opcode::Binary, _) => Err("a binary message, which nobody sent".into()),
            (Opcode::Close, _) => {
                let (code, reason) = payload.split_at_checked(2).unwrap_or((&[0, 0], b""));
                Err(format!("closed with {} {}", u16::from_be_bytes([code[0], code[1]]), shown(reason)))
            }
        })?;
        Ok(used + more)
    }

    /// A packet of Engine.IO.
    fn packet(
        &mut self,
        packet: &[u8],
        revision: Revision,
        script: &Script,
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(Heard<'_>),
    ) -> Result<(), String> {
        match packet {
            [b'4', b'2', ..] if !packet.starts_with(b"42[\"sys_error\"") => hear(Heard::Message(packet)),
            [b'4', b'3', ..] if holds(packet, b"\"code\":1") => hear(Heard::Accepted),
            [b'0', open @ ..] => {
                let open: serde_json::Value = serde_json::from_slice(open).map_err(|error| error.to_string())?;
                open["sid"].as_str().ok_or("a session without a name")?.clone_into(&mut self.sid);
                if revision == Revision::V3 {
                    // In good time before the announced interval is over.
                    self.ping_after = open["pingInterval"].as_u64().unwrap_or(25_000).max(1).saturating_mul(750_000);
                } else {
                    self.answer("40", revision, script, out);
                }
            }
            [b'4', b'0', ..] => self.join(hear),
            [b'2', data @ ..] => self.answer(&format!("3{}", shown(data)), revision, script, out),
            [b'3', ..] | b"6" => {}
            b"1" => return Err("its session was closed by the server".into()),
            _ => return Err(format!("refused: {}", shown(packet))),
        }
        Ok(())
    }

    fn answer(&self, packet: &str, revision: Revision, script: &Script, out: &mut Vec<u8>) {
        match self.kind {
            // No poll waits now, so the connection is free.
            Kind::Polling(_) => {
                let mut body = Vec::new();
                polling::push(&mut body, revision, packet);
                script.post(&self.target(revision), TEXT, &body, out);
            }
            _ => frames::push(out, Opcode::Text, packet.as_bytes()),
        }
    }

    fn join(&mut self, hear: &mut dyn FnMut(Heard<'_>)) {
        if self.stage != Stage::Joined {
            self.stage = Stage::Joined;
            hear(Heard::Joined);
        }
    }

    fn target(&self, revision: Revision) -> String {
        session(revision, "polling", &format!("sid={}", self.sid))
    }
}

/// A text of a plain WebSocket.
fn event(text: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<(), String> {
    if text.starts_with(b"{\"event\":\"ack\"") && holds(text, b"\"code\":1") {
        hear(Heard::Accepted);
    } else if text.starts_with(b"{\"event\":\"ack\"") || text.starts_with(b"{\"event\":\"sys_error\"") {
        return Err(format!("refused: {}", shown(text)));
    } else {
        hear(Heard::Message(text));
    }
    Ok(())
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Text from outside, a line of it.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The media type of packets that are posted.
pub const TEXT: &str = "text/plain;charset=UTF-8";
/// The example of RFC 6455: nothing here needs a key that cannot be guessed.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn session_of(kind: Kind, stage: Stage) -> Session {
        Session { kind, stage, sid: String::new(), ping_after: u64::MAX, once: false }
    }

    /// Everything that comes to a member in its life, in two pieces cut anywhere.
    fn every_cut(kind: Kind, stage: Stage, bytes: &[u8], expected: &[&str], said: &[&str]) {
        let script = Script::new("0123abcd", "demo", "k", "h", 1, 32);
        for cut in 0..=bytes.len() {
            let (mut session, mut out, mut heard) = (session_of(kind, stage), Vec::new(), Vec::new());
            let mut hear = |what: Heard<'_>| {
                heard.push(match what {
                    Heard::Message(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                });
            };
            let used = session.take(&bytes[..cut], &script, &mut out, &mut hear).unwrap();
            let rest = session.take(&bytes[used..], &script, &mut out, &mut hear).unwrap();
            assert_eq!((used + rest, heard.as_slice()), (bytes.len(), strings(expected).as_slice()), "cut at {cut}");
            let text = String::from_utf8_lossy(&out).into_owned();
            let places: Vec<_> = said.iter().map(|part| text.find(part)).collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said:?} in {text:?}");
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn upgraded(texts: &[&str]) -> Vec<u8> {
        let mut bytes = format!(
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(KEY.as_bytes())
        )
        .into_bytes();
        for text in texts {
            bytes.extend_from_slice(&[0x81, text.len() as u8]);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    fn answered(bodies: &[&str]) -> Vec<u8> {
        let answer = |body: &&str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        bodies.iter().map(answer).collect::<String>().into_bytes()
    }

    #[test]
    fn plain() {
        let mut bytes = upgraded(&["{\"event\":\"newMsg\"}", "{\"event\":\"ack\",\"ack\":1,\"code\":1}"]);
        bytes.extend_from_slice(b"\x89\x02hi");
        every_cut(Kind::Ws, Stage::Upgrading, &bytes, &["Joined", "{\"event\":\"newMsg\"}", "Accepted"], &["hi"]);
    }

    #[test]
    fn socket_io() {
        let (v3, v4) = (Kind::SocketIo(Revision::V3), Kind::SocketIo(Revision::V4));
        let texts = ["0{\"sid\":\"s\"}", "40", "42[\"newMsg\",{}]", "6", "431[{\"code\":1}]"];
        let heard = ["Joined", "42[\"newMsg\",{}]", "Accepted"];
        every_cut(v3, Stage::Upgrading, &upgraded(&[&texts[..], &["3"]].concat()), &heard, &[]);
        every_cut(v4, Stage::Upgrading, &upgraded(&[&texts[..], &["2x"]].concat()), &heard, &["40", "3x"]);
    }

    #[test]
    fn polls() {
        let (v3, v4) = (Kind::Polling(Revision::V3), Kind::Polling(Revision::V4));
        let v3_bodies = ["12:0{\"sid\":\"s\"}2:40", "15:42[\"newMsg\",{}]", "1:3"];
        let poll = "GET /socket.io/?EIO=3&transport=polling&sid=s ";
        every_cut(v3, Stage::Opening, &answered(&v3_bodies), &["Joined", "42[\"newMsg\",{}]"], &[poll]);
        let v4_bodies = ["0{\"sid\":\"s\"}", "ok", "40{}\x1e42[1]\x1e2\x1e42[2]"];
        let said = ["POST /socket.io/?EIO=4&transport=polling&sid=s ", "\r\n\r\n40GET ", "\r\n\r\n3GET "];
        every_cut(v4, Stage::Opening, &answered(&v4_bodies), &["Joined", "42[1]", "42[2]"], &said);
    }

    #[test]
    fn refusals_say_why() {
        let script = Script::new("0123abcd", "demo", "k", "h", 1, 32);
        let refused = |kind, stage, bytes: &[u8]| {
            session_of(kind, stage).take(bytes, &script, &mut Vec::new(), &mut |_| {}).unwrap_err()
        };
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nwhy";
        assert_eq!(refused(Kind::Ws, Stage::Upgrading, answer), "refused with HTTP/1.1 401 Unauthorized: why");
        assert_eq!(refused(Kind::Polling(Revision::V4), Stage::Opening, answer), "refused with 401: why");
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
