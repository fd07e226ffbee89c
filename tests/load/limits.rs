//! docs/protocol.md, Limits: every limit, what a client that reaches it sees, and that other clients are not affected.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use tungstenite::Message;

use crate::support::{
    self, Answer, Client, FORM, KEY, PATIENCE, Relay, TOKEN, UPGRADE, connect_sign, form, login, notify_sign,
    read_answer, send_request, wait_for,
    websocket::{TEXT, frame},
};

// Connections.

/// Connections beyond the limit get 503, a few at a time; the others wait in the kernel's queue and cost nothing. When
/// a place becomes free, a waiting connection gets it, even while refused ones are still open.
#[test]
fn connections() {
    let relay = Relay::start("[limits]\nconnections = 3");
    let mut admin = relay.tcp();
    let (one, two) = (relay.connect("room"), relay.connect("room"));
    assert_eq!(ask_stats(&mut admin)["connections"], 3);

    let text = relay.raw("");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nConnection: close\r\n"), "{text}");
    assert!(text.contains("\r\nRetry-After: "), "{text}");
    wait_for("the fourth to be gone", || (ask_stats(&mut admin)["connections"] == 3).then_some(()));
    assert_eq!(ask_stats(&mut admin)["counters"]["connections_refused"], 1);

    let mut waiting: Vec<TcpStream> = (0..60).map(|_| probe(&relay)).collect();
    wait_for("a few to be refused", || (ask_stats(&mut admin)["connections"] == 19).then_some(()));
    relay.assert_idle("connections wait in the kernel's queue");

    drop((one, two));
    wait_for("two to be gone", || (ask_stats(&mut admin)["sessions"] == 0).then_some(()));
    let statuses: Vec<u16> = waiting.drain(..).map(|mut stream| read_answer(&mut stream, false).status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(statuses.contains(&200), "two places were free, and all who waited were refused");
    wait_for("all to be gone", || (ask_stats(&mut admin)["connections"] == 1).then_some(()));
    assert_eq!(relay.get("/healthz").status, 200);
}

/// A refused connection that stays open does not count.
#[test]
fn refused_connections_do_not_count() {
    let relay = Relay::start("[limits]\nconnections = 2");
    let mut admin = relay.tcp();
    let client = relay.connect("room");
    let refused: Vec<TcpStream> = (0..5).map(|_| relay.tcp()).collect();
    wait_for("refusals", || (ask_stats(&mut admin)["counters"]["connections_refused"] == 5).then_some(()));
    drop(client);
    wait_for("a place", || (ask_stats(&mut admin)["sessions"] == 0).then_some(()));
    assert_eq!(relay.get("/healthz").status, 200);
    drop(refused);
}

/// An open namespace, in which a polling client needs no signature.
const OPEN: &str = "\n[namespaces.\"/open\"]\nauth = \"open\"\n";

/// Sends a request on a connection that stays open.
fn ask(stream: &mut TcpStream, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send_request(stream, method, target, headers, body);
    read_answer(stream, false)
}

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Opens a polling session; the path and query of its polls.
fn open_session(stream: &mut TcpStream) -> Result<String, u16> {
    let answer = ask(stream, "GET", POLLING, &[], b"");
    if answer.status != 200 {
        return Err(answer.status);
    }
    let open: Value = serde_json::from_str(&answer.body[1..]).unwrap();
    Ok(format!("{POLLING}&sid={}", open["sid"].as_str().unwrap()))
}

/// Joins the open namespace, and returns whether the session is there.
fn join_open(stream: &mut TcpStream, session: &str) -> bool {
    let posted = ask(stream, "POST", session, &[], b"40/open,");
    posted.status == 200 && ask(stream, "GET", session, &[], b"").body.starts_with("40/open,{")
}

/// The number of clients, with or without a namespace.
fn clients(stream: &mut TcpStream) -> u64 {
    let metrics = ask(stream, "GET", "/metrics", &[("Authorization", &format!("Bearer {TOKEN}"))], b"").body;
    let number = metrics.lines().find_map(|line| line.strip_prefix("relay_clients ")).unwrap();
    number.parse().unwrap()
}

/// A polling session counts as a connection, also between two polls.
#[test]
fn sessions_that_poll_take_places() {
    let relay = Relay::start(&format!("[limits]\nconnections = 4{OPEN}"));
    let mut stream = relay.tcp();
    let sessions: Vec<String> = (0..4)
        .map(|_| {
            let session = open_session(&mut stream).unwrap();
            assert!(join_open(&mut stream, &session));
            session
        })
        .collect();
    assert_eq!(open_session(&mut stream), Err(503));
    assert_eq!(relay.request("POST", &sessions[0], &[], b"1").body, "ok");
    assert!(open_session(&mut stream).is_ok());
    // It has had no time to join: nobody takes its place yet.
    assert_eq!(open_session(&mut stream), Err(503));
}

/// Clients that have joined no namespace get a quarter of the places: the oldest of them goes first.
#[test]
fn strangers_get_a_share_of_the_places() {
    let relay = Relay::start(&format!("[limits]\nconnections = 64{OPEN}"));
    let mut stream = relay.tcp();
    let member = open_session(&mut stream).unwrap();
    assert!(join_open(&mut stream, &member));
    let strangers: Vec<String> = (0..200).map(|_| open_session(&mut stream).unwrap()).collect();
    assert_eq!((clients(&mut stream), relay.counter("unjoined_closed")), (17, 184));
    assert_eq!(ask(&mut stream, "GET", &strangers[183], &[], b"").status, 400, "closed");
    assert!(join_open(&mut stream, &strangers[184]) && join_open(&mut stream, &strangers[199]));
    // Those who have joined stay, and others find a place.
    (0..100).for_each(|_| drop(open_session(&mut stream).unwrap()));
    assert_eq!(ask(&mut stream, "POST", &member, &[], b"3").status, 200);
    assert_eq!(clients(&mut stream), 19);
    let mut socket = Client::open(relay.tcp(), "/socket.io/?EIO=4&transport=websocket").unwrap();
    assert!(socket.text().starts_with('0'));
    // A WebSocket that joins nothing is closed as well.
    (0..16).for_each(|_| drop(open_session(&mut stream).unwrap()));
    assert_eq!(socket.close_code(), 1013);
    // Who leaves the last namespace is a stranger again.
    assert_eq!(ask(&mut stream, "POST", &member, &[], b"41/open,").status, 200);
    (0..17).for_each(|_| drop(open_session(&mut stream).unwrap()));
    assert_eq!(ask(&mut stream, "POST", &member, &[], b"3").status, 400);
    let warnings = relay.log().iter().filter(|line| line.contains("have joined no namespace")).count();
    assert!((1..=3).contains(&warnings), "{:?}", relay.log());
}

/// A share that strangers fill and leave does not shrink.
#[test]
fn strangers_that_leave_are_not_counted() {
    let relay = Relay::start(&format!("[limits]\nconnections = 64{OPEN}"));
    let mut stream = relay.tcp();
    for _ in 0..20 {
        let left = open_session(&mut stream).unwrap();
        assert_eq!(ask(&mut stream, "POST", &left, &[], b"1").body, "ok");
        let refused = open_session(&mut stream).unwrap();
        assert_eq!(ask(&mut stream, "POST", &refused, &[], b"nonsense").status, 400);
        let joined = open_session(&mut stream).unwrap();
        assert!(join_open(&mut stream, &joined));
        assert_eq!(ask(&mut stream, "POST", &joined, &[], b"1").body, "ok");
        let socket = Client::open(relay.tcp(), "/socket.io/?EIO=4&transport=websocket").unwrap();
        drop(socket);
    }
    wait_for("all to leave", || (clients(&mut stream) == 0).then_some(()));
    let first = open_session(&mut stream).unwrap();
    (0..15).for_each(|_| drop(open_session(&mut stream).unwrap()));
    assert!(join_open(&mut stream, &first), "sixteen fit");
    assert_eq!(relay.counter("unjoined_closed"), 0);
}

/// The clients of a trusted proxy are counted by the address that it names; the proxy is not.
#[test]
fn per_address_behind_a_proxy() {
    let relay = Relay::start(&format!("trusted_proxies = [\"127.0.0.1\"]\n[limits]\nper_address = 3{OPEN}"));
    let open = |ip: &str, target: &str| {
        let mut stream = relay.tcp();
        let headers: Vec<_> = UPGRADE.into_iter().chain([("X-Forwarded-For", ip)]).collect();
        send_request(&mut stream, "GET", target, &headers, b"");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        (head.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), head, stream)
    };
    let websocket = format!("/ws?{}", login(&[]));
    let mut clients: Vec<_> = (0..3).map(|_| open("203.0.113.1", &websocket)).collect();
    assert!(clients.iter().all(|(status, ..)| *status == 101));
    let (status, head, _) = open("203.0.113.1", &websocket);
    assert!(status == 429 && head.contains("\r\nRetry-After: 5\r\n"), "{head}");
    for target in [POLLING, "/socket.io/?EIO=4&transport=websocket"] {
        assert_eq!(open("203.0.113.1", target).0, 429, "{target}");
        assert_eq!(open("9.9.9.9, 203.0.113.1", target).0, 429, "the address that the proxy names: {target}");
    }
    // Requests that open nothing are not counted, and others are not affected.
    let mut stream = relay.tcp();
    let from = [("X-Forwarded-For", "203.0.113.1")];
    (0..10).for_each(|_| assert_eq!(ask(&mut stream, "GET", "/healthz", &from, b"").status, 200));
    assert_eq!(open("203.0.113.2", &websocket).0, 101);
    // A /64 of IPv6 is one address.
    let six: Vec<_> = (0..4).map(|number| open(&format!("2001:db8:1:2::{number}"), &websocket)).collect();
    assert_eq!(six.iter().map(|(status, ..)| *status).collect::<Vec<_>>(), [101, 101, 101, 429]);
    assert_eq!(open("2001:db8:1:3::1", &websocket).0, 101);
    // A place that becomes free is there again, for every transport.
    drop(clients.pop());
    wait_for("a place", || (ask(&mut stream, "GET", POLLING, &from, b"").status == 200).then_some(()));
    assert_eq!(ask(&mut stream, "GET", POLLING, &from, b"").status, 429, "the session counts between two polls");
    drop(clients);
    wait_for("two places", || (open("203.0.113.1", &websocket).0 == 101).then_some(()));
    assert!(relay.counter("address_refused") >= 6);
    relay.wait_log("203.0.113.1 has 3 connections and sessions, as many as limits.per_address allows");
    let warnings = relay.log().iter().filter(|line| line.contains("limits.per_address")).count();
    assert!((1..=3).contains(&warnings), "{:?}", relay.log());
}

/// Connections from other machines are bounded by address. Those of this machine are not.
#[test]
fn per_address() {
    // Connections from 127.0.0.2 and so on seem to come from 192.0.2.2 and so on.
    let library = support::preload(
        "peers",
        r#"
        #define _GNU_SOURCE
        #include <arpa/inet.h>
        #include <dlfcn.h>
        #include <netinet/in.h>
        #include <sys/socket.h>
        int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
            int (*next)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
            int result = next(fd, address, length, flags);
            struct sockaddr_in *peer = (struct sockaddr_in *)address;
            if (result >= 0 && peer && peer->sin_family == AF_INET && ntohl(peer->sin_addr.s_addr) != 0x7f000001)
                peer->sin_addr.s_addr = htonl(0xc0000200 | (ntohl(peer->sin_addr.s_addr) & 255));
            return result;
        }"#,
    );
    let relay = Relay::start_with("[limits]\nper_address = 3", |command| {
        command.env("LD_PRELOAD", &library);
    });
    fs::remove_file(library).unwrap();
    let connect = |last: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&relay.addr.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let health = |stream: &mut TcpStream| ask(stream, "GET", "/healthz", &[], b"").status;
    let mut open: Vec<TcpStream> = (0..3).map(|_| connect(2)).collect();
    assert!(open.iter_mut().all(|stream| health(stream) == 200));
    let mut refused = connect(2);
    let answer = read_answer(&mut refused, false);
    assert_eq!((answer.status, answer.header("retry-after"), answer.header("connection")), (429, "5", "close"));
    assert_eq!(answer.json()["msg"], "too many connections from this address, try again later");
    // A flood is closed, and takes nobody's place.
    let mut flood: Vec<TcpStream> = (0..100).map(|_| connect(2)).collect();
    wait_for("the flood to be refused", || (relay.counter("address_refused") == 101).then_some(()));
    assert!(health(&mut connect(3)) == 200 && health(&mut open[0]) == 200);
    let closed = flood
        .iter_mut()
        .filter_map(|stream| stream.read(&mut [0; 1]).map_or(Some(()), |length| (length == 0).then_some(())))
        .count();
    assert!(closed >= 80, "{closed} were closed at once");
    drop((flood, refused));
    // A WebSocket takes the place of its connection; a polling session needs one of its own.
    let mut clients: Vec<TcpStream> = open.drain(1..).map(|stream| upgrade(stream, &login(&[]))).collect();
    assert_eq!(open_session(&mut open[0]), Err(429));
    drop(clients.pop());
    let session = wait_for("a place", || open_session(&mut open[0]).ok());
    assert_eq!(open_session(&mut open[0]), Err(429));
    assert_eq!(ask(&mut open[0], "POST", &session, &[], b"1").body, "ok");
    wait_for("the session's place", || open_session(&mut open[0]).ok());
    drop((open, clients));
    // Connections of this machine are not counted.
    let mut own: Vec<TcpStream> = (0..20).map(|_| relay.tcp()).collect();
    assert!(own.iter_mut().all(|stream| health(stream) == 200));
}

/// Upgrades from polling to a WebSocket count right: all places are free afterwards.
#[test]
fn per_address_after_upgrades() {
    let relay = Relay::start(&format!("trusted_proxies = [\"127.0.0.1\"]\n[limits]\nper_address = 2{OPEN}"));
    let mut stream = relay.tcp();
    let from = [("X-Forwarded-For", "203.0.113.1")];
    for _ in 0..10 {
        let answer = wait_for("a place", || {
            Some(ask(&mut stream, "GET", POLLING, &from, b"")).filter(|answer| answer.status == 200)
        });
        let open: Value = serde_json::from_str(&answer.body[1..]).unwrap();
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", open["sid"].as_str().unwrap());
        let mut socket = Client::open(relay.tcp(), &target).unwrap();
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        socket.send("5");
        socket.send("40/open,");
        assert!(socket.text().starts_with("40/open,{"));
    }
    wait_for("all to leave", || (clients(&mut stream) == 0).then_some(()));
    let statuses: Vec<u16> = (0..3).map(|_| ask(&mut stream, "GET", POLLING, &from, b"").status).collect();
    assert_eq!(statuses, [200, 200, 429]);
}

/// The default is RLIMIT_NOFILE less 64.
#[test]
fn connections_by_descriptors() {
    let relay = limited(80);
    let mut admin = relay.tcp();
    let clients: Vec<Client> = (0..15).map(|_| relay.connect("room")).collect();
    assert_eq!(ask_stats(&mut admin)["connections"], 16);
    assert!(relay.raw("").starts_with("HTTP/1.1 503 "));
    let waiting: Vec<TcpStream> = (0..60).map(|_| probe(&relay)).collect();
    wait_for("a few to be refused", || (ask_stats(&mut admin)["connections"] == 32).then_some(()));
    drop((clients, waiting));
    wait_for("all to be gone", || (ask_stats(&mut admin)["connections"] == 1).then_some(()));
    assert_eq!(relay.get("/healthz").status, 200);
}

/// When descriptors run out all the same, accepting pauses until there are some again.
#[test]
fn no_descriptors() {
    let relay = limited(20);
    let waiting: Vec<TcpStream> = (0..60).map(|_| probe(&relay)).collect();
    relay.wait_log("accepting pauses");
    relay.assert_idle("connections wait in the kernel's queue");
    let answered = waiting.into_iter().map(|mut stream| read_answer(&mut stream, false).status);
    assert!(answered.into_iter().all(|status| matches!(status, 200 | 503)));
    // There is one place: all further requests use that connection.
    let mut admin = wait_for("a place", || {
        let mut stream = probe(&relay);
        (read_answer(&mut stream, false).status == 200).then_some(stream)
    });
    assert!(ask_stats(&mut admin)["counters"]["accept_pauses"].as_u64().unwrap() > 0);
}

/// Peers that closed or reset their connection before the relay read it leave nothing behind.
#[test]
fn connections_that_end_while_relay_is_stopped_leave_nothing_behind() {
    let relay = Relay::start("");
    let mut admin = relay.tcp();
    ask_stats(&mut admin);
    let before = relay.descriptors();
    let clients: Vec<TcpStream> = (0..50).map(|_| upgrade(relay.tcp(), &login(&[]))).collect();
    relay.signal(SIGSTOP);
    for (number, mut client) in clients.into_iter().enumerate() {
        client.write_all(&frame(TEXT, br#"{"data":"bye","room_ids":"room"}"#)).unwrap();
        leave(client, number % 2 == 0);
    }
    for number in 0..100 {
        let mut stream = relay.tcp();
        match number % 3 {
            0 => send_request(&mut stream, "GET", "/healthz", &[], b""),
            1 => stream.write_all(b"GET /unfini").unwrap(),
            _ => send_request(&mut stream, "GET", &format!("/ws?{}", login(&[])), &UPGRADE, &frame(TEXT, b"{}")),
        }
        leave(stream, number % 2 == 0);
    }
    relay.signal(SIGCONT);
    wait_for("all descriptors to be closed", || (relay.descriptors() == before).then_some(()));
    let stats = ask_stats(&mut admin);
    assert_eq!((&stats["connections"], &stats["sessions"], &stats["rooms"]), (&json!(1), &json!(0), &json!(0)));
}

// A request's head.

#[test]
fn request_head() {
    let relay = Relay::start("[limits]\nrequest_head = 1000");
    let request = |bytes: usize| {
        let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "a".repeat(bytes - head.len())))
    };
    assert!(relay.raw(request(1000)).starts_with("HTTP/1.1 200 "));
    for bytes in [1001, 100_000] {
        assert_refused(&relay.raw(request(bytes)), 431);
    }
    assert_refused(&relay.raw("GET /".to_owned() + &"a".repeat(1000)), 431);
    assert_eq!(relay.counter("bad_requests"), 3);
}

#[test]
fn request_headers() {
    let relay = Relay::start("[limits]\nrequest_headers = 10");
    let request = |lines: usize| {
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", "A: b\r\n".repeat(lines - 2))
    };
    assert!(relay.raw(request(10)).starts_with("HTTP/1.1 200 "));
    assert_refused(&relay.raw(request(11)), 431);
}

/// `request_timeout` is for the head as a whole: a byte now and then does not extend it.
#[test]
fn request_timeout() {
    let relay = Relay::start("[limits]\nrequest_timeout = 0.3");
    assert_refused(&relay.raw("GET / HTTP/1.1\r\nHo"), 408);

    let mut slow = relay.tcp();
    let mut drops = slow.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        while drops.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(30))
        }
    });
    let mut text = String::new();
    let _ = slow.read_to_string(&mut text);
    assert_refused(&text, 408);
    let _ = slow.shutdown(Shutdown::Both);
    dripping.join().unwrap();

    let body = "POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsource=";
    assert_refused(&relay.raw(body), 408);

    let silent = relay.raw("");
    assert!(silent.is_empty() || silent.starts_with("HTTP/1.1 408 "), "who says nothing is let go: {silent}");
}

/// The second request on a connection has the same time, not that of an idle connection.
#[test]
fn request_timeout_of_the_second_request() {
    let relay = Relay::start("[limits]\nrequest_timeout = 0.3\nkeep_alive = 60");
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    assert_eq!(read_answer(&mut stream, false).status, 200);
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_refused(&text, 408);
}

/// A body may take longer, as long as it keeps coming.
#[test]
fn a_body_may_be_slow_if_it_comes() {
    // A sixth of the time between two pieces, so that a pause of the machine's own does not matter; the whole takes
    // longer.
    let (timeout, pause) = (Duration::from_secs(3), Duration::from_millis(500));
    let relay = Relay::start(&format!("[limits]\nrequest_timeout = {}", timeout.as_secs()));
    let (data, sign) = ("x".repeat(8), notify_sign("demo", "room", &"x".repeat(8), KEY));
    let body = form(&[("source", "demo"), ("room_id", "room"), ("sign", &sign), ("data", &data)]);
    let mut stream = relay.tcp();
    let head = format!(
        "POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let begin = Instant::now();
    for piece in body.as_bytes().chunks(body.len() / 7) {
        thread::sleep(pause);
        stream.write_all(piece).unwrap();
    }
    assert!(begin.elapsed() > timeout);
    assert_eq!(read_answer(&mut stream, false).json()["code"], 1);
}

/// An idle connection is closed without an answer. One that is used now and then is not, nor is a WebSocket.
#[test]
fn keep_alive() {
    let relay = Relay::start("[limits]\nkeep_alive = 2");
    let mut client = relay.connect("room");
    let (mut idle, mut active) = (relay.tcp(), relay.tcp());
    send_request(&mut idle, "GET", "/healthz", &[], b"");
    assert_eq!(read_answer(&mut idle, false).status, 200);
    for _ in 0..8 {
        send_request(&mut active, "GET", "/healthz", &[], b"");
        assert_eq!(read_answer(&mut active, false).status, 200);
        thread::sleep(Duration::from_millis(400));
    }
    for mut stream in [idle, active] {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    }
    relay.notify("room", "still here");
    assert_eq!(client.data(), "still here");
}

// Bodies and messages.

#[test]
fn body() {
    let relay = Relay::start("[limits]\nbody = 1024");
    let post =
        |more: &str| relay.raw(format!("POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n{more}"));
    // Refused by its announced length.
    assert_refused(&post("Content-Length: 1025\r\n\r\n"), 413);
    assert_refused(&post(&format!("Content-Length: 1025\r\n\r\n{}", "a".repeat(1025))), 413);
    assert_refused(&post("Content-Length: 99999999999999999999999\r\n\r\n"), 413);
    assert_refused(&post("Expect: 100-continue\r\nContent-Length: 1025\r\n\r\n"), 413);
    let chunk = format!("100\r\n{}\r\n", "a".repeat(256));
    assert_refused(&post(&format!("Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(5))), 413);
    assert_refused(&post("Transfer-Encoding: chunked\r\n\r\n401\r\n"), 413);
    let fits = post(&format!("Connection: close\r\nContent-Length: 1024\r\n\r\n{}", "a".repeat(1024)));
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    let fits = post(&format!("Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(4)));
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
}

/// A frame is refused by the length it announces, a message in fragments as soon as it is too long.
#[test]
fn message() {
    let relay = Relay::start("[limits]\nmessage = 1000");
    let open = || relay.connect_with(&[("format", "text")]);
    let mut fits = open();
    fits.send(&"a".repeat(1000));
    assert_eq!(fits.text(), "a".repeat(1000));

    let mut long = open();
    long.socket.get_mut().write_all(&frame(TEXT, &[b'a'; 1001])[..8]).unwrap();
    assert_eq!(long.close_code(), 1009);

    let mut huge = open();
    huge.socket.get_mut().write_all(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).unwrap();
    let code = huge.close_code();
    assert!(matches!(code, 1009 | 1002), "{code}");

    let mut fragments = open();
    let part = [b'a'; 400];
    for frame in [frame(0x01, &part), frame(0x00, &part), frame(0x00, &part)] {
        fragments.socket.get_mut().write_all(&frame).unwrap();
    }
    assert_eq!(fragments.close_code(), 1009);
    fits.send("still here");
    assert_eq!(fits.text(), "still here");
    wait_for("the others to be gone", || (relay.stat("/sessions") == 1).then_some(()));
}

// Rooms.

#[test]
fn rooms_per_session() {
    let relay = Relay::start("[limits]\nrooms_per_session = 3");
    let answer = relay.refused(&login(&[("room_ids", "a,b,c,d")]));
    assert_eq!((answer.status, answer.json()), (401, json!({"code": 0, "msg": "more than 3 rooms!", "data": ""})));

    let mut client = relay.connect("a,b");
    let join = |rooms: &str| {
        format!(r#"{{"event":"join","ack":1,"room_ids":"{rooms}","sign":"{}"}}"#, connect_sign("demo", rooms, KEY))
    };
    client.send(&join("c,d"));
    assert_eq!(client.json(), json!({"event": "ack", "ack": 1, "code": 0, "msg": "more than 3 rooms!", "data": ""}));
    relay.notify("c", "c is not joined by half");
    client.send(&join("a,b,c"));
    assert_eq!(client.json()["code"], 1, "rooms it is in already count once");
    client.send(&join("d").replace("\"ack\":1,", ""));
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": "more than 3 rooms!"}));

    client.send(r#"{"data":"x","room_ids":"a,b,c,d"}"#);
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": "more than 3 rooms!"}));
    client.send(r#"{"data":"x","room_ids":["a","c"]}"#);
    assert_eq!((client.data(), client.data()), ("x".into(), "x".into()));
    client.silence();
}

#[test]
fn room_id() {
    let relay = Relay::start("[limits]\nroom_id = 8");
    let why = "room_id can not be longer than 8 bytes!";
    for long in ["123456789", "short,123456789", "三三三"] {
        let answer = relay.refused(&login(&[("room_ids", long)]));
        assert_eq!((answer.status, &answer.json()["msg"]), (401, &json!(why)), "{long}");

        let answer = relay.post_form(&[
            ("source", "demo"),
            ("room_id", long),
            ("data", "x"),
            ("sign", &notify_sign("demo", long, "x", KEY)),
        ]);
        assert_eq!((answer.status, answer.json()), (200, json!({"code": 0, "msg": why, "data": ""})), "{long}");
    }
    let mut client = relay.connect("12345678");
    client.send(&format!(
        r#"{{"event":"join","room_ids":"123456789","sign":"{}"}}"#,
        connect_sign("demo", "123456789", KEY)
    ));
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": why}));
    client.send(r#"{"data":"x","room_ids":"12345678,123456789"}"#);
    assert_eq!(client.json(), json!({"event": "sys_error", "msg": why}));
    relay.notify("12345678", "eight are right");
    assert_eq!(client.data(), "eight are right");
}

// Unsent bytes.

/// A peer that does not read costs its `unsent` and less than 256 KiB in the kernel; then it is closed and counted. The
/// others get everything in order, and its `user_quit`. When it reads at last, it gets whole messages without a gap,
/// and the close with its code.
#[test]
fn slow_reader_is_closed_with_1013() {
    const UNSENT: usize = 65536;
    let relay = Relay::start(&format!("[history]\nslow = \"close\"\n[limits]\nunsent = {UNSENT}"));
    let mut good = relay.connect("room");
    let query = login(&[("username", "snail"), ("watch_quit", "1")]);
    let mut slow = Client::open(small_tcp(&relay), &format!("/ws?{query}")).unwrap();
    let received = SockRef::from(slow.socket.get_ref()).recv_buffer_size().unwrap();

    let data = |number: usize| format!("{number:04} {}", "x".repeat(16 * 1024 - 5));
    let mut published = 0;
    while relay.counter("slow_consumers") == 0 {
        relay.notify("room", &data(published));
        assert_eq!(good.data(), data(published));
        published += 1;
        assert!(published < 1000, "a client that never reads is never closed");
    }
    let bytes = published * data(0).len();
    assert!(bytes < UNSENT + 256 * 1024 + received, "the kernel holds {bytes} bytes less {UNSENT} and {received}");
    assert!(bytes > UNSENT, "it was closed after only {bytes} bytes");
    assert_eq!(good.data(), json!({"username": "snail", "key": "user_quit", "msg": "snail退出群聊"}));
    assert_eq!(relay.stat("/sessions"), 1);

    relay.notify("room", "more");
    assert_eq!(good.data(), "more");

    let mut read = 0;
    let close = loop {
        match slow.next() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("a whole message");
                assert_eq!(message["data"], data(read));
                read += 1;
            }
            Message::Close(frame) => break frame.expect("a code"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1013);
    assert!(read > 0 && read < published, "{read} of {published}");
    assert_eq!(relay.counter("slow_consumers"), 1);
    wait_for("its connection to end", || (relay.stat("/connections") == 2).then_some(()));
}

/// A client that never reads its acknowledgements, too.
#[test]
fn a_slow_consumer_of_acknowledgements() {
    let relay = Relay::start("[limits]\nunsent = 4096\nmessage_rate = 0");
    let mut slow = small_tcp(&relay);
    slow.set_write_timeout(Some(PATIENCE)).unwrap();
    slow = upgrade(slow, &login(&[]));
    let pings = frame(TEXT, br#"{"event":"ping","ack":"................................"}"#).repeat(100);
    let begin = Instant::now();
    while relay.counter("slow_consumers") == 0 {
        assert!(begin.elapsed() < PATIENCE, "who never reads its acknowledgements is never closed");
        let _ = slow.write_all(&pings);
    }
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
}

/// One message may be larger than all that may wait: a reader that keeps up gets it.
#[test]
fn a_message_larger_than_unsent() {
    let relay = Relay::start("[limits]\nunsent = 4096");
    let mut client = relay.connect("room");
    for letter in ["a", "b", "c"] {
        let data = letter.repeat(300_000);
        relay.notify("room", &data);
        assert!(client.data() == data.as_str(), "it came as it was sent");
    }
    assert_eq!(relay.counter("slow_consumers"), 0);
}

/// Large notifications that come in one turn, together more than may wait for a client, do not make one look slow whose
/// kernel has room for the rest.
#[test]
fn a_burst_of_large_notifications() {
    let relay = Relay::start("[limits]\nunsent = 200_000");
    let mut readers: Vec<Client> = (0..3).map(|_| relay.connect("room")).collect();
    let mut posters: Vec<TcpStream> = (0..3).map(|_| relay.tcp()).collect();
    for round in 0..5 {
        relay.signal(SIGSTOP);
        for (number, poster) in posters.iter_mut().enumerate() {
            let data = format!("{round}{number}{}", "x".repeat(100_000));
            let sign = notify_sign("demo", "room", &data, KEY);
            let body = form(&[("source", "demo"), ("room_id", "room"), ("data", &data), ("sign", &sign)]);
            send_request(poster, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
        }
        relay.signal(SIGCONT);
        for poster in &mut posters {
            assert_eq!(read_answer(poster, false).json()["code"], 1);
        }
        for reader in &mut readers {
            let mut seen: Vec<String> = (0..3).map(|_| reader.data().as_str().unwrap()[..2].to_owned()).collect();
            seen.sort();
            assert_eq!(seen, (0..3).map(|number| format!("{round}{number}")).collect::<Vec<_>>());
        }
    }
    assert_eq!(relay.counter("slow_consumers"), 0);
}

// Messages a second.

#[test]
fn message_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\nmessage_burst = 5");
    let (mut flooder, mut other) = (relay.connect("flood"), relay.connect("flood"));
    let all: Vec<u8> = (0..20)
        .flat_map(|number| frame(TEXT, format!(r#"{{"data":{number},"room_ids":"flood"}}"#).as_bytes()))
        .collect();
    flooder.socket.get_mut().write_all(&all).unwrap();
    for number in 0..5 {
        assert_eq!((flooder.data(), other.data()), (json!(number), json!(number)));
    }
    for _ in 5..20 {
        assert_eq!(flooder.json(), json!({"event": "sys_error", "msg": "message rate limit exceeded!"}));
    }
    assert_eq!(relay.counter("rate_limited"), 15);
    // An acknowledgement carries the refusal, too, and after a while a message is allowed again.
    flooder.send(r#"{"event":"ping","ack":7}"#);
    let refused = json!({"event": "ack", "ack": 7, "code": 0, "msg": "message rate limit exceeded!", "data": ""});
    let allowed = json!({"event": "ack", "ack": 7, "code": 1, "msg": "", "data": ""});
    let first = flooder.json();
    assert!(first == refused || first == allowed, "{first}");
    wait_for("the rate to be earned", || {
        thread::sleep(Duration::from_millis(100));
        flooder.send(r#"{"event":"ping","ack":7}"#);
        (flooder.json() == allowed).then_some(())
    });
    other.send(r#"{"data":"others have their own","room_ids":"flood"}"#);
    assert_eq!(other.data(), "others have their own");
}

/// Text clients have no frame for an error, so they are closed.
#[test]
fn message_rate_of_text_clients() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\nmessage_burst = 5");
    let mut flooder = relay.connect_with(&[("format", "text")]);
    flooder.socket.get_mut().write_all(&frame(TEXT, b"x").repeat(20)).unwrap();
    for _ in 0..5 {
        assert_eq!(flooder.text(), "x");
    }
    assert_eq!(flooder.close_code(), 1008);
    assert_eq!(relay.counter("rate_limited"), 1);
}

/// A message to a room counts as its deliveries: the one that exceeds the rate is delivered, the next is refused.
#[test]
fn delivery_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 100\nmessage_burst = 10\ndelivery_rate = 1");
    let (mut sender, mut other) = (relay.connect("room"), relay.connect("room"));
    for expected in [true, false] {
        sender.send(r#"{"data":1,"room_ids":"room"}"#);
        match expected {
            true => assert_eq!((sender.data(), other.data()), (json!(1), json!(1))),
            false => {
                assert_eq!(sender.json(), json!({"event": "sys_error", "msg": "message rate limit exceeded!"}));
            }
        }
    }
    assert_eq!(relay.counter("rate_limited"), 1);
    let free = Relay::start("[limits]\nmessage_burst = 1000\ndelivery_rate = 0");
    let mut sender = free.connect("room");
    for number in 0..500 {
        sender.send(&format!(r#"{{"data":{number},"room_ids":"room"}}"#));
        assert_eq!(sender.data(), json!(number));
    }
}

#[test]
fn no_message_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 0\nmessage_burst = 1");
    let mut client = relay.connect_with(&[("format", "text")]);
    client.socket.get_mut().write_all(&frame(TEXT, b"x").repeat(1000)).unwrap();
    for _ in 0..1000 {
        assert_eq!(client.text(), "x");
    }
    assert_eq!(relay.counter("rate_limited"), 0);
}

// Others unaffected.

/// A client that floods as fast as it can does not delay another's requests.
#[test]
fn a_flood_of_messages_delays_nobody() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    // To a room without members: a flood that comes back may fill the flooder's queue, which is another matter.
    let message = format!(r#"{{"data":"{}","room_ids":"nobody"}}"#, "x".repeat(100));
    let one = frame(TEXT, message.as_bytes());
    let mut stream = upgrade(relay.tcp(), &login(&[]));
    // Half a message is an event of its own, and what follows makes others: they must not add up to more turns.
    stream.write_all(&one[..10]).unwrap();
    relay.fence();
    let mut bytes = one.repeat(500);
    bytes.rotate_left(10);
    assert_turns(&relay, &stream, &bytes, one.len(), "client_messages");
    let flood = Flood::start(stream, bytes);
    wait_for("the flood", || (relay.counter("client_messages") > 2000).then_some(()));
    assert_turns_in_a_flood(&relay, one.len(), "client_messages");
    assert_eq!(relay.counter("slow_consumers"), 0);
    flood.stop();
}

/// A client that pipelines requests does not, either.
#[test]
fn a_flood_of_requests_delays_nobody() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = Relay::start("");
    let one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let flood = Flood::start(relay.tcp(), one.repeat(1000));
    wait_for("the flood", || (relay.counter("requests") > 2000).then_some(()));
    assert_turns_in_a_flood(&relay, one.len(), "requests");
    flood.stop();
}

/// Crowds that connect, send and leave do not make memory or descriptors grow.
#[test]
fn crowds_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let relay = Relay::start("");
    let mut admin = relay.tcp();
    ask_stats(&mut admin);
    relay.fill_journal();
    wait_for("its connection to be gone", || (ask_stats(&mut admin)["connections"] == 1).then_some(()));
    let descriptors = relay.descriptors();
    let mut wave = || {
        let mut crowd: Vec<TcpStream> = (0..2000)
            .map(|number| {
                upgrade(
                    relay.tcp(),
                    &login(&[("room_ids", &format!("r{}", number % 500)), ("userid", &number.to_string())]),
                )
            })
            .collect();
        for client in &mut crowd {
            client.write_all(&frame(TEXT, br#"{"event":"postMsg","data":"hello","room_ids":"r7","ack":1}"#)).unwrap();
        }
        for client in &mut crowd {
            assert!(client.read(&mut [0; 1000]).unwrap() > 0);
        }
        drop(crowd);
        wait_for("the crowd to be gone", || (ask_stats(&mut admin)["connections"] == 1).then_some(()));
        peak_rss(&relay)
    };
    let first = wave();
    let last = [wave(), wave()][1];
    assert!(last <= first + first / 10, "{first} kB after the first wave, {last} kB after the third");
    assert_eq!(relay.descriptors(), descriptors);
    assert_eq!((relay.stat("/sessions"), relay.stat("/rooms")), (0, 0));
}

// Help.

/// Held by tests that need a whole processor.
static ALONE: Mutex<()> = Mutex::new(());

const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Makes a connection a WebSocket without anything around it, for tests with thousands.
fn upgrade(mut stream: TcpStream, query: &str) -> TcpStream {
    send_request(&mut stream, "GET", &format!("/ws?{query}"), &UPGRADE, b"");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut part = [0; 512];
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "refused: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
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

/// Hangs up, or resets.
fn leave(stream: TcpStream, reset: bool) {
    if reset {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A relay that may have so many descriptors.
fn limited(descriptors: u32) -> Relay {
    let config = support::temp_file("relay.toml");
    fs::write(&config, Relay::configuration("")).unwrap();
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" serve --config \"$1\"");
    command.arg("-c").arg(script).arg(support::binary()).arg(&config);
    Relay::spawn(command, config)
}

/// Asks for the statistics on a connection that is there already.
fn ask_stats(stream: &mut TcpStream) -> Value {
    send_request(stream, "GET", "/api/stats", &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
    read_answer(stream, false).json()
}

/// A connection on which something was asked.
fn probe(relay: &Relay) -> TcpStream {
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    stream
}

/// The most memory the relay ever had, in kB.
fn peak_rss(relay: &Relay) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Asserts that an answer has this status and the shape of every refusal, and that the connection ends.
fn assert_refused(text: &str, status: u16) {
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{status} was wanted: {text:?}");
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["code"], &body["data"]), (&json!(0), &json!("")), "{body}");
}

/// Asserts that a request gets its turn although another connection has much to read. While the relay is stopped, the
/// kernel takes as many `parts` as it has room for, and then a question. Its answer counts the parts that were handled
/// before it, which may be what a turn reads of one connection. Serving a connection until nothing is left would handle
/// all of them. `counter` counts the parts, each of `length` bytes.
fn assert_turns(relay: &Relay, flooder: &TcpStream, parts: &[u8], length: usize, counter: &str) {
    let mut prober = relay.tcp();
    for round in 0..20 {
        let before = count(&mut prober, counter);
        relay.signal(SIGSTOP);
        let written = fill(flooder, parts);
        let sent = written / length;
        send_request(&mut prober, "GET", "/api/stats", &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
        relay.signal(SIGCONT);
        let stats = read_answer(&mut prober, false).json();
        let handled = stats["counters"][counter].as_u64().unwrap() - before;
        assert!(sent * length > 2 * TURNS, "the kernel takes too little to tell: {sent} parts");
        assert!(handled as usize * length < TURNS, "round {round}: {handled} of {sent} parts came before the question");
        // The rest of the last part.
        let rest = length - written % length;
        (&mut &*flooder).write_all(&parts.repeat(2)[written % parts.len()..][..rest]).unwrap();
        wait_for("the rest", || (count(&mut prober, counter) == before + sent as u64 + 1).then_some(()));
    }
}

/// Asserts the same during a flood that goes on, where only the quickest of many questions can tell: for the others, this
/// thread may have been kept waiting.
fn assert_turns_in_a_flood(relay: &Relay, length: usize, counter: &str) {
    let mut prober = relay.tcp();
    let counts: Vec<u64> = (0..100).map(|_| count(&mut prober, counter)).collect();
    let least = counts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!((least as usize) * length < TURNS, "at least {least} parts between two answers");
    wait_for("the flood to go on", || (count(&mut prober, counter) > counts[99] + 100).then_some(()));
}

/// Four times what the relay reads of a connection in a turn.
const TURNS: usize = 4 * 65_536;

fn count(stream: &mut TcpStream, counter: &str) -> u64 {
    ask_stats(stream)["counters"][counter].as_u64().unwrap()
}

/// Writes `parts` again and again until the kernel takes no more. Returns the number of bytes written.
fn fill(mut stream: &TcpStream, parts: &[u8]) -> usize {
    let mut sent = 0;
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.write(&parts[sent % parts.len()..]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

/// Two threads: one writes the same bytes for ever, the other reads whatever comes.
struct Flood {
    stream: TcpStream,
    stopped: Arc<AtomicBool>,
    threads: [thread::JoinHandle<()>; 2],
}

impl Flood {
    fn start(stream: TcpStream, bytes: Vec<u8>) -> Flood {
        let stopped = Arc::new(AtomicBool::new(false));
        let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let (flag, other) = (stopped.clone(), stopped.clone());
        let threads = [
            thread::spawn(move || while !flag.load(Ordering::Relaxed) && writer.write_all(&bytes).is_ok() {}),
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while !other.load(Ordering::Relaxed) {
                    match reader.read(&mut buffer) {
                        Ok(0) => break,
                        Err(error) if error.kind() != ErrorKind::Interrupted => break,
                        _ => {}
                    }
                }
            }),
        ];
        Flood { stream, stopped, threads }
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
