//! The errors of the command line: in the arguments, and while a command runs.

use std::{error, fmt, io};

use crate::{config::ValueError, server::config_file::BadConfig};

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
    /// `relay sign` without `connect` or `notify`.
    MissingSubject,
    /// ROOMS is missing.
    MissingRooms,
    /// DATA is missing.
    MissingData,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Argument(error) => error.fmt(f),
            UsageError::Address(error) => error.fmt(f),
            UsageError::UnknownCommand(name) => write!(f, "unknown command {name:?}"),
            UsageError::MissingSubject => f.write_str("missing argument: connect or notify"),
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

/// Why `sign`, `notify` or `listen` failed.
#[derive(Debug)]
pub enum Error {
    /// The configuration that should have the key is bad.
    Config(BadConfig),
    /// The configuration has no such source.
    UnknownSource(String),
    /// A file or standard input cannot be read.
    Read(String, io::Error),
    /// The value of `--url` is neither `http://host:port` nor `unix:PATH`.
    Url(String),
    /// DATA is not JSON, with `--json`.
    Json(serde_json::Error),
    /// The relay cannot be reached, or the connection ended: the address and the reason.
    Connection(String, String),
    /// The relay refused the login: its address, the HTTP status and the reason.
    LoginRefused(String, u16, String),
    /// The relay refused the notification; its answer, which was printed, has the reason.
    NotificationRefused,
    /// The answer to a notification has this HTTP status.
    Status(u16),
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
            Error::UnknownSource(source) => {
                write!(f, "the configuration has no source {source:?}: give its key with --key or --key-file")
            }
            Error::Read(name, error) => write!(f, "{name}: {error}"),
            Error::Url(url) => write!(
                f,
                "--url {url:?}: expected http://host:port or unix:PATH (TLS is not supported: use the address behind the proxy)"
            ),
            Error::Json(error) => write!(f, "DATA is not valid JSON: {error}"),
            Error::Connection(address, why) => write!(f, "{address}: {why}"),
            Error::LoginRefused(url, status, why) => write!(f, "{url} refused the login with status {status}: {why}"),
            Error::NotificationRefused => f.write_str("the relay refused the notification"),
            Error::Status(status) => write!(f, "the relay answered with status {status}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Config(error) => Some(error),
            Error::Read(_, error) => Some(error),
            Error::Json(error) => Some(error),
            _ => None,
        }
    }
}
