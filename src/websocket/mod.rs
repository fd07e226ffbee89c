//! WebSocket (RFC 6455) on the server's side: the handshake, messages from clients, and close codes. Messages to
//! clients are [frames](crate::frame), encoded once for all receivers.

pub mod close;
pub mod handshake;
pub mod peer;

pub use self::{close::Close, peer::Error};
