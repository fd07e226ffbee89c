//! The messages that a user missed because no session of it was there, as far as the journal has both.

use std::collections::{HashMap, HashSet};

use crate::{
    clock::Time,
    journal::{Record, What},
};

/// Follows the sessions of a user through the journal, and counts what is published to a room from when its last session in the
/// room ends until another one joins it.
#[derive(Default)]
pub struct Away {
    /// The rooms of each session. All rooms are hashes.
    rooms: HashMap<u64, HashSet<u64>>,
    /// How many sessions are in each room.
    members: HashMap<u64, usize>,
    /// The rooms that are waited for.
    waiting: HashSet<u64>,
    /// Whether the last publication was counted in one of its rooms.
    is_counted: bool,
    /// How many messages were published meanwhile.
    pub count: u64,
    /// How many of them were kept.
    pub kept: u64,
    /// When the last one was published.
    pub last: Time,
}

impl Away {
    /// Handles a record about a session of the user.
    pub(super) fn follow(&mut self, record: &Record) {
        match record.what {
            What::Joined => {
                if self.rooms.entry(record.session).or_default().insert(record.stamp) {
                    *self.members.entry(record.stamp).or_default() += 1;
                    self.waiting.remove(&record.stamp);
                }
            }
            What::Left => {
                if self.rooms.get_mut(&record.session).is_some_and(|rooms| rooms.remove(&record.stamp)) {
                    self.leave(record.stamp);
                }
            }
            What::Ended | What::Lost => {
                for room in self.rooms.remove(&record.session).unwrap_or_default() {
                    if self.leave(room) {
                        self.waiting.insert(room);
                    }
                }
            }
            _ => {}
        }
    }

    /// One session less is in a room. Returns whether it was the last.
    fn leave(&mut self, room: u64) -> bool {
        let Some(members) = self.members.get_mut(&room) else { return false };
        *members -= 1;
        let is_last = *members == 0;
        if is_last {
            self.members.remove(&room);
        }
        is_last
    }

    /// Handles a publication. A message to several rooms counts once.
    pub(super) fn publish(&mut self, record: &Record) {
        let had_counted = record.is_further() && self.is_counted;
        let is_missed = self.waiting.contains(&record.who);
        self.is_counted = had_counted || is_missed;
        if is_missed && !had_counted {
            self.count += 1;
            self.kept += u64::from(record.what == What::Kept);
            self.last = record.time;
        }
    }
}
