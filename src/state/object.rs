//! Events of relay itself whose members stand beside their name for JSON clients.

use super::{delivery::Receiver, namespace::NamespaceId, registry::State};
use crate::{
    frame::{Opcode, Run},
    message::{Event, Form},
};

impl State {
    /// Queues an event for each receiver, encoded once for each namespace and form, and returns for how many. `members` are
    /// those of a JSON object, without braces. JSON clients and lines get them beside `"event"`, other clients as the argument
    /// of the event, and text clients nothing.
    pub fn send_members(&mut self, receivers: &[Receiver], name: &str, members: &str) -> usize {
        let mut runs: Vec<((NamespaceId, Form), Run)> = Vec::new();
        let mut reached = 0;
        let object = format!("{{{members}}}");
        let beside = format!("{{\"event\":\"{name}\",{members}}}");
        let event = Event::new(name, &object);
        for (client, namespace, form) in receivers {
            if !event.is_for(*form) || self.clients.get(*client).is_none_or(|client| client.is_ending()) {
                continue;
            }
            let known = runs.iter().find(|(of, _)| *of == (*namespace, *form)).map(|(_, run)| *run);
            let run = known.unwrap_or_else(|| {
                let batch = self.turn.open();
                let run = match form {
                    Form::Json | Form::JsonTime => {
                        self.turn.push(batch, Opcode::Text, |out| out.extend_from_slice(beside.as_bytes()))
                    }
                    Form::Lines => self.turn.push_bare(batch, |out| {
                        out.extend_from_slice(beside.as_bytes());
                        out.push(b'\n');
                    }),
                    form => event.frames(*form, &self.namespaces[*namespace as usize].name, &mut self.turn, batch),
                };
                runs.push(((*namespace, *form), run));
                run
            });
            self.queue_shared(*client, run, receivers.len());
            reached += 1;
        }
        self.stats.emitted += reached as u64;
        reached
    }
}
