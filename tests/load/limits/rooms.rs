//! How many rooms a client may be in, and how long their names may be.

use serde_json::json;

use crate::support::{KEY, Relay, connect_sign, login, notify_sign};

#[test]
fn rooms_per_session() {
    let relay = Relay::start("[limits]\nrooms_per_session = 3");
    let answer = relay.refused(&login(&[("room_ids", "a,b,c,d")]));
    assert_eq!((answer.status, answer.json()), (401, json!({"code": 0, "msg": "more than 3 rooms!", "data": ""})));

    let mut client = relay.connect("a,b");
    let join = |rooms: &str| {
        format!(r#"{{"event":"join","ack":1,"room_ids":"{rooms}","sign":"{}"}}"#, connect_sign("demo", rooms, KEY))
    };
    client.send(&join("c,d"));
    assert_eq!(client.json(), json!({"event": "ack", "ack": 1, "code": 0, "msg": "more than 3 rooms!", "data": ""}));
    relay.notify("c", "c is not joined by half");
    client.send(&join("a,b,c"));
    assert_eq!(client.json()["code"], 1, "rooms it is in already count once");
    client.send(&join("d").replace("\"ack\":1,", ""));
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": "more than 3 rooms!"}));

    client.send(r#"{"data":"x","room_ids":"a,b,c,d"}"#);
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": "more than 3 rooms!"}));
    client.send(r#"{"data":"x","room_ids":["a","c"]}"#);
    assert_eq!((client.data(), client.data()), ("x".into(), "x".into()));
    client.silence();
}

#[test]
fn room_id() {
    let relay = Relay::start("[limits]\nroom_id = 8");
    let why = "room_id can not be longer than 8 bytes!";
    for long in ["123456789", "short,123456789", "三三三"] {
        let answer = relay.refused(&login(&[("room_ids", long)]));
        assert_eq!((answer.status, &answer.json()["msg"]), (401, &json!(why)), "{long}");

        let answer = relay.post_form(&[
            ("source", "demo"),
            ("room_id", long),
            ("data", "x"),
            ("sign", &notify_sign("demo", long, "x", KEY)),
        ]);
        assert_eq!((answer.status, answer.json()), (200, json!({"code": 0, "msg": why, "data": ""})), "{long}");
    }
    let mut client = relay.connect("12345678");
    client.send(&format!(
        r#"{{"event":"join","room_ids":"123456789","sign":"{}"}}"#,
        connect_sign("demo", "123456789", KEY)
    ));
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": why}));
    client.send(r#"{"data":"x","room_ids":"12345678,123456789"}"#);
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": why}));
    relay.notify("12345678", "eight are right");
    assert_eq!(client.data(), "eight are right");
}
