//! What this relay tells its siblings over Redis, and what it does when it hears from them, from old servers, and from
//! backends that publish there (contract section 10). Who is there on which relay is in [`super::roster`].

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::{
    By, Data, Hub, MessageId, Refusal, TenantId,
    asks::Asker,
    broadcast::{MOST_SPREAD, string},
    emission::{Emission, Target},
    event,
    inquiry::Inquiries,
    journal::Line,
    refresh,
    rules::inner,
    socketio::MOST_ATTACHMENTS,
    wire::{self, Object, Opened, Seal},
};
use crate::{
    clock::Now,
    names::{Rooms, is_file_safe, is_reserved},
    sign::{Signature, Subject},
    websocket::Close,
};

/// The link to siblings as the hub sees it. Without one it does nothing.
#[derive(Default)]
pub struct Siblings {
    seal: Option<Seal>,
    node: Box<str>,
    ip: Box<str>,
    trust: bool,
    seq: u64,
    outgoing: Vec<Outgoing>,
    /// The last number that came from each relay.
    heard: BTreeMap<Box<str>, u64>,
    /// Relays that are there, beside this one.
    pub known: BTreeSet<Box<str>>,
    /// Those that have greeted since the list of them was read last.
    pub greeted: BTreeSet<Box<str>>,
    /// Somebody may have thrown away what Redis knows of our sessions.
    pub forgotten: bool,
    pub(super) inquiries: Inquiries,
    /// Answers of siblings that were for this relay alone.
    pub answers: u64,
    /// How the link does.
    pub health: Health,
}

/// How the link to siblings does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// There is none: this relay is alone.
    #[default]
    Off,
    /// Messages come and go.
    Fine,
    /// They do not, and why.
    Failing(String),
}

/// Something to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub channel: Channel,
    /// What.
    pub payload: Vec<u8>,
    /// Whether it means nothing if it comes late.
    pub volatile: bool,
}

/// Where things are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Messages, in the old server's format: old servers and backends are there too.
    Messages,
    /// What relays tell all relays.
    Commands,
    /// What one relay answers another.
    Relay(Box<str>),
}

impl Siblings {
    /// Begins to tell siblings: as the relay of that name, at that address.
    pub fn link(&mut self, node: String, ip: &str) {
        self.node = node.into();
        self.ip = ip.into();
    }

    /// Takes the configuration: whether what says it is from a server is believed, what siblings sign with, and by how many
    /// seconds a signature's time may be off. `None`: this relay is alone.
    fn configure(&mut self, linked: Option<(bool, Option<&[u8]>, u64)>) {
        match linked {
            Some((trust, secret, window)) => {
                self.seal = Some(Seal::new(&self.node, secret, window));
                self.trust = trust;
            }
            // Its numbers go on: siblings remember the last.
            None => {
                let (node, ip) = (mem::take(&mut self.node), mem::take(&mut self.ip));
                *self = Siblings { node, ip, seq: self.seq, ..Siblings::default() };
            }
        }
    }

    /// Whether there is a link.
    pub fn is_on(&self) -> bool {
        self.seal.is_some()
    }

    /// This relay's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The address that it gives.
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// What is to be published, in its order.
    pub fn take(&mut self) -> Vec<Outgoing> {
        mem::take(&mut self.outgoing)
    }

    /// Whether there is something.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Publishes an object whose last brace is missing.
    fn publish(&mut self, channel: Channel, mut payload: Vec<u8>, volatile: bool, unix: u64) {
        let Some(seal) = &self.seal else { return };
        // What all must hear is numbered, so that each can tell what it has heard before and what it missed. What is not
        // sent a second time needs no number.
        let seq = match channel {
            Channel::Messages | Channel::Commands if !volatile => {
                self.seq += 1;
                self.seq
            }
            _ => 0,
        };
        match &channel {
            Channel::Messages => seal.close(&mut payload, seq, MESSAGES, unix),
            Channel::Commands => seal.close(&mut payload, seq, COMMANDS, unix),
            Channel::Relay(node) => seal.close(&mut payload, seq, node, unix),
        }
        self.outgoing.push(Outgoing { channel, payload, volatile });
    }

    /// Whether something that a relay numbered is new, and how many numbers are missing before it.
    fn is_new(&mut self, node: &str, seq: u64) -> Option<u64> {
        if seq == 0 {
            return Some(0);
        }
        if let Some(last) = self.heard.get_mut(node) {
            if seq <= *last {
                return None;
            }
            let missed = seq - *last - 1;
            *last = seq;
            return Some(missed);
        }
        if self.heard.len() >= MOST_NODES {
            let known = &self.known;
            self.heard.retain(|node, _| known.contains(node));
            if self.heard.len() >= MOST_NODES {
                self.heard.clear();
            }
        }
        self.heard.insert(node.into(), seq);
        Some(0)
    }
}

/// Whom an event on another relay is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach<'a> {
    /// What a backend may name.
    Target(&'a Target<'a>),
    /// The members of any of these rooms, each once.
    Rooms(&'a [&'a str]),
}

impl Hub {
    /// Takes the configuration of the link; nothing if there is to be none. What waits for siblings' answers then has none.
    pub fn link_siblings(&mut self, linked: Option<(bool, Option<&[u8]>, u64)>) {
        if linked.is_none() {
            for wish in self.siblings.inquiries.drain() {
                self.fulfil(wish, false);
            }
        }
        self.siblings.configure(linked);
    }

    /// Tells siblings of a message.
    pub(super) fn share_message(
        &mut self,
        by: By,
        (tenant, rooms): (u16, &[&str]),
        data: Data<'_>,
        filename: &str,
        id: MessageId,
    ) {
        if !self.siblings.is_on() {
            return;
        }
        let backend = matches!(by, By::Backend).then_some((filename, &*self.siblings.ip));
        let payload = wire::message(&self.tenants[tenant as usize].name, &rooms.join(","), data, backend, id);
        self.stats.redis_published += 1;
        self.siblings.publish(Channel::Messages, payload, false, self.journal.now().unix);
    }

    fn tell(&mut self, command: &'static str, channel: Channel, volatile: bool, fill: impl FnOnce(&mut Line<'_>)) {
        if !self.siblings.is_on() {
            return;
        }
        let mut payload = b"{".to_vec();
        let mut line = Line::within(&mut payload);
        line.text("do", command);
        fill(&mut line);
        self.stats.redis_published += 1;
        self.siblings.publish(channel, payload, volatile, self.journal.now().unix);
    }

    /// Tells siblings that this relay is there, or that it goes.
    pub fn tell_presence(&mut self, here: bool) {
        let last = self.siblings.seq;
        self.tell(if here { "hello" } else { "bye" }, Channel::Commands, true, |line| line.shown("last", last));
    }

    /// Publishes what nobody else hears, to see whether that is allowed.
    pub fn try_to_tell(&mut self) {
        let own = Channel::Relay(self.siblings.node.clone());
        self.tell("try", own, true, |_| {});
    }

    /// Tells siblings who is to load the page again.
    pub(super) fn share_refresh(&mut self, target: refresh::Target<'_>) {
        let name = |tenant: TenantId| self.tenants[tenant.0 as usize].name.clone();
        let (to, source, room) = match target {
            refresh::Target::All => ("all", None, ""),
            refresh::Target::Source(tenant) => ("source", Some(name(tenant)), ""),
            refresh::Target::Room(tenant, room) => ("room", Some(name(tenant)), room),
            refresh::Target::Session(tenant, session) => ("session", tenant.map(name), session),
            refresh::Target::Prefixed(prefixed) => ("prefixed", None, prefixed),
        };
        self.tell("refresh", Channel::Commands, false, |line| {
            line.text("to", to);
            line.some("source", source.as_deref().unwrap_or_default());
            line.text("name", room);
        });
    }

    /// Tells siblings whose sessions are to be ended: a user's, of one source or of all, or one by its name.
    pub fn share_disconnect(&mut self, tenant: Option<TenantId>, userid: Option<&str>, socket_id: Option<&str>) {
        let source = tenant.map(|tenant| self.tenants[tenant.0 as usize].name.clone());
        self.tell("disconnect", Channel::Commands, false, |line| {
            line.some("source", source.as_deref().unwrap_or_default());
            line.some("userid", userid.unwrap_or_default());
            line.some("socket_id", socket_id.unwrap_or_default());
        });
    }

    /// Tells siblings of an event for clients; under `number` they say whom it reached, and with `ack` what those answered.
    pub(super) fn share_emission(
        &mut self,
        (tenant, namespace): (u16, &str),
        reach: Reach<'_>,
        emission: &Emission<'_>,
        (number, ack): (Option<u64>, bool),
    ) {
        if !self.siblings.is_on() {
            return;
        }
        let source = self.tenants[tenant as usize].name.clone();
        let names;
        let (to, list): (&str, &[&str]) = match reach {
            Reach::Rooms(rooms) => ("rooms", rooms),
            Reach::Target(target) => {
                let (to, name) = match *target {
                    Target::Room(room) => ("rooms", room),
                    Target::User(user) => ("user", user),
                    Target::Session(name) => ("session", name),
                    Target::Namespace => ("all", ""),
                };
                names = [name];
                (to, &names)
            }
        };
        self.tell("emit", Channel::Commands, emission.volatile, |line| {
            line.text("source", &source);
            line.text("nsp", namespace);
            line.text("to", to);
            line.raw("names", |out| strings(out, list));
            line.text("event", emission.name);
            line.raw("args", |out| {
                out.push(b'[');
                wire::pack(out, emission.args, emission.attachments);
                out.push(b']');
            });
            if !emission.attachments.is_empty() {
                line.raw("binary", |out| out.extend_from_slice(b"true"));
            }
            if emission.volatile {
                line.raw("volatile", |out| out.extend_from_slice(b"true"));
            }
            if let Some(number) = number {
                line.shown("re", number);
            }
            if ack {
                line.raw("ack", |out| out.extend_from_slice(b"true"));
            }
        });
    }

    /// Asks siblings whether a user is there.
    pub(super) fn share_question(&mut self, tenant: u16, namespace: &str, userid: &str, number: u64) {
        let source = self.tenants[tenant as usize].name.clone();
        self.tell("find", Channel::Commands, true, |line| {
            line.text("source", &source);
            line.text("nsp", namespace);
            line.text("name", userid);
            line.shown("re", number);
        });
    }

    /// Answers another relay's session.
    pub(super) fn share_ack(&mut self, node: Box<str>, number: u64, list: &str, attachments: &[Vec<u8>]) {
        self.tell("ack", Channel::Relay(node), true, |line| {
            line.shown("re", number);
            line.raw("args", |out| wire::pack(out, list, attachments));
            if !attachments.is_empty() {
                line.raw("binary", |out| out.extend_from_slice(b"true"));
            }
        });
    }

    /// Something was published.
    pub fn handle_published(&mut self, channel: &Channel, payload: &[u8], now: Now) {
        let Some(seal) = &self.siblings.seal else { return };
        let place = match channel {
            Channel::Messages => MESSAGES,
            Channel::Commands => COMMANDS,
            Channel::Relay(_) => &self.siblings.node,
        };
        let (text, authentic) = match seal.open(payload, place, now.unix) {
            Opened::Own => return,
            Opened::Foreign(text, authentic) => (text, authentic),
            Opened::Nonsense => return self.refuse_published("it is no text", ""),
        };
        if wire::is_too_deep(text) {
            return self.refuse_published("it is nested too deeply", text);
        }
        let Ok(fields) = serde_json::from_str::<Object<'_>>(text) else {
            return self.refuse_published("it is no JSON object", text);
        };
        self.siblings.answers += u64::from(matches!(channel, Channel::Relay(_)));
        let result = match channel {
            Channel::Messages => self.handle_sibling(&fields, authentic, now),
            Channel::Commands | Channel::Relay(_) => self.handle_command(&fields, authentic, now),
        };
        if let Err(why) = result {
            self.refuse_published(&why, text);
        }
    }

    /// Something was published that is too long to be looked at.
    pub fn handle_too_long(&mut self, bytes: u64) {
        self.refuse_published(&format!("it has {bytes} bytes"), "");
    }

    fn refuse_published(&mut self, why: &str, text: &str) {
        self.stats.redis_refused += 1;
        self.journal.error("redis", why, |line| line.cut("message", text));
    }

    /// A message of a relay, an old server or a backend.
    fn handle_sibling(&mut self, fields: &Object<'_>, authentic: bool, now: Now) -> Result<(), Cow<'static, str>> {
        if fields.get("sys_info").is_some_and(|mark| ["true", "1", "\"1\""].contains(&mark.get())) {
            self.note_sys_info(fields);
            return Ok(());
        }
        // With a secret relays are told from others that set from_sys.
        let signs = self.siblings.seal.as_ref().is_some_and(Seal::signs);
        let from_sys = fields.contains_key("from_sys") && (self.siblings.trust || authentic);
        let id = MessageId::parse(&text(fields, "id"));
        let of_relay = authentic || (from_sys && !signs);
        let of_relay = of_relay && id.is_some_and(|id| id.node() == text(fields, "node"));
        if of_relay && !self.count_heard(fields) {
            return Ok(());
        }
        let refused = |refusal: Refusal| refusal.text();
        let source = text(fields, "source");
        let room_id = fields.get("room_id").map_or_else(String::new, |raw| event::rooms(raw));
        if source.is_empty() {
            return Err(refused(Refusal::SourceMissing));
        }
        let limits = &self.config.limits;
        let rooms = Rooms::parse(&room_id, limits.room_id as usize, 0)
            .map_err(|error| Refusal::from_name(error, Refusal::RoomMissing).text())?;
        let raw = fields.get("data").map(|raw| raw.get());
        let tenant = match from_sys {
            // Also of who is let in without a signature: its source need not be configured.
            true => self.known_tenant(&source).ok_or_else(|| refused(Refusal::SourceUnknown))?,
            false => {
                let tenant = self.tenant(&source).map_err(refused)?;
                self.check_publisher(tenant, fields, (&source, &room_id, raw), now)?;
                tenant
            }
        };
        let filename = text(fields, "filename");
        let safe = is_file_safe(&filename) && self.may_name(tenant, &filename);
        let filename = if safe { &*filename } else { "" };
        let (json, attachments) = match (raw.unwrap_or("null"), flag(fields, "binary")) {
            (raw, false) => (Cow::Borrowed(raw), Vec::new()),
            (raw, true) => {
                let (json, attachments) = wire::unpack(raw, MOST_ATTACHMENTS).ok_or(STUMBLE)?;
                (json.into(), attachments)
            }
        };
        let data = match attachments.as_slice() {
            [] => Data::Json(&json),
            attachments => Data::Mixed { json: &json, attachments },
        };
        // What it is as JSON may be six times what a relay counted before it let it pass.
        let most = if of_relay { 6 * MOST_SPREAD } else { MOST_SPREAD };
        if rooms.iter().len() > 1 && data.size() * rooms.iter().len() > most {
            return Err(refused(Refusal::TooWide));
        }
        self.stats.redis_received += 1;
        let names: Vec<&str> = rooms.iter().map(|room| room.as_str()).collect();
        self.publish_here(tenant, &names, data, filename, id);
        Ok(())
    }

    /// Whether the one who published this may speak for its source.
    fn check_publisher(
        &self,
        tenant: TenantId,
        fields: &Object<'_>,
        (source, room_id, raw): (&str, &str, Option<&str>),
        now: Now,
    ) -> Result<(), Cow<'static, str>> {
        let verify = self.tenants[tenant.0 as usize].source.as_ref().is_none_or(|source| source.publish_msg_verify);
        let from_sys = fields.contains_key("from_sys");
        if !verify && !from_sys {
            return Ok(());
        }
        let (sign, sign_type, ts) = (text(fields, "sign"), text(fields, "sign_type"), text(fields, "ts"));
        if sign.is_empty() && from_sys {
            return Err("from_sys is not believed here (trust_from_sys)".into());
        }
        if sign.is_empty() {
            return Err(Refusal::NotifySignMissing.text());
        }
        let signature = Signature::new(&sign, &sign_type, &ts);
        // As the old server made text of it, or as it stands there, which is what notifications sign.
        let signed = wire::js_text(raw);
        let right = [&*signed, raw.unwrap_or_default()].into_iter().any(|data| {
            let subject = Subject::Notify { source, room_id, data: data.as_bytes() };
            self.verify(tenant, &subject, &signature, now)
        });
        match right {
            true => Ok(()),
            false => Err(Refusal::NotifySignWrong.text()),
        }
    }

    /// A line of an old server's log. What file it names does not matter.
    fn note_sys_info(&mut self, fields: &Object<'_>) {
        self.stats.redis_received += 1;
        if self.siblings.trust && text(fields, "key") == "system_start" {
            // At its start an old server deletes the lists of who is there.
            self.siblings.forgotten = true;
        }
        self.journal.sibling(|line| {
            for (name, value) in fields.iter().filter(|(name, _)| !["sys_info", "log_file"].contains(&&***name)) {
                line.foreign(name, value.get());
            }
        });
    }

    /// Whether this is heard for the first time. What is missing before it is counted.
    fn count_heard(&mut self, fields: &Object<'_>) -> bool {
        let (node, seq) = (text(fields, "node"), number(fields, "seq").unwrap_or(0));
        if node.is_empty() || node.len() > LONGEST_NODE {
            return true;
        }
        let new = self.siblings.is_new(&node, seq);
        self.stats.redis_missed = self.stats.redis_missed.saturating_add(new.unwrap_or(0));
        new.is_some()
    }

    fn handle_command(&mut self, fields: &Object<'_>, authentic: bool, now: Now) -> Result<(), Cow<'static, str>> {
        let believed = match self.siblings.seal.as_ref().is_some_and(Seal::signs) {
            true => authentic,
            false => self.siblings.trust,
        };
        if !believed {
            return Err("a command is not signed with redis.secret".into());
        }
        let node = text(fields, "node");
        if node.is_empty() || node.len() > LONGEST_NODE {
            return Err("a command names no relay".into());
        }
        if !self.count_heard(fields) {
            return Ok(());
        }
        self.stats.redis_received += 1;
        let (command, source, name) = (text(fields, "do"), text(fields, "source"), text(fields, "name"));
        let tenant = self.known_tenant(&source);
        // What is of another relay's source is none of ours.
        if !source.is_empty() && tenant.is_none() && !["emit", "find"].contains(&&*command) {
            return Ok(());
        }
        match &*command {
            "hello" if self.siblings.greeted.len() < MOST_NODES => {
                // What was told before and is not known here never came.
                let last = number(fields, "last").unwrap_or(0);
                match self.siblings.heard.get_mut(&*node) {
                    Some(heard) if *heard < last => {
                        self.stats.redis_missed = self.stats.redis_missed.saturating_add(last - *heard);
                        *heard = last;
                    }
                    Some(_) => {}
                    None => drop(self.siblings.heard.insert((*node).into(), last)),
                }
                self.siblings.known.insert((*node).into());
                self.siblings.greeted.insert((*node).into());
            }
            "bye" => {
                self.siblings.known.remove(&*node);
                self.siblings.greeted.remove(&*node);
                self.census.relays.retain(|relay| *relay.node != *node);
            }
            "refresh" => {
                let target = match (&*text(fields, "to"), tenant) {
                    ("all", _) => refresh::Target::All,
                    ("source", Some(tenant)) => refresh::Target::Source(tenant),
                    ("room", Some(tenant)) => refresh::Target::Room(tenant, &name),
                    ("session", _) => refresh::Target::Session(tenant, &name),
                    ("prefixed", _) => refresh::Target::Prefixed(&name),
                    _ => return Err("refresh says no target".into()),
                };
                self.refresh_here(target);
            }
            "disconnect" => self.obey_disconnect(tenant, fields, now),
            "emit" => return self.obey_emission(tenant, &node, fields, now),
            "find" => {
                let there = self.find_space(&text(fields, "nsp")).zip(tenant);
                let sessions = there.map_or(0, |(space, tenant)| self.user_sessions(tenant.0, space, &name).len());
                self.answer_found(&node, fields, sessions);
            }
            "found" => {
                let sessions = number(fields, "sessions").unwrap_or(0);
                self.handle_found(&node, number(fields, "re").unwrap_or(0), sessions);
            }
            "ack" => return self.obey_ack(fields),
            // A later version's: older relays need not know it.
            _ => {}
        }
        Ok(())
    }

    fn obey_disconnect(&mut self, tenant: Option<TenantId>, fields: &Object<'_>, now: Now) {
        let (userid, socket_id) = (text(fields, "userid"), text(fields, "socket_id"));
        let sessions = match (userid.is_empty(), socket_id.is_empty()) {
            (false, _) => self.sessions_of_user(tenant, &userid),
            (true, false) => {
                let found = self.find_session(&socket_id);
                found.filter(|key| tenant.is_none() || self.tenant_of(*key) == tenant).into_iter().collect()
            }
            (true, true) => Vec::new(),
        };
        for session in sessions {
            self.expel(session, Close::OPERATOR, now);
        }
    }

    fn obey_emission(
        &mut self,
        tenant: Option<TenantId>,
        node: &str,
        fields: &Object<'_>,
        now: Now,
    ) -> Result<(), Cow<'static, str>> {
        let (namespace, event) = (text(fields, "nsp"), text(fields, "event"));
        let names: Vec<String> =
            fields.get("names").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let first = names.first().map_or("", String::as_str);
        let list = fields.get("args").map_or("[]", |raw| raw.get());
        if event.is_empty() || is_reserved(&event) || !list.starts_with('[') {
            return Err("an event that cannot be".into());
        }
        let (Some(space), Some(tenant)) = (self.find_space(&namespace), tenant) else {
            self.answer_found(node, fields, 0);
            return Ok(());
        };
        let (args, attachments) = match flag(fields, "binary") {
            true => wire::unpack(inner(list), MOST_ATTACHMENTS).ok_or(STUMBLE)?,
            false => (inner(list).to_owned(), Vec::new()),
        };
        let volatile = flag(fields, "volatile");
        let mut emission = Emission { attachments: &attachments, volatile, ..Emission::new(&event, &args) };
        let reached = match &*text(fields, "to") {
            "rooms" => {
                let rooms: Vec<&str> = names.iter().map(String::as_str).collect();
                self.emit_to_rooms((tenant.0, space), &rooms, None, &emission)
            }
            "all" => self.emit_to(&self.everybody(tenant.0, space), &emission),
            "session" => self.emit_here(tenant, space, &Target::Session(first), &emission),
            "user" => {
                let sessions = self.user_sessions(tenant.0, space, first);
                if let Some(number) = number(fields, "re").filter(|_| flag(fields, "ack") && !sessions.is_empty()) {
                    emission.ask = self.asks.open(Asker::Relay(node.into(), number), &sessions, false, now.time);
                }
                let receivers: Vec<_> = sessions.iter().filter_map(|key| self.receiver(*key)).collect();
                self.emit_to(&receivers, &emission)
            }
            _ => return Err("an event for nobody".into()),
        };
        self.answer_found(node, fields, reached);
        Ok(())
    }

    /// Says how many sessions there were, if that was asked.
    fn answer_found(&mut self, node: &str, fields: &Object<'_>, sessions: usize) {
        let Some(number) = number(fields, "re") else { return };
        self.tell("found", Channel::Relay(node.into()), true, |line| {
            line.shown("re", number);
            line.shown("sessions", sessions);
        });
    }

    fn obey_ack(&mut self, fields: &Object<'_>) -> Result<(), Cow<'static, str>> {
        let list = fields.get("args").map(|raw| raw.get()).filter(|list| list.starts_with('[')).unwrap_or("[]");
        let (list, attachments) = match flag(fields, "binary") {
            true => wire::unpack(list, MOST_ATTACHMENTS).ok_or(STUMBLE)?,
            false => (list.to_owned(), Vec::new()),
        };
        if let Some(ask) = number(fields, "re").and_then(|number| self.asks.answered_remotely(number)) {
            self.pass_ack(ask.asker, &list, &attachments);
        }
        Ok(())
    }
}

/// A field that is text or a number.
fn text<'a>(fields: &Object<'a>, name: &str) -> Cow<'a, str> {
    fields.get(name).map_or("".into(), |raw| event::scalar(raw))
}

fn number(fields: &Object<'_>, name: &str) -> Option<u64> {
    fields.get(name)?.get().parse().ok()
}

fn flag(fields: &Object<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|raw| raw.get() == "true")
}

/// Appends strings as an array.
fn strings(out: &mut Vec<u8>, list: &[&str]) {
    out.push(b'[');
    for (index, text) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, text);
    }
    out.push(b']');
}

/// What signatures bind messages and commands to; what is for one relay they bind to its name.
const MESSAGES: &str = "messages";
const COMMANDS: &str = "commands";
const STUMBLE: &str = "something in it only looks like bytes";
/// Relays whose numbers are remembered.
const MOST_NODES: usize = 1024;
/// Bytes of a relay's name.
const LONGEST_NODE: usize = 64;
