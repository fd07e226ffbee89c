//! Publishing to the members of this relay, to the message log, and to other relays.

use smallvec::SmallVec;

use super::Hub;
use crate::{
    cluster::{Reach, RefreshTarget},
    history::Published,
    journal::{EVERY, More, Publication, What},
    key::SessionKey,
    live::Shown,
    message::{Author, Data, Event, MessageId, Target, bytes::unpack_arguments},
    message_log::lines::write_data,
    names::{RoomId, Rooms},
    room_hash::{HashedRoom, room_hash},
    state::{
        TenantId,
        delivery::{Receiver, Stamp},
    },
    text::Count,
    trace::Quoted,
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
}

impl Hub {
    /// Publishes a backend's message to rooms, in their order, here and at other relays. When this returns, the message
    /// is in the outbox of every local member and in the buffer of the message log. Returns its id in the first room.
    pub fn publish(&mut self, tenant: TenantId, rooms: &Rooms<'_>, data: Data<'_>, filename: &str) -> MessageId {
        let names: SmallVec<[&str; 2]> = rooms.iter().map(RoomId::as_str).collect();
        self.publish_from(Origin::Backend, tenant, &names, data, filename)
    }

    /// Publishes a message here and at other relays. `origin` must not be [`Origin::Cluster`]: a message from Redis
    /// must not be published to Redis again.
    pub(crate) fn publish_from(
        &mut self,
        origin: Origin,
        tenant: TenantId,
        rooms: &[&str],
        data: Data<'_>,
        filename: &str,
    ) -> MessageId {
        let id = self.state.next_id(rooms.len());
        let sender = if let Origin::Session(key) = origin { Some(key) } else { None };
        let from = sender.map_or_else(String::new, |key| self.state.sender(key));
        let author = match origin {
            Origin::Backend => Author::Backend,
            // A client chose the message, or at least a part of it, as with `user_quit`.
            Origin::Session(_) | Origin::Relay => Author::Client(&from),
        };
        self.publish_here((author, sender), tenant, rooms, data, filename, (id, id.stamp()));
        if matches!(origin, Origin::Backend | Origin::Session(_)) {
            self.cluster.count_message();
        }
        self.cluster.publish_message(&mut self.state, (tenant, rooms), data, (filename, author), id);
        id
    }

    /// Publishes a message to the history and the members of this relay, and to its message log. `id` is its id in the first
    /// room; the ids in the other rooms follow from it ([`MessageId::part`]). `stamp` is the first of the numbers of this relay
    /// that are for the message.
    pub(crate) fn publish_here(
        &mut self,
        (author, sender): (Author<'_>, Option<SessionKey>),
        tenant: TenantId,
        rooms: &[&str],
        data: Data<'_>,
        filename: &str,
        (id, stamp): (MessageId, u64),
    ) {
        let is_on = self.history.is_on();
        let node = (!id.is_same_node(self.state.ids.first())).then(|| id.node_bits());
        for (part, room) in rooms.iter().enumerate() {
            let hashed = HashedRoom::new(room);
            let number = stamp + part as u64;
            let mut keep = |id| {
                let message = Published { stamp: number, id, data, filename, author };
                self.history.keep(&self.state, tenant, hashed, &message)
                    // Too large: a client that is behind would get it before older ones. It is told about the gap.
                    || (self.has_replays() && self.history.has_rule(&self.state, tenant, room))
            };
            let kept = is_on && keep(id.part(part));
            let before = self.state.stats.delivered;
            self.state.deliver(tenant, hashed, data, (filename, author), id.part(part), Stamp { number, kept });
            let (now, queued) = (self.state.now.time, self.state.stats.delivered - before);
            let publication = Publication {
                tenant: tenant.0,
                room: hashed.hash,
                stamp: number,
                id: id.part(part).stamp(),
                node,
                is_further: part > 0,
                queued,
                kept,
            };
            self.state.journal.note_publication(now, publication);
            if self.state.traces.is_on() {
                self.trace_publication((author, sender), (tenant, room), data, id.part(part), (queued, kept));
            }
            if self.live.has_rooms() {
                let socket_id = sender.map(|key| self.state.socket_id(key)).unwrap_or_default();
                let (id, socket_id) = (id.part(part), &*socket_id);
                let shown = Shown { room, id, data, author, socket_id, sessions: queued, kept };
                self.live.show(tenant, hashed.hash, &shown, &mut self.state);
            }
        }
        if !self.log.is_on() {
            return;
        }
        let socket_id = sender.map(|key| self.state.socket_id(key));
        let session = sender.and_then(|key| self.state.sessions.get(key));
        self.log.message(&self.state.tenants[tenant.index()].name, filename, id, |line| {
            line.text("room_id", &rooms.join(","));
            line.nonempty("socket_id", socket_id.as_deref().unwrap_or_default());
            if let Some(session) = session {
                line.nonempty("userid", session.identity.userid());
                line.nonempty("username", session.identity.username());
            }
            write_data(line, data);
        });
    }

    #[cold]
    fn trace_publication(
        &mut self,
        (author, sender): (Author<'_>, Option<SessionKey>),
        (tenant, room): (TenantId, &str),
        data: Data<'_>,
        id: MessageId,
        (queued, kept): (u64, bool),
    ) {
        let (room, size, kept) = (Quoted(room), Count(data.size() as u64, "byte"), if kept { ", kept" } else { "" });
        let what = format!("message {id} to room {room}: {size}, sent to {}{kept}", Count(queued, "session"));
        match (sender, author) {
            (Some(key), _) => self.state.trace_session(key, format_args!("{what}")),
            (None, Author::Backend) => self.state.trace_source(tenant, "", format_args!("{what}")),
            (None, Author::Client(_)) => {
                self.state.trace_source(
                    tenant,
                    "",
                    format_args!("{what}, of a client of another relay or of relay itself"),
                );
            }
        }
    }

    #[cold]
    fn trace_emit(&mut self, tenant: TenantId, target: &Target<'_>, event: &Event<'_>, reached: usize) {
        let (name, reached) = (Quoted(event.name), Count(reached as u64, "session"));
        match target {
            Target::User(userid) => self.state.trace_source(
                tenant,
                userid,
                format_args!("event {name} to the user: sent to {reached} of this relay"),
            ),
            Target::Session(socket_id) => match self.state.find_session(socket_id) {
                Some(key) => self.state.trace_session(key, format_args!("event {name} to the session")),
                None => self.state.trace_source(
                    tenant,
                    "",
                    format_args!("event {name} to session {}, which is not here", Quoted(socket_id)),
                ),
            },
            Target::Room(room) => self.state.trace_source(
                tenant,
                "",
                format_args!("event {name} to room {}: sent to {reached} of this relay", Quoted(room)),
            ),
            Target::Namespace => self.state.trace_source(
                tenant,
                "",
                format_args!("event {name} to all: sent to {reached} of this relay"),
            ),
        }
    }

    /// Sends a backend's event to its target, here and at other relays. Returns how many sessions of this relay get it.
    pub fn emit(&mut self, tenant: TenantId, namespace: &str, target: &Target<'_>, event: &Event<'_>) -> usize {
        let Some(id) = self.state.find_namespace(namespace) else { return 0 };
        let reached = self.state.emit(tenant, id, target, event);
        self.state.note_event((tenant, id), target, reached);
        if self.state.traces.is_on() {
            self.trace_emit(tenant, target, event, reached);
        }
        // If the session is on this relay, no other relay has it.
        if reached == 0 || !matches!(target, Target::Session(_)) {
            self.cluster.publish_event(
                &mut self.state,
                (tenant, namespace),
                Reach::Backend(target),
                event,
                (None, false),
            );
        }
        reached
    }

    /// [Emits](Hub::emit) an event whose arguments encode binary data as `{"_base64":"…"}`. Socket.IO clients get that
    /// data as attachments.
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
    /// clients are skipped: their form has no frame for events.
    pub fn refresh(&mut self, target: &RefreshTarget<'_>) -> usize {
        let reached = self.refresh_here(target);
        if reached == 0 || !matches!(target, RefreshTarget::Session(..)) {
            self.cluster.publish_refresh(&mut self.state, target);
        }
        reached
    }

    /// Sends `refreshPage` to sessions of this relay. Returns how many get it.
    pub(crate) fn refresh_here(&mut self, target: &RefreshTarget<'_>) -> usize {
        let reached = self.send_refresh(target);
        match target {
            RefreshTarget::Session(_, name) => {
                if let Some(key) = self.state.find_session(name).filter(|_| reached > 0) {
                    self.state.write_journal(key, What::Refreshed, More { count: 1, ..More::default() });
                }
            }
            RefreshTarget::Room(tenant, room) => self.note_refresh((tenant.0, room_hash(room)), reached),
            RefreshTarget::Source(tenant) => self.note_refresh((tenant.0, 0), reached),
            RefreshTarget::All | RefreshTarget::Prefixed(_) => self.note_refresh((EVERY, 0), reached),
        }
        reached
    }

    fn note_refresh(&mut self, place: (u16, u64), reached: usize) {
        let now = self.state.now.time;
        self.state.journal.note_command(now, What::Refreshed, place, reached);
    }

    fn send_refresh(&mut self, target: &RefreshTarget<'_>) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Now, Time},
        message::Form,
        state::testing::{Login, config, received, session},
    };

    const CONFIG: &str = r#"
[sources.one]
sign_key = "key"
[message_log]
dir = "log"
[redis]
url = "redis://127.0.0.1:6379"
"#;

    /// A hub that writes a message log and publishes to other relays.
    fn hub() -> Hub {
        let config = config(CONFIG);
        let mut hub = Hub::new(config.clone(), MessageId::first(1000, 7), [0; 32]);
        hub.begin_turn(Now { unix: 1_795_219_200, ..Now::default() });
        hub.cluster.configure(&config.redis, 1000, &mut hub.state, &mut hub.log);
        hub.log.take();
        hub
    }

    #[test]
    fn a_message_reaches_members_log_and_cluster() {
        let mut hub = hub();
        let member = session(&mut hub.state, Login { rooms: "a,b", form: Form::Text, ..Login::default() });
        let tenant = hub.state.tenant("one").unwrap();
        let rooms = Rooms::parse("a,b", 128, 0).unwrap();
        let id = hub.publish(tenant, &rooms, Data::Json("[1]"), "");
        assert_eq!(received(&mut hub.state, member), ["[1]", "[1]"]);
        assert_eq!((hub.state.stats.published, hub.state.stats.redis_published), (2, 1));
        let lines: Vec<u8> = hub.log.take().into_values().flatten().collect();
        let lines = String::from_utf8(lines).unwrap();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains(&format!("\"id\":\"{id}\"")) && lines.contains("\"room_id\":\"a,b\""), "{lines}");
    }

    #[test]
    fn messages_are_kept_while_a_rule_says_so() {
        let mut hub = hub();
        let tenant = hub.state.tenant("one").unwrap();
        let publish = |hub: &mut Hub| hub.publish(tenant, &Rooms::parse("a,b", 128, 0).unwrap(), Data::Json("1"), "f");
        publish(&mut hub);
        assert_eq!((hub.history.messages(), hub.history.bytes(), hub.deadline()), (0, 0, Time::NEVER));
        hub.reload(
            config(&format!("{CONFIG}[history]\ncount = 1\nrooms = [{{ room = \"b\", count = 0 }}]\n")),
            hub.state.now,
        );
        publish(&mut hub);
        let id = publish(&mut hub);
        let kept: Vec<_> = hub.history.entries_after(&hub.state, tenant, &["a", "b"], 0).collect();
        assert_eq!(kept.iter().map(|found| found.id).collect::<Vec<_>>(), [id]);
        assert_eq!((kept[0].entry.filename(), kept[0].entry.author()), ("f", Author::Backend));
        assert!(hub.deadline() < Time::NEVER);
        hub.reload(config("[sources.other]\nsign_key = \"key\"\n[history]\ncount = 1\n"), hub.state.now);
        assert_eq!((hub.history.messages(), hub.deadline()), (0, Time::NEVER), "the source is gone");
    }

    /// So every message has a place of its own in the order of all messages.
    #[test]
    fn a_publication_takes_a_number_for_each_room() {
        let mut hub = hub();
        let tenant = hub.state.tenant("one").unwrap();
        let [several, next] = ["a,b,c", "a"].map(|rooms| {
            let rooms = Rooms::parse(rooms, 128, 0).unwrap();
            hub.publish(tenant, &rooms, Data::Text("x"), "")
        });
        assert_eq!(next.number(), several.part(2).stamp() + 1);
    }

    #[test]
    fn an_event_for_a_session_of_this_relay_stays_here() {
        let mut hub = hub();
        let key = session(&mut hub.state, Login { rooms: "a", ..Login::default() });
        let (tenant, socket_id) = (hub.state.tenant("one").unwrap(), hub.state.sids.socket(key));
        let event = Event::new("e", "");
        assert_eq!(hub.emit(tenant, "/", &Target::Session(&socket_id), &event), 1);
        assert_eq!(hub.state.stats.redis_published, 0);
        assert_eq!(hub.emit(tenant, "/", &Target::Room("a"), &event), 1);
        assert_eq!(hub.emit(tenant, "/", &Target::Session("unknown"), &event), 0);
        assert_eq!(hub.refresh(&RefreshTarget::Source(tenant)), 1);
        assert_eq!(hub.state.stats.redis_published, 3);
        assert_eq!(hub.emit(tenant, "/unknown", &Target::Namespace, &event), 0);
        assert_eq!(received(&mut hub.state, key).len(), 3);
    }
}
