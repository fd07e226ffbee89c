//! The errors that end the process.

use core::{error, fmt};
use std::io;

use super::config_file::BadConfig;

/// An error at start, or one that stops the event loop.
#[derive(Debug)]
pub enum Fatal {
    /// The configuration cannot be used (exit code 78).
    Config(BadConfig),
    /// A system call failed (exit code 1): its purpose, and the error.
    Io(&'static str, io::Error),
    /// An address could not be bound (exit code 1): the address and the error.
    Listen(String, io::Error),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Config(error) => error.fmt(f),
            Fatal::Io(what, error) => write!(f, "{what}: {error}"),
            Fatal::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl error::Error for Fatal {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Fatal::Config(error) => Some(error),
            Fatal::Io(_, error) | Fatal::Listen(_, error) => Some(error),
        }
    }
}
