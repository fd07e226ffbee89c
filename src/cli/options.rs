//! The arguments of a command: options that its table has, and words.

use std::{ffi::OsString, path::PathBuf};

use lexopt::{
    Arg::{Long, Value},
    Parser, ValueExt,
};

use super::{
    arguments::{self, Stop},
    error::UsageError,
};
use crate::manual::{Command, Kind, Takes};

/// What a command line has after the name of its command.
#[derive(Debug, Default)]
pub struct Options {
    /// Each option with its value, which is empty for a flag.
    given: Vec<(&'static str, OsString)>,
    /// The arguments that are not options.
    pub words: Vec<String>,
}

impl Options {
    /// Parses the options of a command, under any of their names. Values are UTF-8, except paths.
    pub fn parse(parser: &mut Parser, command: &Command) -> Result<Options, Stop> {
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
            let Some(option) = command.option(&name) else {
                let near = command.nearest_option(&name);
                return Err(UsageError::UnknownOption(name, near).into());
            };
            let value = match option.takes {
                Takes::Nothing => OsString::new(),
                Takes::Value(_, Kind::File) => parser.value()?,
                Takes::Value(..) => parser.value()?.string()?.into(),
                Takes::Optional(..) => parser.optional_value().unwrap_or_default(),
            };
            options.given.push((option.name, value));
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

    /// The path that is the value of an option. If it was given several times, the last one wins.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.values(name).last().map(PathBuf::from)
    }

    /// All values of an option, in their order.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        self.values(name).map(|value| value.to_string_lossy().into_owned()).collect()
    }

    fn values(&mut self, name: &str) -> impl Iterator<Item = OsString> {
        self.given.extract_if(.., move |(known, _)| *known == name).map(|(_, value)| value)
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

    /// The only word, if there is one.
    pub fn only_word(&mut self) -> Result<Option<String>, Stop> {
        let word = self.next_word();
        self.no_more_words()?;
        Ok(word)
    }

    /// Refuses a word that is left over.
    pub fn no_more_words(&mut self) -> Result<(), Stop> {
        match self.next_word() {
            Some(word) => Err(lexopt::Error::UnexpectedArgument(word.into()).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::{super::commands, *};

    fn parse_words(words: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
        Options::parse(&mut Parser::from_args(words), &commands::NOTIFY).map_err(|stop| format!("{stop:?}"))
    }

    fn parse(line: &str) -> Result<Options, String> {
        parse_words(line.split_whitespace().map(OsString::from))
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
            ("--once", "UnknownOption(\"once\", None)"),
            ("--rooom r", "UnknownOption(\"rooom\", Some(\"room\"))"),
            ("--hepp", "UnknownOption(\"hepp\", Some(\"help\"))"),
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

    /// A path can have any bytes, a text cannot.
    #[test]
    fn paths() {
        let strange = || OsString::from_vec(vec![b'a', 0xff]);
        let mut options = parse_words(["--config".into(), strange()]).unwrap();
        assert_eq!(options.path("config"), Some(strange().into()));
        assert_eq!((options.path("config"), options.path("key-file")), (None, None), "it was taken");
        assert!(parse_words(["--room".into(), strange()]).unwrap_err().contains("invalid unicode"));
    }
}
