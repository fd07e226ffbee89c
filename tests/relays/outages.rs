//! docs/protocol.md, Redis: outages. Redis goes away, stops, forgets everything or was never there, and relays come and
//! go. Members of a relay never notice, and other relays get what can be kept: once, and in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use relay::redis::Reply;
use serde_json::Value;

use crate::support::{
    Client, Relay,
    link::*,
    redis::{Connection, HEARTBEAT, Redis, wait_linked, wait_siblings, wait_until},
    wait_for,
};

// Redis goes down and comes back.

/// Redis is killed and comes back empty: members of each relay notice nothing, other relays get everything late, once
/// and in order.
#[test]
fn an_outage() {
    let mut redis = Redis::start();
    let relays: [Relay; 3] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(3, || redis.hash(ONLINE).len());
    redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    for (at, relay) in relays.iter().enumerate() {
        publish(relay, &at.to_string(), 0..20);
        let expected: Vec<usize> = (0..20).collect();
        assert_eq!(read_to(&mut members[at], &at.to_string(), 19), expected);
    }
    redis.run();
    relays.iter().for_each(wait_linked);
    for (at, member) in members.iter_mut().enumerate() {
        let others: Vec<_> = (0..3).filter(|other| *other != at).map(|other| (other.to_string(), 19)).collect();
        for found in read_all(member, &others) {
            assert_eq!(found, (0..20).collect::<Vec<_>>(), "at {at}");
        }
    }
    wait_until(3, || redis.hash(ONLINE).len());
    relays.iter().for_each(|relay| wait_siblings(relay, 2));
    for (at, relay) in relays.iter().enumerate() {
        publish(relay, "after", at..at + 1);
        members.iter_mut().for_each(|member| assert_eq!(read_to(member, "after", at), [at]));
    }
    members.iter_mut().for_each(Client::silence);
    for relay in &relays {
        let changes = changes(relay, 3);
        assert_eq!(changes.len(), 3, "linked, lost, linked: {changes:?}");
        assert!(changes[1].contains("other relays are not reached") && changes[2].contains("linked to"), "{changes:?}");
        assert_eq!(health(relay)["status"], "ok");
        assert_eq!(relay.counter("redis_missed") + relay.counter("redis_dropped"), 0);
    }
}

/// Several outages of different lengths: relays come back at different times, and still nothing is
/// published before the other relays listen.
#[test]
fn relays_publish_only_when_the_others_are_back() {
    let mut redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    for round in 0..4 {
        redis.kill();
        relays.iter().for_each(|relay| drop(wait_failing(relay)));
        for (at, relay) in relays.iter().enumerate() {
            publish(relay, &format!("{round}-{at}"), 0..5);
        }
        thread::sleep(Duration::from_millis(200 * round));
        redis.run();
        let lasts: Vec<_> = (0..2).map(|at| (format!("{round}-{at}"), 4)).collect();
        for member in &mut members {
            assert!(read_all(member, &lasts).iter().all(|found| found.len() == 5));
        }
        relays.iter().for_each(wait_linked);
        relays.iter().for_each(|relay| wait_siblings(relay, 1));
    }
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_missed"), 0));
}

/// A relay that returns later than the others, because its machine is busy, misses nothing, even if the outage was short.
#[test]
fn a_relay_that_returns_late_is_waited_for() {
    let mut redis = Redis::start();
    let [one, two] = redis.relays("");
    let mut member = two.connect("room");
    redis.kill();
    [&one, &two].into_iter().for_each(|relay| drop(wait_failing(relay)));
    two.signal(SIGSTOP);
    publish(&one, "one", 0..5);
    redis.run();
    wait_linked(&one);
    thread::sleep(Duration::from_secs(2));
    two.signal(SIGCONT);
    assert_eq!(read_to(&mut member, "one", 4).len(), 5);
    assert_eq!(two.counter("redis_missed"), 0);
}

/// A relay that died in the outage does not hold up the others for ever.
#[test]
fn a_relay_that_died_in_the_outage_is_not_waited_for() {
    let mut redis = Redis::start();
    let [one, two, mut three] = redis.relays("");
    let mut member = two.connect("room");
    redis.kill();
    [&one, &two].into_iter().for_each(|relay| drop(wait_failing(relay)));
    three.child.kill().unwrap();
    three.child.wait().unwrap();
    publish(&one, "one", 0..5);
    redis.run();
    assert_eq!(read_to(&mut member, "one", 4).len(), 5);
    assert_eq!(two.counter("redis_missed"), 0);
}

/// Redis is stopped for longer than relays wait for a reply: messages that it had already read are published twice, and
/// delivered once.
#[test]
fn redis_stops_and_continues() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    redis.signal(SIGSTOP);
    let mut sent = 0;
    // Before the relays notice, and after they did.
    let mut rest = 50;
    while rest > 0 {
        if relays.iter().all(|relay| health(relay)["redis"]["status"] == "failing") {
            rest -= 1;
        }
        for (at, relay) in relays.iter().enumerate() {
            publish(relay, &at.to_string(), sent..sent + 1);
            assert_eq!(read_to(&mut members[at], &at.to_string(), sent), [sent]);
        }
        sent += 1;
        thread::sleep(Duration::from_millis(20));
    }
    redis.signal(SIGCONT);
    relays.iter().for_each(wait_linked);
    for (at, member) in members.iter_mut().enumerate() {
        let other = 1 - at;
        assert_eq!(read_to(member, &other.to_string(), sent - 1), (0..sent).collect::<Vec<_>>());
    }
    wait_until(2, || redis.hash(ONLINE).len());
    members.iter_mut().for_each(Client::silence);
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_dropped"), 0));
}

/// Requests that need Redis are answered without it, and other requests do not wait meanwhile.
#[test]
fn questions_during_a_stall() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut member = relays[0].connect("room");
    redis.signal(SIGSTOP);
    thread::scope(|scope| {
        for page in ["/api/online?source=demo", "/api/stats", "/read_connections", "/readmsglocation"] {
            let relay = &relays[0];
            scope.spawn(move || {
                let answer = relay.admin(page);
                assert_eq!(answer.status, 200, "{page}: {answer:?}");
            });
        }
        for number in 0..20 {
            publish(&relays[0], "meanwhile", number..number + 1);
            assert_eq!(read_to(&mut member, "meanwhile", number), [number]);
            thread::sleep(Duration::from_millis(10));
        }
    });
    // All of them were answered while Redis stood still.
    redis.signal(SIGCONT);
    wait_linked(&relays[0]);
    wait_for("an answer", || (relays[0].admin("/api/online?source=demo").json()["complete"] == true).then_some(()));
}

/// A list that takes longer than `limits.request_timeout` names Redis as the reason, and not the disk.
#[test]
fn a_stalled_list_names_redis() {
    let redis = Redis::start();
    let section = redis.section("[limits]\nrequest_timeout = 0.3").replace("heartbeat = 0.3", "heartbeat = 20");
    let relay = Relay::start(&section);
    wait_linked(&relay);
    redis.signal(SIGSTOP);
    let answer = relay.admin("/api/online?source=demo");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("Redis does not answer"), "{}", answer.body);
    redis.signal(SIGCONT);
}

/// Redis ends connections again and again while messages flow: local members lose nothing, members of other relays get
/// nothing twice, and what they miss is counted.
#[test]
fn connections_that_are_cut() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("[limits]\nmessage_rate = 0\n");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    relays.iter().for_each(|relay| relay.notify("room", "first 0"));
    members.iter_mut().for_each(|member| assert_eq!([member.data(), member.data()], ["first 0", "first 0"]));
    let count = |name: &str| relays.each_ref().map(|relay| relay.counter(name));
    let missed = count("redis_missed");
    let stop = AtomicBool::new(false);
    let names = |at: usize| [format!("{at}-0"), format!("{at}-1")];
    let counts = thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .flat_map(|at| names(at).map(|name| (&relays[at], name)))
            .map(|(relay, name)| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        relay.notify("room", &format!("{name} {sent}"));
                        sent += 1;
                        thread::sleep(Duration::from_millis(3));
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..5 {
            for kind in ["pubsub", "normal"] {
                redis.ask(&["CLIENT", "KILL", "TYPE", kind]);
                thread::sleep(Duration::from_millis(250));
            }
        }
        stop.store(true, Ordering::Relaxed);
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect::<Vec<usize>>()
    });
    relays.iter().for_each(wait_linked);
    // After these, all queued messages have arrived.
    let mut lasts = Vec::new();
    for at in 0..2 {
        for (index, name) in names(at).into_iter().enumerate() {
            publish(&relays[at], &name, counts[2 * at + index]..counts[2 * at + index] + 1);
            lasts.push((name, counts[2 * at + index]));
        }
    }
    let mut heard = [0, 0];
    for (at, member) in members.iter_mut().enumerate() {
        for (index, found) in read_all(member, &lasts).into_iter().enumerate() {
            if index / 2 == at {
                assert_eq!(found, (0..=lasts[index].1).collect::<Vec<_>>(), "at home");
            } else {
                heard[at] += found.len() as u64;
            }
        }
        member.silence();
    }
    // Each relay has received or counted as missed everything that the other published.
    let missed: [u64; 2] = core::array::from_fn(|at| count("redis_missed")[at] - missed[at]);
    for at in 0..2 {
        let said: usize = lasts[2 * at..2 * at + 2].iter().map(|(_, last)| last + 1).sum();
        assert_eq!(heard[1 - at] + missed[1 - at], said as u64, "{heard:?} and {missed:?} of {lasts:?}");
    }
    assert!(missed.iter().sum::<u64>() > 0, "the test cut nothing");
}

/// Redis loses all keys, or an old server starts and deletes them: relays write their records again.
#[test]
fn deleted_records_are_written_again() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(2, || redis.hash(ONLINE).len());
    let mut monitor = redis.connection();
    monitor.ask(&["MONITOR"]);
    redis.ask(&["FLUSHALL"]);
    assert_rewritten_soon(&mut monitor, "FLUSHALL");
    wait_until((2, 2), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    publish(&relays[0], "flushed", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "flushed", 0), [0]));
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    // As the old server does it: first the lists, then the announcement.
    redis.ask(&["DEL", ONLINE]);
    redis.ask(&["SET", "node.xin.com:xin_socket_connections", "0"]);
    redis.publish(r#"{"sys_info":true,"key":"system_start","server_ip":"10.0.0.9","time":"2026-11-20 20:52:3"}"#);
    assert_rewritten_soon(&mut monitor, &format!(r#""DEL" "{ONLINE}""#));
    wait_until(2, || redis.hash(ONLINE).len());
    publish(&relays[1], "deleted", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "deleted", 0), [0]));
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_missed"), 0));
}

/// Reads the commands that Redis got, and asserts that after `start` both relays write their members again before any
/// relay's third heartbeat.
fn assert_rewritten_soon(monitor: &mut Connection, start: &str) {
    let mut next = || match monitor.next() {
        Some(Reply::Text(command)) => command.to_string(),
        other => panic!("{other:?} is not a command"),
    };
    while !next().contains(start) {}
    let (mut written, mut heartbeats) = (0, 0);
    while written < 2 {
        let command = next();
        if command.contains("\"HSET\"") && command.contains(ONLINE) {
            written += 1;
        }
        if command.contains("relay_alive") && command.contains("\"XX\"") {
            heartbeats += 1;
        }
        assert!(heartbeats <= 4, "{heartbeats} heartbeats of two relays, and {written} wrote again");
    }
}

/// Redis refuses writes, because its memory is full, but still publishes. Messages reach the other relay while sessions
/// come and go; afterwards each session has one record.
#[test]
fn redis_refuses_writes_and_publishes() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(2, || redis.hash(ONLINE).len());
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..50 {
        drop(relays[0].connect("room"));
    }
    wait_reason(&relays[0], "OOM");
    let _stays = relays[0].connect("room");
    publish(&relays[0], "full", 0..5);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "full", 4), (0..5).collect::<Vec<_>>()));
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_until(3, || redis.hash(ONLINE).len());
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_missed") + relay.counter("redis_dropped"), 0));
}

// Redis does not exist.

#[test]
fn away_at_the_start() {
    let mut redis = Redis::start();
    redis.kill();
    let relay = relay_at(&redis.url(), "");
    let mut member = relay.connect("room");
    fails_calmly(&relay, "away");
    assert_eq!(read_to(&mut member, "away", 2), [0, 1, 2]);
    redis.run();
    wait_linked(&relay);
    wait_until(1, || redis.hash(ONLINE).len());
    let lines = changes(&relay, 2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("trying again") && lines[1].contains("linked"), "{lines:?}");
}

#[test]
fn unknown_host_name() {
    let relay = relay_at("redis://no.such.host.invalid:6379", "");
    assert_eq!(health(&relay)["redis"]["status"], "failing");
    fails_calmly(&relay, "nameless");
    // The look-ups, one a second, delay nothing.
    for number in 0..60 {
        publish(&relay, "at home", number..number + 1);
        thread::sleep(Duration::from_millis(25));
    }
}

#[test]
fn host_name_is_resolved() {
    let redis = Redis::start();
    let relay = relay_at(&format!("redis://localhost:{}", redis.port), "");
    wait_linked(&relay);
}

/// The buffer is bounded: the oldest messages are dropped and counted.
#[test]
fn a_full_buffer() {
    let mut redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("buffer = 4096");
    let mut member = relays[1].connect("room");
    redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    publish(&relays[0], "much", 0..100);
    let dropped = relays[0].counter("redis_dropped");
    assert!((80..100).contains(&dropped), "{dropped}");
    // A message larger than the buffer displaces nothing else.
    relays[0].notify("room", &"x".repeat(5000));
    assert_eq!(relays[0].counter("redis_dropped"), dropped + 1);
    redis.run();
    let kept = read_to(&mut member, "much", 99);
    assert_eq!(kept, (dropped as usize..100).collect::<Vec<_>>(), "the last ones");
}

/// Messages older than `buffer_age` are not sent.
#[test]
fn a_buffer_that_is_too_old() {
    let mut redis = Redis::start();
    // Young messages have five seconds to get through on a busy machine.
    let relays: [Relay; 2] = redis.relays("buffer_age = 5");
    let mut member = relays[1].connect("room");
    redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    publish(&relays[0], "old", 0..10);
    thread::sleep(Duration::from_millis(5100));
    redis.run();
    // With another heartbeat the relays reconnect at once, before the new publications are too old.
    let again = redis.section("buffer_age = 5").replace(HEARTBEAT, "0.31");
    reload(&relays[1], &again);
    wait_linked(&relays[1]);
    publish(&relays[0], "young", 0..10);
    reload(&relays[0], &again);
    assert_eq!(read_to(&mut member, "young", 9), (0..10).collect::<Vec<_>>());
    // And perhaps a greeting of its own, from an attempt to reconnect.
    let dropped = relays[0].counter("redis_dropped");
    assert!((10..=11).contains(&dropped), "{dropped}");
}

// Relays start and stop.

/// The records of a dead relay are removed; those of others stay.
#[test]
fn a_relay_that_dies() {
    let redis = Redis::start();
    let [survivor, dying] = redis.relays("");
    let _members = [survivor.connect("a"), survivor.connect("b")];
    let _gone = [dying.connect("a"), dying.connect("b"), dying.connect("c")];
    let old =
        r#"{"socket_id":"old","source":"demo","userid":"7","username":"li","room_ids":"r","server_ip":"10.0.0.2"}"#;
    redis.ask(&["HSET", ONLINE, "old", old, "nonsense", "{"]);
    wait_until(7, || redis.hash(ONLINE).len());
    let begin = Instant::now();
    dying.signal(9);
    wait_until((4, 1), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    assert!(begin.elapsed() > Duration::from_millis(600), "two heartbeats may be late: {:?}", begin.elapsed());
    let left = redis.hash(ONLINE);
    assert!(left.iter().any(|(name, record)| name == "old" && record == old));
    assert_eq!(left.iter().filter(|(_, record)| record.contains(r#""node":""#)).count(), 2);
    wait_siblings(&survivor, 0);
}

/// A relay that was only stopped writes its records again.
#[test]
fn a_relay_that_wakes_up() {
    let redis = Redis::start();
    let [survivor, sleeper] = redis.relays("");
    let mut members = [survivor.connect("room"), sleeper.connect("room")];
    wait_until(2, || redis.hash(ONLINE).len());
    sleeper.signal(SIGSTOP);
    wait_until((1, 1), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    sleeper.signal(SIGCONT);
    wait_until((2, 2), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    wait_linked(&sleeper);
    [&survivor, &sleeper].into_iter().for_each(|relay| wait_siblings(relay, 1));
    publish(&sleeper, "awake", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "awake", 0), [0]));
}

/// SIGHUP links a relay, links it elsewhere, and unlinks it; no session ends, and other relays keep receiving from it.
#[test]
fn a_link_that_is_configured_later() {
    let [one, two] = [Redis::start(), Redis::start()];
    let [first, second] = [one.relay(""), two.relay("")];
    let mut members = [first.connect("room"), second.connect("room")];
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    assert_eq!(health(&relay)["redis"], Value::Null);
    let mut number = 0;
    for _ in 0..2 {
        for (redis, other, there, elsewhere) in [(&one, &first, 0, 1), (&two, &second, 1, 0)] {
            reload(&relay, &redis.section(""));
            wait_linked(&relay);
            wait_siblings(other, 1);
            wait_until(2, || redis.hash(ONLINE).len());
            for (from, name) in [(&relay, "moving"), (other, "staying")] {
                publish(from, name, number..number + 1);
                assert_eq!(read_to(&mut member, name, number), [number]);
                assert_eq!(read_to(&mut members[there], name, number), [number]);
                number += 1;
            }
            members[elsewhere].silence();
        }
        reload(&relay, "");
        assert_eq!(health(&relay)["redis"], Value::Null);
        publish(&relay, "alone", 0..1);
        assert_eq!(read_to(&mut member, "alone", 0), [0]);
        members.iter_mut().for_each(Client::silence);
        // The relays that it left declare it dead.
        wait_until([1, 1], || [&one, &two].map(|redis| redis.hash(ONLINE).len()));
    }
}

/// A session that connected while Redis did not answer is recorded at the next server.
#[test]
fn sessions_are_recorded_after_the_link_is_reconfigured() {
    let [one, two] = [Redis::start(), Redis::start()];
    let relay = one.relay("");
    one.signal(SIGSTOP);
    let _members = [relay.connect("a"), relay.connect("b")];
    thread::sleep(Duration::from_millis(100));
    let _late = [relay.connect("c"), relay.connect("d")];
    reload(&relay, "");
    reload(&relay, &two.section(""));
    wait_linked(&relay);
    wait_until(4, || two.hash(ONLINE).len());
    one.signal(SIGCONT);
}

/// A relay that stops removes its records.
#[test]
fn a_relay_that_stops_removes_its_records() {
    let redis = Redis::start();
    let linked = || {
        let relay = Relay::start(&format!("shutdown_timeout = 60\n{}", redis.section("")));
        wait_linked(&relay);
        relay
    };
    let [mut leaving, staying] = [linked(), linked()];
    let mut clients = [leaving.connect("a"), leaving.connect("b")];
    let _other = staying.connect("a");
    wait_until(3, || redis.hash(ONLINE).len());
    leaving.signal(SIGTERM);
    clients.iter_mut().for_each(|client| assert_eq!(client.close_code(), 1001));
    drop(clients);
    assert_eq!(leaving.wait(), 0);
    assert_eq!((redis.hash(ONLINE).len(), redis.hash(NODES).len()), (1, 1));
    wait_siblings(&staying, 0);
    assert_eq!(redis.ask(&["KEYS", "node.xin.com:relay_alive:*"]).array().unwrap().len(), 1);
}

/// It stops in time if Redis does not answer, or is gone.
#[test]
fn a_relay_stops_in_time_without_redis() {
    let mut redis = Redis::start();
    let linked = || {
        let relay = Relay::start(&format!("shutdown_timeout = 2\n{}", redis.section("")));
        wait_linked(&relay);
        relay
    };
    let [mut stalled, mut alone] = [linked(), linked()];
    let _clients = [stalled.connect("a"), alone.connect("a")];
    redis.signal(SIGSTOP);
    stalled.signal(SIGTERM);
    assert_eq!(stalled.wait(), 0);
    redis.kill();
    wait_failing(&alone);
    alone.signal(SIGTERM);
    assert_eq!(alone.wait(), 0);
}
