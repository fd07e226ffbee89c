//! WebSocket connections: upgrades, messages, closing, and probes that take over from polling.

use core::time::Duration;

use log::debug;

use super::{
    conn::{Phase, Probe, State, WebSocket},
    ending::CLOSE_TIMEOUT,
    event_loop::Server,
};
use crate::{
    api,
    clock::Time,
    events::{self, Incoming},
    http::{Reply, parked::Parked},
    key::{ClientKey, ConnKey, Handle},
    limits::MAX_BEFORE_LOGIN,
    memory,
    state::End,
    websocket::{
        Close,
        peer::{Event as Message, Peer, Reading},
    },
};

impl Server {
    /// Turns an HTTP connection into the WebSocket or the stream of a client. Unsent replies to earlier requests are sent
    /// first, and input after the request is handled as frames; that of a stream is discarded.
    pub(super) fn upgrade(&mut self, key: ConnKey, client: ClientKey, response: Vec<u8>, fresh: &[u8]) {
        let is_stream = self.hub.state.stream_form(client).is_some();
        let deadline = match is_stream {
            true => self.now.time.ping_after(self.keep_alive_interval(key)),
            false => self.ping_deadline(key, client),
        };
        let Some(conn) = self.conns.get_mut(key) else { return };
        // From now on the client is counted, not the connection.
        if let Some(origin) = conn.take_origin() {
            self.hub.state.origins.leave(origin);
        }
        let mut websocket = WebSocket::new(client, deadline);
        if is_stream {
            websocket.phase = Phase::Stream;
            let settings = &self.hub.config().websocket;
            conn.socket.set_user_timeout(settings.ping_interval.saturating_add(settings.ping_timeout));
        }
        if let State::Http(exchange) = core::mem::replace(&mut conn.state, State::WebSocket(websocket)) {
            let (mut output, input) = exchange.into_parts();
            output.extend_from_slice(&response);
            // The Socket.IO handshake, or the welcome of a namespace, may be queued; the 101 response must come before it.
            match self.hub.state.has_waiting(client) {
                true => self.hub.state.push_front(client, &output),
                false => self.hub.state.send_raw(client, &output),
            }
            // Reading may have been paused while the request waited.
            let paused = core::mem::take(&mut conn.paused);
            self.timers.arm(key, conn);
            if paused {
                self.schedule_read(key);
            }
            let early = [&input, fresh].concat();
            if !early.is_empty() {
                self.handle_websocket(key, &early);
            }
        }
    }

    /// Handles bytes from a client's WebSocket.
    pub(super) fn handle_websocket(&mut self, key: ConnKey, bytes: &[u8]) {
        let Some(client) = self.conns.get_mut(key).and_then(|conn| conn.client()) else { return };
        let logged_in = self.hub.state.has_session(client);
        let max_message = match (self.hub.state.is_socketio(client), logged_in) {
            (true, true) => self.hub.config().socketio.max_payload,
            (true, false) => self.hub.config().socketio.max_payload.min(MAX_BEFORE_LOGIN),
            (false, _) => self.hub.config().limits.message,
        };
        let deadline = self.ping_deadline(key, client);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::WebSocket(websocket) = &mut conn.state else { return };
        match websocket.phase {
            Phase::Open | Phase::Pinged => {
                // After a ping the deadline was that of its time-out; the next ping can be due before that.
                let pinged = core::mem::replace(&mut websocket.phase, Phase::Open) == Phase::Pinged;
                websocket.deadline = deadline;
                let reading = websocket.peer.handle_input(bytes, max_message);
                if pinged {
                    self.timers.arm(key, conn);
                }
                self.handle_frames(key, client, reading, pinged);
            }
            Phase::Closing => {
                let mut reading = websocket.peer.handle_input(bytes, max_message);
                let end = core::iter::from_fn(|| reading.poll_event())
                    .find(|event| !matches!(event, Ok(Message::Text(_) | Message::Binary(_) | Message::Pong(_))));
                reading.finish(&mut websocket.peer);
                if let Some(end) = end {
                    // The answer to our close frame; or its frames cannot be read, so the answer will not be found.
                    websocket.phase = if end.is_ok() { Phase::Closed } else { Phase::Broken };
                    self.hub.state.mark_dirty(client);
                }
            }
            Phase::Stream | Phase::Broken | Phase::Closed | Phase::Left | Phase::Lingering => {
                self.discard(key, bytes.len());
            }
        }
    }

    /// Handles the frames that were read from an open WebSocket. What is sent has the order of what was received: the answer
    /// to a ping goes before what the messages after it cause, and behind what those before it cause. `pinged` says whether the
    /// client had not answered a ping.
    fn handle_frames(&mut self, key: ConnKey, client: ClientKey, mut reading: Reading<'_>, pinged: bool) {
        let (mut end, mut close_code) = (None, None);
        if self.hub.state.keeps_leavers
            && let Some(conn) = self.conns.get(key)
        {
            // It may leave with one of these frames.
            self.hub.state.note_unconfirmed(client, conn.socket.unconfirmed());
        }
        while let Some(event) = reading.poll_event() {
            if let Some(answer) = reading.poll_transmit() {
                self.hub.state.send_raw(client, &answer);
            }
            match event {
                Ok(Message::Text(text)) => {
                    events::handle_message(&mut self.hub, client, Incoming::Text(&text), self.now)
                }
                Ok(Message::Binary(data)) => {
                    events::handle_message(&mut self.hub, client, Incoming::Binary(&data), self.now)
                }
                Ok(Message::Pong(payload)) => self.hub.state.handle_pong(client, &payload),
                Ok(Message::Closed(code)) => {
                    (end, close_code) = (Some(None), code);
                }
                Err(error) => {
                    self.hub.state.stats.protocol_errors += 1;
                    debug!("client {client:?} broke the protocol: {error:?}");
                    self.hub.state.trace_client(client, format_args!("broke the protocol: {error:?}"));
                    end = Some(Some(error.close()));
                }
            }
        }
        if let Some(answer) = reading.poll_transmit() {
            self.hub.state.send_raw(client, &answer);
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::WebSocket(websocket) = &mut conn.state else { return };
        reading.finish(&mut websocket.peer);
        let state = &mut self.hub.state;
        if websocket.peer.is_partial() && memory::unfinished() > state.max_unfinished(state.has_session(client)) {
            state.stats.unfinished_refused += 1;
            end = Some(Some(Close::UNFINISHED));
        }
        match end {
            None => {}
            Some(None) => {
                websocket.phase = Phase::Closed;
                websocket.deadline = self.now.time.after(CLOSE_TIMEOUT);
                self.timers.arm(key, conn);
                let socketio = self.hub.state.is_socketio(client);
                if self.hub.state.tracks.get(client).is_some() {
                    self.hub.state.note_unconfirmed(client, conn.socket.unconfirmed());
                }
                self.hub.end(client, End::ClosedByPeer { code: close_code, socketio, pinged }, true);
                self.hub.state.mark_dirty(client);
            }
            Some(Some(close)) => {
                websocket.peer = Peer::default();
                websocket.phase = Phase::Broken;
                self.hub.state.close(client, close);
            }
        }
    }

    /// Turns an HTTP connection into a probe (docs/protocol.md, Upgrade). Until the upgrade, the session uses polling.
    pub(super) fn begin_probe(&mut self, key: ConnKey, client: ClientKey, response: &[u8], fresh: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let origin = conn.take_origin();
        let probe = Probe { client, peer: Peer::default(), output: Vec::new(), origin, answered: false };
        let State::Http(exchange) = core::mem::replace(&mut conn.state, State::Probe(probe.into())) else { return };
        let (mut output, input) = exchange.into_parts();
        output.extend_from_slice(response);
        if let State::Probe(probe) = &mut conn.state {
            probe.output = output;
        }
        self.replied.push(key);
        let early = [&input, fresh].concat();
        if !early.is_empty() {
            self.handle_probe(key, &early);
        }
    }

    /// Handles bytes from a probe. The client sends `2probe`, gets `3probe`, and sends `5` to upgrade. All frames after
    /// the `5` are packets of the session.
    pub(super) fn handle_probe(&mut self, key: ConnKey, bytes: &[u8]) {
        let max_payload = self.hub.config().socketio.max_payload;
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::Probe(probe) = &mut conn.state else { return };
        let client = probe.client;
        let logged_in = self.hub.state.has_session(client);
        let max_message = if logged_in { max_payload } else { max_payload.min(MAX_BEFORE_LOGIN) };
        let mut reading = probe.peer.handle_input(bytes, max_message);
        let (mut upgraded, mut end) = (false, None);
        let mut polls = Vec::new();
        while !upgraded
            && end.is_none()
            && let Some(event) = reading.poll_event()
        {
            probe.output.extend(reading.poll_transmit().unwrap_or_default());
            match event {
                // Answered only once, because no outbox limits the output of a probe.
                Ok(Message::Text(text)) if &*text == "2probe" && !core::mem::replace(&mut probe.answered, true) => {
                    probe.output.extend_from_slice(b"\x81\x063probe");
                    polls.extend(self.hub.state.engine_mut(client).and_then(|engine| engine.answer_probe()));
                }
                Ok(Message::Text(text)) if &*text == "5" => match self.hub.state.upgrade(client, key) {
                    Ok(poll) => {
                        upgraded = true;
                        polls.extend(poll);
                    }
                    Err(_) => end = Some(Some(Close::PROTOCOL)),
                },
                Ok(Message::Pong(_)) => {}
                Ok(Message::Closed(_)) => end = Some(None),
                Ok(Message::Text(_) | Message::Binary(_)) => end = Some(Some(Close::PROTOCOL)),
                Err(error) => end = Some(Some(error.close())),
            }
        }
        if upgraded {
            self.hub.state.push_front(client, &probe.output);
            if let Some(origin) = probe.origin.take() {
                self.hub.state.origins.leave(origin);
            }
            conn.state = State::WebSocket(WebSocket::new(client, Time::NEVER));
            self.handle_frames(key, client, reading, false);
        } else {
            probe.output.extend(reading.poll_transmit().unwrap_or_default());
            reading.finish(&mut probe.peer);
            if probe.peer.is_partial() && memory::unfinished() > self.hub.state.max_unfinished(logged_in) {
                self.hub.state.stats.unfinished_refused += 1;
                end = Some(Some(Close::UNFINISHED));
            }
            match end {
                Some(close) => self.end_probe(key, close),
                None if probe.output.len() > MAX_PROBE_OUTPUT => self.drop_conn(key),
                None => self.replied.push(key),
            }
        }
        for poll in polls {
            let noop = api::engineio::noop(self.hub.state.engine_mut(client));
            self.answer(poll, noop);
        }
    }

    /// Completes a login that the backend has admitted: its connection becomes a WebSocket or a stream.
    pub(super) fn complete_login(&mut self, client: ClientKey) {
        let Some(key) = self.hub.state.conn(client) else { return };
        let limits = self.hub.config().limits.clone();
        let parked = match self.conns.get_mut(key).map(|conn| &mut conn.state) {
            Some(State::Http(exchange)) => exchange.unpark(&limits, self.now),
            _ => None,
        };
        if let Some(Parked::Login { response, .. }) = parked {
            self.upgrade(key, client, response, &[]);
        }
    }

    /// Refuses a login that waited for the backend. `temporary` says that it may be admitted later.
    pub(super) fn refuse_login(&mut self, client: ClientKey, reply: Reply, temporary: bool) {
        let key = self.hub.state.conn(client);
        self.hub.remove(client, false);
        let Some(key) = key else { return };
        let event_source = match self.conns.get(key).map(|conn| &conn.state) {
            Some(State::Http(exchange)) => {
                matches!(exchange.parked(), Some(Parked::Login { event_source: true, .. }))
            }
            _ => false,
        };
        match temporary && event_source {
            true => self.answer(key, api::stream::come_back(self.seed(key))),
            false => self.answer(key, reply),
        }
    }

    /// How long a stream sends nothing. Less a random fifth, so that streams that began together are not written to together.
    pub(super) fn keep_alive_interval(&self, key: ConnKey) -> Duration {
        let interval = self.hub.config().websocket.ping_interval.min(MAX_SILENCE);
        interval - (interval / 5).mul_f64(self.random(key))
    }

    /// A number that differs between connections and from turn to turn.
    pub(super) fn seed(&self, key: ConnKey) -> u64 {
        key.key().to_bits() ^ self.now.time.micros()
    }

    /// A number from 0 to 1 that is as good as random.
    fn random(&self, key: ConnKey) -> f64 {
        let mixed = self.seed(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed as f64 / f64::from(u32::MAX)
    }

    /// Whether a client's login waits for the backend.
    pub(super) fn is_login_pending(&self, client: ClientKey) -> bool {
        let conn = self.hub.state.conn(client).and_then(|key| self.conns.get(key));
        matches!(conn.map(|conn| &conn.state), Some(State::Http(_)))
    }

    /// When to ping a client that is active now: after the ping interval, plus or minus a random tenth, so that clients that
    /// connected together are not pinged together. Engine.IO sessions have their own heartbeat.
    pub(super) fn ping_deadline(&self, key: ConnKey, client: ClientKey) -> Time {
        if self.hub.state.is_socketio(client) {
            return Time::NEVER;
        }
        let interval = self.hub.config().websocket.ping_interval;
        if interval < Duration::from_secs(1) {
            return self.now.time.after(interval);
        }
        let tenth = interval / 10;
        self.now.time.ping_after(interval - tenth + (tenth * 2).mul_f64(self.random(key)))
    }
}

/// The longest time that a stream sends nothing: proxies and browsers take silence for a dead connection (WHATWG HTML,
/// Server-sent events, Authoring notes).
const MAX_SILENCE: Duration = Duration::from_secs(15);
/// The most unsent bytes of a probe: the 101 response, `3probe` and some pongs.
const MAX_PROBE_OUTPUT: usize = 4096;
