//! The rooms of one tenant. Two tenants have two tables: their rooms cannot meet, whatever they are called.
//!
//! Members stand in a list, and each knows its place there, so joining and leaving cost the same in a room of three and
//! of 30,000, and a broadcast walks memory in one direction. A hash set's order would cost 16 to 27 % of each delivery.

use std::{collections::HashMap, rc::Rc};

use slab::Slab;

use crate::{
    frame::Turn,
    key::{ClientKey, SessionKey},
    message::Form,
};

/// Names a room within its tenant, while it has members.
pub type RoomIndex = u32;

/// All rooms of a tenant that have members.
#[derive(Default)]
pub struct RoomTable {
    by_name: HashMap<Rc<str>, RoomIndex>,
    rooms: Slab<Room>,
}

/// A room: there are only rooms with members.
pub struct Room {
    /// Its name.
    pub id: Rc<str>,
    /// Who is in it, in no particular order.
    pub members: Vec<Member>,
    /// What it sends in this turn.
    pub batches: Batches,
}

/// A room's batches of one turn, by form.
#[derive(Default)]
pub struct Batches {
    by_form: [Option<u32>; Form::COUNT],
    turn: u32,
}

impl Batches {
    /// The batch of a form in this turn, opened on first use.
    pub fn of(&mut self, form: Form, turn: &mut Turn) -> u32 {
        if self.turn != turn.number() {
            *self = Batches { turn: turn.number(), ..Batches::default() };
        }
        *self.by_form[form as usize].get_or_insert_with(|| turn.open())
    }
}

/// A session in a room.
#[derive(Clone, Copy)]
pub struct Member {
    /// Where its messages go.
    pub client: ClientKey,
    /// The session.
    pub session: SessionKey,
    /// The index of this room in the session's list.
    pub slot: u16,
    /// How it wants its messages.
    pub form: Form,
}

const _: () = assert!(size_of::<Member>() <= 20);

/// A member that now stands where the one before it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Who.
    pub session: SessionKey,
    /// Its own name for the room.
    pub slot: u16,
}

impl RoomTable {
    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether nobody is in any room.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The room of that name, if somebody is in it.
    pub fn find(&self, name: &str) -> Option<RoomIndex> {
        self.by_name.get(name).copied()
    }

    /// A room that is known to be there.
    pub fn room(&self, index: RoomIndex) -> &Room {
        &self.rooms[index as usize]
    }

    /// The same, to publish in.
    pub fn room_mut(&mut self, index: RoomIndex) -> &mut Room {
        &mut self.rooms[index as usize]
    }

    /// All rooms.
    pub fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, room)| room)
    }

    /// Adds a member, to a new room if need be; with the room and the place in it.
    pub fn join(&mut self, name: &str, member: Member) -> (RoomIndex, u32) {
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => {
                let id: Rc<str> = name.into();
                let index = self.rooms.insert(Room { id: id.clone(), members: Vec::new(), batches: Batches::default() })
                    as RoomIndex;
                self.by_name.insert(id, index);
                index
            }
        };
        let members = &mut self.rooms[index as usize].members;
        members.push(member);
        (index, members.len() as u32 - 1)
    }

    /// Takes the member at `place` out, and the room with it if it was the last; the last member takes its place.
    pub fn leave(&mut self, index: RoomIndex, place: u32) -> Option<Moved> {
        let members = &mut self.rooms[index as usize].members;
        members.swap_remove(place as usize);
        if members.is_empty() {
            let room = self.rooms.remove(index as usize);
            self.by_name.remove(&room.id);
            return None;
        }
        if members.capacity() > 64 && members.len() * 4 < members.capacity() {
            members.shrink_to(members.len() * 2);
        }
        members.get(place as usize).map(|moved| Moved { session: moved.session, slot: moved.slot })
    }

    /// Tells the member at `place` that its session now lists the room elsewhere.
    pub fn renumber(&mut self, index: RoomIndex, place: u32, slot: u16) {
        self.rooms[index as usize].members[place as usize].slot = slot;
    }
}
