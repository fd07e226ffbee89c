//! Entry points for fuzzers: one function for each parser of untrusted input. Each asserts properties that hold for all
//! input. [`memory`] has those about memory.
//!
//! Only with the feature `fuzzing`. `tests/fuzz.rs` runs the functions on seeded mutations of valid input, and `fuzz/` has a
//! cargo-fuzz target for each.

pub mod memory;

use core::ops::ControlFlow;
use std::{collections::BTreeSet, io::ErrorKind};

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
    http::{
        Exchange, Fields, Head, Reply,
        chunked::{Chunked, Decoded},
        forwarded::{forwarded, forwarded_for},
        multipart, proxy, response,
    },
    hub::{Hub, login::Login},
    key::{ClientKey, ConnKey, Handle, Key},
    limits::Limits,
    message::{Form, MessageId},
    names::{Rooms, is_token},
    redis,
    sign::{Signature, Subject, to_hex},
    socketio::{self, placeholder},
    websocket::{handshake, peer::Peer},
};

/// Takes any bytes, and panics if an assertion fails.
pub type Target = fn(&[u8]);

/// Every target, with its name.
pub const TARGETS: [(&str, Target); 15] = [
    ("config", config_file),
    ("http", http_exchange),
    ("chunked", chunked_body),
    ("multipart", multipart_form),
    ("forwarded", forwarded_list),
    ("proxy", proxy_header),
    ("response", hook_response),
    ("handshake", websocket_handshake),
    ("websocket", websocket_peer),
    ("event", client_event),
    ("payload", engineio_payload),
    ("packet", socketio_packet),
    ("socketio", socketio_client),
    ("resp", redis_reply),
    ("published", redis_message),
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

/// Requests do not depend on where their bytes are cut. Only a malformed request may be detected later if it arrives in pieces.
/// The first byte is the position of the cut.
pub fn http_exchange(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let cut = (*cut as usize).min(bytes.len());
    let (one, other) = bytes.split_at(cut);
    let (whole, refused) = serve_requests(&[bytes]);
    let (pieces, refused_pieces) = serve_requests(&[one, other]);
    assert_eq!(whole, pieces);
    assert!(refused || !refused_pieces);
}

/// Refuses every request with 404. Returns the requests, and whether the connection is closing.
fn serve_requests(pieces: &[&[u8]]) -> (Vec<(String, Vec<u8>)>, bool) {
    let limits = Limits { request_head: 512, request_headers: 8, body: 256, ..Limits::default() };
    let mut exchange = Exchange::new(Now::default(), &limits);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut fresh = *piece;
        loop {
            match exchange.poll_request(&mut fresh, &limits, Now::default()) {
                Ok(Some(request)) => {
                    let line = format!("{} {} {}", request.head.method, request.head.path(), request.head.query);
                    let _ = Fields::parse(request.body).get("data");
                    seen.push((line, request.body.to_vec()));
                    exchange.reply(&Reply::refusal(404, "fuzz"), Now::default());
                }
                Ok(None) => break,
                Err(error) => {
                    exchange.refuse(&Reply::from(error), Now::default());
                    break;
                }
            }
        }
    }
    (seen, exchange.is_closing())
}

/// A chunked body does not depend on where its bytes are cut, and never exceeds the limit.
pub fn chunked_body(bytes: &[u8]) {
    let decode = |step: usize| {
        let mut chunked = Chunked::default();
        let (mut begin, mut end) = (0, 0);
        loop {
            end = (end + step).min(bytes.len());
            match chunked.handle_input(&bytes[begin..end], 100) {
                Ok(Decoded { complete: true, .. }) => return Ok(Some(chunked.body().to_vec())),
                Ok(_) if end == bytes.len() => return Ok(None),
                Ok(Decoded { taken, .. }) => begin += taken,
                Err(_) => return Err(()),
            }
        }
    };
    let whole = decode(bytes.len().max(1));
    assert_eq!(whole, decode(1));
    assert!(whole.ok().flatten().is_none_or(|body| body.len() <= 100));
}

/// A form in the encoding `multipart/form-data` is not larger than its body, is refused if its end is missing, and survives
/// encoding and decoding.
pub fn multipart_form(bytes: &[u8]) {
    let Ok(fields) = multipart::parse("b", bytes) else { return };
    let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    // U+FFFD is longer than the byte that it stands for.
    assert!(fields.iter().count() <= multipart::MAX_PARTS && size <= 3 * bytes.len());
    let end = bytes.trim_ascii_end().len();
    assert!(multipart::parse("b", &bytes[..end - 1]).is_err(), "the end is missing");
    let mut again = String::new();
    for (name, value) in fields.iter() {
        let name = name.replace('\\', "\\\\").replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        again += &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let (again, limit) = (again + "--b--", multipart::MAX_HEADERS / 8);
    if fields.iter().all(|(name, _)| name.len() < limit && !name.contains('\0')) {
        let decoded = multipart::parse("b", again.as_bytes()).expect("decodes what it encoded");
        assert!(decoded.iter().eq(fields.iter()));
    }
}

/// Whatever a client has written into `Forwarded` or `X-Forwarded-For`, the element that a proxy appends is the last one.
pub fn forwarded_list(bytes: &[u8]) {
    let Ok(list) = core::str::from_utf8(bytes) else { return };
    let ip = "2001:db8::1".parse().ok();
    let (mut one, mut other) = (format!("{list}, for=\"[2001:db8::1]:80\""), format!("{list},[2001:db8::1]:80"));
    for _ in 0..2 {
        assert_eq!((forwarded(&one).next(), forwarded_for(&other).next()), (Some(ip), Some(ip)));
        // A further line of the header, which a proxy did not write to.
        (one, other) = (format!("{list},{one}"), format!("{list},{other}"));
    }
    assert!(forwarded(list).count() <= list.len() + 1 && forwarded_for(list).count() <= list.len() + 1);
}

/// A header of the PROXY protocol does not depend on what follows, and is incomplete at every cut.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(Some(header)) = proxy::parse(bytes) else { return };
    assert!((8..=proxy::MAX_V2).contains(&header.length));
    assert_eq!(proxy::parse(&bytes[..header.length]), Ok(Some(header)));
    assert!((0..header.length).all(|cut| proxy::parse(&bytes[..cut]) == Ok(None)));
}

/// The answer to a hook does not depend on where its bytes are cut, and its body never exceeds the limit.
pub fn hook_response(bytes: &[u8]) {
    let read = |step: usize| {
        let mut reader = response::Reader::default();
        for piece in bytes.chunks(step) {
            match reader.handle_input(piece, 100) {
                Ok(None) => {}
                // Bytes after it are known only if they have arrived.
                Ok(Some(found)) => return Ok((found.status, found.body)),
                Err(_) => return Err(()),
            }
        }
        reader.handle_end().map(|found| (found.status, found.body)).map_err(|_| ())
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(1));
    assert_eq!(whole, read(7));
    assert!(whole.is_err() || whole.is_ok_and(|(_, body)| body.len() <= 100));
}

/// A handshake is refused, or answered with two lines and at most one subprotocol, a token that the client offered. Headers are
/// the lines of the input.
pub fn websocket_handshake(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let mut request = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n".to_vec();
    lines.iter().for_each(|line| request.extend([line, &b"\r\n"[..]].concat()));
    request.extend(b"\r\n");
    let Ok(Some((head, _))) = Head::parse(&request, &Limits::default()) else { return };
    for protocols in [BTreeSet::new(), BTreeSet::from(["chat".to_owned()])] {
        let Ok(reply) = handshake::accept(&head, &protocols) else { return };
        let reply = String::from_utf8(reply).expect("a reply is ASCII");
        let (lines, rest) = reply.split_once("\r\n\r\n").expect("a reply ends");
        let mut lines = lines.split("\r\n").skip(4);
        let chosen = lines.next().map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ").expect("a subprotocol"));
        assert!(rest.is_empty() && lines.next().is_none(), "{reply:?}");
        let offered = |protocol: &str| head.sec_websocket_protocol.split(',').any(|item| item.trim() == protocol);
        assert!(chosen.is_none_or(|protocol| is_token(protocol) && offered(protocol)), "{reply:?}");
        assert!(chosen.is_none_or(|protocol| protocols.is_empty() || protocols.contains(protocol)), "{reply:?}");
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
                let over = event.is_err() || event == Ok(crate::websocket::peer::Event::Closed);
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
        userid: "",
        username: "",
        ext_info: "",
        watch_quit: true,
        form: Form::Json,
        ip: None,
        referer: "",
        user_agent: "",
    };
    let conn = ConnKey::wrap(Key::from_bits(1 << 32).expect("the generation is one"));
    let (client, _) = hub.admit("/", &login, "", conn, Now::default()).expect("a valid login");
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
    let opening =
        Opening { revision, base64: choice & 4 == 0, bodies, query: &query, ip: None, referer: "", user_agent: "" };
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
