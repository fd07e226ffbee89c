//! The user index of a namespace.

use std::{collections::HashMap, rc::Rc};

use smallvec::SmallVec;

use super::tenant::TenantId;
use crate::key::SessionKey;

/// The sessions of each user in one namespace. A session is registered for the user of its login, or for the user that
/// a later `user_login` names.
#[derive(Default)]
pub struct UserIndex {
    by_name: HashMap<Rc<str>, SmallVec<[(TenantId, SessionKey); 1]>>,
    /// The user of each session.
    pub of: HashMap<SessionKey, (TenantId, Rc<str>)>,
}

impl UserIndex {
    /// Registers a session for the user `userid`, or for no user if `userid` is empty.
    pub fn register(&mut self, session: SessionKey, tenant: TenantId, userid: &str) {
        self.remove(session);
        if userid.is_empty() {
            return;
        }
        let name = self.by_name.get_key_value(userid).map_or_else(|| userid.into(), |(name, _)| name.clone());
        self.by_name.entry(Rc::clone(&name)).or_default().push((tenant, session));
        self.of.insert(session, (tenant, name));
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionKey) {
        let Some((_, name)) = self.of.remove(&session) else { return };
        let Some(sessions) = self.by_name.get_mut(&name) else { return };
        sessions.retain(|(_, known)| *known != session);
        if sessions.is_empty() {
            self.by_name.remove(&name);
        }
    }

    /// The sessions of a tenant's user.
    pub fn sessions(&self, tenant: TenantId, userid: &str) -> Vec<SessionKey> {
        let sessions = self.by_name.get(userid).into_iter().flatten();
        sessions.filter(|(known, _)| *known == tenant).map(|(_, session)| *session).collect()
    }
}
