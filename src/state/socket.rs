//! A client that speaks Socket.IO.

use std::rc::Rc;

use smallvec::SmallVec;

use super::{identity::Agent, namespace::NamespaceId};
use crate::{engineio::Engine, key::SessionKey};

/// What a client has that speaks Socket.IO.
pub struct Socket {
    /// Its session of Engine.IO.
    pub engine: Engine,
    /// Its address if it has one, a namespace, and the query it opened the session with: namespaces may be joined with it
    /// at any time.
    pub opening: Box<str>,
    /// The page and the browser.
    pub agent: Rc<Agent>,
    /// The namespaces it is in.
    pub sessions: SmallVec<[(NamespaceId, SessionKey); 1]>,
    /// A packet whose attachments have not all come.
    pub assembly: Option<Box<Assembly>>,
}

const _: () = assert!(size_of::<Socket>() <= 104);

/// A packet that waits for its attachments.
#[derive(Default)]
pub struct Assembly {
    /// The packet.
    pub packet: String,
    /// How many attachments it has.
    pub wanted: usize,
    /// Those that have arrived.
    pub attachments: Vec<Vec<u8>>,
    /// Bytes of the packet and its attachments so far.
    pub size: usize,
}

impl Socket {
    /// What is left of it when its client is gone.
    pub fn into_agent(self) -> Rc<Agent> {
        self.agent
    }
}
