//! Removes the records that a dead relay left in Redis, and stale records of this relay, which belong to no session.

use std::{collections::VecDeque, mem};

use super::{context::Context, keys::Keys, scans::scan_parts, tag::Tag};
use crate::{
    clock::Time,
    json::Object,
    redis::{Link, Reply},
};

/// The queue of clean-ups, which run one at a time.
#[derive(Default)]
pub struct Cleanup {
    keys: Keys,
    /// This relay's name.
    own: Box<str>,
    jobs: VecDeque<Job>,
    scanning: bool,
    /// Whether the relay whose records are being removed is alive again.
    revived: bool,
}

/// The removal of one relay's records.
struct Job {
    node: Box<str>,
    sources: Vec<Box<str>>,
    cursor: Vec<u8>,
}

impl Cleanup {
    /// Applies a new configuration. `node` is this relay's name.
    pub fn configure(&mut self, keys: &Keys, node: &str) {
        self.keys = keys.clone();
        self.own = node.into();
    }

    /// Handles the loss of the connection: drops all clean-ups.
    pub fn handle_end(&mut self) {
        self.jobs.clear();
        self.scanning = false;
    }

    /// Removes the records of a relay in these sources. If it is this relay, only records of sessions that have ended
    /// are removed.
    pub fn start(&mut self, node: Box<str>, sources: Vec<Box<str>>, link: &mut Link<Tag>, now: Time) {
        self.jobs.push_back(Job { node, sources, cursor: b"0".to_vec() });
        self.proceed(link, now);
    }

    /// Reads the next part of a hash.
    fn proceed(&mut self, link: &mut Link<Tag>, now: Time) {
        while let Some(job) = self.jobs.front().filter(|_| !self.scanning) {
            match job.sources.last() {
                Some(source) => {
                    let key = self.keys.online(source);
                    if job.node != self.own {
                        // It may have been slow rather than dead.
                        link.command(&[b"EXISTS", self.keys.alive(&job.node).as_bytes()], Tag::CleanupCheck, now);
                    }
                    link.command(&[b"HSCAN", key.as_bytes(), &job.cursor, b"COUNT", b"200"], Tag::CleanupScan, now);
                    self.scanning = true;
                }
                None => {
                    let (nodes, node) = (self.keys.nodes(), job.node.clone());
                    if node != self.own {
                        link.command(&[b"HDEL", nodes.as_bytes(), node.as_bytes()], Tag::Write, now);
                        // Release the lock: the relay may come back and die again.
                        let lock = self.keys.cleanup(&node);
                        link.command(&[b"DEL", lock.as_bytes()], Tag::Write, now);
                    }
                    self.jobs.pop_front();
                }
            }
        }
    }

    /// Handles the reply that says whether the dead relay's heartbeat key exists.
    pub fn handle_check(&mut self, reply: &Reply) {
        self.revived = *reply != Reply::Integer(0);
    }

    /// Handles a part of a hash.
    pub fn handle_scan(&mut self, reply: Reply, link: &mut Link<Tag>, cx: &Context<'_>) {
        let now = cx.state.now.time;
        self.scanning = false;
        let Some(job) = self.jobs.front_mut() else { return };
        let Some((cursor, pairs)) = scan_parts(reply).filter(|_| !mem::take(&mut self.revived)) else {
            // The relay is alive, or Redis answered with an error. If the relay is dead after all, a later heartbeat
            // starts the clean-up again.
            self.jobs.pop_front();
            return self.proceed(link, now);
        };
        let mut fields: Vec<&[u8]> = Vec::new();
        for pair in pairs.chunks_exact(2) {
            if let (Some(field), Some(record)) = (pair[0].bytes(), pair[1].text())
                && node_of(record).as_deref() == Some(&*job.node)
                && (job.node != self.own || pair[0].text().is_none_or(|name| cx.state.find_session(name).is_none()))
            {
                fields.push(field);
            }
        }
        if let Some(source) = job.sources.last()
            && !fields.is_empty()
        {
            let key = self.keys.online(source);
            link.command(&[&[b"HDEL", key.as_bytes()], fields.as_slice()].concat(), Tag::Write, now);
        }
        if cursor == b"0" {
            job.sources.pop();
        }
        job.cursor = cursor;
        self.proceed(link, now);
    }
}

/// The relay that a record belongs to.
fn node_of(record: &str) -> Option<String> {
    let fields: Object<'_> = serde_json::from_str(record).ok()?;
    serde_json::from_str(fields.get("node")?.get()).ok()
}
