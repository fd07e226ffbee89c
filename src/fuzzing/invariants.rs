//! Invariants of a hub, which hold between two events. The simulation checks them after each step.

use std::rc::Rc;

use crate::{
    hub::Hub,
    key::{ClientKey, SessionKey},
    state::client::{Client, Mode},
};

/// Asserts that what the history, the replays and the outboxes count is what they have.
pub fn check(hub: &Hub) {
    hub.history.check(&hub.state);
    hub.replays.check(&hub.state);
    hub.check_returns();
    for (_, Client { outbox, .. }) in hub.state.clients.iter() {
        assert_eq!(outbox.bytes(), outbox.recount(), "unsent bytes");
    }
}

/// The stamp up to which a lost client has all messages, if its peer has not confirmed the last `tail` bytes of what was queued
/// for it. `None` if it has no track.
pub fn position(hub: &Hub, client: ClientKey, tail: usize) -> Option<u64> {
    hub.position_of_tail(client, tail)
}

/// In how many places among the kept messages of a client are frames that the history does not have.
pub fn other_frames(hub: &Hub, client: ClientKey) -> usize {
    hub.state.tracks.get(client).map_or(0, |track| track.others().len())
}

/// The bytes that are queued for a client.
pub fn queued(hub: &Hub, client: ClientKey) -> usize {
    hub.state.clients.get(client).map_or(0, |client| client.outbox.bytes())
}

/// The sessions of a client, each with its rooms.
pub fn sessions(hub: &Hub, client: ClientKey) -> Vec<(SessionKey, Vec<Rc<str>>)> {
    let sessions = hub.state.sessions_of(client).into_iter();
    sessions.filter_map(|key| Some((key, hub.state.room_names(hub.state.sessions.get(key)?)))).collect()
}

/// Whether a client gets its messages from the history.
pub fn is_behind(hub: &Hub, client: ClientKey) -> bool {
    hub.state.clients.get(client).is_some_and(|client| client.mode == Mode::Behind)
}
