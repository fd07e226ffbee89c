//! Keeps track of who is in each room (docs/protocol.md, Presence).
//!
//! The state queues which sessions join and leave rooms ([`Move`]), the tracker counts them by user, and a user whose last
//! session was lost stays until `presence.grace` is over. The changes of a room gather for [`WINDOW`]; then each subscriber
//! gets one event, encoded once for each form. So a join or leave costs the same however many members a room has.

use core::{cmp::Reverse, time::Duration};
use std::{
    collections::{BinaryHeap, HashMap, VecDeque},
    mem,
    rc::Rc,
};

use super::{
    objects,
    room::{OwnChange, Room},
};
use crate::{
    clock::Time,
    config,
    key::{ClientKey, SessionKey},
    state::{
        Departure, State, TenantId,
        client::Mode,
        moves::{Joined, Left, Move},
    },
};

/// Who is in each room. Empty while `presence.events` is off.
#[derive(Default)]
pub struct Tracker {
    on: bool,
    grace: Duration,
    most: usize,
    /// By [`TenantId`].
    tenants: Vec<HashMap<Rc<str>, Room>>,
    /// The rooms with changes, and when their events are due.
    due: VecDeque<(Time, TenantId, Rc<str>)>,
    /// When to look whether users whose sessions were lost are back.
    leaving: BinaryHeap<Reverse<Timer>>,
    /// How many of these there may be before those that are not needed are dropped.
    most_timers: usize,
    /// What all rooms have. Summed up at each change: there may be a million rooms.
    size: Size,
}

/// What rooms have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    users: usize,
    bytes: usize,
}

impl Size {
    fn of(room: &Room) -> Size {
        Size { users: room.count(), bytes: room.bytes() }
    }

    /// A part of it has changed.
    fn change(&mut self, from: Size, to: Size) {
        self.users = (self.users + to.users).saturating_sub(from.users);
        self.bytes = (self.bytes + to.bytes).saturating_sub(from.bytes);
    }
}

/// When to look at a user: the time, the room and the user's id.
type Timer = (Time, TenantId, Rc<str>, Box<str>);

/// The changes of a room on this relay, for other relays.
#[derive(Debug, PartialEq, Eq)]
pub struct RoomChange {
    /// The tenant.
    pub tenant: TenantId,
    /// The room.
    pub room: Rc<str>,
    /// What has changed.
    pub change: OwnChange,
}

impl Tracker {
    /// Applies a new configuration. Users that are waited for are waited for as long as before.
    pub fn configure(&mut self, settings: &config::Presence, state: &mut State) {
        (self.grace, self.most) = (settings.grace, settings.most as usize);
        if self.on != settings.events {
            *self = Tracker { on: settings.events, grace: self.grace, most: self.most, ..Tracker::default() };
            state.track_moves(self.on);
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The most users that one event names.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether users whose sessions were lost are waited for.
    pub fn waits(&self) -> bool {
        self.on && !self.grace.is_zero()
    }

    /// How long users are waited for.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// When [`Tracker::expire`] and [`Tracker::send`] have something to do.
    pub fn deadline(&self) -> Time {
        let due = self.due.front().map_or(Time::NEVER, |(at, ..)| *at);
        self.leaving.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at).min(due)
    }

    /// Forgets the rooms of a tenant that now belongs to another source.
    pub fn forget(&mut self, tenant: TenantId) {
        if let Some(rooms) = self.tenants.get_mut(tenant.index()) {
            for (_, room) in rooms.drain() {
                self.size.change(Size::of(&room), Size::default());
            }
        }
    }

    /// A room with users, guests or subscribers.
    pub fn room(&self, tenant: TenantId, name: &str) -> Option<&Room> {
        self.tenants.get(tenant.index())?.get(name)
    }

    /// The rooms of a tenant.
    pub fn rooms(&self, tenant: TenantId) -> impl Iterator<Item = &Room> {
        self.tenants.get(tenant.index()).into_iter().flat_map(HashMap::values)
    }

    /// The number of users in all rooms: one that is in two rooms counts twice.
    pub fn users(&self) -> usize {
        self.size.users
    }

    /// Bytes that rooms and their users take.
    pub fn bytes(&self) -> usize {
        self.size.bytes
    }

    /// Asserts that the sums are those of all rooms.
    #[cfg(test)]
    pub fn assert_sums(&self) {
        let mut sum = Size::default();
        self.tenants.iter().flat_map(HashMap::values).for_each(|room| sum.change(Size::default(), Size::of(room)));
        assert_eq!(self.size, sum);
    }

    /// Handles sessions that have joined and left rooms.
    pub fn handle_moves(&mut self, state: &State, moves: Vec<Move>) {
        let now = state.now.time;
        for moved in moves {
            match moved {
                Move::Joined(joined) => self.join(joined, now),
                Move::Left(left) => self.leave(&left, now),
                Move::CaughtUp(client) => self.resume(state, client, now),
            }
        }
    }

    fn join(&mut self, joined: Joined, now: Time) {
        let Joined { tenant, room, session, userid, username, subscribes } = joined;
        self.change(tenant, &room, now, |room| {
            match userid.is_empty() {
                true => room.change_guests(|guests| guests + 1),
                false => room.change(&userid, Some(&username), |user| {
                    user.sessions += 1;
                    // It takes the place of a lost one.
                    user.lost = user.lost.saturating_sub(1);
                }),
            }
            if subscribes {
                room.subscribe(session);
            }
        });
    }

    fn leave(&mut self, left: &Left, now: Time) {
        let Left { tenant, room, session, userid, departure } = left;
        let until = match departure {
            Departure::Loss if !self.grace.is_zero() => Some(now.after(self.grace)),
            Departure::Loss | Departure::Goodbye => None,
        };
        let mut arm = false;
        self.change(*tenant, room, now, |room| {
            room.subscribers.remove(session);
            match userid.is_empty() {
                true => room.change_guests(|guests| guests.saturating_sub(1)),
                false => room.change(userid, None, |user| {
                    user.sessions = user.sessions.saturating_sub(1);
                    if let Some(until) = until {
                        (user.lost, user.until) = (user.lost + 1, until);
                        arm = !mem::replace(&mut user.armed, true);
                    }
                }),
            }
        });
        if let Some(until) = until.filter(|_| arm) {
            self.arm(until, *tenant, room.clone(), userid.clone());
        }
    }

    /// Begins anew with the subscriptions of a client that was behind.
    fn resume(&mut self, state: &State, client: ClientKey, now: Time) {
        for session in state.sessions_of(client) {
            let Some(found) = state.sessions.get(session) else { continue };
            for name in state.room_names(found) {
                if self.room_mut(found.tenant, &name).is_some_and(|room| room.resume(session)) {
                    self.change(found.tenant, &name, now, |_| {});
                }
            }
        }
    }

    fn room_mut(&mut self, tenant: TenantId, name: &str) -> Option<&mut Room> {
        self.tenants.get_mut(tenant.index())?.get_mut(name)
    }

    /// Changes a room, which is created if it does not exist, and schedules its event.
    pub fn change(&mut self, tenant: TenantId, name: &Rc<str>, now: Time, change: impl FnOnce(&mut Room)) {
        if self.tenants.len() <= tenant.index() {
            self.tenants.resize_with(tenant.index() + 1, HashMap::new);
        }
        let rooms = &mut self.tenants[tenant.index()];
        let mut before = Size::default();
        match rooms.get(name) {
            Some(room) => before = Size::of(room),
            None => drop(rooms.insert(name.clone(), Room::new(name.clone()))),
        }
        let Some(room) = rooms.get_mut(name) else { return };
        change(room);
        self.size.change(before, Size::of(room));
        if !mem::replace(&mut room.due, true) {
            self.due.push_back((now.after(WINDOW), tenant, name.clone()));
        }
    }

    /// Looks at a user again later. Timers of users that have left meanwhile are dropped when there are many of them.
    fn arm(&mut self, at: Time, tenant: TenantId, room: Rc<str>, userid: Box<str>) {
        if self.leaving.len() >= self.most_timers.max(MIN_TIMERS) {
            let mut leaving = mem::take(&mut self.leaving);
            leaving.retain(|Reverse((_, tenant, room, userid))| {
                self.room(*tenant, room).and_then(|room| room.user(userid)).is_some_and(|user| user.armed)
            });
            self.most_timers = leaving.len() * 2;
            self.leaving = leaving;
        }
        self.leaving.push(Reverse((at, tenant, room, userid)));
    }

    /// Gives up users whose sessions were lost for too long.
    pub fn expire(&mut self, now: Time) {
        while self.leaving.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, tenant, name, userid))) = self.leaving.pop() else { return };
            let Some(user) = self.room(tenant, &name).and_then(|room| room.user(&userid)).filter(|user| user.armed)
            else {
                continue;
            };
            if user.until > now {
                let until = user.until;
                self.arm(until, tenant, name, userid);
                continue;
            }
            self.change(tenant, &name, now, |room| {
                room.change(&userid, None, |user| (user.lost, user.armed) = (0, false));
            });
        }
    }

    /// Sends the event of a room that is due, and returns what has changed on this relay. Call it until it returns `None`.
    pub fn send(&mut self, state: &mut State) -> Option<RoomChange> {
        if self.due.front().is_none_or(|(at, ..)| *at > state.now.time) {
            return None;
        }
        let (_, tenant, name) = self.due.pop_front()?;
        let most = self.most;
        let mut change = OwnChange::default();
        if let Some(room) = self.room_mut(tenant, &name) {
            let before = Size::of(room);
            change = send(state, room, most);
            let (after, is_empty) = (Size::of(room), room.is_empty());
            self.size.change(before, if is_empty { Size::default() } else { after });
            if is_empty && let Some(rooms) = self.tenants.get_mut(tenant.index()) {
                rooms.remove(&name);
            }
        }
        Some(RoomChange { tenant, room: name, change })
    }
}

/// Sends a room's event to its subscribers.
fn send(state: &mut State, room: &mut Room, most: usize) -> OwnChange {
    room.due = false;
    let update = room.update(most);
    // Those that are told everything, and those that are told the change.
    let (mut anew, mut told) = (Vec::new(), Vec::new());
    if update.change.is_some() {
        let mut behind: Vec<SessionKey> = Vec::new();
        for (session, _) in room.subscribers.iter().filter(|(_, knows)| **knows) {
            match is_live(state, *session) {
                true => told.extend(state.receiver(*session)),
                // It gets older messages first. What it knows is out of date from now on.
                false => behind.push(*session),
            }
        }
        room.subscribers.extend(behind.into_iter().map(|session| (session, false)));
    }
    for session in update.newcomers.into_iter().filter(|session| is_live(state, *session)) {
        anew.extend(state.receiver(session));
        room.subscribers.insert(session, true);
    }
    let mut sent = 0;
    if !anew.is_empty() {
        sent += state.send_members(&anew, NAME, &objects::here(room, most));
    }
    if let Some(change) = update.change.filter(|_| !told.is_empty()) {
        sent += state.send_members(&told, NAME, &objects::changed(room, &change, most));
    }
    state.stats.presence_events += u64::from(sent > 0);
    update.own
}

/// Whether a session gets messages as they are published.
fn is_live(state: &State, session: SessionKey) -> bool {
    let client = state.sessions.get(session).and_then(|session| state.clients.get(session.client));
    client.is_some_and(|client| client.mode == Mode::Live)
}

/// The name of the event.
pub const NAME: &str = "presence";
/// How long the changes of a room gather.
pub const WINDOW: Duration = Duration::from_millis(200);
/// Timers that are not looked through.
const MIN_TIMERS: usize = 1024;
