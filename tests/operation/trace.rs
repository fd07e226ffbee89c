//! docs/protocol.md, Traces, and the command `relay trace`: what one source, user or address does, in the log for a while.

use std::{
    fs,
    io::{Read, Write},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, KEY, Relay, TOKEN,
    cli::{self, *},
    connect_sign, fake, form, login, wait_for,
};

const SIGINT: i32 = 2;

fn post(relay: &Relay, fields: &[(&str, &str)]) -> Answer {
    relay.request("POST", &format!("/api/trace?{}", form(fields)), &bearer(TOKEN), b"")
}

fn bearer(token: &str) -> [(&str, &str); 1] {
    match token {
        TOKEN => [("Authorization", concat!("Bearer ", "test-token"))],
        _ => [("Authorization", "Bearer wrong")],
    }
}

/// Begins a trace and returns its number.
fn begin(relay: &Relay, fields: &[(&str, &str)]) -> u64 {
    let answer = post(relay, fields);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"]["trace"].as_u64().unwrap()
}

fn traces(relay: &Relay) -> Vec<Value> {
    relay.admin("/api/trace").json()["data"]["traces"].as_array().unwrap().clone()
}

/// The texts of the lines of a trace until now. A trace of its own says how far the log was read.
fn lines(relay: &Relay, number: u64) -> Vec<String> {
    let last = begin(relay, &[("userid", "nobody")]);
    relay.wait_log(&format!("[trace {last}] begins"));
    assert_eq!(post(relay, &[("stop", &last.to_string())]).status, 200);
    let mark = format!("] [trace {number}] ");
    relay.log().iter().filter_map(|line| Some(line.split_once(&mark)?.1.to_owned())).collect()
}

fn user(relay: &Relay, userid: &str, rooms: &str) -> Client {
    relay.connect_with(&[("room_ids", rooms), ("userid", userid)])
}

fn has(lines: &[String], words: &[&str]) -> bool {
    lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
}

/// One user among several, with a log level that lets nothing else through.
#[test]
fn one_user_among_several() {
    let relay = Relay::start("[history]\ncount = 10\n");
    let quiet = fs::read_to_string(&relay.config).unwrap() + "[log]\nlevel = \"error\"\n";
    fs::write(&relay.config, quiet).unwrap();
    assert_eq!(relay.request("POST", "/api/reload", &bearer(TOKEN), b"").json()["code"], 1);
    let before = user(&relay, "7", "before");
    let number = begin(&relay, &[("userid", "7")]);
    let (mut client, mut other) = (user(&relay, "7", "a,b"), user(&relay, "8", "a"));
    client.send(r#"{"event":"postMsg","ack":1,"room_id":"a","data":"secret content"}"#);
    client.send(r#"{"event":"nothing","ack":2}"#);
    let sign = connect_sign("demo", "c", KEY);
    client.send(&format!("{{\"event\":\"join\",\"ack\":3,\"room_ids\":\"c\",\"sign\":\"{sign}\"}}"));
    client.send(&format!("{{\"event\":\"leave\",\"ack\":4,\"room_ids\":\"c\",\"sign\":\"{sign}\"}}"));
    while !client.text().contains("\"ack\":4") {}
    other.send(r#"{"event":"postMsg","ack":1,"room_id":"a","data":"x"}"#);
    while !other.text().contains("\"ack\":1") {}
    client.socket.close(None).unwrap();
    client.close_code();
    drop((before, other));
    wait_for("the ends", || (relay.stat("/sessions") == 0).then_some(()));
    let lines = lines(&relay, number);
    for words in [
        &["begins for 600 s: user \"7\""][..],
        &["source \"demo\", user \"7\", 127.0.0.1, session ", ": joined room \"a\""],
        &[": joined room \"b\""],
        &[": logged in by WebSocket: rooms \"a,b\", namespace \"/\""],
        &[": sent event \"postMsg\""],
        &[": message ", " to room \"a\": ", "sent to 2 sessions, kept"],
        &[": sent event \"nothing\""],
        &[": what it sent is refused: \"unknown event!\""],
        &[": joined room \"c\""],
        &[": left room \"c\""],
        &[": ended: closed by the client"],
        // That of the session that was there before.
        &[": lost: the connection was lost"],
    ] {
        assert!(has(&lines, words), "{words:?} is not in\n{}", lines.join("\n"));
    }
    assert!(lines.iter().all(|line| !line.contains("\"8\"")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("secret content") && !line.contains(&sign)), "{lines:?}");
    let others = relay.log().iter().filter(|line| line.contains("DEBUG")).count();
    assert_eq!(others, 0, "the level stays as it is");
}

#[test]
fn refused_logins_with_their_reason() {
    let relay = Relay::start("");
    let number = begin(&relay, &[("userid", "7\n\u{202e}"), ("source", "demo")]);
    for userid in ["7\n\u{202e}", "8"] {
        let wrong = login(&[("room_ids", "a"), ("userid", userid)]).replace("sign=", "sign=0");
        assert_eq!(relay.get(&format!("/ws?{wrong}")).status, 401);
    }
    let lines = lines(&relay, number);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("login refused: \"sign verify failed!\""), "{lines:?}");
    assert!(lines[1].contains("user \"7\\n\\u{202e}\"") && lines[1].contains("rooms \"a\""), "{lines:?}");
}

#[test]
fn a_source_and_its_backend() {
    let relay = Relay::start("");
    let (one, two) = (begin(&relay, &[("source", "demo")]), begin(&relay, &[("source", "other")]));
    let _member = user(&relay, "7", "a");
    relay.notify("a", "x");
    let wrong = relay.post_form(&[("source", "demo"), ("room_id", "a"), ("data", "x"), ("sign", "0")]);
    assert_eq!(wrong.json()["code"], 0);
    let event = json!({"source": "demo", "userid": "7", "event": "price", "args": [1]}).to_string();
    let headers = [bearer(TOKEN)[0], ("Content-Type", "application/json")];
    let emitted = relay.request("POST", "/api/emit", &headers, event.as_bytes());
    assert_eq!(emitted.json()["code"], 1, "{}", emitted.body);
    let found = lines(&relay, one);
    for words in [
        &["source \"demo\": message ", " to room \"a\": ", "1 byte, sent to 1 session"][..],
        &["notification refused: ", "from 127.0.0.1, source \"demo\", room_id \"a\""],
        &["event \"price\" to the user: sent to 1 session of this relay"],
    ] {
        assert!(has(&found, words), "{words:?} is not in\n{}", found.join("\n"));
    }
    assert_eq!(lines(&relay, two).len(), 1, "only its beginning");
}

/// Requests without their queries, which can have a token.
#[test]
fn an_address() {
    let relay = Relay::start("");
    let number = begin(&relay, &[("address", "127.0.0.0/8")]);
    let elsewhere = begin(&relay, &[("address", "127.0.0.2")]);
    relay.get(&format!("/api/stats?token={TOKEN}"));
    relay.get("/nowhere?x=y");
    let found = lines(&relay, number);
    for words in ["127.0.0.1: request \"GET\" \"/api/stats\": status 200", "request \"GET\" \"/nowhere\": status 404"] {
        assert!(has(&found, &[words]), "{words} is not in\n{}", found.join("\n"));
    }
    assert!(!relay.log().join("\n").contains(TOKEN) && !found.join("\n").contains("x=y"));
    assert_eq!(lines(&relay, elsewhere).len(), 1);
}

#[test]
fn the_list_the_limits_and_the_end() {
    let relay = Relay::start("");
    assert_eq!(traces(&relay), [json!(null); 0]);
    let short = post(&relay, &[("source", "demo"), ("userid", "7"), ("address", "::1"), ("for", "1s")]).json();
    assert_eq!((&short["data"]["trace"], &short["data"]["seconds"]), (&json!(1), &json!(1)));
    relay.wait_log("[trace 1] ends: its time is over; 0 lines, 0 left out");
    assert_eq!(traces(&relay), [json!(null); 0]);
    for number in 2..=9 {
        assert_eq!(begin(&relay, &[("userid", &number.to_string()), ("for", "1h")]), number);
    }
    let ninth = post(&relay, &[("userid", "x")]);
    assert_eq!((ninth.status, &ninth.json()["msg"]), (503, &json!("8 traces are on, which is the most: stop one")));
    let all = traces(&relay);
    assert_eq!(all.len(), 8);
    assert_eq!((&all[0]["trace"], &all[0]["userid"], all[0].get("source")), (&json!(2), &json!("2"), None));
    assert_eq!(post(&relay, &[("stop", "5")]).json()["data"], json!({"stopped": 1}));
    assert_eq!((post(&relay, &[("stop", "5")]).status, traces(&relay).len()), (404, 7));
    assert_eq!(post(&relay, &[("stop", "all")]).json()["data"], json!({"stopped": 7}));
    assert_eq!(post(&relay, &[("stop", "all")]).json()["data"], json!({"stopped": 0}));
}

#[test]
fn wrong_requests() {
    let relay = Relay::start("");
    let long = "x".repeat(513);
    for (fields, status, why) in [
        (&[][..], 400, "give source, userid or address"),
        (&[("for", "1m")], 400, "give source, userid or address"),
        (&[("userid", "")], 400, "userid is empty"),
        (&[("user", "7")], 400, "unknown field \"user\""),
        (&[("userid", "7"), ("userid", "8")], 400, "userid is given twice"),
        (&[("userid", &*long)], 400, "source and userid have at most 512 bytes"),
        (&[("userid", "7"), ("for", "2h")], 400, "for must be a time from 1s to 1h, such as 30s or 10m"),
        (&[("address", "unix")], 400, "address must be an IP address or a network such as 192.0.2.0/24"),
        (&[("address", "10.0.0.0/33")], 400, "address must be an IP address or a network such as 192.0.2.0/24"),
        (&[("stop", "one")], 400, "stop must be the number of a trace, or all"),
        (&[("stop", "1"), ("userid", "7")], 400, "give stop alone"),
        (&[("stop", "1")], 404, "there is no such trace: it has ended"),
        (&[("source", "nobody")], 404, "this source can not be configured!"),
    ] {
        let answer = post(&relay, fields);
        assert_eq!((answer.status, answer.json()["msg"].as_str()), (status, Some(why)), "{fields:?}");
    }
    for (method, headers) in
        [("POST", &bearer("wrong")[..]), ("POST", &[]), ("GET", &[]), ("GET", &bearer("wrong")[..])]
    {
        let answer = relay.request(method, "/api/trace?userid=7", headers, b"");
        assert_eq!(answer.status, 401, "{method}");
    }
    assert_eq!(relay.request("DELETE", "/api/trace", &bearer(TOKEN), b"").status, 405);
    assert!(traces(&relay).is_empty());
}

// The command.

fn trace(relay: &Relay, args: &[&str]) -> Listener {
    let url = format!("http://{}", relay.addr);
    Listener::spawn(cli::relay(&[&["trace", "--url", &url, "--token", TOKEN], args].concat()))
}

#[test]
fn the_command_follows_it() {
    let relay = Relay::start("");
    // Another trace of the same user: lines for both have two numbers.
    begin(&relay, &[("source", "demo")]);
    let mut following = trace(&relay, &["--userid", "7", "--for", "4s"]);
    following.wait_err("trace 2 is on for 4 s; Ctrl-C ends it");
    let (_seven, _eight) = (user(&relay, "7", "a\u{202e}"), user(&relay, "8", "a"));
    assert_eq!(following.code(), 0, "its time is over");
    let lines = following.out.lock().unwrap().clone();
    assert!(lines[0].ends_with(" begins for 4 s: user \"7\""), "{lines:?}");
    assert!(has(&lines, &["user \"7\"", ": logged in by WebSocket: rooms \"a\\u{202e}\""]), "{lines:?}");
    assert!(lines.last().unwrap().contains(" ends: its time is over; "), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("\"8\"") && !line.contains("[trace")), "{lines:?}");
    assert_eq!(traces(&relay).len(), 1, "the other one stays");
}

#[test]
fn nothing_is_left_behind() {
    let mut relay = Relay::start("");
    let mut following = trace(&relay, &["--source", "demo"]);
    following.wait_lines(1);
    following.signal(SIGINT);
    assert_eq!((following.code(), traces(&relay).len()), (0, 0));
    // Somebody else ends it.
    let mut following = trace(&relay, &["--source", "demo"]);
    following.wait_lines(1);
    let run = run(&["trace", "--stop", "all", "--url", &format!("http://{}", relay.addr), "--token", TOKEN]);
    assert_eq!((run.code, &*run.out), (0, "1 trace ended\n"));
    assert_eq!(following.code(), 0);
    assert!(following.wait_lines(2)[1].contains(" ends: it was stopped"));
    // relay ends.
    let mut following = trace(&relay, &["--source", "demo"]);
    following.wait_lines(1);
    let (addr, config) = (relay.addr.to_string(), write("again.toml", &Relay::configuration("")));
    relay.signal(SIGKILL);
    relay.wait();
    let mut command = cli::relay(&["--listen", &addr]);
    command.arg("--config").arg(&config);
    relay = Relay::spawn(command, config);
    assert_eq!(following.code(), 1);
    following.wait_err("the trace is not on any more: relay was restarted");
    assert!(traces(&relay).is_empty());
}

#[test]
fn detached_listed_and_refused() {
    let relay = Relay::start("");
    let url = format!("http://{}", relay.addr);
    let run = |args: &[&str]| run(&[&["trace", "--url", &url, "--token", TOKEN], args].concat());
    assert_eq!(run(&["--list"]).out, "no trace is on\n");
    let begun = run(&["--userid", "7", "--source", "demo", "--for", "5m", "--detach"]);
    assert_eq!(begun.out, "trace 1 is on for 300 s: its lines are in relay's log, marked with [trace 1]\n");
    let listed = run(&["--list"]);
    assert!(listed.out.starts_with("trace 1: source \"demo\", user \"7\"; "), "{}", listed.out);
    let json: Value = serde_json::from_str(&run(&["--list", "--json"]).out).unwrap();
    assert_eq!(json["data"]["traces"][0]["userid"], "7");
    assert_eq!(run(&["--stop", "1"]).out, "1 trace ended\n");
    let gone = run(&["--stop", "1"]);
    assert!(gone.code == 1 && gone.err.contains("status 404: there is no such trace"), "{}", gone.err);
    let unknown = run(&["--source", "nobody"]);
    assert!(unknown.code == 1 && unknown.err.contains("can not be configured"), "{}", unknown.err);
    let wrong = self::run(&["trace", "--userid", "7", "--url", &url, "--token", "wrong"]);
    assert!(wrong.code == 1 && wrong.err.contains("the admin token is missing or wrong"), "{}", wrong.err);
    for (args, why) in [
        (&[][..], "missing subject: give --source, --userid or --address"),
        (&["--for", "1m"], "missing subject"),
        (&["--userid", "7", "--for", "2h"], "--for \"2h\": expected a time from 1s to 1h"),
        (&["--userid", "7", "--list"], "give --list alone, --stop alone, or what to trace"),
        (&["--list", "--stop", "1"], "give --list alone"),
        (&["7"], "unexpected argument \"7\""),
    ] {
        let run = self::run(&[&["trace"], args].concat());
        assert!(run.code == 2 && run.err.contains(why), "{args:?}: {} {}", run.code, run.err);
    }
}

/// `relay trace` of a relay that has one trace until `is_on` is not true, and whose streams have these lines, one after the other;
/// the last one stays open.
fn trace_of(streams: &[&[Value]], is_on: &'static AtomicBool) -> Listener {
    let mut texts: Vec<String> =
        streams.iter().map(|lines| lines.iter().map(|line| format!("{line}\n")).collect()).collect();
    texts.reverse();
    let texts = Mutex::new(texts);
    let url = fake::server(move |request, stream| {
        let trace = json!({"trace": 7, "began": BEGAN, "seconds": 600});
        let answer = |data: Value| fake::whole(&json!({"code": 1, "msg": "", "data": data}).to_string());
        let traces = || if is_on.load(Ordering::Relaxed) { json!({"traces": [trace]}) } else { json!({"traces": []}) };
        let _ = match request.split(['?', ' ']).nth(1).unwrap() {
            "/api/live" => {
                let (text, is_last) = {
                    let mut texts = texts.lock().unwrap();
                    (texts.pop().unwrap_or_default(), texts.is_empty())
                };
                stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{text}").as_bytes()).unwrap();
                if is_last { stream.read(&mut [0]).map(drop) } else { Ok(()) }
            }
            _ if request.starts_with("GET") => stream.write_all(&answer(traces())),
            _ if request.contains("stop=") => stream.write_all(&answer(json!({"stopped": 1}))),
            _ => stream.write_all(&answer(trace)),
        };
    });
    Listener::spawn(cli::relay(&["trace", "--userid", "7", "--url", &url, "--token", TOKEN]))
}

const BEGAN: u64 = 1_795_219_200;

fn hello(node: &str) -> Value {
    json!({"type": "hello", "node": node, "started": BEGAN})
}

/// A line of the trace.
fn line(number: u64, time: f64, text: &str) -> Value {
    let target = if text == "ends" { "relay::trace::end" } else { "relay::trace" };
    json!({"type": "log", "number": number, "time": time, "level": "INFO", "target": target, "text": format!("[trace 7] {text}")})
}

/// What was printed, without the times.
fn printed(following: &Listener) -> Vec<String> {
    following.out.lock().unwrap().iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// The time of the clock does not matter, and a line that a second stream repeats is printed once.
#[test]
fn a_clock_that_is_set_back() {
    static IS_ON: AtomicBool = AtomicBool::new(true);
    let (now, earlier) = (BEGAN as f64 + 10.5, BEGAN as f64 - 3600.0);
    let first =
        [hello("a"), line(5, now, "begins"), line(6, now, "one"), line(7, now, "two"), line(8, earlier, "three")];
    let second = [&first[..], &[line(9, earlier, "four"), line(10, earlier - 1.0, "ends")]].concat();
    let mut following = trace_of(&[&first, &second], &IS_ON);
    assert_eq!(following.code(), 0);
    assert_eq!(printed(&following), ["begins", "one", "two", "three", "four", "ends"]);
}

/// The numbers of a relay that was started meanwhile begin again, and so do those of its traces.
#[test]
fn lines_of_another_process_are_not_its_own() {
    static IS_ON: AtomicBool = AtomicBool::new(true);
    let first = [hello("a"), line(5, BEGAN as f64, "begins")];
    let second = [hello("b"), line(1, BEGAN as f64, "of another"), line(9, BEGAN as f64, "of another")];
    let mut following = trace_of(&[&first, &second], &IS_ON);
    assert_eq!(following.code(), 1);
    following.wait_err("the trace is not on any more: relay was restarted");
    assert_eq!(printed(&following), ["begins"]);
}

/// With several traces, a stream does not get all their lines. Among those that it lacks can be the last one.
#[test]
fn lines_that_are_left_out() {
    static IS_ON: AtomicBool = AtomicBool::new(true);
    let omitted = |lines: u64| json!({"type": "omitted", "messages": 0, "lines": lines});
    let first = [hello("a"), line(5, 0.0, "begins"), omitted(120), line(130, 0.0, "one")];
    let second = [hello("a"), line(131, 0.0, "two")];
    let third = [hello("a"), line(240, 0.0, "three"), omitted(1)];
    let mut following = trace_of(&[&first, &second, &third[..2], &third], &IS_ON);
    following.wait_lines(4);
    following.wait_err("left out: 120 lines of the log, perhaps some of the trace");
    following.wait_err("left out: 108 lines of the log, perhaps some of the trace");
    following.wait_err("left out: 1 line of the log, perhaps some of the trace");
    assert_eq!(following.err.lock().unwrap().iter().filter(|line| line.contains("left out")).count(), 3);
    following.signal(SIGINT);
    assert_eq!(following.code(), 0);
    assert_eq!(printed(&following), ["begins", "one", "two", "three"]);
    // The trace has ended.
    static IS_OFF: AtomicBool = AtomicBool::new(false);
    let mut following = trace_of(&[&first], &IS_OFF);
    assert_eq!(following.code(), 0);
    following.wait_err("the trace has ended; its last line did not come");
    assert_eq!(printed(&following), ["begins", "one"]);
}

/// More traces than a stream can show.
#[test]
fn eight_traces_at_once() {
    let relay = Relay::start("");
    let mut following = trace(&relay, &["--userid", "0"]);
    following.wait_lines(1);
    for userid in 1..8 {
        begin(&relay, &[("userid", &userid.to_string())]);
    }
    let mut users: Vec<Client> = (0..8).map(|userid: u32| user(&relay, &userid.to_string(), "a")).collect();
    for user in &mut users {
        (0..35).for_each(|_| user.send(r#"{"event":"nothing"}"#));
    }
    following.wait_err("lines of the log, perhaps some of the trace");
    assert_eq!(run(&["trace", "--stop", "all", "--url", &format!("http://{}", relay.addr), "--token", TOKEN]).code, 0);
    assert_eq!(following.code(), 0);
}
