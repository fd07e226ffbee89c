//! docs/protocol.md, Socket.IO and Engine.IO: what old clients send and expect. Clients without `EIO`, text that was encoded
//! twice, binary data as base64, the ids that clients know, lists of rooms, and events that nobody handles.

use serde_json::{Value, json};

use crate::support::{
    self, Client, Relay, TOKEN, connect_sign,
    engineio::{self, Polling, assert_refused, bytes, payload_v3, read_bytes, send_bytes, sid, websocket},
    login, send_request,
};

const CONFIG: &str = r#"
[namespaces."/chat"]
[namespaces."/ruled"]
rules = [{ event = "postMsg", send = "self", as = "mine" }, { event = "join", send = "drop", ack = "ruled" }]
[namespaces."/any"]
rules = [{ event = "*", send = "drop", ack = "any" }]
[namespaces."/open"]
auth = "open"
source = "demo"
"#;

/// A session of revision 3 in `/` that polls.
fn polling<'r>(relay: &'r Relay, rooms: &str) -> Polling<'r> {
    let (session, packets) = Polling::open(relay, &format!("EIO=3&b64=1&{}", login(&[("room_ids", rooms)])));
    assert_eq!(packets, ["40"]);
    session
}

/// A WebSocket in `/`, with its Engine.IO session and what it got as its own id.
fn connected(relay: &Relay, revision: u8, query: &str) -> (Client, String, String) {
    let (mut socket, open) = websocket(relay, &format!("EIO={revision}&{query}"));
    let sid = sid(&open);
    if revision == 4 {
        socket.send("40");
    }
    let connect = socket.text();
    let own = match revision {
        3 => sid.clone(),
        _ => engineio::json(&connect, "40")["sid"].as_str().unwrap().to_owned(),
    };
    (socket, sid, own)
}

/// The number of the packet, or none, and its JSON.
fn ack(packet: &str, prefix: &str) -> Value {
    engineio::json(packet, prefix)[0].clone()
}

// Handshakes without EIO, and second WebSockets.

#[test]
fn without_eio_it_is_revision_3_for_old_clients_only() {
    let relay = Relay::start("");
    let fields = login(&[("room_ids", "r")]);
    for query in ["b64=1", "b64=1&t=x", &fields, &format!("b64=1&{fields}"), "token=x"] {
        let answer = relay.get(&format!("/socket.io/?transport=polling&{query}"));
        let packets = payload_v3(&answer.body);
        assert!(packets[0].starts_with("0{\"sid\"") && packets[1] == "40", "{query}: {answer:?}");
        // The session's other requests have none either.
        let sid = sid(&packets[0]);
        let post = relay.request("POST", &format!("/socket.io/?transport=polling&sid={sid}"), &[], b"6:2probe");
        assert_eq!((post.status, post.body.as_str()), (200, "ok"));
        let poll = relay.get(&format!("/socket.io/?transport=polling&sid={sid}&EIO=3"));
        assert!(payload_v3(&poll.body).contains(&"3probe".to_owned()), "{poll:?}");
    }
    let (mut socket, _) = websocket(&relay, &fields);
    assert_eq!(socket.text(), "40");
    for query in ["", "&t=abc", "&t=abc&EIO=", "&j=", "&b64="] {
        assert_refused(&relay.get(&format!("/socket.io/?transport=polling{query}")), 5, "Unsupported protocol version");
        let answer = Client::open(relay.tcp(), &format!("/socket.io/?transport=websocket{query}")).err().unwrap();
        assert_refused(&answer, 5, "Unsupported protocol version");
    }
    assert_refused(&relay.get("/socket.io/?EIO=2&transport=polling&b64=1"), 5, "Unsupported protocol version");
    assert_refused(&relay.get("/socket.io/?transport=polling&sid=x"), 1, "Session ID unknown");
}

#[test]
fn a_second_websocket_is_opened_and_closed() {
    let relay = Relay::start("");
    let fields = login(&[("room_ids", "r")]);
    for revision in [3, 4] {
        let second = |sid: &str| {
            let path = format!("/socket.io/?EIO={revision}&transport=websocket&sid={sid}");
            let mut socket = Client::open(relay.tcp(), &path).expect("101");
            assert_eq!(socket.close_code(), 1008);
        };
        // A session that began with a WebSocket, and one that has upgraded.
        let (mut direct, direct_sid, _) = connected(&relay, revision, &fields);
        let (session, _) = Polling::open(&relay, &format!("EIO={revision}&{fields}"));
        if revision == 4 {
            session.post(&["40"]);
            assert!(session.poll()[0].starts_with("40"));
        }
        // While one probes, another is closed, and the first one goes on.
        let mut upgraded = session.probe();
        second(&session.sid);
        upgraded.send("5");
        for (socket, sid) in [(&mut direct, &direct_sid), (&mut upgraded, &session.sid)] {
            second(sid);
            socket.send("421[\"postMsg\",\"still here\",\"x\"]");
            assert_eq!(ack(&socket.text(), "431")["code"], 1);
            // Polling is refused, and does not hurt the session.
            let target = format!("/socket.io/?EIO={revision}&transport=polling&sid={sid}");
            for method in ["GET", "POST"] {
                let answer = relay.request(method, &target, &[], b"1");
                assert_refused(&answer, 3, "the session has another transport");
            }
            socket.send("422[\"postMsg\",\"still here\",\"x\"]");
            assert_eq!(ack(&socket.text(), "432")["code"], 1);
        }
    }
    let path = |query: &str| Client::open(relay.tcp(), &format!("/socket.io/?EIO=4&{query}")).err().unwrap();
    assert_refused(&path("transport=websocket&sid=x"), 1, "Session ID unknown");
    assert_refused(&path("transport=webtransport&sid=x"), 0, "Transport unknown");
}

// Text beyond ASCII over polling.

#[test]
fn text_is_decoded_as_often_as_the_client_encoded_it() {
    let relay = Relay::start("");
    for (text, once) in [("中文 ü 😀", true), ("café", true), ("é", true), ("Ã¤", false)] {
        for twice in [true, false] {
            let session = polling(&relay, "old");
            let packet = format!("42[\"postMsg\",\"{text}\",\"old\"]");
            let sent: String = if twice { packet.bytes().map(char::from).collect() } else { packet };
            session.post(&["2", &sent, "2"]);
            let packets = session.collect(3);
            // Text of a later client that looks as if it were encoded twice is read as such, until its session has posted
            // something that can not.
            let expected = if twice || once { text } else { "ä" };
            assert_eq!(engineio::json(&packets[1], "42")[1]["data"], expected, "{twice}");
        }
    }
    let session = polling(&relay, "old");
    session.post(&["42[\"postMsg\",\"中\",\"old\"]"]);
    session.post(&["42[\"postMsg\",\"Ã¤\",\"old\"]"]);
    let packets = session.collect(2);
    assert_eq!(engineio::json(&packets[1], "42")[1]["data"], "Ã¤");
    // A length that is wrong in both readings.
    assert_eq!(session.try_post("9:4é".as_bytes(), &[]).status, 400);
}

#[test]
fn clients_before_1_4_get_bytes() {
    let relay = Relay::start("");
    let fields = login(&[("room_ids", "r")]);
    let answer = |query: &str| {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &format!("/socket.io/?EIO=3&transport=polling&{fields}&{query}"), &[], b"");
        read_bytes(&mut stream)
    };
    let (head, body) = answer("t=1417000000000-0");
    assert!(head.contains("Content-Type: application/octet-stream"), "{head}");
    assert!(body.starts_with(b"\x00") && body.ends_with(b"\x00\x02\xff40"), "{body:?}");
    for other in ["t=LxYz-1", "t=1417000000000-0&b64=1", "t=1417000000000", ""] {
        let (head, body) = answer(other);
        assert!(head.contains("Content-Type: text/plain") && body.ends_with(b"2:40"), "{other}: {head}");
    }
    // A noop has the same form.
    let end = body.iter().position(|byte| *byte == b'}').unwrap();
    let open = String::from_utf8_lossy(&body[body.iter().position(|byte| *byte == b'0').unwrap()..=end]).into_owned();
    let query = format!("t=1417000000000-1&sid={}", sid(&open));
    let mut poll = relay.tcp();
    send_request(&mut poll, "GET", &format!("/socket.io/?EIO=3&transport=polling&{query}"), &[], b"");
    relay.fence();
    let mut socket = Client::open(relay.tcp(), &format!("/socket.io/?EIO=3&transport=websocket&{query}")).unwrap();
    socket.send("2probe");
    assert_eq!(socket.text(), "3probe");
    assert_eq!(read_bytes(&mut poll).1, b"\x00\x01\xff6");
    assert_eq!(answer(&query).1, b"\x00\x01\xff6", "once the probe is answered");
}

#[test]
fn large_text_comes_as_bytes_unless_the_client_asked_for_text() {
    let relay = Relay::start("");
    for (more, kind) in [("", "application/octet-stream"), ("&b64=1", "text/plain")] {
        let query = format!("EIO=3{more}&{}", login(&[("room_ids", "large")]));
        let (session, _) = Polling::open(&relay, &query);
        relay.notify("large", &"x".repeat(70_000));
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &session.target, &[], b"");
        let (head, body) = read_bytes(&mut stream);
        assert!(head.contains(kind) && body.len() > 70_000, "{head}");
    }
}

// Binary data as text.

#[test]
fn binary_data_as_base64_on_websockets() {
    let relay = Relay::start("");
    let packet = "451-[\"postMsg\",{\"_placeholder\":true,\"num\":0},\"bin\"]";
    let data = b"\x01\x02\xff";
    let fields = login(&[("room_ids", "bin")]);
    for (revision, text) in [(3, "b4AQL/"), (4, "bAQL/")] {
        let (mut native, ..) = connected(&relay, revision, &fields);
        let (mut direct, ..) = connected(&relay, revision, &format!("b64=1&{fields}"));
        let (session, _) = Polling::open(&relay, &format!("EIO={revision}&b64=1&{fields}"));
        if revision == 4 {
            session.post(&["40"]);
            assert!(session.poll()[0].starts_with("40"));
        }
        // The WebSocket decides: clients in Node ask for b64 on polling only.
        let mut upgraded = session.upgrade();
        for receives in [&mut native, &mut direct, &mut upgraded] {
            // Answered after the upgrade.
            receives.send("421[\"nothing\"]");
            assert_eq!(ack(&receives.text(), "431")["code"], 0);
        }
        direct.send(packet);
        direct.send(text);
        native.send(packet);
        send_bytes(&mut native, &if revision == 3 { [b"\x04", &data[..]].concat() } else { data.to_vec() });
        for _ in 0..2 {
            for socket in [&mut native, &mut direct, &mut upgraded] {
                assert!(socket.text().starts_with("451-[\"newMsg\""));
            }
            let expected = if revision == 3 { [b"\x04", &data[..]].concat() } else { data.to_vec() };
            assert_eq!(bytes(&mut native), expected);
            assert_eq!((direct.text(), upgraded.text()), (text.to_owned(), text.to_owned()));
        }
        for wrong in ["b*", "b4*", "b2AQL/"] {
            let (mut socket, ..) = connected(&relay, 3, &fields);
            socket.send(wrong);
            assert_eq!(socket.close_code(), 1002, "{wrong}");
        }
    }
}

// Ids.

#[test]
fn the_socket_id_is_the_id_that_the_client_knows() {
    let relay = Relay::start(CONFIG);
    let fields = login(&[("room_ids", "r"), ("userid", "7")]);
    let known = || {
        let sessions = relay.admin("/api/online?source=demo").json()["list"].clone();
        let ids =
            |one: &Value| (one["nsp"].as_str().unwrap().to_owned(), one["socket_id"].as_str().unwrap().to_owned());
        sessions.as_array().unwrap().iter().map(ids).collect::<Vec<_>>()
    };
    for revision in [3, 4] {
        let (mut socket, sid, own) = connected(&relay, revision, &fields);
        assert_eq!(own == sid, revision == 3);
        socket.send("40/chat,");
        let connect = socket.text();
        let in_chat = match revision {
            3 => format!("/chat#{sid}"),
            _ => engineio::json(&connect, "40/chat,")["sid"].as_str().unwrap().to_owned(),
        };
        let mut found = known();
        found.sort();
        assert_eq!(found, [("/".to_owned(), own.clone()), ("/chat".to_owned(), in_chat.clone())]);
        for (nsp, id, prefix) in [("/", &own, "42"), ("/chat", &in_chat, "42/chat,")] {
            let body =
                json!({"source": "demo", "nsp": nsp, "event": "hi", "socket_id": id, "token": TOKEN}).to_string();
            assert_eq!(relay.post_json("/api/emit", &body).json()["data"]["sessions"], 1, "{id}");
            assert_eq!(socket.text(), format!("{prefix}[\"hi\"]"));
        }
        for (id, end) in [(&in_chat, "41/chat,"), (&own, "41")] {
            let body = json!({"socket_id": id, "token": TOKEN}).to_string();
            assert_eq!(relay.post_json("/api/disconnect", &body).json()["code"], 1, "{id}");
            assert_eq!(socket.text(), end);
        }
        assert_eq!(known(), []);
    }
}

// Lists of rooms.

#[test]
fn rooms_in_auth_are_a_list() {
    let relay = Relay::start("");
    let auth = |rooms: Value, signed: &str| {
        let sign = connect_sign("demo", signed, support::KEY);
        let (mut socket, _) = websocket(&relay, "EIO=4");
        socket.send(&format!("40{}", json!({"source": "demo", "room_ids": rooms, "sign": sign})));
        let answer = socket.text();
        (socket, answer)
    };
    for (rooms, signed) in [(json!(["a", "中", 7]), "a,中,7"), (json!("a,中,7"), "a,中,7"), (json!(7), "7")] {
        let (mut socket, answer) = auth(rooms.clone(), signed);
        assert!(answer.starts_with("40{\"sid\""), "{rooms}: {answer}");
        relay.notify("7", "x");
        assert!(socket.text().contains("\"room_id\":\"7\""));
    }
    for (rooms, why) in [
        (json!(["a", "b,c"]), "room_id can not have commas!"),
        (json!(["a", {}]), "room_id must be a string or a number!"),
        (json!([["a"]]), "room_id must be a string or a number!"),
        (json!([]), "room_ids can not be null!"),
        (json!([null]), "room_ids can not be null!"),
    ] {
        let (_, answer) = auth(rooms.clone(), "a,b,c");
        assert_eq!(answer, format!("44{{\"message\":\"{why}\"}}"), "{rooms}");
    }
}

#[test]
fn a_comma_in_an_item_is_not_two_rooms() {
    let relay = Relay::start("");
    let why = "room_id can not have commas!";
    let (mut socket, ..) = connected(&relay, 4, &login(&[("room_ids", "a")]));
    socket.send("422[\"join\",[\"b,c\"],\"x\"]");
    assert_eq!(ack(&socket.text(), "432")["msg"], why);
    let mut plain = relay.connect("a");
    plain.send("{\"event\":\"join\",\"ack\":1,\"sign\":\"x\",\"room_ids\":[\"b,c\"]}");
    assert_eq!(plain.json()["msg"], why);
    let emit = json!({"source": "demo", "event": "e", "room_id": "b,c", "token": TOKEN}).to_string();
    assert_eq!(relay.post_json("/api/emit", &emit).json()["msg"], why);
}

// Events in namespaces.

#[test]
fn events_of_relay_work_in_signed_namespaces_unless_a_rule_is_for_them() {
    let relay = Relay::start(CONFIG);
    let fields = login(&[("room_ids", "r")]);
    let sign = connect_sign("demo", "more", support::KEY);
    let join = format!("[\"join\",\"more\",\"{sign}\"]");
    let mut main = relay.connect("r");
    for revision in [3, 4] {
        let (mut socket, ..) = connected(&relay, revision, &fields);
        let mut ask = |nsp: &str, event: &str| {
            socket.send(&format!("40{nsp},"));
            assert!(socket.text().starts_with(&format!("40{nsp},")));
            socket.send(&format!("42{nsp},5{event}"));
            let mut packets = vec![socket.text()];
            while !packets.last().unwrap().starts_with("43") {
                packets.push(socket.text());
            }
            let answer = packets.pop().unwrap();
            socket.send(&format!("41{nsp},"));
            (packets, ack(&answer, &format!("43{nsp},5")))
        };
        let (packets, answer) = ask("/chat", "[\"postMsg\",\"hi\",\"r\"]");
        assert_eq!(answer["code"], 1);
        // A message is for the members of the room in every namespace.
        assert_eq!(packets.len(), 2, "{packets:?}");
        assert!(packets.iter().any(|packet| packet.starts_with("42/chat,[\"newMsg\"")), "{packets:?}");
        assert_eq!(main.json()["data"], "hi");
        assert_eq!(ask("/chat", &join).1, json!({"code": 1, "msg": "", "data": ""}));
        assert_eq!(ask("/chat", "[\"join\",\"more\",\"x\"]").1["msg"], "sign verify failed!");
        assert_eq!(ask("/ruled", &join).1, "ruled");
        assert_eq!(ask("/any", "[\"postMsg\",\"hi\",\"r\"]").1, "any");
        let unknown = json!({"code": 0, "msg": "unknown event!", "data": ""});
        assert_eq!(ask("/open", "[\"postMsg\",\"hi\",\"r\"]").1, unknown);
        assert_eq!(ask("/chat", "[\"dance\"]").1, unknown);
    }
    let mut plain = relay.connect_with(&[("room_ids", "r"), ("nsp", "/chat")]);
    plain.send("{\"ack\":1,\"data\":\"plain\",\"room_ids\":\"r\"}");
    assert_eq!(main.json()["data"], "plain");
    assert_eq!(plain.json()["data"], "plain");
    assert_eq!(plain.json()["code"], 1);
}

#[test]
fn an_event_without_a_rule_is_acknowledged_with_the_refusal() {
    let relay = Relay::start("");
    let expected = json!({"code": 0, "msg": "unknown event!", "data": ""});
    for revision in [3, 4] {
        let (mut socket, ..) = connected(&relay, revision, &login(&[("room_ids", "r")]));
        let before = relay.counter("client_messages_refused");
        socket.send("427[\"dance\",1]");
        assert_eq!(ack(&socket.text(), "437"), expected);
        // Without an acknowledgement there is no answer; both are counted once.
        socket.send("42[\"dance\",1]");
        socket.send("428[\"newMsg\"]");
        assert_eq!(ack(&socket.text(), "438"), expected);
        assert_eq!(relay.counter("client_messages_refused") - before, 3);
    }
    let mut plain = relay.connect("r");
    let before = relay.counter("client_messages_refused");
    plain.send("{\"event\":\"dance\",\"ack\":1}");
    assert_eq!(plain.json()["msg"], "unknown event!");
    assert_eq!(relay.counter("client_messages_refused") - before, 1);
}
