//! Who is at all relays together, as Redis says: read when somebody asks, and believed for two seconds (contract section
//! 10). Nobody waits on the loop for it: who asks is answered when the answer is there.

use core::time::Duration;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use serde_json::value::RawValue;

use super::{Hub, event::scalar, login::LONGEST_NAME};
use crate::clock::Time;

/// Something to be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The sessions of a source.
    Online(Box<str>),
    /// Today's logins of a source by username.
    Today(Box<str>),
    /// How many sessions each source has.
    Sessions,
    /// Messages that came in, by server.
    Messages,
    /// Logins, by server.
    Logins,
}

/// What was read.
#[derive(Debug)]
pub enum Answer {
    /// Of [`Topic::Online`]: the sessions of other relays and servers.
    Roll(Roll),
    /// Numbers by name.
    Counts(BTreeMap<Box<str>, u64>),
}

/// What is known of a topic.
#[derive(Debug)]
pub enum Seen<'a> {
    /// This relay is alone: what it has is all there is.
    Alone,
    /// Redis does not answer: others may be there.
    Unknown,
    /// That will be known soon: [`Census::ask`].
    Soon,
    /// This.
    Known(&'a Answer),
}

/// A relay that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its name.
    pub node: Box<str>,
    /// What it says of itself: a JSON object.
    pub info: Box<str>,
}

/// What is known, and what is asked for.
#[derive(Debug, Default)]
pub struct Census {
    on: bool,
    /// Redis answers.
    linked: bool,
    wanted: BTreeSet<Topic>,
    known: BTreeMap<Topic, (Time, Option<Answer>)>,
    /// The other relays.
    pub relays: Vec<Relay>,
}

impl Census {
    /// Whether there are others, and whether Redis answers.
    pub fn switch(&mut self, on: bool, linked: bool) {
        if !linked {
            self.known.clear();
            self.wanted.clear();
        }
        if !on {
            self.relays.clear();
        }
        (self.on, self.linked) = (on, linked);
    }

    /// Whether this relay has siblings to be asked about.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// What is known.
    pub fn see(&self, topic: &Topic, now: Time) -> Seen<'_> {
        match self.known.get(topic) {
            _ if !self.on => Seen::Alone,
            _ if !self.linked => Seen::Unknown,
            Some((at, answer)) if now.since(*at) < FRESH => answer.as_ref().map_or(Seen::Unknown, Seen::Known),
            _ => Seen::Soon,
        }
    }

    /// Wants something to be read, unless it is known.
    pub fn ask(&mut self, topic: Topic) {
        self.wanted.insert(topic);
    }

    /// What is to be read.
    pub fn take_wanted(&mut self) -> BTreeSet<Topic> {
        core::mem::take(&mut self.wanted)
    }

    /// It was read, or cannot be.
    pub fn tell(&mut self, topic: Topic, answer: Option<Answer>, now: Time) {
        self.known.insert(topic, (now, answer));
    }

    /// Forgets what nobody has asked for lately: lists may be large.
    pub fn sweep(&mut self, now: Time) {
        self.known.retain(|_, (at, _)| now.since(*at) < FRESH);
    }
}

/// The sessions of a source at other relays and servers.
#[derive(Debug, Default)]
pub struct Roll {
    /// How many there are.
    pub sessions: usize,
    /// By username.
    pub names: BTreeMap<Box<str>, usize>,
    /// By userid and namespace.
    pub users: BTreeMap<Box<str>, BTreeMap<Box<str>, usize>>,
    /// The first of them as JSON objects, with their userids.
    pub list: Vec<(Box<str>, Box<str>)>,
    /// Not all of them were read.
    pub partial: bool,
    bytes: usize,
    /// Which were read: a scan may name one twice.
    seen: HashSet<Box<[u8]>>,
}

impl Roll {
    /// Adds a record, unless it is of the relay `own`; whether it is one.
    pub fn add(&mut self, own: &str, field: &[u8], record: &[u8]) -> bool {
        let fields = core::str::from_utf8(record).ok().filter(|text| text.len() <= LONGEST_RECORD);
        let parsed =
            fields.and_then(|text| Some((text, serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text).ok()?)));
        let Some((text, fields)) = parsed else { return false };
        let get = |name: &str| fields.get(name).map_or("".into(), |raw| scalar(raw));
        if get("node") == own {
            return true;
        }
        if self.seen.len() >= MOST_RECORDS {
            self.partial = true;
            return true;
        }
        if !self.seen.insert(field.into()) {
            return true;
        }
        self.sessions += 1;
        let cut = |name: Cow<'_, str>| name[..name.floor_char_boundary(LONGEST_NAME)].to_owned();
        let (username, userid) = (cut(get("username")), cut(get("userid")));
        *self.names.entry(username.into()).or_default() += 1;
        if !userid.is_empty() {
            let namespace = match get("nsp") {
                name if name.is_empty() => "/".into(),
                name => name,
            };
            *self.users.entry(userid.as_str().into()).or_default().entry((*namespace).into()).or_default() += 1;
        }
        if self.bytes + text.len() <= MOST_BYTES {
            self.bytes += text.len();
            self.list.push((userid.into(), text.into()));
        }
        true
    }

    /// All were read.
    pub fn finish(&mut self) {
        self.seen = HashSet::new();
    }
}

impl Hub {
    /// The sources that somebody may be in.
    pub fn source_names(&self) -> Vec<Box<str>> {
        let there = |tenant: &&super::Tenant| tenant.source.is_some() || tenant.open;
        self.tenants.iter().filter(there).map(|tenant| (*tenant.name).into()).collect()
    }
}

/// How long an answer is believed.
const FRESH: Duration = Duration::from_secs(2);
/// Sessions of a source that are read.
const MOST_RECORDS: usize = 1_000_000;
/// Bytes of a record that is one.
const LONGEST_RECORD: usize = 256 * 1024;
/// Bytes of records that are kept: as much as a page shows.
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_believed_and_for_how_long() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut census = Census::default();
        let topic = Topic::Today("demo".into());
        assert!(matches!(census.see(&topic, at(1)), Seen::Alone));
        census.switch(true, false);
        assert!(matches!(census.see(&topic, at(1)), Seen::Unknown));
        census.switch(true, true);
        assert!(matches!(census.see(&topic, at(1)), Seen::Soon));
        census.ask(topic.clone());
        census.ask(topic.clone());
        assert_eq!((census.take_wanted().len(), census.take_wanted().len()), (1, 0));
        census.tell(topic.clone(), Some(Answer::Counts(BTreeMap::new())), at(2));
        assert!(matches!(census.see(&topic, at(3)), Seen::Known(_)));
        assert!(matches!(census.see(&topic, at(4)), Seen::Soon));
        census.tell(topic.clone(), None, at(4));
        assert!(matches!(census.see(&topic, at(4)), Seen::Unknown));
        census.switch(true, false);
        census.switch(true, true);
        assert!(matches!(census.see(&topic, at(4)), Seen::Soon), "what was known before the link was lost is old");
    }

    #[test]
    fn rolls() {
        let mut roll = Roll::default();
        // As the old server wrote it: no node, no namespace.
        let old = br#"{"socket_id":"a","source":"demo","userid":"7","username":"li","room_ids":"r","ext_info":"","watch_quit":"","server_ip":"10.0.0.2","time":"2026-11-20 20:52:3"}"#;
        assert!(roll.add("own", b"a", old));
        assert!(roll.add("own", b"a", old), "a scan may name one twice");
        assert!(roll.add("own", b"b", br#"{"username":"li","userid":7,"nsp":"/x","node":"other"}"#));
        assert!(roll.add("own", b"c", br#"{"username":"wang","node":"own"}"#));
        assert!(roll.add("own", b"d", br#"{}"#));
        for corrupt in [&b"{"[..], b"\xff", b"7", b"[]", b"", &[b' '; LONGEST_RECORD + 1]] {
            assert!(!roll.add("own", b"e", corrupt));
        }
        assert_eq!(roll.sessions, 3);
        assert_eq!(roll.names.into_iter().collect::<Vec<_>>(), [("".into(), 1), ("li".into(), 2)]);
        let spaces: Vec<_> = roll.users["7"].iter().map(|(space, count)| (&**space, *count)).collect();
        assert_eq!((spaces, roll.list.len()), (vec![("/", 1), ("/x", 1)], 3));
    }
}
