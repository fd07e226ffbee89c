//! Accepting connections, and refusing those over the limit.

use core::{net::IpAddr, time::Duration};

use log::{error, warn};
use mio::Token;

use super::{
    conn::{Conn, Socket},
    event_loop::Server,
    listener::{Accepted, Listener},
    tokens::CONNS,
};
use crate::{
    http::{self, Exchange},
    key::Handle,
    state::origins::Origin,
};

impl Server {
    /// Whether to accept connections: not during a shutdown, nor while too many refusals are being sent. Those for metrics
    /// only have places of their own, because metrics matter most when a limit is reached.
    pub(super) fn can_accept(&self, metrics_only: bool) -> bool {
        if metrics_only {
            return self.stopping.is_none() && self.metrics_conns < METRICS_CONNS;
        }
        let refusing = self.is_full() || self.hub.state.is_short_of_memory();
        self.stopping.is_none() && (!refusing || self.refused < MAX_REFUSED)
    }

    /// Whether the limit is reached. Refused connections and those for metrics only do not count.
    pub(super) fn is_full(&self) -> bool {
        (self.conns.len() - self.refused - self.metrics_conns) as u64 >= self.max_connections()
    }

    /// The limit for connections: `limits.connections`, or what the descriptor limit allows.
    pub(super) fn max_connections(&self) -> u64 {
        match self.hub.config().limits.connections {
            0 => self.descriptors,
            configured => configured.min(self.descriptors),
        }
    }

    /// Accepts new connections, at most [`ACCEPT_BUDGET`] per listener and turn. Over the limit, up to [`MAX_REFUSED`]
    /// connections are accepted and answered with 503. If no descriptor is free, accepting pauses for [`ACCEPT_PAUSE`]
    /// or until a connection ends.
    pub(super) fn accept(&mut self) {
        if self.accept_after > self.now.time {
            return;
        }
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BUDGET {
                if !self.can_accept(self.listeners[index].metrics_only) || !self.listeners[index].ready {
                    break;
                }
                match self.listeners[index].accept() {
                    Ok(Accepted::Socket(socket, peer)) => {
                        self.add_conn(socket, peer, index);
                    }
                    Ok(Accepted::NoneWaiting) => break,
                    Ok(Accepted::Exhausted) => {
                        self.hub.state.stats.accept_pauses += 1;
                        // Warn only now and then: each freed descriptor is used at once, so accepting can fail many
                        // times a second.
                        if self.accept_warnings.pass(WARNING_INTERVAL, self.now.time).is_some() {
                            warn!(
                                "no free file descriptor: accepting pauses until a connection ends; raise LimitNOFILE= or \
                                 ulimit -n"
                            );
                        }
                        self.accept_after = self.now.time.after(ACCEPT_PAUSE);
                        return;
                    }
                    Err(error) => {
                        if self.accept_errors.pass(WARNING_INTERVAL, self.now.time).is_some() {
                            error!("cannot accept connections on {}: {error}", self.listeners[index]);
                        }
                        self.accept_after = self.now.time.after(ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
    }

    /// Counts a connection over the limit of its address, and logs this. Returns whether there is a place to answer it with
    /// 429: the places for refusals are not for one address alone.
    pub(super) fn may_answer_address(&mut self, peer: Option<IpAddr>, per_address: u64) -> bool {
        self.hub.state.stats.address_refused += 1;
        self.hub.state.origins.warn(peer, per_address, self.now.time);
        self.refused < MAX_REFUSED / 2
    }

    /// Adds a connection that was accepted from a listener. Over a limit it only gets a 503 or 429.
    fn add_conn(&mut self, socket: Socket, peer: Option<IpAddr>, listener: usize) {
        let &Listener { proxied, tls, metrics_only, .. } = &self.listeners[listener];
        let config = self.hub.config().clone();
        let origin = Origin::new(peer, &config.trusted_proxies);
        let per_address = config.limits.per_address(self.max_connections());
        let origin = origin.filter(|_| !metrics_only);
        let short = self.hub.state.is_short_of_memory() && !metrics_only;
        let over = origin.is_some_and(|origin| self.hub.state.origins.count(origin) >= per_address);
        if over && !self.may_answer_address(peer, per_address) {
            return;
        }
        let refused = over || short || (self.is_full() && !metrics_only);
        let mut exchange = Exchange::new(self.now, &config.limits);
        exchange.peer = peer;
        (exchange.awaits_proxy, exchange.metrics_only) = (proxied, metrics_only);
        if over {
            exchange.refuse_first(http::Error::TooManyFromAddress, &config.limits, self.now);
        } else if short {
            self.hub.state.stats.memory_connections_refused += 1;
            if !core::mem::replace(&mut self.pressure.refusing, true) {
                warn!("memory: limits.memory is reached: refusing new connections with 503");
            }
            exchange.refuse_first(http::Error::Memory, &config.limits, self.now);
        } else if refused {
            self.hub.state.stats.connections_refused += 1;
            exchange.refuse_first(http::Error::Unavailable, &config.limits, self.now);
        } else {
            self.hub.state.stats.accepted += 1;
            exchange.origin = origin.map(|origin| self.hub.state.origins.enter(origin));
        }
        let key = self.conns.insert(Conn::new(socket, exchange));
        let Some(conn) = self.conns.get_mut(key) else { return };
        (conn.refused, conn.awaits_tls) = (refused, proxied && tls);
        self.refused += usize::from(refused);
        self.metrics_conns += usize::from(metrics_only);
        if let Err(error) = conn.socket.register(self.poll.registry(), Token(CONNS + key.key().index())) {
            if self.accept_errors.pass(WARNING_INTERVAL, self.now.time).is_some() {
                error!("cannot register a connection with epoll: {error}");
            }
            return self.drop_conn(key);
        }
        self.timers.arm(key, conn);
        match (tls, refused) {
            // The answer must wait for TLS, which must wait for the header.
            (true, true) if proxied => self.drop_conn(key),
            (true, _) if !proxied => self.begin_tls(key),
            _ => {}
        }
    }
}

/// Connections that one listener accepts in a turn.
const ACCEPT_BUDGET: usize = 64;
/// Connections for metrics only that may be open at once. Others wait to be accepted.
const METRICS_CONNS: usize = 16;
/// How long accepting pauses after an error, unless a connection ends earlier.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The least time between two warnings, and between two errors: peers can cause many.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Connections over the limit that may be open at once, to be answered with 503.
const MAX_REFUSED: usize = 16;
