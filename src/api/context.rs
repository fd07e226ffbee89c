//! What the endpoints work on.

use core::net::IpAddr;

use super::{assets::Asset, guesses::Guesses};
use crate::{clock::Now, hub::Hub, key::ConnKey};

/// What a route may know and change.
pub struct Context<'a> {
    /// The meaning.
    pub hub: &'a mut Hub,
    /// What does not change while relay runs.
    pub site: &'a Site,
    /// Wrong admin tokens.
    pub guesses: &'a mut Guesses,
    /// The connection the request came on.
    pub conn: ConnKey,
    /// The address of who is at its other end; none for a Unix socket.
    pub peer: Option<IpAddr>,
    /// The clocks.
    pub now: Now,
    /// How many connections there are.
    pub connections: usize,
    /// How many there may be, and how many clients.
    pub places: usize,
    /// Whether relay is taking its leave.
    pub stopping: bool,
}

/// What does not change while relay runs.
pub struct Site {
    /// What operators show.
    pub admin_token: String,
    /// This machine's address, as the old pages name it.
    pub server_ip: String,
    /// The client bundle that is served beside Socket.IO.
    pub client_js: Option<Asset>,
}
