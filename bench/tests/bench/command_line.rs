//! Command lines that cannot be carried out, and processes and files after a run.

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    bench, program,
    relay::{Relay, temp_path},
    run, wait_for,
};

#[test]
fn only_this_machine() {
    for address in ["192.0.2.1:4000", "0.0.0.0:4000", "[2001:db8::1]:4000", "[::ffff:192.0.2.1]:80"] {
        let ran = bench(&format!("fan-out --addr {address}"));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{address}");
        assert!(ran.err.contains("not on this machine") && ran.err.contains("--i-own-this-host"), "{}", ran.err);
        let ran = bench(&format!("fan-out --addr {address} --i-own-this-host example.org"));
        assert_eq!(ran.code, 2, "with another host in --i-own-this-host: {}", ran.err);
    }
    // With the right host the run starts, and fails because nothing listens on the port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = bench(&format!("fan-out --addr 0.0.0.0:{port} --i-own-this-host 0.0.0.0"));
    assert!(ran.code == 1 && ran.err.contains("cannot connect to"), "{}", ran.err);
}

#[test]
fn impossible_runs() {
    let many = "1000000";
    for (line, code, why) in [
        (format!("fan-out --members {many} --start"), 2, "ulimit -n"),
        ("fan-out --start /nonexistent/relay".into(), 1, "/nonexistent/relay"),
        ("fan-out --start /bin/false".into(), 1, "does not start"),
        ("fan-out --frobnicate".into(), 2, "--help"),
    ] {
        let ran = bench(&line);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}: {}", ran.err);
        assert!(ran.err.starts_with("relay-bench: ") && ran.err.contains(why), "{line}: {}", ran.err);
    }
    let relay = Relay::start("");
    let ran = bench(&format!("fan-out --addr {} --pid 4294967295", relay.addr));
    assert!(ran.code == 2 && ran.err.contains("process"), "{}", ran.err);
    // --timeout ends a run with more messages than it can send in the time.
    let ran = bench(&format!("fan-out --addr {} --members 2 --messages 1000000000 --timeout 0.5", relay.addr));
    assert!(ran.code == 1 && ran.err.contains("--timeout"), "{}", ran.err);
}

/// The relay of --start ends with the run, however the run ends. A run that is not killed leaves no files.
#[test]
fn nothing_is_left_behind() {
    for (line, signal, code) in [
        ("fan-out --members 2 --rate 2 --messages 3", None, Some(0)),
        ("fan-out --members 2 --seconds 1.5 --timeout 1.6", None, Some(1)),
        ("idle --members 2 --seconds 30", Some("-TERM"), Some(1)),
        ("idle --members 2 --seconds 30", Some("-KILL"), None),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
            .args(line.split(' ').chain(["--start"]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let directory = env::temp_dir().join(format!("relay-bench-{}", child.id()));
        let addr = wait_for("its relay", || {
            let log = fs::read_to_string(directory.join("relay.log")).ok()?;
            Some(log.split_once("listening on ")?.1.split_once('\n')?.0.to_owned())
        });
        if let Some(signal) = signal {
            thread::sleep(Duration::from_millis(500));
            assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
        }
        assert_eq!(child.wait().unwrap().code(), code, "{line}");
        wait_for("the end of its relay", || TcpStream::connect(&addr).is_err().then_some(()));
        assert_eq!(directory.exists(), signal == Some("-KILL"), "{line}");
        let _ = fs::remove_dir_all(directory);
    }
}

#[test]
fn relay_finds_relay_bench_beside_itself_or_in_the_path() {
    let relay = program::relay();
    let ran = run(&relay, "bench --help");
    assert!(ran.code == 0 && ran.out.starts_with("relay-bench: "), "{}", ran.err);
    let ran = run(&relay, "bench frobnicate");
    assert!(ran.code == 2 && ran.err.contains("unknown mode"), "{}", ran.err);
    // A relay alone in a directory. A copy, because a symbolic link would be resolved.
    let directory = temp_path("alone");
    fs::create_dir_all(directory.join("path")).unwrap();
    let alone = directory.join("relay");
    fs::copy(&relay, &alone).unwrap();
    let help = |path: &Path| Command::new(&alone).args(["bench", "--help"]).env("PATH", path).output().unwrap();
    let output = help(&directory.join("path"));
    let error = String::from_utf8(output.stderr).unwrap();
    let beside = directory.join("relay-bench").display().to_string();
    for part in [&beside, "PATH", "cargo build --release --package relay-bench"] {
        assert!(output.status.code() == Some(1) && error.contains(part), "{part} in {error}");
    }
    symlink(env!("CARGO_BIN_EXE_relay-bench"), directory.join("path/relay-bench")).unwrap();
    assert!(help(&directory.join("path")).status.success());
    fs::remove_dir_all(directory).unwrap();
}
