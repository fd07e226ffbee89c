//! Runs the command line and keeps what it writes.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::{Answer, KEY, PATIENCE, Relay, read_answer, send_request, temp_file, wait_for};

pub const SIGHUP: i32 = 1;
pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;

/// A command without the environment of the tests.
pub fn relay(args: &[&str]) -> Command {
    let mut command = Command::new(super::binary());
    clean(&mut command).args(args);
    command
}

pub fn clean(command: &mut Command) -> &mut Command {
    for name in [
        "RELAY_CONFIG",
        "RELAY_CONFIG_TOML",
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
        "RUNTIME_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
    ] {
        command.env_remove(name);
    }
    command
}

/// What a command wrote, and its exit code.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn run(args: &[&str]) -> Run {
    run_command(&mut relay(args))
}

/// Runs a command to its end; one that does not end is killed and fails the test.
pub fn run_command(command: &mut Command) -> Run {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{command:?} does not end");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let output = child.wait_with_output().unwrap();
    Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The output of another program for this input.
pub fn filter(program: &str, args: &[&str], input: &str) -> String {
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

pub fn write(name: &str, content: &str) -> PathBuf {
    let file = temp_file(name);
    fs::write(&file, content).unwrap();
    file
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn healthz(stream: &mut (impl Read + Write)) -> Answer {
    send_request(stream, "GET", "/healthz", &[], b"");
    read_answer(stream, false)
}

/// The status of a question that needs the token.
pub fn stats(relay: &Relay, token: &str) -> u16 {
    relay.request("GET", "/api/stats", &[("Authorization", &format!("Bearer {token}"))], b"").status
}

/// Whether a line begins with a date, after its priority.
pub fn has_time(line: &str) -> bool {
    let line = line.split_once('>').filter(|_| line.starts_with('<')).map_or(line, |(_, rest)| rest);
    line.as_bytes().get(..5).is_some_and(|year| year[..4].iter().all(u8::is_ascii_digit) && year[4] == b'-')
}

/// A running `relay listen`, or another command that follows something; killed when dropped.
pub struct Listener {
    child: Child,
    pub out: Arc<Mutex<Vec<String>>>,
    pub err: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    pub fn start(relay: &Relay, args: &[&str]) -> Listener {
        // Later options win.
        let url = format!("http://{}", relay.addr);
        Listener::spawn(self::relay(&[&["listen", "--url", &url, "--key", KEY], args].concat()))
    }

    pub fn spawn(mut command: Command) -> Listener {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run");
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Listener { child, out, err }
    }

    pub fn wait_lines(&self, count: usize) -> Vec<String> {
        wait_for("lines", || Some(self.out.lock().unwrap().clone()).filter(|lines| lines.len() >= count))
    }

    pub fn wait_err(&self, text: &str) {
        self.wait_err_times(text, 1);
    }

    pub fn wait_err_times(&self, text: &str, times: usize) {
        wait_for(text, || {
            let count = self.err.lock().unwrap().iter().filter(|line| line.contains(text)).count();
            (count >= times).then_some(())
        });
    }

    pub fn signal(&self, signal: i32) {
        let done = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status();
        assert!(done.expect("kill").success());
    }

    pub fn code(&mut self) -> i32 {
        wait_for("the end", || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the listener said: {:?}", self.err.lock().unwrap());
        }
    }
}

pub fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
    lines
}
