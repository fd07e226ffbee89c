//! Time-outs of acknowledgements and user look-ups, and reports of refusals.

use super::{acknowledge::answer_event, renewal, users::finish_query};
use crate::{acks::Requester, clock::Now, hub::Hub, state::Refusal};

/// Answers the senders of events that no receiver has acknowledged in time, and the sessions whose user look-up has
/// timed out. Then answers receipts that are done, ends logins that have expired, reports how much was refused, once a minute, ends traces, drops kept messages that are too
/// old, and sends what has changed of who is in which room.
pub fn handle_timeout(hub: &mut Hub, now: Now) {
    for pending in hub.acks.expired(now.time) {
        if let Requester::Session(session, id) = pending.requester {
            answer_event(hub, session, Some(&id), Err(Refusal::NoAnswer));
        }
    }
    for query in hub.cluster.expired_queries(now.time) {
        finish_query(hub, query, false);
    }
    hub.update_receipts(false);
    renewal::handle_timeout(hub, now);
    hub.state.refusals.report(now.time);
    hub.state.traces.expire(now.time);
    hub.history.expire(now.time);
    hub.expire_returns();
    hub.expire_presence();
}
