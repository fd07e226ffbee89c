//! Lists of users, sessions and rooms of this relay, for operators and backends (docs/protocol.md, Lists).

use core::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::{
    clock::Time,
    journal::What,
    key::SessionKey,
    room_hash::room_hash,
    state::{Session, SessionInfo, State, TenantId},
};

/// The number of sessions of each username in a tenant, sorted by name.
pub fn online(state: &State, tenant: TenantId) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    for session in sessions_of(state, tenant).map(|(_, session)| session) {
        *names.entry(session.identity.username()).or_default() += 1;
    }
    names
}

/// Up to `max` sessions of a tenant after the first `skip`: of the user `userid`, or of all users.
pub fn sessions<'a>(
    state: &'a State,
    tenant: TenantId,
    userid: Option<&'a str>,
    skip: usize,
    max: usize,
) -> impl Iterator<Item = SessionInfo<'a>> {
    let matches = move |key: SessionKey| userid.is_none_or(|userid| state.user_of(key) == userid);
    let sessions = sessions_of(state, tenant).filter(move |(key, _)| matches(*key)).skip(skip).take(max);
    sessions.map(|(key, session)| state.info(key, session))
}

fn sessions_of(state: &State, tenant: TenantId) -> impl Iterator<Item = (SessionKey, &Session)> {
    state.admitted().filter(move |(_, session)| session.tenant == tenant)
}

/// The rooms of a tenant whose names contain `part`, and their numbers of members in all namespaces, the largest first.
pub fn rooms<'a>(state: &'a State, tenant: TenantId, part: &str) -> Vec<(&'a str, usize)> {
    let mut rooms: HashMap<&str, usize> = HashMap::new();
    let tables = state.tenants[tenant.index()].rooms.iter().flat_map(|table| table.iter());
    for room in tables.filter(|room| part.is_empty() || room.id.contains(part)) {
        *rooms.entry(&room.id).or_default() += room.members.len();
    }
    let mut rooms: Vec<_> = rooms.into_iter().collect();
    rooms.sort_unstable_by_key(|(name, members)| (Reverse(*members), *name));
    rooms
}

/// A room and what was published to it of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyRoom<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its members in all namespaces.
    pub members: usize,
    /// Messages.
    pub messages: u64,
    /// Messages queued for members, counted once for each.
    pub deliveries: u64,
}

/// What was published of late.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy<'a> {
    /// The rooms that have members, and the one that was asked for, those with the most deliveries first.
    pub rooms: Vec<BusyRoom<'a>>,
    /// Messages to rooms that have no members any more.
    pub elsewhere: u64,
    /// Since when.
    pub since: Time,
}

/// The rooms of a tenant that messages were published to since `since`, or since the journal begins.
pub fn busy_rooms<'a>(state: &'a State, tenant: TenantId, part: &'a str, since: Time) -> Busy<'a> {
    let since = since.max(state.journal.since().unwrap_or(Time::START));
    let mut counts: HashMap<u64, (u64, u64)> = HashMap::new();
    for record in state.journal.events().rev().take_while(|record| record.time >= since) {
        if record.tenant == tenant.0 && matches!(record.what, What::Published | What::Kept) {
            let (messages, deliveries) = counts.entry(record.who).or_default();
            *messages += 1;
            *deliveries += u64::from(record.count);
        }
    }
    let mut rooms = Vec::new();
    if !counts.is_empty() {
        for (name, members) in self::rooms(state, tenant, part) {
            if let Some((messages, deliveries)) = counts.remove(&room_hash(name)) {
                rooms.push(BusyRoom { name, members, messages, deliveries });
            }
        }
    }
    // The journal has no names, so a room without members is found by its whole name alone.
    if let Some((messages, deliveries)) = counts.remove(&room_hash(part)).filter(|_| !part.is_empty()) {
        rooms.push(BusyRoom { name: part, members: 0, messages, deliveries });
    }
    rooms.sort_by_key(|room| Reverse((room.deliveries, room.messages)));
    let elsewhere = if part.is_empty() { counts.values().map(|(messages, _)| messages).sum() } else { 0 };
    Busy { rooms, elsewhere, since }
}

/// The users of a tenant whose ids contain `part`, with their numbers of sessions in each namespace, or only in `namespace`.
/// Sorted by user id.
pub fn users<'a>(
    state: &'a State,
    tenant: TenantId,
    namespace: Option<&str>,
    part: &str,
) -> BTreeMap<&'a str, BTreeMap<&'a str, usize>> {
    let mut found: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (key, session) in sessions_of(state, tenant) {
        let (userid, name) = (state.user_of(key), &*state.namespaces[session.namespace as usize].name);
        if userid.is_empty() || !userid.contains(part) || namespace.is_some_and(|wanted| wanted != name) {
            continue;
        }
        *found.entry(userid).or_default().entry(name).or_default() += 1;
    }
    found
}
