//! Who is connected, and who came today: what operators list.

pub mod lists;
pub mod today;

use self::today::Today;
use crate::{clock::Now, state::TenantId};

/// Today's logins of every tenant.
#[derive(Default)]
pub struct Presence {
    /// By the tenant's index.
    today: Vec<Today>,
}

impl Presence {
    /// Counts a login.
    pub fn count_login(&mut self, tenant: TenantId, username: &str, now: Now) {
        if self.today.len() <= tenant.index() {
            self.today.resize_with(tenant.index() + 1, Today::default);
        }
        self.today[tenant.index()].count(username, now);
    }

    /// Today's logins of a tenant by username, sorted, and how many there were.
    pub fn today(&self, tenant: TenantId, now: Now) -> (Vec<(&str, u32)>, u64) {
        self.today.get(tenant.index()).map_or_else(Default::default, |today| today.list(now))
    }
}
