//! Traces: what a source, a user or an address does is logged in detail for a while (docs/protocol.md, Traces).
//!
//! Without a trace, code pays for one comparison wherever a line could be written, and for none in deliveries. The lines go to
//! the log whatever its level is.

use core::{fmt, net::IpAddr, time::Duration};

use log::{Level, Record};

use crate::{
    clock::Time,
    config::Network,
    text::{Count, truncate},
};

/// The traces that are on.
#[derive(Debug, Default)]
pub struct Traces {
    list: Vec<Trace>,
    /// The number of the last one.
    last: u32,
}

/// What is traced: whatever has all that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The name of a source.
    pub source: Option<Box<str>>,
    /// A user.
    pub userid: Option<Box<str>>,
    /// Addresses of clients and backends.
    pub network: Option<Network>,
}

/// Whom a line is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Party<'a> {
    /// The name of its source; empty if there is none.
    pub source: &'a str,
    /// The user; empty if there is none.
    pub userid: &'a str,
    /// The address, if it is known.
    pub ip: Option<IpAddr>,
}

/// A trace.
#[derive(Debug)]
pub struct Trace {
    /// Its number, which marks its lines.
    pub number: u32,
    /// What it shows.
    pub subject: Subject,
    /// When it ends.
    pub until: Time,
    /// The Unix time at which it began.
    pub began: u64,
    /// Lines that were written.
    pub lines: u64,
    /// Lines that were left out, because there were too many.
    pub left_out: u64,
    /// The second in which the last line was written, the lines of that second, and those of it that were left out.
    second: u64,
    in_second: u64,
    omitted: u64,
}

/// Why a trace cannot begin: as many as possible are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Subject {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Subject::default()
    }

    fn matches(&self, party: &Party<'_>) -> bool {
        self.source.as_deref().is_none_or(|source| source == party.source)
            && self.userid.as_deref().is_none_or(|userid| userid == party.userid)
            && self.network.as_ref().is_none_or(|network| party.ip.is_some() && network.contains(party.ip))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [("source", &self.source), ("user", &self.userid)];
        let mut between = "";
        for (name, value) in names.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
            write!(f, "{between}{name} {}", Quoted(value))?;
            between = ", ";
        }
        match &self.network {
            Some(network) => write!(f, "{between}address {network}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (name, value) in [("source", self.source), ("user", self.userid)] {
            if !value.is_empty() {
                write!(f, "{between}{name} {}", Quoted(value))?;
                between = ", ";
            }
        }
        match self.ip {
            Some(ip) => write!(f, "{between}{ip}"),
            None => Ok(()),
        }
    }
}

impl Traces {
    /// Whether there is a trace, so that lines are to be written.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.list.is_empty()
    }

    /// The traces, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Trace> {
        self.list.iter()
    }

    /// Begins a trace, which ends by itself after `time`, and says so in the log. `unix` is the Unix time. Returns its number.
    pub fn begin(&mut self, subject: Subject, time: Duration, now: Time, unix: u64) -> Result<u32, TooMany> {
        if self.list.len() >= MOST {
            return Err(TooMany);
        }
        self.last += 1;
        let number = self.last;
        write_line(TARGET, format_args!("[trace {number}] begins for {} s: {subject}", time.as_secs()));
        let until = now.after(time.min(LONGEST));
        self.list.push(Trace {
            number,
            subject,
            until,
            began: unix,
            lines: 0,
            left_out: 0,
            second: 0,
            in_second: 0,
            omitted: 0,
        });
        Ok(number)
    }

    /// Ends a trace, or all. Returns how many ended.
    pub fn stop(&mut self, number: Option<u32>) -> usize {
        let ended: Vec<Trace> =
            self.list.extract_if(.., |trace| number.is_none_or(|number| trace.number == number)).collect();
        ended.iter().for_each(|trace| trace.end("it was stopped"));
        ended.len()
    }

    /// When [`Traces::expire`] must be called.
    pub fn deadline(&self) -> Time {
        self.list.iter().map(|trace| trace.until).min().unwrap_or(Time::NEVER)
    }

    /// Ends the traces whose time is over.
    pub fn expire(&mut self, now: Time) {
        self.list.extract_if(.., |trace| trace.until <= now).for_each(|trace| trace.end("its time is over"));
    }

    /// Writes a line about `party` for all traces that it belongs to, marked with their numbers.
    #[cold]
    pub fn write(&mut self, party: &Party<'_>, now: Time, what: fmt::Arguments<'_>) {
        if let Some(mark) = self.mark(party, now) {
            write_line(TARGET, format_args!("{mark} {what}"));
        }
    }

    /// The mark of a line about `party`; `None` if no trace wants it. Counts it.
    fn mark(&mut self, party: &Party<'_>, now: Time) -> Option<String> {
        let mut numbers = String::new();
        for trace in self.list.iter_mut().filter(|trace| trace.subject.matches(party)) {
            if trace.may_write(now) {
                numbers += " ";
                numbers += &trace.number.to_string();
            }
        }
        (!numbers.is_empty()).then(|| format!("[trace{numbers}]"))
    }
}

impl Trace {
    /// Counts a line. Returns whether it is one of the first of its second.
    fn may_write(&mut self, now: Time) -> bool {
        let second = now.micros() / 1_000_000;
        if self.second != second {
            self.say_omitted();
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        let may = self.in_second <= MOST_IN_SECOND;
        match may {
            true => self.lines += 1,
            false => {
                self.omitted += 1;
                self.left_out += 1;
            }
        }
        may
    }

    fn say_omitted(&mut self) {
        let omitted = core::mem::take(&mut self.omitted);
        if omitted > 0 {
            let number = self.number;
            let omitted = Count(omitted, "line");
            write_line(TARGET, format_args!("[trace {number}] {omitted} left out: too many in a second"));
        }
    }

    fn end(&self, why: &str) {
        let Trace { number, lines, left_out, .. } = self;
        let lines = Count(*lines, "line");
        write_line(END, format_args!("[trace {number}] ends: {why}; {lines}, {left_out} left out"));
    }
}

/// Text of a client or a backend in a line: escaped, and cut.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", truncate(self.0, MOST_TEXT))?;
        if self.0.len() > MOST_TEXT { f.write_str("…") } else { Ok(()) }
    }
}

/// Writes a line to the log, whatever its level is.
fn write_line(target: &str, line: fmt::Arguments<'_>) {
    log::logger().log(&Record::builder().level(Level::Info).target(target).args(line).build());
}

/// The seconds of a text such as `30`, `30s`, `10m` or `1h`: at least one, and not more than [`LONGEST`].
pub fn parse_time(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let is_number = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let time = Duration::from_secs(digits.parse::<u64>().ok().filter(|_| is_number)? * unit);
    (!time.is_zero() && time <= LONGEST).then_some(time)
}

/// The target of the lines in the log.
pub const TARGET: &str = "relay::trace";
/// The target of the last line of a trace.
pub const END: &str = "relay::trace::end";
/// Traces at the same time.
pub const MOST: usize = 8;
/// How long a trace lasts at most, and if nothing is said.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// See [`LONGEST`].
pub const USUAL: Duration = Duration::from_secs(600);
/// Lines of a trace in a second. `GET /api/live` passes on a few more, but not those of several traces: it counts what it leaves out.
const MOST_IN_SECOND: u64 = 80;
/// Bytes of a client's text in a line.
const MOST_TEXT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn subject(source: &str, userid: &str, network: &str) -> Subject {
        let text = |text: &str| (!text.is_empty()).then(|| text.into());
        Subject { source: text(source), userid: text(userid), network: Network::parse(network).ok() }
    }

    fn party<'a>(source: &'a str, userid: &'a str, ip: &str) -> Party<'a> {
        Party { source, userid, ip: ip.parse().ok() }
    }

    #[test]
    fn who_is_meant() {
        let mut traces = Traces::default();
        assert!(!traces.is_on() && traces.mark(&party("demo", "7", "10.0.0.1"), at(0)).is_none());
        for (number, subject) in [
            subject("demo", "", ""),
            subject("", "7", ""),
            subject("", "", "10.0.0.0/24"),
            subject("demo", "7", "10.0.0.1"),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(traces.begin(subject, USUAL, at(0), 0), Ok(number as u32 + 1));
        }
        for (party, mark) in [
            (party("demo", "7", "10.0.0.1"), Some("[trace 1 2 3 4]")),
            (party("demo", "7", "10.0.0.2"), Some("[trace 1 2 3]")),
            (party("demo", "70", "10.0.1.1"), Some("[trace 1]")),
            (party("other", "7", "::1"), Some("[trace 2]")),
            (party("", "", "::ffff:10.0.0.9"), Some("[trace 3]")),
            (party("Demo", "", ""), None),
            (party("", "", ""), None),
            (party("demon", "77", "10.0.1.0"), None),
        ] {
            assert_eq!(traces.mark(&party, at(0)).as_deref(), mark, "{party:?}");
        }
    }

    #[test]
    fn they_end() {
        let mut traces = Traces::default();
        assert_eq!(traces.deadline(), Time::NEVER);
        for seconds in 1..=MOST as u64 {
            let time = Duration::from_secs(10 * seconds);
            assert_eq!(traces.begin(subject("demo", "", ""), time, at(5), 0), Ok(seconds as u32));
        }
        assert_eq!(traces.begin(subject("demo", "", ""), USUAL, at(5), 0), Err(TooMany));
        assert_eq!(traces.deadline(), at(15));
        traces.expire(at(14));
        assert_eq!(traces.iter().len(), MOST);
        traces.expire(at(35));
        assert_eq!((traces.iter().len(), traces.deadline()), (MOST - 3, at(45)));
        assert_eq!((traces.stop(Some(4)), traces.stop(Some(4)), traces.deadline()), (1, 0, at(55)));
        // Numbers are not given twice.
        assert_eq!(traces.begin(subject("demo", "", ""), Duration::MAX, at(5), 0), Ok(9));
        assert_eq!(traces.iter().last().unwrap().until, at(5 + 3600));
        assert_eq!((traces.stop(None), traces.is_on(), traces.deadline()), (5, false, Time::NEVER));
    }

    #[test]
    fn lines_are_bounded() {
        let mut traces = Traces::default();
        traces.begin(subject("demo", "", ""), USUAL, at(0), 0).unwrap();
        let mut write = |second| traces.mark(&party("demo", "", ""), at(second)).is_some();
        let written = |count: &mut dyn FnMut() -> bool| (0..1000).filter(|_| count()).count();
        assert_eq!(written(&mut || write(1)), MOST_IN_SECOND as usize);
        assert!(write(2) && write(9));
        let trace = traces.iter().next().unwrap();
        assert_eq!((trace.lines, trace.left_out), (MOST_IN_SECOND + 2, 1000 - MOST_IN_SECOND));
    }

    #[test]
    fn texts_are_escaped_and_cut() {
        let long = "ü".repeat(200);
        let shown = party("a\n\u{202e}", &long, "::1").to_string();
        assert!(shown.starts_with("source \"a\\n\\u{202e}\", user \"üü") && shown.ends_with("ü\"…, ::1"), "{shown}");
        assert!(shown.len() < 200, "{shown}");
        assert_eq!(subject("", "7", "10.0.0.0/8").to_string(), "user \"7\", address 10.0.0.0/8");
        assert_eq!(subject("", "", "::1").to_string(), "address ::1");
    }

    #[test]
    fn times() {
        for (text, seconds) in [("1", 1), ("30s", 30), ("10m", 600), ("60m", 3600), ("1h", 3600), ("3600", 3600)] {
            assert_eq!(parse_time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "0", "s", "-1", "61m", "2h", "3601", "1d", "1.5h", "99999s", "+1", "１"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
