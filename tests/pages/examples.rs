//! README.md, docs/ and the other pages beside README: every example runs, every link leads somewhere.
//!
//! CONTRIBUTING.md says what each language of a fence means. A page's examples run in their order, in a directory of their
//! own, against a relay that knows the sources, namespaces and secrets that the pages use.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use relay::sign::{Claims, TokenPolicy};
use serde_json::{Deserializer, Value, json};

use crate::support::{
    self, Client, KEY, Relay, TOKEN, login,
    redis::{Redis, wait_linked, wait_siblings, wait_until},
    temp_file,
};

/// A token for the room of the pages, for as long as their examples run.
fn token() -> String {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
    let rooms = vec!["chat_room".into()];
    let claims = Claims { userid: "7".into(), username: None, rooms, may_post: true, expires };
    claims.to_token(KEY, None, &TokenPolicy::default(), expires - 3600)
}

/// Addresses and files in the pages that [`World::adapt`] replaces.
const RELAY: &str = "127.0.0.1:4000";
const REDIS: &str = "redis://user:password@redis.lan:6379/0";
const TOKEN_FILE: &str = "/run/relay/admin.token";
const MESSAGE_LOG: &str = "/var/log/relay";
const DATE: &str = "2026-11-21";
const PROXY: &str = "relay.example.org";

/// The pages with blocks for tests/containers/run.
const CONTAINER_PAGES: [&str; 2] = ["README.md", "docs/installation.md"];
/// Longest README, in lines.
const README_LINES: usize = 200;
/// Commands that a `sh no_run` block may have: they build, install, need a network, examine the machine or take too long. All others must run.
const NOT_RUN: [&str; 38] = [
    "(umask 077; openssl rand ",
    "(umask 077; shopt -s nullglob; tar ",
    "CREDENTIALS_DIRECTORY=",
    "FUZZ_SECONDS=",
    "FUZZ_SEED=",
    "apt ",
    "cargo ",
    "cat relay-",
    "certbot ",
    "curl https://",
    "dnf ",
    "docker ",
    "echo net.ipv4",
    "getent group ",
    "git ",
    "PACKAGING_BIN=",
    "RELAY_TEST_ARM=1 tests/",
    "install ",
    "journalctl ",
    "minisign ",
    "openssl rand ",
    "packaging/",
    "printf '\\n[[tls.certificates]]",
    "relay bench ",
    "relay console --user",
    "relay check && systemctl ",
    "relay doctor",
    "relay serve",
    "relay trace --userid",
    "relay-bench ",
    "sed -i ",
    "sha256sum ",
    "skopeo ",
    "systemctl ",
    "tar ",
    "target/release/",
    "tests/",
    "ufw ",
];
/// Versions of socket.io-client in tests/clients.
const SOCKET_IO: [&str; 4] = ["2.0", "2.5", "3.1", "4.8"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: its name and its text.
fn pages() -> Vec<(String, String)> {
    let mut names: Vec<String> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(String::from).into();
    let docs =
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.extend(docs.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read_to_string(root().join(&name)).unwrap())).collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// A fenced block.
struct Block {
    /// Page and line, for messages.
    place: String,
    language: String,
    run: Run,
    text: String,
}

/// Where a block runs: the word behind its language.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Run {
    /// Here.
    Here,
    /// `container`: with systemd in a container, by tests/containers/run, in the order of the page.
    InContainer,
    /// `no_run`.
    Nowhere,
}

/// The blocks of a page in their order, and the lines outside of them with their numbers.
fn parse<'a>(name: &str, text: &'a str) -> (Vec<Block>, Vec<(usize, &'a str)>) {
    let (mut blocks, mut prose, mut open) = (Vec::new(), Vec::new(), None::<(Block, usize)>);
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (open.take(), line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace();
                let language = words.next().unwrap_or_default().to_owned();
                let place = format!("{name}:{}", number + 1);
                let run = match words.next() {
                    None => Run::Here,
                    Some("container") => Run::InContainer,
                    Some("no_run") => Run::Nowhere,
                    Some(other) => panic!("{place}: unknown word {other:?} after the language"),
                };
                open = Some((Block { place, language, run, text: String::new() }, indent));
            }
            (None, None) => prose.push((number + 1, line)),
            (Some((block, _)), Some("")) => blocks.push(block),
            (Some((mut block, indent)), _) => {
                block.text += line.get(indent..).unwrap_or_default();
                block.text.push('\n');
                open = Some((block, indent));
            }
        }
    }
    assert!(open.is_none(), "{name}: a fence without an end");
    (blocks, prose)
}

/// Everything that the examples of one page need: relay, Redis and a directory.
struct World {
    relay: Relay,
    redis: Redis,
    /// Port for a hooks backend that the page starts.
    backend: u16,
    directory: PathBuf,
    today: String,
    /// Messages received in the rooms that examples send to.
    heard: Arc<Mutex<String>>,
    servers: Vec<Running>,
}

/// A program that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    fn new() -> World {
        let redis = Redis::start();
        let directory = temp_file("docs");
        let log = directory.join("log");
        fs::create_dir_all(&log).unwrap();
        fs::create_dir(directory.join("bin")).unwrap();
        fs::write(directory.join("admin.token"), TOKEN).unwrap();
        let backend = free_port();
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
             [sources.demo]\nsign_key = \"{KEY}\"\njwt = {{ secret = \"{KEY}\" }}\n[sources.remote_debug]\nsign_key = \"5iwdf$%sdfss!#$2334ds(%B)\"\n\
             [admin]\ntoken = \"{TOKEN}\"\n[message_log]\ndir = \"{}\"\n{}\n\
             [presence]\nevents = true\n[history]\ncount = 50\nrooms = [{{ room = \"price-*\", count = 1, last = true }}]\n\
             [hooks]\nurl = \"http://127.0.0.1:{backend}/relay\"\nsecret = \"another one\"\n\
             [namespaces.\"/desk\"]\nauth = \"hook\"\nsource = \"demo\"\n\
             [[namespaces.\"/desk\".rules]]\nevent = \"*\"\nsend = \"hook\"\n",
            log.display(),
            redis.section("")
        );
        let file = directory.join("world.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command.arg("--config").arg(&file);
        let relay = Relay::spawn(command, file);
        wait_linked(&relay);
        // The command-line tools connect to 127.0.0.1:4000 by default; point them at this relay.
        let wrapper = directory.join("bin/relay");
        let (url, program) = (format!("http://{}", relay.addr), env!("CARGO_BIN_EXE_relay"));
        let script = format!(
            "#!/bin/bash\ncase \"$1 $*\" in\n*--url*) ;;\n\"notify \"*|\"emit \"*|\"listen \"*|\"console \"*) set -- \"$@\" --url {url} ;;\n\
             \"top \"*|\"trace \"*) set -- \"$@\" --url {url} --token {TOKEN} ;;\n\
             \"why \"*) set -- \"$@\" --url {url} --token {TOKEN} --source demo ;;\nesac\nexec {program} \"$@\"\n"
        );
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        // The message log's directories have the local date.
        let today = Command::new("date").arg("+%F").output().unwrap();
        let today = String::from_utf8(today.stdout).unwrap().trim().to_owned();
        // Members of the rooms that examples send to: the chat of the demo, and the console of pages that are debugged.
        let heard = Arc::new(Mutex::new(String::new()));
        for (source, rooms, key) in
            [("demo", "chat_room", KEY), ("remote_debug", "console-log", "5iwdf$%sdfss!#$2334ds(%B)")]
        {
            let sign = support::connect_sign(source, rooms, key);
            let member = relay.connect_with(&[("source", source), ("room_ids", rooms), ("sign", &sign)]);
            let heard = heard.clone();
            thread::spawn(move || listen(member, &heard));
        }
        // A line for the examples of `relay console`.
        let line = r#"{"kind":"console","level":"error","args":["cart is empty"],"user":"1305","session":"s","seq":1}"#;
        let mut debugged = relay.connect_with(&[
            ("source", "remote_debug"),
            ("room_ids", "console-log"),
            ("sign", &support::connect_sign("remote_debug", "console-log", "5iwdf$%sdfss!#$2334ds(%B)")),
        ]);
        debugged.send(&format!("{{\"event\":\"postMsg\",\"room_id\":\"console-log\",\"data\":{line}}}"));
        debugged.text();
        World { relay, redis, backend, directory, today, heard, servers: Vec::new() }
    }

    /// Replaces addresses, files and dates of the page by those of this test.
    fn adapt(&self, text: &str) -> String {
        text.replace(RELAY, &self.relay.addr.to_string())
            .replace("'JWT'", &format!("'{}'", token()))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.backend))
            .replace("('127.0.0.1', 8080)", &format!("('127.0.0.1', {})", self.backend))
            .replace(TOKEN_FILE, &self.path("admin.token"))
            .replace(MESSAGE_LOG, &self.path("log"))
            .replace(DATE, &self.today)
            .replace("redis-cli", &format!("redis-cli -p {}", self.redis.port))
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Stores a block under the name in its first line, if that is a comment with a file name, else under `other`.
    fn store(&self, block: &Block, other: &str, text: &str) -> PathBuf {
        let first = block.text.lines().next().unwrap_or_default();
        let named = first.strip_prefix("# ").or(first.strip_prefix("// "));
        let named = named.filter(|name| name.contains('.') && !name.contains([' ', '/']));
        let file = self.directory.join(named.unwrap_or(other));
        fs::write(&file, text).unwrap();
        file
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.current_dir(&self.directory).stdin(Stdio::null());
        // Debian has the proxies in /usr/sbin, which is not in every user's path.
        command.env("PATH", format!("{}:{path}:/usr/sbin", self.path("bin"))).env("RELAY_CONFIG", &self.relay.config);
        command.env("NODE_PATH", root().join("tests/clients/node_modules"));
        command
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Running {
        let mut command = self.command(program);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap_or_else(|error| panic!("{program}: {error} (tests/run installs it)")))
    }

    /// Runs a program that must succeed, and returns its output.
    fn run(&self, block: &Block, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error} (tests/run installs it)"));
        let text = succeeded(&block.place, &output);
        // Answers that the block shows as a comment must come, and it shows the refusals that it wants.
        let shown: Vec<&str> = block.text.lines().filter_map(|line| line.trim_start().strip_prefix("# ")).collect();
        for answer in shown.iter().filter(|line| line.starts_with('{') && !line.contains('…')) {
            assert!(shape(&text).contains(&shape(answer)), "{}: {answer:?} is not in {text:?}", block.place);
        }
        for line in text.lines().filter(|line| !shown.contains(line)) {
            for value in Deserializer::from_str(line).into_iter::<Value>().map_while(Result::ok) {
                assert!(value["code"].is_null() || value["code"] == 1, "{}: {line}", block.place);
            }
        }
        text
    }

    fn example(&mut self, block: &Block) {
        let (text, place) = (self.adapt(&block.text), &block.place);
        let heard = self.heard.clone();
        // Quoted text that begins with "hello" is a message, and must arrive.
        let arrived = || {
            for message in messages(&block.text) {
                wait_long(&format!("{message:?} of {place}"), || heard.lock().unwrap().contains(message).then_some(()));
            }
            heard.lock().unwrap().clear();
        };
        match (block.language.as_str(), block.run) {
            ("sh", Run::InContainer) => {
                let known = CONTAINER_PAGES.iter().any(|page| place.starts_with(page));
                assert!(known, "{place}: tests/containers/run reads only {CONTAINER_PAGES:?}");
                let file = self.store(block, "shown.sh", &text);
                self.run(block, "bash", &["-n", &file.display().to_string()]);
            }
            ("sh", Run::Nowhere) => {
                let file = self.store(block, "shown.sh", &text);
                self.run(block, "bash", &["-n", &file.display().to_string()]);
                for line in block.text.lines() {
                    let known = NOT_RUN.iter().any(|known| line.starts_with(known));
                    assert!(known || line.trim().is_empty(), "{place}: why should {line:?} not run?");
                }
            }
            ("sh", Run::Here) => {
                let file = self.store(block, "example.sh", &text);
                self.run(block, "bash", &["-e", "-o", "pipefail", &file.display().to_string()]);
            }
            ("php", Run::Here) => {
                let file = self.store(block, "example.php", &text).display().to_string();
                let printed = self.run(block, "php", &[&file]);
                // An address for a page must let it in.
                if let Some(path) = printed.trim().strip_prefix(&format!("ws://{}", self.relay.addr)) {
                    Client::open(self.relay.tcp(), path).unwrap();
                }
            }
            ("python", Run::Here) => {
                let file = self.store(block, "example.py", &text).display().to_string();
                if text.contains("serve_forever") {
                    self.serve("python3", &file);
                } else {
                    self.run(block, "python3", &[&file]);
                }
            }
            ("js", Run::Here) if text.contains("io(") => return self.socket_io(block, &text, &arrived),
            ("js", Run::Here) => {
                let file = self.store(block, "example.js", &text).display().to_string();
                if text.contains(".listen(") {
                    self.serve("node", &file);
                } else {
                    self.run(block, "node", &[&file]);
                }
            }
            ("csharp", Run::Here) => {
                let (file, program) = (self.store(block, "example.cs", &text), self.path("example.exe"));
                let out = format!("-out:{program}");
                self.run(block, "mcs", &["-r:System.Net.Http", &out, &file.display().to_string()]);
                self.run(block, "mono", &[&program]);
            }
            ("html", Run::Here) => {
                let file = self.store(block, "example.html", &text);
                let printed = block.text.lines().filter_map(|line| Some(line.split_once("// prints: ")?.1)).collect();
                let errors = self.browse(&file, printed, &arrived);
                assert!(errors.is_empty(), "{place}: {errors}");
                return;
            }
            ("toml", Run::Here) => {
                // The service has a directory for its sockets.
                let sockets = format!("unix:{}/", self.directory.display());
                let text = block.text.replace(REDIS, &self.redis.url()).replace("unix:/run/relay/", &sockets);
                // The files that the block names must exist. Certificates of the service are beside the configuration here.
                let text = text.replace("/etc/relay/tls/", "");
                let named = text.lines().filter_map(|line| line.split_once("_file = \"")?.1.split('"').next());
                let named: Vec<_> = named.filter(|name| !name.starts_with('/')).collect();
                let made_of = |name: &str| {
                    let kinds = [(".pem", "relay.pem"), (".crt", "relay.crt"), (".key", "relay.key")];
                    kinds.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, file)| file)
                };
                if named.iter().any(|name| made_of(name).is_some()) {
                    self.certificate();
                }
                for name in named {
                    let content = match made_of(name) {
                        Some(file) => fs::read(self.directory.join(file)).unwrap(),
                        None => b"a secret of thirty-two characters".into(),
                    };
                    fs::write(self.directory.join(name), content).unwrap();
                }
                let file = self.store(block, "example.toml", &text);
                self.run(block, "relay", &["check", "--config", &file.display().to_string()]);
            }
            ("nginx" | "caddy" | "haproxy" | "apache", Run::Here) => self.proxy(block),
            ("ini", Run::Here) => self.drop_in(block),
            ("json", Run::Here) => {
                for value in Deserializer::from_str(&block.text).into_iter::<Value>() {
                    if let Err(error) = value {
                        panic!("{place}: {error}");
                    }
                }
            }
            ("yaml", Run::Here) => {
                let file = self.store(block, "example.yaml", &text).display().to_string();
                self.run(block, "python3", &["-c", "import sys, yaml; yaml.safe_load(open(sys.argv[1]))", &file]);
            }
            ("text" | "http", Run::Here) => {}
            ("", _) => panic!("{place}: a fence needs a language, at least text"),
            (language, run) => panic!("{place}: nothing can run {language}, {run:?}"),
        }
        if block.run == Run::Here && ["sh", "php", "python", "js", "csharp"].contains(&block.language.as_str()) {
            arrived();
        }
    }

    /// Starts a hooks backend, which serves the blocks after it.
    fn serve(&mut self, program: &str, file: &str) {
        self.servers.push(self.spawn(program, &[file]));
        let port = self.backend;
        wait_long("the backend", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Runs an example of Socket.IO with each version of the client.
    fn socket_io(&self, block: &Block, text: &str, arrived: &impl Fn()) {
        install_clients();
        for version in SOCKET_IO {
            let prelude =
                format!("const library = require('socket.io-client-{version}'); const io = library.io || library\n");
            let file = self.store(block, "example.js", &(prelude + text)).display().to_string();
            let mut running = self.spawn("node", &[&file]);
            let printed = collect(running.0.stdout.take().unwrap());
            let errors = collect(running.0.stderr.take().unwrap());
            // The example is a member of the room: it prints its own message.
            wait_long(&format!("{} with {version}", block.place), || {
                let errors = errors.lock().unwrap();
                assert_eq!(*errors, "", "{} with {version}", block.place);
                printed.lock().unwrap().contains("chat_room").then_some(())
            });
            arrived();
        }
    }

    /// Opens a page in a browser, waits for its messages and for what it prints to its console, and returns the errors there.
    fn browse(&self, file: &Path, printed: Vec<&str>, arrived: &impl Fn()) -> String {
        let profile = format!("--user-data-dir={}", self.path("profile"));
        let address = format!("file://{}", file.display());
        let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
        let flags = [&flags[..], &["--enable-logging=stderr", &profile, &address]].concat();
        let program = std::env::var("CHROMIUM").unwrap_or("chromium".into());
        let mut running = self.spawn(&program, &flags);
        let console = collect(running.0.stderr.take().unwrap());
        arrived();
        for text in printed {
            let line = format!("\"{text}\"");
            wait_long(&format!("{text:?} on the console of {}", file.display()), || {
                console.lock().unwrap().contains(&line).then_some(())
            });
        }
        // A browser that is asked to end ends its own processes too.
        let _ = Command::new("kill").arg(running.0.id().to_string()).status();
        wait_long("the browser's end", || running.0.try_wait().unwrap());
        let console = console.lock().unwrap();
        let wrong = |line: &&str| line.contains("CONSOLE") && (line.contains("ncaught") || line.contains("ERROR"));
        console.lines().filter(wrong).fold(String::new(), |all, line| all + line + "\n")
    }

    /// Verifies a drop-in for relay.service.
    fn drop_in(&self, block: &Block) {
        let unit = page("relay.service").replace("/usr/bin/relay ", &format!("{} ", env!("CARGO_BIN_EXE_relay")));
        let text = block.text.replace("/usr/bin/relay ", &format!("{} ", env!("CARGO_BIN_EXE_relay")));
        let folder = self.directory.join("relay.service.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(self.directory.join("relay.service"), unit).unwrap();
        fs::write(folder.join("example.conf"), text).unwrap();
        self.run(block, "systemd-analyze", &["verify", &self.path("relay.service")]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Runs a proxy in front of relay; requests, polls and opens a WebSocket through it.
    fn proxy(&self, block: &Block) {
        self.certificate();
        let port = free_port();
        let (file, args) = self.proxy_configuration(block, port);
        let file = file.display().to_string();
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "FILE" { file.as_str() } else { arg }).collect();
        let program = match block.language.as_str() {
            "apache" => "apache2",
            other => other,
        };
        let mut command = self.command(program);
        command.args(args).env("HOME", &self.directory).env("XDG_DATA_HOME", &self.directory).stderr(Stdio::piped());
        let child = command.stdout(Stdio::null()).spawn();
        let mut running = Running(child.unwrap_or_else(|error| panic!("{program}: {error} (tests/run installs it)")));
        let log = collect(running.0.stderr.take().unwrap());
        wait_long(program, || {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "{}: {program} ended: {}", block.place, log.lock().unwrap());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let resolve = format!("{PROXY}:{port}:127.0.0.1");
        // The client has another address than the proxy, to see that relay takes it from X-Forwarded-For.
        let curl = |path: &str, more: &[&str]| {
            let mut command = self.command("curl");
            command
                .args(["-sk", "-N", "--max-time", "60", "--interface", "127.0.0.2", "--resolve", &resolve])
                .args(more);
            command.arg(format!("https://{PROXY}:{port}{path}")).stdout(Stdio::piped());
            command
        };
        let get = |path: &str| String::from_utf8(curl(path, &[]).output().unwrap().stdout).unwrap();
        if block.text.contains("return 403") {
            for path in ["/api/notify", "/API/emit", "//api/online", "/%61pi/stats", "/metrics"] {
                assert!(get(path).contains("403"), "{}: {path}", block.place);
            }
        }
        assert!(get("/healthz").starts_with("{\"status\":\"ok\""), "{}: {}", block.place, log.lock().unwrap());
        let opened = get("/socket.io/?EIO=4&transport=polling");
        assert!(opened.starts_with("0{\"sid\":"), "{}: {opened:?}", block.place);
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
        let mut headers = vec!["--http1.1", "-i", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
        headers.extend(upgrade.iter().flat_map(|header| ["-H", header]));
        let path = format!("/ws?{}", login(&[("room_ids", "proxied"), ("userid", "behind")]));
        let mut member = Running(curl(&path, &headers).spawn().unwrap());
        let received = collect(member.0.stdout.take().unwrap());
        let has = |text: &str| {
            wait_long(&format!("{text} through {}", block.place), || {
                // The output is frames: a header, then the text.
                received.lock().unwrap().contains(text).then_some(())
            });
        };
        // curl keeps the headers until something follows them.
        // The list has the address from X-Forwarded-For.
        wait_long(&format!("a member through {}", block.place), || {
            let online = self.relay.admin("/api/online?source=demo&userid=behind");
            online.body.contains("127.0.0.2").then_some(())
        });
        self.relay.notify("proxied", "through the proxy");
        has("101 Switching Protocols");
        has("through the proxy");
        self.doctor(block, port);
    }

    /// Asserts that `relay doctor` finds nothing wrong with a proxy, except that its certificate signs itself.
    fn doctor(&self, block: &Block, port: u16) {
        let mut command = self.command("relay");
        command.args(["doctor", "--config"]).arg(&self.relay.config).args(["--json", "--idle", "0"]);
        let output = command.args(["--connect", "127.0.0.1", &format!("https://{PROXY}:{port}")]).output().unwrap();
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let bad = found.iter().filter(|finding| ["failure", "warning"].contains(&finding["level"].as_str().unwrap()));
        let bad: Vec<_> = bad.filter(|finding| finding["check"] != "tls").collect();
        assert!(bad.is_empty() && found.len() > 10, "{}: {bad:#?}", block.place);
    }

    /// Makes a self-signed certificate with the file names of the configurations.
    fn certificate(&self) {
        let (key, crt) = (self.path("relay.key"), self.path("relay.crt"));
        let subject = format!("/CN={PROXY}");
        let request =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90"];
        let names = format!("subjectAltName=DNS:{PROXY}");
        let output = self
            .command("openssl")
            .args(request)
            .args(["-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &crt])
            .output();
        succeeded("a certificate", &output.unwrap());
        fs::write(
            self.directory.join("relay.pem"),
            fs::read_to_string(&crt).unwrap() + &fs::read_to_string(&key).unwrap(),
        )
        .unwrap();
    }

    /// Completes the block to a configuration that the proxy runs with, and returns its file and the arguments.
    fn proxy_configuration(&self, block: &Block, port: u16) -> (PathBuf, &'static [&'static str]) {
        let directory = self.directory.display();
        let text = self.adapt(&block.text).replace("/etc/ssl/", &format!("{directory}/"));
        let listen = format!("127.0.0.1:{port}");
        let (text, args): (_, &[&str]) = match block.language.as_str() {
            "nginx" => {
                let mut text = text.replace("listen 443", &format!("listen {listen}"));
                if !text.contains("server {") {
                    // The block is part of a server.
                    let rest = if text.contains("location / {") { "" } else { "location / {\n" };
                    let pass = format!(
                        "proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;\n\
                         proxy_set_header Connection upgrade; proxy_set_header X-Forwarded-For $remote_addr; }}\n",
                        self.relay.addr
                    );
                    let pass = if rest.is_empty() { String::new() } else { format!("{rest}{pass}") };
                    text = format!(
                        "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\nserver {{ listen {listen} ssl;\n\
                         ssl_certificate {directory}/relay.crt; ssl_certificate_key {directory}/relay.key;\n{text}\n{pass}}}\n"
                    );
                }
                let mut temporary = String::new();
                for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                    let _ = write!(temporary, "{kind}_temp_path {directory}/{kind};");
                }
                // Without a master process, because its worker would outlive the kill of the master.
                let head = format!(
                    "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr; events {{}}\n\
                     http {{ access_log off;"
                );
                (format!("{head} {temporary}\n{text}}}\n"), &["-c", "FILE", "-e", "stderr"])
            }
            "caddy" => {
                let site = format!(
                    "https://{PROXY}:{port} {{\n    bind 127.0.0.1\n    tls {directory}/relay.crt {directory}/relay.key"
                );
                let text = text.replace(&format!("{PROXY} {{"), &site);
                (
                    format!("{{\n    admin off\n    auto_https off\n}}\n{text}"),
                    &["run", "--adapter", "caddyfile", "--config", "FILE"],
                )
            }
            "haproxy" => (text.replace("bind :443", &format!("bind {listen}")), &["-db", "-f", "FILE"]),
            _ => {
                let mut head = format!(
                    "ServerRoot {directory}\nPidFile {directory}/apache.pid\nErrorLog /dev/stderr\nServerName localhost\n\
                     DefaultRuntimeDir {directory}\nMutex file:{directory}\nListen {listen}\nUser www-data\nGroup www-data\n"
                );
                for module in ["mpm_event", "authz_core", "proxy", "proxy_http", "socache_shmcb", "ssl"] {
                    let _ = writeln!(head, "LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so");
                }
                (head + &text.replace("*:443", &listen), &["-X", "-f", "FILE"])
            }
        };
        let file = self.directory.join(format!("{}.conf", block.language));
        fs::write(&file, text).unwrap();
        (file, args)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.servers.clear();
        // A browser's last processes may still write to their profile.
        for _ in 0..50 {
            if fs::remove_dir_all(&self.directory).is_ok() || !self.directory.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn succeeded(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Replaces each number by 0: counts and times differ in each run.
fn shape(answer: &str) -> String {
    let mut text = String::new();
    for char in answer.chars() {
        if !char.is_ascii_digit() || !text.ends_with('0') {
            text.push(if char.is_ascii_digit() { '0' } else { char });
        }
    }
    text
}

/// Collects the output of a program in the background.
fn collect(output: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let all = Arc::new(Mutex::new(String::new()));
    let (sink, mut output) = (all.clone(), BufReader::new(output));
    thread::spawn(move || {
        while let Ok(bytes) = output.fill_buf() {
            let count = bytes.len();
            if count == 0 {
                break;
            }
            sink.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
            output.consume(count);
        }
    });
    all
}

/// Stores all messages of a member until the relay ends.
fn listen(mut member: Client, heard: &Mutex<String>) {
    member.socket.get_ref().set_read_timeout(None).unwrap();
    while let Ok(message) = member.socket.read() {
        if let tungstenite::Message::Text(text) = message {
            heard.lock().unwrap().push_str(&text);
        }
    }
}

/// Asks until there is an answer, with patience for a browser on a busy machine.
fn wait_long<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Finds quoted text that begins with "hello".
fn messages(text: &str) -> Vec<&str> {
    let starts = text.match_indices("hello").filter(|(at, _)| *at > 0);
    starts
        .filter_map(|(at, _)| {
            let quote = text[..at].chars().next_back().filter(|quote| ['\'', '"'].contains(quote))?;
            Some(&text[at..at + text[at..].find(quote)?])
        })
        .collect()
}

/// Installs the npm packages of tests/clients, unless they are there.
fn install_clients() {
    let folder = root().join("tests/clients");
    if !folder.join("node_modules").exists() {
        let output = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder).output().unwrap();
        succeeded("npm ci", &output);
    }
}

#[test]
fn every_example_runs() {
    for (name, text) in pages() {
        let (blocks, _) = parse(&name, &text);
        if blocks.is_empty() {
            continue;
        }
        let mut world = World::new();
        for block in &blocks {
            world.example(block);
        }
    }
}

/// The anchor of a heading, by GitHub's rules.
fn anchor(heading: &str) -> String {
    let mut text = heading.trim_start_matches('#').trim().replace('`', "");
    // A link counts with its text only.
    while let Some((before, rest)) = text.split_once("](") {
        let (shown, rest) = (before.replace('[', ""), rest.split_once(')').map_or("", |(_, rest)| rest).to_owned());
        text = shown + &rest;
    }
    let kept = text.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(name: &str, text: &str) -> Vec<String> {
    let (mut found, mut seen): (Vec<String>, HashMap<String, usize>) = Default::default();
    for (_, line) in parse(name, text).1 {
        let level = line.len() - line.trim_start_matches('#').len();
        if (1..=6).contains(&level) && line[level..].starts_with(' ') {
            let anchor = anchor(line);
            let times = seen.entry(anchor.clone()).or_default();
            found.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
            *times += 1;
        }
        found.extend(line.split("<a id=\"").skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
    }
    found
}

/// A line without its code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    for (name, text) in &pages {
        for (number, line) in parse(name, text).1 {
            for link in without_code(line).split("](").skip(1) {
                let link = link.split([')', ' ']).next().unwrap_or_default();
                if link.contains("://") || link.starts_with("mailto:") {
                    continue;
                }
                let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
                let from = root().join(name);
                let target = if file.is_empty() { from } else { from.parent().unwrap().join(file) };
                let exists = target.exists()
                    && (fragment.is_empty() || {
                        let text = fs::read_to_string(&target).unwrap_or_default();
                        anchors(link, &text).iter().any(|anchor| anchor == fragment)
                    });
                if !exists {
                    wrong.push(format!("{name}:{number}: {link}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these links lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn the_readme_is_for_a_minute() {
    let lines = page("README.md").lines().count();
    assert!(
        lines <= README_LINES,
        "README.md has {lines} lines, at most {README_LINES} are wanted: move details to docs/"
    );
}

#[test]
fn a_guide_begins_with_its_purpose() {
    for (name, text) in pages() {
        if name.starts_with("docs/") {
            let first = text.lines().nth(2).unwrap_or_default();
            assert!(first.starts_with("After reading this page you "), "{name} begins with {first:?}");
        }
    }
}

/// Tables of limits have the defaults and units of the code.
#[test]
fn limits() {
    let mut shown = 0;
    for (name, text) in pages() {
        for limit in relay::limits::TABLE {
            let default = if limit.is_duration() { limit.default / 1000 } else { limit.default };
            for row in text.lines().filter(|line| line.starts_with(&format!("| `{}` | ", limit.key))) {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                // Other things may have the name of a limit; only limits have a unit.
                if cells.len() != 6 || !relay::limits::TABLE.iter().any(|limit| limit.unit == cells[3]) {
                    continue;
                }
                let first = cells[2].split(' ').next().unwrap();
                assert_eq!((first, cells[3]), (default.to_string().as_str(), limit.unit), "{name}: {row}");
                shown += usize::from(name == "README.md");
            }
        }
    }
    assert_eq!(shown, 5, "README has five of the limits");
}

/// The metrics that pages name are there. The table of all is held to the program by tests/operation/metrics.rs.
#[test]
fn metrics() {
    let metrics = Relay::start("").admin("/metrics").body;
    let mut seen = 0;
    for (page, text) in pages() {
        for code in text.split('`').filter(|code| code.contains("relay_") && !code.contains(['…', '\n'])) {
            for word in code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let suffixes = ["_bucket", "_sum", "_count"];
                let name = suffixes.into_iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
                // Other pages also have keys of Redis that begin so.
                let is_metric = page == "docs/operations.md" || name.ends_with("_total");
                if is_metric && name.starts_with("relay_") {
                    seen += 1;
                    let known = [name, word].iter().any(|name| metrics.contains(&format!("# TYPE {name} ")));
                    assert!(known, "{page} names {word}, which is no metric");
                }
            }
        }
    }
    assert!(seen > 40, "only {seen} names of metrics were found");
}

/// The rights in docs/cluster.md suffice for messages, presence lists, and the clean-up after a dead relay.
#[test]
fn the_rights_of_a_user_of_redis() {
    let text = page("docs/cluster.md");
    let rights = text.split_once("A user of Redis needs\n`").unwrap().1.split('`').next().unwrap().to_owned();
    let redis = Redis::start();
    let mut user = vec!["ACL", "SETUSER", "limited", "on", ">pw", "~node.xin.com:*", "&xin_common_chat*"];
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
    // Kill the other relay: its sessions leave the lists.
    drop((sibling, there));
    wait_siblings(&relay, 0);
    wait_until(json!(1), sessions);
    wait_until(1, || redis.hash("node.xin.com:xin_socket_connections_demo").len());
    assert_eq!(relay.get("/healthz").json()["redis"]["status"], "ok");
    assert!(!relay.log().concat().contains("NOPERM"), "{:?}", relay.log());
}

/// The helpers of this file.
#[test]
fn how_pages_are_read() {
    let (blocks, prose) = parse("x", "a\n```sh no_run\ncargo b\n```\n- b\n  ```json\n  {}\n  ```\n");
    let blocks: Vec<_> = blocks.iter().map(|block| (&*block.language, block.run, &*block.text)).collect();
    assert_eq!(blocks, [("sh", Run::Nowhere, "cargo b\n"), ("json", Run::Here, "{}\n")]);
    assert_eq!(prose, [(1, "a"), (5, "- b")]);
    assert_eq!(messages("a 'hello b' \"hello 'c'\" hello = 'x'"), ["hello b", "hello 'c'"]);
    for (heading, expected) in [
        ("## Socket.IO", "socketio"),
        ("### 10 Operators' HTTP `API`", "10-operators-http-api"),
        ("# [a](b) é", "a-é"),
        ("## C#", "c"),
    ] {
        assert_eq!(anchor(heading), expected);
    }
    assert_eq!(anchors("x", "# a\n## a\n```sh\n# no\n```\n"), ["a", "a-1"]);
    assert_eq!(shape("{\"n\":17,\"m\":0}"), "{\"n\":0,\"m\":0}");
    assert_eq!(without_code("a `[b](c)` [d](e)"), "a  [d](e)");
}
