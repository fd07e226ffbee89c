//! docs/protocol.md, Hooks: requests to the backend, what its answers do, and how it fails.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use relay::{
    clock::Time,
    hooks::{self, AttemptError, Kind, Lane, dispatcher::Dispatcher},
    key::{ClientKey, Slots},
    sign::hmac_hex,
};
use serde_json::{Value, json};

use crate::support::{
    self, Client, Relay, TOKEN,
    engineio::{self, Polling, json, send_bytes, websocket},
    growth::{assert_linear, processor_time},
    temp_file, wait_for,
};

/// A request as the backend saw it.
#[derive(Clone, Debug)]
struct Call {
    headers: HashMap<String, String>,
    line: String,
    body: Value,
    raw: String,
}

impl Call {
    fn event(&self) -> &str {
        self.body["event"].as_str().unwrap()
    }
}

/// A backend on threads: each request is kept and answered by a function, which gives the bytes of a whole response.
#[derive(Clone)]
struct Backend {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<AtomicUsize>,
}

type Answer = Arc<dyn Fn(&Call) -> Vec<u8> + Send + Sync>;

impl Backend {
    fn start(answer: impl Fn(&Call) -> Value + Send + Sync + 'static) -> Backend {
        Backend::raw(move |call| ok(&answer(call).to_string()))
    }

    /// `answer` gives the whole response; nothing closes the connection.
    fn raw(answer: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static) -> Backend {
        Backend::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    fn on(listener: TcpListener, answer: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static) -> Backend {
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let backend = Backend { url, calls: Arc::default(), connections: Arc::default() };
        let (own, answer): (Backend, Answer) = (backend.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (own, answer) = (own.clone(), answer.clone());
                thread::spawn(move || own.serve(stream.try_clone().unwrap(), stream, &*answer));
            }
        });
        backend
    }

    fn serve(&self, reading: impl Read, mut writing: impl Write, answer: &(dyn Fn(&Call) -> Vec<u8> + Send + Sync)) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut reading = BufReader::new(reading);
        loop {
            let mut line = String::new();
            if reading.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut headers = HashMap::new();
            loop {
                let mut header = String::new();
                reading.read_line(&mut header).unwrap();
                let Some((name, value)) = header.trim_end().split_once(": ") else { break };
                headers.insert(name.to_lowercase(), value.to_owned());
            }
            let mut raw = vec![0; headers["content-length"].parse().unwrap()];
            reading.read_exact(&mut raw).unwrap();
            let raw = String::from_utf8(raw).unwrap();
            let call = Call { headers, line: line.trim_end().into(), body: serde_json::from_str(&raw).unwrap(), raw };
            self.calls.lock().unwrap().push(call.clone());
            let answer = answer(&call);
            if answer.is_empty() || writing.write_all(&answer).is_err() || answer.starts_with(b"HTTP/1.0") {
                return;
            }
        }
    }

    fn calls(&self, event: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.event() == event).cloned().collect()
    }

    fn wait(&self, event: &str, count: usize) -> Vec<Call> {
        wait_for(event, || Some(self.calls(event)).filter(|calls| calls.len() >= count))
    }

    /// A relay with a namespace whose logins and events the backend decides, and one without.
    fn relay(&self, more: &str) -> Relay {
        relay(&self.url, more)
    }
}

/// The timeout is long enough for a busy machine, unless `more` sets one.
fn relay(url: &str, more: &str) -> Relay {
    let timeout = if more.contains("timeout") { "" } else { "timeout = 30\n" };
    Relay::start(&format!(
        "shutdown_timeout = 60\n[hooks]\nurl = \"{url}\"\nsecret = \"s3cret\"\n{timeout}{more}\n[namespaces.\"/\"]\nauth = \"sign\"\n\
         [namespaces.\"/hook\"]\nauth = \"hook\"\nsource = \"demo\"\njoin = true\n\
         [[namespaces.\"/hook\".rules]]\nevent = \"*\"\nsend = \"hook\"\n\
         [namespaces.\"/open\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\n\
         [[namespaces.\"/open\".rules]]\nevent = \"say\"\nsend = \"rooms\"\n"
    ))
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A Socket.IO 4 client that has asked to join `/hook`.
fn knock(relay: &Relay, auth: &Value) -> Client {
    let (mut socket, _) = websocket(relay, "EIO=4&token=abc&sign=secret&x=%E4%BD%A0");
    socket.send(&format!("40/hook,{auth}"));
    socket
}

/// A client that has joined `/hook`.
fn enter(relay: &Relay) -> Client {
    let mut socket = knock(relay, &json!({}));
    let text = socket.text();
    assert!(text.starts_with("40/hook,{\"sid\":\""), "{text}");
    socket
}

fn event(socket: &mut Client) -> Value {
    json(&socket.text(), "42/hook,")
}

#[test]
fn hook_requests_have_their_fields_and_signature() {
    let backend = Backend::start(|_| json!({}));
    let relay = backend.relay("");
    let mut socket = knock(&relay, &json!({"token": "t", "userid": "7", "username": "li", "room_ids": "a,b"}));
    let sid = json(&socket.text(), "40/hook,")["sid"].clone();
    socket.send("42/hook,5[\"ask\", 1.50 ,{\"b\":\"你\"}]");
    socket.send("451-/hook,[\"bytes\",{\"_placeholder\":true,\"num\":0}]");
    send_bytes(&mut socket, &[0, 255]);
    backend.wait("message", 2);
    drop(socket);
    backend.wait("disconnect", 1);
    let calls = backend.calls.lock().unwrap().clone();
    assert_eq!(calls.iter().map(Call::event).collect::<Vec<_>>(), ["connect", "message", "message", "disconnect"]);
    let mut ids = Vec::new();
    for call in &calls {
        assert_eq!(call.line, "POST /hook?a=b HTTP/1.1");
        assert_eq!(call.headers["content-type"], "application/json");
        assert_eq!(call.headers["host"], backend.url[7..].split('/').next().unwrap());
        assert_eq!(call.headers["x-relay-signature"], format!("sha256={}", hmac_hex(b"s3cret", call.raw.as_bytes())));
        assert_eq!(call.headers["x-relay-timestamp"], call.body["ts"].to_string());
        assert_eq!(call.headers["idempotency-key"], call.body["id"]);
        ids.push(call.body["id"].clone());
        let common = json!({
            "event": call.event(), "nsp": "/hook", "socket_id": sid, "source": "demo", "userid": "7", "username": "li",
            "ip": "127.0.0.1", "ts": call.body["ts"], "rooms": ["a", "b"], "id": call.body["id"],
        });
        let mut body = call.body.clone();
        let fields = body.as_object_mut().unwrap();
        let more: Vec<_> = ["query", "auth", "name", "args"].map(|name| fields.remove(name)).into();
        assert_eq!(body, common);
        match call.event() {
            "connect" => {
                let auth = json!({"token": "t", "userid": "7", "username": "li", "room_ids": "a,b"});
                assert_eq!(more[..2], [Some(json!({"token": "abc", "x": "你"})), Some(auth)], "and no signature");
            }
            "message" => assert!(more[2].is_some() && more[3].is_some()),
            _ => assert_eq!(more, [None, None, None, None]),
        }
    }
    assert!(calls[1].raw.contains("\"args\":[ 1.50 ,{\"b\":\"你\"}]"), "untouched: {}", calls[1].raw);
    assert_eq!(calls[2].body["args"], json!([{"_base64": "AP8="}]));
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(backend.connections.load(Ordering::Relaxed), 1, "one connection is enough");
}

#[test]
fn connect_hook_decides_on_logins() {
    let backend = Backend::start(|call| match call.body["auth"]["token"].as_str() {
        Some("right") => json!({"allow": true, "userid": "9", "username": "from the backend", "join": ["vip"]}),
        Some("error") => json!({"allow": false, "error": "your token is old"}),
        _ => json!({"allow": false}),
    });
    let relay = backend.relay("");
    for (token, why) in [("error", "your token is old"), ("wrong", "not allowed!")] {
        let mut socket = knock(&relay, &json!({"token": token}));
        assert_eq!(json(&socket.text(), "44/hook,"), json!({"message": why}));
        socket.send("42/hook,[\"ask\"]");
        socket.silence();
    }
    assert_eq!(backend.calls("message").len(), 0);
    let mut right = knock(&relay, &json!({"token": "right", "username": "forged"}));
    assert!(right.text().starts_with("40/hook,{"));
    let online = relay.admin("/api/online?source=demo").json();
    assert_eq!(
        (&online["list"][0]["username"], &online["list"][0]["room_ids"]),
        (&json!("from the backend"), &json!("vip"))
    );
    let users = relay.admin("/api/users?source=demo&nsp=/hook").json();
    assert_eq!(users["list"], json!([{"userid": "9", "sessions": 1, "nsp": {"/hook": 1}}]));
    // A plain WebSocket waits with its upgrade.
    let refused = Client::open(relay.tcp(), "/ws?nsp=/hook&userid=1").unwrap_err();
    assert_eq!((refused.status, refused.json()["msg"].as_str()), (401, Some("not allowed!")));
    assert_eq!(relay.stat("/sessions"), 1);
    // Logins to other namespaces make no calls.
    let before = backend.calls.lock().unwrap().len();
    let _signed = relay.connect("room");
    let _open = Client::open(relay.tcp(), "/ws?nsp=/open").unwrap();
    assert_eq!(backend.calls.lock().unwrap().len(), before);
}

/// Frames sent before the backend has answered are not lost, and a client can give up its login.
#[test]
fn a_login_that_waits() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let inner = gate.clone();
    let backend = Backend::start(move |call| {
        if call.event() == "connect" {
            drop(inner.lock().unwrap());
        }
        json!({"ack": ["heard"]})
    });
    let relay = backend.relay("");
    let mut stream = relay.tcp();
    let upgrade = "GET /ws?nsp=/hook HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let text = b"{\"event\":\"ask\",\"ack\":1}";
    let frame = [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], &text[..]].concat();
    stream.write_all(&[upgrade.as_bytes(), &frame].concat()).unwrap();
    let gone = relay.tcp();
    (&gone).write_all(upgrade.as_bytes()).unwrap();
    let mut other = knock(&relay, &json!({}));
    other.send("42/hook,[\"too early\"]");
    backend.wait("connect", 3);
    assert_eq!(relay.admin("/api/online?source=demo").json()["sessions"], 0, "nobody sees who waits");
    drop(gone);
    wait_for("it to be gone", || (relay.stat("/sessions") == 2).then_some(()));
    drop(held);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 101 Switching Protocols\r\n");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let mut answer = vec![0; 2];
    reader.read_exact(&mut answer).unwrap();
    let mut payload = vec![0; answer[1] as usize];
    reader.read_exact(&mut payload).unwrap();
    let expected = json!({"event": "ack", "ack": 1, "code": 1, "msg": "", "data": "heard"});
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), expected);
    // Later frames are read, too.
    stream.write_all(&frame).unwrap();
    reader.read_exact(&mut answer).unwrap();
    reader.read_exact(&mut payload).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), expected);
    assert!(other.text().starts_with("40/hook,"));
    other.silence();
    // The backend admitted a client that had gone: it gets a disconnect.
    let left = backend.wait("disconnect", 1)[0].body["socket_id"].clone();
    let came: Vec<_> = backend.calls("connect").iter().map(|call| call.body["socket_id"].clone()).collect();
    assert!(came.contains(&left), "{left} of {came:?}");
    assert_eq!(backend.calls("message").len(), 2, "who is not in is not heard");
}

#[test]
fn hook_answers_are_carried_out() {
    let backend = Backend::start(|call| match call.body["name"].as_str() {
        None => json!({"join": "lobby"}),
        Some("ask") => json!({"ack": ["an answer", {"_base64": "AP8="}]}),
        Some("tell me") => json!({"emit": [{"event": "told", "args": [1, "x"]}, {"event": "told", "to": "self"}]}),
        Some("tell all") => {
            json!({"emit": [{"event": "all", "args": [{"from": call.body["socket_id"]}], "to": {"room": "lobby"}}]})
        }
        Some("tell li") => json!({"emit": {"event": "li", "args": ["hi"], "to": {"user": "li"}}}),
        Some("tell open") => json!({"emit": {"event": "open", "args": ["hi"], "to": {"nsp": "/open"}}}),
        Some("move") => json!({"leave": ["lobby"], "join": ["elsewhere"]}),
        Some("go") => json!({"disconnect": true, "emit": {"event": "bye"}}),
        Some(_) => json!({}),
    });
    let relay = backend.relay("");
    let (mut one, mut other) = (enter(&relay), knock(&relay, &json!({"userid": "li"})));
    assert!(other.text().starts_with("40/hook,"));
    let mut plain = Client::open(relay.tcp(), "/ws?nsp=/hook&userid=li").unwrap();
    one.send("42/hook,3[\"ask\",1]");
    assert_eq!(one.text(), "461-/hook,3[\"an answer\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(engineio::bytes(&mut one), [0, 255]);
    plain.send(r#"{"event":"ask","ack":"a"}"#);
    let args = json!(["an answer", {"_base64": "AP8="}]);
    assert_eq!(plain.json(), json!({"event": "ack", "ack": "a", "code": 1, "msg": "", "args": args}));
    one.send("42/hook,[\"tell me\"]");
    assert_eq!((event(&mut one), event(&mut one)), (json!(["told", 1, "x"]), json!(["told"])));
    one.send("42/hook,[\"tell all\"]");
    let all = [event(&mut one), event(&mut other)];
    assert_eq!((all[0][0].as_str(), &all[0]), (Some("all"), &all[1]));
    assert_eq!(plain.json()["event"], "all");
    one.send("42/hook,[\"tell li\"]");
    assert_eq!(event(&mut other), json!(["li", "hi"]));
    assert_eq!(plain.json(), json!({"event": "li", "data": "hi"}));
    let mut open = Client::open(relay.tcp(), "/ws?nsp=/open").unwrap();
    one.send("42/hook,[\"tell open\"]");
    assert_eq!(open.json(), json!({"event": "open", "data": "hi"}));
    other.send("42/hook,[\"move\"]");
    wait_for("the move", || {
        let rooms = relay.admin("/api/rooms?source=demo").json()["list"].clone();
        rooms.as_array().unwrap().contains(&json!({"room_id": "elsewhere", "members": 1})).then_some(())
    });
    one.send("42/hook,[\"tell all\"]");
    assert_eq!(event(&mut one)[0], "all");
    other.silence();
    one.send("42/hook,[\"nothing\"]");
    one.send("42/hook,[\"go\"]");
    assert_eq!(event(&mut one), json!(["bye"]));
    assert_eq!(one.text(), "41/hook,");
    backend.wait("disconnect", 1);
}

#[test]
fn calls_of_a_session_come_in_order_and_sessions_take_turns() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let inner = gate.clone();
    let backend = Backend::start(move |call| {
        if call.body["args"][0] == "slow" {
            drop(inner.lock().unwrap());
        }
        json!({"ack": call.body["args"]})
    });
    let relay = backend.relay("[limits]\nmessage_rate = 0\n");
    let (mut one, mut other) = (enter(&relay), enter(&relay));
    one.send("42/hook,0[\"x\",\"slow\"]");
    for number in 1..50 {
        one.send(&format!("42/hook,{number}[\"x\",{number}]"));
    }
    other.send("42/hook,7[\"x\",\"quick\"]");
    assert_eq!(other.text(), "43/hook,7[\"quick\"]");
    assert_eq!(backend.wait("message", 2).len(), 2, "what follows the slow call waits for it");
    drop(held);
    assert_eq!(one.text(), "43/hook,0[\"slow\"]");
    for number in 1..50 {
        assert_eq!(one.text(), format!("43/hook,{number}[{number}]"));
    }
    let order: Vec<_> = backend.calls("message").iter().map(|call| call.body["args"][0].clone()).collect();
    let own: Vec<_> = order.into_iter().filter(Value::is_number).collect();
    assert_eq!(own, (1..50).map(Value::from).collect::<Vec<_>>());
    // Too many at once.
    let held = gate.lock().unwrap();
    let before = relay.counter("client_messages");
    one.send("42/hook,[\"x\",\"slow\"]");
    for number in 0..600 {
        one.send(&format!("42/hook,{number}[\"x\",{number}]"));
    }
    wait_for("all to be handled", || (relay.counter("client_messages") == before + 601).then_some(()));
    drop(held);
    let answers: Vec<_> = (0..600).map(|_| one.text()).collect();
    let busy = answers.iter().filter(|answer| answer.contains("the backend is busy!")).count();
    assert!((95..=105).contains(&busy), "{busy}");
}

/// Only the client that asked learns of a failure.
#[test]
fn a_backend_that_fails() {
    let behaviours: [(&str, bool, Vec<u8>); 9] = [
        ("status 503", true, b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("not an HTTP response", true, b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("the body is too large", true, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec()),
        ("no answer in time", true, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()),
        ("Content-Length", true, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec()),
        ("", false, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("", false, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("", false, ok("<html>oops</html>")),
        ("", false, ok("[1]")),
    ];
    for (why, down, response) in behaviours {
        // One of them answers too late; the others answer at once.
        let timeout = if why == "no answer in time" { "1.5" } else { "30" };
        let own = response.clone();
        let backend = Backend::raw(move |call| if call.event() == "message" { own.clone() } else { ok("") });
        let relay = backend.relay(&format!("timeout = {timeout}\n"));
        let mut socket = enter(&relay);
        socket.send("42/hook,1[\"x\"]");
        let refusal = json!([{"code": 0, "msg": "the backend does not answer!", "data": ""}]);
        assert_eq!(json(&socket.text(), "43/hook,1"), refusal, "{why}");
        for _ in 0..7 {
            socket.send("42/hook,[\"x\"]");
            assert_eq!(event(&mut socket), json!(["sys_error", "the backend does not answer!"]));
        }
        assert!(relay.counter("hook_failures") >= 5);
        let health = relay.admin("/healthz").json();
        if down {
            relay.wait_log("hooks: the backend does not answer");
            assert_eq!((&health["status"], &health["hooks"]["status"]), (&json!("degraded"), &json!("failing")));
            assert!(health["hooks"]["error"].as_str().unwrap().contains(why), "{health}");
            assert!(
                backend.calls("message").len() <= 7,
                "what may have been heard is not repeated, and then it is left alone"
            );
        } else {
            // The backend is alive: an error that one client provokes does not open the breaker for others.
            assert_eq!(health["hooks"]["status"], "ok");
            enter(&relay);
        }
    }
}

#[test]
fn a_backend_that_hangs_dies_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let relay = relay(&format!("http://{address}/"), "timeout = 0.5\n");
    let mut witness = Client::open(relay.tcp(), "/ws?nsp=/open").unwrap();
    let mut asked = 0;
    let mut refused = |relay: &Relay| {
        asked += 1;
        let mut socket = knock(relay, &json!({}));
        assert_eq!(json(&socket.text(), "44/hook,"), json!({"message": "the backend does not answer!"}));
    };
    // It accepts connections and never answers: each login is refused after the timeout.
    let begin = Instant::now();
    refused(&relay);
    assert!(begin.elapsed() >= Duration::from_millis(500));
    witness.send(r#"{"event":"ping"}"#);
    assert_eq!(witness.json()["event"], "pong");
    for _ in 0..4 {
        refused(&relay);
    }
    assert_eq!(relay.admin("/healthz").json()["hooks"]["error"], "no answer in time");
    let for_strangers = relay.get("/healthz").body;
    assert_eq!(for_strangers, r#"{"status":"degraded","hooks":{"status":"failing"}}"#);
    // Now the breaker is open: the backend is not even asked, except by a probe now and then.
    let before = relay.metric("relay_hook_calls_total");
    (0..20).for_each(|_| refused(&relay));
    let asked = relay.metric("relay_hook_calls_total") - before;
    assert!(asked < 10, "{asked} of 20 logins waited for the backend");
    drop(listener);
    refused(&relay);
    // It is back.
    let listener = TcpListener::bind(address).unwrap();
    let backend = Backend::on(listener, |_| ok("{}"));
    wait_for("recovery", || {
        let mut socket = knock(&relay, &json!({}));
        socket.text().starts_with("40/hook").then_some(())
    });
    relay.wait_log("hooks: the backend answers again");
    assert_eq!(relay.get("/healthz").json()["status"], "ok");
    assert!(!backend.calls("connect").is_empty());
    assert!(relay.descriptors() < 60);
}

#[test]
fn without_a_backend_it_may_be_allowed() {
    // Nothing listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let relay = relay(&format!("http://127.0.0.1:{port}"), "on_failure = \"allow\"\ntimeout = 0.5\n");
    let mut socket = knock(&relay, &json!({"room_ids": "a"}));
    assert!(socket.text().starts_with("40/hook,{"));
    assert_eq!(relay.admin("/api/online?source=demo").json()["list"][0]["room_ids"], "a");
    socket.send("42/hook,[\"x\"]");
    assert_eq!(event(&mut socket), json!(["sys_error", "the backend does not answer!"]));
}

/// `on_failure = "allow"` is for a backend that does not answer. One that answers admits clients with a valid answer
/// only, whatever words are in it.
#[test]
fn only_a_valid_answer_admits() {
    let backend = Backend::raw(|call| {
        let status = |status: u16| format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes();
        match (call.body["auth"]["status"].as_u64(), call.body["auth"]["body"].as_str()) {
            (Some(code), _) => status(code as u16),
            (None, Some(body)) => ok(body),
            (None, None) => ok("{}"),
        }
    });
    let relay = backend.relay("on_failure = \"allow\"\n");
    let answer = |auth: &Value| knock(&relay, auth).text();
    let refused = |auth: &Value| {
        let text = answer(auth);
        assert!(text.starts_with("44/hook,"), "{auth}: {text}");
        json(&text, "44/hook,")["message"].as_str().unwrap().to_owned()
    };
    for (body, why) in [
        (r#"{"error":"allow"}"#, "allow"),
        (r#"{"error":"\"allow\":true"}"#, "\"allow\":true"),
        (r#"{"error":"no","ack":[{"allow":true}]}"#, "no"),
        (r#"{"allo\u0077":false}"#, "not allowed!"),
        (r#"{"allow":null}"#, "not allowed!"),
    ] {
        assert_eq!(refused(&json!({"body": body})), why, "{body}");
    }
    for body in [
        r#"{"allow":"no"}"#,
        r#"{"allow":"true"}"#,
        r#"{"allow":1}"#,
        r#"{"allow":true,"allow":false}"#,
        r#"{"allow":true"#,
        r#"{"allow":true,"userid":{}}"#,
        "[]",
        "\"allow\"",
        "null",
        "allow",
    ] {
        assert_eq!(refused(&json!({"body": body})), "the backend does not answer!", "{body}");
    }
    for status in [302, 401, 403, 404, 429, 500] {
        assert_eq!(refused(&json!({"status": status})), "the backend does not answer!", "{status}");
    }
    for admitted in [json!({"status": 503}), json!({"body": r#"{"allo\u0077":true,"error":"x"}"#}), json!({})] {
        assert!(answer(&admitted).starts_with("40/hook,{"), "{admitted}");
    }
}

/// The backend hangs while 32 calls are in flight, and is well again. It is called again after the first pause: the 32
/// failures are one. The bounds count calls and refusals, so a slow machine only makes them smaller.
#[test]
fn a_hiccup_of_the_backend() {
    let hangs = Arc::new(AtomicBool::new(true));
    let own = hangs.clone();
    let backend = Backend::raw(move |call| {
        while call.event() == "message" && own.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        ok("{\"ack\":[\"good\"]}")
    });
    let relay = backend.relay("timeout = 2\n");
    let mut clients: Vec<Client> = (0..32).map(|_| enter(&relay)).collect();
    clients.iter_mut().for_each(|client| client.send("42/hook,1[\"x\"]"));
    backend.wait("message", 32);
    for client in &mut clients {
        let refusal = json!([{"code": 0, "msg": "the backend does not answer!", "data": ""}]);
        assert_eq!(json(&client.text(), "43/hook,1"), refusal);
    }
    hangs.store(false, Ordering::Relaxed);
    let mut refused = 0;
    loop {
        clients[0].send("42/hook,2[\"x\"]");
        if clients[0].text() == "43/hook,2[\"good\"]" {
            break;
        }
        refused += 1;
        assert!(refused < 60, "one event every 100 ms was refused, {refused} of them");
        thread::sleep(Duration::from_millis(100));
    }
    // The first call after the pause is the test, and it is answered.
    assert_eq!(backend.calls("message").len(), 33, "after {refused} refusals");
    assert_eq!(relay.get("/healthz").json()["hooks"]["status"], "ok");
}

/// This needs no relay.
#[test]
fn giving_up_many_calls_takes_time_for_each_once() {
    let mut slots: Slots<ClientKey, ()> = Slots::new();
    let all: Vec<Lane> = (0..8_000).map(|_| (slots.insert(()), 0)).collect();
    assert_linear(500, |count| {
        let mut calls = Dispatcher::default();
        calls.configure(Duration::from_secs(3), 1_000_000);
        // In lanes of their own, and in lanes of ten calls; each tenth is a disconnect, which stays.
        for number in 0..count {
            let lane = all[if number % 2 == 0 { number } else { number / 10 }];
            let kind = if number % 10 == 9 { Kind::Disconnect } else { Kind::Message };
            let call = hooks::Call { number: number as u64, lane, kind, id: "".into(), body: "{}".into(), extra: 0 };
            calls.submit(call, Time::START).unwrap();
        }
        let sent: Vec<u64> = std::iter::from_fn(|| calls.poll_send(Time::START).map(|call| call.number)).collect();
        let begin = processor_time();
        let fail = |number| calls.handle_attempt_error(number, AttemptError::Timeout, Time::START).len();
        let finished: usize = sent.into_iter().map(fail).sum();
        let took = processor_time() - begin;
        assert!(finished > count * 8 / 10 && calls.len() >= count / 10, "{finished}");
        took
    });
}

#[test]
fn connections_that_end_chunks_and_names() {
    let answers = AtomicUsize::new(0);
    let backend = Backend::raw(move |_| {
        match answers.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        1 => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n".to_vec(),
        2 => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => b"HTTP/1.0 200 OK\r\n\r\n".to_vec(),
    }
    });
    // By name: found on a thread of its own.
    let port = backend.url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let relay = relay(&format!("http://localhost:{port}/"), "");
    let mut socket = enter(&relay);
    for number in 0..20 {
        socket.send(&format!("42/hook,[\"x\",{number}]"));
    }
    backend.wait("message", 20);
    let order: Vec<_> = backend.calls("message").iter().map(|call| call.body["args"][0].clone()).collect();
    assert_eq!(order, (0..20).map(Value::from).collect::<Vec<_>>());
    assert_eq!(relay.counter("hook_failures"), 0);
}

/// A call on a connection that the backend has just closed is sent again, with the same idempotency key.
#[test]
fn stale_connections() {
    let backend = Backend::raw(|call| match call.body["args"][0].as_str() {
        // Answers, and closes without announcing it.
        Some("last") => ok("{}"),
        _ => ok("{\"ack\":[1]}"),
    });
    let relay = backend.relay("");
    let mut socket = enter(&relay);
    for round in 0..20 {
        socket.send(&format!("42/hook,{round}[\"x\",\"again\"]"));
        assert_eq!(socket.text(), format!("43/hook,{round}[1]"));
        // Idle connections are closed after 4 s; here the test is that reuse works.
    }
    assert_eq!(backend.connections.load(Ordering::Relaxed), 1);
    let closing = Backend::raw({
        let count = AtomicUsize::new(0);
        move |_| if count.fetch_add(1, Ordering::Relaxed) % 2 == 1 { Vec::new() } else { ok("{\"ack\":[2]}") }
    });
    let relay = closing.relay("");
    let mut socket = enter(&relay);
    for round in 0..5 {
        socket.send(&format!("42/hook,{round}[\"x\"]"));
        assert_eq!(socket.text(), format!("43/hook,{round}[2]"));
    }
    let calls = closing.calls("message");
    let mut keys: Vec<_> = calls.iter().map(|call| call.headers["idempotency-key"].clone()).collect();
    assert!(calls.len() > 5, "some were sent twice");
    keys.dedup();
    assert_eq!(keys.len(), 5, "under the same name");
    assert!(relay.counter("hook_retries") >= 1);
}

#[test]
fn a_backend_on_a_unix_socket() {
    let path = temp_file("backend.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let backend = Backend { url: String::new(), calls: Arc::default(), connections: Arc::default() };
    let own = backend.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let own = own.clone();
            thread::spawn(move || own.serve(stream.try_clone().unwrap(), stream, &|_| ok("{\"ack\":[3]}")));
        }
    });
    let relay = relay(&format!("http://unix:{}:/hook", path.display()), "");
    let mut socket = enter(&relay);
    socket.send("42/hook,1[\"x\"]");
    assert_eq!(socket.text(), "43/hook,1[3]");
    assert_eq!(
        (&*backend.calls("message")[0].line, &*backend.calls("message")[0].headers["host"]),
        ("POST /hook HTTP/1.1", "localhost")
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn a_reload_changes_the_backend() {
    let (old, new) = (Backend::start(|_| json!({"ack": ["old"]})), Backend::start(|_| json!({"ack": ["new"]})));
    let relay = old.relay("");
    let mut socket = enter(&relay);
    socket.send("42/hook,1[\"x\"]");
    assert_eq!(socket.text(), "43/hook,1[\"old\"]");
    let text = fs::read_to_string(&relay.config).unwrap().replace(&old.url, &new.url);
    fs::write(&relay.config, text).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    socket.send("42/hook,2[\"x\"]");
    assert_eq!(socket.text(), "43/hook,2[\"new\"]");
}

#[test]
fn polling_clients_and_old_ones() {
    let backend = Backend::start(|call| match call.body["query"]["token"].as_str() {
        Some("no") => json!({"allow": false, "error": "no"}),
        _ => json!({"ack": ["yes"]}),
    });
    let relay = backend.relay("");
    let (poll, _) = Polling::open(&relay, "EIO=4");
    poll.post(&["40/hook,"]);
    assert!(poll.poll()[0].starts_with("40/hook,{"));
    poll.post(&["42/hook,1[\"x\"]"]);
    assert_eq!(poll.poll(), ["43/hook,1[\"yes\"]"]);
    let (mut old, _) = websocket(&relay, &format!("EIO=3&{}", support::login(&[])));
    assert_eq!(old.text(), "40");
    old.send("40/hook");
    assert_eq!(old.text(), "40/hook,");
    old.send("40/hook?token=no");
    let (mut old, _) = websocket(&relay, &format!("EIO=3&token=no&{}", support::login(&[])));
    assert_eq!(old.text(), "40");
    old.send("40/hook");
    assert_eq!(old.text(), "44/hook,\"no\"");
}

/// A shutdown reports every session that is left.
#[test]
fn shutdown_sends_disconnect_for_every_session() {
    let backend = Backend::start(|_| json!({}));
    let mut relay = backend.relay("");
    let sockets: Vec<_> = (0..20).map(|_| enter(&relay)).collect();
    relay.signal(15);
    drop(sockets);
    assert_eq!(relay.wait(), 0);
    assert_eq!(backend.calls("disconnect").len(), 20);
}

/// While presence is on, the call of a session that was lost waits for the grace, and says whether the user is back.
#[test]
fn disconnect_waits_for_the_grace() {
    let backend = Backend::start(|call| json!({"userid": call.body["query"]["user"], "join": ["room"]}));
    let mut relay = backend.relay("[presence]\nevents = true\ngrace = 1\n");
    let knock = |relay: &Relay, user: &str| {
        let (mut socket, _) = websocket(relay, &format!("EIO=4&user={user}"));
        socket.send("40/hook");
        assert!(socket.text().starts_with("40/hook,{\"sid\":\""));
        socket
    };
    // A goodbye is reported as ever.
    knock(&relay, "1").send("41/hook");
    let call = backend.wait("disconnect", 1).remove(0).body;
    assert_eq!((&call["userid"], &call["reason"]), (&json!("1"), &Value::Null));
    drop(knock(&relay, "2"));
    let lost = backend.wait("disconnect", 2).remove(1).body;
    assert_eq!((&lost["userid"], &lost["reason"], &lost["returned"]), (&json!("2"), &json!("lost"), &json!(false)));
    assert_eq!(lost["rooms"], json!(["room"]));
    drop(knock(&relay, "3"));
    let _back = knock(&relay, "3");
    let lost = backend.wait("disconnect", 3).remove(2).body;
    assert_eq!((&lost["userid"], &lost["returned"]), (&json!("3"), &json!(true)));
    // When relay stops, nothing waits.
    std::fs::write(&relay.config, std::fs::read_to_string(&relay.config).unwrap().replace("grace = 1", "grace = 600"))
        .unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    drop(knock(&relay, "4"));
    wait_for("the loss", || (relay.stat("/sessions") == 1).then_some(()));
    assert_eq!(backend.calls("disconnect").len(), 3);
    relay.signal(15);
    assert_eq!(relay.wait(), 0);
    let mut users: Vec<Value> =
        backend.calls("disconnect")[3..].iter().map(|call| call.body["userid"].clone()).collect();
    users.sort_by_key(Value::to_string);
    assert_eq!(users, ["3", "4"]);
}

/// An open namespace whose events go to the backend: connect is called there, too, and may refuse.
#[test]
fn an_open_namespace_with_a_hook() {
    let backend = Backend::start(|call| json!({"allow": call.body["userid"] != "bad", "ack": [call.body["event"]]}));
    let relay = Relay::start(&format!(
        "\n[hooks]\nurl = \"{}\"\n[namespaces.\"/o\"]\nauth = \"open\"\nsource = \"demo\"\n\
         [[namespaces.\"/o\".rules]]\nevent = \"ask\"\nsend = \"hook\"\nack = \"hook\"\n\
         [[namespaces.\"/o\".rules]]\nevent = \"echo\"\nsend = \"hook\"\nack = \"echo\"\n",
        backend.url
    ));
    assert_eq!(Client::open(relay.tcp(), "/ws?nsp=/o&userid=bad").unwrap_err().status, 401);
    let mut good = Client::open(relay.tcp(), "/ws?nsp=/o&userid=good").unwrap();
    good.send(r#"{"event":"ask","ack":1}"#);
    assert_eq!(good.json()["data"], "message");
    assert!(!backend.calls("message")[0].headers.contains_key("x-relay-signature"), "without a secret there is none");
    assert_eq!(relay.admin(&format!("/api/stats?token={TOKEN}")).json()["sessions"], 1);
}

#[test]
fn invalid_hook_settings_are_refused() {
    for (text, why) in [
        ("[namespaces.\"/h\"]\nauth = \"hook\"\n", "hooks.url is missing"),
        ("[namespaces.\"/h\"]\n[[namespaces.\"/h\".rules]]\nevent=\"x\"\nsend=\"hook\"\n", "hooks.url is missing"),
        ("[hooks]\nurl = \"ftp://x/\"\n", "expected http://host:port/path"),
        (
            "[hooks]\nurl = \"http://x/\"\nevents = [\"message\"]\n[namespaces.\"/h\"]\nauth = \"hook\"\n",
            "needs \\\"connect\\\"",
        ),
    ] {
        let file = temp_file("bad.toml");
        fs::write(&file, text).unwrap();
        let output =
            std::process::Command::new(support::binary()).args(["check", "--config"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&why.replace('\\', "")), "{said}");
        fs::remove_file(file).unwrap();
    }
}

/// A claimed name does not replace the userid that the backend gave.
#[test]
fn pairing_cannot_claim_another_userid() {
    let backend = Backend::start(|_| json!({"userid": "mallory"}));
    let relay = Relay::start(&format!(
        "\n[hooks]\nurl = \"{}\"\n[namespaces.\"/p\"]\nauth = \"hook\"\nsource = \"demo\"\npairing = \"/p\"\n",
        backend.url
    ));
    let mut socket = Client::open(relay.tcp(), "/ws?nsp=/p").unwrap();
    for (userid, right) in [("alice", false), ("mallory", true)] {
        socket.send(&json!({"event": "user_login", "data": {"userId": userid}}).to_string());
        assert_eq!(socket.json()["data"], json!({"succeeded": right}));
    }
    assert_eq!(relay.admin("/api/users?source=demo").json()["list"][0]["userid"], "mallory");
}

/// A reload removes `[hooks]`: pending logins end, and the relay does not spin.
#[test]
fn a_reload_that_takes_the_backend_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = relay(&format!("http://{}/", listener.local_addr().unwrap()), "timeout = 1\n");
    let mut waiting = knock(&relay, &json!({}));
    let text = fs::read_to_string(&relay.config).unwrap();
    let without = text.split("[hooks]").next().unwrap();
    fs::write(&relay.config, without).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    assert_eq!(waiting.text(), r#"44/hook,{"message":"this source can not be configured!"}"#);
    // Longer than the timeout of the call.
    thread::sleep(Duration::from_millis(1500));
    relay.assert_idle("nothing is left of the backend");
}

/// Commands do not reach a client whose login is pending.
#[test]
fn a_pending_login_is_not_a_session() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let inner = gate.clone();
    let backend = Backend::start(move |_| {
        drop(inner.lock().unwrap());
        json!({})
    });
    let relay = backend.relay("");
    let mut socket = knock(&relay, &json!({}));
    let id = backend.wait("connect", 1)[0].body["socket_id"].clone();
    for (target, fields) in [
        ("/api/emit", json!({"source": "demo", "nsp": "/hook", "socket_id": id, "event": "early"})),
        ("/api/emit", json!({"source": "demo", "nsp": "/hook", "event": "early"})),
        ("/api/refresh", json!({"socket_id": id})),
        ("/api/disconnect", json!({"socket_id": id})),
    ] {
        let answer = relay.post_json(&format!("{target}?token={TOKEN}"), &fields.to_string()).json();
        assert_eq!(answer["data"]["sessions"], 0, "{target} {answer}");
    }
    drop(held);
    assert!(socket.text().starts_with("40/hook,{"));
    socket.silence();
}

/// What an operator is told about decisions of the backend (docs/protocol.md, GET /api/why).
#[test]
fn decisions_are_in_the_journal() {
    let backend = Backend::raw(|call| match (call.event(), call.body["args"][0].as_str()) {
        ("connect", _) if call.body["auth"]["userid"] == "8" => ok("{\"allow\":false,\"error\":\"you are banned\"}"),
        ("connect", _) => ok("{\"userid\":\"7\",\"join\":[\"a\"]}"),
        (_, Some("fail")) => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        (_, Some("leave")) => ok("{\"leave\":[\"a\"]}"),
        (_, Some("end")) => ok("{\"disconnect\":true}"),
        _ => ok("{}"),
    });
    let relay = backend.relay("");
    let mut banned = knock(&relay, &json!({"userid": "8"}));
    banned.text();
    let mut socket = enter(&relay);
    for name in ["fail", "leave", "end"] {
        socket.send(&format!("42/hook,[\"say\",\"{name}\"]"));
    }
    wait_for("the end", || (relay.stat("/sessions") == 0).then_some(()));
    let lines = |query: &str| {
        let data = relay.admin(&format!("/api/why?source=demo&{query}")).json()["data"].clone();
        data["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let texts = lines("userid=7&room_id=a");
    let has = |words: &str| assert!(texts.iter().any(|text| text.ends_with(words)), "no {words}: {texts:#?}");
    has(" logged in: the backend has admitted it");
    has(" joined room a (by the backend)");
    has("the backend did not answer a call about it: status 500");
    has(" left room a (by the backend)");
    has(" was to be ended: the backend, in its answer to an event");
    let refused = lines("userid=8");
    assert_eq!(refused, ["a login was refused: by the backend: you are banned"]);
}
