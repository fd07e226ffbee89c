//! docs/protocol.md, Limits: every limit, what a client that reaches it sees, and that other clients are not affected.

mod bodies;
mod connections;
mod heads;
mod others;
mod rates;
mod rooms;
mod unsent;

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{Answer, TOKEN, UPGRADE, read_answer, send_request};

/// Sends a request on a connection that stays open.
fn ask(stream: &mut TcpStream, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send_request(stream, method, target, headers, body);
    read_answer(stream, false)
}

/// The number of clients, with or without a namespace.
fn clients(stream: &mut TcpStream) -> u64 {
    let metrics = ask(stream, "GET", "/metrics", &[("Authorization", &format!("Bearer {TOKEN}"))], b"").body;
    let number = metrics.lines().find_map(|line| line.strip_prefix("relay_clients ")).unwrap();
    number.parse().unwrap()
}

const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Makes a connection a WebSocket without anything around it, for tests with thousands.
fn upgrade(mut stream: TcpStream, query: &str) -> TcpStream {
    send_request(&mut stream, "GET", &format!("/ws?{query}"), &UPGRADE, b"");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut part = [0; 512];
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "refused: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// Hangs up, or resets.
fn leave(stream: TcpStream, reset: bool) {
    if reset {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Asks for the statistics on a connection that is there already.
fn ask_stats(stream: &mut TcpStream) -> Value {
    send_request(stream, "GET", "/api/stats", &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
    read_answer(stream, false).json()
}

/// Asserts that an answer has this status and the shape of every refusal, and that the connection ends.
fn assert_refused(text: &str, status: u16) {
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{status} was wanted: {text:?}");
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["code"], &body["data"]), (&json!(0), &json!("")), "{body}");
}

fn count(stream: &mut TcpStream, counter: &str) -> u64 {
    ask_stats(stream)["counters"][counter].as_u64().unwrap()
}

/// Writes `parts` again and again until the kernel takes no more. Returns the number of bytes written.
fn fill(mut stream: &TcpStream, parts: &[u8]) -> usize {
    let mut sent = 0;
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.write(&parts[sent % parts.len()..]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}
