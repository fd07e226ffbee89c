//! The command line: what was typed, and what it means.

pub mod tools;

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};

use crate::{
    config::Address,
    server::{
        Fatal, Options, Server,
        process::{BadConfig, Origin},
    },
};

/// Carries out a command line; the exit code is 0, 1 (failed while running), 2 (bad command line) or 78 (bad
/// configuration, `EX_CONFIG` of sysexits.h).
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = match parse(args) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("relay: {error}\nTry 'relay --help'.");
            return ExitCode::from(BAD_COMMAND_LINE);
        }
    };
    match command {
        Command::Serve(options) => match Server::new(options).and_then(Server::run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fatal) => {
                eprintln!("relay: {fatal}");
                ExitCode::from(match fatal {
                    Fatal::Config(_) => BAD_CONFIGURATION,
                    Fatal::Io(..) => FAILED,
                })
            }
        },
        Command::Check(origin) => check(&origin),
        Command::Tool(tool) => tool.run(),
        Command::Bench(args) => bench(args),
        Command::Say(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
    }
}

/// Writes to standard output; a reader that has gone (`relay --help | head -1`) is no error.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// What is to be done.
#[derive(Debug)]
enum Command {
    Serve(Options),
    Check(Origin),
    Tool(Box<tools::Tool>),
    Bench(Vec<OsString>),
    Say(String),
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut args = args.peekable();
    let is_word = |arg: &OsString| !arg.as_encoded_bytes().starts_with(b"-");
    let name = args.next_if(is_word).map_or(Ok("serve".into()), OsString::into_string)?;
    if name == "bench" {
        return Ok(Command::Bench(args.collect()));
    }
    let mut arguments = Arguments { parser: Parser::from_args(args) };
    let help = match name.as_str() {
        "serve" => HELP,
        "check" => CHECK_HELP,
        "sign" => tools::SIGN_HELP,
        "notify" => tools::NOTIFY_HELP,
        "listen" => tools::LISTEN_HELP,
        "help" => return Ok(Command::Say(HELP.into())),
        _ => return Err(format!("there is no command {name:?}").into()),
    };
    match name.as_str() {
        "serve" => serve(&mut arguments, help),
        "check" => {
            let mut config = None;
            while let Some(argument) = arguments.advance()? {
                match argument {
                    Argument::Option("config") => config = Some(PathBuf::from(arguments.value()?)),
                    other => return arguments.common(other, help),
                }
            }
            Ok(Command::Check(Origin::find(config)))
        }
        _ => match tools::parse(&name, &mut arguments)? {
            Ok(tool) => Ok(Command::Tool(Box::new(tool))),
            Err(other) => arguments.common(other, help),
        },
    }
}

fn serve(arguments: &mut Arguments, help: &str) -> Result<Command, lexopt::Error> {
    let (mut config, mut listen, mut allow_demo_keys) = (None, Vec::new(), false);
    while let Some(argument) = arguments.advance()? {
        match argument {
            Argument::Option("config") => config = Some(PathBuf::from(arguments.value()?)),
            Argument::Option("listen") => listen.push(Address::parse(&arguments.value()?.string()?)?),
            Argument::Option("allow-demo-keys") => allow_demo_keys = true,
            other => return arguments.common(other, help),
        }
    }
    Ok(Command::Serve(Options { origin: Origin::find(config), listen, allow_demo_keys }))
}

fn check(origin: &Origin) -> ExitCode {
    match origin.load() {
        Ok(config) => {
            match origin {
                Origin::File(path) => say(&format!("{}: good, {} sources\n", path.display(), config.sources.len())),
                Origin::Demo => say("no configuration file: relay would run with the built-in demo setting\n"),
            }
            ExitCode::SUCCESS
        }
        Err(BadConfig(lines)) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            ExitCode::from(BAD_CONFIGURATION)
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
    eprintln!(
        "relay: cannot run relay-bench: {error} (looked {looked}in PATH)\n'relay bench' needs this second program. \
         'cargo build --release --package relay-bench' builds target/release/relay-bench; copy it to the directory of relay or \
         to a directory in PATH."
    );
    ExitCode::from(FAILED)
}

/// The words after the command.
pub struct Arguments {
    parser: Parser,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Argument {
    /// `--name`, if it is one of those that exist.
    Option(&'static str),
    /// `--help` or `-h`.
    Help,
    /// `--version` or `-V`.
    Version,
    /// A word.
    Word(String),
    /// Anything else.
    Unknown(String),
}

impl Arguments {
    /// The next word or option.
    pub fn advance(&mut self) -> Result<Option<Argument>, lexopt::Error> {
        Ok(self.parser.next()?.map(|argument| match argument {
            Long("help") | Short('h') => Argument::Help,
            Long("version") | Short('V') => Argument::Version,
            Long(name) => match OPTIONS.iter().find(|known| **known == name) {
                Some(known) => Argument::Option(known),
                None => Argument::Unknown(format!("--{name}")),
            },
            Short(letter) => Argument::Unknown(format!("-{letter}")),
            Value(word) => Argument::Word(word.to_string_lossy().into_owned()),
        }))
    }

    /// The value of the option that came last.
    pub fn value(&mut self) -> Result<OsString, lexopt::Error> {
        self.parser.value()
    }

    /// What every command knows, or the complaint that this one does not know the argument.
    fn common(&self, argument: Argument, help: &str) -> Result<Command, lexopt::Error> {
        match argument {
            Argument::Help => Ok(Command::Say(help.into())),
            Argument::Version => Ok(Command::Say(format!("relay {}\n", env!("CARGO_PKG_VERSION")))),
            Argument::Option(name) => Err(format!("--{name} does not belong to this command").into()),
            Argument::Unknown(option) => Err(format!("there is no option {option}").into()),
            Argument::Word(word) => Err(format!("{word:?} does not belong here").into()),
        }
    }
}

/// Every option of every command.
const OPTIONS: [&str; 19] = [
    "allow-demo-keys",
    "config",
    "data",
    "ext-info",
    "filename",
    "hex",
    "hmac",
    "json",
    "key",
    "key-file",
    "listen",
    "once",
    "room-id",
    "room-ids",
    "source",
    "ts",
    "url",
    "userid",
    "username",
];

const FAILED: u8 = 1;
const BAD_COMMAND_LINE: u8 = 2;
const BAD_CONFIGURATION: u8 = 78;

const HELP: &str = "\
relay: backends POST signed notifications, pages and apps in the room get them at once

relay [serve] [--config FILE] [--listen ADDR]… [--allow-demo-keys]
                          run until SIGTERM; SIGHUP re-reads the configuration
relay check [--config FILE]
                          say what is wrong with a configuration
relay sign connect ROOMS | relay sign notify ROOMS DATA
                          make a signature
relay notify ROOMS DATA   post a signed notification, show the answer
relay listen ROOMS        join rooms, print a line for each message
relay bench MODE          measure a relay under load
relay COMMAND --help      more about a command
relay --version

  --config FILE           the configuration; otherwise $RELAY_CONFIG, otherwise
                          /etc/relay/relay.toml, otherwise a demo setting on 127.0.0.1:4000
  --listen ADDR           host:port, [v6]:port or unix:PATH, in place of the configuration's;
                          port 0 takes a free one, which the log names
  --allow-demo-keys       listen beyond this machine though a key is public

Exit codes: 0, 1 (failed while running), 2 (bad command line), 78 (bad configuration).
";
const CHECK_HELP: &str = "\
relay check [--config FILE]

Reads a configuration and says all that is wrong with it, as FILE:LINE:COLUMN: what would be right.
Exit codes: 0 (good), 78 (bad).
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
        // What follows is not looked at: it is the other program's.
        assert!(matches!(command("bench --frobnicate -h"), Ok(Command::Bench(args)) if args.len() == 2));
        for (line, text) in
            [("--version", "relay "), ("-h", "relay: "), ("help", "relay: "), ("notify --help", "relay notify")]
        {
            let Ok(Command::Say(said)) = command(line) else { panic!("{line} says something") };
            assert!(said.starts_with(text), "{line}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for (line, why) in [
            ("run", "there is no command"),
            ("serve now", "does not belong here"),
            ("--listen 4000", "expected host:port"),
            ("--config", "missing argument"),
            ("--frobnicate", "there is no option --frobnicate"),
            ("check --listen a:1", "--listen does not belong"),
            ("listen", "which rooms"),
            ("notify room", "what data"),
            ("sign", "connect or notify"),
        ] {
            let error = command(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
