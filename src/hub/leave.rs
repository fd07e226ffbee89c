//! The end of sessions and clients.

use core::time::Duration;

use log::warn;

use super::{Hub, publish::Origin};
use crate::{
    clock::{Now, Time},
    journal::{More, Reason, What},
    json::quote,
    key::{ClientKey, ConnKey, SessionKey},
    language::Language,
    message::Data,
    presence::farewells::Farewell,
    socketio::Kind,
    state::{Departure, End, close_reason::CloseReason},
    trace::Quoted,
    websocket::Close,
};

impl Hub {
    /// Ends a session after a reload. A Socket.IO client gets the reason as `sys_error`, because its DISCONNECT has none, or as
    /// the refusal of its pending login.
    pub fn expel_with_reason(&mut self, key: SessionKey, close: Close, now: Now) {
        let Some(session) = self.state.sessions.get(key) else { return };
        let (client, namespace, pending) = (session.client, session.namespace, session.pending);
        let Some(revision) = self.state.engine_mut(client).map(|engine| engine.revision) else {
            return self.expel(key, close, now);
        };
        let namespace = self.state.namespaces[namespace as usize].name.clone();
        if pending {
            self.leave_session(key, Departure::Goodbye, CloseReason::of_close(close), false);
            self.state.drop_session(client, key, now);
            return self.state.refuse(client, revision, &namespace, close.reason);
        }
        self.state.send_event(client, &namespace, "sys_error", &quote(close.reason));
        self.disconnect(key, close, now);
    }

    /// Ends a session at the request of an operator or the backend. A Socket.IO client stays in its
    /// other namespaces; any other client is closed with `close`.
    pub fn expel(&mut self, key: SessionKey, close: Close, now: Now) {
        let Some(client) = self.state.sessions.get(key).map(|session| session.client) else { return };
        match self.state.is_socketio(client) {
            true => self.disconnect(key, close, now),
            false => self.state.close(client, close),
        }
    }

    /// Ends a client's sessions, and queues the close frame, if `how` has one, after its other frames. If `announce` is
    /// set, sessions with `watch_quit` publish the `user_quit` message to their rooms (docs/protocol.md, user_quit).
    /// The client stays until [`Hub::remove`].
    pub fn end(&mut self, key: ClientKey, how: End, announce: bool) {
        let stream = self.state.stream_form(key);
        let last = if let End::Closed(close) = how { Some(close) } else { None };
        self.leave_all(key, how, announce);
        self.state.queue_last(key, last, stream);
    }

    /// Ends the sessions of a client that takes its connection for lost. The client stays until [`Hub::remove`].
    pub(crate) fn lose(&mut self, key: ClientKey) {
        self.leave_all(key, End::Lost, true);
    }

    /// Removes a client whose connection is gone. For `announce` see [`Hub::end`].
    pub fn remove(&mut self, key: ClientKey, announce: bool) {
        self.leave_all(key, End::Lost, announce);
        self.state.remove_client(key);
    }

    fn leave_all(&mut self, key: ClientKey, how: End, announce: bool) {
        // First: a track that was only begun for a receipt says nothing about a return.
        self.receipts.forget(key, &mut self.state);
        // What was decided first counts: a client that has said goodbye may cut its connection in the same turn.
        let how = self.state.take_decided_end(key).unwrap_or(how);
        // Nobody comes back to this process when relay stops.
        let position = if announce { self.position_at_loss(key) } else { None };
        self.replays.remove(&mut self.history, &self.state, key);
        if how == End::Closed(Close::SLOW) {
            let bytes = self.state.clients.get(key).map_or(0, |client| client.outbox.bytes());
            let count = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.state.write_journal_of(key, What::Slow, More { count, ..More::default() });
            self.warn_slow(key, bytes);
        }
        let Some(client) = self.state.clients.get_mut(key) else { return };
        let session = client.session.take();
        let sessions = client.socket.as_mut().map(|socket| core::mem::take(&mut socket.sessions)).unwrap_or_default();
        for session in session.into_iter().chain(sessions.into_iter().map(|(_, session)| session)) {
            self.note_end(session, how, position);
            if let Some(position) = position {
                self.keep_away(session, how, position);
            }
            self.leave_session(session, how.departure(), CloseReason::of(how), announce);
        }
        self.note_answer(key);
    }

    /// Logs that a client is closed as a slow consumer: at most one line a second, because thousands can be slow at once.
    fn warn_slow(&mut self, key: ClientKey, bytes: usize) {
        let Some(session) = self.state.sessions_of(key).first().copied() else { return };
        let Some(left_out) = self.state.slow_warnings.pass(Duration::from_secs(1), self.state.now.time) else { return };
        let more = if left_out > 0 { format!(" ({left_out} such warnings were left out)") } else { String::new() };
        let (who, rooms) = (self.state.described(session), self.state.sessions.get(session));
        let rooms = rooms.map_or_else(String::new, |session| self.state.room_names(session).join(","));
        warn!(
            "{who} is closed as a slow consumer: {bytes} bytes wait for it, and its network or its page does not read them; \
             rooms {}{more}",
            Quoted(&rooms)
        );
    }

    /// Writes the end of a session to the journal.
    fn note_end(&mut self, session: SessionKey, how: End, position: Option<u64>) {
        if self.state.traces.is_on() {
            let is_pending = self.state.is_pending(session);
            let before = if is_pending { " before the backend has decided" } else { "" };
            let what = if how.departure() == Departure::Loss { "lost" } else { "ended" };
            self.state.trace_session(session, format_args!("{what}{before}: {}", how.words(Language::English)));
        }
        if !self.state.journal.is_on() || self.state.sessions.get(session).is_none_or(|session| session.pending) {
            return;
        }
        let what = if how.departure() == Departure::Loss { What::Lost } else { What::Ended };
        let (stamp, count) = (position.unwrap_or(0), position.is_some().into());
        let reason = Reason::new(|language| how.words(language));
        self.state.write_journal(session, what, More { stamp, count, reason });
    }

    /// Ends a session: queues the disconnect call to the backend and the removal of the presence record, writes the
    /// line to `client.log`, removes the session, and publishes the `user_quit` message to its rooms if it has
    /// `watch_quit` and `announce` is set. Call and message wait for `presence.grace` if the session was lost. The caller removes
    /// it from its client.
    fn leave_session(&mut self, session: SessionKey, departure: Departure, reason: CloseReason, announce: bool) {
        let Some(pending) = self.state.sessions.get(session).map(|session| session.pending) else { return };
        self.forget_return(session);
        if pending {
            // It was never admitted: it has no room, no presence record and no line in the log.
            return self.state.remove_session(session, departure);
        }
        self.state.stats.count_close(reason, departure);
        let now = self.state.now;
        // Nobody waits for anybody when relay stops, and one without a user cannot come back.
        let has_user = self.state.sessions.get(session).is_some_and(|session| !session.identity.userid().is_empty());
        let waits = departure == Departure::Loss && has_user && announce && self.presence.tracker.waits();
        let call = match waits {
            true => self.hooks.begin_disconnect(&self.state, session),
            false => {
                self.hooks.disconnect(&mut self.state, session);
                None
            }
        };
        self.cluster.session_ending(&mut self.state, session);
        let Some(ending) = self.state.sessions.get(session) else { return };
        let (tenant, rooms) = (ending.tenant, self.state.room_names(ending));
        let says_quit = ending.wants.quit() && announce && !rooms.is_empty();
        if waits && (says_quit || call.is_some()) {
            let (userid, username) = (ending.identity.userid().into(), ending.identity.username().into());
            let farewell = Farewell { tenant, rooms: rooms.clone(), userid, username, quits: says_quit, call };
            self.presence.farewells.add(now.time.after(self.presence.tracker.grace()), farewell);
        }
        let quit_message = (says_quit && !waits)
            .then(|| quit_message(ending.identity.username(), &self.state.texts(tenant).user_quit));
        let seconds = now.unix.saturating_sub(ending.identity.since());
        self.record_visit("disconnect", session, Some((seconds, reason)));
        self.state.remove_session(session, departure);
        if let Some(message) = quit_message {
            let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
            self.publish_from(Origin::Relay, tenant, &rooms, Data::Json(&message), "");
        }
    }

    /// Says what waited for the grace about sessions that were lost. With `all`, calls to the backend that are not due are sent
    /// as well, because relay stops.
    pub fn say_farewells(&mut self, all: bool) {
        let until = if all { Time::NEVER } else { self.state.now.time };
        while let Some(mut farewell) = self.presence.farewells.poll(until) {
            let returned = farewell.is_back(&self.presence.tracker);
            if let Some((lane, body)) = farewell.call.take() {
                self.hooks.disconnect_lost(&mut self.state, lane, body, returned);
            }
            let rooms = farewell.left_rooms(&self.presence.tracker);
            if farewell.quits && !all && !rooms.is_empty() {
                let message = quit_message(&farewell.username, &self.state.texts(farewell.tenant).user_quit);
                self.publish_from(Origin::Relay, farewell.tenant, &rooms, Data::Json(&message), "");
            }
        }
    }

    /// Ends a Socket.IO session whose client has sent a DISCONNECT packet. The caller removes it from its client.
    pub(crate) fn leave(&mut self, session: SessionKey) {
        let client = self.state.sessions.get(session).map(|session| session.client);
        if let Some(position) = client.and_then(|client| self.position_at_loss(client)) {
            self.keep_away(session, End::Left, position);
        }
        self.note_end(session, End::Left, None);
        self.leave_session(session, End::Left.departure(), CloseReason::of(End::Left), true);
    }

    /// Ends a Socket.IO session with a DISCONNECT packet, for the reason of `close`. Official clients do not reconnect by
    /// themselves after it.
    fn disconnect(&mut self, session: SessionKey, close: Close, now: Now) {
        let Some((key, namespace)) =
            self.state.sessions.get(session).map(|session| (session.client, session.namespace))
        else {
            return;
        };
        self.note_end(session, End::Expelled, None);
        self.leave_session(session, End::Expelled.departure(), CloseReason::of_close(close), true);
        let name = self.state.namespaces[namespace as usize].name.clone();
        self.state.send_packet(key, Kind::Disconnect, &name, None, &[], |_| {});
        self.state.drop_session(key, session, now);
    }

    /// Handles the end of a client's connection. Removes the client, unless its Engine.IO session can go on without
    /// this connection (a failed probe, or a connection without a pending poll).
    pub fn handle_end(&mut self, key: ClientKey, conn: ConnKey, announce: bool) {
        let gone = self.state.engine_mut(key).is_none_or(|engine| engine.handle_end(conn));
        if gone {
            self.remove(key, announce);
        } else {
            self.state.mark_dirty(key);
        }
    }
}

/// The data of the `user_quit` message. Pages of node-socket-im show its text.
fn quit_message(username: &str, text: &str) -> String {
    let text = quote(&text.replace("{username}", username));
    format!("{{\"username\":{},\"key\":\"user_quit\",\"msg\":{text}}}", quote(username))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        growth::{assert_linear, processor_time},
        message::{Form, MessageId},
        state::{
            Effect, Wants,
            testing::{Login, config, received, session},
        },
    };

    /// A hub, a session with `watch_quit`, and another member of its room.
    fn hub() -> (Hub, SessionKey, SessionKey) {
        let config = config("[sources.one]\nsign_key = \"key\"\n[message_log]\ndir = \"log\"\n");
        let mut hub = Hub::new(config, MessageId::first(1000, 7), [0; 32]);
        hub.begin_turn(Now { unix: 1_795_219_200, ..Now::default() });
        let [leaving, other] =
            [(); 2].map(|()| session(&mut hub.state, Login { rooms: "room", form: Form::Text, ..Login::default() }));
        hub.state.sessions.get_mut(leaving).unwrap().wants = Wants::new(true, false);
        (hub, leaving, other)
    }

    fn client(hub: &Hub, key: SessionKey) -> ClientKey {
        hub.state.sessions.get(key).unwrap().client
    }

    #[test]
    fn the_end_of_a_session_is_logged_and_announced() {
        let (mut hub, leaving, other) = hub();
        hub.remove(client(&hub, leaving), true);
        assert_eq!(received(&mut hub.state, other), [quit_message("", "退出群聊")]);
        assert_eq!((hub.state.session_count(), hub.state.client_count()), (1, 1));
        let files = hub.log.take();
        let lines: Vec<String> = files.values().map(|lines| String::from_utf8(lines.clone()).unwrap()).collect();
        assert!(lines.iter().any(|line| line.contains("\"disconnect\"") && line.contains("\"seconds\"")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("user_quit")), "{lines:?}");
    }

    /// The end that was decided first counts.
    #[test]
    fn a_client_that_answers_no_ping() {
        for (closed, reason) in [(None, CloseReason::Timeout), (Some(Close::OPERATOR), CloseReason::Operator)] {
            let (mut hub, leaving, _) = hub();
            let key = client(&hub, leaving);
            closed.into_iter().for_each(|close| hub.state.close(key, close));
            hub.state.note_timeout(key);
            hub.remove(key, true);
            let lines: Vec<String> =
                hub.log.take().into_values().map(|lines| String::from_utf8(lines).unwrap()).collect();
            let reason = format!("\"reason\":\"{}\"", reason.name());
            assert!(lines.iter().any(|line| line.contains("\"disconnect\"") && line.contains(&reason)), "{lines:?}");
        }
    }

    /// No end looks through all others that are decided.
    #[test]
    fn many_clients_are_closed_in_one_turn() {
        assert_linear(1000, |count| {
            let (mut hub, _, _) = hub();
            let clients: Vec<_> = (0..count)
                .map(|_| {
                    let login = Login { rooms: "room", form: Form::Text, ..Login::default() };
                    let key = session(&mut hub.state, login);
                    client(&hub, key)
                })
                .collect();
            clients.iter().for_each(|key| hub.state.close(*key, Close::EXPIRED));
            let begin = processor_time();
            while let Some(effect) = hub.poll_effect() {
                if let Effect::Close { client, close } = effect {
                    hub.end(client, End::Closed(close), true);
                }
            }
            assert_eq!(hub.state.session_count(), 2);
            processor_time() - begin
        });
    }

    #[test]
    fn nothing_is_announced_when_relay_stops() {
        let (mut hub, leaving, other) = hub();
        let key = client(&hub, leaving);
        hub.end(key, End::Closed(Close::GOING_AWAY), false);
        assert!(received(&mut hub.state, other).is_empty());
        assert_eq!((hub.state.session_count(), hub.state.client_count()), (1, 2), "the client gets its close frame");
        assert!(hub.state.has_waiting(key) && hub.state.is_ending(key));
        hub.remove(key, false);
        assert_eq!(hub.state.client_count(), 1);
    }

    #[test]
    fn a_pending_session_ends_without_a_trace() {
        let (mut hub, leaving, other) = hub();
        hub.state.sessions.get_mut(leaving).unwrap().pending = true;
        hub.remove(client(&hub, leaving), true);
        assert!(received(&mut hub.state, other).is_empty() && hub.log.take().is_empty());
    }
}
