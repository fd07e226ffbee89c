//! What relay costs when nothing happens: itself, and each session.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use relay::server::process::raise_descriptors;

use crate::support::{
    KEY, Relay, UPGRADE, connect_sign, form, send_request,
    websocket::{TEXT, frame},
};

#[test]
fn an_idle_relay() {
    let relay = Relay::start("");
    assert_eq!(relay.get("/healthz").status, 200);
    // Without the pages of its file, which are shared and depend on how it was compiled.
    let own = status(&relay, "RssAnon:");
    assert!(own < 1024 * 1024, "an idle relay has {own} bytes");
}

/// Sessions with all that a page tells of itself, each of which has spoken and has been spoken to.
#[test]
fn an_idle_session() {
    const MOST: usize = 450;
    let count = 8000.min(raise_descriptors().saturating_sub(500)) as usize;
    assert!(count >= 400, "there are not enough descriptors to measure anything");
    let relay = Relay::start("");
    let mut sessions: Vec<TcpStream> = (0..200).map(|number| connect(&relay, number)).collect();
    speak_all(&relay, &mut sessions, "hello");
    relay.fill_journal();
    let before = rss(&relay);

    sessions.extend((200..200 + count).map(|number| connect(&relay, number)));
    speak_all(&relay, &mut sessions, "hello");
    let after = rss(&relay);
    let each = after.saturating_sub(before) / count;
    eprintln!("{each} bytes a session");
    assert!(each <= MOST, "an idle session costs {each} bytes");
    assert_eq!(relay.stat("/sessions"), sessions.len() as u64);
    assert_eq!(relay.stat("/rooms"), 50);

    // What a large message needed is given back.
    speak_all(&relay, &mut sessions, &"x".repeat(8000));
    let large = rss(&relay);
    eprintln!("{after} bytes, and {large} after large messages");
    assert!(large <= after + after / 20, "{after} bytes before large messages, {large} after");
}

/// A plain WebSocket session without anything around it here.
fn connect(relay: &Relay, number: usize) -> TcpStream {
    let room = format!("room-{}", number % 50);
    let (userid, username) = (number.to_string(), format!("visitor {number}"));
    let sign = connect_sign("demo", &room, KEY);
    let query =
        form(&[("source", "demo"), ("room_ids", &room), ("userid", &userid), ("username", &username), ("sign", &sign)]);
    let agent = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0");
    let headers = [&UPGRADE[..], &[agent]].concat();
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &format!("/ws?{query}"), &headers, b"");
    let answer = read(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    stream
}

/// Every session sends a message to a room where nobody is and reads that it was taken; then each room gets one.
fn speak_all(relay: &Relay, sessions: &mut [TcpStream], data: &str) {
    let text = format!(r#"{{"event":"postMsg","data":"{data}","room_ids":"nobody","ack":1}}"#);
    let frame = frame(TEXT, text.as_bytes());
    for session in &mut *sessions {
        session.write_all(&frame).unwrap();
        let answer = read(session);
        assert!(answer.contains(r#""event":"ack","ack":1,"code":1"#), "{answer}");
    }
    for room in 0..50 {
        relay.notify(&format!("room-{room}"), "to all");
    }
    for session in sessions {
        let message = read(session);
        assert!(message.contains(r#""data":"to all""#), "{message}");
    }
}

/// What one read brings: answers and messages here are small and come one at a time.
fn read(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Memory in use, in bytes.
fn rss(relay: &Relay) -> usize {
    status(relay, "VmRSS:")
}

/// A number of bytes from the kernel's status of the process.
fn status(relay: &Relay, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
