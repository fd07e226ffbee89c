//! A writer of JSON objects, field by field.

use core::fmt::{Display, Write as _};
use std::io::Write as _;

use super::text::write_string;
use crate::text::truncate;

/// Appends fields to a JSON object whose opening brace is written. The caller writes the closing one. Names are not
/// escaped.
pub struct ObjectWriter<'a>(&'a mut Vec<u8>);

impl<'a> ObjectWriter<'a> {
    /// A writer that continues an object at the end of `out`: after its opening brace, or after other fields.
    pub fn within(out: &'a mut Vec<u8>) -> ObjectWriter<'a> {
        ObjectWriter(out)
    }

    /// Appends a string.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_string(self.0, text);
    }

    /// Appends a string, unless it is empty.
    pub fn nonempty(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// Appends an untrusted string, truncated to 512 bytes, unless it is empty.
    pub fn truncated(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, truncate(text, MAX_TRUNCATED_LEN));
        }
    }

    /// Appends a value as `Display` shows it: as a number if that is fewer than 16 digits, otherwise as a string.
    pub fn display(&mut self, name: &'static str, value: impl Display) {
        let mut text = String::new();
        write!(text, "{value}").expect("writing to memory succeeds");
        if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() < 16 {
            self.name(name);
            self.0.extend_from_slice(text.as_bytes());
        } else {
            self.text(name, &text);
        }
    }

    /// Appends a value that `write` writes as JSON.
    pub fn raw(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.0);
    }

    /// Appends a field of another JSON object: `json` is its value. Line breaks in it become spaces. The field is
    /// dropped if its name is `time` or `event`, which log lines already have, or if the name or value is too long.
    pub fn copied(&mut self, name: &str, json: &str) {
        let reserved = ["time", "event"].contains(&name);
        if !reserved && name.len() <= MAX_COPIED_NAME_LEN && json.len() <= MAX_COPIED_LEN {
            self.0.push(b',');
            write_string(self.0, name);
            self.0.push(b':');
            self.0.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        }
    }

    /// Appends a value that `write` writes as JSON, with spaces in place of its line breaks. (JSON has line breaks
    /// between tokens only, never inside strings.)
    pub fn raw_in_one_line(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        let begin = self.0.len();
        write(self.0);
        self.0[begin..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }

    /// Appends a field's name, with a comma before it unless it is the first field.
    fn name(&mut self, name: &'static str) {
        let first = self.0.last() == Some(&b'{');
        let comma = if first { "" } else { "," };
        write!(self.0, "{comma}\"{name}\":").expect("writing to memory succeeds");
    }
}

/// Longest value of [`ObjectWriter::truncated`], in bytes.
const MAX_TRUNCATED_LEN: usize = 512;
/// Longest name and value of [`ObjectWriter::copied`], in bytes.
const MAX_COPIED_NAME_LEN: usize = 64;
const MAX_COPIED_LEN: usize = 4096;
