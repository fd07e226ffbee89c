//! WebSocket connections: upgrades, messages, closing, and probes that take over from polling.

use core::time::Duration;

use log::debug;

use super::{
    conn::{Phase, Probe, State, WebSocket},
    event_loop::Server,
    flush::CLOSE_TIMEOUT,
};
use crate::{
    api,
    clock::Time,
    events::{self, Incoming},
    http::{Reply, exchange::Parked},
    key::{ClientKey, ConnKey, Handle},
    limits::MAX_BEFORE_LOGIN,
    memory,
    websocket::{
        Close,
        peer::{Event as Message, Peer},
    },
};

impl Server {
    /// Turns an HTTP connection into the WebSocket of a client. Unsent replies to earlier requests are sent first, and
    /// input after the request is handled as frames.
    pub(super) fn upgrade(&mut self, key: ConnKey, client: ClientKey, response: Vec<u8>, fresh: &[u8]) {
        let deadline = self.ping_deadline(key, client);
        let Some(conn) = self.conns.get_mut(key) else { return };
        // From now on the client is counted, not the connection.
        if let Some(origin) = conn.take_origin() {
            self.hub.state.origins.leave(origin);
        }
        let websocket = WebSocket { client, peer: Peer::default(), deadline, phase: Phase::Open };
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
        let max_unfinished = self.hub.state.max_unfinished(logged_in);
        let deadline = self.ping_deadline(key, client);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::WebSocket(websocket) = &mut conn.state else { return };
        if matches!(websocket.phase, Phase::Broken | Phase::Closed) {
            return;
        }
        let open = matches!(websocket.phase, Phase::Open | Phase::Pinged);
        let pinged = websocket.phase == Phase::Pinged;
        if open {
            websocket.phase = Phase::Open;
            websocket.deadline = deadline;
        }
        let mut reading = websocket.peer.handle_input(bytes, max_message);
        let mut end = None;
        while let Some(event) = reading.poll_event() {
            match event {
                Ok(Message::Text(text)) if open => {
                    events::handle_message(&mut self.hub, client, Incoming::Text(&text), self.now)
                }
                Ok(Message::Binary(data)) if open => {
                    events::handle_message(&mut self.hub, client, Incoming::Binary(&data), self.now)
                }
                Ok(Message::Text(_) | Message::Binary(_)) => {}
                Ok(Message::Closed) => end = Some(Ok(())),
                Err(error) => end = Some(Err(error)),
            }
        }
        let answer = reading.poll_transmit();
        reading.finish(&mut websocket.peer);
        if websocket.peer.is_partial() && open && memory::unfinished() > max_unfinished {
            self.hub.state.stats.unfinished_refused += 1;
            websocket.peer = Peer::default();
            websocket.phase = Phase::Broken;
            return self.hub.state.close(client, Close::UNFINISHED);
        }
        match (end, open) {
            (None, true) => {
                if let Some(answer) = answer {
                    self.hub.state.send_raw(client, &answer);
                }
                // After a ping the deadline was that of its time-out; the next ping can be due before that.
                if pinged {
                    self.timers.arm(key, conn);
                }
            }
            (Some(Ok(())), true) => {
                if let Some(answer) = answer {
                    self.hub.state.send_raw(client, &answer);
                }
                websocket.phase = Phase::Closed;
                websocket.deadline = self.now.time.after(CLOSE_TIMEOUT);
                self.hub.end(client, None, true);
                self.hub.state.mark_dirty(client);
                self.timers.arm(key, conn);
            }
            (Some(Err(error)), true) => {
                self.hub.state.stats.protocol_errors += 1;
                websocket.phase = Phase::Broken;
                debug!("client {client:?} broke the protocol: {error:?}");
                self.hub.state.close(client, error.close());
            }
            // The answer to our own close frame.
            (Some(Ok(())), false) => {
                websocket.phase = Phase::Closed;
                self.hub.state.mark_dirty(client);
            }
            (_, false) => {}
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
        let (mut upgraded, mut over) = (false, false);
        let mut polls = Vec::new();
        let mut end = None;
        while let Some(event) = reading.poll_event() {
            match event {
                Ok(Message::Text(text)) if upgraded => {
                    events::handle_message(&mut self.hub, client, Incoming::Text(&text), self.now)
                }
                Ok(Message::Binary(data)) if upgraded => {
                    events::handle_message(&mut self.hub, client, Incoming::Binary(&data), self.now);
                }
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
                    Err(_) => over = true,
                },
                event if upgraded => {
                    end = Some(event);
                    break;
                }
                _ => over = true,
            }
            if over {
                break;
            }
        }
        probe.output.extend(reading.poll_transmit().unwrap_or_default());
        over |= !upgraded && probe.output.len() > MAX_PROBE_OUTPUT;
        reading.finish(&mut probe.peer);
        if probe.peer.is_partial() && memory::unfinished() > self.hub.state.max_unfinished(logged_in) {
            self.hub.state.stats.unfinished_refused += 1;
            over = true;
        }
        if upgraded {
            self.hub.state.push_front(client, &probe.output);
            let peer = core::mem::take(&mut probe.peer);
            if let Some(origin) = probe.origin.take() {
                self.hub.state.origins.leave(origin);
            }
            let mut websocket = WebSocket { client, peer, deadline: Time::NEVER, phase: Phase::Open };
            match end {
                Some(Ok(_)) => {
                    websocket.phase = Phase::Closed;
                    self.hub.end(client, None, true);
                    self.hub.state.mark_dirty(client);
                }
                Some(Err(error)) => {
                    websocket.phase = Phase::Broken;
                    self.hub.state.close(client, error.close());
                }
                None => {}
            }
            conn.state = State::WebSocket(websocket);
        } else {
            self.replied.push(key);
        }
        if over {
            self.drop_conn(key);
        }
        for poll in polls {
            let Some(revision) = self.hub.state.engine_mut(client).map(|engine| engine.revision) else { continue };
            self.answer(poll, api::engineio::payload(api::engineio::noop(revision), false));
        }
    }

    /// Completes a login that the backend has admitted: its connection becomes a WebSocket.
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

    /// Refuses a login that waited for the backend.
    pub(super) fn refuse_login(&mut self, client: ClientKey, reply: Reply) {
        let key = self.hub.state.conn(client);
        self.hub.remove(client, false);
        if let Some(key) = key {
            self.answer(key, reply);
        }
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
        let mixed = (key.key().to_bits() ^ self.now.time.micros()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let tenth = interval / 10;
        self.now.time.ping_after(interval - tenth + (tenth * 2).mul_f64(mixed as f64 / f64::from(u32::MAX)))
    }
}

/// The most unsent bytes of a probe: the 101 response, `3probe` and some pongs.
const MAX_PROBE_OUTPUT: usize = 4096;
