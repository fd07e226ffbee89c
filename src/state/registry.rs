//! The registry: tenants, namespaces, clients and sessions.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use super::{
    client::Client,
    effect::Effect,
    identity::Agents,
    namespace::Namespace,
    session::Session,
    sid::Sids,
    stats::Stats,
    tenant::{Tenant, TenantId},
};
use crate::{
    clock::Now,
    config::Config,
    frame::Turn,
    key::{ClientKey, SessionKey, Slots},
    message::MessageId,
    sign::{Policy, Signature, Subject},
};

/// The state that all features share: see [the module](super).
pub struct State {
    pub(super) config: Rc<Config>,
    /// The time of this turn.
    pub now: Now,
    /// By [`NamespaceId`](super::NamespaceId); `/` is the first.
    pub(crate) namespaces: Vec<Namespace>,
    /// By [`TenantId`].
    pub(crate) tenants: Vec<Tenant>,
    pub(super) by_name: HashMap<Box<str>, TenantId>,
    pub(crate) clients: Slots<ClientKey, Client>,
    pub(crate) sessions: Slots<SessionKey, Session>,
    pub(crate) agents: Agents,
    pub(crate) sids: Sids,
    pub(super) turn: Turn,
    /// A buffer for writes of several segments.
    pub(super) scratch: Vec<u8>,
    pub(super) last_id: MessageId,
    pub(super) dirty: Vec<ClientKey>,
    pub(super) needs_flush: bool,
    pub(crate) effects: VecDeque<Effect>,
    /// Whether [`State::mark_changed`] queues sessions. Only a cluster needs that.
    pub(super) track_changes: bool,
    /// The queue of sessions whose presence records must be written. A session is in it at most once.
    pub(crate) changed: VecDeque<SessionKey>,
    /// Counters since the start.
    pub stats: Stats,
}

impl State {
    /// A state without clients and configuration. The first message gets the id after `first`. `secret` is the key of
    /// session ids and must be random.
    pub fn new(first: MessageId, secret: [u8; 32]) -> State {
        State {
            config: Rc::default(),
            now: Now::default(),
            namespaces: Vec::new(),
            tenants: Vec::new(),
            by_name: HashMap::new(),
            clients: Slots::new(),
            sessions: Slots::new(),
            agents: Agents::default(),
            sids: Sids::new(secret),
            turn: Turn::new(),
            scratch: Vec::new(),
            last_id: first,
            dirty: Vec::new(),
            needs_flush: false,
            effects: VecDeque::new(),
            track_changes: false,
            changed: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// Whether `signature` is a valid signature of `subject` with the tenant's key (docs/protocol.md, Signatures).
    pub fn verify(&self, tenant: TenantId, subject: &Subject<'_>, signature: &Signature<'_>, now: Now) -> bool {
        let Some(source) = &self.tenants[tenant.index()].source else { return false };
        let key = source.sign_key.expose().as_bytes();
        let (schemes, window) = (source.sign.accepted(subject), self.config.sign_window.as_secs());
        let policy = Policy { key, schemes, window, unix: now.unix };
        subject.verify(signature, &policy)
    }

    /// The number of clients, including those without a session.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// The number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The number of rooms.
    pub fn room_count(&self) -> usize {
        self.tenants.iter().map(Tenant::room_count).sum()
    }

    /// The keys of all clients.
    pub fn client_keys(&self) -> Vec<ClientKey> {
        self.clients.keys()
    }

    /// Returns whether `limits.message_rate` allows `count` messages of a client, and counts them if it does.
    pub fn take_rate(&mut self, key: ClientKey, count: u64, now: Now) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        client.rate.take(count, &self.config.limits, now.time)
    }

    /// The next message id.
    pub fn next_id(&mut self) -> MessageId {
        self.last_id = self.last_id.next();
        self.last_id
    }
}
