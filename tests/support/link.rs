//! Helpers for the tests of the link to Redis.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    Client, Relay, asleep,
    redis::{HEARTBEAT, Redis, wait_linked, wait_until},
    wait_for,
};

pub const SIGHUP: i32 = 1;
pub const SIGTERM: i32 = 15;
pub const SIGCONT: i32 = 18;
pub const SIGSTOP: i32 = 19;

/// How long the relay may sleep during a request, whatever Redis does. Waiting for Redis would take 600 ms.
pub const BRISK: Duration = Duration::from_millis(250);

/// The hash of sessions of source `demo`.
pub const ONLINE: &str = "node.xin.com:xin_socket_connections_demo";
pub const NODES: &str = "node.xin.com:relay_nodes";

/// The operators' answer of `/healthz`, which is 200 whatever Redis does.
pub fn health(relay: &Relay) -> Value {
    let answer = relay.admin("/healthz");
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Waits until the link fails, and returns the reason.
pub fn wait_failing(relay: &Relay) -> String {
    wait_for("a failing link", || {
        let health = health(relay);
        let failing = health["redis"]["status"] == "failing";
        assert_eq!(health["status"], if failing { "degraded" } else { "ok" });
        failing.then(|| health["redis"]["error"].as_str().unwrap().to_owned())
    })
}

/// Waits until the link fails for a reason that contains `text`.
pub fn wait_reason(relay: &Relay, text: &str) {
    wait_for(text, || health(relay)["redis"]["error"].as_str().is_some_and(|error| error.contains(text)).then_some(()));
}

/// A relay with this address of Redis, which may be unreachable.
pub fn relay_at(url: &str, more: &str) -> Relay {
    Relay::start(&section(url, more))
}

pub fn section(url: &str, more: &str) -> String {
    format!("[redis]\nurl = \"{url}\"\nheartbeat = {HEARTBEAT}\n{more}\n")
}

/// Reloads a running relay with a new configuration.
pub fn reload(relay: &Relay, more: &str) {
    let count = || relay.log().iter().filter(|line| line.contains("configuration re-read")).count();
    let before = count();
    let new = relay.config.with_extension("new");
    fs::write(&new, Relay::configuration(more)).unwrap();
    fs::rename(&new, &relay.config).unwrap();
    relay.signal(SIGHUP);
    wait_for("configuration re-read", || (count() > before).then_some(()));
}

/// Publishes `NAME 0`, `NAME 1` and so on. The relay must not wait for anything during a request.
pub fn publish(relay: &Relay, name: &str, numbers: core::ops::Range<usize>) {
    for number in numbers {
        let slept = asleep(&[relay.pid()], || relay.notify("room", &format!("{name} {number}")));
        assert!(slept < BRISK, "{name} {number} took {slept:?}");
    }
}

/// Reads up to `NAME LAST`. Returns the numbers of that name, which must arrive in order and once. Other names fail the
/// test.
pub fn read_to(member: &mut Client, name: &str, last: usize) -> Vec<usize> {
    let mut found = Vec::new();
    loop {
        let data = member.data();
        let text = data.as_str().unwrap();
        let Some((from, number)) = text.split_once(' ').filter(|(from, _)| *from == name) else {
            panic!("{text} and not {name}");
        };
        let number = number.parse().unwrap();
        assert!(found.last().is_none_or(|last| *last < number), "{from} {number} after {found:?}");
        found.push(number);
        if number == last {
            return found;
        }
    }
}

/// Reads up to `NAME LAST` of each name, interleaved in any way. Each name's numbers must arrive in order and once.
pub fn read_all(member: &mut Client, lasts: &[(String, usize)]) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new(); lasts.len()];
    while found.iter().zip(lasts).any(|(found, (_, last))| found.last() != Some(last)) {
        let data = member.data();
        let (name, number) = data.as_str().unwrap().split_once(' ').unwrap();
        let number: usize = number.parse().unwrap();
        let at = lasts.iter().position(|(other, _)| other == name).unwrap_or_else(|| panic!("{data}"));
        assert!(found[at].last().is_none_or(|last| *last < number), "{name} {number} after {:?}", found[at]);
        found[at].push(number);
    }
    found
}

/// Lines of the log about the link, of which each is a change. Waits until there are `count` of them: a line may come a
/// moment later than the change.
pub fn changes(relay: &Relay, count: usize) -> Vec<String> {
    wait_for("changes in the log", || {
        let lines: Vec<_> = relay.log().into_iter().filter(|line| line.contains("redis: ")).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// Waits until the link fails, and asserts that the relay does not spin and that its members do not notice.
pub fn fails_calmly(relay: &Relay, what: &str) {
    wait_failing(relay);
    let mut member = relay.connect("room");
    relay.assert_idle(what);
    publish(relay, what, 0..3);
    assert_eq!(read_to(&mut member, what, 2), [0, 1, 2]);
}

pub fn read_to_words(member: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| member.data().as_str().unwrap().to_owned()).collect()
}

/// An address that leads to one server or another. Connections that exist stay where they are.
pub struct Name {
    pub port: u16,
    to: Arc<AtomicU16>,
}

impl Name {
    pub fn new(port: u16) -> Name {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(port));
        let target = to.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect(("127.0.0.1", target.load(Ordering::SeqCst))))
                else {
                    continue;
                };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pump(client, server));
                thread::spawn(move || pump(back.0, back.1));
            }
        });
        Name { port: own, to }
    }

    pub fn leads_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    pub fn relay(&self) -> Relay {
        let relay = relay_at(&format!("redis://127.0.0.1:{}/0", self.port), "");
        wait_linked(&relay);
        relay
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Makes a server a replica of another, and waits until it has the data.
pub fn follow(replica: &Redis, master: &Redis) {
    replica.ask(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    wait_until(true, || replica.ask(&["INFO", "replication"]).text().unwrap().contains("master_link_status:up"));
}

/// How many connections of relays a server has.
pub fn connections(redis: &Redis) -> usize {
    redis.ask(&["CLIENT", "LIST"]).text().unwrap().matches("name=relay-").count()
}
