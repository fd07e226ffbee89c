//! docs/protocol.md, TLS: handshakes, certificates and their renewal, HTTP and WebSockets over TLS, and every way in which
//! it can fail.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use relay::tls::testing::{Forger, client, sent};
use rustls::{
    ClientConfig, ClientConnection, ContentType, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tungstenite::{Message, WebSocket};

use crate::support::{
    self, Answer, KEY, PATIENCE, Relay, TOKEN, UPGRADE, binary, certificates::Authority, login, notify_sign,
    read_answer, send_request, temp_file, wait_for,
};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a relay with a certificate of it. The first address is plain.
struct Secure {
    authority: Authority,
    relay: Relay,
    tls: SocketAddr,
}

impl Secure {
    fn start(more: &str) -> Secure {
        let authority = Authority::new("test");
        authority.issue("good", "DNS:localhost,IP:127.0.0.1", "2");
        let text =
            format!("listen = [\"127.0.0.1:0\", \"tls://127.0.0.1:0\"]\n{more}\n{}", certificate(&authority, "good"));
        let relay = Relay::start(&text);
        let addresses = relay.addresses(2);
        let tls = addresses.iter().find_map(|address| address.strip_prefix("tls://")).unwrap().parse().unwrap();
        Secure { authority, relay, tls }
    }

    /// A relay whose clients come through a proxy that sends PROXY headers before TLS.
    fn behind_proxy() -> Secure {
        let authority = Authority::new("test");
        authority.issue("good", "DNS:localhost", "2");
        let relay = Relay::start(&format!(
            "listen = [\"127.0.0.1:0\", \"proxy+tls://127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n{}",
            certificate(&authority, "good")
        ));
        let addresses = relay.addresses(2);
        let tls = addresses.iter().find_map(|address| address.strip_prefix("proxy+tls://")).unwrap().parse().unwrap();
        Secure { authority, relay, tls }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tls).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn config(&self) -> ClientConfig {
        let pem = fs::read_to_string(self.authority.file("ca.pem")).unwrap();
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(relay::tls::authorities(&pem).unwrap())
            .with_no_client_auth()
    }

    fn connect(&self) -> Tls {
        self.connect_with(Arc::new(self.config()), "localhost")
    }

    fn connect_with(&self, config: Arc<ClientConfig>, host: &'static str) -> Tls {
        let tls = ClientConnection::new(config, ServerName::try_from(host).unwrap()).unwrap();
        StreamOwned::new(tls, self.tcp())
    }

    fn get(&self, target: &str) -> Answer {
        let mut stream = self.connect();
        send_request(&mut stream, "GET", target, &[], b"");
        read_answer(&mut stream, false)
    }

    fn client(&self, room: &str) -> WebSocket<Tls> {
        let path = format!("wss://localhost/ws?{}", login(&[("room_ids", room)]));
        tungstenite::client(path, self.connect()).unwrap().0
    }

    /// Runs `openssl s_client` with input; its output.
    fn openssl(&self, options: &[&str], input: &[u8]) -> String {
        let address = self.tls.to_string();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address]).args(options);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may have ended already.
        let _ = stdin.write_all(input);
        let done = if options.contains(&"-ign_eof") {
            drop(stdin);
            child.wait_with_output().unwrap()
        } else {
            let done = child.wait_with_output().unwrap();
            drop(stdin);
            done
        };
        String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
    }

    /// A connection after its handshake. In TLS 1.3 its last message is not sent yet, so that more can go with it.
    fn established(&self, version: &'static SupportedProtocolVersion) -> (TcpStream, ClientConnection) {
        let (mut stream, mut tls) = (self.tcp(), client(version));
        while tls.is_handshaking() {
            stream.write_all(&sent(&mut tls)).unwrap();
            assert_ne!(tls.read_tls(&mut stream).unwrap(), 0, "relay ended the handshake");
            tls.process_new_packets().unwrap();
        }
        (stream, tls)
    }

    /// The reasons of failed handshakes with their counts.
    fn failures(&self) -> String {
        let text = self.relay.admin("/metrics").body;
        let failed = text.lines().filter_map(|line| line.strip_prefix("relay_tls_failed_total{reason=\""));
        let failed: Vec<_> = failed.filter(|line| !line.ends_with(" 0")).map(|line| line.replace("\"}", "")).collect();
        failed.join(", ")
    }

    fn reload(&self) {
        self.relay.signal(1);
    }

    /// The common names or alternative names of the certificate for a host.
    fn certificate_for(&self, host: &str) -> String {
        let options = ["-ign_eof", "-servername", host];
        let shown = self.openssl(if host.is_empty() { &["-ign_eof", "-noservername"] } else { &options }, CLOSING);
        let begin = shown.find("-----BEGIN CERTIFICATE").unwrap_or_else(|| panic!("{shown}"));
        let end = shown.find("-----END CERTIFICATE-----").unwrap();
        let file = temp_file("shown.pem");
        fs::write(&file, format!("{}-----END CERTIFICATE-----\n", &shown[begin..end])).unwrap();
        let text = Command::new("openssl")
            .args(["x509", "-noout", "-ext", "subjectAltName", "-in", file.to_str().unwrap()])
            .output()
            .unwrap();
        fs::remove_file(file).unwrap();
        String::from_utf8(text.stdout).unwrap()
    }
}

fn certificate(authority: &Authority, name: &str) -> String {
    let [certificate, key] = ["pem", "key"].map(|ending| authority.file(&format!("{name}.{ending}")));
    format!("[[tls.certificates]]\ncert_file = \"{certificate}\"\nkey_file = \"{key}\"\n")
}

/// Reads until relay announces the end of its data.
fn read_to_announcement(stream: &mut TcpStream, tls: &mut ClientConnection) -> String {
    let (mut data, mut announced) = (Vec::new(), false);
    while !announced {
        match tls.read_tls(stream) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            end => panic!(
                "{end:?} where relay should answer or announce its end, after {:?}",
                String::from_utf8_lossy(&data)
            ),
        }
        announced = tls.process_new_packets().unwrap().peer_has_closed();
        match tls.reader().read_to_end(&mut data) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
            _ => {}
        }
    }
    String::from_utf8(data).unwrap()
}

/// A notification as a request.
fn notification(data: &str) -> Vec<u8> {
    let sign = notify_sign("demo", "room", data, KEY);
    let body = support::form(&[("source", "demo"), ("room_id", "room"), ("data", data), ("sign", &sign)]);
    let mut request = Vec::new();
    send_request(&mut request, "POST", "/api/notify", &[("Content-Type", support::FORM)], body.as_bytes());
    request
}

/// A request after which relay closes the connection.
const CLOSING: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";

#[test]
fn versions_and_ciphers() {
    let secure = Secure::start("");
    let shown = |options: &[&str]| secure.openssl(&[&["-ign_eof"], options].concat(), CLOSING);
    for (options, expected) in [
        (&["-tls1_3"][..], "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256"),
        (&["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLS_CHACHA20_POLY1305_SHA256"),
        (&["-tls1_2"], "TLSv1.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "ECDHE-ECDSA-CHACHA20-POLY1305"),
        // A group that needs another ClientHello.
        (&["-tls1_3", "-groups", "P-521:P-384"], "TLSv1.3"),
        (&["-alpn", "h2,http/1.1"], "ALPN protocol: http/1.1"),
    ] {
        let shown = shown(options);
        assert!(shown.contains(expected) && shown.contains("{\"status\":\"ok\"}"), "{options:?}: {shown}");
    }
    for (options, expected) in [
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "AES128-SHA"], "alert handshake failure"),
        (&["-alpn", "h2"], "alert no application protocol"),
    ] {
        let shown = shown(options);
        assert!(shown.contains(expected), "{options:?}: {shown}");
    }
    assert_eq!(secure.relay.counter("tls_failed"), 3);
    assert_eq!(secure.failures(), "incompatible 3");
    assert_eq!(secure.relay.counter("tls_handshakes"), 8);

    let only = Secure::start("[tls]\nmin_version = \"1.3\"");
    assert!(only.openssl(&["-ign_eof", "-tls1_2"], CLOSING).contains("alert protocol version"));
    assert_eq!(only.get("/healthz").status, 200);
}

/// Sessions are continued, also after a reload.
#[test]
fn sessions_continue() {
    let secure = Secure::start("");
    for version in ["-tls1_2", "-tls1_3"] {
        let session = temp_file("session");
        let file = session.to_str().unwrap();
        let first = secure.openssl(&["-ign_eof", version, "-sess_out", file], CLOSING);
        assert!(first.contains("New, TLS"), "{first}");
        secure.reload();
        secure.relay.wait_log("configuration re-read");
        let next = secure.openssl(&["-ign_eof", version, "-sess_in", file], CLOSING);
        assert!(next.contains("Reused, TLS") && next.contains("{\"status\":\"ok\"}"), "{next}");
        fs::remove_file(session).unwrap();
    }
    assert_eq!(secure.relay.counter("tls_resumed"), 2);
    assert_eq!(secure.relay.counter("tls_handshakes"), 4);
}

#[test]
fn new_keys_in_both_directions() {
    let secure = Secure::start("");
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &secure.tls.to_string(), "-tls1_3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let shown = Arc::new(Mutex::new(String::new()));
    let outputs: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for mut output in outputs {
        let shown = shown.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
    }
    // The program takes only what comes alone for a command.
    let mut send = |bytes: &[u8], text: &str, count: usize| {
        stdin.write_all(bytes).unwrap();
        wait_for(text, || (shown.lock().unwrap().matches(text).count() >= count).then_some(()));
    };
    let request = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n";
    send(request, "{\"status\":\"ok\"}", 1);
    for (number, command) in ["K\n", "k\n", "K\n"].into_iter().enumerate() {
        send(command.as_bytes(), "KEYUPDATE", number + 1);
        send(request, "{\"status\":\"ok\"}", number + 2);
    }
    assert_eq!(secure.relay.counter("tls_errors"), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Messages to and from a WebSocket and a polling client, small and large.
#[test]
fn messages_pass() {
    let secure = Secure::start("");
    let mut member = secure.client("room");
    let mut plain = secure.relay.connect("room");
    for size in [1, 100, 16_000, 17_000, 200_000] {
        let data = "x".repeat(size);
        secure.relay.notify("room", &data);
        let text = member.read().unwrap().into_text().unwrap();
        assert!(text.contains(&format!("\"data\":\"{data}\"")), "{size}");
        plain.data();
        // The other way.
        member
            .send(Message::text(format!("{{\"event\":\"postMsg\",\"room_id\":\"room\",\"data\":\"{data}\"}}")))
            .unwrap();
        assert_eq!(plain.data(), data);
        loop {
            let text = member.read().unwrap().into_text().unwrap();
            if text.contains("newMsg") {
                break;
            }
        }
    }
    member.close(None).unwrap();
    let end = loop {
        match member.read() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    // The end was announced by TLS.
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    // Notifications over TLS, on one connection.
    let mut stream = secure.connect();
    for number in ["1", "2", "3"] {
        stream.write_all(&notification(number)).unwrap();
        assert_eq!(read_answer(&mut stream, false).json()["code"], 1);
        assert_eq!(plain.data(), number);
    }
    let long = secure.get("/socket.io/?EIO=4&transport=polling");
    assert!(long.body.starts_with("0{"), "{long:?}");
}

/// The certificate for each host, and new ones after a reload. Nobody is disconnected.
/// The body of a stream ends with the connection, so its end must be told from a lost connection.
#[test]
fn streams() {
    let mut secure = Secure::start("");
    let open = |secure: &Secure| {
        let mut stream = secure.connect();
        let query = login(&[("room_ids", "room"), ("format", "lines")]);
        send_request(&mut stream, "GET", &format!("/sse?{query}"), &[], b"");
        assert_eq!(read_answer(&mut stream, false).status, 200);
        BufReader::new(stream)
    };
    let (mut stream, mut quitter) = (open(&secure), open(&secure));
    let line = |stream: &mut BufReader<Tls>| {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["data"].as_str().unwrap().to_owned()
    };
    // More than a record, and more than the socket takes at once.
    for size in [1, 16_384, 300_000] {
        let data = "x\n".repeat(size / 2) + "y";
        secure.relay.notify("room", &data);
        assert_eq!(line(&mut stream), data);
        assert_eq!(line(&mut quitter), data);
    }
    drop(quitter);
    wait_for("one session", || (secure.relay.stat("/sessions") == 1).then_some(()));
    secure.relay.signal(15);
    let mut rest = String::new();
    // rustls reports an end without close_notify as an error.
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    drop(stream);
    assert_eq!(secure.relay.wait(), 0);
}

/// An EventSource gets its answer over TLS, too.
#[test]
fn an_event_source_over_the_limit() {
    let secure = Secure::start("[limits]\nconnections = 1");
    let _first = secure.relay.tcp();
    let answer = wait_for("the limit", || {
        let answer = secure.get(&format!("/sse?{}", login(&[])));
        answer.headers.contains_key("content-length").then_some(answer)
    });
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("retry: "), "{answer:?}");
    assert_eq!(secure.get("/healthz").status, 503);
}

#[test]
fn certificates_by_name_and_their_renewal() {
    let secure = Secure::start("");
    let authority = &secure.authority;
    authority.issue("wild", "DNS:*.example.org,DNS:example.org", "2");
    let text = fs::read_to_string(&secure.relay.config).unwrap();
    fs::write(&secure.relay.config, text + &certificate(authority, "wild")).unwrap();
    let mut member = secure.client("room");
    secure.reload();
    secure.relay.wait_log("configuration re-read");
    for (host, names) in [
        ("localhost", "DNS:localhost, IP Address:127.0.0.1"),
        ("", "DNS:localhost"),
        ("unknown.example.com", "DNS:localhost"),
        ("example.org", "DNS:*.example.org, DNS:example.org"),
        ("www.Example.org", "DNS:*.example.org"),
        ("a.b.example.org", "DNS:localhost"),
    ] {
        let found = secure.certificate_for(host);
        assert!(found.contains(names), "{host}: {found}");
    }
    authority.issue("wild", "DNS:new.example.org", "2");
    secure.reload();
    wait_for("the new certificate", || {
        secure.certificate_for("new.example.org").contains("DNS:new.example.org").then_some(())
    });
    // A bad file changes nothing.
    let key = authority.file("wild.key");
    fs::copy(authority.file("good.key"), &key).unwrap();
    secure.reload();
    secure.relay.wait_log("the certificate and the private key do not match");
    secure.relay.wait_log("the old one stays in force");
    assert!(secure.certificate_for("new.example.org").contains("DNS:new.example.org"));
    secure.relay.notify("room", "still there");
    assert!(member.read().unwrap().into_text().unwrap().contains("still there"));
    let expiry = secure.relay.metric("relay_tls_certificate_expiry_timestamp_seconds");
    assert!(expiry > 1_700_000_000);
}

/// What `relay check` and the start say about certificates.
#[test]
fn bad_certificates() {
    let authority = Authority::new("authority");
    authority.issue("good", "DNS:localhost", "2");
    authority.issue("long", "DNS:localhost", "400");
    authority.issue("other", "DNS:localhost", "2");
    authority.issue("old", "DNS:old.example", "-1");
    authority.issue("nameless", "IP:127.0.0.1", "400");
    let [good, key, ca] =
        ["good.pem", "good.key", "ca.pem"].map(|name| fs::read_to_string(authority.file(name)).unwrap());
    fs::write(authority.file("chain.pem"), format!("{good}{ca}")).unwrap();
    fs::write(authority.file("wrong.pem"), format!("{ca}{good}")).unwrap();
    let (long, other) = (fs::read_to_string(authority.file("long.pem")).unwrap(), authority.file("other.pem"));
    fs::write(authority.file("mixed.pem"), format!("{long}{}{ca}", fs::read_to_string(other).unwrap())).unwrap();
    fs::write(authority.file("damaged.pem"), &good[..good.len() / 2]).unwrap();
    fs::write(authority.file("empty.pem"), "").unwrap();
    let encrypted = authority.file("encrypted.key");
    let options = ["pkey", "-aes256", "-passout", "pass:x", "-in", &authority.file("good.key"), "-out", &encrypted];
    assert!(Command::new("openssl").args(options).status().unwrap().success());
    let _ = key;
    let check = |certificate: &str, key: &str, expected: i32| {
        let config = temp_file("relay.toml");
        let certificate = authority.file(certificate);
        let text = format!(
            "listen = [\"tls://127.0.0.1:4443\"]\n[sources.a]\nsign_key = \"0123456789abcdef\"\n[admin]\ntoken = \"{TOKEN}{TOKEN}\"\n\
             [[tls.certificates]]\ncert_file = \"{certificate}\"\nkey_file = \"{}\"\n",
            authority.file(key)
        );
        fs::write(&config, text).unwrap();
        let done = Command::new(binary()).args(["check", "--config", config.to_str().unwrap()]).output().unwrap();
        fs::remove_file(config).unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(expected), "{said}");
        said
    };
    for (certificate, key, text) in [
        ("none.pem", "good.key", "tls.certificates.cert_file: cannot read"),
        ("good.pem", "none.key", "tls.certificates.key_file: cannot read"),
        ("empty.pem", "good.key", "no certificate found"),
        ("damaged.pem", "good.key", "a section of the PEM file is damaged"),
        ("good.pem", "good.pem", "no private key found"),
        ("good.pem", "encrypted.key", "the private key is encrypted"),
        ("good.pem", "other.key", "the certificate and the private key do not match"),
        ("old.pem", "old.key", "the certificate cannot be used"),
        ("wrong.pem", "good.key", "the certificates are in the wrong order"),
    ] {
        let said = check(certificate, key, 78);
        assert!(said.contains(text), "{certificate} {key}: {said}");
    }
    for (certificate, key, text) in [
        ("good.pem", "good.key", "(localhost) expires in"),
        ("chain.pem", "good.key", "(localhost) expires in"),
        ("mixed.pem", "long.key", "are not in order"),
        ("nameless.pem", "nameless.key", "has no host name"),
    ] {
        let said = check(certificate, key, 0);
        assert!(said.contains(text), "{certificate} {key}: {said}");
    }
    let said = check("long.pem", "long.key", 0);
    assert!(!said.contains("tls"), "{said}");
}

/// A client that speaks HTTP at an address with TLS, and the other way round, learns what is wrong.
#[test]
fn the_wrong_protocol() {
    let secure = Secure::start("[log]\nlevel = \"debug\"");
    let mut stream = secure.tcp();
    send_request(&mut stream, "GET", "/", &UPGRADE, b"");
    let answer = read_answer(&mut stream, false);
    assert_eq!(
        (answer.status, answer.json()["msg"].as_str()),
        (400, Some("this address uses TLS: connect with https:// or wss://"))
    );
    let mut end = Vec::new();
    stream.read_to_end(&mut end).unwrap();
    assert!(end.is_empty());

    let config = Arc::new(secure.config());
    let mut tls = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let answer = secure.relay.raw(&hello);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("this address does not use TLS"), "{answer}");
    secure.relay.wait_log("its address of listen has no tls://");

    for garbage in
        [&b"\x00\x01\x02"[..], b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", &[0x16; 40_000]]
    {
        let mut stream = secure.tcp();
        stream.write_all(garbage).unwrap();
        // relay closes it: an alert may come before.
        wait_for("the end", || match stream.read(&mut [0; 100]) {
            Ok(0) => Some(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(()),
            Ok(_) => None,
            Err(error) => panic!("{error}"),
        });
    }
    assert_eq!(secure.relay.counter("tls_failed"), 5);
    assert_eq!(secure.failures(), "not_tls 2, protocol 3");
}

/// `relay_tls_failed_total` has the reasons of clients that refuse a handshake or leave it.
#[test]
fn reasons_of_failed_handshakes() {
    let secure = Secure::start("");
    // Without a byte, and within a message.
    drop(secure.tcp());
    secure.tcp().write_all(b"\x16\x03\x01").unwrap();
    // It knows no authority.
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let refused = secure.connect_with(Arc::new(config), "localhost").write_all(CLOSING);
    assert!(refused.unwrap_err().to_string().contains("UnknownIssuer"));
    // `internal_error`, in place of its next message.
    let mut stream = secure.tcp();
    stream.write_all(&sent(&mut client(&TLS12))).unwrap();
    assert_ne!(stream.read(&mut [0]).unwrap(), 0);
    stream.write_all(b"\x15\x03\x03\0\x02\x02\x50").unwrap();
    wait_for("the failures", || (secure.relay.counter("tls_failed") == 4).then_some(()));
    assert_eq!(secure.failures(), "closed 2, certificate 1, alert 1");
}

/// A handshake that stops at any byte is ended after `limits.request_timeout`, and nothing is left of it.
#[test]
fn slow_handshakes() {
    let secure = Secure::start("[limits]\nrequest_timeout = 1");
    let config = Arc::new(secure.config());
    let mut tls = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let before = secure.relay.descriptors();
    let mut streams: Vec<TcpStream> = (0..=hello.len())
        .step_by(7)
        .map(|cut| {
            let mut stream = secure.tcp();
            stream.write_all(&hello[..cut]).unwrap();
            stream
        })
        .collect();
    for stream in &mut streams {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(&[22]), "{answer:?}");
    }
    assert_eq!(secure.relay.counter("tls_failed"), streams.len() as u64);
    assert_eq!(secure.failures(), format!("timeout {}", streams.len()));
    wait_for("the connections to be freed", || (secure.relay.descriptors() <= before).then_some(()));
    assert_eq!(secure.relay.metric("relay_unfinished_bytes"), 0);
    assert_eq!(secure.get("/healthz").status, 200);
    // The head of a request has its own time.
    let mut stream = secure.connect();
    stream.write_all(b"GET / HTT").unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 408);
}

/// A record that does not end counts as incomplete input.
#[test]
fn half_records_are_counted() {
    let secure = Secure::start("");
    let mut stream = secure.connect();
    stream.write_all(b"G").unwrap();
    stream.flush().unwrap();
    stream.conn.writer().write_all(&[b'x'; 16_000]).unwrap();
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).unwrap();
    stream.sock.write_all(&record[..10_000]).unwrap();
    wait_for("the record", || (secure.relay.metric("relay_unfinished_bytes") >= 10_000).then_some(()));
    drop(stream);
    wait_for("its end", || (secure.relay.metric("relay_unfinished_bytes") == 0).then_some(()));
}

/// Ends of both kinds: announced, and by a lost connection.
#[test]
fn ends() {
    let secure = Secure::start("");
    // Announced: the answers still come, and relay announces its end too.
    let mut stream = secure.connect();
    send_request(&mut stream, "GET", "/healthz", &[], b"");
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 200);
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    // Announced by relay: it waits for the client, which keeps the connection.
    let mut stream = secure.connect();
    stream.write_all(CLOSING).unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 200);
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    secure.relay.assert_idle("while a client keeps a closed connection");
    drop(stream);
    // Not announced.
    let member = secure.client("room");
    wait_for("the session", || (secure.relay.stat("/sessions") == 1).then_some(()));
    member.get_ref().sock.shutdown(Shutdown::Write).unwrap();
    wait_for("its end", || (secure.relay.stat("/sessions") == 0).then_some(()));
    // A shutdown of relay closes WebSockets and announces the end.
    let mut member = secure.client("room");
    let mut relay = secure.relay;
    relay.signal(15);
    match member.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("{other:?}"),
    }
    let _ = member.flush();
    while member.read().is_ok() {}
    assert_eq!(relay.wait(), 0);
}

/// Requests that arrive together with the announced end, and with the end of the handshake, are all answered.
#[test]
fn pipelined_requests_before_the_end() {
    let secure = Secure::start("");
    for version in [&TLS12, &TLS13] {
        for count in [1, 50, 500] {
            let (mut stream, mut tls) = secure.established(version);
            tls.set_buffer_limit(None);
            let mut request = Vec::new();
            send_request(&mut request, "GET", "/healthz", &[], b"");
            tls.writer().write_all(&request.repeat(count)).unwrap();
            tls.send_close_notify();
            stream.write_all(&sent(&mut tls)).unwrap();
            let answers = read_to_announcement(&mut stream, &mut tls);
            assert_eq!(answers.matches("{\"status\":\"ok\"}").count(), count, "{answers}");
        }
    }
    assert_eq!(secure.relay.counter("tls_errors"), 0);
}

/// Nothing behind the announced end is handled, whether it comes with it or later, sealed or not.
#[test]
fn nothing_follows_the_end() {
    let secure = Secure::start("");
    let mut member = secure.relay.connect("room");
    for version in [&TLS12, &TLS13] {
        for together in [true, false] {
            let (mut stream, mut tls) = secure.established(version);
            stream.write_all(&sent(&mut tls)).unwrap();
            let mut forger = Forger::new(tls);
            let before = [
                forger.seal(ContentType::ApplicationData, &notification("before")),
                forger.seal(ContentType::Alert, b"\x01\0"),
            ];
            let after = [
                forger.seal(ContentType::ApplicationData, &notification("after")),
                notification("after"),
                b"\x17\x03\x03\xff\xff".to_vec(),
            ];
            match together {
                true => stream.write_all(&[before.concat(), after.concat()].concat()).unwrap(),
                false => {
                    stream.write_all(&before.concat()).unwrap();
                    assert_eq!(member.data(), "before");
                    // relay may have closed the connection.
                    let _ = stream.write_all(&after.concat());
                }
            }
            // With the announcement of relay, or without if it closes a connection with unread input.
            match stream.read_to_end(&mut Vec::new()) {
                Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error} in place of the end"),
                _ => {}
            }
            if together {
                assert_eq!(member.data(), "before");
            }
            secure.relay.notify("room", "last");
            assert_eq!(member.data(), "last");
        }
    }
    assert_eq!(secure.relay.counter("tls_errors"), 0);
    assert_eq!(secure.relay.counter("bad_requests"), 0);
}

/// A request is answered if each of its bytes is a record, also if each record arrives alone.
#[test]
fn records_of_one_byte() {
    let secure = Secure::start("");
    let mut member = secure.relay.connect("room");
    for version in [&TLS12, &TLS13] {
        for alone in [false, true] {
            let (mut stream, mut tls) = secure.established(version);
            stream.write_all(&sent(&mut tls)).unwrap();
            let data = format!("{version:?} {alone}");
            let records = notification(&data).into_iter().map(|byte| {
                tls.writer().write_all(&[byte]).unwrap();
                sent(&mut tls)
            });
            let records: Vec<Vec<u8>> = records.collect();
            match alone {
                true => records.iter().for_each(|record| stream.write_all(record).unwrap()),
                false => stream.write_all(&records.concat()).unwrap(),
            }
            tls.send_close_notify();
            stream.write_all(&sent(&mut tls)).unwrap();
            let answer = read_to_announcement(&mut stream, &mut tls);
            assert!(answer.contains("\"code\":1"), "{answer}");
            assert_eq!(member.data(), data);
        }
    }
    assert_eq!(secure.relay.counter("tls_errors"), 0);
}

/// A client that reads slowly gets everything, or is closed; others are not affected.
#[test]
fn slow_readers() {
    let secure = Secure::start("[limits]\nunsent = 4000000");
    let mut slow = secure.client("room");
    let mut quick = secure.relay.connect("room");
    let data = "y".repeat(100_000);
    for number in 0..30 {
        secure.relay.notify("room", &format!("{number} {data}"));
        assert!(quick.data().as_str().unwrap().starts_with(&format!("{number} ")));
    }
    for number in 0..30 {
        let text = slow.read().unwrap().into_text().unwrap();
        assert!(text.contains(&format!("\"{number} yyy")), "{number}");
    }
    // One that reads nothing is closed as a slow consumer.
    for number in 0..200 {
        secure.relay.notify("room", &format!("{number} {data}"));
        quick.data();
        if secure.relay.counter("slow_consumers") == 1 {
            break;
        }
    }
    assert_eq!(secure.relay.counter("slow_consumers"), 1);
    let code = loop {
        if let Message::Close(frame) = slow.read().unwrap() {
            break u16::from(frame.unwrap().code);
        }
    };
    assert_eq!(code, 1013);
}

/// Over `limits.connections` a client gets its 503 by TLS.
#[test]
fn limits_are_answered() {
    let secure = Secure::start("[limits]\nconnections = 2");
    let held: Vec<Tls> = (0..2)
        .map(|_| {
            let mut stream = secure.connect();
            send_request(&mut stream, "GET", "/healthz", &[], b"");
            assert_eq!(read_answer(&mut stream, false).status, 200);
            stream
        })
        .collect();
    let mut stream = secure.connect();
    stream.flush().unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 503);
    drop(held);
}

/// With `proxy+tls://` the header comes before TLS.
#[test]
fn behind_a_proxy() {
    let secure = Secure::behind_proxy();
    let mut socket = secure.tcp();
    socket.write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n").unwrap();
    let tls = ClientConnection::new(Arc::new(secure.config()), ServerName::try_from("localhost").unwrap()).unwrap();
    let path = format!("wss://localhost/ws?{}", login(&[("room_ids", "room")]));
    let mut member = tungstenite::client(path, StreamOwned::new(tls, socket)).unwrap().0;
    secure.relay.notify("room", "hello");
    assert!(member.read().unwrap().into_text().unwrap().contains("hello"));
    assert!(
        secure.relay.admin("/api/online?source=demo").body.contains("203.0.113.9"),
        "{}",
        secure.relay.admin("/api/online?source=demo").body
    );
}

/// HTTP behind a PROXY header gets the readable answer, also if it arrives later than the header.
#[test]
fn plain_http_behind_a_proxy() {
    let secure = Secure::behind_proxy();
    for pause in [Duration::ZERO, Duration::from_millis(100)] {
        let mut socket = secure.tcp();
        socket.write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n").unwrap();
        thread::sleep(pause);
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("this address uses TLS"), "{answer}");
    }
}

/// A flood of handshakes does not delay messages: most of a turn is theirs.
#[test]
fn many_handshakes_at_once() {
    let secure = Secure::start("");
    let mut member = secure.relay.connect("room");
    let config = Arc::new(secure.config());
    let streams: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
            let mut stream = secure.tcp();
            tls.write_tls(&mut stream).unwrap();
            stream
        })
        .collect();
    secure.relay.notify("room", "in between");
    assert_eq!(member.data(), "in between");
    drop(streams);
    thread::sleep(Duration::from_millis(1));
    wait_for("their ends", || (secure.relay.counter("tls_failed") == 200).then_some(()));
    assert_eq!(secure.get("/healthz").status, 200);
}

/// docs/protocol.md, Metrics: `relay_memory_kind_bytes`.
#[test]
fn sessions_are_counted_in_the_memory() {
    let secure = Secure::start("");
    let bytes = || secure.relay.metric("relay_memory_kind_bytes{kind=\"tls\"}");
    let before = bytes();
    let clients: Vec<_> = (0..5).map(|_| secure.client("room")).collect();
    let all = bytes();
    assert!(all >= before + 5 * 2000, "{before} {all}");
    drop(clients);
    wait_for("their end", || (bytes() + 5 * 2000 <= all).then_some(()));
}
