//! Why relay cannot start or go on.

use core::{error, fmt};
use std::io;

use super::process::BadConfig;

/// Why relay ends with a failure.
#[derive(Debug)]
pub enum Fatal {
    /// The configuration is refused (exit code 78).
    Config(BadConfig),
    /// The operating system refused something (exit code 1).
    Io(&'static str, io::Error),
    /// A listener could not be opened (exit code 1): its address, and why.
    Listen(String, io::Error),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Config(error) => error.fmt(f),
            Fatal::Io(what, error) => write!(f, "{what}: {error}"),
            Fatal::Listen(address, error) => write!(f, "listening on {address}: {error}"),
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
