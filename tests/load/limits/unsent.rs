//! How much may wait for a client that reads slowly.

use std::{io::Write, net::TcpStream, time::Instant};

use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use tungstenite::Message;

use super::{SIGCONT, SIGSTOP, upgrade};
use crate::support::{
    Client, FORM, KEY, PATIENCE, Relay, form, login, notify_sign, read_answer, send_request, wait_for,
    websocket::{TEXT, frame},
};

/// A peer that does not read costs its `unsent` and less than 256 KiB in the kernel; then it is closed and counted. The
/// others get everything in order, and its `user_quit`. When it reads at last, it gets whole messages without a gap,
/// and the close with its code.
#[test]
fn slow_reader_is_closed_with_1013() {
    const UNSENT: usize = 65536;
    let relay = Relay::start(&format!("[history]\nslow = \"close\"\n[limits]\nunsent = {UNSENT}"));
    let mut good = relay.connect("room");
    let query = login(&[("username", "snail"), ("watch_quit", "1")]);
    let mut slow = Client::open(small_tcp(&relay), &format!("/ws?{query}")).unwrap();
    let received = SockRef::from(slow.socket.get_ref()).recv_buffer_size().unwrap();

    let data = |number: usize| format!("{number:04} {}", "x".repeat(16 * 1024 - 5));
    let mut published = 0;
    while relay.counter("slow_consumers") == 0 {
        relay.notify("room", &data(published));
        assert_eq!(good.data(), data(published));
        published += 1;
        assert!(published < 1000, "a client that never reads is never closed");
    }
    let bytes = published * data(0).len();
    assert!(bytes < UNSENT + 256 * 1024 + received, "the kernel holds {bytes} bytes less {UNSENT} and {received}");
    assert!(bytes > UNSENT, "it was closed after only {bytes} bytes");
    assert_eq!(good.data(), json!({"username": "snail", "key": "user_quit", "msg": "snail退出群聊"}));
    assert_eq!(relay.stat("/sessions"), 1);

    relay.notify("room", "more");
    assert_eq!(good.data(), "more");

    let mut read = 0;
    let close = loop {
        match slow.next() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("a whole message");
                assert_eq!(message["data"], data(read));
                read += 1;
            }
            Message::Close(frame) => break frame.expect("a code"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1013);
    assert!(read > 0 && read < published, "{read} of {published}");
    assert_eq!(relay.counter("slow_consumers"), 1);
    wait_for("its connection to end", || (relay.stat("/connections") == 2).then_some(()));
}

/// A client that never reads its acknowledgements, too.
#[test]
fn a_slow_consumer_of_acknowledgements() {
    let relay = Relay::start("[limits]\nunsent = 4096\nmessage_rate = 0");
    let mut slow = small_tcp(&relay);
    slow.set_write_timeout(Some(PATIENCE)).unwrap();
    slow = upgrade(slow, &login(&[]));
    let pings = frame(TEXT, br#"{"event":"ping","ack":"................................"}"#).repeat(100);
    let begin = Instant::now();
    while relay.counter("slow_consumers") == 0 {
        assert!(begin.elapsed() < PATIENCE, "who never reads its acknowledgements is never closed");
        let _ = slow.write_all(&pings);
    }
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
}

/// One message may be larger than all that may wait: a reader that keeps up gets it.
#[test]
fn a_message_larger_than_unsent() {
    let relay = Relay::start("[limits]\nunsent = 4096");
    let mut client = relay.connect("room");
    for letter in ["a", "b", "c"] {
        let data = letter.repeat(300_000);
        relay.notify("room", &data);
        assert!(client.data() == data.as_str(), "it came as it was sent");
    }
    assert_eq!(relay.counter("slow_consumers"), 0);
}

/// Large notifications that come in one turn, together more than may wait for a client, do not make one look slow whose
/// kernel has room for the rest.
#[test]
fn a_burst_of_large_notifications() {
    let relay = Relay::start("[limits]\nunsent = 200_000");
    let mut readers: Vec<Client> = (0..3).map(|_| relay.connect("room")).collect();
    let mut posters: Vec<TcpStream> = (0..3).map(|_| relay.tcp()).collect();
    for round in 0..5 {
        relay.signal(SIGSTOP);
        for (number, poster) in posters.iter_mut().enumerate() {
            let data = format!("{round}{number}{}", "x".repeat(100_000));
            let sign = notify_sign("demo", "room", &data, KEY);
            let body = form(&[("source", "demo"), ("room_id", "room"), ("data", &data), ("sign", &sign)]);
            send_request(poster, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
        }
        relay.signal(SIGCONT);
        for poster in &mut posters {
            assert_eq!(read_answer(poster, false).json()["code"], 1);
        }
        for reader in &mut readers {
            let mut seen: Vec<String> = (0..3).map(|_| reader.data().as_str().unwrap()[..2].to_owned()).collect();
            seen.sort();
            assert_eq!(seen, (0..3).map(|number| format!("{round}{number}")).collect::<Vec<_>>());
        }
    }
    assert_eq!(relay.counter("slow_consumers"), 0);
}

/// A connection whose kernel takes little for it.
fn small_tcp(relay: &Relay) -> TcpStream {
    let socket = Socket::new(Domain::for_address(relay.addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&relay.addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
