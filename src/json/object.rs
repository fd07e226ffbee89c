//! A writer of JSON objects, field by field.

use core::fmt::{Display, Write as _};
use std::io::Write as _;

use super::text::{write_string, written_prefix};

/// Appends fields to a JSON object whose opening brace is written. The caller writes the closing one. Names are not
/// escaped.
pub struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    /// The most bytes of a string, as written between its quotation marks.
    max_text: usize,
}

impl<'a> ObjectWriter<'a> {
    /// A writer that continues an object at the end of `out`: after its opening brace, or after other fields.
    pub fn within(out: &'a mut Vec<u8>) -> ObjectWriter<'a> {
        ObjectWriter { out, max_text: usize::MAX }
    }

    /// Cuts strings that follow to `max` bytes, as written between the quotation marks. A string that was cut ends with
    /// `…`, which does not count.
    pub fn cut_texts(&mut self, max: usize) {
        self.max_text = max;
    }

    /// Appends a string.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        let prefix = if self.max_text == usize::MAX { text } else { written_prefix(text, self.max_text) };
        write_string(self.out, prefix);
        if prefix.len() < text.len() {
            self.out.pop();
            self.out.extend_from_slice("…\"".as_bytes());
        }
    }

    /// Appends a string, unless it is empty.
    pub fn nonempty(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// Appends a value as `Display` shows it: as a number if that is fewer than 16 digits, otherwise as a string.
    pub fn display(&mut self, name: &'static str, value: impl Display) {
        let mut text = String::new();
        write!(text, "{value}").expect("writing to memory succeeds");
        if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() < 16 {
            self.name(name);
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.text(name, &text);
        }
    }

    /// Appends a value that `write` writes as JSON.
    pub fn raw(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.out);
    }

    /// Appends a field of another JSON object: `json` is its value. Line breaks in it become spaces. The field is
    /// dropped if its name is `time` or `event`, which log lines already have, or if the name or value is too long.
    pub fn copied(&mut self, name: &str, json: &str) {
        let reserved = ["time", "event"].contains(&name);
        if !reserved && name.len() <= MAX_COPIED_NAME_LEN && json.len() <= MAX_COPIED_LEN {
            self.out.push(b',');
            write_string(self.out, name);
            self.out.push(b':');
            self.out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        }
    }

    /// Appends a value that `write` writes as JSON, with spaces in place of its line breaks. (JSON has line breaks
    /// between tokens only, never inside strings.)
    pub fn raw_in_one_line(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        let begin = self.out.len();
        write(self.out);
        self.out[begin..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }

    /// Appends a field's name, with a comma before it unless it is the first field.
    fn name(&mut self, name: &'static str) {
        let first = self.out.last() == Some(&b'{');
        let comma = if first { "" } else { "," };
        write!(self.out, "{comma}\"{name}\":").expect("writing to memory succeeds");
    }
}

/// Longest name and value of [`ObjectWriter::copied`], in bytes.
const MAX_COPIED_NAME_LEN: usize = 64;
const MAX_COPIED_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_strings_are_cut_and_marked() {
        let mut out = b"{".to_vec();
        let mut line = ObjectWriter::within(&mut out);
        line.text("a", "12345");
        line.cut_texts(4);
        line.text("b", "1234");
        line.nonempty("c", "12345");
        line.text("d", "123ü");
        line.text("e", "12\"\"");
        line.nonempty("f", "");
        let expected = "{\"a\":\"12345\",\"b\":\"1234\",\"c\":\"1234…\",\"d\":\"123…\",\"e\":\"12\\\"…\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
