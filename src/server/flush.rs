//! The second half of a turn: carrying out effects, writing what is queued, and freeing closed connections.

use super::{
    conn::{Phase, State, WRITES_PER_TURN, write_output},
    ending::CLOSE_TIMEOUT,
    event_loop::Server,
};
use crate::{
    api,
    clock::Time,
    engineio::engine::Transport,
    http::Reply,
    key::{ClientKey, ConnKey},
    outbox::Flushed,
    state::{Effect, End, client::Carrier},
    websocket::Close,
};

impl Server {
    /// The second half of a turn: carries out effects, writes, and frees. A disconnect can cause more work, so this repeats
    /// until nothing is left, except for clients that are flushed in the next turns.
    pub(super) fn finish_turn(&mut self) {
        self.keep_memory_limit();
        self.hub.feed();
        loop {
            self.pump_hooks();
            self.answer_lookups();
            self.carry_out(false);
            self.free();
            let writes = self.hub.state.is_dirty() && self.writes_left > 0;
            if !self.hub.has_work() && !writes {
                break;
            }
        }
        self.pump_cluster();
        // Look-ups that failed, for example because Redis is not connected, are answered in this turn.
        if self.answer_lookups() {
            self.carry_out(false);
            self.free();
        }
    }

    /// Carries out all effects, then writes to clients with queued frames: as many as the turn has writes left, or `all`, if
    /// no more may be queued for them before.
    pub(super) fn carry_out(&mut self, all: bool) {
        self.carry_out_effects();
        loop {
            self.flush_clients();
            if !(all && self.hub.state.is_dirty()) {
                break;
            }
            // Thousands of clients that fall behind at once can take much memory.
            self.keep_memory_limit();
            self.writes_left = WRITES_PER_TURN;
        }
        self.flush_replies();
    }

    pub(super) fn carry_out_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            self.carry_out_effect(effect);
        }
    }

    /// Carries out one effect.
    fn carry_out_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Close { client, close } => self.close(client, close, true),
            Effect::Lose { client } => self.lose(client),
            Effect::NoteStall { client } => {
                self.note_unconfirmed(client);
                self.hub.state.note_stall(client);
            }
            Effect::SetAside { client } => {
                self.note_unconfirmed(client);
                self.hub.set_aside(client);
            }
            Effect::Admit { client } => self.complete_login(client),
            Effect::Refuse { client, why, undecided } => {
                self.refuse_login(client, Reply::refusal(401, &why), undecided);
            }
            Effect::Rearm { client } => self.arm_engine(client),
            Effect::Answer { conn, body } => self.answer(conn, Reply::json(200, body)),
        }
    }

    /// Ends a client's sessions and queues its close frame. For `announce` see [`Hub::end`](crate::hub::Hub::end). A
    /// WebSocket ends after the closing handshake, at the latest after [`CLOSE_TIMEOUT`]. A login that waits for the
    /// backend is answered with 503. Call it once for each client: it must not get a second close frame.
    pub(super) fn close(&mut self, client: ClientKey, close: Close, announce: bool) {
        if self.is_login_pending(client) {
            return self.refuse_login(client, Reply::refusal(503, close.reason), true);
        }
        self.hub.end(client, End::Closed(close), announce);
        if let Some(Transport::Probing(probing)) = self.hub.state.engine_mut(client).map(|engine| &engine.transport) {
            let probe = probing.probe;
            self.end_probe(probe, Some(close));
        }
        let Some(key) = self.hub.state.conn(client) else { return };
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let State::WebSocket(websocket) = &mut conn.state {
            // The peer may have closed, broken the protocol or left after this close was decided.
            if matches!(websocket.phase, Phase::Open | Phase::Pinged) {
                websocket.phase = Phase::Closing;
            }
            if websocket.phase == Phase::Stream {
                websocket.phase = Phase::Closed;
                // Even if nothing is queued for it, the flush ends it.
                self.hub.state.mark_dirty(client);
            }
            websocket.deadline = self.now.time.after(CLOSE_TIMEOUT);
            self.timers.arm(key, conn);
        }
    }

    /// Looks how much of what was sent to a client its peer has not confirmed.
    fn note_unconfirmed(&mut self, client: ClientKey) {
        if self.hub.state.tracks.get(client).is_none() {
            return;
        }
        if let Some(conn) = self.hub.state.conn(client).and_then(|key| self.conns.get(key)) {
            self.hub.state.note_unconfirmed(client, conn.socket.unconfirmed());
        }
    }

    /// Ends a client as lost.
    fn lose(&mut self, client: ClientKey) {
        let carrier = self.hub.state.carrier(client);
        match carrier {
            Carrier::Socket(key) | Carrier::Poll(key) => self.drop_conn(key),
            Carrier::Nothing => self.hub.remove(client, true),
        }
    }

    /// Writes to clients: to their WebSockets, or as the reply to their polls. The rest is left for the next turn once
    /// [`WRITES_PER_TURN`] is reached, so that a large fan-out does not delay other connections. A large message counts as
    /// [`LARGE_WRITE`] writes.
    fn flush_clients(&mut self) {
        let cost = if self.hub.state.has_large_frames() { LARGE_WRITE } else { 1 };
        let mut flushing = core::mem::take(&mut self.flushing);
        self.hub.state.poll_dirty(self.writes_left.div_ceil(cost), &mut flushing);
        self.writes_left = self.writes_left.saturating_sub(flushing.len() * cost);
        self.hub.state.ask_written(&flushing);
        let watches = !self.hub.state.tracks.is_empty();
        for client in &flushing {
            let (conns, dropped, tls) = (&mut self.conns, &mut self.dropped, &mut self.tls);
            let (stalls, now) = (&mut self.stalls, self.now.time);
            let carrier = self.hub.state.flush(*client, |key, outbox, turn, scratch| {
                let Some(conn) = conns.get_mut(key).filter(|conn| !conn.dropped) else {
                    // The connection is gone. How much was queued matters until its client is freed, but the outbox must not
                    // refer to frames of this turn.
                    outbox.keep(turn);
                    return;
                };
                let waiting = if watches { outbox.bytes() } else { 0 };
                let written = match conn.tls {
                    false => outbox.write_to(&mut conn.socket, turn, scratch),
                    true => outbox.write_to(&mut tls.sessions().writer(key, true, &mut conn.socket), turn, scratch),
                };
                if watches {
                    let sent = conn.sent;
                    conn.sent = sent.wrapping_add((waiting - outbox.bytes()) as u32);
                    if !conn.watched {
                        conn.watched = true;
                        stalls.watch(*client, key, sent, now);
                    }
                }
                let over = match written {
                    Ok(Flushed::Blocked) => {
                        conn.blocked = true;
                        if conn.tls && tls.sessions().get(key).is_some_and(|session| session.holds_byte()) {
                            outbox.mark_begun();
                        }
                        false
                    }
                    Ok(Flushed::All) => conn.ends_when_flushed(),
                    Err(_) => {
                        conn.dropped = true;
                        true
                    }
                };
                if over {
                    dropped.push(key);
                }
            });
            let Some(carrier) = carrier else { continue };
            match carrier {
                Carrier::Socket(_) => continue,
                // The poll is gone and cannot be answered. The session ends when its connection is freed.
                Carrier::Poll(key) if self.conns.get_mut(key).is_none_or(|conn| conn.dropped) => {
                    self.hub.state.keep(*client)
                }
                Carrier::Poll(key) => {
                    if let Some((body, binary)) = self.hub.state.compose(*client) {
                        self.answer(key, api::engineio::payload(body, binary));
                    }
                }
                Carrier::Nothing => self.hub.state.keep(*client),
            }
            // A polling session ends once its last packets are sent.
            if self.hub.state.is_closed_poller(*client) {
                self.hub.remove(*client, false);
            }
        }
        self.hub.flushed(&flushing);
        self.flushing = flushing;
        self.hub.state.end_flush();
    }

    /// Writes HTTP replies and the output of probes.
    fn flush_replies(&mut self) {
        for key in core::mem::take(&mut self.replied) {
            let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { continue };
            let sessions = self.tls.sessions();
            let exchange = match &mut conn.state {
                State::Http(exchange) => exchange,
                State::Probe(probe) => {
                    match write_output(&mut probe.output, &mut sessions.writer(key, conn.tls, &mut conn.socket)) {
                        Ok(Flushed::Blocked) => conn.blocked = true,
                        Ok(Flushed::All) => {}
                        Err(_) => self.drop_conn(key),
                    }
                    continue;
                }
                State::Ending(ending) => {
                    match write_output(&mut ending.output, &mut sessions.writer(key, conn.tls, &mut conn.socket)) {
                        Ok(Flushed::Blocked) => conn.blocked = true,
                        Ok(Flushed::All) if !ending.left => sessions.shutdown(key, conn),
                        Ok(Flushed::All) | Err(_) => self.drop_conn(key),
                    }
                    continue;
                }
                State::WebSocket(_) => continue,
            };
            let mut out = sessions.writer(key, conn.tls, &mut conn.socket);
            match exchange.write_to(&mut out, &self.hub.config().limits, self.now) {
                Ok(Flushed::Blocked) => conn.blocked = true,
                Ok(Flushed::All) if exchange.is_closing() && conn.hung_up => self.drop_conn(key),
                Ok(Flushed::All) if exchange.is_closing() => {
                    // The peer may still be sending. Closing now could reset the connection before the peer has read the reply.
                    sessions.shutdown(key, conn);
                    self.timers.arm(key, conn);
                }
                Ok(Flushed::All) => {
                    // The request was handled just before relay was stopped.
                    if self.stopping.is_some() && exchange.expire_when_idle(&self.hub.config().limits, self.now) {
                        self.timers.arm(key, conn);
                        self.schedule_read(key);
                    } else if conn.paused {
                        self.schedule_read(key);
                    }
                }
                Err(_) => self.drop_conn(key),
            }
        }
    }

    /// Schedules a connection to be closed and freed at the end of the turn.
    pub(super) fn drop_conn(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) {
            conn.dropped = true;
            self.dropped.push(key);
        }
    }

    /// Frees the dropped connections, and ends the clients that depend on them. WebSockets whose last frame was written are
    /// ended first.
    fn free(&mut self) {
        while let Some(key) = self.dropped.pop() {
            if !self.end_websocket(key) {
                continue;
            }
            let Some(mut conn) = self.conns.remove(key) else { continue };
            self.end_tls(key, &mut conn);
            if let Some(origin) = conn.take_origin() {
                self.hub.state.origins.leave(origin);
            }
            if let Some(Transport::Probing(probing)) =
                conn.owner().and_then(|client| self.hub.state.engine_mut(client)).map(|engine| &engine.transport)
                && probing.probe != key
            {
                let probe = probing.probe;
                self.end_probe(probe, Some(Close::NORMAL));
            }
            self.refused -= usize::from(conn.refused);
            self.metrics_conns -= usize::from(conn.is_metrics_only());
            if let Some(answer) = conn.receipts() {
                self.hub.receipts.cancel(answer, &mut self.hub.state);
            }
            if let Some(client) = conn.client() {
                self.hub.receipts.forget(client, &mut self.hub.state);
            }
            if let Some(client) = conn.client().filter(|client| self.hub.state.tracks.get(*client).is_some()) {
                self.hub.state.note_unconfirmed(client, conn.socket.unconfirmed());
                conn.socket.reset_at_end();
            }
            if let Some(client) = conn.owner() {
                self.hub.handle_end(client, key, self.stopping.is_none());
            }
            // A descriptor is free, so accepting can resume.
            self.accept_after = Time::START;
        }
    }
}

/// How many small writes a large one counts as: the kernel copies a megabyte in some 300 µs.
const LARGE_WRITE: usize = 16;
