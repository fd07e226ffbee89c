//! Keys of requests that were accepted: a backend that repeats a request under its key gets the first answer again, and
//! nothing is sent a second time (docs/protocol.md, Repeating a request).
//!
//! Only accepted requests get here, so a stranger cannot fill the memory. Beyond [`MAX_KEYS`] the oldest keys of the source
//! that has the most are forgotten and counted, so that a busy source does not cost another one its keys.

use core::{
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    rc::Rc,
};

use sha2::{Digest, Sha256};

use super::{refusal::Refusal, tenant::TenantId};
use crate::clock::Time;

/// A request that has a key. Digests take the place of its fields: they are small, and equal only if the fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    key: Fingerprint,
    request: Fingerprint,
}

impl Keyed {
    /// A request of `source` under `key`; `None` if `key` is empty, because the request has none. `fields` are those that a
    /// repeated request must not change.
    pub fn new(source: &str, key: &str, fields: &[&[u8]]) -> Result<Option<Keyed>, Refusal> {
        match key.len() {
            0 => Ok(None),
            1..=MAX_LENGTH => {
                let key = fingerprint(&[source.as_bytes(), key.as_bytes()]);
                Ok(Some(Keyed { key, request: fingerprint(fields) }))
            }
            _ => Err(Refusal::FieldTooLong("idempotency_key", MAX_LENGTH)),
        }
    }
}

/// What was in the answer to the first request under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The number of sessions.
    pub sessions: usize,
    /// The receipt, a JSON object.
    pub receipt: Option<Rc<str>>,
}

/// The keys of the requests that were accepted less than [`LIFETIME`] ago.
pub struct AcceptedKeys {
    accepted: HashMap<Fingerprint, Accepted>,
    /// Bytes of all receipts.
    receipt_bytes: usize,
    /// The keys of each tenant that has any.
    queues: BTreeMap<TenantId, Queue>,
    /// The tenants by the length of their queue.
    by_length: BTreeSet<(usize, TenantId)>,
    /// Entries of all queues.
    len: usize,
    max: usize,
    /// The tenant whose expired keys were dropped last, see [`AcceptedKeys::expire`].
    hand: TenantId,
    /// How many were dropped before their time, since this was last taken.
    pub forgotten: u64,
}

/// The keys of a tenant, the oldest first. A key that was used again after its time is in it twice, until the older entry is
/// dropped.
type Queue = VecDeque<(Time, Fingerprint)>;

/// A request that was accepted.
struct Accepted {
    at: Time,
    request: Fingerprint,
    answer: FirstAnswer,
}

impl Default for AcceptedKeys {
    fn default() -> AcceptedKeys {
        AcceptedKeys {
            accepted: HashMap::new(),
            receipt_bytes: 0,
            queues: BTreeMap::new(),
            by_length: BTreeSet::new(),
            len: 0,
            max: MAX_KEYS,
            hand: TenantId(0),
            forgotten: 0,
        }
    }
}

impl AcceptedKeys {
    /// The answer to the first request under this key; `None` if there was none. Refused if that was another request.
    pub fn find(&self, keyed: &Keyed, now: Time) -> Result<Option<FirstAnswer>, Refusal> {
        match self.accepted.get(&keyed.key).filter(|accepted| !is_over(accepted.at, now)) {
            None => Ok(None),
            Some(accepted) if accepted.request == keyed.request => Ok(Some(accepted.answer.clone())),
            Some(_) => Err(Refusal::KeyReused),
        }
    }

    /// Adds a request of a tenant that is accepted now, with the number in its answer. Its key must not be
    /// [found](AcceptedKeys::find).
    pub fn insert(&mut self, tenant: TenantId, keyed: &Keyed, sessions: usize, now: Time) {
        self.expire(tenant, now);
        let next = self.queues.range((Excluded(self.hand), Unbounded)).next().or(self.queues.first_key_value());
        if let Some((next, _)) = next {
            self.hand = *next;
            if self.hand != tenant {
                self.expire(self.hand, now);
            }
        }
        if self.len >= self.max
            && let Some((_, fullest)) = self.by_length.last().copied()
        {
            self.change(fullest, drop_oldest);
            self.forgotten += 1;
        }
        let answer = FirstAnswer { sessions, receipt: None };
        let before = self.accepted.insert(keyed.key, Accepted { at: now, request: keyed.request, answer });
        self.receipt_bytes -= before.map_or(0, |before| before.receipt_bytes());
        self.change(tenant, |queue, _, _| queue.push_back((now, keyed.key)));
        // Moving what is left costs as much as dropping the others did.
        if self.accepted.capacity() > 4 * self.accepted.len() + SLACK {
            self.accepted.shrink_to(2 * self.accepted.len());
        }
    }

    /// Sets the receipt in the answer to a request that was [inserted](AcceptedKeys::insert). `short` takes its place if all
    /// receipts together would take too much memory.
    pub fn set_receipt(&mut self, keyed: &Keyed, receipt: &str, short: &str) {
        let Some(accepted) = self.accepted.get_mut(&keyed.key).filter(|accepted| accepted.request == keyed.request)
        else {
            return;
        };
        self.receipt_bytes -= accepted.receipt_bytes();
        let fits = receipt.len() <= short.len() || self.receipt_bytes + receipt.len() <= MAX_RECEIPT_BYTES;
        accepted.answer.receipt = Some(if fits { receipt } else { short }.into());
        self.receipt_bytes += accepted.receipt_bytes();
    }

    /// Bytes that they take, with the receipts.
    pub fn bytes(&self) -> usize {
        let entries = self.accepted.capacity() * size_of::<(Fingerprint, Accepted)>();
        entries + self.len * size_of::<(Time, Fingerprint)>() + self.receipt_bytes
    }

    /// Drops keys of a tenant that are over. A few at a time: after a pause, all of them may be over.
    fn expire(&mut self, tenant: TenantId, now: Time) {
        self.change(tenant, |queue, accepted, bytes| {
            for _ in 0..MAX_EXPIRED {
                if queue.front().is_none_or(|(at, _)| !is_over(*at, now)) {
                    break;
                }
                drop_oldest(queue, accepted, bytes);
            }
        });
    }

    /// Changes the queue of a tenant.
    fn change(
        &mut self,
        tenant: TenantId,
        change: impl FnOnce(&mut Queue, &mut HashMap<Fingerprint, Accepted>, &mut usize),
    ) {
        let queue = self.queues.entry(tenant).or_default();
        let before = queue.len();
        change(queue, &mut self.accepted, &mut self.receipt_bytes);
        if queue.capacity() > 4 * queue.len() + SLACK {
            queue.shrink_to(2 * queue.len());
        }
        let after = queue.len();
        if after == 0 {
            self.queues.remove(&tenant);
        }
        if after != before {
            self.by_length.remove(&(before, tenant));
            self.by_length.extend((after > 0).then_some((after, tenant)));
            self.len = self.len + after - before;
        }
    }
}

impl Accepted {
    fn receipt_bytes(&self) -> usize {
        self.answer.receipt.as_ref().map_or(0, |receipt| receipt.len())
    }
}

/// Drops the oldest entry of a queue. `bytes` are those of all receipts.
fn drop_oldest(queue: &mut Queue, accepted: &mut HashMap<Fingerprint, Accepted>, bytes: &mut usize) {
    let Some((at, key)) = queue.pop_front() else { return };
    if accepted.get(&key).is_some_and(|accepted| accepted.at == at)
        && let Some(dropped) = accepted.remove(&key)
    {
        *bytes -= dropped.receipt_bytes();
    }
}

/// Whether the time of a key that was accepted at `at` is over.
fn is_over(at: Time, now: Time) -> bool {
    at.after(LIFETIME) <= now
}

/// The first half of a SHA-256: nobody can find two texts for the same one.
type Fingerprint = [u8; 16];

/// The fingerprint of a list of fields.
fn fingerprint(fields: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for field in fields {
        // With its length, so that no border between two fields can move.
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

/// How long a key is remembered after its request was accepted.
pub const LIFETIME: Duration = Duration::from_secs(300);
/// The most keys that are remembered, of all sources together: at most 2 MB.
pub const MAX_KEYS: usize = 10_000;
/// Bytes of the receipts that are remembered, but for short ones.
const MAX_RECEIPT_BYTES: usize = 4 << 20;
/// Bytes of a key.
pub const MAX_LENGTH: usize = 128;
/// The most expired keys that one request drops.
const MAX_EXPIRED: usize = 64;
/// Unused places in the queue that are always tolerated, for each source.
const SLACK: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TenantId = TenantId(1);

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn keyed(source: &str, key: &str, data: &str) -> Keyed {
        Keyed::new(source, key, &[b"notify", b"room", data.as_bytes()]).unwrap().unwrap()
    }

    fn sessions(sessions: usize) -> Option<FirstAnswer> {
        Some(FirstAnswer { sessions, receipt: None })
    }

    #[test]
    fn receipts_take_a_bounded_memory() {
        let mut keys = AcceptedKeys { max: 8, ..AcceptedKeys::default() };
        let numbered: Vec<_> = (0..12).map(|n| keyed("demo", &n.to_string(), "x")).collect();
        let (large, short) = ("x".repeat(MAX_RECEIPT_BYTES / 5 - 100), "short");
        let receipt = |keys: &AcceptedKeys, n: usize| {
            keys.find(&numbered[n], at(1)).unwrap().and_then(|answer| answer.receipt).map(|receipt| receipt.len())
        };
        for (n, request) in numbered.iter().enumerate().take(8) {
            keys.insert(ONE, request, 0, at(0));
            assert_eq!(receipt(&keys, n), None);
            keys.set_receipt(request, "{}", short);
            keys.set_receipt(request, &large, short);
        }
        assert_eq!([4, 5, 7].map(|n| receipt(&keys, n)), [Some(large.len()), Some(5), Some(5)]);
        // Another request under the key has no part in it.
        keys.set_receipt(&keyed("demo", "0", "y"), "other", short);
        assert_eq!(receipt(&keys, 0), Some(large.len()));
        for request in &numbered[8..] {
            keys.insert(ONE, request, 0, at(1));
            keys.set_receipt(request, &large, short);
        }
        assert_eq!(
            [3, 4, 8, 11].map(|n| receipt(&keys, n)),
            [None, Some(large.len()), Some(large.len()), Some(large.len())]
        );
        assert_eq!(keys.receipt_bytes, 5 * large.len() + 3 * short.len());
        keys.insert(ONE, &numbered[4], 0, at(301));
        assert_eq!(keys.receipt_bytes, 0, "all others are over, and this one has no receipt yet");
    }

    #[test]
    fn a_key_lives_for_300_seconds() {
        let mut keys = AcceptedKeys::default();
        let request = keyed("demo", "k", "x");
        assert_eq!(keys.find(&request, at(7)), Ok(None));
        keys.insert(ONE, &request, 5, at(7));
        let last = Time::from_micros(at(307).micros() - 1);
        for now in [at(7), at(100), last] {
            assert_eq!(keys.find(&request, now), Ok(sessions(5)));
            assert_eq!(keys.find(&keyed("demo", "k", "y"), now), Err(Refusal::KeyReused));
        }
        for other in [keyed("other", "k", "x"), keyed("demo", "K", "x")] {
            assert_eq!(keys.find(&other, at(8)), Ok(None), "a key of its own");
        }
        // A repetition does not prolong it.
        assert_eq!(keys.find(&request, at(307)), Ok(None));
        let other = keyed("demo", "k", "y");
        assert_eq!(keys.find(&other, at(307)), Ok(None));
        keys.insert(ONE, &other, 6, at(307));
        assert_eq!(keys.find(&other, at(606)), Ok(sessions(6)));
        assert_eq!((keys.accepted.len(), keys.len, keys.forgotten), (1, 1, 0));
    }

    #[test]
    fn the_border_between_fields_counts() {
        let parts = |fields: &[&[u8]]| Keyed::new("demo", "k", fields).unwrap().unwrap();
        assert_ne!(parts(&[b"a", b"bc"]), parts(&[b"ab", b"c"]));
        assert_ne!(parts(&[b"a", b""]), parts(&[b"a"]));
        assert_eq!(parts(&[b"a", b"bc"]), parts(&[b"a", b"bc"]));
        assert_ne!(keyed("a", "bc", "x"), keyed("ab", "c", "x"));
    }

    #[test]
    fn keys_are_bounded() {
        let request = |length: usize| Keyed::new("demo", &"k".repeat(length), &[]);
        assert_eq!(request(0), Ok(None));
        assert!(request(1).unwrap().is_some() && request(128).unwrap().is_some());
        assert_eq!(request(129), Err(Refusal::FieldTooLong("idempotency_key", 128)));
    }

    #[test]
    fn the_oldest_are_forgotten_at_the_bound() {
        let mut keys = AcceptedKeys { max: 3, ..AcceptedKeys::default() };
        let numbered: Vec<_> = (0..6).map(|n| keyed("demo", &n.to_string(), "x")).collect();
        for (n, request) in numbered.iter().enumerate().take(5) {
            keys.insert(ONE, request, n, at(n as u64));
        }
        let found: Vec<_> = numbered.iter().map(|request| keys.find(request, at(5)).unwrap()).collect();
        assert_eq!(found, [None, None, sessions(2), sessions(3), sessions(4), None]);
        assert_eq!((keys.accepted.len(), keys.len, keys.forgotten), (3, 3, 2));
        // One that is over is not forgotten early.
        keys.insert(ONE, &numbered[5], 5, at(302));
        assert_eq!((keys.accepted.len(), keys.len, keys.forgotten), (3, 3, 2));
        assert_eq!(AcceptedKeys::default().max, 10_000);
    }

    /// A source that uses many keys does not push out those of others, and expired keys of an idle source count for nobody.
    #[test]
    fn the_source_with_the_most_keys_loses_the_oldest() {
        let mut keys = AcceptedKeys { max: 6, ..AcceptedKeys::default() };
        let (quiet, busy, late) = (TenantId(7), TenantId(2), TenantId(9));
        let numbered: Vec<_> = (0..100).map(|n| keyed("busy", &n.to_string(), "x")).collect();
        let rare = [keyed("quiet", "1", "x"), keyed("quiet", "2", "x"), keyed("late", "1", "x")];
        keys.insert(quiet, &rare[0], 1, at(0));
        keys.insert(quiet, &rare[1], 1, at(0));
        numbered.iter().for_each(|request| keys.insert(busy, request, 1, at(1)));
        keys.insert(late, &rare[2], 1, at(2));
        assert!(rare.iter().all(|request| keys.find(request, at(2)) == Ok(sessions(1))));
        let kept = numbered.iter().filter(|request| keys.find(request, at(2)) == Ok(sessions(1))).count();
        assert_eq!((kept, keys.len, keys.accepted.len(), keys.forgotten), (3, 6, 6, 97));
        // Those of the quiet source are over now, and make place.
        for n in 0..3 {
            keys.insert(late, &keyed("late", &format!("new {n}"), "x"), 1, at(300));
        }
        assert!(!keys.queues.contains_key(&quiet) && keys.forgotten <= 99);
        let lengths = keys.queues.iter().map(|(tenant, queue)| (queue.len(), *tenant));
        assert_eq!(keys.by_length, lengths.collect());
        assert_eq!(keys.len, keys.by_length.iter().map(|(length, _)| length).sum::<usize>());
    }

    /// One request drops a limited number of keys, and a key that is used again meanwhile stays.
    #[test]
    fn memory_is_freed_step_by_step() {
        let mut keys = AcceptedKeys::default();
        let numbered: Vec<_> = (0..MAX_KEYS).map(|n| keyed("demo", &n.to_string(), "x")).collect();
        for request in &numbered {
            keys.insert(ONE, request, 1, at(0));
        }
        let full = keys.queues[&ONE].capacity();
        let again = &numbered[MAX_KEYS - 1];
        assert_eq!(keys.find(again, at(300)), Ok(None));
        keys.insert(ONE, again, 2, at(300));
        assert_eq!((keys.len, keys.accepted.len()), (MAX_KEYS - MAX_EXPIRED + 1, MAX_KEYS - MAX_EXPIRED));
        for n in 0..MAX_KEYS / MAX_EXPIRED {
            keys.insert(ONE, &keyed("demo", &format!("new {n}"), "x"), 3, at(301));
        }
        let left = 1 + MAX_KEYS / MAX_EXPIRED;
        assert_eq!((keys.len, keys.accepted.len(), keys.forgotten), (left, left, 0));
        assert_eq!(keys.find(again, at(301)), Ok(sessions(2)));
        assert!(keys.queues[&ONE].capacity() < full / 4 && keys.accepted.capacity() < full / 4);
    }
}
