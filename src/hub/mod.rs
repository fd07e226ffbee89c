//! What relay means: who is connected, who is in which room, what a login, a message and a notification do. No socket,
//! no clock, no file: what the hub wants of the world it says as an [`Effect`], and what it wants sent it puts into its
//! clients' outboxes.

pub mod asks;
pub mod broadcast;
pub mod carrier;
pub mod census;
pub mod client;
pub mod emission;
pub mod event;
pub mod hooks;
pub mod inquiry;
pub mod journal;
pub mod login;
pub mod presence;
pub mod refresh;
pub mod refusal;
pub mod room;
pub mod roster;
pub mod rules;
pub mod siblings;
pub mod sid;
pub mod socketio;
pub mod space;
pub mod stats;
pub mod users;
pub mod wire;

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use smallvec::SmallVec;

use self::{
    asks::Asks,
    broadcast::Message,
    carrier::Carrier,
    census::Census,
    client::{Agents, Membership},
    hooks::Asking,
    journal::{Journal, Line},
    presence::Today,
    room::{Member, Room, RoomTable},
    roster::Roster,
    siblings::Siblings,
    sid::Sids,
    space::Space,
};
pub use self::{
    broadcast::{Data, MessageId},
    client::{Client, Form, Session},
    login::Login,
    refusal::Refusal,
    space::{MAIN, SpaceId},
    stats::Stats,
};
use crate::{
    clock::Now,
    config::{Auth, Config, Source},
    frame::{Opcode, Run, Turn},
    hooks::Health,
    key::{ClientKey, ConnKey, Handle, SessionKey, Slots},
    names::{RoomId, Rooms},
    outbox::{Outbox, Overflow, Queued},
    sign::{Policy, Signature, Subject},
    websocket::Close,
};

/// All of relay's state that is about meaning.
pub struct Hub {
    config: Rc<Config>,
    /// The namespaces, `/` first; a place is never taken by another.
    spaces: Vec<Space>,
    asks: Asks,
    asking: Asking,
    sids: Sids,
    /// Clients whose engines may be due earlier than they were.
    rearm: Vec<ClientKey>,
    /// In the order they were first configured; a place is never taken by another tenant.
    tenants: Vec<Tenant>,
    by_name: HashMap<Box<str>, u16>,
    clients: Slots<ClientKey, Client>,
    sessions: Slots<SessionKey, Session>,
    agents: Agents,
    turn: Turn,
    /// Lent to every write of several segments.
    scratch: Vec<u8>,
    last_id: MessageId,
    dirty: Vec<ClientKey>,
    pressed: bool,
    effects: VecDeque<Effect>,
    /// How the business backend does.
    pub backend: Health,
    /// What happened so far.
    pub stats: Stats,
    /// The message log's lines on their way to the disk.
    pub journal: Journal,
    /// What siblings are told.
    pub siblings: Siblings,
    /// What Redis is told of who is here.
    pub roster: Roster,
    /// What Redis says of who is at all relays.
    pub census: Census,
}

struct Tenant {
    name: Rc<str>,
    /// None: it was taken out of the configuration, or never stood there.
    source: Option<Source>,
    /// Whether a namespace lets anybody into it.
    open: bool,
    /// By namespace: those of two never meet, except for what backends send.
    rooms: Vec<RoomTable>,
    today: Today,
}

/// A tenant that is configured: what [`Hub::tenant`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantId(u16);

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// A backend's, by HTTP.
    Backend,
    /// A client's.
    Session(SessionKey),
    /// Relay's own: somebody has gone.
    Relay,
    /// It came over Redis.
    Sibling,
}

/// What the world must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End this client's session with [`Hub::end`], and its connection once its outbox is empty.
    Close {
        /// Whom.
        client: ClientKey,
        /// Why.
        close: Close,
    },
    /// This plain WebSocket client, which waited for it, is let in.
    Admit {
        /// Whom.
        client: ClientKey,
    },
    /// It is not.
    Refuse {
        /// Whom.
        client: ClientKey,
        /// Why, in words.
        why: Box<str>,
    },
}

impl Hub {
    /// An empty hub; `first` is the message id before its first, and `secret` makes the names of its sessions.
    pub fn new(config: Rc<Config>, first: MessageId, secret: [u8; 32]) -> Hub {
        let mut hub = Hub {
            config: Rc::default(),
            spaces: Vec::new(),
            asks: Asks::default(),
            asking: Asking::default(),
            sids: Sids::new(secret),
            rearm: Vec::new(),
            tenants: Vec::new(),
            by_name: HashMap::new(),
            clients: Slots::new(),
            sessions: Slots::new(),
            agents: Agents::default(),
            turn: Turn::new(),
            scratch: Vec::new(),
            last_id: first,
            dirty: Vec::new(),
            pressed: false,
            effects: VecDeque::new(),
            backend: Health::default(),
            stats: Stats::default(),
            journal: Journal::new(!config.message_log.dir.is_empty()),
            siblings: Siblings::default(),
            roster: Roster::default(),
            census: Census::default(),
        };
        hub.reload(config, Now::default());
        hub
    }

    /// Takes new limits, sources, namespaces and rules. Sessions of a source or namespace that is gone are closed; a key
    /// that changed is asked for from the next login on, a rule from the next event.
    pub fn reload(&mut self, config: Rc<Config>, now: Now) {
        self.config = config;
        self.adopt_spaces();
        for tenant in &mut self.tenants {
            tenant.source = self.config.sources.get(&*tenant.name).cloned();
        }
        let sources = self.config.clone();
        for (name, source) in &sources.sources {
            let index = self.enlist(name);
            self.tenants[index as usize].source = Some(source.clone());
        }
        for space in 0..self.spaces.len() {
            if !self.spaces[space].gone && self.spaces[space].config.auth != Auth::Sign {
                let name = self.spaces[space].open_source().to_owned();
                let index = self.enlist(&name);
                self.tenants[index as usize].open = true;
            }
        }
        self.index_users();
        let gone = |session: &Session| {
            let space = &self.spaces[session.space as usize];
            space.gone || space.config.auth == Auth::Sign && self.tenants[session.tenant as usize].source.is_none()
        };
        let keys: Vec<_> = self.sessions.iter().filter(|(_, session)| gone(session)).map(|(key, _)| key).collect();
        for key in keys {
            self.expel(key, Close::SOURCE_GONE, now);
        }
    }

    /// Ends a session from this side: a client of Socket.IO stays in its other namespaces.
    pub fn expel(&mut self, key: SessionKey, close: Close, now: Now) {
        let Some(client) = self.sessions.get(key).map(|session| session.client) else { return };
        match self.is_socketio(client) {
            true => self.disconnect(key, now),
            false => self.close(client, close),
        }
    }

    /// The tenant of that name, made if there is none.
    fn enlist(&mut self, name: &str) -> u16 {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = u16::try_from(self.tenants.len()).expect("a configuration has fewer than 65,536 sources");
        let rooms = self.spaces.iter().map(|_| RoomTable::default()).collect();
        self.tenants.push(Tenant { name: name.into(), source: None, open: false, rooms, today: Today::default() });
        self.by_name.insert(name.into(), index);
        index
    }

    /// The configuration in force.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// The tenant of that name.
    pub fn tenant(&self, name: &str) -> Result<TenantId, Refusal> {
        if name.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        let index = *self.by_name.get(name).ok_or(Refusal::SourceUnknown)?;
        self.tenants[index as usize].source.as_ref().ok_or(Refusal::SourceUnknown)?;
        Ok(TenantId(index))
    }

    /// Whether the tenant's key holder signed `subject`.
    pub fn verify(&self, tenant: TenantId, subject: &Subject<'_>, signature: &Signature<'_>, now: Now) -> bool {
        let Some(source) = &self.tenants[tenant.0 as usize].source else { return false };
        let key = source.sign_key.expose().as_bytes();
        let policy = Policy { key, schemes: &source.sign, window: self.config.sign_window.as_secs(), unix: now.unix };
        subject.verify(signature, &policy)
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Now) {
        self.journal.begin_turn(now);
    }

    /// Publishes a backend's message to rooms in their order: every member connected has it in its outbox when this
    /// returns, and the message log has taken it.
    pub fn publish(&mut self, tenant: TenantId, rooms: &Rooms<'_>, data: Data<'_>, filename: &str) -> MessageId {
        let names: SmallVec<[&str; 2]> = rooms.iter().map(RoomId::as_str).collect();
        self.publish_from(By::Backend, tenant.0, &names, data, filename)
    }

    /// The same, and for a session's message.
    fn publish_from(&mut self, by: By, tenant: u16, rooms: &[&str], data: Data<'_>, filename: &str) -> MessageId {
        self.last_id = self.last_id.next();
        let id = self.last_id;
        self.spread(by, tenant, rooms, data, filename, id);
        self.roster.count_message(by);
        self.share_message(by, (tenant, rooms), data, filename, id);
        id
    }

    /// Publishes what came from elsewhere to the members that are here, by the name it has or a new one.
    fn publish_here(
        &mut self,
        tenant: TenantId,
        rooms: &[&str],
        data: Data<'_>,
        filename: &str,
        id: Option<MessageId>,
    ) {
        let id = id.unwrap_or_else(|| {
            self.last_id = self.last_id.next();
            self.last_id
        });
        self.spread(By::Sibling, tenant.0, rooms, data, filename, id);
    }

    /// Into the outboxes and the message log.
    fn spread(&mut self, by: By, tenant: u16, rooms: &[&str], data: Data<'_>, filename: &str, id: MessageId) {
        for (part, room) in rooms.iter().enumerate() {
            self.deliver(tenant, room, data, filename, id.part(part));
        }
        let sender = if let By::Session(key) = by { Some(key) } else { None };
        if self.journal.is_on() {
            let socket_id = sender.map(|key| self.sids.socket(key));
            let session = sender.and_then(|key| self.sessions.get(key));
            self.journal.message(&self.tenants[tenant as usize].name, filename, id, |line: &mut Line<'_>| {
                line.text("room_id", &rooms.join(","));
                line.some("socket_id", socket_id.as_deref().unwrap_or_default());
                if let Some(session) = session {
                    line.some("userid", session.identity.userid());
                    line.some("username", session.identity.username());
                }
                line.data(data);
            });
        }
    }

    /// To a room's members in all namespaces.
    fn deliver(&mut self, tenant: u16, room: &str, data: Data<'_>, filename: &str, id: MessageId) {
        self.stats.published += 1;
        let Tenant { name, rooms, .. } = &mut self.tenants[tenant as usize];
        for (table, space) in rooms.iter_mut().zip(&self.spaces) {
            let Some(index) = table.find(room) else { continue };
            let message = Message { source: name, room, data, id, filename, namespace: &space.name };
            let Room { members, batches, .. } = table.room_mut(index);
            let cap = self.config.limits.unsent as usize;
            // By form, and the one of the last member, which mostly is the next one's; a message's frame is never empty.
            let mut frames = [Run::default(); Form::COUNT];
            let (mut form, mut frame) = (None, Run::default());
            let (mut left_out, mut pressed) = (0, false);
            for member in &*members {
                let Some(client) = self.clients.get_mut_if(member.client, |client| !client.ending) else {
                    left_out += 1;
                    continue;
                };
                if form != Some(member.form) {
                    let known = &mut frames[member.form as usize];
                    if known.is_empty() {
                        *known = message.open(member.form, &mut self.turn, batches);
                        pressed |= known.len() > cap / 2;
                    }
                    (form, frame) = (Some(member.form), *known);
                }
                match client.outbox.push(frame, cap) {
                    Ok(Queued::Alone) => {}
                    Ok(Queued::Behind) => pressed |= client.outbox.bytes() > cap / 2,
                    Err(Overflow) => {
                        left_out += 1;
                        client.ending = true;
                        self.stats.slow_consumers += 1;
                        self.effects.push_back(Effect::Close { client: member.client, close: Close::SLOW });
                        continue;
                    }
                }
                if !client.dirty {
                    client.dirty = true;
                    self.dirty.push(member.client);
                }
            }
            self.stats.delivered += (members.len() - left_out) as u64;
            self.pressed |= pressed;
        }
    }

    /// Queues a frame for one client.
    pub fn send(&mut self, key: ClientKey, opcode: Opcode, payload: &[u8]) {
        let frame = self.turn.single(opcode, |out| out.extend_from_slice(payload));
        self.queue(key, frame);
    }

    /// Queues bytes that already are what the client's transport sends.
    pub fn send_raw(&mut self, key: ClientKey, bytes: &[u8]) {
        let frame = self.turn.single_raw(bytes);
        self.queue(key, frame);
    }

    fn queue(&mut self, key: ClientKey, frame: Run) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        if client.outbox.push(frame, self.config.limits.unsent as usize).is_err() {
            client.ending = true;
            self.stats.slow_consumers += 1;
            self.effects.push_back(Effect::Close { client: key, close: Close::SLOW });
        }
        self.mark_dirty(key);
    }

    /// Asks the world to close a client; until then nothing is queued for it any more.
    pub fn close(&mut self, key: ClientKey, close: Close) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        client.ending = true;
        self.effects.push_back(Effect::Close { client: key, close });
    }

    /// Takes a client out of its rooms, which hear of it if they want to and `told` says so, and puts `last` behind what
    /// waits for it; a slow one loses what it did not read. The client itself stays until it is [removed](Hub::remove).
    pub fn end(&mut self, key: ClientKey, last: Option<Close>, told: bool) {
        self.leave_all(key, told);
        let polling = self.is_polling(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.ending = true;
        if let Some(close) = last {
            if close == Close::SLOW {
                client.outbox.abandon(&self.turn);
            }
            client.outbox.force(match polling {
                // The end of a session on a poll: "close", or a noop for who asked for it. Also when relay stops: clients in
                // Python take a close for a word to stay away; with a noop they poll again, fail, and come back.
                true => {
                    let noop = close == Close::ASKED || close == Close::GOING_AWAY;
                    self.turn.single(Opcode::Text, |out| out.push(if noop { b'6' } else { b'1' }))
                }
                false => self.turn.single(Opcode::Close, |out| out.extend(close.payload())),
            });
            self.mark_dirty(key);
        }
    }

    /// Forgets a client whose connection is gone. `told` says whether its rooms hear of it.
    pub fn remove(&mut self, key: ClientKey, told: bool) {
        self.leave_all(key, told);
        if let Some(socket) = self.clients.remove(key).and_then(|client| client.socket) {
            self.agents.release(socket.into_agent());
        }
    }

    fn leave_all(&mut self, key: ClientKey, told: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let session = client.session.take();
        let sessions = client.socket.as_mut().map(|socket| core::mem::take(&mut socket.sessions)).unwrap_or_default();
        for session in session.into_iter().chain(sessions.into_iter().map(|(_, session)| session)) {
            self.leave_session(session, told);
        }
    }

    /// Ends a session; its client still has to forget it.
    fn leave_session(&mut self, session: SessionKey, told: bool) {
        let Some(gone) = self.sessions.get(session) else { return };
        if gone.pending {
            // Nobody has seen it.
            if let Some(gone) = self.sessions.remove(session) {
                self.agents.release(gone.identity.into_agent());
            }
            return;
        }
        self.tell_of_end(session, self.journal.now());
        self.strike(session);
        let Some(gone) = self.sessions.get(session) else { return };
        let (tenant, rooms) = (gone.tenant, self.room_names(gone));
        let seconds = self.journal.now().unix.saturating_sub(gone.identity.since());
        self.record_visit("disconnect", session, Some(seconds));
        while let Some(session_rooms) =
            self.sessions.get(session).map(|session| &session.rooms).filter(|rooms| !rooms.is_empty())
        {
            let last = session_rooms.len() - 1;
            self.leave_slot(session, last);
        }
        let Some(gone) = self.sessions.remove(session) else { return };
        if let Some(users) = &mut self.spaces[gone.space as usize].users {
            users.forget(session);
        }
        if gone.watch_quit && told {
            let username = gone.identity.username();
            let mut quit = b"{\"username\":".to_vec();
            broadcast::string(&mut quit, username);
            quit.extend_from_slice(b",\"key\":\"user_quit\",\"msg\":");
            broadcast::string(&mut quit, &format!("{username}退出群聊"));
            quit.push(b'}');
            let quit = String::from_utf8(quit).expect("made of strings");
            let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
            if !rooms.is_empty() {
                self.publish_from(By::Relay, tenant, &rooms, Data::Json(&quit), "");
            }
        }
        self.agents.release(gone.identity.into_agent());
    }

    fn room_names(&self, session: &Session) -> Vec<Rc<str>> {
        let table = &self.tenants[session.tenant as usize].rooms[session.space as usize];
        session.rooms.iter().map(|membership| table.room(membership.room).id.clone()).collect()
    }

    /// Adds a session to a room, once.
    fn join(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let table = &mut self.tenants[session.tenant as usize].rooms[session.space as usize];
        let already = table.find(room.as_str());
        if already.is_some_and(|index| session.rooms.iter().any(|membership| membership.room == index)) {
            return;
        }
        let slot = u16::try_from(session.rooms.len()).expect("rooms per session are bounded by 65,535");
        let (room, place) =
            table.join(room.as_str(), Member { client: session.client, session: key, slot, form: session.form });
        session.rooms.push(Membership { room, place });
        self.announce(key);
    }

    /// Takes a session out of a room it is in.
    fn leave(&mut self, key: SessionKey, room: RoomId<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let index = self.tenants[session.tenant as usize].rooms[session.space as usize].find(room.as_str());
        let slot = session.rooms.iter().position(|membership| Some(membership.room) == index);
        if let Some(slot) = slot {
            self.leave_slot(key, slot);
        }
    }

    fn leave_slot(&mut self, key: SessionKey, slot: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Membership { room, place } = session.rooms.swap_remove(slot);
        let table = &mut self.tenants[session.tenant as usize].rooms[session.space as usize];
        if let Some(filled) = session.rooms.get(slot) {
            table.renumber(filled.room, filled.place, slot as u16);
        }
        if let Some(moved) = table.leave(room, place)
            && let Some(other) = self.sessions.get_mut(moved.session)
        {
            other.rooms[moved.slot as usize].place = place;
        }
        self.announce(key);
    }

    /// Puts a client among those to be flushed: something waits for it, or its socket takes bytes again.
    pub fn mark_dirty(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key).filter(|client| !client.dirty) {
            client.dirty = true;
            self.dirty.push(key);
        }
    }

    /// What carries a client takes bytes again.
    pub fn handle_writable(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.reprieve();
        }
        self.mark_dirty(key);
    }

    /// The next thing the world must do. Carrying it out may bring more.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether there are effects to carry out, calls to send, or clients to flush.
    pub fn has_work(&self) -> bool {
        !self.effects.is_empty() || !self.dirty.is_empty() || self.asking.has_calls()
    }

    /// Whether some outbox is so full that it should be flushed before anything else is handled: a reader that keeps up
    /// must not look slow because many large messages came in one turn.
    pub fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// The clients with something to send, in slot order, which is the order of their memory and of the kernel's. Each
    /// is named once, and not again before it was flushed: [flush](Hub::flush) each of them, then
    /// [end the turn](Hub::end_turn).
    pub fn poll_dirty(&mut self, into: &mut Vec<ClientKey>) {
        into.clear();
        core::mem::swap(&mut self.dirty, into);
        self.pressed = false;
        if !into.is_sorted_by_key(|key| key.key().index()) {
            into.sort_unstable();
        }
    }

    /// What carries a client.
    pub fn conn(&self, key: ClientKey) -> Option<ConnKey> {
        self.clients.get(key).and_then(|client| client.conn)
    }

    /// Writes what waits for a client that a socket carries, with `write`, which has that socket; what brings another
    /// client its messages is for the caller to see. One look at the client where most writes are.
    #[inline]
    pub fn flush(&mut self, key: ClientKey, write: impl FnOnce(ConnKey, &mut Outbox, &Turn, &mut Vec<u8>)) -> Carrier {
        let Some(client) = self.clients.get_mut(key) else { return Carrier::Nothing };
        client.dirty = false;
        let carrier = client.carrier();
        if let Carrier::Socket(conn) = carrier {
            write(conn, &mut client.outbox, &self.turn, &mut self.scratch);
        }
        carrier
    }

    /// Nothing of this turn's frames is needed any more: every dirty client was flushed.
    pub fn end_turn(&mut self) {
        debug_assert!(self.dirty.is_empty(), "somebody was given a frame while the turn was being flushed");
        self.turn.end();
    }

    /// Clients there are, whether they are in a namespace or not.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Rooms somebody is in.
    pub fn room_count(&self) -> usize {
        self.tenants.iter().map(Tenant::room_count).sum()
    }

    /// Every configured tenant: its name, sessions and rooms.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        let mut counts = vec![0; self.tenants.len()];
        self.sessions.iter().for_each(|(_, session)| counts[session.tenant as usize] += 1);
        let configured = self.tenants.iter().zip(counts).filter(|(tenant, _)| tenant.source.is_some() || tenant.open);
        configured.map(|(tenant, sessions)| (&*tenant.name, sessions, tenant.room_count()))
    }

    /// Every client, for who takes leave of them all.
    pub fn client_keys(&self) -> Vec<ClientKey> {
        self.clients.keys()
    }

    /// Takes so many messages of a client's rate; whether they may pass.
    fn take_rate(&mut self, key: ClientKey, count: u64, now: Now) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        client.rate.take(count, &self.config.limits, now.time)
    }
}

impl Tenant {
    fn room_count(&self) -> usize {
        self.rooms.iter().map(RoomTable::len).sum()
    }
}
