//! Lines for the files of the message log, kept until the thread that writes them takes them.
//!
//! A line is one JSON object: strings are escaped, and line breaks between values become spaces, so a client cannot
//! forge a line. The lines that wait are bounded in bytes: if the disk is too slow, further lines are dropped and
//! counted, and no client waits.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use super::{file, quota::Quota};
use crate::{
    clock::{Date, Now},
    health::Health,
    json::ObjectWriter,
    message::{Data, MessageId},
};

/// Lines that wait to be written, by file.
#[derive(Default)]
pub struct MessageLog {
    on: bool,
    now: Now,
    /// The day and the time of lines in this second, formatted for the first of them.
    stamp: Option<(Date, String)>,
    /// Lines by the path of their file, within the log's folder.
    files: BTreeMap<Box<str>, Vec<u8>>,
    bytes: usize,
    visits: Quota,
    errors: Quota,
    old_servers: Quota,
    lost: u64,
    /// Files that messages named, by day and source.
    named: (i64, HashMap<Box<str>, HashSet<Box<str>>>),
    /// Whether the disk accepts lines; the server updates this.
    pub health: Health,
}

/// Lines to be appended, by the path of their file within the log's folder.
pub type Appends = BTreeMap<Box<str>, Vec<u8>>;

impl MessageLog {
    /// A log, which accepts lines if `on` is set.
    pub fn new(on: bool) -> MessageLog {
        let health = if on { Health::Fine } else { Health::Off };
        MessageLog {
            on,
            health,
            visits: Quota::new(VISITS),
            errors: Quota::new(ERRORS),
            old_servers: Quota::new(OLD_SERVERS),
            ..MessageLog::default()
        }
    }

    /// Changes whether lines are accepted, for another folder: its disk counts as healthy.
    pub fn set_on(&mut self, on: bool) {
        self.on = on;
        self.health = if on { Health::Fine } else { Health::Off };
    }

    /// Whether lines are accepted.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Begins a turn of the event loop.
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

    /// Writes a line about a published message.
    pub fn message(&mut self, source: &str, filename: &str, id: MessageId, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        let filename = if self.may_name(source, filename) { filename } else { "" };
        self.line(&file::messages(source, filename), usize::MAX, |line| {
            line.display("id", id);
            line.text("source", source);
            fill(line);
        });
    }

    /// Whether a message is written to the file that it names. No signature covers that name, so a source may use at
    /// most a thousand of them a day.
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

    /// Writes a line about a connect or disconnect. A single client can connect thousands of times a second, so the
    /// number of lines is bounded.
    pub fn client(&mut self, event: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.bounded_line(
            |log| &mut log.visits,
            file::CLIENTS,
            |line| {
                line.text("event", event);
                fill(line);
            },
        );
    }

    /// Writes a line about a refusal. Anyone can cause refusals, so the number of lines is bounded.
    pub fn error(&mut self, event: &str, why: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.bounded_line(
            |log| &mut log.errors,
            file::ERRORS,
            |line| {
                line.text("event", event);
                line.text("error", why);
                fill(line);
            },
        );
    }

    /// Writes a log line of an old server (node-socket-im) on the same Redis.
    pub fn old_server(&mut self, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.bounded_line(
            |log| &mut log.old_servers,
            file::SYSTEM,
            |line| {
                line.text("event", "sibling");
                fill(line);
            },
        );
    }

    /// Writes a line about relay itself.
    pub fn system(&mut self, event: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.line(file::SYSTEM, usize::MAX, |line| {
            line.text("event", event);
            fill(line);
        });
    }

    /// Writes a line that others cause: with short texts, within a quota, and only while half of the buffer is free, so
    /// that such lines do not displace messages. The next line has the number of those that were left out.
    fn bounded_line(
        &mut self,
        quota: impl Fn(&mut MessageLog) -> &mut Quota,
        name: &str,
        fill: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        if !self.on {
            return;
        }
        let (room, now) = (self.bytes <= MOST_WAITING / 2, self.now.time);
        let Some(left_out) = quota(self).take(room, now) else { return };
        self.line(name, MAX_TEXT_LEN, |line| {
            fill(line);
            if left_out > 0 {
                line.display("before_this_left_out", left_out);
            }
        });
    }

    /// Writes a line. Strings in it are cut to `max_text` bytes.
    fn line(&mut self, name: &str, max_text: usize, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        if !self.on {
            return;
        }
        let local = self.now.local();
        let (day, time) = self.stamp.get_or_insert_with(|| (local.date(), local.to_string()));
        let path = file::path(*day, name);
        if self.bytes >= MOST_WAITING {
            self.lost += 1;
            return;
        }
        let lines = self.files.entry(path.into()).or_default();
        let begin = lines.len();
        lines.push(b'{');
        let mut line = ObjectWriter::within(lines);
        line.text("time", time);
        line.cut_texts(max_text);
        fill(&mut line);
        lines.extend_from_slice(b"}\n");
        if self.bytes + lines.len() - begin > MOST_WAITING {
            lines.truncate(begin);
            self.lost += 1;
        } else {
            self.bytes += lines.len() - begin;
        }
    }

    /// Takes the lines to write.
    pub fn take(&mut self) -> Appends {
        self.bytes = 0;
        mem::take(&mut self.files)
    }

    /// Bytes of the lines that wait to be taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether lines wait.
    pub fn has_lines(&self) -> bool {
        self.bytes > 0
    }

    /// Counts lines that could not be written.
    pub fn lose(&mut self, lines: u64) {
        self.lost += lines;
    }

    /// Lines that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Lines about visits, refusals and old servers that were left out since the start, because there were too many.
    pub fn left_out(&self) -> u64 {
        [&self.visits, &self.errors, &self.old_servers].iter().map(|quota| quota.left_out()).sum()
    }
}

/// Appends a message's data as the field `data`.
pub fn write_data(line: &mut ObjectWriter<'_>, data: Data<'_>) {
    line.raw_in_one_line("data", |out| data.write_json(out));
}

/// Bytes of lines that may wait. A write in progress can hold as many more.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// Files that a source's messages may name in a day.
const MOST_NAMES: usize = 1000;
/// Bytes of a string in lines about visits, refusals and old servers.
const MAX_TEXT_LEN: usize = 512;
/// Lines about connects and disconnects a second, and at once after a pause. A client that connects and disconnects all
/// the time otherwise writes 95 MB a second.
const VISITS: (u32, u32) = (1000, 5000);
/// Lines about refusals.
const ERRORS: (u32, u32) = (100, 100);
/// Lines of old servers.
const OLD_SERVERS: (u32, u32) = (100, 100);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::clock::Time;

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
            line.nonempty("referer", "");
            line.display("seconds", 12);
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
    fn waiting_lines_are_bounded() {
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
    fn a_flood_of_errors_is_cut() {
        let mut log = log();
        (0..1000).for_each(|_| log.error("connect", "why", |_| {}));
        assert_eq!(text(&mut log)[0].1.lines().count(), 100);
        assert_eq!(log.left_out(), 900);
        log.begin_turn(Now { unix: 1_795_219_200, time: Time::from_micros(10_000), ..Now::default() });
        log.error("connect", "why", |_| {});
        assert!(text(&mut log)[0].1.ends_with("\"error\":\"why\",\"before_this_left_out\":900}\n"));
        assert_eq!((log.left_out(), log.lost()), (900, 0));
    }

    #[test]
    fn a_flood_of_visits_is_cut() {
        let mut log = log();
        let long = "x".repeat(8192);
        let visit = |log: &mut MessageLog| {
            log.client("connect", |line| {
                line.text("userid", &long);
                line.text("ext_info", &long);
            });
        };
        (0..50_000).for_each(|_| visit(&mut log));
        let lines = text(&mut log)[0].1.clone();
        let length = lines.find('\n').unwrap() + 1;
        assert_eq!(lines.lines().count(), MOST_WAITING / 2 / length + 1, "half of the buffer");
        // The longest lines that a client can cause, each second for ten seconds.
        let mut written = 0;
        for second in 0..10 {
            for turn in 0..100 {
                let time = Time::from_micros(second * 1_000_000 + turn * 10_000);
                log.begin_turn(Now { unix: 1_795_219_200 + second, time, ..Now::default() });
                (0..100).for_each(|_| visit(&mut log));
                written += text(&mut log).first().map_or(0, |file| file.1.lines().count());
            }
        }
        assert!((10_000..=15_000).contains(&written), "{written}");
        assert_eq!(log.lost(), 0);
        // Messages are not bounded, nor do visits displace them.
        (0..50_000).for_each(|_| visit(&mut log));
        log.message("demo", "", MessageId::first(0, 0), |line| line.text("room_id", &long));
        let files = text(&mut log);
        assert!(files.iter().any(|(name, text)| name.ends_with("demo_msg.log") && text.len() > 8192));
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let mut log = MessageLog::default();
        log.system("start", |_| {});
        log.error("connect", "why", |_| {});
        log.client("connect", |_| {});
        assert!(!log.has_lines() && log.lost() == 0 && log.left_out() == 0);
    }
}
