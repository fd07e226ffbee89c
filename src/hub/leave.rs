//! The end of sessions and clients.

use super::{Hub, publish::Origin};
use crate::{
    clock::Now,
    json::quote,
    key::{ClientKey, ConnKey, SessionKey},
    message::Data,
    socketio::Kind,
    websocket::Close,
};

impl Hub {
    /// Ends a session from this side. A client of Socket.IO stays in its other namespaces.
    pub fn expel(&mut self, key: SessionKey, close: Close, now: Now) {
        let Some(client) = self.state.sessions.get(key).map(|session| session.client) else { return };
        match self.state.is_socketio(client) {
            true => self.disconnect(key, now),
            false => self.state.close(client, close),
        }
    }

    /// Ends a client's sessions, and makes `last` the last thing it is sent. `announce` says whether its rooms are told that it
    /// has left (`watch_quit`). The client stays until it is [removed](Hub::remove).
    pub fn end(&mut self, key: ClientKey, last: Option<Close>, announce: bool) {
        self.leave_all(key, announce);
        self.state.queue_last(key, last);
    }

    /// Removes a client whose connection is gone. `announce` is as for [`Hub::end`].
    pub fn remove(&mut self, key: ClientKey, announce: bool) {
        self.leave_all(key, announce);
        if let Some(socket) = self.state.clients.remove(key).and_then(|client| client.socket) {
            self.state.agents.release(socket.into_agent());
        }
    }

    fn leave_all(&mut self, key: ClientKey, announce: bool) {
        let Some(client) = self.state.clients.get_mut(key) else { return };
        let session = client.session.take();
        let sessions = client.socket.as_mut().map(|socket| core::mem::take(&mut socket.sessions)).unwrap_or_default();
        for session in session.into_iter().chain(sessions.into_iter().map(|(_, session)| session)) {
            self.leave_session(session, announce);
        }
    }

    /// Ends a session. Its client must be made to forget it.
    pub(crate) fn leave_session(&mut self, session: SessionKey, announce: bool) {
        let Some(pending) = self.state.sessions.get(session).map(|session| session.pending) else { return };
        if pending {
            // Nobody knows of it yet.
            return self.state.remove_session(session);
        }
        let now = self.state.now;
        self.hooks.disconnect(&mut self.state, session);
        self.cluster.session_ending(&mut self.state, session);
        let Some(ending) = self.state.sessions.get(session) else { return };
        let (tenant, rooms) = (ending.tenant, self.state.room_names(ending));
        let farewell =
            (ending.watch_quit && announce && !rooms.is_empty()).then(|| farewell(ending.identity.username()));
        let seconds = now.unix.saturating_sub(ending.identity.since());
        self.record_visit("disconnect", session, Some(seconds));
        self.state.remove_session(session);
        if let Some(farewell) = farewell {
            let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
            self.publish_from(Origin::Relay, tenant, &rooms, Data::Json(&farewell), "");
        }
    }

    /// Takes a session out of its namespace with a DISCONNECT packet, after which the client does not come back by itself.
    pub fn disconnect(&mut self, session: SessionKey, now: Now) {
        let Some((key, namespace)) =
            self.state.sessions.get(session).map(|session| (session.client, session.namespace))
        else {
            return;
        };
        self.leave_session(session, true);
        let name = self.state.namespaces[namespace as usize].name.clone();
        self.state.send_packet(key, Kind::Disconnect, &name, None, &[], |_| {});
        self.state.drop_session(key, session, now);
    }

    /// A connection of a client is gone: the client too, unless it has another one (a probe that failed, a poll).
    pub fn handle_end(&mut self, key: ClientKey, conn: ConnKey, announce: bool) {
        let gone = self.state.engine_mut(key).is_none_or(|engine| engine.handle_end(conn));
        if gone {
            self.remove(key, announce);
        } else {
            self.state.mark_dirty(key);
        }
    }
}

/// The message that tells a session's rooms that it has left; its text is what pages of node-socket-im expect.
fn farewell(username: &str) -> String {
    let text = quote(&format!("{username}退出群聊"));
    format!("{{\"username\":{},\"key\":\"user_quit\",\"msg\":{text}}}", quote(username))
}
