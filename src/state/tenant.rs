//! Tenants. A tenant is a source with its own rooms.

use std::rc::Rc;

use super::room::RoomTable;
use crate::config::Source;

/// A source and its rooms. Each tenant has its own room tables, so two tenants never share a room.
pub struct Tenant {
    /// The source's name.
    pub name: Rc<str>,
    /// Its settings. `None` if it is not, or no longer, configured.
    pub source: Option<Source>,
    /// Whether a namespace admits clients to it without a signature.
    pub open: bool,
    /// Its rooms, by [`NamespaceId`](super::NamespaceId). A message to a room reaches its members in all namespaces.
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
    /// The number of its rooms.
    pub fn room_count(&self) -> usize {
        self.rooms.iter().map(RoomTable::len).sum()
    }

    /// Whether it can have sessions: it is configured, or a namespace admits clients to it without a signature.
    pub fn is_known(&self) -> bool {
        self.source.is_some() || self.open
    }
}
