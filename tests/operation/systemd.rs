//! docs/protocol.md, Running: sockets and notifications of the service manager, the forms of the log, and the admin
//! token.

use std::{
    fs,
    io::Read,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixDatagram, UnixStream},
        },
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{self, PATIENCE, Relay, SILENCE, cli::*, connect_sign, temp_file, wait_for};

// systemd.

/// Sockets of the service manager replace the configured addresses; relay does not remove their files.
#[test]
fn inherited_sockets() {
    let path = temp_file("socket");
    let config = write("relay.toml", &Relay::configuration("listen = [\"192.0.2.1:1\"]"));
    let script = "\
import os, socket, sys
tcp = socket.socket(); tcp.bind(('127.0.0.1', 0)); tcp.listen(9)
unix = socket.socket(socket.AF_UNIX); unix.bind(sys.argv[1]); unix.listen(9)
for number, fd in enumerate([tcp.fileno(), unix.fileno()]): os.dup2(fd, 20 + number)
for number in (0, 1): os.dup2(20 + number, 3 + number); os.close(20 + number)
os.environ.update(LISTEN_PID=str(os.getpid() + int(sys.argv[2])), LISTEN_FDS='2', LISTEN_FDNAMES='a:b')
os.execv(sys.argv[3], sys.argv[3:])";
    let wrapped = |offset: &str| {
        let mut command = Command::new("python3");
        clean(&mut command).args(["-c", script]).arg(&path).arg(offset).arg(support::binary());
        command.arg("serve").arg("--config").arg(&config);
        command
    };
    let mut relay = Relay::spawn(wrapped("0"), config.clone());
    let addresses = relay.addresses(2);
    assert_eq!((addresses.len(), &addresses[1]), (2, &format!("unix:{}", text(&path))));
    assert_eq!(relay.get("/healthz").status, 200);
    assert_eq!(healthz(&mut UnixStream::connect(&path).unwrap()).status, 200);
    let mut client = relay.connect("room");
    relay.notify("room", "hello");
    assert_eq!(client.data(), "hello");
    drop(client);
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    assert!(path.exists(), "systemd goes on listening at it");
    // Meant for another process: they are not taken.
    fs::remove_file(&path).unwrap();
    let run = run_command(&mut wrapped("1"));
    assert!(run.code == 1 && run.err.contains("192.0.2.1:1"), "{}", run.err);
    let _ = fs::remove_file(path);
}

#[test]
fn service_manager_gets_its_notifications() {
    let path = temp_file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let wait_state = |wanted: &str| -> String {
        let begin = Instant::now();
        loop {
            let state = next();
            if state.lines().any(|line| line.starts_with(wanted)) {
                return state;
            }
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {wanted}");
        }
    };
    let mut relay = Relay::start_with("shutdown_timeout = 60", |command| {
        clean(command).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "4000000");
    });
    let first = next();
    assert!(first.lines().any(|line| line == "READY=1"), "{first:?}");
    assert!(first.lines().any(|line| line.starts_with("STATUS=")), "{first:?}");

    // Within the watchdog's time, although nothing else happens. The service manager would measure the same.
    let mut last = Instant::now();
    for _ in 0..3 {
        wait_state("WATCHDOG=1");
        assert!(last.elapsed() < Duration::from_secs(4), "{:?}", last.elapsed());
        last = Instant::now();
    }
    let client = relay.connect("a,b");
    wait_state("STATUS=1 sessions, 2 rooms, ");

    for _ in 0..2 {
        relay.signal(SIGHUP);
        let reloading = wait_state("RELOADING=1");
        let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
        assert!(time.parse::<u64>().unwrap() > 0);
        wait_state("READY=1");
    }
    fs::write(&relay.config, "bad").unwrap();
    relay.signal(SIGHUP);
    wait_state("RELOADING=1");
    wait_state("READY=1");

    relay.signal(SIGTERM);
    wait_state("STOPPING=1");
    wait_state("WATCHDOG=1");
    drop(client);
    assert_eq!(relay.wait(), 0);
    let _ = fs::remove_file(path);
}

/// A service manager that does not read: its queue is full, and relay does not wait for it. The states that it waits for
/// arrive once it reads.
#[test]
fn a_service_manager_that_does_not_read() {
    let path = temp_file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut relay = Relay::start_with("", |command| {
        clean(command).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000");
    });
    let mut client = relay.connect("room");
    let line = relay.wait_log("cannot notify the service manager");
    assert!(line.contains("it does not read its socket") && line.contains("WARN"), "{line}");
    for number in 0..20 {
        relay.notify("room", &number.to_string());
        assert_eq!(client.data(), number.to_string());
    }
    relay.signal(SIGHUP);
    relay.wait_log("configuration re-read");
    relay.signal(SIGTERM);
    relay.wait_log("stopping");
    assert_eq!(client.close_code(), 1001);
    drop(client);
    assert_eq!(relay.wait(), 0);
    assert_eq!(relay.log().iter().filter(|line| line.contains("cannot notify")).count(), 1, "{:?}", relay.log());

    let mut relay = Relay::start_with("", |command| {
        clean(command).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000");
    });
    relay.wait_log("cannot notify the service manager");
    relay.signal(SIGHUP);
    relay.wait_log("configuration re-read");
    let mut wanted = vec!["RELOADING=1", "READY=1"];
    let mut buffer = [0; 4096];
    while let Some(state) = wanted.first() {
        let length = socket.recv(&mut buffer).unwrap();
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == *state) {
            wanted.remove(0);
        }
    }
    relay.wait_log("the service manager accepts messages again");
    relay.signal(SIGTERM);
    assert_eq!(relay.wait(), 0);
    let _ = fs::remove_file(path);
}

/// Abstract sockets begin with `@`.
#[test]
fn a_service_manager_at_an_abstract_socket() {
    let name = format!("relay-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _relay = Relay::start_with("", |command| {
        clean(command).env("NOTIFY_SOCKET", format!("@{name}"));
    });
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"READY=1\n"));
}

/// A missing notification socket is ignored.
#[test]
fn a_service_manager_that_is_gone() {
    let path = temp_file("notify");
    let relay = Relay::start_with("", |command| {
        clean(command).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    });
    thread::sleep(SILENCE);
    assert_eq!(relay.get("/healthz").status, 200);
}

#[test]
fn the_journal_s_form() {
    let file = "[sources.demo]\nsign_key = \"k\"\n[log]\nlevel = \"debug\"";
    let config = write("relay.toml", file);
    let mut command = relay(&["--listen", "127.0.0.1:0"]);
    command.arg("--config").arg(&config).env("JOURNAL_STREAM", "8:12345");
    let relay = Relay::spawn(command, config);
    fs::write(&relay.config, "bad").unwrap();
    relay.signal(SIGHUP);
    relay.wait_log("the old one stays");
    fs::write(&relay.config, format!("listen = [\"127.0.0.1:1\"]\n{file}")).unwrap();
    relay.signal(SIGHUP);
    relay.wait_log("restart");
    let sign = connect_sign("demo", "room", "k");
    drop(relay.connect_with(&[("sign", &sign)]));
    relay.wait_log("without a closing handshake");
    for (text, priority) in [
        ("listening on", "<6>"),
        ("the old one stays", "<3>"),
        ("restart", "<4>"),
        ("without a closing handshake", "<7>"),
    ] {
        let line = relay.wait_log(text);
        assert!(line.starts_with(priority), "{line}");
    }
    for line in relay.log() {
        assert!(line.starts_with('<') && !line.contains('\u{1b}') && !has_time(&line), "{line}");
    }
}

#[test]
fn the_log_s_form_elsewhere() {
    let relay = Relay::start_with("", |command| {
        clean(command);
    });
    for line in relay.log() {
        assert!(has_time(&line) && !line.starts_with('<') && !line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn the_log_s_level() {
    for (level, wanted) in [("off", &[][..]), ("error", &[]), ("warn", &["WARN"]), ("info", &["WARN", "INFO"])] {
        // With a small `unsent` there is a warning, and its socket tells when relay is there.
        let path = temp_file("socket");
        let config = write("relay.toml", &format!("[limits]\nunsent = 4096\n[log]\nlevel = \"{level}\""));
        let mut command = relay(&["--listen", &format!("unix:{}", text(&path))]);
        command.arg("--config").arg(&config);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the socket", || UnixStream::connect(&path).ok());
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success());
        for name in ["ERROR", "WARN", "INFO", "DEBUG"] {
            assert_eq!(log.contains(name), wanted.contains(&name), "{level}: {log}");
        }
    }
}

// The admin token.

#[test]
fn generated_token_is_logged() {
    let tokens: Vec<String> = (0..2)
        .map(|_| {
            let relay = Relay::spawn(relay(&["--listen", "127.0.0.1:0"]), temp_file("none"));
            let line = relay.wait_log("admin token is ");
            let token = line.split("admin token is ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
            assert!(token.len() >= 32, "{line}");
            assert_eq!(stats(&relay, &token), 200);
            assert_ne!(stats(&relay, &"0".repeat(token.len())), 200);
            assert_ne!(stats(&relay, ""), 200);
            token
        })
        .collect();
    assert_ne!(tokens[0], tokens[1]);
}

/// A configured token is not logged.
#[test]
fn configured_token_is_not_logged() {
    let relay = Relay::start("");
    assert_eq!(stats(&relay, support::TOKEN), 200);
    assert!(!relay.log().join("\n").contains(support::TOKEN));
}

#[test]
fn under_systemd_the_token_lies_in_the_runtime_directory() {
    let folder = temp_file("runtime");
    assert_token_in(&folder, text(&folder));
}

/// systemd.exec(5): several are separated by colons.
#[test]
fn of_several_runtime_directories_the_token_lies_in_the_first() {
    let folder = temp_file("runtime");
    assert_token_in(&folder, &format!("{}:/run/relay-test-other", text(&folder)));
}

fn assert_token_in(folder: &Path, variable: &str) {
    let socket = temp_file("notify");
    let file = folder.join("admin.token");
    // A file that an earlier relay left behind may be readable by everybody.
    fs::create_dir(folder).unwrap();
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let _manager = UnixDatagram::bind(&socket).unwrap();
    let mut command = relay(&["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("RUNTIME_DIRECTORY", variable);
    let relay = Relay::spawn(command, temp_file("none"));
    let token = fs::read_to_string(&file).unwrap();
    assert_eq!(stats(&relay, token.trim()), 200, "{:?}", relay.log());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    relay.wait_log(text(&file));
    drop(relay);
    fs::remove_dir_all(folder).unwrap();
    let _ = fs::remove_file(&socket);
}

/// It must be somewhere.
#[test]
fn token_that_cannot_be_written_is_logged() {
    let socket = temp_file("notify");
    let _manager = UnixDatagram::bind(&socket).unwrap();
    let mut command = relay(&["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("RUNTIME_DIRECTORY", "/nowhere/at/all");
    let relay = Relay::spawn(command, temp_file("none"));
    relay.wait_log("/nowhere/at/all");
    let log = relay.log().join("\n");
    let words = log.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() >= 32);
    assert!(words.into_iter().any(|word| stats(&relay, word) == 200), "the token is nowhere: {log}");
    let _ = fs::remove_file(&socket);
}
