//! The end of WebSockets. relay closes its side of the connection first (RFC 6455 section 7.1.1), discards what still
//! arrives, and frees the connection when the peer has closed its side too.

use core::time::Duration;

use log::debug;

use super::{
    conn::{Ending, Phase, State},
    event_loop::Server,
};
use crate::{
    frame::{Batch, Opcode},
    key::ConnKey,
    state::End,
    websocket::{Close, peer::Peer},
};

impl Server {
    /// Ends a WebSocket whose last frame was written: closes our side, so that the peer sees the end at once, and waits for the
    /// peer to close its side. Returns whether there is nothing to wait for.
    pub(super) fn end_websocket(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return true };
        let State::WebSocket(websocket) = &mut conn.state else { return true };
        if websocket.phase == Phase::Left {
            return true;
        }
        websocket.phase = Phase::Lingering;
        websocket.deadline = self.now.time.after(CLOSE_TIMEOUT);
        self.tls.sessions().shutdown(key, conn);
        self.timers.arm(key, conn);
        false
    }

    /// Discards input of a WebSocket that has ended. Above [`MAX_DISCARDED`] the connection is reset.
    pub(super) fn discard(&mut self, key: ConnKey, length: usize) {
        let discarded = match self.conns.get_mut(key).map(|conn| &mut conn.state) {
            Some(State::WebSocket(websocket)) => &mut websocket.discarded,
            Some(State::Ending(ending)) => &mut ending.discarded,
            Some(State::Http(_) | State::Probe(_)) | None => return,
        };
        *discarded = discarded.saturating_add(length as u32);
        if *discarded > MAX_DISCARDED {
            self.drop_conn(key);
        }
    }

    /// Handles the end of the input of a WebSocket. What is queued for the peer is sent first, because it may still read.
    pub(super) fn handle_websocket_end(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match &mut conn.state {
            State::WebSocket(websocket) => {
                let client = websocket.client;
                if websocket.phase == Phase::Stream {
                    // It has nothing to send, so the end of its input is its end.
                    return self.drop_conn(key);
                }
                let is_open = matches!(websocket.phase, Phase::Open | Phase::Pinged);
                if is_open {
                    debug!("client {client:?} left without a closing handshake");
                }
                let is_closing = self.hub.state.is_ending(client) && websocket.phase != Phase::Lingering;
                // It gets what waits when it comes back, so it must not get it now.
                let comes_back = is_open && self.hub.state.tracks.get(client).is_some();
                if comes_back || (!is_closing && !self.hub.state.has_waiting(client)) {
                    return self.drop_conn(key);
                }
                websocket.peer = Peer::default();
                websocket.phase = Phase::Left;
                websocket.deadline = self.now.time.after(CLOSE_TIMEOUT);
                self.timers.arm(key, conn);
                if is_open {
                    self.hub.end(client, End::Lost, self.stopping.is_none());
                }
                self.hub.state.mark_dirty(client);
            }
            State::Ending(ending) if !ending.output.is_empty() => {
                ending.left = true;
                self.replied.push(key);
            }
            State::Ending(_) | State::Http(_) | State::Probe(_) => self.drop_conn(key),
        }
    }

    /// Ends a probe: its session continues without it, and the peer gets `close`, unless its own close frame was just
    /// answered.
    pub(super) fn end_probe(&mut self, key: ConnKey, close: Option<Close>) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
        let State::Probe(probe) = &mut conn.state else { return };
        let client = probe.client;
        let mut output = core::mem::take(&mut probe.output);
        if let Some(close) = close {
            let mut frame = Batch::default();
            let (begin, end) = frame.push(Opcode::Close, |out| out.extend(close.payload()));
            output.extend_from_slice(frame.slice(begin, end));
        }
        let deadline = self.now.time.after(CLOSE_TIMEOUT);
        let origin = probe.origin.take();
        conn.state = State::Ending(Box::new(Ending { output, deadline, origin, discarded: 0, left: false }));
        self.timers.arm(key, conn);
        self.replied.push(key);
        self.hub.handle_end(client, key, self.stopping.is_none());
    }
}

/// How long a peer may take to answer our close frame, to read the answer to its own, or to close its side of the connection
/// once ours is closed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a peer may still send after the end, so that it reads our close frame and not a reset: a large message on
/// its way. Discarding them takes some milliseconds, spread over a thousand turns.
const MAX_DISCARDED: u32 = 64 * 1024 * 1024;
