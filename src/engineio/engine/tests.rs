use super::*;
use crate::key::{Handle, Key};

const TIMING: Timing = Timing {
    ping_interval: Duration::from_millis(300),
    ping_timeout: Duration::from_millis(200),
    connect_timeout: Duration::from_millis(1000),
};

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

fn conn(number: u64) -> ConnKey {
    ConnKey::wrap(Key::from_bits((1 << 32) | number).unwrap())
}

fn engine(revision: Revision) -> Engine {
    Engine::new(revision, Transport::Polling(None), &TIMING, at(0))
}

#[test]
fn revision_4_must_answer_pings() {
    let mut engine = engine(Revision::V4);
    engine.set_state(true, false, &TIMING, at(0));
    assert_eq!((engine.poll_timeout(), engine.handle_timeout(&TIMING, at(299))), (at(300), Expired::Nothing));
    assert_eq!(engine.handle_timeout(&TIMING, at(310)), Expired::Ping);
    assert_eq!(engine.poll_timeout(), at(400), "counted from when the ping was due");
    assert_eq!(engine.handle_packet(&Packet::Pong(""), &TIMING, at(400)), Ok(Meaning::Nothing));
    assert_eq!(engine.poll_timeout(), at(700));
    assert_eq!(engine.handle_timeout(&TIMING, at(700)), Expired::Ping);
    // A message does not answer a ping.
    assert_eq!(engine.handle_packet(&Packet::Text("x"), &TIMING, at(800)), Ok(Meaning::Message));
    assert_eq!((engine.handle_timeout(&TIMING, at(800)), engine.poll_timeout()), (Expired::Overdue, at(900)));
    assert_eq!(engine.handle_timeout(&TIMING, at(899)), Expired::Nothing);
    assert_eq!(engine.handle_timeout(&TIMING, at(900)), Expired::Dead);
    assert_eq!(engine.handle_packet(&Packet::Ping(""), &TIMING, at(900)), Err(Error::HeartbeatDirection));
}

#[test]
fn revision_3_must_send_packets() {
    let mut engine = engine(Revision::V3);
    engine.set_state(true, false, &TIMING, at(0));
    assert_eq!((engine.poll_timeout(), engine.handle_timeout(&TIMING, at(399))), (at(400), Expired::Nothing));
    assert_eq!(engine.handle_packet(&Packet::Ping(""), &TIMING, at(300)), Ok(Meaning::Pong));
    assert_eq!(engine.handle_packet(&Packet::Text(""), &TIMING, at(700)), Ok(Meaning::Message));
    assert_eq!(engine.handle_timeout(&TIMING, at(1100)), Expired::Overdue);
    assert_eq!(engine.handle_timeout(&TIMING, at(1199)), Expired::Nothing);
    assert_eq!(engine.handle_timeout(&TIMING, at(1200)), Expired::Dead);
    assert_eq!(engine.handle_packet(&Packet::Pong(""), &TIMING, at(0)), Err(Error::HeartbeatDirection));
}

#[test]
fn a_session_without_a_namespace_times_out() {
    let timing = Timing { ping_interval: Duration::from_secs(25), ..TIMING };
    let mut engine = Engine::new(Revision::V4, Transport::Polling(None), &timing, at(0));
    assert_eq!(engine.poll_timeout(), at(1000));
    engine.set_state(true, false, &timing, at(500));
    assert_eq!(engine.handle_timeout(&timing, at(1000)), Expired::Nothing);
    engine.set_state(false, false, &timing, at(2000));
    assert_eq!(engine.handle_timeout(&timing, at(2999)), Expired::Nothing);
    assert_eq!(engine.handle_timeout(&timing, at(3000)), Expired::Dead);
    engine.set_state(true, false, &timing, at(3000));
    engine.set_state(true, true, &timing, at(3000));
    assert_eq!(engine.handle_timeout(&timing, at(33_000)), Expired::Dead);
}

#[test]
fn a_second_poll_is_refused() {
    let mut engine = engine(Revision::V4);
    assert_eq!(engine.handle_poll(conn(1)), Ok(Polled::Waits));
    assert_eq!(engine.handle_poll(conn(2)), Err(Error::PollPending));
    assert_eq!((engine.take_poll(), engine.take_poll()), (Some(conn(1)), None));
    assert_eq!(engine.handle_poll(conn(2)), Ok(Polled::Waits));
    assert!(!engine.handle_end(conn(1)), "that poll was answered");
    assert!(engine.handle_end(conn(2)), "an aborted poll ends the session");
}

#[test]
fn upgrades() {
    let mut engine = engine(Revision::V4);
    engine.handle_poll(conn(1)).unwrap();
    engine.handle_probe(conn(9), false, at(0)).unwrap();
    assert_eq!(engine.handle_probe(conn(8), false, at(0)), Err(Error::ProbePending));
    assert_eq!(engine.upgrade(), Err(Error::UpgradeWithoutProbe), "the probe is not answered yet");
    assert_eq!(engine.answer_probe(), Some(conn(1)));
    assert_eq!(engine.handle_poll(conn(1)), Ok(Polled::Noop));
    assert!(engine.takes_posts());
    assert_eq!(engine.upgrade(), Ok(None));
    assert_eq!(engine.transport, Transport::WebSocket(conn(9)));
    assert_eq!(engine.handle_poll(conn(1)), Err(Error::OtherTransport));
    assert_eq!(engine.handle_probe(conn(7), false, at(0)), Err(Error::HasWebSocket));
    assert!(!engine.takes_posts() && !engine.handle_end(conn(1)) && engine.handle_end(conn(9)));
}

#[test]
fn a_failed_probe_leaves_polling_as_it_was() {
    let mut engine = engine(Revision::V3);
    engine.handle_poll(conn(1)).unwrap();
    engine.handle_probe(conn(9), false, at(0)).unwrap();
    assert!(!engine.handle_end(conn(9)));
    assert_eq!(engine.transport, Transport::Polling(Some(conn(1))));
    let timing = Timing { ping_interval: Duration::from_secs(25), connect_timeout: Duration::from_secs(45), ..TIMING };
    let mut engine = Engine::new(Revision::V4, Transport::Polling(None), &timing, at(0));
    engine.handle_probe(conn(9), false, at(0)).unwrap();
    assert_eq!(engine.poll_timeout(), at(10_000));
    assert_eq!(engine.handle_timeout(&timing, at(10_000)), Expired::Probe(conn(9)));
    assert_eq!(engine.handle_poll(conn(1)), Ok(Polled::Waits));
}
