//! Replays: clients that get kept messages, each at the pace at which it reads.
//!
//! A client is here while its [mode](Mode) is [`Mode::Behind`]: because it has said which messages it has, or because it was a
//! slow consumer. It gets no message live meanwhile, so that none can overtake those that it has missed. Messages of rooms
//! without history are held back for it.
//!
//! Long because feeding, gaps and what is held back all work on the same cursors.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use smallvec::SmallVec;

use super::{
    recovery::Recovery,
    ring::Floors,
    store::{Cleared, History},
};
use crate::{
    frame::Run,
    journal::{More, What},
    key::{ClientKey, SessionKey},
    message::Form,
    state::{NamespaceId, Session, State, TenantId, client::Mode, room::RoomIndex},
};

/// The clients that are behind.
#[derive(Default)]
pub struct Replays {
    replays: HashMap<ClientKey, Replay>,
    /// Those that may have read most of what was queued for them; the next to be fed is the first. A client that is not here
    /// has not: it comes back when it was [written to](Replays::flushed). So who does not read costs nothing.
    ready: VecDeque<ClientKey>,
}

/// A client that is behind.
#[derive(Default)]
struct Replay {
    /// Whether it is in [`Replays::ready`].
    ready: bool,
    /// How many of its sessions wait for the word of others. Meanwhile it is not fed.
    holds: u32,
    sessions: SmallVec<[Cursor; 1]>,
    /// What it gets after the kept messages, and its bytes.
    held: Vec<Rc<[u8]>>,
    held_bytes: usize,
    /// Whose messages these are.
    held_of: SmallVec<[TenantId; 1]>,
    /// Whether the client has read too slowly.
    is_slow: bool,
}

/// Where a session of such a client stands.
struct Cursor {
    session: SessionKey,
    /// It has all messages up to this stamp.
    stamp: u64,
    /// Rooms in which messages are missing, as the client was told, and which.
    told: HashMap<RoomIndex, Floors>,
    /// Rooms that it has joined since it is behind. Of these it gets the messages after the stamp.
    joined: HashMap<RoomIndex, u64>,
}

impl Cursor {
    fn new(session: SessionKey, stamp: u64) -> Cursor {
        Cursor { session, stamp, told: HashMap::new(), joined: HashMap::new() }
    }

    /// Whether a message with this stamp is from before the session joined its room.
    fn is_before_join(&self, room: RoomIndex, stamp: u64) -> bool {
        self.joined.get(&room).is_some_and(|from| stamp <= *from)
    }
}

/// What sessions with the same rooms, form and position have in common.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    tenant: TenantId,
    namespace: NamespaceId,
    form: Form,
    stamp: u64,
    rooms: SmallVec<[RoomIndex; 2]>,
}

/// Messages after a position.
#[derive(Clone, Copy)]
struct Chunk {
    run: Run,
    count: u64,
    /// The stamp of the last one, or of the newest message of all if there are no more.
    stamp: u64,
    complete: bool,
}

impl Replays {
    /// Whether no client is behind.
    pub fn is_empty(&self) -> bool {
        self.replays.is_empty()
    }

    /// Asserts that exactly the clients that are behind are here, once each, that those that can be fed are ready, and that held
    /// bytes are counted right.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self, state: &State) {
        let is_behind = |key: &ClientKey| state.clients.get(*key).is_some_and(|client| client.mode == Mode::Behind);
        let fallen = state.fallen.iter().map(|(client, _)| *client);
        let mut here: Vec<_> = self.replays.keys().copied().chain(fallen).filter(is_behind).collect();
        here.sort_unstable();
        let mut behind: Vec<_> = state.clients.keys().into_iter().filter(is_behind).collect();
        behind.sort_unstable();
        assert_eq!(here, behind, "clients that are behind");
        for (client, replay) in &self.replays {
            let ready = self.ready.iter().filter(|key| *key == client).count();
            assert_eq!(ready, usize::from(replay.ready), "clients that are ready");
            assert_eq!(replay.held_bytes, replay.held.iter().map(|frames| frames.len()).sum::<usize>(), "held bytes");
        }
    }

    /// Asserts that exactly these clients are held, and how often.
    #[cfg(feature = "fuzzing")]
    pub fn check_holds(&self, holds: &HashMap<ClientKey, u32>) {
        let held = self.replays.iter().filter(|(_, replay)| replay.holds > 0);
        let held: HashMap<ClientKey, u32> = held.map(|(client, replay)| (*client, replay.holds)).collect();
        assert_eq!(held, *holds, "clients that are held");
    }

    /// Whether a client may have read most of what was queued for it, so that [`Replays::feed`] must be called in the next turn,
    /// even if nothing happens.
    pub fn is_hungry(&self, state: &State) -> bool {
        !state.fallen.is_empty() || !self.ready.is_empty()
    }

    /// Gives a session the messages after a stamp. The client was told that `told` are missing.
    pub fn begin(&mut self, state: &mut State, session: SessionKey, stamp: u64, told: HashMap<RoomIndex, Floors>) {
        self.add_fallen(state);
        let Some(client) = state.sessions.get(session).map(|session| session.client) else { return };
        self.add(state, client);
        // The rooms of its login are no rooms that it has joined later.
        state.joins.retain(|(joined, ..)| *joined != session);
        let Some(replay) = self.replays.get_mut(&client) else { return };
        replay.sessions.retain(|cursor| cursor.session != session);
        replay.sessions.push(Cursor { told, ..Cursor::new(session, stamp) });
        let reached = replay.sessions.iter().map(|cursor| cursor.stamp).min();
        if let Some(track) = state.tracks.get_mut(client) {
            track.set_cursor(reached);
        }
    }

    /// Adds a session that has just logged in to a client that is behind: it has all messages so far.
    pub fn follow(&mut self, state: &mut State, session: SessionKey) {
        self.add_fallen(state);
        let Some(client) = state.sessions.get(session).map(|session| session.client) else { return };
        if let Some(replay) = self.replays.get_mut(&client) {
            replay.sessions.retain(|cursor| cursor.session != session);
            replay.sessions.push(Cursor::new(session, state.ids.last()));
        }
    }

    /// Up to which stamp a session of a client that is behind has all messages.
    pub fn position(&self, client: ClientKey, session: SessionKey) -> Option<u64> {
        let cursors = &self.replays.get(&client)?.sessions;
        cursors.iter().find(|cursor| cursor.session == session).map(|cursor| cursor.stamp)
    }

    /// Holds a client back, which is not fed until it is [released](Replays::release) as often.
    pub fn hold(&mut self, state: &mut State, client: ClientKey) {
        self.add_fallen(state);
        self.add(state, client);
        if let Some(replay) = self.replays.get_mut(&client) {
            replay.holds += 1;
        }
    }

    /// See [`Replays::hold`]. Does nothing if the client is not held.
    pub fn release(&mut self, client: ClientKey) {
        let Some(replay) = self.replays.get_mut(&client) else { return };
        replay.holds = replay.holds.saturating_sub(1);
        if replay.holds == 0 && !core::mem::replace(&mut replay.ready, true) {
            self.ready.push_back(client);
        }
    }

    /// Gives a session no messages of these rooms up to these stamps, because it was not in them.
    pub fn set_joined(&mut self, client: ClientKey, session: SessionKey, joined: Vec<(RoomIndex, u64)>) {
        let cursors = self.replays.get_mut(&client).into_iter().flat_map(|replay| &mut replay.sessions);
        for cursor in cursors.filter(|cursor| cursor.session == session) {
            cursor.joined.extend(joined.iter().copied());
        }
    }

    /// Adds a client with all its sessions, which have all messages so far, unless it is here.
    fn add(&mut self, state: &mut State, client: ClientKey) {
        let newest = state.ids.last();
        let Some(found) = state.clients.get_mut(client).filter(|client| client.mode == Mode::Live) else { return };
        found.mode = Mode::Behind;
        self.insert(state, client, newest);
    }

    /// Adds the slow consumers of this turn.
    fn add_fallen(&mut self, state: &mut State) {
        for (client, stamp) in core::mem::take(&mut state.fallen) {
            state.stats.fell_behind += 1;
            // It may have been closed in the same turn.
            let Some(found) = state.clients.get(client).filter(|client| client.mode == Mode::Behind) else { continue };
            let count = u32::try_from(found.outbox.bytes()).unwrap_or(u32::MAX);
            state.write_journal_of(client, What::Behind, More { stamp, count, ..More::default() });
            self.insert(state, client, stamp);
            state.trace_client(client, format_args!("is behind: gets what it misses from the history"));
            if let Some(replay) = self.replays.get_mut(&client) {
                replay.is_slow = true;
            }
        }
    }

    /// Adds a client whose sessions have all messages up to a stamp.
    fn insert(&mut self, state: &mut State, client: ClientKey, stamp: u64) {
        if let Some(track) = state.tracks.get_mut(client) {
            track.set_cursor(Some(stamp));
        }
        let sessions = state.sessions_of(client).into_iter().map(|session| Cursor::new(session, stamp)).collect();
        self.replays.insert(client, Replay { sessions, ready: true, ..Replay::default() });
        self.ready.push_back(client);
    }

    /// Removes a client that is being closed, or is gone.
    pub fn remove(&mut self, history: &mut History, state: &State, client: ClientKey) {
        if let Some(replay) = self.replays.remove(&client) {
            replay.held_of.iter().for_each(|tenant| history.release(state, *tenant));
        }
    }

    /// Reports that the server has tried to write what was queued for these clients.
    pub fn flushed(&mut self, state: &State, clients: &[ClientKey]) {
        for client in clients {
            // Most have nothing to do with this, and looking at the mode is cheaper than looking for them here.
            let is_behind = state.clients.get(*client).is_some_and(|client| client.mode == Mode::Behind);
            if !is_behind || is_full(state, *client) {
                continue;
            }
            if let Some(replay) = self.replays.get_mut(client).filter(|replay| !replay.ready && replay.holds == 0) {
                replay.ready = true;
                self.ready.push_back(*client);
            }
        }
    }

    /// Queues the next messages for clients that have read most of what was queued before. Those that have all messages get
    /// the following ones live. Call it once in a turn, before clients are written to.
    pub fn feed(&mut self, history: &mut History, state: &mut State) {
        self.add_fallen(state);
        self.take_held(history, state);
        self.take_joins(state);
        let (mut left, mut chunks) = (TURN_BYTES, HashMap::new());
        for _ in 0..self.ready.len() {
            if left == 0 {
                return;
            }
            let Some(key) = self.ready.pop_front() else { return };
            let Some(replay) = self.replays.get_mut(&key) else { continue };
            if replay.holds > 0 || is_full(state, key) {
                replay.ready = false;
                continue;
            }
            let mut complete = true;
            replay.sessions.retain(|cursor| {
                let Some((chunk, cost)) = next_chunk(history, state, &mut chunks, cursor) else { return false };
                cursor.stamp = chunk.stamp;
                complete &= chunk.complete;
                state.queue_replay(key, chunk.run, chunk.count);
                left = left.saturating_sub(cost);
                true
            });
            let stamps = replay.sessions.iter().map(|cursor| cursor.stamp);
            let (reached, furthest) = (stamps.clone().min(), stamps.max());
            if let Some(track) = state.tracks.get_mut(key) {
                track.set_cursor(reached);
                if let Some(furthest) = furthest.filter(|_| replay.sessions.len() > 1) {
                    track.set_fence(furthest);
                }
            }
            if complete {
                left = left.saturating_sub(replay.held_bytes);
                self.complete(history, state, key);
            } else {
                self.ready.push_back(key);
            }
        }
    }

    /// Makes a client that has all kept messages live again, after the messages that were held back for it.
    fn complete(&mut self, history: &mut History, state: &mut State, client: ClientKey) {
        let Some(replay) = self.replays.remove(&client) else { return };
        replay.held_of.iter().for_each(|tenant| history.release(state, *tenant));
        replay.held.iter().for_each(|frames| state.queue_held(client, frames));
        if let Some(found) = state.clients.get_mut(client).filter(|client| client.mode == Mode::Behind) {
            found.mode = Mode::Live;
            let newest = state.ids.last();
            if let Some(track) = state.tracks.get_mut(client) {
                track.set_cursor(None);
                if replay.sessions.len() > 1 {
                    track.set_fence(newest);
                }
            }
            // What was replayed would be repeated at the next loss otherwise.
            state.ask_if_proxied(client);
            state.note_caught_up(client);
            if replay.is_slow {
                state.write_journal_of(client, What::CaughtUp, More { stamp: newest, ..More::default() });
            }
        }
    }

    /// Tells clients which messages were dropped before they got them. Call it before a new configuration is applied: what a room
    /// has dropped is not known any more once it keeps nothing.
    pub fn tell_dropped(&mut self, history: &History, state: &mut State) {
        self.add_fallen(state);
        self.take_joins(state);
        for cursor in self.replays.values_mut().flat_map(|replay| &mut replay.sessions) {
            if let Some((place, names)) = place(state, cursor) {
                tell_gap(history, state, cursor, &place, &names);
            }
        }
    }

    /// Tells clients which messages they will not get, because a new configuration keeps nothing in their rooms.
    pub fn tell_cleared(&mut self, history: &History, state: &mut State, cleared: &[Cleared]) {
        self.add_fallen(state);
        if self.is_empty() || cleared.is_empty() {
            return;
        }
        let newest: HashMap<(TenantId, &str), u64> =
            cleared.iter().map(|cleared| ((cleared.tenant, &*cleared.room), cleared.newest)).collect();
        for cursor in self.replays.values().flat_map(|replay| &replay.sessions) {
            let Some(session) = state.sessions.get(cursor.session) else { continue };
            let (tenant, names) = (session.tenant, state.room_names(session));
            let is_missing = |room: RoomIndex, name: &str| {
                let newest = newest.get(&(tenant, name));
                newest.is_some_and(|newest| *newest > cursor.stamp && !cursor.is_before_join(room, *newest))
            };
            let rooms = session.rooms.iter().zip(&names);
            let missing = rooms.filter_map(|(membership, name)| is_missing(membership.room, name).then_some(&**name));
            let missing: Vec<&str> = missing.collect();
            if !missing.is_empty() {
                tell_missing(history, state, cursor, tenant, &missing, &names);
            }
        }
    }

    /// Takes over which rooms were joined by clients that are behind.
    fn take_joins(&mut self, state: &mut State) {
        for (session, room, stamp) in core::mem::take(&mut state.joins) {
            let Some(client) = state.sessions.get(session).map(|session| session.client) else { continue };
            let cursors = self.replays.get_mut(&client).into_iter().flat_map(|replay| &mut replay.sessions);
            cursors.filter(|cursor| cursor.session == session).for_each(|cursor| {
                cursor.joined.insert(room, stamp);
            });
        }
    }

    /// Takes over messages that no room keeps. A client with too many of them is a slow consumer.
    fn take_held(&mut self, history: &mut History, state: &mut State) {
        for (client, tenant, frames) in core::mem::take(&mut state.held) {
            let Some(replay) = self.replays.get_mut(&client) else { continue };
            if !replay.held_of.contains(&tenant) {
                replay.held_of.push(tenant);
                history.hold(tenant);
            }
            replay.held_bytes += frames.len();
            replay.held.push(frames);
            if replay.held_bytes > state.config().limits.unsent as usize {
                state.close_slow(client);
            }
        }
    }
}

/// The next messages for a session, encoded once for all that are at the same place, and what they cost. `None` if the session
/// is gone. Tells the client first if messages are missing.
fn next_chunk(
    history: &History,
    state: &mut State,
    chunks: &mut HashMap<Place, Chunk>,
    cursor: &mut Cursor,
) -> Option<(Chunk, usize)> {
    let (place, names) = place(state, cursor)?;
    tell_gap(history, state, cursor, &place, &names);
    let is_shared = cursor.joined.is_empty();
    let known = chunks.get(&place).filter(|_| is_shared).copied();
    let chunk = known.unwrap_or_else(|| encode(history, state, cursor, &place, &names));
    if is_shared {
        chunks.insert(place, chunk);
    }
    Some((chunk, chunk.run.len() + COST + names.len() * ROOM_COST))
}

/// Where a session is, and the names of its rooms. `None` if it is gone.
fn place(state: &State, cursor: &Cursor) -> Option<(Place, Vec<Rc<str>>)> {
    let session = state.sessions.get(cursor.session)?;
    let rooms = session.rooms.iter().map(|membership| membership.room).collect();
    let &Session { tenant, namespace, form, .. } = session;
    Some((Place { tenant, namespace, form, stamp: cursor.stamp, rooms }, state.room_names(session)))
}

fn encode(history: &History, state: &mut State, cursor: &Cursor, place: &Place, names: &[Rc<str>]) -> Chunk {
    let rooms = to_strs(names);
    let mut entries = history.entries_after(state, place.tenant, &rooms, place.stamp);
    let source = state.tenants[place.tenant.index()].name.clone();
    let namespace = state.namespaces[place.namespace as usize].name.clone();
    let mut run = state.open_run();
    let (mut stamp, mut count) = (place.stamp, 0);
    while run.len() < CHUNK {
        let Some(found) = entries.next() else {
            return Chunk { run, count, stamp: state.ids.last().max(stamp), complete: true };
        };
        stamp = found.entry.stamp();
        if cursor.is_before_join(place.rooms[found.room], stamp) {
            continue;
        }
        let content = found.entry.content();
        state.append(&mut run, &found.message(content.data(), &source, rooms[found.room], &namespace), place.form);
        count += 1;
    }
    Chunk { run, count, stamp, complete: false }
}

/// Tells a client that messages are missing which it was not told about.
fn tell_gap(history: &History, state: &mut State, cursor: &mut Cursor, place: &Place, names: &[Rc<str>]) {
    let mut missing = Vec::new();
    for (room, name) in place.rooms.iter().zip(names) {
        let floors = history.floors(state, place.tenant, name);
        let told = cursor.told.get(room).copied().unwrap_or_default();
        let is_news = |floor, told| floor > told && floor > cursor.stamp && !cursor.is_before_join(*room, floor);
        if !is_news(floors.dropped, told.dropped) && !is_news(floors.unkept, told.unkept) {
            continue;
        }
        // Messages of rooms that keep nothing are held back for the client, and not dropped.
        if history.is_on() && !history.has_rule(state, place.tenant, name) {
            continue;
        }
        cursor.told.insert(*room, floors);
        missing.push(&**name);
    }
    if !missing.is_empty() {
        tell_missing(history, state, cursor, place.tenant, &missing, names);
    }
}

/// Tells a client that messages are missing in some of its rooms.
fn tell_missing(
    history: &History,
    state: &mut State,
    cursor: &Cursor,
    tenant: TenantId,
    missing: &[&str],
    rooms: &[Rc<str>],
) {
    let missed = history.count_after(state, tenant, &to_strs(rooms), cursor.stamp);
    let id = history.id_at(cursor.stamp);
    Recovery { missing, missed, id }.send(state, cursor.session);
}

fn to_strs(names: &[Rc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

/// Whether a client has so many unsent bytes that it gets no more kept messages: fewer than make it a slow consumer.
fn is_full(state: &State, client: ClientKey) -> bool {
    let full = FULL.min(state.config().limits.unsent as usize / 2);
    state.clients.get(client).is_some_and(|client| client.outbox.bytes() >= full)
}

const FULL: usize = 64 * 1024;
/// Bytes of kept messages that a client gets at a time, more or less.
const CHUNK: usize = 64 * 1024;
/// Bytes of kept messages that all clients get in a turn. Writing them delays other messages, by less than a millisecond.
const TURN_BYTES: usize = 1024 * 1024;
/// As many bytes as which a client counts that gets no message, and each of its rooms, which are looked up several times.
const COST: usize = 256;
const ROOM_COST: usize = 128;
