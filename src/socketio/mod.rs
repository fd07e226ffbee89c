//! Socket.IO, protocol revisions 4 (over Engine.IO 3) and 5 (over Engine.IO 4).

pub mod packet;
pub mod placeholder;

pub use self::packet::{Error, Kind, Packet};
