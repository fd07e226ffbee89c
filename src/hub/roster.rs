//! Who is here, as Redis is told (contract section 10): each session is a record in its source's hash, as with the old
//! server. Changes are gathered here and written in batches; what changes twice before it is written is written once.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    rc::Rc,
};

use super::{By, Hub, TenantId, client::Form, journal::Line};
use crate::{clock::Now, key::SessionKey};

/// What Redis does not know yet.
#[derive(Default)]
pub struct Roster {
    on: bool,
    /// Redis is there: what changes while it is not is looked up when it comes back.
    linked: bool,
    /// Sessions whose records are to be written.
    fresh: VecDeque<SessionKey>,
    /// Records that are to be taken out: source and name.
    gone: Vec<Struck>,
    /// Logins by tenant and username.
    came: BTreeMap<(u16, Box<str>), u64>,
    logins: u64,
    messages: u64,
}

/// A record that is to be taken out: its source and its field.
pub type Struck = (Rc<str>, Box<str>);

/// How a session stands with Redis: one byte in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// There is no record.
    #[default]
    Off,
    /// There will be one.
    Queued,
    /// There is one, or it is on its way.
    Written,
    /// The same, and there will be a newer one.
    Stale,
}

/// What is to be written at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Records: source, field and value.
    pub put: Vec<(Rc<str>, Box<str>, String)>,
    /// Records to be taken out.
    pub gone: Vec<Struck>,
    /// Logins by source and username.
    pub came: Vec<(Rc<str>, Box<str>, u64)>,
    /// Logins at this relay.
    pub logins: u64,
    /// Messages that came in at this relay.
    pub messages: u64,
}

impl Roster {
    /// Whether anybody wants to know.
    pub fn switch(&mut self, on: bool) {
        if on != self.on {
            *self = Roster { on, ..Roster::default() };
        }
    }

    /// Whether there is something to write.
    pub fn has_changes(&self) -> bool {
        !self.fresh.is_empty() || !self.gone.is_empty() || self.logins > 0 || self.messages > 0
    }

    /// Records that were to be taken out and perhaps were not.
    pub fn put_back(&mut self, gone: Vec<Struck>) {
        self.gone.extend(gone);
    }

    /// A message came in here.
    pub(super) fn count_message(&mut self, by: By) {
        self.messages += u64::from(self.on && matches!(by, By::Backend | By::Session(_)));
    }
}

impl Hub {
    /// A session came in.
    pub(super) fn enroll(&mut self, key: SessionKey) {
        if !self.roster.on {
            return;
        }
        let Some(session) = self.sessions.get(key) else { return };
        self.roster.logins += 1;
        let user = (session.tenant, session.identity.username().into());
        if self.roster.came.len() < MOST_NAMES || self.roster.came.contains_key(&user) {
            *self.roster.came.entry(user).or_default() += 1;
        }
        self.announce(key);
    }

    /// Something about a session has changed.
    pub(super) fn announce(&mut self, key: SessionKey) {
        if !self.roster.linked {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.listing = match session.listing {
            Listing::Off => Listing::Queued,
            Listing::Written => Listing::Stale,
            Listing::Queued | Listing::Stale => return,
        };
        self.roster.fresh.push_back(key);
    }

    /// A session goes; it is still there, to be named.
    pub(super) fn strike(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if matches!(mem::take(&mut session.listing), Listing::Written | Listing::Stale) && self.roster.on {
            let source = self.tenants[session.tenant as usize].name.clone();
            self.roster.gone.push((source, self.sids.socket(key).into()));
        }
    }

    /// The link stands: all that is here is to be written.
    pub fn begin_roster(&mut self) {
        self.roster.linked = true;
        self.announce_all();
    }

    /// The link is lost, and `gone` with it. What Redis still knows of us is remembered with each session.
    pub fn end_roster(&mut self, gone: Vec<Struck>) {
        self.roster.linked = false;
        self.roster.gone.extend(gone);
        for key in mem::take(&mut self.roster.fresh) {
            if let Some(session) = self.sessions.get_mut(key) {
                session.listing = match session.listing {
                    Listing::Off | Listing::Queued => Listing::Off,
                    Listing::Written | Listing::Stale => Listing::Written,
                };
            }
        }
    }

    /// Redis may know nothing of us any more: all is written again.
    pub fn announce_all(&mut self) {
        for key in self.admitted().map(|(key, _)| key).collect::<Vec<_>>() {
            self.announce(key);
        }
    }

    /// The next changes to be written, of at most so many sessions.
    pub fn take_batch(&mut self, most: usize, now: Now) -> Batch {
        let mut batch = Batch::default();
        while batch.put.len() < most
            && let Some(key) = self.roster.fresh.pop_front()
        {
            // One that is pending or gone has nothing to be written; what comes later queues itself again.
            let Some(session) = self.sessions.get_mut(key).filter(|session| session.listing != Listing::Off) else {
                continue;
            };
            session.listing = Listing::Written;
            let source = self.tenants[session.tenant as usize].name.clone();
            batch.put.push((source, self.sids.socket(key).into(), self.record(key, now)));
        }
        let gone = self.roster.gone.len().min(most);
        batch.gone = self.roster.gone.drain(..gone).collect();
        let name = |tenant: u16| self.tenants[tenant as usize].name.clone();
        let came = mem::take(&mut self.roster.came).into_iter();
        batch.came = came.map(|((tenant, user), count)| (name(tenant), user, count)).collect();
        batch.logins = mem::take(&mut self.roster.logins);
        batch.messages = mem::take(&mut self.roster.messages);
        batch
    }

    /// A session as the old server wrote it down, field for field, and what a relay adds.
    fn record(&self, key: SessionKey, now: Now) -> String {
        let mut out = vec![b'{'];
        if let Some(session) = self.sessions.get(key) {
            let visitor = self.visitor(key, session);
            let identity = &session.identity;
            let mut line = Line::within(&mut out);
            line.text("socket_id", &visitor.socket_id);
            line.text("source", &self.tenants[session.tenant as usize].name);
            line.some("userid", visitor.userid);
            line.some("username", identity.username());
            line.text("room_ids", &visitor.rooms);
            line.some("referer", &identity.agent().referer);
            line.text("ext_info", identity.ext_info());
            line.text("watch_quit", if session.watch_quit { "1" } else { "" });
            line.text("server_ip", self.siblings.ip());
            line.text("time", &now.local_at(identity.since()).unpadded());
            line.text("nsp", visitor.namespace);
            line.text("protocol", protocol(session.form));
            if let Some(ip) = identity.ip() {
                line.text("ip", &ip.to_string());
            }
            line.some("user_agent", &identity.agent().user_agent);
            line.text("node", self.siblings.node());
        }
        out.push(b'}');
        String::from_utf8(out).expect("made of text")
    }

    /// A session of each source that has one of which Redis should know: the source, and its field.
    pub fn samples(&self) -> Vec<Struck> {
        let mut samples = vec![None; self.tenants.len()];
        for (key, session) in self.sessions.iter().filter(|(_, session)| session.listing == Listing::Written) {
            samples[session.tenant as usize].get_or_insert(key);
        }
        let named = |(tenant, key): (&super::Tenant, Option<SessionKey>)| {
            Some((tenant.name.clone(), self.sids.socket(key?).into()))
        };
        self.tenants.iter().zip(samples).filter_map(named).collect()
    }

    /// How many sessions of each tenant are here, and of how many of them Redis knows.
    fn counts(&self) -> Vec<(u64, u64)> {
        let mut counts = vec![(0, 0); self.tenants.len()];
        for (_, session) in self.sessions.iter() {
            let (here, listed) = &mut counts[session.tenant as usize];
            *here += u64::from(!session.pending);
            *listed += u64::from(matches!(session.listing, Listing::Written | Listing::Stale));
        }
        counts
    }

    /// How many sessions these sources have at all relays, if Redis counts so many.
    pub fn sessions_everywhere<'a>(&self, counted: impl Iterator<Item = (&'a str, u64)>) -> Vec<(&'a str, u64)> {
        let counts = self.counts();
        let all = |(source, counted): (&'a str, u64)| {
            let TenantId(tenant) = self.known_tenant(source)?;
            let (here, listed) = counts[tenant as usize];
            Some((source, counted.saturating_sub(listed) + here))
        };
        counted.filter_map(all).collect()
    }
}

/// What a session speaks, for who looks.
pub fn protocol(form: Form) -> &'static str {
    match form {
        Form::Json => "websocket",
        Form::Text => "websocket text",
        Form::SocketIo3 => "engine.io 3",
        Form::SocketIo4 => "engine.io 4",
    }
}

/// Usernames whose logins wait to be written.
const MOST_NAMES: usize = 10_000;
