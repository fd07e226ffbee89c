//! Presence: handles joins and leaves on this relay and on others, and sends the events about them.

use std::rc::Rc;

use super::Hub;
use crate::{
    clock::Time,
    cluster::{OwnRoom, Present, PresentUser, Roll, numbers},
    key::SessionKey,
    presence::{objects, room::Room, tracker::RoomChange},
    state::{Refusal, TenantId},
};

impl Hub {
    /// Brings who is in which room up to date. Call it before that is read, and once a turn.
    pub fn update_presence(&mut self) {
        if !self.presence.tracker.is_on() {
            return;
        }
        let moves = self.state.take_moves();
        self.presence.tracker.handle_moves(&self.state, moves);
        self.check_nodes();
    }

    /// Sends the events that are due, and publishes what has changed on this relay.
    pub(crate) fn expire_presence(&mut self) {
        self.update_presence();
        if self.presence_deadline() > self.state.now.time {
            return;
        }
        self.presence.expire(&mut self.state);
        self.say_farewells(false);
        while let Some(RoomChange { tenant, room, change }) = self.presence.tracker.send(&mut self.state) {
            if change.came.is_empty() && change.left.is_empty() && change.guests.is_none() {
                continue;
            }
            let came: Vec<PresentUser<&str>> =
                change.came.iter().map(|(userid, name, sessions)| (&**userid, &**name, *sessions)).collect();
            let left: Vec<&str> = change.left.iter().map(|userid| &**userid).collect();
            self.cluster.publish_present(&mut self.state, (tenant, &room), &came, &left, change.guests);
        }
    }

    /// When [`Hub::expire_presence`] has something to do.
    pub(super) fn presence_deadline(&self) -> Time {
        if self.state.has_moves() { Time::START } else { self.presence.deadline() }
    }

    /// Compares what is known of other relays with what they say, each time it was found out which of them are alive.
    fn check_nodes(&mut self) {
        let checks = self.cluster.checks();
        if core::mem::replace(&mut self.presence.checks, checks) == checks {
            return;
        }
        let state = &self.state;
        let by_tenant = |info: &str| {
            let numbers = numbers(info)?.into_iter();
            Some(numbers.filter_map(|(source, number)| Some((state.known_tenant(&source)?, number))).collect())
        };
        let alive: Vec<_> = self.cluster.nodes().iter().map(|node| (&*node.node, by_tenant(&node.info))).collect();
        let grace = self.presence.tracker.grace();
        let is_alive = |node: &str| self.cluster.is_alive(node);
        let now = state.now.time;
        let asks = self.presence.nodes.handle_check(&alive, is_alive, grace, &mut self.state.stats, now);
        for (node, tenant) in asks {
            self.cluster.ask_roll(&mut self.state, &node, tenant);
        }
    }

    /// Handles changes at another relay.
    pub(crate) fn handle_present(&mut self, present: &Present) {
        let now = self.state.now.time;
        let presence = &mut self.presence;
        let ask = presence.nodes.handle_present(present, &mut presence.tracker, &mut self.state.stats, now);
        if let Some((node, tenant)) = ask {
            self.cluster.ask_roll(&mut self.state, &node, tenant);
        }
    }

    /// Handles a piece of everything that another relay has.
    pub(crate) fn handle_roll(&mut self, roll: Roll) {
        let now = self.state.now.time;
        self.presence.nodes.handle_roll(roll, &mut self.presence.tracker, &mut self.state.stats, now);
    }

    /// Answers another relay that asks who is in the rooms of a tenant.
    pub(crate) fn answer_rollcall(&mut self, node: &str, tenant: TenantId) {
        if !self.presence.nodes.may_answer(node, tenant, self.state.now.time) {
            return;
        }
        let own = |room: &'_ Room| room.own().0.is_empty() && room.own().1 == 0;
        let rooms: Vec<OwnRoom<'_>> = self
            .presence
            .tracker
            .rooms(tenant)
            .filter(|room| !own(room))
            .map(|room| {
                let (users, guests) = room.own();
                (&*room.name, guests, users)
            })
            .collect();
        self.cluster.send_roll(&mut self.state, node, tenant, &rooms);
    }

    /// Who is in a room, as a JSON object. Only members of the room may ask.
    pub fn who(&mut self, session: SessionKey, room: &str) -> Result<String, Refusal> {
        self.update_presence();
        let found = self.state.sessions.get(session).ok_or(Refusal::SourceUnknown)?;
        if !self.state.room_names(found).iter().any(|name| **name == *room) {
            return Err(Refusal::NotInRoom);
        }
        let tracker = &self.presence.tracker;
        let empty = Room::new(Rc::from(room));
        let room = tracker.room(found.tenant, room).unwrap_or(&empty);
        Ok(format!("{{{}}}", objects::here(room, tracker.most())))
    }
}

#[cfg(test)]
mod tests;
