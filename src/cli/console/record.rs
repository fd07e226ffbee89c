//! A line of a page's log, as remote_debug.js sends it (docs/clients.md, Debug a page remotely).

use core::fmt::Write;

use super::value::{Fields, argument, text};
use crate::{
    json::{all_fields, quote, string},
    text::Count,
};

/// A line of a page's log.
#[derive(Debug)]
pub struct Record {
    /// How important it is.
    pub level: Level,
    /// The user that the page has named, or a made-up name.
    pub user: String,
    /// The address of the page.
    pub page: String,
    /// Names one visit of a page. Empty if the message is not from the script.
    pub session: String,
    /// Its number in the session; 0 if it has none.
    pub seq: u64,
    /// How many lines before it the page has left out.
    pub dropped: u64,
    /// When it was written by the page's clock: Unix time in milliseconds. `None`: not said.
    pub time: Option<u64>,
    /// Whether it says only that others were left out.
    pub is_empty: bool,
    /// The text that was logged.
    pub words: String,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `console.debug`.
    Debug,
    /// `console.log`, and messages that are not from the script.
    Log,
    /// `console.info`.
    Info,
    /// `console.warn`.
    Warn,
    /// `console.error`, uncaught errors and rejections.
    Error,
}

impl Level {
    /// The names of levels.
    pub const NAMES: [&str; 5] = ["error", "warn", "info", "log", "debug"];

    /// The level with this name.
    pub fn parse(name: &str) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Log, Level::Debug]
            .into_iter()
            .find(|level| level.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Log => "log",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl Record {
    /// Reads the data of a message, which can be anything.
    pub fn read(data: &str) -> Record {
        let fields = Fields(all_fields(data).unwrap_or_default());
        let args =
            fields.get("args").and_then(|args| serde_json::from_str::<Vec<&serde_json::value::RawValue>>(args).ok());
        let kind = fields.get("kind").and_then(string);
        let (Some(args), Some("console")) = (args, kind.as_deref()) else { return Record::other(data, &fields) };
        let args: Vec<&str> = args.into_iter().map(|arg| arg.get()).collect();
        let level = fields.get("level").and_then(string).and_then(|name| Level::parse(&name));
        let stack = fields.text("stack", 5000);
        let mut words = formatted(&args);
        if !stack.is_empty() {
            let _ = write!(words, "\n{stack}");
        }
        Record {
            level: level.unwrap_or(Level::Log),
            user: fields.text("user", 64),
            page: fields.text("page", 300),
            session: fields.text("session", 40),
            seq: fields.number("seq"),
            dropped: fields.number("dropped"),
            time: Some(fields.number("time")).filter(|time| (1..LATEST).contains(time)),
            is_empty: args.is_empty() && stack.is_empty(),
            words,
        }
    }

    /// A message that is not from the script. An earlier script sent only the arguments: `{"0": …, "1": …}`.
    fn other(data: &str, fields: &Fields<'_>) -> Record {
        let numbered =
            !fields.0.is_empty() && fields.0.iter().enumerate().all(|(at, (name, _))| *name == at.to_string());
        let show = |json: &str| argument(json, false);
        let words = match numbered {
            true => fields.0.iter().take(MOST_ARGS).map(|(_, value)| show(value.get())).collect::<Vec<_>>().join(" "),
            false => show(data),
        };
        Record {
            level: Level::Log,
            user: String::new(),
            page: String::new(),
            session: String::new(),
            seq: 0,
            dropped: 0,
            time: None,
            is_empty: false,
            words,
        }
    }

    /// The path of the page, without its query.
    pub fn path(&self) -> &str {
        let rest =
            self.page.split_once("://").map_or(&*self.page, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
        rest.split('?').next().unwrap_or_default()
    }
}

/// The arguments as a console shows them: `%s` and the like replaced, styles (`%c`) removed.
fn formatted(args: &[&str]) -> String {
    let show = |json: &str| argument(json, true);
    let format = args.first().and_then(|first| string(first)).filter(|first| args.len() > 1 && first.contains('%'));
    let Some(format) = format else {
        return args.iter().take(MOST_ARGS).map(|arg| show(arg)).collect::<Vec<_>>().join(" ");
    };
    let (mut rest, mut out, mut parts) = (args[1..].iter(), String::new(), Vec::new());
    let mut tail = &*format;
    while let Some(at) = tail.find('%') {
        out += &tail[..at];
        let what = tail[at + 1..].chars().next();
        let known = what.filter(|c| "sdifoOjc%".contains(*c));
        tail = &tail[at + 1 + known.map_or(0, char::len_utf8)..];
        match known {
            Some('%') => out.push('%'),
            Some(c) if rest.len() > 0 => {
                let value = rest.next().expect("there is one");
                match c {
                    's' => out += &text(value, true, &mut 2000, 0),
                    'd' | 'i' => out += &number(value).map_or("NaN".into(), |number| number.trunc().to_string()),
                    'f' => out += &number(value).map_or("NaN".into(), |number| number.to_string()),
                    'c' => {}
                    _ => {
                        parts.extend((!out.is_empty()).then(|| core::mem::take(&mut out).trim_end().to_owned()));
                        parts.push(show(value));
                    }
                }
            }
            Some(c) => out.extend(['%', c]),
            None => out.push('%'),
        }
    }
    out += tail;
    parts.extend((!out.is_empty()).then_some(out));
    parts.extend(rest.take(MOST_ARGS).map(|arg| show(arg)));
    parts.join(" ")
}

/// The number that a value begins with, as `parseFloat` reads it.
fn number(json: &str) -> Option<f64> {
    let value = match json.as_bytes().first()? {
        b'"' => string(json)?,
        b'-' | b'0'..=b'9' => json.into(),
        _ => return None,
    };
    let value = value.trim_start();
    let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let end = value.find(|c| !is_part(c)).unwrap_or(value.len()).min(40);
    // The longest beginning that is a number.
    (1..=end).rev().find_map(|end| value[..end].parse().ok())
}

/// Says what happens between the lines: pages that are new, and lines that are missing.
#[derive(Debug, Default)]
pub struct Pages {
    /// The number of the last line of each session.
    last: std::collections::HashMap<String, u64>,
}

impl Pages {
    /// Notes before a line. `None`: the line came before.
    pub fn note(&mut self, record: &Record) -> Option<Vec<String>> {
        if record.session.is_empty() || record.seq == 0 {
            return Some(Vec::new());
        }
        let mut notes = Vec::new();
        let last = self.last.get(&record.session).copied();
        match last {
            Some(last) if record.seq <= last => return None,
            Some(last) => {
                let missing = (record.seq - last - 1).saturating_sub(record.dropped);
                if missing > 0 {
                    notes.push(format!("{} of {} did not arrive", Count(missing, "line"), quote(&record.user)));
                }
            }
            None => {
                if self.last.len() >= MOST_SESSIONS {
                    self.last.clear();
                }
                notes.push(format!("user {}, session {}, page {}", record.user, record.session, record.page));
            }
        }
        if record.dropped > 0 {
            let why = "too many at once, or no connection";
            notes.push(format!("{} of {} left out: {why}", Count(record.dropped, "line"), quote(&record.user)));
        }
        self.last.insert(record.session.clone(), record.seq);
        Some(notes)
    }
}

/// Arguments that are shown.
const MOST_ARGS: usize = 100;
/// Sessions whose last line is remembered.
const MOST_SESSIONS: usize = 500;
/// A time that no clock has, in milliseconds.
const LATEST: u64 = 8_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (args, shown) in [
            (&["\"a\"", "{\"b\":\"c\"}"][..], "a {b: \"c\"}"),
            (
                &[
                    "\"%c%s is %d years old: %o\"",
                    "\"color:red\"",
                    "\"spring\"",
                    "7.9",
                    "{\"id\":1305}",
                    "\"and more\"",
                ],
                "spring is 7 years old: {id: 1305} and more",
            ),
            (&["\"100%\""], "100%"),
            (&["\"100% %% %x %s\"", "1"], "100% % %x 1"),
            (&["\"%d %i %f %s\"", "\"-7.9px\"", "\"x\"", "\"1.5e3.2\"", "null"], "-7 NaN 1500 null"),
            (&["\"%s and %s\"", "1"], "1 and %s"),
            (&["\"三%三%s\"", "1"], "三%三1"),
            (&["5", "\"%s\""], "5 %s"),
            (&[], ""),
        ] {
            assert_eq!(formatted(args), shown, "{args:?}");
        }
    }

    #[test]
    fn records() {
        let record = Record::read(
            r#"{"kind":"console","level":"error","args":["failed:",1],"user":"1305","page":"http://shop/cart?x=1","session":"s","seq":3,"time":1795219200123,"stack":"at f\nat g","dropped":2}"#,
        );
        assert_eq!((record.level, &*record.user, record.path()), (Level::Error, "1305", "/cart"));
        assert_eq!((record.seq, record.dropped, record.time), (3, 2, Some(1_795_219_200_123)));
        assert_eq!(record.words, "failed: 1\nat f\nat g");
        for (data, words) in [
            ("\"text\"", "text"),
            ("{\"0\":\"a\",\"1\":{\"$\":\"Cut\"}}", "a {$: \"Cut\"}"),
            ("{\"kind\":\"console\",\"args\":1}", "{kind: \"console\", args: 1}"),
            ("null", "null"),
        ] {
            let record = Record::read(data);
            assert_eq!((record.words.as_str(), record.level, record.seq), (words, Level::Log, 0), "{data}");
        }
        let hostile =
            Record::read(r#"{"kind":"console","args":[],"level":7,"user":{"a":1},"seq":-1,"time":"x","page":"://"}"#);
        assert_eq!((&*hostile.user, hostile.seq, hostile.time, hostile.path()), ("{\"a\":1}", 0, None, ""));
    }

    #[test]
    fn what_is_missing_is_said() {
        let record = |session: &str, seq: u64, dropped: u64| Record {
            session: session.into(),
            user: "u".into(),
            page: "p".into(),
            seq,
            dropped,
            ..Record::read("1")
        };
        let mut pages = Pages::default();
        let mut notes = |session: &str, seq, dropped| pages.note(&record(session, seq, dropped));
        assert_eq!(notes("a", 7, 0).unwrap(), ["user u, session a, page p"]);
        assert_eq!(notes("a", 8, 0).unwrap(), [""; 0]);
        assert_eq!(notes("a", 8, 0), None, "it came before");
        assert_eq!(notes("a", 11, 0).unwrap(), ["2 lines of \"u\" did not arrive"]);
        assert_eq!(notes("a", 15, 3).unwrap(), ["3 lines of \"u\" left out: too many at once, or no connection"]);
        assert_eq!((notes("", 1, 0), notes("b", 0, 0)), (Some(Vec::new()), Some(Vec::new())));
        for number in 0..2 * MOST_SESSIONS {
            assert_eq!(notes(&number.to_string(), 1, 0).unwrap().len(), 1);
        }
        assert!(pages.last.len() <= MOST_SESSIONS);
    }
}
