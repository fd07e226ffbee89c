//! The command line: parses it and runs the command.

mod arguments;
mod credentials;
mod endpoint;
mod error;
mod listen;
mod notify;
mod sign;
mod terminal;

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use lexopt::{Arg::Long, Parser};

use self::{
    arguments::{Stop, value},
    error::UsageError,
    listen::Listen,
    notify::Notify,
    sign::Sign,
    terminal::{complain, say},
};
use crate::{
    config::Address,
    server::{
        Fatal, Options, Server,
        config_file::{Loaded, Origin},
        logger,
    },
};

/// Runs the command that the arguments name. The exit code is 0, 1 (failed while running), 2 (bad command line) or 78
/// (bad configuration, `EX_CONFIG` of sysexits.h).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = match parse(args) {
        Ok(command) => command,
        Err(error) => {
            complain(&format_args!("{error}\nTry 'relay --help'."));
            return ExitCode::from(error::BAD_COMMAND_LINE);
        }
    };
    let done = match command {
        Command::Serve(options) => return serve(options),
        Command::Check(origin) => return check(&origin),
        Command::Bench(args) => return bench(args),
        Command::Say(text) => {
            say(&text);
            Ok(())
        }
        Command::Sign(sign) => sign.run(),
        Command::Notify(notify) => notify.run(),
        Command::Listen(listen) => listen.run(),
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
    Serve(Options),
    Check(Origin),
    Sign(Sign),
    Notify(Notify),
    Listen(Listen),
    Bench(Vec<OsString>),
    Say(String),
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args = args.peekable();
    let is_word = |arg: &OsString| !arg.as_encoded_bytes().starts_with(b"-");
    let name = args.next_if(is_word).unwrap_or_else(|| "serve".into());
    if name == "bench" {
        return Ok(Command::Bench(args.collect()));
    }
    let mut parser = Parser::from_args(args);
    let (parsed, help) = match name.to_str() {
        Some("serve") => (parse_serve(&mut parser), HELP),
        Some("check") => (parse_check(&mut parser), CHECK_HELP),
        Some("sign") => (Sign::parse(&mut parser).map(Command::Sign), sign::HELP),
        Some("notify") => (Notify::parse(&mut parser).map(Command::Notify), notify::HELP),
        Some("listen") => (Listen::parse(&mut parser).map(Command::Listen), listen::HELP),
        Some("help") => return Ok(Command::Say(HELP.into())),
        _ => return Err(UsageError::UnknownCommand(name.to_string_lossy().into())),
    };
    match parsed {
        Ok(command) => Ok(command),
        Err(Stop::Help) => Ok(Command::Say(help.into())),
        Err(Stop::Version) => Ok(Command::Say(format!("relay {}\n", env!("CARGO_PKG_VERSION")))),
        Err(Stop::Usage(error)) => Err(error),
    }
}

fn parse_serve(parser: &mut Parser) -> Result<Command, Stop> {
    let (mut config, mut listen, mut allow_demo_keys) = (None, Vec::new(), false);
    while let Some(argument) = arguments::next(parser)? {
        match argument {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("listen") => listen.push(Address::parse(&value(parser)?).map_err(UsageError::Address)?),
            Long("allow-demo-keys") => allow_demo_keys = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Serve(Options { origin: Origin::find(config), listen, allow_demo_keys }))
}

fn parse_check(parser: &mut Parser) -> Result<Command, Stop> {
    let mut config = None;
    while let Some(argument) = arguments::next(parser)? {
        match argument {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Check(Origin::find(config)))
}

fn serve(options: Options) -> ExitCode {
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

fn check(origin: &Origin) -> ExitCode {
    match origin.load() {
        Ok(Loaded { config, warnings }) => {
            let name = match origin {
                Origin::File(path) => path.display().to_string(),
                Origin::Demo => "the demo setting".into(),
            };
            let warnings: String = warnings.iter().map(|warning| format!("{name}: warning: {warning}\n")).collect();
            let _ = io::stderr().write_all(warnings.as_bytes());
            match origin {
                Origin::File(path) => say(&format!("{}: valid, {} sources\n", path.display(), config.sources.len())),
                Origin::Demo => say("no configuration file: relay would use the built-in demo setting\n"),
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            // Without the name of the program, so that each line begins with FILE:LINE:COLUMN.
            let _ = io::stderr().write_all(format!("{problems}\n").as_bytes());
            ExitCode::from(error::BAD_CONFIGURATION)
        }
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

const HELP: &str = "\
relay: delivers signed notifications of backends to the pages and apps in a room

relay [serve] [--config FILE] [--listen ADDR]… [--allow-demo-keys]
                          run until SIGTERM; SIGHUP reloads the configuration
relay check [--config FILE]
                          check a configuration
relay sign connect ROOMS | relay sign notify ROOMS DATA
                          make a signature
relay notify ROOMS DATA   post a signed notification, print the answer
relay listen ROOMS        join rooms, print a line for each message
relay bench MODE          measure a relay under load
relay COMMAND --help      help for a command
relay --version

  --config FILE           the configuration (default: $RELAY_CONFIG, or /etc/relay/relay.toml if it
                          exists, or a built-in demo setting on 127.0.0.1:4000)
  --listen ADDR           host:port, [v6]:port or unix:PATH, instead of the configured addresses;
                          with port 0, the log names the port that was chosen
  --allow-demo-keys       accept the public demo keys on addresses that other machines can reach

Exit codes: 0, 1 (failed while running), 2 (bad command line), 78 (bad configuration).
";
const CHECK_HELP: &str = "\
relay check [--config FILE]

Checks a configuration and prints every problem as FILE:LINE:COLUMN: what is wrong, and what is expected.
Also warns about short keys, keys of several sources, and files that every user can read or change.
Exit codes: 0 (valid, perhaps with warnings), 78 (bad configuration).
";

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
            Ok(Command::Serve(Options { allow_demo_keys: true, .. }))
        ));
        assert!(matches!(command("check --config=b"), Ok(Command::Check(Origin::File(_)))));
        // The arguments of the other program are not parsed here.
        assert!(matches!(command("bench --frobnicate -h"), Ok(Command::Bench(args)) if args.len() == 2));
        for (line, text) in
            [("--version", "relay "), ("-h", "relay: "), ("help", "relay: "), ("notify --help", "relay notify")]
        {
            let Ok(Command::Say(said)) = command(line) else { panic!("{line} says something") };
            assert!(said.starts_with(text), "{line}");
        }
    }

    #[test]
    fn usage_errors() {
        for (line, why) in [
            ("run", "unknown command \"run\""),
            ("serve now", "unexpected argument \"now\""),
            ("--listen 4000", "expected host:port"),
            ("--config", "missing argument"),
            ("--frobnicate", "invalid option '--frobnicate'"),
            ("check --listen a:1", "invalid option '--listen'"),
            ("listen", "missing argument: ROOMS"),
            ("notify room", "missing argument: DATA"),
            ("sign", "connect or notify"),
        ] {
            let error = command(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
