//! Operators' streams and lists (docs/protocol.md, Live, Sessions): what only the server knows.

use super::{
    conn::{Phase, State},
    event_loop::Server,
    logger, process,
};
use crate::{
    api::{
        live::{Outside, update},
        sessions::{Connection, Heartbeat},
    },
    key::SessionKey,
};

impl Server {
    /// Keeps and sends the samples that are due. Cheap if none is.
    pub(super) fn update_live(&mut self) {
        if self.hub.live.is_due(self.now.time) {
            let outside =
                Outside { connections: self.conns.len(), cpu: process::cpu_micros(), log: &logger::lines_after };
            update(&mut self.hub, &outside);
        }
    }

    /// The connection of a session.
    pub(super) fn connection_of(&self, session: SessionKey) -> Connection {
        let client = self.hub.state.sessions.get(session).map(|session| session.client);
        let conn = client.and_then(|client| self.conns.get(self.hub.state.conn(client)?));
        let Some(conn) = conn else { return Connection::default() };
        let heartbeat = match &conn.state {
            State::WebSocket(websocket) if matches!(websocket.phase, Phase::Open | Phase::Pinged) => {
                let (asked, due) = (websocket.phase == Phase::Pinged, websocket.deadline);
                Some(Heartbeat { asked, next: due.since(self.now.time) })
            }
            _ => None,
        };
        Connection { tls: conn.tls, unconfirmed: conn.socket.unconfirmed(), heartbeat }
    }
}
