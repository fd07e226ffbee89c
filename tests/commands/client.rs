//! docs/getting-started.md, The command-line client: what `notify`, `emit`, `listen` and `sign` find in the configuration of
//! this machine, and what they say when they fail.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    self, KEY, Relay, TOKEN,
    cli::{self, *},
    login, temp_file,
};

const ACCEPTED: &str = "{\"code\":1,\"msg\":\"message notify successed!\",\"data\":\"\"}\n";

/// A relay that listens on a free port, as its configuration says.
fn configured(more: &str) -> Relay {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Relay::start(&format!("listen = [\"127.0.0.1:{port}\"]\n{more}"))
}

/// Runs a command with this configuration in its environment.
fn with(config: &Path, args: &[&str]) -> Run {
    run_command(relay(args).env("RELAY_CONFIG", config))
}

/// The arguments of an event `news`, as a plain client gets them (docs/protocol.md, Frames to the client).
fn arguments(event: &Value) -> Value {
    assert_eq!(event["event"], "news");
    match event.get("args") {
        Some(args) => args.clone(),
        None => event.get("data").map_or(json!([]), |data| json!([data])),
    }
}

/// On the machine of a relay nothing but the message is needed: address, source, key and scheme are in the configuration.
#[test]
fn everything_is_in_the_configuration() {
    let relay = configured("");
    let mut member = relay.connect("chat_room");
    let ear = Listener::spawn({
        let mut command = cli::relay(&["listen", "chat_room"]);
        command.env("RELAY_CONFIG", &relay.config);
        command
    });
    ear.wait_err("listening to chat_room of demo at http://127.0.0.1:");
    let config = text(&relay.config);
    for (number, args) in [
        &["notify", "--room", "chat_room", "0"][..],
        &["notify", "chat_room", "1", "--config", config],
        &["notify", "--room-id", "chat_room", "--data", "2"],
        &["notify", "chat_room", "3", "--source", "demo", "--hmac"],
        &["notify", "chat_room", "4", "--token", TOKEN],
        &["notify", "chat_room", "5", "--key", KEY],
    ]
    .into_iter()
    .enumerate()
    {
        let run = with(&relay.config, args);
        assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, ACCEPTED, ""), "{args:?}");
        assert_eq!(member.data(), number.to_string(), "{args:?}");
    }
    assert_eq!(ear.wait_lines(6)[5], "chat_room\t5");
    // --config wins over the environment.
    let bad = write("bad.toml", "x");
    assert_eq!(with(&bad, &["notify", "chat_room", "6", "--config", config]).code, 0);
    let run = with(&bad, &["notify", "chat_room", "6"]);
    assert!(run.code == 78 && run.err.contains(text(&bad)), "{}", run.err);
    // With everything on the command line, the configuration is not read.
    let url = format!("http://{}", relay.addr);
    assert_eq!(with(&bad, &["notify", "chat_room", "7", "--url", &url, "--key", KEY]).code, 0);
    assert_eq!((member.data(), member.data()), (json!("6"), json!("7")));
}

/// The commands send the key, whichever way they send the rest.
#[test]
fn repeated_commands() {
    let relay = configured("");
    let mut member = relay.connect_with(&[("room_ids", "room")]);
    let run = |args: &[&str], key: &str| {
        let run = with(&relay.config, &[args, &["--idempotency-key", key]].concat());
        (run.code, run.out)
    };
    for (args, data) in [
        (&["notify", "room", "as a form"][..], json!("as a form")),
        (&["notify", "room", "{\"n\":1}", "--json", "--hmac"], json!({"n": 1})),
    ] {
        for _ in 0..2 {
            assert_eq!(run(args, args[2]), (0, ACCEPTED.to_owned()), "{args:?}");
        }
        assert_eq!(member.data(), data);
        let (code, out) = run(&["notify", "room", "other"], args[2]);
        assert!(code == 1 && out.contains("idempotency_key was used for another request!"), "{out}");
    }
    let first = run(&["emit", "news", "x", "--room", "room"], "emit");
    assert_eq!(first.0, 0, "{}", first.1);
    assert_eq!(run(&["emit", "news", "x", "--room", "room"], "emit"), first);
    assert_eq!(arguments(&member.json()), json!(["x"]));
    relay.notify("room", "nothing more came");
    assert_eq!(member.data(), "nothing more came");
}

/// A relay that only listens on a Unix socket, at another path for WebSockets, with one source that refuses md5.
#[test]
fn a_unix_socket_and_another_scheme() {
    let (socket, key) =
        (temp_file("socket"), write("key", "\u{feff}0123456789abcdef\n".trim_start_matches('\u{feff}')));
    let config = write(
        "relay.toml",
        &format!(
            "listen = [\"unix:{}\"]\n[sources.shop]\nsign_key_file = \"{}\"\nsign = [\"hmac-sha256\"]\n[websocket]\npath = \"/live\"\n",
            text(&socket),
            text(&key)
        ),
    );
    let _relay = Relay::spawn(relay(&["--config", text(&config)]), config.clone());
    let mut command = relay(&["listen", "room", "--once"]);
    command.env("RELAY_CONFIG", &config);
    let mut ear = Listener::spawn(command);
    ear.wait_err(&format!("listening to room of shop at unix:{}", text(&socket)));
    let run = with(&config, &["notify", "room", "hello"]);
    assert_eq!((run.code, run.out.as_str()), (0, ACCEPTED), "{}", run.err);
    assert_eq!((ear.wait_lines(1), ear.code()), (vec!["room\thello".into()], 0));
    let run = with(&config, &["emit", "e", "--room", "room"]);
    assert_eq!(
        (run.code, run.out.as_str()),
        (0, "{\"code\":1,\"msg\":\"\",\"data\":{\"sessions\":0}}\n"),
        "{}",
        run.err
    );
    assert!(with(&config, &["sign", "notify", "room", "x"]).out.starts_with("sign_type=hmac-sha256&ts="));
}

#[test]
fn emit() {
    let relay = configured("[namespaces.\"/lobby\"]\nauth = \"open\"\nsource = \"demo\"\njoin = true\n");
    let mut member = relay.connect_with(&[("room_ids", "room"), ("userid", "7")]);
    let mut other = relay.connect_with(&[("room_ids", "other"), ("userid", "8")]);
    let path = format!("/ws?{}", login(&[("nsp", "/lobby"), ("room_ids", "room"), ("userid", "7")]));
    let mut guest = support::Client::open(relay.tcp(), &path).unwrap();
    let emit = |args: &[&str]| {
        let run = with(&relay.config, &[&["emit"], args].concat());
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}: {}", run.out);
        serde_json::from_str::<Value>(&run.out).unwrap()["data"]["sessions"].clone()
    };
    let mut got = |args: Value| {
        assert_eq!(arguments(&member.json()), args);
    };
    assert_eq!(emit(&["news", "hello", "2", "--room", "room"]), 1);
    got(json!(["hello", "2"]));
    assert_eq!(emit(&["news", "{\"n\":1.50}", "[2]", "null", "--json", "--userid", "7", "--hmac"]), 1);
    got(json!([{"n": 1.50}, [2], null]));
    assert_eq!(emit(&["news", "--userid", "7", "--token", TOKEN]), 1);
    got(json!([]));
    assert_eq!(emit(&["news", "三 \"", "--all"]), 2);
    got(json!(["三 \""]));
    assert_eq!(arguments(&other.json()), json!(["三 \""]));
    assert_eq!(emit(&["news", "--room", "room", "--nsp", "/lobby", "--", "-5"]), 1);
    assert_eq!(arguments(&guest.json()), json!(["-5"]));
    // From standard input, and to a session.
    let online = relay.admin("/api/online?source=demo&userid=8").json();
    let socket_id = online["list"][0]["socket_id"].as_str().unwrap().to_owned();
    let mut command = cli::relay(&["emit", "news", "-", "--json", "--socket-id", &socket_id]);
    command.env("RELAY_CONFIG", &relay.config).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b" {\"from\": \"stdin\"}\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(arguments(&other.json()), json!([{"from": "stdin"}]));
    member.silence();
    // The signature that sign makes is the one that emit sends.
    let run = with(&relay.config, &["sign", "emit", "news", "x", "--room", "room"]);
    let body = format!("source=demo&room_id=room&event=news&args=%5B%22x%22%5D&{}", run.out.trim());
    let answer = relay.request("POST", "/api/emit", &[("Content-Type", support::FORM)], body.as_bytes());
    assert_eq!(answer.json()["code"], 1, "{}", run.out);

    let run = with(&relay.config, &["emit", "news", "{", "--json", "--all"]);
    assert!(run.code == 1 && run.err.contains("ARG is not valid JSON"), "{}", run.err);
    let run = with(&relay.config, &["emit", "connect", "--all"]);
    assert!(run.code == 1 && run.err.contains("refused: this event's name belongs to Socket.IO!"), "{}", run.err);
    let run = with(&relay.config, &["emit", "news", "--all", "--token", "wrong"]);
    assert!(run.code == 1 && run.err.contains("status 401: the admin token is missing or wrong"), "{}", run.err);
}

/// Without a key for the source, the admin token of the configuration is used. It is never sent to the address of `--url`.
#[test]
fn the_token_of_the_configuration() {
    let relay = configured("[namespaces.\"/lobby\"]\nauth = \"open\"\nsource = \"lobby\"\njoin = true\n");
    let path = format!("/ws?{}", login(&[("nsp", "/lobby"), ("room_ids", "room")]));
    let mut guest = support::Client::open(relay.tcp(), &path).unwrap();
    let run = with(&relay.config, &["notify", "room", "hello", "--source", "lobby"]);
    assert_eq!((run.code, run.out.as_str()), (0, ACCEPTED), "{}", run.err);
    assert!(
        run.err.contains("the admin token takes the place of the key: ") && run.err.lines().count() == 1,
        "{}",
        run.err
    );
    assert!(run.err.contains("the configuration has no source \"lobby\""), "{}", run.err);
    assert_eq!(guest.data(), "hello");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = elsewhere.local_addr().unwrap().to_string();
    let run = with(&relay.config, &["notify", "room", "hello", "--source", "lobby", "--url", &url]);
    assert!(
        run.code == 1 && run.err.contains("no source \"lobby\"") && run.err.contains("has demo, other"),
        "{}",
        run.err
    );
    assert!(elsewhere.accept().is_err());
    // Nor does it log in.
    let run = with(&relay.config, &["listen", "room", "--source", "lobby"]);
    assert!(run.code == 1 && run.err.contains("no source \"lobby\""), "{}", run.err);
}

/// One source is the default whatever its name is; of several, the one that is meant must be named.
#[test]
fn the_source() {
    let one = write("one.toml", "[sources.shop]\nsign_key = \"k\"");
    let sign = |config: &Path, args: &[&str]| with(config, &[&["sign", "connect", "room", "--hex"], args].concat());
    assert_eq!(sign(&one, &[]).out.trim(), support::connect_sign("shop", "room", "k"));
    let two = write("two.toml", "[sources.shop]\nsign_key = \"k\"\n[sources.forum]\nsign_key = \"l\"");
    let run = sign(&two, &[]);
    assert!(run.code == 1 && run.err.contains("has forum, shop): choose one with --source"), "{}", run.err);
    assert_eq!(sign(&two, &["--source", "forum"]).out.trim(), support::connect_sign("forum", "room", "l"));
    let run = sign(&two, &["--source", "nobody"]);
    assert!(
        run.code == 1 && run.err.contains("no source \"nobody\"") && run.err.contains("has forum, shop"),
        "{}",
        run.err
    );
    let none = write("none.toml", "");
    let run = sign(&none, &[]);
    assert!(run.code == 1 && run.err.contains("add a table [sources.NAME]"), "{}", run.err);
}

/// Keys come from regular files of bounded size. A key that cannot be read matters only to its own source.
#[test]
fn key_files() {
    let fifo = temp_file("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (empty, huge) = (write("empty", " \n"), temp_file("huge"));
    fs::File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    for (file, why) in [
        ("/dev/zero", "it is a device"),
        (text(&fifo), "it is a FIFO"),
        ("/", "it is a directory"),
        (text(&empty), "the file is empty"),
        (text(&huge), "it is too large"),
        ("/nowhere/at/all", "No such file"),
    ] {
        for option in ["--key-file", "--token-file"] {
            if option == "--key-file" {
                let run = run(&["sign", "connect", "room", option, file]);
                assert!(run.code == 1 && run.err.contains(why) && run.err.contains(file), "{file}: {}", run.err);
            }
            let run = run(&["notify", "room", "x", "--url", "127.0.0.1:1", option, file]);
            assert!(run.code == 1 && run.err.contains(why), "{file}: {}", run.err);
        }
    }
    fs::remove_file(fifo).unwrap();
    fs::remove_file(huge).unwrap();
    let config = write(
        "relay.toml",
        "[sources.a]\nsign_key_file = \"relay-test-nowhere\"\n[sources.b]\nsign_key = \"k\"\n[admin]\ntoken_file = \"nor-here\"\n",
    );
    let sign = |source: &str| with(&config, &["sign", "connect", "room", "--hex", "--source", source]);
    assert_eq!(sign("b").out.trim(), support::connect_sign("b", "room", "k"));
    let run = sign("a");
    assert!(run.code == 1 && run.err.contains("the key of source \"a\" is unknown"), "{}", run.err);
    assert!(run.err.contains("relay-test-nowhere: No such file") && run.err.contains("--key-file"), "{}", run.err);
    assert!(!run.err.contains("root"), "root would not find it either: {}", run.err);
    let run = with(&config, &["notify", "room", "x", "--source", "a"]);
    assert!(run.code == 1 && run.err.contains("the key of source \"a\" is unknown"), "{}", run.err);
}

/// A relay that does not run, and addresses that lead to something else.
#[test]
fn nobody_answers() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = write("relay.toml", &format!("listen = [\"{free}\"]\n[sources.a]\nsign_key = \"k\""));
    for command in [&["notify", "room", "x"][..], &["emit", "e", "--all"]] {
        let run = with(&config, command);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{}", run.err);
        for part in [&free, "refused", "is relay running", text(&config), "--url"] {
            assert!(run.err.contains(part), "{part:?} is not in {}", run.err);
        }
    }
    let config = write("relay.toml", "listen = [\"unix:/nowhere/relay.sock\"]\n[sources.a]\nsign_key = \"k\"");
    let run = with(&config, &["notify", "room", "x"]);
    assert!(run.code == 1 && run.err.contains("unix:/nowhere/relay.sock: No such file"), "{}", run.err);
    assert!(run.err.contains("is relay running"), "{}", run.err);
    let config = write("relay.toml", "listen = [\"127.0.0.1:0\"]\n[sources.a]\nsign_key = \"k\"");
    let run = with(&config, &["notify", "room", "x"]);
    assert!(run.code == 1 && run.err.contains("port 0") && run.err.contains("--url"), "{}", run.err);
    // Another server.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = other.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        for answer in ["HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "220 smtp ready\r\n"] {
            let (mut stream, _) = other.accept().unwrap();
            let mut piece = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut piece);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let run = cli::run(&["notify", "room", "x", "--url", &url]);
    assert!(run.code == 1 && run.err.contains("status 404: this is not an answer of relay"), "{}", run.err);
    let run = cli::run(&["notify", "room", "x", "--url", &url]);
    assert!(run.code == 1 && run.err.contains("the answer is not HTTP"), "{}", run.err);
    server.join().unwrap();
}

/// White space around JSON is not part of what is signed.
#[test]
fn json_with_white_space() {
    let relay = configured("");
    let mut member = relay.connect("room");
    for data in [" [1,\n 2]\n", "\t\"text\" "] {
        let run = with(&relay.config, &["notify", "room", data, "--json"]);
        assert_eq!((run.code, run.out.as_str()), (0, ACCEPTED), "{data:?}: {}", run.err);
    }
    assert_eq!((member.data(), member.data()), (json!([1, 2]), json!("text")));
}

/// The credentials that a unit gives to a command come first.
#[test]
fn credentials_of_the_service() {
    let folder = temp_file("credentials");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("key_shop"), "from the credentials\n").unwrap();
    let config = write("relay.toml", "[sources.shop]\nsign_key_file = \"key_shop\"\n");
    let mut command = relay(&["sign", "connect", "room", "--hex"]);
    let run = run_command(command.env("RELAY_CONFIG", &config).env("CREDENTIALS_DIRECTORY", &folder));
    assert_eq!(run.out.trim(), support::connect_sign("shop", "room", "from the credentials"), "{}", run.err);
    fs::remove_dir_all(folder).unwrap();
}

/// Without the service, and without its credentials, commands find a key where the unit would load it from.
#[test]
fn keys_beside_the_configuration() {
    let folder = temp_file("etc");
    fs::create_dir_all(folder.join("keys")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let config = folder.join("relay.toml");
    fs::write(&config, "[sources.shop]\nsign_key_file = \"key_shop\"\n").unwrap();
    let missing = with(&config, &["sign", "connect", "room", "--hex"]);
    let beside = folder.join("key_shop");
    assert!(missing.code != 0 && missing.err.contains(text(&beside)), "{}", missing.err);
    fs::write(folder.join("keys/shop"), "from the folder of keys\n").unwrap();
    let run = with(&config, &["sign", "connect", "room", "--hex"]);
    assert_eq!(run.out.trim(), support::connect_sign("shop", "room", "from the folder of keys"), "{}", run.err);
    // The service has credentials of its own, and could not read that file. The check before a reload must not find it either.
    let mut command = relay(&["sign", "connect", "room", "--hex"]);
    let run = run_command(command.env("RELAY_CONFIG", &config).env("CREDENTIALS_DIRECTORY", folder.join("none")));
    assert!(run.code != 0 && run.err.contains(text(&beside)), "{} {}", run.out, run.err);
    // A file of that very name comes first, as before.
    fs::write(&beside, "from beside the configuration\n").unwrap();
    let run = with(&config, &["sign", "connect", "room", "--hex"]);
    assert_eq!(run.out.trim(), support::connect_sign("shop", "room", "from beside the configuration"), "{}", run.err);
    fs::remove_dir_all(folder).unwrap();
}

/// A container may have the text of its configuration in a variable. A file that is named comes first.
#[test]
fn configuration_in_a_variable() {
    let file = write("relay.toml", "[sources.file]\nsign_key = \"the key of the file\"\n");
    let text = "[sources.text]\nsign_key = \"the key in the text\"\n";
    let with_text = |args: &[&str]| run_command(relay(args).env("RELAY_CONFIG_TOML", text));
    let sign = ["sign", "connect", "room", "--hex"];
    let run = with_text(&sign);
    assert_eq!(run.out.trim(), support::connect_sign("text", "room", "the key in the text"), "{}", run.err);
    let run = run_command(relay(&sign).env("RELAY_CONFIG_TOML", text).env("RELAY_CONFIG", &file));
    assert_eq!(run.out.trim(), support::connect_sign("file", "room", "the key of the file"), "{}", run.err);
    let run = with_text(&["check"]);
    assert_eq!((run.code, run.out.as_str()), (0, "$RELAY_CONFIG_TOML: valid, 1 source\n"), "{}", run.err);
    let run = run_command(relay(&["check"]).env("RELAY_CONFIG_TOML", "listen = [\n  4000\n]\n"));
    assert!(run.code == 78 && run.err.starts_with("$RELAY_CONFIG_TOML:2:3: "), "{} {}", run.code, run.err);
    let text = OsStr::from_bytes(b"[sources.a\xff]");
    let run = run_command(relay(&["check"]).env("RELAY_CONFIG_TOML", text));
    assert_eq!((run.code, run.err.as_str()), (78, "$RELAY_CONFIG_TOML: it is not UTF-8\n"));
}

/// Container engines have nothing else in the image that could ask.
#[test]
fn health() {
    let relay = configured("");
    let run = with(&relay.config, &["health"]);
    assert_eq!((run.code, run.out.as_str()), (0, "{\"status\":\"ok\"}\n"), "{}", run.err);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let answer = thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).unwrap();
        let body = "{\"status\":\"stopping\"}";
        write!(stream, "HTTP/1.1 503 Stopping\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let run = with(&relay.config, &["health", "--url", &url]);
    assert_eq!((run.code, run.out.as_str()), (1, "{\"status\":\"stopping\"}\n"), "{}", run.err);
    assert!(run.err.contains("status 503"), "{}", run.err);
    assert!(answer.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    // Nobody listens there any more.
    let run = with(&relay.config, &["health", "--url", &url]);
    assert!(run.code == 1 && run.err.contains("Connection refused"), "{} {}", run.code, run.err);
}
