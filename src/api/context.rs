//! The context that HTTP endpoints work on.

use core::net::IpAddr;

use super::{assets::Asset, guesses::Guesses};
use crate::{clock::Now, hub::Hub, key::ConnKey};

/// The context of a request.
pub struct Context<'a> {
    /// Clients, rooms and features.
    pub hub: &'a mut Hub,
    /// Values that are fixed at start.
    pub site: &'a Site,
    /// Counts of wrong admin tokens.
    pub guesses: &'a mut Guesses,
    /// The connection that carries the request.
    pub conn: ConnKey,
    /// The address of its peer; `None` for a Unix socket.
    pub peer: Option<IpAddr>,
    /// The time of this turn.
    pub now: Now,
    /// The number of open connections.
    pub connections: usize,
    /// The limit for connections, which also limits the number of clients.
    pub max_connections: usize,
    /// Whether relay is shutting down.
    pub stopping: bool,
}

/// Values that are fixed at start.
pub struct Site {
    /// The token that operators' endpoints require.
    pub admin_token: String,
    /// This machine's address, which `server_ip` in records and the old pages show.
    pub server_ip: String,
    /// The Socket.IO client script that is served as `socket.io.js` below `socketio.path`, if one is configured.
    pub client_js: Option<Asset>,
}
