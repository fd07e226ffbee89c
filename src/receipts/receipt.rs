//! A receipt: what all relays have counted, and the JSON that a backend gets.

use std::{collections::BTreeSet, io::Write, rc::Rc};

use super::count::{Count, MAX_NAMES, Names};
use crate::json::write_string;

/// What is known of a notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message in its first room.
    pub id: Box<str>,
    /// Whether users are named.
    pub names: bool,
    /// Whether nothing is missing: all relays have answered.
    pub complete: bool,
    /// The rooms, in their order.
    pub rooms: Vec<RoomReceipt>,
    /// The sessions that have got the message, and their users, if that was asked for.
    pub acked: Option<(u64, Names)>,
}

/// What is known of a notification in one room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomReceipt {
    /// The room.
    pub room: Box<str>,
    /// Whether this relay keeps the message.
    pub kept: bool,
    /// The counts of all relays that have answered.
    pub counts: Vec<Rc<Count>>,
}

impl Receipt {
    /// Appends it as a JSON object, with at most `names_left` names, from which it takes those that it has written.
    pub fn write(&self, out: &mut Vec<u8>, names_left: &mut usize) {
        out.extend_from_slice(b"{\"id\":");
        write_string(out, &self.id);
        write(out, format_args!(",\"complete\":{},\"rooms\":[", self.complete));
        for (index, room) in self.rooms.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",{\"room_id\":" } else { b"{\"room_id\":" });
            write_string(out, &room.room);
            write(out, format_args!(",\"sessions\":{}", room.sum(|count| count.sessions)));
            if self.names {
                write_all_names(out, ("users", "more"), names_left, &room.counts, |count| &count.users);
            }
            write(out, format_args!(",\"guests\":{}", room.sum(|count| count.guests)));
            if self.names {
                // A message that is too large for the history of this relay reaches nobody later.
                let counts = &room.counts[usize::from(!room.kept).min(room.counts.len())..];
                write_all_names(out, ("away", "more_away"), names_left, counts, |count| &count.away);
            }
            write(out, format_args!(",\"kept\":{}}}", room.kept));
        }
        out.push(b']');
        if let Some((sessions, users)) = &self.acked {
            write(out, format_args!(",\"acked\":{sessions}"));
            if self.names {
                let list = users.list.iter().map(|name| &**name);
                write_names(out, ("acked_users", "more_acked"), names_left, list, users.more);
            }
        }
        out.push(b'}');
    }

    /// It as a JSON object.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out, &mut { MAX_ANSWER_NAMES });
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    /// What takes the place of a receipt for which there is no memory.
    pub fn short(&self) -> String {
        format!("{{\"id\":\"{}\",\"complete\":false,\"rooms\":[]}}", self.id)
    }
}

impl RoomReceipt {
    fn sum(&self, of: impl Fn(&Count) -> u64) -> u64 {
        self.counts.iter().map(|count| of(count)).sum()
    }
}

/// Appends the names that several relays have counted, each once.
fn write_all_names(
    out: &mut Vec<u8>,
    fields: (&str, &str),
    names_left: &mut usize,
    counts: &[Rc<Count>],
    of: impl Fn(&Count) -> &Names,
) {
    let more = counts.iter().map(|count| of(count).more).sum();
    if let [count] = counts {
        return write_names(out, fields, names_left, of(count).list.iter().map(|name| &**name), more);
    }
    // A user can have sessions at several relays.
    let all: BTreeSet<&str> = counts.iter().flat_map(|count| &of(count).list).map(|name| &**name).collect();
    write_names(out, fields, names_left, all.into_iter(), more);
}

/// Appends a list of names, and how many are left out.
fn write_names<'a>(
    out: &mut Vec<u8>,
    (field, rest): (&str, &str),
    names_left: &mut usize,
    names: impl ExactSizeIterator<Item = &'a str>,
    more: u64,
) {
    let shown = names.len().min(MAX_NAMES).min(*names_left);
    let more = more + (names.len() - shown) as u64;
    *names_left -= shown;
    write(out, format_args!(",\"{field}\":["));
    for (index, name) in names.take(shown).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, name);
    }
    out.push(b']');
    if more > 0 {
        write(out, format_args!(",\"{rest}\":{more}"));
    }
}

fn write(out: &mut Vec<u8>, text: core::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory succeeds");
}

/// The most names in the answer to one request, which can be a batch.
pub const MAX_ANSWER_NAMES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str], more: u64) -> Names {
        Names { list: list.iter().map(|name| (*name).into()).collect(), more }
    }

    fn text(receipt: &Receipt, mut names_left: usize) -> String {
        let mut out = Vec::new();
        receipt.write(&mut out, &mut names_left);
        String::from_utf8(out).unwrap()
    }

    fn receipt(counts: Vec<Count>) -> Receipt {
        let counts = counts.into_iter().map(Rc::new).collect();
        let room = RoomReceipt { room: "a\"".into(), kept: true, counts };
        Receipt { id: "1jbc".into(), names: true, complete: true, rooms: vec![room], acked: None }
    }

    #[test]
    fn of_one_relay() {
        let count = Count { sessions: 3, guests: 1, users: names(&["7", "9"], 0), away: names(&["1305"], 0) };
        let mut receipt = receipt(vec![count]);
        assert_eq!(
            text(&receipt, 10),
            r#"{"id":"1jbc","complete":true,"rooms":[{"room_id":"a\"","sessions":3,"users":["7","9"],"guests":1,"away":["1305"],"kept":true}]}"#
        );
        receipt.acked = Some((2, names(&["7"], 0)));
        assert_eq!(
            text(&receipt, 2),
            r#"{"id":"1jbc","complete":true,"rooms":[{"room_id":"a\"","sessions":3,"users":["7","9"],"guests":1,"away":[],"more_away":1,"kept":true}],"acked":2,"acked_users":[],"more_acked":1}"#
        );
        receipt.names = false;
        assert_eq!(
            text(&receipt, 10),
            r#"{"id":"1jbc","complete":true,"rooms":[{"room_id":"a\"","sessions":3,"guests":1,"kept":true}],"acked":2}"#
        );
        assert_eq!(receipt.short(), r#"{"id":"1jbc","complete":false,"rooms":[]}"#);
    }

    #[test]
    fn of_several_relays() {
        let here = Count { sessions: 3, guests: 1, users: names(&["7", "9"], 0), away: Names::default() };
        let there = Count { sessions: 2, guests: 0, users: names(&["7", "8"], 5), away: names(&["x"], 0) };
        assert_eq!(
            text(&receipt(vec![here, there]), 10),
            r#"{"id":"1jbc","complete":true,"rooms":[{"room_id":"a\"","sessions":5,"users":["7","8","9"],"more":5,"guests":1,"away":["x"],"kept":true}]}"#
        );
    }
}
