//! The check of the admin token (docs/protocol.md, The admin token).

use log::warn;

use super::{
    access::client_ip,
    context::Context,
    guesses::{BURST, client_network},
};
use crate::{
    config::DEMO_TOKEN,
    http::{Fields, Head, Reply},
    sign::{
        same_secret,
        token::{self, is_like_token},
    },
    state::Reader,
};

/// Checks the admin token: a bearer token (RFC 6750), `token=` in the query, or else `token` from the body.
///
/// Fails with 401 if it is missing or wrong, and with 429 after too many wrong ones. Requests from the loopback address
/// need the token too, since a proxy on the same host makes all requests local.
pub fn gate(head: &Head<'_>, token: &str, cx: &mut Context<'_>) -> Result<(), Reply> {
    let fields = head.fields();
    let token = given(head, fields.get("token"), token);
    let refused = |status, why: &str| Reply::refusal(status, why).with("Cache-Control", "no-store");
    if token.is_empty() {
        return Err(refused(401, WRONG).with("WWW-Authenticate", "Bearer"));
    }
    let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
    let network = client_network(ip);
    let right = same_secret(token.as_bytes(), cx.site.admin_token.as_bytes());
    // A long token cannot be guessed, so it works during a lock-out: an attacker behind the same proxy or NAT must not be
    // able to lock operators out.
    if right && token.len() >= UNGUESSABLE_LEN {
        return Ok(());
    }
    if let Some(wait) = cx.guesses.wait(network, cx.now.time) {
        let seconds = wait.as_secs() + 1;
        return Err(refused(429, &format!("too many wrong admin tokens: try again in {seconds} s"))
            .with("Retry-After", seconds.to_string()));
    }
    if right {
        return Ok(());
    }
    cx.hub.state.stats.tokens_wrong += 1;
    if cx.guesses.record(network, cx.now.time)
        && let Some(left_out) = cx.guesses.may_warn(cx.now.time)
    {
        let from = ip.map_or_else(|| "a unix socket".to_owned(), |ip| ip.to_string());
        let others = if left_out > 0 { format!(" ({left_out} such warnings were left out)") } else { String::new() };
        warn!("{BURST} wrong admin tokens from {from}: further attempts are delayed{others}");
    }
    Err(refused(401, WRONG).with("WWW-Authenticate", "Bearer"))
}

/// Checks the token of a backend's request that is not signed: the admin token, or [`DEMO_TOKEN`] if all `sources` have
/// public demo keys, since anybody can sign for these. A source that does not exist is refused later, by its own text.
pub fn gate_backend<'s>(
    head: &Head<'_>,
    token: &str,
    sources: impl IntoIterator<Item = &'s str>,
    cx: &mut Context<'_>,
) -> Result<(), Reply> {
    let is_public = |source| cx.hub.state.known_tenant(source).is_none_or(|tenant| cx.hub.state.has_demo_key(tenant));
    if given(head, head.fields().get("token"), token) == DEMO_TOKEN && sources.into_iter().all(is_public) {
        return Ok(());
    }
    gate(head, token, cx)
}

/// The token that counts: that of the header, else that of the query, else that of the body.
fn given<'a>(head: &Head<'a>, query: &'a str, body: &'a str) -> &'a str {
    bearer(head).unwrap_or(if query.is_empty() { body } else { query })
}

/// The reader of the answer: an operator, if the request has the admin token in its header. A wrong token is counted.
pub fn reader(head: &Head<'_>, cx: &mut Context<'_>) -> Reader {
    // The public token is no guess.
    let token = bearer(head).filter(|token| *token != DEMO_TOKEN && !is_like_token(token));
    match token.is_some() && gate(head, "", cx).is_ok() {
        true => Reader::Operator,
        false => Reader::Stranger,
    }
}

/// Whether a request has an admin token, right or wrong, in its header or its query.
pub fn has_token(head: &Head<'_>) -> bool {
    bearer(head).is_some() || !head.fields().get("token").is_empty()
}

/// The token of a login: the field `jwt`, or else a bearer token that looks like one and not like the admin token.
pub fn login_token<'a>(head: &Head<'a>, fields: &'a Fields<'_>) -> &'a str {
    match fields.get(token::FIELD) {
        "" => bearer(head).filter(|bearer| is_like_token(bearer)).unwrap_or_default(),
        jwt => jwt,
    }
}

fn bearer<'a>(head: &Head<'a>) -> Option<&'a str> {
    let (scheme, token) = head.authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

const WRONG: &str = "the admin token is missing or wrong";
/// The length in bytes from which on a token cannot be guessed.
const UNGUESSABLE_LEN: usize = 16;
