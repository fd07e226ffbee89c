//! Message ids (docs/protocol.md, Messages and ids).

use core::fmt;
use std::io::Write;

/// The id of a message. Ids of one process increase. Ids of different processes differ.
///
/// The first 11 digits are a [number](MessageId::number): the microseconds since 1970 when the message was published, by
/// the [`IdClock`](super::IdClock) of its relay. The last 6 digits are 30 random bits, which differ between relays, and
/// between two starts of one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    number: u64,
    node: u32,
    /// The index of the room among those of one publication.
    part: u32,
}

impl MessageId {
    /// The largest index of a room that is parsed: more than the largest of any publication, which
    /// [`MAX_COPIES_SIZE`](super::new_msg::MAX_COPIES_SIZE) limits.
    pub const MAX_PART: u32 = (1 << 21) - 1;

    /// The initial id of a process that starts at `unix_micros`; messages get the ids after it. `node` should be
    /// random; its upper two bits are ignored.
    pub fn first(unix_micros: u64, node: u32) -> MessageId {
        MessageId { number: unix_micros, node: node & 0x3fff_ffff, part: 0 }
    }

    /// An id of the same relay for the first room of a publication.
    pub fn with_number(self, number: u64) -> MessageId {
        MessageId { number, part: 0, ..self }
    }

    /// Parses an id: 17 digits, and from the second room on a dot and the index of the room, as [`MessageId::write`]
    /// writes them.
    pub fn parse(text: &str) -> Option<MessageId> {
        let value = |text: &str| {
            text.bytes().try_fold(0u64, |sum, digit| {
                let value = DIGITS.iter().position(|known| *known == digit)?;
                Some(sum << 5 | value as u64)
            })
        };
        let (number, rest) = text.split_at_checked(11)?;
        let (node, rest) = rest.split_at_checked(6)?;
        let part = match rest.strip_prefix('.') {
            Some(part) => parse_part(part)?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        Some(MessageId { number: value(number)?, node: value(node)? as u32, part })
    }

    /// The number of the publication: microseconds since 1970, by the clock of the relay that published it.
    pub fn number(self) -> u64 {
        self.number
    }

    /// The time of the publication in milliseconds since 1970, by the clock of the relay that published it.
    pub fn unix_millis(self) -> u64 {
        self.number / 1000
    }

    /// The index of the room among those of the publication.
    pub fn part_index(self) -> u32 {
        self.part
    }

    /// The place of a message of this relay in the order of its messages. A publication to several rooms takes a number
    /// for each of them.
    pub fn stamp(self) -> u64 {
        self.number + u64::from(self.part)
    }

    /// The random bits that stand for the relay.
    pub(crate) fn node_bits(self) -> u32 {
        self.node
    }

    /// Whether both ids were made by the same relay.
    pub fn is_same_node(self, other: MessageId) -> bool {
        self.node == other.node
    }

    /// The name of this relay in a cluster: the last six digits of its ids.
    pub fn node(self) -> String {
        self.part(0).to_string()[11..].to_owned()
    }

    /// The id in the room with index `part`: one publication is a message in each of its rooms.
    pub fn part(self, part: usize) -> MessageId {
        MessageId { part: part as u32, ..self }
    }

    fn digits(self) -> [u8; 17] {
        let mut text = [0; 17];
        let (number, node) = text.split_at_mut(11);
        for (part, mut rest) in [(number, self.number), (node, self.node.into())] {
            for digit in part.iter_mut().rev() {
                *digit = DIGITS[rest as usize & 31];
                rest >>= 5;
            }
        }
        text
    }

    /// Appends the id: 17 digits, and from the second room on a dot and the index of the room.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digits());
        if self.part > 0 {
            write!(out, ".{}", self.part).expect("writing to memory succeeds");
        }
    }
}

/// Parses the index of a room, from 1 to [`MessageId::MAX_PART`] without leading zeros.
fn parse_part(text: &str) -> Option<u32> {
    let is_canonical = text.len() <= 7 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|part| is_canonical && *part <= MessageId::MAX_PART)
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.digits()).expect("digits are ASCII"))?;
        if self.part > 0 { write!(f, ".{}", self.part) } else { Ok(()) }
    }
}

/// Base32hex: digits are in ASCII order of their values, so that ids sort as text.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_number_and_are_parsed_as_written() {
        let mut id = MessageId::first(1_795_000_000_000_000, 7);
        let mut last = id.to_string();
        assert_eq!(last.len(), 17);
        for _ in 0..100 {
            id = id.with_number(id.number() + 1);
            assert!(id.to_string() > last);
            last = id.to_string();
        }
        assert!(id.part(1).to_string() > last && id.part(0).to_string() == last);
        assert_eq!((id.node().as_str(), &last[11..]), ("000007", "000007"));
        assert_eq!((id.number(), id.unix_millis()), (1_795_000_000_000_100, 1_795_000_000_000));
        assert_ne!(MessageId::first(5, 1).to_string(), MessageId::first(5, 2).to_string());
        for part in [0, 1, 2, 9, 10, 255, 65_536, MessageId::MAX_PART as usize] {
            let id = id.part(part);
            assert_eq!(MessageId::parse(&id.to_string()), Some(id));
            assert_eq!((id.part_index() as usize, id.stamp()), (part, id.number() + part as u64));
        }
    }

    #[test]
    fn wrong_ids() {
        for wrong in ["", "00000000000000000x", "0000000000000000w", "0000000000000000", "000000000é0000000"] {
            assert_eq!(MessageId::parse(wrong), None, "{wrong}");
        }
        for wrong in ["1", ".", ".0", ".01", ".+1", ".1 ", ".1.1", ".2097152", ".4294967297", ".99999999999999999999"] {
            assert_eq!(MessageId::parse(&format!("00000000000000000{wrong}")), None, "{wrong}");
        }
    }
}
