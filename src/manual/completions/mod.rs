//! Completions: scripts that make a shell complete commands, options and values. They stand alone: no other package is
//! needed, and relay is not run for a completion.

mod bash;
mod fish;
mod zsh;

use super::table::{Command, Kind, Program};

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash 4.4 and later.
    Bash,
    /// zsh.
    Zsh,
    /// fish 3 and later.
    Fish,
}

impl Shell {
    /// The names of all shells.
    pub const NAMES: [&str; 3] = ["bash", "zsh", "fish"];

    /// The shell with this name.
    pub fn from_name(name: &str) -> Option<Shell> {
        match name {
            "bash" => Some(Shell::Bash),
            "zsh" => Some(Shell::Zsh),
            "fish" => Some(Shell::Fish),
            _ => None,
        }
    }

    /// The completions of a program.
    pub fn script(self, program: &Program) -> String {
        match self {
            Shell::Bash => bash::script(program),
            Shell::Zsh => zsh::script(program),
            Shell::Fish => fish::script(program),
        }
    }
}

/// The name of a function or variable for a program.
fn identifier(program: &Program) -> String {
    program.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// The words of a kind, separated by spaces; `None` if they are not known.
fn words(program: &Program, kind: Kind) -> Option<String> {
    match kind {
        Kind::Text | Kind::File => None,
        Kind::OneOf(values) => Some(values.join(" ")),
        Kind::Command => Some(program.names().collect::<Vec<_>>().join(" ")),
    }
}

/// The options of a command as the shell offers them.
fn options(command: &Command) -> String {
    command.options().map(|option| format!("--{}", option.name)).collect::<Vec<_>>().join(" ")
}

/// A text in single quotes, for all three shells. An apostrophe would end it: texts get another one.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "\u{2019}"))
}

/// The beginning of a text, for a line in a list: up to a semicolon, a full stop, a parenthesis, or a colon that is not near
/// the beginning.
fn brief(text: &str) -> &str {
    let colon = text.find(": ").filter(|at| *at >= SHORT);
    let end = ["; ", " (", ". "].iter().filter_map(|end| text.find(end)).chain(colon).min();
    &text[..end.unwrap_or(text.len())]
}

/// Bytes before a colon that are too few for a text, as in "with hmac-sha256: the time".
const SHORT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_text() {
        for (text, beginning) in [
            ("a room; may be given several times", "a room"),
            ("the source (default: demo)", "the source"),
            ("an address to listen on: host:port. Others", "an address to listen on"),
            ("with hmac-sha256: the time (default: now)", "with hmac-sha256: the time"),
            ("each ARG is JSON", "each ARG is JSON"),
        ] {
            assert_eq!(brief(text), beginning);
        }
    }
}
