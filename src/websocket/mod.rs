//! WebSocket (RFC 6455) as a server speaks it: the upgrade, messages in, and how a connection ends. Messages out are
//! [frames](crate::frame), encoded once for everybody.

pub mod handshake;
pub mod peer;

/// Why a connection ends: a status code (RFC 6455 section 7.4.1) and a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'static str,
}

impl Close {
    /// The peer asked for the end.
    pub const ASKED: Close = Close { code: 1000, reason: "" };
    /// The relay stops: come back.
    pub const GOING_AWAY: Close = Close { code: 1001, reason: "relay is stopping, come back" };
    /// The peer broke the protocol.
    pub const PROTOCOL: Close = Close { code: 1002, reason: "protocol error" };
    /// A text message was no UTF-8.
    pub const NOT_UTF8: Close = Close { code: 1007, reason: "text must be UTF-8" };
    /// The peer gave no sign of life, or joined no namespace.
    pub const GONE: Close = Close { code: 1008, reason: "no sign of life" };
    /// The peer broke a rule of the house.
    pub const RATE: Close = Close { code: 1008, reason: "message rate limit exceeded!" };
    /// An operator ended the session.
    pub const OPERATOR: Close = Close { code: 1008, reason: "disconnected by the operator" };
    /// Its source is no longer configured.
    pub const SOURCE_GONE: Close = Close { code: 1008, reason: "this source can not be configured!" };
    /// A message was larger than allowed.
    pub const TOO_BIG: Close = Close { code: 1009, reason: "message too big" };
    /// The peer does not read what it is sent.
    pub const SLOW: Close = Close { code: 1013, reason: "slow consumer" };

    /// The closing frame's payload.
    pub fn payload(self) -> impl Iterator<Item = u8> {
        self.code.to_be_bytes().into_iter().chain(self.reason.bytes())
    }
}

/// How a peer broke the protocol, by what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Frames that make no sense.
    Protocol,
    /// A message beyond the limit.
    TooBig,
    /// Text that is none.
    Utf8,
}

impl Error {
    /// The end it leads to.
    pub fn close(self) -> Close {
        match self {
            Error::Protocol => Close::PROTOCOL,
            Error::TooBig => Close::TOO_BIG,
            Error::Utf8 => Close::NOT_UTF8,
        }
    }
}
