//! docs/protocol.md, Socket.IO: sessions of Engine.IO 4 that poll. Requests and bodies, how polls and posts end a
//! session, pages of other origins, and several paths.

use std::{fs, io::Read};

use serde_json::Value;

use crate::support::{
    Answer, Client, Relay,
    engineio::{self, PATIENT, Polling, SLACK, UPGRADE, assert_refused, example, joined, patient, payload, send_part},
    read_answer, send_request, temp_file, wait_for,
};

// Ends.

#[test]
fn a_close_packet_over_polling() {
    let relay = patient();
    let session = Polling::fresh(&relay);
    let mut poll = session.begin_poll();
    session.post(&["1"]);
    assert_eq!(session.end_poll(&mut poll), ["6"]);
    session.assert_gone();
    // Without a poll that waits.
    let session = Polling::fresh(&relay);
    session.post(&["1"]);
    session.assert_gone();
}

/// Packets before it in the body are handled, packets behind it are not.
#[test]
fn a_close_packet_among_others() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut poll = session.begin_poll();
    session.post(&["42[\"message\",1]", "1", "42[\"message\",2]"]);
    assert_eq!(session.end_poll(&mut poll), ["42[\"message-back\",1]", "6"]);
    session.assert_gone();
}

#[test]
fn two_polls_at_once() {
    let relay = patient();
    let session = Polling::fresh(&relay);
    let mut poll = session.begin_poll();
    let second = relay.get(&session.target);
    assert_eq!((second.status, &second.json()["code"]), (400, &3.into()));
    assert_eq!(session.end_poll(&mut poll), ["1"]);
    session.assert_gone();
}

#[test]
fn a_poll_that_is_aborted_ends_the_session() {
    let relay = patient();
    let session = Polling::joined(&relay);
    assert_eq!(relay.stat("/sessions"), 1);
    drop(session.begin_poll());
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
    session.assert_gone();
}

/// A probing WebSocket ends with its session.
#[test]
fn a_poll_that_is_aborted_takes_the_probe_with_it() {
    let relay = patient();
    for answered in [false, true] {
        let session = Polling::joined(&relay);
        let mut socket = session.websocket().unwrap();
        let poll = session.begin_poll();
        if answered {
            socket.send("2probe");
            assert_eq!(socket.text(), "3probe");
            session.post(&["1"]);
        }
        drop(poll);
        wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
        session.assert_gone();
        wait_for("its WebSocket to end", || (relay.stat("/connections") == 1).then_some(()));
        drop(socket);
    }
}

/// Also if another request follows it.
#[test]
fn a_poll_that_is_aborted_with_a_request_behind_it_ends_the_session() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    assert_eq!(relay.get("/healthz").status, 200);
    drop(stream);
    wait_for("the session to end", || (relay.stat("/sessions") == 0).then_some(()));
}

// Bodies.

#[test]
fn a_body_has_at_most_sixteen_packets() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let packets: Vec<_> = (0..40).map(|number| format!("42[\"message\",{number}]")).collect();
    session.post(&packets.iter().map(String::as_str).collect::<Vec<_>>());
    let bodies = [session.poll(), session.poll(), session.poll()];
    assert_eq!(bodies.each_ref().map(Vec::len), [16, 16, 8]);
    let expected: Vec<_> = (0..40).map(|number| format!("42[\"message-back\",{number}]")).collect();
    assert_eq!(bodies.concat(), expected);
}

#[test]
fn binary_over_polling() {
    let relay = patient();
    let session = Polling::joined(&relay);
    session.post(&["451-[\"message\",{\"_placeholder\":true,\"num\":0}]", "bAQIDBA=="]);
    assert_eq!(session.poll(), ["451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]", "bAQIDBA=="]);
    // The attachment in a body of its own, and empty.
    session.post(&["451-7[\"message-with-ack\",{\"_placeholder\":true,\"num\":0}]"]);
    session.post(&["b"]);
    assert_eq!(session.poll(), ["461-7[{\"_placeholder\":true,\"num\":0}]", "b"]);
}

/// `ok` comes after the packets were handled.
#[test]
fn a_post_is_answered_when_it_was_handled() {
    let relay = patient();
    let session = Polling::joined(&relay);
    for number in 0..20 {
        session.post(&[&format!("42[\"message\",{number}]")]);
        let mut poll = session.begin_poll();
        assert_eq!(session.end_poll(&mut poll), [format!("42[\"message-back\",{number}]")]);
    }
}

#[test]
fn a_malformed_body_ends_the_session() {
    let relay = patient();
    for body in ["abc", "", "7", "4abc", "42{}", "42abc[\"message\"]", "b*", "bAQ=", "2", "42[\"message\"]\x1e"] {
        let session = Polling::joined(&relay);
        let mut poll = session.begin_poll();
        let answer = session.try_post(body.as_bytes(), &[]);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{body:?}");
        let last = session.end_poll(&mut poll).pop();
        assert_eq!(last.as_deref(), Some("1"), "{body:?}");
        session.assert_gone();
    }
    let session = Polling::joined(&relay);
    assert_eq!(session.try_post(b"42[\"\xff\"]", &[]).status, 400);
    session.assert_gone();
}

#[test]
fn only_get_and_post() {
    let relay = patient();
    let session = Polling::joined(&relay);
    for method in ["PUT", "DELETE"] {
        let answer = relay.request(method, &session.target, &[], b"");
        assert_eq!((answer.status, &answer.json()["code"]), (400, &3.into()), "{method}");
    }
    let no_upgrade = relay.get(&session.target.replace("polling", "websocket"));
    assert_eq!((no_upgrade.status, &no_upgrade.json()["code"]), (400, &3.into()));
    session.post(&["42[\"message\"]"]);
    assert_eq!(session.poll(), ["42[\"message-back\"]"]);
}

#[test]
fn requests_in_pieces() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let (mut post, mut poll) = (relay.tcp(), relay.tcp());
    let body = "42[\"message\",\"€\"]";
    let head = format!("POST {} HTTP/1.1\r\nHost: relay\r\nContent-Length: {}\r\n\r\n", session.target, body.len());
    send_part(&mut post, &head[..20]);
    send_part(&mut poll, "GET ");
    assert_eq!(relay.get("/healthz").status, 200);
    send_part(&mut post, &head[20..]);
    send_part(&mut post, &body[..5]);
    assert_eq!(relay.get("/healthz").status, 200);
    // Neither half a post nor half a poll is anything yet.
    session.post(&["42[\"message\",1]"]);
    assert_eq!(session.poll(), ["42[\"message-back\",1]"]);
    send_part(&mut post, &body[5..]);
    assert_eq!(read_answer(&mut post, false).body, "ok");
    send_part(&mut poll, &format!("{} HTTP/1.1\r\nHost: relay\r\n", session.target));
    send_part(&mut poll, "\r\n");
    assert_eq!(session.end_poll(&mut poll), ["42[\"message-back\",\"€\"]"]);
    // A poll that was never whole is no poll that was aborted.
    let mut stream = relay.tcp();
    send_part(&mut stream, &format!("GET {} HTTP/1.1\r\nHost: rel", session.target));
    assert_eq!(relay.get("/healthz").status, 200);
    drop(stream);
    session.post(&["42[\"message\",2]"]);
    assert_eq!(session.poll(), ["42[\"message-back\",2]"]);
}

/// The answers come in the order of the requests: the post waits for the poll.
#[test]
fn a_post_behind_a_poll_on_one_connection() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    send_request(&mut stream, "POST", &session.target, &[], b"42[\"message\",\"behind\"]");
    send_request(&mut stream, "GET", &session.target, &[], b"");
    assert_eq!(relay.get("/healthz").status, 200);
    session.post(&["42[\"message\",\"beside\"]"]);
    assert_eq!(session.end_poll(&mut stream), ["42[\"message-back\",\"beside\"]"]);
    assert_eq!(read_answer(&mut stream, false).body, "ok");
    assert_eq!(session.end_poll(&mut stream), ["42[\"message-back\",\"behind\"]"]);
    // The connection stays good for polls.
    send_request(&mut stream, "GET", &session.target, &[], b"");
    session.post(&["42[\"message\",\"again\"]"]);
    assert_eq!(session.end_poll(&mut stream), ["42[\"message-back\",\"again\"]"]);
}

/// A poll waits for as long as the session lives, whatever HTTP's own patience; and the connection serves on.
#[test]
fn a_poll_outlasts_the_deadlines_of_http() {
    let slow = [("ping_interval = 0.3", "ping_interval = 2"), SLACK[0], SLACK[1]];
    let relay = example(&slow, "[limits]\nrequest_timeout = 1\nkeep_alive = 1");
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    send_request(&mut stream, "GET", &session.target, &[], b"");
    assert_eq!(session.end_poll(&mut stream), ["2"]);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "then it ends as any that is idle");
    session.post(&["3"]);
    assert_eq!(session.poll(), ["2"]);
}

#[test]
fn a_post_in_chunks() {
    let relay = patient();
    let session = Polling::joined(&relay);
    let mut stream = relay.tcp();
    let head = format!("POST {} HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n\r\n", session.target);
    for part in [&head, "5\r\n42[\"m\r\n", "9\r\nessage\",1\r\n", "1\r\n]\r\n0\r\n\r\n"] {
        send_part(&mut stream, part);
        assert_eq!(relay.get("/healthz").status, 200);
    }
    assert_eq!(read_answer(&mut stream, false).body, "ok");
    assert_eq!(session.poll(), ["42[\"message-back\",1]"]);
}

/// HTTP/1.0 knows no keep-alive: each answer ends its connection, and the session goes on.
#[test]
fn polls_of_http_1_0() {
    let relay = patient();
    let open = relay.raw("GET /socket.io/?EIO=4&transport=polling HTTP/1.0\r\n\r\n");
    let (head, body) = open.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
    let sid = engineio::sid(body);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let posted = relay.raw(format!("POST {target} HTTP/1.0\r\nContent-Length: 2\r\n\r\n40"));
    assert!(posted.ends_with("\r\n\r\nok"), "{posted}");
    let polled = relay.raw(format!("GET {target} HTTP/1.0\r\n\r\n"));
    assert!(polled.ends_with("\x1e42[\"auth\",{}]"), "{polled}");
    // And one that waits.
    let mut stream = relay.tcp();
    send_part(&mut stream, &format!("GET {target} HTTP/1.0\r\n\r\n"));
    assert_eq!(relay.get("/healthz").status, 200);
    assert_eq!(relay.request("POST", &target, &[], b"42[\"message\"]").body, "ok");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\n42[\"message-back\"]"), "{text}");
    assert_eq!(relay.stat("/sessions"), 1);
}

// Pages.

#[test]
fn pages_of_other_origins_may_call() {
    let relay = patient();
    let page = [("Origin", "https://page.example")];
    let allowed = |answer: &Answer| {
        assert_eq!(answer.header("access-control-allow-origin"), "https://page.example", "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true", "{answer:?}");
        assert!(answer.header("vary").starts_with("Origin"), "{answer:?}");
    };
    let preflight =
        [page[0], ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    let answer = relay.request("OPTIONS", "/socket.io/?EIO=4&transport=polling", &preflight, b"");
    assert_eq!(answer.status, 204);
    allowed(&answer);
    assert_eq!(answer.header("vary"), "Origin, Access-Control-Request-Headers");
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST");
    assert!(answer.header("access-control-allow-headers").to_lowercase().contains("content-type"));

    let answer = relay.request("GET", "/socket.io/?EIO=4&transport=polling", &page, b"");
    allowed(&answer);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", engineio::sid(&answer.body));
    allowed(&relay.request("POST", &target, &page, b"40"));
    allowed(&relay.request("GET", &target, &page, b""));
    // The answer to a poll that waited.
    let mut poll = relay.tcp();
    send_request(&mut poll, "GET", &target, &page, b"");
    assert_eq!(relay.get("/healthz").status, 200);
    assert_eq!(relay.request("POST", &target, &page, b"42[\"message\"]").body, "ok");
    let answer = read_answer(&mut poll, false);
    allowed(&answer);
    assert_eq!(answer.body, "42[\"message-back\"]");
    // A page must be able to read why it was refused.
    allowed(&relay.request("GET", "/socket.io/?EIO=4&transport=polling&sid=x", &page, b""));
    // Programs send no Origin and hear nothing of it.
    assert_eq!(relay.get(&target.replace("polling", "x")).header("access-control-allow-origin"), "");
}

#[test]
fn a_page_of_an_origin_that_is_not_listed() {
    let more = ("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.1:0\"]\norigins = [\"https://page.example\"]");
    let relay = example(&[PATIENT, &[more]].concat(), "");
    let target = "/socket.io/?EIO=4&transport=polling";
    let other = [("Origin", "https://other.example")];
    let answer = relay.request("GET", target, &other, b"");
    assert_eq!(answer.status, 403);
    assert!(answer.body.starts_with(r#"{"code":4,"message":"Forbidden","reason":"origins in relay's "#), "{answer:?}");
    // The page's developer can read why.
    assert_eq!(answer.header("access-control-allow-origin"), "https://other.example");
    assert_eq!(answer.header("vary"), "Origin");
    assert_eq!(relay.request("OPTIONS", target, &other, b"").header("access-control-allow-origin"), "");
    let session = Polling::fresh(&relay);
    assert_eq!(relay.request("POST", &session.target, &other, b"40").status, 403);
    assert_eq!(relay.request("GET", &session.target, &other, b"").status, 403);
    let upgrade = [&other[..], &UPGRADE].concat();
    assert_eq!(relay.request("GET", "/socket.io/?EIO=4&transport=websocket", &upgrade, b"").status, 403);
    let page = [("Origin", "https://page.example")];
    assert_eq!(relay.request("POST", &session.target, &page, b"40").body, "ok");
    let answer = relay.request("GET", &session.target, &page, b"");
    assert_eq!(answer.header("access-control-allow-origin"), "https://page.example");
    assert_eq!(payload(&answer.body).len(), 2);
}

// Paths.

#[test]
fn several_paths_and_the_client_beside_them() {
    let script = temp_file("client.js");
    fs::write(&script, "/* a bundle */").unwrap();
    let paths = format!("path = [\"/socket.io/\", \"/Im/io\"]\nclient_js = {:?}", script.to_str().unwrap());
    let relay = example(&[PATIENT, &[("path = \"/socket.io/\"", &paths)]].concat(), "");
    fs::remove_file(&script).unwrap();
    let (mut sessions, mut etags) = (Vec::new(), Vec::new());
    for path in ["/socket.io/", "/socket.io", "/Im/io/", "/Im/io"] {
        let answer = relay.get(&format!("{path}?EIO=4&transport=polling"));
        assert_eq!(answer.status, 200, "{path}");
        sessions.push(engineio::sid(&answer.body));
        let target = format!("{}/socket.io.js", path.trim_end_matches('/'));
        let answer = relay.get(&target);
        assert_eq!((answer.status, answer.body.as_str()), (200, "/* a bundle */"), "{path}");
        assert!(answer.header("content-type").contains("javascript"), "{answer:?}");
        etags.push(answer.header("etag").to_owned());
        let again = relay.request("GET", &target, &[("If-None-Match", answer.header("etag"))], b"");
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
    assert!(!etags[0].is_empty() && etags.iter().all(|etag| *etag == etags[0]));
    // A session is not of one path.
    let target = format!("/Im/io?EIO=4&transport=polling&sid={}", sessions[0]);
    assert_eq!(relay.request("POST", &target, &[], b"40").body, "ok");
    let mut socket = Client::open(relay.tcp(), "/Im/io/?EIO=4&transport=websocket").unwrap();
    assert!(socket.text().starts_with("0{\"sid\":"));
    assert_eq!(relay.get("/socket.io/other.js").status, 404);
    assert_eq!(patient().get("/socket.io/socket.io.js").status, 404, "there is no client unless one is configured");
}

/// Many sessions at once, of both transports: each hears what is its own.
#[test]
fn sessions_do_not_mix() {
    let relay = patient();
    let mut sockets: Vec<Client> = (0..20).map(|_| joined(&relay)).collect();
    let sessions: Vec<Polling> = (0..20).map(|_| Polling::joined(&relay)).collect();
    let message = |kind: &str, number: usize| format!("42[\"message\",\"{kind}\",{number}]");
    for (number, (socket, session)) in sockets.iter_mut().zip(&sessions).enumerate() {
        socket.send(&message("websocket", number));
        session.post(&[&message("polling", number)]);
    }
    for (number, (socket, session)) in sockets.iter_mut().zip(&sessions).enumerate() {
        assert_eq!(socket.text(), message("websocket", number).replace("message", "message-back"));
        assert_eq!(session.poll(), [message("polling", number).replace("message", "message-back")]);
    }
    let names: std::collections::HashSet<_> = sessions.iter().map(|session| session.sid.as_str()).collect();
    assert_eq!(names.len(), 20);
    let stats: Value = relay.admin("/api/stats").json();
    assert_eq!(stats["sources"]["echo"]["sessions"], 40, "{stats}");
    drop(sockets);
    for session in &sessions {
        session.post(&["1"]);
    }
    wait_for("all to be gone", || (relay.stat("/sessions") == 0).then_some(()));
}

/// A session's name opens no other's.
#[test]
fn a_changed_sid_is_unknown() {
    let relay: Relay = patient();
    let session = Polling::joined(&relay);
    for at in 0..session.sid.len() {
        let mut sid = session.sid.clone().into_bytes();
        sid[at] = if sid[at] == b'A' { b'B' } else { b'A' };
        let target = session.target.replace(&session.sid, std::str::from_utf8(&sid).unwrap());
        assert_refused(&relay.get(&target), 1, "Session ID unknown");
    }
    session.post(&["42[\"message\"]"]);
    assert_eq!(session.poll(), ["42[\"message-back\"]"]);
}
