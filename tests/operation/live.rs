//! docs/protocol.md, GET /api/live, and GET /api/sessions, /api/session, /api/generations: what operators see.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Relay, TOKEN, engineio, login, send_request, wait_for};

/// A stream of `/api/live`.
struct Live(BufReader<TcpStream>);

impl Live {
    fn open(relay: &Relay, query: &str, token: &str) -> Result<Live, String> {
        let mut stream = relay.tcp();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let bearer = format!("Bearer {token}");
        send_request(&mut stream, "GET", &format!("/api/live?{query}"), &[("Authorization", &bearer)], b"");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        match head.starts_with("HTTP/1.1 200") && head.contains("x-ndjson") {
            true => Ok(Live(reader)),
            false => Err(head.lines().next().unwrap().to_owned()),
        }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next line of a type.
    fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let line = self.next();
            if line["type"] == kind {
                return line;
            }
        }
    }

    /// Everything until the end of the stream.
    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }
}

/// The value of a field in a list of values.
fn value(hello: &Value, values: &Value, field: &str) -> u64 {
    let fields = hello["fields"].as_array().unwrap();
    assert_eq!(fields.len(), values.as_array().unwrap().len());
    let index = fields.iter().position(|known| known == field).unwrap_or_else(|| panic!("no field {field}"));
    values[index].as_u64().unwrap()
}

#[test]
fn a_stream_has_the_numbers() {
    let relay = Relay::start("");
    let mut live = Live::open(&relay, "", TOKEN).unwrap();
    let hello = live.next();
    assert_eq!(
        (&hello["type"], &hello["interval"], &hello["message_log"]),
        (&json!("hello"), &json!(5), &json!(false))
    );
    assert!(hello["sources"].as_array().unwrap().contains(&json!("demo")), "{hello}");
    assert!(!hello["samples"].as_array().unwrap().is_empty(), "one is taken at the start");
    let _clients = [relay.connect("a"), relay.connect("a")];
    relay.notify("a", "x");
    let sample = wait_for("two clients", || {
        Some(live.next_of("sample")).filter(|sample| value(&hello, &sample["values"], "delivered") == 2)
    });
    let numbers =
        ["clients", "sessions", "rooms", "published", "logins"].map(|field| value(&hello, &sample["values"], field));
    assert_eq!(numbers, [2, 2, 1, 1, 2], "who looks on is no client");
    assert!(value(&hello, &sample["values"], "memory") > 0 && value(&hello, &sample["values"], "cpu") > 0);
    assert_eq!(sample["parts"]["hooks"], json!({"state": "off"}));
    // The samples are kept for the next stream, with a time each.
    let kept =
        wait_for("a sample that is kept", || Some(live.next_of("sample")).filter(|sample| sample["kept"] == true));
    let next = Live::open(&relay, "", TOKEN).unwrap().next();
    assert!(next["samples"].as_array().unwrap().contains(&kept["values"]), "{next} {kept}");
}

#[test]
fn a_stream_has_the_messages_of_its_room_alone() {
    let relay = Relay::start("");
    let mut live = Live::open(&relay, "source=demo&room_id=a", TOKEN).unwrap();
    let mut client = relay.connect("a");
    relay.notify("b", "not this one");
    relay.notify("a,b", "\u{202e}<b>\u{0}");
    client.json();
    let mut message = live.next_of("message");
    for field in ["time", "id"] {
        assert!(!message[field].is_null());
        message[field] = Value::Null;
    }
    assert_eq!(
        message,
        json!({"type": "message", "time": null, "id": null, "source": "demo", "room_id": "a", "from": "backend",
               "data": "\u{202e}<b>\u{0}", "bytes": 7, "sessions": 1, "kept": false})
    );
    let long = "ü".repeat(5000);
    relay.notify("a", &long);
    let message = live.next_of("message");
    assert_eq!((message["data"].as_str().unwrap().len(), &message["bytes"]), (4000, &json!(10_000)));
    // At most 100 in a second; the others are counted.
    for number in 0..450 {
        relay.notify("a", &number.to_string());
    }
    let (mut shown, mut omitted) = (0, 0);
    while shown + omitted < 450 {
        let line = live.next();
        shown += u64::from(line["type"] == "message");
        omitted += if line["type"] == "omitted" { line["messages"].as_u64().unwrap() } else { 0 };
    }
    assert_eq!(shown + omitted, 450);
    assert!(omitted > 0);
}

#[test]
fn a_stream_has_lines_of_the_log_without_secrets() {
    let relay = Relay::start("");
    relay.signal(1);
    relay.wait_log("configuration re-read");
    let mut live = Live::open(&relay, "log=info", TOKEN).unwrap();
    let old = wait_for("an old line", || {
        Some(live.next_of("log")).filter(|line| line["text"].as_str().unwrap() == "configuration re-read")
    });
    assert_eq!((&old["level"], &old["target"]), (&json!("INFO"), &json!("relay::server::reload")));
    let mut errors = Live::open(&relay, "log=error", TOKEN).unwrap();
    relay.signal(1);
    wait_for("a new line", || {
        Some(live.next_of("log")).filter(|line| line["text"].as_str().unwrap() == "configuration re-read")
    });
    for _ in 0..3 {
        errors.next_of("sample");
    }
    std::fs::write(&relay.config, "listen = \"not an address").unwrap();
    relay.signal(1);
    assert!(errors.next_of("log")["level"] == "ERROR", "it gets only errors");
}

/// More lines than relay keeps, within a second: traces of eight users.
fn storm(relay: &Relay) {
    for user in 0..8 {
        let target = format!("/api/trace?userid={user}");
        assert_eq!(relay.request("POST", &target, &[("Authorization", &format!("Bearer {TOKEN}"))], b"").status, 200);
    }
    let mut users: Vec<_> =
        (0..8).map(|user: u32| relay.connect_with(&[("room_ids", "a"), ("userid", &user.to_string())])).collect();
    for user in &mut users {
        (0..70).for_each(|_| user.send(r#"{"event":"nothing"}"#));
    }
    relay.fence();
}

/// The numbers of lines are those of the process, for all streams.
#[test]
fn lines_of_the_log_have_numbers() {
    let relay = Relay::start("");
    let mut live = Live::open(&relay, "log=info", TOKEN).unwrap();
    let begin = live.next_of("log");
    relay.signal(1);
    let mut numbers = vec![begin["number"].as_u64().unwrap()];
    let reloaded = wait_for("a new line", || {
        let line = live.next_of("log");
        numbers.push(line["number"].as_u64().unwrap());
        Some(line).filter(|line| line["text"].as_str().unwrap() == "configuration re-read")
    });
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let mut again = Live::open(&relay, "log=info", TOKEN).unwrap();
    assert_eq!(again.next_of("log"), begin);
    assert_eq!(wait_for("the line", || Some(again.next_of("log")).filter(|line| *line == reloaded)), reloaded);
}

/// Lines of other levels are not missed.
#[test]
fn left_out_are_only_lines_that_a_stream_asked_for() {
    let relay = Relay::start("");
    let mut infos = Live::open(&relay, "log=info", TOKEN).unwrap();
    let mut errors = Live::open(&relay, "log=error", TOKEN).unwrap();
    for stream in [&mut infos, &mut errors] {
        stream.next_of("sample");
    }
    let lost = wait_for("lines that are left out", || {
        storm(&relay);
        assert_eq!(
            relay.request("POST", "/api/trace?stop=all", &[("Authorization", "Bearer test-token")], b"").status,
            200
        );
        Some(infos.next_of("omitted")["lines"].as_u64().unwrap()).filter(|lost| *lost > 300)
    });
    std::fs::write(&relay.config, "listen = \"not an address").unwrap();
    relay.signal(1);
    loop {
        let line = errors.next();
        match line["type"].as_str().unwrap() {
            "log" => break assert_eq!(line["level"], "ERROR"),
            "omitted" => panic!("{line}: {lost} of info"),
            _ => {}
        }
    }
}

#[test]
fn streams_need_the_token_and_end_when_it_changes() {
    let relay = Relay::start("");
    assert!(Live::open(&relay, "", "wrong").err().unwrap().contains("401"));
    for wrong in ["log=all", "source=nobody&room_id=a", "room_id=a", "source=demo", "source=demo&room_id="] {
        assert!(Live::open(&relay, wrong, TOKEN).err().unwrap().contains("400"), "{wrong}");
    }
    let mut live = Live::open(&relay, "", TOKEN).unwrap();
    let config = std::fs::read_to_string(&relay.config).unwrap();
    assert!(config.contains(TOKEN));
    std::fs::write(&relay.config, config.replace(TOKEN, "another token for this test")).unwrap();
    relay.signal(1);
    let rest = live.rest();
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["data"]["code"]), (&json!("disconnect"), &json!(4401)), "{rest}");
    assert!(Live::open(&relay, "", TOKEN).err().unwrap().contains("401"));
    Live::open(&relay, "", "another token for this test").unwrap();
}

/// Another source can take the place of one that a reload removes, and its messages are not those that the operator asked for.
#[test]
fn the_messages_of_a_source_end_with_it() {
    let relay = Relay::start("");
    let mut of_room = Live::open(&relay, "source=demo&room_id=a", TOKEN).unwrap();
    let mut numbers = Live::open(&relay, "", TOKEN).unwrap();
    let config = std::fs::read_to_string(&relay.config).unwrap();
    std::fs::write(&relay.config, config.replace("[sources.demo]", "[sources.third]")).unwrap();
    relay.signal(1);
    let rest = of_room.rest();
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["data"]["code"]), (&json!("disconnect"), &json!(1008)), "{rest}");
    numbers.next_of("sample");
}

/// It is closed like a client, but operators ask for clients.
#[test]
fn a_stream_that_is_not_read_is_no_slow_client() {
    let relay = Relay::start("[limits]\nunsent = 4096");
    let stream = Live::open(&relay, "source=demo&room_id=a&log=debug", TOKEN).unwrap();
    wait_for("the end of the stream", || {
        relay.notify("a", &"x".repeat(60_000));
        (relay.metric("relay_connections") == 1).then_some(())
    });
    drop(stream);
    assert_eq!((relay.counter("slow_consumers"), relay.metric("relay_memory_kind_bytes{kind=\"unsent\"}")), (0, 0));
}

#[test]
fn there_are_at_most_sixteen_streams() {
    let relay = Relay::start("");
    let mut streams: Vec<Live> = (0..16).map(|_| Live::open(&relay, "", TOKEN).unwrap()).collect();
    assert!(Live::open(&relay, "", TOKEN).err().unwrap().contains("503"));
    // The request itself is the seventeenth.
    wait_for("the end of the one that was refused", || (relay.metric("relay_connections") == 17).then_some(()));
    assert_eq!(relay.metric("relay_clients"), 0, "who looks on is no client");
    streams.pop();
    wait_for("a place", || Live::open(&relay, "", TOKEN).ok());
    drop(streams);
    wait_for("the end of all", || (relay.metric("relay_connections") == 1).then_some(()));
}

#[test]
fn sessions_are_found() {
    let relay = Relay::start("");
    let _clients: Vec<_> = (0..60)
        .map(|number| {
            relay.connect_with(&[
                ("room_ids", if number % 2 == 0 { "even,a" } else { "odd" }),
                ("userid", &format!("u{number}")),
            ])
        })
        .collect();
    let find = |query: &str| relay.admin(&format!("/api/sessions?source=demo&{query}")).json();
    let ids = |found: &Value| -> Vec<String> {
        let list = found["list"].as_array().unwrap();
        list.iter().map(|entry| entry["userid"].as_str().unwrap().to_owned()).collect()
    };
    let all = find("");
    assert_eq!((all["list"].as_array().unwrap().len(), &all["sessions"], &all["next"]), (50, &json!(60), &json!(50)));
    assert_eq!(ids(&find("after=50")).len(), 10);
    assert_eq!(ids(&find("search=U41")), ["u41"]);
    let even = find("room_id=even&limit=200");
    assert_eq!((ids(&even).len(), &even["next"]), (30, &Value::Null));
    assert_eq!(ids(&find("room_id=even&search=u41")).len(), 0);
    assert_eq!(ids(&find("order=unsent")).len(), 0);
    assert_eq!(ids(&find("order=newest&limit=3")).len(), 3);
    let entry = find("search=u42")["list"][0].clone();
    let socket_id = entry["socket_id"].as_str().unwrap();
    assert_eq!(ids(&find(&format!("search={socket_id}"))), ["u42"]);
    assert_eq!(
        (&entry["transport"], &entry["rooms"], &entry["state"]),
        (&json!("websocket"), &json!(["even", "a"]), &json!("live"))
    );
    let one = relay.admin(&format!("/api/session?socket_id={socket_id}")).json();
    assert_eq!(one["all_rooms"][0], json!({"room_id": "even", "members": 30, "kept": false}));
    assert_eq!(
        one["client"],
        json!({"library": "WebSocket", "revision": null, "namespaces": ["/"], "tls": false, "unconfirmed": 0})
    );
    assert_eq!((&one["heartbeat"]["state"], &one["recovery"]), (&json!("alive"), &Value::Null));
    assert!(
        one["events"][0]["text"].as_str().unwrap().ends_with(" logged in")
            || one["events"].as_array().unwrap().len() > 1,
        "{one}"
    );
    assert_eq!(relay.admin("/api/session?socket_id=nobody").status, 404);
    for wrong in ["limit=0", "limit=201", "order=x", "after=x", &format!("search={}", "x".repeat(201))] {
        assert_eq!(relay.admin(&format!("/api/sessions?source=demo&{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(relay.admin("/api/sessions?source=nobody").status, 400);
    for path in ["/api/sessions", "/api/session?socket_id=x", "/api/generations", "/api/live"] {
        assert_eq!(relay.get(path).status, 401, "{path}");
    }
}

/// A client that only listens has confirmed what its kernel has, as relay would take it if the client were lost.
#[test]
fn a_session_has_confirmed_what_tcp_has() {
    let relay = Relay::start("[history]\ncount = 9");
    let mut member = relay.connect("room");
    // It answers the ping that relay sends at the login.
    relay.notify("room", "first");
    member.data();
    let recovery = || {
        let list = relay.admin("/api/sessions?source=demo").json()["list"].clone();
        let socket_id = list[0]["socket_id"].as_str().unwrap().to_owned();
        relay.admin(&format!("/api/session?socket_id={socket_id}")).json()["recovery"].clone()
    };
    for text in ["second", "third"] {
        relay.notify("room", text);
        let id = member.json()["id"].clone();
        wait_for("a confirmation", || (recovery() == json!({"confirmed": id, "unconfirmed": 0})).then_some(()));
    }
}

#[test]
fn generations_of_clients_by_page() {
    let relay = Relay::start("");
    let _plain = relay.connect("a");
    let (mut old, _) = engineio::websocket(&relay, &format!("EIO=3&{}", login(&[("room_ids", "a")])));
    assert!(old.text().starts_with("40"), "it is in a room");
    let list = relay.admin("/api/generations?source=demo").json()["list"].clone();
    let found: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["protocol"].as_str().unwrap(), row["clients"].as_u64().unwrap()))
        .collect();
    assert_eq!(found.len(), 2, "{list}");
    assert!(found.contains(&("websocket", 1)), "{list}");
    assert!(found.iter().any(|(protocol, clients)| *protocol == "engine.io 3" && *clients == 1), "{list}");
    for row in list.as_array().unwrap() {
        let example = row["example"].as_str().unwrap();
        let one = relay.admin(&format!("/api/session?socket_id={example}")).json();
        assert_eq!(one["protocol"], row["protocol"]);
        let revision = if row["protocol"] == "engine.io 3" { json!(3) } else { Value::Null };
        assert_eq!(one["client"]["revision"], revision);
    }
    assert_eq!(relay.admin("/api/generations").json()["list"], list);
}

#[test]
fn the_busiest_rooms() {
    let relay = Relay::start("");
    let _clients = [relay.connect("a,b"), relay.connect("b"), relay.connect("quiet")];
    for _ in 0..3 {
        relay.notify("a", "x");
        relay.notify("b", "x");
    }
    relay.notify("nobody is here", "x");
    let busy = relay.admin("/api/rooms?source=demo&order=messages").json();
    assert_eq!(
        busy["list"],
        json!([{"room_id": "b", "members": 2, "messages": 3, "deliveries": 6}, {"room_id": "a", "members": 1, "messages": 3, "deliveries": 3}])
    );
    assert_eq!((&busy["elsewhere"], &busy["rooms"]), (&json!(1), &json!(2)));
    assert!(busy["seconds"].as_u64().unwrap() <= 300);
    let some = relay.admin("/api/rooms?source=demo&search=qui").json();
    assert_eq!(some["list"], json!([{"room_id": "quiet", "members": 1}]));
    assert_eq!(relay.admin("/api/rooms?source=demo&order=x").status, 400);
    assert_eq!(relay.admin("/api/users?source=demo&search=nobody").json()["users"], 0);
}
