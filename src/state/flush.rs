//! Flushing: which clients the server writes to next, and which frames can be freed afterwards.

use super::{client::Carrier, flush_queue::Dirty, registry::State};
use crate::{
    clock::Time,
    frame::Turn,
    key::{ClientKey, ConnKey, Handle},
    outbox::Outbox,
};

impl State {
    /// Adds a client to the queue of clients to flush.
    pub fn mark_dirty(&mut self, key: ClientKey) {
        self.mark(key, Dirty::Urgent);
    }

    pub(super) fn mark(&mut self, key: ClientKey, dirty: Dirty) {
        if let Some(client) = self.clients.get_mut(key).filter(|client| client.dirty < dirty) {
            client.dirty = dirty;
            self.to_flush.of(dirty).push(key);
        }
    }

    /// Whether there are effects to carry out.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Whether there are clients to flush.
    pub fn is_dirty(&self) -> bool {
        !self.to_flush.is_empty()
    }

    /// Whether more than half of `limits.unsent` is queued for a client that was not written to yet, so that all clients
    /// should be flushed before more input is handled. Otherwise large messages to many clients would pile up.
    pub fn needs_flush(&self) -> bool {
        self.needs_flush
    }

    /// Moves up to `count` clients to flush into `into`, in slot order (which is the order of their memory). Call
    /// [`State::flush`] for each of them, then [`State::end_flush`].
    pub fn poll_dirty(&mut self, count: usize, into: &mut Vec<ClientKey>) {
        let clients = &self.clients;
        let waits = |key| clients.get(key).is_some_and(|client| client.dirty != Dirty::No);
        self.to_flush.poll(count, into, waits);
        if self.to_flush.is_empty() {
            self.needs_flush = false;
        }
        if !into.is_sorted_by_key(|key| key.key().index()) {
            into.sort_unstable();
        }
    }

    /// Whether a message of more than 16 KiB waits.
    pub fn has_large_frames(&self) -> bool {
        self.large_frames
    }

    /// Frees the frames that no outbox refers to any more. Call it after each round of [`State::poll_dirty`].
    pub fn end_flush(&mut self) {
        if self.to_flush.is_empty() {
            self.large_frames = false;
            return self.turn.end();
        }
        if self.turn.has_sealed() && self.to_flush.is_unsealed() {
            self.turn.free_sealed();
        }
        if !self.turn.has_sealed() && self.turn.open_bytes() > MAX_OPEN_BYTES {
            self.turn.seal();
            self.to_flush.seal();
        }
    }

    /// Counts the time of this turn, which ends now, and of the publications that were written in it.
    pub fn end_turn(&mut self, now: Time) {
        let (urgent, bulk) = self.to_flush.positions();
        self.timings.end_turn(self.now.time, now, urgent, bulk);
    }

    /// Marks a client as flushed. If its carrier is a WebSocket, calls `write` with the connection and the outbox; the
    /// caller must flush to other carriers. Returns the carrier; `None` if the client was flushed before, or is gone.
    #[inline]
    pub fn flush(
        &mut self,
        key: ClientKey,
        write: impl FnOnce(ConnKey, &mut Outbox, &Turn, &mut Vec<u8>),
    ) -> Option<Carrier> {
        let client = self.clients.get_mut(key).filter(|client| client.dirty != Dirty::No)?;
        client.dirty = Dirty::No;
        let carrier = client.carrier();
        if let Carrier::Socket(conn) = carrier {
            write(conn, &mut client.outbox, &self.turn, &mut self.scratch);
        }
        Some(carrier)
    }
}

/// Bytes above which a frame is large.
pub(super) const LARGE_FRAME: usize = 16 * 1024;
/// Bytes of frames above which the batches are sealed, so that they can be freed although clients keep waiting.
const MAX_OPEN_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::SessionKey,
        message::{Author, Data, Form},
        room_hash::HashedRoom,
        state::testing::{CONFIG, Login, received, session, state},
    };

    fn member(state: &mut State, room: &str) -> SessionKey {
        session(state, Login { rooms: room, form: Form::Text, ..Login::default() })
    }

    fn deliver(state: &mut State, room: &str, data: &str) {
        let (tenant, id) = (state.tenant("one").unwrap(), state.next_id(1));
        state.deliver(
            tenant,
            HashedRoom::new(room),
            Data::Json(data),
            ("", Author::Backend),
            id,
            crate::state::delivery::Stamp { number: id.stamp(), kept: false },
        );
    }

    #[test]
    fn small_fan_outs_go_before_large_ones() {
        let mut state = state(CONFIG);
        let large: Vec<_> = (0..600).map(|_| member(&mut state, "room")).collect();
        let small = member(&mut state, "other");
        deliver(&mut state, "room", "1");
        deliver(&mut state, "other", "2");
        let client = state.sessions.get(small).unwrap().client;
        let (mut dirty, mut rounds) = (Vec::new(), 0);
        while state.is_dirty() {
            state.poll_dirty(256, &mut dirty);
            assert_eq!(dirty.contains(&client), rounds == 0);
            for key in &dirty {
                state.flush(*key, |_, _, _, _| ());
            }
            rounds += 1;
        }
        assert_eq!(rounds, 3);
        assert_eq!(received(&mut state, large[599]), ["1"]);
    }

    /// Frames are freed although there is always somebody who waits, and nobody loses one.
    #[test]
    fn batches_are_sealed_while_clients_wait() {
        let mut state = state(CONFIG);
        let members: Vec<_> = (0..3).map(|_| member(&mut state, "room")).collect();
        let clients: Vec<_> = members.iter().map(|key| state.sessions.get(*key).unwrap().client).collect();
        let mut got = vec![Vec::new(); 3];
        let mut most = 0;
        for number in 0..100 {
            deliver(&mut state, "room", &format!("\"{number:060000}\""));
            let mut dirty = Vec::new();
            state.poll_dirty(1, &mut dirty);
            for key in dirty {
                let index = clients.iter().position(|client| *client == key).unwrap();
                for text in received(&mut state, members[index]) {
                    got[index].push(text.parse::<u32>().unwrap());
                }
                state.clients.get_mut(key).unwrap().dirty = Dirty::No;
            }
            state.end_flush();
            most = most.max(state.turn.open_bytes());
        }
        for (member, got) in members.iter().zip(&mut got) {
            got.extend(received(&mut state, *member).iter().map(|text| text.parse::<u32>().unwrap()));
            assert_eq!(*got, (0..100).collect::<Vec<_>>());
        }
        assert!(most < 2 * MAX_OPEN_BYTES, "{most}");
    }
}
