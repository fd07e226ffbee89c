//! docs/protocol.md, Server-Sent Events: logins, blocks, keep-alives, and every way to end or to be refused.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use relay::sign::{Subject, to_hex};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{
    self, Answer, FORM, KEY, PATIENCE, Relay, TOKEN, form, login, preload, read_answer, send_request, temp_file,
    wait_for,
};

const EVENTS: &str = "text/event-stream";

/// A client of `/sse`.
struct Stream<S = TcpStream> {
    head: Answer,
    body: BufReader<S>,
}

/// A block of a stream that caused an event, as an EventSource would report it.
#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    name: String,
    data: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Stream {
    fn open(relay: &Relay, fields: &[(&str, &str)]) -> Stream {
        Stream::on(relay.tcp(), fields)
    }
}

impl<S: Read + Write> Stream<S> {
    /// Logs in; reads the head of the response, and the blocks that open a stream of events.
    fn on(socket: S, fields: &[(&str, &str)]) -> Stream<S> {
        let mut stream = Stream::request(socket, &format!("/sse?{}", login(fields)), &[]);
        assert_eq!(stream.head.status, 200, "{:?}", stream.head);
        if stream.head.header("content-type") == EVENTS {
            stream.opening();
        }
        stream
    }

    fn request(mut socket: S, target: &str, headers: &[(&str, &str)]) -> Stream<S> {
        send_request(&mut socket, "GET", target, headers, b"");
        let head = read_answer(&mut socket, false);
        Stream { head, body: BufReader::new(socket) }
    }

    /// The lines of the next block.
    fn block(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("the end within {lines:?}"));
            if line.is_empty() {
                return lines;
            }
            lines.push(line);
        }
    }

    /// The next line, or `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            match self.body.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => return Some(line.strip_suffix('\n').expect("a whole line").to_owned()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error} after {line:?}"),
            }
        }
    }

    /// The id in the block that opens a stream.
    fn opening(&mut self) -> String {
        let block = self.block();
        let [retry, id] = &block[..] else { panic!("{block:?}") };
        let wait: u64 = retry.strip_prefix("retry: ").unwrap().parse().unwrap();
        assert!((2000..=3000).contains(&wait), "{wait}");
        id.strip_prefix("id: ").unwrap().to_owned()
    }

    /// The next event; comments are skipped.
    fn event(&mut self) -> Event {
        let block = loop {
            let block = self.block();
            if block != [":"] {
                break block;
            }
        };
        let (mut id, mut name, mut data) = (String::new(), String::from("message"), Vec::new());
        for line in &block {
            match line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in {block:?}")) {
                ("id", value) => id = value.to_owned(),
                ("event", value) => name = value.to_owned(),
                ("data", value) => data.push(value),
                other => panic!("{other:?} in {block:?}"),
            }
        }
        Event { id, name, data: data.join("\n") }
    }

    /// Whatever comes until the end.
    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).expect("the connection ends, and is not reset");
        text
    }
}

fn sessions(relay: &Relay, count: u64) {
    wait_for("sessions", || (relay.stat("/sessions") == count).then_some(()));
}

/// A connection whose kernel takes little for it.
fn small_tcp(relay: &Relay) -> TcpStream {
    let socket = Socket::new(Domain::for_address(relay.addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&relay.addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The wait in the answer to an EventSource that shall come back.
fn retry(answer: &Answer) -> u64 {
    assert_eq!((answer.status, answer.header("content-type")), (200, EVENTS), "{answer:?}");
    let retry = answer.body.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let wait = retry.unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
    assert!((2000..=10_000).contains(&wait), "{wait}");
    wait
}

#[test]
fn the_head_of_a_stream() {
    let relay = Relay::start("origins = [\"https://page.example\"]\n[websocket]\npath = \"/live\"");
    let query = login(&[]);
    let accepts = ("Accept", "text/html;q=0.5, Text/Event-Stream;q=1");
    for (target, headers) in [
        (format!("/sse?{query}"), &[][..]),
        (format!("/SSE/?format=json&{query}"), &[("Origin", "https://page.example")]),
        (format!("/live?format=text&{query}"), &[accepts]),
        (format!("/sse?format=lines&{query}"), &[]),
    ] {
        let mut stream = Stream::request(relay.tcp(), &target, headers);
        let is_lines = target.contains("lines");
        assert_eq!(stream.head.status, 200, "{target}: {:?}", stream.head);
        for (name, value) in [
            ("content-type", if is_lines { "application/x-ndjson" } else { EVENTS }),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
            ("connection", "close"),
            ("content-length", ""),
            ("transfer-encoding", ""),
            (
                "access-control-allow-origin",
                if headers.len() == 1 && headers[0].0 == "Origin" { headers[0].1 } else { "" },
            ),
        ] {
            assert_eq!(stream.head.header(name), value, "{name} of {target}");
        }
        if !is_lines {
            stream.opening();
        }
        relay.notify("room", "x");
        assert!(stream.line().unwrap().contains(if is_lines { "newMsg" } else { "id: " }));
    }
    // A client of HTTP/1.0 reads to the end, too.
    let mut old = relay.tcp();
    old.write_all(format!("GET /sse?{query} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let head = read_answer(&mut old, false);
    assert_eq!(head.status, 200);
    let mut old = Stream { head, body: BufReader::new(old) };
    old.opening();
    relay.notify("room", "y");
    assert_eq!(old.event().json()["data"], "y");
}

#[test]
fn all_kinds_of_members_get_the_same_messages() {
    let relay = Relay::start("");
    let mut plain = relay.connect_with(&[("ts", "1")]);
    let mut events = Stream::open(&relay, &[]);
    let mut text = Stream::open(&relay, &[("format", "text")]);
    let mut lines = Stream::open(&relay, &[("format", "lines")]);
    let first = Stream::request(relay.tcp(), &format!("/sse?{}", login(&[])), &[]).opening();
    let mut last = String::new();
    for number in 0..200 {
        let data = format!("{number} {}", "x".repeat(number * 7));
        relay.notify("room", &data);
        let message = plain.json();
        let id = message["id"].as_str().unwrap();
        assert!(id > &*first && id > &*last, "{id} after {first} and {last}");
        id.clone_into(&mut last);

        let event = events.event();
        assert_eq!((&*event.id, &*event.name), (id, "message"));
        let mut expected = message.clone();
        expected.as_object_mut().unwrap().remove("event");
        assert_eq!(event.json(), expected);
        assert_eq!(text.event(), Event { id: id.to_owned(), name: "message".into(), data: data.clone() });
        assert_eq!(serde_json::from_str::<Value>(&lines.line().unwrap()).unwrap(), message);
    }
    // Who logs in now has missed nothing yet.
    assert_eq!(Stream::request(relay.tcp(), &format!("/sse?{}", login(&[])), &[]).opening(), last);
}

#[test]
fn awkward_data() {
    let relay = Relay::start("");
    let mut poster = relay.connect_with(&[("room_ids", "room"), ("format", "text")]);
    let mut events = Stream::open(&relay, &[]);
    let mut text = Stream::open(&relay, &[("format", "text")]);
    let mut lines = Stream::open(&relay, &[("format", "lines")]);
    let large = "a line\r\nanother\rand\n".repeat(64 * 1024 / 20);
    for data in ["a\r\nb\rc\nd", "\n", " \n\n ", "event: x\ndata: y\n\n: z", "\u{2028}你\0", &*large] {
        relay.notify("room", data);
        poster.next();
        assert_eq!(events.event().json()["data"], data);
        assert_eq!(text.event().data, data.replace("\r\n", "\n").replace('\r', "\n"));
        assert_eq!(serde_json::from_str::<Value>(&lines.line().unwrap()).unwrap()["data"], data);
    }
    // A text can be empty if a client posts it.
    poster.send("");
    assert_eq!((events.event().json()["data"].clone(), &*text.event().data), (json!(""), ""));
    assert!(lines.line().unwrap().contains("\"data\":\"\""));
    poster.socket.send(tungstenite::Message::binary(&b"\0\xff\n"[..])).unwrap();
    assert_eq!(events.event().json()["data"], json!({"_base64": "AP8K"}));
    assert_eq!(text.event().data, "{\"_base64\":\"AP8K\"}");
    assert!(lines.line().unwrap().contains("{\"_base64\":\"AP8K\"}"));
    // JSON that was written on several lines.
    let mut json = relay.connect("room");
    json.send("{\"data\":{\r\n\"a\": [1,\n 2]},\"room_ids\":\"room\"}");
    assert_eq!(events.event().json()["data"], json!({"a": [1, 2]}));
    assert!(serde_json::from_str::<Value>(&lines.line().unwrap()).is_ok());
}

fn emit(relay: &Relay, event: &str, data: &str) {
    let subject = Subject::Emit { source: "demo", nsp: "/", kind: "room_id", to: "room", event, data: data.as_bytes() };
    let sign = to_hex(&subject.md5(KEY.as_bytes()));
    let fields = [("source", "demo"), ("room_id", "room"), ("event", event), ("data", data), ("sign", &sign)];
    let answer = relay.request("POST", "/api/emit", &[("Content-Type", FORM)], form(&fields).as_bytes());
    assert_eq!(answer.json()["code"], 1, "{answer:?}");
}

#[test]
fn other_events_have_their_name() {
    let relay = Relay::start("");
    let mut events = Stream::open(&relay, &[]);
    let mut text = Stream::open(&relay, &[("format", "text")]);
    let mut lines = Stream::open(&relay, &[("format", "lines")]);
    emit(&relay, "news", "a\nb");
    for stream in [&mut events, &mut text] {
        assert_eq!(stream.event(), Event { id: String::new(), name: "news".into(), data: "\"a\\nb\"".into() });
    }
    assert_eq!(lines.line().unwrap(), "{\"event\":\"news\",\"data\":\"a\\nb\"}");
    let token = [("Authorization", &*format!("Bearer {TOKEN}")), ("Content-Type", FORM)];
    let answer = relay.request("POST", "/api/refresh", &token, b"source=demo&room_id=room");
    assert_eq!(answer.json()["code"], 1, "{answer:?}");
    assert_eq!(events.block(), ["event: refreshPage", "data: null"]);
    assert_eq!(lines.line().unwrap(), "{\"event\":\"refreshPage\"}");
}

#[test]
fn a_silent_stream_is_kept_alive() {
    let relay = Relay::start("[websocket]\nping_interval = 0.05");
    let mut events = Stream::open(&relay, &[]);
    let mut lines = Stream::open(&relay, &[("format", "lines")]);
    for _ in 0..5 {
        assert_eq!(events.block(), [":"]);
        assert_eq!(lines.line().unwrap(), "");
    }
    relay.notify("room", "x");
    assert_eq!(events.event().json()["data"], "x");
    assert_eq!(relay.stat("/sessions"), 2);
}

#[test]
fn input_after_the_request_is_ignored() {
    let relay = Relay::start("");
    let mut socket = relay.tcp();
    let request = format!("GET /sse?{} HTTP/1.1\r\nHost: relay\r\n\r\n", login(&[]));
    let more = "GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n".repeat(2000);
    socket.write_all((request + &more).as_bytes()).unwrap();
    let head = read_answer(&mut socket, false);
    let mut stream = Stream { head, body: BufReader::new(socket) };
    stream.opening();
    stream.body.get_mut().write_all(more.as_bytes()).unwrap();
    relay.notify("room", "x");
    assert_eq!(stream.event().json()["data"], "x");
    assert_eq!(relay.stat("/sessions"), 1);
}

#[test]
fn the_end_of_the_peer_is_the_end() {
    let relay = Relay::start("");
    let mut watcher = relay.connect("room");
    for reset in [false, true] {
        let mut stream = Stream::open(&relay, &[("watch_quit", "1")]);
        sessions(&relay, 2);
        match reset {
            true => SockRef::from(stream.body.get_ref()).set_linger(Some(Duration::ZERO)).unwrap(),
            // It closes only its sending side, and goes on reading.
            false => {
                stream.body.get_ref().shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.rest(), "");
            }
        }
        drop(stream);
        assert_eq!(watcher.data()["key"], "user_quit");
        sessions(&relay, 1);
    }
}

/// When a client closes its side, relay drops the messages that wait for it: it would get no close frame either.
#[test]
fn the_end_of_a_peer_that_is_behind() {
    let relay = Relay::start("");
    let slow = Stream::on(small_tcp(&relay), &[]);
    let data = "x".repeat(100_000);
    // As much as the kernel takes, and a few messages more.
    (0..8).for_each(|_| relay.notify("room", &data));
    slow.body.get_ref().shutdown(Shutdown::Write).unwrap();
    relay.fence();
    assert_eq!((relay.stat("/sessions"), relay.counter("slow_consumers")), (0, 0));
    wait_for("the end of the connection", || (relay.stat("/connections") == 1).then_some(()));
}

/// The kernel looks after peers that have vanished: a stream is not pinged.
#[test]
fn a_vanished_peer_has_a_time_limit() {
    let source = "
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <netinet/in.h>
        #include <netinet/tcp.h>
        #include <stdio.h>
        #include <sys/socket.h>
        int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
            int (*next)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, \"setsockopt\");
            if (level == IPPROTO_TCP && name == TCP_USER_TIMEOUT) dprintf(2, \"unconfirmed for %d ms\\n\", *(int *)value);
            return next(fd, level, name, value, length);
        }";
    let library = preload("timeout", source);
    let relay = Relay::start_with("[websocket]\nping_interval = 7\nping_timeout = 5", |command| {
        command.env("LD_PRELOAD", &library);
    });
    let _plain = relay.connect("room");
    relay.fence();
    assert!(!relay.log().iter().any(|line| line.contains("unconfirmed")), "a WebSocket is pinged");
    let _stream = Stream::open(&relay, &[]);
    relay.wait_log("unconfirmed for 12000 ms");
    std::fs::remove_file(library).unwrap();
}

#[test]
fn refusals_that_last() {
    let relay = Relay::start("origins = [\"https://page.example\"]");
    let page = [("Origin", "https://page.example")];
    let query = login(&[]);
    let wrong = login(&[("sign", "0123456789abcdef0123456789abcdef")]);
    for target in [format!("/sse?{wrong}"), format!("/sse?format=lines&{wrong}")] {
        let answer = relay.request("GET", &target, &page, b"");
        assert_eq!((answer.status, &answer.json()["msg"]), (401, &json!("sign verify failed!")));
        assert_eq!(answer.header("access-control-allow-origin"), "https://page.example");
    }
    assert_eq!(relay.request("HEAD", &format!("/sse?{wrong}"), &[], b"").status, 401);
    assert_eq!(relay.get(&format!("/sse?format=xml&{query}")).json()["msg"], "format is json, text or lines");
    assert_eq!(relay.request("GET", &format!("/sse?{query}"), &[("Origin", "https://x.example")], b"").status, 403);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = relay.request(method, &format!("/sse?{query}"), &page, b"");
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
    let preflight = [page[0], ("Access-Control-Request-Headers", "last-event-id")];
    let answer = relay.request("OPTIONS", "/sse", &preflight, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, "GET"));
    assert!(answer.header("access-control-allow-headers").contains("last-event-id"));
    let head = relay.request("HEAD", &format!("/sse?{query}"), &page, b"");
    assert_eq!((head.status, head.header("content-type"), head.header("content-length")), (200, EVENTS, ""));
    assert_eq!(relay.counter("logins"), 0);
    assert_eq!(relay.counter("logins_refused"), 3);
}

#[test]
fn an_event_source_comes_back_to_a_full_relay() {
    let relay = Relay::start("[limits]\nconnections = 3");
    let mut own = relay.tcp();
    send_request(&mut own, "GET", "/healthz", &[], b"");
    read_answer(&mut own, false);
    let streams: Vec<_> = (0..2).map(|_| Stream::open(&relay, &[])).collect();
    let query = login(&[]);
    let waits: Vec<u64> = (0..5).map(|_| retry(&relay.get(&format!("/sse?{query}")))).collect();
    assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    retry(&relay.request("GET", &format!("/ws?{query}"), &[("Accept", EVENTS)], b""));
    for target in [format!("/sse?format=lines&{query}"), "/healthz".into(), format!("/ws?{query}")] {
        assert_eq!(relay.get(&target).status, 503, "{target}");
    }
    // A request that comes in two parts, and one that never comes.
    let mut parts = relay.tcp();
    parts.write_all(b"GET /sse?").unwrap();
    parts.write_all(format!("{query} HTTP/1.1\r\nHost: relay\r\n\r\n").as_bytes()).unwrap();
    retry(&read_answer(&mut parts, false));
    assert!(relay.raw("").starts_with("HTTP/1.1 503 "));
    assert!(relay.raw("GET /sse?").starts_with("HTTP/1.1 503 "));
    drop(streams);
    wait_for("a free place", || {
        let stream = Stream::request(relay.tcp(), &format!("/sse?{query}"), &[]);
        stream.head.header("content-length").is_empty().then_some(())
    });
}

#[test]
fn an_event_source_comes_back_to_its_place() {
    let relay = Relay::start(
        "listen = [\"127.0.0.1:0\", \"proxy+tcp://127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nper_address = 2",
    );
    let proxy = relay.addresses(2)[1].strip_prefix("proxy+tcp://").unwrap_or_default().to_owned();
    let from = |ip: &str| {
        let mut socket = TcpStream::connect(&proxy).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(format!("PROXY TCP4 {ip} 10.9.9.9 1 2\r\n").as_bytes()).unwrap();
        socket
    };
    let _streams: Vec<_> = (0..2).map(|_| Stream::on(from("10.1.1.1"), &[])).collect();
    let online = relay.admin("/api/online?source=demo").json();
    assert_eq!((&online["list"][0]["ip"], &online["list"][0]["protocol"]), (&json!("10.1.1.1"), &json!("sse")));
    let answer = |query: &str| {
        let mut socket = from("10.1.1.1");
        send_request(&mut socket, "GET", &format!("/sse?{query}"), &[], b"");
        read_answer(&mut socket, false)
    };
    retry(&answer(&login(&[])));
    assert_eq!(answer(&login(&[("format", "lines")])).status, 429);
    Stream::on(from("10.1.1.2"), &[]);
    // Behind a proxy that adds a header, the connection itself is not over the limit.
    let forwarded = [("X-Forwarded-For", "10.1.1.1")];
    retry(&relay.request("GET", &format!("/sse?{}", login(&[])), &forwarded, b""));
    assert_eq!(relay.counter("address_refused"), 3);
}

/// An incomplete request of which only the first line is known, when there is no memory for more.
#[test]
fn an_incomplete_request_is_told_to_come_back() {
    let relay = Relay::start("[limits]\nunfinished = 1048576\nbody = 1024\nmessage = 128");
    let begin = |path: &str| {
        let mut socket = relay.tcp();
        let more = "x".repeat(15_000);
        socket.write_all(format!("GET {path}?a=b HTTP/1.1\r\nHost: relay\r\nX: {more}").as_bytes()).unwrap();
        socket
    };
    let mut kept = Vec::new();
    while relay.counter("unfinished_refused") == 0 {
        kept.push(begin("/healthz"));
        assert!(kept.len() < 200, "no request is too many");
    }
    let refused = |path: &str| {
        let mut socket = begin(path);
        read_answer(&mut socket, false)
    };
    retry(&refused("/SSE/"));
    assert_eq!(refused("/healthz").status, 503);
}

#[test]
fn a_stream_ends_when_relay_stops() {
    let mut relay = Relay::start("");
    let mut events = Stream::open(&relay, &[]);
    let mut lines = Stream::open(&relay, &[("format", "lines")]);
    let mut idle = relay.tcp();
    send_request(&mut idle, "GET", "/healthz", &[], b"");
    read_answer(&mut idle, false);
    relay.notify("room", "the last");
    relay.signal(15);
    assert_eq!(events.event().json()["data"], "the last");
    assert_eq!(events.rest(), "", "an EventSource comes back by itself");
    assert!(lines.line().unwrap().contains("the last"));
    assert_eq!(lines.rest(), "");
    drop((events, lines, idle));
    assert_eq!(relay.wait(), 0);
}

#[test]
fn an_operator_ends_a_stream() {
    let relay = Relay::start("");
    let mut events = Stream::open(&relay, &[]);
    let mut lines = Stream::open(&relay, &[("format", "lines")]);
    let token = [("Authorization", &*format!("Bearer {TOKEN}")), ("Content-Type", FORM)];
    relay.request("POST", "/api/disconnect", &token, b"source=demo&userid=7");
    let reason = "{\"code\":1008,\"reason\":\"disconnected by the operator\"}";
    assert_eq!(events.rest(), format!("event: disconnect\ndata: {reason}\n\n"));
    assert_eq!(lines.rest(), format!("{{\"event\":\"disconnect\",\"data\":{reason}}}\n"));
    sessions(&relay, 0);
    drop((events, lines));
    wait_for("the end of the connections", || (relay.stat("/connections") == 1).then_some(()));
}

#[test]
fn a_slow_reader_is_closed() {
    let relay = Relay::start("[limits]\nunsent = 65536\n[websocket]\nping_interval = 0.1\nping_timeout = 600");
    let mut good = Stream::open(&relay, &[]);
    let mut slow = Stream::on(small_tcp(&relay), &[]);
    let data = |number: usize| format!("{number:04} {}", "x".repeat(16 * 1024 - 5));
    let next = |stream: &mut Stream| stream.event().json()["data"].as_str().unwrap().to_owned();
    let mut published = 0;
    while relay.counter("slow_consumers") == 0 {
        relay.notify("room", &data(published));
        assert_eq!(next(&mut good), data(published));
        published += 1;
        assert!(published < 1000, "a client that never reads is never closed");
    }
    relay.notify("room", "more");
    assert_eq!(next(&mut good), "more");
    let mut read = 0;
    let last = loop {
        let event = slow.event();
        if event.name != "message" {
            break event;
        }
        assert_eq!(event.json()["data"], data(read), "a whole message");
        read += 1;
    };
    assert_eq!((&*last.name, &*last.data), ("disconnect", "{\"code\":1013,\"reason\":\"slow consumer\"}"));
    assert_eq!(slow.rest(), "");
    assert!(read > 0 && read < published, "{read} of {published}");
    sessions(&relay, 1);
}

/// A backend that gets a call at a time, and answers it when the test says so. An empty answer closes the connection.
fn backend() -> (String, Receiver<()>, Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let ((called, calls), (answer, answers)) = (channel(), channel::<&str>());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            if !text.contains("\"connect\"") {
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{}");
                continue;
            }
            if called.send(()).is_err() {
                return;
            }
            let Ok(answer) = answers.recv() else { return };
            if !answer.is_empty() {
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{answer}").as_bytes());
            }
        }
    });
    (url, calls, answer)
}

#[test]
fn the_backend_decides() {
    let (url, calls, answer) = backend();
    let mut relay = Relay::start(&format!(
        "[hooks]\nurl = \"{url}\"\nsecret = \"s3cret\"\ntimeout = 30\n[namespaces.\"/hook\"]\nauth = \"hook\"\nsource = \"demo\"\n\
         join = true\nwelcome = {{ event = \"hello\" }}\n"
    ));
    let ask = |query: &str| {
        let mut socket = relay.tcp();
        send_request(&mut socket, "GET", &format!("/sse?nsp=/hook&room_ids=room&{query}"), &[], b"");
        calls.recv_timeout(PATIENCE).unwrap();
        socket
    };
    // Nothing comes before the decision; then the head, the position and the welcome.
    let mut socket = ask("userid=1");
    socket.set_read_timeout(Some(support::SILENCE)).unwrap();
    assert!(socket.read(&mut [0]).is_err());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    answer.send("{\"allow\":true}").unwrap();
    let head = read_answer(&mut socket, false);
    let mut stream = Stream { head, body: BufReader::new(socket) };
    stream.opening();
    assert_eq!(stream.event(), Event { id: String::new(), name: "hello".into(), data: "{}".into() });

    let mut refused = ask("userid=2");
    answer.send("{\"error\":\"you are banned\"}").unwrap();
    let reply = read_answer(&mut refused, false);
    assert_eq!((reply.status, &reply.json()["msg"]), (401, &json!("you are banned")));
    // A backend that does not decide may do so later.
    for (query, status) in [("userid=3", 200), ("userid=3&format=lines", 401)] {
        let mut undecided = ask(query);
        answer.send("no answer").unwrap();
        let reply = read_answer(&mut undecided, false);
        assert_eq!(reply.status, status, "{reply:?}");
        if status == 200 {
            retry(&reply);
        }
    }
    // A client that leaves before the decision.
    drop(ask("userid=4"));
    answer.send("{\"allow\":true}").unwrap();
    sessions(&relay, 1);
    let mut waiting = ask("userid=5");
    relay.signal(15);
    retry(&read_answer(&mut waiting, false));
    answer.send("{}").unwrap();
    drop((stream, waiting, refused));
    drop(answer);
    assert_eq!(relay.wait(), 0);
}

#[test]
fn over_a_unix_socket() {
    let path = temp_file("relay.sock");
    let relay = Relay::start(&format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display()));
    relay.addresses(2);
    let connect = || {
        let socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let mut stream = Stream::on(connect(), &[]);
    relay.notify("room", "x");
    assert_eq!(stream.event().json()["data"], "x");
    drop(stream);
    sessions(&relay, 0);
}

#[test]
fn a_refused_login_is_logged_with_its_protocol() {
    let relay = Relay::start("");
    assert_eq!(relay.get(&format!("/sse?{}", login(&[("sign", "0")]))).status, 401);
    let line = relay.wait_log("login");
    assert!(line.contains("transport") && line.contains("sse"), "{line}");
}

/// An EventSource takes the last `id` for its position: it must not go back to that of a last value.
#[test]
fn last_values_leave_the_position_as_it_is() {
    let relay = Relay::start("[history]\ncount = 9\nrooms = [{ room = \"price\", last = true }]\n");
    relay.notify("price", "1");
    relay.notify("chat", "2");
    let target = format!("/sse?{}", login(&[("room_ids", "price,chat")]));
    let mut stream = Stream::request(relay.tcp(), &target, &[]);
    let position = stream.opening();
    let value = stream.event();
    assert!(value.json()["data"] == "1" && value.id < position, "{value:?} {position}");
    assert_eq!(stream.block(), [format!("id: {position}")]);
    relay.notify("chat", "3");
    let mut again = Stream::request(relay.tcp(), &target, &[("Last-Event-ID", &position)]);
    assert_eq!(again.opening(), position);
    let recovery = again.event();
    assert_eq!(
        (&*recovery.name, &recovery.json()["recovered"], &recovery.json()["missed"]),
        ("recovery", &json!(true), &json!(1))
    );
    assert_eq!(again.event().json()["data"], "3");
    // What is no id is answered with a gap, and not refused: an EventSource would repeat it for ever.
    let mut wrong = Stream::request(relay.tcp(), &target, &[("Last-Event-ID", "<1>")]);
    wrong.opening();
    assert_eq!(wrong.event().json()["rooms"], json!(["price", "chat"]));
}
