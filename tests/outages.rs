//! Outages of Redis (docs/protocol.md, Redis): Redis is down, stopped, emptied, slow, or refuses commands, or the
//! network between it and relay fails. The members of a relay never notice; other relays get what they can get, once
//! and in order.
#![allow(missing_docs)]

mod support;

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
use serde_json::Value;
use support::{
    Client, Relay,
    redis::{HEARTBEAT, Redis, wait_linked, wait_siblings, wait_until},
    wait_for,
};

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// How long a request may take, whatever Redis does. A wait for Redis would take 600 ms; a machine that is busy with
/// other tests stays below this.
const BRISK: Duration = Duration::from_millis(250);
/// Two heartbeats, with a margin.
const TWO_HEARTBEATS: Duration = Duration::from_millis(800);

/// The hash of the sessions of source `demo`.
const ONLINE: &str = "node.xin.com:xin_socket_connections_demo";
const NODES: &str = "node.xin.com:relay_nodes";

/// The body of `/healthz`, whose status is 200 whatever Redis does, because relay serves its clients.
fn health(relay: &Relay) -> Value {
    let answer = relay.get("/healthz");
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Waits until the link fails. Returns why.
fn wait_failing(relay: &Relay) -> String {
    wait_for("a failing link", || {
        let health = health(relay);
        let failing = health["redis"]["status"] == "failing";
        assert_eq!(health["status"], if failing { "degraded" } else { "ok" });
        failing.then(|| health["redis"]["error"].as_str().unwrap().to_owned())
    })
}

/// Waits until the link fails for a reason that contains `text`.
fn wait_reason(relay: &Relay, text: &str) {
    wait_for(text, || health(relay)["redis"]["error"].as_str().is_some_and(|error| error.contains(text)).then_some(()));
}

/// A relay with this address of Redis, where nothing needs to listen.
fn relay_at(url: &str, more: &str) -> Relay {
    Relay::start(&section(url, more))
}

fn section(url: &str, more: &str) -> String {
    format!("[redis]\nurl = \"{url}\"\nheartbeat = {HEARTBEAT}\n{more}\n")
}

/// Reloads a running relay with a new configuration.
fn reload(relay: &Relay, more: &str) {
    let count = || relay.log().iter().filter(|line| line.contains("configuration re-read")).count();
    let before = count();
    let new = relay.config.with_extension("new");
    fs::write(&new, Relay::configuration(more)).unwrap();
    fs::rename(&new, &relay.config).unwrap();
    relay.signal(SIGHUP);
    wait_for("configuration re-read", || (count() > before).then_some(()));
}

/// Publishes `NAME 0`, `NAME 1` and so on; each must be answered within [`BRISK`].
fn publish(relay: &Relay, name: &str, numbers: core::ops::Range<usize>) {
    for number in numbers {
        let begin = Instant::now();
        relay.notify("room", &format!("{name} {number}"));
        assert!(begin.elapsed() < BRISK, "{name} {number} took {:?}", begin.elapsed());
    }
}

/// Reads up to `NAME LAST`. Returns the numbers of that name, which must arrive in order and once. Other names fail the
/// test.
fn read_to(member: &mut Client, name: &str, last: usize) -> Vec<usize> {
    let mut found = Vec::new();
    loop {
        let data = member.data();
        let text = data.as_str().unwrap();
        let Some((from, number)) = text.split_once(' ').filter(|(from, _)| *from == name) else {
            panic!("{text} and not {name}");
        };
        let number = number.parse().unwrap();
        assert!(found.last().is_none_or(|last| *last < number), "{from} {number} after {found:?}");
        found.push(number);
        if number == last {
            return found;
        }
    }
}

/// Reads up to `NAME LAST` of each name, interleaved in any way. Each name's numbers must arrive in order and once.
fn read_all(member: &mut Client, lasts: &[(String, usize)]) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new(); lasts.len()];
    while found.iter().zip(lasts).any(|(found, (_, last))| found.last() != Some(last)) {
        let data = member.data();
        let (name, number) = data.as_str().unwrap().split_once(' ').unwrap();
        let number: usize = number.parse().unwrap();
        let at = lasts.iter().position(|(other, _)| other == name).unwrap_or_else(|| panic!("{data}"));
        assert!(found[at].last().is_none_or(|last| *last < number), "{name} {number} after {:?}", found[at]);
        found[at].push(number);
    }
    found
}

/// Lines of the log about the link: one for each change.
fn changes(relay: &Relay) -> Vec<String> {
    relay.log().into_iter().filter(|line| line.contains("redis: ")).collect()
}

/// The CPU time of a relay, in hundredths of a second.
fn cpu(relay: &Relay) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", relay.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Checks that a link that fails for a second uses no CPU and delays no member.
fn fails_calmly(relay: &Relay, what: &str) {
    wait_failing(relay);
    let mut member = relay.connect("room");
    let (before, begin) = (cpu(relay), Instant::now());
    thread::sleep(Duration::from_millis(1000));
    let (used, passed) = (cpu(relay) - before, begin.elapsed());
    assert!(used * 10 < passed.as_millis() as u64 / 10, "{what}: {used} ticks of CPU in {passed:?}");
    publish(relay, what, 0..3);
    assert_eq!(read_to(&mut member, what, 2), [0, 1, 2]);
}

// Redis goes down and comes back.

/// Redis is killed and comes back empty: the members of each relay notice nothing, and other relays get everything
/// late, once and in order.
#[test]
fn an_outage() {
    let mut redis = Redis::start();
    let relays: [Relay; 3] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(3, || redis.hash(ONLINE).len());
    redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    for (at, relay) in relays.iter().enumerate() {
        publish(relay, &at.to_string(), 0..20);
        let expected: Vec<usize> = (0..20).collect();
        assert_eq!(read_to(&mut members[at], &at.to_string(), 19), expected);
    }
    redis.run();
    relays.iter().for_each(wait_linked);
    for (at, member) in members.iter_mut().enumerate() {
        let others: Vec<_> = (0..3).filter(|other| *other != at).map(|other| (other.to_string(), 19)).collect();
        for found in read_all(member, &others) {
            assert_eq!(found, (0..20).collect::<Vec<_>>(), "at {at}");
        }
    }
    wait_until(3, || redis.hash(ONLINE).len());
    relays.iter().for_each(|relay| wait_siblings(relay, 2));
    for (at, relay) in relays.iter().enumerate() {
        publish(relay, "after", at..at + 1);
        members.iter_mut().for_each(|member| assert_eq!(read_to(member, "after", at), [at]));
    }
    members.iter_mut().for_each(Client::silence);
    for relay in &relays {
        let changes = changes(relay);
        assert_eq!(changes.len(), 3, "linked, lost, linked: {changes:?}");
        assert!(changes[1].contains("other relays are not reached") && changes[2].contains("linked to"), "{changes:?}");
        assert_eq!(health(relay)["status"], "ok");
        assert_eq!(relay.counter("redis_missed") + relay.counter("redis_dropped"), 0);
    }
}

/// Outages of different lengths: relays reconnect at different times, and yet none publishes before the others are
/// subscribed.
#[test]
fn the_first_to_reconnect_waits_for_the_others() {
    let mut redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    for round in 0..4 {
        redis.kill();
        relays.iter().for_each(|relay| drop(wait_failing(relay)));
        for (at, relay) in relays.iter().enumerate() {
            publish(relay, &format!("{round}-{at}"), 0..5);
        }
        thread::sleep(Duration::from_millis(200 * round));
        redis.run();
        let lasts: Vec<_> = (0..2).map(|at| (format!("{round}-{at}"), 4)).collect();
        for member in &mut members {
            assert!(read_all(member, &lasts).iter().all(|found| found.len() == 5));
        }
        relays.iter().for_each(wait_linked);
        relays.iter().for_each(|relay| wait_siblings(relay, 1));
    }
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_missed"), 0));
}

/// A relay that died during the outage does not delay the others for long.
#[test]
fn a_relay_that_does_not_come_back_delays_nothing() {
    let mut redis = Redis::start();
    let [one, two, mut three] = redis.relays("");
    let mut member = two.connect("room");
    redis.kill();
    [&one, &two].into_iter().for_each(|relay| drop(wait_failing(relay)));
    three.child.kill().unwrap();
    three.child.wait().unwrap();
    publish(&one, "one", 0..5);
    let begin = Instant::now();
    redis.run();
    assert_eq!(read_to(&mut member, "one", 4).len(), 5);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(two.counter("redis_missed"), 0);
}

/// Redis is stopped for longer than relays wait for a reply, and then continued: it receives twice what was sent
/// before.
#[test]
fn a_stall() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    redis.signal(SIGSTOP);
    let (begin, mut sent) = (Instant::now(), 0);
    // Before the relays notice, and after that.
    while begin.elapsed() < Duration::from_millis(2500) {
        for (at, relay) in relays.iter().enumerate() {
            publish(relay, &at.to_string(), sent..sent + 1);
            assert_eq!(read_to(&mut members[at], &at.to_string(), sent), [sent]);
        }
        sent += 1;
        thread::sleep(Duration::from_millis(20));
    }
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    redis.signal(SIGCONT);
    relays.iter().for_each(wait_linked);
    for (at, member) in members.iter_mut().enumerate() {
        let other = 1 - at;
        assert_eq!(read_to(member, &other.to_string(), sent - 1), (0..sent).collect::<Vec<_>>());
    }
    wait_until(2, || redis.hash(ONLINE).len());
    members.iter_mut().for_each(Client::silence);
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_dropped"), 0));
}

/// Pages that need Redis say that it does not answer, and while they wait nothing else does.
#[test]
fn questions_during_a_stall() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut member = relays[0].connect("room");
    redis.signal(SIGSTOP);
    thread::scope(|scope| {
        for page in ["/api/online?source=demo", "/api/stats", "/read_connections", "/readmsglocation"] {
            let relay = &relays[0];
            scope.spawn(move || {
                let begin = Instant::now();
                let answer = relay.admin(page);
                assert_eq!(answer.status, 200, "{page}: {answer:?}");
                assert!(begin.elapsed() < Duration::from_millis(2500), "{page}: {:?}", begin.elapsed());
            });
        }
        for number in 0..20 {
            publish(&relays[0], "meanwhile", number..number + 1);
            assert_eq!(read_to(&mut member, "meanwhile", number), [number]);
            thread::sleep(Duration::from_millis(10));
        }
    });
    redis.signal(SIGCONT);
    wait_linked(&relays[0]);
    wait_for("an answer", || (relays[0].admin("/api/online?source=demo").json()["complete"] == true).then_some(()));
}

/// Redis closes connections again and again while messages flow: members of the publishing relay get everything, other
/// relays get nothing twice, and what they miss is counted.
#[test]
fn connections_that_are_cut() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("[limits]\nmessage_rate = 0\n");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    relays.iter().for_each(|relay| relay.notify("room", "first 0"));
    members.iter_mut().for_each(|member| assert_eq!([member.data(), member.data()], ["first 0", "first 0"]));
    let count = |name: &str| relays.each_ref().map(|relay| relay.counter(name));
    let missed = count("redis_missed");
    let stop = AtomicBool::new(false);
    let names = |at: usize| [format!("{at}-0"), format!("{at}-1")];
    let counts = thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .flat_map(|at| names(at).map(|name| (&relays[at], name)))
            .map(|(relay, name)| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        relay.notify("room", &format!("{name} {sent}"));
                        sent += 1;
                        thread::sleep(Duration::from_millis(3));
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..5 {
            for kind in ["pubsub", "normal"] {
                redis.ask(&["CLIENT", "KILL", "TYPE", kind]);
                thread::sleep(Duration::from_millis(250));
            }
        }
        stop.store(true, Ordering::Relaxed);
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect::<Vec<usize>>()
    });
    relays.iter().for_each(wait_linked);
    // Everything that waited has arrived before this.
    let mut lasts = Vec::new();
    for at in 0..2 {
        for (index, name) in names(at).into_iter().enumerate() {
            publish(&relays[at], &name, counts[2 * at + index]..counts[2 * at + index] + 1);
            lasts.push((name, counts[2 * at + index]));
        }
    }
    let mut heard = [0, 0];
    for (at, member) in members.iter_mut().enumerate() {
        for (index, found) in read_all(member, &lasts).into_iter().enumerate() {
            if index / 2 == at {
                assert_eq!(found, (0..=lasts[index].1).collect::<Vec<_>>(), "at home");
            } else {
                heard[at] += found.len() as u64;
            }
        }
        member.silence();
    }
    // The other relay has received each message or counted it as missed.
    let missed: [u64; 2] = core::array::from_fn(|at| count("redis_missed")[at] - missed[at]);
    for at in 0..2 {
        let said: usize = lasts[2 * at..2 * at + 2].iter().map(|(_, last)| last + 1).sum();
        assert_eq!(heard[1 - at] + missed[1 - at], said as u64, "{heard:?} and {missed:?} of {lasts:?}");
    }
    assert!(missed.iter().sum::<u64>() > 0, "the test cut nothing");
}

/// Redis is emptied, or an old server starts and deletes all presence records: relays write them again.
#[test]
fn what_was_thrown_away_is_written_again() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(2, || redis.hash(ONLINE).len());
    redis.ask(&["FLUSHALL"]);
    let begin = Instant::now();
    wait_until((2, 2), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    assert!(begin.elapsed() < TWO_HEARTBEATS, "two heartbeats, not {:?}", begin.elapsed());
    publish(&relays[0], "flushed", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "flushed", 0), [0]));
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    // As the old server does it: it deletes the records first, and then publishes.
    redis.ask(&["DEL", ONLINE]);
    redis.ask(&["SET", "node.xin.com:xin_socket_connections", "0"]);
    redis.publish(r#"{"sys_info":true,"key":"system_start","server_ip":"10.0.0.9","time":"2026-11-20 20:52:3"}"#);
    let begin = Instant::now();
    wait_until(2, || redis.hash(ONLINE).len());
    assert!(begin.elapsed() < TWO_HEARTBEATS, "two heartbeats, not {:?}", begin.elapsed());
    publish(&relays[1], "deleted", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "deleted", 0), [0]));
    relays.iter().for_each(|relay| assert_eq!(relay.counter("redis_missed"), 0));
}

// Redis refuses.

/// Checks that neither the log nor any page of a relay contains the secret.
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
    let lines = changes(&relay);
    assert_eq!(lines.len(), 4, "{lines:?}");
    keeps_secret(&relay, "secret");
}

#[test]
fn a_missing_password() {
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    let relay = relay_at(&format!("redis://127.0.0.1:{}", redis.port), "");
    wait_reason(&relay, "refused: NOAUTH");
}

/// A server that does not know a command repeats it with its arguments: those of AUTH are the password.
#[test]
fn a_password_that_is_repeated() {
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

/// While Redis refuses the commands that look for other relays, none of them is taken for dead, and no records are
/// removed.
#[test]
fn no_answer_is_no_death() {
    let redis = Redis::start();
    redis.ask(&["ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all"]);
    let url = format!("redis://limited:pw@127.0.0.1:{}", redis.port);
    let (relay, second) = (relay_at(&url, ""), redis.relay(""));
    wait_siblings(&relay, 1);
    wait_siblings(&second, 1);
    let _member = second.connect("room");
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
    // That nothing is published for a while does not make the link work.
    for _ in 0..50 {
        assert!(wait_failing(&relay).contains("NOPERM"));
        thread::sleep(Duration::from_millis(25));
    }
    assert_eq!(changes(&relay).len(), 2, "linked, refused: {:?}", changes(&relay));
    redis.ask(&["ACL", "SETUSER", "limited", "+publish"]);
    wait_linked(&relay);
    let second = redis.relay("");
    wait_siblings(&relay, 1);
    let mut other = second.connect("room");
    publish(&relay, "again", 0..1);
    assert_eq!(read_to(&mut other, "again", 0), [0]);
    // Permissions for keys matter for operators' pages only: messages need none.
    redis.ask(&["ACL", "SETUSER", "limited", "resetkeys"]);
    wait_reason(&relay, "NOPERM");
    publish(&relay, "again", 1..2);
    assert_eq!(read_to(&mut other, "again", 1), [1]);
    // Without the permission to subscribe there is no link.
    redis.ask(&["ACL", "SETUSER", "limited", "~*", "-subscribe"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_reason(&relay, "refused: NOPERM");
    redis.ask(&["ACL", "SETUSER", "limited", "+subscribe"]);
    wait_linked(&relay);
    wait_linked(&second);
    publish(&second, "back", 0..1);
    read_to_words(&mut member, 2);
    assert_eq!(read_to(&mut member, "back", 0), [0]);
    keeps_secret(&relay, "pw-of");
}

fn read_to_words(member: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| member.data().as_str().unwrap().to_owned()).collect()
}

/// Redis disconnects a subscriber that reads too slowly. The relay reconnects and counts what it missed.
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

// The network between.

/// A listener in place of Redis. It ends with the test.
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
                client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let serve = serve.clone();
                thread::spawn(move || serve(number, client));
            }
        });
        proxy
    }

    /// A proxy in front of a server. `hand_on` passes on what the server sends, and returns whether the connection
    /// stays open.
    fn before(redis: &Redis, hand_on: impl Fn(&mut TcpStream, &[u8], usize) -> bool + Send + Sync + 'static) -> Proxy {
        let server = redis.port;
        Proxy::start(move |_, mut client| {
            let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", server)) else { return };
            upstream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
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

/// The connection ends after each byte of the handshake and of the first replies.
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
    let second = redis.relay("");
    let mut other = second.connect("room");
    wait_siblings(&relay, 1);
    publish(&relay, "whole", 0..1);
    assert_eq!(read_to(&mut other, "whole", 0), [0]);
}

/// Replies may arrive late and byte by byte.
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
    let second = redis.relay("");
    let mut members = [relay.connect("room"), second.connect("room")];
    wait_siblings(&relay, 1);
    wait_siblings(&second, 1);
    publish(&relay, "one", 0..20);
    publish(&second, "two", 0..20);
    for member in &mut members {
        let found = read_all(member, &[("one".into(), 19), ("two".into(), 19)]);
        assert!(found.iter().all(|found| found.len() == 20), "{found:?}");
    }
    assert_eq!(relay.counter("redis_missed"), 0);
}

/// The server answers nonsense, closes the connection, or sends nothing: relay tries again, less and less often, and
/// uses no CPU.
#[test]
fn servers_that_are_none() {
    let say = |text: &'static [u8]| {
        Proxy::start(move |_, mut client| {
            let _ = client.write_all(text);
            let _ = client.read(&mut [0; 1000]);
        })
    };
    // Sends without having been asked, for as long as it can.
    let flood = Proxy::start(|_, mut client| while client.write_all(&[b'+'; 4096]).is_ok() {});
    let proxies = [
        ("closes", Proxy::start(|_, client| drop(client))),
        ("http", say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
        ("garbage", say(b"\x00\xff\x80garbage")),
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
    thread::sleep(Duration::from_secs(4).saturating_sub(begin.elapsed()));
    let mut delays = Vec::new();
    for ((name, proxy), relay) in proxies.iter().zip(&relays) {
        let came = proxy.came.lock().unwrap();
        // Two connections, each after 0, 100, 200, 400, 800 ms and so on, times 0.5 to 1.5.
        assert!((6..=16).contains(&came.len()), "{name}: {} connections", came.len());
        let early = came.iter().filter(|at| at.duration_since(came[0]) < Duration::from_secs(1)).count();
        assert!(*name == "silent" || early * 2 >= came.len(), "{name}: {early} of {} in a second", came.len());
        delays.push(came[2].duration_since(came[0]).as_millis() / 4);
        let lines = changes(relay);
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 3, "they do not all come at the same time: {delays:?}");
}

// Redis does not exist.

#[test]
fn away_at_the_start() {
    let mut redis = Redis::start();
    redis.kill();
    let begin = Instant::now();
    let relay = relay_at(&redis.url(), "");
    assert!(begin.elapsed() < Duration::from_secs(1));
    let mut member = relay.connect("room");
    fails_calmly(&relay, "away");
    assert_eq!(read_to(&mut member, "away", 2), [0, 1, 2]);
    redis.run();
    wait_linked(&relay);
    wait_until(1, || redis.hash(ONLINE).len());
    let lines = changes(&relay);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("trying again") && lines[1].contains("linked"), "{lines:?}");
}

#[test]
fn a_name_that_nobody_has() {
    let begin = Instant::now();
    let relay = relay_at("redis://no.such.host.invalid:6379", "");
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(health(&relay)["redis"]["status"], "failing");
    fails_calmly(&relay, "nameless");
    // The name is looked up about once a second, which delays nothing.
    for number in 0..60 {
        publish(&relay, "at home", number..number + 1);
        thread::sleep(Duration::from_millis(25));
    }
}

#[test]
fn a_name_that_is_found() {
    let redis = Redis::start();
    let relay = relay_at(&format!("redis://localhost:{}", redis.port), "");
    wait_linked(&relay);
}

/// The send queue is bounded: the oldest publications are dropped first, and counted.
#[test]
fn a_full_buffer() {
    let mut redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("buffer = 4096");
    let mut member = relays[1].connect("room");
    redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    publish(&relays[0], "much", 0..100);
    let dropped = relays[0].counter("redis_dropped");
    assert!((80..100).contains(&dropped), "{dropped}");
    // A publication that is larger than the queue drops nothing else.
    relays[0].notify("room", &"x".repeat(5000));
    assert_eq!(relays[0].counter("redis_dropped"), dropped + 1);
    redis.run();
    let kept = read_to(&mut member, "much", 99);
    assert_eq!(kept, (dropped as usize..100).collect::<Vec<_>>(), "the last ones");
}

/// Publications that have waited too long are not sent.
#[test]
fn a_buffer_that_is_too_old() {
    let mut redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("buffer_age = 1");
    let mut member = relays[1].connect("room");
    redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    publish(&relays[0], "old", 0..10);
    thread::sleep(Duration::from_millis(1100));
    redis.run();
    // With another heartbeat the relays reconnect at once, before the new publications are too old.
    let again = redis.section("buffer_age = 1").replace(HEARTBEAT, "0.31");
    reload(&relays[1], &again);
    wait_linked(&relays[1]);
    publish(&relays[0], "young", 0..10);
    reload(&relays[0], &again);
    assert_eq!(read_to(&mut member, "young", 9), (0..10).collect::<Vec<_>>());
    assert_eq!(relays[0].counter("redis_dropped"), 10);
}

// Relays start and stop.

/// The records of a relay that died are removed; those of others stay.
#[test]
fn a_relay_that_dies() {
    let redis = Redis::start();
    let [survivor, dying] = redis.relays("");
    let _members = [survivor.connect("a"), survivor.connect("b")];
    let _gone = [dying.connect("a"), dying.connect("b"), dying.connect("c")];
    let old =
        r#"{"socket_id":"old","source":"demo","userid":"7","username":"li","room_ids":"r","server_ip":"10.0.0.2"}"#;
    redis.ask(&["HSET", ONLINE, "old", old, "nonsense", "{"]);
    wait_until(7, || redis.hash(ONLINE).len());
    let begin = Instant::now();
    assert!(std::process::Command::new("kill").args(["-9", &dying.pid().to_string()]).status().unwrap().success());
    wait_until((4, 1), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    let passed = begin.elapsed().as_secs_f64() / 0.3;
    assert!((3.0..8.0).contains(&passed), "{passed} heartbeats");
    let left = redis.hash(ONLINE);
    assert!(left.iter().any(|(name, record)| name == "old" && record == old));
    assert_eq!(left.iter().filter(|(_, record)| record.contains(r#""node":""#)).count(), 2);
    wait_siblings(&survivor, 0);
}

/// A relay that was only suspended writes its records again.
#[test]
fn a_relay_that_wakes_up() {
    let redis = Redis::start();
    let [survivor, sleeper] = redis.relays("");
    let mut members = [survivor.connect("room"), sleeper.connect("room")];
    wait_until(2, || redis.hash(ONLINE).len());
    sleeper.signal(SIGSTOP);
    wait_until((1, 1), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    sleeper.signal(SIGCONT);
    wait_until((2, 2), || (redis.hash(ONLINE).len(), redis.hash(NODES).len()));
    wait_linked(&sleeper);
    [&survivor, &sleeper].into_iter().for_each(|relay| wait_siblings(relay, 1));
    publish(&sleeper, "awake", 0..1);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "awake", 0), [0]));
}

/// SIGHUP links a relay, links it to another Redis, and unlinks it. No client is disconnected, and other relays still
/// receive its messages.
#[test]
fn a_link_that_is_configured_later() {
    let [one, two] = [Redis::start(), Redis::start()];
    let [first, second] = [one.relay(""), two.relay("")];
    let mut members = [first.connect("room"), second.connect("room")];
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    assert_eq!(health(&relay)["redis"], Value::Null);
    let mut number = 0;
    for _ in 0..2 {
        for (redis, other, there, elsewhere) in [(&one, &first, 0, 1), (&two, &second, 1, 0)] {
            reload(&relay, &redis.section(""));
            wait_linked(&relay);
            wait_siblings(other, 1);
            wait_until(2, || redis.hash(ONLINE).len());
            for (from, name) in [(&relay, "moving"), (other, "staying")] {
                publish(from, name, number..number + 1);
                assert_eq!(read_to(&mut member, name, number), [number]);
                assert_eq!(read_to(&mut members[there], name, number), [number]);
                number += 1;
            }
            members[elsewhere].silence();
        }
        reload(&relay, "");
        assert_eq!(health(&relay)["redis"], Value::Null);
        publish(&relay, "alone", 0..1);
        assert_eq!(read_to(&mut member, "alone", 0), [0]);
        members.iter_mut().for_each(Client::silence);
        // The relays that it left take it for dead.
        wait_until([1, 1], || [&one, &two].map(|redis| redis.hash(ONLINE).len()));
    }
}

/// Sessions that began while Redis was away are written when it is back.
#[test]
fn nobody_is_forgotten_when_the_link_is_configured_anew() {
    let [one, two] = [Redis::start(), Redis::start()];
    let relay = one.relay("");
    one.signal(SIGSTOP);
    let _members = [relay.connect("a"), relay.connect("b")];
    thread::sleep(Duration::from_millis(100));
    let _late = [relay.connect("c"), relay.connect("d")];
    reload(&relay, "");
    reload(&relay, &two.section(""));
    wait_linked(&relay);
    wait_until(4, || two.hash(ONLINE).len());
    one.signal(SIGCONT);
}

/// A relay that stops removes its records.
#[test]
fn taking_leave() {
    let redis = Redis::start();
    let linked = || {
        let relay = Relay::start(&format!("shutdown_timeout = 5\n{}", redis.section("")));
        wait_linked(&relay);
        relay
    };
    let [mut leaving, staying] = [linked(), linked()];
    let mut clients = [leaving.connect("a"), leaving.connect("b")];
    let _other = staying.connect("a");
    wait_until(3, || redis.hash(ONLINE).len());
    let begin = Instant::now();
    leaving.signal(SIGTERM);
    clients.iter_mut().for_each(|client| assert_eq!(client.close_code(), 1001));
    drop(clients);
    assert_eq!(leaving.wait(), 0);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!((redis.hash(ONLINE).len(), redis.hash(NODES).len()), (1, 1));
    wait_siblings(&staying, 0);
    assert_eq!(redis.ask(&["KEYS", "node.xin.com:relay_alive:*"]).array().unwrap().len(), 1);
}

/// A relay stops in time even if Redis does not answer, or is down.
#[test]
fn taking_leave_of_nobody() {
    let mut redis = Redis::start();
    let linked = || {
        let relay = Relay::start(&format!("shutdown_timeout = 2\n{}", redis.section("")));
        wait_linked(&relay);
        relay
    };
    let [mut stalled, mut alone] = [linked(), linked()];
    let _clients = [stalled.connect("a"), alone.connect("a")];
    redis.signal(SIGSTOP);
    let begin = Instant::now();
    stalled.signal(SIGTERM);
    assert_eq!(stalled.wait(), 0);
    assert!(begin.elapsed() < Duration::from_millis(2300), "{:?}", begin.elapsed());
    redis.kill();
    wait_failing(&alone);
    let begin = Instant::now();
    alone.signal(SIGTERM);
    assert_eq!(alone.wait(), 0);
    assert!(begin.elapsed() < Duration::from_millis(2300), "{:?}", begin.elapsed());
}

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
    // A Unix socket may disappear and come back, too.
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

/// Redis is suspended and the connection accepts no more bytes: the relay waits without using CPU.
#[test]
fn a_full_connection() {
    let redis = Redis::start();
    let relay = Relay::start(&redis.section("buffer = 50000000").replace("heartbeat = 0.3", "heartbeat = 20"));
    wait_linked(&relay);
    redis.signal(19);
    for _ in 0..40 {
        relay.notify("room", &"x".repeat(300_000));
    }
    let _members: Vec<_> = (0..3).map(|_| relay.connect("room")).collect();
    thread::sleep(Duration::from_millis(200));
    let before = cpu(&relay);
    thread::sleep(Duration::from_secs(1));
    let used = cpu(&relay) - before;
    redis.signal(18);
    assert!(used < 10, "{used} hundredths of a second");
}
