//! The log on standard error. It never waits and never fails: when nobody takes the lines away, they are counted instead.

use core::sync::atomic::{AtomicU64, Ordering};
use std::{
    env,
    io::{self, IsTerminal, Write},
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

/// Sends the log to standard error: for the journal with priorities and without what it adds itself.
pub fn init(level: LevelFilter) {
    let journal = env::var_os("JOURNAL_STREAM").is_some();
    let lines = SimpleLogger::new()
        .with_level(LevelFilter::Trace)
        .with_module_level("tungstenite", LevelFilter::Warn)
        .with_module_level("mio", LevelFilter::Warn)
        .with_colors(!journal && io::stderr().is_terminal());
    let lines = if journal { lines.without_timestamps() } else { lines.with_utc_timestamps() };
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
        if self.journal {
            // The priority of a line (`sd-daemon(3)`).
            let priority = match record.level() {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            let _ = write!(io::stderr(), "<{priority}>");
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

/// Whether standard error has room and a reader. A pipe that says so takes 4 KiB (`PIPE_BUF`) without waiting, more than a
/// line has; one whose reader has gone would fail, which `eprintln!` in the logger takes for a reason to end the process.
#[allow(unsafe_code)]
fn takes_a_line() -> bool {
    let mut poll = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: it reads and writes the one structure it is given, which lives here, and does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & (libc::POLLOUT | libc::POLLERR) == libc::POLLOUT }
}
