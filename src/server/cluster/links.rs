//! The two connections to Redis: one subscribes, one does everything else.

use crate::{
    api::view::View,
    clock::Time,
    key::ConnKey,
    server::{conn::Socket, resolver::Resolver},
};

/// The connections, and what the loop keeps about them.
#[derive(Default)]
pub struct Links {
    /// By [`Role`](crate::redis::Role).
    pub links: [Option<Link>; 2],
    /// Resolves the name in `redis.url`.
    pub resolver: Resolver,
    /// Whether there may be more to read, by role.
    pub read_scheduled: [bool; 2],
    /// Publications in a row that no client of this relay received.
    pub unwanted: u64,
    /// The subscription is not watched until then, because its publications concern no client of this relay.
    pub paused_until: Option<Time>,
    /// Requests that wait for a look-up in Redis.
    pub waiting: Vec<(ConnKey, View)>,
}

/// A connection.
pub struct Link {
    /// Its socket.
    pub socket: Socket,
    /// Whether it is established.
    pub connected: bool,
    /// Whether Redis sends no more. Its end must be read now, since there will be no other event.
    pub hung_up: bool,
}

impl Links {
    /// Whether there is more to read.
    pub fn wants_turn(&self) -> bool {
        self.read_scheduled.contains(&true)
    }
}
