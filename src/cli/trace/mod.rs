//! `relay trace`: has a relay log what one source, user or address does, and prints these lines.

pub mod command;

use core::{mem, time::Duration};
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use lexopt::Parser;
use serde_json::Value as Json;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use self::command::TRACE;
use super::{
    arguments::Stop,
    client::{Request, USUAL},
    credentials::{Account, encode},
    endpoint::{Endpoint, Sends},
    error::{Error, UsageError},
    live_log::LiveLog,
    options::Options,
    refusal::reason,
    terminal::{complain, say, visible},
};
use crate::{server::clock::Clock, text::Count, trace};

/// What to do.
#[derive(Debug)]
pub struct Trace {
    account: Account,
    action: Action,
    is_json: bool,
}

#[derive(Debug)]
enum Action {
    Begin { fields: Vec<(&'static str, String)>, detach: bool },
    List,
    Stop(String),
}

/// A trace that was begun.
#[derive(Clone, Copy)]
struct Begun {
    number: u64,
    /// The Unix time of its beginning, which tells it from one with the same number after a restart.
    began: u64,
    seconds: u64,
}

impl Trace {
    /// Parses what follows `trace`.
    pub fn parse(parser: &mut Parser) -> Result<Trace, Stop> {
        let mut options = Options::parse(parser, &TRACE)?;
        options.no_more_words()?;
        let is_json = options.has("json");
        let mut fields = Vec::new();
        fields.extend(options.take("source").map(|value| ("source", value)));
        fields.extend(options.take("userid").map(|value| ("userid", value)));
        fields.extend(options.take("address").map(|value| ("address", value)));
        let has_subject = fields.iter().any(|(_, value)| !value.is_empty());
        let time = options.take("for");
        if let Some(time) = time.clone().filter(|time| trace::parse_time(time).is_none()) {
            return Err(UsageError::TraceTime(time).into());
        }
        fields.extend(time.map(|value| ("for", value)));
        let stop = options.take("stop");
        let action = match (options.has("list"), stop, fields.is_empty()) {
            (true, None, true) => Action::List,
            (false, Some(number), true) => Action::Stop(number),
            (false, None, _) if has_subject => Action::Begin { fields, detach: options.has("detach") },
            (false, None, _) => return Err(UsageError::MissingTrace.into()),
            _ => return Err(UsageError::TraceAction.into()),
        };
        Ok(Trace { account: Account::new(&mut options)?, action, is_json })
    }

    /// Begins a trace and follows it to its end; or lists traces, or ends some.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let token = self.account.admin_token()?;
        let is_json = self.is_json;
        let print = |text: &str, lines: &dyn Fn() -> String| match is_json {
            true => say(&format!("{}\n", text.trim_end())),
            false => say(&lines()),
        };
        match self.action {
            Action::List => {
                let (text, data) = ask(&endpoint, "GET", &[], &token)?;
                print(&text, &|| listed(&data));
            }
            Action::Stop(number) => {
                let (text, data) = ask(&endpoint, "POST", &[("stop", number)], &token)?;
                print(&text, &|| format!("{} ended\n", Count(data["stopped"].as_u64().unwrap_or_default(), "trace")));
            }
            Action::Begin { fields, detach } => {
                let (text, data) = ask(&endpoint, "POST", &fields, &token)?;
                let field = |name: &str| data[name].as_u64().unwrap_or_default();
                let begun = Begun { number: field("trace"), began: field("began"), seconds: field("seconds") };
                if detach {
                    print(&text, &|| {
                        let Begun { number, seconds, .. } = begun;
                        format!(
                            "trace {number} is on for {seconds} s: its lines are in relay's log, marked with [trace {number}]\n"
                        )
                    });
                    return Ok(());
                }
                return follow(&endpoint, &token, begun);
            }
        }
        Ok(())
    }
}

/// Prints the lines of a trace until it ends, or until this process is asked to end, which ends the trace.
fn follow(endpoint: &Endpoint, token: &str, begun: Begun) -> Result<(), Error> {
    let is_asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // A second one ends the process at once.
        let _ = flag::register_conditional_default(signal, is_asked.clone());
        let _ = flag::register(signal, is_asked.clone());
    }
    complain(&format_args!("trace {} is on for {} s; Ctrl-C ends it", begun.number, begun.seconds));
    let mut lines = Lines::new(begun);
    let done = lines.follow(endpoint, token, &is_asked);
    if matches!(done, Ok(Done::Ended)) {
        return Ok(());
    }
    // Also if its lines cannot be read: nothing is left behind. After a restart the number may be that of another trace.
    let stopped = lines.is_on(endpoint, token).and_then(|is_on| match is_on {
        true => ask(endpoint, "POST", &[("stop", begun.number.to_string())], token).map(|_| ()),
        false => Ok(()),
    });
    if let (Err(error), Ok(Done::Asked)) = (stopped, &done) {
        complain(&format_args!("the trace was not stopped: {error}; it ends by itself"));
    }
    match done? {
        Done::Lost => Err(Error::Connection(endpoint.to_string(), RESTARTED.into())),
        Done::Ended | Done::Asked => Ok(()),
    }
}

/// Why following has ended.
enum Done {
    /// The trace has ended.
    Ended,
    /// A signal has come, or nobody reads the output.
    Asked,
    /// The connection was lost, and the trace is not on any more.
    Lost,
}

/// The lines of the log that come, of one stream after the other.
struct Lines {
    begun: Begun,
    clock: Clock,
    /// The name of the relay that they are of, which is another one after a restart.
    node: Option<String>,
    /// The number of the last one; 0 before the first.
    last: u64,
    /// Whether the next one is the first of its stream.
    is_first: bool,
    /// Whether some were left out since this was last looked at.
    has_gap: bool,
}

impl Lines {
    fn new(begun: Begun) -> Lines {
        Lines { begun, clock: Clock::start(), node: None, last: 0, is_first: true, has_gap: false }
    }

    fn follow(&mut self, endpoint: &Endpoint, token: &str, is_asked: &AtomicBool) -> Result<Done, Error> {
        let mut deadline = Instant::now() + Duration::from_secs(self.begun.seconds) + GRACE;
        loop {
            let mut stream = LiveLog::open(endpoint, token)?;
            self.is_first = true;
            let lost = loop {
                if is_asked.load(Ordering::Relaxed) {
                    return Ok(Done::Asked);
                }
                match stream.read() {
                    Ok(lines) => {
                        if let Some(done) = lines.iter().find_map(|line| self.handle(line)) {
                            return Ok(done);
                        }
                    }
                    Err(error) => break error,
                }
                // The last line may be among those that were left out.
                if mem::take(&mut self.has_gap) && matches!(self.is_on(endpoint, token), Ok(false)) {
                    deadline = deadline.min(Instant::now() + GRACE);
                }
                if Instant::now() > deadline {
                    complain(&"the trace has ended; its last line did not come");
                    return Ok(Done::Ended);
                }
            };
            complain(&format_args!("{endpoint}: the connection has ended: {lost}"));
            if !self.wait_for(endpoint, token, is_asked)? {
                if self.node.is_none() {
                    return Ok(Done::Lost);
                }
                // Unless relay was restarted, the next stream has the last line.
                deadline = deadline.min(Instant::now() + GRACE);
            }
        }
    }

    /// Whether the trace is on.
    fn is_on(&self, endpoint: &Endpoint, token: &str) -> Result<bool, Error> {
        let (_, data) = ask(endpoint, "GET", &[], token)?;
        let is_own = |trace: &Json| trace["trace"] == self.begun.number && trace["began"] == self.begun.began;
        Ok(data["traces"].as_array().is_some_and(|list| list.iter().any(is_own)))
    }

    /// Waits until relay answers again. Returns whether the trace is on there.
    fn wait_for(&self, endpoint: &Endpoint, token: &str, is_asked: &AtomicBool) -> Result<bool, Error> {
        let mut trials = 0;
        loop {
            trials += 1;
            match self.is_on(endpoint, token) {
                _ if is_asked.load(Ordering::Relaxed) => return Ok(true),
                Err(Error::Connection(..)) if trials < TRIALS => thread::sleep(Duration::from_secs(1)),
                answer => return answer,
            }
        }
    }

    /// Handles a line of the stream: prints a line of the log if it is of the trace.
    fn handle(&mut self, line: &Json) -> Option<Done> {
        match line["type"].as_str()? {
            "hello" => {
                let node = line["node"].as_str()?;
                return (self.node.get_or_insert_with(|| node.into()) != node).then_some(Done::Lost);
            }
            "omitted" => {
                self.miss(line["lines"].as_u64()?);
                return None;
            }
            "log" => {}
            _ => return None,
        }
        let is_new = self.note(line["number"].as_u64());
        let (target, text) = (line["target"].as_str()?, self.own(line["text"].as_str()?)?);
        let (is_end, is_other) = (target == trace::END, is_new && target == trace::TARGET);
        if !is_end && !is_other {
            return None;
        }
        let time = line["time"].as_f64().unwrap_or_default();
        let now = self.clock.now();
        let local = now.local_at(time as u64).to_string();
        let millis = (time.fract() * 1000.0) as u64;
        let shown = format!("{}.{millis:03} {}\n", local.get(11..19).unwrap_or_default(), visible(text));
        let mut out = io::stdout().lock();
        if out.write_all(shown.as_bytes()).and_then(|()| out.flush()).is_err() {
            // The reader has gone: nothing is left behind.
            return Some(if is_end { Done::Ended } else { Done::Asked });
        }
        is_end.then_some(Done::Ended)
    }

    /// Notes the number of a line of the log; the clock of relay may be set back. Returns whether the line has not come before: a
    /// stream begins with lines that are older. A relay that gives no numbers is an older one.
    fn note(&mut self, number: Option<u64>) -> bool {
        let Some(number) = number else { return true };
        if mem::take(&mut self.is_first) && self.last > 0 {
            self.miss(number.saturating_sub(self.last + 1));
        }
        let is_new = number > self.last;
        self.last = self.last.max(number);
        is_new
    }

    /// Says that lines are missing.
    fn miss(&mut self, lines: u64) {
        if lines > 0 {
            self.has_gap = true;
            complain(&format_args!("left out: {} of the log, perhaps some of the trace", Count(lines, "line")));
        }
    }

    /// The text behind the mark `[trace 1 2]`, if it has the number of the trace.
    fn own<'a>(&self, text: &'a str) -> Option<&'a str> {
        let (numbers, text) = text.strip_prefix("[trace ")?.split_once("] ")?;
        let mut numbers = numbers.split(' ').filter_map(|number| number.parse::<u64>().ok());
        numbers.any(|number| number == self.begun.number).then_some(text)
    }
}

/// Asks `/api/trace`: the answer, and its data.
fn ask(
    endpoint: &Endpoint,
    method: &str,
    fields: &[(&'static str, String)],
    token: &str,
) -> Result<(String, Json), Error> {
    let query = encode(&fields.to_vec());
    let mark = if query.is_empty() { "" } else { "?" };
    let answer = endpoint.ask(Request::new(method, &format!("/api/trace{mark}{query}")).bearer(token), USUAL)?;
    let (status, text, mut answer) = (answer.status, answer.text(), answer.json());
    match answer["data"].take() {
        data @ Json::Object(_) if status == 200 => Ok((text, data)),
        _ => Err(Error::Status(status, reason(&answer).unwrap_or_else(|| "this is not an answer of relay".into()))),
    }
}

/// The traces that are on, a line for each.
fn listed(data: &Json) -> String {
    let mut out = String::new();
    for trace in data["traces"].as_array().into_iter().flatten() {
        let number = |name: &str| trace[name].as_u64().unwrap_or_default();
        let names = [("source", "source"), ("userid", "user"), ("address", "address")];
        let named = names.iter().filter_map(|(name, shown)| Some(format!("{shown} {:?}", trace[*name].as_str()?)));
        let named: Vec<String> = named.collect();
        let left_out = match number("left_out") {
            0 => String::new(),
            left_out => format!(", {left_out} left out"),
        };
        out += &visible(&format!(
            "trace {}: {}; {} s left, {} lines{left_out}",
            number("trace"),
            named.join(", "),
            number("seconds"),
            number("lines")
        ));
        out.push('\n');
    }
    if out.is_empty() { "no trace is on\n".into() } else { out }
}

/// How long after its time the end of a trace is awaited: its last lines come once a second.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is tried to find relay again, once a second.
const TRIALS: u32 = 10;
const RESTARTED: &str = "the trace is not on any more: relay was restarted, or somebody has stopped it";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_for_people() {
        let one = json!({"trace": 1, "source": "a\n", "userid": "7", "seconds": 60, "lines": 3, "left_out": 0});
        let two = json!({"trace": 2, "address": "::1", "seconds": 1, "lines": 3, "left_out": 4});
        assert_eq!(
            listed(&json!({"traces": [one, two]})),
            "trace 1: source \"a\\n\", user \"7\"; 60 s left, 3 lines\n\
             trace 2: address \"::1\"; 1 s left, 3 lines, 4 left out\n"
        );
        assert_eq!(listed(&json!({"traces": []})), "no trace is on\n");
    }

    #[test]
    fn only_lines_of_the_trace() {
        let begun = Begun { number: 2, began: 100, seconds: 10 };
        let lines = Lines::new(begun);
        for (text, own) in [
            ("[trace 2] a", Some("a")),
            ("[trace 1 2 30] a] b", Some("a] b")),
            ("[trace 22] a", None),
            ("[trace 1] [trace 2] a", None),
            ("a [trace 2] b", None),
            ("", None),
        ] {
            assert_eq!(lines.own(text), own, "{text}");
        }
    }
}
