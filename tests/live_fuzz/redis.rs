//! A hostile Redis: replies that are mutated, have the wrong type or are malformed, and publications with mutated content.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use relay::{
    redis::{Reader, resp},
    sign::Subject,
};

use crate::{
    journal::Journal,
    mutate::mutate,
    random::Random,
    run::{Fuzz, Plan},
    samples::{NAMESPACES, md5},
    support::{TOKEN, login, send_request},
    websocket::{frames, upgrade},
    wire::Case,
};

/// Publications of relays, old servers and backends. `%` stands for a number.
const PUBLICATIONS: [&str; 16] = [
    r#"{"source":"demo","data":{"b":1},"room_id":"a,b","from_sys":true,"id":"1km9g41o7vkabc123","seq":%,"node":"abc123"}"#,
    r#"{"source":"demo","data":{"_base64":"AP8="},"room_id":["a",7],"from_sys":1,"binary":true,"filename":"x"}"#,
    r#"{"source":"demo","data":"x","room_id":"a","sign":"SIGN"}"#,
    r#"{"sys_info":true,"key":"system_start","log_file":"/x","app_config":{"env":1}}"#,
    r#"{"do":"hello","last":%,"seq":%,"node":"abc123"}"#,
    r#"{"do":"bye","last":%,"seq":0,"node":"abc124"}"#,
    r#"{"do":"refresh","to":"room","source":"demo","name":"a","seq":%,"node":"abc123"}"#,
    r#"{"do":"refresh","to":"prefixed","name":"demoa","seq":%,"node":"abc123"}"#,
    r#"{"do":"disconnect","source":"demo","userid":"8","seq":%,"node":"abc123"}"#,
    r#"{"do":"disconnect","source":"demo","socket_id":"AAAAAQAAAADkSdxNK6yHFzU54QI","seq":%,"node":"abc123"}"#,
    r#"{"do":"emit","source":"demo","nsp":"/chat","to":"rooms","names":["a","b"],"event":"e","args":[{"_base64":"AP8="}],"binary":true,"re":%,"ack":true,"seq":%,"node":"abc123"}"#,
    r#"{"do":"emit","source":"demo","nsp":"/","to":"all","names":[],"event":"e","args":[1],"volatile":true,"seq":%,"node":"abc%"}"#,
    r#"{"do":"find","source":"demo","nsp":"/chat","name":"7","re":%,"node":"abc123"}"#,
    r#"{"do":"found","re":%,"sessions":%,"node":"abc123"}"#,
    r#"{"do":"ack","re":%,"args":[1,{"_base64":"AP8="}],"binary":true,"node":"abc123"}"#,
    r#"{"do":"try","node":"abc123"}"#,
];

/// Replies of every type, whatever the command.
const REPLIES: [&[u8]; 16] = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b"-NOPERM no\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b":0\r\n",
    b":9223372036854775807\r\n",
    b":-1\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$3\r\nabc\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$2\r\n{}\r\n$1\r\nb\r\n$-1\r\n",
    b"*2\r\n$2\r\n17\r\n*2\r\n$6\r\nabc123\r\n$16\r\n{\"uptime\":1,\"x\":}\r\n",
    b"*3\r\n*1\r\n:1\r\n*2\r\n$-1\r\n+x\r\n:2\r\n",
    b"*4\r\n$6\r\nabc123\r\n$2\r\n{}\r\n$6\r\nabc124\r\n$0\r\n\r\n",
];

/// Fuzzes what Redis sends.
pub fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let config = format!("[redis]\nurl = \"{url}\"\nheartbeat = 1\n{NAMESPACES}");
    let fuzz = Fuzz::start(
        "redis",
        &config,
        &["redis_published", "redis_received", "redis_refused", "redis_connects", "redis_errors"],
    );
    let (plan, cases, journal) = (fuzz.plan.clone(), fuzz.cases.clone(), fuzz.journal.clone());
    let connections = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            let server = Server { plan: plan.clone(), cases: cases.clone(), journal: journal.clone(), number };
            thread::spawn(move || server.serve(stream));
        }
    });
    let clients = (0..4).map(|client| {
        let (plan, addr) = (fuzz.plan.clone(), fuzz.relay.addr);
        thread::spawn(move || come_and_go(&plan, addr, client << 32))
    });
    let clients = clients.collect();
    fuzz.finish(clients);
}

/// Clients that keep to the protocol: they cause records, publications and look-ups.
fn come_and_go(plan: &Plan, addr: SocketAddr, mut number: u64) {
    let (journal, mut left) = (Journal::default(), Vec::new());
    while !plan.is_over() {
        number += 1;
        let random = Random::new(plan.seed, number);
        let _ = visit(&mut Case { number, random, rarity: 0, addr, journal: &journal, left: &mut left, layer: None });
    }
}

fn visit(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    if case.random.once_in(4) {
        let path = case.random.pick(&["online", "users", "today", "stats"]);
        let mut request = Vec::new();
        send_request(&mut request, "GET", &format!("/api/{path}?source=demo&token={TOKEN}"), &[], b"");
        wire.send(case, "look-up", &request)?;
        wire.answer()?;
        return Some(());
    }
    let nsp = case.random.pick(&["/", "/chat"]);
    let query = login(&[("room_ids", "a,b"), ("userid", case.random.pick(&["7", "8"])), ("nsp", nsp)]);
    upgrade(case, &mut wire, &format!("/ws?{query}"))?;
    for _ in 0..case.random.length(10) {
        let text = case.random.pick(&[
            r#"{"event":"postMsg","data":"x","room_ids":"a"}"#,
            r#"{"event":"call","data":{"userId":"9"},"ack":1}"#,
            r#"{"event":"all","data":1}"#,
        ]);
        let bytes = frames(case, true, text.into());
        wire.send(case, "message", &bytes)?;
        wire.skim()?;
    }
    case.end(wire);
    Some(())
}

/// One connection of the relay.
struct Server {
    plan: Plan,
    cases: Arc<AtomicU64>,
    journal: Journal,
    number: u64,
}

impl Server {
    /// Answers commands, and publishes to a subscriber.
    fn serve(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        // The relay waits longer before each new connection, unless the last one worked for five seconds.
        let sound = Duration::from_millis(if self.number < 8 { 200 } else { 5200 });
        let begin = Instant::now();
        let (mut reader, mut buffer, mut channels) = (Reader::new(1 << 24), [0; 65536], Vec::new());
        loop {
            let length = match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return,
            };
            let (mut input, mut output) = (&buffer[..length], Vec::new());
            while let Some(command) = reader.poll(&mut input).expect("the relay's commands are well-formed") {
                let parts: Vec<Vec<u8>> = command
                    .array()
                    .into_iter()
                    .flatten()
                    .map(|part| part.bytes().unwrap_or_default().to_vec())
                    .collect();
                if parts[0] == b"SUBSCRIBE" {
                    channels = parts[1..].to_vec();
                }
                self.reply(&parts, begin.elapsed() > sound, &mut output);
            }
            if !channels.is_empty() {
                self.publish(&channels, begin.elapsed() > sound, &mut output);
            }
            if stream.write_all(&output).is_err() {
                return;
            }
        }
    }

    /// The next case, unless the run is over: then Redis is well-behaved.
    fn case(&self) -> Option<(u64, Random)> {
        let number = self.plan.next(&self.cases)?;
        Some((number, Random::new(self.plan.seed, number)))
    }

    /// The reply to a command. One of another type, or of another value, keeps the connection; `malformed` ones may end it.
    fn reply(&self, parts: &[Vec<u8>], malformed: bool, out: &mut Vec<u8>) {
        let handshake = matches!(&*parts[0], b"SUBSCRIBE" | b"CLIENT" | b"SELECT") || !malformed && parts[0] == b"PING";
        let mut bytes = valid(parts);
        if !handshake && let Some((number, mut random)) = self.case() {
            if random.once_in(2) {
                bytes = random.pick(&REPLIES).to_vec();
            }
            if malformed && random.once_in(8) {
                mutate(&mut bytes, random.pick(&REPLIES), &mut random);
            }
            self.journal.add(number, "reply", &bytes);
        }
        out.extend_from_slice(&bytes);
    }

    /// Publications with mutated content. `malformed` ones are mutated as bytes as well.
    fn publish(&self, channels: &[Vec<u8>], malformed: bool, out: &mut Vec<u8>) {
        for _ in 0..8 {
            let Some((number, mut random)) = self.case() else { return };
            let sign = md5(&Subject::Notify { source: "demo", room_id: "a", data: b"x" });
            let text = random.pick(&PUBLICATIONS).replace('%', &random.below(1000).to_string()).replace("SIGN", &sign);
            let mut payload = text.into_bytes();
            if random.once_in(2) {
                mutate(&mut payload, random.pick(&PUBLICATIONS).as_bytes(), &mut random);
            }
            let channel = &channels[random.below(channels.len())];
            let mut bytes = Vec::new();
            resp::command(&mut bytes, &[b"message", channel, &payload]);
            if malformed && random.once_in(8) {
                mutate(&mut bytes, random.pick(&REPLIES), &mut random);
            }
            self.journal.add(number, "publication", &bytes);
            out.extend_from_slice(&bytes);
        }
    }
}

/// What Redis would reply, if it had nothing stored.
fn valid(parts: &[Vec<u8>]) -> Vec<u8> {
    match &*parts[0] {
        b"PING" => b"+PONG\r\n".to_vec(),
        b"SUBSCRIBE" => {
            let mut out = Vec::new();
            for (number, channel) in parts[1..].iter().enumerate() {
                out.extend_from_slice(format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n", channel.len()).as_bytes());
                out.extend_from_slice(channel);
                out.extend_from_slice(format!("\r\n:{}\r\n", number + 1).as_bytes());
            }
            out
        }
        b"CLIENT" | b"SELECT" | b"SET" => b"+OK\r\n".to_vec(),
        b"GET" | b"GETSET" | b"HGET" => b"$-1\r\n".to_vec(),
        b"HGETALL" => b"*0\r\n".to_vec(),
        b"HSCAN" => b"*2\r\n$1\r\n0\r\n*0\r\n".to_vec(),
        b"PUBSUB" => b"*2\r\n$1\r\nx\r\n:1\r\n".to_vec(),
        _ => b":1\r\n".to_vec(),
    }
}
