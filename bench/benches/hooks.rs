//! Measures the cost of hooks, and the effect of a hanging backend on other clients: `cargo bench --bench hooks`.
//!
//! Part one: 20 clients cause 10,000 calls at 2,000 per second to a backend that answers at once. No call may be lost, and the
//! calls of each client must arrive in order. Part two: 1,000 plain WebSocket clients of another namespace get a notification
//! every 20 ms, first alone, then while 50 clients cause calls to a backend that never answers. Prints the latency of the
//! deliveries in both cases.

use std::{
    collections::HashMap,
    error::Error,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use relay_bench::{
    frames::{self, Opcode},
    histogram::Histogram,
    load::{Dialect, KEY, Member},
    member::UPGRADE,
    process::Process,
    server::Server,
};

#[path = "../tests/bench/program.rs"]
mod program;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

const CLIENTS: usize = 20;
const CALLS: usize = 500;
const RATE: f64 = 2000.0;
const MEMBERS: usize = 1000;
const NOTIFICATIONS: usize = 200;

fn main() -> Result {
    order()?;
    hanging_backend()
}

struct Relay {
    _server: Server,
    process: Process,
    addr: SocketAddr,
}

impl Relay {
    fn start(backend: SocketAddr) -> Result<Relay> {
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\n[sources.demo]\nsign_key = \"{KEY}\"\n[admin]\ntoken = \"t\"\n\
             [hooks]\nurl = \"http://{backend}/\"\nsecret = \"x\"\ntimeout = 3\non_failure = \"allow\"\n\
             [namespaces.\"/hook\"]\nauth = \"hook\"\nsource = \"demo\"\n\
             [[namespaces.\"/hook\".rules]]\nevent = \"*\"\nsend = \"hook\"\n"
        );
        let server = Server::start_relay_with(&program::relay(), &config)?;
        Ok(Relay { process: server.process()?, addr: server.address.parse()?, _server: server })
    }

    fn cpu(&self) -> u64 {
        self.process.cpu().expect("relay runs")
    }

    /// Sends the WebSocket handshake of a client of the namespace with hooks.
    fn upgrade(&self, query: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        let request = format!("GET /ws?nsp=/hook&{query} HTTP/1.1\r\nHost: relay\r\n{UPGRADE}\r\n");
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }
}

fn frame(text: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::push(&mut frame, Opcode::Text, text.as_bytes());
    frame
}

/// Reads a frame with a payload of less than 126 bytes.
fn read_frame(stream: &mut impl Read) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; head[1] as usize];
    stream.read_exact(&mut payload).expect("a whole frame");
    String::from_utf8(payload).expect("text")
}

/// The numbers of the calls by user, in the order of arrival.
type Calls = Arc<Mutex<HashMap<String, Vec<usize>>>>;

/// A backend that records every call and answers at once.
fn instant_backend() -> Result<(SocketAddr, Calls)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (addr, calls) = (listener.local_addr()?, Calls::default());
    let record = calls.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(|stream| stream.ok()) {
            let record = record.clone();
            thread::spawn(move || answer_calls(stream, &record));
        }
    });
    Ok((addr, calls))
}

/// Serves a connection until it is closed.
fn answer_calls(stream: TcpStream, calls: &Calls) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
        if body["event"] == "message" {
            let (user, number) = (body["userid"].as_str()?.to_owned(), body["args"][0].as_u64()? as usize);
            calls.lock().unwrap_or_else(PoisonError::into_inner).entry(user).or_default().push(number);
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"ack\":[]}").ok()?;
    }
}

fn print_quantiles(what: &str, times: &[Duration]) {
    let mut histogram = Histogram::new();
    times.iter().for_each(|time| histogram.record(time.as_nanos() as u64));
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| histogram.quantile(share) as f64 / 1e6);
    println!(
        "{what}: p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {:.2} ms",
        histogram.max() as f64 / 1e6
    );
}

fn order() -> Result {
    let (addr, calls) = instant_backend()?;
    let relay = Relay::start(addr)?;
    let (begin, cpu) = (Instant::now(), relay.cpu());
    let client = |user| relay.upgrade(&format!("userid={user}")).map(|stream| thread::spawn(|| send_events(stream)));
    let clients = (0..CLIENTS).map(client).collect::<Result<Vec<_>>>()?;
    let times: Vec<Duration> =
        clients.into_iter().flat_map(|client| client.join().expect("every event is acknowledged")).collect();
    let seconds = begin.elapsed().as_secs_f64();
    let calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(calls.len(), CLIENTS);
    assert!(calls.values().all(|calls| calls.iter().copied().eq(0..CALLS)), "lost, duplicated or out of order");
    println!(
        "{} calls for {CLIENTS} clients in {seconds:.1} s, none lost, in order for each client; {:.0} us of CPU per call",
        times.len(),
        (relay.cpu() - cpu) as f64 / times.len() as f64 / 1000.0
    );
    print_quantiles("from the event to its acknowledgement", &times);
    Ok(())
}

/// Sends the events of one client at its share of the rate. Returns the time from when each event was due to its
/// acknowledgement.
fn send_events(mut stream: TcpStream) -> Vec<Duration> {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a response") > 0, "relay refused the client");
    }
    let due = |number: usize| Duration::from_secs_f64(number as f64 * CLIENTS as f64 / RATE);
    let begin = Instant::now();
    let reader = thread::spawn(move || {
        let acknowledged = |number| {
            let text = read_frame(&mut reader);
            assert!(text.contains(&format!("\"ack\":{number},\"code\":1")), "{text}");
            begin.elapsed().saturating_sub(due(number))
        };
        (0..CALLS).map(acknowledged).collect()
    });
    for number in 0..CALLS {
        thread::sleep(due(number).saturating_sub(begin.elapsed()));
        let event = format!("{{\"event\":\"x\",\"data\":{number},\"ack\":{number}}}");
        stream.write_all(&frame(&event)).expect("relay reads events");
    }
    reader.join().expect("every event is acknowledged")
}

fn hanging_backend() -> Result {
    // Accepts connections, because the kernel does, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let relay = Relay::start(silent.local_addr()?)?;
    let connect = |number| Member::connect(relay.addr, &Dialect::default(), "bench", number);
    let mut members = (0..MEMBERS).map(connect).collect::<Result<Vec<_>, _>>()?;
    print_quantiles("delivery to 1,000 clients, no calls", &deliveries(&relay, &mut members)?);
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (addr, over) = (relay.addr, over.clone());
            thread::spawn(move || cause_calls(addr, &over))
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    print_quantiles(
        "delivery to 1,000 clients, 50 others wait for a backend that hangs",
        &deliveries(&relay, &mut members)?,
    );
    over.store(true, Ordering::Relaxed);
    let calls: usize = callers.into_iter().map(|caller| caller.join().unwrap_or_default()).sum();
    let kib = relay.process.memory().unwrap_or_default() / 1024;
    println!("{calls} events were for the backend; relay's resident memory is {kib} KiB");
    Ok(())
}

/// Connects, and sends twenty events a second if it is admitted, again and again. Returns the number of events.
fn cause_calls(addr: SocketAddr, over: &AtomicBool) -> usize {
    let mut events = 0;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(addr) else { continue };
        let upgrade = format!("GET /ws?nsp=/hook HTTP/1.1\r\nHost: relay\r\n{UPGRADE}\r\n");
        let _ = stream.write_all(upgrade.as_bytes());
        for _ in 0..20 {
            if stream.write_all(&frame("{\"event\":\"x\"}")).is_err() {
                break;
            }
            events += 1;
            thread::sleep(Duration::from_millis(50));
        }
    }
    events
}

/// The latency of every delivery of every notification.
fn deliveries(relay: &Relay, members: &mut [Member]) -> Result<Vec<Duration>> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    for (number, member) in members.iter().enumerate() {
        poll.registry().register(
            &mut SourceFd(&member.stream.socket().as_raw_fd()),
            Token(number),
            Interest::READABLE,
        )?;
    }
    let mut publisher = TcpStream::connect(relay.addr)?;
    publisher.set_nodelay(true)?;
    let request = Dialect::default().notification("bench", "x");
    let mut times = Vec::with_capacity(NOTIFICATIONS * members.len());
    let mut buffer = [0; 4096];
    for _ in 0..NOTIFICATIONS {
        let begin = Instant::now();
        publisher.write_all(&request)?;
        let mut delivered = 0;
        while delivered < members.len() {
            poll.poll(&mut events, Some(Duration::from_secs(10)))?;
            if events.is_empty() {
                return Err(format!("{delivered} of {} deliveries arrived within 10 s", members.len()).into());
            }
            for event in &events {
                loop {
                    match members[event.token().0].stream.read(&mut buffer) {
                        Ok(0) => return Err("relay closed a client's connection".into()),
                        // A ping has two bytes, a message many more.
                        Ok(length) if length > 20 => {
                            times.push(begin.elapsed());
                            delivered += 1;
                        }
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        let _ = publisher.read(&mut buffer)?;
        thread::sleep(Duration::from_millis(20).saturating_sub(begin.elapsed()));
    }
    Ok(times)
}
