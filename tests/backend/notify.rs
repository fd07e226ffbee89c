//! docs/protocol.md, Notifications: every answer, every form of data, and every message once and in order.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use relay::sign::{Subject, to_hex};
use serde_json::{Value, json};

use crate::support::{
    self, Answer, Client, FORM, KEY, PATIENCE, Relay, form, notify_sign, plain, plain_json, read_answer, send_request,
};

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

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

// What is answered.

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

// Where it goes.

#[test]
fn several_rooms_get_it_in_the_order_listed() {
    let relay = Relay::start("");
    let mut member = relay.connect("a,b,c");
    let hear = |member: &mut Client, rooms: &[&str]| {
        for room in rooms {
            assert_eq!(member.json()["room_id"], *room);
        }
    };
    relay.notify("c,a", "x");
    hear(&mut member, &["c", "a"]);
    relay.notify(",b,,a,", "x");
    hear(&mut member, &["b", "a"]);
    relay.notify("nobody,b,neither", "x");
    hear(&mut member, &["b"]);
    for (list, signed, rooms) in [
        (r#"["b","a","c"]"#, "b,a,c", &["b", "a", "c"][..]),
        (r#"["c"]"#, "c", &["c"]),
        (r#"["b,c", "a"]"#, "b,c,a", &["b", "c", "a"]),
        (r#""a,c""#, "a,c", &["a", "c"]),
    ] {
        let body = format!(r#"{{"sign":"{}","room_id":{list},"data":"x","source":"demo"}}"#, sign(signed, "x"));
        assert_eq!(relay.post_json("/api/notify", &body).body, SUCCESS, "{list}");
        hear(&mut member, rooms);
    }
    let mut seven = relay.connect("7");
    let body = format!(r#"{{"sign":"{}","room_id":[7],"data":"x","source":"demo"}}"#, sign("7", "x"));
    assert_eq!(relay.post_json("/api/notify", &body).body, SUCCESS);
    assert_eq!(seven.data(), "x");
    member.silence();
    assert_eq!(
        relay.post_json("/api/notify", r#"{"source":"demo","data":"x","sign":"0","room_id":[]}"#).json(),
        json!({"code": 0, "msg": "room_id can not be null!", "data": ""})
    );
}

#[test]
fn a_room_without_members_is_no_fault() {
    let relay = Relay::start("");
    relay.notify("nobody is here", "x");
    let mut member = relay.connect("room");
    let mut other =
        relay.connect_with(&[("source", "other"), ("sign", &support::connect_sign("other", "room", "other key"))]);
    relay.notify("room", "after");
    assert_eq!(member.data(), "after", "what was sent before it came is not for it");
    other.silence();
    drop(member);
    relay.notify("room", "x");
    assert_eq!((relay.counter("notifies"), relay.counter("notifies_refused")), (3, 0));
}

// What is delivered.

#[test]
fn a_form_s_data_is_delivered_as_that_very_string() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut text = relay.connect_with(&[("format", "text")]);
    for data in [
        "{\"a\":1}",
        "[1]",
        "null",
        "1.50",
        "\"quoted\"",
        "a+b c&d=e;f%41",
        "line\r\nline\nline\rend\t",
        "\u{5f20}\u{4e09} \u{1f600} \u{2028}",
        " ",
        "\0\u{1}\u{7f}",
        "\u{feff}bom",
        "</script>",
    ] {
        relay.notify("room", data);
        assert_eq!(member.data(), data);
        assert_eq!(text.text(), data);
    }
    for (encoded, data) in [
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("%e5%bc%a0", "\u{5f20}"),
        ("%E5%BC%A0", "\u{5f20}"),
        ("\u{5f20}", "\u{5f20}"),
        ("a=b=c", "a=b=c"),
        ("a;b", "a;b"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%0d%0A", "\r\n"),
    ] {
        let body = format!("data={encoded}&&source=demo&room_id=room&sign={}&more=fields", sign("room", data));
        assert_eq!(post(&relay, FORM, body.as_bytes()).body, SUCCESS, "{encoded}");
        assert_eq!(member.data(), data, "{encoded}");
        assert_eq!(text.text(), data, "{encoded}");
    }
}

/// Over a string the signature is over its value, over anything else it is over the text; both are delivered as written.
#[test]
fn json_data_may_be_of_any_type_and_is_signed_as_sent() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for (data, signed) in [
        ("\"text\"", "text"),
        (r#""\u5f20 \"\n\/ \ud83d\ude00""#, "\u{5f20} \"\n/ \u{1f600}"),
        ("\"null\"", "null"),
        ("1.50", "1.50"),
        ("-0", "-0"),
        ("1e400", "1e400"),
        ("12345678901234567890", "12345678901234567890"),
        ("true", "true"),
        ("false", "false"),
        ("0", "0"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[1, 2,  3]", "[1, 2,  3]"),
        (r#"{ "b":1, "a":2 }"#, r#"{ "b":1, "a":2 }"#),
        ("{\"a\":\n1,\"a\":2}", "{\"a\":\n1,\"a\":2}"),
        (r#"{"x":"\u5f20"}"#, r#"{"x":"\u5f20"}"#),
        (&deep, &deep),
    ] {
        let answer = relay.post_json("/api/notify", &document(&format!("  {data} "), signed));
        assert_eq!(answer.body, SUCCESS, "{data}");
        let text = member.text();
        let begin = format!(r#"{{"event":"newMsg","source":"demo","data":{data},"room_id":"room","id":""#);
        assert!(text.starts_with(&begin), "{data}: {text}");
    }
    // The text is signed, not what it means.
    for (data, signed) in [
        ("1.50", "1.5"),
        (r#"{ "b":1, "a":2 }"#, r#"{"b":1,"a":2}"#),
        (r#"{ "b":1, "a":2 }"#, r#"{"a":2,"b":1}"#),
        ("\"text\"", "\"text\""),
        (r#""\u5f20""#, r"\u5f20"),
    ] {
        let answer = relay.post_json("/api/notify", &document(data, signed));
        assert_eq!(plain(&answer.body), refusal("api notify sign verify failed!"), "{data} signed as {signed}");
    }
    for missing in ["null", "\"\""] {
        let answer = relay.post_json("/api/notify", &document(missing, "null"));
        assert_eq!(plain(&answer.body), refusal("data can not be null!"), "{missing}");
    }
    member.silence();
}

#[test]
fn data_may_be_nearly_as_large_as_a_body() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let data = "0123456789".repeat(99_980);
    relay.notify("room", &data);
    assert!(member.data() == data.as_str());
    assert_eq!(
        relay.post_json("/api/notify", &document(&format!("[\"{data}\"]"), &format!("[\"{data}\"]"))).body,
        SUCCESS
    );
    assert!(member.data()[0] == data.as_str());
}

// Signatures.

#[test]
fn hmac_binds_source_room_time_and_data() {
    let relay = Relay::start("sign_window = 100");
    let mut member = relay.connect("room,two");
    let now = unix();
    let hmac = |source: &str, room_id: &str, data: &str, ts: &str, key: &str| {
        to_hex(&Subject::Notify { source, room_id, data: data.as_bytes() }.hmac(key.as_bytes(), ts))
    };
    let send = |room_id: &str, data: &str, ts: &str, sign: &str| {
        let fields = [
            ("source", "demo"),
            ("room_id", room_id),
            ("data", data),
            ("sign", sign),
            ("sign_type", "hmac-sha256"),
            ("ts", ts),
        ];
        let object: serde_json::Map<_, _> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let answer = relay.post_json("/api/notify", &Value::from(object).to_string());
        // Once it is used, it is used in every transport.
        let again = if answer.body == SUCCESS { refusal("sign was used before!") } else { plain(&answer.body) };
        assert_eq!(plain(&relay.post_form(&fields).body), again);
        assert_eq!(answer.status, 200);
        plain(&answer.body)
    };
    for offset in [0, -90, 90_i64] {
        let ts = (now as i64 + offset).to_string();
        let right = hmac("demo", "room", "x\ny", &ts, KEY);
        assert_eq!(send("room", "x\ny", &ts, &right), SUCCESS, "{offset}");
        assert_eq!(send("room", "x\ny", &ts, &right.to_uppercase()), refusal("sign was used before!"), "{offset}");
        let ts = format!("{ts}.123456");
        let right = hmac("demo", "room", "x\ny", &ts, KEY);
        assert_eq!(send("room", "x\ny", &ts, &right.to_uppercase()), SUCCESS, "{offset}");
        (0..2).for_each(|_| assert_eq!(member.data(), "x\ny"));
    }
    let ts = now.to_string();
    assert_eq!(send("two,room", "x", &ts, &hmac("demo", "two,room", "x", &ts, KEY)), SUCCESS);
    (0..2).for_each(|_| assert_eq!(member.data(), "x"));
    // A number is as good as a string for the time.
    let right = hmac("demo", "room", "1.50", &ts, KEY);
    let body = format!(
        r#"{{"source":"demo","room_id":"room","data":1.50,"sign":"{right}","sign_type":"hmac-sha256","ts":{ts}}}"#
    );
    assert_eq!(relay.post_json("/api/notify", &body).body, SUCCESS);
    assert_eq!(member.data(), 1.5);

    let wrong = refusal("api notify sign verify failed!");
    for offset in [-110, 110_i64] {
        let ts = (now as i64 + offset).to_string();
        assert_eq!(send("room", "x", &ts, &hmac("demo", "room", "x", &ts, KEY)), wrong, "{offset}");
    }
    for ts in ["", "now", "0", "-1", &format!("+{ts}"), &format!("{ts}."), &format!(" {ts}"), &format!("{ts}000")] {
        assert_eq!(send("room", "x", ts, &hmac("demo", "room", "x", ts, KEY)), wrong, "{ts:?}");
    }
    for sign in [
        hmac("other", "room", "x", &ts, KEY),
        hmac("demo", "two", "x", &ts, KEY),
        hmac("demo", "room", "y", &ts, KEY),
        hmac("demo", "room", "x", &(now - 1).to_string(), KEY),
        hmac("demo", "room", "x", &ts, "other key"),
        sign("room", "x"),
        String::from("0"),
    ] {
        assert_eq!(send("room", "x", &ts, &sign), wrong);
    }
    // A login's signature is none for a notification.
    let login = to_hex(&Subject::Connect { source: "demo", userid: "room", room_ids: &ts }.hmac(KEY.as_bytes(), "x"));
    assert_eq!(send("room", "x", &ts, &login), wrong);
    member.silence();
}

/// The fields of a notification of the source `demo` with an hmac-sha256 signature.
fn hmac_signed<'a>(room_id: &'a str, data: &'a str, ts: &'a str) -> Vec<(&'static str, String)> {
    let sign = to_hex(&Subject::Notify { source: "demo", room_id, data: data.as_bytes() }.hmac(KEY.as_bytes(), ts));
    let fields = [("room_id", room_id), ("data", data), ("ts", ts), ("sign", &sign), ("sign_type", "hmac-sha256")];
    fields.map(|(name, value)| (name, value.to_owned())).into()
}

fn post_fields(relay: &Relay, source: &str, fields: &[(&str, String)], more: &[(&str, &str)]) -> String {
    let mut all: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.push(("source", source));
    all.extend(more);
    plain(&relay.post_form(&all).body)
}

#[test]
fn an_hmac_signature_is_good_for_one_notification() {
    let relay = Relay::start(&format!("[sources.loose]\nsign_key = \"{KEY}\"\nreplay = \"allow\"\n"));
    let mut member = relay.connect("room");
    let ts = unix().to_string();
    let used = refusal("sign was used before!");
    let signed = hmac_signed("room", "once", &ts);
    // What is refused for another reason may be corrected and sent again.
    assert!(post_fields(&relay, "demo", &signed, &[("filename", "../x")]).contains("filename"));
    assert_eq!(post_fields(&relay, "demo", &signed, &[]), SUCCESS);
    // The file name is not signed: another one makes no other notification.
    for filename in ["", "x.log", "y.log"] {
        assert_eq!(post_fields(&relay, "demo", &signed, &[("filename", filename)]), used);
    }
    assert_eq!(member.data(), "once");
    // A batch has a signature for each item; the second of two equal items is refused.
    let item = |data: &str| {
        let fields = hmac_signed("room", data, &ts).into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        let mut object: serde_json::Map<String, Value> = fields.collect();
        object.insert("source".into(), "demo".into());
        Value::from(object)
    };
    let batch = json!({"messages": [item("a"), item("b"), item("a"), item("once")]});
    let answer = relay.post_json("/api/notify/batch", &batch.to_string()).json();
    let codes: Vec<_> = answer["data"].as_array().unwrap().iter().map(|item| item["code"].clone()).collect();
    assert_eq!(codes, [1, 1, 0, 0], "{answer}");
    assert_eq!(answer["data"][2]["msg"], "sign was used before!");
    assert_eq!((member.data(), member.data()), ("a".into(), "b".into()));
    assert_eq!(relay.counter("signatures_replayed"), 5);
    // A wrong signature is not remembered, and a wrong one does not use up the right one.
    let mut wrong = hmac_signed("room", "later", &ts);
    wrong[1].1 = "other".into();
    assert_eq!(post_fields(&relay, "demo", &wrong, &[]), refusal("api notify sign verify failed!"));
    assert_eq!(post_fields(&relay, "demo", &hmac_signed("room", "later", &ts), &[]), SUCCESS);
    assert_eq!(member.data(), "later");
    // A source may allow it, and md5 has no time that could end.
    let sign = to_hex(&Subject::Notify { source: "loose", room_id: "room", data: b"x" }.hmac(KEY.as_bytes(), &ts));
    let loose = [("source", "loose"), ("room_id", "room"), ("data", "x"), ("ts", ts.as_str()), ("sign", sign.as_str())];
    for _ in 0..2 {
        assert_eq!(relay.post_form(&[&loose[..], &[("sign_type", "hmac-sha256")]].concat()).body, SUCCESS);
        relay.notify("room", "md5");
        assert_eq!(member.data(), "md5");
    }
    member.silence();
}

#[test]
fn control_characters_in_signed_fields_are_refused() {
    let relay = Relay::start("");
    let mut member = relay.connect("secret");
    let ts = unix().to_string();
    // Signed for the room "public" with data of three lines, presented for the room "secret".
    let mut moved = hmac_signed("public", &format!("hello,secret\n{ts}\nforged"), &ts);
    moved[0].1 = format!("public\n{ts}\nhello,secret");
    moved[1].1 = "forged".into();
    let refused = refusal("room_id can not have control characters!");
    assert_eq!(post_fields(&relay, "demo", &moved, &[]), refused);
    for control in (0..32_u8).chain([127]).map(char::from) {
        let room = format!("secret,{control}");
        let fields = [("source", "demo"), ("room_id", &*room), ("data", "x"), ("sign", &*sign(&room, "x"))];
        assert_eq!(relay.post_form(&fields).body, refused, "{control:?}");
        let body = json!({"source": "demo", "room_id": ["secret", format!("{control}")], "data": "x", "sign": "0"});
        assert_eq!(relay.post_json("/api/notify", &body.to_string()).body, refused, "{control:?}");
    }
    let batch = json!({"messages": [{"source": "demo", "room_id": "a\n", "data": "x", "sign": "0"}]});
    let answer = relay.post_json("/api/notify/batch", &batch.to_string()).json();
    assert_eq!(answer["data"][0]["msg"], "room_id can not have control characters!");
    member.silence();
    // Data may have any.
    relay.notify("secret", "a\nb\u{7f}\u{1}");
    assert_eq!(member.data(), "a\nb\u{7f}\u{1}");
}

#[test]
fn deeply_nested_data_is_refused() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let answer = |depth| relay.post_json("/api/notify", &document(&nested(depth), &nested(depth))).body;
    assert_eq!(answer(100), SUCCESS);
    assert_eq!(member.json()["data"].to_string(), nested(100));
    for depth in [101, 128, 129, 5000] {
        assert_eq!(answer(depth), refusal("data can not be nested more than 100 levels deep!"), "{depth}");
    }
    // A string is not nested, whatever is in it.
    let brackets = nested(5000);
    relay.notify("room", &brackets);
    assert_eq!(member.data(), brackets.as_str());
}

#[test]
fn a_source_lists_the_schemes_it_accepts() {
    let relay = Relay::start(
        "[sources.strict]\nsign_key = \"k\"\nsign = [\"hmac-sha256\"]\n[sources.old]\nsign_key = \"k\"\nsign = [\"md5\"]",
    );
    let ts = unix().to_string();
    for (source, md5_passes) in [("strict", false), ("old", true)] {
        let subject = Subject::Notify { source, room_id: "room", data: b"x" };
        for (sign, more, passes) in [
            (to_hex(&subject.md5(b"k")), &[][..], md5_passes),
            (to_hex(&subject.md5(b"k")), &[("sign_type", "md5")], md5_passes),
            (to_hex(&subject.hmac(b"k", &ts)), &[("sign_type", "hmac-sha256"), ("ts", &ts)], !md5_passes),
            (to_hex(&subject.hmac(b"k", &ts)), &[("ts", &ts)], false),
        ] {
            let fields = [&[("source", source), ("room_id", "room"), ("data", "x"), ("sign", &sign)], more].concat();
            let expected = if passes { SUCCESS.into() } else { refusal("api notify sign verify failed!") };
            assert_eq!(plain(&relay.post_form(&fields).body), expected, "{fields:?}");
        }
    }
}

#[test]
fn a_filename_must_be_harmless() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let send = |filename: &str| {
        let sign = sign("room", "x");
        let fields = [("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", &sign), ("filename", filename)];
        relay.post_form(&fields)
    };
    for filename in ["orders", "a.b-c_D.9", "..a", "", " ", &"x".repeat(64)] {
        assert_eq!(send(filename).body, SUCCESS, "{filename:?}");
        assert_eq!(member.data(), "x");
    }
    for filename in [".", "..", "...", "../x", "a/b", "a\\b", "a b", "\u{e4}", "a\0", "a\n", "a:b", &"x".repeat(65)] {
        let answer = send(filename);
        assert_refusal(&answer, 200);
        assert!(answer.json()["msg"].as_str().unwrap().contains("filename"), "{answer:?}");
    }
    member.silence();
}

// Pages.

/// Whatever becomes of a notification, the page that sent it may read the answer.
#[test]
fn refusals_may_be_read_by_pages_too() {
    let relay = Relay::start("");
    let page = |more: &[(&str, &str)], body: &[u8]| {
        let headers = [&[("Origin", "https://shop.example.org")], more].concat();
        let answer = relay.request("POST", "/api/notify", &headers, body);
        (answer.status, answer.header("access-control-allow-origin").to_owned())
    };
    let everybody = String::from("*");
    let form = ("Content-Type", FORM);
    assert_eq!(page(&[form], b"source=demo"), (200, everybody.clone()));
    assert_eq!(page(&[form], b"data=1&data=2"), (400, everybody.clone()));
    assert_eq!(page(&[("Content-Type", "application/json")], b"{"), (400, everybody.clone()));
    assert_eq!(page(&[("Content-Type", "text/plain")], b"x"), (415, everybody.clone()));
    let asked = [
        ("Origin", "https://shop.example.org"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    for target in ["/api/notify", "/api/notify/", "/api/notify/batch"] {
        let answer = relay.request("OPTIONS", target, &asked, b"");
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
    }
}

// Ids.

#[test]
fn ids_grow_and_are_never_used_twice() {
    let mut last = String::new();
    let mut all = BTreeSet::new();
    for life in 0..3 {
        let relay = Relay::start("");
        let mut member = relay.connect("a,b,c");
        for turn in 0..100 {
            if turn % 3 == 0 {
                member.send(r#"{"data":1,"room_ids":"a,c"}"#);
            } else {
                relay.notify("a,b,c", "x");
            }
            let rooms = if turn % 3 == 0 { 2 } else { 3 };
            for _ in 0..rooms {
                let id = member.json()["id"].as_str().expect("an id is text").to_owned();
                assert!(all.insert(id.clone()), "{id} was used twice");
                assert!(id > last, "{id} after {last} in life {life}");
                last = id;
            }
        }
    }
    let relays: Vec<_> = (0..4).map(|_| Relay::start("")).collect();
    for relay in &relays {
        let mut member = relay.connect("room");
        for _ in 0..50 {
            relay.notify("room", "x");
            let id = member.json()["id"].as_str().unwrap().to_owned();
            assert!(all.insert(id.clone()), "{id} was used by two relays");
        }
    }
}

// Batches.

fn batch(relay: &Relay, body: &str) -> Answer {
    relay.post_json("/api/notify/batch", body)
}

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

// Many at once.

/// Four backends on connections they keep, twenty members: each gets all messages, once, each backend's in its order.
#[test]
fn every_member_gets_every_message_once_and_each_backend_s_in_order() {
    const MESSAGES: u64 = 200;
    let relay = Relay::start("");
    let members: Vec<_> = (0..20)
        .map(|number| {
            let mut member = relay.connect(if number % 2 == 0 { "room" } else { "other,room" });
            thread::spawn(move || {
                let came: Vec<Value> =
                    (0..4 * MESSAGES).map(|_| serde_json::from_str(member.data().as_str().unwrap()).unwrap()).collect();
                member.silence();
                came
            })
        })
        .collect();
    let backends: Vec<_> = (0..4)
        .map(|backend| {
            let mut stream = relay.tcp();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    let data = format!("[{backend},{number}]");
                    let body = form(&[
                        ("source", "demo"),
                        ("room_id", "room"),
                        ("data", &data),
                        ("sign", &sign("room", &data)),
                    ]);
                    send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
                    assert_eq!(read_answer(&mut stream, false).body, SUCCESS);
                }
            })
        })
        .collect();
    backends.into_iter().for_each(|backend| backend.join().unwrap());
    let expected: Vec<u64> = (0..MESSAGES).collect();
    for member in members {
        let came = member.join().unwrap();
        for backend in 0..4 {
            let own = came.iter().filter(|data| data[0] == backend).map(|data| data[1].as_u64().unwrap());
            assert_eq!(own.collect::<Vec<_>>(), expected, "of backend {backend}");
        }
    }
    assert_eq!((relay.counter("notifies"), relay.counter("delivered")), (4 * MESSAGES, 80 * MESSAGES));
    assert_eq!(relay.counter("published"), 4 * MESSAGES);
}

#[test]
fn many_notifications_may_come_in_one_write() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut bytes = Vec::new();
    for number in 0..300 {
        let data = number.to_string();
        match number % 3 {
            0 => {
                let fields = [("source", "demo"), ("room_id", "room"), ("data", &data), ("sign", &sign("room", &data))];
                let body = form(&fields);
                send_request(&mut bytes, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
            }
            1 => {
                let body = document(&format!("\"{data}\""), &data);
                let json = [("Content-Type", "application/json")];
                send_request(&mut bytes, "POST", "/api/notify", &json, body.as_bytes());
            }
            _ => send_request(&mut bytes, "POST", "/api/notify", &[("Content-Type", FORM)], b"source=demo"),
        }
    }
    let mut stream = relay.tcp();
    stream.write_all(&bytes).unwrap();
    for number in 0..300 {
        let expected = if number % 3 == 2 { refusal("data can not be null!") } else { SUCCESS.into() };
        assert_eq!(read_answer(&mut stream, false).body, expected, "answer {number}");
    }
    for number in (0..300).filter(|number| number % 3 != 2) {
        assert_eq!(member.data(), number.to_string());
    }
    member.silence();
}

/// `code` 1 means that the message is in the members' queues.
#[test]
fn the_answer_comes_when_members_have_the_message() {
    let relay = Relay::start("");
    let mut members: Vec<Client> = (0..50).map(|_| relay.connect("room")).collect();
    for turn in 0..20 {
        let data = turn.to_string();
        relay.notify("room", &data);
        // The turn of the answer is over: members must not have to wait for anything else.
        relay.fence();
        for member in &mut members {
            member.socket.get_ref().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert_eq!(member.data(), data);
        }
    }
    // Also when the backend does not wait for the answer.
    let mut hasty = relay.tcp();
    let body = form(&[("source", "demo"), ("room_id", "room"), ("data", "bye"), ("sign", &sign("room", "bye"))]);
    send_request(&mut hasty, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    drop(hasty);
    for member in &mut members {
        member.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(member.data(), "bye");
    }
}

/// The documented example, byte by byte.
#[test]
fn the_answer_s_bytes() {
    let relay = Relay::start("");
    let body = document("\"x\"", "x");
    let mut stream = relay.tcp();
    let headers = [("Content-Type", "application/json"), ("Connection", "close")];
    send_request(&mut stream, "POST", "/api/notify", &headers, body.as_bytes());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}", SUCCESS.len())), "{head}");
    assert_eq!(body, SUCCESS);
}
