//! docs/protocol.md, Operators: the JSON endpoints, the old server's pages, and the admin token.

use serde_json::{Value, json};

use crate::support::{
    self, FORM, KEY, Relay, TOKEN, UPGRADE, connect_sign, engineio::Polling, form, read_answer, send_request, wait_for,
};

/// Every page of the operators.
const PAGES: [&str; 24] = [
    "/api/log/sys",
    "/api/log/error",
    "/API/STATS",
    "/api/%73tats",
    "/metrics/",
    "/Online?source=demo",
    "http://relay/online?source=demo",
    "/api/stats",
    "/metrics",
    "/api/online?source=demo",
    "/api/today?source=demo",
    "/api/rooms?source=demo",
    "/api/log/client",
    "/api/log/messages?source=demo",
    "/online?source=demo",
    "/today?source=demo",
    "/read_connections",
    "/readmsglocation",
    "/sessionlocation",
    "/readmsg?source=demo",
    "/clientlog",
    "/readsysmsg",
    "/errorlog",
    "/refreshpage?room=nobody",
];

fn post(relay: &Relay, target: &str, fields: &[(&str, &str)]) -> Value {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", FORM)];
    let answer = relay.request("POST", target, &headers, form(fields).as_bytes());
    assert!(answer.status != 200 || answer.header("cache-control") == "no-store", "{answer:?}");
    answer.json()
}

fn told(sessions: u64) -> Value {
    json!({"code": 1, "msg": "", "data": {"sessions": sessions}})
}

#[test]
fn admin_endpoints_need_the_token() {
    let relay = Relay::start("");
    let mut witness = relay.connect("room");
    for page in PAGES {
        for token in ["", "wrong"] {
            let answer = relay.request("GET", page, &[("Authorization", &format!("Bearer {token}"))], b"");
            assert!([401, 429].contains(&answer.status), "{page} {answer:?}");
            assert!(!answer.body.contains("spring"), "{page}");
        }
        for method in ["HEAD", "POST", "PUT", "OPTIONS"] {
            let answer = relay.request(method, page, &[], b"");
            assert!(answer.status != 200 && answer.body.len() < 100, "{method} {page} {answer:?}");
        }
        let forged = [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")];
        assert!([401, 429].contains(&relay.request("GET", page, &forged, b"").status), "being local is no proof");
    }
    for (target, body) in [
        ("/api/refresh", ""),
        ("/api/disconnect", "userid=7"),
        ("/api/disconnect", "token=x"),
        ("/api/trace", "userid=7"),
    ] {
        let answer = relay.request("POST", target, &[("Content-Type", FORM)], body.as_bytes());
        assert!([401, 429].contains(&answer.status), "{target} {body}");
    }
    let answer = relay.request("POST", "/api/refresh", &[("Content-Type", "text/plain")], b"not even a form");
    assert_eq!(answer.status, 401, "a wrong body is not discussed with strangers");
    witness.silence();
    assert_eq!(relay.get("/api/online?source=demo").header("www-authenticate"), "Bearer");
}

#[test]
fn no_answer_to_a_command_is_kept() {
    let relay = Relay::start("");
    for target in ["/api/refresh", "/api/disconnect", "/api/trace", "/api/reload"] {
        for (method, status) in [("POST", 400), ("PUT", 405)] {
            let target = format!("{target}?token={TOKEN}&nothing=1");
            let answer = relay.request(method, &target, &[], b"");
            assert_eq!((answer.status, answer.header("cache-control")), (status, "no-store"), "{method} {target}");
        }
    }
}

#[test]
fn the_token_may_stand_in_the_header_the_query_or_the_body() {
    let relay = Relay::start("");
    for authorization in [format!("Bearer {TOKEN}"), format!("bearer {TOKEN}")] {
        assert_eq!(relay.request("GET", "/today?source=demo", &[("Authorization", &authorization)], b"").status, 200);
    }
    assert_eq!(relay.get(&format!("/today?source=demo&token={TOKEN}")).status, 200);
    let body = form(&[("token", TOKEN), ("all", "1")]);
    assert_eq!(relay.request("POST", "/api/refresh", &[("Content-Type", FORM)], body.as_bytes()).json(), told(0));
    assert_eq!(relay.post_json("/api/refresh", &format!("{{\"token\":\"{TOKEN}\",\"all\":true}}")).json(), told(0));
    let other = format!("/today?source=demo&token={TOKEN}x");
    assert_eq!(relay.get(&other).status, 401);
}

/// Wrong guesses lock out short tokens. A long token cannot be guessed, so it keeps working.
#[test]
fn token_guesses_are_locked_out() {
    for (token, locked) in [("short", true), ("a token of twenty-four..", false)] {
        let config = support::temp_file("guess.toml");
        let text = Relay::configuration("trusted_proxies = [\"127.0.0.1\"]\n").replace(TOKEN, token);
        std::fs::write(&config, text).unwrap();
        let mut command = std::process::Command::new(support::binary());
        command.arg("--config").arg(&config);
        let relay = Relay::spawn(command, config);
        let from = |ip: &str, token: &str| {
            let headers = [("X-Forwarded-For", ip), ("Authorization", &format!("Bearer {token}"))];
            relay.request("GET", "/api/stats", &headers, b"")
        };
        for guess in 0..10 {
            assert_eq!(from("192.0.2.1", &guess.to_string()).status, 401, "{guess}");
        }
        let answer = from("192.0.2.1", "11");
        assert_eq!(answer.status, 429);
        assert!((1..=7).contains(&answer.header("retry-after").parse::<u32>().unwrap()), "{answer:?}");
        let right = if locked { 429 } else { 200 };
        assert_eq!(from("192.0.2.1", token).status, right, "or it would be the right one that shows");
        assert_eq!(from("203.0.113.9, 192.0.2.1", token).status, right, "the proxy's word counts, not the guesser's");
        assert_eq!(from("203.0.113.9, 192.0.2.1", "x").status, 429);
        assert_eq!(from("192.0.2.2", token).status, 200, "others are not kept waiting");
        (0..10).for_each(|guess| drop(from(&format!("2001:db8:1:2::{guess}"), "x")));
        assert_eq!(from("2001:db8:1:2:ffff::1", "x").status, 429, "a network of IPv6 is one guesser");
        relay.wait_log("10 wrong admin tokens from 192.0.2.1");
        assert!(relay.log().iter().all(|line| !line.contains(token)));
        assert_eq!(from("192.0.2.3", token).json()["counters"]["tokens_wrong"], 20);
    }
}

/// Without a trusted proxy, `X-Forwarded-For` does not move guesses to another address.
#[test]
fn a_forged_address_does_not_hide_a_guesser() {
    let relay = Relay::start("");
    let from = |ip: &str, token: &str| {
        let headers = [("X-Forwarded-For", ip), ("Authorization", &format!("Bearer {token}"))];
        relay.request("GET", "/api/stats", &headers, b"").status
    };
    (0..10).for_each(|guess| assert_eq!(from(&format!("192.0.2.{guess}"), "x"), 401));
    assert_eq!(from("192.0.2.77", "x"), 429);
}

/// Guessers with many addresses do not fill the log.
#[test]
fn warnings_about_guesses_are_bounded() {
    let relay = Relay::start("trusted_proxies = [\"127.0.0.1\"]\n");
    let mut stream = relay.tcp();
    for address in 0..100 {
        for _ in 0..10 {
            let from = format!("203.0.113.{address}");
            let headers = [("X-Forwarded-For", from.as_str()), ("Authorization", "Bearer wrong")];
            send_request(&mut stream, "GET", "/api/stats", &headers, b"");
            assert_eq!(read_answer(&mut stream, false).status, 401);
        }
    }
    assert_eq!(relay.counter("tokens_wrong"), 1000);
    let warnings = relay.log().iter().filter(|line| line.contains("wrong admin tokens")).count();
    // One in ten seconds, on a machine on which a thousand requests take a minute.
    assert!((1..=6).contains(&warnings), "{warnings}");
}

#[test]
fn online_lists_sessions() {
    let relay = Relay::start("trusted_proxies = [\"127.0.0.1\"]\n");
    let empty = json!({"source": "demo", "users": 0, "sessions": 0, "names": {}, "list": []});
    assert_eq!(relay.admin("/api/online?source=demo").json(), empty);
    let request = |fields: &[(&str, &str)], headers: &[(&str, &str)]| {
        let mut stream = relay.tcp();
        let target = format!("/ws?{}", support::login(fields));
        let all = [&UPGRADE, headers].concat();
        support::send_request(&mut stream, "GET", &target, &all, b"");
        assert_eq!(support::read_answer(&mut stream, true).status, 101);
        stream
    };
    let li = request(
        &[("userid", "1"), ("username", "li"), ("ext_info", "v2"), ("room_ids", "a,b"), ("watch_quit", "1")],
        &[("Referer", "https://shop/x"), ("User-Agent", "Agent/1"), ("X-Forwarded-For", "1.2.3.4, 203.0.113.7")],
    );
    let _second = request(&[("userid", "1"), ("username", "li"), ("room_ids", "a")], &[]);
    let _wang = request(&[("userid", "2"), ("username", "wang")], &[]);
    let online = relay.admin("/api/online?source=demo").json();
    assert_eq!(online["names"], json!({"li": 2, "wang": 1}));
    assert_eq!((&online["users"], &online["sessions"]), (&json!(2), &json!(3)));
    let list = online["list"].as_array().unwrap();
    let first = list.iter().find(|record| record["ext_info"] == "v2").unwrap();
    let mut expected = json!({
        "source": "demo", "userid": "1", "username": "li", "room_ids": "a,b", "nsp": "/", "protocol": "websocket",
        "ip": "203.0.113.7", "referer": "https://shop/x", "user_agent": "Agent/1", "ext_info": "v2", "watch_quit": 1,
    });
    for own in ["socket_id", "server_ip", "time"] {
        assert!(first[own].as_str().is_some_and(|text| !text.is_empty()), "{own} in {first}");
        expected[own] = first[own].clone();
    }
    assert_eq!(first, &expected);
    let mut ids: Vec<_> = list.iter().map(|record| record["socket_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let of = |query: &str| relay.admin(&format!("/api/online?source=demo{query}")).json()["list"].clone();
    assert_eq!(of("&userid=2").as_array().unwrap().len(), 1);
    assert_eq!(of("&limit=2").as_array().unwrap().len(), 2);
    assert_eq!(of("&limit=2&offset=2").as_array().unwrap().len(), 1);
    assert_eq!(of("&limit=0"), json!([]));
    assert_eq!(of(&format!("&limit=2&offset={}", usize::MAX)), json!([]));
    for wrong in ["limit=x", "limit=10001", "offset=-1"] {
        assert_eq!(relay.admin(&format!("/api/online?source=demo&{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(relay.admin("/api/online").status, 400);
    for page in ["online", "today", "rooms"] {
        assert_eq!(relay.admin(&format!("/api/{page}?source=nobody")).status, 404, "{page}");
    }
    let rooms =
        json!([{"room_id": "a", "members": 2}, {"room_id": "b", "members": 1}, {"room_id": "room", "members": 1}]);
    assert_eq!(relay.admin("/api/rooms?source=demo").json(), json!({"source": "demo", "rooms": 3, "list": rooms}));
    assert_eq!(relay.admin("/api/rooms?source=other").json()["rooms"], 0);
    drop(li);
    wait_for("li to leave", || (relay.admin("/api/online?source=demo").json()["sessions"] == 2).then_some(()));
    let today = relay.admin("/api/today?source=demo").json();
    assert_eq!((&today["names"], &today["sessions"]), (&json!({"li": 2, "wang": 1}), &json!(3)), "{today}");
    assert_eq!(today["date"].as_str().unwrap().len(), 10);
}

/// Texts and order are the old server's, because scripts scrape them.
#[test]
fn the_old_pages() {
    let relay = Relay::start("");
    let page = |target: &str| {
        let answer = relay.admin(target);
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"), "{target}");
        answer.body
    };
    assert_eq!(page("/online"), "请指定source查询！");
    for nobody in ["/online?source=", "/online?source=nobody", "/online?source=demo"] {
        assert_eq!(page(nobody), "当前在线用户列表：<br>用户总数：0<br>会话链接数：0<br><br><br>");
    }
    assert_eq!(page("/today"), "请指定source查询！");
    assert_eq!(page("/today?source="), "请指定source查询！");
    assert_eq!(page("/today?source=demo"), "当天用户链接数<br><br> 用户总数：0 会话总数：0");
    assert_eq!(page("/read_connections"), "<p>总连接数：0</p>");
    let clients: Vec<_> =
        ["li", "wang", "li"].iter().map(|name| relay.connect_with(&[("username", name), ("userid", "1")])).collect();
    let online = page("/online?source=demo");
    let head = "当前在线用户列表：<br>用户总数：2<br>会话链接数：3<br><br>li:2<br>wang:1<br><br>";
    let records = online.strip_prefix(head).unwrap_or_else(|| panic!("{online}"));
    let records: Vec<Value> = records
        .strip_suffix("<br>")
        .unwrap()
        .split("<br>")
        .map(|record| serde_json::from_str(record).unwrap())
        .collect();
    assert_eq!(records.iter().filter(|record| record["username"] == "li").count(), 2);
    assert_eq!(page("/today?source=demo"), "当天用户链接数<br>li:2<br>wang:1<br><br> 用户总数：2 会话总数：3");
    assert_eq!(page("/read_connections"), "<p>总连接数：3</p>");
    relay.notify("room", "x");
    let messages = page("/readmsglocation");
    let place = messages.strip_prefix("当前消息分布：<br>").and_then(|rest| rest.strip_suffix("->1<br>")).unwrap();
    assert_eq!(page("/sessionlocation"), format!("当前会话分布：<br>{place}->3<br>"));
    assert!(place.parse::<std::net::Ipv4Addr>().is_ok(), "{place}");
    assert_eq!(page("/refreshpage"), "refreshPage:undefined");
    drop(clients);
    wait_for("all to leave", || (page("/read_connections") == "<p>总连接数：0</p>").then_some(()));
}

/// Browsers get the old pages in a document with language, title and landmark; everything else gets the old bytes.
#[test]
fn browsers_get_old_pages_as_documents() {
    let dir = support::temp_file("documents");
    std::fs::create_dir(&dir).unwrap();
    let relay = Relay::start(&format!("[message_log]\ndir = {dir:?}"));
    let ask = |target: &str, accept: &str| {
        let headers = [("Authorization", format!("Bearer {TOKEN}")), ("Accept", accept.to_owned())];
        relay.request("GET", target, &headers.each_ref().map(|(name, value)| (*name, value.as_str())), b"").body
    };
    let browsers = [
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "text/html,application/xhtml+xml",
    ];
    for (target, title) in [
        ("/online?source=demo", "在线用户"),
        ("/online", "在线用户"),
        ("/today?source=demo", "当天用户"),
        ("/read_connections", "连接数"),
        ("/readmsglocation", "消息分布"),
        ("/sessionlocation", "会话分布"),
        ("/clientlog", "日志"),
        ("/readmsg?source=demo", "日志"),
        ("/refreshpage?room=x", "refreshPage"),
    ] {
        let old = relay.admin(target).body;
        for program in ["*/*", "", "text/html, */*; q=0.01", "text/html", "application/json"] {
            assert_eq!(ask(target, program), old, "{target} {program}");
        }
        for browser in browsers {
            let page = ask(target, browser);
            assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"zh\">\n"), "{page}");
            assert!(
                page.contains(&format!("<title>{title} - relay</title>\n<main>\n<h1>{title}</h1>\n{old}\n</main>")),
                "{page}"
            );
        }
    }
    // The next request of the connection is judged by its own header; errors and JSON are as they were.
    assert_eq!(ask("/api/online?source=demo", browsers[0]), relay.admin("/api/online?source=demo").body);
    assert!(relay.request("GET", "/online", &[("Accept", browsers[0])], b"").body.starts_with("{\"code\":0"));
    drop(relay);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn markup_stays_text() {
    let relay = Relay::start("");
    let evil = "<script>alert(1)</script>&amp;\"'";
    let _client = relay.connect_with(&[("username", evil), ("ext_info", evil), ("userid", evil), ("room_ids", evil)]);
    for target in ["/online?source=demo", "/today?source=demo", "/refreshpage?room=%3Cscript%3E"] {
        let answer = relay.admin(target);
        assert!(!answer.body.contains("<script"), "{target} {}", answer.body);
        assert!(answer.body.contains("&lt;script&gt;"), "{target} {}", answer.body);
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{target}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let list = &relay.admin("/api/online?source=demo").json()["list"][0];
    assert_eq!([&list["username"], &list["ext_info"], &list["room_ids"]], [evil; 3]);
}

#[test]
fn pages_are_refreshed() {
    let relay = Relay::start("");
    let refresh = json!({"event": "refreshPage"});
    let (mut a, mut b, mut both) = (relay.connect("a"), relay.connect("b"), relay.connect("a,b"));
    let rooms = "c";
    let other = [("source", "other"), ("room_ids", rooms), ("sign", &connect_sign("other", rooms, "other key"))];
    let mut other = relay.connect_with(&other);
    let text = relay.connect_with(&[("format", "text"), ("room_ids", "a")]);
    assert_eq!(post(&relay, "/api/refresh", &[("source", "demo"), ("room_id", "a")]), told(2));
    for client in [&mut a, &mut both] {
        assert_eq!(client.json(), refresh);
    }
    assert_eq!(post(&relay, "/api/refresh", &[("source", "demo")]), told(3));
    for client in [&mut a, &mut b, &mut both] {
        assert_eq!(client.json(), refresh);
    }
    assert_eq!(post(&relay, "/api/refresh", &[("all", "1")]), told(4));
    for client in [&mut a, &mut b, &mut both, &mut other] {
        assert_eq!(client.json(), refresh);
    }
    let list = relay.admin("/api/online?source=other").json();
    let socket_id = list["list"][0]["socket_id"].as_str().unwrap();
    assert_eq!(post(&relay, "/api/refresh", &[("socket_id", socket_id)]), told(1));
    assert_eq!(other.json(), refresh);
    assert_eq!(post(&relay, "/api/refresh", &[("source", "demo"), ("room_id", "nobody")]), told(0));
    assert_eq!(post(&relay, "/api/refresh", &[("source", "other"), ("socket_id", socket_id)]), told(1));
    assert_eq!(other.json(), refresh);
    assert_eq!(post(&relay, "/api/refresh", &[("source", "demo"), ("socket_id", socket_id)]), told(0));
    // An incomplete request does nothing: an empty variable in a script must not reload every page.
    for slip in [
        &[][..],
        &[("source", "")],
        &[("source", ""), ("room_id", "a")],
        &[("source", "demo"), ("room_id", "")],
        &[("source", "demo"), ("rooms", "a")],
        &[("source", "demo"), ("source", "demo")],
        &[("room_id", "a"), ("socket_id", socket_id), ("source", "demo")],
        &[("room_id", "a"), ("room", "b"), ("source", "demo")],
        &[("all", "1"), ("source", "demo")],
        &[("all", "0")],
    ] {
        assert_eq!(post(&relay, "/api/refresh", slip)["code"], 0, "{slip:?}");
    }
    assert_eq!(post(&relay, "/api/refresh", &[("source", "nobody")])["msg"], "this source can not be configured!");
    assert_eq!(post(&relay, "/api/refresh", &[("room_id", "a")])["msg"], "source can not be null!");
    // As the old server: the source's name and the room's in one, or a session's.
    let mut clients = [a, b, both, other, text];
    for (query, told) in [
        ("?room=demob", &[1, 2][..]),
        ("?room=demob&source=", &[1, 2]),
        ("?source=demo&room=b", &[1, 2]),
        (&format!("?room={socket_id}"), &[3]),
        ("?source=other", &[3]),
        ("?room=", &[]),
        ("?source=", &[]),
        ("?room=b", &[]),
        ("?source=nobody", &[]),
        ("?source=nobody&room=b", &[]),
        ("?source=other&room=b", &[]),
        ("", &[0, 1, 2, 3]),
    ] {
        assert_eq!(relay.admin(&format!("/refreshpage{query}")).status, 200, "{query}");
        for client in told {
            assert_eq!(clients[*client].json(), refresh, "{query}");
        }
    }
    for client in &mut clients {
        client.silence();
    }
}

/// Where `source` + `room` can be read in two ways, the old pages' room is both; the new call knows which is meant.
#[test]
fn a_room_of_one_source_is_not_anothers() {
    let relay = Relay::start("\n[sources.a]\nsign_key = \"1\"\n[sources.ab]\nsign_key = \"2\"");
    let login = |source: &str, room: &str, key: &str| {
        relay.connect_with(&[("source", source), ("room_ids", room), ("sign", &connect_sign(source, room, key))])
    };
    let (mut a, mut ab) = (login("a", "bc", "1"), login("ab", "c", "2"));
    assert_eq!(post(&relay, "/api/refresh", &[("source", "a"), ("room_id", "bc")]), told(1));
    assert_eq!(a.json()["event"], "refreshPage");
    ab.silence();
    assert_eq!(relay.admin("/refreshpage?room=abc").body, "refreshPage:abc");
    assert_eq!((a.json()["event"].as_str(), ab.json()["event"].as_str()), (Some("refreshPage"), Some("refreshPage")));
}

#[test]
fn sessions_are_ended() {
    let relay = Relay::start("");
    let mut watcher = relay.connect("w");
    let mut first = relay.connect_with(&[("userid", "42"), ("username", "li"), ("room_ids", "w"), ("watch_quit", "1")]);
    let mut second = relay.connect_with(&[("userid", "42"), ("room_ids", "x")]);
    let (poll, _) = Polling::open(&relay, &format!("EIO=4&{}", support::login(&[("userid", "42"), ("room_ids", "p")])));
    let rooms = connect_sign("other", "w", "other key");
    let mut other = relay.connect_with(&[("source", "other"), ("userid", "42"), ("room_ids", "w"), ("sign", &rooms)]);
    poll.post(&["40"]);
    assert!(poll.poll()[0].starts_with("40{"));
    assert_eq!(post(&relay, "/api/disconnect", &[("source", "demo"), ("userid", "42")]), told(3));
    assert_eq!((first.close_code(), second.close_code()), (1008, 1008));
    assert_eq!(watcher.data(), json!({"username": "li", "key": "user_quit", "msg": "li退出群聊"}));
    // Socket.IO is told in its own words, and by them does not come back by itself.
    assert_eq!(poll.poll()[0], "41", "a DISCONNECT");
    other.silence();
    watcher.silence();
    assert_eq!(post(&relay, "/api/disconnect", &[("userid", "")])["msg"], "userid is empty");
    assert_eq!(post(&relay, "/api/disconnect", &[("userid", "42"), ("socket_id", "x")])["code"], 0);
    let id = |source: &str| {
        let list = relay.admin(&format!("/api/online?source={source}")).json();
        list["list"][0]["socket_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(post(&relay, "/api/disconnect", &[("source", "demo"), ("socket_id", &id("other"))]), told(0));
    assert_eq!(post(&relay, "/api/disconnect", &[("socket_id", &id("other"))]), told(1));
    assert_eq!(other.close_code(), 1008);
    let watching = id("demo");
    assert_eq!(post(&relay, "/api/disconnect", &[("socket_id", &watching)]), told(1));
    assert_eq!(post(&relay, "/api/disconnect", &[("socket_id", &watching)]), told(0), "a name is not used again");
    assert_eq!(post(&relay, "/api/disconnect", &[("userid", "42")]), told(0));
    assert_eq!(post(&relay, "/api/disconnect", &[])["msg"], "userid or socket_id can not be null!");
    let answer = relay.post_json(&format!("/api/disconnect?token={TOKEN}"), "{\"userid\":7}");
    assert_eq!(answer.json(), told(0), "numbers are fine");
    assert_eq!(relay.post_json(&format!("/api/disconnect?token={TOKEN}"), "[]").status, 400);
    assert_eq!(relay.request("GET", "/api/disconnect", &[], b"").status, 405);
}

/// Generated at start and logged; it works like a configured one.
#[test]
fn a_token_is_made_where_none_is_set() {
    let relay = Relay::start_with("", |command| {
        let config = support::temp_file("untold.toml");
        let text = format!("listen = [\"127.0.0.1:0\"]\n[sources.demo]\nsign_key = \"{KEY}\"\n");
        std::fs::write(&config, text).unwrap();
        command.arg("--config").arg(config);
    });
    let line = relay.wait_log("the admin token is");
    let token = line.split_once("the admin token is ").unwrap().1.split(' ').next().unwrap();
    assert_eq!(token.len(), 32);
    assert_eq!(relay.get(&format!("/api/stats?token={token}")).status, 200);
    assert_eq!(relay.get("/api/stats?token=").status, 401);
    assert_eq!(relay.get("/api/stats").status, 401);
}
