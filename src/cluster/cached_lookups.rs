//! Cached look-ups of cluster-wide data for operators' pages: read from Redis on demand and used for two seconds. The
//! event loop does not wait: a request is parked until Redis has answered.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::remote_sessions::RemoteSessions;
use crate::clock::Time;

/// Data that can be looked up in Redis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The sessions of a source.
    Online(Box<str>),
    /// Today's logins of a source by username.
    Today(Box<str>),
    /// The number of sessions of each source.
    Sessions,
    /// The number of messages received, by server.
    Messages,
    /// The number of logins, by server.
    Logins,
}

/// The result of a look-up.
#[derive(Debug)]
pub enum Answer {
    /// For [`Topic::Online`]: the sessions of other relays and old servers.
    Sessions(RemoteSessions),
    /// For the other topics: numbers by name.
    Counts(BTreeMap<Box<str>, u64>),
}

/// The state of the look-up of a topic.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// The cluster is off: there are no other relays.
    Off,
    /// Redis does not answer: the data of other relays is missing.
    Unknown,
    /// There is no recent answer: [request](super::Cluster::request) one.
    Pending,
    /// The answer.
    Known(&'a Answer),
}

/// Recent answers, and the topics that are requested.
#[derive(Debug, Default)]
pub struct CachedLookups {
    on: bool,
    connected: bool,
    wanted: BTreeSet<Topic>,
    known: BTreeMap<Topic, (Time, Option<Answer>)>,
}

impl CachedLookups {
    /// Sets whether the cluster is on, and whether Redis answers.
    pub fn switch(&mut self, on: bool, connected: bool) {
        if !connected {
            self.known.clear();
            self.wanted.clear();
        }
        (self.on, self.connected) = (on, connected);
    }

    /// Whether the cluster is on.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The answer to a topic, if it is known.
    pub fn lookup(&self, topic: &Topic, now: Time) -> Lookup<'_> {
        match self.known.get(topic) {
            _ if !self.on => Lookup::Off,
            _ if !self.connected => Lookup::Unknown,
            Some((at, answer)) if now.since(*at) < FRESH => answer.as_ref().map_or(Lookup::Unknown, Lookup::Known),
            _ => Lookup::Pending,
        }
    }

    /// Requests a topic.
    pub fn request(&mut self, topic: Topic) {
        self.wanted.insert(topic);
    }

    /// Takes the topics that were requested.
    pub fn take_wanted(&mut self) -> BTreeSet<Topic> {
        mem::take(&mut self.wanted)
    }

    /// Keeps an answer; `None` if the topic cannot be read.
    pub fn insert(&mut self, topic: Topic, answer: Option<Answer>, now: Time) {
        self.known.insert(topic, (now, answer));
    }

    /// Drops answers that are out of date: lists may be large.
    pub fn expire(&mut self, now: Time) {
        self.known.retain(|_, (at, _)| now.since(*at) < FRESH);
    }
}

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_used_for_two_seconds() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut lookups = CachedLookups::default();
        let topic = Topic::Today("demo".into());
        assert!(matches!(lookups.lookup(&topic, at(1)), Lookup::Off));
        lookups.switch(true, false);
        assert!(matches!(lookups.lookup(&topic, at(1)), Lookup::Unknown));
        lookups.switch(true, true);
        assert!(matches!(lookups.lookup(&topic, at(1)), Lookup::Pending));
        lookups.request(topic.clone());
        lookups.request(topic.clone());
        assert_eq!((lookups.take_wanted().len(), lookups.take_wanted().len()), (1, 0));
        lookups.insert(topic.clone(), Some(Answer::Counts(BTreeMap::new())), at(2));
        assert!(matches!(lookups.lookup(&topic, at(3)), Lookup::Known(_)));
        assert!(matches!(lookups.lookup(&topic, at(4)), Lookup::Pending));
        lookups.insert(topic.clone(), None, at(4));
        assert!(matches!(lookups.lookup(&topic, at(4)), Lookup::Unknown));
        lookups.expire(at(6));
        assert!(lookups.known.is_empty());
        lookups.insert(topic.clone(), None, at(6));
        lookups.switch(true, false);
        lookups.switch(true, true);
        assert!(matches!(lookups.lookup(&topic, at(6)), Lookup::Pending), "answers end with the connection");
    }
}
