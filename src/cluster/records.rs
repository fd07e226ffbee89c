//! Presence records: Redis has a hash for each source, with a JSON object for each session, in the format of
//! node-socket-im. Changes are collected and written in batches. A session that changes twice before its record is
//! written is written once.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    rc::Rc,
};

use crate::{
    clock::Now,
    json::ObjectWriter,
    key::SessionKey,
    state::{State, info::protocol, record::RecordState},
};

/// Changes that are not written to Redis yet. Sessions whose records changed are in [`State::changed`].
#[derive(Default)]
pub struct Records {
    on: bool,
    removed: VecDeque<Removed>,
    /// Whether removals were dropped because too many waited.
    overflowed: bool,
    /// By source and username. Not by [`TenantId`](crate::state::TenantId): a reload may give that to another source.
    logins_by_user: BTreeMap<(Rc<str>, Box<str>), u64>,
    logins: u64,
    messages: u64,
    /// Whether an old server has started. It deletes all records when it starts.
    pub deleted_by_old_server: bool,
}

/// A record to be removed: its source, and its field in the hash.
pub type Removed = (Rc<str>, Box<str>);

/// Changes that are written together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordBatch {
    /// Records: source, field and value.
    pub written: Vec<(Rc<str>, Box<str>, String)>,
    /// Records to be removed.
    pub removed: Vec<Removed>,
    /// Logins by source and username.
    pub logins_by_user: Vec<(Rc<str>, Box<str>, u64)>,
    /// Logins at this relay.
    pub logins: u64,
    /// Messages that this relay received.
    pub messages: u64,
}

impl Records {
    /// Switches records on or off.
    pub fn switch(&mut self, on: bool, state: &mut State) {
        if on != self.on {
            *self = Records { on, ..Records::default() };
            state.track_changes(false);
            state.changed.clear();
        }
    }

    /// Whether there is something to write.
    pub fn has_changes(&self, state: &State) -> bool {
        let counted = self.logins > 0 || self.messages > 0 || !self.logins_by_user.is_empty();
        !state.changed.is_empty() || !self.removed.is_empty() || counted
    }

    /// Queues the removal of records again, because it is unknown whether they were removed.
    pub fn remove_again(&mut self, removed: Vec<Removed>) {
        removed.into_iter().for_each(|record| self.remove(record));
    }

    /// Queues the removal of a record. If too many are queued, because Redis refuses writes, all of them are dropped:
    /// the next review of this relay's records finds those that belong to no session.
    fn remove(&mut self, record: Removed) {
        if self.removed.len() >= MOST_REMOVED {
            self.removed = VecDeque::new();
            self.overflowed = true;
        }
        self.removed.push_back(record);
    }

    /// Whether removals were dropped since the last call of this method, so that a review must find these records.
    pub fn take_overflow(&mut self) -> bool {
        mem::take(&mut self.overflowed)
    }

    /// Counts a message that this relay received.
    pub fn count_message(&mut self) {
        self.messages += u64::from(self.on);
    }

    /// Handles a new session: counts the login, and queues the record.
    pub fn session_started(&mut self, state: &mut State, key: SessionKey) {
        let Some(session) = state.sessions.get(key).filter(|_| self.on) else { return };
        self.logins += 1;
        let source = state.tenants[session.tenant.index()].name.clone();
        let user = (source, session.identity.username().into());
        if self.logins_by_user.len() < MOST_NAMES || self.logins_by_user.contains_key(&user) {
            *self.logins_by_user.entry(user).or_default() += 1;
        }
        state.mark_changed(key);
    }

    /// Handles the end of a session: queues the removal of its record, if Redis has one.
    pub fn session_ending(&mut self, state: &mut State, key: SessionKey) {
        let Some(session) = state.sessions.get_mut(key) else { return };
        if matches!(mem::take(&mut session.record), RecordState::Written | RecordState::Stale) && self.on {
            let source = state.tenants[session.tenant.index()].name.clone();
            self.remove((source, state.socket_id(key).into()));
        }
    }

    /// Takes the next changes, of at most `most` sessions.
    pub fn take_batch(&mut self, state: &mut State, (node, ip): (&str, &str), most: usize, now: Now) -> RecordBatch {
        let mut batch = RecordBatch::default();
        while batch.written.len() < most
            && let Some(key) = state.changed.pop_front()
        {
            // A session that is pending or gone has no record; its next change queues it again.
            let found = state.sessions.get_mut(key).filter(|session| session.record != RecordState::Absent);
            let Some(session) = found else { continue };
            session.record = RecordState::Written;
            let source = state.tenants[session.tenant.index()].name.clone();
            let record = record(state, (node, ip), key, now);
            batch.written.push((source, state.socket_id(key).into(), record));
        }
        let removed = self.removed.len().min(most);
        // A client of Socket.IO 2.x that left a namespace and joined it again has the same id.
        let has_record = |source: &str, name: &str| {
            let session = state.find_session(name).and_then(|key| state.sessions.get(key));
            session.is_some_and(|session| {
                session.record != RecordState::Absent && *state.tenants[session.tenant.index()].name == *source
            })
        };
        let gone = self.removed.drain(..removed).filter(|(source, name)| !has_record(source, name));
        batch.removed = gone.collect();
        let logins = core::iter::from_fn(|| self.logins_by_user.pop_first()).take(most);
        batch.logins_by_user = logins.map(|((source, user), count)| (source, user, count)).collect();
        batch.logins = mem::take(&mut self.logins);
        batch.messages = mem::take(&mut self.messages);
        batch
    }

    /// Handles a new connection: queues all records.
    pub fn connect(state: &mut State) {
        state.track_changes(true);
        Records::write_all(state);
    }

    /// Handles the loss of the connection. The removal of `removed` is not confirmed, so it is queued again. Each
    /// session keeps whether Redis has a record of it.
    pub fn disconnect(&mut self, state: &mut State, removed: Vec<Removed>) {
        state.track_changes(false);
        self.remove_again(removed);
        let changed: VecDeque<SessionKey> = mem::take(&mut state.changed);
        for key in changed {
            if let Some(session) = state.sessions.get_mut(key) {
                session.record = match session.record {
                    RecordState::Absent | RecordState::Queued => RecordState::Absent,
                    RecordState::Written | RecordState::Stale => RecordState::Written,
                };
            }
        }
    }

    /// Queues all records: Redis may have lost them.
    pub fn write_all(state: &mut State) {
        for key in state.admitted().map(|(key, _)| key).collect::<Vec<_>>() {
            state.mark_changed(key);
        }
    }
}

/// A session's record: the fields of node-socket-im in their order, then those that relays add.
fn record(state: &State, (node, ip): (&str, &str), key: SessionKey, now: Now) -> String {
    let mut out = vec![b'{'];
    if let Some(session) = state.sessions.get(key) {
        let info = state.info(key, session);
        let identity = &session.identity;
        let mut line = ObjectWriter::within(&mut out);
        line.text("socket_id", &info.socket_id);
        line.text("source", &state.tenants[session.tenant.index()].name);
        line.nonempty("userid", info.userid);
        line.nonempty("username", identity.username());
        line.text("room_ids", info.rooms.as_deref().unwrap_or_default());
        line.nonempty("referer", &identity.agent().referer);
        line.text("ext_info", identity.ext_info());
        line.text("watch_quit", if session.wants.quit() { "1" } else { "" });
        line.text("server_ip", ip);
        line.text("time", &now.local_at(identity.since()).unpadded());
        line.text("nsp", info.namespace);
        line.text("protocol", protocol(session.form));
        if let Some(ip) = identity.ip() {
            line.text("ip", &ip.to_string());
        }
        line.nonempty("user_agent", &identity.agent().user_agent);
        line.text("since", &identity.since().to_string());
        line.text("node", node);
    }
    out.push(b'}');
    String::from_utf8(out).expect("made of text")
}

/// One record of each source that Redis should have, as a sample to check.
pub fn samples(state: &State) -> Vec<Removed> {
    let mut samples = vec![None; state.tenants.len()];
    for (key, session) in state.sessions.iter().filter(|(_, session)| session.record == RecordState::Written) {
        samples[session.tenant.index()].get_or_insert(key);
    }
    let tenants = state.tenants.iter().zip(samples);
    tenants.filter_map(|(tenant, key)| Some((tenant.name.clone(), state.socket_id(key?).into()))).collect()
}

/// The number of sessions of each source on all relays, from its number of records in Redis.
pub fn sessions_everywhere<'a>(state: &State, counted: impl Iterator<Item = (&'a str, u64)>) -> Vec<(&'a str, u64)> {
    // By tenant: the sessions here, and how many of them have a record.
    let mut counts = vec![(0, 0); state.tenants.len()];
    for (_, session) in state.sessions.iter() {
        let (here, recorded) = &mut counts[session.tenant.index()];
        *here += u64::from(!session.pending);
        *recorded += u64::from(matches!(session.record, RecordState::Written | RecordState::Stale));
    }
    let all = |(source, counted): (&'a str, u64)| {
        let (here, recorded) = counts[state.known_tenant(source)?.index()];
        Some((source, counted.saturating_sub(recorded) + here))
    };
    counted.filter_map(all).collect()
}

/// The most usernames whose login counts are kept until they are written.
const MOST_NAMES: usize = 10_000;
/// The most removals that wait to be written: about 10 MB.
const MOST_REMOVED: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::state::Departure;

    const SELF: (&str, &str) = ("abc123", "192.0.2.7");

    #[test]
    fn a_record() {
        let mut state = testing::state();
        let key = testing::session(&mut state, "demo", "7", "r1,r2");
        let name = state.sids.socket(key);
        let now = Now { unix: 1_795_219_199, ..Now::default() };
        let expected = format!(
            "{{\"socket_id\":\"{name}\",\"source\":\"demo\",\"userid\":\"7\",\"username\":\"li\",\"room_ids\":\"r1,r2\",\
             \"referer\":\"http://page/\",\"ext_info\":\"x\",\"watch_quit\":\"1\",\"server_ip\":\"192.0.2.7\",\
             \"time\":\"1970-01-01 0:0:5\",\"nsp\":\"/\",\"protocol\":\"engine.io 4\",\"ip\":\"10.0.0.1\",\
             \"user_agent\":\"browser\",\"since\":\"5\",\"node\":\"abc123\"}}"
        );
        assert_eq!(record(&state, SELF, key, now), expected);
    }

    #[test]
    fn a_session_that_changes_twice_is_written_once() {
        let (mut state, mut records) = (testing::state(), Records::default());
        let early = testing::session(&mut state, "demo", "1", "r");
        records.session_started(&mut state, early);
        assert!(!records.has_changes(&state), "records are off");
        records.switch(true, &mut state);
        Records::connect(&mut state);
        let key = testing::session(&mut state, "demo", "2", "r");
        records.session_started(&mut state, key);
        state.mark_changed(key);
        records.count_message();
        let batch = records.take_batch(&mut state, SELF, 10, Now::default());
        let fields: Vec<_> = batch.written.iter().map(|(_, field, _)| field.to_string()).collect();
        assert_eq!(fields, [state.sids.socket(early), state.sids.socket(key)]);
        assert_eq!((batch.logins, batch.messages, batch.removed.len()), (1, 1, 0));
        assert_eq!(batch.logins_by_user, [("demo".into(), "li".into(), 1)]);
        assert!(!records.has_changes(&state));
        state.mark_changed(key);
        assert_eq!(records.take_batch(&mut state, SELF, 10, Now::default()).written.len(), 1);
    }

    #[test]
    fn records_of_ended_sessions_are_removed() {
        let (mut state, mut records) = (testing::state(), Records::default());
        records.switch(true, &mut state);
        Records::connect(&mut state);
        let keys = [(); 3].map(|()| testing::session(&mut state, "demo", "1", "r"));
        keys[..2].iter().for_each(|key| records.session_started(&mut state, *key));
        assert_eq!(records.take_batch(&mut state, SELF, 1, Now::default()).written.len(), 1);
        for key in keys {
            records.session_ending(&mut state, key);
            testing::end(&mut state, key);
        }
        let batch = records.take_batch(&mut state, SELF, 10, Now::default());
        assert_eq!((batch.written.len(), batch.removed.len()), (0, 1), "only the first one had a record");
        records.remove_again(batch.removed);
        assert!(records.has_changes(&state));
        records.switch(false, &mut state);
        assert!(!records.has_changes(&state));
    }

    /// Redis takes no record for a long time, while sessions come and go.
    #[test]
    fn what_waits_to_be_written_is_bounded() {
        let (mut state, mut records) = (testing::state(), Records::default());
        records.switch(true, &mut state);
        Records::connect(&mut state);
        let stays = [(); 10].map(|()| testing::session(&mut state, "demo", "1", "r"));
        let mut most = 0;
        for round in 0..3 * MOST_REMOVED {
            let key = testing::session(&mut state, "demo", "1", "r,s");
            records.session_started(&mut state, key);
            // Some are written before they end, but nothing is ever confirmed.
            if round % 2 == 0 {
                assert_eq!(state.changed.pop_back(), Some(key));
                state.sessions.get_mut(key).unwrap().record = RecordState::Written;
            }
            records.session_ending(&mut state, key);
            state.remove_session(key, Departure::Goodbye);
            most = most.max(state.changed.len());
            if round % 1000 == 0 {
                let batch = records.take_batch(&mut state, SELF, 20, Now::default());
                records.remove_again(batch.removed);
                Records::write_all(&mut state);
            }
        }
        assert!(most < 3000, "{most} changes were queued");
        assert!(records.removed.len() <= MOST_REMOVED && records.logins_by_user.len() == 1);
        assert!(records.take_overflow() && !records.take_overflow(), "a review must find the others");
        Records::write_all(&mut state);
        let mut written = Vec::new();
        while records.has_changes(&state) {
            written.extend(records.take_batch(&mut state, SELF, 200, Now::default()).written);
        }
        assert_eq!(written.len(), stays.len(), "each session once");
    }

    #[test]
    fn login_counts_are_written_in_parts() {
        let (mut state, mut records) = (testing::state(), Records::default());
        records.switch(true, &mut state);
        for number in 0..25 {
            records.logins_by_user.insert(("demo".into(), number.to_string().into()), 1);
        }
        let mut parts = Vec::new();
        while records.has_changes(&state) {
            parts.push(records.take_batch(&mut state, SELF, 10, Now::default()).logins_by_user.len());
        }
        assert_eq!(parts, [10, 10, 5]);
    }

    #[test]
    fn records_in_redis_are_remembered_during_an_outage() {
        let (mut state, mut records) = (testing::state(), Records::default());
        records.switch(true, &mut state);
        Records::connect(&mut state);
        let one = testing::session(&mut state, "demo", "1", "r");
        records.session_started(&mut state, one);
        records.take_batch(&mut state, SELF, 10, Now::default());
        state.mark_changed(one);
        let two = testing::session(&mut state, "demo", "1", "r");
        records.session_started(&mut state, two);
        records.disconnect(&mut state, vec![("demo".into(), "x".into())]);
        let states = [one, two].map(|key| state.sessions.get(key).unwrap().record);
        assert_eq!(states, [RecordState::Written, RecordState::Absent]);
        state.mark_changed(one);
        assert!(state.changed.is_empty(), "changes are not tracked while Redis is away");
        assert_eq!(samples(&state).len(), 1);
        let all = |state: &State| sessions_everywhere(state, [("demo", 5), ("nobody", 3)].into_iter());
        assert_eq!(all(&state), [("demo", 6)], "five records, one of them ours, and two sessions here");
        Records::connect(&mut state);
        let batch = records.take_batch(&mut state, SELF, 10, Now::default());
        assert_eq!((batch.written.len(), batch.removed.len()), (2, 1));
        assert_eq!(all(&state), [("demo", 5)]);
    }
}
