//! Requests of the pure modules to the server.

use crate::{
    key::{ClientKey, ConnKey},
    websocket::Close,
};

/// An action for [`Server`](crate::server::Server). Effects are carried out in the order in which they were pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End a client's sessions with [`Hub::end`](crate::hub::Hub::end). Its WebSocket ends after the closing handshake,
    /// a polling session with its last poll; a login that waits for the backend is answered with 503.
    Close {
        /// The client.
        client: ClientKey,
        /// The close code and reason.
        close: Close,
    },
    /// End a client as lost: reset its connection, so that nothing of what was sent arrives any more.
    Lose {
        /// The client.
        client: ClientKey,
    },
    /// Find out what a client whose sign of life is late has received, and call
    /// [`State::note_stall`](super::State::note_stall).
    NoteStall {
        /// The client.
        client: ClientKey,
    },
    /// Find out what a client that was silent has received, and call
    /// [`Hub::set_aside`](crate::hub::Hub::set_aside).
    SetAside {
        /// The client.
        client: ClientKey,
    },
    /// Complete the WebSocket handshake of a client that the backend has admitted, or begin its stream.
    Admit {
        /// The client.
        client: ClientKey,
    },
    /// Answer the login of a client with 401: the backend has refused it, or has not decided. An EventSource that waits
    /// because of the latter is told to come back.
    Refuse {
        /// The client.
        client: ClientKey,
        /// The text of the refusal.
        why: Box<str>,
        /// Whether the backend has not decided: it does not answer, or its answer cannot be used.
        undecided: bool,
    },
    /// Rearm the timer of a client's Engine.IO session: its deadline may be earlier than before.
    Rearm {
        /// The client.
        client: ClientKey,
    },
    /// Answer the request of a backend that waits for receipts, if its connection is still there.
    Answer {
        /// The connection.
        conn: ConnKey,
        /// The JSON.
        body: Vec<u8>,
    },
}
