//! Lists of users, sessions and rooms of this relay, for operators and backends (docs/protocol.md, Lists).

use core::cmp::Reverse;
use std::collections::BTreeMap;

use crate::{
    key::SessionKey,
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

/// The rooms of a tenant and their numbers of members in all namespaces, the largest first.
pub fn rooms(state: &State, tenant: TenantId) -> Vec<(&str, usize)> {
    let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
    for room in state.tenants[tenant.index()].rooms.iter().flat_map(|table| table.iter()) {
        *rooms.entry(&room.id).or_default() += room.members.len();
    }
    let mut rooms: Vec<_> = rooms.into_iter().collect();
    rooms.sort_unstable_by_key(|(name, members)| (Reverse(*members), *name));
    rooms
}

/// The users of a tenant, with their numbers of sessions in each namespace, or only in `namespace`. Sorted by user id.
pub fn users<'a>(
    state: &'a State,
    tenant: TenantId,
    namespace: Option<&str>,
) -> BTreeMap<&'a str, BTreeMap<&'a str, usize>> {
    let mut found: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (key, session) in sessions_of(state, tenant) {
        let (userid, name) = (state.user_of(key), &*state.namespaces[session.namespace as usize].name);
        if userid.is_empty() || namespace.is_some_and(|wanted| wanted != name) {
            continue;
        }
        *found.entry(userid).or_default().entry(name).or_default() += 1;
    }
    found
}
