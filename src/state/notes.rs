//! What is written to the [journal](crate::journal) about sessions.

use super::{namespace::NamespaceId, registry::State, tenant::TenantId};
use crate::{
    engineio::Revision,
    journal::{EMITTED_TO_SESSION, More, Reason, Recipient, What},
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

    /// Writes to the journal that an event of the backend, here or at another relay, was sent to sessions of this relay.
    pub fn note_event(&mut self, tenant: TenantId, target: &Target<'_>, reached: usize) {
        let recipient = match target {
            Target::Room(room) => Recipient::Room(room),
            Target::User(userid) => Recipient::User(userid),
            Target::Session(socket_id) => {
                if let Some(key) = self.find_session(socket_id).filter(|_| reached > 0) {
                    let more = More { stamp: EMITTED_TO_SESSION, count: 1, ..More::default() };
                    self.write_journal(key, What::Emitted, more);
                }
                return;
            }
            Target::Namespace => Recipient::All,
        };
        self.journal.note_event(self.now.time, tenant.0, recipient, reached);
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
