//! All rings: by room, with their floors and the memory that they take.

use hashbrown::HashTable;

use super::{bounds::Bounds, ring::Ring};
use crate::{
    room_hash::{HashedRoom, room_hash},
    state::TenantId,
};

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
    /// Indexes into the list of all rings.
    by_name: HashTable<u32>,
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

    /// Asserts that the counters are those of a recount, and that each ring is found by its name.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self) {
        self.all.iter().for_each(Ring::check);
        assert_eq!(self.bytes, self.all.iter().map(Ring::footprint).sum::<usize>(), "bytes");
        assert_eq!(self.messages, self.all.iter().map(Ring::len).sum::<usize>(), "messages");
        assert_eq!(self.lasting, self.all.iter().filter(|ring| ring.bounds().last).count(), "rings that last");
        assert_eq!(self.tenants.iter().map(|rooms| rooms.by_name.len()).sum::<usize>(), self.all.len(), "names");
        for (index, ring) in self.all.iter().enumerate() {
            assert!(!ring.is_empty() && self.find(ring.tenant, &ring.name) == Some(index), "{}", ring.name);
        }
    }

    /// Whether a message can become too old.
    pub fn can_expire(&self) -> bool {
        self.messages > self.lasting
    }

    /// The index of a room's ring.
    pub fn find(&self, tenant: TenantId, room: &str) -> Option<usize> {
        self.find_hashed(tenant, HashedRoom::new(room))
    }

    /// The index of a room's ring. The name was hashed before.
    pub fn find_hashed(&self, tenant: TenantId, room: HashedRoom<'_>) -> Option<usize> {
        let by_name = &self.tenants.get(tenant.index())?.by_name;
        by_name.find(room.hash, |index| &*self.all[*index as usize].name == room.name).map(|index| *index as usize)
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
            self.tenants.resize_with(index + 1, || Rooms { by_name: HashTable::new(), floor, newest: floor });
        }
        let newest = &mut self.tenants[index].newest;
        *newest = stamp.max(*newest);
    }

    /// Notes that the message with this stamp is missing in a room of the tenant that may have no ring.
    pub fn raise_floor(&mut self, tenant: TenantId, room: &str, stamp: u64) {
        match self.find(tenant, room) {
            Some(index) => self.all[index].note_unkept(stamp),
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
        let (rooms, index) = (&mut self.tenants[tenant.index()], self.all.len());
        let ring = Ring::new(tenant, room.into(), bounds, rooms.floor);
        let hash = |index: &u32| room_hash(&self.all[*index as usize].name);
        rooms.by_name.insert_unique(room_hash(room), index as u32, hash);
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
        if let Ok(entry) = rooms.by_name.find_entry(room_hash(&ring.name), |known| *known as usize == index) {
            entry.remove();
        }
        let newest = ring.newest().map_or(0, |entry| entry.stamp());
        rooms.floor = rooms.floor.max(ring.floor()).max(newest);
        let is_sparse = rooms.by_name.capacity() > 64 && rooms.by_name.len() * 8 < rooms.by_name.capacity();
        if let Some(moved) = self.all.get(index) {
            let (last, by_name) = (self.all.len(), &mut self.tenants[moved.tenant.index()].by_name);
            let place = by_name.find_mut(room_hash(&moved.name), |known| *known as usize == last);
            *place.expect("every ring has a name") = index as u32;
        }
        if is_sparse {
            let by_name = &mut self.tenants[ring.tenant.index()].by_name;
            by_name.shrink_to(by_name.len() * 2, |index| room_hash(&self.all[*index as usize].name));
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
