//! The event loop: waits, reads, handles, expires, carries out, writes, frees.

use core::time::Duration;
use std::{
    io::{self, Read},
    rc::Rc,
    sync::Arc,
};

use log::{debug, info, warn};
use mio::{Events, Poll, Token, Waker, event::Event};
use sd_notify::NotifyState;

use super::{
    clock::{Clock, unix_micros},
    cluster::links::Links as RedisLinks,
    conn::{Conn, Phase, Socket, State, WebSocket},
    fatal::Fatal,
    hooks::links::Links as HookLinks,
    listener::Listener,
    logger,
    message_log::writer::Writer,
    options::Options,
    process::{self, BadConfig, Manager, Origin, Signals},
    startup,
    timers::Timers,
    tokens::{self, CONNS, LISTENERS},
    waker::waker,
};
use crate::{
    api::{Site, assets::Asset, guesses::Guesses},
    clock::{Now, Time},
    config::Auth,
    engineio::engine::Expired,
    events,
    frame::Opcode,
    http::exchange::{Parked, Timeout},
    hub::Hub,
    key::{ClientKey, ConnKey, Slots},
    message::MessageId,
};

/// Everything that relay touches.
pub struct Server {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) now: Now,
    pub(super) options: Options,
    pub(super) listeners: Vec<Listener>,
    pub(super) signals: Signals,
    pub(super) manager: Manager,
    pub(super) conns: Slots<ConnKey, Conn>,
    /// How many of them were only accepted to be refused.
    pub(super) refused: usize,
    pub(super) hub: Hub,
    pub(super) site: Site,
    pub(super) message_log: Option<Writer>,
    pub(super) hooks: HookLinks,
    pub(super) cluster: RedisLinks,
    pub(super) waker: Option<Arc<Waker>>,
    /// Wrong admin tokens.
    pub(super) guesses: Guesses,
    pub(super) timers: Timers<ConnKey>,
    /// The deadlines of sessions of Engine.IO, which may be without a connection.
    pub(super) engines: Timers<ClientKey>,
    /// How many connections the machine allows.
    pub(super) descriptors: u64,
    /// Accepting is put off until then, or until a connection ends.
    pub(super) accept_after: Time,
    /// Not to fill the log with it.
    pub(super) complain_after: Time,
    /// Connections with more to read than they may in one turn.
    pub(super) again: Vec<ConnKey>,
    /// HTTP connections with something to write.
    pub(super) replied: Vec<ConnKey>,
    /// Connections to be freed at the end of the turn.
    pub(super) doomed: Vec<ConnKey>,
    /// Lent to every read.
    pub(super) buffer: Box<[u8]>,
    /// Lent to every flush.
    pub(super) flushing: Vec<ClientKey>,
    /// When the service manager wants to hear something.
    pub(super) tick: Time,
    /// Messages published when it was told last, and when.
    pub(super) told: (u64, Time),
    /// Relay takes its leave, and is gone by then.
    pub(super) stopping: Option<Time>,
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
        let failed = |what: &'static str| move |error| Fatal::Io(what, error);
        let poll = Poll::new().map_err(failed("epoll"))?;
        let signals = Signals::new(poll.registry(), Token(tokens::SIGNALS)).map_err(failed("signals"))?;
        let mut made = None;
        let message_log =
            Writer::start(&config.message_log, || waker(&mut made, &poll)).map_err(failed("the message log"))?;
        let mut hooks = HookLinks::default();
        hooks.configure(&config.hooks);
        let listeners = startup::listeners(&options, &config)?;
        if let Some(open) = startup::exposure(&config, &options, &listeners) {
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
            message_log,
            hooks,
            cluster: RedisLinks::default(),
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
        server.hub.begin_turn(server.now);
        server.hub.cluster.introduce(first_id.node(), &server.site.server_ip);
        server.configure_cluster();
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
                    return Err(Fatal::Io("epoll", error));
                }
                _ => self.now = self.clock.now(),
            }
            self.hub.begin_turn(self.now);
            self.read_cluster_again();
            for event in &events {
                self.dispatch(event);
            }
            self.read_again();
            self.accept();
            self.expire();
            self.finish_turn();
            self.write_log();
            let idle = self.conns.is_empty() && self.hub.hooks.is_empty() && self.has_left_cluster();
            if self.stopping.is_some_and(|deadline| idle || self.now.time >= deadline) {
                break;
            }
        }
        self.finish_log();
        info!("stopped with {} connections left", self.conns.len());
        Ok(())
    }

    /// How long there is nothing to do.
    fn wait(&self) -> Option<Duration> {
        let accepting = self.can_accept() && self.listeners.iter().any(|listener| listener.ready);
        if !self.again.is_empty() || self.cluster.wants_turn() || (accepting && self.accept_after <= self.now.time) {
            return Some(Duration::ZERO);
        }
        let retry = if accepting { self.accept_after } else { Time::NEVER };
        let next = self
            .timers
            .next()
            .min(self.engines.next())
            .min(self.hub.deadline())
            .min(self.hooks_deadline())
            .min(self.cluster_deadline())
            .min(self.tick)
            .min(self.message_log.as_ref().map_or(Time::NEVER, Writer::deadline))
            .min(retry)
            .min(self.stopping.unwrap_or(Time::NEVER));
        (next != Time::NEVER).then(|| next.since(self.now.time))
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            Token(tokens::SIGNALS) => self.handle_signals(),
            // It may be the message log's, or the name of the backend that was found, which is looked at in each turn.
            Token(tokens::WAKER) => self.read_log_done(),
            Token(tokens::REDIS..) => self.handle_cluster(event),
            Token(tokens::HOOKS..) => self.handle_hooks(event),
            Token(token) if token < CONNS => {
                if let Some(listener) = self.listeners.get_mut(token - LISTENERS) {
                    listener.ready = true;
                }
            }
            Token(token) => {
                let Some(key) = self.conns.key_at(token - CONNS) else { return };
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.hung_up |= event.is_read_closed();
                if conn.hung_up
                    && conn.held
                    && matches!(&conn.state, State::Http(exchange) if exchange.ends_with_peer())
                {
                    return self.doom(key);
                }
                if conn.blocked && event.is_writable() {
                    conn.blocked = false;
                    match conn.client() {
                        Some(client) => self.hub.state.handle_writable(client),
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
                    if self.hub.state.needs_flush() {
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

    fn expire(&mut self) {
        while let Some(key) = self.timers.poll_expired(&mut self.conns, self.now.time) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            match &mut conn.state {
                State::Http(exchange) => match exchange.handle_timeout(self.now) {
                    Timeout::Early => {}
                    Timeout::Replied => {
                        self.hub.state.stats.bad_requests += 1;
                        self.replied.push(key);
                    }
                    Timeout::Close => self.doom(key),
                },
                State::WebSocket(websocket) => match websocket.phase {
                    Phase::Open => {
                        websocket.phase = Phase::Pinged;
                        websocket.deadline = self.now.time.after(self.hub.config().websocket.ping_timeout);
                        self.hub.state.send(websocket.client, Opcode::Ping, b"");
                    }
                    Phase::Pinged => {
                        self.hub.state.stats.ping_timeouts += 1;
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
        while let Some(client) = self.engines.poll_expired(&mut self.hub.state, self.now.time) {
            if let Expired::Probe(probe) = self.hub.state.expire_engine(client, self.now) {
                self.doom(probe);
            }
            self.arm_engine(client);
        }
        events::handle_timeout(&mut self.hub, self.now);
        self.expire_hooks();
        self.expire_cluster();
        if self.tick <= self.now.time {
            self.tell_status();
        }
    }

    /// Makes sure that an engine is looked at when its deadline comes.
    pub(super) fn arm_engine(&mut self, client: ClientKey) {
        if let Some(engine) = self.hub.state.engine_mut(client) {
            self.engines.arm(client, engine);
        }
    }
}

/// Bytes one connection may bring in a turn. A flooder with no such bound delayed another client's probe by 1.5 s.
const READ_BUDGET: usize = 64 * 1024;
/// Descriptors that are not for connections.
const SPARE_DESCRIPTORS: u64 = 64;
