//! Records and verdicts in words. The English and the Chinese ones of a sentence stand beside each other.

mod fates;
mod records;
mod verdicts;

use super::{super::Hub, findings::Findings};
use crate::{
    clock::Time,
    journal::Record,
    language::{Language, say},
    message::MessageId,
};

/// Says things in a language.
pub struct Words<'a> {
    /// The hub.
    pub hub: &'a Hub,
    /// What the journal has about the question, with the names of rooms and sessions.
    pub found: &'a Findings<'a>,
    /// The language.
    pub language: Language,
}

impl Words<'_> {
    fn session(&self, bits: u64) -> String {
        let id = self.found.socket_id(self.hub, bits);
        // The console finds ids by the word before them.
        say!(self.language, "session {id}", "会话 {id}")
    }

    fn room(&self, hash: u64) -> String {
        match self.found.rooms.get(&hash) {
            Some(name) => say!(self.language, "room {name}", "房间“{name}”"),
            None => say!(self.language, "another room", "其他房间"),
        }
    }

    /// The relay that has given out the id of a message, if that is another one.
    fn origin(&self, message: &Record) -> Option<String> {
        let node = self.hub.state.journal.origin(message)?;
        if node == 0 {
            return Some(say!(self.language, "another relay", "其他节点"));
        }
        let node = MessageId::first(0, node).node();
        Some(say!(self.language, "relay {node}", "节点 {node}"))
    }

    fn why(&self, record: &Record) -> &str {
        self.hub.state.journal.why(record, self.language)
    }

    /// Why it has happened, at the end of a sentence.
    fn because(&self, record: &Record) -> String {
        match self.why(record) {
            "" => String::new(),
            why => say!(self.language, ": {why}", "：{why}"),
        }
    }

    /// Why it has happened, in passing.
    fn aside(&self, record: &Record) -> String {
        match self.why(record) {
            "" => String::new(),
            why => say!(self.language, " ({why})", "（{why}）"),
        }
    }

    /// How often something was refused, if more than once.
    fn times(&self, record: &Record) -> String {
        let until = self.until(record);
        match record.count {
            0 | 1 => String::new(),
            count => say!(self.language, " {count} times{until}", " {count} 次{until}"),
        }
    }

    fn until(&self, record: &Record) -> String {
        let last = Time::from_micros(record.stamp);
        if last <= record.time {
            return String::new();
        }
        let at = self.clock(last);
        say!(self.language, " until {at}", "，最近一次在 {at}")
    }

    /// A time of day.
    fn clock(&self, time: Time) -> String {
        let now = self.hub.state.now;
        let text = now.local_at(now.unix_at(time)).to_string();
        text.get(11..19).unwrap_or_default().to_owned()
    }

    /// A number of things.
    fn counted(&self, count: u64, (english, chinese): (&str, &str)) -> String {
        match (self.language, count) {
            (Language::English, 1) => format!("1 {english}"),
            (Language::English, _) => format!("{count} {english}s"),
            (Language::Chinese, _) => format!("{count} {chinese}"),
        }
    }
}

/// What is counted: the English noun, and the Chinese one with its measure word.
const SESSION: (&str, &str) = ("session", "个会话");
const MESSAGE: (&str, &str) = ("message", "条消息");
const PUBLICATION: (&str, &str) = ("publication", "次发布");
const ROOM: (&str, &str) = ("room", "个房间");
const TIME: (&str, &str) = ("time", "次");

#[cfg(test)]
mod tests;
