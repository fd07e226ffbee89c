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

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::redis::{Reader, Reply};

    /// A cluster with Redis as its test plays it.
    struct Relay {
        cluster: Cluster,
        state: State,
        log: MessageLog,
    }

    const ROLES: [Role; 2] = [Role::Subscriber, Role::Publisher];

    impl Relay {
        fn new() -> Relay {
            let mut relay = Relay { cluster: Cluster::default(), state: testing::state(), log: MessageLog::default() };
            relay.cluster.introduce("abc123".into(), "192.0.2.7");
            relay
        }

        fn configure(&mut self, url: Option<&str>) -> Reconfigured {
            let redis = Redis { url: url.map(|url| RedisUrl::parse(url).unwrap()), ..Redis::default() };
            self.cluster.configure(&redis, 1000, &mut self.state, &mut self.log)
        }

        fn input(&mut self, role: Role, mut bytes: &[u8]) -> Vec<Input> {
            let mut found = Vec::new();
            loop {
                let input = self.cluster.poll_input(role, &mut bytes, &mut self.state, &mut self.log);
                found.push(input.clone());
                if !matches!(input, Input::Publication { .. }) {
                    return found;
                }
            }
        }

        /// The commands that are sent, as text.
        fn commands(&mut self, role: Role) -> Vec<String> {
            self.cluster.pump(&mut self.state, &mut self.log);
            let output = self.cluster.output(role).to_vec();
            self.cluster.wrote(role, output.len());
            let (mut reader, mut output, mut found) = (Reader::new(1 << 20), output.as_slice(), Vec::new());
            while let Some(Reply::Array(parts)) = reader.poll(&mut output).unwrap() {
                found.push(parts.iter().map(|part| part.text().unwrap()).collect::<Vec<_>>().join(" "));
            }
            found
        }

        fn connect(&mut self) {
            for role in ROLES {
                assert!(self.cluster.wants_dial(role, self.state.now.time));
                self.cluster.dialled(role, self.state.now.time);
            }
            let subscribed =
                b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:2\r\n\
                *3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:3\r\n";
            assert_eq!(self.input(Role::Subscriber, subscribed), [Input::NeedMore]);
            assert_eq!(self.input(Role::Publisher, b"+OK\r\n+PONG\r\n"), [Input::NeedMore]);
        }
    }

    #[test]
    fn a_relay_alone() {
        let mut relay = Relay::new();
        assert_eq!(relay.configure(None), Reconfigured { reconnect: true, failed_lookups: vec![] });
        assert_eq!(relay.configure(None), Reconfigured::default());
        assert!(!relay.cluster.is_on() && !relay.cluster.wants_dial(Role::Publisher, Time::START));
        assert!(matches!(relay.cluster.see(&Topic::Sessions, Time::START), Seen::Alone));
        let tenant = relay.state.known_tenant("demo").unwrap();
        relay.cluster.publish_refresh(&mut relay.state, &RefreshTarget::Source(tenant));
        assert!(relay.cluster.take_publications().is_empty() && relay.cluster.is_done(&relay.state));
        assert_eq!((relay.cluster.health(), relay.cluster.deadline(true)), (&Health::Off, Time::NEVER));
    }

    #[test]
    fn from_the_first_connection_to_the_end() {
        let mut relay = Relay::new();
        let session = testing::session(&mut relay.state, "demo", "7", "r");
        assert!(relay.configure(Some("redis://h")).reconnect);
        assert!(!relay.configure(Some("redis://h")).reconnect);
        relay.connect();
        assert_eq!(relay.cluster.health(), &Health::Fine);
        let introduction = [
            "CLIENT SETNAME relay-abc123-in",
            "SUBSCRIBE xin_common_chat xin_common_chat:relay xin_common_chat:relay:abc123",
        ];
        assert_eq!(relay.commands(Role::Subscriber), introduction);
        let sent = relay.commands(Role::Publisher);
        let has = |sent: &[String], begin: &str| sent.iter().any(|command| command.starts_with(begin));
        for begin in [
            "PUBLISH xin_common_chat:relay {\"do\":\"hello\",\"last\":0,",
            "SET node.xin.com:relay_alive:abc123 1 PX 20000 XX",
            "HSET node.xin.com:relay_nodes abc123 {\"server_ip\":\"192.0.2.7\"",
            "HSET node.xin.com:xin_socket_connections_demo ",
        ] {
            assert!(has(&sent, begin), "{begin}: {sent:?}");
        }
        // Redis confirms everything: a publication, the heartbeat and so on.
        let replies = sent.iter().filter(|command| !command.starts_with("CLIENT") && *command != "PING");
        let replies: String =
            replies.map(|command| if command.starts_with("HGETALL") { "*0\r\n" } else { "+OK\r\n" }).collect();
        assert_eq!(relay.input(Role::Publisher, replies.as_bytes()), [Input::NeedMore]);
        relay.cluster.session_ending(&mut relay.state, session);
        testing::end(&mut relay.state, session);
        relay.cluster.leave(&mut relay.state);
        assert!(!relay.cluster.is_done(&relay.state));
        let sent = relay.commands(Role::Publisher);
        assert!(has(&sent, "PUBLISH xin_common_chat:relay {\"do\":\"bye\""), "{sent:?}");
        assert!(has(&sent, "HDEL node.xin.com:xin_socket_connections_demo "), "{sent:?}");
        relay.input(Role::Publisher, ":1\r\n".repeat(sent.len()).as_bytes());
        let sent = relay.commands(Role::Publisher);
        let farewell = ["HDEL node.xin.com:relay_nodes abc123", "DEL node.xin.com:relay_alive:abc123"];
        assert_eq!(sent, farewell);
        assert!(!relay.cluster.is_done(&relay.state));
        relay.input(Role::Publisher, b":1\r\n:1\r\n");
        assert!(relay.cluster.is_done(&relay.state));
    }

    #[test]
    fn publications_one_by_one() {
        let mut relay = Relay::new();
        relay.configure(Some("redis://h"));
        relay.connect();
        let message = |channel: &str, payload: &str| {
            let (channel, payload) =
                (format!("${}\r\n{channel}", channel.len()), format!("${}\r\n{payload}", payload.len()));
            format!("*3\r\n$7\r\nmessage\r\n{channel}\r\n{payload}\r\n")
        };
        let mut bytes = message("xin_common_chat", "a");
        bytes += &message("xin_common_chat:relay", "b");
        bytes += &message("xin_common_chat", &"x".repeat(1001));
        bytes += &message("xin_common_chat:relay:abc123", "c");
        let publication = |channel, text: &str| Input::Publication { channel, payload: text.into() };
        let expected = [
            publication(Channel::Messages, "a"),
            publication(Channel::Commands, "b"),
            publication(Channel::Relay("abc123".into()), "c"),
            Input::NeedMore,
        ];
        assert_eq!(relay.input(Role::Subscriber, bytes.as_bytes()), expected);
        assert_eq!(relay.state.stats.redis_refused, 1, "the long one");
        assert_eq!(relay.input(Role::Subscriber, b"?"), [Input::NeedMore]);
        assert_eq!(relay.input(Role::Subscriber, b"\r\n"), [Input::Closed]);
        assert!(!relay.cluster.has_link(Role::Subscriber) && relay.cluster.has_link(Role::Publisher));
        assert!(matches!(relay.cluster.health(), Health::Failing(_)));
    }

    #[test]
    fn user_lookups() {
        let mut relay = Relay::new();
        relay.configure(Some("redis://h"));
        let tenant = relay.state.known_tenant("demo").unwrap();
        let session = testing::session(&mut relay.state, "demo", "7", "r");
        let query = || UserQuery::Reach { session, ack: None, pending: Some(3) };
        let find = |relay: &mut Relay, event: Option<(&Event<'_>, bool)>| {
            relay.cluster.find_user(&mut relay.state, (tenant, "/", "8"), query(), event)
        };
        assert_eq!(find(&mut relay, None), Err(query()), "there is no other relay");
        let hello = br#"{"do":"hello","last":0,"node":"b"}"#;
        let Relay { cluster, state, log } = &mut relay;
        assert_eq!(cluster.decode(&Channel::Commands, hello, state, log), None);
        assert!(cluster.has_nodes());
        assert_eq!(find(&mut relay, Some((&Event::new("e", "1"), true))), Ok(()));
        let published = relay.cluster.take_publications();
        let text = core::str::from_utf8(&published[0].payload).unwrap();
        let expected = r#"{"do":"emit","source":"demo","nsp":"/","to":"user","names":["8"],"event":"e","args":[1],"re":3,"ack":true,"#;
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(relay.cluster.query_deadline(), Time::from_micros(1_000_000));
        assert!(relay.cluster.expired_queries(Time::from_micros(999_999)).is_empty());
        assert_eq!(relay.configure(None), Reconfigured { reconnect: true, failed_lookups: vec![query()] });
        assert_eq!(relay.cluster.query_deadline(), Time::NEVER);
    }

    #[test]
    fn lookups_for_operators() {
        let mut relay = Relay::new();
        relay.configure(Some("redis://h"));
        let now = relay.state.now.time;
        let topic = Topic::Online("demo".into());
        assert!(matches!(relay.cluster.see(&topic, now), Seen::Unknown));
        relay.connect();
        let before = relay.commands(Role::Publisher);
        assert!(matches!(relay.cluster.see(&topic, now), Seen::Pending));
        relay.cluster.ask(topic.clone());
        relay.cluster.ask(Topic::Sessions);
        let sent = relay.commands(Role::Publisher);
        let online = "node.xin.com:xin_socket_connections_";
        let mut expected = vec![format!("HSCAN {online}demo 0 COUNT 200")];
        expected.extend(["demo", "demo_x", "open"].map(|source| format!("HLEN {online}{source}")));
        assert_eq!(sent, expected);
        let replies = before.iter().filter(|command| !command.starts_with("CLIENT") && *command != "PING");
        let replies: String =
            replies.map(|command| if command.starts_with("HGETALL") { "*0\r\n" } else { "+OK\r\n" }).collect();
        relay.input(Role::Publisher, replies.as_bytes());
        let record = r#"{"username":"li","node":"b"}"#;
        let scan = format!("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nx\r\n${}\r\n{record}\r\n", record.len());
        relay.input(Role::Publisher, scan.as_bytes());
        relay.input(Role::Publisher, b":3\r\n:0\r\n:1\r\n");
        match relay.cluster.see(&topic, now) {
            Seen::Known(super::super::Answer::Sessions(found)) => assert_eq!(found.sessions, 1),
            other => panic!("{other:?}"),
        }
        match relay.cluster.see(&Topic::Sessions, now) {
            Seen::Known(super::super::Answer::Counts(counts)) => {
                assert_eq!(counts.values().copied().collect::<Vec<_>>(), [3, 0, 1]);
            }
            other => panic!("{other:?}"),
        }
    }
}
