//! The ids of messages.

use std::collections::BTreeSet;

use crate::support::Relay;

#[test]
fn ids_grow_and_are_never_used_twice() {
    let mut last = String::new();
    let mut all = BTreeSet::new();
    for life in 0..3 {
        let relay = Relay::start("");
        let mut member = relay.connect("a,b,c");
        for turn in 0..100 {
            if turn % 3 == 0 {
                member.send(r#"{"data":1,"room_ids":"a,c"}"#);
            } else {
                relay.notify("a,b,c", "x");
            }
            let rooms = if turn % 3 == 0 { 2 } else { 3 };
            for _ in 0..rooms {
                let id = member.json()["id"].as_str().expect("an id is text").to_owned();
                assert!(all.insert(id.clone()), "{id} was used twice");
                assert!(id > last, "{id} after {last} in life {life}");
                last = id;
            }
        }
    }
    let relays: Vec<_> = (0..4).map(|_| Relay::start("")).collect();
    for relay in &relays {
        let mut member = relay.connect("room");
        for _ in 0..50 {
            relay.notify("room", "x");
            let id = member.json()["id"].as_str().unwrap().to_owned();
            assert!(all.insert(id.clone()), "{id} was used by two relays");
        }
    }
}
