//! Several notifications in one request.

use std::thread;

use serde_json::json;

use super::{SUCCESS, assert_refusal, batch, document};
use crate::support::{FORM, Relay, plain_json};

#[test]
fn a_batch_has_one_result_for_each_message() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let answer = batch(&relay, &format!(r#"{{"messages":[{},{}]}}"#, document("\"a\"", "a"), document("[1]", "[1]")));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.body, format!(r#"{{"code":1,"msg":"","data":[{SUCCESS},{SUCCESS}]}}"#));
    assert_eq!((member.data(), member.data()), ("a".into(), json!([1])));

    let messages = [
        document("\"first\"", "first"),
        document("\"wrong\"", "x"),
        String::from("{}"),
        document("null", "null"),
        String::from("7"),
        String::from("null"),
        String::from("[]"),
        String::from(r#"{"source":{}}"#),
        document("\"x\"", "x").replace("demo", "nobody"),
        document("\"last\"", "last"),
    ];
    let answer = batch(&relay, &format!(r#"{{"messages":[{}]}}"#, messages.join(" , ")));
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["code"], 0, "not all went well: {body}");
    let results = body["data"].as_array().unwrap();
    let codes: Vec<u64> = results.iter().map(|result| result["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    for (place, why) in [
        (1, "api notify sign verify failed!"),
        (2, "source can not be null!"),
        (3, "data can not be null!"),
        (8, "this source can not be configured!"),
    ] {
        assert_eq!(plain_json(&results[place]), json!({"code": 0, "msg": why, "data": ""}));
    }
    for result in results {
        assert!(result["msg"].as_str().is_some_and(|why| !why.is_empty()), "{result}");
        assert_eq!(result["data"], "", "{result}");
    }
    assert_eq!((member.data(), member.data()), ("first".into(), "last".into()));
    member.silence();
}

#[test]
fn a_batch_may_be_empty_but_it_must_be_a_list() {
    let relay = Relay::start("");
    assert_eq!(batch(&relay, r#"{"messages":[]}"#).body, r#"{"code":1,"msg":"","data":[]}"#);
    let one = document("\"x\"", "x");
    for body in [
        String::from("{}"),
        String::from("[]"),
        String::new(),
        String::from(r#"{"messages":null}"#),
        String::from(r#"{"messages":"x"}"#),
        String::from(r#"{"messages":{}}"#),
        format!("[{one}]"),
        format!(r#"{{"messages":{one}}}"#),
        format!(r#"{{"messages":[{one},]}}"#),
        format!(r#"{{"messages":[{one}"#),
        format!(r#"{{"messages":[{one}]}}x"#),
        one,
    ] {
        assert_refusal(&batch(&relay, &body), 400);
    }
    let as_form = relay.request("POST", "/api/notify/batch", &[("Content-Type", FORM)], b"messages=[]");
    assert_refusal(&as_form, 415);
    assert_eq!(relay.counter("published"), 0, "a batch that is no list is refused as a whole");
}

/// As many as a body holds, in their order; one body more is too many.
#[test]
fn a_batch_is_bounded_by_the_body() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let messages: Vec<String> = (0..5000).map(|number| document(&number.to_string(), &number.to_string())).collect();
    let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
    let reading = thread::spawn(move || {
        for number in 0..5000 {
            assert_eq!(member.data(), number);
        }
        member
    });
    let answer = batch(&relay, &body).json();
    assert_eq!(answer["code"], 1);
    assert_eq!(answer["data"].as_array().unwrap().len(), 5000);
    let mut member = reading.join().unwrap();
    let more = format!(r#"{{"messages":[{}]}}"#, vec![messages.join(","); 3].join(","));
    assert!(body.len() < 1_000_000 && more.len() > 1_000_000);
    assert_refusal(&batch(&relay, &more), 413);
    // Nor may an unsigned body of nothing bring an answer of thirty times its size.
    assert_refusal(&batch(&relay, &format!(r#"{{"messages":[{}]}}"#, ["1"; 10_001].join(","))), 413);
    member.silence();
}
