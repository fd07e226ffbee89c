//! The registry: tenants, namespaces, clients and sessions.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use super::{
    client::Client,
    departure::End,
    effect::Effect,
    flush_queue::FlushQueue,
    grant::Grants,
    idempotency::AcceptedKeys,
    identity::Agents,
    moves::Move,
    namespace::Namespace,
    origins::Origins,
    refusal_log::RefusalLog,
    replay::UsedMarks,
    room::RoomIndex,
    session::Session,
    sid::Sids,
    stats::Stats,
    strangers::Strangers,
    tenant::{Tenant, TenantId},
    timings::Timings,
    track::Tracks,
};
use crate::{
    clock::{Now, Throttle},
    config::Config,
    frame::Turn,
    journal::Journal,
    key::{ClientKey, SessionKey, Slots},
    memory,
    message::{IdClock, MessageId},
    trace::Traces,
};

/// The state that all features share: see [the module](super).
pub struct State {
    pub(super) config: Rc<Config>,
    /// The time of this turn.
    pub now: Now,
    /// By [`NamespaceId`](super::NamespaceId); `/` is the first.
    pub(crate) namespaces: Vec<Namespace>,
    /// By [`TenantId`].
    pub(crate) tenants: Vec<Tenant>,
    pub(super) by_name: HashMap<Box<str>, TenantId>,
    pub(crate) clients: Slots<ClientKey, Client>,
    pub(crate) sessions: Slots<SessionKey, Session>,
    pub(crate) agents: Agents,
    /// What the logins of sessions allow.
    pub grants: Grants,
    /// What clients are known to have received.
    pub tracks: Tracks,
    /// Clients that are streams of lines without a session: those of operators.
    pub(super) bare_streams: Vec<ClientKey>,
    /// What has happened of late, for operators who ask why somebody did not get a message.
    pub journal: Journal,
    /// What is traced.
    pub traces: Traces,
    /// Whether sessions are kept that have left on purpose.
    pub keeps_leavers: bool,
    pub(crate) sids: Sids,
    /// The names of sessions that have taken over others, and the sessions with these names.
    pub(super) names: HashMap<SessionKey, SessionKey>,
    pub(super) named: HashMap<SessionKey, SessionKey>,
    pub(super) turn: Turn,
    /// A buffer for writes of several segments.
    pub(super) scratch: Vec<u8>,
    /// The clock that numbers messages.
    pub ids: IdClock,
    /// The clients with something to send.
    pub(super) to_flush: FlushQueue,
    pub(super) needs_flush: bool,
    /// Whether a large message was queued since all clients were flushed.
    pub(super) large_frames: bool,
    pub(crate) effects: VecDeque<Effect>,
    /// Bounds the warnings about slow consumers.
    pub(crate) slow_warnings: Throttle,
    /// How clients end whose sessions have not ended yet, if that is decided. Beside the effects, which would have to be searched
    /// for each client that ends.
    pub(super) decided_ends: HashMap<ClientKey, End>,
    /// Slow consumers that get no more messages of rooms with history for the moment, with the stamp of the last message that
    /// they were to get.
    pub(crate) fallen: Vec<(ClientKey, u64)>,
    /// Rooms that sessions of clients that are behind have joined, with the newest stamp at that time.
    pub(crate) joins: Vec<(SessionKey, RoomIndex, u64)>,
    /// Frames of messages that no room keeps, for clients that are behind: they get them after those that are kept.
    pub(crate) held: Vec<(ClientKey, TenantId, Rc<[u8]>)>,
    /// Sessions that have joined and left rooms. `None` if nobody asks for them.
    pub(super) moves: Option<Vec<Move>>,
    /// Whether [`State::mark_changed`] queues sessions. Only a cluster needs that.
    pub(super) track_changes: bool,
    /// The queue of sessions whose presence records must be written. A session is in it at most once.
    pub(crate) changed: VecDeque<SessionKey>,
    /// Bytes that the process may have allocated, see [`memory`].
    pub memory_limit: usize,
    /// The addresses of connections and clients.
    pub origins: Origins,
    pub(super) strangers: Strangers,
    /// Lines of the log about refusals.
    pub refusals: RefusalLog,
    /// Limits how many refused signatures are explained.
    pub(super) explained: Throttle,
    /// Signatures of notifications and events that were used.
    pub(super) used: UsedMarks,
    /// Keys of notifications and events that were accepted.
    pub(super) accepted_keys: AcceptedKeys,
    /// Counters since the start.
    pub stats: Stats,
    /// How long turns take and publications wait.
    pub timings: Timings,
}

impl State {
    /// A state without clients and configuration. The first message gets the id after `first`. `secret` is the key of
    /// session ids and must be random.
    pub fn new(first: MessageId, secret: [u8; 32]) -> State {
        State {
            config: Rc::default(),
            now: Now::default(),
            namespaces: Vec::new(),
            tenants: Vec::new(),
            by_name: HashMap::new(),
            clients: Slots::new(),
            sessions: Slots::new(),
            agents: Agents::default(),
            grants: Grants::default(),
            tracks: Tracks::default(),
            bare_streams: Vec::new(),
            journal: Journal::default(),
            traces: Traces::default(),
            keeps_leavers: false,
            sids: Sids::new(secret),
            names: HashMap::new(),
            named: HashMap::new(),
            turn: Turn::new(),
            scratch: Vec::new(),
            ids: IdClock::new(first),
            to_flush: FlushQueue::default(),
            needs_flush: false,
            large_frames: false,
            effects: VecDeque::new(),
            slow_warnings: Throttle::default(),
            decided_ends: HashMap::new(),
            fallen: Vec::new(),
            joins: Vec::new(),
            held: Vec::new(),
            moves: None,
            track_changes: false,
            changed: VecDeque::new(),
            memory_limit: usize::MAX,
            origins: Origins::default(),
            strangers: Strangers::default(),
            refusals: RefusalLog::default(),
            explained: Throttle::default(),
            used: UsedMarks::default(),
            accepted_keys: AcceptedKeys::default(),
            stats: Stats::default(),
            timings: Timings::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// The number of clients, including those without a session. Operators who look on are not counted.
    pub fn client_count(&self) -> usize {
        self.clients.len() - self.bare_streams.len()
    }

    /// The number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The number of rooms.
    pub fn room_count(&self) -> usize {
        self.tenants.iter().map(Tenant::room_count).sum()
    }

    /// The keys of all clients.
    pub fn client_keys(&self) -> Vec<ClientKey> {
        self.clients.keys()
    }

    /// Returns whether `limits.message_rate` allows `count` messages of a client, and counts them if it does.
    pub fn take_rate(&mut self, key: ClientKey, count: u64, now: Now) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        client.rate.take(count, &self.config.limits, now.time)
    }

    /// Whether the process has allocated more than `limits.memory`.
    pub fn is_short_of_memory(&self) -> bool {
        memory::allocated() > self.memory_limit
    }

    /// Whether there is memory for a message whose copies take `bytes`. There always is for a small one: the limit leaves
    /// room for those.
    pub fn has_memory_for(&self, bytes: usize) -> bool {
        // Frames are encoded for each form, and buffers grow by doubling.
        bytes <= SMALL_COPIES || memory::allocated().saturating_add(bytes.saturating_mul(4)) <= self.memory_limit
    }

    /// Bytes of incomplete input above which more is refused ([`Limits::max_unfinished`](crate::limits::Limits)), at most a
    /// quarter of the memory.
    pub fn max_unfinished(&self, logged_in: bool) -> usize {
        self.config.limits.max_unfinished(logged_in).min(self.memory_limit / 4)
    }

    /// Frees memory that only makes later work cheaper.
    pub fn drop_caches(&mut self) {
        self.scratch = Vec::new();
        self.turn.drop_spare();
    }

    /// Messages and events that were queued for clients since the start.
    pub fn deliveries(&self) -> u64 {
        self.stats.delivered + self.stats.emitted
    }

    /// Counts the deliveries of a client's message of `size` bytes against `limits.delivery_rate`. A large message counts
    /// once for every 4 KiB, because it costs that much more to write.
    pub fn charge(&mut self, key: ClientKey, deliveries: u64, size: usize, now: Now) {
        if let Some(client) = self.clients.get_mut(key) {
            client.rate.charge(deliveries * (1 + size as u64 / 4096), &self.config.limits, now.time);
        }
    }

    /// The id of the next publication, which is to `rooms` rooms.
    pub fn next_id(&mut self, rooms: usize) -> MessageId {
        self.ids.next(rooms, self.now.time)
    }
}

/// Bytes of a message's copies for which the memory is not checked.
const SMALL_COPIES: usize = 256 * 1024;
