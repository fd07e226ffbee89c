//! What becomes of a request.

use super::{page::Page, view::View};
use crate::{http::Reply, key::ClientKey};

/// What becomes of a request.
pub enum Outcome {
    /// It is answered.
    Reply(Reply),
    /// The connection is a WebSocket from here on, once `response` is out.
    Upgrade {
        /// Who was let in.
        client: ClientKey,
        /// The bytes of the 101.
        response: Vec<u8>,
    },
    /// The same, if the backend lets it in: until then it waits.
    Ask {
        /// Who wants in.
        client: ClientKey,
        /// The bytes of the 101.
        response: Vec<u8>,
    },
    /// It waits for what Redis knows of siblings.
    Count(View),
    /// It waits for a page of the message log.
    Read(Page),
    /// It is a poll that waits for packets.
    Parked {
        /// For whom.
        client: ClientKey,
        /// The page that may read the answer; nothing if no page asked.
        origin: Box<str>,
    },
    /// The connection is a WebSocket that tries to take over from polling, once `response` is out.
    Probe {
        /// From whose.
        client: ClientKey,
        /// The bytes of the 101.
        response: Vec<u8>,
    },
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome::Reply(reply)
    }
}
