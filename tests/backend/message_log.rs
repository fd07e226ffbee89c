//! docs/protocol.md, Message log: the lines and their files, and that a slow or full disk does not delay clients.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    self, KEY, Relay, TOKEN, form, notify_sign, preload, read_answer, send_request, stuck, temp_file, wait_for,
};

const SIGTERM: i32 = 15;

/// A folder of this test's own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = temp_file("log");
        let _ = fs::remove_dir_all(&folder);
        Folder(folder)
    }

    fn relay(&self, more: &str) -> Relay {
        Relay::start(&self.configuration(more))
    }

    fn configuration(&self, more: &str) -> String {
        format!("\n[message_log]\ndir = \"{}\"\n{more}", self.0.display())
    }

    /// Today's folder.
    fn day(&self) -> PathBuf {
        let date = Command::new("date").arg("+%F").output().unwrap().stdout;
        self.0.join(String::from_utf8(date).unwrap().trim())
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.day().join(file)).unwrap_or_default()
    }

    /// Each line of a file, which must be JSON, once there are so many.
    fn lines(&self, file: &str, count: usize) -> Vec<Value> {
        let text = wait_for(file, || Some(self.text(file)).filter(|text| text.matches('\n').count() >= count));
        let lines: Vec<_> = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line)).collect();
        assert_eq!(lines.len(), count, "{text}");
        lines
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A line without its time, which must be one.
fn timeless(mut line: Value) -> Value {
    let time = line.as_object_mut().unwrap().remove("time").unwrap();
    let time = time.as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T' && time.starts_with("20"), "{time}");
    line
}

fn notify(relay: &Relay, data: &str, filename: &str) -> Value {
    let sign = notify_sign("demo", "room", data, KEY);
    let fields = [("source", "demo"), ("room_id", "room"), ("data", data), ("sign", &sign), ("filename", filename)];
    relay.post_form(&fields).json()
}

fn log(relay: &Relay, target: &str) -> Value {
    relay.admin(&format!("/api/log/{target}")).json()
}

#[test]
fn log_files_hold_messages_and_connections() {
    let folder = Folder::new();
    let mut relay = folder.relay("");
    let mut client = relay.connect_with(&[("room_ids", "room,b"), ("ext_info", "v2"), ("watch_quit", "1")]);
    relay.notify("room", "你好 <b>");
    let notified = client.json()["id"].clone();
    client.send(
        r#"{"data":{"a": [1,
        2]},"room_ids":"room,b"}"#,
    );
    let posted = client.json()["id"].clone();
    assert_eq!(notify(&relay, "x", "test.log")["code"], 1);
    let mut first = timeless(folder.lines("client.log", 1)[0].clone());
    let socket_id = first["socket_id"].as_str().unwrap().to_owned();
    assert_eq!(first["ip"], "127.0.0.1");
    let visit = json!({
        "event": "connect", "source": "demo", "socket_id": socket_id, "userid": "7", "username": "spring",
        "room_ids": "room,b", "nsp": "/", "protocol": "websocket", "ip": "127.0.0.1", "ext_info": "v2", "watch_quit": 1,
    });
    assert_eq!(first, visit);
    client.close_code_after_close();
    drop(client);
    first["event"] = "disconnect".into();
    first["seconds"] = 0.into();
    first["reason"] = "client".into();
    assert_eq!(timeless(folder.lines("client.log", 2)[1].clone()), first);
    let messages: Vec<_> = folder.lines("demo_msg.log", 3).into_iter().map(timeless).collect();
    assert_eq!(
        messages[..2],
        [
            json!({"id": notified, "source": "demo", "room_id": "room", "data": "你好 <b>"}),
            json!({
                "id": posted, "source": "demo", "room_id": "room,b", "socket_id": socket_id, "userid": "7",
                "username": "spring", "data": {"a": [1, 2]},
            }),
        ]
    );
    assert_eq!(messages[2]["data"]["key"], "user_quit");
    assert_eq!(folder.lines("demo_test.log", 1)[0]["data"], "x");
    assert_eq!(relay.refused("source=demo&room_ids=r&sign=x&userid=9").status, 401);
    relay.post_form(&[("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", "x")]);
    let errors: Vec<_> = folder.lines("error.log", 2).into_iter().map(timeless).collect();
    let connect = json!({
        "event": "connect", "error": "sign verify failed!", "source": "demo", "nsp": "/", "room_ids": "r", "userid": "9",
        "ip": "127.0.0.1",
    });
    let refused = json!({
        "event": "notify", "error": "api notify sign verify failed!", "source": "demo", "room_id": "room",
        "ip": "127.0.0.1",
    });
    assert_eq!(errors, [connect, refused]);
    relay.signal(1);
    relay.wait_log("configuration re-read");
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    let system: Vec<_> = folder.lines("sys.log", 3).iter().map(|line| line["event"].clone()).collect();
    assert_eq!(system, ["start", "reload", "stop"]);
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&folder.day()) & 0o027, mode(&folder.day().join("sys.log")) & 0o137), (0, 0));
}

trait Leave {
    fn close_code_after_close(&mut self);
}

impl Leave for support::Client {
    fn close_code_after_close(&mut self) {
        self.socket.close(None).unwrap();
        assert_eq!(self.close_code(), 1005);
    }
}

#[test]
fn log_lines_cannot_be_forged() {
    let folder = Folder::new();
    let relay = folder.relay("");
    let evil = "x\n{\"event\":\"forged\"}\r\n\u{2028}\u{85}\0\"}\\";
    // Room ids have no control characters.
    let room = "{\"event\":\"forged\"}\u{2028}\u{85}\"}\\";
    let mut client =
        relay.connect_with(&[("username", evil), ("ext_info", evil), ("userid", evil), ("room_ids", room)]);
    relay.notify(room, evil);
    client.send(&json!({"data": evil, "room_ids": room}).to_string());
    client.send(&format!("{{\"data\": [\n{}\r\n], \"room_ids\": \"room\"}}", json!(evil)));
    relay.refused(&form(&[("source", "demo"), ("room_ids", evil), ("sign", evil), ("username", evil)]));
    relay.post_form(&[("source", evil), ("room_id", evil), ("data", evil), ("sign", evil)]);
    let visit = folder.lines("client.log", 1);
    assert_eq!([&visit[0]["username"], &visit[0]["ext_info"], &visit[0]["room_ids"]], [evil, evil, room]);
    let messages = folder.lines("demo_msg.log", 3);
    assert_eq!(
        (&messages[0]["data"], &messages[1]["data"], &messages[2]["data"]),
        (&json!(evil), &json!(evil), &json!([evil]))
    );
    let errors = folder.lines("error.log", 2);
    assert_eq!([&errors[0]["username"], &errors[1]["source"]], [evil; 2]);
    // The pages show it escaped.
    for (page, lines) in [("/clientlog", 1), ("/readmsg?source=demo", 3), ("/errorlog", 2)] {
        let answer = relay.admin(page);
        assert_eq!(answer.body.matches("\r\n<br>{\"time\":").count(), lines, "{page}: {}", answer.body);
        assert_eq!(answer.body.matches(['\r', '\n']).count(), 2 * lines, "{page}: {}", answer.body);
    }
    assert_eq!(log(&relay, "messages?source=demo")["lines"].as_array().unwrap().len(), 3);
    let _other = relay.connect_with(&[("username", "<script>alert(1)</script>")]);
    folder.lines("client.log", 2);
    let page = relay.admin("/clientlog").body;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
}

#[test]
fn nothing_outside_of_the_folder_is_written() {
    let folder = Folder::new();
    let outside = temp_file("outside");
    fs::create_dir_all(folder.day().join("demo_x")).unwrap();
    let relay = folder.relay("");
    let mut client = relay.connect("room");
    let long = "x".repeat(65);
    let absolute = outside.display().to_string();
    let up = format!("x/../../../{}", outside.file_name().unwrap().display());
    for name in ["..", "../x", "x/y", "/x", "x\0", "x y", "x\ny", "ä", "%2e%2e%2fx", "x\\y", &long, &absolute, &up] {
        let answer = notify(&relay, "x", name);
        assert_eq!(
            (&answer["code"], &answer["msg"]),
            (&json!(0), &json!("filename can only have 1 to 64 of A-Z a-z 0-9 . _ -!")),
            "{name:?}"
        );
    }
    client.silence();
    assert!(!outside.exists());
    // A link or a pipe that stands there is not written to either: the message arrives, its line is lost and counted.
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, folder.day().join("demo_link")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.day().join("demo_pipe")).status().unwrap().success());
    for name in ["link", "pipe"] {
        assert_eq!(notify(&relay, name, name)["code"], 1);
        assert_eq!(client.data(), name);
    }
    wait_for("two lost lines", || (relay.counter("message_log_lost") == 2).then_some(()));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    assert_eq!(relay.admin("/readmsg?source=demo&filename=link").status, 500);
    assert_eq!(relay.admin("/readmsg?source=demo&filename=pipe").status, 500);
    fs::remove_file(&outside).unwrap();
}

/// `a` + `b_msg.log` would be the file of `a_b`.
#[test]
fn a_source_does_not_write_into_anothers_files() {
    let folder = Folder::new();
    let relay = folder
        .relay("[sources.a]\nsign_key = \"1\"\n[sources.a_b]\nsign_key = \"2\"\n[sources.a_b_c]\nsign_key = \"3\"");
    let notify = |source: &str, filename: &str, key: &str| {
        let sign = notify_sign(source, "r", "x", key);
        let fields = [("source", source), ("room_id", "r"), ("data", "x"), ("sign", &sign), ("filename", filename)];
        relay.post_form(&fields).json()["msg"].as_str().unwrap().to_owned()
    };
    let (taken, fine) = ("filename belongs to another source!", "message notify successed!");
    assert_eq!(notify("a", "b_msg.log", "1"), taken);
    assert_eq!(notify("a", "b_c_msg.log", "1"), taken);
    assert_eq!(notify("a_b", "c_x", "2"), taken);
    assert_eq!(notify("a", "c_msg.log", "1"), fine);
    assert_eq!(notify("a", "b", "1"), fine);
    assert_eq!(notify("a_b_c", "msg.log", "3"), fine);
}

#[test]
fn nothing_outside_of_the_folder_is_read() {
    let folder = Folder::new();
    let secret = folder.0.join("secret_msg.log");
    let relay = folder.relay("");
    relay.notify("room", "x");
    folder.lines("demo_msg.log", 1);
    fs::write(&secret, "{\"secret\":1}\n").unwrap();
    for query in [
        "source=../secret",
        "source=..&filename=x",
        "source=.&filename=/../secret_msg.log",
        "source=demo&filename=../../secret_msg.log",
        "source=demo&filename=%2e%2e%2fsecret_msg.log",
        "source=demo&filename=x%00",
        "source=demo%00",
        "source=/etc/passwd",
        "source=demo&date=..",
        "source=demo&date=../..",
        "source=demo&date=2026-11-2",
        "source=demo&date=2026-02-30",
        "source=demo&date=%2e",
        "source=demo&bytes=0",
        "source=demo&bytes=-1",
        "source=demo&bytes=9999999999999999999999",
    ] {
        for page in ["/readmsg", "/api/log/messages"] {
            let answer = relay.admin(&format!("{page}?{query}"));
            assert_eq!(answer.status, 400, "{page}?{query} {answer:?}");
            assert!(!answer.body.contains("secret\""), "{query}");
        }
    }
    for page in ["/clientlog?date=../..", "/api/log/sys?date=/etc", "/errorlog?date=x"] {
        assert_eq!(relay.admin(page).status, 400, "{page}");
    }
    assert_eq!(relay.admin("/readmsg").body, "请指定source查询！");
    assert_eq!(relay.admin("/readmsg?source=").body, "请指定source查询！");
}

#[test]
fn log_pages_read_files() {
    let folder = Folder::new();
    let relay = folder.relay("");
    let today = folder.day();
    fs::create_dir_all(&today).unwrap();
    let empty =
        json!({"file": format!("{}/demo_msg.log", today.file_name().unwrap().display()), "omitted": 0, "lines": []});
    assert_eq!(log(&relay, "messages?source=demo"), empty);
    let page = relay.admin("/readmsg?source=demo");
    assert_eq!((page.status, page.body.as_str()), (200, ""), "nothing yet");
    relay.notify("room", "<1>");
    relay.notify("room", "2");
    folder.lines("demo_msg.log", 2);
    let page = relay.admin("/readmsg?source=demo");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.body.starts_with("\r\n<br>{\"time\":\"") && page.body.contains("\"data\":\"&lt;1&gt;\"}"), "{page:?}");
    let lines = log(&relay, "messages?source=demo")["lines"].clone();
    assert_eq!((&lines[0]["data"], &lines[1]["data"]), (&json!("<1>"), &json!("2")));
    // The end of a big file, in bounded memory; a line that is no JSON is left out of it.
    let mut file = fs::File::create(today.join("demo_big")).unwrap();
    for number in 0..200_000 {
        writeln!(file, "{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(100)).unwrap();
    }
    writeln!(file, "no JSON").unwrap();
    drop(file);
    let length = fs::metadata(today.join("demo_big")).unwrap().len();
    let answer = log(&relay, "messages?source=demo&filename=big&bytes=1000");
    let numbers: Vec<_> = answer["lines"].as_array().unwrap().iter().map(|line| line["number"].clone()).collect();
    assert_eq!(numbers, (199_993..200_000).map(Value::from).collect::<Vec<_>>());
    assert!(answer["omitted"].as_u64().unwrap() >= length - 1000);
    for page in ["/readmsg?source=demo&filename=big&bytes=1048576", "/readmsg?source=demo&filename=%20big%20"] {
        let answer = relay.admin(page);
        assert!(answer.body.len() < 1_100_000 && answer.body.ends_with("no JSON"), "{page}");
        assert!(answer.body.starts_with("… "), "{page}");
    }
    // Another day.
    fs::create_dir_all(folder.0.join("2026-01-02")).unwrap();
    fs::write(folder.0.join("2026-01-02/client.log"), "{\"event\":\"old\"}\n").unwrap();
    assert_eq!(log(&relay, "client?date=2026-01-02")["lines"], json!([{"event": "old"}]));
    assert_eq!(log(&relay, "sys")["lines"][0]["event"], "start");
    // Two pages at once on one connection come in their order.
    let mut stream = relay.tcp();
    for page in ["/clientlog?date=2026-01-02", "/healthz", "/readmsg?source=demo&bytes=1"] {
        send_request(
            &mut stream,
            "GET",
            &format!("{page}{}token={TOKEN}", if page.contains('?') { "&" } else { "?" }),
            &[],
            b"",
        );
    }
    assert_eq!(read_answer(&mut stream, false).body, "\r\n<br>{\"event\":\"old\"}");
    assert_eq!(read_answer(&mut stream, false).json()["status"], "ok");
    assert!(read_answer(&mut stream, false).body.starts_with("… "));
    send_request(&mut stream, "HEAD", &format!("/clientlog?token={TOKEN}"), &[], b"");
    assert_eq!(read_answer(&mut stream, true).status, 200);
}

#[test]
fn without_a_folder_there_is_no_log() {
    let relay = Relay::start("");
    relay.notify("room", "x");
    for page in ["/clientlog", "/readmsg?source=demo", "/api/log/sys"] {
        let answer = relay.admin(page);
        assert_eq!(answer.status, 404, "{page}");
        assert_eq!(answer.json()["msg"], "there is no message log: [message_log] dir is not set");
    }
    let threads = fs::read_dir(format!("/proc/{}/task", relay.pid())).unwrap().count();
    assert_eq!(threads, 1, "and no thread for it");
    assert!(!relay.get("/healthz").body.contains("message_log"));
}

#[test]
fn files_rotate_by_size() {
    let folder = Folder::new();
    let relay = folder.relay("rotate = 4096");
    for number in 0..50 {
        relay.notify("room", &format!("{number} {}", "x".repeat(200)));
    }
    // Lines that come at once are cut into files as those that come one after another.
    let messages = (50..100).map(|number| {
        let data = format!("{number} {}", "x".repeat(200));
        json!({"source": "demo", "room_id": "room", "data": data, "sign": notify_sign("demo", "room", &data, KEY)})
    });
    let body = json!({"messages": messages.collect::<Vec<_>>()}).to_string();
    assert_eq!(relay.post_json("/api/notify/batch", &body).json()["code"], 1);
    let mut names: Vec<_> = wait_for("all lines", || {
        let names: Vec<_> =
            fs::read_dir(folder.day()).ok()?.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| name.starts_with("demo_msg.log")).collect();
        (names.iter().map(|name| folder.text(name).lines().count()).sum::<usize>() == 100).then_some(names)
    });
    let number = |name: &String| name.rsplit('.').next().unwrap().parse().unwrap_or(u32::MAX);
    names.sort_by_key(number);
    assert!(names.len() > 5, "{names:?}");
    let mut expected = 0..;
    for name in &names {
        assert!(fs::metadata(folder.day().join(name)).unwrap().len() <= 4096, "{name}");
        for line in folder.text(name).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(
                line["data"].as_str().unwrap().starts_with(&format!("{} ", expected.next().unwrap())),
                "{name} {line}"
            );
        }
    }
}

/// No signature covers `filename`, so a client can choose it: it must not name a rotated file.
#[test]
fn no_name_overwrites_what_was_rotated() {
    let folder = Folder::new();
    let relay = folder.relay("rotate = 4096");
    let names = ["msg.log.18446744073709551615", "msg.log.999999999", "msg.log.01", "msg.log.x", "msg.log.0"];
    for name in names {
        assert_eq!(notify(&relay, "x", name)["code"], 1);
    }
    for number in 0..100 {
        relay.notify("room", &format!("{number} {}", "x".repeat(200)));
    }
    let (lines, lost) = wait_for("all lines", || {
        let entries = fs::read_dir(folder.day()).ok()?.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let texts = entries.filter(|name| name.starts_with("demo_msg.log")).map(|name| folder.text(&name));
        let lines: usize = texts.map(|text| text.lines().count()).sum();
        let lost = relay.counter("message_log_lost") as usize;
        (lines + lost == 105).then_some((lines, lost))
    });
    // The largest number there may be is taken by a stranger's file: then there is no next one, and that is said.
    assert!(lost > 0 && lines > 5, "{lines} {lost}");
    assert_eq!(health(&relay)["status"], "degraded");
}

/// So many files a source has a day; the rest of the messages stand in its own.
#[test]
fn files_that_messages_name_are_bounded() {
    let folder = Folder::new();
    let relay = folder.relay("");
    let sign = notify_sign("demo", "room", "x", KEY);
    let one = |number: usize| {
        format!(
            "{{\"source\":\"demo\",\"room_id\":\"room\",\"data\":\"x\",\"sign\":\"{sign}\",\"filename\":\"f{number}\"}}"
        )
    };
    let batch = |numbers: std::ops::Range<usize>| {
        let body = format!("{{\"messages\":[{}]}}", numbers.map(one).collect::<Vec<_>>().join(","));
        assert_eq!(relay.post_json("/api/notify/batch", &body).json()["code"], 1);
    };
    batch(0..1010);
    folder.lines("demo_msg.log", 10);
    batch(0..10);
    folder.lines("demo_f9", 2);
    assert_eq!(fs::read_dir(folder.day()).unwrap().count(), 1000 + 2, "and demo_msg.log and sys.log");
}

#[test]
fn files_may_be_moved_away() {
    let folder = Folder::new();
    let relay = folder.relay("");
    relay.notify("room", "1");
    folder.lines("demo_msg.log", 1);
    fs::rename(folder.day().join("demo_msg.log"), folder.day().join("archived")).unwrap();
    relay.notify("room", "2");
    assert_eq!(folder.lines("demo_msg.log", 1)[0]["data"], "2");
    fs::remove_dir_all(&folder.0).unwrap();
    relay.notify("room", "3");
    assert_eq!(folder.lines("demo_msg.log", 1)[0]["data"], "3");
    // Cut in the middle of a line, as a full disk or a crash leaves it.
    fs::write(folder.day().join("demo_msg.log"), "{\"cut").unwrap();
    relay.notify("room", "4");
    let text = wait_for("the fourth", || Some(folder.text("demo_msg.log")).filter(|text| text.ends_with("\"}\n")));
    assert!(text.starts_with("{\"cut\n{\"time\""), "{text}");
    assert_eq!(relay.counter("message_log_lost"), 0);
}

/// Clocks that a test sets: how far the monotonic clock and the wall clock of a relay are ahead, in seconds.
struct Clocks(PathBuf);

impl Clocks {
    fn new() -> Clocks {
        let clocks = Clocks(temp_file("clocks"));
        clocks.set(0, 0);
        clocks
    }

    fn set(&self, monotonic: i64, wall: i64) {
        // Renamed, so that the relay never reads half of it.
        let next = self.0.with_extension("next");
        fs::write(&next, format!("{monotonic} {wall}\n")).unwrap();
        fs::rename(next, &self.0).unwrap();
    }

    fn relay(&self, more: &str) -> Relay {
        let library = preload(
            "clocks",
            r#"
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <time.h>
            int clock_gettime(clockid_t id, struct timespec *into) {
                int (*next)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
                int result = next(id, into);
                long monotonic = 0, wall = 0;
                FILE *file = fopen(getenv("CLOCKS"), "r");
                if (file) {
                    if (fscanf(file, "%ld %ld", &monotonic, &wall) == 2)
                        into->tv_sec += id == CLOCK_REALTIME ? wall : monotonic;
                    fclose(file);
                }
                return result;
            }"#,
        );
        let relay = Relay::start_with(more, |command| {
            command.env("LD_PRELOAD", &library).env("CLOCKS", &self.0);
        });
        fs::remove_file(library).unwrap();
        relay
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns once the thread of the log has done what it was asked before.
fn log_fence(relay: &Relay) {
    relay.fence();
    assert_eq!(relay.admin("/api/log/sys").status, 200);
}

/// Folders are removed for their age only by a clock that has been right for an hour.
#[test]
fn old_days_are_removed() {
    let folder = Folder::new();
    let date = |ago: &str| {
        let output = Command::new("date").args(["-d", ago, "+%F"]).output().unwrap().stdout;
        String::from_utf8(output).unwrap().trim().to_owned()
    };
    let (kept, gone) = (date("3 days ago"), date("8 days ago"));
    for name in [kept.as_str(), &gone, "2001-01-01", "notes", "2001-01-01.tar"] {
        fs::create_dir_all(folder.0.join(name)).unwrap();
        fs::write(folder.0.join(name).join("demo_msg.log"), "x\n").unwrap();
    }
    const HOUR: i64 = 3600;
    const YEAR: i64 = 365 * 24 * HOUR;
    let clocks = Clocks::new();
    let relay = clocks.relay(&folder.configuration("retention_days = 5"));
    let all_there = |when: &str| {
        log_fence(&relay);
        for name in [kept.as_str(), &gone, "2001-01-01"] {
            assert!(folder.0.join(name).exists(), "{name} {when}");
        }
    };
    all_there("at the start");
    clocks.set(HOUR - 60, YEAR + HOUR - 60);
    all_there("after a jump");
    clocks.set(2 * HOUR - 120, YEAR + 2 * HOUR - 120);
    all_there("almost an hour after the jump");
    clocks.set(2 * HOUR - 120, 2 * HOUR - 120);
    all_there("after the jump back");
    clocks.set(3 * HOUR, -10 * YEAR);
    all_there("after a jump into the past");
    clocks.set(5 * HOUR, 5 * HOUR);
    all_there("after the next jump");
    clocks.set(6 * HOUR, 6 * HOUR);
    log_fence(&relay);
    relay.wait_log(&format!("message log: {gone} was removed"));
    relay.wait_log("message log: 2001-01-01 was removed");
    for (name, there) in
        [(kept.as_str(), true), (&gone, false), ("2001-01-01", false), ("notes", true), ("2001-01-01.tar", true)]
    {
        assert_eq!(folder.0.join(name).exists(), there, "{name}");
    }
}

/// All files together stay within `total`: the oldest go first, and no new line is lost.
#[test]
fn the_folder_is_bounded() {
    const TOTAL: u64 = 1 << 20;
    let folder = Folder::new();
    for day in 1..=9 {
        let day = folder.0.join(format!("2026-01-0{day}"));
        fs::create_dir_all(&day).unwrap();
        fs::write(day.join("demo_msg.log"), "x".repeat(100_000)).unwrap();
    }
    let relay = folder.relay(&format!("retention_days = 0\ntotal = {TOTAL}"));
    let size = || {
        let files =
            |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let sizes =
            files(&folder.0).into_iter().flat_map(|day| files(&day)).map(|file| fs::metadata(file).unwrap().len());
        sizes.sum::<u64>()
    };
    let written = |number: u32| {
        relay.notify("room", &format!("{number} {}", "x".repeat(10_000)));
        wait_for("the line", || folder.text("demo_msg.log").contains(&format!("\"{number} xxx")).then_some(()));
    };
    (0..30).for_each(written);
    assert!(size() <= TOTAL);
    assert!(!folder.0.join("2026-01-01").exists() && folder.0.join("2026-01-09").exists(), "the oldest first");
    for number in 30..300 {
        written(number);
        assert!(size() <= TOTAL, "{number}");
    }
    assert!(!folder.0.join("2026-01-09").exists());
    assert!(size() > TOTAL / 2, "no more than necessary is removed: {}", size());
    assert_eq!(relay.counter("message_log_lost"), 0);
    relay.wait_log("of the oldest files");
}

/// A client that connects all the time writes short lines.
#[test]
fn long_texts_of_visits_and_refusals_are_cut() {
    let folder = Folder::new();
    let relay = folder.relay("[limits]\nrequest_head = 65535\n");
    let (long, quotes) = ("张".repeat(2000), "\"".repeat(500));
    let rooms = (0..100).map(|number| format!("{number:0>100}")).collect::<Vec<_>>().join(",");
    drop(relay.connect_with(&[("room_ids", &rooms), ("ext_info", &long), ("userid", &quotes)]));
    let mut stream = relay.tcp();
    let agent = "x".repeat(10_000);
    let sign = [("User-Agent", agent.as_str()), ("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let headers: Vec<_> = sign.into_iter().chain(support::UPGRADE.into_iter().skip(2)).collect();
    let query = form(&[("source", "demo"), ("room_ids", &rooms[..1000]), ("sign", "x")]);
    send_request(&mut stream, "GET", &format!("/ws?{query}"), &headers, b"");
    assert_eq!(read_answer(&mut stream, false).status, 401);
    for line in folder.lines("client.log", 2) {
        assert_eq!(line["ext_info"], format!("{}…", "张".repeat(170)));
        assert_eq!(line["userid"], format!("{}…", "\"".repeat(256)), "512 bytes in the file");
        assert_eq!(line["room_ids"], format!("{}…", &rooms[..512]));
    }
    let line = &folder.lines("error.log", 1)[0];
    assert_eq!(line["user_agent"], format!("{}…", &agent[..512]));
    assert_eq!(line["room_ids"], format!("{}…", &rooms[..512]));
}

/// What `healthz` says to operators.
fn health(relay: &Relay) -> Value {
    let answer = relay.admin("/healthz");
    assert_eq!(answer.status, 200, "degraded is not dead");
    answer.json()
}

/// A folder that cannot be made, and then can.
#[test]
fn a_log_that_cannot_be_written_is_said_and_nothing_else() {
    let folder = Folder::new();
    fs::write(&folder.0, "a file").unwrap();
    let relay = folder.relay("");
    let mut client = relay.connect("room");
    relay.notify("room", "x");
    assert_eq!(client.data(), "x");
    relay.wait_log("ERROR");
    let health = wait_for("degraded", || Some(health(&relay)).filter(|health| health["status"] == "degraded"));
    let log = &health["message_log"];
    assert_eq!(log["status"], "failing");
    assert!(log["error"].as_str().unwrap().contains("Not a directory"), "{health}");
    wait_for("three lost lines", || (relay.counter("message_log_lost") == 3).then_some(()));
    assert!(relay.admin("/metrics").body.contains("relay_message_log_failing 1\n"));
    for _ in 0..10 {
        relay.notify("room", "y");
    }
    wait_for("ten more", || (relay.counter("message_log_lost") == 13).then_some(()));
    fs::remove_file(&folder.0).unwrap();
    relay.notify("room", "again");
    relay.wait_log("lines are written again");
    assert_eq!(self::health(&relay)["status"], "ok");
    assert_eq!(folder.lines("demo_msg.log", 1)[0]["data"], "again");
    let said = relay.log().iter().filter(|line| line.contains("lines are lost")).count();
    assert_eq!(said, 1, "said once, not for each line: {:?}", relay.log());
}

/// A limit for the size of files is as near to a full disk as a test gets without one: a write takes a part, then fails.
#[test]
fn a_full_disk_leaves_no_cut_line() {
    let folder = Folder::new();
    let config = temp_file("full.toml");
    fs::write(&config, Relay::configuration(&folder.configuration(""))).unwrap();
    let mut command = Command::new("bash");
    let script = "trap '' XFSZ; ulimit -f 20; exec \"$0\" serve --config \"$1\"";
    command.args(["-c", script]).arg(support::binary()).arg(&config);
    let relay = Relay::spawn(command, config);
    let mut client = relay.connect("room");
    for number in 0..30 {
        relay.notify("room", &format!("{number} {}", "x".repeat(1000)));
        assert_eq!(client.data(), format!("{number} {}", "x".repeat(1000)));
        // Lines that wait are written together, and lost together.
        if number < 10 {
            folder.lines("demo_msg.log", number + 1);
        }
    }
    let health = wait_for("degraded", || Some(health(&relay)).filter(|health| health["status"] == "degraded"));
    assert!(health["message_log"]["error"].as_str().unwrap().contains("File too large"), "{health}");
    let written = wait_for("the rest lost", || {
        let written = folder.text("demo_msg.log").lines().count() as u64;
        (written + relay.counter("message_log_lost") == 30).then_some(written)
    });
    assert!((10..20).contains(&written), "{written}");
    folder.lines("demo_msg.log", written as usize);
}

/// On a nearly full disk short lines fit and long ones do not. The health does not change with every line.
#[test]
fn the_health_does_not_flap() {
    let folder = Folder::new();
    let config = temp_file("flap.toml");
    fs::write(&config, Relay::configuration(&folder.configuration(""))).unwrap();
    let mut command = Command::new("bash");
    let script = "trap '' XFSZ; ulimit -f 20; exec \"$0\" serve --config \"$1\"";
    command.args(["-c", script]).arg(support::binary()).arg(&config);
    let relay = Relay::spawn(command, config);
    let long = "x".repeat(30_000);
    for number in 1..=20 {
        notify(&relay, &long, "long");
        wait_for("a lost line", || (relay.counter("message_log_lost") == number).then_some(()));
        notify(&relay, "x", "short");
        wait_for("a line", || (folder.text("demo_short").lines().count() as u64 == number).then_some(()));
    }
    // A machine that stops this test for seconds may see one more change.
    let changes = relay.log().iter().filter(|line| line.contains("message log: ")).count();
    assert!((1..=3).contains(&changes), "{:?}", relay.log());
    relay.wait_log("lines are written again");
    assert_eq!(health(&relay)["status"], "ok");
}

/// A disk that does not answer at all while a file called `gate` stands beside the folder.
struct Stuck {
    folder: Folder,
    gate: PathBuf,
}

impl Stuck {
    fn new() -> Stuck {
        let folder = Folder::new();
        let gate = folder.0.with_extension("gate");
        fs::write(&gate, "").unwrap();
        Stuck { folder, gate }
    }

    fn relay(&self, root: &str) -> Relay {
        stuck(&format!("{root}{}", self.folder.configuration("")), &self.folder.0, &self.gate)
    }

    fn open(&self) {
        let _ = fs::remove_file(&self.gate);
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.open();
    }
}

#[test]
fn a_disk_that_does_not_answer_delays_nobody() {
    let stuck = Stuck::new();
    let relay = stuck.relay("");
    let mut client = relay.connect("room");
    let big = "x".repeat(900_000);
    // The first lines are being written; 8 MiB more may wait.
    for number in 0..12 {
        let data = format!("{number} {big}");
        relay.notify("room", &data);
        assert_eq!(client.data(), data);
    }
    let health = wait_for("degraded", || Some(health(&relay)).filter(|health| health["status"] == "degraded"));
    assert_eq!(health["message_log"]["error"], "the disk does not keep up");
    relay.wait_log("message log: the disk does not keep up");
    assert_eq!(relay.counter("message_log_lost"), 3);
    stuck.open();
    wait_for("recovery", || (self::health(&relay)["status"] == "ok").then_some(()));
    assert_eq!(stuck.folder.lines("demo_msg.log", 9).len(), 9);
    relay.notify("room", "after");
    assert_eq!(stuck.folder.lines("demo_msg.log", 10)[9]["data"], "after");
}

#[test]
fn pages_that_wait_for_the_disk_give_up() {
    let stuck = Stuck::new();
    // Long enough for all of them to be waiting at the same time on a busy machine.
    let relay = stuck.relay("\n[limits]\nrequest_timeout = 4\n");
    let mut waiting: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = relay.tcp();
            send_request(&mut stream, "GET", &format!("/clientlog?token={TOKEN}"), &[], b"");
            stream
        })
        .collect();
    wait_for("all to wait", || {
        let answer = relay.admin("/clientlog");
        assert_eq!(answer.status, 503);
        answer.body.contains("too many requests wait").then_some(())
    });
    let mut client = relay.connect("room");
    relay.notify("room", "x");
    assert_eq!(client.data(), "x");
    drop(waiting.pop());
    for stream in &mut waiting {
        let answer = read_answer(stream, false);
        assert_eq!((answer.status, answer.header("connection")), (503, "close"), "{answer:?}");
    }
    stuck.open();
    wait_for("pages again", || (relay.admin("/clientlog").status == 200).then_some(()));
    assert_eq!(stuck.folder.lines("client.log", 1)[0]["event"], "connect");
}

#[test]
fn queued_lines_are_written_before_the_end() {
    let stuck = Stuck::new();
    let mut relay = stuck.relay("");
    for number in 0..1000 {
        relay.notify("room", &number.to_string());
    }
    relay.signal(SIGTERM);
    relay.wait_log("stopping");
    thread::sleep(Duration::from_millis(50));
    stuck.open();
    assert_eq!(relay.wait(), 0);
    let lines = stuck.folder.lines("demo_msg.log", 1000);
    let numbers = lines.iter().map(|line| line["data"].as_str().unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(0..1000));
    assert_eq!(stuck.folder.lines("sys.log", 2)[1]["event"], "stop");
}

#[test]
fn a_disk_that_does_not_answer_does_not_keep_relay_from_ending() {
    let stuck = Stuck::new();
    let mut relay = stuck.relay("shutdown_timeout = 1\n");
    relay.notify("room", "x");
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    relay.wait_log("the disk did not write them in time");
}

/// Every connect and disconnect is in the file once.
#[test]
fn the_trail_is_complete() {
    let folder = Folder::new();
    let mut relay = folder.relay("");
    for round in 0..20 {
        let clients: Vec<_> =
            (0..20).map(|number| relay.connect_with(&[("userid", &format!("{round}-{number}"))])).collect();
        drop(clients);
    }
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    let lines = folder.lines("client.log", 800);
    for event in ["connect", "disconnect"] {
        let mut users: Vec<_> =
            lines.iter().filter(|line| line["event"] == event).map(|line| line["userid"].as_str().unwrap()).collect();
        users.sort_unstable();
        users.dedup();
        assert_eq!(users.len(), 400, "{event}");
    }
}
