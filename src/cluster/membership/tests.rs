//! Tests of a cluster, which feed it the input of Redis.

use super::{
    super::{Answer, testing},
    *,
};
use crate::redis::{Reader, Reply};

/// A relay. The tests provide the input from Redis.
struct Relay {
    cluster: Cluster,
    state: State,
    log: MessageLog,
}

const ROLES: [Role; 2] = [Role::Subscriber, Role::Publisher];

/// Whether a command belongs to the handshake of a connection.
fn is_handshake(command: &str) -> bool {
    ["CLIENT SETNAME relay-abc123", "HELLO 2", "PING"].contains(&command)
}

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

    /// The commands that are sent, one string each.
    fn commands(&mut self, role: Role) -> Vec<String> {
        self.cluster.pump(&mut self.state, &mut self.log);
        let output = self.cluster.output(role).to_vec();
        self.cluster.advance_output(role, output.len());
        let (mut reader, mut output, mut found) = (Reader::new(1 << 20), output.as_slice(), Vec::new());
        while let Some(Reply::Array(parts)) = reader.poll(&mut output).unwrap() {
            found.push(parts.iter().map(|part| part.text().unwrap()).collect::<Vec<_>>().join(" "));
        }
        found
    }

    fn connect(&mut self) {
        for role in ROLES {
            assert!(self.cluster.should_connect(role, self.state.now.time));
            self.cluster.begin_connection(role, self.state.now.time);
        }
        let subscribed =
            b"+OK\r\n*0\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:2\r\n\
            *3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:3\r\n";
        assert_eq!(self.input(Role::Subscriber, subscribed), [Input::NeedMore]);
        assert_eq!(self.input(Role::Publisher, b"+OK\r\n*0\r\n+PONG\r\n"), [Input::NeedMore]);
    }
}

#[test]
fn a_relay_alone() {
    let mut relay = Relay::new();
    assert_eq!(relay.configure(None), Reconfigured { reconnect: true, failed_lookups: vec![] });
    assert_eq!(relay.configure(None), Reconfigured::default());
    assert!(!relay.cluster.is_on() && !relay.cluster.should_connect(Role::Publisher, Time::START));
    assert!(matches!(relay.cluster.lookup(&Topic::Sessions, Time::START), Lookup::Off));
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
        "HELLO 2",
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
    // Redis confirms all commands.
    let replies = sent.iter().filter(|command| !is_handshake(command));
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
    let expected =
        r#"{"do":"emit","source":"demo","nsp":"/","to":"user","names":["8"],"event":"e","args":[1],"re":3,"ack":true,"#;
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
    assert!(matches!(relay.cluster.lookup(&topic, now), Lookup::Unknown));
    relay.connect();
    let before = relay.commands(Role::Publisher);
    assert!(matches!(relay.cluster.lookup(&topic, now), Lookup::Pending));
    relay.cluster.request(topic.clone());
    relay.cluster.request(Topic::Sessions);
    let sent = relay.commands(Role::Publisher);
    let online = "node.xin.com:xin_socket_connections_";
    let mut expected = vec![format!("HSCAN {online}demo 0 COUNT 200")];
    expected.extend(["demo", "demo_x", "open"].map(|source| format!("HLEN {online}{source}")));
    assert_eq!(sent, expected);
    let replies = before.iter().filter(|command| !is_handshake(command));
    let replies: String =
        replies.map(|command| if command.starts_with("HGETALL") { "*0\r\n" } else { "+OK\r\n" }).collect();
    relay.input(Role::Publisher, replies.as_bytes());
    let record = r#"{"username":"li","node":"b"}"#;
    let scan = format!("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nx\r\n${}\r\n{record}\r\n", record.len());
    relay.input(Role::Publisher, scan.as_bytes());
    relay.input(Role::Publisher, b":3\r\n:0\r\n:1\r\n");
    match relay.cluster.lookup(&topic, now) {
        Lookup::Known(Answer::Sessions(found)) => assert_eq!(found.sessions, 1),
        other => panic!("{other:?}"),
    }
    match relay.cluster.lookup(&Topic::Sessions, now) {
        Lookup::Known(Answer::Counts(counts)) => {
            assert_eq!(counts.values().copied().collect::<Vec<_>>(), [3, 0, 1]);
        }
        other => panic!("{other:?}"),
    }
}
