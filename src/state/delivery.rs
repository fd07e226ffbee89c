//! Delivery: encoding once for each form, outboxes, and the list of clients to be flushed.

use super::{
    client::Carrier,
    effect::Effect,
    namespace::NamespaceId,
    registry::State,
    room::{Batches, Room},
    tenant::{Tenant, TenantId},
};
use crate::{
    frame::{Opcode, Run, Turn},
    key::{ClientKey, ConnKey, Handle, SessionKey},
    message::{Data, Event, Form, Message, MessageId, Target},
    outbox::{Outbox, Overflow, Queued},
    websocket::Close,
};

/// Where an event goes: a client, and its session's namespace and form.
pub type Receiver = (ClientKey, NamespaceId, Form);

impl State {
    /// Queues a message for the members of a room, in all namespaces. A member whose outbox is full is closed as a slow
    /// consumer; the others are not affected.
    pub fn deliver(&mut self, tenant: TenantId, room: &str, data: Data<'_>, filename: &str, id: MessageId) {
        self.stats.published += 1;
        let Tenant { name, rooms, .. } = &mut self.tenants[tenant.index()];
        for (table, namespace) in rooms.iter_mut().zip(&self.namespaces) {
            let Some(index) = table.find(room) else { continue };
            let message = Message { source: name, room, data, id, filename, namespace: &namespace.name };
            let Room { members, batches, .. } = table.room_mut(index);
            let cap = self.config.limits.unsent as usize;
            // By form, and the one of the last member, which mostly is the next one's; a message's frame is never empty.
            let mut frames = [Run::default(); Form::COUNT];
            let (mut form, mut frame) = (None, Run::default());
            let (mut left_out, mut pressed) = (0, false);
            for member in &*members {
                let Some(client) = self.clients.get_mut_if(member.client, |client| !client.ending) else {
                    left_out += 1;
                    continue;
                };
                if form != Some(member.form) {
                    let known = &mut frames[member.form as usize];
                    if known.is_empty() {
                        *known = encode(&message, member.form, &mut self.turn, batches);
                        pressed |= known.len() > cap / 2;
                    }
                    (form, frame) = (Some(member.form), *known);
                }
                match client.outbox.push(frame, cap) {
                    Ok(Queued::Alone) => {}
                    Ok(Queued::Behind) => pressed |= client.outbox.bytes() > cap / 2,
                    Err(Overflow) => {
                        left_out += 1;
                        client.ending = true;
                        self.stats.slow_consumers += 1;
                        self.effects.push_back(Effect::Close { client: member.client, close: Close::SLOW });
                        continue;
                    }
                }
                if !client.dirty {
                    client.dirty = true;
                    self.dirty.push(member.client);
                }
            }
            self.stats.delivered += (members.len() - left_out) as u64;
            self.pressed |= pressed;
        }
    }

    /// Queues an event for each of these; how many will get it. Text clients have no frame for events.
    pub fn emit_to(&mut self, receivers: &[Receiver], event: &Event<'_>) -> usize {
        let mut runs: Vec<((NamespaceId, Form), Run)> = Vec::new();
        let mut reached = 0;
        for (client, namespace, form) in receivers {
            if !event.is_for(*form) || !self.may_get(*client, event) {
                continue;
            }
            let known = runs.iter().find(|(known, _)| *known == (*namespace, *form)).map(|(_, run)| *run);
            let run = known.unwrap_or_else(|| {
                let batch = self.turn.open();
                let run = event.frames(*form, &self.namespaces[*namespace as usize].name, &mut self.turn, batch);
                runs.push(((*namespace, *form), run));
                run
            });
            self.queue(*client, run);
            reached += 1;
        }
        self.stats.emitted += reached as u64;
        reached
    }

    /// The same for the members of a room in a namespace, but not for `except`. What a room gets in a turn lies together,
    /// so that who gets all of it is written to in one piece.
    pub fn emit_to_room(
        &mut self,
        (tenant, namespace, room): (TenantId, NamespaceId, &str),
        except: Option<SessionKey>,
        event: &Event<'_>,
    ) -> usize {
        let table = &mut self.tenants[tenant.index()].rooms[namespace as usize];
        let Some(index) = table.find(room) else { return 0 };
        let members = core::mem::take(&mut table.room_mut(index).members);
        let mut runs = [None::<Run>; Form::COUNT];
        let mut reached = 0;
        for member in &members {
            if Some(member.session) == except || !event.is_for(member.form) || !self.may_get(member.client, event) {
                continue;
            }
            let form = member.form;
            let run = *runs[form as usize].get_or_insert_with(|| {
                let room = self.tenants[tenant.index()].rooms[namespace as usize].room_mut(index);
                let batch = room.batches.of(form, &mut self.turn);
                event.frames(form, &self.namespaces[namespace as usize].name, &mut self.turn, batch)
            });
            self.queue(member.client, run);
            reached += 1;
        }
        self.tenants[tenant.index()].rooms[namespace as usize].room_mut(index).members = members;
        self.stats.emitted += reached as u64;
        reached
    }

    /// Whether an event is for who keeps up, and this client does.
    fn may_get(&mut self, client: ClientKey, event: &Event<'_>) -> bool {
        let Some(client) = self.clients.get(client).filter(|client| !client.ending) else { return false };
        let dropped = event.volatile && client.outbox.is_behind();
        self.stats.volatile_dropped += u64::from(dropped);
        !dropped
    }

    /// To the members of rooms that are here: each once.
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
        let table = &self.tenants[tenant.index()].rooms[namespace as usize];
        let members = rooms.iter().filter_map(|room| table.find(room)).flat_map(|index| &table.room(index).members);
        let mut members: Vec<_> = members.filter(|member| Some(member.session) != except).copied().collect();
        members.sort_unstable_by_key(|member| member.session);
        members.dedup_by_key(|member| member.session);
        let receivers: Vec<_> = members.into_iter().map(|member| (member.client, namespace, member.form)).collect();
        self.emit_to(&receivers, event)
    }

    /// The same without a word to siblings.
    pub fn emit(&mut self, tenant: TenantId, namespace: NamespaceId, target: &Target<'_>, event: &Event<'_>) -> usize {
        match target {
            Target::Room(room) => self.emit_to_room((tenant, namespace, room), None, event),
            Target::Namespace => self.emit_to(&self.everybody(tenant, namespace), event),
            Target::User(userid) => {
                let sessions = self.user_sessions(tenant, namespace, userid);
                let receivers: Vec<_> = sessions.iter().filter_map(|key| self.receiver(*key)).collect();
                self.emit_to(&receivers, event)
            }
            Target::Session(name) => {
                let own = |key: &SessionKey| self.sessions.get(*key).is_some_and(|session| session.tenant == tenant);
                let receiver = self.find_session(name).filter(own).and_then(|key| self.receiver(key));
                self.emit_to(receiver.as_slice(), event)
            }
        }
    }

    /// Queues a frame for one client.
    pub fn send(&mut self, key: ClientKey, opcode: Opcode, payload: &[u8]) {
        let frame = self.turn.single(opcode, |out| out.extend_from_slice(payload));
        self.queue(key, frame);
    }

    /// Queues bytes that already are what the client's transport sends.
    pub fn send_raw(&mut self, key: ClientKey, bytes: &[u8]) {
        let frame = self.turn.single_raw(bytes);
        self.queue(key, frame);
    }

    /// Queues a frame for one client. A client whose outbox is full is closed as a slow consumer.
    pub fn queue(&mut self, key: ClientKey, frame: Run) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        if client.outbox.push(frame, self.config.limits.unsent as usize).is_err() {
            client.ending = true;
            self.stats.slow_consumers += 1;
            self.effects.push_back(Effect::Close { client: key, close: Close::SLOW });
        }
        self.mark_dirty(key);
    }

    /// Asks the world to close a client; until then nothing is queued for it any more.
    pub fn close(&mut self, key: ClientKey, close: Close) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.ending) else { return };
        client.ending = true;
        self.effects.push_back(Effect::Close { client: key, close });
    }

    /// Puts a client among those to be flushed: something waits for it, or its socket takes bytes again.
    pub fn mark_dirty(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key).filter(|client| !client.dirty) {
            client.dirty = true;
            self.dirty.push(key);
        }
    }

    /// What carries a client takes bytes again.
    pub fn handle_writable(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.outbox.mark_writable();
        }
        self.mark_dirty(key);
    }

    /// Whether there are effects to carry out or clients to flush.
    pub fn has_work(&self) -> bool {
        !self.effects.is_empty() || !self.dirty.is_empty()
    }

    /// Whether some outbox is so full that it should be flushed before anything else is handled: a reader that keeps up
    /// must not look slow because many large messages came in one turn.
    pub fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// The clients with something to send, in slot order, which is the order of their memory and of the kernel's. Each
    /// is named once, and not again before it was flushed: [flush](Hub::flush) each of them, then
    /// [end the turn](Hub::end_turn).
    pub fn poll_dirty(&mut self, into: &mut Vec<ClientKey>) {
        into.clear();
        core::mem::swap(&mut self.dirty, into);
        self.pressed = false;
        if !into.is_sorted_by_key(|key| key.key().index()) {
            into.sort_unstable();
        }
    }

    /// What carries a client.
    pub fn conn(&self, key: ClientKey) -> Option<ConnKey> {
        self.clients.get(key).and_then(|client| client.conn)
    }

    /// Writes what waits for a client that a socket carries, with `write`, which has that socket; what brings another
    /// client its messages is for the caller to see. One look at the client where most writes are.
    #[inline]
    pub fn flush(&mut self, key: ClientKey, write: impl FnOnce(ConnKey, &mut Outbox, &Turn, &mut Vec<u8>)) -> Carrier {
        let Some(client) = self.clients.get_mut(key) else { return Carrier::Nothing };
        client.dirty = false;
        let carrier = client.carrier();
        if let Carrier::Socket(conn) = carrier {
            write(conn, &mut client.outbox, &self.turn, &mut self.scratch);
        }
        carrier
    }

    /// Makes `close` the last thing that a client is sent, behind what waits for it; a slow consumer loses what it did not
    /// read. Nothing more is queued for it.
    pub fn queue_last(&mut self, key: ClientKey, close: Option<Close>) {
        let polling = self.is_polling(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.ending = true;
        let Some(close) = close else { return };
        if close == Close::SLOW {
            client.outbox.abandon(&self.turn);
        }
        client.outbox.force(match polling {
            // A session on a poll ends with "close", or with a noop if the client itself closed it. When relay stops it is a
            // noop as well: Python clients take a close for a request to stay away; after a noop they poll again, fail, and
            // reconnect.
            true => {
                let noop = close == Close::ASKED || close == Close::GOING_AWAY;
                self.turn.single(Opcode::Text, |out| out.push(if noop { b'6' } else { b'1' }))
            }
            false => self.turn.single(Opcode::Close, |out| out.extend(close.payload())),
        });
        self.mark_dirty(key);
    }

    /// Nothing of this turn's frames is needed any more: every dirty client was flushed.
    pub fn end_turn(&mut self) {
        debug_assert!(self.dirty.is_empty(), "somebody was given a frame while the turn was being flushed");
        self.turn.end();
    }
}

/// Encodes a message for the first member of a form in a room; kept out of the loop over members.
#[cold]
fn encode(message: &Message<'_>, form: Form, turn: &mut Turn, batches: &mut Batches) -> Run {
    let batch = batches.of(form, turn);
    message.frames(form, turn, batch)
}
