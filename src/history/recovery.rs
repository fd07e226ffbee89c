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

    /// Queues the event for a session, and counts it. Text clients have no frame for it.
    pub fn send(&self, state: &mut State, session: SessionKey) {
        match self.missing.is_empty() {
            true => state.stats.recovered += 1,
            false => state.stats.recovery_gaps += 1,
        }
        let Some((client, form)) = state.sessions.get(session).map(|session| (session.client, session.form)) else {
            return;
        };
        let members = self.members();
        match form {
            Form::Text => {}
            Form::Json => {
                let text = format!("{{\"event\":\"recovery\",{members}}}");
                state.send(client, Opcode::Text, text.as_bytes());
            }
            Form::Lines => state.send_raw(client, format!("{{\"event\":\"recovery\",{members}}}\n").as_bytes()),
            _ => state.send_to_session(session, "recovery", &format!("{{{members}}}")),
        }
    }
}
