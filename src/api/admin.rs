//! Looking: for the load balancer, who needs no token, and for operators, who do (contract section 7).

use super::{Context, json_string};
use crate::{
    http::{Head, Reply},
    sign::same_secret,
};

/// `GET /healthz`: 200 while clients are served, 503 while relay takes its leave.
pub fn healthz(cx: &Context<'_>) -> Reply {
    match cx.stopping {
        false => Reply::json(200, &b"{\"status\":\"ok\"}"[..]),
        true => Reply::json(503, &b"{\"status\":\"stopping\"}"[..]),
    }
    .with("Cache-Control", "no-store")
}

/// The refusal for who does not show the admin token, as a bearer (RFC 6750) or as `token=`. Being local is no proof: a
/// proxy on the same host makes everybody local.
pub fn gate(head: &Head<'_>, cx: &Context<'_>) -> Option<Reply> {
    let bearer = head.authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let fields = head.fields();
    let shown = bearer.map_or_else(|| fields.get("token"), |(_, token)| token.trim());
    let right = same_secret(shown.as_bytes(), cx.site.admin_token.as_bytes());
    (!right).then(|| Reply::refusal(401, "the admin token is missing or wrong").with("WWW-Authenticate", "Bearer"))
}

/// `GET /api/stats`: what there is now, and counters since the start.
pub fn stats(cx: &Context<'_>) -> Reply {
    let sources: Vec<_> = cx
        .hub
        .tenants()
        .map(|(name, sessions, rooms)| format!("{}:{{\"sessions\":{sessions},\"rooms\":{rooms}}}", json_string(name)))
        .collect();
    let counters: Vec<_> = cx.hub.stats.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
    let body = format!(
        "{{\"version\":\"{}\",\"uptime\":{},\"connections\":{},\"sessions\":{},\"rooms\":{},\"sources\":{{{}}},\"counters\":{{{}}}}}",
        env!("CARGO_PKG_VERSION"),
        cx.now.time.micros() / 1_000_000,
        cx.connections,
        cx.hub.session_count(),
        cx.hub.room_count(),
        sources.join(","),
        counters.join(",")
    );
    Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
}
