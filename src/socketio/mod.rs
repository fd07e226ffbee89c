//! Socket.IO protocol, revision 4 (over Engine.IO 3) and revision 5 (over Engine.IO 4).
//!
//! Source: `docs/socket.io-protocol/v4.md` and `v5-current.md` of socketio/socket.io.

pub mod packet;
pub mod placeholder;

pub use self::packet::{Error, Kind, Packet};
