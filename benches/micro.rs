//! Measures parts of relay without sockets: `cargo bench --bench micro`; `cargo bench --bench micro -- publish` runs those whose
//! name contains `publish`.
//!
//! Wall-clock time is noisy on a small machine. `tests/bench/instructions` counts the instructions of the whole daemon instead.
#![allow(missing_docs)]

use core::ops::ControlFlow;
use std::io;

use divan::{Bencher, black_box, counter::ItemsCount};
use relay::{
    api::{self, Context, Outcome, Site, guesses::Guesses},
    clock::Now,
    config::{Config, DEMO_KEYS},
    engineio::{Revision, packet::Packet, payload},
    frame::{Opcode, Turn},
    http::{Exchange, Request},
    hub::{Hub, login::Login},
    key::{ClientKey, ConnKey, Handle, Key},
    limits::Limits,
    message::{Author, Data, Form, Message, MessageId},
    names::Rooms,
    outbox::Outbox,
    sign::{Policy, Scheme, Signature, Subject, to_hex},
    websocket::peer::Peer,
};

const SIZE: usize = 128;
const MEMBERS: usize = 10_000;
/// Calls per sample of a function that is too fast for the clock. Without it, divan derives the number from the first call,
/// which is slow because caches are cold.
const CALLS: u32 = 100;
const KEY: &[u8] = DEMO_KEYS[0].1.as_bytes();
const NOW: Now = Now { time: relay::clock::Time::START, unix: 1_795_000_000, micros: 0, utc_offset: 0 };

fn main() {
    divan::main();
}

fn text() -> String {
    "x".repeat(SIZE)
}

/// Encodes a message of 128 bytes in each form.
#[divan::bench(sample_size = CALLS, args = [Form::Json, Form::Text, Form::SocketIo3, Form::SocketIo4])]
fn encode(bencher: Bencher, form: Form) {
    let text = text();
    let id = MessageId::first(1_795_000_000_000_000, 7);
    let data = Data::Text(&text);
    let message =
        Message { source: "demo", room: "bench", data, id, filename: "", author: Author::Backend, namespace: "/" };
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        black_box(&message).encode(form, &mut out);
        out.len()
    });
}

/// Queues messages in 10,000 outboxes and writes each outbox with one call.
#[divan::bench(args = [1, 32])]
fn outboxes(bencher: Bencher, messages: usize) {
    let text = text();
    let mut outboxes: Vec<Outbox> = (0..MEMBERS).map(|_| Outbox::default()).collect();
    let (mut turn, mut scratch) = (Turn::new(), Vec::new());
    bencher.counter(ItemsCount::new(MEMBERS * messages)).bench_local(|| {
        let batch = turn.open();
        for _ in 0..messages {
            let run = turn.push(batch, Opcode::Text, |out| out.extend_from_slice(text.as_bytes()));
            for outbox in &mut outboxes {
                outbox.push(run, 1 << 20).unwrap();
            }
        }
        for outbox in &mut outboxes {
            outbox.write_to(&mut io::sink(), &turn, &mut scratch).unwrap();
        }
        turn.end();
    });
}

fn hub(members: usize) -> Hub {
    let mut hub = Hub::new(Config::demo().into(), MessageId::first(0, 0), [0; 32]);
    let sign = to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: "bench" }.md5(KEY));
    for number in 0..members {
        let login = Login {
            source: "demo",
            room_ids: "bench",
            signature: Signature::new(&sign, "", ""),
            jwt: "",
            userid: &number.to_string(),
            username: "",
            ext_info: "",
            watch_quit: false,
            presence: false,
            form: Form::Json,
            since: None,
            pid: "",
            offset: "",
            proxied: false,
            ip: None,
            referer: "",
            user_agent: "",
        };
        hub.admit("/", &login, "", conn(), NOW).expect("a valid login");
    }
    hub
}

fn conn() -> ConnKey {
    ConnKey::wrap(Key::from_bits(1 << 32).expect("the generation is one"))
}

/// Publishes to 10,000 members of a room: looks up the room, queues the message for each member, flushes.
#[divan::bench(args = [1, 32])]
fn publish(bencher: Bencher, messages: usize) {
    let text = text();
    let mut hub = hub(MEMBERS);
    let tenant = hub.state.tenant("demo").expect("the demo configuration has this source");
    let rooms = Rooms::parse("bench", 128, 0).expect("a room");
    let mut flushing: Vec<ClientKey> = Vec::new();
    bencher.counter(ItemsCount::new(MEMBERS * messages)).bench_local(|| {
        for _ in 0..messages {
            hub.publish(tenant, &rooms, Data::Text(&text), "");
        }
        hub.state.poll_dirty(usize::MAX, &mut flushing);
        for client in &flushing {
            hub.state.flush(*client, |_, outbox, turn, scratch| {
                outbox.write_to(&mut io::sink(), turn, scratch).unwrap();
            });
        }
        hub.state.end_flush();
    });
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Form,
    Json,
}

/// Handles a notification to an empty room, from the bytes of the request to the bytes of the response: HTTP, fields, signature.
#[divan::bench(sample_size = CALLS, args = [Body::Form, Body::Json])]
fn notify(bencher: Bencher, body: Body) {
    let text = text();
    let sign = to_hex(&Subject::Notify { source: "demo", room_id: "bench", data: text.as_bytes() }.md5(KEY));
    let (kind, body) = match body {
        Body::Form => {
            ("application/x-www-form-urlencoded", format!("source=demo&room_id=bench&data={text}&sign={sign}"))
        }
        Body::Json => (
            "application/json",
            format!("{{\"source\":\"demo\",\"room_id\":\"bench\",\"data\":\"{text}\",\"sign\":\"{sign}\"}}"),
        ),
    };
    let length = body.len();
    let head = format!("Host: relay\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    let bytes = format!("POST /api/notify HTTP/1.1\r\n{head}{body}").into_bytes();
    let (mut hub, limits) = (hub(0), Limits::default());
    let site = Site { admin_token: "t".into(), server_ip: String::new(), client_js: None };
    let mut guesses = Guesses::default();
    let mut exchange = Exchange::new(NOW, &limits);
    let mut written = Vec::new();
    bencher.bench_local(|| {
        let mut fresh = black_box(&bytes[..]);
        let request: Request<'_> =
            exchange.poll_request(&mut fresh, &limits, NOW).unwrap().expect("a complete request");
        let mut cx = Context {
            hub: &mut hub,
            site: &site,
            guesses: &mut guesses,
            conn: conn(),
            peer: None,
            proxied: false,
            metrics_only: false,
            now: NOW,
            connections: 1,
            tls_bytes: 0,
            max_connections: 1000,
            full: false,
            stopping: false,
        };
        let Outcome::Reply(reply) = api::route(&request, &mut cx) else { panic!("a reply") };
        exchange.reply(&reply, NOW);
        written.clear();
        exchange.write_to(&mut written, &limits, NOW).unwrap();
        hub.state.end_flush();
    });
    assert!(String::from_utf8_lossy(&written).contains("\"code\":1"));
}

/// Verifies the signature of a notification.
#[divan::bench(sample_size = CALLS, args = Scheme::ALL)]
fn verify(bencher: Bencher, scheme: Scheme) {
    let text = text();
    let subject = Subject::Notify { source: "demo", room_id: "bench", data: text.as_bytes() };
    let ts = NOW.unix.to_string();
    let hex = match scheme {
        Scheme::Md5 => to_hex(&subject.md5(KEY)),
        Scheme::HmacSha256 => to_hex(&subject.hmac(KEY, &ts)),
    };
    let policy = Policy { key: KEY, schemes: &Scheme::ALL, window: 300, unix: NOW.unix };
    let signature = Signature::new(&hex, scheme.name(), &ts);
    assert!(subject.verify(&signature, &policy).is_ok());
    bencher.bench_local(|| black_box(&subject).verify(black_box(&signature), &policy));
}

/// Decodes an Engine.IO payload: fifteen events and one binary packet, 128 bytes each.
#[divan::bench(sample_size = CALLS, args = ["revision 3, text", "revision 3, binary", "revision 4"])]
fn payload_decode(bencher: Bencher, encoding: &str) {
    let event = format!("2[\"postMsg\",\"{}\",\"bench\"]", text());
    let bytes = [7; SIZE];
    let mut packets = vec![Packet::Text(&event); 15];
    packets.push(Packet::Binary(bytes[..].into()));
    let (revision, bytes) = match encoding {
        "revision 3, text" => (Revision::V3, false),
        "revision 3, binary" => (Revision::V3, true),
        _ => (Revision::V4, false),
    };
    let (body, binary) = payload::encode(&packets, revision, bytes);
    bencher.counter(ItemsCount::new(packets.len())).bench_local(|| {
        let mut count = 0;
        payload::decode(black_box(&body), revision, binary, &mut |packet| {
            black_box(packet);
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(count, 16);
    });
}

/// Decodes the WebSocket messages of one read.
#[divan::bench(sample_size = CALLS, args = [1, 16], consts = [16, 128, 8000])]
fn websocket_decode<const SIZE: usize>(bencher: Bencher, messages: usize) {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81];
    match SIZE {
        0..126 => frame.push(0x80 | SIZE as u8),
        _ => {
            frame.push(0x80 | 126);
            frame.extend((SIZE as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend((0..SIZE).map(|at| b'x' ^ mask[at % 4]));
    let input = frame.repeat(messages);
    let mut peer = Peer::default();
    bencher.counter(ItemsCount::new(messages)).bench_local(|| {
        let mut reading = peer.handle_input(black_box(&input), 1_000_000);
        let mut count = 0;
        while let Some(event) = reading.poll_event() {
            black_box(event.unwrap());
            count += 1;
        }
        reading.finish(&mut peer);
        assert_eq!(count, messages);
    });
}
