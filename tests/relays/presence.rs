//! docs/protocol.md, Redis: presence records in the old server's keys, and what operators see of all relays together.

use std::{
    collections::BTreeSet,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    self, Client, Relay, asleep, engineio, login, read_answer,
    redis::{Redis, wait_linked, wait_until},
    send_request, wait_for,
};

const ONLINE: &str = "node.xin.com:xin_socket_connections_demo";
const TODAY: &str = "node.xin.com:xin_socket_connections_today_demo";

/// A record as the old server wrote it.
const OLD: &str = r#"{"socket_id":"Zk3OLDoldOLDoldAAAB","source":"demo","userid":"70","username":"old","room_ids":"r","referer":"http://page/","ext_info":"","watch_quit":"","server_ip":"10.0.0.2","time":"2026-11-20 20:52:3"}"#;

fn records(redis: &Redis) -> Vec<Value> {
    redis.hash(ONLINE).iter().map(|(_, record)| serde_json::from_str(record).unwrap()).collect()
}

fn online(relay: &Relay, more: &str) -> Value {
    relay.admin(&format!("/api/online?source=demo{more}")).json()
}

/// A client of Socket.IO 2.x that leaves a namespace and joins it again has the same id: its record stays.
#[test]
fn a_record_survives_leaving_and_joining_again() {
    let redis = Redis::start();
    let relay = redis.relay("[namespaces.\"/chat\"]\nauth = \"open\"\nsource = \"demo\"\n");
    let query = login(&[("room_ids", "r")]);
    let mut client = Client::open(relay.tcp(), &format!("/socket.io/?EIO=3&transport=websocket&{query}")).unwrap();
    let ids = || redis.hash(ONLINE).into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>();
    client.send("40/chat");
    wait_until(2, || ids().len());
    let before = ids();
    let writes = || redis.ask(&["INFO", "commandstats"]).text().unwrap().matches("cmdstat_hdel").count();
    assert_eq!(writes(), 0);
    for packet in ["41/chat", "40/chat", "41/chat", "40/chat"] {
        client.send(packet);
    }
    // Another session's end shows that the removals before it were sent.
    let other = relay.connect("r");
    wait_until(3, || ids().len());
    drop(other);
    wait_until(1, writes);
    wait_until(before.clone(), ids);
    assert!(before.iter().any(|id| id.starts_with("/chat#")), "{before:?}");
}

#[test]
fn records_are_the_old_server_s_and_more() {
    let redis = Redis::start();
    let relay = redis.relay("");
    let member = relay.connect_with(&[
        ("room_ids", "a,b"),
        ("userid", "7"),
        ("username", "张\"三"),
        ("ext_info", "{}"),
        ("watch_quit", "1"),
    ]);
    wait_until(1, || records(&redis).len());
    let (field, record) = redis.hash(ONLINE).remove(0);
    let parsed: Value = serde_json::from_str(&record).unwrap();
    let (ip, time) = (parsed["server_ip"].as_str().unwrap(), parsed["time"].as_str().unwrap());
    // Up to `time`: the old server's fields in its order, all of them strings.
    let old = format!(
        r#"{{"socket_id":"{field}","source":"demo","userid":"7","username":"张\"三","room_ids":"a,b","ext_info":"{{}}","watch_quit":"1","server_ip":"{ip}","time":"{time}","#
    );
    assert!(record.starts_with(&old), "{record}");
    assert!(parsed.as_object().unwrap().values().all(Value::is_string));
    let (date, clock) = time.split_once(' ').unwrap();
    assert_eq!((date.len(), clock.split(':').count()), (10, 3), "{time}");
    assert!(clock.split(':').all(|part| part == "0" || !part.starts_with('0')), "not padded: {time}");
    let ttl = |key: &str| redis.ask(&["TTL", key]).integer().unwrap();
    wait_until(true, || ttl(ONLINE) > 43_000 && ttl(TODAY) > 43_000);
    assert_eq!(redis.hash(TODAY), [("张\"三".to_owned(), "1".to_owned())]);
    relay.notify("a", "x");
    let location = |name: &str| redis.hash(&format!("node.xin.com:xin_socket_{name}_location"));
    wait_until(vec![(ip.to_owned(), "1".to_owned())], || location("message"));
    assert_eq!(location("session"), [(ip.to_owned(), "1".to_owned())]);
    drop(member);
    wait_until(0, || records(&redis).len());
    assert_eq!(redis.hash(TODAY).len(), 1, "today stays");
}

#[test]
fn a_record_changes_with_its_session() {
    let redis = Redis::start();
    let pair = "[namespaces.\"/web\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\npairing = \"/app\"\n\
                [namespaces.\"/app\"]\nauth = \"open\"\nsource = \"demo\"\npairing = \"/web\"\n";
    let relay = redis.relay(pair);
    let mut member = Client::open(relay.tcp(), "/ws?nsp=/web").unwrap();
    let field = |name: &str| {
        let record = records(&redis).pop().unwrap_or_default();
        record[name].as_str().unwrap_or_default().to_owned()
    };
    wait_until("/web".to_owned(), || field("nsp"));
    member.send(r#"{"event":"join","room_ids":"x,y"}"#);
    wait_until("x,y".to_owned(), || field("room_ids"));
    member.send(r#"{"event":"user_login","data":{"userId":"9"}}"#);
    wait_until("9".to_owned(), || field("userid"));
    member.send(r#"{"event":"leave","room_ids":"x"}"#);
    wait_until("y".to_owned(), || field("room_ids"));
}

/// All pages that count sessions or users count those of all relays and old servers.
#[test]
fn operators_see_all_relays() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let login =
        |relay: &Relay, user: &str| relay.connect_with(&[("userid", user), ("username", user), ("room_ids", "r")]);
    let mut members =
        vec![login(&relays[0], "a"), login(&relays[0], "b"), login(&relays[1], "b"), login(&relays[1], "c")];
    redis.ask(&["HSET", ONLINE, "Zk3OLDoldOLDoldAAAB", OLD]);
    redis.ask(&["HINCRBY", TODAY, "old", "3"]);
    wait_until(5, || records(&redis).len());
    for relay in &relays {
        // Answers are used for two seconds.
        wait_until(json!(5), || online(relay, "")["sessions"].clone());
        let all = online(relay, "");
        assert_eq!((&all["relays"], &all["complete"], &all["users"]), (&json!(2), &json!(true), &json!(4)));
        assert_eq!(all["names"], json!({"a": 1, "b": 2, "c": 1, "old": 1}));
        let mut ids: Vec<_> = all["list"].as_array().unwrap().iter().map(|entry| entry["socket_id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids.dedup();
        assert_eq!(ids.len(), 5);
        let pages: Vec<_> =
            (0..6).map(|skip| online(relay, &format!("&limit=1&offset={skip}"))["list"].clone()).collect();
        let mut paged: Vec<_> =
            pages.iter().filter_map(|page| page.get(0)).map(|entry| entry["socket_id"].clone()).collect();
        paged.sort_by_key(Value::to_string);
        assert_eq!(paged, ids, "page by page the same");
        assert_eq!(online(relay, "&userid=b")["list"].as_array().unwrap().len(), 2);
        let users = relay.admin("/api/users?source=demo").json();
        let names: Vec<_> = users["list"].as_array().unwrap().iter().map(|user| user["userid"].clone()).collect();
        assert_eq!(names, ["70", "a", "b", "c"]);
        assert_eq!(users["list"][2], json!({"userid": "b", "sessions": 2, "nsp": {"/": 2}}));
        let today = relay.admin("/api/today?source=demo").json();
        assert_eq!((&today["sessions"], &today["names"]), (&json!(7), &json!({"a": 1, "b": 2, "c": 1, "old": 3})));
        let page = relay.admin("/online?source=demo").body;
        assert!(page.starts_with("当前在线用户列表：<br>用户总数：4<br>会话链接数：5<br><br>a:1<br>b:2<br>"), "{page}");
        assert!(page.contains("Zk3OLDoldOLDoldAAAB"));
        assert!(relay.admin("/today?source=demo").body.ends_with("用户总数：4 会话总数：7"));
        assert_eq!(relay.admin("/read_connections").body, "<p>总连接数：5</p>");
        let stats = relay.admin("/api/stats").json();
        assert_eq!((&stats["sessions"], &stats["all"]["sessions"]), (&json!(2), &json!(5)));
        assert_eq!(stats["all"]["sources"]["demo"], 5);
        assert_eq!(stats["relays"].as_array().unwrap().len(), 2);
        assert!(stats["relays"].as_array().unwrap().iter().any(|entry| entry["node"] == stats["node"]));
    }
    drop(members.pop());
    wait_until(json!(4), || online(&relays[0], "")["sessions"].clone());
}

/// A session is described in the same way by its own relay and by others: field by field, on `/api/online` and on the
/// page of node-socket-im. Those of old servers have the same fields as far as they are known.
#[test]
fn a_session_looks_the_same_everywhere() {
    let redis = Redis::start();
    let relays: [Relay; 2] = redis.relays("");
    let full = [("userid", "7"), ("username", "张\"三"), ("room_ids", "b,a"), ("ext_info", "<x>"), ("watch_quit", "1")];
    let headers = [("Referer", "http://page/"), ("User-Agent", "Agent/1"), ("X-Forwarded-For", "203.0.113.7")];
    let mut members = Vec::new();
    for relay in &relays {
        members.push(relay.connect_with(&full));
        members.push(relay.connect_with(&[("room_ids", "r")]));
        let (poll, _) = polling(relay, &full, &headers);
        assert_eq!(poll, 200);
    }
    redis.ask(&["HSET", ONLINE, "Zk3OLDoldOLDoldAAAB", OLD]);
    wait_until(7, || records(&redis).len());
    let lists = relays.each_ref().map(|relay| {
        wait_until(json!(7), || online(relay, "")["sessions"].clone());
        let mut list = online(relay, "")["list"].as_array().unwrap().clone();
        list.sort_by_key(|entry| entry["socket_id"].to_string());
        list
    });
    assert_eq!(lists[0], lists[1]);
    let nodes: BTreeSet<_> = lists[0].iter().map(|entry| entry["node"].to_string()).collect();
    assert_eq!(nodes.len(), 3, "two relays, and an old server without a name: {nodes:?}");
    let fields = |entry: &Value| entry.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let complete =
        lists[0].iter().find(|entry| entry["referer"] == "http://page/" && entry["node"].is_string()).unwrap();
    assert_eq!((&complete["watch_quit"], &complete["ip"]), (&json!(1), &json!("127.0.0.1")));
    for entry in &lists[0] {
        assert!(fields(entry).is_subset(&fields(complete)), "{entry}");
    }
    // The page shows the same text, byte for byte.
    let pages = relays.each_ref().map(|relay| {
        let body = relay.admin("/online?source=demo").body;
        let mut lines: Vec<_> = body.split("<br>").map(str::to_owned).filter(|line| line.starts_with('{')).collect();
        lines.sort();
        lines
    });
    assert_eq!((pages[0].len(), &pages[0]), (7, &pages[1]));
}

/// Opens a session over polling with these headers, and returns the status.
fn polling(relay: &Relay, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> (u16, String) {
    let answer = relay.request("GET", &format!("/socket.io/?EIO=3&transport=polling&{}", login(fields)), headers, b"");
    (answer.status, answer.body)
}

/// Without `[redis]`, answers have no fields about other relays.
#[test]
fn a_relay_that_is_alone() {
    let relay = Relay::start("");
    let _member = relay.connect("r");
    let all = online(&relay, "");
    assert_eq!((all["sessions"].clone(), all.get("relays"), all.get("complete")), (json!(1), None, None));
    assert!(relay.admin("/api/stats").json().get("relays").is_none());
    assert!(relay.get("/healthz").json().get("redis").is_none());
}

/// Redis is asked at most once in two seconds. While it does not answer, answers hold what this relay knows.
#[test]
fn answers_come_from_a_cache() {
    let redis = Redis::start();
    let relay = redis.relay("");
    let _member = relay.connect("r");
    wait_until(1, || records(&redis).len());
    redis.ask(&["CONFIG", "RESETSTAT"]);
    let begin = Instant::now();
    (0..20).for_each(|_| drop(online(&relay, "")));
    let info = redis.ask(&["INFO", "commandstats"]);
    let calls =
        info.text().unwrap().split("cmdstat_hscan:calls=").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let calls: u64 = calls.parse().unwrap();
    // One more may be a relay that reviews its own records.
    assert!((1..=3 + begin.elapsed().as_secs()).contains(&calls), "{calls} calls");
    assert_eq!(relay.request("HEAD", "/api/online?source=demo&token=test-token", &[], b"").status, 200);
    redis.signal(19);
    let answer = wait_for("a late answer", || Some(online(&relay, "")).filter(|answer| answer["complete"] == false));
    assert_eq!(answer["sessions"], 1);
    let slept = asleep(&[relay.pid()], || relay.notify("r", "x"));
    assert!(slept < Duration::from_millis(500), "{slept:?}");
    redis.signal(18);
    wait_until(json!(true), || online(&relay, "")["complete"].clone());
}

/// Records of other programs may hold anything.
#[test]
fn strange_records() {
    let redis = Redis::start();
    let relay = redis.relay("");
    for (field, record) in
        [("1", "{"), ("2", "7"), ("3", ""), ("4", "{\"username\":{}}"), ("5", "{\"username\":\"<b>\"}")]
    {
        redis.ask(&["HSET", ONLINE, field, record]);
    }
    redis.ask(&["HSET", ONLINE, "6", &format!("{{\"username\":\"{}\"}}", "x".repeat(300_000))]);
    redis.ask(&["HSET", TODAY, "a", "-5"]);
    redis.ask(&["HSET", TODAY, "b", "many"]);
    wait_until(json!({"": 1, "<b>": 1}), || online(&relay, "")["names"].clone());
    let page = relay.admin("/online?source=demo").body;
    assert!(!page.contains("<b>") && page.contains("&lt;b&gt;"));
    assert_eq!(relay.admin("/api/today?source=demo").json()["names"], json!({"a": 0}));
    // Not even a hash.
    redis.ask(&["DEL", ONLINE]);
    redis.ask(&["SET", ONLINE, "a string"]);
    wait_until(json!(false), || online(&relay, "")["complete"].clone());
    let _member = relay.connect("r");
    wait_until(true, || relay.counter("redis_errors") > 0);
    wait_until("failing".to_owned(), || relay.get("/healthz").json()["redis"]["status"].as_str().unwrap().to_owned());
    redis.ask(&["DEL", ONLINE]);
    wait_until(1, || records(&redis).len());
    wait_linked(&relay);
}

/// A crowd is written in few batches and read in pieces.
#[test]
fn a_crowd_is_written_in_few_batches() {
    const CROWD: usize = 400;
    let redis = Redis::start();
    let relay = redis.relay("");
    redis.ask(&["CONFIG", "RESETSTAT"]);
    // They come at once: the relay is stopped until all of them have asked.
    relay.signal(19);
    let mut members: Vec<TcpStream> = (0..CROWD)
        .map(|_| {
            let mut stream = relay.tcp();
            send_request(&mut stream, "GET", &format!("/ws?{}", login(&[("room_ids", "r")])), &engineio::UPGRADE, b"");
            stream
        })
        .collect();
    relay.signal(18);
    members.iter_mut().for_each(|member| assert_eq!(read_answer(member, true).status, 101));
    wait_until(CROWD, || redis.ask(&["HLEN", ONLINE]).integer().unwrap() as usize);
    let info = redis.ask(&["INFO", "commandstats"]);
    let calls = info.text().unwrap().split("cmdstat_hset:calls=").nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert!(calls.parse::<usize>().unwrap() < CROWD / 2, "{calls} writes");
    // A dozen pieces, so that a busy machine reads them within the two seconds that a request waits.
    for part in 0..10 {
        let mut command = vec!["HSET".to_owned(), ONLINE.to_owned()];
        for number in 0..200 {
            let id = part * 200 + number;
            command.extend([format!("old{id}"), OLD.replace("Zk3OLDoldOLDoldAAAB", &format!("old{id}"))]);
        }
        redis.ask(&command.iter().map(String::as_str).collect::<Vec<_>>());
    }
    wait_until(json!(CROWD + 2000), || online(&relay, "&limit=1")["sessions"].clone());
    assert_eq!(relay.admin("/read_connections").body, format!("<p>总连接数：{}</p>", CROWD + 2000));
    drop(members);
    wait_until(2000, || redis.ask(&["HLEN", ONLINE]).integer().unwrap());
}

/// Counts of logins begin anew each day. When a relay starts, today's counts of an old server stay.
#[test]
fn today_is_today() {
    let redis = Redis::start();
    redis.ask(&["HSET", TODAY, "li", "5"]);
    let relay = redis.relay("");
    wait_until(true, || redis.ask(&["GET", "node.xin.com:relay_today:demo"]).text().is_some());
    assert_eq!(redis.hash(TODAY), [("li".to_owned(), "5".to_owned())]);
    drop(relay);
    redis.ask(&["SET", "node.xin.com:relay_today:demo", "2026-01-01"]);
    let relay = redis.relay("");
    wait_until(vec![], || redis.hash(TODAY));
    let date = relay.admin("/api/today?source=demo").json()["date"].as_str().unwrap().to_owned();
    assert_eq!(redis.ask(&["GET", "node.xin.com:relay_today:demo"]).text(), Some(&*date));
}

/// Relays with different prefixes and channels do not meet.
#[test]
fn other_prefixes_and_channels() {
    let redis = Redis::start();
    let one = redis.relay("");
    let two = redis.relay("channel = \"elsewhere\"\nkey_prefix = \"b:\"");
    let (_here, mut there) = (one.connect("r"), two.connect("r"));
    one.notify("r", "x");
    wait_until(1, || redis.ask(&["HLEN", "b:xin_socket_connections_demo"]).integer().unwrap());
    assert_eq!(online(&two, "")["sessions"], 1);
    assert_eq!(two.admin("/healthz").json()["redis"]["siblings"], 0);
    there.silence();
}

/// Refused writes are repeated when Redis accepts them again.
#[test]
fn writes_that_are_refused_for_a_while() {
    let redis = Redis::start();
    let relay = redis.relay("");
    let login = |name: &str| relay.connect_with(&[("room_ids", "r"), ("username", name)]);
    let (_stays, goes) = (login("stays"), login("goes"));
    wait_until(2, || records(&redis).len());
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    drop(goes);
    let _comes = login("comes");
    wait_until(true, || relay.counter("redis_errors") > 2);
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let names = || {
        let mut names: Vec<_> = records(&redis).iter().map(|record| record["username"].clone()).collect();
        names.sort_by_key(Value::to_string);
        names
    };
    wait_until(vec![json!("comes"), json!("stays")], names);
}

/// Counts beyond the range of numbers, and a relay without any source.
#[test]
fn strange_numbers_and_no_sources() {
    let redis = Redis::start();
    for name in ["a", "b", "c"] {
        redis.ask(&["HSET", TODAY, name, "9223372036854775807"]);
    }
    let relay = redis.relay("");
    wait_until(json!(3), || relay.admin("/api/today?source=demo").json()["users"].clone());
    assert!(relay.admin("/today?source=demo").body.contains("用户总数：3"));
    let config = support::temp_file("none.toml");
    let text = format!("listen = [\"127.0.0.1:0\"]\n[admin]\ntoken = \"{}\"\n{}", support::TOKEN, redis.section(""));
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(support::binary());
    command.arg("--config").arg(&config);
    let nobody = Relay::spawn(command, config);
    wait_linked(&nobody);
    for _ in 0..3 {
        let slept = asleep(&[nobody.pid()], || assert_eq!(nobody.admin("/api/stats").status, 200));
        assert!(slept < Duration::from_millis(500), "it waits for an answer that does not come: {slept:?}");
    }
}
