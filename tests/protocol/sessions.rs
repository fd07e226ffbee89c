//! docs/protocol.md, Socket.IO: every way in which a session ends, for clients of all generations and transports.

use std::fs;

use tungstenite::Message;

use crate::support::{
    self, KEY, Relay, connect_sign,
    engineio::{Polling, websocket},
    form, login,
    member::*,
    notify_sign, read_answer, send_request, wait_for,
};

const QUIT: &str = r#"{"key":"user_quit","msg":"mary退出群聊","username":"mary"}"#;

/// However a session ends, its rooms get one `user_quit`, and nothing is left of it.
#[test]
fn every_end_is_an_end() {
    let relay = Relay::start(
        "[socketio]\nping_interval = 1\nping_timeout = 1\nconnect_timeout = 45\n[limits]\nmessage_rate = 0",
    );
    let mut watcher = relay.connect("room");
    let join = |kind| Member::join(&relay, kind, &[("username", "mary"), ("watch_quit", "1")]);
    let mut ended = |what: &str, kind: (u8, bool)| {
        let data = watcher.data();
        assert_eq!(data.to_string(), QUIT, "{what} {kind:?}");
        wait_for(what, || (relay.stat("/sessions") == 1).then_some(()));
        watcher.send(r#"{"event":"ping"}"#);
        assert_eq!(watcher.json()["event"], "pong", "{what} {kind:?} was told twice");
    };
    for kind in KINDS {
        let mut member = join(kind);
        member.send(&["41"]);
        ended("leaving", kind);
        join(kind).send(&["1"]);
        ended("a close packet", kind);
        let member = join(kind);
        match &member.carrier {
            Carrier::Polling(session) => assert_eq!(session.try_post(b"x", &[]).status, 400),
            Carrier::Socket(_) => {
                let mut member = member;
                member.send(&["x"]);
                assert_eq!(member.socket().close_code(), 1002);
            }
        }
        ended("a broken protocol", kind);
        let silent = join(kind);
        ended("silence", kind);
        drop(silent);
    }
    for revision in [3, 4] {
        let (polls, socket) = ((revision, false), (revision, true));
        drop(join(socket));
        ended("a lost connection", socket);
        let mut member = join(socket);
        member.socket().socket.close(None).unwrap();
        assert_eq!(member.socket().close_code(), 1005);
        ended("a closed WebSocket", socket);
        let mut member = join(polls);
        let session = member.polling();
        drop(session.begin_poll());
        ended("an aborted poll", polls);
        member = join(polls);
        let session = member.polling();
        let mut poll = session.begin_poll();
        assert_eq!(relay.get(&session.target).status, 400);
        assert_eq!(session.end_poll(&mut poll), ["1"]);
        ended("two polls", polls);
        member = join(polls);
        drop(member.polling().upgrade());
        ended("a lost connection after an upgrade", polls);
        member = join(polls);
        let mut socket = member.polling().upgrade();
        socket.send("1");
        assert_eq!(socket.close_code(), 1000);
        ended("a close packet after an upgrade", polls);
        member = join(polls);
        let silent = member.polling().upgrade();
        ended("silence after an upgrade", polls);
        drop(silent);
    }
    drop(watcher);
    wait_for("nothing to be left", || {
        let left = [relay.stat("/sessions"), relay.stat("/rooms"), relay.stat("/connections")];
        (left == [0, 0, 1]).then_some(())
    });
}

/// Without `watch_quit` there is no `user_quit`.
#[test]
fn client_without_watch_quit_leaves_quietly() {
    let relay = Relay::start("");
    let mut watcher = Member::room(&relay, (4, true), "room");
    for kind in KINDS {
        Member::room(&relay, kind, "room").send(&["1"]);
    }
    wait_for("them to be gone", || (relay.stat("/sessions") == 1).then_some(()));
    watcher.nothing();
}

/// A refused client is closed after `connect_timeout`, like one that never asked.
#[test]
fn refused_client_is_closed_after_connect_timeout() {
    let relay = Relay::start("[socketio]\nconnect_timeout = 2");
    for kind in KINDS {
        let mut member = Member::open(&relay, kind, "source=nobody");
        if kind.1 {
            assert_eq!(member.socket().close_code(), 1008);
        } else {
            let packets: Vec<_> = std::iter::from_fn(|| Some(member.text()).filter(|packet| packet != "1")).collect();
            assert_eq!(packets.len(), if kind.0 == 3 { 3 } else { 1 }, "{packets:?}");
            member.polling().assert_gone();
        }
    }
    assert_eq!(relay.counter("ping_timeouts"), 4);
}

/// By CONNECT's payload too, where one is a number.
#[test]
fn watch_quit_in_auth() {
    let relay = Relay::start("");
    let mut watcher = relay.connect("room");
    let (mut socket, _) = websocket(&relay, &format!("EIO=4&{}", login(&[])));
    socket.send("40{\"watch_quit\":1,\"username\":\"mary\"}");
    assert!(socket.text().starts_with("40{\"sid\":"));
    drop(socket);
    assert_eq!(watcher.data().to_string(), QUIT);
}

/// A client that polls too seldom is dropped when its queue is full; others are not affected.
#[test]
fn a_slow_client_that_polls() {
    const UNSENT: usize = 65536;
    let relay = Relay::start(&format!("[history]\nslow = \"close\"\n[limits]\nunsent = {UNSENT}"));
    for (round, revision) in [3, 4].into_iter().enumerate() {
        let mut good = members(&relay, "room");
        let slow = Member::join(&relay, (revision, false), &[("username", "mary"), ("watch_quit", "1")]);
        let data = "x".repeat(8000);
        let mut published = 0;
        while relay.counter("slow_consumers") == round as u64 {
            relay.notify("room", &data);
            published += 1;
            for member in &mut good {
                assert_eq!(member.data(), data.as_str());
            }
            assert!(published < 100, "a client that never polls is never dropped");
        }
        let bytes = published * data.len();
        assert!(bytes > UNSENT - 2 * data.len() && bytes < UNSENT + 4 * data.len(), "{bytes}");
        for member in &mut good {
            assert_eq!(member.data().to_string(), QUIT);
        }
        slow.polling().assert_gone();
        assert_eq!(relay.stat("/sessions"), 4);
        good.iter_mut().for_each(|member| member.send(&["1"]));
        wait_for("the others to leave", || (relay.stat("/sessions") == 0).then_some(()));
    }
}

/// Also one whose own acknowledgements pile up.
#[test]
fn a_client_that_posts_and_never_polls() {
    let relay = Relay::start("[history]\nslow = \"close\"\n[limits]\nunsent = 4096\nmessage_rate = 0");
    let mut member = Member::room(&relay, (4, false), "room");
    let data = event("postMsg", &["x".repeat(1000).into(), "room".into()]);
    member.send(&[&data, &data, &data]);
    let body = member.polling().encode(&[&data, &data]);
    wait_for("it to be dropped", || {
        member.polling().try_post(body.as_bytes(), &[]);
        (relay.counter("slow_consumers") == 1).then_some(())
    });
    member.polling().assert_gone();
    assert_eq!(relay.stat("/sessions"), 0);
}

/// A message larger than `unsent` reaches a client that polls.
#[test]
fn a_message_larger_than_unsent() {
    let relay = Relay::start("[limits]\nunsent = 4096");
    let mut all = members(&relay, "room");
    for letter in ["a", "b"] {
        let data = letter.repeat(300_000);
        relay.notify("room", &data);
        for member in &mut all {
            assert!(member.data() == data.as_str(), "{:?}", member.kind);
        }
    }
    assert_eq!(relay.counter("slow_consumers"), 0);
}

/// Sessions of a source that is taken out end, and are told in the way after which clients stay away.
#[test]
fn a_source_that_is_removed() {
    let fresh = "[sources.fresh]\nsign_key = \"k\"";
    let relay = Relay::start(fresh);
    let sign = connect_sign("fresh", "room", "k");
    let mut gone: Vec<_> =
        KINDS.into_iter().map(|kind| Member::join(&relay, kind, &[("source", "fresh"), ("sign", &sign)])).collect();
    let mut stay = members(&relay, "room");
    let polls: Vec<_> =
        gone.iter().filter(|member| !member.kind.1).map(|member| member.polling().begin_poll()).collect();
    fs::write(&relay.config, Relay::configuration("")).unwrap();
    relay.signal(SIGHUP);
    relay.wait_log("configuration re-read");
    let mut polls = polls.into_iter();
    let reason = "42[\"sys_error\",\"this source can not be configured!\"]";
    for member in &mut gone {
        match member.kind.1 {
            true => assert_eq!([member.text(), member.text()], [reason, "41"]),
            false => assert_eq!(member.polling().end_poll(&mut polls.next().unwrap()), [reason, "41"]),
        }
    }
    assert_eq!(relay.stat("/sessions"), 4);
    for member in &mut gone {
        member.send(&["40"]);
        match member.kind.0 {
            3 => {
                assert_eq!(member.text(), "40");
                member.sys_error("this source can not be configured!");
                assert_eq!(member.text(), "41");
            }
            _ => assert_eq!(member.text(), "44{\"message\":\"this source can not be configured!\"}"),
        }
    }
    relay.notify("room", "still here");
    for member in &mut stay {
        assert_eq!(member.data(), "still here");
    }
}

/// Only the sessions of that source: those in other namespaces of the same connection stay.
#[test]
fn a_source_that_is_removed_in_one_of_two_namespaces() {
    let web = "[namespaces.\"/web\"]";
    let relay = Relay::start(&format!("[sources.fresh]\nsign_key = \"k\"\n{web}"));
    let sign = connect_sign("fresh", "room", "k");
    for kind in KINDS {
        let mut member = Member::room(&relay, kind, "room");
        match kind.0 {
            3 => member.send(&[&format!("40/web?source=fresh&sign={sign}")]),
            _ => member.send(&[&format!("40/web,{{\"source\":\"fresh\",\"sign\":\"{sign}\"}}")]),
        }
        assert!(member.text().starts_with("40/web,"));
        assert_eq!(relay.stat("/sources/fresh/sessions"), 1);
        fs::write(&relay.config, Relay::configuration(web)).unwrap();
        relay.signal(SIGHUP);
        assert_eq!(member.text(), "42/web,[\"sys_error\",\"this source can not be configured!\"]");
        assert_eq!(member.text(), "41/web,");
        relay.notify("room", "still here");
        assert_eq!(member.data(), "still here");
        fs::write(&relay.config, Relay::configuration(&format!("[sources.fresh]\nsign_key = \"k\"\n{web}"))).unwrap();
        relay.signal(SIGHUP);
        wait_for("the source", || relay.admin("/api/stats").json()["sources"]["fresh"].is_object().then_some(()));
    }
}

/// WebSockets are closed and polls end with a noop, so that clients come back; a DISCONNECT would tell them not to.
#[test]
fn shutdown_closes_every_transport() {
    let mut relay = Relay::start("shutdown_timeout = 60");
    let mut streams = Vec::new();
    let mut sockets = Vec::new();
    {
        let relay = &relay;
        for revision in [3, 4] {
            let polling = Member::room(relay, (revision, false), "room");
            streams.push((revision, polling.polling().begin_poll()));
            // Without a poll, and one whose WebSocket is on trial.
            Member::room(relay, (revision, false), "room");
            let probing = Member::room(relay, (revision, false), "room");
            sockets.push((None, probing.polling().probe()));
            let mut member = Member::room(relay, (revision, true), "room");
            member.send(&[r#"42["postMsg","last","none"]"#]);
            let Carrier::Socket(socket) = member.carrier else { unreachable!() };
            sockets.push((Some(1001), *socket));
            let upgraded = Member::room(relay, (revision, false), "room");
            let mut socket = upgraded.polling().upgrade();
            socket.send("42[\"postMsg\"]");
            assert_eq!(socket.text(), "42[\"sys_error\",\"data can not be null!\"]");
            sockets.push((Some(1001), socket));
        }
    }
    assert_eq!(relay.stat("/sessions"), 10);
    relay.signal(SIGTERM);
    for (revision, stream) in &mut streams {
        let answer = read_answer(stream, false);
        assert_eq!((answer.status, answer.body.as_str()), (200, if *revision == 3 { "1:6" } else { "6" }));
        assert_eq!(answer.header("connection"), "close");
    }
    for (code, socket) in &mut sockets {
        match code {
            Some(code) => {
                let close = socket.next();
                assert!(
                    matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == *code),
                    "{close:?} is no close with {code}"
                );
                assert!(socket.socket.read().is_err());
            }
            None => assert!(!matches!(socket.socket.read(), Ok(Message::Text(_)))),
        }
    }
    drop(streams);
    assert_eq!(relay.wait(), 0);
    relay.wait_log("stopped with 0 connections left");
}

/// Sessions without a connection keep no relay from ending.
#[test]
fn shutdown_does_not_wait_for_sessions_without_a_poll() {
    let mut relay = Relay::start("shutdown_timeout = 60");
    for revision in [3, 4] {
        Member::room(&relay, (revision, false), "room");
    }
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
}

/// A poll is aborted and a message arrives for it, both while the relay is stopped: the message must not be answered
/// into the poll that is gone, which would leave the session behind.
#[test]
fn a_message_for_an_aborted_poll_does_not_hide_its_end() {
    let relay = Relay::start("");
    let (session, _) = Polling::open(&relay, &format!("EIO=4&{}", login(&[("room_ids", "room")])));
    session.post(&["40"]);
    session.poll();
    let poll = session.begin_poll();
    wait_for("the session", || (relay.stat("/sessions") == 1).then_some(()));
    let mut backend = relay.tcp();
    relay.signal(SIGSTOP);
    drop(poll);
    let fields =
        [("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", &*notify_sign("demo", "room", "x", KEY))];
    send_request(&mut backend, "POST", "/api/notify", &[("Content-Type", support::FORM)], form(&fields).as_bytes());
    relay.signal(SIGCONT);
    assert_eq!(read_answer(&mut backend, false).json()["code"], 1);
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
}
