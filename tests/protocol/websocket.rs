//! docs/protocol.md, Plain WebSocket, and RFC 6455: the upgrade, frames of every shape, pings, and every way to end.

use std::{
    io::Write,
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::SockRef;
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::support::{
    Client, FORM, KEY, PATIENCE, Relay, TOKEN, UPGRADE, form, login, notify_sign, read_answer, send_request, wait_for,
    websocket::*,
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
        let frames = [(); 4].map(|()| raw.frame());
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
    assert_eq!([raw.frame(), raw.frame()], [(PONG, b"between".to_vec()), (TEXT, format!("{long}!").into())]);
}

/// What is sent has the order of what was received, whatever comes in one read: pongs, messages, answers, acknowledgements.
#[test]
fn answers_have_the_order_of_what_was_received() {
    let relay = Relay::start("");
    let post = |data: &str, ack: u32| {
        frame(TEXT, format!(r#"{{"event":"postMsg","data":"{data}","room_ids":"room","ack":{ack}}}"#).as_bytes())
    };
    let ping = frame(TEXT, br#"{"event":"ping"}"#);
    let (begin, end) = (br#"{"data":"frag"#, br#"mented","room_ids":"room"}"#);
    let pieces = [
        frame(PING, b"1"),
        post("one", 1),
        frame(PING, b"2"),
        ping.clone(),
        frame(0x01, begin),
        frame(PING, b"3"),
        frame(0x80, end),
        frame(TEXT, b"no JSON"),
        frame(PING, b"4"),
        ping,
        frame(CLOSE, &[3, 232]),
        frame(PING, b"never"),
    ];
    let expected =
        ["pong 1", "one", "ack", "pong 2", "pong", "pong 3", "fragmented", "sys_error", "pong 4", "pong", "close"];
    let whole = pieces.concat();
    for cut in 0..whole.len() {
        let mut raw = Raw::open(&relay, &[]);
        raw.send(&whole[..cut]);
        if cut > 0 && cut % 8 == 0 {
            // Once this is answered, what came before it was read.
            relay.get("/healthz");
        }
        raw.send(&whole[cut..]);
        let mut came = Vec::new();
        while let Some((first, payload)) = raw.try_frame() {
            came.push(match first {
                PONG => format!("pong {}", String::from_utf8(payload).unwrap()),
                CLOSE => "close".to_owned(),
                _ => {
                    let json: Value = serde_json::from_slice(&payload).unwrap();
                    let name = if json["event"] == "newMsg" { &json["data"] } else { &json["event"] };
                    name.as_str().unwrap().to_owned()
                }
            });
        }
        assert_eq!(came, expected, "cut at {cut}");
    }
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

/// A protocol error closes the connection with its code. Frames before it are handled, frames after it are not; no
/// other client is affected; and the peer's close ends the connection.
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
        raw.ended(&relay, name);
    }
    witness.silence();
    wait_for("all of them to be gone", || (relay.stat("/sessions") == 1).then_some(()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A peer that is still sending a message that is too large reads the close instead of a reset, whatever bytes are still
/// on their way.
#[test]
fn sender_of_too_much_still_reads_1009() {
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
        raw.ended(&relay, "in fragments");
    }
}

/// A peer that goes on sending after the end is disconnected, after some megabytes or seconds.
#[test]
fn sender_that_never_stops_is_disconnected() {
    let relay = Relay::start("");
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    raw.send(&frame(0x83, b""));
    assert_eq!(raw.close_code(), 1002);
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while raw.stream.write_all(&piece).is_ok() {
        sent += 1;
        assert!(sent < 1000, "relay reads on and on");
    }
    assert!(sent >= 60, "only {sent} MiB were read");
    assert_eq!(relay.stat("/sessions"), 0);
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
        raw.ended(&relay, &format!("the echo of {code}"));
        assert_eq!(witness.text(), "last");
    }
    let mut raw = Raw::open(&relay, &[]);
    raw.send(&frame(CLOSE, b""));
    let (first, echo) = raw.frame();
    assert!(first == CLOSE && (echo.is_empty() || echo == [3, 232]), "{echo:?}");
    raw.ended(&relay, "an empty close");
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
    raw.ended(&relay, "a close within a message");
}

/// Every way in which relay itself ends a WebSocket: a close frame, and once it is answered the end of the connection.
#[test]
fn an_answered_close_is_the_end() {
    let relay = Relay::start(
        "[limits]\nmessage = 1000\nmessage_rate = 1\nmessage_burst = 1\n[sources.mute]\nsign_key = \"try4dfs%#fs!#$2334ds(%B)\"\nclient_posts = \"none\"",
    );
    let end = |what: &str, raw: &mut Raw, code: u16, answered: bool| {
        assert_eq!(raw.close_code(), code, "{what}");
        if answered {
            raw.send(&close_frame(code));
        }
        raw.ended(&relay, what);
    };
    let mut raw = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    raw.send(&frame(TEXT, b"x"));
    end("client_posts", &mut raw, 1008, true);

    // The peer's close comes in the same read: it is the answer already.
    let mut raw = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    raw.send(&[frame(TEXT, b"x"), close_frame(1000)].concat());
    end("closes that cross", &mut raw, 1008, false);

    // Instead of an answer comes what is no frame.
    let mut raw = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    raw.send(&frame(TEXT, b"x"));
    assert_eq!(raw.close_code(), 1008);
    raw.send(&[frame(TEXT, b"a message still on its way"), vec![0xff; 20]].concat());
    raw.ended(&relay, "an error in place of an answer");

    let mut raw = Raw::open(&relay, &[("format", "text")]);
    raw.send(&[frame(TEXT, b"x"), frame(TEXT, b"y"), frame(TEXT, b"z")].concat());
    end("message_rate", &mut raw, 1008, true);

    let mut raw = Raw::open(&relay, &[("userid", "bad")]);
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", FORM)];
    let answer = relay.request("POST", "/api/disconnect", &headers, b"source=demo&userid=bad");
    assert_eq!(answer.json()["code"], 1, "{answer:?}");
    end("/api/disconnect", &mut raw, 1008, true);

    for (packet, code) in [("1", 1000), ("4abc", 1002)] {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", "/socket.io/?EIO=4&transport=websocket", &UPGRADE, b"");
        assert_eq!(read_answer(&mut stream, false).status, 101);
        let mut raw = Raw { stream };
        raw.send(&frame(TEXT, packet.as_bytes()));
        end(packet, &mut raw, code, true);
    }

    let mut raw = Raw::open(&relay, &[]);
    let mut closing = Raw::open(&relay, &[("source", "mute"), ("format", "text")]);
    closing.send(&frame(TEXT, b"x"));
    assert_eq!(closing.close_code(), 1008);
    relay.signal(15);
    end("the shutdown", &mut raw, 1001, true);
    closing.send(&close_frame(1008));
    closing.ended(&relay, "a shutdown while a close is unanswered");
}

/// A peer that never closes its side is disconnected after some seconds.
#[test]
fn a_peer_that_keeps_an_ended_connection_is_disconnected() {
    let relay = Relay::start("");
    let before = relay.descriptors();
    let mut raws: Vec<_> = [frame(0x83, b""), close_frame(1000)]
        .map(|bytes| {
            let mut raw = Raw::open(&relay, &[]);
            raw.send(&bytes);
            raw.close_code();
            raw.ended(&relay, "a close");
            raw
        })
        .into();
    assert_eq!(relay.stat("/sessions"), 0);
    assert!(relay.descriptors() >= before + 2, "relay waits for the peer");
    wait_for("relay to give up", || (relay.descriptors() == before).then_some(()));
    raws.iter_mut().for_each(Raw::drain);
}

/// A peer that closes its side right behind its last frames still gets the answers to them.
#[test]
fn a_half_close_behind_the_last_frame_loses_no_answer() {
    let relay = Relay::start("[limits]\nmessage = 1000");
    let too_much = frame(TEXT, &[b'x'; 1001]);
    for (bytes, expected) in [
        (close_frame(1000), vec![(CLOSE, vec![3, 232])]),
        (frame(PING, b"p"), vec![(PONG, b"p".to_vec())]),
        ([frame(TEXT, b"hi"), frame(PING, b"p")].concat(), vec![(TEXT, b"hi".to_vec()), (PONG, b"p".to_vec())]),
        (frame(0x83, b""), vec![(CLOSE, b"\x03\xeaprotocol error".to_vec())]),
        (too_much, vec![(CLOSE, b"\x03\xf1message too big".to_vec())]),
    ] {
        for number in 0..20 {
            let mut raw = Raw::open(&relay, &[("format", "text"), ("room_ids", &format!("room{number}"))]);
            raw.send(&bytes);
            raw.stream.shutdown(Shutdown::Write).unwrap();
            for frame in &expected {
                assert_eq!(raw.frame(), *frame);
            }
            raw.ended(&relay, "a half close");
        }
    }
    wait_for("them to be gone", || (relay.stat("/sessions") == 0).then_some(()));
}

/// A peer that has shut down its side is gone; its earlier messages are handled, and it sees the end.
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

/// A peer killed in the middle of a frame, by reset or not, loses no message of others.
#[test]
fn a_client_killed_within_a_frame_does_not_affect_others() {
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
fn client_that_answers_pings_stays() {
    let relay = Relay::start("[websocket]\nping_interval = 0.5\nping_timeout = 2");
    let begin = Instant::now();
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    for number in 1..=4 {
        let (first, payload) = raw.frame();
        assert_eq!(first, PING, "nothing else was sent");
        assert!(begin.elapsed() >= Duration::from_millis(450 * number), "ping {number} after {:?}", begin.elapsed());
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

/// The deadline moves nearer when a pong arrives, if the time-out is longer than the interval.
#[test]
fn pings_go_on_when_the_timeout_is_longer_than_the_interval() {
    let relay = Relay::start("[websocket]\nping_interval = 0.2\nping_timeout = 600");
    let mut raw = Raw::open(&relay, &[]);
    for _ in 0..3 {
        let (first, payload) = raw.frame();
        assert_eq!(first, PING);
        raw.send(&frame(PONG, &payload));
    }
}

#[test]
fn client_that_answers_no_ping_is_dropped() {
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

/// Received messages are not a sign of life.
#[test]
fn client_that_only_receives_is_dropped() {
    let relay = Relay::start("[websocket]\nping_interval = 0.1\nping_timeout = 0.1");
    let raw = Raw::open(&relay, &[]);
    let begin = Instant::now();
    while relay.stat("/sessions") == 1 {
        relay.notify("room", "are you there?");
        assert!(begin.elapsed() < PATIENCE, "it is still here");
    }
    drop(raw);
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
