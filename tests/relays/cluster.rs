//! docs/protocol.md, Redis: several relays as one, beside old servers and backends that publish there. Messages,
//! commands and the wire format. (Presence is in presence.rs, failures are in outages.rs and links.rs.)

use std::{collections::HashMap, thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    self, Client, KEY, Relay, TOKEN, asleep,
    engineio::{self, bytes as attachment, json as packet, websocket},
    login, notify_sign,
    redis::{Redis, wait_linked, wait_until},
};

/// A Socket.IO 4 client in a namespace.
struct SocketIo {
    /// The namespace with its comma, as in packets.
    nsp: String,
    socket: Client,
}

impl SocketIo {
    /// A member of source `demo` in `/`.
    fn connect(relay: &Relay, room_ids: &str) -> SocketIo {
        SocketIo::enter(relay, &login(&[("room_ids", room_ids)]), "")
    }

    fn open(relay: &Relay, nsp: &str) -> SocketIo {
        SocketIo::enter(relay, "", &format!("{nsp},"))
    }

    fn enter(relay: &Relay, query: &str, nsp: &str) -> SocketIo {
        let (mut socket, _) = websocket(relay, &format!("EIO=4&{query}"));
        socket.send(&format!("40{nsp}"));
        let answer = socket.text();
        assert!(answer.starts_with(&format!("40{nsp}{{\"sid\"")), "{answer}");
        SocketIo { nsp: nsp.into(), socket }
    }

    /// Sends an event with these arguments. With a `number` it asks for an acknowledgement.
    fn post(&mut self, name: &str, args: &str, number: &str) {
        self.socket.send(&format!("42{}{number}[\"{name}\",{args}]", self.nsp));
    }

    /// The next event's name, its arguments, and the number of the acknowledgement that it asks for. An event with
    /// bytes has several packets.
    fn asking(&mut self) -> (String, Vec<Value>, String) {
        let text = self.socket.text();
        let text = text.strip_prefix("451-").map_or_else(|| text.clone(), |rest| format!("42{rest}"));
        let rest = text.strip_prefix(&format!("42{}", self.nsp)).unwrap_or_else(|| panic!("{text}"));
        let (number, list) = rest.split_at(rest.find('[').unwrap());
        let mut list: Vec<Value> = serde_json::from_str(list).unwrap();
        (list.remove(0).as_str().unwrap().to_owned(), list, number.to_owned())
    }

    fn event(&mut self) -> (String, Vec<Value>) {
        let (name, args, _) = self.asking();
        (name, args)
    }
}

fn emit(relay: &Relay, body: &Value) -> Value {
    let mut body = body.clone();
    body["token"] = TOKEN.into();
    relay.post_json("/api/emit", &body.to_string()).json()
}

fn control(relay: &Relay, target: &str, body: &Value) -> Value {
    let headers = [("Authorization", &*format!("Bearer {TOKEN}")), ("Content-Type", "application/json")];
    relay.request("POST", target, &headers, body.to_string().as_bytes()).json()
}

#[test]
fn a_message_reaches_every_relay_once() {
    let redis = Redis::start();
    let relays: [Relay; 3] = redis.relays("");
    let mut members: Vec<Client> = relays.iter().map(|relay| relay.connect("r1,r2")).collect();
    relays[0].notify("r1,r2,r1", "one");
    let mut ids = Vec::new();
    for member in &mut members {
        let messages = [(); 3].map(|()| member.json());
        let rooms: Vec<_> = messages.iter().map(|message| message["room_id"].as_str().unwrap()).collect();
        assert_eq!(rooms, ["r1", "r2", "r1"]);
        assert!(messages.iter().all(|message| message["data"] == "one" && message["source"] == "demo"));
        ids.push(messages.map(|message| message["id"].as_str().unwrap().to_owned()));
    }
    assert!(ids.iter().all(|others| *others == ids[0]), "a message has the same id everywhere: {ids:?}");
    members[2].send(r#"{"event":"postMsg","room_id":"r1","data":{"b":1.0,"a":[2]}}"#);
    for member in &mut members {
        assert!(member.text().contains(r#""data":{"b":1.0,"a":[2]}"#), "verbatim");
    }
    members.iter_mut().for_each(Client::silence);
    let counts = relays.each_ref().map(|relay| (relay.counter("redis_published"), relay.counter("redis_refused")));
    assert!(counts.iter().all(|(_, refused)| *refused == 0), "{counts:?}");
    assert!(relays.iter().all(|relay| relay.counter("redis_missed") == 0));
}

/// Ten publishers at each of two relays: every member gets each message once, and those of each publisher in order.
#[test]
fn exactly_once_and_in_order_under_load() {
    const PUBLISHERS: usize = 10;
    const EACH: usize = 200;
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("[limits]\nmessage_rate = 0\n");
    let members: Vec<_> = relays.iter().flat_map(|relay| [relay.connect("room"), relay.connect("room")]).collect();
    thread::scope(|scope| {
        let readers: Vec<_> = members
            .into_iter()
            .map(|mut member| {
                scope.spawn(move || {
                    let mut last: HashMap<String, usize> = HashMap::new();
                    for _ in 0..2 * PUBLISHERS * EACH {
                        let data = member.data();
                        let (publisher, number) = data.as_str().unwrap().split_once(' ').unwrap();
                        let next = last.entry(publisher.to_owned()).or_default();
                        assert_eq!(number.parse(), Ok(*next), "of {publisher}");
                        *next += 1;
                    }
                    member.silence();
                })
            })
            .collect();
        for (at, relay) in relays.iter().enumerate() {
            for publisher in 0..PUBLISHERS {
                // Half of them are backends, half are clients.
                scope.spawn(move || match publisher % 2 {
                    0 => (0..EACH).for_each(|number| relay.notify("room", &format!("{at}-{publisher} {number}"))),
                    _ => {
                        let mut client = relay.connect("elsewhere");
                        for number in 0..EACH {
                            client.send(&format!(r#"{{"room_id":"room","data":"{at}-{publisher} {number}"}}"#));
                        }
                    }
                });
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    for relay in &relays {
        assert_eq!(relay.counter("redis_missed") + relay.counter("redis_refused") + relay.counter("redis_dropped"), 0);
        // And a greeting, if it had subscribed by then.
        assert!([0, 1].contains(&(relay.counter("redis_received") as usize - PUBLISHERS * EACH)));
    }
}

/// The old server's payloads: relays read what it publishes, and it can read what they publish.
#[test]
fn the_format_of_the_old_server() {
    let redis = Redis::start();
    let relay = redis.relay("");
    let mut wire = redis.connection().subscribe("xin_common_chat");
    let mut member = SocketIo::connect(&relay, "r1,r2");
    let ip = relay.admin("/readmsglocation").body;
    let ip = ip.split("<br>").nth(1).and_then(|line| line.split_once("->")).map(|(ip, _)| ip.to_owned());
    relay.notify("r1,r2", "h\"ü");
    let published = wire.message();
    let (old, new) = published.split_once(",\"id\":").unwrap();
    let expected = r#"{"source":"demo","data":"h\"ü","room_id":"r1,r2","filename":"","from_sys":true,"ip":""#;
    assert!(old.starts_with(expected), "{published}");
    assert!(ip.is_none_or(|ip| old == format!("{expected}{ip}\"")));
    assert!(new.contains("\"seq\":") && new.contains("\"node\":"));
    member.event();
    member.event();
    member.post("postMsg", r#"{"k":[1.50,"x"]},"r1""#, "");
    let published = wire.message();
    let (old, _) = published.split_once(",\"id\":").unwrap();
    assert_eq!(old, r#"{"source":"demo","data":{"k":[1.50,"x"]},"room_id":"r1","from_sys":true"#);
    member.event();
    let quitter = relay.connect_with(&[("room_ids", "r1"), ("username", "li"), ("watch_quit", "1")]);
    drop(quitter);
    let published = wire.message();
    let (old, _) = published.split_once(",\"id\":").unwrap();
    let quit = r#"{"username":"li","key":"user_quit","msg":"li退出群聊"}"#;
    assert_eq!(old, format!(r#"{{"source":"demo","data":{quit},"room_id":"r1","from_sys":true"#));
    member.event();

    // From the old server: notify, postMsg and quit.
    let say = |message: &str| redis.publish(message);
    say(r#"{"source":"demo","data":"text","room_id":"r1,r2","filename":"","from_sys":true,"ip":"10.0.0.2"}"#);
    for room in ["r1", "r2"] {
        let (name, args) = member.event();
        assert_eq!((&*name, &args[0]["data"], &args[0]["room_id"]), ("newMsg", &json!("text"), &json!(room)));
        assert_eq!((&args[0]["from_sys"], &args[0]["source"]), (&json!(true), &json!("demo")));
        assert!(args[0].get("from_client").is_none());
    }
    say(r#"{"source":"demo","data":{"b":1,"a":2},"room_id":["r1","r2"],"from_sys":true}"#);
    let (_, posted) = member.event();
    // Only servers' messages for backends name a file.
    assert_eq!((&posted[0]["data"], &posted[0]["from_client"]), (&json!({"b":1,"a":2}), &json!(true)));
    assert_eq!(member.event().1[0]["room_id"], "r2");
    say(&format!(r#"{{"source":"demo","data":{quit},"room_id":"r1","from_sys":true}}"#));
    assert_eq!(member.event().1[0]["data"]["key"], "user_quit");
    member.socket.silence();
}

/// At every relay, whatever the form, a client's message can be told from a backend's.
#[test]
fn messages_of_clients_are_marked_at_other_relays() {
    let redis = Redis::start();
    for more in ["", "trust_from_sys = false\nsecret = \"between us\""] {
        let relays: [Relay; 2] = redis.relays(more);
        let mut plain = relays[1].connect("r");
        let mut socket = SocketIo::connect(&relays[1], "r");
        let mut sender = relays[0].connect_with(&[("room_ids", "r"), ("username", "li"), ("watch_quit", "1")]);
        let mut marks = |data: &str| {
            let message = plain.json();
            let (_, args) = socket.event();
            assert_eq!((&message["data"], &args[0]["data"]), (&json!(data), &json!(data)));
            (message.get("from_client").cloned(), args[0].get("from_client").cloned())
        };
        let client = (Some(json!(true)), Some(json!(true)));
        relays[0].notify("r", "of a backend");
        assert_eq!(marks("of a backend"), (None, None));
        assert_eq!(sender.json().get("from_client"), None);
        // The fields that a client sends beside its data have no effect.
        sender.send(r#"{"data":"posted","room_ids":"r","from_client":false,"filename":"x.log","from_sys":true}"#);
        assert_eq!(marks("posted"), client);
        assert_eq!(sender.json()["from_client"], true);
        // Signed by a backend and published without a file name.
        let sign = notify_sign("demo", "r", "direct", KEY);
        redis.publish(&format!(r#"{{"source":"demo","room_id":"r","data":"direct","sign":"{sign}"}}"#));
        assert_eq!(marks("direct"), (None, None));
        drop(sender);
        let quit = plain.json();
        assert_eq!((&quit["data"]["key"], &quit["from_client"]), (&json!("user_quit"), &json!(true)));
    }
}

/// What one relay accepts, all accept: at the border of the depth, and one level beyond it.
#[test]
fn nested_data_reaches_all_relays_or_none() {
    let redis = Redis::start();
    let more = format!(
        "{}\n[namespaces.\"/n\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\n\
         rules = [{{ event = \"e\", send = \"rooms\" }}, {{ event = \"u\", send = \"user\", ack = \"peer\" }}]\n",
        redis.section("")
    );
    let relays = [Relay::start(&more), Relay::start(&more)];
    relays.iter().for_each(|relay| support::redis::wait_siblings(relay, 1));
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let (mut here, mut there) = (relays[0].connect("r"), relays[1].connect("r"));
    let enter = |relay: &Relay, userid: &str| {
        Client::open(relay.tcp(), &format!("/ws?nsp=/n&room_ids=n&userid={userid}")).unwrap()
    };
    let (mut sender, mut receiver) = (enter(&relays[0], "6"), enter(&relays[1], "7"));
    for (depth, passes) in [(100, true), (101, false), (127, false)] {
        let data = nested(depth);
        let text = "can not be nested more than 100 levels deep!";
        // A notification.
        let sign = notify_sign("demo", "r", &data, KEY);
        let body = format!(r#"{{"source":"demo","room_id":"r","data":{data},"sign":"{sign}"}}"#);
        let answer = relays[0].post_json("/api/notify", &body).json();
        assert_eq!((&answer["code"], answer["msg"] == format!("data {text}")), (&json!(u8::from(passes)), !passes));
        // A client's message.
        here.send(&format!(r#"{{"data":{data},"room_ids":"r","ack":1}}"#));
        // An event of a client and of a backend.
        sender.send(&format!(r#"{{"event":"e","data":{data}}}"#));
        let token = json!({"source": "demo", "nsp": "/n", "room_id": "n", "event": "b", "token": TOKEN});
        let emitted = token.to_string().replacen('{', &format!(r#"{{"args":[{data}],"#), 1);
        let answer = relays[0].post_json("/api/emit", &emitted).json();
        assert_eq!((&answer["code"], answer["msg"] == format!("args {text}")), (&json!(u8::from(passes)), !passes));
        if passes {
            for member in [&mut here, &mut there] {
                (0..2).for_each(|_| assert_eq!(member.json()["data"].to_string(), data));
            }
            for member in [&mut sender, &mut receiver] {
                for event in ["e", "b"] {
                    let got = member.json();
                    assert_eq!((got["event"].as_str(), got["data"].to_string()), (Some(event), data.clone()));
                }
            }
            assert_eq!(here.json()["code"], 1);
        } else {
            assert_eq!(here.json()["msg"], format!("data {text}"));
            assert_eq!(sender.json(), json!({"event": "sys_error", "msg": format!("args {text}")}));
        }
        // An acknowledgement from the other relay.
        sender.send(r#"{"event":"u","data":{"userId":"7"},"ack":2}"#);
        let number = receiver.json()["ack"].clone();
        if passes {
            receiver.send(&format!(r#"{{"event":"ack","ack":{number},"data":{data}}}"#));
            let answer = sender.json();
            assert_eq!((&answer["ack"], answer["data"].to_string()), (&json!(2), data));
        } else {
            receiver.send(&format!(r#"{{"event":"ack","ack":{number},"data":{data}}}"#));
            receiver.send(&format!(r#"{{"event":"ack","ack":{number},"data":"shallow"}}"#));
            let answer = sender.json();
            assert_eq!((&answer["ack"], &answer["data"]), (&json!(2), &json!("shallow")));
        }
    }
    assert_eq!((relays[0].counter("redis_refused"), relays[1].counter("redis_refused")), (0, 0));
    there.silence();
}

/// Backends publish to Redis directly. The signature covers the data as JavaScript converts it to text, or verbatim.
#[test]
fn backends_on_redis() {
    let redis = Redis::start();
    let open = "[sources.open]\nsign_key = \"k\"\npublish_msg_verify = false\n";
    let relay = Relay::start(&format!("{}{open}", redis.section("")));
    wait_linked(&relay);
    let mut member = relay.connect("r");
    let sign = |signed: &str| notify_sign("demo", "r", signed, KEY);
    for (data, signed) in [
        ("\"text\"", "text"),
        ("{\"a\":1}", "[object Object]"),
        ("{\"a\": 1}", "{\"a\": 1}"),
        ("1.0", "1"),
        ("[1,null,\"x\"]", "1,,x"),
        ("true", "true"),
    ] {
        redis.publish(&format!(r#"{{"source":"demo","room_id":"r","data":{data},"sign":"{}"}}"#, sign(signed)));
        let message = member.text();
        assert!(message.contains(&format!("\"data\":{data}")), "{message}");
        assert!(!message.contains("sign"), "signatures are not for clients");
    }
    let refused = relay.counter("redis_refused");
    let wrong = [
        r#"{"source":"demo","room_id":"r","data":"x"}"#.to_owned(),
        format!(r#"{{"source":"demo","room_id":"r","data":"x","sign":"{}"}}"#, sign("y")),
        r#"{"source":"nobody","room_id":"r","data":"x","from_sys":true}"#.into(),
        r#"{"source":"demo","data":"x","from_sys":true}"#.into(),
        r#"{"room_id":"r","data":"x","from_sys":true}"#.into(),
    ];
    for message in &wrong {
        redis.publish(message);
    }
    wait_until(refused + wrong.len() as u64, || relay.counter("redis_refused"));
    let mut other = relay.connect_with(&[
        ("source", "open"),
        ("sign", &support::connect_sign("open", "r", "k")),
        ("room_ids", "r"),
    ]);
    redis.publish(r#"{"source":"open","room_id":"r","data":"unsigned"}"#);
    assert_eq!(other.data(), "unsigned");
    member.silence();
}

/// With `trust_from_sys = false`, from_sys is no signature; with `secret`, relays still accept each other's messages.
#[test]
fn from_sys_counts_only_if_that_is_configured() {
    let redis = Redis::start();
    let careful: [Relay; 2] = redis.relays("trust_from_sys = false\nsecret = \"between us\"");
    let trusting = redis.relay("");
    let mut members = careful.each_ref().map(|relay| relay.connect_with(&[("room_ids", "r"), ("userid", "u")]));
    redis.publish(r#"{"source":"demo","room_id":"r","data":"forged","from_sys":true}"#);
    redis.publish(r#"{"source":"demo","room_id":"r","data":"forged","from_sys":false}"#);
    trusting.notify("r", "of a relay without the secret");
    careful[0].notify("r", "signed by a relay");
    let sign = notify_sign("demo", "r", "signed by a backend", KEY);
    redis.publish(&format!(r#"{{"source":"demo","room_id":"r","data":"signed by a backend","sign":"{sign}"}}"#));
    for member in &mut members {
        let mut data = [member.data(), member.data()].map(|data| data.as_str().unwrap().to_owned());
        data.sort();
        assert_eq!(data, ["signed by a backend", "signed by a relay"]);
    }
    // Commands, too: from a relay without the secret, and from one with it.
    control(&trusting, "/api/disconnect", &json!({"userid": "u"}));
    redis.ask(&["PUBLISH", "xin_common_chat:relay", r#"{"do":"disconnect","userid":"u","node":"x"}"#]);
    members.iter_mut().for_each(Client::silence);
    assert_eq!(control(&careful[0], "/api/disconnect", &json!({"userid": "u"}))["data"]["sessions"], 1);
    members.iter_mut().for_each(|member| assert_eq!(member.close_code(), 1008));
}

/// Invalid messages are counted and ignored.
#[test]
fn invalid_messages_are_counted_and_ignored() {
    let redis = Redis::start();
    let relay = redis.relay("");
    let mut member = relay.connect("r");
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let message = |data: &str| format!(r#"{{"source":"demo","room_id":"r","from_sys":true,"data":{data}}}"#);
    let invalid_messages_are_counted_and_ignored = [
        String::new(),
        "hello".into(),
        "[]".into(),
        "7".into(),
        "null".into(),
        "{".into(),
        "{\"source\":\"demo\"".into(),
        message(&deep(129)),
        message(&deep(100_000)),
        message(&format!("\"{}\"", "x".repeat(8_000_000))),
        format!(r#"{{"source":"demo","room_id":"{}","from_sys":true,"data":"x"}}"#, "r".repeat(129)),
        format!(
            r#"{{"source":"demo","room_id":"{}","from_sys":true,"data":"{}"}}"#,
            "r,".repeat(1000),
            "x".repeat(100_000)
        ),
        r#"{"source":{},"room_id":{},"from_sys":true,"data":"x"}"#.into(),
        "{\"source\":\"\\ud800\",\"room_id\":\"r\",\"from_sys\":true}".into(),
    ];
    for message in &invalid_messages_are_counted_and_ignored {
        redis.publish(message);
    }
    let mut raw = redis.connection();
    raw.send(&["PUBLISH", "xin_common_chat", &message(&deep(127))]);
    raw.next();
    assert!(member.text().contains("[[[[["), "127 levels are accepted");
    wait_until(invalid_messages_are_counted_and_ignored.len() as u64, || relay.counter("redis_refused"));
    for command in
        ["", "{}", r#"{"do":"emit"}"#, r#"{"do":"emit","node":"x"}"#, r#"{"do":"refresh","node":"x","to":"?"}"#]
    {
        redis.ask(&["PUBLISH", "xin_common_chat:relay", command]);
    }
    wait_until(invalid_messages_are_counted_and_ignored.len() as u64 + 5, || relay.counter("redis_refused"));
    redis.ask(&["PUBLISH", "xin_common_chat:relay", r#"{"do":"of a later version","node":"x"}"#]);
    relay.notify("r", "still here");
    assert_eq!(member.data(), "still here");
    member.silence();
}

/// `sys_info` is a log line of another server: no file that it names is opened, and no client gets it.
#[test]
fn sys_info() {
    let redis = Redis::start();
    let folder = support::temp_file("log");
    let target = support::temp_file("target");
    let log = format!("[message_log]\ndir = {folder:?}\n");
    let relay = Relay::start(&format!("{}{log}", redis.section("")));
    wait_linked(&relay);
    let mut member = relay.connect("r");
    for mark in ["true", "1"] {
        redis.publish(&format!(
            r#"{{"sys_info":{mark},"key":"client_connect","log_file":{:?},"source":"demo","room_id":"r","time":"forged","clientinfo":{{"username":"li"}}}}"#,
            target.to_str().unwrap()
        ));
    }
    redis.publish(&format!(r#"{{"sys_info":true,"key":"long","err":"{}"}}"#, "x".repeat(10_000)));
    redis.publish(r#"{"sys_info":"true","source":"demo","room_id":"r","data":"no sys_info","from_sys":true}"#);
    assert_eq!(member.data(), "no sys_info");
    member.silence();
    assert!(!target.exists());
    let lines = support::wait_for("lines", || {
        let text = relay.admin("/api/log/sys").body;
        (text.matches("client_connect").count() == 2 && text.contains("long")).then_some(text)
    });
    assert!(lines.contains("li") && !lines.contains("forged") && !lines.contains("xxxx"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn refreshes_and_disconnects_reach_other_relays() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut here = relays[0].connect_with(&[("room_ids", "r"), ("userid", "u")]);
    let mut there = relays[1].connect_with(&[("room_ids", "r"), ("userid", "u")]);
    let mut other = relays[1].connect_with(&[("room_ids", "other"), ("userid", "v")]);
    let refresh = json!({"event": "refreshPage"});
    control(&relays[0], "/api/refresh", &json!({"source": "demo", "room_id": "r"}));
    assert_eq!((here.json(), there.json()), (refresh.clone(), refresh.clone()));
    other.silence();
    relays[0].admin("/refreshpage?room=demor");
    assert_eq!((here.json(), there.json()), (refresh.clone(), refresh.clone()));
    relays[0].admin("/refreshpage");
    assert_eq!([&mut here, &mut there, &mut other].map(|member| member.json()), [&refresh; 3].map(Clone::clone));
    let list = relays[1].admin("/api/online?source=demo&userid=v").json();
    let socket_id = list["list"][0]["socket_id"].as_str().unwrap().to_owned();
    control(&relays[0], "/api/refresh", &json!({"socket_id": socket_id, "source": "other"}));
    other.silence();
    control(&relays[0], "/api/refresh", &json!({"socket_id": socket_id}));
    assert_eq!(other.json(), refresh);
    control(&relays[0], "/api/disconnect", &json!({"userid": "u", "source": "other"}));
    there.silence();
    control(&relays[0], "/api/disconnect", &json!({"userid": "u"}));
    assert_eq!((here.close_code(), there.close_code()), (1008, 1008));
    control(&relays[0], "/api/disconnect", &json!({"socket_id": socket_id}));
    assert_eq!(other.close_code(), 1008);
}

#[test]
fn events_of_backends_reach_other_relays() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("[namespaces.\"/x\"]\nauth = \"open\"\nsource = \"demo\"\n");
    let mut plain = relays[1].connect_with(&[("room_ids", "r"), ("userid", "u")]);
    let mut socket = SocketIo::connect(&relays[1], "r");
    let bytes = json!({"_base64": "AP8="});
    emit(&relays[0], &json!({"source": "demo", "room_id": "r", "event": "score", "args": [1.50, {"b": bytes}]}));
    assert_eq!(plain.json(), json!({"event": "score", "args": [1.50, {"b": bytes}]}));
    let (name, args) = socket.event();
    assert_eq!((&*name, args[1]["b"]["_placeholder"].as_bool()), ("score", Some(true)));
    assert_eq!(attachment(&mut socket.socket), [0, 255]);
    emit(&relays[0], &json!({"source": "demo", "userid": "u", "event": "you", "data": "x"}));
    assert_eq!(plain.json(), json!({"event": "you", "data": "x"}));
    emit(&relays[0], &json!({"source": "demo", "event": "all"}));
    assert_eq!(plain.json(), json!({"event": "all"}));
    assert_eq!(socket.event().0, "all");
    emit(&relays[0], &json!({"source": "demo", "nsp": "/x", "event": "elsewhere"}));
    let list = relays[1].admin("/api/online?source=demo&userid=u").json();
    let socket_id = list["list"][0]["socket_id"].as_str().unwrap();
    emit(&relays[0], &json!({"source": "other", "socket_id": socket_id, "event": "not yours"}));
    emit(&relays[0], &json!({"source": "demo", "socket_id": socket_id, "event": "one"}));
    assert_eq!(plain.json(), json!({"event": "one"}));
    plain.silence();
    socket.socket.silence();
}

const PAIR: &str = "[namespaces.\"/web\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\npairing = \"/app\"\n\
    forward = [\"call_up\"]\n[namespaces.\"/app\"]\nauth = \"open\"\nsource = \"demo\"\npairing = \"/web\"\n\
    forward = [\"call_up\"]\n[[namespaces.\"/web\".rules]]\nevent = \"draw\"\nsend = \"others\"\n\
    [[namespaces.\"/web\".rules]]\nevent = \"tell\"\nsend = \"namespace\"\n";

/// Rules and pairing reach sessions at other relays.
#[test]
fn rules_and_pairs_span_relays() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays(PAIR);
    let mut web = SocketIo::open(&relays[0], "/web");
    let mut app = SocketIo::open(&relays[1], "/app");
    web.post("check_app_status", r#"{"userId":"7"}"#, "");
    assert_eq!(web.event(), ("check_app_status".into(), vec![json!({"status": 0})]));
    web.post("call_up", r#"{"userId":"7"}"#, "");
    assert_eq!(web.event(), ("error_message".into(), vec![json!({"message": "未登录"})]));
    app.post("user_login", r#"{"userId":"7"}"#, "");
    assert_eq!(app.event().0, "login_info");
    web.post("check_app_status", r#"{"userId":"7"}"#, "");
    assert_eq!(web.event(), ("check_app_status".into(), vec![json!({"status": 1})]));
    web.post("call_up", r#"{"userId":"7","n":1.50}"#, "5");
    let (name, args, ask) = app.asking();
    assert_eq!((&*name, &args[0]["n"]), ("call_up", &json!(1.50)));
    app.socket.send(&format!("43/app,{ask}[\"yes\",{{\"n\":2}}]"));
    assert_eq!(packet(&web.socket.text(), "43/web,5"), json!(["yes", {"n": 2}]));
    web.socket.silence();
    // Rooms and the namespace.
    let mut second = SocketIo::open(&relays[1], "/web");
    for socket in [&mut web, &mut second] {
        socket.post("join", r#""board,another""#, "9");
        assert_eq!(packet(&socket.socket.text(), "43/web,9")[0]["code"], 1);
    }
    web.post("draw", "[0,1]", "");
    assert_eq!(second.event(), ("draw".into(), vec![json!([0, 1])]));
    second.socket.silence();
    web.socket.silence();
    second.post("tell", "\"x\"", "");
    assert_eq!((web.event().0, second.event().0), ("tell".into(), "tell".into()));
    web.socket.silence();
    app.socket.silence();
}

/// Bytes arrive as bytes.
#[test]
fn bytes() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut text =
        Client::open(relays[0].tcp(), &format!("/ws?{}&format=text", support::login(&[("room_ids", "r")]))).unwrap();
    let mut there =
        Client::open(relays[1].tcp(), &format!("/ws?{}&format=text", support::login(&[("room_ids", "r")]))).unwrap();
    let mut socket = SocketIo::connect(&relays[1], "r");
    text.socket.send(tungstenite::Message::binary(vec![0u8, 255])).unwrap();
    assert_eq!(there.next(), tungstenite::Message::binary(vec![0u8, 255]));
    assert_eq!(socket.event().1[0]["data"], json!({"_placeholder": true, "num": 0}));
    assert_eq!(attachment(&mut socket.socket), [0, 255]);
    // JSON that only looks like bytes stays JSON.
    relays[0].notify("r", r#"{"_base64":"AP8="}"#);
    assert_eq!(there.text(), r#"{"_base64":"AP8="}"#);
}

/// Other relays notice when a relay joins or leaves.
#[test]
fn coming_and_going() {
    let redis = Redis::start();
    let mut relays: Vec<Relay> = redis.relays::<2>("").into();
    let health = relays[0].admin("/healthz").json();
    assert_eq!((&health["status"], &health["redis"]["siblings"]), (&json!("ok"), &json!(1)));
    let stats = relays[0].admin("/api/stats").json();
    assert_eq!(stats["relays"].as_array().unwrap().len(), 2);
    let mut gone = relays.pop().unwrap();
    gone.signal(15);
    assert_eq!(gone.wait(), 0);
    support::redis::wait_siblings(&relays[0], 0);
    assert_eq!(redis.hash("node.xin.com:relay_nodes").len(), 1);
    relays[0].wait_log("redis: linked to redis://127.0.0.1");
}

/// Only relays' messages may use `node` and `seq`: forging them mutes nobody, and a backend may have fields of
/// those names.
#[test]
fn forged_sequence_numbers_are_ignored() {
    let redis = Redis::start();
    for more in ["", "trust_from_sys = false\nsecret = \"between us\""] {
        let relays: [Relay; 2] = redis.relays(&format!("channel = \"of {}\"\n{more}", more.len()));
        let publish = |message: &str| redis.ask(&["PUBLISH", &format!("of {}", more.len()), message]);
        let node = relays[0].admin("/api/stats").json()["node"].as_str().unwrap().to_owned();
        let mut member = relays[1].connect("r");
        relays[0].notify("r", "before");
        assert_eq!(member.data(), "before");
        let refused = relays[1].counter("redis_refused");
        publish(&format!(r#"{{"source":"x","node":"{node}","seq":18446744073709551615}}"#));
        wait_until(refused + 1, || relays[1].counter("redis_refused"));
        relays[0].notify("r", "after");
        assert_eq!(member.data(), "after");
        for data in ["m0", "m1"] {
            let sign = notify_sign("demo", "r", data, KEY);
            publish(&format!(
                r#"{{"source":"demo","room_id":"r","data":"{data}","sign":"{sign}","node":"web-1","seq":1}}"#
            ));
            assert_eq!(member.data(), data);
        }
        assert_eq!(relays[1].counter("redis_missed"), 0);
    }
}

/// Objects that look like bytes stay objects, and cost time proportional to their number.
#[test]
fn objects_that_look_like_bytes() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("[limits]\nmessage_rate = 0\n");
    let mut sender = SocketIo::connect(&relays[0], "r");
    let mut there = SocketIo::connect(&relays[1], "r");
    // Processor time that both relays need for `times` messages with so many objects each.
    let mut price = |objects: usize, times: usize| {
        let cpu = || relays.iter().map(Relay::cpu).sum::<Duration>();
        let many = r#"{"_base64":"","a":1},"#.repeat(objects);
        let before = cpu();
        for _ in 0..times {
            sender.socket.send(&format!(r#"451-["postMsg",[{many}{{"_placeholder":true,"num":0}}],"r"]"#));
            engineio::send_bytes(&mut sender.socket, &[7]);
            let (_, args) = there.event();
            assert_eq!(attachment(&mut there.socket), [7]);
            let list = args[0]["data"].as_array().unwrap();
            let (first, last) = (&list[0], list[objects]["num"].as_u64());
            assert_eq!((list.len(), first, last), (objects + 1, &json!({"_base64": "", "a": 1}), Some(0)));
        }
        cpu() - before
    };
    // Looking for bytes from the start again at each object made it 16 times as much.
    let (many, few) = (price(20_000, 1), price(1250, 16));
    assert!(many < few * 6, "one message of 20,000 objects: {many:?}, 16 messages of 1,250: {few:?}");
}

/// A message larger than `buffer` reaches other relays while Redis works.
#[test]
fn larger_than_the_buffer() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("buffer = 100000");
    let mut there = relays[1].connect("r");
    relays[0].notify("r", &"x".repeat(300_000));
    assert_eq!(there.data().as_str().unwrap().len(), 300_000);
    relays[0].notify("r", "next");
    assert_eq!(there.data(), "next");
}

/// A relay that gets many messages without local members parses them in batches. Messages for its members arrive all
/// the same: all of it, in its order, and soon.
#[test]
fn a_busy_channel_for_others() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut member = relays[1].connect("mine");
    for round in 0..5 {
        for _ in 0..150 {
            relays[0].notify("nobody", "x");
        }
        let slept = asleep(&[relays[0].pid(), relays[1].pid(), redis.pid()], || {
            for number in 0..3 {
                relays[0].notify("mine", &format!("{round} {number}"));
            }
            for number in 0..3 {
                assert_eq!(member.data(), format!("{round} {number}"));
            }
        });
        assert!(slept < Duration::from_millis(500), "{slept:?}");
    }
    // It notices that Redis is gone, too.
    (0..150).for_each(|_| relays[0].notify("nobody", "x"));
    let connects = relays[1].counter("redis_connects");
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until(true, || relays[1].counter("redis_connects") > connects);
    wait_linked(&relays[1]);
    relays[0].notify("mine", "back");
    assert_eq!(member.data(), "back");
    assert_eq!(relays[1].counter("redis_refused"), 0);
}
