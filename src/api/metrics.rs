//! `GET /metrics`: numbers and counters for Prometheus and other programs (docs/protocol.md, Metrics).

use super::{
    context::Context,
    exposition::{Exposition, Format, Kind},
};
use crate::{
    health::Health,
    http::{Head, Reply},
    hub::Hub,
    memory,
    state::{stats::Counter, timings::Timings},
};

/// `GET /metrics`.
pub fn metrics(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    let format = Format::negotiate(head.accept);
    let mut out = Exposition::new(format);
    for Gauge { name, help, value } in GAUGES {
        out.single(name, Kind::Gauge, help, value(cx));
    }
    by_source(&mut out, cx.hub);
    memory_by_kind(&mut out, cx);
    histograms(&mut out, &cx.hub.state.timings);
    counters(&mut out, cx.hub);
    out.begin("build", Kind::Info, "Always 1; the label has the version.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    Reply::new(200, format.content_type(), out.finish()).with("Cache-Control", "no-store").vary("Accept")
}

/// The gauges that have a label for the source.
fn by_source(out: &mut Exposition, hub: &Hub) {
    out.begin("sessions", Kind::Gauge, "Sessions (clients in a namespace), by source.");
    for (source, sessions, _) in hub.state.tenants() {
        out.sample(&[("source", source)], sessions);
    }
    out.begin("rooms", Kind::Gauge, "Rooms with members, by source.");
    for (source, _, rooms) in hub.state.tenants() {
        out.sample(&[("source", source)], rooms);
    }
}

fn memory_by_kind(out: &mut Exposition, cx: &Context<'_>) {
    let unsent = cx.hub.state.unsent().map(|(_, bytes)| bytes).sum();
    out.begin("memory_kind_bytes", Kind::Gauge, "Bytes of memory, by kind.");
    let tls = [("tls", cx.tls_bytes as u64)];
    memory_kinds(cx.hub, unsent).into_iter().chain(tls).for_each(|(kind, bytes)| out.sample(&[("kind", kind)], bytes));
}

/// What takes memory, as far as relay counts it by kind, but for TLS. `unsent` is the sum of
/// [`State::unsent`](crate::state::State::unsent).
pub fn memory_kinds(hub: &Hub, unsent: usize) -> [(&'static str, u64); 13] {
    let (keys, signatures) = hub.state.remembered_bytes();
    [
        ("unsent", unsent as u64),
        ("incomplete", memory::unfinished() as u64),
        ("history", hub.history.bytes() as u64),
        ("away", hub.returns.away.bytes() as u64),
        ("hooks", hub.hooks.bytes() as u64),
        ("redis", hub.cluster.queued_bytes() as u64),
        ("message_log", hub.log.bytes() as u64),
        ("presence", hub.presence.tracker.bytes() as u64),
        ("receipts", hub.receipts.bytes() as u64),
        ("idempotency", keys as u64),
        ("signatures", signatures as u64),
        ("journal", hub.state.journal.bytes() as u64),
        ("live", hub.live.samples.bytes() as u64),
    ]
}

fn histograms(out: &mut Exposition, timings: &Timings) {
    out.histogram("turn_seconds", "Time of a turn of the event loop, from waking to waiting again.", &timings.turns);
    out.histogram(
        "delivery_first_write_seconds",
        "Time from the beginning of the turn that accepts a message to the end of the turn that first writes it to a member of \
         a room.",
        &timings.first_writes,
    );
    out.histogram(
        "delivery_last_write_seconds",
        "Time from the beginning of the turn that accepts a message to the end of the turn in which it was written to the last \
         member of a room.",
        &timings.last_writes,
    );
}

fn counters(out: &mut Exposition, hub: &Hub) {
    for Counter { name, help, count } in all_counters(hub) {
        out.begin(name, Kind::Counter, help);
        match name {
            "tls_failed" => {
                hub.state.stats.tls_failures().for_each(|(reason, count)| out.sample(&[("reason", reason)], count));
            }
            "closes" => {
                hub.state.stats.closes_by_reason().for_each(|(reason, count)| out.sample(&[("reason", reason)], count));
            }
            "history_evicted" => {
                hub.history
                    .counts()
                    .evicted
                    .iter()
                    .for_each(|(reason, count)| out.sample(&[("reason", reason)], count));
            }
            _ => out.sample(&[], count),
        }
    }
}

/// All counters. The count of one with labels is their sum.
pub fn all_counters(hub: &Hub) -> impl Iterator<Item = Counter> {
    let history = hub.history.counts();
    let others = [
        Counter { name: "message_log_lost", help: "Lines of the message log that were lost.", count: hub.log.lost() },
        Counter {
            name: "message_log_left_out",
            help: "Lines about logins, refusals and old servers that were left out of the message log, because there were too many.",
            count: hub.log.left_out(),
        },
        Counter {
            name: "history_kept",
            help: "Messages kept for later, counted once for each room.",
            count: history.kept,
        },
        Counter {
            name: "history_evicted",
            help: "Kept messages that were dropped, by the setting of `[history]` that was the reason.",
            count: history.evicted.total(),
        },
    ];
    hub.state.stats.iter().chain(others)
}

/// A gauge without labels.
struct Gauge {
    name: &'static str,
    /// The text of `# HELP`, and how its row in docs/protocol.md begins.
    help: &'static str,
    value: fn(&Context<'_>) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Context<'_>) -> u64) -> Gauge {
    Gauge { name, help, value }
}

/// 1 while a service fails.
fn failing(health: &Health) -> u64 {
    u64::from(health.reason().is_some())
}

const GAUGES: &[Gauge] = &[
    gauge("uptime_seconds", "Time since the start.", |cx| cx.now.time.micros() / 1_000_000),
    gauge("connections", "Open connections of all kinds, this request's included.", |cx| cx.connections as u64),
    gauge(
        "clients",
        "Plain WebSocket clients, streams and Engine.IO sessions, in a namespace or not. Not streams of `/api/live`.",
        |cx| cx.hub.state.client_count() as u64,
    ),
    gauge("memory_bytes", "Bytes that the process has allocated.", |_| memory::allocated() as u64),
    gauge("memory_limit_bytes", "`limits.memory`, or its default for this machine.", |cx| {
        cx.hub.state.memory_limit as u64
    }),
    gauge("unfinished_bytes", "Bytes of requests and messages that are incomplete.", |_| memory::unfinished() as u64),
    gauge("message_log_enabled", "1 if there is a message log.", |cx| u64::from(cx.hub.log.is_on())),
    gauge("hooks_enabled", "1 if a backend for hooks is configured.", |cx| {
        u64::from(cx.hub.config().hooks.url.is_some())
    }),
    gauge("redis_enabled", "1 if Redis is configured.", |cx| u64::from(cx.hub.cluster.is_on())),
    gauge("message_log_failing", "1 while the message log cannot be written.", |cx| failing(&cx.hub.log.health)),
    gauge("hooks_failing", "1 while the backend does not answer hooks.", |cx| failing(cx.hub.hooks.health())),
    gauge("redis_failing", "1 while a connection to Redis is lost, or Redis refuses commands.", |cx| {
        failing(cx.hub.cluster.health())
    }),
    gauge("redis_siblings", "Other relays in the cluster that are alive.", |cx| cx.hub.cluster.nodes().len() as u64),
    gauge("history_bytes", "Bytes of the messages that rooms keep, and of their tables.", |cx| {
        cx.hub.history.bytes() as u64
    }),
    gauge("history_messages", "Messages that rooms keep.", |cx| cx.hub.history.messages() as u64),
    gauge("away_sessions", "Sessions that were lost and may come back.", |cx| cx.hub.returns.away.len() as u64),
    gauge("away_bytes", "Bytes of the sessions that were lost and may come back.", |cx| {
        cx.hub.returns.away.bytes() as u64
    }),
    gauge("presence_users", "Users in rooms, at all relays: in two rooms, a user counts twice.", |cx| {
        cx.hub.presence.tracker.users() as u64
    }),
    gauge("receipts_open", "Receipts that wait for other relays or for clients.", |cx| cx.hub.receipts.len() as u64),
    gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When the first of the certificates of `[tls]` expires, as a Unix time; 0 without one.",
        |cx| cx.hub.config().tls.not_after().unwrap_or(0),
    ),
];
