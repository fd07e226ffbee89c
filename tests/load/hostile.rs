//! docs/protocol.md, Limits: floods, amplification and oversized fields from strangers. None of it costs another client
//! a message, and all of it costs the relay a bounded amount of memory and time.

use std::{
    fs,
    io::{Read, Write},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{
    self, Client, FORM, KEY, PATIENCE, Relay, TOKEN,
    engineio::{self, Polling, websocket},
    login, notify_sign, send_request, temp_file, wait_for,
};

/// Megabytes that the process has resident.
fn resident(relay: &Relay) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}

/// A room's member that reads on a thread: how many messages it got before the one that ends it, or its close.
fn reader(mut client: Client) -> thread::JoinHandle<(usize, Option<u16>)> {
    thread::spawn(move || {
        for count in 0.. {
            match client.next() {
                tungstenite::Message::Close(frame) => return (count, frame.map(|frame| frame.code.into())),
                message if message.to_string().contains("the last one") => return (count, None),
                _ => {}
            }
        }
        unreachable!("it counts for ever")
    })
}

#[test]
fn logins_are_rate_limited() {
    let relay = Relay::start("");
    // Without a limit, each of these is parsed, checked and refused: 3.6 s during which nobody else is served.
    let (poll, _) = Polling::open(&relay, &format!("EIO=4&{}", "a&".repeat(7500)));
    poll.try_post(vec!["40"; 5000].join("\x1e").as_bytes(), &[]);
    poll.assert_gone();
    assert!(relay.counter("logins_refused") <= 20);
    let (mut socket, _) = websocket(&relay, "EIO=4");
    for _ in 0..10 {
        socket.send("40/nowhere,");
    }
    while socket.socket.read().is_ok() {}
    assert!(relay.counter("logins_refused") <= 40);
}

/// Each leave sends `user_quit` to the room.
#[test]
fn joining_and_leaving_counts_as_messages() {
    let relay = Relay::start("");
    let member = reader(relay.connect("room"));
    let (poll, _) = Polling::open(&relay, &format!("EIO=4&{}", login(&[("watch_quit", "1")])));
    let answer = poll.try_post(vec!["40\x1e41"; 2500].join("\x1e").as_bytes(), &[]);
    assert_eq!(answer.status, 400);
    assert!(relay.counter("logins") <= 20, "{}", relay.counter("logins"));
    relay.notify("room", "the last one");
    let (messages, close) = member.join().unwrap();
    assert!(messages <= 20 && close.is_none(), "{messages} {close:?}");
}

#[test]
fn a_probe_is_answered_once() {
    let relay = Relay::start("");
    let (poll, _) = Polling::open(&relay, "EIO=4");
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", poll.sid);
    let before = resident(&relay);
    for frame in [&b"\x81\x86\0\0\0\x002probe"[..], b"\x89\x84\0\0\0\0ping"] {
        let mut probe = Client::open(relay.tcp(), &target).unwrap();
        let stream = probe.socket.get_mut();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let flood = frame.repeat(5000);
        // Closed, and so at some point refused by the kernel; what was read by then is little.
        let sent = (0..2000).take_while(|_| stream.write_all(&flood).is_ok()).count();
        assert!(sent < 2000, "the flood was taken");
    }
    assert!(resident(&relay) < before + 20, "{} MB", resident(&relay));
    // Only the probes are gone.
    poll.post(&["3"]);
}

#[test]
fn names_are_short() {
    let relay = Relay::start("");
    let long = "x".repeat(12_000);
    for (field, most) in [("userid", 512), ("username", 512), ("ext_info", 8192)] {
        let right = "x".repeat(most);
        drop(relay.connect_with(&[(field, &right)]));
        let wrong = format!("{right}x");
        let answer = relay.refused(&login(&[(field, &wrong)]));
        assert_eq!(answer.json()["msg"], format!("{field} can not be longer than {most} bytes!"));
        // What CONNECT brings is no longer than a query by nature.
        let (mut socket, _) = websocket(&relay, &format!("EIO=4&{}", login(&[])));
        socket.send(&format!("40{}", json!({field: long})));
        assert_eq!(engineio::json(&socket.text(), "44")["message"], answer.json()["msg"]);
    }
}

/// 100 lines of a megabyte a second, from a client without a signature, would displace all other lines.
#[test]
fn log_lines_of_strangers_are_cut() {
    let folder = temp_file("hostile-log");
    let relay = Relay::start(&format!("\n[message_log]\ndir = \"{}\"\n", folder.display()));
    let long = "ü".repeat(2500);
    let mut socket = websocket(&relay, "EIO=4").0;
    socket.send(&format!("40{}", json!({"source": long, "room_ids": long, "sign": "x", "username": long})));
    socket.send("40/nowhere,");
    assert_eq!(engineio::json(&socket.text(), "44")["message"], "username can not be longer than 512 bytes!");
    relay.post_form(&[("source", &"x".repeat(500_000)), ("room_id", "r"), ("data", "x"), ("sign", "x")]);
    let text = wait_for("three lines", || {
        let day = fs::read_dir(&folder).ok()?.next()?.ok()?;
        fs::read_to_string(day.path().join("error.log")).ok().filter(|text| text.lines().count() == 3)
    });
    for line in text.lines() {
        assert!(line.len() < 3000, "{}", line.len());
        serde_json::from_str::<Value>(line).unwrap();
    }
    drop(relay);
    fs::remove_dir_all(folder).unwrap();
}

/// A client that reads is not slow, however much one message, one batch, or one turn brings.
#[test]
fn a_reader_gets_what_comes_at_once() {
    let relay = Relay::start("");
    let both = reader(relay.connect("a,b"));
    let big = "x".repeat(600_000);
    // A busy machine lets the client wait for its turn.
    let has_read =
        || wait_for("an empty queue", || (relay.metric("relay_memory_kind_bytes{kind=\"unsent\"}") == 0).then_some(()));
    relay.notify("a,b", &big);
    has_read();
    relay.notify("a,b,a,b", &big);
    has_read();
    relay.notify("a", "the last one");
    assert_eq!(both.join().unwrap(), (6, None));
    let (mut socket, _) = websocket(&relay, &format!("EIO=3&{}", login(&[])));
    assert_eq!(socket.text(), "40");
    let plain = relay.connect("room");
    let readers = [reader(socket), reader(plain)];
    let sign = notify_sign("demo", "room", "1", KEY);
    let one = format!("{{\"source\":\"demo\",\"room_id\":\"room\",\"data\":1,\"sign\":\"{sign}\"}}");
    let body = format!("{{\"messages\":[{}]}}", vec![one; 10_000].join(","));
    assert_eq!(relay.post_json("/api/notify/batch", &body).json()["code"], 1);
    has_read();
    relay.notify("room", "the last one");
    for reader in readers {
        assert_eq!(reader.join().unwrap(), (10_000, None));
    }
    assert_eq!(relay.counter("slow_consumers"), 0);
}

/// A form may name its rooms one by one. An unsigned body full of them costs time proportional to its length.
#[test]
fn a_body_full_of_fields() {
    let relay = Relay::start("");
    // Processor time that so many bodies need, each with so many fields.
    let price = |bodies: usize, fields: usize| {
        let body = format!("source=demo&data=x&sign=y{}", "&room_id=aaaaaaa".repeat(fields));
        let before = relay.cpu();
        for _ in 0..bodies {
            let answer = relay.request("POST", "/api/notify", &[("Content-Type", FORM)], body.as_bytes());
            assert_eq!(answer.json()["code"], 0);
        }
        relay.cpu() - before
    };
    // A copy of the list for each field made it 16 times as much.
    let (many, few) = (price(8, 60_000), price(128, 3750));
    assert!(many < few * 6, "8 bodies of 60,000 fields: {many:?}, 128 bodies of 3,750: {few:?}");
}

/// A room named a hundred times made one message a hundred.
#[test]
fn each_room_counts_as_a_message() {
    // Four messages to a hundred rooms at once, and the next one after 100 s.
    let relay = Relay::start("[limits]\nmessage_rate = 1\nmessage_burst = 400");
    let member = reader(relay.connect("room"));
    let mut sender = relay.connect("other");
    let rooms = vec!["room"; 100].join(",");
    let send = |sender: &mut Client, data: &str| {
        sender.send(&json!({"data": data, "room_ids": rooms, "ack": 1}).to_string());
        sender.json()["msg"].clone()
    };
    let refusals = [json!("message is too large for so many rooms!"), json!("message rate limit exceeded!")];
    assert_eq!(send(&mut sender, &"x".repeat(45_000)), refusals[0]);
    let taken = (0..400).filter(|_| send(&mut sender, "x") == "").count();
    assert!((3..=4).contains(&taken), "{taken} messages of a hundred");
    assert_eq!(send(&mut sender, "x"), refusals[1]);
    let mut text = relay.connect_with(&[("format", "text"), ("room_ids", "room")]);
    text.send("one room is one message");
    relay.notify("room", "the last one");
    let (messages, close) = member.join().unwrap();
    assert_eq!((messages, close), (taken * 100 + 1, None));
}

/// One POST of many messages to a large room closes no client that reads.
#[test]
fn a_room_survives_a_burst() {
    let relay = Relay::start("[limits]\nmessage_rate = 0\n");
    let members: Vec<_> = (0..50).map(|_| reader(relay.connect("room"))).collect();
    let (poll, _) = Polling::open(&relay, &format!("EIO=3&{}", login(&[("room_ids", "mine")])));
    let rooms = vec!["room"; 100].join(",");
    for _ in 0..4 {
        let packet = format!("42{}", json!(["postMsg", "x", rooms]));
        poll.post(&vec![&*packet; 15]);
    }
    relay.notify("room", "the last one");
    for member in members {
        assert_eq!(member.join().unwrap(), (6000, None));
    }
}

/// `Connection: close` ends a connection when its answer was read, not two seconds after it was written.
#[test]
fn a_slow_reader_gets_all_of_its_last_answer() {
    let folder = temp_file("hostile-big");
    let relay = Relay::start(&format!("\n[message_log]\ndir = \"{}\"\n", folder.display()));
    let day = wait_for("a day", || Some(fs::read_dir(&folder).ok()?.next()?.ok()?.path()));
    let text = format!("{}\n", "<".repeat(999)).repeat(1000);
    fs::write(day.join("demo_big"), &text).unwrap();
    let stream = relay.tcp();
    SockRef::from(&stream).set_recv_buffer_size(65_536).unwrap();
    let mut stream = stream;
    let target = format!("/readmsg?source=demo&filename=big&bytes=1048576&token={TOKEN}");
    send_request(&mut stream, "GET", &target, &[("Connection", "close")], b"");
    let mut all = vec![0];
    stream.read_exact(&mut all).unwrap();
    thread::sleep(Duration::from_millis(2500));
    stream.read_to_end(&mut all).unwrap();
    let all = String::from_utf8(all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Connection: close"), "{head}");
    assert_eq!(body.matches("&lt;").count(), 999_000, "of {} bytes", body.len());
    drop(relay);
    fs::remove_dir_all(folder).unwrap();
}

/// A generated token is useless unless it is logged.
#[test]
fn generated_token_is_logged_at_every_level() {
    for level in ["off", "error", "warn", "info"] {
        let config = temp_file("quiet.toml");
        let text = format!("listen = [\"127.0.0.1:0\"]\n[log]\nlevel = \"{level}\"\n[sources.a]\nsign_key = \"k\"\n");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(support::binary());
        command.arg("--config").arg(&config).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = [0; 4096];
        let length = wait_for("a line", || {
            let read = child.stderr.as_mut().unwrap().read(&mut first).unwrap();
            String::from_utf8_lossy(&first[..read]).contains("the admin token is").then_some(read)
        });
        assert!(length > 0, "{level}");
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(config).unwrap();
    }
}

/// One connection that sends long chunk extensions, which count for nothing in the body.
#[test]
fn chunk_extensions_are_not_kept() {
    let relay = Relay::start("");
    let before = resident(&relay);
    let mut stream = relay.tcp();
    stream
        .write_all(b"POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [&b"1;"[..], &[b'x'; 4000], b"\r\na\r\n"].concat();
    // The connection may be reset while this is still being sent.
    let _ = (0..16_000).try_for_each(|_| stream.write_all(&chunk));
    wait_for("the refusal", || (relay.counter("bad_requests") == 1).then_some(()));
    let growth = resident(&relay).saturating_sub(before);
    assert!(growth < 8, "relay grew by {growth} MiB");
}

/// Bodies without an end, from many connections: together they take at most half of `limits.unfinished`.
#[test]
fn incomplete_bodies_have_a_budget() {
    let relay = Relay::start("[limits]\nunfinished = 8388608");
    let before = resident(&relay);
    let head =
        "POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let body = vec![b'a'; 900_000];
    let mut streams: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = relay.tcp();
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            stream
        })
        .collect();
    wait_for("most to be refused", || (relay.counter("unfinished_refused") >= 50).then_some(()));
    let growth = resident(&relay).saturating_sub(before);
    assert!(growth < 16, "relay grew by {growth} MiB");
    relay.notify("room", "small requests are not affected");
    streams.clear();
    let mut text = String::new();
    wait_for("the others to leave", || (relay.stat("/connections") < 5).then_some(()));
    // What was refused has given its memory back.
    let mut stream = relay.tcp();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    stream.write_all(&[b'a'; 100_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") || text.starts_with("HTTP/1.1 200 "), "{text}");
}

/// Before a login a client has 64 KiB for a message, whatever the limits are.
#[test]
fn strangers_have_little_memory() {
    let relay = Relay::start("");
    for path in ["/nothing", "/socket.io/?EIO=4&transport=polling&sid=unknown"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n");
        let mut stream = relay.tcp();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[b'a'; 20_000]).unwrap();
        let answer = support::read_answer(&mut stream, false);
        assert_eq!(answer.status, 413, "{path}");
    }
    let (poll, _) = Polling::open(&relay, "EIO=4");
    assert_eq!(poll.try_post(&[b'4'; 100_000], &[]).status, 413);
    let (mut socket, _) = websocket(&relay, "EIO=4");
    socket.send(&format!("4{}", "0".repeat(70_000)));
    assert_eq!(socket.close_code(), 1009);
}

/// Clients that never read, in rooms of their own: each takes `limits.unsent` and two messages.
#[test]
fn slow_readers_cost_what_the_docs_say() {
    let relay = Relay::start("");
    let clients: Vec<Client> = (0..20).map(|number| relay.connect(&format!("room-{number}"))).collect();
    for client in &clients {
        SockRef::from(client.socket.get_ref()).set_recv_buffer_size(2048).unwrap();
    }
    relay.fence();
    let before = resident(&relay);
    let data = "x".repeat(240_000);
    let mut most = 0;
    // With history they fall behind in place of being closed.
    while relay.counter("slow_consumers") + relay.counter("fell_behind") < 20 {
        for number in 0..20 {
            relay.notify(&format!("room-{number}"), &data);
        }
        most = most.max(resident(&relay).saturating_sub(before));
    }
    assert!(most < 20 * 3, "20 slow clients took {most} MiB");
}

/// Above `limits.memory` the clients with the most unsent bytes go, and others lose nothing.
#[test]
fn the_memory_limit_is_kept() {
    let relay = Relay::start("[limits]\nmemory = 33554432\nunsent = 16777216");
    let quick = reader(relay.connect("hall"));
    let slow: Vec<Client> = (0..12).map(|number| relay.connect(&format!("hall,room-{number}"))).collect();
    let data = "x".repeat(240_000);
    let mut most = 0;
    for _ in 0..30 {
        for number in 0..slow.len() {
            relay.notify(&format!("room-{number}"), &data);
        }
        most = most.max(relay.metric("relay_memory_bytes"));
    }
    let limit = relay.metric("relay_memory_limit_bytes");
    assert_eq!(limit, 33_554_432);
    assert!(most < limit + 4_000_000, "{most} bytes were allocated");
    assert!(relay.counter("memory_slow_closed") > 0 && relay.counter("memory_caches_dropped") == 1);
    relay.wait_log("limits.memory is reached: closing the clients");
    relay.notify("hall", "the last one");
    assert_eq!(quick.join().unwrap(), (0, None));
    relay.assert_idle("relay keeps a limit that it has reached");
}
