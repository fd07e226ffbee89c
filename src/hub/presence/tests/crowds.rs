//! Many users, and whether the events add up.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A generator whose every run with a seed is the same (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The page of each user is away for up to two seconds, at a random time of a minute.
#[test]
fn a_thousand_users_reload_and_nobody_leaves() {
    let mut world = World::new("");
    let watcher = world.subscribe("watcher", "a");
    let names: Vec<String> = (0..1000).map(|number| format!("u{number}")).collect();
    let mut sessions: Vec<SessionKey> =
        names.iter().map(|userid| world.login(Login { userid, rooms: "a", ..Login::default() })).collect();
    world.pass(200);
    world.received(watcher);
    let mut dice = Dice(7);
    let mut plan: BTreeMap<(u64, usize), bool> = BTreeMap::new();
    for user in 0..names.len() {
        let at = dice.roll(60_000);
        plan.insert((at, user), false);
        plan.insert((at + 1 + dice.roll(2_000), user), true);
    }
    let begin = world.millis;
    let closed_page = End::ClosedByPeer { code: Some(1001), socketio: false, pinged: false };
    for ((at, user), returns) in plan {
        let now = world.millis;
        world.pass((begin + at).saturating_sub(now));
        match returns {
            false => world.end(sessions[user], if user % 2 == 0 { End::Lost } else { closed_page }),
            true => sessions[user] = world.login(Login { userid: &names[user], rooms: "a", ..Login::default() }),
        }
    }
    world.pass(60_000);
    assert_eq!(world.received(watcher), Vec::<String>::new());
    assert!(world.hub.who(watcher, "a").unwrap().ends_with("\"count\":1001,\"guests\":0}"));
}

#[test]
fn ten_thousand_joins_are_one_event_for_each_subscriber() {
    let mut world = World::new("");
    let old: Vec<SessionKey> = (0..20).map(|number| world.subscribe(&format!("old{number}"), "a")).collect();
    world.pass(1000);
    old.iter().for_each(|session| drop(world.received(*session)));
    let (events, emitted) = (world.hub.state.stats.presence_events, world.hub.state.stats.emitted);
    let new: Vec<SessionKey> = (0..10_000)
        .map(|number| {
            // Spread over the window.
            if number % 100 == 0 {
                world.pass(1);
            }
            world.subscribe(&format!("new{number}"), "a")
        })
        .collect();
    world.pass(1000);
    let stats = &world.hub.state.stats;
    assert_eq!((stats.presence_events - events, stats.emitted - emitted), (1, 10_020));
    let expected = event("\"count\":10020,\"guests\":0");
    for session in old.iter().chain(&new) {
        assert_eq!(world.event(*session), expected);
    }
}

/// What a client knows of a room from the events.
#[derive(Default)]
struct View {
    users: BTreeSet<String>,
    numbers: (u64, u64),
}

impl View {
    fn apply(&mut self, event: &str) {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        let names = |list: &serde_json::Value| -> Vec<String> {
            let of = |user: &serde_json::Value| user["userid"].as_str().or(user.as_str()).unwrap().to_owned();
            list.as_array().into_iter().flatten().map(of).collect()
        };
        if event["here"].is_array() {
            self.users = names(&event["here"]).into_iter().collect();
        }
        for userid in names(&event["came"]) {
            assert!(self.users.insert(userid), "came twice: {event}");
        }
        for userid in names(&event["left"]) {
            assert!(self.users.remove(&userid), "left twice: {event}");
        }
        self.numbers = (event["count"].as_u64().unwrap(), event["guests"].as_u64().unwrap());
    }
}

/// Whatever happens: who applies the events knows who is there, and nobody leaves who is back in time.
#[test]
fn events_add_up_to_who_is_there() {
    const GRACE: u64 = 3_000;
    for seed in 1..=30 {
        let mut dice = Dice(seed * 7919);
        let mut world = World::new("grace = 3\nmost = 6");
        let mut sessions: Vec<(SessionKey, String, Option<usize>)> = Vec::new();
        let mut views: Vec<View> = Vec::new();
        // Until when a user is waited for.
        let mut awaited: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..400 {
            match dice.roll(10) {
                0..=3 => {
                    let userid = if dice.roll(6) == 0 { String::new() } else { dice.roll(8).to_string() };
                    let wants = Wants::new(false, dice.roll(3) == 0);
                    let key = world.login(Login { userid: &userid, rooms: "a", wants, ..Login::default() });
                    let view = wants.presence().then(|| {
                        views.push(View::default());
                        views.len() - 1
                    });
                    awaited.remove(&userid);
                    sessions.push((key, userid, view));
                }
                4..=5 if !sessions.is_empty() => {
                    let (key, userid, _) = sessions.swap_remove(dice.roll(sessions.len() as u64) as usize);
                    let lost = dice.roll(2) == 0;
                    world.end(key, if lost { End::Lost } else { End::Left });
                    if lost && !userid.is_empty() {
                        awaited.insert(userid, world.millis + GRACE);
                    }
                }
                _ => world.pass(dice.roll(900)),
            }
            for (key, _, view) in &sessions {
                let got = received(&mut world.hub.state, *key);
                if let Some(view) = view {
                    got.iter().for_each(|event| views[*view].apply(event));
                }
            }
            // Nobody is missing while it has a session.
            let tenant = world.hub.state.tenant("one").unwrap();
            world.hub.update_presence();
            for (_, userid, _) in sessions.iter().filter(|(_, userid, _)| !userid.is_empty()) {
                let room = world.hub.presence.tracker.room(tenant, "a").unwrap();
                assert!(room.user(userid).is_some(), "seed {seed}: {userid}");
            }
            // Nor while it is waited for.
            for (userid, _) in awaited.iter().filter(|(_, until)| **until > world.millis) {
                let room = world.hub.presence.tracker.room(tenant, "a").unwrap();
                assert!(room.user(userid).is_some(), "seed {seed}: {userid}");
            }
        }
        world.pass(200);
        let users: BTreeSet<String> =
            sessions.iter().map(|(_, userid, _)| userid.clone()).filter(|userid| !userid.is_empty()).collect();
        world.pass(GRACE + 400);
        let guests = sessions.iter().filter(|(_, userid, _)| userid.is_empty()).count() as u64;
        for (key, _, view) in &sessions {
            let got = received(&mut world.hub.state, *key);
            let Some(view) = view else { continue };
            got.iter().for_each(|event| views[*view].apply(event));
            assert_eq!(views[*view].numbers, (users.len() as u64, guests), "seed {seed}");
            if users.len() <= 6 {
                assert_eq!(views[*view].users, users, "seed {seed}");
            }
        }
    }
}
