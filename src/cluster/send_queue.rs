//! Publications that are kept until Redis confirms them, even through an outage. The queue is bounded in bytes and age:
//! the oldest publications are dropped first, and counted.
//!
//! A server that was demoted to a replica confirms publications that only its own subscribers get. So confirmed
//! publications are kept until a write after them has succeeded, which proves that the server was still a master. If
//! the write is refused, they are sent again to the new master; relays drop those that they have received.

use core::{mem, time::Duration};
use std::collections::VecDeque;

use crate::clock::Time;

/// Encoded commands in order.
#[derive(Default)]
pub struct SendQueue {
    queue: VecDeque<Entry>,
    bytes: usize,
    most: usize,
    age: Duration,
    last: u64,
    /// How many commands at the front of the queue were sent on this connection.
    sent: usize,
    /// How many of these were confirmed, but not proven.
    confirmed: usize,
    /// Commands that were sent and then evicted before they were confirmed: Redis may have received them.
    evicted: u64,
    dropped: u64,
}

struct Entry {
    serial: u64,
    /// Empty if it was confirmed and is not to be sent again.
    command: Vec<u8>,
    since: Time,
    volatile: bool,
}

/// What happens to confirmed commands when the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// They are dropped: the server was a master as far as is known.
    Drop,
    /// They are sent again: the server is a replica.
    Repeat,
}

impl SendQueue {
    /// Sets the bounds: bytes, and how long a command may wait.
    pub fn configure(&mut self, most: usize, age: Duration) {
        (self.most, self.age) = (most, age);
    }

    /// Queues a command. A `volatile` one is dropped with the connection. A command that exceeds the bound by itself is
    /// accepted only if it can be sent at once (`sending`).
    pub fn push(&mut self, command: Vec<u8>, volatile: bool, sending: bool, now: Time) {
        let large = command.len() + OVERHEAD > self.most;
        if large && !sending {
            // It would evict all others, and would itself exceed the bound.
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
        if self.confirmed > 0 {
            self.confirmed -= 1;
            self.sent -= 1;
        } else if self.sent > 0 {
            self.sent -= 1;
            self.evicted += 1;
        } else {
            self.dropped += 1;
        }
    }

    /// The next command to send, and its number.
    pub fn poll_send(&mut self) -> Option<(&[u8], u64)> {
        let entry = self.queue.get(self.sent)?;
        self.sent += 1;
        Some((&entry.command, entry.serial))
    }

    /// Bytes of memory of the commands that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits to be sent or confirmed.
    pub fn is_empty(&self) -> bool {
        self.queue.len() == self.confirmed
    }

    /// Handles Redis's confirmation of a command.
    pub fn confirm(&mut self, serial: u64) {
        match self.queue.get_mut(self.confirmed) {
            Some(first) if self.confirmed < self.sent && first.serial <= serial => {
                self.confirmed += 1;
                if first.volatile || first.command.len() + OVERHEAD > self.most {
                    self.bytes -= mem::take(&mut first.command).len();
                }
            }
            _ => self.evicted = self.evicted.saturating_sub(1),
        }
    }

    /// The number of the last command that was confirmed but not proven. [`SendQueue::prove`] it once a later write on
    /// this connection has succeeded.
    pub fn unproven(&self) -> Option<u64> {
        self.queue.get(self.confirmed.checked_sub(1)?).map(|entry| entry.serial)
    }

    /// Reports that the server was a master when it confirmed the command with this number.
    pub fn prove(&mut self, serial: u64) {
        while self.confirmed > 0 && self.queue.front().is_some_and(|entry| entry.serial <= serial) {
            self.drop_first();
        }
    }

    /// Handles the loss of the connection: unconfirmed commands will be sent again, except volatile ones.
    pub fn restart(&mut self, unproven: Unproven) {
        while self.confirmed > 0 && unproven == Unproven::Drop {
            self.drop_first();
        }
        (self.sent, self.confirmed) = (0, 0);
        self.dropped += mem::take(&mut self.evicted);
        self.queue.retain(|entry| {
            let again = !entry.volatile && !entry.command.is_empty();
            if !again {
                self.bytes -= entry.command.len() + OVERHEAD;
                self.dropped += u64::from(!entry.command.is_empty());
            }
            again
        });
    }

    /// Drops commands that have waited too long.
    pub fn expire(&mut self, now: Time) {
        while self.sent == 0 && self.queue.front().is_some_and(|entry| entry.since.after(self.age) <= now) {
            self.drop_first();
        }
    }

    /// How many commands were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }
}

/// Memory that a queued command takes besides its bytes.
const OVERHEAD: usize = size_of::<Entry>();

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn sent(queue: &mut SendQueue) -> Vec<(char, u64)> {
        let mut found = Vec::new();
        while let Some((command, serial)) = queue.poll_send() {
            found.push((command[0] as char, serial));
        }
        found
    }

    fn filled(most: usize, text: &str) -> SendQueue {
        let mut queue = SendQueue::default();
        queue.configure(most, Duration::from_secs(10));
        text.bytes().for_each(|byte| queue.push(vec![byte], false, false, at(1)));
        queue
    }

    #[test]
    fn unconfirmed_commands_are_sent_again() {
        let mut queue = filled(10_000, "abc");
        assert_eq!(sent(&mut queue), [('a', 1), ('b', 2), ('c', 3)]);
        assert!(queue.poll_send().is_none());
        queue.confirm(1);
        queue.push(b"d".to_vec(), true, false, at(2));
        queue.restart(Unproven::Drop);
        queue.push(b"e".to_vec(), false, false, at(2));
        assert_eq!(sent(&mut queue), [('b', 2), ('c', 3), ('e', 5)]);
        [2, 3, 5].into_iter().for_each(|serial| queue.confirm(serial));
        assert!(queue.is_empty());
        queue.prove(5);
        assert_eq!((queue.bytes, queue.take_dropped(), queue.take_dropped()), (0, 1, 0));
    }

    /// Commands that a replica confirmed are sent again, up to the last write that succeeded. The bound applies, and none
    /// of them counts as dropped.
    #[test]
    fn unproven_commands_are_sent_again() {
        let mut queue = filled(10_000, "abc");
        queue.push(b"v".to_vec(), true, true, at(2));
        assert_eq!((sent(&mut queue).len(), queue.unproven()), (4, None));
        (1..4).for_each(|serial| queue.confirm(serial));
        assert_eq!((queue.unproven(), queue.is_empty()), (Some(3), false));
        queue.confirm(4);
        assert_eq!((queue.unproven(), queue.is_empty()), (Some(4), true));
        queue.prove(1);
        queue.push(b"d".to_vec(), false, true, at(2));
        assert_eq!(sent(&mut queue), [('d', 5)]);
        queue.restart(Unproven::Repeat);
        assert_eq!(sent(&mut queue), [('b', 2), ('c', 3), ('d', 5)]);
        [2, 3, 5].into_iter().for_each(|serial| queue.confirm(serial));
        queue.restart(Unproven::Drop);
        assert_eq!((sent(&mut queue), queue.bytes, queue.take_dropped()), (vec![], 0, 0));

        let each = OVERHEAD + 1;
        let mut queue = filled(2 * each, "ab");
        sent(&mut queue);
        (1..3).for_each(|serial| queue.confirm(serial));
        queue.push(b"c".to_vec(), false, true, at(2));
        queue.push(vec![b'x'; 2 * each], false, true, at(2));
        assert_eq!(sent(&mut queue), [('c', 3), ('x', 4)]);
        (3..5).for_each(|serial| queue.confirm(serial));
        assert!(queue.bytes <= 4 * each, "the large one is not kept");
        queue.expire(at(99));
        queue.restart(Unproven::Repeat);
        assert_eq!((sent(&mut queue), queue.take_dropped()), (vec![('b', 2), ('c', 3)], 0));
    }

    #[test]
    fn the_oldest_makes_room() {
        let each = OVERHEAD + 1;
        let mut queue = filled(3 * each, "abcde");
        assert_eq!(queue.take_dropped(), 2);
        assert_eq!(sent(&mut queue), [('c', 3), ('d', 4), ('e', 5)]);
        // It was sent, so Redis may have received it.
        queue.push(b"f".to_vec(), false, false, at(2));
        assert_eq!(queue.take_dropped(), 0);
        queue.confirm(3);
        queue.confirm(4);
        assert_eq!(sent(&mut queue), [('f', 6)]);
        queue.restart(Unproven::Drop);
        assert_eq!((queue.take_dropped(), sent(&mut queue)), (0, vec![('e', 5), ('f', 6)]));
        let mut lost = filled(each, "a");
        assert_eq!(sent(&mut lost).len(), 1);
        lost.push(b"b".to_vec(), false, false, at(2));
        lost.restart(Unproven::Drop);
        assert_eq!(lost.take_dropped(), 1);
        let mut large = filled(each, "a");
        large.push(vec![b'x'; each + 1], false, false, at(1));
        assert_eq!((large.take_dropped(), sent(&mut large)), (1, vec![('a', 1)]));
        large.push(vec![b'x'; each + 1], false, true, at(1));
        assert_eq!((large.take_dropped(), sent(&mut large)), (0, vec![('x', 2)]));
    }

    #[test]
    fn commands_expire() {
        let mut queue = filled(10_000, "ab");
        queue.push(b"c".to_vec(), false, false, at(5));
        queue.expire(at(10));
        assert_eq!(queue.take_dropped(), 0);
        queue.expire(at(11));
        assert_eq!((queue.take_dropped(), sent(&mut queue)), (2, vec![('c', 3)]));
        queue.expire(at(99));
        assert!(!queue.is_empty(), "it was sent");
    }
}
