//! `relay-bench` against the real relay, in each mode and with each kind of client; against a server that does everything
//! wrong; and against what it must not touch.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Relay, temp_file};
use tungstenite::handshake::derive_accept_key;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?} {}", self.out, self.err))
    }

    /// The report of a run in which nothing was wrong.
    fn good(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        let json = self.json();
        for fault in FAULTS {
            assert_eq!(json[fault], 0, "{json}");
        }
        assert_eq!((&json["ok"], self.err.as_str()), (&Value::Bool(true), ""), "{json}");
        json
    }
}

/// Runs a line of arguments.
fn bench(line: &str) -> Ran {
    run(env!("CARGO_BIN_EXE_relay-bench").as_ref(), line)
}

fn run(program: &Path, line: &str) -> Ran {
    let output = Command::new(program).args(line.split_whitespace()).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

const FAULTS: [&str; 7] = ["lost", "doubled", "disordered", "damaged", "closed", "refused", "unanswered"];
const KINDS: [&str; 5] = ["ws", "sio4", "sio3", "polling4", "polling3"];

fn positive(json: &Value, keys: &[&str]) {
    for key in keys {
        assert!(json[*key].as_f64().is_some_and(|number| number > 0.0), "{key} in {json}");
    }
}

#[test]
fn fan_out_to_every_kind_of_client() {
    let relay = Relay::start("");
    let at = format!("--addr {} --pid {} --timeout 20 --json", relay.addr, relay.pid());
    for kind in KINDS {
        let json = bench(&format!("fan-out --client {kind} --members 5 --messages 20 {at}")).good();
        assert_eq!((&json["client"], &json["mode"]), (&kind.into(), &"fan-out".into()));
        assert_eq!((&json["messages"], &json["deliveries"], &json["owed"]), (&20.into(), &100.into(), &100.into()));
        assert_eq!((&json["latency_from"], &json["window"]), (&"send".into(), &1.into()));
        positive(&json, &["deliveries_per_s", "latency_p50_us", "latency_max_us", "cpu_us_per_delivery", "seconds"]);
        assert!(json["bytes_per_member"].is_number(), "{json}");
        // Rooms that are not equally full, several publishers, messages larger than a small frame's length.
        let many = "--members 5 --rooms 3 --connections 2 --window 8 --messages 30 --size 70000";
        let json = bench(&format!("fan-out --client {kind} {many} {at}")).good();
        assert_eq!((&json["messages"], &json["deliveries"]), (&30.into(), &50.into()));
    }
    assert_eq!((relay.counter("notifies"), relay.counter("delivered")), (250, 750));
}

#[test]
fn a_fixed_rate() {
    let relay = Relay::start("");
    let line = format!("fan-out --members 5 --rate 200 --seconds 0.5 --timeout 20 --addr {} --json", relay.addr);
    let json = bench(&line).good();
    assert_eq!(
        (&json["messages"], &json["latency_from"], &json["rate_per_s"]),
        (&100.into(), &"schedule".into(), &200.0.into())
    );
    let seconds = json["seconds"].as_f64().unwrap();
    assert!((0.45..2.0).contains(&seconds), "{json}");
    assert!(json["cpu_us_per_delivery"].is_null(), "nobody said which process: {json}");
}

/// A server that stops for a while: what was due in that time was late, and is told so.
#[test]
fn a_stall_is_not_left_out() {
    let relay = Relay::start("");
    let (addr, pid) = (relay.addr, relay.pid());
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_secs(1));
        for (signal, pause) in [("-STOP", 500), ("-CONT", 0)] {
            assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
            thread::sleep(Duration::from_millis(pause));
        }
    });
    let json = bench(&format!("fan-out --members 2 --rate 100 --seconds 3 --timeout 20 --addr {addr} --json")).good();
    stopper.join().unwrap();
    let [p50, p99, max] = ["latency_p50_us", "latency_p99_us", "latency_max_us"].map(|key| json[key].as_f64().unwrap());
    // A sixth of all messages was due while it stood still, the first of them half a second before it went on.
    assert!(p50 < 250_000.0 && p99 > 300_000.0 && max > 400_000.0, "{json}");
}

#[test]
fn idle_sessions_of_every_kind() {
    for kind in KINDS {
        let relay = env!("CARGO_BIN_EXE_relay");
        let line =
            format!("idle --client {kind} --members 20 --rooms 3 --seconds 0.3 --timeout 20 --start {relay} --json");
        let json = bench(&line).good();
        // Twenty, and those before them that are not counted, which hear it twice.
        assert_eq!((&json["said"], &json["deliveries"]), (&120.into(), &220.into()), "{json}");
        assert!(json["bytes_per_session"].is_number() && json["server_cpu_percent"].is_number(), "{json}");
        positive(&json, &["cpu_us_per_connect", "rss_bytes"]);
    }
}

/// Members answer pings, and ping where that is on the client: a relay that is strict about it loses none.
#[test]
fn sessions_stay_alive() {
    let strict = "ping_interval = 0.6\nping_timeout = 0.6\n";
    let relay = Relay::start(&format!("[websocket]\n{strict}[socketio]\n{strict}"));
    let runs = KINDS.map(|kind| {
        let line = format!("idle --client {kind} --members 5 --seconds 3 --timeout 20 --addr {} --json", relay.addr);
        thread::spawn(move || bench(&line))
    });
    runs.into_iter().for_each(|run| drop(run.join().unwrap().good()));
    assert_eq!(relay.counter("ping_timeouts"), 0);
}

/// Backends that are closed because they were silent come again, and none of their messages is lost.
#[test]
fn silent_backends_come_again() {
    let relay = Relay::start("[limits]\nrequest_timeout = 0.4\nkeep_alive = 0.4\n");
    let load = "--members 2 --connections 2 --rate 1 --messages 4 --timeout 20";
    let json = bench(&format!("fan-out {load} --addr {} --json", relay.addr)).good();
    assert_eq!(json["deliveries"], 8);
}

#[test]
fn logins_of_every_kind() {
    let relay = Relay::start("");
    for kind in KINDS {
        let at = format!("--addr {} --pid {} --timeout 20 --json", relay.addr, relay.pid());
        let json = bench(&format!("connect --client {kind} --members 25 --concurrency 4 {at}")).good();
        assert_eq!((&json["connects"], &json["present"]), (&25.into(), &1.into()));
        positive(&json, &["connects_per_s", "latency_p50_us", "cpu_us_per_connect"]);
        let crowded = bench(&format!("connect --client {kind} --members 5 --present 20 --rooms 3 {at}")).good();
        assert_eq!((&crowded["connects"], &crowded["present"]), (&5.into(), &20.into()));
        // It leaves nobody behind.
        support::wait_for("the end of all sessions", || (relay.stat("/sessions") == 0).then_some(()));
    }
}

/// The relay's whole work is counted, also that of a turn which ends after the last delivery has come.
#[test]
fn one_message_has_its_cost() {
    let relay = Relay::start("");
    for _ in 0..5 {
        let line = format!("--messages 1 --timeout 20 --json --addr {} --pid {}", relay.addr, relay.pid());
        let json = bench(&format!("fan-out --members 2 {line}")).good();
        assert!(json["cpu_us_per_delivery"].as_f64().unwrap() > 5.0, "{json}");
        assert!(bench(&format!("ingest {line}")).good()["cpu_us_per_notify"].as_f64().unwrap() > 10.0);
    }
}

/// Every key says its unit, or is a count, a name or a yes.
#[test]
fn keys_name_their_units() {
    let counts = [
        "members",
        "rooms",
        "connections",
        "messages",
        "window",
        "deliveries",
        "owed",
        "accepted",
        "said",
        "connects",
        "present",
        "concurrency",
        "seconds",
        "mode",
        "addr",
        "client",
        "latency_from",
        "ok",
        "faults",
    ];
    let units = ["_us", "_per_s", "_percent", "_bytes", "bytes_per_", "_us_per_"];
    for mode in ["fan-out --members 2 --rate 50", "idle --members 2", "ingest", "connect --members 2"] {
        let seconds = if mode.starts_with("connect") { "" } else { "--seconds 0.1" };
        let json = bench(&format!("{mode} {seconds} --start --timeout 20 --json")).good();
        for key in json.as_object().unwrap().keys() {
            let known = counts.contains(&key.as_str()) || FAULTS.contains(&key.as_str());
            assert!(known || units.iter().any(|unit| key.contains(unit)), "{key} of {mode}");
        }
    }
}

#[test]
fn ingest() {
    let json = bench("ingest --start --messages 300 --connections 3 --window 5 --timeout 20 --json").good();
    assert_eq!((&json["accepted"], &json["messages"]), (&300.into(), &300.into()));
    positive(&json, &["accepted_per_s", "latency_p99_us", "cpu_us_per_notify"]);
    let json = bench("ingest --start --seconds 0.3 --rate 100 --timeout 20 --json").good();
    assert_eq!((&json["accepted"], &json["latency_from"]), (&30.into(), &"schedule".into()));
}

#[test]
fn a_table_for_people() {
    let ran = bench("fan-out --start --members 3 --messages 5 --timeout 20");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for text in ["latency, from its send", "relay's CPU per delivery", "nothing lost"] {
        assert!(ran.out.contains(text), "{}", ran.out);
    }
}

#[test]
fn a_unix_socket_and_another_source() {
    let path = temp_file("bench.sock");
    let relay = Relay::start(&format!("listen = [\"unix:{}\", \"127.0.0.1:0\"]\n", path.display()));
    let line = format!("--members 3 --messages 5 --timeout 20 --json --addr unix:{}", path.display());
    bench(&format!("fan-out {line}")).good();
    let other = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
        .args(["fan-out", "--source", "other", "--key", "other key"])
        .args(line.split(' '))
        .output()
        .unwrap();
    assert!(other.status.success(), "{other:?}");
    // A wrong key is a refusal, and is said to be one.
    for kind in KINDS {
        let ran = bench(&format!("fan-out --client {kind} --key wrong {line}"));
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{kind}");
        assert!(ran.err.contains("sign verify failed!"), "{kind}: {}", ran.err);
    }
    drop(relay);
    let _ = fs::remove_file(path);
}

/// What a fake server does with messages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Lose,
    Double,
    Swap,
    Shorten,
    Change,
    Misroute,
    CutOff,
    Refuse,
    Close,
    /// The connection ends without a word, together with the message.
    HangUp,
    /// The notification is never answered.
    Silent,
    /// It is answered twice.
    Chatty,
}

/// A server for plain WebSocket members and publishers that is at fault with the fifth message, for its first member.
fn fake(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let members: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let members = members.clone();
            thread::spawn(move || serve(stream.unwrap(), &members, fault));
        }
    });
    addr
}

fn serve(mut stream: TcpStream, members: &Mutex<Vec<TcpStream>>, fault: Fault) {
    let (mut bytes, mut part, mut count, mut held) = (Vec::new(), [0; 4096], 0, None);
    loop {
        while let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
            if text.starts_with("GET ") {
                let accept = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
                write!(stream, "HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").unwrap();
                members.lock().unwrap().push(stream.try_clone().unwrap());
                // Its thread is done; the socket stays open with the other members.
                return;
            }
            let length: usize = text.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            let Some(body) = bytes.get(head + 4..head + 4 + length) else { break };
            let fields: Vec<String> = form_urlencoded::parse(body).map(|(_, value)| value.into_owned()).collect();
            bytes.drain(..head + 4 + length);
            count += 1;
            let wrong = count == 5;
            let code = if fault == Fault::Refuse && wrong { 0 } else { 1 };
            for (index, member) in members.lock().unwrap().iter_mut().enumerate() {
                let message = frame(&fields[1], &fields[2]);
                let bytes = match fault {
                    _ if !wrong || index > 0 => {
                        let late = if index == 0 { held.take() } else { None };
                        [message, late.unwrap_or_default()].concat()
                    }
                    Fault::Lose => continue,
                    Fault::Double => [&message[..], &message].concat(),
                    Fault::Swap => {
                        held = Some(message);
                        continue;
                    }
                    Fault::Shorten => frame(&fields[1], &fields[2][..fields[2].len() - 1]),
                    Fault::Change => frame(&fields[1], &fields[2].replacen('x', "y", 1)),
                    Fault::Misroute => frame("elsewhere", &fields[2]),
                    Fault::CutOff => {
                        let whole = message_text(&fields[1], &fields[2]);
                        text_frame(&whole[..whole.len() - 4])
                    }
                    Fault::Close => [&message[..], b"\x88\x02\x03\xf5"].concat(),
                    Fault::None | Fault::Refuse | Fault::HangUp | Fault::Silent | Fault::Chatty => message,
                };
                let _ = member.write_all(&bytes);
                if fault == Fault::HangUp && wrong && index == 0 {
                    member.shutdown(Shutdown::Both).unwrap();
                }
            }
            let answer = format!("{{\"code\":{code},\"msg\":\"\",\"data\":\"\"}}");
            let times = match fault {
                Fault::Silent if wrong => 0,
                Fault::Chatty if wrong => 2,
                _ => 1,
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(answer.repeat(times).as_bytes()).unwrap();
        }
        match stream.read(&mut part) {
            Ok(length @ 1..) => bytes.extend_from_slice(&part[..length]),
            _ => return,
        }
    }
}

fn frame(room: &str, data: &str) -> Vec<u8> {
    text_frame(&message_text(room, data))
}

fn message_text(room: &str, data: &str) -> String {
    format!("{{\"event\":\"newMsg\",\"source\":\"demo\",\"data\":\"{data}\",\"room_id\":\"{room}\",\"id\":\"1\"}}")
}

/// A text as a server frames it.
fn text_frame(text: &str) -> Vec<u8> {
    let length = (text.len() as u16).to_be_bytes();
    let head = if text.len() < 126 { vec![0x81, length[1]] } else { vec![0x81, 126, length[0], length[1]] };
    [&head, text.as_bytes()].concat()
}

#[test]
fn what_is_wrong_is_found() {
    let faults = [
        (Fault::None, "", [0, 0, 0, 0, 0, 0, 0]),
        (Fault::Lose, "never came", [1, 0, 0, 0, 0, 0, 0]),
        (Fault::Double, "doubled", [0, 1, 0, 0, 0, 0, 0]),
        (Fault::Swap, "out of order", [0, 0, 1, 0, 0, 0, 0]),
        (Fault::Shorten, "127 bytes of data in place of 128", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::Change, "not what was sent", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::Misroute, "elsewhere", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::CutOff, "no JSON", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::Refuse, "refused", [0, 0, 0, 0, 0, 1, 0]),
        (Fault::Close, "closed with 1013", [0, 0, 0, 0, 1, 0, 0]),
        (Fault::HangUp, "closed by the server", [0, 0, 0, 0, 1, 0, 0]),
        (Fault::Silent, "never answered", [0, 0, 0, 0, 0, 0, 1]),
    ];
    for (fault, text, counts) in faults {
        let line = "fan-out --members 3 --messages 20 --window 4 --stall 0.5 --timeout 20 --json";
        let ran = bench(&format!("{line} --addr {}", fake(fault)));
        let json = ran.json();
        let mut found = FAULTS.map(|key| json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}")));
        assert_eq!(json["deliveries"], json["owed"].as_u64().unwrap() - found[0], "{fault:?}: {json}");
        if [Fault::Close, Fault::HangUp].contains(&fault) {
            // What was in flight is lost, and the others go on.
            assert!(found[0] <= 3 && json["owed"].as_u64().unwrap() >= 45, "{json}");
            found[0] = 0;
        }
        assert_eq!(found, counts, "{fault:?}: {json}");
        assert_eq!((ran.code, &json["ok"]), (i32::from(fault != Fault::None), &(fault == Fault::None).into()));
        assert!(json["faults"].to_string().contains(text), "{fault:?}: {json}");
    }
    // Who reads the table sees it too.
    let ran = bench(&format!("fan-out --members 3 --messages 20 --window 4 --stall 0.5 --addr {}", fake(Fault::Lose)));
    assert!(ran.code == 1 && ran.out.contains("1 lost") && ran.out.contains("never came"), "{}", ran.out);
}

/// What nobody asked for is not taken for an answer, nor nothing for one.
#[test]
fn answers_are_counted() {
    let load = "--messages 20 --stall 0.5 --timeout 20 --json";
    for window in [1, 4] {
        let ran = bench(&format!("ingest --connections 1 --window {window} {load} --addr {}", fake(Fault::Chatty)));
        assert!(ran.code == 1 && ran.err.contains("an answer to nothing"), "{window}: {} {}", ran.out, ran.err);
    }
    let ran = bench(&format!("ingest --connections 1 --window 4 {load} --addr {}", fake(Fault::Silent)));
    assert_eq!((ran.code, &ran.json()["ok"]), (1, &false.into()), "{}", ran.out);
    // Who is never answered at all has no latency, which is not zero.
    let ran = bench(&format!(
        "ingest {load} --addr {}",
        hostile(|mut stream| while stream.read(&mut [0; 4096]).unwrap() > 0 {})
    ));
    let json = ran.json();
    assert_eq!((ran.code, &json["accepted"], &json["unanswered"]), (1, &0.into(), &16.into()), "{json}");
    assert!(json["latency_p50_us"].is_null() && json["latency_max_us"].is_null(), "{json}");
}

/// A server that does the same with everybody who connects and has said something.
fn hostile(with: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                    with(stream);
                }
            });
        }
    });
    addr
}

/// Lets in, and says more at once.
fn let_in(stream: &mut TcpStream, more: &[u8]) {
    let accept = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
    let head = format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), more].concat());
}

/// Whatever a server does, a run ends by itself, in time, with a word and without a panic.
#[test]
fn hostile_servers() {
    // Lets everybody in and throws them out.
    let ejecting = hostile(|mut stream| let_in(&mut stream, b"\x88\x02\x03\xf5"));
    let ran = bench(&format!("connect --members 40 --timeout 5 --addr {ejecting}"));
    assert!(ran.code == 1 && ran.err.contains("closed with 1013"), "{} {}", ran.out, ran.err);
    let later = hostile(|mut stream| {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        if SEEN.fetch_add(1, Ordering::Relaxed) == 0 {
            let_in(&mut stream, b"");
            thread::sleep(Duration::from_secs(30));
        }
        let_in(&mut stream, b"\x88\x02\x03\xf5");
    });
    let ran = bench(&format!("connect --members 40 --concurrency 1 --timeout 5 --json --addr {later}"));
    assert_eq!((ran.code, &ran.json()["closed"]), (1, &40.into()), "{} {}", ran.out, ran.err);
    // Announces that pings are due in the far future.
    let patient = hostile(|mut stream| {
        let welcome = "0{\"sid\":\"s\",\"pingInterval\":18446744073709551615}";
        let_in(&mut stream, &[text_frame(welcome), text_frame("40")].concat());
        thread::sleep(Duration::from_secs(30));
    });
    let ran = bench(&format!("connect --client sio3 --members 2 --timeout 5 --json --addr {patient}"));
    assert!(ran.code == 0 && ran.err.is_empty(), "{} {}", ran.out, ran.err);
    // Never stops: before it lets in, with small messages, and with one that has no end.
    type Flood = (fn(TcpStream), &'static str);
    let floods: [Flood; 4] = [
        (|stream| flood(stream, b"HTTP/1.1 200 x\r\nx: "), "ws"),
        (|stream| flood(stream, b"HTTP/1.1 200 x\r\nx: "), "polling4"),
        (
            |mut stream| {
                let_in(&mut stream, b"");
                flood(stream, &text_frame("x").repeat(100_000));
            },
            "ws",
        ),
        (
            |mut stream| {
                let_in(&mut stream, b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff");
                flood(stream, b"");
            },
            "ws",
        ),
    ];
    for (index, (with, client)) in floods.into_iter().enumerate() {
        let began = Instant::now();
        let ran =
            bench(&format!("fan-out --client {client} --members 1 --messages 5 --timeout 3 --addr {}", hostile(with)));
        assert!(ran.code == 1 && !ran.err.contains("panicked"), "{index}: {} {}", ran.out, ran.err);
        assert!(began.elapsed() < Duration::from_secs(8), "{index}: it took {:?}", began.elapsed());
    }
}

fn flood(mut stream: TcpStream, begin: &[u8]) {
    let filler = vec![b'y'; 1 << 20];
    let part = if begin.len() > filler.len() / 8 { begin } else { &filler };
    let _ = stream.write_all(begin);
    while stream.write_all(part).is_ok() {}
}

/// Nor is it led elsewhere by who answers here.
#[test]
fn redirections_are_not_followed() {
    let moved = hostile(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1:80/\r\nContent-Length: 0\r\n\r\n");
        thread::sleep(Duration::from_secs(10));
    });
    for line in ["fan-out --members 1", "fan-out --members 1 --client polling4", "ingest --stall 1", "connect"] {
        let ran = bench(&format!("{line} --seconds 0.1 --timeout 5 --addr {moved}"));
        assert!(ran.code == 1 && (ran.out + &ran.err).contains("302"), "{line}: {}", ran.err);
    }
}

#[test]
fn only_this_machine() {
    for address in ["192.0.2.1:4000", "0.0.0.0:4000", "[2001:db8::1]:4000", "[::ffff:192.0.2.1]:80"] {
        let ran = bench(&format!("fan-out --addr {address}"));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{address}");
        assert!(ran.err.contains("not on this machine") && ran.err.contains("--i-own-this-host"), "{}", ran.err);
        let ran = bench(&format!("fan-out --addr {address} --i-own-this-host example.org"));
        assert_eq!(ran.code, 2, "another host is owned: {}", ran.err);
    }
    // With the right name it would go ahead, here to a port at which nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = bench(&format!("fan-out --addr 0.0.0.0:{port} --i-own-this-host 0.0.0.0"));
    assert!(ran.code == 1 && ran.err.contains("no relay answers"), "{}", ran.err);
}

#[test]
fn what_cannot_be_done() {
    let many = "1000000";
    for (line, code, why) in [
        (format!("fan-out --members {many} --start"), 2, "ulimit -n"),
        ("fan-out --start /nonexistent/relay".into(), 1, "/nonexistent/relay"),
        ("fan-out --start /bin/false".into(), 1, "does not start"),
        ("fan-out --frobnicate".into(), 2, "--help"),
    ] {
        let ran = bench(&line);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}: {}", ran.err);
        assert!(ran.err.starts_with("relay-bench: ") && ran.err.contains(why), "{line}: {}", ran.err);
    }
    let relay = Relay::start("");
    let ran = bench(&format!("fan-out --addr {} --pid 4294967295", relay.addr));
    assert!(ran.code == 2 && ran.err.contains("process"), "{}", ran.err);
    // It ends though it is asked for more than it is given time for.
    let ran = bench(&format!("fan-out --addr {} --members 2 --messages 1000000000 --timeout 0.5", relay.addr));
    assert!(ran.code == 1 && ran.err.contains("--timeout"), "{}", ran.err);
}

/// A relay that is started ends with the run, however that ends, and a run that ends by itself leaves no file behind.
#[test]
fn nothing_is_left_behind() {
    for (line, signal, code) in [
        ("fan-out --members 2 --rate 2 --messages 3", None, Some(0)),
        ("fan-out --members 2 --seconds 1.5 --timeout 1.6", None, Some(1)),
        ("idle --members 2 --seconds 30", Some("-TERM"), Some(1)),
        ("idle --members 2 --seconds 30", Some("-KILL"), None),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
            .args(line.split(' ').chain(["--start"]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let folder = std::env::temp_dir().join(format!("relay-bench-{}", child.id()));
        let addr = support::wait_for("its relay", || {
            let log = fs::read_to_string(folder.join("relay.log")).ok()?;
            Some(log.split_once("listening on ")?.1.split_once('\n')?.0.to_owned())
        });
        if let Some(signal) = signal {
            thread::sleep(Duration::from_millis(500));
            assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
        }
        assert_eq!(child.wait().unwrap().code(), code, "{line}");
        support::wait_for("the end of its relay", || TcpStream::connect(&addr).is_err().then_some(()));
        assert_eq!(folder.exists(), signal == Some("-KILL"), "{line}");
        let _ = fs::remove_dir_all(folder);
    }
}

#[test]
fn relay_bench_is_found_beside_relay_or_in_the_path() {
    let ran = run(env!("CARGO_BIN_EXE_relay").as_ref(), "bench --help");
    assert!(ran.code == 0 && ran.out.starts_with("relay-bench fan-out|"), "{}", ran.err);
    let ran = run(env!("CARGO_BIN_EXE_relay").as_ref(), "bench frobnicate");
    assert!(ran.code == 2 && ran.err.contains("there is no mode"), "{}", ran.err);
    // A relay in a folder of its own finds the other by PATH, else says what to do. (A copy, since a link leads back.)
    let folder = temp_file("alone");
    fs::create_dir_all(folder.join("path")).unwrap();
    let alone = folder.join("relay");
    fs::copy(env!("CARGO_BIN_EXE_relay"), &alone).unwrap();
    let help = |path: &Path| Command::new(&alone).args(["bench", "--help"]).env("PATH", path).output().unwrap();
    let lost = help(&folder.join("path"));
    let said = String::from_utf8(lost.stderr).unwrap();
    assert!(lost.status.code() == Some(1) && said.contains("cargo build --release"), "{said}");
    symlink(env!("CARGO_BIN_EXE_relay-bench"), folder.join("path/relay-bench")).unwrap();
    assert!(help(&folder.join("path")).status.success());
    fs::remove_dir_all(folder).unwrap();
}
