//! What follows from the records. How it is said is in `words.rs`.

use super::{
    super::Hub,
    away::Away,
    findings::{Findings, Found, Life, sessions_of},
    question::{Advice, Question},
    verdicts::{After, Begin, Ending, Fate, Missed, Place, Progress, Resumption, Slowness, Trouble, Verdict},
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
    /// What follows.
    pub verdicts: Vec<Verdict<'a>>,
    /// The advice, each piece once.
    pub advice: Vec<Advice>,
}

impl<'a> Judge<'a> {
    /// Concludes what the question allows.
    pub(super) fn judge(&mut self) {
        match self.question.id {
            Some(id) if self.found.messages.is_empty() => self.judge_unknown(id),
            Some(_) => self.judge_message(),
            None => self.judge_without_message(),
        }
    }

    /// Adds a verdict, unless there are too many.
    fn conclude(&mut self, verdict: Verdict<'a>) {
        if self.has_room() {
            self.verdicts.push(verdict);
        }
    }

    fn advise(&mut self, advice: Advice) {
        if !self.advice.contains(&advice) {
            self.advice.push(advice);
        }
    }

    /// Whether there is room for another verdict.
    fn has_room(&self) -> bool {
        self.verdicts.len() < MOST_VERDICTS
    }

    /// Why a message is not in the journal.
    fn judge_unknown(&mut self, id: MessageId) {
        self.conclude(Verdict::NotFound);
        self.advise(Advice::Unknown);
        if !id.is_same_node(self.hub.state.ids.first()) {
            let node = id.node();
            if let Some((count, last)) = self.found.missed_of(Some(&node)) {
                self.conclude(Verdict::PerhapsMissed(Missed { node, count, last: last.time }));
                self.advise(Advice::Missed);
            } else {
                self.conclude(Verdict::OfRelay(node));
            }
        }
        self.judge_refused();
    }

    /// Concludes the fate of a message for the user or the session.
    fn judge_message(&mut self) {
        let found = self.found;
        let from_elsewhere = |(_, message): &&Found<'_>| self.hub.state.journal.origin(message).is_some();
        if let Some((_, message)) = found.messages.first().filter(from_elsewhere) {
            self.conclude(Verdict::CameFrom(message));
        }
        if !self.question.is_personal() {
            return;
        }
        // It was published to all of its rooms at once.
        let Some((first, _)) = found.messages.first() else { return };
        let there: Vec<_> = found.lives.iter().filter(|(_, life)| life.is_there(*first)).collect();
        if there.is_empty() {
            let (index, message) = self.message_for_absent(*first);
            let verdict = self.absence(index, message);
            self.conclude(verdict);
        }
        for (bits, life) in there.into_iter().take(MOST_SESSIONS) {
            self.judge_session(*bits, life);
        }
        if let Some(more) = found.message_count.checked_sub(found.messages.len()).filter(|more| *more > 0) {
            self.conclude(Verdict::MoreRooms(more));
        }
    }

    /// Concludes the fate of the message for a session that was there.
    fn judge_session(&mut self, bits: u64, life: &Life<'a>) {
        let (mut is_member, mut is_unknown) = (false, false);
        for (index, message) in &self.found.messages {
            let known = life.is_member(*index, message.who).or_else(|| match life.end {
                None => Some(self.is_member(bits, message.who)),
                // It has ended without leaving the room one by one, so only its beginning would tell.
                Some(_) => life.begin.map(|_| false),
            });
            is_unknown |= known.is_none();
            if known == Some(true) && self.has_room() {
                is_member = true;
                let fate = self.fate(bits, life, *index, message);
                self.conclude(Verdict::Member(bits, fate));
            }
        }
        if is_member {
            return;
        }
        if is_unknown {
            return self.conclude(Verdict::PerhapsMember(bits));
        }
        let rooms: Vec<u64> = self.found.messages.iter().map(|(_, message)| message.who).collect();
        let named = rooms.iter().find(|room| self.found.rooms.contains_key(room));
        self.advise(Advice::NotMember);
        self.conclude(Verdict::NotMember(bits, *named.or(rooms.first()).unwrap_or(&0)));
    }

    /// The message in a room in which the user's last session before it was, or in its first room.
    fn message_for_absent(&self, first: usize) -> Found<'a> {
        let (before, _) = self.found.around(first);
        let last = before.iter().rev().find(|(_, record)| matches!(record.what, What::Ended | What::Lost));
        let life = last.and_then(|(_, end)| self.found.lives.get(&end.session));
        let messages = &self.found.messages;
        let of_life =
            messages.iter().find(|(_, message)| life.is_some_and(|life| life.has_joined(message.who) == Some(true)));
        *of_life.unwrap_or(&messages[0])
    }

    /// Whether a session that is there is in a room.
    fn is_member(&self, bits: u64, room: u64) -> bool {
        let session = session_key(bits).and_then(|key| self.hub.state.sessions.get(key));
        session.is_some_and(|session| self.hub.state.room_names(session).iter().any(|name| room_hash(name) == room))
    }

    /// What became of a message that was for a session.
    fn fate(&mut self, bits: u64, life: &Life<'a>, index: usize, message: &Record) -> Fate<'a> {
        let mut since = None;
        if let Some(((_, behind), until)) = life.spell(index, message.stamp) {
            self.advise(Advice::Slow);
            if let Some((_, until)) = until {
                return Fate::CaughtUp(behind, until, self.gap(life, index, message));
            }
            since = Some(behind);
        }
        let Some((at, end)) = life.end else { return Fate::There(since, self.progress(bits, life, index, message)) };
        let slowness = match (life.slow, since) {
            (Some(slow), since) => {
                self.advise(Advice::Slow);
                Slowness::Closed(since, slow)
            }
            (None, Some(since)) => Slowness::Behind(since),
            (None, None) => Slowness::Not,
        };
        if end.what == What::Lost && end.count == 1 && end.stamp >= message.stamp {
            self.advise(Advice::Sent);
            return Fate::Received;
        }
        match end.what {
            What::Lost if end.count == 1 => Fate::Lost(slowness, end, self.after_loss(bits, at.max(index), message)),
            What::Lost => Fate::LostUnknown(slowness, end, self.after_loss(bits, at.max(index), message)),
            _ => Fate::Ended(slowness, self.ending(end)),
        }
    }

    /// How far a session that is there is with a message.
    fn progress(&mut self, bits: u64, life: &Life<'a>, index: usize, message: &Record) -> Progress<'a> {
        let state = &self.hub.state;
        let Some((client, session)) = session_key(bits)
            .and_then(|key| state.sessions.get(key))
            .and_then(|session| Some((state.clients.get(session.client)?, session)))
        else {
            return Progress::Unknown;
        };
        if let Some(gap) = self.gap(life, index, message) {
            return Progress::Gap(gap);
        }
        let track = state.tracks.get(session.client);
        let confirmed = self.question.confirmed.iter().find(|(client, _)| *client == session.client);
        let proven = track.map(|track| confirmed.map_or(0, |(_, stamp)| *stamp).max(track.proven()));
        if proven.is_some_and(|proven| proven >= message.stamp) {
            self.advise(Advice::Sent);
            return Progress::Received;
        }
        let bytes = client.outbox.bytes();
        if client.mode == Mode::Behind
            && track.and_then(|track| track.cursor()).is_none_or(|cursor| cursor < message.stamp)
        {
            self.advise(Advice::Slow);
            return Progress::Behind(bytes);
        }
        match bytes {
            0 if track.is_some() => {
                self.advise(Advice::Unconfirmed);
                Progress::Unconfirmed
            }
            0 => {
                self.advise(Advice::Sent);
                Progress::Unchecked
            }
            bytes => {
                self.advise(Advice::Slow);
                Progress::Waiting(bytes)
            }
        }
    }

    /// That a session was to get a message later, when it was perhaps not kept any more.
    fn gap(&mut self, life: &Life<'a>, index: usize, message: &Record) -> Option<&'a Record> {
        let (_, gap) = life.gap(index, message.who)?;
        self.advise(Advice::Gap);
        Some(gap)
    }

    /// The end of a session, with who wanted that.
    fn ending(&mut self, end: &'a Record) -> Ending<'a> {
        let sent_away = self.found.lives.get(&end.session).and_then(|life| life.sent_away);
        if sent_away.is_some() {
            self.advise(Advice::SentAway);
        }
        Ending { record: end, sent_away }
    }

    /// Why a user without a session at that time did not get a message, or got it later.
    fn absence(&mut self, index: usize, message: &Record) -> Verdict<'a> {
        let (before, _) = self.found.around(index);
        let is_end = |(_, record): &&Found<'_>| matches!(record.what, What::Ended | What::Lost);
        let Some((at, end)) = before.iter().rev().find(is_end).copied() else { return self.never_there(before) };
        if end.what == What::Lost {
            return Verdict::LostBefore(end, self.after_loss(end.session, at.max(index), message));
        }
        let resumed = self.resumed_after(index, message);
        let end = self.ending(end);
        if resumed.is_none() {
            self.advise(Advice::NotBack);
        }
        Verdict::EndedBefore(end, resumed)
    }

    fn never_there(&mut self, before: &[Found<'a>]) -> Verdict<'a> {
        match before.iter().rev().find(|(_, record)| record.what == What::Refused) {
            Some((_, refused)) => {
                self.advise(Advice::Refused);
                Verdict::NotAdmitted(refused)
            }
            None => Verdict::NeverThere,
        }
    }

    /// What became of a message for a session that was lost before it had it.
    fn after_loss(&mut self, bits: u64, index: usize, message: &Record) -> After<'a> {
        if message.what == What::Published {
            self.advise(Advice::KeepsNothing);
            return After::NotKept;
        }
        if let Some(resumed) = self.resumed_after(index, message) {
            return After::Resumed(resumed);
        }
        let name = self.found.name(self.hub, bits);
        if name.is_some_and(|name| self.hub.returns.away.get(name).is_some()) {
            return After::Away;
        }
        self.advise(Advice::NotBack);
        let is_it = |record: &Record| name.is_some_and(|name| name.key().to_bits() == record.session);
        let (_, after) = self.found.around(index);
        let given_up = after.iter().find(|(_, record)| record.what == What::GivenUp && is_it(record));
        given_up.map_or(After::NotBack, |(_, given_up)| After::GivenUp(given_up))
    }

    /// Which session has got a message later, because it went on where another was or where it said that it was.
    fn resumed_after(&mut self, index: usize, message: &Record) -> Option<Resumption<'a>> {
        if message.what == What::Published {
            return None;
        }
        let (_, after) = self.found.around(index);
        let is_resumed = |(_, record): &&Found<'_>| matches!(record.what, What::Returned | What::Resumed);
        let (_, record) = after.iter().find(is_resumed).copied()?;
        if record.stamp >= message.stamp {
            return Some(Resumption { record, from: Begin::Later });
        }
        let gap = self.found.lives.get(&record.session).and_then(|life| self.gap(life, index, message));
        Some(Resumption { record, from: gap.map_or(Begin::Before, Begin::Gap) })
    }

    /// What can be said about a user, a session or a room, though no message was named.
    fn judge_without_message(&mut self) {
        if self.question.is_personal() {
            self.judge_sessions();
            self.judge_away();
            self.judge_troubles();
        }
        if !self.question.room.is_empty() {
            self.judge_room();
        }
        self.judge_refused();
        if let Some((count, last)) = self.found.missed_of(None) {
            self.conclude(Verdict::MissedOfOthers(Missed { node: unpack(last.session), count, last: last.time }));
            self.advise(Advice::Missed);
        }
    }

    /// Which sessions are there, or why there is none.
    fn judge_sessions(&mut self) {
        let (hub, question) = (self.hub, self.question);
        let live = sessions_of(hub, question);
        for key in live.iter().take(MOST_SESSIONS) {
            let Some(session) = hub.state.sessions.get(*key) else { continue };
            let rooms = hub.state.room_names(session);
            let is_in = rooms.iter().any(|room| **room == *question.room);
            let place = match question.room {
                "" => Place::Rooms(rooms),
                room if is_in => Place::In(room),
                room => {
                    self.advise(Advice::NotMember);
                    match nearest(room, rooms.iter().map(|room| &**room)) {
                        Some(similar) => Place::InSimilar(room, similar.into()),
                        None => Place::NotIn(room, rooms),
                    }
                }
            };
            let Some(client) = hub.state.clients.get(session.client) else { continue };
            let (session, is_behind, bytes) = (key.key().to_bits(), client.mode == Mode::Behind, client.outbox.bytes());
            if bytes > 0 {
                self.advise(Advice::Slow);
            }
            self.conclude(Verdict::Connected { session, place, is_behind, bytes });
        }
        if !live.is_empty() {
            return;
        }
        let room = room_hash(question.room);
        let ended = self.found.lives.values().filter(|life| life.end.is_some());
        if !question.room.is_empty()
            && ended.clone().count() > 0
            && ended.clone().all(|life| life.has_joined(room) == Some(false))
        {
            let count = ended.count();
            self.advise(Advice::NotMember);
            self.conclude(Verdict::NeverInRoom(count, question.room));
        }
        let is_end = |(_, record): &&Found<'_>| matches!(record.what, What::Ended | What::Lost);
        let verdict = match self.found.mine.iter().rev().find(is_end) {
            Some((_, end)) => {
                let end = self.ending(end);
                if end.sent_away.is_none() {
                    self.advise(Advice::NotBack);
                }
                Verdict::Gone(end)
            }
            None => Verdict::NoSession,
        };
        self.conclude(verdict);
    }

    /// Counts the messages that were published while a user was away. A single session does not come back, but its user may have.
    fn judge_away(&mut self) {
        if !self.question.socket_id.is_empty() {
            return;
        }
        let away = Away::follow(self.hub, self.question, self.found);
        if away.count == 0 {
            return;
        }
        self.conclude(Verdict::Away(away));
        if away.kept < away.count {
            self.advise(Advice::KeepsNothing);
        }
        if away.again < away.kept {
            self.advise(Advice::NotBack);
        }
    }

    /// What went wrong for a user or a session, and how often.
    fn judge_troubles(&mut self) {
        for (what, trouble, advice) in TROUBLES {
            let mine = self.found.mine.iter().filter(|(_, record)| record.what == *what);
            let Some((_, last)) = mine.clone().next_back() else { continue };
            let count: u64 =
                mine.map(|(_, record)| if is_counted(record.what) { record.count.into() } else { 1 }).sum();
            self.conclude(Verdict::Troubles(*trouble, count, last));
            self.advise(*advice);
        }
    }

    /// Whether a room keeps messages, and who is in it.
    fn judge_room(&mut self) {
        let (state, tenant, name) = (&self.hub.state, self.question.tenant, self.question.room);
        let members = state.member_count(tenant, name);
        let keeps = self.hub.history.is_on() && self.hub.history.has_rule(state, tenant, name);
        if !keeps {
            self.advise(Advice::KeepsNothing);
        }
        self.conclude(Verdict::Room { name, members, keeps });
    }

    /// The publications to rooms of the question that were refused, or that repeated others.
    fn judge_refused(&mut self) {
        for (what, advice) in
            [(What::PublicationRefused, Advice::PublicationRefused), (What::Repeated, Advice::Repeated)]
        {
            let all = self.found.refused.iter().filter(|record| record.what == what);
            let Some(last) = all.clone().next_back().copied() else { continue };
            let count = all.map(|record| u64::from(record.count)).sum();
            self.conclude(match what {
                What::Repeated => Verdict::PublicationsRepeated(count, last),
                _ => Verdict::PublicationsRefused(count, last),
            });
            self.advise(advice);
        }
    }
}

fn session_key(bits: u64) -> Option<SessionKey> {
    Key::from_bits(bits).map(SessionKey::wrap)
}

/// Whether a record counts how often something was.
fn is_counted(what: What) -> bool {
    matches!(what, What::Refused | What::MessageRefused | What::HookFailed)
}

/// What can go wrong, and what to do about it.
const TROUBLES: &[(What, Trouble, Advice)] = &[
    (What::Lost, Trouble::Lost, Advice::Lost),
    (What::Refused, Trouble::LoginRefused, Advice::Refused),
    (What::Behind, Trouble::Behind, Advice::Slow),
    (What::Slow, Trouble::Slow, Advice::Slow),
    (What::Gap, Trouble::Gap, Advice::Gap),
    (What::GivenUp, Trouble::GivenUp, Advice::NotBack),
    (What::MessageRefused, Trouble::MessageRefused, Advice::OwnRefused),
    (What::HookFailed, Trouble::HookFailed, Advice::HookFailed),
    (What::SentAway, Trouble::SentAway, Advice::SentAway),
];
/// Sessions of a user that are looked at one by one.
const MOST_SESSIONS: usize = 10;
/// Verdicts of an answer.
const MOST_VERDICTS: usize = 50;
