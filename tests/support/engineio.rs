//! Engine.IO clients that send and receive single requests and packets.

use std::{fs, io::Write, net::TcpStream, process::Command, time::Duration};

use serde_json::Value;
use tungstenite::Message;

use super::{Answer, Client, PATIENCE, Relay, TOKEN, binary, read_answer, send_request, temp_file};

/// The example configuration for the protocol's own test suite, on a free port, with `changes` to its text and `more`
/// sections.
pub fn example(changes: &[(&str, &str)], more: &str) -> Relay {
    let mut text = include_str!("../../etc/conformance.toml").to_owned();
    for (from, to) in [("127.0.0.1:3000", "127.0.0.1:0")].iter().chain(changes) {
        assert!(text.contains(from), "the example has no {from}");
        text = text.replace(from, to);
    }
    let config = temp_file("conformance.toml");
    fs::write(&config, format!("{text}\n[admin]\ntoken = \"{TOKEN}\"\n{more}\n")).unwrap();
    let mut command = Command::new(binary());
    command.arg("serve").arg("--config").arg(&config);
    Relay::spawn(command, config)
}

/// The example with the default heartbeat, for tests that are not about time.
pub fn patient() -> Relay {
    example(PATIENT, "")
}

pub const PATIENT: &[(&str, &str)] = &[
    ("ping_interval = 0.3", "ping_interval = 25"),
    ("ping_timeout = 0.2", "ping_timeout = 20"),
    ("connect_timeout = 1", "connect_timeout = 45"),
];

/// The example's pings, with as much time to answer them as a busy machine may need.
pub const SLACK: &[(&str, &str)] = &[PATIENT[1], PATIENT[2]];

/// The example's pings, for tests whose client falls silent at some point: until then it has [`TIMEOUT`] for each packet.
pub const SILENT: &[(&str, &str)] = &[("ping_timeout = 0.2", "ping_timeout = 3"), PATIENT[2]];

/// The example's interval, and the timeout of [`SILENT`].
pub const INTERVAL: Duration = Duration::from_millis(300);
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// A session that polls.
pub struct Polling<'r> {
    pub relay: &'r Relay,
    pub sid: String,
    /// Path and query of its polls.
    pub target: String,
    old: bool,
}

impl<'r> Polling<'r> {
    /// Opens a session with `query`, which names the revision. Returns it and the packets that came with the open packet.
    pub fn open(relay: &'r Relay, query: &str) -> (Polling<'r>, Vec<String>) {
        let old = query.contains("EIO=3");
        let target = format!("/socket.io/?{query}&transport=polling");
        let answer = relay.get(&target);
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=UTF-8"), "{answer:?}");
        let mut packets = if old { payload_v3(&answer.body) } else { payload(&answer.body) };
        let sid = sid(&packets.remove(0));
        (Polling { relay, target: format!("{target}&sid={sid}"), sid, old }, packets)
    }

    /// A session of revision 4 that has joined no namespace.
    pub fn fresh(relay: &'r Relay) -> Polling<'r> {
        let (session, packets) = Polling::open(relay, "EIO=4");
        assert_eq!(packets, [""; 0]);
        session
    }

    /// A session of revision 4 in `/` of the example.
    pub fn joined(relay: &'r Relay) -> Polling<'r> {
        let session = Polling::fresh(relay);
        session.post(&["40"]);
        let packets = session.poll();
        assert!(packets[0].starts_with("40{\"sid\":\""), "{packets:?}");
        assert_eq!(packets[1..], ["42[\"auth\",{}]"]);
        session
    }

    pub fn poll(&self) -> Vec<String> {
        let answer = self.relay.get(&self.target);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.packets(&answer)
    }

    /// Polls until `count` packets have come.
    pub fn collect(&self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.poll());
        }
        assert_eq!(all.len(), count, "{all:?}");
        all
    }

    /// Starts a poll. The relay has read it when this returns.
    pub fn begin_poll(&self) -> TcpStream {
        let mut stream = self.relay.tcp();
        send_request(&mut stream, "GET", &self.target, &[], b"");
        // A later request was answered, so this one was read.
        assert_eq!(self.relay.get("/healthz").status, 200);
        stream
    }

    /// The packets that answer a poll.
    pub fn end_poll(&self, stream: &mut TcpStream) -> Vec<String> {
        let answer = read_answer(stream, false);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.packets(&answer)
    }

    fn packets(&self, answer: &Answer) -> Vec<String> {
        if self.old { payload_v3(&answer.body) } else { payload(&answer.body) }
    }

    pub fn try_post(&self, body: &[u8], headers: &[(&str, &str)]) -> Answer {
        self.relay.request("POST", &self.target, headers, body)
    }

    /// Posts packets, which the relay must accept.
    pub fn post(&self, packets: &[&str]) {
        let answer = self.try_post(self.encode(packets).as_bytes(), &[("Content-Type", "text/plain;charset=UTF-8")]);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{packets:?}");
    }

    /// The body of a post.
    pub fn encode(&self, packets: &[&str]) -> String {
        match self.old {
            true => packets.iter().map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect(),
            false => packets.join("\x1e"),
        }
    }

    /// Opens a WebSocket for the session and probes it.
    pub fn probe(&self) -> Client {
        let mut socket = self.websocket().expect("a WebSocket beside polling");
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        socket
    }

    /// Opens a WebSocket for the session; the error is the relay's answer.
    pub fn websocket(&self) -> Result<Client, Answer> {
        Client::open(self.relay.tcp(), &self.target.replace("transport=polling", "transport=websocket"))
    }

    /// Upgrades to a WebSocket.
    pub fn upgrade(&self) -> Client {
        let mut socket = self.probe();
        socket.send("5");
        socket
    }

    /// Asserts that the session is unknown, for polls, posts and WebSockets.
    pub fn assert_gone(&self) {
        let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
        let refused = [self.relay.get(&self.target), self.try_post(b"3", &[]), self.websocket().unwrap_err()];
        for answer in refused {
            assert_eq!((answer.status, answer.body.as_str()), (400, unknown));
        }
    }
}

/// The packets of a body of revision 4.
pub fn payload(body: &str) -> Vec<String> {
    body.split('\x1e').map(str::to_owned).collect()
}

/// The packets of a body of text in bytes of revision 3.
fn payload_v3_bytes(body: &str) -> Vec<String> {
    // As long as it is ASCII, the body was no UTF-8 because of its separators only.
    let bytes: Vec<u8> = body.chars().map(|c| u8::try_from(c).expect("a byte")).collect();
    let (mut rest, mut packets) = (&bytes[..], Vec::new());
    while let [kind, behind @ ..] = rest {
        assert_eq!(*kind, 0, "text");
        let end = behind.iter().position(|byte| *byte == 255).unwrap();
        let length = behind[..end].iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
        let packet = &behind[end + 1..][..length];
        packets.push(unescaped(core::str::from_utf8(packet).unwrap()));
        rest = &behind[end + 1 + length..];
    }
    packets
}

/// JSON with characters beyond ASCII in place of their escapes.
pub fn unescaped(text: &str) -> String {
    let (mut units, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('\\') {
        units.extend(rest[..at].encode_utf16());
        let unit = rest[at..].strip_prefix("\\u").and_then(|digits| u16::from_str_radix(digits.get(..4)?, 16).ok());
        let length = match unit.filter(|unit| *unit > 127) {
            Some(unit) => {
                units.push(unit);
                6
            }
            None => {
                units.extend(rest[at..at + 2].encode_utf16());
                2
            }
        };
        rest = &rest[at + length..];
    }
    units.extend(rest.encode_utf16());
    String::from_utf16(&units).unwrap()
}

/// The packets of a body of revision 3 without binary data. Lengths of text count UTF-16 units.
pub fn payload_v3(body: &str) -> Vec<String> {
    if body.starts_with('\0') {
        return payload_v3_bytes(body);
    }
    let (mut rest, mut packets) = (body, Vec::new());
    while let Some((length, behind)) = rest.split_once(':') {
        let mut left: usize = length.parse().unwrap_or_else(|_| panic!("{length:?} in {body:?}"));
        let packet: String = behind
            .chars()
            .take_while(|c| {
                let fits = left >= c.len_utf16();
                left -= if fits { c.len_utf16() } else { 0 };
                fits && c.len_utf16() > 0
            })
            .collect();
        assert_eq!(left, 0, "a length is wrong in {body:?}");
        rest = &behind[packet.len()..];
        packets.push(unescaped(&packet));
    }
    assert_eq!(rest, "", "{body:?}");
    packets
}

/// The session that an open packet names.
pub fn sid(open: &str) -> String {
    let json = open.strip_prefix('0').unwrap_or_else(|| panic!("{open:?} opens nothing"));
    let open: Value = serde_json::from_str(json).unwrap();
    open["sid"].as_str().expect("a sid").to_owned()
}

/// A session that begins with a WebSocket, and its open packet.
pub fn websocket(relay: &Relay, query: &str) -> (Client, String) {
    let mut socket = Client::open(relay.tcp(), &format!("/socket.io/?{query}&transport=websocket")).unwrap();
    let open = socket.text();
    (socket, open)
}

/// A WebSocket of revision 4 in `/` of the example.
pub fn joined(relay: &Relay) -> Client {
    let (mut socket, _) = websocket(relay, "EIO=4");
    socket.send("40");
    assert!(socket.text().starts_with("40{\"sid\":\""));
    assert_eq!(socket.text(), "42[\"auth\",{}]");
    socket
}

/// The payload of the next message, which must be binary.
pub fn bytes(socket: &mut Client) -> Vec<u8> {
    match socket.next() {
        Message::Binary(bytes) => bytes.to_vec(),
        other => panic!("{other:?} is not binary"),
    }
}

pub fn send_bytes(socket: &mut Client, bytes: &[u8]) {
    socket.socket.send(Message::binary(bytes.to_vec())).unwrap();
}

/// Sends several packets in one write.
pub fn send_together(socket: &mut Client, packets: &[&str]) {
    for packet in packets {
        socket.socket.write(Message::text(*packet)).unwrap();
    }
    socket.socket.flush().unwrap();
}

/// An answer whose body is bytes.
pub fn read_bytes(stream: &mut TcpStream) -> (String, Vec<u8>) {
    use std::io::Read;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// The value of a packet's JSON, which begins behind `prefix`.
pub fn json(packet: &str, prefix: &str) -> Value {
    let text = packet.strip_prefix(prefix).unwrap_or_else(|| panic!("{packet:?} does not begin with {prefix:?}"));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {packet}"))
}

/// Sends a part of a request.
pub fn send_part(stream: &mut TcpStream, part: &str) {
    stream.write_all(part.as_bytes()).unwrap();
}

/// Waits longer than usual for what the protocol allows only after a while.
pub fn patience(socket: &Client, patience: Duration) {
    socket.socket.get_ref().set_read_timeout(Some(patience + PATIENCE)).unwrap();
}

/// A client's frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

pub const TEXT: u8 = 0x81;
pub const PING: u8 = 0x89;

/// The headers of a request for a WebSocket.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Asserts that Engine.IO refuses a request with this code.
pub fn assert_refused(answer: &Answer, code: u8, message: &str) {
    let body = format!("{{\"code\":{code},\"message\":\"{message}\"}}");
    assert_eq!((answer.status, answer.header("content-type")), (400, "application/json"), "{answer:?}");
    assert_eq!(answer.body, body);
}
