//! `relay-bench`, a load generator for relay: it makes a load, checks every delivery, and reports what the load cost.
//!
//! One thread and one poll ([`driver`]) serve all clients ([`member`]) and backends ([`publisher`]). [`workload`] builds the
//! messages and recognizes them when they arrive; [`ledger`] keeps account of which delivery is still due. The parsers for
//! what a server sends ([`frames`], [`engineio`], [`event_stream`], [`responses`]) are separate from relay's own code, so that a mistake in
//! relay's encoders does not go unnoticed.
//!
//! [`floor`] is a server that does as little as possible: the lower bound that `cargo bench` and `tests/bench/` compare with.
//! [`load`] is the plain load of these scripts. It also drives servers other than relay.

pub mod commands;
pub mod connection;
pub mod document;
pub mod driver;
pub mod engineio;
pub mod error;
pub mod event_stream;
pub mod floor;
pub mod frames;
pub mod histogram;
pub mod ledger;
pub mod load;
pub mod member;
pub mod modes;
pub mod options;
pub mod pace;
pub mod process;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod responses;
pub mod server;
pub mod target;
pub mod workload;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use relay::{server::process::raise_descriptors, sign::to_hex};

use self::{
    driver::Driver,
    error::{BAD_COMMAND_LINE, Error, FAILED},
    options::{Command, Mode, Options, Relay},
    process::Process,
    progress::Progress,
    report::Report,
    server::Server,
    target::Target,
    workload::Workload,
};

/// A run in progress.
pub struct Run {
    /// The options of the run.
    pub options: Options,
    /// The connections.
    pub driver: Driver,
    /// The relay's process, if it is known.
    pub process: Option<Process>,
    /// The load generator's own process.
    pub own: Process,
    /// The progress line on the terminal.
    pub progress: Progress,
    /// The results so far.
    pub report: Report,
}

impl Run {
    /// The relay's resident memory in bytes, if it can be read.
    pub fn memory(&self) -> Option<u64> {
        self.process.as_ref().and_then(Process::memory)
    }

    /// The relay's CPU time in nanoseconds, if it can be read.
    pub fn cpu(&self) -> Option<u64> {
        self.process.as_ref().and_then(Process::cpu)
    }
}

/// Runs the program with these arguments. Exit codes: 0 success; 1 a delivery was wrong or the run failed; 2 the request
/// cannot be met or is not allowed.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(Command::Run(options)) => *options,
        Ok(Command::Print(text)) => {
            print(&text);
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
            print(&if json { report.json() } else { report.table() });
            if ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(error) => {
            eprintln!("relay-bench: {error}");
            error.exit_code()
        }
    }
}

/// Writes to standard output. A reader that has exited (`relay-bench --help | head -1`) is not an error.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The report, and whether it is free of faults.
fn measure(options: Options) -> Result<(Report, bool), Error> {
    let (members, publishers) = match options.mode {
        Mode::FanOut => (options.members.unwrap_or_default(), options.connections),
        Mode::Idle => (options.members.unwrap_or_default() + modes::WARM_UP, 1),
        Mode::Ingest => (0, options.connections),
        Mode::Connect => (options.concurrency + options.present, 1),
    };
    let (needed, allowed) = (members + publishers + SPARE, raise_descriptors());
    if needed as u64 > allowed {
        return Err(Error::Usage(format!(
            "this load needs {needed} file descriptors, but the limit is {allowed}: raise 'ulimit -n' or lower --members"
        )));
    }
    let started = match &options.relay {
        Relay::Started(path) => Some(Server::start_relay(path.as_deref(), &options.source, &options.key)?),
        Relay::Running { .. } => None,
    };
    let (address, owned, pid) = match (&options.relay, &started) {
        (_, Some(started)) => (&started.address, None, Some(started.pid())),
        (Relay::Running { address, owned, pid }, None) => (address, owned.as_deref(), *pid),
        (Relay::Started(_), None) => return Err(Error::Failed("no relay was started".into())),
    };
    let target = Target::find(address, owned)?;
    let process = pid.map(Process::find).transpose()?;
    let mut run_id = [0; 4];
    getrandom::fill(&mut run_id).map_err(|error| Error::Failed(format!("random numbers: {error}")))?;
    let workload =
        Workload::new(&to_hex(&run_id), &options.source, &options.key, &target.host, options.rooms, options.size);
    let mut report = Report::default();
    report.set("mode", options.mode.name());
    report.set("addr", address.as_str());
    report.row("measured", format!("{} at {address}", options.mode.name()));
    if options.mode != Mode::Ingest {
        report.set("client", options.client.name());
        report.set("members", options.members);
        report.set("rooms", options.rooms);
    }
    let driver = Driver::new(target, workload, options.client, publishers, options.timeout)?;
    let mut run = Run { options, driver, process, own: Process::own(), progress: Progress::new(), report };
    let result = match run.options.mode {
        Mode::FanOut => modes::fan_out(&mut run),
        Mode::Idle => modes::idle(&mut run),
        Mode::Ingest => modes::ingest(&mut run),
        Mode::Connect => modes::connect(&mut run),
    };
    run.progress.clear();
    result?;
    if run.process.is_none() {
        run.report.row("relay's CPU, memory", "unknown without --pid");
    }
    let faults = &run.driver.ledger.faults;
    run.report.faults(faults);
    Ok((run.report, faults.is_empty()))
}

/// File descriptors beyond those of the load: standard streams, the poll, a started relay's files.
const SPARE: usize = 32;
