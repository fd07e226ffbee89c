//! Connections that use TLS: their sessions, handshakes, reading and closing.
//!
//! A connection with TLS is a TCP socket with a [`Session`] in a table beside the connections, so that others pay nothing
//! for it. Handshakes take much computing: a turn does a few, and the others wait in a queue.

use core::{net::IpAddr, time::Duration};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
};

use log::{debug, warn};

use super::{
    conn::{Conn, READ_BUDGET, Socket, State},
    event_loop::Server,
    fatal::Fatal,
    peer::Peer,
};
use crate::{
    clock::Time,
    config::Config,
    http,
    key::{ConnKey, Handle},
    memory,
    tls::{Acceptor, CertificateError, HandshakeError, Reading, Sealed, ServerTls, Session, Tickets},
    websocket::Close,
};

/// TLS for all connections that use it.
pub struct Tls {
    /// `None` without a certificate.
    acceptor: Option<Acceptor>,
    /// Made with the first certificate.
    tickets: Option<Tickets>,
    sessions: Sessions,
    /// Connections whose handshake has input, in the order of its arrival.
    waiting: VecDeque<ConnKey>,
    /// When to warn about certificates that expire.
    warning_due: Time,
}

/// The sessions, by the slots of their connections.
#[derive(Default)]
pub struct Sessions(Vec<Option<Box<Session>>>);

impl Sessions {
    fn insert(&mut self, key: ConnKey, session: Session) {
        let index = key.key().index();
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(Box::new(session));
    }

    fn get(&mut self, key: ConnKey) -> Option<&mut Session> {
        self.0.get_mut(key.key().index())?.as_deref_mut()
    }

    fn peek(&self, key: ConnKey) -> Option<&Session> {
        self.0.get(key.key().index())?.as_deref()
    }

    fn remove(&mut self, key: ConnKey) {
        if let Some(session) = self.0.get_mut(key.key().index()) {
            *session = None;
        }
    }

    /// Where the protocol of a connection writes to.
    pub fn writer<'a>(&'a mut self, key: ConnKey, tls: bool, socket: &'a mut Socket) -> Writer<'a> {
        match self.get(key).filter(|_| tls) {
            Some(session) => Writer::Sealed(Sealed { session, out: socket }),
            None if tls => Writer::Nowhere,
            None => Writer::Plain(socket),
        }
    }

    /// Closes our side of a connection.
    pub fn shutdown(&mut self, key: ConnKey, conn: &mut Conn) {
        let session = self.get(key).filter(|_| conn.tls);
        if session.is_none_or(|session| session.close(&mut conn.socket)) {
            conn.socket.shutdown();
        }
    }
}

/// Where the protocol of a connection writes to.
pub enum Writer<'a> {
    /// The socket itself.
    Plain(&'a mut Socket),
    /// A session of TLS.
    Sealed(Sealed<'a, Socket>),
    /// Nowhere: the session is over.
    Nowhere,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Plain(socket) => socket.write(bytes),
            Writer::Sealed(sealed) => sealed.write(bytes),
            Writer::Nowhere => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Writer::Plain(socket) => socket.write_vectored(slices),
            Writer::Sealed(sealed) => sealed.write_vectored(slices),
            Writer::Nowhere => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// With the certificates of a configuration.
    pub fn new(config: &Config) -> Result<Tls, Fatal> {
        let mut tls = Tls {
            acceptor: None,
            tickets: None,
            sessions: Sessions::default(),
            waiting: VecDeque::new(),
            warning_due: Time::NEVER,
        };
        tls.configure(&config.tls).map_err(|error| Fatal::Io("TLS", io::Error::other(error)))?;
        Ok(tls)
    }

    /// Uses other certificates for new connections. Tickets stay valid.
    fn configure(&mut self, settings: &ServerTls) -> Result<(), CertificateError> {
        if !settings.is_used() {
            self.acceptor = None;
            return Ok(());
        }
        let tickets = match self.tickets.take() {
            Some(tickets) => tickets,
            None => Tickets::new()?,
        };
        self.acceptor = Some(settings.acceptor(self.tickets.insert(tickets))?);
        Ok(())
    }

    /// The sessions.
    pub fn sessions(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// Whether a handshake has input that was not read.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When [`Server::warn_about_certificates`] is due.
    pub fn warning_due(&self) -> Time {
        self.warning_due
    }

    /// Whether a connection's handshake is not complete.
    pub fn is_handshaking(&mut self, key: ConnKey) -> bool {
        self.sessions.get(key).is_some_and(|session| session.is_handshaking())
    }

    /// Bytes of memory that incomplete input of a connection takes.
    pub fn input_memory(&self, key: ConnKey) -> usize {
        self.sessions.peek(key).map_or(0, Session::input_memory)
    }

    /// Bytes of memory that sealed bytes of a connection take which its socket did not accept.
    pub fn output_memory(&self, key: ConnKey) -> usize {
        self.sessions.peek(key).map_or(0, Session::output_memory)
    }
}

impl Server {
    /// Uses the certificates of the configuration for new connections.
    pub(super) fn configure_tls(&mut self) {
        let config = self.hub.config().clone();
        if let Err(error) = self.tls.configure(&config.tls) {
            // The configuration was checked, so this does not happen.
            warn!("tls: {error}: the old certificates stay in force");
        }
        self.tls.warning_due = if config.tls.is_used() { self.now.time.after(DAY) } else { Time::NEVER };
    }

    /// Warns about certificates that expire, once a day.
    pub(super) fn warn_about_certificates(&mut self) {
        self.tls.warning_due = self.now.time.after(DAY);
        self.hub.config().tls.warnings(self.now.unix).iter().for_each(|warning| warn!("tls: {warning}"));
    }

    /// Begins TLS on a connection.
    pub(super) fn begin_tls(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.tls = true;
        match &self.tls.acceptor {
            Some(acceptor) => self.tls.sessions.insert(key, Session::new(acceptor.clone())),
            None => self.drop_conn(key),
        }
    }

    /// Reads a connection that uses TLS, and handles its input; see [`Server::read`].
    pub(super) fn read_tls(&mut self, key: ConnKey) {
        if self.tls.is_handshaking(key) {
            return self.queue_handshake(key);
        }
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped && !conn.paused) {
            let Some(session) = self.tls.sessions.get(key) else { break };
            if session.take_end() {
                conn.hung_up = true;
                self.handle_end(key);
                continue;
            }
            if session.has_ended() {
                // More is ignored, but the end of the stream must be noticed.
                match conn.socket.read(&mut buffer) {
                    Ok(length) if length == buffer.len() => self.schedule_read(key),
                    Ok(1..) => continue,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Ok(_) | Err(_) => {}
                }
                break;
            }
            let kept = session.restore(&mut buffer);
            let size = conn.read_size().min(READ_BUDGET - kept);
            let result = conn.socket.read(&mut buffer[kept..kept + size]);
            let length = *result.as_ref().unwrap_or(&0);
            let hung_up = conn.hung_up;
            self.handle_records(key, &mut buffer[..kept + length]);
            match result {
                Ok(length) if length == size => self.schedule_read(key),
                Ok(1..) if hung_up => continue,
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Without the announcement that TLS requires an end can be that of an attacker.
                Ok(0) | Err(_) => self.drop_conn(key),
            }
            break;
        }
        self.buffer = buffer;
    }

    /// Opens the records in `bytes` and handles their data. The rest is kept.
    fn handle_records(&mut self, key: ConnKey, bytes: &mut [u8]) {
        let mut reading = Reading::new(bytes);
        loop {
            let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
            let Some(session) = self.tls.sessions.get(key) else { return };
            match session.open(&mut reading) {
                Ok(Some(data)) => {
                    self.handle(key, data);
                    if self.hub.state.needs_flush() {
                        self.carry_out(true);
                    }
                    if self.hub.state.is_short_of_memory() {
                        self.keep_memory_limit();
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    debug!("a TLS connection ends: {error}");
                    self.hub.state.stats.tls_errors += 1;
                    let _ = session.flush(&mut conn.socket);
                    return self.drop_conn(key);
                }
            }
        }
        self.flush_tls(key);
        self.bound_tls_input(key);
        self.take_end(key);
    }

    /// Handles the announcement of the peer that no more follows, after all that came before it.
    fn take_end(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped && !conn.paused) else { return };
        if self.tls.sessions.get(key).is_some_and(Session::take_end) {
            conn.hung_up = true;
            self.handle_end(key);
        }
    }

    /// Refuses the incomplete record of a connection if there is too much incomplete input.
    fn bound_tls_input(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
        let state = &self.hub.state;
        let is_known = conn.client().is_some_and(|client| state.has_session(client));
        if self.tls.input_memory(key) > FAIR_SHARE && memory::unfinished() > state.max_unfinished(is_known) {
            self.hub.state.stats.unfinished_refused += 1;
            self.refuse_input(key, http::Error::Unfinished, Close::UNFINISHED);
        }
    }

    /// Queues a connection whose handshake has input.
    fn queue_handshake(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.read_scheduled) {
            conn.read_scheduled = true;
            self.tls.waiting.push_back(key);
        }
    }

    /// Continues the handshakes that have waited longest.
    pub(super) fn read_handshakes(&mut self) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(key) = self.tls.waiting.pop_front() else { break };
            self.read_handshake(key);
        }
    }

    /// Reads input of a handshake.
    fn read_handshake(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
        conn.read_scheduled = false;
        let mut buffer = core::mem::take(&mut self.buffer);
        match conn.socket.read(&mut buffer[..HANDSHAKE_READ]) {
            Ok(0) => self.fail_handshake(key, &HandshakeError::Closed),
            Ok(length) => {
                let more = length == HANDSHAKE_READ || conn.hung_up;
                self.handle_handshake(key, &buffer[..length]);
                if more {
                    self.schedule_read(key);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.queue_handshake(key),
            Err(_) => self.fail_handshake(key, &HandshakeError::Closed),
        }
        self.buffer = buffer;
    }

    /// Handles bytes of a handshake. Once it is complete, the HTTP connection begins.
    pub(super) fn handle_handshake(&mut self, key: ConnKey, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
        let Some(session) = self.tls.sessions.get(key) else { return };
        match session.handshake(bytes, &mut conn.socket) {
            Ok(None) => {
                let most = self.hub.state.max_unfinished(false);
                if session.input_memory() > FAIR_SHARE && memory::unfinished() > most {
                    self.hub.state.stats.unfinished_refused += 1;
                    self.drop_conn(key);
                }
            }
            Ok(Some(resumed)) => {
                let stats = &mut self.hub.state.stats;
                stats.tls_handshakes += 1;
                stats.tls_resumed += u64::from(resumed);
                if let State::Http(exchange) = &mut conn.state
                    && !exchange.is_closing()
                {
                    exchange.begin(&self.hub.config().limits, self.now);
                    self.timers.arm(key, conn);
                }
                self.replied.push(key);
                // Requests that have arrived with the end of the handshake.
                self.schedule_read(key);
            }
            Err(HandshakeError::NotTls) if bytes.first().is_some_and(u8::is_ascii_alphabetic) => {
                self.hub.state.stats.tls_failed += 1;
                self.hub.state.stats.bad_requests += 1;
                conn.tls = false;
                self.tls.sessions.remove(key);
                self.refuse_request(key, http::Error::NeedsTls);
            }
            Err(error) => self.fail_handshake(key, &error),
        }
    }

    /// Ends a connection whose handshake has failed.
    fn fail_handshake(&mut self, key: ConnKey, error: &HandshakeError) {
        debug!("a TLS handshake of {} fails: {error}", Peer(self.peer(key)));
        self.hub.state.stats.tls_failed += 1;
        self.drop_conn(key);
    }

    /// Ends a connection whose handshake was not complete in time.
    pub(super) fn expire_handshake(&mut self, key: ConnKey) {
        debug!("a TLS handshake of {} was not complete in time", Peer(self.peer(key)));
        self.hub.state.stats.tls_failed += 1;
        self.drop_conn(key);
    }

    fn peer(&self, key: ConnKey) -> Option<IpAddr> {
        match self.conns.get(key).map(|conn| &conn.state) {
            Some(State::Http(exchange)) => exchange.peer,
            _ => None,
        }
    }

    /// Writes what waits in the session of a connection. Then closes our side if that was asked for.
    pub(super) fn flush_tls(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
        let Some(session) = self.tls.sessions.get(key) else { return };
        match session.flush(&mut conn.socket) {
            // Once: it makes epoll report the socket again.
            Ok(true) if session.take_finish() => conn.socket.shutdown(),
            Ok(_) => {}
            Err(_) => self.drop_conn(key),
        }
    }

    /// Forgets the session of a connection that is about to be closed. The peer gets the announcement if the socket accepts
    /// it at once.
    pub(super) fn end_tls(&mut self, key: ConnKey, conn: &mut Conn) {
        if !conn.tls {
            return;
        }
        if let Some(session) = self.tls.sessions.get(key).filter(|session| session.is_open() && !session.is_closed()) {
            session.close(&mut conn.socket);
        }
        self.tls.sessions.remove(key);
    }
}

/// Parts of handshakes that are handled in a turn. A whole one takes about 0.2 ms, or 0.8 ms with a key of RSA.
const HANDSHAKES_PER_TURN: usize = 8;
/// Bytes that are read at once during a handshake.
const HANDSHAKE_READ: usize = 16 * 1024;
/// Bytes of incomplete input that are never refused.
const FAIR_SHARE: usize = 4096;
/// How often relay warns about certificates that expire.
const DAY: Duration = Duration::from_secs(86_400);
