//! What the parsers of all commands share.

use lexopt::{
    Arg::{self, Long, Short},
    Parser,
};

use super::error::UsageError;

/// Why parsing ended before the command was complete.
#[derive(Debug)]
pub enum Stop {
    /// `--help` or `-h`.
    Help,
    /// `--version` or `-V`.
    Version,
    /// The command line is wrong.
    Usage(UsageError),
}

impl From<UsageError> for Stop {
    fn from(error: UsageError) -> Stop {
        Stop::Usage(error)
    }
}

impl From<lexopt::Error> for Stop {
    fn from(error: lexopt::Error) -> Stop {
        Stop::Usage(error.into())
    }
}

/// The next argument, except the options that every command has.
pub fn next(parser: &mut Parser) -> Result<Option<Arg<'_>>, Stop> {
    match parser.next()? {
        Some(Long("help") | Short('h')) => Err(Stop::Help),
        Some(Long("version") | Short('V')) => Err(Stop::Version),
        other => Ok(other),
    }
}
