//! How many messages a client may send in a second.

use std::{io::Write, thread, time::Duration};

use serde_json::json;

use crate::support::{
    Relay, wait_for,
    websocket::{TEXT, frame},
};

#[test]
fn message_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\nmessage_burst = 5");
    let (mut flooder, mut other) = (relay.connect("flood"), relay.connect("flood"));
    let all: Vec<u8> = (0..20)
        .flat_map(|number| frame(TEXT, format!(r#"{{"data":{number},"room_ids":"flood"}}"#).as_bytes()))
        .collect();
    flooder.socket.get_mut().write_all(&all).unwrap();
    for number in 0..5 {
        assert_eq!((flooder.data(), other.data()), (json!(number), json!(number)));
    }
    for _ in 5..20 {
        assert_eq!(flooder.json(), json!({"event": "sys_error", "msg": "message rate limit exceeded!"}));
    }
    assert_eq!(relay.counter("rate_limited"), 15);
    // An acknowledgement carries the refusal, too, and after a while a message is allowed again.
    flooder.send(r#"{"event":"ping","ack":7}"#);
    let refused = json!({"event": "ack", "ack": 7, "code": 0, "msg": "message rate limit exceeded!", "data": ""});
    let allowed = json!({"event": "ack", "ack": 7, "code": 1, "msg": "", "data": ""});
    let first = flooder.json();
    assert!(first == refused || first == allowed, "{first}");
    wait_for("the rate to be earned", || {
        thread::sleep(Duration::from_millis(100));
        flooder.send(r#"{"event":"ping","ack":7}"#);
        (flooder.json() == allowed).then_some(())
    });
    other.send(r#"{"data":"others have their own","room_ids":"flood"}"#);
    assert_eq!(other.data(), "others have their own");
}

/// Text clients have no frame for an error, so they are closed.
#[test]
fn message_rate_of_text_clients() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\nmessage_burst = 5");
    let mut flooder = relay.connect_with(&[("format", "text")]);
    flooder.socket.get_mut().write_all(&frame(TEXT, b"x").repeat(20)).unwrap();
    for _ in 0..5 {
        assert_eq!(flooder.text(), "x");
    }
    assert_eq!(flooder.close_code(), 1008);
    assert_eq!(relay.counter("rate_limited"), 1);
}

/// A message to a room counts as its deliveries: the one that exceeds the rate is delivered, the next is refused.
#[test]
fn delivery_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 100\nmessage_burst = 10\ndelivery_rate = 1");
    let (mut sender, mut other) = (relay.connect("room"), relay.connect("room"));
    for expected in [true, false] {
        sender.send(r#"{"data":1,"room_ids":"room"}"#);
        match expected {
            true => assert_eq!((sender.data(), other.data()), (json!(1), json!(1))),
            false => {
                assert_eq!(sender.json(), json!({"event": "sys_error", "msg": "message rate limit exceeded!"}));
            }
        }
    }
    assert_eq!(relay.counter("rate_limited"), 1);
    let free = Relay::start("[limits]\nmessage_burst = 1000\ndelivery_rate = 0");
    let mut sender = free.connect("room");
    for number in 0..500 {
        sender.send(&format!(r#"{{"data":{number},"room_ids":"room"}}"#));
        assert_eq!(sender.data(), json!(number));
    }
}

#[test]
fn no_message_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 0\nmessage_burst = 1");
    let mut client = relay.connect_with(&[("format", "text")]);
    client.socket.get_mut().write_all(&frame(TEXT, b"x").repeat(1000)).unwrap();
    for _ in 0..1000 {
        assert_eq!(client.text(), "x");
    }
    assert_eq!(relay.counter("rate_limited"), 0);
}
