//! What waits to be published: while Redis is away, and until it has said that it got it. Bounded in bytes and in age; the
//! oldest goes first, and is counted.

use core::time::Duration;
use std::collections::VecDeque;

use crate::clock::Time;

/// Commands in their order.
#[derive(Default)]
pub struct Outgoing {
    queue: VecDeque<Entry>,
    bytes: usize,
    most: usize,
    age: Duration,
    last: u64,
    /// How many of them, from the front, were sent on this connection.
    sent: usize,
    /// Those that were sent, not confirmed, and had to make room: it may have got them.
    forgotten: u64,
    dropped: u64,
}

struct Entry {
    serial: u64,
    command: Vec<u8>,
    since: Time,
    volatile: bool,
}

impl Outgoing {
    /// Takes new bounds.
    pub fn configure(&mut self, most: usize, age: Duration) {
        (self.most, self.age) = (most, age);
    }

    /// Takes a command. One that is `volatile` is not sent on another connection than this one; one that is larger than
    /// the bound is taken only while it can be sent at once.
    pub fn push(&mut self, command: Vec<u8>, volatile: bool, sending: bool, now: Time) {
        let large = command.len() + OVERHEAD > self.most;
        if large && !sending {
            // It would push out all others, and then itself.
            self.dropped += 1;
            return;
        }
        self.last += 1;
        self.bytes += command.len() + OVERHEAD;
        self.queue.push_back(Entry { serial: self.last, command, since: now, volatile });
        while self.bytes > self.most && !large {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(entry) = self.queue.pop_front() else { return };
        self.bytes -= entry.command.len() + OVERHEAD;
        if self.sent > 0 {
            self.sent -= 1;
            self.forgotten += 1;
        } else {
            self.dropped += 1;
        }
    }

    /// The next one to be sent, and its number.
    pub fn poll_send(&mut self) -> Option<(&[u8], u64)> {
        let entry = self.queue.get(self.sent)?;
        self.sent += 1;
        Some((&entry.command, entry.serial))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// It got the one of that number.
    pub fn confirm(&mut self, serial: u64) {
        match self.queue.front() {
            Some(first) if first.serial <= serial => {
                self.bytes -= first.command.len() + OVERHEAD;
                self.queue.pop_front();
                self.sent = self.sent.saturating_sub(1);
            }
            _ => self.forgotten = self.forgotten.saturating_sub(1),
        }
    }

    /// The connection is lost: what was not confirmed is to be sent again, and what is of no use later is not.
    pub fn restart(&mut self) {
        self.sent = 0;
        self.dropped += core::mem::take(&mut self.forgotten);
        self.queue.retain(|entry| {
            if entry.volatile {
                self.bytes -= entry.command.len() + OVERHEAD;
                self.dropped += 1;
            }
            !entry.volatile
        });
    }

    /// Drops what has waited too long.
    pub fn expire(&mut self, now: Time) {
        while self.sent == 0 && self.queue.front().is_some_and(|entry| entry.since.after(self.age) <= now) {
            self.drop_first();
        }
    }

    /// How many were dropped since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        core::mem::take(&mut self.dropped)
    }
}

/// Bytes that an entry costs beside its command.
const OVERHEAD: usize = size_of::<Entry>();

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn sent(outgoing: &mut Outgoing) -> Vec<(char, u64)> {
        let mut found = Vec::new();
        while let Some((command, serial)) = outgoing.poll_send() {
            found.push((command[0] as char, serial));
        }
        found
    }

    fn filled(most: usize, text: &str) -> Outgoing {
        let mut outgoing = Outgoing::default();
        outgoing.configure(most, Duration::from_secs(10));
        text.bytes().for_each(|byte| outgoing.push(vec![byte], false, false, at(1)));
        outgoing
    }

    #[test]
    fn what_is_not_confirmed_is_sent_again() {
        let mut outgoing = filled(10_000, "abc");
        assert_eq!(sent(&mut outgoing), [('a', 1), ('b', 2), ('c', 3)]);
        assert!(outgoing.poll_send().is_none());
        outgoing.confirm(1);
        outgoing.push(b"d".to_vec(), true, false, at(2));
        outgoing.restart();
        outgoing.push(b"e".to_vec(), false, false, at(2));
        assert_eq!(sent(&mut outgoing), [('b', 2), ('c', 3), ('e', 5)]);
        [2, 3, 5].into_iter().for_each(|serial| outgoing.confirm(serial));
        assert!(outgoing.is_empty());
        assert_eq!((outgoing.bytes, outgoing.take_dropped(), outgoing.take_dropped()), (0, 1, 0));
    }

    #[test]
    fn the_oldest_makes_room() {
        let each = OVERHEAD + 1;
        let mut outgoing = filled(3 * each, "abcde");
        assert_eq!(outgoing.take_dropped(), 2);
        assert_eq!(sent(&mut outgoing), [('c', 3), ('d', 4), ('e', 5)]);
        // Sent, so perhaps not lost.
        outgoing.push(b"f".to_vec(), false, false, at(2));
        assert_eq!(outgoing.take_dropped(), 0);
        outgoing.confirm(3);
        outgoing.confirm(4);
        assert_eq!(sent(&mut outgoing), [('f', 6)]);
        outgoing.restart();
        assert_eq!((outgoing.take_dropped(), sent(&mut outgoing)), (0, vec![('e', 5), ('f', 6)]));
        let mut lost = filled(each, "a");
        assert_eq!(sent(&mut lost).len(), 1);
        lost.push(b"b".to_vec(), false, false, at(2));
        lost.restart();
        assert_eq!(lost.take_dropped(), 1);
        let mut large = filled(each, "a");
        large.push(vec![b'x'; each + 1], false, false, at(1));
        assert_eq!((large.take_dropped(), sent(&mut large)), (1, vec![('a', 1)]));
        large.push(vec![b'x'; each + 1], false, true, at(1));
        assert_eq!((large.take_dropped(), sent(&mut large)), (0, vec![('x', 2)]));
    }

    #[test]
    fn what_waits_too_long_is_dropped() {
        let mut outgoing = filled(10_000, "ab");
        outgoing.push(b"c".to_vec(), false, false, at(5));
        outgoing.expire(at(10));
        assert_eq!(outgoing.take_dropped(), 0);
        outgoing.expire(at(11));
        assert_eq!((outgoing.take_dropped(), sent(&mut outgoing)), (2, vec![('c', 3)]));
        outgoing.expire(at(99));
        assert!(!outgoing.is_empty(), "it is on its way");
    }
}
