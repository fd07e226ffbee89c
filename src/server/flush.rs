//! The second half of a turn: effects are carried out, what was queued is written, what is over is freed.

use core::time::Duration;

use super::{
    conn::{Phase, State, WebSocket},
    event_loop::Server,
};
use crate::{
    api,
    clock::Time,
    engineio::engine::Transport,
    http::Reply,
    key::{ClientKey, ConnKey},
    outbox::{Flushed, Outbox},
    state::{Effect, client::Carrier},
    websocket::Close,
};

impl Server {
    /// The second half of a turn: what was decided is done, what was queued is written, what is over is freed. Being
    /// gone may be news for others, so it goes round until nothing is left to do.
    pub(super) fn finish_turn(&mut self) {
        loop {
            self.pump_hooks();
            self.answer_lookups();
            self.carry_out();
            self.free();
            if !self.hub.has_work() {
                break;
            }
        }
        self.pump_cluster();
        // What Redis knows nothing of is answered at once.
        if self.answer_lookups() {
            self.carry_out();
            self.free();
        }
    }

    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            self.carry_out_effect(effect);
        }
        self.flush();
    }

    fn carry_out_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Close { client, close } => self.close(client, close, true),
            Effect::Admit { client } => self.complete_login(client),
            Effect::Refuse { client, why } => self.refuse_login(client, Reply::refusal(401, &why)),
            Effect::Rearm { client } => self.arm_engine(client),
        }
    }

    pub(super) fn close(&mut self, client: ClientKey, close: Close, told: bool) {
        if self.is_login_pending(client) {
            return self.refuse_login(client, Reply::refusal(503, close.reason));
        }
        self.hub.end(client, Some(close), told);
        if let Some(Transport::Probing(probing)) = self.hub.state.engine_mut(client).map(|engine| &engine.transport) {
            let probe = probing.probe;
            self.drop_conn(probe);
        }
        let Some(key) = self.hub.state.conn(client) else { return };
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let State::WebSocket(websocket) = &mut conn.state {
            if websocket.phase != Phase::Broken {
                websocket.phase = Phase::Closing;
            }
            websocket.deadline = self.now.time.after(CLOSE_TIMEOUT);
            self.timers.arm(key, conn);
        }
    }

    /// Writes once for every client and connection that has something to send.
    fn flush(&mut self) {
        let mut flushing = core::mem::take(&mut self.flushing);
        self.hub.state.poll_dirty(&mut flushing);
        for client in &flushing {
            let (conns, dropped) = (&mut self.conns, &mut self.dropped);
            let carrier = self.hub.state.flush(*client, |key, outbox, turn, scratch| {
                let Some(conn) = conns.get_mut(key).filter(|conn| !conn.dropped) else {
                    // Its frames end with the turn.
                    *outbox = Outbox::default();
                    return;
                };
                let over = match outbox.write_to(&mut conn.socket, turn, scratch) {
                    Ok(Flushed::Blocked) => {
                        conn.blocked = true;
                        false
                    }
                    Ok(Flushed::All) => {
                        matches!(conn.state, State::WebSocket(WebSocket { phase: Phase::Closed, .. }))
                    }
                    Err(_) => true,
                };
                if over {
                    conn.dropped = true;
                    dropped.push(key);
                }
            });
            match carrier {
                Carrier::Socket(_) => continue,
                // A poll that is gone takes nothing: its session ends with it.
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
            // One that polls may be at its end.
            if self.hub.state.is_over(*client) {
                self.hub.remove(*client, false);
            }
        }
        self.flushing = flushing;
        self.hub.state.end_turn();
        for key in core::mem::take(&mut self.replied) {
            let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { continue };
            let exchange = match &mut conn.state {
                State::Http(exchange) => exchange,
                State::Probe(probe) => {
                    match probe.write_to(&mut conn.socket) {
                        Ok(Flushed::Blocked) => conn.blocked = true,
                        Ok(Flushed::All) => {}
                        Err(_) => self.drop_conn(key),
                    }
                    continue;
                }
                State::WebSocket(_) => continue,
            };
            match exchange.write_to(&mut conn.socket, &self.hub.config().limits, self.now) {
                Ok(Flushed::Blocked) => conn.blocked = true,
                Ok(Flushed::All) if exchange.is_closing() && conn.hung_up => self.drop_conn(key),
                Ok(Flushed::All) if exchange.is_closing() => {
                    // The peer may still be sending: a close now could reset the connection before it has read why.
                    conn.socket.shutdown();
                    self.timers.arm(key, conn);
                }
                Ok(Flushed::All) => {
                    if conn.paused {
                        self.schedule_read(key);
                    }
                }
                Err(_) => self.drop_conn(key),
            }
        }
    }

    pub(super) fn drop_conn(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) {
            conn.dropped = true;
            self.dropped.push(key);
        }
    }

    fn free(&mut self) {
        while let Some(key) = self.dropped.pop() {
            let Some(conn) = self.conns.remove(key) else { continue };
            if let Some(Transport::Probing(probing)) =
                conn.owner().and_then(|client| self.hub.state.engine_mut(client)).map(|engine| &engine.transport)
                && probing.probe != key
            {
                let probe = probing.probe;
                self.drop_conn(probe);
            }
            self.refused -= usize::from(conn.refused);
            if let Some(client) = conn.owner() {
                self.hub.handle_end(client, key, self.stopping.is_none());
            }
            // There is a descriptor again.
            self.accept_after = Time::START;
        }
    }
}

/// How long a peer gets to answer our close, or to take its answer.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
