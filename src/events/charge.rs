//! What a client's message costs: its deliveries count against the rate of the client.

use crate::{clock::Now, hub::Hub, key::ClientKey};

/// Handles a message of `size` bytes with `handle`, and counts its deliveries (docs/protocol.md, Limits).
pub fn charged<T>(hub: &mut Hub, key: ClientKey, size: usize, now: Now, handle: impl FnOnce(&mut Hub) -> T) -> T {
    let before = hub.state.deliveries();
    let result = handle(hub);
    let deliveries = hub.state.deliveries() - before;
    if deliveries > 1 {
        hub.state.charge(key, deliveries, size, now);
    }
    result
}
