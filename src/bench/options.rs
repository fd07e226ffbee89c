//! The command line of `relay-bench`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};

use super::{member::Kind, script::SMALLEST};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages to the members of rooms.
    FanOut,
    /// Sessions that do nothing.
    Idle,
    /// Notifications to a room in which nobody is.
    Ingest,
    /// Logins.
    Connect,
}

impl Mode {
    /// As the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::FanOut => "fan-out",
            Mode::Idle => "idle",
            Mode::Ingest => "ingest",
            Mode::Connect => "connect",
        }
    }

    fn from_name(name: &str) -> Option<Mode> {
        [Mode::FanOut, Mode::Idle, Mode::Ingest, Mode::Connect].into_iter().find(|mode| mode.name() == name)
    }
}

/// Which relay is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relay {
    /// One that runs.
    Running {
        /// `HOST:PORT` or `unix:PATH`.
        address: String,
        /// Its process, for the figures of the server.
        pid: Option<u32>,
        /// The host that is one's own though it is not this machine.
        owned: Option<String>,
    },
    /// One of our own; the program, if not the one beside this.
    Started(Option<PathBuf>),
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When fewer than so many are in flight (of each connection, with `ingest`).
    Window(usize),
    /// So many a second, whatever comes back.
    Rate(f64),
}

/// A run that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What is measured.
    pub mode: Mode,
    /// Where.
    pub relay: Relay,
    /// What members speak.
    pub client: Kind,
    /// How many there are; with `connect`, how many logins in all.
    pub members: Option<usize>,
    /// How many are in the rooms before the logins that are measured, and stay.
    pub present: usize,
    /// How many rooms they are in.
    pub rooms: usize,
    /// Bytes of a message's data.
    pub size: usize,
    /// How many messages; without it time is the bound.
    pub messages: Option<u64>,
    /// How long messages are sent, sessions watched, logins made.
    pub seconds: Option<Duration>,
    /// When messages are sent.
    pub pace: Pace,
    /// Backends.
    pub connections: usize,
    /// Logins at the same time.
    pub concurrency: usize,
    /// The source.
    pub source: String,
    /// Its key.
    pub key: String,
    /// Whether the report is JSON.
    pub json: bool,
    /// How long all of it may take.
    pub timeout: Duration,
    /// After how long without anything what is owed counts as lost.
    pub stall: Duration,
}

/// What the command line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A run.
    Run(Box<Options>),
    /// A text.
    Say(String),
}

/// Reads a command line; the error says what is wrong with it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, lexopt::Error> {
    let mut parser = Parser::from_args(args);
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        let name = match argument {
            Long("help") | Short('h') => return Ok(Asked::Say(HELP.into())),
            Long("version") | Short('V') => {
                return Ok(Asked::Say(format!("relay-bench {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Long(name) => name.to_owned(),
            Value(word) if given.mode.is_none() => {
                let word = word.string()?;
                given.mode = Some(Mode::from_name(&word).ok_or_else(|| format!("there is no mode {word:?}"))?);
                continue;
            }
            other => return Err(other.unexpected()),
        };
        given.option(&name, &mut parser)?;
    }
    Ok(Asked::Run(Box::new(given.finish()?)))
}

#[derive(Default)]
struct Given {
    mode: Option<Mode>,
    /// Every option that was given, to see whether it belongs to the mode.
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

impl Given {
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
                self.client = Some(kind.ok_or_else(|| format!("--client is one of {}, not {wanted:?}", names()))?.1);
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
                self.rate = Some(if right { rate } else { return Err("--rate is 0.01 to 10000000 a second".into()) });
            }
            "seconds" => self.seconds = Some(seconds(name, parser)?),
            "timeout" => self.timeout = Some(seconds(name, parser)?),
            "stall" => self.stall = Some(seconds(name, parser)?),
            "source" => self.source = Some(parser.value()?.string()?),
            "key" => self.key = Some(parser.value()?.string()?),
            "json" => self.json = true,
            _ => return Err(format!("there is no option --{name}").into()),
        }
        self.names.push(name.into());
        Ok(())
    }

    fn finish(self) -> Result<Options, lexopt::Error> {
        let mode = self.mode.ok_or("measure what: fan-out, idle, ingest or connect?")?;
        let own: &[&str] = match mode {
            Mode::FanOut => {
                &["client", "members", "rooms", "size", "messages", "window", "rate", "connections", "concurrency"]
            }
            Mode::Idle => &["client", "members", "rooms", "size", "concurrency"],
            Mode::Ingest => &["size", "messages", "window", "rate", "connections"],
            Mode::Connect => &["client", "members", "present", "rooms", "concurrency"],
        };
        for name in self.names {
            if !own.contains(&name.as_str()) && !COMMON.contains(&name.as_str()) {
                return Err(format!("--{name} does not belong to {}", mode.name()).into());
            }
        }
        let relay = match self.start {
            Some(_) if self.address.is_some() || self.pid.is_some() || self.owned.is_some() => {
                return Err("--start starts a relay of its own: no --addr, --pid or --i-own-this-host with it".into());
            }
            Some(path) => Relay::Started(path),
            None => Relay::Running {
                address: self.address.unwrap_or_else(|| "127.0.0.1:4000".into()),
                pid: self.pid,
                owned: self.owned,
            },
        };
        let pace = match (self.window, self.rate) {
            (Some(_), Some(_)) => return Err("--window waits for what was sent, --rate does not: one of them".into()),
            (window, None) => Pace::Window(window.unwrap_or(1)),
            (None, Some(rate)) => Pace::Rate(rate),
        };
        let size = self.size.unwrap_or(128);
        if size < SMALLEST {
            return Err(format!("--size must be at least {SMALLEST}: what is checked has to fit").into());
        }
        let counted = self.messages.is_some() || (mode == Mode::Connect && self.members.is_some());
        let seconds = self.seconds.or((!counted).then_some(Duration::from_secs(5)));
        let timeout = self.timeout.unwrap_or(Duration::from_secs(120));
        if seconds.is_some_and(|seconds| seconds >= timeout) {
            return Err("--seconds must be less than --timeout".into());
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

fn number(name: &str, parser: &mut Parser, most: usize) -> Result<usize, lexopt::Error> {
    let number: usize = parser.value()?.parse()?;
    let right = (1..=most).contains(&number);
    right.then_some(number).ok_or_else(|| format!("--{name} is a number from 1 to {most}").into())
}

fn seconds(name: &str, parser: &mut Parser) -> Result<Duration, lexopt::Error> {
    let seconds: f64 = parser.value()?.parse()?;
    let right = (0.01..=86_400.0).contains(&seconds);
    right.then(|| Duration::from_secs_f64(seconds)).ok_or_else(|| format!("--{name} is 0.01 to 86400 seconds").into())
}

/// A path may follow, if it is neither an option nor a mode.
fn path(parser: &mut Parser) -> Result<Option<PathBuf>, lexopt::Error> {
    if let Some(path) = parser.optional_value() {
        return Ok(Some(path.into()));
    }
    let is_path = |word: &std::ffi::OsStr| {
        !word.as_encoded_bytes().starts_with(b"-") && word.to_str().is_none_or(|word| Mode::from_name(word).is_none())
    };
    Ok(parser.try_raw_args().and_then(|mut words| words.next_if(is_path)).map(PathBuf::from))
}

/// The options of every mode.
const COMMON: [&str; 10] =
    ["addr", "pid", "i-own-this-host", "start", "source", "key", "json", "seconds", "timeout", "stall"];
/// The demo setting's, which is everybody's.
const DEMO_KEY: &str = "try4dfs%#fs!#$2334ds(%B)";

const HELP: &str = "\
relay-bench fan-out|idle|ingest|connect [OPTIONS]

Measures a relay: one thread makes the load and checks each delivery. 'relay bench' is the same.

  fan-out                 members in rooms get notifications: deliveries/s, latency, CPU per delivery
  idle                    sessions that have sent and got a message each: bytes and CPU they take
  ingest                  notifications to a room in which nobody is: accepted/s, latency, CPU each
  connect                 logins one after the other, closed once they are in: logins/s, CPU each

Which relay:
  --addr HOST:PORT        one that runs, also unix:PATH (127.0.0.1:4000); only on this machine
  --pid PID               its process, for its CPU and memory
  --i-own-this-host HOST  the HOST of --addr may be another machine: it is yours
  --start [PATH]          start one for the run, on a free port, without a limit of messages; PATH is
                          the program (the relay beside this program, else in PATH)
  --source NAME, --key KEY
                          a source and its key (the demo setting's)
How much:
  --client KIND           ws: plain WebSocket (default); sio4, sio3: Socket.IO 3.x/4.x and 1.x/2.x over
                          a WebSocket; polling4, polling3: the same over HTTP long polling
  --members N             clients (1000); with connect: logins in all
  --present N             connect: clients that are in the rooms before that, and stay (1)
  --rooms N               rooms they are spread over (1; with idle 100)
  --size BYTES            a message's data (128; at least 20)
  --messages N            messages in all
  --seconds S             how long messages are sent, sessions watched, logins made (5, unless a number
                          is given: then the number, or whichever comes first)
  --window N              closed loop: N messages in flight, in ingest N on each connection (1); latency
                          counts from a message's send
  --rate N                open loop: N messages a second, come what may; latency counts from when a
                          message was due, so that what a stall delays is not left out
  --connections N         backends that publish, each on a connection of its own (1; with ingest 16)
  --concurrency N         logins at the same time (32)
The rest:
  --json                  one JSON object in place of the table; keys name their units
  --stall S               seconds without anything after which what is owed is lost (5)
  --timeout S             seconds after which a run ends whatever happens (120)

A delivery must come once, in the order of its publisher, in its room, with every byte of its data.
CPU is the relay's own, user and system, as the scheduler counts it; memory is what is resident.
Exit codes: 0, 1 (something lost, doubled, out of order, damaged, refused or never answered; or the run
failed), 2 (bad command line, not this machine, too few descriptors).

  relay bench fan-out --start --members 1000 --window 32
  relay bench fan-out --start --client polling4 --members 200 --rate 100 --seconds 10
  relay bench idle --addr 127.0.0.1:4000 --pid $(pidof relay) --members 10000
  relay bench ingest --start --connections 16 --window 8 --json
  relay bench connect --start --client sio4 --members 5000
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::Revision;

    fn asked(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn options(line: &str) -> Options {
        match asked(line) {
            Ok(Asked::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_asked_for() {
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
    fn a_relay_of_ones_own() {
        for line in ["--start idle", "idle --start", "idle --start --json"] {
            assert_eq!(options(line).relay, Relay::Started(None), "{line}");
        }
        for line in ["--start a/relay idle", "idle --start a/relay", "--start=a/relay idle"] {
            assert_eq!(options(line).relay, Relay::Started(Some("a/relay".into())), "{line}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for (line, why) in [
            ("", "measure what"),
            ("fanout", "there is no mode"),
            ("fan-out idle", "idle"),
            ("fan-out --frob", "there is no option --frob"),
            ("fan-out -x", "-x"),
            ("fan-out --members", "missing"),
            ("fan-out --members 0", "1 to 1000000"),
            ("fan-out --members many", "many"),
            ("fan-out --client tcp", "ws, sio4, sio3, polling4, polling3"),
            ("fan-out --rate 0", "--rate"),
            ("fan-out --rate nan", "--rate"),
            ("fan-out --window 1 --rate 1", "one of them"),
            ("fan-out --size 19", "at least 20"),
            ("fan-out --seconds 120", "less than --timeout"),
            ("fan-out --seconds inf", "seconds"),
            ("ingest --members 5", "--members does not belong to ingest"),
            ("idle --present 5", "--present does not belong to idle"),
            ("connect --window 5", "--window does not belong to connect"),
            ("idle --start --addr 127.0.0.1:1", "--start starts"),
        ] {
            let error = asked(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn texts() {
        for (line, text) in [("--help", "--i-own-this-host"), ("fan-out -h", "Exit codes"), ("-V", "relay-bench ")] {
            assert!(matches!(asked(line), Ok(Asked::Say(said)) if said.contains(text)), "{line}");
        }
        assert!(HELP.lines().all(|line| line.chars().count() <= 110));
    }
}
