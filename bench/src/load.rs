//! The plain load of `cargo bench` and the scripts in `tests/bench/`: WebSocket clients, and one backend that publishes to them.
//!
//! [`crate::driver`] makes loads for relay alone. This module also drives other servers that do the same job, and it sends
//! exactly the same bytes in every run, which callgrind needs to count instructions that can be compared. Every delivery is
//! checked for loss, order and content.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use relay::sign::{Subject, to_hex};

use crate::{
    engineio::{self, Revision},
    error::{ConnectionError, Error},
    frames::{self, Opcode},
    member::{UPGRADE, printable},
    process::Process,
    responses,
    workload::login,
};

/// The signing key of source `demo`, the public one of relay's built-in demo configuration.
pub const KEY: &str = "try4dfs%#fs!#$2334ds(%B)";
/// How long a load waits for an event, and the maximum duration of a fan-out.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How clients and backends talk to a server. The default is relay with plain WebSocket clients.
///
/// In `connect` and `notify`, `{room}` is replaced by the room, `{number}` by the client's number and `{sign}` by the signature of
/// a login.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    /// The revision of Engine.IO if the clients speak Socket.IO.
    pub socketio: Option<Revision>,
    /// The target of a client's WebSocket handshake, if it is not relay's.
    pub connect: Option<String>,
    /// The target of a notification, if it is not relay's.
    pub notify: Option<String>,
    /// Whether the body of a notification is the bare data instead of a signed form.
    pub raw_body: bool,
}

impl Dialect {
    fn connect_target(&self, room: &str, number: usize) -> String {
        match (&self.connect, self.socketio) {
            (Some(template), _) => {
                let sign = to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: room }.md5(KEY.as_bytes()));
                let target = template.replace("{room}", room).replace("{sign}", &sign);
                target.replace("{number}", &number.to_string())
            }
            (None, Some(revision)) => engineio::path(revision, "websocket", &login("demo", KEY, room, number)),
            (None, None) => format!("/ws?{}", login("demo", KEY, room, number)),
        }
    }

    /// The request that publishes `data` to a room.
    pub fn notification(&self, room: &str, data: &str) -> Vec<u8> {
        let target = self.notify.as_deref().unwrap_or("/api/notify").replace("{room}", room);
        let (media_type, body) = if self.raw_body {
            ("text/plain", data.to_owned())
        } else {
            let subject = Subject::Notify { source: "demo", room_id: room, data: data.as_bytes() };
            let sign = to_hex(&subject.md5(KEY.as_bytes()));
            let fields = [("source", "demo"), ("room_id", room), ("data", data), ("sign", &sign)];
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", body)
        };
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: relay\r\nContent-Type: {media_type}\r\n");
        format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    }
}

/// The CPU time and resident memory of a server's processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Nanoseconds of CPU time, user and system, of all threads.
    pub cpu: u64,
    /// Bytes of resident memory.
    pub resident: u64,
}

impl Usage {
    /// Reads the usage of these processes.
    pub fn of(processes: &[Process]) -> Result<Usage, Error> {
        processes.iter().try_fold(Usage::default(), |sum, process| {
            let (cpu, resident) = process.cpu().zip(process.memory()).ok_or_else(|| {
                Error::Failed("cannot read the CPU time or the memory of a server's process: did it exit?".into())
            })?;
            Ok(Usage { cpu: sum.cpu + cpu, resident: sum.resident + resident })
        })
    }
}

/// A client in a room.
#[derive(Debug)]
pub struct Member {
    /// Its connection. Non-blocking.
    pub stream: TcpStream,
    bytes: Vec<u8>,
    /// The number of the message that must arrive next.
    next: usize,
}

impl Member {
    /// Connects client `number` to a room and waits until it has joined.
    pub fn connect(addr: SocketAddr, dialect: &Dialect, room: &str, number: usize) -> Result<Member, Error> {
        let failed = |error: ConnectionError| Error::Failed(format!("client {number}: {error}"));
        let mut member = Member { stream: open(addr).map_err(|e| failed(e.into()))?, bytes: Vec::new(), next: 0 };
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
        self.stream.set_nonblocking(true)?;
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
    fn receive(
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
                    if length < buffer.len() {
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
struct Publisher {
    stream: TcpStream,
    bytes: Vec<u8>,
    responses: usize,
}

impl Publisher {
    /// Reads what is available. Every response must accept its notification.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), ConnectionError> {
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

/// Messages to the members of rooms.
#[derive(Clone, Copy, Debug)]
pub struct FanOut<'a> {
    /// Where the members connect.
    pub addr: SocketAddr,
    /// Where the backend connects.
    pub publish_addr: SocketAddr,
    /// How they talk to the server.
    pub dialect: &'a Dialect,
    /// The processes whose CPU time counts.
    pub processes: &'a [Process],
    /// The number of members, a multiple of the number of rooms. May be 0.
    pub members: usize,
    /// The number of rooms.
    pub rooms: usize,
    /// The number of messages; the rooms take turns.
    pub messages: usize,
    /// The maximum number of messages in flight.
    pub window: usize,
    /// The size of a message's data in bytes.
    pub size: usize,
}

/// What a fan-out cost.
#[derive(Clone, Copy, Debug)]
pub struct FanOutCost {
    /// The number of deliveries.
    pub delivered: usize,
    /// How long it took.
    pub seconds: f64,
    /// CPU time of the processes in nanoseconds.
    pub cpu: u64,
}

impl FanOutCost {
    /// Nanoseconds of CPU time per delivery.
    pub fn cpu_per_delivery(&self) -> f64 {
        self.cpu as f64 / self.delivered.max(1) as f64
    }
}

impl FanOut<'_> {
    /// Connects the members, sends the messages and waits for every delivery. Calls `step` with `ready` before and `done` after
    /// the measured part.
    pub fn run(&self, step: &mut dyn FnMut(&str)) -> Result<FanOutCost, Error> {
        let (count, rooms, window) = (self.messages, self.rooms, self.window);
        if window == 0 {
            return Err(Error::Usage("a window of 0 messages sends nothing: it must be at least 1".into()));
        }
        if rooms == 0 || !self.members.is_multiple_of(rooms) {
            return Err(Error::Usage(format!("{} members cannot be spread evenly over {rooms} rooms", self.members)));
        }
        let members_per_room = self.members / rooms;
        let room = |number: usize| format!("bench-{}", number % rooms);
        let data = |number: usize| {
            let mut data = format!("seq={number};").into_bytes();
            data.resize(self.size, b'x');
            data
        };
        let all: Vec<Vec<u8>> = (0..count).map(data).collect();
        let request = |(number, data): (usize, &Vec<u8>)| {
            self.dialect.notification(&room(number), &String::from_utf8_lossy(data))
        };
        let requests: Vec<Vec<u8>> = all.iter().enumerate().map(request).collect();
        let connect = |number| {
            let member = Member::connect(self.addr, self.dialect, &room(number), number)?;
            Ok(Member { next: number % rooms, ..member })
        };
        let mut members = (0..self.members).map(connect).collect::<Result<Vec<_>, Error>>()?;
        let stream = open(self.publish_addr).and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
        let stream = stream.map_err(Error::io("the publisher"))?;
        let mut publisher = Publisher { stream, bytes: Vec::new(), responses: 0 };
        let mut poll = Poll::new().map_err(Error::io("poll"))?;
        let mut events = Events::with_capacity(1024);
        let registry = poll.registry();
        let register = |stream: &TcpStream, token| {
            registry.register(&mut SourceFd(&stream.as_raw_fd()), Token(token), Interest::READABLE)
        };
        let mut streams = members.iter().map(|member| &member.stream).chain([&publisher.stream]).enumerate();
        streams.try_for_each(|(token, stream)| register(stream, token)).map_err(Error::io("poll"))?;
        drop(streams);
        // Some servers have work left after so many clients connected.
        thread::sleep(SETTLE);
        step("ready");
        let member_failed = |number: usize| move |error| Error::Failed(format!("client {number}: {error}"));
        let publisher_failed = |error| Error::Failed(format!("the publisher: {error}"));
        let mut buffer = vec![0; 1 << 16];
        let (mut sent, mut delivered, mut place) = (0, 0, 0);
        let (before, begin) = (Usage::of(self.processes)?, Instant::now());
        while delivered < count * members_per_room || publisher.responses < count {
            if begin.elapsed() > TIMEOUT {
                let (due, seconds) = (count * members_per_room, TIMEOUT.as_secs());
                return Err(Error::Failed(format!("{delivered} of {due} deliveries arrived within {seconds} s")));
            }
            // With a window of 1, every member has the message before the next one is sent.
            let outstanding = |sent: usize| sent * members_per_room - delivered;
            while sent < count
                && sent - publisher.responses < window
                && outstanding(sent) <= (window - 1) * members_per_room
            {
                publisher.stream.write_all(&requests[sent]).map_err(Error::io("the publisher"))?;
                sent += 1;
            }
            poll.poll(&mut events, Some(TIMEOUT)).map_err(Error::io("poll"))?;
            for event in &events {
                let number = event.token().0;
                match members.get_mut(number) {
                    Some(member) => {
                        let received = member.receive(&mut buffer, &all, rooms, &mut place);
                        delivered += received.map_err(member_failed(number))?;
                    }
                    None => publisher.receive(&mut buffer).map_err(publisher_failed)?,
                }
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        // Duplicates may arrive late, and the CPU time of a process is accounted when it stops running or some milliseconds later.
        thread::sleep(ACCOUNTING);
        let after = Usage::of(self.processes)?;
        step("done");
        for (number, member) in members.iter_mut().enumerate() {
            if member.receive(&mut buffer, &all, rooms, &mut place).map_err(member_failed(number))? > 0 {
                return Err(Error::Failed(format!("client {number} got a message twice")));
            }
        }
        Ok(FanOutCost { delivered, seconds, cpu: after.cpu - before.cpu })
    }
}

/// Clients in 100 rooms that do nothing.
#[derive(Clone, Copy, Debug)]
pub struct Idle<'a> {
    /// Where the clients connect.
    pub addr: SocketAddr,
    /// How they talk to the server.
    pub dialect: &'a Dialect,
    /// The processes whose CPU time and memory count.
    pub processes: &'a [Process],
    /// The number of clients.
    pub members: usize,
    /// The number of clients before them that are not counted: they make tables and allocators grow.
    pub warm_up: usize,
}

/// What idle clients cost.
#[derive(Clone, Copy, Debug)]
pub struct IdleCost {
    /// How long the connects took.
    pub seconds: f64,
    /// Resident memory before the first client, in bytes.
    pub resident_at_start: u64,
    /// Resident memory with all clients, in bytes.
    pub resident: u64,
    /// CPU time of a connect in nanoseconds.
    pub cpu_per_connect: f64,
    /// Resident memory of a client in bytes.
    pub bytes_per_client: f64,
}

impl Idle<'_> {
    /// Connects the clients. Calls `step` with `ready` before and `done` after the measured connects.
    pub fn run(&self, step: &mut dyn FnMut(&str)) -> Result<IdleCost, Error> {
        let start = Usage::of(self.processes)?;
        let connect = |number| Member::connect(self.addr, self.dialect, &idle_room(number), number);
        let _warm_up = (0..self.warm_up).map(connect).collect::<Result<Vec<_>, Error>>()?;
        thread::sleep(SETTLE);
        step("ready");
        let (before, begin) = (Usage::of(self.processes)?, Instant::now());
        let members = (0..self.members).map(connect).collect::<Result<Vec<_>, Error>>()?;
        let seconds = begin.elapsed().as_secs_f64();
        thread::sleep(ACCOUNTING);
        let connected = Usage::of(self.processes)?;
        step("done");
        // Time for a garbage collector to run and for buffers to be freed.
        thread::sleep(Duration::from_secs(1));
        let after = Usage::of(self.processes)?;
        for (number, member) in members.iter().enumerate() {
            if let Ok(0) = (&member.stream).read(&mut [0; 1024]) {
                return Err(Error::Failed(format!("client {number}: closed by the server")));
            }
        }
        let count = self.members.max(1) as f64;
        Ok(IdleCost {
            seconds,
            resident_at_start: start.resident,
            resident: after.resident,
            cpu_per_connect: (connected.cpu - before.cpu) as f64 / count,
            bytes_per_client: (after.resident as f64 - before.resident as f64) / count,
        })
    }
}

/// The room of an idle client: one of 100.
pub fn idle_room(number: usize) -> String {
    format!("room-{}", number % 100)
}

/// A blocking connection with a time-out, for the handshake.
fn open(addr: SocketAddr) -> std::io::Result<TcpStream> {
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

const SETTLE: Duration = Duration::from_millis(300);
const ACCOUNTING: Duration = Duration::from_millis(50);
