//! Keeping `limits.memory`: what the machine has, and what is given up at the limit.
//!
//! Above the limit relay drops its caches, then closes the clients with the most unsent bytes, then refuses the largest
//! incomplete requests and messages, then drops messages that rooms keep, until it is an eighth below the limit. While it is
//! above, new connections and handshakes get a 503. Kept messages go last, because whoever can make relay short of memory could
//! otherwise have them dropped for others; they never take more than a quarter of the limit. The default leaves the other half
//! of the memory for what a turn allocates at once.

use core::time::Duration;

use log::{info, warn};

use super::{
    conn::{Phase, State},
    event_loop::Server,
    pressure::Pressure,
};
use crate::{
    http,
    key::{ClientKey, ConnKey},
    memory,
    websocket::Close,
};

impl Server {
    /// Applies `limits.memory`.
    pub(super) fn configure_memory(&mut self) {
        let limit = match self.hub.config().limits.memory {
            0 => self.pressure.default,
            configured => configured,
        };
        self.hub.state.memory_limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.hub.history.keep_budget(&self.hub.state);
    }

    /// Gives up memory if the limit is exceeded. Cheap if it is not.
    pub(super) fn keep_memory_limit(&mut self) {
        if self.hub.state.is_short_of_memory() {
            self.pressure.over = self.now.time.after(CALM);
            if self.pressure.next <= self.now.time {
                self.give_up_memory();
            }
        } else if self.pressure.over <= self.now.time {
            info!("memory: {} bytes are allocated, the shortage is over", memory::allocated());
            self.pressure = Pressure::calm(self.pressure.default);
        }
    }

    fn give_up_memory(&mut self) {
        let limit = self.hub.state.memory_limit;
        let target = limit - limit / 8;
        let excess = || memory::allocated().saturating_sub(target);
        let before = memory::allocated();
        if !core::mem::replace(&mut self.pressure.caches, true) {
            warn!(
                "memory: {before} bytes are allocated, limits.memory is {limit}: dropping caches, then slow clients, \
                 incomplete input, and kept messages"
            );
            self.hub.state.stats.memory_caches_dropped += 1;
        }
        self.hub.state.drop_caches();
        let closed = if excess() > 0 { self.close_slowest(excess()) } else { 0 };
        let refused = if excess() > closed { self.refuse_largest_input(excess() - closed) } else { 0 };
        let left = excess().saturating_sub(closed + refused);
        let dropped = if left > 0 { self.drop_kept_messages(left) } else { 0 };
        if closed + refused + dropped == 0 && excess() > 0 {
            self.pressure.next = self.now.time.after(PAUSE);
        }
        self.carry_out_effects();
    }

    /// Closes the clients and HTTP connections with the most unsent bytes, until they have `wanted` bytes together. Returns
    /// how many bytes they have.
    fn close_slowest(&mut self, wanted: usize) -> usize {
        let (state, tls) = (&self.hub.state, &self.tls);
        let sealed = |client| state.conn(client).map_or(0, |key| tls.output_memory(key));
        let clients = state.unsent().map(|(client, bytes)| (bytes + sealed(client), Slow::Client(client)));
        let conns = self.conns.iter().filter_map(|(key, conn)| match &conn.state {
            State::Http(exchange) if conn.blocked && !conn.dropped => {
                Some((exchange.output_memory() + tls.output_memory(key), Slow::Http(key)))
            }
            _ => None,
        });
        let mut slow: Vec<_> = clients.chain(conns).filter(|(bytes, _)| *bytes >= WORTHWHILE).collect();
        slow.sort_unstable_by_key(|(bytes, _)| core::cmp::Reverse(*bytes));
        let mut closed = 0;
        for (bytes, who) in slow {
            if closed >= wanted {
                break;
            }
            closed += bytes;
            self.hub.state.stats.memory_slow_closed += 1;
            match who {
                Slow::Client(client) => self.hub.state.close_slow(client),
                Slow::Http(key) => self.drop_conn(key),
            }
        }
        if closed > 0 && !core::mem::replace(&mut self.pressure.slow, true) {
            warn!("memory: limits.memory is reached: closing the clients with the most unsent bytes");
        }
        closed
    }

    /// Refuses the largest incomplete requests and messages, until they have `wanted` bytes together. Returns how many bytes
    /// they have.
    fn refuse_largest_input(&mut self, wanted: usize) -> usize {
        let mut input: Vec<(usize, ConnKey)> = self
            .conns
            .iter()
            .filter(|(_, conn)| !conn.dropped)
            .map(|(key, conn)| (conn.input_memory() + self.tls.input_memory(key), key))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        input.sort_unstable_by_key(|(bytes, _)| core::cmp::Reverse(*bytes));
        let mut freed = 0;
        for (bytes, key) in input {
            if freed >= wanted {
                break;
            }
            freed += bytes;
            self.hub.state.stats.memory_input_refused += 1;
            self.refuse_input(key, http::Error::Memory, Close::SHORT);
        }
        if freed > 0 && !core::mem::replace(&mut self.pressure.input, true) {
            warn!("memory: limits.memory is reached: refusing the largest incomplete requests and messages");
        }
        freed
    }

    /// Drops messages that rooms keep, until they have `wanted` bytes together. Returns how many bytes they have.
    fn drop_kept_messages(&mut self, wanted: usize) -> usize {
        let dropped = self.hub.history.give_up(&self.hub.state, wanted);
        if dropped > 0 && !core::mem::replace(&mut self.pressure.history, true) {
            warn!("memory: limits.memory is reached: dropping the oldest kept messages");
        }
        dropped
    }

    /// Refuses the incomplete input of a connection, with 503 or a close.
    pub(super) fn refuse_input(&mut self, key: ConnKey, error: http::Error, close: Close) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.tls && self.tls.is_handshaking(key) {
            return self.drop_conn(key);
        }
        match &mut conn.state {
            State::Http(exchange) if exchange.parked().is_none() => self.refuse_request(key, error),
            State::WebSocket(websocket) => {
                websocket.peer = Default::default();
                websocket.phase = Phase::Broken;
                let client = websocket.client;
                self.hub.state.close(client, close);
                self.hub.state.mark_dirty(client);
            }
            State::Probe(_) => self.end_probe(key, Some(close)),
            State::Http(_) | State::Ending(_) => self.drop_conn(key),
        }
    }
}

/// Somebody who does not read.
enum Slow {
    Client(ClientKey),
    Http(ConnKey),
}

/// Unsent bytes below which closing a client frees next to nothing.
const WORTHWHILE: usize = 16 * 1024;
/// How long to wait after nothing was found that could be given up.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the limit must be kept before a shortage is over, and the next one is logged again.
const CALM: Duration = Duration::from_secs(10);
