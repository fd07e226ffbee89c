//! The world: sockets, the clock, signals, and the loop that turns bytes into meaning and back.
//!
//! A turn is always **wait, read, handle, tick, carry out, write, free**. Handling never writes; writing never decides;
//! nothing is freed in the middle of a turn.

pub mod backend;
pub mod clock;
pub mod conn;
pub mod door;
pub mod journal;
pub mod lifecycle;
pub mod listener;
pub mod logger;
pub mod process;
pub mod queue;
pub mod resolver;
pub mod settle;
pub mod siblings;
pub mod timers;
pub mod websocket;

use core::{fmt, time::Duration};
use std::{
    io::{self, ErrorKind, Read},
    rc::Rc,
    sync::Arc,
};

use log::{debug, info, warn};
use mio::{Events, Poll, Token, Waker, event::Event};
use sd_notify::NotifyState;

use self::{
    backend::Backend,
    clock::{Clock, unix_micros},
    conn::{Conn, Phase, Socket, State, WebSocket},
    journal::Journal,
    listener::Listener,
    process::{BadConfig, Manager, Origin, Signals},
    timers::Timers,
};
use crate::{
    api::{self, Context, Outcome, Site, admin::Guesses, assets::Asset},
    clock::{Now, Time},
    config::{Address, Auth},
    engineio::engine::Expired,
    frame::Opcode,
    http::{
        Reply,
        exchange::{Parked, Timeout},
    },
    hub::{Hub, MessageId},
    key::{ClientKey, ConnKey, Slots},
};

/// What the command line decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration comes from.
    pub origin: Origin,
    /// Addresses in place of the configuration's.
    pub listen: Vec<Address>,
    /// Whether keys that everybody knows may be used beyond this machine.
    pub allow_demo_keys: bool,
}

/// Why relay does not run.
#[derive(Debug)]
pub enum Fatal {
    /// The configuration cannot be used.
    Config(BadConfig),
    /// The machine does not give what is needed.
    Io(String, io::Error),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Config(BadConfig(lines)) => f.write_str(&lines.join("\n")),
            Fatal::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

/// Everything that relay touches.
pub struct Server {
    poll: Poll,
    clock: Clock,
    now: Now,
    options: Options,
    listeners: Vec<Listener>,
    signals: Signals,
    manager: Manager,
    conns: Slots<ConnKey, Conn>,
    /// How many of them were only accepted to be refused.
    refused: usize,
    hub: Hub,
    site: Site,
    journal: Option<Journal>,
    backend: Backend,
    siblings: siblings::Link,
    waker: Option<Arc<Waker>>,
    /// Wrong admin tokens.
    guesses: Guesses,
    timers: Timers<ConnKey>,
    /// The deadlines of sessions of Engine.IO, which may be without a connection.
    engines: Timers<ClientKey>,
    /// How many connections the machine allows.
    descriptors: u64,
    /// Accepting is put off until then, or until a connection ends.
    accept_after: Time,
    /// Not to fill the log with it.
    complain_after: Time,
    /// Connections with more to read than they may in one turn.
    again: Vec<ConnKey>,
    /// HTTP connections with something to write.
    replied: Vec<ConnKey>,
    /// Connections to be freed at the end of the turn.
    doomed: Vec<ConnKey>,
    /// Lent to every read.
    buffer: Box<[u8]>,
    /// Lent to every flush.
    flushing: Vec<ClientKey>,
    /// When the service manager wants to hear something.
    tick: Time,
    /// Messages published when it was told last, and when.
    told: (u64, Time),
    /// Relay takes its leave, and is gone by then.
    stopping: Option<Time>,
}

impl Server {
    /// Reads the configuration, opens the sockets, and is ready to run.
    pub fn new(options: Options) -> Result<Server, Fatal> {
        let config = options.origin.load().map_err(Fatal::Config)?;
        logger::init(config.log_level);
        match &options.origin {
            Origin::File(path) => info!("relay {} with {}", env!("CARGO_PKG_VERSION"), path.display()),
            Origin::Demo => warn!(
                "relay {} with the BUILT-IN DEMO SETTING: its keys are public; write a configuration before others can reach it",
                env!("CARGO_PKG_VERSION")
            ),
        }
        if config.sources.is_empty() && config.namespaces.values().all(|namespace| namespace.auth != Auth::Open) {
            warn!("no [sources.NAME] is configured: nobody can connect or notify");
        }
        if config.limits.unsent < config.limits.message {
            warn!("limits.unsent is below limits.message: two large messages at once close a client that reads well");
        }
        let descriptors = process::raise_descriptors().saturating_sub(SPARE_DESCRIPTORS).max(1);
        let failed = |what: &'static str| move |error| Fatal::Io(what.into(), error);
        let poll = Poll::new().map_err(failed("epoll"))?;
        let signals = Signals::new(poll.registry(), Token(SIGNALS)).map_err(failed("signals"))?;
        let mut made = None;
        let journal =
            Journal::start(&config.message_log, || waker(&mut made, &poll)).map_err(failed("the message log"))?;
        let mut backend = Backend::default();
        backend.configure(&config.hooks);
        let listeners = lifecycle::listeners(&options, &config)?;
        if let Some(open) = lifecycle::exposure(&config, &options, &listeners) {
            let why = format!(
                "a source has a demo key, which everybody knows, and {open} can be reached from other machines: \
                 use keys of your own, or say --allow-demo-keys"
            );
            return Err(Fatal::Config(BadConfig(vec![why])));
        }
        let mut clock = Clock::start();
        let script = &config.socketio.client_js;
        let site = Site {
            admin_token: process::admin_token(&config),
            server_ip: process::server_ip(),
            client_js: (!script.is_empty()).then(|| Asset::script(script.clone().into_bytes())),
        };
        let first_id = MessageId::first(unix_micros(), u32::from_le_bytes(process::random()));
        let mut server = Server {
            poll,
            now: clock.now(),
            clock,
            options,
            listeners,
            signals,
            manager: Manager::find(),
            conns: Slots::new(),
            refused: 0,
            hub: Hub::new(Rc::new(config), first_id, process::random()),
            site,
            journal,
            backend,
            siblings: siblings::Link::default(),
            waker: made,
            guesses: Guesses::default(),
            timers: Timers::new(),
            engines: Timers::new(),
            descriptors,
            accept_after: Time::START,
            complain_after: Time::START,
            again: Vec::new(),
            replied: Vec::new(),
            doomed: Vec::new(),
            buffer: vec![0; READ_BUDGET].into(),
            flushing: Vec::new(),
            tick: Time::NEVER,
            told: (0, Time::START),
            stopping: None,
        };
        for (index, listener) in server.listeners.iter_mut().enumerate() {
            let register = listener.register(server.poll.registry(), Token(LISTENERS + index));
            register.map_err(failed("epoll"))?;
            listener.ready = true;
            info!("listening on {listener}");
        }
        server.hub.siblings.link(first_id.node(), &server.site.server_ip);
        server.configure_siblings();
        server.record_start();
        Ok(server)
    }

    /// Turns until relay is told to stop and has taken its leave.
    pub fn run(mut self) -> Result<(), Fatal> {
        if let Some(interval) = self.manager.interval {
            self.tick = self.now.time.after(interval);
        }
        self.manager.tell(&[NotifyState::Ready, NotifyState::Status("no session yet")]);
        let mut events = Events::with_capacity(1024);
        loop {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Fatal::Io("epoll".into(), error));
                }
                _ => self.now = self.clock.now(),
            }
            self.hub.begin_turn(self.now);
            self.read_siblings_again();
            for event in &events {
                self.dispatch(event);
            }
            self.read_again();
            self.accept();
            self.expire();
            self.settle();
            self.write_journal();
            let idle = self.conns.is_empty() && self.backend.dispatcher.is_empty() && self.has_left_siblings();
            if self.stopping.is_some_and(|deadline| idle || self.now.time >= deadline) {
                break;
            }
        }
        self.finish_journal();
        info!("stopped with {} connections left", self.conns.len());
        Ok(())
    }

    /// How long there is nothing to do.
    fn wait(&self) -> Option<Duration> {
        let accepting = self.can_accept() && self.listeners.iter().any(|listener| listener.ready);
        if !self.again.is_empty() || self.siblings.wants_turn() || (accepting && self.accept_after <= self.now.time) {
            return Some(Duration::ZERO);
        }
        let retry = if accepting { self.accept_after } else { Time::NEVER };
        let next = self
            .timers
            .next()
            .min(self.engines.next())
            .min(self.hub.deadline())
            .min(self.backend.deadline())
            .min(self.siblings.deadline())
            .min(self.tick)
            .min(self.journal.as_ref().map_or(Time::NEVER, Journal::deadline))
            .min(retry)
            .min(self.stopping.unwrap_or(Time::NEVER));
        (next != Time::NEVER).then(|| next.since(self.now.time))
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            Token(SIGNALS) => self.handle_signals(),
            // It may be the message log's, or the name of the backend that was found, which is looked at in each turn.
            Token(WAKER) => self.read_journal(),
            Token(siblings::FIRST..) => self.handle_siblings(event),
            Token(backend::FIRST..) => self.handle_backend(event),
            Token(token) if token < CONNS => {
                if let Some(listener) = self.listeners.get_mut(token - LISTENERS) {
                    listener.ready = true;
                }
            }
            Token(token) => {
                let Some(key) = self.conns.key_at(token - CONNS) else { return };
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.hung_up |= event.is_read_closed();
                if conn.hung_up && conn.held && matches!(&conn.state, State::Http(exchange) if exchange.is_polling()) {
                    return self.doom(key);
                }
                if conn.blocked && event.is_writable() {
                    conn.blocked = false;
                    match conn.client() {
                        Some(client) => self.hub.handle_writable(client),
                        None => self.replied.push(key),
                    }
                }
                // Who stands in the list is read from there.
                if (event.is_readable() || event.is_read_closed() || event.is_error()) && !conn.again {
                    self.read(key);
                }
            }
        }
    }

    fn read_again(&mut self) {
        for key in core::mem::take(&mut self.again) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.again = false;
            if core::mem::take(&mut conn.held) {
                self.handle_http(key, &[]);
            }
            self.read(key);
        }
    }

    /// There is more to read, in the next turn.
    pub(super) fn look_again(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.again) {
            conn.again = true;
            self.again.push(key);
        }
    }

    /// Reads once into the shared buffer and hands on what came. A full buffer is a turn's budget: the rest waits for the
    /// next turn, behind everybody else's. A part-full one means that the socket is empty, unless the peer hung up: then
    /// its end must be seen now, for there will be no other event.
    fn read(&mut self, key: ConnKey) {
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.doomed && !conn.held) {
            match conn.socket.read(&mut buffer) {
                Ok(0) => {
                    self.handle_end(key);
                    break;
                }
                Ok(length) => {
                    let more = conn.hung_up || matches!(conn.socket, Socket::Unix(_));
                    self.handle(key, &buffer[..length]);
                    if self.hub.is_pressed() {
                        self.carry_out();
                    }
                    if length == buffer.len() {
                        self.look_again(key);
                        break;
                    }
                    if !more {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.doom(key);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn handle(&mut self, key: ConnKey, bytes: &[u8]) {
        match self.conns.get_mut(key).map(|conn| &conn.state) {
            Some(State::Http(_)) => self.handle_http(key, bytes),
            Some(State::WebSocket(_)) => self.handle_websocket(key, bytes),
            Some(State::Probe(_)) => self.handle_probe(key, bytes),
            None => {}
        }
    }

    /// The peer sends no more. What it asked for in HTTP is still answered.
    fn handle_end(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match &mut conn.state {
            State::Http(exchange) if exchange.parked() == Some(&Parked::Page) => exchange.end_with_reply(),
            State::Http(exchange) if !exchange.is_flushed() && exchange.parked().is_none() => {
                exchange.close(self.now);
                self.replied.push(key);
                self.timers.arm(key, conn);
            }
            State::WebSocket(WebSocket { client, phase: Phase::Open | Phase::Pinged, .. }) => {
                debug!("client {client:?} left without a closing handshake");
                self.doom(key);
            }
            _ => self.doom(key),
        }
    }

    fn handle_http(&mut self, key: ConnKey, bytes: &[u8]) {
        let (config, connections) = (self.hub.config().clone(), self.conns.len());
        let places = self.most_connections() as usize;
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::Http(exchange) = &mut conn.state else { return };
        let (mut fresh, mut counting, peer) = (bytes, None, exchange.peer);
        loop {
            if !exchange.wants_input() {
                if !fresh.is_empty() || exchange.has_input() {
                    exchange.keep(fresh);
                    conn.held = true;
                }
                break;
            }
            let request = match exchange.poll_request(&mut fresh, &config.limits, self.now) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => {
                    self.hub.stats.bad_requests += 1;
                    exchange.refuse(error, self.now);
                    break;
                }
            };
            self.hub.stats.requests += 1;
            let mut cx = Context {
                hub: &mut self.hub,
                site: &self.site,
                guesses: &mut self.guesses,
                conn: key,
                peer,
                now: self.now,
                connections,
                places,
                stopping: self.stopping.is_some(),
            };
            match api::route(&request, &mut cx) {
                Outcome::Reply(reply) => {
                    if self.stopping.is_some() {
                        exchange.end_with_reply();
                    }
                    exchange.reply(&reply, self.now);
                }
                Outcome::Read(page) => match self.journal.as_mut().is_some_and(|journal| journal.read(key, page)) {
                    true => exchange.park(Parked::Page, &config.limits, self.now),
                    false => exchange.reply(&Reply::refusal(503, "too many wait for the disk"), self.now),
                },
                Outcome::Count(view) => {
                    exchange.park(Parked::Page, &config.limits, self.now);
                    counting = Some(view);
                }
                Outcome::Ask { client, response } => {
                    exchange.park(Parked::Login { client, response }, &config.limits, self.now);
                }
                Outcome::Upgrade { client, response } => {
                    let fresh = fresh.to_vec();
                    return self.upgrade(key, client, response, &fresh);
                }
                Outcome::Parked { client, origin } => {
                    exchange.park(Parked::Poll { client, origin }, &config.limits, self.now);
                }
                Outcome::Probe { client, response } => {
                    let fresh = fresh.to_vec();
                    return self.begin_probe(key, client, &response, &fresh);
                }
            }
        }
        if !exchange.is_flushed() || exchange.is_closing() {
            self.replied.push(key);
        }
        self.timers.arm(key, conn);
        if let Some(view) = counting {
            self.await_census(key, view);
        }
    }

    /// Answers a request that waits.
    fn answer(&mut self, key: ConnKey, reply: Reply) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.doomed) else { return };
        let State::Http(exchange) = &mut conn.state else { return };
        let Some(parked) = exchange.unpark(&self.hub.config().limits, self.now) else { return };
        if self.stopping.is_some() {
            exchange.end_with_reply();
        }
        let reply = match parked {
            Parked::Poll { origin, .. } => api::engineio::cors(reply, &origin),
            Parked::Page | Parked::Login { .. } => reply,
        };
        exchange.reply(&reply, self.now);
        self.timers.arm(key, conn);
        self.replied.push(key);
    }

    fn expire(&mut self) {
        while let Some(key) = self.timers.poll_expired(&mut self.conns, self.now.time) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            match &mut conn.state {
                State::Http(exchange) => match exchange.handle_timeout(self.now) {
                    Timeout::Early => {}
                    Timeout::Replied => {
                        self.hub.stats.bad_requests += 1;
                        self.replied.push(key);
                    }
                    Timeout::Close => self.doom(key),
                },
                State::WebSocket(websocket) => match websocket.phase {
                    Phase::Open => {
                        websocket.phase = Phase::Pinged;
                        websocket.deadline = self.now.time.after(self.hub.config().websocket.ping_timeout);
                        self.hub.send(websocket.client, Opcode::Ping, b"");
                    }
                    Phase::Pinged => {
                        self.hub.stats.ping_timeouts += 1;
                        debug!("client {:?} answers no ping", websocket.client);
                        self.doom(key);
                    }
                    Phase::Closing | Phase::Broken | Phase::Closed => self.doom(key),
                },
                State::Probe(_) => {}
            }
            if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.doomed) {
                self.timers.arm(key, conn);
            }
        }
        while let Some(client) = self.engines.poll_expired(&mut self.hub, self.now.time) {
            if let Expired::Probe(probe) = self.hub.expire_engine(client, self.now) {
                self.doom(probe);
            }
            self.hub.rearm(client);
            self.arm_engines();
        }
        self.hub.handle_timeout(self.now);
        self.expire_backend();
        self.expire_siblings();
        if self.tick <= self.now.time {
            self.tell_status();
        }
    }

    fn arm_engines(&mut self) {
        for client in self.hub.take_rearmed() {
            if let Some(engine) = self.hub.engine_mut(client) {
                self.engines.arm(client, engine);
            }
        }
    }
}

/// What ends the loop's wait from another thread; a poll has one.
fn waker(made: &mut Option<Arc<Waker>>, poll: &Poll) -> io::Result<Arc<Waker>> {
    if made.is_none() {
        *made = Some(Arc::new(Waker::new(poll.registry(), Token(WAKER))?));
    }
    made.clone().ok_or_else(|| ErrorKind::NotFound.into())
}

/// Tokens: the signals, the message log's thread, then listeners, then connections by their slot.
const SIGNALS: usize = 0;
const WAKER: usize = 1;
const LISTENERS: usize = 2;
const CONNS: usize = 64;

/// Bytes one connection may bring in a turn. A flooder with no such bound delayed another client's probe by 1.5 s.
const READ_BUDGET: usize = 64 * 1024;
/// Descriptors that are not for connections.
const SPARE_DESCRIPTORS: u64 = 64;
