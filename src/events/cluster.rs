//! Input from Redis: messages and commands of other relays, of node-socket-im servers, and of backends that publish to
//! Redis (docs/protocol.md, Redis wire format).

use super::{acknowledge::forward_ack, users::finish_query};
use crate::{
    acks::Requester,
    clock::Now,
    cluster::{Channel, Command, CountedRoom, IncomingEvent, IncomingMessage, Input, Recipients},
    config::Redis,
    hub::Hub,
    journal::{More, Reason, What},
    message::{Author, Event, Target},
    receipts::{Count, Names},
    redis::Role,
    websocket::Close,
};

/// Handles bytes from a connection to Redis, until none are left or
/// [`State::needs_flush`](crate::state::State::needs_flush). Returns whether the connection is still usable.
pub fn handle_input(hub: &mut Hub, role: Role, input: &mut &[u8], now: Now) -> bool {
    loop {
        match hub.cluster.poll_input(role, input, &mut hub.state, &mut hub.log) {
            Input::Publication { channel, payload } => {
                handle_publication(hub, &channel, &payload, now);
            }
            Input::NeedMore => return true,
            Input::Closed => return false,
        }
        if hub.state.needs_flush() {
            return true;
        }
    }
}

/// Handles a publication on a channel.
pub fn handle_publication(hub: &mut Hub, channel: &Channel, payload: &[u8], now: Now) {
    if let Some(command) = hub.cluster.decode(channel, payload, &mut hub.state, &mut hub.log) {
        execute(hub, command, now);
    }
}

/// Applies a configuration of the connections to Redis. `max_len` is the longest message, in bytes. Returns whether the
/// connections were dropped, so that the caller must close their sockets.
pub fn configure(hub: &mut Hub, redis: &Redis, max_len: u64) -> bool {
    let reconfigured = hub.cluster.configure(redis, max_len, &mut hub.state, &mut hub.log);
    for query in reconfigured.failed_lookups {
        finish_query(hub, query, false);
    }
    reconfigured.reconnect
}

/// Executes a command for the sessions of this relay.
fn execute(hub: &mut Hub, command: Command<'_>, now: Now) {
    match command {
        Command::Message(message) => publish(hub, &message),
        Command::Event(event) => emit(hub, &event, now),
        Command::Refresh(target) => drop(hub.refresh_here(&target)),
        Command::Disconnect { sessions, tenant, userid, socket_id } => {
            for session in sessions {
                let by = More { reason: BY_OPERATOR, ..More::default() };
                hub.state.write_journal(session, What::SentAway, by);
                hub.expel(session, Close::OPERATOR, now);
            }
            fn given(text: &str) -> Option<&str> {
                (!text.is_empty()).then_some(text)
            }
            hub.expel_away(tenant, given(&userid), given(&socket_id));
        }
        Command::UserLookup { query, found } => finish_query(hub, query, found),
        Command::Present(present) => hub.handle_present(&present),
        Command::Roll(roll) => hub.handle_roll(roll),
        Command::RollCall { node, tenant } => {
            hub.update_presence();
            hub.answer_rollcall(&node, tenant);
        }
        Command::Count(query) => hub.answer_count(&query),
        Command::Counted(found) => {
            let counts = found.rooms.into_iter().map(count).collect();
            hub.receipts.handle_counts(found.number, &found.node, counts, found.waits);
        }
        Command::Acked(found) => {
            let users = Names { list: found.users, more: found.more };
            hub.receipts.handle_acked(found.number, &found.node, found.sessions, users);
        }
        Command::Ack { number, list, attachments } => {
            if let Some(pending) = hub.acks.resolve_remote(number) {
                forward_ack(hub, pending.requester, &list, &attachments);
            }
        }
    }
}

/// What another relay has counted in a room.
fn count((sessions, guests, users, more, away, more_away): CountedRoom<Box<str>>) -> Count {
    let (users, away) = (Names { list: users, more }, Names { list: away, more: more_away });
    Count { sessions, guests, users, away }
}

fn publish(hub: &mut Hub, message: &IncomingMessage<'_>) {
    let (rooms, now) = (message.rooms(), hub.state.now.time);
    if let Some(id) = message.id {
        hub.state.ids.follow(id, rooms.len(), now);
    }
    // It takes numbers of this relay even if it has an id, so that its place in the order of all messages is known.
    let own = hub.state.next_id(rooms.len());
    let author = if message.from_client { Author::Client(&message.from) } else { Author::Backend };
    let id = message.id.unwrap_or(own);
    hub.publish_here((author, None), message.tenant, &rooms, message.data(), &message.filename, (id, own.stamp()));
}

/// Emits an event to sessions of this relay, and reports their number if the other relay wants a report.
fn emit(hub: &mut Hub, incoming: &IncomingEvent<'_>, now: Now) {
    let (tenant, namespace, event) = (incoming.tenant, incoming.namespace, incoming.event());
    let reached = match &incoming.recipients {
        Recipients::Rooms(rooms) => {
            let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
            hub.state.emit_to_rooms((tenant, namespace), &rooms, None, &event)
        }
        Recipients::Session(name) => hub.state.emit(tenant, namespace, &Target::Session(name), &event),
        Recipients::Namespace => hub.state.emit(tenant, namespace, &Target::Namespace, &event),
        Recipients::User(userid) => {
            let sessions = hub.state.user_sessions(tenant, namespace, userid);
            let number = incoming.number.filter(|_| incoming.ack && !sessions.is_empty());
            let ack = number.and_then(|number| {
                let requester = Requester::Node((*incoming.node).into(), number);
                hub.acks.register(requester, &sessions, false, now.time)
            });
            let receivers: Vec<_> = sessions.iter().filter_map(|key| hub.state.receiver(*key)).collect();
            hub.state.emit_to(&receivers, &Event { ack, ..event })
        }
    };
    let target = match &incoming.recipients {
        // Each relay gets each event, also those for nobody here.
        _ if !incoming.by_backend || reached == 0 => None,
        // A backend names one room.
        Recipients::Rooms(rooms) => rooms.first().map(|room| Target::Room(room)),
        Recipients::Session(name) => Some(Target::Session(name)),
        Recipients::Namespace => Some(Target::Namespace),
        Recipients::User(userid) => Some(Target::User(userid)),
    };
    if let Some(target) = target {
        hub.state.note_event((tenant, namespace), &target, reached);
    }
    if let Some(number) = incoming.number {
        hub.cluster.send_found(&mut hub.state, &incoming.node, number, reached);
    }
}

const BY_OPERATOR: Reason<'static> = Reason::fixed("an operator, at another relay", "管理员，在其他节点上");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::What,
        message::{Data, Form, MessageId},
        names::Rooms,
        state::testing::{Login, config, received, session},
    };

    #[test]
    fn numbers_follow_those_of_other_relays() {
        let config = config(
            "[sources.one]\nsign_key = \"key\"\n[history]\ncount = 5\n[redis]\nurl = \"redis://127.0.0.1:6379\"\n",
        );
        let mut hub = Hub::new(config.clone(), MessageId::first(1000, 7), [0; 32]);
        configure(&mut hub, &config.redis, 1000);
        let member = session(&mut hub.state, Login { rooms: "b", form: Form::Json, ..Login::default() });
        let other = MessageId::first(5000, 8);
        let text = format!(
            r#"{{"source":"one","data":1,"room_id":"a,b","from_sys":true,"id":"{other}","seq":1,"node":"{}"}}"#,
            other.node()
        );
        handle_publication(&mut hub, &Channel::Messages, text.as_bytes(), Now::default());
        let got = received(&mut hub.state, member);
        assert!(got.len() == 1 && got[0].contains(&format!("\"id\":\"{}\"", other.part(1))), "{got:?}");
        let (tenant, rooms) = (hub.state.tenant("one").unwrap(), Rooms::parse("a", 128, 0).unwrap());
        let id = hub.publish(tenant, &rooms, Data::Text("x"), "");
        // The two messages of the other relay have two numbers of this one.
        assert_eq!(id.number(), 5001 + 2 + 1);
        // They are kept with the id of the other relay, and their place in the order of this one.
        let kept = hub.history.entries_after(&hub.state, tenant, &["a", "b"], 0);
        let kept: Vec<_> = kept.map(|found| (found.room, found.entry.stamp(), found.id)).collect();
        assert_eq!(kept, [(0, 5002, other), (1, 5003, other.part(1)), (0, 5004, id)]);
    }

    /// Events of clients are not written to the journal: they would push out what operators look for.
    #[test]
    fn only_events_of_backends_are_written_to_the_journal() {
        let config = config("[sources.one]\nsign_key = \"key\"\n[redis]\nurl = \"redis://127.0.0.1:6379\"\n");
        let mut hub = Hub::new(config.clone(), MessageId::first(1000, 7), [0; 32]);
        hub.state.journal.begin();
        configure(&mut hub, &config.redis, 1000);
        session(&mut hub.state, Login { rooms: "a", ..Login::default() });
        let mut seq = 0;
        let mut emitted = |to: &str, name: &str, more: &str| -> Vec<u32> {
            seq += 1;
            let text = format!(
                r#"{{"do":"emit","source":"one","nsp":"/","to":"{to}","names":["{name}"],"event":"e"{more},"seq":{seq},"node":"000008"}}"#
            );
            handle_publication(&mut hub, &Channel::Commands, text.as_bytes(), Now::default());
            let events = hub.state.journal.records().filter(|record| matches!(record.what, What::Emitted(_)));
            events.map(|record| record.count).collect()
        };
        let backend = ",\"backend\":true";
        assert!(emitted("rooms", "a", "").is_empty());
        assert_eq!(emitted("rooms", "a", backend), [1]);
        assert_eq!(emitted("rooms", "a", backend), [2]);
        // Nobody here is to get these.
        assert_eq!(emitted("user", "nobody", backend), [2]);
        assert_eq!(emitted("session", "unknown", backend), [2]);
        assert_eq!(emitted("all", "", backend), [2, 1]);
    }
}
