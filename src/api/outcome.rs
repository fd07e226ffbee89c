//! The result of routing a request.

use super::{inquiry::Inquiry, page::Page, view::View};
use crate::{
    http::Reply,
    key::{ClientKey, SessionKey},
    language::Language,
};

/// The result of routing a request: a reply, an upgrade to another protocol, or a wait.
pub enum Outcome {
    /// Send this reply.
    Reply(Reply),
    /// Send `response`, and treat the connection from then on as the client's WebSocket or stream.
    Upgrade {
        /// The client that was admitted.
        client: ClientKey,
        /// The encoded 101 response, or the head of the stream.
        response: Vec<u8>,
    },
    /// Wait until the backend admits or refuses the client, with `Effect::Admit` or `Effect::Refuse`. Then upgrade as with
    /// [`Outcome::Upgrade`], or reply.
    AwaitBackend {
        /// The client that wants to log in.
        client: ClientKey,
        /// The encoded 101 response, or the head of the stream.
        response: Vec<u8>,
        /// The `Origin` of the page that may read a refusal; empty if no page may.
        origin: Box<str>,
        /// Whether the client is an EventSource.
        event_source: bool,
    },
    /// Wait until Redis has answered the look-up for this view.
    AwaitLookup(View),
    /// Wait until the receipts of notifications are done.
    AwaitReceipts {
        /// The number of the answer.
        answer: u64,
        /// The `Origin` of the page that may read the answer; empty if the request has none.
        origin: Box<str>,
    },
    /// Wait until the message log's thread has read this page.
    AwaitDisk(Page),
    /// Answer in this language with what is known of a session and its connection.
    Describe(SessionKey, Language),
    /// Answer a question of an operator with what the kernel knows of the connections.
    Explain(Box<Inquiry>),
    /// Wait until the configuration is read again.
    AwaitReload,
    /// Wait until there are packets for an Engine.IO poll.
    AwaitPackets {
        /// The client that polls.
        client: ClientKey,
        /// The `Origin` of the page that may read the answer; empty if the request has none.
        origin: Box<str>,
    },
    /// Send these bytes, and close the connection.
    Last(Vec<u8>),
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
