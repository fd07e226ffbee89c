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
    /// A hash of who it is ([`Live`](super::Live)); `None` if only its `pid` can bring it back.
    pub identity: Option<u64>,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its rooms.
    pub rooms: Vec<Rc<str>>,
    /// A hash of the rooms that its login named.
    pub list: u32,
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
    /// Whether its client was given a `pid`.
    pub has_pid: bool,
}

/// What counts as one sender of logins: an IPv4 address, or the network part of an IPv6 address.
type Network = Option<IpAddr>;

/// The sessions that are away, each for at most the window.
#[derive(Default)]
pub struct Away {
    window: Duration,
    sessions: HashMap<SessionKey, Lost>,
    losses: u64,
    /// Positions to which the sessions of an identity are put back, see [`Away::take`], and the last loss of which this holds.
    floors: HashMap<u64, (u64, u64)>,
    by_time: BTreeSet<(Time, SessionKey)>,
    /// The bytes of each network, the networks by that, and the sessions of each.
    networks: HashMap<Network, usize>,
    by_weight: BTreeSet<(usize, Network)>,
    by_network: BTreeSet<(Network, Time, SessionKey)>,
    /// By identity and position, and by identity and loss: those that were not taken.
    by_position: BTreeSet<(u64, u64, SessionKey)>,
    by_loss: BTreeSet<(u64, u64, SessionKey)>,
    /// By identity, address and loss: those that were not taken, and those that were taken from another address.
    by_address: ByAddress,
    lent: ByAddress,
    by_room: BTreeSet<(TenantId, Rc<str>, SessionKey)>,
    bytes: usize,
}

type ByAddress = BTreeSet<(u64, Option<IpAddr>, u64, SessionKey)>;

/// A session in the table.
struct Lost {
    session: AwaySession,
    /// The number of its loss.
    loss: u64,
    state: LostState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LostState {
    /// Nobody has come back in its place.
    Here,
    /// Somebody has, from another address: it may have been another one.
    TakenElsewhere,
    /// Somebody has. Only a `pid` brings it back.
    Taken,
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
        self.losses += 1;
        self.insert(Lost { session, loss: self.losses, state: LostState::Here });
    }

    fn insert(&mut self, lost: Lost) {
        let Lost { session, loss, state } = &lost;
        let (name, loss) = (session.name, *loss);
        self.remove(name);
        self.bytes += cost(session);
        if let Some(identity) = session.identity {
            match state {
                LostState::Here => {
                    self.by_position.insert((identity, session.position, name));
                    self.by_loss.insert((identity, loss, name));
                    self.by_address.insert((identity, session.ip, loss, name));
                }
                LostState::TakenElsewhere => _ = self.lent.insert((identity, session.ip, loss, name)),
                LostState::Taken => {}
            }
        }
        for room in &session.rooms {
            self.by_room.insert((session.tenant, room.clone(), name));
        }
        self.by_time.insert((session.lost, name));
        self.by_network.insert((network(session.ip), session.lost, name));
        let bytes = cost(session);
        self.weigh(network(session.ip), |all| all + bytes);
        self.sessions.insert(name, lost);
    }

    /// Takes the session with this name.
    pub fn remove(&mut self, name: SessionKey) -> Option<AwaySession> {
        let Lost { session, loss, .. } = self.sessions.remove(&name)?;
        self.bytes -= cost(&session);
        if let Some(identity) = session.identity {
            self.by_position.remove(&(identity, session.position, name));
            self.by_loss.remove(&(identity, loss, name));
            self.by_address.remove(&(identity, session.ip, loss, name));
            self.lent.remove(&(identity, session.ip, loss, name));
            if self.first_loss(identity).is_none() {
                self.floors.remove(&identity);
            }
        }
        for room in &session.rooms {
            self.by_room.remove(&(session.tenant, room.clone(), name));
        }
        self.by_time.remove(&(session.lost, name));
        self.by_network.remove(&(network(session.ip), session.lost, name));
        self.weigh(network(session.ip), |all| all - cost(&session));
        Some(session)
    }

    /// The session with this name.
    pub fn get(&self, name: SessionKey) -> Option<&AwaySession> {
        self.sessions.get(&name).map(|lost| &lost.session)
    }

    /// Whether a session of this identity is away for a login at this address.
    pub fn has(&self, identity: u64, ip: Option<IpAddr>) -> bool {
        self.first_loss(identity).is_some() || find_near(&self.lent, identity, ip).is_some()
    }

    /// Takes the session of this identity that was lost at this address, else one that was lost elsewhere.
    ///
    /// If there are several, nobody knows which one has come back. It is better that one gets a message twice than that another
    /// gets it never: so it gets the position of the one that has missed most, and the others are put back to it.
    pub fn take(&mut self, identity: u64, ip: Option<IpAddr>) -> Option<AwaySession> {
        let oldest = self.by_position.range((identity, 0, first_key())..).next().filter(|(of, ..)| *of == identity);
        let oldest = oldest.map(|(_, position, name)| (*position, *name));
        let near = find_near(&self.by_address, identity, ip);
        let found = near.or(oldest.map(|(_, name)| name));
        let name = found.or_else(|| find_near(&self.lent, identity, ip))?;
        let floor =
            self.floors.get(&identity).filter(|(_, last)| self.first_loss(identity).is_some_and(|loss| loss <= *last));
        let floor = floor.map_or(u64::MAX, |(floor, _)| *floor);
        let lost = self.sessions.get(&name)?;
        let (loss, state) = (lost.loss, lost.state);
        let mut session = self.remove(name)?;
        session.position = session.position.min(floor).min(oldest.map_or(u64::MAX, |(position, _)| position));
        if self.first_loss(identity).is_some() {
            self.floors.insert(identity, (session.position, self.losses));
        }
        if near.is_none() && state == LostState::Here {
            // It may be somebody else, like a new device with the same login: who comes from the old address gets it too.
            self.insert(Lost { session: session.clone(), loss, state: LostState::TakenElsewhere });
        } else if session.has_pid && state == LostState::Here {
            // A new page may have taken it from one that knows its `pid`.
            self.insert(Lost { session: session.clone(), loss, state: LostState::Taken });
        }
        Some(session)
    }

    /// The oldest loss of an identity that was not taken.
    fn first_loss(&self, identity: u64) -> Option<u64> {
        let first = self.by_loss.range((identity, 0, first_key())..).next();
        first.filter(|(of, ..)| *of == identity).map(|(_, loss, _)| *loss)
    }

    /// Whether a session was taken, so that another goes on in its place.
    pub fn is_taken(&self, name: SessionKey) -> bool {
        self.sessions.get(&name).is_none_or(|lost| lost.state != LostState::Here)
    }

    /// All sessions.
    #[cfg(feature = "fuzzing")]
    pub fn iter(&self) -> impl Iterator<Item = &AwaySession> {
        self.sessions.values().map(|lost| &lost.session)
    }

    /// Asserts that each session is where it can be found, and nothing else is, and that bytes are counted right.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self) {
        let known = self.sessions.values().filter(|lost| lost.session.identity.is_some());
        let count = |is: fn(&Lost) -> bool| known.clone().filter(|lost| is(lost)).count();
        let (here, lent) =
            (count(|lost| lost.state == LostState::Here), count(|lost| lost.state == LostState::TakenElsewhere));
        assert_eq!((self.by_position.len(), self.by_loss.len()), (here, here));
        assert_eq!((self.by_address.len(), self.lent.len()), (here, lent));
        let rooms: BTreeSet<_> = self
            .iter()
            .flat_map(|session| session.rooms.iter().map(|room| (session.tenant, room.clone(), session.name)))
            .collect();
        assert_eq!(self.by_room, rooms, "sessions by room");
        assert_eq!((self.by_time.len(), self.by_network.len()), (self.len(), self.len()), "sessions by time");
        let bytes = self.iter().map(cost).sum::<usize>();
        assert_eq!((self.bytes, self.networks.values().sum::<usize>()), (bytes, bytes), "bytes of sessions");
        assert!(self.floors.keys().all(|identity| self.first_loss(*identity).is_some()), "a floor of nobody");
    }

    /// The sessions that were in a room, and that nobody has taken.
    pub fn in_room<'a>(&'a self, tenant: TenantId, room: &str) -> impl Iterator<Item = &'a AwaySession> + use<'a> {
        let room: Rc<str> = room.into();
        let found = self.by_room.range((tenant, room.clone(), first_key())..);
        let found = found.take_while(move |(of, name, _)| *of == tenant && *name == room);
        found.filter(|(.., name)| !self.is_taken(*name)).filter_map(|(.., name)| self.get(*name))
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

    /// Gives up the session that was lost first, of those of the network that takes most. Returns it.
    pub fn drop_oldest(&mut self) -> Option<AwaySession> {
        let (_, network) = self.by_weight.last().copied()?;
        let first = self.by_network.range((network, Time::START, first_key())..).next().map(|(.., name)| *name);
        first.and_then(|name| self.remove(name))
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
            self.sessions.values().filter(|lost| is_gone(&lost.session)).map(|lost| lost.session.name).collect();
        for name in names {
            self.remove(name);
        }
    }
}

/// The first loss of an identity at an address.
fn find_near(all: &ByAddress, identity: u64, ip: Option<IpAddr>) -> Option<SessionKey> {
    let first = all.range((identity, ip, 0, first_key())..).next();
    first.filter(|(of, at, ..)| (*of, *at) == (identity, ip)).map(|(.., name)| *name)
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
            has_pid: false,
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn take(away: &mut Away, ip: u8) -> Option<u64> {
        away.take(5, Some([10, 0, 0, ip].into())).map(|session| session.position)
    }

    fn lose(away: &mut Away, index: u64, ip: u8, position: u64) {
        away.add(session(index, 5, ip, position));
    }

    /// Two tabs were cut, and the one that had received more comes back first, from the same address or another.
    #[test]
    fn of_several_none_loses_a_message() {
        for ip in [1, 9] {
            let mut away = Away::default();
            for (index, position) in [(0, 50), (1, 30), (2, 40)] {
                lose(&mut away, index, 1, position);
            }
            away.add(session(3, 6, 1, 60));
            assert_eq!(take(&mut away, ip), Some(30));
            // One that is lost later may be any of them.
            lose(&mut away, 4, 1, 70);
            assert_eq!([0; 3].map(|_| take(&mut away, ip)), [Some(30); 3]);
            assert!(away.floors.is_empty() && away.has(6, None));
            away.forget(|session| session.identity == Some(5));
            lose(&mut away, 5, 1, 80);
            assert_eq!([0; 2].map(|_| take(&mut away, 1)), [Some(80), None]);
        }
    }

    /// Two phones that have changed their networks.
    #[test]
    fn an_address_is_no_proof() {
        let mut away = Away::default();
        lose(&mut away, 0, 1, 30);
        lose(&mut away, 1, 2, 50);
        assert_eq!([take(&mut away, 2), take(&mut away, 1)], [Some(30), Some(30)]);
    }

    /// A new device with the same login takes nothing from the one that was lost.
    #[test]
    fn what_another_address_has_taken_comes_back() {
        let mut away = Away::default();
        lose(&mut away, 0, 1, 50);
        assert_eq!([take(&mut away, 2), take(&mut away, 3)], [Some(50), None]);
        assert_eq!([take(&mut away, 1), take(&mut away, 1)], [Some(50), None]);
        assert_eq!((away.len(), away.bytes()), (0, 0));
    }

    #[test]
    fn a_pid_brings_back_what_another_has_taken() {
        let mut away = Away::default();
        away.add(AwaySession { has_pid: true, ..session(0, 5, 1, 50) });
        assert_eq!([take(&mut away, 1), take(&mut away, 1)], [Some(50), None]);
        assert!(away.is_taken(key(0)) && away.remove(key(0)).is_some() && away.bytes() == 0);
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
        assert!(away.drop_oldest().is_some() && away.get(key(0)).is_none() && away.get(key(1)).is_some());
        assert!(away.remove(key(2)).is_some());
        away.forget(|session| session.tenant == TenantId(0));
        assert_eq!((count(&away, "a"), away.drop_oldest(), away.bytes()), (0, None, 0));
    }
}
