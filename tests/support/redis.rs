//! A real redis-server on a free port, and a client for it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use relay::redis::{Reader, Reply, resp};

use super::{PATIENCE, Relay, SILENCE, wait_for};

/// The heartbeat of relays in these tests, in seconds.
pub const HEARTBEAT: &str = "0.3";

/// A running redis-server; killed when dropped.
pub struct Redis {
    pub port: u16,
    options: Vec<String>,
    child: Option<Child>,
    /// The connection that [`Redis::ask`] uses.
    client: Mutex<Option<Connection>>,
    password: Option<String>,
}

impl Redis {
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// With options of the command line; a password is named by `--requirepass`.
    pub fn start_with(options: &[&str]) -> Redis {
        let password =
            options.iter().position(|option| *option == "--requirepass").map(|at| options[at + 1].to_owned());
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Redis { port: 0, options, child: None, client: Mutex::default(), password };
        // Another process may take the port before redis-server does.
        for _ in 0..5 {
            redis.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if redis.try_run() {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it, at the same port as before.
    pub fn run(&mut self) {
        assert!(self.try_run(), "another process has port {}", self.port);
    }

    fn try_run(&mut self) -> bool {
        let mut child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            // A replica must write no file, which other servers in the folder would read when they start.
            .args(["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb"])
            .args(["--dbfilename", &format!("relay-test-{}.rdb", self.port)])
            .args(["--daemonize", "no", "--dir"])
            .arg(std::env::temp_dir())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .expect("redis-server, of the Debian package of that name");
        let runs = wait_for("redis-server", || match child.try_wait().unwrap() {
            Some(_) => Some(false),
            None => (self.process() == Some(child.id())).then_some(true),
        });
        self.child = Some(child);
        runs
    }

    /// The process id that the server at the port reports, if it is a redis-server with that password.
    fn process(&self) -> Option<u32> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let auth = self.password.as_ref().map_or(String::new(), |password| format!("AUTH {password}\r\n"));
        stream.write_all(format!("{auth}INFO server\r\nQUIT\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split_once("process_id:")?.1.lines().next()?.parse().ok()
    }

    /// Kills it. Nothing is saved.
    pub fn kill(&mut self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: i32) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").arg(format!("-{signal}")).arg(pid).status().unwrap().success());
    }

    pub fn connection(&self) -> Connection {
        Connection::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap(), self.password.as_deref())
    }

    /// One command and its reply.
    pub fn ask(&self, parts: &[&str]) -> Reply {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        // The connection may have ended: a failover and CLIENT KILL do that.
        if let Some(reply) = client.as_mut().and_then(|client| client.try_ask(parts)) {
            return reply;
        }
        client.insert(self.connection()).ask(parts)
    }

    /// The fields and values of a hash, sorted.
    pub fn hash(&self, key: &str) -> Vec<(String, String)> {
        let list = self.ask(&["HGETALL", key]).array().unwrap();
        let text = |reply: &Reply| reply.text().unwrap().to_owned();
        let mut pairs: Vec<_> = list.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        pairs.sort();
        pairs
    }

    /// Publishes on the channel of messages and returns the number of subscribers.
    pub fn publish(&self, message: &str) -> i64 {
        self.ask(&["PUBLISH", "xin_common_chat", message]).integer().unwrap()
    }

    pub fn url(&self) -> String {
        let password = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        format!("redis://{password}127.0.0.1:{}/0", self.port)
    }

    /// The `[redis]` section of a configuration that names this server, with `more` lines.
    pub fn section(&self, more: &str) -> String {
        format!("[redis]\nurl = \"{}\"\nheartbeat = {HEARTBEAT}\n{more}\n", self.url())
    }

    /// A relay that is linked to this server.
    pub fn relay(&self, more: &str) -> Relay {
        let relay = Relay::start(&self.section(more));
        wait_linked(&relay);
        relay
    }

    /// Relays that know of each other.
    pub fn relays<const N: usize>(&self, more: &str) -> [Relay; N] {
        let relays = [(); N].map(|()| self.relay(more));
        relays.iter().for_each(|relay| wait_siblings(relay, N - 1));
        relays
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until both connections of a relay are up.
pub fn wait_linked(relay: &Relay) {
    wait_for("the link", || (relay.get("/healthz").json()["redis"]["status"] == "ok").then_some(()));
}

/// Waits until a relay knows of `count` other relays.
pub fn wait_siblings(relay: &Relay, count: usize) {
    wait_for("siblings", || (relay.admin("/healthz").json()["redis"]["siblings"] == count).then_some(()));
}

/// A client of Redis.
pub struct Connection {
    stream: TcpStream,
    reader: Reader,
    input: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream, password: Option<&str>) -> Connection {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Connection { stream, reader: Reader::new(1 << 30), input: Vec::new() };
        if let Some(password) = password {
            assert_eq!(connection.ask(&["AUTH", password]), Reply::Text("OK".into()));
        }
        connection
    }

    pub fn send(&mut self, parts: &[&str]) {
        self.try_send(parts).unwrap();
    }

    fn try_send(&mut self, parts: &[&str]) -> std::io::Result<()> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let mut command = Vec::new();
        resp::command(&mut command, &parts);
        self.stream.write_all(&command)
    }

    /// One command and its reply, or nothing if the connection has ended.
    fn try_ask(&mut self, parts: &[&str]) -> Option<Reply> {
        self.try_send(parts).ok()?;
        self.next()
    }

    pub fn ask(&mut self, parts: &[&str]) -> Reply {
        self.send(parts);
        self.next().expect("a reply")
    }

    /// The next reply, or nothing if none comes in time.
    pub fn next(&mut self) -> Option<Reply> {
        loop {
            let mut input = self.input.as_slice();
            let reply = self.reader.poll(&mut input).unwrap();
            let left = input.len();
            self.input.drain(..self.input.len() - left);
            if reply.is_some() {
                return reply;
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return None,
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Turns the connection into a subscriber.
    pub fn subscribe(mut self, channel: &str) -> Connection {
        self.ask(&["SUBSCRIBE", channel]);
        self
    }

    /// The next message.
    pub fn message(&mut self) -> String {
        let parts = self.next().and_then(Reply::array).expect("a message");
        assert_eq!(parts[0].text(), Some("message"));
        parts[2].text().unwrap().to_owned()
    }

    pub fn silence(&mut self) {
        self.stream.set_read_timeout(Some(SILENCE)).unwrap();
        let next = self.next();
        assert!(next.is_none(), "{next:?} should not have come");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

/// Calls `ask` until it returns what is expected; panics after `PATIENCE`.
pub fn wait_until<T: PartialEq + core::fmt::Debug>(expected: T, mut ask: impl FnMut() -> T) {
    let begin = Instant::now();
    loop {
        let found = ask();
        if found == expected {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{found:?} and not {expected:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
