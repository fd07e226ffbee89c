//! Heartbeats, deadlines and refused logins of Engine.IO sessions.

use super::{effect::Effect, registry::State, socket::Socket};
use crate::{
    clock::Now,
    engineio::engine::{Expired, Timing},
    frame::Opcode,
    key::{ClientKey, SessionKey},
    websocket::Close,
};

impl State {
    /// The configured heartbeat and time-outs.
    pub fn timing(&self) -> Timing {
        let config = &self.config.socketio;
        Timing {
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            connect_timeout: config.connect_timeout,
        }
    }

    /// Handles the deadline of an Engine.IO session: sends a ping, or closes a session that did not answer one, joined
    /// no namespace or left attachments incomplete (docs/protocol.md, Socket.IO and Engine.IO).
    pub fn expire_engine(&mut self, key: ClientKey, now: Now) -> Expired {
        let timing = self.timing();
        let Some(engine) = self.engine_mut(key) else { return Expired::Nothing };
        let expired = engine.handle_timeout(&timing, now.time);
        match expired {
            Expired::Ping => {
                self.send(key, Opcode::Text, b"2");
                self.ask(key);
            }
            Expired::Dead => {
                self.stats.ping_timeouts += 1;
                match self.tracks.get(key) {
                    // It gets the rest when it comes back, so it must not arrive any more.
                    Some(_) => self.lose(key),
                    None => self.close(key, Close::UNRESPONSIVE),
                }
            }
            Expired::Overdue => self.effects.push_back(Effect::NoteStall { client: key }),
            Expired::Probe(_) => self.mark_dirty(key),
            Expired::Nothing => {}
        }
        expired
    }

    /// Reports that the deadline of an Engine.IO session may be earlier than before.
    pub fn rearm(&mut self, key: ClientKey) {
        self.effects.push_back(Effect::Rearm { client: key });
    }

    /// The Socket.IO state of a client. `None` for other clients, and for those that are being closed.
    pub fn socket_mut(&mut self, key: ClientKey) -> Option<&mut Socket> {
        self.clients.get_mut(key).filter(|client| !client.is_ending())?.socket.as_deref_mut()
    }

    /// Removes a session from a client's list. Without a session the client must join a namespace within
    /// `connect_timeout`.
    pub fn drop_session(&mut self, key: ClientKey, session: SessionKey, now: Now) {
        let timing = self.timing();
        let Some(socket) = self.clients.get_mut(key).and_then(|client| client.socket.as_deref_mut()) else { return };
        socket.sessions.retain(|(_, known)| *known != session);
        if socket.sessions.is_empty() {
            let was_connected = socket.engine.is_connected();
            socket.engine.set_state(false, false, &timing, now.time);
            self.rearm(key);
            if was_connected {
                self.add_stranger(key, now.time);
            }
        }
    }

    /// Whether a session still waits for the backend's decision.
    pub fn is_pending(&self, session: SessionKey) -> bool {
        self.sessions.get(session).is_some_and(|session| session.pending)
    }

    /// Counts a refused login. After ten refusals the client is closed, so that a broken client has to reconnect.
    pub fn count_refusal(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        client.refusals += 1;
        if client.refusals >= MAX_REFUSALS {
            self.close(key, Close::PROTOCOL);
        }
    }
}

/// Refused logins before an Engine.IO session is closed.
const MAX_REFUSALS: u8 = 10;
