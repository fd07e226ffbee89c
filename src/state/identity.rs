//! Who a session says it is, and where it comes from.

use core::net::IpAddr;
use std::{collections::HashSet, rc::Rc};

use crate::text::truncate;

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
        let cut = |name| truncate(name, LONGEST_PART);
        let (userid, username) = (cut(userid), cut(username));
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
        let agent = Agent {
            referer: truncate(referer, LONGEST_HEADER).into(),
            user_agent: truncate(user_agent, LONGEST_HEADER).into(),
        };
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
}
