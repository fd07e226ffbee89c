//! docs/protocol.md, Namespaces and rules: what an event from a client does, for clients of every kind at once.

use std::{fs, io::Write, process::Command, time::Duration};

use relay::sign::{Subject, to_hex};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{
    self, Client, FORM, KEY, Relay, TOKEN, connect_sign,
    engineio::{self, bytes, json, send_bytes, websocket},
    form, login, temp_file, wait_for,
};

/// JSON of this many levels.
fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

/// A client of one kind in a namespace: 3 and 4 are generations of Socket.IO, 0 a plain WebSocket.
struct Member {
    kind: u8,
    namespace: String,
    socket: Client,
}

impl Member {
    fn enter(relay: &Relay, kind: u8, namespace: &str, query: &str) -> Member {
        let socket = match kind {
            0 => Client::open(relay.tcp(), &format!("/ws?nsp={namespace}&{query}")).unwrap(),
            kind => {
                let (mut socket, _) = websocket(relay, &format!("EIO={kind}&{query}"));
                // Who speaks the older protocol is in `/` first, or is not let in there.
                if kind == 3 && socket.text() == "40" && !query.contains("sign=") {
                    assert!(socket.text().contains("sys_error"));
                    assert_eq!(socket.text(), "41");
                }
                socket.send(&format!("40{namespace},{}", if kind == 4 { "{}" } else { "" }));
                assert!(socket.text().starts_with(&format!("40{namespace},")));
                socket
            }
        };
        Member { kind, namespace: namespace.into(), socket }
    }

    fn send(&mut self, name: &str, args: &Value, ack: Option<u64>) {
        let text = match (self.kind, ack) {
            (0, None) => json!({"event": name, "args": args}).to_string(),
            (0, Some(ack)) => json!({"event": name, "args": args, "ack": ack}).to_string(),
            (_, ack) => {
                let list: Vec<Value> = [json!(name)].into_iter().chain(args.as_array().unwrap().clone()).collect();
                format!("42{},{}{}", self.namespace, ack.map(|ack| ack.to_string()).unwrap_or_default(), json!(list))
            }
        };
        self.socket.send(&text);
    }

    fn join(&mut self, rooms: &str) {
        match self.kind {
            0 => self.socket.send(&json!({"event": "join", "room_ids": rooms, "ack": 99}).to_string()),
            _ => self.send("join", &json!([rooms]), Some(99)),
        }
        let text = self.socket.text();
        assert!(text.contains("\"code\":1"), "{text}");
    }

    /// The next event: its name, its arguments, and the number under which it may be acknowledged.
    fn event(&mut self) -> (String, Value, Option<u64>) {
        let text = self.socket.text();
        if self.kind == 0 {
            let message: Value = serde_json::from_str(&text).unwrap();
            let args = match (message.get("data"), message.get("args")) {
                (Some(data), None) => json!([data]),
                (None, Some(args)) => args.clone(),
                _ => json!([]),
            };
            return (message["event"].as_str().unwrap().into(), args, message["ack"].as_u64());
        }
        let rest = text.strip_prefix(&format!("42{},", self.namespace)).unwrap_or_else(|| panic!("{text}"));
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut list: Vec<Value> = serde_json::from_str(&rest[digits..]).unwrap();
        let name = list.remove(0).as_str().unwrap().to_owned();
        (name, json!(list), rest[..digits].parse().ok())
    }

    fn expect(&mut self, name: &str, args: &Value) {
        assert_eq!(self.event(), (name.into(), args.clone(), None), "kind {}", self.kind);
    }

    /// The arguments of an acknowledgement.
    fn ack(&mut self, number: u64) -> Value {
        let text = self.socket.text();
        if self.kind == 0 {
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&answer["event"], &answer["ack"]), (&json!("ack"), &json!(number)), "{text}");
            return match (answer["code"] == 1, answer.get("args"), answer.get("data")) {
                (true, Some(args), _) => args.clone(),
                (true, None, Some(data)) => json!([data]),
                (true, None, None) => json!([]),
                _ => json!([{"code": answer["code"], "msg": answer["msg"], "data": answer["data"]}]),
            };
        }
        json(&text, &format!("43{},{number}", self.namespace))
    }

    fn acknowledge(&mut self, number: u64, args: &Value) {
        match self.kind {
            0 => self.socket.send(&json!({"event": "ack", "ack": number, "args": args}).to_string()),
            _ => self.socket.send(&format!("43{},{number}{args}", self.namespace)),
        }
    }

    fn silence(&mut self) {
        self.socket.silence();
    }
}

const KINDS: [u8; 3] = [0, 3, 4];

const CHAT: &str = r#"
[namespaces."/chat"]
auth = "open"
source = "demo"
join = true
[[namespaces."/chat".rules]]
event = "others"
send = "others"
[[namespaces."/chat".rules]]
event = "rooms"
send = "rooms"
as = "msg"
[[namespaces."/chat".rules]]
event = "self"
send = "self"
ack = "echo"
[[namespaces."/chat".rules]]
event = "all"
send = "namespace"
ack = { ok = true }
[[namespaces."/chat".rules]]
event = "drop"
send = "drop"
ack = "taken"
[[namespaces."/chat".rules]]
event = "*"
send = "others"
as = "something"
[namespaces."/other"]
auth = "open"
source = "demo"
"#;

#[test]
fn the_three_broadcasts_of_a_chat() {
    let relay = Relay::start(CHAT);
    for kind in KINDS {
        let mut members: Vec<_> = KINDS.map(|kind| Member::enter(&relay, kind, "/chat", "")).into();
        let mut sender = Member::enter(&relay, kind, "/chat", "");
        let mut stranger = Member::enter(&relay, 4, "/chat", "");
        let mut elsewhere = Member::enter(&relay, 0, "/other", "");
        stranger.join("another");
        members.iter_mut().chain([&mut sender]).for_each(|member| member.join("room"));
        let args = json!([{"text": "hello 你好"}, 1.5, null]);
        sender.send("others", &args, None);
        members.iter_mut().for_each(|member| member.expect("others", &args));
        sender.send("rooms", &json!(["one"]), None);
        members.iter_mut().chain([&mut sender]).for_each(|member| member.expect("msg", &json!(["one"])));
        sender.send("self", &json!([]), Some(7));
        sender.expect("self", &json!([]));
        assert_eq!(sender.ack(7), json!([]));
        sender.send("all", &json!([2]), Some(8));
        members.iter_mut().chain([&mut sender, &mut stranger]).for_each(|member| member.expect("all", &json!([2])));
        assert_eq!(sender.ack(8), json!([{"ok": true}]));
        sender.send("drop", &json!([2]), Some(9));
        assert_eq!(sender.ack(9), json!(["taken"]));
        sender.send("whatever", &json!([3]), None);
        members.iter_mut().for_each(|member| member.expect("something", &json!([3])));
        // What relay itself says is no client's to say, unless a rule names it.
        for own in ["newMsg", "sys_error", "refreshPage"] {
            sender.send(own, &json!([{"source": "demo"}]), None);
        }
        members.iter_mut().chain([&mut sender, &mut stranger, &mut elsewhere]).for_each(Member::silence);
    }
    assert!(relay.counter("events") > 0 && relay.counter("emitted") > 0);
}

/// A client that shares two rooms with the sender gets it once.
#[test]
fn several_rooms() {
    let relay = Relay::start(CHAT);
    let mut members: Vec<_> = ["a,b", "b,c", "c"]
        .iter()
        .zip(KINDS)
        .map(|(rooms, kind)| {
            let mut member = Member::enter(&relay, kind, "/chat", "");
            member.join(rooms);
            member
        })
        .collect();
    let mut sender = Member::enter(&relay, 4, "/chat", "");
    sender.send("rooms", &json!(["to nobody: it is in no room"]), None);
    sender.join("a,b");
    sender.send("rooms", &json!([1]), None);
    sender.send("others", &json!([2]), None);
    for member in &mut members[..2] {
        member.expect("msg", &json!([1]));
        member.expect("others", &json!([2]));
    }
    sender.expect("msg", &json!([1]));
    members.iter_mut().chain([&mut sender]).for_each(Member::silence);
}

#[test]
fn bytes_are_passed_on() {
    let relay = Relay::start(CHAT);
    let mut plain = Member::enter(&relay, 0, "/chat", "");
    let mut four = Member::enter(&relay, 4, "/chat", "");
    let mut three = Member::enter(&relay, 3, "/chat", "");
    [&mut plain, &mut four, &mut three].into_iter().for_each(|member| member.join("room"));
    four.socket.send("451-/chat,[\"others\",{\"a\":{\"_placeholder\":true,\"num\":0}},2]");
    send_bytes(&mut four.socket, &[0, 255]);
    plain.expect("others", &json!([{"a": {"_base64": "AP8="}}, 2]));
    assert_eq!(three.socket.text(), "451-/chat,[\"others\",{\"a\":{\"_placeholder\":true,\"num\":0}},2]");
    assert_eq!(bytes(&mut three.socket), [4, 0, 255]);
    four.socket.send("451-/chat,5[\"self\",{\"_placeholder\":true,\"num\":0}]");
    send_bytes(&mut four.socket, &[7]);
    assert_eq!(four.socket.text(), "451-/chat,[\"self\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bytes(&mut four.socket), [7]);
    assert_eq!(four.socket.text(), "461-/chat,5[{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bytes(&mut four.socket), [7]);
}

/// One attachment stands in one place, and nothing that is none looks like one: else a packet of a few kilobytes would
/// become gigabytes, or throw every client out that gets it.
#[test]
fn placeholders_are_right_or_refused() {
    let relay = Relay::start(CHAT);
    let right = "{\"_placeholder\":true,\"num\":0}";
    for args in [
        format!("{right},{right}"),
        format!("{right},{{\"_placeholder\":true,\"num\":99,\"x\":1}}"),
        "{\"_placeholder\":true}".into(),
        "{\"_placeholder\":true,\"num\":-1}".into(),
        "{\"\\u005fplaceholder\":true,\"num\":5}".into(),
    ] {
        let mut member = Member::enter(&relay, 4, "/chat", "");
        member.socket.send(&format!("451-/chat,[\"self\",{args}]"));
        while member.socket.socket.read().is_ok() {}
    }
    assert_eq!(relay.counter("protocol_errors"), 5);
    // Without attachments it is data like any other.
    let mut member = Member::enter(&relay, 4, "/chat", "");
    member.send("self", &json!([{"_placeholder": true, "num": 7}]), None);
    member.expect("self", &json!([{"_placeholder": true, "num": 7}]));
    // And from a backend it is not put beside bytes.
    let fields = json!({"source": "demo", "nsp": "/chat", "event": "e", "args": [[1], {"_base64": "AA=="}, {"_placeholder": true, "num": 9}]});
    let answer = relay.post_json(&format!("/api/emit?token={TOKEN}"), &fields.to_string());
    assert_eq!(answer.json()["data"]["sessions"], 1);
    member.expect("e", &fields["args"]);
}

/// A namespace that sources share with signatures keeps them apart.
#[test]
fn sources_do_not_hear_each_other() {
    let relay = Relay::start(
        "[namespaces.\"/s\"]\n[[namespaces.\"/s\".rules]]\nevent = \"all\"\nsend = \"namespace\"\n\
         [[namespaces.\"/s\".rules]]\nevent = \"user\"\nsend = \"user\"\n",
    );
    let query = |source: &str, key: &str| {
        let sign = connect_sign(source, "r", key);
        form(&[("source", source), ("room_ids", "r"), ("sign", &sign), ("userid", "7")])
    };
    let demo = query("demo", KEY);
    let (mut one, mut two) = (Member::enter(&relay, 0, "/s", &demo), Member::enter(&relay, 0, "/s", &demo));
    let mut other = Member::enter(&relay, 0, "/s", &query("other", "other key"));
    one.send("all", &json!([1]), None);
    one.expect("all", &json!([1]));
    two.expect("all", &json!([1]));
    one.send("user", &json!([{"userId": "7"}]), None);
    one.expect("user", &json!([{"userId": "7"}]));
    two.expect("user", &json!([{"userId": "7"}]));
    [&mut one, &mut two, &mut other].into_iter().for_each(Member::silence);
}

const PAIR: &str = r#"
[namespaces."/web"]
auth = "open"
source = "demo"
pairing = "/app"
[namespaces."/app"]
auth = "open"
source = "demo"
pairing = "/web"
"#;

/// The texts that pages show are those of the source.
#[test]
fn texts_of_a_source() {
    let texts =
        "[sources.demo.texts]\nuser_quit = \"{username} has left {username}\"\nnot_logged_in = \"not \\\"here\\\"\"\n";
    let relay = Relay::start(&format!("{PAIR}{texts}"));
    let mut web = Member::enter(&relay, 4, "/web", "");
    web.send("call_up", &json!([{"userId": "absent"}]), None);
    web.expect("error_message", &json!([{"message": "not \"here\""}]));
    web.send("call_up", &json!([{"userId": "absent"}]), Some(3));
    web.expect("error_message", &json!([{"message": "not \"here\""}]));
    assert_eq!(web.ack(3), json!([{"code": 0, "msg": "not \"here\"", "data": ""}]));
    let mut watcher = relay.connect("room");
    drop(relay.connect_with(&[("username", "mary"), ("watch_quit", "1")]));
    let quit = json!({"username": "mary", "key": "user_quit", "msg": "mary has left mary"});
    assert_eq!(watcher.data(), quit);
}

#[test]
fn pages_and_apps_of_a_user() {
    let relay = Relay::start(PAIR);
    let users = || relay.admin("/api/users?source=demo").json()["list"].clone();
    let mut web: Vec<_> = KINDS.map(|kind| Member::enter(&relay, kind, "/web", "")).into();
    let mut app = Member::enter(&relay, 4, "/app", "");
    web[0].send("check_app_status", &json!([{"userId": "7"}]), None);
    web[0].expect("check_app_status", &json!([{"status": 0}]));
    let payload = json!({"userId": "7", "what": [1, {"b": null}]});
    web[0].send("call_up", &json!([payload]), None);
    web[0].expect("error_message", &json!([{"message": "未登录"}]));
    for (index, login) in
        [json!({"userId": "7", "userName": "li"}), json!("{\"userId\":7}"), json!({"userId": 7})].iter().enumerate()
    {
        web[index].send("user_login", &json!([login]), Some(1));
        web[index].expect("login_info", &json!([{"succeeded": true}]));
        assert_eq!(web[index].ack(1), json!([{"succeeded": true}]));
    }
    for wrong in
        [json!([]), json!([{"userId": ""}]), json!(["no JSON"]), json!([[]]), json!([{"userId": "x".repeat(500)}])]
    {
        app.send("user_login", &wrong, None);
        app.expect("login_info", &json!([{"succeeded": false}]));
    }
    assert_eq!(users(), json!([{"userid": "7", "sessions": 3, "nsp": {"/web": 3}}]));
    app.send("user_login", &json!([{"userId": "7"}]), None);
    app.expect("login_info", &json!([{"succeeded": true}]));
    web[1].send("check_app_status", &json!([]), Some(2));
    web[1].expect("check_app_status", &json!([{"status": 1}]));
    assert_eq!(web[1].ack(2), json!([{"status": 1}]));
    web[0].send("call_up", &json!([payload, "more"]), None);
    app.expect("call_up", &json!([payload, "more"]));
    app.send("call_in", &json!([]), None);
    web.iter_mut().for_each(|page| page.expect("call_in", &json!([])));
    // The first who answers answers.
    app.send("call_in", &json!(["?"]), Some(5));
    let asked: Vec<_> = web.iter_mut().map(|page| page.event().2.unwrap()).collect();
    for (page, number) in web.iter_mut().zip(asked).rev() {
        page.acknowledge(number, &json!(["by", page.kind]));
        page.acknowledge(number, &json!(["again"]));
        if page.kind == 4 {
            assert_eq!(app.ack(5), json!(["by", 4]));
        }
    }
    app.silence();
    // Another user is another.
    let mut other = Member::enter(&relay, 0, "/app", "");
    other.send("user_login", &json!([{"userId": "8"}]), None);
    other.expect("login_info", &json!([{"succeeded": true}]));
    web[0].send("call_up", &json!([{"userId": "8"}]), None);
    other.expect("call_up", &json!([{"userId": "8"}]));
    let list = json!([{"userid": "7", "sessions": 4, "nsp": {"/app": 1, "/web": 3}}, {"userid": "8", "sessions": 1, "nsp": {"/app": 1}}]);
    assert_eq!(users(), list);
    drop(app);
    wait_for("the app to go", || (users() != list).then_some(()));
    web[2].send("call_up", &json!([{}]), Some(6));
    web[2].expect("error_message", &json!([{"message": "未登录"}]));
    assert_eq!(web[2].ack(6), json!([{"code": 0, "msg": "未登录", "data": ""}]));
}

/// Where logins are signed, the login must match the signed userid.
#[test]
fn pairing_with_signatures() {
    let relay = Relay::start("[namespaces.\"/web\"]\npairing = \"/app\"\n[namespaces.\"/app\"]\npairing = \"/web\"\n");
    let mut page = Member::enter(&relay, 0, "/web", &login(&[("userid", "7")]));
    for (userid, right) in [("8", false), ("7", true)] {
        page.send("user_login", &json!([{"userId": userid}]), None);
        page.expect("login_info", &json!([{"succeeded": right}]));
    }
}

#[test]
fn an_answer_that_does_not_come() {
    let relay = Relay::start(PAIR);
    let [mut page, mut app] = ["/web", "/app"].map(|namespace| {
        let mut member = Member::enter(&relay, 4, namespace, "");
        member.send("user_login", &json!([{"userId": "7"}]), None);
        member.expect("login_info", &json!([{"succeeded": true}]));
        member
    });
    page.send("call_up", &json!([1]), Some(3));
    let number = app.event().2.unwrap();
    engineio::patience(&page.socket, Duration::from_secs(12));
    assert_eq!(page.ack(3), json!([{"code": 0, "msg": "nobody answered!", "data": ""}]));
    app.acknowledge(number, &json!(["too late"]));
    page.silence();
    // A client cannot acknowledge for another one.
    let mut stranger = Member::enter(&relay, 4, "/app", "");
    page.send("call_up", &json!([2]), Some(4));
    let number = app.event().2.unwrap();
    stranger.acknowledge(number, &json!(["forged"]));
    page.silence();
    app.acknowledge(number, &json!(["right"]));
    assert_eq!(page.ack(4), json!(["right"]));
}

#[test]
fn backends_emit() {
    let relay = Relay::start(&format!("{CHAT}{PAIR}"));
    let mut chat: Vec<_> = KINDS.map(|kind| Member::enter(&relay, kind, "/chat", "")).into();
    chat[0].join("room");
    let mut app = Member::enter(&relay, 4, "/app", "");
    app.send("user_login", &json!([{"userId": "7"}]), None);
    app.expect("login_info", &json!([{"succeeded": true}]));
    let emit = |fields: Value| {
        let headers = [("Authorization", &*format!("Bearer {TOKEN}")), ("Content-Type", "application/json")];
        relay.request("POST", "/api/emit", &headers, fields.to_string().as_bytes()).json()
    };
    let told = |sessions: u64| json!({"code": 1, "msg": "", "data": {"sessions": sessions}});
    assert_eq!(
        emit(json!({"source": "demo", "nsp": "/chat", "room_id": "room", "event": "e", "data": {"a": 1}})),
        told(1)
    );
    chat[0].expect("e", &json!([{"a": 1}]));
    assert_eq!(
        emit(json!({"source": "demo", "nsp": "/chat", "event": "e", "args": [1, {"_base64": "AP8="}]})),
        told(3)
    );
    chat[0].expect("e", &json!([1, {"_base64": "AP8="}]));
    assert_eq!(chat[2].socket.text(), "451-/chat,[\"e\",1,{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bytes(&mut chat[2].socket), [0, 255]);
    assert_eq!(emit(json!({"source": "demo", "nsp": "/app", "userid": 7, "event": "call_in"})), told(1));
    app.expect("call_in", &json!([]));
    let id = relay.admin("/api/online?source=demo").json()["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|record| record["nsp"] == "/app")
        .unwrap()["socket_id"]
        .clone();
    assert_eq!(emit(json!({"source": "demo", "socket_id": id, "event": "one", "data": "x"})), told(1));
    app.expect("one", &json!(["x"]));
    assert_eq!(emit(json!({"source": "other", "socket_id": id, "event": "one"})), told(0), "not the source's");
    assert_eq!(emit(json!({"source": "demo", "nsp": "/app", "userid": "nobody", "event": "e"})), told(0));
    // Signed, as a form.
    let signed = |fields: &[(&str, &str)], subject: &Subject<'_>| {
        let sign = to_hex(&subject.md5(KEY.as_bytes()));
        let mut all = fields.to_vec();
        all.push(("sign", &sign));
        relay.request("POST", "/api/emit", &[("Content-Type", FORM)], form(&all).as_bytes()).json()
    };
    let fields =
        [("source", "demo"), ("nsp", "/chat"), ("room_id", "room"), ("event", "signed"), ("data", "{\"text\":1}")];
    let subject =
        |data| Subject::Emit { source: "demo", nsp: "/chat", kind: "room_id", to: "room", event: "signed", data };
    assert_eq!(signed(&fields, &subject(b"{\"text\":1}")), told(1));
    chat[0].expect("signed", &json!(["{\"text\":1}"]));
    assert_eq!(signed(&fields, &subject(b"other"))["msg"], "api notify sign verify failed!");
    let ts = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let full =
        Subject::Emit { source: "demo", nsp: "/chat", kind: "room_id", to: "room", event: "signed", data: b"[1,2]" };
    let hmac = to_hex(&full.hmac(KEY.as_bytes(), &ts));
    let fields = [
        ("source", "demo"),
        ("nsp", "/chat"),
        ("room_id", "room"),
        ("event", "signed"),
        ("args", "[1,2]"),
        ("sign_type", "hmac-sha256"),
        ("ts", &ts),
        ("sign", &hmac),
    ];
    let answer = relay.request("POST", "/api/emit", &[("Content-Type", FORM)], form(&fields).as_bytes());
    assert_eq!(answer.json(), told(1));
    chat[0].expect("signed", &json!([1, 2]));
    let again = relay.request("POST", "/api/emit", &[("Content-Type", FORM)], form(&fields).as_bytes());
    assert_eq!((again.status, again.json()["msg"].clone()), (200, json!("sign was used before!")));
    // Refused.
    for (fields, why) in [
        (json!({"source": "demo"}), "event can not be null!"),
        (json!({"event": "e"}), "source can not be null!"),
        (json!({"source": "demo", "event": "e\n"}), "event can not have control characters!"),
        (json!({"source": "demo", "event": "e", "nsp": "/\n"}), "nsp can not have control characters!"),
        (json!({"source": "demo", "event": "e", "room_id": "r\n"}), "room_id can not have control characters!"),
        (json!({"source": "demo", "event": "e", "userid": "7\u{7f}"}), "userid can not have control characters!"),
        (json!({"source": "demo", "event": "e", "socket_id": "\t"}), "socket_id can not have control characters!"),
        (
            json!({"source": "demo", "event": "e", "args": [serde_json::from_str::<Value>(&nested(101)).unwrap()]}),
            "args can not be nested more than 100 levels deep!",
        ),
        (json!({"source": "nobody", "event": "e"}), "this source can not be configured!"),
        (json!({"source": "demo", "event": "disconnect"}), "this event's name belongs to Socket.IO!"),
        (json!({"source": "demo", "event": "e", "nsp": "/nowhere"}), "Invalid namespace"),
        (json!({"source": "demo", "event": "e", "args": {}}), "args is a JSON array"),
        (
            json!({"source": "demo", "event": "e", "userid": "7", "room_id": "r"}),
            "room_id, userid and socket_id: one of them would be right",
        ),
    ] {
        assert_eq!(emit(fields)["msg"], why);
    }
    let unsigned = relay.post_json("/api/emit", &json!({"source": "demo", "event": "e"}).to_string());
    assert_eq!(unsigned.json()["msg"], "sign can not be null!");
    let wrong = relay.post_json("/api/emit?token=wrong", &json!({"source": "demo", "event": "e"}).to_string());
    assert_eq!(wrong.status, 401);
    app.silence();
}

#[test]
fn rules_change_with_a_reload() {
    let relay = Relay::start(CHAT);
    let mut members: Vec<_> = KINDS.map(|kind| Member::enter(&relay, kind, "/chat", "")).into();
    let mut other = Member::enter(&relay, 4, "/other", "");
    members.iter_mut().for_each(|member| member.join("room"));
    let text = fs::read_to_string(&relay.config).unwrap();
    let changed =
        text.replace("as = \"msg\"", "as = \"changed\"").replace("[namespaces.\"/other\"]", "[namespaces.\"/new\"]");
    fs::write(&relay.config, changed).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    members[0].send("rooms", &json!([1]), None);
    members.iter_mut().for_each(|member| member.expect("changed", &json!([1])));
    // A namespace that is gone ends its sessions; a new one is there at once, and may come back.
    other.expect("sys_error", &json!(["this source can not be configured!"]));
    assert_eq!(other.socket.text(), "41/other,");
    other.socket.send("40/other,");
    assert_eq!(json(&other.socket.text(), "44/other,"), json!({"message": "Invalid namespace"}));
    let _new = Member::enter(&relay, 0, "/new", "source=x");
    fs::write(&relay.config, &text).unwrap();
    relay.signal(1);
    let mut again = wait_for("it to be back", || Client::open(relay.tcp(), "/ws?nsp=/other").ok());
    again.send(r#"{"event":"x","ack":1}"#);
    assert_eq!(again.json()["msg"], "unknown event!");
    let _ = relay.connect("room");
}

/// Volatile events are dropped for clients that still have unsent data.
#[test]
fn volatile_events() {
    let relay = Relay::start(
        "[limits]\nmessage_rate = 0\n[namespaces.\"/game\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\n\
         [[namespaces.\"/game\".rules]]\nevent = \"move\"\nsend = \"others\"\nvolatile = true\n",
    );
    let mut slow = Member::enter(&relay, 4, "/game", "");
    let mut quick = Member::enter(&relay, 0, "/game", "");
    let mut player = Member::enter(&relay, 4, "/game", "");
    [&mut slow, &mut quick, &mut player].into_iter().for_each(|member| member.join("field"));
    SockRef::from(slow.socket.socket.get_ref()).set_recv_buffer_size(4096).unwrap();
    let padding = "x".repeat(20_000);
    let mut sent = 0;
    while relay.counter("volatile_dropped") < 100 {
        for number in sent..sent + 100 {
            player.send("move", &json!([number, padding]), None);
            assert_eq!(quick.event().1[0], number, "who reads gets all");
        }
        sent += 100;
        assert!(sent < 5000, "the kernel takes everything");
    }
    assert!(relay.counter("volatile_dropped") > 50, "{}", relay.counter("volatile_dropped"));
    assert_eq!(relay.counter("slow_consumers"), 0, "nothing was queued for it");
    let mut last = -1;
    slow.socket.socket.get_ref().set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut count = 0;
    while let Ok(tungstenite::Message::Text(text)) = slow.socket.socket.read() {
        let number = json(&text, "42/game,")[1].as_i64().unwrap();
        assert!(number > last, "in order");
        (last, count) = (number, count + 1);
    }
    assert!((2..=sent - 100).contains(&count), "{count} of {sent}");
}

#[test]
fn plain_websockets_in_namespaces() {
    let relay = Relay::start(&format!("{CHAT}welcome = {{ event = \"news\", data = {{ hello = \"world\" }} }}\n"));
    let mut member = Member::enter(&relay, 0, "/other", "");
    member.expect("news", &json!([{"hello": "world"}]));
    member.send("x", &json!([]), Some(1));
    assert_eq!(member.ack(1), json!([{"code": 0, "msg": "unknown event!", "data": ""}]));
    for reserved in ["connect", "disconnect", "disconnecting"] {
        member.send(reserved, &json!([]), Some(2));
        assert_eq!(member.ack(2)[0]["msg"], "unknown event!");
    }
    let refused = Client::open(relay.tcp(), "/ws?nsp=/nowhere").unwrap_err();
    assert_eq!((refused.status, refused.json()["msg"].as_str()), (401, Some("Invalid namespace")));
    let refused = Client::open(relay.tcp(), "/ws?nsp=/chat&format=text").unwrap_err();
    assert_eq!(refused.status, 400);
}

#[test]
fn invalid_rules_are_refused() {
    let rule = |text: &str| format!("[namespaces.\"/n\"]\nauth = \"open\"\n[[namespaces.\"/n\".rules]]\n{text}\n");
    for (text, why) in [
        (rule("event = \"x\"\nsend = \"others\"\nto = \"/n\""), "to needs send = \"user\""),
        (rule("event = \"x\"\nsend = \"user\"\nto = \"/gone\""), "there is no [namespaces.\"/gone\"]"),
        (rule("event = \"x\"\nsend = \"others\"\nack = \"peer\""), "ack = \"peer\" needs send = "),
        (rule("event = \"x\"\nsend = \"self\"\nack = \"hook\""), "ack = \"hook\" needs send = \"hook\""),
        (rule("event = \"x\"\nsend = \"drop\"\nvolatile = true"), "volatile needs a rule that sends to clients"),
        (rule("event = \"x\"\nsend = \"drop\"\nas = \"y\""), "as needs a rule that sends to clients"),
        (rule("event = \"connect\"\nsend = \"self\""), "\"connect\" is reserved by Socket.IO"),
        (rule("event = \"x\"\nsend = \"self\"\nas = \"disconnect\""), "is reserved by Socket.IO"),
        ("[namespaces.\"/n\"]\nauth = \"open\"\npairing = \"/gone\"\n".into(), "there is no [namespaces.\"/gone\"]"),
        (
            "[namespaces.\"/\"]\n[[namespaces.\"/\".rules]]\nevent = \"postMsg\"\nsend = \"self\"\n".into(),
            "is a built-in event here",
        ),
    ] {
        let file = temp_file("bad.toml");
        fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let output = Command::new(support::binary()).args(["check", "--config"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(why), "{why} not in {said}");
        fs::remove_file(file).unwrap();
    }
}

/// The demo setting pairs `/web` and `/app`.
#[test]
fn the_demo_setting_pairs_pages_and_apps() {
    let mut command = Command::new(support::binary());
    command.args(["--listen", "127.0.0.1:0"]).env_remove("RELAY_CONFIG");
    let relay = Relay::spawn(command, temp_file("none"));
    let mut page = Member::enter(&relay, 4, "/web", "");
    let mut app = Member::enter(&relay, 3, "/app", "");
    for member in [&mut page, &mut app] {
        member.send("user_login", &json!([{"userId": "1305", "socketId": "x", "userName": "li"}]), None);
        member.expect("login_info", &json!([{"succeeded": true}]));
    }
    page.send("call_up", &json!([{"userId": "1305"}]), None);
    app.expect("call_up", &json!([{"userId": "1305"}]));
}
