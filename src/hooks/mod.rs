//! Asking the business backend (contract section 9): which call is sent when, which is tried again, and when the backend is
//! left alone. Pure: connections are the world's, which asks [`Dispatcher::poll_send`] what to send and says what came of it.
//!
//! Calls of one lane, which is a client in a namespace, are sent one after the other, so they arrive in their order. Lanes
//! take turns. What waits is bounded, by lane and in all.

use core::time::Duration;
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    clock::Time,
    http::response::{Malformed, Response},
    key::ClientKey,
    plain::sorted,
};

/// Whose calls keep their order: a client's in a namespace.
pub type Lane = (ClientKey, u16);

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// May this client come in? It waits for the answer.
    Connect,
    /// It is gone.
    Disconnect,
    /// It sent an event.
    Message,
}

/// Something to tell the backend.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number: what the hub knows it by.
    pub number: u64,
    /// Whose it is.
    pub lane: Lane,
    /// What it is about.
    pub kind: Kind,
    /// Its name in the header `Idempotency-Key`: a call that is sent twice has the same.
    pub id: Box<str>,
    /// JSON.
    pub body: Box<str>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Too many calls wait.
    Busy,
    /// The backend does not answer, or not what can be understood.
    Down(String),
}

/// What came of sending a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There was no connection: the backend has seen nothing of it.
    Unsent(String),
    /// A connection that had been idle ended before anything came back: most likely the backend had just closed it.
    Stale,
    /// It took too long.
    Timeout,
    /// What came was not a response.
    Malformed(Malformed),
}

/// How the backend does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    #[default]
    Fine,
    /// It does not, and why: calls are refused at once, but for one now and then.
    Failing(String),
}

/// A call that is over.
pub type Finished = (u64, Result<Vec<u8>, Failure>);

/// The queue before the backend.
#[derive(Default)]
pub struct Dispatcher {
    timeout: Duration,
    most: usize,
    calls: HashMap<u64, Entry>,
    lanes: HashMap<Lane, Calls>,
    /// Lanes whose first call can be sent.
    ready: VecDeque<Lane>,
    /// Calls that are tried again then.
    retries: BTreeMap<(Time, u64), Lane>,
    /// Calls that are on their way, by when they must be answered.
    sent: BTreeMap<(Time, u64), ()>,
    /// When calls that somebody waits for are given up though they were not sent.
    overdue: BTreeMap<(Time, u64), ()>,
    bytes: usize,
    failures: u32,
    /// The backend is left alone until then.
    open_until: Option<Time>,
    backoff: Duration,
    /// How the backend does.
    pub health: Health,
    /// Calls that were sent, that failed for good, and attempts after the first.
    pub stats: Stats,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Calls sent.
    pub sent: u64,
    /// Of those, again.
    pub retried: u64,
    /// Calls without an answer.
    pub failed: u64,
    /// Of those, because too many waited.
    pub refused: u64,
}

/// A lane's calls, in their order, and their bytes.
#[derive(Default)]
struct Calls {
    numbers: VecDeque<u64>,
    bytes: usize,
}

struct Entry {
    call: Call,
    attempts: u32,
    since: Time,
    /// When the attempt that is on its way is given up.
    deadline: Option<Time>,
}

impl Dispatcher {
    /// Takes new bounds: how long an attempt may take, and how many calls may wait.
    pub fn configure(&mut self, timeout: Duration, most: usize) {
        self.timeout = timeout;
        self.most = most;
    }

    /// Calls that wait or are on their way.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether a call could be sent now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() && self.sent.len() < MOST_SENT && self.open_until.is_none()
    }

    /// Takes a call, or says why not.
    pub fn submit(&mut self, call: Call, now: Time) -> Result<(), Failure> {
        let (waiting, held) = self.lanes.get(&call.lane).map_or((0, 0), |calls| (calls.numbers.len(), calls.bytes));
        let size = call.body.len();
        // That somebody has left is told even if much waits: his calls are over, there is one such call of each.
        let last = call.kind == Kind::Disconnect;
        // Events may not keep everybody else from coming in.
        let most = if call.kind == Kind::Message { self.most - self.most / 10 } else { self.most };
        let full = self.calls.len() >= most || self.bytes + size > MOST_BYTES;
        let full = full || waiting >= MOST_IN_LANE || (waiting > 0 && held + size > MOST_LANE_BYTES);
        if (full && !last) || self.calls.len() >= 2 * self.most {
            self.stats.failed += 1;
            self.stats.refused += 1;
            return Err(Failure::Busy);
        }
        if let (Some(until), false, Health::Failing(why)) = (self.open_until, last, &self.health)
            && (until > now || !self.sent.is_empty())
        {
            self.stats.failed += 1;
            return Err(Failure::Down(why.clone()));
        }
        let lane = self.lanes.entry(call.lane).or_default();
        lane.numbers.push_back(call.number);
        lane.bytes += size;
        self.bytes += size;
        if lane.numbers.len() == 1 {
            self.ready.push_back(call.lane);
        }
        if !last {
            self.overdue.insert((self.overdue_at(call.kind, now), call.number), ());
        }
        self.calls.insert(call.number, Entry { call, attempts: 0, since: now, deadline: None });
        Ok(())
    }

    /// The next call to be sent now, if there is one and fewer than so many are on their way.
    pub fn poll_send(&mut self, now: Time) -> Option<&Call> {
        if self.sent.len() >= MOST_SENT {
            return None;
        }
        if let Some(until) = self.open_until {
            // One is sent to see whether it is well again.
            if until > now || !self.sent.is_empty() {
                return None;
            }
        }
        while let Some(entry) = self.retries.first_entry().filter(|entry| entry.key().0 <= now) {
            self.ready.push_back(entry.remove());
        }
        let lane = self.ready.pop_front()?;
        let number = *self.lanes.get(&lane)?.numbers.front()?;
        let entry = self.calls.get_mut(&number)?;
        entry.attempts += 1;
        let deadline = now.after(self.timeout);
        entry.deadline = Some(deadline);
        self.sent.insert((deadline, number), ());
        self.stats.sent += 1;
        self.stats.retried += u64::from(entry.attempts > 1);
        Some(&entry.call)
    }

    /// A response to a call: what it says if it is a right one.
    pub fn handle_response(&mut self, number: u64, response: Response, now: Time) -> Vec<Finished> {
        match response.status {
            200..300 => {
                self.forgive();
                self.finish(number, Ok(response.body)).into_iter().collect()
            }
            // Nobody is there behind the one who answers.
            status @ 502..=504 => self.fail(number, format!("status {status}"), Some(Again::IfSafe), now),
            // It is alive, and has something against this call: what one client sends must not shut out the others.
            status => self.reject(number, format!("status {status}")),
        }
    }

    /// The backend answered, and not in a way that helps this call.
    pub fn reject(&mut self, number: u64, why: String) -> Vec<Finished> {
        self.forgive();
        self.stats.failed += 1;
        self.finish(number, Err(Failure::Down(why))).into_iter().collect()
    }

    /// No response to a call.
    pub fn handle_trouble(&mut self, number: u64, trouble: Trouble, now: Time) -> Vec<Finished> {
        match trouble {
            Trouble::Unsent(why) => self.fail(number, why, Some(Again::Always), now),
            Trouble::Stale => {
                self.fail(number, "the connection ended without a response".into(), Some(Again::AtOnce), now)
            }
            Trouble::Timeout => self.fail(number, "no answer in time".into(), Some(Again::IfSafe), now),
            Trouble::Malformed(Malformed(why)) => self.fail(number, why.into(), Some(Again::IfSafe), now),
        }
    }

    /// What a call is about.
    pub fn kind(&self, number: u64) -> Option<Kind> {
        self.calls.get(&number).map(|entry| entry.call.kind)
    }

    /// Whether [`Dispatcher::poll_send`] has something.
    pub fn can_send(&self, now: Time) -> bool {
        let open = self.open_until.is_none_or(|until| until <= now && self.sent.is_empty());
        let due = self.retries.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        open && self.sent.len() < MOST_SENT && (!self.ready.is_empty() || due)
    }

    /// How often a call was sent.
    pub fn attempts(&self, number: u64) -> u32 {
        self.calls.get(&number).map_or(0, |entry| entry.attempts)
    }

    /// The backend is another one: what is known of the old one does not count.
    pub fn forgive(&mut self) {
        self.failures = 0;
        self.open_until = None;
        self.backoff = Duration::ZERO;
        self.health = Health::Fine;
    }

    fn overdue_at(&self, kind: Kind, now: Time) -> Time {
        now.after(if kind == Kind::Connect { self.timeout * 2 } else { self.timeout * 10 })
    }

    /// Gives up calls that have waited too long to be sent.
    pub fn expire_waiting(&mut self, now: Time) -> Vec<Finished> {
        let mut finished = Vec::new();
        while let Some(entry) = self.overdue.first_entry().filter(|entry| entry.key().0 <= now) {
            let (_, number) = *entry.key();
            entry.remove();
            // What is on its way has a deadline of its own.
            if self.calls.get(&number).is_some_and(|entry| entry.deadline.is_none()) {
                self.stats.failed += 1;
                finished.extend(self.finish(number, Err(Failure::Busy)));
            }
        }
        finished
    }

    /// Calls whose time is over: their connections must be closed.
    pub fn poll_expired(&mut self, now: Time) -> Option<u64> {
        let ((deadline, number), ()) = self.sent.first_key_value()?;
        (*deadline <= now).then_some(*number)
    }

    /// When a call that is on its way is given up.
    pub fn expiry(&self) -> Time {
        let first =
            |calls: &BTreeMap<(Time, u64), ()>| calls.first_key_value().map_or(Time::NEVER, |((at, _), ())| *at);
        first(&self.sent).min(first(&self.overdue))
    }

    /// When something is to be done, though nothing comes.
    pub fn deadline(&self) -> Time {
        // Nothing is sent before something comes back.
        if self.sent.len() >= MOST_SENT || (self.open_until.is_some() && !self.sent.is_empty()) {
            return self.expiry();
        }
        let next = match (self.ready.is_empty(), self.retries.first_key_value()) {
            (false, _) => Time::START,
            (true, Some(((at, _), _))) => *at,
            (true, None) => return self.expiry(),
        };
        self.expiry().min(next.max(self.open_until.unwrap_or(Time::START)))
    }

    fn fail(&mut self, number: u64, why: String, again: Option<Again>, now: Time) -> Vec<Finished> {
        let Some(entry) = self.calls.get(&number) else { return Vec::new() };
        let (kind, attempts, since, lane) = (entry.call.kind, entry.attempts, entry.since, entry.call.lane);
        // A connection that was idle too long says nothing about the backend.
        if again == Some(Again::AtOnce) && attempts == 1 {
            self.take_back(number);
            self.ready.push_front(lane);
            return Vec::new();
        }
        self.failures += 1;
        let mut finished = Vec::new();
        let safe = matches!(kind, Kind::Connect | Kind::Disconnect);
        let wait = FIRST_RETRY * 2u32.saturating_pow(attempts.saturating_sub(1).min(10));
        let patience = match kind {
            Kind::Connect | Kind::Message => self.timeout,
            Kind::Disconnect => PATIENCE,
        };
        let may = match again {
            Some(Again::Always | Again::AtOnce) => safe || again == Some(Again::Always),
            Some(Again::IfSafe) => safe,
            None => false,
        };
        if may && attempts < MOST_ATTEMPTS && since.after(patience) > now.after(wait) {
            self.take_back(number);
            self.retries.insert((now.after(wait), number), lane);
        } else {
            self.stats.failed += 1;
            finished.extend(self.finish(number, Err(Failure::Down(why.clone()))));
        }
        if self.failures >= TOLERATED {
            self.backoff = (self.backoff * 2).clamp(FIRST_BACKOFF, LAST_BACKOFF);
            // Relays that lost their backend at the same time do not come back to it at the same time.
            let spread = 50 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 100;
            self.open_until = Some(now.after(self.backoff * spread / 100));
            self.health = Health::Failing(why.clone());
            finished.extend(self.give_up(&why));
        }
        finished
    }

    /// Ends what waits, for nobody shall wait for a backend that is down; who has left can be told later.
    fn give_up(&mut self, why: &str) -> Vec<Finished> {
        let waits = |entry: &Entry| entry.deadline.is_none() && entry.call.kind != Kind::Disconnect;
        let numbers = sorted(self.calls.iter().filter(|(_, entry)| waits(entry)).map(|(number, _)| *number).collect());
        self.stats.failed += numbers.len() as u64;
        numbers.into_iter().filter_map(|number| self.finish(number, Err(Failure::Down(why.to_owned())))).collect()
    }

    /// The attempt is over, the call is not.
    fn take_back(&mut self, number: u64) {
        if let Some(entry) = self.calls.get_mut(&number)
            && let Some(deadline) = entry.deadline.take()
        {
            self.sent.remove(&(deadline, number));
        }
    }

    fn finish(&mut self, number: u64, result: Result<Vec<u8>, Failure>) -> Option<Finished> {
        let on_its_way = self.calls.get(&number)?.deadline.is_some();
        self.take_back(number);
        let entry = self.calls.remove(&number)?;
        let (lane, size) = (entry.call.lane, entry.call.body.len());
        self.bytes -= size;
        self.overdue.remove(&(self.overdue_at(entry.call.kind, entry.since), number));
        if !on_its_way {
            self.retries.retain(|(_, retried), _| *retried != number);
        }
        if let Some(calls) = self.lanes.get_mut(&lane) {
            let first = calls.numbers.front() == Some(&number);
            calls.numbers.retain(|known| *known != number);
            calls.bytes -= size;
            match (calls.numbers.is_empty(), first) {
                (true, _) => {
                    self.lanes.remove(&lane);
                    if !on_its_way {
                        self.ready.retain(|known| *known != lane);
                    }
                }
                (false, true) if on_its_way || !self.ready.contains(&lane) => self.ready.push_back(lane),
                (false, _) => {}
            }
        }
        Some((number, result))
    }
}

/// Whether a call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// The backend has not seen it.
    Always,
    /// It may have seen it.
    IfSafe,
    /// It has not, as far as one can know.
    AtOnce,
}

/// Calls that may be on their way: as many connections.
const MOST_SENT: usize = 32;
/// Calls of one lane that may wait.
const MOST_IN_LANE: usize = 500;
/// Bytes of calls that may wait, of one lane and in all.
const MOST_LANE_BYTES: usize = 4 * 1024 * 1024;
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Failures in a row after which the backend is left alone, and for how long.
const TOLERATED: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// The pause before the second attempt; before each further one twice as much.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const MOST_ATTEMPTS: u32 = 8;
/// How long it is tried to tell that somebody has left.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Slots;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn dispatcher() -> Dispatcher {
        let mut dispatcher = Dispatcher::default();
        dispatcher.configure(Duration::from_secs(3), 1000);
        dispatcher
    }

    fn lanes<const N: usize>() -> [Lane; N] {
        let mut slots: Slots<ClientKey, ()> = Slots::new();
        [(); N].map(|()| (slots.insert(()), 0))
    }

    fn call(number: u64, lane: Lane, kind: Kind) -> Call {
        Call { number, lane, kind, id: number.to_string().into(), body: "{}".into() }
    }

    fn sent(dispatcher: &mut Dispatcher, now: Time) -> Vec<u64> {
        core::iter::from_fn(|| dispatcher.poll_send(now).map(|call| call.number)).collect()
    }

    fn ok() -> Response {
        Response { status: 200, body: b"{}".to_vec(), reusable: true }
    }

    fn down(why: &str) -> Result<Vec<u8>, Failure> {
        Err(Failure::Down(why.into()))
    }

    #[test]
    fn lanes_keep_their_order_and_take_turns() {
        let mut hooks = dispatcher();
        let [one, two] = lanes();
        for (number, lane) in [(1, one), (2, one), (3, one), (4, two)] {
            hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
        }
        assert_eq!(sent(&mut hooks, at(0)), [1, 4]);
        assert_eq!(hooks.handle_response(4, ok(), at(1)), [(4, Ok(b"{}".to_vec()))]);
        assert_eq!(sent(&mut hooks, at(1)), [0; 0]);
        hooks.handle_response(1, ok(), at(1));
        assert_eq!(sent(&mut hooks, at(1)), [2]);
        hooks.handle_response(2, ok(), at(1));
        assert_eq!(sent(&mut hooks, at(1)), [3]);
        assert_eq!(hooks.handle_response(3, ok(), at(1)).len(), 1);
        assert!(hooks.is_empty() && hooks.deadline() == Time::NEVER && hooks.lanes.is_empty());
    }

    /// A deadline that has passed and brings nothing about would keep the loop turning for nothing.
    #[test]
    fn no_deadline_without_something_to_do() {
        let mut hooks = dispatcher();
        let all: [Lane; 40] = lanes();
        for (number, lane) in all.iter().enumerate() {
            hooks.submit(call(number as u64, *lane, Kind::Disconnect), at(0)).unwrap();
        }
        sent(&mut hooks, at(0));
        assert_eq!(hooks.deadline(), at(3000), "no place, though more could go");
        for number in 0..3 {
            hooks.handle_trouble(number, Trouble::Unsent("refused".into()), at(0));
        }
        sent(&mut hooks, at(0));
        assert_eq!(hooks.deadline(), at(3000), "three to be tried again in 200 ms, and no place");
        for number in 3..32 {
            hooks.handle_trouble(number, Trouble::Unsent("refused".into()), at(0));
        }
        let probe = hooks.open_until.unwrap();
        for number in 32..35 {
            hooks.handle_trouble(number, Trouble::Unsent("refused".into()), at(0));
        }
        assert!(hooks.sent.is_empty() && hooks.deadline() >= probe.min(hooks.open_until.unwrap()));
        let probe = hooks.open_until.unwrap();
        assert_eq!(sent(&mut hooks, probe).len(), 1);
        assert_eq!(hooks.deadline(), probe.after(Duration::from_secs(3)), "one is on its way to see");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut hooks = dispatcher();
        let all: [Lane; 40] = lanes();
        let mut number = 0;
        let mut submit = |hooks: &mut Dispatcher, lane, kind| {
            number += 1;
            hooks.submit(call(number, lane, kind), at(0))
        };
        for _ in 0..MOST_IN_LANE {
            submit(&mut hooks, all[0], Kind::Message).unwrap();
        }
        assert_eq!(submit(&mut hooks, all[0], Kind::Message), Err(Failure::Busy), "one lane");
        assert_eq!(submit(&mut hooks, all[0], Kind::Disconnect), Ok(()));
        while hooks.len() < 900 {
            let lane = all[1 + hooks.len() % 39];
            submit(&mut hooks, lane, Kind::Message).unwrap();
        }
        assert_eq!(submit(&mut hooks, all[39], Kind::Message), Err(Failure::Busy), "events leave room for logins");
        while hooks.len() < 1000 {
            let lane = all[1 + hooks.len() % 39];
            submit(&mut hooks, lane, Kind::Connect).unwrap();
        }
        assert_eq!(submit(&mut hooks, all[39], Kind::Connect), Err(Failure::Busy), "all of them");
        assert_eq!(sent(&mut hooks, at(0)).len(), MOST_SENT);
    }

    #[test]
    fn only_what_is_safe_is_tried_again() {
        let [lane] = lanes();
        let timeout = |kind| {
            let mut hooks = dispatcher();
            hooks.submit(call(1, lane, kind), at(0)).unwrap();
            assert_eq!(sent(&mut hooks, at(0)), [1]);
            assert_eq!(hooks.deadline(), at(3000));
            assert_eq!(hooks.poll_expired(at(2999)), None);
            assert_eq!(hooks.poll_expired(at(3000)), Some(1));
            let finished = hooks.handle_trouble(1, Trouble::Timeout, at(3000));
            (finished, hooks)
        };
        assert_eq!(timeout(Kind::Message).0, [(1, down("no answer in time"))]);
        assert_eq!(timeout(Kind::Connect).0, [(1, down("no answer in time"))], "its client has waited long enough");
        let (finished, mut hooks) = timeout(Kind::Disconnect);
        assert_eq!((finished, hooks.deadline()), (vec![], at(3200)));
        assert_eq!(sent(&mut hooks, at(3199)), [0; 0]);
        assert_eq!(sent(&mut hooks, at(3200)), [1]);

        // What the backend has not seen is safe.
        let mut hooks = dispatcher();
        hooks.submit(call(1, lane, Kind::Message), at(0)).unwrap();
        for (now, wait) in [(0, 200), (200, 400), (600, 800), (1400, 0)] {
            assert_eq!(sent(&mut hooks, at(now)), [1]);
            let finished = hooks.handle_trouble(1, Trouble::Unsent("refused".into()), at(now));
            match wait {
                0 => assert_eq!(finished, [(1, down("refused"))], "not longer than its timeout"),
                wait => assert_eq!((finished, hooks.deadline()), (vec![], at(now + wait))),
            }
        }
        // Nor has it seen, most likely, what went into a connection that was just closed; but not twice.
        let mut hooks = dispatcher();
        hooks.submit(call(1, lane, Kind::Message), at(0)).unwrap();
        assert_eq!(sent(&mut hooks, at(0)), [1]);
        assert_eq!(hooks.handle_trouble(1, Trouble::Stale, at(1)), []);
        assert_eq!(sent(&mut hooks, at(1)), [1]);
        assert_eq!(hooks.handle_trouble(1, Trouble::Stale, at(2)).len(), 1);
        assert_eq!(hooks.failures, 1);
    }

    #[test]
    fn a_backend_that_is_down_is_left_alone() {
        let mut hooks = dispatcher();
        let all: [Lane; 20] = lanes();
        for (number, lane) in all.iter().enumerate() {
            hooks.submit(call(number as u64, *lane, Kind::Message), at(0)).unwrap();
        }
        hooks.submit(call(100, all[0], Kind::Message), at(0)).unwrap();
        hooks.submit(call(101, all[0], Kind::Disconnect), at(0)).unwrap();
        assert_eq!(sent(&mut hooks, at(0)).len(), 20);
        let error = Response { status: 503, ..ok() };
        for number in 0..4 {
            assert_eq!(hooks.handle_response(number, error.clone(), at(1)).len(), 1);
        }
        assert_eq!(hooks.health, Health::Fine);
        let finished = hooks.handle_response(4, error.clone(), at(1));
        assert_eq!(hooks.health, Health::Failing("status 503".into()));
        assert_eq!(finished, [(4, down("status 503")), (100, down("status 503"))], "what waits does not wait longer");
        assert_eq!(hooks.submit(call(200, all[5], Kind::Connect), at(2)), Err(Failure::Down("status 503".into())));
        for number in 5..20 {
            hooks.handle_response(number, error.clone(), at(3));
        }
        // One is sent after a while, and only one.
        let probe = hooks.deadline();
        assert!(probe > at(500), "{probe:?}");
        assert_eq!(sent(&mut hooks, at(400)), [0; 0]);
        assert_eq!(sent(&mut hooks, probe), [101]);
        hooks.handle_response(101, ok(), probe);
        assert_eq!(hooks.health, Health::Fine);
        hooks.submit(call(300, all[7], Kind::Message), probe).unwrap();
        assert_eq!(sent(&mut hooks, probe), [300]);
        hooks.handle_response(300, ok(), probe);
        assert!(hooks.is_empty() && hooks.lanes.is_empty() && hooks.ready.is_empty());
    }

    /// A client that provokes errors does not close the backend for others.
    #[test]
    fn a_backend_that_says_no_is_alive() {
        let mut hooks = dispatcher();
        let [lane] = lanes();
        for (number, status) in [400, 404, 413, 422, 500, 500, 500, 501].into_iter().enumerate() {
            let number = number as u64;
            hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
            assert_eq!(sent(&mut hooks, at(0)), [number]);
            let finished = hooks.handle_response(number, Response { status, ..ok() }, at(1));
            assert_eq!(finished, [(number, down(&format!("status {status}")))]);
        }
        assert_eq!((hooks.failures, &hooks.health), (0, &Health::Fine));
        assert!(hooks.is_empty() && hooks.bytes == 0 && hooks.overdue.is_empty());
    }

    #[test]
    fn nobody_waits_for_ever_to_be_sent() {
        let mut hooks = dispatcher();
        let [one, two] = lanes();
        hooks.submit(call(1, one, Kind::Message), at(0)).unwrap();
        hooks.submit(call(2, two, Kind::Connect), at(0)).unwrap();
        assert_eq!(hooks.expire_waiting(at(5999)), []);
        assert_eq!(hooks.expire_waiting(at(6000)), [(2, Err(Failure::Busy))]);
        assert_eq!(hooks.expire_waiting(at(30_000)), [(1, Err(Failure::Busy))]);
        assert!(hooks.is_empty() && hooks.ready.is_empty() && hooks.deadline() == Time::NEVER);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut hooks = dispatcher();
        let all: [Lane; 100] = lanes();
        let large = |number, lane, kind| Call { body: "x".repeat(1_000_000).into(), ..call(number, lane, kind) };
        let taken = (0..10).filter(|number| hooks.submit(large(*number, all[0], Kind::Message), at(0)).is_ok()).count();
        assert_eq!(taken, 4);
        let taken = (10..110)
            .filter(|number| hooks.submit(large(*number, all[*number as usize - 10], Kind::Message), at(0)).is_ok())
            .count();
        assert!((60..68).contains(&(taken + 4)), "{taken}");
    }

    /// With nobody leaving there would be no call to try it with: the next one is let through when it is time.
    #[test]
    fn a_backend_is_tried_again_by_whoever_comes() {
        let mut hooks = dispatcher();
        let [lane] = lanes();
        for number in 0..5 {
            hooks.submit(call(number, lane, Kind::Message), at(0)).unwrap();
            assert_eq!(sent(&mut hooks, at(0)), [number]);
            hooks.handle_trouble(number, Trouble::Timeout, at(0));
        }
        assert!(hooks.submit(call(7, lane, Kind::Message), at(100)).is_err());
        assert_eq!(hooks.submit(call(8, lane, Kind::Message), at(60_000)), Ok(()));
        assert_eq!(sent(&mut hooks, at(60_000)), [8]);
        hooks.handle_response(8, ok(), at(60_001));
        assert_eq!(hooks.health, Health::Fine);
    }
}
