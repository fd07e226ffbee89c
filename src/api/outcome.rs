//! The result of routing a request.

use super::{page::Page, view::View};
use crate::{http::Reply, key::ClientKey};

/// The result of routing a request: a reply, an upgrade to another protocol, or a wait.
pub enum Outcome {
    /// Send this reply.
    Reply(Reply),
    /// Send `response`, and treat the connection as a WebSocket from then on.
    Upgrade {
        /// The client that was admitted.
        client: ClientKey,
        /// The encoded 101 response.
        response: Vec<u8>,
    },
    /// Wait until the backend admits or refuses the client, with `Effect::Admit` or `Effect::Refuse`. Then upgrade as with
    /// [`Outcome::Upgrade`], or reply.
    AwaitBackend {
        /// The client that wants to log in.
        client: ClientKey,
        /// The encoded 101 response.
        response: Vec<u8>,
    },
    /// Wait until Redis has answered the look-up for this view.
    AwaitLookup(View),
    /// Wait until the message log's thread has read this page.
    AwaitDisk(Page),
    /// Wait until there are packets for an Engine.IO poll.
    AwaitPackets {
        /// The client that polls.
        client: ClientKey,
        /// The `Origin` of the page that may read the answer; empty if the request has none.
        origin: Box<str>,
    },
    /// Send `response` and a close frame, and close the connection: the session that the WebSocket is for has one already.
    CloseWebSocket {
        /// The encoded 101 response.
        response: Vec<u8>,
    },
    /// Send `response`, and treat the connection from then on as a WebSocket that probes to take over from polling.
    Probe {
        /// The client that polls until then.
        client: ClientKey,
        /// The encoded 101 response.
        response: Vec<u8>,
    },
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome::Reply(reply)
    }
}
