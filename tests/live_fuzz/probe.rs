//! A well-behaved member and the backend that notifies it. Nothing that others do may cost it a message.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use relay::sign::Subject;
use serde_json::Value;

use crate::{
    samples::md5,
    support::{Client, FORM, PATIENCE, Relay, form, login, read_answer, send_request, wait_for},
};

/// Its source, so that no hostile client can post to its room.
pub const SOURCE: &str = "probe";

pub struct Probe {
    thread: thread::JoinHandle<()>,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Probe {
    pub fn start(relay: &Relay) -> Probe {
        let query = login(&[("source", SOURCE), ("room_ids", "probe"), ("userid", "probe"), ("username", "probe")]);
        let member = Client::open(relay.tcp(), &format!("/ws?{query}")).unwrap();
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (backend, counting, stopping) = (Backend::new(relay.addr), count.clone(), stop.clone());
        let thread = thread::Builder::new().name("probe".into());
        let thread = thread.spawn(move || notify_and_read(member, backend, &counting, &stopping)).unwrap();
        let probe = Probe { thread, count, stop };
        probe.wait(20);
        probe
    }

    /// Whether it has failed.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for `count` more messages.
    pub fn wait(&self, count: u64) {
        let before = self.messages();
        wait_for("messages for the probe", || (self.has_failed() || self.messages() >= before + count).then_some(()));
    }

    pub fn messages(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The number of messages, or why it failed.
    pub fn finish(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.count;
        self.thread.join().map(|()| count.load(Ordering::Relaxed)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })
    }
}

/// Notifies in bursts of one to eight messages, and reads each burst: every message, once, in order.
fn notify_and_read(mut member: Client, mut backend: Backend, count: &AtomicU64, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let burst = number..number + 1 + number % 8;
        for number in burst.clone() {
            backend.notify(&format!("probe {number}"));
        }
        for number in burst.clone() {
            assert_eq!(message(&mut member)["data"], format!("probe {number}"));
        }
        number = burst.end;
        count.store(number, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(2));
    }
}

/// A backend with a kept connection.
struct Backend {
    addr: SocketAddr,
    stream: TcpStream,
    used: Instant,
}

impl Backend {
    fn new(addr: SocketAddr) -> Backend {
        Backend { addr, stream: connect(addr), used: Instant::now() }
    }

    fn notify(&mut self, data: &str) {
        // The relay closes connections that are idle for 75 s. This machine may have stood still.
        if self.used.elapsed() > Duration::from_secs(30) {
            self.stream = connect(self.addr);
        }
        let subject = Subject::Notify { source: SOURCE, room_id: "probe", data: data.as_bytes() };
        let body = form(&[("source", SOURCE), ("room_id", "probe"), ("data", data), ("sign", &md5(&subject))]);
        send_request(&mut self.stream, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
        let answer = read_answer(&mut self.stream, false);
        assert_eq!((answer.status, &answer.json()["code"]), (200, &Value::from(1)), "{answer:?}");
        self.used = Instant::now();
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next message. An operator, or another relay, may ask all pages to reload.
fn message(member: &mut Client) -> Value {
    loop {
        let json = member.json();
        match json["event"].as_str() {
            Some("newMsg") => return json,
            Some("refreshPage") => {}
            _ => panic!("the probe got {json}"),
        }
    }
}
