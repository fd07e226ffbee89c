//! docs/operations.md, Follow what a page logs: `relay console` with lines that js/remote_debug.js has sent from
//! demo/remote_debug.html in Chromium (support/remote_debug.jsonl), and with others that nobody should send.

use serde_json::{Value, json};

use crate::support::{
    Client, KEY, Relay,
    cli::{self, *},
    connect_sign, wait_for,
};

const RECORDS: &str = include_str!("../support/remote_debug.jsonl");
const SOURCE: &str = "[history]\ncount = 100\n[sources.remote_debug]\nsign_key = \"key of the console\"\n";

/// A relay as for pages that are debugged, and a page.
fn relay_and_page() -> (Relay, Client) {
    let relay = Relay::start(SOURCE);
    let page = page(&relay);
    (relay, page)
}

fn page(relay: &Relay) -> Client {
    let sign = connect_sign("remote_debug", "console-log", "key of the console");
    relay.connect_with(&[("source", "remote_debug"), ("room_ids", "console-log"), ("sign", &sign)])
}

fn log(page: &mut Client, record: &str) {
    page.send(&format!("{{\"event\":\"postMsg\",\"ack\":1,\"room_id\":\"console-log\",\"data\":{record}}}"));
    while !page.text().contains("\"ack\":1") {}
}

fn record(user: &str, session: &str, seq: u64, level: &str, text: &str) -> String {
    json!({"kind": "console", "level": level, "args": [text], "user": user, "session": session, "seq": seq,
        "page": "http://shop.example/cart?x=1", "time": 1_795_219_200_123_u64})
    .to_string()
}

/// `relay console`, once it listens.
fn console(relay: &Relay, args: &[&str]) -> Listener {
    let listener = start(relay, args);
    listener.wait_err("listening to console-log of remote_debug");
    listener
}

fn start(relay: &Relay, args: &[&str]) -> Listener {
    let url = format!("http://{}", relay.addr);
    let mut command = cli::relay(&["console", "--url", &url, "--key", "key of the console"]);
    command.args(args).env("TZ", "UTC");
    Listener::spawn(command)
}

#[test]
fn lines_of_a_browser() {
    let (relay, mut page) = relay_and_page();
    let console = console(&relay, &[]);
    RECORDS.lines().for_each(|record| log(&mut page, record));
    let lines = wait_for("all lines", || {
        let lines = console.out.lock().unwrap().clone();
        lines.last().is_some_and(|line| line.contains("missing.png")).then_some(lines)
    });
    let place = "tap7cg /demo/remote_debug.html";
    assert_eq!(lines[0], "— user tap7cg, session i29c03dogt0h, page http://127.0.0.1:4000/demo/remote_debug.html —");
    for expected in [
        format!("00:13:39.727 LOG   {place} hello 42 true null undefined"),
        format!("00:13:40.069 LOG   {place} {{factory_count: 47, cover_city_count: 14}}"),
        format!(
            "00:13:40.321 LOG   {place} nested {{a: {{b: {{c: {{d: {{e: Object {{…}}}}}}}}}}, list: [[1, [2, [3]]]]}}"
        ),
        format!("00:13:40.772 WARN  {place} this is console.warn"),
        format!("00:13:40.774 ERROR {place} this is console.error"),
        "      at Array.forEach (<anonymous>)".into(),
        format!("00:13:41.016 LOG   {place} spring is 7 years old: {{id: 1305}} and more"),
        format!("00:13:41.277 ERROR {place} failed: TypeError: made, not thrown"),
        "      at HTMLButtonElement.<anonymous> (http://127.0.0.1:4000/demo/remote_debug.html:54:94)".into(),
        format!("00:13:41.968 LOG   {place} {{name: \"a\", list: [{{back: ↺ circular, 3 up}}]}}"),
        format!(
            "00:13:42.184 LOG   {place} Map(2) {{\"key\" → {{v: 1}}, {{o: 1}} → 2}} Set(2) [1, \"two\"] \
             1970-01-01T00:00:00.000Z /a+/gi NaN -0 Symbol(s) Uint8Array(3) [1, 2, 3] ƒ Car() \
             Car {{wheels: 4, owner: {{name: \"spring\"}}}} Promise {{…}} Window http://127.0.0.1:4000/demo/remote_debug.html"
        ),
        format!("00:13:44.279 ERROR {place} Failed to load <img> http://127.0.0.1:4000/demo/missing.png?1795997624246"),
    ] {
        assert!(lines.contains(&expected), "{expected}\nis not in\n{}", lines.join("\n"));
    }
    assert!(lines.iter().any(|line| line.ends_with(" more") && line.contains("long long")), "a long text is cut");
    let missing = "— 1 line of \"tap7cg\" did not arrive —";
    assert!(lines.iter().any(|line| line == missing), "the file leaves out the fourth: {}", lines.join("\n"));
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "no colours outside of a terminal");
}

#[test]
fn users_sessions_and_levels() {
    let (relay, mut page) = relay_and_page();
    let of_user = console(&relay, &["--user", "1305"]);
    let of_session = console(&relay, &["--session", "two"]);
    let errors = console(&relay, &["--level", "warn", "--json"]);
    for (user, session, seq, level) in
        [("1305", "one", 1, "log"), ("7", "two", 1, "error"), ("1305", "three", 1, "debug"), ("7", "two", 2, "warn")]
    {
        log(&mut page, &record(user, session, seq, level, &format!("{user} {session} {seq}")));
    }
    let texts = |listener: &Listener, count: usize| -> Vec<String> {
        listener.wait_lines(count).iter().map(|line| line.rsplit("cart ").next().unwrap().to_owned()).collect()
    };
    let page_of =
        |user: &str, session: &str| format!("— user {user}, session {session}, page http://shop.example/cart?x=1 —");
    assert_eq!(texts(&of_user, 4), [&page_of("1305", "one"), "1305 one 1", &page_of("1305", "three"), "1305 three 1"]);
    assert_eq!(texts(&of_session, 3), [&page_of("7", "two"), "7 two 1", "7 two 2"]);
    of_user.wait_err("not shown: lines of user \"7\"");
    let found: Vec<Value> = errors.wait_lines(2).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        found,
        [record("7", "two", 1, "error", "7 two 1"), record("7", "two", 2, "warn", "7 two 2")]
            .map(|text| { serde_json::from_str::<Value>(&text).unwrap() })
    );
}

#[test]
fn what_nobody_should_send() {
    let (relay, mut page) = relay_and_page();
    let console = console(&relay, &[]);
    let json = start(&relay, &["--json"]);
    json.wait_err("listening to");
    let evil = "a\u{1b}]0;x\u{7}\u{202e}b\r\n00:00:00.000 ERROR 1305 /cart made up";
    for record in [
        &*record("u\n\u{9b}31m", "\u{202e}s", 1, "log", evil),
        "\"just text\"",
        r#"{"kind":"console","args":[{"$":"Map","items":7},{"$":"Error","stack":[]}],"level":[],"user":7,"seq":1e300,"time":-1}"#,
        "{\"0\":\"an earlier script\",\"1\":{\"a\":1}}",
    ] {
        log(&mut page, record);
    }
    let lines = wait_for("the last line", || {
        let lines = console.out.lock().unwrap().clone();
        lines.last().is_some_and(|line| line.ends_with("an earlier script {a: 1}")).then_some(lines)
    });
    let all = lines.join("\n");
    assert!(!all.contains(|c: char| c.is_control() && c != '\n') && !all.contains('\u{202e}'), "{lines:?}");
    assert!(lines[1].ends_with("u\\n\\u{9b}31m /cart a\\u{1b}]0;x\\u{7}\\u{202e}b"), "{lines:?}");
    assert_eq!(lines[2], "  00:00:00.000 ERROR 1305 /cart made up", "it is indented");
    assert!(lines[3].ends_with(" LOG   just text") && lines[4].contains(" LOG   7 "), "{lines:?}");
    for line in json.wait_lines(4) {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

/// The lines that were missed come after a reconnect, each once, and a relay that was restarted is found again.
#[test]
fn it_comes_back() {
    let (mut relay, mut page) = relay_and_page();
    let addr = relay.addr.to_string();
    log(&mut page, &record("7", "s", 1, "log", "first"));
    let mut once = console(&relay, &["--since", "all", "--once"]);
    assert_eq!(once.code(), 0);
    assert!(once.wait_lines(2)[1].ends_with("first"));
    let console = console(&relay, &["--since", "all"]);
    console.wait_lines(2);
    drop(page);
    relay.signal(SIGKILL);
    relay.wait();
    console.wait_err("reconnecting in");
    let config = write("console.toml", &Relay::configuration(SOURCE));
    let mut command = cli::relay(&["--listen", &addr]);
    command.arg("--config").arg(&config);
    relay = Relay::spawn(command, config);
    let mut page = self::page(&relay);
    log(&mut page, &record("7", "s", 2, "log", "second"));
    log(&mut page, &record("7", "s", 2, "log", "second"));
    log(&mut page, &record("7", "s", 3, "log", "third"));
    let lines = console.wait_lines(4);
    assert!(lines[2].ends_with("second") && lines[3].ends_with("third"), "{lines:?}");
}

/// With the demo configuration nothing needs to be said, and if nothing arrives it says what the page needs.
#[test]
fn the_demo() {
    let demo = include_str!("../../examples/demo.toml").replace("127.0.0.1:4000", "127.0.0.1:0");
    let config = write("demo.toml", &demo);
    let mut command = cli::relay(&["--config"]);
    command.arg(&config);
    let relay = Relay::spawn(command, config);
    let toml = demo.replace("127.0.0.1:0", &relay.addr.to_string());
    let spawn = |args: &[&str]| {
        let mut command = cli::relay(&["console"]);
        command.args(args).env("RELAY_CONFIG_TOML", &toml);
        Listener::spawn(command)
    };
    let (all, of_user, other) =
        (spawn(&[]), spawn(&["--user", "13\"05"]), spawn(&["--source", "demo", "--room", "log"]));
    let script = format!("  <script src=\"http://{}/js/node_im_remote_debug.js\"", relay.addr);
    all.wait_err("nothing has arrived yet");
    all.wait_err(&format!("{script}></script>"));
    of_user.wait_err("nothing of user \"13\\\"05\" has arrived yet");
    of_user.wait_err(&format!("{script} data-user=\"13&quot;05\"></script>"));
    let sign = connect_sign("demo", "log", KEY);
    other.wait_err(&format!("{script} data-source=\"demo\" data-room=\"log\" data-sign=\"{sign}\"></script>"));
    let sign = connect_sign("remote_debug", "console-log", "5iwdf$%sdfss!#$2334ds(%B)");
    let mut page = relay.connect_with(&[("source", "remote_debug"), ("room_ids", "console-log"), ("sign", &sign)]);
    log(&mut page, &record("7", "s", 1, "log", "hello"));
    assert!(all.wait_lines(2)[1].ends_with("hello"));
}

#[test]
fn wrong_arguments() {
    for (args, why) in [
        (&["--level", "loud"][..], "unknown level \"loud\": expected error, warn, info, log or debug"),
        (&["room"], "unexpected argument \"room\""),
        (&["--since", "yesterday"], "--since \"yesterday\": "),
        (&["--usr", "7"], "did you mean --user?"),
    ] {
        let run = run(&[&["console"], args].concat());
        assert!(run.code == 2 && run.err.contains(why), "{args:?}: {} {}", run.code, run.err);
    }
    let relay = Relay::start(SOURCE);
    let mut refused = start(&relay, &["--key", "wrong"]);
    assert_eq!(refused.code(), 1);
    refused.wait_err("refused the login with status 401");
}
