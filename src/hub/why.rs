//! Why somebody did not get a message (docs/protocol.md, Why): what the journal and the sessions say about it.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::Hub;
use crate::{
    clock::Time,
    journal::{Record, What},
    key::{Handle, Key, SessionKey},
    message::MessageId,
    room_hash::room_hash,
    state::{TenantId, client::Mode},
};

/// A question of an operator. At least one of the last three is given.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The source.
    pub tenant: TenantId,
    /// A message.
    pub id: Option<MessageId>,
    /// A user; empty if it is about none.
    pub userid: &'a str,
    /// A room; empty if it is about none.
    pub room: &'a str,
}

/// The answer to a question.
#[derive(Debug)]
pub struct Explanation {
    /// Since when the journal has everything. `None`: since relay was started.
    pub since: Option<Time>,
    /// What has happened, the oldest first.
    pub lines: Vec<Line>,
    /// What follows from it about the user and the message.
    pub verdicts: Vec<String>,
}

/// Something that has happened.
#[derive(Debug)]
pub struct Line {
    /// When.
    pub time: Time,
    /// What, in words.
    pub text: String,
}

/// What the journal has about one session.
#[derive(Default)]
struct Life<'a> {
    /// The first record about it, if that is its beginning.
    begin: Option<usize>,
    /// The rooms that it has joined (`true`) and left.
    rooms: Vec<(usize, u64, bool)>,
    end: Option<(usize, &'a Record)>,
}

impl Hub {
    /// Says what is known about a message, a user or a room.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let names = self.names_for(question);
        let journal = &self.state.journal;
        let (tenant, user, room) =
            (question.tenant.0, journal.user(question.tenant.0, question.userid), room_hash(question.room));
        let is_about = |record: &Record| match record.what {
            What::Published | What::Kept => match question.id {
                Some(id) => record.session == id.stamp(),
                None => !question.room.is_empty() && record.who == room,
            },
            _ if question.userid.is_empty() || record.who != user => false,
            What::Joined | What::Left => question.room.is_empty() || record.stamp == room,
            _ => true,
        };
        let found = journal.records().enumerate().filter(|(_, record)| record.tenant == tenant && is_about(record));
        let found: Vec<(usize, &Record)> = found.collect();
        let lines = found.iter().skip(found.len().saturating_sub(MOST_LINES));
        let lines = lines.map(|(_, record)| Line { time: record.time, text: self.words(record, &names) }).collect();
        let verdicts = match question.id {
            Some(id) if !question.userid.is_empty() => self.judge(question, id, user, &names),
            Some(_) if found.is_empty() => vec![NOT_FOUND.into()],
            _ => Vec::new(),
        };
        Explanation { since: journal.since(), lines, verdicts }
    }

    /// The names of rooms that the question or the user's sessions name, by their hashes: the journal has only these.
    fn names_for(&self, question: &Question<'_>) -> HashMap<u64, Rc<str>> {
        let sessions = self.sessions_of(question);
        let sessions = sessions.into_iter().filter_map(|key| self.state.sessions.get(key));
        let rooms = sessions.flat_map(|session| self.state.room_names(session));
        let rooms = rooms.chain([question.room.into()]).filter(|name| !name.is_empty());
        rooms.map(|name| (room_hash(&name), name)).collect()
    }

    fn sessions_of(&self, question: &Question<'_>) -> Vec<SessionKey> {
        match question.userid {
            "" => Vec::new(),
            userid => self.state.sessions_of_user(Some(question.tenant), userid),
        }
    }

    fn words(&self, record: &Record, names: &HashMap<u64, Rc<str>>) -> String {
        let journal = &self.state.journal;
        let name = |hash| names.get(&hash).map_or_else(|| "another room".into(), |name| format!("room {name}"));
        let session = socket_id(self, record);
        let why = journal.why(record);
        let because = if why.is_empty() { String::new() } else { format!(": {why}") };
        match record.what {
            What::Published => {
                format!("published to {}, which keeps nothing: sent to {}", name(record.who), sessions(record))
            }
            What::Kept => format!("published to {} and kept: sent to {}", name(record.who), sessions(record)),
            What::Came => format!("{session} logged in"),
            What::Joined => format!("{session} joined {}", name(record.stamp)),
            What::Left => format!("{session} left {}", name(record.stamp)),
            What::Ended => format!("{session} ended{because}"),
            What::Lost => format!("{session} was lost{because}"),
            What::Silent => format!("{session} did not answer when it was asked, so that another may take its place"),
            What::Returned => {
                format!("{session} went on in the place of one that was lost; {} messages again", record.count)
            }
            What::Refused => format!("a login was refused{because}"),
        }
    }

    /// What has become of a message for a user.
    fn judge(&self, question: &Question<'_>, id: MessageId, user: u64, names: &HashMap<u64, Rc<str>>) -> Vec<String> {
        let journal = &self.state.journal;
        let of_tenant = journal.records().enumerate().filter(|(_, record)| record.tenant == question.tenant.0);
        let (mut messages, mut lives, mut mine) = (Vec::new(), BTreeMap::<u64, Life<'_>>::new(), Vec::new());
        for (index, record) in of_tenant {
            match record.what {
                What::Published | What::Kept if record.session == id.stamp() => messages.push((index, record)),
                What::Published | What::Kept => {}
                _ if record.who != user => {}
                what => {
                    mine.push((index, record));
                    let life = lives.entry(record.session).or_default();
                    match what {
                        What::Came => life.begin = Some(life.rooms.first().map_or(index, |(first, ..)| *first)),
                        What::Joined | What::Left => life.rooms.push((index, record.stamp, what == What::Joined)),
                        What::Ended | What::Lost => life.end = Some((index, record)),
                        _ => {}
                    }
                }
            }
        }
        // A refused login has no session.
        lives.remove(&0);
        for key in self.sessions_of(question) {
            lives.entry(key.key().to_bits()).or_default();
        }
        if messages.is_empty() {
            return vec![NOT_FOUND.into()];
        }
        let mut verdicts = Vec::new();
        for (index, message) in messages {
            let there: Vec<_> = lives.iter().filter(|(_, life)| life.is_there(index)).collect();
            if there.is_empty() {
                verdicts.push(self.absence(index, message, &mine));
            }
            for (bits, life) in there {
                let name = socket_id_of(self, *bits);
                let member = life.is_member(index, message.who).unwrap_or_else(|| self.is_member(*bits, message.who));
                verdicts.push(match member {
                    true => format!("{name} was in the room: {}", self.fate(*bits, life, index, message, &mine)),
                    false => {
                        let room = names.get(&message.who).map_or("the room of the message", |name| name);
                        format!("{name} was connected, but not in {room}")
                    }
                });
            }
        }
        verdicts
    }

    /// Whether a session that is there is in a room.
    fn is_member(&self, bits: u64, room: u64) -> bool {
        let session = session_key(bits).and_then(|key| self.state.sessions.get(key));
        session.is_some_and(|session| self.state.room_names(session).iter().any(|name| room_hash(name) == room))
    }

    /// What became of a message that was sent to a session.
    fn fate(&self, bits: u64, life: &Life<'_>, index: usize, message: &Record, mine: &[(usize, &Record)]) -> String {
        let why = |record| self.state.journal.why(record);
        match life.end {
            Some((_, end)) if end.what == What::Ended => {
                format!("it was sent the message, and ended later ({}); what was on its way then may be lost", why(end))
            }
            Some((_, end)) if end.count == 1 && end.stamp >= message.stamp => "it has received the message".into(),
            Some((at, end)) => {
                let lost = format!("it was lost ({}) and had not confirmed the message", why(end));
                format!("{lost}; {}", self.after_loss(bits, at.max(index), message, mine))
            }
            None => self.fate_of_live(bits, message),
        }
    }

    fn fate_of_live(&self, bits: u64, message: &Record) -> String {
        let Some((client, session)) = session_key(bits)
            .and_then(|key| self.state.sessions.get(key))
            .and_then(|session| Some((self.state.clients.get(session.client)?, session)))
        else {
            return "nothing more is known of it".into();
        };
        let track = self.state.tracks.get(session.client);
        if track.is_some_and(|track| track.proven() >= message.stamp) {
            return "it has received the message".into();
        }
        if client.mode == Mode::Behind
            && track.and_then(|track| track.cursor()).is_none_or(|cursor| cursor < message.stamp)
        {
            return format!("it is behind and gets the message later; {} bytes wait for it", client.outbox.bytes());
        }
        match client.outbox.bytes() {
            0 if track.is_some() => "it was sent the message, and has not confirmed it yet".into(),
            0 => "it was sent the message; what it receives is not checked in rooms that keep nothing".into(),
            bytes => format!("{bytes} bytes wait for its connection, perhaps with the message"),
        }
    }

    /// Why a user without a session at that time did not get a message, or got it later.
    fn absence(&self, index: usize, message: &Record, mine: &[(usize, &Record)]) -> String {
        let why = |record| self.state.journal.why(record);
        let before = mine.iter().rev().filter(|(at, _)| *at < index);
        let end = before.clone().find(|(_, record)| matches!(record.what, What::Ended | What::Lost));
        match end {
            Some((at, end)) if end.what == What::Lost => {
                let after = self.after_loss(end.session, (*at).max(index), message, mine);
                format!("the user had no connection: {} was lost ({}); {after}", socket_id(self, end), why(end))
            }
            Some((_, end)) => format!("the user had no connection: {} had ended ({})", socket_id(self, end), why(end)),
            None => match before.clone().find(|(_, record)| record.what == What::Refused) {
                Some((_, refused)) => format!("the user had no session: a login was refused ({})", why(refused)),
                None => "the user had no session that the journal knows of".into(),
            },
        }
    }

    /// What became of a message for a session that was lost before it had it.
    fn after_loss(&self, bits: u64, index: usize, message: &Record, mine: &[(usize, &Record)]) -> String {
        if message.what == What::Published {
            return "the room does not keep messages, so it is lost".into();
        }
        let returned = mine.iter().find(|(at, record)| *at > index && record.what == What::Returned);
        match returned {
            Some((_, record)) if record.stamp < message.stamp => {
                let name = socket_id(self, record);
                format!("{name} went on in its place and got the message among {} that it had missed", record.count)
            }
            Some((_, record)) => format!("{} went on in its place, from a later message", socket_id(self, record)),
            None if session_key(bits).is_some_and(|key| self.returns.away.get(key).is_some()) => {
                "it is away, and gets the message if it comes back in time".into()
            }
            None => "it has not come back in time, or not as the same session".into(),
        }
    }
}

impl Life<'_> {
    /// Whether the session was there when a record was written.
    fn is_there(&self, index: usize) -> bool {
        let begin = self.begin.or(self.rooms.first().map(|(first, ..)| *first));
        begin.is_none_or(|begin| begin < index) && self.end.is_none_or(|(end, _)| end > index)
    }

    /// Whether it was in a room then. `None`: it has not joined or left the room since the journal begins.
    fn is_member(&self, index: usize, room: u64) -> Option<bool> {
        let of_room = |(_, of, _): &&(usize, u64, bool)| *of == room;
        let before = self.rooms.iter().rev().filter(of_room).find(|(at, ..)| *at < index);
        let after = || self.rooms.iter().filter(of_room).find(|(at, ..)| *at > index).map(|(.., joined)| !joined);
        before.map(|(.., joined)| *joined).or_else(after)
    }
}

fn sessions(record: &Record) -> String {
    match record.count {
        1 => "1 session".into(),
        count => format!("{count} sessions"),
    }
}

fn session_key(bits: u64) -> Option<SessionKey> {
    Key::from_bits(bits).map(SessionKey::wrap)
}

fn socket_id(hub: &Hub, record: &Record) -> String {
    socket_id_of(hub, record.session)
}

fn socket_id_of(hub: &Hub, bits: u64) -> String {
    session_key(bits).map_or_else(String::new, |key| format!("session {}", hub.state.sids.socket(key)))
}

/// Lines of an answer. The newest are the last.
const MOST_LINES: usize = 200;
const NOT_FOUND: &str =
    "no message with this id is in the journal: it is older, of another source, or was never accepted here";
