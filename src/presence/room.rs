//! Who is in one room, here and at other relays, and what its subscribers know of that.

use core::mem;
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use smallvec::SmallVec;

use crate::{clock::Time, key::SessionKey};

/// The index of another relay.
pub type NodeIndex = u16;

/// A room with users, guests or subscribers.
pub struct Room {
    /// Its name.
    pub name: Rc<str>,
    /// Those who are present, by their ids.
    users: BTreeMap<Box<str>, User>,
    /// Sessions without a user, on this relay.
    guests: u32,
    /// Sessions without a user at other relays.
    remote_guests: SmallVec<[(NodeIndex, u32); 1]>,
    /// Bytes of the ids and names of its users.
    name_bytes: usize,
    /// What has changed since the last event, by user.
    touched: BTreeMap<Box<str>, Was>,
    /// The sessions that get events, and whether they know who was in the room at the last one.
    pub subscribers: HashMap<SessionKey, bool>,
    /// Subscribers that do not.
    newcomers: Vec<SessionKey>,
    /// What the subscribers know.
    known: Known,
    /// The guests of this relay, as other relays know them.
    published_guests: u32,
    /// Whether an event is due.
    pub due: bool,
}

/// A user in a room.
#[derive(Default)]
pub struct User {
    /// The name of the newest login.
    pub name: Box<str>,
    /// Sessions on this relay.
    pub sessions: u32,
    /// Sessions on this relay that were lost, and may come back.
    pub lost: u32,
    /// When the lost ones are given up.
    pub until: Time,
    /// Whether the tracker has a timer for it.
    pub armed: bool,
    /// Sessions at other relays.
    remote: SmallVec<[Remote; 1]>,
}

/// A user at another relay.
#[derive(Clone, Copy)]
struct Remote {
    node: NodeIndex,
    /// What it counts in memory, see [`cost`].
    cost: u16,
    sessions: u32,
}

/// A user before a change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Was {
    /// Whether it was present, here or at another relay.
    present: bool,
    /// Its sessions here, if it was present here.
    own: Option<u32>,
}

/// What subscribers were told last.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    count: usize,
    guests: u64,
    /// Whether they know the names.
    named: bool,
}

/// What has changed on this relay, for other relays.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnChange {
    /// Users that are present, with their names and numbers of sessions.
    pub came: Vec<(Box<str>, Box<str>, u32)>,
    /// Users that are not.
    pub left: Vec<Box<str>>,
    /// The sessions without a user, if their number has changed.
    pub guests: Option<u32>,
}

/// What is to be sent to subscribers.
pub struct Update {
    /// What has changed on this relay.
    pub own: OwnChange,
    /// The change, for subscribers that know what was before it. `None` if there is nothing to say.
    pub change: Option<Change>,
    /// The subscribers that must hear who is there.
    pub newcomers: Vec<SessionKey>,
}

/// A change that subscribers are told.
pub enum Change {
    /// These users came and left.
    Names {
        /// With their names.
        came: Vec<(Box<str>, Box<str>)>,
        /// Only their ids.
        left: Vec<Box<str>>,
    },
    /// The numbers: there are too many users to name them.
    Numbers,
    /// Everybody who is there: there were too many users to name them, and now there are not.
    Everybody,
}

impl Was {
    fn of(user: Option<&User>) -> Was {
        let own = user.filter(|user| user.sessions > 0 || user.lost > 0).map(|user| user.sessions);
        Was { present: user.is_some_and(User::is_present), own }
    }
}

impl User {
    /// Whether it is present: it has a session somewhere, or one that was lost may come back.
    fn is_present(&self) -> bool {
        self.sessions > 0 || self.lost > 0 || !self.remote.is_empty()
    }

    /// Its sessions at all relays.
    pub fn all_sessions(&self) -> u32 {
        self.remote.iter().fold(self.sessions, |sum, remote| sum.saturating_add(remote.sessions))
    }
}

impl Room {
    /// A room without anybody.
    pub fn new(name: Rc<str>) -> Room {
        Room {
            name,
            users: BTreeMap::new(),
            guests: 0,
            remote_guests: SmallVec::new(),
            name_bytes: 0,
            touched: BTreeMap::new(),
            subscribers: HashMap::new(),
            newcomers: Vec::new(),
            known: Known { named: true, ..Known::default() },
            published_guests: 0,
            due: false,
        }
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.guests() == 0 && self.subscribers.is_empty() && !self.due
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let subscribers = self.subscribers.capacity() * size_of::<(SessionKey, bool)>();
        size_of_val(self) + self.users.len() * USER_BYTES + self.name_bytes + subscribers
    }

    /// The number of users.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// Sessions without a user, at all relays.
    pub fn guests(&self) -> u64 {
        self.remote_guests.iter().fold(self.guests.into(), |sum, (_, guests)| sum + u64::from(*guests))
    }

    /// The users, by their ids.
    pub fn users(&self) -> impl Iterator<Item = (&str, &User)> {
        self.users.iter().map(|(userid, user)| (&**userid, user))
    }

    /// The users of this relay, with their names and numbers of sessions, and its guests.
    pub fn own(&self) -> (Vec<(&str, &str, u32)>, u32) {
        let own = self
            .users
            .iter()
            .filter_map(|(userid, user)| Was::of(Some(user)).own.map(|sessions| (&**userid, &*user.name, sessions)));
        (own.collect(), self.guests)
    }

    /// A user.
    pub fn user(&self, userid: &str) -> Option<&User> {
        self.users.get(userid)
    }

    /// Whether its users may be named in one event.
    pub fn is_named(&self, most: usize) -> bool {
        self.users.len() <= most && self.name_bytes <= MOST_NAME_BYTES
    }

    /// Changes a user. One that is not there is created with the name `name`, or left alone without a name. One that is no
    /// longer present is removed.
    pub fn change(&mut self, userid: &str, name: Option<&str>, change: impl FnOnce(&mut User)) {
        let was = Was::of(self.users.get(userid));
        if let Some(name) = name {
            match self.users.get_mut(userid) {
                Some(user) if *user.name == *name => {}
                Some(user) => {
                    self.name_bytes = self.name_bytes - user.name.len() + name.len();
                    user.name = name.into();
                }
                None => {
                    self.name_bytes += userid.len() + name.len();
                    self.users.insert(userid.into(), User { name: name.into(), ..User::default() });
                }
            }
        }
        let Some(user) = self.users.get_mut(userid) else { return };
        change(user);
        if !user.is_present() {
            self.name_bytes -= userid.len() + user.name.len();
            self.users.remove(userid);
        }
        let before = *self.touched.entry(userid.into()).or_insert(was);
        if before == Was::of(self.users.get(userid)) {
            self.touched.remove(userid);
        }
    }

    /// Counts sessions without a user.
    pub fn change_guests(&mut self, change: impl FnOnce(u32) -> u32) {
        self.guests = change(self.guests);
    }

    /// Sets how many sessions a user has at another relay. `None`: it is not there. Returns what that frees in memory, and what
    /// it takes.
    pub fn set_remote(&mut self, node: NodeIndex, userid: &str, found: Option<(&str, u32)>) -> (usize, usize) {
        let (mut freed, mut taken) = (0, 0);
        self.change(userid, found.map(|(name, _)| name), |user| {
            if let Some(at) = user.remote.iter().position(|remote| remote.node == node) {
                freed = user.remote.swap_remove(at).cost.into();
            }
            if let Some((name, sessions)) = found {
                let cost = cost(userid, name);
                taken = cost.into();
                user.remote.push(Remote { node, cost, sessions });
            }
        });
        (freed, taken)
    }

    /// Sets how many sessions without a user another relay has.
    pub fn set_remote_guests(&mut self, node: NodeIndex, guests: u32) {
        self.remote_guests.retain(|(known, _)| *known != node);
        if guests > 0 {
            self.remote_guests.push((node, guests));
        }
    }

    /// The ids of the users that are at another relay.
    pub fn at_node(&self, node: NodeIndex) -> Vec<Box<str>> {
        let is_there = |user: &User| user.remote.iter().any(|remote| remote.node == node);
        self.users.iter().filter(|(_, user)| is_there(user)).map(|(userid, _)| userid.clone()).collect()
    }

    /// Whether another relay has users or guests here.
    pub fn has_node(&self, node: NodeIndex) -> bool {
        let guests = self.remote_guests.iter().any(|(known, _)| *known == node);
        guests || self.users.values().any(|user| user.remote.iter().any(|remote| remote.node == node))
    }

    /// Adds a session that gets events. It first hears who is there.
    pub fn subscribe(&mut self, session: SessionKey) {
        self.subscribers.insert(session, false);
        self.newcomers.push(session);
    }

    /// Begins anew with a subscriber that was behind: it has missed events. Returns whether it is one.
    pub fn resume(&mut self, session: SessionKey) -> bool {
        match self.subscribers.get(&session) {
            Some(false) => self.newcomers.push(session),
            _ => return false,
        }
        true
    }

    /// Takes what has changed since the last update.
    pub fn update(&mut self, most: usize) -> Update {
        let now = Known { count: self.count(), guests: self.guests(), named: self.is_named(most) };
        let before = mem::replace(&mut self.known, now);
        let (mut own, mut came, mut left) = (OwnChange::default(), Vec::new(), Vec::new());
        for (userid, was) in mem::take(&mut self.touched) {
            let user = self.users.get(&userid);
            let is = Was::of(user);
            let name = || user.map_or_else(Box::default, |user| user.name.clone());
            match is.own {
                Some(sessions) if was.own != is.own => own.came.push((userid.clone(), name(), sessions)),
                None if was.own.is_some() => own.left.push(userid.clone()),
                _ => {}
            }
            match (was.present, is.present) {
                (false, true) => came.push((userid, name())),
                (true, false) => left.push(userid),
                _ => {}
            }
        }
        if self.guests != self.published_guests {
            self.published_guests = self.guests;
            own.guests = Some(self.guests);
        }
        let change = match (before.named, now.named) {
            (true, true) if !came.is_empty() || !left.is_empty() || before != now => Some(Change::Names { came, left }),
            (false, true) => Some(Change::Everybody),
            (_, false) if before != now => Some(Change::Numbers),
            _ => None,
        };
        let mut newcomers = mem::take(&mut self.newcomers);
        newcomers.retain(|session| self.subscribers.get(session) == Some(&false));
        newcomers.sort_unstable();
        newcomers.dedup();
        Update { own, change, newcomers }
    }
}

/// What a user at another relay counts in memory, in bytes. The names of both are at most 512 bytes.
pub fn cost(userid: &str, name: &str) -> u16 {
    u16::try_from(USER_BYTES + userid.len() + name.len()).unwrap_or(u16::MAX)
}

/// Bytes that a user takes besides its id and name.
const USER_BYTES: usize = 160;
/// Bytes of the ids and names of a room's users above which they are not named.
pub const MOST_NAME_BYTES: usize = 256 * 1024;
