//! What the journal has about a question, found in one walk through it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    rc::Rc,
};

use super::{super::Hub, question::Question};
use crate::{
    journal::{EVERY, Recipient, Record, What, pack},
    key::{Handle, Key, SessionKey},
    message::MessageId,
    room_hash::room_hash,
    state::notes::RENAMED,
};

/// A record, and its place in the order of all.
pub type Found<'a> = (usize, &'a Record);

/// What the journal has about a question.
#[derive(Default)]
pub struct Findings<'a> {
    /// The newest records that belong into the answer, the oldest first; those of publications with the id of the message.
    pub lines: Vec<(&'a Record, Option<MessageId>)>,
    /// The message that was asked for, in each of its rooms; the first ones, and how many there are.
    pub messages: Vec<Found<'a>>,
    /// See [`Findings::messages`].
    pub message_count: usize,
    /// All records about the user or the session that was asked for.
    pub mine: Vec<Found<'a>>,
    /// Its sessions, by the bits of their keys.
    pub lives: BTreeMap<u64, Life<'a>>,
    /// Publications of other relays that have not arrived.
    pub missed: Vec<Found<'a>>,
    /// Publications that were refused or repeated, to rooms of the question.
    pub refused: Vec<&'a Record>,
    /// The names of rooms that the question or the sessions name, by their hashes: the journal has only these.
    pub rooms: HashMap<u64, Rc<str>>,
    /// What the `socket_id` of sessions follows from ([`What::Came`]).
    names: HashMap<u64, (u64, u32)>,
}

/// What the journal has about one session.
#[derive(Default)]
pub struct Life<'a> {
    /// The first record about it, if that is its beginning.
    pub begin: Option<Found<'a>>,
    /// The rooms that it has joined (`true`) and left.
    pub rooms: Vec<(usize, u64, bool)>,
    /// When it fell behind, and when it had caught up.
    pub spells: Vec<(Found<'a>, Option<Found<'a>>)>,
    /// The rooms of which it has not got messages; 0 stands for others.
    pub gaps: Vec<Found<'a>>,
    /// That it was a slow consumer.
    pub slow: Option<&'a Record>,
    /// That somebody wants it to end.
    pub sent_away: Option<&'a Record>,
    /// That it goes on where another was, or where it said that it was.
    pub resumed: Option<Found<'a>>,
    /// Its end.
    pub end: Option<Found<'a>>,
}

impl<'a> Findings<'a> {
    /// Walks through the journal.
    pub(super) fn collect(hub: &'a Hub, question: &Question<'_>) -> Findings<'a> {
        let (journal, tenant) = (&hub.state.journal, question.tenant.0);
        let live = sessions_of(hub, question);
        let mut found = Findings { rooms: room_names(hub, question, &live), ..Findings::default() };
        let (user, room) = (journal.user(tenant, question.userid), room_hash(question.room));
        let (asks_user, asks_room) = (!question.userid.is_empty(), !question.room.is_empty());
        // The name of the session that was asked for, and the keys that have had it.
        let name = (!question.socket_id.is_empty()).then(|| hub.state.find_name(question.socket_id));
        let mut keys: HashSet<u64> = live.iter().map(|key| key.key().to_bits()).collect();
        if let Some(Some((bits, RENAMED))) = name {
            keys.insert(bits);
        }
        let is_mine = |record: &Record, keys: &HashSet<u64>| match name {
            Some(_) => keys.contains(&record.session) && (!asks_user || record.who == user),
            None => asks_user && record.who == user,
        };
        // The stamp of the message that was asked for in its next room, and that of the last message in its first room.
        let (mut next, mut first) = (None, None);
        let (mut messages, mut others) = (VecDeque::new(), VecDeque::new());
        let records = journal.records().enumerate().filter(|(_, record)| [tenant, EVERY].contains(&record.tenant));
        for (index, record) in records {
            let belongs = match record.what {
                What::Published | What::Kept => {
                    if !record.is_further() {
                        first = Some(record.session);
                    }
                    match question.id {
                        Some(id) => {
                            // Backends have only the id in the first room; those in the others follow.
                            let is_it = record.session == id.stamp() && is_from(hub, record, id);
                            let follows = record.is_further() && next == Some(record.session);
                            next = (follows || (is_it && !record.is_further())).then_some(record.session + 1);
                            found.add_message(is_it || follows, index, record);
                            is_it || follows
                        }
                        None => asks_room && record.who == room,
                    }
                }
                What::PublicationRefused | What::Repeated => {
                    let belongs = record.who == 0 || found.rooms.contains_key(&record.who);
                    if belongs {
                        found.refused.push(record);
                    }
                    belongs
                }
                What::Missed => {
                    found.missed.push((index, record));
                    true
                }
                What::Refreshed if record.session == 0 => {
                    question.id.is_none() && (record.who == 0 || found.rooms.contains_key(&record.who))
                }
                What::Emitted(recipient) => match recipient {
                    _ if question.id.is_some() => false,
                    Recipient::Room => asks_room && record.who == room,
                    Recipient::User => asks_user && record.who == user,
                    Recipient::Session => is_mine(record, &keys),
                    // The sessions that are there without a record are as old as the journal.
                    Recipient::All => {
                        question.is_personal()
                            && (!live.is_empty() || found.lives.values().any(|life| life.end.is_none()))
                    }
                },
                What::Refused => is_mine(record, &keys) && found.add(index, record),
                what => {
                    if what == What::Came {
                        found.names.insert(record.session, (record.stamp, record.count));
                        if name == Some(Some((record.stamp, record.count))) {
                            keys.insert(record.session);
                        }
                    }
                    is_mine(record, &keys) && found.add(index, record) && {
                        let is_of_room = matches!(what, What::Joined | What::Left | What::Gap);
                        !is_of_room || !asks_room || record.stamp == room
                    }
                }
            };
            if belongs {
                let is_message = matches!(record.what, What::Published | What::Kept);
                let id = first.filter(|_| is_message).and_then(|first| id_of(hub, record, first));
                let lines = if is_message { &mut messages } else { &mut others };
                if lines.len() >= MOST_LINES {
                    lines.pop_front();
                }
                lines.push_back((index, record, id));
            }
        }
        found.lines = newest(messages, others);
        found.name_rooms(hub, question);
        // Those whose records were all dropped.
        live.into_iter().for_each(|key| _ = found.lives.entry(key.key().to_bits()).or_default());
        found
    }

    /// Finds the names of further rooms in the lines, if they have members.
    fn name_rooms(&mut self, hub: &Hub, question: &Question<'_>) {
        let of_room =
            self.lines.iter().filter(|(record, _)| matches!(record.what, What::Joined | What::Left | What::Gap));
        let unknown: HashSet<u64> =
            of_room.map(|(record, _)| record.stamp).filter(|room| !self.rooms.contains_key(room)).collect();
        if unknown.is_empty() {
            return;
        }
        let tables = hub.state.tenants[question.tenant.index()].rooms.iter().flat_map(|table| table.iter());
        let named = tables.map(|room| (room_hash(&room.id), room.id.clone()));
        self.rooms.extend(named.filter(|(hash, _)| unknown.contains(hash)));
    }

    /// Adds a record about the user or session. Returns true.
    fn add(&mut self, index: usize, record: &'a Record) -> bool {
        self.mine.push((index, record));
        if !matches!(record.what, What::Refused | What::MessageRefused | What::HookFailed | What::GivenUp) {
            self.lives.entry(record.session).or_default().add(index, record);
        }
        true
    }

    fn add_message(&mut self, is_it: bool, index: usize, record: &'a Record) {
        self.message_count += usize::from(is_it);
        if is_it && self.messages.len() < MOST_MESSAGES {
            self.messages.push((index, record));
        }
    }

    /// The records about the user or session before and after a place in the order.
    pub(super) fn around(&self, index: usize) -> (&[Found<'a>], &[Found<'a>]) {
        self.mine.split_at(self.mine.partition_point(|(at, _)| *at < index))
    }

    /// The `socket_id` of a session.
    pub(super) fn socket_id(&self, hub: &Hub, bits: u64) -> String {
        hub.state.socket_id_of(bits, self.names.get(&bits).copied().unwrap_or_default())
    }

    /// The key under which a session that is away is found: that of its name.
    pub(super) fn name(&self, hub: &Hub, bits: u64) -> Option<SessionKey> {
        let renamed = self.names.get(&bits).filter(|(_, count)| *count == RENAMED);
        let key = SessionKey::wrap(Key::from_bits(renamed.map_or(bits, |(name, _)| *name))?);
        Some(if renamed.is_some() { key } else { hub.state.name_of(key) })
    }

    /// The number of another relay's publications that are missing, and the last record about them.
    pub(super) fn missed_of(&self, node: Option<&str>) -> Option<(u64, &'a Record)> {
        let wanted = node.map(pack);
        let mut records = self.missed.iter().filter(|(_, record)| wanted.is_none_or(|node| record.session == node));
        let count = records.clone().map(|(_, record)| u64::from(record.count)).sum();
        records.next_back().map(|(_, record)| (count, *record))
    }
}

impl<'a> Life<'a> {
    fn add(&mut self, index: usize, record: &'a Record) {
        let found = (index, record);
        match record.what {
            What::Came => self.begin = Some(found),
            What::Joined | What::Left => self.rooms.push((index, record.stamp, record.what == What::Joined)),
            What::Ended | What::Lost => self.end = Some(found),
            What::Behind => self.spells.push((found, None)),
            What::CaughtUp => {
                if let Some((_, until @ None)) = self.spells.last_mut() {
                    *until = Some(found);
                }
            }
            What::Gap | What::Gaps => self.gaps.push(found),
            What::Slow => self.slow = Some(record),
            What::SentAway => self.sent_away = Some(record),
            What::Returned | What::Resumed => self.resumed = Some(found),
            _ => {}
        }
    }

    /// Whether the session was there when a record was written.
    pub(super) fn is_there(&self, index: usize) -> bool {
        self.begin.is_none_or(|(begin, _)| begin < index) && self.end.is_none_or(|(end, _)| end > index)
    }

    /// Whether it has joined a room, as far as is known. `None`: its beginning is not known.
    pub(super) fn has_joined(&self, room: u64) -> Option<bool> {
        let joined = self.rooms.iter().any(|(_, of, _)| *of == room);
        (joined || self.begin.is_some()).then_some(joined)
    }

    /// Whether it was in a room then. `None`: it has not joined or left the room since the journal begins.
    pub(super) fn is_member(&self, index: usize, room: u64) -> Option<bool> {
        let of_room = |(_, of, _): &&(usize, u64, bool)| *of == room;
        let before = self.rooms.iter().rev().filter(of_room).find(|(at, ..)| *at < index);
        let after = || self.rooms.iter().filter(of_room).find(|(at, ..)| *at > index).map(|(.., joined)| !joined);
        before.map(|(.., joined)| *joined).or_else(after)
    }

    /// The time in which it was behind when a message was published.
    pub(super) fn spell(&self, index: usize, stamp: u64) -> Option<(Found<'a>, Option<Found<'a>>)> {
        let is_in = |((_, behind), until): &&(Found<'_>, Option<Found<'_>>)| {
            behind.stamp < stamp && until.is_none_or(|(until, _)| until > index)
        };
        self.spells.iter().find(is_in).copied()
    }

    /// That it was to get messages of a room after a record, and some of them were not kept any more.
    pub(super) fn gap(&self, index: usize, room: u64) -> Option<Found<'a>> {
        let is_of = |(at, gap): &&Found<'_>| *at > index && (gap.what == What::Gaps || gap.stamp == room);
        self.gaps.iter().find(is_of).copied()
    }
}

/// Whether a publication's id was given out by the relay that is named in `id`, as far as that is known.
fn is_from(hub: &Hub, record: &Record, id: MessageId) -> bool {
    match hub.state.journal.origin(record) {
        None => id.is_same_node(hub.state.ids.first()),
        Some(node) => node == 0 || node == id.node_bits(),
    }
}

/// A line of an answer, with its place in the order of all records.
type Line<'a> = (usize, &'a Record, Option<MessageId>);

/// The newest of both, in their order. Neither takes more than half if there are many of the other: a busy room must not push out
/// what has happened to the user.
fn newest<'a>(messages: VecDeque<Line<'a>>, others: VecDeque<Line<'a>>) -> Vec<(&'a Record, Option<MessageId>)> {
    let half = MOST_LINES / 2;
    let most_messages = MOST_LINES - others.len().min(half);
    let most_others = MOST_LINES - messages.len().min(half);
    let last = |lines: VecDeque<Line<'a>>, most: usize| {
        let left_out = lines.len().saturating_sub(most);
        lines.into_iter().skip(left_out)
    };
    let mut lines: Vec<Line<'a>> = last(messages, most_messages).chain(last(others, most_others)).collect();
    lines.sort_unstable_by_key(|(index, ..)| *index);
    lines.into_iter().map(|(_, record, id)| (record, id)).collect()
}

/// The id of the message of a publication, from its stamp in the first room.
fn id_of(hub: &Hub, record: &Record, first: u64) -> Option<MessageId> {
    let relay = match hub.state.journal.origin(record) {
        None => hub.state.ids.first(),
        // Which one is not known any more.
        Some(0) => return None,
        Some(node) => MessageId::first(0, node),
    };
    Some(relay.with_number(first).part(record.session.checked_sub(first)? as usize))
}

/// The sessions of the question that are there.
pub fn sessions_of(hub: &Hub, question: &Question<'_>) -> Vec<SessionKey> {
    let state = &hub.state;
    match (question.userid, question.socket_id) {
        ("", "") => Vec::new(),
        (userid, "") => state.sessions_of_user(Some(question.tenant), userid),
        (userid, socket_id) => {
            let found = state.find_session(socket_id).filter(|key| state.tenant_of(*key) == Some(question.tenant));
            found.filter(|key| userid.is_empty() || state.user_of(*key) == userid).into_iter().collect()
        }
    }
}

fn room_names(hub: &Hub, question: &Question<'_>, sessions: &[SessionKey]) -> HashMap<u64, Rc<str>> {
    let sessions = sessions.iter().filter_map(|key| hub.state.sessions.get(*key));
    let rooms = sessions.flat_map(|session| hub.state.room_names(session)).take(MOST_ROOMS);
    let rooms = rooms.chain([question.room.into()]).filter(|name| !name.is_empty());
    rooms.map(|name| (room_hash(&name), name)).collect()
}

/// Lines of an answer.
const MOST_LINES: usize = 200;
/// Rooms of a message that are looked at.
const MOST_MESSAGES: usize = 20;
/// Rooms of sessions whose names are known.
const MOST_ROOMS: usize = 4096;
