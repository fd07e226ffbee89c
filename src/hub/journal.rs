//! The message log as the hub sees it: lines for files, gathered until the world takes them (contract section 7).
//!
//! A line is one JSON object, whatever is in it: strings are escaped, and the line breaks that JSON allows between values
//! become spaces, so nobody can write a line of his own. What waits is bounded: when the disk does not keep up lines are
//! lost and counted, and no client waits.

use core::fmt::{Display, Write as _};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Write as _,
    mem,
};

use super::{Data, MessageId, broadcast::string};
use crate::clock::Now;

/// Lines that wait for the disk, by their file.
#[derive(Default)]
pub struct Journal {
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

/// How the disk does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Lines are written.
    #[default]
    Fine,
    /// They are not, and why.
    Failing(String),
}

/// What is to be appended: to a file of that path, these lines.
pub type Batch = BTreeMap<Box<str>, Vec<u8>>;

impl Journal {
    /// A journal that takes lines if there is a folder for them.
    pub fn new(on: bool) -> Journal {
        Journal { on, ..Journal::default() }
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
    pub fn message(&mut self, source: &str, filename: &str, id: MessageId, fill: impl FnOnce(&mut Line<'_>)) {
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
    pub fn client(&mut self, event: &str, fill: impl FnOnce(&mut Line<'_>)) {
        self.line("client.log", |line| {
            line.text("event", event);
            fill(line);
        });
    }

    /// Something was refused. Of a flood of them only the first in each second are kept: who asks for a refusal need not
    /// prove who he is.
    pub fn error(&mut self, event: &str, why: &str, fill: impl FnOnce(&mut Line<'_>)) {
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
    pub fn sibling(&mut self, fill: impl FnOnce(&mut Line<'_>)) {
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
    pub fn system(&mut self, event: &str, fill: impl FnOnce(&mut Line<'_>)) {
        self.line("sys.log", |line| {
            line.text("event", event);
            fill(line);
        });
    }

    fn line(&mut self, file: &str, fill: impl FnOnce(&mut Line<'_>)) {
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
        let mut line = Line(lines);
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
    pub fn take(&mut self) -> Batch {
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

/// A line that is being written: a JSON object's fields.
pub struct Line<'a>(&'a mut Vec<u8>);

impl<'a> Line<'a> {
    /// Fields of an object whose brace is open already.
    pub fn within(out: &'a mut Vec<u8>) -> Line<'a> {
        Line(out)
    }

    /// A string.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        string(self.0, text);
    }

    /// A string, unless there is nothing to say.
    pub fn some(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// What a stranger said: the beginning of it, unless it is nothing.
    pub fn cut(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, &text[..text.floor_char_boundary(LONGEST_FIELD)]);
        }
    }

    /// A string with what something looks like; a number stays one.
    pub fn shown(&mut self, name: &'static str, value: impl Display) {
        let mut text = String::new();
        write!(text, "{value}").expect("writing to memory succeeds");
        if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() < 16 {
            self.name(name);
            self.0.extend_from_slice(text.as_bytes());
        } else {
            self.text(name, &text);
        }
    }

    /// A value that is appended as JSON.
    pub fn raw(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.0);
    }

    /// A field of somebody else's object: its name and its value, if they are short.
    pub fn foreign(&mut self, name: &str, json: &str) {
        let own = ["time", "event"].contains(&name);
        if !own && name.len() <= LONGEST_NAME && json.len() <= LONGEST_FOREIGN {
            self.0.push(b',');
            string(self.0, name);
            self.0.push(b':');
            self.0.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        }
    }

    /// What a message carries.
    pub fn data(&mut self, data: Data<'_>) {
        self.name("data");
        let begin = self.0.len();
        data.write_json(self.0);
        // A JSON text may go over several lines, but not within its strings.
        self.0[begin..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }

    fn name(&mut self, name: &'static str) {
        let first = self.0.last() == Some(&b'{');
        let comma = if first { "" } else { "," };
        write!(self.0, "{comma}\"{name}\":").expect("writing to memory succeeds");
    }
}

/// Bytes that may wait for the disk; as many again are being written.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// Files that a source's messages may name in a day.
const MOST_NAMES: usize = 1000;
/// Bytes of a stranger's word that are recorded.
const LONGEST_FIELD: usize = 512;
/// Bytes of a name and of a value in a sibling's line.
const LONGEST_NAME: usize = 64;
const LONGEST_FOREIGN: usize = 4096;
/// Refusals that are recorded in a second.
const MOST_ERRORS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let mut journal = Journal::new(true);
        journal.begin_turn(Now { unix: 1_795_219_199, utc_offset: 3600, ..Now::default() });
        journal
    }

    fn text(journal: &mut Journal) -> Vec<(String, String)> {
        let text = |(path, lines): (Box<str>, Vec<u8>)| (path.into(), String::from_utf8(lines).unwrap());
        journal.take().into_iter().map(text).collect()
    }

    #[test]
    fn lines_and_files() {
        let mut journal = journal();
        journal.client("connect", |line| {
            line.text("username", "a\"b\r\nc</b>");
            line.some("referer", "");
            line.shown("seconds", 12);
        });
        let id = MessageId::first(0, 0);
        journal.message("demo", "", id, |line| line.data(Data::Json("{\n\"a\"\r:\t\"\\n\"}")));
        journal.message("demo", "x.log", id, |line| line.data(Data::Binary(b"\n")));
        assert!(journal.has_lines());
        let time = "\"time\":\"2026-11-21T00:59:59+01:00\"";
        let id = "\"id\":\"00000000000000000\",\"source\":\"demo\"";
        assert_eq!(
            text(&mut journal),
            [
                (
                    "2026-11-21/client.log".into(),
                    format!("{{{time},\"event\":\"connect\",\"username\":\"a\\\"b\\r\\nc</b>\",\"seconds\":12}}\n")
                ),
                ("2026-11-21/demo_msg.log".into(), format!("{{{time},{id},\"data\":{{ \"a\" :\t\"\\n\"}}}}\n")),
                ("2026-11-21/demo_x.log".into(), format!("{{{time},{id},\"data\":{{\"_base64\":\"Cg==\"}}}}\n")),
            ]
        );
        assert!(!journal.has_lines() && text(&mut journal).is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut journal = journal();
        let big = "x".repeat(MOST_WAITING / 4);
        (0..10).for_each(|_| journal.system("big", |line| line.text("text", &big)));
        assert_eq!(journal.lost(), 7, "three fit");
        journal.system("small", |_| {});
        assert_eq!(journal.lost(), 7, "a small one still fits");
        assert_eq!(text(&mut journal)[0].1.lines().count(), 4);
        journal.lose(4);
        journal.system("small", |_| {});
        assert_eq!((journal.lost(), text(&mut journal)[0].1.lines().count()), (11, 1));
    }

    #[test]
    fn a_flood_of_errors_is_hushed() {
        let mut journal = journal();
        (0..1000).for_each(|_| journal.error("connect", "why", |_| {}));
        assert_eq!(text(&mut journal)[0].1.lines().count(), 100);
        journal.begin_turn(Now { unix: 1_795_219_200, ..Now::default() });
        journal.error("connect", "why", |_| {});
        assert!(text(&mut journal)[0].1.ends_with("\"error\":\"why\",\"before_this_left_out\":900}\n"));
    }

    #[test]
    fn off_is_off() {
        let mut journal = Journal::default();
        journal.system("start", |_| {});
        journal.error("connect", "why", |_| {});
        assert!(!journal.has_lines() && journal.lost() == 0 && journal.hushed == 0);
    }
}
