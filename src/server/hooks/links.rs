//! The connections to the backend.

use core::time::Duration;
use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::Arc,
};

use mio::Waker;

use crate::{
    clock::Time,
    config::{Backend, Hooks, Place},
    hooks::{AttemptError, Call},
    http::response::{Malformed, Reader, Response},
    server::{conn::Socket, resolver::Resolver},
    sign::hmac_hex,
};

/// The address of the backend, and the connections to it.
#[derive(Default)]
pub struct Links {
    /// The address; `None` if hooks are off.
    pub address: Option<Backend>,
    secret: Option<Vec<u8>>,
    timeout: Duration,
    /// The connections, by the index in their tokens.
    pub links: Vec<Option<Link>>,
    /// Resolves the name in the address.
    pub resolver: Resolver,
}

/// A connection, which carries one call at a time.
pub struct Link {
    /// Its socket.
    pub socket: Socket,
    /// The address it leads to, if it was resolved.
    pub address: Option<SocketAddr>,
    /// The call in flight.
    pub call: Option<u64>,
    /// The request.
    pub output: Vec<u8>,
    /// How many bytes of it were written.
    pub written: usize,
    /// The response so far.
    pub reader: Reader,
    /// Whether it has carried a call before.
    pub reused: bool,
    /// Whether its address is no longer configured: it still delivers a response, but carries no further call.
    pub old: bool,
    /// Whether it is established.
    pub connected: bool,
    /// When it is closed if it stays idle. That must be earlier than the backend's own idle timeout: otherwise the
    /// backend could close it just when the next call is sent.
    pub idle_until: Time,
}

impl Links {
    /// Applies new settings. Answers to calls in flight are still read.
    pub fn configure(&mut self, hooks: &Hooks) {
        self.timeout = hooks.timeout;
        self.secret = hooks.secret.as_ref().map(|secret| secret.expose().as_bytes().to_vec());
        if self.address != hooks.url {
            self.address.clone_from(&hooks.url);
            self.resolver = Resolver::default();
            self.links.iter_mut().flatten().for_each(|link| link.old = true);
            self.drop_links(|link| link.call.is_none());
        }
    }

    /// Closes the connections for which `condition` holds.
    pub fn drop_links(&mut self, condition: impl Fn(&Link) -> bool) {
        for link in self.links.iter_mut().filter(|link| link.as_ref().is_some_and(&condition)) {
            *link = None;
        }
    }

    /// A connection that carries no call.
    pub fn idle_link(&self) -> Option<usize> {
        self.links.iter().position(|link| link.as_ref().is_some_and(|link| link.call.is_none()))
    }

    /// When an idle connection is to be closed.
    pub fn idle_deadline(&self) -> Time {
        let idle = self.links.iter().flatten().filter(|link| link.call.is_none()).map(|link| link.idle_until);
        idle.min().unwrap_or(Time::NEVER)
    }

    /// A call as an HTTP request.
    pub fn request(&self, call: &Call, unix: u64) -> Vec<u8> {
        let Some(address) = &self.address else { return Vec::new() };
        let signature = self.secret.as_ref().map_or_else(String::new, |secret| {
            format!("X-Relay-Signature: sha256={}\r\n", hmac_hex(secret, call.body.as_bytes()))
        });
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             User-Agent: relay/{}\r\nIdempotency-Key: {}\r\nX-Relay-Timestamp: {unix}\r\n{signature}\r\n",
            address.target,
            address.host(),
            call.body.len(),
            env!("CARGO_PKG_VERSION"),
            call.id
        );
        [head.as_bytes(), call.body.as_bytes()].concat()
    }

    /// The address to connect to; `None` while the name is being resolved.
    pub fn resolve(
        &mut self,
        now: Time,
        waker: &mut dyn FnMut() -> io::Result<Arc<Waker>>,
    ) -> Option<io::Result<SocketAddr>> {
        let Some(Place::Tcp(host, port)) = self.address.as_ref().map(|address| &address.place) else {
            return Some(Err(io::Error::other("hooks.url was removed")));
        };
        self.resolver.find(host, *port, self.timeout, now, waker)
    }

    /// Whether the backend listens on a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.address, Some(Backend { place: Place::Unix(_), .. }))
    }
}

impl Link {
    /// Writes the rest of the call and reads input. Returns the response once it is complete.
    pub fn drive(&mut self) -> Result<Option<Response>, AttemptError> {
        if !self.connected {
            match self.socket.is_connected() {
                Ok(true) => self.connected = true,
                Ok(false) => return Ok(None),
                Err(error) => return Err(AttemptError::NoConnection(error.to_string())),
            }
        }
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(0) => return Err(self.broken("the socket accepts no bytes")),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) if self.call.is_none() => return Err(AttemptError::Stale),
                Ok(0) if !self.reader.has_begun() => return Err(self.broken(NO_RESPONSE)),
                Ok(0) => return self.reader.handle_end().map(Some).map_err(AttemptError::NotHttp),
                // Bytes without a call to answer.
                Ok(_) if self.call.is_none() => return Err(AttemptError::Stale),
                Ok(length) => match self.reader.handle_input(&buffer[..length], MAX_RESPONSE) {
                    Ok(Some(response)) => {
                        // The backend answered before it read the whole request, so the rest is never written.
                        let reusable = response.reusable && self.written == self.output.len();
                        self.output = Vec::new();
                        self.written = 0;
                        return Ok(Some(Response { reusable, ..response }));
                    }
                    Ok(None) => {}
                    Err(malformed) => return Err(AttemptError::NotHttp(malformed)),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    /// The error to report when the connection ended before a complete response.
    fn broken(&self, why: &str) -> AttemptError {
        match (self.reader.has_begun(), self.reused, self.written) {
            (false, true, _) => AttemptError::Stale,
            (false, false, 0) => AttemptError::NoConnection(why.to_owned()),
            _ => AttemptError::NotHttp(Malformed::Missing),
        }
    }
}

/// The size limit of a response, in bytes.
const MAX_RESPONSE: u64 = 1_000_000;
const NO_RESPONSE: &str = "the connection ended without a response";
