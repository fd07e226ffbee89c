//! What one connected peer is, and what it costs.
//!
//! An idle plain WebSocket client costs, beside its connection: [`Client`] 64 bytes, [`Session`] 72, one allocation for
//! the strings of its login, 24 bytes in each of its rooms; nothing to read into, no protocol state, no queue.

use core::{net::IpAddr, num::NonZeroU64};
use std::{collections::HashSet, rc::Rc};

use smallvec::SmallVec;

use super::{SpaceId, room::RoomIndex, roster::Listing, socketio::Socket};
use crate::{
    clock::Time,
    key::{ClientKey, ConnKey, SessionKey},
    limits::Limits,
    outbox::Outbox,
};

/// One peer with one outbox. It will outlive its connections where a transport has several.
#[derive(Default)]
pub struct Client {
    /// What waits for it.
    pub outbox: Outbox,
    /// What carries it.
    pub conn: Option<ConnKey>,
    /// Its session; none while it takes its leave, or if it speaks Socket.IO.
    pub session: Option<SessionKey>,
    /// What it has if it speaks Socket.IO, with its sessions.
    pub socket: Option<Box<Socket>>,
    /// The message rate it has used.
    pub rate: Rate,
    /// Whether it stands in the list of those to be flushed.
    pub dirty: bool,
    /// Whether it is being closed: nothing is queued for it any more.
    pub ending: bool,
    /// How often it was not let into a namespace. (This and the next are Socket.IO's, and here because here they cost nothing.)
    pub refusals: u8,
    /// How often it joined or left a namespace.
    pub moves: u8,
}

const _: () = assert!(size_of::<Client>() <= 64);

/// A client in one namespace, with its rooms and who it says it is.
pub struct Session {
    /// Whose it is.
    pub client: ClientKey,
    /// Who it is.
    pub identity: Identity,
    /// Where it is, in the order it came there.
    pub rooms: SmallVec<[Membership; 2]>,
    /// The tenant, as an index into the hub's list.
    pub tenant: u16,
    /// The namespace.
    pub space: SpaceId,
    /// How it wants its messages.
    pub form: Form,
    /// Whether its rooms want to know when it leaves.
    pub watch_quit: bool,
    /// Whether the backend has not said yet that it may come in: nobody sees it until then.
    pub pending: bool,
    /// How it stands with Redis.
    pub listing: Listing,
}

const _: () = assert!(size_of::<Session>() <= 72);

/// A room, and the member's place in it.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// Which room of the tenant.
    pub room: RoomIndex,
    /// The index in the room's list of members.
    pub place: u32,
}

/// How a member wants a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"event":"newMsg",…}` in a text frame.
    Json,
    /// The data itself.
    Text,
    /// A Socket.IO event over Engine.IO 3.
    SocketIo3,
    /// The same over Engine.IO 4.
    SocketIo4,
}

impl Form {
    /// How many forms there are.
    pub const COUNT: usize = 4;
}

/// Who it says it is, in one allocation with its address, and the page it came from.
pub struct Identity {
    /// The user's id and name, what else the page told, a space, and the address if there is one. (As bytes of its own the
    /// address would cost each session sixteen; here it mostly fits into what the allocation is rounded up to.)
    text: Box<str>,
    agent: Rc<Agent>,
    userid_end: u16,
    username_end: u16,
    since: u32,
}

impl Identity {
    /// Keeps what a login said, ids and names of at most 32,767 bytes; `ip` is none for a peer of a Unix socket; `since` is
    /// when it was, in unix seconds until the year 2106.
    pub fn new(
        userid: &str,
        username: &str,
        ext_info: &str,
        agent: Rc<Agent>,
        ip: Option<IpAddr>,
        since: u64,
    ) -> Identity {
        let most = |name: &str| name.floor_char_boundary(LONGEST_PART);
        let (userid, username) = (&userid[..most(userid)], &username[..most(username)]);
        let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
        Identity {
            text: [userid, username, ext_info, " ", &ip].concat().into(),
            agent,
            userid_end: userid.len() as u16,
            username_end: (userid.len() + username.len()) as u16,
            since: since as u32,
        }
    }

    /// What the login calls the user.
    pub fn userid(&self) -> &str {
        &self.text[..self.userid_end.into()]
    }

    /// The user's name to show.
    pub fn username(&self) -> &str {
        &self.text[self.userid_end.into()..self.username_end.into()]
    }

    /// Whatever else the page told.
    pub fn ext_info(&self) -> &str {
        &self.text[self.username_end.into()..self.border()]
    }

    /// When it came, unix seconds.
    pub fn since(&self) -> u64 {
        self.since.into()
    }

    /// The page and the browser.
    pub fn agent(&self) -> &Rc<Agent> {
        &self.agent
    }

    /// What is left of it when its session is over.
    pub fn into_agent(self) -> Rc<Agent> {
        self.agent
    }

    /// The peer's address; nothing for a peer of a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.text[self.border() + 1..].parse().ok()
    }

    /// Where the space stands before the address, which has none in itself.
    fn border(&self) -> usize {
        self.text.rfind(' ').expect("it was made with one")
    }
}

/// The page and the browser a client came with: shared, since thousands come with the same. Kept apart they would cost
/// each session 200 bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The `Referer` header, at most 512 bytes of it.
    pub referer: Box<str>,
    /// The `User-Agent` header, likewise.
    pub user_agent: Box<str>,
}

/// Every [`Agent`] that some session has.
#[derive(Default)]
pub struct Agents {
    known: HashSet<Rc<Agent>>,
}

impl Agents {
    /// The one agent with these headers.
    pub fn intern(&mut self, referer: &str, user_agent: &str) -> Rc<Agent> {
        let agent = Agent { referer: cut(referer).into(), user_agent: cut(user_agent).into() };
        if let Some(known) = self.known.get(&agent) {
            return known.clone();
        }
        let agent = Rc::new(agent);
        self.known.insert(agent.clone());
        agent
    }

    /// Forgets the agent if `gone` was the last of it that somebody had.
    pub fn release(&mut self, gone: Rc<Agent>) {
        if Rc::strong_count(&gone) == 2 {
            self.known.remove(&gone);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// How much of a rate was used: a token bucket in eight bytes (the generic cell rate algorithm: the time at which all
/// that was taken will have been earned).
#[derive(Clone, Copy, Default)]
pub struct Rate(Option<NonZeroU64>);

impl Rate {
    /// Takes `count` messages at `now`; whether they may pass. More than a burst may pass after a rest, as a debt.
    pub fn take(&mut self, count: u64, limits: &Limits, now: Time) -> bool {
        if limits.message_rate == 0 {
            return true;
        }
        let each = 1_000_000 / limits.message_rate;
        let earned = self.0.map_or(0, NonZeroU64::get).max(now.micros());
        let free = limits.message_burst.saturating_sub(count);
        if earned - now.micros() > each * free {
            return false;
        }
        self.0 = NonZeroU64::new(earned + each * count);
        true
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_HEADER)]
}

/// Bytes of an id or a name that fit into an [`Identity`].
const LONGEST_PART: usize = 32_767;
/// Bytes that are kept of a header.
const LONGEST_HEADER: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        let mut agents = Agents::default();
        let agent = agents.intern("http://page/", &"ü".repeat(400));
        assert_eq!(agent.user_agent.len(), 512);
        let ip = "10.0.0.1".parse().ok();
        let one = Identity::new("7", "张三", "{}", agent.clone(), ip, 5);
        assert_eq!((one.userid(), one.username(), one.ext_info(), one.ip()), ("7", "张三", "{}", ip));
        let spaces = Identity::new(" ", "a b", " { } ", agent.clone(), "::1".parse().ok(), 5);
        assert_eq!((spaces.userid(), spaces.username(), spaces.ext_info()), (" ", "a b", " { } "));
        assert_eq!(spaces.ip(), "::1".parse().ok());
        drop(spaces);
        let two = Identity::new("", "", "", agents.intern("http://page/", &"ü".repeat(300)), None, 5);
        assert_eq!((two.userid(), two.ip(), agents.len()), ("", None, 1));
        drop(agent);
        agents.release(one.into_agent());
        assert_eq!(agents.len(), 1);
        agents.release(two.into_agent());
        assert!(agents.is_empty());
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limits = Limits { message_rate: 100, message_burst: 5, ..Limits::default() };
        let mut rate = Rate::default();
        let mut taken = |millis: u64| rate.take(1, &limits, Time::from_micros(millis * 1000));
        assert_eq!((0..7).filter(|_| taken(1000)).count(), 5);
        assert!(!taken(1009) && taken(1010) && !taken(1010) && taken(1025));
        assert_eq!((0..7).filter(|_| taken(9000)).count(), 5);
        let free = Limits { message_rate: 0, ..limits.clone() };
        assert!((0..1000).all(|_| rate.take(1, &free, Time::START)));
    }
}
