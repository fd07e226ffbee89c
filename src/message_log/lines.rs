//! Lines for the files of the message log, kept until the thread that writes them takes them.
//!
//! A line is one JSON object: strings are escaped, and line breaks between values become spaces, so nobody can forge a line.
//! What waits is bounded: if the disk does not keep up, lines are dropped and counted, and no client waits.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use crate::{
    clock::Now,
    health::Health,
    json::ObjectWriter,
    message::{Data, MessageId},
};

/// Lines that wait for the disk, by their file.
#[derive(Default)]
pub struct MessageLog {
    on: bool,
    now: Now,
    /// The day's folder and the time, as this turn's lines have them; made for the first of them.
    stamp: Option<(String, String)>,
    /// By the file's path within the log's folder.
    files: BTreeMap<Box<str>, Vec<u8>>,
    bytes: usize,
    /// Errors that were recorded in this second, and those that were not because they were too many.
    errors: (u64, u32),
    hushed: u64,
    lost: u64,
    /// Files that messages named, by day and source.
    named: (i64, HashMap<Box<str>, HashSet<Box<str>>>),
    /// What the disk said last.
    pub health: Health,
}

/// What is to be appended: to a file of that path, these lines.
pub type Appends = BTreeMap<Box<str>, Vec<u8>>;

impl MessageLog {
    /// A journal that takes lines if there is a folder for them.
    pub fn new(on: bool) -> MessageLog {
        MessageLog { on, ..MessageLog::default() }
    }

    /// Whether lines are taken.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Now) {
        if self.now.unix != now.unix {
            self.stamp = None;
        }
        self.now = now;
    }

    /// The clocks of this turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// A message that was published.
    pub fn message(&mut self, source: &str, filename: &str, id: MessageId, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        let file = if self.may_name(source, filename) { filename } else { "msg.log" };
        self.line(&format!("{source}_{file}"), |line| {
            line.shown("id", id);
            line.text("source", source);
            fill(line);
        });
    }

    /// Whether a message gets the file it names: a source has so many of them a day, since no signature covers the name.
    fn may_name(&mut self, source: &str, filename: &str) -> bool {
        if filename.is_empty() || !self.on {
            return false;
        }
        let day = self.now.day();
        if self.named.0 != day {
            self.named = (day, HashMap::new());
        }
        let names = self.named.1.entry(source.into()).or_default();
        names.contains(filename) || (names.len() < MOST_NAMES && names.insert(filename.into()))
    }

    /// A visitor came or went.
    pub fn client(&mut self, event: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.line("client.log", |line| {
            line.text("event", event);
            fill(line);
        });
    }

    /// Something was refused. Of a flood of them only the first in each second are kept: who asks for a refusal need not
    /// prove who he is.
    pub fn error(&mut self, event: &str, why: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        if self.errors.0 != self.now.unix {
            self.errors = (self.now.unix, 0);
        }
        // Nor may they take the room of what matters.
        if !self.on || self.errors.1 >= MOST_ERRORS || self.bytes > MOST_WAITING / 2 {
            self.hushed += u64::from(self.on);
            return;
        }
        self.errors.1 += 1;
        let hushed = mem::take(&mut self.hushed);
        self.line("error.log", |line| {
            line.text("event", event);
            line.text("error", why);
            fill(line);
            if hushed > 0 {
                line.shown("before_this_left_out", hushed);
            }
        });
    }

    /// Something that an old server says of itself and its clients.
    pub fn foreign(&mut self, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        if self.bytes > MOST_WAITING / 2 {
            self.lost += u64::from(self.on);
            return;
        }
        self.line("sys.log", |line| {
            line.text("event", "sibling");
            fill(line);
        });
    }

    /// Something about relay itself.
    pub fn system(&mut self, event: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.line("sys.log", |line| {
            line.text("event", event);
            fill(line);
        });
    }

    fn line(&mut self, file: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        if !self.on {
            return;
        }
        let local = self.now.local();
        let (day, time) = self.stamp.get_or_insert_with(|| (local.date().to_string(), local.to_string()));
        let path = format!("{day}/{file}");
        if self.bytes >= MOST_WAITING {
            self.lost += 1;
            return;
        }
        let lines = self.files.entry(path.into()).or_default();
        let begin = lines.len();
        lines.push(b'{');
        let mut line = ObjectWriter::within(lines);
        line.text("time", time);
        fill(&mut line);
        lines.extend_from_slice(b"}\n");
        if self.bytes + lines.len() - begin > MOST_WAITING {
            lines.truncate(begin);
            self.lost += 1;
        } else {
            self.bytes += lines.len() - begin;
        }
    }

    /// What waits, for who writes it.
    pub fn take(&mut self) -> Appends {
        self.bytes = 0;
        mem::take(&mut self.files)
    }

    /// Whether something waits.
    pub fn has_lines(&self) -> bool {
        self.bytes > 0
    }

    /// The disk did not take these lines.
    pub fn lose(&mut self, lines: u64) {
        self.lost += lines;
    }

    /// Lines that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Appends a message's data as the field `data`.
pub fn write_data(line: &mut ObjectWriter<'_>, data: Data<'_>) {
    line.raw_in_one_line("data", |out| data.write_json(out));
}

/// Bytes that may wait for the disk; as many again are being written.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// Files that a source's messages may name in a day.
const MOST_NAMES: usize = 1000;
/// Refusals that are recorded in a second.
const MOST_ERRORS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> MessageLog {
        let mut log = MessageLog::new(true);
        log.begin_turn(Now { unix: 1_795_219_199, utc_offset: 3600, ..Now::default() });
        log
    }

    fn text(log: &mut MessageLog) -> Vec<(String, String)> {
        let text = |(path, lines): (Box<str>, Vec<u8>)| (path.into(), String::from_utf8(lines).unwrap());
        log.take().into_iter().map(text).collect()
    }

    #[test]
    fn lines_and_files() {
        let mut log = log();
        log.client("connect", |line| {
            line.text("username", "a\"b\r\nc</b>");
            line.some("referer", "");
            line.shown("seconds", 12);
        });
        let id = MessageId::first(0, 0);
        log.message("demo", "", id, |line| write_data(line, Data::Json("{\n\"a\"\r:\t\"\\n\"}")));
        log.message("demo", "x.log", id, |line| write_data(line, Data::Binary(b"\n")));
        assert!(log.has_lines());
        let time = "\"time\":\"2026-11-21T00:59:59+01:00\"";
        let id = "\"id\":\"00000000000000000\",\"source\":\"demo\"";
        assert_eq!(
            text(&mut log),
            [
                (
                    "2026-11-21/client.log".into(),
                    format!("{{{time},\"event\":\"connect\",\"username\":\"a\\\"b\\r\\nc</b>\",\"seconds\":12}}\n")
                ),
                ("2026-11-21/demo_msg.log".into(), format!("{{{time},{id},\"data\":{{ \"a\" :\t\"\\n\"}}}}\n")),
                ("2026-11-21/demo_x.log".into(), format!("{{{time},{id},\"data\":{{\"_base64\":\"Cg==\"}}}}\n")),
            ]
        );
        assert!(!log.has_lines() && text(&mut log).is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut log = log();
        let big = "x".repeat(MOST_WAITING / 4);
        (0..10).for_each(|_| log.system("big", |line| line.text("text", &big)));
        assert_eq!(log.lost(), 7, "three fit");
        log.system("small", |_| {});
        assert_eq!(log.lost(), 7, "a small one still fits");
        assert_eq!(text(&mut log)[0].1.lines().count(), 4);
        log.lose(4);
        log.system("small", |_| {});
        assert_eq!((log.lost(), text(&mut log)[0].1.lines().count()), (11, 1));
    }

    #[test]
    fn a_flood_of_errors_is_hushed() {
        let mut log = log();
        (0..1000).for_each(|_| log.error("connect", "why", |_| {}));
        assert_eq!(text(&mut log)[0].1.lines().count(), 100);
        log.begin_turn(Now { unix: 1_795_219_200, ..Now::default() });
        log.error("connect", "why", |_| {});
        assert!(text(&mut log)[0].1.ends_with("\"error\":\"why\",\"before_this_left_out\":900}\n"));
    }

    #[test]
    fn off_is_off() {
        let mut log = MessageLog::default();
        log.system("start", |_| {});
        log.error("connect", "why", |_| {});
        assert!(!log.has_lines() && log.lost() == 0 && log.hushed == 0);
    }
}
