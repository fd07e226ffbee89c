//! docs/protocol.md, POST /api/reload, and the command `relay reload`: a reload that says what it has changed, or why it
//! has changed nothing.

use std::{fs, io::Write, thread};

use serde_json::{Value, json};

use crate::support::{
    Relay, TOKEN,
    cli::{self, Run, run},
    read_answer, send_request, temp_file,
};

// The endpoint.

#[test]
fn the_answer_names_each_key_with_its_values() {
    let relay = Relay::start("[limits]\nroom_id = 100\n[redis]\nkey_prefix = \"a\"\n");
    let old = fs::read_to_string(&relay.config).unwrap();
    let new = old
        .replace("room_id = 100", "room_id = 101\nbody = 5000")
        .replace("127.0.0.1:0", "127.0.0.1:1")
        .replace("other key", "another key")
        .replace("key_prefix = \"a\"", "key_prefix = \"\\u001b\\u202eb\"");
    write(&relay, &new);
    let answer = post(&relay);
    assert_eq!((answer["code"].clone(), answer["msg"].clone()), (json!(1), json!("")), "{answer}");
    let change = |key: &str, old: Value, new: Value, text: &str, restart: bool| json!({"key": key, "old": old, "new": new, "text": format!("{key}: {text}"), "restart": restart});
    let expected = json!([
        change("limits.body", json!(null), json!("5000"), "not set → 5000", false),
        change("limits.room_id", json!("100"), json!("101"), "100 → 101", false),
        change(
            "listen",
            json!("[\"127.0.0.1:0\"]"),
            json!("[\"127.0.0.1:1\"]"),
            "[\"127.0.0.1:0\"] → [\"127.0.0.1:1\"] (takes effect after a restart)",
            true
        ),
        change(
            "redis.key_prefix",
            json!("\"a\""),
            json!("\"\\u{1b}\\u{202e}b\""),
            "\"a\" → \"\\u{1b}\\u{202e}b\"",
            false
        ),
        change(
            "sources.other.sign_key",
            json!("(not shown)"),
            json!("(not shown)"),
            "another value, which is not shown",
            false
        ),
    ]);
    assert_eq!(answer["data"]["changed"], expected);
    assert_eq!((answer["data"]["more"].clone(), answer["data"]["sessions_ended"].clone()), (json!(0), json!(0)));
    let warnings = answer["data"]["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("fewer than 16 bytes")), "{warnings:?}");
    // The log has the same lines, and neither has a key.
    relay.wait_log("changed: limits.body: not set → 5000");
    relay.wait_log("changed: listen: [\"127.0.0.1:0\"] → [\"127.0.0.1:1\"] (takes effect after a restart)");
    let all = format!("{answer} {}", relay.log().join("\n"));
    assert!(!all.contains("another key") && !all.contains("other key") && !all.contains(TOKEN));
    assert_eq!(post(&relay)["data"]["changed"], json!([]), "it is in force");
}

#[test]
fn a_bad_file_is_answered_with_its_problems() {
    let relay = Relay::start("[limits]\nroom_id = 100\n");
    let old = fs::read_to_string(&relay.config).unwrap();
    write(&relay, &old.replace("room_id = 100", "room_id = 101\nbody = true\nmesage = 1"));
    let answer = post(&relay);
    assert_eq!(answer["code"], 0);
    assert_eq!(answer["msg"], "the new configuration is bad: the old one stays in force");
    let errors: Vec<&str> =
        answer["data"]["errors"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let place = relay.config.display().to_string();
    assert!(errors.len() == 2 && errors.iter().all(|line| line.starts_with(&place)), "{errors:?}");
    assert!(errors[0].contains("limits.body must be") && errors[1].contains("did you mean message?"), "{errors:?}");
    for line in errors {
        relay.wait_log(line);
    }
    write(&relay, &old.replace("room_id = 100", "room_id = 102"));
    let changed = post(&relay)["data"]["changed"][0].clone();
    assert_eq!(
        (changed["old"].clone(), changed["new"].clone()),
        (json!("100"), json!("102")),
        "101 was never in force"
    );
    write(&relay, "[limits]\nroom_id = 7\n");
    assert!(post(&relay)["data"]["errors"][0].as_str().unwrap().contains("has no source"));
    fs::remove_file(&relay.config).unwrap();
    assert!(post(&relay)["data"]["errors"][0].as_str().unwrap().contains("No such file"));
}

#[test]
fn only_operators_can_reload() {
    let relay = Relay::start("");
    write(&relay, "nothing");
    for (headers, body) in [(&[][..], ""), (&[("Authorization", "Bearer wrong")], ""), (&[], "token=wrong")] {
        assert_eq!(relay.request("POST", "/api/reload", headers, body.as_bytes()).status, 401);
    }
    let answer = relay.admin("/api/reload");
    assert_eq!((answer.status, answer.header("allow")), (405, "POST, OPTIONS"));
    let unknown = relay.request("POST", "/api/reload?file=/etc/passwd", &bearer(TOKEN), b"");
    assert_eq!((unknown.status, unknown.json()["msg"].clone()), (400, json!("unknown field \"file\"")));
    relay.fence();
    assert!(!relay.log().iter().any(|line| line.contains("configuration")), "nothing was read: {:?}", relay.log());
    assert_eq!(relay.request("POST", "/api/reload", &bearer(TOKEN), b"").status, 409);
}

/// Requests at the same time get the result of a reading that began after them, and a change of the token does not harm
/// those that wait.
#[test]
fn many_at_once() {
    let relay = Relay::start("");
    let old = fs::read_to_string(&relay.config).unwrap();
    for round in 0..20 {
        write(&relay, &format!("{old}[limits]\nroom_id = {}\n", 100 + round));
        let mut streams: Vec<_> = (0..8).map(|_| relay.tcp()).collect();
        for stream in &mut streams {
            send_request(stream, "POST", "/api/reload", &bearer(TOKEN), b"");
        }
        let answers: Vec<Value> = streams.iter_mut().map(|stream| read_answer(stream, false).json()).collect();
        assert!(answers.iter().all(|answer| answer["code"] == 1), "{answers:?}");
        let changed = answers.iter().filter(|answer| answer["data"]["changed"] != json!([])).count();
        assert_eq!(changed, 1, "{answers:?}");
    }
    let more: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = relay.tcp();
            send_request(&mut stream, "POST", "/api/reload", &bearer(TOKEN), b"");
            thread::spawn(move || read_answer(&mut stream, false).status)
        })
        .collect();
    assert!(more.into_iter().all(|thread| [200, 503].contains(&thread.join().unwrap())), "each has an answer");
}

// The command.

#[test]
fn the_command_says_what_has_changed() {
    let socket = temp_file("socket");
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\n[limits]\nroom_id = 100\n", socket.display());
    let mut relay = Relay::start(&listen);
    let old = fs::read_to_string(&relay.config).unwrap();
    let config = relay.config.to_str().unwrap().to_owned();
    // It finds the address and the token in the configuration.
    let reload = || run(&["reload", "--config", &config]);
    assert_eq!(done(&reload()), "nothing has changed\n");
    write(&relay, &old.replace("= 100", "= 101"));
    let ran = reload();
    assert_eq!(done(&ran), "changed: limits.room_id: 100 → 101\nconfiguration re-read\n");
    assert!(ran.err.contains("relay: warning: "), "{ran:?}");

    // relay refuses it: 1. The command cannot use it either: 78.
    write(&relay, &old.replace("[sources.other]\nsign_key = \"other key\"", "[message_log]\ndir = \"/dev/null/log\""));
    let ran = reload();
    assert_eq!((ran.code, &*ran.out), (1, ""), "{ran:?}");
    assert!(ran.err.contains("message_log.dir: /dev/null is not a directory"), "{ran:?}");
    assert!(ran.err.ends_with("refused: the new configuration is bad: the old one stays in force\n"), "{ran:?}");
    write(&relay, &old.replace("= 100", "= true"));
    let ran = reload();
    assert!(ran.code == 78 && ran.err.contains("limits.room_id must be"), "{ran:?}");
    let url = format!("http://{}", relay.addr);
    let ran = run(&["reload", "--url", &url, "--token", TOKEN]);
    assert!(ran.code == 1 && ran.err.contains("limits.room_id must be"), "{ran:?}");

    // The token in the file is not in force yet.
    let token = "a-token-of-some-length";
    write(&relay, &old.replace(&format!("token = \"{TOKEN}\""), &format!("token = \"{token}\"")));
    let ran = reload();
    assert!(ran.code == 1 && ran.err.contains("give the old one with --token"), "{ran:?}");
    let ran = run(&["reload", "--config", &config, "--token", TOKEN]);
    assert!(done(&ran).contains("changed: admin.token: another value, which is not shown\n"), "{ran:?}");
    assert_eq!(done(&reload()), "nothing has changed\n");
    let ran = run(&["reload", "--url", &url]);
    assert!(ran.code == 1 && ran.err.contains("the admin token is unknown"), "{ran:?}");
    let file = cli::write("token", token);
    assert_eq!(done(&run(&["reload", "--url", &url, "--token-file", cli::text(&file)])), "nothing has changed\n");
    relay.signal(cli::SIGTERM);
    assert_eq!(relay.wait(), 0);
    assert_eq!(reload().code, 1);
}

// Help.

fn done(run: &Run) -> &str {
    assert_eq!(run.code, 0, "{run:?}");
    &run.out
}

fn bearer(token: &str) -> [(&'static str, &'static str); 1] {
    [("Authorization", Box::leak(format!("Bearer {token}").into_boxed_str()))]
}

fn post(relay: &Relay) -> Value {
    let answer = relay.request("POST", "/api/reload", &bearer(TOKEN), b"");
    let json = answer.json();
    assert_eq!(answer.status, if json["code"] == 1 { 200 } else { 409 }, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    json
}

fn write(relay: &Relay, text: &str) {
    let new = relay.config.with_extension("new");
    fs::File::create(&new).unwrap().write_all(text.as_bytes()).unwrap();
    fs::rename(&new, &relay.config).unwrap();
}
