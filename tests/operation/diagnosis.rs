//! What relay says about refusals: origins (docs/protocol.md, Origins and CORS), logins and signatures (docs/protocol.md, Why a
//! signature is refused), in answers, in the log and on the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use relay::sign::{Subject, to_hex};
use serde_json::{Value, json};

use crate::support::{
    self, Answer, FORM, KEY, Relay, TOKEN, UPGRADE, cli, connect_sign, form, login, notify_sign, wait_for,
};

const OTHER_KEY: &str = "other key";

fn upgrade(relay: &Relay, query: &str, more: &[(&str, &str)]) -> Answer {
    let headers = [&UPGRADE[..], more].concat();
    relay.request("GET", &format!("/ws?{query}"), &headers, b"")
}

fn lines(relay: &Relay, part: &str) -> Vec<String> {
    relay.log().into_iter().filter(|line| line.contains(part)).collect()
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

// Origins.

#[test]
fn origins_with_wildcards_ports_and_schemes_of_apps() {
    let relay = Relay::start(
        "origins = [\"https://*.example.org\", \"http://localhost:*\", \"https://shop.example.com:443\", \"null\", \
         \"file://\", \"capacitor://localhost\", \"moz-extension://*\"]",
    );
    for (origin, status) in [
        ("https://a.b.example.org", 101),
        ("https://A.EXAMPLE.org", 101),
        ("https://example.org", 403),
        ("https://a.example.org:8443", 403),
        ("http://localhost", 101),
        ("http://localhost:8080", 101),
        ("https://localhost:8080", 403),
        ("https://shop.example.com", 101),
        ("null", 101),
        ("file://", 101),
        ("capacitor://localhost", 101),
        ("ionic://localhost", 403),
        ("moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc", 101),
        ("https://evil.org#.example.org", 403),
    ] {
        let origin = [("Origin", origin)];
        assert_eq!(upgrade(&relay, &login(&[]), &origin).status, status, "{origin:?}");
        let polling = relay.request("GET", "/socket.io/?EIO=4&transport=polling", &origin, b"");
        assert_eq!(polling.status, if status == 101 { 200 } else { 403 }, "{origin:?}");
        let post = relay.request("POST", "/api/notify", &[("Content-Type", FORM), origin[0]], b"source=x");
        let readable = post.header("access-control-allow-origin");
        assert_eq!(readable, if status == 101 { origin[0].1 } else { "" }, "{origin:?}");
    }
}

#[test]
fn a_refused_origin_is_logged_once_with_what_to_add() {
    let relay = Relay::start("origins = [\"https://known.example\"]");
    for _ in 0..3 {
        let page = [("Origin", "https://Shop.example:443")];
        let answer = upgrade(&relay, &login(&[]), &page);
        assert_eq!((answer.status, answer.json()["msg"].as_str()), (403, Some("this origin is not allowed")));
        let reason = answer.json()["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("origins in relay's configuration must list \"https://shop.example\""), "{reason}");
        let answer = relay.request("GET", "/socket.io/?EIO=4&transport=polling", &page, b"").json();
        assert_eq!((&answer["code"], &answer["message"]), (&json!(4), &json!("Forbidden")));
        assert!(answer["reason"].as_str().unwrap().contains("\"https://shop.example\""), "{answer}");
        relay.request("POST", "/api/notify", &[("Content-Type", FORM), page[0]], b"source=x");
    }
    let line = relay.wait_log("https://shop.example");
    assert!(line.contains("add \"https://shop.example\" to origins"), "{line}");
    let long = format!("https://{}", "x".repeat(2000));
    upgrade(&relay, &login(&[]), &[("Origin", &long)]);
    relay.wait_log("no browser sends such an origin");
    assert_eq!(lines(&relay, "origins does not list it").len(), 2, "one for each");
    assert!(lines(&relay, "xxxxx").iter().all(|line| line.len() < 500));
    // With this header it is relay's own page, the console: another one's browser would have asked first, in vain.
    let console = [("Content-Type", FORM), ("Origin", "https://relay.example"), ("Authorization", "Bearer x")];
    for path in ["/api/notify", "/api/notify/batch", "/api/emit"] {
        relay.request("POST", path, &console, b"source=x");
    }
    assert_eq!(relay.counter("origins_refused"), 10);
    // A reload may have changed the list.
    relay.signal(1);
    relay.wait_log("configuration re-read");
    upgrade(&relay, &login(&[]), &[("Origin", "https://shop.example")]);
    wait_for("the second line", || (lines(&relay, "origins does not list it").len() == 3).then_some(()));
}

// Logins.

#[test]
fn the_log_names_refused_clients_and_reasons() {
    let relay = Relay::start("");
    let query = form(&[
        ("source", "other"),
        ("room_ids", "a,b"),
        ("userid", "7\n\u{1b}[31m"),
        ("username", &"x".repeat(400)),
        ("sign", &"0".repeat(32)),
    ]);
    for _ in 0..5 {
        let page = [("Referer", "http://shop.example/cart?token=secret#x")];
        assert_eq!(upgrade(&relay, &query, &page).json()["msg"], "sign verify failed!");
    }
    let line = relay.wait_log("login refused: sign verify failed!");
    assert!(line.contains("page \"http://shop.example/cart\""), "a query can have a token: {line}");
    assert!(line.contains("WARN"), "{line}");
    for part in [
        "(sign was not made from",
        "from 127.0.0.1",
        "source \"other\"",
        "rooms \"a,b\"",
        "namespace \"/\"",
        "transport \"WebSocket\"",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(line.contains(r#"user "7\n\u{1b}[31m""#) && line.contains("xxxx\"…") && line.len() < 800, "{line}");
    // Another reason is another line, and so is another transport's login if it is the first of its kind.
    upgrade(&relay, "source=nobody&room_ids=a&sign=0", &[]);
    relay.wait_log("login refused: this source can not be configured!");
    relay.request("GET", "/socket.io/?EIO=3&transport=polling&source=demo&sign=0", &[], b"");
    let line = relay.wait_log("login refused: room_ids can not be null!");
    assert!(line.contains("transport \"Socket.IO over polling\""), "{line}");
    relay.post_form(&[("source", "other"), ("room_id", "r"), ("data", "x"), ("sign", "0")]);
    let line = relay.wait_log("notification refused: api notify sign verify failed!");
    assert!(line.contains("(sign must have 32 hexadecimal digits with md5)"), "{line}");
    assert_eq!(lines(&relay, "login refused: sign verify failed!").len(), 1, "the others are counted");
}

// Signatures.

/// Strangers learn what is wrong with the form of a signature, and no more.
#[test]
fn each_reason_has_a_text() {
    let relay = Relay::start("[sources.strict]\nsign_key = \"a key of its own\"\nsign = [\"hmac-sha256\"]");
    let now = unix();
    let hmac = |ts: &str| {
        to_hex(&Subject::Notify { source: "strict", room_id: "r", data: b"x" }.hmac(b"a key of its own", ts))
    };
    let post = |sign: &str, kind: &str, ts: &str| {
        let fields =
            [("source", "strict"), ("room_id", "r"), ("data", "x"), ("sign", sign), ("sign_type", kind), ("ts", ts)];
        let answer = relay.post_form(&fields).json();
        assert_eq!((&answer["explanation"], answer["data"].as_str()), (&Value::Null, Some("")));
        (answer["msg"].as_str().unwrap().to_owned(), answer["reason"].as_str().unwrap_or_default().to_owned())
    };
    let (past, millis) = ((now - 1000).to_string(), format!("{now}000"));
    for (sign, kind, ts, reason) in [
        (&*"0".repeat(32), "", "", "the source does not accept md5 for this: sign with hmac-sha256"),
        ("0", "sha1", "", "sign_type must be md5 or hmac-sha256"),
        ("0", "hmac-sha256", "", "ts is missing: hmac-sha256 covers the time"),
        ("0", "hmac-sha256", "now", "ts must be decimal Unix seconds, such as 1700000000 or 1700000000.25"),
        (&hmac(&millis), "hmac-sha256", &millis, "ts must be in seconds, not in milliseconds or microseconds"),
        ("0", "hmac-sha256", &now.to_string(), "sign must have 64 hexadecimal digits with hmac-sha256"),
        (
            &*"0".repeat(64),
            "hmac-sha256",
            &now.to_string(),
            "sign was not made from these fields with the key of the source",
        ),
    ] {
        assert_eq!(post(sign, kind, ts), ("api notify sign verify failed!".into(), reason.into()));
    }
    let (msg, reason) = post(&hmac(&past), "hmac-sha256", &past);
    assert_eq!(msg, "api notify sign verify failed!");
    assert!(
        reason.starts_with("ts is 100") && reason.contains("s in the past: at most 300 s are accepted"),
        "{reason}"
    );
    let (msg, reason) = post(&hmac(&now.to_string()), "hmac-sha256", &now.to_string());
    assert_eq!((&*msg, &*reason), ("message notify successed!", ""));
    let (msg, reason) = post(&hmac(&now.to_string()), "hmac-sha256", &now.to_string());
    assert_eq!(msg, "sign was used before!");
    assert!(reason.contains("was accepted before"), "{reason}");
    let login = upgrade(&relay, "source=strict&room_ids=r&sign=0", &[]).json();
    assert_eq!(login["reason"], "the source does not accept md5 for this: sign with hmac-sha256");
}

#[test]
fn the_admin_token_gets_an_explanation() {
    let relay = Relay::start("");
    let bearer = format!("Bearer {TOKEN}");
    let form_of = |room: &str, data: &str, sign: &str| {
        form(&[("source", "other"), ("room_id", room), ("data", data), ("sign", sign)])
    };
    let ask = |target: &str, body: &str, token: &str| {
        let headers = [("Content-Type", FORM), ("Authorization", token)];
        relay.request("POST", target, &headers[..if token.is_empty() { 1 } else { 2 }], body.as_bytes()).json()
    };
    let wrong = form_of("a%2Cb", "hello", &notify_sign("other", "a,b", "hello", OTHER_KEY));
    let answer = ask("/api/notify", &wrong, &bearer);
    assert_eq!(
        answer["explanation"],
        json!({
            "scheme": "md5",
            "hashed": "othera%2Cbhello<sign_key>",
            "found": ["you signed `a,b` (URL-decoded), you sent `a%2Cb` as room_id"],
        })
    );
    assert_eq!((&answer["code"], &answer["msg"]), (&json!(0), &json!("api notify sign verify failed!")));
    // This machine's own address is no token: behind a proxy everybody has it.
    assert_eq!(ask("/api/notify", &wrong, "")["explanation"], Value::Null);
    assert_eq!(ask("/api/notify", &wrong, "Bearer wrong")["explanation"], Value::Null);
    assert_eq!(relay.counter("tokens_wrong"), 1, "the answer tells whether a token is right, so guesses count");
    // The key of another source.
    let foreign = form_of("r", "x", &notify_sign("other", "r", "x", KEY));
    assert_eq!(
        ask("/api/notify", &foreign, &bearer)["explanation"]["found"],
        json!(["you signed with the key of the source \"demo\""])
    );
    // JSON, of which PHP signed another form than it sent.
    let signed = notify_sign("other", "r", r#"{"a":"\u4e2d\/"}"#, OTHER_KEY);
    let body = format!(r#"{{"source":"other","room_id":"r","data":{{"a": "中/"}},"sign":"{signed}"}}"#);
    let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
    let answer = relay.request("POST", "/api/notify", &headers, body.as_bytes()).json();
    assert!(answer["explanation"]["found"][0].as_str().unwrap().contains("PHP's json_encode"), "{answer}");
    // A batch, an event and a login.
    let batch = format!(r#"{{"messages":[{body},{body}]}}"#);
    let answer = relay.request("POST", "/api/notify/batch", &headers, batch.as_bytes()).json();
    assert!(answer["data"][0]["explanation"].is_object() && answer["data"][1]["explanation"].is_null(), "{answer}");
    assert_eq!(answer["data"][1]["reason"], answer["data"][0]["reason"]);
    let fields = [("source", "other"), ("room_id", "r"), ("event", "e"), ("data", "x"), ("sign", &*"0".repeat(32))];
    let answer = ask("/api/emit", &form(&fields), &bearer);
    assert_eq!(answer["explanation"]["hashed"], "emit\nother\n/\nroom_id\nr\ne\nx<sign_key>");
    let query = form(&[("source", "other"), ("room_ids", "r,s"), ("sign", &connect_sign("other", "s,r", OTHER_KEY))]);
    let answer = upgrade(&relay, &query, &[("Authorization", &bearer)]);
    assert_eq!((answer.status, &answer.json()["msg"]), (401, &json!("sign verify failed!")));
    let found = answer.json()["explanation"]["found"][0].as_str().unwrap().to_owned();
    assert!(found.contains("you signed `s,r` (") && found.ends_with("), you sent `r,s` as room_ids"), "{found}");
    assert_eq!(upgrade(&relay, &query, &[]).json()["explanation"], Value::Null);
}

#[test]
fn a_public_key_has_nothing_to_hide() {
    let relay = Relay::start("");
    let sign = notify_sign("demo", "r", "x\n", KEY);
    let fields = [("source", "demo"), ("room_id", "r"), ("data", "x"), ("sign", sign.as_str())];
    // Explanations to strangers are rare.
    let explanation = wait_for("an explanation", || {
        Some(relay.post_form(&fields).json()["explanation"].clone()).filter(Value::is_object)
    });
    assert!(explanation["found"][0].as_str().unwrap().contains("a line feed at the end of the text"), "{explanation}");
    // The names and keys of other sources stay secret.
    let foreign = notify_sign("demo", "r", "x", OTHER_KEY);
    let fields = [("source", "demo"), ("room_id", "r"), ("data", "x"), ("sign", foreign.as_str())];
    let explanation = wait_for("an explanation", || {
        Some(relay.post_form(&fields).json()["explanation"].clone()).filter(Value::is_object)
    });
    assert!(explanation["found"][0].as_str().unwrap().starts_with("no known mistake"), "{explanation}");
    let open = "/socket.io/?EIO=4&transport=polling";
    let details = wait_for("an explanation", || {
        let sid = relay.get(open).body.split('"').nth(3).unwrap().to_owned();
        let session = format!("{open}&sid={sid}");
        let query = json!({"source": "demo", "room_ids": "r", "sign": connect_sign("demo", "R", KEY)});
        relay.request("POST", &session, &[], format!("40{query}").as_bytes());
        let packet = relay.get(&session).body;
        let error: Value = serde_json::from_str(packet.strip_prefix("44").unwrap()).unwrap();
        assert_eq!(error["message"], "sign verify failed!");
        assert_eq!(error["data"]["reason"], "sign was not made from these fields with the key of the source");
        Some(error["data"]["explanation"].clone()).filter(Value::is_object)
    });
    assert_eq!(details["hashed"], "demor<sign_key>");
}

#[test]
fn the_log_explains_at_level_debug() {
    let relay = Relay::start("[log]\nlevel = \"debug\"");
    let sign = notify_sign("other", "r", "x", &format!("{OTHER_KEY}\n"));
    let answer = relay.post_form(&[("source", "other"), ("room_id", "r"), ("data", "x"), ("sign", &sign)]);
    assert_eq!(answer.json()["explanation"], Value::Null);
    let line = relay.wait_log("sign of the source \"other\" refused");
    assert!(line.contains("DEBUG") && line.contains("otherrx<sign_key>"), "{line}");
    assert!(line.contains("you signed with the key with a line feed at its end"), "{line}");
    let quiet = Relay::start("");
    quiet.post_form(&[("source", "other"), ("room_id", "r"), ("data", "x"), ("sign", &sign)]);
    quiet.wait_log("notification refused");
    for relay in [&relay, &quiet] {
        assert!(lines(relay, OTHER_KEY).is_empty(), "the key is never shown");
    }
    assert!(lines(&quiet, "<sign_key>").is_empty());
}

#[test]
fn the_command_line_explains() {
    let key = ["--source", "shop", "--key", "the key of the shop"];
    let run = |args: &[&str]| cli::run(&[&["sign"], args, &key].concat());
    let sign = notify_sign("shop", "a,b", "hello", "the key of the shop");
    let right = run(&["notify", "a,b", "hello", "--explain", &sign]);
    assert_eq!((right.code, &*right.out), (0, "the signature is right\n"), "{}", right.err);
    let wrong = run(&["notify", "a%2Cb", "hello", "--explain", &sign]);
    assert_eq!((wrong.code, &*wrong.err), (1, "relay: the signature is wrong\n"));
    let right = notify_sign("shop", "a%2Cb", "hello", "the key of the shop");
    let expected = format!(
        "relay computes the md5 of this text:\n  shopa%2Cbhello<sign_key>\nmistakes:\n  you signed `a,b` (URL-decoded), you \
         sent `a%2Cb` as room_id\nthe right signature is {right}\n"
    );
    assert_eq!(wrong.out, expected);
    let ts = unix().to_string();
    let subject = Subject::Connect { source: "shop", userid: "", room_ids: "r" };
    let sign = to_hex(&subject.hmac(b"the key of the shop", &ts));
    let wrong = run(&["connect", "r", "--userid", "7", "--hmac", "--ts", &ts, "--explain", &sign]);
    assert!(wrong.code == 1 && wrong.out.contains("you signed the login without its userid"), "{}", wrong.out);
    let old = run(&["connect", "r", "--hmac", "--ts", "1700000000", "--explain", &sign]);
    assert!(old.code == 1 && old.out.contains("s in the past: at most 300 s are accepted"), "{}", old.out);
    let late = run(&["connect", "r", "--hmac", "--explain", &sign]);
    assert!(late.code == 1 && late.out.contains("ts is missing"), "{}", late.out);
    // What fits no scheme is said once.
    let short = run(&["notify", "a,b", "hello", "--explain", "abc"]);
    let mistakes = "mistakes:\n  sign has 3 characters: md5 has 32 hexadecimal digits, hmac-sha256 has 64\nthe right";
    assert!(short.code == 1 && short.out.contains(mistakes), "{}", short.out);
}

/// The rules are those of the configuration, if the key is.
#[test]
fn the_command_line_explains_by_the_rules_of_the_configuration() {
    let config = support::temp_file("relay.toml");
    let text = "sign_window = 30\n[sources.shop]\nsign_key = \"the key of the shop\"\nsign = [\"md5\"]\n";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let ts = (unix() - 100).to_string();
    let subject = Subject::Connect { source: "shop", userid: "", room_ids: "r" };
    let sign = to_hex(&subject.hmac(b"the key of the shop", &ts));
    let explain = || {
        let args = ["sign", "connect", "r", "--config", config, "--hmac", "--ts", &ts, "--explain", &sign];
        let run = cli::run(&args);
        assert_eq!(run.code, 1, "{}", run.out);
        run.out
    };
    let said = explain();
    assert!(said.contains("the source does not accept hmac-sha256 for this: sign with md5"), "{said}");
    std::fs::write(config, text.replace("md5", "hmac-sha256")).unwrap();
    let said = explain();
    assert!(said.contains("s in the past: at most 30 s are accepted"), "{said}");
    std::fs::remove_file(config).unwrap();
}

// The front page.

#[test]
fn the_front_page() {
    let relay = Relay::start("");
    let greeting = "^_^ Hello to xin node service  ^_^";
    for accept in ["", "*/*", "application/json"] {
        let answer = relay.request("GET", "/", &[("Accept", accept)], b"");
        assert_eq!((answer.status, answer.body.as_str()), (200, greeting), "as node-socket-im said it");
        assert_eq!((answer.header("content-type"), answer.header("vary")), ("text/html; charset=utf-8", "Accept"));
    }
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    let open = |target: &str, language: &str, more: &[(&str, &str)]| {
        let headers = [&[("Accept", browser), ("Accept-Language", language)], more].concat();
        relay.request("GET", target, &headers, b"")
    };
    let page = open("/", "en", &[]);
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'"));
    for part in
        ["<html lang=\"en\">", "<main>", "relay is running", greeting, "prefers-color-scheme:dark", "POST /api/notify"]
    {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(!page.body.contains("<script") && !page.body.contains("http://") && !page.body.contains("https://"));
    assert!(!page.body.contains(env!("CARGO_PKG_VERSION")), "strangers do not learn the version");
    let links = |body: &str| -> Vec<String> {
        body.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&")).collect()
    };
    let found = links(&page.body);
    assert!(found.iter().any(|link| link == "demo/") && found.iter().any(|link| link == "healthz"), "{found:?}");
    for link in found.iter().filter(|link| !link.starts_with("data:")) {
        assert_eq!(relay.get(&format!("/{link}")).status, 200, "{link}");
    }
    for (target, language) in [("/", "zh-CN,zh;q=0.9"), ("/?lang=zh", "en")] {
        assert!(open(target, language, &[]).body.contains("relay 正在运行"), "{target}");
    }
    assert!(open("/?lang=en", "zh", &[]).body.contains("relay is running"));
    // With the admin token.
    let admin = open(&format!("/?token={TOKEN}"), "en", &[]);
    assert!(admin.body.contains(env!("CARGO_PKG_VERSION")), "{}", admin.body);
    let found = links(&admin.body);
    assert!(found.iter().any(|link| *link == format!("api/online?source=demo&token={TOKEN}")), "{found:?}");
    for link in found.iter().filter(|link| !link.starts_with("data:")) {
        assert_eq!(relay.get(&format!("/{link}")).status, 200, "{link}");
    }
    let bearer = open("/", "en", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert!(bearer.body.contains("href=\"metrics\"") && !bearer.body.contains(TOKEN), "{}", bearer.body);
    let wrong = open("/?token=wrong", "en", &[]);
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("The admin token is wrong.") && !wrong.body.contains("api/online"));
    assert_eq!(relay.counter("tokens_wrong"), 1);
    // Without the public key the demo pages cannot log in, so they are not offered.
    let own = Relay::start("[websocket]\npath = \"/live\"\n[socketio]\npath = \"/io/<x>\"");
    std::fs::write(&own.config, std::fs::read_to_string(&own.config).unwrap().replace(KEY, "a key of our own"))
        .unwrap();
    own.signal(1);
    own.wait_log("configuration re-read");
    let page = own.request("GET", "/", &[("Accept", browser)], b"").body;
    assert!(!page.contains("demo/") && page.contains("GET /live?") && page.contains("/io/&lt;x&gt;"), "{page}");
}
