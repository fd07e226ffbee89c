//! Logins that wait for word of older sessions (docs/protocol.md, Return, Who comes back).

use core::net::IpAddr;

use super::Hub;
use crate::{
    journal::{More, What},
    key::{ClientKey, SessionKey},
    recovery::{AwaySession, Resolved},
    state::{Effect, End, Session},
};

impl Hub {
    /// The clients of live sessions of an identity, some of them if there are many.
    pub(super) fn others(&self, identity: u64, ip: Option<IpAddr>, own: ClientKey) -> Vec<ClientKey> {
        let sessions =
            self.returns.live.find(identity, ip).take(MOST_ASKED).filter_map(|key| self.state.sessions.get(key));
        let is_askable = |session: &&Session| {
            let is_aside = self.state.tracks.get(session.client).is_some_and(|track| track.is_aside);
            session.client != own && !session.form.is_stream() && !is_aside
        };
        let askable = sessions.filter(is_askable);
        let mut clients: Vec<ClientKey> = askable.map(|session| session.client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// Asks a client for a sign of life on behalf of a login that waits.
    pub(super) fn ask(&mut self, client: ClientKey, waiter: SessionKey) {
        let until = self.state.now.time.after(self.config().recovery.hold);
        if !self.returns.asking.ask(client, waiter, until) {
            return;
        }
        self.state
            .trace_client(client, format_args!("is asked whether it is still there, because its user logs in again"));
        self.state.ask_life(client);
    }

    /// Notes that a client has answered, or is gone: logins that wait for its word may go on.
    pub(super) fn note_answer(&mut self, client: ClientKey) {
        if !self.returns.asking.is_asked(client) {
            return;
        }
        for resolved in self.returns.asking.answered(client) {
            self.go_on(resolved);
        }
    }

    /// Lets others go on from the position of a client that was silent when it was asked. It may be slow, so it is not ended: its
    /// heartbeat will do that.
    pub fn set_aside(&mut self, client: ClientKey) {
        let position = self.position_at_loss(client);
        for session in self.state.sessions_of(client) {
            let (stamp, count) = (position.unwrap_or(0), position.is_some().into());
            self.state.write_journal(session, What::Silent, More { stamp, count, ..More::default() });
            self.state.trace_session(session, format_args!("has not answered: another may go on in its place"));
            if let Some(position) = position {
                self.keep_away(session, End::Lost, position);
            }
        }
        if let Some(track) = self.state.tracks.get_mut(client) {
            // Its answer is awaited still.
            track.is_aside = true;
        }
        for resolved in self.returns.asking.silent(client) {
            self.go_on(resolved);
        }
    }

    /// Takes back that others may go on from the position of a client, because it has answered.
    fn take_back(&mut self, client: ClientKey) {
        let Some(track) = self.state.tracks.get_mut(client).filter(|track| track.is_aside) else { return };
        track.is_aside = false;
        for session in self.state.sessions_of(client) {
            self.returns.away.remove(self.state.name_of(session));
        }
        self.history.reserve(self.returns.away.bytes());
    }

    /// Lets a login go on that has waited.
    fn go_on(&mut self, resolved: Resolved) {
        let Resolved { session: key, name } = resolved;
        let Some(session) = self.state.sessions.get(key) else { return };
        let (client, ip) = (session.client, session.identity.ip());
        let identity = self.returns.live.get(key).and_then(|known| known.identity);
        let away = match name {
            Some((name, offset)) => self.returns.away.remove(name).map(|away| {
                let position = self.moved(&away, offset);
                AwaySession { position, ..away }
            }),
            None => identity.and_then(|identity| self.returns.away.take(identity, ip)),
        };
        match away {
            Some(away) => self.resume(key, away, name.is_some()),
            None => {
                self.send_newest_values(key);
                self.replays.release(client);
            }
        }
    }

    /// Hears clients that have shown a sign of life.
    pub(super) fn hear_answers(&mut self) {
        for client in self.state.tracks.take_proved() {
            self.receipts.handle_proof(client, &mut self.state);
        }
        for client in self.state.tracks.take_answered() {
            self.take_back(client);
            self.note_answer(client);
        }
    }

    /// Gives up sessions that are away for too long, and those that have not answered in time.
    pub(crate) fn expire_returns(&mut self) {
        let now = self.state.now.time;
        self.state.ask_due();
        if self.returns.away.deadline() <= now {
            self.state.stats.away_expired += self.returns.away.expire(now);
            self.history.reserve(self.returns.away.bytes());
        }
        while let Some(client) = self.returns.asking.poll_silent(now) {
            self.state.effects.push_back(Effect::SetAside { client });
        }
    }
}

/// How many live sessions of one identity are asked on behalf of one login.
const MOST_ASKED: usize = 64;
