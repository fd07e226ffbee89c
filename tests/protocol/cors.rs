//! docs/protocol.md, Origins and CORS: preflights with headers of the page's own, and answers to requests that relay
//! cannot parse.

use std::io::{Read, Write};

use crate::support::{Answer, FORM, PATIENCE, Relay, TOKEN, read_answer, send_request, wait_for};

const PAGE: &str = "https://page.example";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const LISTED: &str = "origins = [\"https://page.example\"]\n";

fn preflight(relay: &Relay, target: &str, more: &[(&str, &str)]) -> Answer {
    let asked = [&[("Origin", PAGE), ("Access-Control-Request-Method", "POST")], more].concat();
    relay.request("OPTIONS", target, &asked, b"")
}

fn allows(answer: &Answer, header: &str) -> bool {
    answer.header("access-control-allow-headers").split(", ").any(|name| name.eq_ignore_ascii_case(header))
}

#[test]
fn a_preflight_allows_the_headers_that_the_page_asks_for() {
    for (more, origin) in [("", "*"), (LISTED, PAGE)] {
        let relay = Relay::start(more);
        for target in ["/api/notify", "/api/notify/batch", "/api/emit", POLLING, "/socket.io/"] {
            let asked = "content-type,x-requested-with, x-clientid";
            let answer = preflight(&relay, target, &[("Access-Control-Request-Headers", asked)]);
            assert_eq!(answer.status, 204, "{target}");
            for header in ["Content-Type", "Authorization", "x-requested-with", "x-clientid"] {
                assert!(allows(&answer, header), "{target} {header}: {answer:?}");
            }
            let vary: Vec<&str> = answer.header("vary").split(", ").collect();
            assert!(vary.contains(&"Access-Control-Request-Headers"), "{target}: {answer:?}");
            let echoes = origin == PAGE || target.starts_with("/socket.io");
            assert_eq!(vary.contains(&"Origin"), echoes, "{target}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), if echoes { PAGE } else { "*" }, "{target}");
            // Without headers of its own, the usual ones are allowed.
            assert!(allows(&preflight(&relay, target, &[]), "authorization"), "{target}");
        }
    }
}

#[test]
fn a_preflight_echoes_nothing_but_names_of_headers() {
    let relay = Relay::start("");
    for target in ["/api/notify", POLLING] {
        let hostile = "a b, \"x\", x:y, <script>, \u{e4}, *, x-fine, x(1)";
        let answer = preflight(&relay, target, &[("Access-Control-Request-Headers", hostile)]);
        assert_eq!(answer.header("access-control-allow-headers"), "Content-Type, Authorization, x-fine", "{target}");
        let many = "x-header,".repeat(1500);
        let answer = preflight(&relay, target, &[("Access-Control-Request-Headers", &many)]);
        assert!(answer.header("access-control-allow-headers").len() < 5000, "{target}");
    }
}

/// Chromium 104 to 141 asks this before a public page calls a private address.
#[test]
fn a_private_network_is_allowed_to_listed_origins() {
    let asked = [("Access-Control-Request-Private-Network", "true")];
    let allowed = |relay: &Relay, target: &str, asked: &[(&str, &str)]| {
        preflight(relay, target, asked).headers.get("access-control-allow-private-network").cloned()
    };
    let relay = Relay::start("");
    let strict = Relay::start("origins = [\"https://other.example\"]");
    for target in ["/api/notify", POLLING] {
        assert_eq!(allowed(&relay, target, &asked).as_deref(), Some("true"), "{target}");
        assert_eq!(allowed(&relay, target, &[]), None, "{target}");
        assert_eq!(allowed(&strict, target, &asked), None, "{target}");
    }
}

/// The answer to bytes that are no whole request.
fn raw(relay: &Relay, bytes: &str) -> (u16, String, String) {
    let mut stream = relay.tcp();
    stream.write_all(bytes.as_bytes()).unwrap();
    let answer = read_answer(&mut stream, false);
    let header = |name: &str| answer.header(name).to_owned();
    (answer.status, header("access-control-allow-origin"), header("access-control-allow-credentials"))
}

/// Requests that are refused before a route is chosen, each with `Origin: https://page.example`, and the status.
fn unparsed() -> Vec<(u16, String)> {
    let post = format!("POST {POLLING}&sid=x HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\n");
    let large = "x".repeat(40_000);
    vec![
        (400, format!("{post}Content-Length: 1, 1\r\n\r\n")),
        (400, format!("{post}A b\r\n\r\n")),
        (400, format!("{post}Transfer-Encoding: chunked\r\n\r\nx\r\n")),
        (408, format!("{post}X: y\r\nA-header-that-is-cut")),
        (408, format!("{post}Content-Length: 100\r\n\r\nx")),
        (413, format!("{post}Content-Length: 2000000\r\n\r\n")),
        (413, format!("{post}Content-Length: 100000\r\n\r\n{large}")),
        (413, format!("{post}Transfer-Encoding: chunked\r\n\r\nfffff0\r\n")),
        (417, format!("{post}Expect: tea\r\n\r\n")),
        (431, format!("{post}X: {large}\r\n\r\n")),
        (431, format!("{post}{}\r\n", "A: b\r\n".repeat(200))),
        (501, format!("{post}Transfer-Encoding: gzip\r\n\r\n")),
        (505, post.replace("HTTP/1.1", "HTTP/2.0") + "\r\n"),
    ]
}

#[test]
fn pages_can_read_the_answer_to_a_request_that_was_not_parsed() {
    let timeout = "[limits]\nrequest_timeout = 0.3";
    let all = Relay::start(timeout);
    let listed = Relay::start(&format!("{LISTED}{timeout}"));
    let others = Relay::start(&format!("origins = [\"https://other.example\"]\n{timeout}"));
    for (status, request) in unparsed() {
        for relay in [&all, &listed] {
            assert_eq!(raw(relay, &request), (status, PAGE.into(), "true".into()), "{:.150}", request);
        }
        assert_eq!(raw(&others, &request), (status, String::new(), String::new()), "{:.150}", request);
        // The origin is not known: everybody may read, or nobody.
        let nameless = request.replace("Origin:", "Source:");
        assert_eq!(raw(&all, &nameless), (status, "*".into(), String::new()), "{:.150}", nameless);
        assert_eq!(raw(&listed, &nameless), (status, String::new(), String::new()), "{:.150}", nameless);
    }
    // An origin whose line is cut is not known, and two origins are none.
    assert_eq!(raw(&all, "GET / HTTP/1.1\r\nOrigin: https://page.exa"), (408, "*".into(), String::new()));
    let twice = format!("GET / HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\nOrigin: {PAGE}\r\n\r\n");
    assert_eq!(raw(&all, &twice), (400, "*".into(), String::new()));
    // The second request of a connection, with the first in one packet.
    let mut stream = all.tcp();
    let mut bytes = Vec::new();
    send_request(&mut bytes, "GET", "/healthz", &[], b"");
    bytes.extend(unparsed()[0].1.bytes());
    stream.write_all(&bytes).unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 200);
    let answer = read_answer(&mut stream, false);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (400, PAGE));
}

#[test]
fn pages_can_read_why_their_connection_was_refused() {
    let relay = Relay::start("[limits]\nconnections = 2\nkeep_alive = 60");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", "/healthz", &[], b"");
        assert_eq!(read_answer(&mut stream, false).status, 200);
        held.push(stream);
    }
    let answer = wait_for("503", || Some(relay.get("/healthz")).filter(|answer| answer.status == 503));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-expose-headers"), "Retry-After");
    drop(held);
}

#[test]
fn other_answers_that_pages_can_read() {
    let relay = Relay::start("");
    let page = [("Origin", PAGE)];
    for (method, target, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/ws?source=demo", 401),
        ("POST", "/api/notify", 415),
        ("PUT", "/api/emit", 405),
    ] {
        let answer = relay.request(method, target, &page, b"x");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, "*"), "{method} {target}");
    }
    // A handshake that is malformed.
    let upgrade = [page[0], ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "8")];
    let answer = relay.request("GET", "/socket.io/?EIO=4&transport=websocket", &upgrade, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (426, PAGE));
    // What only operators read stays theirs.
    let token = format!("Bearer {TOKEN}");
    let answer = relay.request("GET", "/api/online?source=demo", &[page[0], ("Authorization", &token)], b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
}

/// A page may ask with headers of its own why its WebSocket did not open.
#[test]
fn a_preflight_of_the_path_of_websockets() {
    let relay = Relay::start("");
    let answer = preflight(&relay, "/ws?source=demo", &[("Access-Control-Request-Headers", "authorization")]);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "*"));
    assert!(allows(&answer, "authorization") && answer.header("allow").contains("POST"), "{answer:?}");
    assert_eq!(relay.request("PUT", "/ws", &[], b"").status, 405);
}

/// A poll that arrives while relay stops.
#[test]
fn pages_can_read_that_relay_is_stopping() {
    let relay = Relay::start("shutdown_timeout = 20\n[namespaces.\"/\"]\nauth = \"open\"\nsource = \"demo\"");
    let head = format!("GET {POLLING} HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\n");
    let mut stream = relay.tcp();
    stream.write_all(head.as_bytes()).unwrap();
    // A request that is half there keeps relay from ending at once.
    wait_for("the head", || (relay.stat("/connections") == 2).then_some(()));
    relay.signal(15);
    relay.wait_log("stopping");
    stream.write_all(b"\r\n").unwrap();
    let mut text = String::new();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains(&format!("Allow-Origin: {PAGE}\r\n")), "{text}");
}

/// The whole conversation of a page with a header of its own: what the preflight allows is then accepted.
#[test]
fn the_request_after_the_preflight() {
    let relay = Relay::start("");
    let headers = [("Origin", PAGE), ("Content-Type", FORM), ("X-Requested-With", "XMLHttpRequest")];
    let answer = relay.request("POST", "/api/notify", &headers, b"source=demo");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
}
