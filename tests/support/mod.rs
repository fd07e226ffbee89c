//! Starts the real binary on a free port and talks to it. Each test file covers one chapter of docs/protocol.md.
//!
//! Tests must pass on a machine that is busy with something else, so they wait for events and never for a time: upper
//! limits are [`PATIENCE`], which passes only when the event never comes. Two helpers look at time all the same:
//! [`Relay::assert_idle`] compares with a thread that spins, and [`asleep`] leaves out the time in which the kernel ran
//! somebody else.
#![allow(dead_code, missing_docs)]

pub mod certificates;
pub mod cli;
pub mod engineio;
pub mod fake;
pub mod growth;
pub mod link;
pub mod manual;
pub mod member;
pub mod redis;
pub mod websocket;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use form_urlencoded::Serializer;
use relay::sign::{Subject, to_hex};
use serde_json::Value;
use tungstenite::{Message, WebSocket, client::client};

pub const KEY: &str = "try4dfs%#fs!#$2334ds(%B)";
pub const TOKEN: &str = "test-token";

/// How long a test waits for an event before it fails. No test passes or fails by a shorter time.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long a test waits before it concludes that nothing comes. A slow machine cannot make this fail.
pub const SILENCE: Duration = Duration::from_millis(200);

/// The relay to test: `RELAY_BINARY` if it is set (tests/run tests the release build with it), else the one that cargo
/// built for this test.
pub fn binary() -> PathBuf {
    std::env::var_os("RELAY_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_relay").into(), PathBuf::from)
}

/// A running relay; killed when dropped.
pub struct Relay {
    pub child: Child,
    pub addr: SocketAddr,
    pub config: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Starts with sources `demo` (the public key) and `other`, an admin token, and `more` lines of configuration,
    /// which may hold keys of the root table first and then whole sections.
    pub fn start(more: &str) -> Relay {
        Relay::start_with(more, |_| {})
    }

    pub fn start_with(more: &str, change: impl FnOnce(&mut Command)) -> Relay {
        let config = temp_file("relay.toml");
        fs::write(&config, Relay::configuration(more)).unwrap();
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(&config);
        change(&mut command);
        Relay::spawn(command, config)
    }

    /// The text of a configuration as [`Relay::start`] writes it.
    pub fn configuration(more: &str) -> String {
        let (root, sections) = match more.find("\n[") {
            _ if more.starts_with('[') => ("", more),
            Some(at) => more.split_at(at),
            None => (more, ""),
        };
        let listen = if root.contains("listen") { "" } else { "listen = [\"127.0.0.1:0\"]\n" };
        // tests/run tests the release build so: whoever does not ask for messages that rooms keep sees no difference.
        let with_history = std::env::var_os("RELAY_TEST_HISTORY").is_some() && !sections.contains("[history]");
        let history = if with_history { "[history]\ncount = 100\n" } else { "" };
        // Many clients of a test have the same login, and would be asked whether one is the return of another.
        let with_recovery = with_history && !sections.contains("[recovery]");
        let recovery = if with_recovery { "[recovery]\nunknowing = \"no\"\n" } else { "" };
        format!(
            "{listen}{root}\n[sources.demo]\nsign_key = \"{KEY}\"\n[sources.other]\nsign_key = \"other key\"\n\
             [admin]\ntoken = \"{TOKEN}\"\n{sections}\n{history}{recovery}"
        )
    }

    /// Runs a command that starts a relay and waits until it listens. Panics with its log if it ends before.
    pub fn spawn(mut command: Command, config: PathBuf) -> Relay {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut relay = Relay { child, addr: ([127, 0, 0, 1], 0).into(), config, log };
        let address = wait_for("listening on", || {
            if let Some(status) = relay.child.try_wait().unwrap() {
                thread::sleep(Duration::from_millis(50));
                panic!("relay ended with {status}:\n{}", relay.log().join("\n"));
            }
            relay.listening().into_iter().next()
        });
        if let Ok(addr) = address.parse() {
            relay.addr = addr;
            if relay.addr.ip().is_unspecified() {
                relay.addr.set_ip([127, 0, 0, 1].into());
            }
        }
        relay
    }

    /// The addresses that the log has named so far.
    fn listening(&self) -> Vec<String> {
        self.log().iter().filter_map(|line| Some(line.split_once("listening on ")?.1.to_owned())).collect()
    }

    /// Every address that the log names; waits until there are `count` of them.
    pub fn addresses(&self, count: usize) -> Vec<String> {
        wait_for("listening on", || Some(self.listening()).filter(|addresses| addresses.len() >= count))
    }

    /// A relay whose log the test reads itself.
    pub fn adopt(child: Child, addr: SocketAddr, config: PathBuf) -> Relay {
        Relay { child, addr, config, log: Arc::default() }
    }

    /// Every line of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that contains `text`.
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(text, || self.log().into_iter().find(|line| line.contains(text)))
    }

    /// Replaces the configuration, has it read again, and waits for another line of the log with `line`.
    pub fn rewrite(&self, text: &str, line: &str) {
        let count = || self.log().iter().filter(|found| found.contains(line)).count();
        let before = count();
        // As an editor does it: relay must never see half a file.
        let new = self.config.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &self.config).unwrap();
        self.signal(1);
        wait_for(line, || (count() > before).then_some(()));
    }

    pub fn signal(&self, signal: i32) {
        assert!(Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status().unwrap().success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; the exit code.
    pub fn wait(&mut self) -> i32 {
        let status = wait_for("exit", || self.child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// Open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Processor time that all threads of the process have used.
    pub fn cpu(&self) -> Duration {
        cpu(self.pid())
    }

    /// Asserts that the process does next to nothing while it has nothing to do. The measure is this thread, which
    /// spins until it has had a fair share of a processor: a relay that spins gets about as much in that time, however
    /// busy the machine is.
    pub fn assert_idle(&self, what: &str) {
        const SHARE: Duration = Duration::from_millis(300);
        let (relay, own) = (self.cpu(), scheduled("thread-self").running);
        while scheduled("thread-self").running - own < SHARE {}
        let used = self.cpu() - relay;
        assert!(
            used < SHARE / 5,
            "{what}: the relay used {used:?} of processor time while a thread that spins got {SHARE:?}"
        );
    }

    /// Returns once the relay has handled everything that reached it before this call, signals included: it is one
    /// thread, so a request that comes later is answered later. (A signal wakes it; the turn after that handles it.)
    pub fn fence(&self) {
        (0..2).for_each(|_| assert_eq!(self.get("/healthz").status, 200));
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes on a new connection, reads to its end (or `PATIENCE`), as text.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.tcp();
        stream.write_all(bytes.as_ref()).unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.tcp();
        send_request(&mut stream, method, target, headers, body);
        read_answer(&mut stream, method == "HEAD")
    }

    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    /// `GET` with the admin token.
    pub fn admin(&self, target: &str) -> Answer {
        self.request("GET", target, &[("Authorization", &format!("Bearer {TOKEN}"))], b"")
    }

    /// A number of `/api/stats`, by its JSON pointer.
    pub fn stat(&self, pointer: &str) -> u64 {
        let stats = self.admin("/api/stats").json();
        stats.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {stats}")).as_u64().unwrap()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.stat(&format!("/counters/{name}"))
    }

    /// A gauge of `/metrics` without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub fn post_form(&self, fields: &[(&str, &str)]) -> Answer {
        let body = form(fields);
        self.request("POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes())
    }

    pub fn post_json(&self, target: &str, body: &str) -> Answer {
        self.request("POST", target, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Gives the journal for `/api/why` its full size: it keeps 32,768 events, whatever the number of sessions.
    pub fn fill_journal(&self) {
        let rooms: Vec<String> = (0..100).map(|number| format!("empty-{number}")).collect();
        (0..330).for_each(|_| self.notify(&rooms.join(","), "x"));
    }

    /// Posts a correctly signed notification of source `demo`, which must be accepted.
    pub fn notify(&self, room_id: &str, data: &str) {
        let answer = self.post_form(&[
            ("source", "demo"),
            ("room_id", room_id),
            ("data", data),
            ("sign", &notify_sign("demo", room_id, data, KEY)),
        ]);
        assert_eq!(answer.body, r#"{"code":1,"msg":"message notify successed!","data":""}"#);
    }

    /// A client of source `demo` in these rooms.
    pub fn connect(&self, room_ids: &str) -> Client {
        self.connect_with(&[("room_ids", room_ids)])
    }

    /// A client whose query has these fields; `source`, `userid`, `username` and `sign` are filled in unless given.
    pub fn connect_with(&self, fields: &[(&str, &str)]) -> Client {
        let path = format!("/ws?{}", login(fields));
        Client::open(self.tcp(), &path).unwrap_or_else(|answer| panic!("refused: {answer:?}"))
    }

    /// The answer to a login that must be refused.
    pub fn refused(&self, query: &str) -> Answer {
        Client::open(self.tcp(), &format!("/ws?{query}")).expect_err("a refusal")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
        if thread::panicking() {
            eprintln!("the relay's log:\n{}", self.log().join("\n"));
        }
    }
}

/// The headers of a WebSocket upgrade, with the key of the example in RFC 6455 section 1.3.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

pub const FORM: &str = "application/x-www-form-urlencoded";

/// A file name that no other test uses, in the folder for temporary files (`TMPDIR`).
pub fn temp_file(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("relay-test-{}-{count}-{name}", std::process::id()))
}

/// A relay that cannot open a file whose path begins with `folder` while the file `gate` exists.
pub fn stuck(more: &str, folder: &Path, gate: &Path) -> Relay {
    let library = preload(
        "stuck",
        r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdarg.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        int open64(const char *path, int flags, ...) {
            int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
            va_list list;
            va_start(list, flags);
            int mode = va_arg(list, int);
            va_end(list);
            if (strncmp(path, getenv("STUCK"), strlen(getenv("STUCK"))) == 0)
                while (access(getenv("GATE"), F_OK) == 0) usleep(2000);
            return next(path, flags, mode);
        }"#,
    );
    let relay = Relay::start_with(more, |command| {
        command.env("LD_PRELOAD", &library).env("STUCK", folder).env("GATE", gate);
    });
    fs::remove_file(library).unwrap();
    relay
}

/// Compiles a library that replaces functions of libc.
pub fn preload(name: &str, source: &str) -> PathBuf {
    let library = temp_file(&format!("{name}.so"));
    let code = library.with_extension("c");
    fs::write(&code, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).arg("-ldl").status();
    assert!(built.unwrap().success());
    fs::remove_file(code).unwrap();
    library
}

/// Processor time that all threads of a process have used.
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map_while(Result::ok);
    tasks.map(|task| scheduled(&format!("{pid}/task/{}", task.file_name().display())).running).sum()
}

/// What the scheduler counts for a thread.
#[derive(Clone, Copy)]
struct Scheduled {
    running: Duration,
    /// It could have run, but another thread had the processor.
    waiting: Duration,
}

fn scheduled(thread: &str) -> Scheduled {
    // A thread may end between being listed and being looked at.
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|number| Duration::from_nanos(number.parse().unwrap()));
    Scheduled { running: numbers.next().unwrap_or_default(), waiting: numbers.next().unwrap_or_default() }
}

/// Runs `action` and returns how long it took, less the time in which the main threads of these processes or this
/// thread ran or waited for a processor. The rest is time asleep: a relay that waits for Redis or for a backend is asleep,
/// and a relay on a busy machine is not.
pub fn asleep(pids: &[u32], action: impl FnOnce()) -> Duration {
    let busy = || -> Duration {
        let threads = pids.iter().map(|pid| scheduled(&pid.to_string())).chain([scheduled("thread-self")]);
        threads.map(|thread| thread.running + thread.waiting).sum()
    };
    let (before, begin) = (busy(), Instant::now());
    action();
    let elapsed = begin.elapsed();
    elapsed.saturating_sub(busy() - before)
}

/// Calls `ask` until it returns something; panics after `PATIENCE`.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An answer, a frame or a packet without what it says beside the text that programs compare: `reason` and `explanation`.
pub fn plain(text: &str) -> String {
    let data = text.split_once(",\"data\":{\"reason\":");
    match data.or_else(|| text.split_once(",\"reason\":")) {
        Some((before, after)) => format!("{before}}}{}", if after.ends_with(']') { "]" } else { "" }),
        None => text.to_owned(),
    }
}

/// The same of a value.
pub fn plain_json(value: &Value) -> Value {
    let mut value = value.clone();
    for more in ["reason", "explanation"] {
        value.as_object_mut().unwrap().remove(more);
    }
    value
}

pub fn form(fields: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub fn connect_sign(source: &str, room_ids: &str, key: &str) -> String {
    to_hex(&Subject::Connect { source, userid: "", room_ids }.md5(key.as_bytes()))
}

pub fn notify_sign(source: &str, room_id: &str, data: &str, key: &str) -> String {
    to_hex(&Subject::Notify { source, room_id, data: data.as_bytes() }.md5(key.as_bytes()))
}

/// The query of a correctly signed login with these fields; the others are filled in.
pub fn login(fields: &[(&str, &str)]) -> String {
    let mut all: Vec<(&str, &str)> = fields.to_vec();
    let find =
        |name: &str, other: &'static str| fields.iter().find(|(key, _)| *key == name).map_or(other, |(_, value)| value);
    let (source, room_ids) = (find("source", "demo"), find("room_ids", "room"));
    let sign = connect_sign(source, room_ids, KEY);
    let defaults =
        [("source", source), ("room_ids", room_ids), ("userid", "7"), ("username", "spring"), ("sign", &sign)];
    for (name, value) in defaults {
        if !fields.iter().any(|(key, _)| *key == name) {
            all.push((name, value));
        }
    }
    form(&all)
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }
}

/// Writes a request with Host and, if there is a body or it is a POST, Content-Length.
pub fn send_request(stream: &mut impl Write, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: relay\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

/// Reads one answer by its Content-Length, so that the connection can be used again.
pub fn read_answer(stream: &mut impl Read, head_only: bool) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => panic!("{other:?} within {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: HashMap<_, _> = lines.filter_map(header).collect();
    let length = if head_only { 0 } else { headers.get("content-length").map_or(0, |length| length.parse().unwrap()) };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    // Bytes that are not UTF-8 as characters up to U+00FF.
    let body =
        String::from_utf8(body).unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect());
    Answer { status, headers, body }
}

/// Whether a signal interrupted a read: stopping and continuing a process does.
fn interrupted(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == ErrorKind::Interrupted)
}

/// A plain WebSocket client.
#[derive(Debug)]
pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

impl Client {
    /// Upgrades a connection; the error is the relay's answer.
    pub fn open(stream: TcpStream, path: &str) -> Result<Client, Answer> {
        match client(format!("ws://relay{path}"), stream) {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let headers =
                    answer.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
                Err(Answer {
                    status: answer.status().as_u16(),
                    headers: headers.collect(),
                    body: String::from_utf8(answer.body().clone().unwrap_or_default()).unwrap(),
                })
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// The next text or binary message or close.
    pub fn next(&mut self) -> Message {
        let begin = Instant::now();
        loop {
            match self.socket.read() {
                // The relay's pings keep the reads from timing out.
                Ok(Message::Ping(_) | Message::Pong(_)) => assert!(begin.elapsed() < PATIENCE, "nothing but pings"),
                Ok(message) => return message,
                Err(error) if interrupted(&error) => {}
                Err(error) => panic!("no message: {error}"),
            }
        }
    }

    pub fn text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?} is no text"),
        }
    }

    pub fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The data of the next message, which must be a `newMsg`.
    pub fn data(&mut self) -> Value {
        let message = self.json();
        assert_eq!(message["event"], "newMsg", "{message}");
        message["data"].clone()
    }

    /// The code of the close that must come next, whatever messages come before it.
    pub fn close_code(&mut self) -> u16 {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map_or(1005, |frame| frame.code.into()),
                Ok(_) => {}
                Err(error) if interrupted(&error) => {}
                Err(error) => panic!("no close: {error}"),
            }
        }
    }

    /// Asserts that nothing comes for [`SILENCE`].
    pub fn silence(&mut self) {
        self.socket.get_ref().set_read_timeout(Some(SILENCE)).unwrap();
        match self.socket.read() {
            Err(tungstenite::Error::Io(_)) => {}
            other => panic!("{other:?} should not have come"),
        }
        self.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    }
}
