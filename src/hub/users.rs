//! Who is who in a namespace: the sessions of each user, for rules and backends that speak to users.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use smallvec::SmallVec;

use super::{Hub, SpaceId, TenantId};
use crate::{
    config::{Auth, Send},
    key::SessionKey,
};

/// The users of one namespace. A session is its login's user, until it says another one with `user_login`.
#[derive(Default)]
pub struct Users {
    by_name: HashMap<Rc<str>, SmallVec<[(u16, SessionKey); 1]>>,
    of: HashMap<SessionKey, (u16, Rc<str>)>,
}

impl Users {
    /// The session is this user's from now on.
    fn register(&mut self, session: SessionKey, tenant: u16, userid: &str) {
        self.forget(session);
        if userid.is_empty() {
            return;
        }
        let name = self.by_name.get_key_value(userid).map_or_else(|| userid.into(), |(name, _)| name.clone());
        self.by_name.entry(Rc::clone(&name)).or_default().push((tenant, session));
        self.of.insert(session, (tenant, name));
    }

    /// The session is over, or another's.
    pub fn forget(&mut self, session: SessionKey) {
        let Some((_, name)) = self.of.remove(&session) else { return };
        let Some(sessions) = self.by_name.get_mut(&name) else { return };
        sessions.retain(|(_, known)| *known != session);
        if sessions.is_empty() {
            self.by_name.remove(&name);
        }
    }

    fn sessions(&self, tenant: u16, userid: &str) -> Vec<SessionKey> {
        let sessions = self.by_name.get(userid).into_iter().flatten();
        sessions.filter(|(known, _)| *known == tenant).map(|(_, session)| *session).collect()
    }
}

impl Hub {
    /// Takes a session into the list of its namespace's users, if there is one.
    pub(super) fn register_user(&mut self, key: SessionKey, userid: &str) {
        let Some(session) = self.sessions.get(key) else { return };
        if let Some(users) = &mut self.spaces[session.space as usize].users {
            users.register(key, session.tenant, userid);
            self.announce(key);
        }
    }

    /// Which user a session is.
    pub(super) fn user_of(&self, key: SessionKey) -> &str {
        let Some(session) = self.sessions.get(key) else { return "" };
        let users = self.spaces[session.space as usize].users.as_ref();
        users.and_then(|users| users.of.get(&key)).map_or(session.identity.userid(), |(_, name)| name)
    }

    /// The sessions of a user in a namespace, in no particular order.
    pub(super) fn user_sessions(&self, tenant: u16, space: SpaceId, userid: &str) -> Vec<SessionKey> {
        match &self.spaces[space as usize].users {
            _ if userid.is_empty() => Vec::new(),
            Some(users) => users.sessions(tenant, userid),
            // Nobody but a backend asks here.
            None => {
                let own = self.admitted().filter(|(_, session)| session.tenant == tenant && session.space == space);
                own.filter(|(_, session)| session.identity.userid() == userid).map(|(key, _)| key).collect()
            }
        }
    }

    /// The tenant that a session's user has in another namespace: its own, unless that one admits into a certain one.
    pub(super) fn tenant_there(&self, session: SessionKey, space: SpaceId) -> Option<u16> {
        let there = &self.spaces[space as usize];
        match there.config.auth {
            Auth::Sign => self.sessions.get(session).map(|session| session.tenant),
            Auth::Open | Auth::Hook => self.by_name.get(there.open_source()).copied(),
        }
    }

    /// Keeps lists of users for the namespaces whose rules or pairing need them, and for no others.
    pub(super) fn index_users(&mut self) {
        let mut wanted = vec![false; self.spaces.len()];
        for space in 0..self.spaces.len() {
            let config = self.spaces[space].config.clone();
            if let Some(other) = &config.pairing {
                wanted[space] = true;
                if let Some(other) = self.find_space(other) {
                    wanted[other as usize] = true;
                }
            }
            for rule in config.rules.iter().filter(|rule| rule.send == Send::User) {
                let to = rule.to.as_deref().map_or(Some(space as SpaceId), |to| self.find_space(to));
                if let Some(to) = to {
                    wanted[to as usize] = true;
                }
            }
        }
        for (space, wanted) in wanted.into_iter().enumerate() {
            match (wanted, &self.spaces[space].users) {
                (true, None) => {
                    let mut users = Users::default();
                    for (key, session) in self.admitted().filter(|(_, session)| session.space as usize == space) {
                        users.register(key, session.tenant, session.identity.userid());
                    }
                    self.spaces[space].users = Some(users.into());
                }
                (false, Some(_)) => self.spaces[space].users = None,
                _ => {}
            }
        }
    }

    /// Users with their numbers of sessions in each namespace, sorted: for who looks.
    pub fn users(&self, tenant: TenantId, namespace: Option<&str>) -> BTreeMap<&str, BTreeMap<&str, usize>> {
        let mut found: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (key, session) in self.admitted().filter(|(_, session)| session.tenant == tenant.0) {
            let (userid, space) = (self.user_of(key), &*self.spaces[session.space as usize].name);
            if userid.is_empty() || namespace.is_some_and(|namespace| namespace != space) {
                continue;
            }
            *found.entry(userid).or_default().entry(space).or_default() += 1;
        }
        found
    }
}
