//! The data of operators' lists: the state of this relay, and look-ups in Redis.

use std::collections::BTreeMap;

use super::context::Site;
use crate::{
    clock::Now,
    cluster::{Answer, Lookup, RemoteSessions, Topic},
    hub::Hub,
};

/// The data for a list or page.
pub struct Snapshot<'a> {
    /// Clients, rooms and features.
    pub hub: &'a Hub,
    /// Values that are fixed at start.
    pub site: &'a Site,
    /// The time of this turn.
    pub now: Now,
    /// The number of open connections.
    pub connections: usize,
}

impl<'a> Snapshot<'a> {
    /// The result of a look-up; `None` without a cluster, or if Redis has not answered.
    pub fn seen(&self, topic: &Topic) -> Option<&'a Answer> {
        match self.hub.cluster.lookup(topic, self.now.time) {
            Lookup::Known(answer) => Some(answer),
            Lookup::Off | Lookup::Unknown | Lookup::Pending => None,
        }
    }

    /// The sessions of a source on other relays.
    pub fn others(&self, source: &str) -> Option<&'a RemoteSessions> {
        match self.seen(&Topic::Online(source.into())) {
            Some(Answer::Sessions(sessions)) => Some(sessions),
            _ => None,
        }
    }

    /// A look-up whose result is counts by name.
    pub fn counts(&self, topic: &Topic) -> Option<&'a BTreeMap<Box<str>, u64>> {
        match self.seen(topic) {
            Some(Answer::Counts(counts)) => Some(counts),
            _ => None,
        }
    }

    /// The JSON members that say how many relays there are and whether all are included; empty without a cluster.
    pub fn completeness(&self, complete: bool) -> String {
        if !self.hub.cluster.is_on() {
            return String::new();
        }
        format!("\"relays\":{},\"complete\":{complete},", self.hub.cluster.nodes().len() + 1)
    }
}
