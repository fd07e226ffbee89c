//! The commands about who is in which room (docs/protocol.md, Commands): `present` has what has changed at a relay, `rollcall`
//! asks a relay for everything, and `roll` is a piece of the answer.
//!
//! Each relay numbers its changes of a source, and its description has the newest numbers, so other relays notice what they
//! have missed.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    channel::Channel,
    fields::{flag, number, text},
    publisher::Publisher,
};
use crate::{
    json::{Object, write_string},
    names::Rooms,
    state::{State, TenantId},
};

/// A user: id, name, and number of sessions.
pub type PresentUser<T> = (T, T, u32);

/// Changes at another relay.
#[derive(Debug, PartialEq, Eq)]
pub struct Present {
    /// The relay.
    pub node: Box<str>,
    /// The tenant.
    pub tenant: TenantId,
    /// The number of these changes.
    pub number: u64,
    /// The room.
    pub room: Box<str>,
    /// Users that are there.
    pub came: Vec<PresentUser<Box<str>>>,
    /// Users that are not.
    pub left: Vec<Box<str>>,
    /// Sessions without a user, if their number has changed.
    pub guests: Option<u32>,
}

/// A piece of what another relay has.
#[derive(Debug, PartialEq, Eq)]
pub struct Roll {
    /// The relay.
    pub node: Box<str>,
    /// The tenant.
    pub tenant: TenantId,
    /// The number of the newest changes in it.
    pub number: u64,
    /// The number of the piece, from 0.
    pub piece: u64,
    /// Whether it is the last piece.
    pub last: bool,
    /// Rooms with their sessions without a user, and users. A room with many users is in several pieces.
    pub rooms: Vec<RollRoom>,
}

/// A room in a [`Roll`].
#[derive(Debug, PartialEq, Eq)]
pub struct RollRoom {
    /// Its name.
    pub room: Box<str>,
    /// Sessions without a user.
    pub guests: u32,
    /// Users.
    pub users: Vec<PresentUser<Box<str>>>,
}

/// What a relay has in a room: its name, sessions without a user, and users.
pub type OwnRoom<'a> = (&'a str, u32, Vec<PresentUser<&'a str>>);

impl Publisher {
    /// `present`: what has changed in a room on this relay. Split into pieces of [`PIECE`] users.
    pub fn present(
        &mut self,
        state: &mut State,
        (tenant, room): (TenantId, &str),
        came: &[PresentUser<&str>],
        left: &[&str],
        guests: Option<u32>,
    ) {
        let source = state.tenants[tenant.index()].name.clone();
        let pieces = came.len().div_ceil(PIECE).max(left.len().div_ceil(PIECE)).max(1);
        for piece in 0..pieces {
            let part = |length: usize| (piece * PIECE).min(length)..((piece + 1) * PIECE).min(length);
            let number = self.next_change(&source);
            self.command(state, "present", Channel::Commands, true, |line| {
                line.text("source", &source);
                line.display("number", number);
                line.text("room", room);
                if !came.is_empty() {
                    line.raw("came", |out| write_users(out, &came[part(came.len())]));
                }
                if !left.is_empty() {
                    line.raw("left", |out| crate::json::write_strings(out, &left[part(left.len())]));
                }
                if let Some(guests) = guests {
                    line.display("guests", guests);
                }
            });
        }
    }

    /// `rollcall`: asks another relay who is in the rooms of a source.
    pub fn rollcall(&mut self, state: &mut State, node: &str, tenant: TenantId) {
        let source = state.tenants[tenant.index()].name.clone();
        self.command(state, "rollcall", Channel::Relay(node.into()), true, |line| line.text("source", &source));
    }

    /// `roll`: answers another relay's `rollcall`, in pieces of [`PIECE`] users or rooms.
    pub fn roll(&mut self, state: &mut State, node: &str, tenant: TenantId, rooms: &[OwnRoom<'_>]) {
        let source = state.tenants[tenant.index()].name.clone();
        let number = self.last_change(&source);
        let (mut piece, mut count, mut out) = (0, 0, b"[".to_vec());
        let mut send = |publisher: &mut Publisher, out: &mut Vec<u8>, last: bool| {
            out.push(b']');
            let rooms = std::mem::replace(out, b"[".to_vec());
            publisher.command(state, "roll", Channel::Relay(node.into()), true, |line| {
                line.text("source", &source);
                line.display("number", number);
                line.display("piece", piece);
                line.raw("rooms", |out| out.extend_from_slice(&rooms));
                if last {
                    line.raw("last", |out| out.extend_from_slice(b"true"));
                }
            });
            piece += 1;
        };
        for (room, guests, users) in rooms {
            for chunk in users.chunks(PIECE).chain(users.is_empty().then_some(&users[..])) {
                if count > 0 && count + chunk.len().max(1) > PIECE {
                    send(self, &mut out, false);
                    count = 0;
                }
                out.extend_from_slice(if out.len() > 1 { b",[" } else { b"[" });
                write_string(&mut out, room);
                out.extend_from_slice(format!(",{guests},").as_bytes());
                write_users(&mut out, chunk);
                out.push(b']');
                count += chunk.len().max(1);
            }
        }
        send(self, &mut out, true);
    }

    fn next_change(&mut self, source: &str) -> u64 {
        let number = self.last_change(source) + 1;
        self.changes.insert(source.into(), number);
        number
    }

    /// The number of the last change of a source.
    pub fn last_change(&self, source: &str) -> u64 {
        self.changes.get(source).copied().unwrap_or(0)
    }
}

fn write_users(out: &mut Vec<u8>, users: &[PresentUser<&str>]) {
    out.push(b'[');
    for (index, (userid, name, sessions)) in users.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",[" } else { b"[" });
        write_string(out, userid);
        out.push(b',');
        write_string(out, name);
        out.extend_from_slice(format!(",{sessions}]").as_bytes());
    }
    out.push(b']');
}

/// Decodes `present`. `None` if it is malformed.
pub fn decode_present(state: &State, node: &str, tenant: TenantId, fields: &Object<'_>) -> Option<Present> {
    let room = text(fields, "room");
    let left: Vec<Box<str>> = match fields.get("left") {
        Some(raw) => serde_json::from_str(raw.get()).ok()?,
        None => Vec::new(),
    };
    Some(Present {
        node: node.into(),
        tenant,
        number: number(fields, "number")?,
        room: is_room(state, &room).then(|| (*room).into())?,
        came: fields.get("came").map_or(Some(Vec::new()), |raw| users(raw))?,
        left,
        guests: number(fields, "guests").and_then(|guests| u32::try_from(guests).ok()),
    })
}

/// Decodes `roll`. `None` if it is malformed.
pub fn decode_roll(state: &State, node: &str, tenant: TenantId, fields: &Object<'_>) -> Option<Roll> {
    let rooms: Vec<(Box<str>, u32, &RawValue)> = serde_json::from_str(fields.get("rooms")?.get()).ok()?;
    let room = |(room, guests, list): (Box<str>, u32, &RawValue)| Some(RollRoom { users: users(list)?, guests, room });
    // A relay whose limits.room_id is larger may have rooms that cannot exist here.
    let rooms = rooms.into_iter().filter(|(room, ..)| is_room(state, room));
    Some(Roll {
        node: node.into(),
        tenant,
        number: number(fields, "number")?,
        piece: number(fields, "piece")?,
        last: flag(fields, "last"),
        rooms: rooms.map(room).collect::<Option<_>>()?,
    })
}

/// Users with names that a login could have.
fn users(raw: &RawValue) -> Option<Vec<PresentUser<Box<str>>>> {
    let users: Vec<PresentUser<Box<str>>> = serde_json::from_str(raw.get()).ok()?;
    let is_name = |name: &str| name.len() <= LONGEST_USER;
    users.iter().all(|(userid, name, _)| !userid.is_empty() && is_name(userid) && is_name(name)).then_some(users)
}

/// Whether this is the name of one room.
fn is_room(state: &State, name: &str) -> bool {
    let longest = state.config().limits.room_id as usize;
    Rooms::parse(name, longest, 0).is_ok_and(|rooms| rooms.iter().len() == 1)
}

/// The numbers of the newest changes in a relay's description, by source. `None` if it does not keep track of who is in its
/// rooms.
pub fn numbers(info: &str) -> Option<BTreeMap<String, u64>> {
    let fields: Object<'_> = serde_json::from_str(info).ok()?;
    serde_json::from_str(fields.get("presence")?.get()).ok()
}

/// Users in one publication.
pub const PIECE: usize = 200;
/// The most bytes of a user's id and name.
const LONGEST_USER: usize = 512;

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn sent(publisher: &mut Publisher) -> Vec<String> {
        publisher.take().into_iter().map(|sent| String::from_utf8(sent.payload).unwrap()).collect()
    }

    fn publisher() -> Publisher {
        let mut publisher = Publisher::default();
        publisher.introduce("abc123".into(), "192.0.2.7");
        publisher.configure(Some((None, 300)));
        publisher
    }

    #[test]
    fn changes_are_numbered_by_source() {
        let (mut state, mut publisher) = (testing::state(), publisher());
        let (demo, other) = (state.known_tenant("demo").unwrap(), state.known_tenant("demo_x").unwrap());
        publisher.present(&mut state, (demo, "a"), &[("7", "li", 2)], &["8"], None);
        publisher.present(&mut state, (other, "b"), &[], &[], Some(3));
        publisher.present(&mut state, (demo, "a"), &[], &["7"], None);
        let all = sent(&mut publisher);
        let expected = "{\"do\":\"present\",\"source\":\"demo\",\"number\":1,\"room\":\"a\",\"came\":[[\"7\",\"li\",2]],\"left\":[\"8\"],";
        assert!(all[0].starts_with(expected), "{}", all[0]);
        assert!(all[1].contains("\"source\":\"demo_x\",\"number\":1,\"room\":\"b\",\"guests\":3,"), "{}", all[1]);
        assert!(all[2].contains("\"number\":2,\"room\":\"a\",\"left\":[\"7\"],"), "{}", all[2]);
        let fields: Object<'_> = serde_json::from_str(&all[0]).unwrap();
        let present = decode_present(&state, "n", demo, &fields).unwrap();
        assert_eq!(present.came, [("7".into(), "li".into(), 2)]);
        assert_eq!((&*present.room, present.number, present.guests), ("a", 1, None));
    }

    #[test]
    fn a_roll_has_every_user_once_in_pieces_of_200() {
        let (mut state, mut publisher) = (testing::state(), publisher());
        let demo = state.known_tenant("demo").unwrap();
        let names: Vec<String> = (0..450).map(|number| format!("u{number:03}")).collect();
        let many: Vec<PresentUser<&str>> = names.iter().map(|name| (&**name, "n", 1)).collect();
        publisher.roll(
            &mut state,
            "asker",
            demo,
            &[("few", 0, many[..3].to_vec()), ("many", 2, many), ("guests", 9, Vec::new())],
        );
        let (mut users, mut guests) = (Vec::new(), BTreeMap::new());
        let all = sent(&mut publisher);
        for (index, text) in all.iter().enumerate() {
            let fields: Object<'_> = serde_json::from_str(text).unwrap();
            let roll = decode_roll(&state, "n", demo, &fields).unwrap();
            assert_eq!((roll.piece, roll.last), (index as u64, index + 1 == all.len()));
            assert!(roll.rooms.iter().map(|room| room.users.len()).sum::<usize>() <= PIECE);
            for room in roll.rooms {
                users.extend(room.users.into_iter().map(|(userid, ..)| format!("{} {userid}", room.room)));
                guests.insert(room.room, room.guests);
            }
        }
        assert_eq!(users.len(), 453);
        users.sort_unstable();
        users.dedup();
        assert_eq!(users.len(), 453);
        assert_eq!(guests, [("few".into(), 0), ("guests".into(), 9), ("many".into(), 2)].into());
        publisher.roll(&mut state, "asker", demo, &[]);
        let empty = sent(&mut publisher);
        assert!(empty.len() == 1 && empty[0].contains("\"rooms\":[],\"last\":true"), "{empty:?}");
    }

    #[test]
    fn what_no_relay_sends_is_malformed() {
        let state = testing::state();
        let demo = state.known_tenant("demo").unwrap();
        let long = "x".repeat(600);
        for text in [
            "{}".into(),
            "{\"number\":1}".into(),
            "{\"number\":1,\"room\":\"a,b\"}".into(),
            "{\"number\":-1,\"room\":\"a\"}".into(),
            "{\"number\":1,\"room\":\"a\",\"came\":[[\"7\",\"li\"]]}".into(),
            "{\"number\":1,\"room\":\"a\",\"came\":[[\"\",\"li\",1]]}".into(),
            "{\"number\":1,\"room\":\"a\",\"came\":[[\"7\",\"li\",-1]]}".into(),
            "{\"number\":1,\"room\":\"a\",\"came\":7}".into(),
            "{\"number\":1,\"room\":\"a\",\"left\":[7]}".into(),
            format!("{{\"number\":1,\"room\":\"a\",\"came\":[[\"7\",\"{long}\",1]]}}"),
            format!("{{\"number\":1,\"room\":\"{long}\"}}"),
        ] {
            let fields: Object<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(decode_present(&state, "n", demo, &fields), None, "{text}");
            assert_eq!(decode_roll(&state, "n", demo, &fields), None, "{text}");
        }
        for text in ["{\"number\":1,\"piece\":0,\"rooms\":{}}", "{\"number\":1,\"piece\":0,\"rooms\":[[\"a\",-1,[]]]}"]
        {
            let fields: Object<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(decode_roll(&state, "n", demo, &fields), None, "{text}");
        }
        assert_eq!(numbers("{\"presence\":{\"demo\":3}}"), Some([("demo".into(), 3)].into()));
        for text in ["", "7", "{}", "{\"presence\":3}", "{\"presence\":{\"demo\":-1}}"] {
            assert_eq!(numbers(text), None, "{text}");
        }
    }
}
