//! The options of the commands that sign or talk to a relay. One parser serves them all.

use core::mem;

use lexopt::{
    Arg::{Long, Value},
    Parser, ValueExt,
};

use super::{
    arguments::{self, Stop, value},
    error::UsageError,
};
use crate::spelling::nearest;

/// What a command line has after the name of its command.
#[derive(Debug, Default)]
pub struct Options {
    /// Each option with its value, which is empty for a flag.
    given: Vec<(&'static str, String)>,
    /// The arguments that are not options.
    pub words: Vec<String>,
}

impl Options {
    /// Parses the options in `allowed`, under any of their names.
    pub fn parse(parser: &mut Parser, allowed: &[&'static str]) -> Result<Options, Stop> {
        let mut options = Options::default();
        while let Some(argument) = arguments::next(parser)? {
            let name = match argument {
                Value(word) => {
                    options.words.push(word.string()?);
                    continue;
                }
                Long(name) => name.to_owned(),
                other => return Err(other.unexpected().into()),
            };
            let is_allowed = |known: &&Known| allowed.contains(&known.name);
            let Some(known) = KNOWN.iter().filter(is_allowed).find(|known| known.is(&name)) else {
                return Err(UsageError::UnknownOption(name.clone(), nearest(&name, allowed.iter().copied())).into());
            };
            let value = if known.has_value { value(parser)? } else { String::new() };
            options.given.push((known.name, value));
        }
        Ok(options)
    }

    /// The value of an option. If it was given several times, the last one wins.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.all(name).pop()
    }

    /// The value of an option, or an empty text.
    pub fn text(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    /// All values of an option, in their order.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        self.given.iter_mut().filter(|(known, _)| *known == name).map(|(_, value)| mem::take(value)).collect()
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(known, _)| *known == name)
    }

    /// The first word, removed.
    pub fn next_word(&mut self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// The rooms of `--room`, or else of the first word, as a list.
    pub fn rooms(&mut self) -> Result<String, Stop> {
        let mut rooms = self.all("room");
        if rooms.is_empty() {
            rooms.extend(self.next_word());
        }
        Some(rooms.join(",")).filter(|rooms| !rooms.is_empty()).ok_or(UsageError::MissingRooms.into())
    }

    /// DATA: the value of `--data`, or else the next word. No word may be left.
    pub fn data(&mut self) -> Result<String, Stop> {
        let data = self.take("data").or_else(|| self.next_word()).ok_or(UsageError::MissingData)?;
        self.no_more_words()?;
        Ok(data)
    }

    /// Refuses a word that is left over.
    pub fn no_more_words(&mut self) -> Result<(), Stop> {
        match self.next_word() {
            Some(word) => Err(lexopt::Error::UnexpectedArgument(word.into()).into()),
            None => Ok(()),
        }
    }
}

/// An option.
struct Known {
    name: &'static str,
    /// Another name, or several.
    aliases: &'static [&'static str],
    has_value: bool,
}

impl Known {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

const fn value_of(name: &'static str) -> Known {
    Known { name, aliases: &[], has_value: true }
}

const fn flag(name: &'static str) -> Known {
    Known { name, aliases: &[], has_value: false }
}

const KNOWN: &[Known] = &[
    value_of("config"),
    value_of("url"),
    value_of("source"),
    value_of("key"),
    value_of("key-file"),
    value_of("token"),
    value_of("token-file"),
    flag("hmac"),
    value_of("ts"),
    flag("hex"),
    value_of("explain"),
    flag("json"),
    Known { name: "room", aliases: &["room-id", "room-ids"], has_value: true },
    value_of("data"),
    value_of("filename"),
    value_of("userid"),
    value_of("username"),
    value_of("ext-info"),
    value_of("socket-id"),
    value_of("nsp"),
    flag("all"),
    flag("once"),
];

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words = line.split_whitespace().map(OsString::from);
        Options::parse(&mut Parser::from_args(words), &["room", "data", "json"]).map_err(|stop| format!("{stop:?}"))
    }

    #[test]
    fn words_and_options() {
        let mut options = parse("a --json --room-id=r --room-ids s b -- --json").unwrap();
        assert!(options.has("json") && !options.has("data"));
        assert_eq!(options.words, ["a", "b", "--json"]);
        assert_eq!((options.rooms().unwrap(), options.data().is_err()), ("r,s".into(), true), "one word too many");
        let mut options = parse("r --data one --data two").unwrap();
        assert_eq!((options.rooms().unwrap(), options.data().unwrap()), ("r".into(), "two".into()));
        for (line, why) in [
            ("--hmac", "UnknownOption(\"hmac\", None)"),
            ("--rooom r", "UnknownOption(\"rooom\", Some(\"room\"))"),
            ("-x", "invalid option '-x'"),
            ("--room", "missing argument for option '--room'"),
            ("--json=1", "unexpected argument for option '--json'"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        let mut options = parse("--json").unwrap();
        assert!(options.rooms().is_err() && options.next_word().is_none());
    }
}
