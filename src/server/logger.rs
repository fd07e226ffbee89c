//! The log on standard error.
//!
//! Logging never blocks the event loop, never fails and never panics. A line that standard error does not accept at
//! once (a full pipe, a full disk, a reader that has gone) is dropped and counted; the next line that is written is
//! preceded by a line with the number of dropped ones. `eprintln!`, and loggers that print with it, panic on a write
//! error instead.

use core::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    panic,
    sync::{Mutex, OnceLock, PoisonError},
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use socket2::SockRef;

use super::{clock::unix_micros, recent_lines::RecentLines};
use crate::{
    clock::Now,
    live::{Lines, LogPosition},
};

/// Sends the log to standard error. If `JOURNAL_STREAM` is set (by systemd), each line begins with a priority instead
/// of the time.
pub fn init(level: LevelFilter) {
    // A second call, for example by tests that start several servers in one process, changes only the level.
    let _ = log::set_logger(logger());
    log::set_max_level(level);
}

/// Prints a line regardless of the log level, without time, level and target.
pub fn print(line: &str) {
    let mut plain = Line::new();
    let _ = plain.write_str(line);
    logger().write(&mut plain);
}

/// The last lines that were logged, at least as severe as `level`, after a position.
pub fn lines_after(level: LevelFilter, position: LogPosition) -> Lines {
    logger().recent.lock().unwrap_or_else(PoisonError::into_inner).after(level, position)
}

/// Sends the messages of panics here as well: the standard library waits until standard error accepts them. With
/// `RUST_BACKTRACE=1` a backtrace follows, a line for each of its lines.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        format!("relay: {panic}").lines().for_each(print);
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            backtrace.to_string().lines().for_each(print);
        }
    }));
}

/// The target of lines with a secret. They go to standard error and are not kept for operators' streams.
pub const SECRETS: &str = "relay::secrets";

fn logger() -> &'static Logger {
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    LOGGER.get_or_init(|| Logger::new(Sink::standard_error()))
}

struct Logger {
    sink: Sink,
    style: Style,
    /// Lines that were dropped since the last one that was written.
    dropped: AtomicU64,
    /// Whether the last write stopped in the middle of a line.
    torn: AtomicBool,
    /// For operators, also when standard error did not accept them.
    recent: Mutex<RecentLines>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `<6>INFO  [target] message`, with the priorities of `sd-daemon(3)`.
    Journal,
    /// `2026-11-21T16:58:33.105Z INFO  [target] message`.
    Plain,
    /// [`Style::Plain`] with a coloured level.
    Coloured,
}

impl Logger {
    fn new(sink: Sink) -> Logger {
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = if env::var_os("JOURNAL_STREAM").is_some() {
            Style::Journal
        } else if io::stderr().is_terminal() && !no_color {
            Style::Coloured
        } else {
            Style::Plain
        };
        let recent = Mutex::new(RecentLines::new());
        Logger { sink, style, dropped: AtomicU64::new(0), torn: AtomicBool::new(false), recent }
    }

    /// Writes a line, after the number of dropped lines if there are any.
    fn write(&self, line: &mut Line) {
        // Taken, so that another thread does not report them too.
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let mut notice = Line::new();
            let args = format_args!("{dropped} log lines were dropped: standard error did not accept them");
            self.format(&mut notice, Level::Warn, module_path!(), args);
            if !self.try_write(&mut notice) {
                self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
                return;
            }
        }
        if !self.try_write(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the whole line was accepted.
    fn try_write(&self, line: &mut Line) -> bool {
        let bytes = line.finish(self.torn.load(Ordering::Relaxed));
        let written = loop {
            match self.sink.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.unwrap_or(0),
            }
        };
        if written > 0 {
            self.torn.store(written < bytes.len(), Ordering::Relaxed);
        }
        written == bytes.len()
    }

    fn format(&self, line: &mut Line, level: Level, target: &str, args: fmt::Arguments<'_>) {
        match self.style {
            Style::Journal => {
                let priority = match level {
                    Level::Error => 3,
                    Level::Warn => 4,
                    Level::Info => 6,
                    Level::Debug | Level::Trace => 7,
                };
                let _ = write!(line, "<{priority}>{level:<5}");
            }
            Style::Plain => {
                let _ = write!(line, "{}{level:<5}", stamp(unix_micros()));
            }
            Style::Coloured => {
                let colour = match level {
                    Level::Error => 31,
                    Level::Warn => 33,
                    Level::Info => 36,
                    Level::Debug => 35,
                    Level::Trace => 0,
                };
                let _ = write!(line, "{}", stamp(unix_micros()));
                line.push(format!("\x1b[{colour}m{level:<5}\x1b[0m").as_bytes());
            }
        }
        let _ = write!(line, " [{target}] {args}");
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Below warnings, these two log each frame and each registration.
        let noisy = ["tungstenite", "mio"].iter().any(|library| metadata.target().starts_with(library));
        !noisy || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = Line::new();
            self.format(&mut line, record.level(), record.target(), *record.args());
            self.write(&mut line);
            if record.target() == SECRETS {
                return;
            }
            let text = record.args().to_string();
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push(record.level(), record.target(), &text);
        }
    }

    fn flush(&self) {}
}

/// Bytes of the longest line, with its line break: `PIPE_BUF`, because a pipe accepts that much atomically.
const LINE_MAX: usize = 4096;
/// Bytes at the end that are kept free for the note that a line was cut.
const CUT_NOTE: usize = 40;

/// A line that is being formatted. Bytes that do not fit are counted and left out. Control characters are escaped, so
/// that a message cannot forge a second line or send commands to a terminal.
struct Line {
    /// A line break, which is written only after a torn line, and the line.
    bytes: [u8; LINE_MAX],
    len: usize,
    cut: usize,
}

impl Line {
    fn new() -> Line {
        let mut bytes = [0; LINE_MAX];
        bytes[0] = b'\n';
        Line { bytes, len: 1, cut: 0 }
    }

    /// Appends bytes unchanged, all of them or none. Once some did not fit, nothing more is appended.
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.cut > 0 || end > LINE_MAX - CUT_NOTE {
            self.cut += bytes.len();
            return;
        }
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Ends the line. The result begins with a line break if `torn`.
    fn finish(&mut self, torn: bool) -> &[u8] {
        if self.cut > 0 {
            // `CUT_NOTE` bytes are reserved for it.
            let note = format!("… ({} more bytes)", self.cut);
            self.cut = 0;
            self.bytes[self.len..self.len + note.len()].copy_from_slice(note.as_bytes());
            self.len += note.len();
        }
        self.bytes[self.len] = b'\n';
        &self.bytes[usize::from(!torn)..=self.len]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() && c != '\t' {
                c.escape_default().for_each(|c| self.push(&[c as u8]));
            } else {
                self.push(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Ok(())
    }
}

/// A way to write to standard error that never blocks.
enum Sink {
    /// A pipe or device that was opened again: an open file description of our own, so that `O_NONBLOCK` does not
    /// affect other processes.
    Own(File),
    /// A socket, such as that of the journal. Each write has `MSG_DONTWAIT`.
    Socket,
    /// A file, or anything that cannot be opened again.
    Shared,
}

impl Sink {
    fn standard_error() -> Sink {
        let path = "/proc/self/fd/2";
        let Ok(kind) = fs::metadata(path).map(|metadata| metadata.file_type()) else { return Sink::Shared };
        if kind.is_socket() {
            return Sink::Socket;
        }
        if !kind.is_fifo() && !kind.is_char_device() {
            return Sink::Shared;
        }
        let opened = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        opened.map_or(Sink::Shared, Sink::Own)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Own(file) => (&mut &*file).write(bytes),
            Sink::Socket => {
                SockRef::from(&io::stderr()).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            }
            Sink::Shared if has_room() => io::stderr().write(bytes),
            Sink::Shared => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Whether standard error has room and a reader. A pipe with room accepts a whole line (`PIPE_BUF`) without blocking.
#[allow(unsafe_code)]
fn has_room() -> bool {
    let mut poll = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the call reads and writes only the structure it is given, which lives here, and does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & (libc::POLLOUT | libc::POLLERR) == libc::POLLOUT }
}

/// The time at the beginning of a line, in UTC.
fn stamp(micros: u64) -> String {
    let unix = micros / 1_000_000;
    let date = Now { unix, ..Now::default() }.local().date();
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z ", micros / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let mut line = Line::new();
        line.write_str(text).unwrap();
        line
    }

    #[test]
    fn stamps() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z ");
        assert_eq!(stamp(1_795_280_313_105_999), "2026-11-21T16:58:33.105Z ");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(line("a\nb\u{1b}[31m\tc").finish(false), b"a\\nb\\u{1b}[31m\tc\n");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        for length in [1, LINE_MAX - CUT_NOTE - 1, LINE_MAX - CUT_NOTE, LINE_MAX, 15_000, 1 << 20] {
            let text = "x".repeat(length);
            let mut line = line(&text);
            let written = core::str::from_utf8(line.finish(true)).unwrap();
            assert!(written.len() <= LINE_MAX, "{length}: {}", written.len());
            let kept = written.bytes().filter(|byte| *byte == b'x').count();
            let note = if kept < length { format!("… ({} more bytes)", length - kept) } else { String::new() };
            assert_eq!(written, format!("\n{}{note}\n", "x".repeat(kept)));
        }
        let mut three = line(&"三".repeat(2000));
        assert!(core::str::from_utf8(three.finish(false)).unwrap().ends_with(" more bytes)\n"));
    }

    /// The event loop and other threads log at once: each dropped line is reported exactly once.
    #[test]
    fn threads_report_each_dropped_line_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let nonblocking = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
        drop(file);
        let mut logger = Logger::new(Sink::Own(nonblocking));
        logger.style = Style::Journal;
        let reading = std::thread::spawn(move || {
            let (mut text, mut piece) = (Vec::new(), [0; 1500]);
            while let Ok(length @ 1..) = io::Read::read(&mut reader, &mut piece) {
                text.extend_from_slice(&piece[..length]);
                std::thread::sleep(core::time::Duration::from_micros(200));
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2000).for_each(|_| logger.write(&mut line(&"x".repeat(300)))));
            }
        });
        let left = logger.dropped.load(Ordering::Relaxed);
        drop(logger);
        let text = reading.join().unwrap();
        let reported = text.lines().filter_map(|line| line.split_once(" log lines were dropped")?.0.rsplit(' ').next());
        let reported: u64 = reported.map(|count| count.parse::<u64>().unwrap()).sum();
        let written = text.lines().filter(|line| line.ends_with(&"x".repeat(300))).count() as u64;
        assert_eq!(written + reported + left, 8000, "{written} written, {reported} reported, {left} to be reported");
    }

    #[test]
    fn dropped_lines_are_counted_until_the_notice_is_written() {
        let (reader, writer) = io::pipe().unwrap();
        let full = || Sink::Own(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let mut logger = Logger::new(full());
        logger.style = Style::Journal;
        for _ in 0..3 {
            logger.write(&mut line("not written"));
        }
        assert_eq!(logger.dropped.load(Ordering::Relaxed), 3);
        logger.sink = Sink::Own(File::from(std::os::fd::OwnedFd::from(writer)));
        logger.write(&mut line("written"));
        assert_eq!(logger.dropped.load(Ordering::Relaxed), 0);
        drop(logger);
        let text = io::read_to_string(reader).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().contains("] 3 log lines were dropped: "), "{text}");
        assert_eq!((lines.next(), lines.next()), (Some("written"), None));
    }
}
