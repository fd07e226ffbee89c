//! Contract section 4 as Socket.IO 3.x and 4.x see it: every case of the protocol's own test suite (Engine.IO 4,
//! Socket.IO protocol 5) and what it leaves out, against the example configuration.
#![allow(missing_docs)]

#[path = "support/engineio.rs"]
mod engineio;
mod support;

use std::{
    fs,
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use engineio::{
    INTERVAL, PATIENT, Polling, SILENT, SLACK, TEXT, TIMEOUT, UPGRADE, bytes, example, frame, joined, json, patience,
    patient, payload, send_bytes, send_part, send_together, websocket,
};
use serde_json::Value;
use support::{Answer, Client, Relay, read_answer, send_request, temp_file, wait_for};
use tungstenite::Message;

/// The refusals of Engine.IO, by their numbers.
fn assert_refused(answer: &Answer, code: u8, message: &str) {
    let body = format!("{{\"code\":{code},\"message\":\"{message}\"}}");
    assert_eq!((answer.status, answer.header("content-type")), (400, "application/json"), "{answer:?}");
    assert_eq!(answer.body, body);
}

// Handshake.

#[test]
fn an_open_packet_has_exactly_its_keys() {
    let relay = example(&[], "");
    let answer = relay.get("/socket.io/?EIO=4&transport=polling");
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let (_, open) = websocket(&relay, "EIO=4");
    let mut sids = Vec::new();
    for (packet, upgrades) in [(answer.body.as_str(), r#"["websocket"]"#), (&open, "[]")] {
        let value = json(packet, "0");
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
        assert_eq!(value["upgrades"].to_string(), upgrades);
        assert_eq!((&value["pingInterval"], &value["pingTimeout"]), (&300.into(), &200.into()));
        assert_eq!(value["maxPayload"], 1_000_000);
        sids.push(engineio::sid(packet));
    }
    assert_ne!(sids[0], sids[1]);
}

#[test]
fn what_opens_no_session() {
    let relay = patient();
    let version = (5, "Unsupported protocol version");
    let transport = (0, "Transport unknown");
    let unknown = (1, "Session ID unknown");
    for (query, (code, message)) in [
        ("transport=polling", version),
        ("EIO=abc&transport=polling", version),
        ("EIO=2&transport=polling", version),
        ("EIO=5&transport=polling", version),
        ("EIO=4", transport),
        ("EIO=4&transport=abc", transport),
        ("EIO=4&transport=", transport),
        ("EIO=4&transport=polling&sid=abc", unknown),
        ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", unknown),
    ] {
        let answer = relay.get(&format!("/socket.io/?{query}"));
        assert_refused(&answer, code, message);
        // A WebSocket hears the same before the upgrade.
        let query = query.replace("polling", "websocket");
        let answer = Client::open(relay.tcp(), &format!("/socket.io/?{query}")).unwrap_err();
        assert_refused(&answer, code, message);
    }
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        let mut stream = relay.tcp();
        send_request(&mut stream, method, "/socket.io/?EIO=4&transport=polling", &[], b"");
        let answer = read_answer(&mut stream, method == "HEAD");
        assert_eq!(answer.status, 400, "{method}");
        if method != "HEAD" {
            assert_refused(&answer, 2, "Bad handshake method");
        }
    }
    let answer = relay.get("/socket.io/?EIO=4&transport=websocket");
    assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "no upgrade was asked for");
    let answer = relay.get("/socket.io/?EIO=4&transport=polling&j=0");
    assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "JSONP is not spoken");
    assert_eq!(relay.get("/socket.io").status, 400, "the slash at the end does not matter");
    assert_eq!(relay.get("/socket.iox/?EIO=4&transport=polling").status, 404);
    // Nothing of that left a session behind.
    wait_for("the connections to end", || (relay.stat("/connections") == 1).then_some(()));
    assert_eq!(relay.stat("/sessions"), 0);
}

// Heartbeat.

#[test]
fn pings_over_polling() {
    let relay = example(SLACK, "");
    let session = Polling::joined(&relay);
    for _ in 0..4 {
        assert_eq!(session.poll(), ["2"]);
        session.post(&["3"]);
    }
}

#[test]
fn pings_over_a_websocket() {
    let relay = example(SLACK, "");
    let mut begin = Instant::now();
    let mut socket = joined(&relay);
    for _ in 0..4 {
        assert_eq!(socket.text(), "2");
        assert!(begin.elapsed() >= INTERVAL / 2, "{:?}", begin.elapsed());
        begin = Instant::now();
        socket.send("3");
    }
}

/// However long an answer may take, the next ping comes an interval after it.
#[test]
fn a_longer_timeout_does_not_delay_the_next_ping() {
    // Longer than a test waits for a packet.
    let relay = example(&[("ping_timeout = 0.2", "ping_timeout = 60"), PATIENT[2]], "");
    let mut socket = joined(&relay);
    for _ in 0..3 {
        assert_eq!(socket.text(), "2");
        socket.send("3");
    }
}

/// As in the protocol's own test suite, which waits exactly that long.
#[test]
fn who_does_not_poll_is_gone_at_interval_and_timeout() {
    let relay = example(SILENT, "");
    let session = Polling::fresh(&relay);
    thread::sleep(INTERVAL + TIMEOUT);
    session.assert_gone();
    assert_eq!(relay.counter("ping_timeouts"), 1);
}

/// Who polls but answers no ping.
#[test]
fn a_poll_that_waits_hears_of_the_end() {
    let relay = example(SILENT, "");
    let begin = Instant::now();
    let session = Polling::fresh(&relay);
    assert_eq!(session.poll(), ["2"]);
    assert_eq!(session.poll(), ["1"]);
    assert!(begin.elapsed() >= INTERVAL + TIMEOUT, "{:?}", begin.elapsed());
    session.assert_gone();
}

#[test]
fn a_websocket_that_answers_no_ping_is_closed() {
    let relay = example(SILENT, "");
    let begin = Instant::now();
    let mut socket = joined(&relay);
    assert_eq!(socket.text(), "2");
    // Other packets are no answer.
    socket.send("42[\"message\"]");
    assert_eq!(socket.text(), "42[\"message-back\"]");
    assert_eq!(socket.close_code(), 1008);
    assert!(begin.elapsed() >= INTERVAL + TIMEOUT, "{:?}", begin.elapsed());
    assert_eq!(relay.stat("/sessions"), 0);
}

#[test]
fn a_heartbeat_the_wrong_way_round_ends_the_session() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("2");
    assert_eq!(socket.close_code(), 1002);
}

// The end.

#[test]
fn a_close_packet_over_polling() {
    let relay = patient();
    let session = Polling::fresh(&relay);
    let mut poll = session.begin_poll();
    session.post(&["1"]);
    assert_eq!(session.end_poll(&mut poll), ["6"]);
    session.assert_gone();
    // Without a poll that waits.
    let session = Polling::fresh(&relay);
    session.post(&["1"]);
    session.assert_gone();
}

/// What came before it in the body is handled, what comes behind it is not.
#[test]
fn a_close_packet_among_others() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut poll = session.begin_poll();
    session.post(&["42[\"message\",1]", "1", "42[\"message\",2]"]);
    assert_eq!(session.end_poll(&mut poll), ["42[\"message-back\",1]", "6"]);
    session.assert_gone();
}

#[test]
fn a_close_packet_over_a_websocket() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("1");
    assert_eq!(socket.close_code(), 1000);
    assert_eq!(relay.stat("/sessions"), 0);
}

#[test]
fn two_polls_at_once() {
    let relay = patient();
    let session = Polling::fresh(&relay);
    let mut poll = session.begin_poll();
    let second = relay.get(&session.target);
    assert_eq!((second.status, &second.json()["code"]), (400, &3.into()));
    assert_eq!(session.end_poll(&mut poll), ["1"]);
    session.assert_gone();
}

#[test]
fn a_poll_that_is_aborted_ends_the_session() {
    let relay = patient();
    let session = Polling::joined(&relay);
    assert_eq!(relay.stat("/sessions"), 1);
    drop(session.begin_poll());
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
    session.assert_gone();
}

/// A WebSocket on trial ends with its session: it has no deadline of its own any more.
#[test]
fn a_poll_that_is_aborted_takes_the_probe_with_it() {
    let relay = patient();
    for answered in [false, true] {
        let session = Polling::joined(&relay);
        let mut socket = session.websocket().unwrap();
        let poll = session.begin_poll();
        if answered {
            socket.send("2probe");
            assert_eq!(socket.text(), "3probe");
            session.post(&["1"]);
        }
        drop(poll);
        wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
        session.assert_gone();
        wait_for("its WebSocket to end", || (relay.stat("/connections") == 1).then_some(()));
        drop(socket);
    }
}

/// Also if the client had sent more behind it.
#[test]
fn a_poll_that_is_aborted_with_a_request_behind_it_ends_the_session() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    assert_eq!(relay.get("/healthz").status, 200);
    drop(stream);
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
}

// Bodies.

#[test]
fn a_body_has_at_most_sixteen_packets() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let packets: Vec<_> = (0..40).map(|number| format!("42[\"message\",{number}]")).collect();
    session.post(&packets.iter().map(String::as_str).collect::<Vec<_>>());
    let bodies = [session.poll(), session.poll(), session.poll()];
    assert_eq!(bodies.each_ref().map(Vec::len), [16, 16, 8]);
    let expected: Vec<_> = (0..40).map(|number| format!("42[\"message-back\",{number}]")).collect();
    assert_eq!(bodies.concat(), expected);
}

#[test]
fn binary_over_polling() {
    let relay = patient();
    let session = Polling::joined(&relay);
    session.post(&["451-[\"message\",{\"_placeholder\":true,\"num\":0}]", "bAQIDBA=="]);
    assert_eq!(session.poll(), ["451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]", "bAQIDBA=="]);
    // The attachment in a body of its own, and empty.
    session.post(&["451-7[\"message-with-ack\",{\"_placeholder\":true,\"num\":0}]"]);
    session.post(&["b"]);
    assert_eq!(session.poll(), ["461-7[{\"_placeholder\":true,\"num\":0}]", "b"]);
}

/// `ok` comes after the packets were handled.
#[test]
fn a_post_is_answered_when_it_was_handled() {
    let relay = patient();
    let session = Polling::joined(&relay);
    for number in 0..20 {
        session.post(&[&format!("42[\"message\",{number}]")]);
        let mut poll = session.begin_poll();
        assert_eq!(session.end_poll(&mut poll), [format!("42[\"message-back\",{number}]")]);
    }
}

#[test]
fn a_malformed_body_ends_the_session() {
    let relay = patient();
    for body in ["abc", "", "7", "4abc", "42{}", "42abc[\"message\"]", "b*", "bAQ=", "2", "42[\"message\"]\x1e"] {
        let session = Polling::joined(&relay);
        let mut poll = session.begin_poll();
        let answer = session.try_post(body.as_bytes(), &[]);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{body:?}");
        let last = session.end_poll(&mut poll).pop();
        assert_eq!(last.as_deref(), Some("1"), "{body:?}");
        session.assert_gone();
    }
    let session = Polling::joined(&relay);
    assert_eq!(session.try_post(b"42[\"\xff\"]", &[]).status, 400);
    session.assert_gone();
}

#[test]
fn only_get_and_post() {
    let relay = patient();
    let session = Polling::joined(&relay);
    for method in ["PUT", "DELETE"] {
        let answer = relay.request(method, &session.target, &[], b"");
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{method}");
    }
    let no_upgrade = relay.get(&session.target.replace("polling", "websocket"));
    assert_eq!((no_upgrade.status, &no_upgrade.json()["code"]), (400, &3.into()));
    session.post(&["42[\"message\"]"]);
    assert_eq!(session.poll(), ["42[\"message-back\"]"]);
}

#[test]
fn requests_in_pieces() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let (mut post, mut poll) = (relay.tcp(), relay.tcp());
    let body = "42[\"message\",\"€\"]";
    let head = format!("POST {} HTTP/1.1\r\nHost: relay\r\nContent-Length: {}\r\n\r\n", session.target, body.len());
    send_part(&mut post, &head[..20]);
    send_part(&mut poll, "GET ");
    assert_eq!(relay.get("/healthz").status, 200);
    send_part(&mut post, &head[20..]);
    send_part(&mut post, &body[..5]);
    assert_eq!(relay.get("/healthz").status, 200);
    // Neither half a post nor half a poll is anything yet.
    session.post(&["42[\"message\",1]"]);
    assert_eq!(session.poll(), ["42[\"message-back\",1]"]);
    send_part(&mut post, &body[5..]);
    assert_eq!(read_answer(&mut post, false).body, "ok");
    send_part(&mut poll, &format!("{} HTTP/1.1\r\nHost: relay\r\n", session.target));
    send_part(&mut poll, "\r\n");
    assert_eq!(session.end_poll(&mut poll), ["42[\"message-back\",\"€\"]"]);
    // A poll that was never whole is no poll that was aborted.
    let mut stream = relay.tcp();
    send_part(&mut stream, &format!("GET {} HTTP/1.1\r\nHost: rel", session.target));
    assert_eq!(relay.get("/healthz").status, 200);
    drop(stream);
    session.post(&["42[\"message\",2]"]);
    assert_eq!(session.poll(), ["42[\"message-back\",2]"]);
}

/// The answers come in the order of the requests: the post waits for the poll.
#[test]
fn a_post_behind_a_poll_on_one_connection() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    send_request(&mut stream, "POST", &session.target, &[], b"42[\"message\",\"behind\"]");
    send_request(&mut stream, "GET", &session.target, &[], b"");
    assert_eq!(relay.get("/healthz").status, 200);
    session.post(&["42[\"message\",\"beside\"]"]);
    assert_eq!(session.end_poll(&mut stream), ["42[\"message-back\",\"beside\"]"]);
    assert_eq!(read_answer(&mut stream, false).body, "ok");
    assert_eq!(session.end_poll(&mut stream), ["42[\"message-back\",\"behind\"]"]);
    // The connection stays good for polls.
    send_request(&mut stream, "GET", &session.target, &[], b"");
    session.post(&["42[\"message\",\"again\"]"]);
    assert_eq!(session.end_poll(&mut stream), ["42[\"message-back\",\"again\"]"]);
}

/// A poll waits for as long as the session lives, whatever HTTP's own patience; and the connection serves on.
#[test]
fn a_poll_outlasts_the_deadlines_of_http() {
    let slow = [("ping_interval = 0.3", "ping_interval = 2"), SLACK[0], SLACK[1]];
    let relay = example(&slow, "[limits]\nrequest_timeout = 1\nkeep_alive = 1");
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    assert_eq!(session.end_poll(&mut stream), ["2"]);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "then it ends as any that is idle");
    session.post(&["3"]);
    assert_eq!(session.poll(), ["2"]);
}

#[test]
fn a_post_in_chunks() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    let head = format!("POST {} HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n\r\n", session.target);
    for part in [&head, "5\r\n42[\"m\r\n", "9\r\nessage\",1\r\n", "1\r\n]\r\n0\r\n\r\n"] {
        send_part(&mut stream, part);
        assert_eq!(relay.get("/healthz").status, 200);
    }
    assert_eq!(read_answer(&mut stream, false).body, "ok");
    assert_eq!(session.poll(), ["42[\"message-back\",1]"]);
}

/// HTTP/1.0 knows no keep-alive: each answer ends its connection, and the session goes on.
#[test]
fn polls_of_http_1_0() {
    let relay = patient();
    let open = relay.raw("GET /socket.io/?EIO=4&transport=polling HTTP/1.0\r\n\r\n");
    let (head, body) = open.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
    let sid = engineio::sid(body);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let posted = relay.raw(format!("POST {target} HTTP/1.0\r\nContent-Length: 2\r\n\r\n40"));
    assert!(posted.ends_with("\r\n\r\nok"), "{posted}");
    let polled = relay.raw(format!("GET {target} HTTP/1.0\r\n\r\n"));
    assert!(polled.ends_with("\x1e42[\"auth\",{}]"), "{polled}");
    // And one that waits.
    let mut stream = relay.tcp();
    send_part(&mut stream, &format!("GET {target} HTTP/1.0\r\n\r\n"));
    assert_eq!(relay.get("/healthz").status, 200);
    assert_eq!(relay.request("POST", &target, &[], b"42[\"message\"]").body, "ok");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\n42[\"message-back\"]"), "{text}");
    assert_eq!(relay.stat("/sessions"), 1);
}

// Upgrade.

#[test]
fn from_polling_to_a_websocket() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut poll = session.begin_poll();
    let mut socket = session.probe();
    assert_eq!(session.end_poll(&mut poll), ["6"], "the poll that waits ends at the probe");
    assert_eq!(session.poll(), ["6"], "and so do others from then on");
    socket.send("5");
    socket.send("42[\"message\",\"hello\"]");
    assert_eq!(socket.text(), "42[\"message-back\",\"hello\"]");
}

#[test]
fn an_upgraded_session_is_not_polled() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut socket = session.upgrade();
    socket.send("42[\"message\",1]");
    assert_eq!(socket.text(), "42[\"message-back\",1]");
    let answers = [relay.get(&session.target), session.try_post(b"42[\"message\",\"lost\"]", &[])];
    for answer in answers.into_iter().chain([session.websocket().unwrap_err()]) {
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{answer:?}");
    }
    socket.send("42[\"message\",2]");
    assert_eq!(socket.text(), "42[\"message-back\",2]");
}

#[test]
fn a_second_websocket_while_one_probes() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut socket = session.probe();
    let answer = session.websocket().unwrap_err();
    assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()));
    send_together(&mut socket, &["5", "42[\"message\"]"]);
    assert_eq!(socket.text(), "42[\"message-back\"]");
}

/// `2probe`, `5` and more in one write.
#[test]
fn messages_right_behind_the_upgrade() {
    let relay = patient();
    let session = Polling::joined(&relay);
    session.post(&["42[\"message\",0]"]);
    let mut socket = session.websocket().unwrap();
    let attached = "451-[\"message\",{\"_placeholder\":true,\"num\":0}]";
    send_together(&mut socket, &["2probe", "5", "42[\"message\",1]", attached]);
    send_bytes(&mut socket, &[1, 2]);
    assert_eq!(socket.text(), "3probe");
    for expected in ["42[\"message-back\",0]", "42[\"message-back\",1]"] {
        assert_eq!(socket.text(), expected);
    }
    assert!(socket.text().starts_with("451-[\"message-back\""));
    assert_eq!(bytes(&mut socket), [1, 2]);
}

/// Frames may come with the request already, and be cut anywhere.
#[test]
fn frames_with_the_request_for_a_websocket() {
    let relay = patient();
    let read = |stream: &mut std::net::TcpStream, last: &str| {
        let mut came = Vec::new();
        while !came.ends_with(last.as_bytes()) {
            let mut buffer = [0; 1000];
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "{:?}", String::from_utf8_lossy(&came));
            came.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&came).into_owned()
    };
    let frames =
        ["2probe", "5", "42[\"message\",1]", "42[\"message\",2]"].map(|text| frame(TEXT, text.as_bytes())).concat();
    for cut in 0..=frames.len() {
        let session = Polling::joined(&relay);
        let mut bytes = Vec::new();
        send_request(&mut bytes, "GET", &session.target.replace("polling", "websocket"), &UPGRADE, b"");
        bytes.extend_from_slice(&frames);
        let (first, second) = bytes.split_at(bytes.len() - frames.len() + cut);
        let mut stream = relay.tcp();
        stream.write_all(first).unwrap();
        assert_eq!(relay.get("/healthz").status, 200);
        stream.write_all(second).unwrap();
        let came = read(&mut stream, "42[\"message-back\",2]");
        let (head, rest) = came.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(rest.find("3probe") < rest.find("42[\"message-back\",1]") && rest.contains("3probe"), "{rest:?}");
    }
    let mut stream = relay.tcp();
    let mut bytes = Vec::new();
    send_request(&mut bytes, "GET", "/socket.io/?EIO=4&transport=websocket", &UPGRADE, b"");
    bytes.extend([frame(TEXT, b"40"), frame(TEXT, b"42[\"message\"]")].concat());
    stream.write_all(&bytes).unwrap();
    let came = read(&mut stream, "42[\"message-back\"]");
    assert!(came.find("0{\"sid\"") < came.find("40{\"sid\""), "{came}");
}

/// Pings of the WebSocket itself, before, during and after the upgrade.
#[test]
fn pings_of_the_websocket_itself() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut socket = session.websocket().unwrap();
    for step in ["", "2probe", "5", "42[\"message\"]"] {
        if !step.is_empty() {
            socket.send(step);
        }
        socket.socket.send(Message::Ping(step.as_bytes().to_vec().into())).unwrap();
        loop {
            match socket.socket.read().unwrap() {
                Message::Pong(data) => break assert_eq!(data, step.as_bytes()),
                Message::Text(text) => assert!(["3probe", "42[\"message-back\"]"].contains(&&*text), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What ends a session ends it also right behind the upgrade, with the same words.
#[test]
fn an_end_right_behind_the_upgrade() {
    let relay = patient();
    for (packet, code) in [("1", 1000), ("4abc", 1002), ("7", 1002)] {
        let session = Polling::joined(&relay);
        let mut socket = session.probe();
        send_together(&mut socket, &["5", packet]);
        assert_eq!(socket.close_code(), code, "{packet}");
        session.assert_gone();
    }
}

#[test]
fn a_close_right_behind_the_upgrade_is_answered() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut socket = session.probe();
    socket.socket.write(Message::text("5")).unwrap();
    socket.socket.close(None).unwrap();
    assert_eq!(socket.close_code(), 1005);
    session.assert_gone();
}

#[test]
fn too_much_right_behind_the_upgrade() {
    let relay = example(&[PATIENT, &[("max_payload = 1000000", "max_payload = 1000")]].concat(), "");
    let session = Polling::joined(&relay);
    let mut socket = session.probe();
    send_together(&mut socket, &["5", &format!("4{}", "x".repeat(1000))]);
    assert_eq!(socket.close_code(), 1009);
    session.assert_gone();
}

/// Whatever is queued while the transport changes comes once and in order.
#[test]
fn nothing_is_lost_or_doubled_in_an_upgrade() {
    let relay = patient();
    for polled_between in [false, true] {
        let session = Polling::joined(&relay);
        session.post(&["42[\"message\",0]", "42[\"message\",1]"]);
        assert_eq!(session.collect(2).len(), 2);
        session.post(&["42[\"message\",2]"]);
        let mut socket = session.websocket().unwrap();
        session.post(&["42[\"message\",3]"]);
        let mut expected = 2;
        if polled_between {
            // Before the probe was answered, polls bring messages as ever.
            assert_eq!(session.collect(2), ["42[\"message-back\",2]", "42[\"message-back\",3]"]);
            expected = 4;
        }
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        session.post(&["42[\"message\",4]"]);
        assert_eq!(session.poll(), ["6"]);
        session.post(&["42[\"message\",5]"]);
        socket.send("5");
        socket.send("42[\"message\",6]");
        for number in expected..=6 {
            assert_eq!(socket.text(), format!("42[\"message-back\",{number}]"), "{polled_between}");
        }
        socket.silence();
    }
}

/// More than sixteen packets, and large ones, wait for the WebSocket.
#[test]
fn much_waits_for_the_websocket() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let large = "x".repeat(9000);
    let mut socket = session.probe();
    for number in 0..50 {
        session.post(&[&format!("42[\"message\",{number},\"{large}\"]")]);
    }
    socket.send("5");
    for number in 0..50 {
        assert!(socket.text() == format!("42[\"message-back\",{number},\"{large}\"]"), "{number}");
    }
}

#[test]
fn a_probe_that_dies_leaves_polling_alive() {
    let relay = patient();
    // Before it said anything, after its answer, with a close, with what is no probe, with an upgrade too early.
    for (number, end) in ["", "2probe", "close", "42[\"message\",\"x\"]", "5", "2other"].into_iter().enumerate() {
        let session = Polling::joined(&relay);
        let mut poll = session.begin_poll();
        let mut socket = session.websocket().unwrap();
        match end {
            "" => {}
            "2probe" => {
                socket.send(end);
                assert_eq!(socket.text(), "3probe");
                assert_eq!(session.end_poll(&mut poll), ["6"]);
                session.post(&["42[\"message\",\"queued\"]"]);
            }
            "close" => socket.socket.close(None).unwrap(),
            text => {
                socket.send(text);
                assert!(socket.socket.read().is_err(), "{text}: it is closed");
            }
        }
        drop(socket);
        let again = format!("42[\"message\",{number}]");
        if end == "2probe" {
            // Once the relay has seen the end, a poll waits or brings what was queued.
            let packets = wait_for("a poll that is no noop", || {
                let packets = session.poll();
                (packets != ["6"]).then_some(packets)
            });
            assert_eq!(packets, ["42[\"message-back\",\"queued\"]"]);
            poll = session.begin_poll();
        }
        session.post(&[&again]);
        assert_eq!(session.end_poll(&mut poll), [again.replace("message", "message-back")], "{end:?}");
        // It may try again.
        let mut socket = wait_for("a second try", || session.websocket().ok());
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        send_together(&mut socket, &["5", "42[\"message\",\"up\"]"]);
        assert_eq!(socket.text(), "42[\"message-back\",\"up\"]");
    }
}

/// A WebSocket that does not take over is closed after ten seconds, and the session polls on.
#[test]
fn a_probe_that_does_not_go_on_is_closed() {
    let relay = patient();
    let sessions = [Polling::joined(&relay), Polling::joined(&relay)];
    let begin = Instant::now();
    let mut sockets = [sessions[0].websocket().unwrap(), sessions[1].probe()];
    sessions[1].post(&["42[\"message\",\"queued\"]"]);
    for socket in &mut sockets {
        patience(socket, Duration::from_secs(10));
        match socket.socket.read() {
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("it is still open")
            }
            Ok(Message::Close(_)) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert!(begin.elapsed() >= Duration::from_millis(9900), "{:?}", begin.elapsed());
    assert_eq!(sessions[1].poll(), ["42[\"message-back\",\"queued\"]"]);
    for session in sessions {
        session.post(&["42[\"message\",\"on\"]"]);
        assert_eq!(session.poll(), ["42[\"message-back\",\"on\"]"]);
    }
}

/// A post that began before the upgrade and ends behind the probe is taken; one that ends behind the upgrade is refused
/// and harms nobody.
#[test]
fn a_post_in_flight_during_the_upgrade() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let body = "42[\"message\",\"early\"]";
    let head = format!("POST {} HTTP/1.1\r\nHost: relay\r\nContent-Length: {}\r\n\r\n", session.target, body.len());
    let mut posts = [relay.tcp(), relay.tcp()];
    for post in &mut posts {
        send_part(post, &head);
        send_part(post, &body[..8]);
    }
    let mut socket = session.probe();
    send_part(&mut posts[0], &body[8..]);
    assert_eq!(read_answer(&mut posts[0], false).body, "ok");
    socket.send("5");
    assert_eq!(socket.text(), "42[\"message-back\",\"early\"]");
    send_part(&mut posts[1], &body[8..]);
    assert_eq!(read_answer(&mut posts[1], false).status, 400);
    socket.send("42[\"message\",\"late\"]");
    assert_eq!(socket.text(), "42[\"message-back\",\"late\"]");
}

/// The heartbeat goes on over the new transport, also if the ping was asked for on the old one.
#[test]
fn a_ping_across_the_upgrade() {
    let relay = example(SILENT, "");
    let session = Polling::joined(&relay);
    assert_eq!(session.poll(), ["2"]);
    let mut socket = session.probe();
    send_together(&mut socket, &["5", "3"]);
    assert_eq!(socket.text(), "2");
    socket.send("3");
    assert_eq!(socket.text(), "2");
    assert_eq!(socket.close_code(), 1008);
}

// Namespaces.

#[test]
fn joining_namespaces() {
    let relay = patient();
    for (connect, answer, auth) in [
        ("40", "40", "42[\"auth\",{}]"),
        ("40{\"token\":\"123\"}", "40", "42[\"auth\",{\"token\":\"123\"}]"),
        ("40/custom,", "40/custom,", "42/custom,[\"auth\",{}]"),
        ("40/custom", "40/custom,", "42/custom,[\"auth\",{}]"),
        ("40/custom,{\"token\":\"abc\"}", "40/custom,", "42/custom,[\"auth\",{\"token\":\"abc\"}]"),
        // To the letter.
        ("40{\"b\" : 1e400,\"a\":[ ]}", "40", "42[\"auth\",{\"b\" : 1e400,\"a\":[ ]}]"),
    ] {
        let (mut socket, open) = websocket(&relay, "EIO=4");
        socket.send(connect);
        let handshake = json(&socket.text(), answer);
        let keys: Vec<_> = handshake.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["sid"]);
        assert!(handshake["sid"].as_str().is_some_and(|sid| !sid.is_empty() && sid != engineio::sid(&open)));
        assert_eq!(socket.text(), auth);
        // The same by polling.
        let session = Polling::fresh(&relay);
        session.post(&[connect]);
        assert_eq!(session.poll()[1..], [auth]);
    }
}

#[test]
fn an_unknown_namespace() {
    let relay = patient();
    let (mut socket, _) = websocket(&relay, "EIO=4");
    for connect in ["40/random", "40/random,", "40/random,{\"token\":1}"] {
        socket.send(connect);
        assert_eq!(socket.text(), "44/random,{\"message\":\"Invalid namespace\"}");
    }
    socket.send("40/Custom,");
    assert_eq!(socket.text(), "44/Custom,{\"message\":\"Invalid namespace\"}");
    // The connection is none the worse.
    socket.send("40/custom,");
    assert!(socket.text().starts_with("40/custom,{\"sid\":"));
}

#[test]
fn what_is_no_handshake_closes_the_connection() {
    let relay = patient();
    for packet in ["4abc", "4", "40abc", "40[]", "40\"x\"", "abc", "47"] {
        let (mut socket, _) = websocket(&relay, "EIO=4");
        socket.send(packet);
        assert_eq!(socket.close_code(), 1002, "{packet}");
    }
}

/// Who never joins a namespace is closed after `connect_timeout`, though it answers pings.
#[test]
fn who_joins_no_namespace_is_gone() {
    let relay = example(&[SLACK[0], ("connect_timeout = 1", "connect_timeout = 2")], "");
    let begin = Instant::now();
    let (mut silent, _) = websocket(&relay, "EIO=4");
    let (mut refused, _) = websocket(&relay, "EIO=4");
    refused.send("40/random");
    let session = Polling::fresh(&relay);
    let mut pings = 0;
    loop {
        // The session may end between two requests.
        let answer = relay.get(&session.target);
        if answer.body != "2" {
            assert!(answer.body == "1" || answer.status == 400, "{answer:?}");
            break;
        }
        pings += 1;
        session.try_post(b"3", &[]);
    }
    assert!(pings > 0 && begin.elapsed() >= Duration::from_secs(2), "{pings} pings in {:?}", begin.elapsed());
    session.assert_gone();
    for socket in [&mut silent, &mut refused] {
        assert_eq!(socket.close_code(), 1008);
    }
}

/// Packets to nowhere are no way to stay.
#[test]
fn attachments_do_not_prolong_a_stay_in_no_namespace() {
    let relay = example(&[PATIENT[0], PATIENT[1]], "");
    let (mut unfinished, _) = websocket(&relay, "EIO=4");
    unfinished.send("451-[\"message\",{\"_placeholder\":true,\"num\":0}]");
    let (mut busy, _) = websocket(&relay, "EIO=4");
    wait_for("both to be closed", || {
        let _ = busy.socket.write(Message::text("451-[\"message\",{\"_placeholder\":true,\"num\":0}]"));
        let _ = busy.socket.send(Message::binary(&b"x"[..]));
        thread::sleep(Duration::from_millis(100));
        (relay.counter("ping_timeouts") == 2).then_some(())
    });
}

#[test]
fn leaving_the_main_namespace_leaves_the_connection() {
    let relay = example(SLACK, "");
    let mut socket = joined(&relay);
    socket.send("41");
    assert_eq!(socket.text(), "2");
    socket.send("3");
    assert_eq!(relay.stat("/sessions"), 0);
    // What is said to a namespace that was left goes nowhere; it can be joined again.
    socket.send("42[\"message\",1]");
    socket.send("40{\"again\":true}");
    assert!(socket.text().starts_with("40{\"sid\":"));
    assert_eq!(socket.text(), "42[\"auth\",{\"again\":true}]");
}

#[test]
fn leaving_one_namespace_leaves_the_other() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("40/custom");
    assert!(socket.text().starts_with("40/custom,{\"sid\":"));
    assert_eq!(socket.text(), "42/custom,[\"auth\",{}]");
    assert_eq!(relay.stat("/sessions"), 2);
    socket.send("42/custom,[\"message\",\"to custom\"]");
    assert_eq!(socket.text(), "42/custom,[\"message-back\",\"to custom\"]");
    socket.send("41/custom");
    socket.send("42/custom,[\"message\",\"too late\"]");
    socket.send("42[\"message\",\"message to main namespace\"]");
    assert_eq!(socket.text(), "42[\"message-back\",\"message to main namespace\"]");
    assert_eq!(relay.stat("/sessions"), 1);
    // And the other way round, with the comma.
    socket.send("40/custom,");
    assert!(socket.text().starts_with("40/custom,{\"sid\":"));
    assert_eq!(socket.text(), "42/custom,[\"auth\",{}]");
    socket.send("41");
    socket.send("42/custom,7[\"message-with-ack\",\"still here\"]");
    assert_eq!(socket.text(), "43/custom,7[\"still here\"]");
}

// Messages.

const TWO: &str = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}";

#[test]
fn messages_and_acknowledgements() {
    let relay = patient();
    let mut socket = joined(&relay);
    let session = Polling::joined(&relay);
    for (sent, expected) in [
        (r#"42["message",1,"2",{"3":[true]}]"#, r#"42["message-back",1,"2",{"3":[true]}]"#),
        (r#"42456["message-with-ack",1,"2",{"3":[false]}]"#, r#"43456[1,"2",{"3":[false]}]"#),
        (r#"420["message-with-ack"]"#, "430[]"),
        (r#"4299999999999999999999["message-with-ack",null]"#, "4399999999999999999999[null]"),
        (r#"42["message"]"#, r#"42["message-back"]"#),
        (r#"42["mess\u0061ge","e"]"#, r#"42["message-back","e"]"#),
    ] {
        socket.send(sent);
        assert_eq!(socket.text(), expected);
        session.post(&[sent]);
        assert_eq!(session.poll(), [expected]);
    }
    // What has no rule, and an acknowledgement nobody asked for, go nowhere; "message" has no acknowledgement.
    for sent in ["42[\"other\",1]", "427[\"other\",1]", "437[1]", "41/custom", "42/custom,[\"message\"]"] {
        socket.send(sent);
    }
    socket.send("427[\"message\",\"the end\"]");
    assert_eq!(socket.text(), "42[\"message-back\",\"the end\"]");
    socket.silence();
}

#[test]
fn binary_messages_and_acknowledgements() {
    let relay = patient();
    let mut socket = joined(&relay);
    for (sent, expected) in [
        (format!("452-[\"message\",{TWO}]"), format!("452-[\"message-back\",{TWO}]")),
        (format!("452-789[\"message-with-ack\",{TWO}]"), format!("462-789[{TWO}]")),
        // Deep within, in another order, twice the same.
        (
            r#"452-["message",{"a":[{"num":1,"_placeholder":true}]},{"_placeholder":true,"num":0}]"#.into(),
            r#"452-["message-back",{"a":[{"num":1,"_placeholder":true}]},{"_placeholder":true,"num":0}]"#.into(),
        ),
    ] {
        socket.send(&sent);
        send_bytes(&mut socket, &[1, 2, 3]);
        send_bytes(&mut socket, &[4, 5, 6]);
        assert_eq!(socket.text(), expected);
        assert_eq!((bytes(&mut socket), bytes(&mut socket)), (vec![1, 2, 3], vec![4, 5, 6]));
    }
    socket.send("40/custom,");
    assert!(socket.text().starts_with("40/custom,") && socket.text().starts_with("42/custom,"));
    socket.send("451-/custom,[\"message\",{\"_placeholder\":true,\"num\":0}]");
    send_bytes(&mut socket, b"");
    assert_eq!(socket.text(), "451-/custom,[\"message-back\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bytes(&mut socket), b"");
}

/// JSON is passed on as it was written, also what no number type holds.
#[test]
fn json_is_not_touched() {
    let relay = patient();
    let mut socket = joined(&relay);
    let session = Polling::joined(&relay);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for args in [
        "1e400,-0.0,0.10,12345678901234567890123",
        r#"{"z":1,"a":2,"z":3}"#,
        "  [ 1 ,\t2 ] , { \"a\" : null }  ",
        r#""é\u00e9\/\ud800\ud834\udd1e""#,
        "\"𝄞€\u{7f}\u{2028}\"",
        r#"{"_placeholder":true,"num":"0"}"#,
        &deep,
    ] {
        let (sent, expected) = (format!("42[\"message\",{args}]"), format!("42[\"message-back\",{args}]"));
        socket.send(&sent);
        assert!(socket.text() == expected, "{args:.100}");
        session.post(&[&sent]);
        assert!(session.poll() == [expected], "{args:.100}");
    }
}

/// Nearly as large as may be, in one packet, both ways and over both transports.
#[test]
fn large_messages() {
    let relay = patient();
    let (session, mut socket) = (Polling::joined(&relay), joined(&relay));
    let text = "x€𝄞".repeat(110_000);
    let (sent, expected) = (format!("42[\"message\",\"{text}\"]"), format!("42[\"message-back\",\"{text}\"]"));
    let data: Vec<u8> = (0..700_000_u32).map(|number| number as u8).collect();
    let binary = "451-[\"message\",{\"_placeholder\":true,\"num\":0}]";
    for _ in 0..2 {
        socket.send(&sent);
        assert!(socket.text() == expected);
        session.post(&[&sent]);
        assert!(session.poll() == [expected.as_str()]);
        socket.send(binary);
        send_bytes(&mut socket, &data);
        assert_eq!(socket.text(), binary.replace("message", "message-back"));
        assert!(bytes(&mut socket) == data);
        let encoded = format!("b{}", BASE64.encode(&data));
        session.post(&[binary, &encoded]);
        assert!(session.collect(2)[1] == encoded);
    }
}

#[test]
fn what_is_no_packet_closes_the_connection() {
    let relay = patient();
    let mut before = relay.counter("protocol_errors");
    for packet in [
        "4abc",
        "42{}",
        "42abc[\"message-with-ack\",1,\"2\",{\"3\":[false]}]",
        "42",
        "42[]",
        "42[{}]",
        "42[\"message\"",
        "42[\"message\"]]",
        "42[\"disconnect\"]",
        "43[1]",
        "41[]",
        "44{\"message\":\"x\"}",
        "47",
        "45-[\"message\"]",
        "45x-[\"message\"]",
        "451[\"message\"]",
        "",
    ] {
        let mut socket = joined(&relay);
        socket.send(packet);
        assert_eq!(socket.close_code(), 1002, "{packet:?}");
        before += 1;
        assert_eq!(relay.counter("protocol_errors"), before, "{packet:?}");
    }
    wait_for("the sessions to end", || (relay.stat("/sessions") == 0).then_some(()));
}

#[test]
fn attachments_that_do_not_fit() {
    let relay = patient();
    let closed = |send: &dyn Fn(&mut Client)| {
        let mut socket = joined(&relay);
        send(&mut socket);
        assert_eq!(socket.close_code(), 1002);
    };
    closed(&|socket| send_bytes(socket, b"of no packet"));
    // A placeholder for what will not come.
    closed(&|socket| socket.send("451-[\"message\",{\"_placeholder\":true,\"num\":1}]"));
    // Text while bytes are awaited.
    closed(&|socket| {
        socket.send("451-[\"message\",{\"_placeholder\":true,\"num\":0}]");
        socket.send("42[\"message\"]");
    });
    closed(&|socket| {
        socket.send(&format!("452-[\"message\",{TWO}]"));
        send_bytes(socket, b"one");
        socket.send("42[\"message\"]");
    });
    // One too many.
    closed(&|socket| {
        socket.send("451-[\"other\",{\"_placeholder\":true,\"num\":0}]");
        send_bytes(socket, b"one");
        send_bytes(socket, b"two");
    });
    // A heartbeat among them is none of their business.
    let mut socket = joined(&relay);
    socket.send("451-[\"message\",{\"_placeholder\":true,\"num\":0}]");
    socket.send("3");
    socket.send("6");
    send_bytes(&mut socket, b"one");
    assert!(socket.text().starts_with("451-[\"message-back\""));
    assert_eq!(bytes(&mut socket), b"one");
}

#[test]
fn a_hundred_attachments_and_no_more() {
    let relay = patient();
    let packet = |count: usize| {
        let places: Vec<_> = (0..count).map(|number| format!("{{\"_placeholder\":true,\"num\":{number}}}")).collect();
        format!("45{count}-[\"message\",{}]", places.join(","))
    };
    let mut socket = joined(&relay);
    socket.send(&packet(100));
    for number in 0..100 {
        send_bytes(&mut socket, &[number]);
    }
    assert_eq!(socket.text(), packet(100).replace("message", "message-back"));
    for number in 0..100 {
        assert_eq!(bytes(&mut socket), [number]);
    }
    socket.send(&packet(101));
    assert_eq!(socket.close_code(), 1002);
}

/// As in engine.io. The Socket.IO client for Arduino says so first thing over a WebSocket of its own.
#[test]
fn an_upgrade_packet_that_changes_nothing_is_ignored() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("5");
    socket.send("42[\"message\"]");
    assert_eq!(socket.text(), "42[\"message-back\"]");
}

/// A packet and its attachments are together no larger than a message may be.
#[test]
fn attachments_count_as_one_message() {
    let relay = example(PATIENT, "[limits]\nmessage = 1000");
    let packet = format!("452-[\"message\",{TWO}]");
    let left = 1000 - (packet.len() - 1);
    let mut socket = joined(&relay);
    socket.send(&packet);
    send_bytes(&mut socket, &vec![7; left - 100]);
    send_bytes(&mut socket, &[7; 100]);
    assert_eq!(socket.text(), packet.replace("message", "message-back"));
    assert_eq!((bytes(&mut socket).len(), bytes(&mut socket).len()), (left - 100, 100));
    socket.send(&packet);
    send_bytes(&mut socket, &vec![7; left - 100]);
    send_bytes(&mut socket, &[7; 101]);
    assert_eq!(socket.close_code(), 1009);
}

#[test]
fn max_payload() {
    let relay = example(&[PATIENT, &[("max_payload = 1000000", "max_payload = 1000")]].concat(), "");
    let session = Polling::joined(&relay);
    let mut socket = joined(&relay);
    let packet = |length: usize| format!("42[\"message\",\"{}\"]", "x".repeat(length - 16));
    assert_eq!(packet(1000).len(), 1000);
    session.post(&[&packet(1000)]);
    assert_eq!(session.poll()[0].len(), 1005);
    socket.send(&packet(1000));
    assert_eq!(socket.text().len(), 1005);

    let mut poll = session.begin_poll();
    let answer = session.try_post(packet(1001).as_bytes(), &[]);
    assert_eq!((answer.status, &answer.json()["code"]), (413, &3.into()));
    assert_eq!(session.end_poll(&mut poll), ["1"]);
    session.assert_gone();
    let _ = socket.socket.send(Message::text(packet(1001)));
    assert_eq!(socket.close_code(), 1009);
    let (_, open) = websocket(&relay, "EIO=4");
    assert_eq!(json(&open, "0")["maxPayload"], 1000);
}

/// Beyond what HTTP itself takes.
#[test]
fn a_post_larger_than_any_body() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_part(
        &mut stream,
        &format!("POST {} HTTP/1.1\r\nHost: relay\r\nContent-Length: 1000001\r\n\r\n", session.target),
    );
    assert_eq!(read_answer(&mut stream, false).status, 413);
}

// Pages.

#[test]
fn pages_of_other_origins_may_call() {
    let relay = patient();
    let page = [("Origin", "https://page.example")];
    let allowed = |answer: &Answer| {
        assert_eq!(answer.header("access-control-allow-origin"), "https://page.example", "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true", "{answer:?}");
        assert_eq!(answer.header("vary"), "Origin", "{answer:?}");
    };
    let preflight =
        [page[0], ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    let answer = relay.request("OPTIONS", "/socket.io/?EIO=4&transport=polling", &preflight, b"");
    assert_eq!(answer.status, 204);
    allowed(&answer);
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST");
    assert!(answer.header("access-control-allow-headers").to_lowercase().contains("content-type"));

    let answer = relay.request("GET", "/socket.io/?EIO=4&transport=polling", &page, b"");
    allowed(&answer);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", engineio::sid(&answer.body));
    allowed(&relay.request("POST", &target, &page, b"40"));
    allowed(&relay.request("GET", &target, &page, b""));
    // The answer to a poll that waited.
    let mut poll = relay.tcp();
    send_request(&mut poll, "GET", &target, &page, b"");
    assert_eq!(relay.get("/healthz").status, 200);
    assert_eq!(relay.request("POST", &target, &page, b"42[\"message\"]").body, "ok");
    let answer = read_answer(&mut poll, false);
    allowed(&answer);
    assert_eq!(answer.body, "42[\"message-back\"]");
    // A page must be able to read why it was refused.
    allowed(&relay.request("GET", "/socket.io/?EIO=4&transport=polling&sid=x", &page, b""));
    // Programs send no Origin and hear nothing of it.
    assert_eq!(relay.get(&target.replace("polling", "x")).header("access-control-allow-origin"), "");
}

#[test]
fn a_page_of_an_origin_that_is_not_listed() {
    let more = ("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.1:0\"]\norigins = [\"https://page.example\"]");
    let relay = example(&[PATIENT, &[more]].concat(), "");
    let target = "/socket.io/?EIO=4&transport=polling";
    let other = [("Origin", "https://other.example")];
    let answer = relay.request("GET", target, &other, b"");
    assert_eq!((answer.status, answer.body.as_str()), (403, r#"{"code":4,"message":"Forbidden"}"#));
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(relay.request("OPTIONS", target, &other, b"").header("access-control-allow-origin"), "");
    let session = Polling::fresh(&relay);
    assert_eq!(relay.request("POST", &session.target, &other, b"40").status, 403);
    assert_eq!(relay.request("GET", &session.target, &other, b"").status, 403);
    let upgrade = [&other[..], &UPGRADE].concat();
    assert_eq!(relay.request("GET", "/socket.io/?EIO=4&transport=websocket", &upgrade, b"").status, 403);
    let page = [("Origin", "https://page.example")];
    assert_eq!(relay.request("POST", &session.target, &page, b"40").body, "ok");
    let answer = relay.request("GET", &session.target, &page, b"");
    assert_eq!(answer.header("access-control-allow-origin"), "https://page.example");
    assert_eq!(payload(&answer.body).len(), 2);
}

// Paths.

#[test]
fn several_paths_and_the_client_beside_them() {
    let script = temp_file("client.js");
    fs::write(&script, "/* a bundle */").unwrap();
    let paths = format!("path = [\"/socket.io/\", \"/Im/io\"]\nclient_js = {:?}", script.to_str().unwrap());
    let relay = example(&[PATIENT, &[("path = \"/socket.io/\"", &paths)]].concat(), "");
    fs::remove_file(&script).unwrap();
    let (mut sessions, mut etags) = (Vec::new(), Vec::new());
    for path in ["/socket.io/", "/socket.io", "/Im/io/", "/Im/io"] {
        let answer = relay.get(&format!("{path}?EIO=4&transport=polling"));
        assert_eq!(answer.status, 200, "{path}");
        sessions.push(engineio::sid(&answer.body));
        let target = format!("{}/socket.io.js", path.trim_end_matches('/'));
        let answer = relay.get(&target);
        assert_eq!((answer.status, answer.body.as_str()), (200, "/* a bundle */"), "{path}");
        assert!(answer.header("content-type").contains("javascript"), "{answer:?}");
        etags.push(answer.header("etag").to_owned());
        let again = relay.request("GET", &target, &[("If-None-Match", answer.header("etag"))], b"");
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
    assert!(!etags[0].is_empty() && etags.iter().all(|etag| *etag == etags[0]));
    // A session is not of one path.
    let target = format!("/Im/io?EIO=4&transport=polling&sid={}", sessions[0]);
    assert_eq!(relay.request("POST", &target, &[], b"40").body, "ok");
    let mut socket = Client::open(relay.tcp(), "/Im/io/?EIO=4&transport=websocket").unwrap();
    assert!(socket.text().starts_with("0{\"sid\":"));
    assert_eq!(relay.get("/socket.io/other.js").status, 404);
    assert_eq!(patient().get("/socket.io/socket.io.js").status, 404, "there is no client unless one is configured");
}

/// Many sessions at once, of both transports: each hears what is its own.
#[test]
fn sessions_do_not_mix() {
    let relay = patient();
    let mut sockets: Vec<Client> = (0..20).map(|_| joined(&relay)).collect();
    let sessions: Vec<Polling> = (0..20).map(|_| Polling::joined(&relay)).collect();
    let message = |kind: &str, number: usize| format!("42[\"message\",\"{kind}\",{number}]");
    for (number, (socket, session)) in sockets.iter_mut().zip(&sessions).enumerate() {
        socket.send(&message("websocket", number));
        session.post(&[&message("polling", number)]);
    }
    for (number, (socket, session)) in sockets.iter_mut().zip(&sessions).enumerate() {
        assert_eq!(socket.text(), message("websocket", number).replace("message", "message-back"));
        assert_eq!(session.poll(), [message("polling", number).replace("message", "message-back")]);
    }
    let names: std::collections::HashSet<_> = sessions.iter().map(|session| session.sid.as_str()).collect();
    assert_eq!(names.len(), 20);
    let stats: Value = relay.admin("/api/stats").json();
    assert_eq!(stats["sources"]["echo"]["sessions"], 40, "{stats}");
    drop(sockets);
    for session in &sessions {
        session.post(&["1"]);
    }
    wait_for("all to be gone", || (relay.stat("/sessions") == 0).then_some(()));
}

/// A session's name opens no other's.
#[test]
fn a_changed_sid_is_unknown() {
    let relay: Relay = patient();
    let session = Polling::joined(&relay);
    for at in 0..session.sid.len() {
        let mut sid = session.sid.clone().into_bytes();
        sid[at] = if sid[at] == b'A' { b'B' } else { b'A' };
        let target = session.target.replace(&session.sid, std::str::from_utf8(&sid).unwrap());
        assert_refused(&relay.get(&target), 1, "Session ID unknown");
    }
    session.post(&["42[\"message\"]"]);
    assert_eq!(session.poll(), ["42[\"message-back\"]"]);
}
