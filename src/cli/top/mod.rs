//! `relay top`: shows the numbers of a relay in the terminal, again and again.

pub mod command;
mod sample;
mod screen;

use core::time::Duration;
use std::{
    io::{self, IsTerminal},
    thread,
    time::Instant,
};

use lexopt::Parser;

use self::{command::TOP, sample::Sample, screen::Interval};
use super::{
    arguments::Stop,
    client::{METRICS, Request},
    credentials::Account,
    endpoint::{Endpoint, Sends},
    error::{Error, UsageError},
    options::Options,
    refusal::reason,
    terminal::{say, size},
};

/// What to show, and how often.
#[derive(Debug)]
pub struct Top {
    account: Account,
    interval: Duration,
    is_once: bool,
}

impl Top {
    /// Parses what follows `top`.
    pub fn parse(parser: &mut Parser) -> Result<Top, Stop> {
        let mut options = Options::parse(parser, &TOP)?;
        let given = options.take("interval");
        let seconds = given.as_deref().map_or(Some(DEFAULT_INTERVAL), |text| text.parse().ok());
        let wrong = || UsageError::Interval(given.clone().unwrap_or_default());
        let seconds = seconds.filter(|seconds| (1..=MAX_INTERVAL).contains(seconds)).ok_or_else(wrong)?;
        let is_once = options.has("once");
        options.no_more_words()?;
        Ok(Top { account: Account::new(&mut options)?, interval: Duration::from_secs(seconds), is_once })
    }

    /// Shows pictures until it is ended, or one.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let token = self.account.admin_token()?;
        let mut before = (ask(&endpoint, &token)?, Instant::now());
        let is_terminal = io::stdout().is_terminal() && !self.is_once;
        loop {
            thread::sleep(self.interval);
            let (width, height) = if is_terminal { size().unwrap_or(USUAL_SIZE) } else { (usize::MAX, usize::MAX) };
            let lines = match ask(&endpoint, &token) {
                Ok(now) => {
                    let seconds = before.1.elapsed().as_secs_f64();
                    let interval = Interval { before: &before.0, now: &now, seconds };
                    let lines = interval.picture(&endpoint.to_string(), width, height.saturating_sub(1));
                    before = (now, Instant::now());
                    lines
                }
                Err(error) if self.is_once => return Err(error),
                Err(error) => vec![error.to_string().chars().take(width).collect()],
            };
            say(&shown(&lines, is_terminal));
            if self.is_once {
                return Ok(());
            }
        }
    }
}

/// In a terminal, a picture takes the place of the one before: each line is cleared to its end, and so is what is below.
fn shown(lines: &[String], is_terminal: bool) -> String {
    match is_terminal {
        true => format!("\x1b[H{}\x1b[J", lines.iter().map(|line| format!("{line}\x1b[K\n")).collect::<String>()),
        false => lines.join("\n") + "\n",
    }
}

fn ask(endpoint: &Endpoint, token: &str) -> Result<Sample, Error> {
    let answer = endpoint.ask(Request::get("/metrics").bearer(token), METRICS)?;
    match answer.status {
        200 => Ok(Sample::parse(&answer.text())),
        status => {
            let why = reason(&answer.json()).unwrap_or_else(|| "this is not an answer of relay".into());
            Err(Error::Status(status, why))
        }
    }
}

const DEFAULT_INTERVAL: u64 = 2;
const MAX_INTERVAL: u64 = 3600;
/// Columns and lines of a terminal that does not say how large it is.
const USUAL_SIZE: (usize, usize) = (80, 24);
