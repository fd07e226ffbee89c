//! docs/protocol.md, Running: the command line, exit codes, what `check` says, the tools, and the addresses that relay
//! listens on.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{self, KEY, Relay, cli::*, connect_sign, notify_sign, temp_file};

// Words and exit codes.

#[test]
fn version_and_help() {
    for option in ["--version", "-V"] {
        let run = run(&[option]);
        // The commit only in a binary that `packaging/compile` made.
        let build = run.out.strip_prefix(concat!("relay ", env!("CARGO_PKG_VERSION"), " (")).expect("the version");
        let target = build.strip_suffix(")\n").expect("the target").rsplit(", ").next().expect("the target");
        assert!(target.starts_with(&format!("{}-linux-", std::env::consts::ARCH)), "{target}");
        assert_eq!(run.code, 0);
    }
    for (args, text) in [
        (&["--help"][..], "relay check"),
        (&["-h"], "relay emit EVENT"),
        (&["help"], "--config FILE"),
        (&["help", "serve"], "--listen ADDR"),
        (&["serve", "--help"], "--allow-demo-keys"),
        (&["check", "--help"], "relay check [--config FILE]"),
        (&["sign", "--help"], "relay sign connect ROOMS"),
        (&["notify", "--help"], "relay notify [OPTION]… ROOMS DATA"),
        (&["emit", "--help"], "relay emit EVENT"),
        (&["listen", "--help"], "relay listen [OPTION]… ROOMS…"),
    ] {
        let run = run(args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        assert!(run.out.contains(text), "{args:?}: {}", run.out);
        assert!(run.out.lines().all(|line| line.chars().count() <= 100), "{args:?} fits a terminal");
        // Each help names the exit codes.
        let codes = run.out.split("Exit codes: ").nth(1).unwrap_or_default();
        let mut has = ["0 (", "1 (", "2 (", "78 ("].iter().map(|code| codes.contains(code));
        assert!(args.contains(&"--version") || has.all(|has| has), "{args:?}: {codes}");
    }
}

#[test]
fn a_bad_command_line() {
    for (args, why) in [
        (&["--frobnicate"][..], "--frobnicate"),
        (&["-x"], "-x"),
        (&["frobnicate"], "frobnicate"),
        (&["serve", "now"], "now"),
        (&["check", "--json"], "--json"),
        (&["--config"], "--config"),
        (&["--listen", "4000"], "expected host:port"),
        (&["--listen", "127.0.0.1:65536"], "expected host:port"),
        (&["--listen", "unix:"], "unix"),
        (&["--allow-demo-keys=yes"], "--allow-demo-keys"),
        (&["sign"], "connect, jwt, notify or emit"),
        (&["sign", "connect"], "missing argument: ROOMS"),
        (&["sign", "notify", "room"], "missing argument: DATA"),
        (&["notify", "room", "data", "more"], "more"),
        (&["notify", "room", "data", "--once"], "--once"),
        (&["listen"], "missing argument: ROOMS"),
    ] {
        let run = run(args);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}: {}", run.err);
        assert!(run.err.starts_with("relay: ") && run.err.contains(why), "{args:?}: {}", run.err);
        assert!(run.err.contains("--help"), "{args:?} says where to look: {}", run.err);
    }
}

// Check.

#[test]
fn a_good_configuration() {
    let file = write("good.toml", &Relay::configuration(""));
    let run = run(&["check", "--config", text(&file)]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains(text(&file)) && run.out.contains("2 sources"), "{}", run.out);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/relay.toml");
    assert_eq!(self::run(&["check", "--config", shipped]).code, 0);
}

/// All problems at once, each with its position and the cure. `serve` reports the same.
#[test]
fn a_bad_configuration() {
    let cases = [
        ("listn = []", "1:1: unknown key listn: did you mean listen?"),
        ("[sources.demo]", "is missing"),
        ("sign_key = \"\"", "3:12: sources.demo.sign_key is empty"),
        ("sign = [\"md5\", \"sha1\"]", "4:17: sources.demo.sign: expected \"md5\" or \"hmac-sha256\", not \"sha1\""),
        ("[limits]", ""),
        ("body = \"big\"", "6:9: limits.body must be a whole number of bytes from "),
        ("room_id = 0", "7:11: limits.room_id must be "),
        ("connections = -1", "8:15: limits.connections must be "),
        ("keep_alive = true", "9:14: limits.keep_alive must be a number of seconds from "),
        ("messages = 4", "10:1: unknown key limits.messages: did you mean message?"),
        ("[log]", ""),
        ("level = \"loud\"", "12:10: log.level must be one of \"off\", \"error\", \"warn\", \"info\""),
        ("[websocket]", ""),
        ("path = \"ws\"", "14:9: websocket.path must be a path that begins with /"),
        ("ping_interval = nan", "15:17: websocket.ping_interval must be a number of seconds"),
        ("[colours]", "16:2: unknown key colours: known keys are listen, origins, "),
    ];
    let lines: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    let file = write("bad.toml", &lines.join("\n"));
    let check = run(&["check", "--config", text(&file)]);
    assert_eq!((check.code, check.out.as_str()), (78, ""));
    for (line, problem) in cases.iter().filter(|(_, problem)| problem.starts_with(|c: char| c.is_ascii_digit())) {
        let wanted = format!("{}:{problem}", text(&file));
        assert!(check.err.lines().any(|said| said.starts_with(&wanted)), "{line}: {wanted:?} in {}", check.err);
    }
    assert_eq!(check.err.lines().count(), 12, "{}", check.err);
    let serve = run(&["--config", text(&file)]);
    assert_eq!(serve.code, 78);
    assert!(serve.err.contains(&check.err), "{}", serve.err);
}

#[test]
fn other_bad_configurations() {
    for (content, problem) in [
        ("listen = [\"4000\"]", ":1:12: listen: expected host:port"),
        ("listen = \"127.0.0.1:4000\"", ":1:11: listen must be a list"),
        ("listen = [\"三\", 4]", ":1:16: listen must be a list"),
        ("origins = [\"example.org\"]", ":1:13: origins: expected "),
        ("trusted_proxies = [\"10.0.0.0/33\"]", ":1:21: trusted_proxies: expected "),
        ("sign_window = 0", ":1:15: sign_window must be "),
        ("shutdown_timeout = -1", ":1:20: shutdown_timeout must be "),
        ("a = 1\na = 2", ":2:1: "),
        ("[limits\n", ":1:"),
        ("[sources.demo]\nname = \"x\"", ":1:10: sources.demo.sign_key is missing"),
        ("[sources.\"a b\"]\nsign_key = \"k\"", ":1:11: a source's name "),
        ("[sources.demo]\nsign_key = \"k\"\nsign_key_file = \"f\"", "keep one of them"),
        ("[sources.demo]\nsign_key_file = \"relay-test-nowhere\"", "sources.demo.sign_key_file: "),
        ("[namespaces.app]\nauth = \"open\"", ":1:13: a namespace's name "),
        ("[redis]\nurl = \"http://h\"", ":2:8: redis.url: expected redis://"),
        ("[redis]\nurl = \"rediss://-\"", "redis.url: TLS needs a host name"),
        ("[redis]\npassword_file = \"relay-test-nowhere\"", "redis.password_file: "),
        ("[redis]\nchannel = \"\"", "redis.channel is empty"),
    ] {
        let file = write("bad.toml", content);
        let run = run(&["check", "--config", text(&file)]);
        assert_eq!(run.code, 78, "{content}: {}{}", run.out, run.err);
        let begins = format!("{}:", text(&file));
        assert!(run.err.starts_with(&begins) && run.err.contains(problem), "{content}: {}", run.err);
    }
    let nowhere = temp_file("nowhere.toml");
    let binary = temp_file("binary.toml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    for file in [text(&nowhere), text(&binary), "/"] {
        for command in ["check", "serve"] {
            let run = run(&[command, "--config", file]);
            assert_eq!(run.code, 78, "{command} {file}: {}", run.err);
            assert!(run.err.contains(file), "{command} {file}: {}", run.err);
        }
    }
}

/// Mistyped keys beside a secret, too: secrets are what one writes first.
#[test]
fn a_mistyped_secret() {
    for (content, hint) in [
        ("[sources.demo]\nsign_kye = \"k\"", ":2:1: unknown key sources.demo.sign_kye: did you mean sign_key?"),
        ("[admin]\ntokn = \"t\"", ":2:1: unknown key admin.tokn: did you mean token?"),
        ("[hooks]\nsecrt = \"s\"", ":2:1: unknown key hooks.secrt: did you mean secret?"),
    ] {
        let file = write("bad.toml", content);
        let run = run(&["check", "--config", text(&file)]);
        assert!(run.code == 78 && run.err.contains(hint), "{content}: {}", run.err);
    }
}

/// Problems that only the whole configuration shows have a position, too.
#[test]
fn every_problem_has_its_line() {
    for content in [
        "[sources.demo]\nsign_key_file = \"relay-test-nowhere\"",
        "[sources.demo]\nsign_key_file = \"\"",
        "[sources.demo]\nsign_key_file = \"/dev/null\"",
        "[redis]\nurl = \"http://h\"",
    ] {
        let file = write("bad.toml", content);
        let run = run(&["check", "--config", text(&file)]);
        assert_eq!(run.code, 78, "{content}");
        assert!(run.err.contains(&format!("{}:2:", text(&file))), "{content}: {}", run.err);
    }
}

/// Without an address to listen on it does not start, unless the command line or systemd gives one.
#[test]
fn nowhere_to_listen() {
    let file = write("empty.toml", "listen = []\n[sources.a]\nsign_key = \"k\"");
    let run = run(&["serve", "--config", text(&file)]);
    assert!(run.code == 78 && run.err.contains("listen"), "{}: {}", run.code, run.err);
    let relay = Relay::spawn(relay(&["--config", text(&file), "--listen", "127.0.0.1:0"]), file);
    assert_eq!(relay.get("/healthz").status, 200);
}

#[test]
fn where_the_configuration_comes_from() {
    let (good, bad) = (write("good.toml", "[sources.a]\nsign_key = \"k\""), write("bad.toml", "[sources.b]"));
    let check = |variable: &Path, args: &[&str]| run_command(relay(args).env("RELAY_CONFIG", variable));
    assert_eq!(check(&good, &["check"]).code, 0);
    let run = check(&bad, &["check"]);
    assert!(run.code == 78 && run.err.contains(text(&bad)), "{}", run.err);
    assert_eq!(check(&bad, &["check", "--config", text(&good)]).code, 0);
    assert_eq!(check(&bad, &["serve"]).code, 78);
    assert_eq!(check(&bad, &["sign", "connect", "room"]).code, 78);
    // The key of a source comes from there too.
    let run = check(&good, &["sign", "connect", "room", "--source", "a", "--hex"]);
    assert_eq!(run.out.trim(), connect_sign("a", "room", "k"));
}

// Sign.

#[test]
fn md5_signatures() {
    let md5sum = |input: &str| filter("md5sum", &[], input)[..32].to_owned();
    let key_file = write("key", "a key\n");
    for (rooms, data, key) in [("room", "hello", KEY), ("a,b", "三 & more", "a key"), ("三", "[1]", "k")] {
        let run = run(&["sign", "connect", rooms, "--key", key, "--source", "shop", "--hex"]);
        assert_eq!((run.code, run.out.trim()), (0, md5sum(&format!("shop{rooms}{key}")).as_str()), "{}", run.err);
        let run = self::run(&["sign", "notify", rooms, data, "--key", key, "--hex"]);
        assert_eq!((run.code, run.out.trim()), (0, md5sum(&format!("demo{rooms}{data}{key}")).as_str()));
    }
    let run = run(&["sign", "notify", "room", "x", "--key-file", text(&key_file)]);
    assert_eq!(run.out, format!("sign={}\n", md5sum("demoroomxa key")));

    let mut command = relay(&["sign", "notify", "room", "-", "--key", "k", "--hex"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all("from\nstdin".as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8(out).unwrap().trim(), md5sum("demoroomfrom\nstdink"));
}

/// `check` reads only what ends, and warns about what serve would accept.
#[test]
fn check_refuses_endless_files_and_warns_about_weak_ones() {
    let fifo = temp_file("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let key = write("key.toml", &format!("[sources.a]\nsign_key_file = \"{}\"\n", text(&fifo)));
    for command in ["check", "serve"] {
        for (path, why) in
            [(&*fifo, "it is a FIFO"), (Path::new("/dev/zero"), "it is a device"), (&key, "it is a FIFO")]
        {
            let run = run(&[command, "--config", text(path)]);
            assert!(run.code == 78 && run.err.contains(why), "{command} {path:?}: {} {}", run.code, run.err);
        }
    }
    fs::remove_file(fifo).unwrap();
    // A directory that everybody may enter: the modes of files in others do not matter.
    let folder = temp_file("modes");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let good = "0123456789abcdef";
    for (body, mode, warnings) in [
        (format!("[sources.a]\nsign_key = \"{good}\"\n"), 0o600, &[][..]),
        (format!("[sources.a]\nsign_key = \"{good}\"\n"), 0o644, &["can read the keys in"]),
        (format!("[sources.a]\nsign_key = \"{good}\"\n"), 0o622, &["can change"]),
        (
            "[sources.a]\nsign_key = \"k\"\n[sources.b]\nsign_key = \"k\"\n".into(),
            0o600,
            &["fewer than 16", "share a key"],
        ),
        (String::new(), 0o600, &["nobody can connect"]),
    ] {
        let file = folder.join("relay.toml");
        fs::write(&file, &body).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let run = run(&["check", "--config", text(&file)]);
        assert_eq!((run.code, run.err.lines().count()), (0, warnings.len()), "{body}: {}", run.err);
        let prefix = format!("{}: warning: ", text(&file));
        assert!(
            run.err.lines().zip(warnings).all(|(line, why)| line.starts_with(&prefix) && line.contains(why)),
            "{}",
            run.err
        );
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn hmac_signatures() {
    let hmac = |key: &str, input: &str| {
        let script =
            "import hmac,sys;print(hmac.new(sys.argv[1].encode(),sys.stdin.buffer.read(),'sha256').hexdigest())";
        filter("python3", &["-c", script, key], input).trim().to_owned()
    };
    let run = |args: &[&str]| run(&[args, &["--hmac", "--key", KEY]].concat()).out;
    let out = run(&["sign", "connect", "a,b", "--userid", "7", "--ts", "1700000000", "--hex"]);
    assert_eq!(out.trim(), hmac(KEY, "connect\ndemo\n7\na,b\n1700000000"));
    let out = run(&["sign", "notify", "room", "三", "--ts", "1700000000"]);
    let sign = hmac(KEY, "notify\ndemo\nroom\n1700000000\n三");
    assert_eq!(out, format!("sign_type=hmac-sha256&ts=1700000000&sign={sign}\n"));

    // With the current time the signature is accepted.
    let relay = Relay::start("");
    let fields = run(&["sign", "connect", "room", "--userid", "7"]);
    let query = format!("/ws?source=demo&room_ids=room&userid=7&{}", fields.trim());
    support::Client::open(relay.tcp(), &query).expect("it is right");
}

#[test]
fn a_key_that_is_not_known() {
    let run = run(&["sign", "connect", "room", "--source", "nobody"]);
    assert!(run.code == 1 && run.err.contains("nobody") && run.err.contains("--key"), "{}", run.err);
}

// Notify.

#[test]
fn notify() {
    let relay = Relay::start("");
    let mut client = relay.connect("room,三");
    let url = format!("http://{}", relay.addr);
    let notify = |args: &[&str]| run(&[&["notify", "--url", &url, "--key", KEY], args].concat());
    let accepted = "{\"code\":1,\"msg\":\"message notify successed!\",\"data\":\"\"}\n";
    for (args, data) in [
        (&["room", "hello"][..], json!("hello")),
        (&["room", "a & b = 三\n"], json!("a & b = 三\n")),
        (&["room", "[1]"], json!("[1]")),
        (&["room", "[1, {\"a\": null}]", "--json"], json!([1, {"a": null}])),
        (&["room", "\"a \\u4e09 string\"", "--json"], json!("a 三 string")),
        (&["room", "hello", "--hmac"], json!("hello")),
        (&["room", "[1]", "--hmac", "--json"], json!([1])),
        (&["--room-id", "room", "--data", "hello"], json!("hello")),
    ] {
        let run = notify(args);
        assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, accepted, ""), "{args:?}");
        assert_eq!(client.data(), data, "{args:?}");
    }
    notify(&["room,三", "both"]);
    assert_eq!((client.data(), client.data()), (json!("both"), json!("both")));

    let run = run(&["notify", "room", "x", "--url", &url, "--key", "wrong"]);
    assert_eq!(run.code, 1);
    assert!(run.out.starts_with("{\"code\":0,\"msg\":\"api notify sign verify failed!\",\"data\":\"\",\"reason\":"));
    let run = notify(&["room", "{", "--json"]);
    assert!(run.code == 1 && run.err.contains("JSON"), "{}", run.err);
    client.silence();

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let run = self::run(&["notify", "room", "x", "--url", &free, "--key", KEY]);
    assert!(run.code == 1 && run.err.contains("refused") && run.err.contains(&free), "{}", run.err);
    let run = self::run(&["notify", "room", "x", "--url", "ftp://relay.example", "--key", KEY]);
    assert!(run.code == 1 && run.err.contains("https"), "{}", run.err);
}

// Listen.

#[test]
fn listen_prints_a_line_for_each_message() {
    let relay = Relay::start("");
    let listener = Listener::start(&relay, &["room", "三", "--userid", "9", "--username", "ear"]);
    listener.wait_err("listening to room,三");
    relay.notify("room", "hello");
    relay.notify("三", "two\nlines \u{1b}[31m");
    relay.notify("elsewhere", "not for us");
    let value = r#"{"a":[1,"三"]}"#;
    let sign = notify_sign("demo", "room", value, KEY);
    let body = format!(r#"{{"source":"demo","room_id":"room","sign":"{sign}","data":{value}}}"#);
    assert_eq!(relay.post_json("/api/notify", &body).json()["code"], 1);
    let lines = listener.wait_lines(3);
    assert_eq!(lines[0], "room\thello");
    assert_eq!(lines[1], "三\ttwo\\nlines \\u{1b}[31m");
    let (room, data) = lines[2].split_once('\t').unwrap();
    assert_eq!((room, serde_json::from_str::<Value>(data).unwrap()), ("room", json!({"a": [1, "三"]})));

    let mut raw = Listener::start(&relay, &["room", "--json", "--once", "--hmac"]);
    raw.wait_err("listening to room");
    relay.notify("room", "as it came");
    let message: Value = serde_json::from_str(&raw.wait_lines(1)[0]).unwrap();
    assert_eq!((&message["event"], &message["data"]), (&json!("newMsg"), &json!("as it came")));
    assert_eq!(raw.code(), 0, "one is all it wants");
    assert_eq!(listener.wait_lines(4)[3], "room\tas it came");
}

/// It reconnects however the connection ended, and gives up when it is refused.
#[test]
fn listen_comes_back() {
    let mut relay = Relay::start("shutdown_timeout = 1");
    let addr = relay.addr.to_string();
    let mut listener = Listener::start(&relay, &["room"]);
    for (round, signal) in [SIGKILL, SIGTERM].into_iter().enumerate() {
        listener.wait_err_times("listening to room", round + 1);
        relay.notify("room", &format!("round {round}"));
        assert_eq!(listener.wait_lines(round + 1)[round], format!("room\tround {round}"));
        relay.signal(signal);
        relay.child.wait().unwrap();
        thread::sleep(Duration::from_millis(100));
        let config = write("again.toml", &Relay::configuration("shutdown_timeout = 1"));
        let mut command = self::relay(&["--listen", &addr]);
        command.arg("--config").arg(&config);
        relay = Relay::spawn(command, config);
    }
    listener.wait_err_times("listening to room", 3);
    relay.notify("room", "the last");
    assert_eq!(listener.wait_lines(3)[2], "room\tthe last");
    // With another key, its login is refused.
    relay.signal(SIGKILL);
    relay.child.wait().unwrap();
    let config = write("other.toml", &Relay::configuration("").replace(KEY, "another key"));
    let mut command = self::relay(&["--listen", &addr]);
    command.arg("--config").arg(&config);
    let _relay = Relay::spawn(command, config);
    assert_eq!(listener.code(), 1);
    listener.wait_err("sign verify failed!");
}

#[test]
fn listen_ends_when_it_is_refused() {
    let relay = Relay::start("");
    let mut refused = Listener::start(&relay, &["room", "--key", "wrong"]);
    assert_eq!(refused.code(), 1);
    refused.wait_err("sign verify failed!: sign was not made from these fields with the key of the source");
    // The key of the relay is public, so that it explains.
    refused.wait_err("no known mistake produces this signature");
    let wrong = run(&["notify", "room", "x", "--url", &relay.addr.to_string(), "--key", "wrong"]);
    assert!(wrong.code == 1 && wrong.err.contains("sign verify failed!: sign was not made"), "{}", wrong.err);
    let mut stranger = Listener::start(&relay, &["room", "--source", "nobody"]);
    assert_eq!(stranger.code(), 1);
    stranger.wait_err("this source can not be configured!");
    assert_eq!(relay.counter("logins_refused"), 2, "it asked once");
}

// Where relay listens.

#[test]
fn listen_on_the_command_line_replaces_the_configuration_s() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = write("relay.toml", &Relay::configuration(&format!("listen = [\"{free}\"]")));
    let mut command = relay(&["serve", "--listen", "127.0.0.1:0", "--listen=localhost:0"]);
    command.arg("--config").arg(&config);
    let relay = Relay::spawn(command, config);
    let addresses = relay.addresses(2);
    assert!(TcpStream::connect(free).is_err());
    for address in &addresses {
        assert!(!address.ends_with(":0"), "the real port is named: {address}");
        let mut stream = TcpStream::connect(address).unwrap();
        assert_eq!(healthz(&mut stream).status, 200);
    }
}

#[test]
fn both_families() {
    let config = write("relay.toml", &Relay::configuration("").replace(KEY, "k"));
    let mut command = relay(&["--listen", "[::]:0"]);
    command.arg("--config").arg(&config);
    let relay = Relay::spawn(command, config);
    for host in ["127.0.0.1", "::1"] {
        let mut stream = TcpStream::connect((host, relay.addr.port())).unwrap();
        assert_eq!(healthz(&mut stream).status, 200, "{host}");
    }
}

#[test]
fn a_unix_socket() {
    let path = temp_file("socket");
    let address = format!("unix:{}", text(&path));
    let mut first = Relay::start(&format!("listen = [\"{address}\"]"));
    assert_eq!(first.addresses(1), [address.as_str()]);
    let ask = || healthz(&mut UnixStream::connect(&path).unwrap()).status;
    assert_eq!(ask(), 200);
    let run = run(&["notify", "room", "x", "--url", &address, "--key", KEY]);
    assert_eq!(run.code, 0, "{}", run.err);
    let ear = Listener::spawn(self::relay(&["listen", "room", "--url", &address, "--key", KEY]));
    ear.wait_err("listening to room");
    assert_eq!(self::run(&["notify", "room", "hello", "--url", &address, "--key", KEY]).code, 0);
    assert_eq!(ear.wait_lines(1), ["room\thello"]);
    drop(ear);

    // While a relay listens there, a second one does not start and leaves the file alone.
    let config = write("relay.toml", &Relay::configuration(&format!("listen = [\"{address}\"]")));
    let run = self::run(&["--config", text(&config)]);
    assert!(run.code == 1 && run.err.contains(text(&path)) && run.err.contains("in use"), "{}", run.err);
    assert_eq!(ask(), 200);

    // A file left by a killed relay is replaced. An ordinary end removes it.
    first.signal(SIGKILL);
    first.child.wait().unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let mut command = self::relay(&[]);
    command.arg("--config").arg(&config);
    let mut second = Relay::spawn(command, config);
    assert_eq!(ask(), 200);
    second.signal(SIGTERM);
    assert_eq!(second.wait(), 0);
    assert!(!path.exists());
}

/// A relay whose accept queue is full still owns its socket: starting a second one neither waits nor removes the file.
#[test]
fn a_unix_socket_with_a_full_queue_is_in_use() {
    let path = temp_file("socket");
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    busy.listen(0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let run = run(&["--listen", &format!("unix:{}", text(&path))]);
    assert!(run.code == 1 && run.err.contains("in use"), "{}: {}", run.code, run.err);
    assert!(path.exists());
    let _ = fs::remove_file(path);
}

/// Any other kind of file stays.
#[test]
fn a_file_in_the_place_of_a_socket_stays() {
    let path = write("precious", "precious");
    let run = run(&["--listen", &format!("unix:{}", text(&path))]);
    assert!(run.code == 1 && run.err.contains(text(&path)), "{}: {}", run.code, run.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn an_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = run(&["--listen", &address]);
    assert_eq!(run.code, 1);
    let line = run.err.lines().last().unwrap();
    assert!(line.contains(&address) && line.to_lowercase().contains("in use"), "{line}");
}

#[test]
fn an_address_that_is_not_ours() {
    for address in ["192.0.2.1:0", "no-such-host.invalid:80", "unix:/nowhere/at/all"] {
        let config = write("relay.toml", &Relay::configuration("").replace(KEY, "k"));
        let run = run(&["--config", text(&config), "--listen", address]);
        assert!(run.code == 1 && run.err.contains(address), "{address}: {} {}", run.code, run.err);
    }
}

// The demo setting.

#[test]
fn the_demo_setting_is_loud() {
    let relay = Relay::spawn(relay(&["--listen", "127.0.0.1:0"]), temp_file("none"));
    let line = relay.wait_log("DEMO");
    assert!(line.contains("WARN") && line.contains("public"), "{line}");
    relay.connect("room");
    let sign = connect_sign("remote_debug", "console-log", "5iwdf$%sdfss!#$2334ds(%B)");
    relay.connect_with(&[("source", "remote_debug"), ("room_ids", "console-log"), ("sign", &sign)]);
    relay.notify("room", "x");
}

#[test]
fn demo_keys_need_loopback() {
    let demo = write("relay.toml", &format!("[sources.other]\nsign_key = \"{KEY}\""));
    let in_file = temp_file("demo.key");
    fs::write(&in_file, format!("{KEY}\n")).unwrap();
    let by_file = write("relay.toml", &format!("[sources.other]\nsign_key_file = \"{}\"", text(&in_file)));
    let own = write("relay.toml", "[sources.other]\nsign_key = \"k\"");
    for args in [&[][..], &["--config", text(&demo)], &["--config", text(&by_file)]] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let run = run(&[args, &["--listen", "127.0.0.1:0", "--listen", address]].concat());
            assert_eq!(run.code, 78, "{args:?}: {}", run.err);
            assert!(run.err.contains("demo key") && run.err.contains("--allow-demo-keys"), "{}", run.err);
            assert!(!run.err.contains("listening on"), "{}", run.err);
        }
    }
    for args in [&["--allow-demo-keys"][..], &["--config", text(&own)]] {
        let relay = Relay::spawn(relay(&[args, &["--listen", "0.0.0.0:0"]].concat()), temp_file("none"));
        assert_eq!(relay.get("/healthz").status, 200);
    }
    let path = temp_file("socket");
    let relay = Relay::spawn(relay(&["--listen", &format!("unix:{}", text(&path))]), temp_file("none"));
    assert_eq!(healthz(&mut UnixStream::connect(&path).unwrap()).status, 200);
    drop(relay);
    let _ = fs::remove_file(path);
}
