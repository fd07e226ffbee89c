//! This relay's membership in the cluster: the interface of this module.

use core::time::Duration;
use std::collections::BTreeSet;

use super::{
    cached_lookups::{Lookup, Topic},
    channel::Channel,
    command::{Command, Reach, RefreshTarget},
    connections::{Connections, Input},
    context::{Context, Shared},
    incoming,
    nodes::{NodeInfo, Nodes},
    presence::{OwnRoom, PresentUser},
    publisher::Publication,
    receipts::CountedRoom,
    records, upkeep,
    user_lookups::UserQuery,
};
use crate::{
    clock::Time,
    config::{Redis, RedisUrl},
    health::Health,
    key::SessionKey,
    message::{Author, Data, Event, MessageId, Target},
    message_log::MessageLog,
    redis::Role,
    state::{State, TenantId},
    tls::ClientTls,
};

/// The cluster of relays, as seen by this one. Does nothing without `redis.url`.
#[derive(Default)]
pub struct Cluster {
    shared: Shared,
    connections: Connections,
}

/// The effects of a new configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reconfigured {
    /// Whether the connections were dropped: close their sockets.
    pub reconnect: bool,
    /// The open user look-ups, if the cluster was switched off: no answer will come.
    pub failed_lookups: Vec<UserQuery>,
}

/// Configuration.
impl Cluster {
    /// Sets this relay's name, and the IP address that it reports to others. Call it before [`Cluster::configure`].
    pub fn introduce(&mut self, node: String, ip: &str) {
        self.shared.publisher.introduce(node, ip);
    }

    /// Applies a new configuration. Publications of more than `longest` bytes are skipped.
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

    /// Whether `redis.url` is configured.
    pub fn is_on(&self) -> bool {
        self.shared.cached.is_on()
    }

    /// This relay's name.
    pub fn node(&self) -> &str {
        self.shared.publisher.node()
    }

    /// The IP address that it reports to others.
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

    /// The settings of TLS, if the connections use it.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.connections.tls()
    }

    /// Whether a connection should be opened now.
    pub fn should_connect(&self, role: Role, now: Time) -> bool {
        self.connections.should_connect(role, now)
    }

    /// Reports that a connection is being opened.
    pub fn begin_connection(&mut self, role: Role, now: Time) {
        self.connections.begin_connection(role, now);
    }

    /// Whether a connection is open, or being opened. Once it is neither, close its socket.
    pub fn has_link(&self, role: Role) -> bool {
        self.connections.has_link(role)
    }

    /// Whether the handshake of a connection is complete.
    pub fn is_ready(&self, role: Role) -> bool {
        self.connections.is_ready(role)
    }

    /// The bytes to be written to a connection.
    pub fn output(&self, role: Role) -> &[u8] {
        self.connections.output(role)
    }

    /// Reports that `count` bytes of the output were written.
    pub fn advance_output(&mut self, role: Role, count: usize) {
        self.connections.advance_output(role, count);
    }

    /// Handles input up to the next publication. Pass that to [`Cluster::decode`], and call this again until it returns
    /// [`Input::NeedMore`].
    pub fn poll_input(&mut self, role: Role, input: &mut &[u8], state: &mut State, log: &mut MessageLog) -> Input {
        self.connections.poll_input(role, input, &mut Context { shared: &mut self.shared, state, log })
    }

    /// Reports that a connection has ended or could not be opened.
    pub fn handle_end(&mut self, role: Role, why: &str, state: &mut State, log: &mut MessageLog) {
        self.connections.handle_end(role, why, &mut Context { shared: &mut self.shared, state, log });
    }

    /// When to call [`Cluster::handle_timeout`] and [`Cluster::pump`] next. With `dials`, also when to open a
    /// connection.
    pub fn deadline(&self, dials: bool) -> Time {
        self.connections.deadline(dials)
    }

    /// Handles deadlines that have passed. May drop connections: see [`Cluster::has_link`].
    pub fn handle_timeout(&mut self, state: &mut State, log: &mut MessageLog) {
        self.connections.handle_timeout(&mut Context { shared: &mut self.shared, state, log });
    }

    /// Encodes pending publications and commands as [output](Cluster::output).
    pub fn pump(&mut self, state: &mut State, log: &mut MessageLog) {
        self.connections.pump(&mut Context { shared: &mut self.shared, state, log });
    }

    /// Begins to leave the cluster at shutdown: publishes `bye`, and removes this relay's records from Redis.
    pub fn leave(&mut self, state: &mut State) {
        self.connections.leave(&mut self.shared, state);
    }

    /// Whether nothing is left to send after [`Cluster::leave`], or nothing can be sent.
    pub fn is_done(&self, state: &State) -> bool {
        self.connections.is_done(&self.shared, state)
    }

    /// The publications that wait for [`Cluster::pump`], for tests that need no connection.
    pub fn take_publications(&mut self) -> Vec<Publication> {
        self.shared.publisher.take()
    }
}

/// Publications of other relays.
impl Cluster {
    /// Decodes a publication. Returns its command for the clients of this relay, if it has one. Refused publications
    /// are counted and written to `error.log`.
    pub fn decode<'a>(
        &mut self,
        channel: &Channel,
        payload: &'a [u8],
        state: &mut State,
        log: &mut MessageLog,
    ) -> Option<Command<'a>> {
        incoming::decode(&mut Context { shared: &mut self.shared, state, log }, channel, payload)
    }

    /// The number of publications to this relay's own channel since the start: answers for which clients wait.
    pub fn answers(&self) -> u64 {
        self.shared.answers
    }
}

/// Publications for other relays.
impl Cluster {
    /// Publishes a message. `filename` is the message log file that a backend's message names; a client's message has
    /// none.
    pub fn publish_message(
        &mut self,
        state: &mut State,
        (tenant, rooms): (TenantId, &[&str]),
        data: Data<'_>,
        (filename, author): (&str, Author<'_>),
        id: MessageId,
    ) {
        let source = state.tenants[tenant.index()].name.clone();
        self.shared.publisher.message(state, (&source, rooms), data, (filename, author), id);
    }

    /// Publishes an event. With a `number`, other relays report under it how many sessions the event reached, and with
    /// `ack` also the first acknowledgement.
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

    /// Publishes `refresh`: clients should reload their page.
    pub fn publish_refresh(&mut self, state: &mut State, target: &RefreshTarget<'_>) {
        self.shared.publisher.refresh(state, target);
    }

    /// Publishes `disconnect`: ends the sessions of a user, in one tenant or in all, or the session with that
    /// `socket_id`.
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

    /// Sends a client's acknowledgement of an event to the relay that published the event.
    pub fn send_ack(&mut self, state: &mut State, node: &str, number: u64, list: &str, attachments: &[Vec<u8>]) {
        self.shared.publisher.ack(state, node, number, list, attachments);
    }

    /// Reports to another relay how many sessions its event reached here.
    pub fn send_found(&mut self, state: &mut State, node: &str, number: u64, sessions: usize) {
        self.shared.publisher.found(state, node, number, sessions);
    }
}

/// Presence: what this relay and others say about the users in rooms.
impl Cluster {
    /// Publishes what has changed in a room on this relay: users that are present with their names and numbers of sessions,
    /// users that are not, and the sessions without a user.
    pub fn publish_present(
        &mut self,
        state: &mut State,
        room: (TenantId, &str),
        came: &[PresentUser<&str>],
        left: &[&str],
        guests: Option<u32>,
    ) {
        self.shared.publisher.present(state, room, came, left, guests);
    }

    /// Asks another relay who is in the rooms of a tenant.
    pub fn ask_roll(&mut self, state: &mut State, node: &str, tenant: TenantId) {
        self.shared.publisher.rollcall(state, node, tenant);
    }

    /// Answers another relay that has asked for it.
    pub fn send_roll(&mut self, state: &mut State, node: &str, tenant: TenantId, rooms: &[OwnRoom<'_>]) {
        self.shared.publisher.roll(state, node, tenant, rooms);
    }

    /// How often it was found out which other relays are alive.
    pub fn checks(&self) -> u64 {
        self.shared.nodes.checks
    }

    /// Whether another relay is alive.
    pub fn is_alive(&self, node: &str) -> bool {
        self.shared.nodes.alive.contains(node)
    }
}

/// Receipts.
impl Cluster {
    /// Asks other relays who gets the last message. Returns those that are alive, which should answer under `number`.
    pub fn ask_count(
        &mut self,
        state: &mut State,
        message: (TenantId, &[&str]),
        names: bool,
        wait: Option<Duration>,
        number: u64,
    ) -> BTreeSet<Box<str>> {
        if !self.shared.nodes.alive.is_empty() {
            self.shared.publisher.count(state, message, names, wait, number);
        }
        self.shared.nodes.alive.clone()
    }

    /// Answers another relay that has asked who gets its message. `waits` says whether [`Cluster::send_acked`] will follow.
    pub fn send_counted(
        &mut self,
        state: &mut State,
        node: &str,
        number: u64,
        rooms: &[CountedRoom<&str>],
        waits: bool,
    ) {
        self.shared.publisher.counted(state, node, number, rooms, waits);
    }

    /// Tells another relay how many sessions have got its message, who their users are, and how many of those are left out.
    pub fn send_acked(
        &mut self,
        state: &mut State,
        (node, number): (&str, u64),
        sessions: u64,
        (users, more): (&[&str], u64),
    ) {
        self.shared.publisher.acked(state, node, number, sessions, users, more);
    }
}

/// Presence records.
impl Cluster {
    /// Reports that a session was admitted: queues its record.
    pub fn session_started(&mut self, state: &mut State, key: SessionKey) {
        self.shared.records.session_started(state, key);
    }

    /// Reports that a session is about to end: queues the removal of its record. The state must still have the session.
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

    /// Asks other relays whether they have sessions of a user. `event`, if any, is sent to these sessions; its flag
    /// says whether the sender wants an acknowledgement. Returns the query if `userid` is empty, if there are no other
    /// relays, or if too many queries are open.
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

    /// Takes the queries that were not answered within a second, which counts as not found.
    pub fn expired_queries(&mut self, now: Time) -> Vec<UserQuery> {
        self.shared.users.expire(now)
    }

    /// When the next query expires.
    pub fn query_deadline(&self) -> Time {
        self.shared.users.deadline()
    }
}

/// Data for operators.
impl Cluster {
    /// The answer to a topic, if it is known.
    pub fn lookup(&self, topic: &Topic, now: Time) -> Lookup<'_> {
        self.shared.cached.lookup(topic, now)
    }

    /// Requests a topic from Redis. [`Cluster::lookup`] returns the answer once it has arrived.
    pub fn request(&mut self, topic: Topic) {
        self.shared.cached.request(topic);
    }

    /// The other relays that are alive.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.shared.nodes.listed
    }

    /// This relay's description, as other relays see it: a JSON object.
    pub fn describe(&self, state: &State) -> String {
        upkeep::describe(&self.shared, state)
    }

    /// The number of sessions of each source on all relays, from its number of records in Redis. Unknown sources are
    /// left out.
    pub fn sessions_everywhere<'a>(
        &self,
        state: &State,
        counted: impl Iterator<Item = (&'a str, u64)>,
    ) -> Vec<(&'a str, u64)> {
        records::sessions_everywhere(state, counted)
    }

    /// Bytes of memory of the publications that Redis has not confirmed.
    pub fn queued_bytes(&self) -> usize {
        self.connections.queue.bytes()
    }

    /// The health of the connections to Redis.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }
}

#[cfg(test)]
mod tests;
