//! The history against a model that keeps all messages in lists.

use super::*;
use crate::history::entry::ALLOCATION;

/// A generator of numbers (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A message that the model has seen.
#[derive(Clone)]
struct Seen {
    room: usize,
    stamp: u64,
    second: u64,
    size: usize,
}

const ROOMS: [&str; 6] = ["a", "b", "c", "v-1", "v-2", "unkept"];

/// A model of a ring: adds a message, and drops those that are too many then.
fn model_push(ring: &mut Vec<Seen>, seen: &Seen, (count, age, bytes): (usize, u64, usize)) {
    if seen.size > bytes {
        return;
    }
    ring.retain(|old| seen.second - old.second <= age);
    ring.push(seen.clone());
    while ring.len() > count || ring.iter().map(|seen| seen.size).sum::<usize>() > bytes {
        ring.remove(0);
    }
}

/// Compares the history with a model that keeps all messages in lists.
#[test]
fn random_messages_against_a_model() {
    for seed in 1..=60 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 32));
        // With little memory only what holds for any eviction is compared.
        let tight = seed % 3 == 0;
        let memory = if tight { 65_536 } else { 1 << 30 };
        let bounds = (1 + random.below(8) as usize, 1 + random.below(20), 1024 + random.below(4000) as usize);
        let mut world = World::new(&format!(
            "count = {}\nage = {}\nbytes = {}\nmemory = {memory}\nrooms = [{{ room = \"v-*\", last = true }}, \
             {{ room = \"unkept\", count = 0 }}, {{ room = \"many-*\", count = 2000, bytes = 100000, age = 604800 }}]",
            bounds.0, bounds.1, bounds.2
        ));
        session(&mut world.state, Login { rooms: "a,v-1", ..Login::default() });
        let start = world.state.ids.last();
        let (mut all, mut model): (Vec<Seen>, Vec<Vec<Seen>>) = (Vec::new(), vec![Vec::new(); ROOMS.len()]);
        for _ in 0..400 {
            match random.below(10) {
                0 => world.wait(random.below(1 + bounds.1)),
                1 => {
                    world.history.expire(world.state.now.time);
                }
                2 if tight => {
                    world.publish(&format!("many-{}", random.below(40)), &"x".repeat(random.below(9000) as usize));
                }
                _ => {
                    let room = random.below(ROOMS.len() as u64) as usize;
                    let length = if random.below(20) == 0 { bounds.2 } else { random.below(600) as usize };
                    let stamp = world.publish(ROOMS[room], &"x".repeat(length)).0;
                    let second = world.state.now.time.micros() / 1_000_000;
                    let seen = Seen { room, stamp, second, size: length + size_of::<Entry>() + ALLOCATION };
                    all.push(seen.clone());
                    if ROOMS[room] != "unkept" {
                        model_push(&mut model[room], &seen, bounds);
                    }
                }
            }
            assert!(world.history.bytes() <= memory, "seed {seed}");
            compare(&world, &all, &model, (bounds.1, start, tight), &mut random, seed);
        }
        if tight {
            assert!(world.evicted().memory > 0, "seed {seed}: {:?}", world.evicted());
        }
        check_accounts(&world, seed);
    }
}

/// Compares what rooms have after some stamp with the model, and what is said to be whole with all messages.
fn compare(
    world: &World,
    all: &[Seen],
    model: &[Vec<Seen>],
    (age, start, tight): (u64, u64, bool),
    random: &mut Random,
    seed: u64,
) {
    let now = world.state.now.time.micros() / 1_000_000;
    let from = match all.len() as u64 {
        0 => start,
        length => all[random.below(length) as usize].stamp + random.below(2) - 1,
    };
    let chosen: Vec<usize> = (0..ROOMS.len()).filter(|_| random.below(3) > 0).collect();
    let names: Vec<&str> = chosen.iter().map(|room| ROOMS[*room]).collect();
    let got: Vec<(usize, u64)> =
        world.after(&names, from).into_iter().map(|(index, stamp)| (chosen[index], stamp)).collect();
    let mut expected = Vec::new();
    for room in &chosen {
        let ring = &model[*room];
        for (index, seen) in ring.iter().enumerate() {
            let is_last = ROOMS[*room].starts_with("v-") && index + 1 == ring.len();
            if seen.stamp > from && (is_last || now - seen.second <= age) {
                expected.push((*room, seen.stamp));
            }
        }
    }
    expected.sort_by_key(|(_, stamp)| *stamp);
    if tight {
        assert!(got.is_sorted_by_key(|(_, stamp)| *stamp), "seed {seed}");
        assert!(got.iter().all(|found| expected.contains(found)), "seed {seed}: {got:?} {expected:?}");
    } else {
        assert_eq!(got, expected, "seed {seed}, after {from} in {names:?}");
    }
    let position = world.position(&names, Since::Id(world.state.ids.first().with_number(from)));
    assert_eq!(position.stamp, from.min(world.state.ids.last()));
    for (index, room) in chosen.iter().enumerate() {
        let is_gap = position.gaps.contains(&index);
        assert_eq!(is_gap, !world.is_whole(ROOMS[*room], from));
        let published = all.iter().filter(|seen| seen.room == *room && seen.stamp > from).map(|seen| seen.stamp);
        let missing = published.filter(|stamp| !got.contains(&(*room, *stamp))).count();
        assert!(is_gap || missing == 0, "seed {seed}: {missing} messages are missing in {} after {from}", ROOMS[*room]);
        // A gap is said only if a message of the room is missing, or one that may have been in it: the oldest that the
        // tenant does not have any more.
        let is_kept = ROOMS[*room] != "unkept";
        if is_gap && missing == 0 && is_kept && !tight {
            let model_has = |seen: &Seen| model[seen.room].iter().any(|kept| kept.stamp == seen.stamp);
            let may_be_missing = |seen: &&Seen| seen.stamp > from && (!model_has(seen) || now - seen.second > age);
            assert!(from < start || all.iter().any(|seen| may_be_missing(&seen)), "seed {seed}: no gap after {from}");
        }
    }
}

/// The numbers of bytes and messages are those of the rings.
fn check_accounts(world: &World, seed: u64) {
    let rings = world.history.rings.all();
    assert_eq!(world.history.bytes(), rings.iter().map(Ring::footprint).sum::<usize>(), "seed {seed}");
    assert_eq!(world.history.messages(), rings.iter().map(Ring::len).sum::<usize>(), "seed {seed}");
    let counts = world.history.counts();
    assert_eq!(counts.kept - counts.evicted.total(), world.history.messages() as u64, "seed {seed}");
    for (index, ring) in rings.iter().enumerate() {
        assert_eq!(world.history.rings.find(ring.tenant, &ring.name), Some(index), "seed {seed}");
        assert!(!ring.is_empty(), "seed {seed}");
    }
    let can_expire = rings.iter().any(|ring| ring.len() > usize::from(ring.bounds().last));
    assert_eq!(world.history.rings.can_expire(), can_expire, "seed {seed}");
}
