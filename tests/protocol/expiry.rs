//! docs/protocol.md, Logins that expire: tokens and signatures with an end, over every transport.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use relay::sign::{Claims, LEEWAY, Subject, TokenPolicy, to_hex};
use serde_json::{Value, json};

use crate::support::{self, Answer, Client, KEY, Relay, TOKEN, form, wait_for};

const SECRET: &str = "a secret of thirty-two characters";
const JWT: &str = "[sources.shop]\nsign_key = \"key of the shop\"\nsign = { connect = [] }\n\
                   jwt = { secret = \"a secret of thirty-two characters\" }\n";

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of user 7 with these rooms that is valid for `seconds` more. Less than zero: it is in its last seconds.
fn token(rooms: &[&str], seconds: i64) -> String {
    make(SECRET, "7", rooms, true, unix().checked_add_signed(seconds).unwrap())
}

fn make(secret: &str, userid: &str, rooms: &[&str], may_post: bool, expires: u64) -> String {
    let rooms = rooms.iter().map(|room| room.to_string()).collect();
    let claims = Claims { userid: userid.into(), username: Some("spring".into()), rooms, may_post, expires };
    claims.to_token(secret, None, &TokenPolicy::default(), unix())
}

/// The query of a login with a token.
fn query(jwt: &str, more: &[(&str, &str)]) -> String {
    form(&[&[("source", "shop"), ("jwt", jwt)], more].concat())
}

fn connect(relay: &Relay, jwt: &str, more: &[(&str, &str)]) -> Client {
    Client::open(relay.tcp(), &format!("/ws?{}", query(jwt, more))).unwrap()
}

fn notify(relay: &Relay, room: &str, data: &str) {
    let body = form(&[("source", "shop"), ("room_id", room), ("data", data), ("token", TOKEN)]);
    let answer = relay.request("POST", "/api/notify", &[("Content-Type", support::FORM)], body.as_bytes());
    assert_eq!(answer.json()["code"], 1, "{answer:?}");
}

/// A session that ends: the warning, then the close code.
#[test]
fn a_plain_websocket_is_warned_and_closed() {
    let relay = Relay::start(JWT);
    let jwt = token(&["a"], 2 - LEEWAY as i64);
    let mut client = connect(&relay, &jwt, &[]);
    let warning = client.json();
    assert_eq!((&warning["event"], &warning["data"]["seconds"]), (&json!("expiring"), &json!(0)), "{warning}");
    notify(&relay, "a", "x");
    assert_eq!(client.data(), "x");
    assert_eq!(client.close_code(), 4401);
    assert_eq!((relay.counter("logins_expired"), relay.counter("logins")), (1, 1));
    let answer = relay.get(&format!("/ws?{}", query(&jwt, &[])));
    assert_eq!((answer.status, &answer.json()["msg"]), (401, &json!("jwt verify failed!")));
    assert!(answer.json()["reason"].as_str().unwrap().starts_with("the token has expired: exp was "), "{answer:?}");
}

#[test]
fn a_login_is_renewed_in_band() {
    let relay = Relay::start(JWT);
    let mut client = connect(&relay, &token(&["a", "news-1"], 3 - LEEWAY as i64), &[]);
    assert_eq!(client.json()["event"], "expiring");
    let expires = unix() + 3600;
    let jwt = make(SECRET, "7", &["a"], true, expires);
    client.send(&json!({"event": "renew", "jwt": jwt, "ack": "r"}).to_string());
    let answer = client.json();
    assert_eq!(answer["data"], json!({"exp": expires, "left": ["news-1"]}), "{answer}");
    let other = make(SECRET, "8", &["a"], true, expires);
    client.send(&json!({"event": "renew", "jwt": other, "ack": 2}).to_string());
    assert_eq!(client.json()["msg"], "renew needs a login of the same user!");
    // Another session that was not renewed ends: then this one would have ended, too.
    let mut other = connect(&relay, &token(&["a"], 3 - LEEWAY as i64), &[]);
    assert_eq!((&other.json()["event"], other.close_code()), (&json!("expiring"), 4401));
    notify(&relay, "news-1", "not for it");
    notify(&relay, "a", "x");
    assert_eq!(client.data(), "x");
    assert_eq!(relay.counter("logins_renewed"), 1);
}

/// Each place where a token can be, and what takes precedence.
#[test]
fn where_a_token_can_be() {
    let relay = Relay::start(JWT);
    let jwt = token(&["a", "b-*"], 600);
    let bearer = format!("Bearer {jwt}");
    let upgrade = |target: &str, authorization: &str| {
        let headers = [("Authorization", authorization)];
        try_open(&relay, target, if authorization.is_empty() { &[] } else { &headers })
            .map_or_else(|status| status, |_| 101)
    };
    assert_eq!(upgrade("/ws?source=shop", &bearer), 101);
    assert_eq!(upgrade("/ws?source=shop&room_ids=b-1,a", &bearer), 101);
    assert_eq!(upgrade(&format!("/ws?source=shop&jwt={jwt}"), ""), 101);
    // The field wins.
    assert_eq!(upgrade("/ws?source=shop&jwt=x", &bearer), 401);
    // In other places `token` is the admin's.
    assert_eq!(upgrade(&format!("/ws?source=shop&token={jwt}"), ""), 401);
    // A token that is refused is no guess of the admin token.
    assert_eq!(upgrade("/ws?source=shop&room_ids=c", &bearer), 401);
    assert_eq!(upgrade("/ws?source=other", &bearer), 401);
    assert_eq!(relay.counter("tokens_wrong"), 0);
    let answer = relay.request("GET", "/api/history?source=shop", &[("Authorization", &bearer)], b"");
    assert_eq!((answer.status, &answer.json()["code"]), (200, &json!(1)), "{answer:?}");
    let refused = relay.get(&format!("/api/history?source=shop&room_ids=c&jwt={jwt}"));
    assert_eq!((refused.status, &refused.json()["msg"]), (401, &json!("the token does not allow this room!")));
    // The admin token still reads what it wants.
    assert_eq!(relay.admin("/api/history?source=shop&room_ids=c").json()["code"], 1);
}

/// Socket.IO of both generations, on a WebSocket: the token in `auth`, in the query and in a header.
#[test]
fn socketio() {
    let relay = Relay::start(JWT);
    let open = |path: &str, headers: &[(&str, &str)]| {
        let mut client = open_with(&relay, path, headers);
        assert!(client.text().starts_with("0{"));
        client
    };
    let jwt = token(&["a", "b-*"], 600);
    let mut fourth = open("/socket.io/?EIO=4&transport=websocket", &[]);
    fourth.send(&format!("40{}", json!({"source": "shop", "jwt": jwt, "room_ids": ["a"]})));
    assert!(fourth.text().starts_with("40{\"sid\""));
    fourth.send(r#"421["join","b-1"]"#);
    assert_eq!(fourth.text(), r#"431[{"code":1,"msg":"","data":""}]"#);
    fourth.send(r#"422["join","c"]"#);
    assert_eq!(fourth.text(), r#"432[{"code":0,"msg":"the token does not allow this room!","data":""}]"#);
    let expires = unix() + 900;
    let new = make(SECRET, "7", &["a"], true, expires);
    for (id, argument) in [(3, json!(new)), (4, json!({"jwt": new}))] {
        fourth.send(&format!("42{id}{}", json!(["renew", argument])));
        let left = if id == 3 { json!(["b-1"]) } else { json!([]) };
        let expected = json!([{"code": 1, "msg": "", "data": {"exp": expires, "left": left}}]);
        let text = fourth.text();
        assert_eq!(serde_json::from_str::<Value>(&text[3..]).unwrap(), expected, "{text}");
    }
    let mut third = open(&format!("/socket.io/?EIO=3&transport=websocket&{}", query(&jwt, &[])), &[]);
    assert_eq!(third.text(), "40");
    let bearer = format!("Bearer {jwt}");
    let mut with_header = open("/socket.io/?EIO=4&transport=websocket&source=shop", &[("Authorization", &bearer)]);
    with_header.send("40");
    assert!(with_header.text().starts_with("40{\"sid\""));
    let mut refused = open("/socket.io/?EIO=4&transport=websocket&source=shop&jwt=x", &[]);
    refused.send("40");
    assert!(refused.text().starts_with(r#"44{"message":"jwt verify failed!","data":{"reason":"the token must be"#));
}

fn open_with(relay: &Relay, path: &str, headers: &[(&str, &str)]) -> Client {
    try_open(relay, path, headers).unwrap_or_else(|status| panic!("{path}: {status}"))
}

/// Opens a WebSocket with further headers; the error is the status of the answer.
fn try_open(relay: &Relay, path: &str, headers: &[(&str, &str)]) -> Result<Client, u16> {
    use tungstenite::{client, client::IntoClientRequest};
    let mut request = format!("ws://{}{path}", relay.addr).into_client_request().unwrap();
    for (name, value) in headers {
        let name = tungstenite::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    match client(request, relay.tcp()) {
        Ok((socket, _)) => Ok(Client { socket }),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error:?}"),
    }
}

/// The end of a Socket.IO session closes its connection, unless the client has another session.
#[test]
fn the_end_over_socketio() {
    let relay = Relay::start(&format!("{JWT}[namespaces.\"/free\"]\nauth = \"open\"\nsource = \"shop\"\n"));
    for namespaces in [1, 2] {
        let mut client = open_with(&relay, "/socket.io/?EIO=4&transport=websocket", &[]);
        client.text();
        if namespaces == 2 {
            client.send("40/free,");
            client.text();
        }
        client.send(&format!("40{}", json!({"source": "shop", "jwt": token(&["a"], 1 - LEEWAY as i64)})));
        assert!(client.text().starts_with("40{\"sid\""));
        assert!(client.text().starts_with(r#"42["expiring",{"seconds":0,"exp":"#));
        assert_eq!(client.text(), r#"42["sys_error","the login has expired, log in again"]"#);
        match namespaces {
            1 => assert_eq!(client.close_code(), 4401),
            _ => assert_eq!(client.text(), "41", "the other session goes on"),
        }
    }
}

#[test]
fn a_stream_is_warned_and_ends() {
    let relay = Relay::start(JWT);
    let mut socket = relay.tcp();
    let target = format!("/sse?{}", query(&token(&["a"], 1 - LEEWAY as i64), &[]));
    write!(socket, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let lines: Vec<String> = BufReader::new(socket).lines().map(Result::unwrap).collect();
    let find = |line: &str| lines.iter().position(|known| known == line).unwrap_or_else(|| panic!("{line}: {lines:?}"));
    let warning = find("event: expiring");
    assert!(lines[warning + 1].starts_with("data: {\"seconds\":0,\"exp\":"), "{lines:?}");
    let end = find("event: disconnect");
    assert_eq!(lines[end + 1], r#"data: {"code":4401,"reason":"the login has expired, log in again"}"#);
    assert!(warning < end);
}

#[test]
fn who_only_reads_cannot_post() {
    let relay = Relay::start(JWT);
    let jwt = make(SECRET, "7", &["a"], false, unix() + 600);
    let mut reader = connect(&relay, &jwt, &[]);
    reader.send(r#"{"data":"x","room_ids":"a","ack":1}"#);
    assert_eq!(reader.json()["msg"], "this login can not post!");
    let mut text = connect(&relay, &jwt, &[("format", "text")]);
    text.send("x");
    assert_eq!(text.close_code(), 1008);
    notify(&relay, "a", "from the backend");
    assert_eq!(reader.data(), "from the backend");
}

/// `exp` and `ro` under an hmac-sha256 signature.
#[test]
fn terms_of_a_signature() {
    let relay = Relay::start("");
    let ts = unix().to_string();
    let subject = Subject::Connect { source: "demo", userid: "7", room_ids: "room" };
    let open = |signed: &str, more: &[(&str, &str)]| {
        let sign = to_hex(&subject.hmac(KEY.as_bytes(), signed));
        let fields = [("source", "demo"), ("userid", "7"), ("room_ids", "room"), ("sign_type", "hmac-sha256")];
        let all = [&fields[..], &[("ts", &*ts), ("sign", &*sign)], more].concat();
        Client::open(relay.tcp(), &format!("/ws?{}", form(&all)))
    };
    let exp = (unix() + 2 - LEEWAY).to_string();
    let mut client = open(&format!("{ts}\n{exp}\n1"), &[("exp", &exp), ("ro", "1")]).unwrap();
    let refused = |answer: Result<Client, Answer>| answer.expect_err("it is refused").json();
    assert_eq!(refused(open(&ts, &[("exp", &exp)]))["msg"], "sign verify failed!");
    assert_eq!(refused(open(&format!("{ts}\n{exp}\n1"), &[("exp", &exp)]))["msg"], "sign verify failed!");
    assert_eq!(refused(open(&ts, &[("ro", "yes")]))["reason"], "ro must be 1 or empty");
    open(&ts, &[]).unwrap();
    assert_eq!(client.json()["event"], "expiring");
    client.send(r#"{"data":"x","room_ids":"room","ack":1}"#);
    assert_eq!(client.json()["msg"], "this login can not post!");
    assert_eq!(client.close_code(), 4401);
    // With md5 neither has an effect, as before.
    let mut old = relay.connect_with(&[("exp", "1"), ("ro", "1")]);
    old.send(r#"{"data":"mine","room_ids":"room"}"#);
    assert_eq!(old.data(), "mine");
}

/// A removed key ends nothing, and admits nobody.
#[test]
fn a_reload_changes_keys() {
    let relay = Relay::start(JWT);
    let mut client = connect(&relay, &token(&["a"], 600), &[]);
    let text = fs::read_to_string(&relay.config).unwrap();
    let keys = "jwt = { keys = [{ kid = \"2\", secret = \"another secret of thirty-two bytes\" }] }";
    let changed = text.replace("jwt = { secret = \"a secret of thirty-two characters\" }", keys);
    assert_ne!(text, changed);
    fs::write(&relay.config, changed).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    notify(&relay, "a", "still here");
    assert_eq!(client.data(), "still here");
    let answer = relay.get(&format!("/ws?{}", query(&token(&["a"], 600), &[])));
    assert_eq!(answer.json()["reason"], "the token has no kid, and the source has several keys");
    let claims =
        Claims { userid: "7".into(), username: None, rooms: vec!["a".into()], may_post: true, expires: unix() + 600 };
    let jwt = claims.to_token("another secret of thirty-two bytes", Some("2"), &TokenPolicy::default(), unix());
    connect(&relay, &jwt, &[]);
    client.send(&json!({"event": "renew", "jwt": jwt, "ack": 1}).to_string());
    assert_eq!(client.json()["code"], 1);
}

/// The token opens sessions, so nobody sees it who needs not.
#[test]
fn a_token_is_shown_nowhere() {
    let folder = support::temp_file("log");
    let more = format!("{JWT}[log]\nlevel = \"debug\"\n[message_log]\ndir = {:?}\n", folder.display().to_string());
    let relay = Relay::start(&more);
    let jwt = token(&["a"], 600);
    let secret = jwt.rsplit('.').next().unwrap().to_owned();
    let mut client = connect(&relay, &jwt, &[]);
    connect(&relay, &jwt, &[("room_ids", "a")]);
    assert_eq!(relay.get(&format!("/ws?{}", query(&jwt, &[("room_ids", "c")]))).status, 401);
    client.send(&json!({"event": "renew", "jwt": jwt, "ack": 1}).to_string());
    assert_eq!(client.json()["code"], 1);
    let mut shown = relay.log().join("\n");
    for page in
        ["/api/online?source=shop", "/metrics", "/api/stats", "/api/log/client", "/api/log/error", "/api/log/sys"]
    {
        shown += &relay.admin(page).body;
    }
    assert!(shown.contains("the token does not allow this room!"));
    assert!(!shown.contains(&secret), "{shown}");
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn what_check_says() {
    let check = |more: &str| {
        let file = support::temp_file("toml");
        fs::write(&file, format!("[sources.a]\nsign_key = \"0123456789abcdef\"\n{more}")).unwrap();
        let run =
            std::process::Command::new(support::binary()).args(["check", "--config"]).arg(&file).output().unwrap();
        fs::remove_file(&file).unwrap();
        (run.status.code(), String::from_utf8(run.stderr).unwrap())
    };
    assert_eq!(check("jwt = { secret = \"0123456789abcdef0123456789abcdef\" }").0, Some(0));
    let (code, said) = check("jwt = { secret = \"short\" }");
    assert!(code == Some(0) && said.contains("sources.a.jwt.secret has fewer than 16 bytes"), "{said}");
    let (code, said) = check("jwt = { secret = \"0123456789abcdef\" }");
    assert!(code == Some(0) && said.contains("sources.a.jwt.secret is also a sign_key"), "{said}");
    let (code, said) = check("sign = { connect = [] }");
    assert!(code == Some(78) && said.contains("sources.a.sign.connect is empty"), "{said}");
    assert_eq!(check("sign = { connect = [] }\njwt = { secret = \"0123456789abcdef0123456789abcdef\" }").0, Some(0));
}

/// The first token of a newcomer: one line, and one to use it.
#[test]
fn commands() {
    let relay = Relay::start(JWT);
    let run = |arguments: &[&str]| {
        let run = std::process::Command::new(support::binary()).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        (run.status.code(), text(run.stdout), text(run.stderr))
    };
    let config = relay.config.to_str().unwrap().to_owned();
    let arguments =
        ["sign", "jwt", "a,b-*", "--userid", "9", "--expires", "5m", "--config", &config, "--source", "shop"];
    let (code, jwt, said) = run(&arguments);
    assert_eq!(code, Some(0), "{said}");
    let mut client = connect(&relay, &jwt, &[("room_ids", "b-1")]);
    let (code, reader, _) = run(&[&arguments[..], &["--read-only"]].concat());
    assert_eq!(code, Some(0));
    let mut reader = connect(&relay, &reader, &[]);
    reader.send(r#"{"data":"x","room_ids":"a","ack":1}"#);
    assert_eq!(reader.json()["msg"], "this login can not post!");
    let file = support::temp_file("token");
    fs::write(&file, &jwt).unwrap();
    let url = format!("http://{}", relay.addr);
    let listen = ["listen", "--url", &url, "--source", "shop", "--jwt-file", file.to_str().unwrap(), "--once", "a"];
    let listener = std::process::Command::new(support::binary())
        .args(listen)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the listener", || (relay.counter("logins") == 3).then_some(()));
    notify(&relay, "a", "hello");
    let printed = listener.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), "a\thello\n");
    fs::remove_file(file).unwrap();
    notify(&relay, "b-1", "x");
    assert_eq!(client.data(), "x");
    let signed = run(&[
        "sign",
        "connect",
        "room",
        "--userid",
        "7",
        "--expires",
        "1h",
        "--read-only",
        "--config",
        &config,
        "--source",
        "demo",
    ]);
    let fields = format!("/ws?source=demo&room_ids=room&userid=7&{}", signed.1);
    let mut client = Client::open(relay.tcp(), &fields).unwrap();
    client.send(r#"{"data":"x","room_ids":"room","ack":1}"#);
    assert_eq!(client.json()["msg"], "this login can not post!");
    assert_eq!(run(&["sign", "jwt", "a", "--expires", "soon", "--key", "k"]).0, Some(2));
    let none = run(&["sign", "jwt", "a", "--config", &config, "--source", "demo"]);
    assert!(none.0 == Some(1) && none.2.contains("has no shared secret for tokens"), "{none:?}");
}
