//! The messages that a user missed because no session of it was there, as far as the journal has both.

use std::collections::{HashMap, HashSet};

use super::{super::Hub, findings::Findings, question::Question};
use crate::{
    clock::Time,
    journal::{Record, What},
    key::{Handle, Key, SessionKey},
    room_hash::room_hash,
};

/// The messages that were published while a user had no session, to rooms in which its last sessions were.
#[derive(Clone, Copy, Default)]
pub struct Away {
    /// How many messages. One to several of the rooms counts once.
    pub count: u64,
    /// How many of them were kept in one of the rooms.
    pub kept: u64,
    /// How many messages sessions got again that came back.
    pub again: u64,
    /// When the last one was published.
    pub last: Time,
}

impl Away {
    /// Follows the sessions of the user through the journal.
    pub(super) fn follow(hub: &Hub, question: &Question<'_>, found: &Findings<'_>) -> Away {
        let mut walk = Walk::new(hub, question, found);
        for record in hub.state.journal.events().filter(|record| record.tenant == question.tenant.0) {
            match record.what {
                What::Published | What::Kept => walk.publish(record),
                _ if found.lives.contains_key(&record.session) => walk.follow(record),
                _ => {}
            }
        }
        walk.away
    }
}

/// Where the walk is. All rooms are hashes.
struct Walk {
    /// The room that is asked for.
    room: Option<u64>,
    /// The sessions that are there, with their rooms.
    here: HashMap<u64, HashSet<u64>>,
    /// The rooms of those that have ended since the last message that found one there.
    left: HashSet<u64>,
    /// Whether the current message was counted, and whether as one that is kept.
    is_counted: bool,
    is_kept: bool,
    away: Away,
}

impl Walk {
    fn new(hub: &Hub, question: &Question<'_>, found: &Findings<'_>) -> Walk {
        // Those whose beginning is not in the journal are there from its begin.
        let early = found.lives.iter().filter(|(_, life)| life.begin.is_none());
        let here = early.map(|(bits, life)| {
            let key = Key::from_bits(*bits).map(SessionKey::wrap);
            let session = key.and_then(|key| hub.state.sessions.get(key));
            let now = session.map(|session| hub.state.room_names(session)).unwrap_or_default();
            let mut rooms: HashSet<u64> = now.iter().map(|room| room_hash(room)).collect();
            // The first change says what was before.
            for (_, room, joined) in life.rooms.iter().rev() {
                if *joined {
                    rooms.remove(room)
                } else {
                    rooms.insert(*room)
                };
            }
            (*bits, rooms)
        });
        Walk {
            room: (!question.room.is_empty()).then(|| room_hash(question.room)),
            here: here.collect(),
            left: HashSet::new(),
            is_counted: false,
            is_kept: false,
            away: Away::default(),
        }
    }

    /// Handles a record about a session of the user.
    fn follow(&mut self, record: &Record) {
        match record.what {
            What::Came => _ = self.here.entry(record.session).or_default(),
            What::Joined => _ = self.here.entry(record.session).or_default().insert(record.stamp),
            What::Left => {
                if let Some(rooms) = self.here.get_mut(&record.session) {
                    rooms.remove(&record.stamp);
                }
            }
            What::Ended | What::Lost => self.left.extend(self.here.remove(&record.session).unwrap_or_default()),
            What::Returned | What::Resumed => self.away.again += u64::from(record.count),
            _ => {}
        }
    }

    fn publish(&mut self, record: &Record) {
        if !self.here.is_empty() {
            return self.left.clear();
        }
        if !record.is_further() {
            (self.is_counted, self.is_kept) = (false, false);
        }
        if !self.left.contains(&record.who) || self.room.is_some_and(|room| room != record.who) {
            return;
        }
        let is_kept = record.what == What::Kept;
        self.away.count += u64::from(!self.is_counted);
        self.away.kept += u64::from(is_kept && !self.is_kept);
        self.away.last = record.time;
        (self.is_counted, self.is_kept) = (true, self.is_kept || is_kept);
    }
}
