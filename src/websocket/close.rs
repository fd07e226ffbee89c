//! Why a connection is closed.

/// A status code and a reason (RFC 6455 sections 5.5.1 and 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: &'static str,
}

impl Close {
    /// The client closed its Engine.IO session.
    pub const NORMAL: Close = Close { code: 1000, reason: "" };
    /// relay is shutting down; the client should reconnect.
    pub const GOING_AWAY: Close = Close { code: 1001, reason: "relay is stopping, come back" };
    /// The client violated the protocol, or ten of its logins were refused.
    pub const PROTOCOL: Close = Close { code: 1002, reason: "protocol error" };
    /// The Engine.IO session has a WebSocket already, or one that probes.
    pub const SECOND: Close = Close { code: 1008, reason: "the session has a WebSocket already" };
    /// A text message is not UTF-8.
    pub const NOT_UTF8: Close = Close { code: 1007, reason: "text must be UTF-8" };
    /// The client did not answer a ping, joined no namespace in time, or did not send all attachments in time.
    pub const UNRESPONSIVE: Close = Close { code: 1008, reason: "no sign of life" };
    /// The client exceeded `limits.message_rate`, or with `format=text` sent a message that is too large for so many
    /// rooms.
    pub const RATE: Close = Close { code: 1008, reason: "message rate limit exceeded!" };
    /// A client with `format=text` sent a message, which `client_posts` of its source does not allow.
    pub const POSTS_OFF: Close = Close { code: 1008, reason: "clients of this source can not post!" };
    /// A client with `format=text` sent a message, and its login only allows it to read.
    pub const READ_ONLY: Close = Close { code: 1008, reason: "this login can not post!" };
    /// The login was valid for a limited time, which has passed. The code is one for private use (RFC 6455 section 7.4.2), like
    /// HTTP's 401, so that a client can tell it from other ends without looking at the text.
    pub const EXPIRED: Close = Close { code: 4401, reason: "the login has expired, log in again" };
    /// An operator or the backend disconnected the client.
    pub const OPERATOR: Close = Close { code: 1008, reason: "disconnected by the operator" };
    /// The source or the namespace was removed from the configuration.
    pub const SOURCE_GONE: Close = Close { code: 1008, reason: "this source can not be configured!" };
    /// After a reload, the session would no longer be admitted: its namespace asks for a signature or the backend's decision
    /// now, or has another source.
    pub const NOT_ADMITTED: Close = Close { code: 1008, reason: "the configuration changed, log in again" };
    /// A message exceeds `limits.message`, or a Socket.IO packet exceeds `socketio.max_payload`.
    pub const TOO_BIG: Close = Close { code: 1009, reason: "message too big" };
    /// The client was in no namespace, and its place was needed for another.
    pub const UNJOINED: Close = Close { code: 1013, reason: "too many clients without a namespace" };
    /// A message of the client is incomplete, and all incomplete requests and messages together reach `limits.unfinished`.
    pub const UNFINISHED: Close = Close { code: 1013, reason: "too many messages are incomplete, try again later" };
    /// A message of the client is incomplete, and `limits.memory` is reached.
    pub const SHORT: Close = Close { code: 1013, reason: "relay is short of memory, try again later" };
    /// The client reads its messages too slowly: `limits.unsent` is exceeded, or `limits.memory` is.
    pub const SLOW: Close = Close { code: 1013, reason: "slow consumer" };

    /// The close frame.
    pub fn frame(self) -> Vec<u8> {
        [0x88, 2 + self.reason.len() as u8].into_iter().chain(self.payload()).collect()
    }

    /// The payload of the close frame.
    pub fn payload(self) -> impl Iterator<Item = u8> {
        self.code.to_be_bytes().into_iter().chain(self.reason.bytes())
    }
}
