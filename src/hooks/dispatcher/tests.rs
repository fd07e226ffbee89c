//! The queue with a backend that answers, fails, and recovers.

use super::*;
use crate::{
    http::response::Malformed,
    key::{ClientKey, Slots},
};

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

fn dispatcher() -> Dispatcher {
    let mut dispatcher = Dispatcher::default();
    dispatcher.reset(true);
    dispatcher.configure(Duration::from_secs(3), 1000);
    dispatcher
}

fn lanes<const N: usize>() -> [Lane; N] {
    let mut slots: Slots<ClientKey, ()> = Slots::new();
    [(); N].map(|()| (slots.insert(()), 0))
}

fn call(number: u64, lane: Lane, kind: Kind) -> Call {
    Call { number, lane, kind, id: number.to_string().into(), body: "{}".into(), extra: 0 }
}

fn sent(dispatcher: &mut Dispatcher, now: Time) -> Vec<u64> {
    core::iter::from_fn(|| dispatcher.poll_send(now).map(|call| call.number)).collect()
}

fn ok() -> Response {
    Response { status: 200, body: b"{}".to_vec(), reusable: true }
}

fn answered(number: u64) -> Finished {
    Finished { number, result: Ok(b"{}".to_vec()) }
}

fn failed(number: u64, failure: Failure) -> Finished {
    Finished { number, result: Err(failure) }
}

fn refused() -> AttemptError {
    AttemptError::NoConnection("refused".into())
}

#[test]
fn lanes_keep_their_order_and_take_turns() {
    let mut hooks = dispatcher();
    let [one, two] = lanes();
    for (number, lane) in [(1, one), (2, one), (3, one), (4, two)] {
        hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
    }
    assert_eq!(sent(&mut hooks, at(0)), [1, 4]);
    assert_eq!(hooks.handle_response(4, ok(), at(1)), [answered(4)]);
    assert_eq!(sent(&mut hooks, at(1)), [0; 0]);
    hooks.handle_response(1, ok(), at(1));
    assert_eq!(sent(&mut hooks, at(1)), [2]);
    hooks.handle_response(2, ok(), at(1));
    assert_eq!(sent(&mut hooks, at(1)), [3]);
    assert_eq!(hooks.handle_response(3, ok(), at(1)).len(), 1);
    assert!(hooks.is_empty() && hooks.deadline() == Time::NEVER && hooks.lanes.is_empty());
}

/// A deadline that has passed although nothing can be done would make the event loop spin.
#[test]
fn no_deadline_without_something_to_do() {
    let mut hooks = dispatcher();
    let all: [Lane; 40] = lanes();
    for (number, lane) in all.iter().enumerate() {
        hooks.submit(call(number as u64, *lane, Kind::Disconnect), at(0)).unwrap();
    }
    sent(&mut hooks, at(0));
    assert_eq!(hooks.deadline(), at(3000), "no place, though more could go");
    for number in 0..3 {
        hooks.handle_attempt_error(number, refused(), at(0));
    }
    sent(&mut hooks, at(0));
    assert_eq!(hooks.deadline(), at(3000), "three to be tried again in 200 ms, and no place");
    for number in 3..32 {
        hooks.handle_attempt_error(number, refused(), at(0));
    }
    let probe = hooks.breaker.open_until().unwrap();
    for number in 32..35 {
        hooks.handle_attempt_error(number, refused(), at(0));
    }
    assert!(hooks.sent.is_empty() && hooks.deadline() >= probe.min(hooks.breaker.open_until().unwrap()));
    let probe = hooks.breaker.open_until().unwrap();
    assert_eq!(sent(&mut hooks, probe).len(), 1);
    assert_eq!(hooks.deadline(), probe.after(Duration::from_secs(3)), "one is on its way to see");
}

#[test]
fn what_waits_is_bounded() {
    let mut hooks = dispatcher();
    let all: [Lane; 40] = lanes();
    let mut number = 0;
    let mut submit = |hooks: &mut Dispatcher, lane, kind| {
        number += 1;
        hooks.submit(call(number, lane, kind), at(0))
    };
    for _ in 0..MOST_IN_LANE {
        submit(&mut hooks, all[0], Kind::Message).unwrap();
    }
    assert_eq!(submit(&mut hooks, all[0], Kind::Message), Err(Failure::Busy), "one lane");
    assert_eq!(submit(&mut hooks, all[0], Kind::Disconnect), Ok(()));
    while hooks.len() < 900 {
        let lane = all[1 + hooks.len() % 39];
        submit(&mut hooks, lane, Kind::Message).unwrap();
    }
    assert_eq!(submit(&mut hooks, all[39], Kind::Message), Err(Failure::Busy), "events leave room for logins");
    while hooks.len() < 1000 {
        let lane = all[1 + hooks.len() % 39];
        submit(&mut hooks, lane, Kind::Connect).unwrap();
    }
    assert_eq!(submit(&mut hooks, all[39], Kind::Connect), Err(Failure::Busy), "all of them");
    assert_eq!(sent(&mut hooks, at(0)).len(), MOST_SENT);
}

#[test]
fn only_what_is_safe_is_tried_again() {
    let [lane] = lanes();
    let timeout = |kind| {
        let mut hooks = dispatcher();
        hooks.submit(call(1, lane, kind), at(0)).unwrap();
        assert_eq!(sent(&mut hooks, at(0)), [1]);
        assert_eq!(hooks.deadline(), at(3000));
        assert_eq!(hooks.poll_expired(at(2999)), None);
        assert_eq!(hooks.poll_expired(at(3000)), Some(1));
        let finished = hooks.handle_attempt_error(1, AttemptError::Timeout, at(3000));
        (finished, hooks)
    };
    assert_eq!(timeout(Kind::Message).0, [failed(1, Failure::Timeout)]);
    assert_eq!(timeout(Kind::Connect).0, [failed(1, Failure::Timeout)], "its client has waited long enough");
    let (finished, mut hooks) = timeout(Kind::Disconnect);
    assert_eq!((finished, hooks.deadline()), (vec![], at(3200)));
    assert_eq!(sent(&mut hooks, at(3199)), [0; 0]);
    assert_eq!(sent(&mut hooks, at(3200)), [1]);

    // A call that the backend has not seen can be sent again.
    let mut hooks = dispatcher();
    hooks.submit(call(1, lane, Kind::Message), at(0)).unwrap();
    for (now, wait) in [(0, 200), (200, 400), (600, 800), (1400, 0)] {
        assert_eq!(sent(&mut hooks, at(now)), [1]);
        let finished = hooks.handle_attempt_error(1, refused(), at(now));
        match wait {
            0 => assert_eq!(finished, [failed(1, refused().into())], "not longer than its timeout"),
            wait => assert_eq!((finished, hooks.deadline()), (vec![], at(now + wait))),
        }
    }
    // Most likely it has not seen a call on a connection that it had just closed, either. Such a call is sent again
    // once.
    let mut hooks = dispatcher();
    hooks.submit(call(1, lane, Kind::Message), at(0)).unwrap();
    assert_eq!(sent(&mut hooks, at(0)), [1]);
    assert_eq!(hooks.handle_attempt_error(1, AttemptError::Stale, at(1)), []);
    assert_eq!(sent(&mut hooks, at(1)), [1]);
    assert_eq!(hooks.handle_attempt_error(1, AttemptError::Stale, at(2)).len(), 1);
}

#[test]
fn a_backend_that_is_down_is_left_alone() {
    let mut hooks = dispatcher();
    let all: [Lane; 20] = lanes();
    for (number, lane) in all.iter().enumerate() {
        hooks.submit(call(number as u64, *lane, Kind::Message), at(0)).unwrap();
    }
    hooks.submit(call(100, all[0], Kind::Message), at(0)).unwrap();
    hooks.submit(call(101, all[0], Kind::Disconnect), at(0)).unwrap();
    assert_eq!(sent(&mut hooks, at(0)).len(), 20);
    let error = Response { status: 503, ..ok() };
    for number in 0..4 {
        assert_eq!(hooks.handle_response(number, error.clone(), at(1)).len(), 1);
    }
    assert_eq!(hooks.health(), &Health::Fine);
    let finished = hooks.handle_response(4, error.clone(), at(1));
    assert_eq!(hooks.health(), &Health::Failing("status 503".into()));
    assert_eq!(
        finished,
        [failed(4, Failure::Status(503)), failed(100, Failure::Status(503))],
        "what waits does not wait longer"
    );
    assert_eq!(hooks.submit(call(200, all[5], Kind::Connect), at(2)), Err(Failure::Status(503)));
    for number in 5..20 {
        hooks.handle_response(number, error.clone(), at(3));
    }
    // After a pause one call is sent, and only one.
    let probe = hooks.deadline();
    assert!(probe > at(500), "{probe:?}");
    assert_eq!(sent(&mut hooks, at(400)), [0; 0]);
    assert_eq!(sent(&mut hooks, probe), [101]);
    hooks.handle_response(101, ok(), probe);
    assert_eq!(hooks.health(), &Health::Fine);
    hooks.submit(call(300, all[7], Kind::Message), probe).unwrap();
    assert_eq!(sent(&mut hooks, probe), [300]);
    hooks.handle_response(300, ok(), probe);
    assert!(hooks.is_empty() && hooks.lanes.is_empty());
}

/// The backend hangs once, with many calls in flight, and is well again. It is tested after the first pause: the calls
/// that were in flight are one failure, whenever they end.
#[test]
fn a_hiccup_costs_one_pause() {
    for in_flight in [4, 5, 10, 32] {
        for at_once in [true, false] {
            let mut hooks = dispatcher();
            let all: [Lane; 32] = lanes();
            for number in 0..in_flight {
                hooks.submit(call(number, all[number as usize], Kind::Message), at(0)).unwrap();
            }
            assert_eq!(sent(&mut hooks, at(0)).len() as u64, in_flight);
            let fail = |hooks: &mut Dispatcher, numbers: core::ops::Range<u64>, now| {
                numbers.for_each(|number| drop(hooks.handle_attempt_error(number, AttemptError::Timeout, now)));
            };
            // Five of them open the breaker. The others fail at the same time, or much later.
            let first = in_flight.min(5);
            fail(&mut hooks, 0..if at_once { in_flight } else { first }, at(3000));
            let mut refused = 0;
            let mut now = 3000;
            while hooks.submit(call(100 + now, all[0], Kind::Message), at(now)).is_err() {
                (refused, now) = (refused + 1, now + 100);
            }
            assert!(refused <= 15, "{in_flight} in flight: {refused} of one call every 100 ms were refused");
            assert_eq!(refused > 0, in_flight >= 5, "{in_flight} in flight");
            // The test is sent although others still hang.
            assert_eq!(sent(&mut hooks, at(now)), [100 + now], "{in_flight} in flight");
            assert_eq!(hooks.handle_response(100 + now, ok(), at(now)).len(), 1);
            if !at_once {
                fail(&mut hooks, first..in_flight, at(now + 10));
            }
            assert_eq!(hooks.health(), &Health::Fine, "{in_flight} in flight");
            hooks.submit(call(5000, all[0], Kind::Message), at(now + 20)).unwrap();
            assert_eq!(sent(&mut hooks, at(now + 20)), [5000]);
            hooks.handle_response(5000, ok(), at(now + 20));
            assert!(hooks.is_empty() && hooks.sent.is_empty() && hooks.lanes.is_empty(), "{in_flight} in flight");
        }
    }
}

/// A call that was sent before the breaker opened may fail while the test is in flight: the test decides.
#[test]
fn the_test_decides() {
    let mut hooks = dispatcher();
    let all: [Lane; 8] = lanes();
    for number in 0..7 {
        hooks.submit(call(number, all[number as usize], Kind::Message), at(0)).unwrap();
    }
    assert_eq!(sent(&mut hooks, at(0)).len(), 7);
    (0..5).for_each(|number| drop(hooks.handle_attempt_error(number, AttemptError::Timeout, at(0))));
    let until = hooks.breaker.open_until().unwrap();
    hooks.submit(call(10, all[7], Kind::Message), until).unwrap();
    assert_eq!(sent(&mut hooks, until), [10]);
    hooks.handle_attempt_error(5, AttemptError::Timeout, until);
    assert_eq!(hooks.breaker.open_until(), Some(until), "that call is no test");
    assert!(hooks.submit(call(11, all[0], Kind::Message), until).is_err(), "and the test is still in flight");
    // The test failed on a connection that the backend had just closed: it is repeated at once.
    hooks.handle_attempt_error(10, AttemptError::Stale, until);
    assert_eq!(sent(&mut hooks, until), [10]);
    hooks.handle_attempt_error(10, AttemptError::Timeout, until);
    let next = hooks.breaker.open_until().unwrap();
    assert!((1000..=3000).contains(&next.since(until).as_millis()), "the second pause");
    hooks.handle_attempt_error(6, AttemptError::Timeout, until);
    assert_eq!(hooks.breaker.open_until(), Some(next));
    assert!(hooks.is_empty() && hooks.lanes.is_empty() && hooks.overdue.is_empty());
}

/// A client that provokes errors does not open the breaker for others.
#[test]
fn a_backend_that_says_no_is_alive() {
    let mut hooks = dispatcher();
    let [lane] = lanes();
    for (number, status) in [400, 404, 413, 422, 500, 500, 500, 501].into_iter().enumerate() {
        let number = number as u64;
        hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
        assert_eq!(sent(&mut hooks, at(0)), [number]);
        let finished = hooks.handle_response(number, Response { status, ..ok() }, at(1));
        assert_eq!(finished, [failed(number, Failure::Status(status))]);
    }
    assert_eq!(hooks.health(), &Health::Fine);
    assert!(hooks.is_empty() && hooks.bytes == 0 && hooks.overdue.is_empty());
}

#[test]
fn nobody_waits_for_ever_to_be_sent() {
    let mut hooks = dispatcher();
    let [one, two] = lanes();
    hooks.submit(call(1, one, Kind::Message), at(0)).unwrap();
    hooks.submit(call(2, two, Kind::Connect), at(0)).unwrap();
    assert_eq!(hooks.expire_waiting(at(5999)), []);
    assert_eq!(hooks.expire_waiting(at(6000)), [failed(2, Failure::Busy)]);
    assert_eq!(hooks.expire_waiting(at(30_000)), [failed(1, Failure::Busy)]);
    assert!(hooks.is_empty() && hooks.lanes.is_empty() && hooks.deadline() == Time::NEVER);
}

#[test]
fn bytes_are_bounded() {
    let mut hooks = dispatcher();
    let all: [Lane; 100] = lanes();
    let large = |number, lane, kind| Call { body: "x".repeat(1_000_000).into(), ..call(number, lane, kind) };
    let taken = (0..10).filter(|number| hooks.submit(large(*number, all[0], Kind::Message), at(0)).is_ok()).count();
    assert_eq!(taken, 4);
    let taken = (10..110)
        .filter(|number| hooks.submit(large(*number, all[*number as usize - 10], Kind::Message), at(0)).is_ok())
        .count();
    assert!((60..68).contains(&(taken + 4)), "{taken}");
}

/// Disconnects count as well, and all that is kept for a call.
#[test]
fn no_kind_of_call_exceeds_the_bytes() {
    for kind in [Kind::Connect, Kind::Message, Kind::Disconnect] {
        let mut hooks = dispatcher();
        hooks.configure(Duration::from_secs(3), 10_000_000);
        let all: [Lane; 100] = lanes();
        let large =
            |number: u64| Call { extra: 500_000, body: "x".repeat(500_000).into(), ..call(number, all[0], kind) };
        let submit = |number: u64| Call { lane: all[number as usize], ..large(number) };
        let taken = (0..100).filter(|number| hooks.submit(submit(*number), at(0)).is_ok()).count() as u64;
        assert!((60..=67).contains(&taken) && hooks.bytes <= MOST_BYTES, "{kind:?}: {taken}");
        assert_eq!((hooks.stats.dropped, hooks.is_overloaded()), (100 - taken, true));
        let mut answered = 0;
        while hooks.is_overloaded() {
            for number in sent(&mut hooks, at(0)) {
                hooks.handle_response(number, ok(), at(0));
                answered += 1;
            }
        }
        assert!((taken / 3..taken).contains(&answered), "{kind:?}: half empty after {answered} of {taken}");
        assert!(hooks.submit(submit(0), at(0)).is_ok());
    }
    // Small ones, too: each takes memory besides its texts.
    let mut hooks = dispatcher();
    hooks.configure(Duration::from_secs(3), 10_000_000);
    let [lane] = lanes();
    let taken = (0..200_000).take_while(|number| hooks.submit(call(*number, lane, Kind::Disconnect), at(0)).is_ok());
    assert!(taken.count() < 140_000);
}

/// While the breaker is open, no calls wait that could test the backend: once the pause is over, the next call does.
#[test]
fn a_backend_is_tried_again_by_whoever_comes() {
    let mut hooks = dispatcher();
    let [lane] = lanes();
    for number in 0..5 {
        hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
        assert_eq!(sent(&mut hooks, at(0)), [number]);
        hooks.handle_attempt_error(number, AttemptError::Timeout, at(0));
    }
    assert!(hooks.submit(call(7, lane, Kind::Message), at(100)).is_err());
    assert_eq!(hooks.submit(call(8, lane, Kind::Message), at(60_000)), Ok(()));
    assert_eq!(sent(&mut hooks, at(60_000)), [8]);
    hooks.handle_response(8, ok(), at(60_001));
    assert_eq!(hooks.health(), &Health::Fine);
}

/// A malformed answer fails the call, but shows that the backend is alive. The answer to a disconnect is not parsed.
#[test]
fn answers_must_make_sense() {
    let mut hooks = dispatcher();
    let [lane] = lanes();
    let page = Response { body: b"<html>".to_vec(), ..ok() };
    for (number, kind) in [(1, Kind::Message), (2, Kind::Connect), (3, Kind::Disconnect)] {
        hooks.submit(call(number, lane, kind), at(0)).unwrap();
        sent(&mut hooks, at(0));
        let finished = hooks.handle_response(number, page.clone(), at(0));
        let failure = finished[0].result.as_ref().err().map(ToString::to_string);
        let expected = "the answer makes no sense: it is not a JSON object";
        assert_eq!(failure.as_deref(), (number < 3).then_some(expected));
    }
    assert_eq!((hooks.health(), hooks.stats.failed), (&Health::Fine, 2));
}

#[test]
fn a_response_that_is_not_http_counts_against_the_backend() {
    let mut hooks = dispatcher();
    let [lane] = lanes();
    for number in 0..5 {
        hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
        sent(&mut hooks, at(0));
        hooks.handle_attempt_error(number, AttemptError::NotHttp(Malformed::Syntax), at(0));
    }
    assert_eq!(hooks.health(), &Health::Failing("not an HTTP response".into()));
}

/// A shorter timeout applies to new calls; those that wait keep theirs.
#[test]
fn a_reload_leaves_nothing_behind() {
    let mut hooks = dispatcher();
    let [lane] = lanes();
    hooks.submit(call(1, lane, Kind::Message), at(0)).unwrap();
    sent(&mut hooks, at(0));
    hooks.configure(Duration::from_secs(1), 1000);
    assert_eq!(hooks.handle_response(1, ok(), at(1)), [answered(1)]);
    assert_eq!(hooks.deadline(), Time::NEVER);
}
