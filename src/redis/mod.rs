//! The client side of Redis: the protocol RESP2, and the state of a connection. It does no I/O: the server has the
//! sockets.

pub mod failure;
pub mod link;
pub mod resp;
pub mod sentinel;

pub use self::{
    failure::Failure,
    link::{Event, Link, Role},
    resp::{Malformed, Reader, Reply},
    sentinel::SentinelQuery,
};
