//! Delivery: encodes once for each form, queues frames in outboxes, and keeps the list of clients to flush.

use std::rc::Rc;

use super::{
    client::Mode,
    closing::decide,
    flush::LARGE_FRAME,
    flush_queue::Dirty,
    namespace::NamespaceId,
    registry::State,
    room::{Batches, Room},
    tenant::{Tenant, TenantId},
};
use crate::{
    config::SlowConsumers,
    frame::{Opcode, Run, Turn},
    key::{ClientKey, ConnKey, SessionKey},
    message::{Author, Data, Event, Form, Message, MessageId, Target},
    outbox::{Overflow, Queued},
    room_hash::HashedRoom,
    websocket::Close,
};

/// A receiver of an event: a client, and the namespace and form of its session.
pub type Receiver = (ClientKey, NamespaceId, Form);

/// The place of a message to one room in the order of all messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number.
    pub number: u64,
    /// Whether the history of the room keeps it, or tells those who get it from there that it is missing.
    pub kept: bool,
}

impl State {
    /// Queues a message for the members of a room in all namespaces. A member whose unsent bytes have grown
    /// by more than `limits.unsent` since it fell behind is a slow consumer; the others are not affected. If the history of the
    /// room keeps the message, a slow consumer gets it from there, once it reads again (`State::fallen`). Otherwise it is
    /// closed.
    pub fn deliver(
        &mut self,
        tenant: TenantId,
        hashed: HashedRoom<'_>,
        data: Data<'_>,
        (filename, author): (&str, Author<'_>),
        id: MessageId,
        stamp: Stamp,
    ) {
        self.stats.published += 1;
        let behind = stamp.kept && self.config.history.slow == SlowConsumers::Behind;
        let mode_of_slow = if behind { Mode::Behind } else { Mode::Ending };
        let room = hashed.name;
        let Tenant { name, rooms, .. } = &mut self.tenants[tenant.index()];
        for (table, namespace) in rooms.iter_mut().zip(&self.namespaces) {
            let Some(index) = table.find_hashed(hashed) else { continue };
            let message = Message { source: name, room, data, id, filename, author, namespace: &namespace.name };
            let Room { members, batches, .. } = table.room_mut(index);
            let limit = self.config.limits.unsent as usize;
            // The frame of each form; empty until the first member with that form. The form and frame of the previous
            // member are kept in variables of their own, because the next member usually has the same form.
            let mut frames = [Run::default(); Form::COUNT];
            let (mut form, mut frame) = (None, Run::default());
            let (mut skipped, mut needs_flush, mut slow, mut others) = (0, false, Vec::new(), Vec::new());
            let dirty = Dirty::of_fan_out(members.len());
            let to_flush = self.to_flush.of(dirty);
            for member in &*members {
                let Some(client) = self.clients.get_mut_if(member.client, |client| client.mode == Mode::Live) else {
                    skipped += 1;
                    if !stamp.kept {
                        others.push((member.client, member.form));
                    }
                    continue;
                };
                if form != Some(member.form) {
                    let encoded = &mut frames[member.form as usize];
                    if encoded.is_empty() {
                        *encoded = encode(&message, member.form, &mut self.turn, batches);
                        self.large_frames |= encoded.len() > LARGE_FRAME;
                        needs_flush |= encoded.len() > limit / 2;
                    }
                    (form, frame) = (Some(member.form), *encoded);
                }
                match client.outbox.push(frame, limit) {
                    Ok(Queued::Alone) => {}
                    Ok(Queued::Behind) => {
                        needs_flush |= client.outbox.bytes() > limit / 2 && !client.outbox.is_behind()
                    }
                    Err(Overflow) => {
                        skipped += 1;
                        client.mode = mode_of_slow;
                        slow.push(member.client);
                        continue;
                    }
                }
                if client.dirty < dirty {
                    client.dirty = dirty;
                    to_flush.push(member.client);
                }
            }
            self.stats.delivered += (members.len() - skipped) as u64;
            self.needs_flush |= needs_flush;
            self.timings.note_publication(dirty);
            if !stamp.kept && !self.tracks.is_empty() {
                for member in &*members {
                    let live = self.clients.get(member.client).is_some_and(|client| client.mode == Mode::Live);
                    if let Some(track) = self.tracks.get_mut(member.client).filter(|_| live) {
                        track.add_other(stamp.number, frames[member.form as usize].len());
                    }
                }
            }
            if !stamp.kept {
                // Once for each form: thousands of clients can be behind.
                let mut held = [const { None::<Rc<[u8]>> }; Form::COUNT];
                for (client, form) in others {
                    if self.clients.get(client).is_some_and(|client| client.mode == Mode::Behind) {
                        let frames = held[form as usize].get_or_insert_with(|| hold(&mut self.turn, &message, form));
                        self.held.push((client, tenant, frames.clone()));
                    }
                }
            }
            for client in slow {
                self.tracks.freeze(client, stamp.number.saturating_sub(1));
                match behind {
                    true => self.fallen.push((client, stamp.number - 1)),
                    false => {
                        self.stats.slow_consumers += 1;
                        decide(&mut self.effects, &mut self.decided_ends, client, Close::SLOW);
                    }
                }
            }
        }
    }

    /// Queues an event for each receiver, and returns for how many. Text clients are skipped: they have no frame for
    /// events.
    pub fn emit_to(&mut self, receivers: &[Receiver], event: &Event<'_>) -> usize {
        let mut runs: Vec<((NamespaceId, Form), Run)> = Vec::new();
        let (dirty, mut reached) = (Dirty::of_fan_out(receivers.len()), 0);
        for (client, namespace, form) in receivers {
            if !event.is_for(*form) || !self.accepts(*client, event) {
                continue;
            }
            let encoded = runs.iter().find(|(of, _)| *of == (*namespace, *form)).map(|(_, run)| *run);
            let run = encoded.unwrap_or_else(|| {
                let batch = self.turn.open();
                let run = event.frames(*form, &self.namespaces[*namespace as usize].name, &mut self.turn, batch);
                runs.push(((*namespace, *form), run));
                self.large_frames |= run.len() > LARGE_FRAME;
                run
            });
            self.queue_run(*client, run, dirty);
            reached += 1;
        }
        self.stats.emitted += reached as u64;
        reached
    }

    /// Queues an event for the members of a room in one namespace, except for the session `except`, and returns for how
    /// many. The frames go into the room's batch of this turn, so that a member that gets several of them in a row has
    /// one run in its outbox.
    pub fn emit_to_room(
        &mut self,
        (tenant, namespace, room): (TenantId, NamespaceId, &str),
        except: Option<SessionKey>,
        event: &Event<'_>,
    ) -> usize {
        let Some(table) = self.tenants[tenant.index()].rooms.get_mut(namespace as usize) else { return 0 };
        let Some(index) = table.find(room) else { return 0 };
        let members = core::mem::take(&mut table.room_mut(index).members);
        let mut runs = [None::<Run>; Form::COUNT];
        let (dirty, mut reached) = (Dirty::of_fan_out(members.len()), 0);
        for member in &members {
            if Some(member.session) == except || !event.is_for(member.form) || !self.accepts(member.client, event) {
                continue;
            }
            let form = member.form;
            let run = *runs[form as usize].get_or_insert_with(|| {
                let room = self.tenants[tenant.index()].rooms[namespace as usize].room_mut(index);
                let batch = room.batches.of(form, &mut self.turn);
                let run = event.frames(form, &self.namespaces[namespace as usize].name, &mut self.turn, batch);
                self.large_frames |= run.len() > LARGE_FRAME;
                run
            });
            self.queue_run(member.client, run, dirty);
            reached += 1;
        }
        self.tenants[tenant.index()].rooms[namespace as usize].room_mut(index).members = members;
        self.stats.emitted += reached as u64;
        reached
    }

    /// Whether an event may be queued for a client: not if the client is being closed, nor if the event is volatile and
    /// the client still has unsent data.
    fn accepts(&mut self, client: ClientKey, event: &Event<'_>) -> bool {
        let Some(client) = self.clients.get(client).filter(|client| !client.is_ending()) else { return false };
        let dropped = event.volatile && client.outbox.is_behind();
        self.stats.volatile_dropped += u64::from(dropped);
        !dropped
    }

    /// Queues an event for the members of several rooms in one namespace, once for each session, and returns for how
    /// many.
    pub fn emit_to_rooms(
        &mut self,
        (tenant, namespace): (TenantId, NamespaceId),
        rooms: &[&str],
        except: Option<SessionKey>,
        event: &Event<'_>,
    ) -> usize {
        if let [room] = rooms {
            return self.emit_to_room((tenant, namespace, room), except, event);
        }
        let Some(table) = self.tenants[tenant.index()].table(namespace) else { return 0 };
        let members = rooms.iter().filter_map(|room| table.find(room)).flat_map(|index| &table.room(index).members);
        let mut members: Vec<_> = members.filter(|member| Some(member.session) != except).copied().collect();
        members.sort_unstable_by_key(|member| member.session);
        members.dedup_by_key(|member| member.session);
        let receivers: Vec<_> = members.into_iter().map(|member| (member.client, namespace, member.form)).collect();
        self.emit_to(&receivers, event)
    }

    /// Queues an event for a target's sessions of this relay, and returns for how many.
    /// [`Hub::emit`](crate::hub::Hub::emit) also sends it to other relays.
    pub fn emit(&mut self, tenant: TenantId, namespace: NamespaceId, target: &Target<'_>, event: &Event<'_>) -> usize {
        match target {
            Target::Room(room) => self.emit_to_room((tenant, namespace, room), None, event),
            Target::Namespace => self.emit_to(&self.namespace_receivers(tenant, namespace), event),
            Target::User(userid) => {
                let sessions = self.user_sessions(tenant, namespace, userid);
                let receivers: Vec<_> = sessions.iter().filter_map(|key| self.receiver(*key)).collect();
                self.emit_to(&receivers, event)
            }
            Target::Session(name) => {
                let same_tenant = |key: &SessionKey| self.tenant_of(*key) == Some(tenant);
                let receiver = self.find_session(name).filter(same_tenant).and_then(|key| self.receiver(key));
                self.emit_to(receiver.as_slice(), event)
            }
        }
    }

    /// Queues a frame for one client.
    pub fn send(&mut self, key: ClientKey, opcode: Opcode, payload: &[u8]) {
        let frame = self.turn.single(opcode, |out| out.extend_from_slice(payload));
        self.queue(key, frame);
    }

    /// Queues bytes that already have the framing of the client's transport.
    pub fn send_raw(&mut self, key: ClientKey, bytes: &[u8]) {
        let frame = self.turn.single_raw(bytes);
        self.queue(key, frame);
    }

    /// Queues a frame for one client. A client whose unsent bytes have grown by more than `limits.unsent` is closed as
    /// a slow consumer.
    pub fn queue(&mut self, key: ClientKey, frame: Run) {
        self.queue_run(key, frame, Dirty::Urgent);
    }

    /// Queues a run for one of `count` clients that get it.
    pub(super) fn queue_shared(&mut self, key: ClientKey, run: Run, count: usize) {
        self.large_frames |= run.len() > LARGE_FRAME;
        self.queue_run(key, run, Dirty::of_fan_out(count));
    }

    fn queue_run(&mut self, key: ClientKey, frame: Run, dirty: Dirty) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_ending()) else { return };
        let limit = self.config.limits.unsent as usize;
        let bytes = frame.len();
        // A client that is behind has as much as others may have unsent. Its pings and answers come on top of that.
        if client.mode == Mode::Behind && client.outbox.bytes() < 4 * limit {
            client.outbox.push_over_limit(frame);
        } else if client.outbox.push(frame, limit).is_err() {
            self.close_slow(key);
        }
        self.note_other(key, bytes);
        self.mark(key, dirty);
    }

    /// Reports that the socket of a client is writable again, or that a poll waits.
    pub fn handle_writable(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.mark_writable();
        }
        self.mark_dirty(key);
    }

    /// The WebSocket connection of a client.
    pub fn conn(&self, key: ClientKey) -> Option<ConnKey> {
        self.clients.get(key).and_then(|client| client.conn)
    }
}

/// Keeps a message that no room keeps for a client that is behind: its id is newer than those of the messages that the client
/// gets first.
#[cold]
fn hold(turn: &mut Turn, message: &Message<'_>, form: Form) -> Rc<[u8]> {
    let batch = turn.open();
    let run = message.frames(form, turn, batch);
    turn.slice(run).into()
}

/// Encodes a message for the first member with a form. Marked cold to keep it out of the loop over members.
#[cold]
fn encode(message: &Message<'_>, form: Form, turn: &mut Turn, batches: &mut Batches) -> Run {
    let batch = batches.of(form, turn);
    message.frames(form, turn, batch)
}

#[cfg(test)]
mod tests;
