//! Who is here, and who came today: what operators look at (contract section 7).

use core::{cmp::Reverse, mem};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use super::{Hub, Login, Session, SpaceId, TenantId, journal::Line, roster::protocol};
use crate::{
    clock::Now,
    key::{ClientKey, SessionKey},
    plain::sorted,
};

/// Logins of a local day, by username. The names stand one behind the other, and a table says where: some 14 bytes a name
/// beside itself, a third of what a map of hashes takes.
#[derive(Default)]
pub struct Today {
    day: i64,
    /// Open addressing: a name's place in `names` plus one stands at its hash or, if that is taken, behind it; 0 is free.
    /// At most three quarters are taken.
    table: Vec<u32>,
    hasher: RandomState,
    count: usize,
    /// For each name: its count (4 bytes), its length (2), and itself.
    names: Vec<u8>,
    sessions: u64,
}

impl Today {
    /// One more login. A name beyond the first 100,000 is counted as a session only.
    pub fn count(&mut self, username: &str, now: Now) {
        self.turn_over(now);
        self.sessions += 1;
        if self.count * 4 >= self.table.len() * 3 {
            self.grow();
        }
        let slot = self.slot(username.as_bytes());
        if let Some(place) = self.table[slot].checked_sub(1) {
            let (count, ..) = self.entry(place as usize);
            let begin = place as usize;
            self.names[begin..begin + 4].copy_from_slice(&(count + 1).to_le_bytes());
            return;
        }
        let Ok(length) = u16::try_from(username.len()) else { return };
        if self.count < MOST_NAMES && self.names.len() + username.len() <= MOST_BYTES {
            self.count += 1;
            self.table[slot] = self.names.len() as u32 + 1;
            self.names.extend_from_slice(&1u32.to_le_bytes());
            self.names.extend_from_slice(&length.to_le_bytes());
            self.names.extend_from_slice(username.as_bytes());
        }
    }

    /// Where a name stands in the table, or would.
    fn slot(&self, name: &[u8]) -> usize {
        let mut slot = self.hasher.hash_one(name) as usize & (self.table.len() - 1);
        while let Some(place) = self.table[slot].checked_sub(1)
            && self.entry(place as usize).1 != name
        {
            slot = (slot + 1) & (self.table.len() - 1);
        }
        slot
    }

    /// A table of twice the size, a power of two: each name is looked up anew.
    fn grow(&mut self) {
        self.table = vec![0; (self.table.len() * 2).max(16)];
        let mut place = 0;
        while place < self.names.len() {
            let (_, name, next) = self.entry(place);
            let slot = self.slot(name);
            self.table[slot] = place as u32 + 1;
            place = next;
        }
    }

    /// The count and the name at a place, and the place behind it.
    fn entry(&self, place: usize) -> (u32, &[u8], usize) {
        let count = u32::from_le_bytes(core::array::from_fn(|index| self.names[place + index]));
        let length = usize::from(u16::from_le_bytes([self.names[place + 4], self.names[place + 5]]));
        let begin = place + 6;
        (count, &self.names[begin..begin + length], begin + length)
    }

    /// Forgets yesterday.
    fn turn_over(&mut self, now: Now) {
        if self.is_over(now) {
            *self = Today { day: now.day(), ..Today::default() };
        }
    }

    /// A clock that is set back a little does not bring yesterday back.
    fn is_over(&self, now: Now) -> bool {
        now.day() > self.day || now.day() < self.day - 1
    }

    /// Names with their logins, sorted; and how many logins there were.
    fn list(&self, now: Now) -> (Vec<(&str, u32)>, u64) {
        if self.is_over(now) {
            return (Vec::new(), 0);
        }
        let (mut names, mut place) = (Vec::with_capacity(self.count), 0);
        while place < self.names.len() {
            let (count, name, next) = self.entry(place);
            names.push((core::str::from_utf8(name).unwrap_or_default(), count));
            place = next;
        }
        (sorted(names), self.sessions)
    }
}

/// A session as operators see it.
pub struct Visitor<'a> {
    /// Its name.
    pub socket_id: String,
    /// Its namespace.
    pub namespace: &'a str,
    /// Whose it is.
    pub userid: &'a str,
    /// Where it is.
    pub rooms: String,
    /// Everything else.
    pub session: &'a Session,
}

impl Visitor<'_> {
    /// Writes it down: the same fields in the trail and for who asks.
    pub fn describe(&self, line: &mut Line<'_>) {
        let identity = &self.session.identity;
        line.text("socket_id", &self.socket_id);
        line.text("userid", self.userid);
        line.text("username", identity.username());
        line.text("room_ids", &self.rooms);
        line.text("nsp", self.namespace);
        line.text("protocol", protocol(self.session.form));
        if let Some(ip) = identity.ip() {
            line.shown("ip", ip);
        }
        line.some("referer", &identity.agent().referer);
        line.some("user_agent", &identity.agent().user_agent);
        line.some("ext_info", identity.ext_info());
        if self.session.watch_quit {
            line.shown("watch_quit", 1);
        }
    }
}

impl Hub {
    /// Nobody came in.
    pub(super) fn refused_login(&mut self, namespace: &str, login: &Login<'_>, why: &str) {
        self.stats.logins_refused += 1;
        self.journal.error("connect", why, |line| {
            line.cut("source", login.source);
            line.cut("nsp", namespace);
            line.cut("room_ids", login.room_ids);
            line.cut("userid", login.userid);
            line.cut("username", login.username);
            line.cut("ext_info", login.ext_info);
            if let Some(ip) = login.ip {
                line.shown("ip", ip);
            }
            line.some("referer", login.referer);
            line.some("user_agent", login.user_agent);
        });
    }

    /// A line of the visitors' trail: a session came, or went after so many seconds.
    pub(super) fn record_visit(&mut self, event: &'static str, key: SessionKey, seconds: Option<u64>) {
        if !self.journal.is_on() {
            return;
        }
        let mut journal = mem::take(&mut self.journal);
        if let Some(session) = self.sessions.get(key) {
            let visitor = self.visitor(key, session);
            journal.client(event, |line| {
                line.text("source", &self.tenants[session.tenant as usize].name);
                visitor.describe(line);
                if let Some(seconds) = seconds {
                    line.shown("seconds", seconds);
                }
            });
        }
        self.journal = journal;
    }

    /// How many sessions each username of a tenant has, sorted by name.
    pub fn online(&self, tenant: TenantId) -> BTreeMap<&str, usize> {
        let mut names = BTreeMap::new();
        for session in self.sessions_of(tenant).map(|(_, session)| session) {
            *names.entry(session.identity.username()).or_default() += 1;
        }
        names
    }

    /// Up to `most` sessions of a tenant after the first `skip`, of that user if one is named.
    pub fn visitors(
        &self,
        tenant: TenantId,
        userid: Option<&str>,
        skip: usize,
        most: usize,
    ) -> impl Iterator<Item = Visitor<'_>> {
        let named = move |key: SessionKey| userid.is_none_or(|userid| self.user_of(key) == userid);
        let sessions = self.sessions_of(tenant).filter(move |(key, _)| named(*key)).skip(skip).take(most);
        sessions.map(|(key, session)| self.visitor(key, session))
    }

    pub(super) fn visitor<'a>(&'a self, key: SessionKey, session: &'a Session) -> Visitor<'a> {
        Visitor {
            socket_id: self.sids.socket(key),
            userid: self.user_of(key),
            namespace: &self.spaces[session.space as usize].name,
            rooms: self.room_names(session).join(","),
            session,
        }
    }

    fn sessions_of(&self, tenant: TenantId) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.admitted().filter(move |(_, session)| session.tenant == tenant.0)
    }

    /// Today's logins of a tenant by username, sorted, and how many there were.
    pub fn today(&self, tenant: TenantId, now: Now) -> (Vec<(&str, u32)>, u64) {
        self.tenants[tenant.0 as usize].today.list(now)
    }

    /// Rooms of a tenant with somebody in them, and how many, the fullest first.
    pub fn rooms(&self, tenant: TenantId) -> Vec<(&str, usize)> {
        let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
        for room in self.tenants[tenant.0 as usize].rooms.iter().flat_map(|table| table.iter()) {
            *rooms.entry(&room.id).or_default() += room.members.len();
        }
        let rooms = rooms.into_iter().map(|(name, members)| (Reverse(members), name)).collect();
        sorted(rooms).into_iter().map(|(Reverse(members), name)| (name, members)).collect()
    }

    /// A tenant by its name, configured or let in by an open namespace: for who looks.
    pub fn known_tenant(&self, name: &str) -> Option<TenantId> {
        let index = *self.by_name.get(name)?;
        let tenant = &self.tenants[index as usize];
        (tenant.source.is_some() || tenant.open).then_some(TenantId(index))
    }

    /// Whether a file of the message log that a message names is its source's: `a` with `b_msg.log` would write into the
    /// file of `a_b`, which is its if there is such a source.
    pub fn may_name(&self, tenant: TenantId, filename: &str) -> bool {
        if filename.is_empty() {
            return true;
        }
        let source = &*self.tenants[tenant.0 as usize].name;
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
                let space = self.find_space(namespace)?;
                self.session_in(self.find_engine(sid)?, space)
            }
        };
        // Who waits to be let in is not there yet.
        key.filter(|key| self.sessions.get(*key).is_some_and(|session| !session.pending))
    }

    /// A session's tenant.
    pub fn tenant_of(&self, key: SessionKey) -> Option<TenantId> {
        self.sessions.get(key).map(|session| TenantId(session.tenant))
    }

    fn session_in(&self, client: ClientKey, space: SpaceId) -> Option<SessionKey> {
        let socket = self.clients.get(client)?.socket.as_ref()?;
        socket.sessions.iter().find(|(known, _)| *known == space).map(|(_, session)| *session)
    }

    /// The sessions of a user, in one tenant or in all.
    pub fn sessions_of_user(&self, tenant: Option<TenantId>, userid: &str) -> Vec<SessionKey> {
        let his = |key: SessionKey, session: &Session| {
            self.user_of(key) == userid && tenant.is_none_or(|tenant| tenant.0 == session.tenant)
        };
        self.admitted().filter(|(key, session)| his(*key, session)).map(|(key, _)| key).collect()
    }
}

/// Different usernames that are kept for a day, and their bytes: with short ones 100,000 cost some 4 MB.
const MOST_NAMES: usize = 100_000;
const MOST_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_local_midnight() {
        let at = |unix| Now { unix, utc_offset: 8 * 3600, ..Now::default() };
        let mut today = Today::default();
        let midnight = 1_795_219_200 + 16 * 3600;
        today.count("li", at(midnight - 2));
        today.count("wang", at(midnight - 1));
        today.count("li", at(midnight - 1));
        assert_eq!(today.list(at(midnight - 1)), (vec![("li", 2), ("wang", 1)], 3));
        assert_eq!(today.list(at(midnight)), (vec![], 0));
        today.count("", at(midnight));
        assert_eq!(today.list(at(midnight)), (vec![("", 1)], 1));
        today.count("set back", at(midnight - 1));
        assert_eq!(today.list(at(midnight)).1, 2, "a small step back changes nothing");
        assert_eq!(today.list(at(midnight - 1)).1, 2);
        today.count("long ago", at(midnight - 3 * 86_400));
        assert_eq!(today.list(at(midnight - 3 * 86_400)).1, 1, "a clock that was days ahead");
    }

    #[test]
    fn names_are_bounded() {
        let mut today = Today::default();
        (0..MOST_NAMES + 10).for_each(|number| today.count(&number.to_string(), Now::default()));
        today.count("5", Now::default());
        let (names, sessions) = today.list(Now::default());
        assert_eq!((names.len(), sessions), (MOST_NAMES, MOST_NAMES as u64 + 11));
        let mut today = Today::default();
        (0..MOST_BYTES / 400).for_each(|number| today.count(&format!("{number:0500}"), Now::default()));
        assert_eq!(today.list(Now::default()).0.len(), (MOST_BYTES - 500) / 506 + 1, "long ones by their bytes");
    }
}
