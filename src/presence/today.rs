//! The logins of one local day.

use std::collections::HashMap;

use crate::clock::Now;

/// The logins of one local day, by username.
#[derive(Default)]
pub struct Today {
    /// Days since 1970 in local time.
    day: i64,
    logins: HashMap<Box<str>, u32>,
    /// Bytes of all names.
    size: usize,
    sessions: u64,
}

impl Today {
    /// Counts a login. Beyond the limits on names, logins of new names count towards the total only.
    pub fn count(&mut self, username: &str, now: Now) {
        if self.is_over(now) {
            *self = Today { day: now.day(), ..Today::default() };
        }
        self.sessions += 1;
        if let Some(count) = self.logins.get_mut(username) {
            *count += 1;
        } else if self.logins.len() < MAX_NAMES && self.size + username.len() <= MAX_SIZE {
            self.size += username.len();
            self.logins.insert(username.into(), 1);
        }
    }

    /// Whether the day has passed. A clock that is set back by less than a day does not start a new one.
    fn is_over(&self, now: Now) -> bool {
        now.day() > self.day || now.day() < self.day - 1
    }

    /// The number of logins of each name, sorted by name, and the number of all logins.
    pub fn list(&self, now: Now) -> (Vec<(&str, u32)>, u64) {
        if self.is_over(now) {
            return (Vec::new(), 0);
        }
        let mut names: Vec<_> = self.logins.iter().map(|(name, count)| (&**name, *count)).collect();
        names.sort_unstable();
        (names, self.sessions)
    }
}

/// Most names of a tenant in a day, and their most bytes: 100,000 short names take some 8 MB.
const MAX_NAMES: usize = 100_000;
const MAX_SIZE: usize = 8 * 1024 * 1024;

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
        assert_eq!(today.list(at(midnight)).1, 2, "the clock was set back by a second");
        assert_eq!(today.list(at(midnight - 1)).1, 2);
        today.count("long ago", at(midnight - 3 * 86_400));
        assert_eq!(today.list(at(midnight - 3 * 86_400)).1, 1, "the clock was days ahead");
    }

    #[test]
    fn names_are_bounded() {
        let mut today = Today::default();
        (0..MAX_NAMES + 10).for_each(|number| today.count(&number.to_string(), Now::default()));
        today.count("5", Now::default());
        let (names, sessions) = today.list(Now::default());
        assert_eq!((names.len(), sessions), (MAX_NAMES, MAX_NAMES as u64 + 11));
        let mut today = Today::default();
        (0..MAX_SIZE / 400).for_each(|number| today.count(&format!("{number:0500}"), Now::default()));
        assert_eq!(today.list(Now::default()).0.len(), MAX_SIZE / 500, "long names by their bytes");
    }
}
