//! The log on standard error: relay works and counts dropped lines, whatever standard error is.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{self, Relay, UPGRADE, login, read_answer, send_request, temp_file, wait_for};

/// Each refused origin is a line of the log with the origin in it.
const CONFIG: &str = "origins = [\"http://allowed.example\"]\n[log]\nlevel = \"debug\"";

/// A relay whose standard error is read as far as `listening on`, and then only by the test.
fn start() -> (Relay, BufReader<ChildStderr>) {
    let config = temp_file("relay.toml");
    fs::write(&config, Relay::configuration(CONFIG)).unwrap();
    let mut command = Command::new(support::binary());
    let mut child = command.arg("--config").arg(&config).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let addr = loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "relay ended");
        if let Some((_, addr)) = line.trim_end().split_once("listening on ") {
            break addr.parse().unwrap();
        }
    };
    (Relay::adopt(child, addr, config), lines)
}

#[test]
fn a_reader_that_has_gone_ends_nothing() {
    let (mut relay, lines) = start();
    let mut client = relay.connect("room");
    drop(lines);
    relay.signal(1);
    relay.refused("");
    relay.notify("room", "still there");
    assert_eq!(client.data(), "still there");
    assert!(relay.child.try_wait().unwrap().is_none());
}

#[test]
fn a_reader_that_sleeps_stops_nothing_and_learns_what_it_missed() {
    let (mut relay, mut lines) = start();
    for _ in 0..2000 {
        relay.refused("");
    }
    relay.notify("room", "still there");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        lines.read_to_string(&mut text).map(|_| text).unwrap()
    });
    thread::sleep(Duration::from_millis(100));
    relay.refused("");
    relay.signal(15);
    assert_eq!(relay.wait(), 0);
    let text = reader.join().unwrap();
    assert!(text.contains("log lines were dropped"), "{}", text.lines().last().unwrap_or_default());
}

/// The headers of an upgrade from a page of `origin`.
fn upgrade(origin: &str) -> Vec<(&str, &str)> {
    [&UPGRADE[..], &[("Origin", origin)]].concat()
}

/// Logs `count` lines that contain an origin of `length` bytes.
fn refuse_origins(relay: &Relay, count: usize, length: usize) {
    let origin = format!("http://{}", "o".repeat(length));
    for _ in 0..count {
        assert_eq!(relay.request("GET", "/ws", &upgrade(&origin), b"").status, 403);
    }
}

/// The refused origins that a log accounts for: lines, and lines that it says were dropped.
fn accounted(text: &str) -> (usize, usize) {
    let dropped = text.lines().filter_map(|line| line.split_once(" log lines were dropped")?.0.rsplit(' ').next());
    (
        text.matches("refused: origins does not list").count(),
        dropped.map(|number| number.parse::<usize>().unwrap()).sum(),
    )
}

/// Lines larger than the free space of the pipe: none is waited for, each is written or counted.
#[test]
fn long_lines_for_a_sleeping_reader_are_cut_and_counted() {
    let (mut relay, mut lines) = start();
    let mut client = relay.connect("room");
    refuse_origins(&relay, 60, 15_000);
    relay.notify("room", "still there");
    assert_eq!(client.data(), "still there");
    drop(client);
    let reader = thread::spawn(move || {
        let mut text = String::new();
        lines.read_to_string(&mut text).map(|_| text).unwrap()
    });
    thread::sleep(Duration::from_millis(100));
    relay.signal(15);
    assert_eq!(relay.wait(), 0);
    let text = reader.join().unwrap();
    let (written, dropped) = accounted(&text);
    // The client's login, its end and such are lines too: at most a few of them are among the dropped ones.
    assert!(written >= 10 && dropped >= 30 && (60..65).contains(&(written + dropped)), "{written} and {dropped}");
    assert!(text.lines().all(|line| line.len() < 4096));
    assert!(text.contains("more bytes)"), "a cut line says so");
}

/// A command that serves `CONFIG` on a Unix socket, and the path of that.
fn on_unix_socket() -> (Command, PathBuf) {
    let (config, socket) = (temp_file("relay.toml"), temp_file("socket"));
    fs::write(&config, Relay::configuration(CONFIG)).unwrap();
    let mut command = Command::new(support::binary());
    command.arg("--config").arg(config).arg("--listen").arg(format!("unix:{}", socket.display()));
    (command, socket)
}

/// Waits until relay answers on its Unix socket, then ends it.
fn assert_serves(mut child: Child, socket: PathBuf) {
    for _ in 0..3 {
        let mut stream = wait_for("the socket", || {
            assert!(child.try_wait().unwrap().is_none(), "relay ended");
            UnixStream::connect(&socket).ok()
        });
        send_request(&mut stream, "GET", "/healthz", &[], b"");
        assert_eq!(read_answer(&mut stream, false).status, 200);
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn a_full_disk_ends_nothing() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let (mut command, socket) = on_unix_socket();
    assert_serves(command.stderr(full()).spawn().unwrap(), socket);
    // Exit codes do not depend on it either.
    for (args, code) in [(&["--config", "/nowhere"][..], 78), (&["check", "--config", "/nowhere"], 78), (&["--no"], 2)]
    {
        let status = Command::new(support::binary()).args(args).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_closed_standard_error_ends_nothing() {
    let (command, socket) = on_unix_socket();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(command.get_program()).args(command.get_args());
    assert_serves(shell.spawn().unwrap(), socket);
}

/// A file that may not grow: without a handler SIGXFSZ would end the process.
#[test]
fn a_limit_of_file_size_ends_nothing() {
    let log = temp_file("log");
    let (command, socket) = on_unix_socket();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 1; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    let child = shell.stderr(File::create(&log).unwrap()).spawn().unwrap();
    let origin = format!("http://{}", "o".repeat(1000));
    for _ in 0..20 {
        let mut stream = wait_for("the socket", || UnixStream::connect(&socket).ok());
        send_request(&mut stream, "GET", "/ws", &upgrade(&origin), b"");
        assert_eq!(read_answer(&mut stream, false).status, 403);
    }
    assert!(fs::metadata(&log).unwrap().len() <= 1024);
    assert_serves(child, socket);
    fs::remove_file(log).unwrap();
}

/// A terminal that is stopped (Ctrl-S), or whose window does not read.
#[test]
fn a_terminal_that_nobody_reads_stops_nothing() {
    let script = "\
import os, sys
ours, theirs = os.openpty()
os.set_inheritable(ours, True)
os.dup2(theirs, 2)
os.execv(sys.argv[1], sys.argv[1:])";
    let (command, socket) = on_unix_socket();
    let mut python = Command::new("python3");
    let child = python.args(["-c", script]).arg(command.get_program()).args(command.get_args()).spawn().unwrap();
    let origin = format!("http://{}", "o".repeat(15_000));
    for _ in 0..100 {
        let mut stream = wait_for("the socket", || UnixStream::connect(&socket).ok());
        send_request(&mut stream, "GET", "/ws", &upgrade(&origin), b"");
        assert_eq!(read_answer(&mut stream, false).status, 403);
    }
    assert_serves(child, socket);
}

/// A login with a long field, at level debug, while the pipe is full.
#[test]
fn a_long_user_id_for_a_sleeping_reader() {
    let (mut relay, mut lines) = start();
    let mut client = relay.connect("room");
    let userid = "u".repeat(15_000);
    for _ in 0..60 {
        let answer = relay.refused(&login(&[("userid", &userid)]));
        assert_eq!(answer.json()["msg"], "userid can not be longer than 512 bytes!");
    }
    relay.notify("room", "still there");
    assert_eq!(client.data(), "still there");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        lines.read_to_string(&mut text).map(|_| text).unwrap()
    });
    relay.signal(15);
    assert_eq!(relay.wait(), 0);
    assert!(reader.join().unwrap().lines().all(|line| line.len() < 4096));
}

/// As systemd connects services to the journal.
#[test]
fn a_socket_whose_reader_sleeps_stops_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut command, socket) = on_unix_socket();
    let child = command.env("JOURNAL_STREAM", "8:12345").stderr(OwnedFd::from(theirs)).spawn().unwrap();
    drop(command);
    let origin = format!("http://{}", "o".repeat(15_000));
    for _ in 0..100 {
        let mut stream = wait_for("the socket", || UnixStream::connect(&socket).ok());
        send_request(&mut stream, "GET", "/ws", &upgrade(&origin), b"");
        assert_eq!(read_answer(&mut stream, false).status, 403);
    }
    let reader = thread::spawn(move || {
        let mut text = String::new();
        (&ours).read_to_string(&mut text).map(|_| text).unwrap()
    });
    thread::sleep(Duration::from_millis(100));
    assert_serves(child, socket);
    let text = reader.join().unwrap();
    let (written, dropped) = accounted(&text);
    assert!(written >= 10 && written + dropped == 100, "{written} and {dropped}");
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
}
