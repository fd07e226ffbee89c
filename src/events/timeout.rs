//! Answers that did not come in time.

use super::{acknowledge::conclude, users::finish_query};
use crate::{acks::Requester, clock::Now, hub::Hub, state::Refusal};

/// Tells clients that nobody acknowledged in time, and that no other relay has the user they asked for.
pub fn handle_timeout(hub: &mut Hub, now: Now) {
    for pending in hub.acks.expired(now.time) {
        if let Requester::Session(session, id) = pending.requester {
            conclude(hub, session, Some(&id), Err(Refusal::NoAnswer));
        }
    }
    for query in hub.cluster.expired_queries(now.time) {
        finish_query(hub, query, false);
    }
}
