//! The plain load of the scripts in `tests/bench/`: streams, replays, and clients with rooms of their own.

use std::time::Duration;

use relay_bench::{
    engineio::Revision,
    load::{Crowd, Dialect, FanOut, Idle, Measured, Replay},
    process::Process,
};

use crate::relay::Relay;

/// Every kind of client, with its name.
fn dialects() -> [(&'static str, Dialect); 4] {
    let socketio = |revision| Dialect { socketio: Some(revision), ..Dialect::default() };
    [
        ("plain", Dialect::default()),
        ("socketio4", socketio(Revision::V4)),
        ("socketio3", socketio(Revision::V3)),
        ("sse", Dialect { stream: true, ..Dialect::default() }),
    ]
}

#[test]
fn replays_to_every_kind_of_client() {
    let relay = Relay::start("[history]\ncount = 30\n[recovery]\nwindow = 0\n");
    let processes = [Process::find(relay.pid()).unwrap()];
    for (name, dialect) in dialects() {
        let load = Replay {
            addr: relay.addr.parse().unwrap(),
            dialect: &dialect,
            processes: &processes,
            members: 5,
            messages: 30,
            size: 5000,
            times: 2,
            others: Some(Crowd { count: 2, rate: 100 }),
            measured: Measured::Replays,
        };
        let mut steps = Vec::new();
        let cost = load.run(&mut |word| steps.push(word.to_owned())).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(steps, ["ready", "done"], "{name}");
        assert!(cost.cpu.iter().all(|cpu| *cpu > 0) && cost.seconds.iter().all(|seconds| *seconds > 0.0), "{name}");
        // Two seconds before the first burst.
        assert!(cost.others[0].len() >= 300, "{name}: {}", cost.others[0].len());
        assert!(cost.others[0].iter().any(|delivery| delivery.cpu > 0), "{name}");
    }
}

/// Clients that miss more than the room keeps are told so, which a replay must not be.
#[test]
fn a_replay_with_a_gap_is_found() {
    let relay = Relay::start("[history]\ncount = 30\n[recovery]\nwindow = 0\n");
    let processes = [Process::find(relay.pid()).unwrap()];
    for (name, dialect) in dialects() {
        let load = Replay {
            addr: relay.addr.parse().unwrap(),
            dialect: &dialect,
            processes: &processes,
            members: 2,
            messages: 31,
            size: 100,
            times: 1,
            others: None,
            measured: Measured::Logins,
        };
        let error = load.run(&mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("messages are lost") && error.contains("\"recovered\":false"), "{name}: {error}");
    }
}

#[test]
fn fan_out_to_streams() {
    let relay = Relay::start("");
    let processes = [Process::find(relay.pid()).unwrap()];
    let (addr, dialect) = (relay.addr.parse().unwrap(), Dialect { stream: true, ..Dialect::default() });
    let (processes, dialect) = (&processes[..], &dialect);
    let load = FanOut {
        addr,
        publish_addr: addr,
        dialect,
        processes,
        members: 6,
        rooms: 2,
        messages: 40,
        window: 8,
        bursts: true,
        size: 300,
    };
    assert_eq!(load.run(&mut |_| {}).unwrap().delivered, 120);
}

#[test]
fn clients_with_rooms_of_their_own() {
    let relay = Relay::start("");
    let processes = [Process::find(relay.pid()).unwrap()];
    let (addr, dialect, watch) = (relay.addr.parse().unwrap(), Dialect::default(), Duration::from_millis(10));
    let (processes, dialect) = (&processes[..], &dialect);
    let load = Idle { addr, dialect, processes, members: 3, rooms_each: 4, watch, warm_up: 2 };
    let mut rooms = Vec::new();
    let cost = load.run(&mut |_| rooms.push(relay.stat("/rooms"))).unwrap();
    assert_eq!(rooms, [8, 20]);
    assert!(cost.cpu_per_connect > 0.0);
}
