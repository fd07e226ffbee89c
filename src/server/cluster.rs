//! The two connections to Redis (docs/cluster.md): opened when [`Cluster`](crate::cluster::Cluster) asks for them, read
//! with the budget of a client connection, and written after the clients of this relay are flushed.

pub mod links;
mod master;
pub mod search;

use core::time::Duration;
use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use log::warn;
use mio::{
    Token,
    event::Event,
    net::{TcpStream, UnixStream},
};

use self::links::{Link, Links};
use super::{conn::Socket, event_loop::Server, resolver::Resolver, tokens, transport::Transport, waker::waker};
use crate::{
    api::{snapshot::Snapshot, view::View},
    clock::Time,
    config::{Config, Place, Servers},
    events,
    key::ConnKey,
    limits::Limits,
    redis::Role,
};

impl Server {
    /// When [`Server::expire_cluster`] or [`Server::pump_cluster`] must be called, even if no event occurs.
    pub(super) fn cluster_deadline(&self) -> Time {
        let poll = self.cluster.paused_until.unwrap_or(Time::NEVER);
        let searching = self.cluster.search.deadline().or(self.cluster.resolver.finding_until());
        poll.min(match searching {
            // While the server is being looked up, no connection can be opened; an open one continues to work.
            Some(until) => self.hub.cluster.deadline(false).min(until),
            None => self.hub.cluster.deadline(true),
        })
    }

    /// Applies `[redis]`. Closes both connections if the server, the channel, the key prefix or the heartbeat changed.
    pub(super) fn configure_cluster(&mut self) {
        let config = self.hub.config().clone();
        let max_publication = max_publication(&config.limits);
        if events::cluster::configure(&mut self.hub, &config.redis, max_publication) {
            let waiting = core::mem::take(&mut self.cluster.waiting);
            self.cluster = Links { waiting, ..Links::default() };
        }
        warn_if_untrusted(&config);
    }

    /// Handles an event of a connection to Redis.
    pub(super) fn handle_cluster(&mut self, event: &Event) {
        if event.token().0 == tokens::SENTINEL {
            return self.handle_sentinel();
        }
        let role = role(event.token().0 - tokens::REDIS);
        let Some(link) = &mut self.cluster.links[role as usize] else { return };
        if !link.connected {
            match link.socket.socket().is_connected() {
                Ok(true) => link.connected = true,
                Ok(false) => return,
                Err(error) => return self.end_link(role, &error.to_string()),
            }
        }
        link.hung_up |= event.is_read_closed() || event.is_error();
        // A scheduled connection is read at the beginning of the next turn.
        if (event.is_readable() || link.hung_up) && !self.cluster.read_scheduled[role as usize] {
            self.read_link(role);
            self.pause_subscription(role);
        }
        self.write_link(role);
    }

    /// Pauses events of the subscription if none of its last messages had a receiver here. Waking the event loop for
    /// each message costs ten times as much as skipping the message, so the subscription is polled every 20 ms instead.
    fn pause_subscription(&mut self, role: Role) {
        let idle = self.cluster.unwanted >= PAUSE_AFTER && !self.cluster.read_scheduled[role as usize];
        let link = self.cluster.links[role as usize].as_mut().filter(|link| !link.hung_up);
        if let (Role::Subscriber, true, Some(link), None) = (role, idle, link, self.cluster.paused_until)
            && link.socket.socket().deregister(self.poll.registry()).is_ok()
        {
            self.cluster.paused_until = Some(self.now.time.after(PAUSE));
        }
    }

    /// Polls the paused subscription. Events resume if nothing arrived, or if a message had a receiver here.
    fn poll_subscription(&mut self) {
        self.cluster.paused_until = None;
        let before = self.hub.state.stats.redis_received;
        self.read_link(Role::Subscriber);
        let Some(link) = &mut self.cluster.links[Role::Subscriber as usize] else { return };
        if self.cluster.unwanted >= PAUSE_AFTER && self.hub.state.stats.redis_received > before {
            self.cluster.paused_until = Some(self.now.time.after(PAUSE));
            return;
        }
        self.cluster.unwanted = 0;
        let registered =
            link.socket.socket().register(self.poll.registry(), Token(tokens::REDIS + Role::Subscriber as usize));
        if let Err(error) = registered {
            self.end_link(Role::Subscriber, &error.to_string());
        }
    }

    /// Reads the connections that used up their budget in the last turn.
    pub(super) fn read_scheduled_links(&mut self) {
        for role in ROLES {
            if core::mem::take(&mut self.cluster.read_scheduled[role as usize]) {
                self.read_link(role);
            }
        }
    }

    /// Reads a connection and handles its input, up to the budget of a turn.
    fn read_link(&mut self, role: Role) {
        let mut buffer = core::mem::take(&mut self.buffer);
        let mut budget = buffer.len();
        while let Some(link) = &mut self.cluster.links[role as usize] {
            let more = link.hung_up || link.socket.reads_partly();
            match link.socket.read(&mut buffer) {
                Ok(0) => self.end_link(role, &self.closed(role, "Redis closed the connection")),
                Ok(length) => {
                    let mut input = &buffer[..length];
                    let before = self.counters();
                    while !input.is_empty() {
                        if !events::cluster::handle_input(&mut self.hub, role, &mut input, self.now) {
                            break;
                        }
                        if self.hub.state.needs_flush() {
                            self.carry_out(true);
                        }
                    }
                    if role == Role::Subscriber {
                        let (received, reached) = self.counters();
                        let without_receiver = reached == before.1;
                        self.cluster.unwanted =
                            if without_receiver { self.cluster.unwanted + received - before.0 } else { 0 };
                    }
                    self.drop_links();
                    // A full buffer is the budget of a turn. A partly filled one means that a TCP socket is empty.
                    budget = budget.saturating_sub(length);
                    self.cluster.read_scheduled[role as usize] = budget == 0;
                    if budget == 0 || !more {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // TLS has its own texts.
                Err(error) if error.kind() == ErrorKind::InvalidData => self.end_link(role, &error.to_string()),
                Err(error) => self.end_link(role, &self.closed(role, &error.to_string())),
            }
        }
        self.buffer = buffer;
    }

    /// Counters to compare before and after a read: the messages received over Redis; and the frames queued for clients
    /// plus the answers from other relays.
    fn counters(&self) -> (u64, u64) {
        let stats = &self.hub.state.stats;
        (stats.redis_received, stats.delivered + stats.emitted + self.hub.cluster.answers())
    }

    /// Writes the output of a connection as far as the socket allows.
    fn write_link(&mut self, role: Role) {
        while let Some(link) = self.cluster.links[role as usize].as_mut().filter(|link| link.connected) {
            let output = self.hub.cluster.output(role);
            // TLS has messages of its own to send.
            let written = match link.socket.flush() {
                Ok(more) if output.is_empty() || !more => break,
                Ok(_) => link.socket.write(output),
                Err(error) => Err(error),
            };
            match written {
                Ok(0) => self.end_link(role, "the socket accepts no bytes"),
                Ok(written) => self.hub.cluster.advance_output(role, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end_link(role, &error.to_string()),
            }
        }
    }

    /// Why an established connection ended. A server that expects TLS closes it when it gets a command, and one that asks for
    /// a client certificate may close it before its alert is read.
    fn closed(&self, role: Role, why: &str) -> String {
        let link = self.cluster.links[role as usize].as_ref().filter(|_| !self.hub.cluster.is_ready(role));
        match link.map(|link| &link.socket) {
            Some(Transport::Plain(Socket::Tcp(_))) => {
                format!("{why} in the handshake: does it expect TLS (rediss://)?")
            }
            Some(Transport::Tls(_)) => {
                format!("{why} in the handshake: does it ask for a client certificate (cert_file)?")
            }
            _ => why.into(),
        }
    }

    /// Reports that a connection ended or could not be opened.
    fn end_link(&mut self, role: Role, why: &str) {
        self.hub.cluster.handle_end(role, why, &mut self.hub.state, &mut self.hub.log);
        self.drop_links();
    }

    /// Closes the sockets of connections that [`Cluster`](crate::cluster::Cluster) has dropped.
    fn drop_links(&mut self) {
        for role in ROLES {
            if !self.hub.cluster.has_link(role) {
                // After a failover the name may lead to another server, also if this one could be reached.
                if let Some(address) = self.cluster.links[role as usize].take().and_then(|link| link.address) {
                    self.leave(address);
                }
                if role == Role::Subscriber {
                    (self.cluster.paused_until, self.cluster.unwanted) = (None, 0);
                }
            }
        }
    }

    /// Looks the server up again for the next connection, or tries its next address: this one cannot be used.
    fn leave(&mut self, address: SocketAddr) {
        self.cluster.resolver.leave(address);
        self.cluster.search.forget();
    }

    /// Opens the connections that are due, and sends what is queued. Called after the clients of this relay were flushed.
    pub(super) fn pump_cluster(&mut self) {
        for role in ROLES {
            if self.hub.cluster.should_connect(role, self.now.time) {
                self.connect_link(role);
            }
        }
        loop {
            self.hub.cluster.pump(&mut self.hub.state, &mut self.hub.log);
            let before = self.hub.cluster.output(Role::Publisher).len();
            ROLES.into_iter().for_each(|role| self.write_link(role));
            let after = self.hub.cluster.output(Role::Publisher).len();
            // If everything was written, there may be room for more. Otherwise the rest waits until the socket is
            // writable.
            if after > 0 || before == 0 {
                break;
            }
        }
    }

    /// Starts to connect. While the server is being looked up, does nothing: it is called again afterwards.
    fn connect_link(&mut self, role: Role) {
        let Some(url) = self.hub.cluster.url().cloned() else { return };
        let mut address = None;
        let place = match &url.servers {
            Servers::One(place) => Ok(place.clone()),
            Servers::Sentinels(sentinels) => match self.find_master(sentinels) {
                None => return,
                Some(found) => found.map(|(host, port)| Place::Tcp(host, port)).map_err(io::Error::other),
            },
        };
        if let Ok(Place::Tcp(host, port)) = &place
            && self.cluster.resolved != format!("{host}:{port}")
        {
            (self.cluster.resolver, self.cluster.resolved) = (Resolver::default(), format!("{host}:{port}"));
        }
        let opened = match &place {
            Err(error) => Err(io::Error::other(error.to_string())),
            Ok(Place::Unix(path)) => UnixStream::connect(path).map(Socket::Unix),
            Ok(Place::Tcp(host, port)) => {
                let (poll, made) = (&self.poll, &mut self.waker);
                match self.cluster.resolver.find(host, *port, RESOLVE_TIMEOUT, self.now.time, &mut || waker(made, poll))
                {
                    None => return,
                    Some(found) => found.and_then(|found| {
                        address = Some(found);
                        TcpStream::connect(found).map(|stream| {
                            let _ = stream.set_nodelay(true);
                            Socket::Tcp(stream)
                        })
                    }),
                }
            }
        };
        let tls = match &place {
            Ok(Place::Tcp(host, _)) => self.hub.cluster.tls().map(|tls| (tls, host.as_str())),
            _ => None,
        };
        let registered = opened.and_then(|socket| {
            let connected = matches!(socket, Socket::Unix(_));
            let mut socket = Transport::new(socket, tls)?;
            socket.socket().register(self.poll.registry(), Token(tokens::REDIS + role as usize))?;
            Ok((socket, connected))
        });
        self.hub.cluster.begin_connection(role, self.now.time);
        match registered {
            // The first event of a TCP socket reports that it is connected; Unix sockets connect at once.
            Ok((socket, connected)) => {
                self.cluster.links[role as usize] = Some(Link { socket, address, connected, hung_up: false });
            }
            Err(error) => {
                match address {
                    Some(address) => self.leave(address),
                    // A name that the Sentinels gave may not resolve: ask them again.
                    None => self.cluster.search.forget(),
                }
                self.end_link(role, &error.to_string());
            }
        }
    }

    /// Handles deadlines that have passed.
    pub(super) fn expire_cluster(&mut self) {
        if self.cluster.paused_until.is_some_and(|until| until <= self.now.time) {
            self.poll_subscription();
        }
        self.expire_sentinel();
        if self.hub.cluster.deadline(true) <= self.now.time {
            self.hub.cluster.handle_timeout(&mut self.hub.state, &mut self.hub.log);
            self.drop_links();
        }
    }

    /// Records that a request waits for its look-up in Redis.
    pub(super) fn await_lookup(&mut self, key: ConnKey, view: View) {
        self.cluster.waiting.push((key, view));
    }

    /// Answers the requests whose look-up has ended. Returns whether there were any.
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

    /// Announces the shutdown to other relays, and removes this relay's records from Redis.
    pub(super) fn leave_cluster(&mut self) {
        self.hub.cluster.leave(&mut self.hub.state);
    }

    /// Whether this relay's departure is complete in Redis, or cannot be completed because there is no connection.
    pub(super) fn has_left_cluster(&self) -> bool {
        self.hub.cluster.is_done(&self.hub.state)
    }
}

fn role(index: usize) -> Role {
    if index == Role::Subscriber as usize { Role::Subscriber } else { Role::Publisher }
}

/// The size limit in bytes of a message on a channel. In JSON a control character takes six bytes.
fn max_publication(limits: &Limits) -> u64 {
    limits.body.max(limits.message).saturating_mul(6).saturating_add(64 * 1024)
}

fn warn_if_untrusted(config: &Config) {
    let redis = &config.redis;
    if redis.url.is_some() && !redis.trust_from_sys && redis.secret.is_none() {
        warn!(
            "redis.trust_from_sys is false and there is no redis.secret: messages from other relays are \
             rejected; set the same redis.secret on all relays"
        );
    }
}

/// Both connections.
const ROLES: [Role; 2] = [Role::Subscriber, Role::Publisher];
/// After this many messages in a row without a receiver here, the subscription is polled.
const PAUSE_AFTER: u64 = 100;
/// The interval of these polls.
const PAUSE: Duration = Duration::from_millis(20);
/// How long resolving the name in `redis.url` may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
