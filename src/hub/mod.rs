//! The hub: [`State`] and the features side by side, and the operations that involve several of them.
//!
//! For example, to publish a message, the hub delivers it to the members of its rooms, writes it to the message log and
//! sends it to other relays. The hub itself only calls the features in the right order. Input from outside is handled
//! one floor above, by functions of the hub: [`api`](crate::api) for HTTP requests, [`events`](crate::events) for
//! clients, answers to hooks, and other relays.

mod asking;
pub mod leave;
pub mod login;
mod loss;
pub mod presence;
pub mod publish;
pub mod receipts;
mod returning;
mod returns;
pub mod why;

use std::{collections::HashMap, rc::Rc};

use crate::{
    acks::PendingAcks,
    clock::{Now, Time},
    cluster::Cluster,
    config::Config,
    history::{History, Replays, walk::Walks},
    hooks::Hooks,
    key::SessionKey,
    live::Live,
    message::MessageId,
    message_log::MessageLog,
    presence::Presence,
    receipts::Receipts,
    recovery::{Claim, Returns},
    state::{Effect, Reloaded, State},
};

/// Everything in relay that needs no socket, clock or file.
pub struct Hub {
    /// Clients, sessions, rooms, and the frames that are queued for them.
    pub state: State,
    /// Lines for the message log.
    pub log: MessageLog,
    /// Calls to the backend.
    pub hooks: Hooks,
    /// Other relays, which are reached over Redis.
    pub cluster: Cluster,
    /// Messages that rooms keep.
    pub history: History,
    /// The clients that get kept messages.
    pub replays: Replays,
    /// The users in each room, and today's logins.
    pub presence: Presence,
    /// Receipts that backends and other relays wait for.
    pub receipts: Receipts,
    /// Operators' streams, and the numbers of the last minutes.
    pub live: Live,
    /// Acknowledgements that senders wait for.
    pub(crate) acks: PendingAcks,
    /// Lengths of messages that were found out in this turn.
    walks: Walks,
    /// The sessions that are away, and the logins that wait for one.
    pub returns: Returns,
    /// What logins say about where their clients were, until their sessions begin.
    pub(crate) claims: HashMap<SessionKey, Claim>,
}

impl Hub {
    /// A hub without clients. The first message gets the id after `first`. `secret` is the key of session ids and must
    /// be random.
    pub fn new(config: Rc<Config>, first: MessageId, secret: [u8; 32]) -> Hub {
        let mut hub = Hub {
            state: State::new(first, secret),
            log: MessageLog::new(!config.message_log.dir.is_empty()),
            hooks: Hooks::default(),
            cluster: Cluster::default(),
            history: History::new(first),
            replays: Replays::default(),
            presence: Presence::default(),
            receipts: Receipts::default(),
            live: Live::default(),
            acks: PendingAcks::default(),
            walks: Walks::default(),
            returns: Returns::default(),
            claims: HashMap::new(),
        };
        hub.reload(config, Now::default());
        hub
    }

    /// Applies a configuration that [fits](State::fits). Sessions end if they would no longer be admitted
    /// (docs/protocol.md, Reload). A changed key takes effect with the next login, a changed rule with the next event.
    /// Returns how many sessions end.
    pub fn reload(&mut self, config: Rc<Config>, now: Now) -> usize {
        self.hooks.configure(&config.hooks);
        self.replays.tell_dropped(&self.history, &mut self.state);
        let namespaces = self.state.namespaces.iter();
        let namespaces: Vec<_> = namespaces.map(|found| (found.name.clone(), found.config.clone())).collect();
        let Reloaded { ended, reused } = self.state.reload(config);
        self.configure_returns(&namespaces, &reused);
        // Once for all: there can be thousands, and the journal is walked through.
        self.state.journal.forget(&reused.iter().map(|tenant| tenant.0).collect());
        self.live.close_rooms(&reused, &mut self.state);
        for tenant in reused {
            self.presence.forget(tenant, &mut self.state);
            self.history.forget(tenant);
        }
        let presence = self.state.config().presence.clone();
        self.presence.configure(&presence, &mut self.state);
        let cleared = self.history.configure(&self.state.config().history, &self.state);
        self.keep_away_budget();
        self.replays.tell_cleared(&self.history, &mut self.state, &cleared);
        for (session, close) in &ended {
            self.expel_with_reason(*session, *close, now);
        }
        ended.len()
    }

    /// The configuration.
    pub fn config(&self) -> &Rc<Config> {
        self.state.config()
    }

    /// Ends operators' streams, because the admin token has changed.
    pub fn close_viewers(&mut self) {
        self.live.close(&mut self.state);
    }

    /// Begins a turn of the event loop at `now`.
    pub fn begin_turn(&mut self, now: Now) {
        self.state.now = now;
        self.log.begin_turn(now);
        self.walks.begin_turn();
    }

    /// The next effect for the server to carry out. Carrying it out can cause further effects.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.state.effects.pop_front()
    }

    /// Whether there are effects to carry out or calls to send.
    pub fn has_work(&self) -> bool {
        self.state.has_effects() || self.hooks.has_calls()
    }

    /// The time at which [`events::handle_timeout`](crate::events::handle_timeout) must be called.
    pub fn deadline(&self) -> Time {
        let requests = self.acks.deadline().min(self.cluster.query_deadline()).min(self.receipts.deadline());
        let history = self.history.deadline().min(self.presence_deadline());
        let returns = self.returns.deadline().min(self.state.tracks.deadline()).min(self.state.traces.deadline());
        requests.min(self.state.refusals.deadline()).min(history).min(self.state.grants.deadline()).min(returns)
    }
}
