//! Closing clients: the decision, and the last frame.

use std::collections::{HashMap, VecDeque};

use super::{client::Mode, departure::End, effect::Effect, registry::State};
use crate::{
    frame::Opcode,
    key::ClientKey,
    message::{Form, stream},
    websocket::Close,
};

/// Asks the server to close a client that is ending already.
pub(super) fn decide(
    effects: &mut VecDeque<Effect>,
    ends: &mut HashMap<ClientKey, End>,
    client: ClientKey,
    close: Close,
) {
    ends.insert(client, End::Closed(close));
    effects.push_back(Effect::Close { client, close });
}

impl State {
    /// Closes a client as a slow consumer.
    pub fn close_slow(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        self.tracks.freeze(key, self.ids.last());
        // An operator who looks on is no client.
        self.stats.slow_consumers += u64::from(!self.bare_streams.contains(&key));
        self.trace_client(key, format_args!("reads too slowly: more than limits.unsent waits for it"));
        decide(&mut self.effects, &mut self.decided_ends, key, Close::SLOW);
    }

    /// Asks the server to close a client. Nothing more is queued for it from now on.
    pub fn close(&mut self, key: ClientKey, close: Close) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        self.tracks.freeze(key, self.ids.last());
        decide(&mut self.effects, &mut self.decided_ends, key, close);
    }

    /// Asks the server to end a client as lost. Nothing more is queued for it from now on.
    pub fn lose(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        self.tracks.freeze(key, self.ids.last());
        self.effects.push_back(Effect::Lose { client: key });
    }

    /// Notes that a client has not answered a ping. The caller removes it.
    pub fn note_timeout(&mut self, key: ClientKey) {
        self.decided_ends.entry(key).or_insert(End::TimedOut);
    }

    /// Whether it is decided how a client ends.
    pub fn has_decided_end(&self, key: ClientKey) -> bool {
        self.decided_ends.contains_key(&key)
    }

    /// How a client ends whose sessions end now, if that is decided.
    pub fn take_decided_end(&mut self, key: ClientKey) -> Option<End> {
        self.decided_ends.remove(&key)
    }

    /// Queues the last frame of a client after its other frames, unless `close` is `None`. The unsent frames of a slow
    /// consumer are dropped first. Nothing more is queued for the client. `stream` is the form of a client that is a stream.
    pub fn queue_last(&mut self, key: ClientKey, close: Option<Close>, stream: Option<Form>) {
        let polling = self.is_polling(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        let Some(close) = close else { return };
        if close == Close::SLOW {
            client.outbox.discard(&self.turn);
        }
        let frame = match (polling, stream) {
            // A polling session ends with a close packet (1), or with a noop (6) if the client closed it. A shutdown
            // sends a noop as well: Python clients do not reconnect after a close packet. After a noop they poll again,
            // get an error, and reconnect.
            (true, _) => {
                let noop = close == Close::NORMAL || close == Close::GOING_AWAY;
                self.turn.single(Opcode::Text, |out| out.push(if noop { b'6' } else { b'1' }))
            }
            (false, Some(form)) => self.turn.single_raw(&stream::last(form, close)),
            (false, None) => self.turn.single(Opcode::Close, |out| out.extend(close.payload())),
        };
        if !frame.is_empty() {
            client.outbox.push_over_limit(frame);
        }
        self.mark_dirty(key);
    }
}
