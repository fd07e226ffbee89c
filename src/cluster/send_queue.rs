//! Publications that are kept until Redis confirms them, even through an outage. The queue is bounded in bytes and age:
//! the oldest publications are dropped first, and counted.

use core::time::Duration;
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
    /// Commands that were sent and then evicted before they were confirmed: Redis may have received them.
    evicted: u64,
    dropped: u64,
}

struct Entry {
    serial: u64,
    command: Vec<u8>,
    since: Time,
    volatile: bool,
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
        if self.sent > 0 {
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

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Handles Redis's confirmation of a command.
    pub fn confirm(&mut self, serial: u64) {
        match self.queue.front() {
            Some(first) if first.serial <= serial => {
                self.bytes -= first.command.len() + OVERHEAD;
                self.queue.pop_front();
                self.sent = self.sent.saturating_sub(1);
            }
            _ => self.evicted = self.evicted.saturating_sub(1),
        }
    }

    /// Handles the loss of the connection: unconfirmed commands will be sent again, except volatile ones.
    pub fn restart(&mut self) {
        self.sent = 0;
        self.dropped += core::mem::take(&mut self.evicted);
        self.queue.retain(|entry| {
            if entry.volatile {
                self.bytes -= entry.command.len() + OVERHEAD;
                self.dropped += 1;
            }
            !entry.volatile
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
        core::mem::take(&mut self.dropped)
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
        queue.restart();
        queue.push(b"e".to_vec(), false, false, at(2));
        assert_eq!(sent(&mut queue), [('b', 2), ('c', 3), ('e', 5)]);
        [2, 3, 5].into_iter().for_each(|serial| queue.confirm(serial));
        assert!(queue.is_empty());
        assert_eq!((queue.bytes, queue.take_dropped(), queue.take_dropped()), (0, 1, 0));
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
        queue.restart();
        assert_eq!((queue.take_dropped(), sent(&mut queue)), (0, vec![('e', 5), ('f', 6)]));
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
