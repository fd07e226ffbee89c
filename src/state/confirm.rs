//! Questions to clients, and how they show that they have received a message (docs/protocol.md, Receipts).

use std::collections::HashMap;

use super::{
    client::Mode,
    registry::State,
    track::{PING, Proof, Tracks},
};
use crate::{
    frame::{Opcode, Run},
    key::ClientKey,
};

/// How a client is known to have received a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// By its pong: it has been asked.
    Pong,
    /// By its next poll.
    Poll,
    /// By what the kernel of its peer has confirmed, which the server must look at ([`State::note_confirmed`]).
    Tcp,
    /// Not yet: the message is not queued for it, because it gets older ones first.
    Later,
    /// Not at all: it is being closed or is gone.
    Never,
}

impl Tracks {
    /// Ends a track that was [lent](State::lend_track), unless somebody watches it.
    pub fn give_back(&mut self, client: ClientKey) {
        if self.get(client).is_some_and(|track| track.is_lent && track.watchers == 0) {
            self.end(client);
        }
    }
}

impl State {
    /// Begins the track of a client, which has all messages up to `stamp`, for as long as somebody watches it. One that has a
    /// track keeps it.
    pub fn lend_track(&mut self, client: ClientKey, stamp: u64) {
        if self.tracks.get(client).is_some() {
            return;
        }
        self.tracks.begin(client, stamp, Proof::Tcp);
        let is_behind = self.is_behind(client);
        if let Some(track) = self.tracks.get_mut(client) {
            track.is_lent = true;
            if is_behind {
                track.set_cursor(Some(stamp));
            }
        }
    }

    fn is_behind(&self, client: ClientKey) -> bool {
        self.clients.get(client).is_some_and(|client| client.mode == Mode::Behind)
    }

    /// How a client will show that it has all messages up to a stamp. The caller must [ask](State::ask_all) one with a WebSocket.
    pub fn sign_of(&self, client: ClientKey, stamp: u64) -> Sign {
        if self.clients.get(client).is_none_or(|client| client.mode == Mode::Ending) {
            return Sign::Never;
        }
        let Some(track) = self.tracks.get(client) else { return Sign::Never };
        match () {
            () if self.is_polling(client) => Sign::Poll,
            // One that has fallen behind in this turn has no cursor yet.
            () if self.is_behind(client) && track.cursor().is_none() => Sign::Later,
            () if self.queued_up_to(track) < stamp => Sign::Later,
            () if self.stream_form(client).is_some() => Sign::Tcp,
            () => Sign::Pong,
        }
    }

    /// Pings a plain WebSocket. If it has a track, the pong will say what it has received.
    pub fn ping(&mut self, client: ClientKey) {
        match self.tracks.get(client) {
            Some(_) => self.ask(client),
            None => self.send(client, Opcode::Ping, b""),
        }
    }

    /// Asks clients with a WebSocket what they have received, as [`State::ask`] does. Most share the bytes of the ping.
    pub fn ask_all(&mut self, clients: &[ClientKey]) {
        let (newest, now) = (self.ids.last(), self.now.time);
        let mut runs: HashMap<[u8; PING], Run> = HashMap::new();
        for client in clients {
            let Some(track) = self.tracks.get_mut(*client) else { continue };
            if track.cursor().is_some() {
                self.ask(*client);
                continue;
            }
            let question = track.next_question(newest, now);
            let run = *runs.entry(question).or_insert_with(|| {
                let batch = self.turn.open();
                self.turn.push(batch, Opcode::Ping, |out| out.extend_from_slice(&question))
            });
            self.queue_shared(*client, run, clients.len());
        }
    }

    /// Notes that the peer of a client has confirmed all bytes that were sent, and that none waits.
    pub fn note_confirmed(&mut self, client: ClientKey) {
        if self.has_waiting(client) || self.is_behind(client) {
            return;
        }
        if let Some(stamp) = self.tracks.get(client).map(|track| self.queued_up_to(track)) {
            self.tracks.prove(client, stamp);
        }
    }
}
