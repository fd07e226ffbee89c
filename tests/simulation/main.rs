//! A seeded simulation of the hub with a shadow model: clients come and go, join, leave and post; backends notify; some
//! readers are slow, some sockets take a few bytes at a time; some speak Socket.IO, over a WebSocket, by polling, or first
//! the one and then the other. Clients are cut off anywhere and come back with a position; the configuration changes, and
//! with it what rooms keep. After each step what must always hold is checked:
//!
//! - a member that is not closed gets each message of its rooms once, in the order in which they were published, whether
//!   live or from the history; one that comes back gets what it has missed, or is told in which rooms some are missing;
//! - it is told so only for the reasons in [`Model::may_be_incomplete`](model::Model::may_be_incomplete);
//! - frames arrive whole; what is closed is gone from its rooms;
//! - counted bytes are queued bytes and kept bytes, which fit into `history.memory`.
//!
//! A failure names the seed. `SIMULATION_SEED=7` runs this seed only, `SIMULATION_SEEDS=1000` the first thousand.
#![allow(missing_docs)]

mod client;
mod dice;
mod model;
mod returns;
mod walk;
mod wire;
mod world;

use std::{env, thread};

use world::World;

/// Names the seed if the thread panics.
struct Run {
    seed: u64,
    step: u32,
}

impl Drop for Run {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("SIMULATION_SEED={} failed in step {}", self.seed, self.step);
        }
    }
}

#[test]
fn what_must_always_hold() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let (mut closed, mut returned, mut gaps, mut fell, mut replayed) = (0, 0, 0, 0, 0);
    let is_all = seeds.clone().count() as u64 >= SEEDS;
    for seed in seeds {
        let mut run = Run { seed, step: 0 };
        let mut world = World::new(seed);
        while run.step < STEPS {
            world.step();
            run.step += 1;
        }
        for _ in 0..1000 {
            world.turn();
        }
        closed += world.end();
        returned += world.returned;
        let stats = &world.hub.state.stats;
        gaps += stats.recovery_gaps;
        fell += stats.fell_behind;
        replayed += stats.replayed;
    }
    if is_all {
        assert!(closed > 0, "no simulated reader was slow enough to be closed: the simulation is too kind");
        let seen = format!("{returned} returned, {gaps} gaps, {fell} fell behind, {replayed} messages replayed");
        assert!(returned > 100 && gaps > 100 && fell > 20 && replayed > 1000, "the simulation is too kind: {seen}");
        println!("{seen}");
    }
}

/// Those that do not know where they were get what they have missed.
#[test]
fn who_comes_back_has_missed_nothing() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let (mut resumed, mut repeated) = (0, 0);
    let is_all = seeds.clone().count() as u64 >= SEEDS;
    for seed in seeds {
        let mut run = Run { seed, step: 0 };
        let mut world = returns::World::new(seed);
        while run.step < STEPS {
            world.step();
            run.step += 1;
        }
        world.end();
        resumed += world.resumed;
        repeated += world.repeated;
    }
    println!("{resumed} have come back, and {repeated} messages were repeated");
    assert!(!is_all || (resumed > 500 && repeated > 100), "the simulation is too kind: {resumed}, {repeated}");
}

const SEEDS: u64 = 40;
const STEPS: u32 = 1500;
