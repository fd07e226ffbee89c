//! What a single session is sent: that it is in, that it was refused, events, acknowledgements.

use super::registry::State;
use crate::{
    clock::Now,
    engineio::Revision,
    frame::Opcode,
    json::{array_items, quote, to_text, write_string},
    key::{ClientKey, SessionKey},
    message::{Event, Form, bytes::attachment, event::write_arguments},
    socketio::{Kind, packet::head},
};

impl State {
    /// Tells a client that it is in a namespace.
    pub fn greet_packet(&mut self, key: ClientKey, session: SessionKey, auth: &str, now: Now) {
        let Some(namespace) = self.sessions.get(session).map(|session| session.namespace) else { return };
        let namespace = self.namespaces[namespace as usize].name.clone();
        let timing = self.timing();
        let Some(socket) = self.socket_mut(key) else { return };
        socket.engine.set_state(true, false, &timing, now.time);
        let revision = socket.engine.revision;
        let sid = self.sids.socket(session);
        self.send_packet(key, Kind::Connect, &namespace, None, &[], |out| {
            if revision == Revision::V4 {
                out.extend_from_slice(format!("{{\"sid\":\"{sid}\"}}").as_bytes());
            }
        });
        self.welcome(session, if auth.is_empty() { "{}" } else { auth });
    }

    /// What a namespace sends to who comes in.
    pub fn welcome(&mut self, session: SessionKey, auth: &str) {
        let Some(namespace) = self.sessions.get(session).map(|session| session.namespace) else { return };
        let config = self.namespaces[namespace as usize].config.clone();
        if let Some(welcome) = &config.welcome {
            let data = welcome.data.as_ref().map_or_else(|| auth.to_owned(), to_text);
            self.tell_session(session, &welcome.event, &data);
        }
    }

    /// Tells a Socket.IO client that it may not join a namespace, in the way that its generation shows to the page.
    pub fn refuse(&mut self, key: ClientKey, revision: Revision, namespace: &str, why: &str) {
        let quoted = quote(why);
        match revision {
            Revision::V4 => self.send_packet(key, Kind::ConnectError, namespace, None, &[], |out| {
                out.extend_from_slice(format!("{{\"message\":{quoted}}}").as_bytes());
            }),
            // The shipped client listens for nothing but sys_error, and stays away after a DISCONNECT.
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

    /// Queues an event with one argument, given as JSON.
    /// Queues an event with one argument, given as JSON, for a Socket.IO client.
    pub fn send_event(&mut self, key: ClientKey, namespace: &str, name: &str, data: &str) {
        self.send_packet(key, Kind::Event, namespace, None, &[], |out| {
            out.push(b'[');
            write_string(out, name);
            out.push(b',');
            out.extend_from_slice(data.as_bytes());
            out.push(b']');
        });
    }

    /// Queues a packet and its attachments.
    pub fn send_packet(
        &mut self,
        key: ClientKey,
        kind: Kind,
        namespace: &str,
        id: Option<&str>,
        attachments: &[Vec<u8>],
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(revision) = self.engine_mut(key).map(|engine| engine.revision) else { return };
        let run = self.turn.single(Opcode::Text, |out| {
            out.push(b'4');
            head(out, kind, attachments.len(), namespace, id);
            fill(out);
        });
        self.queue(key, run);
        for bytes in attachments {
            let run = self.turn.single(Opcode::Binary, |out| attachment(out, revision, bytes));
            self.queue(key, run);
        }
    }

    /// An event with one argument for one session.
    pub fn tell_session(&mut self, key: SessionKey, name: &str, data: &str) {
        let receiver = self.receiver(key);
        self.emit_to(receiver.as_slice(), &Event::new(name, data));
    }

    /// The answer to a session's event: a list of arguments.
    pub fn acknowledge(&mut self, key: SessionKey, id: &str, list: &str, attachments: &[Vec<u8>]) {
        let Some(session) = self.sessions.get(key) else { return };
        let (client, namespace) = (session.client, self.namespaces[session.namespace as usize].name.clone());
        match session.form {
            Form::SocketIo3 | Form::SocketIo4 => {
                self.send_packet(client, Kind::Ack, &namespace, Some(id), attachments, |out| {
                    out.extend_from_slice(list.as_bytes());
                });
            }
            Form::Json => {
                let mut text = format!("{{\"event\":\"ack\",\"ack\":{id},\"code\":1,\"msg\":\"\"").into_bytes();
                write_arguments(&mut text, array_items(list), attachments);
                text.push(b'}');
                self.send(client, Opcode::Text, &text);
            }
            Form::Text => {}
        }
    }
}
