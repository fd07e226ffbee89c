//! `relay-bench man` and `relay-bench completions`: documents that are made from the table of commands.

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};
use relay::{
    manual::{Shell, help, page},
    server::clock::document_date,
    version::Version,
};

use crate::commands::{COMPLETIONS, MAN, RELAY_BENCH, unknown_option};

/// A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// The man page.
    Man,
    /// The completions of a shell, which follows as a word.
    Completions,
}

impl Document {
    /// The document of a command.
    pub fn from_name(name: &str) -> Option<Document> {
        match name {
            "man" => Some(Document::Man),
            "completions" => Some(Document::Completions),
            _ => None,
        }
    }

    /// Parses what follows the command. Returns the document, or the help of the command.
    pub fn parse(self, parser: &mut Parser) -> Result<String, lexopt::Error> {
        let mut shell = None;
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => {
                    let command = if self == Document::Man { &MAN } else { &COMPLETIONS };
                    return Ok(help::command(&RELAY_BENCH, command));
                }
                Long("version") | Short('V') => return Ok(version()),
                Value(word) if self == Document::Completions && shell.is_none() => shell = Some(word.string()?),
                Long(name) => return Err(unknown_option(name)),
                other => return Err(other.unexpected()),
            }
        }
        if self == Document::Man {
            return Ok(page::render(&RELAY_BENCH, env!("CARGO_PKG_VERSION"), &document_date()));
        }
        let name = shell.ok_or("missing argument: bash, zsh or fish")?;
        let shell = Shell::from_name(&name);
        Ok(shell.ok_or_else(|| format!("unknown shell {name:?}: expected bash, zsh or fish"))?.script(&RELAY_BENCH))
    }
}

/// The line of `--version`.
pub fn version() -> String {
    format!("{}\n", Version { program: "relay-bench" })
}
