//! A tenant: one source with rooms of its own.

use std::rc::Rc;

use super::room::RoomTable;
use crate::config::Source;

/// A source and its rooms. Two tenants have separate room tables, so their rooms never meet.
pub struct Tenant {
    /// The source's name.
    pub name: Rc<str>,
    /// Its settings; `None` if it is not configured, or not any more.
    pub source: Option<Source>,
    /// Whether a namespace admits anybody into it.
    pub open: bool,
    /// Its rooms, by namespace. What backends send reaches a room's members in all of them.
    pub rooms: Vec<RoomTable>,
}

/// A tenant's index in [`State`](super::State). It is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantId(pub(crate) u16);

impl TenantId {
    /// The index.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl Tenant {
    /// Rooms that have members.
    pub fn room_count(&self) -> usize {
        self.rooms.iter().map(RoomTable::len).sum()
    }

    /// Whether sessions may be in it.
    pub fn is_known(&self) -> bool {
        self.source.is_some() || self.open
    }
}
