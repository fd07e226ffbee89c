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
    /// The `Origin` of the page is not allowed.
    Forbidden,
    /// `EIO` is missing, or neither 3 nor 4.
    UnsupportedVersion,
    /// A poll asks for JSONP (`j=`).
    Jsonp,
    /// `transport` is `websocket`, but the request does not ask for an upgrade.
    NoUpgrade,
    /// A request of a session is neither `GET` nor `POST`.
    Method,
    /// A poll or a POST of a session whose transport is a WebSocket.
    OtherTransport,
    /// A poll while another one is pending.
    PollPending,
    /// A WebSocket while another one is probing.
    ProbePending,
    /// A WebSocket for a session that has one.
    HasWebSocket,
    /// A packet has more than `socketio.max_payload` bytes.
    TooLarge,
    /// A ping in revision 4, where the server sends the pings, or a pong in revision 3, where the client does.
    HeartbeatDirection,
    /// An open packet, which only a server sends.
    OpenPacket,
    /// An upgrade packet before a probe was answered.
    UpgradeWithoutProbe,
    /// The first character of a packet is not the digit of a packet type.
    PacketType,
    /// A binary packet of revision 3 has another type than message.
    BinaryNotMessage,
    /// A packet in a binary payload of revision 3 is marked as neither string nor binary.
    PacketKind,
    /// The length in front of a packet in a payload of revision 3 is not a number, or more than what follows.
    PacketLength,
    /// A payload is not UTF-8.
    PayloadNotUtf8,
    /// A binary packet in a payload is not base64.
    NotBase64,
}

impl Error {
    /// The `code` of the answer (engine.io, `Server.errors`).
    pub fn code(self) -> u8 {
        match self {
            Error::UnknownTransport => 0,
            Error::UnknownSid => 1,
            Error::BadHandshakeMethod => 2,
            Error::Forbidden => 4,
            Error::UnsupportedVersion => 5,
            _ => BAD_REQUEST,
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
        f.write_str(match self {
            // engine.io's own texts, which clients compare.
            Error::UnknownTransport => "Transport unknown",
            Error::UnknownSid => "Session ID unknown",
            Error::BadHandshakeMethod => "Bad handshake method",
            Error::Forbidden => "Forbidden",
            Error::UnsupportedVersion => "Unsupported protocol version",
            // relay's texts.
            Error::Jsonp => "JSONP polling is not supported",
            Error::NoUpgrade => "transport=websocket needs an Upgrade header",
            Error::Method => "use GET to poll a session and POST to send to it",
            Error::OtherTransport => "the session has another transport",
            Error::PollPending => "another poll is pending",
            Error::ProbePending => "another WebSocket is probing",
            Error::HasWebSocket => "the session has a WebSocket already",
            Error::TooLarge => "the packet is larger than maxPayload",
            Error::HeartbeatDirection => "the other side sends the pings",
            Error::OpenPacket => "a client must not send an open packet",
            Error::UpgradeWithoutProbe => "an upgrade needs a probe first",
            Error::PacketType => "unknown packet type",
            Error::BinaryNotMessage => "a binary packet must be a message",
            Error::PacketKind => "a packet must be a string or binary",
            Error::PacketLength => "a packet has a wrong length",
            Error::PayloadNotUtf8 => "the payload must be UTF-8",
            Error::NotBase64 => "a binary packet must be base64",
        })
    }
}

impl std::error::Error for Error {}

/// The `code` of all errors that have none of their own (engine.io, `BAD_REQUEST`).
pub const BAD_REQUEST: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_see_these_answers() {
        for (error, status, code, text) in [
            (Error::UnknownTransport, 400, 0, "Transport unknown"),
            (Error::UnknownSid, 400, 1, "Session ID unknown"),
            (Error::BadHandshakeMethod, 400, 2, "Bad handshake method"),
            (Error::Forbidden, 403, 4, "Forbidden"),
            (Error::UnsupportedVersion, 400, 5, "Unsupported protocol version"),
            (Error::TooLarge, 413, 3, "the packet is larger than maxPayload"),
            (Error::Jsonp, 400, 3, "JSONP polling is not supported"),
            (Error::NoUpgrade, 400, 3, "transport=websocket needs an Upgrade header"),
            (Error::PollPending, 400, 3, "another poll is pending"),
            (Error::PacketType, 400, 3, "unknown packet type"),
        ] {
            assert_eq!((error.status(), error.code(), &*error.to_string()), (status, code, text));
        }
    }
}
