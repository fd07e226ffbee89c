//! Connections that use TLS: their sessions, handshakes, reading and closing.
//!
//! A connection with TLS is a TCP socket with a [`Session`] in a table beside the connections, so that others pay nothing
//! for it. Handshakes take much computing: a turn does a few, and the others wait in a queue.

pub mod sessions;

use core::{net::IpAddr, time::Duration};
use std::io::{ErrorKind, Read};

use log::{debug, warn};

use super::{
    conn::{Conn, READ_BUDGET, State},
    event_loop::Server,
    peer::Peer,
};
use crate::{
    clock::Time,
    http,
    key::ConnKey,
    memory,
    tls::{HandshakeError, HandshakeFailure, Session},
    websocket::Close,
};

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
                    Ok(length @ 1..) => {
                        self.schedule_read(key);
                        self.discard(key, length);
                    }
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
        let Some(session) = self.tls.sessions.get(key) else { return };
        let (length, result) = session.open(bytes);
        if length > 0 {
            self.handle(key, &bytes[..length]);
            if self.hub.state.needs_flush() {
                self.carry_out(true);
            }
            if self.hub.state.is_short_of_memory() {
                self.keep_memory_limit();
            }
        }
        if let Err(error) = result {
            debug!("a TLS connection ends: {error}");
            self.hub.state.stats.tls_errors += 1;
            if let (Some(conn), Some(session)) = (self.conns.get_mut(key), self.tls.sessions.get(key)) {
                let _ = session.flush(&mut conn.socket);
            }
            return self.drop_conn(key);
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

    /// Queues a connection whose handshake begins with `bytes`.
    pub(super) fn queue_first(&mut self, key: ConnKey, bytes: &[u8]) {
        if let Some(session) = self.tls.sessions.get(key).filter(|_| !bytes.is_empty()) {
            session.keep(bytes);
            self.queue_handshake(key);
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
        let kept = self.tls.sessions.get(key).map(Session::take_input).unwrap_or_default();
        if !kept.is_empty() {
            self.handle_handshake(key, &kept);
            return self.schedule_read(key);
        }
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
                self.hub.state.stats.count_tls_failure(HandshakeFailure::NotTls);
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
        self.hub.state.stats.count_tls_failure(error.failure());
        self.drop_conn(key);
    }

    /// Ends a connection whose handshake was not complete in time.
    pub(super) fn expire_handshake(&mut self, key: ConnKey) {
        debug!("a TLS handshake of {} was not complete in time", Peer(self.peer(key)));
        self.hub.state.stats.count_tls_failure(HandshakeFailure::Timeout);
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
