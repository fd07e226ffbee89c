//! The cluster as the rest of relay uses it.

use super::{
    cached_lookups::{Seen, Topic},
    channel::Channel,
    command::{Command, Reach, RefreshTarget},
    connections::{Connections, Input},
    incoming,
    nodes::{NodeInfo, Nodes},
    publisher::Publication,
    records,
    shared::{Context, Shared},
    upkeep,
    user_lookups::UserQuery,
};
use crate::{
    clock::Time,
    config::{Redis, RedisUrl},
    health::Health,
    key::SessionKey,
    message::{Data, Event, MessageId, Target},
    message_log::MessageLog,
    redis::Role,
    state::{State, TenantId},
};

/// The other relays, and the link to them. Until it is configured with a Redis it does nothing.
#[derive(Default)]
pub struct Cluster {
    shared: Shared,
    connections: Connections,
}

/// What a new configuration changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reconfigured {
    /// Whether the connections were given up: close their sockets.
    pub reconnect: bool,
    /// User look-ups that no relay will answer, because the cluster was switched off.
    pub failed_lookups: Vec<UserQuery>,
}

/// Configuration.
impl Cluster {
    /// Sets this relay's name and the address that it gives. Call it before [`Cluster::configure`].
    pub fn introduce(&mut self, node: String, ip: &str) {
        self.shared.publisher.introduce(node, ip);
    }

    /// Takes a new configuration; `longest` bounds the bytes of a publication that is read.
    pub fn configure(&mut self, redis: &Redis, longest: u64, state: &mut State, log: &mut MessageLog) -> Reconfigured {
        let shared = &mut self.shared;
        let secret = redis.secret.as_ref().map(|secret| secret.expose().as_bytes());
        let window = state.config().sign_window.as_secs();
        let on = redis.url.is_some();
        shared.publisher.configure(on.then_some((secret, window)));
        shared.trust = redis.trust_from_sys;
        let mut failed_lookups = Vec::new();
        if !on {
            failed_lookups = shared.users.take_all();
            shared.nodes = Nodes::default();
        }
        let reconnect = self.connections.configure(redis, longest, &mut Context { shared, state, log });
        Reconfigured { reconnect, failed_lookups }
    }

    /// Whether a Redis is configured.
    pub fn is_on(&self) -> bool {
        self.shared.cached.is_on()
    }

    /// This relay's name.
    pub fn node(&self) -> &str {
        self.shared.publisher.node()
    }

    /// The address that it gives.
    pub fn ip(&self) -> &str {
        self.shared.publisher.ip()
    }
}

/// The connections to Redis, which the server opens, reads and writes.
impl Cluster {
    /// The server to connect to; `None` if the cluster is off.
    pub fn url(&self) -> Option<&RedisUrl> {
        self.connections.url()
    }

    /// Whether a connection should be opened now.
    pub fn wants_dial(&self, role: Role, now: Time) -> bool {
        self.connections.wants_dial(role, now)
    }

    /// A connection is being opened.
    pub fn dialled(&mut self, role: Role, now: Time) {
        self.connections.dialled(role, now);
    }

    /// Whether a connection is open, or being opened. When it is not any more, close its socket.
    pub fn has_link(&self, role: Role) -> bool {
        self.connections.has_link(role)
    }

    /// The bytes to be written to a connection.
    pub fn output(&self, role: Role) -> &[u8] {
        self.connections.output(role)
    }

    /// So many of those bytes were written.
    pub fn wrote(&mut self, role: Role, count: usize) {
        self.connections.wrote(role, count);
    }

    /// Handles input up to the next publication, which is for [`Cluster::decode`]. Call it again until it needs more.
    pub fn poll_input(&mut self, role: Role, input: &mut &[u8], state: &mut State, log: &mut MessageLog) -> Input {
        self.connections.poll_input(role, input, &mut Context { shared: &mut self.shared, state, log })
    }

    /// A connection has ended, or could not be opened.
    pub fn handle_end(&mut self, role: Role, why: &str, state: &mut State, log: &mut MessageLog) {
        self.connections.handle_end(role, why, &mut Context { shared: &mut self.shared, state, log });
    }

    /// When [`Cluster::handle_timeout`] or [`Cluster::pump`] has something to do, or, if it `dials`, a connection is to be
    /// opened.
    pub fn deadline(&self, dials: bool) -> Time {
        self.connections.deadline(dials)
    }

    /// Handles what is due. Connections may be given up: [`Cluster::has_link`].
    pub fn handle_timeout(&mut self, state: &mut State, log: &mut MessageLog) {
        self.connections.handle_timeout(&mut Context { shared: &mut self.shared, state, log });
    }

    /// Turns what is to be published, written and read into [output](Cluster::output).
    pub fn pump(&mut self, state: &mut State, log: &mut MessageLog) {
        self.connections.pump(&mut Context { shared: &mut self.shared, state, log });
    }

    /// Relay stops: its records are removed from Redis, and other relays are informed.
    pub fn leave(&mut self, state: &mut State) {
        self.connections.leave(&mut self.shared, state);
    }

    /// Whether everything is sent that can be sent after [`Cluster::leave`].
    pub fn is_done(&self, state: &State) -> bool {
        self.connections.is_done(&self.shared, state)
    }

    /// The publications that wait for [`Cluster::pump`], for tests that need no connection.
    pub fn take_publications(&mut self) -> Vec<Publication> {
        self.shared.publisher.take()
    }
}

/// What comes from other relays.
impl Cluster {
    /// Decodes a publication: the command that it has for the clients of this relay, if there is one. Refused publications
    /// are counted and recorded in the message log.
    pub fn decode<'a>(
        &mut self,
        channel: &Channel,
        payload: &'a [u8],
        state: &mut State,
        log: &mut MessageLog,
    ) -> Option<Command<'a>> {
        incoming::decode(&mut Context { shared: &mut self.shared, state, log }, channel, payload)
    }

    /// Publications for this relay alone since the start: answers that some client waits for.
    pub fn answers(&self) -> u64 {
        self.shared.answers
    }
}

/// What other relays are to do.
impl Cluster {
    /// Publishes a message. `filename` is the file of the message log that a backend's message names; a client's has none.
    pub fn publish_message(
        &mut self,
        state: &mut State,
        (tenant, rooms): (TenantId, &[&str]),
        data: Data<'_>,
        filename: Option<&str>,
        id: MessageId,
    ) {
        let source = state.tenants[tenant.index()].name.clone();
        self.shared.publisher.message(state, (&source, rooms), data, filename, id);
    }

    /// Publishes an event. Under `number` other relays report how many sessions it reached, and with `ack` the first answer.
    pub fn publish_event(
        &mut self,
        state: &mut State,
        (tenant, namespace): (TenantId, &str),
        reach: Reach<'_>,
        event: &Event<'_>,
        (number, ack): (Option<u64>, bool),
    ) {
        self.shared.publisher.event(state, (tenant, namespace), reach, event, (number, ack));
    }

    /// Publishes that pages are to be loaded again.
    pub fn publish_refresh(&mut self, state: &mut State, target: &RefreshTarget<'_>) {
        self.shared.publisher.refresh(state, target);
    }

    /// Publishes that sessions are to be ended: those of a user, in one tenant or in all, or one by its name.
    pub fn publish_disconnect(
        &mut self,
        state: &mut State,
        tenant: Option<TenantId>,
        userid: Option<&str>,
        socket_id: Option<&str>,
    ) {
        let (userid, socket_id) = (userid.unwrap_or_default(), socket_id.unwrap_or_default());
        self.shared.publisher.disconnect(state, tenant, userid, socket_id);
    }

    /// Sends another relay a client's answer to its event.
    pub fn send_ack(&mut self, state: &mut State, node: &str, number: u64, list: &str, attachments: &[Vec<u8>]) {
        self.shared.publisher.ack(state, node, number, list, attachments);
    }

    /// Reports to another relay how many sessions its event reached here.
    pub fn send_found(&mut self, state: &mut State, node: &str, number: u64, sessions: usize) {
        self.shared.publisher.found(state, node, number, sessions);
    }
}

/// Presence records.
impl Cluster {
    /// A session was admitted.
    pub fn session_started(&mut self, state: &mut State, key: SessionKey) {
        self.shared.records.session_started(state, key);
    }

    /// A session is about to end; the state still has it.
    pub fn session_ending(&mut self, state: &mut State, key: SessionKey) {
        self.shared.records.session_ending(state, key);
    }

    /// Counts a message that a client or a backend sent to this relay.
    pub fn count_message(&mut self) {
        self.shared.records.count_message();
    }
}

/// User look-ups.
impl Cluster {
    /// Whether other relays are alive.
    pub fn has_nodes(&self) -> bool {
        !self.shared.nodes.alive.is_empty()
    }

    /// Asks other relays for a user. An event for the user is published along with the question, and with it whether an
    /// acknowledgement is wanted. Returns the query if there is nobody to ask, or too many queries are open.
    pub fn find_user(
        &mut self,
        state: &mut State,
        (tenant, namespace, userid): (TenantId, &str, &str),
        query: UserQuery,
        event: Option<(&Event<'_>, bool)>,
    ) -> Result<(), UserQuery> {
        let Shared { publisher, nodes, users, .. } = &mut self.shared;
        if nodes.alive.is_empty() || userid.is_empty() {
            return Err(query);
        }
        let number = users.open(query, nodes.alive.clone(), state.now.time)?;
        match event {
            Some((event, ack)) => {
                let target = Target::User(userid);
                publisher.event(state, (tenant, namespace), Reach::Target(&target), event, (Some(number), ack));
            }
            None => publisher.find(state, (tenant, namespace, userid), number),
        }
        Ok(())
    }

    /// Queries that were not answered in time: the user was not found.
    pub fn expired_queries(&mut self, now: Time) -> Vec<UserQuery> {
        self.shared.users.expire(now)
    }

    /// When the next query expires.
    pub fn query_deadline(&self) -> Time {
        self.shared.users.deadline()
    }
}

/// What operators see.
impl Cluster {
    /// What is known about a topic.
    pub fn see(&self, topic: &Topic, now: Time) -> Seen<'_> {
        self.shared.cached.see(topic, now)
    }

    /// Asks Redis for a topic. [`Cluster::see`] has the answer in a moment.
    pub fn ask(&mut self, topic: Topic) {
        self.shared.cached.ask(topic);
    }

    /// The other relays that are alive.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.shared.nodes.listed
    }

    /// This relay's description, as other relays see it: a JSON object.
    pub fn describe(&self, state: &State) -> String {
        upkeep::describe(&self.shared, state)
    }

    /// How many sessions these sources have at all relays, if Redis counts so many records. Unknown sources are left out.
    pub fn sessions_everywhere<'a>(
        &self,
        state: &State,
        counted: impl Iterator<Item = (&'a str, u64)>,
    ) -> Vec<(&'a str, u64)> {
        records::sessions_everywhere(state, counted)
    }

    /// Whether the link works.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }
}
