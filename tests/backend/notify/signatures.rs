//! Which signatures are accepted.

use std::time::{SystemTime, UNIX_EPOCH};

use relay::sign::{Subject, to_hex};
use serde_json::{Value, json};

use super::{SUCCESS, assert_refusal, document, refusal, sign};
use crate::support::{KEY, Relay, plain};

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

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
