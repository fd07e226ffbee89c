//! Accounts for every delivery: none may be lost, duplicated, out of order or damaged.
//!
//! Messages of one publisher to one room must reach each member in the order in which they were sent. A message that a later
//! one overtakes is missing. A missing message that arrives is out of order; one that never arrives is lost; a message that
//! arrives although it is not missing is a duplicate.

use std::collections::BTreeSet;

use crate::histogram::Histogram;

/// The account of a run. Message `n` is for room `n % rooms`; the publishers take turns with the messages of a room.
#[derive(Debug)]
pub struct Ledger {
    rooms: usize,
    publishers: usize,
    /// The number of members of each room.
    room_sizes: Vec<u32>,
    members: Vec<Member>,
    messages: Vec<Message>,
    in_flight: usize,
    due: u64,
    delivered: u64,
    accepted: u64,
    /// From when a message was sent, or was due to be sent, to each delivery.
    pub latency: Histogram,
    /// From when a message was sent, or was due to be sent, to its response.
    pub response_times: Histogram,
    /// The faults so far.
    pub faults: Faults,
}

/// The account of a member.
#[derive(Debug)]
struct Member {
    room: usize,
    /// The next message that is expected from each publisher, counted within the room. Empty once the member has left.
    next: Vec<u32>,
    /// Overtaken messages: publisher, and number within the room.
    missing: BTreeSet<(u32, u32)>,
}

#[derive(Debug)]
struct Message {
    /// When it was sent or due: nanoseconds of the run's clock.
    at: u64,
    /// Outstanding deliveries, plus one for the response.
    outstanding: u32,
}

/// Faults by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Deliveries that never arrived.
    pub lost: u64,
    /// Deliveries that arrived more than once.
    pub doubled: u64,
    /// Deliveries that arrived after a later message of the same publisher.
    pub disordered: u64,
    /// Messages that differ from what was sent: content, length, room or run.
    pub damaged: u64,
    /// Members whose connection ended.
    pub closed: u64,
    /// Notifications that the server refused.
    pub refused: u64,
    /// Notifications without a response.
    pub unanswered: u64,
    /// Descriptions of the first few faults.
    pub examples: Vec<String>,
}

impl Faults {
    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        let Faults { lost, doubled, disordered, damaged, closed, refused, unanswered, examples: _ } = self;
        lost + doubled + disordered + damaged + closed + refused + unanswered == 0
    }

    fn add_example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(text());
        }
    }
}

impl Ledger {
    /// An empty account.
    pub fn new(rooms: usize, publishers: usize) -> Ledger {
        Ledger {
            rooms,
            publishers,
            room_sizes: vec![0; rooms],
            members: Vec::new(),
            messages: Vec::new(),
            in_flight: 0,
            due: 0,
            delivered: 0,
            accepted: 0,
            latency: Histogram::new(),
            response_times: Histogram::new(),
            faults: Faults::default(),
        }
    }

    /// Adds a member, which must get every message that is sent from now on. Members are numbered in this order.
    pub fn add_member(&mut self, room: usize) {
        let member = self.new_member(room);
        self.members.push(member);
        self.room_sizes[room] += 1;
    }

    /// Replaces a member by a new one in the same room. The old member may have left or not.
    pub fn replace_member(&mut self, member: usize) {
        let room = self.members[member].room;
        let had_left = self.members[member].next.is_empty();
        self.room_sizes[room] += u32::from(had_left);
        self.members[member] = self.new_member(room);
    }

    fn new_member(&self, room: usize) -> Member {
        let before = (self.messages.len() + self.rooms - 1 - room) / self.rooms;
        let next = (0..self.publishers).map(|one| ((before + self.publishers - 1 - one) / self.publishers) as u32);
        Member { room, next: next.collect(), missing: BTreeSet::new() }
    }

    /// The room of a member.
    pub fn room(&self, member: usize) -> usize {
        self.members[member].room
    }

    /// The number of the next message.
    pub fn next(&self) -> usize {
        self.messages.len()
    }

    /// The publisher that sends a message.
    pub fn publisher(&self, number: usize) -> usize {
        (number / self.rooms) % self.publishers
    }

    /// Records that the next message is sent. Its latency counts from `at` (nanoseconds of the run's clock).
    pub fn record_sent(&mut self, at: u64) {
        let deliveries = self.room_sizes[self.messages.len() % self.rooms];
        self.messages.push(Message { at, outstanding: deliveries + 1 });
        self.due += u64::from(deliveries);
        self.in_flight += 1;
    }

    /// Records the response to a message; `refusal` says why it was refused.
    pub fn record_response(&mut self, number: usize, refusal: Option<String>, now: u64) {
        self.response_times.record(now.saturating_sub(self.messages[number].at));
        match refusal {
            None => self.accepted += 1,
            Some(why) => {
                self.faults.refused += 1;
                self.faults.add_example(|| format!("message {number} was refused: {why}"));
            }
        }
        self.complete(number);
    }

    /// Records that a member got a message of its room.
    pub fn record_delivery(&mut self, member: usize, number: usize, now: u64) {
        let Some(sent) = self.messages.get(number).map(|message| message.at) else {
            return self.record_damage(member, &format!("message {number}, which was not sent"));
        };
        let publisher = self.publisher(number);
        let place = (number / self.rooms / self.publishers) as u32;
        let account = &mut self.members[member];
        let next = account.next[publisher];
        if place < next {
            let was_missing = account.missing.remove(&(publisher as u32, place));
            let (count, what) = match was_missing {
                true => (&mut self.faults.disordered, "arrived out of order"),
                false => (&mut self.faults.doubled, "arrived twice"),
            };
            *count += 1;
            self.faults.add_example(|| format!("member {member}: message {number} {what}"));
            if !was_missing {
                return;
            }
        } else {
            account.missing.extend((next..place).map(|place| (publisher as u32, place)));
            account.next[publisher] = place + 1;
        }
        self.latency.record(now.saturating_sub(sent));
        self.delivered += 1;
        self.complete(number);
    }

    /// Records that a member got something that was not sent.
    pub fn record_damage(&mut self, member: usize, what: &str) {
        self.faults.damaged += 1;
        self.faults.add_example(|| format!("member {member} got {what}"));
    }

    /// Records that the connection of a member ended. Its outstanding deliveries are lost, and it gets no further messages.
    pub fn record_disconnect(&mut self, member: usize, why: &str) {
        self.faults.closed += 1;
        self.faults.add_example(|| format!("member {member}: {why}"));
        let account = &mut self.members[member];
        let (room, missing) = (account.room, core::mem::take(&mut account.missing));
        let next = core::mem::take(&mut account.next);
        self.room_sizes[room] -= 1;
        for (publisher, place) in missing {
            self.complete(self.number(room, publisher, place));
        }
        for (publisher, first) in next.into_iter().enumerate() {
            let numbers = (first..).map(|place| self.number(room, publisher as u32, place));
            let outstanding: Vec<usize> = numbers.take_while(|number| *number < self.messages.len()).collect();
            outstanding.into_iter().for_each(|number| self.complete(number));
        }
    }

    /// Ends the account: outstanding deliveries are lost, and outstanding responses never arrive.
    pub fn finish(&mut self) {
        let unanswered = self.sent() - self.response_times.count();
        self.faults.unanswered = unanswered;
        if unanswered > 0 {
            self.faults.add_example(|| format!("{unanswered} notifications got no response"));
        }
        self.faults.lost = self.due - self.delivered;
        let lost = self.faults.lost;
        if lost > 0 {
            // Deliveries to members that left are not outstanding.
            let first = self.messages.iter().position(|message| message.outstanding > 0);
            let first = first.map_or(String::new(), |first| format!("; the first is of message {first}"));
            self.faults.add_example(|| format!("{lost} deliveries never arrived{first}"));
        }
    }

    /// The number of messages sent.
    pub fn sent(&self) -> u64 {
        self.messages.len() as u64
    }

    /// The number of deliveries that the sent messages must cause.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// The number of deliveries that arrived.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The number of messages that the server accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The number of messages with an outstanding response or delivery.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The number of a publisher's message, given its number within the room.
    fn number(&self, room: usize, publisher: u32, place: u32) -> usize {
        (place as usize * self.publishers + publisher as usize) * self.rooms + room
    }

    fn complete(&mut self, number: usize) {
        let outstanding = &mut self.messages[number].outstanding;
        *outstanding = outstanding.saturating_sub(1);
        self.in_flight -= usize::from(*outstanding == 0);
    }
}

const MAX_EXAMPLES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rooms, two publishers, one member in room 0, which gets messages 0, 2, 4, … of publishers 0, 1, 0, …
    fn ledger(messages: usize) -> Ledger {
        let mut ledger = Ledger::new(2, 2);
        ledger.add_member(0);
        (0..messages).for_each(|number| ledger.record_sent(number as u64));
        ledger
    }

    fn faults(deliveries: &[usize]) -> (u64, u64, u64, u64) {
        let mut ledger = ledger(12);
        deliveries.iter().for_each(|number| ledger.record_delivery(0, *number, 100));
        ledger.finish();
        let Faults { lost, doubled, disordered, damaged, .. } = ledger.faults;
        (lost, doubled, disordered, damaged)
    }

    #[test]
    fn kinds_of_faults() {
        assert_eq!(faults(&[0, 2, 4, 6, 8, 10]), (0, 0, 0, 0));
        // Order holds for each publisher alone.
        assert_eq!(faults(&[2, 6, 0, 4, 10, 8]), (0, 0, 0, 0));
        assert_eq!(faults(&[0, 2, 4, 6, 8]), (1, 0, 0, 0));
        assert_eq!(faults(&[0, 2, 8, 6, 10]), (1, 0, 0, 0));
        assert_eq!(faults(&[0, 2, 4, 4, 6, 8, 10, 0]), (0, 2, 0, 0));
        assert_eq!(faults(&[4, 2, 0, 6, 8, 10]), (0, 0, 1, 0));
        assert_eq!(faults(&[4, 2, 0, 0, 6, 8]), (1, 1, 1, 0));
        assert_eq!(faults(&[8, 2, 6, 4, 0, 10]), (0, 0, 2, 0));
        assert_eq!(faults(&[0, 2, 4, 6, 8, 10, 12]), (0, 0, 0, 1));
        assert_eq!(faults(&[]), (6, 0, 0, 0));
    }

    #[test]
    fn a_message_is_complete_with_its_response_and_deliveries() {
        let mut ledger = ledger(2);
        assert_eq!((ledger.due(), ledger.in_flight()), (1, 2));
        ledger.record_response(1, None, 5);
        assert_eq!(ledger.in_flight(), 1);
        ledger.record_delivery(0, 0, 5);
        assert_eq!(ledger.in_flight(), 1);
        ledger.record_response(0, Some("no".into()), 5);
        assert_eq!((ledger.in_flight(), ledger.accepted(), ledger.faults.refused), (0, 1, 1));
        assert!(!ledger.faults.is_empty() && ledger.faults.examples.len() == 1);
    }

    #[test]
    fn a_member_that_left_gets_no_messages() {
        let mut ledger = ledger(12);
        [0, 4, 2, 8].into_iter().for_each(|number| ledger.record_delivery(0, number, 1));
        (0..12).for_each(|number| ledger.record_response(number, None, 1));
        assert_eq!((ledger.in_flight(), ledger.number(0, 1, 2)), (2, 10));
        ledger.record_disconnect(0, "closed");
        assert_eq!(ledger.in_flight(), 0);
        ledger.record_sent(1);
        ledger.record_response(12, None, 1);
        ledger.finish();
        assert_eq!((ledger.in_flight(), ledger.faults.lost, ledger.faults.closed), (0, 2, 1));
    }

    #[test]
    fn a_replaced_member_has_a_new_account() {
        let mut ledger = ledger(2);
        for _ in 0..3 {
            ledger.record_disconnect(0, "closed");
            ledger.replace_member(0);
            ledger.replace_member(0);
            let number = ledger.next();
            ledger.record_sent(1);
            ledger.record_sent(1);
            ledger.record_delivery(0, number, 2);
            ledger.record_delivery(0, number, 2);
        }
        assert_eq!((ledger.due(), ledger.delivered(), ledger.faults.doubled), (4, 3, 3));
    }

    #[test]
    fn a_missing_response_is_a_fault() {
        let mut ledger = ledger(2);
        ledger.record_response(1, Some("no".into()), 1);
        ledger.record_delivery(0, 0, 1);
        ledger.finish();
        assert_eq!((ledger.faults.lost, ledger.faults.refused, ledger.faults.unanswered), (0, 1, 1));
    }

    #[test]
    fn a_late_member_gets_only_later_messages() {
        for before in 0..20 {
            let mut ledger = Ledger::new(3, 2);
            (0..before).for_each(|_| ledger.record_sent(0));
            (0..3).for_each(|room| ledger.add_member(room));
            for number in before..before + 12 {
                ledger.record_sent(0);
                ledger.record_delivery(number % 3, number, 0);
            }
            for number in 0..before + 12 {
                ledger.record_response(number, None, 0);
            }
            ledger.finish();
            assert!(ledger.faults.is_empty(), "{before}: {:?}", ledger.faults);
        }
    }
}
