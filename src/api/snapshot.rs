//! What the operators' lists are made of.

use std::collections::BTreeMap;

use super::context::Site;
use crate::{
    clock::Now,
    cluster::{Answer, RemoteSessions, Seen, Topic},
    hub::Hub,
};

/// What a page may know.
pub struct Snapshot<'a> {
    /// The meaning.
    pub hub: &'a Hub,
    /// What does not change while relay runs.
    pub site: &'a Site,
    /// The clocks.
    pub now: Now,
    /// How many connections there are.
    pub connections: usize,
}

impl<'a> Snapshot<'a> {
    /// What Redis says; nothing if this relay is alone, or Redis does not answer.
    pub fn seen(&self, topic: &Topic) -> Option<&'a Answer> {
        match self.hub.cluster.see(topic, self.now.time) {
            Seen::Known(answer) => Some(answer),
            Seen::Alone | Seen::Unknown | Seen::Pending => None,
        }
    }

    /// The sessions of a source that are not here.
    pub fn others(&self, source: &str) -> Option<&'a RemoteSessions> {
        match self.seen(&Topic::Online(source.into())) {
            Some(Answer::Sessions(sessions)) => Some(sessions),
            _ => None,
        }
    }

    /// Numbers by name.
    pub fn counts(&self, topic: &Topic) -> Option<&'a BTreeMap<Box<str>, u64>> {
        match self.seen(topic) {
            Some(Answer::Counts(counts)) => Some(counts),
            _ => None,
        }
    }

    /// What JSON says of whether siblings are in it: nothing if this relay is alone.
    pub fn completeness(&self, complete: bool) -> String {
        if !self.hub.cluster.is_on() {
            return String::new();
        }
        format!("\"relays\":{},\"complete\":{complete},", self.hub.cluster.nodes().len() + 1)
    }
}
