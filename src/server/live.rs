//! Operators' streams (docs/protocol.md, Live): what only the server knows.

use super::{event_loop::Server, logger, process};
use crate::api::live::{Outside, update};

impl Server {
    /// Keeps and sends the samples that are due. Cheap if none is.
    pub(super) fn update_live(&mut self) {
        if self.hub.live.is_due(self.now.time) {
            let outside =
                Outside { connections: self.conns.len(), cpu: process::cpu_micros(), log: &logger::lines_after };
            update(&mut self.hub, &outside);
        }
    }
}
