//! Commands about receipts: who gets a message at other relays, and who has got it (docs/protocol.md, Commands).

use core::time::Duration;

use super::{
    channel::Channel,
    fields::{flag, number},
    publisher::Publisher,
};
use crate::{
    json::{Object, write_string, write_strings},
    state::{State, TenantId},
};

/// Another relay asks who gets its last message.
#[derive(Debug, PartialEq, Eq)]
pub struct CountQuery {
    /// The relay.
    pub node: Box<str>,
    /// The number for the answer.
    pub number: u64,
    /// The tenant; `None` if this relay does not have it.
    pub tenant: Option<TenantId>,
    /// The rooms.
    pub rooms: Vec<Box<str>>,
    /// Whether users are to be named.
    pub names: bool,
    /// How long to wait until the clients are known to have the message, if that is asked for.
    pub wait: Option<Duration>,
}

/// The sessions of one relay in a room: all, those without a user, users and how many are left out, and the same of the users
/// whose session was lost.
pub type CountedRoom<N> = (u64, u64, Vec<N>, u64, Vec<N>, u64);

/// Another relay has counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    /// The relay.
    pub node: Box<str>,
    /// The number of the receipt.
    pub number: u64,
    /// The rooms, as they were asked for.
    pub rooms: Vec<CountedRoom<Box<str>>>,
    /// Whether the relay will tell who has got the message.
    pub waits: bool,
}

/// Another relay tells who has got a message.
#[derive(Debug, PartialEq, Eq)]
pub struct RemoteAcked {
    /// The relay.
    pub node: Box<str>,
    /// The number of the receipt.
    pub number: u64,
    /// The sessions.
    pub sessions: u64,
    /// Their users.
    pub users: Vec<Box<str>>,
    /// How many users are left out.
    pub more: u64,
}

impl Publisher {
    /// `count`: asks other relays who gets the last message. It has a number of its own among the publications, so that a relay
    /// that has missed the message notices.
    pub fn count(
        &mut self,
        state: &mut State,
        (tenant, rooms): (TenantId, &[&str]),
        names: bool,
        wait: Option<Duration>,
        number: u64,
    ) {
        let source = state.tenants[tenant.index()].name.clone();
        self.command(state, "count", Channel::Commands, false, |line| {
            line.text("source", &source);
            line.raw("rooms", |out| write_strings(out, rooms));
            if names {
                line.raw("names", |out| out.extend_from_slice(b"true"));
            }
            if let Some(wait) = wait {
                line.display("ms", wait.as_millis());
            }
            line.display("re", number);
        });
    }

    /// `counted`: answers another relay's `count`.
    pub fn counted(&mut self, state: &mut State, node: &str, number: u64, rooms: &[CountedRoom<&str>], waits: bool) {
        let mut bytes_left = MAX_NAMES_BYTES;
        self.command(state, "counted", Channel::Relay(node.into()), true, |line| {
            line.display("re", number);
            line.raw("rooms", |out| {
                out.push(b'[');
                for (index, (sessions, guests, users, more, away, more_away)) in rooms.iter().enumerate() {
                    out.extend_from_slice(if index > 0 { b",[" } else { b"[" });
                    out.extend_from_slice(format!("{sessions},{guests},").as_bytes());
                    write_names(out, users, *more, &mut bytes_left);
                    out.push(b',');
                    write_names(out, away, *more_away, &mut bytes_left);
                    out.push(b']');
                }
                out.push(b']');
            });
            if waits {
                line.raw("waits", |out| out.extend_from_slice(b"true"));
            }
        });
    }

    /// `acked`: tells another relay who has got its message.
    pub fn acked(&mut self, state: &mut State, node: &str, number: u64, sessions: u64, users: &[&str], more: u64) {
        self.command(state, "acked", Channel::Relay(node.into()), true, |line| {
            line.display("re", number);
            line.display("sessions", sessions);
            line.raw("users", |out| {
                out.push(b'[');
                write_names(out, users, more, &mut { MAX_NAMES_BYTES });
                out.push(b']');
            });
        });
    }
}

/// Appends a list of names, and how many are left out of it.
fn write_names(out: &mut Vec<u8>, names: &[&str], more: u64, bytes_left: &mut usize) {
    let mut shown = 0;
    out.push(b'[');
    for name in names {
        // Each byte can become six.
        let Some(left) = bytes_left.checked_sub(6 * name.len() + 3) else { break };
        *bytes_left = left;
        if shown > 0 {
            out.push(b',');
        }
        write_string(out, name);
        shown += 1;
    }
    out.extend_from_slice(format!("],{}", more + (names.len() - shown) as u64).as_bytes());
}

/// Decodes `count`. `None` if it is malformed.
pub fn decode_count(tenant: Option<TenantId>, node: &str, fields: &Object<'_>) -> Option<CountQuery> {
    let rooms: Vec<Box<str>> = serde_json::from_str(fields.get("rooms")?.get()).ok()?;
    Some(CountQuery {
        node: node.into(),
        number: number(fields, "re")?,
        tenant,
        rooms: Some(rooms).filter(|rooms| (1..=MAX_ROOMS).contains(&rooms.len()))?,
        names: flag(fields, "names"),
        wait: number(fields, "ms").map(|ms| Duration::from_millis(ms.min(MAX_WAIT))),
    })
}

/// Decodes `counted`. `None` if it is malformed.
pub fn decode_counted(node: &str, fields: &Object<'_>) -> Option<Counted> {
    let rooms: Vec<CountedRoom<Box<str>>> = serde_json::from_str(fields.get("rooms")?.get()).ok()?;
    let is_right = rooms.iter().all(|(_, _, users, _, away, _)| is_list(users) && is_list(away));
    if !is_right || rooms.len() > MAX_ROOMS {
        return None;
    }
    Some(Counted { node: node.into(), number: number(fields, "re")?, rooms, waits: flag(fields, "waits") })
}

/// Decodes `acked`. `None` if it is malformed.
pub fn decode_acked(node: &str, fields: &Object<'_>) -> Option<RemoteAcked> {
    let (users, more): (Vec<Box<str>>, u64) = serde_json::from_str(fields.get("users")?.get()).ok()?;
    let (number, sessions) = (number(fields, "re")?, number(fields, "sessions")?);
    is_list(&users).then(|| RemoteAcked { node: node.into(), number, sessions, users, more })
}

fn is_list(names: &[Box<str>]) -> bool {
    names.len() <= MAX_NAMES && names.iter().all(|name| (1..=LONGEST_NAME).contains(&name.len()))
}

/// The most rooms of a notification with a receipt.
const MAX_ROOMS: usize = 100;
/// The longest time that a notification may wait, in milliseconds.
const MAX_WAIT: u64 = 10_000;
/// The most names in a list.
const MAX_NAMES: usize = 1000;
/// The most bytes of a user's id.
const LONGEST_NAME: usize = 512;
/// The most bytes of all names in one publication.
const MAX_NAMES_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn sent(publisher: &mut Publisher) -> String {
        let all = publisher.take();
        assert_eq!(all.len(), 1);
        String::from_utf8(all.into_iter().next().unwrap().payload).unwrap()
    }

    fn publisher() -> Publisher {
        let mut publisher = Publisher::default();
        publisher.introduce("abc123".into(), "192.0.2.7");
        publisher.configure(Some((None, 300)));
        publisher
    }

    fn object(text: &str) -> Object<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn commands_are_decoded_as_they_were_sent() {
        let (mut state, mut publisher) = (testing::state(), publisher());
        let demo = state.known_tenant("demo").unwrap();
        publisher.count(&mut state, (demo, &["a", "b\""]), true, Some(Duration::from_millis(800)), 7);
        let text = sent(&mut publisher);
        let expected = r#"{"do":"count","source":"demo","rooms":["a","b\""],"names":true,"ms":800,"re":7,"seq":1,"#;
        assert!(text.starts_with(expected), "{text}");
        let query = decode_count(Some(demo), "n", &object(&text)).unwrap();
        assert_eq!(
            (query.rooms, query.names, query.wait),
            (vec!["a".into(), "b\"".into()], true, Some(Duration::from_millis(800)))
        );
        publisher.count(&mut state, (demo, &["a"]), false, None, 8);
        let text = sent(&mut publisher);
        let query = decode_count(None, "n", &object(&text)).unwrap();
        assert_eq!((query.number, query.names, query.wait, query.tenant), (8, false, None, None));
        publisher.counted(
            &mut state,
            "n",
            7,
            &[(3, 1, vec!["7", "9"], 0, vec!["x"], 2), (0, 0, vec![], 0, vec![], 0)],
            true,
        );
        let text = sent(&mut publisher);
        assert!(
            text.starts_with(
                r#"{"do":"counted","re":7,"rooms":[[3,1,["7","9"],0,["x"],2],[0,0,[],0,[],0]],"waits":true"#
            ),
            "{text}"
        );
        let counted = decode_counted("n", &object(&text)).unwrap();
        assert_eq!((counted.rooms.len(), counted.waits), (2, true));
        assert_eq!(counted.rooms[0], (3, 1, vec!["7".into(), "9".into()], 0, vec!["x".into()], 2));
        publisher.acked(&mut state, "n", 7, 2, &["7"], 5);
        let text = sent(&mut publisher);
        assert!(text.starts_with(r#"{"do":"acked","re":7,"sessions":2,"users":[["7"],5],"#), "{text}");
        let acked = decode_acked("n", &object(&text)).unwrap();
        assert_eq!((acked.sessions, acked.users, acked.more), (2, vec!["7".into()], 5));
    }

    #[test]
    fn names_of_a_publication_are_bounded() {
        let (mut state, mut publisher) = (testing::state(), publisher());
        let long: Vec<String> = (0..1000).map(|number| format!("{number:0>512}")).collect();
        let list: Vec<&str> = long.iter().map(|name| &**name).collect();
        publisher.counted(&mut state, "n", 7, &[(1000, 0, list.clone(), 5, list, 0)], false);
        let text = sent(&mut publisher);
        assert!(text.len() < 80_000, "{}", text.len());
        let (_, _, users, more, away, more_away) = decode_counted("n", &object(&text)).unwrap().rooms.remove(0);
        assert_eq!((users.len() as u64 + more, away.len(), more_away), (1005, 0, 1000));
        assert!(users.len() > 10);
    }

    #[test]
    fn what_no_relay_sends_is_malformed() {
        for text in [
            "{}".to_owned(),
            r#"{"re":1,"rooms":[]}"#.into(),
            r#"{"re":1,"rooms":"a","users":[7,1]}"#.into(),
            r#"{"rooms":["a"],"sessions":1,"users":[["a"],1]}"#.into(),
            format!(r#"{{"re":1,"rooms":[{}"a"],"sessions":-1}}"#, r#""a","#.repeat(100)),
            format!(r#"{{"re":1,"rooms":{{}},"sessions":1,"users":[["{}"],0]}}"#, "x".repeat(513)),
        ] {
            let fields = object(&text);
            assert_eq!(decode_count(None, "n", &fields), None, "{text}");
            assert_eq!(decode_acked("n", &fields), None, "{text}");
        }
        for rooms in ["[[1]]", "[[1,0,[7],0,[],0]]", r#"[[1,0,[""],0,[],0]]"#, "[[-1,0,[],0,[],0]]", "7"] {
            let text = format!(r#"{{"re":1,"rooms":{rooms}}}"#);
            assert_eq!(decode_counted("n", &object(&text)), None, "{text}");
        }
    }
}
