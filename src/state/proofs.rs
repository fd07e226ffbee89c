//! Proofs of what clients have received: what is noted when something is queued for a client, the questions to clients, and their
//! answers (docs/protocol.md, Return).

use core::{cmp::Reverse, time::Duration};

use super::{
    registry::State,
    room::RoomIndex,
    track::{Proof, Stall, Track},
};
use crate::{
    frame::Opcode,
    key::{ClientKey, SessionKey},
};

impl State {
    /// How far messages are queued for a client: all kept ones up to this stamp.
    pub(super) fn queued_up_to(&self, track: &Track) -> u64 {
        track.cursor().unwrap_or(self.ids.last())
    }

    /// Notes a frame for a client that the history does not have. Call it when the frame is queued.
    pub(super) fn note_other(&mut self, client: ClientKey, bytes: usize) {
        if self.tracks.is_empty() {
            return;
        }
        let newest = self.ids.last();
        if let Some(track) = self.tracks.get_mut(client) {
            track.add_other(track.cursor().unwrap_or(newest), bytes);
        }
    }

    /// Notes that a session has joined a room after its login.
    pub(super) fn note_late_join(&mut self, client: ClientKey, session: SessionKey, room: RoomIndex) {
        let newest = self.ids.last();
        if let Some(track) = self.tracks.get_mut(client) {
            track.note_joined(session, room, newest);
        }
    }

    /// Notes how many bytes the kernel has sent to a client that its peer has not confirmed. `None` if that is not known.
    pub fn note_unconfirmed(&mut self, client: ClientKey, bytes: Option<u32>) {
        if let Some(track) = self.tracks.get_mut(client) {
            track.flow_mut().unconfirmed = bytes;
        }
    }

    /// Whether it may turn out that what a client's kernel has confirmed was never read by the client, so that
    /// [`State::note_stall`] is to be called when its peer confirms nothing.
    pub fn may_stall(&self, client: ClientKey) -> bool {
        let track = self.tracks.get(client).filter(|track| track.proof == Proof::Tcp && !track.is_lent);
        track.is_some() && self.stream_form(client).is_none()
    }

    /// Notes what a client has received until now, because its sign of life is late, or because its peer confirms nothing. It
    /// may give up, and its kernel may confirm more. Then asks it whether it is still there.
    pub fn note_stall(&mut self, client: ClientKey) {
        let queued = self.clients.get(client).map_or(0, |client| client.outbox.bytes());
        let Some(track) = self.tracks.get(client).filter(|track| track.stall().is_none()) else { return };
        let stamp = self.queued_up_to(track);
        let Some(bytes) = track.unconfirmed() else { return };
        if let Some(track) = self.tracks.get_mut(client) {
            let question = track.asks;
            track.flow_mut().stall = Some(Stall { newest: stamp, bytes: queued + bytes as usize, question });
        }
        self.ask(client);
    }

    /// Asks a client with a WebSocket what it has received, by a ping with the stamp of the newest message that is queued for
    /// it. A client that polls answers with its next poll. Pings and pongs of Engine.IO say too little: nobody knows which ping a
    /// pong that was on its way for long belongs to.
    pub fn ask(&mut self, client: ClientKey) {
        let now = self.now.time;
        let Some(track) = self.tracks.get(client) else { return };
        let stamp = self.queued_up_to(track);
        if self.is_polling(client) || self.stream_form(client).is_some() || self.conn(client).is_none() {
            return;
        }
        let Some(track) = self.tracks.get_mut(client) else { return };
        let question = track.next_question(stamp, now);
        self.send(client, Opcode::Ping, &question);
        self.trace_client(client, format_args!("is asked by a ping what it has received, up to number {stamp}"));
    }

    /// Asks a client of which only pongs say what it has received.
    pub fn ask_if_proxied(&mut self, client: ClientKey) {
        if self.tracks.get(client).is_some_and(|track| track.proof == Proof::Pong) {
            self.ask(client);
        }
    }

    /// Handles the pong of a client. Only the answer to a question proves something.
    pub fn handle_pong(&mut self, client: ClientKey, payload: &[u8]) {
        self.trace_client(client, format_args!("sent a pong"));
        let Some((stamp, number)) = payload.split_first_chunk() else { return };
        let Ok(number) = number.try_into().map(u32::from_be_bytes) else { return };
        let stamp = u64::from_be_bytes(*stamp);
        let is_answer = |track: &Track| stamp <= track.asked && (track.first_ask..track.asks).contains(&number);
        let Some(track) = self.tracks.get(client).filter(|track| is_answer(track)) else { return };
        let answers_stall = track.stall().is_some_and(|stall| number >= stall.question);
        if track.question.is_some_and(|first| number >= first) {
            self.note_life(client);
        }
        if answers_stall && let Some(track) = self.tracks.get_mut(client) {
            track.flow_mut().stall = None;
        }
        self.tracks.prove(client, stamp);
        self.trace_client(client, format_args!("has confirmed all messages up to number {stamp}"));
    }

    /// Asks a client for a sign of life: the pong to a ping that it gets now, or the poll after an answer that it gets now. See
    /// [`take_answered`](super::track::Tracks::take_answered).
    pub fn ask_life(&mut self, client: ClientKey) {
        let now = self.now.time;
        let Some(track) = self.tracks.get_mut(client) else { return };
        (track.question, track.answers) = (Some(track.asks), false);
        let at = track.asked_at.after(LEAST_INTERVAL);
        if at <= now {
            self.ask_now(client);
        } else if !core::mem::replace(&mut track.waits, true) {
            // Each login of its user may ask.
            self.tracks.due.push(Reverse((at, client)));
        }
    }

    /// Asks a client once more whether it is alive, because it has changed to a WebSocket and will not poll again.
    pub(super) fn repeat_question(&mut self, client: ClientKey) {
        if self.tracks.get(client).is_some_and(|track| track.question.is_some() && !track.waits) {
            self.ask(client);
        }
    }

    /// As [`State::ask_life`] for a client that has just logged in and was asked at that moment.
    pub fn expect_life(&mut self, client: ClientKey) {
        if let Some(track) = self.tracks.get_mut(client) {
            (track.question, track.answers) = (Some(track.first_ask), false);
        }
    }

    fn ask_now(&mut self, client: ClientKey) {
        if !self.is_polling(client) {
            return self.ask(client);
        }
        let now = self.now.time;
        if let Some(track) = self.tracks.get_mut(client).filter(|track| track.question.is_some()) {
            track.asked_at = now;
            // A packet that says nothing, so that the client polls again.
            self.send(client, Opcode::Text, b"6");
        }
    }

    /// Lets a client show a sign of life that proves nothing else.
    #[cfg(feature = "fuzzing")]
    pub fn show_life(&mut self, client: ClientKey) {
        let proven = self.tracks.get(client).map_or(0, Track::proven);
        self.note_life(client);
        self.tracks.prove(client, proven);
    }

    fn note_life(&mut self, client: ClientKey) {
        if let Some(track) = self.tracks.get_mut(client) {
            (track.question, track.answers) = (None, false);
            self.tracks.answered.push(client);
        }
    }

    /// Notes that a poll is answered with `bytes` of the queue. The client has handled them when it polls again.
    pub(super) fn begin_flight(&mut self, client: ClientKey, bytes: usize) {
        let Some(stamp) = self.tracks.get(client).map(|track| self.queued_up_to(track)) else { return };
        let all = self.clients.get(client).is_some_and(|client| client.outbox.is_empty());
        if let Some(track) = self.tracks.get_mut(client) {
            track.answers = track.question.is_some();
            let flow = track.flow_mut();
            flow.flight = u32::try_from(bytes).unwrap_or(u32::MAX);
            if all {
                flow.poll = stamp;
            }
        }
    }

    /// Notes that a client has handled the last answer to a poll.
    pub(super) fn end_flight(&mut self, client: ClientKey) {
        if self.tracks.is_empty() {
            return;
        }
        let Some(track) = self.tracks.get_mut(client).filter(|track| track.flight() > 0) else { return };
        track.flow_mut().flight = 0;
        let (stamp, answers) = (track.flow().poll, track.answers);
        if answers {
            self.note_life(client);
        }
        self.tracks.prove(client, stamp);
    }

    /// Asks the clients behind proxies among those that are about to be written to, each at most once in `pong_interval`.
    /// Call it before they are written to, so that the question goes with the messages.
    pub fn ask_written(&mut self, clients: &[ClientKey]) {
        if self.tracks.is_empty() {
            return;
        }
        let interval = self.config.recovery.pong_interval;
        for client in clients {
            let now = self.now.time;
            let Some(track) = self.tracks.get(*client).filter(|track| track.proof == Proof::Pong && !track.waits)
            else {
                continue;
            };
            if self.queued_up_to(track) <= track.asked.max(track.proven) {
                continue;
            }
            if track.asked_at.after(interval) <= now {
                self.ask(*client);
            } else if let Some(track) = self.tracks.get_mut(*client) {
                track.waits = true;
                let at = track.asked_at.after(interval);
                self.tracks.due.push(Reverse((at, *client)));
            }
        }
    }

    /// Asks the clients whose time has come.
    pub fn ask_due(&mut self) {
        let now = self.now.time;
        while self.tracks.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, client))) = self.tracks.due.pop() else { return };
            if let Some(track) = self.tracks.get_mut(client) {
                track.waits = false;
                self.ask_now(client);
            }
        }
    }
}

/// Between two questions to one client.
const LEAST_INTERVAL: Duration = Duration::from_millis(250);
