//! docs/hooks.md, Over https: calls to a backend over TLS, and every way in which that can fail.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::support::{self, Client, Relay, certificates::Authority, wait_for};

/// A backend in Python. It is ended with the value.
struct Backend {
    child: Child,
    said: Arc<Mutex<Vec<Value>>>,
    port: u16,
}

impl Backend {
    /// With the certificate `NAME.pem` of an authority. `more` are further options of the script.
    fn start(authority: &Authority, name: &str, more: Value) -> Backend {
        let mut options = json!({
            "cert": authority.file(&format!("{name}.pem")),
            "key": authority.file(&format!("{name}.key")),
        });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut child = Command::new("python3")
            .args(["tests/support/https_backend.py", &options.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (lines, out) = (said.clone(), BufReader::new(child.stdout.take().unwrap()));
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let mut backend = Backend { child, said, port: 0 };
        backend.port = wait_for("the port", || backend.said.lock().unwrap().first()?["port"].as_u64()) as u16;
        backend
    }

    /// The lines with a key.
    fn said(&self, key: &str) -> Vec<Value> {
        self.said.lock().unwrap().iter().filter(|line| !line[key].is_null()).cloned().collect()
    }

    fn wait(&self, key: &str, count: usize) -> Vec<Value> {
        wait_for(key, || Some(self.said(key)).filter(|lines| lines.len() >= count))
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/hook", self.port)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the backend said:\n{:?}", self.said.lock().unwrap());
        }
    }
}

/// An authority with a certificate for 127.0.0.1 and localhost.
fn authority() -> Authority {
    let authority = Authority::new("test");
    authority.issue("good", "DNS:localhost,IP:127.0.0.1", "2");
    authority
}

/// The lines of `[hooks]` that trust an authority.
fn trust(authority: &Authority) -> String {
    format!("ca_file = \"{}\"\n", authority.file("ca.pem"))
}

/// A configuration whose events go to the backend.
fn configuration(url: &str, more: &str) -> String {
    let timeout = if more.contains("timeout") { "" } else { "timeout = 30\n" };
    format!(
        "[hooks]\nurl = \"{url}\"\nevents = [\"message\"]\n{timeout}{more}[namespaces.\"/\"]\n\
         [[namespaces.\"/\".rules]]\nevent = \"ask\"\nsend = \"hook\"\n[log]\nlevel = \"debug\"\n"
    )
}

fn relay(url: &str, more: &str) -> Relay {
    Relay::start(&configuration(url, more))
}

/// Sends an event to the backend.
fn ask(client: &mut Client) {
    client.send(r#"{"event":"ask","args":[1],"ack":1}"#);
}

/// Sends an event to the backend, which must answer.
fn succeeds(client: &mut Client) {
    ask(client);
    let text = client.text();
    assert!(text.contains("yes"), "{text}");
}

/// Sends an event to a backend that cannot be used. `reason` is a part of the reason in the log.
fn fails(relay: &Relay, client: &mut Client, reason: &str) {
    let count = || relay.log().iter().filter(|line| line.contains("failed: ") && line.contains(reason)).count();
    let before = count();
    ask(client);
    let text = client.text();
    assert!(text.contains("the backend does not answer!"), "{text}");
    wait_for(reason, || (count() > before).then_some(()));
}

/// Calls share a connection, by address and by name, with TLS 1.3 and 1.2. The `Host` header has the port.
#[test]
fn calls_share_connections() {
    let authority = authority();
    for (host, more, version) in
        [("127.0.0.1", json!({}), "TLSv1.3"), ("localhost", json!({"most": "TLSv1_2"}), "TLSv1.2")]
    {
        let backend = Backend::start(&authority, "good", more);
        let relay = relay(&format!("https://{host}:{}", backend.port), &trust(&authority));
        let mut client = relay.connect("room");
        (0..20).for_each(|_| succeeds(&mut client));
        let calls = backend.wait("called", 20);
        assert_eq!((calls.len(), &calls[0]["host"]), (20, &json!(format!("{host}:{}", backend.port))));
        assert_eq!(backend.wait("connected", 1), [json!({"connected": version, "resumed": false})]);
        assert_eq!((relay.counter("hook_failures"), relay.counter("hook_retries")), (0, 0));
        relay.assert_idle("https");
    }
}

/// Requests and responses that are larger than a record of TLS, also if they come in small pieces.
#[test]
fn records_in_pieces() {
    let authority = authority();
    let backend = Backend::start(&authority, "good", json!({"size": 40_000}));
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, behind) = (slow.local_addr().unwrap().port(), backend.port);
    thread::spawn(move || {
        for client in slow.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", behind)).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                to.set_nodelay(true).unwrap();
                thread::spawn(move || {
                    let (mut piece, mut passed) = ([0; 500], 0);
                    // The handshake byte by byte.
                    while let Ok(length @ 1..) = from.read(&mut piece[..if passed < 3000 { 1 } else { 500 }]) {
                        passed += length;
                        if to.write_all(&piece[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    for port in [port, backend.port] {
        let relay = relay(&format!("https://127.0.0.1:{port}"), &trust(&authority));
        let mut client = relay.connect("room");
        for _ in 0..2 {
            client.send(&json!({"event": "ask", "args": ["y".repeat(30_000)], "ack": 1}).to_string());
            assert!(client.text().contains(&"x".repeat(40_000)));
        }
    }
}

/// Certificates that must not be accepted. The reason names the cure, and nothing of the call is sent.
#[test]
fn bad_certificates() {
    let (authority, other) = (authority(), Authority::new("other"));
    authority.issue("name", "DNS:backend.example", "2");
    authority.issue("old", "IP:127.0.0.1", "-1");
    let [good, named, old] = ["good", "name", "old"].map(|name| Backend::start(&authority, name, json!({})));
    for (backend, more, reason) in [
        (&good, trust(&other), "signed by an unknown authority: name the file with its CA in ca_file"),
        (&good, String::new(), "signed by an unknown authority"),
        (&named, trust(&authority), "certificate is not for 127.0.0.1 but for backend.example"),
        (&old, trust(&authority), "certificate has expired: renew it"),
    ] {
        let relay = relay(&backend.url(), &format!("{more}timeout = 1\n"));
        let mut client = relay.connect("room");
        fails(&relay, &mut client, reason);
        // Like a refused connection: it is tried again, and then the backend counts as failing.
        fails(&relay, &mut client, reason);
        relay.wait_log("hooks: the backend does not answer: the server's certificate");
        assert!(relay.admin("/healthz").json()["hooks"]["error"].as_str().unwrap().contains(reason));
        assert!(relay.counter("hook_retries") > 0);
        assert_eq!(backend.said("called"), Vec::<Value>::new());
        // The messages of others pass.
        relay.notify("room", "hello");
        assert_eq!(client.data(), "hello");
    }
}

/// Without `ca_file`, the authorities of the system count.
#[test]
fn system_authorities() {
    let authority = authority();
    let backend = Backend::start(&authority, "good", json!({}));
    let relay = Relay::start_with(&configuration(&backend.url(), ""), |command| {
        command.env("SSL_CERT_FILE", authority.file("ca.pem"));
    });
    succeeds(&mut relay.connect("room"));
}

/// A backend that asks for a certificate, with TLS 1.3 and 1.2.
#[test]
fn mutual_tls() {
    let (authority, other) = (authority(), Authority::new("other"));
    [&authority, &other].into_iter().for_each(|authority| authority.issue("client", "DNS:relay", "2"));
    let identity = |authority: &Authority| {
        let [certificate, key] = ["client.pem", "client.key"].map(|name| authority.file(name));
        format!("cert_file = \"{certificate}\"\nkey_file = \"{key}\"\n")
    };
    for most in ["TLSv1_3", "TLSv1_2"] {
        let backend = Backend::start(&authority, "good", json!({"ca": authority.file("ca.pem"), "most": most}));
        for (more, good) in [(String::new(), false), (identity(&other), false), (identity(&authority), true)] {
            let relay = relay(&backend.url(), &format!("{}{more}timeout = 1\n", trust(&authority)));
            let mut client = relay.connect("room");
            match good {
                true => succeeds(&mut client),
                false => fails(&relay, &mut client, "cert_file"),
            }
        }
        // The other two never got so far.
        assert_eq!(backend.wait("called", 1).len(), 1, "{most}");
    }
}

/// A backend that accepts and stays silent, or speaks no TLS, or closes. Meanwhile the loop serves everybody else.
#[test]
fn no_tls_at_the_port() {
    let authority = authority();
    let serve = |answer: &'static [u8], end: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                // A part of the greeting: an end with unread input would be a reset.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
                if !end {
                    open.push(stream);
                }
            }
        });
        format!("https://127.0.0.1:{port}")
    };
    for (url, reason) in [
        (serve(b"", false), "no TLS handshake in time: does the backend speak TLS at this port?"),
        (serve(b"HTTP/1.1 400 Bad Request\r\n\r\n", false), "does not speak TLS at this port"),
        (serve(b"", true), "the connection ended in the TLS handshake: does the server speak TLS at this port?"),
        // The header of a record that does not come.
        (serve(b"\x16\x03\x03\x40\x00", false), "no TLS handshake in time"),
    ] {
        let relay = relay(&url, &format!("{}timeout = 1\n", trust(&authority)));
        let mut client = relay.connect("room");
        ask(&mut client);
        relay.notify("room", "meanwhile");
        assert_eq!(client.data(), "meanwhile");
        let text = client.text();
        assert!(text.contains("the backend does not answer!"), "{text}");
        relay.wait_log(reason);
        relay.assert_idle("no TLS");
    }
}

/// A response without a length ends with the connection. If TLS did not announce that end, anyone could have cut it off.
#[test]
fn a_response_that_is_cut_off() {
    let authority = authority();
    let relay_with = |end| {
        let backend = Backend::start(&authority, "good", json!({ "end": end }));
        let relay = relay(&backend.url(), &trust(&authority));
        (backend, relay)
    };
    let (_backend, relay) = relay_with("close_notify");
    succeeds(&mut relay.connect("room"));
    let (_backend, relay) = relay_with("cut");
    fails(&relay, &mut relay.connect("room"), "the connection was closed before the response was complete");
}

/// A backend may close idle connections, with or without an announcement. The next call opens a new one, which resumes the
/// session.
#[test]
fn a_backend_that_closes_idle_connections() {
    let authority = authority();
    for end in ["idle notify", "idle"] {
        let backend = Backend::start(&authority, "good", json!({ "end": end }));
        let relay = relay(&backend.url(), &trust(&authority));
        let mut client = relay.connect("room");
        (0..5).for_each(|_| succeeds(&mut client));
        let connected = backend.wait("connected", 5);
        assert_eq!((connected.len(), relay.counter("hook_failures")), (5, 0), "{end}");
        assert_eq!((&connected[0]["resumed"], &connected[4]["resumed"]), (&json!(false), &json!(true)), "{end}");
        relay.assert_idle(end);
    }
}

/// At a reload the files are read again. A change is another backend: nothing of its failures is left.
#[test]
fn files_are_read_at_a_reload() {
    let (authority, other) = (authority(), Authority::new("other"));
    let backend = Backend::start(&authority, "good", json!({}));
    let file = authority.file("trusted.pem");
    fs::copy(other.file("ca.pem"), &file).unwrap();
    let relay = relay(&backend.url(), &format!("ca_file = \"{file}\"\ntimeout = 1\n"));
    let mut client = relay.connect("room");
    (0..2).for_each(|_| fails(&relay, &mut client, "unknown authority"));
    relay.wait_log("hooks: the backend does not answer");
    let count = |text: &str| relay.log().iter().filter(|line| line.contains(text)).count();
    let reload = |text: &str| {
        let before = count(text);
        relay.signal(1);
        wait_for(text, || (count(text) > before).then_some(()));
    };
    fs::copy(authority.file("ca.pem"), &file).unwrap();
    reload("configuration re-read");
    succeeds(&mut client);
    // The same content does not interrupt the connection, and a bad file changes nothing.
    reload("configuration re-read");
    succeeds(&mut client);
    fs::write(&file, "no certificate").unwrap();
    reload("hooks.ca_file");
    succeeds(&mut client);
    assert_eq!(backend.wait("connected", 1).len(), 1);
}

/// `relay check` reads the files, and says what is wrong with them.
#[test]
fn checks() {
    let authority = authority();
    authority.issue("a", "DNS:a", "2");
    authority.issue("b", "DNS:b", "2");
    let file = |name: &str| authority.file(name);
    let check = |url: &str, lines: &[(&str, &str)]| -> (bool, String) {
        let lines: String = lines.iter().map(|(key, name)| format!("{key} = \"{}\"\n", file(name))).collect();
        let path = file("relay.toml");
        fs::write(&path, Relay::configuration(&configuration(url, &lines))).unwrap();
        let output = Command::new(support::binary()).args(["check", "--config", &path]).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for (url, lines, text) in [
        ("https://h", &[("ca_file", "none.pem")][..], "hooks.ca_file: cannot read"),
        ("https://h", &[("ca_file", "a.key")], "no certificate found"),
        ("https://h", &[("cert_file", "a.pem"), ("key_file", "b.key")], "do not match"),
        ("https://h", &[("cert_file", "a.pem")], "hooks.cert_file and hooks.key_file belong together"),
        ("http://h", &[("ca_file", "ca.pem")], "hooks.ca_file needs a hooks.url of https://"),
        ("https://unix:/run/backend.sock", &[], "a Unix socket needs no TLS, write http://"),
        ("https://-", &[], "TLS needs a host name"),
    ] {
        let (good, said) = check(url, lines);
        assert!(!good && said.contains(text) && said.contains("relay.toml:"), "{url} {lines:?}: {said}");
    }
    for (url, lines) in [
        ("https://h", &[("ca_file", "ca.pem"), ("cert_file", "a.pem"), ("key_file", "a.key")][..]),
        ("https://[::1]:8443/hook?a=b", &[]),
    ] {
        let (good, said) = check(url, lines);
        assert!(good, "{url} {lines:?}: {said}");
    }
}

/// A command of a user who may not read the key of the backend's TLS works: it needs none.
#[test]
fn a_client_command_needs_no_files_of_tls() {
    let authority = authority();
    let path = authority.file("relay.toml");
    let lines = format!("ca_file = \"{}\"\n", authority.file("none.pem"));
    fs::write(&path, Relay::configuration(&configuration("https://h", &lines))).unwrap();
    let output = Command::new(support::binary())
        .args(["sign", "connect", "room", "--hex", "--source", "demo", "--config", &path])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
