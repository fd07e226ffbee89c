//! The line that says how far a run is, for who watches it.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// A line on standard error, redrawn a few times a second; nothing if that is no terminal.
#[derive(Debug)]
pub struct Progress {
    watched: bool,
    last: Option<Instant>,
}

impl Progress {
    /// A line that is not there yet.
    pub fn new() -> Progress {
        Progress { watched: io::stderr().is_terminal(), last: None }
    }

    /// Shows what `text` says, if it is time to.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let due = self.last.is_none_or(|last| last.elapsed() > INTERVAL);
        if self.watched && due {
            self.last = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{}", text());
        }
    }

    /// Takes the line away.
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
