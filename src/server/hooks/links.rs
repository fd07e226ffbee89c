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
    server::{resolver::Resolver, transport::Transport},
    sign::hmac_hex,
    tls::ClientTls,
};

/// The address of the backend, and the connections to it.
#[derive(Default)]
pub struct Links {
    /// The address; `None` if hooks are off.
    pub address: Option<Backend>,
    tls: Option<ClientTls>,
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
    pub socket: Transport,
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
    /// Whether its address or its TLS is no longer configured: it still delivers a response, but carries no further call.
    pub old: bool,
    /// Whether it is established, with TLS if the URL asks for it.
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
        let is_same_tls = self.tls == hooks.tls;
        // Also if they are equal: the system's authorities may have changed.
        self.tls.clone_from(&hooks.tls);
        if self.address != hooks.url || !is_same_tls {
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

    /// The settings of TLS and the name that the backend's certificate must have.
    pub fn tls(&self) -> Option<(&ClientTls, &str)> {
        match self.address.as_ref().map(|address| &address.place) {
            Some(Place::Tcp(host, _)) => self.tls.as_ref().map(|tls| (tls, host.as_str())),
            _ => None,
        }
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
            self.connected = self.connect().map_err(AttemptError::NoConnection)?;
            if !self.connected {
                return Ok(None);
            }
        }
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(0) => return Err(self.broken("the socket accepts no bytes")),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) if self.call.is_none() => return Err(AttemptError::Stale),
                Ok(0) if !self.reader.has_begun() => return Err(self.broken(NO_RESPONSE)),
                // The end of the connection must not end a response if anyone could have ended it.
                Ok(0) if self.socket.is_truncated() => return Err(AttemptError::NotHttp(Malformed::Incomplete)),
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
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Continues to connect: the socket, then TLS. Returns whether it is established, or why it cannot be.
    fn connect(&mut self) -> Result<bool, String> {
        let is_tls = self.is_tls();
        let explain = |error: io::Error| match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe if is_tls => format!("{error}: {CERTIFICATE}"),
            _ => error.to_string(),
        };
        Ok(self.socket.socket().is_connected().map_err(explain)? && self.socket.handshake().map_err(explain)?)
    }

    /// The error to report when there is no response in time.
    pub fn late(&mut self) -> AttemptError {
        match self.connected {
            true => AttemptError::Timeout,
            false if matches!(self.socket.socket().is_connected(), Ok(true)) => {
                AttemptError::NoConnection("no TLS handshake in time: does the backend speak TLS at this port?".into())
            }
            false => AttemptError::NoConnection("no connection in time".into()),
        }
    }

    /// The error to report when the socket or TLS failed.
    fn failed(&self, error: &io::Error) -> AttemptError {
        match error.kind() {
            // With TLS 1.3 the backend checks the certificate of relay after the first bytes were sent, and reads none of
            // them.
            ErrorKind::PermissionDenied if self.is_tls() => AttemptError::NoConnection(error.to_string()),
            ErrorKind::InvalidData if self.is_tls() && !self.reused => AttemptError::Tls(error.to_string()),
            _ => self.broken(&error.to_string()),
        }
    }

    fn is_tls(&self) -> bool {
        matches!(self.socket, Transport::Tls(_))
    }

    /// The error to report when the connection ended before a complete response.
    fn broken(&self, why: &str) -> AttemptError {
        match (self.reader.has_begun(), self.reused, self.written) {
            (false, true, _) => AttemptError::Stale,
            (false, false, 0) if self.is_tls() => AttemptError::NoConnection(format!("{why}: {CERTIFICATE}")),
            (false, false, 0) => AttemptError::NoConnection(why.to_owned()),
            (false, false, _) if self.is_tls() => AttemptError::Tls(format!("{why}: {CERTIFICATE}")),
            _ => AttemptError::NotHttp(Malformed::Missing),
        }
    }
}

/// The size limit of a response, in bytes.
const MAX_RESPONSE: u64 = 1_000_000;
/// A backend that does not accept the certificate of relay may close the connection before relay can read why.
const CERTIFICATE: &str = "does the backend ask for a client certificate (cert_file)?";
const NO_RESPONSE: &str = "the connection ended without a response";
