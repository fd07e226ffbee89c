//! Writes the fields of a JSON object one after the other.

use core::fmt::{Display, Write as _};
use std::io::Write as _;

use super::text::write_string;
use crate::text::truncate;

/// A JSON object that is being written, field by field, behind its opening brace.
pub struct ObjectWriter<'a>(&'a mut Vec<u8>);

impl<'a> ObjectWriter<'a> {
    /// Fields of an object whose brace is open already.
    pub fn within(out: &'a mut Vec<u8>) -> ObjectWriter<'a> {
        ObjectWriter(out)
    }

    /// A string.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_string(self.0, text);
    }

    /// A string, unless there is nothing to say.
    pub fn some(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// What a stranger said: the beginning of it, unless it is nothing.
    pub fn cut(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, truncate(text, LONGEST_FIELD));
        }
    }

    /// A string with what something looks like; a number stays one.
    pub fn shown(&mut self, name: &'static str, value: impl Display) {
        let mut text = String::new();
        write!(text, "{value}").expect("writing to memory succeeds");
        if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() < 16 {
            self.name(name);
            self.0.extend_from_slice(text.as_bytes());
        } else {
            self.text(name, &text);
        }
    }

    /// A value that is appended as JSON.
    pub fn raw(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.0);
    }

    /// A field of somebody else's object: its name and its value, if they are short.
    pub fn foreign(&mut self, name: &str, json: &str) {
        let own = ["time", "event"].contains(&name);
        if !own && name.len() <= LONGEST_NAME && json.len() <= LONGEST_FOREIGN {
            self.0.push(b',');
            write_string(self.0, name);
            self.0.push(b':');
            self.0.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        }
    }

    /// A value that `write` appends as JSON and that may be spread over several lines: its line breaks become spaces. (JSON
    /// has line breaks between values only, never inside strings.)
    pub fn raw_in_one_line(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        let begin = self.0.len();
        write(self.0);
        self.0[begin..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }

    fn name(&mut self, name: &'static str) {
        let first = self.0.last() == Some(&b'{');
        let comma = if first { "" } else { "," };
        write!(self.0, "{comma}\"{name}\":").expect("writing to memory succeeds");
    }
}

/// Bytes that [`ObjectWriter::cut`] keeps of a value from outside.
const LONGEST_FIELD: usize = 512;
/// Bytes of a name and of a value that [`ObjectWriter::foreign`] takes.
const LONGEST_NAME: usize = 64;
const LONGEST_FOREIGN: usize = 4096;
