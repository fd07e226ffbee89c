use super::*;
use crate::{
    config,
    state::testing::{CONFIG, state},
};

/// What another relay says, and what is known here.
struct World {
    nodes: Nodes,
    tracker: Tracker,
    stats: Stats,
    tenant: TenantId,
    millis: u64,
}

impl World {
    fn new() -> World {
        let mut state = state(CONFIG);
        let mut tracker = Tracker::default();
        tracker.configure(&config::Presence { events: true, ..config::Presence::default() }, &mut state);
        let tenant = state.tenant("one").unwrap();
        World { nodes: Nodes::default(), tracker, stats: Stats::default(), tenant, millis: 0 }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.millis * 1000)
    }

    /// Handles a change, and returns whether everything is asked for.
    fn present(&mut self, node: &str, number: u64, room: &str, came: &[&str], left: &[&str]) -> bool {
        let present = Present {
            node: node.into(),
            tenant: self.tenant,
            number,
            room: room.into(),
            came: came.iter().map(|userid| ((*userid).into(), "name".into(), 1)).collect(),
            left: left.iter().map(|userid| (*userid).into()).collect(),
            guests: None,
        };
        let now = self.now();
        self.nodes.handle_present(&present, &mut self.tracker, &mut self.stats, now).is_some()
    }

    fn roll(&mut self, number: u64, piece: u64, last: bool, rooms: &[(&str, u32, &[&str])]) {
        let users = |list: &[&str]| list.iter().map(|userid| ((*userid).into(), "name".into(), 1)).collect();
        let rooms = rooms.iter().map(|(room, guests, list)| RollRoom {
            room: (*room).into(),
            guests: *guests,
            users: users(list),
        });
        let roll = Roll { node: "n".into(), tenant: self.tenant, number, piece, last, rooms: rooms.collect() };
        let now = self.now();
        self.nodes.handle_roll(roll, &mut self.tracker, &mut self.stats, now);
    }

    /// Compares with what relays say; `None` is one that does not keep track. Returns how many are asked.
    fn check(&mut self, alive: &[(&str, Option<u64>)]) -> usize {
        let tenant = self.tenant;
        let numbers = |number: Option<u64>| number.map(|number| vec![(tenant, number)]);
        let list: Vec<_> = alive.iter().map(|(name, number)| (*name, numbers(*number))).collect();
        let is_alive = |node: &str| alive.iter().any(|(name, _)| *name == node);
        let (grace, now) = (self.tracker.grace(), self.now());
        self.nodes.handle_check(&list, is_alive, grace, &mut self.stats, now).len()
    }

    fn pass(&mut self, millis: u64) {
        self.millis += millis;
        let now = self.now();
        self.nodes.expire(&mut self.tracker, &mut self.stats, now);
    }

    fn users(&self, room: &str) -> String {
        let room = self.tracker.room(self.tenant, room);
        room.map(|room| room.users().map(|(userid, _)| userid).collect::<Vec<_>>().join(",")).unwrap_or_default()
    }
}

#[test]
fn changes_are_applied_once_and_gaps_are_noticed() {
    let mut world = World::new();
    assert!(!world.present("n", 1, "a", &["1", "2"], &[]));
    assert!(!world.present("n", 2, "a", &["3"], &["1"]));
    assert!(!world.present("n", 1, "a", &["1"], &[]), "it was there before");
    assert_eq!(world.users("a"), "2,3");
    assert!(world.present("n", 4, "b", &["4"], &[]), "3 is missing");
    assert!(!world.present("n", 5, "b", &["5"], &[]), "asked already");
    assert_eq!((world.users("b"), world.stats.presence_missed), ("4,5".into(), 1));
    world.pass(2000);
    assert!(world.present("n", 6, "b", &[], &[]), "no answer came");
    world.roll(6, 0, true, &[("b", 2, &["5", "6"])]);
    assert_eq!((world.users("a"), world.users("b")), (String::new(), "5,6".into()));
    assert_eq!(world.tracker.room(world.tenant, "b").unwrap().guests(), 2);
    world.pass(2000);
    assert!(!world.present("n", 7, "b", &["7"], &[]));
    assert!(world.present("other", 9, "b", &["7"], &[]), "its first eight changes are not known");
}

#[test]
fn both_relays_have_the_user() {
    let mut world = World::new();
    world.present("n", 1, "a", &["1"], &[]);
    world.present("m", 1, "a", &["1", "2"], &[]);
    assert_eq!(world.tracker.room(world.tenant, "a").unwrap().user("1").unwrap().all_sessions(), 2);
    world.present("n", 2, "a", &[], &["1"]);
    assert_eq!(world.users("a"), "1,2");
    world.present("m", 2, "a", &[], &["1", "never"]);
    assert_eq!(world.users("a"), "2");
}

#[test]
fn an_answer_replaces_what_is_known_when_it_is_whole() {
    let mut world = World::new();
    world.present("n", 1, "a", &["old"], &[]);
    world.roll(5, 0, false, &[("a", 0, &["1", "2"])]);
    assert_eq!(world.users("a"), "old");
    world.roll(5, 2, true, &[("a", 0, &["4"])]);
    assert_eq!(world.users("a"), "old", "a piece is missing");
    world.roll(5, 1, true, &[("a", 0, &["4"])]);
    assert_eq!(world.users("a"), "old", "it has begun anew");
    world.roll(6, 0, false, &[("a", 0, &["1", "2"])]);
    world.roll(6, 1, true, &[("a", 0, &["3"]), ("b", 1, &[])]);
    assert_eq!((world.users("a"), world.nodes.bytes > 0), ("1,2,3".into(), true));
    world.roll(7, 0, true, &[]);
    assert_eq!((world.users("a"), world.tracker.room(world.tenant, "b").unwrap().guests()), (String::new(), 0));
    assert_eq!(world.nodes.bytes, SOURCE_BYTES);
}

#[test]
fn the_users_of_a_relay_that_is_gone_leave_after_the_grace() {
    let mut world = World::new();
    world.present("n", 1, "a", &["1"], &[]);
    world.present("m", 1, "a", &["2"], &[]);
    assert_eq!(world.check(&[("n", Some(1)), ("m", Some(1))]), 0);
    assert_eq!(world.nodes.deadline(), Time::NEVER);
    assert_eq!(world.check(&[("n", Some(3))]), 1, "two changes were missed");
    world.pass(9_999);
    assert_eq!(world.users("a"), "1,2");
    // Silence that is repeated does not begin anew.
    world.check(&[("n", Some(3))]);
    world.pass(1);
    assert_eq!(world.users("a"), "1");
    // Back in time: nothing has happened.
    world.check(&[]);
    world.pass(9_000);
    world.check(&[("n", Some(3))]);
    world.pass(60_000);
    assert_eq!(world.users("a"), "1");
    // It is there, and does not keep track any more.
    world.check(&[("n", None)]);
    world.pass(10_000);
    assert_eq!((world.users("a"), world.nodes.bytes), (String::new(), 0));
}

#[test]
fn memory_is_bounded() {
    let mut world = World::new();
    let names: Vec<String> = (0..1000).map(|number| format!("{number:0500}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    for number in 1..200 {
        world.present("n", number, &format!("room{number}"), &names, &[]);
    }
    assert!(world.nodes.bytes <= MOST_BYTES && world.nodes.bytes > MOST_BYTES - 1000, "{}", world.nodes.bytes);
    assert!(world.stats.presence_dropped > 0);
    let before = world.nodes.bytes;
    world.roll(300, 0, false, &[("a", 0, &names)]);
    assert_eq!(world.nodes.bytes, before, "no memory for the pieces of an answer");
    world.check(&[]);
    world.pass(10_000);
    assert_eq!((world.nodes.bytes, world.tracker.users()), (0, 0));
    for number in 0..3000 {
        world.present(&format!("n{number}"), 1, "a", &["1"], &[]);
    }
    assert_eq!(world.nodes.nodes.len(), MOST_NODES);
}

#[test]
fn a_relay_that_asks_again_and_again_is_answered_once_a_second() {
    let mut world = World::new();
    let (tenant, begin) = (world.tenant, world.now());
    assert!(world.nodes.may_answer("n", tenant, begin) && world.nodes.may_answer("m", tenant, begin));
    assert!(!world.nodes.may_answer("n", tenant, begin.after(Duration::from_millis(999))));
    assert!(world.nodes.may_answer("n", tenant, begin.after(Duration::from_secs(1))));
    for number in 0..5000 {
        world.nodes.may_answer(&number.to_string(), tenant, begin);
    }
    assert!(world.nodes.answered.len() <= MOST_NODES);
}
