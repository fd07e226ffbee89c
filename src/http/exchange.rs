//! The requests and replies of one server connection: keep-alive, pipelining, bodies and deadlines (RFC 9112 section 9).
//!
//! The owner of the connection reads bytes and calls [`Exchange::poll_request`] until it returns `None`. It answers each
//! request with [`Exchange::reply`], or [parks](Exchange::park) it, before it polls the next one. A request that arrives in
//! one read is not copied; only incomplete ones are buffered. Replies are collected in one buffer and written once a turn.
//!
//! Long because requests, replies and deadlines of a connection depend on one another.

mod refused;

use core::{net::IpAddr, time::Duration};
use std::io::{self, ErrorKind, Write};

use super::{
    chunked::Chunked,
    error::Error,
    framer::{Found, Framer},
    parked::{Awaited, Parked},
    partial, proxy,
    reply::{Connection, Reply},
    request::{Framing, Head, Request},
    timeout::Timeout,
};
use crate::{
    clock::{Now, Time},
    key::OriginKey,
    limits::Limits,
    memory::Charge,
    outbox::Flushed,
};

/// The state of one HTTP connection.
#[derive(Debug)]
pub struct Exchange {
    /// The address of the client; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// Its entry in the table of addresses, if it is counted there.
    pub origin: Option<OriginKey>,
    /// Whether the connection must begin with a header of the PROXY protocol, which has not arrived.
    pub awaits_proxy: bool,
    /// Whether a proxy has sent the header of the PROXY protocol.
    pub is_proxied: bool,
    /// Whether its address is only for metrics and health checks.
    pub metrics_only: bool,
    /// The error that answers the first request, if the connection is over a limit.
    refusal: Option<Error>,
    /// Buffered input, from `start` on: an incomplete request, or requests that wait.
    input: Vec<u8>,
    start: usize,
    framer: Framer,
    output: Vec<u8>,
    written: usize,
    phase: Phase,
    deadline: Time,
    /// When the body must be complete, even if bytes keep arriving.
    body_deadline: Time,
    /// Whether the connection stays open after the reply to the current request.
    connection: Connection,
    /// Whether the current request is HEAD.
    head_only: bool,
    /// Whether the current request is of a browser that shows a page.
    navigation: bool,
    parked: Option<Parked>,
    /// Counts `input` and the decoded chunks.
    charge: Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted: nothing has arrived.
    Fresh,
    /// Between two requests.
    Idle,
    /// Part of a head has arrived.
    Head,
    /// The head and part of the body have arrived.
    Body,
    /// The last reply is queued. Further input is discarded.
    Closing,
}

impl Exchange {
    /// A connection that was accepted at `now`.
    pub fn new(now: Now, limits: &Limits) -> Exchange {
        Exchange {
            peer: None,
            origin: None,
            awaits_proxy: false,
            metrics_only: false,
            is_proxied: false,
            refusal: None,
            input: Vec::new(),
            start: 0,
            framer: Framer::default(),
            output: Vec::new(),
            written: 0,
            phase: Phase::Fresh,
            deadline: now.time.after(limits.request_timeout()),
            body_deadline: Time::NEVER,
            connection: Connection::Ends,
            head_only: false,
            navigation: false,
            parked: None,
            charge: Charge::default(),
        }
    }

    /// Reads the header of the PROXY protocol and advances `fresh` past it, or returns `None` if its end has not arrived: then
    /// all of `fresh` is consumed. The first request may then take as long as on any other connection.
    ///
    /// After an error, answer it with [`Exchange::refuse`].
    pub fn poll_proxy(&mut self, fresh: &mut &[u8], limits: &Limits, now: Now) -> Result<Option<proxy::Header>, Error> {
        let buffered = self.input.len();
        self.input.extend_from_slice(fresh);
        let Some(header) = proxy::parse(&self.input).map_err(|_| Error::ProxyHeader)? else {
            *fresh = &[];
            self.charge.set(self.input_memory());
            return Ok(None);
        };
        *fresh = &fresh[header.length - buffered..];
        self.input = Vec::new();
        self.charge.set(0);
        self.awaits_proxy = false;
        self.is_proxied = true;
        self.begin(limits, now);
        Ok(Some(header))
    }

    /// Begins the time of the first request: a handshake that precedes HTTP is complete.
    pub fn begin(&mut self, limits: &Limits, now: Now) {
        // A stop of relay may have ended this time already.
        if self.phase == Phase::Fresh {
            let timeout = limits.request_timeout();
            self.deadline = now.time.after(if self.refusal.is_some() { timeout.min(FIRST_REQUEST) } else { timeout });
        }
    }

    /// Returns the next complete request in the buffered input and `fresh`, and advances `fresh` past it. Call it again after
    /// each reply until it returns `None`; then all of `fresh` is consumed.
    ///
    /// After an error, `fresh` has the refused request, unless that is buffered. Answer it with [`Exchange::refuse`]: the
    /// connection serves no further request.
    pub fn poll_request<'r, 'f: 'r>(
        &'r mut self,
        fresh: &mut &'f [u8],
        limits: &Limits,
        now: Now,
    ) -> Result<Option<Request<'r>>, Error> {
        self.release();
        if self.phase == Phase::Closing {
            *fresh = &[];
            return Ok(None);
        }
        let received = core::mem::take(fresh);
        if self.start < self.input.len() {
            self.input.extend_from_slice(received);
            let Some(Found { consumed, body, .. }) = self.framer.measure(&self.input[self.start..], limits)? else {
                self.wait(!received.is_empty(), limits, now);
                return Ok(None);
            };
            let begin = self.start;
            self.start += consumed;
            self.phase = Phase::Idle;
            self.deadline = now.time.after(limits.keep_alive());
            // Parsed again: `measure` borrows from a buffer that must still be able to grow if the request is incomplete.
            let Some((head, _)) = Head::parse(&self.input[begin..], limits)? else {
                unreachable!("`measure` has parsed these bytes");
            };
            self.connection = Connection::after(head.keep_alive, head.http11);
            self.head_only = head.method == "HEAD";
            self.navigation = head.navigation;
            return Ok(Some(Request { head, body: self.framer.body(&self.input[begin..], body) }));
        }
        if received.is_empty() {
            return Ok(None);
        }
        let found = self.framer.measure(received, limits).inspect_err(|_| *fresh = received)?;
        let Some(Found { head, consumed, body }) = found else {
            self.input = received.to_vec();
            self.start = 0;
            self.wait(true, limits, now);
            return Ok(None);
        };
        *fresh = &received[consumed..];
        self.phase = Phase::Idle;
        self.deadline = now.time.after(limits.keep_alive());
        self.connection = Connection::after(head.keep_alive, head.http11);
        self.head_only = head.method == "HEAD";
        self.navigation = head.navigation;
        Ok(Some(Request { head, body: self.framer.body(received, body) }))
    }

    /// Queues the reply to the current request, the one that was polled last.
    pub fn reply(&mut self, reply: &Reply, now: Now) {
        match self.navigation && !reply.title.is_empty() {
            true => reply.document().write(&mut self.output, self.connection, self.head_only, now.unix),
            false => reply.write(&mut self.output, self.connection, self.head_only, now.unix),
        }
        if self.connection == Connection::Ends {
            self.close(now);
        }
    }

    /// Queues bytes as the reply to the current request, and closes the connection after them.
    pub fn reply_raw(&mut self, bytes: &[u8], now: Now) {
        self.output.extend_from_slice(bytes);
        self.close(now);
    }

    /// Postpones the reply to the current request. Until [`Exchange::unpark`], no other request is served.
    pub fn park(&mut self, parked: Parked, limits: &Limits, now: Now) {
        self.deadline = match parked {
            Parked::Page(_) => now.time.after(limits.request_timeout()),
            Parked::Poll { .. } | Parked::Login { .. } | Parked::Receipts { .. } => Time::NEVER,
        };
        self.parked = Some(parked);
    }

    /// The parked request, if there is one.
    pub fn parked(&self) -> Option<&Parked> {
        self.parked.as_ref()
    }

    /// Resumes the parked request: queue its reply now. `None` if no request is parked.
    pub fn unpark(&mut self, limits: &Limits, now: Now) -> Option<Parked> {
        let parked = self.parked.take()?;
        self.deadline = now.time.after(limits.keep_alive());
        Some(parked)
    }

    /// Whether a poll, a login or a notification is parked. Those are dropped when the client closes its sending side.
    pub fn ends_with_peer(&self) -> bool {
        !matches!(self.parked, None | Some(Parked::Page(_)))
    }

    /// Whether input is buffered.
    pub fn has_input(&self) -> bool {
        self.start < self.input.len()
    }

    /// Bytes of memory that incomplete or waiting requests take.
    pub fn input_memory(&self) -> usize {
        self.input.capacity() + self.framer.chunked.as_ref().map_or(0, Chunked::memory)
    }

    /// Bytes of memory that unsent replies take.
    pub fn output_memory(&self) -> usize {
        self.output.capacity()
    }

    /// The head of a request whose body is incomplete, and how many bytes the body has so far or will have.
    pub fn incomplete(&self, limits: &Limits) -> Option<(Head<'_>, u64)> {
        if self.framer.head == 0 {
            return None;
        }
        let (head, _) = Head::parse(&self.input[self.start..], limits).ok()??;
        let length = match head.framing {
            Framing::Absent => 0,
            Framing::Length(length) => length,
            Framing::Chunked => self.framer.chunked.as_ref().map_or(0, |chunked| chunked.body().len() as u64),
        };
        Some((head, length))
    }

    /// Makes the reply to the current request the last one: it will say `Connection: close`.
    pub fn end_with_reply(&mut self) {
        self.connection = Connection::Ends;
    }

    /// The `Origin` of a request that is incomplete or was refused, as far as it is known. `fresh` is what
    /// [`Exchange::poll_request`] has left of its input.
    pub fn incomplete_origin<'a>(&'a self, fresh: &'a [u8]) -> Option<&'a str> {
        partial::origin(if self.has_input() { &self.input[self.start..] } else { fresh })
    }

    /// Queues the reply to a request that cannot be served, and serves no further one.
    pub fn refuse(&mut self, reply: &Reply, now: Now) {
        reply.write(&mut self.output, Connection::Ends, false, now.unix);
        self.close(now);
    }

    /// Serves no further request. The owner flushes the queued replies, then closes the connection.
    pub fn close(&mut self, now: Now) {
        self.phase = Phase::Closing;
        self.input = Vec::new();
        self.start = 0;
        self.framer = Framer::default();
        self.charge.set(0);
        self.deadline = now.time.after(LINGER);
    }

    /// Whether the connection serves no further request.
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Makes an idle connection expire: now, or a second after it was accepted if its first request has not come.
    /// Returns whether it is idle, that is, nothing is queued, parked or partly received.
    pub fn expire_when_idle(&mut self, limits: &Limits, now: Now) -> bool {
        let is_idle = matches!(self.phase, Phase::Fresh | Phase::Idle) && self.is_flushed() && self.parked.is_none();
        if is_idle {
            let age = limits.request_timeout().saturating_sub(self.deadline.since(now.time));
            let wait = if self.phase == Phase::Fresh { FIRST_REQUEST.saturating_sub(age) } else { Duration::ZERO };
            (self.phase, self.deadline) = (Phase::Idle, self.deadline.min(now.time.after(wait)));
        }
        is_idle
    }

    /// Whether all queued replies are written.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether the body of a request has begun to arrive.
    pub fn is_in_body(&self) -> bool {
        self.phase == Phase::Body
    }

    /// Whether to read more input: not while a request is parked or 16 KiB of replies are unsent.
    pub fn wants_input(&self) -> bool {
        self.parked.is_none() && self.output.len() - self.written < MAX_UNSENT
    }

    /// When to call [`Exchange::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Time {
        self.deadline
    }

    /// Checks the deadline.
    pub fn handle_timeout(&mut self, now: Now) -> Timeout {
        if now.time < self.deadline {
            return Timeout::Early;
        }
        if let Some(error) = self.refusal() {
            return Timeout::Overdue(error);
        }
        if let Some(parked) = self.parked.take() {
            // The page may still arrive. It must not become the reply to a later request, so this one is the last.
            self.connection = Connection::Ends;
            let text = match parked {
                Parked::Page(Awaited::Redis) => "Redis does not answer",
                _ => "the disk does not answer",
            };
            self.reply(&Reply::refusal(503, text), now);
            return Timeout::Replied;
        }
        match self.phase {
            Phase::Fresh | Phase::Head | Phase::Body => Timeout::Refuse(Error::Timeout),
            Phase::Idle | Phase::Closing => Timeout::Close,
        }
    }

    /// Writes the queued replies. Once the connection is closing, a client that reads nothing for
    /// `limits.request_timeout` is disconnected; each byte that it reads extends the deadline.
    pub fn write_to(&mut self, out: &mut impl Write, limits: &Limits, now: Now) -> io::Result<Flushed> {
        let (before, queued) = (self.written, self.output.len());
        let flushed = self.write(out)?;
        if self.phase == Phase::Closing {
            match flushed {
                // Input that arrives afterwards does not extend it.
                Flushed::All if queued > 0 => self.deadline = now.time.after(LINGER),
                Flushed::All => {}
                Flushed::Blocked if self.written > before => self.deadline = now.time.after(limits.request_timeout()),
                Flushed::Blocked => {}
            }
        } else if self.phase == Phase::Idle && self.parked.is_none() && self.written != before {
            self.deadline = now.time.after(limits.keep_alive());
        }
        Ok(flushed)
    }

    /// Writes until nothing is left or `out` would block.
    fn write(&mut self, out: &mut impl Write) -> io::Result<Flushed> {
        while self.written < self.output.len() {
            match out.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        Ok(Flushed::All)
    }

    /// Buffers bytes that were read although [`Exchange::wants_input`] is false. Poll again once it is true.
    pub fn keep(&mut self, unread: &[u8]) {
        self.input.extend_from_slice(unread);
        self.charge.set(self.input_memory());
    }

    /// The unsent output and the input after the current request, for the protocol that takes over the connection.
    pub fn into_parts(mut self) -> (Vec<u8>, Vec<u8>) {
        self.output.drain(..self.written);
        self.input.drain(..self.start);
        (self.output, self.input)
    }

    /// Frees what the previous request used.
    fn release(&mut self) {
        if self.phase == Phase::Idle {
            self.framer.chunked = None;
        }
        if self.start == self.input.len() && !self.input.is_empty() {
            self.input = Vec::new();
            self.start = 0;
        }
        if self.input.is_empty() && self.framer.chunked.is_none() {
            self.charge.set(0);
        }
    }

    /// Sets the deadline of an incomplete request and sends `100 Continue` if the client waits for it.
    fn wait(&mut self, progressed: bool, limits: &Limits, now: Now) {
        if self.start > 0 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        // Chunks are kept once, decoded.
        let decoded = core::mem::take(&mut self.framer.decoded);
        self.input.drain(self.framer.head..self.framer.head + decoded);
        if self.input.capacity() > 2 * self.input.len() {
            self.input.shrink_to_fit();
        }
        self.charge.set(self.input_memory());
        if self.framer.head == 0 {
            if self.phase != Phase::Head {
                self.phase = Phase::Head;
                self.deadline = now.time.after(limits.request_timeout());
            }
            return;
        }
        if self.phase != Phase::Body {
            self.phase = Phase::Body;
            self.body_deadline = now.time.after(limits.request_timeout() * BODY_PATIENCE);
        }
        if progressed {
            self.deadline = self.body_deadline.min(now.time.after(limits.request_timeout()));
        }
        if self.framer.wants_continue {
            self.framer.wants_continue = false;
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }
}

/// How long the client has to read the last reply and to close the connection.
const LINGER: Duration = Duration::from_secs(2);
/// How long after it was accepted the first request of a connection is waited for while relay stops.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Bytes of unsent replies above which no further request is read.
const MAX_UNSENT: usize = 16 * 1024;
/// A body must arrive within this many request timeouts.
const BODY_PATIENCE: u32 = 6;

#[cfg(test)]
mod tests;
