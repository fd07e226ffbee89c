//! The description of a session for operators, the message log and other relays.

use super::{registry::State, session::Session};
use crate::{json::ObjectWriter, key::SessionKey, message::Form};

/// A session with everything that its description needs.
pub struct SessionInfo<'a> {
    /// Its public name (docs/protocol.md, Vocabulary and conventions).
    pub socket_id: String,
    /// The name of its namespace.
    pub namespace: &'a str,
    /// The user: of the login, or of a later `user_login`.
    pub userid: &'a str,
    /// Its rooms, separated by commas. `None`: they are left out.
    pub rooms: Option<String>,
    /// The session itself.
    pub session: &'a Session,
}

impl SessionInfo<'_> {
    /// Writes the fields that `client.log` and `GET /api/online` have in common (docs/protocol.md, Operators' HTTP API
    /// and Message log format).
    pub fn write(&self, line: &mut ObjectWriter<'_>) {
        let identity = &self.session.identity;
        line.text("socket_id", &self.socket_id);
        line.text("userid", self.userid);
        line.text("username", identity.username());
        if let Some(rooms) = &self.rooms {
            line.text("room_ids", rooms);
        }
        line.text("nsp", self.namespace);
        line.text("protocol", protocol(self.session.form));
        if let Some(ip) = identity.ip() {
            line.display("ip", ip);
        }
        line.nonempty("referer", &identity.agent().referer);
        line.nonempty("user_agent", &identity.agent().user_agent);
        line.nonempty("ext_info", identity.ext_info());
        if self.session.wants.quit() {
            line.display("watch_quit", 1);
        }
    }
}

impl State {
    /// Describes a session.
    pub fn info<'a>(&'a self, key: SessionKey, session: &'a Session) -> SessionInfo<'a> {
        SessionInfo {
            socket_id: self.socket_id(key),
            userid: self.user_of(key),
            namespace: &self.namespaces[session.namespace as usize].name,
            rooms: Some(self.room_names(session).join(",")),
            session,
        }
    }
}

/// The name of a session's protocol in lists and logs.
pub fn protocol(form: Form) -> &'static str {
    match form {
        Form::Json | Form::JsonTime => "websocket",
        Form::Text => "websocket text",
        Form::Sse => "sse",
        Form::SseText => "sse text",
        Form::Lines => "lines",
        Form::SocketIo3 | Form::SocketIo3Base64 => "engine.io 3",
        Form::SocketIo4 | Form::SocketIo4Offset | Form::SocketIo4Base64 => "engine.io 4",
    }
}
