//! docs/configuration.md: what `relay check` predicts, and that relay does what it predicts; addresses to listen on.

use std::{
    fs,
    net::{Ipv6Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
};

use crate::support::{
    KEY, Relay,
    cli::{self, *},
    temp_file,
};

const SOURCE: &str = "[sources.a]\nsign_key = \"0123456789abcdef\"\n";

/// A configuration file that only its owner can read, so that check does not warn about it.
fn private(content: &str) -> std::path::PathBuf {
    let file = write("relay.toml", content);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// What relay would refuse or fail at, check says beforehand, with the same exit code; relay says it too.
#[test]
fn check_predicts_what_serve_does() {
    let folder = temp_file("outlook");
    fs::create_dir(&folder).unwrap();
    let plain = folder.join("file");
    fs::write(&plain, "").unwrap();
    let (folder, plain) = (text(&folder).to_owned(), text(&plain).to_owned());
    let demo = format!("[sources.a]\nsign_key = \"{KEY}\"\n");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let twice = format!("proxy+tcp://127.0.0.1:{port}");
    let listen = |address: &str| format!("listen = [\"{address}\"]\n{SOURCE}");
    for (content, args, code, why) in [
        (format!("listen = [\"0.0.0.0:0\"]\n{demo}"), &[][..], 78, "source \"a\" uses a public demo key"),
        (format!("listen = [\"*:0\"]\n{demo}"), &[], 78, "can be reached from other machines"),
        (format!("listen = [\"127.0.0.1:0\", \"[::]:0\"]\n{demo}"), &[], 78, "can be reached from other machines"),
        (demo.clone(), &["--listen", "0.0.0.0:0"], 78, "use keys of your own, or pass --allow-demo-keys"),
        (format!("listen = []\n{SOURCE}"), &[], 78, "listen: expected 1 to 62 addresses, not 0"),
        (listen(&format!("127.0.0.1:{port}\", \"proxy+tcp://127.0.0.1:{port}")), &[], 1, &twice),
        (listen(&format!("proxy+tcp://*:{port}\", \"127.0.0.1:{port}")), &[], 1, &format!("127.0.0.1:{port}")),
        (listen(&format!("unix:{folder}/r\", \"unix:{folder}/r?mode=0600")), &[], 1, "/r?mode=0600"),
        (listen("192.0.2.1:4000"), &[], 1, "192.0.2.1:4000"),
        (listen("no-such-host.invalid:4000"), &[], 1, "no-such-host.invalid:4000"),
        (listen(&format!("unix:{folder}/nowhere/r")), &[], 1, "/nowhere/r"),
        (listen(&format!("unix:{plain}")), &[], 1, "file"),
        (SOURCE.into(), &["--listen", "192.0.2.1:0"], 1, "192.0.2.1:0"),
        (format!("{SOURCE}[sources.b]\nsign_key_file = \"{folder}/nowhere\"\n"), &[], 78, "nowhere"),
        (listen(&format!("unix:/{}", "x".repeat(107))), &[], 78, "1 to 107 bytes, not 108"),
    ] {
        let file = private(&content);
        let runs = ["check", "serve"].map(|command| run(&[&[command, "--config", text(&file)], args].concat()));
        for (run, command) in runs.iter().zip(["check", "serve"]) {
            assert_eq!((run.code, run.out.as_str()), (code, ""), "{command} {content}: {}", run.err);
            assert!(run.err.contains(why), "{command} {content}: {}", run.err);
        }
        let begins = format!("{}:", text(&file));
        assert!(runs[0].err.lines().all(|line| line.starts_with(&begins)), "{}", runs[0].err);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_cure_is_named() {
    for (content, why) in [
        (
            format!("listen = [\"192.0.2.1:4000\"]\n{SOURCE}"),
            "this machine does not have the address 192.0.2.1; use *:4000 to listen on all",
        ),
        (
            format!("listen = [\"unix:/nowhere/at/all\"]\n{SOURCE}"),
            "the directory /nowhere/at does not exist: create it",
        ),
        (format!("listen = [\"unix:/etc/passwd\"]\n{SOURCE}"), "remove it, or choose another path"),
        (format!("listen = [\"no-such-host.invalid:1\"]\n{SOURCE}"), "the name cannot be resolved"),
    ] {
        let run = run(&["check", "--config", text(&private(&content))]);
        assert!(run.code == 1 && run.err.contains(why), "{content}: {}", run.err);
    }
}

/// What relay starts with, although it is probably a mistake.
#[test]
fn check_warns_about_what_starts() {
    let file = write("plain", "");
    for (content, why) in [
        (String::new(), "no [sources.NAME] is configured: nobody can connect or notify"),
        (format!("listen = [\"127.0.0.1:0\"]\n{SOURCE}"), "127.0.0.1:0: port 0 means a different port at each start"),
        (format!("listen = [\"unix:relay.sock\"]\n{SOURCE}"), "is relative to the directory in which relay starts"),
        (
            format!("{SOURCE}[message_log]\ndir = \"{}/log\"\n", text(&file)),
            "is not a directory: relay could not write the log",
        ),
        (format!("{SOURCE}[limits]\nconnections = 100\nper_address = 200\n"), "limits.per_address has no effect"),
        (format!("{SOURCE}[hooks]\nurl = \"http://127.0.0.1:1/\"\n"), "hooks.url has no effect"),
        (format!("{SOURCE}[hooks]\nurl = \"http://unix:/nowhere/hook.sock:/\"\n"), "hooks.url has no effect"),
        (
            format!(
                "{SOURCE}[hooks]\nurl = \"http://unix:/nowhere/hook.sock:/\"\n[namespaces.\"/a\"]\nauth = \"hook\"\nsource = \"a\"\n"
            ),
            "there is no socket /nowhere/hook.sock now",
        ),
    ] {
        let file = private(&content);
        let run = run(&["check", "--config", text(&file)]);
        assert_eq!((run.code, run.err.lines().count()), (0, 1), "{content}: {}", run.err);
        assert!(run.err.starts_with(&format!("{}: warning: ", text(&file))) && run.err.contains(why), "{}", run.err);
    }
    // Nothing to say about a good one, and about demo keys where they are allowed.
    let demo = private(&format!("listen = [\"*:4000\"]\n[sources.a]\nsign_key = \"{KEY}\"\n"));
    let allowed = run(&["check", "--allow-demo-keys", "--config", text(&demo)]);
    assert_eq!((allowed.code, allowed.err.as_str()), (0, ""));
    assert!(allowed.out.ends_with(": valid, 1 source\n"), "{}", allowed.out);
    let local = run(&["check", "--listen", "localhost:4000", "--listen", "[::1]:4000", "--config", text(&demo)]);
    assert_eq!((local.code, local.err.as_str()), (0, ""), "--listen replaces the addresses");
}

/// Mistakes of newcomers: each text names the place, the key, and what to write instead, and no key in the file is shown.
#[test]
fn errors_in_words_a_person_uses() {
    for (content, problem) in [
        ("listen = 127.0.0.1:4000\n", ":1:15: listen: a text needs quotes"),
        (
            "listen = \"127.0.0.1:4000\"\n",
            "listen must be a list of addresses in quotes, not \"127.0.0.1:4000\": write listen = [\"127",
        ),
        ("listen = [\"4000\"]\n", "write \"127.0.0.1:4000\" for this machine only, or \"*:4000\" for all addresses"),
        ("listen = [\":4000\"]\n", "write \"*:4000\" for all addresses"),
        (
            "[sources]\ndemo = \"a secret\"\n",
            ":2:9: sources.demo must be a table: write [sources.demo] in a line of its own",
        ),
        (
            "[[sources]]\nsign_key = \"a secret\"\n",
            "sources must be a table: write [sources.NAME] with single brackets",
        ),
        (
            "[sources]\nsign_key = \"a secret\"\n",
            "sources.sign_key must be a table: write [sources.NAME] in a line of its own",
        ),
        ("[sources]\nsign = [\"md5\"]\n", "sources.sign must be a table: write [sources.NAME] in a line of its own"),
        ("[[namespaces]]\nauth = \"open\"\n", "write [namespaces.\"/NAME\"] with single brackets"),
        ("[namespaces]\njoin = true\n", "write [namespaces.\"/NAME\"] in a line of its own"),
        ("[[namespaces.\"/a\"]]\nauth = \"open\"\n", "write [namespaces.\"/a\"] with single brackets"),
        ("listen = [\"h:1?mode=0660\"]\n", "options after a ? are for unix:PATH only"),
        ("[[sources.demo]]\nsign_key = \"a secret\"\n", "write [sources.demo] with single brackets"),
        (
            "[sources.demo]\nsign_key = 12345\n",
            "sources.demo.sign_key must be a string in quotes, not a number: put it in quotes",
        ),
        ("[sources.a]\nsign_key = \"a secret\nsign = []\n", ":2:21: sign_key: the text in quotes does not end"),
        (
            "[sources.a]\nsign_key = \"k\"\nsign_key = \"a secret\"\n",
            ":3:1: sign_key is set twice, for the first time in line 2",
        ),
        ("[limits]\nbody = 1000\n[limits]\n", "the section limits begins twice, for the first time in line 1"),
        ("[limits]\nbody = \"10000\"\n", "not \"10000\" (without quotes)"),
        ("[limits]\nbody = 10MB\n", "body: a number has no unit"),
        ("[limits]\nbodi = 10000\n", "unknown key limits.bodi: did you mean body?"),
        ("[limit]\nbody = 10000\n", "unknown key limit: did you mean limits?"),
        ("body = 10000\n", "unknown key body: it belongs below [limits]"),
        ("sign_key = \"a secret\"\n", "unknown key sign_key: it belongs below [sources.NAME]"),
        ("port = 4000\n", "unknown key port: did you mean listen = [\"host:port\"]"),
        ("[log]\ndir = \"/var/log\"\n", "unknown key log.dir: it belongs below [message_log]"),
        (
            "[sources.a]\nsign_key = \"k\"\norigins = []\n",
            "unknown key sources.a.origins: it belongs at the top of the file",
        ),
        ("[hooks]\nurl = \"https://-/\"\n", "TLS needs a host name or an IP address"),
        ("trusted_proxies = [\"localhost\"]\n", "names are not looked up"),
        ("[namespaces./chat]\nauth = \"open\"\n", "needs quotes, like [namespaces.\"/chat\"]"),
    ] {
        let file = private(content);
        let run = run(&["check", "--config", text(&file)]);
        assert_eq!((run.code, run.err.lines().count()), (78, 1), "{content}: {}{}", run.out, run.err);
        assert!(run.err.starts_with(text(&file)) && run.err.contains(problem), "{content}: {}", run.err);
        assert!(!run.err.contains("a secret") && !run.err.contains("12345"), "{}", run.err);
    }
}

/// An address is for clients or for metrics, and relay does not start where it would have to be both.
#[test]
fn an_address_for_metrics_is_not_for_clients() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = |clients: &str, metrics: &str| {
        private(&format!("listen = [\"{clients}\"]\n{SOURCE}[admin]\nlisten = [\"{metrics}\"]\n"))
    };
    let config = listen(&format!("*:{port}"), &format!("127.0.0.1:{port}"));
    let check = run(&["check", "--config", text(&config)]);
    let expected =
        format!("admin.listen: 127.0.0.1:{port}: *:{port} has this port too, but it is for clients: use another port");
    assert!(check.code == 1 && check.err.contains(&expected), "{}{}", check.out, check.err);
    let serve = run(&["serve", "--config", text(&config)]);
    assert!(serve.code == 1 && serve.err.contains("127.0.0.1"), "{}{}", serve.out, serve.err);
    let config = listen("127.0.0.1:0", "tls://127.0.0.1:0");
    let check = run(&["check", "--config", text(&config)]);
    assert!(check.code == 78 && check.err.contains("admin.listen: expected host:port"), "{}{}", check.out, check.err);
}

/// `*:port` is all addresses of both families. Addresses that are covered by another one need no socket of their own.
#[test]
fn all_addresses() {
    let port = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port();
    for list in [
        &["*:P"][..],
        &["127.0.0.1:P", "*:P"],
        &["[::]:P", "0.0.0.0:P"],
        &["0.0.0.0:P", "[::]:P", "[::1]:P"],
        &["localhost:P", "0.0.0.0:P", "[::]:P", "localhost:P"],
    ] {
        let port = port();
        let list: Vec<String> =
            list.iter().map(|address| format!("{:?}", address.replace('P', &port.to_string()))).collect();
        let config = private(&format!("listen = [{}]\n{SOURCE}", list.join(", ")));
        let check = run(&["check", "--config", text(&config)]);
        assert_eq!((check.code, check.err.as_str()), (0, ""), "{list:?}");
        let relay = Relay::spawn(relay(&["--config", text(&config)]), config.clone());
        for host in ["127.0.0.1", "127.0.0.2", "::1"] {
            let mut stream =
                TcpStream::connect((host, port)).unwrap_or_else(|error| panic!("{list:?} {host}: {error}"));
            assert_eq!(healthz(&mut stream).status, 200, "{list:?} {host}");
        }
        drop(relay);
    }
    // All addresses means all: a port that another program has for IPv4 is in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let run = run(&["--allow-demo-keys", "--listen", &format!("*:{}", taken.local_addr().unwrap().port())]);
    assert!(run.code == 1 && run.err.contains("in use"), "{}", run.err);
}

/// The configurations of the packages and of the container image are complete: beside the keys that an installation has, relay
/// would start with them.
#[test]
fn packaged_configurations() {
    for name in ["relay.toml", "oci/relay.toml"] {
        let packaged = fs::read(format!("{}/packaging/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let folder = temp_file("etc");
        fs::create_dir_all(folder.join("keys")).unwrap();
        let config = folder.join("relay.toml");
        fs::write(&config, packaged).unwrap();
        let run = run(&["check", "--config", text(&config)]);
        assert!(run.code == 78 && run.err.contains("key_main"), "{name}: {}", run.err);
        let key = folder.join("keys/main");
        fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let run = cli::run(&["check", "--config", text(&config)]);
        let valid = format!("{}: valid, 1 source\n", config.display());
        assert_eq!((run.code, run.out, run.err.as_str()), (0, valid, ""), "{name}");
        fs::remove_dir_all(folder).unwrap();
    }
}
