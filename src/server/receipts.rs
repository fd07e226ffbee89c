//! Receipts that wait for streams: what their peers have confirmed only the kernel knows.

use super::event_loop::Server;

impl Server {
    /// Looks whether the streams that receipts wait for have confirmed everything that was written to them.
    pub(super) fn look_at_streams(&mut self) {
        for client in self.hub.receipts.take_looks(&mut self.hub.state) {
            let key = self.hub.state.conn(client);
            let conn = key.and_then(|key| self.conns.get_mut(key)).filter(|conn| !conn.dropped && !conn.blocked);
            if conn.is_some_and(|conn| conn.socket.unconfirmed() == Some(0)) {
                self.hub.state.note_confirmed(client);
            }
        }
    }
}
