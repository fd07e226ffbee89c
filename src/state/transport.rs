//! What carries a client that speaks Socket.IO: polls that come and go, a WebSocket, and the upgrade from one to the other.

use super::{
    client::{Carrier, Client},
    registry::State,
};
use crate::{
    engineio::{Engine, Error, engine::Polled, payload::Composer},
    key::{ClientKey, ConnKey},
    websocket::Close,
};

impl State {
    /// The client whose session has that name.
    pub fn find_engine(&self, sid: &str) -> Option<ClientKey> {
        let key = self.sids.find(sid)?;
        self.clients.get(key).filter(|client| client.socket.is_some() && !client.ending).map(|_| key)
    }

    /// The engine of a client that has one.
    pub fn engine_mut(&mut self, key: ClientKey) -> Option<&mut Engine> {
        self.clients.get_mut(key)?.socket.as_mut().map(|socket| &mut socket.engine)
    }

    /// Whether a client speaks Socket.IO.
    pub fn is_socketio(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| client.socket.is_some())
    }

    /// What brings a client its messages.
    pub fn carrier(&self, key: ClientKey) -> Carrier {
        self.clients.get(key).map_or(Carrier::Nothing, Client::carrier)
    }

    /// Whether a client is being closed, or gone.
    pub fn is_ending(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_none_or(|client| client.ending)
    }

    /// A WebSocket that probed takes over; with the poll that waits even so.
    pub fn upgrade(&mut self, key: ClientKey, conn: ConnKey) -> Result<Option<ConnKey>, Error> {
        let client = self.clients.get_mut(key).filter(|client| !client.ending).ok_or(Error::UnknownSid)?;
        let poll = client.socket.as_mut().ok_or(Error::UnknownSid)?.engine.upgrade()?;
        client.conn = Some(conn);
        self.handle_writable(key);
        Ok(poll)
    }

    /// Whether something waits for a client.
    pub fn has_waiting(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| !client.outbox.is_empty())
    }

    /// Puts bytes before all that waits for a client.
    pub fn put_first(&mut self, key: ClientKey, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.put_first(bytes);
            self.mark_dirty(key);
        }
    }

    /// A poll: whether it waits. A second one beside it ends the session.
    pub fn poll(&mut self, key: ClientKey, conn: ConnKey) -> Result<Polled, Error> {
        let engine = self.engine_mut(key).ok_or(Error::UnknownSid)?;
        let polled = engine.handle_poll(conn);
        match polled {
            Ok(Polled::Waits) => self.handle_writable(key),
            Ok(Polled::Noop) => {}
            Err(_) if self.is_polling(key) => self.close(key, Close::PROTOCOL),
            Err(_) => {}
        }
        polled
    }

    /// Whether a client's transport is polling.
    pub fn is_polling(&self, key: ClientKey) -> bool {
        let socket = self.clients.get(key).and_then(|client| client.socket.as_ref());
        socket.is_some_and(|socket| socket.engine.takes_posts())
    }

    /// The body that answers a poll which waits: up to sixteen of the packets that wait. Nothing if there is none.
    pub fn compose(&mut self, key: ClientKey) -> Option<(Vec<u8>, bool)> {
        let client = self.clients.get_mut(key)?;
        let engine = &mut client.socket.as_mut()?.engine;
        if client.outbox.is_empty() {
            return None;
        }
        let mut composer = Composer::new(engine.revision, !engine.base64, engine.max_packets());
        // Writing into memory fails only when the body is full, and then what is left stays queued.
        let _ = client.outbox.write_to(&mut composer, &self.turn, &mut self.scratch);
        if composer.is_empty() {
            return None;
        }
        engine.take_poll();
        Some(composer.finish())
    }

    /// Keeps what waits for a client beyond the turn.
    pub fn keep(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.keep(&self.turn);
        }
    }

    /// Whether a client that polls is at its end: who asks has told it, or cannot.
    pub fn is_over(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| client.ending) && self.is_polling(key)
    }
}
