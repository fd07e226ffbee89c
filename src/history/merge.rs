//! The messages of several rooms in one order.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, vec_deque::Iter};

use super::entry::Entry;
use crate::message::{Data, Message, MessageId};

/// A kept message of one of several rooms.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The index of the room.
    pub room: usize,
    /// Its id in that room.
    pub id: MessageId,
    /// The message.
    pub entry: &'a Entry,
}

impl Found<'_> {
    /// The message, for clients. `data` is that of the entry.
    pub fn message<'m>(&'m self, data: Data<'m>, source: &'m str, room: &'m str, namespace: &'m str) -> Message<'m> {
        let (filename, author) = (self.entry.filename(), self.entry.author());
        Message { source, room, data, id: self.id, filename, author, namespace }
    }
}

/// An iterator over the messages of several rooms, in the order of their stamps. A room that is named twice counts once.
pub struct Entries<'a> {
    own: MessageId,
    /// The index of each room that has messages, and the messages after the one that is in the heap.
    rooms: Vec<(usize, Iter<'a, Entry>)>,
    /// The next message of each of these rooms, by stamp and index in `rooms`.
    heap: BinaryHeap<Reverse<Next<'a>>>,
}

/// The next message of a room.
struct Next<'a> {
    entry: &'a Entry,
    place: usize,
}

impl<'a> Entries<'a> {
    /// Merges the messages of rooms, each of which are in order. `own` is an id of this relay.
    pub fn new(own: MessageId, rooms: impl Iterator<Item = (usize, Iter<'a, Entry>)>) -> Entries<'a> {
        let mut entries = Entries { own, rooms: Vec::new(), heap: BinaryHeap::new() };
        for (room, mut iter) in rooms {
            if let Some(entry) = iter.next() {
                entries.heap.push(Reverse(Next { entry, place: entries.rooms.len() }));
                entries.rooms.push((room, iter));
            }
        }
        entries
    }

    /// Takes the next message out of the heap, and puts the one after it in.
    fn pop(&mut self) -> Option<(usize, &'a Entry)> {
        let mut top = self.heap.peek_mut()?;
        let Reverse(Next { entry, place }) = &mut *top;
        let (room, found) = (self.rooms[*place].0, *entry);
        match self.rooms[*place].1.next() {
            Some(next) => *entry = next,
            None => drop(std::collections::binary_heap::PeekMut::pop(top)),
        }
        Some((room, found))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let (room, entry) = self.pop()?;
        // The same room again.
        while self.heap.peek().is_some_and(|Reverse(next)| next.entry.stamp() == entry.stamp()) {
            self.pop();
        }
        Some(Found { room, id: entry.id(self.own), entry })
    }
}

impl Ord for Next<'_> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.entry.stamp(), self.place).cmp(&(other.entry.stamp(), other.place))
    }
}

impl PartialOrd for Next<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Next<'_> {}
