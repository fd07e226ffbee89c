//! Closing clients: the decision, and the last frame.

use super::{client::Mode, effect::Effect, registry::State};
use crate::{
    frame::Opcode,
    key::ClientKey,
    message::{Form, stream},
    websocket::Close,
};

impl State {
    /// Closes a client as a slow consumer.
    pub fn close_slow(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        self.tracks.freeze(key, self.ids.last());
        self.stats.slow_consumers += 1;
        self.trace_client(key, format_args!("reads too slowly: more than limits.unsent waits for it"));
        self.effects.push_back(Effect::Close { client: key, close: Close::SLOW });
    }

    /// Asks the server to close a client. Nothing more is queued for it from now on.
    pub fn close(&mut self, key: ClientKey, close: Close) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        self.tracks.freeze(key, self.ids.last());
        self.effects.push_back(Effect::Close { client: key, close });
    }

    /// Asks the server to end a client as lost. Nothing more is queued for it from now on.
    pub fn lose(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        self.strangers.remove(client);
        client.mode = Mode::Ending;
        self.tracks.freeze(key, self.ids.last());
        self.effects.push_back(Effect::Lose { client: key });
    }

    /// How a client that the server has not closed yet is to be closed.
    pub fn pending_close(&self, key: ClientKey) -> Option<Close> {
        self.clients.get(key).filter(|client| client.is_ending())?;
        self.effects.iter().find_map(|effect| match effect {
            Effect::Close { client, close } if *client == key => Some(*close),
            _ => None,
        })
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
