//! The errors of the command line: in the arguments, and while a command runs.

use std::{error, fmt, io, path::PathBuf};

use super::program::RELAY;
use crate::{
    config::{ValueError, some_of},
    history::SinceError,
    server::config_file::{BadConfig, Unread},
};

/// Exit code: failed while running.
pub const FAILED: u8 = 1;
/// Exit code: bad command line.
pub const BAD_COMMAND_LINE: u8 = 2;
/// Exit code: bad configuration (`EX_CONFIG` of sysexits.h).
pub const BAD_CONFIGURATION: u8 = 78;

/// A command line that names no command, or not all that the command needs.
#[derive(Debug)]
pub enum UsageError {
    /// An option or argument that the command does not have, or an option without its value.
    Argument(lexopt::Error),
    /// An address that relay cannot listen on.
    Address(ValueError),
    /// The first word is not a command.
    UnknownCommand(String),
    /// The value of `--expires` is not a time.
    Expires(String),
    /// `relay sign` without `connect`, `jwt`, `notify` or `emit`.
    MissingSubject,
    /// ROOMS is missing.
    MissingRooms,
    /// DATA is missing.
    MissingData,
    /// EVENT is missing.
    MissingEvent,
    /// `relay why` has no question.
    MissingQuestion,
    /// The argument of `relay why` is not the id of a message.
    MessageId(String),
    /// An option, without its dashes, that `relay doctor` has only with URL.
    NeedsUrl(&'static str),
    /// `relay trace` does not say what to trace.
    MissingTrace,
    /// `relay trace` with several of a subject, `--list` and `--stop`.
    TraceAction,
    /// The value of `--for` is no time that is possible.
    TraceTime(String),
    /// The shell of `relay completions` is missing.
    MissingShell,
    /// What this is, the word that was given, and what is expected.
    NotOneOf(&'static str, String, &'static str),
    /// The receivers of an event are missing.
    MissingReceivers,
    /// Several options that name the receivers of an event.
    Receivers,
    /// An option that the command does not have, without its dashes, and the one that was probably meant.
    UnknownOption(String, Option<&'static str>),
    /// The argument of `relay doctor` is no address.
    DoctorUrl(String),
    /// The value of `--connect` is no IP address.
    DoctorAddress(String),
    /// The value of `--origin` is no origin.
    DoctorOrigin(String),
    /// The value of `--idle` is no number of seconds that is possible.
    Idle(String),
    /// The value of `--interval` is no number of seconds that is possible.
    Interval(String),
    /// The value of `--days` is no number of days that is possible.
    Days(String),
    /// The value of `--since`, and what is wrong with it.
    Since(String, SinceError),
    /// Two options that exclude each other, without their dashes.
    Both(&'static str, &'static str),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Argument(error) => error.fmt(f),
            UsageError::Address(error) => error.fmt(f),
            UsageError::UnknownCommand(name) => {
                write!(f, "unknown command {name:?}")?;
                match RELAY.nearest_command(name) {
                    _ if matches!(&**name, "start" | "stop" | "restart" | "status") => {
                        write!(f, ": relay runs in the foreground; if it is a service, use systemctl {name} relay")
                    }
                    Some(known) => write!(f, ": did you mean {known}?"),
                    None if name.ends_with(".toml") => write!(f, ": did you mean --config {name}?"),
                    None => Ok(()),
                }
            }
            UsageError::UnknownOption(name, near) => {
                write!(f, "invalid option '--{name}'")?;
                near.map_or(Ok(()), |known| write!(f, ": did you mean --{known}?"))
            }
            UsageError::DoctorUrl(given) => {
                write!(f, "{given:?}: expected https://host or http://host, with a port and a path if needed")
            }
            UsageError::DoctorAddress(given) => {
                write!(f, "--connect {given:?}: expected an IP address, without a port")
            }
            UsageError::DoctorOrigin(given) => {
                write!(f, "--origin {given:?}: expected an origin such as https://shop.example.org")
            }
            UsageError::Idle(given) => write!(f, "--idle {given:?}: expected a number of seconds from 0 to 3600"),
            UsageError::Interval(given) => {
                write!(f, "--interval {given:?}: expected a number of seconds from 1 to 3600")
            }
            UsageError::Days(given) => write!(f, "--days {given:?}: expected a number from 1 to 824"),
            UsageError::Since(given, error) => write!(f, "--since {given:?}: {error}"),
            UsageError::Both(one, other) => write!(f, "--{one} and --{other} cannot be used together"),
            UsageError::Expires(given) => {
                write!(f, "--expires {given:?}: expected a number of seconds, or a time like 30m, 12h or 7d")
            }
            UsageError::MissingSubject => f.write_str("missing argument: connect, jwt, notify or emit"),
            UsageError::MissingShell => f.write_str("missing argument: bash, zsh or fish"),
            UsageError::NotOneOf(what, given, expected) => write!(f, "unknown {what} {given:?}: expected {expected}"),
            UsageError::MissingQuestion => {
                f.write_str("missing question: give the id of a message, --userid, --session or --room")
            }
            UsageError::MessageId(given) => {
                write!(
                    f,
                    "{given:?} is not the id of a message: give a user with --userid, a session with --session, a room with --room"
                )
            }
            UsageError::NeedsUrl(option) => write!(f, "--{option} needs the URL of the relay to examine"),
            UsageError::MissingTrace => f.write_str("missing subject: give --source, --userid or --address"),
            UsageError::TraceAction => f.write_str("give --list alone, --stop alone, or what to trace"),
            UsageError::TraceTime(given) => {
                write!(f, "--for {given:?}: expected a time from 1s to 1h, such as 30s or 10m")
            }
            UsageError::MissingEvent => f.write_str("missing argument: EVENT"),
            UsageError::MissingReceivers => f.write_str(
                "missing receivers: give --room, --userid or --socket-id, or --all for everybody in the namespace",
            ),
            UsageError::Receivers => f.write_str("give one of --room, --userid, --socket-id and --all"),
            UsageError::MissingRooms => f.write_str("missing argument: ROOMS"),
            UsageError::MissingData => f.write_str("missing argument: DATA ('-' reads standard input)"),
        }
    }
}

impl error::Error for UsageError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            UsageError::Argument(error) => Some(error),
            UsageError::Address(error) => Some(error),
            _ => None,
        }
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> UsageError {
        UsageError::Argument(error)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub enum Error {
    /// The configuration is bad.
    Config(BadConfig),
    /// The configuration, by its name, has no such source, but these.
    UnknownSource(String, String, Vec<String>),
    /// The configuration has no source.
    NoSource(String),
    /// The configuration has several sources, and none is called `demo`.
    WhichSource(String, Vec<String>),
    /// The source of the configuration has no shared secret for tokens.
    NoTokenSecret(String, String),
    /// The admin token is not known.
    NoToken,
    /// The file with the key of this source cannot be read.
    UnreadKey(String, Unread),
    /// The configuration has no address that a client could connect to.
    NoAddress(String),
    /// A file or standard input cannot be read.
    Read(String, io::Error),
    /// The value of `--url` is no URL of a relay.
    Url(String),
    /// `--ca-file` without a URL of `https://`.
    NeedsTls,
    /// `listen` of the configuration has only addresses with TLS, and the certificate cannot be read.
    UnreadCertificate(String),
    /// A certificate is not accepted, or cannot be used: the address or file, and the reason.
    Certificate(String, String),
    /// A file of `relay cert` cannot be used as it is: its path and the reason.
    File(PathBuf, String),
    /// `relay cert` has no names.
    NoNames(PathBuf),
    /// This argument is not JSON, with `--json`.
    Json(&'static str, serde_json::Error),
    /// The relay cannot be reached, or the connection ended: the address and the reason.
    Connection(String, String),
    /// The relay refused the login: its address, the HTTP status and the reason.
    LoginRefused(String, u16, String),
    /// The relay refused the message or event, for this reason; its answer was printed.
    Refused(String),
    /// The signature that was to be explained is wrong.
    SignatureWrong,
    /// So many checks of `relay doctor` failed; they were printed.
    Sick(usize),
    /// The answer to a message or event has this HTTP status and reason.
    Status(u16, String),
}

impl Error {
    /// The exit code.
    pub fn code(&self) -> u8 {
        if matches!(self, Error::Config(_)) { BAD_CONFIGURATION } else { FAILED }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(problems) => problems.fmt(f),
            Error::UnknownSource(config, source, known) => {
                write!(f, "the configuration has no source {source:?} ({config} ")?;
                match known.as_slice() {
                    [] => f.write_str("has none")?,
                    known => write!(f, "has {}", some_of(known))?,
                }
                f.write_str("): name another with --source, or give its key with --key or --key-file")
            }
            Error::NoSource(config) => write!(
                f,
                "the configuration has no source ({config}): add a table [sources.NAME] to it, or give --source and --key"
            ),
            Error::WhichSource(config, known) => {
                write!(
                    f,
                    "the configuration has several sources ({config} has {}): choose one with --source",
                    some_of(known)
                )
            }
            Error::NoTokenSecret(config, source) => {
                write!(
                    f,
                    "{config}: source {source:?} has no shared secret for tokens: set secret in [sources.{source}.jwt], or give one \
                     with --key or --key-file"
                )
            }
            Error::NoToken => f.write_str(
                "the admin token is unknown: give it with --token or --token-file, or run this as root on relay's machine; if the \
                 configuration has none, the log of relay's start says it",
            ),
            Error::UnreadKey(source, unread) => {
                let root = if unread.denied { ", or run this as root" } else { "" };
                let why = &unread.why;
                write!(f, "the key of source {source:?} is unknown: {why}; give it with --key or --key-file{root}")
            }
            Error::NoAddress(config) => {
                write!(
                    f,
                    "`listen` of {config} has no address to connect to (port 0 means a different port at each start, \
                     and addresses with proxy+ are for proxies): give --url"
                )
            }
            Error::Read(name, error) => write!(f, "{name}: {error}"),
            Error::Url(url) => write!(f, "--url {url:?}: expected http://host:port, https://host:port or unix:PATH"),
            Error::NeedsTls => f.write_str("--ca-file needs a --url of https://"),
            Error::UnreadCertificate(config) => write!(
                f,
                "`listen` of {config} has only addresses with TLS, and this user may not read the certificate and its key: \
                 run this as root, or give --url"
            ),
            Error::Certificate(place, why) => write!(f, "{place}: {why}"),
            Error::File(path, why) => write!(f, "{}: {why}", path.display()),
            Error::NoNames(path) => {
                write!(f, "{} does not exist yet: give each name and address of this relay with --name", path.display())
            }
            Error::Json(what, error) => {
                write!(f, "{what} is not valid JSON: {error}; without --json it is sent as a string")
            }
            Error::Connection(address, why) => write!(f, "{address}: {why}"),
            Error::LoginRefused(url, status, why) => write!(f, "{url} refused the login with status {status}: {why}"),
            Error::Refused(why) => write!(f, "refused: {why}"),
            Error::SignatureWrong => f.write_str("the signature is wrong"),
            Error::Sick(1) => f.write_str("one check failed"),
            Error::Sick(failures) => write!(f, "{failures} checks failed"),
            Error::Status(status, why) => write!(f, "the relay answered with status {status}: {why}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Config(error) => Some(error),
            Error::Read(_, error) => Some(error),
            Error::Json(_, error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_a_cure_only_for_a_permission() {
        let text = |denied| {
            let unread = Unread { content: "\0".into(), why: "/k: no".into(), denied };
            Error::UnreadKey("a".into(), unread).to_string()
        };
        assert_eq!(text(false), "the key of source \"a\" is unknown: /k: no; give it with --key or --key-file");
        assert_eq!(text(true), text(false) + ", or run this as root");
    }
}
