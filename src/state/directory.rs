//! Look-ups of tenants, namespaces, sessions and users.

use super::{
    delivery::Receiver,
    namespace::{MAIN, NamespaceId},
    refusal::Refusal,
    registry::State,
    room::Member,
    session::Session,
    tenant::{Tenant, TenantId},
};
use crate::{
    config::{Auth, Source, Texts},
    engineio::Revision,
    key::{ClientKey, SessionKey},
};

impl State {
    /// The tenant with this name. Refused if `name` is empty, or if the configuration has no such source.
    pub fn tenant(&self, name: &str) -> Result<TenantId, Refusal> {
        if name.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        let tenant = *self.by_name.get(name).ok_or(Refusal::SourceUnknown)?;
        self.tenants[tenant.index()].source.as_ref().ok_or(Refusal::SourceUnknown)?;
        Ok(tenant)
    }

    /// The texts of a tenant that pages show.
    pub fn texts(&self, tenant: TenantId) -> Texts {
        let source = self.tenants[tenant.index()].source.as_ref();
        source.map(|source| source.texts.clone()).unwrap_or_default()
    }

    /// The tenant with this name, even if it is not configured.
    pub(crate) fn any_tenant(&self, name: &str) -> Option<TenantId> {
        self.by_name.get(name).copied()
    }

    /// All tenants, including those that are no longer configured.
    pub(crate) fn tenant_ids(&self) -> impl Iterator<Item = TenantId> + use<> {
        (0..self.tenants.len()).map(|index| TenantId(index as u16))
    }

    /// The name, number of sessions and number of rooms of each [known](Tenant::is_known) tenant.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        let mut counts = vec![0; self.tenants.len()];
        self.sessions.iter().for_each(|(_, session)| counts[session.tenant.index()] += 1);
        let known = self.tenants.iter().zip(counts).filter(|(tenant, _)| tenant.is_known());
        known.map(|(tenant, sessions): (&Tenant, usize)| (&*tenant.name, sessions, tenant.room_count()))
    }

    /// The [known](Tenant::is_known) tenant with this name. Unlike [`State::tenant`], this includes sources that only
    /// an open namespace names.
    pub fn known_tenant(&self, name: &str) -> Option<TenantId> {
        let tenant = *self.by_name.get(name)?;
        self.tenants[tenant.index()].is_known().then_some(tenant)
    }

    /// Whether the tenant's key is one of the public demo keys.
    pub fn has_demo_key(&self, tenant: TenantId) -> bool {
        self.tenants[tenant.index()].source.as_ref().is_some_and(Source::has_demo_key)
    }

    /// Whether a message of a tenant may go to the message log file `filename`. A source `a` with the file `b_msg.log`
    /// would write to `a_b_msg.log`, which belongs to the source `a_b` if there is one.
    pub fn may_use_filename(&self, tenant: TenantId, filename: &str) -> bool {
        if filename.is_empty() {
            return true;
        }
        let source = &*self.tenants[tenant.index()].name;
        let path = format!("{source}_{filename}");
        let mut longer_names =
            path.match_indices('_').map(|(at, _)| &path[..at]).filter(|name| name.len() > source.len());
        longer_names.all(|name| self.known_tenant(name).is_none())
    }

    /// The key from which the `socket_id` and the `pid` of a session follow: its own, or that of the session that it has taken
    /// over.
    pub fn name_of(&self, key: SessionKey) -> SessionKey {
        self.names.get(&key).copied().unwrap_or(key)
    }

    /// The session with a name ([`State::name_of`]). It may be gone.
    pub fn session_named(&self, name: SessionKey) -> SessionKey {
        self.named.get(&name).copied().unwrap_or(name)
    }

    /// Gives a session the name of one that it takes over. Who asks for that name finds the other one, until
    /// [`State::settle_name`].
    pub fn take_name(&mut self, key: SessionKey, name: SessionKey) {
        self.names.insert(key, name);
    }

    /// Gives a session its own name again.
    pub fn drop_name(&mut self, key: SessionKey) {
        self.names.remove(&key);
    }

    /// Lets a session be found by its name.
    pub fn settle_name(&mut self, key: SessionKey) {
        if let Some(name) = self.names.get(&key) {
            self.named.insert(*name, key);
        }
    }

    /// The `socket_id` of a session: the id that its client knows as its own. Clients of Socket.IO 2.x compose theirs from
    /// the id of the Engine.IO session, which is their id in `/`; in another namespace it is `/nsp#ID`.
    pub fn socket_id(&self, key: SessionKey) -> String {
        let session = self.sessions.get(key).filter(|session| session.form.revision() == Some(Revision::V3));
        let Some(session) = session else { return self.sids.socket(self.name_of(key)) };
        let sid = self.sids.engine(session.client);
        match session.namespace {
            MAIN => sid,
            namespace => format!("{}#{sid}", self.namespaces[namespace as usize].name),
        }
    }

    /// The admitted session with this `socket_id`. An Engine.IO session id names the client's session in `/`, and
    /// `/nsp#ID` the one in another namespace, in both revisions.
    pub fn find_session(&self, socket_id: &str) -> Option<SessionKey> {
        let key = match self.sids.find_socket(socket_id) {
            Some(name) => Some(self.session_named(name)),
            None => {
                let (namespace, sid) = socket_id.rsplit_once('#').unwrap_or(("/", socket_id));
                let namespace = self.find_namespace(namespace)?;
                self.session_in(self.find_engine(sid)?, namespace)
            }
        };
        key.filter(|key| self.sessions.get(*key).is_some_and(|session| !session.pending))
    }

    /// The tenant of a session.
    pub fn tenant_of(&self, key: SessionKey) -> Option<TenantId> {
        self.sessions.get(key).map(|session| session.tenant)
    }

    fn session_in(&self, client: ClientKey, namespace: NamespaceId) -> Option<SessionKey> {
        let socket = self.clients.get(client)?.socket.as_ref()?;
        socket.sessions.iter().find(|(known, _)| *known == namespace).map(|(_, session)| *session)
    }

    /// The admitted sessions of a user, in one tenant or in all.
    pub fn sessions_of_user(&self, tenant: Option<TenantId>, userid: &str) -> Vec<SessionKey> {
        let matches = |key: SessionKey, session: &Session| {
            self.user_of(key) == userid && tenant.is_none_or(|tenant| tenant == session.tenant)
        };
        self.admitted().filter(|(key, session)| matches(*key, session)).map(|(key, _)| key).collect()
    }

    /// The admitted sessions of a client.
    pub fn sessions_of(&self, client: ClientKey) -> Vec<SessionKey> {
        let Some(found) = self.clients.get(client) else { return Vec::new() };
        let several = found.socket.iter().flat_map(|socket| socket.sessions.iter().map(|(_, session)| *session));
        found.session.into_iter().chain(several).filter(|session| !self.is_pending(*session)).collect()
    }

    /// The names of all [known](Tenant::is_known) tenants.
    pub fn source_names(&self) -> Vec<Box<str>> {
        self.tenants.iter().filter(|tenant| tenant.is_known()).map(|tenant| (*tenant.name).into()).collect()
    }

    /// The configured namespace with this name.
    pub fn find_namespace(&self, name: &str) -> Option<NamespaceId> {
        let index = self.namespaces.iter().position(|namespace| !namespace.gone && *namespace.name == *name)?;
        NamespaceId::try_from(index).ok()
    }

    /// All sessions but those that still wait for the backend's decision.
    pub fn admitted(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.sessions.iter().filter(|(_, session)| !session.pending)
    }

    /// Whether a namespace is configured.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.find_namespace(name).is_some()
    }

    /// A session as a receiver.
    pub fn receiver(&self, key: SessionKey) -> Option<Receiver> {
        self.sessions.get(key).map(|session| (session.client, session.namespace, session.form))
    }

    /// All admitted sessions of a tenant in a namespace, as receivers.
    pub fn namespace_receivers(&self, tenant: TenantId, namespace: NamespaceId) -> Vec<Receiver> {
        let sessions =
            self.admitted().filter(|(_, session)| session.tenant == tenant && session.namespace == namespace);
        sessions.map(|(_, session)| (session.client, namespace, session.form)).collect()
    }

    /// The members of a room in all namespaces, as receivers.
    pub fn room_receivers(&self, tenant: TenantId, room: &str) -> Vec<Receiver> {
        let tables = self.tenants[tenant.index()].rooms.iter().enumerate();
        let found =
            tables.filter_map(|(namespace, table)| Some((namespace as NamespaceId, table.room(table.find(room)?))));
        found
            .flat_map(|(namespace, room)| {
                room.members.iter().map(move |member| (member.client, namespace, member.form))
            })
            .collect()
    }

    /// The members of a room in all namespaces.
    pub fn members<'a>(&'a self, tenant: TenantId, room: &'a str) -> impl Iterator<Item = &'a Member> {
        let rooms = self.tenants[tenant.index()].rooms.iter().filter_map(|table| Some(table.room(table.find(room)?)));
        rooms.flat_map(|room| &room.members)
    }

    /// The number of members of a room in all namespaces.
    pub fn member_count(&self, tenant: TenantId, room: &str) -> usize {
        let tables = self.tenants[tenant.index()].rooms.iter();
        tables.filter_map(|table| Some(table.room(table.find(room)?).members.len())).sum()
    }

    /// Whether a room has members in any namespace.
    pub fn has_members(&self, tenant: TenantId, room: &str) -> bool {
        self.tenants[tenant.index()].rooms.iter().any(|table| table.find(room).is_some())
    }

    /// Registers a session for the user `userid`, if the session's namespace has a user index.
    pub fn register_user(&mut self, key: SessionKey, userid: &str) {
        let Some(session) = self.sessions.get(key) else { return };
        if let Some(users) = &mut self.namespaces[session.namespace as usize].users {
            users.register(key, session.tenant, userid);
            self.mark_changed(key);
        }
    }

    /// The user id of a session: from its login, or from a later `user_login`. Empty if it has none.
    pub fn user_of(&self, key: SessionKey) -> &str {
        let Some(session) = self.sessions.get(key) else { return "" };
        let users = self.namespaces[session.namespace as usize].users.as_ref();
        users.and_then(|users| users.user(key)).unwrap_or(session.identity.userid())
    }

    /// The sessions of a user in a namespace, in no particular order. Without a user index all sessions are visited.
    pub fn user_sessions(&self, tenant: TenantId, namespace: NamespaceId, userid: &str) -> Vec<SessionKey> {
        match &self.namespaces[namespace as usize].users {
            _ if userid.is_empty() => Vec::new(),
            Some(users) => users.sessions(tenant, userid),
            // Only backends look up users in a namespace without an index.
            None => {
                let sessions =
                    self.admitted().filter(|(_, session)| session.tenant == tenant && session.namespace == namespace);
                sessions.filter(|(_, session)| session.identity.userid() == userid).map(|(key, _)| key).collect()
            }
        }
    }

    /// The tenant in which events of `session` find their receivers in `namespace`: the session's own tenant if logins
    /// to that namespace are signed, otherwise the source that the namespace is configured with.
    pub fn tenant_in(&self, session: SessionKey, namespace: NamespaceId) -> Option<TenantId> {
        let namespace = &self.namespaces[namespace as usize];
        match namespace.config.auth {
            Auth::Sign => self.sessions.get(session).map(|session| session.tenant),
            Auth::Open | Auth::Hook => self.by_name.get(namespace.open_source()).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{CONFIG, Login, received, session, state};
    use crate::{
        clock::Time,
        engineio::{
            Engine,
            engine::{Timing, Transport},
        },
        message::{Author, Data, Event, Form, Target},
        room_hash::HashedRoom,
        state::socket::Socket,
    };

    #[test]
    fn sessions_are_found_by_both_ids() {
        let mut state = state(CONFIG);
        let login = Login { namespace: "/chat", form: Form::SocketIo4, ..Login::default() };
        let key = session(&mut state, login);
        let client = state.sessions.get(key).unwrap().client;
        let timing: Timing = state.timing();
        let socket = Socket {
            engine: Engine::new(Revision::V4, Transport::Polling(None), &timing, Time::START),
            handshake: " ".into(),
            agent: state.agents.intern("", ""),
            sessions: [(state.sessions.get(key).unwrap().namespace, key)].into_iter().collect(),
            assembly: None,
        };
        state.clients.get_mut(client).unwrap().socket = Some(socket.into());
        let (socket_id, engine_id) = (state.socket_id(key), state.sids.engine(client));
        assert_eq!(state.find_session(&socket_id), Some(key));
        assert_eq!(state.find_session(&format!("/chat#{engine_id}")), Some(key));
        assert_eq!(state.find_session(&engine_id), None, "the client is not in the namespace /");
        for wrong in ["", "#", "/chat#", &engine_id[1..]] {
            assert_eq!(state.find_session(wrong), None, "{wrong}");
        }
        for (form, expected) in [
            (Form::SocketIo4, &socket_id),
            (Form::SocketIo4Base64, &socket_id),
            (Form::Json, &socket_id),
            (Form::SocketIo3, &format!("/chat#{engine_id}")),
            (Form::SocketIo3Base64, &format!("/chat#{engine_id}")),
        ] {
            state.sessions.get_mut(key).unwrap().form = form;
            assert_eq!((&state.socket_id(key), state.find_session(expected)), (expected, Some(key)), "{form:?}");
        }
        state.sessions.get_mut(key).unwrap().namespace = MAIN;
        assert_eq!(state.socket_id(key), engine_id);
        state.sessions.get_mut(key).unwrap().pending = true;
        assert_eq!(state.find_session(&socket_id), None, "the backend has not admitted it");
    }

    #[test]
    fn tenants_never_meet() {
        let mut state = state(CONFIG);
        let [one, two] =
            ["one", "two"].map(|source| session(&mut state, Login { source, rooms: "room", ..Login::default() }));
        let [first, second] = ["one", "two"].map(|source| state.tenant(source).unwrap());
        let id = state.next_id(1);
        state.deliver(
            first,
            HashedRoom::new("room"),
            Data::Json("1"),
            ("", Author::Backend),
            id,
            crate::state::delivery::Stamp { number: id.stamp(), kept: false },
        );
        let event = Event::new("e", "");
        let socket_id = state.sids.socket(two);
        assert_eq!(state.emit(first, 0, &Target::Session(&socket_id), &event), 0);
        for target in [Target::Room("room"), Target::User("7"), Target::Namespace] {
            assert_eq!(state.emit(first, 0, &target, &event), 1, "{target:?}");
        }
        assert!(received(&mut state, two).is_empty());
        assert_eq!(received(&mut state, one).len(), 4);
        assert_eq!(state.user_sessions(second, 0, "7"), [two]);
        assert_eq!(state.sessions_of_user(Some(first), "7"), [one]);
        assert_eq!(state.room_receivers(second, "room"), [state.receiver(two).unwrap()]);
    }

    #[test]
    fn a_file_of_another_source_is_refused() {
        let mut state = state("[sources.a]\nsign_key = \"k\"\n[sources.a_b]\nsign_key = \"k\"\n");
        let tenant = state.tenant("a").unwrap();
        assert!(state.may_use_filename(tenant, "") && state.may_use_filename(tenant, "c_msg.log"));
        assert!(!state.may_use_filename(tenant, "b_msg.log"), "it is the file msg.log of a_b");
        assert_eq!(state.tenant(""), Err(Refusal::SourceMissing));
        state.reload(crate::state::testing::config("[sources.a]\nsign_key = \"k\"\n"));
        assert!(state.may_use_filename(tenant, "b_msg.log"));
    }
}
