//! Places for clients: who gets one, and who has to go.

use core::{net::IpAddr, time::Duration};

use log::warn;

use super::{client::Client, origins::Origin, registry::State};
use crate::{
    clock::Time,
    key::{ClientKey, ConnKey},
    websocket::Close,
};

impl State {
    /// Adds a client, which connects from `ip` or through proxies from there.
    pub(crate) fn insert_client(&mut self, client: Client, ip: Option<IpAddr>) -> ClientKey {
        let origin = Origin::new(ip, &self.config.trusted_proxies).map(|origin| self.origins.enter(origin));
        let key = self.clients.insert(Client { origin, ..client });
        self.add_stranger(key, self.now.time);
        key
    }

    /// Adds a client that is a stream of lines, without a session.
    pub(crate) fn insert_bare_stream(&mut self, conn: ConnKey, ip: Option<IpAddr>) -> ClientKey {
        let key = self.insert_client(Client { conn: Some(conn), ..Client::default() }, ip);
        self.bare_streams.push(key);
        key
    }

    /// Removes a client. Its sessions have ended.
    pub(crate) fn remove_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.remove(key) else { return };
        self.tracks.end(key);
        self.strangers.remove(&client);
        self.decided_ends.remove(&key);
        if !self.bare_streams.is_empty() {
            self.bare_streams.retain(|stream| *stream != key);
        }
        if let Some(origin) = client.origin {
            self.origins.leave(origin);
        }
        if let Some(socket) = client.socket {
            self.agents.release(socket.into_agent());
        }
    }

    /// Makes room for a Socket.IO client in `places` places, and returns whether there is. Clients without a namespace
    /// have a quarter of the places, at least 16: beyond that the oldest of them is closed. If all places are
    /// taken, the oldest is closed if it had 5 s to join a namespace.
    pub fn make_room(&mut self, places: usize) -> bool {
        let (now, share) = (self.now.time, (places / SHARE).max(MIN_SHARE));
        let full = self.clients.len() >= places;
        let oldest = if self.strangers.count() >= share {
            self.strangers.take_oldest(&self.clients, now)
        } else if full {
            let before = now.micros().checked_sub(PATIENCE.as_micros() as u64).map(Time::from_micros);
            before.and_then(|before| self.strangers.take_oldest(&self.clients, before))
        } else {
            return true;
        };
        let Some(oldest) = oldest else { return !full };
        self.stats.unjoined_closed += 1;
        if let Some(left_out) = self.strangers.may_warn(now) {
            warn!(
                "too many Socket.IO clients have joined no namespace ({share} of {places} places are for them): the oldest is \
                 closed for a new one ({left_out} others since the last such line)"
            );
        }
        self.close(oldest, Close::UNJOINED);
        true
    }

    /// Adds a client to those that are in no namespace.
    pub(super) fn add_stranger(&mut self, key: ClientKey, now: Time) {
        if self.clients.get(key).is_some_and(Client::is_stranger) {
            self.strangers.push(key, &self.clients, now);
        }
    }
}

/// One in so many places is for clients without a namespace.
const SHARE: usize = 4;
/// The least share. If it were smaller, clients that connect at the same time would take each other's place.
const MIN_SHARE: usize = 16;
/// How long a client may be in no namespace before it is closed for another one when all places are taken. Clients join
/// within a second: if each new one took the place of the last, none could ever join.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::{
        clock::Now,
        engineio::{Engine, Revision, engine::Transport},
        state::{
            socket::Socket,
            testing::{CONFIG, Login, session, state},
        },
    };

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// Adds a client that polls and is in no namespace.
    fn stranger(state: &mut State) -> ClientKey {
        let engine = Engine::new(Revision::V4, Transport::Polling(None), &state.timing(), state.now.time);
        let agent = state.agents.intern("", "");
        let socket = Socket { engine, handshake: " ".into(), agent, sessions: SmallVec::new(), assembly: None };
        state.insert_client(Client { socket: Some(socket.into()), ..Client::default() }, None)
    }

    fn join(state: &mut State, key: ClientKey) {
        state.strangers.remove(state.clients.get(key).unwrap());
        let (timing, now) = (state.timing(), state.now.time);
        state.engine_mut(key).unwrap().set_state(true, false, &timing, now);
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut state = state(CONFIG);
        let first: Vec<_> = (0..17).map(|_| stranger(&mut state)).collect();
        join(&mut state, first[0]);
        state.remove_client(first[1]);
        assert_eq!(state.strangers.count(), 15);
        assert!(state.make_room(64) && state.strangers.count() == 15, "another fits into the share");
        stranger(&mut state);
        assert!(state.make_room(64) && state.is_ending(first[2]) && !state.is_ending(first[3]));
        assert!(!state.is_ending(first[0]) && state.strangers.count() == 15 && state.stats.unjoined_closed == 1);
        state.remove_client(first[2]);
        assert_eq!(state.strangers.count(), 15, "it was counted once");
    }

    #[test]
    fn who_waits_for_the_backend_keeps_its_place() {
        let mut state = state(CONFIG);
        let all: Vec<_> = (0..16).map(|_| stranger(&mut state)).collect();
        let session = session(&mut state, Login::default());
        for key in &all[..15] {
            state.clients.get_mut(*key).unwrap().socket.as_mut().unwrap().sessions.push((0, session));
        }
        assert!(state.make_room(64) && state.is_ending(all[15]) && !state.is_ending(all[0]));
        let last = stranger(&mut state);
        state.clients.get_mut(last).unwrap().socket.as_mut().unwrap().sessions.push((0, session));
        assert!(state.make_room(64), "there are places");
        assert!(!state.make_room(17), "nobody can go");
        assert_eq!((state.stats.unjoined_closed, state.strangers.count()), (1, 16));
    }

    #[test]
    fn when_all_places_are_taken() {
        let mut state = state(CONFIG);
        state.now = Now { time: at(100), ..Now::default() };
        let members: Vec<_> = (0..15).map(|_| stranger(&mut state)).collect();
        members.iter().for_each(|key| join(&mut state, *key));
        let last = stranger(&mut state);
        state.now.time = at(104);
        assert!(!state.make_room(16), "it has time to join");
        state.now.time = at(105);
        assert!(state.make_room(16) && state.is_ending(last) && state.strangers.count() == 0);
        assert!(!state.make_room(16), "nobody else can go");
        state.remove_client(last);
        assert!(state.make_room(16));
    }

    #[test]
    fn clients_that_join_leave_nothing_in_the_queue() {
        let mut state = state(CONFIG);
        let oldest = stranger(&mut state);
        for _ in 0..10_000 {
            let key = stranger(&mut state);
            join(&mut state, key);
            assert!(state.strangers.queue_len() < 100);
            state.remove_client(key);
        }
        // One client that joins and leaves all the time.
        let busy = stranger(&mut state);
        for _ in 0..10_000 {
            join(&mut state, busy);
            let (timing, now) = (state.timing(), state.now.time);
            state.engine_mut(busy).unwrap().set_state(false, false, &timing, now);
            state.add_stranger(busy, now);
            assert!(state.strangers.queue_len() < 100);
        }
        assert_eq!(state.strangers.count(), 2);
        state.now.time = at(5);
        assert!(state.make_room(2) && state.is_ending(oldest) && state.strangers.count() == 1);
    }
}
