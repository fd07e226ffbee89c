//! Reading from Redis what somebody asked for: who is at all relays, and numbers. In pieces, so that a large list stalls
//! neither Redis nor the loop.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{
    Tag,
    presence::{MESSAGES, SESSIONS, scanned},
};
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
    prefix: String,
    longest: u64,
    scans: BTreeMap<Topic, Scan>,
}

struct Scan {
    roll: Roll,
    counts: BTreeMap<Box<str>, u64>,
    /// Numbers that have not come.
    left: usize,
    until: Time,
}

impl Reading {
    /// Takes a new configuration; `longest` bounds what is taken in at once.
    pub fn configure(&mut self, redis: &Redis, longest: u64) {
        self.prefix = redis.key_prefix.clone();
        self.longest = longest;
    }

    /// Bytes of a string that are kept.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    fn key(&self, topic: &Topic) -> String {
        match topic {
            Topic::Online(source) => format!("{}xin_socket_connections_{source}", self.prefix),
            Topic::Today(source) => format!("{}xin_socket_connections_today_{source}", self.prefix),
            Topic::Messages => format!("{}{MESSAGES}", self.prefix),
            Topic::Logins => format!("{}{SESSIONS}", self.prefix),
            Topic::Sessions(_) => String::new(),
        }
    }

    /// Begins to read what is wanted.
    pub fn pump(&mut self, link: &mut Link<Tag>, hub: &mut Hub, now: Now) {
        for topic in hub.census.take_wanted() {
            if self.scans.contains_key(&topic) {
                continue;
            }
            let mut left = 0;
            match &topic {
                Topic::Sessions(sources) => {
                    for (index, source) in sources.iter().enumerate() {
                        let key = self.key(&Topic::Online(source.clone()));
                        link.command(&[b"HLEN", key.as_bytes()], Tag::Count(topic.clone(), index), now.time);
                        left += 1;
                    }
                }
                _ => self.scan(&topic, b"0", link, now.time),
            }
            if left == 0 && matches!(topic, Topic::Sessions(_)) {
                hub.census.tell(topic, Some(Answer::Counts(BTreeMap::new())), now.time);
                continue;
            }
            let scan = Scan { roll: Roll::default(), counts: BTreeMap::new(), left, until: now.time.after(PATIENCE) };
            self.scans.insert(topic, scan);
        }
    }

    fn scan(&self, topic: &Topic, cursor: &[u8], link: &mut Link<Tag>, now: Time) {
        let key = self.key(topic);
        link.command(&[b"HSCAN", key.as_bytes(), cursor, b"COUNT", b"200"], Tag::Read(topic.clone()), now);
    }

    /// A piece of a list.
    pub fn handle_piece(&mut self, topic: Topic, reply: Reply, link: &mut Link<Tag>, hub: &mut Hub, now: Now) {
        let Some(scan) = self.scans.get_mut(&topic) else { return };
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
                scan.counts.insert(name.into(), count.max(0) as u64);
            }
        }
        if cursor == b"0" {
            self.finish(topic, hub, now.time);
        } else {
            self.scan(&topic, &cursor, link, now.time);
        }
    }

    /// A number.
    pub fn handle_count(&mut self, topic: &Topic, index: usize, reply: &Reply, hub: &mut Hub, now: Now) {
        let Some(scan) = self.scans.get_mut(topic) else { return };
        if let (Topic::Sessions(sources), Some(count)) = (topic, reply.integer()) {
            scan.counts.insert(sources[index].clone(), count.max(0) as u64);
        }
        scan.left = scan.left.saturating_sub(1);
        if scan.left == 0 {
            self.finish(topic.clone(), hub, now.time);
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
        let late: Vec<_> =
            self.scans.iter().filter(|(_, scan)| scan.until <= now.time).map(|(topic, _)| topic.clone()).collect();
        for topic in late {
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
