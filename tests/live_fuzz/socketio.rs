//! Socket.IO packets of both revisions, over a WebSocket.

use relay::sign::Subject;
use serde_json::json;

use crate::{
    run::Protocol,
    samples::{EVENTS, NAMESPACES, ROOMS, VALUES, login, md5},
    websocket::{frames, upgrade},
    wire::{Case, Wire},
};

pub const PROTOCOL: Protocol = Protocol {
    name: "socketio",
    config: NAMESPACES,
    reaches: &["logins", "client_messages", "posted", "delivered", "events", "emitted", "protocol_errors"],
    case,
};

fn case(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    let revision = case.random.pick(&["3", "4", "4", "3&b64=1"]);
    let target = format!("/socket.io/?EIO={revision}&transport=websocket&{}", login(case));
    upgrade(case, &mut wire, &target)?;
    converse(case, &mut wire, revision == "4")?;
    case.end(wire);
    Some(())
}

/// Sends packets on an open WebSocket.
pub fn converse(case: &mut Case, wire: &mut Wire, newer: bool) -> Option<()> {
    for number in 0..case.random.length(40) {
        let packets = match number {
            0 if newer => vec![Packet::Text("40".into()), Packet::Text("40/chat,{}".into())],
            0 => vec![Packet::Text("40/chat".into())],
            _ => packets(case, newer),
        };
        for packet in packets {
            let bytes = match packet {
                Packet::Text(text) => frames(case, true, text.into_bytes()),
                // Revision 3 has a byte with the type before the bytes.
                Packet::Binary(bytes) if newer => frames(case, false, bytes),
                Packet::Binary(bytes) => frames(case, false, [&[4][..], &bytes].concat()),
            };
            wire.send(case, "packet", &bytes)?;
        }
        if case.random.once_in(3) {
            wire.skim()?;
        }
    }
    Some(())
}

/// An Engine.IO packet of a client.
pub enum Packet {
    Text(String),
    Binary(Vec<u8>),
}

/// A Socket.IO packet, with its attachments.
pub fn packets(case: &mut Case, newer: bool) -> Vec<Packet> {
    let nsp = case.random.pick(&["", "", "", "/chat,", "/chat,", "/web,", "/none,"]);
    let id = case.random.pick(&["", "", "1", "77", "12345678901234567890"]);
    let (event, data, rooms) = (case.random.pick(&EVENTS), case.text(&VALUES, 16), case.text(&ROOMS, 16));
    let list = match event {
        "postMsg" => format!("[\"postMsg\",{data},\"{rooms}\"]"),
        "join" | "leave" => {
            let sign = md5(&Subject::Connect { source: "demo", userid: "", room_ids: &rooms });
            json!([event, rooms, sign]).to_string()
        }
        event => format!("[\"{event}\",{data}]"),
    };
    let text = match case.random.below(24) {
        // A second CONNECT to a namespace, like most of the next line, ends the connection.
        0 if case.errs(4) => format!("40{nsp}"),
        1 if case.errs(4) => case.random.pick(&["2probe", "3probe", "5", "6", "1", "0", "4", ""]).to_owned(),
        2 => format!("40/web,{{\"userid\":\"7\",\"x\":{data}}}"),
        3 => format!("41{nsp}"),
        4 => format!("43{nsp}7[{data}]"),
        5 => (if newer { "3" } else { "2probe" }).to_owned(),
        6..10 => return with_attachments(case, nsp, id),
        _ => format!("42{nsp}{id}{list}"),
    };
    let mut bytes = text.into_bytes();
    case.mutate(&mut bytes, b"451-[\"postMsg\",{\"_placeholder\":true,\"num\":0},\"a\"]", 16);
    vec![Packet::Text(String::from_utf8_lossy(&bytes).into_owned())]
}

/// A binary event or acknowledgement. There may be another number of attachments than it announces.
fn with_attachments(case: &mut Case, nsp: &str, id: &str) -> Vec<Packet> {
    let count = if case.errs(16) { case.random.length(110) } else { 1 + case.random.below(3) };
    let places: Vec<_> = (0..count).map(|number| format!("{{\"_placeholder\":true,\"num\":{number}}}")).collect();
    let kind = case.random.pick(if id.is_empty() { &["5"] } else { &["5", "6"] });
    let mut text = format!("4{kind}{count}-{nsp}{id}[\"postMsg\",[{}],\"a\"]", places.join(",")).into_bytes();
    case.mutate(&mut text, b"42[\"say\",{\"_placeholder\":true,\"num\":99}]", 16);
    let mut packets = vec![Packet::Text(String::from_utf8_lossy(&text).into_owned())];
    let sent = if case.errs(20) { case.random.below(count + 2) } else { count };
    for _ in 0..sent {
        packets.push(Packet::Binary(vec![case.random.below(256) as u8; case.random.length(20_000)]));
    }
    packets
}
