//! What the model knows of messages: which were published, which of them are kept, and from which position a room is whole.

use core::fmt;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use relay::{
    clock::Now,
    config::{History, HistoryRule},
    history::{Since, bounds::Bounds},
    hub::Hub,
    message::MessageId,
};

use crate::dice::{ROOMS, SOURCES};

/// The id of which all ids of the simulated relay are.
pub fn own() -> MessageId {
    MessageId::first(1, 1)
}

/// A message that was published to a room.
pub struct Message {
    pub stamp: u64,
    pub id: String,
    pub source: &'static str,
    pub room: &'static str,
    /// The data as JSON, and as text clients get it.
    pub json: String,
    pub text: String,
    /// The bytes with which it counts in the history.
    pub cost: usize,
    /// When it was published, in seconds.
    pub second: u32,
    /// Whether its room had a rule then.
    pub has_rule: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { stamp, source, room, text, cost, second, has_rule, .. } = self;
        let rule = if *has_rule { "" } else { ", no rule" };
        write!(f, "{stamp} {source}/{room} {} ({cost} bytes, second {second}{rule})", text.trim_end_matches('x'))
    }
}

/// A room of a source.
#[derive(Default)]
struct Room {
    /// Those that are given out.
    kept: VecDeque<Rc<Message>>,
    bytes: usize,
    /// The newest message that is not kept, or not any more.
    missing: u64,
    /// The newest message that was kept before it was dropped, and those that were never kept.
    evicted: u64,
    unkept: BTreeSet<u64>,
    /// The newest message that its rule did not allow to keep, or not any more.
    dropped: u64,
    /// Up to where messages count as missing since it began to keep some: the source does not remember of which room those
    /// were that it dropped.
    begun: u64,
    /// The newest kept message when this was last looked at; 0 if there was none.
    seen: u64,
}

#[derive(Default)]
struct Source {
    /// The newest message to any room.
    newest: u64,
    /// The newest message that was dropped from a room that keeps none now, or that a change of the rules may have lost.
    forgotten: u64,
    /// See [`Model::note_unordered`].
    unordered: u64,
}

/// What a client knows that was told that a room is incomplete: a message that is kept when it is told may be dropped later.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// The newest message that had been dropped.
    evicted: u64,
    /// The newest that was not there.
    missing: u64,
}

/// The history as it must be.
pub struct Model {
    settings: History,
    rooms: BTreeMap<(&'static str, &'static str), Room>,
    sources: BTreeMap<&'static str, Source>,
    /// When the rules were last changed.
    changed: u64,
    /// Messages that were kept, and those of them that were dropped because of count, bytes or memory.
    kept: u64,
    dropped: u64,
    dropped_for_memory: u64,
}

/// What a login with `since`, or a reader, gets.
#[derive(Debug)]
pub struct Expected {
    /// The position before the messages.
    pub stamp: u64,
    pub messages: Vec<Rc<Message>>,
    /// The rooms that must be named as incomplete, and those that may be.
    pub must: BTreeSet<&'static str>,
    pub may: BTreeSet<&'static str>,
}

impl Model {
    pub fn new(settings: &History) -> Model {
        let rooms = SOURCES.iter().flat_map(|source| ROOMS.map(|room| ((*source, room), Room::default())));
        let mut model = Model {
            settings: History::default(),
            rooms: rooms.collect(),
            sources: SOURCES.map(|source| (source, Source::default())).into(),
            changed: 0,
            kept: 0,
            dropped: 0,
            dropped_for_memory: 0,
        };
        model.reload(settings, own().number(), Now::default());
        model
    }

    /// The bounds of a room that keeps messages.
    pub fn rule(&self, source: &str, room: &str) -> Option<Bounds> {
        let rule = self.settings.rooms.iter().find(|rule| rule.matches(source, room));
        Bounds::new(rule.map_or(&self.settings.bounds, |rule| &rule.bounds))
    }

    /// Puts a message where it belongs, if its room keeps it. What is dropped for `history.memory` is found by `follow`.
    pub fn publish(&mut self, message: Rc<Message>) {
        let (stamp, key) = (message.stamp, (message.source, message.room));
        let bounds = self.rule(key.0, key.1);
        self.sources.get_mut(key.0).unwrap().newest = stamp;
        let room = self.rooms.get_mut(&key).unwrap();
        let Some(bounds) = bounds.filter(|_| message.has_rule) else {
            room.missing = stamp;
            return;
        };
        if message.cost > bounds.bytes as usize {
            (room.missing, room.dropped) = (stamp, stamp);
            room.unkept.insert(stamp);
            return;
        }
        // As it is not the newest any more, `last` does not keep one that is too old.
        room.expire(&Bounds { last: false, ..bounds }, message.second);
        self.dropped += room.keep_bounds(&bounds, 1, message.cost);
        room.bytes += message.cost;
        room.kept.push_back(message);
        self.kept += 1;
    }

    pub fn reload(&mut self, settings: &History, newest: u64, now: Now) {
        let before = rules(&core::mem::replace(&mut self.settings, settings.clone()));
        if rules(settings) == before {
            return;
        }
        self.changed = newest;
        let all: Vec<_> = self.rooms.keys().copied().collect();
        for key in all {
            let bounds = self.rule(key.0, key.1);
            let room = self.rooms.get_mut(&key).unwrap();
            match bounds {
                None => {
                    while !room.kept.is_empty() {
                        room.drop_oldest();
                    }
                }
                Some(bounds) => {
                    room.expire(&bounds, second(now));
                    self.dropped += room.keep_bounds(&bounds, 0, 0);
                }
            }
        }
        self.sources.values_mut().for_each(|source| source.forgotten = newest);
    }

    /// Drops what the history has dropped for `history.memory` or because it was too old, and compares the counters.
    pub fn follow(&mut self, hub: &Hub) {
        let second = second(hub.state.now);
        let bounds: Vec<_> = self.rooms.keys().map(|(source, room)| self.rule(source, room)).collect();
        let mut renewed = Vec::new();
        for ((key, room), bounds) in self.rooms.iter_mut().zip(bounds) {
            let first = |after| first_after(hub, *key, after);
            if let Some(bounds) = bounds {
                room.expire(&bounds, second);
            }
            let before = room.kept.len();
            while room.kept.back().is_some_and(|newest| first(newest.stamp - 1).is_none()) {
                room.drop_newest();
            }
            let oldest = first(0);
            while room.kept.front().is_some_and(|known| oldest.is_none_or(|oldest| known.stamp < oldest)) {
                room.drop_oldest();
            }
            assert_eq!(room.kept.front().map(|oldest| oldest.stamp), oldest, "the oldest message of {key:?}");
            self.dropped_for_memory += (before - room.kept.len()) as u64;
            if room.kept.front().is_none_or(|oldest| oldest.stamp > room.seen) {
                renewed.push(*key);
            }
            room.seen = room.kept.back().map_or(0, |newest| newest.stamp);
        }
        // It kept nothing, perhaps only for a moment.
        for key in &renewed {
            let source = self.sources.get_mut(key.0).unwrap();
            source.forgotten = source.forgotten.max(self.rooms[key].dropped);
        }
        for key in &renewed {
            self.rooms.get_mut(key).unwrap().begun = self.sources[key.0].forgotten;
        }
        let counts = hub.history.counts();
        assert_eq!(counts.kept, self.kept, "messages that were kept");
        let evicted = counts.evicted;
        let dropped = self.dropped + self.dropped_for_memory;
        assert_eq!(evicted.count + evicted.bytes + evicted.memory, dropped, "dropped messages: {evicted:?}");
        assert!(evicted.memory >= self.dropped_for_memory, "{evicted:?}");
    }

    /// Whether a message is kept.
    pub fn has(&self, message: &Message) -> bool {
        let kept = &self.rooms[&(message.source, message.room)].kept;
        kept.binary_search_by_key(&message.stamp, |kept| kept.stamp).is_ok()
    }

    /// The newest message of a room that is not kept, or not any more: from an older position the room is incomplete.
    pub fn missing(&self, source: &'static str, room: &'static str) -> u64 {
        self.rooms[&(source, room)].missing
    }

    /// What a client knows that is told now that a room is incomplete.
    pub fn told(&self, source: &'static str, room: &'static str) -> Told {
        let room = &self.rooms[&(source, room)];
        Told { evicted: room.evicted, missing: room.missing }
    }

    /// Whether a client that was told this knows that a message is missing.
    pub fn is_told(&self, told: Told, message: &Message) -> bool {
        let was_kept = !self.rooms[&(message.source, message.room)].unkept.contains(&message.stamp);
        message.stamp <= if was_kept { told.evicted } else { told.missing }
    }

    /// Notes that a client of a source may lack messages of rooms without history, though it has newer ones.
    pub fn note_unordered(&mut self, source: &str, newest: u64) {
        self.sources.get_mut(source).unwrap().unordered = newest + 1;
    }

    /// Whether relay may say so. These are the reasons for which it may although none is missing:
    ///
    /// - history is off;
    /// - the room keeps none, and one was published to another room of the source since then, or messages of such rooms waited
    ///   for a client that was behind;
    /// - the room has no kept message, or had none before the oldest that it has, and since then one was dropped from another
    ///   such room of the source, or the rules were changed.
    pub fn may_be_incomplete(&self, source: &'static str, room: &'static str, stamp: u64) -> bool {
        let (of_source, known) = (&self.sources[source], &self.rooms[&(source, room)]);
        let floor = match self.rule(source, room) {
            _ if !self.settings.is_on() => return true,
            None => of_source.newest.max(self.changed).max(of_source.unordered),
            Some(_) if known.kept.is_empty() => of_source.forgotten,
            Some(_) => known.begun,
        };
        stamp < floor.max(known.missing)
    }

    /// What a client gets that says `since`.
    pub fn expect(&self, source: &'static str, rooms: &[&'static str], since: &str, hub: &Hub) -> Expected {
        let newest = hub.state.ids.last();
        let since = Since::parse(since).unwrap_or(Since::Unknown);
        let begun = matches!(since, Since::All | Since::Age(_)) && !self.settings.before;
        let (stamp, is_known) = match since {
            _ if begun => (newest, true),
            Since::New => (newest, true),
            // Right before the oldest.
            Since::All => {
                let oldest = self.kept_after(source, rooms, 0).first().map(|oldest| oldest.stamp - 1);
                (oldest.unwrap_or(newest), true)
            }
            Since::Age(age) => {
                (((own().number() + hub.state.now.time.micros()).saturating_sub(age.as_micros() as u64)), true)
            }
            Since::Id(id) if id.is_same_node(own()) => (id.stamp(), true),
            Since::Id(id) => (id.number().saturating_sub(2_000_000), false),
            Since::Unknown => (newest, false),
        };
        let stamp = stamp.min(newest);
        let asks_for_all = since == Since::All && !begun;
        let named = |is_named: &dyn Fn(&'static str) -> bool| -> BTreeSet<&'static str> {
            rooms.iter().copied().filter(|room| !asks_for_all && (!is_known || is_named(room))).collect()
        };
        Expected {
            stamp,
            messages: self.kept_after(source, rooms, stamp),
            must: named(&|room| stamp < self.missing(source, room)),
            // At the newest position nothing can be missing.
            may: named(&|room| since != Since::New && !begun && self.may_be_incomplete(source, room, stamp)),
        }
    }

    fn kept_after(&self, source: &'static str, rooms: &[&'static str], stamp: u64) -> Vec<Rc<Message>> {
        let rooms: BTreeSet<_> = rooms.iter().copied().collect();
        let kept = rooms.iter().flat_map(|room| {
            let kept = &self.rooms[&(source, *room)].kept;
            kept.range(kept.partition_point(|message| message.stamp <= stamp)..).cloned()
        });
        let mut messages: Vec<_> = kept.collect();
        messages.sort_by_key(|message| message.stamp);
        messages
    }

    /// The last values of rooms, as far as they are not newer than a stamp.
    pub fn last_values(&self, source: &'static str, rooms: &[&'static str], stamp: u64) -> Vec<Rc<Message>> {
        let lasting = rooms.iter().filter(|room| self.rule(source, room).is_some_and(|rule| rule.last));
        let newest = lasting.filter_map(|room| self.rooms[&(source, *room)].kept.back());
        newest.filter(|message| message.stamp <= stamp).cloned().collect()
    }
}

impl Room {
    fn drop_oldest(&mut self) {
        let oldest = self.kept.pop_front().unwrap();
        self.evicted = self.evicted.max(oldest.stamp);
        self.note_dropped(&oldest);
    }

    fn drop_newest(&mut self) {
        let newest = self.kept.pop_back().unwrap();
        self.unkept.insert(newest.stamp);
        self.note_dropped(&newest);
    }

    fn note_dropped(&mut self, message: &Message) {
        self.bytes -= message.cost;
        self.missing = self.missing.max(message.stamp);
        self.dropped = self.dropped.max(message.stamp);
    }

    fn expire(&mut self, bounds: &Bounds, second: u32) {
        let least = usize::from(bounds.last);
        let is_old = |message: &Rc<Message>| second - message.second > bounds.seconds;
        while self.kept.len() > least && self.kept.front().is_some_and(is_old) {
            self.drop_oldest();
        }
    }

    /// Makes room for `more` messages. Returns how many were dropped.
    fn keep_bounds(&mut self, bounds: &Bounds, more: usize, cost: usize) -> u64 {
        let before = self.kept.len();
        while self.kept.len() + more > bounds.count as usize || self.bytes + cost > bounds.bytes as usize {
            self.drop_oldest();
        }
        (before - self.kept.len()) as u64
    }
}

/// What decides whether a changed section has other rules.
fn rules(settings: &History) -> (Vec<(HistoryRule, Option<Bounds>)>, Option<Bounds>) {
    let rules = settings.rooms.iter().map(|rule| (rule.clone(), Bounds::new(&rule.bounds)));
    (rules.collect(), Bounds::new(&settings.bounds))
}

/// The first stamp after another in a room that the history gives out.
fn first_after(hub: &Hub, (source, room): (&str, &str), after: u64) -> Option<u64> {
    let tenant = hub.state.tenant(source).unwrap();
    let first = hub.history.entries_after(&hub.state, tenant, &[room], after).next();
    first.map(|found| found.entry.stamp())
}

pub fn second(now: Now) -> u32 {
    (now.time.micros() / 1_000_000) as u32
}
