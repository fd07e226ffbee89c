//! Reads look-ups from Redis in parts, so that a large hash delays neither Redis nor the event loop.

use core::time::Duration;
use std::{collections::BTreeMap, mem};

use super::{
    cached_lookups::{Answer, Topic},
    context::{Context, Shared},
    keys::Keys,
    remote_sessions::RemoteSessions,
    tag::Tag,
};
use crate::{
    clock::Time,
    config::Redis,
    redis::{Link, Reply},
};

/// The look-ups that are being read.
#[derive(Default)]
pub struct Scans {
    keys: Keys,
    open: BTreeMap<Topic, Scan>,
    last: u64,
}

struct Scan {
    /// Distinguishes its replies from those to an earlier scan of the same topic.
    number: u64,
    sessions: RemoteSessions,
    counts: BTreeMap<Box<str>, u64>,
    /// The sources that are counted, in the order of their replies.
    sources: Vec<Box<str>>,
    until: Time,
}

impl Scans {
    /// Applies a new configuration.
    pub fn configure(&mut self, redis: &Redis) {
        self.keys = Keys::new(&redis.key_prefix);
    }

    /// Starts the look-ups that were requested.
    pub fn pump(&mut self, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        for topic in cx.shared.cached.take_wanted() {
            if self.open.contains_key(&topic) {
                continue;
            }
            self.last += 1;
            let (sessions, counts) = (RemoteSessions::default(), BTreeMap::new());
            let sources = if topic == Topic::Sessions { cx.state.source_names() } else { Vec::new() };
            let scan = Scan { number: self.last, sessions, counts, sources, until: now.after(PATIENCE) };
            for (index, source) in scan.sources.iter().enumerate() {
                let key = self.keys.online(source);
                link.command(&[b"HLEN", key.as_bytes()], Tag::Count(scan.number, index), now);
            }
            let nothing = topic == Topic::Sessions && scan.sources.is_empty();
            self.open.insert(topic.clone(), scan);
            match topic {
                Topic::Sessions if nothing => self.finish(topic, cx.shared, now),
                Topic::Sessions => {}
                topic => self.scan(&topic, self.last, b"0", link, now),
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
        link.command(&[b"HSCAN", key.as_bytes(), cursor, b"COUNT", b"200"], Tag::Scan(topic.clone(), number), now);
    }

    /// Handles a part of a hash.
    pub fn handle_part(
        &mut self,
        (topic, number): (Topic, u64),
        reply: Reply,
        link: &mut Link<Tag>,
        cx: &mut Context<'_>,
    ) {
        let now = cx.state.now.time;
        let Some(scan) = self.open.get_mut(&topic).filter(|scan| scan.number == number) else { return };
        let Some((cursor, pairs)) = scan_parts(reply) else {
            self.open.remove(&topic);
            return cx.shared.cached.insert(topic, None, now);
        };
        for pair in pairs.chunks_exact(2) {
            let (Some(field), Some(value)) = (pair[0].bytes(), pair[1].bytes()) else { continue };
            if matches!(topic, Topic::Online(_)) {
                if !scan.sessions.add(cx.shared.publisher.node(), field, value, cx.state.now) {
                    cx.state.stats.redis_refused += 1;
                }
            } else if let (Some(name), Some(count)) = (pair[0].text(), pair[1].integer())
                && scan.counts.len() < MOST_NAMES
            {
                scan.counts.insert(name.into(), count.clamp(0, MOST_COUNTED) as u64);
            }
        }
        if cursor == b"0" {
            self.finish(topic, cx.shared, now);
        } else {
            self.scan(&topic, number, &cursor, link, now);
        }
    }

    /// Handles the number of records of a source.
    pub fn handle_count(&mut self, number: u64, index: usize, reply: &Reply, cx: &mut Context<'_>) {
        let Some(scan) = self.open.get_mut(&Topic::Sessions).filter(|scan| scan.number == number) else { return };
        let last = index + 1 == scan.sources.len();
        if let Some(count) = reply.integer() {
            scan.counts.insert(scan.sources[index].clone(), count.clamp(0, MOST_COUNTED) as u64);
        }
        if last {
            self.finish(Topic::Sessions, cx.shared, cx.state.now.time);
        }
    }

    fn finish(&mut self, topic: Topic, shared: &mut Shared, now: Time) {
        let Some(mut scan) = self.open.remove(&topic) else { return };
        scan.sessions.finish();
        let answer = match topic {
            Topic::Online(_) => Answer::Sessions(scan.sessions),
            _ => Answer::Counts(scan.counts),
        };
        shared.cached.insert(topic, Some(answer), now);
    }

    /// When the next look-up times out.
    pub fn deadline(&self) -> Time {
        self.open.values().map(|scan| scan.until).min().unwrap_or(Time::NEVER)
    }

    /// Ends look-ups that have timed out. If some sessions were read by then, they are the answer, marked as partial.
    pub fn expire(&mut self, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        let late = self.open.iter().filter(|(_, scan)| scan.until <= now).map(|(topic, _)| topic.clone());
        for topic in late.collect::<Vec<_>>() {
            match self.open.get_mut(&topic) {
                Some(scan) if scan.sessions.sessions > 0 => {
                    scan.sessions.partial = true;
                    self.finish(topic, cx.shared, now);
                }
                _ => {
                    self.open.remove(&topic);
                    cx.shared.cached.insert(topic, None, now);
                }
            }
        }
    }

    /// Handles the loss of the connection: all look-ups fail.
    pub fn handle_end(&mut self, cx: &mut Context<'_>) {
        for topic in mem::take(&mut self.open).into_keys() {
            cx.shared.cached.insert(topic, None, cx.state.now.time);
        }
    }
}

/// The parts of a reply to HSCAN: the next cursor, and fields with their values.
pub fn scan_parts(reply: Reply) -> Option<(Vec<u8>, Vec<Reply>)> {
    let mut parts = reply.array()?.into_iter();
    let cursor = parts.next()?.bytes()?.to_vec();
    Some((cursor, parts.next()?.array()?))
}

/// How long a page waits for a look-up.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most names of a hash that are kept.
const MOST_NAMES: usize = 1_000_000;
/// The largest count: a million of these can be summed without overflow.
const MOST_COUNTED: i64 = 1 << 40;
