//! The sockets of the link to siblings: opened when the link wants them, read within a turn's budget like everybody's, and
//! written after the members of this relay were.

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};

use log::warn;
use mio::{
    Token,
    event::Event,
    net::{TcpStream, UnixStream},
};

use super::{Server, conn::Socket, resolver::Resolver};
use crate::{
    api::view::{Look, View},
    clock::Time,
    config::{Config, Place},
    key::ConnKey,
    limits::Limits,
    redis::Role,
    siblings::Siblings,
};

/// The link and its sockets.
#[derive(Default)]
pub struct Link {
    machine: Siblings,
    pipes: [Option<Pipe>; 2],
    resolver: Resolver,
    /// There may be more to read.
    again: [bool; 2],
    /// Messages in a row that were for nobody here.
    boring: u64,
    /// The subscription is not watched until then, since nothing of it is for anybody here.
    doze: Option<Time>,
    /// Requests that wait for what Redis knows.
    waiting: Vec<(ConnKey, View)>,
}

struct Pipe {
    socket: Socket,
    connected: bool,
    /// It sends no more: read until the end is seen, since there will be no other event.
    hung_up: bool,
}

impl Link {
    /// When something is to be done, though nothing comes.
    pub fn deadline(&self) -> Time {
        let doze = self.doze.unwrap_or(Time::NEVER);
        doze.min(match self.resolver.finding_until() {
            // While the name is being found no connection can be tried; one that stands goes on.
            Some(until) => self.machine.deadline(false).min(until),
            None => self.machine.deadline(true),
        })
    }

    /// Whether there is more to read.
    pub fn wants_turn(&self) -> bool {
        self.again.contains(&true)
    }
}

impl Server {
    /// Takes the configuration of the link.
    pub(super) fn configure_siblings(&mut self) {
        let config = self.hub.config().clone();
        let longest = longest(&config.limits);
        if self.siblings.machine.configure(&config.redis, &mut self.hub, longest) {
            self.siblings.pipes = [None, None];
            self.siblings.doze = None;
            self.siblings.resolver = Resolver::default();
            self.siblings.again = [false; 2];
        }
        warn_of_distrust(&config);
    }

    /// Something happened on a connection to Redis.
    pub(super) fn handle_siblings(&mut self, event: &Event) {
        let role = role(event.token().0 - FIRST);
        let Some(pipe) = &mut self.siblings.pipes[role as usize] else { return };
        if !pipe.connected {
            match pipe.socket.is_connected() {
                Ok(true) => pipe.connected = true,
                Ok(false) => return,
                Err(error) => return self.end_pipe(role, &error.to_string(), true),
            }
        }
        pipe.hung_up |= event.is_read_closed() || event.is_error();
        // Who has more to read than a turn's budget is read from when the next turn begins.
        if (event.is_readable() || pipe.hung_up) && !self.siblings.again[role as usize] {
            self.read_pipe(role);
            self.consider_a_doze(role);
        }
        self.write_pipe(role);
    }

    /// Of a busy channel on which nothing is for anybody here each message would wake the loop for nothing, which costs ten
    /// times what the message does. Then the subscription is looked at every 20 ms until something is for somebody again.
    fn consider_a_doze(&mut self, role: Role) {
        let bored = self.siblings.boring >= BORING && !self.siblings.again[role as usize];
        let pipe = self.siblings.pipes[role as usize].as_mut().filter(|pipe| !pipe.hung_up);
        if let (Role::Subscriber, true, Some(pipe), None) = (role, bored, pipe, self.siblings.doze)
            && pipe.socket.deregister(self.poll.registry()).is_ok()
        {
            self.siblings.doze = Some(self.now.time.after(DOZE));
        }
    }

    /// Looks at the subscription; watches it again if there is nothing, or something for somebody.
    fn end_doze(&mut self) {
        self.siblings.doze = None;
        let before = self.hub.stats.redis_received;
        self.read_pipe(Role::Subscriber);
        let Some(pipe) = &mut self.siblings.pipes[Role::Subscriber as usize] else { return };
        if self.siblings.boring >= BORING && self.hub.stats.redis_received > before {
            self.siblings.doze = Some(self.now.time.after(DOZE));
            return;
        }
        self.siblings.boring = 0;
        let watched = pipe.socket.register(self.poll.registry(), Token(FIRST + Role::Subscriber as usize));
        if let Err(error) = watched {
            self.end_pipe(Role::Subscriber, &error.to_string(), false);
        }
    }

    /// Reads on where a turn's budget was used up.
    pub(super) fn read_siblings_again(&mut self) {
        for role in ROLES {
            if core::mem::take(&mut self.siblings.again[role as usize]) {
                self.read_pipe(role);
            }
        }
    }

    fn read_pipe(&mut self, role: Role) {
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(pipe) = &mut self.siblings.pipes[role as usize] {
            let more = pipe.hung_up || matches!(pipe.socket, Socket::Unix(_));
            match pipe.socket.read(&mut buffer) {
                Ok(0) => self.end_pipe(role, "it closed the connection", false),
                Ok(length) => {
                    let mut input = &buffer[..length];
                    let before = self.reach();
                    while !input.is_empty() {
                        if !self.siblings.machine.handle_input(role, &mut input, &mut self.hub, self.now) {
                            break;
                        }
                        if self.hub.is_pressed() {
                            self.carry_out();
                        }
                    }
                    if role == Role::Subscriber {
                        let (received, reached) = self.reach();
                        let for_nobody = reached == before.1;
                        self.siblings.boring = if for_nobody { self.siblings.boring + received - before.0 } else { 0 };
                    }
                    self.drop_pipes();
                    // A full buffer is a turn's budget, a part-full one means that the socket is empty.
                    self.siblings.again[role as usize] = length == buffer.len();
                    if length == buffer.len() || !more {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end_pipe(role, &error.to_string(), false),
            }
        }
        self.buffer = buffer;
    }

    /// What has come over Redis so far, and what of it was for somebody: queued for clients, or siblings' answers to them.
    fn reach(&self) -> (u64, u64) {
        let stats = &self.hub.stats;
        (stats.redis_received, stats.delivered + stats.emitted + self.hub.siblings.answers)
    }

    fn write_pipe(&mut self, role: Role) {
        while let Some(pipe) = self.siblings.pipes[role as usize].as_mut().filter(|pipe| pipe.connected) {
            let output = self.siblings.machine.output(role);
            if output.is_empty() {
                break;
            }
            match pipe.socket.write(output) {
                Ok(0) => self.end_pipe(role, "it takes nothing", false),
                Ok(written) => self.siblings.machine.wrote(role, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end_pipe(role, &error.to_string(), false),
            }
        }
    }

    fn end_pipe(&mut self, role: Role, why: &str, unconnected: bool) {
        if unconnected {
            self.siblings.resolver.try_next();
        }
        self.siblings.machine.handle_end(role, why, &mut self.hub, self.now.time);
        self.drop_pipes();
    }

    /// Closes what the link has given up.
    fn drop_pipes(&mut self) {
        for role in ROLES {
            if !self.siblings.machine.has_link(role) {
                self.siblings.pipes[role as usize] = None;
                if role == Role::Subscriber {
                    (self.siblings.doze, self.siblings.boring) = (None, 0);
                }
            }
        }
    }

    /// Opens what the link wants open, and sends what it wants sent: behind everything for the members of this relay.
    pub(super) fn pump_siblings(&mut self) {
        for role in ROLES {
            if self.siblings.machine.wants_dial(role, self.now.time) {
                self.dial(role);
            }
        }
        loop {
            self.siblings.machine.pump(&mut self.hub, self.now);
            let before = self.siblings.machine.output(Role::Publisher).len();
            ROLES.into_iter().for_each(|role| self.write_pipe(role));
            let after = self.siblings.machine.output(Role::Publisher).len();
            // What is left waits for the socket; what was written makes room for more.
            if after > 0 || before == 0 {
                break;
            }
        }
    }

    fn dial(&mut self, role: Role) {
        let Some(url) = self.siblings.machine.url().cloned() else { return };
        let opened = match &url.place {
            Place::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
            Place::Tcp(host, port) => {
                let (poll, waker) = (&self.poll, &mut self.waker);
                let mut waker = || super::waker(waker, poll);
                match self.siblings.resolver.find(host, *port, FINDING, self.now.time, &mut waker) {
                    None => return,
                    Some(found) => found.and_then(TcpStream::connect).map(|stream| {
                        let _ = stream.set_nodelay(true);
                        Socket::Tcp(stream)
                    }),
                }
            }
        };
        let registered = opened.and_then(|mut socket| {
            socket.register(self.poll.registry(), Token(FIRST + role as usize))?;
            Ok(socket)
        });
        self.siblings.machine.dialled(role, self.now.time);
        match registered {
            // Its first event says that it is connected; a Unix socket is at once.
            Ok(socket) => {
                let connected = matches!(socket, Socket::Unix(_));
                self.siblings.pipes[role as usize] = Some(Pipe { socket, connected, hung_up: false });
            }
            Err(error) => self.end_pipe(role, &error.to_string(), true),
        }
    }

    /// Does what time brings.
    pub(super) fn expire_siblings(&mut self) {
        if self.siblings.doze.is_some_and(|until| until <= self.now.time) {
            self.end_doze();
        }
        if self.siblings.machine.deadline(true) <= self.now.time {
            self.siblings.machine.handle_timeout(&mut self.hub, self.now);
            self.drop_pipes();
        }
    }

    /// A request waits until Redis has said what it is about.
    pub(super) fn await_census(&mut self, key: ConnKey, view: View) {
        self.siblings.waiting.push((key, view));
    }

    /// Answers those whose answer is there; whether there were any.
    pub(super) fn answer_census(&mut self) -> bool {
        let before = self.siblings.waiting.len();
        for (key, view) in core::mem::take(&mut self.siblings.waiting) {
            if view.must_wait(&mut self.hub, self.now) {
                self.siblings.waiting.push((key, view));
                continue;
            }
            let look = Look { hub: &self.hub, site: &self.site, now: self.now, connections: self.conns.len() };
            let reply = view.render(&look);
            self.answer(key, reply);
        }
        self.siblings.waiting.len() < before
    }

    /// Relay takes its leave: siblings are told.
    pub(super) fn leave_siblings(&mut self) {
        self.siblings.machine.leave(&mut self.hub);
    }

    /// Whether siblings know.
    pub(super) fn has_left_siblings(&self) -> bool {
        self.siblings.machine.is_done(&self.hub)
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
const BORING: u64 = 100;
const DOZE: Duration = Duration::from_millis(20);
/// The tokens of the two connections.
pub const FIRST: usize = usize::MAX - 8;
/// How long a search for the server's name may take.
const FINDING: Duration = Duration::from_secs(5);
