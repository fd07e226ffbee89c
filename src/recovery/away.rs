//! The sessions that are away.

use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use crate::{
    clock::Time,
    key::{Handle, Key, SessionKey},
    state::{NamespaceId, TenantId},
};

/// A session without a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaySession {
    /// The key from which its `socket_id` and its `pid` follow.
    pub name: SessionKey,
    /// Who it is ([`Claim::identity`](super::Claim::identity)); `None` if only its `pid` can bring it back.
    pub identity: Option<u64>,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its rooms.
    pub rooms: Vec<Rc<str>>,
    /// A hash of the rooms that its login named.
    pub list: u64,
    /// Its user. Empty if it had none.
    pub userid: Box<str>,
    /// The address that it came from.
    pub ip: Option<IpAddr>,
    /// It has all messages up to this stamp.
    pub position: u64,
    /// When it was lost.
    pub lost: Time,
    /// A hash of the user that its login named.
    pub user: u64,
    /// Whether a token said what it may do.
    pub had_token: bool,
}

/// Sessions that may be taken for one another: of an identity, or of an identity at an address.
type Group = (u64, Option<Option<IpAddr>>);

/// What counts as one sender of logins: an IPv4 address, or the network part of an IPv6 address.
type Network = Option<IpAddr>;

/// The sessions that are away, each for at most the window.
#[derive(Default)]
pub struct Away {
    window: Duration,
    /// With the number of the loss.
    sessions: HashMap<SessionKey, (u64, AwaySession)>,
    losses: u64,
    /// Positions to which the sessions of a group are put back, see [`Away::take`], and the last loss of which this holds.
    floors: HashMap<Group, (u64, u64)>,
    by_time: BTreeSet<(Time, SessionKey)>,
    /// The bytes of each network, the networks by that, and the sessions of each.
    networks: HashMap<Network, usize>,
    by_weight: BTreeSet<(usize, Network)>,
    by_network: BTreeSet<(Network, Time, SessionKey)>,
    /// By identity and position, and the same at each address.
    by_identity: BTreeSet<(u64, u64, SessionKey)>,
    by_address: BTreeSet<(u64, Option<IpAddr>, u64, SessionKey)>,
    by_room: BTreeSet<(TenantId, Rc<str>, SessionKey)>,
    bytes: usize,
}

impl Away {
    /// Applies a new window. A shorter one takes effect at once.
    pub fn configure(&mut self, window: Duration) {
        self.window = window;
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is away.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Bytes that all of them take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a session that was lost. One of the same name is replaced.
    pub fn add(&mut self, session: AwaySession) {
        self.remove(session.name);
        self.bytes += cost(&session);
        let name = session.name;
        if let Some(identity) = session.identity {
            self.by_identity.insert((identity, session.position, name));
            self.by_address.insert((identity, session.ip, session.position, name));
        }
        for room in &session.rooms {
            self.by_room.insert((session.tenant, room.clone(), name));
        }
        self.by_time.insert((session.lost, name));
        self.by_network.insert((network(session.ip), session.lost, name));
        self.weigh(network(session.ip), |bytes| bytes + cost(&session));
        self.losses += 1;
        self.sessions.insert(name, (self.losses, session));
    }

    /// Takes the session with this name.
    pub fn remove(&mut self, name: SessionKey) -> Option<AwaySession> {
        let (.., session) = self.sessions.remove(&name)?;
        self.bytes -= cost(&session);
        self.by_time.remove(&(session.lost, name));
        self.by_network.remove(&(network(session.ip), session.lost, name));
        self.weigh(network(session.ip), |bytes| bytes - cost(&session));
        if let Some(identity) = session.identity {
            self.by_identity.remove(&(identity, session.position, name));
            self.by_address.remove(&(identity, session.ip, session.position, name));
        }
        if let Some(identity) = session.identity {
            for (group, is_left) in [
                ((identity, Some(session.ip)), self.find_near(identity, session.ip).is_some()),
                ((identity, None), self.find(identity).is_some()),
            ] {
                if !is_left {
                    self.floors.remove(&group);
                }
            }
        }
        for room in &session.rooms {
            self.by_room.remove(&(session.tenant, room.clone(), name));
        }
        Some(session)
    }

    /// The session with this name.
    pub fn get(&self, name: SessionKey) -> Option<&AwaySession> {
        self.sessions.get(&name).map(|(.., session)| session)
    }

    /// Whether a session of this identity is away for a login at this address.
    pub fn has(&self, identity: u64, ip: Option<IpAddr>) -> bool {
        self.find_near(identity, ip).or_else(|| self.find(identity)).is_some()
    }

    fn find(&self, identity: u64) -> Option<SessionKey> {
        let first = self.by_identity.range((identity, 0, first_key())..).next();
        first.filter(|(of, ..)| *of == identity).map(|(.., name)| *name)
    }

    /// Takes the session of this identity that was lost at this address, else one that was lost elsewhere.
    ///
    /// If there are several, nobody knows which one has come back. It is better that one gets a message twice than that another
    /// gets it never: so it is the one that has missed most, and the others are put back to its position.
    pub fn take(&mut self, identity: u64, ip: Option<IpAddr>) -> Option<AwaySession> {
        let near = self.find_near(identity, ip);
        let name = near.or_else(|| self.find(identity))?;
        let (loss, ..) = self.sessions.get(&name)?;
        let groups: [Group; 2] = [(identity, Some(ip)), (identity, None)];
        let floors = groups.iter().filter_map(|group| self.floors.get(group)).filter(|(_, last)| loss <= last);
        let floor = floors.map(|(floor, _)| *floor).min().unwrap_or(u64::MAX);
        let mut session = self.remove(name)?;
        session.position = session.position.min(floor);
        if near.is_none() {
            // It may be somebody else, like a new device with the same login: who comes from the old address gets it too.
            self.lend(session.clone());
        }
        let group = if near.is_some() { groups[0] } else { groups[1] };
        let (lowest, _) = self.floors.get(&group).copied().unwrap_or((u64::MAX, 0));
        let is_left = if near.is_some() { self.find_near(identity, ip) } else { self.find(identity) }.is_some();
        if is_left {
            self.floors.insert(group, (lowest.min(session.position), self.losses));
        }
        Some(session)
    }

    /// Keeps a session for logins at its address only.
    fn lend(&mut self, session: AwaySession) {
        let (identity, name, position) = (session.identity, session.name, session.position);
        self.add(session);
        if let Some(identity) = identity {
            self.by_identity.remove(&(identity, position, name));
        }
    }

    fn find_near(&self, identity: u64, ip: Option<IpAddr>) -> Option<SessionKey> {
        let first = self.by_address.range((identity, ip, 0, first_key())..).next();
        first.filter(|(of, at, ..)| (*of, *at) == (identity, ip)).map(|(.., name)| *name)
    }

    /// The sessions that were in a room.
    pub fn in_room<'a>(&'a self, tenant: TenantId, room: &str) -> impl Iterator<Item = &'a AwaySession> + use<'a> {
        let room: Rc<str> = room.into();
        let found = self.by_room.range((tenant, room.clone(), first_key())..);
        let found = found.take_while(move |(of, name, _)| *of == tenant && *name == room);
        found.filter_map(|(.., name)| self.get(*name))
    }

    /// When [`Away::expire`] has something to do.
    pub fn deadline(&self) -> Time {
        self.by_time.first().map_or(Time::NEVER, |(lost, _)| lost.after(self.window))
    }

    /// Gives up the sessions that were lost too long ago. Returns how many.
    pub fn expire(&mut self, now: Time) -> u64 {
        let mut expired = 0;
        while let Some((_, name)) = self.by_time.first().copied().filter(|(lost, _)| lost.after(self.window) <= now) {
            expired += u64::from(self.remove(name).is_some());
        }
        expired
    }

    /// Gives up the session that was lost first, of those of the network that takes most. Returns whether there was one.
    pub fn drop_oldest(&mut self) -> bool {
        let Some((_, network)) = self.by_weight.last().copied() else { return false };
        let first = self.by_network.range((network, Time::START, first_key())..).next().map(|(.., name)| *name);
        first.and_then(|name| self.remove(name)).is_some()
    }

    fn weigh(&mut self, network: Network, change: impl FnOnce(usize) -> usize) {
        let before = self.networks.remove(&network).unwrap_or_default();
        self.by_weight.remove(&(before, network));
        let bytes = change(before);
        if bytes > 0 {
            self.networks.insert(network, bytes);
            self.by_weight.insert((bytes, network));
        }
    }

    /// Gives up the sessions for which this is so.
    pub fn forget(&mut self, is_gone: impl Fn(&AwaySession) -> bool) {
        let names: Vec<SessionKey> =
            self.sessions.values().filter(|(.., session)| is_gone(session)).map(|(.., session)| session.name).collect();
        for name in names {
            self.remove(name);
        }
    }
}

fn network(ip: Option<IpAddr>) -> Network {
    let ip = ip?.to_canonical();
    Some(match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    })
}

/// The bytes that a session takes, with its places in the tables.
fn cost(session: &AwaySession) -> usize {
    let rooms: usize = session.rooms.iter().map(|room| ROOM + room.len()).sum();
    SESSION + session.userid.len() + rooms
}

/// A key that is not after any other.
pub(super) fn first_key() -> SessionKey {
    SessionKey::wrap(Key::from_bits(1 << 32).expect("the generation is not zero"))
}

/// Bytes of a session in the tables, and of each of its rooms.
const SESSION: usize = 500;
const ROOM: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> SessionKey {
        SessionKey::wrap(Key::from_bits((7 << 32) | index).unwrap())
    }

    fn session(index: u64, identity: u64, ip: u8, position: u64) -> AwaySession {
        AwaySession {
            name: key(index),
            identity: Some(identity),
            tenant: TenantId(0),
            namespace: 0,
            rooms: vec!["a".into(), "b".into()],
            list: 0,
            userid: "7".into(),
            ip: Some([10, 0, 0, ip].into()),
            position,
            lost: Time::START,
            user: 0,
            had_token: false,
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_nearest_comes_back_first() {
        let mut away = Away::default();
        for (index, ip, position) in [(0, 1, 50), (1, 2, 30), (3, 3, 20)] {
            away.add(AwaySession { lost: at(0), ..session(index, 5, ip, position) });
        }
        away.add(AwaySession { lost: at(0), ..session(9, 6, 2, 1) });
        let mut take = |ip: u8| away.take(5, Some([10, 0, 0, ip].into())).map(|session| session.position);
        assert_eq!([take(2), take(1), take(3), take(3)], [Some(30), Some(50), Some(20), None]);
        assert!(away.has(6, None) && !away.has(5, None) && away.len() == 1);
    }

    /// A new device with the same login takes nothing from the one that was lost.
    #[test]
    fn what_another_address_has_taken_comes_back() {
        let mut away = Away::default();
        away.add(AwaySession { lost: at(0), ..session(0, 5, 1, 50) });
        let take = |away: &mut Away, ip: u8| away.take(5, Some([10, 0, 0, ip].into())).map(|session| session.position);
        assert_eq!([take(&mut away, 2), take(&mut away, 3)], [Some(50), None]);
        assert_eq!([take(&mut away, 1), take(&mut away, 1)], [Some(50), None]);
        assert_eq!((away.len(), away.bytes()), (0, 0));
    }

    /// Two tabs were cut, and the one that had received more comes back first.
    #[test]
    fn of_several_none_loses_a_message() {
        for ip in [1, 9] {
            let mut away = Away::default();
            for (index, position) in [(0, 50), (1, 30), (2, 40)] {
                away.add(AwaySession { lost: at(0), ..session(index, 5, 1, position) });
            }
            away.add(AwaySession { lost: at(0), ..session(3, 6, 1, 60) });
            let take = |away: &mut Away| away.take(5, Some([10, 0, 0, ip].into())).map(|session| session.position);
            assert_eq!([0; 3].map(|_| take(&mut away)), [Some(30), Some(30), Some(30)]);
            away.forget(|session| session.identity == Some(5));
            assert!(away.floors.is_empty() && away.has(6, None));
            // It was lost when nobody else was.
            away.add(AwaySession { lost: at(1), ..session(4, 5, 1, 70) });
            assert_eq!([0; 2].map(|_| take(&mut away)), [Some(70), None]);
        }
    }

    #[test]
    fn they_are_kept_for_the_window() {
        let mut away = Away::default();
        away.configure(Duration::from_secs(120));
        away.add(AwaySession { lost: at(0), ..session(0, 5, 1, 1) });
        away.add(AwaySession { lost: at(10), ..session(1, 5, 1, 2) });
        // It came back and was lost again.
        away.remove(key(0));
        away.add(AwaySession { lost: at(20), ..session(0, 5, 1, 3) });
        assert_eq!((away.deadline(), away.expire(at(129))), (at(130), 0));
        assert_eq!((away.expire(at(130)), away.expire(at(140)), away.len()), (1, 1, 0));
        assert_eq!((away.deadline(), away.bytes()), (Time::NEVER, 0));
    }

    #[test]
    fn rooms_know_who_is_away() {
        let mut away = Away::default();
        away.add(AwaySession { lost: at(0), ..session(0, 5, 1, 1) });
        away.add(AwaySession { lost: at(1), ..session(1, 5, 1, 1) });
        let count = |away: &Away, room: &str| away.in_room(TenantId(0), room).count();
        assert_eq!([count(&away, "a"), count(&away, "b"), count(&away, "aa"), count(&away, "")], [2, 2, 0, 0]);
        // The first one of the network that takes most.
        away.add(AwaySession { lost: at(0), ..session(2, 5, 2, 1) });
        assert!(away.drop_oldest() && away.get(key(0)).is_none() && away.get(key(1)).is_some());
        assert!(away.remove(key(2)).is_some());
        away.forget(|session| session.tenant == TenantId(0));
        assert_eq!((count(&away, "a"), away.drop_oldest(), away.bytes()), (0, false, 0));
    }
}
