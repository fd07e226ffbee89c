//! The hub: [`State`] and the features side by side, and what concerns several of them at once.
//!
//! Publishing a message delivers it to members, writes it to the message log and sends it to other relays; a login asks the
//! backend, joins rooms and is counted. That is all the hub does: it calls the features in order. What comes in from outside
//! works on the hub: [`api`](crate::api) for HTTP requests, [`events`](crate::events) for clients, hooks and other relays.

pub mod leave;
pub mod login;
pub mod publish;

use std::rc::Rc;

use crate::{
    acks::PendingAcks,
    clock::{Now, Time},
    cluster::Cluster,
    config::Config,
    hooks::Hooks,
    message::MessageId,
    message_log::MessageLog,
    presence::Presence,
    state::{Effect, State},
    websocket::Close,
};

/// All of relay's state that needs no socket, clock or file.
pub struct Hub {
    /// Clients, sessions, rooms, and what is queued for them.
    pub state: State,
    /// Lines for the message log.
    pub log: MessageLog,
    /// Calls to the backend.
    pub hooks: Hooks,
    /// Other relays.
    pub cluster: Cluster,
    /// Who came today.
    pub presence: Presence,
    /// Acknowledgements that clients wait for.
    pub(crate) acks: PendingAcks,
}

impl Hub {
    /// A hub without clients. `first` is the message id before the first one, and `secret` makes the ids of sessions.
    pub fn new(config: Rc<Config>, first: MessageId, secret: [u8; 32]) -> Hub {
        let mut hub = Hub {
            state: State::new(first, secret),
            log: MessageLog::new(!config.message_log.dir.is_empty()),
            hooks: Hooks::default(),
            cluster: Cluster::default(),
            presence: Presence::default(),
            acks: PendingAcks::default(),
        };
        hub.reload(config, Now::default());
        hub
    }

    /// Takes new limits, sources, namespaces, rules and hooks. Sessions whose source or namespace is gone are closed; a
    /// changed key counts from the next login on, a changed rule from the next event.
    pub fn reload(&mut self, config: Rc<Config>, now: Now) {
        self.hooks.configure(&config.hooks);
        for session in self.state.reload(config) {
            self.expel(session, Close::SOURCE_GONE, now);
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Rc<Config> {
        self.state.config()
    }

    /// Begins a turn of the loop at `now`.
    pub fn begin_turn(&mut self, now: Now) {
        self.state.now = now;
        self.log.begin_turn(now);
    }

    /// The next thing that the world must do. Carrying it out may bring more.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.state.effects.pop_front()
    }

    /// Whether there are effects to carry out, calls to send, or clients to flush.
    pub fn has_work(&self) -> bool {
        self.state.has_work() || self.hooks.has_calls()
    }

    /// When [`events::handle_timeout`](crate::events::handle_timeout) has something to do.
    pub fn deadline(&self) -> Time {
        self.acks.deadline().min(self.cluster.query_deadline())
    }
}
