//! One call to the backend.

use crate::{key::ClientKey, state::NamespaceId};

/// A client in a namespace. Calls of one lane are sent in order, one at a time.
pub type Lane = (ClientKey, NamespaceId);

/// The event that a call reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client tries to connect, and waits for the answer.
    Connect,
    /// A session ended.
    Disconnect,
    /// A client sent an event.
    Message,
}

impl Kind {
    /// Its name in `hooks.events` and in the field `event` of a call.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::Disconnect => "disconnect",
            Kind::Message => "message",
        }
    }
}

/// A call, ready to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number, under which [`Hooks`](super::Hooks) keeps the session that waits for the answer.
    pub number: u64,
    /// Its lane: it is sent after the earlier calls of the lane.
    pub lane: Lane,
    /// The event that it reports.
    pub kind: Kind,
    /// The value of the header `Idempotency-Key`, which is the same in every attempt.
    pub id: Box<str>,
    /// The body, a JSON object.
    pub body: Box<str>,
    /// How many bytes are kept until it is answered, besides the call itself.
    pub extra: usize,
}

impl Call {
    /// How many bytes of memory it takes until it is answered.
    pub fn size(&self) -> usize {
        self.id.len() + self.body.len() + self.extra + OVERHEAD
    }
}

/// The memory of a call without its texts: its places in the queue, in its lane and among the waiting sessions.
const OVERHEAD: usize = 512;
