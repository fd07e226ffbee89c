//! What programs put into bodies beside plain forms and JSON: byte order marks, half surrogate pairs, multipart forms.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use crate::support::{
    self, Answer, Client, FORM, KEY, Relay, TOKEN, cli, form, notify_sign, read_answer, send_request, temp_file,
    wait_for,
};

const BOM: &str = "\u{feff}";
const SUCCESS: &str = r#"{"code":1,"msg":"message notify successed!","data":""}"#;
const JSON: &str = "application/json; charset=utf-8";

fn post(relay: &Relay, target: &str, kind: &str, body: &str) -> Answer {
    let token = format!("Bearer {TOKEN}");
    relay.request("POST", target, &[("Content-Type", kind), ("Authorization", &token)], body.as_bytes())
}

fn document(data: &str, signed: &str) -> String {
    format!(
        r#"{{"source":"demo","room_id":"room","data":{data},"sign":"{}"}}"#,
        notify_sign("demo", "room", signed, KEY)
    )
}

// Byte order marks.

#[test]
fn a_byte_order_mark_before_a_body_is_ignored() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let sign = notify_sign("demo", "room", "hi", KEY);
    let fields = form(&[("source", "demo"), ("room_id", "room"), ("data", "hi"), ("sign", &sign)]);
    let json = document("\"hi\"", "hi");
    let part =
        |(name, value): (&str, &str)| format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n");
    let parts = [("source", "demo"), ("room_id", "room"), ("data", "hi"), ("sign", &sign)].map(part).concat() + "--b--";
    for (target, kind, body) in [
        ("/api/notify", FORM, &fields),
        ("/api/notify", JSON, &json),
        ("/api/notify", "multipart/form-data; boundary=b", &parts),
        ("/api/notify/batch", JSON, &format!("{{\"messages\":[{json}]}}")),
    ] {
        let answer = post(&relay, target, kind, &format!("{BOM}{body}"));
        assert!(answer.body.starts_with("{\"code\":1"), "{target} {kind}: {answer:?}");
        assert_eq!(member.data(), "hi");
    }
    let event = r#"{"source":"demo","event":"e","room_id":"room"}"#;
    for (target, kind, body) in [
        ("/api/emit", JSON, event),
        ("/api/emit", FORM, "source=demo&event=e&room_id=room"),
        ("/api/refresh", JSON, r#"{"source":"demo","room_id":"room"}"#),
        ("/api/refresh", FORM, "source=demo&room_id=room"),
        ("/api/disconnect", JSON, r#"{"userid":"nobody"}"#),
        ("/api/disconnect", FORM, "userid=nobody"),
    ] {
        let answer = post(&relay, target, kind, &format!("{BOM}{body}"));
        assert!(answer.body.starts_with("{\"code\":1"), "{target} {kind}: {answer:?}");
    }
    // Elsewhere it is data, and a second one is not skipped.
    let sign = notify_sign("demo", "room", "\u{feff}hi", KEY);
    let fields = [("source", "demo"), ("room_id", "room"), ("data", "\u{feff}hi"), ("sign", &sign)];
    assert_eq!(relay.post_form(&fields).body, SUCCESS);
    // Skips the events of emit and refresh.
    assert_eq!(
        wait_for("data", || Some(member.json()).filter(|frame| frame["event"] == "newMsg"))["data"],
        "\u{feff}hi"
    );
    assert_eq!(post(&relay, "/api/notify", JSON, &format!("{BOM}{BOM}{json}")).status, 400);
}

#[test]
fn a_byte_order_mark_before_a_client_s_text_is_ignored() {
    let relay = Relay::start("");
    let (mut json, mut text) = (relay.connect("room"), relay.connect_with(&[("format", "text"), ("room_ids", "room")]));
    json.send(&format!("{BOM}{{\"event\":\"postMsg\",\"data\":\"hi\",\"room_ids\":\"room\"}}"));
    assert_eq!((json.data(), text.text()), ("hi".into(), "hi".into()));
    // With format=text it is part of the data.
    text.send(&format!("{BOM}hi"));
    assert_eq!((json.data(), text.text()), ("\u{feff}hi".into(), "\u{feff}hi".into()));
    let mut socketio =
        Client::open(relay.tcp(), &format!("/socket.io/?EIO=4&transport=websocket&{}", support::login(&[])))
            .unwrap_or_else(|answer| panic!("{answer:?}"));
    socketio.text();
    socketio.send(&format!("{BOM}40"));
    assert!(socketio.text().starts_with("40{"));
    socketio.send(&format!("{BOM}42[\"postMsg\",\"hi\",\"room\"]"));
    assert!(socketio.text().contains("\"data\":\"hi\""));
    // Over polling.
    let (revision3, revision4) = (format!("{BOM}24:42[\"postMsg\",\"x\",\"room\"]"), format!("{BOM}40"));
    for (revision, body) in [(3, revision3), (4, revision4)] {
        let target = format!("/socket.io/?EIO={revision}&transport=polling&{}", support::login(&[]));
        let open = relay.get(&target).body;
        let sid = open.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let answer = relay.request("POST", &format!("{target}&sid={sid}"), &[], body.as_bytes());
        assert_eq!(answer.body, "ok", "{revision}");
    }
}

/// Starts a backend that gives one answer to every hook.
fn backend(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut bytes = [0; 64 * 1024];
            let _ = stream.read(&mut bytes);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            let _ = stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat());
        }
    });
    format!("http://{address}/")
}

fn with_hook(answer: &'static str) -> Relay {
    Relay::start(&format!(
        "[hooks]\nurl = \"{}\"\n[namespaces.\"/desk\"]\nauth = \"hook\"\nsource = \"demo\"",
        backend(answer)
    ))
}

#[test]
fn a_byte_order_mark_before_a_hook_s_answer_is_ignored() {
    for answer in ["\u{feff}{\"allow\":true}", "\u{feff}", "\u{feff} \n"] {
        let relay = with_hook(answer);
        drop(Client::open(relay.tcp(), "/ws?nsp=/desk").unwrap_or_else(|refusal| panic!("{answer:?}: {refusal:?}")));
    }
    let relay = with_hook("\u{feff}{\"allow\":false,\"error\":\"no\"}");
    assert!(relay.refused("nsp=/desk").body.contains("\"no\""));
}

#[test]
fn a_byte_order_mark_in_files_is_ignored() {
    let [key, token, file] = ["key", "token", "relay.toml"].map(temp_file);
    fs::write(&key, format!("{BOM}{KEY}\r\n")).unwrap();
    fs::write(&token, format!("{BOM}{TOKEN}\n")).unwrap();
    let text = format!(
        "{BOM}listen = [\"127.0.0.1:0\"]\n[sources.demo]\nsign_key_file = {key:?}\n[admin]\ntoken_file = {token:?}\n"
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(support::binary());
    command.arg("serve").arg("--config").arg(&file);
    let relay = Relay::spawn(command, file.clone());
    assert_eq!(relay.stat("/sessions"), 0, "the token is right");
    relay.notify("room", "hi");
    let run = cli::run(&["sign", "notify", "--source", "demo", "--key-file", key.to_str().unwrap(), "room", "hi"]);
    assert!(run.out.contains(&notify_sign("demo", "room", "hi", KEY)), "{} {}", run.out, run.err);
    // A problem is where it is without the mark.
    fs::write(&file, format!("{BOM}listn = 1\n")).unwrap();
    let run = cli::run(&["check", "--config", file.to_str().unwrap()]);
    assert!(run.err.contains(":1:1: unknown key listn"), "{}", run.err);
    let _ = (fs::remove_file(key), fs::remove_file(token));
}

#[test]
fn a_byte_order_mark_before_a_redis_message_is_ignored() {
    let redis = support::redis::Redis::start();
    let relay = Relay::start(&format!("[redis]\nurl = \"{}\"\ntrust_from_sys = true", redis.url()));
    wait_for("Redis", || (relay.counter("redis_connects") >= 2).then_some(()));
    let mut member = relay.connect("room");
    wait_for("a message", || {
        redis.publish(&format!(r#"{BOM}{{"source":"demo","room_id":"room","data":"cut \ud83d","from_sys":true}}"#));
        (relay.counter("redis_received") > 0).then_some(())
    });
    assert!(member.text().contains(r#""data":"cut \ud83d""#));
}

// Half surrogate pairs.

/// JSON is forwarded as it was sent; U+FFFD stands for half a pair wherever relay needs the value.
#[test]
fn half_a_surrogate_pair_is_forwarded_and_signed_as_u_fffd() {
    let relay = Relay::start("");
    let (mut json, mut text) = (relay.connect("room"), relay.connect_with(&[("format", "text"), ("room_ids", "room")]));
    let (data, value) = (r#""cut \ud83d""#, "cut \u{fffd}");
    let mut arrives = |what: &str| {
        let begin = format!(r#"{{"event":"newMsg","source":"demo","data":{data},"room_id":"room""#);
        assert!(json.text().starts_with(&begin), "{what}");
        assert_eq!(text.text(), value, "{what}");
    };
    let notification = document(data, value);
    assert_eq!(post(&relay, "/api/notify", JSON, &notification).body, SUCCESS);
    arrives("a notification");
    let batch = post(&relay, "/api/notify/batch", JSON, &format!("{{\"messages\":[{notification}]}}"));
    assert!(batch.body.starts_with("{\"code\":1"), "{batch:?}");
    arrives("a batch");
    let mut client = relay.connect("other");
    client.send(&format!(r#"{{"event":"postMsg","data":{data},"room_ids":"room"}}"#));
    arrives("a client's message");
    // In a name of a field and in a field that relay does not know.
    let odd = notification.replacen('{', r#"{"\ud83d":1,"x":"\ud83d","#, 1);
    assert_eq!(post(&relay, "/api/notify", JSON, &odd).body, SUCCESS);
    arrives("a name of a field");
    // In a field that relay reads: the room is another one.
    let answer = post(&relay, "/api/notify", JSON, &notification.replace("\"room\"", r#""\ud83d""#));
    assert!(answer.body.contains("api notify sign verify failed!"), "{answer:?}");
    let emit = format!(r#"{{"source":"demo","room_id":"room","event":"e \udc00","data":{data}}}"#);
    assert!(post(&relay, "/api/emit", JSON, &emit).body.starts_with("{\"code\":1"));
    assert_eq!(json.text(), "{\"event\":\"e \u{fffd}\",\"data\":\"cut \\ud83d\"}");
}

#[test]
fn half_a_surrogate_pair_in_clients_events_and_hooks_answers() {
    let relay = with_hook(r#"{"error":"no \ud83d","\udc00":1}"#);
    assert!(relay.refused("nsp=/desk").body.contains("no \u{fffd}"));
    let relay = Relay::start(
        "[namespaces.\"/\"]\nauth = \"open\"\nsource = \"demo\"\n[[namespaces.\"/\".rules]]\nevent = \"*\"\nsend = \"self\"",
    );
    let mut socketio = Client::open(relay.tcp(), "/socket.io/?EIO=4&transport=websocket").unwrap_or_else(|_| panic!());
    socketio.text();
    socketio.send(r#"40{"\ud83d":1,"username":"\ud83d"}"#);
    assert!(socketio.text().starts_with("40{"));
    socketio.send(r#"42["\ud83d",{"\ud83d":"\ud83d"}]"#);
    assert_eq!(socketio.text(), "42[\"\u{fffd}\",{\"\\ud83d\":\"\\ud83d\"}]");
    assert_eq!(relay.admin("/api/online?source=demo").json()["list"][0]["username"], "\u{fffd}");
    let mut plain = Client::open(relay.tcp(), "/ws").unwrap_or_else(|answer| panic!("{answer:?}"));
    plain.send(r#"{"\ud83d":1,"event":"e","data":"\ud83d"}"#);
    assert_eq!(plain.text(), r#"{"event":"e","data":"\ud83d"}"#);
}

// multipart/form-data.

#[test]
fn curl_sends_multipart_forms() {
    let relay = Relay::start("");
    let mut member = relay.connect("room,a");
    let url = format!("http://{}/api/notify", relay.addr);
    let curl = |fields: &[&str]| {
        let fields = fields.iter().flat_map(|field| ["-F", field]);
        let output = Command::new("curl").args(["-sS", &url]).args(fields).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    };
    let data = "中 😀\n\"quoted\" a=b&c --";
    let sign = format!("sign={}", notify_sign("demo", "room", data, KEY));
    assert_eq!(curl(&["source=demo", "room_id=room", &format!("data={data}"), &sign]), SUCCESS);
    assert_eq!(member.data(), data);
    // As in other forms: several rooms, and an unknown field.
    let sign = format!("sign={}", notify_sign("demo", "room,a", "hi", KEY));
    assert_eq!(curl(&["source=demo", "room_id=room", "room_id=a", "data=hi", "x\"y=z", &sign]), SUCCESS);
    assert_eq!((member.data(), member.data()), ("hi".into(), "hi".into()));
    let file = temp_file("data.txt");
    fs::write(&file, "hi").unwrap();
    let path = file.to_str().unwrap();
    let sign = format!("sign={}", notify_sign("demo", "room", "hi", KEY));
    assert_eq!(curl(&["source=demo", "room_id=room", &format!("data=<{path}"), &sign]), SUCCESS);
    assert_eq!(member.data(), "hi");
    let refused = curl(&["source=demo", "room_id=room", &format!("data=@{path}"), &sign]);
    assert_eq!(
        refused,
        r#"{"code":0,"msg":"a part is a file: send its text as a field, without a file name","data":""}"#
    );
    fs::remove_file(file).unwrap();
    assert_eq!(curl(&["data=1", "data=2"]), r#"{"code":0,"msg":"a field is given twice","data":""}"#);
}

/// In an event, too, no field of a form is given twice.
#[test]
fn an_event_with_a_repeated_field() {
    let relay = Relay::start("");
    for twice in ["data=1&data=2", "args=[1]&args=[2]", "event=e&event=f"] {
        let body = format!("source=demo&token={TOKEN}&event=e&{twice}");
        let answer = relay.request("POST", "/api/emit", &[("Content-Type", FORM)], body.as_bytes());
        assert_eq!((answer.status, answer.json()["msg"].as_str()), (400, Some("a field is given twice")), "{twice}");
    }
}

#[test]
fn php_sends_multipart_forms() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let script = format!(
        r#"<?php
        $data = "中 😀\r\nsecond line";
        $fields = ['source' => 'demo', 'room_id' => 'room', 'data' => $data, 'sign' => md5('demoroom' . $data . '{KEY}')];
        $request = curl_init('http://{}/api/notify');
        curl_setopt_array($request, [CURLOPT_POST => true, CURLOPT_POSTFIELDS => $fields, CURLOPT_RETURNTRANSFER => true]);
        echo curl_exec($request);"#,
        relay.addr
    );
    let mut php = Command::new("php").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    php.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(php.wait_with_output().unwrap().stdout).unwrap(), SUCCESS);
    assert_eq!(member.data(), "中 😀\r\nsecond line");
}

#[test]
fn every_endpoint_that_takes_forms_takes_multipart() {
    let relay = Relay::start("");
    let part = |(name, value): &(&str, &str)| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = |target: &str, fields: &[(&str, &str)]| {
        let body = fields.iter().map(part).collect::<String>() + "--b--\r\n";
        post(&relay, target, "multipart/form-data; boundary=\"b\"", &body)
    };
    let ok = r#"{"code":1,"msg":"","data":{"sessions":0}}"#;
    assert_eq!(multipart("/api/emit", &[("source", "demo"), ("event", "e")]).body, ok);
    assert_eq!(multipart("/api/refresh", &[("source", "demo")]).body, ok);
    assert_eq!(multipart("/api/disconnect", &[("userid", "nobody")]).body, ok);
    assert_eq!(multipart("/api/notify/batch", &[("messages", "[]")]).status, 415);
    for (kind, status) in [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=c", 400),
        ("Multipart/Form-Data; charset=utf-8; Boundary=b", 200),
        ("multipart/form-data; boundary=b; charset=gbk", 415),
        ("multipart/form-data; boundary=\"b\"; charset=\"utf-8\"", 200),
        ("multipart/form-data; x=\";charset=gbk\"; boundary=b", 200),
        ("multipart/mixed; boundary=b", 415),
    ] {
        let body = [("source", "demo"), ("event", "e")].iter().map(part).collect::<String>() + "--b--\r\n";
        let answer = post(&relay, "/api/emit", kind, &body);
        assert_eq!(answer.status, status, "{kind}: {answer:?}");
    }
    // In two pieces.
    let body = part(&("source", "demo")) + &part(&("event", "e")) + "--b--\r\n";
    let mut request = Vec::new();
    let token = format!("Bearer {TOKEN}");
    let headers = [("Content-Type", "multipart/form-data; boundary=b"), ("Authorization", &*token)];
    send_request(&mut request, "POST", "/api/emit", &headers, body.as_bytes());
    let mut stream = relay.tcp();
    stream.write_all(&request[..request.len() - 20]).unwrap();
    relay.fence();
    stream.write_all(&request[request.len() - 20..]).unwrap();
    assert_eq!(read_answer(&mut stream, false).body, ok);
}
