//! The context that HTTP endpoints work on.

use core::net::IpAddr;

use super::{assets::Asset, guesses::Guesses};
use crate::{clock::Now, hub::Hub, key::ConnKey, state::origins::Origin};

/// The context of a request.
pub struct Context<'a> {
    /// Clients, rooms and features.
    pub hub: &'a mut Hub,
    /// Values that only a start or a reload changes.
    pub site: &'a Site,
    /// Counts of wrong admin tokens.
    pub guesses: &'a mut Guesses,
    /// The connection that carries the request.
    pub conn: ConnKey,
    /// The address of its peer; `None` for a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether a proxy or TLS is known to be at the other end of the connection.
    pub proxied: bool,
    /// Whether the connection is to an address of `admin.listen`.
    pub metrics_only: bool,
    /// The time of this turn.
    pub now: Now,
    /// The number of open connections.
    pub connections: usize,
    /// About how many bytes the sessions of TLS take.
    pub tls_bytes: usize,
    /// The limit for connections, which also limits the number of clients.
    pub max_connections: usize,
    /// Whether no further connection would be accepted.
    pub full: bool,
    /// Whether relay is shutting down.
    pub stopping: bool,
}

impl Context<'_> {
    /// Whether `limits.per_address` refuses a client from `ip`; then counts that. A WebSocket takes the place of its
    /// connection, which was counted when it was accepted, unless it came through a proxy.
    pub fn refuses_address(&mut self, ip: Option<IpAddr>, websocket: bool) -> bool {
        let config = self.hub.config().clone();
        let limit = config.limits.per_address(self.max_connections as u64);
        let Some(origin) = Origin::new(ip, &config.trusted_proxies) else { return false };
        let state = &mut self.hub.state;
        if (websocket && ip == self.peer) || state.origins.count(origin) < limit {
            return false;
        }
        state.stats.address_refused += 1;
        state.origins.warn(ip, limit, self.now.time);
        true
    }
}

/// Values that only a start or a reload changes.
pub struct Site {
    /// The token that operators' endpoints require.
    pub admin_token: String,
    /// This machine's address, which `server_ip` in records and the old pages show.
    pub server_ip: String,
    /// The Socket.IO client script that is served as `socket.io.js` below `socketio.path`, if one is configured.
    pub client_js: Option<Asset>,
}
