//! The search for the master that Sentinels know: which of them is asked, and the open question.

use std::io::{ErrorKind, Read, Write};

use crate::{
    clock::Time,
    redis::SentinelQuery,
    server::{resolver::Resolver, transport::Transport},
    text::truncate,
};

/// The search for the master.
#[derive(Default)]
pub struct Search {
    /// The index of the Sentinel to ask.
    pub next: usize,
    /// How many have not answered in this round.
    pub silent: usize,
    /// Of the name of each Sentinel.
    pub resolvers: Vec<Resolver>,
    /// The open question.
    pub question: Option<Question>,
    /// The last answer: the master, or why no Sentinel names it.
    pub answer: Option<Result<(String, u16), String>>,
}

/// A question to a Sentinel.
pub struct Question {
    /// The connection.
    pub transport: Transport,
    /// Whether it is established.
    pub connected: bool,
    /// The state of the question.
    pub query: SentinelQuery,
    /// When it is given up.
    pub until: Time,
}

impl Question {
    /// Writes the question and reads the answer, as far as the socket allows.
    pub fn drive(&mut self) -> Result<Option<(String, u16)>, String> {
        if !self.connected {
            self.connected = self.transport.socket().is_connected().map_err(|error| error.to_string())?;
        }
        let (mut buffer, mut room, mut blocked) = ([0; 4096], MOST_READS, false);
        while self.connected {
            let step = match self.query.output() {
                [] => self.transport.flush().and_then(|_| self.transport.read(&mut buffer)),
                output => {
                    self.transport.write(output).inspect(|written| self.query.advance_output(*written)).map(|_| 0)
                }
            };
            match step {
                Ok(0) if self.query.output().is_empty() && room < MOST_READS => {
                    return Err("it closed the connection".into());
                }
                Ok(length) => {
                    if let Some(found) = self.query.handle_input(&buffer[..length])? {
                        return Ok(Some(found));
                    }
                }
                // The handshake of TLS must read before the question can be written.
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.query.output().is_empty() && !blocked => {
                    blocked = true;
                    match self.transport.read(&mut buffer) {
                        Ok(0) => return Err("it closed the connection".into()),
                        Ok(_) => return Err("it answered before it was asked".into()),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
            if self.query.output().is_empty() {
                room = room.checked_sub(1).ok_or("it sends too much")?;
            }
        }
        Ok(None)
    }
}

impl Search {
    /// When the search must go on, even if no event occurs. `None`: it does not run.
    pub fn deadline(&self) -> Option<Time> {
        let resolving = self.resolvers.get(self.next).and_then(Resolver::finding_until);
        self.question.as_ref().map(|question| question.until).or(resolving)
    }

    /// Forgets the master: a connection to it has ended. The next Sentinel is asked, because one that is cut off from the
    /// others may not know the new master.
    pub fn forget(&mut self) {
        if matches!(self.answer, Some(Ok(_))) {
            self.answer = None;
            self.next += 1;
        }
    }

    /// Reports that one of `count` Sentinels, `shown`, does not name the master. After the last one the search fails.
    pub fn fail(&mut self, count: usize, shown: &str, why: &str) {
        (self.question, self.next, self.silent) = (None, self.next + 1, self.silent + 1);
        if self.silent >= count {
            self.silent = 0;
            let why = truncate(why, LONGEST_WHY);
            self.answer = Some(Err(format!("no Sentinel names the master; {shown}: {why}")));
        }
    }
}

/// The most reads of an answer, which fits into one.
const MOST_READS: usize = 16;
/// The most bytes of a reason, so that all of it fits into the state of the link.
const LONGEST_WHY: usize = 130;
