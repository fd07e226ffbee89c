//! The state of parsing a configuration file: its text, its problems and the keys that were looked up.

use core::mem;
use std::{io, path::Path};

use toml_span::{Span, Value, value::ValueInner};

use super::problem::Problem;
use crate::spelling::nearest;

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
    /// The keys that do not exist, for [`Reader::report_unknown`].
    pub unknown: Vec<Unknown>,
}

/// A key that does not exist.
pub struct Unknown {
    pub span: Span,
    /// The prefix of its section, such as `limits.`.
    pub prefix: String,
    pub key: String,
    /// The keys of its section.
    pub siblings: Vec<&'static str>,
}

impl<'t, 'r> Reader<'t, 'r> {
    /// A file of which nothing is parsed yet.
    pub fn new(text: &'t str, read: ReadFile<'r>) -> Reader<'t, 'r> {
        Reader { text, read, problems: Vec::new(), more: 0, has_secrets: false, known: Vec::new(), unknown: Vec::new() }
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

    /// Reports the keys that do not exist, each with the one that was probably meant: the nearest of its section, or the same
    /// key of another section. All sections must be finished.
    pub fn report_unknown(&mut self) {
        for Unknown { span, prefix, key, siblings } in mem::take(&mut self.unknown) {
            // More are not listed, and each looks through the keys that exist.
            if self.problems.len() == MAX_PROBLEMS {
                self.more += 1;
                continue;
            }
            let hint = match (nearest(&key, siblings.iter().copied()), self.home_of(&prefix, &key)) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, Some(home)) => home,
                (None, None) => format!("known keys are {}", siblings.join(", ")),
            };
            self.problem(span, format!("unknown key {prefix}{key}: {hint}"));
        }
    }

    /// The section in which `key` exists, if it is not the one with this prefix.
    fn home_of(&self, prefix: &str, key: &str) -> Option<String> {
        if matches!(key, "port" | "host" | "bind" | "address") && !prefix.starts_with("sources.") {
            return Some("did you mean listen = [\"host:port\"], at the top of the file?".into());
        }
        if let Some((_, section)) = REPEATED.iter().find(|(known, _)| *known == key) {
            return Some(format!("it belongs below {section}"));
        }
        let known = self.known.iter().filter_map(|known| known.strip_suffix(key));
        let mut sections = known.filter(|section| *section != prefix && (section.is_empty() || section.ends_with('.')));
        // A section with a name of its own, such as that of a source, has no place that could be named.
        let home = sections.find(|section| section.matches('.').count() <= 1)?;
        Some(match home.strip_suffix('.') {
            None => "it belongs at the top of the file, above the first [section]".into(),
            Some(section) => format!("it belongs below [{section}]"),
        })
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
        let hint = match value.as_ref() {
            ValueInner::String(text) if text.parse::<f64>().is_ok() && expected.contains("number") => {
                " (without quotes)".to_owned()
            }
            ValueInner::String(text) if ["true", "false"].contains(&&**text) && expected == "true or false" => {
                " in quotes".into()
            }
            ValueInner::String(text) if expected.starts_with("a list of") => {
                let last = key.rsplit('.').next().unwrap_or(key);
                format!(": write {last} = [{text:?}]")
            }
            _ => String::new(),
        };
        self.problem(value.span, format!("{key} must be {expected}, not {found}{hint}"));
    }

    /// Reports that `key`, whose value may be a secret, has a value of the wrong type.
    pub fn wrong_type(&mut self, value: &Value<'t>, key: &str, expected: &str) {
        let found = match value.as_ref() {
            ValueInner::String(_) => "a string",
            ValueInner::Integer(_) | ValueInner::Float(_) => "a number: put it in quotes",
            ValueInner::Boolean(_) => "true or false",
            ValueInner::Array(_) => "a list",
            ValueInner::Table(_) => "a table",
        };
        self.problem(value.span, format!("{key} must be {expected}, not {found}"));
    }
}

/// Keys of sections that have a name of their own, and may be missing, with how these sections begin.
pub const REPEATED: [(&str, &str); 13] = [
    ("sign_key", "[sources.NAME]"),
    ("sign_key_file", "[sources.NAME]"),
    ("sign", "[sources.NAME]"),
    ("publish_msg_verify", "[sources.NAME]"),
    ("replay", "[sources.NAME]"),
    ("client_posts", "[sources.NAME]"),
    ("sender", "[sources.NAME]"),
    ("texts", "[sources.NAME]"),
    ("jwt", "[sources.NAME]"),
    ("auth", "[namespaces.\"/NAME\"]"),
    ("rules", "[namespaces.\"/NAME\"]"),
    ("pairing", "[namespaces.\"/NAME\"]"),
    ("welcome", "[namespaces.\"/NAME\"]"),
];
