//! What README shows is run as it stands there, against a relay with the demo setting.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;
use support::{
    Client, Relay,
    redis::{Redis, wait_linked, wait_siblings, wait_until},
    temp_file,
};

const SHOWN: &str = "127.0.0.1:4000";
const ACCEPTED: &str = r#"{"code":1,"msg":"message notify successed!","data":""}"#;

/// The fenced blocks of a language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let fence = format!("```{language}\n");
    let found = readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    found.collect()
}

fn block(language: &str, with: &str) -> String {
    let mut found = blocks(language).into_iter().filter(|block| block.contains(with));
    let block = found.next().unwrap_or_else(|| panic!("README has no {language} block with {with}"));
    assert!(found.next().is_none(), "README has two {language} blocks with {with}");
    block
}

/// A relay with the demo setting, as `cargo run` gives.
fn demo() -> Relay {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.args(["--listen", "127.0.0.1:0"]).env_remove("RELAY_CONFIG");
    Relay::spawn(command, temp_file("none"))
}

/// Runs a program on a text that was shown; what it printed.
fn run(relay: &Relay, program: &str, args: &[&str], text: &str, ending: &str) -> String {
    let file = temp_file(ending);
    fs::write(&file, text.replace(SHOWN, &relay.addr.to_string())).unwrap();
    let output = Command::new(program).args(args).arg(&file).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (tests/run installs it)"));
    fs::remove_file(file).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim_end().to_owned()
}

#[test]
fn curl() {
    let relay = demo();
    let mut client = relay.connect("chat_room");
    assert_eq!(run(&relay, "bash", &["-e"], &block("sh", "hello from curl"), "sh"), ACCEPTED);
    assert_eq!(client.data(), "hello from curl");
    assert_eq!(run(&relay, "bash", &["-e"], &block("sh", "openssl dgst"), "sh"), ACCEPTED);
    assert_eq!(client.data(), "hello, signed well");
}

#[test]
fn publishing_to_redis() {
    let redis = Redis::start();
    let text = block("toml", "redis.lan").replace("a long random secret", support::KEY);
    let text = text.replace("redis://user:password@redis.lan:6379/0", &redis.url());
    let config = temp_file("siblings.toml");
    fs::write(&config, format!("listen = [\"127.0.0.1:0\"]\n[admin]\ntoken = \"t\"\n{text}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.arg("--config").arg(&config);
    let relay = Relay::spawn(command, config);
    wait_linked(&relay);
    let mut client = relay.connect("chat_room");
    let text = block("sh", "redis-cli").replace("redis-cli", &format!("redis-cli -p {}", redis.port));
    run(&relay, "bash", &["-e"], &text, "sh");
    assert_eq!(client.data(), "hello from Redis");
}

#[test]
fn php() {
    let relay = demo();
    let mut client = relay.connect("chat_room");
    let answer = run(&relay, "php", &[], &block("php", "function relay_notify"), "php");
    assert_eq!(answer, ACCEPTED);
    assert_eq!(client.data(), "hello from PHP");
    let address = run(&relay, "php", &[], &block("php", "'room_ids' =>"), "php");
    let path = address.strip_prefix(&format!("ws://{}", relay.addr)).unwrap();
    let mut page = Client::open(relay.tcp(), path).unwrap();
    relay.notify("chat_room", "to the page");
    assert_eq!(page.data(), "to the page");
}

#[test]
fn node() {
    let relay = demo();
    let mut client = relay.connect("chat_room");
    let answer = run(&relay, "node", &[], &block("js", "async function notify"), "js");
    assert!(answer.contains("code: 1"), "{answer}");
    assert_eq!(client.data(), "hello from Node");
}

#[test]
fn c_sharp() {
    let relay = demo();
    let mut client = relay.connect("chat_room");
    let program = temp_file("exe");
    let out = format!("-out:{}", program.display());
    run(&relay, "mcs", &["-r:System.Net.Http", &out], &block("csharp", "class Program"), "cs");
    let output = Command::new("mono").arg(&program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), ACCEPTED, "{output:?}");
    assert_eq!(client.data(), "hello from C#");
    fs::remove_file(program).unwrap();
}

/// The page's address lets it in, and what it sends is understood. (The demo page is tried in a browser.)
#[test]
fn page() {
    let relay = demo();
    let page = block("html", "new WebSocket");
    let address = page.split("const address = '").nth(1).unwrap().split('\'').next().unwrap();
    let mut client = Client::open(relay.tcp(), address.strip_prefix("ws://127.0.0.1:4000").unwrap()).unwrap();
    assert!(page.contains("JSON.stringify({ event: 'postMsg', data, room_ids: 'chat_room' })"));
    client.send(r#"{"event":"postMsg","data":[1],"room_ids":"chat_room"}"#);
    assert_eq!(client.data(), serde_json::json!([1]));
}

#[test]
fn configuration() {
    let shown = blocks("toml");
    assert_eq!(shown.len(), 6);
    for text in shown {
        let file = temp_file("toml");
        fs::write(&file, text).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_relay")).args(["check", "--config"]).arg(&file).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        fs::remove_file(file).unwrap();
    }
}

/// The rights that README names are all that a relay's user at Redis needs: for messages, lists, and who died.
#[test]
fn the_rights_of_a_user_of_redis() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rights = readme.split_once("A user of Redis's needs\n`").unwrap().1.split('`').next().unwrap().to_owned();
    let redis = Redis::start();
    let mut user = vec!["ACL", "SETUSER", "limited", "on", ">pw", "~node.xin.com:*", "&*"];
    user.extend(rights.split_whitespace());
    redis.ask(&user);
    let section = redis.section("").replace("redis://", "redis://limited:pw@");
    assert!(section.contains("limited"), "{section}");
    let (relay, sibling) = (Relay::start(&section), Relay::start(&section));
    wait_siblings(&relay, 1);
    let (mut here, mut there) = (relay.connect("room"), sibling.connect("room"));
    relay.notify("room", "from here");
    sibling.notify("room", "from there");
    for member in [&mut here, &mut there] {
        let mut came = [member.json()["data"].clone(), member.json()["data"].clone()];
        came.sort_by_key(ToString::to_string);
        assert_eq!(came, ["from here", "from there"]);
    }
    let sessions = || relay.admin("/api/online?source=demo").json()["sessions"].clone();
    wait_until(json!(2), sessions);
    // It dies without a word, and what it left is taken out.
    drop((sibling, there));
    wait_siblings(&relay, 0);
    wait_until(json!(1), sessions);
    wait_until(1, || redis.hash("node.xin.com:xin_socket_connections_demo").len());
    assert_eq!(relay.get("/healthz").json()["redis"]["status"], "ok");
    assert!(!relay.log().concat().contains("NOPERM"), "{:?}", relay.log());
}
