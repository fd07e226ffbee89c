//! The revision of the protocol.

/// The revision of Engine.IO that a client uses: `EIO=` in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: the client sends pings.
    V3,
    /// `EIO=4`: the server sends pings.
    V4,
}
