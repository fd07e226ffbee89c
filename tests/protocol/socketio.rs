//! docs/protocol.md, Logins, Socket.IO and Namespaces: logins, messages and notifications, for clients of all
//! generations and transports at once.

use std::time::{SystemTime, UNIX_EPOCH};

use relay::sign::{Subject, to_hex};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{
    KEY, Relay, connect_sign,
    engineio::{bytes, json, read_bytes, send_bytes, websocket},
    form, login,
    member::*,
    notify_sign, plain, plain_json, send_request,
};

// Who may connect.

/// Each generation gets a refusal in its own form.
#[test]
fn refusals_have_their_texts() {
    let relay = Relay::start("");
    let sign = connect_sign("demo", "room", KEY);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "source can not be null!"),
        (&[("source", ""), ("room_ids", "room"), ("sign", &sign)], "source can not be null!"),
        (&[("source", "demo"), ("room_ids", "room")], "cilent connect sign can not be null!"),
        (&[("source", "demo"), ("sign", &sign)], "room_ids can not be null!"),
        (&[("source", "demo"), ("room_ids", "*"), ("sign", &sign)], "room_ids can not be null!"),
        (&[("source", "nobody"), ("room_ids", "room"), ("sign", &sign)], "this source can not be configured!"),
        (&[("source", "demo"), ("room_ids", "other"), ("sign", &sign)], "sign verify failed!"),
        (&[("source", "other"), ("room_ids", "room"), ("sign", &sign)], "sign verify failed!"),
    ];
    for (fields, text) in cases {
        for kind in KINDS {
            let mut member = Member::open(&relay, kind, &form(fields));
            if kind.0 == 3 {
                assert_eq!(member.text(), "40");
                member.sys_error(text);
                assert_eq!(member.text(), "41");
            } else {
                assert_eq!(plain(&member.text()), format!("44{{\"message\":\"{text}\"}}"));
                // The same in CONNECT's payload.
                let auth: Value = fields.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
                member.send(&[&format!("40{auth}")]);
                assert_eq!(plain(&member.text()), format!("44{{\"message\":\"{text}\"}}"));
            }
        }
    }
    assert_eq!(relay.counter("logins_refused"), cases.len() as u64 * 6);
    assert_eq!((relay.stat("/sessions"), relay.counter("logins")), (0, 0));
}

/// A refused client may try again on the same connection.
#[test]
fn refused_client_may_try_again() {
    let relay = Relay::start("");
    for kind in KINDS {
        let mut member = Member::open(&relay, kind, &login(&[("sign", "wrong")]));
        let sign = connect_sign("demo", "room", KEY);
        match kind.0 {
            3 => {
                assert_eq!((member.text(), member.text(), member.text().as_str()).2, "41");
                member.send(&[&format!("40/?sign={sign}")]);
                assert_eq!(member.text(), "40");
            }
            _ => {
                assert_eq!(plain(&member.text()), "44{\"message\":\"sign verify failed!\"}");
                member.send(&[&format!("40{{\"sign\":\"{sign}\"}}")]);
                assert!(member.text().starts_with("40{\"sid\":"));
            }
        }
        relay.notify("room", "in");
        assert_eq!(member.data(), "in");
    }
}

/// What comes with CONNECT wins over the query, field by field.
#[test]
fn auth_wins() {
    let relay = Relay::start("");
    let open = |query: &str, auth: &Value| {
        let (mut socket, _) = websocket(&relay, &format!("EIO=4&{query}"));
        socket.send(&format!("40{auth}"));
        (socket.text(), socket)
    };
    let sign = connect_sign("demo", "auth", KEY);
    let (answer, mut socket) = open("", &json!({"source": "demo", "room_ids": "auth", "sign": sign}));
    assert!(answer.starts_with("40{\"sid\":"), "{answer}");
    let (answer, mut other) = open(&login(&[("room_ids", "query")]), &json!({"room_ids": "auth", "sign": sign}));
    assert!(answer.starts_with("40{\"sid\":"), "{answer}");
    relay.notify("query", "not for them");
    relay.notify("auth", "for them");
    for socket in [&mut socket, &mut other] {
        assert_eq!(json(&socket.text(), "42")[1]["data"], "for them");
    }
    let (answer, _) = open(&login(&[]), &json!({"sign": "wrong"}));
    assert_eq!(plain(&answer), "44{\"message\":\"sign verify failed!\"}");
    let (answer, _) = open(&login(&[]), &json!({"sign": ""}));
    assert_eq!(answer, "44{\"message\":\"cilent connect sign can not be null!\"}");
    let (answer, _) = open(&login(&[]), &json!({"source": null}));
    assert_eq!(answer, "44{\"message\":\"source can not be null!\"}");
    let (answer, _) = open(&login(&[]), &json!({"token": {"something": ["else"]}}));
    assert!(answer.starts_with("40{\"sid\":"), "{answer}");
    // Numbers are as good as strings.
    let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let subject = Subject::Connect { source: "demo", userid: "8", room_ids: "5" };
    let sign = to_hex(&subject.hmac(KEY.as_bytes(), &ts.to_string()));
    let auth =
        json!({"source": "demo", "room_ids": 5, "userid": 8, "sign_type": "hmac-sha256", "ts": ts, "sign": sign});
    assert!(open("", &auth).0.starts_with("40{\"sid\":"));
    let (answer, _) = open(
        "userid=8",
        &json!({"userid": 9, "room_ids": 5, "source": "demo", "sign_type": "hmac-sha256", "ts": ts, "sign": sign}),
    );
    assert_eq!(plain(&answer), "44{\"message\":\"sign verify failed!\"}", "the user is signed too");
}

/// The query of an older client's CONNECT is its login there, field by field over the handshake's.
#[test]
fn a_namespace_with_a_login_of_its_own() {
    let relay = Relay::start("[namespaces.\"/web\"]");
    let mut member = Member::room(&relay, (3, true), "main");
    let sign = connect_sign("demo", "web", KEY);
    member.send(&[&format!("40/web?room_ids=web&sign={sign}")]);
    assert_eq!(member.text(), "40/web,");
    relay.notify("web", "x");
    assert_eq!(json(&member.text(), "42/web,")[1]["room_id"], "web");
    relay.notify("main", "y");
    assert_eq!(member.data(), "y");
    member.send(&["41/web", "40/web?sign=wrong"]);
    assert_eq!(member.text(), "44/web,\"sign verify failed!\"");
    let mut member = Member::room(&relay, (4, false), "main");
    member.send(&["40/web,{\"sign\":\"wrong\"}", "40/web,"]);
    assert_eq!(plain(&member.text()), "44/web,{\"message\":\"sign verify failed!\"}");
    assert!(member.text().starts_with("40/web,{\"sid\":"), "with the query's login");
}

// Messages from backends.

/// One notification reaches every form of member, by the same id.
#[test]
fn a_notification_reaches_every_form_of_member() {
    let relay = Relay::start("");
    let (mut plain, mut text) = (relay.connect("room"), relay.connect_with(&[("format", "text")]));
    let mut all = members(&relay, "room");
    let mut outside = members(&relay, "other");
    for data in ["héllo 𝄞 \"quoted\" \u{1}", "{\"a\":1}", "second"] {
        relay.notify("room", data);
        let message = plain.json();
        let id = message["id"].as_str().unwrap();
        assert_eq!(message, json!({"event": "newMsg", "source": "demo", "data": data, "room_id": "room", "id": id}));
        assert_eq!(text.text(), data);
        for member in &mut all {
            let quoted = Value::from(data);
            let expected = format!(
                "42[\"newMsg\",{{\"source\":\"demo\",\"data\":{quoted},\"room_id\":\"room\",\"from_sys\":true,\"id\":\"{id}\"}}]"
            );
            assert_eq!(member.text(), expected, "{:?}", member.kind);
        }
    }
    outside.iter_mut().chain(&mut all).for_each(Member::nothing);
}

#[test]
fn a_filename_is_passed_on() {
    let relay = Relay::start("");
    let mut plain = relay.connect("room");
    let mut all = members(&relay, "room");
    let sign = notify_sign("demo", "room", "x", KEY);
    let fields = [("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", &sign), ("filename", "chat.log")];
    assert_eq!(relay.post_form(&fields).json()["code"], 1);
    for member in &mut all {
        let message = member.message();
        let id = message["id"].as_str().unwrap();
        let expected = json!({"source": "demo", "data": "x", "room_id": "room", "from_sys": true, "filename": "chat.log", "id": id});
        assert_eq!(message, expected);
    }
    assert_eq!(plain.json()["filename"], Value::Null);
}

#[test]
fn a_notification_of_json_to_several_rooms() {
    let relay = Relay::start("");
    let mut all = members(&relay, "a,b");
    let data = r#"{ "z":1e400, "a":[ ] }"#;
    let sign = notify_sign("demo", "b,a", data, KEY);
    let body = format!(r#"{{"source":"demo","room_id":"b,a","data":{data},"sign":"{sign}"}}"#);
    assert_eq!(relay.post_json("/api/notify", &body).json()["code"], 1);
    for member in &mut all {
        for room in ["b", "a"] {
            let text = member.text();
            let expected = format!(
                "42[\"newMsg\",{{\"source\":\"demo\",\"data\":{data},\"room_id\":\"{room}\",\"from_sys\":true,"
            );
            assert!(text.starts_with(&expected), "{text}");
        }
    }
}

/// What waits between two polls comes in order, sixteen at a time, once.
#[test]
fn many_notifications_to_a_polling_client() {
    let relay = Relay::start("");
    for revision in [3, 4] {
        let mut member = Member::room(&relay, (revision, false), "room");
        for number in 0..40 {
            relay.notify("room", &number.to_string());
        }
        assert_eq!(member.polling().poll().len(), 16);
        for number in 16..40 {
            assert_eq!(member.data(), number.to_string());
        }
        member.nothing();
    }
}

// Messages from clients.

#[test]
fn post_msg() {
    let relay = Relay::start("");
    for kind in KINDS {
        let (mut plain, mut text) = (relay.connect("a"), relay.connect_with(&[("format", "text"), ("room_ids", "a")]));
        let mut all = members(&relay, "a");
        let mut sender = Member::room(&relay, kind, "a");
        let mut outside = Member::room(&relay, kind, "b");
        for data in
            [json!("x"), json!({"text": "ü", "list": [1, null, {"deep": true}]}), json!(0), json!(false), json!([])]
        {
            sender.send(&[&event("postMsg", &[data.clone(), "a".into()])]);
            let message = plain.json();
            assert_eq!((&message["data"], &message["room_id"]), (&data, &"a".into()));
            assert_eq!(text.text(), data.as_str().map_or(data.to_string(), str::to_owned));
            for member in all.iter_mut().chain([&mut sender]) {
                let id = &message["id"];
                let expected = json!(
                    {"source": "demo", "data": data, "room_id": "a", "from_sys": true, "id": id, "from_client": true}
                );
                assert_eq!(member.message(), expected, "{kind:?} to {:?}", member.kind);
            }
        }
        // To a room the sender is not in, with an acknowledgement.
        let answer = sender.ask(r#"42["postMsg","y","b"]"#);
        let message = outside.message();
        assert_eq!(answer, json!({"code": 1, "msg": "", "data": {"id": message["id"]}}));
        assert_eq!(message["data"], "y");
        sender.nothing();
    }
}

/// Plain WebSocket clients are in the same rooms.
#[test]
fn messages_of_plain_websockets_reach_everybody() {
    let relay = Relay::start("");
    let (mut plain, mut text) = (relay.connect("room"), relay.connect_with(&[("format", "text")]));
    let mut all = members(&relay, "room");
    for number in 0..20 {
        plain.send(&format!(r#"{{"data":{{"n":{number}}},"room_ids":"room"}}"#));
    }
    for number in 0..20 {
        assert_eq!(plain.data(), json!({"n": number}));
        assert_eq!(text.text(), format!("{{\"n\":{number}}}"));
        for member in &mut all {
            assert_eq!(member.data(), json!({"n": number}), "{:?}", member.kind);
        }
    }
    text.send("h\u{e9} \"there\"");
    for member in &mut all {
        assert_eq!(member.data(), "h\u{e9} \"there\"", "{:?}", member.kind);
    }
}

#[test]
fn post_msg_to_several_rooms_in_their_order() {
    let relay = Relay::start("");
    for kind in KINDS {
        let mut member = Member::room(&relay, kind, "a,b,c");
        for (list, rooms) in [(json!("c,a"), "ca"), (json!(["b", "c", "a"]), "bca"), (json!(["a,b", "c"]), "abc")] {
            let answer = member.ask(&event("postMsg", &["x".into(), list]));
            let messages: Vec<_> = rooms.chars().map(|_| member.message()).collect();
            let came: String = messages.iter().map(|message| message["room_id"].as_str().unwrap()).collect();
            assert_eq!(came, rooms);
            assert_eq!(answer["data"]["id"], messages[0]["id"]);
            assert!(messages.windows(2).all(|pair| pair[0]["id"] != pair[1]["id"]));
        }
    }
}

#[test]
fn post_msg_refusals() {
    let relay = Relay::start("");
    let cases = [
        (vec![], "data can not be null!"),
        (vec![json!(null), json!("room")], "data can not be null!"),
        (vec![json!(""), json!("room")], "data can not be null!"),
        (vec![json!("x")], "room_id can not be null!"),
        (vec![json!("x"), json!("")], "room_id can not be null!"),
        (vec![json!("x"), json!([])], "room_id can not be null!"),
        (vec![json!("x"), json!({})], "room_id can not be null!"),
    ];
    for kind in KINDS {
        let mut member = Member::room(&relay, kind, "room");
        for (args, text) in &cases {
            let packet = event("postMsg", args);
            member.send(&[&packet]);
            member.sys_error(text);
            assert_eq!(member.ask(&packet), json!({"code": 0, "msg": text, "data": ""}));
        }
        member.nothing();
    }
    assert_eq!(relay.counter("client_messages_refused"), (cases.len() as u64 * 2 + 1) * 4);
}

/// Each sender's messages arrive in their order, each once, at every member, however quickly they were sent.
#[test]
fn a_hundred_messages_at_once() {
    let relay = Relay::start("");
    for kind in KINDS {
        let mut all = members(&relay, "fast");
        let mut sender = Member::room(&relay, kind, "fast");
        let packets: Vec<_> = (0..100).map(|number| event("postMsg", &[number.into(), "fast".into()])).collect();
        sender.send(&packets.iter().map(String::as_str).collect::<Vec<_>>());
        for member in all.iter_mut().chain([&mut sender]) {
            for number in 0..100 {
                assert_eq!(member.data(), number, "{kind:?} to {:?}", member.kind);
            }
        }
    }
}

#[test]
fn joining_and_leaving() {
    let relay = Relay::start("");
    for kind in KINDS {
        let mut member = Member::room(&relay, kind, "room");
        let refused = |text: &str| json!({"code": 0, "msg": text, "data": ""});
        let done = json!({"code": 1, "msg": "", "data": ""});
        let sign = connect_sign("demo", "x,y", KEY);
        assert_eq!(member.ask(r#"42["join","x,y"]"#), refused("cilent connect sign can not be null!"));
        assert_eq!(plain_json(&member.ask(r#"42["join","x,y","wrong"]"#)), refused("sign verify failed!"));
        assert_eq!(
            plain_json(&member.ask(&event("join", &["x".into(), sign.clone().into()]))),
            refused("sign verify failed!")
        );
        assert_eq!(member.ask(&event("join", &["".into(), sign.clone().into()])), refused("room_ids can not be null!"));
        relay.notify("x", "not yet");
        member.nothing();
        assert_eq!(member.ask(&event("join", &["x,y".into(), sign.clone().into()])), done);
        assert_eq!(member.ask(&event("join", &[json!(["x", "y"]), sign.clone().into()])), done, "twice is once");
        for room in ["x", "room", "y"] {
            relay.notify(room, room);
            assert_eq!(member.data(), room);
        }
        member.nothing();
        let sign = connect_sign("demo", "x", KEY);
        assert_eq!(plain_json(&member.ask(r#"42["leave","x","wrong"]"#)), refused("sign verify failed!"));
        relay.notify("x", "still in");
        assert_eq!(member.data(), "still in");
        // Without an acknowledgement only refusals are said.
        member.send(&[&event("leave", &["x".into(), sign.into()]), r#"42["leave","y","wrong"]"#]);
        member.sys_error("sign verify failed!");
        relay.notify("x", "gone");
        relay.notify("y", "y");
        assert_eq!(member.data(), "y");
    }
}

#[test]
fn message_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\nmessage_burst = 5");
    for kind in KINDS {
        let mut other = Member::room(&relay, kind, "flood");
        let mut flooder = Member::room(&relay, kind, "flood");
        let packets: Vec<_> = (0..8)
            .map(|number| event("postMsg", &[number.into(), "flood".into()]))
            .chain(["421[\"postMsg\",1,\"flood\"]".into(), "42[\"no rule\"]".into()])
            .collect();
        flooder.send(&packets.iter().map(String::as_str).collect::<Vec<_>>());
        for number in 0..5 {
            assert_eq!((flooder.data(), other.data()), (number.into(), number.into()));
        }
        let text = "message rate limit exceeded!";
        (0..3).for_each(|_| flooder.sys_error(text));
        assert_eq!(flooder.text(), format!("431[{{\"code\":0,\"msg\":\"{text}\",\"data\":\"\"}}]"));
        flooder.sys_error(text);
        other.send(&[r#"42["postMsg","fine","flood"]"#]);
        assert_eq!((flooder.data(), other.data()), ("fine".into(), "fine".into()));
    }
    assert_eq!(relay.counter("rate_limited"), 20);
}

// Bytes.

/// A Socket.IO client's bytes are bytes to Socket.IO members and to text members, and base64 to JSON members.
#[test]
fn bytes_between_the_generations() {
    let relay = Relay::start("");
    for revision in [3, 4] {
        let (mut plain, mut text) =
            (relay.connect("bin"), relay.connect_with(&[("format", "text"), ("room_ids", "bin")]));
        let mut sockets = [Member::room(&relay, (3, true), "bin"), Member::room(&relay, (4, true), "bin")];
        let polls = [(3, "&b64=1", "b4AP94"), (4, "", "bAP94")].map(|(revision, more, attachment)| {
            let mut member = Member::open(&relay, (revision, false), &(login(&[("room_ids", "bin")]) + more));
            assert!(member.text().starts_with("40"));
            (member, attachment)
        });
        let old = Member::room(&relay, (3, false), "bin");
        let mut sender = Member::room(&relay, (revision, true), "none");
        let data = [0, 255, b'x'];
        sender.send(&[r#"451-["postMsg",{"_placeholder":true,"num":0},"bin"]"#]);
        match revision {
            3 => send_bytes(sender.socket(), &[&[4], &data[..]].concat()),
            _ => send_bytes(sender.socket(), &data),
        }
        let message = plain.json();
        assert_eq!(message["data"], json!({"_base64": "AP94"}));
        assert_eq!(bytes(&mut text), data);
        let id = message["id"].as_str().unwrap();
        let head = format!(
            "451-[\"newMsg\",{{\"source\":\"demo\",\"data\":{{\"_placeholder\":true,\"num\":0}},\"room_id\":\"bin\",\"from_sys\":true,\"id\":\"{id}\",\"from_client\":true}}]"
        );
        for member in &mut sockets {
            assert_eq!(member.text(), head);
            let expected = if member.kind.0 == 3 { [&[4], &data[..]].concat() } else { data.to_vec() };
            assert_eq!(bytes(member.socket()), expected, "{:?}", member.kind);
        }
        for (mut member, attachment) in polls {
            assert_eq!((member.text(), member.text().as_str()), (head.clone(), attachment));
        }
        // Revision 3 without b64: bytes in the body.
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &old.polling().target, &[], b"");
        let (answer, body) = read_bytes(&mut stream);
        assert!(answer.contains("application/octet-stream"), "{answer}");
        let digits: Vec<_> = head.len().to_string().bytes().map(|digit| digit - b'0').collect();
        let expected = [&[0], &digits[..], &[255], head.as_bytes(), &[1, 4, 255, 4], &data].concat();
        assert!(body == expected, "{body:?}");
    }
}

/// Each message has its own.
#[test]
fn bytes_to_several_rooms() {
    let relay = Relay::start("");
    for revision in [3, 4] {
        let mut member = Member::room(&relay, (revision, true), "a,b");
        let bytes_sent: &[u8] = if revision == 3 { b"\x04x" } else { b"x" };
        member.send(&[r#"451-["postMsg",[{"_placeholder":true,"num":0}],["b","a"]]"#]);
        send_bytes(member.socket(), bytes_sent);
        for room in ["b", "a"] {
            assert_eq!(json(&member.text(), "451-")[1]["room_id"], room);
            assert_eq!(bytes(member.socket()), bytes_sent);
        }
    }
}

/// Bytes beside no data are no data.
#[test]
fn bytes_beside_no_data() {
    let relay = Relay::start("");
    let mut member = Member::room(&relay, (4, true), "a");
    for none in ["null", "\"\""] {
        member.send(&[&format!("451-[\"postMsg\",{none},\"a\",{{\"_placeholder\":true,\"num\":0}}]")]);
        send_bytes(member.socket(), b"x");
        member.sys_error("data can not be null!");
    }
}

/// Bytes within an object, and several of them; and what a text client sends as bytes.
#[test]
fn nested_bytes_and_those_of_text_clients() {
    let relay = Relay::start("");
    let mut plain = relay.connect("bin");
    let mut text = relay.connect_with(&[("format", "text"), ("room_ids", "bin")]);
    let mut old = Member::room(&relay, (3, true), "bin");
    let mut sender = Member::room(&relay, (4, true), "bin");
    let nested = r#"{"b":{"_placeholder":true,"num":1},"a":[{"_placeholder":true,"num":0},1]}"#;
    sender.send(&[&format!("452-7[\"postMsg\",{nested},\"bin\"]")]);
    send_bytes(sender.socket(), b"x");
    send_bytes(sender.socket(), b"");
    assert_eq!(plain.data(), json!({"b": {"_base64": ""}, "a": [{"_base64": "eA=="}, 1]}));
    assert_eq!(text.text(), r#"{"b":{"_base64":""},"a":[{"_base64":"eA=="},1]}"#);
    for (member, bytes_sent) in [(&mut old, [&b"\x04x"[..], b"\x04"]), (&mut sender, [b"x", b""])] {
        let packet = member.text();
        assert!(packet.starts_with(&format!("452-[\"newMsg\",{{\"source\":\"demo\",\"data\":{nested},")), "{packet}");
        assert_eq!([bytes(member.socket()), bytes(member.socket())], bytes_sent);
    }
    assert!(sender.text().starts_with("437[{\"code\":1,"));
    text.socket.send(Message::binary(&b"\x01\xff"[..])).unwrap();
    assert_eq!(bytes(&mut text), b"\x01\xff");
    assert_eq!(plain.data(), json!({"_base64": "Af8="}));
    for (member, expected) in [(&mut old, &b"\x04\x01\xff"[..]), (&mut sender, b"\x01\xff")] {
        assert!(member.text().starts_with("451-[\"newMsg\","));
        assert_eq!(bytes(member.socket()), expected);
    }
}

// Rooms of namespaces.

/// A notification reaches a room's members in every namespace; what clients post stays in the order it was sent.
#[test]
fn rooms_in_a_namespace_that_is_open() {
    let relay = Relay::start("[namespaces.\"/custom\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true");
    let mut member = Member::room(&relay, (4, true), "main");
    member.send(&["40/custom,{\"room_ids\":\"free\"}"]);
    assert!(member.text().starts_with("40/custom,{\"sid\":"));
    member.send(&["42/custom,5[\"join\",\"more\"]"]);
    assert_eq!(member.text(), "43/custom,5[{\"code\":1,\"msg\":\"\",\"data\":\"\"}]");
    for room in ["free", "more"] {
        relay.notify(room, "x");
        assert_eq!(json(&member.text(), "42/custom,")[1]["room_id"], room);
    }
    member.send(&["42/custom,6[\"leave\",\"more\"]"]);
    assert!(member.text().starts_with("43/custom,6[{\"code\":1,"));
    relay.notify("more", "x");
    member.nothing();
    // There, rooms are free; here they are signed.
    assert_eq!(member.ask("42[\"join\",\"free\"]")["code"], 0);
}
