//! The log on standard error. It never waits and never fails: when nobody takes the lines away, they are counted instead.

use core::sync::atomic::{AtomicU64, Ordering};
use std::{
    env,
    io::{self, IsTerminal, Write},
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use super::clock::unix_micros;
use crate::clock::Now;

/// Sends the log to standard error: for the journal with priorities and without what it adds itself.
pub fn init(level: LevelFilter) {
    let journal = env::var_os("JOURNAL_STREAM").is_some();
    let lines = SimpleLogger::new()
        .with_level(LevelFilter::Trace)
        .with_module_level("tungstenite", LevelFilter::Warn)
        .with_module_level("mio", LevelFilter::Warn)
        .with_colors(!journal && io::stderr().is_terminal());
    // It fails only if there is a logger already, as in tests that start several servers in one process.
    let _ = log::set_boxed_logger(Box::new(Logger { lines, journal, lost: AtomicU64::new(0) }));
    log::set_max_level(level);
}

struct Logger {
    lines: SimpleLogger,
    journal: bool,
    /// Lines that found no room.
    lost: AtomicU64,
}

impl Logger {
    fn write(&self, record: &Record<'_>) {
        // Other threads' lines wait until this one is whole.
        let mut out = io::stderr().lock();
        if self.journal {
            // The priority of a line (`sd-daemon(3)`).
            let priority = match record.level() {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            let _ = write!(out, "<{priority}>");
        } else {
            let _ = out.write_all(stamp(unix_micros()).as_bytes());
        }
        self.lines.log(record);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if !takes_a_line() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let mut builder = Record::builder();
            let builder = builder.level(Level::Warn).target(record.target());
            self.write(&builder.args(format_args!("{lost} lines of the log were lost: nobody took them away")).build());
        }
        self.write(record);
    }

    fn flush(&self) {}
}

/// When a line was written, in UTC: simple_logger's own makes the program larger by 20 KiB.
fn stamp(micros: u64) -> String {
    let unix = micros / 1_000_000;
    let date = Now { unix, ..Now::default() }.local().date();
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z ", micros / 1000 % 1000)
}

/// Whether standard error has room and a reader. A pipe that says so takes 4 KiB (`PIPE_BUF`) without waiting, more than a
/// line has; one whose reader has gone would fail, which `eprintln!` in the logger takes for a reason to end the process.
#[allow(unsafe_code)]
fn takes_a_line() -> bool {
    let mut poll = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: it reads and writes the one structure it is given, which lives here, and does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & (libc::POLLOUT | libc::POLLERR) == libc::POLLOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z ");
        assert_eq!(stamp(1_795_280_313_105_999), "2026-11-21T16:58:33.105Z ");
    }
}
