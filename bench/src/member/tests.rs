use super::*;

fn session_of(kind: Kind, stage: Stage) -> Session {
    Session { kind, stage, sid: String::new(), ping_interval: u64::MAX, once: false }
}

/// Feeds the bytes to a session in two pieces, cut at every place.
fn every_cut(kind: Kind, stage: Stage, bytes: &[u8], expected: &[&str], sent: &[&str]) {
    let workload = Workload::new("0123abcd", "demo", "k", "h", 1, 32);
    for cut in 0..=bytes.len() {
        let (mut session, mut out, mut events) = (session_of(kind, stage), Vec::new(), Vec::new());
        let mut handle = |event: Event<'_>| {
            events.push(match event {
                Event::Message(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            });
        };
        let used = session.receive(&bytes[..cut], &workload, &mut out, &mut handle).unwrap();
        let rest = session.receive(&bytes[used..], &workload, &mut out, &mut handle).unwrap();
        assert_eq!((used + rest, events.as_slice()), (bytes.len(), strings(expected).as_slice()), "cut at {cut}");
        let text = String::from_utf8_lossy(&out).into_owned();
        let places: Vec<_> = sent.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{sent:?} in {text:?}");
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn upgraded(texts: &[&str]) -> Vec<u8> {
    let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    let mut bytes = head.into_bytes();
    for text in texts {
        bytes.extend_from_slice(&[0x81, text.len() as u8]);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn responses(bodies: &[&str]) -> Vec<u8> {
    let response = |body: &&str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    bodies.iter().map(response).collect::<String>().into_bytes()
}

#[test]
fn plain_websocket() {
    let mut bytes = upgraded(&["{\"event\":\"newMsg\"}", "{\"event\":\"ack\",\"ack\":1,\"code\":1}"]);
    bytes.extend_from_slice(b"\x89\x02hi");
    every_cut(Kind::Ws, Stage::Upgrading, &bytes, &["Joined", "{\"event\":\"newMsg\"}", "Acknowledged"], &["hi"]);
}

#[test]
fn socket_io() {
    let (v3, v4) = (Kind::SocketIo(Revision::V3), Kind::SocketIo(Revision::V4));
    let texts = ["0{\"sid\":\"s\"}", "40", "42[\"newMsg\",{}]", "6", "431[{\"code\":1}]"];
    let events = ["Joined", "42[\"newMsg\",{}]", "Acknowledged"];
    every_cut(v3, Stage::Upgrading, &upgraded(&[&texts[..], &["3"]].concat()), &events, &[]);
    every_cut(v4, Stage::Upgrading, &upgraded(&[&texts[..], &["2x"]].concat()), &events, &["40", "3x"]);
}

#[test]
fn polling() {
    let (v3, v4) = (Kind::Polling(Revision::V3), Kind::Polling(Revision::V4));
    let v3_bodies = ["12:0{\"sid\":\"s\"}2:40", "15:42[\"newMsg\",{}]", "1:3"];
    let poll = "GET /socket.io/?EIO=3&transport=polling&b64=1&sid=s ";
    every_cut(v3, Stage::Opening, &responses(&v3_bodies), &["Joined", "42[\"newMsg\",{}]"], &[poll]);
    let v4_bodies = ["0{\"sid\":\"s\"}", "ok", "40{}\x1e42[1]\x1e2\x1e42[2]"];
    let sent = ["POST /socket.io/?EIO=4&transport=polling&sid=s ", "\r\n\r\n40GET ", "\r\n\r\n3GET "];
    every_cut(v4, Stage::Opening, &responses(&v4_bodies), &["Joined", "42[1]", "42[2]"], &sent);
}

fn stream(blocks: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{blocks}").into_bytes()
}

#[test]
fn server_sent_events() {
    let bytes = stream("retry: 2734\nid: 1\n\n:\n\nid: 2\ndata: {\"id\":\"2\"}\n\nid: 2\n\n");
    every_cut(Kind::Sse, Stage::Upgrading, &bytes, &["Joined", "{\"id\":\"2\"}"], &[]);
}

#[test]
fn refusals_name_the_reason() {
    let workload = Workload::new("0123abcd", "demo", "k", "h", 1, 32);
    let refused = |kind, stage, bytes: &[u8]| {
        session_of(kind, stage).receive(bytes, &workload, &mut Vec::new(), &mut |_| {}).unwrap_err().to_string()
    };
    let unauthorized = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nwhy";
    assert_eq!(refused(Kind::Ws, Stage::Upgrading, unauthorized), "refused: HTTP/1.1 401 Unauthorized: why");
    assert_eq!(refused(Kind::Polling(Revision::V4), Stage::Opening, unauthorized), "refused: 401: why");
    let other = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: x\r\n\r\n";
    assert!(refused(Kind::Ws, Stage::Upgrading, other).contains("Accept"));
    for text in ["44{\"message\":\"no\"}", "42[\"sys_error\",\"no\"]", "41", "431[{\"code\":0}]", "x"] {
        let error = refused(Kind::SocketIo(Revision::V4), Stage::Upgrading, &upgraded(&[text]));
        assert!(error.contains(text), "{error}");
    }
    for (block, why) in [
        ("event: disconnect\ndata: {\"code\":1013}\n\n", "refused: event disconnect: {\"code\":1013}"),
        ("data: {}\n\n", "no id"),
        ("id: 1\ndata: {\"id\":\"2\"}\n\n", "differs"),
    ] {
        let error = refused(Kind::Sse, Stage::Upgrading, &stream(block));
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(refused(Kind::Sse, Stage::Upgrading, unauthorized), "refused: HTTP/1.1 401 Unauthorized: why");
    let other = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
    assert!(refused(Kind::Sse, Stage::Upgrading, other).contains("no event stream"));
    assert!(refused(Kind::Ws, Stage::Joined, b"\x88\x05\x03\xf1slo").contains("1009 slo"));
    assert!(refused(Kind::Ws, Stage::Joined, b"\x81\x15{\"event\":\"sys_error\"}").contains("sys_error"));
}

#[test]
fn names() {
    for (name, kind) in Kind::ALL {
        assert_eq!(kind.name(), name);
    }
}
