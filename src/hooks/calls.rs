//! Creates calls to the backend, and keeps for each the session that waits for the answer.

use core::mem;
use std::collections::HashMap;

use super::{
    body,
    call::{Call, Kind, Lane},
    dispatcher::{Dispatcher, Finished, Stats},
    failure::AttemptError,
};
use crate::{
    clock::Time,
    config::{self, Auth, Backend},
    health::Health,
    http::response::Response,
    key::SessionKey,
    message::ClientEvent,
    names::Rooms,
    state::{NamespaceId, State},
    tls::ClientTls,
};

/// The session that waits for an answer.
#[derive(Debug)]
pub enum Waiting {
    /// A session that was not admitted yet.
    Connect(Box<Connecting>),
    /// A session that sent an event.
    Message {
        /// The session.
        session: SessionKey,
        /// The id of the acknowledgement that it wants.
        ack: Option<Box<str>>,
    },
    /// No session: the answer to a disconnect is ignored.
    Disconnect,
}

/// A session that waits to be admitted.
#[derive(Debug)]
pub struct Connecting {
    /// The session. It may have ended before the answer came.
    pub session: SessionKey,
    /// Its lane.
    pub lane: Lane,
    /// The rooms of its login.
    pub rooms: Vec<Box<str>>,
    /// Its auth payload as JSON, or empty.
    pub auth: Box<str>,
    /// The body for [`Hooks::disconnect_late`], prepared now because the session may be gone then.
    pub disconnect: Vec<u8>,
}

impl Waiting {
    /// How many bytes of memory it takes beside a [`Waiting::Disconnect`].
    fn size(&self) -> usize {
        match self {
            Waiting::Connect(connecting) => connecting.size(),
            Waiting::Message { ack, .. } => ack.as_ref().map_or(0, |ack| ack.len()),
            Waiting::Disconnect => 0,
        }
    }
}

impl Connecting {
    fn size(&self) -> usize {
        let rooms: usize = self.rooms.iter().map(|room| size_of_val(room) + room.len()).sum();
        size_of_val(self) + rooms + self.auth.len() + self.disconnect.capacity()
    }
}

/// The calls to the backend: queued ones, and the sessions that wait for answers.
#[derive(Default)]
pub struct Hooks {
    url: Option<Backend>,
    tls: Option<ClientTls>,
    kinds: Vec<Kind>,
    last: u64,
    waiting: HashMap<u64, Waiting>,
    /// Whether calls were created since the last [`Hooks::take_failed`].
    created: bool,
    /// Those of them that failed at once.
    failed: Vec<Finished>,
    dispatcher: Dispatcher,
    failing: bool,
    overloaded: bool,
}

impl Hooks {
    /// Applies new settings. Answers to calls in flight are still handled.
    pub fn configure(&mut self, config: &config::Hooks) {
        self.dispatcher.configure(config.timeout, config.queue as usize);
        let is_wanted = |kind: &Kind| config.events.iter().any(|name| name == kind.name());
        self.kinds = [Kind::Connect, Kind::Disconnect, Kind::Message].into_iter().filter(is_wanted).collect();
        if (&self.url, &self.tls) != (&config.url, &config.tls) {
            (self.url, self.tls) = (config.url.clone(), config.tls.clone());
            self.dispatcher.reset(self.url.is_some());
            // Otherwise the log would say that a new backend "answers again" before it was called.
            self.failing = false;
        }
    }

    /// Whether there are calls of that kind for sessions in a namespace.
    pub fn has_hook(&self, state: &State, namespace: NamespaceId, kind: Kind) -> bool {
        self.is_wanted(kind) && state.namespaces[namespace as usize].config.uses_hooks()
    }

    /// Whether events can be sent to the backend.
    pub fn has_message_hook(&self) -> bool {
        self.is_wanted(Kind::Message)
    }

    fn is_wanted(&self, kind: Kind) -> bool {
        self.url.is_some() && self.kinds.contains(&kind)
    }

    /// Queues the call that asks the backend whether a session may connect. The session is pending until the answer
    /// arrives.
    pub fn connect(
        &mut self,
        state: &mut State,
        session: SessionKey,
        rooms: Option<&Rooms<'_>>,
        query: &str,
        auth: &str,
    ) {
        let Some(known) = state.sessions.get_mut(session) else { return };
        known.pending = true;
        let lane = (known.client, known.namespace);
        let rooms: Vec<&str> = rooms.iter().flat_map(|rooms| rooms.iter()).map(|room| room.as_str()).collect();
        let mut body = body::begin(state, session, Kind::Connect, &rooms);
        let is_checked = state.namespaces[lane.1 as usize].config.auth == Auth::Sign;
        body::add_login(&mut body, query, auth, is_checked);
        let connecting = Connecting {
            session,
            lane,
            auth: auth.into(),
            disconnect: body::begin(state, session, Kind::Disconnect, &rooms),
            rooms: rooms.into_iter().map(Into::into).collect(),
        };
        self.call(state, lane, Kind::Connect, body, Waiting::Connect(connecting.into()));
    }

    /// Sends a client's event to the backend. Returns false if events are not sent to the backend; the caller must then
    /// refuse the event as unknown.
    #[must_use]
    pub fn message(&mut self, state: &mut State, session: SessionKey, event: &ClientEvent<'_>) -> bool {
        if !self.has_message_hook() {
            return false;
        }
        if let Some((lane, mut body)) = describe(state, session, Kind::Message) {
            body::add_event(&mut body, event);
            let waiting = Waiting::Message { session, ack: event.ack.map(Into::into) };
            self.call(state, lane, Kind::Message, body, waiting);
        }
        true
    }

    /// Queues the disconnect call for a session that is about to end.
    pub fn disconnect(&mut self, state: &mut State, session: SessionKey) {
        let Some(namespace) = state.sessions.get(session).map(|session| session.namespace) else { return };
        if !self.has_hook(state, namespace, Kind::Disconnect) {
            return;
        }
        if let Some((lane, body)) = describe(state, session, Kind::Disconnect) {
            self.call(state, lane, Kind::Disconnect, body, Waiting::Disconnect);
        }
    }

    /// The disconnect call for a session that was lost, for [`Hooks::disconnect_lost`]. `None` if the backend wants none.
    pub fn begin_disconnect(&self, state: &State, session: SessionKey) -> Option<(Lane, Vec<u8>)> {
        let namespace = state.sessions.get(session)?.namespace;
        self.has_hook(state, namespace, Kind::Disconnect).then(|| describe(state, session, Kind::Disconnect))?
    }

    /// Queues the disconnect call for a session that was lost some time ago. `returned` says whether its user is back.
    pub fn disconnect_lost(&mut self, state: &mut State, lane: Lane, mut body: Vec<u8>, returned: bool) {
        body::add_loss(&mut body, returned);
        self.disconnect_late(state, lane, body);
    }

    /// Queues the disconnect call for a session that had already ended when the backend admitted it. `body` is
    /// [`Connecting::disconnect`].
    pub fn disconnect_late(&mut self, state: &mut State, lane: Lane, body: Vec<u8>) {
        // Not by its namespace, which a reload may have removed.
        if self.is_wanted(Kind::Disconnect) {
            self.call(state, lane, Kind::Disconnect, body, Waiting::Disconnect);
        }
    }

    fn call(&mut self, state: &mut State, lane: Lane, kind: Kind, body: Vec<u8>, waiting: Waiting) {
        let id = state.next_id(1).to_string();
        self.last += 1;
        self.created = true;
        let (number, body) = (self.last, body::finish(body, &id));
        let call = Call { number, lane, kind, id: id.into(), body, extra: waiting.size() };
        let result = self.dispatcher.submit(call, state.now.time);
        match (result, &waiting) {
            // No session waits for it.
            (Err(_), Waiting::Disconnect) => return,
            (Err(failure), _) => self.failed.push(Finished { number, result: Err(failure) }),
            (Ok(()), _) => {}
        }
        self.waiting.insert(number, waiting);
    }

    /// Whether calls were created that may have failed, or that can be sent.
    pub fn has_calls(&self) -> bool {
        self.created
    }

    /// Whether there is no call: none that failed at once, none queued and none in flight.
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.dispatcher.is_empty()
    }

    /// Takes the new calls that failed at once.
    pub fn take_failed(&mut self) -> Vec<Finished> {
        self.created = false;
        mem::take(&mut self.failed)
    }

    /// Removes and returns the session that waits for the answer to a finished call.
    pub fn take(&mut self, number: u64) -> Option<Waiting> {
        self.waiting.remove(&number)
    }

    /// Whether a call could be sent now if there were a connection.
    pub fn has_ready(&self) -> bool {
        self.dispatcher.has_ready()
    }

    /// Whether [`Hooks::poll_send`] returns a call.
    pub fn can_send(&self, now: Time) -> bool {
        self.dispatcher.can_send(now)
    }

    /// The next call to be sent. Report the result with [`Hooks::handle_response`] or [`Hooks::handle_attempt_error`].
    pub fn poll_send(&mut self, now: Time) -> Option<&Call> {
        self.dispatcher.poll_send(now)
    }

    /// Handles the response to a call. Returns the finished calls.
    pub fn handle_response(&mut self, number: u64, response: Response, now: Time) -> Vec<Finished> {
        self.dispatcher.handle_response(number, response, now)
    }

    /// Handles an attempt without a response. Returns the finished calls: none if the call is retried, all waiting ones
    /// if this opens the breaker.
    pub fn handle_attempt_error(&mut self, number: u64, error: AttemptError, now: Time) -> Vec<Finished> {
        self.dispatcher.handle_attempt_error(number, error, now)
    }

    /// Fails calls that have waited too long to be sent.
    pub fn expire_waiting(&mut self, now: Time) -> Vec<Finished> {
        self.dispatcher.expire_waiting(now)
    }

    /// A call in flight that has timed out: close its connection and report the error.
    pub fn poll_expired(&mut self, now: Time) -> Option<u64> {
        self.dispatcher.poll_expired(now)
    }

    /// When the next call times out, in flight or waiting. This is the only deadline while no call can be sent.
    pub fn expiry(&self) -> Time {
        self.dispatcher.expiry()
    }

    /// The next deadline: a time-out, a retry, or a call that can be sent.
    pub fn deadline(&self) -> Time {
        self.dispatcher.deadline()
    }

    /// Whether the backend answers; off without `hooks.url`.
    pub fn health(&self) -> &Health {
        self.dispatcher.health()
    }

    /// Bytes of memory of the calls that wait or are in flight.
    pub fn bytes(&self) -> usize {
        self.dispatcher.bytes()
    }

    /// The backend's health, if it started or stopped failing since the last call of this method.
    pub fn poll_health_change(&mut self) -> Option<&Health> {
        let failing = self.dispatcher.health().reason().is_some();
        let changed = failing != mem::replace(&mut self.failing, failing);
        changed.then(|| self.dispatcher.health())
    }

    /// Whether calls are being dropped because too many are waiting, if that changed since the last call of this
    /// method. It has ended once the queue is half empty.
    pub fn poll_overload_change(&mut self) -> Option<bool> {
        let overloaded = self.dispatcher.is_overloaded();
        (overloaded != mem::replace(&mut self.overloaded, overloaded)).then_some(overloaded)
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.dispatcher.stats
    }
}

/// The lane of a session, and the beginning of a call about it.
fn describe(state: &State, key: SessionKey, kind: Kind) -> Option<(Lane, Vec<u8>)> {
    let session = state.sessions.get(key)?;
    let rooms = state.room_names(session);
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    Some(((session.client, session.namespace), body::begin(state, key, kind, &rooms)))
}

#[cfg(test)]
mod tests;
