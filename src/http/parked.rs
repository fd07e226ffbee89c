//! Requests that are answered later.

use crate::key::ClientKey;

/// A request that is answered later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// An Engine.IO poll, which waits for packets without a time limit.
    Poll {
        /// The client whose packets it waits for.
        client: ClientKey,
        /// The `Origin` of the page that may read the answer; empty if the request has none.
        origin: Box<str>,
    },
    /// Notifications that wait for receipts. The hub bounds the time.
    Receipts {
        /// The number of the answer.
        answer: u64,
        /// The `Origin` of the page that may read the answer; empty if the request has none.
        origin: Box<str>,
    },
    /// A page that waits up to `limits.request_timeout`.
    Page(Awaited),
    /// The upgrade to a WebSocket, or a stream, which waits until the backend admits the client.
    Login {
        /// The client that connects.
        client: ClientKey,
        /// The encoded response to send if the client is admitted.
        response: Vec<u8>,
        /// The `Origin` of the page that may read a refusal; empty if no page may.
        origin: Box<str>,
        /// Whether the client is an EventSource, which must only be refused for good if it shall not come back.
        event_source: bool,
    },
}

/// What a page waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The files of the message log.
    Disk,
    /// A look-up of other relays' data.
    Redis,
}
