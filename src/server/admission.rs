//! The door: who is let in, who is turned away, and when nobody is.

use core::{net::IpAddr, time::Duration};

use log::{error, warn};
use mio::Token;

use super::{
    conn::{Conn, Socket},
    event_loop::Server,
    listener::Accepted,
    tokens::CONNS,
};
use crate::{
    http::{self, Exchange},
    key::Handle,
};

impl Server {
    pub(super) fn can_accept(&self) -> bool {
        self.stopping.is_none() && (!self.is_full() || self.refused < MAX_REFUSED)
    }

    /// Whether all places are taken. Who was refused and has not hung up yet takes none.
    pub(super) fn is_full(&self) -> bool {
        (self.conns.len() - self.refused) as u64 >= self.max_connections()
    }

    pub(super) fn max_connections(&self) -> u64 {
        match self.hub.config().limits.connections {
            0 => self.descriptors,
            configured => configured.min(self.descriptors),
        }
    }

    /// Takes new connections, so many a turn. Beyond the limit a few are taken to be told so; beyond those, or without
    /// descriptors, nobody is taken until somebody leaves.
    pub(super) fn accept(&mut self) {
        if self.accept_after > self.now.time {
            return;
        }
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BUDGET {
                if !self.can_accept() || !self.listeners[index].ready {
                    break;
                }
                match self.listeners[index].accept() {
                    Ok(Accepted::Socket(socket, peer)) => self.add_conn(socket, peer),
                    Ok(Accepted::Nobody) => break,
                    Ok(Accepted::Exhausted) => {
                        self.hub.state.stats.accept_pauses += 1;
                        // Each descriptor that is freed is taken at once, and the next try may fail again.
                        if self.warn_after <= self.now.time {
                            warn!("no descriptor for one more connection: accepting pauses");
                            self.warn_after = self.now.time.after(WARNING_INTERVAL);
                        }
                        self.accept_after = self.now.time.after(ACCEPT_PAUSE);
                        return;
                    }
                    Err(error) => {
                        error!("accepting failed: {error}");
                        self.accept_after = self.now.time.after(ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
    }

    pub(super) fn add_conn(&mut self, socket: Socket, peer: Option<IpAddr>) {
        let refused = self.is_full();
        let mut exchange = Exchange::new(self.now, &self.hub.config().limits);
        exchange.peer = peer;
        if refused {
            self.hub.state.stats.connections_refused += 1;
            exchange.refuse(http::Error::Unavailable, self.now);
        } else {
            self.hub.state.stats.accepted += 1;
        }
        let key = self.conns.insert(Conn::new(socket, exchange));
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.refused = refused;
        self.refused += usize::from(refused);
        if let Err(error) = conn.socket.register(self.poll.registry(), Token(CONNS + key.key().index())) {
            error!("a connection could not be watched: {error}");
            return self.drop_conn(key);
        }
        if refused {
            self.replied.push(key);
        }
        self.timers.arm(key, conn);
    }
}

/// Connections one listener may bring in a turn.
const ACCEPT_BUDGET: usize = 64;
/// How long accepting rests when there was no descriptor, unless a connection ends before.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log says so at most.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Connections beyond the limit that are open at once only to be told so.
const MAX_REFUSED: usize = 16;
