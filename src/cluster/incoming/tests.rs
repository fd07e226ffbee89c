//! Publications as they come from Redis.

use super::{
    super::{
        command::{IncomingEvent, Reach, Recipients, RefreshTarget},
        context::Shared,
        testing,
        user_lookups::UserQuery,
    },
    *,
};
use crate::{
    key::SessionKey,
    message::Event,
    message_log::MessageLog,
    state::{State, TenantId, namespace::MAIN},
};

/// A relay with two sessions in `demo`.
struct Relay {
    shared: Shared,
    state: State,
    log: MessageLog,
    sessions: [SessionKey; 2],
}

impl Relay {
    fn new(secret: Option<&[u8]>, trust: bool) -> Relay {
        let mut state = testing::state();
        let sessions = ["7", "8"].map(|userid| testing::session(&mut state, "demo", userid, "r"));
        let mut shared = Shared { trust, ..Shared::default() };
        shared.publisher.introduce("aaaaaa".into(), "192.0.2.7");
        shared.publisher.configure(Some((secret, 300)));
        Relay { shared, state, log: MessageLog::new(true), sessions }
    }

    fn decode<'a>(&mut self, channel: &Channel, payload: &'a [u8]) -> Option<Command<'a>> {
        let Relay { shared, state, log, .. } = self;
        decode(&mut Context { shared, state, log }, channel, payload)
    }

    fn command<'a>(&mut self, text: &'a str) -> Option<Command<'a>> {
        let refused = self.state.stats.redis_refused;
        let command = self.decode(&Channel::Commands, text.as_bytes());
        assert_eq!(self.state.stats.redis_refused, refused, "{text}");
        command
    }

    /// The reason in the message log why a command is refused.
    fn refused(&mut self, channel: &Channel, payload: &[u8]) -> String {
        let before = self.state.stats.redis_refused;
        assert_eq!(self.decode(channel, payload), None);
        assert_eq!(self.state.stats.redis_refused, before + 1, "it is counted");
        let lines = self.log.take().into_values().flatten().collect();
        let lines = String::from_utf8(lines).unwrap();
        let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(line["event"], "redis");
        line["error"].as_str().unwrap().to_owned()
    }

    /// The answers to other relays since the last call.
    fn answers(&mut self) -> Vec<String> {
        let text = |payload| String::from_utf8(payload).unwrap();
        self.shared.publisher.take().into_iter().map(|publication| text(publication.payload)).collect()
    }

    fn tenant(&self) -> TenantId {
        self.state.known_tenant("demo").unwrap()
    }
}

#[test]
fn nothing_without_a_link() {
    let mut relay = Relay::new(None, true);
    relay.shared.publisher.configure(None);
    assert_eq!(relay.command("{"), None);
}

#[test]
fn garbage_is_refused() {
    let mut relay = Relay::new(None, true);
    for channel in [Channel::Messages, Channel::Commands] {
        assert_eq!(relay.refused(&channel, b"\xff"), "the message is not UTF-8");
        assert_eq!(relay.refused(&channel, b"[]"), "the message is not a JSON object");
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(128), "]".repeat(128));
        assert_eq!(relay.refused(&channel, deep.as_bytes()), "the message is nested more than 128 levels deep");
    }
    let unnamed = "the command's node must have 1 to 64 bytes";
    assert_eq!(relay.refused(&Channel::Commands, b"{}"), unnamed);
    let long = format!("{{\"node\":\"{}\"}}", "x".repeat(65));
    assert_eq!(relay.refused(&Channel::Commands, long.as_bytes()), unnamed);
    assert_eq!(relay.state.stats.redis_received, 0);
}

#[test]
fn only_trusted_commands_are_decoded() {
    let untrusted = "the command is not signed with redis.secret";
    let text = r#"{"do":"refresh","to":"all","node":"b"}"#;
    assert_eq!(Relay::new(None, true).command(text), Some(Command::Refresh(RefreshTarget::All)));
    assert_eq!(Relay::new(None, false).refused(&Channel::Commands, text.as_bytes()), untrusted);
    assert_eq!(Relay::new(Some(b"k"), true).refused(&Channel::Commands, text.as_bytes()), untrusted);
    let mut sender = Relay::new(Some(b"k"), false);
    sender.shared.publisher.introduce("bbbbbb".into(), "");
    sender.shared.publisher.configure(Some((Some(b"k"), 300)));
    sender.shared.publisher.refresh(&mut sender.state, &RefreshTarget::All);
    let signed = sender.answers().remove(0);
    let mut relay = Relay::new(Some(b"k"), false);
    assert_eq!(relay.command(&signed), Some(Command::Refresh(RefreshTarget::All)));
    assert_eq!(relay.command(&signed), None, "it is received once");
    assert_eq!(sender.command(&signed), None, "its own publications are ignored");
}

#[test]
fn relays_come_and_go() {
    let mut relay = Relay::new(None, true);
    assert_eq!(relay.command(r#"{"do":"hello","last":5,"node":"b"}"#), None);
    assert!(relay.shared.nodes.alive.contains("b"));
    assert_eq!(relay.command(r#"{"do":"later version","seq":8,"node":"b"}"#), None);
    assert_eq!(relay.state.stats.redis_missed, 2);
    assert_eq!(relay.command(r#"{"do":"hello","last":9,"node":"b"}"#), None);
    assert_eq!((relay.state.stats.redis_missed, relay.state.stats.redis_received), (3, 3));
    assert_eq!(relay.command(r#"{"do":"bye","node":"b"}"#), None);
    assert!(relay.shared.nodes.alive.is_empty());
}

#[test]
fn refresh() {
    let mut relay = Relay::new(None, true);
    let tenant = relay.tenant();
    for (text, target) in [
        (r#"{"do":"refresh","to":"all","node":"b"}"#, RefreshTarget::All),
        (r#"{"do":"refresh","to":"source","source":"demo","node":"b"}"#, RefreshTarget::Source(tenant)),
        (
            r#"{"do":"refresh","to":"room","source":"demo","name":"r","node":"b"}"#,
            RefreshTarget::Room(tenant, "r".into()),
        ),
        (r#"{"do":"refresh","to":"session","name":"x","node":"b"}"#, RefreshTarget::Session(None, "x".into())),
        (r#"{"do":"refresh","to":"prefixed","name":"demor","node":"b"}"#, RefreshTarget::Prefixed("demor".into())),
    ] {
        assert_eq!(relay.command(text), Some(Command::Refresh(target)));
    }
    let foreign = r#"{"do":"refresh","to":"source","source":"nobody","node":"b"}"#;
    assert_eq!(relay.command(foreign), None, "another relay's source");
    let wrong = br#"{"do":"refresh","to":"room","node":"b"}"#;
    assert_eq!(relay.refused(&Channel::Commands, wrong), "unknown target of refresh: \"room\"");
}

#[test]
fn disconnect() {
    let mut relay = Relay::new(None, true);
    let [seven, eight] = relay.sessions;
    let name = relay.state.sids.socket(eight);
    let command = |relay: &mut Relay, fields: &str| match relay
        .command(&format!("{{\"do\":\"disconnect\",{fields},\"node\":\"b\"}}"))
    {
        Some(Command::Disconnect { sessions, .. }) => sessions,
        other => panic!("{other:?}"),
    };
    assert_eq!(command(&mut relay, r#""userid":"7""#), [seven]);
    assert_eq!(command(&mut relay, r#""userid":"7","source":"demo""#), [seven]);
    assert_eq!(command(&mut relay, r#""userid":"7","source":"demo_x""#), []);
    assert_eq!(command(&mut relay, &format!("\"socket_id\":\"{name}\"")), [eight]);
    assert_eq!(command(&mut relay, &format!("\"socket_id\":\"{name}\",\"source\":\"demo_x\"")), []);
    assert_eq!(command(&mut relay, r#""x":1"#), []);
}

#[test]
fn events() {
    let mut relay = Relay::new(None, true);
    let text = r#"{"do":"emit","source":"demo","nsp":"/","to":"rooms","names":["a","b"],"event":"e",
        "args":[1.0, {"_base64":"AP8="}],"binary":true,"volatile":true,"backend":true,"re":5,"ack":true,"node":"b"}"#;
    let Some(Command::Event(event)) = relay.command(text) else { panic!() };
    let args = "1.0, {\"_placeholder\":true,\"num\":0}";
    let expected = IncomingEvent {
        node: "b".into(),
        number: Some(5),
        ack: true,
        tenant: relay.tenant(),
        namespace: MAIN,
        recipients: Recipients::Rooms(vec!["a".into(), "b".into()]),
        name: "e".into(),
        args: args.into(),
        attachments: vec![vec![0, 255]],
        volatile: true,
        by_backend: true,
    };
    assert_eq!(event, expected);
    let outgoing = event.event();
    assert_eq!((outgoing.name, outgoing.args, outgoing.volatile, outgoing.ack), ("e", args, true, None));
    for (to, recipients) in [
        ("user", Recipients::User("7".into())),
        ("session", Recipients::Session("7".into())),
        ("all", Recipients::Namespace),
    ] {
        let text =
            format!(r#"{{"do":"emit","source":"demo","nsp":"/","to":"{to}","names":["7"],"event":"e","node":"b"}}"#);
        let Some(Command::Event(event)) = relay.command(&text) else { panic!("{to}") };
        assert_eq!((event.recipients, &*event.args, event.number), (recipients, "", None));
    }
    assert!(relay.answers().is_empty(), "the caller reports how many it reached");
}

#[test]
fn events_that_are_for_nobody_here() {
    let mut relay = Relay::new(None, true);
    for place in [r#""source":"nobody","nsp":"/""#, r#""source":"demo","nsp":"/nowhere""#] {
        let text = format!("{{\"do\":\"emit\",{place},\"to\":\"all\",\"event\":\"e\",\"re\":5,\"node\":\"b\"}}");
        assert_eq!(relay.command(&text), None);
        let answer = r#"{"do":"found","re":5,"sessions":0,"seq":0,"node":"aaaaaa"}"#;
        assert_eq!(relay.answers(), [answer]);
    }
    let mut why = |fields: &str| {
        let text = format!("{{\"do\":\"emit\",\"source\":\"demo\",\"nsp\":\"/\",{fields},\"node\":\"b\"}}");
        relay.refused(&Channel::Commands, text.as_bytes())
    };
    assert_eq!(why(r#""to":"all""#), "the event's name is empty or reserved: \"\"");
    assert_eq!(why(r#""to":"all","event":"connect""#), "the event's name is empty or reserved: \"connect\"");
    assert_eq!(why(r#""to":"all","event":"e","args":7"#), "the event's args must be an array");
    assert_eq!(why(r#""to":"them","event":"e""#), "unknown recipients of an event: \"them\"");
    let placeholder = r#""to":"all","event":"e","args":[{"_placeholder":true,"num":3}],"binary":true"#;
    assert_eq!(why(placeholder), "a placeholder without its attachment");
}

#[test]
fn find_and_found() {
    let mut relay = Relay::new(None, true);
    let find = |name: &str| format!(r#"{{"do":"find","source":"demo","nsp":"/","name":"{name}","re":9,"node":"b"}}"#);
    assert_eq!((relay.command(&find("7")), relay.command(&find("9"))), (None, None));
    let answers = relay.answers();
    assert!(answers[0].contains("\"re\":9,\"sessions\":1,") && answers[1].contains("\"sessions\":0,"), "{answers:?}");

    let query = UserQuery::Status { session: relay.sessions[0], ack: None };
    let nodes = ["b".into(), "c".into()].into();
    let number = relay.shared.users.open(query.clone(), nodes, relay.state.now.time).unwrap();
    let found =
        |node: &str, sessions: u32| format!(r#"{{"do":"found","re":{number},"sessions":{sessions},"node":"{node}"}}"#);
    let own = Channel::Relay("aaaaaa".into());
    assert_eq!(relay.decode(&own, found("b", 0).as_bytes()), None);
    let resolved = Some(Command::UserLookup { query, found: true });
    assert_eq!(relay.decode(&own, found("c", 2).as_bytes()), resolved);
    assert_eq!(relay.decode(&own, found("c", 2).as_bytes()), None);
    assert_eq!(relay.shared.answers, 3);
}

#[test]
fn acknowledgements() {
    let mut relay = Relay::new(None, true);
    let own = Channel::Relay("aaaaaa".into());
    let text = br#"{"do":"ack","re":3,"args":[1.0, "x"],"node":"b"}"#;
    let ack = |number, list: &'static str, attachments| Some(Command::Ack { number, list: list.into(), attachments });
    assert_eq!(relay.decode(&own, text), ack(3, "[1.0, \"x\"]", vec![]));
    let text = br#"{"do":"ack","re":4,"args":[{"_base64":"AA=="}],"binary":true,"node":"b"}"#;
    assert_eq!(relay.decode(&own, text), ack(4, "[{\"_placeholder\":true,\"num\":0}]", vec![vec![0]]));
    assert_eq!(relay.decode(&own, br#"{"do":"ack","re":5,"args":7,"node":"b"}"#), ack(5, "[]", vec![]));
    assert_eq!(relay.decode(&own, br#"{"do":"ack","args":[],"node":"b"}"#), None);
}

/// A relay decodes exactly what another one has published.
#[test]
fn there_and_back() {
    let mut sender = Relay::new(None, true);
    let mut receiver = Relay::new(None, true);
    receiver.shared.publisher.introduce("bbbbbb".into(), "");
    receiver.shared.publisher.configure(Some((None, 300)));
    let (tenant, attachments) = (sender.tenant(), [vec![1, 2]]);
    let target = RefreshTarget::Room(tenant, "a \"b\"".into());
    sender.shared.publisher.refresh(&mut sender.state, &target);
    sender.shared.publisher.ack(&mut sender.state, "bbbbbb", 6, "[{\"_placeholder\":true,\"num\":0}]", &attachments);
    let event = Event { volatile: true, ..Event::new("e", "1.0,{}") };
    let reach = Reach::Rooms(&["a", "b,c"]);
    sender.shared.publisher.event(&mut sender.state, (tenant, "/"), reach, &event, (Some(1), true));
    sender.shared.publisher.disconnect(&mut sender.state, None, "8", "");
    let sent = sender.shared.publisher.take();
    let commands: Vec<_> = sent.iter().map(|out| receiver.decode(&out.channel, &out.payload).unwrap()).collect();
    assert_eq!(commands[0], Command::Refresh(target));
    let list = "[{\"_placeholder\":true,\"num\":0}]".into();
    assert_eq!(commands[1], Command::Ack { number: 6, list, attachments: attachments.to_vec() });
    let Command::Event(event) = &commands[2] else { panic!() };
    assert_eq!((&*event.node, event.number, event.ack, &*event.args), ("aaaaaa", Some(1), true, "1.0,{}"));
    assert_eq!(event.recipients, Recipients::Rooms(vec!["a".into(), "b,c".into()]));
    let Command::Disconnect { sessions, userid, .. } = &commands[3] else { panic!() };
    assert_eq!((sessions, &**userid), (&vec![receiver.sessions[1]], "8"));
    assert_eq!(receiver.state.stats.redis_missed, 0);
}
