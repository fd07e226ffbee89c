//! Finding tenants, namespaces, sessions and users.

use super::{
    delivery::Receiver, namespace::NamespaceId, refusal::Refusal, registry::State, session::Session, tenant::TenantId,
};
use crate::{
    config::Auth,
    key::{ClientKey, SessionKey},
};

impl State {
    /// The configured tenant of that name.
    pub fn tenant(&self, name: &str) -> Result<TenantId, Refusal> {
        if name.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        let tenant = *self.by_name.get(name).ok_or(Refusal::SourceUnknown)?;
        self.tenants[tenant.index()].source.as_ref().ok_or(Refusal::SourceUnknown)?;
        Ok(tenant)
    }

    /// The tenant of that name, configured or not.
    pub(crate) fn any_tenant(&self, name: &str) -> Option<TenantId> {
        self.by_name.get(name).copied()
    }

    /// Every tenant there is or was.
    pub(crate) fn tenant_ids(&self) -> impl Iterator<Item = TenantId> + use<> {
        (0..self.tenants.len()).map(|index| TenantId(index as u16))
    }

    /// Every tenant that sessions may be in: its name, sessions and rooms.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        let mut counts = vec![0; self.tenants.len()];
        self.sessions.iter().for_each(|(_, session)| counts[session.tenant.index()] += 1);
        let known = self.tenants.iter().zip(counts).filter(|(tenant, _)| tenant.is_known());
        known.map(|(tenant, sessions)| (&*tenant.name, sessions, tenant.room_count()))
    }

    /// A tenant by its name, configured or let in by an open namespace: for who looks.
    pub fn known_tenant(&self, name: &str) -> Option<TenantId> {
        let tenant = *self.by_name.get(name)?;
        self.tenants[tenant.index()].is_known().then_some(tenant)
    }

    /// Whether a file of the message log that a message names is its source's: `a` with `b_msg.log` would write into the
    /// file of `a_b`, which is its if there is such a source.
    pub fn may_name(&self, tenant: TenantId, filename: &str) -> bool {
        if filename.is_empty() {
            return true;
        }
        let source = &*self.tenants[tenant.index()].name;
        let path = format!("{source}_{filename}");
        let mut longer = path.match_indices('_').map(|(at, _)| &path[..at]).filter(|name| name.len() > source.len());
        longer.all(|name| self.known_tenant(name).is_none())
    }

    /// The session with that name; a client's id of Engine.IO names its session in `/`, since clients of Socket.IO 2 call
    /// themselves by it.
    pub fn find_session(&self, socket_id: &str) -> Option<SessionKey> {
        let key = match self.sids.find_socket(socket_id) {
            Some(key) => Some(key),
            None => {
                // In another namespace they put that before it.
                let (namespace, sid) = socket_id.rsplit_once('#').unwrap_or(("/", socket_id));
                let namespace = self.find_namespace(namespace)?;
                self.session_in(self.find_engine(sid)?, namespace)
            }
        };
        // Who waits to be let in is not there yet.
        key.filter(|key| self.sessions.get(*key).is_some_and(|session| !session.pending))
    }

    /// A session's tenant.
    pub fn tenant_of(&self, key: SessionKey) -> Option<TenantId> {
        self.sessions.get(key).map(|session| session.tenant)
    }

    fn session_in(&self, client: ClientKey, namespace: NamespaceId) -> Option<SessionKey> {
        let socket = self.clients.get(client)?.socket.as_ref()?;
        socket.sessions.iter().find(|(known, _)| *known == namespace).map(|(_, session)| *session)
    }

    /// The sessions of a user, in one tenant or in all.
    pub fn sessions_of_user(&self, tenant: Option<TenantId>, userid: &str) -> Vec<SessionKey> {
        let his = |key: SessionKey, session: &Session| {
            self.user_of(key) == userid && tenant.is_none_or(|tenant| tenant == session.tenant)
        };
        self.admitted().filter(|(key, session)| his(*key, session)).map(|(key, _)| key).collect()
    }

    /// The sources that somebody may be in.
    pub fn source_names(&self) -> Vec<Box<str>> {
        self.tenants.iter().filter(|tenant| tenant.is_known()).map(|tenant| (*tenant.name).into()).collect()
    }

    /// The namespace of that name.
    pub fn find_namespace(&self, name: &str) -> Option<NamespaceId> {
        let index = self.namespaces.iter().position(|namespace| !namespace.gone && *namespace.name == *name)?;
        NamespaceId::try_from(index).ok()
    }

    /// Every session that was let in.
    pub fn admitted(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.sessions.iter().filter(|(_, session)| !session.pending)
    }

    /// Whether there is such a namespace.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.find_namespace(name).is_some()
    }

    /// A session as a receiver.
    pub fn receiver(&self, key: SessionKey) -> Option<Receiver> {
        self.sessions.get(key).map(|session| (session.client, session.namespace, session.form))
    }

    /// Everybody of a tenant in a namespace.
    pub fn everybody(&self, tenant: TenantId, namespace: NamespaceId) -> Vec<Receiver> {
        let there = self.admitted().filter(|(_, session)| session.tenant == tenant && session.namespace == namespace);
        there.map(|(_, session)| (session.client, namespace, session.form)).collect()
    }

    /// The members of a room in all namespaces.
    pub fn members(&self, tenant: TenantId, room: &str) -> Vec<Receiver> {
        let tables = self.tenants[tenant.index()].rooms.iter().enumerate();
        let found =
            tables.filter_map(|(namespace, table)| Some((namespace as NamespaceId, table.room(table.find(room)?))));
        found
            .flat_map(|(namespace, room)| {
                room.members.iter().map(move |member| (member.client, namespace, member.form))
            })
            .collect()
    }

    /// Takes a session into the list of its namespace's users, if there is one.
    pub fn register_user(&mut self, key: SessionKey, userid: &str) {
        let Some(session) = self.sessions.get(key) else { return };
        if let Some(users) = &mut self.namespaces[session.namespace as usize].users {
            users.register(key, session.tenant, userid);
            self.mark_changed(key);
        }
    }

    /// Which user a session is.
    pub fn user_of(&self, key: SessionKey) -> &str {
        let Some(session) = self.sessions.get(key) else { return "" };
        let users = self.namespaces[session.namespace as usize].users.as_ref();
        users.and_then(|users| users.of.get(&key)).map_or(session.identity.userid(), |(_, name)| name)
    }

    /// The sessions of a user in a namespace, in no particular order.
    pub fn user_sessions(&self, tenant: TenantId, namespace: NamespaceId, userid: &str) -> Vec<SessionKey> {
        match &self.namespaces[namespace as usize].users {
            _ if userid.is_empty() => Vec::new(),
            Some(users) => users.sessions(tenant, userid),
            // Nobody but a backend asks here.
            None => {
                let own =
                    self.admitted().filter(|(_, session)| session.tenant == tenant && session.namespace == namespace);
                own.filter(|(_, session)| session.identity.userid() == userid).map(|(key, _)| key).collect()
            }
        }
    }

    /// The tenant that a session's user has in another namespace: its own, unless that one admits into a certain one.
    pub fn tenant_there(&self, session: SessionKey, namespace: NamespaceId) -> Option<TenantId> {
        let there = &self.namespaces[namespace as usize];
        match there.config.auth {
            Auth::Sign => self.sessions.get(session).map(|session| session.tenant),
            Auth::Open | Auth::Hook => self.by_name.get(there.open_source()).copied(),
        }
    }
}
