//! All rings: by room, with their floors and the memory that they take.

use std::{collections::HashMap, rc::Rc};

use super::{bounds::Bounds, ring::Ring};
use crate::state::TenantId;

/// The rings of all rooms that keep a message.
#[derive(Default)]
pub struct Rings {
    /// By tenant, as far as one has published a message.
    tenants: Vec<Rooms>,
    /// In no particular order.
    all: Vec<Ring>,
    /// The floor of tenants that are not in the list.
    floor: u64,
    bytes: usize,
    messages: usize,
    /// The number of rings whose newest message does not expire.
    lasting: usize,
}

/// The rings of a tenant.
struct Rooms {
    by_name: HashMap<Rc<str>, u32>,
    /// The highest floor of the rings that were removed, and of rooms that have none.
    floor: u64,
    /// The newest stamp of a message to any of its rooms, kept or not.
    newest: u64,
}

impl Rings {
    /// All rings.
    pub fn all(&self) -> &[Ring] {
        &self.all
    }

    /// Bytes of all rings.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of messages.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Whether a message can become too old.
    pub fn can_expire(&self) -> bool {
        self.messages > self.lasting
    }

    /// The index of a room's ring.
    pub fn find(&self, tenant: TenantId, room: &str) -> Option<usize> {
        let index = self.tenants.get(tenant.index())?.by_name.get(room)?;
        Some(*index as usize)
    }

    /// The ring of a room.
    pub fn get(&self, tenant: TenantId, room: &str) -> Option<&Ring> {
        self.find(tenant, room).map(|index| &self.all[index])
    }

    /// The newest stamp of a message that may be missing in a room of the tenant that has no ring.
    pub fn floor(&self, tenant: TenantId) -> u64 {
        self.tenants.get(tenant.index()).map_or(self.floor, |rooms| rooms.floor)
    }

    /// The newest stamp of a message of the tenant.
    pub fn newest(&self, tenant: TenantId) -> u64 {
        self.tenants.get(tenant.index()).map_or(self.floor, |rooms| rooms.newest)
    }

    /// Notes a message of the tenant, whether it is kept or not.
    pub fn note(&mut self, tenant: TenantId, stamp: u64) {
        let index = tenant.index();
        if index >= self.tenants.len() {
            let floor = self.floor;
            self.tenants.resize_with(index + 1, || Rooms { by_name: HashMap::new(), floor, newest: floor });
        }
        let newest = &mut self.tenants[index].newest;
        *newest = stamp.max(*newest);
    }

    /// Notes that the message with this stamp is missing in a room of the tenant that may have no ring.
    pub fn raise_floor(&mut self, tenant: TenantId, room: &str, stamp: u64) {
        match self.find(tenant, room) {
            Some(index) => self.all[index].raise_floor(stamp),
            None => {
                self.note(tenant, stamp);
                let floor = &mut self.tenants[tenant.index()].floor;
                *floor = stamp.max(*floor);
            }
        }
    }

    /// Notes that messages up to this stamp may be missing in all rooms that have no ring.
    pub fn raise_floors(&mut self, stamp: u64) {
        self.floor = stamp.max(self.floor);
        for rooms in &mut self.tenants {
            rooms.floor = stamp.max(rooms.floor);
        }
    }

    /// Adds an empty ring for a room that has none. Returns its index.
    pub fn add(&mut self, tenant: TenantId, room: &str, bounds: Bounds) -> usize {
        self.note(tenant, 0);
        let (name, index): (Rc<str>, usize) = (room.into(), self.all.len());
        let rooms = &mut self.tenants[tenant.index()];
        let ring = Ring::new(tenant, name.clone(), bounds, rooms.floor);
        rooms.by_name.insert(name, index as u32);
        self.bytes += ring.footprint();
        self.lasting += usize::from(bounds.last);
        self.all.push(ring);
        index
    }

    /// Changes a ring.
    pub fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Ring) -> R) -> R {
        let ring = &mut self.all[index];
        let size = |ring: &Ring| (ring.footprint(), ring.len(), usize::from(ring.bounds().last));
        let before = size(ring);
        let result = change(ring);
        let after = size(ring);
        self.bytes = self.bytes + after.0 - before.0;
        self.messages = self.messages + after.1 - before.1;
        self.lasting = self.lasting + after.2 - before.2;
        result
    }

    /// Removes a ring. The last ring takes its place.
    pub fn remove(&mut self, index: usize) {
        let ring = self.all.swap_remove(index);
        self.bytes -= ring.footprint();
        self.messages -= ring.len();
        self.lasting -= usize::from(ring.bounds().last);
        let rooms = &mut self.tenants[ring.tenant.index()];
        rooms.by_name.remove(&ring.name);
        let newest = ring.newest().map_or(0, |entry| entry.stamp());
        rooms.floor = rooms.floor.max(ring.floor()).max(newest);
        if rooms.by_name.capacity() > 64 && rooms.by_name.len() * 8 < rooms.by_name.capacity() {
            rooms.by_name.shrink_to(rooms.by_name.len() * 2);
        }
        if let Some(moved) = self.all.get(index) {
            let place = self.tenants[moved.tenant.index()].by_name.get_mut(&moved.name);
            *place.expect("every ring has a name") = index as u32;
        }
        if self.all.capacity() > 64 && self.all.len() * 4 < self.all.capacity() {
            self.all.shrink_to(self.all.len() * 2);
        }
    }

    /// Removes a ring if it is empty. Returns whether it was.
    pub fn remove_if_empty(&mut self, index: usize) -> bool {
        let is_empty = self.all[index].is_empty();
        if is_empty {
            self.remove(index);
        }
        is_empty
    }

    /// Removes the rings of a tenant.
    pub fn forget(&mut self, tenant: TenantId) {
        let has_rings = self.tenants.get(tenant.index()).is_some_and(|rooms| !rooms.by_name.is_empty());
        for index in (0..self.all.len()).rev().filter(|_| has_rings) {
            // The ring that takes the place of a removed one was looked at before.
            if self.all[index].tenant == tenant {
                self.remove(index);
            }
        }
        // The source may come back, and get the place of another tenant.
        if let Some(rooms) = self.tenants.get_mut(tenant.index()) {
            rooms.floor = rooms.newest;
            self.floor = self.floor.max(rooms.newest);
        }
    }

    /// Removes everything. Messages up to this stamp may be missing in all rooms.
    pub fn clear(&mut self, stamp: u64) {
        *self = Rings { floor: stamp.max(self.floor), ..Rings::default() };
    }
}
