//! Checks of signatures with the keys of sources (docs/protocol.md, Signatures).

use core::{mem, time::Duration};

use log::{Level, debug, log_enabled};

use super::{refusal::Refusal, registry::State, tenant::TenantId};
use crate::{
    clock::Now,
    sign::{Explanation, Mark, Policy, Scheme, SignError, Signature, Subject, explain},
};

/// The reader of the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The request has the admin token.
    Operator,
    /// Anyone. With a public demo key there is nothing to protect.
    Stranger,
}

/// The proof that a signature is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified(Option<Mark>);

impl Verified {
    /// For what needs no signature.
    pub const UNSIGNED: Verified = Verified(None);
}

impl State {
    /// Whether `signature` is a valid signature of `subject` with the tenant's key (docs/protocol.md, Signatures). A field
    /// with a control character is refused in any case. [Accept](State::accept) the result before you publish or emit the
    /// message.
    pub fn verify(
        &self,
        tenant: TenantId,
        subject: &Subject<'_>,
        signature: &Signature<'_>,
        now: Now,
    ) -> Result<Verified, Refusal> {
        let wrong = match subject {
            Subject::Connect { .. } => Refusal::ConnectSignWrong,
            Subject::Notify { .. } | Subject::Emit { .. } => Refusal::NotifySignWrong,
        };
        if let Some(field) = subject.control_field(signature.scheme.unwrap_or(Scheme::HmacSha256)) {
            return Err(Refusal::ControlCharacter(field));
        }
        let source = self.tenants[tenant.index()].source.as_ref().ok_or(wrong(SignError::Mismatch))?;
        let key = source.sign_key.expose().as_bytes();
        let (schemes, window) = (source.sign.accepted(subject), self.config.sign_window.as_secs());
        let policy = Policy { key, schemes, window, unix: now.unix };
        match subject.verify(signature, &policy) {
            Ok(()) => Ok(Verified(signature.mark())),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Explains a refused signature to `reader`, and to the log at level debug. `None` if the reader may not read it, if the
    /// signature was not the reason for the refusal, or if too many were explained to strangers.
    pub fn explain(
        &mut self,
        subject: &Subject<'_>,
        signature: &Signature<'_>,
        refusal: Refusal,
        reader: Reader,
    ) -> Option<Explanation> {
        let (Refusal::ConnectSignWrong(_) | Refusal::NotifySignWrong(_)) = refusal else { return None };
        let (Subject::Connect { source, .. } | Subject::Notify { source, .. } | Subject::Emit { source, .. }) =
            *subject;
        let is_logged = log_enabled!(Level::Debug);
        let known = self.config.sources.get(source)?;
        let (key, is_public) = (known.sign_key.expose(), known.has_demo_key());
        if !is_logged && !is_public && reader == Reader::Stranger {
            return None;
        }
        // An operator can read the configuration. Everybody else can cause work, so that is rare.
        if reader == Reader::Stranger && self.explained.pass(EXPLANATION_INTERVAL, self.now.time).is_none() {
            return None;
        }
        let others = self.config.sources.iter().filter(|(name, _)| *name != source);
        let others = others.map(|(name, source)| (name.as_str(), source.sign_key.expose().as_bytes()));
        // The log is for operators, too.
        let all = if reader == Reader::Operator || !is_public { usize::MAX } else { 0 };
        let explanation = explain(subject, signature, key.as_bytes(), others.take(all));
        debug!("sign of the source {source:?} refused: {explanation}");
        (is_public || reader == Reader::Operator).then_some(explanation)
    }

    /// Uses up a signature, right before the message or the event is sent: what is refused for another reason may be
    /// sent again once it is corrected. Refused if the signature was used before, unless the source allows that.
    pub fn accept(&mut self, tenant: TenantId, verified: Verified, now: Now) -> Result<(), Refusal> {
        if !self.use_up(tenant, verified, now) {
            self.stats.signatures_replayed += 1;
            return Err(Refusal::Replayed);
        }
        Ok(())
    }

    /// Remembers that a signature was used. Returns whether it may be used for a message or an event.
    pub(super) fn use_up(&mut self, tenant: TenantId, verified: Verified, now: Now) -> bool {
        let refuses = self.tenants[tenant.index()].source.as_ref().is_some_and(|source| !source.allow_replay);
        let Some(mark) = verified.0.filter(|_| refuses) else { return true };
        let oldest = now.unix.saturating_sub(self.config.sign_window.as_secs());
        let is_new = self.used.insert(mark, oldest);
        self.stats.signatures_forgotten += mem::take(&mut self.used.forgotten);
        is_new
    }
}

/// The least time between two explanations to strangers: each takes up to some milliseconds.
const EXPLANATION_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{CONFIG, config, state};

    #[test]
    fn a_signature_is_used_once() {
        let mut state = state(CONFIG);
        let tenant = state.tenant("one").unwrap();
        let now = Now { unix: 1000, ..Now::default() };
        let subject = Subject::Notify { source: "one", room_id: "room", data: b"x\ny" };
        let hex = crate::sign::to_hex(&subject.hmac(b"key", "1000"));
        let upper = hex.to_uppercase();
        let verified = |state: &State, hex| {
            state.verify(tenant, &subject, &Signature::new(hex, "hmac-sha256", "1000"), now).expect("it is right")
        };
        let first = verified(&state, &hex);
        // Nothing is remembered until it is accepted.
        assert_eq!(verified(&state, &hex), first);
        assert_eq!(state.accept(tenant, first, now), Ok(()));
        let again = verified(&state, &upper);
        assert_eq!(state.accept(tenant, again, now), Err(Refusal::Replayed));
        assert_eq!((state.stats.signatures_replayed, state.stats.signatures_forgotten), (1, 0));
        // md5 has no time, so it cannot be refused.
        let md5 = crate::sign::to_hex(&subject.md5(b"key"));
        let md5 = state.verify(tenant, &subject, &Signature::new(&md5, "", ""), now).unwrap();
        assert_eq!((state.accept(tenant, md5, now), state.accept(tenant, md5, now)), (Ok(()), Ok(())));
        state.reload(config(&CONFIG.replacen("\"key\"", "\"key\"\nreplay = \"allow\"", 1)));
        assert_eq!(state.accept(tenant, again, now), Ok(()));
    }

    #[test]
    fn refusals_of_signatures() {
        let state = state(CONFIG);
        let tenant = state.tenant("one").unwrap();
        let verify = |subject: Subject<'_>, kind| {
            state.verify(tenant, &subject, &Signature::new("0", kind, "0"), Now::default()).unwrap_err()
        };
        let connect = |userid, room_ids| Subject::Connect { source: "one", userid, room_ids };
        let control = Refusal::ControlCharacter;
        let wrong = Refusal::ConnectSignWrong(SignError::Digits(Scheme::Md5));
        assert_eq!(verify(connect("7", "r"), "md5"), wrong);
        assert_eq!(verify(connect("7\n", "r"), "md5"), wrong, "md5 does not cover the user");
        assert_eq!(verify(connect("7", "r"), "other"), Refusal::ConnectSignWrong(SignError::Scheme));
        assert_eq!(verify(connect("7\n", "r"), "hmac-sha256"), control("userid"));
        assert_eq!(verify(connect("7", "r\n"), "other"), control("room_ids"));
        let notify = verify(Subject::Notify { source: "one", room_id: "r", data: b"x" }, "");
        assert_eq!(notify, Refusal::NotifySignWrong(SignError::Digits(Scheme::Md5)));
    }
}
