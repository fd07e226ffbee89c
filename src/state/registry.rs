//! The registry: tenants, namespaces, clients and sessions.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use super::{
    client::Client,
    effect::Effect,
    identity::Agents,
    namespace::{Namespace, NamespaceId},
    room::RoomTable,
    session::Session,
    sid::Sids,
    stats::Stats,
    tenant::{Tenant, TenantId},
    user_index::UserIndex,
};
use crate::{
    clock::Now,
    config::{Auth, Config, Send},
    frame::Turn,
    key::{ClientKey, SessionKey, Slots},
    message::MessageId,
    sign::{Policy, Signature, Subject},
};

/// Everything that all features share. See the module.
pub struct State {
    pub(super) config: Rc<Config>,
    /// The clocks of this turn.
    pub now: Now,
    /// `/` first. An index is never reused.
    pub(crate) namespaces: Vec<Namespace>,
    /// In the order in which they were first configured. An index is never reused.
    pub(crate) tenants: Vec<Tenant>,
    pub(super) by_name: HashMap<Box<str>, TenantId>,
    pub(crate) clients: Slots<ClientKey, Client>,
    pub(crate) sessions: Slots<SessionKey, Session>,
    pub(crate) agents: Agents,
    pub(crate) sids: Sids,
    pub(super) turn: Turn,
    /// Lent to every write of several segments.
    pub(super) scratch: Vec<u8>,
    pub(super) last_id: MessageId,
    pub(super) dirty: Vec<ClientKey>,
    pub(super) pressed: bool,
    pub(crate) effects: VecDeque<Effect>,
    /// Whether [`State::mark_changed`] keeps what it is given.
    pub(super) track_changes: bool,
    /// Sessions whose records are to be written, each once.
    pub(crate) changed: VecDeque<SessionKey>,
    /// Counters since the start.
    pub stats: Stats,
}

impl State {
    /// No clients yet. `first` is the message id before the first one, and `secret` makes the ids of sessions.
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
            pressed: false,
            effects: VecDeque::new(),
            track_changes: false,
            changed: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes new limits, sources, namespaces and rules. A changed key counts from the next login on, a changed rule from the
    /// next event. Returns the sessions whose source or namespace is gone.
    pub fn reload(&mut self, config: Rc<Config>) -> Vec<SessionKey> {
        self.config = config;
        self.adopt_namespaces();
        for tenant in &mut self.tenants {
            tenant.source = self.config.sources.get(&*tenant.name).cloned();
        }
        let config = self.config.clone();
        for (name, source) in &config.sources {
            let tenant = self.add_tenant(name);
            self.tenants[tenant.index()].source = Some(source.clone());
        }
        for namespace in 0..self.namespaces.len() {
            if !self.namespaces[namespace].gone && self.namespaces[namespace].config.auth != Auth::Sign {
                let name = self.namespaces[namespace].open_source().to_owned();
                let tenant = self.add_tenant(&name);
                self.tenants[tenant.index()].open = true;
            }
        }
        self.index_users();
        let gone = |session: &Session| {
            let namespace = &self.namespaces[session.namespace as usize];
            let signed = namespace.config.auth == Auth::Sign;
            namespace.gone || signed && self.tenants[session.tenant.index()].source.is_none()
        };
        self.sessions.iter().filter(|(_, session)| gone(session)).map(|(key, _)| key).collect()
    }

    /// The tenant of that name, added if there is none.
    fn add_tenant(&mut self, name: &str) -> TenantId {
        if let Some(tenant) = self.by_name.get(name) {
            return *tenant;
        }
        let tenant = TenantId(self.tenants.len().try_into().expect("a configuration has fewer than 65,536 sources"));
        let rooms = self.namespaces.iter().map(|_| RoomTable::default()).collect();
        self.tenants.push(Tenant { name: name.into(), source: None, open: false, rooms });
        self.by_name.insert(name.into(), tenant);
        tenant
    }

    /// The namespaces as they are configured now.
    fn adopt_namespaces(&mut self) {
        let config = self.config.clone();
        self.namespaces.iter_mut().for_each(|namespace| namespace.gone = true);
        let main = [("/", config.namespaces.get("/").cloned().unwrap_or_default())];
        let others = config.namespaces.iter().filter(|(name, _)| *name != "/");
        for (name, config) in main.into_iter().chain(others.map(|(name, config)| (name.as_str(), config.clone()))) {
            let known = self.namespaces.iter_mut().find(|namespace| *namespace.name == *name);
            match known {
                Some(namespace) => (namespace.config, namespace.gone) = (config.into(), false),
                None => {
                    self.namespaces.push(Namespace {
                        name: name.into(),
                        config: config.into(),
                        gone: false,
                        users: None,
                    });
                    self.tenants.iter_mut().for_each(|tenant| tenant.rooms.push(RoomTable::default()));
                }
            }
        }
    }

    /// Keeps lists of users for the namespaces whose rules or pairing need them, and for no others.
    fn index_users(&mut self) {
        let mut wanted = vec![false; self.namespaces.len()];
        for namespace in 0..self.namespaces.len() {
            let config = self.namespaces[namespace].config.clone();
            if let Some(other) = &config.pairing {
                wanted[namespace] = true;
                if let Some(other) = self.find_namespace(other) {
                    wanted[other as usize] = true;
                }
            }
            for rule in config.rules.iter().filter(|rule| rule.send == Send::User) {
                let to = rule.to.as_deref().map_or(Some(namespace as NamespaceId), |to| self.find_namespace(to));
                if let Some(to) = to {
                    wanted[to as usize] = true;
                }
            }
        }
        for (namespace, wanted) in wanted.into_iter().enumerate() {
            match (wanted, &self.namespaces[namespace].users) {
                (true, None) => {
                    let mut users = UserIndex::default();
                    for (key, session) in self.admitted().filter(|(_, session)| session.namespace as usize == namespace)
                    {
                        users.register(key, session.tenant, session.identity.userid());
                    }
                    self.namespaces[namespace].users = Some(users.into());
                }
                (false, Some(_)) => self.namespaces[namespace].users = None,
                _ => {}
            }
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// Whether the tenant's key holder signed `subject`.
    pub fn verify(&self, tenant: TenantId, subject: &Subject<'_>, signature: &Signature<'_>, now: Now) -> bool {
        let Some(source) = &self.tenants[tenant.index()].source else { return false };
        let key = source.sign_key.expose().as_bytes();
        let policy = Policy { key, schemes: &source.sign, window: self.config.sign_window.as_secs(), unix: now.unix };
        subject.verify(signature, &policy)
    }

    /// Clients there are, whether they are in a namespace or not.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Rooms somebody is in.
    pub fn room_count(&self) -> usize {
        self.tenants.iter().map(Tenant::room_count).sum()
    }

    /// Every client, for who takes leave of them all.
    pub fn client_keys(&self) -> Vec<ClientKey> {
        self.clients.keys()
    }

    /// Takes so many messages of a client's rate; whether they may pass.
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
