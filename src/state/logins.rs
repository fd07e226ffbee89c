//! Checks of logins, and what they allow (docs/protocol.md, Logins that expire).

use super::{grant::Grant, refusal::Refusal, registry::State, tenant::TenantId};
use crate::{
    clock::Now,
    key::SessionKey,
    sign::{Claims, Signature, Subject, TokenError},
};

impl State {
    /// Checks the token of a login with the keys of the tenant.
    pub fn verify_token(&self, tenant: TenantId, token: &str, now: Now) -> Result<Claims, Refusal> {
        let source = self.tenants[tenant.index()].source.as_ref();
        let policy = source.and_then(|source| source.jwt.as_ref()).ok_or(TokenError::NotAccepted);
        policy.and_then(|policy| policy.verify(token, now.unix)).map_err(Refusal::TokenWrong)
    }

    /// Checks the signature of a login. Returns what it allows, if that is less than usual or ends.
    pub fn verify_login(
        &self,
        tenant: TenantId,
        subject: &Subject<'_>,
        signature: &Signature<'_>,
        now: Now,
    ) -> Result<Option<Grant>, Refusal> {
        self.verify(tenant, subject, signature, now)?;
        let Subject::Connect { userid, .. } = *subject else { return Ok(None) };
        let terms = signature.check_terms(now.unix).map_err(Refusal::ConnectSignWrong)?;
        if terms.expires.is_none() && !terms.read_only {
            return Ok(None);
        }
        Ok(Some(Grant { userid: userid.into(), expires: terms.expires, rooms: None, may_post: !terms.read_only }))
    }

    /// Sets what the login of a session allows.
    pub fn set_grant(&mut self, key: SessionKey, grant: Grant, now: Now) {
        let warning = self.config.expiry_warning;
        self.grants.set(key, grant, warning, now);
    }

    /// Whether the login of a session allows it to send messages to others.
    pub fn check_may_post(&self, key: SessionKey) -> Result<(), Refusal> {
        match self.grants.get(key) {
            Some(grant) if !grant.may_post => Err(Refusal::ReadOnly),
            _ => Ok(()),
        }
    }
}
