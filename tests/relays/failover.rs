//! docs/protocol.md, Redis: failover. Another Redis becomes the master, the name of Redis leads to it, and connections to
//! the old one, now a replica, are not cut.

use crate::support::{
    self, Relay,
    link::*,
    redis::{Redis, wait_linked, wait_siblings, wait_until},
};

/// A master, and a replica of it.
fn pair() -> (Redis, Redis) {
    let (master, replica) = (Redis::start(), Redis::start());
    follow(&replica, &master);
    (master, replica)
}

/// Everything moves to the new master, and what was published meanwhile arrives once and in order, also what the old
/// master confirmed when it was a replica already.
#[test]
fn the_name_leads_to_the_new_master() {
    let (old, new) = pair();
    let name = Name::new(old.port);
    let relays = [name.relay(), name.relay()];
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(2, || old.hash(ONLINE).len());
    for (at, relay) in relays.iter().enumerate() {
        publish(relay, "before", at..at + 1);
        members.iter_mut().for_each(|member| assert_eq!(read_to(member, "before", at), [at]));
    }

    new.ask(&["REPLICAOF", "NO", "ONE"]);
    name.leads_to(new.port);
    old.ask(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
    for number in 0..20 {
        publish(&relays[0], "during", number..number + 1);
    }
    for member in &mut members {
        assert_eq!(read_to(member, "during", 19), (0..20).collect::<Vec<_>>());
    }
    wait_until((0, 4), || (connections(&old), connections(&new)));
    relays.iter().for_each(wait_linked);
    wait_until(2, || new.hash(ONLINE).len());
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    publish(&relays[1], "after", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "after", 0), [0]));
    members.iter_mut().for_each(support::Client::silence);
    for relay in &relays {
        assert_eq!(relay.counter("redis_missed") + relay.counter("redis_dropped"), 0);
        let log = relay.log().join("\n");
        assert!(log.contains("the server is a read-only replica: redis.url must lead to the master"), "{log}");
    }
}

/// Only the connection for commands is cut, so the subscription stays at the old master, where it still receives what
/// the new one replicates. It is moved before that ends.
#[test]
fn a_subscription_that_stayed_behind() {
    let (old, new) = pair();
    let name = Name::new(old.port);
    let relay = name.relay();
    let mut member = relay.connect("room");
    new.ask(&["REPLICAOF", "NO", "ONE"]);
    name.leads_to(new.port);
    // The connection of this test is of that type as well, and is spared.
    old.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    relay.wait_log("the subscription is on a different server than the commands; subscribing again");
    wait_until((0, 2), || (connections(&old), connections(&new)));
    wait_linked(&relay);
    assert_eq!(new.publish(&old_message("moved")), 1);
    assert_eq!(member.data(), "moved");
}

/// A message in the form of a server of node-socket-im.
fn old_message(data: &str) -> String {
    format!(r#"{{"source":"demo","room_id":"room","data":"{data}","from_sys":true}}"#)
}

/// A name that leads to a replica: relay says so, tries again, and is linked once that is the master.
#[test]
fn a_replica_is_not_used() {
    let (master, replica) = pair();
    let relay = relay_at(&replica.url(), "");
    wait_reason(&relay, "the server is a read-only replica");
    fails_calmly(&relay, "replica");
    assert_eq!(changes(&relay, 1).len(), 1);
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    wait_linked(&relay);
    drop(master);
}

/// A master that refuses writes still publishes: the link stays.
#[test]
fn a_master_without_replicas() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut member = relays[1].connect("room");
    let before = relays[0].counter("redis_connects");
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    wait_reason(&relays[0], "it refuses commands: NOREPLICAS");
    publish(&relays[0], "x", 0..3);
    assert_eq!(read_to(&mut member, "x", 2), [0, 1, 2]);
    assert_eq!(relays[0].counter("redis_connects"), before);
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    relays.iter().for_each(wait_linked);
}
