//! Speaking to Redis: its protocol (RESP2), and what a connection does beside carrying commands. Pure: bytes come in and
//! go out, sockets are the world's.

pub mod link;
pub mod resp;

pub use self::{
    link::{Event, Link, Role},
    resp::{Malformed, Reader, Reply},
};
