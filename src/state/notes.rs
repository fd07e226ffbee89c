//! What is written to the [journal](crate::journal) about sessions.

use super::{namespace::NamespaceId, registry::State, tenant::TenantId};
use crate::{
    engineio::Revision,
    journal::{More, Reason, Recipient, Subject, What},
    key::{ClientKey, Handle, Key, SessionKey},
    message::Target,
    room_hash::room_hash,
};

impl State {
    /// Writes to the journal what has happened to a session.
    pub fn write_journal(&mut self, key: SessionKey, what: What, more: More<'_>) {
        let Some(session) = self.sessions.get(key).filter(|_| self.journal.is_on()) else { return };
        let user = (session.tenant.0, self.journal.user(session.tenant.0, self.user_of(key)));
        self.journal.note_of(self.now.time, what, user, key, more);
    }

    /// Writes what has happened to all admitted sessions of a client.
    pub fn write_journal_of(&mut self, client: ClientKey, what: What, more: More<'_>) {
        if self.journal.is_on() {
            self.sessions_of(client).into_iter().for_each(|session| self.write_journal(session, what, more.clone()));
        }
    }

    /// Writes that a session has begun, and from what its `socket_id` follows. It must have its name.
    pub fn note_came(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key).filter(|_| self.journal.is_on()) else { return };
        let name = self.name_of(key);
        let (stamp, count) = match session.form.revision() {
            Some(Revision::V3) => (session.client.key().to_bits(), u32::from(session.namespace) + OF_CLIENT),
            _ if name != key => (name.key().to_bits(), RENAMED),
            _ => (0, 0),
        };
        self.write_journal(key, What::Came, More { stamp, count, ..More::default() });
    }

    /// Writes that a session has not got messages of these rooms, which are not kept any more.
    pub fn note_gaps(&mut self, key: SessionKey, rooms: &[&str]) {
        for room in rooms.iter().take(MOST_GAPS) {
            self.write_journal(key, What::Gap, More { stamp: room_hash(room), ..More::default() });
        }
        if let Some(more) = rooms.len().checked_sub(MOST_GAPS).filter(|more| *more > 0) {
            let count = u32::try_from(more).unwrap_or(u32::MAX);
            self.write_journal(key, What::Gaps, More { count, ..More::default() });
        }
    }

    /// Writes that something which a session has asked for was refused or has failed.
    pub fn note_failure(&mut self, key: SessionKey, what: What, reason: &Reason<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let user = (session.tenant.0, self.journal.user(session.tenant.0, self.user_of(key)));
        self.journal.note_failure(self.now.time, what, user, key, reason);
    }

    /// Writes that a backend has emitted an event, here or at another relay, which was for so many sessions of this relay.
    pub fn note_event(&mut self, (tenant, namespace): (TenantId, NamespaceId), target: &Target<'_>, reached: usize) {
        let (recipient, who) = match target {
            Target::Session(socket_id) => {
                let session = self.find_session(socket_id).filter(|key| self.tenant_of(*key) == Some(tenant));
                return session.into_iter().for_each(|key| self.note_event_to(key, reached > 0));
            }
            Target::Room(room) => (Recipient::Room, room_hash(room)),
            Target::User(userid) => (Recipient::User, self.journal.user(tenant.0, userid)),
            Target::Namespace => (Recipient::All, 0),
        };
        let subject = Subject { tenant: tenant.0, who, session: namespace.into() };
        self.journal.note_event(self.now.time, recipient, subject, reached > 0);
    }

    /// The same for an event that is for one session.
    pub fn note_event_to(&mut self, key: SessionKey, is_sent: bool) {
        let Some(session) = self.sessions.get(key).filter(|_| self.journal.is_on()) else { return };
        let (tenant, who) = (session.tenant.0, self.journal.user(session.tenant.0, self.user_of(key)));
        let subject = Subject { tenant, who, session: key.key().to_bits() };
        self.journal.note_event(self.now.time, Recipient::Session, subject, is_sent);
    }

    /// The `socket_id` of a session that was written as [`What::Came`] with this `stamp` and `count`, also if it has ended.
    pub fn socket_id_of(&self, bits: u64, (stamp, count): (u64, u32)) -> String {
        let Some(key) = Key::from_bits(bits).map(SessionKey::wrap) else { return String::new() };
        if self.sessions.get(key).is_some() {
            return self.socket_id(key);
        }
        match (count, Key::from_bits(stamp)) {
            (RENAMED, Some(name)) => self.sids.socket(SessionKey::wrap(name)),
            (OF_CLIENT.., Some(client)) => {
                let sid = self.sids.engine(ClientKey::wrap(client));
                match NamespaceId::try_from(count - OF_CLIENT) {
                    Ok(namespace) if namespace > 0 => {
                        let namespace = self.namespaces.get(usize::from(namespace));
                        format!("{}#{sid}", namespace.map_or("", |namespace| &namespace.name))
                    }
                    _ => sid,
                }
            }
            _ => self.sids.socket(key),
        }
    }

    /// What the record of a session with this `socket_id` has, also if it has ended: the bits of its name, or the bits of its
    /// client and the namespace as in [`What::Came`].
    pub fn find_name(&self, socket_id: &str) -> Option<(u64, u32)> {
        if let Some(name) = self.sids.find_socket(socket_id) {
            return Some((name.key().to_bits(), RENAMED));
        }
        let (namespace, sid) = socket_id.rsplit_once('#').unwrap_or(("/", socket_id));
        let namespace = self.find_namespace(namespace)?;
        Some((self.sids.find(sid)?.key().to_bits(), u32::from(namespace) + OF_CLIENT))
    }
}

/// The counts of [`What::Came`]: with a name that was taken over, and with a name that follows from the client.
pub const RENAMED: u32 = 1;
const OF_CLIENT: u32 = 2;
/// Rooms with gaps that are written one by one.
const MOST_GAPS: usize = 8;
