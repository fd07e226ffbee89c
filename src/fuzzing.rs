//! Entry points for fuzzers: one function for each parser of untrusted input. Each asserts properties that hold for all
//! input. [`http`] has the targets of HTTP, `tls` those of TLS, and [`memory`] those about memory. [`invariants`] is for
//! the simulation.
//!
//! Only with the feature `fuzzing`. `tests/fuzz.rs` runs the functions on seeded mutations of valid input, and `fuzz/` has a
//! cargo-fuzz target for each.

pub mod http;
pub mod invariants;
pub mod memory;
#[cfg(feature = "tls")]
pub mod tls;
pub mod tokens;

use core::ops::ControlFlow;
use std::io::ErrorKind;

use serde_json::value::RawValue;

use crate::{
    clock::Now,
    cluster::Channel,
    config::{self, Auth, Namespace, Redis, RedisUrl},
    engineio::{
        self, Revision, latin1,
        payload::{self, Bodies},
    },
    events::{
        self, Incoming,
        socketio::{Opening, handle_packet, open, post_packets},
    },
    hub::{
        Hub,
        login::{Admitted, Login},
    },
    key::{ClientKey, ConnKey, Handle, Key},
    message::{Form, MessageId},
    names::Rooms,
    redis,
    sign::{Signature, Subject, to_hex},
    socketio::{self, placeholder},
    websocket::peer::Peer,
};

/// Takes any bytes, and panics if an assertion fails.
pub type Target = fn(&[u8]);

/// Every target, with its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config_file),
    ("http", http::http_exchange),
    ("chunked", http::chunked_body),
    ("multipart", http::multipart_form),
    ("forwarded", http::forwarded_list),
    ("proxy", http::proxy_header),
    ("response", http::hook_response),
    ("handshake", http::websocket_handshake),
    ("websocket", websocket_peer),
    ("event", client_event),
    ("payload", engineio_payload),
    ("packet", socketio_packet),
    ("socketio", socketio_client),
    ("resp", redis_reply),
    ("published", redis_message),
    ("token", tokens::login_token),
    #[cfg(feature = "tls")]
    ("tls_handshake", tls::tls_handshake),
    #[cfg(feature = "tls")]
    ("tls_records", tls::tls_records),
];

/// A configuration is accepted, or every problem has a position within the text.
pub fn config_file(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Err(problems) = config::parse(text, &mut |_| Err(ErrorKind::NotFound.into())) {
        assert!(!problems.is_empty());
        let lines = text.lines().count() + 1;
        assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line) && problem.column >= 1));
    }
}

/// Messages, and the answers between them, do not depend on where the bytes are cut.
pub fn websocket_peer(bytes: &[u8]) {
    let receive = |step: usize| {
        // Each event with what was sent before it.
        let (mut peer, mut events, mut sent) = (Peer::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            let mut reading = peer.handle_input(piece, 200);
            while let Some(event) = reading.poll_event() {
                let over = event.is_err() || matches!(event, Ok(crate::websocket::peer::Event::Closed(_)));
                sent.extend(reading.poll_transmit().unwrap_or_default());
                events.push((core::mem::take(&mut sent), Some(event)));
                if over {
                    return events;
                }
            }
            sent.extend(reading.poll_transmit().unwrap_or_default());
            reading.finish(&mut peer);
        }
        events.push((sent, None));
        events
    };
    let whole = receive(bytes.len().max(1));
    assert_eq!(whole, receive(1));
    assert_eq!(whole, receive(7));
}

/// No event of a plain WebSocket client makes the hub panic or lose track of its sessions and rooms.
pub fn client_event(bytes: &[u8]) {
    let mut config = config::Config::demo();
    config.limits.message_rate = 0;
    let mut hub = Hub::new(config.into(), MessageId::first(0, 0), [0; 32]);
    let subject = Subject::Connect { source: "demo", userid: "", room_ids: "a,b" };
    let sign = to_hex(&subject.md5(config::DEMO_KEYS[0].1.as_bytes()));
    let login = Login {
        source: "demo",
        room_ids: "a,b",
        signature: Signature::new(&sign, "", ""),
        jwt: "",
        userid: "",
        username: "",
        ext_info: "",
        watch_quit: true,
        presence: true,
        form: Form::Json,
        since: None,
        pid: "",
        offset: "",
        proxied: false,
        ip: None,
        referer: "",
        user_agent: "",
    };
    let conn = ConnKey::wrap(Key::from_bits(1 << 32).expect("the generation is one"));
    let Admitted { client, .. } = hub.admit("/", &login, "", conn, Now::default()).expect("a valid login");
    match core::str::from_utf8(bytes) {
        Ok(text) => events::handle_message(&mut hub, client, Incoming::Text(text), Now::default()),
        Err(_) => events::handle_message(&mut hub, client, Incoming::Binary(bytes), Now::default()),
    }
    let list = String::from_utf8_lossy(bytes);
    let _ = Rooms::parse(&list, 16, 4);
    let mut written = Vec::new();
    hub.state.poll_dirty(usize::MAX, &mut Vec::new());
    hub.state.flush(client, |_, outbox, turn, scratch| {
        outbox.write_to(&mut written, turn, scratch).expect("a buffer accepts everything");
    });
    hub.state.end_flush();
    assert_eq!(hub.state.session_count(), 1);
    hub.remove(client, true);
    assert_eq!((hub.state.session_count(), hub.state.room_count()), (0, 0));
}

/// Discards the output of a client.
fn discard_output(hub: &mut Hub, client: ClientKey) {
    hub.state.flush(client, |_, outbox, turn, scratch| {
        outbox.write_to(&mut std::io::sink(), turn, scratch).expect("a sink accepts everything");
    });
}

/// The packets of an Engine.IO payload survive encoding and decoding. The first byte selects the encoding.
pub fn engineio_payload(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let (revision, binary) =
        [(Revision::V4, false), (Revision::V3, false), (Revision::V3, true)][usize::from(choice % 3)];
    let decode = |body: &[u8], binary: bool, packets: &mut Vec<Vec<u8>>| {
        payload::decode(body, revision, binary, &mut |packet| {
            packets.push(payload::encode(&[packet], Revision::V4, true).0);
            ControlFlow::Continue(())
        })
    };
    // Text that an old client encoded twice is read as the same packets; and ASCII keeps the value of JSON.
    if let Ok(text) = core::str::from_utf8(body) {
        let twice: String = body.iter().copied().map(char::from).collect();
        assert_eq!(latin1::decoded_twice(&twice).as_deref(), (!text.is_ascii()).then_some(text));
        let _ = payload::decode_twice(text, &mut |_| ControlFlow::Continue(()));
        let message = latin1::to_ascii([b"42", body].concat());
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
            assert!(message.is_ascii() && serde_json::from_slice::<serde_json::Value>(&message[2..]).unwrap() == value);
        }
    }
    let mut packets = Vec::new();
    let _ = decode(body, binary, &mut packets);
    // `decode` stores each packet as a revision 4 payload of its own, which can hold any packet.
    for one in &packets {
        let mut again = None;
        let decoded = payload::decode(one, Revision::V4, false, &mut |packet| {
            let (body, bytes) = payload::encode(&[packet], revision, binary);
            let mut packets = Vec::new();
            decode(&body, bytes, &mut packets).expect("decodes what it encoded");
            again = Some(packets);
            ControlFlow::Continue(())
        });
        // A text that contains the separator is one packet in revision 3 but several in revision 4.
        if !one.contains(&0x1e) {
            decoded.expect("decodes what it encoded");
            assert_eq!(again.as_deref(), Some(core::slice::from_ref(one)));
        }
    }
}

/// A Socket.IO packet survives encoding and decoding, and its placeholders are JSON values within its data.
pub fn socketio_packet(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(packet) = socketio::Packet::parse(text) else { return };
    let mut out = Vec::new();
    socketio::packet::head(&mut out, packet.kind.with(1), packet.attachments, packet.namespace, packet.id);
    out.extend_from_slice(packet.data.as_bytes());
    if packet.query.is_empty() {
        let again = String::from_utf8(out).expect("valid UTF-8");
        let again = socketio::Packet::parse(&again).expect("decodes what it encoded");
        assert_eq!((again.id, again.data, again.namespace), (packet.id, packet.data, packet.namespace));
    }
    if let Some(event) = packet.event() {
        let list = event.list();
        assert_eq!(serde_json::from_str::<Vec<&RawValue>>(&list).expect("a JSON array").len(), event.args.len());
    }
    let places = placeholder::find(packet.data);
    assert!(places.iter().all(|(place, _)| serde_json::from_str::<&RawValue>(&packet.data[place.clone()]).is_ok()));
    let mut replaced = Vec::new();
    placeholder::replace(packet.data, &mut replaced, |number, out| {
        out.extend_from_slice(number.to_string().as_bytes())
    });
    if !packet.data.is_empty() {
        serde_json::from_slice::<&RawValue>(&replaced).expect("valid JSON after the replacement");
    }
}

/// Redis replies, and the answers of a Sentinel, do not depend on where their bytes are cut, and no string exceeds the limit.
pub fn redis_reply(bytes: &[u8]) {
    let read = |step: usize| {
        let (mut reader, mut replies) = (redis::Reader::new(20), Vec::new());
        for mut piece in bytes.chunks(step) {
            loop {
                match reader.poll(&mut piece) {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(malformed) => return (replies, Some(malformed)),
                }
            }
        }
        (replies, None)
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(1));
    assert_eq!(whole, read(5));
    let Some(config::Servers::Sentinels(sentinels)) =
        RedisUrl::parse("redis+sentinel://a/main").ok().map(|url| url.servers)
    else {
        return;
    };
    let ask = |step: usize| {
        let mut query = redis::SentinelQuery::new(&sentinels);
        bytes.chunks(step).map(|piece| query.handle_input(piece)).find(|found| *found != Ok(None))
    };
    assert_eq!(ask(bytes.len().max(1)), ask(1));
    let short = |reply: &redis::Reply| !matches!(reply, redis::Reply::Bulk(bytes) if bytes.len() > 20);
    assert!(whole.0.iter().all(short));
}

/// No message from Redis makes the hub panic or lose a session. The first byte selects the channel.
pub fn redis_message(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let mut config = config::Config::demo();
    config.limits.message_rate = 0;
    let mut hub = Hub::new(config.into(), MessageId::first(0, 0), [0; 32]);
    hub.cluster.introduce("aaaaaa".into(), "192.0.2.7");
    let redis =
        Redis { url: RedisUrl::parse("redis://127.0.0.1").ok(), trust_from_sys: choice & 2 == 0, ..Redis::default() };
    events::cluster::configure(&mut hub, &redis, 1_000_000);
    let now = Now::default();
    let query = "";
    let opening = Opening {
        revision: Revision::V4,
        base64: false,
        bodies: Bodies::Any,
        query,
        proxied: false,
        ip: None,
        referer: "",
        user_agent: "",
    };
    let conn = ConnKey::wrap(Key::from_bits(1 << 32).expect("the generation is one"));
    let client = open(&mut hub, &opening, Some(conn), now);
    handle_packet(&mut hub, client, &engineio::Packet::Text("0/web,"), now).expect("a valid CONNECT");
    assert_eq!(hub.state.session_count(), 1);
    let channel = if choice & 1 == 0 { Channel::Commands } else { Channel::Messages };
    events::cluster::handle_publication(&mut hub, &channel, bytes, now);
    for out in hub.cluster.take_publications() {
        serde_json::from_slice::<&RawValue>(&out.payload).expect("published messages are JSON");
    }
    hub.state.poll_dirty(usize::MAX, &mut Vec::new());
    discard_output(&mut hub, client);
    hub.state.end_flush();
    hub.remove(client, true);
    assert_eq!((hub.state.session_count(), hub.state.room_count()), (0, 0));
}

/// Nothing that a Socket.IO client sends makes the hub panic or lose track of its sessions and rooms. The first byte selects
/// revision and transport. For a WebSocket each line is a message; one that is not UTF-8 is binary, without a leading byte 255.
pub fn socketio_client(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let revision = if choice & 1 == 0 { Revision::V3 } else { Revision::V4 };
    let websocket = choice & 2 == 0;
    let mut config = config::Config::demo();
    config.limits.message_rate = 0;
    config.namespaces.insert("/x".into(), Namespace { auth: Auth::Open, join: true, ..Namespace::default() });
    let mut hub = Hub::new(config.into(), MessageId::first(0, 0), [0; 32]);
    let sign =
        to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: "a" }.md5(config::DEMO_KEYS[0].1.as_bytes()));
    let query = format!("source=demo&room_ids=a&watch_quit=1&sign={sign}");
    let bodies = [Bodies::Text, Bodies::Any, Bodies::Bytes][usize::from(choice >> 2) % 3];
    let opening = Opening {
        revision,
        base64: choice & 4 == 0,
        bodies,
        query: &query,
        proxied: false,
        ip: None,
        referer: "",
        user_agent: "",
    };
    let conn = ConnKey::wrap(Key::from_bits(1 << 32).expect("the generation is one"));
    let now = Now::default();
    let client = open(&mut hub, &opening, websocket.then_some(conn), now);
    if revision == Revision::V4 {
        handle_packet(&mut hub, client, &engineio::Packet::Text("0"), now).expect("a valid CONNECT");
    }
    if websocket {
        for message in bytes.split(|byte| *byte == b'\n') {
            match (message, core::str::from_utf8(message)) {
                (_, Ok(text)) => events::handle_message(&mut hub, client, Incoming::Text(text), now),
                ([255, bytes @ ..] | bytes, Err(_)) => {
                    events::handle_message(&mut hub, client, Incoming::Binary(bytes), now)
                }
            }
        }
    } else {
        let _ = hub.state.poll(client, conn);
        let _ = post_packets(&mut hub, client, bytes, choice & 8 == 0, now);
    }
    hub.state.poll_dirty(usize::MAX, &mut Vec::new());
    if websocket {
        discard_output(&mut hub, client);
    } else {
        while hub.state.compose(client).is_some() {}
    }
    hub.state.keep(client);
    hub.state.end_flush();
    hub.remove(client, true);
    assert_eq!((hub.state.session_count(), hub.state.room_count()), (0, 0));
}
