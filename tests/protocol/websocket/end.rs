//! Every way in which a WebSocket ends.

use std::{net::Shutdown, thread, time::Duration};

use serde_json::Value;
use socket2::SockRef;
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::support::{FORM, Relay, TOKEN, UPGRADE, read_answer, send_request, wait_for, websocket::*};

#[test]
fn a_close_is_echoed_and_then_comes_the_end() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&[("format", "text")]);
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        let mut raw = Raw::open(&relay, &[("format", "text")]);
        let payload = [&code.to_be_bytes()[..], "tsch\u{fc}ss".as_bytes()].concat();
        raw.send(&[frame(TEXT, b"last"), frame(CLOSE, &payload), frame(TEXT, b"too late")].concat());
        assert_eq!(raw.text(), "last");
        let (first, echo) = raw.frame();
        assert_eq!((first, &echo[..2]), (CLOSE, &code.to_be_bytes()[..]), "{code}");
        raw.ended(&relay, &format!("the echo of {code}"));
        assert_eq!(witness.text(), "last");
    }
    let mut raw = Raw::open(&relay, &[]);
    raw.send(&frame(CLOSE, b""));
    let (first, echo) = raw.frame();
    assert!(first == CLOSE && (echo.is_empty() || echo == [3, 232]), "{echo:?}");
    raw.ended(&relay, "an empty close");
    witness.silence();

    let mut client = relay.connect("room");
    client.socket.close(Some(CloseFrame { code: CloseCode::Library(4321), reason: "bye".into() })).unwrap();
    assert_eq!(client.close_code(), 4321);
    assert!(matches!(client.socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    wait_for("them to be gone", || (relay.stat("/sessions") == 1).then_some(()));
    assert_eq!(relay.counter("protocol_errors"), 0);
}

#[test]
fn a_close_may_come_within_a_fragmented_message() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[]);
    raw.send(&frame(0x01, b"never"));
    raw.send(&close_frame(1000));
    assert_eq!(raw.close_code(), 1000);
    raw.ended(&relay, "a close within a message");
}

/// Every way in which relay itself ends a WebSocket: a close frame, and once it is answered the end of the connection.
#[test]
fn an_answered_close_is_the_end() {
    let relay = Relay::start(
        "[limits]\nmessage = 1000\nmessage_rate = 1\nmessage_burst = 1\n[sources.mute]\nsign_key = \"try4dfs%#fs!#$2334ds(%B)\"\nclient_posts = \"none\"",
    );
    let end = |what: &str, raw: &mut Raw, code: u16, answered: bool| {
        assert_eq!(raw.close_code(), code, "{what}");
        if answered {
            raw.send(&close_frame(code));
        }
        raw.ended(&relay, what);
    };
    let mut raw = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    raw.send(&frame(TEXT, b"x"));
    end("client_posts", &mut raw, 1008, true);

    // The peer's close comes in the same read: it is the answer already.
    let mut raw = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    raw.send(&[frame(TEXT, b"x"), close_frame(1000)].concat());
    end("closes that cross", &mut raw, 1008, false);

    // Instead of an answer comes what is no frame.
    let mut raw = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    raw.send(&frame(TEXT, b"x"));
    assert_eq!(raw.close_code(), 1008);
    raw.send(&[frame(TEXT, b"a message still on its way"), vec![0xff; 20]].concat());
    raw.ended(&relay, "an error in place of an answer");

    let mut raw = Raw::open(&relay, &[("format", "text")]);
    raw.send(&[frame(TEXT, b"x"), frame(TEXT, b"y"), frame(TEXT, b"z")].concat());
    end("message_rate", &mut raw, 1008, true);

    let mut raw = Raw::open(&relay, &[("userid", "bad")]);
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", FORM)];
    let answer = relay.request("POST", "/api/disconnect", &headers, b"source=demo&userid=bad");
    assert_eq!(answer.json()["code"], 1, "{answer:?}");
    end("/api/disconnect", &mut raw, 1008, true);

    for (packet, code) in [("1", 1000), ("4abc", 1002)] {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", "/socket.io/?EIO=4&transport=websocket", &UPGRADE, b"");
        assert_eq!(read_answer(&mut stream, false).status, 101);
        let mut raw = Raw { stream };
        raw.send(&frame(TEXT, packet.as_bytes()));
        end(packet, &mut raw, code, true);
    }

    let mut raw = Raw::open(&relay, &[]);
    let mut closing = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    closing.send(&frame(TEXT, b"x"));
    assert_eq!(closing.close_code(), 1008);
    relay.signal(15);
    end("the shutdown", &mut raw, 1001, true);
    closing.send(&close_frame(1008));
    closing.ended(&relay, "a shutdown while a close is unanswered");
}

/// A peer that never closes its side is disconnected after some seconds.
#[test]
fn a_peer_that_keeps_an_ended_connection_is_disconnected() {
    let relay = Relay::start("");
    let before = relay.descriptors();
    let mut raws: Vec<_> = [frame(0x83, b""), close_frame(1000)]
        .map(|bytes| {
            let mut raw = Raw::open(&relay, &[]);
            raw.send(&bytes);
            raw.close_code();
            raw.ended(&relay, "a close");
            raw
        })
        .into();
    assert_eq!(relay.stat("/sessions"), 0);
    assert!(relay.descriptors() >= before + 2, "relay waits for the peer");
    wait_for("relay to give up", || (relay.descriptors() == before).then_some(()));
    raws.iter_mut().for_each(Raw::drain);
}

/// A peer that closes its side right behind its last frames still gets the answers to them.
#[test]
fn a_half_close_behind_the_last_frame_loses_no_answer() {
    let relay = Relay::start("[limits]\nmessage = 1000");
    let too_much = frame(TEXT, &[b'x'; 1001]);
    for (bytes, expected) in [
        (close_frame(1000), vec![(CLOSE, vec![3, 232])]),
        (frame(PING, b"p"), vec![(PONG, b"p".to_vec())]),
        ([frame(TEXT, b"hi"), frame(PING, b"p")].concat(), vec![(TEXT, b"hi".to_vec()), (PONG, b"p".to_vec())]),
        (frame(0x83, b""), vec![(CLOSE, b"\x03\xeaprotocol error".to_vec())]),
        (too_much, vec![(CLOSE, b"\x03\xf1message too big".to_vec())]),
    ] {
        for number in 0..20 {
            let mut raw = Raw::open(&relay, &[("format", "text"), ("room_ids", &format!("room{number}"))]);
            raw.send(&bytes);
            raw.stream.shutdown(Shutdown::Write).unwrap();
            for frame in &expected {
                assert_eq!(raw.frame(), *frame);
            }
            raw.ended(&relay, "a half close");
        }
    }
    wait_for("them to be gone", || (relay.stat("/sessions") == 0).then_some(()));
}

/// A peer that has shut down its side is gone; its earlier messages are handled, and it sees the end.
#[test]
fn a_half_closed_socket_is_a_session_s_end() {
    let relay = Relay::start("");
    let mut other = relay.connect("room");
    let mut raw = Raw::open(&relay, &[("watch_quit", "1"), ("username", "half")]);
    raw.send(&[frame(TEXT, br#"{"data":"last words","room_ids":"room"}"#), frame(TEXT, b"x")[..4].to_vec()].concat());
    raw.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(other.data(), "last words");
    assert_eq!(other.data()["key"], "user_quit");
    raw.drain();
    wait_for("its end", || (relay.stat("/sessions") == 1).then_some(()));
}

/// A peer killed in the middle of a frame, by reset or not, loses no message of others.
#[test]
fn a_client_killed_within_a_frame_does_not_affect_others() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let (mut sender, mut member) = (relay.connect("elsewhere"), relay.connect("room"));
    let message = |text: &str| frame(TEXT, format!(r#"{{"data":"{text}","room_ids":"room"}}"#).as_bytes());
    for number in 0..60 {
        let mut victim = Raw::open(&relay, &[]);
        let bytes = [message(&format!("whole {number}")), message("never")].concat();
        victim.send(&bytes[..bytes.len() - 1 - number % message("never").len()]);
        if number % 2 == 0 {
            // A reset may take what was not read yet with it.
            assert_eq!(member.data(), format!("whole {number}"));
            SockRef::from(&victim.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(victim);
        if number % 2 == 1 {
            assert_eq!(member.data(), format!("whole {number}"));
        }
        sender.send(&format!(r#"{{"data":{number},"room_ids":"room"}}"#));
        assert_eq!(member.data(), number);
    }
    wait_for("the victims to be gone", || (relay.stat("/sessions") == 2).then_some(()));
    member.silence();
}

/// Two posts in one segment, and two hundred quick ones from two senders: each sender's order holds at every member.
#[test]
fn each_sender_s_messages_keep_their_order() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let mut members = [relay.connect("room"), relay.connect("room"), relay.connect("x,room")];
    let message =
        |text: &str| frame(TEXT, format!(r#"{{"event":"postMsg","data":"{text}","room_ids":"room"}}"#).as_bytes());
    let mut raw = Raw::open(&relay, &[("room_ids", "elsewhere")]);
    raw.send(&[message("first"), message("second")].concat());
    for member in &mut members {
        assert_eq!((member.data(), member.data()), ("first".into(), "second".into()));
    }
    let senders: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|name| {
            let mut raw = Raw::open(&relay, &[("room_ids", "elsewhere")]);
            thread::spawn(move || {
                for number in 0..100 {
                    let text = |number: u32| format!(r#"{{"data":["{name}",{number}],"room_ids":"room"}}"#);
                    let two = [text(2 * number), text(2 * number + 1)].map(|text| frame(TEXT, text.as_bytes()));
                    raw.send(&two.concat());
                }
                raw
            })
        })
        .collect();
    let expected: Vec<u64> = (0..200).collect();
    for member in &mut members {
        let came: Vec<Value> = (0..400).map(|_| member.data()).collect();
        for name in ["a", "b"] {
            let own = came.iter().filter(|data| data[0] == name).map(|data| data[1].as_u64().unwrap());
            assert_eq!(own.collect::<Vec<_>>(), expected, "{name}");
        }
        member.silence();
    }
    senders.into_iter().for_each(|sender| drop(sender.join().unwrap()));
}
