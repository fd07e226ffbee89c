//! The last lines of the log, for operators' streams.

use std::collections::VecDeque;

use log::{Level, LevelFilter};

use super::clock::unix_micros;
use crate::{
    json::ObjectWriter,
    live::{Lines, LogPosition},
    text::truncate,
};

/// The last lines of the log, the oldest first.
#[derive(Default)]
pub struct RecentLines {
    lines: VecDeque<Entry>,
    /// How many there have been of each level, the most severe first.
    counts: [u64; LEVELS],
}

struct Entry {
    level: Level,
    micros: u64,
    target: Box<str>,
    text: Box<str>,
}

impl RecentLines {
    /// An empty list.
    pub const fn new() -> RecentLines {
        RecentLines { lines: VecDeque::new(), counts: [0; LEVELS] }
    }

    /// Adds a line.
    pub fn push(&mut self, level: Level, target: &str, text: &str) {
        if self.lines.len() >= MOST_LINES {
            self.lines.pop_front();
        }
        let (target, text) = (truncate(target, MOST_TARGET).into(), truncate(text, MOST_TEXT).into());
        self.lines.push_back(Entry { level, micros: unix_micros(), target, text });
        self.counts[level as usize - 1] += 1;
    }

    /// How many lines there have been that are at least as severe as a level.
    fn count(&self, level: LevelFilter) -> u64 {
        self.counts[..level as usize].iter().sum()
    }

    /// The lines after a position that are at least as severe as a level: the newest of them, as JSON with their numbers. The first
    /// line of the process has the number 1.
    pub fn after(&self, level: LevelFilter, position: LogPosition) -> Lines {
        let (total, wanted) = (self.count(LevelFilter::Trace), self.count(level));
        let lost = total - self.lines.len() as u64;
        let fresh = (lost + 1..).zip(&self.lines).skip(position.last.saturating_sub(lost) as usize);
        let fresh: Vec<_> = fresh.filter(|(_, entry)| entry.level <= level).collect();
        let begins = position == LogPosition::default();
        let shown = &fresh[fresh.len().saturating_sub(if begins { MOST_AT_FIRST } else { MOST_AT_ONCE })..];
        let mut text = Vec::new();
        for (number, entry) in shown {
            text.push(b'{');
            let mut line = ObjectWriter::within(&mut text);
            line.text("type", "log");
            line.display("number", number);
            line.raw("time", |out| out.extend_from_slice(seconds(entry.micros).as_bytes()));
            line.text("level", entry.level.as_str());
            line.text("target", &entry.target);
            line.text("text", &entry.text);
            text.extend_from_slice(b"}\n");
        }
        // A stream that begins gets what there is, and has missed nothing.
        let omitted = if begins { 0 } else { wanted - position.wanted - shown.len() as u64 };
        Lines { text, omitted, position: LogPosition { last: total, wanted } }
    }
}

/// Microseconds as seconds with three digits behind the point.
fn seconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000_000, micros / 1000 % 1000)
}

/// Levels of lines.
const LEVELS: usize = LevelFilter::Trace as usize;
/// Lines that are kept: at most 256 KiB.
const MOST_LINES: usize = 256;
/// Bytes of a line that are kept.
const MOST_TEXT: usize = 960;
const MOST_TARGET: usize = 64;
/// Lines that a stream gets at its beginning, and in each second.
const MOST_AT_FIRST: usize = 200;
const MOST_AT_ONCE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &Lines) -> Vec<String> {
        let lines = core::str::from_utf8(&lines.text).unwrap().lines();
        let values = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        values
            .map(|value| {
                let text = |name: &str| value[name].as_str().unwrap().to_owned();
                format!("{} {} {}", value["number"], text("level"), text("text"))
            })
            .collect()
    }

    #[test]
    fn a_stream_gets_each_line_of_its_levels_once() {
        let mut recent = RecentLines::new();
        assert_eq!(recent.after(LevelFilter::Trace, LogPosition::default()), Lines::default());
        recent.push(Level::Info, "relay::a", "\"one\"\n");
        recent.push(Level::Debug, "relay::a", "two");
        let first = recent.after(LevelFilter::Info, LogPosition::default());
        assert_eq!((texts(&first), first.omitted), (vec!["1 INFO \"one\"\n".to_owned()], 0));
        assert_eq!(texts(&recent.after(LevelFilter::Debug, LogPosition::default())).len(), 2);
        recent.push(Level::Error, "relay::a", "three");
        let next = recent.after(LevelFilter::Info, first.position);
        assert_eq!((texts(&next), next.omitted), (vec!["3 ERROR three".to_owned()], 0));
        let nothing = recent.after(LevelFilter::Info, next.position);
        assert_eq!(nothing, Lines { text: Vec::new(), omitted: 0, position: LogPosition { last: 3, wanted: 2 } });
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut recent = RecentLines::new();
        recent.push(Level::Info, "t", "first");
        let begin = recent.after(LevelFilter::Info, LogPosition::default()).position;
        for number in 0..400 {
            recent.push(Level::Info, "t", &format!("{number}{}", "ü".repeat(3000)));
        }
        let first = recent.after(LevelFilter::Info, LogPosition::default());
        assert_eq!((texts(&first).len(), first.omitted), (MOST_AT_FIRST, 0));
        let later = recent.after(LevelFilter::Info, begin);
        assert_eq!((texts(&later).len(), later.omitted, later.position.last), (MOST_AT_ONCE, 300, 401));
        assert!(texts(&later)[MOST_AT_ONCE - 1].starts_with("401 INFO 399ü"));
    }

    /// Lines of other levels are not missed, whether they are still there or not.
    #[test]
    fn only_lines_of_its_levels_are_missed() {
        let mut recent = RecentLines::new();
        recent.push(Level::Error, "t", "first");
        let begin = recent.after(LevelFilter::Error, LogPosition::default()).position;
        (0..900).for_each(|_| recent.push(Level::Info, "t", ""));
        let none = recent.after(LevelFilter::Error, begin);
        assert_eq!((texts(&none).len(), none.omitted), (0, 0));
        recent.push(Level::Error, "t", "lost");
        (0..900).for_each(|_| recent.push(Level::Warn, "t", ""));
        recent.push(Level::Error, "t", "last");
        let some = recent.after(LevelFilter::Error, none.position);
        assert_eq!((texts(&some), some.omitted), (vec!["1803 ERROR last".to_owned()], 1));
        assert_eq!(recent.after(LevelFilter::Info, begin).omitted, 1802 - MOST_AT_ONCE as u64);
    }
}
