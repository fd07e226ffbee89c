//! docs/protocol.md, GET /api/why: what an operator is told about a message and a user, also by `relay why`.
#![allow(missing_docs)]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Client, KEY, Relay, TOKEN, connect_sign, login, wait_for};

fn ask(relay: &Relay, query: &str) -> Value {
    let answer = relay.admin(&format!("/api/why?source=demo&{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()["data"].clone()
}

fn verdicts(relay: &Relay, id: &str, userid: &str) -> Vec<String> {
    let data = ask(relay, &format!("id={id}&userid={userid}"));
    data["verdicts"].as_array().unwrap().iter().map(|verdict| verdict.as_str().unwrap().to_owned()).collect()
}

/// The only verdict.
fn verdict(relay: &Relay, id: &str, userid: &str) -> String {
    let mut all = verdicts(relay, id, userid);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn lines(data: &Value) -> Vec<String> {
    let all = data["lines"].as_array().unwrap();
    all.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Publishes a message and returns its id, which a client that is there gets.
fn publish(relay: &Relay, witness: &mut Client, room: &str) -> String {
    relay.notify(room, "x");
    witness.json()["id"].as_str().unwrap().to_owned()
}

fn user<'a>(userid: &'a str, rooms: &'a str) -> [(&'a str, &'a str); 2] {
    [("room_ids", rooms), ("userid", userid)]
}

fn leave(relay: &Relay, mut client: Client, left: u64) {
    client.socket.close(None).unwrap();
    client.close_code();
    wait_for("the end", || (relay.stat("/sessions") == left).then_some(()));
}

#[test]
fn who_was_not_there_or_not_in_the_room() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a,b"));
    let early = publish(&relay, &mut witness, "a");
    assert_eq!(verdict(&relay, &early, "7"), "the user had no session that the journal knows of");
    let mut client = relay.connect_with(&user("7", "b"));
    let other = publish(&relay, &mut witness, "a");
    assert!(verdict(&relay, &other, "7").ends_with("was connected, but not in the room of the message"));
    let own = publish(&relay, &mut witness, "b");
    client.json();
    let told = verdict(&relay, &own, "7");
    assert!(
        told.ends_with("it was sent the message; what it receives is not checked in rooms that keep nothing"),
        "{told}"
    );
    // The past stays what it was.
    assert_eq!(verdict(&relay, &early, "7"), "the user had no session that the journal knows of");
    let sign = connect_sign("demo", "b", KEY);
    client.send(&format!("{{\"event\":\"leave\",\"ack\":1,\"room_ids\":\"b\",\"sign\":\"{sign}\"}}"));
    assert!(client.text().contains("\"code\":1"));
    let after = publish(&relay, &mut witness, "b");
    assert!(verdict(&relay, &after, "7").contains("not in the room"), "{:?}", verdicts(&relay, &after, "7"));
    assert!(verdict(&relay, &own, "7").contains("was in the room"));
    leave(&relay, client, 1);
    let gone = publish(&relay, &mut witness, "b");
    let told = verdict(&relay, &gone, "7");
    assert!(
        told.starts_with("the user had no connection: ") && told.ends_with("had ended (closed by the client)"),
        "{told}"
    );
    assert!(verdict(&relay, &own, "7").contains("ended later (closed by the client)"));
    for (id, userid) in [("1j1b8cninpmrkqkbc", "7"), (&*own, "7")] {
        let found = verdict(&relay, id, userid)
            != "no message with this id is in the journal: it is older, of another source, \
                                                    or was never accepted here";
        assert_eq!(found, id == own);
    }
}

#[test]
fn two_sessions_of_a_user_and_two_rooms_of_a_message() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a,b"));
    let (_one, _two) = (relay.connect_with(&user("7", "a")), relay.connect_with(&user("7", "a,b")));
    relay.notify("a,b", "x");
    let first = witness.json()["id"].as_str().unwrap().to_owned();
    let second = witness.json()["id"].as_str().unwrap().to_owned();
    let of = |id: &str| {
        let all = verdicts(&relay, id, "7");
        (all.len(), all.iter().filter(|verdict| verdict.contains("was in the room")).count())
    };
    assert_eq!([of(&first), of(&second)], [(2, 2), (2, 1)]);
}

#[test]
fn who_was_away_and_came_back() {
    let relay = Relay::start("[history]\ncount = 100\n");
    let mut witness = relay.connect_with(&user("9", "a"));
    let mut client = relay.connect_with(&user("7", "a"));
    let first = publish(&relay, &mut witness, "a");
    client.json();
    // Its pong shows that it is there.
    client.send("{\"event\":\"ping\",\"ack\":1}");
    client.text();
    let lost = relay.counter("sessions_lost");
    drop(client);
    wait_for("the loss", || (relay.counter("sessions_lost") > lost).then_some(()));
    let missed = publish(&relay, &mut witness, "a");
    assert!(verdict(&relay, &first, "7").ends_with("was in the room: it has received the message"));
    let told = verdict(&relay, &missed, "7");
    assert!(told.contains("was lost (the connection was lost); it is away"), "{told}");
    let mut client = relay.connect_with(&user("7", "a"));
    assert_eq!(client.json()["id"], *missed);
    let told = verdict(&relay, &missed, "7");
    assert!(told.ends_with("went on in its place and got the message among 1 that it had missed"), "{told}");
    let texts = lines(&ask(&relay, "userid=7"));
    let has = |words: &str| texts.iter().any(|text| text.contains(words));
    assert!(has("logged in") && has("joined room a") && has("was lost") && has("; 1 messages again"), "{texts:?}");
    assert_eq!(
        lines(&ask(&relay, &format!("id={missed}&room_id=a"))),
        ["published to room a and kept: sent to 1 session"]
    );
}

#[test]
fn refused_logins_and_wrong_questions() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a"));
    let wrong = login(&user("7", "a")).replace("sign=", "sign=0");
    assert_eq!(relay.get(&format!("/ws?{wrong}")).status, 401);
    let id = publish(&relay, &mut witness, "a");
    let told = verdict(&relay, &id, "7");
    assert!(told.starts_with("the user had no session: a login was refused ("), "{told}");
    for (query, why) in [
        ("source=demo", "give id, userid or room_id"),
        ("source=nobody&userid=7", "unknown source!"),
        ("source=demo&id=!", "id is not that of a message"),
        ("id=!", "source can not be null!"),
    ] {
        let answer = relay.admin(&format!("/api/why?{query}"));
        assert_eq!((answer.status, answer.json()["msg"].as_str()), (400, Some(why)), "{query}");
    }
    assert_eq!(relay.get("/api/why?userid=7").status, 401);
    assert_eq!(lines(&ask(&relay, "room_id=nowhere")), [""; 0]);
}

#[test]
fn the_command_prints_it() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a"));
    let id = publish(&relay, &mut witness, "a");
    let run = |args: &[&str]| {
        let url = format!("http://{}", relay.addr);
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        let done =
            command.arg("why").args(args).args(["--url", &url, "--token", TOKEN, "--source", "demo"]).output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, out, _) = run(&[&id, "--userid", "7"]);
    assert_eq!(code, Some(0));
    let found: Vec<&str> = out.lines().collect();
    assert!(found[0].ends_with(" published to another room, which keeps nothing: sent to 1 session"), "{out}");
    assert_eq!(found[1..], ["=> the user had no session that the journal knows of"]);
    let (_, out, _) = run(&["--room", "a\u{1b}[31m"]);
    assert_eq!(out, "nothing is known about it\n");
    let (code, out, error) = run(&["no id"]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(error.contains("id is not that of a message"), "{error}");
    assert!(!error.contains(KEY) && !error.contains(TOKEN));
    let (code, _, error) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("missing question"), "{error}");
}
