//! A backend's connection: requests go out without waiting, and the answers come back in their order.

use std::collections::VecDeque;

use mio::{Registry, Token};

use super::{
    answers,
    link::{Link, Stream},
    member::shown,
};

/// A keep-alive connection.
#[derive(Debug)]
pub struct Publisher {
    link: Link,
    asked: VecDeque<Asked>,
}

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The notification of that message.
    Notification(usize),
    /// A packet of a session that polls.
    Packet,
    /// Nothing.
    Nothing,
}

impl Publisher {
    /// Begins to connect.
    pub fn new(stream: Stream, registry: &Registry, token: Token) -> Result<Publisher, String> {
        let link = Link::new(stream, registry, token).map_err(|error| error.to_string())?;
        Ok(Publisher { link, asked: VecDeque::new() })
    }

    /// Queues a request; [`Publisher::flush`] sends it.
    pub fn push(&mut self, request: &[u8], asked: Asked) {
        self.link.push(request);
        self.asked.push_back(asked);
    }

    /// How many answers have not come.
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// How many bytes the relay has not taken.
    pub fn backlog(&self) -> usize {
        self.link.backlog()
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> Result<(), String> {
        self.link.flush()
    }

    /// Reads answers; each is handed on with what it is to, and why it is a refusal if it is one. Whether there may be more.
    pub fn handle_readable(
        &mut self,
        buffer: &mut [u8],
        hear: &mut dyn FnMut(Asked, Option<String>),
    ) -> Result<bool, String> {
        let asked = &mut self.asked;
        self.link.read(buffer, &mut |bytes| {
            answers::take(bytes, &mut |status, body| {
                let to = asked.pop_front().unwrap_or(Asked::Nothing);
                let accepted = match to {
                    // Whoever has been silent for long is told that it took too long, and closed.
                    Asked::Nothing if status == REQUEST_TIMEOUT => return Ok(()),
                    Asked::Nothing => false,
                    Asked::Notification(_) => body.starts_with(b"{\"code\":1,"),
                    Asked::Packet => body == b"ok",
                };
                let refused = (status != 200 || !accepted).then(|| format!("{status} {}", shown(body)));
                hear(to, refused);
                Ok(())
            })
        })
    }
}

const REQUEST_TIMEOUT: u16 = 408;
