//! docs/protocol.md, GET /api/why: what an operator is told about a message and a user, also by `relay why`.

use std::{net::TcpStream, process::Command};

use serde_json::Value;
use socket2::SockRef;

use crate::support::{Client, KEY, PATIENCE, Relay, TOKEN, connect_sign, login, notify_sign, redis::Redis, wait_for};

fn ask(relay: &Relay, query: &str) -> Value {
    let answer = relay.admin(&format!("/api/why?source=demo&{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()["data"].clone()
}

fn verdicts(relay: &Relay, id: &str, userid: &str) -> Vec<String> {
    let data = ask(relay, &format!("id={id}&userid={userid}"));
    data["verdicts"].as_array().unwrap().iter().map(|verdict| verdict.as_str().unwrap().to_owned()).collect()
}

/// The only verdict.
fn verdict(relay: &Relay, id: &str, userid: &str) -> String {
    let mut all = verdicts(relay, id, userid);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn lines(data: &Value) -> Vec<String> {
    let all = data["lines"].as_array().unwrap();
    all.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Publishes a message and returns its id, which a client that is there gets.
fn publish(relay: &Relay, witness: &mut Client, room: &str) -> String {
    relay.notify(room, "x");
    witness.json()["id"].as_str().unwrap().to_owned()
}

fn user<'a>(userid: &'a str, rooms: &'a str) -> [(&'a str, &'a str); 2] {
    [("room_ids", rooms), ("userid", userid)]
}

fn leave(relay: &Relay, mut client: Client, left: u64) {
    client.socket.close(None).unwrap();
    client.close_code();
    wait_for("the end", || (relay.stat("/sessions") == left).then_some(()));
}

#[test]
fn who_was_not_there_or_not_in_the_room() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a,b"));
    let early = publish(&relay, &mut witness, "a");
    assert_eq!(verdict(&relay, &early, "7"), "the records show no session of the user at that time or before");
    let mut client = relay.connect_with(&user("7", "b"));
    let other = publish(&relay, &mut witness, "a");
    assert!(verdict(&relay, &other, "7").ends_with("was connected, but not in the room of the message"));
    let own = publish(&relay, &mut witness, "b");
    client.json();
    let told = verdict(&relay, &own, "7");
    assert!(
        told.ends_with("it was sent the message; what it receives is not checked in rooms that keep nothing"),
        "{told}"
    );
    // The past stays what it was.
    assert_eq!(verdict(&relay, &early, "7"), "the records show no session of the user at that time or before");
    let sign = connect_sign("demo", "b", KEY);
    client.send(&format!("{{\"event\":\"leave\",\"ack\":1,\"room_ids\":\"b\",\"sign\":\"{sign}\"}}"));
    assert!(client.text().contains("\"code\":1"));
    let after = publish(&relay, &mut witness, "b");
    assert!(verdict(&relay, &after, "7").ends_with("not in b"), "{:?}", verdicts(&relay, &after, "7"));
    assert!(verdict(&relay, &own, "7").contains("was in the room"));
    leave(&relay, client, 1);
    let gone = publish(&relay, &mut witness, "b");
    let told = verdict(&relay, &gone, "7");
    assert!(
        told.starts_with("the user had no connection: ")
            && told.contains("had ended at ")
            && told.ends_with(" (closed by the client)"),
        "{told}"
    );
    assert!(verdict(&relay, &own, "7").contains("ended later (closed by the client)"));
    let unknown = verdicts(&relay, "1j1b8cninpmrkqkbc", "7");
    assert_eq!(
        unknown,
        [
            "no message with this id is in the records: it is older, of another source, or was never accepted here",
            "it is of relay mrkqkbc, or of this one before its last start"
        ]
        .map(|text| text.replace("mrkqkbc", "rkqkbc"))
    );
}

#[test]
fn two_sessions_of_a_user_and_two_rooms_of_a_message() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a,b"));
    let (_one, _two) = (relay.connect_with(&user("7", "a")), relay.connect_with(&user("7", "a,b")));
    relay.notify("a,b", "x");
    let first = witness.json()["id"].as_str().unwrap().to_owned();
    let second = witness.json()["id"].as_str().unwrap().to_owned();
    let of = |id: &str| {
        let all = verdicts(&relay, id, "7");
        (all.len(), all.iter().filter(|verdict| verdict.contains("was in the room")).count())
    };
    // The first id stands for the message in all of its rooms.
    assert_eq!([of(&first), of(&second)], [(3, 3), (2, 1)]);
}

/// No ping has asked a client what it has received, but its kernel has confirmed it.
#[test]
fn who_has_just_received_it() {
    let relay = Relay::start("[history]\ncount = 100\n[websocket]\nping_interval = 3600\n");
    let mut witness = relay.connect_with(&user("9", "a"));
    let mut client = relay.connect_with(&user("7", "a"));
    for _ in 0..3 {
        let id = publish(&relay, &mut witness, "a");
        assert_eq!(client.json()["id"], *id);
        wait_for("the confirmation", || {
            verdict(&relay, &id, "7").ends_with(": it has received the message").then_some(())
        });
    }
    let mut session = ask(&relay, "userid=7")["lines"][0]["text"].as_str().unwrap().to_owned();
    session = session.split(' ').nth(1).unwrap().to_owned();
    let id = publish(&relay, &mut witness, "a");
    wait_for("the confirmation of a session", || {
        let data = ask(&relay, &format!("id={id}&socket_id={session}"));
        data["verdicts"].to_string().contains("it has received the message").then_some(())
    });
}

#[test]
fn who_was_away_and_came_back() {
    let relay = Relay::start("[history]\ncount = 100\n");
    let mut witness = relay.connect_with(&user("9", "a"));
    let mut client = relay.connect_with(&user("7", "a"));
    let first = publish(&relay, &mut witness, "a");
    client.json();
    // Its pong shows that it is there.
    client.send("{\"event\":\"ping\",\"ack\":1}");
    client.text();
    let lost = relay.counter("sessions_lost");
    drop(client);
    wait_for("the loss", || (relay.counter("sessions_lost") > lost).then_some(()));
    let missed = publish(&relay, &mut witness, "a");
    assert!(verdict(&relay, &first, "7").ends_with("was in the room: it has received the message"));
    let told = verdict(&relay, &missed, "7");
    assert!(told.contains("was lost at ") && told.contains(" (the connection was lost); it is away"), "{told}");
    let mut client = relay.connect_with(&user("7", "a"));
    assert_eq!(client.json()["id"], *missed);
    let told = verdict(&relay, &missed, "7");
    assert!(told.ends_with("went on in its place and got the message among 1 that it had missed"), "{told}");
    let texts = lines(&ask(&relay, "userid=7"));
    let has = |words: &str| texts.iter().any(|text| text.contains(words));
    assert!(has("logged in") && has("joined room a") && has("was lost") && has("; 1 message again"), "{texts:?}");
    assert_eq!(
        lines(&ask(&relay, &format!("id={missed}&room_id=a"))),
        ["published to room a and kept: sent to 1 session"]
    );
}

#[test]
fn refused_logins_and_wrong_questions() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a"));
    let wrong = login(&user("7", "a")).replace("sign=", "sign=0");
    assert_eq!(relay.get(&format!("/ws?{wrong}")).status, 401);
    let id = publish(&relay, &mut witness, "a");
    let told = verdict(&relay, &id, "7");
    assert!(told.starts_with("the user had no session: a login was refused ("), "{told}");
    for (query, why) in [
        ("source=demo", "give id, userid, socket_id or room_id"),
        ("source=demo&socket_id=x", "socket_id is not that of a session here"),
        ("source=nobody&userid=7", "unknown source!"),
        ("source=demo&id=!", "id is not that of a message"),
        ("id=!", "source can not be null!"),
    ] {
        let answer = relay.admin(&format!("/api/why?{query}"));
        let msg = answer.json()["msg"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && msg.starts_with(why), "{query}: {msg}");
        assert_eq!(msg.ends_with(" (there are: demo, other)"), why.contains("source") && why.ends_with('!'), "{msg}");
    }
    assert_eq!(relay.get("/api/why?userid=7").status, 401);
    assert_eq!(lines(&ask(&relay, "room_id=nowhere")), [""; 0]);
}

fn is_chinese(text: &str) -> bool {
    text.contains(|c: char| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

/// The `socket_id` in a sentence that begins with a session.
fn socket_id(text: &str) -> String {
    text.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn answers_in_chinese() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a"));
    let wrong = login(&user("7", "a")).replace("sign=", "sign=0");
    assert_eq!(relay.get(&format!("/ws?{wrong}")).status, 401);
    let client = relay.connect_with(&user("7", "b"));
    leave(&relay, client, 1);
    let id = publish(&relay, &mut witness, "a");
    let told = ask(&relay, &format!("id={id}&userid=7&language=zh"))["verdicts"][0].as_str().unwrap().to_owned();
    assert!(told.starts_with("该用户当时没有连接：会话 ") && told.ends_with(" 结束（客户端关闭了连接）"), "{told}");
    let [english, chinese] = ["", "&language=zh"].map(|language| ask(&relay, &format!("userid=7{language}")));
    assert_eq!(ask(&relay, "userid=7&language=en"), english);
    let session = socket_id(&lines(&english)[1]);
    assert_eq!(
        lines(&chinese),
        [
            "登录被拒绝：签名校验失败".to_owned(),
            format!("会话 {session} 登录"),
            format!("会话 {session} 加入其他房间"),
            format!("会话 {session} 结束：客户端关闭了连接"),
        ]
    );
    for list in ["lines", "verdicts", "advice"] {
        let [english, chinese] = [&english, &chinese].map(|data| data[list].as_array().unwrap());
        assert!(!english.is_empty() && english.len() == chinese.len(), "{english:?} {chinese:?}");
        for (english, chinese) in english.iter().zip(chinese) {
            assert_eq!(english["time"], chinese["time"]);
            assert!(!is_chinese(&english.to_string()) && is_chinese(&chinese.to_string()), "{english} {chinese}");
        }
    }
    // The page of a session.
    let session = socket_id(&lines(&ask(&relay, "userid=9"))[0]);
    let events = |language: &str| {
        let answer = relay.admin(&format!("/api/session?socket_id={session}{language}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let events = answer.json()["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(events(""), [format!("session {session} logged in"), format!("session {session} joined room a")]);
    assert_eq!(events("&language=en"), events(""));
    assert_eq!(events("&language=zh"), [format!("会话 {session} 登录"), format!("会话 {session} 加入房间“a”")]);
    for path in ["/api/why?source=demo&userid=7".to_owned(), format!("/api/session?socket_id={session}")] {
        for language in ["de", "ZH", "zh-CN"] {
            let answer = relay.admin(&format!("{path}&language={language}"));
            let msg = answer.json()["msg"].as_str().unwrap().to_owned();
            assert_eq!((answer.status, &*msg), (400, "language must be en or zh"), "{path} {language}");
        }
    }
}

/// What a user is told about without naming a message.
fn about(relay: &Relay, query: &str) -> (Vec<String>, Vec<String>) {
    let data = ask(relay, query);
    let list = |name: &str| {
        data[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (list("verdicts"), list("advice"))
}

fn has(list: &[String], words: &str) {
    assert!(list.iter().any(|text| text.contains(words)), "no {words}: {list:#?}");
}

/// Opens a WebSocket of user 7 whose socket has a small receive buffer.
fn slow_client(relay: &Relay) -> Client {
    let stream = TcpStream::connect(relay.addr).unwrap();
    SockRef::from(&stream).set_recv_buffer_size(32_768).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::open(stream, &format!("/ws?{}", login(&user("7", "a")))).unwrap()
}

/// Publishes large messages until this is so. Returns the id of the last one.
fn flood(relay: &Relay, witness: &mut Client, is_done: impl Fn() -> bool) -> String {
    for _ in 0..5000 {
        relay.notify("a", &"x".repeat(20_000));
        let id = witness.json()["id"].as_str().unwrap().to_owned();
        if is_done() {
            return id;
        }
    }
    panic!("it never falls behind");
}

#[test]
fn who_falls_behind_and_catches_up() {
    let more = "[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\n[limits]\nunsent = 65536\n";
    let relay = Relay::start(more);
    let (mut witness, mut slow) = (relay.connect_with(&user("9", "a")), slow_client(&relay));
    let missed = flood(&relay, &mut witness, || relay.counter("fell_behind") > 0);
    assert!(verdict(&relay, &missed, "7").contains("it is behind and gets the message later"));
    let (verdicts, advice) = about(&relay, "userid=7");
    has(&verdicts, "; it is behind, and ");
    has(&verdicts, "it fell behind 1 time, the last at ");
    has(&advice, "limits.unsent");
    while slow.json()["id"] != *missed {}
    relay.notify("a", "live");
    slow.json();
    wait_for("the record", || lines(&ask(&relay, "userid=7")).last()?.ends_with(" has caught up").then_some(()));
    let told = verdict(&relay, &missed, "7");
    assert!(
        told.contains("it fell behind at ") && told.contains("and had got the message when it had caught up"),
        "{told}"
    );
}

#[test]
fn who_is_closed_as_a_slow_consumer() {
    let relay = Relay::start("[limits]\nunsent = 65536\n");
    let (mut witness, slow) = (relay.connect_with(&user("9", "a")), slow_client(&relay));
    let missed = flood(&relay, &mut witness, || relay.counter("slow_consumers") > 0);
    let warning = relay.wait_log("is closed as a slow consumer");
    assert!(
        warning.contains("user \"7\"") && warning.contains(" bytes wait for it") && warning.contains("rooms \"a\""),
        "{warning}"
    );
    drop(slow);
    wait_for("the end", || (relay.stat("/sessions") == 1).then_some(()));
    let told = verdict(&relay, &missed, "7");
    assert!(
        told.contains("it fell behind, and was closed as a slow consumer at ") && told.contains(" bytes behind; "),
        "{told}"
    );
    let (verdicts, advice) = about(&relay, "userid=7");
    has(&verdicts, "there is no session here: session ");
    has(&verdicts, "(closed with 1013: slow consumer)");
    has(&verdicts, "it was closed as a slow consumer 1 time");
    has(&advice, "why the client reads slowly");
}

#[test]
fn what_the_history_has_dropped() {
    let relay = Relay::start("[history]\ncount = 2\n");
    let mut witness = relay.connect_with(&user("9", "a"));
    let first = publish(&relay, &mut witness, "a");
    let missed = publish(&relay, &mut witness, "a");
    (0..3).for_each(|_| _ = publish(&relay, &mut witness, "a"));
    let since = [("room_ids", "a"), ("userid", "7"), ("since", &*first)];
    let mut client = relay.connect_with(&since);
    assert_eq!(client.json()["recovered"], false);
    let told = verdict(&relay, &missed, "7");
    // There was no session before: the login said what it has.
    assert_eq!(told, "the records show no session of the user at that time or before");
    let (verdicts, advice) = about(&relay, "userid=7&room_id=a");
    has(&verdicts, "it has not got messages that were not kept any more 1 time");
    has(&verdicts, "room a has 2 sessions here, and keeps messages");
    has(&advice, "raise count, age or bytes in [history]");
    let texts = lines(&ask(&relay, "userid=7"));
    has(&texts, "said what it has; 2 messages that it had missed");
    has(&texts, "has not got messages of room a, which were not kept any more");
    // With a session before, the answer is about the gap.
    leave(&relay, client, 1);
    let gone = publish(&relay, &mut witness, "a");
    (0..3).for_each(|_| _ = publish(&relay, &mut witness, "a"));
    let _client = relay.connect_with(&[("room_ids", "a"), ("userid", "7"), ("since", &*gone)]);
    let told = verdict(&relay, &gone, "7");
    assert!(told.contains("had ended at ") && told.ends_with("said what it has, from a later message"), "{told}");
}

#[test]
fn guests_are_found_by_their_session() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a"));
    let mut client = relay.connect("a");
    let online = relay.admin("/api/online?source=demo").json();
    let text = online.to_string();
    let ids: Vec<&str> = text
        .match_indices("\"socket_id\":\"")
        .map(|(at, mark)| {
            let rest = &text[at + mark.len()..];
            &rest[..rest.find('"').unwrap()]
        })
        .collect();
    let id = publish(&relay, &mut witness, "a");
    client.json();
    let told: Vec<_> = ids.iter().map(|socket_id| about(&relay, &format!("id={id}&socket_id={socket_id}")).0).collect();
    assert_eq!(ids.len(), 2);
    for (socket_id, told) in ids.iter().zip(&told) {
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with(&format!("session {socket_id} was in the room: it was sent the message")),
            "{told:?}"
        );
    }
    leave(&relay, client, 1);
    let ended = ids.iter().filter(|socket_id| {
        let (verdicts, _) = about(&relay, &format!("socket_id={socket_id}"));
        verdicts[0].starts_with(&format!("there is no session here: session {socket_id} ended at "))
    });
    assert_eq!(ended.count(), 1);
}

#[test]
fn what_was_refused() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\n");
    let mut client = relay.connect_with(&user("7", "a"));
    wait_for("refusals", || {
        client.send("{\"event\":\"postMsg\",\"room_id\":\"a\",\"data\":1,\"ack\":1}");
        (relay.counter("rate_limited") > 5).then_some(())
    });
    for _ in 0..3 {
        relay.post_form(&[("source", "demo"), ("room_id", "a"), ("data", "x"), ("sign", "wrong")]);
    }
    relay.post_form(&[("source", "nobody"), ("room_id", "a"), ("data", "x"), ("sign", "wrong")]);
    let (verdicts, advice) = about(&relay, "userid=7");
    has(&verdicts, "what it sent was refused ");
    has(&verdicts, "4 publications were refused, the last at ");
    has(&advice, "limits.message_rate");
    has(&advice, "code is 0, and msg says why");
    let texts = lines(&ask(&relay, "room_id=a"));
    has(&texts, "a publication to room a was refused 3 times");
    has(&texts, "a publication of a source that is not known to room a was refused");
    assert!(lines(&ask(&relay, "room_id=b")).is_empty());
    let sign = notify_sign("demo", "b", "x", KEY);
    for _ in 0..2 {
        let fields = [("source", "demo"), ("room_id", "b"), ("data", "x"), ("sign", &*sign), ("idempotency_key", "k")];
        assert!(relay.post_form(&fields).body.contains("\"code\":1"));
    }
    let (verdicts, advice) = about(&relay, "room_id=b");
    has(&verdicts, "room b has 0 sessions here, and keeps no messages");
    has(&verdicts, "1 publications repeated earlier ones, and were not published again, the last at ");
    has(&advice, "an idempotency_key of its own");
}

#[test]
fn what_operators_did() {
    let relay = Relay::start("");
    let mut client = relay.connect_with(&user("7", "a"));
    assert_eq!(relay.post_json(&format!("/api/refresh?token={TOKEN}&source=demo&room_id=a"), "").status, 200);
    client.json();
    assert_eq!(relay.post_json(&format!("/api/disconnect?token={TOKEN}"), "{\"userid\":\"7\"}").status, 200);
    client.close_code();
    wait_for("the end", || (relay.stat("/sessions") == 0).then_some(()));
    let texts = lines(&ask(&relay, "userid=7&room_id=a"));
    has(&texts, "an operator has loaded the pages of room a again: 1 session");
    has(&texts, "was to be ended: an operator, with POST /api/disconnect");
    let (verdicts, advice) = about(&relay, "userid=7");
    has(&verdicts, ": an operator, with POST /api/disconnect)");
    has(&advice, "ask who sends POST /api/disconnect");
}

#[test]
fn messages_between_relays() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut member = relays[1].connect_with(&user("7", "a"));
    relays[0].notify("a", "x");
    let id = member.json()["id"].as_str().unwrap().to_owned();
    let node = relays[0].admin("/api/stats").json()["node"].as_str().unwrap().to_owned();
    let told = verdicts(&relays[1], &id, "7");
    assert_eq!((told.len(), &*told[0]), (2, &*format!("the message came from relay {node}")));
    has(&lines(&ask(&relays[1], &format!("id={id}"))), &format!("published by relay {node} to another room"));
    has(
        &lines(&ask(&relays[0], &format!("id={id}"))),
        "published to another room, which keeps nothing: sent to 0 sessions",
    );
}

#[test]
fn the_command_prints_it() {
    let relay = Relay::start("");
    let mut witness = relay.connect_with(&user("9", "a"));
    let id = publish(&relay, &mut witness, "a");
    let run = |args: &[&str]| {
        let url = format!("http://{}", relay.addr);
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        let done =
            command.arg("why").args(args).args(["--url", &url, "--token", TOKEN, "--source", "demo"]).output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, out, _) = run(&[&id, "--userid", "7"]);
    assert_eq!(code, Some(0));
    let found: Vec<&str> = out.lines().collect();
    let published = format!(" published to another room, which keeps nothing: sent to 1 session (id {id})");
    assert!(found[0].ends_with(&published), "{out}");
    assert_eq!(found[1..], ["=> the records show no session of the user at that time or before"]);
    let (_, out, _) = run(&["--room", "a\u{1b}[31m"]);
    assert!(out.starts_with("=> room a\\u{1b}[31m has 0 sessions here, and keeps no messages"), "{out}");
    assert!(out.contains("\n-> let the room keep messages"), "{out}");
    let (code, out, _) = run(&["--userid", "9"]);
    let socket_id = out.split_whitespace().nth(2).unwrap();
    let (_, again, _) = run(&["--session", socket_id]);
    assert_eq!((code, again), (Some(0), out.clone()));
    let (code, out, error) = run(&["no id"]);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(error.contains("\"no id\" is not the id of a message"), "{error}");
    assert!(!error.contains(KEY) && !error.contains(TOKEN));
    let (code, _, error) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("missing question"), "{error}");
}
