//! The gate before what only operators may see and do (docs/protocol.md, Operators' HTTP API): the admin token.

use log::warn;

use super::{
    access::client_ip,
    context::Context,
    guesses::{BURST, guesser},
};
use crate::{
    http::{Head, Reply},
    sign::same_secret,
};

/// The refusal for who does not show the admin token: as a bearer (RFC 6750), as `token=` in the query, or as `shown`.
/// Being local is no proof: a proxy on the same host makes everybody local.
pub fn gate(head: &Head<'_>, shown: &str, cx: &mut Context<'_>) -> Result<(), Reply> {
    let bearer = head.authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let fields = head.fields();
    let shown = match (bearer, fields.get("token")) {
        (Some((_, token)), _) => token.trim(),
        (None, "") => shown,
        (None, token) => token,
    };
    let refused = |status, why| Reply::refusal(status, why).with("Cache-Control", "no-store");
    if shown.is_empty() {
        return Err(refused(401, WRONG).with("WWW-Authenticate", "Bearer"));
    }
    let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
    let who = guesser(ip);
    let right = same_secret(shown.as_bytes(), cx.site.admin_token.as_bytes());
    // A long token cannot be guessed at any pace, so nobody can lock out who shares his address and knows it.
    if right && shown.len() >= LONG {
        return Ok(());
    }
    if let Some(wait) = cx.guesses.wait(who, cx.now.time) {
        let seconds = wait.as_secs() + 1;
        return Err(refused(429, "too many wrong admin tokens, wait").with("Retry-After", seconds.to_string()));
    }
    if right {
        return Ok(());
    }
    cx.hub.state.stats.tokens_wrong += 1;
    if cx.guesses.wrong(who, cx.now.time) {
        let from = ip.map_or_else(|| "a unix socket".to_owned(), |ip| ip.to_string());
        warn!("{BURST} wrong admin tokens from {from}: it must wait now");
    }
    Err(refused(401, WRONG).with("WWW-Authenticate", "Bearer"))
}

const WRONG: &str = "the admin token is missing or wrong";
/// Bytes from which on a token cannot be guessed.
const LONG: usize = 16;
