//! Publishing to the members of this relay, to the message log, and to other relays.

use smallvec::SmallVec;

use super::Hub;
use crate::{
    cluster::{Reach, RefreshTarget},
    key::SessionKey,
    message::{Data, Event, MessageId, Target, bytes::unpack_arguments},
    message_log::lines::write_data,
    names::{RoomId, Rooms},
    state::{TenantId, delivery::Receiver},
};

/// The origin of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A backend's HTTP request.
    Backend,
    /// A client.
    Session(SessionKey),
    /// This relay: a session with `watch_quit` has ended.
    Relay,
    /// Redis: another relay, a node-socket-im server, or a backend that publishes to Redis.
    Cluster,
}

impl Hub {
    /// Publishes a backend's message to rooms, in their order, here and at other relays. On return it is in the outbox
    /// of every member of this relay and in the message log's buffer.
    pub fn publish(&mut self, tenant: TenantId, rooms: &Rooms<'_>, data: Data<'_>, filename: &str) -> MessageId {
        let names: SmallVec<[&str; 2]> = rooms.iter().map(RoomId::as_str).collect();
        self.publish_from(Origin::Backend, tenant, &names, data, filename)
    }

    /// Publishes a message here and at other relays. `origin` is not [`Origin::Cluster`]: such
    /// messages stay here.
    pub(crate) fn publish_from(
        &mut self,
        origin: Origin,
        tenant: TenantId,
        rooms: &[&str],
        data: Data<'_>,
        filename: &str,
    ) -> MessageId {
        let id = self.state.next_id();
        self.publish_here(origin, tenant, rooms, data, filename, id);
        if matches!(origin, Origin::Backend | Origin::Session(_)) {
            self.cluster.count_message();
        }
        let filename = (origin == Origin::Backend).then_some(filename);
        self.cluster.publish_message(&mut self.state, (tenant, rooms), data, filename, id);
        id
    }

    /// Publishes a message to the members of this relay and to its message log. `id` is the one in the first room.
    pub(crate) fn publish_here(
        &mut self,
        origin: Origin,
        tenant: TenantId,
        rooms: &[&str],
        data: Data<'_>,
        filename: &str,
        id: MessageId,
    ) {
        for (part, room) in rooms.iter().enumerate() {
            self.state.deliver(tenant, room, data, filename, id.part(part));
        }
        if !self.log.is_on() {
            return;
        }
        let sender = if let Origin::Session(key) = origin { Some(key) } else { None };
        let socket_id = sender.map(|key| self.state.sids.socket(key));
        let session = sender.and_then(|key| self.state.sessions.get(key));
        self.log.message(&self.state.tenants[tenant.index()].name, filename, id, |line| {
            line.text("room_id", &rooms.join(","));
            line.some("socket_id", socket_id.as_deref().unwrap_or_default());
            if let Some(session) = session {
                line.some("userid", session.identity.userid());
                line.some("username", session.identity.username());
            }
            write_data(line, data);
        });
    }

    /// Sends a backend's event to its target, here and at other relays. Returns how many sessions of this relay get it.
    pub fn emit(&mut self, tenant: TenantId, namespace: &str, target: &Target<'_>, event: &Event<'_>) -> usize {
        let Some(id) = self.state.find_namespace(namespace) else { return 0 };
        let reached = self.state.emit(tenant, id, target, event);
        // A session of this relay exists at no other.
        if reached == 0 || !matches!(target, Target::Session(_)) {
            self.cluster.publish_event(
                &mut self.state,
                (tenant, namespace),
                Reach::Target(target),
                event,
                (None, false),
            );
        }
        reached
    }

    /// [Emits](Hub::emit) an event whose arguments have binary data as `{"_base64":"…"}`. Socket.IO clients get it as
    /// attachments.
    pub fn emit_json(
        &mut self,
        tenant: TenantId,
        namespace: &str,
        target: &Target<'_>,
        name: &str,
        args: &str,
    ) -> usize {
        let (args, attachments) = unpack_arguments(args);
        self.emit(tenant, namespace, target, &Event { attachments: &attachments, ..Event::new(name, &args) })
    }

    /// Sends `refreshPage` to sessions, here and at other relays. Returns how many sessions of this relay get it. Text
    /// clients are skipped: they have no frame for it.
    pub fn refresh(&mut self, target: &RefreshTarget<'_>) -> usize {
        let reached = self.refresh_here(target);
        if reached == 0 || !matches!(target, RefreshTarget::Session(..)) {
            self.cluster.publish_refresh(&mut self.state, target);
        }
        reached
    }

    /// Sends `refreshPage` to sessions of this relay. Returns how many get it.
    pub(crate) fn refresh_here(&mut self, target: &RefreshTarget<'_>) -> usize {
        let mut receivers: Vec<Receiver> = Vec::new();
        match target {
            RefreshTarget::All | RefreshTarget::Source(_) => {
                let matches = |tenant| match target {
                    RefreshTarget::Source(source) => *source == tenant,
                    _ => true,
                };
                let sessions = self.state.admitted().filter(|(_, session)| matches(session.tenant));
                receivers.extend(sessions.map(|(_, session)| (session.client, session.namespace, session.form)));
            }
            RefreshTarget::Room(tenant, room) => receivers = self.state.room_receivers(*tenant, room),
            RefreshTarget::Session(tenant, name) => {
                let matches = |key: &SessionKey| tenant.is_none() || self.state.tenant_of(*key) == *tenant;
                receivers
                    .extend(self.state.find_session(name).filter(matches).and_then(|key| self.state.receiver(key)));
            }
            RefreshTarget::Prefixed(name) => {
                for tenant in self.state.tenant_ids() {
                    if let Some(room) = name.strip_prefix(&*self.state.tenants[tenant.index()].name) {
                        receivers.extend(self.state.room_receivers(tenant, room));
                    }
                }
                receivers.extend(self.state.find_session(name).and_then(|key| self.state.receiver(key)));
            }
        }
        self.state.emit_to(&receivers, &Event::new("refreshPage", ""))
    }
}
