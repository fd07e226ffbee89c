//! The Engine.IO half of clients that speak Socket.IO: timing, deadlines, and which namespaces they are in.

use super::{effect::Effect, registry::State, socket::Socket};
use crate::{
    clock::Now,
    engineio::engine::{Expired, Timing},
    frame::Opcode,
    key::{ClientKey, SessionKey},
    websocket::Close,
};

impl State {
    /// The heartbeat and time-outs in force.
    pub fn timing(&self) -> Timing {
        let config = &self.config.socketio;
        Timing {
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            connect_timeout: config.connect_timeout,
        }
    }

    /// What is due for an engine.
    pub fn expire_engine(&mut self, key: ClientKey, now: Now) -> Expired {
        let timing = self.timing();
        let Some(engine) = self.engine_mut(key) else { return Expired::Nothing };
        let expired = engine.handle_timeout(&timing, now.time);
        match expired {
            Expired::Ping => self.send(key, Opcode::Text, b"2"),
            Expired::Dead => {
                self.stats.ping_timeouts += 1;
                self.close(key, Close::GONE);
            }
            Expired::Probe(_) => self.mark_dirty(key),
            Expired::Nothing => {}
        }
        expired
    }

    /// An engine's deadline may be nearer than it was.
    pub fn rearm(&mut self, key: ClientKey) {
        self.effects.push_back(Effect::Rearm { client: key });
    }

    /// A client's Socket.IO half, unless the client is being closed.
    pub fn socket_mut(&mut self, key: ClientKey) -> Option<&mut Socket> {
        self.clients.get_mut(key).filter(|client| !client.ending)?.socket.as_deref_mut()
    }

    /// Forgets one of a client's sessions.
    pub fn drop_session(&mut self, key: ClientKey, session: SessionKey, now: Now) {
        let timing = self.timing();
        let Some(socket) = self.clients.get_mut(key).and_then(|client| client.socket.as_deref_mut()) else { return };
        socket.sessions.retain(|(_, known)| *known != session);
        if socket.sessions.is_empty() {
            socket.engine.set_state(false, false, &timing, now.time);
            self.rearm(key);
        }
    }

    /// Whether a session waits for the backend.
    pub fn is_pending(&self, session: SessionKey) -> bool {
        self.sessions.get(session).is_some_and(|session| session.pending)
    }

    /// A client that is refused again and again has lost its way: it is closed, and may begin anew.
    pub fn count_refusal(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        client.refusals += 1;
        if client.refusals >= MOST_REFUSALS {
            self.close(key, Close::PROTOCOL);
        }
    }
}

/// Refused logins of one session of Engine.IO.
const MOST_REFUSALS: u8 = 10;
