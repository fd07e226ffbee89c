//! docs/protocol.md, Redis: a link that Redis refuses, that something in between breaks, or that takes another way.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use relay::redis::Reply;

use crate::support::{
    self, Relay,
    link::*,
    redis::{Redis, wait_linked, wait_siblings, wait_until},
    wait_for,
};

// Redis refuses.

/// Asserts that neither logs nor pages contain the secret.
fn keeps_secret(relay: &Relay, secret: &str) {
    let mut said = relay.log();
    said.extend(["/healthz", "/metrics", "/api/stats", "/api/log/sys"].map(|page| relay.admin(page).body));
    for text in said {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_wrong_password() {
    let redis = Redis::start_with(&["--requirepass", "first-secret"]);
    let relay = relay_at(&format!("redis://:second-secret@127.0.0.1:{}", redis.port), "");
    let mut member = relay.connect("room");
    wait_reason(&relay, "refused: WRONGPASS");
    publish(&relay, "at home", 0..2);
    assert_eq!([member.data(), member.data()], ["at home 0", "at home 1"]);
    // The connection of this test is authenticated already.
    redis.ask(&["CONFIG", "SET", "requirepass", "second-secret"]);
    wait_linked(&relay);
    redis.ask(&["CONFIG", "SET", "requirepass", "third-secret"]);
    for kind in ["pubsub", "normal"] {
        redis.ask(&["CLIENT", "KILL", "TYPE", kind]);
    }
    wait_reason(&relay, "refused: WRONGPASS");
    redis.ask(&["CONFIG", "SET", "requirepass", "second-secret"]);
    wait_linked(&relay);
    let lines = changes(&relay, 4);
    assert_eq!(lines.len(), 4, "{lines:?}");
    keeps_secret(&relay, "secret");
}

#[test]
fn a_missing_password() {
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    let relay = relay_at(&format!("redis://127.0.0.1:{}", redis.port), "");
    wait_reason(&relay, "refused: NOAUTH");
}

/// A server that does not know a command repeats it with its arguments: for AUTH, that is the password.
#[test]
fn echoed_password_is_not_logged() {
    let redis = Redis::start_with(&["--rename-command", "AUTH", ""]);
    let relay = relay_at(&format!("redis://:very-secret@127.0.0.1:{}", redis.port), "");
    wait_reason(&relay, "unknown command");
    keeps_secret(&relay, "very-sec");
    let proxy = Proxy::start(|_, mut client| {
        let mut buffer = [0; 1000];
        let length = client.read(&mut buffer).unwrap_or(0);
        let said = String::from_utf8_lossy(&buffer[..length]).replace("\r\n", " ");
        let _ = client.write_all(format!("-ERR what is {said}\r\n").as_bytes());
    });
    let relay = relay_at(&proxy.url().replace("//", "//me:very-secret@"), "");
    wait_reason(&relay, "ERR what is");
    keeps_secret(&relay, "very-sec");
}

/// A user without the right to publish: the relay serves its own members, reports the reason, and recovers when the
/// right is granted. When Redis refuses a look-up, no other relay is declared dead and no record is removed.
#[test]
fn a_failed_command_does_not_declare_siblings_dead() {
    let redis = Redis::start();
    redis.ask(&["ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all"]);
    let url = format!("redis://limited:pw@127.0.0.1:{}", redis.port);
    let (relay, sibling) = (relay_at(&url, ""), redis.relay(""));
    wait_siblings(&relay, 1);
    wait_siblings(&sibling, 1);
    let _member = sibling.connect("room");
    let records = || redis.hash("node.xin.com:xin_socket_connections_demo").len();
    wait_until(1, records);
    for command in ["hgetall", "exists"] {
        redis.ask(&["ACL", "SETUSER", "limited", &format!("-{command}")]);
        wait_reason(&relay, "NOPERM");
        for _ in 0..30 {
            assert_eq!(relay.admin("/api/stats").json()["relays"].as_array().unwrap().len(), 2, "{command}");
            assert_eq!(records(), 1, "{command}");
            thread::sleep(Duration::from_millis(50));
        }
        redis.ask(&["ACL", "SETUSER", "limited", &format!("+{command}")]);
        wait_linked(&relay);
    }
}

#[test]
fn a_user_without_rights() {
    let redis = Redis::start();
    let url = format!("redis://limited:pw-of-limited@127.0.0.1:{}", redis.port);
    redis.ask(&["ACL", "SETUSER", "limited", "on", ">pw-of-limited", "~*", "&*", "+@all", "-publish"]);
    let relay = relay_at(&url, "");
    let mut member = relay.connect("room");
    wait_reason(&relay, "it refuses commands: NOPERM");
    publish(&relay, "at home", 0..2);
    assert_eq!(read_to_words(&mut member, 2), ["at home 0", "at home 1"]);
    // It stays failing although nothing is published for a while.
    for _ in 0..50 {
        assert!(wait_failing(&relay).contains("NOPERM"));
        thread::sleep(Duration::from_millis(25));
    }
    let lines = changes(&relay, 2);
    assert_eq!(lines.len(), 2, "linked, refused: {lines:?}");
    redis.ask(&["ACL", "SETUSER", "limited", "+publish"]);
    wait_linked(&relay);
    let sibling = redis.relay("");
    wait_siblings(&relay, 1);
    let mut other = sibling.connect("room");
    publish(&relay, "again", 0..1);
    assert_eq!(read_to(&mut other, "again", 0), [0]);
    // Messages need no rights over keys.
    redis.ask(&["ACL", "SETUSER", "limited", "resetkeys"]);
    wait_reason(&relay, "NOPERM");
    publish(&relay, "again", 1..2);
    assert_eq!(read_to(&mut other, "again", 1), [1]);
    // Without the right to subscribe there is no link.
    redis.ask(&["ACL", "SETUSER", "limited", "~*", "-subscribe"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_reason(&relay, "refused: NOPERM");
    redis.ask(&["ACL", "SETUSER", "limited", "+subscribe"]);
    wait_linked(&relay);
    wait_linked(&sibling);
    publish(&sibling, "back", 0..1);
    read_to_words(&mut member, 2);
    assert_eq!(read_to(&mut member, "back", 0), [0]);
    keeps_secret(&relay, "pw-of");
}

/// Redis drops a subscriber that reads too slowly: it reconnects and counts the messages that it missed.
#[test]
fn a_full_output_buffer() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    relays[0].notify("room", "first 0");
    members.iter_mut().for_each(|member| assert_eq!(member.data(), "first 0"));
    let before = [relays[0].counter("redis_published"), relays[1].counter("redis_received")];
    redis.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1kb 0 0"]);
    let large = "x".repeat(100_000);
    for number in 0..10 {
        relays[0].notify("room", &format!("{large} {number}"));
        assert_eq!(members[0].data().as_str().unwrap().len(), large.len() + 2);
    }
    wait_failing(&relays[1]);
    redis.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]);
    relays.iter().for_each(wait_linked);
    publish(&relays[0], "after", 0..1);
    loop {
        let data = members[1].data();
        if data == "after 0" {
            break;
        }
        assert!(data.as_str().unwrap().starts_with(&large));
    }
    let missed = relays[1].counter("redis_missed");
    let heard = relays[1].counter("redis_received") - before[1];
    assert!(missed > 0);
    assert_eq!(missed + heard, relays[0].counter("redis_published") - before[0]);
}

// Something is in between.

/// A server in the place of Redis; it ends with the test.
struct Proxy {
    port: u16,
    /// When each connection was accepted.
    came: Arc<Mutex<Vec<Instant>>>,
    over: Arc<AtomicBool>,
}

impl Proxy {
    /// Calls `serve` in a thread of its own for each connection, with the connection's number.
    fn start(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Proxy { port, came: Arc::default(), over: Arc::default() };
        let (came, over, serve) = (proxy.came.clone(), proxy.over.clone(), Arc::new(serve));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let number = came.lock().unwrap().len();
                came.lock().unwrap().push(Instant::now());
                client.set_nodelay(true).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                let serve = serve.clone();
                thread::spawn(move || serve(number, client));
            }
        });
        proxy
    }

    /// In front of a server: `hand_on` gets the server's bytes and returns whether the connection stays.
    fn before(redis: &Redis, hand_on: impl Fn(&mut TcpStream, &[u8], usize) -> bool + Send + Sync + 'static) -> Proxy {
        let server = redis.port;
        Proxy::start(move |_, mut client| {
            let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", server)) else { return };
            upstream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let (mut buffer, mut passed) = ([0; 4096], 0);
            while let Ok(length @ 1..) = upstream.read(&mut buffer) {
                if !hand_on(&mut client, &buffer[..length], passed) {
                    break;
                }
                passed += length;
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = upstream.shutdown(Shutdown::Both);
        })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The connection ends after each byte of the introduction and of the first replies.
#[test]
fn cut_behind_every_byte() {
    const ALL: usize = 240;
    let redis = Redis::start();
    let most = Arc::new(AtomicUsize::new(0));
    let limit = most.clone();
    let proxy = Proxy::before(&redis, move |client, bytes, passed| {
        let room = limit.load(Ordering::Relaxed).saturating_sub(passed);
        client.write_all(&bytes[..room.min(bytes.len())]).is_ok() && room > bytes.len()
    });
    let relay = relay_at(&proxy.url(), "");
    let mut member = relay.connect("room");
    for length in 0..ALL {
        most.store(length, Ordering::Relaxed);
        let before = proxy.count();
        // With another heartbeat the link reconnects at once.
        reload(
            &relay,
            &format!("[redis]\nurl = \"{}\"\nheartbeat = {}", proxy.url(), 0.3 + (length % 2) as f64 / 100.0),
        );
        wait_for("both connections", || (proxy.count() >= before + 2).then_some(()));
        if length % 40 == 0 {
            publish(&relay, "at home", length..length + 1);
            assert_eq!(member.data(), format!("at home {length}"));
        }
    }
    most.store(usize::MAX, Ordering::Relaxed);
    wait_linked(&relay);
    let sibling = redis.relay("");
    let mut other = sibling.connect("room");
    wait_siblings(&relay, 1);
    publish(&relay, "whole", 0..1);
    assert_eq!(read_to(&mut other, "whole", 0), [0]);
}

/// Replies may come byte by byte, with pauses.
#[test]
fn one_byte_at_a_time() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis, |client, bytes, passed| {
        for (at, byte) in bytes.iter().enumerate() {
            if passed + at < 200 {
                thread::sleep(Duration::from_millis(2));
            }
            if client.write_all(&[*byte]).is_err() {
                return false;
            }
        }
        true
    });
    let relay = relay_at(&proxy.url(), "");
    wait_linked(&relay);
    let sibling = redis.relay("");
    let mut members = [relay.connect("room"), sibling.connect("room")];
    wait_siblings(&relay, 1);
    wait_siblings(&sibling, 1);
    publish(&relay, "one", 0..20);
    publish(&sibling, "two", 0..20);
    for member in &mut members {
        let found = read_all(member, &[("one".into(), 19), ("two".into(), 19)]);
        assert!(found.iter().all(|found| found.len() == 20), "{found:?}");
    }
    assert_eq!(relay.counter("redis_missed"), 0);
}

/// Servers that answer nonsense, hang up or never answer: the relay retries with backoff and does not spin.
#[test]
fn broken_servers_are_retried_with_backoff() {
    let say = |text: &'static [u8]| {
        Proxy::start(move |_, mut client| {
            let _ = client.write_all(text);
            let _ = client.read(&mut [0; 1000]);
        })
    };
    // Sends without being asked, until the connection ends.
    let flood = Proxy::start(|_, mut client| while client.write_all(&[b'+'; 4096]).is_ok() {});
    let proxies = [
        ("closes", Proxy::start(|_, client| drop(client))),
        ("http", say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
        ("invalid_messages_are_counted_and_ignored", say(b"\x00\xff\x80garbage")),
        ("error", say(b"-ERR go away\r\n")),
        ("resp3", say(b"%1\r\n+server\r\n+redis\r\n")),
        ("huge", say(b"$9223372036854775807\r\n")),
        ("many", say(b"*4194304\r\n")),
        ("flood", flood),
        ("silent", Proxy::start(|_, mut client| drop(std::io::copy(&mut client, &mut std::io::sink())))),
    ];
    let begin = Instant::now();
    let relays = proxies.each_ref().map(|(_, proxy)| relay_at(&proxy.url(), ""));
    thread::scope(|scope| {
        for ((name, _), relay) in proxies.iter().zip(&relays) {
            scope.spawn(move || fails_calmly(relay, name));
        }
    });
    let mut delays = Vec::new();
    for ((name, proxy), relay) in proxies.iter().zip(&relays) {
        // Two connections, each after 0, 100, 200, 400, 800 ms and so on: less and less often, half as long or half
        // again. So five attempts of each take at least half of 1500 ms.
        wait_for(name, || (proxy.count() >= 10).then_some(()));
        let came = proxy.came.lock().unwrap();
        let tenth = came[9].duration_since(begin);
        assert!(tenth >= Duration::from_millis(750), "{name}: ten connections after {tenth:?}");
        delays.push(came[2].duration_since(came[0]).as_millis() / 4);
        let lines = changes(relay, 1);
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 3, "they do not all come at the same time: {delays:?}");
}

// Other ways to Redis.

/// Unix sockets, passwords and databases.
#[test]
fn a_socket_file_and_a_database() {
    let path = support::temp_file("redis.sock");
    let path = path.to_str().unwrap();
    let redis = Redis::start_with(&["--requirepass", "p@ss", "--unixsocket", path]);
    let file = relay_at(&format!("unix::p%40ss@{path}?db=3"), "");
    let port = relay_at(&format!("redis://:p%40ss@127.0.0.1:{}/3", redis.port), "");
    let relays = [file, port];
    relays.iter().for_each(wait_linked);
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    for (number, relay) in relays.iter().enumerate() {
        publish(relay, "x", number..number + 1);
        members.iter_mut().for_each(|member| assert_eq!(read_to(member, "x", number), [number]));
    }
    assert!(redis.hash(NODES).is_empty());
    redis.ask(&["SELECT", "3"]);
    wait_until((2, 2), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    // A socket file that disappears is an outage like any other.
    fs::remove_file(path).unwrap();
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_reason(&relays[0], "No such file");
    wait_linked(&relays[1]);
    // A database that does not exist.
    let relay = relay_at(&format!("redis://:p%40ss@127.0.0.1:{}/99", redis.port), "");
    wait_reason(&relay, "refused: ERR DB index is out of range");
    assert_eq!(redis.ask(&["PING"]), Reply::Text("PONG".into()));
}

/// Redis is stopped and its socket full: the relay does not spin.
#[test]
fn a_full_connection() {
    let redis = Redis::start();
    let relay = Relay::start(&redis.section("buffer = 50000000").replace("heartbeat = 0.3", "heartbeat = 20"));
    wait_linked(&relay);
    redis.signal(SIGSTOP);
    for _ in 0..40 {
        relay.notify("room", &"x".repeat(300_000));
    }
    let _members: Vec<_> = (0..3).map(|_| relay.connect("room")).collect();
    relay.fence();
    relay.assert_idle("Redis takes no more");
    redis.signal(SIGCONT);
}
