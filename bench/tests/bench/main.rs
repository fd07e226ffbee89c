//! relay-bench against relay in every mode and with every kind of client, against servers that make mistakes or misbehave, and
//! with wrong command lines.

mod command_line;
mod faults;
mod hostile;
mod load;
mod manual;
mod modes;
mod program;
mod relay;

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The result of a run.
struct Output {
    code: i32,
    out: String,
    err: String,
}

impl Output {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?} {}", self.out, self.err))
    }

    /// The report of a run, which must be free of faults.
    fn good(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        let json = self.json();
        for fault in FAULTS {
            assert_eq!(json[fault], 0, "{json}");
        }
        assert_eq!((&json["ok"], self.err.as_str()), (&Value::Bool(true), ""), "{json}");
        json
    }
}

/// Runs relay-bench with these arguments.
fn bench(line: &str) -> Output {
    run(env!("CARGO_BIN_EXE_relay-bench").as_ref(), line)
}

/// A run that does not end is killed.
fn run(program: &Path, line: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120"]).arg(program).args(line.split_whitespace());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Repeats `poll` until it returns a value. Panics after a minute.
fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

const FAULTS: [&str; 7] = ["lost", "doubled", "disordered", "damaged", "closed", "refused", "unanswered"];
const KINDS: [&str; 6] = ["ws", "sio4", "sio3", "polling4", "polling3", "sse"];
