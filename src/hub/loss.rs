//! Sessions that are lost: up to which message they have received, and that they are kept for their return.

use super::Hub;
use crate::{
    config::Unknowing,
    engineio::Revision,
    history::walk::Tail,
    journal::{More, Reason, What},
    key::{ClientKey, SessionKey},
    recovery::AwaySession,
    state::{End, TenantId, track::Proof},
};

impl Hub {
    /// The stamp up to which a client that is lost has all messages. `None` if its sessions are not kept.
    pub(super) fn position_at_loss(&mut self, key: ClientKey) -> Option<u64> {
        let unconfirmed = self.state.tracks.get(key)?.unconfirmed();
        self.position(key, unconfirmed)
    }

    /// The stamp up to which a client has all messages, as far as relay knows; `unconfirmed` are the bytes that the peer's kernel
    /// has not confirmed now. `None` if nobody may be there, or nothing is kept for it.
    pub fn position(&mut self, key: ClientKey, unconfirmed: Option<u32>) -> Option<u64> {
        let (track, client) = (self.state.tracks.get(key)?, self.state.clients.get(key)?);
        if !track.alive {
            // Nobody may be there: a login that was given up before relay got it. It takes nothing from the next one.
            return track.resumed.then(|| track.proven());
        }
        let (queued, newest) = (client.outbox.bytes(), track.cursor().unwrap_or(self.state.ids.last()));
        let now = |bytes: u32| Tail { newest, bytes: queued + bytes as usize };
        let tail = match (self.state.is_polling(key), track.proof) {
            (true, _) => now(track.flight()),
            (false, Proof::Pong) => return Some(track.proven()),
            (false, Proof::Tcp) => match (track.stall(), unconfirmed) {
                // Its kernel may have confirmed the rest when it had given up already.
                (Some(stall), _) => Tail { newest: stall.newest, bytes: stall.bytes },
                (None, Some(unconfirmed)) => now(unconfirmed),
                (None, None) => return Some(track.proven()),
            },
        };
        Some(self.walks.position(&self.history, &self.state, key, track, tail))
    }

    /// Keeps a session that is about to end, unless it has left for good.
    pub(super) fn keep_away(&mut self, key: SessionKey, how: End, position: u64) {
        let Some(known) = self.returns.live.get(key) else { return };
        let Some(session) = self.state.sessions.get(key).filter(|session| !session.pending) else { return };
        let name = self.state.name_of(key);
        // One that still waits for another has nothing of its own to come back to.
        if self.returns.asking.waits(key) {
            return;
        }
        let is_aside = self.state.tracks.get(session.client).is_some_and(|track| track.is_aside);
        if !how.keeps(self.unknowing(session.tenant)) {
            if is_aside {
                self.returns.away.remove(name);
            }
            return;
        }
        if is_aside && self.returns.away.is_taken(name) {
            // Another goes on in its place already.
            return;
        }
        let away = AwaySession {
            name,
            identity: known.identity,
            tenant: session.tenant,
            namespace: session.namespace,
            rooms: self.state.room_names(session),
            list: known.list,
            userid: session.identity.userid().into(),
            ip: session.identity.ip(),
            position,
            lost: self.state.now.time,
            user: known.user,
            has_pid: session.form.revision() == Some(Revision::V4),
            had_token: self.state.grants.get(key).is_some_and(|grant| grant.rooms.is_some()),
        };
        if !is_aside {
            self.state.stats.sessions_lost += 1;
        }
        self.returns.away.add(away);
        self.keep_away_budget();
    }

    /// Gives up the sessions that were lost first, until all take no more than their share of `history.memory`, and the messages
    /// for which there is no room besides them.
    pub(super) fn keep_away_budget(&mut self) {
        let most = self.most_away_bytes();
        while self.returns.away.bytes() > most {
            let Some(away) = self.returns.away.drop_oldest() else { break };
            self.state.stats.away_dropped += 1;
            let more = More { reason: NO_ROOM, ..More::default() };
            let (now, user) = (self.state.now.time, (away.tenant.0, &*away.userid));
            self.state.journal.note(now, What::GivenUp, user, away.name, more);
        }
        self.history.reserve(self.returns.away.bytes());
        self.history.keep_budget(&self.state);
    }

    /// The most bytes that sessions that are away may take.
    pub(super) fn most_away_bytes(&self) -> usize {
        self.history.whole_budget(&self.state) / SHARE
    }

    /// Which clients of a tenant get what they have missed although they cannot say where they were.
    pub(super) fn unknowing(&self, tenant: TenantId) -> Unknowing {
        let source = self.state.tenants[tenant.index()].source.as_ref();
        source.and_then(|source| source.unknowing).unwrap_or(self.config().recovery.unknowing)
    }
}

/// What part of `history.memory` sessions that are away may take: the other parts are for messages.
const SHARE: usize = 4;
/// Why one that is away is given up.
const NO_ROOM: Reason<'static> =
    Reason::fixed("lost sessions take a quarter of history.memory", "断线的会话占满了 history.memory 的四分之一");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::{ConnKey, Handle, Key},
        message::{Data, MessageId},
        names::Rooms,
        state::testing::{self, Login, config, queued},
    };

    /// A client on a WebSocket, of which the kernel says what it has confirmed.
    struct Connected {
        hub: Hub,
        session: SessionKey,
        client: ClientKey,
    }

    impl Connected {
        fn new() -> Connected {
            let text = "[sources.one]\nsign_key = \"k\"\n[history]\ncount = 99\n";
            let mut hub = Hub::new(config(text), MessageId::first(1000, 7), [0; 32]);
            let session = testing::session(&mut hub.state, Login { rooms: "a", ..Login::default() });
            let client = hub.state.sessions.get(session).unwrap().client;
            hub.state.clients.get_mut(client).unwrap().conn = Some(ConnKey::wrap(Key::from_bits(1 << 32).unwrap()));
            let newest = hub.state.ids.last();
            hub.state.tracks.begin(client, newest, Proof::Tcp);
            hub.state.tracks.get_mut(client).unwrap().alive = true;
            Connected { hub, session, client }
        }

        /// Publishes a message, and returns its stamp and the bytes that the kernel has sent then.
        fn publish(&mut self) -> (u64, u32) {
            let tenant = self.hub.state.tenant("one").unwrap();
            let id = self.hub.publish(tenant, &Rooms::parse("a", 128, 0).unwrap(), Data::Json("1"), "");
            (id.stamp(), queued(&mut self.hub.state, self.session).len() as u32)
        }

        fn note_stall(&mut self, unconfirmed: u32) {
            self.hub.state.note_unconfirmed(self.client, Some(unconfirmed));
            self.hub.state.note_stall(self.client);
        }

        /// The payload of the ping that is queued.
        fn ping(&mut self) -> Vec<u8> {
            let bytes = queued(&mut self.hub.state, self.session);
            assert_eq!(bytes[..2], [0x89, 12]);
            bytes[2..].to_vec()
        }

        fn position(&mut self, unconfirmed: u32) -> u64 {
            self.hub.state.note_unconfirmed(self.client, Some(unconfirmed));
            self.hub.position_at_loss(self.client).unwrap()
        }
    }

    /// A client that has given up reads nothing, but its kernel goes on.
    #[test]
    fn what_is_confirmed_after_a_stall_proves_nothing() {
        let mut client = Connected::new();
        let (first, _) = client.publish();
        let (_, unconfirmed) = client.publish();
        client.note_stall(unconfirmed);
        client.publish();
        assert_eq!(client.position(0), first);
        client.note_stall(0);
        assert_eq!(client.position(0), first, "a later stall does not replace it");
    }

    #[test]
    fn a_stall_ends_with_the_answer_to_its_question() {
        let mut client = Connected::new();
        let (_, unconfirmed) = client.publish();
        client.hub.state.ask(client.client);
        let earlier = client.ping();
        client.note_stall(unconfirmed);
        let question = client.ping();
        let (last, _) = client.publish();
        client.hub.state.handle_pong(client.client, &earlier);
        assert_ne!(client.position(0), last, "it has answered before it stalled");
        client.hub.state.handle_pong(client.client, &question);
        assert_eq!(client.position(0), last);
    }
}
