//! Lists for operators: connected users and sessions, and today's logins.

pub mod lists;
pub mod today;

use self::today::Today;
use crate::{clock::Now, state::TenantId};

/// Today's logins of all tenants.
#[derive(Default)]
pub struct Presence {
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

    /// Forgets the logins of a tenant that now belongs to another source.
    pub fn forget(&mut self, tenant: TenantId) {
        if let Some(today) = self.today.get_mut(tenant.index()) {
            *today = Today::default();
        }
    }

    /// Today's number of logins of each username in a tenant, sorted by name, and the number of all logins.
    pub fn today(&self, tenant: TenantId, now: Now) -> (Vec<(&str, u32)>, u64) {
        self.today.get(tenant.index()).map_or_else(Default::default, |today| today.list(now))
    }
}
