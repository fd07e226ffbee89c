//! Tests of the history at virtual time.

mod model;

use super::*;
use crate::{
    history::Evicted,
    message::{Author, Data},
    state::testing::{Login, config, session},
};

struct World {
    state: State,
    history: History,
    tenant: TenantId,
}

fn text(history: &str) -> String {
    format!("[sources.one]\nsign_key = \"key\"\n[sources.two]\nsign_key = \"key\"\n[history]\n{history}\n")
}

impl World {
    fn new(history: &str) -> World {
        let first = MessageId::first(1_000_000_000, 7);
        let mut state = State::new(first, [0; 32]);
        state.reload(config(&text(history)));
        let tenant = state.tenant("one").unwrap();
        let mut world = World { history: History::new(first), state, tenant };
        world.configure();
        world
    }

    fn configure(&mut self) {
        self.history.configure(&self.state.config().clone().history, &self.state);
    }

    fn reload(&mut self, history: &str) {
        self.state.reload(config(&text(history)));
        self.configure();
    }

    fn wait(&mut self, seconds: u64) {
        self.state.now.time = self.state.now.time.after(Duration::from_secs(seconds));
    }

    /// Publishes a message, and returns its stamp and whether it was kept.
    fn publish(&mut self, room: &str, data: &str) -> (u64, bool) {
        let id = self.state.next_id(1);
        (id.stamp(), self.keep(room, data, id, id.stamp()))
    }

    fn keep(&mut self, room: &str, data: &str, id: MessageId, stamp: u64) -> bool {
        let message = Published { stamp, id, data: Data::Text(data), filename: "", author: Author::Backend };
        self.history.keep(&self.state, self.tenant, HashedRoom::new(room), &message)
    }

    fn after(&self, rooms: &[&str], stamp: u64) -> Vec<(usize, u64)> {
        let found = self.history.entries_after(&self.state, self.tenant, rooms, stamp);
        found.map(|found| (found.room, found.entry.stamp())).collect()
    }

    fn stamps(&self, room: &str) -> Vec<u64> {
        self.after(&[room], 0).into_iter().map(|(_, stamp)| stamp).collect()
    }

    fn is_whole(&self, room: &str, stamp: u64) -> bool {
        self.history.is_whole(&self.state, self.tenant, room, stamp)
    }

    fn position(&self, rooms: &[&str], since: Since) -> Position {
        self.history.position(&self.state, self.tenant, rooms, &since)
    }

    fn evicted(&self) -> Evicted {
        self.history.counts().evicted
    }

    /// Lets the hand look at all rings.
    fn expire_all(&mut self) {
        for _ in 0..=self.history.rooms() / LOOKS + 1 {
            self.wait(1);
            self.history.expire(self.state.now.time);
        }
    }
}

#[test]
fn without_history_nothing_is_kept() {
    let mut world = World::new("");
    assert!(!world.history.is_on() && world.history.deadline() == Time::NEVER);
    assert_eq!((world.history.bytes(), world.history.messages()), (0, 0));
    let last = world.publish("a", "x").0;
    assert!(!world.is_whole("a", last));
    assert_eq!(world.position(&["a"], Since::New), Position { stamp: last, gaps: vec![] });
}

#[test]
fn messages_of_several_rooms_are_in_one_order() {
    let mut world = World::new("count = 5");
    let stamps: Vec<u64> = ["a", "b", "a", "c", "b", "a"].iter().map(|room| world.publish(room, room).0).collect();
    let expected = [(1, 0), (0, 1), (1, 2), (0, 4), (1, 5)].map(|(room, index)| (room, stamps[index]));
    assert_eq!(world.after(&["b", "a", "none"], 0), expected);
    assert_eq!(world.after(&["b", "a"], stamps[2]), &expected[3..], "it goes on from any of them");
    assert_eq!(world.after(&["b", "a", "b"], 0), expected, "a room that is named twice");
    let found = world.history.entries_after(&world.state, world.tenant, &["c"], 0).next().unwrap();
    assert_eq!((found.id.stamp(), found.entry.content().data()), (stamps[3], Data::Text("c")));
    let other = world.state.tenant("two").unwrap();
    assert_eq!(world.history.entries_after(&world.state, other, &["a"], 0).count(), 0);
    assert_eq!((world.history.messages(), world.history.rooms(), world.history.counts().kept), (6, 3, 6));
}

#[test]
fn floors_say_what_is_missing() {
    let mut world = World::new("count = 2\nage = 10\nbytes = 1024");
    let start = world.state.ids.last();
    assert!(world.is_whole("a", start) && !world.is_whole("a", start - 1), "nothing is known of the time before");
    let [one, two, three] = [(); 3].map(|()| world.publish("a", "x").0);
    assert_eq!(world.stamps("a"), [two, three]);
    assert!(world.is_whole("a", one) && !world.is_whole("a", one - 1));
    assert!(world.is_whole("b", start), "another room is not concerned");
    // A message that is too large by itself.
    let (large, kept) = world.publish("a", &"x".repeat(1024));
    assert!(!kept && world.is_whole("a", large) && !world.is_whole("a", large - 1));
    assert_eq!(world.stamps("a"), [two, three], "what is there is still given out");
    let (large, kept) = world.publish("b", &"x".repeat(1024));
    assert!(!kept && world.is_whole("b", large) && !world.is_whole("b", large - 1));
    // Two that are too large together.
    let [one, two] = [(); 2].map(|()| world.publish("c", &"x".repeat(600)).0);
    assert_eq!(world.stamps("c"), [two]);
    assert!(world.is_whole("c", one) && !world.is_whole("c", one - 1));
    assert_eq!(world.evicted(), Evicted { count: 1, bytes: 1, ..Evicted::default() });
    // Age is kept to the second, whether the hand has been there or not.
    world.wait(10);
    assert_eq!(world.stamps("c"), [two]);
    world.wait(1);
    assert_eq!((world.stamps("c"), world.history.messages()), (vec![], 3));
    assert!(world.is_whole("c", two) && !world.is_whole("c", two - 1));
    world.expire_all();
    assert_eq!((world.history.messages(), world.history.bytes(), world.evicted().age), (0, 0, 3));
    assert!(world.is_whole("c", two) && !world.is_whole("c", two - 1), "the floor of an empty ring is remembered");
    assert_eq!(world.history.deadline(), Time::NEVER);
    let next = world.publish("c", "x").0;
    assert!(!world.is_whole("c", two - 1) && world.is_whole("c", two) && world.is_whole("c", next));
}

#[test]
fn last_values_do_not_expire() {
    let mut world =
        World::new("age = 1\nrooms = [{ room = \"v-*\", count = 1, last = true }, { room = \"n\", count = 1 }]");
    let value = world.publish("v-1", "x").0;
    world.publish("n", "x");
    assert!(!world.publish("other", "x").1);
    assert!(world.history.deadline() < Time::NEVER);
    world.wait(100);
    world.expire_all();
    assert_eq!((world.stamps("v-1"), world.stamps("n")), (vec![value], vec![]));
    assert_eq!(world.history.deadline(), Time::NEVER, "nothing can expire");
    let found = world.history.last_value(world.tenant, "v-1").unwrap();
    assert_eq!((found.entry.stamp(), found.id.stamp()), (value, value));
    world.publish("n", "x");
    assert!(world.history.last_value(world.tenant, "n").is_none(), "its rule has no last");
    assert!(world.history.last_value(world.tenant, "v-2").is_none());
}

#[test]
fn positions() {
    let mut world = World::new("count = 10\nrooms = [{ room = \"unkept\", count = 0 }]");
    let start = world.state.ids.last();
    let own = world.state.ids.first();
    world.wait(100);
    let first = world.publish("a", "x").0;
    let other = MessageId::first(5_000, 8);
    // A message of another relay takes a number of this one, and keeps its id.
    let stamp = world.state.next_id(1).stamp();
    assert!(world.keep("b", "x", other.part(1), stamp));
    let last = world.publish("a", "x").0;
    let at = |stamp, gaps: &[usize]| Position { stamp, gaps: gaps.to_vec() };
    let rooms = ["a", "b"];
    assert_eq!(world.position(&rooms, Since::New), at(last, &[]));
    assert_eq!(world.position(&rooms, Since::All), at(first - 1, &[]));
    assert_eq!(world.position(&["b"], Since::All), at(stamp - 1, &[]));
    assert_eq!(world.position(&["c", "unkept"], Since::All), at(last, &[]), "they keep nothing");
    assert_eq!(world.position(&rooms, Since::Age(Duration::from_secs(100))), at(start, &[]));
    assert_eq!(world.position(&rooms, Since::Age(Duration::from_secs(101))), at(start - 1_000_000, &[0, 1]));
    assert_eq!(world.position(&rooms, Since::Id(own.with_number(first))), at(first, &[]));
    assert_eq!(world.position(&rooms, Since::Id(own.with_number(first - 3).part(3))), at(first, &[]));
    assert_eq!(world.position(&rooms, Since::Id(own.with_number(last + 5))), at(last, &[]), "an id of the future");
    assert_eq!(world.position(&rooms, Since::Id(own.with_number(5))), at(5, &[0, 1]));
    // What this relay had delivered just before it may have come later there.
    assert_eq!(world.position(&rooms, Since::Id(other.part(1))), at(stamp - MOMENT, &[]));
    assert_eq!(world.after(&rooms, stamp), [(0, last)]);
    let found = world.history.entries_after(&world.state, world.tenant, &["b"], 0).next().unwrap();
    assert_eq!(found.id, other.part(1));
    // Ids of other relays that are unknown, or known only in another room.
    assert_eq!(world.position(&["a"], Since::Id(other.part(1))), at(0, &[0]));
    let unknown = other.with_number(first - 500_000);
    assert_eq!(world.position(&rooms, Since::Id(unknown)), at(first - 2_500_000, &[0, 1]));
    assert_eq!(world.position(&rooms, Since::Id(other.with_number(u64::MAX >> 9))), at(last, &[0, 1]));
    // A room that keeps nothing is whole only after the newest message.
    assert_eq!(world.position(&["a", "unkept"], Since::Id(own.with_number(stamp))), at(stamp, &[1]));
    assert_eq!(world.position(&["a", "unkept"], Since::Id(own.with_number(last))), at(last, &[]));
}

#[test]
fn smaller_bounds_act_at_once() {
    let mut world = World::new("count = 10\nage = 100");
    let stamps: Vec<u64> = (0..10)
        .map(|_| {
            world.wait(5);
            world.publish("a", "x").0
        })
        .collect();
    world.publish("b", "x");
    let before = world.history.bytes();
    world.reload("count = 4\nage = 100");
    assert_eq!((world.stamps("a"), world.history.messages()), (stamps[6..].to_vec(), 5));
    assert!(world.is_whole("a", stamps[5]) && !world.is_whole("a", stamps[4]) && world.history.bytes() < before);
    world.reload("count = 4\nage = 9");
    assert_eq!((world.stamps("a"), world.history.messages()), (stamps[8..].to_vec(), 3));
    world.reload("count = 4\nage = 100\nrooms = [{ room = \"a\", count = 0 }]");
    assert_eq!((world.stamps("a"), world.history.messages()), (vec![], 1));
    let unkept = world.publish("a", "x").0;
    world.reload("count = 4");
    assert!(!world.is_whole("a", unkept - 1) && world.is_whole("a", unkept), "it was published while nothing was kept");
    assert_eq!(world.stamps("b").len(), 1);
    world.reload("");
    assert_eq!((world.history.bytes(), world.history.messages()), (0, 0));
}

#[test]
fn a_source_that_goes_loses_its_messages() {
    let mut world = World::new("count = 10");
    let last = world.publish("a", "x").0;
    world.tenant = world.state.tenant("two").unwrap();
    world.publish("a", "x");
    world.tenant = world.state.tenant("one").unwrap();
    world.state.reload(config("[sources.two]\nsign_key = \"key\"\n[history]\ncount = 10\n"));
    world.configure();
    assert_eq!((world.stamps("a"), world.history.messages()), (vec![], 1));
    assert!(!world.is_whole("a", last - 1));
    world.history.forget(world.state.tenant("two").unwrap());
    assert_eq!((world.history.messages(), world.history.bytes()), (0, 0));
}

/// The order in which messages are dropped when `history.memory` is reached.
#[test]
fn order_of_eviction() {
    let mut world = World::new(
        "count = 10\nage = 100\nmemory = 65536\nbytes = 40000\nrooms = [{ room = \"v-*\", count = 3, last = true }]",
    );
    for rooms in ["member", "v-member", "large"] {
        session(&mut world.state, Login { rooms, ..Login::default() });
    }
    let data = "x".repeat(5000);
    world.publish("expired", &data);
    world.wait(101);
    for room in ["v-nobody", "member", "v-member"] {
        world.publish(room, &data);
        world.publish(room, &data);
    }
    world.publish("nobody", &data);
    let lens = |world: &World| {
        ["expired", "nobody", "v-nobody", "member", "v-member"].map(|room| {
            let ring = world.history.rings.get(world.tenant, room);
            ring.map_or(0, Ring::len)
        })
    };
    assert_eq!(lens(&world), [1, 1, 2, 2, 2]);
    let mut steps = Vec::new();
    for _ in 0..30 {
        let kept = world.publish("large", &"x".repeat(2500)).1;
        steps.push(lens(&world));
        // It is in a room with members itself, but newer than all others of these.
        assert!(kept && world.history.bytes() <= 65_536);
        if steps.last() == Some(&[0, 0, 1, 0, 1]) {
            break;
        }
        // So that its own bound of messages does not matter.
        if world.stamps("large").len() == 10 {
            let mut grow = (0..10).map(|number| format!("large-{number}"));
            let next = grow.find(|room| world.history.rings.find(world.tenant, room).is_none()).unwrap();
            session(&mut world.state, Login { rooms: &next, ..Login::default() });
            world.publish(&next, &data);
            steps.push(lens(&world));
        }
    }
    steps.dedup();
    let (expired, rest) = (steps[1], &steps[2..]);
    assert_eq!((steps[0], expired), ([1, 1, 2, 2, 2], [0, 1, 2, 2, 2]), "{steps:?}");
    // Then rooms without members, the oldest message first; then those with members.
    assert_eq!(rest[0], [0, 1, 1, 2, 2], "{steps:?}");
    assert_eq!(rest[1], [0, 0, 1, 2, 2], "{steps:?}");
    assert!(rest[2..].iter().all(|lens| lens[2] == 1 && lens[4] >= 1), "last values stay: {steps:?}");
    assert_eq!((world.evicted().age, world.evicted().bytes), (1, 0));
    // At last, the last values of rooms without members.
    let mut number = 0;
    while world.history.rings.find(world.tenant, "v-nobody").is_some() {
        number += 1;
        assert!(number < 100, "{:?}", lens(&world));
        let room = format!("v-{number}");
        session(&mut world.state, Login { rooms: &room, ..Login::default() });
        assert!(world.publish(&room, &data).1);
    }
    assert_eq!(world.stamps("member"), [] as [u64; 0]);
    assert_eq!(world.stamps("v-member").len(), 1);
    // When nothing may be dropped, new messages are not kept, and that is a gap.
    let mut last = (0, true);
    while last.1 {
        number += 1;
        assert!(number < 200 && world.history.bytes() <= 65_536, "{number} last values");
        let room = format!("v-{number}");
        session(&mut world.state, Login { rooms: &room, ..Login::default() });
        last = world.publish(&room, &data);
    }
    let room = format!("v-{number}");
    assert!(world.stamps(&room).is_empty() && !world.is_whole(&room, last.0 - 1) && world.is_whole(&room, last.0));
    assert!(world.history.bytes() <= 65_536);
}
