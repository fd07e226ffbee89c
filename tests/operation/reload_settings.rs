//! docs/protocol.md, Reload: the settings that once needed a restart. The script, the admin token and the message log change
//! while clients are served, and no line is lost.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::support::{
    FORM, KEY, Relay, TOKEN, form, notify_sign, read_answer, send_request, stuck, temp_file, wait_for,
};

const SIGTERM: i32 = 15;

// The script.

#[test]
fn the_script_is_read_again() {
    let script = temp_file("io.js");
    let more = format!("[socketio]\nclient_js = \"{}\"", script.display());
    let relay = Relay::start("");
    let served = || relay.get("/socket.io/socket.io.js");
    assert_eq!(served().status, 404);
    fs::write(&script, "first()").unwrap();
    reload(&relay, &more);
    let first = served();
    assert_eq!((first.status, &*first.body), (200, "first()"));
    fs::write(&script, "second()").unwrap();
    assert_eq!(served().body, "first()", "a reload reads it, not a request");
    reload(&relay, &more);
    let known = [("If-None-Match", first.header("etag"))];
    let second = relay.request("GET", "/socket.io/socket.io.js", &known, b"");
    assert_eq!((second.status, &*second.body), (200, "second()"), "its tag is another one");
    fs::remove_file(&script).unwrap();
    reload_badly(&relay, &more);
    assert_eq!(served().body, "second()");
    reload(&relay, "");
    assert_eq!(served().status, 404);
}

// The admin token.

#[test]
fn the_admin_token_is_read_again() {
    let file = temp_file("token");
    let with = |token: &str| {
        let text = Relay::configuration("").replace(&format!("token = \"{TOKEN}\""), token);
        assert!(text.contains(token));
        text
    };
    let relay = Relay::start("");
    // One connection for all: it is the request that needs the token, not the connection.
    let mut stream = relay.tcp();
    let mut status = |token: &str| {
        let header = format!("Bearer {token}");
        send_request(&mut stream, "GET", "/api/stats", &[("Authorization", &header)], b"");
        read_answer(&mut stream, false).status
    };
    let (second, third) = ("second-token-of-some-length", "third-token-of-some-length");
    assert_eq!((status(TOKEN), status(second)), (200, 401));
    relay.rewrite(&with(&format!("token = \"{second}\"")), RE_READ);
    assert_eq!((status(TOKEN), status(second)), (401, 200));

    let from_file = with(&format!("token_file = \"{}\"", file.display()));
    fs::write(&file, format!("{third}\n")).unwrap();
    relay.rewrite(&from_file, RE_READ);
    assert_eq!((status(second), status(third)), (401, 200));
    // A file that is empty, gone or no file changes nothing, and the log names it.
    fs::write(&file, "\n").unwrap();
    let before = relay.log().len();
    relay.rewrite(&from_file, STAYS);
    fs::remove_file(&file).unwrap();
    relay.rewrite(&from_file, STAYS);
    fs::create_dir(&file).unwrap();
    relay.rewrite(&from_file, STAYS);
    let named = relay.log().split_off(before);
    let named = named.iter().filter(|line| line.contains("ERROR") && line.contains("admin.token_file")).count();
    assert_eq!((named, status(third)), (3, 200));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, second).unwrap();
    relay.rewrite(&from_file, RE_READ);
    assert_eq!((status(third), status(second)), (401, 200));

    // Without a token, relay makes one as at a start, and keeps it from then on.
    relay.rewrite(&with(""), RE_READ);
    let line = relay.wait_log("the admin token is ");
    let made = line.split("the admin token is ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!((status(second), status(&made)), (401, 200));
    relay.rewrite(&with(""), RE_READ);
    assert_eq!(status(&made), 200);
}

// The message log.

/// Messages are posted all the time while the folder and the limits change: each line is in one of the folders, once.
#[test]
fn the_folder_of_the_message_log_changes_under_load() {
    let folders = [Folder::new(), Folder::new(), Folder::new()];
    let mut relay = Relay::start(&folders[0].section(""));
    let done = Arc::new(AtomicBool::new(false));
    let posting = {
        let (done, mut backend) = (done.clone(), relay.tcp());
        thread::spawn(move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                post(&mut backend, count);
                count += 1;
            }
            count
        })
    };
    for round in 1..=30 {
        let rotate = if round % 2 == 0 { "rotate = 4096\n" } else { "" };
        reload(&relay, &folders[round / 3 % 3].section(rotate));
        if round % 10 == 0 {
            reload_badly(&relay, "[message_log]\nrotate = 1\n");
        }
    }
    done.store(true, Ordering::Relaxed);
    let count: usize = posting.join().unwrap();
    assert!(count > 100, "there was no load: {count}");
    assert_eq!((relay.counter("message_log_lost"), relay.get("/healthz").status), (0, 200));
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    let mut found = BTreeMap::<usize, usize>::new();
    for folder in &folders {
        let numbers = folder.messages();
        assert!(!numbers.is_empty(), "a folder was never used");
        numbers.iter().for_each(|number| *found.entry(*number).or_default() += 1);
    }
    assert!(found.values().all(|times| *times == 1), "lines were written twice");
    assert!(found.keys().copied().eq(0..count), "{} of {count} lines are there", found.len());
    assert!(folders.iter().any(|folder| folder.files().iter().any(|path| path.ends_with("demo_msg.log.1"))));
}

/// Lines before the reload are in the old folder, later ones in the new.
#[test]
fn each_folder_has_the_lines_of_its_time() {
    let (one, two) = (Folder::new(), Folder::new());
    let relay = Relay::start("");
    let mut backend = relay.tcp();
    let pages = || relay.admin("/api/log/messages?source=demo").json()["lines"].as_array().map(Vec::len);
    post(&mut backend, 0);
    reload(&relay, &one.section(""));
    post(&mut backend, 1);
    reload(&relay, &two.section(""));
    (2..5).for_each(|number| post(&mut backend, number));
    wait_for("the lines", || (two.messages().len() == 3).then_some(()));
    assert_eq!((one.messages(), two.messages()), (vec![1], vec![2, 3, 4]));
    assert_eq!(pages(), Some(3), "pages show the new folder");
    reload(&relay, "");
    post(&mut backend, 5);
    assert_eq!(relay.admin("/api/log/messages?source=demo").status, 404);
    assert!(!relay.get("/healthz").body.contains("message_log"));
    reload(&relay, &one.section(""));
    post(&mut backend, 6);
    wait_for("the line", || (one.messages() == [1, 6]).then_some(()));
    assert_eq!(two.messages(), [2, 3, 4]);
    assert_eq!(relay.counter("message_log_lost"), 0);
    let events = |folder: &Folder| -> Vec<Value> {
        let text = folder.text("sys.log");
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone()).collect()
    };
    assert_eq!(events(&two), ["reload", "reload"], "its first line and its last");
}

/// A folder that cannot be written is refused with everything else in the file: its lines would be lost.
#[test]
fn an_unusable_folder_changes_nothing() {
    let folder = Folder::new();
    let relay = Relay::start(&folder.section(""));
    let mut backend = relay.tcp();
    let file = temp_file("file");
    fs::write(&file, "").unwrap();
    let bad = format!("[message_log]\ndir = \"{}/log\"\n[limits]\nroom_id = 2\n", file.display());
    reload_badly(&relay, &bad);
    relay.wait_log(&format!("message_log.dir: {} is not a directory", file.display()));
    post(&mut backend, 1);
    wait_for("the line", || (folder.messages() == [1]).then_some(()));
    fs::remove_file(file).unwrap();
}

/// The disk of the old folder does not answer. The loop and the new folder do not wait for it, and its lines are written
/// when it answers again.
#[test]
fn a_folder_whose_disk_does_not_answer_can_be_left() {
    let (old, new, gate) = (Folder::new(), Folder::new(), temp_file("gate"));
    fs::write(&gate, "").unwrap();
    let mut relay = stuck(&old.section(""), &old.0, &gate);
    let (mut backend, mut client) = (relay.tcp(), relay.connect("room"));
    (0..3).for_each(|number| post(&mut backend, number));
    reload(&relay, &new.section(""));
    for number in 3..6 {
        post(&mut backend, number);
    }
    for number in 0..6 {
        assert_eq!(client.data(), number.to_string(), "clients do not wait for a disk");
    }
    relay.wait_log("has not taken its last lines within 10 s");
    wait_for("the lines in the new folder", || (new.messages() == [3, 4, 5]).then_some(()));
    assert!(old.messages().is_empty());
    fs::remove_file(&gate).unwrap();
    wait_for("the lines in the old folder", || (old.messages() == [0, 1, 2]).then_some(()));
    assert_eq!(relay.counter("message_log_lost"), 0);
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    assert!(!relay.log().iter().any(|line| line.contains("were lost")), "{:?}", relay.log());
}

/// Other limits of the same folder: two threads never write to it at once, so that lines stay in order.
#[test]
fn one_folder_with_other_limits_keeps_its_order() {
    let (folder, gate) = (Folder::new(), temp_file("gate"));
    let relay = stuck(&folder.section(""), &folder.0, &gate);
    let mut backend = relay.tcp();
    for round in 0..20 {
        fs::write(&gate, "").unwrap();
        (0..3).for_each(|number| post(&mut backend, round * 6 + number));
        reload(&relay, &folder.section(&format!("retention_days = {}", 10 + round)));
        (3..6).for_each(|number| post(&mut backend, round * 6 + number));
        fs::remove_file(&gate).unwrap();
        wait_for("the lines", || (folder.messages().len() == round * 6 + 6).then_some(()));
    }
    let text = folder.text("demo_msg.log");
    let numbers = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["data"].as_str().unwrap().parse::<usize>().unwrap()
    });
    assert!(numbers.eq(0..120), "{text}");
}

// Help.

/// A folder of a message log, removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(temp_file("log"))
    }

    fn section(&self, more: &str) -> String {
        format!("[message_log]\ndir = \"{}\"\n{more}", self.0.display())
    }

    /// The files of all days.
    fn files(&self) -> Vec<PathBuf> {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries(&self.0).flat_map(|day| entries(&day).collect::<Vec<_>>()).collect()
    }

    /// The text of the files whose names begin with `name`.
    fn text(&self, name: &str) -> String {
        let is = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(name);
        self.files().iter().filter(is).map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    /// The numbers of the messages of source `demo`, in order.
    fn messages(&self) -> Vec<usize> {
        let text = self.text("demo_msg.log");
        let number = |line: &str| serde_json::from_str::<Value>(line).ok()?["data"].as_str()?.parse().ok();
        let mut numbers: Vec<usize> = text.lines().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Posts this number to `room` of source `demo`.
fn post(backend: &mut std::net::TcpStream, number: usize) {
    let data = number.to_string();
    let sign = notify_sign("demo", "room", &data, KEY);
    let body = form(&[("source", "demo"), ("room_id", "room"), ("data", &data), ("sign", &sign)]);
    send_request(backend, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    assert_eq!(read_answer(backend, false).json()["code"], 1);
}

const RE_READ: &str = "configuration re-read";
const STAYS: &str = "the old one stays";

fn reload(relay: &Relay, more: &str) {
    relay.rewrite(&Relay::configuration(more), RE_READ);
}

fn reload_badly(relay: &Relay, more: &str) {
    relay.rewrite(&Relay::configuration(more), STAYS);
}
