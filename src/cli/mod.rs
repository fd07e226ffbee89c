//! The command line: parses it and runs the command.

mod arguments;
mod cert;
mod check;
mod client;
mod commands;
mod connection;
mod console;
mod credentials;
mod doctor;
mod emit;
mod endpoint;
mod error;
mod explain;
mod handshake;
mod health;
mod listen;
mod live_log;
mod man;
mod notify;
mod operators;
mod options;
mod position;
pub mod program;
mod refusal;
mod reload;
mod setting;
mod sign;
mod subscription;
mod terminal;
mod top;
mod trace;
mod why;

use core::fmt;
use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind},
    os::unix::process::CommandExt,
    path::Path,
    process::{self, ExitCode},
};

use lexopt::Parser;

use self::{
    arguments::Stop,
    cert::Cert,
    console::Console,
    doctor::Doctor,
    emit::Emit,
    error::UsageError,
    health::Health,
    listen::Listen,
    man::Manual,
    notify::Notify,
    options::Options,
    program::RELAY,
    reload::Reload,
    sign::Sign,
    terminal::{complain, say},
    top::Top,
    trace::Trace,
    why::Why,
};
use crate::{
    config::ListenAddress,
    manual::{self, help},
    server::{Fatal, Options as ServeOptions, Server, config_file::Origin, logger},
    version::Version,
};

/// Runs the command that the arguments name. The exit code is 0, 1 (failed while running), 2 (bad command line) or 78
/// (bad configuration, `EX_CONFIG` of sysexits.h).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = match parse(args) {
        Ok(command) => command,
        Err(error) => {
            complain(&error);
            return ExitCode::from(error::BAD_COMMAND_LINE);
        }
    };
    let done = match command {
        Command::Serve(options) => return serve(options),
        Command::Check(options) => return check::run(&options),
        Command::Bench(args) => return bench(args),
        Command::Say(text) => {
            say(&text);
            Ok(())
        }
        Command::Sign(sign) => sign.run(),
        Command::Cert(cert) => cert.run(),
        Command::Notify(notify) => notify.run(),
        Command::Emit(emit) => emit.run(),
        Command::Listen(listen) => listen.run(),
        Command::Console(console) => console.run(),
        Command::Health(health) => health.run(),
        Command::Why(why) => why.run(),
        Command::Top(top) => top.run(),
        Command::Trace(trace) => trace.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Reload(reload) => reload.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.code())
        }
    }
}

/// A parsed command line.
#[derive(Debug)]
enum Command {
    Serve(ServeOptions),
    Check(ServeOptions),
    Sign(Sign),
    Cert(Cert),
    Notify(Notify),
    Emit(Emit),
    Listen(Listen),
    Console(Console),
    Health(Health),
    Why(Why),
    Top(Top),
    Trace(Trace),
    Doctor(Doctor),
    Reload(Reload),
    Bench(Vec<OsString>),
    Say(String),
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, WrongCommand> {
    let mut args = args.peekable();
    let is_word = |arg: &OsString| !arg.as_encoded_bytes().starts_with(b"-");
    let name = args.next_if(is_word);
    if name.as_ref().is_some_and(|name| name == "bench") {
        return Ok(Command::Bench(args.collect()));
    }
    let parser = &mut Parser::from_args(args);
    let name = name.map(|name| name.to_string_lossy().into_owned());
    let parsed = match name.as_deref() {
        None | Some("serve") => parse_serve(parser, &commands::SERVE).map(Command::Serve),
        Some("check") => parse_serve(parser, &commands::CHECK).map(Command::Check),
        Some("cert") => Cert::parse(parser).map(Command::Cert),
        Some("sign") => Sign::parse(parser).map(Command::Sign),
        Some("notify") => Notify::parse(parser).map(Command::Notify),
        Some("emit") => Emit::parse(parser).map(Command::Emit),
        Some("listen") => Listen::parse(parser).map(Command::Listen),
        Some("console") => Console::parse(parser).map(Command::Console),
        Some("health") => Health::parse(parser).map(Command::Health),
        Some("why") => Why::parse(parser).map(Command::Why),
        Some("top") => Top::parse(parser).map(Command::Top),
        Some("trace") => Trace::parse(parser).map(Command::Trace),
        Some("doctor") => Doctor::parse(parser).map(Command::Doctor),
        Some("reload") => Reload::parse(parser).map(Command::Reload),
        Some("man") => man::parse(parser).map(|manual| match manual {
            Manual::Text(text) => Command::Say(text),
            Manual::Bench => Command::Bench(vec!["man".into()]),
        }),
        Some("completions") => man::parse_completions(parser).map(Command::Say),
        Some("help") => parse_help(parser).map(Command::Say),
        Some(other) => Err(UsageError::UnknownCommand(other.into()).into()),
    };
    match parsed {
        Ok(command) => Ok(command),
        Err(Stop::Help) => Ok(Command::Say(help_for(name.as_deref()).unwrap_or_else(|| help::program(&RELAY)))),
        Err(Stop::Version) => Ok(Command::Say(format!("{}\n", Version { program: "relay" }))),
        Err(Stop::Usage(error)) => {
            Err(WrongCommand { error, name: name.filter(|name| help_for(Some(name)).is_some()) })
        }
    }
}

/// A command line that cannot be parsed.
#[derive(Debug)]
struct WrongCommand {
    error: UsageError,
    /// The command whose help says more.
    name: Option<String>,
}

impl fmt::Display for WrongCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        write!(f, "{}\nTry 'relay{name} --help'.", self.error)
    }
}

/// The help of a command; of all commands without a name.
fn help_for(name: Option<&str>) -> Option<String> {
    match name {
        None => Some(help::program(&RELAY)),
        Some(name) => RELAY.command(name).map(|command| help::command(&RELAY, command)),
    }
}

/// Parses what follows `help`: at most the name of a command.
fn parse_help(parser: &mut Parser) -> Result<String, Stop> {
    let name = Options::parse(parser, &commands::HELP)?.only_word()?;
    help_for(name.as_deref()).ok_or_else(|| UsageError::UnknownCommand(name.unwrap_or_default()).into())
}

fn parse_serve(parser: &mut Parser, command: &manual::Command) -> Result<ServeOptions, Stop> {
    let mut options = Options::parse(parser, command)?;
    options.no_more_words()?;
    let addresses = options.all("listen").into_iter().map(|address| ListenAddress::parse(&address));
    let listen = addresses.collect::<Result<_, _>>().map_err(UsageError::Address)?;
    let allow_demo_keys = options.has("allow-demo-keys");
    Ok(ServeOptions { origin: Origin::find(options.path("config")), listen, allow_demo_keys })
}

fn serve(options: ServeOptions) -> ExitCode {
    logger::log_panics();
    let ended = match Server::new(options) {
        // By the logger, which does not wait for a reader of standard error.
        Ok(server) => server.run().inspect_err(|fatal| logger::print(&format!("relay: {fatal}"))),
        Err(fatal) => {
            complain(&fatal);
            Err(fatal)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fatal::Config(_)) => ExitCode::from(error::BAD_CONFIGURATION),
        Err(Fatal::Io(..) | Fatal::Listen(..)) => ExitCode::from(error::FAILED),
    }
}

/// Replaces this process by `relay-bench`, a program of its own: the one beside relay, otherwise the one in `PATH`.
fn bench(args: Vec<OsString>) -> ExitCode {
    let exec = |program: &Path| process::Command::new(program).args(&args).exec();
    let mut looked = String::new();
    let mut error = io::Error::from(ErrorKind::NotFound);
    if let Ok(own) = env::current_exe() {
        let beside = own.with_file_name("relay-bench");
        error = exec(&beside);
        looked = format!("at {} and ", beside.display());
    }
    if error.kind() == ErrorKind::NotFound {
        error = exec(Path::new("relay-bench"));
    }
    complain(&format_args!(
        "cannot run relay-bench: {error} (looked {looked}in PATH)\n'relay bench' needs this second program. \
         'cargo build --release --package relay-bench' builds target/release/relay-bench; copy it to the directory of relay or \
         to a directory in PATH."
    ));
    ExitCode::from(error::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn commands() {
        let Ok(Command::Serve(options)) = command("--config a.toml --listen [::]:0 --listen unix:/r") else {
            panic!("it serves")
        };
        assert_eq!((options.origin, options.listen.len()), (Origin::File("a.toml".into()), 2));
        assert!(matches!(
            command("serve --allow-demo-keys"),
            Ok(Command::Serve(ServeOptions { allow_demo_keys: true, .. }))
        ));
        assert!(matches!(
            command("check --config=b --listen *:1"),
            Ok(Command::Check(ServeOptions { origin: Origin::File(_), .. }))
        ));
        // The arguments of the other program are not parsed here.
        assert!(matches!(command("bench --frobnicate -h"), Ok(Command::Bench(args)) if args.len() == 2));
        for (line, text) in [
            ("--version", "relay "),
            ("-h", "relay: "),
            ("help", "relay: "),
            ("notify --help", "relay notify"),
            ("help emit", "relay emit"),
            ("emit e --all --help", "relay emit"),
        ] {
            let Ok(Command::Say(said)) = command(line) else { panic!("{line} says something") };
            assert!(said.starts_with(text), "{line}");
        }
    }

    #[test]
    fn usage_errors() {
        for (line, why) in [
            ("run", "unknown command \"run\"\nTry 'relay --help'."),
            ("notfy r d", "did you mean notify?"),
            (
                "stop",
                "unknown command \"stop\": relay runs in the foreground; if it is a service, use systemctl stop relay\n",
            ),
            (
                "why 1305",
                "\"1305\" is not the id of a message: give a user with --userid, a session with --session, a room with --room\n",
            ),
            ("doctor --idle 5", "--idle needs the URL of the relay to examine\n"),
            ("relay.toml", "did you mean --config relay.toml?"),
            ("help nothing", "unknown command \"nothing\""),
            ("help check sign", "unexpected argument \"sign\""),
            ("serve now", "unexpected argument \"now\""),
            ("--listen 4000", "expected host:port"),
            ("--config", "missing argument"),
            ("--frobnicate", "invalid option '--frobnicate'"),
            ("--confg a", "invalid option '--confg': did you mean --config?"),
            ("listen", "missing argument: ROOMS\nTry 'relay listen --help'."),
            ("notify room", "missing argument: DATA"),
            ("notify room data more", "unexpected argument \"more\""),
            ("notify room data --userid 7", "invalid option '--userid'"),
            ("notify --key a --key-file b r d", "--key and --key-file cannot be used together"),
            ("notify --key a --token b r d", "--key and --token cannot be used together"),
            ("emit", "missing argument: EVENT"),
            ("emit e x", "missing receivers"),
            ("emit e x --all --room r", "give one of"),
            ("emit e --room r --room s", "give one of"),
            ("sign", "connect, jwt, notify or emit"),
            ("sign connect r d", "unexpected argument \"d\""),
        ] {
            let error = command(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
