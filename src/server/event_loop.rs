//! The event loop. A turn is: wait, read, handle, expire, carry out effects, write, free.
//!
//! [`Server::run`] repeats turns until relay has shut down. Effects, writes and freeing are in `flush.rs`.

use core::time::Duration;
use std::{
    io::{self, Read},
    rc::Rc,
    sync::Arc,
};

use log::{info, warn};
use mio::{Events, Poll, Token, Waker, event::Event};
use sd_notify::NotifyState;

use super::{
    clock::{Clock, unix_micros},
    cluster::links::Links as RedisLinks,
    config_file::BadConfig,
    conn::{Conn, READ_BUDGET, Socket, State, WRITES_PER_TURN},
    fatal::Fatal,
    hooks::links::Links as HookLinks,
    listener::Listener,
    logger,
    manager::Manager,
    message_log::writer::Writer,
    options::Options,
    pressure::Pressure,
    process::{self, Signals},
    reload::reading::Reload,
    stalls::Stalls,
    startup,
    timers::Timers,
    tls::sessions::Tls,
    tokens::{self, CONNS, LISTENERS},
    waker::waker,
};
use crate::{
    api::{Site, assets::Asset, guesses::Guesses},
    clock::{Now, Throttle, Time},
    http::parked::Parked,
    hub::Hub,
    key::{ClientKey, ConnKey, Slots},
    message::MessageId,
};

/// The sockets, clocks, files and timers, and the [`Hub`] that they serve.
pub struct Server {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) now: Now,
    pub(super) options: Options,
    pub(super) listeners: Vec<Listener>,
    pub(super) signals: Signals,
    pub(super) manager: Manager,
    pub(super) conns: Slots<ConnKey, Conn>,
    /// The number of connections over the limit, which stay open only until the refusal is sent.
    pub(super) refused: usize,
    /// The number of connections for metrics only.
    pub(super) metrics_conns: usize,
    pub(super) hub: Hub,
    pub(super) site: Site,
    pub(super) message_log: Option<Writer>,
    /// Message logs that a reload has replaced, until their last lines are written.
    pub(super) replaced_logs: Vec<Writer>,
    pub(super) hooks: HookLinks,
    pub(super) cluster: RedisLinks,
    pub(super) waker: Option<Arc<Waker>>,
    pub(super) reload: Reload,
    /// Counts of wrong admin tokens.
    pub(super) guesses: Guesses,
    pub(super) timers: Timers<ConnKey>,
    pub(super) tls: Tls,
    /// The deadlines of Engine.IO sessions, which may have no connection.
    pub(super) engines: Timers<ClientKey>,
    /// How many connections the descriptor limit allows.
    pub(super) descriptors: u64,
    /// Until when accepting is paused, unless a connection ends earlier.
    pub(super) accept_after: Time,
    /// Bound how often missing descriptors, failed connections and ignored PROXY headers are logged.
    pub(super) accept_warnings: Throttle,
    pub(super) accept_errors: Throttle,
    pub(super) proxy_warnings: Throttle,
    /// Connections to read in the next turn even if epoll reports no new edge.
    pub(super) scheduled_reads: Vec<ConnKey>,
    /// HTTP connections and probes with something to write.
    pub(super) replied: Vec<ConnKey>,
    /// Connections to close and free at the end of the turn, and WebSockets whose last frame was written.
    pub(super) dropped: Vec<ConnKey>,
    /// The shared buffer of all reads.
    pub(super) buffer: Box<[u8]>,
    /// The clients to flush, kept for its capacity.
    pub(super) flushing: Vec<ClientKey>,
    /// The clients to whom something was sent of late.
    pub(super) stalls: Stalls,
    /// The steps that `limits.memory` has forced.
    pub(super) pressure: Pressure,
    /// How many clients may still be written to in this turn.
    pub(super) writes_left: usize,
    /// When the next status message to the service manager is due.
    pub(super) status_due: Time,
    /// The number of published messages at the last status message, and its time.
    pub(super) last_status: (u64, Time),
    /// The deadline of the shutdown, once it has begun.
    pub(super) stopping: Option<Time>,
}

impl Server {
    /// Reads the configuration and opens the listening sockets.
    ///
    /// Fails if the configuration is invalid or exposes a demo key, or if a system call fails.
    pub fn new(options: Options) -> Result<Server, Fatal> {
        let loaded = options.origin.load().map_err(Fatal::Config)?;
        logger::init(loaded.config.log_level);
        startup::log_configuration(&options.origin, &loaded);
        let (config, source) = (loaded.config, loaded.source);
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
            return Err(Fatal::Config(BadConfig(vec![startup::exposed(&config, open)])));
        }
        if let Some(listener) = listeners.iter().find(|listener| listener.tls).filter(|_| !config.tls.is_used()) {
            return Err(Fatal::Config(BadConfig(vec![startup::no_certificate(listener)])));
        }
        if config.tls.is_used() && !listeners.iter().any(|listener| listener.tls) {
            warn!("{}", startup::UNUSED_CERTIFICATES);
        }
        let tls = Tls::new(&config)?;
        let mut clock = Clock::start();
        let site = Site {
            admin_token: process::admin_token(&config),
            server_ip: process::server_ip(),
            client_js: Asset::script(&config.socketio.client_js),
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
            metrics_conns: 0,
            hub: Hub::new(Rc::new(config), first_id, process::random()),
            site,
            message_log,
            replaced_logs: Vec::new(),
            hooks,
            cluster: RedisLinks::default(),
            waker: made,
            reload: Reload::new(source),
            guesses: Guesses::default(),
            timers: Timers::new(),
            tls,
            engines: Timers::new(),
            descriptors,
            accept_after: Time::START,
            accept_warnings: Throttle::default(),
            accept_errors: Throttle::default(),
            proxy_warnings: Throttle::default(),
            scheduled_reads: Vec::new(),
            replied: Vec::new(),
            dropped: Vec::new(),
            buffer: vec![0; READ_BUDGET].into(),
            flushing: Vec::new(),
            stalls: Stalls::default(),
            pressure: Pressure::new(),
            writes_left: WRITES_PER_TURN,
            status_due: Time::NEVER,
            last_status: (0, Time::START),
            stopping: None,
        };
        for (index, listener) in server.listeners.iter_mut().enumerate() {
            let register = listener.register(server.poll.registry(), Token(LISTENERS + index));
            register.map_err(failed("epoll"))?;
            listener.ready = true;
            match listener.metrics_only {
                true => info!("serving metrics on {listener}"),
                false => info!("listening on {listener}"),
            }
        }
        server.hub.begin_turn(server.now);
        server.hub.cluster.introduce(first_id.node(), &server.site.server_ip);
        server.hub.state.journal.begin();
        server.configure_memory();
        server.configure_tls();
        server.configure_cluster();
        server.record_start();
        Ok(server)
    }

    /// Runs until SIGTERM or SIGINT has shut relay down. Fails if epoll fails.
    pub fn run(mut self) -> Result<(), Fatal> {
        if let Some(interval) = self.manager.interval {
            self.status_due = self.now.time.after(interval);
        }
        self.notify_manager(&[NotifyState::Ready, NotifyState::Status("no sessions yet")]);
        let mut events = Events::with_capacity(1024);
        while !self.is_stopped() {
            self.wait(&mut events).map_err(|error| Fatal::Io("epoll", error))?;
            self.update_live();
            self.read_and_handle(&events);
            self.expire();
            self.finish_turn();
            self.write_log();
            self.hub.state.end_turn(self.clock.time());
        }
        self.finish_log();
        info!("stopped with {} connections left", self.conns.len());
        Ok(())
    }

    /// Waits for events, and reads the clocks for the whole turn.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => self.now = self.clock.now(),
        }
        self.hub.begin_turn(self.now);
        self.writes_left = WRITES_PER_TURN;
        Ok(())
    }

    /// Reads whatever is readable, handles it, and accepts new connections.
    fn read_and_handle(&mut self, events: &Events) {
        self.read_scheduled_links();
        for event in events {
            self.dispatch(event);
        }
        self.read_scheduled();
        self.read_handshakes();
        self.accept();
    }

    /// Whether the shutdown is complete, or its deadline has passed.
    fn is_stopped(&self) -> bool {
        let idle = self.conns.is_empty() && self.hub.hooks.is_empty() && self.has_left_cluster();
        self.stopping.is_some_and(|deadline| idle || self.now.time >= deadline)
    }

    /// How long to wait for events: until the next deadline, or not at all if there is work left.
    fn timeout(&self) -> Option<Duration> {
        let accepting = self.listeners.iter().any(|listener| listener.ready && self.can_accept(listener.metrics_only));
        if !self.scheduled_reads.is_empty()
            || self.hub.state.is_dirty()
            || self.hub.has_hungry_replay()
            || self.cluster.wants_turn()
            || self.tls.has_waiting()
            || (accepting && self.accept_after <= self.now.time)
        {
            return Some(Duration::ZERO);
        }
        let retry = if accepting { self.accept_after } else { Time::NEVER };
        let next = self
            .timers
            .next()
            .min(self.engines.next())
            .min(self.stalls.deadline())
            .min(self.hub.deadline())
            .min(self.hub.live.deadline())
            .min(self.hooks_deadline())
            .min(self.cluster_deadline())
            .min(self.status_due)
            .min(self.reload.deadline())
            .min(self.tls.warning_due())
            .min(self.message_log.as_ref().map_or(Time::NEVER, Writer::deadline))
            .min(self.replaced_logs.iter().map(Writer::late_at).min().unwrap_or(Time::NEVER))
            .min(retry)
            .min(self.stopping.unwrap_or(Time::NEVER));
        (next != Time::NEVER).then(|| next.since(self.now.time))
    }

    /// Handles an event of epoll.
    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            Token(tokens::SIGNALS) => self.handle_signals(),
            Token(tokens::WAKER) => {
                self.handle_log_results();
                self.handle_reload();
            }
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
                    && conn.paused
                    && matches!(&conn.state, State::Http(exchange) if exchange.ends_with_peer())
                {
                    return self.drop_conn(key);
                }
                if conn.tls && event.is_writable() {
                    self.flush_tls(key);
                }
                let Some(conn) = self.conns.get_mut(key) else { return };
                if conn.blocked && event.is_writable() {
                    conn.blocked = false;
                    match conn.client() {
                        Some(client) => self.hub.state.handle_writable(client),
                        None => self.replied.push(key),
                    }
                }
                // A scheduled connection is read once, by `read_scheduled`.
                if (event.is_readable() || event.is_read_closed() || event.is_error()) && !conn.read_scheduled {
                    self.read(key);
                }
            }
        }
    }

    /// Reads the connections that the last turn scheduled.
    fn read_scheduled(&mut self) {
        for key in core::mem::take(&mut self.scheduled_reads) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.read_scheduled = false;
            if core::mem::take(&mut conn.paused) {
                self.handle_http(key, &[]);
            }
            self.read(key);
        }
    }

    /// Reads a connection in the next turn, without waiting for an event.
    pub(super) fn schedule_read(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.read_scheduled) {
            conn.read_scheduled = true;
            self.scheduled_reads.push(key);
        }
    }

    /// Reads a connection and handles its input. A full buffer is the budget of a turn: the rest is read in the next
    /// turn, after the events of other connections. A partly filled buffer means that the socket is empty, with two
    /// exceptions: after the peer has closed its sending side this reads to the end of the stream, because epoll
    /// reports no further edge, and a Unix socket can return a short read although more is there.
    fn read(&mut self, key: ConnKey) {
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped && !conn.paused) {
            if conn.tls {
                self.buffer = buffer;
                return self.read_tls(key);
            }
            let size = conn.read_size();
            match conn.socket.read(&mut buffer[..size]) {
                Ok(0) => {
                    self.handle_end(key);
                    break;
                }
                Ok(length) => {
                    let more = conn.hung_up || matches!(conn.socket, Socket::Unix(_));
                    self.handle(key, &buffer[..length]);
                    if self.hub.state.needs_flush() {
                        self.carry_out(true);
                    }
                    if self.hub.state.is_short_of_memory() {
                        self.keep_memory_limit();
                    }
                    if length == size {
                        self.schedule_read(key);
                        break;
                    }
                    if !more {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.drop_conn(key);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Handles bytes from a connection by its protocol.
    pub(super) fn handle(&mut self, key: ConnKey, bytes: &[u8]) {
        match self.conns.get_mut(key).map(|conn| &conn.state) {
            Some(State::Http(_)) => self.handle_http(key, bytes),
            Some(State::WebSocket(_)) => self.handle_websocket(key, bytes),
            Some(State::Probe(_)) => self.handle_probe(key, bytes),
            Some(State::Ending(_)) => self.discard(key, bytes.len()),
            None => {}
        }
    }

    /// Handles the end of a peer's input. Replies to HTTP requests that have arrived are still sent.
    pub(super) fn handle_end(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match &mut conn.state {
            State::Http(exchange) if matches!(exchange.parked(), Some(Parked::Page(_))) => exchange.end_with_reply(),
            State::Http(exchange) if !exchange.is_flushed() && exchange.parked().is_none() => {
                exchange.close(self.now);
                self.replied.push(key);
                self.timers.arm(key, conn);
            }
            State::WebSocket(_) | State::Ending(_) => self.handle_websocket_end(key),
            State::Http(_) | State::Probe(_) => self.drop_conn(key),
        }
    }

    /// Adds the deadline of an Engine.IO session to the timers.
    pub(super) fn arm_engine(&mut self, client: ClientKey) {
        if let Some(engine) = self.hub.state.engine_mut(client) {
            self.engines.arm(client, engine);
        }
    }
}

/// Descriptors that are reserved for files, listeners and connections to Redis and the backend.
const SPARE_DESCRIPTORS: u64 = 64;
