//! WebSocket messages of clients, plain or Socket.IO.

use super::{charge::charged, incoming::Incoming, plain, socketio};
use crate::{clock::Now, hub::Hub, key::ClientKey};

/// Handles a WebSocket message of a client. Does nothing if the client is being closed.
pub fn handle_message(hub: &mut Hub, key: ClientKey, message: Incoming<'_>, now: Now) {
    let Some(client) = hub.state.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
    let socketio = client.socket.is_some();
    charged(hub, key, message.size(), now, |hub| match socketio {
        true => socketio::handle_frame(hub, key, message.without_bom(), now),
        false => plain::handle_message(hub, key, message, now),
    });
}
