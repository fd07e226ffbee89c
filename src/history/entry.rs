//! A kept message.

use super::bounds::Bounds;
use crate::message::{Author, Data, MessageId};

/// A message that was published to one room.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Its place in the order of all messages of this relay: that of its own id if this relay made it, else numbers of this
    /// relay.
    pub stamp: u64,
    /// Its id in this room.
    pub id: MessageId,
    /// Its data.
    pub data: Data<'a>,
    /// The message log file that the backend named, or an empty string.
    pub filename: &'a str,
    /// Who sent it.
    pub author: Author<'a>,
}

/// A kept message: 32 bytes, and one allocation with the rest.
#[derive(Debug)]
pub struct Entry {
    stamp: u64,
    /// When it was published, in seconds since the start of the process.
    second: u32,
    /// If the id is not packed, the index of the room in the publication. Else the low bits of the id's number, so that a
    /// search for an id rarely needs the allocation.
    mark: u16,
    kind: Kind,
    flags: u8,
    /// The id if it does not follow from the stamp, the file name if there is one, and the data.
    packed: Box<[u8]>,
}

const _: () = assert!(size_of::<Entry>() <= 32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
    Binary,
    Mixed,
}

/// The data of a kept message.
#[derive(Debug)]
pub enum Content<'a> {
    /// Data without attachments.
    Simple(Data<'a>),
    /// A JSON value with placeholders for attachments.
    Mixed {
        /// The value.
        json: &'a str,
        /// The attachments.
        attachments: Vec<Vec<u8>>,
    },
}

impl Content<'_> {
    /// The data.
    pub fn data(&self) -> Data<'_> {
        match self {
            Content::Simple(data) => *data,
            Content::Mixed { json, attachments } => Data::Mixed { json, attachments },
        }
    }
}

impl Entry {
    /// Packs a message that was published in this second. `own` is an id of this relay.
    pub fn new(message: &Published<'_>, second: u32, own: MessageId) -> Entry {
        let Published { stamp, id, data, filename, author } = *message;
        let mut packed = Vec::with_capacity(packed_len(message, own));
        let (mut mark, mut flags) = (id.part_index() as u16, 0);
        if needs_id(message, own) {
            flags |= PACKED_ID;
            mark = id.number() as u16;
            packed.extend_from_slice(&id.number().to_le_bytes());
            packed.extend_from_slice(&id.node_bits().to_le_bytes());
            packed.extend_from_slice(&id.part_index().to_le_bytes());
        }
        if !filename.is_empty() {
            flags |= FILENAME;
            put(&mut packed, filename.as_bytes());
        }
        if let Author::Client(from) = author {
            flags |= FROM_CLIENT;
            if !from.is_empty() {
                flags |= FROM;
                put(&mut packed, from.as_bytes());
            }
        }
        let kind = match data {
            Data::Text(text) => {
                packed.extend_from_slice(text.as_bytes());
                Kind::Text
            }
            Data::Json(json) => {
                packed.extend_from_slice(json.as_bytes());
                Kind::Json
            }
            Data::Binary(bytes) => {
                packed.extend_from_slice(bytes);
                Kind::Binary
            }
            Data::Mixed { json, attachments } => {
                put(&mut packed, json.as_bytes());
                attachments.iter().for_each(|bytes| put(&mut packed, bytes));
                Kind::Mixed
            }
        };
        Entry { stamp, second, mark, kind, flags, packed: packed.into() }
    }

    /// The bytes that the entry of a message takes, with its allocation. `own` is an id of this relay.
    pub fn cost_of(message: &Published<'_>, own: MessageId) -> usize {
        size_of::<Entry>() + ALLOCATION + packed_len(message, own)
    }

    /// The bytes that the entry takes, with its allocation.
    pub fn cost(&self) -> usize {
        size_of::<Entry>() + ALLOCATION + self.packed.len()
    }

    /// Its place in the order of all messages of this relay.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether it is older than `bounds` allow at `second`.
    pub fn is_expired(&self, bounds: &Bounds, second: u32) -> bool {
        second.saturating_sub(self.second) > bounds.seconds
    }

    /// Its id in its room. `own` is an id of this relay.
    pub fn id(&self, own: MessageId) -> MessageId {
        match self.packed_id() {
            Some(id) => id,
            None => own.with_number(self.stamp - u64::from(self.mark)).part(self.mark.into()),
        }
    }

    /// Whether it has the id `id`, which another relay made.
    pub fn has_foreign_id(&self, id: MessageId) -> bool {
        self.flags & PACKED_ID != 0 && self.mark == id.number() as u16 && self.packed_id() == Some(id)
    }

    /// Who sent it.
    pub fn author(&self) -> Author<'_> {
        match self.flags & FROM_CLIENT {
            0 => Author::Backend,
            _ => Author::Client(text(self.parts().1)),
        }
    }

    /// The message log file that the backend named, or an empty string.
    pub fn filename(&self) -> &str {
        text(self.parts().0)
    }

    /// Its data.
    pub fn content(&self) -> Content<'_> {
        let data = self.parts().2;
        match self.kind {
            Kind::Text => Content::Simple(Data::Text(text(data))),
            Kind::Json => Content::Simple(Data::Json(text(data))),
            Kind::Binary => Content::Simple(Data::Binary(data)),
            Kind::Mixed => {
                let (json, mut rest) = take(data);
                let mut attachments = Vec::new();
                while !rest.is_empty() {
                    let (bytes, after) = take(rest);
                    attachments.push(bytes.to_vec());
                    rest = after;
                }
                Content::Mixed { json: text(json), attachments }
            }
        }
    }

    fn packed_id(&self) -> Option<MessageId> {
        let (number, rest) = self.packed.split_first_chunk().filter(|_| self.flags & PACKED_ID != 0)?;
        let (node, rest) = rest.split_first_chunk()?;
        let part = u32::from_le_bytes(*rest.first_chunk()?);
        Some(MessageId::first(u64::from_le_bytes(*number), u32::from_le_bytes(*node)).part(part as usize))
    }

    /// The file name, which client sent it, and the data.
    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let rest = &self.packed[if self.flags & PACKED_ID == 0 { 0 } else { PACKED_ID_LEN }..];
        let part = |flag, rest| if self.flags & flag == 0 { (&[][..], rest) } else { take(rest) };
        let (filename, rest) = part(FILENAME, rest);
        let (from, data) = part(FROM, rest);
        (filename, from, data)
    }
}

/// Whether the id does not follow from the stamp.
fn needs_id(message: &Published<'_>, own: MessageId) -> bool {
    let Published { id, stamp, .. } = message;
    !id.is_same_node(own) || id.stamp() != *stamp || id.part_index() > u16::MAX.into()
}

fn packed_len(message: &Published<'_>, own: MessageId) -> usize {
    let id = if needs_id(message, own) { PACKED_ID_LEN } else { 0 };
    let filename = if message.filename.is_empty() { 0 } else { LENGTH_LEN + message.filename.len() };
    let from = match message.author {
        Author::Client(from) if !from.is_empty() => LENGTH_LEN + from.len(),
        _ => 0,
    };
    let lengths = match message.data {
        Data::Mixed { attachments, .. } => LENGTH_LEN * (1 + attachments.len()),
        _ => 0,
    };
    id + filename + from + lengths + message.data.size()
}

/// Appends bytes with their length.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Splits off the bytes that [`put`] appended.
fn take(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk().expect("entries are packed with all lengths");
    rest.split_at(u32::from_le_bytes(*length) as usize)
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("it was packed as text")
}

/// Flags: the id is packed, a file name is packed, a client sent the message, it is packed which one.
const PACKED_ID: u8 = 1;
const FILENAME: u8 = 2;
const FROM_CLIENT: u8 = 4;
const FROM: u8 = 8;

const PACKED_ID_LEN: usize = 16;
const LENGTH_LEN: usize = 4;

/// Bytes of an allocation's header and of its rounding to 16 bytes, on average.
pub const ALLOCATION: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> MessageId {
        MessageId::first(1000, 7)
    }

    /// Packs a message and compares what comes out again.
    fn packed(message: &Published<'_>) -> Entry {
        let entry = Entry::new(message, 5, own());
        assert_eq!((entry.stamp(), entry.id(own())), (message.stamp, message.id));
        assert_eq!((entry.filename(), entry.author()), (message.filename, message.author));
        assert_eq!(entry.content().data(), message.data);
        assert_eq!(entry.cost(), Entry::cost_of(message, own()));
        entry
    }

    #[test]
    fn messages_are_unpacked_as_they_were() {
        let attachments = [b"\0\xff".to_vec(), Vec::new()];
        let json = "[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
        for data in [
            Data::Text("中\n"),
            Data::Text(""),
            Data::Json("{\"a\" : 1.0}"),
            Data::Binary(b"\xff\0"),
            Data::Binary(b""),
            Data::Mixed { json, attachments: &attachments },
            Data::Mixed { json: "1", attachments: &[] },
        ] {
            for (filename, author) in [
                ("", Author::Backend),
                ("a.log", Author::Backend),
                ("", Author::Client("")),
                (&*"x".repeat(300), Author::Client("{\"userid\":\"7\"}")),
            ] {
                for (id, stamp) in [
                    (own().with_number(2000), 2000),
                    (own().with_number(2000).part(3), 2003),
                    (own().with_number(2000).part(65_536), 67_536),
                    (MessageId::first(2000, 8), 2000),
                    (MessageId::first(2000, 8).part(70_000), 5000),
                    // An id that another relay claims to be of this one.
                    (own().with_number(2000), 2001),
                ] {
                    packed(&Published { stamp, id, data, filename, author });
                }
            }
        }
    }

    #[test]
    fn only_foreign_ids_are_found() {
        let published =
            |id, stamp| Published { stamp, id, data: Data::Text("x"), filename: "", author: Author::Backend };
        let other = MessageId::first(0x12_0005, 8);
        let entry = packed(&published(other.part(2), 9000));
        assert!(entry.has_foreign_id(other.part(2)));
        for wrong in [other, other.with_number(0x13_0005).part(2), MessageId::first(0x12_0005, 9).part(2)] {
            assert!(!entry.has_foreign_id(wrong));
        }
        let mine = own().with_number(2000);
        assert!(!packed(&published(mine, 2000)).has_foreign_id(mine));
    }
}
