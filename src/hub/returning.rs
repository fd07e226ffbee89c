//! What a session gets of the messages that were published before its login (docs/protocol.md, Recovery).

use super::Hub;
use crate::{
    history::{Recovery, Since},
    journal::{More, What},
    key::{ClientKey, SessionKey},
    message::{Form, MessageId},
};

impl Hub {
    /// Welcomes a session that has just logged in; one of Socket.IO was welcomed already. Then gives it what it asks for with
    /// `since`, and the last values of its rooms. Returns whether no message since its position is missing.
    pub(super) fn begin_history(&mut self, key: SessionKey, since: Option<Since>) -> bool {
        let Some(session) = self.state.sessions.get(key) else { return true };
        let is_socketio = session.form.is_socketio();
        if since.is_none() && !self.history.is_on() && !self.has_replays() {
            if !is_socketio {
                self.state.greet(key, self.history.id_at(self.state.ids.last()));
            }
            return true;
        }
        let (tenant, names) = (session.tenant, self.state.room_names(session));
        let rooms: Vec<&str> = names.iter().map(|name| &**name).collect();
        let since = since.map(|since| self.allowed(since));
        let position = since.map(|since| self.history.position(&self.state, tenant, &rooms, &since));
        let id = self.history.id_at(position.as_ref().map_or(self.state.ids.last(), |position| position.stamp));
        if !is_socketio {
            self.state.greet(key, id);
        }
        self.replays.follow(&mut self.state, key);
        let (Some(since), Some(position)) = (since, position) else {
            self.send_last_values(key, &rooms, u64::MAX, id);
            return true;
        };
        let missing: Vec<&str> = position.gaps.iter().map(|index| rooms[*index]).collect();
        let missed = self.history.count_after(&self.state, tenant, &rooms, position.stamp);
        let count = u32::try_from(missed).unwrap_or(u32::MAX);
        self.state.write_journal(key, What::Resumed, More { stamp: position.stamp, count, ..More::default() });
        Recovery { missing: &missing, missed, id }.send(&mut self.state, key);
        // A client that names a message has had the last values.
        if !matches!(since, Since::Id(_)) {
            self.send_last_values(key, &rooms, position.stamp, id);
        }
        if missed > 0 {
            // What is missing was said above, or nobody asked for it.
            let memberships = self.state.sessions.get(key).into_iter().flat_map(|session| &session.rooms).zip(&rooms);
            let told =
                memberships.map(|(membership, room)| (membership.room, self.history.floors(&self.state, tenant, room)));
            let told = told.filter(|(_, floors)| floors.newest() > position.stamp).collect();
            self.replays.begin(&mut self.state, key, position.stamp, told);
        }
        missing.is_empty()
    }

    /// Sends the last values of its rooms to a session that has missed nothing.
    pub(super) fn send_newest_values(&mut self, key: SessionKey) {
        let Some(session) = self.state.sessions.get(key) else { return };
        let names = self.state.room_names(session);
        let rooms: Vec<&str> = names.iter().map(|name| &**name).collect();
        // A session that has waited gets newer ones from the history.
        let cursor = self.state.tracks.get(session.client).and_then(|track| track.cursor());
        let stamp = cursor.unwrap_or(u64::MAX);
        self.send_last_values(key, &rooms, stamp, self.history.id_at(cursor.unwrap_or(self.state.ids.last())));
    }

    /// Gives clients that are behind the next kept messages, and brings up to date who is in which room. Call it once in a turn, before clients are written to.
    pub fn feed(&mut self) {
        self.hear_answers();
        if self.has_replays() {
            self.replays.feed(&mut self.history, &mut self.state);
        }
        self.update_presence();
    }

    /// Reports that the server has tried to write what was queued for these clients.
    pub fn flushed(&mut self, clients: &[ClientKey]) {
        if !self.replays.is_empty() {
            self.replays.flushed(&self.state, clients);
        }
    }

    /// Whether a client is behind.
    pub(super) fn has_replays(&self) -> bool {
        !self.replays.is_empty() || !self.state.fallen.is_empty()
    }

    /// Whether [`Hub::feed`] has something to do, even if nothing happens.
    pub fn has_hungry_replay(&self) -> bool {
        self.replays.is_hungry(&self.state)
    }

    /// What a login may ask for. Without `history.before`, it may only go on from a message that it has had.
    pub fn allowed(&self, since: Since) -> Since {
        match since {
            Since::All | Since::Age(_) if !self.config().history.before => Since::New,
            since => since,
        }
    }

    /// Queues the last values of a session's rooms that have a stamp up to `stamp`: a replay brings those after it.
    /// After them `id` is the session's position.
    fn send_last_values(&mut self, key: SessionKey, rooms: &[&str], stamp: u64, id: MessageId) {
        if !self.history.is_on() {
            return;
        }
        let Some(session) = self.state.sessions.get(key) else { return };
        let (client, tenant, form) = (session.client, session.tenant, session.form);
        let namespace = self.state.namespaces[session.namespace as usize].name.clone();
        let source = self.state.tenants[tenant.index()].name.clone();
        let (mut run, mut count) = (self.state.open_run(), 0);
        for room in rooms {
            let Some(found) = self.history.last_value(tenant, room).filter(|found| found.entry.stamp() <= stamp) else {
                continue;
            };
            let content = found.entry.content();
            self.state.append(&mut run, &found.message(content.data(), &source, room, &namespace), form);
            count += 1;
        }
        self.state.queue_last_values(client, run, count);
        // An EventSource takes the id of the last block for its position.
        if count > 0 && matches!(form, Form::Sse | Form::SseText) {
            self.state.send_raw(client, format!("id: {id}\n\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{
        clock::Now,
        message::{Data, MessageId},
        names::Rooms,
        state::{
            client::Mode,
            testing::{Login, config, received, session},
        },
    };

    fn hub(history: &str) -> Hub {
        let text = format!("[sources.one]\nsign_key = \"k\"\n[history]\n{history}\n");
        Hub::new(config(&text), MessageId::first(1000, 7), [0; 32])
    }

    fn publish(hub: &mut Hub, room: &str, data: &str) -> MessageId {
        let tenant = hub.state.tenant("one").unwrap();
        hub.publish(tenant, &Rooms::parse(room, 128, 0).unwrap(), Data::Json(data), "")
    }

    fn gaps(hub: &mut Hub, rooms: &[&str], since: MessageId) -> Vec<usize> {
        let tenant = hub.state.tenant("one").unwrap();
        hub.history.position(&hub.state, tenant, rooms, &Since::Id(since)).gaps
    }

    /// Messages of rooms without history come after newer kept ones, so a client that is cut then may lack them.
    #[test]
    fn a_newer_message_does_not_prove_that_held_ones_were_received() {
        for completes in [false, true] {
            let mut hub = hub("count = 9\nbytes = 1000000\nrooms = [{ room = \"b\", count = 0 }]");
            let large = format!("\"{}\"", "x".repeat(50_000));
            (0..4).for_each(|_| _ = publish(&mut hub, "a", &large));
            let key = session(&mut hub.state, Login { rooms: "a,b", ..Login::default() });
            hub.begin_history(key, Some(Since::All));
            publish(&mut hub, "b", "2");
            let kept = publish(&mut hub, "a", "3");
            hub.feed();
            let client = hub.state.sessions.get(key).unwrap().client;
            assert_eq!(hub.state.clients.get(client).unwrap().mode, Mode::Behind);
            assert_eq!(gaps(&mut hub, &["a", "b"], kept), [1], "while it waits");
            while completes && hub.has_replays() {
                received(&mut hub.state, key);
                hub.flushed(&[client]);
                hub.feed();
            }
            if !completes {
                hub.remove(client, false);
            }
            assert_eq!(gaps(&mut hub, &["a", "b"], kept), [1], "{completes}");
            let later = publish(&mut hub, "a", "4");
            assert_eq!(gaps(&mut hub, &["a", "b"], later), [0; 0]);
        }
    }

    /// They are copied for each client, so they count as much as kept messages.
    #[test]
    fn messages_that_were_held_back_are_queued_for_a_few_clients_in_a_turn() {
        let mut hub = hub("count = 9\nrooms = [{ room = \"b\", count = 0 }]");
        publish(&mut hub, "a", "1");
        for _ in 0..4 {
            let key = session(&mut hub.state, Login { rooms: "a,b", ..Login::default() });
            hub.begin_history(key, Some(Since::All));
        }
        let large = format!("\"{}\"", "x".repeat(60_000));
        (0..10).for_each(|_| _ = publish(&mut hub, "b", &large));
        for left in [2, 0] {
            hub.feed();
            let clients = hub.state.clients.keys().into_iter().filter_map(|client| hub.state.clients.get(client));
            assert_eq!(clients.filter(|client| client.mode == Mode::Behind).count(), left);
        }
    }

    /// A message that was too large to be kept says nothing about older ones, which may be dropped during a replay.
    #[test]
    fn a_client_is_told_of_dropped_messages_though_a_newer_one_was_never_kept() {
        let mut hub = hub("count = 2\nbytes = 1024");
        publish(&mut hub, "a", "1");
        publish(&mut hub, "a", &format!("\"{}\"", "x".repeat(2000)));
        let key = session(&mut hub.state, Login { rooms: "a", ..Login::default() });
        hub.begin_history(key, Some(Since::All));
        let told = received(&mut hub.state, key);
        assert!(told.len() == 1 && told[0].contains(r#""recovered":true,"missed":1"#), "{told:?}");
        (2..5).for_each(|number| _ = publish(&mut hub, "a", &number.to_string()));
        hub.feed();
        let got = received(&mut hub.state, key);
        assert!(got[0].contains(r#""recovered":false,"rooms":["a"],"missed":2"#), "{got:?}");
        assert_eq!(got.len(), 3, "{got:?}");
    }

    /// It is too late to find out after the reload, because then the room keeps nothing.
    #[test]
    fn a_client_that_is_behind_is_told_before_a_reload_what_was_dropped() {
        let text = |rooms: &str| {
            config(&format!("[sources.one]\nsign_key = \"k\"\n[history]\ncount = 9\nage = 1\nrooms = [{rooms}]\n"))
        };
        let mut hub = Hub::new(text(""), MessageId::first(1000, 7), [0; 32]);
        let key = session(&mut hub.state, Login { rooms: "b", ..Login::default() });
        let tenant = hub.state.tenant("one").unwrap();
        let first = hub.publish(tenant, &Rooms::parse("b", 128, 0).unwrap(), Data::Json("1"), "");
        received(&mut hub.state, key);
        hub.begin_history(key, Some(Since::All));
        let later = Now { time: hub.state.now.time.after(Duration::from_secs(5)), ..Now::default() };
        hub.begin_turn(later);
        hub.history.expire(later.time);
        assert_eq!(hub.history.rooms(), 0);
        hub.reload(text("{ room = \"b\", count = 0 }"), later);
        hub.feed();
        let got = received(&mut hub.state, key);
        let id = hub.history.id_at(first.stamp() - 1);
        assert_eq!(
            got,
            [
                format!(r#"{{"event":"recovery","recovered":true,"missed":1,"id":"{id}"}}"#),
                format!(r#"{{"event":"recovery","recovered":false,"rooms":["b"],"missed":0,"id":"{id}"}}"#),
            ]
        );
    }
}
