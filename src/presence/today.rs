//! The logins of one local day.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::clock::Now;

/// Logins of a local day, by username.
///
/// All names are in one buffer, and a hash table has their positions. That takes some 14 bytes for each name besides
/// the name itself, a third of a map with an allocation for each name.
#[derive(Default)]
pub struct Today {
    day: i64,
    /// Where each name's entry begins in `entries`.
    places: HashTable<u32>,
    hasher: RandomState,
    /// For each name: its count (4 bytes), its length (2 bytes), and itself.
    entries: Vec<u8>,
    sessions: u64,
}

impl Today {
    /// Counts one login. After the first 100,000 names of a day, a new name counts only in the total.
    pub fn count(&mut self, username: &str, now: Now) {
        if self.is_over(now) {
            *self = Today { day: now.day(), ..Today::default() };
        }
        self.sessions += 1;
        let name = username.as_bytes();
        let hash = self.hasher.hash_one(name);
        if let Some(place) = self.places.find(hash, |place| entry(&self.entries, *place).1 == name) {
            let (count, ..) = entry(&self.entries, *place);
            let begin = *place as usize;
            self.entries[begin..begin + 4].copy_from_slice(&(count + 1).to_le_bytes());
            return;
        }
        let Ok(length) = u16::try_from(name.len()) else { return };
        if self.places.len() >= MOST_NAMES || self.entries.len() + name.len() > MOST_BYTES {
            return;
        }
        let place = self.entries.len() as u32;
        self.entries.extend_from_slice(&1u32.to_le_bytes());
        self.entries.extend_from_slice(&length.to_le_bytes());
        self.entries.extend_from_slice(name);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.places.insert_unique(hash, place, |place| hasher.hash_one(entry(entries, *place).1));
    }

    /// Whether the day of these logins has passed. If the clock is set back to the previous day, counting continues.
    fn is_over(&self, now: Now) -> bool {
        now.day() > self.day || now.day() < self.day - 1
    }

    /// Names with their logins, sorted, and how many logins there were.
    pub fn list(&self, now: Now) -> (Vec<(&str, u32)>, u64) {
        if self.is_over(now) {
            return (Vec::new(), 0);
        }
        let mut names: Vec<_> = self
            .places
            .iter()
            .map(|place| {
                let (count, name) = entry(&self.entries, *place);
                (core::str::from_utf8(name).unwrap_or_default(), count)
            })
            .collect();
        names.sort_unstable();
        (names, self.sessions)
    }
}

/// The count and the name at a place.
fn entry(entries: &[u8], place: u32) -> (u32, &[u8]) {
    let begin = place as usize;
    let count = u32::from_le_bytes(core::array::from_fn(|index| entries[begin + index]));
    let length = u16::from_le_bytes([entries[begin + 4], entries[begin + 5]]);
    (count, &entries[begin + 6..begin + 6 + usize::from(length)])
}

/// Usernames that are kept for a day, and their bytes: 100,000 short ones take some 4 MB.
const MOST_NAMES: usize = 100_000;
const MOST_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_local_midnight() {
        let at = |unix| Now { unix, utc_offset: 8 * 3600, ..Now::default() };
        let mut today = Today::default();
        let midnight = 1_795_219_200 + 16 * 3600;
        today.count("li", at(midnight - 2));
        today.count("wang", at(midnight - 1));
        today.count("li", at(midnight - 1));
        assert_eq!(today.list(at(midnight - 1)), (vec![("li", 2), ("wang", 1)], 3));
        assert_eq!(today.list(at(midnight)), (vec![], 0));
        today.count("", at(midnight));
        assert_eq!(today.list(at(midnight)), (vec![("", 1)], 1));
        today.count("set back", at(midnight - 1));
        assert_eq!(today.list(at(midnight)).1, 2, "a small step back changes nothing");
        assert_eq!(today.list(at(midnight - 1)).1, 2);
        today.count("long ago", at(midnight - 3 * 86_400));
        assert_eq!(today.list(at(midnight - 3 * 86_400)).1, 1, "a clock that was days ahead");
    }

    #[test]
    fn names_are_bounded() {
        let mut today = Today::default();
        (0..MOST_NAMES + 10).for_each(|number| today.count(&number.to_string(), Now::default()));
        today.count("5", Now::default());
        let (names, sessions) = today.list(Now::default());
        assert_eq!((names.len(), sessions), (MOST_NAMES, MOST_NAMES as u64 + 11));
        let mut today = Today::default();
        (0..MOST_BYTES / 400).for_each(|number| today.count(&format!("{number:0500}"), Now::default()));
        assert_eq!(today.list(Now::default()).0.len(), (MOST_BYTES - 500) / 506 + 1, "long ones by their bytes");
    }
}
