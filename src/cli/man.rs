//! `relay man` and `relay completions`: documents that are made from the table of commands.

use lexopt::Parser;

use super::{arguments::Stop, commands, error::UsageError, options::Options, program::RELAY};
use crate::{
    manual::{Shell, configuration, page},
    server::clock::document_date,
};

/// A man page.
#[derive(Debug)]
pub enum Manual {
    /// Its text.
    Text(String),
    /// The one of relay-bench, which that program prints.
    Bench,
}

/// Parses what follows `man`.
pub fn parse(parser: &mut Parser) -> Result<Manual, Stop> {
    let name = Options::parse(parser, &commands::MAN)?.only_word()?;
    let (version, date) = (env!("CARGO_PKG_VERSION"), document_date());
    match name.as_deref() {
        None | Some("relay") => Ok(Manual::Text(page::render(&RELAY, version, &date))),
        Some("relay.toml") => Ok(Manual::Text(configuration::render(version, &date))),
        Some("relay-bench") => Ok(Manual::Bench),
        Some(other) => Err(UsageError::NotOneOf("man page", other.into(), "relay, relay.toml or relay-bench").into()),
    }
}

/// Parses what follows `completions`. Returns the script.
pub fn parse_completions(parser: &mut Parser) -> Result<String, Stop> {
    let name = Options::parse(parser, &commands::COMPLETIONS)?.only_word()?.ok_or(UsageError::MissingShell)?;
    let shell = Shell::from_name(&name);
    let unknown = || UsageError::NotOneOf("shell", name.clone(), "bash, zsh or fish");
    Ok(shell.ok_or_else(unknown)?.script(&RELAY))
}
