//! Lines of the log about what relay refuses: origins of pages, logins, notifications.
//!
//! Anyone can cause refusals, so the lines are bounded: the first refusal of a kind is logged at once, later ones are counted and
//! reported once a minute. An origin is logged once, with what to add to the configuration. Texts of clients are escaped and
//! cut.

use core::{
    fmt::{self, Write},
    hash::BuildHasher,
    net::IpAddr,
    time::Duration,
};
use std::{
    collections::{BTreeMap, HashSet},
    hash::RandomState,
};

use log::warn;

use crate::{clock::Time, config::Origins, text::truncate};

/// A refusal of a login or a message.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// What was refused: `login`, `notification`, `event`, `publication`.
    pub what: &'static str,
    /// The name of the source, as sent.
    pub source: &'a str,
    /// Whether the source is configured. Other names are not counted apart, because anyone can make them up.
    pub is_known: bool,
    /// The text of the refusal.
    pub why: &'a str,
    /// More about it, which may differ each time.
    pub reason: Option<&'a str>,
    /// The address of the client, if it has one.
    pub ip: Option<IpAddr>,
    /// Further facts, such as the user and the rooms, with their names. Empty values are left out.
    pub facts: &'a [(&'static str, &'a str)],
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "from {ip}")?,
            None => f.write_str("from a unix socket")?,
        }
        let source = [("source", self.source)];
        for (name, value) in source.iter().chain(self.facts).filter(|(_, value)| !value.is_empty()) {
            write!(f, ", {name} {:?}", truncate(value, MAX_FACT))?;
            if value.len() > MAX_FACT {
                f.write_str("…")?;
            }
        }
        Ok(())
    }
}

/// What was logged, and what is counted until the next report.
#[derive(Default)]
pub struct RefusalLog {
    kinds: BTreeMap<Kind, Count>,
    /// The hashes of the origins that were logged.
    origins: HashSet<u64>,
    hasher: RandomState,
    /// Origins that were logged since the last report.
    origin_lines: u32,
    /// Requests whose origins were not logged since the last report, because there were too many.
    origins_left_out: u64,
    /// When the next report is due, if anything was refused since the last one.
    due: Option<Time>,
}

/// What was refused, the source, and the text.
type Kind = (&'static str, Box<str>, Box<str>);

#[derive(Default)]
struct Count {
    /// Refusals since the last line.
    more: u64,
    /// The client of the last one.
    last: String,
}

impl RefusalLog {
    /// Logs a refusal, or counts it for the next report.
    pub fn add(&mut self, refused: &Refused<'_>, now: Time) {
        self.due.get_or_insert_with(|| now.after(INTERVAL));
        let source = if refused.is_known { refused.source } else { "" };
        let mut kind: Kind = (refused.what, source.into(), truncate(refused.why, MAX_FACT).into());
        let is_new = !self.kinds.contains_key(&kind);
        if is_new && self.kinds.len() >= MAX_KINDS {
            kind = (refused.what, "".into(), "for other reasons".into());
        } else if is_new {
            let reason = refused.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            warn!("{} refused: {}{reason}: {refused}", refused.what, escaped(refused.why));
            self.kinds.insert(kind, Count::default());
            return;
        }
        let count = self.kinds.entry(kind).or_default();
        count.more += 1;
        count.last.clear();
        write!(count.last, "{refused}").expect("writing to memory succeeds");
    }

    /// Logs that a page's origin was refused, once for each origin. `path` is the endpoint.
    pub fn add_origin(&mut self, origin: &str, path: &str, ip: Option<IpAddr>, now: Time) {
        self.due.get_or_insert_with(|| now.after(INTERVAL));
        let element = Origins::element(origin);
        let hash = self.hasher.hash_one(element.as_deref().unwrap_or(origin));
        if self.origins.contains(&hash) {
            return;
        }
        if self.origin_lines >= MAX_ORIGIN_LINES {
            self.origins_left_out += 1;
            return;
        }
        self.origin_lines += 1;
        if self.origins.len() >= MAX_ORIGINS {
            self.origins.clear();
        }
        self.origins.insert(hash);
        let from = ip.map_or_else(|| "a unix socket".to_owned(), |ip| ip.to_string());
        let (origin, path) = (truncate(origin, MAX_FACT), truncate(path, MAX_FACT));
        match element {
            Some(element) => warn!(
                "a page of the origin {origin:?} was refused at {path:?} (from {from}): origins does not list it. If the page \
                 may connect, add {element:?} to origins"
            ),
            None => warn!(
                "a request with the origin {origin:?} was refused at {path:?} (from {from}): origins does not list it, and no \
                 browser sends such an origin: if this is a program, leave Origin out"
            ),
        }
    }

    /// Forgets which origins were logged: the configuration has changed.
    pub fn forget_origins(&mut self) {
        self.origins.clear();
    }

    /// When [`RefusalLog::report`] must be called.
    pub fn deadline(&self) -> Time {
        self.due.unwrap_or(Time::NEVER)
    }

    /// Logs how often each kind was refused again since the last report, once that is due.
    pub fn report(&mut self, now: Time) {
        if self.deadline() > now {
            return;
        }
        for ((what, _, why), count) in self.kinds.iter().filter(|(_, count)| count.more > 0) {
            let Count { more, last } = count;
            warn!(
                "{what} refused: {}: {more} more in the last {} s, the last {last}",
                escaped(why),
                INTERVAL.as_secs()
            );
        }
        if self.origins_left_out > 0 {
            warn!(
                "{} more requests with other unlisted origins were refused in the last {} s",
                self.origins_left_out,
                INTERVAL.as_secs()
            );
        }
        (self.origin_lines, self.origins_left_out) = (0, 0);
        // What was not refused again is new the next time.
        self.kinds.retain(|_, count| core::mem::take(&mut count.more) > 0);
        self.due = (!self.kinds.is_empty()).then(|| now.after(INTERVAL));
    }
}

/// Text of a backend without control characters.
fn escaped(why: &str) -> String {
    truncate(why, MAX_FACT).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The time between two reports.
const INTERVAL: Duration = Duration::from_secs(60);
/// Kinds of refusals that are counted apart.
const MAX_KINDS: usize = 64;
/// Origins that are remembered.
const MAX_ORIGINS: usize = 1024;
/// Origins that are logged between two reports.
const MAX_ORIGIN_LINES: u32 = 20;
/// The most bytes of a client's text in a line.
const MAX_FACT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn refused<'a>(source: &'a str, why: &'a str) -> Refused<'a> {
        Refused { what: "login", source, is_known: true, why, reason: None, ip: None, facts: &[] }
    }

    #[test]
    fn facts_are_escaped_and_cut() {
        let long = "x".repeat(500);
        let facts = [("user", "7\n\u{1b}[31m"), ("rooms", ""), ("agent", &long)];
        let shown = Refused { ip: "192.0.2.1".parse().ok(), facts: &facts, ..refused("demo", "no") }.to_string();
        assert!(shown.starts_with("from 192.0.2.1, source \"demo\", user \"7\\n\\u{1b}[31m\", agent \"xxx"), "{shown}");
        assert!(shown.ends_with("x\"…") && shown.len() < 250, "{shown}");
        assert_eq!(refused("", "no").to_string(), "from a unix socket");
        assert_eq!(escaped("a\nb"), "a\u{fffd}b");
    }

    #[test]
    fn refusals_are_counted_by_kind() {
        let mut log = RefusalLog::default();
        assert_eq!(log.deadline(), Time::NEVER);
        for number in 0..10 {
            log.add(&refused("one", "wrong"), at(number));
        }
        log.add(&refused("two", "wrong"), at(20));
        let counts = |log: &RefusalLog| log.kinds.values().map(|count| count.more).collect::<Vec<_>>();
        assert_eq!((counts(&log), log.deadline()), (vec![9, 0], at(60)));
        log.report(at(59));
        assert_eq!(counts(&log), [9, 0], "it is not due");
        log.report(at(60));
        assert_eq!((counts(&log), log.deadline()), (vec![0], at(120)), "the other one is new again");
        log.report(at(120));
        assert_eq!((counts(&log), log.deadline()), (vec![], Time::NEVER), "nothing wakes relay any more");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut log = RefusalLog::default();
        for number in 0..10_000 {
            let name = format!("s{number}");
            log.add(&Refused { is_known: false, ..refused(&name, "unknown") }, at(1));
        }
        assert_eq!(log.kinds.len(), 1, "made-up sources are one kind");
        for number in 0..10_000 {
            log.add(&refused("one", &format!("text of a backend {number}")), at(1));
        }
        assert_eq!(log.kinds.len(), MAX_KINDS + 1);
        let others = log.kinds.iter().find(|((_, _, why), _)| &**why == "for other reasons").unwrap();
        assert_eq!(others.1.more, 10_000 - (MAX_KINDS as u64 - 1));
        for number in 0..10_000 {
            log.add_origin(&format!("https://a{number}.example.org"), "/ws", None, at(1));
        }
        assert_eq!((log.origins.len(), log.origins_left_out), (20, 9980));
        for minute in 1..200 {
            log.report(at(60 * minute));
            for number in 0..100 {
                log.add_origin(&format!("https://a{number}.{minute}.example.org"), "/ws", None, at(60 * minute));
            }
        }
        assert!(log.origins.len() <= MAX_ORIGINS);
    }

    #[test]
    fn an_origin_is_logged_once() {
        let mut log = RefusalLog::default();
        for origin in ["https://a.example", "https://a.example:443", "HTTPS://A.example"] {
            log.add_origin(origin, "/ws", None, at(1));
        }
        assert_eq!((log.origins.len(), log.origin_lines), (1, 1));
        log.report(at(100));
        log.add_origin("https://a.example", "/ws", None, at(101));
        assert_eq!(log.origin_lines, 0, "also after a report");
        log.forget_origins();
        log.add_origin("https://a.example", "/ws", None, at(102));
        assert_eq!(log.origin_lines, 1);
    }
}
