//! How many connections, sessions and clients there may be, and how long they may take.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::{SIGCONT, SIGSTOP, ask, ask_stats, clients, leave, upgrade};
use crate::support::{
    self, Client, PATIENCE, Relay, UPGRADE, login, read_answer, send_request, wait_for,
    websocket::{TEXT, frame},
};

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

/// A relay that may have so many descriptors.
fn limited(descriptors: u32) -> Relay {
    let config = support::temp_file("relay.toml");
    fs::write(&config, Relay::configuration("")).unwrap();
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" serve --config \"$1\"");
    command.arg("-c").arg(script).arg(support::binary()).arg(&config);
    Relay::spawn(command, config)
}

/// A connection on which something was asked.
fn probe(relay: &Relay) -> TcpStream {
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    stream
}
