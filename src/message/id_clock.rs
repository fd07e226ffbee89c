//! The numbers of message ids: a hybrid logical clock.

use super::id::MessageId;
use crate::clock::Time;

/// The clock that numbers messages.
///
/// A number is the time in microseconds since 1970, but always larger than the numbers before it. The wall clock is read
/// only when the process starts; after that the monotonic clock counts, so a wall clock that jumps changes nothing. A
/// relay that has received a message of another relay uses larger numbers than that message.
#[derive(Clone, Copy, Debug)]
pub struct IdClock {
    /// The id with the time of the start.
    first: MessageId,
    /// The last number in use, of this relay or of one that it follows.
    last: u64,
}

impl IdClock {
    /// A clock that starts with the number of `first`, at [`Time::START`].
    pub fn new(first: MessageId) -> IdClock {
        IdClock { first, last: first.number() }
    }

    /// The id with which this clock started; all its ids are of the same relay.
    pub fn first(&self) -> MessageId {
        self.first
    }

    /// The last number in use.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The number that stands for the time `now`.
    pub fn number_at(&self, now: Time) -> u64 {
        self.first.number().saturating_add(now.micros())
    }

    /// The id of a publication to `rooms` rooms, which takes that many numbers: the message in the room with index `i` has
    /// the [stamp](MessageId::stamp) number + `i`.
    pub fn next(&mut self, rooms: usize, now: Time) -> MessageId {
        let number = self.number_at(now).max(self.last + 1);
        self.last = number + (rooms as u64).saturating_sub(1);
        self.first.with_number(number)
    }

    /// Makes all later numbers larger than those of another relay's publication to `rooms` rooms, unless that relay's clock
    /// is more than 60 s ahead.
    pub fn follow(&mut self, id: MessageId, rooms: usize, now: Time) {
        let last = id.number().saturating_add((rooms as u64).saturating_sub(1));
        if last <= self.number_at(now).saturating_add(MAX_AHEAD) {
            self.last = self.last.max(last);
        }
    }
}

/// How far ahead of this relay's clock the number of another relay may be, in microseconds. One relay with a wrong clock
/// must not set the clocks of all.
const MAX_AHEAD: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_795_000_000_000_000;

    fn clock(start: u64, node: u32) -> IdClock {
        IdClock::new(MessageId::first(start, node))
    }

    #[test]
    fn numbers_are_times_and_grow() {
        let mut clock = clock(START, 7);
        assert_eq!(clock.next(1, Time::START).number(), START + 1);
        assert_eq!(clock.next(1, Time::START).number(), START + 2);
        assert_eq!(clock.next(1, Time::from_micros(1_000_000)).number(), START + 1_000_000);
        // Time stands still within a turn.
        assert_eq!(clock.next(1, Time::from_micros(1_000_000)).number(), START + 1_000_001);
        assert_eq!(clock.next(1, Time::from_micros(999)).number(), START + 1_000_002);
        assert_eq!(clock.last(), START + 1_000_002);
    }

    #[test]
    fn parts_never_collide() {
        let mut clock = clock(START, 7);
        let mut stamps = Vec::new();
        for rooms in [3, 1, 2, 1000, 1] {
            let id = clock.next(rooms, Time::START);
            stamps.extend((0..rooms).map(|part| id.part(part).stamp()));
        }
        assert!(stamps.is_sorted_by(|one, other| one < other), "{stamps:?}");
    }

    #[test]
    fn ids_are_unique_over_restarts() {
        let mut before = clock(START, 7);
        let last = before.next(1, Time::from_micros(5_000_000)).to_string();
        assert!(clock(START + 6_000_000, 8).next(1, Time::START).to_string() > last);
        // The wall clock was set back: the number may come again, but not with the random part.
        let mut again = clock(START, 8);
        let id = again.next(1, Time::from_micros(5_000_000));
        assert_eq!(id.number(), MessageId::parse(&last).unwrap().number());
        assert_ne!(id.to_string(), last);
    }

    #[test]
    fn numbers_of_other_relays_are_followed() {
        let now = Time::from_micros(1000);
        let mut clock = clock(START, 7);
        let other = |number| MessageId::first(number, 8);
        clock.follow(other(START + 5000), 3, now);
        assert_eq!(clock.next(1, now).number(), START + 5003);
        clock.follow(other(START), 1, now);
        assert_eq!(clock.next(1, now).number(), START + 5004, "an older one changes nothing");
        let most = START + 1000 + MAX_AHEAD;
        clock.follow(other(most + 1), 1, now);
        clock.follow(other(most), 2, now);
        clock.follow(other(u64::MAX), 2, now);
        assert_eq!(clock.next(1, now).number(), START + 5005);
        clock.follow(other(most), 1, now);
        assert_eq!(clock.next(1, now).number(), most + 1);
        // Numbers become times again once the clock has caught up.
        let later = Time::from_micros(2 * MAX_AHEAD);
        assert_eq!(clock.next(1, later).number(), START + 2 * MAX_AHEAD);
    }
}
