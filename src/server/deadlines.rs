//! Deadlines: what each turn does when their time has come.

use log::debug;

use super::{
    conn::{Phase, State},
    event_loop::Server,
};
use crate::{engineio::engine::Expired, events, http::timeout::Timeout, message::stream, websocket::Close};

impl Server {
    /// Handles all deadlines that have passed.
    pub(super) fn expire(&mut self) {
        self.expire_conns();
        while let Some(client) = self.engines.poll_expired(&mut self.hub.state, self.now.time) {
            if let Expired::Probe(probe) = self.hub.state.expire_engine(client, self.now) {
                self.end_probe(probe, Some(Close::UNRESPONSIVE));
            }
            self.arm_engine(client);
        }
        self.look_at_streams();
        self.stalls.look(&mut self.conns, &mut self.hub.state, self.now.time);
        events::handle_timeout(&mut self.hub, self.now);
        self.expire_hooks();
        self.expire_cluster();
        if self.status_due <= self.now.time {
            self.send_status();
        }
        if self.reload.deadline() <= self.now.time {
            self.handle_reload();
        }
        if self.tls.warning_due() <= self.now.time {
            self.warn_about_certificates();
        }
    }

    /// Handles the deadlines of connections: request timeouts, pings, and closing handshakes.
    fn expire_conns(&mut self) {
        while let Some(key) = self.timers.poll_expired(&mut self.conns, self.now.time) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            if conn.tls && self.tls.is_handshaking(key) {
                self.expire_handshake(key);
                continue;
            }
            let keep_alive = self.now.time.ping_after(self.keep_alive_interval(key));
            let Some(conn) = self.conns.get_mut(key) else { continue };
            match &mut conn.state {
                State::Http(exchange) => match exchange.handle_timeout(self.now) {
                    Timeout::Early => {}
                    Timeout::Refuse(error) => self.refuse_late(key, error),
                    Timeout::Overdue(error) => self.refuse_request(key, error),
                    Timeout::Replied => self.replied.push(key),
                    Timeout::Close => self.drop_conn(key),
                },
                State::WebSocket(websocket) => match websocket.phase {
                    Phase::Open => {
                        websocket.phase = Phase::Pinged;
                        websocket.deadline = self.now.time.after(self.hub.config().websocket.ping_timeout);
                        self.hub.state.ping(websocket.client);
                    }
                    Phase::Stream => {
                        let client = websocket.client;
                        websocket.deadline = keep_alive;
                        // Bytes that wait will show as much once they are sent.
                        if let Some(form) = self.hub.state.stream_form(client)
                            && !self.hub.state.has_waiting(client)
                        {
                            self.hub.state.send_raw(client, stream::keep_alive(form));
                        }
                    }
                    Phase::Pinged => {
                        self.hub.state.stats.ping_timeouts += 1;
                        let timeout = self.hub.config().websocket.ping_timeout;
                        let client = websocket.client;
                        debug!("client {client:?} did not answer a ping in {timeout:?}");
                        self.hub.state.trace_client(client, format_args!("did not answer a ping in {timeout:?}"));
                        self.hub.state.note_timeout(client);
                        self.drop_conn(key);
                    }
                    _ => self.drop_conn(key),
                },
                State::Ending(_) => self.drop_conn(key),
                State::Probe(_) => {}
            }
            if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) {
                self.timers.arm(key, conn);
            }
        }
    }
}
