//! docs/cluster.md, TLS: Redis over TLS, and every way in which that can fail.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
    thread,
};

use crate::support::{
    self, Relay,
    certificates::Authority,
    link::*,
    redis::{Redis, wait_linked, wait_siblings, wait_until},
};

/// A Redis with a port for TLS besides the plain one.
struct TlsRedis {
    redis: Redis,
    port: u16,
}

impl TlsRedis {
    /// With the certificate `NAME.pem` of an authority.
    fn start(authority: &Authority, name: &str, more: &[&str]) -> TlsRedis {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (text, certificate, key, ca) = (
            port.to_string(),
            authority.file(&format!("{name}.pem")),
            authority.file(&format!("{name}.key")),
            authority.file("ca.pem"),
        );
        let mut options = vec!["--tls-port", &text, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        options.extend(["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]);
        options.extend(more);
        TlsRedis { redis: Redis::start_with(&options), port }
    }

    fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    fn relay(&self, authority: &Authority) -> Relay {
        let relay = relay_at(&self.url(), &trust(authority));
        wait_linked(&relay);
        relay
    }
}

/// The line of the configuration that trusts an authority.
fn trust(authority: &Authority) -> String {
    format!("ca_file = \"{}\"", authority.file("ca.pem"))
}

/// An authority, and a Redis with a good certificate of it.
fn good() -> (Authority, TlsRedis) {
    let authority = Authority::new("test");
    authority.issue("good", "DNS:localhost,IP:127.0.0.1", "2");
    let redis = TlsRedis::start(&authority, "good", &[]);
    (authority, redis)
}

/// Messages of all sizes pass, by name and by address, with a password, and through an outage.
#[test]
fn messages_pass() {
    let (authority, mut redis) = good();
    let by_name = relay_at(&format!("rediss://localhost:{}/0", redis.port), &trust(&authority));
    let relays = [redis.relay(&authority), by_name];
    relays.iter().for_each(wait_linked);
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    wait_until(2, || redis.redis.hash(ONLINE).len());
    for size in [1, 16_000, 17_000, 60_000] {
        for relay in &relays {
            let text = "x".repeat(size);
            relay.notify("room", &text);
            members.iter_mut().for_each(|member| assert_eq!(member.data(), text.as_str()));
        }
    }
    publish(&relays[0], "many", 0..300);
    members.iter_mut().for_each(|member| assert_eq!(read_to(member, "many", 299).len(), 300));
    relays.iter().for_each(|relay| relay.assert_idle("TLS"));
    redis.redis.kill();
    relays.iter().for_each(|relay| drop(wait_failing(relay)));
    publish(&relays[1], "late", 0..5);
    redis.redis.run();
    assert_eq!(read_to(&mut members[0], "late", 4), (0..5).collect::<Vec<_>>());
}

/// Certificates that must not be accepted. The reason names the cure, and local members are served.
#[test]
fn bad_certificates() {
    let (authority, good) = good();
    let other = Authority::new("other");
    authority.issue("name", "DNS:redis.example", "2");
    authority.issue("old", "DNS:localhost,IP:127.0.0.1", "-1");
    let (named, old) = (TlsRedis::start(&authority, "name", &[]), TlsRedis::start(&authority, "old", &[]));
    let relays = [
        (relay_at(&good.url(), &trust(&other)), "signed by an unknown authority: name the file with its CA in ca_file"),
        (relay_at(&good.url(), ""), "unknown authority"),
        (relay_at(&named.url(), &trust(&authority)), "certificate is not for 127.0.0.1 but for redis.example: connect"),
        (relay_at(&old.url(), &trust(&authority)), "certificate has expired: renew it"),
    ];
    for (relay, reason) in &relays {
        wait_reason(relay, reason);
        fails_calmly(relay, "tls");
        assert_eq!(changes(relay, 1).len(), 1);
    }
}

/// TLS at one side only, in both directions, and a server that never answers.
#[test]
fn tls_at_one_side() {
    let (authority, redis) = good();
    let plain = relay_at(&format!("rediss://127.0.0.1:{}", redis.redis.port), &trust(&authority));
    wait_reason(&plain, "TLS at this port");
    fails_calmly(&plain, "plain");
    let tls = relay_at(&format!("redis://127.0.0.1:{}", redis.port), "");
    wait_reason(&tls, "does it expect TLS (rediss://)?");
    fails_calmly(&tls, "tls");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    thread::spawn(move || silent.incoming().collect::<Vec<_>>());
    let relay = relay_at(&format!("rediss://127.0.0.1:{port}"), &trust(&authority));
    wait_reason(&relay, "does it speak TLS at this port?");
    fails_calmly(&relay, "silent");
}

/// Redis requires a certificate of its clients.
#[test]
fn client_certificates() {
    let authority = Authority::new("test");
    authority.issue("good", "IP:127.0.0.1", "2");
    authority.issue("client", "DNS:relay", "2");
    let redis = TlsRedis::start(&authority, "good", &["--tls-auth-clients", "yes"]);
    let without = relay_at(&redis.url(), &trust(&authority));
    wait_reason(&without, "set cert_file and key_file");
    let other = Authority::new("other");
    other.issue("client", "DNS:relay", "2");
    let identity = |authority: &Authority| {
        let [certificate, key] = ["client.pem", "client.key"].map(|name| authority.file(name));
        format!("cert_file = \"{certificate}\"\nkey_file = \"{key}\"")
    };
    let wrong = relay_at(&redis.url(), &format!("{}\n{}", trust(&authority), identity(&other)));
    wait_reason(&wrong, "does not accept the client certificate");
    let relay = relay_at(&redis.url(), &format!("{}\n{}", trust(&authority), identity(&authority)));
    wait_linked(&relay);
}

/// The file of the authority is read again at a reload, and the connections are made again.
#[test]
fn a_new_authority() {
    let (authority, redis) = good();
    // It has the same name, but another key.
    let other = Authority::new("test");
    let file = authority.file("trusted.pem");
    fs::copy(other.file("ca.pem"), &file).unwrap();
    let more = format!("ca_file = \"{file}\"");
    let relay = relay_at(&redis.url(), &more);
    wait_reason(&relay, "wrong signature: ca_file may have an old certificate");
    fs::copy(authority.file("ca.pem"), &file).unwrap();
    reload(&relay, &section(&redis.url(), &more));
    wait_linked(&relay);
    // The same content does not interrupt the connections.
    let before = relay.counter("redis_connects");
    reload(&relay, &section(&redis.url(), &more));
    assert_eq!((relay.counter("redis_connects"), health(&relay)["status"].as_str()), (before, Some("ok")));
    fs::write(&file, "no certificate").unwrap();
    relay.signal(SIGHUP);
    relay.wait_log("no certificate found");
    wait_linked(&relay);
}

/// A failover over TLS.
#[test]
fn failover() {
    let (authority, old) = good();
    let new = TlsRedis::start(&authority, "good", &[]);
    follow(&new.redis, &old.redis);
    let name = Name::new(old.port);
    let url = format!("rediss://127.0.0.1:{}", name.port);
    let relay = relay_at(&url, &trust(&authority));
    wait_linked(&relay);
    new.redis.ask(&["REPLICAOF", "NO", "ONE"]);
    name.leads_to(new.port);
    old.redis.ask(&["REPLICAOF", "127.0.0.1", &new.redis.port.to_string()]);
    wait_until((0, 2), || (connections(&old.redis), connections(&new.redis)));
    wait_linked(&relay);
}

/// `relay check` reads the files, and says what is wrong with them.
#[test]
fn checks() {
    let authority = Authority::new("test");
    authority.issue("a", "DNS:a", "2");
    authority.issue("b", "DNS:b", "2");
    let file = |name: &str| authority.file(name);
    fs::write(
        file("encrypted.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let check = |url: &str, lines: &[(&str, &str)]| -> (bool, String) {
        let lines: String = lines.iter().map(|(key, name)| format!("{key} = \"{}\"\n", file(name))).collect();
        let path = file("relay.toml");
        fs::write(&path, format!("[sources.demo]\nsign_key = \"0123456789abcdef\"\n[redis]\nurl = \"{url}\"\n{lines}"))
            .unwrap();
        let Output { status, stdout, stderr } =
            Command::new(support::binary()).args(["check", "--config", &path]).output().unwrap();
        (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
    };
    let pair = |key| [("cert_file", "a.pem"), ("key_file", key)];
    for (url, lines, text) in [
        ("rediss://h", &[("ca_file", "none.pem")][..], "redis.ca_file: cannot read"),
        (
            "rediss://h",
            &[("ca_file", "a.key")],
            &format!("redis.ca_file: {}: no certificate found: expected -----BEGIN CERTIFICATE-----", file("a.key")),
        ),
        ("rediss://h", &pair("b.key"), "redis.cert_file and redis.key_file: "),
        ("rediss://h", &pair("b.key"), "do not match"),
        (
            "rediss://h",
            &pair("a.pem"),
            &format!("redis.key_file: {}: no private key found: expected -----BEGIN PRIVATE KEY-----", file("a.pem")),
        ),
        (
            "rediss://h",
            &[("cert_file", "a.key"), ("key_file", "a.key")],
            &format!("redis.cert_file: {}: no certificate found", file("a.key")),
        ),
        ("rediss://h", &pair("encrypted.key"), "is encrypted: decrypt it"),
        ("rediss://h", &[("cert_file", "a.pem")], "belong together"),
        ("redis://h", &[("ca_file", "ca.pem")], ": redis.ca_file needs a redis.url of rediss://"),
        ("redis://h", &pair("a.key"), ": redis.cert_file and redis.key_file need a redis.url of rediss://"),
        ("redis://h", &[("sentinel_user", "a")], ": redis.sentinel_user needs a redis.url of redis+sentinel://"),
        (
            "redis://h",
            &[("sentinel_user", "a"), ("sentinel_password_file", "a.key")],
            ": redis.sentinel_user and redis.sentinel_password_file need a redis.url of redis+sentinel://",
        ),
        ("rediss://-", &[], "TLS needs a host name"),
    ] {
        let (good, said) = check(url, lines);
        assert!(!good && said.contains(text) && said.contains("relay.toml:"), "{url} {lines:?}: {said}");
    }
    for (url, lines) in [
        ("rediss://h", &[("ca_file", "ca.pem"), ("cert_file", "a.pem"), ("key_file", "a.key")][..]),
        ("rediss://h", &[]),
        ("rediss+sentinel://h,[::1]:7/main", &[("ca_file", "ca.pem")]),
    ] {
        let (good, said) = check(url, lines);
        assert!(good, "{url} {lines:?}: {said}");
    }
}
