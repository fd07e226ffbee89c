//! Who is in which room, as clients and backends see it; and lists for operators: connected users and sessions, and today's
//! logins.

pub mod farewells;
pub mod lists;
pub mod nodes;
pub mod objects;
pub mod room;
pub mod search;
pub mod today;
pub mod tracker;

use self::{farewells::Farewells, nodes::Nodes, today::Today, tracker::Tracker};
use crate::{
    clock::{Now, Time},
    config,
    state::{State, TenantId},
};

/// The users in each room, and today's logins.
#[derive(Default)]
pub struct Presence {
    /// The users in each room.
    pub tracker: Tracker,
    /// The users at other relays.
    pub nodes: Nodes,
    /// The sessions that were lost, of which something is said after the grace.
    pub farewells: Farewells,
    /// How often it was found out which relays are alive, when [`Nodes`] was last compared with that.
    pub checks: u64,
    /// By [`TenantId`].
    today: Vec<Today>,
}

impl Presence {
    /// Counts a login of today.
    pub fn count_login(&mut self, tenant: TenantId, username: &str, now: Now) {
        if self.today.len() <= tenant.index() {
            self.today.resize_with(tenant.index() + 1, Today::default);
        }
        self.today[tenant.index()].count(username, now);
    }

    /// Applies a new configuration.
    pub fn configure(&mut self, settings: &config::Presence, state: &mut State) {
        if !settings.events {
            self.nodes.clear();
            self.checks = 0;
        }
        self.tracker.configure(settings, state);
    }

    /// When [`Presence::expire`] or [`Tracker::send`] has something to do.
    pub fn deadline(&self) -> Time {
        self.tracker.deadline().min(self.nodes.deadline()).min(self.farewells.deadline())
    }

    /// Gives up users whose sessions or relays were gone for too long.
    pub fn expire(&mut self, state: &mut State) {
        let now = state.now.time;
        self.tracker.expire(now);
        self.nodes.expire(&mut self.tracker, &mut state.stats, now);
    }

    /// Forgets the logins and rooms of a tenant that now belongs to another source.
    pub fn forget(&mut self, tenant: TenantId, state: &mut State) {
        let now = state.now.time;
        self.nodes.forget(tenant, &mut self.tracker, &mut state.stats, now);
        self.tracker.forget(tenant);
        self.farewells.forget(tenant);
        if let Some(today) = self.today.get_mut(tenant.index()) {
            *today = Today::default();
        }
    }

    /// Today's number of logins of each username in a tenant, sorted by name, and the number of all logins.
    pub fn today(&self, tenant: TenantId, now: Now) -> (Vec<(&str, u32)>, u64) {
        self.today.get(tenant.index()).map_or_else(Default::default, |today| today.list(now))
    }
}
