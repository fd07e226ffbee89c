//! The load of `tests/bench/compare`, `goals` and `instructions`: `relay_bench::load` as a program. Prints one JSON object.
//!
//! ```text
//! load fanout --addr HOST:PORT --pids PID,…    publish messages to members in rooms (0 members: only publish)
//! load idle   --addr HOST:PORT --pids PID,…    connect clients in 100 rooms that do nothing
//! load replay --addr HOST:PORT --pids PID,…    let clients miss messages that the room keeps, and come back together
//! load floor | floor-each                      run the lower bound: one write per client for all messages of a read, or one
//!                                              write per message
//! ```
//!
//! Options: `--members`, `--rooms` (1), `--messages` (300), `--window` (1; in flight), `--size` (128; bytes of data), `--warm`
//! (200; clients that `idle` does not count), `--speaks plain|socketio4|socketio3|sse`. `idle`: `--rooms-each` (rooms of each client
//! that no other has, instead of the 100) and `--watch` (0; seconds whose CPU time is measured). `replay`: `--times` (1; how often
//! they come back), `--others` and `--rate` (0 and 500; clients of another room whose latency is measured, and their messages a second), and `--measured logins|replays` (replays; what
//! `--steps` is about). For servers other than relay: `--connect` and
//! `--notify` (targets; `{room}`, `{number}` and `{sign}` are filled in) and `--body raw` (the body of a notification is the data
//! instead of a signed form). With `--ca FILE` the clients use TLS, and `--publish HOST:PORT` is where notifications go: without TLS.
//! With `--bursts` the messages in flight are sent at once, and the next ones when all of them have arrived.
//! With `--talks` each client sends a pong after its login.
//! With `--steps` it prints `ready` before and `done` after the measured part, and waits for a line on
//! standard input each time. The server must be on this machine.

use std::{collections::HashMap, env, io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use relay_bench::{
    engineio::Revision,
    error::Error,
    floor,
    load::{Crowd, Delivery, Dialect, FanOut, Idle, Measured, Replay},
    process::Process,
};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match run() {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            error.exit_code()
        }
    }
}

fn run() -> Result<Value, Error> {
    let mut args = env::args().skip(1);
    let job = args.next().unwrap_or_default();
    let mut options = Options(HashMap::new());
    while let Some(name) = args.next() {
        let value =
            if matches!(name.as_str(), "--steps" | "--bursts" | "--talks") { Some(String::new()) } else { args.next() };
        let value = value.ok_or_else(|| Error::Usage(format!("{name}: missing value")))?;
        options.0.insert(name.trim_start_matches("--").to_owned(), value);
    }
    match job.as_str() {
        "fanout" => fan_out(&options),
        "idle" => idle(&options),
        "replay" => replay(&options),
        "floor" => serve(true),
        "floor-each" => serve(false),
        _ => Err(Error::Usage(format!("unknown job {job:?}: expected fanout, idle, replay, floor or floor-each"))),
    }
}

fn serve(coalesce: bool) -> Result<Value, Error> {
    match floor::serve(coalesce).map_err(Error::io("floor"))? {}
}

struct Options(HashMap<String, String>);

impl Options {
    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, Error> {
        let value = self.0.get(name).map_or(Ok(default), |value| value.parse());
        value.map_err(|_| Error::Usage(format!("--{name}: invalid integer {:?}", self.text(name, ""))))
    }

    fn addr(&self) -> Result<SocketAddr, Error> {
        self.address("addr", "127.0.0.1:4000")
    }

    fn address(&self, name: &str, default: &str) -> Result<SocketAddr, Error> {
        let text = self.text(name, default);
        let addr: SocketAddr = text.parse().map_err(|_| Error::Usage(format!("--{name}: invalid address {text:?}")))?;
        if !addr.ip().to_canonical().is_loopback() {
            return Err(Error::Usage(format!("--{name}: {addr} is not on this machine, and a load can overload it")));
        }
        Ok(addr)
    }

    fn dialect(&self) -> Result<Dialect, Error> {
        let speaks = self.text("speaks", "plain");
        let socketio = match speaks {
            "plain" | "sse" => None,
            "socketio4" => Some(Revision::V4),
            "socketio3" => Some(Revision::V3),
            other => {
                let expected = "plain, socketio4, socketio3 or sse";
                return Err(Error::Usage(format!("--speaks: expected {expected}, not {other:?}")));
            }
        };
        let (connect, notify) = (self.0.get("connect").cloned(), self.0.get("notify").cloned());
        let authorities = self.0.get("ca").map(PathBuf::from);
        let stream = speaks == "sse";
        let (raw_body, talks) = (self.text("body", "form") == "raw", self.0.contains_key("talks"));
        Ok(Dialect { socketio, stream, connect, notify, raw_body, talks, authorities })
    }

    fn processes(&self) -> Result<Vec<Process>, Error> {
        let pids = self.text("pids", "").split(',').filter(|pid| !pid.is_empty());
        let pid = |pid: &str| pid.parse().map_err(|_| Error::Usage(format!("--pids: invalid process id {pid:?}")));
        pids.map(|text| Process::find(pid(text)?)).collect()
    }

    /// Prints a word and waits for a line, with `--steps`.
    fn step(&self, word: &str) {
        if self.0.contains_key("steps") {
            println!("{word}");
            let _ = io::stdin().read_line(&mut String::new());
        }
    }
}

fn fan_out(options: &Options) -> Result<Value, Error> {
    let (addr, dialect, processes) = (options.addr()?, options.dialect()?, options.processes()?);
    let load = FanOut {
        addr,
        publish_addr: options.address("publish", &addr.to_string())?,
        dialect: &dialect,
        processes: &processes,
        members: options.number("members", 1000)?,
        rooms: options.number("rooms", 1)?,
        messages: options.number("messages", 300)?,
        window: options.number("window", 1)?,
        bursts: options.0.contains_key("bursts"),
        size: options.number("size", 128)?,
    };
    let cost = load.run(&mut |word| options.step(word))?;
    Ok(json!({
        "job": "fanout", "members": load.members, "rooms": load.rooms, "messages": load.messages, "window": load.window,
        "size": load.size, "delivered": cost.delivered, "seconds": cost.seconds, "cpu_ns": cost.cpu,
        "cpu_ns_per_delivery": cost.cpu_per_delivery(), "cpu_ns_per_message": cost.cpu as f64 / load.messages.max(1) as f64,
    }))
}

fn idle(options: &Options) -> Result<Value, Error> {
    let (addr, dialect, processes) = (options.addr()?, options.dialect()?, options.processes()?);
    let load = Idle {
        addr,
        dialect: &dialect,
        processes: &processes,
        members: options.number("members", 10_000)?,
        rooms_each: options.number("rooms-each", 0)?,
        watch: Duration::from_secs(options.number("watch", 0)? as u64),
        warm_up: options.number("warm", 200)?,
    };
    let cost = load.run(&mut |word| options.step(word))?;
    Ok(json!({
        "job": "idle", "members": load.members, "seconds": cost.seconds, "resident_at_start": cost.resident_at_start,
        "resident": cost.resident, "cpu_ns_per_connect": cost.cpu_per_connect, "bytes_per_client": cost.bytes_per_client,
        "cpu_ns_idle": cost.cpu_idle,
    }))
}

fn replay(options: &Options) -> Result<Value, Error> {
    let (addr, dialect, processes) = (options.addr()?, options.dialect()?, options.processes()?);
    let measured = match options.text("measured", "replays") {
        "logins" => Measured::Logins,
        "replays" => Measured::Replays,
        other => return Err(Error::Usage(format!("--measured: expected logins or replays, not {other:?}"))),
    };
    let load = Replay {
        addr,
        dialect: &dialect,
        processes: &processes,
        members: options.number("members", 1000)?,
        messages: options.number("messages", 100)?,
        size: options.number("size", 128)?,
        times: options.number("times", 1)?,
        others: Some(Crowd { count: options.number("others", 0)?, rate: options.number("rate", 500)? })
            .filter(|crowd| crowd.count > 0),
        measured,
    };
    let cost = load.run(&mut |word| options.step(word))?;
    let p99 = |figure: fn(&Delivery) -> f64| {
        cost.others.each_ref().map(|others| {
            let mut figures: Vec<f64> = others.iter().map(figure).collect();
            figures.sort_unstable_by(f64::total_cmp);
            (figures.len() * 99).div_ceil(100).checked_sub(1).map(|place| figures[place])
        })
    };
    Ok(json!({
        "job": "replay", "members": load.members, "messages": load.messages, "size": load.size, "times": load.times,
        "cpu_ns_logins": cost.cpu[0], "cpu_ns_replays": cost.cpu[1], "cpu_ns_per_message": cost.cpu_per_message(&load),
        "seconds_logins": cost.seconds[0], "seconds_replays": cost.seconds[1],
        "others_p99_us": p99(|delivery| delivery.latency.as_secs_f64() * 1e6),
        "others_p99_cpu_us": p99(|delivery| delivery.cpu as f64 / 1000.0),
        "others_deliveries": cost.others.each_ref().map(Vec::len),
    }))
}
