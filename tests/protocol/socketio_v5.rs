//! docs/protocol.md, Socket.IO: what clients of Socket.IO 3.x and 4.x see (Engine.IO 4, Socket.IO protocol 5). Every
//! case of the protocol's own test suite and what it leaves out, against the example configuration. The transports have
//! files of their own: polling.rs and upgrade.rs.

use std::{
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tungstenite::Message;

use crate::support::{
    Client,
    engineio::{
        self, INTERVAL, PATIENT, Polling, SILENT, SLACK, TIMEOUT, assert_refused, bytes, example, joined, json,
        patient, send_bytes, send_part, websocket,
    },
    read_answer, send_request, wait_for,
};

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
fn invalid_handshakes_open_no_session() {
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
        // A WebSocket gets the same refusal before the upgrade.
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
    assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "JSONP is not supported");
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
fn session_without_polls_ends_after_interval_and_timeout() {
    let relay = example(SILENT, "");
    let session = Polling::fresh(&relay);
    thread::sleep(INTERVAL + TIMEOUT);
    session.assert_gone();
    assert_eq!(relay.counter("ping_timeouts"), 1);
}

/// A client that polls but answers no ping.
#[test]
fn pending_poll_gets_the_close_packet() {
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

#[test]
fn a_close_packet_over_a_websocket() {
    let relay = patient();
    let mut socket = joined(&relay);
    socket.send("1");
    assert_eq!(socket.close_code(), 1000);
    assert_eq!(relay.stat("/sessions"), 0);
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
        // Forwarded verbatim.
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
    // The connection still works.
    socket.send("40/custom,");
    assert!(socket.text().starts_with("40/custom,{\"sid\":"));
}

#[test]
fn invalid_connect_packets_close_the_connection() {
    let relay = patient();
    for packet in ["4abc", "4", "40abc", "40[]", "40\"x\"", "abc", "47"] {
        let (mut socket, _) = websocket(&relay, "EIO=4");
        socket.send(packet);
        assert_eq!(socket.close_code(), 1002, "{packet}");
    }
}

/// A client that never joins a namespace is closed after `connect_timeout`, though it answers pings.
#[test]
fn client_without_a_namespace_is_closed_after_connect_timeout() {
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

/// Packets outside of a namespace do not extend the time.
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
    socket.send("427[\"other\",1]");
    assert_eq!(socket.text(), "437[{\"code\":0,\"msg\":\"unknown event!\",\"data\":\"\"}]");
    for sent in ["42[\"other\",1]", "437[1]", "41/custom", "42/custom,[\"message\"]"] {
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

/// JSON is forwarded verbatim, including numbers that no type can hold.
#[test]
fn json_is_not_touched() {
    let relay = patient();
    let mut socket = joined(&relay);
    let session = Polling::joined(&relay);
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
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
    // One level more is refused: other relays and backends could not read it.
    let too_deep = format!("[{deep}]");
    let why = "args can not be nested more than 100 levels deep!";
    socket.send(&format!("42[\"message\",{too_deep}]"));
    assert_eq!(socket.text(), format!("42[\"sys_error\",\"{why}\"]"));
    session.post(&[&format!("421[\"message\",1,{too_deep}]")]);
    assert_eq!(session.poll(), [format!("431[{{\"code\":0,\"msg\":\"{why}\",\"data\":\"\"}}]")]);
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
fn invalid_packets_close_the_connection() {
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
    // A heartbeat among them is allowed.
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

/// As in engine.io. The Socket.IO client for Arduino sends one first on a direct WebSocket.
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
