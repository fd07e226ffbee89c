//! What comes from Redis: messages and commands of other relays, node-socket-im servers and backends that publish there
//! (docs/protocol.md, Redis).

use super::{acknowledge::forward_ack, users::finish_query};
use crate::{
    acks::Requester,
    clock::Now,
    cluster::{Channel, Command, IncomingEvent, IncomingMessage, Input, Recipients},
    config::Redis,
    hub::{Hub, publish::Origin},
    message::{Event, Target},
    redis::Role,
    websocket::Close,
};

/// Handles bytes of a connection to Redis, until they are used up or clients should be written to first. Returns whether the
/// connection still stands.
pub fn handle_input(hub: &mut Hub, role: Role, input: &mut &[u8], now: Now) -> bool {
    loop {
        match hub.cluster.poll_input(role, input, &mut hub.state, &mut hub.log) {
            Input::Publication { channel, payload } => {
                handle_publication(hub, &channel, &payload, now);
            }
            Input::NeedMore => return true,
            Input::Closed => return false,
        }
        if hub.state.is_pressed() {
            return true;
        }
    }
}

/// Handles something that was published on a channel.
pub fn handle_publication(hub: &mut Hub, channel: &Channel, payload: &[u8], now: Now) {
    if let Some(command) = hub.cluster.decode(channel, payload, &mut hub.state, &mut hub.log) {
        execute(hub, command, now);
    }
}

/// Takes a new configuration of the link. Returns whether the connections were given up: their sockets must be closed.
pub fn configure(hub: &mut Hub, redis: &Redis, longest: u64) -> bool {
    let reconfigured = hub.cluster.configure(redis, longest, &mut hub.state, &mut hub.log);
    for query in reconfigured.failed_lookups {
        finish_query(hub, query, false);
    }
    reconfigured.reconnect
}

/// Does what a command says, for the clients of this relay.
fn execute(hub: &mut Hub, command: Command<'_>, now: Now) {
    match command {
        Command::Message(message) => publish(hub, &message),
        Command::Event(event) => emit(hub, &event, now),
        Command::Refresh(target) => drop(hub.refresh_here(&target)),
        Command::Disconnect(sessions) => {
            sessions.into_iter().for_each(|session| hub.expel(session, Close::OPERATOR, now))
        }
        Command::UserLookup { query, found } => finish_query(hub, query, found),
        Command::Ack { number, list, attachments } => {
            if let Some(pending) = hub.acks.answered_remotely(number) {
                forward_ack(hub, pending.requester, &list, &attachments);
            }
        }
    }
}

fn publish(hub: &mut Hub, message: &IncomingMessage<'_>) {
    let id = message.id.unwrap_or_else(|| hub.state.next_id());
    hub.publish_here(Origin::Cluster, message.tenant, &message.rooms(), message.data(), &message.filename, id);
}

/// Emits an event to sessions of this relay, and reports how many there were if the other relay wants to know.
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
            let wanted = incoming.number.filter(|_| incoming.ack && !sessions.is_empty());
            let ack = wanted.and_then(|number| {
                let requester = Requester::Node((*incoming.node).into(), number);
                hub.acks.open(requester, &sessions, false, now.time)
            });
            let receivers: Vec<_> = sessions.iter().filter_map(|key| hub.state.receiver(*key)).collect();
            hub.state.emit_to(&receivers, &Event { ack, ..event })
        }
    };
    if let Some(number) = incoming.number {
        hub.cluster.send_found(&mut hub.state, &incoming.node, number, reached);
    }
}
