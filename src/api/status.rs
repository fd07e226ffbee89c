//! The state of relay for load balancers, monitoring and operators: `/healthz`, `/metrics`, `/api/stats`
//! (docs/protocol.md, GET /healthz, GET /api/stats, and Metrics).

use core::fmt::{Display, Write};

use serde_json::value::RawValue;

use super::{
    context::Context,
    gate::{gate, has_token},
    online,
    snapshot::Snapshot,
};
use crate::{
    health::Health,
    http::{Head, Reply},
    hub::Hub,
    json::quote,
    memory,
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

/// `GET /api/stats`: current numbers, and counters since the start.
pub fn stats(cx: &Snapshot<'_>) -> Reply {
    let sources: Vec<_> = cx
        .hub
        .state
        .tenants()
        .map(|(name, sessions, rooms)| format!("{}:{{\"sessions\":{sessions},\"rooms\":{rooms}}}", quote(name)))
        .collect();
    let evicted = ("history_evicted", cx.hub.history.counts().evicted.total());
    let counters: Vec<_> =
        counters(cx.hub).chain([evicted]).map(|(name, count)| format!("\"{name}\":{count}")).collect();
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

fn counters(hub: &Hub) -> impl Iterator<Item = (&'static str, u64)> {
    let log = [("message_log_lost", hub.log.lost()), ("message_log_left_out", hub.log.left_out())];
    hub.state.stats.iter().chain(log).chain([("history_kept", hub.history.counts().kept)])
}

/// `GET /metrics`: numbers and counters for Prometheus (text exposition format 0.0.4).
pub fn metrics(cx: &Context<'_>) -> Reply {
    let mut text = String::new();
    let head = |name: &str, kind: &str, help: &str| format!("# HELP relay_{name} {help}\n# TYPE relay_{name} {kind}\n");
    let mut gauge = |name: &str, help: &str, value: &dyn Display| {
        writeln!(text, "{}relay_{name} {value}", head(name, "gauge", help)).expect("writing to memory succeeds");
    };
    gauge("uptime_seconds", "Time since the start.", &(cx.now.time.micros() / 1_000_000));
    gauge("connections", "Open connections of all kinds.", &cx.connections);
    gauge(
        "clients",
        "Clients with an outbox, whether they have joined a namespace or not.",
        &cx.hub.state.client_count(),
    );
    gauge("memory_bytes", "Bytes that the process has allocated.", &memory::allocated());
    gauge("memory_limit_bytes", "limits.memory, or its default for this machine.", &cx.hub.state.memory_limit);
    gauge("unfinished_bytes", "Bytes of requests and messages that are incomplete.", &memory::unfinished());
    let failing = cx.hub.log.health.reason().is_some();
    gauge("message_log_failing", "1 while the message log cannot be written.", &u8::from(failing));
    let failing = cx.hub.hooks.health().reason().is_some();
    gauge("hooks_failing", "1 while the backend does not answer hooks.", &u8::from(failing));
    let failing = cx.hub.cluster.health().reason().is_some();
    gauge("redis_failing", "1 while a connection to Redis is lost or refused.", &u8::from(failing));
    gauge("redis_siblings", "Other relays in the cluster that are alive.", &cx.hub.cluster.nodes().len());
    gauge("history_bytes", "Bytes of the messages that rooms keep.", &cx.hub.history.bytes());
    gauge("history_messages", "Messages that rooms keep.", &cx.hub.history.messages());
    gauge("away_sessions", "Sessions that were lost and may come back.", &cx.hub.returns.away.len());
    gauge("away_bytes", "Bytes of the sessions that were lost and may come back.", &cx.hub.returns.away.bytes());
    gauge(
        "presence_users",
        "Users in rooms, at all relays: in two rooms, a user counts twice.",
        &cx.hub.presence.tracker.users(),
    );
    gauge("receipts_open", "Receipts that wait for other relays or for clients.", &cx.hub.receipts.len());
    let help = "When the first of the certificates of [tls] expires, as a Unix time; 0 without one.";
    gauge("tls_certificate_expiry_timestamp_seconds", help, &cx.hub.config().tls.not_after().unwrap_or(0));
    for (name, kind) in
        [("sessions", "Sessions (clients in a namespace), by source."), ("rooms", "Rooms with members, by source.")]
    {
        text.push_str(&head(name, "gauge", kind));
        for (source, sessions, rooms) in cx.hub.state.tenants() {
            // Names of sources have no characters that labels must escape.
            let value = if name == "rooms" { rooms } else { sessions };
            writeln!(text, "relay_{name}{{source=\"{source}\"}} {value}").expect("writing to memory succeeds");
        }
    }
    for (name, count) in counters(cx.hub) {
        let total = format!("{name}_total");
        text.push_str(&head(&total, "counter", "Since the start; see docs/protocol.md, Metrics."));
        if name != "tls_failed" {
            writeln!(text, "relay_{total} {count}").expect("writing to memory succeeds");
            continue;
        }
        for (reason, count) in cx.hub.state.stats.tls_failures() {
            writeln!(text, "relay_{total}{{reason=\"{reason}\"}} {count}").expect("writing to memory succeeds");
        }
    }
    text.push_str(&head("history_evicted_total", "counter", "Kept messages that were dropped, by reason."));
    for (reason, count) in cx.hub.history.counts().evicted.iter() {
        writeln!(text, "relay_history_evicted_total{{reason=\"{reason}\"}} {count}")
            .expect("writing to memory succeeds");
    }
    text.push_str(&head("build_info", "gauge", "Always 1; the label has the version."));
    writeln!(text, "relay_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
        .expect("writing to memory succeeds");
    Reply::new(200, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes()).with("Cache-Control", "no-store")
}
