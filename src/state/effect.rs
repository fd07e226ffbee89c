//! What the pure floors ask of the world.

use crate::{key::ClientKey, websocket::Close};

/// Something that [`Server`](crate::server::Server) must do, in the order in which it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End this client's session with [`Hub::end`](crate::hub::Hub::end), and its connection once its outbox is empty.
    Close {
        /// The client.
        client: ClientKey,
        /// The close code and reason.
        close: Close,
    },
    /// Complete the WebSocket handshake of this client, which waited for the backend.
    Admit {
        /// The client.
        client: ClientKey,
    },
    /// Answer the handshake of this client with 401.
    Refuse {
        /// The client.
        client: ClientKey,
        /// The reason.
        why: Box<str>,
    },
    /// Look at the deadline of this client's engine again: it may be nearer than it was.
    Rearm {
        /// The client.
        client: ClientKey,
    },
}
