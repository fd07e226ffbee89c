//! Errors: why a run ended without a report, and why one connection of it ended.

use std::{error, fmt, io, process::ExitCode};

use relay::config::ValueError;

/// Why a run ended without a report.
#[derive(Debug)]
pub enum Error {
    /// The request cannot be met or is not allowed. Exit code 2.
    Usage(String),
    /// The value of `--addr` is not an address. Exit code 2.
    Address(ValueError),
    /// The operating system reported an error. Exit code 1.
    Io {
        /// The operation or the file that failed.
        what: String,
        /// The error.
        error: io::Error,
    },
    /// The run failed. Exit code 1.
    Failed(String),
}

impl Error {
    /// Turns an I/O error into an [`Error`] that names what failed.
    pub fn io(what: impl Into<String>) -> impl Fn(io::Error) -> Error {
        let what = what.into();
        move |error| Error::Io { what: what.clone(), error }
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage(_) | Error::Address(_) => ExitCode::from(BAD_COMMAND_LINE),
            Error::Io { .. } | Error::Failed(_) => ExitCode::from(FAILED),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Failed(text) => f.write_str(text),
            Error::Address(error) => error.fmt(f),
            Error::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Io { error, .. } => Some(error),
            Error::Address(error) => Some(error),
            Error::Usage(_) | Error::Failed(_) => None,
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum ConnectionError {
    /// The server closed the connection.
    Closed,
    /// The server sent a WebSocket close frame.
    CloseFrame {
        /// The status code, 0 if the frame had none.
        code: u16,
        /// The reason, shortened to one line.
        reason: String,
    },
    /// The server closed the Engine.IO session.
    SessionClosed,
    /// The operating system reported an error.
    Io(io::Error),
    /// The server refused a request, a login or a message.
    Refused(String),
    /// The bytes do not follow the protocol.
    Malformed(String),
    /// The server sent this many bytes of one response or frame, and it is still incomplete.
    TooLong(usize),
}

impl ConnectionError {
    /// Bytes that do not follow the protocol.
    pub fn malformed(text: impl Into<String>) -> ConnectionError {
        ConnectionError::Malformed(text.into())
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionError::Closed => f.write_str("closed by the server"),
            ConnectionError::CloseFrame { code, reason } => write!(f, "closed with {code} {reason}"),
            ConnectionError::SessionClosed => f.write_str("the server closed the session"),
            ConnectionError::Io(error) => error.fmt(f),
            ConnectionError::Refused(text) => write!(f, "refused: {text}"),
            ConnectionError::Malformed(text) => f.write_str(text),
            ConnectionError::TooLong(bytes) => write!(f, "{bytes} bytes of a response or frame, still incomplete"),
        }
    }
}

impl error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            ConnectionError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> ConnectionError {
        ConnectionError::Io(error)
    }
}

/// Exit code: something was wrong with what arrived, or the run failed.
pub const FAILED: u8 = 1;
/// Exit code: the request cannot be met or is not allowed.
pub const BAD_COMMAND_LINE: u8 = 2;
