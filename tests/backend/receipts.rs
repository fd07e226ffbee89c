//! docs/protocol.md, Receipts: who gets a notification, and who has it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{
    Client, FORM, KEY, Relay, TOKEN,
    engineio::{Polling, websocket},
    form, login, notify_sign, plain, read_answer,
    redis::{Redis, wait_until},
    send_request, wait_for,
};

/// Posts a notification with a signature and these fields more.
fn post(relay: &Relay, room_id: &str, more: &[(&str, &str)]) -> Value {
    relay.post_form(&fields(room_id, "hello", more)).json()
}

fn fields<'a>(room_id: &'a str, data: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let sign: &'static str = notify_sign("demo", room_id, data, KEY).leak();
    [("source", "demo"), ("room_id", room_id), ("data", data), ("sign", sign)].iter().chain(more).copied().collect()
}

/// Posts a notification, which must be accepted, and returns its receipt.
fn receipt(relay: &Relay, room_id: &str, more: &[(&str, &str)]) -> Value {
    let answer = post(relay, room_id, more);
    assert_eq!((&answer["code"], &answer["msg"]), (&json!(1), &json!("message notify successed!")), "{answer}");
    answer["data"].clone()
}

/// Sends a notification that waits for its clients. Its receipt is open when this returns.
fn begin(relay: &Relay, room_id: &str, ms: &str) -> TcpStream {
    let before = relay.metric("relay_receipts_open");
    let mut stream = relay.tcp();
    let body = form(&fields(room_id, "hello", &[("receipt", "1"), ("wait", "acked"), ("ms", ms)]));
    send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    wait_open(relay, before + 1);
    stream
}

fn wait_open(relay: &Relay, count: u64) {
    wait_until(count, || relay.metric("relay_receipts_open"));
}

/// The receipt that answers a notification.
fn end(stream: &mut TcpStream) -> Value {
    let answer = read_answer(stream, false).json();
    assert_eq!(answer["code"], 1, "{answer}");
    answer["data"].clone()
}

/// The longest time that a notification may wait: it is over earlier in all tests but those of the time.
const LONG: &str = "10000";

/// Reads a message, and the ping after it, which tungstenite answers.
fn read(client: &mut Client) {
    assert_eq!(client.data(), "hello");
    answer_pings(client);
}

/// Answers the pings that have come: their answers are sent when this returns.
fn answer_pings(client: &mut Client) {
    client.socket.send(Message::Ping("last".into())).unwrap();
    while client.socket.read().unwrap() != Message::Pong("last".into()) {}
}

fn user(relay: &Relay, room_ids: &str, userid: &str) -> Client {
    relay.connect_with(&[("room_ids", room_ids), ("userid", userid)])
}

#[test]
fn who_gets_a_message() {
    let relay = Relay::start("");
    let _members = [user(&relay, "a,b", "9"), user(&relay, "a", "7"), user(&relay, "a", "7"), user(&relay, "a", "")];
    let given = receipt(&relay, "a,b,rome", &[("receipt", "1")]);
    assert!(given["id"].as_str().unwrap().len() > 10, "{given}");
    assert_eq!(given["complete"], true);
    let nobody = json!({"room_id": "rome", "sessions": 0, "users": [], "guests": 0, "away": [], "kept": false});
    assert_eq!(
        given["rooms"],
        json!([
            {"room_id": "a", "sessions": 4, "users": ["7", "9"], "guests": 1, "away": [], "kept": false},
            {"room_id": "b", "sessions": 1, "users": ["9"], "guests": 0, "away": [], "kept": false},
            nobody,
        ])
    );
    assert!(given.get("acked").is_none(), "{given}");
    let given = receipt(&relay, "a,rome", &[("receipt", "count")]);
    assert_eq!(
        given["rooms"],
        json!([
            {"room_id": "a", "sessions": 4, "guests": 1, "kept": false},
            {"room_id": "rome", "sessions": 0, "guests": 0, "kept": false},
        ])
    );
    for more in [&[][..], &[("receipt", "")], &[("receipt", "0")]] {
        assert_eq!(receipt(&relay, "a", more), "", "{more:?}");
    }
    let counted = ["receipts_asked", "receipts_complete", "receipts_incomplete"].map(|name| relay.counter(name));
    assert_eq!(counted, [2, 2, 0]);
    assert_eq!(relay.metric("relay_receipts_open"), 0);
}

#[test]
fn json_and_batches() {
    let relay = Relay::start("");
    let _member = user(&relay, "a", "7");
    let item = |room: &str, more: &[(&str, Value)]| {
        let mut item = json!({"source": "demo", "room_id": room, "data": "hello",
            "sign": notify_sign("demo", room, "hello", KEY)});
        more.iter().for_each(|(name, value)| item[*name] = value.clone());
        item
    };
    let single = item("a", &[("receipt", json!(1))]).to_string();
    let answer = relay.post_json("/api/notify", &single).json();
    assert_eq!(answer["data"]["rooms"][0]["users"], json!(["7"]), "{answer}");
    let items = [
        item("a", &[("receipt", json!("1"))]),
        item("a", &[]),
        item("rome", &[("receipt", json!("count"))]),
        item("a", &[("receipt", json!("2"))]),
        item("rome", &[("wait", json!("acked")), ("ms", json!(10_000))]),
    ];
    let answer = relay.post_json("/api/notify/batch", &json!({ "messages": items }).to_string()).json();
    assert_eq!(answer["msg"], "1 of 5 messages refused", "{answer}");
    let results = answer["data"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(results[0]["data"]["rooms"][0]["sessions"], 1);
    assert_eq!(results[1], json!({"code": 1, "msg": "message notify successed!", "data": ""}));
    assert_eq!(results[2]["data"]["rooms"], json!([{"room_id": "rome", "sessions": 0, "guests": 0, "kept": false}]));
    assert_eq!(results[3]["msg"], "receipt must be 1 or count!");
    assert_eq!(results[4]["data"]["acked"], 0);
    assert_eq!(results[4]["data"]["rooms"][0]["users"], json!([]));
}

/// Each item of a batch is in its place, whenever its receipt is done.
#[test]
fn a_batch_is_answered_when_the_last_receipt_is_done() {
    let relay = Relay::start("");
    let [mut first, mut second] = ["7", "8"].map(|userid| user(&relay, &format!("room-{userid}"), userid));
    let item = |room: &str, more: Value| {
        let mut item = json!({"source": "demo", "room_id": room, "data": "hello",
            "sign": notify_sign("demo", room, "hello", KEY)});
        more.as_object().unwrap().iter().for_each(|(name, value)| item[name] = value.clone());
        item
    };
    let waits = json!({"wait": "acked", "ms": LONG});
    let items = [item("room-7", waits.clone()), item("room-7", json!({})), item("room-8", waits)];
    let body = json!({ "messages": items }).to_string();
    let mut stream = relay.tcp();
    send_request(&mut stream, "POST", "/api/notify/batch", &[("Content-Type", "application/json")], body.as_bytes());
    wait_open(&relay, 2);
    read(&mut second);
    wait_open(&relay, 1);
    assert_eq!(first.data(), "hello");
    read(&mut first);
    let answer = read_answer(&mut stream, false).json();
    assert_eq!((&answer["code"], answer["data"].as_array().unwrap().len()), (&json!(1), 3), "{answer}");
    assert_eq!(answer["data"][0]["data"]["acked_users"], json!(["7"]));
    assert_eq!(answer["data"][1]["data"], "");
    assert_eq!(answer["data"][2]["data"]["acked_users"], json!(["8"]));
}

#[test]
fn kept_messages() {
    let relay = Relay::start("[history]\ncount = 5\nbytes = 1024\nrooms = [{ room = \"never\", count = 0 }]\n");
    let given = receipt(&relay, "always,never,always", &[("receipt", "1")]);
    let kept: Vec<&Value> = given["rooms"].as_array().unwrap().iter().map(|room| &room["kept"]).collect();
    assert_eq!(kept, [true, false, true]);
    let large = "x".repeat(2000);
    let fields = fields("always", &large, &[("receipt", "count")]);
    assert_eq!(relay.post_form(&fields).json()["data"]["rooms"][0]["kept"], false, "it is too large");
}

#[test]
fn users_who_are_away() {
    let relay = Relay::start("[history]\ncount = 5\n[recovery]\nwindow = 120\n");
    let mut lost = user(&relay, "a", "1305");
    let _here = user(&relay, "a", "7");
    assert_eq!(receipt(&relay, "a", &[("receipt", "1")])["rooms"][0]["sessions"], 2);
    read(&mut lost);
    drop(lost.socket.get_mut().shutdown(std::net::Shutdown::Both));
    drop(lost);
    wait_until(1, || relay.stat("/sessions"));
    let room = receipt(&relay, "a", &[("receipt", "1")])["rooms"][0].clone();
    let expected = json!({"room_id": "a", "sessions": 1, "users": ["7"], "guests": 0, "away": ["1305"], "kept": true});
    assert_eq!(room, expected);
}

#[test]
fn what_is_refused() {
    let relay = Relay::start("");
    let mut member = relay.connect("a");
    for (more, text) in [
        (&[("receipt", "yes")][..], "receipt must be 1 or count!"),
        (&[("wait", "read")], "wait must be acked!"),
        (&[("receipt", "1"), ("ms", "800")], "wait must be acked!"),
        (&[("wait", "acked"), ("ms", "0")], "ms must be a whole number from 1 to 10000!"),
        (&[("wait", "acked"), ("ms", "10001")], "ms must be a whole number from 1 to 10000!"),
    ] {
        assert_eq!(post(&relay, "a", more), json!({"code": 0, "msg": text, "data": ""}), "{more:?}");
    }
    let rooms = vec!["a"; 101].join(",");
    let answer = post(&relay, &rooms, &[("receipt", "1")]);
    assert_eq!(answer["msg"], "a receipt can not have more than 100 rooms!");
    let wrong = [("source", "demo"), ("room_id", "a"), ("data", "x"), ("sign", "0"), ("receipt", "1")];
    let answer = plain(&relay.post_form(&wrong).body);
    assert_eq!(answer, r#"{"code":0,"msg":"api notify sign verify failed!","data":""}"#);
    let twice = fields("a", "x", &[("receipt", "1"), ("receipt", "1")]);
    assert_eq!(relay.post_form(&twice).status, 400);
    relay.notify("a", "nothing was sent");
    assert_eq!(member.data(), "nothing was sent");
    assert_eq!(relay.counter("receipts_asked"), 0);
}

#[test]
fn names_beyond_1000_are_counted() {
    let relay = Relay::start("[limits]\nper_address = 0\n[socketio]\nping_interval = 300\nping_timeout = 300\n");
    for number in 0..1003 {
        let (session, _) = Polling::open(
            &relay,
            &format!("EIO=4&{}", login(&[("room_ids", "a"), ("userid", &format!("u{number:04}"))])),
        );
        session.post(&["40"]);
    }
    let given = receipt(&relay, "a", &[("receipt", "1")]);
    let room = &given["rooms"][0];
    assert_eq!((&room["sessions"], &room["more"], &given["complete"]), (&json!(1003), &json!(3), &json!(true)));
    let users = room["users"].as_array().unwrap();
    assert_eq!((users.len(), &users[0], &users[999]), (1000, &json!("u0000"), &json!("u0999")));
}

#[test]
fn clients_with_a_websocket_answer_a_ping() {
    let relay = Relay::start("");
    let mut reader = user(&relay, "a", "7");
    let silent = user(&relay, "a", "9");
    let mut stream = begin(&relay, "a", LONG);
    read(&mut reader);
    relay.fence();
    assert_eq!(relay.metric("relay_receipts_open"), 1, "one has not read");
    // It is not waited for any longer.
    drop(silent);
    let given = end(&mut stream);
    assert_eq!((&given["acked"], &given["acked_users"], &given["complete"]), (&json!(1), &json!(["7"]), &json!(true)));
    assert_eq!(given["rooms"][0]["users"], json!(["7", "9"]));
    // The connection goes on.
    let body = form(&fields("a", "hello", &[("receipt", "count"), ("wait", "acked"), ("ms", LONG)]));
    send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
    read(&mut reader);
    let given = end(&mut stream);
    assert_eq!((&given["acked"], given.get("acked_users")), (&json!(1), None));
}

#[test]
fn a_client_that_does_not_read_is_not_acked_in_time() {
    let relay = Relay::start("");
    let _silent = user(&relay, "a", "9");
    let begun = Instant::now();
    let given = receipt(&relay, "a", &[("receipt", "1"), ("wait", "acked"), ("ms", "300")]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((&given["acked"], &given["acked_users"], &given["complete"]), (&json!(0), &json!([]), &json!(true)));
    assert_eq!(given["rooms"][0]["sessions"], 1);
    assert_eq!((relay.metric("relay_receipts_open"), relay.counter("receipts_complete")), (0, 1));
}

#[test]
fn a_session_in_several_rooms_counts_once() {
    let relay = Relay::start("");
    let mut member = user(&relay, "a,b", "7");
    let mut stream = begin(&relay, "a,b", LONG);
    assert_eq!(member.data(), "hello");
    read(&mut member);
    let given = end(&mut stream);
    assert_eq!(
        (&given["acked"], &given["rooms"][0]["sessions"], &given["rooms"][1]["sessions"]),
        (&json!(1), &json!(1), &json!(1))
    );
}

#[test]
fn socketio_over_polling_and_over_a_websocket() {
    let relay = Relay::start("");
    let query = format!("EIO=4&{}", login(&[("room_ids", "a"), ("userid", "7")]));
    let (session, _) = Polling::open(&relay, &query);
    session.post(&["40"]);
    assert!(session.poll()[0].starts_with("40"));
    let mut poll = session.begin_poll();
    let mut stream = begin(&relay, "a", LONG);
    let packets = session.end_poll(&mut poll);
    assert!(packets[0].starts_with("42[\"newMsg\""), "{packets:?}");
    relay.fence();
    assert_eq!(relay.metric("relay_receipts_open"), 1, "the next poll shows that the client has it");
    let _poll = session.begin_poll();
    let given = end(&mut stream);
    assert_eq!((&given["acked"], &given["acked_users"]), (&json!(1), &json!(["7"])));

    let query = format!("EIO=4&{}", login(&[("room_ids", "b"), ("userid", "8")]));
    let (mut socket, _) = websocket(&relay, &query);
    socket.send("40");
    assert!(socket.text().starts_with("40"));
    let mut stream = begin(&relay, "b", LONG);
    assert!(socket.text().starts_with("42[\"newMsg\""));
    answer_pings(&mut socket);
    assert_eq!(end(&mut stream)["acked_users"], json!(["8"]));
}

/// A client that polled when the message came, and then got a WebSocket.
#[test]
fn an_upgrade_meanwhile() {
    let relay = Relay::start("");
    let query = format!("EIO=4&{}", login(&[("room_ids", "a"), ("userid", "7")]));
    let (session, _) = Polling::open(&relay, &query);
    session.post(&["40"]);
    assert!(session.poll()[0].starts_with("40"));
    let mut stream = begin(&relay, "a", LONG);
    let mut socket = session.upgrade();
    assert!(socket.text().starts_with("42[\"newMsg\""));
    relay.fence();
    assert_eq!(relay.metric("relay_receipts_open"), 1);
    // It is pinged now. tungstenite answers while it is read.
    let reader = thread::spawn(move || while socket.socket.read().is_ok() {});
    assert_eq!(end(&mut stream)["acked_users"], json!(["7"]));
    drop(relay);
    reader.join().unwrap();
}

#[test]
fn streams_are_known_by_tcp() {
    let relay = Relay::start("");
    let mut socket = relay.tcp();
    let target = format!("/sse?{}", login(&[("room_ids", "a"), ("userid", "7")]));
    send_request(&mut socket, "GET", &target, &[], b"");
    assert_eq!(read_answer(&mut socket, false).status, 200);
    let given = receipt(&relay, "a", &[("wait", "acked"), ("ms", LONG)]);
    assert_eq!((&given["acked"], &given["acked_users"]), (&json!(1), &json!(["7"])));
    let mut lines = BufReader::new(socket).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"hello\"")));
}

/// The kernel of a peer that has stopped reading confirms until its buffer is full.
#[test]
fn a_stream_that_is_stuck_is_not_acked() {
    let relay = Relay::start("[limits]\nunsent = 67108864\n");
    let mut socket = relay.tcp();
    let target = format!("/sse?{}", login(&[("room_ids", "a"), ("userid", "7")]));
    send_request(&mut socket, "GET", &target, &[], b"");
    assert_eq!(read_answer(&mut socket, false).status, 200);
    let large = "x".repeat(500_000);
    let fields = fields("a", &large, &[("receipt", "count"), ("wait", "acked"), ("ms", "200")]);
    let acked = wait_for("a full buffer", || {
        let given = relay.post_form(&fields).json();
        (given["data"]["acked"] == 0).then_some(given)
    });
    assert_eq!(acked["data"]["rooms"][0]["sessions"], 1, "{acked}");
}

#[test]
fn a_backend_that_goes_away_frees_its_receipts() {
    let relay = Relay::start("");
    let mut silent = user(&relay, "a", "9");
    let stream = begin(&relay, "a", LONG);
    drop(stream);
    wait_open(&relay, 0);
    let counted = ["receipts_asked", "receipts_complete", "receipts_incomplete"].map(|name| relay.counter(name));
    assert_eq!(counted, [1, 0, 0]);
    read(&mut silent);
    // And what it waited for is forgotten.
    let mut stream = begin(&relay, "a", LONG);
    read(&mut silent);
    assert_eq!(end(&mut stream)["acked"], 1);
}

#[test]
fn a_repeated_request_gets_the_same_receipt() {
    let relay = Relay::start("");
    let mut member = user(&relay, "a", "7");
    let fields = fields("a", "hello", &[("receipt", "1"), ("idempotency_key", "k1")]);
    let first = relay.post_form(&fields).body;
    let _other = user(&relay, "a", "8");
    assert_eq!(relay.post_form(&fields).body, first);
    assert!(first.contains("\"users\":[\"7\"]"), "{first}");
    read(&mut member);
    // A receipt that was waited for is remembered as it was in the end.
    let sign = notify_sign("demo", "b", "hello", KEY);
    let waits = [
        ("source", "demo"),
        ("room_id", "b"),
        ("data", "hello"),
        ("sign", &*sign),
        ("wait", "acked"),
        ("ms", LONG),
        ("idempotency_key", "k2"),
    ];
    let mut reader = user(&relay, "b", "7");
    let mut stream = relay.tcp();
    send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], form(&waits).as_bytes());
    read(&mut reader);
    let given = end(&mut stream);
    assert_eq!(given["acked"], 1);
    assert_eq!(relay.post_form(&waits).json()["data"], given);
    // Of one that nobody has waited for, what was known at once.
    let mut abandoned = waits;
    abandoned[6].1 = "k3";
    let mut stream = relay.tcp();
    send_request(&mut stream, "POST", "/api/notify", &[("Content-Type", FORM)], form(&abandoned).as_bytes());
    wait_open(&relay, 1);
    let meanwhile = relay.post_form(&abandoned).json();
    assert_eq!((&meanwhile["data"]["acked"], &meanwhile["data"]["rooms"][0]["sessions"]), (&json!(0), &json!(1)));
    drop(stream);
    wait_open(&relay, 0);
    assert_eq!(relay.post_form(&abandoned).json(), meanwhile);
    assert_eq!(relay.counter("receipts_asked"), 3);
    read(&mut reader);
    relay.notify("b", "once");
    assert_eq!(reader.data(), "once");
}

#[test]
fn a_reload_ends_the_wait_for_sessions_that_it_ends() {
    let relay = Relay::start("");
    let _silent = user(&relay, "a", "9");
    let mut stream = begin(&relay, "a", LONG);
    relay.signal(1);
    relay.wait_log("configuration re-read");
    assert_eq!(relay.metric("relay_receipts_open"), 1, "nothing has changed");
    let text = fs::read_to_string(&relay.config).unwrap();
    fs::write(&relay.config, text.replace("[sources.demo]", "[sources.renamed]")).unwrap();
    relay.signal(1);
    let given = end(&mut stream);
    assert_eq!((&given["acked"], &given["rooms"][0]["sessions"]), (&json!(0), &json!(1)));
}

#[test]
fn a_shutdown_answers_what_is_known() {
    let mut relay = Relay::start("");
    let mut reader = user(&relay, "a", "7");
    let _silent = user(&relay, "a", "9");
    let mut stream = begin(&relay, "a", LONG);
    read(&mut reader);
    relay.fence();
    relay.signal(15);
    let given = end(&mut stream);
    assert_eq!((&given["acked"], &given["acked_users"]), (&json!(1), &json!(["7"])));
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "the connection ends");
    drop(reader);
    assert_eq!(relay.wait(), 0);
}

#[test]
fn several_relays_count_together() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("[history]\ncount = 5\n");
    let mut here = user(&relays[0], "a", "7");
    let mut there = [user(&relays[1], "a,b", "7"), user(&relays[1], "a", "8"), user(&relays[1], "a", "")];
    let given = receipt(&relays[0], "a,rome", &[("receipt", "1")]);
    assert_eq!(given["complete"], true, "{given}");
    assert_eq!(
        given["rooms"],
        json!([
            {"room_id": "a", "sessions": 4, "users": ["7", "8"], "guests": 1, "away": [], "kept": true},
            {"room_id": "rome", "sessions": 0, "users": [], "guests": 0, "away": [], "kept": true},
        ])
    );
    assert_eq!(
        receipt(&relays[0], "a", &[("receipt", "count")])["rooms"][0],
        json!({"room_id": "a", "sessions": 4, "guests": 1, "kept": true})
    );
    for client in [&mut here].into_iter().chain(&mut there) {
        assert_eq!([0; 2].map(|_| client.data()), ["hello", "hello"]);
    }
    let mut stream = begin(&relays[0], "a", LONG);
    wait_open(&relays[1], 1);
    for client in [&mut here].into_iter().chain(&mut there) {
        read(client);
    }
    let given = end(&mut stream);
    assert_eq!(
        (&given["acked"], &given["acked_users"], &given["complete"]),
        (&json!(4), &json!(["7", "8"]), &json!(true))
    );
    wait_open(&relays[1], 0);
    // The other relay says in time who has it.
    let given = receipt(&relays[0], "b", &[("wait", "acked"), ("ms", "300")]);
    assert_eq!(
        (&given["acked"], &given["rooms"][0]["sessions"], &given["complete"]),
        (&json!(0), &json!(1), &json!(true))
    );
    let counted = relays.each_ref().map(|relay| (relay.counter("receipts_asked"), relay.counter("redis_refused")));
    assert_eq!(counted, [(4, 0), (0, 0)]);
}

#[test]
fn a_relay_that_does_not_answer_makes_a_receipt_incomplete() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let _here = user(&relays[0], "a", "7");
    let mut there = user(&relays[1], "a", "8");
    relays[1].signal(19);
    let given = receipt(&relays[0], "a", &[("receipt", "1")]);
    assert_eq!((&given["complete"], &given["rooms"][0]["users"]), (&json!(false), &json!(["7"])), "{given}");
    relays[1].signal(18);
    assert_eq!(there.data(), "hello");
    wait_until(json!(["7", "8"]), || receipt(&relays[0], "a", &[("receipt", "1")])["rooms"][0]["users"].clone());
    // A relay of an earlier version ignores the question.
    redis.ask(&["PUBLISH", "xin_common_chat:relay", r#"{"do":"hello","last":0,"node":"older1"}"#]);
    wait_until(false, || receipt(&relays[0], "a", &[("receipt", "1")])["complete"] == true);
    assert!(relays[0].counter("receipts_incomplete") >= 2);
}

#[test]
fn a_receipt_without_redis_is_incomplete() {
    let mut redis = Redis::start();
    let relay = redis.relay("");
    let _member = user(&relay, "a", "7");
    assert_eq!(receipt(&relay, "a", &[("receipt", "1")])["complete"], true);
    redis.kill();
    wait_until("failing".to_owned(), || relay.get("/healthz").json()["redis"]["status"].as_str().unwrap().to_owned());
    let given = receipt(&relay, "a", &[("receipt", "1")]);
    assert_eq!((&given["complete"], &given["rooms"][0]["users"]), (&json!(false), &json!(["7"])));
}

#[test]
fn at_most_1000_receipts_are_open() {
    let relay = Relay::start("");
    let mut silent = user(&relay, "a", "9");
    let sign = notify_sign("demo", "a", "hello", KEY);
    let item = json!({"source": "demo", "room_id": "a", "data": "hello", "sign": sign, "wait": "acked", "ms": LONG});
    let body = json!({"messages": vec![item; 1001]}).to_string();
    let mut stream = relay.tcp();
    send_request(&mut stream, "POST", "/api/notify/batch", &[("Content-Type", "application/json")], body.as_bytes());
    wait_open(&relay, 1000);
    (0..1000).for_each(|_| assert_eq!(silent.data(), "hello"));
    read(&mut silent);
    let answer = read_answer(&mut stream, false).json();
    let last = &answer["data"][1000]["data"];
    assert_eq!((&last["complete"], last.get("acked"), &last["rooms"][0]["sessions"]), (&json!(false), None, &json!(1)));
    let all = answer["data"].as_array().unwrap();
    assert!(all[..1000].iter().all(|result| result["data"]["acked"] == 1), "{}", all[0]);
    assert_eq!(relay.metric("relay_receipts_open"), 0);
}

/// A page may wait for a receipt, too.
#[test]
fn pages_of_configured_origins_may_read_the_answer() {
    let relay = Relay::start("");
    let mut reader = user(&relay, "a", "7");
    let body = form(&fields("a", "hello", &[("wait", "acked"), ("ms", LONG)]));
    let mut stream = relay.tcp();
    let token = format!("Bearer {TOKEN}");
    let headers = [("Content-Type", FORM), ("Origin", "https://page"), ("Authorization", &*token)];
    send_request(&mut stream, "POST", "/api/notify", &headers, body.as_bytes());
    read(&mut reader);
    let answer = read_answer(&mut stream, false);
    let at_once = relay.request("POST", "/api/notify", &headers, b"");
    assert_eq!(answer.header("access-control-allow-origin"), at_once.header("access-control-allow-origin"));
    assert_eq!(answer.header("vary"), at_once.header("vary"));
}
