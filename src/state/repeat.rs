//! Requests that backends repeat under an `idempotency_key` (docs/protocol.md, Repeating a request).

use core::mem;

use super::{
    idempotency::{FirstAnswer, Keyed},
    refusal::Refusal,
    registry::State,
    signature::Verified,
    tenant::TenantId,
};
use crate::clock::Now;

impl State {
    /// The answer to an accepted request that this one repeats; `None` if it is the first under its key, or has none. Call it only for a request whose signature or token is right, and before [`State::accept`], which refuses the
    /// signature of a repeated request.
    pub fn find_repeated(
        &mut self,
        tenant: TenantId,
        verified: Verified,
        keyed: Option<&Keyed>,
        now: Now,
    ) -> Result<Option<FirstAnswer>, Refusal> {
        let Some(keyed) = keyed else { return Ok(None) };
        let found = self.accepted_keys.find(keyed, now.time)?;
        if found.is_some() {
            // Whoever saw a request that was signed anew for the repetition could otherwise send it without the key.
            self.use_up(tenant, verified, now);
            self.stats.idempotency_repeated += 1;
        }
        Ok(found)
    }

    /// Remembers that a request of a tenant was accepted, with the number in its answer.
    pub fn remember(&mut self, tenant: TenantId, keyed: &Keyed, sessions: usize, now: Now) {
        self.accepted_keys.insert(tenant, keyed, sessions, now.time);
        self.stats.idempotency_forgotten += mem::take(&mut self.accepted_keys.forgotten);
    }

    /// Bytes of what is remembered about accepted requests: of keys with their receipts, and of signatures.
    pub fn remembered_bytes(&self) -> (usize, usize) {
        (self.accepted_keys.bytes(), self.used.bytes())
    }

    /// Sets the receipt in the answer to a request that is [remembered](State::remember). If there is no memory for it, `short`
    /// takes its place.
    pub fn remember_receipt(&mut self, keyed: &Keyed, receipt: &str, short: &str) {
        self.accepted_keys.set_receipt(keyed, receipt, short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Time,
        sign::{Signature, Subject, to_hex},
        state::testing::{CONFIG, state},
    };

    #[test]
    fn a_repetition_uses_its_signature_up() {
        let mut state = state(CONFIG);
        let tenant = state.tenant("one").unwrap();
        let now = Now { unix: 1000, ..Now::default() };
        let subject = Subject::Notify { source: "one", room_id: "room", data: b"x" };
        let verify = |state: &State, ts: &str| {
            let hex = to_hex(&subject.hmac(b"key", ts));
            state.verify(tenant, &subject, &Signature::new(&hex, "hmac-sha256", ts), now).unwrap()
        };
        let keyed = Keyed::new("one", "k", &[b"x"]).unwrap().unwrap();
        let (first, anew) = (verify(&state, "1000"), verify(&state, "1001"));
        assert_eq!(state.find_repeated(tenant, first, Some(&keyed), now), Ok(None));
        assert_eq!(state.accept(tenant, first, now), Ok(()));
        state.remember(tenant, &keyed, 3, now);
        for verified in [first, anew] {
            assert_eq!(
                state.find_repeated(tenant, verified, Some(&keyed), now),
                Ok(Some(FirstAnswer { sessions: 3, receipt: None }))
            );
        }
        assert_eq!((state.stats.idempotency_repeated, state.stats.signatures_replayed), (2, 0));
        assert_eq!(state.accept(tenant, anew, now), Err(Refusal::Replayed));
        let later = Now { time: Time::from_micros(300_000_000), ..now };
        assert_eq!(state.find_repeated(tenant, first, Some(&keyed), later), Ok(None));
    }
}
