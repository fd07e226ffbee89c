//! docs/protocol.md, The admin token: what backends send with a token in place of a signature.

use serde_json::{Value, json};

use crate::support::{self, Answer, FORM, Relay, TOKEN, form, login, notify_sign};

const SUCCESS: &str = r#"{"code":1,"msg":"message notify successed!","data":""}"#;
/// A namespace whose source has no key.
const OPEN: &str = "[namespaces.\"/lobby\"]\nauth = \"open\"\nsource = \"lobby\"\njoin = true\n";

/// Posts a form or JSON with an `Authorization` header, unless that is empty.
fn post(relay: &Relay, target: &str, authorization: &str, body: &str) -> Answer {
    let media_type = if body.starts_with('{') { "application/json" } else { FORM };
    let mut headers = vec![("Content-Type", media_type)];
    headers.extend((!authorization.is_empty()).then_some(("Authorization", authorization)));
    relay.request("POST", target, &headers, body.as_bytes())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn message(data: &str) -> String {
    form(&[("source", "demo"), ("room_id", "room"), ("data", data)])
}

/// The token is taken from each place of the section, for a form and for JSON; it may be used again.
#[test]
fn a_token_in_place_of_a_signature() {
    let relay = Relay::start(OPEN);
    let mut member = relay.connect("room");
    let json = json!({"source": "demo", "room_id": ["room"], "data": "x"}).to_string();
    let with_token = json.replacen('{', &format!("{{\"token\":\"{TOKEN}\","), 1);
    let query = format!("/api/notify?token={TOKEN}");
    for (target, authorization, body) in [
        ("/api/notify", &*bearer(TOKEN), &*message("x")),
        ("/api/notify", &format!("bearer  {TOKEN} "), &message("x")),
        ("/api/notify", &bearer(TOKEN), &json),
        (&query, "", &message("x")),
        (&query, "Basic YTpi", &json),
        ("/api/notify", "", &format!("{}&token={TOKEN}", message("x"))),
        ("/api/notify", "", &with_token),
        // The header wins, then the query.
        ("/api/notify?token=wrong", &bearer(TOKEN), &format!("{}&token=wrong", message("x"))),
        (&query, "", &format!("{}&token=wrong", message("x"))),
    ] {
        let answer = post(&relay, target, authorization, body);
        assert_eq!((answer.status, &*answer.body), (200, SUCCESS), "{target} {authorization} {body}");
        assert_eq!(member.data(), "x", "{target} {authorization} {body}");
    }
    // Everything else about the notification is checked as ever.
    for (body, why) in [
        (form(&[("source", "demo"), ("room_id", "room")]), "data can not be null!"),
        (form(&[("source", "demo"), ("data", "x")]), "room_id can not be null!"),
        (form(&[("source", "demo"), ("room_id", "a\nb"), ("data", "x")]), "room_id can not have control characters!"),
        (form(&[("room_id", "room"), ("data", "x")]), "source can not be null!"),
        (form(&[("source", "nobody"), ("room_id", "room"), ("data", "x")]), "this source can not be configured!"),
    ] {
        let answer = post(&relay, "/api/notify", &bearer(TOKEN), &body);
        assert_eq!((answer.status, answer.json()["msg"].as_str()), (200, Some(why)), "{body}");
    }
    assert_eq!((relay.counter("tokens_wrong"), relay.counter("notifies")), (0, 9));
    // A source without a key has no other way to notify.
    let path = format!("/ws?{}", login(&[("nsp", "/lobby"), ("room_ids", "room")]));
    let mut guest = support::Client::open(relay.tcp(), &path).unwrap();
    let body = form(&[("source", "lobby"), ("room_id", "room"), ("data", "x")]);
    assert_eq!(post(&relay, "/api/notify", "", &body).json()["msg"], "sign can not be null!");
    assert_eq!(post(&relay, "/api/notify", &bearer(TOKEN), &body).body, SUCCESS);
    assert_eq!(guest.data(), "x");
    member.silence();
}

/// Whatever token is beside it, a signature that is given decides.
#[test]
fn a_signature_beside_a_token_decides() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let sign = notify_sign("demo", "room", "x", support::KEY);
    let signed = |sign: &str| format!("{}&sign={sign}", message("x"));
    for token in [TOKEN, "wrong", "demo"] {
        assert_eq!(post(&relay, "/api/notify", &bearer(token), &signed(&sign)).body, SUCCESS, "{token}");
        assert_eq!(member.data(), "x");
        let answer = post(&relay, "/api/notify", &bearer(token), &signed("00"));
        assert_eq!((answer.status, answer.json()["msg"].as_str()), (200, Some("api notify sign verify failed!")));
    }
    // A proxy's own credentials are no token.
    let answer = post(&relay, "/api/notify", "Basic YTpi", &message("x"));
    assert_eq!((answer.status, answer.json()["msg"].as_str()), (200, Some("sign can not be null!")));
    let emit = form(&[("source", "demo"), ("event", "e")]);
    assert_eq!(post(&relay, "/api/emit", "Basic YTpi", &emit).json()["msg"], "sign can not be null!");
    // Beside a wrong signature it decides who may read an explanation, so a wrong one counts. The public one does not.
    assert_eq!(relay.counter("tokens_wrong"), 1);
    member.silence();
}

#[test]
fn wrong_tokens_are_counted_and_locked_out() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let batch = |count: usize| {
        let item = json!({"source": "demo", "room_id": "room", "data": "x"});
        json!({"messages": vec![item; count]}).to_string()
    };
    let emit = form(&[("source", "demo"), ("event", "e")]);
    for (target, body) in [("/api/notify", &message("x")), ("/api/notify/batch", &batch(500)), ("/api/emit", &emit)] {
        let answer = post(&relay, target, &bearer("wrong"), body);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{target}");
        assert_eq!(answer.json()["msg"], "the admin token is missing or wrong", "{target}");
    }
    assert_eq!(relay.counter("tokens_wrong"), 3, "a batch is one attempt");
    assert_eq!(relay.counter("notifies_refused"), 0);
    for _ in 0..7 {
        assert_eq!(post(&relay, "/api/notify", &bearer("wrong"), &message("x")).status, 401);
    }
    // The test's token is short, so that not even the right one works during a lock-out.
    let locked = post(&relay, "/api/notify", &bearer(TOKEN), &message("x"));
    assert_eq!(locked.status, 429);
    assert!(locked.header("retry-after").parse::<u64>().unwrap() <= 6);
    let sign = notify_sign("demo", "room", "signed", support::KEY);
    assert_eq!(post(&relay, "/api/notify", "", &format!("{}&sign={sign}", message("signed"))).body, SUCCESS);
    assert_eq!(member.data(), "signed");
    member.silence();
}

#[test]
fn a_batch_with_a_token() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let item = |data: &str| json!({"source": "demo", "room_id": "room", "data": data});
    let mut signed = item("signed");
    signed["sign"] = notify_sign("demo", "room", "signed", support::KEY).into();
    let mut forged = item("forged");
    forged["sign"] = "00".into();
    let body = json!({"messages": [item("one"), signed, forged, item("two"), {"source": "nobody"}]});
    let answer = post(&relay, "/api/notify/batch", &bearer(TOKEN), &body.to_string()).json();
    assert_eq!(answer["msg"], "2 of 5 messages refused");
    let codes: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|result| &result["code"]).collect();
    assert_eq!(codes, [1, 1, 0, 1, 0]);
    assert_eq!((member.data(), member.data(), member.data()), (json!("one"), json!("signed"), json!("two")));
    // The token may be a field of the body, too. Without a token an unsigned item is refused alone.
    let body = json!({"token": TOKEN, "messages": [item("three")]});
    assert_eq!(post(&relay, "/api/notify/batch", "", &body.to_string()).json()["code"], 1);
    assert_eq!(member.data(), "three");
    let body = json!({"messages": [item("four")]});
    let answer = post(&relay, "/api/notify/batch", "", &body.to_string());
    assert_eq!((answer.status, &answer.json()["data"][0]["msg"]), (200, &json!("sign can not be null!")));
    // With a wrong one nothing is sent, unless all are signed: then nobody looks at it.
    let body = json!({"messages": [body["messages"][0], {"source": "demo", "room_id": "room", "data": "signed",
        "sign": notify_sign("demo", "room", "signed", support::KEY)}]});
    assert_eq!(post(&relay, "/api/notify/batch", &bearer("wrong"), &body.to_string()).status, 401);
    let body = json!({"messages": [body["messages"][1]]});
    assert_eq!(post(&relay, "/api/notify/batch", &bearer("wrong"), &body.to_string()).json()["code"], 1);
    assert_eq!((member.data(), relay.counter("tokens_wrong")), (json!("signed"), 1));
    member.silence();
}

/// The public token does what the public demo keys do, and no more.
#[test]
fn the_demo_token() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    assert_eq!(post(&relay, "/api/notify", "Bearer demo", &message("x")).body, SUCCESS);
    assert_eq!(member.data(), "x");
    let emit = form(&[("source", "demo"), ("room_id", "room"), ("event", "e"), ("data", "y")]);
    assert_eq!(post(&relay, "/api/emit", "Bearer demo", &emit).json()["data"]["sessions"], 1);
    assert_eq!(member.json()["event"], "e");
    let unknown = form(&[("source", "dmeo"), ("room_id", "room"), ("data", "x")]);
    let answer = post(&relay, "/api/notify", "Bearer demo", &unknown);
    assert_eq!(answer.json()["msg"], "this source can not be configured!", "a mistyped source is named");
    assert_eq!(relay.counter("tokens_wrong"), 0);
    let other = form(&[("source", "other"), ("room_id", "room"), ("data", "x")]);
    let batch = json!({"messages": [{"source": "demo", "room_id": "room", "data": "x"},
        {"source": "other", "room_id": "room", "data": "x"}]});
    let headers = [("Authorization", "Bearer demo")];
    assert_eq!(post(&relay, "/api/notify", "Bearer demo", &other).status, 401);
    assert_eq!(post(&relay, "/api/notify/batch", "Bearer demo", &batch.to_string()).status, 401);
    assert_eq!(relay.request("GET", "/api/stats", &headers, b"").status, 401);
    assert_eq!(relay.request("POST", "/api/refresh?all=1", &headers, b"").status, 401);
    assert_eq!(relay.counter("tokens_wrong"), 4);
    member.silence();
}
