//! docs/protocol.md, Notifications: every answer, every form of data, and every message once and in order.

mod answers;
mod batches;
mod data;
mod ids;
mod many;
mod pages;
mod rooms;
mod signatures;

use serde_json::Value;

use crate::support::{Answer, KEY, Relay, notify_sign, plain};

const SUCCESS: &str = r#"{"code":1,"msg":"message notify successed!","data":""}"#;

fn refusal(why: &str) -> String {
    format!(r#"{{"code":0,"msg":{},"data":""}}"#, Value::from(why))
}

/// The signature of source `demo` over data as it is sent.
fn sign(room_id: &str, data: &str) -> String {
    notify_sign("demo", room_id, data, KEY)
}

/// A JSON notification of source `demo` to room `room`: the data's text, and what of it is signed.
fn document(data: &str, signed: &str) -> String {
    format!(r#"{{"source":"demo","room_id":"room","data":{data},"sign":"{}"}}"#, sign("room", signed))
}

fn post(relay: &Relay, content_type: &str, body: &[u8]) -> Answer {
    relay.request("POST", "/api/notify", &[("Content-Type", content_type)], body)
}

/// Asserts that the answer is of that status in the shape every refusal has.
fn assert_refusal(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    let json = answer.json();
    let why = json["msg"].as_str().filter(|why| !why.is_empty()).expect("it says why");
    assert_eq!(plain(&answer.body), refusal(why));
}

fn batch(relay: &Relay, body: &str) -> Answer {
    relay.post_json("/api/notify/batch", body)
}
