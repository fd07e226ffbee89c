//! What was sent, what came, and what is wrong between them: nothing may be lost, doubled, out of order or damaged.
//!
//! Messages of one publisher for one room come to each member in the order they were sent in. A message that is passed by a
//! later one is missing: if it comes after all it was out of order, if it never does it is lost; and what comes and is not
//! missing any more is doubled.

use std::collections::BTreeSet;

use super::histogram::Histogram;

/// The account of a run. Message `n` is for room `n % rooms`; a room's messages go round the publishers.
#[derive(Debug)]
pub struct Ledger {
    rooms: usize,
    publishers: usize,
    /// How many members each room has.
    crowds: Vec<u32>,
    seats: Vec<Seat>,
    messages: Vec<Sent>,
    in_flight: usize,
    owed: u64,
    delivered: u64,
    accepted: u64,
    /// From a message's send, or from when it was due, to each delivery.
    pub latency: Histogram,
    /// The same to the answer that its publisher gets.
    pub answers: Histogram,
    /// What went wrong.
    pub faults: Faults,
}

/// A member's account.
#[derive(Debug)]
struct Seat {
    room: usize,
    /// The next that is expected of each publisher, counted within the room.
    next: Vec<u32>,
    missing: BTreeSet<(u32, u32)>,
}

#[derive(Debug)]
struct Sent {
    /// Nanoseconds of the run's clock.
    at: u64,
    /// Deliveries still owed, and one for the answer.
    left: u32,
}

/// What went wrong, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub doubled: u64,
    /// Deliveries that came after a later message of the same publisher.
    pub disordered: u64,
    /// Messages that were not what was sent: another content, length, room or run.
    pub damaged: u64,
    /// Members whose connection ended.
    pub closed: u64,
    /// Notifications that were not accepted.
    pub refused: u64,
    /// Notifications that were neither accepted nor refused.
    pub unanswered: u64,
    /// The first few in words.
    pub shown: Vec<String>,
}

impl Faults {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let Faults { lost, doubled, disordered, damaged, closed, refused, unanswered, shown: _ } = self;
        lost + doubled + disordered + damaged + closed + refused + unanswered == 0
    }

    fn show(&mut self, text: impl FnOnce() -> String) {
        if self.shown.len() < MOST_SHOWN {
            self.shown.push(text());
        }
    }
}

impl Ledger {
    /// An account of nothing yet.
    pub fn new(rooms: usize, publishers: usize) -> Ledger {
        Ledger {
            rooms,
            publishers,
            crowds: vec![0; rooms],
            seats: Vec::new(),
            messages: Vec::new(),
            in_flight: 0,
            owed: 0,
            delivered: 0,
            accepted: 0,
            latency: Histogram::new(),
            answers: Histogram::new(),
            faults: Faults::default(),
        }
    }

    /// Opens an account for the next member: it is owed what is sent from now on. Its number is how many there were.
    pub fn seat(&mut self, room: usize) {
        let seat = self.new_seat(room);
        self.seats.push(seat);
        self.crowds[room] += 1;
    }

    /// Opens it anew for who came in the place of another, whose connection may have ended or not.
    pub fn reseat(&mut self, member: usize) {
        let room = self.seats[member].room;
        let was_closed = self.seats[member].next.is_empty();
        self.crowds[room] += u32::from(was_closed);
        self.seats[member] = self.new_seat(room);
    }

    fn new_seat(&self, room: usize) -> Seat {
        let before = (self.messages.len() + self.rooms - 1 - room) / self.rooms;
        let next = (0..self.publishers).map(|one| ((before + self.publishers - 1 - one) / self.publishers) as u32);
        Seat { room, next: next.collect(), missing: BTreeSet::new() }
    }

    /// The room a member is in.
    pub fn room(&self, member: usize) -> usize {
        self.seats[member].room
    }

    /// The number of the next message.
    pub fn next(&self) -> usize {
        self.messages.len()
    }

    /// Which publisher sends a message.
    pub fn publisher(&self, number: usize) -> usize {
        (number / self.rooms) % self.publishers
    }

    /// Notes that the next message is sent, its time counted from `at` (nanoseconds of the run's clock).
    pub fn send(&mut self, at: u64) {
        let deliveries = self.crowds[self.messages.len() % self.rooms];
        self.messages.push(Sent { at, left: deliveries + 1 });
        self.owed += u64::from(deliveries);
        self.in_flight += 1;
    }

    /// Notes that a message's publisher was answered: nothing, or why it was refused.
    pub fn answer(&mut self, number: usize, refused: Option<String>, now: u64) {
        self.answers.record(now.saturating_sub(self.messages[number].at));
        match refused {
            None => self.accepted += 1,
            Some(why) => {
                self.faults.refused += 1;
                self.faults.show(|| format!("message {number} was refused: {why}"));
            }
        }
        self.complete(number);
    }

    /// Notes that a member got a message of its room.
    pub fn deliver(&mut self, member: usize, number: usize, now: u64) {
        let Some(sent) = self.messages.get(number).map(|message| message.at) else {
            return self.damage(member, &format!("message {number}, which was not sent"));
        };
        let publisher = self.publisher(number);
        let place = (number / self.rooms / self.publishers) as u32;
        let seat = &mut self.seats[member];
        let next = seat.next[publisher];
        if place < next {
            let late = seat.missing.remove(&(publisher as u32, place));
            let (count, what) = match late {
                true => (&mut self.faults.disordered, "out of order"),
                false => (&mut self.faults.doubled, "doubled"),
            };
            *count += 1;
            self.faults.show(|| format!("member {member}: message {number} is {what}"));
            if !late {
                return;
            }
        } else {
            seat.missing.extend((next..place).map(|place| (publisher as u32, place)));
            seat.next[publisher] = place + 1;
        }
        self.latency.record(now.saturating_sub(sent));
        self.delivered += 1;
        self.complete(number);
    }

    /// Notes that a member got what was not sent.
    pub fn damage(&mut self, member: usize, why: &str) {
        self.faults.damaged += 1;
        self.faults.show(|| format!("member {member} got {why}"));
    }

    /// Notes that a member's connection has ended: what it has not got is lost, and it is owed no more.
    pub fn close(&mut self, member: usize, why: &str) {
        self.faults.closed += 1;
        self.faults.show(|| format!("member {member}: {why}"));
        let seat = &mut self.seats[member];
        let (room, missing) = (seat.room, core::mem::take(&mut seat.missing));
        let next = core::mem::take(&mut seat.next);
        self.crowds[room] -= 1;
        for (publisher, place) in missing {
            self.complete(self.number(room, publisher, place));
        }
        for (publisher, first) in next.into_iter().enumerate() {
            let numbers = (first..).map(|place| self.number(room, publisher as u32, place));
            let waited: Vec<usize> = numbers.take_while(|number| *number < self.messages.len()).collect();
            waited.into_iter().for_each(|number| self.complete(number));
        }
    }

    /// What is owed and did not come is lost, and who was not answered by now never is.
    pub fn settle(&mut self) {
        let unanswered = self.sent() - self.answers.count();
        self.faults.unanswered = unanswered;
        if unanswered > 0 {
            self.faults.show(|| format!("{unanswered} notifications were never answered"));
        }
        self.faults.lost = self.owed - self.delivered;
        let lost = self.faults.lost;
        if lost > 0 {
            let first = self.messages.iter().position(|message| message.left > 0).unwrap_or(0);
            self.faults.show(|| format!("{lost} deliveries never came; message {first} is the first that lacks one"));
        }
    }

    /// Messages sent.
    pub fn sent(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Deliveries that sent messages make.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// Deliveries that came.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Messages that were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Messages whose answer or some of whose deliveries have not come.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Which message is a publisher's `place`-th for a room.
    fn number(&self, room: usize, publisher: u32, place: u32) -> usize {
        (place as usize * self.publishers + publisher as usize) * self.rooms + room
    }

    fn complete(&mut self, number: usize) {
        let left = &mut self.messages[number].left;
        *left = left.saturating_sub(1);
        self.in_flight -= usize::from(*left == 0);
    }
}

const MOST_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rooms, two publishers, one member in room 0, which is for messages 0, 2, 4, … of publishers 0, 1, 0, …
    fn ledger(messages: usize) -> Ledger {
        let mut ledger = Ledger::new(2, 2);
        ledger.seat(0);
        (0..messages).for_each(|number| ledger.send(number as u64));
        ledger
    }

    fn faults(deliveries: &[usize]) -> (u64, u64, u64, u64) {
        let mut ledger = ledger(12);
        deliveries.iter().for_each(|number| ledger.deliver(0, *number, 100));
        ledger.settle();
        let Faults { lost, doubled, disordered, damaged, .. } = ledger.faults;
        (lost, doubled, disordered, damaged)
    }

    #[test]
    fn what_is_wrong() {
        assert_eq!(faults(&[0, 2, 4, 6, 8, 10]), (0, 0, 0, 0));
        // Publishers may overtake each other.
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
    fn a_message_is_complete_with_its_answer_and_deliveries() {
        let mut ledger = ledger(2);
        assert_eq!((ledger.owed(), ledger.in_flight()), (1, 2));
        ledger.answer(1, None, 5);
        assert_eq!(ledger.in_flight(), 1);
        ledger.deliver(0, 0, 5);
        assert_eq!(ledger.in_flight(), 1);
        ledger.answer(0, Some("no".into()), 5);
        assert_eq!((ledger.in_flight(), ledger.accepted(), ledger.faults.refused), (0, 1, 1));
        assert!(!ledger.faults.is_empty() && ledger.faults.shown.len() == 1);
    }

    #[test]
    fn who_goes_is_owed_no_more() {
        let mut ledger = ledger(12);
        [0, 4, 2, 8].into_iter().for_each(|number| ledger.deliver(0, number, 1));
        (0..12).for_each(|number| ledger.answer(number, None, 1));
        assert_eq!((ledger.in_flight(), ledger.number(0, 1, 2)), (2, 10));
        ledger.close(0, "closed");
        assert_eq!(ledger.in_flight(), 0);
        ledger.send(1);
        ledger.answer(12, None, 1);
        ledger.settle();
        assert_eq!((ledger.in_flight(), ledger.faults.lost, ledger.faults.closed), (0, 2, 1));
    }

    #[test]
    fn who_comes_again_has_an_account_again() {
        let mut ledger = ledger(2);
        for _ in 0..3 {
            ledger.close(0, "closed");
            ledger.reseat(0);
            ledger.reseat(0);
            let number = ledger.next();
            ledger.send(1);
            ledger.send(1);
            ledger.deliver(0, number, 2);
            ledger.deliver(0, number, 2);
        }
        assert_eq!((ledger.owed(), ledger.delivered(), ledger.faults.doubled), (4, 3, 3));
    }

    #[test]
    fn who_is_not_answered_is_a_fault() {
        let mut ledger = ledger(2);
        ledger.answer(1, Some("no".into()), 1);
        ledger.deliver(0, 0, 1);
        ledger.settle();
        assert_eq!((ledger.faults.lost, ledger.faults.refused, ledger.faults.unanswered), (0, 1, 1));
    }

    #[test]
    fn who_comes_later_is_owed_less() {
        for before in 0..20 {
            let mut ledger = Ledger::new(3, 2);
            (0..before).for_each(|_| ledger.send(0));
            (0..3).for_each(|room| ledger.seat(room));
            for number in before..before + 12 {
                ledger.send(0);
                ledger.deliver(number % 3, number, 0);
            }
            for number in 0..before + 12 {
                ledger.answer(number, None, 0);
            }
            ledger.settle();
            assert!(ledger.faults.is_empty(), "{before}: {:?}", ledger.faults);
        }
    }
}
