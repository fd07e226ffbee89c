//! Plain WebSocket clients: frames of every kind, and the messages in them.

use relay::sign::Subject;

use crate::{
    run::Protocol,
    samples::{EVENTS, NAMESPACES, ROOMS, VALUES, login, md5},
    support::{UPGRADE, send_request},
    wire::{Case, Wire},
};

pub const PROTOCOL: Protocol = Protocol {
    name: "websocket",
    config: NAMESPACES,
    reaches: &[
        "logins",
        "client_messages",
        "client_messages_refused",
        "posted",
        "delivered",
        "events",
        "emitted",
        "protocol_errors",
    ],
    case,
};

fn case(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    let format = case.random.pick(&["", "", "", "&format=text", "&format=json"]);
    let target = format!("/ws?{}{format}", login(case));
    upgrade(case, &mut wire, &target)?;
    for _ in 0..case.random.length(30) {
        let (text, payload) = match case.random.below(8) {
            0 => (false, vec![case.random.below(256) as u8; case.random.length(70_000)]),
            _ => (true, message(case).into_bytes()),
        };
        let bytes = frames(case, text, payload);
        wire.send(case, "frames", &bytes)?;
        if case.random.once_in(3) {
            wire.skim()?;
        }
    }
    case.end(wire);
    Some(())
}

/// Sends the upgrade and reads its answer. The head itself is not mutated: that is for the protocol below.
pub fn upgrade(case: &mut Case, wire: &mut Wire, target: &str) -> Option<()> {
    let mut request = Vec::new();
    send_request(&mut request, "GET", target, &UPGRADE, b"");
    wire.send(case, "upgrade", &request)?;
    wire.answer().map(drop)
}

/// A message of a client.
fn message(case: &mut Case) -> String {
    let (rooms, data) = (case.text(&ROOMS, 8), case.text(&VALUES, 4));
    let ack = case.random.pick(&["", "", ",\"ack\":1", ",\"ack\":\"a\"", ",\"ack\":[]"]);
    let event = case.random.pick(&EVENTS);
    let mut text = match event {
        "join" | "leave" => {
            let sign = md5(&Subject::Connect { source: "demo", userid: "", room_ids: &rooms });
            format!("{{\"event\":\"{event}\",\"room_ids\":\"{rooms}\",\"sign\":\"{sign}\"{ack}}}")
        }
        "postMsg" => format!("{{\"event\":\"postMsg\",\"data\":{data},\"room_ids\":\"{rooms}\"{ack}}}"),
        "ack" => format!("{{\"event\":\"ack\",\"ack\":1,\"args\":[{data}]}}"),
        event if case.random.once_in(2) => format!("{{\"event\":\"{event}\",\"data\":{data}{ack}}}"),
        event => format!("{{\"event\":\"{event}\",\"args\":[{data},{data}]{ack}}}"),
    }
    .into_bytes();
    case.mutate(&mut text, b"{\"data\":\"x\",\"room_id\":[1,\"a\"]}", 4);
    String::from_utf8_lossy(&text).into_owned()
}

/// The frames of a message: whole or in fragments, with control frames between them, and now and then malformed.
pub fn frames(case: &mut Case, text: bool, payload: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let first = if text { 1 } else { 2 };
    let fragments = if case.random.once_in(4) { case.random.length(8) } else { 1 };
    let mut parts = payload.chunks(payload.len().div_ceil(fragments).max(1)).peekable();
    if parts.peek().is_none() {
        frame(case, 0x80 | first, &[], &mut bytes);
    }
    let mut opcode = first;
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { 0x80 } else { 0 };
        frame(case, last | opcode, part, &mut bytes);
        opcode = 0;
        if case.random.once_in(6) {
            control(case, &mut bytes);
        }
    }
    bytes
}

/// A ping, a pong or a close.
fn control(case: &mut Case, out: &mut Vec<u8>) {
    let opcode = if case.errs(20) { 0x88 } else { 0x89 + case.random.below(2) as u8 };
    let longest = if case.errs(40) { 126 } else { 125 };
    let payload = case.random.pick(&[&b""[..], b"ping", b"\x03\xe8", b"\x03\xe8bye", &[b'x'; 126][..longest]]);
    frame(case, opcode, payload, out);
}

/// A frame. Its length may be written in too many bytes or be wrong, and its mask may be missing.
fn frame(case: &mut Case, first: u8, payload: &[u8], out: &mut Vec<u8>) {
    let flags = if case.errs(400) { 0x40 } else { 0 };
    out.push(first | flags);
    let masked = if case.errs(400) { 0 } else { 0x80 };
    let announced = match case.errs(200) {
        true if case.random.once_in(4) => u64::MAX,
        true => payload.len() as u64 + 1 + case.random.below(2_000_000) as u64,
        false => payload.len() as u64,
    };
    match (announced, case.errs(20)) {
        (0..126, false) => out.push(masked | announced as u8),
        (0..65_536, false) => {
            out.push(masked | 126);
            out.extend_from_slice(&(announced as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&announced.to_be_bytes());
        }
    }
    let mask = [case.random.below(256) as u8, 0, 0x21, 0x3d];
    if masked != 0 {
        out.extend_from_slice(&mask);
    }
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
