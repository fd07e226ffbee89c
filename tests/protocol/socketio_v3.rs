//! docs/protocol.md, Socket.IO: what clients of Socket.IO 1.x and 2.x see (Engine.IO 3, Socket.IO protocol 4), against
//! the example configuration.

use std::{
    thread,
    time::{Duration, Instant},
};

use tungstenite::Message;

use crate::support::{
    Client, Relay,
    engineio::{
        INTERVAL, PATIENT, Polling, SILENT, SLACK, TIMEOUT, bytes, example, json, patient, payload_v3, read_bytes,
        send_bytes, send_together, websocket,
    },
    read_answer, send_request, wait_for,
};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const BACK: &str = "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]";
const SENT: &str = "451-[\"message\",{\"_placeholder\":true,\"num\":0}]";

/// A session that polls; `/` is joined by itself.
fn polling<'r>(relay: &'r Relay, more: &str) -> Polling<'r> {
    let (session, packets) = Polling::open(relay, &format!("EIO=3{more}"));
    assert_eq!(packets, ["40"]);
    assert_eq!(session.poll(), ["42[\"auth\",{}]"]);
    session
}

fn joined(relay: &Relay) -> Client {
    let (mut socket, _) = websocket(relay, "EIO=3");
    assert_eq!((socket.text(), socket.text()), ("40".to_owned(), "42[\"auth\",{}]".to_owned()));
    socket
}

/// What is sent has the order of what was received: pongs of Engine.IO, events and acknowledgements.
#[test]
fn pongs_have_their_place_among_events() {
    let relay = patient();
    let sent = ["2a", "42[\"message\",1]", "2b", "427[\"message-with-ack\",2]", "2", "42[\"message\",3]"];
    let expected = ["3a", "42[\"message-back\",1]", "3b", "437[2]", "3", "42[\"message-back\",3]"];
    let mut socket = joined(&relay);
    send_together(&mut socket, &sent);
    assert_eq!(expected.map(|_| socket.text()), expected);
    let session = polling(&relay, "");
    session.post(&sent);
    assert_eq!(session.collect(6), expected);
}

// Handshake.

#[test]
fn the_open_packet_and_the_main_namespace_come_together() {
    let relay = example(&[], "");
    let answer = relay.get("/socket.io/?EIO=3&transport=polling");
    let packets = payload_v3(&answer.body);
    assert_eq!(packets[1..], ["40"], "some clients are not ready for more");
    let (mut socket, open) = websocket(&relay, "EIO=3");
    assert_eq!(socket.text(), "40");
    for (packet, upgrades) in [(&packets[0], r#"["websocket"]"#), (&open, "[]")] {
        let value = json(packet, "0");
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["pingInterval", "pingTimeout", "sid", "upgrades"]);
        assert_eq!(value["upgrades"].to_string(), upgrades);
        assert_eq!((&value["pingInterval"], &value["pingTimeout"]), (&300.into(), &200.into()));
    }
}

#[test]
fn invalid_handshakes_open_no_session() {
    let relay = patient();
    for (method, query) in [
        ("GET", "EIO=3"),
        ("GET", "EIO=3&transport=abc"),
        ("GET", "EIO=3&transport=polling&sid=abc"),
        ("POST", "EIO=3&transport=polling"),
        ("GET", "EIO=3&transport=polling&j=1"),
    ] {
        let answer = relay.request(method, &format!("/socket.io/?{query}"), &[], b"");
        assert_eq!(answer.status, 400, "{method} {query}");
        assert!(answer.json()["code"].is_u64() && answer.json()["message"].is_string(), "{answer:?}");
    }
    for query in ["transport=websocket", "EIO=abc&transport=websocket", "EIO=3", "EIO=3&transport=abc"] {
        assert_eq!(Client::open(relay.tcp(), &format!("/socket.io/?{query}")).unwrap_err().status, 400, "{query}");
    }
    assert_eq!(relay.stat("/sessions"), 0);
}

// Heartbeat: the client's.

#[test]
fn pongs_over_polling() {
    let relay = example(SLACK, "");
    let session = polling(&relay, "");
    for _ in 0..3 {
        session.post(&["2"]);
        assert_eq!(session.poll(), ["3"]);
    }
    session.post(&["2x€"]);
    assert_eq!(session.poll(), ["3x€"], "with the ping's data");
}

#[test]
fn pongs_over_a_websocket() {
    let relay = example(SLACK, "");
    let mut socket = joined(&relay);
    for _ in 0..3 {
        thread::sleep(INTERVAL);
        socket.send("2");
        assert_eq!(socket.text(), "3", "and the server sends no ping");
    }
    socket.send("2probe");
    assert_eq!(socket.text(), "3probe");
}

#[test]
fn silent_client_is_dropped_after_interval_and_timeout() {
    let relay = example(SILENT, "");
    let begin = Instant::now();
    let session = polling(&relay, "");
    let mut socket = joined(&relay);
    let mut upgraded = polling(&relay, "").upgrade();
    // A poll is no sign of life: only packets are.
    let mut poll = session.begin_poll();
    for socket in [&mut socket, &mut upgraded] {
        assert_eq!(socket.close_code(), 1008);
        assert!(begin.elapsed() >= INTERVAL + TIMEOUT, "{:?}", begin.elapsed());
    }
    assert_eq!(session.end_poll(&mut poll), ["1"]);
    session.assert_gone();
    assert_eq!(relay.counter("ping_timeouts"), 3);
}

/// As in the protocol's own test suite, which waits exactly that long.
#[test]
fn a_ping_that_comes_too_late() {
    let relay = example(SILENT, "");
    let session = polling(&relay, "");
    thread::sleep(INTERVAL + TIMEOUT);
    assert_eq!(session.try_post(b"1:2", &[]).status, 400);
    session.assert_gone();
}

/// Any packet counts as a sign of life, before and after an upgrade.
#[test]
fn any_packet_is_a_sign_of_life() {
    // Two pauses are longer than the session may be silent, one leaves a second for the machine's own pauses.
    let (timeout, pause) = (Duration::from_millis(2200), Duration::from_millis(1500));
    let relay = example(&[("ping_timeout = 0.2", "ping_timeout = 2.2"), PATIENT[2]], "");
    let session = polling(&relay, "");
    thread::sleep(pause);
    session.post(&["42[\"message\",1]"]);
    thread::sleep(pause);
    assert_eq!(session.poll(), ["42[\"message-back\",1]"]);
    let mut socket = session.upgrade();
    socket.send("42[\"message\",2]");
    assert_eq!(socket.text(), "42[\"message-back\",2]");
    thread::sleep(pause);
    let begin = Instant::now();
    socket.send("42[\"message\",3]");
    assert_eq!(socket.text(), "42[\"message-back\",3]");
    assert_eq!(socket.close_code(), 1008);
    assert!(begin.elapsed() >= INTERVAL + timeout, "{:?}", begin.elapsed());
}

// The end.

#[test]
fn close_packets() {
    let relay = patient();
    let session = polling(&relay, "");
    let mut poll = relay.tcp();
    send_request(&mut poll, "GET", &session.target, &[], b"");
    assert_eq!(relay.get("/healthz").status, 200);
    session.post(&["1"]);
    let answer = read_answer(&mut poll, false);
    assert_eq!((answer.status, answer.body.as_str()), (200, "1:6"));
    session.assert_gone();
    let mut socket = joined(&relay);
    socket.send("1");
    assert_eq!(socket.close_code(), 1000);
    assert_eq!(relay.stat("/sessions"), 0);
}

#[test]
fn two_polls_at_once() {
    let relay = patient();
    let session = polling(&relay, "");
    let mut poll = session.begin_poll();
    assert_eq!(relay.get(&session.target).status, 400);
    let answer = read_answer(&mut poll, false);
    assert_eq!((answer.status, answer.body.as_str()), (200, "1:1"));
    session.assert_gone();
}

#[test]
fn a_poll_that_is_aborted_ends_the_session() {
    let relay = patient();
    let session = polling(&relay, "");
    drop(session.begin_poll());
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
    session.assert_gone();
}

// Bodies.

/// Lengths of posted text are those of JavaScript's strings. What relay sends is ASCII, so that all count alike.
#[test]
fn lengths_count_utf16_units() {
    let relay = patient();
    let session = polling(&relay, "");
    let texts = ["hello", "€", "𝄞𝄞", "a𝄞:7:4", "1:2", "😀é"];
    let packets: Vec<String> = texts.iter().map(|text| format!("42[\"message\",\"{text}\"]")).collect();
    session.post(&packets.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = relay.get(&session.target);
    let ascii =
        ["hello", "\\u20ac", "\\ud834\\udd1e\\ud834\\udd1e", "a\\ud834\\udd1e:7:4", "1:2", "\\ud83d\\ude00\\u00e9"];
    let expected: String =
        ascii.iter().map(|text| format!("{}:42[\"message-back\",\"{text}\"]", 21 + text.len())).collect();
    assert_eq!((answer.body.as_str(), answer.header("content-type")), (expected.as_str(), "text/plain; charset=UTF-8"));
}

#[test]
fn a_body_has_at_most_sixteen_packets() {
    let relay = patient();
    let session = polling(&relay, "");
    let packets: Vec<_> = (0..20).map(|number| format!("42[\"message\",{number}]")).collect();
    session.post(&packets.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!([session.poll().len(), session.poll().len()], [16, 4]);
}

#[test]
fn large_messages() {
    let relay = patient();
    let (session, mut socket) = (polling(&relay, ""), joined(&relay));
    let text = "x€𝄞".repeat(110_000);
    let (sent, expected) = (format!("42[\"message\",\"{text}\"]"), format!("42[\"message-back\",\"{text}\"]"));
    for _ in 0..2 {
        socket.send(&sent);
        assert!(socket.text() == expected);
        session.post(&[&sent]);
        assert!(session.poll() == [expected.as_str()]);
    }
}

#[test]
fn bytes_in_base64() {
    let relay = patient();
    let session = polling(&relay, "&b64=1");
    session.post(&[SENT, "b4AQIDBA=="]);
    let answer = relay.get(&session.target);
    assert_eq!(answer.body, format!("{}:{BACK}10:b4AQIDBA==", BACK.len()));
    assert_eq!(answer.header("content-type"), "text/plain; charset=UTF-8");
    session.post(&[SENT]);
    session.post(&["b4"]);
    assert_eq!(session.poll(), [BACK, "b4"], "no bytes are bytes too");
}

/// A byte for the kind, the length's digits as bytes, 255.
fn framed(kind: u8, packet: &[u8]) -> Vec<u8> {
    let digits = packet.len().to_string().bytes().map(|digit| digit - b'0').collect();
    [vec![kind], digits, vec![255], packet.to_vec()].concat()
}

/// A client that accepts bytes gets them, and all packets of such a body are framed in bytes; a body without any is text.
#[test]
fn bytes_as_they_are() {
    let relay = patient();
    let session = polling(&relay, "");
    let large = vec![255; 1234];
    let text = "42[\"message\",\"€\"]";
    for data in [&[1, 2, 3, 4][..], b"", &large] {
        let body = [framed(0, text.as_bytes()), framed(0, SENT.as_bytes()), framed(1, &[&[4], data].concat())].concat();
        let answer = session.try_post(&body, &[OCTETS]);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &session.target, &[], b"");
        let (head, body) = read_bytes(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/octet-stream"), "{head}");
        let text = text.replace("message", "message-back").replace('€', "\\u20ac");
        let expected = [framed(0, text.as_bytes()), framed(0, BACK.as_bytes()), framed(1, &[&[4], data].concat())];
        assert!(body == expected.concat(), "{body:?}");
    }
    // Text framed in bytes is answered in text, as there are no bytes to send; and base64 is taken from everybody.
    assert_eq!(session.try_post(&framed(0, text.as_bytes()), &[OCTETS]).body, "ok");
    assert_eq!(session.poll(), [text.replace("message", "message-back")]);
    session.post(&[SENT, "b4AQIDBA=="]);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    let expected = [framed(0, BACK.as_bytes()), framed(1, &[4, 1, 2, 3, 4])].concat();
    assert_eq!(read_bytes(&mut stream).1, expected);
}

#[test]
fn a_malformed_body_ends_the_session() {
    let relay = patient();
    let text = |body: &'static str| (body.as_bytes(), None);
    let octets = |body: &'static [u8]| (body, Some(OCTETS));
    for (body, header) in [
        text("abc"),
        text("3:42"),
        text("x:4"),
        text("1:7"),
        text("3:4𝄞𝄞"),
        text("2:42"),
        text("4:42{}"),
        text("4:4abc"),
        text("1:3"),
        text("6:b4AQID*"),
        octets(b"1:2"),
        octets(b"\x00\x01\xff"),
        octets(b"\x02\x01\xff2"),
        octets(b"\x00\x0a\xff2"),
        octets(b"\x01\x02\xff\x02x"),
    ] {
        let session = polling(&relay, "");
        let mut poll = session.begin_poll();
        let headers: Vec<_> = header.into_iter().collect();
        let answer = session.try_post(body, &headers);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{body:?}");
        assert_eq!(session.end_poll(&mut poll), ["1"], "{body:?}");
        session.assert_gone();
    }
}

// WebSockets.

#[test]
fn bytes_over_a_websocket_begin_with_four() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send(SENT);
    send_bytes(&mut socket, &[4, 1, 2, 3, 4]);
    assert_eq!(socket.text(), BACK);
    assert_eq!(bytes(&mut socket), [4, 1, 2, 3, 4]);
    socket.send("451-789[\"message-with-ack\",{\"_placeholder\":true,\"num\":0}]");
    send_bytes(&mut socket, &[4]);
    assert_eq!(socket.text(), "461-789[{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bytes(&mut socket), [4]);
    // Any other first byte is no message.
    for wrong in [&[3, 1][..], &[b'4', 1], &[]] {
        let mut socket = joined(&relay);
        socket.send(SENT);
        send_bytes(&mut socket, wrong);
        assert_eq!(socket.close_code(), 1002, "{wrong:?}");
    }
}

#[test]
fn invalid_packets_close_the_connection() {
    let relay = patient();
    for packet in ["abc", "4abc", "42{}", "42abc[\"message\"]", "3", "", "47"] {
        let mut socket = joined(&relay);
        socket.send(packet);
        assert_eq!(socket.close_code(), 1002, "{packet:?}");
    }
}

/// As in engine.io. The Socket.IO client for Arduino sends one first on a direct WebSocket.
#[test]
fn an_upgrade_packet_that_changes_nothing_is_ignored() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("5");
    socket.send("42[\"message\"]");
    assert_eq!(socket.text(), "42[\"message-back\"]");
}

#[test]
fn messages_and_acknowledgements() {
    let relay = patient();
    let (mut socket, session) = (joined(&relay), polling(&relay, ""));
    for (sent, expected) in [
        (r#"42["message",1,"2",{"3":[true]}]"#, r#"42["message-back",1,"2",{"3":[true]}]"#),
        (r#"42456["message-with-ack",1,"2",{"3":[false]}]"#, r#"43456[1,"2",{"3":[false]}]"#),
        (r#"42["message", 1e400 , {"b":1, "a":2}]"#, r#"42["message-back", 1e400 , {"b":1, "a":2}]"#),
    ] {
        socket.send(sent);
        assert_eq!(socket.text(), expected);
        session.post(&[sent]);
        assert_eq!(session.poll(), [expected]);
    }
}

// Upgrade.

#[test]
fn from_polling_to_a_websocket() {
    let relay = patient();
    let session = polling(&relay, "");
    let mut poll = session.begin_poll();
    let mut socket = session.probe();
    assert_eq!(read_answer(&mut poll, false).body, "1:6");
    assert_eq!(relay.get(&session.target).body, "1:6");
    session.post(&["42[\"message\",\"queued\"]", SENT, "b4AQI="]);
    send_together(&mut socket, &["5", "42[\"message\",\"hello\"]", "2"]);
    assert_eq!(socket.text(), "42[\"message-back\",\"queued\"]");
    assert_eq!(socket.text(), BACK);
    assert_eq!(bytes(&mut socket), [4, 1, 2]);
    assert_eq!(socket.text(), "42[\"message-back\",\"hello\"]");
    assert_eq!(socket.text(), "3");
    assert_eq!(relay.get(&session.target).status, 400);
    assert_eq!(session.try_post(b"1:2", &[]).status, 400);
    assert_eq!(session.websocket().expect("101").close_code(), 1008);
    socket.send("42[\"message\",\"still here\"]");
    assert_eq!(socket.text(), "42[\"message-back\",\"still here\"]");
}

#[test]
fn a_probe_that_dies_leaves_polling_alive() {
    let relay = patient();
    let session = polling(&relay, "");
    drop(session.probe());
    session.post(&["42[\"message\",1]"]);
    let packets = wait_for("a poll that is no noop", || Some(session.poll()).filter(|packets| packets != &["6"]));
    assert_eq!(packets, ["42[\"message-back\",1]"]);
    let mut socket = session.upgrade();
    socket.send("2");
    assert_eq!(socket.text(), "3");
}

// Namespaces.

#[test]
fn namespaces() {
    let relay = patient();
    let mut socket = joined(&relay);
    // Older clients put a query behind the name.
    for connect in ["40/custom?x=y", "40/custom?x=y,", "40/custom", "40/custom,"] {
        socket.send(connect);
        assert_eq!(socket.text(), "40/custom,", "{connect}");
        assert_eq!(socket.text(), "42/custom,[\"auth\",{}]");
        socket.send("42/custom,[\"message\",1]");
        assert_eq!(socket.text(), "42/custom,[\"message-back\",1]");
        socket.send("41/custom");
    }
    socket.send("40/random?x=y");
    assert_eq!(socket.text(), "44/random,\"Invalid namespace\"");
    socket.send("42[\"message\",\"main is still here\"]");
    assert_eq!(socket.text(), "42[\"message-back\",\"main is still here\"]");
    let session = polling(&relay, "");
    session.post(&["40/custom?x=y"]);
    session.post(&["40/random"]);
    assert_eq!(session.collect(3), ["40/custom,", "42/custom,[\"auth\",{}]", "44/random,\"Invalid namespace\""]);
}

#[test]
fn leaving_the_last_namespace_leaves_the_connection() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("41");
    socket.send("2");
    assert_eq!(socket.text(), "3");
    assert_eq!(relay.stat("/sessions"), 0);
    socket.send("40");
    assert_eq!(socket.text(), "40");
}

// Limits.

#[test]
fn max_payload() {
    let relay = example(&[PATIENT, &[("max_payload = 1000000", "max_payload = 1000")]].concat(), "");
    let (session, mut socket) = (polling(&relay, ""), joined(&relay));
    let packet = |length: usize| format!("42[\"message\",\"{}\"]", "x".repeat(length - 16));
    session.post(&[&packet(996)]);
    assert_eq!(session.poll()[0].len(), 1001);
    assert_eq!(session.try_post(session.encode(&[&packet(997)]).as_bytes(), &[]).status, 413);
    session.assert_gone();
    socket.send(&packet(1000));
    assert_eq!(socket.text().len(), 1005);
    let _ = socket.socket.send(Message::text(packet(1001)));
    assert_eq!(socket.close_code(), 1009);
}
