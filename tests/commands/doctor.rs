//! `relay doctor`: relay's own machine, and nginx in front of relay, sound and broken in many ways. Each way is named, with the
//! lines that cure it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use relay::tls::new_key;
use serde_json::Value;

use crate::support::{
    self, Answer, Relay,
    certificates::Authority,
    cli::{Run, run, text, write},
    redis::Redis,
    temp_file, wait_for,
};

/// relay, for a proxy on this machine.
fn behind_proxy(more: &str) -> Relay {
    Relay::start(&format!("trusted_proxies = [\"127.0.0.1\"]\n{more}"))
}

/// A running nginx with one server; killed when dropped.
struct Nginx {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl Nginx {
    /// `listen` is what follows the port, `server` are the directives of the server, `http` those around it.
    fn start(listen: &str, server: &str, http: &str) -> Nginx {
        let directory = temp_file("doctor-nginx");
        fs::create_dir(&directory).unwrap();
        let (file, port) = (directory.join("nginx.conf"), free_port());
        let folder = directory.display();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/{name};"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr; events {{ worker_connections 256; }}\n\
             http {{ access_log off; {paths} {http}\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             server {{ listen 127.0.0.1:{port} {listen};\n{server} }} }}\n"
        );
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-c", text(&file), "-e", "stderr"]).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nginx, of the Debian package nginx");
        let mut nginx = Nginx { child, port, directory };
        wait_for("nginx", || {
            assert!(nginx.child.try_wait().unwrap().is_none(), "nginx does not accept its configuration");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        nginx
    }

    /// The server of docs/operations.md in front of a relay, with more lines in `location`.
    fn sound(relay: &Relay, more: &str) -> Nginx {
        Nginx::start("", &location(relay, "/", &[&SOUND, &[more][..]].concat()), "")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A location that forwards a path to a relay.
fn location(relay: &Relay, path: &str, lines: &[&str]) -> String {
    format!("location {path} {{ proxy_pass http://{}; {} }}", relay.addr, lines.join(" "))
}

const UPGRADE: &str =
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;";
const HOST: &str = "proxy_set_header Host $host;";
const FORWARDED: &str = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
const BODY: &str = "client_max_body_size 1m; proxy_read_timeout 60s;";
/// The lines of docs/operations.md.
const SOUND: [&str; 4] = [UPGRADE, HOST, FORWARDED, BODY];

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the doctor found.
struct Findings {
    run: Run,
    list: Vec<Value>,
}

impl Findings {
    /// Examines an address with the key of a relay.
    fn of(relay: &Relay, url: &str, more: &[&str]) -> Findings {
        let own = ["doctor", "--config", text(&relay.config), "--json", "--idle", "0"];
        Findings::from(run(&[&own, more, &[url]].concat()))
    }

    fn from(run: Run) -> Findings {
        let list = serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        Findings { run, list }
    }

    /// The texts of findings of this level, each after the name of its check.
    fn texts(&self, level: &str) -> Vec<String> {
        let wanted = self.list.iter().filter(|finding| finding["level"] == level);
        wanted.map(|finding| format!("{}: {}", finding["check"], finding["text"]).replace('"', "")).collect()
    }

    /// Asserts that there is a failure with this text, and that it names these lines for nginx or relay.
    #[track_caller]
    fn name(&self, check: &str, part: &str, line: &str) {
        let is_it = |finding: &&Value| {
            let text = finding["text"].as_str().unwrap();
            finding["level"] == "failure" && finding["check"] == check && text.contains(part)
        };
        let finding =
            self.list.iter().find(is_it).unwrap_or_else(|| panic!("no {check} with {part:?} in {:#?}", self.list));
        assert_eq!(self.run.code, 1, "{}", self.run.err);
        if !line.is_empty() {
            assert!(finding["advice"].to_string().contains(line), "no {line:?} in {finding:#}");
        }
    }

    /// Asserts that only these checks failed.
    #[track_caller]
    fn only(&self, checks: &[&str]) {
        let failed = self.list.iter().filter(|finding| finding["level"] == "failure");
        let mut failed: Vec<&str> = failed.map(|finding| finding["check"].as_str().unwrap()).collect();
        failed.dedup();
        assert_eq!(failed, checks, "{:#?}", self.texts("failure"));
    }

    /// Asserts that nothing is wrong.
    #[track_caller]
    fn nothing(&self) {
        assert_eq!((self.texts("failure"), self.texts("warning")), (Vec::new(), Vec::new()));
        assert_eq!(self.run.code, 0, "{}", self.run.err);
    }
}

#[test]
fn a_sound_proxy() {
    let relay = behind_proxy("");
    let nginx = Nginx::sound(&relay, "");
    let found = Findings::of(&relay, &nginx.url(), &["--idle", "1"]);
    found.nothing();
    let ok = found.texts("ok").join("\n");
    for part in [
        "name: 127.0.0.1 is 127.0.0.1",
        "reach: requests reach relay, with HTTP/1.1",
        "websocket: a WebSocket opens at /ws",
        "socket.io: a WebSocket opens at /socket.io/",
        "polling: the requests of a client that polls reach one process (5 of 5)",
        "stream: the first bytes of a stream arrive at once",
        "origin: relay sees the origin",
        "cors: pages of",
        "body: a body of 1000000 bytes reaches relay",
        "idle: a WebSocket stays open for 1 s",
        "idle: a stream stays open for 1 s",
    ] {
        assert!(ok.contains(part), "{part}: {ok}");
    }
    // relay and nginx are on the same machine as the doctor.
    assert!(found.texts("skipped").join("\n").contains("address: relay sees"), "{:?}", found.texts("skipped"));
    // It leaves nothing behind.
    wait_for("the end of its sessions", || (relay.stat("/sessions") == 0).then_some(()));
}

#[test]
fn a_sound_proxy_with_tls_under_a_path() {
    let authority = Authority::new("doctor");
    authority.issue("good", "IP:127.0.0.1", "90");
    let relay = behind_proxy("");
    let server = format!(
        "ssl_certificate {}; ssl_certificate_key {}; location /relay/ {{ proxy_pass http://{}/; {} }}",
        authority.file("good.pem"),
        authority.file("good.key"),
        relay.addr,
        SOUND.join(" ")
    );
    let nginx = Nginx::start("ssl", &server, "");
    let url = format!("wss://127.0.0.1:{}/relay/", nginx.port);
    let found = Findings::of(&relay, &url, &["--ca-file", &authority.file("ca.pem")]);
    found.nothing();
    let ok = found.texts("ok").join("\n");
    assert!(ok.contains("tls: clients accept the certificate, which is valid for"), "{ok}");
}

#[test]
fn lines_for_people() {
    let relay = Relay::start("");
    let url = format!("http://{}", relay.addr);
    let done = run(&["doctor", "--config", text(&relay.config), "--idle", "0", &url]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("\nok       polling       the requests of a client"), "{}", done.out);
    assert!(done.out.ends_with("0 failures, 0 warnings, 11 ok, 1 not checked\n"), "{}", done.out);
    let nginx = Nginx::start("", &location(&relay, "/", &["proxy_http_version 1.1;", HOST, FORWARDED, BODY]), "");
    let done = run(&["doctor", "--config", text(&relay.config), "--idle", "0", &nginx.url()]);
    assert_eq!((done.code, done.err.as_str()), (1, "relay: 3 checks failed\n"), "{}", done.out);
    for line in [
        "\nfailure  websocket     the headers Upgrade and Connection do not reach relay at /ws: no WebSocket can be opened\n",
        "\n                     proxy_set_header Upgrade $http_upgrade;\n",
        "\n         Apache      ProxyPass / http://127.0.0.1:4000/ upgrade=websocket",
        "do not reach relay at /socket.io/: no WebSocket can be opened\n         the same lines as above\n",
        "\n         relay.toml  trusted_proxies = [\"127.0.0.1\"]",
    ] {
        assert!(done.out.contains(line), "{line}: {}", done.out);
    }
}

#[test]
fn without_a_key_it_checks_what_needs_none() {
    let relay = behind_proxy("");
    let nginx = Nginx::sound(&relay, "");
    let config = write("doctor.toml", "listen = [\"127.0.0.1:1\"]\n");
    let found = Findings::from(run(&["doctor", "--config", text(&config), "--json", "--idle", "1", &nginx.url()]));
    found.nothing();
    assert!(found.texts("skipped").join("\n").contains("stream: a stream needs a login"), "{:?}", found.list);
    assert!(found.texts("ok").join("\n").contains("idle: a WebSocket stays open"), "{:?}", found.list);
    // A wrong key is no failure of the proxy.
    let wrong = Findings::of(&relay, &nginx.url(), &["--source", "demo", "--key", "wrong"]);
    wrong.only(&[]);
    assert!(wrong.texts("warning").join("\n").contains("login: relay refuses the login of source"), "{:?}", wrong.list);
    fs::remove_file(config).unwrap();
}

// Broken proxies.

#[test]
fn http_1_0_to_relay() {
    let relay = behind_proxy("");
    let nginx = Nginx::start("", &location(&relay, "/", &[HOST, FORWARDED, BODY]), "");
    let found = Findings::of(&relay, &nginx.url(), &[]);
    found.name("http", "the proxy speaks HTTP/1.0 to relay", "proxy_http_version 1.1;");
    found.name("websocket", "HTTP/1.0", "proxy_http_version 1.1;");
}

#[test]
fn a_dropped_upgrade() {
    let relay = behind_proxy("");
    let nginx = Nginx::start("", &location(&relay, "/", &["proxy_http_version 1.1;", HOST, FORWARDED, BODY]), "");
    let found = Findings::of(&relay, &nginx.url(), &[]);
    found.name(
        "websocket",
        "Upgrade and Connection do not reach relay at /ws",
        "proxy_set_header Upgrade $http_upgrade;",
    );
    found.name("socket.io", "do not reach relay at /socket.io/", "proxy_set_header Upgrade $http_upgrade;");
    found.only(&["websocket", "socket.io"]);
}

#[test]
fn a_short_idle_time_out() {
    let relay = behind_proxy("");
    let nginx = Nginx::start("", &location(&relay, "/", &[UPGRADE, HOST, FORWARDED, "proxy_read_timeout 2s;"]), "");
    let found = Findings::of(&relay, &nginx.url(), &["--idle", "20"]);
    found.name("idle", "a WebSocket is closed after ", "proxy_read_timeout 75s;");
    found.name("idle", "a stream is closed after ", "proxy_read_timeout 75s;");
    found.only(&["idle"]);
}

#[test]
fn a_small_body_limit() {
    let relay = behind_proxy("");
    let nginx = Nginx::start("", &location(&relay, "/", &[UPGRADE, HOST, FORWARDED, "client_max_body_size 100k;"]), "");
    let found = Findings::of(&relay, &nginx.url(), &[]);
    found.name(
        "body",
        "a body of 1000000 bytes, which relay takes, does not reach it",
        "client_max_body_size 1000000;",
    );
    found.only(&["body"]);
}

#[test]
fn a_stream_that_is_collected() {
    let relay = behind_proxy("");
    let nginx = Nginx::sound(&relay, "proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;");
    let found = Findings::of(&relay, &nginx.url(), &[]);
    found.name("stream", "the proxy collects", "proxy_buffering off;");
    found.only(&["stream"]);
}

#[test]
fn two_processes_in_turn() {
    let (one, other) = (behind_proxy(""), behind_proxy(""));
    let upstream = format!("upstream relays {{ server {}; server {}; }}", one.addr, other.addr);
    let server = format!("location / {{ proxy_pass http://relays; {} }}", SOUND.join(" "));
    let nginx = Nginx::start("", &server, &upstream);
    let found = Findings::of(&one, &nginx.url(), &[]);
    found.name("polling", "requests of one client reach different processes", "ip_hash;");
    found.only(&["polling"]);
    drop(nginx);
    let sticky = Nginx::start("", &server, &upstream.replace("{ server", "{ ip_hash; server"));
    Findings::of(&one, &sticky.url(), &[]).nothing();
}

#[test]
fn an_origin_that_is_removed_or_changed() {
    let relay = behind_proxy("origins = [\"https://shop.example.org\"]\n");
    let removed = Nginx::sound(&relay, "proxy_set_header Origin '';");
    let found = Findings::of(&relay, &removed.url(), &[]);
    found.name("origin", "the proxy removes the header Origin", "proxy_set_header Origin $http_origin;");
    let changed = Nginx::sound(&relay, "proxy_set_header Origin http://relay.internal;");
    let found = Findings::of(&relay, &changed.url(), &[]);
    found.name("origin", "from https://shop.example.org to http://relay.internal", "proxy_set_header Origin");
    let sound = Nginx::sound(&relay, "");
    Findings::of(&relay, &sound.url(), &[]).nothing();
    let found = Findings::of(&relay, &sound.url(), &["--origin", "https://other.example.org"]);
    found.name(
        "origin",
        "relay refuses pages of https://other.example.org",
        "origins = [\\\"https://other.example.org\\\"]",
    );
}

#[test]
fn headers_of_cors_that_a_proxy_adds_or_removes() {
    let relay = behind_proxy("");
    let second = Nginx::sound(&relay, "add_header Access-Control-Allow-Origin * always;");
    Findings::of(&relay, &second.url(), &[]).name("cors", "adds a second", "remove add_header");
    let removed = Nginx::sound(&relay, "proxy_hide_header Access-Control-Allow-Origin;");
    Findings::of(&relay, &removed.url(), &[]).name("cors", "removes Access-Control-Allow-Origin", "proxy_hide_header");
}

#[test]
fn a_client_whose_address_is_lost() {
    let relay = behind_proxy("");
    let silent = Nginx::start("", &location(&relay, "/", &[UPGRADE, HOST, BODY]), "");
    let found = Findings::of(&relay, &silent.url(), &[]);
    found.name("address", "the proxy does not send X-Forwarded-For", "proxy_set_header X-Forwarded-For");
    found.only(&["address"]);
    let untrusting = Relay::start("");
    let nginx = Nginx::sound(&untrusting, "");
    let found = Findings::of(&untrusting, &nginx.url(), &[]);
    found.name("address", "trusted_proxies does not list its address", "trusted_proxies = [");
    found.only(&["address"]);
}

#[test]
fn a_certificate_that_clients_refuse() {
    let authority = Authority::new("doctor");
    authority.issue("expired", "IP:127.0.0.1", "-1");
    authority.issue("other", "DNS:other.example.org", "90");
    let relay = behind_proxy("");
    let start = |name: &str| {
        let lines = format!(
            "ssl_certificate {}; ssl_certificate_key {}; {}",
            authority.file(&format!("{name}.pem")),
            authority.file(&format!("{name}.key")),
            location(&relay, "/", &SOUND)
        );
        Nginx::start("ssl", &lines, "")
    };
    for (name, text) in [("expired", "has expired"), ("other", "is not for 127.0.0.1 but for other.example.org")] {
        let nginx = start(name);
        let url = format!("https://127.0.0.1:{}", nginx.port);
        let found = Findings::of(&relay, &url, &["--ca-file", &authority.file("ca.pem")]);
        found.name("tls", text, "ssl_certificate ");
        // The rest is examined all the same.
        found.only(&["tls"]);
        assert!(found.texts("ok").join("\n").contains("websocket: a WebSocket opens"), "{:?}", found.list);
    }
    let nginx = start("other");
    let found = Findings::of(&relay, &format!("https://127.0.0.1:{}", nginx.port), &[]);
    found.name("tls", "unknown authority: the server must send the certificates of its issuers", "ssl_certificate ");
}

#[test]
fn a_path_that_is_not_forwarded() {
    let relay = behind_proxy("");
    let nginx = Nginx::start("", &location(&relay, "/ws", &SOUND), "");
    let found = Findings::of(&relay, &nginx.url(), &[]);
    let part = "the proxy does not forward /socket.io/ to relay, it answers with status 404 by nginx";
    found.name("socket.io", part, "location /socket.io/ {");
    found.name("polling", part, "location /socket.io/ {");
    found.name("stream", "does not forward /sse", "location /sse {");
    assert!(found.texts("ok").join("\n").contains("websocket: a WebSocket opens at /ws"), "{:?}", found.list);
    assert!(found.texts("skipped").join("\n").contains("the proxy keeps /api/notify to itself"), "{:?}", found.list);
}

#[test]
fn a_prefix_that_is_not_removed() {
    let relay = behind_proxy("");
    let nginx = Nginx::start("", &location(&relay, "/relay/", &SOUND), "");
    let found = Findings::of(&relay, &format!("{}relay/", nginx.url()), &[]);
    found.name("websocket", "the proxy must remove /relay from the path", "proxy_pass http://127.0.0.1:4000/ws;");
    found.name("polling", "the proxy must remove /relay from the path", "proxy_pass http://127.0.0.1:4000/socket.io/;");
}

#[test]
fn something_else_answers() {
    let relay = behind_proxy("");
    for (server, part) in [
        ("return 301 https://relay.example.org$request_uri;", "clients must use https:// and wss://"),
        ("return 302 /login;", "is redirected to"),
        (
            "default_type text/html; return 200 '<title>Our shop</title>';",
            "something else than relay answers at /ws with status 200",
        ),
        ("return 403;", "clients must reach it without a password"),
        ("location / { proxy_pass http://127.0.0.1:1; }", "the proxy does not reach relay: status 502"),
    ] {
        let nginx = Nginx::start("", server, "");
        let found = Findings::of(&relay, &nginx.url(), &[]);
        found.name("reach", part, "");
        found.only(&["reach"]);
    }
    // TLS where there is none, and the other way round.
    let authority = Authority::new("doctor");
    authority.issue("good", "IP:127.0.0.1", "90");
    let files = [authority.file("good.pem"), authority.file("good.key")];
    let secure = Nginx::start("ssl", &format!("ssl_certificate {}; ssl_certificate_key {};", files[0], files[1]), "");
    Findings::of(&relay, &secure.url(), &[]).name("reach", "this port is for TLS: use https://", "");
    let plain = Nginx::sound(&relay, "");
    let found = Findings::of(&relay, &plain.url().replace("http:", "https:"), &[]);
    found.name("tls", "does not speak TLS at this port", "");
    // Nobody listens, and a name without an address.
    let found = Findings::of(&relay, "http://127.0.0.1:1/", &[]);
    found.name("name", "cannot be reached: Connection refused", "");
    let url = format!("http://relay.invalid:{}/", plain.port);
    Findings::of(&relay, &url, &["--connect", "127.0.0.1"]).nothing();
    let found = Findings::of(&relay, "http://relay.invalid/", &[]);
    found.name("name", "relay.invalid has no address", "");
}

/// A proxy that answers the upgrade, and then forwards nothing more.
#[test]
fn frames_that_are_swallowed() {
    let relay = behind_proxy("");
    let (server, to) = (TcpListener::bind("127.0.0.1:0").unwrap(), relay.addr);
    let url = format!("http://{}/", server.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in server.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut relay = TcpStream::connect(to).unwrap();
                let (mut input, mut output) = (client.try_clone().unwrap(), relay.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut input, &mut output));
                let (mut piece, mut is_upgraded) = ([0; 1 << 16], false);
                while let Ok(length @ 1..) = relay.read(&mut piece) {
                    if !is_upgraded {
                        let _ = client.write_all(&piece[..length]);
                    }
                    is_upgraded |= piece.starts_with(b"HTTP/1.1 101");
                }
            });
        }
    });
    let found = Findings::of(&relay, &url, &[]);
    found.name(
        "websocket",
        "a WebSocket opens, but then nothing comes through: a ping gets no answer",
        "upgrade=websocket",
    );
    found.only(&["websocket", "socket.io"]);
}

/// The lines for nginx make a broken proxy a sound one.
#[test]
fn the_lines_cure() {
    let relay = behind_proxy("");
    // What a directive sets: for headers, the name is a part of it.
    let key = |directive: &str| {
        let words: Vec<&str> = directive.split_whitespace().collect();
        words[..if words[0] == "proxy_set_header" { 2 } else { 1 }].join(" ")
    };
    let own = [UPGRADE, HOST, FORWARDED, BODY].concat();
    for (broken, idle) in [
        ([HOST, FORWARDED, BODY].concat(), "0"),
        (["proxy_http_version 1.1;", HOST, FORWARDED, BODY].concat(), "0"),
        ([UPGRADE, HOST, BODY].concat(), "0"),
        ([UPGRADE, HOST, FORWARDED, "client_max_body_size 10k;"].concat(), "0"),
        ([UPGRADE, HOST, FORWARDED, "proxy_read_timeout 1s;"].concat(), "6"),
        (own.clone() + "proxy_ignore_headers X-Accel-Buffering;", "0"),
        (own.clone() + "proxy_set_header Origin '';", "0"),
    ] {
        let sick = Nginx::start("", &location(&relay, "/", &[&broken]), "");
        let found = Findings::of(&relay, &sick.url(), &["--idle", idle]);
        let failed = found.list.iter().filter(|finding| finding["level"] == "failure");
        let lines = failed.flat_map(|finding| finding["advice"]["nginx"].as_array().unwrap());
        let lines = lines.map(|line| line.as_str().unwrap()).filter(|line| !line.contains("# in http {}"));
        let mut lines: Vec<&str> = lines.map(|line| line.split(';').next().unwrap().trim()).collect();
        lines.sort_unstable();
        lines.dedup();
        assert!(!lines.is_empty(), "{broken}: {:#?}", found.list);
        let kept = broken.split(';').map(str::trim).filter(|directive| !directive.is_empty());
        let kept = kept.filter(|directive| !lines.iter().any(|line| key(line) == key(directive)));
        let cured: String = kept.chain(lines.iter().copied()).map(|directive| format!("{directive}; ")).collect();
        let well = Nginx::start("", &location(&relay, "/", &[&cured]), "");
        Findings::of(&relay, &well.url(), &["--idle", idle]).nothing();
    }
}

/// A server that is no web server at all: what it says cannot control the terminal.
#[test]
fn what_others_say_is_shown_as_text() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            let mut piece = [0; 4096];
            let _ = stream.read(&mut piece);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n\x1b[2J\x9b31mgone");
        }
    });
    let relay = Relay::start("");
    let done = run(&["doctor", "--config", text(&relay.config), "--idle", "0", &url]);
    assert!(done.out.contains("[2J") && done.code == 1, "{done:?}");
    assert!(!done.out.chars().any(|c| c.is_control() && c != '\n'), "{done:?}");
}

#[test]
fn wrong_arguments() {
    for (args, why) in [
        (&["doctor", "relay.example.org"][..], "expected https://host"),
        (&["doctor", "http://a", "http://b"], "unexpected argument"),
        (&["doctor", "--idle", "x", "http://a"], "expected a number of seconds from 0 to 3600"),
        (&["doctor", "--idle", "3601", "http://a"], "from 0 to 3600"),
        (&["doctor", "--connect", "a", "http://a"], "expected an IP address"),
        (&["doctor", "--origin", "a b", "http://a"], "expected an origin such as"),
    ] {
        let done = run(args);
        assert!(done.code == 2 && done.err.contains(why), "{args:?}: {done:?}");
    }
}

/// What relay says about a request, without a login.
#[test]
fn relay_says_what_it_sees() {
    let relay = behind_proxy("origins = [\"https://shop.example.org\"]\n");
    let ask = |headers: &[(&str, &str)]| -> Answer { relay.request("GET", "/ws?echo=1", headers, b"") };
    let data = |headers: &[(&str, &str)]| ask(headers).json()["data"].clone();
    assert_eq!(
        ask(&[]).body,
        r#"{"code":1,"msg":"","data":{"http":"1.1","plain":true,"address":"local","forwarded":"none","origin":"","origin_allowed":true}}"#
    );
    assert_eq!(ask(&[]).header("cache-control"), "no-store");
    let seen = data(&[("X-Forwarded-For", "192.0.2.1"), ("Origin", "https://a.example")]);
    assert_eq!((&seen["address"], &seen["forwarded"]), (&"192.0.2.1".into(), &"used".into()));
    assert_eq!((&seen["origin"], &seen["origin_allowed"]), (&"https://a.example".into(), &false.into()));
    // The address of a proxy is for operators.
    let token = format!("Bearer {}", support::TOKEN);
    assert_eq!(data(&[("Authorization", &token)])["address"], "127.0.0.1");
    assert!(relay.raw("GET /ws?echo=1 HTTP/1.0\r\n\r\n").contains("\"http\":\"1.0\""));
    assert_eq!(relay.stat("/sessions"), 0);
}

// Relay's own machine.

/// A relay at a port that its configuration names.
fn at_port(more: &str) -> Relay {
    Relay::start(&format!("listen = [\"127.0.0.1:{}\"]\n{more}", free_port()))
}

fn inside(config: &std::path::Path) -> Findings {
    Findings::from(run(&["doctor", "--config", text(config), "--json"]))
}

#[test]
fn a_sound_machine() {
    let log = temp_file("doctor-log");
    let relay = at_port(&format!("[message_log]\ndir = \"{}\"\n", log.display()));
    let found = inside(&relay.config);
    found.only(&[]);
    let ok = found.texts("ok").join("\n");
    for part in [
        "descriptors: ",
        "free for the message log in",
        "certificate: not used",
        "redis: not used",
        "hooks: not used",
        &format!("listen: relay answers at {}", relay.addr),
        "memory: relay takes",
    ] {
        assert!(ok.contains(part), "{part}: {ok}");
    }
    assert!(found.list.iter().any(|finding| finding["check"] == "clock"));
    drop(relay);
    let _ = fs::remove_dir_all(log);
}

/// Several relays on a machine: the one with this configuration counts, and is named.
#[test]
fn the_process_that_is_meant() {
    let few = |relay: &Relay| {
        let done = Command::new("prlimit").args(["--nofile=3000", "--pid", &relay.pid().to_string()]).status();
        assert!(done.expect("prlimit, of the Debian package util-linux").success());
    };
    let (other, relay) = (at_port(""), at_port(""));
    few(&other);
    let of = |found: Findings| {
        let is_it = |finding: &&Value| finding["check"] == "descriptors";
        found.list.iter().find(is_it).unwrap()["text"].as_str().unwrap().to_owned()
    };
    let own = format!("relay (process {}) may open ", relay.pid());
    let text = of(inside(&relay.config));
    assert!(text.starts_with(&own) && !text.starts_with(&format!("{own}3000 ")), "{text}");
    few(&relay);
    let text = of(inside(&relay.config));
    assert_eq!(text, format!("{own}3000 files, so 2936 connections at most: set LimitNOFILE= in relay.service"));
    // Those with other configurations do not count.
    let copy = write("doctor.toml", &fs::read_to_string(&relay.config).unwrap());
    let text = of(inside(&copy));
    assert!(!text.contains(" may open 3000 files"), "{text}");
    fs::remove_file(copy).unwrap();
}

#[test]
fn a_sick_machine() {
    let (port, nobody) = (free_port(), free_port());
    let config = write(
        "doctor.toml",
        &format!(
            "listen = [\"127.0.0.1:{port}\"]\n[sources.a]\nsign_key = \"a long random secret\"\n\
             [limits]\nconnections = 10000000\nmemory = 1000000000000\n\
             [redis]\nurl = \"redis://127.0.0.1:{nobody}\"\n[hooks]\nurl = \"http://127.0.0.1:{nobody}/relay\"\n"
        ),
    );
    let found = inside(&config);
    found.name(
        "listen",
        "is relay running and listening on this address? (address from `listen` of the configuration)",
        "",
    );
    found.name("redis", "Connection refused", "");
    found.name("hooks", "cannot be reached: Connection refused", "");
    found.name("descriptors", "too few for limits.connections = 10000000", "");
    found.name("memory", "the kernel would end relay first", "");
    fs::write(&config, "listen = 7\n").unwrap();
    inside(&config).name("config", ":1:10: listen", "");
    fs::remove_file(config).unwrap();
}

#[test]
fn a_certificate_of_relay_that_ends() {
    const DAY: u64 = 86_400;
    // An hour ago, so that days are never whole.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 3600;
    let names = ["relay.example.org".to_owned()];
    let (key, folder) = (new_key().unwrap(), temp_file("doctor-tls"));
    fs::create_dir(&folder).unwrap();
    let [certificate_file, key_file, config] = ["relay.pem", "relay.key", "relay.toml"].map(|name| folder.join(name));
    fs::write(&key_file, &key).unwrap();
    let tls = |key: &str| {
        format!(
            "listen = [\"tls://127.0.0.1:{}\"]\n[sources.a]\nsign_key = \"a long random secret\"\n\
             [[tls.certificates]]\ncert_file = \"relay.pem\"\nkey_file = \"{key}\"\n",
            free_port()
        )
    };
    fs::write(&config, tls("relay.key")).unwrap();
    for (begin, days, level, part) in [
        (now, 90, "ok", "valid for 89 days, for relay.example.org"),
        (now, 5, "warning", "expires in 4 days"),
        (now - 10 * DAY, 5, "failure", "expired 5 days ago"),
    ] {
        let authority = relay::tls::Authority::new(&names, begin).unwrap();
        fs::write(&certificate_file, authority.issue(&key, &names, begin, days).unwrap()).unwrap();
        let found = inside(&config).texts(level).join("\n");
        assert!(found.contains("certificate: ") && found.contains(part), "{part}: {found}");
    }
    fs::write(folder.join("other.key"), new_key().unwrap()).unwrap();
    fs::write(&config, tls("other.key")).unwrap();
    inside(&config).name("config", "the certificate and the private key do not match", "");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn redis_and_its_password() {
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    let config = write("doctor.toml", "");
    let check = |url: &str| {
        let text = format!("[sources.a]\nsign_key = \"a long random secret\"\n[redis]\nurl = \"{url}\"\n");
        fs::write(&config, text).unwrap();
        inside(&config)
    };
    let address = format!("127.0.0.1:{}", redis.port);
    let ok = check(&format!("redis://:secret@{address}")).texts("ok").join("\n");
    assert!(ok.contains("answers as the master, and its clock agrees"), "{ok}");
    for url in [format!("redis://:wrong@{address}"), format!("redis://{address}")] {
        let found = check(&url);
        found.name("redis", "refused: ", "");
        assert!(!found.run.out.contains("wrong@"), "{}", found.run.out);
    }
    // Not Redis at all, and a replica.
    check(&format!("redis://127.0.0.1:{}", backend("200 OK"))).name("redis", "127.0.0.1", "");
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", "1"]);
    check(&replica.url()).name("redis", "read-only replica: redis.url must lead to the master", "");
    fs::remove_file(config).unwrap();
}

/// A backend that answers OPTIONS with this status.
fn backend(status: &'static str) -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).unwrap_or(0);
            if !piece[..length].starts_with(b"OPTIONS /relay HTTP/1.1\r\n") {
                continue;
            }
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    port
}

#[test]
fn a_backend_is_asked_what_changes_nothing() {
    for (status, level, part) in [
        ("405 Method Not Allowed", "ok", "answers (OPTIONS: status 405)"),
        ("404 Not Found", "warning", "whether the path of hooks.url is right"),
        ("500 Internal Server Error", "failure", "fails: status 500"),
    ] {
        let url = format!("http://127.0.0.1:{}/relay", backend(status));
        let text = format!("[sources.a]\nsign_key = \"a long random secret\"\n[hooks]\nurl = \"{url}\"\n");
        let config = write("doctor.toml", &text);
        let found = inside(&config);
        let texts = found.texts(level).join("\n");
        assert!(texts.contains(part), "{texts}");
        fs::remove_file(config).unwrap();
    }
}
