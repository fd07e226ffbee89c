//! The state of parsing a configuration file: its text, its problems and the keys that were looked up.

use std::{io, path::Path};

use toml_span::{Span, Value, value::ValueInner};

use super::problem::Problem;

/// The most problems that are listed. Each is found by its line, so a long list would take long.
const MAX_PROBLEMS: usize = 100;

/// Reads a file that a configuration names.
pub type ReadFile<'r> = &'r mut dyn FnMut(&Path) -> io::Result<String>;

/// A configuration file that is being parsed.
pub struct Reader<'t, 'r> {
    /// The text of the file.
    pub text: &'t str,
    /// Reads the files that the configuration names.
    pub read: ReadFile<'r>,
    /// The problems found so far, in the order of the file: at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// The number of further problems.
    pub more: usize,
    /// Whether the text itself has a secret.
    pub has_secrets: bool,
    /// Every key that was looked up, as `section.key`: the keys that exist.
    pub known: Vec<String>,
}

impl<'t, 'r> Reader<'t, 'r> {
    /// A file of which nothing is parsed yet.
    pub fn new(text: &'t str, read: ReadFile<'r>) -> Reader<'t, 'r> {
        Reader { text, read, problems: Vec::new(), more: 0, has_secrets: false, known: Vec::new() }
    }

    /// Reports a problem at `span`.
    pub fn problem(&mut self, span: Span, text: String) {
        if self.problems.len() == MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let behind = self.problems.partition_point(|known| (known.line, known.column) <= (line, column));
        self.problems.insert(behind, Problem { line, column, text });
    }

    /// Reports that `key` has a value of the wrong type or out of range.
    pub fn wrong_value(&mut self, value: &Value<'t>, key: &str, expected: &str) {
        let found = match value.as_ref() {
            ValueInner::String(text) => format!("{text:?}"),
            ValueInner::Integer(number) => number.to_string(),
            ValueInner::Float(number) => number.to_string(),
            ValueInner::Boolean(flag) => flag.to_string(),
            ValueInner::Array(_) => "a list".into(),
            ValueInner::Table(_) => "a table".into(),
        };
        self.problem(value.span, format!("{key} must be {expected}, not {found}"));
    }
}
