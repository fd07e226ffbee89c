//! `relay-bench`: makes a load, checks every delivery of it, and says what it cost.
//!
//! It is a program of its own, so that the daemon does not carry it, and yet a part of this library: here its parts have
//! their unit tests with everybody else's, and the floors hold for it too. Nothing of the daemon calls it, so that the
//! linker leaves it out there.
//!
//! One thread and one poll ([`crowd`]) serve all clients ([`member`]) and backends ([`publisher`]); [`script`] says what is
//! sent and knows it again, [`ledger`] what is owed to whom. What relay writes is read by code of its own ([`frames`],
//! [`polling`], [`answers`]), not by relay's.

pub mod answers;
pub mod crowd;
pub mod frames;
pub mod histogram;
pub mod ledger;
pub mod link;
pub mod member;
pub mod modes;
pub mod options;
pub mod polling;
pub mod process;
pub mod progress;
pub mod publisher;
pub mod pump;
pub mod report;
pub mod script;
pub mod started;
pub mod target;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use self::{
    crowd::Crowd,
    options::{Asked, Mode, Options, Relay},
    process::Process,
    progress::Progress,
    report::Report,
    script::Script,
    started::Started,
    target::Target,
};
use crate::{
    server::process::{raise_descriptors, random},
    sign::to_hex,
};

/// Why there is nothing to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was asked for cannot or may not be done.
    Usage(String),
    /// It went wrong.
    Failed(String),
}

impl Failure {
    /// Says what an input or output error happened to.
    pub fn of(what: &str) -> impl Fn(io::Error) -> Failure + use<> {
        let what = what.to_owned();
        move |error| Failure::Failed(format!("{what}: {error}"))
    }
}

/// A run while it goes on.
pub struct Run {
    /// What was asked for.
    pub options: Options,
    /// The connections.
    pub crowd: Crowd,
    /// The relay's process, if it is known.
    pub process: Option<Process>,
    /// This process.
    pub own: Process,
    /// For who watches.
    pub progress: Progress,
    /// What is found.
    pub report: Report,
}

impl Run {
    /// The relay's resident memory in bytes, if it can be seen.
    pub fn memory(&self) -> Option<u64> {
        self.process.as_ref().and_then(Process::memory)
    }

    /// The relay's processor time in nanoseconds, if it can be seen.
    pub fn cpu(&self) -> Option<u64> {
        self.process.as_ref().and_then(Process::cpu)
    }
}

/// Carries out a command line; the exit code is 0, 1 (something is wrong with what came, or it failed) or 2 (what was asked
/// for cannot or may not be done).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(Asked::Run(options)) => *options,
        Ok(Asked::Say(text)) => {
            say(&text);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("relay-bench: {error}\nTry 'relay-bench --help'.");
            return ExitCode::from(BAD_COMMAND_LINE);
        }
    };
    let json = options.json;
    match measure(options) {
        Ok((report, ok)) => {
            say(&if json { report.json() } else { report.table() });
            if ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(failure) => {
            let (Failure::Usage(why) | Failure::Failed(why)) = &failure;
            eprintln!("relay-bench: {why}");
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { BAD_COMMAND_LINE } else { FAILED })
        }
    }
}

/// Writes to standard output; a reader that has gone is no error.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// What was found, and whether nothing was wrong with it.
fn measure(options: Options) -> Result<(Report, bool), Failure> {
    let (members, publishers) = match options.mode {
        Mode::FanOut => (options.members.unwrap_or_default(), options.connections),
        Mode::Idle => (options.members.unwrap_or_default() + modes::WARM, 1),
        Mode::Ingest => (0, options.connections),
        Mode::Connect => (options.concurrency + options.present, 1),
    };
    let (needed, allowed) = (members + publishers + SPARE, raise_descriptors());
    if needed as u64 > allowed {
        return Err(Failure::Usage(format!(
            "{needed} connections are wanted and {allowed} descriptors allowed: raise 'ulimit -n', or take fewer"
        )));
    }
    let started = match &options.relay {
        Relay::Started(path) => Some(Started::new(path.as_deref(), &options.source, &options.key)?),
        Relay::Running { .. } => None,
    };
    let (address, owned, pid) = match (&options.relay, &started) {
        (_, Some(started)) => (&started.address, None, Some(started.pid())),
        (Relay::Running { address, owned, pid }, None) => (address, owned.as_deref(), *pid),
        (Relay::Started(_), None) => return Err(Failure::Failed("no relay was started".into())),
    };
    let target = Target::find(address, owned)?;
    let process = pid.map(Process::find).transpose().map_err(Failure::Usage)?;
    let name = to_hex(&random::<4>());
    let script = Script::new(&name, &options.source, &options.key, &target.host, options.rooms, options.size);
    let mut report = Report::default();
    report.tell("mode", options.mode.name());
    report.tell("addr", address.as_str());
    report.show("measured", format!("{} at {address}", options.mode.name()));
    if options.mode != Mode::Ingest {
        report.tell("client", options.client.name());
        report.tell("members", options.members);
        report.tell("rooms", options.rooms);
    }
    let crowd = Crowd::new(target, script, options.client, publishers, options.timeout)?;
    let mut run = Run { options, crowd, process, own: Process::own(), progress: Progress::new(), report };
    let done = match run.options.mode {
        Mode::FanOut => modes::fan_out(&mut run),
        Mode::Idle => modes::idle(&mut run),
        Mode::Ingest => modes::ingest(&mut run),
        Mode::Connect => modes::connect(&mut run),
    };
    run.progress.clear();
    done?;
    if run.process.is_none() {
        run.report.show("relay's CPU, memory", "not known without --pid");
    }
    let faults = &run.crowd.ledger.faults;
    run.report.faults(faults);
    Ok((run.report, faults.is_empty()))
}

const FAILED: u8 = 1;
const BAD_COMMAND_LINE: u8 = 2;
/// Descriptors beside those of the load.
const SPARE: usize = 32;
