//! A backend's connection: requests are pipelined, and the responses arrive in the same order.

use std::collections::VecDeque;

use mio::{Registry, Token};

use crate::{
    connection::{Connection, Stream},
    error::ConnectionError,
    member::printable,
    responses,
};

/// A backend on a keep-alive connection.
#[derive(Debug)]
pub struct Publisher {
    connection: Connection,
    /// Requests without a response, oldest first.
    pending: VecDeque<Request>,
}

/// The request that a response belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The notification of this message.
    Notification(usize),
    /// A POST of packets for a polling session.
    Packet,
    /// None: the server sent a response without a request.
    None,
}

impl Publisher {
    /// Starts to connect.
    pub fn new(stream: Stream, registry: &Registry, token: Token) -> Result<Publisher, ConnectionError> {
        Ok(Publisher { connection: Connection::new(stream, registry, token)?, pending: VecDeque::new() })
    }

    /// Queues a request; [`Publisher::flush`] sends it.
    pub fn push(&mut self, bytes: &[u8], request: Request) {
        self.connection.push(bytes);
        self.pending.push_back(request);
    }

    /// The number of requests without a response.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// The number of bytes that the server has not accepted yet.
    pub fn backlog(&self) -> usize {
        self.connection.backlog()
    }

    /// Writes what the socket accepts.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        self.connection.flush()
    }

    /// Reads responses and calls `handle` with the request of each and, if the server refused it, the response. Returns `true`
    /// if there may be more to read.
    pub fn handle_readable(
        &mut self,
        buffer: &mut [u8],
        handle: &mut dyn FnMut(Request, Option<String>),
    ) -> Result<bool, ConnectionError> {
        let pending = &mut self.pending;
        self.connection.read(buffer, &mut |bytes| {
            responses::parse(bytes, &mut |status, body| {
                let request = pending.pop_front().unwrap_or(Request::None);
                let accepted = match request {
                    // relay answers a connection that was silent for too long with 408 before it closes it.
                    Request::None if status == REQUEST_TIMEOUT => return Ok(()),
                    Request::None => false,
                    Request::Notification(_) => body.starts_with(b"{\"code\":1,"),
                    Request::Packet => body == b"ok",
                };
                let refusal = (status != 200 || !accepted).then(|| format!("{status} {}", printable(body)));
                handle(request, refusal);
                Ok(())
            })
        })
    }
}

const REQUEST_TIMEOUT: u16 = 408;
