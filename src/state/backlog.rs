//! Queueing messages that were published before, from the history.

use super::{flush::LARGE_FRAME, flush_queue::Dirty, registry::State};
use crate::{
    frame::Run,
    key::ClientKey,
    message::{Form, Message},
};

impl State {
    /// Opens a run for messages to several clients at the same place ([`State::append`], [`State::queue_replay`]).
    pub fn open_run(&mut self) -> Run {
        Run { batch: self.turn.open(), begin: 0, end: 0 }
    }

    /// Appends a message to a run of this turn.
    pub fn append(&mut self, run: &mut Run, message: &Message<'_>, form: Form) {
        let frames = message.frames(form, &mut self.turn, run.batch);
        self.large_frames |= frames.len() > LARGE_FRAME;
        run.end = frames.end;
    }

    /// Queues last values for a client that has just come.
    pub fn queue_last_values(&mut self, key: ClientKey, run: Run, count: u64) {
        // In the order of all messages they are older than others that it has.
        self.note_other(key, run.len());
        self.queue_replay(key, run, count);
    }

    /// Queues `count` kept messages for a client. Whoever calls it asks before whether the client has read what was queued.
    pub fn queue_replay(&mut self, key: ClientKey, run: Run, count: u64) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending() && !run.is_empty()) else {
            return;
        };
        client.outbox.push_over_limit(run);
        self.stats.delivered += count;
        self.stats.replayed += count;
        self.mark(key, Dirty::Urgent);
    }

    /// Queues frames that were encoded before.
    pub fn queue_held(&mut self, key: ClientKey, frames: &[u8]) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        client.outbox.push_over_limit(self.turn.single_raw(frames));
        self.note_other(key, frames.len());
        self.stats.delivered += 1;
        self.mark(key, Dirty::Urgent);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use crate::{
        message::{Author, Data, Form},
        room_hash::HashedRoom,
        state::{
            client::Mode,
            testing::{CONFIG, Login, session, state},
        },
    };

    /// Otherwise one large message would need its size for each of thousands of clients.
    #[test]
    fn clients_that_are_behind_share_what_is_held_back() {
        let mut state = state(CONFIG);
        let forms = [Form::Text, Form::Json, Form::Text, Form::Json];
        for form in forms {
            let key = session(&mut state, Login { rooms: "room", form, ..Login::default() });
            let client = state.sessions.get(key).unwrap().client;
            state.clients.get_mut(client).unwrap().mode = Mode::Behind;
        }
        let (tenant, id) = (state.tenant("one").unwrap(), state.next_id(1));
        state.deliver(
            tenant,
            HashedRoom::new("room"),
            Data::Json("1"),
            ("", Author::Backend),
            id,
            crate::state::delivery::Stamp { number: id.stamp(), kept: false },
        );
        let held: Vec<_> = state.held.iter().map(|(.., frames)| frames).collect();
        assert!(Rc::ptr_eq(held[0], held[2]) && Rc::ptr_eq(held[1], held[3]));
        assert!(&**held[0] == b"\x81\x011" && held[1].len() > held[0].len());
    }
}
