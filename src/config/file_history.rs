//! Section `[history]` of the configuration file.

use toml_span::Value;

use super::{
    history::{HistoryBounds, HistoryRule, SlowConsumers},
    reader::Reader,
    room_pattern::RoomPattern,
    section::Section,
    settings::Config,
};

/// Reads section `[history]` into `config`.
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, config: &mut Config) {
    let history = &mut config.history;
    let mut section = root.section(reader, "history");
    bounds(reader, &mut section, &mut history.bounds);
    section.whole(reader, "memory", &mut history.memory, 65_536..=1 << 40, "bytes");
    section.boolean(reader, "before", &mut history.before);
    if let Some(slow) = section.choice(reader, "slow", &SlowConsumers::NAMES) {
        history.slow = slow;
    }
    for value in section.array(reader, "rooms", "rules, each { room = \"…\", count = … }") {
        history.rooms.push(rule(reader, value, history.bounds));
    }
    section.finish(reader);
}

/// Reads the keys that the section and its rules have in common.
fn bounds<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>, into: &mut HistoryBounds) {
    section.whole(reader, "count", &mut into.count, 0..=100_000, "messages");
    section.seconds(reader, "age", &mut into.age, 1.0..=604_800.0);
    section.whole(reader, "bytes", &mut into.bytes, 1024..=1 << 30, "bytes");
    section.boolean(reader, "last", &mut into.last);
}

/// Reads a rule. What it leaves out is as in `usual`, the bounds of the section.
fn rule<'t>(reader: &mut Reader<'t, '_>, value: Value<'t>, usual: HistoryBounds) -> HistoryRule {
    let mut section = Section::new(reader, "history.rooms.".into(), value);
    let source = section.optional(reader, "source");
    let mut room = RoomPattern::any();
    if let Some(value) = section.take("room") {
        match value.as_str().map(RoomPattern::parse) {
            Some(Ok(pattern)) => room = pattern,
            Some(Err(error)) => reader.problem(value.span, format!("history.rooms.room: {error}")),
            None => reader.wrong_value(&value, "history.rooms.room", "a string in quotes"),
        }
    }
    let mut rule = HistoryRule { source, room, bounds: usual };
    bounds(reader, &mut section, &mut rule.bounds);
    section.finish(reader);
    rule
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use crate::config::{Config, History, HistoryBounds, HistoryRule, RoomPattern, SlowConsumers, parse};

    fn config(text: &str) -> Result<Config, String> {
        let problems = |list: Vec<_>| list.iter().map(|problem| format!("{problem}\n")).collect();
        parse(text, &mut |_| Ok(String::new())).map_err(problems)
    }

    #[test]
    fn rules_begin_with_the_values_of_the_section() {
        let text = "[history]\nrooms = [{ source = \"shop\", room = \"price-*\", count = 1, last = true }, { age = 1.5 }]\n\
                    count = 50\nbytes = 1024\nmemory = 65536\nbefore = false\nslow = \"close\"\n";
        let bounds = HistoryBounds { count: 50, age: Duration::from_secs(120), bytes: 1024, last: false };
        let price = HistoryRule {
            source: Some("shop".into()),
            room: RoomPattern::parse("price-*").unwrap(),
            bounds: HistoryBounds { count: 1, last: true, ..bounds },
        };
        let others = HistoryRule {
            source: None,
            room: RoomPattern::any(),
            bounds: HistoryBounds { age: Duration::from_millis(1500), ..bounds },
        };
        let expected =
            History { bounds, memory: 65_536, before: false, slow: SlowConsumers::Close, rooms: vec![price, others] };
        let read = config(text).unwrap().history;
        assert!(read.is_on() && !Config::default().history.is_on());
        assert_eq!(read, expected);
        assert!(read.rooms[0].matches("shop", "price-1") && !read.rooms[0].matches("other", "price-1"));
        assert!(read.rooms[1].matches("other", "x") && !read.rooms[0].matches("shop", "x"));
    }

    #[test]
    fn problems() {
        for (text, problem) in [
            ("count = -1", "2:9: history.count must be a whole number of messages from 0 to 100000, not -1\n"),
            ("age = 0", "2:7: history.age must be a number of seconds from 1 to 604800, not 0\n"),
            ("rooms = [{ room = \"a,b\" }]", "2:20: history.rooms.room: expected the name of a room"),
            ("rooms = [{ room = 1 }]", "2:19: history.rooms.room must be a string in quotes, not 1\n"),
            ("rooms = [{ cuont = 1 }]", "2:12: unknown key history.rooms.cuont: did you mean count?\n"),
            ("rooms = \"a\"", "history.rooms must be a list of rules"),
        ] {
            let said = config(&format!("[history]\n{text}\n")).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }
}
