//! Servers that misbehave: a run must end by itself, with an error message and without a panic.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use relay_bench::member::ACCEPT;

use crate::{bench, faults::text_frame};

/// A server that calls `with` for every connection that has sent something.
pub fn hostile(with: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                    with(stream);
                }
            });
        }
    });
    addr
}

/// Accepts a WebSocket and sends more bytes right away.
fn accept(stream: &mut TcpStream, more: &[u8]) {
    let head = format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), more].concat());
}

#[test]
fn hostile_servers() {
    // Accepts every client and closes its connection.
    let ejecting = hostile(|mut stream| accept(&mut stream, b"\x88\x02\x03\xf5"));
    let ran = bench(&format!("connect --members 40 --timeout 5 --addr {ejecting}"));
    assert!(ran.code == 1 && ran.err.contains("closed with 1013"), "{} {}", ran.out, ran.err);
    let later = hostile(|mut stream| {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        if SEEN.fetch_add(1, Ordering::Relaxed) == 0 {
            accept(&mut stream, b"");
            thread::sleep(Duration::from_secs(30));
        }
        accept(&mut stream, b"\x88\x02\x03\xf5");
    });
    let ran = bench(&format!("connect --members 40 --concurrency 1 --timeout 5 --json --addr {later}"));
    assert_eq!((ran.code, &ran.json()["closed"]), (1, &40.into()), "{} {}", ran.out, ran.err);
    // Announces a ping interval far in the future.
    let patient = hostile(|mut stream| {
        let welcome = "0{\"sid\":\"s\",\"pingInterval\":18446744073709551615}";
        accept(&mut stream, &[text_frame(welcome), text_frame("40")].concat());
        thread::sleep(Duration::from_secs(30));
    });
    let ran = bench(&format!("connect --client sio3 --members 2 --timeout 5 --json --addr {patient}"));
    assert!(ran.code == 0 && ran.err.is_empty(), "{} {}", ran.out, ran.err);
    // Never stops sending: before it accepts a client, with small messages, and with an endless message.
    type Flood = (fn(TcpStream), &'static str);
    let floods: [Flood; 4] = [
        (|stream| flood(stream, b"HTTP/1.1 200 x\r\nx: "), "ws"),
        (|stream| flood(stream, b"HTTP/1.1 200 x\r\nx: "), "polling4"),
        (
            |mut stream| {
                accept(&mut stream, b"");
                flood(stream, &text_frame("x").repeat(100_000));
            },
            "ws",
        ),
        (
            |mut stream| {
                accept(&mut stream, b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff");
                flood(stream, b"");
            },
            "ws",
        ),
    ];
    for (index, (with, client)) in floods.into_iter().enumerate() {
        let ran =
            bench(&format!("fan-out --client {client} --members 1 --messages 5 --timeout 3 --addr {}", hostile(with)));
        assert!(ran.code == 1 && !ran.err.contains("panicked"), "{index}: {} {}", ran.out, ran.err);
    }
}

fn flood(mut stream: TcpStream, begin: &[u8]) {
    let filler = vec![b'y'; 1 << 20];
    let part = if begin.len() > filler.len() / 8 { begin } else { &filler };
    let _ = stream.write_all(begin);
    while stream.write_all(part).is_ok() {}
}

#[test]
fn redirections_are_not_followed() {
    let moved = hostile(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1:80/\r\nContent-Length: 0\r\n\r\n");
        thread::sleep(Duration::from_secs(10));
    });
    for line in ["fan-out --members 1", "fan-out --members 1 --client polling4", "ingest --stall 1", "connect"] {
        let ran = bench(&format!("{line} --seconds 0.1 --timeout 5 --addr {moved}"));
        assert!(ran.code == 1 && (ran.out + &ran.err).contains("302"), "{line}: {}", ran.err);
    }
}
