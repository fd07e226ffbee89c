//! docs/protocol.md, Presence: the event `presence`, `who`, `GET /api/presence`, and which end of a session is a loss.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::support::{
    self, Client, Relay, connect_sign,
    engineio::websocket,
    login,
    member::*,
    redis::{Redis, wait_siblings},
    send_request, wait_for,
};

const ON: &str = "[presence]\nevents = true\ngrace = 600\n";

fn watch(relay: &Relay, userid: &str) -> Client {
    relay.connect_with(&[("room_ids", "room"), ("userid", userid), ("username", "name"), ("presence", "1")])
}

/// The next event `presence` without its name and room.
fn presence(client: &mut Client) -> Value {
    let mut event = client.json();
    let fields = event.as_object_mut().unwrap();
    assert_eq!(fields.remove("event"), Some("presence".into()), "{fields:?}");
    assert_eq!(fields.remove("room_id"), Some("room".into()), "{fields:?}");
    event
}

fn user(userid: &str, sessions: u32) -> Value {
    json!({ "userid": userid, "username": "name", "sessions": sessions })
}

fn listed(relay: &Relay) -> Value {
    relay.admin("/api/presence?source=demo&room=room").json()["data"]["rooms"][0].clone()
}

#[test]
fn every_kind_of_client_gets_events() {
    let relay = Relay::start(ON);
    let mut first = watch(&relay, "1");
    assert_eq!(presence(&mut first), json!({ "here": [user("1", 1)], "count": 1, "guests": 0 }));
    let (mut socket, _) = websocket(&relay, &format!("EIO=4&{}", login(&[("room_ids", "room"), ("userid", "2")])));
    socket.send("40{\"presence\":1,\"username\":\"name\"}");
    assert!(socket.text().starts_with("40{"));
    let came = json!({ "came": [{ "userid": "2", "username": "name" }], "count": 2, "guests": 0 });
    assert_eq!(presence(&mut first), came);
    let text = socket.text();
    let event: Value = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
    assert_eq!(event[0], "presence");
    assert_eq!(event[1]["here"], json!([user("1", 1), user("2", 1)]));
    let mut stream = relay.tcp();
    let target = format!("/sse?{}", login(&[("room_ids", "room"), ("userid", ""), ("presence", "1")]));
    send_request(&mut stream, "GET", &target, &[], b"");
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "event: presence"));
    assert!(lines.next().unwrap().starts_with("data: {\"room_id\":\"room\",\"here\":[{\"userid\":\"1\""));
    assert_eq!(presence(&mut first), json!({ "count": 2, "guests": 1 }));
    // Clients that do not ask get nothing new.
    let mut old = relay.connect_with(&[("room_ids", "room"), ("userid", "3")]);
    presence(&mut first);
    old.silence();
    socket.send("41");
    assert_eq!(presence(&mut first), json!({ "left": ["2"], "count": 2, "guests": 1 }));
    assert!(relay.metric("relay_presence_events_total") >= 5);
    assert_eq!(relay.metric("relay_presence_users"), 2);
}

#[test]
fn joining_a_room_later() {
    let relay = Relay::start(ON);
    let mut member = relay.connect_with(&[("room_ids", "other"), ("userid", "1"), ("presence", "1")]);
    assert_eq!(member.json()["room_id"], "other");
    let sign = relay::sign::to_hex(
        &relay::sign::Subject::Connect { source: "demo", userid: "1", room_ids: "room" }.md5(support::KEY.as_bytes()),
    );
    member.send(&json!({ "event": "join", "room_ids": "room", "sign": sign }).to_string());
    assert_eq!(member.json()["event"], "presence");
}

#[test]
fn who_and_lists() {
    let relay = Relay::start(ON);
    let mut first = watch(&relay, "1");
    presence(&mut first);
    let here = json!({ "room_id": "room", "here": [user("1", 1)], "count": 1, "guests": 0 });
    first.send("{\"event\":\"who\",\"room_id\":\"room\",\"ack\":1}");
    assert_eq!(first.json(), json!({ "event": "ack", "ack": 1, "code": 1, "msg": "", "data": here }));
    first.send("{\"event\":\"who\",\"room_id\":\"else\",\"ack\":2}");
    assert_eq!(first.json()["msg"], "only members of a room can ask who is in it!");
    first.send("{\"event\":\"who\",\"ack\":3}");
    assert_eq!(first.json()["msg"], "room_id can not be null!");
    for kind in KINDS {
        let mut member = Member::join(&relay, kind, &[("userid", "")]);
        let answer = member.ask("42[\"who\",\"room\"]");
        assert_eq!((&answer["code"], &answer["data"]["here"]), (&json!(1), &json!([user("1", 1)])), "{answer}");
        assert!(answer["data"]["guests"].as_u64().unwrap() >= 1, "{answer}");
        member.send(&["1"]);
    }
    let sign = connect_sign("demo", "room", support::KEY);
    let signed = relay.get(&format!("/api/presence?source=demo&room_ids=room&sign={sign}"));
    let users = json!({ "room_id": "room", "users": [user("1", 1)], "count": 1, "guests": 0 });
    wait_for("the others to leave", || (listed(&relay) == users).then_some(()));
    assert_eq!(signed.json()["data"]["rooms"][0]["users"], json!([user("1", 1)]));
    let page = relay.admin("/api/presence?source=demo&room_ids=room,empty&offset=1").json();
    let empty = |name: &str, count| json!({ "room_id": name, "users": [], "count": count, "guests": 0 });
    assert_eq!(page["data"]["rooms"], json!([empty("empty", 0), empty("room", 1)]));
    for (target, status) in [
        ("source=demo&room=room", 401),
        ("source=demo&room_ids=room&sign=wrong", 401),
        ("source=demo&room_ids=room&limit=10001", 400),
        ("source=demo&room_ids=room&offset=-1", 400),
    ] {
        assert_eq!(relay.get(&format!("/api/presence?{target}")).status, status, "{target}");
    }
    let off = Relay::start("");
    assert_eq!(off.admin("/api/presence?source=demo&room=room").status, 404);
    let mut client = off.connect("room");
    client.send("{\"event\":\"who\",\"room_id\":\"room\",\"ack\":1}");
    assert_eq!(client.json()["msg"], "unknown event!");
}

/// What is left of a user whose session has ended: gone, or expected back.
fn ended(relay: &Relay, what: &str, kind: (u8, bool), loss: bool) {
    wait_for(what, || (relay.stat("/sessions") == 1).then_some(()));
    let list = listed(relay);
    let left = list["users"].as_array().unwrap().iter().find(|user| user["userid"] != "watcher");
    match loss {
        true => assert_eq!(left.map(|user| &user["sessions"]), Some(&json!(0)), "{what} {kind:?}: {list}"),
        false => assert_eq!(left, None, "{what} {kind:?}"),
    }
    // The next one is the same user, who says goodbye.
    if loss {
        let mut back = Member::join(relay, (4, true), &[("userid", "mary")]);
        back.send(&["41"]);
        wait_for("the goodbye", || (listed(relay)["count"] == 1).then_some(()));
    }
}

/// Of every kind of end, for clients of all generations and transports.
#[test]
fn loss_or_goodbye() {
    let relay = Relay::start(&format!(
        "{ON}[websocket]\nping_interval = 1\nping_timeout = 1\n[socketio]\nping_interval = 1\nping_timeout = 1\n[limits]\nmessage_rate = 0\n"
    ));
    // A stream needs no answers to pings.
    let mut watcher = relay.tcp();
    let target = format!("/sse?{}", login(&[("room_ids", "room"), ("userid", "watcher")]));
    send_request(&mut watcher, "GET", &target, &[], b"");
    wait_for("the watcher", || (relay.stat("/sessions") == 1).then_some(()));
    let join = |kind| Member::join(&relay, kind, &[("userid", "mary")]);
    let ended = |what: &str, kind, loss| ended(&relay, what, kind, loss);
    for kind in KINDS {
        let mut member = join(kind);
        member.send(&["41"]);
        ended("leaving", kind, false);
        join(kind).send(&["1"]);
        ended("a close packet", kind, true);
        let silent = join(kind);
        ended("silence", kind, true);
        drop(silent);
        let member = join(kind);
        let body = "{\"source\":\"demo\",\"userid\":\"mary\"}";
        let headers =
            [("Authorization", format!("Bearer {}", support::TOKEN)), ("Content-Type", "application/json".into())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        assert_eq!(relay.request("POST", "/api/disconnect", &headers, body.as_bytes()).status, 200);
        ended("an operator", kind, false);
        drop(member);
    }
    for revision in [3, 4] {
        let (polls, socket) = ((revision, false), (revision, true));
        drop(join(socket));
        ended("a lost connection", socket, true);
        for (code, loss) in [(None, true), (Some(1000), true), (Some(1001), true), (Some(4000), false)] {
            let mut member = join(socket);
            let frame = code.map(|code: u16| CloseFrame { code: CloseCode::from(code), reason: "".into() });
            member.socket().socket.close(frame).unwrap();
            ended(&format!("a close with {code:?}"), socket, loss);
        }
        let mut member = join(socket);
        member.send(&["x"]);
        assert_eq!(member.socket().close_code(), 1002);
        ended("a broken protocol", socket, false);
        let mut member = join(polls);
        let session = member.polling();
        drop(session.begin_poll());
        ended("an aborted poll", polls, true);
        member = join(polls);
        drop(member.polling().upgrade());
        ended("a lost connection after an upgrade", polls, true);
    }
    let plain = || relay.connect_with(&[("room_ids", "room"), ("userid", "mary")]);
    drop(plain());
    ended("a lost connection", (0, true), true);
    for (code, loss) in [(None, false), (Some(1000), false), (Some(1001), true), (Some(4000), false)] {
        let mut client = plain();
        let frame = code.map(|code: u16| CloseFrame { code: CloseCode::from(code), reason: "".into() });
        client.socket.close(frame).unwrap();
        ended(&format!("a close with {code:?}"), (0, true), loss);
    }
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &format!("/sse?{}", login(&[("room_ids", "room"), ("userid", "mary")])), &[], b"");
    wait_for("the stream", || (relay.stat("/sessions") == 2).then_some(()));
    drop(stream);
    ended("a stream", (0, false), true);
}

#[test]
fn a_reload_of_the_configuration() {
    let relay = Relay::start("");
    let mut member = watch(&relay, "1");
    member.silence();
    std::fs::write(&relay.config, Relay::configuration(ON)).unwrap();
    relay.signal(SIGHUP);
    assert_eq!(presence(&mut member)["count"], 1);
    let mut other = watch(&relay, "2");
    presence(&mut member);
    presence(&mut other);
    std::fs::write(&relay.config, Relay::configuration(&ON.replace("600", "0"))).unwrap();
    relay.signal(SIGHUP);
    relay.wait_log("configuration re-read");
    let third = watch(&relay, "3");
    assert_eq!(presence(&mut member)["count"], 3);
    drop(third);
    assert_eq!(presence(&mut member)["left"], json!(["3"]));
}

#[test]
fn relays_know_the_users_of_each_other() {
    let redis = Redis::start();
    let start = || redis.relay("[presence]\nevents = true\ngrace = 1\n");
    let (mut gone, stays) = (start(), start());
    [&gone, &stays].into_iter().for_each(|relay| wait_siblings(relay, 1));
    let mut watcher = watch(&stays, "1");
    presence(&mut watcher);
    let mut there = watch(&gone, "2");
    let both = watch(&gone, "3");
    let mut seen = presence(&mut there);
    assert_eq!(seen["here"][0], user("1", 1));
    while seen["count"] != 3 {
        seen = presence(&mut there);
    }
    let mut here = watch(&stays, "3");
    let mut all = presence(&mut here);
    while all["count"] != 3 {
        all = presence(&mut here);
    }
    // A relay that starts later asks for everything.
    let late = start();
    wait_for("the third relay to know them", || (listed(&late)["count"] == 3).then_some(()));
    wait_for("the sessions", || (listed(&stays)["users"][2] == user("3", 2)).then_some(()));
    drop(late);
    gone.signal(9);
    gone.wait();
    let left = std::iter::from_fn(|| Some(presence(&mut watcher))).find(|event| event["left"].is_array());
    assert_eq!(left.unwrap(), json!({ "left": ["2"], "count": 2, "guests": 0 }), "3 is here, too");
    assert_eq!(stays.counter("redis_refused"), 0);
    drop((both, there));
}
