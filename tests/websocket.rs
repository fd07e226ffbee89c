//! Contract section 5 and RFC 6455: the upgrade, JSON and text clients, frames of every shape, and every way to end.
#![allow(missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::SockRef;
use support::{
    Answer, Client, FORM, KEY, PATIENCE, Relay, connect_sign, form, login, notify_sign, read_answer, send_request,
    wait_for,
};
use tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

// The upgrade.

#[test]
fn an_upgrade_is_answered_as_the_rfc_s_example_is() {
    let relay = Relay::start("");
    for path in ["/ws", "/ws/", "/WS", "/"] {
        let mut stream = relay.tcp();
        let more = [
            ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
            ("Sec-WebSocket-Protocol", "chat, superchat"),
        ];
        let headers = [&UPGRADE[..], &more].concat();
        send_request(&mut stream, "GET", &format!("{path}?{}", login(&[])), &headers, b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 101, "{path}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.header("upgrade").to_lowercase(), "websocket");
        assert_eq!(answer.header("connection").to_lowercase(), "upgrade");
        for name in ["sec-websocket-extensions", "sec-websocket-protocol", "content-length", "transfer-encoding"] {
            assert!(!answer.headers.contains_key(name), "{name} was not agreed on");
        }
        stream.write_all(&frame(TEXT, br#"{"event":"ping"}"#)).unwrap();
        assert_eq!(Raw { stream }.text(), r#"{"event":"pong"}"#);
    }
}

#[test]
fn header_names_and_tokens_may_be_of_any_case_and_in_a_list() {
    let relay = Relay::start("");
    let request = format!(
        "GET /ws?{} HTTP/1.1\r\nhost: relay\r\nCONNECTION: keep-alive,  uPGRADE\r\nupgrade: foo, WebSocket\r\n\
         sec-websocket-KEY:  dGhlIHNhbXBsZSBub25jZQ== \r\nSec-Websocket-Version:13\r\n\r\n",
        login(&[])
    );
    let mut stream = relay.tcp();
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 101);
}

/// What is wrong is said before anything is upgraded, and the connection serves the next request, here the right one.
#[test]
fn a_handshake_that_is_wrong_is_refused() {
    let relay = Relay::start("");
    let with = |name: &str, value: Option<&'static str>| -> Vec<(&'static str, &'static str)> {
        let lines = UPGRADE.iter().map(|(key, old)| (*key, if *key == name { value } else { Some(*old) }));
        lines.filter_map(|(key, value)| Some((key, value?))).collect()
    };
    let (version, key) = ("Sec-WebSocket-Version", "Sec-WebSocket-Key");
    let two_keys = [&UPGRADE[..], &UPGRADE[3..]].concat();
    let cases: Vec<(&str, Vec<_>, u16)> = vec![
        ("GET", with(version, None), 426),
        ("GET", with(version, Some("8")), 426),
        ("GET", with(version, Some("0")), 426),
        ("GET", with(version, Some("14")), 426),
        ("GET", with(version, Some("thirteen")), 426),
        ("GET", with(key, None), 400),
        ("GET", with(key, Some("")), 400),
        ("GET", with(key, Some("c2hvcnQ=")), 400),
        ("GET", with(key, Some("dGhlIHNhbXBsZSBub25jZQ")), 400),
        ("GET", with(key, Some("c2V2ZW50ZWVuIGJ5dGVzISE=")), 400),
        ("GET", with(key, Some("dGhlIHNhbXBsZSBub25j!Q==")), 400),
        ("POST", UPGRADE.to_vec(), 405),
        ("PUT", UPGRADE.to_vec(), 405),
    ];
    let mut wrong = Vec::new();
    for path in ["/ws", "/"] {
        let target = format!("{path}?{}", login(&[]));
        for (method, headers, status) in &cases {
            let mut stream = relay.tcp();
            send_request(&mut stream, method, &target, headers, b"");
            let answer = read_answer(&mut stream, false);
            assert_eq!(answer.status, *status, "{method} {path} {headers:?}: {answer:?}");
            assert_refusal(&answer);
            match status {
                426 => {
                    assert_eq!(answer.header("sec-websocket-version"), "13", "{answer:?}");
                    // RFC 9110 section 15.5.22: a 426 must say what to upgrade to.
                    if answer.header("upgrade") != "websocket" {
                        wrong.push(format!("no Upgrade in the 426 to {path} {headers:?}"));
                    }
                }
                405 => assert!(answer.header("allow").contains("GET"), "{answer:?}"),
                _ => {}
            }
            send_request(&mut stream, "GET", &target, &UPGRADE, b"");
            assert_eq!(read_answer(&mut stream, false).status, 101, "after {method} {path} {headers:?}");
        }
        assert_eq!(relay.request("GET", &target, &two_keys, b"").status, 400);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `Allow` must not name what is refused (RFC 9110 section 10.2.1).
#[test]
fn a_wrong_method_is_not_told_that_it_would_be_right() {
    let relay = Relay::start("");
    for method in ["HEAD", "OPTIONS", "POST"] {
        let mut stream = relay.tcp();
        send_request(&mut stream, method, &format!("/ws?{}", login(&[])), &UPGRADE, b"");
        let answer = read_answer(&mut stream, method == "HEAD");
        let allowed = answer.header("allow").split(", ").any(|allowed| allowed == method);
        assert!(answer.status != 405 || !allowed, "{method}: {answer:?}");
    }
}

#[test]
fn who_asks_for_no_upgrade_is_told_to() {
    let relay = Relay::start("");
    for headers in [&[][..], &UPGRADE[..1], &UPGRADE[1..], &[("Connection", "close"), ("Upgrade", "h2c")]] {
        let answer = relay.request("GET", &format!("/ws?{}", login(&[])), headers, b"");
        assert_eq!((answer.status, answer.header("upgrade")), (426, "websocket"), "{headers:?}");
        assert_refusal(&answer);
        assert_eq!(relay.request("GET", "/", headers, b"").header("content-type"), "text/html; charset=utf-8");
    }
    let text = relay.raw(format!(
        "GET /ws?{} HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        login(&[])
    ));
    assert!(text.starts_with("HTTP/1.1 4"), "HTTP/1.0 knows no upgrade: {text}");
}

#[test]
fn the_path_may_be_another_and_the_root_stays() {
    let relay = Relay::start("[websocket]\npath = \"/live\"");
    let status = |path: &str| {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &format!("{path}?{}", login(&[])), &UPGRADE, b"");
        read_answer(&mut stream, false).status
    };
    assert_eq!([status("/live"), status("/"), status("/ws"), status("/live/x")], [101, 101, 404, 404]);
}

#[test]
fn an_unknown_format_is_refused() {
    let relay = Relay::start("");
    let answer = relay.refused(&login(&[("format", "xml")]));
    assert_eq!(answer.status, 400);
    assert_refusal(&answer);
    relay.connect_with(&[("format", "json")]);
}

/// Frames may come in the segment of the upgrade and behind a request before it; the answers keep their order.
#[test]
fn frames_may_come_with_the_upgrade_whatever_the_cut() {
    let relay = Relay::start("");
    let bytes = |number: usize| {
        let mut bytes = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n".to_vec();
        let room = format!("room{number:04}");
        send_request(
            &mut bytes,
            "GET",
            &format!("/?{}", login(&[("format", "text"), ("room_ids", &room)])),
            &UPGRADE,
            b"",
        );
        bytes.extend([frame(TEXT, b"early"), frame(PING, b"p"), frame(TEXT, "zw\u{f6}lf".as_bytes())].concat());
        bytes
    };
    let length = bytes(0).len();
    let mut pieces: Vec<(Raw, Vec<u8>)> = (0..=length)
        .map(|cut| {
            let mut stream = relay.tcp();
            let bytes = bytes(cut);
            stream.write_all(&bytes[..cut]).unwrap();
            (Raw { stream }, bytes[cut..].to_vec())
        })
        .collect();
    relay.get("/healthz");
    for (cut, (raw, rest)) in pieces.iter_mut().enumerate() {
        raw.send(rest);
        assert_eq!(read_answer(&mut raw.stream, false).body, r#"{"status":"ok"}"#, "cut at {cut}");
        assert_eq!(read_answer(&mut raw.stream, false).status, 101, "cut at {cut}");
        let mut frames = [raw.frame(), raw.frame(), raw.frame()];
        // A control frame may overtake messages.
        frames.sort_by_key(|(first, _)| *first == PONG);
        assert_eq!(
            frames,
            [(TEXT, b"early".to_vec()), (TEXT, "zw\u{f6}lf".into()), (PONG, b"p".to_vec())],
            "cut at {cut}"
        );
    }
}

/// A body nobody wanted is not taken for frames.
#[test]
fn an_upgrade_may_have_a_body() {
    let relay = Relay::start("");
    let lines = UPGRADE.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    for (framing, body) in [
        ("Content-Length: 20", &frame(TEXT, b"a bit of body!")[..]),
        ("Transfer-Encoding: chunked", b"3\r\n\x81\x80x\r\n0\r\n\r\n"),
    ] {
        let query = login(&[("format", "text")]);
        let head = format!("GET /ws?{query} HTTP/1.1\r\nHost: relay\r\n{lines}{framing}\r\n\r\n");
        let mut raw = Raw { stream: relay.tcp() };
        raw.send(&[head.as_bytes(), body, &frame(TEXT, b"a message")].concat());
        match read_answer(&mut raw.stream, false).status {
            101 => assert_eq!(raw.text(), "a message", "{framing}"),
            status => assert_eq!(status, 400, "{framing}"),
        }
    }
}

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

/// The sender hears itself where it is a member, and only there.
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
    // The ack's name is the client's own affair.
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
            assert_eq!(client.json(), refused, "{event} {rooms:?}");
        }
        client.send(&change("join", rooms, sign).replace(r#","ack":"join""#, ""));
        assert_eq!(client.json(), json!({"event": "sys_error", "msg": why}));
    }
    assert_eq!(relay.stat("/rooms"), before);
    relay.notify("e", "not for it");
    client.silence();
}

#[test]
fn what_is_no_message_is_told_so_and_the_connection_stays() {
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
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
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
fn who_watches_tells_its_rooms_that_it_quit() {
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

// Frames.

#[test]
fn control_frames_may_come_between_fragments() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    // The cut goes through a character, which is right: only the whole must be UTF-8.
    let text = "zw\u{f6}lf \u{1f600}".as_bytes();
    let pieces = [frame(0x01, &text[..3]), frame(PING, b"one"), frame(0x00, b""), frame(0x00, &text[3..9])];
    let more = [frame(PONG, b"unasked"), frame(PING, b""), frame(0x80, &text[9..]), frame(TEXT, b"next")];
    for together in [false, true] {
        if together {
            raw.send(&[pieces.concat(), more.concat()].concat());
        } else {
            for piece in pieces.iter().chain(&more) {
                raw.send(piece);
                // Once this is answered, what came before it was read.
                relay.get("/healthz");
            }
        }
        let mut frames: Vec<_> = (0..4).map(|_| raw.frame()).collect();
        frames.sort_by_key(|(first, _)| *first != PONG);
        let expected = [(PONG, &b"one"[..]), (PONG, b""), (TEXT, text), (TEXT, b"next")];
        assert_eq!(frames, expected.map(|(first, payload)| (first, payload.to_vec())));
    }
}

/// One connection, one login: each frame comes in two reads, cut at every byte.
#[test]
fn a_frame_may_come_in_two_pieces_whatever_the_cut() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    let mut probe = relay.tcp();
    let long: String = "l\u{e4}nger \u{1f600} ".repeat(12);
    let huge = "x".repeat(65_536);
    for (text, cuts) in [("\u{5f20}\u{4e09} hello", usize::MAX), (&long, usize::MAX), (&huge, 20)] {
        let bytes = frame(TEXT, text.as_bytes());
        for cut in 1..bytes.len().min(cuts) {
            raw.send(&bytes[..cut]);
            // Once this is answered, what came before it was read.
            send_request(&mut probe, "GET", "/healthz", &[], b"");
            assert_eq!(read_answer(&mut probe, false).status, 200);
            raw.send(&bytes[cut..]);
            assert!(raw.text() == text, "cut at {cut}");
        }
    }
    for byte in [frame(0x01, long.as_bytes()), frame(PING, b"between"), frame(0x80, b"!")].concat() {
        raw.send(&[byte]);
    }
    let mut frames = [raw.frame(), raw.frame()];
    frames.sort_by_key(|(first, _)| *first != PONG);
    assert_eq!(frames, [(PONG, b"between".to_vec()), (TEXT, format!("{long}!").into())]);
}

#[test]
fn many_frames_may_come_in_one_piece() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    let bytes: Vec<u8> = (0..20_000).flat_map(|number: u32| frame(TEXT, number.to_string().as_bytes())).collect();
    let mut writer = raw.stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&bytes).unwrap());
    for number in 0..20_000 {
        assert_eq!(raw.text(), number.to_string());
    }
    writing.join().unwrap();
}

#[test]
fn every_mask_is_as_good_as_another() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    for mask in [[0, 0, 0, 0], [255, 255, 255, 255], [1, 2, 3, 4], [0x81, 0, 0x88, 0]] {
        raw.send(&masked(TEXT, b"masked or not", mask));
        assert_eq!(raw.text(), "masked or not");
    }
}

#[test]
fn a_ping_gets_its_pong() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[]);
    for payload in [&b""[..], b"p", &[0xff; 125]] {
        raw.send(&frame(PING, payload));
        assert_eq!(raw.frame(), (PONG, payload.to_vec()));
    }
    // A pong nobody asked for has no answer (RFC 6455 section 5.5.3).
    raw.send(&frame(PONG, b"unasked"));
    // Of several pings at once the latest must be answered.
    raw.send(&(0..10).flat_map(|number| frame(PING, &[number])).collect::<Vec<_>>());
    let mut last = raw.frame();
    while last != (PONG, vec![9]) {
        assert_eq!(last.0, PONG);
        last = raw.frame();
    }
}

/// What broke the protocol is told by its code; what came before it counts, what comes after it does not; nobody else
/// feels it; and the peer's answer ends the connection.
#[test]
fn protocol_errors_have_their_codes() {
    let relay = Relay::start("[limits]\nmessage = 1000");
    let mut witness = relay.connect_with(&[("format", "text")]);
    let unmasked = |first: u8, payload: &[u8]| [&[first, payload.len() as u8], payload].concat();
    let two = |one: Vec<u8>, other: Vec<u8>| [one, other].concat();
    let close = |payload: &[u8]| frame(CLOSE, payload);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("an unmasked text", unmasked(TEXT, b"x"), 1002),
        ("an unmasked ping", unmasked(PING, b""), 1002),
        ("an unmasked close", unmasked(CLOSE, &[3, 232]), 1002),
        ("RSV1", frame(0xc1, b"x"), 1002),
        ("RSV2", frame(0xa1, b"x"), 1002),
        ("RSV3", frame(0x91, b"x"), 1002),
        ("RSV1 in a control frame", frame(0xc9, b"x"), 1002),
        ("RSV1 in a continuation", two(frame(0x01, b"x"), frame(0xc0, b"y")), 1002),
        ("opcode 3", frame(0x83, b"x"), 1002),
        ("opcode 7", frame(0x87, b""), 1002),
        ("opcode 11", frame(0x8b, b"x"), 1002),
        ("opcode 15", frame(0x8f, b""), 1002),
        ("a long ping", frame(PING, &[0; 126]), 1002),
        ("a long pong", frame(PONG, &[0; 126]), 1002),
        ("a long close", close(&[&[3, 232][..], &[b'x'; 124]].concat()), 1002),
        ("a fragmented ping", frame(0x09, b"x"), 1002),
        ("a fragmented close", frame(0x08, b""), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("an open continuation of nothing", frame(0x00, b"x"), 1002),
        ("a message within a message", two(frame(0x01, b"x"), frame(TEXT, b"y")), 1002),
        ("a fragment that begins within a message", two(frame(0x01, b"x"), frame(0x02, b"y")), 1002),
        ("half a close code", close(&[3]), 1002),
        ("close 0", close_frame(0), 1002),
        ("close 999", close_frame(999), 1002),
        ("close 1004", close_frame(1004), 1002),
        ("close 1005", close_frame(1005), 1002),
        ("close 1006", close_frame(1006), 1002),
        ("close 1015", close_frame(1015), 1002),
        ("close 1016", close_frame(1016), 1002),
        ("close 2999", close_frame(2999), 1002),
        ("close 5000", close_frame(5000), 1002),
        ("a length of 2^63", [&[0x82, 0xff, 0x80][..], &[0; 11]].concat(), 1009),
        ("a stray byte of UTF-8", frame(TEXT, b"\x80"), 1007),
        ("an end within a character", frame(TEXT, b"\xe5\xbc"), 1007),
        ("an overlong slash", frame(TEXT, b"\xc0\xaf"), 1007),
        ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("beyond Unicode", frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
        ("no UTF-8 in a fragment", two(frame(0x01, b"x\xff"), frame(0x80, b"y")), 1007),
        ("no UTF-8 together", two(frame(0x01, b"\xe5"), frame(0x80, b"x")), 1007),
        ("no UTF-8 in a close's reason", close(b"\x03\xe8\xff"), 1007),
        ("too large", frame(TEXT, &[b'x'; 1001]), 1009),
        ("too large a binary", frame(0x82, &[0; 70_000]), 1009),
        ("too large together", two(frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])), 1009),
        ("too large by what it announces", frame(TEXT, &[b'x'; 1001])[..8].to_vec(), 1009),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, code) in &cases {
        let mut raw = Raw::open(&relay, &[("format", "text")]);
        let after = if bytes.len() < 9 { Vec::new() } else { frame(TEXT, b"after") };
        let (begin, end) = name.split_at(2);
        raw.send(&[frame(0x01, begin.as_bytes()), frame(0x80, end.as_bytes()), bytes.clone(), after].concat());
        assert_eq!(raw.text(), *name);
        assert_eq!(witness.text(), *name);
        let (first, payload) = raw.frame();
        assert_eq!(first, CLOSE, "{name}");
        let came = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
        if came != *code {
            wrong.push(format!("{name} ends with {came}, not {code}"));
        }
        // Who has said close does not say it again.
        if bytes[0] & 0x0f != CLOSE & 0x0f {
            raw.send(&close_frame(came));
        }
        raw.stream.shutdown(Shutdown::Write).unwrap();
        assert!(raw.try_frame().is_none(), "{name}: nothing comes behind a close");
    }
    witness.silence();
    wait_for("all of them to be gone", || (relay.stat("/sessions") == 1).then_some(()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Who is in the middle of sending too much reads why, instead of a reset, whatever the bytes look like that are still
/// on their way.
#[test]
fn who_sends_too_much_still_reads_why() {
    let relay = Relay::start("");
    // As if all of the payload were frames that close, and as if it were none.
    let closes: Vec<u8> = frame(CLOSE, b"").into_iter().cycle().take(8_000_000).collect();
    for payload in [&vec![7; 8_000_000], &closes] {
        let mut raw = Raw::open(&relay, &[("format", "text")]);
        raw.send(&masked(0x82, payload, [0; 4]));
        assert_eq!(raw.close_code(), 1009);

        let mut raw = Raw::open(&relay, &[("format", "text")]);
        let mut fragments = masked(0x02, &payload[..400_000], [0; 4]);
        for _ in 0..20 {
            fragments.extend(masked(0x00, &payload[..400_000], [0; 4]));
        }
        raw.send(&fragments);
        assert_eq!(raw.close_code(), 1009, "in fragments");
    }
}

// The end.

#[test]
fn a_close_is_echoed_and_then_comes_the_end() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&[("format", "text")]);
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        let mut raw = Raw::open(&relay, &[("format", "text")]);
        let payload = [&code.to_be_bytes()[..], "tsch\u{fc}ss".as_bytes()].concat();
        raw.send(&[frame(TEXT, b"last"), frame(CLOSE, &payload), frame(TEXT, b"too late")].concat());
        assert_eq!(raw.text(), "last");
        let (first, echo) = raw.frame();
        assert_eq!((first, &echo[..2]), (CLOSE, &code.to_be_bytes()[..]), "{code}");
        assert!(raw.try_frame().is_none(), "the end comes after the echo of {code}");
        assert_eq!(witness.text(), "last");
    }
    let mut raw = Raw::open(&relay, &[]);
    raw.send(&frame(CLOSE, b""));
    let (first, echo) = raw.frame();
    assert!(first == CLOSE && (echo.is_empty() || echo == [3, 232]), "{echo:?}");
    assert!(raw.try_frame().is_none());
    witness.silence();

    let mut client = relay.connect("room");
    client.socket.close(Some(CloseFrame { code: CloseCode::Library(4321), reason: "bye".into() })).unwrap();
    assert_eq!(client.close_code(), 4321);
    assert!(matches!(client.socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    wait_for("them to be gone", || (relay.stat("/sessions") == 1).then_some(()));
    assert_eq!(relay.counter("protocol_errors"), 0);
}

#[test]
fn a_close_may_come_within_a_fragmented_message() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[]);
    raw.send(&frame(0x01, b"never"));
    raw.send(&close_frame(1000));
    assert_eq!(raw.close_code(), 1000);
    assert!(raw.try_frame().is_none());
}

/// Who says no more is gone, what it said before counts, and it sees the end.
#[test]
fn a_half_closed_socket_is_a_session_s_end() {
    let relay = Relay::start("");
    let mut other = relay.connect("room");
    let mut raw = Raw::open(&relay, &[("watch_quit", "1"), ("username", "half")]);
    raw.send(&[frame(TEXT, br#"{"data":"last words","room_ids":"room"}"#), frame(TEXT, b"x")[..4].to_vec()].concat());
    raw.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(other.data(), "last words");
    assert_eq!(other.data()["key"], "user_quit");
    raw.drain();
    wait_for("its end", || (relay.stat("/sessions") == 1).then_some(()));
}

/// Peers that are killed in the middle of a frame, by reset or not, take nothing from the others.
#[test]
fn who_is_killed_in_the_middle_of_a_frame_loses_nothing_for_the_others() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let (mut sender, mut member) = (relay.connect("elsewhere"), relay.connect("room"));
    let message = |text: &str| frame(TEXT, format!(r#"{{"data":"{text}","room_ids":"room"}}"#).as_bytes());
    for number in 0..60 {
        let mut victim = Raw::open(&relay, &[]);
        let bytes = [message(&format!("whole {number}")), message("never")].concat();
        victim.send(&bytes[..bytes.len() - 1 - number % message("never").len()]);
        if number % 2 == 0 {
            // A reset may take what was not read yet with it.
            assert_eq!(member.data(), format!("whole {number}"));
            SockRef::from(&victim.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(victim);
        if number % 2 == 1 {
            assert_eq!(member.data(), format!("whole {number}"));
        }
        sender.send(&format!(r#"{{"data":{number},"room_ids":"room"}}"#));
        assert_eq!(member.data(), number);
    }
    wait_for("the victims to be gone", || (relay.stat("/sessions") == 2).then_some(()));
    member.silence();
}

/// Two posts in one segment, and two hundred quick ones from two senders: each sender's order holds at every member.
#[test]
fn each_sender_s_messages_keep_their_order() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let mut members = [relay.connect("room"), relay.connect("room"), relay.connect("x,room")];
    let message =
        |text: &str| frame(TEXT, format!(r#"{{"event":"postMsg","data":"{text}","room_ids":"room"}}"#).as_bytes());
    let mut raw = Raw::open(&relay, &[("room_ids", "elsewhere")]);
    raw.send(&[message("first"), message("second")].concat());
    for member in &mut members {
        assert_eq!((member.data(), member.data()), ("first".into(), "second".into()));
    }
    let senders: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|name| {
            let mut raw = Raw::open(&relay, &[("room_ids", "elsewhere")]);
            thread::spawn(move || {
                for number in 0..100 {
                    let text = |number: u32| format!(r#"{{"data":["{name}",{number}],"room_ids":"room"}}"#);
                    let two = [text(2 * number), text(2 * number + 1)].map(|text| frame(TEXT, text.as_bytes()));
                    raw.send(&two.concat());
                }
                raw
            })
        })
        .collect();
    let expected: Vec<u64> = (0..200).collect();
    for member in &mut members {
        let came: Vec<Value> = (0..400).map(|_| member.data()).collect();
        for name in ["a", "b"] {
            let own = came.iter().filter(|data| data[0] == name).map(|data| data[1].as_u64().unwrap());
            assert_eq!(own.collect::<Vec<_>>(), expected, "{name}");
        }
        member.silence();
    }
    senders.into_iter().for_each(|sender| drop(sender.join().unwrap()));
}

// Signs of life.

#[test]
fn who_answers_pings_stays() {
    let relay = Relay::start("[websocket]\nping_interval = 0.1\nping_timeout = 20");
    let begin = Instant::now();
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    for number in 1..=6 {
        let (first, payload) = raw.frame();
        assert_eq!(first, PING, "nothing else was sent");
        assert!(begin.elapsed() >= Duration::from_millis(90 * number), "ping {number} after {:?}", begin.elapsed());
        raw.send(&frame(PONG, &payload));
    }
    raw.send(&frame(TEXT, b"still here"));
    let mut next = raw.frame();
    while next.0 == PING {
        raw.send(&frame(PONG, &next.1));
        next = raw.frame();
    }
    assert_eq!(next, (TEXT, b"still here".to_vec()));
    assert_eq!(relay.counter("ping_timeouts"), 0);
}

#[test]
fn who_does_not_answer_a_ping_is_gone() {
    let relay = Relay::start("[websocket]\nping_interval = 0.2\nping_timeout = 0.2");
    let begin = Instant::now();
    let mut raw = Raw::open(&relay, &[("watch_quit", "1")]);
    let (first, _) = raw.frame();
    assert_eq!(first, PING);
    let pinged = begin.elapsed();
    let end = wait_end(&mut raw);
    let gone = begin.elapsed();
    assert!(pinged >= Duration::from_millis(180), "pinged after {pinged:?}");
    assert!(gone >= Duration::from_millis(380), "gone after {gone:?} with {end:?}");
    assert_eq!((relay.counter("ping_timeouts"), relay.stat("/sessions")), (1, 0));
}

/// That it is sent messages is no sign of life.
#[test]
fn who_hears_but_says_nothing_is_gone_too() {
    let relay = Relay::start("[websocket]\nping_interval = 0.1\nping_timeout = 0.1");
    let raw = Raw::open(&relay, &[]);
    let begin = Instant::now();
    while relay.stat("/sessions") == 1 {
        relay.notify("room", "are you there?");
        assert!(begin.elapsed() < PATIENCE, "it is still here");
    }
    drop(raw);
}

/// A backend's message reaches who connects with either path and form while HTTP goes on beside it.
#[test]
fn a_notification_reaches_clients_on_both_paths() {
    let relay = Relay::start("");
    let mut on_root = Client::open(relay.tcp(), &format!("/?{}", login(&[]))).unwrap();
    let mut on_ws = relay.connect("room");
    let mut stream = relay.tcp();
    for number in 0..10 {
        let data = number.to_string();
        let sign = notify_sign("demo", "room", &data, KEY);
        let body = form(&[("source", "demo"), ("room_id", "room"), ("data", &data), ("sign", &sign)]);
        send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
        assert_eq!(read_answer(&mut stream, false).json()["code"], 1);
        assert_eq!((on_root.data(), on_ws.data()), (json!(data), json!(data)));
    }
}

// Help.

/// First bytes: final, and the opcode.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn close_frame(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

fn assert_refusal(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    let body = answer.json();
    assert!(body["msg"].as_str().is_some_and(|why| !why.is_empty()), "{body}");
    assert_eq!((&body["code"], &body["data"]), (&json!(0), &json!("")), "{body}");
}

/// Reads whatever comes until the connection ends, in order or not.
fn wait_end(raw: &mut Raw) -> Vec<u8> {
    let mut bytes = Vec::new();
    match raw.stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection does not end"),
        _ => bytes,
    }
}

/// A client that sends bytes and sees frames.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    fn open(relay: &Relay, fields: &[(&str, &str)]) -> Raw {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &format!("/ws?{}", login(fields)), &UPGRADE, b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 101, "{answer:?}");
        Raw { stream }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame's first byte and payload; nothing if the connection ended in order before it.
    fn try_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read(&mut head[..1]) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => panic!("no frame: {error}"),
        }
        self.stream.read_exact(&mut head[1..]).unwrap();
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length) as usize
            }
            length => length.into(),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Some((head[0], payload))
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        self.try_frame().expect("a frame, not the end")
    }

    fn text(&mut self) -> String {
        let (first, payload) = self.frame();
        assert_eq!(first, TEXT, "{}", String::from_utf8_lossy(&payload));
        String::from_utf8(payload).unwrap()
    }

    /// The code of the close that comes, whatever comes before it.
    fn close_code(&mut self) -> u16 {
        loop {
            if let (CLOSE, payload) = self.frame() {
                return payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
            }
        }
    }

    /// Whole frames, then the end.
    fn drain(&mut self) {
        while self.try_frame().is_some() {}
    }
}
