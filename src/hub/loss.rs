//! Sessions that are lost: up to which message they have received, and that they are kept for their return.

use super::Hub;
use crate::{
    config::Unknowing,
    engineio::Revision,
    history::walk::Tail,
    key::{ClientKey, SessionKey},
    recovery::AwaySession,
    state::{End, TenantId, track::Proof},
};

impl Hub {
    /// The stamp up to which a client has all messages. `None` if its sessions are not kept.
    pub(super) fn position_at_loss(&mut self, key: ClientKey) -> Option<u64> {
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
            (false, Proof::Tcp) => match (track.stall(), track.unconfirmed()) {
                // Its kernel may have confirmed the rest when it had given up already.
                (Some((newest, bytes)), _) => Tail { newest, bytes },
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
    pub(crate) fn keep_away_budget(&mut self) {
        let most = self.most_away_bytes();
        while self.returns.away.bytes() > most && self.returns.away.drop_oldest() {
            self.state.stats.away_dropped += 1;
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
