//! The command line of `relay-bench`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};
use relay::manual::{self, help};

use crate::{
    commands::{self, RELAY_BENCH, unknown_option},
    document::{Document, version},
    member::Kind,
    workload::MIN_SIZE,
};

/// The measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages to the members of rooms.
    FanOut,
    /// Idle sessions.
    Idle,
    /// Notifications to an empty room.
    Ingest,
    /// Logins.
    Connect,
}

impl Mode {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.command().name
    }

    /// Its row in the table of commands.
    fn command(self) -> &'static manual::Command {
        match self {
            Mode::FanOut => &commands::FAN_OUT,
            Mode::Idle => &commands::IDLE,
            Mode::Ingest => &commands::INGEST,
            Mode::Connect => &commands::CONNECT,
        }
    }

    fn from_name(name: &str) -> Option<Mode> {
        [Mode::FanOut, Mode::Idle, Mode::Ingest, Mode::Connect].into_iter().find(|mode| mode.name() == name)
    }
}

/// The relay to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relay {
    /// A running relay.
    Running {
        /// `HOST:PORT` or `unix:PATH`.
        address: String,
        /// Its process id, for CPU time and memory.
        pid: Option<u32>,
        /// A host that the user owns although it is not this machine.
        owned: Option<String>,
    },
    /// A relay that is started for the run: its program, unless it is the one beside relay-bench.
    Started(Option<PathBuf>),
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as fewer than this many are in flight (on each connection, with `ingest`).
    Window(usize),
    /// This many per second, regardless of responses.
    Rate(f64),
}

/// The options of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The measurement.
    pub mode: Mode,
    /// The relay to measure.
    pub relay: Relay,
    /// The protocol of the members.
    pub client: Kind,
    /// The number of members; with `connect`, of logins.
    pub members: Option<usize>,
    /// The number of members that are in the rooms while `connect` measures logins.
    pub present: usize,
    /// The number of rooms.
    pub rooms: usize,
    /// The size of a message's data in bytes.
    pub size: usize,
    /// The number of messages; without it, time is the limit.
    pub messages: Option<u64>,
    /// How long to send messages, watch sessions or log clients in.
    pub seconds: Option<Duration>,
    /// When messages are sent.
    pub pace: Pace,
    /// The number of backends.
    pub connections: usize,
    /// The number of concurrent logins.
    pub concurrency: usize,
    /// The source to publish to.
    pub source: String,
    /// The signing key of the source.
    pub key: String,
    /// Whether the report is JSON.
    pub json: bool,
    /// The maximum duration of the run.
    pub timeout: Duration,
    /// How long nothing may arrive before outstanding deliveries count as lost.
    pub stall: Duration,
}

/// The command on the command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Measure.
    Run(Box<Options>),
    /// Print a text: help or version.
    Print(String),
}

/// Parses a command line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(args);
    let mut arguments = Arguments::default();
    while let Some(argument) = parser.next()? {
        let name = match argument {
            Long("help") | Short('h') => return Ok(Command::Print(arguments.help())),
            Long("version") | Short('V') => {
                return Ok(Command::Print(version()));
            }
            Long(name) => name.to_owned(),
            Value(word) if arguments.mode.is_none() => {
                let word = word.string()?;
                if let Some(document) = Document::from_name(&word) {
                    return document.parse(&mut parser).map(Command::Print);
                }
                arguments.mode = Some(Mode::from_name(&word).ok_or_else(|| unknown_mode(&word))?);
                continue;
            }
            other => return Err(other.unexpected()),
        };
        arguments.option(&name, &mut parser)?;
    }
    Ok(Command::Run(Box::new(arguments.finish()?)))
}

fn unknown_mode(word: &str) -> lexopt::Error {
    match RELAY_BENCH.nearest_command(word) {
        Some(near) => format!("unknown mode {word:?}: did you mean {near}?"),
        None => format!("unknown mode {word:?}: expected fan-out, idle, ingest or connect"),
    }
    .into()
}

#[derive(Default)]
struct Arguments {
    mode: Option<Mode>,
    /// The name of every option given, to check it against the mode.
    names: Vec<String>,
    address: Option<String>,
    pid: Option<u32>,
    owned: Option<String>,
    start: Option<Option<PathBuf>>,
    client: Option<Kind>,
    members: Option<usize>,
    present: Option<usize>,
    rooms: Option<usize>,
    size: Option<usize>,
    messages: Option<u64>,
    seconds: Option<Duration>,
    window: Option<usize>,
    rate: Option<f64>,
    connections: Option<usize>,
    concurrency: Option<usize>,
    source: Option<String>,
    key: Option<String>,
    json: bool,
    timeout: Option<Duration>,
    stall: Option<Duration>,
}

impl Arguments {
    fn option(&mut self, name: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        match name {
            "addr" => self.address = Some(parser.value()?.string()?),
            "pid" => self.pid = Some(parser.value()?.parse()?),
            "i-own-this-host" => self.owned = Some(parser.value()?.string()?),
            "start" => self.start = Some(path(parser)?),
            "client" => {
                let wanted = parser.value()?.string()?;
                let kind = Kind::ALL.iter().find(|(name, _)| *name == wanted);
                let names = || Kind::ALL.map(|(name, _)| name).join(", ");
                self.client =
                    Some(kind.ok_or_else(|| format!("--client: expected one of {}, not {wanted:?}", names()))?.1);
            }
            "members" => self.members = Some(number(name, parser, 1_000_000)?),
            "present" => self.present = Some(number(name, parser, 1_000_000)?),
            "rooms" => self.rooms = Some(number(name, parser, 1_000_000)?),
            "size" => self.size = Some(number(name, parser, 900_000)?),
            "messages" => self.messages = Some(number(name, parser, 1_000_000_000)? as u64),
            "window" => self.window = Some(number(name, parser, 1_000_000)?),
            "connections" => self.connections = Some(number(name, parser, 10_000)?),
            "concurrency" => self.concurrency = Some(number(name, parser, 10_000)?),
            "rate" => {
                let rate: f64 = parser.value()?.parse()?;
                let right = (0.01..=10_000_000.0).contains(&rate);
                self.rate = Some(if right {
                    rate
                } else {
                    return Err("--rate: expected a number from 0.01 to 10000000 (messages per second)".into());
                });
            }
            "seconds" => self.seconds = Some(seconds(name, parser)?),
            "timeout" => self.timeout = Some(seconds(name, parser)?),
            "stall" => self.stall = Some(seconds(name, parser)?),
            "source" => self.source = Some(parser.value()?.string()?),
            "key" => self.key = Some(parser.value()?.string()?),
            "json" => self.json = true,
            _ => return Err(unknown_option(name)),
        }
        self.names.push(name.into());
        Ok(())
    }

    /// The help of the mode, or of all modes if none was named yet.
    fn help(&self) -> String {
        match self.mode {
            Some(mode) => help::command(&RELAY_BENCH, mode.command()),
            None => help::program(&RELAY_BENCH),
        }
    }

    fn finish(self) -> Result<Options, lexopt::Error> {
        let mode = self.mode.ok_or("missing mode: expected fan-out, idle, ingest or connect")?;
        if let Some(name) = self.names.iter().find(|name| mode.command().option(name).is_none()) {
            return Err(format!("--{name} is not an option of {}", mode.name()).into());
        }
        let relay = match self.start {
            Some(_) if self.address.is_some() || self.pid.is_some() || self.owned.is_some() => {
                return Err("--start cannot be combined with --addr, --pid or --i-own-this-host".into());
            }
            Some(path) => Relay::Started(path),
            None => Relay::Running {
                address: self.address.unwrap_or_else(|| "127.0.0.1:4000".into()),
                pid: self.pid,
                owned: self.owned,
            },
        };
        let pace = match (self.window, self.rate) {
            (Some(_), Some(_)) => return Err("--window and --rate cannot be combined".into()),
            (window, None) => Pace::Window(window.unwrap_or(1)),
            (None, Some(rate)) => Pace::Rate(rate),
        };
        let size = self.size.unwrap_or(128);
        if size < MIN_SIZE {
            return Err(format!(
                "--size must be at least {MIN_SIZE}: a message contains the id of the run and its own number"
            )
            .into());
        }
        let limited = self.messages.is_some() || (mode == Mode::Connect && self.members.is_some());
        let seconds = self.seconds.or((!limited).then_some(Duration::from_secs(5)));
        let timeout = self.timeout.unwrap_or(Duration::from_secs(120));
        if seconds.is_some_and(|seconds| seconds >= timeout) {
            return Err(format!("--seconds must be less than --timeout ({} s)", timeout.as_secs_f64()).into());
        }
        Ok(Options {
            mode,
            relay,
            client: self.client.unwrap_or(Kind::Ws),
            members: self.members.or((mode != Mode::Connect && mode != Mode::Ingest).then_some(1000)),
            present: self.present.unwrap_or(1),
            rooms: self.rooms.unwrap_or(if mode == Mode::Idle { 100 } else { 1 }),
            size,
            messages: self.messages,
            seconds,
            pace,
            connections: self.connections.unwrap_or(if mode == Mode::Ingest { 16 } else { 1 }),
            concurrency: self.concurrency.unwrap_or(32),
            source: self.source.unwrap_or_else(|| "demo".into()),
            key: self.key.unwrap_or_else(|| DEMO_KEY.into()),
            json: self.json,
            timeout,
            stall: self.stall.unwrap_or(Duration::from_secs(5)),
        })
    }
}

fn number(name: &str, parser: &mut Parser, max: usize) -> Result<usize, lexopt::Error> {
    let number: usize = parser.value()?.parse()?;
    let right = (1..=max).contains(&number);
    right.then_some(number).ok_or_else(|| format!("--{name}: expected a number from 1 to {max}").into())
}

fn seconds(name: &str, parser: &mut Parser) -> Result<Duration, lexopt::Error> {
    let seconds: f64 = parser.value()?.parse()?;
    let right = (0.01..=86_400.0).contains(&seconds);
    right
        .then(|| Duration::from_secs_f64(seconds))
        .ok_or_else(|| format!("--{name}: expected 0.01 to 86400 (seconds)").into())
}

/// The optional value of `--start`: the next word, unless it is an option or a mode.
fn path(parser: &mut Parser) -> Result<Option<PathBuf>, lexopt::Error> {
    if let Some(path) = parser.optional_value() {
        return Ok(Some(path.into()));
    }
    let is_path = |word: &std::ffi::OsStr| {
        !word.as_encoded_bytes().starts_with(b"-") && word.to_str().is_none_or(|word| Mode::from_name(word).is_none())
    };
    Ok(parser.try_raw_args().and_then(|mut words| words.next_if(is_path)).map(PathBuf::from))
}

/// The public key of the built-in demo configuration.
const DEMO_KEY: &str = "try4dfs%#fs!#$2334ds(%B)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::Revision;

    fn command(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn options(line: &str) -> Options {
        match command(line) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_and_defaults() {
        let plain = options("fan-out");
        assert_eq!(plain.relay, Relay::Running { address: "127.0.0.1:4000".into(), pid: None, owned: None });
        assert_eq!((plain.pace, plain.members, plain.rooms, plain.size), (Pace::Window(1), Some(1000), 1, 128));
        assert_eq!((plain.seconds, plain.timeout), (Some(Duration::from_secs(5)), Duration::from_secs(120)));
        let full = options("--client polling3 fan-out --rate 2.5 --messages 7 --json --pid 8 --addr=[::1]:1 --size 20");
        assert_eq!((full.client, full.pace), (Kind::Polling(Revision::V3), Pace::Rate(2.5)));
        assert_eq!((full.messages, full.seconds, full.json), (Some(7), None, true));
        assert_eq!(full.relay, Relay::Running { address: "[::1]:1".into(), pid: Some(8), owned: None });
        assert_eq!(options("connect").members, None);
        assert_eq!((options("idle").rooms, options("ingest --window 8").pace), (100, Pace::Window(8)));
    }

    #[test]
    fn start_takes_an_optional_path() {
        for line in ["--start idle", "idle --start", "idle --start --json"] {
            assert_eq!(options(line).relay, Relay::Started(None), "{line}");
        }
        for line in ["--start a/relay idle", "idle --start a/relay", "--start=a/relay idle"] {
            assert_eq!(options(line).relay, Relay::Started(Some("a/relay".into())), "{line}");
        }
    }

    #[test]
    fn errors() {
        for (line, why) in [
            ("", "missing mode"),
            ("fanout", "unknown mode"),
            ("fan-out idle", "idle"),
            ("fan-out --frob", "unknown option --frob"),
            ("fan-out --memebrs 5", "unknown option --memebrs: did you mean --members?"),
            ("fanot", "unknown mode \"fanot\": did you mean fan-out?"),
            ("measure", "expected fan-out, idle, ingest or connect"),
            ("completions", "missing argument: bash, zsh or fish"),
            ("completions ksh", "unknown shell \"ksh\""),
            ("man relay", "unexpected argument \"relay\""),
            ("fan-out -x", "-x"),
            ("fan-out --members", "missing"),
            ("fan-out --members 0", "1 to 1000000"),
            ("fan-out --members many", "many"),
            ("fan-out --client tcp", "ws, sio4, sio3, polling4, polling3, sse"),
            ("fan-out --rate 0", "--rate"),
            ("fan-out --rate nan", "--rate"),
            ("fan-out --window 1 --rate 1", "cannot be combined"),
            ("fan-out --size 19", "at least 20"),
            ("fan-out --seconds 120", "less than --timeout"),
            ("fan-out --seconds inf", "seconds"),
            ("ingest --members 5", "--members is not an option of ingest"),
            ("idle --present 5", "--present is not an option of idle"),
            ("connect --window 5", "--window is not an option of connect"),
            ("idle --start --addr 127.0.0.1:1", "--start cannot be combined"),
        ] {
            let error = command(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version() {
        for (line, text) in [
            ("--help", "--i-own-this-host"),
            ("fan-out -h", "Exit codes"),
            ("man -h", "relay-bench man"),
            ("man", ".TH \"RELAY\\-BENCH\" 1 "),
            ("completions zsh", "#compdef relay-bench"),
            ("-V", "relay-bench "),
        ] {
            assert!(matches!(command(line), Ok(Command::Print(printed)) if printed.contains(text)), "{line}");
        }
        // The help of a mode has the options of the mode only.
        let Ok(Command::Print(printed)) = command("ingest --help") else { panic!("it is printed") };
        assert!(printed.contains("--window") && !printed.contains("--members"), "{printed}");
    }

    /// Every option of the table is parsed, in each mode that has it.
    #[test]
    fn every_option_is_parsed() {
        for mode in [Mode::FanOut, Mode::Idle, Mode::Ingest, Mode::Connect] {
            assert_eq!(Mode::from_name(mode.name()), Some(mode));
            for option in mode.command().groups.iter().flat_map(|group| group.options) {
                let value = match (option.name, option.kind()) {
                    (_, None) => "",
                    (_, Some(manual::Kind::OneOf(values))) => values[0],
                    _ => "100",
                };
                let line = format!("{} --{} {value}", mode.name(), option.name);
                assert!(matches!(command(&line), Ok(Command::Run(_))), "{line}: {:?}", command(&line));
            }
        }
    }
}
