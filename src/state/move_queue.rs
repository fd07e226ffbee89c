//! The queue of [moves](Move). Nothing is queued while no feature asks for it.

use std::rc::Rc;

use super::{
    departure::Departure,
    moves::{Joined, Left, Move},
    registry::State,
};
use crate::{
    key::{ClientKey, SessionKey},
    message::Form,
};

impl State {
    /// Switches the queue on or off. If it was off, the sessions that are in rooms are queued as if they had joined now.
    pub fn track_moves(&mut self, on: bool) {
        if on == self.moves.is_some() {
            return;
        }
        self.moves = on.then(Vec::new);
        if !on {
            return;
        }
        let sessions: Vec<SessionKey> = self.admitted().map(|(key, _)| key).collect();
        for key in sessions {
            let rooms = self.sessions.get(key).map(|session| self.room_names(session)).unwrap_or_default();
            rooms.into_iter().for_each(|room| self.note_joined(key, room));
        }
    }

    /// Takes the queue.
    pub fn take_moves(&mut self) -> Vec<Move> {
        self.moves.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Whether something is in the queue.
    pub fn has_moves(&self) -> bool {
        self.moves.as_ref().is_some_and(|moves| !moves.is_empty())
    }

    /// Queues that a session has joined a room.
    #[cold]
    pub(super) fn note_joined(&mut self, key: SessionKey, room: Rc<str>) {
        let (Some(moves), Some(session)) = (&mut self.moves, self.sessions.get(key)) else { return };
        moves.push(Move::Joined(Joined {
            tenant: session.tenant,
            room,
            session: key,
            userid: session.identity.userid().into(),
            username: session.identity.username().into(),
            // Text clients have no frame for events.
            subscribes: session.wants.presence() && session.form != Form::Text,
        }));
    }

    /// Queues that a session, which still exists, has left a room.
    #[cold]
    pub(super) fn note_left(&mut self, key: SessionKey, room: Rc<str>, departure: Departure) {
        let (Some(moves), Some(session)) = (&mut self.moves, self.sessions.get(key)) else { return };
        let (tenant, userid) = (session.tenant, session.identity.userid().into());
        moves.push(Move::Left(Left { tenant, room, session: key, userid, departure }));
    }

    /// Queues that a client gets messages live again.
    pub fn note_caught_up(&mut self, client: ClientKey) {
        if let Some(moves) = &mut self.moves {
            moves.push(Move::CaughtUp(client));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::Rooms,
        state::testing::{CONFIG, Login, join, session, state},
    };

    /// The moves as text.
    fn moves(state: &mut State) -> Vec<String> {
        let text = |moved: Move| match moved {
            Move::Joined(joined) => format!("{} joins {}", joined.userid, joined.room),
            Move::Left(left) => format!("{} leaves {} ({:?})", left.userid, left.room, left.departure),
            Move::CaughtUp(_) => "caught up".into(),
        };
        state.take_moves().into_iter().map(text).collect()
    }

    #[test]
    fn moves_are_queued_while_they_are_asked_for() {
        let mut state = state(CONFIG);
        let [one, two] = ["1", "2"].map(|userid| session(&mut state, Login { userid, rooms: "a", ..Login::default() }));
        assert!(!state.has_moves() && moves(&mut state).is_empty());
        state.track_moves(true);
        state.track_moves(true);
        assert_eq!(moves(&mut state), ["1 joins a", "2 joins a"]);
        join(&mut state, one, "b,a");
        Rooms::parse("a,never", 128, 0).unwrap().iter().for_each(|room| state.leave(one, room));
        state.remove_session(one, Departure::Loss);
        assert_eq!(moves(&mut state), ["1 joins b", "1 leaves a (Goodbye)", "1 leaves b (Loss)"]);
        state.remove_session(two, Departure::Goodbye);
        assert_eq!(moves(&mut state), ["2 leaves a (Goodbye)"]);
        state.track_moves(false);
        session(&mut state, Login { rooms: "a", ..Login::default() });
        assert!(!state.has_moves());
    }
}
