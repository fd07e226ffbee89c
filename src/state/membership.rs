//! Joining and leaving rooms.

use std::{collections::HashSet, rc::Rc};

use super::{
    client::Mode,
    departure::Departure,
    record::RecordState,
    refusal::Refusal,
    registry::State,
    room::{Member, RoomIndex},
    session::{Membership, Session},
};
use crate::{
    config::ClientPosts,
    journal::{More, What},
    key::SessionKey,
    message::Form,
    names::{RoomId, Rooms},
    room_hash::room_hash,
    trace::Quoted,
};

impl State {
    /// The names of a session's rooms.
    pub fn room_names(&self, session: &Session) -> Vec<Rc<str>> {
        let Some(table) = self.tenants[session.tenant.index()].table(session.namespace) else { return Vec::new() };
        session.rooms.iter().map(|membership| table.room(membership.room).id.clone()).collect()
    }

    /// Whether a session may post to rooms of its source (`client_posts`). `rooms` are valid names.
    pub fn check_post(&self, session: &Session, rooms: &[&str]) -> Result<(), Refusal> {
        let tenant = &self.tenants[session.tenant.index()];
        match tenant.source.as_ref().map_or(ClientPosts::Any, |source| source.client_posts) {
            ClientPosts::Any => Ok(()),
            ClientPosts::None => Err(Refusal::PostsOff),
            ClientPosts::Joined => {
                let table = tenant.table(session.namespace);
                // Sorted, because a session and a message may have thousands of rooms.
                let mut joined: Vec<_> = session.rooms.iter().map(|membership| membership.room).collect();
                joined.sort_unstable();
                let find = |room: &str| table.and_then(|table| table.find(room));
                let is_in = |room: &&str| find(room).is_some_and(|room| joined.binary_search(&room).is_ok());
                if rooms.iter().all(is_in) { Ok(()) } else { Err(Refusal::NotMember) }
            }
        }
    }

    /// Adds a session to a room. Does nothing if it is a member already.
    pub fn join(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let known =
            self.tenants[session.tenant.index()].table(session.namespace).and_then(|table| table.find(room.as_str()));
        if known.is_none_or(|index| session.rooms.iter().all(|membership| membership.room != index)) {
            self.add_to_room(key, room);
        }
    }

    /// Adds a session to several rooms, until it is in `most` rooms. For many rooms this is faster than
    /// [`State::join`], which visits all rooms of the session.
    pub fn join_all(&mut self, key: SessionKey, rooms: &Rooms<'_>, most: usize) {
        let Some(session) = self.sessions.get(key) else { return };
        if session.rooms.len() + rooms.iter().len() <= FEW_ROOMS.min(most) {
            return rooms.iter().for_each(|room| self.join(key, room));
        }
        let mut joined = self.joined(session);
        for room in rooms.iter() {
            if joined.len() >= most {
                return;
            }
            if self.find_room(key, room).is_none_or(|index| !joined.contains(&index)) {
                joined.extend(self.add_to_room(key, room));
            }
        }
    }

    /// Removes a session from several rooms. For many rooms this is faster than [`State::leave`].
    pub fn leave_all(&mut self, key: SessionKey, rooms: &Rooms<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        if rooms.iter().len() <= FEW_ROOMS || session.rooms.len() <= FEW_ROOMS {
            return rooms.iter().for_each(|room| self.leave(key, room));
        }
        let left: HashSet<RoomIndex> = rooms.iter().filter_map(|room| self.find_room(key, room)).collect();
        // From the last one: the room that moves to a free place was visited before.
        let slots = session.rooms.iter().enumerate().rev().filter(|(_, membership)| left.contains(&membership.room));
        let slots: Vec<usize> = slots.map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.leave_slot(key, slot));
    }

    /// Changes the form in which a session receives messages.
    pub fn set_form(&mut self, key: SessionKey, form: Form) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.form = form;
        let Some(table) = self.tenants[session.tenant.index()].rooms.get_mut(session.namespace as usize) else {
            return;
        };
        for Membership { room, place } in &session.rooms {
            table.room_mut(*room).members[*place as usize].form = form;
        }
    }

    /// The rooms of a session, as a set.
    pub fn joined(&self, session: &Session) -> HashSet<RoomIndex> {
        session.rooms.iter().map(|membership| membership.room).collect()
    }

    fn find_room(&self, key: SessionKey, room: RoomId<'_>) -> Option<RoomIndex> {
        let session = self.sessions.get(key)?;
        self.tenants[session.tenant.index()].table(session.namespace)?.find(room.as_str())
    }

    /// Adds a session to a room of which it is not a member.
    fn add_to_room(&mut self, key: SessionKey, room: RoomId<'_>) -> Option<RoomIndex> {
        let session = self.sessions.get_mut(key)?;
        let table = self.tenants[session.tenant.index()].table_mut(session.namespace);
        let slot = u16::try_from(session.rooms.len()).expect("limits.rooms_per_session is at most 65,535");
        let name = room.as_str();
        let (room, place) = table.join(name, Member { client: session.client, session: key, slot, form: session.form });
        session.rooms.push(Membership { room, place });
        let joined = self.moves.is_some().then(|| table.room(room).id.clone());
        if self.clients.get(session.client).is_some_and(|client| client.mode == Mode::Behind) {
            self.joins.push((key, room, self.ids.last()));
        }
        if !self.tracks.is_empty() {
            let client = session.client;
            self.note_late_join(client, key, room);
        }
        if self.journal.is_on() {
            self.write_journal(key, What::Joined, More { stamp: room_hash(name), ..More::default() });
        }
        self.trace_session(key, format_args!("joined room {}", Quoted(name)));
        if let Some(name) = joined {
            self.note_joined(key, name);
        }
        self.mark_changed(key);
        Some(room)
    }

    /// Removes a session from a room. Does nothing if it is not a member.
    pub fn leave(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let table = self.tenants[session.tenant.index()].table(session.namespace);
        let index = table.and_then(|table| table.find(room.as_str()));
        let slot = session.rooms.iter().position(|membership| Some(membership.room) == index);
        if let Some(slot) = slot {
            self.leave_slot(key, slot);
        }
    }

    /// Removes a session from the room at `slot` of its list. The last room of the list moves to `slot`, and the last
    /// member of the room moves to the freed place; the references to both are updated. `slot` must be in the list.
    pub fn leave_slot(&mut self, key: SessionKey, slot: usize) {
        if self.journal.is_on()
            && let Some(session) = self.sessions.get(key)
            && let Some(table) = self.tenants[session.tenant.index()].table(session.namespace)
        {
            let stamp = room_hash(&table.room(session.rooms[slot].room).id);
            self.write_journal(key, What::Left, More { stamp, ..More::default() });
        }
        if self.traces.is_on()
            && let Some(session) = self.sessions.get(key)
            && let Some(name) = self.room_names(session).get(slot)
        {
            self.trace_session(key, format_args!("left room {}", Quoted(name)));
        }
        self.take_from_room(key, slot, Departure::Goodbye);
        self.mark_changed(key);
    }

    fn take_from_room(&mut self, key: SessionKey, slot: usize, departure: Departure) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Membership { room, place } = session.rooms.swap_remove(slot);
        let table = self.tenants[session.tenant.index()].table_mut(session.namespace);
        let left = self.moves.is_some().then(|| table.room(room).id.clone());
        if let Some(moved) = session.rooms.get(slot) {
            table.set_slot(moved.room, moved.place, slot as u16);
        }
        if let Some(moved) = table.leave(room, place)
            && let Some(other) = self.sessions.get_mut(moved.session)
        {
            other.rooms[moved.slot as usize].place = place;
        }
        if let Some(name) = left {
            self.note_left(key, name, departure);
        }
    }

    /// Removes a session from its rooms, from the user index, and from the table of sessions. `departure` says whether its
    /// user is expected back. The caller must remove it from its client's list.
    pub fn remove_session(&mut self, key: SessionKey, departure: Departure) {
        while let Some(last) = self.sessions.get(key).and_then(|session| session.rooms.len().checked_sub(1)) {
            // Its record is removed, not changed.
            self.take_from_room(key, last, departure);
        }
        let Some(session) = self.sessions.remove(key) else { return };
        if let Some(name) = self.names.remove(&key)
            && self.named.get(&name) == Some(&key)
        {
            self.named.remove(&name);
        }
        self.grants.remove(key);
        if let Some(users) = &mut self.namespaces[session.namespace as usize].users {
            users.remove(key);
        }
        self.agents.release(session.identity.into_agent());
    }

    /// Switches [`State::mark_changed`] on or off.
    pub fn track_changes(&mut self, on: bool) {
        self.track_changes = on;
    }

    /// Queues the presence record of a session, because its rooms or its user have changed.
    pub fn mark_changed(&mut self, key: SessionKey) {
        if !self.track_changes {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.record = match session.record {
            RecordState::Absent => RecordState::Queued,
            RecordState::Written => RecordState::Stale,
            RecordState::Queued | RecordState::Stale => return,
        };
        // Sessions that have ended stay in the queue until it is taken. While Redis refuses records it is taken slowly,
        // so it must not grow with every session that comes and goes.
        if self.changed.len() >= 2 * self.sessions.len() + MIN_CHANGED {
            let sessions = &self.sessions;
            self.changed.retain(|key| sessions.get(*key).is_some());
        }
        self.changed.push_back(key);
    }
}

/// Queued changes below which those of ended sessions are kept.
const MIN_CHANGED: usize = 1000;
/// Rooms that are compared one by one.
const FEW_ROOMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        growth::{assert_linear, processor_time},
        state::testing::{CONFIG, Login, join, session, state},
    };

    fn leave(state: &mut State, key: SessionKey, room: &str) {
        Rooms::parse(room, 128, 0).unwrap().iter().for_each(|room| state.leave(key, room));
    }

    /// Sessions and rooms refer to each other by index: both sides must agree.
    fn check(state: &State) {
        let table = &state.tenants[0].rooms[0];
        let mut memberships = 0;
        for (key, session) in state.sessions.iter() {
            for (slot, membership) in session.rooms.iter().enumerate() {
                let member = table.room(membership.room).members[membership.place as usize];
                assert_eq!((member.session, usize::from(member.slot)), (key, slot));
                memberships += 1;
            }
        }
        assert_eq!(table.iter().map(|room| room.members.len()).sum::<usize>(), memberships);
    }

    #[test]
    fn joining_and_leaving_keep_places_right() {
        let mut state = state(CONFIG);
        let keys = [(); 3].map(|()| session(&mut state, Login { rooms: "a,b,c", ..Login::default() }));
        join(&mut state, keys[0], "b,a");
        assert_eq!(state.sessions.get(keys[0]).unwrap().rooms.len(), 3, "joined once");
        check(&state);
        for (key, room) in [(0, "a"), (1, "b"), (0, "never joined"), (2, "a"), (0, "c"), (1, "a")] {
            leave(&mut state, keys[key], room);
            check(&state);
        }
        let names = keys.map(|key| state.room_names(state.sessions.get(key).unwrap()).join(","));
        assert_eq!(names, ["b", "c", "c,b"]);
        assert_eq!(state.room_count(), 2, "a room without members is removed");
    }

    #[test]
    fn many_rooms_at_once() {
        let mut state = state(CONFIG);
        let [all, single] = [(); 2].map(|()| session(&mut state, Login { rooms: "0,x", ..Login::default() }));
        let list = |numbers: core::ops::Range<u32>| numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let names = |state: &State, key| {
            let mut names = state.room_names(state.sessions.get(key).unwrap());
            names.sort_unstable();
            names
        };
        for (count, from, to) in [(50, 40, 60), (3, 0, 45), (500, 100, 101), (10, 0, 1000)] {
            let (join, leave) = (list(0..count) + ",0,1,x", list(from..to));
            let [join, leave] = [&join, &leave].map(|list| Rooms::parse(list, 128, 0).unwrap());
            state.join_all(all, &join, usize::MAX);
            join.iter().for_each(|room| state.join(single, room));
            check(&state);
            assert_eq!(names(&state, all), names(&state, single));
            state.leave_all(all, &leave);
            leave.iter().for_each(|room| state.leave(single, room));
            check(&state);
            assert_eq!(names(&state, all), names(&state, single));
        }
        let count = state.sessions.get(all).unwrap().rooms.len();
        for (list, most) in [("a,b,c", count + 2), ("d", count + 2), ("d", 0)] {
            state.join_all(all, &Rooms::parse(list, 128, 0).unwrap(), most);
            assert_eq!(state.sessions.get(all).unwrap().rooms.len(), count + 2);
        }
        check(&state);
    }

    #[test]
    fn joining_takes_time_for_each_room_once() {
        assert_linear(250, |count| {
            let list = (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
            let rooms = Rooms::parse(&list, 128, 0).unwrap();
            let mut state = state(CONFIG);
            let key = session(&mut state, Login::default());
            let begin = processor_time();
            state.join_all(key, &rooms, usize::MAX);
            state.leave_all(key, &rooms);
            processor_time() - begin
        });
    }

    #[test]
    fn a_removed_session_leaves_everything() {
        let mut state = state(CONFIG);
        let gone = session(&mut state, Login { rooms: "a,b", ..Login::default() });
        let stays = session(&mut state, Login { rooms: "b,a", ..Login::default() });
        let user = session(&mut state, Login { namespace: "/users", ..Login::default() });
        state.remove_session(gone, Departure::Goodbye);
        check(&state);
        assert_eq!(state.room_names(state.sessions.get(stays).unwrap()).join(","), "b,a");
        let (tenant, namespace) = (state.tenant("one").unwrap(), state.find_namespace("/users").unwrap());
        assert_eq!(state.user_sessions(tenant, namespace, "7"), [user]);
        state.remove_session(user, Departure::Goodbye);
        assert_eq!(state.user_sessions(tenant, namespace, "7"), []);
        state.remove_session(stays, Departure::Goodbye);
        assert_eq!((state.session_count(), state.room_count(), state.agents.len()), (0, 0, 0));
    }
}
