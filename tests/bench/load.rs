//! The load for `tests/bench/compare`, `goals` and `instructions`: plain WebSocket or Socket.IO clients, and a backend
//! that notifies them. One thread; every delivery is checked for loss, order and content. Prints one JSON object.
//!
//! ```text
//! load fanout --addr HOST:PORT --pids PID,…    members in rooms, messages to one after the other (0 members: only these)
//! load idle   --addr HOST:PORT --pids PID,…    clients in 100 rooms that do nothing
//! load floor | floor-each                      the server that only sends: once for all messages that wait, or each
//! ```
//!
//! `--members`, `--rooms` (1), `--messages`, `--window` (in flight), `--size` (bytes of data), `--speaks
//! plain|socketio4|socketio3`; it aims at this machine only. For servers that are not relay `--connect` and `--notify` (targets; `{room}`, `{number}` and `{sign}` are filled in) and `--body raw` (the
//! body is the data, instead of a signed form). With `--steps` it says `ready` and `done` around what is measured, and waits
//! for a line each time.
#![allow(missing_docs)]

use std::{
    collections::HashMap,
    env, fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use relay::sign::{Subject, to_hex};
use serde_json::json;

mod floor;

const KEY: &str = "try4dfs%#fs!#$2334ds(%B)";
const ROOM: &str = "bench";
const ROOMS: usize = 100;
/// Clients that make tables and allocators grow before the idle ones are counted.
const WARM: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let mut args = env::args().skip(1);
    let job = args.next().unwrap_or_default();
    let mut options = Options(HashMap::new());
    while let Some(name) = args.next() {
        let value = if name == "--steps" { String::new() } else { args.next().expect("a value") };
        options.0.insert(name.trim_start_matches("--").to_owned(), value);
    }
    let result = match job.as_str() {
        "fanout" => fan_out(&options),
        "idle" => idle(&options),
        "floor" => floor::serve(true),
        "floor-each" => floor::serve(false),
        _ => panic!("a job: fanout, idle, floor or floor-each"),
    };
    println!("{result}");
}

struct Options(HashMap<String, String>);

impl Options {
    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.0.get(name).map_or(default, |value| value.parse().expect(name))
    }

    fn addr(&self) -> SocketAddr {
        let addr: SocketAddr = self.text("addr", "127.0.0.1:4000").parse().expect("an address");
        assert!(addr.ip().to_canonical().is_loopback(), "{addr} is not on this machine, and a load may do harm there");
        addr
    }

    /// The revision of Engine.IO, if it is to be Socket.IO.
    fn socketio(&self) -> Option<u8> {
        match self.text("speaks", "plain") {
            "plain" => None,
            "socketio4" => Some(4),
            "socketio3" => Some(3),
            other => panic!("{other}: plain, socketio4 or socketio3"),
        }
    }

    /// Tells whoever holds the other end, and waits for a word.
    fn step(&self, word: &str) {
        if self.0.contains_key("steps") {
            println!("{word}");
            io::stdin().read_line(&mut String::new()).unwrap();
        }
    }

    /// The server's processes.
    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for pid in self.text("pids", "").split(',').filter(|pid| !pid.is_empty()) {
            for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the server's process").flatten() {
                let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                usage.cpu += stat.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            }
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server's process");
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
            usage.resident += line.trim().trim_end_matches(" kB").parse::<u64>().expect("its memory") * 1024;
        }
        usage
    }
}

/// What processes used.
#[derive(Default)]
struct Usage {
    /// Nanoseconds of all threads, user and system.
    cpu: u64,
    /// Bytes.
    resident: u64,
}

/// A client in a room.
struct Member {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The message that must come next.
    next: usize,
}

impl Member {
    fn connect(options: &Options, room: &str, number: usize) -> Member {
        let socketio = options.socketio();
        let mut stream = TcpStream::connect(options.addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = match socketio {
            Some(revision) => format!("/socket.io/?EIO={revision}&transport=websocket&"),
            None => "/ws?".into(),
        };
        let standard =
            format!("{path}source=demo&room_ids={{room}}&userid={{number}}&username=name-{{number}}&sign={{sign}}");
        let sign = to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: room }.md5(KEY.as_bytes()));
        let target = options.text("connect", &standard).replace("{room}", room).replace("{sign}", &sign);
        let target = target.replace("{number}", &number.to_string());
        // In one piece: as many reads as there are pieces would be counted with the connect.
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut member = Member { stream, bytes: Vec::new(), next: 0 };
        let head = loop {
            if let Some(at) = find(&member.bytes, b"\r\n\r\n") {
                break member.bytes.drain(..at + 4).collect::<Vec<_>>();
            }
            member.wait();
        };
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        if let Some(revision) = socketio {
            if revision == 4 {
                member.stream.write_all(&masked(1, b"40")).unwrap();
            }
            let mut joined = false;
            while !joined {
                frames(&mut member.bytes, |_, payload| joined |= payload.starts_with(b"40"));
                if !joined {
                    member.wait();
                }
            }
        }
        member.stream.set_nonblocking(true).unwrap();
        member
    }

    fn wait(&mut self) {
        let mut part = [0; 1024];
        let length = self.stream.read(&mut part).unwrap();
        assert!(length > 0, "refused");
        self.bytes.extend_from_slice(&part[..length]);
    }

    /// Reads what is there; how many messages it was. Each must be the next of those that are for its room: every
    /// `rooms`-th of `all`.
    fn read(&mut self, buffer: &mut [u8], all: &[Vec<u8>], rooms: usize, place: &mut usize) -> usize {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("a member was closed"),
                Ok(length) => {
                    self.bytes.extend_from_slice(&buffer[..length]);
                    if length < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut messages = 0;
        let mut answer = Vec::new();
        frames(&mut self.bytes, |opcode, payload| match (opcode, payload) {
            (8, _) => panic!("a member was closed: {}", String::from_utf8_lossy(payload)),
            (9, _) => answer.extend(masked(10, payload)),
            (_, b"2") => answer.extend(masked(1, b"3")),
            _ => {
                let expected = all.get(self.next).expect("nothing more");
                // It mostly stands where it stood the last time.
                if payload.get(*place..*place + expected.len()) != Some(expected) {
                    let found = find(payload, expected);
                    *place = found.unwrap_or_else(|| {
                        panic!("lost, doubled or out of order: {}", String::from_utf8_lossy(payload))
                    });
                }
                self.next += rooms;
                messages += 1;
            }
        });
        self.stream.write_all(&answer).unwrap();
        messages
    }
}

/// Takes whole frames out of `bytes`.
fn frames(bytes: &mut Vec<u8>, mut handle: impl FnMut(u8, &[u8])) {
    let mut at = 0;
    while let [first, length, ..] = bytes[at..] {
        let (head, length) = match length {
            126 => match bytes.get(at + 2..at + 4) {
                Some(length) => (4, usize::from(u16::from_be_bytes(length.try_into().unwrap()))),
                None => break,
            },
            127 => panic!("no message is that long"),
            length => (2, usize::from(length)),
        };
        let Some(payload) = bytes.get(at + head..at + head + length) else { break };
        handle(first & 15, payload);
        at += head + length;
    }
    bytes.drain(..at);
}

/// A short frame as a client sends it, with a mask of zeroes.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// A backend on one connection.
struct Publisher {
    stream: TcpStream,
    answers: Vec<u8>,
    answered: usize,
}

impl Publisher {
    /// Reads what is there; every answer must be a good one.
    fn read(&mut self, buffer: &mut [u8]) {
        while let Ok(length) = self.stream.read(buffer) {
            assert!(length > 0, "the publisher was closed");
            self.answers.extend_from_slice(&buffer[..length]);
        }
        while let Some(end) = find(&self.answers, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&self.answers[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let whole = end + 4 + length.parse::<usize>().expect("a length");
            let Some(body) = self.answers.get(end + 4..whole) else { break };
            assert!(head.starts_with("http/1.1 20") && find(body, b"\"code\":0").is_none(), "refused: {head}");
            self.answers.drain(..whole);
            self.answered += 1;
        }
    }
}

fn notification(options: &Options, room: &str, data: &str) -> Vec<u8> {
    let target = options.text("notify", "/api/notify").replace("{room}", room);
    let (kind, body) = match options.text("body", "form") {
        "raw" => ("text/plain", data.to_owned()),
        _ => {
            let subject = Subject::Notify { source: "demo", room_id: room, data: data.as_bytes() };
            let sign = to_hex(&subject.md5(KEY.as_bytes()));
            let fields = [("source", "demo"), ("room_id", room), ("data", data), ("sign", &sign)];
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", body)
        }
    };
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: relay\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// What a delivery costs the server.
fn fan_out(options: &Options) -> serde_json::Value {
    let [members, rooms, count, window, size] =
        [("members", 1000), ("rooms", 1), ("messages", 300), ("window", 1), ("size", 128)]
            .map(|(name, n)| options.number(name, n));
    assert!(members % rooms == 0, "as many in each room");
    let each = members / rooms;
    let room = |number: usize| format!("{ROOM}-{}", number % rooms);
    let data: Vec<Vec<u8>> = (0..count)
        .map(|number| {
            let mut data = format!("seq={number};").into_bytes();
            data.resize(size, b'x');
            data
        })
        .collect();
    let requests: Vec<Vec<u8>> = data
        .iter()
        .enumerate()
        .map(|(n, data)| notification(options, &room(n), std::str::from_utf8(data).unwrap()))
        .collect();
    let connect = |number| Member { next: number % rooms, ..Member::connect(options, &room(number), number) };
    let mut members: Vec<Member> = (0..members).map(connect).collect();
    let stream = TcpStream::connect(options.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut publisher = Publisher { stream, answers: Vec::new(), answered: 0 };
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    let watch = |stream: &TcpStream, token| {
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(token), Interest::READABLE).unwrap();
    };
    members.iter().enumerate().for_each(|(number, member)| watch(&member.stream, number));
    watch(&publisher.stream, members.len());
    // Servers with work of their own to do after so many came.
    thread::sleep(Duration::from_millis(300));
    options.step("ready");
    let mut buffer = vec![0; 1 << 16];
    let (mut sent, mut delivered, mut place) = (0, 0, 0);
    let (before, begin) = (options.usage(), Instant::now());
    while delivered < count * each || publisher.answered < count {
        assert!(begin.elapsed() < PATIENCE, "{delivered} of {} came", count * each);
        // One at a time: everybody has got it before the next one is sent.
        let waiting = |sent: usize| sent * each - delivered;
        while sent < count && sent - publisher.answered < window && waiting(sent) <= (window - 1) * each {
            publisher.stream.write_all(&requests[sent]).unwrap();
            sent += 1;
        }
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        for event in &events {
            match members.get_mut(event.token().0) {
                Some(member) => delivered += member.read(&mut buffer, &data, rooms, &mut place),
                None => publisher.read(&mut buffer),
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    // Nothing may come twice. And what a process has done is counted when it stops, or some milliseconds later.
    thread::sleep(Duration::from_millis(50));
    let after = options.usage();
    options.step("done");
    let more: usize = members.iter_mut().map(|member| member.read(&mut buffer, &data, rooms, &mut place)).sum();
    assert_eq!(more, 0, "doubled");
    let cpu = after.cpu - before.cpu;
    json!({
        "job": "fanout", "members": members.len(), "rooms": rooms, "messages": count, "window": window, "size": size,
        "delivered": delivered, "seconds": seconds, "cpu_ns": cpu,
        "cpu_ns_per_delivery": cpu as f64 / delivered.max(1) as f64, "cpu_ns_per_message": cpu as f64 / count as f64,
    })
}

/// What a client that does nothing costs the server.
fn idle(options: &Options) -> serde_json::Value {
    let count = options.number("members", 10_000);
    let start = options.usage();
    let connect = |number| Member::connect(options, &format!("room-{}", number % ROOMS), number);
    let _warm: Vec<Member> = (0..options.number("warm", WARM)).map(connect).collect();
    thread::sleep(Duration::from_millis(300));
    options.step("ready");
    let (before, begin) = (options.usage(), Instant::now());
    let members: Vec<Member> = (0..count).map(connect).collect();
    let seconds = begin.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(50));
    let connected = options.usage();
    options.step("done");
    // Garbage is collected, buffers are returned.
    thread::sleep(Duration::from_secs(1));
    let after = options.usage();
    // Nobody was closed in the meantime.
    for member in &members {
        let told = (&member.stream).read(&mut [0; 1024]);
        assert!(!matches!(told, Ok(0)), "a client was closed");
    }
    json!({
        "job": "idle", "members": count, "seconds": seconds, "resident_at_start": start.resident,
        "resident": after.resident, "cpu_ns_per_connect": (connected.cpu - before.cpu) as f64 / count as f64,
        "bytes_per_client": (after.resident as f64 - before.resident as f64) / count as f64,
    })
}
