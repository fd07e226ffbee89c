//! The event `recovery`, which tells a client what it gets of the messages that it has missed (docs/protocol.md, Recovery).

use crate::{
    frame::Opcode,
    json::write_strings,
    key::SessionKey,
    message::{Form, MessageId},
    state::State,
};

/// What a client is told.
#[derive(Clone, Copy, Debug)]
pub struct Recovery<'a> {
    /// The rooms in which messages are missing.
    pub missing: &'a [&'a str],
    /// How many messages follow.
    pub missed: usize,
    /// The position: from here the client can go on if no message with an id follows.
    pub id: MessageId,
}

impl Recovery<'_> {
    /// The members of the event's object, without braces.
    fn members(&self) -> String {
        let (recovered, missed, id) = (self.missing.is_empty(), self.missed, self.id);
        let mut rooms = Vec::new();
        if !recovered {
            rooms.extend_from_slice(b",\"rooms\":");
            write_strings(&mut rooms, self.missing);
        }
        let rooms = String::from_utf8_lossy(&rooms);
        format!("\"recovered\":{recovered}{rooms},\"missed\":{missed},\"id\":\"{id}\"")
    }

    /// Counts it.
    pub fn count(&self, state: &mut State) -> &Self {
        match self.missing.is_empty() {
            true => state.stats.recovered += 1,
            false => state.stats.recovery_gaps += 1,
        }
        self
    }

    /// The event for JSON clients.
    fn json(&self) -> String {
        format!("{{\"event\":\"recovery\",{}}}", self.members())
    }

    /// Appends the event as a line.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.json().as_bytes());
        out.push(b'\n');
    }

    /// Queues the event for a session, and counts it. Text clients have no frame for it.
    pub fn send(&self, state: &mut State, session: SessionKey) {
        self.count(state);
        state.note_gaps(session, self.missing);
        let Some((client, form)) = state.sessions.get(session).map(|session| (session.client, session.form)) else {
            return;
        };
        match form {
            Form::Text => {}
            Form::Json | Form::JsonTime => state.send(client, Opcode::Text, self.json().as_bytes()),
            Form::Lines => state.send_raw(client, format!("{}\n", self.json()).as_bytes()),
            Form::Sse
            | Form::SseText
            | Form::SocketIo3
            | Form::SocketIo4
            | Form::SocketIo4Offset
            | Form::SocketIo3Base64
            | Form::SocketIo4Base64 => state.send_to_session(session, "recovery", &format!("{{{}}}", self.members())),
        }
    }
}
