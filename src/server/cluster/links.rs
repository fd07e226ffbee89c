//! The two connections to Redis: one subscribes, one does everything else.

use std::net::SocketAddr;

use super::search::Search;
use crate::{
    api::view::View,
    clock::Time,
    key::ConnKey,
    server::{resolver::Resolver, transport::Transport},
};

/// The connections and their scheduling.
#[derive(Default)]
pub struct Links {
    /// By [`Role`](crate::redis::Role).
    pub links: [Option<Link>; 2],
    /// Finds the master, if Sentinels know it.
    pub search: Search,
    /// Resolves the name of the server.
    pub resolver: Resolver,
    /// That name, with the port.
    pub resolved: String,
    /// Whether to read in the next turn without waiting for an event, by role.
    pub read_scheduled: [bool; 2],
    /// Messages in a row that had no receiver here.
    pub unwanted: u64,
    /// Until when events of the subscription are paused, because its messages have no receiver here.
    pub paused_until: Option<Time>,
    /// Requests that wait for a look-up in Redis.
    pub waiting: Vec<(ConnKey, View)>,
}

/// A connection.
pub struct Link {
    /// Its socket, with TLS or without.
    pub socket: Transport,
    /// The address it leads to, if it was resolved.
    pub address: Option<SocketAddr>,
    /// Whether it is established.
    pub connected: bool,
    /// Whether Redis has closed its sending side. Reads must then continue to the end of the stream, because epoll
    /// reports no further edge.
    pub hung_up: bool,
}

impl Links {
    /// Whether a read is scheduled.
    pub fn wants_turn(&self) -> bool {
        self.read_scheduled.contains(&true)
    }
}
