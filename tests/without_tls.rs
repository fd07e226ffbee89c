//! docs/dependencies.md, Without TLS: a build without the cargo feature `tls` works, and refuses a configuration that asks for
//! TLS. Empty in other builds: `cargo test --no-default-features --test without_tls`.
#![allow(missing_docs)]
#![cfg(not(feature = "tls"))]

mod support;

use std::{fs, path::Path, process::Command};

use support::{Relay, temp_file};

const SAYS: &str = "this build of relay has no TLS: use a build with the cargo feature tls, which is on by default";

/// What `relay check` says about a configuration, with its exit code.
fn check(lines: &str) -> (Option<i32>, String) {
    let file = temp_file("toml");
    fs::write(&file, format!("[sources.demo]\nsign_key = \"0123456789abcdef\"\n{lines}")).unwrap();
    let output =
        Command::new(support::binary()).args(["check", "--config"]).arg(&file).output().expect("relay check runs");
    fs::remove_file(&file).unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Each place of the configuration that asks for TLS is named, with its line.
#[test]
fn a_configuration_that_asks_for_tls() {
    for (lines, place) in [
        ("[redis]\nurl = \"rediss://redis.lan\"\n", "toml:4:8: redis.url: "),
        ("[redis]\nurl = \"rediss+sentinel://a,b/main\"\n", "toml:4:8: redis.url: "),
        ("[hooks]\nurl = \"https://backend.lan/hook\"\n", "toml:4:8: hooks.url: "),
    ] {
        let (code, said) = check(lines);
        assert!(code == Some(78) && said.contains(&format!("{place}{SAYS}")), "{lines}: {code:?} {said}");
    }
    // The keys of tokens are checked by the same crate. A shared secret needs none.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let (code, said) = check(&format!("jwt = {{ public_key_file = {file:?} }}\n"));
    let place = format!("toml:3:28: sources.demo.jwt.public_key_file: {file}: ");
    assert!(code == Some(78) && said.contains(&format!("{place}{SAYS}")), "{code:?} {said}");
    assert_eq!(check("jwt = { secret = \"a secret of thirty-two characters\" }\n").0, Some(0));
    assert_eq!(check("[redis]\nurl = \"redis://redis.lan\"\n").0, Some(0));
}

/// Everything else is there.
#[test]
fn messages_pass() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    relay.notify("room", "hello");
    assert_eq!(member.data(), "hello");
}

/// Commands that would need TLS say so.
#[test]
fn commands() {
    let folder = temp_file("cert");
    let folder = folder.to_str().unwrap();
    for arguments in [
        &["cert", "--name", "relay.lan", "--dir", folder][..],
        &["notify", "--url", "https://relay.lan", "--source", "demo", "--key", "k", "room", "hello"],
        &["listen", "--url", "wss://relay.lan", "--source", "demo", "--key", "k", "room"],
    ] {
        let output = Command::new(support::binary()).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(SAYS), "{arguments:?}: {said}");
    }
    assert!(!Path::new(folder).exists());
}
