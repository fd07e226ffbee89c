//! `relay top`: the numbers of a relay in a terminal.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::support::{Relay, TOKEN, wait_for};

fn top(relay: &Relay, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.arg("top").args(["--url", &format!("http://{}", relay.addr)]).args(args);
    command
}

const ARGS: &[&str] = &["--token", TOKEN, "--interval", "1"];

#[test]
fn once_it_prints_one_picture() {
    let relay = Relay::start("");
    let _clients = [relay.connect("room"), relay.connect("room")];
    wait_for("both clients", || (relay.stat("/sessions") == 2).then_some(()));
    let done = top(&relay, &[ARGS, &["--once"]].concat()).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{text}");
    assert!(text.starts_with("relay 0.") && !text.contains('\x1b'), "{text}");
    assert!(text.contains(" 2 connected   2 sessions   1 rooms   0 away "), "{text}");
    assert!(text.contains("turn p50 ≤ "), "its own question is a turn: {text}");
    assert!(!text.contains(TOKEN));
}

#[test]
fn it_goes_on_over_a_restart() {
    let mut relay = Relay::start("");
    let mut child = top(&relay, ARGS).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = |words: &str| {
        let found = lines.find(|line| line.contains(words));
        assert!(found.is_some(), "no line with {words:?}");
    };
    next("connected");
    next("messages ");
    relay.child.kill().unwrap();
    relay.child.wait().unwrap();
    next("refused");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn wrong_tokens_and_intervals() {
    let relay = Relay::start("");
    let done = top(&relay, &["--once", "--token", "wrong"]).output().unwrap();
    let error = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{error}");
    assert!(error.contains("the admin token is missing or wrong"), "{error}");
    for interval in ["0", "3601", "x"] {
        let done = top(&relay, &["--token", TOKEN, "--interval", interval]).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{interval}");
        assert!(String::from_utf8(done.stderr).unwrap().contains("expected a number of seconds from 1 to 3600"));
    }
}
