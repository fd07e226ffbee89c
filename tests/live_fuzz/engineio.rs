//! Engine.IO over polling, in both revisions and encodings, and upgrades to a WebSocket at any moment.

use crate::{
    run::Protocol,
    samples::{NAMESPACES, login},
    socketio::{Packet, converse, packets},
    support::send_request,
    websocket::{frames, upgrade},
    wire::{Case, Wire},
};

pub const PROTOCOL: Protocol = Protocol {
    name: "polling",
    config: NAMESPACES,
    reaches: &["requests", "logins", "client_messages", "posted", "delivered", "events", "emitted", "ping_timeouts"],
    case,
};

/// What the query names, and how payloads are encoded then.
#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Newer,
    Text,
    Binary,
}

fn case(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    let (query, encoding) = match case.random.below(4) {
        0 => ("EIO=3&b64=1", Encoding::Text),
        1 => ("EIO=3", Encoding::Binary),
        _ => ("EIO=4", Encoding::Newer),
    };
    let target = format!("/socket.io/?{query}&transport=polling&{}", login(case));
    request(case, &mut wire, "GET", &target, b"")?;
    let answer = wire.answer()?;
    let sid = answer.split_once("\"sid\":\"").map_or("none", |(_, rest)| rest.split('"').next().unwrap_or_default());
    let target = format!("/socket.io/?{query}&transport=polling&sid={sid}");
    // Some poll on a connection of their own, as browsers do; the answer may never be read.
    let mut poll = case.connect()?;
    for number in 0..case.random.length(16) {
        match case.random.below(8) {
            0 => request(case, &mut poll, "GET", &target, b"")?,
            1 => request(case, &mut wire, "GET", &target, b"")?,
            2 if number > 2 => {
                // What the session then gets is read, or is not.
                probe(case, encoding, &target)?;
                continue;
            }
            _ => {
                let body = payload(case, encoding, number == 0);
                request(case, &mut wire, "POST", &target, &body)?;
            }
        }
        if case.random.once_in(2) {
            wire.answer()?;
        }
    }
    case.end(poll);
    case.end(wire);
    Some(())
}

fn request(case: &mut Case, wire: &mut Wire, method: &str, target: &str, body: &[u8]) -> Option<()> {
    let mut bytes = Vec::new();
    let media = case.random.pick(&["text/plain;charset=UTF-8", "application/octet-stream"]);
    let headers: &[_] = if method == "POST" { &[("Content-Type", media)] } else { &[] };
    send_request(&mut bytes, method, target, headers, body);
    wire.send(case, "request", &bytes)
}

/// The body of a POST: packets, perhaps mutated one by one or as a body.
fn payload(case: &mut Case, encoding: Encoding, first: bool) -> Vec<u8> {
    let mut all = Vec::new();
    if first && encoding == Encoding::Newer {
        all.extend(["40", "40/chat,{}"].map(|text| Packet::Text(text.into())));
    }
    for _ in 0..case.random.length(8) {
        all.extend(packets(case, encoding == Encoding::Newer));
    }
    let mut body = Vec::new();
    for (number, packet) in all.iter().enumerate() {
        if number > 0 && encoding == Encoding::Newer {
            body.push(0x1e);
        }
        encode(packet, encoding, &mut body);
    }
    case.mutate(&mut body, b"4:40/a6:42[\"a\"]", 6);
    body
}

fn encode(packet: &Packet, encoding: Encoding, out: &mut Vec<u8>) {
    let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let (text, bytes) = match (packet, encoding) {
        (Packet::Text(text), _) => (text.clone(), None),
        (Packet::Binary(bytes), Encoding::Newer) => (format!("b{}", base64(bytes)), None),
        (Packet::Binary(bytes), Encoding::Text) => (format!("b4{}", base64(bytes)), None),
        (Packet::Binary(bytes), Encoding::Binary) => (String::new(), Some([&[4][..], bytes].concat())),
    };
    match encoding {
        Encoding::Newer => out.extend_from_slice(text.as_bytes()),
        Encoding::Text => out.extend_from_slice(format!("{}:{text}", text.encode_utf16().count()).as_bytes()),
        Encoding::Binary => {
            let content = bytes.as_deref().unwrap_or(text.as_bytes());
            out.push(bytes.is_some().into());
            out.extend(content.len().to_string().bytes().map(|digit| digit - b'0'));
            out.push(0xff);
            out.extend_from_slice(content);
        }
    }
}

/// Opens a WebSocket for the session: probes, upgrades, or does something else in place of either.
fn probe(case: &mut Case, encoding: Encoding, target: &str) -> Option<()> {
    let mut wire = case.connect()?;
    upgrade(case, &mut wire, &target.replace("transport=polling", "transport=websocket"))?;
    for expected in ["2probe", "5"] {
        let text = match case.random.below(8) {
            0 => case.random.pick(&["2", "5", "3probe", "42[\"say\",1]", "1", ""]),
            _ => expected,
        };
        let bytes = frames(case, true, text.into());
        wire.send(case, "probe", &bytes)?;
        if !case.random.once_in(4) {
            wire.skim()?;
        }
    }
    if case.random.once_in(2) {
        converse(case, &mut wire, encoding == Encoding::Newer)?;
    }
    case.end(wire);
    Some(())
}
