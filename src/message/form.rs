//! The forms in which clients receive messages.

/// How a member wants a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"event":"newMsg",…}` in a text frame.
    Json,
    /// The data itself.
    Text,
    /// A Socket.IO event over Engine.IO 3.
    SocketIo3,
    /// The same over Engine.IO 4.
    SocketIo4,
}

impl Form {
    /// How many forms there are.
    pub const COUNT: usize = 4;
}
