//! The state of a Socket.IO client.

use std::rc::Rc;

use smallvec::SmallVec;

use super::{identity::Agent, namespace::NamespaceId};
use crate::{engineio::Engine, key::SessionKey, memory::Charge};

/// The part of a client that only Socket.IO clients have.
pub struct Socket {
    /// Its Engine.IO session.
    pub engine: Engine,
    /// Its address (empty for a peer of a Unix socket), a space, and the query of its handshake: the login fields in it
    /// are valid for every namespace that the client joins later.
    pub handshake: Box<str>,
    /// The page and the browser.
    pub agent: Rc<Agent>,
    /// Its sessions, one for each namespace that it is in.
    pub sessions: SmallVec<[(NamespaceId, SessionKey); 1]>,
    /// A packet whose attachments have not all arrived.
    pub assembly: Option<Box<Assembly>>,
}

const _: () = assert!(size_of::<Socket>() <= 104);

/// A packet that waits for its attachments.
#[derive(Default)]
pub struct Assembly {
    /// The text of the packet.
    pub packet: String,
    /// How many attachments it announces.
    pub wanted: usize,
    /// The attachments that have arrived.
    pub attachments: Vec<Vec<u8>>,
    /// Bytes of the packet and its attachments so far.
    pub size: usize,
    /// Counts them.
    pub charge: Charge,
}

impl Socket {
    /// The page and the browser, to be [released](super::identity::Agents::release) at the end of the client.
    pub fn into_agent(self) -> Rc<Agent> {
        self.agent
    }
}
