//! Standard output and standard error of the commands. Unlike `println!` and `eprintln!`, nothing here panics when the
//! reader has gone or the disk is full.

use core::fmt::Display;
use std::{
    io::{self, Write},
    process,
};

/// Writes to standard output. A write error is ignored: the reader may have gone (`relay --help | head -1`).
pub fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, after the name of the program.
pub fn complain(problem: &dyn Display) {
    // One write, so that the line stays whole if other processes share standard error.
    let _ = io::stderr().write_all(format!("relay: {problem}\n").as_bytes());
}

/// The columns and lines of the terminal that is standard output. `None` if it is none, or does not say.
pub fn size() -> Option<(usize, usize)> {
    // SAFETY: all fields are numbers.
    #[allow(unsafe_code)]
    let mut size: libc::winsize = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one structure to the pointer, or nothing.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (result == 0 && width > 0 && height > 0).then_some((width, height))
}

/// Writes a line to standard output. Ends the process if the reader has gone (`relay listen room | head -1`): a normal end.
pub fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        process::exit(0);
    }
}

/// `text` on one line: control characters except tabs are escaped, so that a message cannot control the terminal, and so are
/// those that change the order of what follows them.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_harmful(c) && c != '\t' {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// A JSON text on one line, which stays JSON: harmful characters are escaped as JSON has it.
pub fn visible_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Only between values.
            '\t' | '\n' | '\r' => {}
            c if is_harmful(c) => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// Whether a terminal would not show a character but act on it: control characters, and embeddings, overrides and isolates of
/// the writing direction (UAX #9), which can make a line look like another one.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmful_characters() {
        assert_eq!(
            visible("a\tb\n\u{1b}[31m\u{202e}x\u{9b}三\u{200f}"),
            "a\tb\\n\\u{1b}[31m\\u{202e}x\\u{9b}三\u{200f}"
        );
        let json = visible_json("{\"a\" :\n\t\"\u{202e}\u{7f}\u{9b}三\"}");
        assert_eq!(json, "{\"a\" :\"\\u202e\\u007f\\u009b三\"}");
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["a"], "\u{202e}\u{7f}\u{9b}三");
    }
}
