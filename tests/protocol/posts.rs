//! docs/protocol.md, Who may post: `client_posts`, and the mark of clients' messages, for clients of every kind.

use std::fs;

use serde_json::json;

use crate::support::{
    self, Client, Relay, login,
    member::{KINDS, Member, SIGHUP},
};

const POSTS_OFF: &str = "clients of this source can not post!";
const NOT_MEMBER: &str = "only members of a room can post to it!";

/// A relay whose source `demo` has this value of `client_posts`.
fn start(client_posts: &str) -> Relay {
    let relay = Relay::start("");
    set(&relay, client_posts);
    relay
}

/// Sets `client_posts` of the running relay.
fn set(relay: &Relay, client_posts: &str) {
    let count = || relay.log().iter().filter(|line| line.contains("configuration re-read")).count();
    let before = count();
    let text = Relay::configuration("");
    let text = text.replacen("[sources.demo]\n", &format!("[sources.demo]\nclient_posts = \"{client_posts}\"\n"), 1);
    let new = relay.config.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, &relay.config).unwrap();
    relay.signal(SIGHUP);
    support::wait_for("the reload", || (count() > before).then_some(()));
}

/// What a client gets for a post to `rooms`, as `code` and `msg`.
fn post(client: &mut Client, rooms: &str) -> (u64, String) {
    client.send(&json!({"data": "x", "room_ids": rooms, "ack": 1}).to_string());
    loop {
        let answer = client.json();
        if answer["event"] == "ack" {
            return (answer["code"].as_u64().unwrap(), answer["msg"].as_str().unwrap().to_owned());
        }
    }
}

fn refused(why: &str) -> (u64, String) {
    (0, why.to_owned())
}

fn accepted() -> (u64, String) {
    (1, String::new())
}

#[test]
fn any_joined_or_none() {
    let relay = start("any");
    let mut witness = relay.connect("other");
    let mut client = relay.connect("a,b");
    assert_eq!(post(&mut client, "other"), accepted());
    assert_eq!(witness.json()["from_client"], true);
    // A reload applies to the next message of a client that is connected.
    set(&relay, "joined");
    for (rooms, expected) in [
        ("a", accepted()),
        ("b,a,b", accepted()),
        ("other", refused(NOT_MEMBER)),
        ("a,other", refused(NOT_MEMBER)),
        ("nowhere", refused(NOT_MEMBER)),
        ("", refused("room_id can not be null!")),
    ] {
        assert_eq!(post(&mut client, rooms), expected, "{rooms}");
    }
    set(&relay, "none");
    for rooms in ["a", "other"] {
        assert_eq!(post(&mut client, rooms), refused(POSTS_OFF), "{rooms}");
    }
    witness.silence();
    // Backends are not affected, and neither is what a client gets.
    relay.notify("other", "of a backend");
    let message = witness.json();
    assert_eq!((message["data"].as_str(), message.get("from_client")), (Some("of a backend"), None));
    set(&relay, "any");
    assert_eq!(post(&mut client, "other"), accepted());
    assert_eq!(witness.data(), "x");
    assert_eq!(relay.counter("client_messages_refused"), 6);
}

#[test]
fn joining_and_leaving_counts() {
    let relay = start("joined");
    let mut client = relay.connect("first");
    let sign = support::connect_sign("demo", "second", support::KEY);
    let change = |client: &mut Client, event: &str| {
        client.send(&json!({"event": event, "room_ids": "second", "sign": sign}).to_string());
    };
    assert_eq!(post(&mut client, "second"), refused(NOT_MEMBER));
    change(&mut client, "join");
    assert_eq!(post(&mut client, "second,first"), accepted());
    change(&mut client, "leave");
    assert_eq!(post(&mut client, "second"), refused(NOT_MEMBER));
}

/// A text client has no frame for a refusal.
#[test]
fn text_clients() {
    let relay = start("joined");
    let mut witness = relay.connect("room");
    let mut text = relay.connect_with(&[("format", "text"), ("room_ids", "room")]);
    text.send("of a client");
    assert_eq!((text.text().as_str(), witness.data()), ("of a client", "of a client".into()));
    set(&relay, "none");
    // Whatever a text client receives now comes from a backend.
    relay.notify("room", "of a backend");
    assert_eq!((text.text().as_str(), witness.data()), ("of a backend", "of a backend".into()));
    text.send("refused");
    assert_eq!(text.close_code(), 1008);
    witness.silence();
}

#[test]
fn socket_io_over_both_transports() {
    let relay = start("joined");
    let mut witness = relay.connect("other");
    for kind in KINDS {
        for (setting, why) in [("joined", NOT_MEMBER), ("none", POSTS_OFF)] {
            set(&relay, setting);
            let mut member = Member::room(&relay, kind, "mine");
            let refusal = json!({"code": 0, "msg": why, "data": ""});
            assert_eq!(member.ask(r#"42["postMsg","x","mine,other"]"#), refusal, "{kind:?}");
            member.send(&[r#"42["postMsg","x","other"]"#]);
            member.sys_error(why);
        }
        set(&relay, "joined");
        let mut member = Member::room(&relay, kind, "mine");
        assert_eq!(member.ask(r#"42["postMsg","x","mine"]"#)["code"], 1, "{kind:?}");
        let message = member.message();
        assert_eq!((&message["data"], &message["from_client"]), (&json!("x"), &json!(true)), "{kind:?}");
        relay.notify("mine", "of a backend");
        assert_eq!(member.message().get("from_client"), None, "{kind:?}");
    }
    witness.silence();
}

/// With `sender`, messages of clients say who sent them, whatever the form of the receiver is, live and from the history.
#[test]
fn who_sent_a_message() {
    let start = |sender: &str| {
        let relay = Relay::start("[history]\ncount = 9\n");
        let text = fs::read_to_string(&relay.config).unwrap();
        let text = text.replacen("[sources.demo]\n", &format!("[sources.demo]\nsender = {sender}\n"), 1);
        fs::write(&relay.config, text).unwrap();
        relay.signal(SIGHUP);
        relay.wait_log("configuration re-read");
        relay
    };
    let relay = start("[\"userid\", \"username\"]");
    let mut witness = relay.connect("room");
    let mut client = relay.connect_with(&[("userid", "7"), ("username", "a \"b\"")]);
    // What a client writes itself has no effect.
    client.send(r#"{"data":"x","room_ids":"room","from":{"userid":"8"}}"#);
    let message = witness.json();
    assert_eq!(message["from"], json!({"userid": "7", "username": "a \"b\""}), "{message}");
    assert_eq!(client.json()["from"], message["from"]);
    relay.notify("room", "of a backend");
    assert_eq!(witness.json().get("from"), None);
    let kept = relay.get(&format!("/api/history?{}", login(&[]))).json();
    assert_eq!(kept["data"]["messages"][0]["from"], message["from"], "{kept}");
    assert_eq!(kept["data"]["messages"][1].get("from"), None);

    let relay = start("true");
    let (mut witness, mut client) = (relay.connect("room"), relay.connect_with(&[("userid", "7")]));
    client.send(r#"{"data":"x","room_ids":"room"}"#);
    let from = &witness.json()["from"];
    let known = relay.admin("/api/online?source=demo").body;
    let id = from["socket_id"].as_str().unwrap();
    assert!(known.contains(id), "{from} {known}");

    let relay = start("false");
    let (mut witness, mut client) = (relay.connect("room"), relay.connect("room"));
    client.send(r#"{"data":"x","room_ids":"room"}"#);
    let message = witness.json();
    assert_eq!((message.get("from"), &message["from_client"]), (None, &json!(true)));
}
