//! docs/protocol.md, Metrics: `/metrics` in both formats, its documentation, and what the numbers mean.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
};

use crate::support::{
    self, Answer, FORM, KEY, PATIENCE, Relay, TOKEN, notify_sign, read_answer, send_request, temp_file, wait_for,
};

/// A metric of an answer.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    unit: String,
    samples: Vec<Sample>,
}

/// The suffix of a name, the labels, and the value.
type Sample = (String, Vec<(String, String)>, f64);

const OPEN: &str = "application/openmetrics-text; version=1.0.0";

fn metrics(relay: &Relay, accept: &str) -> Answer {
    relay.request("GET", "/metrics", &[("Authorization", &format!("Bearer {TOKEN}")), ("Accept", accept)], b"")
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inner)
}

/// The labels of a sample: `a="b",c="d"` without anything that must be escaped.
fn labels(text: &str) -> Vec<(String, String)> {
    let one = |pair: &str| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("label {pair:?}"));
        let value = value.strip_suffix('"').unwrap_or_else(|| panic!("label {pair:?}"));
        assert!(is_name(name) && !value.contains(['"', '\\', '\n']), "label {pair:?}");
        (name.to_owned(), value.to_owned())
    };
    text.split(',').map(one).collect()
}

/// Parses an answer and refuses whatever the format does not allow, and a few things that it only advises against.
fn parse(text: &str, open: bool) -> BTreeMap<String, Family> {
    let body = match open {
        true => text.strip_suffix("# EOF\n").expect("# EOF at the end"),
        false => text,
    };
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    assert!(body.ends_with('\n'));
    for line in body.lines() {
        assert!(!line.is_empty() && line.trim() == line && line != "# EOF", "{line:?}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().expect(line));
            match word {
                "HELP" => {
                    assert!(is_name(name) && !rest.contains('\\') && rest.ends_with('.'), "{line}");
                    let fresh = Family { help: rest.into(), ..Family::default() };
                    assert!(families.insert(name.into(), fresh).is_none(), "{name} is there twice");
                    current = name.into();
                }
                "TYPE" => families.get_mut(name).filter(|_| name == current).expect(line).kind = rest.into(),
                "UNIT" => {
                    assert!(open && name.ends_with(&format!("_{rest}")), "{line}");
                    families.get_mut(name).filter(|_| name == current).expect(line).unit = rest.into();
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect(line))),
            None => (series, Vec::new()),
        };
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} stands below {current}"));
        families.get_mut(&current).unwrap().samples.push((suffix.into(), labels, value.parse().expect(line)));
    }
    families.iter().for_each(|(name, family)| check(name, family, open));
    families
}

/// What a type says about the samples of a metric.
fn check(name: &str, family: &Family, open: bool) {
    let Family { kind, samples, .. } = family;
    assert!(name.starts_with("relay_") && !samples.is_empty(), "{name}");
    let suffixes: &[&str] = match (&**kind, open) {
        ("counter", true) => &["_total"],
        ("info", true) => &["_info"],
        ("histogram", _) => &["_bucket", "_sum", "_count"],
        ("counter" | "gauge", _) => &[""],
        _ => panic!("{name} has the type {kind}"),
    };
    assert!(samples.iter().all(|(suffix, ..)| suffixes.contains(&&**suffix)), "{name}: {samples:?}");
    let series: Vec<_> = samples.iter().map(|(suffix, labels, _)| (suffix, labels)).collect();
    assert!((1..series.len()).all(|at| !series[..at].contains(&series[at])), "{name} has a series twice");
    assert!(samples.iter().all(|(.., value)| *value >= 0.0), "{name}");
    // In the older format the suffix is a part of the name.
    assert_eq!(name.ends_with("_total"), !open && kind == "counter", "{name}");
    if kind == "histogram" {
        check_histogram(name, samples);
    }
}

/// Buckets rise in their bounds and their counts, and end with that of all.
fn check_histogram(name: &str, samples: &[Sample]) {
    let of = |wanted: &str| samples.iter().filter(|(suffix, ..)| suffix == wanted).collect::<Vec<_>>();
    let buckets: Vec<(f64, f64)> = of("_bucket")
        .iter()
        .map(|(_, labels, count)| {
            let bound = &labels.iter().find(|(label, _)| label == "le").expect("le").1;
            assert!(bound == "+Inf" || bound.contains('.'), "{name}: {bound} is not in its canonical form");
            (bound.parse().unwrap(), *count)
        })
        .collect();
    assert!(buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{name}: {buckets:?}");
    let last = buckets.last().unwrap();
    assert_eq!((last.0, last.1), (f64::INFINITY, of("_count")[0].2), "{name}");
    assert!(of("_sum").len() == 1 && of("_count").len() == 1, "{name}");
}

#[test]
fn both_formats_are_valid_and_say_the_same() {
    let relay = Relay::start("");
    let _client = relay.connect("room");
    relay.notify("room", "x");
    let (plain, open) = (metrics(&relay, "*/*"), metrics(&relay, OPEN));
    assert_eq!(plain.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(open.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!((plain.header("vary"), open.header("vary")), ("Accept", "Accept"));
    let names = |text: &str| -> Vec<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(names(&plain.body), names(&open.body));
    let (plain, open) = (parse(&plain.body, false), parse(&open.body, true));
    assert_eq!(plain.len(), open.len());
    assert_eq!(plain["relay_notifies_total"].help, open["relay_notifies"].help);
    assert_eq!((&*open["relay_memory_bytes"].unit, &*open["relay_uptime_seconds"].unit), ("bytes", "seconds"));
    assert_eq!((&*open["relay_build"].kind, &*plain["relay_build_info"].kind), ("info", "gauge"));
    let by_source = |name: &str, source: &str| {
        let has = |labels: &[(String, String)]| labels.iter().any(|(_, value)| value == source);
        plain[name].samples.iter().find(|(_, labels, _)| has(labels)).unwrap().2
    };
    assert_eq!((by_source("relay_sessions", "demo"), by_source("relay_sessions", "other")), (1.0, 0.0));
    assert_eq!(by_source("relay_rooms", "demo"), 1.0);
    for (name, value) in
        [("relay_notifies_total", 1.0), ("relay_logins_total", 1.0), ("relay_message_log_failing", 0.0)]
    {
        assert_eq!(plain[name].samples, [(String::new(), Vec::new(), value)], "{name}");
    }
}

/// The table of docs/protocol.md has each metric with its labels, its type and its meaning, and no other.
#[test]
fn every_metric_is_documented() {
    let relay = Relay::start("");
    let served: BTreeMap<String, (String, String)> = parse(&metrics(&relay, "").body, false)
        .into_iter()
        .map(|(name, family)| {
            let labels: Vec<&str> =
                family.samples[0].1.iter().map(|(label, _)| &**label).filter(|l| *l != "le").collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            (format!("`{name}{labels}`"), (family.kind, family.help))
        })
        .collect();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let section = page.split("\n## 16 Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut documented = BTreeMap::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [name, kind, meaning] = cells[..] else { panic!("{row}") };
        assert!(documented.insert(format!("`{name}"), (kind, meaning)).is_none(), "{name} is there twice");
    }
    for (name, (kind, help)) in &served {
        let (documented, meaning) = documented.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(documented, kind, "{name}");
        assert!(meaning.starts_with(&**help), "{name}: the meaning must begin with {help:?}");
    }
    let unknown: Vec<_> = documented.keys().filter(|name| !served.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "in the table, but not in /metrics: {unknown:?}");
    let stats = relay.admin("/api/stats").json();
    let counters: Vec<String> = stats["counters"].as_object().unwrap().keys().cloned().collect();
    let mut totals: Vec<String> = served
        .iter()
        .filter(|(_, (kind, _))| kind == "counter")
        .map(|(name, _)| name.split(['`', '{']).nth(1).unwrap()["relay_".len()..].trim_end_matches("_total").to_owned())
        .collect();
    totals.sort();
    assert_eq!(counters.iter().collect::<std::collections::BTreeSet<_>>(), totals.iter().collect());
}

/// The count and the sum of a histogram.
fn histogram(relay: &Relay, name: &str) -> (f64, f64) {
    let families = parse(&metrics(relay, "").body, false);
    let of = |wanted: &str| families[name].samples.iter().find(|(suffix, ..)| suffix == wanted).unwrap().2;
    (of("_count"), of("_sum"))
}

#[test]
fn turns_and_deliveries_are_timed() {
    const FIRST: &str = "relay_delivery_first_write_seconds";
    const LAST: &str = "relay_delivery_last_write_seconds";
    let relay = Relay::start("[limits]\nper_address = 1000\n");
    relay.notify("empty", "to nobody");
    assert_eq!([FIRST, LAST].map(|name| histogram(&relay, name).0), [0.0, 0.0]);
    let (turns, took) = histogram(&relay, "relay_turn_seconds");
    assert!(turns > 0.0 && took > 0.0, "{turns} turns took {took} s");
    let mut member = relay.connect("room");
    relay.notify("room", "small");
    assert_eq!(member.json()["data"], "small");
    relay.fence();
    let (count, first) = histogram(&relay, FIRST);
    assert_eq!((count, histogram(&relay, LAST)), (1.0, (1.0, first)), "one write is the first and the last one");
    assert!(first > 0.0 && histogram(&relay, "relay_turn_seconds").0 > turns);
    // More members than a turn writes to.
    let mut members: Vec<_> = (0..600).map(|_| relay.connect("large")).collect();
    relay.notify("large", "large");
    members.iter_mut().for_each(|member| assert_eq!(member.json()["data"], "large"));
    relay.fence();
    let (first, last) = (histogram(&relay, FIRST), histogram(&relay, LAST));
    assert_eq!((first.0, last.0), (2.0, 2.0));
    assert!(last.1 > first.1, "the last write {last:?} came in a later turn than the first one {first:?}");
}

/// Each session that began has ended once, for one reason.
#[test]
fn closes_have_reasons() {
    let relay = Relay::start("[limits]\nmessage_rate = 1\n");
    let closes = || -> BTreeMap<String, f64> {
        let families = parse(&metrics(&relay, "").body, false);
        let samples = families["relay_closes_total"].samples.iter();
        samples.map(|(_, labels, count)| (labels[0].1.clone(), *count)).collect()
    };
    assert!(closes().values().all(|count| *count == 0.0));
    let mut leaving = relay.connect("room");
    leaving.socket.close(None).unwrap();
    leaving.close_code();
    drop(relay.connect("room"));
    let mut sent_away = relay.connect_with(&[("userid", "42")]);
    assert_eq!(relay.post_json(&format!("/api/disconnect?token={TOKEN}"), "{\"userid\":42}").status, 200);
    sent_away.close_code();
    let mut broken = relay.connect("room");
    broken.socket.get_mut().write_all(&[0xff; 14]).unwrap();
    assert_eq!(broken.close_code(), 1002);
    let _stays = relay.connect("room");
    wait_for("the last end", || (relay.stat("/sessions") == 1).then_some(()));
    let found: BTreeMap<String, f64> = closes().into_iter().filter(|(_, count)| *count > 0.0).collect();
    let expected = ["client", "lost", "operator", "protocol"].map(|reason| (reason.to_owned(), 1.0));
    assert_eq!(found, BTreeMap::from(expected));
    assert_eq!((relay.counter("closes"), relay.counter("losses"), relay.counter("goodbyes")), (4, 1, 3));
    assert_eq!(relay.counter("logins"), relay.counter("closes") + relay.stat("/sessions"));
}

#[test]
fn memory_is_counted_by_kind() {
    let relay = Relay::start("[history]\ncount = 10\n");
    let kind = |wanted: &str| {
        let families = parse(&metrics(&relay, "").body, false);
        let found = families["relay_memory_kind_bytes"].samples.iter().find(|(_, labels, _)| labels[0].1 == wanted);
        found.unwrap_or_else(|| panic!("no {wanted}")).2
    };
    for name in ["unsent", "incomplete", "history", "away", "hooks", "redis", "message_log"] {
        assert!(kind(name) < 1000.0, "{name}");
    }
    for name in ["tls", "presence", "receipts", "idempotency", "signatures", "journal"] {
        assert_eq!(kind(name), 0.0, "{name}");
    }
    relay.notify("room", &"x".repeat(5000));
    assert!(kind("history") > 5000.0);
    assert!((40.0..10_000.0).contains(&kind("journal")), "one publication");
    relay.fill_journal();
    assert_eq!(kind("journal"), 28_672.0 * 40.0, "it is full of publications");
    let mut sending = relay.tcp();
    let head =
        format!("POST /api/notify HTTP/1.1\r\nHost: relay\r\nContent-Type: {FORM}\r\nContent-Length: 9000\r\n\r\n");
    sending.write_all(&[head.as_bytes(), &[b'x'; 8000]].concat()).unwrap();
    wait_for("incomplete input", || (kind("incomplete") >= 8000.0).then_some(()));
    let _slow = relay.connect("slow");
    wait_for("unsent bytes", || {
        relay.notify("slow", &"x".repeat(60_000));
        (kind("unsent") > 60_000.0).then_some(())
    });
}

#[test]
fn memory_of_features_is_counted() {
    let relay = Relay::start("[presence]\nevents = true\n");
    let kind = |wanted: &str| relay.metric(&format!("relay_memory_kind_bytes{{kind=\"{wanted}\"}}"));
    let _clients: Vec<_> = (0..20).map(|number| relay.connect_with(&[("userid", &*number.to_string())])).collect();
    wait_for("users", || (kind("presence") > 20 * 160).then_some(()));
    for number in 0..50 {
        let key = number.to_string();
        let sign = notify_sign("demo", "room", "x", KEY);
        let fields =
            [("source", "demo"), ("room_id", "room"), ("data", "x"), ("sign", &sign), ("idempotency_key", &key)];
        assert!(relay.post_form(&fields).body.contains("\"code\":1"));
    }
    assert!(kind("idempotency") > 50 * 50, "{}", kind("idempotency"));
    let body = format!(
        "{{\"source\":\"demo\",\"room_id\":\"room\",\"data\":\"x\",\"token\":\"{TOKEN}\",\"wait\":\"acked\",\"ms\":9000}}"
    );
    let mut waiting = relay.tcp();
    send_request(&mut waiting, "POST", "/api/notify", &[("Content-Type", "application/json")], body.as_bytes());
    wait_for("a receipt", || (kind("receipts") > 0).then_some(()));
}

/// What `/readyz` says: the status, and the reason if there is one.
fn ready(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let reason = body["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(body["status"], if answer.status == 200 { "ready" } else { "not ready" });
    (answer.status, reason)
}

#[test]
fn a_full_relay_is_not_ready() {
    let relay = Relay::start("[limits]\nconnections = 3\n");
    let mut asking = relay.tcp();
    let mut ask = |path: &str| {
        send_request(&mut asking, "GET", path, &[], b"");
        read_answer(&mut asking, false)
    };
    assert_eq!(ready(&ask("/readyz")), (200, String::new()));
    let clients = [relay.connect("room"), relay.connect("room")];
    assert_eq!(ready(&ask("/readyz")), (503, "connections".into()));
    assert_eq!(ask("/healthz").body, "{\"status\":\"ok\"}", "it lives");
    drop(clients);
    wait_for("free places", || (ask("/readyz").status == 200).then_some(()));
}

#[test]
fn a_relay_that_stops_is_not_ready() {
    let relay = Relay::start("shutdown_timeout = 60\n");
    let mut asking = relay.tcp();
    // A request that has begun is answered after the signal.
    asking.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
    relay.fence();
    let _keeps_it_alive = relay.connect("room");
    relay.signal(15);
    relay.wait_log("stop");
    asking.write_all(b"Host: relay\r\n\r\n").unwrap();
    assert_eq!(ready(&read_answer(&mut asking, false)), (503, "stopping".into()));
}

/// A relay waits for its cluster before it is ready. Its backend does not matter.
#[test]
fn a_relay_that_joins_its_cluster_is_not_ready() {
    let nothing_listens = "127.0.0.1:1";
    let relay = Relay::start(&format!("[redis]\nurl = \"redis://{nothing_listens}\"\n"));
    let first = ready(&relay.get("/readyz"));
    // A machine can be so busy that the wait is over before the first request.
    if relay.metric("relay_uptime_seconds") < 10 {
        assert_eq!(first, (503, "cluster".into()));
    }
    assert_eq!(relay.get("/healthz").status, 200);
    wait_for("the end of the wait for Redis", || (relay.get("/readyz").status == 200).then_some(()));
    assert_eq!(relay.get("/healthz").json()["status"], "degraded");
}

/// A relay with an address for metrics.
fn relay_for_metrics(more: &str) -> (Relay, SocketAddr) {
    let relay = Relay::start_with("", |command| {
        let config = temp_file("metrics.toml");
        let text = Relay::configuration(more).replace("[admin]\n", "[admin]\nlisten = [\"127.0.0.1:0\"]\n");
        fs::write(&config, text).unwrap();
        command.arg("--config").arg(config);
    });
    let line = relay.wait_log("serving metrics on ");
    let address = line.rsplit(' ').next().unwrap().parse().unwrap();
    (relay, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The address for metrics has places of its own, which are no places for clients.
#[test]
fn metrics_are_served_when_relay_is_full() {
    let (relay, address) = relay_for_metrics("[limits]\nconnections = 2\nper_address = 2\n");
    let clients = [relay.connect("room"), relay.connect("room")];
    assert_eq!(relay.get("/readyz").status, 503, "refused before its path is looked at");
    // The seventeenth is answered once one of the sixteen before it ends.
    let mut asking: Vec<TcpStream> = (0..17).map(|_| connect(address)).collect();
    for stream in &mut asking {
        send_request(stream, "GET", "/readyz", &[], b"");
    }
    let mut last = asking.pop().unwrap();
    for stream in &mut asking {
        assert_eq!(ready(&read_answer(stream, false)), (503, "connections".into()));
    }
    drop(asking);
    assert_eq!(read_answer(&mut last, false).status, 503);
    drop(clients);
    wait_for("free places", || {
        send_request(&mut last, "GET", "/readyz", &[], b"");
        (read_answer(&mut last, false).status == 200).then_some(())
    });
    let _clients = [relay.connect("room"), relay.connect("room")];
}

/// At an address of `admin.listen` metrics need no token, and there is nothing else.
#[test]
fn metrics_have_an_address_of_their_own() {
    let (relay, address) = relay_for_metrics("");
    let ask = |method: &str, path: &str| {
        let mut stream = connect(address);
        send_request(&mut stream, method, path, &[("Accept", OPEN)], b"");
        read_answer(&mut stream, false)
    };
    assert!(parse(&ask("GET", "/metrics").body, true).contains_key("relay_sessions"));
    assert_eq!((ask("GET", "/healthz").body, ready(&ask("GET", "/readyz")).0), ("{\"status\":\"ok\"}".into(), 200));
    assert_eq!(ask("POST", "/metrics").status, 405);
    let query = support::login(&[]);
    for path in
        ["/", "/api/stats", "/api/online?source=demo", "/demo/", &format!("/ws?{query}"), &format!("/sse?{query}")]
    {
        assert_eq!(ask("GET", path).status, 404, "{path}");
    }
    for path in ["/api/notify", "/api/refresh", "/socket.io/?EIO=4&transport=polling"] {
        assert_ne!(ask("POST", path).status, 200, "{path}");
    }
    assert_eq!(relay.get("/metrics").status, 401, "elsewhere they need it");
    assert_eq!(relay.admin("/metrics").status, 200);
}
