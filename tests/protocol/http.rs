//! RFC 9110 and RFC 9112 over bare sockets: connections, framing, traps, and the paths that answer with HTTP alone.

use std::{
    collections::BTreeSet,
    io::{BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use crate::support::{self, Answer, FORM, KEY, Relay, TOKEN, form, notify_sign, read_answer, send_request, wait_for};

const SUCCESS: &str = r#"{"code":1,"msg":"message notify successed!","data":""}"#;
const HEALTHY: &str = r#"{"status":"ok"}"#;

/// The bytes of a right notification of room `room`.
fn notification(data: &str) -> Vec<u8> {
    let body = notification_body(data);
    let mut bytes = Vec::new();
    send_request(&mut bytes, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    bytes
}

fn notification_body(data: &str) -> String {
    let sign = notify_sign("demo", "room", data, KEY);
    form(&[("source", "demo"), ("room_id", "room"), ("data", data), ("sign", &sign)])
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: relay\r\n\r\n")
}

/// Everything until the connection ends.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the connection ends in order");
    String::from_utf8(bytes).unwrap()
}

/// How many answers there are in what came back: each has one Date.
fn answers(text: &str) -> usize {
    text.matches("\r\nDate: ").count()
}

/// Asserts that the answer is of that status in the shape every refusal has.
fn assert_refusal(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    let json = answer.json();
    let msg = json["msg"].as_str().filter(|msg| !msg.is_empty()).expect("it says why");
    let msg = serde_json::Value::from(msg);
    assert_eq!(answer.body, format!(r#"{{"code":0,"msg":{msg},"data":""}}"#));
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut stream = relay.tcp();
    for turn in ["first", "second", "third"] {
        send_request(&mut stream, "GET", "/healthz", &[], b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.body, HEALTHY);
        assert_eq!(answer.header("connection"), "", "HTTP/1.1 takes keep-alive for granted");
        assert!(answer.header("date").ends_with(" GMT"), "{answer:?}");
        send_request(&mut stream, "GET", "/nowhere", &[], b"");
        assert_eq!(read_answer(&mut stream, false).status, 404);
        stream.write_all(&notification(turn)).unwrap();
        assert_eq!(read_answer(&mut stream, false).body, SUCCESS);
        assert_eq!(member.data(), turn);
    }
    send_request(&mut stream, "GET", "/healthz", &[("Connection", "close")], b"");
    let answer = read_answer(&mut stream, false);
    assert_eq!((answer.body.as_str(), answer.header("connection")), (HEALTHY, "close"));
    assert_eq!(rest(&mut stream), "", "a connection that was to be closed is closed");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut stream = relay.tcp();
    let bytes = [
        b"\r\n".to_vec(),
        get("/healthz").into(),
        notification("one"),
        get("/nowhere").into(),
        "HEAD / HTTP/1.1\r\nHost: relay\r\n\r\n".into(),
        notification("two"),
        "OPTIONS /api/notify HTTP/1.1\r\nHost: relay\r\n\r\n".into(),
        get("/api/stats").into(),
        "POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        notification("never"),
    ];
    stream.write_all(&bytes.concat()).unwrap();
    let mut statuses = Vec::new();
    for head_only in [false, false, false, true, false, false, false, false] {
        statuses.push(read_answer(&mut stream, head_only).status);
    }
    assert_eq!(statuses, [200, 200, 404, 200, 200, 204, 401, 415]);
    assert_eq!(rest(&mut stream), "", "nothing is answered behind Connection: close");
    assert_eq!((member.data(), member.data()), ("one".into(), "two".into()));
    member.silence();
}

/// A peer that requests 30 MB and does not read is served when it reads; until then, nothing is read from it.
#[test]
fn a_burst_of_pipelined_requests_waits_for_a_slow_reader() {
    const BURST: usize = 2000;
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let page = relay.get("/demo/chat.html").body;
    let stream = relay.tcp();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        for number in 0..BURST {
            let request = match number % 10 {
                3 => get("/healthz").into_bytes(),
                7 => notification(&number.to_string()),
                _ => get("/demo/chat.html").into_bytes(),
            };
            writer.write_all(&request).unwrap();
        }
    });
    // It serves as much as the kernel takes and stops: then only the requests of this loop are counted.
    let mut last = 0;
    let served = wait_for("the relay to stop", || {
        thread::sleep(Duration::from_millis(20));
        let served = relay.counter("requests");
        let stopped = served == last + 1 && served > 10;
        last = served;
        stopped.then_some(served)
    });
    assert!(served < BURST as u64, "all {served} were served to somebody who reads nothing");
    let mut reader = BufReader::with_capacity(1000, stream);
    for number in 0..BURST {
        let answer = read_answer(&mut reader, false);
        match number % 10 {
            3 => assert_eq!(answer.body, HEALTHY, "answer {number}"),
            7 => assert_eq!(answer.body, SUCCESS, "answer {number}"),
            _ => assert!(answer.body == page, "answer {number} is {} bytes", answer.body.len()),
        }
    }
    writing.join().unwrap();
    for number in (7..BURST).step_by(10) {
        assert_eq!(member.data(), number.to_string());
    }
}

#[test]
fn a_request_may_come_in_two_pieces_whatever_the_cut() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let length = notification("000").len();
    let mut streams: Vec<(usize, TcpStream, Vec<u8>)> = (1..length)
        .map(|cut| {
            let bytes = notification(&format!("{cut:03}"));
            assert_eq!(bytes.len(), length);
            let mut stream = relay.tcp();
            stream.write_all(&bytes[..cut]).unwrap();
            (cut, stream, bytes[cut..].to_vec())
        })
        .collect();
    assert_eq!(relay.counter("notifies"), 0);
    let mut expected = BTreeSet::new();
    for (cut, stream, rest) in &mut streams {
        stream.write_all(rest).unwrap();
        assert_eq!(read_answer(stream, false).body, SUCCESS, "cut at {cut}");
        stream.write_all(get("/healthz").as_bytes()).unwrap();
        assert_eq!(read_answer(stream, false).body, HEALTHY, "after the request that was cut at {cut}");
        expected.insert(format!("{cut:03}"));
    }
    let came: BTreeSet<String> = (1..length).map(|_| member.data().as_str().unwrap().to_owned()).collect();
    assert_eq!(came, expected);
    member.silence();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let relay = Relay::start("");
    let mut stream = relay.tcp();
    for byte in notification("slowly") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut stream, false).body, SUCCESS);
}

#[test]
fn chunked_bodies_may_have_extensions_and_trailers() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut stream = relay.tcp();
    let head = format!(
        "POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Type: {FORM}\r\nTransfer-Encoding: Chunked\r\n\r\n"
    );
    let body = notification_body("in chunks");
    let (one, other) = body.split_at(20);
    let ways = [
        format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        format!(
            "{:X};name=value;other=\"a b\"\r\n{one}\r\n{:04x} ; x\r\n{other}\r\n000\r\n\r\n",
            one.len(),
            other.len()
        ),
        format!("{:x}\r\n{body}\r\n0;last\r\nX-Trailer: one\r\nContent-Length: 7\r\n\r\n", body.len()),
        body.chars().map(|c| format!("1\r\n{c}\r\n")).collect::<String>() + "0\r\n\r\n",
    ];
    for coded in &ways {
        // The next request shows where this one ended.
        stream.write_all((head.clone() + coded + &get("/healthz")).as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, false).body, SUCCESS, "{coded}");
        assert_eq!(read_answer(&mut stream, false).body, HEALTHY, "{coded}");
        assert_eq!(member.data(), "in chunks");
    }
    let whole = head + &ways[2];
    for byte in whole.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut stream, false).body, SUCCESS);
    assert_eq!(member.data(), "in chunks");
}

#[test]
fn expect_100_continue_is_answered() {
    let relay = Relay::start("");
    let body = notification_body("expected");
    let head = |length: usize, expect: &str| {
        format!(
            "POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\nExpect: {expect}\r\n\r\n"
        )
    };
    let mut stream = relay.tcp();
    for expect in ["100-continue", "100-Continue"] {
        stream.write_all(head(body.len(), expect).as_bytes()).unwrap();
        let interim = read_answer(&mut stream, true);
        assert_eq!((interim.status, interim.headers.len()), (100, 0));
        stream.write_all(body.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, false).body, SUCCESS, "and after it the answer");
    }
    // A client that sends the body at once gets no 100.
    stream.write_all((head(body.len(), "100-continue") + &body).as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream, false).body, SUCCESS);
    // A body that is too large is refused before it is sent.
    stream.write_all(head(1_000_001, "100-continue").as_bytes()).unwrap();
    assert_refusal(&read_answer(&mut stream, false), 413);
    assert_eq!(rest(&mut stream), "");
    let other = relay.raw(head(body.len(), "tea") + &body);
    assert!(other.starts_with("HTTP/1.1 417 ") && answers(&other) == 1, "{other}");
}

#[test]
fn head_is_get_without_the_body() {
    let relay = Relay::start("");
    let mut stream = relay.tcp();
    for target in ["/", "/demo/chat.html", "/healthz", "/nowhere", "/api/stats", "/api/notify", "/ws"] {
        send_request(&mut stream, "GET", target, &[], b"");
        let whole = read_answer(&mut stream, false);
        send_request(&mut stream, "HEAD", target, &[], b"");
        // If a body came, the next answer would not begin where it must.
        let head = read_answer(&mut stream, true);
        assert_eq!(head.status, whole.status, "{target}");
        for name in ["content-length", "content-type", "etag", "allow"] {
            assert_eq!(head.header(name), whole.header(name), "{name} of {target}");
        }
        assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{target}");
        assert!(!whole.body.is_empty(), "{target}");
    }
}

#[test]
fn http_1_0_closes_unless_it_asks_to_stay() {
    let relay = Relay::start("");
    let text = relay.raw("GET /healthz HTTP/1.0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(HEALTHY), "{text}");
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    assert_eq!(answers(&text), 1);

    let mut stream = relay.tcp();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!((answer.body.as_str(), answer.header("connection")), (HEALTHY, "keep-alive"));
    }
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream, false).body, HEALTHY);
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn half_closed_connection_gets_its_answers() {
    let relay = Relay::start("");
    let mut stream = relay.tcp();
    stream.write_all(get("/healthz").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let text = rest(&mut stream);
    assert!(text.ends_with(HEALTHY) && answers(&text) == 1, "{text}");

    let mut stream = relay.tcp();
    stream.write_all(&notification("last words")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut stream).ends_with(SUCCESS));

    // More than fits in any buffer on the way, and the end of the input is seen long before the last answer is out.
    let page = relay.get("/demo/chat.html").body.len();
    let mut stream = relay.tcp();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(get("/demo/chat.html").repeat(1000).as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let text = rest(&mut stream);
    writing.join().unwrap();
    assert_eq!(answers(&text), 1000);
    assert!(text.len() > 1000 * page);

    // An unfinished request is dropped and the connection ends.
    let mut stream = relay.tcp();
    stream.write_all(&notification("half")[..100]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let text = rest(&mut stream);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    assert_eq!(relay.counter("notifies"), 1);
}

/// What two parsers could read differently is refused, and nothing behind it on that connection is served: that would be
/// a request that somebody smuggled past a proxy.
#[test]
fn traps_are_refused_and_end_the_connection() {
    let relay = Relay::start("");
    let post = |lines: &str, body: &str| format!("POST /api/notify HTTP/1.1\r\nHost: relay\r\n{lines}\r\n\r\n{body}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let traps = [
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), 400),
        (post("Content-Length: 0\r\nContent-Length: 0", ""), 400),
        (post("Content-Length: 0\r\nContent-Length: 5", ""), 400),
        (post("Content-Length: 0, 0", ""), 400),
        (post("Content-Length: +0", ""), 400),
        (post("Content-Length: -0", ""), 400),
        (post("Content-Length: 0x0", ""), 400),
        (post("Content-Length: 0 0", ""), 400),
        (post("Content-Length: ", ""), 400),
        (post("Content-Length: 18446744073709551616", ""), 413),
        (post("Content-Length : 0", ""), 400),
        (post("Transfer-Encoding : chunked", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: gzip", ""), 501),
        (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 501),
        (post("Transfer-Encoding: identity", ""), 501),
        (post("Transfer-Encoding: xchunked", "0\r\n\r\n"), 501),
        ("POST /api/notify HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        (post("X: a\r\n\tfolded: b", ""), 400),
        (post("X: a\r\n folded", ""), 400),
        (post("X: a\rb", ""), 400),
        (post("X: a\r\rContent-Length: 0", ""), 400),
        (post("X: a\0b", ""), 400),
        (post("X\0: a", ""), 400),
        (post("X y: a", ""), 400),
        (post("X", ""), 400),
        (post(": a", ""), 400),
        (post("Host: relay", ""), 400),
        (post("Host: other", ""), 400),
        ("GET /healthz HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), 400),
        ("GET /healthz HTTP/1.1\r\n Host: relay\r\n\r\n".into(), 400),
        ("GET  /healthz HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET /healthz  HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET /heal thz HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET /heal\0thz HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET /heal\rthz HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        (" GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET healthz HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET * HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("CONNECT relay:80 HTTP/1.1\r\nHost: relay\r\n\r\n".into(), 400),
        ("GET /healthz\r\nHost: relay\r\n\r\n".into(), 400),
        ("hello\r\n\r\n".into(), 400),
        ("GET /healthz HTTP/3.0\r\nHost: relay\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        (chunked("x\r\n\r\n"), 400),
        (chunked("-1\r\n\r\n"), 400),
        (chunked("+0\r\n\r\n"), 400),
        (chunked("0x0\r\n\r\n"), 400),
        (chunked(" 0\r\n\r\n"), 400),
        (chunked("0 0\r\n\r\n"), 400),
        (chunked("\r\n\r\n"), 400),
        (chunked("0\n\n"), 400),
        (chunked("0\r\r\n\r\n"), 400),
        (chunked("1;a\nx\r\n0\r\n\r\n"), 400),
        (chunked("1\r\nab\r\n0\r\n\r\n"), 400),
        (chunked("1\r\na0\r\n\r\n"), 400),
        (chunked("00000000000000000001\r\na\r\n0\r\n\r\n"), 400),
        (chunked("fffffffffffffffff\r\n"), 400),
        (chunked("fffffff\r\n"), 413),
    ];
    let mut wrong = Vec::new();
    for (trap, status) in &traps {
        let smuggled = [trap.as_bytes(), &notification("smuggled"), get("/healthz").as_bytes()].concat();
        let text = relay.raw(&smuggled);
        assert!(text.contains("\r\nConnection: close\r\n"), "{trap:?}: {text}");
        assert!(text.contains("\r\n\r\n{\"code\":0,\"msg\":\""), "{trap:?}: {text}");
        assert_eq!(answers(&text), 1, "{trap:?}: {text}");

        // The same when what is smuggled comes only after the answer.
        let mut stream = relay.tcp();
        stream.write_all(trap.as_bytes()).unwrap();
        let answer = read_answer(&mut stream, false);
        let _ = stream.write_all(&notification("smuggled"));
        assert_eq!(rest(&mut stream), "", "{trap:?}");
        assert_refusal(&answer, answer.status);
        if answer.status != *status || !text.starts_with(&format!("HTTP/1.1 {status} ")) {
            wrong.push(format!("{trap:?} is answered by {}, not {status}", answer.status));
        }
    }
    assert_eq!(relay.counter("published"), 0);
    assert_eq!(relay.counter("bad_requests"), 2 * traps.len() as u64);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A TLS handshake is refused at once, not after `request_timeout`.
#[test]
fn a_tls_client_hello_is_refused_at_once() {
    let relay = Relay::start("[limits]\nrequest_timeout = 60");
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend((0..64).map(|byte: u8| byte.wrapping_mul(37)));
    let text = relay.raw(&hello);
    assert!(text.starts_with("HTTP/1.1 400 ") && answers(&text) == 1, "{text:?}");
}

#[test]
fn unknown_paths_get_404() {
    let relay = Relay::start("");
    for target in ["/nowhere", "/api", "/api/", "/demo/../etc/passwd", "/%2e%2e/", "/healthz/x", "/%ff", "/a%00b"] {
        assert_refusal(&relay.get(target), 404);
    }
    let answer = relay.request("POST", "/nowhere", &[], b"whatever");
    assert_refusal(&answer, 404);
}

#[test]
fn wrong_method_gets_405_with_allow() {
    let relay = Relay::start("");
    for (method, target, allowed) in [
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("DELETE", "/demo/chat.html", "GET, HEAD, OPTIONS"),
        ("PUT", "/api/stats", "GET, HEAD, OPTIONS"),
        ("GET", "/api/notify", "POST, OPTIONS"),
        ("PUT", "/api/notify", "POST, OPTIONS"),
        ("get", "/healthz", "GET, HEAD, OPTIONS"),
        ("GET", "/api/notify/batch", "POST, OPTIONS"),
    ] {
        let answer = relay.request(method, target, &[], b"");
        assert_refusal(&answer, 405);
        assert_eq!(answer.header("allow"), allowed, "{method} {target}");
    }
    for target in ["/", "/healthz", "/demo/chat.html"] {
        let answer = relay.request("OPTIONS", target, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (204, "GET, HEAD, OPTIONS"));
    }
}

/// Pages post here too, so browsers ask before they do (Fetch standard).
#[test]
fn cors_allows_any_origin_unless_origins_are_listed() {
    let relay = Relay::start("");
    for target in ["/api/notify", "/api/notify/batch"] {
        let asked = [("Origin", "https://shop.example.org"), ("Access-Control-Request-Method", "POST")];
        let answer = relay.request("OPTIONS", target, &asked, b"");
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.header("access-control-allow-methods").contains("POST"));
        assert!(answer.header("access-control-allow-headers").to_lowercase().contains("content-type"));
        let answer = relay.request("POST", target, &[("Origin", "https://shop.example.org")], b"x");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (415, "*"));
        let answer = relay.request("POST", target, &[], b"x");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}

#[test]
fn listed_origins_may_call_and_no_others() {
    let relay = Relay::start("origins = [\"https://shop.example.org\", \"http://localhost:8080\"]");
    let ask = |method: &str, origin: &str| {
        let headers = [("Content-Type", FORM), ("Origin", origin)];
        let body = if method == "POST" { notification_body("x") } else { String::new() };
        relay.request(method, "/api/notify", &headers[..if origin.is_empty() { 1 } else { 2 }], body.as_bytes())
    };
    for origin in ["https://shop.example.org", "http://localhost:8080"] {
        assert_eq!(ask("OPTIONS", origin).header("access-control-allow-origin"), origin);
        let answer = ask("POST", origin);
        assert_eq!((answer.header("access-control-allow-origin"), answer.body.as_str()), (origin, SUCCESS));
    }
    for origin in
        ["https://evil.example.org", "http://shop.example.org", "null", "https://shop.example.org.evil.org", ""]
    {
        for method in ["OPTIONS", "POST"] {
            let answer = ask(method, origin);
            assert!(!answer.headers.contains_key("access-control-allow-origin"), "{method} from {origin}");
        }
    }
    for origin in ["https://shop.example.org", "https://evil.example.org", ""] {
        assert_eq!(ask("POST", origin).header("vary"), "Origin", "a cache must not mix up answers to {origin:?}");
        assert_eq!(ask("OPTIONS", origin).header("vary"), "Origin, Access-Control-Request-Headers");
    }
}

#[test]
fn demo_pages_are_cached_by_etag() {
    let relay = Relay::start("");
    let answer = relay.get("/demo/chat.html");
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(answer.body.starts_with("<!DOCTYPE html>"));
    let etag = answer.header("etag").to_owned();
    assert!(etag.len() > 4 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    let mut stream = relay.tcp();
    for tags in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}")] {
        for method in ["GET", "HEAD"] {
            send_request(&mut stream, method, "/demo/chat.html", &[("If-None-Match", &tags)], b"");
            let answer = read_answer(&mut stream, true);
            assert_eq!((answer.status, answer.header("etag")), (304, etag.as_str()), "{tags}");
        }
    }
    send_request(&mut stream, "GET", "/demo/chat.html", &[("If-None-Match", "\"other\"")], b"");
    assert_eq!(read_answer(&mut stream, false).body, answer.body);
}

#[test]
fn a_slash_at_the_end_and_another_case_do_not_matter() {
    let relay = Relay::start("");
    for target in ["/healthz", "/healthz/", "/HEALTHZ", "/HealthZ/", "/healthz?", "/healthz/?a=b", "/%68ealthz"] {
        assert_eq!(relay.get(target).body, HEALTHY, "{target}");
    }
    let page = relay.get("/demo/chat.html").body;
    for target in ["/demo/chat.html/", "/DEMO/CHAT.HTML", "/demo/chat.html?x", "/demo/chat.html/?x"] {
        assert_eq!(relay.get(target).body, page, "{target}");
    }
    assert_eq!(relay.get("/demo/").body, relay.get("/DEMO/?x").body);
    let moved = relay.get("/demo?x");
    assert_eq!((moved.status, moved.header("location")), (301, "demo/"), "its links are relative");
    for target in ["/api/notify/", "/API/Notify", "/Api/Notify/?x=y"] {
        let body = notification_body("x");
        assert_eq!(relay.request("POST", target, &[("Content-Type", FORM)], body.as_bytes()).body, SUCCESS, "{target}");
    }
    for target in ["/api/stats/", "/API/STATS"] {
        assert_eq!(relay.admin(target).status, 200, "{target}");
    }
}

/// As proxies ask (RFC 9112 section 3.2.2).
#[test]
fn targets_may_be_absolute() {
    let relay = Relay::start("");
    for target in ["http://relay/healthz", "HTTP://other:81/healthz/", "https://relay/healthz?a=http://b/"] {
        assert_eq!(relay.get(target).body, HEALTHY, "{target}");
    }
    let front = relay.get("/").body;
    for target in ["http://relay", "http://relay/", "http://relay?a=/healthz"] {
        assert_eq!(relay.get(target).body, front, "{target}");
    }
    assert_eq!(relay.get(&format!("http://relay/api/stats?token={TOKEN}")).status, 200);
}

#[test]
fn healthz_needs_no_token() {
    let relay = Relay::start("");
    let answer = relay.request("GET", "/healthz", &[("Origin", "https://evil.example.org")], b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, HEALTHY));
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = relay.request("HEAD", "/healthz", &[], b"");
    assert_eq!((answer.status, answer.header("content-length")), (200, "15"));
}

/// Strangers read which part fails; the reason, which names files and addresses, is for operators.
#[test]
fn healthz_tells_reasons_to_operators_only() {
    let folder = support::temp_file("no-folder");
    std::fs::write(&folder, "a file").unwrap();
    let relay = Relay::start(&format!(
        "[message_log]\ndir = \"{}/secret-name\"\n[redis]\nurl = \"redis://127.0.0.1:1/0\"\n",
        folder.display()
    ));
    relay.notify("room", "x");
    let failing = support::wait_for("two failing parts", || {
        let health = relay.admin("/healthz").json();
        let both = ["message_log", "redis"].iter().all(|part| health[part]["status"] == "failing");
        both.then_some(health)
    });
    assert!(failing["message_log"]["error"].is_string() && failing["redis"]["error"].is_string(), "{failing}");
    assert!(failing["message_log"]["lost"].is_u64() && failing["redis"]["siblings"] == 0, "{failing}");
    let expected = r#"{"status":"degraded","message_log":{"status":"failing"},"redis":{"status":"failing"}}"#;
    let answer = relay.get("/healthz");
    assert_eq!((answer.status, answer.body.as_str()), (200, expected));
    // Another scheme is not for relay.
    let answer = relay.request("GET", "/healthz", &[("Authorization", "Basic eDp5")], b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, expected));
    // A token is checked like everywhere, or it could be guessed here.
    let before = relay.counter("tokens_wrong");
    let answer = relay.request("GET", "/healthz", &[("Authorization", "Bearer guess")], b"");
    assert_eq!((answer.status, answer.json()["msg"].as_str()), (401, Some("the admin token is missing or wrong")));
    assert_eq!(relay.get("/healthz?token=guess").status, 401);
    assert_eq!(relay.counter("tokens_wrong"), before + 2);
    assert_eq!(relay.get(&format!("/healthz?token={TOKEN}")).json()["status"], "degraded");
    std::fs::remove_file(folder).unwrap();
}

/// A proxy on the same host makes every visitor look local, so being local opens nothing.
#[test]
fn stats_need_the_token() {
    let relay = Relay::start("trusted_proxies = [\"127.0.0.1\"]");
    let bearer = format!("Bearer {TOKEN}");
    let lower = format!("bearer {TOKEN}");
    for value in [&bearer, &lower] {
        let answer = relay.request("GET", "/api/stats", &[("Authorization", value)], b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.json()["sources"]["demo"]["sessions"], 0);
    }
    assert_eq!(relay.get(&format!("/api/stats?token={TOKEN}")).status, 200);
    let refused: &[(&str, &[(&str, &str)])] = &[
        ("/api/stats", &[]),
        ("/api/stats?token=", &[]),
        ("/api/stats?token=wrong", &[]),
        ("/api/stats?token=test-toke", &[]),
        ("/api/stats?token=test-token2", &[]),
        ("/api/stats?Token=test-token", &[]),
        ("/api/stats", &[("Authorization", TOKEN)]),
        ("/api/stats", &[("Authorization", "Bearer")]),
        ("/api/stats", &[("Authorization", "Bearer ")]),
        ("/api/stats", &[("Authorization", "Bearer wrong")]),
        ("/api/stats", &[("Authorization", "Basic test-token")]),
        ("/api/stats", &[("X-Forwarded-For", "127.0.0.1")]),
        ("/api/stats", &[("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")]),
        ("/api/stats?token=wrong", &[("X-Forwarded-For", "127.0.0.1")]),
        ("http://127.0.0.1/api/stats", &[("Origin", "http://127.0.0.1")]),
    ];
    for (target, headers) in refused {
        let answer = relay.request("GET", target, headers, b"");
        assert_refusal(&answer, 401);
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{target} {headers:?}");
        assert!(!answer.body.contains("sessions"));
    }
}
