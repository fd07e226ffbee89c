//! docs/protocol.md, Running: SIGHUP re-reads sources, limits, origins and the log level, whole or not at all, without
//! affecting other sessions.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;
use tungstenite::Message;

use crate::support::{
    self, Answer, Client, FORM, KEY, Relay, UPGRADE, connect_sign, form, login, notify_sign, read_answer, send_request,
    wait_for,
};

const SIGHUP: i32 = 1;

// Sources.

#[test]
fn a_source_that_is_added_can_be_used() {
    let relay = Relay::start("");
    let mut old = relay.connect("room");
    assert_eq!(relay.refused(&login_of("fresh", "k")).json()["msg"], "this source can not be configured!");
    assert_eq!(post(&relay, "fresh", "room", "x", "k").json()["msg"], "this source can not be configured!");
    reload(&relay, "[sources.fresh]\nsign_key = \"k\"");
    let mut fresh = open(&relay, "fresh", "k");
    assert_eq!(post(&relay, "fresh", "room", "x", "k").json()["code"], 1);
    assert_eq!(fresh.data(), "x");
    old.silence();
    old.send(r#"{"data":"still here","room_ids":"room"}"#);
    assert_eq!(old.data(), "still here");
}

/// Its sessions end with the reason; those of other sources stay. Added again, it begins empty.
#[test]
fn a_source_that_is_removed_is_gone() {
    let more = "[sources.fresh]\nsign_key = \"k\"";
    let relay = Relay::start(more);
    let mut gone = [open(&relay, "fresh", "k"), open(&relay, "fresh", "k")];
    let mut stays = relay.connect("room");
    reload(&relay, "");
    for client in &mut gone {
        assert_eq!(client.close_code(), 1008);
        assert!(client.socket.read().is_err(), "the connection ends");
    }
    assert_eq!(relay.refused(&login_of("fresh", "k")).json()["msg"], "this source can not be configured!");
    assert_eq!(post(&relay, "fresh", "room", "x", "k").json()["msg"], "this source can not be configured!");
    wait_for("both to be gone", || (relay.stat("/sessions") == 1).then_some(()));
    stays.silence();
    relay.notify("room", "still here");
    assert_eq!(stays.data(), "still here");

    reload(&relay, more);
    assert_eq!(relay.stat("/rooms"), 1);
    let mut back = open(&relay, "fresh", "k");
    assert_eq!(post(&relay, "fresh", "room", "again", "k").json()["code"], 1);
    assert_eq!(back.data(), "again");
}

/// Existing sessions stay; from then on only the new key is valid, for joining, too.
#[test]
fn a_key_that_changes() {
    let relay = Relay::start("[sources.fresh]\nsign_key = \"old\"");
    let mut client = open(&relay, "fresh", "old");
    reload(&relay, "[sources.fresh]\nsign_key = \"new\"");
    assert_eq!(relay.refused(&login_of("fresh", "old")).json()["msg"], "sign verify failed!");
    assert_eq!(post(&relay, "fresh", "room", "x", "old").json()["msg"], "api notify sign verify failed!");
    open(&relay, "fresh", "new");
    assert_eq!(post(&relay, "fresh", "room", "x", "new").json()["code"], 1);
    assert_eq!(client.data(), "x");
    for (key, code) in [("old", 0), ("new", 1)] {
        let sign = connect_sign("fresh", "more", key);
        client.send(&format!(r#"{{"event":"join","ack":1,"room_ids":"more","sign":"{sign}"}}"#));
        assert_eq!(client.json()["code"], code, "{key}");
    }
}

#[test]
fn a_key_in_a_file_of_its_own_is_read_again() {
    let key = support::temp_file("key");
    fs::write(&key, "old\n").unwrap();
    let more = format!("[sources.fresh]\nsign_key_file = \"{}\"", key.display());
    let relay = Relay::start(&more);
    open(&relay, "fresh", "old");
    fs::write(&key, "new\n").unwrap();
    reload(&relay, &more);
    open(&relay, "fresh", "new");
    assert_eq!(relay.refused(&login_of("fresh", "old")).status, 401);
    fs::remove_file(&key).unwrap();
    reload_badly(&relay, &more);
    relay.wait_log("sources.fresh.sign_key_file");
    open(&relay, "fresh", "new");
}

#[test]
fn schemes_that_change() {
    let relay = Relay::start("[sources.fresh]\nsign_key = \"k\"");
    open(&relay, "fresh", "k");
    reload(&relay, "[sources.fresh]\nsign_key = \"k\"\nsign = [\"hmac-sha256\"]");
    assert_eq!(relay.refused(&login_of("fresh", "k")).json()["msg"], "sign verify failed!");
}

// Limits.

/// They hold for connections that are there already.
#[test]
fn limits() {
    let relay = Relay::start("");
    let mut client = relay.connect("a,b");
    let mut kept = relay.tcp();
    let body = form(&[("source", "demo"), ("room_id", "a"), ("data", &"x".repeat(3000))]);
    let mut ask = || {
        send_request(&mut kept, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
        read_answer(&mut kept, false).status
    };
    assert_eq!(ask(), 200);
    reload(&relay, "[limits]\nbody = 2000\nrooms_per_session = 2\nroom_id = 5\nmessage = 1000\nmessage_rate = 0");
    assert_eq!(ask(), 413);
    let join = |room: &str| format!(r#"{{"event":"join","room_ids":"{room}","sign":"{}"}}"#, sign_of(room));
    client.send(&join("c"));
    assert_eq!(client.json()["msg"], "more than 2 rooms!");
    client.send(&join("123456"));
    assert_eq!(client.json()["msg"], "room_id can not be longer than 5 bytes!");
    client.send(&"x".repeat(1001));
    assert_eq!(client.close_code(), 1009);
}

#[test]
fn message_rate() {
    let relay = Relay::start("[limits]\nmessage_rate = 0");
    let mut client = relay.connect("room");
    let ping = r#"{"event":"ping","ack":1}"#;
    let mut codes = |count: usize| -> Vec<u64> {
        (0..count).for_each(|_| client.send(ping));
        (0..count).map(|_| client.json()["code"].as_u64().unwrap()).collect()
    };
    assert_eq!(codes(500), [1; 500]);
    reload(&relay, "[limits]\nmessage_rate = 1\nmessage_burst = 5");
    let limited = codes(100).iter().filter(|code| **code == 0).count();
    assert!(limited >= 90, "{limited} of 100 were refused");
    reload(&relay, "[limits]\nmessage_rate = 0");
    assert_eq!(codes(500), [1; 500]);
}

#[test]
fn connections() {
    let relay = Relay::start("[limits]\nconnections = 2");
    let _both = [relay.connect("room"), relay.connect("room")];
    assert!(relay.raw("").starts_with("HTTP/1.1 503 "));
    reload(&relay, "[limits]\nconnections = 4");
    wait_for("a place", || (relay.get("/healthz").status == 200).then_some(()));
    reload(&relay, "[limits]\nconnections = 1");
    assert!(relay.raw("").starts_with("HTTP/1.1 503 "));
}

// Sessions that would no longer be admitted.

/// Strangers of an open namespace must not listen on once it asks for a signature; signed sessions stay.
#[test]
fn an_open_namespace_that_becomes_signed() {
    let chat = |auth: &str| format!("[namespaces.\"/chat\"]\nauth = \"{auth}\"\nsource = \"demo\"\njoin = true");
    let relay = Relay::start(&chat("open"));
    let mut stranger = Client::open(relay.tcp(), "/ws?nsp=/chat&room_ids=room").unwrap();
    let mut socketio = Client::open(relay.tcp(), "/socket.io/?EIO=4&transport=websocket").unwrap();
    assert!(socketio.text().starts_with('0'));
    socketio.send("40/chat,");
    assert!(socketio.text().starts_with("40/chat,"));
    let mut signed = relay.connect("room");
    relay.notify("room", "for all");
    assert_eq!((stranger.data(), signed.data()), (json!("for all"), json!("for all")));
    reload(&relay, &chat("open"));
    relay.notify("room", "still for all");
    assert_eq!((stranger.data(), signed.data()), (json!("still for all"), json!("still for all")));
    reload(&relay, &chat("sign"));
    relay.notify("room", "for members");
    let Message::Close(Some(close)) = stranger.next() else { panic!("it gets nothing more") };
    assert_eq!((u16::from(close.code), &*close.reason), (1008, "the configuration changed, log in again"));
    assert_eq!(socketio.text(), r#"42/chat,["sys_error","the configuration changed, log in again"]"#);
    assert_eq!(socketio.text(), "41/chat,");
    assert_eq!(signed.data(), "for members");
    relay.wait_log("2 sessions end");
    wait_for("the strangers to be gone", || (relay.stat("/sessions") == 1).then_some(()));
}

// Many sources.

/// More sources one after the other than there are numbers for, and more at once. A new configuration is read beside the
/// event loop, which goes on meanwhile.
#[test]
fn more_sources_than_numbers() {
    let sources = |prefix: &str, count: usize| {
        let unlimited = "[limits]\nmessage_rate = 0\n".to_owned();
        (0..count).fold(unlimited, |all, n| all + &format!("[sources.{prefix}{n}]\nsign_key = \"k\"\n"))
    };
    let relay = Relay::start(&sources("a", 33_000));
    let mut client = relay.connect("room");
    let write = |text: &str| fs::write(&relay.config, Relay::configuration(text)).unwrap();
    let has_line = |text: &str| relay.log().iter().any(|line| line.contains(text));
    // The first is still being read when the second SIGHUP arrives, which must not be lost.
    write(&sources("b", 33_000));
    relay.signal(SIGHUP);
    let mut answered = 0;
    while !has_line("configuration re-read") {
        client.send(r#"{"event":"ping","ack":1}"#);
        assert_eq!(client.json()["code"], 1);
        answered += 1;
    }
    assert!(answered > 1, "the loop waited for the file");
    let mut other = open(&relay, "b32999", "k");
    assert_eq!(relay.refused(&login_of("a32999", "k")).json()["msg"], "this source can not be configured!");
    assert_eq!(post(&relay, "b32999", "room", "x", "k").json()["code"], 1);
    assert_eq!(other.data(), "x");
    relay.rewrite(&Relay::configuration(&sources("c", 66_000)), "the old one stays");
    relay.wait_log("466 sources more than the 65536 that are possible");
    relay.notify("room", "still here");
    assert_eq!(client.data(), "still here");
}

#[test]
fn a_sighup_while_the_file_is_read_is_not_lost() {
    let relay = Relay::start("");
    for round in 0..20 {
        let source = |name: &str| format!("[sources.{name}{round}]\nsign_key = \"k\"");
        for name in ["one", "two", "last"] {
            fs::write(relay.config.with_extension("new"), Relay::configuration(&source(name))).unwrap();
            fs::rename(relay.config.with_extension("new"), &relay.config).unwrap();
            relay.signal(SIGHUP);
        }
        let query = login_of(&format!("last{round}"), "k");
        wait_for("the last file", || Client::open(relay.tcp(), &format!("/ws?{query}")).ok());
    }
}

// The rest.

#[test]
fn origins() {
    let relay = Relay::start("");
    let upgrade = |origin: &str| {
        let headers = [&UPGRADE[..], &[("Origin", origin)]].concat();
        relay.request("GET", &format!("/ws?{}", login(&[])), &headers, b"").status
    };
    let allowed = || {
        relay.request("OPTIONS", "/api/notify", &[("Origin", "https://b.example")], b"").headers.remove(ALLOW_ORIGIN)
    };
    assert_eq!((upgrade("https://a.example"), upgrade("https://b.example")), (101, 101));
    assert!(allowed().is_some());
    reload(&relay, "origins = [\"https://a.example\"]");
    assert_eq!((upgrade("https://a.example"), upgrade("https://b.example")), (101, 403));
    assert!(!matches!(allowed().as_deref(), Some("*" | "https://b.example")), "{:?}", allowed());
}

#[test]
fn the_log_s_level() {
    let relay = Relay::start("");
    // A connection that is just dropped is told of at level debug.
    drop(relay.connect("room"));
    wait_for("it to be gone", || (relay.stat("/sessions") == 0).then_some(()));
    let debugs = || relay.log().iter().filter(|line| line.contains("DEBUG")).count();
    assert_eq!(debugs(), 0);
    reload(&relay, "[log]\nlevel = \"debug\"");
    drop(relay.connect("room"));
    relay.wait_log("without a closing handshake");
    let before = relay.log().len();
    // The warning of a short key is the last line before the new level holds.
    relay.rewrite(&Relay::configuration("[log]\nlevel = \"warn\""), "can be guessed");
    relay.fence();
    reload_badly(&relay, "listen = 3");
    drop(relay.connect("room"));
    wait_for("it to be gone", || (relay.stat("/sessions") == 0).then_some(()));
    // Lines come in order: after this one, those of the connection would be there.
    reload_badly(&relay, "listen = 4");
    let log = relay.log();
    assert!(log[before..].iter().any(|line| line.contains("ERROR")), "{log:?}");
    assert!(!log[before..].iter().any(|line| line.contains("INFO") || line.contains("DEBUG")), "{log:?}");
}

// What cannot be taken.

/// A bad file changes nothing, not even what is good in it, and every problem is said with its place.
#[test]
fn a_bad_file_keeps_the_old_settings() {
    let relay = Relay::start("[sources.fresh]\nsign_key = \"k\"");
    let mut client = open(&relay, "fresh", "k");
    for bad in [
        "[limits]\nbody = \"big\"\n[websocket]\npong = 1",
        "[limits",
        "[sources.fresh]\nsign_key = \"\"",
        "[sources.new]\nsign_key = \"k\"\n[log]\nlevel = \"loud\"",
        "[redis]\nurl = \"http://localhost\"",
    ] {
        let before = relay.log().len();
        reload_badly(&relay, bad);
        let place = format!("{}:", relay.config.display());
        let lines = relay.log().split_off(before);
        assert!(lines.iter().any(|line| line.contains("ERROR") && line.contains(&place)), "{bad}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("configuration re-read")), "{lines:?}");
        assert_eq!(relay.refused(&login_of("new", "k")).json()["msg"], "this source can not be configured!");
        assert_eq!(post(&relay, "fresh", "room", bad, "k").json()["code"], 1);
        assert_eq!(client.data(), bad);
    }
    // Two problems, both with line and column.
    let text = "listn = 1\n[sources.demo]\nsign_key = \"k\"\n[limits]\nbody = true\n";
    let before = relay.log().len();
    relay.rewrite(text, "the old one stays");
    let lines = relay.log()[before..].join("\n");
    for place in ["1:1: unknown key listn: did you mean listen?", "5:8: limits.body must be"] {
        assert!(lines.contains(&format!("{}:{place}", relay.config.display())), "{lines}");
    }
    reload(&relay, "[sources.new]\nsign_key = \"k\"");
    open(&relay, "new", "k");
}

#[test]
fn a_missing_file_keeps_the_old_settings() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    fs::remove_file(&relay.config).unwrap();
    relay.signal(SIGHUP);
    let line = relay.wait_log("No such file");
    assert!(line.contains("ERROR") && line.contains(&relay.config.display().to_string()), "{line}");
    relay.wait_log("the old one stays");
    relay.notify("room", "still here");
    assert_eq!(client.data(), "still here");
    reload(&relay, "[sources.fresh]\nsign_key = \"k\"");
    open(&relay, "fresh", "k");
}

/// An empty file would end every session: an editor or a full disk leaves one behind.
#[test]
fn a_file_without_a_source_keeps_the_old_settings() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    for text in
        ["", " \n\n", "# all commented out\n", "[limits]\nbody = 2000\n", "[namespaces.\"/x\"]\nauth = \"sign\"\n"]
    {
        relay.rewrite(text, "has no source");
        let data = format!("after {text:?}");
        relay.notify("room", &data);
        assert_eq!(client.data(), data);
    }
    // Without a source at the start there is no session to lose.
    let config = support::temp_file("relay.toml");
    fs::write(&config, "listen = [\"127.0.0.1:0\"]\n").unwrap();
    let mut command = std::process::Command::new(support::binary());
    command.arg("--config").arg(&config);
    let relay = Relay::spawn(command, config);
    relay.wait_log("no [sources.NAME] is configured: nobody can connect");
    relay.rewrite("listen = [\"127.0.0.1:0\"]\n", "configuration re-read");
}

/// What may never end is not read: neither as the configuration nor as a file that it names.
#[test]
fn a_fifo_a_device_and_a_directory_are_refused() {
    let relay = Relay::start("");
    let mut client = relay.connect("room");
    let fifo = support::temp_file("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let folder = support::temp_file("folder");
    fs::create_dir(&folder).unwrap();
    let key = |path: &str| Relay::configuration(&format!("[sources.fresh]\nsign_key_file = \"{path}\""));
    for (path, why) in
        [(&*fifo, "it is a FIFO"), (Path::new("/dev/zero"), "it is a device"), (&folder, "it is a directory")]
    {
        relay.rewrite(&key(path.to_str().unwrap()), &format!("{}\": {why}", path.display()));
        fs::remove_file(&relay.config).unwrap();
        symlink(path, &relay.config).unwrap();
        let count =
            || relay.log().iter().filter(|line| line.contains(&format!("{}: {why}", relay.config.display()))).count();
        let before = count();
        relay.signal(SIGHUP);
        wait_for(why, || (count() > before).then_some(()));
        relay.notify("room", why);
        assert_eq!(client.data(), why);
    }
    fs::remove_file(fifo).unwrap();
    fs::remove_dir(folder).unwrap();
}

/// Without a file there is nothing to read, and it goes on.
#[test]
fn the_demo_setting_stays() {
    let mut command = std::process::Command::new(support::binary());
    command.args(["--listen", "127.0.0.1:0"]).env_remove("RELAY_CONFIG");
    let relay = Relay::spawn(command, support::temp_file("none"));
    let mut client = relay.connect("room");
    relay.signal(SIGHUP);
    relay.wait_log("configuration re-read");
    relay.notify("room", "still here");
    assert_eq!(client.data(), "still here");
}

/// Listening elsewhere waits for a restart, which is said; all else is taken.
#[test]
fn a_change_of_listen_waits_for_a_restart() {
    let relay = Relay::start("");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    reload(&relay, &format!("listen = [\"{free}\"]\n[sources.fresh]\nsign_key = \"k\""));
    let line = relay.wait_log("restart");
    assert!(line.contains("WARN") && line.contains("listen"), "{line}");
    open(&relay, "fresh", "k");
    assert!(std::net::TcpStream::connect(free).is_err());
}

#[test]
fn unchanged_listen_logs_no_restart() {
    let relay = Relay::start("");
    reload(&relay, "[sources.fresh]\nsign_key = \"k\"");
    assert!(!relay.log().iter().any(|line| line.contains("restart")), "{:?}", relay.log());
}

/// The demo keys are public: a new file cannot bring them to a port that others reach.
#[test]
fn a_reload_cannot_expose_demo_keys() {
    let good = "listen = [\"0.0.0.0:0\"]\n[sources.demo]\nsign_key = \"k\"\n";
    let config = support::temp_file("relay.toml");
    fs::write(&config, good).unwrap();
    let mut command = std::process::Command::new(support::binary());
    command.arg("--config").arg(&config);
    let relay = Relay::spawn(command, config);
    relay.rewrite(&good.replace("\"k\"", &format!("\"{KEY}\"")), "the old one stays");
    assert_eq!(relay.refused(&login_of("demo", KEY)).status, 401);
    open(&relay, "demo", "k");
}

// Under load.

/// Fifty reloads, good and bad ones, while backends and clients send: every message comes, once, in order, and nobody
/// is closed.
#[test]
fn fifty_reloads_lose_nothing() {
    // The members read at the end, and a slow machine takes long to reload: much may wait for them.
    let limits = "[limits]\nmessage_rate = 0\nunsent = 100_000_000";
    let relay = Relay::start(limits);
    let done = Arc::new(AtomicBool::new(false));
    let (mut by_post, mut by_client) = (relay.connect("posted"), relay.connect("sent"));
    let (mut backend, mut sender) = (relay.tcp(), relay.connect("elsewhere"));
    let (flag, other) = (done.clone(), done.clone());
    let posting = thread::spawn(move || {
        let mut count = 0;
        while !flag.load(Ordering::Relaxed) {
            let data = count.to_string();
            let sign = notify_sign("demo", "posted", &data, KEY);
            let body = form(&[("source", "demo"), ("room_id", "posted"), ("data", &data), ("sign", &sign)]);
            send_request(&mut backend, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
            assert_eq!(read_answer(&mut backend, false).json()["code"], 1);
            count += 1;
        }
        count
    });
    let sending = thread::spawn(move || {
        let mut count = 0;
        while !other.load(Ordering::Relaxed) {
            sender.send(&format!(r#"{{"data":"{count}","room_ids":"sent","ack":{count}}}"#));
            assert_eq!(sender.json()["code"], 1);
            count += 1;
        }
        count
    });
    for number in 0..50 {
        match number % 3 {
            0 => reload(&relay, &format!("{limits}\nroom_id = {}", 100 + number)),
            1 => reload(&relay, &format!("{limits}\n[sources.fresh]\nsign_key = \"k\"")),
            _ => reload_badly(&relay, "[limits]\nmessage_rate = \"many\""),
        }
    }
    done.store(true, Ordering::Relaxed);
    for (thread, client) in [(posting, &mut by_post), (sending, &mut by_client)] {
        let count = thread.join().unwrap();
        assert!(count > 50, "there was no load: {count}");
        for number in 0..count {
            assert_eq!(client.data(), json!(number.to_string()));
        }
        client.silence();
    }
    assert_eq!(relay.stat("/sessions"), 2);
}

// Help.

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

/// Writes another configuration, and waits until it is taken.
fn reload(relay: &Relay, more: &str) {
    relay.rewrite(&Relay::configuration(more), "configuration re-read");
}

/// Writes a configuration that must be refused.
fn reload_badly(relay: &Relay, more: &str) {
    relay.rewrite(&Relay::configuration(more), "the old one stays");
}

fn sign_of(rooms: &str) -> String {
    connect_sign("demo", rooms, KEY)
}

/// A login into `room` of a source with this key.
fn login_of(source: &str, key: &str) -> String {
    login(&[("source", source), ("sign", &connect_sign(source, "room", key))])
}

fn open(relay: &Relay, source: &str, key: &str) -> Client {
    let opened = Client::open(relay.tcp(), &format!("/ws?{}", login_of(source, key)));
    opened.unwrap_or_else(|answer| panic!("{source} is refused: {answer:?}"))
}

fn post(relay: &Relay, source: &str, room: &str, data: &str, key: &str) -> Answer {
    let sign = notify_sign(source, room, data, key);
    relay.post_form(&[("source", source), ("room_id", room), ("data", data), ("sign", &sign)])
}
