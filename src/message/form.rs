//! Forms: the ways in which clients receive messages.

use super::bytes::write_base64_digits;
use crate::{
    engineio::{Revision, packet::MESSAGE},
    frame::Opcode,
};

/// The form in which a session receives messages and events (docs/protocol.md, Plain WebSocket, and Socket.IO and
/// Engine.IO, and Server-Sent Events).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `{"event":"newMsg",…}` in a text frame.
    Json,
    /// [`Form::Json`] with the time of the message (`ts`).
    JsonTime,
    /// The data itself, in a text or binary frame (`format=text`).
    Text,
    /// A Socket.IO event over Engine.IO 3.
    SocketIo3,
    /// A Socket.IO event over Engine.IO 4.
    SocketIo4,
    /// [`Form::SocketIo4`] with the id as a further argument of messages, for clients that keep their own position.
    SocketIo4Offset,
    /// [`Form::SocketIo3`] over a WebSocket with `b64`: attachments are base64 in text frames.
    SocketIo3Base64,
    /// [`Form::SocketIo4`] over a WebSocket with `b64`: attachments are base64 in text frames.
    SocketIo4Base64,
    /// A block of a `text/event-stream`: the JSON of [`Form::JsonTime`] without its `event`.
    Sse,
    /// A block of a `text/event-stream`: the data itself (`format=text`).
    SseText,
    /// A line with the JSON of [`Form::JsonTime`] (`format=lines`).
    Lines,
}

impl Form {
    /// The number of forms.
    pub const COUNT: usize = 11;

    /// The form of a Socket.IO client. `base64` says whether its WebSocket was opened with `b64`.
    pub fn socketio(revision: Revision, base64: bool) -> Form {
        match (revision, base64) {
            (Revision::V3, false) => Form::SocketIo3,
            (Revision::V3, true) => Form::SocketIo3Base64,
            (Revision::V4, false) => Form::SocketIo4,
            (Revision::V4, true) => Form::SocketIo4Base64,
        }
    }

    /// The frames of attachments in this form. `None` for forms that have attachments inside their JSON.
    pub fn attachments(self) -> Option<Attachments> {
        match self {
            Form::Json | Form::JsonTime | Form::Text | Form::Sse | Form::SseText | Form::Lines => None,
            Form::SocketIo3 => Some(Attachments { revision: Revision::V3, base64: false }),
            Form::SocketIo4 | Form::SocketIo4Offset => Some(Attachments { revision: Revision::V4, base64: false }),
            Form::SocketIo3Base64 => Some(Attachments { revision: Revision::V3, base64: true }),
            Form::SocketIo4Base64 => Some(Attachments { revision: Revision::V4, base64: true }),
        }
    }

    /// The revision of Engine.IO of a Socket.IO client.
    pub fn revision(self) -> Option<Revision> {
        self.attachments().map(|attachments| attachments.revision)
    }

    /// Whether clients receive it without WebSocket frames, in the body of an HTTP response that does not end (`GET /sse`).
    pub fn is_stream(self) -> bool {
        matches!(self, Form::Sse | Form::SseText | Form::Lines)
    }

    /// Whether it is the form of a Socket.IO client.
    pub fn is_socketio(self) -> bool {
        self.attachments().is_some()
    }
}

/// How attachments are put into frames.
#[derive(Clone, Copy, Debug)]
pub struct Attachments {
    /// The revision of Engine.IO.
    pub revision: Revision,
    /// Whether they are base64 in text frames.
    pub base64: bool,
}

impl Attachments {
    /// The kind of their frames.
    pub fn opcode(self) -> Opcode {
        if self.base64 { Opcode::Text } else { Opcode::Binary }
    }

    /// Appends an attachment as the payload of such a frame. Engine.IO 3 puts the packet type before it.
    pub fn write(self, out: &mut Vec<u8>, bytes: &[u8]) {
        match (self.revision, self.base64) {
            (Revision::V3, false) => out.push(MESSAGE),
            (Revision::V4, false) => {}
            (Revision::V3, true) => out.extend_from_slice(&[b'b', b'0' + MESSAGE]),
            (Revision::V4, true) => out.push(b'b'),
        }
        match self.base64 {
            true => write_base64_digits(out, bytes),
            false => out.extend_from_slice(bytes),
        }
    }
}
