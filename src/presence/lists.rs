//! Lists of users, sessions and rooms of this relay, for operators and backends (docs/protocol.md, Lists).

use core::{cmp::Reverse, ptr};
use std::collections::{BTreeMap, HashMap};

use crate::{
    clock::Time,
    journal::What,
    key::SessionKey,
    room_hash::room_hash,
    state::{
        Session, SessionInfo, State, TenantId,
        room::{Room, RoomTable},
    },
};

/// The number of sessions of each username in a tenant, sorted by name.
pub fn online(state: &State, tenant: TenantId) -> BTreeMap<&str, usize> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for session in sessions_of(state, tenant).map(|(_, session)| session) {
        *names.entry(session.identity.username()).or_default() += 1;
    }
    names.into_iter().collect()
}

/// Up to `max` sessions of a tenant after the first `skip`: of the user `userid`, or of all users.
pub fn sessions<'a>(
    state: &'a State,
    tenant: TenantId,
    userid: Option<&'a str>,
    (skip, max): (usize, usize),
) -> impl Iterator<Item = SessionInfo<'a>> {
    matching(state, tenant, userid).skip(skip).take(max).map(|(key, session)| state.info(key, session))
}

/// The number of sessions of a tenant: of the user `userid`, or of all users.
pub fn count(state: &State, tenant: TenantId, userid: Option<&str>) -> usize {
    matching(state, tenant, userid).count()
}

fn matching<'a>(
    state: &'a State,
    tenant: TenantId,
    userid: Option<&'a str>,
) -> impl Iterator<Item = (SessionKey, &'a Session)> {
    sessions_of(state, tenant).filter(move |(key, _)| userid.is_none_or(|userid| state.user_of(*key) == userid))
}

fn sessions_of(state: &State, tenant: TenantId) -> impl Iterator<Item = (SessionKey, &Session)> {
    state.admitted().filter(move |(_, session)| session.tenant == tenant)
}

/// The `most` rooms of a tenant after the first `skip` whose names contain `part`, and how many there are: those with the most
/// members in all namespaces first. If there are at most 10,000, equally large ones are sorted by their names; to read a
/// million names takes too long.
pub fn rooms<'a>(
    state: &'a State,
    tenant: TenantId,
    part: &str,
    (skip, most): (usize, usize),
) -> (Vec<(&'a str, usize)>, usize) {
    let tables = &state.tenants[tenant.index()].rooms;
    let mut found: Vec<(Reverse<usize>, &Room)> = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let (before, after) = (&tables[..index], &tables[index + 1..]);
        for room in table.iter().filter(|room| part.is_empty() || room.id.contains(part)) {
            let members = |tables: &[RoomTable]| -> usize {
                let same = tables
                    .iter()
                    .filter(|table| !table.is_empty())
                    .filter_map(|table| table.find(&room.id).map(|at| table.room(at)));
                same.map(|room| room.members.len()).sum()
            };
            // A room that several namespaces have is listed with the first of them.
            if members(before) == 0 {
                found.push((Reverse(room.members.len() + members(after)), room));
            }
        }
    }
    let count = found.len();
    match count {
        0..=MOST_SORTED => found.sort_unstable_by_key(|(members, room)| (*members, &*room.id)),
        _ => {
            // A stable order, for pages: the places of rooms do not change.
            let order = |(members, room): &(Reverse<usize>, &'a Room)| (*members, ptr::from_ref(*room));
            let end = skip.saturating_add(most).min(count);
            if end < count {
                found.select_nth_unstable_by_key(end, order);
                found.truncate(end);
            }
            found.sort_unstable_by_key(order);
        }
    }
    let found = found.into_iter().skip(skip).take(most);
    (found.map(|(Reverse(members), room)| (&*room.id, members)).collect(), count)
}

/// So many rooms are sorted by their names.
const MOST_SORTED: usize = 10_000;

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
            *deliveries += u64::from(record.sessions());
        }
    }
    let (mut rooms, mut elsewhere) = (Vec::new(), 0);
    for (hash, (messages, deliveries)) in counts {
        let tables = state.tenants[tenant.index()].rooms.iter();
        let (mut name, mut members) = (None, 0);
        for room in tables.filter_map(|table| table.find_by_hash(hash)) {
            name = Some(&*room.id);
            members += room.members.len();
        }
        // The journal has no names, so a room without members is found by its whole name alone.
        match name.or(Some(part).filter(|part| !part.is_empty() && room_hash(part) == hash)) {
            Some(name) if name.contains(part) => rooms.push(BusyRoom { name, members, messages, deliveries }),
            Some(_) => {}
            None => elsewhere += if part.is_empty() { messages } else { 0 },
        }
    }
    rooms.sort_unstable_by_key(|room| (Reverse((room.deliveries, room.messages)), room.name));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::Form,
        state::testing::{CONFIG, Login, session, state},
    };

    fn state_with_rooms(count: usize) -> State {
        let mut state = state(CONFIG);
        for number in 0..count {
            let rooms = format!("room-{number}");
            session(&mut state, Login { rooms: &rooms, form: Form::Text, ..Login::default() });
        }
        // In two namespaces, and one that only the other namespace has.
        for (namespace, rooms) in [("/", "room-7,big"), ("/", "big"), ("/chat", "room-7,there"), ("/chat", "room-7")] {
            session(&mut state, Login { namespace, rooms, ..Login::default() });
        }
        state
    }

    #[test]
    fn rooms_of_several_namespaces_are_one_list() {
        let state = state_with_rooms(12);
        let tenant = state.tenant("one").unwrap();
        let (list, count) = rooms(&state, tenant, "", (0, 5));
        assert_eq!(
            (count, &list[..]),
            (14, &[("room-7", 4), ("big", 2), ("room-0", 1), ("room-1", 1), ("room-10", 1)][..])
        );
        assert_eq!(rooms(&state, tenant, "", (13, 5)), (vec![("there", 1)], 14));
        assert_eq!(rooms(&state, tenant, "ER", (0, 5)), (vec![], 0));
        assert_eq!(rooms(&state, tenant, "er", (0, 5)), (vec![("there", 1)], 1));
        assert_eq!(rooms(&state, tenant, "", (usize::MAX, 5)), (vec![], 14));
        assert_eq!(rooms(&state, tenant, "", (0, 0)), (vec![], 14));
    }

    #[test]
    fn pages_of_many_rooms_have_each_room_once() {
        let state = state_with_rooms(MOST_SORTED + 100);
        let tenant = state.tenant("one").unwrap();
        let (first, count) = rooms(&state, tenant, "", (0, 3));
        assert_eq!((count, &first[..2]), (MOST_SORTED + 102, &[("room-7", 4), ("big", 2)][..]));
        let mut names: Vec<&str> = (0..count)
            .step_by(997)
            .flat_map(|skip| rooms(&state, tenant, "", (skip, 997)).0)
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
