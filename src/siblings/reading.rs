//! Reading from Redis what somebody asked for: who is at all relays, and numbers. In pieces, so that a large list stalls
//! neither Redis nor the loop.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Tag, keys::Keys, presence::scanned};
use crate::{
    clock::{Now, Time},
    config::Redis,
    hub::{
        Hub,
        census::{Answer, Roll, Topic},
    },
    redis::{Link, Reply},
};

/// What is being read.
#[derive(Default)]
pub struct Reading {
    keys: Keys,
    longest: u64,
    scans: BTreeMap<Topic, Scan>,
    last: u64,
}

struct Scan {
    /// Replies to an earlier one of the same topic are not taken for this one's.
    number: u64,
    roll: Roll,
    counts: BTreeMap<Box<str>, u64>,
    /// Sources whose numbers are awaited, in the order in which they will come.
    sources: Vec<Box<str>>,
    until: Time,
}

impl Reading {
    /// Takes a new configuration; `longest` bounds what is taken in at once.
    pub fn configure(&mut self, redis: &Redis, longest: u64) {
        self.keys = Keys::new(&redis.key_prefix);
        self.longest = longest;
    }

    /// Bytes of a string that are kept.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// Begins to read what is wanted.
    pub fn pump(&mut self, link: &mut Link<Tag>, hub: &mut Hub, now: Now) {
        for topic in hub.census.take_wanted() {
            if self.scans.contains_key(&topic) {
                continue;
            }
            self.last += 1;
            let (roll, counts) = (Roll::default(), BTreeMap::new());
            let sources = if topic == Topic::Sessions { hub.source_names() } else { Vec::new() };
            let scan = Scan { number: self.last, roll, counts, sources, until: now.time.after(PATIENCE) };
            for (index, source) in scan.sources.iter().enumerate() {
                let key = self.keys.online(source);
                link.command(&[b"HLEN", key.as_bytes()], Tag::Count(scan.number, index), now.time);
            }
            let nothing = topic == Topic::Sessions && scan.sources.is_empty();
            self.scans.insert(topic.clone(), scan);
            match () {
                () if nothing => self.finish(topic, hub, now.time),
                () if topic == Topic::Sessions => {}
                () => self.scan(&topic, self.last, b"0", link, now.time),
            }
        }
    }

    fn scan(&self, topic: &Topic, number: u64, cursor: &[u8], link: &mut Link<Tag>, now: Time) {
        let key = match topic {
            Topic::Online(source) => self.keys.online(source),
            Topic::Today(source) => self.keys.today(source),
            Topic::Messages => self.keys.messages(),
            Topic::Logins => self.keys.logins(),
            Topic::Sessions => return,
        };
        link.command(&[b"HSCAN", key.as_bytes(), cursor, b"COUNT", b"200"], Tag::Read(topic.clone(), number), now);
    }

    /// A piece of a list.
    pub fn handle_piece(
        &mut self,
        (topic, number): (Topic, u64),
        reply: Reply,
        link: &mut Link<Tag>,
        hub: &mut Hub,
        now: Now,
    ) {
        let Some(scan) = self.scans.get_mut(&topic).filter(|scan| scan.number == number) else { return };
        let Some((cursor, pairs)) = scanned(reply) else {
            self.scans.remove(&topic);
            return hub.census.tell(topic, None, now.time);
        };
        for pair in pairs.chunks_exact(2) {
            let (Some(field), Some(value)) = (pair[0].bytes(), pair[1].bytes()) else { continue };
            if matches!(topic, Topic::Online(_)) {
                if !scan.roll.add(hub.siblings.node(), field, value) {
                    hub.stats.redis_refused += 1;
                }
            } else if let (Some(name), Some(count)) = (pair[0].text(), pair[1].integer())
                && scan.counts.len() < MOST_NAMES
            {
                scan.counts.insert(name.into(), count.clamp(0, MOST_COUNTED) as u64);
            }
        }
        if cursor == b"0" {
            self.finish(topic, hub, now.time);
        } else {
            self.scan(&topic, number, &cursor, link, now.time);
        }
    }

    /// How many sessions a source has.
    pub fn handle_count(&mut self, number: u64, index: usize, reply: &Reply, hub: &mut Hub, now: Now) {
        let Some(scan) = self.scans.get_mut(&Topic::Sessions).filter(|scan| scan.number == number) else { return };
        let last = index + 1 == scan.sources.len();
        if let Some(count) = reply.integer() {
            scan.counts.insert(scan.sources[index].clone(), count.clamp(0, MOST_COUNTED) as u64);
        }
        if last {
            self.finish(Topic::Sessions, hub, now.time);
        }
    }

    fn finish(&mut self, topic: Topic, hub: &mut Hub, now: Time) {
        let Some(mut scan) = self.scans.remove(&topic) else { return };
        scan.roll.finish();
        let answer = match topic {
            Topic::Online(_) => Answer::Roll(scan.roll),
            _ => Answer::Counts(scan.counts),
        };
        hub.census.tell(topic, Some(answer), now);
    }

    /// When a reading is given up.
    pub fn deadline(&self) -> Time {
        self.scans.values().map(|scan| scan.until).min().unwrap_or(Time::NEVER)
    }

    /// Gives up what takes too long: what there is of a list is told.
    pub fn expire(&mut self, hub: &mut Hub, now: Now) {
        let late = self.scans.iter().filter(|(_, scan)| scan.until <= now.time).map(|(topic, _)| topic.clone());
        for topic in late.collect::<Vec<_>>() {
            match self.scans.get_mut(&topic) {
                Some(scan) if scan.roll.sessions > 0 => {
                    scan.roll.partial = true;
                    self.finish(topic, hub, now.time);
                }
                _ => {
                    self.scans.remove(&topic);
                    hub.census.tell(topic, None, now.time);
                }
            }
        }
    }

    /// The connection is lost.
    pub fn handle_end(&mut self, hub: &mut Hub, now: Time) {
        for topic in core::mem::take(&mut self.scans).into_keys() {
            hub.census.tell(topic, None, now);
        }
    }
}

/// How long who asks may wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names of a list that are taken in.
const MOST_NAMES: usize = 1_000_000;
/// The largest number that is believed; a million of them can be summed.
const MOST_COUNTED: i64 = 1 << 40;
