//! What hooks cost, and what a backend that hangs costs others: `cargo bench --bench hooks`.
//!
//! First 10,000 calls of 20 clients at 2,000 a second to a backend that answers at once: none may be lost, each client's
//! must come in order. Then 1,000 plain WebSocket clients of another namespace get a notification every 20 ms, without and
//! with 50 clients that ask a backend which never answers: what each delivery took, in one run.
#![allow(missing_docs)]

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use relay::sign::{Subject, to_hex};

const KEY: &str = "try4dfs%#fs!#$2334ds(%B)";
const CLIENTS: usize = 20;
const CALLS: usize = 500;
const RATE: f64 = 2000.0;
const MEMBERS: usize = 1000;
const NOTIFICATIONS: usize = 200;

fn main() {
    order();
    hang();
}

struct Relay {
    child: Child,
    addr: SocketAddr,
}

impl Relay {
    fn start(backend: SocketAddr) -> Relay {
        let config = env::temp_dir().join(format!("relay-hooks-{}.toml", std::process::id()));
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\n[sources.demo]\nsign_key = \"{KEY}\"\n[admin]\ntoken = \"t\"\n\
             [hooks]\nurl = \"http://{backend}/\"\nsecret = \"x\"\ntimeout = 3\non_failure = \"allow\"\n\
             [namespaces.\"/hook\"]\nauth = \"hook\"\nsource = \"demo\"\n\
             [[namespaces.\"/hook\".rules]]\nevent = \"*\"\nsend = \"hook\"\n"
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find_map(|line| Some(line.ok()?.split_once("listening on ")?.1.to_owned()));
        thread::spawn(move || lines.for_each(drop));
        fs::remove_file(config).unwrap();
        Relay { child, addr: line.expect("an address").parse().unwrap() }
    }

    fn cpu(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    }

    fn resident(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned()
    }

    /// A plain WebSocket.
    fn connect(&self, query: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        write!(
            stream,
            "GET /ws?{query} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        stream
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn frame(text: &str) -> Vec<u8> {
    assert!(text.len() < 126);
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()
}

fn read_frame(stream: &mut TcpStream) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; head[1] as usize];
    stream.read_exact(&mut payload).unwrap();
    String::from_utf8(payload).unwrap()
}

/// The numbers of calls, by their user, in the order in which they came.
type Seen = Arc<Mutex<HashMap<String, Vec<usize>>>>;

/// A backend that keeps the number of each call by its user, and answers at once.
fn trivial() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Seen::default();
    let own = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = own.clone();
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut writing = stream.try_clone().unwrap();
                let mut reading = BufReader::new(stream);
                loop {
                    let mut length = 0;
                    loop {
                        let mut line = String::new();
                        if reading.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(value) = line.strip_prefix("Content-Length: ") {
                            length = value.trim().parse().unwrap();
                        }
                        if line == "\r\n" {
                            break;
                        }
                    }
                    let mut body = vec![0; length];
                    reading.read_exact(&mut body).unwrap();
                    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    if body["event"] == "message" {
                        let user = body["userid"].as_str().unwrap().to_owned();
                        seen.lock().unwrap().entry(user).or_default().push(body["args"][0].as_u64().unwrap() as usize);
                    }
                    if writing.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"ack\":[]}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (addr, seen)
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms", at(0.5), at(0.99), at(0.999), at(1.0));
}

fn order() {
    let (addr, seen) = trivial();
    let relay = Relay::start(addr);
    let (begin, cpu) = (Instant::now(), relay.cpu());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|user| {
            let mut stream = relay.connect(&format!("nsp=/hook&userid={user}"));
            thread::spawn(move || {
                let mut reading = stream.try_clone().unwrap();
                let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
                let times = sent.clone();
                let reader = thread::spawn(move || {
                    let mut took = Vec::new();
                    for number in 0..CALLS {
                        let answer = read_frame(&mut reading);
                        assert!(answer.contains(&format!("\"ack\":{number},\"code\":1")), "{answer}");
                        took.push(times.lock().unwrap()[number].elapsed());
                    }
                    took
                });
                let begin = Instant::now();
                for number in 0..CALLS {
                    let due = Duration::from_secs_f64(number as f64 * CLIENTS as f64 / RATE);
                    thread::sleep(due.saturating_sub(begin.elapsed()));
                    // What is late counts from when it was due.
                    sent.lock().unwrap().push(begin + due);
                    stream
                        .write_all(&frame(&format!("{{\"event\":\"x\",\"data\":{number},\"ack\":{number}}}")))
                        .unwrap();
                }
                reader.join().unwrap()
            })
        })
        .collect();
    let times: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let seconds = begin.elapsed().as_secs_f64();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), CLIENTS);
    assert!(seen.values().all(|calls| calls.iter().copied().eq(0..CALLS)), "lost, doubled or out of order");
    println!(
        "{} calls of {CLIENTS} clients in {seconds:.1} s, none lost, each client's in order; {:.0} us of CPU per call",
        times.len(),
        (relay.cpu() - cpu) as f64 / times.len() as f64 / 1000.0
    );
    percentiles("from the event to its acknowledgement", times);
}

fn hang() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Relay::start(silent.local_addr().unwrap());
    let sign = to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: "bench" }.md5(KEY.as_bytes()));
    let mut members: Vec<TcpStream> = (0..MEMBERS)
        .map(|number| relay.connect(&format!("source=demo&room_ids=bench&sign={sign}&userid={number}")))
        .collect();
    members.iter().for_each(|member| member.set_nonblocking(true).unwrap());
    percentiles("1,000 others, nobody asks the backend", deliveries(&relay, &mut members));
    let over = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let (addr, over) = (relay.addr, over.clone());
            thread::spawn(move || {
                let mut asked = 0;
                while !over.load(Ordering::Relaxed) {
                    // Each asks to come in, and if it is, for something else, twenty times a second.
                    let mut stream = TcpStream::connect(addr).unwrap();
                    let upgrade = "GET /ws?nsp=/hook HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                    stream.write_all(upgrade.as_bytes()).unwrap();
                    for _ in 0..20 {
                        if stream.write_all(&frame("{\"event\":\"x\"}")).is_err() {
                            break;
                        }
                        asked += 1;
                        thread::sleep(Duration::from_millis(50));
                    }
                }
                asked
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    percentiles("1,000 others, 50 ask a backend that hangs", deliveries(&relay, &mut members));
    over.store(true, Ordering::Relaxed);
    let asked: usize = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    println!("{asked} events were for the backend; relay has {} resident", relay.resident());
}

/// What each delivery of a notification to each member took.
fn deliveries(relay: &Relay, members: &mut [TcpStream]) -> Vec<Duration> {
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    for (number, member) in members.iter().enumerate() {
        poll.registry().register(&mut SourceFd(&member.as_raw_fd()), Token(number), Interest::READABLE).unwrap();
    }
    let mut publisher = TcpStream::connect(relay.addr).unwrap();
    publisher.set_nodelay(true).unwrap();
    let sign = to_hex(&Subject::Notify { source: "demo", room_id: "bench", data: b"x" }.md5(KEY.as_bytes()));
    let body = format!("source=demo&room_id=bench&data=x&sign={sign}");
    let request = format!(
        "POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut times = Vec::with_capacity(NOTIFICATIONS * members.len());
    let mut buffer = [0; 4096];
    for _ in 0..NOTIFICATIONS {
        let begin = Instant::now();
        publisher.write_all(request.as_bytes()).unwrap();
        let mut came = 0;
        while came < members.len() {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "a delivery is missing");
            for event in &events {
                loop {
                    match members[event.token().0].read(&mut buffer) {
                        Ok(0) => panic!("a member was closed"),
                        // A ping is a byte or two; a message is much more.
                        Ok(length) if length > 20 => {
                            times.push(begin.elapsed());
                            came += 1;
                        }
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        let _ = publisher.read(&mut buffer).unwrap();
        thread::sleep(Duration::from_millis(20).saturating_sub(begin.elapsed()));
    }
    times
}
