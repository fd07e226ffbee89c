//! Sessions that come back (docs/protocol.md, Return): who is the same as a session that was lost, and what it gets.

#[cfg(feature = "fuzzing")]
use std::collections::HashMap;
use std::{collections::HashSet, rc::Rc};

use super::{Hub, login::Login};
use crate::{
    config::{Auth, Namespace, Offsets, ProofMode, Unknowing},
    engineio::Revision,
    hooks::Kind,
    journal::{More, What},
    key::SessionKey,
    message::{Form, MessageId},
    names::Rooms,
    recovery::{AwaySession, Claim, Known, Recalled},
    state::{NamespaceId, TenantId, track::Proof},
    text::Count,
};
#[cfg(feature = "fuzzing")]
use crate::{
    history::walk::{Tail, Walks},
    key::ClientKey,
};

impl Hub {
    /// Whether lost sessions are kept.
    fn keeps_sessions(&self) -> bool {
        self.history.is_on() && !self.config().recovery.window.is_zero()
    }

    /// What a login says about where its client was. If it names a session that is there, the new one takes over its name.
    pub(super) fn claim(&mut self, key: SessionKey, login: &Login<'_>) -> Claim {
        let mut claim = Claim { since: login.since, proxied: login.proxied, ..Claim::default() };
        if !self.keeps_sessions() || claim.since.is_some() {
            return claim;
        }
        claim.agent = self.returns.hash(&(login.referer, login.user_agent));
        claim.list = self.returns.hash(login.room_ids);
        claim.user = self.returns.hash(login.userid);
        let auth =
            self.state.sessions.get(key).map(|session| self.state.namespaces[session.namespace as usize].config.auth);
        // In other namespaces nobody has checked them.
        claim.is_proven = auth == Some(Auth::Sign) && (!login.jwt.is_empty() || login.signature.binds_user());
        let offset = MessageId::parse(login.offset);
        claim.recalled = self.recall(key, login.pid, claim.user, offset);
        let offsets = self.config().recovery.offsets;
        let knows = offsets == Offsets::All || (offsets == Offsets::Known && claim.recalled.is_some());
        if knows && login.form == Form::SocketIo4 {
            self.state.set_form(key, Form::SocketIo4Offset);
        }
        claim
    }

    /// Finds the session with a `pid`, and gives its name to a new one. `None` if it is not there, or if messages are missing:
    /// then the client gets another `pid`, from which it knows that.
    fn recall(&mut self, key: SessionKey, pid: &str, user: u64, offset: Option<MessageId>) -> Option<Recalled> {
        let name = self.state.sids.find_private(pid)?;
        let (tenant, namespace) = {
            let session = self.state.sessions.get(key)?;
            (session.tenant, session.namespace)
        };
        let old = self.state.session_named(name);
        if let Some(session) = self.state.sessions.get(old).filter(|session| !session.pending) {
            let track = self.state.tracks.get(session.client)?;
            let is_same = (session.tenant, session.namespace) == (tenant, namespace);
            let is_user = self.returns.live.get(old).is_some_and(|known| known.user == user);
            // It has at least what is proven.
            let rooms = self.state.room_names(session);
            if !is_same || !is_user || !self.is_whole(tenant, &rooms, track.proven()) {
                return None;
            }
            self.state.take_name(key, name);
            return Some(Recalled::Live { session: old, offset });
        }
        let away = self.returns.away.get(name)?;
        let position = self.moved(away, offset);
        let is_same = (away.tenant, away.namespace, away.user) == (tenant, namespace, user);
        if !is_same || !self.is_whole(tenant, &away.rooms, position) {
            return None;
        }
        let away = self.returns.away.remove(name)?;
        self.history.reserve(self.returns.away.bytes());
        self.state.take_name(key, name);
        Some(Recalled::Away(Box::new(AwaySession { position, ..away })))
    }

    /// The position of a session that is away, moved forward to the last message that its client says it has.
    pub(super) fn moved(&self, away: &AwaySession, offset: Option<MessageId>) -> u64 {
        let rooms: Vec<&str> = away.rooms.iter().map(|room| &**room).collect();
        let known = offset.and_then(|id| self.history.stamp_of(away.tenant, &rooms, id));
        known.map_or(away.position, |stamp| stamp.min(self.state.ids.last()).max(away.position))
    }

    /// Looks once more whether a session that takes over another gets all that it has missed, because the backend has taken its
    /// time to decide. If not, it gets a name of its own.
    pub(crate) fn check_recalled(&mut self, key: SessionKey) {
        let Some(claim) = self.claims.get_mut(&key) else { return };
        let Some(Recalled::Away(away)) = claim.recalled.take() else { return };
        if self.is_whole(away.tenant, &away.rooms, away.position) {
            if let Some(claim) = self.claims.get_mut(&key) {
                claim.recalled = Some(Recalled::Away(away));
            }
            return;
        }
        self.state.drop_name(key);
        self.returns.away.add(*away);
    }

    fn is_whole(&self, tenant: TenantId, rooms: &[Rc<str>], position: u64) -> bool {
        let kept = |room: &&Rc<str>| self.history.has_rule(&self.state, tenant, room);
        rooms.iter().filter(kept).all(|room| self.history.is_whole(&self.state, tenant, room, position))
    }

    /// Begins an admitted session: welcomes it, and gives it what it has missed. Returns whether no message since the position
    /// that it has named is missing.
    pub(crate) fn begin_session(&mut self, key: SessionKey) -> bool {
        let claim = self.claims.remove(&key).unwrap_or_default();
        if claim.since.is_some() || !self.keeps_sessions() {
            return self.begin_history(key, claim.since);
        }
        self.state.settle_name(key);
        let Some(session) = self.state.sessions.get(key) else { return true };
        if !session.form.is_socketio() {
            self.state.greet(key, self.history.id_at(self.state.ids.last()));
        }
        self.replays.follow(&mut self.state, key);
        match self.start(key, claim) {
            Start::New => self.send_newest_values(key),
            Start::Resumed(away, has_pid) => self.resume(key, *away, has_pid),
            Start::Waits => {}
        }
        true
    }

    /// Finds out whether a session goes on with one that was lost.
    fn start(&mut self, key: SessionKey, claim: Claim) -> Start {
        // What was answered before must not count as an answer to this one.
        self.hear_answers();
        let Some(session) = self.state.sessions.get(key) else { return Start::New };
        let (client, tenant, form) = (session.client, session.tenant, session.form);
        let names = self.state.room_names(session);
        if claim.recalled.is_none() && !names.iter().any(|room| self.history.has_rule(&self.state, tenant, room)) {
            return Start::New;
        }
        let userid = session.identity.userid();
        let unknowing = self.unknowing(tenant) != Unknowing::No && !userid.is_empty();
        let version = form.revision().map(|revision| revision == Revision::V4);
        // Who does not prove that it is a user is nobody who did.
        let who = (tenant, session.namespace, userid, claim.is_proven, claim.agent, claim.list, version);
        let identity = unknowing.then(|| self.returns.hash(&who));
        let has_pid = form.revision() == Some(Revision::V4);
        if identity.is_none() && !has_pid {
            return Start::New;
        }
        let ip = session.identity.ip();
        self.state.tracks.begin(client, self.state.ids.last(), self.proof(tenant, claim.proxied));
        if form.is_stream()
            && let Some(track) = self.state.tracks.get_mut(client)
        {
            // It cannot show a sign of life.
            track.alive = true;
        }
        self.state.ask(client);
        let others = identity.map(|identity| self.others(identity, ip, client)).unwrap_or_default();
        self.returns.live.add(
            key,
            Known { identity, list: claim.list as u32, user: claim.user, is_proven: claim.is_proven },
            ip,
        );
        match claim.recalled {
            Some(Recalled::Away(away)) => return Start::Resumed(away, true),
            Some(Recalled::Live { session, offset }) => return self.replace(key, session, offset),
            None => {}
        }
        let Some(identity) = identity else { return Start::New };
        let is_alive = self.state.tracks.get(client).is_some_and(|track| track.alive);
        if others.is_empty() && is_alive {
            return self
                .returns
                .away
                .take(identity, ip)
                .map_or(Start::New, |away| Start::Resumed(Box::new(away), false));
        }
        if others.is_empty() && !self.returns.away.has(identity, ip) {
            return Start::New;
        }
        self.returns.asking.begin(key, None);
        others.into_iter().for_each(|other| self.ask(other, key));
        if !is_alive {
            self.returns.asking.ask_itself(client, key);
            self.state.expect_life(client);
        }
        self.replays.hold(&mut self.state, client);
        Start::Waits
    }

    /// Ends the live session that a new one goes on with: only its own page knows its `pid`.
    fn replace(&mut self, key: SessionKey, old: SessionKey, offset: Option<MessageId>) -> Start {
        let name = self.state.name_of(key);
        let Some(client) = self.state.sessions.get(old).map(|session| session.client) else {
            // It was lost meanwhile.
            return match self.returns.away.remove(name) {
                Some(away) => {
                    let position = self.moved(&away, offset);
                    Start::Resumed(Box::new(AwaySession { position, ..away }), true)
                }
                None => Start::New,
            };
        };
        let Some(own) = self.state.sessions.get(key).map(|session| session.client) else { return Start::New };
        if own == client {
            return Start::New;
        }
        self.returns.asking.begin(key, Some((name, offset)));
        self.returns.asking.ask(client, key, self.state.now.time.after(self.config().recovery.hold));
        self.state.lose(client);
        self.replays.hold(&mut self.state, own);
        Start::Waits
    }

    fn proof(&self, tenant: TenantId, proxied: bool) -> Proof {
        let source = self.state.tenants[tenant.index()].source.as_ref();
        match source.and_then(|source| source.proof).unwrap_or(self.config().recovery.proof) {
            ProofMode::Auto if proxied => Proof::Pong,
            ProofMode::Auto | ProofMode::Tcp => Proof::Tcp,
            ProofMode::Pong => Proof::Pong,
        }
    }

    /// Gives a session the place of one that was lost, and what was published since then.
    pub(super) fn resume(&mut self, key: SessionKey, away: AwaySession, has_pid: bool) {
        self.history.reserve(self.returns.away.bytes());
        self.join_rooms_of(key, &away, has_pid);
        let Some(session) = self.state.sessions.get(key) else { return };
        let (client, tenant, names) = (session.client, session.tenant, self.state.room_names(session));
        // While it waited, it got nothing of its rooms.
        let begun = self.replays.position(client, key).unwrap_or(self.state.ids.last());
        // The other one may have got more meanwhile.
        let away = AwaySession { position: away.position.min(begun), ..away };
        let (mut told, mut joined) = (Vec::new(), Vec::new());
        let before: HashSet<&str> = away.rooms.iter().map(|room| &**room).collect();
        for (membership, name) in session.rooms.iter().zip(&names) {
            if !before.contains(&**name) {
                joined.push((membership.room, begun));
            }
            told.push((membership.room, self.history.floors(&self.state, tenant, name)));
        }
        let common: Vec<Rc<str>> = names.iter().filter(|name| before.contains(&***name)).cloned().collect();
        let is_missing = |room: &&Rc<str>| !self.is_whole(tenant, core::slice::from_ref(*room), away.position);
        let missing: Vec<&str> = common.iter().filter(is_missing).map(|room| &**room).collect();
        match missing.is_empty() {
            true => self.state.stats.returned += 1,
            // Pages that do not know of it are not told.
            false => self.state.stats.returned_with_gaps += 1,
        }
        let rooms: Vec<&str> = common.iter().map(|name| &**name).collect();
        let missed = self.history.count_after(&self.state, tenant, &rooms, away.position);
        self.state.stats.repeated += missed as u64;
        if let Some(track) = self.state.tracks.get_mut(client) {
            track.go_back(away.position);
            joined.iter().for_each(|(room, stamp)| track.note_joined(key, *room, *stamp));
        }
        self.replays.begin(&mut self.state, key, away.position, told.into_iter().collect());
        self.replays.set_joined(client, key, joined);
        self.replays.release(client);
        if self.state.tracks.get(client).is_some_and(|track| !track.alive) {
            // The answer to the question at its login does not count any more.
            self.state.ask(client);
        }
        let count = u32::try_from(missed).unwrap_or(u32::MAX);
        self.state.write_journal(key, What::Returned, More { stamp: away.position, count, ..More::default() });
        self.state.trace_session(
            key,
            format_args!(
                "goes on in the place of a session that was lost; {} again, after number {}",
                Count(missed as u64, "message"),
                away.position
            ),
        );
        self.state.note_gaps(key, &missing);
        self.record_return(key, missed);
    }

    /// Joins the rooms that a lost session had joined after its login, if the new login names the same rooms and has a right to
    /// them. `has_pid` says whether it is the same client for sure.
    fn join_rooms_of(&mut self, key: SessionKey, away: &AwaySession, has_pid: bool) {
        let Some(session) = self.state.sessions.get(key) else { return };
        let Some(known) = self.returns.live.get(key).filter(|known| known.list == away.list) else { return };
        let grant = self.state.grants.get(key).filter(|grant| grant.rooms.is_some());
        if self.hooks.has_hook(&self.state, session.namespace, Kind::Connect) {
            // The backend decides about rooms at each login.
            return;
        }
        let joins_freely = self.state.namespaces[session.namespace as usize].config.join;
        // A signature for a room was for this user or this client. What a token allowed needs a token.
        let is_signed = !away.had_token && known.user == away.user && (has_pid || known.is_proven);
        let allowed = |room: &&str| joins_freely || grant.map_or(is_signed, |grant| grant.allows(room));
        let rooms: Vec<&str> = away.rooms.iter().map(|room| &**room).filter(allowed).collect();
        let most = self.config().limits.rooms_per_session as usize;
        if let Ok(rooms) = Rooms::parse(&rooms.join(","), usize::MAX, 0) {
            self.state.join_all(key, &rooms, most);
        }
    }

    /// Forgets that a session might be kept, because it ends.
    pub(crate) fn forget_return(&mut self, key: SessionKey) {
        self.returns.live.remove(key);
        let client = self.state.sessions.get(key).map(|session| session.client);
        if self.returns.asking.cancel(key)
            && let Some(client) = client
        {
            self.replays.release(client);
        }
        // Its login was not admitted in the end: what it was to go on with stays away.
        if let Some(Claim { recalled: Some(Recalled::Away(away)), .. }) = self.claims.remove(&key) {
            self.returns.away.add(*away);
            self.keep_away_budget();
        }
    }

    /// Gives up the lost sessions of a user or of that name, in one source or in all, because an operator sends it away.
    pub(crate) fn expel_away(&mut self, source: Option<TenantId>, userid: Option<&str>, socket_id: Option<&str>) {
        let name = socket_id.and_then(|id| self.state.sids.find_socket(id));
        self.returns.away.forget(|away| {
            let is_meant = userid.is_some_and(|userid| *away.userid == *userid) || name == Some(away.name);
            is_meant && source.is_none_or(|source| source == away.tenant)
        });
        self.history.reserve(self.returns.away.bytes());
    }

    /// Applies a new configuration. `before` has the namespaces before it, `reused` the tenants that
    /// belong to other sources now.
    pub(super) fn configure_returns(&mut self, before: &[(Rc<str>, Rc<Namespace>)], reused: &[TenantId]) {
        let (namespaces, tenants) = (&self.state.namespaces, &self.state.tenants);
        // A stricter namespace would not let them in any more, or not into these rooms.
        let changed: HashSet<NamespaceId> = (0..namespaces.len())
            .filter(|index| {
                let now = &namespaces[*index];
                now.gone || before.get(*index).is_none_or(|(name, config)| *name != now.name || *config != now.config)
            })
            .map(|index| index as NamespaceId)
            .collect();
        let on = self.keeps_sessions_by_configuration();
        let is_gone = |away: &AwaySession| {
            let is_reused = reused.contains(&away.tenant) || !tenants[away.tenant.index()].is_known();
            !on || is_reused || changed.contains(&away.namespace)
        };
        self.returns.away.forget(is_gone);
        for claim in self.claims.values_mut() {
            if matches!(&claim.recalled, Some(Recalled::Away(away)) if is_gone(away)) {
                claim.recalled = None;
            }
        }
        let config = self.config().clone();
        let of_sources = config.sources.values().any(|source| source.unknowing == Some(Unknowing::User));
        self.state.keeps_leavers = of_sources || config.recovery.unknowing == Unknowing::User;
        self.returns.away.configure(config.recovery.window);
    }

    fn keeps_sessions_by_configuration(&self) -> bool {
        self.config().history.is_on() && !self.config().recovery.window.is_zero()
    }

    /// Writes the line of a session that has come back to `client.log`.
    fn record_return(&mut self, key: SessionKey, missed: usize) {
        let Some(session) = self.state.sessions.get(key).filter(|_| self.log.is_on()) else { return };
        self.log.client("returned", |line| {
            line.text("source", &self.state.tenants[session.tenant.index()].name);
            self.state.info(key, session).write(line);
            line.display("missed", missed);
        });
    }
}

/// How a session begins.
enum Start {
    /// It has missed nothing.
    New,
    /// It goes on with a session that was lost, and that it has named by its `pid` or not.
    Resumed(Box<AwaySession>, bool),
    /// It waits for the word of others.
    Waits,
}

#[cfg(feature = "fuzzing")]
impl Hub {
    /// Asserts that sessions that are away are counted right, take no more than their share, and are in no other table unless
    /// they were only silent; that what is remembered in case of a loss is of sessions that are there; and that logins wait, and
    /// are held, only for clients that are asked.
    pub fn check_returns(&self) {
        let returns = &self.returns;
        returns.away.check();
        returns.asking.check();
        assert!(returns.away.bytes() <= self.most_away_bytes(), "sessions that are away take too much");
        for away in returns.away.iter().filter(|away| !returns.away.is_taken(away.name)) {
            let session = self.state.sessions.get(away.name);
            let track = session.map(|session| self.state.tracks.get(session.client));
            assert!(track.is_none_or(|track| track.is_some_and(|track| track.is_aside)), "{:?} is away", away.name);
        }
        for session in returns.live.sessions() {
            let client = self.state.sessions.get(session).expect("a session that may be lost is there").client;
            assert!(self.state.tracks.get(client).is_some(), "the client of {session:?} has a track");
        }
        let mut holds: HashMap<ClientKey, u32> = HashMap::new();
        for waiter in returns.asking.waiting() {
            let session = self.state.sessions.get(waiter).expect("a login that waits is there");
            *holds.entry(session.client).or_default() += 1;
        }
        self.replays.check_holds(&holds);
        self.state.tracks.check();
        let is_there = |client: &ClientKey| self.state.clients.get(*client).is_some();
        assert!(self.state.tracks.keys().all(|client| is_there(&client)), "a track of a client that is gone");
    }

    /// The stamp up to which a lost client has all messages, if its peer has not confirmed the last `bytes` of what was queued
    /// for it. `None` if it has no track.
    pub fn position_of_tail(&self, client: ClientKey, bytes: usize) -> Option<u64> {
        let track = self.state.tracks.get(client)?;
        let tail = Tail { newest: track.cursor().unwrap_or(self.state.ids.last()), bytes };
        Some(Walks::default().position(&self.history, &self.state, client, track, tail))
    }
}
