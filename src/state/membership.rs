//! Joining and leaving rooms.

use std::rc::Rc;

use super::{
    record::RecordState,
    refusal::Refusal,
    registry::State,
    room::Member,
    session::{Membership, Session},
};
use crate::{config::ClientPosts, key::SessionKey, names::RoomId};

impl State {
    /// The names of a session's rooms.
    pub fn room_names(&self, session: &Session) -> Vec<Rc<str>> {
        let table = &self.tenants[session.tenant.index()].rooms[session.namespace as usize];
        session.rooms.iter().map(|membership| table.room(membership.room).id.clone()).collect()
    }

    /// Whether a session may post to rooms of its source (`client_posts`). `rooms` are valid names.
    pub fn check_post(&self, session: &Session, rooms: &[&str]) -> Result<(), Refusal> {
        let tenant = &self.tenants[session.tenant.index()];
        match tenant.source.as_ref().map_or(ClientPosts::Any, |source| source.client_posts) {
            ClientPosts::Any => Ok(()),
            ClientPosts::None => Err(Refusal::PostsOff),
            ClientPosts::Joined => {
                let table = &tenant.rooms[session.namespace as usize];
                // Sorted, because a session and a message may have thousands of rooms.
                let mut joined: Vec<_> = session.rooms.iter().map(|membership| membership.room).collect();
                joined.sort_unstable();
                let is_in = |room: &&str| table.find(room).is_some_and(|room| joined.binary_search(&room).is_ok());
                if rooms.iter().all(is_in) { Ok(()) } else { Err(Refusal::NotMember) }
            }
        }
    }

    /// Adds a session to a room. Does nothing if it is a member already.
    pub fn join(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let table = &mut self.tenants[session.tenant.index()].rooms[session.namespace as usize];
        let known = table.find(room.as_str());
        if known.is_some_and(|index| session.rooms.iter().any(|membership| membership.room == index)) {
            return;
        }
        let slot = u16::try_from(session.rooms.len()).expect("limits.rooms_per_session is at most 65,535");
        let (room, place) =
            table.join(room.as_str(), Member { client: session.client, session: key, slot, form: session.form });
        session.rooms.push(Membership { room, place });
        self.mark_changed(key);
    }

    /// Removes a session from a room. Does nothing if it is not a member.
    pub fn leave(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let index = self.tenants[session.tenant.index()].rooms[session.namespace as usize].find(room.as_str());
        let slot = session.rooms.iter().position(|membership| Some(membership.room) == index);
        if let Some(slot) = slot {
            self.leave_slot(key, slot);
        }
    }

    /// Removes a session from the room at `slot` of its list. The last room of the list moves to `slot`, and the last
    /// member of the room moves to the freed place; the references to both are updated. `slot` must be in the list.
    pub fn leave_slot(&mut self, key: SessionKey, slot: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Membership { room, place } = session.rooms.swap_remove(slot);
        let table = &mut self.tenants[session.tenant.index()].rooms[session.namespace as usize];
        if let Some(moved) = session.rooms.get(slot) {
            table.set_slot(moved.room, moved.place, slot as u16);
        }
        if let Some(moved) = table.leave(room, place)
            && let Some(other) = self.sessions.get_mut(moved.session)
        {
            other.rooms[moved.slot as usize].place = place;
        }
        self.mark_changed(key);
    }

    /// Removes a session from its rooms, from the user index, and from the table of sessions. The caller must remove it
    /// from its client's list.
    pub fn remove_session(&mut self, key: SessionKey) {
        while let Some(last) = self.sessions.get(key).and_then(|session| session.rooms.len().checked_sub(1)) {
            self.leave_slot(key, last);
        }
        let Some(session) = self.sessions.remove(key) else { return };
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
        self.changed.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::Rooms,
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
    fn a_removed_session_leaves_everything() {
        let mut state = state(CONFIG);
        let gone = session(&mut state, Login { rooms: "a,b", ..Login::default() });
        let stays = session(&mut state, Login { rooms: "b,a", ..Login::default() });
        let user = session(&mut state, Login { namespace: "/users", ..Login::default() });
        state.remove_session(gone);
        check(&state);
        assert_eq!(state.room_names(state.sessions.get(stays).unwrap()).join(","), "b,a");
        let (tenant, namespace) = (state.tenant("one").unwrap(), state.find_namespace("/users").unwrap());
        assert_eq!(state.user_sessions(tenant, namespace, "7"), [user]);
        state.remove_session(user);
        assert_eq!(state.user_sessions(tenant, namespace, "7"), []);
        state.remove_session(stays);
        assert_eq!((state.session_count(), state.room_count(), state.agents.len()), (0, 0, 0));
    }
}
