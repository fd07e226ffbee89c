//! The queue of calls: decides which call is sent when.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    answer::Answer,
    breaker::{Breaker, Epoch},
    call::{Call, Kind, Lane},
    failure::{AttemptError, Failure, is_gateway_error},
    lanes::Lanes,
    retry::{Attempts, Delivery, Retry},
};
use crate::{clock::Time, health::Health, http::response::Response};

/// A finished call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its number.
    pub number: u64,
    /// The body of the answer, or the failure.
    pub result: Result<Vec<u8>, Failure>,
}

impl Finished {
    /// The parsed answer. An invalid body counts as a refusal. It occurs only in answers to disconnects, which are
    /// ignored; for other calls it is a [`Failure`].
    pub fn answer(&self) -> Result<Answer<'_>, &Failure> {
        let refusal = |_| Answer { allow: false, ..Answer::default() };
        self.result.as_ref().map(|body| Answer::parse(body).unwrap_or_else(refusal))
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Attempts to send a call.
    pub sent: u64,
    /// Attempts after a call's first.
    pub retried: u64,
    /// Calls that got no usable answer.
    pub failed: u64,
    /// Calls that were dropped because too many were waiting. They count as failed as well.
    pub dropped: u64,
}

/// The calls that wait or are in flight.
#[derive(Default)]
pub struct Dispatcher {
    timeout: Duration,
    most: usize,
    calls: HashMap<u64, Entry>,
    lanes: Lanes,
    /// The lanes whose first call is retried, by the time of the retry and the number of the call.
    retries: BTreeMap<(Time, u64), Lane>,
    /// Calls in flight, by their deadlines.
    sent: BTreeSet<(Time, u64)>,
    /// Connects and messages, by the time at which they fail unless they are in flight then.
    overdue: BTreeSet<(Time, u64)>,
    bytes: usize,
    /// Whether a call was dropped since the queue was last half empty.
    overloaded: bool,
    breaker: Breaker,
    /// Counters since the start.
    pub stats: Stats,
}

struct Entry {
    call: Call,
    attempts: u32,
    since: Time,
    /// When the attempt that is in flight times out.
    deadline: Option<Time>,
    /// The last attempt, as the breaker sees it.
    epoch: Epoch,
    /// When the next attempt is due: the key in [`Dispatcher::retries`].
    retry: Option<Time>,
    /// When the call fails unless it is in flight then.
    overdue: Option<Time>,
}

impl Dispatcher {
    /// Sets the time limit of an attempt, and the limit of calls that wait or are in flight.
    pub fn configure(&mut self, timeout: Duration, most: usize) {
        self.timeout = timeout;
        self.most = most;
    }

    /// Closes the breaker and forgets all failures, because another backend is configured now, or none.
    pub fn reset(&mut self, configured: bool) {
        self.breaker.configure(configured);
    }

    /// The number of calls that wait or are in flight.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no call waits or is in flight.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether the backend answers.
    pub fn health(&self) -> &Health {
        self.breaker.health()
    }

    /// The kind of an unfinished call.
    pub fn kind(&self, number: u64) -> Option<Kind> {
        self.calls.get(&number).map(|entry| entry.call.kind)
    }

    /// Whether calls are being dropped because too many are waiting, in all lanes together.
    pub fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Queues a call, or returns the failure with which it fails at once.
    pub fn submit(&mut self, call: Call, now: Time) -> Result<(), Failure> {
        let size = call.size();
        // Messages leave a tenth of the queue for connects. A disconnect is the only one and the last call of its
        // session, so there may be twice as many calls as otherwise.
        let (calls, bytes) = match call.kind {
            Kind::Message => (self.most - self.most / 10, MOST_BYTES - MOST_BYTES / 10),
            Kind::Connect => (self.most, MOST_BYTES),
            Kind::Disconnect => (self.most * 2, MOST_BYTES),
        };
        let full = self.calls.len() >= calls || self.bytes + size > bytes;
        let (waiting, held) = self.lanes.size(call.lane);
        let lane_full = waiting >= MOST_IN_LANE || (waiting > 0 && held + size > MOST_LANE_BYTES);
        self.overloaded |= full;
        if full || (lane_full && call.kind != Kind::Disconnect) {
            self.stats.failed += 1;
            self.stats.dropped += 1;
            return Err(Failure::Busy);
        }
        if let Some(failure) = self.breaker.rejects(now).filter(|_| call.kind != Kind::Disconnect) {
            self.stats.failed += 1;
            return Err(failure.clone());
        }
        self.lanes.push(call.lane, call.number, size);
        self.bytes += size;
        let overdue = match call.kind {
            Kind::Connect => Some(now.after(self.timeout * 2)),
            Kind::Message => Some(now.after(self.timeout * 10)),
            Kind::Disconnect => None,
        };
        self.overdue.extend(overdue.map(|at| (at, call.number)));
        let entry =
            Entry { call, attempts: 0, since: now, deadline: None, epoch: Epoch::default(), retry: None, overdue };
        self.calls.insert(entry.call.number, entry);
        Ok(())
    }

    /// Whether a call could be sent now if there were a connection.
    pub fn has_ready(&self) -> bool {
        self.lanes.has_ready() && self.sent.len() < MOST_SENT && self.breaker.open_until().is_none()
    }

    /// Whether [`Dispatcher::poll_send`] returns a call.
    pub fn can_send(&self, now: Time) -> bool {
        let due = self.retries.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        self.may_send(now) && (self.lanes.has_ready() || due)
    }

    fn may_send(&self, now: Time) -> bool {
        self.sent.len() < MOST_SENT && self.breaker.allows(now)
    }

    /// The next call to be sent.
    pub fn poll_send(&mut self, now: Time) -> Option<&Call> {
        if !self.may_send(now) {
            return None;
        }
        while let Some(first) = self.retries.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, number), lane) = first.remove_entry();
            if let Some(entry) = self.calls.get_mut(&number) {
                entry.retry = None;
            }
            self.lanes.mark_ready(lane);
        }
        let number = self.lanes.next_ready()?;
        let entry = self.calls.get_mut(&number)?;
        entry.attempts += 1;
        entry.epoch = self.breaker.begin_attempt(number);
        let deadline = now.after(self.timeout);
        entry.deadline = Some(deadline);
        self.sent.insert((deadline, number));
        self.stats.sent += 1;
        self.stats.retried += u64::from(entry.attempts > 1);
        Some(&entry.call)
    }

    /// Handles the response to a call. Only 502 to 504 count as failures of the backend: with other statuses it is
    /// alive and refuses this call, and the calls of one client must not open the breaker for all.
    pub fn handle_response(&mut self, number: u64, response: Response, now: Time) -> Vec<Finished> {
        match response.status {
            200..300 => match Answer::parse(&response.body) {
                Err(error) if self.kind(number) != Some(Kind::Disconnect) => {
                    self.reject(number, Failure::BadAnswer(error))
                }
                _ => {
                    self.breaker.close();
                    self.finish(number, Ok(response.body)).into_iter().collect()
                }
            },
            status if is_gateway_error(status) => self.fail(number, Failure::Status(status), Delivery::MaybeSent, now),
            status => self.reject(number, Failure::Status(status)),
        }
    }

    fn reject(&mut self, number: u64, failure: Failure) -> Vec<Finished> {
        self.breaker.close();
        self.stats.failed += 1;
        self.finish(number, Err(failure)).into_iter().collect()
    }

    /// Handles an attempt without a response.
    pub fn handle_attempt_error(&mut self, number: u64, error: AttemptError, now: Time) -> Vec<Finished> {
        let delivery = match error {
            AttemptError::NoConnection(_) => Delivery::NotSent,
            AttemptError::Stale => Delivery::ProbablyNotSent,
            AttemptError::Timeout | AttemptError::Tls(_) | AttemptError::NotHttp(_) => Delivery::MaybeSent,
        };
        self.fail(number, error.into(), delivery, now)
    }

    /// Fails calls that have waited too long to be sent.
    pub fn expire_waiting(&mut self, now: Time) -> Vec<Finished> {
        let mut finished = Vec::new();
        while let Some(first) = self.overdue.first().copied().filter(|(at, _)| *at <= now) {
            self.overdue.remove(&first);
            // A call in flight has a deadline of its own.
            if self.calls.get(&first.1).is_some_and(|entry| entry.deadline.is_none()) {
                self.stats.failed += 1;
                finished.extend(self.finish(first.1, Err(Failure::Busy)));
            }
        }
        finished
    }

    /// A call in flight that has timed out: close its connection and report the error.
    pub fn poll_expired(&mut self, now: Time) -> Option<u64> {
        self.sent.first().filter(|(deadline, _)| *deadline <= now).map(|(_, number)| *number)
    }

    /// When the next call times out, in flight or waiting.
    pub fn expiry(&self) -> Time {
        let first = |calls: &BTreeSet<(Time, u64)>| calls.first().map_or(Time::NEVER, |(at, _)| *at);
        first(&self.sent).min(first(&self.overdue))
    }

    /// The next deadline: a time-out, a retry, or a call that can be sent.
    pub fn deadline(&self) -> Time {
        // No call can be sent before one in flight ends.
        if self.sent.len() >= MOST_SENT || self.breaker.is_testing() {
            return self.expiry();
        }
        let next = match (self.lanes.has_ready(), self.retries.first_key_value()) {
            (true, _) => Time::START,
            (false, Some(((at, _), _))) => *at,
            (false, None) => return self.expiry(),
        };
        self.expiry().min(next.max(self.breaker.open_until().unwrap_or(Time::START)))
    }

    fn fail(&mut self, number: u64, failure: Failure, delivery: Delivery, now: Time) -> Vec<Finished> {
        let Some(entry) = self.calls.get(&number) else { return Vec::new() };
        let (lane, epoch) = (entry.call.lane, entry.epoch);
        let attempts = Attempts { kind: entry.call.kind, count: entry.attempts, since: entry.since };
        let mut finished = Vec::new();
        match attempts.retry(delivery, self.timeout, now) {
            Retry::AtOnce => {
                self.end_attempt(number);
                self.lanes.mark_next(lane);
                return finished;
            }
            Retry::After(pause) => {
                self.end_attempt(number);
                let at = now.after(pause);
                self.retries.insert((at, number), lane);
                if let Some(entry) = self.calls.get_mut(&number) {
                    entry.retry = Some(at);
                }
            }
            Retry::Never => {
                self.stats.failed += 1;
                finished.extend(self.finish(number, Err(failure.clone())));
            }
        }
        if self.breaker.record(&failure, epoch, number, now) {
            finished.extend(self.fail_waiting(&failure));
        }
        finished
    }

    /// Fails the waiting calls, because clients should not wait for a backend that is down. Disconnects stay in the
    /// queue. Takes time for each call that it fails, not for the others in the queue.
    fn fail_waiting(&mut self, failure: &Failure) -> Vec<Finished> {
        let waits = |number: &u64| self.calls.get(number).is_some_and(|entry| entry.deadline.is_none());
        let mut numbers: Vec<u64> = self.overdue.iter().map(|(_, number)| *number).filter(waits).collect();
        numbers.sort_unstable();
        self.stats.failed += numbers.len() as u64;
        numbers.into_iter().filter_map(|number| self.finish(number, Err(failure.clone()))).collect()
    }

    /// Ends an attempt, but not the call.
    fn end_attempt(&mut self, number: u64) {
        let Some(entry) = self.calls.get_mut(&number) else { return };
        if let Some(deadline) = entry.deadline.take() {
            self.sent.remove(&(deadline, number));
            self.breaker.end_attempt(number);
        }
        // It was removed if its time passed while the attempt was in flight.
        self.overdue.extend(entry.overdue.map(|at| (at, number)));
    }

    fn finish(&mut self, number: u64, result: Result<Vec<u8>, Failure>) -> Option<Finished> {
        self.end_attempt(number);
        let entry = self.calls.remove(&number)?;
        let size = entry.call.size();
        self.bytes -= size;
        if let Some(at) = entry.overdue {
            self.overdue.remove(&(at, number));
        }
        if let Some(at) = entry.retry {
            self.retries.remove(&(at, number));
        }
        self.lanes.remove(entry.call.lane, number, size);
        self.overloaded &= self.calls.len() > self.most / 2 || self.bytes > MOST_BYTES / 2;
        Some(Finished { number, result })
    }
}

/// Calls in flight at a time. Each has a connection of its own.
const MOST_SENT: usize = 32;
/// Calls of one lane that may wait.
const MOST_IN_LANE: usize = 500;
/// Bytes of calls that may wait or be in flight, of one lane and in all, with all that is kept for them.
const MOST_LANE_BYTES: usize = 4 * 1024 * 1024;
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
