//! The upgrade of a request to a WebSocket.

use std::io::Write;

use serde_json::json;

use crate::support::{
    Client, FORM, KEY, Relay, UPGRADE, form, login, notify_sign, read_answer, send_request, websocket::*,
};

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
        assert_eq!(answer.header("sec-websocket-protocol"), "chat", "the first one that is offered");
        for name in ["sec-websocket-extensions", "content-length", "transfer-encoding"] {
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

/// Whatever compression a client offers, the answer accepts none, and frames stay as they are.
#[test]
fn compression_is_declined() {
    let relay = Relay::start("");
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits, permessage-deflate; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-bzip2; client_max_compress_level=9",
        "\"",
    ] {
        let mut stream = relay.tcp();
        let headers = [&UPGRADE[..], &[("Sec-WebSocket-Extensions", offer)]].concat();
        send_request(&mut stream, "GET", &format!("/ws?{}", login(&[("format", "text")])), &headers, b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 101, "{offer}: {answer:?}");
        assert!(!answer.headers.contains_key("sec-websocket-extensions"), "{offer}: {answer:?}");
        let mut raw = Raw { stream };
        let text = "a text that could be compressed ".repeat(20);
        raw.send(&frame(TEXT, text.as_bytes()));
        assert_eq!(raw.text(), text);
        raw.send(&frame(0xc1, b"\x2a\x00"));
        assert_eq!(raw.close_code(), 1002, "a compressed message was not agreed on");
    }
}

/// The subprotocol that is chosen for a plain WebSocket and for both revisions of Socket.IO.
fn chosen(relay: &Relay, offers: &[&str]) -> [Option<String>; 3] {
    let offers = offers.iter().map(|offer| ("Sec-WebSocket-Protocol", *offer));
    let headers: Vec<_> = UPGRADE.into_iter().chain(offers).collect();
    ["/ws?", "/socket.io/?EIO=4&transport=websocket&", "/socket.io/?EIO=3&transport=websocket&"].map(|target| {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &format!("{target}{}", login(&[])), &headers, b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 101, "{target}: {answer:?}");
        answer.headers.get("sec-websocket-protocol").cloned()
    })
}

#[test]
fn the_first_subprotocol_that_is_offered_is_chosen() {
    let relay = Relay::start("");
    let all = |protocol: &str| [(); 3].map(|()| Some(protocol.to_owned()));
    assert_eq!(chosen(&relay, &[]), [None, None, None]);
    assert_eq!(chosen(&relay, &["echo-protocol, chat"]), all("echo-protocol"));
    assert_eq!(chosen(&relay, &["one", "two"]), all("one"), "in two headers");
    assert_eq!(chosen(&relay, &[" , ,v2.relay ,x"]), all("v2.relay"));
    // What is not a token never comes back.
    assert_eq!(chosen(&relay, &["a b, <script>, http://x, \"q\", \t, x\u{e9}, k=v"]), [None, None, None]);
    assert_eq!(chosen(&relay, &["Authorization: x, chat"]), all("chat"));
}

#[test]
fn subprotocols_can_be_configured() {
    let relay = Relay::start("[websocket]\nprotocols = [\"v1.relay\", \"v2.relay\"]");
    let all = |protocol: &str| [(); 3].map(|()| Some(protocol.to_owned()));
    assert_eq!(chosen(&relay, &["chat, v2.relay, v1.relay"]), all("v2.relay"), "the order of the client");
    assert_eq!(chosen(&relay, &["chat", "v1.relay"]), all("v1.relay"));
    assert_eq!(chosen(&relay, &["chat, V1.relay"]), [None, None, None], "none is chosen, and the client decides");
    assert_eq!(chosen(&relay, &[]), [None, None, None]);
    let changed = Relay::configuration("[websocket]\nprotocols = [\"chat\"]");
    std::fs::write(&relay.config, changed).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    assert_eq!(chosen(&relay, &["v1.relay, chat"]), all("chat"));
}

/// Keys whose last digit has spare bits set, as in the example of RFC 6455 section 4.1, are those of real clients.
#[test]
fn a_key_may_have_spare_bits_set() {
    let relay = Relay::start("");
    for (key, accept) in [
        ("AQIDBAUGBwgJCgsMDQ4PEC==", "OfS0wDaT5NoxF2gqm7Zj2YtetzM="),
        ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ] {
        let mut stream = relay.tcp();
        let headers = [UPGRADE[0], UPGRADE[1], UPGRADE[2], ("Sec-WebSocket-Key", key)];
        send_request(&mut stream, "GET", &format!("/ws?{}", login(&[])), &headers, b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, accept));
    }
}

/// A wrong handshake is refused before the upgrade, and the connection serves the next request.
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
        ("GET", with(key, Some("dGhlIHNhbXBsZSBub25jZ===")), 400),
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
fn request_without_upgrade_gets_426() {
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
        assert_eq!(
            [raw.frame(), raw.frame(), raw.frame()],
            [(TEXT, b"early".to_vec()), (PONG, b"p".to_vec()), (TEXT, "zw\u{f6}lf".into())],
            "cut at {cut}"
        );
    }
}

/// A request's body is not parsed as frames.
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

/// A notification reaches clients of both paths while HTTP goes on beside it.
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
