//! Many notifications at once: each message once and in order.

use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{SUCCESS, document, refusal, sign};
use crate::support::{Client, FORM, PATIENCE, Relay, form, read_answer, send_request};

/// Four backends on connections they keep, twenty members: each gets all messages, once, each backend's in its order.
#[test]
fn every_member_gets_every_message_once_and_each_backend_s_in_order() {
    const MESSAGES: u64 = 200;
    let relay = Relay::start("");
    let members: Vec<_> = (0..20)
        .map(|number| {
            let mut member = relay.connect(if number % 2 == 0 { "room" } else { "other,room" });
            thread::spawn(move || {
                let came: Vec<Value> =
                    (0..4 * MESSAGES).map(|_| serde_json::from_str(member.data().as_str().unwrap()).unwrap()).collect();
                member.silence();
                came
            })
        })
        .collect();
    let backends: Vec<_> = (0..4)
        .map(|backend| {
            let mut stream = relay.tcp();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    let data = format!("[{backend},{number}]");
                    let body = form(&[
                        ("source", "demo"),
                        ("room_id", "room"),
                        ("data", &data),
                        ("sign", &sign("room", &data)),
                    ]);
                    send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
                    assert_eq!(read_answer(&mut stream, false).body, SUCCESS);
                }
            })
        })
        .collect();
    backends.into_iter().for_each(|backend| backend.join().unwrap());
    let expected: Vec<u64> = (0..MESSAGES).collect();
    for member in members {
        let came = member.join().unwrap();
        for backend in 0..4 {
            let own = came.iter().filter(|data| data[0] == backend).map(|data| data[1].as_u64().unwrap());
            assert_eq!(own.collect::<Vec<_>>(), expected, "of backend {backend}");
        }
    }
    assert_eq!((relay.counter("notifies"), relay.counter("delivered")), (4 * MESSAGES, 80 * MESSAGES));
    assert_eq!(relay.counter("published"), 4 * MESSAGES);
}

#[test]
fn many_notifications_may_come_in_one_write() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut bytes = Vec::new();
    for number in 0..300 {
        let data = number.to_string();
        match number % 3 {
            0 => {
                let fields = [("source", "demo"), ("room_id", "room"), ("data", &data), ("sign", &sign("room", &data))];
                let body = form(&fields);
                send_request(&mut bytes, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
            }
            1 => {
                let body = document(&format!("\"{data}\""), &data);
                let json = [("Content-Type", "application/json")];
                send_request(&mut bytes, "POST", "/api/notify", &json, body.as_bytes());
            }
            _ => send_request(&mut bytes, "POST", "/api/notify", &[("Content-Type", FORM)], b"source=demo"),
        }
    }
    let mut stream = relay.tcp();
    stream.write_all(&bytes).unwrap();
    for number in 0..300 {
        let expected = if number % 3 == 2 { refusal("data can not be null!") } else { SUCCESS.into() };
        assert_eq!(read_answer(&mut stream, false).body, expected, "answer {number}");
    }
    for number in (0..300).filter(|number| number % 3 != 2) {
        assert_eq!(member.data(), number.to_string());
    }
    member.silence();
}

/// `code` 1 means that the message is in the members' queues.
#[test]
fn the_answer_comes_when_members_have_the_message() {
    let relay = Relay::start("");
    let mut members: Vec<Client> = (0..50).map(|_| relay.connect("room")).collect();
    for turn in 0..20 {
        let data = turn.to_string();
        relay.notify("room", &data);
        // The turn of the answer is over: members must not have to wait for anything else.
        relay.fence();
        for member in &mut members {
            member.socket.get_ref().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert_eq!(member.data(), data);
        }
    }
    // Also when the backend does not wait for the answer.
    let mut hasty = relay.tcp();
    let body = form(&[("source", "demo"), ("room_id", "room"), ("data", "bye"), ("sign", &sign("room", "bye"))]);
    send_request(&mut hasty, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    drop(hasty);
    for member in &mut members {
        member.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(member.data(), "bye");
    }
}

/// The documented example, byte by byte.
#[test]
fn the_answer_s_bytes() {
    let relay = Relay::start("");
    let body = document("\"x\"", "x");
    let mut stream = relay.tcp();
    let headers = [("Content-Type", "application/json"), ("Connection", "close")];
    send_request(&mut stream, "POST", "/api/notify", &headers, body.as_bytes());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}", SUCCESS.len())), "{head}");
    assert_eq!(body, SUCCESS);
}
