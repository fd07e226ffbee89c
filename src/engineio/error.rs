//! Errors of a client, with the codes that Engine.IO clients know.

use core::fmt;

/// Why a request or packet is refused. `Display` is the `message` of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `transport` is missing, or neither `polling` nor `websocket`.
    UnknownTransport,
    /// No session has this `sid`.
    UnknownSid,
    /// A session must be opened with `GET`.
    BadHandshakeMethod,
    /// The session does not allow the request in its present state: why.
    BadRequest(&'static str),
    /// The `Origin` of the page is not allowed.
    Forbidden,
    /// `EIO` is missing, or neither 3 nor 4.
    UnsupportedVersion,
    /// A packet or payload does not follow the protocol: why.
    Malformed(&'static str),
    /// A packet has more than `socketio.max_payload` bytes.
    TooLarge,
}

impl Error {
    /// The `code` of the answer (engine.io, `Server.errors`).
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

    /// The `message` of the answer. Those of the codes 0, 1, 2, 4 and 5 are engine.io's, which clients compare.
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

    /// The status code of the answer: 400, 403 or 413.
    pub fn status(self) -> u16 {
        match self {
            Error::Forbidden => 403,
            Error::TooLarge => 413,
            _ => 400,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}
