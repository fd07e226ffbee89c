//! Pings and pongs, and clients that give no sign of life.

use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Relay, websocket::*};

#[test]
fn client_that_answers_pings_stays() {
    let relay = Relay::start("[websocket]\nping_interval = 0.5\nping_timeout = 2");
    let begin = Instant::now();
    let mut raw = Raw::open(&relay, &[("format", "text")]);
    for number in 1..=4 {
        let (first, payload) = raw.frame();
        assert_eq!(first, PING, "nothing else was sent");
        assert!(begin.elapsed() >= Duration::from_millis(450 * number), "ping {number} after {:?}", begin.elapsed());
        raw.send(&frame(PONG, &payload));
    }
    raw.send(&frame(TEXT, b"still here"));
    let mut next = raw.frame();
    while next.0 == PING {
        raw.send(&frame(PONG, &next.1));
        next = raw.frame();
    }
    assert_eq!(next, (TEXT, b"still here".to_vec()));
    assert_eq!(relay.counter("ping_timeouts"), 0);
}

/// The deadline moves nearer when a pong arrives, if the time-out is longer than the interval.
#[test]
fn pings_go_on_when_the_timeout_is_longer_than_the_interval() {
    let relay = Relay::start("[websocket]\nping_interval = 0.2\nping_timeout = 600");
    let mut raw = Raw::open(&relay, &[]);
    for _ in 0..3 {
        let (first, payload) = raw.frame();
        assert_eq!(first, PING);
        raw.send(&frame(PONG, &payload));
    }
}

#[test]
fn client_that_answers_no_ping_is_dropped() {
    let relay = Relay::start("[websocket]\nping_interval = 0.2\nping_timeout = 0.2");
    let begin = Instant::now();
    let mut raw = Raw::open(&relay, &[("watch_quit", "1")]);
    let (first, _) = raw.frame();
    assert_eq!(first, PING);
    let pinged = begin.elapsed();
    let end = wait_end(&mut raw);
    let gone = begin.elapsed();
    assert!(pinged >= Duration::from_millis(180), "pinged after {pinged:?}");
    assert!(gone >= Duration::from_millis(380), "gone after {gone:?} with {end:?}");
    assert_eq!((relay.counter("ping_timeouts"), relay.stat("/sessions")), (1, 0));
    // Operators see that it was relay that gave up.
    assert_eq!(relay.metric("relay_closes_total{reason=\"timeout\"}"), 1);
    let why = relay.admin("/api/why?source=demo&userid=7").json()["data"]["lines"].to_string();
    assert!(why.contains(" was lost: no answer to a ping\""), "{why}");
}

/// Received messages are not a sign of life.
#[test]
fn client_that_only_receives_is_dropped() {
    let relay = Relay::start("[websocket]\nping_interval = 0.1\nping_timeout = 0.1");
    let raw = Raw::open(&relay, &[]);
    let begin = Instant::now();
    while relay.stat("/sessions") == 1 {
        relay.notify("room", "are you there?");
        assert!(begin.elapsed() < PATIENCE, "it is still here");
    }
    drop(raw);
}
