//! Engine.IO, revision 3 (Socket.IO 1.x and 2.x) and revision 4 (Socket.IO 3.x and later): sessions over HTTP polling, over a
//! WebSocket, or upgraded from the one to the other.
//!
//! Source: `docs/engine.io-protocol/v3.md` and `v4-current.md` of socketio/socket.io.

pub mod engine;
pub mod error;
pub mod latin1;
pub mod packet;
pub mod payload;
pub mod revision;

pub use self::{engine::Engine, error::Error, packet::Packet, revision::Revision};
