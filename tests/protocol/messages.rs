//! docs/protocol.md, Plain WebSocket: messages of JSON clients and of text clients.

use std::{net::Shutdown, time::Duration};

use serde_json::{Value, json};
use socket2::SockRef;
use tungstenite::Message;

use crate::support::{Client, KEY, Relay, connect_sign, plain_json, wait_for, websocket::*};

// JSON clients.

#[test]
fn a_new_msg_has_exactly_this_shape() {
    let relay = Relay::start("");
    let mut client = relay.connect("r\"\u{f6}\u{5f20}");
    relay.notify("r\"\u{f6}\u{5f20}", "a \"quoted\" \\ \u{1f600}\n\u{1}/");
    let text = client.text();
    let id = serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().expect("an id that is text").to_owned();
    assert!(!id.is_empty());
    let expected = format!(
        "{{\"event\":\"newMsg\",\"source\":\"demo\",\"data\":\"a \\\"quoted\\\" \\\\ \u{1f600}\\n\\u0001/\",\"room_id\":\"r\\\"\u{f6}\u{5f20}\",\"id\":\"{id}\"}}"
    );
    assert_eq!(text, expected);
}

#[test]
fn post_msg_reaches_each_room_in_the_order_listed() {
    let relay = Relay::start("");
    let mut member = relay.connect("a,b,c");
    let mut sender = relay.connect("elsewhere");
    for (message, rooms) in [
        (r#"{"event":"postMsg","data":1,"room_ids":"b,a,c"}"#, &["b", "a", "c"][..]),
        (r#"{"data":1,"room_ids":"c,b"}"#, &["c", "b"]),
        (r#"{"data":1,"room_ids":["c","a","b"]}"#, &["c", "a", "b"]),
        (r#"{"room_ids":["b,c","a"],"data":1}"#, &["b", "c", "a"]),
        (r#"{"data":1,"room_ids":",a,,nobody-here,c,"}"#, &["a", "c"]),
    ] {
        sender.send(message);
        for room in rooms {
            let got = member.json();
            assert_eq!((got["room_id"].as_str(), &got["data"]), (Some(*room), &json!(1)), "{message}");
        }
    }
    member.silence();
    sender.silence();
    let mut seven = relay.connect("7");
    sender.send(r#"{"data":"a number names a room too","room_ids":7}"#);
    assert_eq!(seven.data(), "a number names a room too");
}

/// The sender gets its own message in the rooms that it is a member of.
#[test]
fn an_ack_says_the_id_or_why_not() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    client.send(r#"{"event":"postMsg","data":"x","room_ids":"room","ack":17}"#);
    let (one, two) = (client.text(), client.text());
    let (message, ack) = if one.contains("newMsg") { (one, two) } else { (two, one) };
    let id = serde_json::from_str::<Value>(&message).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(ack, format!(r#"{{"event":"ack","ack":17,"code":1,"msg":"","data":{{"id":"{id}"}}}}"#));

    for (message, why) in [
        (r#"{"ack":0,"room_ids":"room"}"#, "data can not be null!"),
        (r#"{"ack":0,"data":null,"room_ids":"room"}"#, "data can not be null!"),
        (r#"{"ack":0,"data":"","room_ids":"room"}"#, "data can not be null!"),
        (r#"{"ack":0,"data":"x"}"#, "room_id can not be null!"),
        (r#"{"ack":0,"data":"x","room_ids":""}"#, "room_id can not be null!"),
        (r#"{"ack":0,"data":"x","room_ids":",,"}"#, "room_id can not be null!"),
        (r#"{"ack":0,"data":"x","room_ids":[]}"#, "room_id can not be null!"),
        (r#"{"ack":0,"data":"x","room_ids":null}"#, "room_id can not be null!"),
        (r#"{"ack":0,"data":"x","room_ids":{"room":1}}"#, "room_id can not be null!"),
        (r#"{"ack":0,"event":"dance"}"#, "unknown event!"),
    ] {
        client.send(message);
        assert_eq!(
            client.text(),
            format!(r#"{{"event":"ack","ack":0,"code":0,"msg":"{why}","data":""}}"#),
            "{message}"
        );
        if why == "unknown event!" {
            continue;
        }
        client.send(&message.replace(r#""ack":0,"#, ""));
        assert_eq!(client.text(), format!(r#"{{"event":"sys_error","msg":"{why}"}}"#), "{message}");
    }
    client.silence();
    // The client chooses the ack's value.
    for ack in ["-1", "1.50", r#""a\"b\u00e4""#] {
        client.send(&format!(r#"{{"event":"ping","ack":{ack}}}"#));
        assert_eq!(client.text(), format!(r#"{{"event":"ack","ack":{ack},"code":1,"msg":"","data":""}}"#));
    }
}

#[test]
fn falsy_data_is_data() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    for data in [json!(false), json!(0), json!([]), json!({}), json!(" "), json!("null")] {
        client.send(&json!({"data": data, "room_ids": "room"}).to_string());
        assert_eq!(client.data(), data);
    }
}

#[test]
fn join_and_leave_need_a_signature_and_change_the_rooms() {
    let relay = Relay::start("");
    let mut client = relay.connect("first");
    let change = |event: &str, rooms: &str, sign: &str| {
        format!(r#"{{"event":"{event}","room_ids":"{rooms}","sign":"{sign}","ack":"{event}"}}"#)
    };
    let sign = connect_sign("demo", "a,b", KEY);
    client.send(&change("join", "a,b", &sign));
    assert_eq!(client.text(), r#"{"event":"ack","ack":"join","code":1,"msg":"","data":""}"#);
    client.send(&change("join", "a,b", &sign));
    assert_eq!(client.json()["code"], 1, "twice is once");
    for room in ["a", "first", "b"] {
        relay.notify(room, room);
        assert_eq!(client.data(), room);
    }
    client.send(&change("leave", "a", &connect_sign("demo", "a", KEY).to_uppercase()));
    assert_eq!(client.text(), r#"{"event":"ack","ack":"leave","code":1,"msg":"","data":""}"#);
    relay.notify("a", "gone");
    relay.notify("b", "still there");
    assert_eq!(client.data(), "still there");
    client.send(&change("leave", "nowhere", &connect_sign("demo", "nowhere", KEY)));
    assert_eq!(client.json()["code"], 1, "who is not in a room has left it");

    // As an array it is signed as the list it stands for; without an ack there is no answer.
    client.send(&format!(r#"{{"event":"join","room_ids":["c","d"],"sign":"{}"}}"#, connect_sign("demo", "c,d", KEY)));
    client.send(r#"{"event":"ping"}"#);
    assert_eq!(client.text(), r#"{"event":"pong"}"#);
    relay.notify("d", "in d");
    assert_eq!(client.data(), "in d");

    let before = relay.stat("/rooms");
    for (rooms, sign, why) in [
        ("e", "", "cilent connect sign can not be null!"),
        ("e", sign.as_str(), "sign verify failed!"),
        ("e", &connect_sign("other", "e", "other key"), "sign verify failed!"),
        ("", &connect_sign("demo", "", KEY), "room_ids can not be null!"),
        ("*", &connect_sign("demo", "*", KEY), "room_ids can not be null!"),
        (",", &connect_sign("demo", ",", KEY), "room_ids can not be null!"),
    ] {
        for event in ["join", "leave"] {
            client.send(&change(event, rooms, sign));
            let refused = json!({"event": "ack", "ack": event, "code": 0, "msg": why, "data": ""});
            assert_eq!(plain_json(&client.json()), refused, "{event} {rooms:?}");
        }
        client.send(&change("join", rooms, sign).replace(r#","ack":"join""#, ""));
        assert_eq!(plain_json(&client.json()), json!({"event": "sys_error", "msg": why}));
    }
    assert_eq!(relay.stat("/rooms"), before);
    relay.notify("e", "not for it");
    client.silence();
}

#[test]
fn invalid_messages_get_sys_error_and_the_connection_stays() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    for text in ["", " ", "hello", "[]", "[1,2]", "\"text\"", "1", "null", "true", "{", "{}}", r#"{"data":1}x"#] {
        client.send(text);
        assert_eq!(client.text(), r#"{"event":"sys_error","msg":"message must be a JSON object!"}"#, "{text:?}");
    }
    client.send("{}");
    assert_eq!(client.text(), r#"{"event":"sys_error","msg":"data can not be null!"}"#);
    for message in [&b"\x00\xff"[..], br#"{"data":"x","room_ids":"room"}"#, b""] {
        client.socket.send(Message::binary(message.to_vec())).unwrap();
        let error = client.json();
        assert_eq!(error["event"], "sys_error", "{error}");
        assert!(error["msg"].as_str().is_some_and(|why| why.contains("binary")), "{error}");
    }
    // An event without a rule does nothing.
    client.send(r#"{"event":"dance","data":"x","room_ids":"room"}"#);
    client.send(r#"{"event":"ping"}"#);
    assert_eq!(client.text(), r#"{"event":"pong"}"#);
    client.send(r#"{"data":"still here","room_ids":"room"}"#);
    assert_eq!(client.data(), "still here");
}

/// Whatever a value looks like, members get the characters that were sent.
#[test]
fn json_is_passed_on_untouched() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for data in [
        "1e400",
        "-0",
        "-0.0",
        "12345678901234567890",
        "123456789012345678901234567890.1234567890123456789",
        "1.50",
        "1E+2",
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{ "b" : [ 1 ,2 ],  "a":{} }"#,
        r#"{"__proto__":{"x":1},"constructor":null}"#,
        "\"\u{1f600}\u{10ffff} \u{5f20}\u{4e09} \u{2028}\"",
        r#""\ud83d\ude00 \u5f20 \u0000 \/ \b""#,
        r#""\ud800""#,
        "[\n\t1,\r\n2 ]",
        "[null,true,false,\"\"]",
        &deep,
    ] {
        client.send(&format!(r#"{{"event":"postMsg","data":{data},"room_ids":"room"}}"#));
        let text = client.text();
        let begin = format!(r#"{{"event":"newMsg","source":"demo","data":{data},"room_id":"room","id":""#);
        assert!(text.starts_with(&begin), "{data}: {text}");
    }
}

#[test]
fn watch_quit_sends_user_quit_to_the_rooms() {
    let relay = Relay::start("");
    let (mut one, mut text) = (relay.connect("a,b"), relay.connect_with(&[("format", "text"), ("room_ids", "b")]));
    let leaver = |username: &str, watch: &str| {
        Raw::open(&relay, &[("room_ids", "b,a"), ("username", username), ("watch_quit", watch)])
    };
    type Leave = fn(Raw);
    let ways: [(&str, Leave); 5] = [
        ("close", |mut raw| {
            raw.send(&close_frame(1000));
            raw.drain();
        }),
        ("half close", |mut raw| {
            raw.stream.shutdown(Shutdown::Write).unwrap();
            raw.drain();
        }),
        ("hang up", drop),
        ("reset", |raw| SockRef::from(&raw.stream).set_linger(Some(Duration::ZERO)).unwrap()),
        ("protocol error", |mut raw| {
            raw.send(&[0xff; 20]);
            assert_eq!(raw.close_code(), 1002);
        }),
    ];
    for (name, leave) in ways {
        let username = format!("\u{5f20}\"{name}");
        leave(leaver(&username, "1"));
        let data = json!({"username": username, "key": "user_quit", "msg": format!("{username}退出群聊")});
        for room in ["b", "a"] {
            let message = one.json();
            assert_eq!((&message["room_id"], &message["data"]), (&json!(room), &data), "{name}");
        }
        assert_eq!(serde_json::from_str::<Value>(&text.text()).unwrap(), data, "{name}");
    }
    for watch in ["", "0"] {
        drop(leaver("quiet", watch));
    }
    wait_for("the quiet ones to be gone", || (relay.stat("/sessions") == 2).then_some(()));
    one.silence();
    text.silence();
}

/// One post reaches members of every form, each in its own.
#[test]
fn every_form_gets_the_same_message() {
    let relay = Relay::start("");
    let mut json_client = relay.connect("room");
    let mut text = relay.connect_with(&[("format", "text")]);
    let mut others: Vec<Client> = (0..3).map(|_| relay.connect_with(&[("format", "text")])).collect();
    for (sent, plain) in
        [(r#""a\u00e4\n""#, "a\u{e4}\n"), ("[1, 2]", "[1, 2]"), (r#"{"b":1.0}"#, r#"{"b":1.0}"#), ("1.50", "1.50")]
    {
        json_client.send(&format!(r#"{{"data":{sent},"room_ids":"room"}}"#));
        assert!(json_client.text().contains(&format!(r#""data":{sent},"#)));
        for client in others.iter_mut().chain([&mut text]) {
            assert_eq!(client.text(), plain);
        }
    }
    text.send("line \"one\"\n\u{1f600}");
    assert_eq!(json_client.data(), "line \"one\"\n\u{1f600}");
    text.socket.send(Message::binary(vec![0, 255, b'x'])).unwrap();
    assert_eq!(json_client.data(), json!({"_base64": "AP94"}));
    relay.notify("room", "{\"a\":1}");
    assert_eq!(json_client.data(), "{\"a\":1}", "a form's data is a string");
    for client in others.iter_mut().chain([&mut text]) {
        assert_eq!(client.text(), "line \"one\"\n\u{1f600}");
        assert_eq!(client.next(), Message::binary(vec![0, 255, b'x']));
        assert_eq!(client.text(), "{\"a\":1}");
    }
}

// Text clients.

#[test]
fn a_text_client_speaks_to_all_its_rooms_and_hears_them() {
    let relay = Relay::start("");
    let open = |rooms: &str| relay.connect_with(&[("format", "text"), ("room_ids", rooms)]);
    let (mut both, mut a, mut b, mut other) = (open("a,b"), open("a"), open("b"), open("c"));
    let mut spy = relay.connect("a,b");
    both.send("to both");
    for room in ["a", "b"] {
        let message = spy.json();
        assert_eq!((&message["room_id"], &message["data"]), (&json!(room), &json!("to both")));
    }
    assert_eq!([both.text(), both.text(), a.text(), b.text()], ["to both"; 4]);
    a.send("from a");
    assert_eq!([both.text(), a.text()], ["from a"; 2]);
    b.silence();
    both.send("");
    assert_eq!([both.text(), both.text(), a.text(), b.text()], [""; 4]);
    // What would be an event for a JSON client is just text.
    a.send(r#"{"event":"ping","ack":1}"#);
    assert_eq!(a.text(), r#"{"event":"ping","ack":1}"#);
    b.socket.send(Message::binary(Vec::new())).unwrap();
    assert_eq!(b.next(), Message::binary(Vec::new()));
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    b.socket.send(Message::binary(binary.clone())).unwrap();
    assert_eq!(b.next(), Message::binary(binary));
    other.silence();
}

#[test]
fn payloads_around_every_border_of_the_length_field() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    for length in [0, 1, 124, 125, 126, 127, 128, 4095, 4096, 4097, 65_534, 65_535, 65_536, 65_537, 999_999, 1_000_000]
    {
        let payload: Vec<u8> = (0..length).map(|place| b'a' + (place % 23) as u8).collect();
        raw.send(&frame(TEXT, &payload));
        let (first, came) = raw.frame();
        assert!(first == TEXT && came == payload, "{length}");
    }
}

#[test]
fn a_message_of_65536_fragments() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    let mut bytes = frame(0x02, b"0");
    let mut expected = b"0".to_vec();
    for number in 1..65_536_u32 {
        let last = number == 65_535;
        bytes.extend(frame(if last { 0x80 } else { 0x00 }, &[b'0' + (number % 10) as u8]));
        expected.push(b'0' + (number % 10) as u8);
    }
    raw.send(&bytes);
    let (first, payload) = raw.frame();
    assert!(first == 0x82 && payload == expected, "{} bytes", payload.len());
}

#[test]
fn a_message_of_16_mib_where_that_is_allowed() {
    const LENGTH: usize = 16 << 20;
    let relay = Relay::start(&format!("[limits]\nmessage = {LENGTH}\nunsent = {}", 2 * LENGTH));
    let (mut raw, mut other) = (Raw::open(&relay, &[("format", "text")]), relay.connect_with(&[("format", "text")]));
    other.socket.set_config(|config| {
        *config = config.max_message_size(None).max_frame_size(None);
    });
    let payload: Vec<u8> = (0..LENGTH).map(|place| (place * 31 + place / 251) as u8).collect();
    raw.send(&frame(0x82, &payload));
    let (first, came) = raw.frame();
    assert!(first == 0x82 && came == payload);
    assert!(matches!(other.next(), Message::Binary(came) if came == payload));
    // One byte more is too much.
    raw.send(&frame(0x82, &[0; LENGTH + 1])[..14]);
    assert_eq!(raw.close_code(), 1009);
}
