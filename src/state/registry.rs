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
    replay::UsedMarks,
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
};

/// The state that all features share: see [the module](super).
pub struct State {
    pub(super) config: Rc<Config>,
    /// The time of this turn.
    pub now: Now,
    /// By [`NamespaceId`]; `/` is the first.
    pub(crate) namespaces: Vec<Namespace>,
    /// By [`TenantId`], in the order in which they were first configured.
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
    /// Signatures of notifications and events that were used.
    pub(super) used: UsedMarks,
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
            used: UsedMarks::default(),
            stats: Stats::default(),
        }
    }

    /// Applies a configuration. A changed key takes effect with the next login, a changed rule with the next event.
    /// Returns the sessions to close: those whose namespace is no longer configured, and those with a signed login
    /// whose source is not.
    pub fn reload(&mut self, config: Rc<Config>) -> Vec<SessionKey> {
        self.config = config;
        self.update_namespaces();
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

    /// The tenant with this name, added if there is none.
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

    /// Adds new namespaces, and marks those that are no longer configured.
    fn update_namespaces(&mut self) {
        let config = self.config.clone();
        self.namespaces.iter_mut().for_each(|namespace| namespace.gone = true);
        let root = [("/", config.namespaces.get("/").cloned().unwrap_or_default())];
        let others = config.namespaces.iter().filter(|(name, _)| *name != "/");
        for (name, config) in root.into_iter().chain(others.map(|(name, config)| (name.as_str(), config.clone()))) {
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

    /// Builds a user index for each namespace in which a rule or pairing looks users up, and drops all others.
    fn index_users(&mut self) {
        let mut needed = vec![false; self.namespaces.len()];
        for namespace in 0..self.namespaces.len() {
            let config = self.namespaces[namespace].config.clone();
            if let Some(other) = &config.pairing {
                needed[namespace] = true;
                if let Some(other) = self.find_namespace(other) {
                    needed[other as usize] = true;
                }
            }
            for rule in config.rules.iter().filter(|rule| rule.send == Send::User) {
                let to = rule.to.as_deref().map_or(Some(namespace as NamespaceId), |to| self.find_namespace(to));
                if let Some(to) = to {
                    needed[to as usize] = true;
                }
            }
        }
        for (namespace, needed) in needed.into_iter().enumerate() {
            match (needed, &self.namespaces[namespace].users) {
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

    /// The configuration.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
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

#[cfg(test)]
mod tests {
    use crate::state::{
        refusal::Refusal,
        testing::{CONFIG, Login, config, session, state},
    };

    #[test]
    fn a_reload_returns_sessions_without_source_or_namespace() {
        let mut state = state(CONFIG);
        let stays = session(&mut state, Login::default());
        let of_source = session(&mut state, Login { source: "two", ..Login::default() });
        let of_namespace = session(&mut state, Login { namespace: "/chat", ..Login::default() });
        assert_eq!(state.reload(config(CONFIG)), []);
        let gone = state.reload(config("[sources.one]\nsign_key = \"other\"\n"));
        assert_eq!(gone, [of_source, of_namespace]);
        assert!(state.sessions.get(stays).is_some() && state.find_namespace("/chat").is_none());
        assert_eq!(state.tenant("two"), Err(Refusal::SourceUnknown));
        let two = state.any_tenant("two");
        state.reload(config(CONFIG));
        assert_eq!(state.tenant("two").ok(), two, "a tenant keeps its index");
    }

    #[test]
    fn an_open_namespace_keeps_sessions_of_a_removed_source() {
        let mut state = state(CONFIG);
        let open = session(&mut state, Login { namespace: "/chat", ..Login::default() });
        let only_chat = "[namespaces.\"/chat\"]\nauth = \"open\"\nsource = \"one\"\n";
        assert_eq!(state.reload(config(only_chat)), []);
        assert_eq!(state.source_names().iter().map(|name| &**name).collect::<Vec<_>>(), ["one"]);
        assert_eq!(state.reload(config("")), [open]);
    }

    #[test]
    fn a_user_index_is_built_for_rules() {
        let mut state = state(CONFIG);
        let key = session(&mut state, Login { namespace: "/chat", userid: "9", ..Login::default() });
        let chat = state.find_namespace("/chat").unwrap();
        assert!(state.namespaces[chat as usize].users.is_none());
        state.reload(config(&CONFIG.replace("source = \"one\"", "source = \"one\"\npairing = \"/users\"")));
        let tenant = state.tenant("one").unwrap();
        assert_eq!(state.namespaces[chat as usize].users.as_ref().unwrap().sessions(tenant, "9"), [key]);
    }
}
