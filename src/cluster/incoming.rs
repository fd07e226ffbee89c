//! Publications of other relays, old servers and backends: checked, and turned into commands.

use std::borrow::Cow;

use super::{
    channel::Channel,
    command::{Command, IncomingEvent, Recipients, RefreshTarget},
    fields::{flag, number, text},
    incoming_message::decode_message,
    seal::Opened,
    shared::Context,
};
use crate::{
    json::{Object, array_items, is_too_deep},
    message::bytes::{MAX_ATTACHMENTS, unpack},
    names::is_reserved,
    state::TenantId,
};

/// Why a publication is refused.
pub type Refused = Cow<'static, str>;

/// The command in a publication; `None` if there is nothing left to do. Refused publications are counted and logged.
pub fn decode<'a>(cx: &mut Context<'_>, channel: &Channel, payload: &'a [u8]) -> Option<Command<'a>> {
    let (text, authentic) = match cx.shared.publisher.open(channel, payload, cx.state.now.unix)? {
        Opened::Own => return None,
        Opened::Foreign(text, authentic) => (text, authentic),
        Opened::NotText => {
            cx.refuse("the message is not UTF-8", "");
            return None;
        }
    };
    if is_too_deep(text) {
        cx.refuse("the message is nested more than 128 levels deep", text);
        return None;
    }
    let Ok(fields) = serde_json::from_str::<Object<'a>>(text) else {
        cx.refuse("the message is not a JSON object", text);
        return None;
    };
    cx.shared.answers += u64::from(matches!(channel, Channel::Relay(_)));
    let result = match channel {
        Channel::Messages => decode_message(cx, &fields, authentic),
        Channel::Commands | Channel::Relay(_) => decode_command(cx, &fields, authentic),
    };
    result.unwrap_or_else(|why| {
        cx.refuse(&why, text);
        None
    })
}

/// Whether a publication is received for the first time. Those that are missing before it are counted.
pub fn is_new(cx: &mut Context<'_>, fields: &Object<'_>) -> bool {
    let (node, number) = (text(fields, "node"), number(fields, "seq").unwrap_or(0));
    if node.is_empty() || node.len() > LONGEST_NODE {
        return true;
    }
    let missed = cx.shared.nodes.receive(&node, number);
    cx.state.stats.redis_missed = cx.state.stats.redis_missed.saturating_add(missed.unwrap_or(0));
    missed.is_some()
}

fn decode_command<'a>(
    cx: &mut Context<'_>,
    fields: &Object<'a>,
    authentic: bool,
) -> Result<Option<Command<'a>>, Refused> {
    let trusted = if cx.shared.publisher.signs() { authentic } else { cx.shared.trust };
    if !trusted {
        return Err("the command is not signed with redis.secret".into());
    }
    let node = text(fields, "node");
    if node.is_empty() || node.len() > LONGEST_NODE {
        return Err(format!("the command's node must have 1 to {LONGEST_NODE} bytes").into());
    }
    if !is_new(cx, fields) {
        return Ok(None);
    }
    cx.state.stats.redis_received += 1;
    let (command, source, name) = (text(fields, "do"), text(fields, "source"), text(fields, "name"));
    let tenant = cx.state.known_tenant(&source);
    // Other relays may have sources that this one has not. Only a question needs an answer even so.
    if !source.is_empty() && tenant.is_none() && !["emit", "find"].contains(&&*command) {
        return Ok(None);
    }
    match &*command {
        "hello" => {
            let missed = cx.shared.nodes.greet(&node, number(fields, "last").unwrap_or(0));
            cx.state.stats.redis_missed = cx.state.stats.redis_missed.saturating_add(missed);
        }
        "bye" => cx.shared.nodes.remove(&node),
        "refresh" => {
            let target = match (&*text(fields, "to"), tenant) {
                ("all", _) => RefreshTarget::All,
                ("source", Some(tenant)) => RefreshTarget::Source(tenant),
                ("room", Some(tenant)) => RefreshTarget::Room(tenant, name),
                ("session", _) => RefreshTarget::Session(tenant, name),
                ("prefixed", _) => RefreshTarget::Prefixed(name),
                (to, _) => return Err(format!("unknown target of refresh: {to:?}").into()),
            };
            return Ok(Some(Command::Refresh(target)));
        }
        "disconnect" => return Ok(Some(decode_disconnect(cx, tenant, fields))),
        "emit" => return decode_event(cx, tenant, node, fields),
        "find" => {
            let there = cx.state.find_namespace(&text(fields, "nsp")).zip(tenant);
            let sessions =
                there.map_or(0, |(namespace, tenant)| cx.state.user_sessions(tenant, namespace, &name).len());
            report_found(cx, &node, fields, sessions);
        }
        "found" => {
            let (number, sessions) = (number(fields, "re").unwrap_or(0), number(fields, "sessions").unwrap_or(0));
            let answer = cx.shared.users.answer(number, &node, sessions > 0);
            return Ok(answer.map(|(query, found)| Command::UserLookup { query, found }));
        }
        "ack" => return decode_ack(fields),
        // Commands of later versions are ignored.
        _ => {}
    }
    Ok(None)
}

fn decode_disconnect<'a>(cx: &Context<'_>, tenant: Option<TenantId>, fields: &Object<'_>) -> Command<'a> {
    let (userid, socket_id) = (text(fields, "userid"), text(fields, "socket_id"));
    let state = &cx.state;
    Command::Disconnect(match (userid.is_empty(), socket_id.is_empty()) {
        (false, _) => state.sessions_of_user(tenant, &userid),
        (true, false) => {
            let found = state.find_session(&socket_id);
            found.filter(|key| tenant.is_none() || state.tenant_of(*key) == tenant).into_iter().collect()
        }
        (true, true) => Vec::new(),
    })
}

fn decode_event<'a>(
    cx: &mut Context<'_>,
    tenant: Option<TenantId>,
    node: Cow<'a, str>,
    fields: &Object<'a>,
) -> Result<Option<Command<'a>>, Refused> {
    let (namespace, name) = (text(fields, "nsp"), text(fields, "event"));
    let names: Option<Vec<String>> = fields.get("names").and_then(|raw| serde_json::from_str(raw.get()).ok());
    let names = names.unwrap_or_default();
    let list = fields.get("args").map_or("[]", |raw| raw.get());
    if name.is_empty() || is_reserved(&name) {
        return Err(format!("the event's name is empty or reserved: {name:?}").into());
    }
    if !list.starts_with('[') {
        return Err("the event's args must be an array".into());
    }
    let (Some(namespace), Some(tenant)) = (cx.state.find_namespace(&namespace), tenant) else {
        report_found(cx, &node, fields, 0);
        return Ok(None);
    };
    let (args, attachments) = unpack_if(flag(fields, "binary"), array_items(list))?;
    let first = |names: Vec<String>| names.into_iter().next().unwrap_or_default();
    let recipients = match &*text(fields, "to") {
        "rooms" => Recipients::Rooms(names),
        "all" => Recipients::Namespace,
        "session" => Recipients::Session(first(names)),
        "user" => Recipients::User(first(names)),
        to => return Err(format!("unknown recipients of an event: {to:?}").into()),
    };
    Ok(Some(Command::Event(IncomingEvent {
        node,
        number: number(fields, "re"),
        ack: flag(fields, "ack"),
        tenant,
        namespace,
        recipients,
        name,
        args,
        attachments,
        volatile: flag(fields, "volatile"),
    })))
}

fn decode_ack<'a>(fields: &Object<'a>) -> Result<Option<Command<'a>>, Refused> {
    let list = fields.get("args").map(|raw| raw.get()).filter(|list| list.starts_with('[')).unwrap_or("[]");
    let (list, attachments) = unpack_if(flag(fields, "binary"), list)?;
    Ok(number(fields, "re").map(|number| Command::Ack { number, list, attachments }))
}

/// JSON and its attachments, if it is marked as having some.
pub fn unpack_if(binary: bool, json: &str) -> Result<(Cow<'_, str>, Vec<Vec<u8>>), Refused> {
    if !binary {
        return Ok((json.into(), Vec::new()));
    }
    let (json, attachments) = unpack(json, MAX_ATTACHMENTS).ok_or("a placeholder without its attachment")?;
    Ok((json.into(), attachments))
}

/// Reports how many sessions a command found, if that was asked for.
fn report_found(cx: &mut Context<'_>, node: &str, fields: &Object<'_>, sessions: usize) {
    if let Some(number) = number(fields, "re") {
        cx.shared.publisher.found(cx.state, node, number, sessions);
    }
}

/// Bytes of a relay's name.
const LONGEST_NODE: usize = 64;

#[cfg(test)]
mod tests {
    use super::{
        super::{shared::Shared, testing},
        *,
    };
    use crate::{
        key::SessionKey,
        message_log::MessageLog,
        state::{State, namespace::MAIN},
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

        /// Why a command is refused, as the message log has it.
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
            Some(Command::Disconnect(sessions)) => sessions,
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
            "args":[1.0, {"_base64":"AP8="}],"binary":true,"volatile":true,"re":5,"ack":true,"node":"b"}"#;
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
        };
        assert_eq!(event, expected);
        let outgoing = event.event();
        assert_eq!((outgoing.name, outgoing.args, outgoing.volatile, outgoing.ack), ("e", args, true, None));
        for (to, recipients) in [
            ("user", Recipients::User("7".into())),
            ("session", Recipients::Session("7".into())),
            ("all", Recipients::Namespace),
        ] {
            let text = format!(
                r#"{{"do":"emit","source":"demo","nsp":"/","to":"{to}","names":["7"],"event":"e","node":"b"}}"#
            );
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
        let find =
            |name: &str| format!(r#"{{"do":"find","source":"demo","nsp":"/","name":"{name}","re":9,"node":"b"}}"#);
        assert_eq!((relay.command(&find("7")), relay.command(&find("9"))), (None, None));
        let answers = relay.answers();
        assert!(
            answers[0].contains("\"re\":9,\"sessions\":1,") && answers[1].contains("\"sessions\":0,"),
            "{answers:?}"
        );

        let query = super::super::user_lookups::UserQuery::Status { session: relay.sessions[0], ack: None };
        let nodes = ["b".into(), "c".into()].into();
        let number = relay.shared.users.open(query.clone(), nodes, relay.state.now.time).unwrap();
        let found = |node: &str, sessions: u32| {
            format!(r#"{{"do":"found","re":{number},"sessions":{sessions},"node":"{node}"}}"#)
        };
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
        let ack =
            |number, list: &'static str, attachments| Some(Command::Ack { number, list: list.into(), attachments });
        assert_eq!(relay.decode(&own, text), ack(3, "[1.0, \"x\"]", vec![]));
        let text = br#"{"do":"ack","re":4,"args":[{"_base64":"AA=="}],"binary":true,"node":"b"}"#;
        assert_eq!(relay.decode(&own, text), ack(4, "[{\"_placeholder\":true,\"num\":0}]", vec![vec![0]]));
        assert_eq!(relay.decode(&own, br#"{"do":"ack","re":5,"args":7,"node":"b"}"#), ack(5, "[]", vec![]));
        assert_eq!(relay.decode(&own, br#"{"do":"ack","args":[],"node":"b"}"#), None);
    }

    /// What one relay publishes is what another one decodes.
    #[test]
    fn there_and_back() {
        let mut sender = Relay::new(None, true);
        let mut receiver = Relay::new(None, true);
        receiver.shared.publisher.introduce("bbbbbb".into(), "");
        receiver.shared.publisher.configure(Some((None, 300)));
        let (tenant, attachments) = (sender.tenant(), [vec![1, 2]]);
        let target = RefreshTarget::Room(tenant, "a \"b\"".into());
        sender.shared.publisher.refresh(&mut sender.state, &target);
        sender.shared.publisher.ack(
            &mut sender.state,
            "bbbbbb",
            6,
            "[{\"_placeholder\":true,\"num\":0}]",
            &attachments,
        );
        let event = crate::message::Event { volatile: true, ..crate::message::Event::new("e", "1.0,{}") };
        let reach = super::super::command::Reach::Rooms(&["a", "b,c"]);
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
        assert_eq!(commands[3], Command::Disconnect(vec![receiver.sessions[1]]));
        assert_eq!(receiver.state.stats.redis_missed, 0);
    }
}
