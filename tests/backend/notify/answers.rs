//! What relay answers to a notification.

use serde_json::Value;

use super::{SUCCESS, assert_refusal, document, post, refusal, sign};
use crate::support::{FORM, Relay, form, notify_sign, plain};

#[test]
fn every_refusal_has_its_text_in_a_form_and_in_json() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let (right, other) = (sign("room", "x"), notify_sign("other", "room", "x", "other key"));
    let (mut cases, missing) = (Vec::new(), ["source", "data", "sign", "room_id"]);
    for field in missing {
        cases.push((field, "", format!("{field} can not be null!")));
    }
    for room_id in [",", ",,,"] {
        cases.push(("room_id", room_id, "room_id can not be null!".to_owned()));
    }
    for source in ["nobody", "Demo", "demo ", "__proto__", "constructor", "a\nb"] {
        cases.push(("source", source, "this source can not be configured!".to_owned()));
    }
    for (field, value) in [
        ("source", "other"),
        ("room_id", "rooms"),
        ("room_id", "room,"),
        ("data", "X"),
        ("data", "x "),
        ("sign", "x"),
        ("sign", &right[1..]),
        ("sign", &other),
        ("sign", &format!("{right}0")),
        ("sign_type", "hmac-sha256"),
        ("sign_type", "MD5"),
        ("sign_type", "none"),
    ] {
        cases.push((field, Box::leak(value.to_owned().into_boxed_str()), "api notify sign verify failed!".to_owned()));
    }
    for (field, value, why) in &cases {
        let mut fields = vec![("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", right.as_str())];
        fields.retain(|(name, _)| name != field);
        let absent = fields.clone();
        fields.push((field, value));
        let mut ways = vec![fields];
        if value.is_empty() {
            ways.push(absent);
        }
        for fields in ways {
            let answer = relay.post_form(&fields);
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
            assert_eq!(plain(&answer.body), refusal(why), "{fields:?}");
            let object: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
            let answer = relay.post_json("/api/notify", &Value::from(object).to_string());
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
            assert_eq!(plain(&answer.body), refusal(why), "{fields:?} in JSON");
            let null = |value: &str| if value.is_empty() { Value::Null } else { value.into() };
            let object: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), null(value))).collect();
            let answer = relay.post_json("/api/notify", &Value::from(object).to_string());
            assert_eq!(plain(&answer.body), refusal(why));
        }
    }
    assert_eq!(relay.counter("published"), 0);
    member.silence();
    // Nothing was wrong with the rest of it.
    relay.notify("room", "x");
    assert_eq!(member.data(), "x");
}

/// Of several faults, the first in the documented order is named.
#[test]
fn the_first_fault_is_named() {
    let relay = Relay::start("");
    for (fields, why) in [
        (&[][..], "source can not be null!"),
        (&[("source", "nobody")], "data can not be null!"),
        (&[("source", "nobody"), ("data", "x")], "sign can not be null!"),
        (&[("source", "nobody"), ("data", "x"), ("sign", "0")], "room_id can not be null!"),
        (
            &[("source", "nobody"), ("data", "x"), ("sign", "0"), ("room_id", "room")],
            "this source can not be configured!",
        ),
    ] {
        assert_eq!(relay.post_form(fields).body, refusal(why), "{fields:?}");
    }
}

#[test]
fn malformed_requests_get_a_status() {
    let relay = Relay::start("");
    let right = form(&[("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", &sign("room", "x"))]);
    for content_type in [
        "text/plain",
        "text/json",
        "application/xml",
        "multipart/mixed; boundary=x",
        "application/x-www-form-urlencoded-not",
        "application/jsonp",
        "",
        ";charset=utf-8",
        "application/x-www-form-urlencoded; charset=gbk",
        "application/json; charset=\"utf-16\"",
    ] {
        assert_refusal(&post(&relay, content_type, right.as_bytes()), 415);
    }
    assert_refusal(&relay.request("POST", "/api/notify", &[], right.as_bytes()), 415);
    let gzip = [("Content-Type", FORM), ("Content-Encoding", "gzip")];
    assert_refusal(&relay.request("POST", "/api/notify", &gzip, right.as_bytes()), 415);

    for content_type in [
        FORM,
        "Application/X-WWW-Form-URLEncoded",
        "application/x-www-form-urlencoded;charset=UTF-8",
        "application/x-www-form-urlencoded ; foo=bar; Charset=\"utf-8\"",
    ] {
        assert_eq!(post(&relay, content_type, right.as_bytes()).body, SUCCESS, "{content_type}");
    }
    for content_type in ["application/json", "APPLICATION/JSON; charset=utf8"] {
        assert_eq!(post(&relay, content_type, document("\"x\"", "x").as_bytes()).body, SUCCESS, "{content_type}");
    }

    for body in [
        &b""[..],
        b" ",
        b"{",
        b"{}}",
        b"[]",
        b"null",
        b"\"text\"",
        b"source=demo",
        br#"{"source":"demo",}"#,
        br#"{"source":{}}"#,
        br#"{"source":["demo"]}"#,
        br#"{"room_id":{"a":1}}"#,
        br#"{"room_id":[["a"]]}"#,
        br#"{"sign":true}"#,
        b"{\"data\":\"\xff\"}",
        br#"{"data":"\x"}"#,
        b"{'data':1}",
        b"{\"data\":NaN}",
    ] {
        let answer = post(&relay, "application/json", body);
        assert_refusal(&answer, 400);
    }
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = relay.request(method, "/api/notify", &[("Content-Type", FORM)], right.as_bytes());
        assert_refusal(&answer, 405);
        assert_eq!(answer.header("allow"), "POST, OPTIONS", "{method}");
    }
    let text = relay
        .raw(format!("POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Type: {FORM}\r\nConnection: close\r\n\r\n"));
    assert!(text.starts_with("HTTP/1.1 411 ") && text.contains("\r\n\r\n{\"code\":0,\"msg\":\""), "{text}");
    assert_refusal(&post(&relay, FORM, &vec![b'x'; 1_000_001]), 413);
    assert_eq!(relay.counter("published"), 6);
}

#[test]
fn a_field_given_twice_is_refused_unless_it_is_a_room() {
    let relay = Relay::start("");
    let mut member = relay.connect("a,b");
    let right = [("source", "demo"), ("room_id", "a"), ("data", "x"), ("sign", &sign("a", "x"))];
    for (name, value) in [&right[..1], &right[2..], &[("filename", "f"), ("sign_type", "md5")]].concat() {
        for second in [value, "other", ""] {
            let mut fields = right.to_vec();
            fields.retain(|(key, _)| *key != name);
            fields.extend([(name, value), (name, second)]);
            assert_refusal(&relay.post_form(&fields), 400);
        }
    }
    let fields =
        [("room_id", "a"), ("source", "demo"), ("room_id", "b"), ("data", "both"), ("sign", &sign("a,b", "both"))];
    assert_eq!(relay.post_form(&fields).body, SUCCESS);
    assert_eq!((member.data(), member.data()), ("both".into(), "both".into()));
    member.silence();
}

/// Whichever of two equal keys counts in JSON, what is delivered is what was signed.
#[test]
fn a_key_that_stands_twice_in_json_smuggles_nothing() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    for signed in ["one", "two"] {
        let body = format!(
            r#"{{"source":"demo","room_id":"room","data":"one","data":"two","sign":"{}"}}"#,
            sign("room", signed)
        );
        match post(&relay, "application/json", body.as_bytes()) {
            answer if answer.body == SUCCESS => assert_eq!(member.data(), signed),
            answer => assert!(answer.status == 400 || plain(&answer.body) == refusal("api notify sign verify failed!")),
        }
    }
    member.silence();
}
