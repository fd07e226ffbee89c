//! Typed access to a table of the configuration file.
//!
//! A key is valid if the parser looks it up: [`Section::finish`] reports all other keys as unknown, and a test compares
//! the keys that were looked up with the shipped file.

use core::{ops::RangeInclusive, time::Duration};
use std::path::Path;

use toml_span::{
    Span, Value,
    value::{Table, ValueInner},
};

use super::{
    error::{A_PATH, FileError, ValueError},
    reader::{REPEATED, Reader, Unknown},
    secret::Secret,
    settings::MAX_LIST,
};
use crate::{limits, text::text_without_bom};

/// Seconds of intervals and timeouts.
pub const TIMEOUT: RangeInclusive<f64> = 0.05..=86_400.0;

/// A table whose keys are looked up one by one. The remaining keys are unknown.
pub struct Section<'t> {
    /// The prefix of its keys in messages, such as `limits.`.
    pub prefix: String,
    table: Table<'t>,
    /// The keys that were looked up.
    looked_up: Vec<&'static str>,
    /// Whether it was not a table, which is reported: nothing that is missing in it needs to be.
    pub is_broken: bool,
}

impl<'t> Section<'t> {
    /// The section of `value`, whose keys have the prefix `prefix` in messages. If it is not a table, that is reported, and the
    /// section is empty.
    pub fn new(reader: &mut Reader<'t, '_>, prefix: String, value: Value<'t>) -> Section<'t> {
        let header = format!("[{}]", prefix.trim_end_matches('.'));
        Section::below(reader, prefix, value, &header)
    }

    /// The section of `value`, which begins with the line `header`.
    fn below(reader: &mut Reader<'t, '_>, prefix: String, mut value: Value<'t>, header: &str) -> Section<'t> {
        if value.as_table().is_none() {
            // The value may be a key that was written here.
            let name = prefix.trim_end_matches('.');
            let is_table = |value: &Value<'_>| value.as_table().is_some();
            let cure = match value.as_array() {
                Some(list) if list.iter().all(is_table) => "with single brackets",
                _ => "in a line of its own, and its keys below",
            };
            reader.problem(value.span, format!("{name} must be a table: write {header} {cure}"));
        }
        match value.take() {
            ValueInner::Table(table) => Section { prefix, table, looked_up: Vec::new(), is_broken: false },
            _ => Section { is_broken: true, ..Section::empty(prefix) },
        }
    }

    fn empty(prefix: String) -> Section<'t> {
        Section { prefix, table: Table::new(), looked_up: Vec::new(), is_broken: false }
    }

    /// Removes the value of `key` and returns it.
    pub fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.looked_up.push(key);
        self.table.remove(key)
    }

    /// `key` with the prefix of the section.
    pub fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&Value<'t>> {
        self.table.get(key)
    }

    /// Whether `key` is a table.
    pub fn is_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.as_table().is_some())
    }

    /// The table `key`; empty if it is missing.
    pub fn section(&mut self, reader: &mut Reader<'t, '_>, key: &'static str) -> Section<'t> {
        let prefix = format!("{}{key}.", self.prefix);
        match self.take(key) {
            Some(value) => Section::new(reader, prefix, value),
            None => Section::empty(prefix),
        }
    }

    /// The tables within the table `key`, with their names and the places of the names.
    pub fn sections(&mut self, reader: &mut Reader<'t, '_>, key: &'static str) -> Vec<(String, Span, Section<'t>)> {
        let usual = if key == "namespaces" { "[namespaces.\"/NAME\"]".into() } else { format!("[{key}.NAME]") };
        let prefix = format!("{}{key}.", self.prefix);
        let outer = match self.take(key) {
            Some(value) => Section::below(reader, prefix, value, &usual),
            None => Section::empty(prefix),
        };
        let sections = outer.table.into_iter().map(|(name, value)| {
            // A key of such a table that was written above it is no name.
            let is_key =
                REPEATED.contains(&(&*name.name, &*usual)) || (key == "namespaces" && !name.name.starts_with('/'));
            let header = match key {
                _ if is_key => usual.clone(),
                "namespaces" => format!("[{key}.{:?}]", name.name),
                _ => format!("[{key}.{}]", name.name),
            };
            let section = Section::below(reader, format!("{}{}.", outer.prefix, name.name), value, &header);
            (name.name.into_owned(), name.span, section)
        });
        sections.collect()
    }

    /// The string `key`, or `None` if it is missing or empty.
    pub fn optional(&mut self, reader: &mut Reader<'t, '_>, key: &'static str) -> Option<String> {
        let mut value = String::new();
        self.string(reader, key, &mut value);
        Some(value).filter(|value| !value.is_empty())
    }

    /// Sets `into` to the string `key`, if it is present. The methods below do this for other types.
    pub fn string(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut String) {
        let Some(value) = self.take(key) else { return };
        match value.as_str() {
            Some(text) => *into = text.into(),
            None => reader.wrong_type(&value, &self.key(key), "a string in quotes"),
        }
    }

    /// A path or a list of paths.
    pub fn paths(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut Vec<String>) {
        if self.table.get(key).is_some_and(|value| value.as_array().is_none()) {
            let mut path = into[0].clone();
            self.path(reader, key, &mut path);
            *into = vec![path];
            return;
        }
        if let Some(list) = self.list(reader, key, "paths", |path| match is_path(path) {
            true => Ok(path.to_owned()),
            false => Err(ValueError::Path(path.into())),
        }) {
            *into = list;
        }
    }

    /// The place of the value of `key`.
    pub fn span(&self, key: &str) -> Option<Span> {
        self.table.get(key).map(|value| value.span)
    }

    /// The string `key`, which is not looked up by that.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key).and_then(|value| value.as_str())
    }

    /// The content of the file that the string `key` names, if it is not empty. Returns whether it was read.
    pub fn content(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut String) -> bool {
        let span = self.table.get(key).map(|value| value.span);
        let mut name = String::new();
        self.string(reader, key, &mut name);
        let Some(span) = span.filter(|_| !name.is_empty()) else { return false };
        match (reader.read)(Path::new(&name)) {
            Ok(content) => {
                *into = content;
                true
            }
            Err(error) => {
                reader.problem(span, format!("{}: cannot read {name:?}: {error}", self.key(key)));
                false
            }
        }
    }

    /// A path of a URL.
    pub fn path(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut String) {
        let Some(value) = self.take(key) else { return };
        match value.as_str() {
            Some(path) if is_path(path) => *into = path.into(),
            _ => reader.wrong_value(&value, &self.key(key), A_PATH),
        }
    }

    /// A Boolean.
    pub fn boolean(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut bool) {
        let Some(value) = self.take(key) else { return };
        match value.as_bool() {
            Some(flag) => *into = flag,
            None => reader.wrong_value(&value, &self.key(key), "true or false"),
        }
    }

    /// A whole number within `range`.
    pub fn whole(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut u64,
        range: RangeInclusive<u64>,
        unit: &str,
    ) {
        self.number(reader, key, into, range, unit, "");
    }

    /// A whole number within `range`, or 0 for no limit.
    pub fn bound(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut u64,
        range: RangeInclusive<u64>,
        unit: &str,
    ) {
        self.number(reader, key, into, range, unit, ", or 0 for no limit");
    }

    /// A limit that is not a duration.
    pub fn limit(&mut self, reader: &mut Reader<'t, '_>, limit: &limits::Limit, into: &mut u64) {
        let range = limit.range.0..=limit.range.1;
        match limit.zero {
            Some(zero) => self.number(reader, limit.key, into, range, limit.unit, &format!(", or 0 for {zero}")),
            None => self.whole(reader, limit.key, into, range, limit.unit),
        }
    }

    fn number(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut u64,
        range: RangeInclusive<u64>,
        unit: &str,
        or_zero: &str,
    ) {
        let Some(value) = self.take(key) else { return };
        match value.as_integer().and_then(|number| u64::try_from(number).ok()) {
            Some(number) if range.contains(&number) || (!or_zero.is_empty() && number == 0) => *into = number,
            _ => {
                let expected = format!("a whole number of {unit} from {} to {}{or_zero}", range.start(), range.end());
                reader.wrong_value(&value, &self.key(key), &expected);
            }
        }
    }

    /// A number of seconds within `range`; fractions are allowed.
    pub fn seconds(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut Duration,
        range: RangeInclusive<f64>,
    ) {
        let Some(value) = self.take(key) else { return };
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        match number {
            Some(number) if range.contains(&number) => *into = Duration::from_secs_f64(number),
            _ => {
                let expected = format!("a number of seconds from {} to {}", range.start(), range.end());
                reader.wrong_value(&value, &self.key(key), &expected);
            }
        }
    }

    /// One of the names in `choices`.
    pub fn choice<T: Copy>(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let value = self.take(key)?;
        let found = value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            reader.wrong_value(&value, &self.key(key), &format!("one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }

    /// The elements of the list `key`; `what` names them in messages.
    pub fn array(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, what: &str) -> Vec<Value<'t>> {
        let Some(mut value) = self.take(key) else { return Vec::new() };
        if value.as_array().is_none() {
            reader.wrong_value(&value, &self.key(key), &format!("a list of {what}"));
        }
        match value.take() {
            ValueInner::Array(array) if array.len() > MAX_LIST => {
                let (key, count) = (self.key(key), array.len());
                reader.problem(value.span, format!("{key} has {count} elements: at most {MAX_LIST} are possible"));
                Vec::new()
            }
            ValueInner::Array(array) => array,
            _ => Vec::new(),
        }
    }

    /// A list of strings, each parsed by `parse`. `None` if the key is missing.
    pub fn list<T>(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        what: &str,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<Vec<T>> {
        if !self.table.contains_key(key) {
            self.looked_up.push(key);
            return None;
        }
        let mut list = Vec::new();
        for value in self.array(reader, key, &format!("{what} in quotes")) {
            match value.as_str().map(&parse) {
                Some(Ok(item)) => list.push(item),
                Some(Err(error)) => reader.problem(value.span, format!("{}: {error}", self.key(key))),
                None => reader.wrong_value(&value, &self.key(key), &format!("a list of {what} in quotes")),
            }
        }
        Some(list)
    }

    /// The secret `key`, or the content of the file that `file` names, and its place. An empty `key` counts as missing, except for
    /// `sign_key`, which is required.
    pub fn secret(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        file: &'static str,
    ) -> Option<(Secret, Span)> {
        let [inline, path] = [key, file].map(|name| self.table.get(name).map(|value| value.span));
        let is_text = self.table.get(key).is_none_or(|value| value.as_str().is_some());
        let (mut secret, mut name) = (String::new(), String::new());
        self.string(reader, key, &mut secret);
        self.string(reader, file, &mut name);
        match (inline, path) {
            (Some(span), Some(_)) => {
                reader.problem(span, format!("{} and {file} are both set: keep one of them", self.key(key)));
                Some((Secret(String::from("unknown")), span))
            }
            // Another type is reported already.
            (Some(span), None) if !is_text => Some((Secret(String::from("unknown")), span)),
            (Some(_), None) if secret.is_empty() && key != "sign_key" => None,
            (Some(span), None) => {
                reader.has_secrets = true;
                Some((Secret(secret), span))
            }
            (None, Some(span)) => {
                let content = match name.as_str() {
                    "" => Err(FileError::NoName),
                    name => (reader.read)(Path::new(name)).map_err(FileError::Read),
                };
                let error = match content.map(|content| text_without_bom(&content).trim_end().to_owned()) {
                    Ok(content) if !content.is_empty() => return Some((Secret(content), span)),
                    Ok(_) => FileError::Empty,
                    Err(error) => error,
                };
                reader.problem(span, format!("{}: cannot use {name:?}: {error}", self.key(file)));
                Some((Secret(String::from("unknown")), span))
            }
            (None, None) => None,
        }
    }

    /// Keeps every key that was not looked up, to be reported as unknown.
    pub fn finish(mut self, reader: &mut Reader<'t, '_>) {
        for (key, _) in core::mem::take(&mut self.table) {
            let (prefix, key, siblings) =
                (self.prefix.clone(), (key.name.into_owned(), key.span), self.looked_up.clone());
            reader.unknown.push(Unknown { span: key.1, prefix, key: key.0, siblings });
        }
        reader.known.extend(self.looked_up.iter().map(|key| self.key(key)));
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(['?', '#', ' '])
}
