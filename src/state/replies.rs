//! Packets for a single session: CONNECT, refusals, events, acknowledgements.

use super::registry::State;
use crate::{
    clock::Now,
    engineio::Revision,
    frame::Opcode,
    json::{array_items, quote, to_text, write_string},
    key::{ClientKey, Handle, SessionKey},
    message::{Event, Form, MessageId, event::write_arguments, form::Attachments, stream},
    socketio::{Kind, packet::head},
};

impl State {
    /// Confirms that a Socket.IO client has joined a namespace: CONNECT, then the welcome. `auth` is the JSON that the
    /// client sent with its CONNECT, or empty.
    pub fn confirm_connect(&mut self, key: ClientKey, session: SessionKey, auth: &str, now: Now) {
        let Some(namespace) = self.sessions.get(session).map(|session| session.namespace) else { return };
        let namespace = self.namespaces[namespace as usize].name.clone();
        let timing = self.timing();
        if let Some(client) = self.clients.get(key) {
            self.strangers.remove(client);
        }
        let Some(socket) = self.socket_mut(key) else { return };
        socket.engine.set_state(true, false, &timing, now.time);
        let revision = socket.engine.revision;
        let name = self.name_of(session);
        let (sid, pid) = (self.sids.socket(name), self.sids.private(name));
        let has_pid = self.config.history.is_on() && !self.config.recovery.window.is_zero();
        self.send_packet(key, Kind::Connect, &namespace, None, &[], |out| {
            if revision == Revision::V4 {
                out.extend_from_slice(format!("{{\"sid\":\"{sid}\"").as_bytes());
                if has_pid {
                    out.extend_from_slice(format!(",\"pid\":\"{pid}\"").as_bytes());
                }
                out.push(b'}');
            }
        });
        self.send_welcome(session, if auth.is_empty() { "{}" } else { auth });
    }

    /// Sends what a new session of a client without Socket.IO gets first: if it is a stream, the blocks that open it, with its
    /// position; then the welcome.
    pub fn greet(&mut self, session: SessionKey, position: MessageId) {
        let Some((client, form)) = self.sessions.get(session).map(|session| (session.client, session.form)) else {
            return;
        };
        if form.is_stream() {
            let seed = client.key().to_bits() ^ self.now.time.micros();
            let opening = stream::opening(form, stream::retry(2000, 3000, seed), position);
            self.send_raw(client, &opening);
        }
        self.send_welcome(session, "{}");
    }

    /// Sends the configured welcome event to a new session (docs/protocol.md, Welcome). `auth` is the JSON that `$auth`
    /// stands for.
    pub fn send_welcome(&mut self, session: SessionKey, auth: &str) {
        let Some(namespace) = self.sessions.get(session).map(|session| session.namespace) else { return };
        let config = self.namespaces[namespace as usize].config.clone();
        if let Some(welcome) = &config.welcome {
            let data = welcome.data.as_ref().map_or_else(|| auth.to_owned(), to_text);
            self.send_to_session(session, &welcome.event, &data);
        }
    }

    /// Refuses a Socket.IO client's login to a namespace, with the packets that clients of its revision report to the
    /// page (docs/protocol.md, How a refusal arrives).
    pub fn refuse(&mut self, key: ClientKey, revision: Revision, namespace: &str, why: &str) {
        self.refuse_with(key, revision, namespace, why, "");
    }

    /// Like [`State::refuse`], with [`Refusal::details`](super::Refusal::details): clients of revision 4 get them as the `data`
    /// of their error. The packets of revision 3 have no place for them.
    pub fn refuse_with(&mut self, key: ClientKey, revision: Revision, namespace: &str, why: &str, details: &str) {
        let quoted = quote(why);
        let data = match details.strip_prefix(',') {
            Some(members) => format!(",\"data\":{{{members}}}"),
            None => String::new(),
        };
        match revision {
            Revision::V4 => self.send_packet(key, Kind::ConnectError, namespace, None, &[], |out| {
                out.extend_from_slice(format!("{{\"message\":{quoted}{data}}}").as_bytes());
            }),
            // The bundled script listens to sys_error only, and does not reconnect after a DISCONNECT.
            Revision::V3 if namespace == "/" => {
                self.send_packet(key, Kind::Connect, namespace, None, &[], |_| {});
                self.send_event(key, namespace, "sys_error", &quoted);
                self.send_packet(key, Kind::Disconnect, namespace, None, &[], |_| {});
            }
            Revision::V3 => self.send_packet(key, Kind::ConnectError, namespace, None, &[], |out| {
                out.extend_from_slice(quoted.as_bytes());
            }),
        }
    }

    /// Queues an event with one argument, `data` as JSON, for a Socket.IO client.
    pub fn send_event(&mut self, key: ClientKey, namespace: &str, name: &str, data: &str) {
        self.send_packet(key, Kind::Event, namespace, None, &[], |out| {
            out.push(b'[');
            write_string(out, name);
            out.push(b',');
            out.extend_from_slice(data.as_bytes());
            out.push(b']');
        });
    }

    /// Queues a Socket.IO packet and its attachments. `fill` appends the payload after the packet's head. Does nothing
    /// if the client does not use Socket.IO.
    pub fn send_packet(
        &mut self,
        key: ClientKey,
        kind: Kind,
        namespace: &str,
        id: Option<&str>,
        attachments: &[Vec<u8>],
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(engine) = self.engine_mut(key) else { return };
        let form = Attachments { revision: engine.revision, base64: engine.base64 };
        let run = self.turn.single(Opcode::Text, |out| {
            out.push(b'4');
            head(out, kind, attachments.len(), namespace, id);
            fill(out);
        });
        self.queue(key, run);
        for bytes in attachments {
            let run = self.turn.single(form.opcode(), |out| form.write(out, bytes));
            self.queue(key, run);
        }
    }

    /// Queues an event with one argument, `data` as JSON, for a session.
    pub fn send_to_session(&mut self, key: SessionKey, name: &str, data: &str) {
        let receiver = self.receiver(key);
        self.emit_to(receiver.as_slice(), &Event::new(name, data));
    }

    /// Acknowledges a session's event `id` with `list`, a JSON array of arguments. Text clients get nothing.
    pub fn acknowledge(&mut self, key: SessionKey, id: &str, list: &str, attachments: &[Vec<u8>]) {
        let Some(session) = self.sessions.get(key) else { return };
        let (client, namespace) = (session.client, self.namespaces[session.namespace as usize].name.clone());
        match session.form {
            Form::SocketIo3
            | Form::SocketIo4
            | Form::SocketIo4Offset
            | Form::SocketIo3Base64
            | Form::SocketIo4Base64 => {
                self.send_packet(client, Kind::Ack, &namespace, Some(id), attachments, |out| {
                    out.extend_from_slice(list.as_bytes());
                });
            }
            Form::Json | Form::JsonTime => {
                let mut text = format!("{{\"event\":\"ack\",\"ack\":{id},\"code\":1,\"msg\":\"\"").into_bytes();
                write_arguments(&mut text, array_items(list), attachments);
                text.push(b'}');
                self.send(client, Opcode::Text, &text);
            }
            // Text clients have no frame for it, and streams cannot ask for it.
            Form::Text | Form::Sse | Form::SseText | Form::Lines => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Time,
        engineio::{Engine, engine::Transport},
        state::{
            socket::Socket,
            testing::{CONFIG, Login, received, session, state},
        },
    };

    /// Adds a Socket.IO client with one session.
    fn socketio(state: &mut State, form: Form, revision: Revision) -> SessionKey {
        let key = session(state, Login { namespace: "/chat", form, ..Login::default() });
        let (client, timing) = (state.sessions.get(key).unwrap().client, state.timing());
        let socket = Socket {
            engine: Engine::new(revision, Transport::Polling(None), &timing, Time::START),
            handshake: " ".into(),
            agent: state.agents.intern("", ""),
            sessions: Default::default(),
            assembly: None,
        };
        state.clients.get_mut(client).unwrap().socket = Some(socket.into());
        key
    }

    #[test]
    fn acknowledgements_have_the_form_of_the_client() {
        let mut state = state(CONFIG);
        let [json, text] = [Form::Json, Form::Text].map(|form| session(&mut state, Login { form, ..Login::default() }));
        let third = socketio(&mut state, Form::SocketIo3, Revision::V3);
        let fourth = socketio(&mut state, Form::SocketIo4, Revision::V4);
        for key in [json, text, third, fourth] {
            state.acknowledge(key, "5", "[{\"a\": 1}]", &[]);
        }
        assert_eq!(received(&mut state, json), [r#"{"event":"ack","ack":5,"code":1,"msg":"","data":{"a": 1}}"#]);
        assert!(received(&mut state, text).is_empty());
        assert_eq!(received(&mut state, third), [r#"43/chat,5[{"a": 1}]"#]);
        assert_eq!(received(&mut state, fourth), [r#"43/chat,5[{"a": 1}]"#]);
    }

    #[test]
    fn attachments_follow_an_acknowledgement() {
        let mut state = state(CONFIG);
        let json = session(&mut state, Login::default());
        let third = socketio(&mut state, Form::SocketIo3, Revision::V3);
        for key in [json, third] {
            state.acknowledge(key, "5", r#"[{"_placeholder":true,"num":0}]"#, &[b"xy".into()]);
        }
        let expected = r#"{"event":"ack","ack":5,"code":1,"msg":"","data":{"_base64":"eHk="}}"#;
        assert_eq!(received(&mut state, json), [expected]);
        assert_eq!(received(&mut state, third), [r#"461-/chat,5[{"_placeholder":true,"num":0}]"#, "\u{4}xy"]);
    }

    #[test]
    fn refusals_have_the_form_of_the_revision() {
        let mut state = state(CONFIG);
        let third = socketio(&mut state, Form::SocketIo3, Revision::V3);
        let fourth = socketio(&mut state, Form::SocketIo4, Revision::V4);
        let [old, new] = [third, fourth].map(|key| state.sessions.get(key).unwrap().client);
        state.refuse(old, Revision::V3, "/", "no");
        state.refuse(old, Revision::V3, "/chat", "no");
        state.refuse(new, Revision::V4, "/chat", "no");
        assert_eq!(received(&mut state, third), ["40", r#"42["sys_error","no"]"#, "41", r#"44/chat,"no""#]);
        assert_eq!(received(&mut state, fourth), [r#"44/chat,{"message":"no"}"#]);
    }
}
