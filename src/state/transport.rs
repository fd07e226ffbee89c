//! The transports of Socket.IO clients: polls, a WebSocket, and the upgrade from one to the other.

use super::{
    client::{Carrier, Client},
    registry::State,
};
use crate::{
    engineio::{
        Engine, Error,
        engine::{Polled, Transport},
        payload::Composer,
    },
    key::{ClientKey, ConnKey},
    message::Form,
    websocket::Close,
};

impl State {
    /// The client with this Engine.IO session id, unless it is being closed.
    pub fn find_engine(&self, sid: &str) -> Option<ClientKey> {
        let key = self.sids.find(sid)?;
        self.clients.get(key).filter(|client| client.socket.is_some() && !client.is_ending()).map(|_| key)
    }

    /// The Engine.IO session of a client that has one.
    pub fn engine_mut(&mut self, key: ClientKey) -> Option<&mut Engine> {
        self.clients.get_mut(key)?.socket.as_mut().map(|socket| &mut socket.engine)
    }

    /// Whether a client uses Socket.IO.
    pub fn is_socketio(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| client.socket.is_some())
    }

    /// The transport of a client, for the log. A client that is not there yet comes with a plain WebSocket.
    pub fn transport_name(&self, key: Option<ClientKey>) -> &'static str {
        let socket = key.and_then(|key| self.clients.get(key)).and_then(|client| client.socket.as_ref());
        match socket.map(|socket| &socket.engine.transport) {
            None => "WebSocket",
            Some(Transport::WebSocket(_)) => "Socket.IO over WebSocket",
            Some(Transport::Polling(_) | Transport::Probing(_)) => "Socket.IO over polling",
        }
    }

    /// The form of a client that is a stream, until its session ends.
    pub fn stream_form(&self, key: ClientKey) -> Option<Form> {
        let Some(session) = self.clients.get(key)?.session else {
            return self.is_bare_stream(key).then_some(Form::Lines);
        };
        self.sessions.get(session).map(|session| session.form).filter(|form| form.is_stream())
    }

    /// Whether a client is a stream without a session: an operator who looks on.
    pub fn is_bare_stream(&self, key: ClientKey) -> bool {
        self.bare_streams.contains(&key)
    }

    /// Whether a client has an admitted session.
    pub fn has_session(&self, key: ClientKey) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let sessions = client.socket.iter().flat_map(|socket| socket.sessions.iter().map(|(_, session)| *session));
        client.session.into_iter().chain(sessions).any(|session| !self.is_pending(session))
    }

    /// The clients with bytes that their connections did not accept, and how many. Not those that are being closed, and not
    /// operators who look on.
    pub fn unsent(&self) -> impl Iterator<Item = (ClientKey, usize)> {
        let slow = self.clients.iter().filter(|(_, client)| !client.is_ending() && client.outbox.is_behind());
        slow.filter(|(key, _)| !self.is_bare_stream(*key)).map(|(key, client)| (key, client.outbox.bytes()))
    }

    /// The connection that carries a client's frames at the moment.
    pub fn carrier(&self, key: ClientKey) -> Carrier {
        self.clients.get(key).map_or(Carrier::Nothing, Client::carrier)
    }

    /// Whether a client is being closed or is gone.
    pub fn is_ending(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_none_or(|client| client.is_ending())
    }

    /// Completes the upgrade to the probing WebSocket `conn`. Returns the pending poll, if any, which must be answered.
    pub fn upgrade(&mut self, key: ClientKey, conn: ConnKey) -> Result<Option<ConnKey>, Error> {
        let client = self.clients.get_mut(key).filter(|client| !client.is_ending()).ok_or(Error::UnknownSid)?;
        let poll = client.socket.as_mut().ok_or(Error::UnknownSid)?.engine.upgrade()?;
        client.conn = Some(conn);
        self.set_forms(key);
        // The client upgrades once it has handled the answer to its last poll.
        self.end_flight(key);
        self.repeat_question(key);
        self.handle_writable(key);
        Ok(poll)
    }

    /// Gives the sessions of a client the form of its transport: binary data as base64 if its WebSocket was opened with `b64`.
    fn set_forms(&mut self, key: ClientKey) {
        let Some(socket) = self.socket_mut(key).filter(|socket| socket.engine.base64) else { return };
        let form = Form::socketio(socket.engine.revision, true);
        for (_, session) in socket.sessions.clone() {
            self.set_form(session, form);
        }
    }

    /// Whether frames are queued for a client.
    pub fn has_waiting(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| !client.outbox.is_empty())
    }

    /// Queues bytes before all other frames of a client.
    pub fn push_front(&mut self, key: ClientKey, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.push_front(bytes);
            self.mark_dirty(key);
        }
    }

    /// Handles a poll. A second poll while one is pending is an error and closes the session.
    pub fn poll(&mut self, key: ClientKey, conn: ConnKey) -> Result<Polled, Error> {
        let engine = self.engine_mut(key).ok_or(Error::UnknownSid)?;
        let polled = engine.handle_poll(conn);
        match polled {
            Ok(polled) => {
                self.end_flight(key);
                if polled == Polled::Waits {
                    self.handle_writable(key);
                }
            }
            Err(_) if self.is_polling(key) => self.close(key, Close::PROTOCOL),
            Err(_) => {}
        }
        polled
    }

    /// Whether a client's transport is polling, also during an upgrade.
    pub fn is_polling(&self, key: ClientKey) -> bool {
        let socket = self.clients.get(key).and_then(|client| client.socket.as_ref());
        socket.is_some_and(|socket| socket.engine.takes_posts())
    }

    /// Takes the pending poll, and encodes queued packets, at most 16, as the body that answers it (docs/protocol.md,
    /// Polling). Returns the body and whether it is binary; `None` if no packet is queued.
    pub fn compose(&mut self, key: ClientKey) -> Option<(Vec<u8>, bool)> {
        let client = self.clients.get_mut(key)?;
        let engine = &mut client.socket.as_mut()?.engine;
        if client.outbox.is_empty() {
            return None;
        }
        let queued = client.outbox.bytes();
        let mut composer = Composer::new(engine.revision, engine.bodies, engine.max_packets());
        // The composer fails only when the body is full. The other packets stay queued.
        let _ = client.outbox.write_to(&mut composer, &self.turn, &mut self.scratch);
        if composer.is_empty() {
            return None;
        }
        engine.take_poll();
        let taken = queued - client.outbox.bytes();
        self.begin_flight(key, taken);
        Some(composer.finish())
    }

    /// Keeps the queued frames of a client for the next turn.
    pub fn keep(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.keep(&self.turn);
        }
    }

    /// Whether a polling client is being closed, and its sessions have ended. The caller removes it once its last poll is
    /// answered. Sessions of a client that is lost end only when its connection is freed, which keeps what they have missed.
    pub fn is_closed_poller(&self, key: ClientKey) -> bool {
        let Some(client) = self.clients.get(key).filter(|client| client.is_ending()) else { return false };
        self.is_polling(key) && client.socket.as_ref().is_none_or(|socket| socket.sessions.is_empty())
    }
}
