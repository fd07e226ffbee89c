//! docs/protocol.md, Recovery: what clients get that say where they were, last values, and clients that are behind.

use std::{net::TcpStream, time::Duration};

use serde_json::{Value, json};
use socket2::SockRef;
use tungstenite::Message;

use crate::support::{self, Client, PATIENCE, Relay, login, wait_for};

const HISTORY: &str = "[history]\ncount = 100\n";

/// The event `recovery`, which must come next, and its id.
fn recovery(client: &mut Client) -> (Value, String) {
    let mut event = client.json();
    assert_eq!(event["event"], "recovery", "{event}");
    let id = event["id"].as_str().expect("an id").to_owned();
    event.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "id" | "event"));
    (event, id)
}

/// The next message: its data and its id.
fn message(client: &mut Client) -> (Value, String) {
    let message = client.json();
    assert_eq!(message["event"], "newMsg", "{message}");
    (message["data"].clone(), message["id"].as_str().unwrap().to_owned())
}

fn data(client: &mut Client, count: usize) -> Vec<Value> {
    (0..count).map(|_| client.data()).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<Value> {
    range.map(|number| number.to_string().into()).collect()
}

fn since(relay: &Relay, rooms: &str, since: &str) -> Client {
    relay.connect_with(&[("room_ids", rooms), ("since", since)])
}

#[test]
fn a_client_gets_what_it_has_missed_once_and_in_order() {
    let relay = Relay::start(HISTORY);
    let mut first = since(&relay, "a,b", "");
    let (event, begin) = recovery(&mut first);
    assert_eq!(event, json!({ "recovered": true, "missed": 0 }));
    relay.notify("a", "0");
    let (_, id) = message(&mut first);
    drop(first);
    for number in 1..10 {
        relay.notify(if number % 3 == 0 { "b" } else { "a" }, &number.to_string());
    }
    relay.notify("c", "of another room");
    // One publication to both rooms is a message in each.
    relay.notify("a,b", "10");
    for (position, from, later) in [(&*id, 1, 0), (&begin, 0, 1)] {
        let mut again = since(&relay, "a,b", position);
        let missed = 12 - from + later;
        let (event, at) = recovery(&mut again);
        assert_eq!(event, json!({ "recovered": true, "missed": missed }));
        assert!(*at <= *position, "a client that is cut here goes on from the same place: {at} {position}");
        let mut expected = numbers(from..11);
        expected.push("10".into());
        expected.extend((0..later).map(|_| "live".into()));
        assert_eq!(data(&mut again, missed as usize), expected);
        relay.notify("b", "live");
        assert_eq!(again.data(), "live");
    }
    // The part of the publication that came first is enough to get the other.
    let mut both = since(&relay, "a,b", "all");
    recovery(&mut both);
    let ids: Vec<String> = (0..12).map(|_| message(&mut both).1).collect();
    assert!(ids[11].ends_with(".1") && ids[11].starts_with(&*ids[10]), "{ids:?}");
    let mut half = since(&relay, "a,b", &ids[10]);
    assert_eq!(recovery(&mut half).0["missed"], 3);
    assert_eq!(message(&mut half).1, ids[11]);
}

#[test]
fn times_and_all() {
    let relay = Relay::start(HISTORY);
    (0..3).for_each(|number| relay.notify("room", &number.to_string()));
    for text in ["all", "30s", "30", "2m", "1h"] {
        let mut client = since(&relay, "room", text);
        let (event, _) = recovery(&mut client);
        // What was published before relay started is not known.
        let expected = match text {
            "all" => json!({ "recovered": true, "missed": 3 }),
            _ => json!({ "recovered": false, "rooms": ["room"], "missed": 3 }),
        };
        assert_eq!(event, expected, "{text}");
        assert_eq!(data(&mut client, 3), numbers(0..3));
    }
    let mut now = since(&relay, "room", "0");
    assert_eq!(recovery(&mut now).0, json!({ "recovered": true, "missed": 0 }));
    let refused = relay.refused(&login(&[("since", "yesterday")]));
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.json()["msg"].as_str().unwrap().contains("since must be the id of a message"), "{refused:?}");
}

/// A client that is cut off before it has had a message goes on from the id of `recovery`.
#[test]
fn after_since_all_a_client_can_go_on_without_a_message() {
    let relay = Relay::start(HISTORY);
    relay.notify("other", "x");
    let whole = |missed: u32| json!({ "recovered": true, "missed": missed });
    let mut begin = String::from("all");
    for _ in 0..3 {
        let (event, id) = recovery(&mut since(&relay, "a,b", &begin));
        assert_eq!(event, whole(0), "nothing was published since {begin}");
        begin = id;
    }
    relay.notify("a", "0");
    relay.notify("b", "1");
    let (event, before) = recovery(&mut since(&relay, "a,b", "all"));
    assert_eq!(event, whole(2));
    relay.notify("b", "2");
    for position in [begin, before] {
        let mut again = since(&relay, "a,b", &position);
        assert_eq!(recovery(&mut again).0, whole(3));
        assert_eq!(data(&mut again, 3), numbers(0..3));
    }
}

#[test]
fn a_gap_is_said() {
    let mut relay = Relay::start("[history]\ncount = 3\nrooms = [{ room = \"none\", count = 0 }]\n");
    let mut client = since(&relay, "a,b", "");
    let (_, begin) = recovery(&mut client);
    (0..5).for_each(|number| relay.notify("a", &number.to_string()));
    relay.notify("b", "5");
    let mut late = since(&relay, "a,b", &begin);
    assert_eq!(recovery(&mut late).0, json!({ "recovered": false, "rooms": ["a"], "missed": 4 }));
    assert_eq!(data(&mut late, 4), numbers(2..6));
    // A room that keeps nothing.
    relay.notify("none", "x");
    let mut none = since(&relay, "b,none", &begin);
    assert_eq!(recovery(&mut none).0, json!({ "recovered": false, "rooms": ["none"], "missed": 1 }));
    // An id of a relay that is gone.
    let (_, id) = recovery(&mut since(&relay, "a,b", ""));
    relay.signal(9);
    relay.wait();
    let relay = Relay::start(HISTORY);
    let mut after = since(&relay, "a,b", &id);
    assert_eq!(recovery(&mut after).0, json!({ "recovered": false, "rooms": ["a", "b"], "missed": 0 }));
    relay.notify("b", "6");
    assert_eq!(after.data(), "6");
    assert_eq!(relay.counter("recovery_gaps"), 1);
}

#[test]
fn without_history_nothing_is_recovered() {
    let relay = Relay::start("");
    let mut client = since(&relay, "room", "");
    let (event, id) = recovery(&mut client);
    assert_eq!(event, json!({ "recovered": true, "missed": 0 }));
    relay.notify("room", "x");
    assert_eq!(client.data(), "x");
    let mut again = since(&relay, "room", &id);
    assert_eq!(recovery(&mut again).0, json!({ "recovered": false, "rooms": ["room"], "missed": 0 }));
}

/// Whoever does not say `since` gets the same bytes as without history.
#[test]
fn other_clients_see_nothing_of_it() {
    let frames = [HISTORY, ""].map(|more| {
        let relay = Relay::start(more);
        relay.notify("room", "before");
        let (mut json, mut text) = (relay.connect("room"), relay.connect_with(&[("format", "text")]));
        relay.notify("room", "after");
        let mut message = json.json();
        assert!(message.as_object_mut().unwrap().remove("id").is_some());
        (message, text.text())
    });
    assert_eq!(frames[0], frames[1]);
}

#[test]
fn data_of_every_kind_is_repeated_as_it_was() {
    let relay = Relay::start(HISTORY);
    let mut live = since(&relay, "room", "");
    let (_, begin) = recovery(&mut live);
    let texts = ["", "ä\n\"中", r#"{"a" : 1.0}"#, "[1, 2]", "x".repeat(100_000).as_str()].map(str::to_owned);
    texts.iter().filter(|text| !text.is_empty()).for_each(|text| relay.notify("room", text));
    live.send(r#"{"event":"postMsg","data":{"_base64":"AAH/"},"room_ids":"room"}"#);
    let sent: Vec<Value> = (0..5).map(|_| live.json()).collect();
    let mut again = since(&relay, "room", &begin);
    assert_eq!(recovery(&mut again).0["missed"], 5);
    let repeated: Vec<Value> = (0..5).map(|_| again.json()).collect();
    assert_eq!(repeated, sent);
    let mut text = relay.connect_with(&[("format", "text"), ("since", &begin)]);
    assert_eq!(text.text(), texts[1]);
}

#[test]
fn last_values() {
    let relay =
        Relay::start("[history]\nlast = true\nage = 1\nrooms = [{ room = \"chat\", count = 9, last = false }]\n");
    ["price-1", "price-1", "price-2", "chat"]
        .iter()
        .enumerate()
        .for_each(|(number, room)| relay.notify(room, &number.to_string()));
    let mut client = relay.connect("price-1,price-2,chat");
    assert_eq!(data(&mut client, 2), numbers(1..3));
    relay.notify("chat", "live");
    assert_eq!(client.data(), "live");
    // Once, also for those that ask for more.
    let mut all = since(&relay, "price-1,price-2", "all");
    assert_eq!(recovery(&mut all).0["missed"], 2);
    assert_eq!(data(&mut all, 2), numbers(1..3));
    let mut first = since(&relay, "price-1", "");
    let (_, id) = recovery(&mut first);
    assert_eq!(first.data(), "1");
    let mut again = since(&relay, "price-1", &id);
    recovery(&mut again);
    relay.notify("price-1", "4");
    assert_eq!(again.data(), "4");
}

#[test]
fn socketio_clients_get_it_as_events() {
    let relay = Relay::start(HISTORY);
    (0..3).for_each(|number| relay.notify("room", &number.to_string()));
    let path = |more: &str| format!("/socket.io/?EIO=4&transport=websocket&{}{more}", login(&[]));
    let mut client = Client::open(relay.tcp(), &path("")).unwrap();
    assert!(client.text().starts_with('0'));
    client.send(r#"40{"since":"all"}"#);
    assert!(client.text().starts_with("40{\"sid\""));
    let recovery = client.text();
    assert!(recovery.starts_with(r#"42["recovery",{"recovered":true,"missed":3,"id":""#), "{recovery}");
    for number in 0..3 {
        let event = client.text();
        assert!(event.starts_with("42[\"newMsg\",") && event.contains(&format!("\"data\":\"{number}\"")), "{event}");
    }
    // Revision 3 has only the query.
    let mut old = Client::open(relay.tcp(), &path("&since=all").replace("EIO=4", "EIO=3")).unwrap();
    assert!(old.text().starts_with('0'));
    assert_eq!(old.text(), "40");
    let recovery = old.text();
    assert!(recovery.starts_with(r#"42["recovery",{"recovered":true,"missed":3"#), "{recovery}");
    assert!(old.text().contains("\"data\":\"0\""));
    // What is no position is one that relay does not know.
    let mut wrong = Client::open(relay.tcp(), &path("")).unwrap();
    wrong.text();
    wrong.send(r#"40{"since":{"a":1}}"#);
    wrong.text();
    assert!(wrong.text().contains(r#""recovered":false,"rooms":["room"],"missed":0"#));
}

/// Opens a WebSocket whose socket has a small receive buffer.
fn slow_client(relay: &Relay, query: &str) -> Client {
    let stream = TcpStream::connect(relay.addr).unwrap();
    SockRef::from(&stream).set_recv_buffer_size(32_768).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::open(stream, &format!("/ws?{query}")).unwrap()
}

/// A client that does not read for a while is not closed: it gets all messages from the history.
#[test]
fn a_slow_consumer_gets_everything_later() {
    let more = "[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\n[limits]\nunsent = 65536\n";
    let relay = Relay::start(more);
    let (mut slow, mut quick) = (slow_client(&relay, &login(&[])), relay.connect("room"));
    let padding = "x".repeat(20_000);
    let mut sent = 0;
    while relay.counter("fell_behind") == 0 || sent < 300 {
        assert!(sent < 5000, "it never falls behind");
        relay.notify("room", &format!("{sent} {padding}"));
        sent += 1;
        assert!(quick.data().as_str().unwrap().starts_with(&format!("{} ", sent - 1)));
    }
    for number in 0..sent {
        assert!(slow.data().as_str().unwrap().starts_with(&format!("{number} ")), "message {number} of {sent}");
    }
    relay.notify("room", "live");
    assert_eq!(slow.data(), "live");
    assert_eq!((relay.counter("slow_consumers"), relay.counter("recovery_gaps")), (0, 0));
    // It can fall behind again.
    assert!(relay.counter("replayed") > 0);
}

/// If the history has not kept enough, the client hears of it.
#[test]
fn a_slow_consumer_hears_of_a_gap() {
    let relay = Relay::start("[history]\ncount = 10\n[limits]\nunsent = 65536\n");
    let mut slow = slow_client(&relay, &login(&[]));
    let padding = "x".repeat(20_000);
    let mut sent = 0;
    while relay.counter("fell_behind") == 0 {
        relay.notify("room", &format!("{sent} {padding}"));
        sent += 1;
        assert!(sent < 5000, "it never falls behind");
    }
    for _ in 0..50 {
        relay.notify("room", &format!("{sent} {padding}"));
        sent += 1;
    }
    let mut expected = 0;
    let gap = loop {
        let message = slow.json();
        if message["event"] == "recovery" {
            break message;
        }
        assert!(message["data"].as_str().unwrap().starts_with(&format!("{expected} ")));
        expected += 1;
    };
    assert_eq!((&gap["recovered"], &gap["rooms"]), (&json!(false), &json!(["room"])), "{gap}");
    let missed = gap["missed"].as_u64().unwrap();
    assert!(missed <= 10 && expected + missed < sent, "{gap} after {expected} of {sent}");
    for number in sent - missed..sent {
        assert!(slow.data().as_str().unwrap().starts_with(&format!("{number} ")));
    }
}

/// A replay that is larger than what may wait for a client needs no more memory than that.
#[test]
fn a_replay_waits_for_the_client() {
    let more = "[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\n[limits]\nunsent = 65536\n";
    let relay = Relay::start(more);
    let padding = "x".repeat(50_000);
    let total = 400;
    (0..total).for_each(|number| relay.notify("room", &format!("{number} {padding}")));
    let mut slow = slow_client(&relay, &login(&[("since", "all")]));
    let mut other = relay.connect("room");
    assert_eq!(recovery(&mut slow).0["missed"], total);
    // While it does not read, relay has nothing to do.
    relay.notify("room", "live");
    assert_eq!(other.data(), "live");
    wait_for("a full outbox", || (relay.counter("replayed") > 1).then_some(()));
    relay.assert_idle("a client that is behind and does not read");
    assert!(relay.counter("replayed") < 100, "{}", relay.counter("replayed"));
    for number in 0..total {
        assert!(slow.data().as_str().unwrap().starts_with(&format!("{number} ")));
    }
    assert_eq!(slow.data(), "live");
    relay.notify("room", "again");
    assert_eq!(slow.data(), "again");
    slow.socket.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert!(!matches!(slow.socket.read(), Ok(Message::Text(_))), "nothing comes twice");
}

#[test]
fn history_by_request() {
    let relay = Relay::start("[history]\ncount = 5\n[namespaces.\"/open\"]\nauth = \"open\"\nsource = \"demo\"\n");
    let of = |more: &str| {
        let answer = relay.get(&format!("/api/history?{}{more}", login(&[("room_ids", "a,b")])));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].clone()
    };
    let numbers = |data: &Value| -> Vec<String> {
        let messages = data["messages"].as_array().unwrap().iter();
        messages.map(|message| message["data"].as_str().unwrap().to_owned()).collect()
    };
    let empty = of("");
    assert_eq!((&empty["messages"], &empty["complete"]), (&json!([]), &json!(true)), "{empty}");
    (0..6).for_each(|number| relay.notify(if number == 2 { "b" } else { "a" }, &number.to_string()));
    let all = of("");
    assert_eq!(
        (numbers(&all), &all["complete"]),
        (["0", "1", "2", "3", "4", "5"].map(str::to_owned).into(), &json!(true))
    );
    let first = &all["messages"][0];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(now.abs_diff(first["ts"].as_u64().unwrap()) < 600_000, "{first}");
    assert_eq!((&first["source"], &first["room_id"]), (&json!("demo"), &json!("a")));
    let newest = of("&limit=2");
    assert_eq!((numbers(&newest), &newest["complete"]), (["4", "5"].map(str::to_owned).into(), &json!(false)));
    // Pages.
    let mut page = of(&format!("&limit=2&since={}", empty["id"].as_str().unwrap()));
    let mut found = numbers(&page);
    while page["complete"] == false {
        assert_eq!(found.len() % 2, 0, "{page}");
        page = of(&format!("&limit=2&since={}", page["id"].as_str().unwrap()));
        found.extend(numbers(&page));
    }
    assert_eq!(found, ["0", "1", "2", "3", "4", "5"]);
    relay.notify("a", "6");
    let gap = of(&format!("&since={}", empty["id"].as_str().unwrap()));
    assert_eq!((numbers(&gap).len(), &gap["complete"], &gap["rooms"]), (6, &json!(false), &json!(["a"])));
    // Who may read it.
    let wrong = relay.get(&format!("/api/history?{}", login(&[("sign", &"0".repeat(32))])));
    assert_eq!((wrong.status, wrong.json()["msg"].as_str().unwrap()), (401, "sign verify failed!"));
    assert_eq!(relay.get("/api/history?source=demo&room_ids=a&token=wrong").status, 401);
    let token = relay.admin("/api/history?source=demo&room_ids=a&limit=1");
    assert_eq!(numbers(&token.json()["data"]), ["6"]);
    for wrong in ["limit=0", "limit=1001", "limit=x", "since=x"] {
        assert_eq!(relay.get(&format!("/api/history?{}&{wrong}", login(&[]))).status, 400, "{wrong}");
    }
    // Lines, for shells.
    let lines = relay.get(&format!("/sse?{}&format=lines&poll=1&since=all", login(&[("room_ids", "b")])));
    let lines: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["event"], &lines[0]["missed"], &lines[1]["data"]),
        (&json!("recovery"), &json!(1), &json!("2"))
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn text_clients_have_a_header() {
    let relay = Relay::start("[history]\ncount = 2\n");
    (0..3).for_each(|number| relay.notify("room", &number.to_string()));
    let head = |more: &[(&str, &str)]| {
        let fields = [&[("format", "text")], more].concat();
        let request = format!(
            "GET /ws?{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            login(&fields)
        );
        let mut stream = relay.tcp();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let answer = support::read_answer(&mut stream, true);
        assert_eq!(answer.status, 101);
        answer.header("relay-recovered").to_owned()
    };
    assert_eq!([head(&[]), head(&[("since", "")]), head(&[("since", "1h")])], ["", "yes", "no"]);
}

#[test]
fn messages_have_a_time_on_demand() {
    let relay = Relay::start(HISTORY);
    let (mut plain, mut timed) = (relay.connect("room"), relay.connect_with(&[("ts", "1")]));
    relay.notify("room", "x");
    assert_eq!(plain.json()["ts"], Value::Null);
    assert!(timed.json()["ts"].as_u64().unwrap() > 1_700_000_000_000);
    let mut since = since(&relay, "room", "all");
    recovery(&mut since);
    assert!(since.json()["ts"].is_u64());
}

/// With `before = false` a client gets what it missed, and nothing older.
#[test]
fn nothing_from_before_a_login() {
    let relay = Relay::start("[history]\ncount = 9\nbefore = false\n");
    relay.notify("room", "0");
    let mut client = since(&relay, "room", "all");
    let (event, _) = recovery(&mut client);
    assert_eq!(event, json!({ "recovered": true, "missed": 0 }));
    relay.notify("room", "1");
    let (_, id) = message(&mut client);
    relay.notify("room", "2");
    let mut again = since(&relay, "room", &id);
    assert_eq!(recovery(&mut again).0["missed"], 1);
    assert_eq!(again.data(), "2");
}

/// A slow consumer is closed where the configuration says so.
#[test]
fn slow_consumers_can_be_closed() {
    let relay = Relay::start("[history]\ncount = 10\nslow = \"close\"\n[limits]\nunsent = 65536\n");
    let mut slow = slow_client(&relay, &login(&[]));
    let mut sent = 0;
    while relay.counter("slow_consumers") == 0 {
        relay.notify("room", &"x".repeat(20_000));
        sent += 1;
        assert!(sent < 5000, "it is never closed");
    }
    assert_eq!((slow.close_code(), relay.counter("fell_behind")), (1013, 0));
}

/// A message that no room keeps has a newer id than those that are still to come: a client that named it as its position would
/// lose them.
#[test]
fn rooms_without_history_wait_for_a_replay() {
    let more =
        "[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\nrooms = [{ room = \"none\", count = 0 }]\n";
    let relay = Relay::start(more);
    let padding = "x".repeat(50_000);
    (0..200).for_each(|number| relay.notify("room", &format!("{number} {padding}")));
    let mut slow = slow_client(&relay, &login(&[("room_ids", "room,none"), ("since", "all")]));
    assert_eq!(recovery(&mut slow).0["missed"], 200);
    relay.notify("none", "no room keeps this");
    relay.notify("room", "live");
    for number in 0..200 {
        assert!(slow.data().as_str().unwrap().starts_with(&format!("{number} ")));
    }
    assert_eq!([slow.data(), slow.data()], ["live", "no room keeps this"]);
    relay.notify("none", "now at once");
    assert_eq!(slow.data(), "now at once");
}

/// Nothing but the client that reads makes relay go on: there is no timer that would help.
#[test]
fn a_replay_goes_on_when_the_client_reads() {
    let relay = Relay::start("[websocket]\nping_interval = 600\n[history]\nlast = true\n");
    let rooms: Vec<String> = (0..60).map(|number| format!("r{number}")).collect();
    let padding = "x".repeat(20_000);
    rooms.iter().for_each(|room| relay.notify(room, &padding));
    for _ in 0..3 {
        let mut slow = slow_client(&relay, &login(&[("room_ids", &rooms.join(",")), ("since", "all")]));
        assert_eq!(recovery(&mut slow).0["missed"], 60);
        // The outbox and the buffers of the sockets are full.
        relay.fence();
        relay.assert_idle("a client that does not read");
        (0..60).for_each(|_| assert_eq!(slow.data(), *padding));
    }
}

/// A room that is joined during a replay brings what is published from then on, as at any other time.
#[test]
fn a_room_that_is_joined_during_a_replay() {
    let more = "[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\n[namespaces.\"/open\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\n";
    let relay = Relay::start(more);
    let padding = "x".repeat(50_000);
    (0..200).for_each(|number| relay.notify("a", &format!("{number} {padding}")));
    let query = login(&[("room_ids", "a"), ("since", "all"), ("nsp", "/open")]);
    let mut slow = slow_client(&relay, &query);
    assert_eq!(recovery(&mut slow).0["missed"], 200);
    (0..5).for_each(|_| relay.notify("b", "before the join"));
    slow.send(r#"{"event":"join","room_ids":"b"}"#);
    wait_for("the join", || (relay.admin("/api/rooms?source=demo").body.contains("\"b\"")).then_some(()));
    relay.notify("b", "after the join");
    let mut found = Vec::new();
    while found.len() < 201 {
        let message = slow.json();
        if message["event"] == "newMsg" {
            found.push(message["data"].as_str().unwrap().chars().take(20).collect::<String>());
        }
    }
    assert!(!found.iter().any(|data| data == "before the join"));
    assert_eq!(found[200], "after the join");
}

/// A client that is behind logs in to another namespace, and gets what it asks for there.
#[test]
fn a_login_of_a_client_that_is_behind() {
    let more = "[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\n[namespaces.\"/b\"]\n";
    let relay = Relay::start(more);
    let padding = "x".repeat(50_000);
    (0..100).for_each(|number| relay.notify("a", &format!("{number} {padding}")));
    (0..5).for_each(|number| relay.notify("z", &format!("z{number}")));
    let query = login(&[("room_ids", "a")]);
    let stream = TcpStream::connect(relay.addr).unwrap();
    SockRef::from(&stream).set_recv_buffer_size(32_768).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut slow = Client::open(stream, &format!("/socket.io/?EIO=4&transport=websocket&{query}")).unwrap();
    slow.text();
    slow.send(r#"40{"since":"all"}"#);
    assert!(slow.text().starts_with("40{") && slow.text().contains("\"missed\":100"));
    let sign = support::connect_sign("demo", "z", support::KEY);
    slow.send(&format!(r#"40/b,{{"since":"all","room_ids":"z","sign":"{sign}"}}"#));
    let mut found = Vec::new();
    while !found.iter().any(|text: &String| text.contains("z4")) || !found.iter().any(|text| text.contains("\"99 x")) {
        let text = slow.text();
        found.push(text.chars().take(120).collect::<String>());
    }
    let of = |what: &str| found.iter().filter(|text| text.starts_with(what)).count();
    assert_eq!((of("42/b,[\"newMsg\""), of("42/b,[\"recovery\""), of("42[\"newMsg\"")), (5, 1, 100), "{found:?}");
}

/// A client that is behind hears of it if a room stops keeping messages before it has got them.
#[test]
fn a_reload_that_ends_the_history_of_a_room() {
    let history =
        |rooms: &str| format!("[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\nrooms = [{rooms}]\n");
    let relay = Relay::start(&history(""));
    let padding = "x".repeat(50_000);
    (0..200).for_each(|number| relay.notify(["a", "b"][number % 2], &format!("{number} {padding}")));
    relay.notify("c", "had before");
    let mut slow = slow_client(&relay, &login(&[("room_ids", "a,b"), ("since", "all")]));
    assert_eq!(recovery(&mut slow).0["missed"], 200);
    std::fs::write(&relay.config, Relay::configuration(&history("{ room = \"b\", count = 0 }"))).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    relay.notify("b", "later");
    relay.notify("a", "last");
    let (mut got, mut gap) = (Vec::new(), Value::Null);
    while got.len() < 2 || got[got.len() - 2..] != ["last", "later"] {
        let message = slow.json();
        if message["event"] == "recovery" {
            assert_eq!(gap, Value::Null, "said once");
            gap = message;
            continue;
        }
        got.push(message["data"].as_str().unwrap().split(' ').next().unwrap().to_owned());
    }
    assert_eq!((&gap["recovered"], &gap["rooms"]), (&json!(false), &json!(["b"])), "{got:?}");
    // All of the other room, in order, and some of this one.
    let of =
        |room: usize| got.iter().filter_map(move |data| data.parse().ok().filter(|number: &usize| number % 2 == room));
    assert!(of(0).eq((0..200).step_by(2)), "{got:?}");
    let some: Vec<usize> = of(1).collect();
    assert!(some.len() < 100 && some.iter().copied().eq((1..).step_by(2).take(some.len())), "{some:?}");
}

/// Kept messages never take more than a quarter of `limits.memory`.
#[test]
fn kept_messages_leave_memory_for_clients() {
    let more = |memory: usize| {
        format!("[history]\ncount = 10000\nbytes = 100000000\nmemory = 200000000\n[limits]\nmemory = {memory}\n")
    };
    let relay = Relay::start(&more(64 << 20));
    let data = "x".repeat(20_000);
    (0..1000).for_each(|_| relay.notify("room", &data));
    let kept = relay.metric("relay_history_bytes");
    assert!((15 << 20..=16 << 20).contains(&kept), "{kept}");
    assert_eq!(relay.get(&format!("/api/history?{}", login(&[("since", "all")]))).json()["data"]["complete"], false);
    std::fs::write(&relay.config, Relay::configuration(&more(32 << 20))).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    let kept = relay.metric("relay_history_bytes");
    assert!((7 << 20..=8 << 20).contains(&kept), "{kept}");
    assert_eq!(relay.counter("memory_caches_dropped"), 0);
}
