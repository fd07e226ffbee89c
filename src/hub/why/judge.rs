//! What follows from the records.

use std::rc::Rc;

use super::{
    super::Hub,
    findings::{Findings, Found, Life, sessions_of},
    question::{Advice, Explanation, Question},
    words::{clock, counted, origin},
};
use crate::{
    journal::{Record, What, unpack},
    key::{Handle, Key, SessionKey},
    message::MessageId,
    room_hash::room_hash,
    spelling::nearest,
    state::client::Mode,
};

/// Draws conclusions.
pub struct Judge<'a> {
    /// The hub.
    pub hub: &'a Hub,
    /// The question.
    pub question: &'a Question<'a>,
    /// What the journal has about it.
    pub found: &'a Findings<'a>,
    /// The answer.
    pub answer: &'a mut Explanation,
}

impl Judge<'_> {
    /// Concludes what the question allows.
    pub(super) fn judge(&mut self) {
        match self.question.id {
            Some(id) if self.found.messages.is_empty() => self.judge_unknown(id),
            Some(_) => self.judge_message(),
            None => self.judge_without_message(),
        }
    }

    /// Why a message is not in the journal.
    fn judge_unknown(&mut self, id: MessageId) {
        self.answer.conclude(NOT_FOUND.into());
        self.answer.advise(Advice::Unknown);
        if !id.is_same_node(self.hub.state.ids.first()) {
            let node = id.node();
            if let Some((count, last)) = self.found.missed_of(Some(&node)) {
                let (count, at) = (counted(count, "publication"), clock(self.hub, last.time));
                self.answer.conclude(format!(
                    "it is of relay {node}, and was perhaps lost between the relays: {count} of that relay did not arrive \
                     here, the last at {at}"
                ));
                self.answer.advise(Advice::Missed);
            } else {
                self.answer.conclude(format!("it is of relay {node}, or of this one before its last start"));
            }
        }
        self.judge_refused();
    }

    /// What has become of a message for the user or the session.
    fn judge_message(&mut self) {
        let found = self.found;
        if let Some(from) = found.messages.first().and_then(|(_, message)| origin(self.hub, message)) {
            self.answer.conclude(format!("the message came from {from}"));
        }
        if !self.question.is_personal() {
            return;
        }
        for (index, message) in &found.messages {
            if !self.answer.has_room() {
                return;
            }
            let there: Vec<_> = found.lives.iter().filter(|(_, life)| life.is_there(*index)).collect();
            if there.is_empty() {
                let verdict = self.absence(*index, message);
                self.answer.conclude(verdict);
            }
            for (bits, life) in there.into_iter().take(MOST_SESSIONS) {
                let name = self.name(*bits);
                let member = life.is_member(*index, message.who);
                let verdict = match member.unwrap_or_else(|| self.is_member(*bits, message.who)) {
                    true => format!("{name} was in the room: {}", self.fate(*bits, life, *index, message)),
                    false => {
                        self.answer.advise(Advice::NotMember);
                        let room = found.rooms.get(&message.who).map_or("the room of the message", |name| name);
                        format!("{name} was connected, but not in {room}")
                    }
                };
                self.answer.conclude(verdict);
            }
        }
        if let Some(more) = found.message_count.checked_sub(found.messages.len()).filter(|more| *more > 0) {
            self.answer.conclude(format!("the message was published to {more} more rooms"));
        }
    }

    /// Whether a session that is there is in a room.
    fn is_member(&self, bits: u64, room: u64) -> bool {
        let session = session_key(bits).and_then(|key| self.hub.state.sessions.get(key));
        session.is_some_and(|session| self.hub.state.room_names(session).iter().any(|name| room_hash(name) == room))
    }

    /// What became of a message that was for a session.
    fn fate(&mut self, bits: u64, life: &Life<'_>, index: usize, message: &Record) -> String {
        let hub = self.hub;
        let mut before = String::new();
        if let Some(((_, behind), until)) = life.spell(index, message.stamp) {
            self.answer.advise(Advice::Slow);
            before = format!("it fell behind at {}, ", clock(hub, behind.time));
            let gap = life.gap(index, message.who);
            if let Some((_, until)) = until {
                let until = clock(hub, until.time);
                return match gap {
                    Some((_, gap)) => self.gap(&format!("{before}and had caught up at {until}, but"), gap),
                    None => format!("{before}and had got the message when it had caught up at {until}"),
                };
            }
        }
        let Some((at, end)) = life.end else { return before + &self.fate_of_live(bits, life, index, message) };
        let why = hub.state.journal.why(end);
        if let Some(slow) = life.slow {
            self.answer.advise(Advice::Slow);
            before = if before.is_empty() { "it fell behind, ".into() } else { before };
            before += &format!(
                "and was closed as a slow consumer at {}, {} bytes behind; ",
                clock(hub, slow.time),
                slow.count
            );
        } else if !before.is_empty() {
            before += "and had not caught up; ";
        }
        if end.what == What::Lost && end.count == 1 && end.stamp >= message.stamp {
            self.answer.advise(Advice::Sent);
            return "it has received the message".into();
        }
        if end.what == What::Lost {
            let lost =
                format!("{before}it was lost at {} ({why}) and had not confirmed the message", clock(hub, end.time));
            return format!("{lost}; {}", self.after_loss(bits, at.max(index), message));
        }
        let why = self.end_words(life, end);
        let before = if before.is_empty() { "it was sent the message, and ".into() } else { before };
        format!("{before}ended later ({why}); what was on its way then may be lost")
    }

    fn fate_of_live(&mut self, bits: u64, life: &Life<'_>, index: usize, message: &Record) -> String {
        let state = &self.hub.state;
        let Some((client, session)) = session_key(bits)
            .and_then(|key| state.sessions.get(key))
            .and_then(|session| Some((state.clients.get(session.client)?, session)))
        else {
            return "nothing more is known of it".into();
        };
        if let Some((_, gap)) = life.gap(index, message.who) {
            return self.gap("it was to get the message from the history, but", gap);
        }
        let track = state.tracks.get(session.client);
        if track.is_some_and(|track| track.proven() >= message.stamp) {
            self.answer.advise(Advice::Sent);
            return "it has received the message".into();
        }
        let bytes = client.outbox.bytes();
        if client.mode == Mode::Behind
            && track.and_then(|track| track.cursor()).is_none_or(|cursor| cursor < message.stamp)
        {
            self.answer.advise(Advice::Slow);
            return format!("it is behind and gets the message later; {bytes} bytes wait for it");
        }
        match bytes {
            0 if track.is_some() => {
                self.answer.advise(Advice::Unconfirmed);
                "it was sent the message, and has not confirmed it yet".into()
            }
            0 => {
                self.answer.advise(Advice::Sent);
                "it was sent the message; what it receives is not checked in rooms that keep nothing".into()
            }
            bytes => {
                self.answer.advise(Advice::Slow);
                format!("{bytes} bytes wait for its connection, perhaps with the message")
            }
        }
    }

    fn gap(&mut self, before: &str, gap: &Record) -> String {
        self.answer.advise(Advice::Gap);
        let at = clock(self.hub, gap.time);
        format!("{before} at {at} messages of the room were not kept any more, perhaps this one too")
    }

    /// Why a session has ended, with who wanted that.
    fn end_words(&mut self, life: &Life<'_>, end: &Record) -> String {
        let journal = &self.hub.state.journal;
        match life.sent_away {
            Some(sent) => {
                self.answer.advise(Advice::SentAway);
                format!("{}: {}", journal.why(end), journal.why(sent))
            }
            None => journal.why(end).into(),
        }
    }

    /// Why a user without a session at that time did not get a message, or got it later.
    fn absence(&mut self, index: usize, message: &Record) -> String {
        let (before, _) = self.found.around(index);
        let is_end = |(_, record): &&Found<'_>| matches!(record.what, What::Ended | What::Lost);
        let Some((at, end)) = before.iter().rev().find(is_end).copied() else { return self.never_there(before) };
        let (name, why, when) = (self.name(end.session), self.hub.state.journal.why(end), clock(self.hub, end.time));
        if end.what == What::Lost {
            let after = self.after_loss(end.session, at.max(index), message);
            return format!("the user had no connection: {name} was lost at {when} ({why}); {after}");
        }
        let after = self.resumed_after(index, message);
        let words = self.found.lives.get(&end.session).map(|life| self.end_words(life, end)).unwrap_or(why.into());
        match after {
            Some(after) => format!("the user had no connection: {name} had ended at {when} ({words}); {after}"),
            None => {
                self.answer.advise(Advice::NotBack);
                format!("the user had no connection: {name} had ended at {when} ({words})")
            }
        }
    }

    fn never_there(&mut self, before: &[Found<'_>]) -> String {
        match before.iter().rev().find(|(_, record)| record.what == What::Refused) {
            Some((_, refused)) => {
                self.answer.advise(Advice::Refused);
                format!("the user had no session: a login was refused ({})", self.hub.state.journal.why(refused))
            }
            None => "the user had no session that the journal knows of".into(),
        }
    }

    /// What became of a message for a session that was lost before it had it.
    fn after_loss(&mut self, bits: u64, index: usize, message: &Record) -> String {
        if message.what == What::Published {
            self.answer.advise(Advice::KeepsNothing);
            return "the room does not keep messages, so it is lost".into();
        }
        if let Some(resumed) = self.resumed_after(index, message) {
            return resumed;
        }
        let (hub, name) = (self.hub, self.found.name(self.hub, bits));
        if name.is_some_and(|name| hub.returns.away.get(name).is_some()) {
            return "it is away, and gets the message if it comes back in time".into();
        }
        self.answer.advise(Advice::NotBack);
        let is_it = |record: &Record| name.is_some_and(|name| name.key().to_bits() == record.session);
        let (_, after) = self.found.around(index);
        match after.iter().find(|(_, record)| record.what == What::GivenUp && is_it(record)) {
            Some((_, given_up)) => format!("it was given up ({})", hub.state.journal.why(given_up)),
            None => "it has not come back in time, or not as the same session".into(),
        }
    }

    /// Which session has got a message later, because it went on where another was or where it said that it was.
    fn resumed_after(&mut self, index: usize, message: &Record) -> Option<String> {
        if message.what == What::Published {
            return None;
        }
        let (_, after) = self.found.around(index);
        let is_resumed = |(_, record): &&Found<'_>| matches!(record.what, What::Returned | What::Resumed);
        let (_, resumed) = after.iter().find(is_resumed).copied()?;
        let name = self.name(resumed.session);
        let how = match resumed.what {
            What::Returned => "went on in its place",
            _ => "said what it has",
        };
        if resumed.stamp >= message.stamp {
            return Some(format!("{name} {how}, from a later message"));
        }
        let gap = self.found.lives.get(&resumed.session).and_then(|life| life.gap(index, message.who));
        Some(match gap {
            Some((_, gap)) => self.gap(&format!("{name} {how}, but"), gap),
            None => format!("{name} {how} and got the message among {} that it had missed", resumed.count),
        })
    }

    /// What can be said about a user, a session or a room, though no message was named.
    fn judge_without_message(&mut self) {
        if self.question.is_personal() {
            self.judge_sessions();
            self.judge_troubles();
        }
        if !self.question.room.is_empty() {
            self.judge_room();
        }
        self.judge_refused();
        if let Some((count, last)) = self.found.missed_of(None) {
            let (node, at) = (unpack(last.session), clock(self.hub, last.time));
            let count = counted(count, "publication");
            self.answer
                .conclude(format!("{count} of other relays did not arrive here, the last of relay {node} at {at}"));
            self.answer.advise(Advice::Missed);
        }
    }

    /// Which sessions are there, or why there is none.
    fn judge_sessions(&mut self) {
        let (hub, question) = (self.hub, self.question);
        let live = sessions_of(hub, question);
        for key in live.iter().take(MOST_SESSIONS) {
            let Some(session) = hub.state.sessions.get(*key) else { continue };
            let rooms = hub.state.room_names(session);
            let name = self.name(key.key().to_bits());
            let is_in = rooms.iter().any(|room| **room == *question.room);
            let place = match question.room {
                "" => format!("in {}", counted(rooms.len() as u64, "room")) + &listed(&rooms),
                room if is_in => format!("in room {room}"),
                room => {
                    self.answer.advise(Advice::NotMember);
                    let similar = nearest(room, rooms.iter().map(|room| &**room));
                    let hint = similar.map(|name| format!(" (it is in {name}, which is spelt nearly the same)"));
                    format!("not in room {room}") + &hint.unwrap_or_else(|| listed(&rooms))
                }
            };
            let Some(client) = hub.state.clients.get(session.client) else { continue };
            let bytes = client.outbox.bytes();
            let state = match (client.mode, bytes) {
                (Mode::Behind, _) => format!("; it is behind, and {bytes} bytes wait for it"),
                (_, 0) => String::new(),
                _ => format!("; {bytes} bytes wait for it"),
            };
            if bytes > 0 {
                self.answer.advise(Advice::Slow);
            }
            self.answer.conclude(format!("{name} is connected, {place}{state}"));
        }
        if !live.is_empty() {
            return;
        }
        let is_end = |(_, record): &&Found<'_>| matches!(record.what, What::Ended | What::Lost);
        let verdict = match self.found.mine.iter().rev().find(is_end) {
            Some((_, end)) => {
                let name = self.name(end.session);
                let how = if end.what == What::Lost { "was lost" } else { "ended" };
                let life = self.found.lives.get(&end.session);
                if life.is_none_or(|life| life.sent_away.is_none()) {
                    self.answer.advise(Advice::NotBack);
                }
                let why = life.map(|life| self.end_words(life, end)).unwrap_or_default();
                format!("there is no session here: {name} {how} at {} ({why})", clock(hub, end.time))
            }
            None => "there is no session here, and the journal has none".into(),
        };
        self.answer.conclude(verdict);
    }

    /// What went wrong for a user or a session, and how often.
    fn judge_troubles(&mut self) {
        for (whats, text, advice) in TROUBLES {
            let mine = self.found.mine.iter().filter(|(_, record)| whats.contains(&record.what));
            let Some((_, last)) = mine.clone().next_back() else { continue };
            let count: u64 =
                mine.map(|(_, record)| if is_counted(record.what) { record.count.into() } else { 1 }).sum();
            let why = self.hub.state.journal.why(last);
            let because = if why.is_empty() { String::new() } else { format!(": {why}") };
            let at = clock(self.hub, last.time);
            self.answer.conclude(format!("{text} {}, the last at {at}{because}", counted(count, "time")));
            self.answer.advise(*advice);
        }
    }

    /// Whether a room keeps messages, and who is in it.
    fn judge_room(&mut self) {
        let (state, tenant, room) = (&self.hub.state, self.question.tenant, self.question.room);
        let members = counted(state.member_count(tenant, room) as u64, "session");
        let keeps = self.hub.history.is_on() && self.hub.history.has_rule(state, tenant, room);
        let keeps = match keeps {
            true => "keeps messages",
            false => {
                self.answer.advise(Advice::KeepsNothing);
                "keeps no messages: a client that is away for a moment misses them"
            }
        };
        self.answer.conclude(format!("room {room} has {members} here, and {keeps}"));
    }

    /// The publications to rooms of the question that were refused, or that repeated others.
    fn judge_refused(&mut self) {
        for (what, text, advice) in [
            (What::PublicationRefused, "publications were refused", Advice::PublicationRefused),
            (What::Repeated, "publications repeated earlier ones, and were not published again", Advice::Repeated),
        ] {
            let all = self.found.refused.iter().filter(|record| record.what == what);
            let Some(last) = all.clone().next_back() else { continue };
            let count: u64 = all.map(|record| u64::from(record.count)).sum();
            let why = self.hub.state.journal.why(last);
            let because = if why.is_empty() { String::new() } else { format!(": {why}") };
            self.answer.conclude(format!("{count} {text}, the last at {}{because}", clock(self.hub, last.time)));
            self.answer.advise(advice);
        }
    }

    fn name(&self, bits: u64) -> String {
        format!("session {}", self.found.socket_id(self.hub, bits))
    }
}

/// The names of a session's first rooms.
fn listed(rooms: &[Rc<str>]) -> String {
    if rooms.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = rooms.iter().take(MOST_NAMES).map(|name| &**name).collect();
    let more = if rooms.len() > MOST_NAMES { ", …" } else { "" };
    format!(" ({}{more})", names.join(", "))
}

fn session_key(bits: u64) -> Option<SessionKey> {
    Key::from_bits(bits).map(SessionKey::wrap)
}

/// Whether a record counts how often something was.
fn is_counted(what: What) -> bool {
    matches!(what, What::Refused | What::MessageRefused | What::HookFailed)
}

/// What can go wrong, in words, and what to do about it.
const TROUBLES: &[(&[What], &str, Advice)] = &[
    (&[What::Lost], "a connection was lost", Advice::Lost),
    (&[What::Refused], "a login was refused", Advice::Refused),
    (&[What::Behind], "it fell behind", Advice::Slow),
    (&[What::Slow], "it was closed as a slow consumer", Advice::Slow),
    (&[What::Gap], "it has not got messages that were not kept any more", Advice::Gap),
    (&[What::GivenUp], "it was given up after a loss", Advice::NotBack),
    (&[What::MessageRefused], "what it sent was refused", Advice::OwnRefused),
    (&[What::HookFailed], "the backend did not answer a call about it", Advice::HookFailed),
    (&[What::SentAway], "it was to be ended", Advice::SentAway),
];
/// Rooms of a session that are named.
const MOST_NAMES: usize = 5;
/// Sessions of a user that are looked at one by one.
const MOST_SESSIONS: usize = 10;
const NOT_FOUND: &str =
    "no message with this id is in the journal: it is older, of another source, or was never accepted here";
