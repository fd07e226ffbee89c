//! Keeping Redis told of who is here, and clearing up after relays that died (contract section 10).
//!
//! Beside the old server's keys there are, behind the same prefix: `relay_nodes`, a hash of what each relay says of itself;
//! `relay_alive:NODE`, which expires unless its relay renews it; `relay_sweep:NODE`, a lock; and `relay_today:SOURCE`, the
//! date of a list of today's logins.

use core::time::Duration;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use serde_json::value::RawValue;

use super::{Tag, keys::Keys};
use crate::{
    clock::{Now, Time},
    config::Redis,
    hub::{
        Hub,
        census::Relay,
        journal::Line,
        roster::{Batch, Struck},
    },
    redis::{Link, Reply},
};

/// What is being told, and what is known of other relays.
#[derive(Default)]
pub struct Presence {
    keys: Keys,
    node: Box<str>,
    heartbeat: Duration,
    /// Writes of a batch that are not confirmed, and the records they take out.
    unconfirmed: usize,
    striking: Vec<Struck>,
    /// One of them was refused.
    refused: bool,
    next_batch: Time,
    next_beat: Time,
    next_renewal: Time,
    /// When our own records are looked through.
    next_review: Time,
    /// The local day to which today's logins belong.
    day: Option<i64>,
    /// Sources whose date was looked at.
    dated: BTreeSet<Box<str>>,
    /// All is written again at that time.
    again: Option<Time>,
    /// Relays whose breath is being looked for, and those found so far.
    listed: Vec<Relay>,
    breathing: BTreeSet<Box<str>>,
    awaited: usize,
    /// Relays that did not breathe when they were last looked for.
    silent: BTreeSet<Box<str>>,
    sweeps: VecDeque<Sweep>,
    sweeping: bool,
    /// The relay that is cleared up after has breathed.
    revived: bool,
    leaving: Leaving,
}

/// Clearing up after a relay that died, or after ourselves.
struct Sweep {
    node: Box<str>,
    sources: Vec<Box<str>>,
    cursor: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leaving {
    #[default]
    No,
    Wanted,
    Told,
}

impl Presence {
    /// Takes a new configuration.
    pub fn configure(&mut self, redis: &Redis, node: &str) {
        self.keys = Keys::new(&redis.key_prefix);
        self.node = node.into();
        self.heartbeat = redis.heartbeat;
    }

    /// The connection stands: says at once that this relay is there.
    pub fn begin(&mut self, hub: &mut Hub, now: Time) {
        hub.begin_roster();
        (self.next_beat, self.next_batch, self.next_renewal) = (now, now, now.after(RENEWAL));
        // What a connection before this one had sent may still be carried out, behind what this one sends.
        self.next_review = now.after(self.heartbeat * REVIEW);
    }

    /// The connection is lost: what was on its way is told again.
    pub fn handle_end(&mut self, hub: &mut Hub) {
        self.unconfirmed = 0;
        hub.end_roster(core::mem::take(&mut self.striking));
        self.sweeps.clear();
        self.sweeping = false;
        self.awaited = 0;
        if self.leaving == Leaving::Told {
            self.leaving = Leaving::Wanted;
        }
    }

    /// When something is to be done.
    pub fn deadline(&self) -> Time {
        self.next_beat.min(self.again.unwrap_or(Time::NEVER)).min(match self.unconfirmed {
            0 => self.next_batch,
            _ => Time::NEVER,
        })
    }

    /// Sends what is due.
    pub fn pump(&mut self, link: &mut Link<Tag>, hub: &mut Hub, now: Now) {
        if core::mem::take(&mut hub.siblings.forgotten) {
            // The old server that starts deletes the lists and then says that it starts, on another connection.
            self.again = Some(now.time.after(AFTER_START));
        }
        if self.again.is_some_and(|at| at <= now.time) {
            self.again = None;
            hub.announce_all();
        }
        if self.next_beat <= now.time {
            self.next_beat = now.time.after(self.heartbeat);
            self.beat(link, hub, now);
        }
        if self.unconfirmed > 0 {
            return;
        }
        if link.is_full() {
            self.next_batch = now.time.after(GATHER);
            return;
        }
        if !hub.roster.has_changes() {
            self.next_batch = Time::NEVER;
            if self.leaving == Leaving::Wanted {
                self.leaving = Leaving::Told;
                self.say_farewell(link, now.time);
            }
            return;
        }
        // The first change waits a little for others; while there are many, batches follow each other.
        if self.next_batch == Time::NEVER && self.leaving == Leaving::No {
            self.next_batch = now.time.after(GATHER);
        }
        if self.next_batch <= now.time || self.leaving != Leaving::No {
            let batch = hub.take_batch(BATCH, now);
            self.write(link, batch, hub, now.time);
            self.next_batch = if hub.roster.has_changes() { now.time } else { Time::NEVER };
        }
    }

    fn write(&mut self, link: &mut Link<Tag>, batch: Batch, hub: &Hub, now: Time) {
        let keys = &self.keys;
        let mut sources: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
        for (source, name, record) in &batch.put {
            sources.entry(keys.online(source)).or_default().extend([name.as_bytes(), record.as_bytes()]);
        }
        let mut command = |parts: &[&[u8]]| {
            self.unconfirmed += 1;
            link.command(parts, Tag::Batch, now);
        };
        for (key, fields) in &sources {
            command(&[&[b"HSET", key.as_bytes()], fields.as_slice()].concat());
            command(&[b"EXPIRE", key.as_bytes(), EXPIRES]);
        }
        let mut struck: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
        for (source, name) in &batch.gone {
            struck.entry(source).or_default().push(name.as_bytes());
        }
        for (source, names) in &struck {
            let key = keys.online(source);
            command(&[&[b"HDEL", key.as_bytes()], names.as_slice()].concat());
        }
        for (source, user, count) in &batch.came {
            let key = keys.today(source);
            command(&[b"HINCRBY", key.as_bytes(), user.as_bytes(), count.to_string().as_bytes()]);
            command(&[b"EXPIRE", key.as_bytes(), EXPIRES]);
        }
        let ip = hub.siblings.ip();
        for (key, count) in [(keys.logins(), batch.logins), (keys.messages(), batch.messages)] {
            if count > 0 {
                command(&[b"HINCRBY", key.as_bytes(), ip.as_bytes(), count.to_string().as_bytes()]);
            }
        }
        self.striking = batch.gone;
    }

    /// Says that this relay lives, and looks whether the others do.
    fn beat(&mut self, link: &mut Link<Tag>, hub: &mut Hub, now: Now) {
        let lifetime = (self.heartbeat * LIVES).as_millis().to_string();
        let (alive, nodes) = (self.keys.alive(&self.node), self.keys.nodes());
        if self.leaving == Leaving::Told {
            return;
        }
        // Only if it is there: when it is not, somebody has emptied Redis, or taken us for dead.
        link.command(&[b"SET", alive.as_bytes(), b"1", b"PX", lifetime.as_bytes(), b"XX"], Tag::Alive, now.time);
        let info = describe(hub, now);
        link.command(&[b"HSET", nodes.as_bytes(), self.node.as_bytes(), info.as_bytes()], Tag::Write, now.time);
        link.command(&[b"EXPIRE", nodes.as_bytes(), EXPIRES], Tag::Write, now.time);
        let quiet = self.unconfirmed == 0 && !hub.roster.has_changes();
        for (source, name) in hub.samples().into_iter().filter(|_| quiet) {
            link.command(&[b"HEXISTS", self.keys.online(&source).as_bytes(), name.as_bytes()], Tag::Held, now.time);
        }
        for source in hub.source_names() {
            if self.next_renewal <= now.time {
                for key in [self.keys.online(&source), self.keys.today(&source)] {
                    link.command(&[b"EXPIRE", key.as_bytes(), EXPIRES], Tag::Write, now.time);
                }
            }
        }
        if self.next_renewal <= now.time {
            self.next_renewal = now.time.after(RENEWAL);
        }
        if self.next_review <= now.time {
            self.next_review = now.time.after(RENEWAL);
            let sources = hub.source_names();
            self.sweeps.push_back(Sweep { node: self.node.clone(), sources, cursor: b"0".to_vec() });
            self.sweep(link, now.time);
        }
        if self.awaited == 0 {
            link.command(&[b"HGETALL", nodes.as_bytes()], Tag::Nodes, now.time);
        }
        self.turn_day(link, hub, now);
    }

    /// At midnight today's logins begin anew: the first relay to notice deletes the list.
    fn turn_day(&mut self, link: &mut Link<Tag>, hub: &Hub, now: Now) {
        let date = now.local().date().to_string();
        let turned = self.day.replace(now.day()).is_some_and(|day| day != now.day());
        for source in hub.source_names() {
            let key = self.keys.date(&source);
            if self.dated.insert(source.clone()) {
                link.command(&[b"GET", key.as_bytes()], Tag::Day(source), now.time);
            } else if turned {
                link.command(&[b"GETSET", key.as_bytes(), date.as_bytes()], Tag::NewDay(source), now.time);
            }
        }
    }

    /// A reply to one of its own commands.
    pub fn handle_reply(&mut self, tag: Tag, reply: Reply, link: &mut Link<Tag>, hub: &mut Hub, now: Now) {
        match tag {
            Tag::Batch => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                self.refused |= matches!(reply, Reply::Error(_));
                if self.unconfirmed == 0 {
                    let struck = core::mem::take(&mut self.striking);
                    if core::mem::take(&mut self.refused) {
                        // Which of them is not asked: all is written again, in a while.
                        hub.roster.put_back(struck);
                        self.again = Some(now.time.after(self.heartbeat));
                        self.next_batch = now.time.after(self.heartbeat);
                    }
                }
            }
            Tag::Alive => {
                if reply == Reply::Null {
                    let lifetime = (self.heartbeat * LIVES).as_millis().to_string();
                    let alive = self.keys.alive(&self.node);
                    link.command(&[b"SET", alive.as_bytes(), b"1", b"PX", lifetime.as_bytes()], Tag::Write, now.time);
                    hub.announce_all();
                    // Who took us for dead may still be taking out what we write now.
                    self.again = Some(now.time.after(self.heartbeat * 2));
                }
            }
            Tag::Held => {
                // It may just have gone; then writing all again costs something and harms nothing.
                if reply == Reply::Integer(0) {
                    hub.announce_all();
                }
            }
            Tag::Nodes => self.handle_nodes(reply, link, hub, now.time),
            Tag::Breath(node) => {
                // An error says nothing about it.
                if reply != Reply::Integer(0) {
                    self.breathing.insert(node);
                }
                self.awaited = self.awaited.saturating_sub(1);
                if self.awaited == 0 {
                    self.count_relays(link, hub, now.time);
                }
            }
            Tag::Lock(node) => {
                if reply.text() == Some("OK")
                    && let Some(relay) = self.listed.iter().find(|relay| relay.node == node)
                {
                    self.sweeps.push_back(Sweep { node, sources: sources(&relay.info), cursor: b"0".to_vec() });
                    self.sweep(link, now.time);
                }
            }
            Tag::StillDead => self.revived = reply != Reply::Integer(0),
            Tag::Sweep => self.handle_sweep(reply, link, hub, now.time),
            Tag::Day(source) => {
                let today = now.local().date().to_string();
                let key = self.keys.date(&source);
                match reply.text() {
                    // Of another day, which went by while no relay was there.
                    Some(date) if date < today.as_str() => {
                        link.command(&[b"GETSET", key.as_bytes(), today.as_bytes()], Tag::NewDay(source), now.time);
                    }
                    Some(_) => {}
                    // Old servers may have counted; their lists stay.
                    None => link.command(&[b"SET", key.as_bytes(), today.as_bytes()], Tag::Write, now.time),
                }
            }
            Tag::NewDay(source) => {
                let today = now.local().date().to_string();
                if reply.text().is_some_and(|date| date < today.as_str()) {
                    link.command(&[b"DEL", self.keys.today(&source).as_bytes()], Tag::Write, now.time);
                }
            }
            Tag::Write | Tag::Publish(_) | Tag::Read(..) | Tag::Count(..) | Tag::Listeners => {}
        }
    }

    /// The relays that are listed: which of them live?
    fn handle_nodes(&mut self, reply: Reply, link: &mut Link<Tag>, hub: &mut Hub, now: Time) {
        // After an error the list stays what it was, and is asked for again with the next heartbeat.
        let Some(pairs) = reply.array() else { return };
        self.listed.clear();
        self.breathing.clear();
        hub.siblings.greeted.clear();
        for pair in pairs.chunks_exact(2).take(MOST_RELAYS) {
            let (Some(node), Some(info)) = (pair[0].text(), pair[1].text()) else { continue };
            if *node == *self.node || node.len() > 64 || info.len() > LONGEST_INFO {
                continue;
            }
            self.listed.push(Relay { node: node.into(), info: info.into() });
            let alive = self.keys.alive(node);
            link.command(&[b"EXISTS", alive.as_bytes()], Tag::Breath(node.into()), now);
            self.awaited += 1;
        }
        if self.awaited == 0 {
            self.count_relays(link, hub, now);
        }
    }

    /// All of them were looked for. Who is silent twice in a row is dead.
    fn count_relays(&mut self, link: &mut Link<Tag>, hub: &mut Hub, now: Time) {
        let breathes = |relay: &&Relay| self.breathing.contains(&relay.node);
        hub.census.relays = self.listed.iter().filter(breathes).cloned().collect();
        // Who has greeted since the list was read may not stand in it.
        let mut known = self.breathing.clone();
        known.extend(hub.siblings.greeted.iter().cloned());
        hub.siblings.known = known;
        let mut silent = BTreeSet::new();
        silent.extend(self.listed.iter().filter(|relay| !breathes(relay)).map(|relay| relay.node.clone()));
        for node in silent.intersection(&self.silent) {
            let lock = self.keys.sweep(node);
            let parts: [&[u8]; 6] = [b"SET", lock.as_bytes(), self.node.as_bytes(), b"PX", LOCKED, b"NX"];
            link.command(&parts, Tag::Lock(node.clone()), now);
        }
        self.silent = silent;
    }

    /// Reads the next piece of a dead relay's lists.
    fn sweep(&mut self, link: &mut Link<Tag>, now: Time) {
        while let Some(sweep) = self.sweeps.front().filter(|_| !self.sweeping) {
            match sweep.sources.last() {
                Some(source) => {
                    let key = self.keys.online(source);
                    if sweep.node != self.node {
                        // It may have been slow, and not dead.
                        link.command(&[b"EXISTS", self.keys.alive(&sweep.node).as_bytes()], Tag::StillDead, now);
                    }
                    link.command(&[b"HSCAN", key.as_bytes(), &sweep.cursor, b"COUNT", b"200"], Tag::Sweep, now);
                    self.sweeping = true;
                }
                None => {
                    let (nodes, node) = (self.keys.nodes(), sweep.node.clone());
                    if node != self.node {
                        link.command(&[b"HDEL", nodes.as_bytes(), node.as_bytes()], Tag::Write, now);
                        // It may come back and die again.
                        let lock = self.keys.sweep(&node);
                        link.command(&[b"DEL", lock.as_bytes()], Tag::Write, now);
                    }
                    self.sweeps.pop_front();
                }
            }
        }
    }

    fn handle_sweep(&mut self, reply: Reply, link: &mut Link<Tag>, hub: &Hub, now: Time) {
        self.sweeping = false;
        let Some(sweep) = self.sweeps.front_mut() else { return };
        let Some((cursor, pairs)) = scanned(reply).filter(|_| !core::mem::take(&mut self.revived)) else {
            // Once more when it is looked at again.
            self.sweeps.pop_front();
            return self.sweep(link, now);
        };
        let mut fields: Vec<&[u8]> = Vec::new();
        for pair in pairs.chunks_exact(2) {
            if let (Some(field), Some(record)) = (pair[0].bytes(), pair[1].text())
                && node_of(record).as_deref() == Some(&*sweep.node)
                && (sweep.node != self.node || pair[0].text().is_none_or(|name| hub.find_session(name).is_none()))
            {
                fields.push(field);
            }
        }
        if let Some(source) = sweep.sources.last()
            && !fields.is_empty()
        {
            let key = self.keys.online(source);
            link.command(&[&[b"HDEL", key.as_bytes()], fields.as_slice()].concat(), Tag::Write, now);
        }
        if cursor == b"0" {
            sweep.sources.pop();
        }
        sweep.cursor = cursor;
        self.sweep(link, now);
    }

    /// Relay takes its leave.
    pub fn leave(&mut self) {
        self.leaving = Leaving::Wanted;
    }

    /// Whether it does.
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// Whether Redis knows nothing of us any more.
    pub fn has_left(&self, hub: &Hub) -> bool {
        self.leaving == Leaving::Told && self.unconfirmed == 0 && !hub.roster.has_changes()
    }

    fn say_farewell(&mut self, link: &mut Link<Tag>, now: Time) {
        let (alive, nodes) = (self.keys.alive(&self.node), self.keys.nodes());
        self.unconfirmed += 2;
        link.command(&[b"HDEL", nodes.as_bytes(), self.node.as_bytes()], Tag::Batch, now);
        link.command(&[b"DEL", alive.as_bytes()], Tag::Batch, now);
    }
}

/// What a relay says of itself.
pub fn describe(hub: &Hub, now: Now) -> String {
    let mut out = vec![b'{'];
    let mut line = Line::within(&mut out);
    line.text("server_ip", hub.siblings.ip());
    line.text("version", env!("CARGO_PKG_VERSION"));
    line.shown("uptime", now.time.micros() / 1_000_000);
    line.shown("sessions", hub.session_count());
    line.shown("rooms", hub.room_count());
    line.raw("sources", |out| {
        out.push(b'{');
        for (index, (name, sessions, _)) in hub.tenants().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // A source's name has nothing that JSON would have to escape.
            out.extend_from_slice(format!("{comma}\"{name}\":{sessions}").as_bytes());
        }
        out.push(b'}');
    });
    out.push(b'}');
    String::from_utf8(out).expect("made of text")
}

/// The parts of a reply to HSCAN: where to go on, and fields with values.
pub fn scanned(reply: Reply) -> Option<(Vec<u8>, Vec<Reply>)> {
    let mut parts = reply.array()?.into_iter();
    let cursor = parts.next()?.bytes()?.to_vec();
    Some((cursor, parts.next()?.array()?))
}

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The sources that a relay says it has.
fn sources(info: &str) -> Vec<Box<str>> {
    let fields: Object<'_> = serde_json::from_str(info).unwrap_or_default();
    let sources = fields.get("sources").and_then(|raw| serde_json::from_str::<Object<'_>>(raw.get()).ok());
    sources.unwrap_or_default().into_keys().map(|name| name.into()).collect()
}

/// The relay whose session a record is.
fn node_of(record: &str) -> Option<String> {
    let fields: Object<'_> = serde_json::from_str(record).ok()?;
    serde_json::from_str(fields.get("node")?.get()).ok()
}

/// Changes of a batch, in sessions: some 80 kB.
const BATCH: usize = 200;
/// How long a first change waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// Heartbeats that a relay may miss.
const LIVES: u32 = 4;
/// Seconds that lists stay without a relay or server that writes them, as with the old server.
const EXPIRES: &[u8] = b"43200";
/// Heartbeats from a connection's beginning until our own records are looked through.
const REVIEW: u32 = 5;
/// How often that is put off.
const RENEWAL: Duration = Duration::from_secs(600);
/// Milliseconds that one relay has to clear up after another.
const LOCKED: &[u8] = b"60000";
/// From an old server's word that it starts until its deletions are surely done.
const AFTER_START: Duration = Duration::from_millis(1500);
/// Relays that are listened to.
const MOST_RELAYS: usize = 1024;
/// Bytes of what a relay says of itself.
const LONGEST_INFO: usize = 1024 * 1024;
