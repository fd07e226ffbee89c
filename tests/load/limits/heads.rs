//! How large the head of a request may be.

use std::{
    io::{Read, Write},
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use super::assert_refused;
use crate::support::{FORM, KEY, Relay, form, notify_sign, read_answer, send_request};

#[test]
fn request_head() {
    let relay = Relay::start("[limits]\nrequest_head = 1000");
    let request = |bytes: usize| {
        let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "a".repeat(bytes - head.len())))
    };
    assert!(relay.raw(request(1000)).starts_with("HTTP/1.1 200 "));
    for bytes in [1001, 100_000] {
        assert_refused(&relay.raw(request(bytes)), 431);
    }
    assert_refused(&relay.raw("GET /".to_owned() + &"a".repeat(1000)), 431);
    assert_eq!(relay.counter("bad_requests"), 3);
}

#[test]
fn request_headers() {
    let relay = Relay::start("[limits]\nrequest_headers = 10");
    let request = |lines: usize| {
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", "A: b\r\n".repeat(lines - 2))
    };
    assert!(relay.raw(request(10)).starts_with("HTTP/1.1 200 "));
    assert_refused(&relay.raw(request(11)), 431);
}

/// `request_timeout` is for the head as a whole: a byte now and then does not extend it.
#[test]
fn request_timeout() {
    let relay = Relay::start("[limits]\nrequest_timeout = 0.3");
    assert_refused(&relay.raw("GET / HTTP/1.1\r\nHo"), 408);

    let mut slow = relay.tcp();
    let mut drops = slow.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        while drops.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(30))
        }
    });
    let mut text = String::new();
    let _ = slow.read_to_string(&mut text);
    assert_refused(&text, 408);
    let _ = slow.shutdown(Shutdown::Both);
    dripping.join().unwrap();

    let body = "POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsource=";
    assert_refused(&relay.raw(body), 408);

    let silent = relay.raw("");
    assert!(silent.is_empty() || silent.starts_with("HTTP/1.1 408 "), "who says nothing is let go: {silent}");
}

/// The second request on a connection has the same time, not that of an idle connection.
#[test]
fn request_timeout_of_the_second_request() {
    let relay = Relay::start("[limits]\nrequest_timeout = 0.3\nkeep_alive = 60");
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    assert_eq!(read_answer(&mut stream, false).status, 200);
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_refused(&text, 408);
}

/// A body may take longer, as long as it keeps coming.
#[test]
fn a_body_may_be_slow_if_it_comes() {
    // A sixth of the time between two pieces, so that a pause of the machine's own does not matter; the whole takes
    // longer.
    let (timeout, pause) = (Duration::from_secs(3), Duration::from_millis(500));
    let relay = Relay::start(&format!("[limits]\nrequest_timeout = {}", timeout.as_secs()));
    let (data, sign) = ("x".repeat(8), notify_sign("demo", "room", &"x".repeat(8), KEY));
    let body = form(&[("source", "demo"), ("room_id", "room"), ("sign", &sign), ("data", &data)]);
    let mut stream = relay.tcp();
    let head = format!(
        "POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let begin = Instant::now();
    for piece in body.as_bytes().chunks(body.len() / 7) {
        thread::sleep(pause);
        stream.write_all(piece).unwrap();
    }
    assert!(begin.elapsed() > timeout);
    assert_eq!(read_answer(&mut stream, false).json()["code"], 1);
}

/// An idle connection is closed without an answer. One that is used now and then is not, nor is a WebSocket.
#[test]
fn keep_alive() {
    let relay = Relay::start("[limits]\nkeep_alive = 2");
    let mut client = relay.connect("room");
    let (mut idle, mut active) = (relay.tcp(), relay.tcp());
    send_request(&mut idle, "GET", "/healthz", &[], b"");
    assert_eq!(read_answer(&mut idle, false).status, 200);
    for _ in 0..8 {
        send_request(&mut active, "GET", "/healthz", &[], b"");
        assert_eq!(read_answer(&mut active, false).status, 200);
        thread::sleep(Duration::from_millis(400));
    }
    for mut stream in [idle, active] {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    }
    relay.notify("room", "still here");
    assert_eq!(client.data(), "still here");
}
