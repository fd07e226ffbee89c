//! The sockets of the link to Redis (docs/cluster.md): opened when the link wants them, read within a turn's budget like all
//! others, and written after the clients of this relay.

pub mod links;

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};

use log::warn;
use mio::{
    Token,
    event::Event,
    net::{TcpStream, UnixStream},
};

use self::links::{Link, Links};
use super::{conn::Socket, event_loop::Server, tokens, waker::waker};
use crate::{
    api::{snapshot::Snapshot, view::View},
    clock::Time,
    config::{Config, Place},
    events,
    key::ConnKey,
    limits::Limits,
    redis::Role,
};

impl Server {
    /// When something about the link must be done if nothing happens before.
    pub(super) fn cluster_deadline(&self) -> Time {
        let doze = self.cluster.doze.unwrap_or(Time::NEVER);
        doze.min(match self.cluster.resolver.finding_until() {
            // While the name is being resolved no connection can be opened; one that is established goes on.
            Some(until) => self.hub.cluster.deadline(false).min(until),
            None => self.hub.cluster.deadline(true),
        })
    }

    /// Takes the configuration of the link.
    pub(super) fn configure_cluster(&mut self) {
        let config = self.hub.config().clone();
        let longest = longest(&config.limits);
        if events::cluster::configure(&mut self.hub, &config.redis, longest) {
            let waiting = core::mem::take(&mut self.cluster.waiting);
            self.cluster = Links { waiting, ..Links::default() };
        }
        warn_of_distrust(&config);
    }

    /// Something happened on a connection to Redis.
    pub(super) fn handle_cluster(&mut self, event: &Event) {
        let role = role(event.token().0 - tokens::REDIS);
        let Some(link) = &mut self.cluster.links[role as usize] else { return };
        if !link.connected {
            match link.socket.is_connected() {
                Ok(true) => link.connected = true,
                Ok(false) => return,
                Err(error) => return self.end_link(role, &error.to_string(), true),
            }
        }
        link.hung_up |= event.is_read_closed() || event.is_error();
        // Who has more to read than a turn's budget is read from when the next turn begins.
        if (event.is_readable() || link.hung_up) && !self.cluster.again[role as usize] {
            self.read_link(role);
            self.start_doze(role);
        }
        self.write_link(role);
    }

    /// Of a busy channel on which nothing is for anybody here each message would wake the loop for nothing, which costs ten
    /// times what the message does. Then the subscription is looked at every 20 ms until something is for somebody again.
    fn start_doze(&mut self, role: Role) {
        let bored = self.cluster.unwanted >= UNWANTED && !self.cluster.again[role as usize];
        let link = self.cluster.links[role as usize].as_mut().filter(|link| !link.hung_up);
        if let (Role::Subscriber, true, Some(link), None) = (role, bored, link, self.cluster.doze)
            && link.socket.deregister(self.poll.registry()).is_ok()
        {
            self.cluster.doze = Some(self.now.time.after(DOZE));
        }
    }

    /// Looks at the subscription; watches it again if there is nothing, or something for somebody.
    fn end_doze(&mut self) {
        self.cluster.doze = None;
        let before = self.hub.state.stats.redis_received;
        self.read_link(Role::Subscriber);
        let Some(link) = &mut self.cluster.links[Role::Subscriber as usize] else { return };
        if self.cluster.unwanted >= UNWANTED && self.hub.state.stats.redis_received > before {
            self.cluster.doze = Some(self.now.time.after(DOZE));
            return;
        }
        self.cluster.unwanted = 0;
        let watched = link.socket.register(self.poll.registry(), Token(tokens::REDIS + Role::Subscriber as usize));
        if let Err(error) = watched {
            self.end_link(Role::Subscriber, &error.to_string(), false);
        }
    }

    /// Reads on where a turn's budget was used up.
    pub(super) fn read_cluster_again(&mut self) {
        for role in ROLES {
            if core::mem::take(&mut self.cluster.again[role as usize]) {
                self.read_link(role);
            }
        }
    }

    fn read_link(&mut self, role: Role) {
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(link) = &mut self.cluster.links[role as usize] {
            let more = link.hung_up || matches!(link.socket, Socket::Unix(_));
            match link.socket.read(&mut buffer) {
                Ok(0) => self.end_link(role, "it closed the connection", false),
                Ok(length) => {
                    let mut input = &buffer[..length];
                    let before = self.reach();
                    while !input.is_empty() {
                        if !events::cluster::handle_input(&mut self.hub, role, &mut input, self.now) {
                            break;
                        }
                        if self.hub.state.needs_flush() {
                            self.carry_out();
                        }
                    }
                    if role == Role::Subscriber {
                        let (received, reached) = self.reach();
                        let for_nobody = reached == before.1;
                        self.cluster.unwanted =
                            if for_nobody { self.cluster.unwanted + received - before.0 } else { 0 };
                    }
                    self.drop_links();
                    // A full buffer is a turn's budget, a part-full one means that the socket is empty.
                    self.cluster.again[role as usize] = length == buffer.len();
                    if length == buffer.len() || !more {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end_link(role, &error.to_string(), false),
            }
        }
        self.buffer = buffer;
    }

    /// What has come over Redis so far, and what of it was for somebody: queued for clients, or siblings' answers to them.
    fn reach(&self) -> (u64, u64) {
        let stats = &self.hub.state.stats;
        (stats.redis_received, stats.delivered + stats.emitted + self.hub.cluster.answers())
    }

    fn write_link(&mut self, role: Role) {
        while let Some(link) = self.cluster.links[role as usize].as_mut().filter(|link| link.connected) {
            let output = self.hub.cluster.output(role);
            if output.is_empty() {
                break;
            }
            match link.socket.write(output) {
                Ok(0) => self.end_link(role, "it takes nothing", false),
                Ok(written) => self.hub.cluster.wrote(role, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end_link(role, &error.to_string(), false),
            }
        }
    }

    fn end_link(&mut self, role: Role, why: &str, unconnected: bool) {
        if unconnected {
            self.cluster.resolver.try_next();
        }
        self.hub.cluster.handle_end(role, why, &mut self.hub.state, &mut self.hub.log);
        self.drop_links();
    }

    /// Closes what the link has given up.
    fn drop_links(&mut self) {
        for role in ROLES {
            if !self.hub.cluster.has_link(role) {
                self.cluster.links[role as usize] = None;
                if role == Role::Subscriber {
                    (self.cluster.doze, self.cluster.unwanted) = (None, 0);
                }
            }
        }
    }

    /// Opens what the link wants open, and sends what it wants sent: behind everything for the members of this relay.
    pub(super) fn pump_cluster(&mut self) {
        for role in ROLES {
            if self.hub.cluster.wants_dial(role, self.now.time) {
                self.dial(role);
            }
        }
        loop {
            self.hub.cluster.pump(&mut self.hub.state, &mut self.hub.log);
            let before = self.hub.cluster.output(Role::Publisher).len();
            ROLES.into_iter().for_each(|role| self.write_link(role));
            let after = self.hub.cluster.output(Role::Publisher).len();
            // What is left waits for the socket; what was written makes room for more.
            if after > 0 || before == 0 {
                break;
            }
        }
    }

    fn dial(&mut self, role: Role) {
        let Some(url) = self.hub.cluster.url().cloned() else { return };
        let opened = match &url.place {
            Place::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
            Place::Tcp(host, port) => {
                let (poll, made) = (&self.poll, &mut self.waker);
                match self.cluster.resolver.find(host, *port, FINDING, self.now.time, &mut || waker(made, poll)) {
                    None => return,
                    Some(found) => found.and_then(TcpStream::connect).map(|stream| {
                        let _ = stream.set_nodelay(true);
                        Socket::Tcp(stream)
                    }),
                }
            }
        };
        let registered = opened.and_then(|mut socket| {
            socket.register(self.poll.registry(), Token(tokens::REDIS + role as usize))?;
            Ok(socket)
        });
        self.hub.cluster.dialled(role, self.now.time);
        match registered {
            // Its first event says that it is connected; a Unix socket is at once.
            Ok(socket) => {
                let connected = matches!(socket, Socket::Unix(_));
                self.cluster.links[role as usize] = Some(Link { socket, connected, hung_up: false });
            }
            Err(error) => self.end_link(role, &error.to_string(), true),
        }
    }

    /// Does what time brings.
    pub(super) fn expire_cluster(&mut self) {
        if self.cluster.doze.is_some_and(|until| until <= self.now.time) {
            self.end_doze();
        }
        if self.hub.cluster.deadline(true) <= self.now.time {
            self.hub.cluster.handle_timeout(&mut self.hub.state, &mut self.hub.log);
            self.drop_links();
        }
    }

    /// A request waits until Redis has said what it is about.
    pub(super) fn await_lookup(&mut self, key: ConnKey, view: View) {
        self.cluster.waiting.push((key, view));
    }

    /// Answers those whose answer is there; whether there were any.
    pub(super) fn answer_lookups(&mut self) -> bool {
        let before = self.cluster.waiting.len();
        for (key, view) in core::mem::take(&mut self.cluster.waiting) {
            if view.must_wait(&mut self.hub, self.now) {
                self.cluster.waiting.push((key, view));
                continue;
            }
            let snapshot = Snapshot { hub: &self.hub, site: &self.site, now: self.now, connections: self.conns.len() };
            let reply = view.render(&snapshot);
            self.answer(key, reply);
        }
        self.cluster.waiting.len() < before
    }

    /// Relay takes its leave: siblings are told.
    pub(super) fn leave_cluster(&mut self) {
        self.hub.cluster.leave(&mut self.hub.state);
    }

    /// Whether siblings know.
    pub(super) fn has_left_cluster(&self) -> bool {
        self.hub.cluster.is_done(&self.hub.state)
    }
}

fn role(index: usize) -> Role {
    if index == Role::Subscriber as usize { Role::Subscriber } else { Role::Publisher }
}

/// Bytes of the longest thing on a channel: control characters in a body are six in JSON.
fn longest(limits: &Limits) -> u64 {
    limits.body.max(limits.message).saturating_mul(6).saturating_add(64 * 1024)
}

fn warn_of_distrust(config: &Config) {
    let redis = &config.redis;
    if redis.url.is_some() && !redis.trust_from_sys && redis.secret.is_none() {
        warn!("redis.trust_from_sys is false and there is no redis.secret: nothing that siblings publish is believed");
    }
}

const ROLES: [Role; 2] = [Role::Subscriber, Role::Publisher];
/// Messages in a row for nobody here, and how long none is looked at after that.
const UNWANTED: u64 = 100;
const DOZE: Duration = Duration::from_millis(20);
/// How long a search for the server's name may take.
const FINDING: Duration = Duration::from_secs(5);
