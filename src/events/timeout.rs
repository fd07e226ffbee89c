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

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{
        clock::Time,
        message::MessageId,
        state::testing::{CONFIG, Login, config, session},
        trace::{self, Subject},
    };

    #[test]
    fn a_trace_counts_lines_of_its_user_and_ends() {
        let mut hub = Hub::new(config(CONFIG), MessageId::first(1000, 7), [0; 32]);
        let at = |seconds: u64| Now { time: Time::from_micros(seconds * 1_000_000), ..Now::default() };
        hub.begin_turn(at(5));
        let before = hub.deadline();
        let subject = Subject { userid: Some("7".into()), ..Subject::default() };
        hub.state.traces.begin(subject, trace::USUAL, hub.state.now.time, 0).unwrap();
        assert_eq!(hub.deadline(), before.min(hub.state.now.time.after(trace::USUAL)));
        let sessions =
            ["8", "7"].map(|userid| session(&mut hub.state, Login { userid, rooms: "a,b", ..Login::default() }));
        let lines = |hub: &Hub| hub.state.traces.iter().map(|trace| trace.lines).sum::<u64>();
        assert_eq!(lines(&hub), 2, "one has joined two rooms");
        let clients = sessions.map(|key| hub.state.sessions.get(key).unwrap().client);
        hub.remove(clients[0], true);
        assert_eq!(lines(&hub), 2);
        hub.remove(clients[1], true);
        assert_eq!(lines(&hub), 3);
        let end = trace::USUAL + Duration::from_secs(5);
        for (seconds, is_on) in [(end.as_secs() - 1, true), (end.as_secs(), false)] {
            hub.begin_turn(at(seconds));
            handle_timeout(&mut hub, at(seconds));
            assert_eq!(hub.state.traces.is_on(), is_on, "{seconds}");
        }
    }
}
