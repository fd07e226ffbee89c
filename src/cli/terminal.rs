//! Standard output and standard error of the commands. Unlike `println!` and `eprintln!`, nothing here panics when the
//! reader has gone or the disk is full.

use core::fmt::Display;
use std::io::{self, Write};

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

/// `text` on one line: control characters except tabs are escaped, so that a message cannot control the terminal.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
