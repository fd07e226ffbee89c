//! The samples of the last 15 minutes, one for each five seconds.

use core::time::Duration;
use std::collections::VecDeque;

use crate::clock::Time;

/// The samples that are kept, the oldest first.
#[derive(Default)]
pub struct Samples {
    rows: VecDeque<Box<[u64]>>,
    due: Time,
}

impl Samples {
    /// When the next one is due. Nobody is woken for it: until a turn begins, nothing changes.
    pub fn due(&self) -> Time {
        self.due
    }

    /// Keeps the sample that is due. `row` returns it for a time. If turns have not begun for a while, it is kept for the
    /// beginning and for the end of that while: so what comes next is not spread over it.
    pub fn keep(&mut self, now: Time, mut row: impl FnMut(Time) -> Box<[u64]>) {
        let late = now.since(self.due).as_micros() as u64 / INTERVAL.as_micros() as u64;
        self.push(row(self.due));
        if late > 0 {
            let last = self.due.after(INTERVAL * u32::try_from(late).unwrap_or(u32::MAX));
            self.push(row(last));
            self.due = last;
        }
        self.due = self.due.after(INTERVAL);
    }

    fn push(&mut self, row: Box<[u64]>) {
        if self.rows.len() >= MOST {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Box<[u64]>>() + self.rows.iter().map(|row| size_of_val(&**row)).sum::<usize>()
    }

    /// The samples, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.rows.iter().map(|row| &**row)
    }
}

/// The time between two samples.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// 15 minutes of them.
pub const MOST: usize = 180;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn times(samples: &Samples) -> Vec<u64> {
        samples.iter().map(|row| row[0] / 1_000_000).collect()
    }

    #[test]
    fn samples_have_the_times_at_which_they_were_due() {
        let mut samples = Samples::default();
        for now in [0, 6, 11] {
            assert!(samples.due() <= at(now));
            samples.keep(at(now), |time| [time.micros()].into());
        }
        assert_eq!((times(&samples), samples.due()), (vec![0, 5, 10], at(15)));
        // Nothing happened for a minute.
        samples.keep(at(77), |time| [time.micros()].into());
        assert_eq!((times(&samples), samples.due()), (vec![0, 5, 10, 15, 75], at(80)));
    }

    #[test]
    fn the_oldest_samples_are_dropped() {
        let mut samples = Samples::default();
        for number in 0..MOST as u64 + 3 {
            samples.keep(at(5 * number), |time| [time.micros()].into());
        }
        assert_eq!((samples.iter().len(), times(&samples)[0]), (MOST, 15));
        assert!((MOST * 24..MOST * 40).contains(&samples.bytes()), "{}", samples.bytes());
    }
}
