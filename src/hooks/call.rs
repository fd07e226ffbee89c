//! One call to the backend.

use crate::{key::ClientKey, state::NamespaceId};

/// Calls in one lane keep their order: a client in a namespace.
pub type Lane = (ClientKey, NamespaceId);

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client wants to connect, and waits for the answer.
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
    /// Its number, by which [`Hooks`](super::Hooks) knows who waits for the answer.
    pub number: u64,
    /// The calls that must be sent before this one.
    pub lane: Lane,
    /// What it is about.
    pub kind: Kind,
    /// The header `Idempotency-Key`: every attempt has the same.
    pub id: Box<str>,
    /// The body, a JSON object.
    pub body: Box<str>,
}
