//! The clients to flush, in two queues: a message to many members must not delay a message to a few.
//!
//! The server writes to a limited number of clients in a turn, and polls in between. Clients that are reached by a large
//! fan-out wait in the bulk queue; all others wait in the urgent queue, which goes first. Every call of
//! [`FlushQueue::poll`] also serves the bulk queue, so neither starves.
//!
//! While clients wait, their outboxes refer to batches of the [`Turn`](crate::frame::Turn). Batches are freed once every
//! client that was waiting when they were [sealed](FlushQueue::seal) has been polled.

use crate::key::ClientKey;

/// How urgently a client must be flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dirty {
    /// It has nothing to send.
    #[default]
    No,
    /// It is in the bulk queue.
    Bulk,
    /// It is in the urgent queue, and perhaps in the bulk queue as well.
    Urgent,
}

impl Dirty {
    /// The urgency of a message to `receivers` clients.
    pub fn of_fan_out(receivers: usize) -> Dirty {
        if receivers > LARGE_FAN_OUT { Dirty::Bulk } else { Dirty::Urgent }
    }
}

/// A queue of clients that is consumed from the front.
#[derive(Default)]
struct Fifo {
    keys: Vec<ClientKey>,
    head: usize,
    /// How many of the first keys were waiting when batches were sealed.
    sealed: usize,
    /// How many keys were taken since the start.
    taken: u64,
}

/// How many clients were ever appended to a queue, and taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Appended.
    pub appended: u64,
    /// Taken.
    pub taken: u64,
}

impl Fifo {
    fn len(&self) -> usize {
        self.keys.len() - self.head
    }

    /// Moves up to `count` keys to the end of `into`.
    fn take(&mut self, count: usize, into: &mut Vec<ClientKey>) {
        let count = count.min(self.len());
        if count == self.keys.len() && into.is_empty() {
            core::mem::swap(&mut self.keys, into);
        } else {
            into.extend_from_slice(&self.keys[self.head..self.head + count]);
            self.head += count;
            if self.head * 2 > self.keys.len() {
                self.keys.drain(..self.head);
                self.head = 0;
            }
        }
        self.sealed = self.sealed.saturating_sub(count);
        self.taken += count as u64;
    }

    fn position(&self) -> Position {
        Position { appended: self.taken + self.len() as u64, taken: self.taken }
    }
}

/// See [the module](self).
#[derive(Default)]
pub struct FlushQueue {
    urgent: Fifo,
    bulk: Fifo,
}

impl FlushQueue {
    /// The queue to append clients of an urgency to. The caller marks them, so that it is not appended again.
    #[inline]
    pub fn of(&mut self, dirty: Dirty) -> &mut Vec<ClientKey> {
        match dirty {
            Dirty::Bulk => &mut self.bulk.keys,
            Dirty::No | Dirty::Urgent => &mut self.urgent.keys,
        }
    }

    /// Whether no client waits.
    pub fn is_empty(&self) -> bool {
        self.urgent.len() == 0 && self.bulk.len() == 0
    }

    /// Moves up to `count` clients into `into`, which is cleared first: a quarter is reserved for the bulk queue. A client of
    /// the bulk queue that was flushed meanwhile does not count: `waits` says whether it still waits.
    pub fn poll(&mut self, count: usize, into: &mut Vec<ClientKey>, waits: impl Fn(ClientKey) -> bool) {
        into.clear();
        let reserved = self.bulk.len().min(count.div_ceil(4));
        self.urgent.take(count - reserved, into);
        while self.bulk.len() > 0 && into.len() < count {
            let from = into.len();
            self.bulk.take(count - from, into);
            let mut kept = from;
            for index in from..into.len() {
                if waits(into[index]) {
                    into[kept] = into[index];
                    kept += 1;
                }
            }
            into.truncate(kept);
        }
    }

    /// The positions in the urgent and in the bulk queue.
    pub fn positions(&self) -> (Position, Position) {
        (self.urgent.position(), self.bulk.position())
    }

    /// Remembers the clients that wait now: only they refer to the batches that are sealed now.
    pub fn seal(&mut self) {
        self.urgent.sealed = self.urgent.len();
        self.bulk.sealed = self.bulk.len();
    }

    /// Whether every client that was waiting at the last [`FlushQueue::seal`] has been polled.
    pub fn is_unsealed(&self) -> bool {
        self.urgent.sealed == 0 && self.bulk.sealed == 0
    }
}

/// Receivers above which a message is bulk. Writing to so many clients takes about 2 ms.
const LARGE_FAN_OUT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Slots;

    fn keys(count: usize) -> Vec<ClientKey> {
        let mut slots = Slots::new();
        (0..count).map(|_| slots.insert(())).collect()
    }

    #[test]
    fn urgent_clients_go_first_and_bulk_does_not_starve() {
        let keys = keys(30);
        let (mut queue, mut polled) = (FlushQueue::default(), Vec::new());
        queue.of(Dirty::Bulk).extend(&keys[..20]);
        queue.of(Dirty::Urgent).extend(&keys[20..]);
        queue.poll(8, &mut polled, |_| true);
        assert_eq!(polled, [&keys[20..26], &keys[..2]].concat());
        queue.poll(8, &mut polled, |_| true);
        assert_eq!(polled, [&keys[26..], &keys[2..6]].concat());
        queue.poll(100, &mut polled, |_| true);
        assert_eq!(polled, &keys[6..20]);
        assert!(queue.is_empty());
        queue.poll(100, &mut polled, |_| true);
        assert!(polled.is_empty());
    }

    #[test]
    fn a_seal_ends_when_all_waiting_clients_were_polled() {
        let keys = keys(10);
        let (mut queue, mut polled) = (FlushQueue::default(), Vec::new());
        queue.of(Dirty::Bulk).extend(&keys[..4]);
        queue.of(Dirty::Urgent).extend(&keys[4..6]);
        queue.seal();
        queue.of(Dirty::Bulk).extend(&keys[6..]);
        for (count, unsealed) in [(4, false), (1, false), (1, true), (4, true)] {
            queue.poll(count, &mut polled, |_| true);
            assert_eq!((polled.len(), queue.is_unsealed()), (count, unsealed));
        }
        assert!(queue.is_empty());
    }
}
