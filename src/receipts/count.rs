//! How many sessions of a relay get a message, and the names of their users.

use std::{collections::HashMap, rc::Rc};

use crate::{
    clock::Time,
    state::{State, TenantId, client::Mode},
};

/// The sessions of one relay in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All sessions.
    pub sessions: u64,
    /// Those without a user.
    pub guests: u64,
    /// The users of the others.
    pub users: Names,
    /// The users whose session was lost, and who get the message when they come back.
    pub away: Names,
}

/// Names in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The first `MAX_NAMES` of them.
    pub list: Vec<Box<str>>,
    /// How many there are beyond those.
    pub more: u64,
}

impl Names {
    /// The names in a list in any order, where a name can be several times.
    pub fn new(mut all: Vec<&str>) -> Names {
        all.sort_unstable();
        all.dedup();
        let list: Vec<Box<str>> = all.iter().take(MAX_NAMES).map(|name| (*name).into()).collect();
        Names { more: (all.len() - list.len()) as u64, list }
    }

    /// The list as borrowed strings.
    pub fn to_strs(&self) -> Vec<&str> {
        self.list.iter().map(|name| &**name).collect()
    }
}

/// Counts the members of rooms. A room that was counted in a turn is not counted again, because a batch can have thousands of
/// messages for one room.
#[derive(Default)]
pub struct Counter {
    counted: HashMap<(TenantId, bool), HashMap<Box<str>, Counted>>,
    at: Time,
    slow_consumers: u64,
}

struct Counted {
    members: usize,
    count: Rc<Count>,
}

impl Counter {
    /// Counts the sessions that get a message to a room. Call it after the delivery, which finds slow consumers. Without `names`,
    /// users are not collected. `away` are the users of sessions that were lost.
    pub fn count<'a>(
        &mut self,
        state: &State,
        (tenant, room): (TenantId, &str),
        names: bool,
        away: impl FnOnce() -> Vec<&'a str>,
    ) -> Rc<Count> {
        if (self.at, self.slow_consumers) != (state.now.time, state.stats.slow_consumers) {
            self.counted.clear();
            (self.at, self.slow_consumers) = (state.now.time, state.stats.slow_consumers);
        }
        let members = state.member_count(tenant, room);
        let rooms = self.counted.entry((tenant, names)).or_default();
        if let Some(counted) = rooms.get(room).filter(|counted| counted.members == members) {
            return counted.count.clone();
        }
        let count = Rc::new(count(state, (tenant, room), names, away));
        rooms.insert(room.into(), Counted { members, count: count.clone() });
        count
    }

    /// Frees what earlier turns have counted.
    pub fn end_turn(&mut self) {
        if !self.counted.is_empty() {
            self.counted = HashMap::new();
        }
    }
}

fn count<'a>(
    state: &State,
    (tenant, room): (TenantId, &str),
    names: bool,
    away: impl FnOnce() -> Vec<&'a str>,
) -> Count {
    let (mut sessions, mut guests, mut users) = (0, 0, Vec::new());
    for member in state.members(tenant, room) {
        // One that is behind gets it later.
        if state.clients.get(member.client).is_none_or(|client| client.mode == Mode::Ending) {
            continue;
        }
        sessions += 1;
        match state.user_of(member.session) {
            "" => guests += 1,
            user if names => users.push(user),
            _ => {}
        }
    }
    let away = if names { Names::new(away()) } else { Names::default() };
    Count { sessions, guests, users: Names::new(users), away }
}

/// The most names in a list.
pub const MAX_NAMES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::Form,
        state::testing::{CONFIG, Login, join, session, state},
        websocket::Close,
    };

    fn member(state: &mut State, namespace: &str, userid: &str) -> crate::key::SessionKey {
        session(state, Login { namespace, userid, rooms: "room", form: Form::Json, ..Login::default() })
    }

    fn names(list: &[&str]) -> Names {
        Names { list: list.iter().map(|name| (*name).into()).collect(), more: 0 }
    }

    #[test]
    fn sessions_of_all_namespaces() {
        let mut state = state(CONFIG);
        for (namespace, userid) in [("/", "9"), ("/", "7"), ("/chat", "7"), ("/", ""), ("/users", "x\"")] {
            member(&mut state, namespace, userid);
        }
        session(&mut state, Login { source: "two", rooms: "room", ..Login::default() });
        let tenant = state.tenant("one").unwrap();
        let mut counter = Counter::default();
        let count = counter.count(&state, (tenant, "room"), true, || vec!["5", "3", "5"]);
        let expected = Count { sessions: 5, guests: 1, users: names(&["7", "9", "x\""]), away: names(&["3", "5"]) };
        assert_eq!(*count, expected);
        let count = counter.count(&state, (tenant, "room"), false, || unreachable!("nobody asks for names"));
        assert_eq!(*count, Count { sessions: 5, guests: 1, ..Count::default() });
        assert_eq!(*counter.count(&state, (tenant, "rome"), true, Vec::new), Count::default());
    }

    #[test]
    fn what_a_turn_has_counted_is_counted_again_once_it_has_changed() {
        let mut state = state(CONFIG);
        let tenant = state.tenant("one").unwrap();
        let mut counter = Counter::default();
        let sessions =
            |counter: &mut Counter, state: &State| counter.count(state, (tenant, "room"), true, Vec::new).sessions;
        let slow = member(&mut state, "/", "7");
        assert_eq!(sessions(&mut counter, &state), 1);
        let other = session(&mut state, Login::default());
        assert_eq!(sessions(&mut counter, &state), 1);
        join(&mut state, other, "room");
        assert_eq!(sessions(&mut counter, &state), 2);
        let client = state.sessions.get(slow).unwrap().client;
        state.close(client, Close::SLOW);
        state.stats.slow_consumers += 1;
        assert_eq!(sessions(&mut counter, &state), 1, "it is being closed");
        counter.end_turn();
        assert!(counter.counted.is_empty());
    }

    #[test]
    fn names_beyond_1000_are_counted() {
        let mut state = state(CONFIG);
        for number in 0..1200 {
            for _ in 0..=number % 2 {
                member(&mut state, "/", &format!("u{number:04}"));
            }
        }
        let tenant = state.tenant("one").unwrap();
        let count = Counter::default().count(&state, (tenant, "room"), true, Vec::new);
        assert_eq!((count.sessions, count.users.list.len(), count.users.more), (1800, 1000, 200));
        assert_eq!((&*count.users.list[0], &*count.users.list[999]), ("u0000", "u0999"));
    }
}
