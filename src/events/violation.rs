//! How a client of Socket.IO violates the protocol.

use core::{error, fmt};

use crate::{engineio, socketio, websocket::Close};

/// Why a packet is refused. The session is then closed. `Display` is the `message` of the answer to a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A violation of Engine.IO.
    EngineIo(engineio::Error),
    /// The text of a message is not a packet of Socket.IO.
    Packet(socketio::Error),
    /// A text packet, while attachments of the packet before it are missing.
    AttachmentsMissing,
    /// A packet has too many attachments, or placeholders that do not fit them.
    Attachments,
    /// A binary message that is no attachment of a packet.
    StrayAttachment,
    /// More CONNECT and DISCONNECT packets than `limits.message_rate` allows.
    TooManyMoves,
    /// A CONNECT to a namespace that the client is in.
    Connected,
    /// All incomplete requests and messages together reach `limits.unfinished`.
    Unfinished,
}

impl Violation {
    /// The `code` of the answer (engine.io, `Server.errors`).
    pub fn code(self) -> u8 {
        match self {
            Violation::EngineIo(error) => error.code(),
            _ => engineio::error::BAD_REQUEST,
        }
    }

    /// The status code of the answer: 400, 403, 413 or 503.
    pub fn status(self) -> u16 {
        match self {
            Violation::EngineIo(error) => error.status(),
            Violation::Unfinished => 503,
            _ => 400,
        }
    }

    /// The close that a client with a WebSocket gets.
    pub fn close(self) -> Close {
        match self {
            Violation::EngineIo(engineio::Error::TooLarge) => Close::TOO_BIG,
            Violation::Unfinished => Close::UNFINISHED,
            _ => Close::PROTOCOL,
        }
    }
}

impl From<engineio::Error> for Violation {
    fn from(error: engineio::Error) -> Violation {
        Violation::EngineIo(error)
    }
}

impl From<socketio::Error> for Violation {
    fn from(error: socketio::Error) -> Violation {
        Violation::Packet(error)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::EngineIo(error) => return error.fmt(f),
            Violation::Packet(error) => return error.fmt(f),
            Violation::AttachmentsMissing => "attachments were to come",
            Violation::Attachments => "illegal attachments",
            Violation::StrayAttachment => "bytes that belong to no packet",
            Violation::TooManyMoves => "too many packets of that type",
            Violation::Connected => "the namespace was joined already",
            Violation::Unfinished => Close::UNFINISHED.reason,
        })
    }
}

impl error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_see_these_answers() {
        let too_large = Violation::from(engineio::Error::TooLarge);
        assert_eq!((too_large.status(), too_large.code(), too_large.close()), (413, 3, Close::TOO_BIG));
        let unknown = Violation::from(engineio::Error::UnknownSid);
        assert_eq!((unknown.status(), unknown.code(), unknown.close()), (400, 1, Close::PROTOCOL));
        for (violation, text) in [
            (too_large, "the packet is larger than maxPayload"),
            (unknown, "Session ID unknown"),
            (socketio::Error::Type.into(), "unknown packet type"),
            (Violation::AttachmentsMissing, "attachments were to come"),
            (Violation::Attachments, "illegal attachments"),
            (Violation::StrayAttachment, "bytes that belong to no packet"),
            (Violation::TooManyMoves, "too many packets of that type"),
            (Violation::Connected, "the namespace was joined already"),
        ] {
            assert_eq!(violation.to_string(), text);
        }
        assert_eq!((Violation::Attachments.status(), Violation::Attachments.code()), (400, 3));
    }
}
