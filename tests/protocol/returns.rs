//! docs/protocol.md, Return: clients that cannot say where they were get what they have missed. The clients of real libraries
//! are in tests/clients/returning.test.js.

use std::{fs, thread};

use serde_json::{Value, json as value};
use tungstenite::protocol::CloseFrame;

use crate::support::{
    self, Client, Relay, TOKEN,
    engineio::{Polling, json, websocket},
    form, login,
    member::Member,
    wait_for,
};

const HISTORY: &str = "[history]\ncount = 100\n";
const USER: &[(&str, &str)] = &[("room_ids", "a"), ("userid", "7")];

fn start(more: &str) -> Relay {
    Relay::start(&format!("{HISTORY}{more}"))
}

fn wait_away(relay: &Relay, count: u64) {
    wait_for("a session that is away", || (relay.metric("relay_away_sessions") == count).then_some(()));
}

/// Ends a connection without a word, once relay knows that somebody was there.
fn cut(relay: &Relay, client: Client) {
    let (lost, away) = (relay.counter("sessions_lost"), relay.metric("relay_away_sessions"));
    drop(client);
    wait_for("the loss", || (relay.counter("sessions_lost") > lost).then_some(()));
    assert_eq!(relay.metric("relay_away_sessions"), away + 1);
}

/// Reads a first message, and with it the ping that asks for a sign of life, and answers it.
fn settle(relay: &Relay, client: &mut Client) {
    relay.notify("a", "first");
    assert_eq!(client.data(), "first");
    client.send("{\"event\":\"ping\",\"ack\":1}");
    assert!(client.text().contains("\"ack\""));
}

/// The `sid` and `pid` of a CONNECT.
fn connect(client: &mut Client, auth: &Value) -> (String, String) {
    client.send(&format!("40{auth}"));
    let answer = json(&client.text(), "40");
    let field = |name: &str| answer[name].as_str().unwrap().to_owned();
    (field("sid"), field("pid"))
}

fn socketio(relay: &Relay, auth: &Value) -> (Client, (String, String)) {
    let (mut client, _) = websocket(relay, &format!("EIO=4&{}", login(USER)));
    let names = connect(&mut client, auth);
    (client, names)
}

fn arguments(client: &mut Client) -> Value {
    json(&client.text(), "42")
}

#[test]
fn a_plain_websocket_gets_what_it_missed() {
    let relay = start("");
    let mut client = relay.connect_with(USER);
    settle(&relay, &mut client);
    cut(&relay, client);
    ["1", "2"].iter().for_each(|data| relay.notify("a", data));
    let mut client = relay.connect_with(USER);
    assert_eq!([client.data(), client.data()], ["1", "2"]);
    relay.notify("a", "3");
    assert_eq!(client.data(), "3");
    assert_eq!([relay.counter("returned"), relay.counter("repeated"), relay.metric("relay_away_sessions")], [1, 2, 0]);
    // Another user, other rooms, another program: another session.
    cut(&relay, client);
    relay.notify("a", "4");
    for fields in [
        [("room_ids", "a"), ("userid", "8")],
        [("room_ids", "a,b"), ("userid", "7")],
        [("room_ids", "a"), ("userid", "")],
    ] {
        let mut other = relay.connect_with(&fields);
        other.send("{\"event\":\"ping\",\"ack\":1}");
        assert!(other.text().contains("\"ack\""), "{fields:?}");
    }
    assert_eq!(relay.connect_with(USER).data(), "4");
}

#[test]
fn goodbyes_are_kept_only_if_asked_for() {
    for (unknowing, kept) in [("return", 0), ("user", 1)] {
        let relay = start(&format!("[recovery]\nunknowing = \"{unknowing}\"\n"));
        let mut client = relay.connect_with(USER);
        settle(&relay, &mut client);
        let code = tungstenite::protocol::frame::coding::CloseCode::Away;
        client.socket.close(Some(CloseFrame { code, reason: "".into() })).unwrap();
        wait_for("the end", || (relay.metric("relay_clients") == 0).then_some(()));
        assert_eq!(relay.metric("relay_away_sessions"), kept, "{unknowing}");
        let (mut client, _) = socketio(&relay, &value!({}));
        settle_socketio(&relay, &mut client);
        client.send("41");
        wait_for("the end", || (relay.stat("/sessions") == 0).then_some(()));
        assert_eq!(relay.metric("relay_away_sessions"), 2 * kept, "{unknowing}");
        // It has had everything, also if it has left on purpose.
        let mut next = relay.connect_with(USER);
        let (mut other, _) = socketio(&relay, &value!({}));
        relay.notify("a", "next");
        if kept == 1 {
            assert_eq!(next.data(), "first", "the second one");
        }
        assert_eq!((next.data(), arguments(&mut other)[1]["data"].clone()), ("next".into(), "next".into()));
    }
}

fn settle_socketio(relay: &Relay, client: &mut Client) {
    relay.notify("a", "first");
    while !client.text().contains("first") {}
    client.send("421[\"who\",\"a\"]");
    while !client.text().starts_with("431") {}
}

/// Connection state recovery of Socket.IO 4.6.
#[test]
fn a_pid_names_a_session() {
    let relay = start("");
    let (mut client, (sid, pid)) = socketio(&relay, &value!({}));
    settle_socketio(&relay, &mut client);
    cut(&relay, client);
    ["1", "2"].iter().for_each(|data| relay.notify("a", data));
    let (mut client, names) = socketio(&relay, &value!({ "pid": pid }));
    assert_eq!(names, (sid.clone(), pid.clone()), "socket.recovered");
    let [one, two] = [(); 2].map(|()| arguments(&mut client));
    assert_eq!([&one[1]["data"], &two[1]["data"]], ["1", "2"]);
    // From now on it knows its position.
    assert_eq!((one[2].as_str(), two[2].as_str()), (one[1]["id"].as_str(), two[1]["id"].as_str()));
    client.send("42[\"x\"]");
    relay.notify("a", "3");
    assert_eq!(arguments(&mut client)[1]["data"], "3");
    // What the client says counts, if it is further than what relay knows.
    cut(&relay, client);
    relay.notify("a", "4");
    let (mut client, names) = socketio(&relay, &value!({ "pid": pid, "offset": two[2] }));
    assert_eq!((arguments(&mut client)[1]["data"].clone(), names), ("4".into(), (sid.clone(), pid.clone())));
    // Offsets that are no ids are ignored, and a session that relay takes for alive is ended.
    let (mut second, names) = socketio(&relay, &value!({ "pid": pid, "offset": "none" }));
    assert_eq!(names, (sid.clone(), pid.clone()));
    relay.notify("a", "5");
    while arguments(&mut second)[1]["data"] != "5" {}
    wait_for("the end of the first connection", || client.socket.read().is_err().then_some(()));
    assert_eq!(relay.stat("/sessions"), 1);
    // Wrong ones begin anew.
    for wrong in ["", "x", &pid[1..], &sid] {
        let (_, names) = socketio(&relay, &value!({ "pid": wrong }));
        assert!(names.0 != sid && names.1 != pid, "{wrong}");
    }
}

/// A client that polls has received what came before its last poll.
#[test]
fn polls_prove_what_was_handled() {
    let times = "[socketio]\nping_interval = 1\nping_timeout = 1\n";
    for version in ["EIO=3", "EIO=4"] {
        let relay = start(times);
        let query = format!("{version}&{}", login(USER));
        let (session, mut came) = Polling::open(&relay, &query);
        if version == "EIO=4" {
            session.post(&["40"]);
        }
        while !came.iter().any(|packet| packet.starts_with("40")) {
            came.extend(session.poll());
        }
        for data in ["1", "2"] {
            relay.notify("a", data);
            while !came.iter().any(|packet| packet.contains(&format!("\"data\":\"{data}\""))) {
                came.extend(session.poll());
            }
        }
        // The answer with 2 was not followed by a poll.
        wait_away(&relay, 1);
        relay.notify("a", "3");
        let mut member = Member::join(&relay, (version.as_bytes()[4] - b'0', true), USER);
        assert_eq!([member.data(), member.data()], ["2", "3"], "{version}");
    }
}

/// A connection that relay does not know to be lost is asked, and taken for lost if it is silent.
#[test]
fn a_silent_connection_is_taken_over() {
    let relay = start("[recovery]\nhold = 0.5\nproof = \"pong\"\n");
    let mut old = relay.connect_with(USER);
    settle(&relay, &mut old);
    ["1", "2"].iter().for_each(|data| relay.notify("a", data));
    // It reads nothing, so it answers nothing.
    let mut new = relay.connect_with(USER);
    relay.notify("a", "3");
    // Its last pong was for what came before "first".
    assert_eq!([(); 4].map(|()| new.data()), ["first", "1", "2", "3"]);
    // It is not ended: if it was only slow, both go on.
    assert_eq!([relay.counter("returned"), relay.stat("/sessions")], [1, 2]);
    // One that answers is another tab. Both go on.
    let reader = thread::spawn(move || [new.data(), new.data()]);
    let mut tab = relay.connect_with(USER);
    relay.notify("a", "4");
    assert_eq!(tab.data(), "4");
    assert_eq!([relay.counter("returned"), relay.stat("/sessions")], [1, 3]);
    relay.notify("a", "5");
    assert_eq!((tab.data(), reader.join().unwrap(), old.data()), ("5".into(), ["4".into(), "5".into()], "1".into()));
}

#[test]
fn operators_and_reloads_end_it() {
    let relay = start("");
    let mut client = relay.connect_with(USER);
    settle(&relay, &mut client);
    let body = form(&[("source", "demo"), ("userid", "7"), ("token", TOKEN)]);
    let answer = relay.request("POST", "/api/disconnect", &[("Content-Type", support::FORM)], body.as_bytes());
    assert_eq!((answer.json()["code"].as_u64(), relay.metric("relay_away_sessions")), (Some(1), 0), "{answer:?}");
    let mut client = relay.connect_with(USER);
    settle(&relay, &mut client);
    cut(&relay, client);
    let text = fs::read_to_string(&relay.config).unwrap();
    fs::write(&relay.config, format!("{text}[recovery]\nwindow = 0\n")).unwrap();
    relay.signal(1);
    wait_away(&relay, 0);
    relay.notify("a", "1");
    let mut client = relay.connect_with(USER);
    client.send("{\"event\":\"ping\",\"ack\":1}");
    assert!(client.text().contains("\"ack\""));
}

/// Lost sessions are given up after the window.
#[test]
fn the_window_ends() {
    let relay = start("[recovery]\nwindow = 0.2\n");
    let mut client = relay.connect_with(USER);
    settle(&relay, &mut client);
    drop(client);
    wait_for("the end of the window", || (relay.counter("away_expired") == 1).then_some(()));
    assert_eq!((relay.metric("relay_away_sessions"), relay.metric("relay_away_bytes")), (0, 0));
}

/// With history off nothing is new on the wire.
#[test]
fn without_history_nothing_changes() {
    let relay = Relay::start("[history]\n[recovery]\nwindow = 100\n");
    let (mut client, _) = websocket(&relay, &format!("EIO=4&{}", login(USER)));
    client.send("40");
    let answer = json(&client.text(), "40");
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    drop(client);
    wait_for("the end", || (relay.metric("relay_clients") == 0).then_some(()));
    assert_eq!(relay.counter("sessions_lost"), 0);
}
