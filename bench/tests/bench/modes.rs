//! Every mode with every kind of client against relay.

use std::{fs, process::Command, thread, time::Duration};

use serde_json::Value;

use crate::{
    FAULTS, KINDS, bench, program,
    relay::{Relay, temp_path},
};

fn assert_positive(json: &Value, keys: &[&str]) {
    for key in keys {
        assert!(json[*key].as_f64().is_some_and(|number| number > 0.0), "{key} in {json}");
    }
}

#[test]
fn fan_out_to_every_kind_of_client() {
    let relay = Relay::start("");
    let at = format!("--addr {} --pid {} --timeout 20 --json", relay.addr, relay.pid());
    for kind in KINDS {
        let json = bench(&format!("fan-out --client {kind} --members 5 --messages 20 {at}")).good();
        assert_eq!((&json["client"], &json["mode"]), (&kind.into(), &"fan-out".into()));
        assert_eq!((&json["messages"], &json["deliveries"], &json["owed"]), (&20.into(), &100.into(), &100.into()));
        assert_eq!((&json["latency_from"], &json["window"]), (&"send".into(), &1.into()));
        assert_positive(
            &json,
            &["deliveries_per_s", "latency_p50_us", "latency_max_us", "cpu_us_per_delivery", "seconds"],
        );
        assert!(json["bytes_per_member"].is_number(), "{json}");
        // Rooms of different sizes, several publishers, and messages that need a 64-bit frame length.
        let many = "--members 5 --rooms 3 --connections 2 --window 8 --messages 30 --size 70000";
        let json = bench(&format!("fan-out --client {kind} {many} {at}")).good();
        assert_eq!((&json["messages"], &json["deliveries"]), (&30.into(), &50.into()));
    }
    let kinds = KINDS.len() as u64;
    assert_eq!((relay.counter("notifies"), relay.counter("delivered")), (50 * kinds, 150 * kinds));
}

#[test]
fn fixed_rate() {
    let relay = Relay::start("");
    let line = format!("fan-out --members 5 --rate 200 --seconds 0.5 --timeout 20 --addr {} --json", relay.addr);
    let json = bench(&line).good();
    assert_eq!(
        (&json["messages"], &json["latency_from"], &json["rate_per_s"]),
        (&100.into(), &"schedule".into(), &200.0.into())
    );
    let seconds = json["seconds"].as_f64().unwrap();
    assert!((0.45..2.0).contains(&seconds), "{json}");
    assert!(json["cpu_us_per_delivery"].is_null(), "CPU time without --pid: {json}");
}

/// A server that stops for a while: the latency includes the delay of the messages that were due in that time.
#[test]
fn latency_includes_a_stall() {
    let relay = Relay::start("");
    let (addr, pid) = (&relay.addr, relay.pid());
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_secs(1));
        for (signal, pause) in [("-STOP", 500), ("-CONT", 0)] {
            assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
            thread::sleep(Duration::from_millis(pause));
        }
    });
    let json = bench(&format!("fan-out --members 2 --rate 100 --seconds 3 --timeout 20 --addr {addr} --json")).good();
    stopper.join().unwrap();
    let [p99, max] = ["latency_p99_us", "latency_max_us"].map(|key| json[key].as_f64().unwrap());
    // A sixth of all messages was due during the stall, the first of them half a second before its end.
    assert!(p99 > 300_000.0 && max > 400_000.0, "{json}");
}

#[test]
fn idle_sessions_of_every_kind() {
    for kind in KINDS {
        let relay = program::relay();
        let relay = relay.display();
        let line =
            format!("idle --client {kind} --members 20 --rooms 3 --seconds 0.3 --timeout 20 --start {relay} --json");
        let json = bench(&line).good();
        // 20 sessions, and 100 for the warm-up, which get a second message. A stream only receives.
        let said = if kind == "sse" { 0 } else { 120 };
        assert_eq!((&json["said"], &json["deliveries"]), (&said.into(), &220.into()), "{json}");
        assert!(json["bytes_per_session"].is_number() && json["server_cpu_percent"].is_number(), "{json}");
        assert_positive(&json, &["cpu_us_per_connect", "rss_bytes"]);
    }
}

/// Members answer pings, and send them if the protocol requires that of clients: with short time-outs relay drops none.
#[test]
fn sessions_stay_alive() {
    let strict = "ping_interval = 0.6\nping_timeout = 3\n";
    let relay = Relay::start(&format!("[websocket]\n{strict}[socketio]\n{strict}"));
    let runs = KINDS.map(|kind| {
        let line = format!("idle --client {kind} --members 5 --seconds 6 --timeout 20 --addr {} --json", relay.addr);
        thread::spawn(move || bench(&line))
    });
    runs.into_iter().for_each(|run| drop(run.join().unwrap().good()));
    assert_eq!(relay.counter("ping_timeouts"), 0);
}

/// Backends reconnect if relay closes their idle connections, and no message is lost.
#[test]
fn idle_backends_reconnect() {
    let relay = Relay::start("[limits]\nrequest_timeout = 0.4\nkeep_alive = 0.4\n");
    let load = "--members 2 --connections 2 --rate 1 --messages 4 --timeout 20";
    let json = bench(&format!("fan-out {load} --addr {} --json", relay.addr)).good();
    assert_eq!(json["deliveries"], 8);
}

#[test]
fn logins_of_every_kind() {
    let relay = Relay::start("");
    for kind in KINDS {
        let at = format!("--addr {} --pid {} --timeout 20 --json", relay.addr, relay.pid());
        let json = bench(&format!("connect --client {kind} --members 25 --concurrency 4 {at}")).good();
        assert_eq!((&json["connects"], &json["present"]), (&25.into(), &1.into()));
        assert_positive(&json, &["connects_per_s", "latency_p50_us", "cpu_us_per_connect"]);
        let crowded = bench(&format!("connect --client {kind} --members 5 --present 20 --rooms 3 {at}")).good();
        assert_eq!((&crowded["connects"], &crowded["present"]), (&5.into(), &20.into()));
        relay.wait_empty();
    }
}

/// The CPU time includes the work that relay does after the last delivery was sent.
#[test]
fn cpu_time_of_a_single_message() {
    let relay = Relay::start("");
    for _ in 0..5 {
        let line = format!("--messages 1 --timeout 20 --json --addr {} --pid {}", relay.addr, relay.pid());
        let json = bench(&format!("fan-out --members 2 {line}")).good();
        assert!(json["cpu_us_per_delivery"].as_f64().unwrap() > 5.0, "{json}");
        assert!(bench(&format!("ingest {line}")).good()["cpu_us_per_notify"].as_f64().unwrap() > 10.0);
    }
}

/// The key of every quantity names its unit.
#[test]
fn keys_name_their_units() {
    let counts = [
        "members",
        "rooms",
        "connections",
        "messages",
        "window",
        "deliveries",
        "owed",
        "accepted",
        "said",
        "connects",
        "present",
        "concurrency",
        "seconds",
        "mode",
        "addr",
        "client",
        "latency_from",
        "ok",
        "faults",
    ];
    let units = ["_us", "_per_s", "_percent", "_bytes", "bytes_per_", "_us_per_"];
    for mode in ["fan-out --members 2 --rate 50", "idle --members 2", "ingest", "connect --members 2"] {
        let seconds = if mode.starts_with("connect") { "" } else { "--seconds 0.1" };
        let json = bench(&format!("{mode} {seconds} --start --timeout 20 --json")).good();
        for key in json.as_object().unwrap().keys() {
            let known = counts.contains(&key.as_str()) || FAULTS.contains(&key.as_str());
            assert!(known || units.iter().any(|unit| key.contains(unit)), "{key} of {mode}");
        }
    }
}

#[test]
fn ingest() {
    let json = bench("ingest --start --messages 300 --connections 3 --window 5 --timeout 20 --json").good();
    assert_eq!((&json["accepted"], &json["messages"]), (&300.into(), &300.into()));
    assert_positive(&json, &["accepted_per_s", "latency_p99_us", "cpu_us_per_notify"]);
    let json = bench("ingest --start --seconds 0.3 --rate 100 --timeout 20 --json").good();
    assert_eq!((&json["accepted"], &json["latency_from"]), (&30.into(), &"schedule".into()));
}

#[test]
fn table() {
    let ran = bench("fan-out --start --members 3 --messages 5 --timeout 20");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for text in ["latency, from sending", "relay's CPU per delivery", "nothing lost"] {
        assert!(ran.out.contains(text), "{}", ran.out);
    }
}

#[test]
fn unix_socket_and_another_source() {
    let path = temp_path("bench.sock");
    let relay = Relay::start_with(&format!("listen = [\"unix:{}\", \"127.0.0.1:0\"]", path.display()), "");
    let line = format!("--members 3 --messages 5 --timeout 20 --json --addr unix:{}", path.display());
    bench(&format!("fan-out {line}")).good();
    let other = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
        .args(["fan-out", "--source", "other", "--key", "other key"])
        .args(line.split(' '))
        .output()
        .unwrap();
    assert!(other.status.success(), "{other:?}");
    // A wrong key is reported as a refusal.
    for kind in KINDS {
        let ran = bench(&format!("fan-out --client {kind} --key wrong {line}"));
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{kind}");
        assert!(ran.err.contains("sign verify failed!"), "{kind}: {}", ran.err);
    }
    drop(relay);
    let _ = fs::remove_file(path);
}
