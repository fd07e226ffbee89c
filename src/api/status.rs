//! The state of relay for load balancers and operators: `/healthz`, `/readyz` and `/api/stats` (docs/protocol.md, GET
//! /healthz, GET /readyz, and GET /api/stats). `/metrics` is in `metrics.rs`.

use serde_json::value::RawValue;

use super::{
    context::Context,
    gate::{gate, has_token},
    metrics::all_counters,
    online,
    snapshot::Snapshot,
};
use crate::{
    clock::Time,
    health::Health,
    http::{Head, Reply},
    json::quote,
};

/// `GET /healthz`: 200 while relay serves clients, 503 while it shuts down. A failing message log, backend or cluster makes
/// the status `degraded`, still with 200, because clients are served. Reasons and numbers are for operators: they name
/// files, addresses and sources.
pub fn healthz(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    let for_operator = has_token(head);
    if for_operator && let Err(refusal) = gate(head, "", cx) {
        return refusal;
    }
    let hub = &cx.hub;
    let (mut state, mut parts) = ("ok", String::new());
    let mut part = |name: &str, health: &Health, more: String| {
        let (status, error) = match health.reason() {
            None => ("ok", String::new()),
            Some(reason) => ("failing", format!(",\"error\":{}", quote(reason))),
        };
        if status != "ok" {
            state = "degraded";
        }
        let more = if for_operator { more + &error } else { String::new() };
        parts += &format!(",\"{name}\":{{\"status\":\"{status}\"{more}}}");
    };
    if hub.log.is_on() {
        part("message_log", &hub.log.health, format!(",\"lost\":{}", hub.log.lost()));
    }
    if hub.config().hooks.url.is_some() {
        part("hooks", hub.hooks.health(), String::new());
    }
    if *hub.cluster.health() != Health::Off {
        part("redis", hub.cluster.health(), format!(",\"siblings\":{}", hub.cluster.nodes().len()));
    }
    let status = if cx.stopping { 503 } else { 200 };
    if cx.stopping {
        state = "stopping";
    }
    Reply::json(status, format!("{{\"status\":\"{state}\"{parts}}}").into_bytes()).with("Cache-Control", "no-store")
}

/// `GET /readyz`: 200 while new clients should be sent here, 503 while they should not. Failing parts do not matter, because
/// clients are served without them; but a relay that has just started joins its cluster first.
pub fn readyz(cx: &Context<'_>) -> Reply {
    let joining = cx.now.time < JOINING && cx.hub.cluster.is_on() && cx.hub.cluster.health().reason().is_some();
    let reason = match () {
        () if cx.stopping => "stopping",
        () if cx.full => "connections",
        () if cx.hub.state.is_short_of_memory() => "memory",
        () if joining => "cluster",
        () => return Reply::json(200, &br#"{"status":"ready"}"#[..]).with("Cache-Control", "no-store"),
    };
    let body = format!("{{\"status\":\"not ready\",\"reason\":\"{reason}\"}}");
    Reply::json(503, body.into_bytes()).with("Cache-Control", "no-store")
}

/// `GET /api/stats`: current numbers, and counters since the start.
pub fn stats(cx: &Snapshot<'_>) -> Reply {
    let sources: Vec<_> = cx
        .hub
        .state
        .tenants()
        .map(|(name, sessions, rooms)| format!("{}:{{\"sessions\":{sessions},\"rooms\":{rooms}}}", quote(name)))
        .collect();
    let counters: Vec<_> =
        all_counters(cx.hub).map(|counter| format!("\"{}\":{}", counter.name, counter.count)).collect();
    let body = format!(
        "{{\"version\":\"{}\",\"uptime\":{},\"connections\":{},\"sessions\":{},\"rooms\":{},{}\"sources\":{{{}}},\"counters\":{{{}}}}}",
        env!("CARGO_PKG_VERSION"),
        cx.now.time.micros() / 1_000_000,
        cx.connections,
        cx.hub.state.session_count(),
        cx.hub.state.room_count(),
        relays(cx),
        sources.join(","),
        counters.join(",")
    );
    Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
}

/// The JSON members about all relays of the cluster; empty without a cluster.
fn relays(cx: &Snapshot<'_>) -> String {
    let hub = cx.hub;
    if !hub.cluster.is_on() {
        return String::new();
    }
    let own = format!("{{\"node\":\"{}\",\"info\":{}}}", hub.cluster.node(), hub.cluster.describe(&hub.state));
    let others = hub.cluster.nodes().iter().filter_map(|relay| {
        let info: &RawValue = serde_json::from_str(&relay.info).ok()?;
        Some(format!("{{\"node\":{},\"info\":{}}}", quote(&relay.node), info.get()))
    });
    let relays: Vec<_> = core::iter::once(own).chain(others).collect();
    let all = online::everywhere(cx).map_or("null".into(), |(sessions, sources)| {
        let sources: Vec<_> = sources.iter().map(|(name, count)| format!("{}:{count}", quote(name))).collect();
        format!("{{\"sessions\":{sessions},\"sources\":{{{}}}}}", sources.join(","))
    });
    format!("\"node\":\"{}\",\"relays\":[{}],\"all\":{all},", hub.cluster.node(), relays.join(","))
}

/// Until when a relay that cannot reach Redis is not ready. Afterwards it serves its own clients.
const JOINING: Time = Time::from_micros(10_000_000);
