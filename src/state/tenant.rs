//! Tenants. A tenant is a source with its own rooms.

use std::rc::Rc;

use super::room::RoomTable;
use crate::config::{MAX_SOURCES, Source};

/// A source and its rooms. Each tenant has its own room tables, so two tenants never share a room.
pub struct Tenant {
    /// The source's name.
    pub name: Rc<str>,
    /// Its settings. `None` if it is not, or no longer, configured.
    pub source: Option<Source>,
    /// Whether a namespace admits clients to it without a signature.
    pub open: bool,
    /// Its rooms, by [`NamespaceId`](super::NamespaceId), as far as sessions have joined any. A message to a room reaches
    /// its members in all namespaces.
    pub rooms: Vec<RoomTable>,
}

/// A tenant's index in [`State`](super::State). A reload gives it to another source if its own is no longer configured and
/// has no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub(crate) u16);

impl TenantId {
    /// The index.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

const _: () = assert!(MAX_SOURCES == 1 << u16::BITS);

impl Tenant {
    /// A tenant without settings and rooms.
    pub fn new(name: &str) -> Tenant {
        Tenant { name: name.into(), source: None, open: false, rooms: Vec::new() }
    }

    /// Its rooms in the namespace with this [`NamespaceId`](super::NamespaceId). `None` if no session has joined one.
    #[inline]
    pub fn table(&self, namespace: u16) -> Option<&RoomTable> {
        self.rooms.get(namespace as usize)
    }

    /// Its rooms in the namespace with this [`NamespaceId`](super::NamespaceId), for writing. The table is created if it does not exist.
    #[inline]
    pub fn table_mut(&mut self, namespace: u16) -> &mut RoomTable {
        let index = namespace as usize;
        if index >= self.rooms.len() {
            self.rooms.resize_with(index + 1, RoomTable::default);
        }
        &mut self.rooms[index]
    }

    /// The number of its rooms.
    pub fn room_count(&self) -> usize {
        self.rooms.iter().map(RoomTable::len).sum()
    }

    /// Whether it can have sessions: it is configured, or a namespace admits clients to it without a signature.
    pub fn is_known(&self) -> bool {
        self.source.is_some() || self.open
    }
}
