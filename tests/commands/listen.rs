//! docs/getting-started.md, The command-line client: `relay listen` behind a connection that breaks.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use relay::websocket::handshake::accept_key;
use serde_json::Value;

use crate::support::{KEY, Relay, cli::*, wait_for};

const HISTORY: &str = "[history]\ncount = 1000\n";

/// A proxy in front of a relay, which can cut all connections and refuse others. Its threads end with the process.
#[derive(Clone)]
struct Cutter {
    url: String,
    is_refusing: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cutter {
    fn before(relay: SocketAddr) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cutter = Cutter { url, is_refusing: Arc::default(), refused: Arc::default(), open: Arc::default() };
        let proxy = cutter.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if proxy.is_refusing.load(Ordering::SeqCst) {
                    proxy.refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(relay) else { continue };
                for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                    proxy.open.lock().unwrap().push(from.try_clone().unwrap());
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        cutter
    }

    fn refuse(&self, refusing: bool) {
        self.is_refusing.store(refusing, Ordering::SeqCst);
    }

    fn cut(&self) {
        self.open.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    fn listener(&self, args: &[&str]) -> Listener {
        let listener = Listener::spawn(relay(&[&["listen", "--url", &self.url, "--key", KEY], args].concat()));
        listener.wait_err("listening to");
        listener
    }
}

/// Publishes numbers, to the rooms `a` and `b` in turns.
fn publish(relay: &Relay, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| relay.notify(["a", "b"][number % 2], &number.to_string()));
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{}\t{number}", ["a", "b"][number % 2])).collect()
}

fn gaps(listener: &Listener) -> Vec<String> {
    let lines = listener.err.lock().unwrap();
    lines.iter().filter(|line| line.contains("may be missing")).cloned().collect()
}

fn data(lines: &[String]) -> Vec<String> {
    let parse = |line: &String| {
        let frame: Value = serde_json::from_str(line).unwrap();
        assert_eq!(frame["event"], "newMsg", "{line}");
        format!("{}\t{}", frame["room_id"].as_str().unwrap(), frame["data"].as_str().unwrap())
    };
    lines.iter().map(parse).collect()
}

#[test]
fn nothing_is_missed_and_nothing_comes_twice() {
    let relay = Relay::start(HISTORY);
    let proxy = Cutter::before(relay.addr);
    let (plain, raw) = (proxy.listener(&["a,b"]), proxy.listener(&["a", "b", "--json"]));
    publish(&relay, 0..50);
    proxy.refuse(true);
    proxy.cut();
    for listener in [&plain, &raw] {
        listener.wait_err("reconnecting");
    }
    publish(&relay, 50..200);
    wait_for("attempts to return", || (proxy.refused.load(Ordering::SeqCst) >= 2).then_some(()));
    proxy.refuse(false);
    for listener in [&plain, &raw] {
        listener.wait_err_times("listening to", 2);
    }
    publish(&relay, 200..250);
    proxy.cut();
    publish(&relay, 250..300);
    for listener in [&plain, &raw] {
        listener.wait_err_times("listening to", 3);
    }
    publish(&relay, 300..400);
    assert_eq!(plain.wait_lines(400), expected(400));
    assert_eq!(data(&raw.wait_lines(400)), expected(400));
    // Whatever else came would be before this.
    relay.notify("a", "the last");
    assert_eq!(plain.wait_lines(401)[400..], ["a\tthe last"]);
    assert_eq!(data(&raw.wait_lines(401)[400..]), ["a\tthe last"]);
    assert_eq!((gaps(&plain), gaps(&raw)), (vec![], vec![]));
}

/// A relay that was started anew has nothing of before.
#[test]
fn a_gap_is_said_once() {
    let mut relay = Relay::start(HISTORY);
    let addr = relay.addr;
    let proxy = Cutter::before(addr);
    let (plain, raw) = (proxy.listener(&["a,b"]), proxy.listener(&["--json", "a,b"]));
    publish(&relay, 0..10);
    plain.wait_lines(10);
    raw.wait_lines(10);
    proxy.refuse(true);
    relay.signal(SIGKILL);
    relay.child.wait().unwrap();
    let config = write("again.toml", &Relay::configuration(HISTORY));
    let mut command = self::relay(&["--listen", &addr.to_string()]);
    command.arg("--config").arg(&config);
    relay = Relay::spawn(command, config);
    publish(&relay, 10..20);
    proxy.refuse(false);
    for listener in [&plain, &raw] {
        listener.wait_err_times("listening to", 2);
    }
    publish(&relay, 20..30);
    plain.wait_lines(30);
    raw.wait_lines(30);
    proxy.cut();
    publish(&relay, 30..40);
    assert_eq!(plain.wait_lines(40), expected(40));
    assert_eq!(data(&raw.wait_lines(40)), expected(40));
    for listener in [&plain, &raw] {
        assert_eq!(gaps(listener), ["relay: messages to a, b may be missing: relay has not kept them"]);
    }
}

#[test]
fn since() {
    let relay = Relay::start(HISTORY);
    publish(&relay, 0..3);
    let url = format!("http://{}", relay.addr);
    let listener =
        |args: &[&str]| Listener::spawn(self::relay(&[&["listen", "--url", &url, "--key", KEY], args].concat()));
    let all = listener(&["a,b", "--since", "all", "--json"]);
    let kept = all.wait_lines(3);
    assert_eq!(data(&kept), expected(3));
    let first = serde_json::from_str::<Value>(&kept[0]).unwrap()["id"].as_str().unwrap().to_owned();
    let (later, minutes, mut one) = (
        listener(&["a,b", "--since", &first]),
        listener(&["a,b", "--since=10m"]),
        listener(&["a,b", "--since=all", "--once"]),
    );
    later.wait_lines(2);
    minutes.wait_lines(3);
    assert_eq!((one.code(), one.wait_lines(1)), (0, expected(1)));
    // Without it, only what comes from now on.
    let now = listener(&["a,b"]);
    now.wait_err("listening to");
    wait_for("all sessions", || (relay.stat("/sessions") == 4).then_some(()));
    publish(&relay, 3..5);
    assert_eq!(later.wait_lines(4), expected(5)[1..]);
    assert_eq!(minutes.wait_lines(5), expected(5));
    // It was started less than ten minutes ago, and does not know what was before.
    assert_eq!((gaps(&all), gaps(&minutes).len(), gaps(&later), gaps(&now)), (vec![], 1, vec![], vec![]));
    assert_eq!(now.wait_lines(2), expected(5)[3..]);

    for wrong in ["yesterday", "-1", "8d", "169h"] {
        let run = run(&["listen", "a", "--url", &url, "--key", KEY, "--since", wrong]);
        assert!(run.code == 2 && run.err.contains(&format!("--since {wrong:?}: since ")), "{}: {}", run.code, run.err);
    }
}

/// Relays that do not know `since`, and that have each other's messages: what has come before is not printed again.
#[test]
fn what_came_before_is_dropped() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let id = |number: usize| format!("1j1b8cninq{number}rkqkbc");
    let listener = Listener::spawn(relay(&["listen", "--url", &url, "--key", KEY, "a"]));
    let mut asked = Vec::new();
    for round in 0..3 {
        let (mut stream, _) = server.accept().unwrap();
        let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .collect();
        asked.push(head[0].split(['?', '&', ' ']).find(|field| field.starts_with("since=")).unwrap().to_owned());
        let key = head.iter().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(key.as_bytes())
        )
        .into_bytes();
        let mut frame = |text: String| {
            answer.extend([0x81, u8::try_from(text.len()).unwrap()]);
            answer.extend(text.into_bytes());
        };
        for number in [round, round + 1] {
            frame(format!(r#"{{"event":"newMsg","room_id":"a","data":"{number}","id":"{}"}}"#, id(number)));
        }
        // Without an id, messages cannot be told apart.
        frame(r#"{"event":"newMsg","room_id":"a","data":"old"}"#.into());
        frame(r#"{"event":"recovery"}"#.into());
        stream.write_all(&answer).unwrap();
        listener.wait_lines(2 * round + 3);
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0; 16]);
    }
    assert_eq!(asked, ["since=".to_owned(), format!("since={}", id(1)), format!("since={}", id(2))]);
    assert_eq!(*listener.out.lock().unwrap(), ["a\t0", "a\t1", "a\told", "a\t2", "a\told", "a\t3", "a\told"]);
}
