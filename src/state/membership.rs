//! Joining and leaving rooms.

use std::rc::Rc;

use super::{
    record::RecordState,
    registry::State,
    room::Member,
    session::{Membership, Session},
};
use crate::{key::SessionKey, names::RoomId};

impl State {
    /// The names of a session's rooms.
    pub fn room_names(&self, session: &Session) -> Vec<Rc<str>> {
        let table = &self.tenants[session.tenant.index()].rooms[session.namespace as usize];
        session.rooms.iter().map(|membership| table.room(membership.room).id.clone()).collect()
    }

    /// Adds a session to a room, once.
    pub fn join(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let table = &mut self.tenants[session.tenant.index()].rooms[session.namespace as usize];
        let already = table.find(room.as_str());
        if already.is_some_and(|index| session.rooms.iter().any(|membership| membership.room == index)) {
            return;
        }
        let slot = u16::try_from(session.rooms.len()).expect("rooms per session are bounded by 65,535");
        let (room, place) =
            table.join(room.as_str(), Member { client: session.client, session: key, slot, form: session.form });
        session.rooms.push(Membership { room, place });
        self.mark_changed(key);
    }

    /// Takes a session out of a room it is in.
    pub fn leave(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let index = self.tenants[session.tenant.index()].rooms[session.namespace as usize].find(room.as_str());
        let slot = session.rooms.iter().position(|membership| Some(membership.room) == index);
        if let Some(slot) = slot {
            self.leave_slot(key, slot);
        }
    }

    /// Takes a session out of the room at that place of its list.
    pub fn leave_slot(&mut self, key: SessionKey, slot: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Membership { room, place } = session.rooms.swap_remove(slot);
        let table = &mut self.tenants[session.tenant.index()].rooms[session.namespace as usize];
        if let Some(filled) = session.rooms.get(slot) {
            table.renumber(filled.room, filled.place, slot as u16);
        }
        if let Some(moved) = table.leave(room, place)
            && let Some(other) = self.sessions.get_mut(moved.session)
        {
            other.rooms[moved.slot as usize].place = place;
        }
        self.mark_changed(key);
    }

    /// Removes a session: from its rooms, from the index of users, and from the table of sessions.
    pub fn remove_session(&mut self, key: SessionKey) {
        while let Some(last) = self.sessions.get(key).and_then(|session| session.rooms.len().checked_sub(1)) {
            self.leave_slot(key, last);
        }
        let Some(gone) = self.sessions.remove(key) else { return };
        if let Some(users) = &mut self.namespaces[gone.namespace as usize].users {
            users.forget(key);
        }
        self.agents.release(gone.identity.into_agent());
    }

    /// Whether [`State::mark_changed`] keeps what it is given.
    pub fn track_changes(&mut self, on: bool) {
        self.track_changes = on;
    }

    /// Notes that what other relays know of a session has changed: its rooms, or its user.
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
