//! Forms: the ways in which clients receive messages.

/// The form in which a session receives messages and events (docs/protocol.md, Plain WebSocket, and Socket.IO and
/// Engine.IO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"event":"newMsg",…}` in a text frame.
    Json,
    /// The data itself, in a text or binary frame (`format=text`).
    Text,
    /// A Socket.IO event over Engine.IO 3.
    SocketIo3,
    /// A Socket.IO event over Engine.IO 4.
    SocketIo4,
}

impl Form {
    /// The number of forms.
    pub const COUNT: usize = 4;
}
