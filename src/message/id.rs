//! Message ids (docs/protocol.md, Messages and ids).

use core::fmt;
use std::io::Write;

/// The id of a message. Ids of one process increase. Ids of different processes differ.
///
/// The first 11 digits are a counter that starts at the microseconds since 1970 and grows by one for each message, so
/// that ids keep growing after a restart. The last 6 digits are 30 random bits, which differ between relays, and
/// between two starts of one relay with a clock that was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    number: u64,
    node: u32,
    /// The index of the room among those of one publication.
    part: u32,
}

impl MessageId {
    /// The initial id of a process that starts at `unix_micros`; messages get the ids after it. `node` should be
    /// random; its upper two bits are ignored.
    pub fn first(unix_micros: u64, node: u32) -> MessageId {
        MessageId { number: unix_micros, node: node & 0x3fff_ffff, part: 0 }
    }

    /// The next id.
    pub fn next(self) -> MessageId {
        MessageId { number: self.number + 1, ..self }
    }

    /// Parses an id of 17 digits, without a part.
    pub fn parse(text: &str) -> Option<MessageId> {
        let value = |text: &str| {
            text.bytes().try_fold(0u64, |sum, digit| {
                let value = DIGITS.iter().position(|known| *known == digit)?;
                Some(sum << 5 | value as u64)
            })
        };
        let (number, node) = (text.len() == 17).then(|| text.split_at_checked(11)).flatten()?;
        Some(MessageId { number: value(number)?, node: value(node)? as u32, part: 0 })
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
    fn ids_grow_and_differ() {
        let mut id = MessageId::first(1_795_000_000_000_000, 7);
        let mut last = id.to_string();
        assert_eq!(last.len(), 17);
        for _ in 0..100 {
            id = id.next();
            assert!(id.to_string() > last);
            last = id.to_string();
        }
        assert!(id.part(1).to_string() > last && id.part(0).to_string() == last);
        assert_eq!(MessageId::parse(&last), Some(id));
        assert_eq!((id.node().as_str(), &last[11..]), ("000007", "000007"));
        for wrong in ["", "00000000000000000x", "0000000000000000w", "0000000000000000", "000000000é0000000"] {
            assert_eq!(MessageId::parse(wrong), None, "{wrong}");
        }
        assert_ne!(MessageId::first(5, 1).to_string(), MessageId::first(5, 2).to_string());
        assert!(MessageId::first(1_795_000_000_000_200, 1).to_string() > last);
    }
}
