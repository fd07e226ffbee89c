//! Frames of every shape.

use std::{io::Write, thread};

use serde_json::Value;

use crate::support::{Relay, read_answer, send_request, wait_for, websocket::*};

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
