//! The progress line on the terminal.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// A line on standard error, redrawn four times a second. Prints nothing if standard error is not a terminal.
#[derive(Debug)]
pub struct Progress {
    enabled: bool,
    last: Option<Instant>,
}

impl Progress {
    /// A progress line that is not shown yet.
    pub fn new() -> Progress {
        Progress { enabled: io::stderr().is_terminal(), last: None }
    }

    /// Redraws the line with `text` if the last redraw was long enough ago.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let due = self.last.is_none_or(|last| last.elapsed() > INTERVAL);
        if self.enabled && due {
            self.last = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{}", text());
        }
    }

    /// Erases the line.
    pub fn clear(&mut self) {
        if self.last.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

const INTERVAL: Duration = Duration::from_millis(250);
