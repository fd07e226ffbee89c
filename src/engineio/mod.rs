//! Engine.IO, revisions 3 (Socket.IO 1.x and 2.x) and 4 (3.x and later): a session over polling, over a WebSocket, or
//! first the one and then the other.

pub mod engine;
pub mod packet;
pub mod payload;

pub use self::{engine::Engine, packet::Packet};

/// Which of the two is spoken: `EIO=` in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: the client pings.
    V3,
    /// `EIO=4`: the server pings.
    V4,
}

/// What a client did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `transport` is missing or neither `polling` nor `websocket`.
    UnknownTransport,
    /// No session has that `sid`.
    UnknownSid,
    /// A session is opened with `GET`.
    BadHandshakeMethod,
    /// The session does not allow that now.
    BadRequest(&'static str),
    /// The page's origin may not call.
    Forbidden,
    /// `EIO` is missing or neither 3 nor 4.
    UnsupportedVersion,
    /// A payload or packet does not follow the protocol.
    Malformed(&'static str),
    /// A packet is larger than `max_payload`.
    TooLarge,
}

impl Error {
    /// The number that clients know (engine.io's `Server.errors`).
    pub fn code(self) -> u8 {
        match self {
            Error::UnknownTransport => 0,
            Error::UnknownSid => 1,
            Error::BadHandshakeMethod => 2,
            Error::BadRequest(_) | Error::Malformed(_) | Error::TooLarge => 3,
            Error::Forbidden => 4,
            Error::UnsupportedVersion => 5,
        }
    }

    /// The text that goes with the number.
    pub fn message(self) -> &'static str {
        match self {
            Error::UnknownTransport => "Transport unknown",
            Error::UnknownSid => "Session ID unknown",
            Error::BadHandshakeMethod => "Bad handshake method",
            Error::BadRequest(why) | Error::Malformed(why) => why,
            Error::TooLarge => "the packet is larger than maxPayload",
            Error::Forbidden => "Forbidden",
            Error::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The status of an HTTP answer.
    pub fn status(self) -> u16 {
        match self {
            Error::Forbidden => 403,
            Error::TooLarge => 413,
            _ => 400,
        }
    }
}
