//! docs/protocol.md, Socket.IO: a session of Engine.IO 4 changes from polling to a WebSocket, or fails to.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::support::{
    engineio::{
        PATIENT, Polling, SILENT, TEXT, UPGRADE, bytes, example, frame, patience, patient, send_bytes, send_part,
        send_together,
    },
    read_answer, send_request, wait_for,
};

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
    for answer in answers {
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{answer:?}");
    }
    assert_eq!(session.websocket().expect("101").close_code(), 1008);
    socket.send("42[\"message\",2]");
    assert_eq!(socket.text(), "42[\"message-back\",2]");
}

#[test]
fn a_second_websocket_while_one_probes() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut socket = session.probe();
    assert_eq!(session.websocket().expect("101").close_code(), 1008);
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

/// Errors right behind the upgrade end the session with the usual codes.
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

/// What is sent has the order of what was received, also what came before the upgrade and right behind it in one write.
#[test]
fn answers_around_the_upgrade_have_their_order() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut socket = session.probe();
    session.post(&["42[\"message\",0]"]);
    let ping = |data: &str| Message::Ping(data.as_bytes().to_vec().into());
    let text = |number: u32| Message::text(format!("42[\"message\",{number}]"));
    for message in [ping("a"), Message::text("5"), text(1), ping("b"), text(2), ping("c")] {
        socket.socket.write(message).unwrap();
    }
    socket.socket.close(None).unwrap();
    let mut came = Vec::new();
    loop {
        match socket.socket.read().unwrap() {
            Message::Pong(data) => came.push(String::from_utf8(data.to_vec()).unwrap()),
            Message::Text(text) => came.push(text.split(',').nth(1).unwrap().to_owned()),
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, ["a", "0]", "1]", "b", "2]", "c"]);
    assert!(matches!(socket.socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}

/// A WebSocket that probes gets a close frame when its session ends.
#[test]
fn the_end_of_a_session_closes_its_probe() {
    let relay = patient();
    for (end, code) in [("1", 1000), ("4abc", 1002)] {
        let session = Polling::joined(&relay);
        let mut socket = session.probe();
        assert!([200, 400].contains(&session.try_post(end.as_bytes(), &[]).status));
        assert_eq!(socket.close_code(), code, "{end}");
        assert!(matches!(socket.socket.read(), Err(tungstenite::Error::ConnectionClosed)));
        session.assert_gone();
    }
    let session = Polling::joined(&relay);
    let poll = session.begin_poll();
    let mut socket = session.websocket().unwrap();
    drop(poll);
    assert_eq!(socket.close_code(), 1000, "the poll was dropped, and the session with it");
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
            "close" => {
                socket.socket.close(None).unwrap();
                assert_eq!(socket.close_code(), 1005, "it is answered");
                assert!(matches!(socket.socket.read(), Err(tungstenite::Error::ConnectionClosed)));
            }
            text => {
                socket.send(text);
                assert_eq!(socket.close_code(), 1002, "{text}");
                assert!(matches!(socket.socket.read(), Err(tungstenite::Error::ConnectionClosed)));
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
        // It may try again, once the relay has seen the end of the first one: until then a second one is closed with 1008.
        let mut socket = wait_for("a second try", || {
            let mut socket = session.websocket().ok()?;
            socket.send("2probe");
            match socket.next() {
                Message::Text(answer) if answer == "3probe" => Some(socket),
                Message::Close(Some(frame)) if frame.code == CloseCode::Policy => None,
                other => panic!("{other:?}"),
            }
        });
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
/// and changes nothing.
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
