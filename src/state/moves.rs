//! Sessions that join and leave rooms, for the feature that keeps track of who is where.

use std::rc::Rc;

use super::{departure::Departure, tenant::TenantId};
use crate::key::{ClientKey, SessionKey};

/// A change of who is in a room.
#[derive(Debug)]
pub enum Move {
    /// A session has joined a room.
    Joined(Joined),
    /// A session has left a room.
    Left(Left),
    /// A client that was behind gets messages live again.
    CaughtUp(ClientKey),
}

/// A session that has joined a room.
#[derive(Debug)]
pub struct Joined {
    /// Its tenant.
    pub tenant: TenantId,
    /// The room.
    pub room: Rc<str>,
    /// The session.
    pub session: SessionKey,
    /// The user's id. Empty if the login has none.
    pub userid: Box<str>,
    /// The user's name.
    pub username: Box<str>,
    /// Whether the session gets the event `presence`.
    pub subscribes: bool,
}

/// A session that has left a room. It may be gone.
#[derive(Debug)]
pub struct Left {
    /// Its tenant.
    pub tenant: TenantId,
    /// The room.
    pub room: Rc<str>,
    /// The session.
    pub session: SessionKey,
    /// The user's id. Empty if the login has none.
    pub userid: Box<str>,
    /// Whether the user is expected back.
    pub departure: Departure,
}
