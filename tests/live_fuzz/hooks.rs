//! A hostile backend: answers to hooks that are mutated as JSON and as HTTP, come in pieces, late, or never.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

use crate::{
    http::chunks,
    journal::Journal,
    random::Random,
    run::{Fuzz, Plan},
    samples::{ROOMS, VALUES},
    websocket::{frames, upgrade},
    wire::Case,
};

/// The relay gives up a call after this.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Clients that cause calls.
const CLIENTS: u64 = 8;

/// Objects in the body of an answer; several are merged.
const ANSWERS: [&str; 12] = [
    "\"allow\":true",
    "\"allow\":false,\"error\":\"no\"",
    "\"allow\":null",
    "\"error\":\"allow\"",
    "\"userid\":\"9\",\"username\":\"li\"",
    "\"ack\":[1,{\"_base64\":\"AP8=\"}]",
    "\"emit\":[{\"event\":\"news\",\"args\":[1],\"to\":{\"room\":\"a\",\"nsp\":\"/\"}}]",
    "\"emit\":{\"event\":\"news\",\"to\":{\"nsp\":\"/hook\"}}",
    "\"emit\":[{\"event\":\"news\",\"args\":[{\"_base64\":\"AP8=\"}],\"to\":{\"socket_id\":\"x\"}},{\"event\":\"b\",\"to\":\"self\"}]",
    "\"join\":[\"a\",\"b\"],\"leave\":\"c,d\"",
    "\"join\":\"a,b,c\"",
    "\"disconnect\":true",
];

/// Fuzzes the answers of the backend.
pub fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fuzz =
        Fuzz::start("hooks", &config(&listener), &["logins", "hook_calls", "hook_retries", "hook_failures", "emitted"]);
    let (plan, cases, journal) = (fuzz.plan.clone(), fuzz.cases.clone(), fuzz.journal.clone());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let backend = Backend { plan: plan.clone(), cases: cases.clone(), journal: journal.clone() };
            thread::spawn(move || backend.serve(stream));
        }
    });
    let clients = (0..CLIENTS).map(|client| {
        let (plan, addr) = (fuzz.plan.clone(), fuzz.relay.addr);
        thread::spawn(move || {
            let (journal, mut left, mut number) = (Journal::default(), Vec::new(), client << 32);
            while !plan.is_over() {
                number += 1;
                let random = Random::new(plan.seed, number);
                call(&mut Case { number, random, rarity: 0, addr, journal: &journal, left: &mut left, layer: None });
            }
        })
    });
    let clients = clients.collect();
    fuzz.finish(clients);
}

fn config(listener: &TcpListener) -> String {
    format!(
        "[hooks]\nurl = \"http://{}/\"\nsecret = \"s3cret\"\ntimeout = {}\n\
         [namespaces.\"/hook\"]\nauth = \"hook\"\nsource = \"demo\"\njoin = true\n\
         rules = [{{ event = \"*\", send = \"hook\", ack = \"hook\" }}]\n",
        listener.local_addr().unwrap(),
        TIMEOUT.as_secs_f64()
    )
}

/// A client that logs in and sends events, as a page does.
fn call(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    let rooms = case.random.pick(&["a", "a,b", ""]);
    upgrade(case, &mut wire, &format!("/ws?nsp=/hook&room_ids={rooms}&userid=7&x=1"))?;
    for number in 0..case.random.length(20) {
        let text = format!("{{\"event\":\"ask\",\"data\":{number},\"ack\":{number}}}");
        let bytes = frames(case, true, text.into_bytes());
        wire.send(case, "event", &bytes)?;
        wire.skim()?;
    }
    case.end(wire);
    Some(())
}

struct Backend {
    plan: Plan,
    cases: Arc<AtomicU64>,
    journal: Journal,
}

impl Backend {
    /// Answers the requests of one connection, until an answer ends it.
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        while read_request(&mut stream).is_some() {
            // Five failures in a row keep the relay from calling for a while: every other answer is well-formed.
            let sent = match self.plan.next(&self.cases) {
                Some(number) => self.answer(number, &mut stream),
                None => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok(),
            };
            if sent.is_none() {
                return;
            }
        }
    }

    /// Sends a mutated answer. `None` if the connection is over.
    fn answer(&self, number: u64, stream: &mut TcpStream) -> Option<()> {
        let addr = stream.local_addr().ok()?;
        let random = Random::new(self.plan.seed, number);
        let case =
            &mut Case { number, random, rarity: 1, addr, journal: &self.journal, left: &mut Vec::new(), layer: None };
        let mut bytes = response(case);
        let regular = number.is_multiple_of(2);
        if !regular {
            let other = bytes.clone();
            case.mutate(&mut bytes, &other, 2);
        }
        self.journal.add(number, "answer", &bytes);
        let cut = if case.random.once_in(2) { bytes.len() } else { case.random.below(bytes.len() + 1) };
        stream.write_all(&bytes[..cut]).ok()?;
        if cut < bytes.len() {
            thread::sleep(Duration::from_millis(1));
            stream.write_all(&bytes[cut..]).ok()?;
        }
        match case.random.below(40) {
            _ if regular => Some(()),
            // Longer than the relay waits, if the answer is not complete.
            0 => {
                thread::sleep(TIMEOUT * 2);
                None
            }
            // It ends the body of an answer without a length.
            1..20 => None,
            _ => Some(()),
        }
    }
}

/// Reads a request of the relay, which is well-formed.
fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head");
    let length = head.split_once("Content-Length: ").expect("a length").1.lines().next()?.parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()
}

/// A response, whose body may be mutated before its length is written.
fn response(case: &mut Case) -> Vec<u8> {
    let fields: Vec<_> = (0..case.random.below(4)).map(|_| case.random.pick(&ANSWERS)).collect();
    let more = format!("\"x\":{}", case.random.pick(&VALUES));
    let rooms: Vec<_> = (0..case.random.length(200)).map(|_| format!("\"{}\"", case.random.pick(&ROOMS))).collect();
    let rooms = format!("\"join\":[{}]", rooms.join(","));
    let more = if case.random.once_in(8) { &rooms } else { &more };
    let mut body = format!("{{{}}}", [&fields[..], &[more]].concat().join(",")).into_bytes();
    case.mutate(&mut body, b"[{\"event\":\"e\",\"args\":[[[[]]]]}]", 2);
    let regular = case.number.is_multiple_of(2);
    let status = if regular { "200" } else { case.random.pick(&["200", "204", "404", "503", "302", "101"]) };
    let interim =
        case.random.pick(&["", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]);
    let interim = interim.repeat(if regular { 1 } else { case.random.length(12) });
    let connection = case.random.pick(&["keep-alive", "close", "x, close"]);
    let head = format!("{interim}HTTP/1.1 {status} OK\r\nConnection: {connection}\r\n");
    let chunked = case.random.once_in(3);
    if !chunked {
        return [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    }
    let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    chunks(case, &body, &mut bytes);
    bytes
}
