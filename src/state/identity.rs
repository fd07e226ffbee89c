//! The user, address, page and browser of a session.

use core::net::IpAddr;
use std::{collections::HashSet, rc::Rc};

use crate::text::truncate;

/// The user of a session as given by the login, and the address, page and browser that it comes from.
pub struct Identity {
    /// `userid`, `username`, `ext_info`, a space, and the address if there is one. One allocation for all of them: the
    /// address as a field of its own would add 16 bytes to each session, and here it mostly fits into the allocator's
    /// rounding.
    text: Box<str>,
    agent: Rc<Agent>,
    userid_end: u16,
    username_end: u16,
    since: u32,
}

impl Identity {
    /// Keeps the fields of a login. `userid` and `username` are truncated to 32,767 bytes each. `ip` is `None` for a
    /// peer of a Unix socket. `since` is the time of the login in Unix seconds, up to the year 2106.
    pub fn new(
        userid: &str,
        username: &str,
        ext_info: &str,
        agent: Rc<Agent>,
        ip: Option<IpAddr>,
        since: u64,
    ) -> Identity {
        let truncated = |name| truncate(name, MAX_PART_LEN);
        let (userid, username) = (truncated(userid), truncated(username));
        let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
        Identity {
            text: [userid, username, ext_info, " ", &ip].concat().into(),
            agent,
            userid_end: userid.len() as u16,
            username_end: (userid.len() + username.len()) as u16,
            since: since as u32,
        }
    }

    /// The user's id. Empty if the login has none.
    pub fn userid(&self) -> &str {
        &self.text[..self.userid_end.into()]
    }

    /// The user's display name. Empty if the login has none.
    pub fn username(&self) -> &str {
        &self.text[self.userid_end.into()..self.username_end.into()]
    }

    /// Any other text that the page sent with the login.
    pub fn ext_info(&self) -> &str {
        &self.text[self.username_end.into()..self.ext_info_end()]
    }

    /// The time of the login in Unix seconds.
    pub fn since(&self) -> u64 {
        self.since.into()
    }

    /// The page and the browser.
    pub fn agent(&self) -> &Rc<Agent> {
        &self.agent
    }

    /// The page and the browser, to be [released](Agents::release) at the end of the session.
    pub fn into_agent(self) -> Rc<Agent> {
        self.agent
    }

    /// The client's address. `None` for a peer of a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.text[self.ext_info_end() + 1..].parse().ok()
    }

    /// The position of the space before the address. The address itself has none.
    fn ext_info_end(&self) -> usize {
        self.text.rfind(' ').expect("the text was built with a space")
    }
}

/// The page and the browser of a client. Sessions share one value, because thousands have the same: a copy for each
/// would cost some 200 bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The `Referer` header, truncated to 512 bytes.
    pub referer: Box<str>,
    /// The `User-Agent` header, truncated to 512 bytes.
    pub user_agent: Box<str>,
}

impl Agent {
    /// The address of the page, without its query, which can have a token.
    pub fn page(&self) -> &str {
        page(&self.referer)
    }
}

/// The address of a page without its query and fragment. The query can have a token.
pub fn page(referer: &str) -> &str {
    referer.split(['?', '#']).next().unwrap_or_default()
}

/// Every [`Agent`] that is in use.
#[derive(Default)]
pub struct Agents {
    known: HashSet<Rc<Agent>>,
}

impl Agents {
    /// The shared agent with these headers.
    pub fn intern(&mut self, referer: &str, user_agent: &str) -> Rc<Agent> {
        let agent = Agent {
            referer: truncate(referer, MAX_HEADER_LEN).into(),
            user_agent: truncate(user_agent, MAX_HEADER_LEN).into(),
        };
        if let Some(known) = self.known.get(&agent) {
            return known.clone();
        }
        let agent = Rc::new(agent);
        self.known.insert(agent.clone());
        agent
    }

    /// Drops a reference, and the agent with its last one.
    pub fn release(&mut self, agent: Rc<Agent>) {
        // Two references are left: `agent`, and the one in the set.
        if Rc::strong_count(&agent) == 2 {
            self.known.remove(&agent);
        }
    }

    /// The number of agents in use.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no agent is in use.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Longest `userid` and `username`, in bytes: both together must fit into 16 bits.
const MAX_PART_LEN: usize = 32_767;

/// Longest header that is kept, in bytes.
const MAX_HEADER_LEN: usize = 512;

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
