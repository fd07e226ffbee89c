//! Invariants of a hub, which hold between two events. The simulation checks them after each step.

use crate::{
    hub::Hub,
    key::ClientKey,
    state::client::{Client, Mode},
};

/// Asserts that what the history, the replays and the outboxes count is what they have.
pub fn check(hub: &Hub) {
    hub.history.check(&hub.state);
    hub.replays.check(&hub.state);
    for (_, Client { outbox, .. }) in hub.state.clients.iter() {
        assert_eq!(outbox.bytes(), outbox.recount(), "unsent bytes");
    }
}

/// Whether a client gets its messages from the history.
pub fn is_behind(hub: &Hub, client: ClientKey) -> bool {
    hub.state.clients.get(client).is_some_and(|client| client.mode == Mode::Behind)
}
