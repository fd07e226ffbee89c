//! docs/protocol.md, Logins: parameters, signatures, and the texts of refusals.

use relay::sign::{Subject, to_hex};

use crate::support::{self, FORM, KEY, Relay, UPGRADE, connect_sign, form, login, plain};

/// Every refusal is a 401 before the upgrade, with the text that clients know.
#[test]
fn refusals_have_their_texts() {
    let relay = Relay::start("");
    let sign = connect_sign("demo", "room", KEY);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "source can not be null!"),
        (&[("source", ""), ("room_ids", "room"), ("sign", &sign)], "source can not be null!"),
        (&[("source", "demo"), ("room_ids", "room")], "cilent connect sign can not be null!"),
        (&[("source", "demo"), ("sign", &sign)], "room_ids can not be null!"),
        (&[("source", "demo"), ("room_ids", "*"), ("sign", &sign)], "room_ids can not be null!"),
        (&[("source", "demo"), ("room_ids", ",,"), ("sign", &sign)], "room_ids can not be null!"),
        (&[("source", "nobody"), ("room_ids", "room"), ("sign", &sign)], "this source can not be configured!"),
        (&[("source", "__proto__"), ("room_ids", "room"), ("sign", &sign)], "this source can not be configured!"),
        (&[("source", "demo"), ("room_ids", "other"), ("sign", &sign)], "sign verify failed!"),
        (&[("source", "other"), ("room_ids", "room"), ("sign", &sign)], "sign verify failed!"),
        (&[("source", "demo"), ("room_ids", "room"), ("sign", "0")], "sign verify failed!"),
    ];
    for (fields, text) in cases {
        let answer = relay.refused(&form(fields));
        assert_eq!(answer.status, 401, "{fields:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(plain(&answer.body), format!("{{\"code\":0,\"msg\":\"{text}\",\"data\":\"\"}}"), "{fields:?}");
    }
    assert_eq!(relay.counter("logins_refused"), cases.len() as u64);
    assert_eq!(relay.stat("/sessions"), 0);
}

#[test]
fn a_room_of_one_character_is_a_room_and_so_is_a_star_among_others() {
    let relay = Relay::start("");
    let mut client = relay.connect("x,*");
    relay.notify("x", "one");
    relay.notify("*", "two");
    assert_eq!((client.data(), client.data()), ("one".into(), "two".into()));
}

#[test]
fn upper_case_hex_is_as_good() {
    let relay = Relay::start("");
    relay.connect_with(&[("sign", &connect_sign("demo", "room", KEY).to_uppercase())]);
}

/// hmac-sha256 binds the user, the rooms and the time.
#[test]
fn hmac() {
    let relay = Relay::start("sign_window = 100");
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let query = |userid: &str, rooms: &str, ts: u64| {
        let ts = ts.to_string();
        let sign =
            to_hex(&Subject::Connect { source: "demo", userid: "7", room_ids: "room" }.hmac(KEY.as_bytes(), &ts));
        login(&[("userid", userid), ("room_ids", rooms), ("sign_type", "hmac-sha256"), ("ts", &ts), ("sign", &sign)])
    };
    support::Client::open(relay.tcp(), &format!("/ws?{}", query("7", "room", unix))).expect("it is right");
    for query in [
        query("8", "room", unix),
        query("7", "rooms", unix),
        query("7", "room", unix - 110),
        query("7", "room", unix + 110),
        login(&[("sign_type", "hmac-sha256")]),
        login(&[("sign_type", "rot13")]),
    ] {
        assert_eq!(relay.refused(&query).json()["msg"], "sign verify failed!", "{query}");
    }
}

/// The input of hmac-sha256 has a line feed between its fields: no field may have one of its own.
#[test]
fn control_characters_in_signed_fields_are_refused() {
    let relay = Relay::start("");
    let ts = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let hmac = |userid: &str, room_ids: &str| {
        to_hex(&Subject::Connect { source: "demo", userid, room_ids }.hmac(KEY.as_bytes(), &ts))
    };
    let query = |userid: &str, room_ids: &str, sign: &str| {
        login(&[("userid", userid), ("room_ids", room_ids), ("sign_type", "hmac-sha256"), ("ts", &ts), ("sign", sign)])
    };
    // Signed for the user "x\nsecret," in the room "public", presented as the user "x" in "secret" and "\npublic".
    let moved = hmac("x\nsecret,", "public");
    assert_eq!(moved, hmac("x", "secret,\npublic"), "the inputs are the same");
    let msg = |query: &str| relay.refused(query).json()["msg"].as_str().unwrap().to_owned();
    assert_eq!(msg(&query("x", "secret,\npublic", &moved)), "room_id can not have control characters!");
    for control in (0..32_u8).chain([127]).map(char::from) {
        let userid = format!("7{control}");
        assert_eq!(msg(&query(&userid, "room", &hmac(&userid, "room"))), "userid can not have control characters!");
        let rooms = format!("room,{control}");
        assert_eq!(msg(&query("7", &rooms, &hmac("7", &rooms))), "room_id can not have control characters!");
        // md5 covers the rooms, but not the user: old pages may send any name.
        let sign = connect_sign("demo", &rooms, KEY);
        assert_eq!(msg(&login(&[("room_ids", &rooms), ("sign", &sign)])), "room_id can not have control characters!");
    }
    let odd = "7\n\u{85}\u{2028}";
    relay.connect_with(&[("userid", odd), ("username", "\n"), ("ext_info", "{\n}")]);
    let userid = "7\u{85}\u{2028}";
    support::Client::open(relay.tcp(), &format!("/ws?{}", query(userid, "room", &hmac(userid, "room")))).unwrap();
}

#[test]
fn a_source_lists_the_schemes_it_accepts() {
    let relay = Relay::start("[sources.strict]\nsign_key = \"k\"\nsign = [\"hmac-sha256\"]");
    let sign = connect_sign("strict", "room", "k");
    let answer = relay.refused(&login(&[("source", "strict"), ("sign", &sign)]));
    assert_eq!(answer.json()["msg"], "sign verify failed!");
}

/// Sources are tenants: room `bc1` of `a` and room `c1` of `ab` were one room in the old server.
#[test]
fn rooms_of_two_sources_never_meet() {
    let relay = Relay::start("[sources.a]\nsign_key = \"k\"\n[sources.ab]\nsign_key = \"k\"");
    let mut a = relay.connect_with(&[("source", "a"), ("room_ids", "bc1"), ("sign", &connect_sign("a", "bc1", "k"))]);
    let mut ab = relay.connect_with(&[("source", "ab"), ("room_ids", "c1"), ("sign", &connect_sign("ab", "c1", "k"))]);
    a.send(r#"{"data":"from a","room_ids":"bc1"}"#);
    assert_eq!(a.data(), "from a");
    ab.silence();
    a.send(r#"{"data":"from a","room_ids":"c1"}"#);
    ab.silence();
}

/// md5 for logins only: the md5 signature that a page has for its login posts no notification and emits no event.
#[test]
fn schemes_of_logins_and_notifications_apart() {
    let relay = Relay::start(
        "[sources.apart]\nsign_key = \"k\"\nsign = { connect = [\"md5\"] }\n\
         [sources.loose]\nsign_key = \"l\"\nsign = { connect = [\"hmac-sha256\"], notify = [\"md5\"], emit = [\"md5\"] }",
    );
    let ts = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let post = |target: &str, subject: &Subject<'_>, (key, hmac): (&str, bool), fields: &[(&str, &str)]| -> u64 {
        let (sign, mut fields) = match hmac {
            true => (to_hex(&subject.hmac(key.as_bytes(), &ts)), fields.to_vec()),
            false => (to_hex(&subject.md5(key.as_bytes())), fields.to_vec()),
        };
        fields.extend([("sign", &*sign)]);
        if hmac {
            fields.extend([("sign_type", "hmac-sha256"), ("ts", &ts)]);
        }
        relay.request("POST", target, &[("Content-Type", FORM)], form(&fields).as_bytes()).json()["code"]
            .as_u64()
            .unwrap()
    };
    let notify = |source: &str, key: &str, hmac: bool| {
        let subject = Subject::Notify { source, room_id: "chat", data: b"_room" };
        post("/api/notify", &subject, (key, hmac), &[("source", source), ("room_id", "chat"), ("data", "_room")])
    };
    let emit = |source: &str, key: &str, hmac: bool| {
        let subject = Subject::Emit { source, nsp: "/", kind: "room_id", to: "chat", event: "e", data: b"x" };
        let fields = [("source", source), ("nsp", "/"), ("room_id", "chat"), ("event", "e"), ("data", "x")];
        post("/api/emit", &subject, (key, hmac), &fields)
    };
    // The signature of this login is also one of the notification above.
    let sign = connect_sign("apart", "chat_room", "k");
    let mut client = relay.connect_with(&[("source", "apart"), ("room_ids", "chat_room"), ("sign", &sign)]);
    assert_eq!((notify("apart", "k", false), notify("apart", "k", true)), (0, 1));
    assert_eq!((emit("apart", "k", false), emit("apart", "k", true)), (0, 1));
    client.silence();
    let query = login(&[("source", "loose"), ("sign", &connect_sign("loose", "room", "l"))]);
    assert_eq!(relay.refused(&query).json()["msg"], "sign verify failed!");
    assert_eq!((notify("loose", "l", false), notify("loose", "l", true)), (1, 0));
    assert_eq!((emit("loose", "l", false), emit("loose", "l", true)), (1, 0));
}

/// `origins` applies to browsers; programs send no Origin header.
#[test]
fn origins() {
    let relay = Relay::start("origins = [\"https://Shop.example.org\"]");
    let upgrade = |origin: &str| {
        let mut stream = relay.tcp();
        let mut headers = UPGRADE.to_vec();
        if !origin.is_empty() {
            headers.push(("Origin", origin));
        }
        support::send_request(&mut stream, "GET", &format!("/ws?{}", login(&[])), &headers, b"");
        support::read_answer(&mut stream, false).status
    };
    assert_eq!(upgrade("https://shop.example.org"), 101);
    assert_eq!(upgrade(""), 101);
    for origin in ["https://evil.example.org", "http://shop.example.org", "null", "https://shop.example.org.evil.org"] {
        assert_eq!(upgrade(origin), 403, "{origin}");
    }
}

/// Browsers hide the answer to a handshake, so a page whose WebSocket did not open asks again without an upgrade.
#[test]
fn a_request_without_upgrade_says_why_it_would_be_refused() {
    let relay = Relay::start(
        "origins = [\"https://shop.example.org\"]\n[namespaces.\"/open\"]\nauth = \"open\"\nsource = \"demo\"",
    );
    let ask = |query: &str, origin: &str| {
        let headers = [("Origin", origin)];
        let headers = &headers[..usize::from(!origin.is_empty())];
        let answer = relay.request("GET", &format!("/ws{query}"), headers, b"");
        let posted = relay.request("POST", &format!("/ws{query}"), headers, b"");
        let told = |answer: &support::Answer| (answer.status, answer.json()["msg"].clone());
        assert_eq!(told(&posted), told(&answer), "{query}");
        let reader = if answer.status == 403 { "*" } else { origin };
        assert_eq!(answer.header("access-control-allow-origin"), reader, "{query} {answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{query} {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{query} {answer:?}");
        (answer.status, answer.json()["msg"].as_str().unwrap().to_owned())
    };
    let needs_upgrade = "this is a WebSocket endpoint: the request must ask for an upgrade";
    let page = "https://shop.example.org";
    let right = login(&[]);
    let cases = [
        (format!("?{right}"), page, 426, needs_upgrade),
        (format!("?{right}"), "", 426, needs_upgrade),
        (String::new(), page, 426, needs_upgrade),
        ("?nsp=/open".to_owned(), page, 426, needs_upgrade),
        (format!("?{right}"), "https://evil.example.org", 403, "this origin is not allowed"),
        ("?source=demo".to_owned(), "null", 403, "this origin is not allowed"),
        (format!("?{}", login(&[("sign", "0123456789abcdef0123456789abcdef")])), page, 401, "sign verify failed!"),
        (format!("?{}", login(&[("source", "nobody")])), page, 401, "this source can not be configured!"),
        ("?x=1".to_owned(), page, 401, "source can not be null!"),
        (format!("?{right}&nsp=/nowhere"), page, 401, "Invalid namespace"),
        (format!("?{right}&format=xml"), page, 400, "format is json or text"),
        (format!("?{right}&format=text&nsp=/open"), page, 400, "format=text is for the namespace / only"),
    ];
    for (query, origin, status, text) in &cases {
        assert_eq!(ask(query, origin), (*status, (*text).to_owned()), "{query} from {origin:?}");
        let same = [&UPGRADE[..], &[("Origin", *origin)][..usize::from(!origin.is_empty())]].concat();
        let target = format!("/ws{query}");
        let mut stream = relay.tcp();
        support::send_request(&mut stream, "GET", &target, &same, b"");
        let answer = support::read_answer(&mut stream, false);
        match status {
            426 if query.is_empty() => {}
            426 => assert_eq!(answer.status, 101, "{query}"),
            _ => assert_eq!((answer.status, answer.json()["msg"].as_str()), (*status, Some(*text)), "{query}"),
        }
    }
    assert_eq!(relay.counter("logins_refused"), 13, "four GETs, four POSTs, and five handshakes");
    assert_eq!(relay.counter("logins"), 3, "only handshakes open sessions");
}
