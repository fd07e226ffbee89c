//! docs/protocol.md, Running: the log on standard error must never stop the relay, whatever reads it.
#![allow(missing_docs)]

mod support;

use std::{
    io::{BufRead, BufReader, Read},
    process::{ChildStderr, Command, Stdio},
    thread,
    time::Duration,
};

use support::{Relay, temp_file};

/// A relay whose standard error is read as far as `listening on`, and then only by the test.
fn start() -> (Relay, BufReader<ChildStderr>) {
    let config = temp_file("relay.toml");
    std::fs::write(&config, Relay::configuration("[log]\nlevel = \"debug\"")).unwrap();
    let mut command = Command::new(support::binary());
    let mut child = command.arg("--config").arg(&config).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let addr = loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "relay ended");
        if let Some((_, addr)) = line.trim_end().split_once("listening on ") {
            break addr.parse().unwrap();
        }
    };
    (Relay::adopt(child, addr, config), lines)
}

#[test]
fn a_reader_that_has_gone_ends_nothing() {
    let (mut relay, lines) = start();
    let mut client = relay.connect("room");
    drop(lines);
    relay.signal(1);
    relay.refused("");
    relay.notify("room", "still there");
    assert_eq!(client.data(), "still there");
    assert!(relay.child.try_wait().unwrap().is_none());
}

#[test]
fn a_reader_that_sleeps_stops_nothing_and_learns_what_it_missed() {
    let (mut relay, mut lines) = start();
    for _ in 0..2000 {
        relay.refused("");
    }
    relay.notify("room", "still there");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        lines.read_to_string(&mut text).map(|_| text).unwrap()
    });
    thread::sleep(Duration::from_millis(100));
    relay.refused("");
    relay.signal(15);
    assert_eq!(relay.wait(), 0);
    let text = reader.join().unwrap();
    assert!(text.contains("lines of the log were lost"), "{}", text.lines().last().unwrap_or_default());
}
