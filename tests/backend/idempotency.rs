//! docs/protocol.md, Repeating a request: the same answer again, one delivery, and what must not be repeated under a key.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use relay::sign::{Subject, to_hex};
use serde_json::json;

use crate::support::{self, Answer, Client, KEY, Relay, TOKEN, form, notify_sign, plain};

const SUCCESS: &str = r#"{"code":1,"msg":"message notify successed!","data":""}"#;
const OTHER_REQUEST: &str = r#"{"code":0,"msg":"idempotency_key was used for another request!","data":""}"#;
const USED_SIGN: &str = r#"{"code":0,"msg":"sign was used before!","data":""}"#;
const WRONG_SIGN: &str = r#"{"code":0,"msg":"api notify sign verify failed!","data":""}"#;

/// Status, headers and body of an answer.
type Plain = (u16, HashMap<String, String>, String);

/// Posts a form with the admin token. Returns the answer without its date.
fn post(relay: &Relay, target: &str, fields: &[(&str, &str)]) -> Plain {
    let headers = [("Content-Type", support::FORM), ("Authorization", &*format!("Bearer {TOKEN}"))];
    without_date(relay.request("POST", target, &headers, form(fields).as_bytes()))
}

fn without_date(mut answer: Answer) -> Plain {
    answer.headers.retain(|name, _| !name.eq_ignore_ascii_case("date"));
    (answer.status, answer.headers, answer.body)
}

/// Posts a notification to `room` of the source `demo`, with its md5 signature. Returns the body of the answer.
fn notify(relay: &Relay, data: &str, key: &str) -> String {
    let sign = notify_sign("demo", "room", data, KEY);
    let fields = [("source", "demo"), ("room_id", "room"), ("data", data), ("sign", &*sign), ("idempotency_key", key)];
    plain(&relay.post_form(&fields).body)
}

/// The same, signed with hmac-sha256 at `ts`.
fn notify_hmac(relay: &Relay, data: &str, ts: &str, key: &str) -> String {
    let subject = Subject::Notify { source: "demo", room_id: "room", data: data.as_bytes() };
    let sign = to_hex(&subject.hmac(KEY.as_bytes(), ts));
    let fields = [
        ("source", "demo"),
        ("room_id", "room"),
        ("data", data),
        ("sign_type", "hmac-sha256"),
        ("ts", ts),
        ("sign", &*sign),
        ("idempotency_key", key),
    ];
    plain(&relay.post_form(&fields).body)
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Asserts that the member has got nothing since it last read.
fn assert_nothing_came(relay: &Relay, member: &mut Client) {
    relay.notify("room", "nothing came");
    assert_eq!(member.data(), "nothing came");
}

#[test]
fn a_repeated_notification_gets_the_same_answer_and_is_delivered_once() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let fields = [("source", "demo"), ("room_id", "room"), ("data", "x"), ("idempotency_key", "form")];
    let first = post(&relay, "/api/notify", &fields);
    assert_eq!((first.0, &*first.2), (200, SUCCESS));
    for _ in 0..3 {
        assert_eq!(post(&relay, "/api/notify", &fields), first);
    }
    assert_eq!(member.data(), "x");
    let sign = notify_sign("demo", "room", "{\"n\": 1}", KEY);
    let body =
        format!(r#"{{"source":"demo","room_id":["room"],"data":{{"n": 1}},"sign":"{sign}","idempotency_key":7}}"#);
    let first = without_date(relay.post_json("/api/notify", &body));
    assert_eq!(without_date(relay.post_json("/api/notify", &body)), first);
    assert_eq!((first.0, &*first.2), (200, SUCCESS));
    assert_eq!(member.data(), json!({"n": 1}));
    assert_nothing_came(&relay, &mut member);
    let counted = ["notifies", "idempotency_repeated", "idempotency_forgotten", "notifies_refused"];
    assert_eq!(counted.map(|name| relay.counter(name)), [3, 4, 0, 0]);
    // Without the field, or with an empty one, equal notifications are two.
    for _ in 0..2 {
        assert_eq!(notify(&relay, "x", ""), SUCCESS);
        assert_eq!(member.data(), "x");
    }
    let repeated = [fields.as_slice(), &[("idempotency_key", "")]].concat();
    assert_eq!(post(&relay, "/api/notify", &repeated).0, 400, "a field is given twice");
    let list = r#"{"source":"demo","room_id":"room","data":"x","sign":"0","idempotency_key":["k"]}"#;
    assert_eq!(relay.post_json("/api/notify", list).status, 400);
}

#[test]
fn each_item_of_a_batch_has_its_own_key() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let item = |data: &str, key: &str| {
        let sign = notify_sign("demo", "room", data, KEY);
        json!({"source": "demo", "room_id": "room", "data": data, "sign": sign, "idempotency_key": key})
    };
    let items = json!({"messages": [item("a", "1"), item("b", "2"), item("a", "1"), item("c", "")]}).to_string();
    let first = without_date(relay.post_json("/api/notify/batch", &items));
    assert_eq!(first.2, format!(r#"{{"code":1,"msg":"","data":[{SUCCESS},{SUCCESS},{SUCCESS},{SUCCESS}]}}"#));
    assert_eq!(without_date(relay.post_json("/api/notify/batch", &items)), first);
    assert_eq!([0; 4].map(|_| member.data()), ["a", "b", "c", "c"], "only the item without a key comes twice");
    // An item of a batch is the same notification as a request of its own.
    assert_eq!(notify(&relay, "b", "2"), SUCCESS);
    let more = json!({"messages": [item("d", "2"), item("e", "3"), item("f", &"k".repeat(129))]}).to_string();
    let too_long = r#"{"code":0,"msg":"idempotency_key can not be longer than 128 bytes!","data":""}"#;
    assert_eq!(
        plain(&relay.post_json("/api/notify/batch", &more).body),
        format!(r#"{{"code":0,"msg":"2 of 3 messages refused","data":[{OTHER_REQUEST},{SUCCESS},{too_long}]}}"#)
    );
    assert_eq!(member.data(), "e");
    assert_nothing_came(&relay, &mut member);
}

/// The answer to the first event, although it would reach another number of sessions now.
#[test]
fn a_repeated_event_gets_the_same_answer_and_is_sent_once() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let fields = [
        ("source", "demo"),
        ("room_id", "room"),
        ("event", "news"),
        ("args", "[1,\"x\"]"),
        ("idempotency_key", "event"),
    ];
    let first = post(&relay, "/api/emit", &fields);
    assert_eq!((first.0, &*first.2), (200, r#"{"code":1,"msg":"","data":{"sessions":1}}"#));
    let mut late = relay.connect("room");
    assert_eq!(post(&relay, "/api/emit", &fields), first);
    assert_eq!(member.json(), json!({"event": "news", "args": [1, "x"]}));
    relay.notify("room", "after");
    assert_eq!((member.data(), late.data()), (json!("after"), json!("after")));
    // Anything else under this key is another request: the signature covers the same text of `data` and `args`.
    for (name, value) in [("room_id", "other"), ("event", "olds"), ("args", "[1]"), ("nsp", "/app")] {
        let mut changed = fields.to_vec();
        changed.retain(|(field, _)| *field != name);
        changed.push((name, value));
        assert_eq!(post(&relay, "/api/emit", &changed).2, OTHER_REQUEST, "{name}");
    }
    let as_data = json!({"source": "demo", "room_id": "room", "event": "news", "data": [1, "x"], "token": TOKEN,
        "idempotency_key": "event"});
    assert_eq!(relay.post_json("/api/emit", &as_data.to_string()).body, OTHER_REQUEST);
    let to_user = [("source", "demo"), ("userid", "room"), ("event", "news"), ("args", "[1,\"x\"]")];
    assert_eq!(post(&relay, "/api/emit", &[&to_user[..], &fields[4..]].concat()).2, OTHER_REQUEST);
    // Notifications and events of a source share their keys.
    assert_eq!(notify(&relay, "x", "event"), OTHER_REQUEST);
    let long = "k".repeat(129);
    let too_long = post(&relay, "/api/emit", &[&fields[..4], &[("idempotency_key", long.as_str())]].concat()).2;
    assert_eq!(too_long, r#"{"code":0,"msg":"idempotency_key can not be longer than 128 bytes!","data":""}"#);
    assert_eq!(post(&relay, "/api/emit", &[&fields[..], &fields[4..]].concat()).0, 400, "a field is given twice");
    // Signed, and as JSON.
    let ts = unix().to_string();
    let subject = Subject::Emit { source: "demo", nsp: "/", kind: "room_id", to: "room", event: "e", data: b"x" };
    let sign = to_hex(&subject.hmac(KEY.as_bytes(), &ts));
    let signed = json!({"source": "demo", "room_id": "room", "event": "e", "data": "x", "sign_type": "hmac-sha256",
        "ts": ts, "sign": sign, "idempotency_key": "signed"});
    let first = without_date(relay.post_json("/api/emit", &signed.to_string()));
    assert_eq!(first.2, r#"{"code":1,"msg":"","data":{"sessions":2}}"#);
    drop(late);
    assert_eq!(without_date(relay.post_json("/api/emit", &signed.to_string())), first);
    assert_eq!(member.json(), json!({"event": "e", "data": "x"}));
    assert_nothing_came(&relay, &mut member);
    assert_eq!(relay.counter("signatures_replayed"), 0);
    assert_eq!(relay.counter("notifies_refused"), 8, "each is counted and logged");
}

#[test]
fn a_key_is_for_one_request_of_one_source() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let key = "k".repeat(128);
    assert_eq!(notify(&relay, "x", &key), SUCCESS);
    assert_eq!(member.data(), "x");
    assert_eq!(
        notify(&relay, "x", &(key.clone() + "k")),
        r#"{"code":0,"msg":"idempotency_key can not be longer than 128 bytes!","data":""}"#
    );
    assert_eq!(notify(&relay, "y", &key), OTHER_REQUEST);
    let fields = [("source", "demo"), ("room_id", "room"), ("data", "x"), ("filename", ""), ("idempotency_key", &*key)];
    for (place, value) in [(1, "room,room"), (2, "X"), (3, "x.log")] {
        let mut changed = fields;
        changed[place].1 = value;
        assert_eq!(post(&relay, "/api/notify", &changed).2, OTHER_REQUEST, "{}", changed[place].0);
    }
    // A number and a string have the same signature.
    assert_eq!(notify(&relay, "1", "number"), SUCCESS);
    assert_eq!(member.data(), "1");
    let sign = notify_sign("demo", "room", "1", KEY);
    let number = |data: &str| {
        format!(r#"{{"source":"demo","room_id":"room","data":{data},"sign":"{sign}","idempotency_key":"number"}}"#)
    };
    assert_eq!(relay.post_json("/api/notify", &number("1")).body, OTHER_REQUEST);
    assert_eq!(relay.post_json("/api/notify", &number("\"1\"")).body, SUCCESS, "the same in JSON");
    assert_eq!(relay.counter("notifies_refused"), 6);
    relay.wait_log("idempotency_key was used for another request!");
    // Another source has keys of its own.
    let mut other =
        relay.connect_with(&[("source", "other"), ("sign", &support::connect_sign("other", "room", "other key"))]);
    let sign = notify_sign("other", "room", "z", "other key");
    let fields =
        [("source", "other"), ("room_id", "room"), ("data", "z"), ("sign", &*sign), ("idempotency_key", &*key)];
    for _ in 0..2 {
        assert_eq!(relay.post_form(&fields).body, SUCCESS);
    }
    assert_eq!(other.data(), "z");
    other.silence();
    assert_nothing_came(&relay, &mut member);
}

/// A refused request may be corrected and sent again under its key, and nobody without the source's key learns or changes
/// anything.
#[test]
fn only_accepted_requests_are_remembered() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let post = |data: &str, sign: &str, filename: &str| {
        let fields = [
            ("source", "demo"),
            ("room_id", "room"),
            ("data", data),
            ("sign", sign),
            ("filename", filename),
            ("idempotency_key", "k"),
        ];
        plain(&relay.post_form(&fields).body)
    };
    let sign = notify_sign("demo", "room", "x", KEY);
    assert_eq!(post("x", "0", ""), WRONG_SIGN);
    assert_eq!(post("y", &sign, ""), WRONG_SIGN);
    assert!(post("x", &sign, "../x").contains("filename can only have"));
    assert_eq!(post("x", &sign, ""), SUCCESS);
    assert_eq!(post("x", &sign, ""), SUCCESS);
    assert_eq!(member.data(), "x");
    for (data, sign) in [("x", "0"), ("y", &*sign), ("x", "")] {
        let answer = post(data, sign, "");
        assert!(answer == WRONG_SIGN || answer.contains("sign can not be null!"), "{answer}");
    }
    let event = |nsp: &str| {
        self::post(
            &relay,
            "/api/emit",
            &[("source", "demo"), ("room_id", "room"), ("event", "e"), ("nsp", nsp), ("idempotency_key", "e")],
        )
        .2
    };
    assert!(event("/nowhere").contains("Invalid namespace"));
    assert!(event("/").contains("\"code\":1"));
    assert_eq!(member.json()["event"], "e");
    assert_nothing_came(&relay, &mut member);
}

#[test]
fn a_repeated_signature_gets_the_first_answer_too() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let (ts, later) = (unix().to_string(), format!("{}.5", unix()));
    assert_eq!(notify_hmac(&relay, "x", &ts, "k"), SUCCESS);
    // Unchanged, and signed anew.
    assert_eq!(notify_hmac(&relay, "x", &ts, "k"), SUCCESS);
    assert_eq!(notify_hmac(&relay, "x", &later, "k"), SUCCESS);
    assert_eq!(relay.counter("signatures_replayed"), 0);
    assert_eq!(notify_hmac(&relay, "y", &ts, "k"), OTHER_REQUEST);
    // Both signatures are used up: the key is not signed, so anybody could take it away or change it.
    for ts in [&ts, &later] {
        for key in ["", "other"] {
            assert_eq!(notify_hmac(&relay, "x", ts, key), USED_SIGN, "{ts} {key:?}");
        }
    }
    assert_eq!(notify_hmac(&relay, "y", &ts, "l"), SUCCESS, "the refused one was not used up");
    assert_eq!((member.data(), member.data()), (json!("x"), json!("y")));
    assert_nothing_came(&relay, &mut member);
    assert_eq!((relay.counter("signatures_replayed"), relay.counter("idempotency_repeated")), (4, 2));
}
