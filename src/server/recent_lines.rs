//! The last lines of the log, for operators' streams.

use std::collections::VecDeque;

use log::{Level, LevelFilter};

use super::clock::unix_micros;
use crate::{json::ObjectWriter, live::Lines, text::truncate};

/// The last lines of the log, the oldest first.
#[derive(Default)]
pub struct RecentLines {
    lines: VecDeque<Entry>,
    /// How many there have been.
    total: u64,
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
        RecentLines { lines: VecDeque::new(), total: 0 }
    }

    /// Adds a line.
    pub fn push(&mut self, level: Level, target: &str, text: &str) {
        if self.lines.len() >= MOST_LINES {
            self.lines.pop_front();
        }
        let (target, text) = (truncate(target, MOST_TARGET).into(), truncate(text, MOST_TEXT).into());
        self.lines.push_back(Entry { level, micros: unix_micros(), target, text });
        self.total += 1;
    }

    /// The lines after a position that are at least as severe as a level: the newest of them, as JSON.
    pub fn after(&self, level: LevelFilter, position: u64) -> Lines {
        let first = self.total - self.lines.len() as u64;
        // A stream that begins gets what there is, and has missed nothing.
        let lost = if position == 0 { 0 } else { first.saturating_sub(position) };
        let fresh = self.lines.iter().skip(position.saturating_sub(first) as usize);
        let wanted: Vec<&Entry> = fresh.filter(|entry| entry.level <= level).collect();
        let omitted = wanted.len().saturating_sub(if position == 0 { MOST_AT_FIRST } else { MOST_AT_ONCE });
        let mut text = Vec::new();
        for entry in &wanted[omitted..] {
            text.push(b'{');
            let mut line = ObjectWriter::within(&mut text);
            line.text("type", "log");
            line.raw("time", |out| out.extend_from_slice(seconds(entry.micros).as_bytes()));
            line.text("level", entry.level.as_str());
            line.text("target", &entry.target);
            line.text("text", &entry.text);
            text.extend_from_slice(b"}\n");
        }
        let omitted = if position == 0 { 0 } else { lost + omitted as u64 };
        Lines { text, omitted, next: self.total }
    }
}

/// Microseconds as seconds with three digits behind the point.
fn seconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000_000, micros / 1000 % 1000)
}

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
            .map(|value| format!("{} {}", value["level"].as_str().unwrap(), value["text"].as_str().unwrap()))
            .collect()
    }

    #[test]
    fn a_stream_gets_each_line_of_its_levels_once() {
        let mut recent = RecentLines::new();
        recent.push(Level::Info, "relay::a", "\"one\"\n");
        recent.push(Level::Debug, "relay::a", "two");
        let first = recent.after(LevelFilter::Info, 0);
        assert_eq!((texts(&first), first.omitted, first.next), (vec!["INFO \"one\"\n".to_owned()], 0, 2));
        assert_eq!(texts(&recent.after(LevelFilter::Debug, 0)).len(), 2);
        recent.push(Level::Error, "relay::a", "three");
        let next = recent.after(LevelFilter::Info, first.next);
        assert_eq!((texts(&next), next.omitted, next.next), (vec!["ERROR three".to_owned()], 0, 3));
        assert_eq!(recent.after(LevelFilter::Info, 3), Lines { text: Vec::new(), omitted: 0, next: 3 });
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut recent = RecentLines::new();
        recent.push(Level::Info, "t", "first");
        for number in 0..400 {
            recent.push(Level::Info, "t", &format!("{number}{}", "ü".repeat(3000)));
        }
        let first = recent.after(LevelFilter::Info, 0);
        assert_eq!((texts(&first).len(), first.omitted), (MOST_AT_FIRST, 0));
        let later = recent.after(LevelFilter::Info, 1);
        assert_eq!((texts(&later).len(), later.omitted, later.next), (MOST_AT_ONCE, 300, 401));
        assert!(texts(&later)[MOST_AT_ONCE - 1].starts_with("INFO 399ü"));
    }
}
