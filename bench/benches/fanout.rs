//! What relay costs, beside what the kernel alone costs for the same work in the same run: `cargo bench`.
//!
//! A fan-out is 1,000 WebSocket clients in one room and notifications of 128 bytes by HTTP, one at a time or 32 in flight;
//! every delivery is checked for loss and order. The floor is a server that only sends: no parsing, no signatures, no
//! limits, a prepared frame for everybody. Seconds are noisy, so what is compared is the server's processor time.
#![allow(missing_docs)]

use std::{
    env, fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use relay::sign::{Subject, to_hex};
use std::os::fd::AsRawFd;

#[path = "../tests/bench/floor.rs"]
mod floor;

const KEY: &str = "try4dfs%#fs!#$2334ds(%B)";
const MEMBERS: usize = 1000;
const SIZE: usize = 128;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    match env::args().nth(1).as_deref() {
        Some("floor") => floor::serve(false),
        Some("coalesce") => floor::serve(true),
        Some("siblings") => siblings(),
        _ => {
            memory();
            compare("one at a time", 1, 500, "floor");
            compare("32 in flight", 32, 3000, "coalesce");
            generations();
            siblings();
        }
    }
}

/// A server in a process of its own, ended when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn relay() -> Server {
        Server::relay_with("")
    }

    fn relay_with(more: &str) -> Server {
        let config = env::temp_dir().join(format!("relay-bench-{}.toml", std::process::id()));
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\n[sources.demo]\nsign_key = \"{KEY}\"\n[limits]\nmessage_rate = 0\n[admin]\ntoken = \"t\"\n{more}"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        let server = Server::spawn(command.arg("--config").arg(&config));
        fs::remove_file(config).unwrap();
        server
    }

    fn floor(kind: &str) -> Server {
        Server::spawn(Command::new(env::current_exe().unwrap()).arg(kind))
    }

    fn spawn(command: &mut Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find_map(|line| Some(line.ok()?.split_once("listening on ")?.1.to_owned()));
        Server { child, addr: line.expect("an address").parse().unwrap() }
    }

    /// The processor time it used so far, in nanoseconds.
    fn cpu(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    }

    /// Its resident memory in bytes.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    SocketIo3,
    SocketIo4,
}

/// A client in a room; it counts the messages it got.
struct Member {
    stream: TcpStream,
    bytes: Vec<u8>,
    next: usize,
}

impl Member {
    fn connect(addr: SocketAddr, room: &str, number: usize, kind: Kind) -> Member {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        let path = match kind {
            Kind::Plain => "/ws?",
            Kind::SocketIo3 => "/socket.io/?EIO=3&transport=websocket&",
            Kind::SocketIo4 => "/socket.io/?EIO=4&transport=websocket&",
        };
        let target = format!("{path}{}", login(room, number));
        // In one piece: as many reads as there are pieces would be counted with the connect.
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "refused");
            head.extend_from_slice(&part[..length]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        if kind == Kind::SocketIo4 {
            stream.write_all(b"\x81\x82\0\0\0\x0040").unwrap();
        }
        if kind != Kind::Plain {
            while !head.windows(3).any(|bytes| bytes == [b'4', b'0', b'{'] || bytes == [0x81, 2, b'4']) {
                let mut part = [0; 1024];
                let length = stream.read(&mut part).unwrap();
                assert!(length > 0, "refused");
                head.extend_from_slice(&part[..length]);
            }
        }
        stream.set_nonblocking(true).unwrap();
        Member { stream, bytes: Vec::new(), next: 0 }
    }

    /// Reads what is there; how many messages it was. Each must be the next.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let before = self.next;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("a member was closed"),
                Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut at = 0;
        while let [0x81, length, ..] = self.bytes[at..] {
            let (head, length) = match (length, self.bytes.get(at + 2..at + 4)) {
                (126, Some(length)) => (4, usize::from(u16::from_be_bytes(length.try_into().unwrap()))),
                (126, None) => break,
                _ => (2, usize::from(length)),
            };
            let Some(payload) = self.bytes.get(at + head..at + head + length) else { break };
            let text = std::str::from_utf8(payload).unwrap();
            let number = text.split("seq=").nth(1).unwrap().split(';').next().unwrap();
            assert_eq!(number.parse::<usize>().unwrap(), self.next, "lost, doubled or out of order");
            self.next += 1;
            at += head + length;
        }
        self.bytes.drain(..at);
        self.next - before
    }
}

fn login(room: &str, number: usize) -> String {
    let sign = to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: room }.md5(KEY.as_bytes()));
    format!("source=demo&room_ids={room}&userid={number}&username=name-{number}&sign={sign}")
}

/// Sends `count` notifications to `MEMBERS`, `window` in flight; nanoseconds of the server's processor per delivery.
fn fan_out(server: &Server, kind: Kind, window: usize, count: usize) -> f64 {
    fan_out_from(server.addr, server, kind, window, count)
}

/// The same with notifications to another address.
fn fan_out_from(from: SocketAddr, server: &Server, kind: Kind, window: usize, count: usize) -> f64 {
    let connect = |number| Member::connect(server.addr, "bench", number, kind);
    let mut members: Vec<Member> = (0..MEMBERS).map(connect).collect();
    let mut publisher = TcpStream::connect(from).unwrap();
    publisher.set_nodelay(true).unwrap();
    publisher.set_nonblocking(true).unwrap();
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    let watch = |stream: &TcpStream, token| {
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(token), Interest::READABLE).unwrap();
    };
    members.iter().enumerate().for_each(|(number, member)| watch(&member.stream, number));
    watch(&publisher, MEMBERS);
    let mut buffer = vec![0; 1 << 16];
    let (mut sent, mut answered, mut delivered, mut answers) = (0, 0, 0, Vec::new());
    let (before, begin) = (server.cpu(), Instant::now());
    while delivered < count * MEMBERS || answered < count {
        assert!(begin.elapsed() < PATIENCE, "{delivered} of {} came", count * MEMBERS);
        while sent < count && sent - answered < window && sent * MEMBERS - delivered < window * MEMBERS {
            publisher.write_all(&notification(sent)).unwrap();
            sent += 1;
        }
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        for event in &events {
            if let Some(member) = members.get_mut(event.token().0) {
                delivered += member.read(&mut buffer);
                continue;
            }
            while let Ok(length) = publisher.read(&mut buffer) {
                assert!(length > 0, "the publisher was closed");
                answers.extend_from_slice(&buffer[..length]);
            }
            // Every answer has one of these.
            answered = answers.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
        }
    }
    assert!(!String::from_utf8_lossy(&answers).contains("\"code\":0"), "refused");
    (server.cpu() - before) as f64 / (count * MEMBERS) as f64
}

fn notification(number: usize) -> Vec<u8> {
    let mut data = format!("seq={number};");
    data.extend(std::iter::repeat_n('x', SIZE - data.len()));
    let subject = Subject::Notify { source: "demo", room_id: "bench", data: data.as_bytes() };
    let sign = to_hex(&subject.md5(KEY.as_bytes()));
    let fields = [("source", "demo"), ("room_id", "bench"), ("data", &data), ("sign", &sign)];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let head = "POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn compare(what: &str, window: usize, count: usize, kind: &str) {
    let mut ratios = Vec::new();
    let (relay, floor) = (Server::relay(), Server::floor(kind));
    for _ in 0..ROUNDS {
        let (ours, least) = (fan_out(&relay, Kind::Plain, window, count), fan_out(&floor, Kind::Plain, window, count));
        ratios.push((ours / least, ours, least));
    }
    ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, ours, least) = ratios[ROUNDS / 2];
    println!(
        "fan-out to {MEMBERS}, {what}: {ours:.0} ns of CPU per delivery, floor {least:.0} ns, ratio {ratio:.2} \
         (median of {ROUNDS}; {:.2} to {:.2})",
        ratios[0].0,
        ratios[ROUNDS - 1].0
    );
}

/// Resident memory at start and for each of many idle sessions: fresh, after a message each, after a large one each.
fn memory() {
    let relay = Server::relay();
    println!("binary: {} bytes", fs::metadata(env!("CARGO_BIN_EXE_relay")).unwrap().len());
    println!("resident at start: {} KiB", relay.memory() / 1024);
    let connect = |number| Member::connect(relay.addr, &format!("room-{}", number % 100), number, Kind::Plain);
    let _warm: Vec<Member> = (0..100).map(connect).collect();
    let base = relay.memory();
    let begin = relay.cpu();
    let mut members: Vec<Member> = (0..10_000).map(connect).collect();
    println!("connecting: {} us of CPU each", (relay.cpu() - begin) / 10_000 / 1000);
    let mut say = |what: &str, data: &str| {
        if !data.is_empty() {
            let text = format!("{{\"data\":\"{data}\",\"room_ids\":\"nobody\",\"ack\":1}}");
            let mut frame = vec![0x81, 0xfe];
            frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
            frame.extend_from_slice(&[0; 4]);
            frame.extend_from_slice(text.as_bytes());
            for member in &mut members {
                member.stream.set_nonblocking(false).unwrap();
                member.stream.write_all(&frame).unwrap();
                assert!(member.stream.read(&mut [0; 500]).unwrap() > 0, "no acknowledgement");
            }
        }
        println!("an idle session, {what}: {} bytes", (relay.memory() - base) / 10_000);
    };
    say("fresh", "");
    say("after a message", &"x".repeat(100));
    say("after a message of 8 kB", &"x".repeat(8000));
}

/// Plain WebSocket and Socket.IO in one run: what a delivery costs, and an idle session.
fn generations() {
    let relay = Server::relay();
    let kinds = [Kind::Plain, Kind::SocketIo4, Kind::SocketIo3];
    for (window, count) in [(1, 500), (32, 3000)] {
        let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
        for _ in 0..ROUNDS {
            for (kind, costs) in kinds.iter().zip(&mut rounds) {
                costs.push(fan_out(&relay, *kind, window, count));
            }
        }
        for (kind, costs) in kinds.iter().zip(&mut rounds) {
            costs.sort_by(f64::total_cmp);
            println!(
                "fan-out to {MEMBERS} {kind:?}, {window} in flight: {:.0} ns of CPU per delivery",
                costs[ROUNDS / 2]
            );
        }
    }
    for kind in [Kind::SocketIo4, Kind::SocketIo3] {
        let relay = Server::relay();
        let connect = |number| Member::connect(relay.addr, &format!("room-{}", number % 100), number, kind);
        let _warm: Vec<Member> = (0..100).map(connect).collect();
        let base = relay.memory();
        let _members: Vec<Member> = (0..10_000).map(connect).collect();
        println!("an idle session {kind:?}: {} bytes", (relay.memory() - base) / 10_000);
    }
    let relay = Server::relay();
    let _warm: Vec<TcpStream> = (0..100).map(|number| park(relay.addr, number)).collect();
    let base = relay.memory();
    let _parked: Vec<TcpStream> = (0..5_000).map(|number| park(relay.addr, number)).collect();
    println!("a parked poll: {} bytes", (relay.memory() - base) / 5_000);
}

/// Two relays over Redis: what a delivery costs at the one that gets the message from the other, beside one that gets it
/// from the backend; and what a relay costs that hears of rooms it does not have.
fn siblings() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]);
    let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return println!("siblings: no redis-server");
    };
    let _redis = Server { child, addr: ([127, 0, 0, 1], port).into() };
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    let section = format!("[redis]\nurl = \"redis://127.0.0.1:{port}\"\n");
    let (alone, near, far) = (Server::relay(), Server::relay_with(&section), Server::relay_with(&section));
    thread::sleep(Duration::from_secs(1));
    for (window, count) in [(1, 500), (32, 3000)] {
        let mut rounds: Vec<[f64; 3]> = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push([
                fan_out(&alone, Kind::Plain, window, count),
                fan_out(&near, Kind::Plain, window, count),
                fan_out_from(far.addr, &near, Kind::Plain, window, count),
            ]);
        }
        let median = |which: usize| {
            let mut costs: Vec<f64> = rounds.iter().map(|costs| costs[which]).collect();
            costs.sort_by(f64::total_cmp);
            costs[ROUNDS / 2]
        };
        let mut ratios: Vec<f64> = rounds.iter().map(|costs| costs[2] / costs[0]).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "fan-out to {MEMBERS} through Redis, {window} in flight: {:.0} ns of CPU per delivery at the receiving relay, \
             {:.0} ns at a linked relay's own backend, {:.0} ns without Redis, ratio {:.2} ({:.2} to {:.2})",
            median(2),
            median(1),
            median(0),
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1]
        );
    }
    let mut publisher = TcpStream::connect(near.addr).unwrap();
    let (before, begin) = (far.cpu(), Instant::now());
    for number in 0..2000 {
        publisher.write_all(&notification(number)).unwrap();
        assert!(publisher.read(&mut [0; 4096]).unwrap() > 0);
        thread::sleep((begin + Duration::from_millis(5 * (number as u64 + 1))).duration_since(Instant::now()));
    }
    let share = (far.cpu() - before) as f64 / begin.elapsed().as_nanos() as f64 * 100.0;
    println!("a linked relay that hears 200 messages/s for rooms it does not have: {share:.2} % of a core");
}

/// A session whose poll waits.
fn park(addr: SocketAddr, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    let mut ask = |request: String| {
        stream.write_all(request.as_bytes()).unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 2048]);
        loop {
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "closed");
            answer.extend_from_slice(&part[..length]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length: usize = head.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                assert!(head.starts_with("HTTP/1.1 200"), "{text}");
                return body.to_owned();
            }
        }
    };
    let path = format!("/socket.io/?EIO=4&transport=polling&{}", login(&format!("room-{}", number % 100), number));
    let open = ask(format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n"));
    let sid = open.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    ask(format!("POST {path} HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\n\r\n40"));
    ask(format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n").unwrap();
    stream
}
