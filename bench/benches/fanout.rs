//! Measures the CPU time and memory of relay, beside the kernel's share of the same work: `cargo bench --bench fanout`.
//!
//! A fan-out is 1,000 clients in one room and notifications of 128 bytes over HTTP, one at a time or 32 in flight. Every
//! delivery is checked for loss, order and content. The lower bound is `relay_bench::floor`. Wall-clock time is noisy, so the
//! benchmark compares the CPU time of the servers. With the argument `cluster` only the part with Redis runs.

use std::{
    env,
    error::Error,
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use relay_bench::{
    engineio::{self, Revision},
    floor,
    frames::{self, Opcode},
    load::{Dialect, FanOut, KEY, Member, idle_room},
    process::Process,
    responses,
    server::{self, Server},
    workload::login,
};

#[path = "../tests/bench/program.rs"]
mod program;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

const MEMBERS: usize = 1000;
const SIZE: usize = 128;
const ROUNDS: usize = 5;
const IDLE: usize = 10_000;
const WARM_UP: usize = 100;

const PLAIN: Dialect = Dialect {
    socketio: None,
    stream: false,
    connect: None,
    notify: None,
    raw_body: false,
    talks: false,
    authorities: None,
};
const SOCKETIO_4: Dialect = Dialect { socketio: Some(Revision::V4), ..PLAIN };
const SOCKETIO_3: Dialect = Dialect { socketio: Some(Revision::V3), ..PLAIN };

fn main() -> Result {
    match env::args().nth(1).as_deref() {
        Some("floor-each") => match floor::serve(false)? {},
        Some("floor") => match floor::serve(true)? {},
        Some("cluster") => cluster(),
        _ => {
            memory()?;
            compare("one at a time", 1, 500, "floor-each")?;
            compare("32 in flight", 32, 3000, "floor")?;
            protocols()?;
            cluster()
        }
    }
}

/// A server and its process.
struct Target {
    _server: Server,
    process: Process,
    addr: SocketAddr,
}

impl Target {
    fn new(server: Server) -> Result<Target> {
        Ok(Target { process: server.process()?, addr: server.address.parse()?, _server: server })
    }

    fn relay(more: &str) -> Result<Target> {
        let config = format!("{}[admin]\ntoken = \"t\"\n{more}", server::configuration("demo", KEY));
        Target::new(Server::start_relay_with(&program::relay(), &config)?)
    }

    fn floor(job: &str) -> Result<Target> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(job);
        Target::new(Server::start(command)?)
    }

    fn memory(&self) -> u64 {
        self.process.memory().expect("the server runs")
    }

    fn cpu(&self) -> u64 {
        self.process.cpu().expect("the server runs")
    }
}

/// Nanoseconds of the server's CPU time per delivery.
fn fan_out(server: &Target, dialect: &Dialect, window: usize, messages: usize) -> Result<f64> {
    fan_out_from(server.addr, server, dialect, window, messages)
}

/// Like [`fan_out`], with a backend that publishes to another address.
fn fan_out_from(
    publish_addr: SocketAddr,
    server: &Target,
    dialect: &Dialect,
    window: usize,
    messages: usize,
) -> Result<f64> {
    let (addr, processes) = (server.addr, &[server.process.clone()][..]);
    let load = FanOut {
        addr,
        publish_addr,
        dialect,
        processes,
        members: MEMBERS,
        rooms: 1,
        messages,
        window,
        bursts: false,
        size: SIZE,
    };
    Ok(load.run(&mut |_| {})?.cpu_per_delivery())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn range(values: &[f64]) -> String {
    let (low, high) =
        (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
    format!("{low:.2} to {high:.2}")
}

fn compare(what: &str, window: usize, messages: usize, job: &str) -> Result {
    let (relay, floor) = (Target::relay("")?, Target::floor(job)?);
    let (mut relays, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        relays.push(fan_out(&relay, &PLAIN, window, messages)?);
        floors.push(fan_out(&floor, &PLAIN, window, messages)?);
        ratios.push(relays[relays.len() - 1] / floors[floors.len() - 1]);
    }
    let range = range(&ratios);
    println!(
        "fan-out to {MEMBERS}, {what}: {:.0} ns of CPU per delivery, floor {:.0} ns, ratio {:.2} (medians of {ROUNDS} rounds; \
         ratio {range})",
        median(relays),
        median(floors),
        median(ratios)
    );
    Ok(())
}

/// Resident memory at start and per idle session: new, after a message each, and after a large message each.
fn memory() -> Result {
    println!("binary: {} bytes", fs::metadata(program::relay())?.len());
    let relay = Target::relay("")?;
    println!("resident at start: {} KiB", relay.memory() / 1024);
    let connect = |number| Member::connect(relay.addr, &PLAIN, &idle_room(number), number);
    let _warm_up = (0..WARM_UP).map(connect).collect::<Result<Vec<_>, _>>()?;
    let (base, begin) = (relay.memory(), relay.cpu());
    let mut members = (0..IDLE).map(connect).collect::<Result<Vec<_>, _>>()?;
    println!("connecting: {} us of CPU per client", (relay.cpu() - begin) / IDLE as u64 / 1000);
    let report =
        |what: &str| println!("an idle session, {what}: {} bytes", relay.memory().saturating_sub(base) / IDLE as u64);
    report("new");
    for (what, size) in [("after a message", 100), ("after a message of 8 kB", 8000)] {
        let text = format!("{{\"data\":\"{}\",\"room_ids\":\"nobody\",\"ack\":1}}", "x".repeat(size));
        let mut frame = Vec::new();
        frames::push(&mut frame, Opcode::Text, text.as_bytes());
        for member in &mut members {
            member.stream.socket().set_nonblocking(false)?;
            member.stream.write_all(&frame)?;
            assert!(member.stream.read(&mut [0; 500])? > 0, "relay closed the connection instead of acknowledging");
        }
        report(what);
    }
    Ok(())
}

/// Plain WebSocket and Socket.IO in one run: CPU per delivery, and memory per idle session.
fn protocols() -> Result {
    let relay = Target::relay("")?;
    let dialects = [("plain WebSocket", PLAIN), ("Socket.IO 4", SOCKETIO_4), ("Socket.IO 2", SOCKETIO_3)];
    for (window, messages) in [(1, 500), (32, 3000)] {
        let mut costs = vec![Vec::new(); dialects.len()];
        for _ in 0..ROUNDS {
            for ((_, dialect), costs) in dialects.iter().zip(&mut costs) {
                costs.push(fan_out(&relay, dialect, window, messages)?);
            }
        }
        for ((name, _), costs) in dialects.iter().zip(costs) {
            println!("fan-out to {MEMBERS} {name}, {window} in flight: {:.0} ns of CPU per delivery", median(costs));
        }
    }
    for (name, dialect) in &dialects[1..] {
        let relay = Target::relay("")?;
        let connect = |number| Member::connect(relay.addr, dialect, &idle_room(number), number);
        let _warm_up = (0..WARM_UP).map(connect).collect::<Result<Vec<_>, _>>()?;
        let base = relay.memory();
        let _members = (0..IDLE).map(connect).collect::<Result<Vec<_>, _>>()?;
        println!("an idle session, {name}: {} bytes", (relay.memory() - base) / IDLE as u64);
    }
    let relay = Target::relay("")?;
    let poll = |number| start_poll(relay.addr, number);
    let _warm_up = (0..WARM_UP).map(poll).collect::<Result<Vec<_>, _>>()?;
    let base = relay.memory();
    let _polls = (0..IDLE / 2).map(poll).collect::<Result<Vec<_>, _>>()?;
    println!("an idle session with a waiting poll: {} bytes", (relay.memory() - base) / (IDLE as u64 / 2));
    Ok(())
}

/// Two relays over Redis: CPU per delivery at the one that receives the message from the other, beside one whose backend
/// published it; and the cost of messages for rooms that a relay does not have.
fn cluster() -> Result {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_redis) = Redis::start(port)? else {
        println!("cluster: skipped, because redis-server is not installed");
        return Ok(());
    };
    let section = format!("[redis]\nurl = \"redis://127.0.0.1:{port}\"\n");
    let (alone, near, far) = (Target::relay("")?, Target::relay(&section)?, Target::relay(&section)?);
    // Both connect to Redis.
    thread::sleep(Duration::from_secs(1));
    for (window, messages) in [(1, 500), (32, 3000)] {
        let mut costs = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            costs[0].push(fan_out(&alone, &PLAIN, window, messages)?);
            costs[1].push(fan_out(&near, &PLAIN, window, messages)?);
            costs[2].push(fan_out_from(far.addr, &near, &PLAIN, window, messages)?);
        }
        let ratios: Vec<f64> = costs[2].iter().zip(&costs[0]).map(|(remote, alone)| remote / alone).collect();
        let (range, [alone, local, remote]) = (range(&ratios), costs.map(median));
        println!(
            "fan-out to {MEMBERS} through Redis, {window} in flight: {remote:.0} ns of CPU per delivery at the receiving \
             relay, {local:.0} ns if its own backend publishes, {alone:.0} ns without Redis, ratio {:.2} ({range})",
            median(ratios)
        );
    }
    let mut publisher = TcpStream::connect(near.addr)?;
    let (before, begin) = (far.cpu(), Instant::now());
    for number in 0..2000 {
        let data = format!("{:x<SIZE$}", format!("seq={number};"));
        publisher.write_all(&PLAIN.notification("bench-0", &data))?;
        assert!(publisher.read(&mut [0; 4096])? > 0, "relay closed the publisher's connection");
        thread::sleep((begin + Duration::from_millis(5 * (number + 1))).duration_since(Instant::now()));
    }
    let share = (far.cpu() - before) as f64 / begin.elapsed().as_nanos() as f64 * 100.0;
    println!("200 messages/s for rooms that a relay does not have: {share:.2} % of a core");
    Ok(())
}

/// A redis-server with a temporary directory, killed when dropped.
struct Redis {
    child: std::process::Child,
    directory: PathBuf,
}

impl Redis {
    /// `None` if redis-server is not installed.
    fn start(port: u16) -> Result<Option<Redis>> {
        let directory = env::temp_dir().join(format!("relay-bench-redis-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).arg("--dir").arg(&directory);
        let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            fs::remove_dir(&directory)?;
            return Ok(None);
        };
        let redis = Redis { child, directory };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(10) {
                return Err("redis-server does not listen within 10 s".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(redis))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Opens a Socket.IO session over HTTP long polling and leaves a poll waiting.
fn start_poll(addr: SocketAddr, number: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    let path = |query: &str| engineio::path(Revision::V4, "polling", query);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: relay\r\n\r\n");
    let open = request(&mut stream, &get(&path(&login("demo", KEY, &idle_room(number), number))))?;
    let sid = open.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("a session without sid")?;
    let target = path(&format!("sid={sid}"));
    request(&mut stream, &format!("POST {target} HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\n\r\n40"))?;
    request(&mut stream, &get(&target))?;
    stream.write_all(get(&target).as_bytes())?;
    Ok(stream)
}

/// The body of the response to a request.
fn request(stream: &mut TcpStream, request: &str) -> Result<String> {
    stream.write_all(request.as_bytes())?;
    let (mut bytes, mut part) = (Vec::new(), [0; 2048]);
    loop {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        bytes.extend_from_slice(&part[..length]);
        let mut response = None;
        responses::parse(&bytes, &mut |status, body| {
            response = Some((status, String::from_utf8_lossy(body).into_owned()));
            Ok(())
        })?;
        match response {
            Some((200, body)) => return Ok(body),
            Some((status, body)) => return Err(format!("{status} {body}").into()),
            None => {}
        }
    }
}
