//! docs/protocol.md, Running: how relay stops. It accepts nobody, closes clients with 1001, delivers queued messages
//! and answers, and is done within `shutdown_timeout`.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use crate::support::{
    self, Client, FORM, KEY, PATIENCE, Relay, UPGRADE, form, login, notify_sign, read_answer, send_request, wait_for,
};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Longer than a test waits for the end: a relay that ends only when this is over has failed.
const LONG: &str = "shutdown_timeout = 60";

#[test]
fn clients_get_close_1001() {
    for signal in [SIGTERM, SIGINT] {
        let mut relay = Relay::start(LONG);
        let mut clients = [relay.connect("a"), relay.connect("b"), relay.connect_with(&[("format", "text")])];
        relay.signal(signal);
        for client in &mut clients {
            assert!(matches!(client.next(), Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
            // Reading on sends the answer and finds the end.
            assert!(client.socket.read().is_err());
        }
        assert_eq!(relay.wait(), 0, "signal {signal}");
        relay.wait_log("stopped with 0 connections left");
    }
}

#[test]
fn without_clients_it_ends_at_once() {
    let mut relay = Relay::start(LONG);
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
}

/// While the last clients leave, the kernel refuses connections, so that a load balancer goes elsewhere; the port is free
/// for the next relay already.
#[test]
fn the_port_is_free_at_once() {
    let mut relay = Relay::start(&format!("listen = [\"127.0.0.1:0\", \"[::1]:0\"]\n{LONG}"));
    let stays = relay.connect("room");
    stop(&relay, SIGTERM);
    for address in relay.addresses(2) {
        let error = TcpStream::connect(&address).expect_err("nobody listens any more");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
    let mut next = again(&relay);
    assert_eq!(next.get("/healthz").status, 200);
    assert!(relay.child.try_wait().unwrap().is_none(), "the first still waits for its client");
    drop(stays);
    assert_eq!(relay.wait(), 0);
    // And once more after an ordinary end with connections that we closed first.
    let mut client = next.connect("room");
    next.signal(SIGTERM);
    assert_eq!(client.close_code(), 1001);
    drop(client);
    assert_eq!(next.wait(), 0);
    assert_eq!(again(&relay).get("/healthz").status, 200);
}

/// A slow reader gets all that was queued before, in order, and then the close.
#[test]
fn queued_messages_come_before_the_close() {
    let mut relay = Relay::start(LONG);
    let mut slow = small_client(&relay);
    let data = |number: usize| format!("{number:03} {}", "x".repeat(10_000));
    (0..80).for_each(|number| relay.notify("room", &data(number)));
    stop(&relay, SIGTERM);
    for number in 0..80 {
        if number % 10 == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(slow.data(), data(number));
    }
    assert_eq!(slow.close_code(), 1001);
    assert!(slow.socket.read().is_err());
    assert_eq!(relay.wait(), 0);
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let mut relay = Relay::start(LONG);
    let mut used = relay.tcp();
    send_request(&mut used, "GET", "/healthz", &[], b"");
    assert_eq!(read_answer(&mut used, false).status, 200);
    let mut fresh = relay.tcp();
    wait_for("both to be there", || (relay.stat("/connections") == 3).then_some(()));
    relay.signal(SIGTERM);
    for stream in [&mut used, &mut fresh] {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    }
    assert_eq!(relay.wait(), 0);
}

/// Whether its head or its body is half there, a request that has begun is answered, and the connection ends.
#[test]
fn requests_in_progress_are_answered() {
    let mut relay = Relay::start(LONG);
    let body = form(&[
        ("source", "demo"),
        ("room_id", "room"),
        ("data", "x"),
        ("sign", &notify_sign("demo", "room", "x", KEY)),
    ]);
    let mut request = Vec::new();
    send_request(&mut request, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    let cuts = [1, 30, request.len() - body.len(), request.len() - 1];
    let mut streams: Vec<TcpStream> = cuts
        .iter()
        .map(|cut| {
            let mut stream = relay.tcp();
            stream.write_all(&request[..*cut]).unwrap();
            stream
        })
        .collect();
    wait_for("all to be there", || (relay.stat("/connections") == 5).then_some(()));
    stop(&relay, SIGTERM);
    for (stream, cut) in streams.iter_mut().zip(cuts) {
        stream.write_all(&request[cut..]).unwrap();
        let answer = read_answer(stream, false);
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (200, Some(1)), "{cut}: {answer:?}");
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    }
    drop(streams);
    assert_eq!(relay.wait(), 0);
}

/// A client whose connection was just accepted has its request answered: with relay.socket, no client notices a restart.
#[test]
fn the_first_request_is_answered() {
    // It has a second. On a busy machine this may take longer: then it is tried again.
    for _ in 0..10 {
        let mut relay = Relay::start(LONG);
        let begin = Instant::now();
        let mut stream = relay.tcp();
        wait_for("it to be there", || (relay.stat("/connections") == 2).then_some(()));
        stop(&relay, SIGTERM);
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        if begin.elapsed() < Duration::from_millis(900) {
            let answer = read_answer(&mut stream, false);
            assert_eq!((answer.status, answer.header("connection")), (503, "close"), "{answer:?}");
            assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
            assert_eq!(relay.wait(), 0);
            return;
        }
    }
    panic!("this machine is too slow to tell");
}

/// A client that keeps connections must not send its next request on one that is about to end (RFC 9112, 9.6).
#[test]
fn the_last_answer_says_that_it_is_the_last() {
    let relay = Relay::start(LONG);
    let mut stream = relay.tcp();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    wait_for("it to be there", || (relay.stat("/connections") == 2).then_some(()));
    stop(&relay, SIGTERM);
    stream.write_all(b"Host: x\r\n\r\n").unwrap();
    let answer = read_answer(&mut stream, false);
    assert_eq!(answer.header("connection"), "close", "{answer:?}");
}

/// A login that had begun is not let in, or is told at once to come back: either way nothing waits for it.
#[test]
fn no_logins_during_shutdown() {
    let mut relay = Relay::start(LONG);
    let mut request = Vec::new();
    send_request(&mut request, "GET", &format!("/ws?{}", login(&[])), &UPGRADE, b"");
    let mut stream = relay.tcp();
    stream.write_all(&request[..20]).unwrap();
    wait_for("it to be there", || (relay.stat("/connections") == 2).then_some(()));
    stop(&relay, SIGTERM);
    stream.write_all(&request[20..]).unwrap();
    let answer = read_answer(&mut stream, false);
    if answer.status == 101 {
        let mut frame = [0; 4];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!((frame[0], u16::from_be_bytes([frame[2], frame[3]])), (0x88, 1001));
    } else {
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (503, Some(0)), "{answer:?}");
    }
    drop(stream);
    assert_eq!(relay.wait(), 0);
}

/// Clients that never read or never answer, and requests that never end, do not hold relay beyond its time.
#[test]
fn it_ends_in_time() {
    let mut relay = Relay::start("shutdown_timeout = 0.7");
    let mut silent = relay.connect("elsewhere");
    let _stuck = small_client(&relay);
    (0..50).for_each(|_| relay.notify("room", &"x".repeat(16_000)));
    let mut half = relay.tcp();
    half.write_all(b"POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsource").unwrap();
    wait_for("all to be there", || (relay.stat("/connections") == 4).then_some(()));
    let begin = Instant::now();
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    assert!(begin.elapsed() >= Duration::from_millis(690), "they had no time: {:?}", begin.elapsed());
    assert_eq!(silent.close_code(), 1001);
}

/// With no time at all, clients still get the close.
#[test]
fn no_time_at_all() {
    let mut relay = Relay::start("shutdown_timeout = 0");
    let mut client = relay.connect("room");
    relay.notify("room", "last");
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    assert_eq!(client.data(), "last");
    assert_eq!(client.close_code(), 1001);
}

/// All clients leave at once and come back at once, so `user_quit` is not sent.
#[test]
fn no_user_quit_during_shutdown() {
    let mut relay = Relay::start(LONG);
    let quitters = [("userid", "1"), ("watch_quit", "1")];
    let (mut first, mut second, third) =
        (relay.connect_with(&quitters), relay.connect_with(&quitters), relay.connect_with(&quitters));
    let mut stays = relay.connect("room");
    relay.notify("room", "hello");
    stop(&relay, SIGTERM);
    // One answers, one drops the connection, one stays for a while.
    for client in [&mut first, &mut second] {
        assert_eq!(client.data(), "hello");
        assert!(matches!(client.next(), Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
    }
    assert!(first.socket.read().is_err());
    // The relay answers no questions any more: its open descriptors say that it has noticed.
    let before = relay.descriptors();
    drop((first, third));
    wait_for("both to be gone", || (relay.descriptors() < before).then_some(()));
    let mut rest = Vec::new();
    assert_eq!(stays.data(), "hello");
    assert!(matches!(stays.next(), Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
    drop(second);
    // What follows the close would be a message about those who left.
    let stream = stays.socket.get_mut();
    stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]).unwrap();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "");
    assert_eq!(relay.wait(), 0);
}

/// The second signal ends relay at once. A reload in between changes nothing.
#[test]
fn the_second_signal_is_the_end() {
    for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGTERM, SIGINT)] {
        let mut relay = Relay::start(LONG);
        let _silent = relay.connect("room");
        stop(&relay, first);
        relay.signal(SIGHUP);
        thread::sleep(Duration::from_millis(100));
        assert!(relay.child.try_wait().unwrap().is_none(), "it waits for its client");
        relay.signal(second);
        assert_eq!(relay.wait(), 0);
    }
}

// Help.

/// Sends a signal and waits until the relay has stopped listening.
fn stop(relay: &Relay, signal: i32) {
    relay.signal(signal);
    relay.wait_log("stopping: ");
    wait_for("the listeners to close", || TcpStream::connect(relay.addr).is_err().then_some(()));
}

/// A second relay on the same port.
fn again(relay: &Relay) -> Relay {
    let config = support::temp_file("again.toml");
    std::fs::write(&config, Relay::configuration(LONG)).unwrap();
    let mut command = Command::new(support::binary());
    command.arg("--config").arg(&config).arg("--listen").arg(relay.addr.to_string());
    let next = Relay::spawn(command, config);
    assert_eq!(next.addr, relay.addr);
    next
}

/// A client in `room` whose kernel takes little for it.
fn small_client(relay: &Relay) -> Client {
    let socket = Socket::new(Domain::for_address(relay.addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&relay.addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::open(stream, &format!("/ws?{}", login(&[]))).unwrap()
}
