//! docs/tls.md: certificates that `relay cert` makes, and the commands that use TLS.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::{
    KEY, Relay,
    cli::{self, Listener, Run, relay, run},
    temp_file,
};

/// A directory with the files of `relay cert`, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(names: &[&str]) -> Folder {
        let folder = Folder(temp_file("cert"));
        let made = folder.cert(names);
        assert_eq!(made.code, 0, "{made:?}");
        folder
    }

    /// Runs `relay cert` in it.
    fn cert(&self, arguments: &[&str]) -> Run {
        let names = arguments.iter().flat_map(|name| match name.starts_with('-') {
            true => vec![*name],
            false => vec!["--name", name],
        });
        let names: Vec<&str> = names.collect();
        run(&[&["cert", "--dir", self.0.to_str().unwrap()], names.as_slice()].concat())
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.file(name)).unwrap().mode() & 0o777
    }

    /// A relay that listens with TLS and without, and the port with TLS.
    fn relay(&self) -> (Relay, String) {
        let relay = Relay::start(&format!(
            "listen = [\"127.0.0.1:0\", \"tls://127.0.0.1:0\"]\n[[tls.certificates]]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
            self.file("server.pem"),
            self.file("server.key")
        ));
        let addresses = relay.addresses(2);
        let port = addresses[1].rsplit(':').next().unwrap().to_owned();
        (relay, port)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn openssl(arguments: &[&str]) -> (bool, String) {
    output(Command::new("openssl").args(arguments))
}

/// Whether openssl accepts the certificate for a name.
fn verifies(folder: &Folder, check: &str, name: &str) -> bool {
    let (ca, server) = (folder.file("ca.pem"), folder.file("server.pem"));
    openssl(&["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &ca, check, name, &server]).0
}

/// openssl, strict about every rule of RFC 5280, accepts the certificate for its names and no others. Nobody else can read
/// the keys.
#[test]
fn a_new_authority() {
    let folder = Folder::new(&["Relay.lan", "*.chat.lan", "192.168.1.20", "fd00::1"]);
    for (check, name) in [
        ("-verify_hostname", "relay.lan"),
        ("-verify_hostname", "a.chat.lan"),
        ("-verify_ip", "192.168.1.20"),
        ("-verify_ip", "fd00::1"),
    ] {
        assert!(verifies(&folder, check, name), "{name}");
    }
    assert!(!verifies(&folder, "-verify_hostname", "bank.example") && !verifies(&folder, "-verify_ip", "192.168.1.21"));
    let (_, ca) = openssl(&["x509", "-in", &folder.file("ca.pem"), "-noout", "-text"]);
    for text in ["CN = relay CA ", "CA:TRUE, pathlen:0", "Name Constraints: critical", "DNS:relay.lan", "prime256v1"] {
        assert!(ca.contains(text), "{text}: {ca}");
    }
    let (_, server) = openssl(&["x509", "-in", &folder.file("server.pem"), "-noout", "-text"]);
    for text in ["TLS Web Server Authentication", "Digital Signature", "prime256v1", "IP Address:192.168.1.20"] {
        assert!(server.contains(text), "{text}: {server}");
    }
    let lasts = |days: u32| {
        openssl(&["x509", "-in", &folder.file("server.pem"), "-noout", "-checkend", &(days * 86_400).to_string()]).0
    };
    assert!(lasts(396) && !lasts(398));
    assert_eq!(
        ["ca.key", "server.key", "ca.pem", "server.pem"].map(|name| folder.mode(name)),
        [0o600, 0o600, 0o644, 0o644]
    );
    assert_eq!(fs::metadata(&folder.0).unwrap().mode() & 0o777, 0o750);
}

/// An authority of names alone may not sign for addresses, and the other way round: openssl refuses such certificates too.
#[test]
fn another_program_with_the_key_is_held_to_the_names() {
    let folder = Folder::new(&["relay.lan"]);
    let [request, extensions, forged] = ["forged.csr", "forged.ext", "forged.pem"].map(|name| folder.file(name));
    for (names, good) in [
        ("DNS:www.relay.lan", true),
        ("DNS:bank.example", false),
        ("DNS:relay.lan,IP:10.0.0.1", false),
        ("DNS:relay.lan,IP:::1", false),
    ] {
        fs::write(&extensions, format!("subjectAltName={names}\n")).unwrap();
        let (made, said) =
            openssl(&["req", "-new", "-key", &folder.file("server.key"), "-subj", "/CN=x", "-out", &request]);
        assert!(made, "{said}");
        let (ca, key) = (folder.file("ca.pem"), folder.file("ca.key"));
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &key, "-CAcreateserial", "-days", "2"];
        let (made, said) = openssl(&[&sign[..], &["-extfile", &extensions, "-out", &forged]].concat());
        assert!(made, "{said}");
        assert_eq!(openssl(&["verify", "-CAfile", &ca, &forged]).0, good, "{names}");
    }
}

/// A second run keeps the authority, the keys and the names.
#[test]
fn renewal() {
    let folder = Folder::new(&["relay.lan", "10.0.0.1"]);
    let files = ["ca.pem", "ca.key", "server.key", "server.pem"];
    let before = files.map(|name| folder.read(name));
    let again = folder.cert(&["--days=10"]);
    assert!(again.code == 0 && again.out.contains("systemctl reload relay"), "{again:?}");
    let after = files.map(|name| folder.read(name));
    assert_eq!(before[..3], after[..3]);
    assert_ne!(before[3], after[3]);
    assert!(verifies(&folder, "-verify_hostname", "relay.lan") && verifies(&folder, "-verify_ip", "10.0.0.1"));
    // Fewer names, and one below.
    assert_eq!(folder.cert(&["www.relay.lan"]).code, 0);
    assert!(verifies(&folder, "-verify_hostname", "www.relay.lan") && !verifies(&folder, "-verify_ip", "10.0.0.1"));
}

/// Nothing is overwritten that `relay cert` did not make, and nothing is made that would not work.
#[test]
fn refusals() {
    let folder = Folder::new(&["relay.lan"]);
    let files = || ["ca.pem", "ca.key", "server.pem", "server.key"].map(|name| folder.read(name));
    let before = files();
    let refused = |arguments: &[&str], code: u8, text: &str| {
        let refused = folder.cert(arguments);
        assert!(refused.code == i32::from(code) && refused.err.contains(text), "{arguments:?}: {refused:?}");
        assert_eq!(files(), before);
    };
    refused(&["bank.example"], 1, "may not sign for bank.example: make a new authority with all names");
    refused(&["10.0.0.1"], 1, "may not sign for 10.0.0.1");
    refused(&["--days=0"], 2, "expected a number from 1 to 824");
    refused(&["--days=825"], 2, "expected a number from 1 to 824");
    refused(&["--nme=x"], 2, "did you mean --name?");
    fs::rename(folder.file("ca.key"), folder.file("away")).unwrap();
    let half = folder.cert(&[]);
    assert!(half.code == 1 && half.err.contains("ca.key: it does not exist, but"), "{half:?}");
    // The key of another authority.
    let other = Folder::new(&["relay.lan"]);
    fs::copy(other.file("ca.key"), folder.file("ca.key")).unwrap();
    refused_with(&folder, &[], "do not match");
    fs::rename(folder.file("away"), folder.file("ca.key")).unwrap();
    fs::write(folder.file("server.pem"), before[2].split_once('\n').unwrap().1).unwrap();
    refused_with(&folder, &["relay.lan"], "'relay cert' did not make this certificate");
    let empty = Folder(temp_file("cert"));
    refused_with(&empty, &[], "give each name and address of this relay with --name");
    refused_with(&empty, &["a b"], "\"a b\" is not a host name or an IP address");
    assert!(!empty.0.exists());
}

fn refused_with(folder: &Folder, arguments: &[&str], text: &str) {
    let refused = folder.cert(arguments);
    assert!(refused.code == 1 && refused.err.contains(text), "{arguments:?}: {refused:?}");
}

/// The group of the directory may read the key of the server, as /etc/relay/tls of the package needs, but not that of the
/// authority.
#[test]
fn the_group_of_the_directory() {
    let folder = Folder(temp_file("cert"));
    fs::create_dir(&folder.0).unwrap();
    // Needs root, as the tests of the package do.
    if chown(&folder.0, None, Some(12_345)).is_err() {
        println!("not root: the group of the directory is not tested");
        return;
    }
    assert_eq!(folder.cert(&["relay.lan"]).code, 0);
    let group = |name: &str| fs::metadata(folder.file(name)).unwrap().gid();
    assert_eq!((folder.mode("server.key"), group("server.key")), (0o640, 12_345));
    assert_eq!((folder.mode("ca.key"), group("ca.key")), (0o600, 0));
    assert_eq!((folder.mode("server.pem"), group("server.pem")), (0o644, 12_345));
}

/// Node accepts the certificate of a relay if it trusts the authority, and only then.
#[test]
fn node_clients() {
    let folder = Folder::new(&["localhost", "127.0.0.1"]);
    let (_relay, port) = folder.relay();
    let script = "require('https').get(process.argv[1], answer => { answer.resume(); console.log(answer.statusCode) })\
                  .on('error', error => { console.log(error.code); process.exit(1) })";
    let get = |host: &str, trust: bool| {
        let mut node = Command::new("node");
        node.args(["-e", script, &format!("https://{host}:{port}/healthz")]);
        if trust {
            node.env("NODE_EXTRA_CA_CERTS", folder.file("ca.pem"));
        }
        output(&mut node)
    };
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(get(host, true), (true, "200\n".into()), "{host}");
    }
    assert!(!get("localhost", false).0);
}

/// Chromium accepts it once `certutil` has put the authority into the user's database, as docs/tls.md says.
#[test]
fn chromium() {
    let folder = Folder::new(&["localhost"]);
    let (_relay, port) = folder.relay();
    let home = folder.0.join("home");
    let database = home.join(".pki/nssdb");
    fs::create_dir_all(&database).unwrap();
    let page = || {
        let mut chromium = Command::new("chromium");
        chromium.env("HOME", &home).args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
        chromium.arg(format!("--user-data-dir={}", home.join("profile").display()));
        output(chromium.arg(format!("https://localhost:{port}/healthz"))).1
    };
    let certutil = |arguments: &[&str]| {
        let database = format!("sql:{}", database.display());
        let (done, said) = output(Command::new("certutil").args(["-d", &database]).args(arguments));
        assert!(done, "certutil {arguments:?}: {said}");
    };
    certutil(&["-N", "--empty-password"]);
    let refused = page();
    assert!(!refused.contains("\"status\""), "{refused}");
    certutil(&["-A", "-t", "C,,", "-n", "relay CA", "-i", &folder.file("ca.pem")]);
    let accepted = page();
    assert!(accepted.contains("\"status\":\"ok\""), "{accepted}");
}

/// `relay notify`, `emit` and `listen` with a URL of https.
#[test]
fn commands_over_tls() {
    let folder = Folder::new(&["localhost", "127.0.0.1"]);
    let (plain, port) = folder.relay();
    let (url, ca) = (format!("https://localhost:{port}"), folder.file("ca.pem"));
    let account = ["--source", "demo", "--key", KEY];
    let listen = [&["listen", "--url", &url, "--ca-file", &ca, "--once", "room"], &account[..]].concat();
    let mut listener = Listener::start(&plain, &listen[1..]);
    listener.wait_err("listening to room");
    let send = |arguments: &[&str]| run(&[arguments, &account[..]].concat());
    let sent = send(&["notify", "--url", &url, "--ca-file", &ca, "room", "hello"]);
    assert!(sent.code == 0 && sent.out.contains("\"code\":1"), "{sent:?}");
    assert_eq!((listener.wait_lines(1), listener.code()), (vec!["room\thello".to_owned()], 0));
    let wss = format!("wss://127.0.0.1:{port}");
    let emitted = send(&["emit", "--url", &wss, "--ca-file", &ca, "--all", "event"]);
    assert!(emitted.code == 0, "{emitted:?}");
    let plain_url = format!("https://{}", plain.addr);
    let other = Folder::new(&["127.0.0.1"]);
    for (arguments, text) in [
        (&["--url", &url][..], "signed by an unknown authority: name the file with its CA with --ca-file"),
        (&["--url", &url, "--ca-file", &other.file("ca.pem")], "unknown authority"),
        (&["--url", &url, "--ca-file", &folder.file("ca.key")], "no certificate found"),
        (&["--url", &url, "--ca-file", "/none"], "/none: "),
        (&["--url", &plain_url, "--ca-file", &ca], "does not speak TLS at this port"),
        (&["--url", &plain.addr.to_string(), "--ca-file", &ca], "--ca-file needs a --url of https://"),
        (&["--url", "https://127.0.0.1:1", "--ca-file", &ca], "is relay running and listening on this address?"),
    ] {
        let refused = send(&[&["notify", "room", "x"], arguments].concat());
        assert!(refused.code == 1 && refused.err.contains(text), "{arguments:?}: {refused:?}");
        // A certificate does not get better by waiting.
        if text.contains("authority") {
            let refused = send(&[&["listen", "room"], arguments].concat());
            assert!(refused.code == 1 && refused.err.contains(text), "{arguments:?}: {refused:?}");
        }
    }
    // The system's authorities.
    let mut command = relay(&[&["notify", "room", "x", "--url", &url], &account[..]].concat());
    let trusted = cli::run_command(command.env("SSL_CERT_FILE", &ca));
    assert_eq!(trusted.code, 0, "{trusted:?}");
}

/// Without `--url`, commands use the addresses with TLS if there are no others. They trust the configured certificate,
/// whatever its names, and no other.
#[test]
fn a_relay_with_tls_only() {
    let folder = Folder::new(&["relay.lan"]);
    let other = Folder::new(&["relay.lan"]);
    let lines = |folder: &Folder, address: &str| {
        format!(
            "listen = [\"{address}\"]\n[[tls.certificates]]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
            folder.file("server.pem"),
            folder.file("server.key")
        )
    };
    let (_relay, port) = folder.relay();
    let config = |folder: &Folder| {
        let path = folder.file("relay.toml");
        fs::write(&path, Relay::configuration(&lines(folder, &format!("tls://*:{port}")))).unwrap();
        path
    };
    let notify = |path: &str| run(&["notify", "--config", path, "--source", "demo", "room", "hello"]);
    let sent = notify(&config(&folder));
    assert!(sent.code == 0 && sent.out.contains("\"code\":1"), "{sent:?}");
    let refused = notify(&config(&other));
    assert!(refused.code == 1 && refused.err.contains("certificate is not that of cert_file"), "{refused:?}");
    // A user who may not read the key.
    let path = config(&folder);
    let hidden = Path::new(&folder.file("server.key")).with_extension("hidden");
    fs::rename(folder.file("server.key"), hidden).unwrap();
    let refused = notify(&path);
    assert!(refused.code == 1 && refused.err.contains("may not read the certificate"), "{refused:?}");
    let health = run(&["health", "--config", &path]);
    assert_eq!((health.code, &*health.out), (0, "{\"status\":\"ok\"}\n"), "{health:?}");
}

/// Between the renewal of the certificate and the reload of relay, the files are not what relay uses. `relay health` works;
/// commands that send a signature need the same key.
#[test]
fn a_renewal_without_a_reload() {
    let (folder, other) = (Folder::new(&["relay.lan"]), Folder::new(&["relay.lan"]));
    let (relay, port) = folder.relay();
    let path = folder.file("relay.toml");
    let tls_only = format!(
        "listen = [\"tls://127.0.0.1:{port}\"]\n[[tls.certificates]]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        folder.file("server.pem"),
        folder.file("server.key")
    );
    fs::write(&path, Relay::configuration(&tls_only)).unwrap();
    let health = || run(&["health", "--config", &path]);
    let send = |command: &[&str]| run(&[command, &["--config", &path, "--source", "demo"]].concat());
    let old = folder.read("server.pem");
    // `relay cert` keeps the key.
    assert_eq!(folder.cert(&[]).code, 0);
    assert_ne!(folder.read("server.pem"), old);
    let answers = [health(), send(&["notify", "room", "hello"])];
    assert!(answers.iter().all(|answer| answer.code == 0), "{answers:?}");
    // A new key, as many clients of public authorities make it.
    for name in ["server.pem", "server.key"] {
        fs::copy(other.file(name), folder.file(name)).unwrap();
    }
    let healthy = health();
    assert_eq!((healthy.code, &*healthy.out), (0, "{\"status\":\"ok\"}\n"), "{healthy:?}");
    for command in [&["notify", "room", "hello"][..], &["emit", "news", "--all"], &["listen", "room"]] {
        let refused = send(command);
        assert!(refused.code == 1 && refused.err.contains("systemctl reload relay"), "{command:?}: {refused:?}");
    }
    // An address that was not taken from the configuration is not trusted.
    let refused = run(&["health", "--url", &format!("https://127.0.0.1:{port}"), "--ca-file", &other.file("ca.pem")]);
    assert_eq!(refused.code, 1, "{refused:?}");
    relay.signal(1);
    relay.wait_log("configuration re-read");
    let sent = send(&["notify", "room", "hello"]);
    assert_eq!(sent.code, 0, "{sent:?}");
}
