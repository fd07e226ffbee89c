//! A new configuration: which tenants and namespaces there are, and which sessions end because they would no longer be
//! admitted (docs/protocol.md, Reload).

use core::{error, fmt};
use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use super::{
    namespace::{Namespace, NamespaceId},
    registry::State,
    session::Session,
    tenant::{Tenant, TenantId},
    user_index::UserIndex,
};
use crate::{
    config::{Auth, Config, MAX_SOURCES, Namespace as Settings, Send},
    key::SessionKey,
    websocket::Close,
};

/// The effects of a new configuration on the features.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The sessions to end, and why.
    pub ended: Vec<(SessionKey, Close)>,
    /// The tenants that now belong to another source.
    pub reused: Vec<TenantId>,
}

/// Why a valid configuration cannot be applied while relay runs: the removed sources that still have sessions need places
/// until those have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySources {
    wanted: usize,
    leaving: usize,
}

impl fmt::Display for TooManySources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooManySources { wanted, leaving } = self;
        write!(
            f,
            "the new configuration has {wanted} sources, and {leaving} that it removes have sessions, but at most {MAX_SOURCES} \
             are possible at once: remove sources with one reload, and add others with the next"
        )
    }
}

impl error::Error for TooManySources {}

/// How a namespace admitted clients before the reload.
struct Before {
    config: Rc<Settings>,
    source: String,
}

impl State {
    /// Whether there is a place for each source of `config`.
    pub fn fits(&self, config: &Config) -> Result<(), TooManySources> {
        let wanted = config.source_names();
        let mut busy = vec![false; self.tenants.len()];
        self.sessions.iter().for_each(|(_, session)| busy[session.tenant.index()] = true);
        let leaving = self.tenants.iter().zip(busy).filter(|(tenant, busy)| *busy && !wanted.contains(&*tenant.name));
        let (wanted, leaving) = (wanted.len(), leaving.count());
        if wanted + leaving > MAX_SOURCES { Err(TooManySources { wanted, leaving }) } else { Ok(()) }
    }

    /// Applies a configuration that [fits](State::fits). A changed key takes effect with the next login, a changed rule with
    /// the next event.
    pub fn reload(&mut self, config: Rc<Config>) -> Reloaded {
        self.config = config.clone();
        self.refusals.forget_origins();
        let before = self.update_namespaces();
        for tenant in &mut self.tenants {
            tenant.source = config.sources.get(&*tenant.name).cloned();
            tenant.open = false;
        }
        let reused = self.update_tenants(&config);
        self.index_users();
        let ends = |session: &Session| self.end_of(session, before[session.namespace as usize].as_ref());
        let ended = self.sessions.iter().filter_map(|(key, session)| Some((key, ends(session)?))).collect();
        Reloaded { ended, reused }
    }

    /// Why a session would no longer be admitted, if so. `before` is how its namespace admitted clients before the reload.
    fn end_of(&self, session: &Session, before: Option<&Before>) -> Option<Close> {
        let namespace = &self.namespaces[session.namespace as usize];
        let tenant = &self.tenants[session.tenant.index()];
        let (auth, join) = (namespace.config.auth, namespace.config.join);
        let signs = auth == Auth::Sign;
        let Some(before) = before.filter(|_| !namespace.gone) else { return Some(Close::SOURCE_GONE) };
        if !tenant.is_known() || (signs && tenant.source.is_none()) {
            return Some(Close::SOURCE_GONE);
        }
        let signed = before.config.auth == Auth::Sign;
        let stricter = auth != before.config.auth && auth != Auth::Open;
        let moved =
            !signs && !signed && before.source != namespace.open_source() && *tenant.name != *namespace.open_source();
        // It may have joined rooms without a signature.
        let strange_rooms = before.config.join && !join && !session.rooms.is_empty();
        (stricter || moved || strange_rooms).then_some(Close::NOT_ADMITTED)
    }

    /// Adds the tenants of new sources. Returns those that belonged to another source before.
    fn update_tenants(&mut self, config: &Config) -> Vec<TenantId> {
        let wanted = config.source_names();
        let mut free = self.free_tenants(&wanted);
        let mut reused = Vec::new();
        for name in &wanted {
            if self.by_name.contains_key(*name) {
                continue;
            }
            let tenant = match free.pop() {
                Some(tenant) => {
                    let old = core::mem::replace(&mut self.tenants[tenant.index()], Tenant::new(name));
                    self.by_name.remove(&*old.name);
                    reused.push(tenant);
                    tenant
                }
                None => {
                    let Ok(index) = u16::try_from(self.tenants.len()) else { break };
                    self.tenants.push(Tenant::new(name));
                    TenantId(index)
                }
            };
            self.by_name.insert((*name).into(), tenant);
            self.tenants[tenant.index()].source = config.sources.get(*name).cloned();
        }
        for namespace in
            self.namespaces.iter().filter(|namespace| !namespace.gone && namespace.config.auth != Auth::Sign)
        {
            if let Some(tenant) = self.by_name.get(namespace.open_source()) {
                self.tenants[tenant.index()].open = true;
            }
        }
        reused
    }

    /// The tenants that are neither wanted nor have a session. The first one is the last of the list.
    fn free_tenants(&self, wanted: &BTreeSet<&str>) -> Vec<TenantId> {
        let mut busy: Vec<bool> = self.tenants.iter().map(|tenant| wanted.contains(&*tenant.name)).collect();
        self.sessions.iter().for_each(|(_, session)| busy[session.tenant.index()] = true);
        let free = busy.iter().enumerate().rev().filter(|(_, busy)| !**busy);
        free.map(|(index, _)| TenantId(index as u16)).collect()
    }

    /// Adds new namespaces, and marks those that are no longer configured. Returns how each admitted clients before.
    fn update_namespaces(&mut self) -> Vec<Option<Before>> {
        let config = self.config.clone();
        let before = |namespace: &Namespace| Before {
            config: namespace.config.clone(),
            source: namespace.open_source().to_owned(),
        };
        let mut all: Vec<_> =
            self.namespaces.iter().map(|namespace| (!namespace.gone).then(|| before(namespace))).collect();
        let mut busy = vec![false; self.namespaces.len()];
        self.sessions.iter().for_each(|(_, session)| busy[session.namespace as usize] = true);
        self.namespaces.iter_mut().for_each(|namespace| namespace.gone = true);
        let root = [("/", config.namespaces.get("/").cloned().unwrap_or_default())];
        let others = config.namespaces.iter().filter(|(name, _)| *name != "/");
        let mut new = Vec::new();
        for (name, config) in root.into_iter().chain(others.map(|(name, config)| (name.as_str(), config.clone()))) {
            let known = self.namespaces.iter_mut().find(|namespace| *namespace.name == *name);
            match known {
                Some(namespace) => (namespace.config, namespace.gone) = (config.into(), false),
                None => new.push(Namespace { name: name.into(), config: config.into(), gone: false, users: None }),
            }
        }
        for namespace in new {
            let free = self.namespaces.iter().zip(&busy).position(|(known, busy)| known.gone && !busy);
            match free {
                Some(free) => {
                    // It has no session, so its room tables are empty.
                    self.namespaces[free] = namespace;
                    self.journal.forget_namespace(free as u64);
                    all[free] = None;
                }
                None => {
                    self.namespaces.push(namespace);
                    all.push(None);
                    busy.push(true);
                }
            }
        }
        all
    }

    /// Builds a user index for each namespace in which a rule or pairing looks users up, and drops all others.
    fn index_users(&mut self) {
        let by_name: HashMap<Rc<str>, usize> = (self.namespaces.iter().enumerate())
            .filter(|(_, namespace)| !namespace.gone)
            .map(|(index, namespace)| (namespace.name.clone(), index))
            .collect();
        let mut needed = vec![false; self.namespaces.len()];
        for (index, namespace) in self.namespaces.iter().enumerate() {
            let mut need = |name: &str| by_name.get(name).into_iter().for_each(|index| needed[*index] = true);
            namespace
                .config
                .rules
                .iter()
                .filter(|rule| rule.send == Send::User)
                .filter_map(|rule| rule.to.as_deref())
                .for_each(&mut need);
            namespace.config.pairing.iter().for_each(|other| need(other));
            needed[index] |= namespace.config.pairing.is_some()
                || namespace.config.rules.iter().any(|rule| rule.send == Send::User && rule.to.is_none());
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
}

const _: () = assert!(crate::config::MAX_NAMESPACES < NamespaceId::MAX as usize / 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{
        departure::Departure,
        refusal::Refusal,
        testing::{CONFIG, Login, config, session, state},
    };

    fn ended(state: &mut State, text: &str) -> Vec<(SessionKey, Close)> {
        state.reload(config(text)).ended
    }

    #[test]
    fn a_reload_returns_sessions_without_source_or_namespace() {
        let mut state = state(CONFIG);
        let stays = session(&mut state, Login::default());
        let of_source = session(&mut state, Login { source: "two", ..Login::default() });
        let of_namespace = session(&mut state, Login { namespace: "/chat", ..Login::default() });
        assert_eq!(ended(&mut state, CONFIG), []);
        let gone = ended(&mut state, "[sources.one]\nsign_key = \"other\"\n");
        assert_eq!(gone, [of_source, of_namespace].map(|key| (key, Close::SOURCE_GONE)));
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
        assert_eq!(ended(&mut state, only_chat), []);
        assert_eq!(state.source_names().iter().map(|name| &**name).collect::<Vec<_>>(), ["one"]);
        assert_eq!(ended(&mut state, ""), [(open, Close::SOURCE_GONE)]);
        assert!(state.source_names().is_empty(), "a source that only an open namespace had is gone with it");
    }

    /// From one way to admit clients to another: who must log in again.
    #[test]
    fn sessions_end_that_would_no_longer_be_admitted() {
        let sources =
            "[sources.one]\nsign_key = \"k\"\n[sources.two]\nsign_key = \"k\"\n[hooks]\nurl = \"http://a:1/\"\n";
        let with = |settings: &str| format!("{sources}[namespaces.\"/chat\"]\n{settings}");
        let [open, other] = ["one", "two"].map(|source| format!("auth = \"open\"\nsource = \"{source}\"\n"));
        let (hook, sign) = ("auth = \"hook\"\nsource = \"one\"\n", "auth = \"sign\"\n");
        let join = format!("{open}join = true\n");
        let sign_join = "auth = \"sign\"\njoin = true\n";
        for (from, to, ends) in [
            (&*open, sign, true),
            (&open, hook, true),
            (&open, &other, true),
            (&open, &join, false),
            (hook, sign, true),
            (hook, &open, false),
            (hook, &other, true),
            (sign, &open, false),
            (sign, &other, false),
            (sign, hook, true),
            (&join, &open, true),
            (sign_join, sign, true),
        ] {
            let mut state = state(&with(from));
            let key = session(&mut state, Login { namespace: "/chat", rooms: "room", ..Login::default() });
            assert_eq!(ended(&mut state, &with(from)), [], "nothing changed: {from}");
            let expected: &[_] = if ends { &[(key, Close::NOT_ADMITTED)] } else { &[] };
            assert_eq!(ended(&mut state, &with(to)), expected, "{from} then {to}");
            assert_eq!(ended(&mut state, &with(to)).len(), 0, "nothing changed: {to}");
        }
        // The same rooms cannot have been joined by a session that is in none.
        let mut state = state(&with(&join));
        session(&mut state, Login { namespace: "/chat", ..Login::default() });
        assert_eq!(ended(&mut state, &with(&open)), []);
    }

    fn sources(prefix: &str, count: usize) -> String {
        (0..count).fold(String::new(), |all, n| all + &format!("[sources.{prefix}{n}]\nsign_key = \"k\"\n"))
    }

    #[test]
    fn places_of_removed_sources_are_used_again() {
        let mut state = state(&sources("a", 20));
        let stays = session(&mut state, Login { source: "a7", rooms: "room", ..Login::default() });
        let busy = state.sessions.get(stays).unwrap().tenant;
        for round in 0..5 {
            let reloaded = state.reload(config(&sources(["b", "c"][round % 2], 20)));
            // The server ends it at the end of the turn; here it stays, and so does its place.
            assert!(reloaded.ended.iter().all(|(key, _)| *key == stays) && !reloaded.reused.contains(&busy));
            assert_eq!(state.tenants.len(), 21, "round {round}");
            assert_eq!((&*state.tenants[busy.index()].name, state.known_tenant("a7")), ("a7", None));
            assert_eq!(state.source_names().len(), 20);
            assert!(state.tenant_ids().all(|tenant| state.tenants[tenant.index()].name.len() > 1));
        }
        assert_eq!(state.by_name.len(), 21);
        state.remove_session(stays, Departure::Goodbye);
        state.reload(config(&sources("d", 21)));
        assert_eq!((state.tenants.len(), state.room_count()), (21, 0));
    }

    #[test]
    fn places_of_removed_namespaces_are_used_again() {
        let text = |name: &str| {
            (0..10).fold(sources("s", 1), |all, n| all + &format!("[namespaces.\"/{name}{n}\"]\njoin = true\n"))
        };
        let mut state = state(&text("a"));
        let stays = session(&mut state, Login { source: "s0", namespace: "/a3", rooms: "room", ..Login::default() });
        for round in 0..5 {
            let name = ["b", "c"][round % 2];
            state.reload(config(&text(name)));
            assert_eq!(state.namespaces.len(), 12, "round {round}");
            assert_eq!((state.find_namespace("/a3"), state.has_namespace(&format!("/{name}9"))), (None, true));
            assert_eq!(state.room_names(state.sessions.get(stays).unwrap()).len(), 1);
        }
        let fresh = session(&mut state, Login { source: "s0", namespace: "/b3", rooms: "room", ..Login::default() });
        let rooms = |key| state.sessions.get(key).map(|session| (session.tenant, session.namespace)).unwrap();
        assert_ne!(rooms(stays), rooms(fresh));
    }

    /// More sources than there are numbers for: those that do not fit are refused beforehand, and never a panic.
    #[test]
    fn sources_that_do_not_fit() {
        let mut config = Config::default();
        let source = Config::demo().sources["demo"].clone();
        let mut add = |prefix: &str, count: usize| {
            config.sources = (0..count).map(|n| (format!("{prefix}{n}"), source.clone())).collect();
            Rc::new(config.clone())
        };
        let mut state = state("");
        state.reload(add("a", MAX_SOURCES));
        let key = session(&mut state, Login { source: "a5", ..Login::default() });
        let other = add("b", MAX_SOURCES);
        let error = state.fits(&other).unwrap_err();
        assert_eq!(error, TooManySources { wanted: MAX_SOURCES, leaving: 1 });
        assert!(error.to_string().contains("at most 65536"), "{error}");
        assert_eq!(state.fits(&add("b", MAX_SOURCES - 1)), Ok(()));
        assert_eq!(state.reload(other).reused.len(), MAX_SOURCES - 1);
        state.remove_session(key, Departure::Goodbye);
        let last = add("c", MAX_SOURCES);
        assert_eq!(state.fits(&last), Ok(()));
        state.reload(last);
        assert_eq!((state.tenants.len(), state.source_names().len()), (MAX_SOURCES, MAX_SOURCES));
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
