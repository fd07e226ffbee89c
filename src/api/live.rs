//! `GET /api/live`: relay's numbers, the messages of a room and lines of the log, as a stream for operators (docs/protocol.md,
//! Live).

use core::fmt::Write;

use log::LevelFilter;

use super::{access::client_ip, context::Context, metrics::memory_kinds, outcome::Outcome};
use crate::{
    clock::Time,
    health::Health,
    http::{Head, Reply, reply::endless_head},
    hub::Hub,
    json::quote,
    live::{Lines, LogPosition, MOST_VIEWERS, Times, Viewer, samples::INTERVAL},
    memory,
    room_hash::room_hash,
};

/// What the server knows and the hub does not.
pub struct Outside<'a> {
    /// The number of open connections.
    pub connections: usize,
    /// The CPU time of the process in microseconds.
    pub cpu: u64,
    /// The lines of the log that are at least as severe as a level, after a position.
    pub log: &'a dyn Fn(LevelFilter, LogPosition) -> Lines,
}

/// `GET /api/live`. Returns the head of a response that does not end, or a refusal.
pub fn live(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    open(head, cx).unwrap_or_else(|refusal| refusal.with("Cache-Control", "no-store").into())
}

fn open(head: &Head<'_>, cx: &mut Context<'_>) -> Result<Outcome, Reply> {
    let fields = head.fields();
    let wrong = |why: &str| Reply::refusal(400, why);
    if cx.stopping {
        return Err(Reply::refusal(503, super::control::STOPPING));
    }
    let level = match fields.get("log") {
        "" => LevelFilter::Off,
        level => level.parse().map_err(|_| wrong(WRONG_LEVEL))?,
    };
    let room = match (fields.get("source"), fields.get("room_id")) {
        ("", "") => None,
        (source, room) => {
            let tenant = cx.hub.state.known_tenant(source).ok_or_else(|| wrong(UNKNOWN_SOURCE))?;
            if room.is_empty() || room.len() as u64 > cx.hub.config().limits.room_id {
                return Err(wrong(WRONG_ROOM));
            }
            Some((tenant, room_hash(room)))
        }
    };
    let response = endless_head(CONTENT_TYPE, &HEADERS.map(|(name, value)| (name, value.into())), cx.now.unix);
    if head.method == "HEAD" {
        return Ok(Outcome::Last(response));
    }
    let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
    let state = &mut cx.hub.state;
    let client = state.insert_bare_stream(cx.conn, ip);
    if cx.hub.live.add(Viewer::new(client, room, level), state).is_none() {
        cx.hub.remove(client, false);
        return Err(Reply::refusal(503, &format!("{MOST_VIEWERS} streams of /api/live are open, which is the most")));
    }
    let hello = hello(cx);
    cx.hub.state.send_raw(client, hello.as_bytes());
    Ok(Outcome::Upgrade { client, response })
}

/// The first line of a stream.
fn hello(cx: &Context<'_>) -> String {
    let hub = &cx.hub;
    let config = hub.config();
    let fields: Vec<_> = FIELDS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let samples: Vec<_> = hub.live.samples.iter().map(list).collect();
    let sources: Vec<_> = config.source_names().into_iter().take(MOST_SOURCES).map(quote).collect();
    format!(
        "{{\"type\":\"hello\",\"version\":\"{}\",\"node\":{},\"server_ip\":{},\"now\":{},\"started\":{},\"interval\":{},\
         \"log_level\":\"{}\",\"message_log\":{},\"hooks\":{},\"redis\":{},\"history\":{},\"sources\":[{}],\"fields\":[{}],\
         \"samples\":[{}]}}\n",
        env!("CARGO_PKG_VERSION"),
        quote(hub.cluster.node()),
        quote(&cx.site.server_ip),
        cx.now.unix,
        cx.now.unix_at(Time::START),
        INTERVAL.as_secs(),
        log::max_level().as_str().to_ascii_lowercase(),
        hub.log.is_on(),
        config.hooks.url.is_some(),
        hub.cluster.is_on(),
        hub.history.is_on(),
        sources.join(","),
        fields.join(","),
        samples.join(",")
    )
}

/// Keeps and sends samples that are due, and sends what viewers get each second. At the beginning of a turn, so that a sample
/// has the numbers that were right when it was due.
pub fn update(hub: &mut Hub, outside: &Outside<'_>) {
    let now = hub.state.now;
    let mut kept = None;
    if now.time >= hub.live.samples.due() {
        let times = hub.live.kept_times(&mut hub.state.timings);
        let mut row = row(hub, outside, &times);
        hub.live.samples.keep(now.time, |time| {
            row[0] = now.unix_at(time);
            row.clone()
        });
        kept = Some(row);
    }
    let Some(times) = hub.live.shown_times(&mut hub.state) else {
        // Graphs must not miss a sample because it is kept between two that are shown.
        if let Some(row) = kept {
            let line = format!("{{\"type\":\"sample\",\"kept\":true,\"values\":{}}}\n", list(&row));
            hub.live.send(line.as_bytes(), &mut hub.state);
        }
        return;
    };
    let (is_kept, row) = match kept {
        Some(row) => (true, row),
        None => (false, row(hub, outside, &times)),
    };
    let line = sample(hub, is_kept, &row);
    hub.live.send(line.as_bytes(), &mut hub.state);
    hub.live.send_log(outside.log, &mut hub.state);
}

/// The line for a sample.
fn sample(hub: &Hub, is_kept: bool, row: &[u64]) -> String {
    let (clients, bytes) = hub.state.unsent().fold((0, 0), |(clients, sum), (_, bytes)| (clients + 1, sum + bytes));
    let mut parts: Vec<String> = Vec::new();
    let mut part = |name: &str, is_on: bool, health: &Health| {
        let state = match health {
            _ if !is_on => "\"state\":\"off\"".to_owned(),
            Health::Failing(reason) => format!("\"state\":\"failing\",\"error\":{}", quote(reason)),
            Health::Off | Health::Fine => "\"state\":\"ok\"".to_owned(),
        };
        parts.push(format!("\"{name}\":{{{state}}}"));
    };
    part("message_log", hub.log.is_on(), &hub.log.health);
    part("hooks", hub.config().hooks.url.is_some(), hub.hooks.health());
    part("redis", hub.cluster.is_on(), hub.cluster.health());
    let nodes = hub.cluster.nodes().iter().take(MOST_NODES);
    let nodes = nodes.map(|relay| format!("{{\"node\":{},\"info\":{}}}", quote(&relay.node), info(&relay.info)));
    let nodes: Vec<_> = nodes.collect();
    let counts = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| {
        let pairs: Vec<_> = pairs.map(|(name, count)| format!("\"{name}\":{count}")).collect();
        pairs.join(",")
    };
    format!(
        "{{\"type\":\"sample\",\"kept\":{is_kept},\"values\":{},\"parts\":{{{}}},\"unsent\":{{\"clients\":{clients},\
         \"bytes\":{bytes}}},\"nodes\":[{}],\"memory\":{{{}}},\"closes\":{{{}}}}}\n",
        list(row),
        parts.join(","),
        nodes.join(","),
        counts(&mut memory_kinds(hub, bytes).into_iter()),
        counts(&mut hub.state.stats.closes_by_reason())
    )
}

/// What another relay says about itself, if it is a JSON object of a sensible size.
fn info(text: &str) -> &str {
    let is_object = |text: &str| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
    if text.len() <= MOST_INFO && text.starts_with('{') && !text.contains('\n') && is_object(text) {
        text
    } else {
        "{}"
    }
}

fn row(hub: &Hub, outside: &Outside<'_>, times: &Times) -> Box<[u64]> {
    let numbers = Numbers { hub, outside, times };
    FIELDS.iter().map(|(_, value)| value(&numbers)).collect()
}

fn list(row: &[u64]) -> String {
    let mut out = String::from("[");
    for (index, value) in row.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}{value}").expect("writing to memory succeeds");
    }
    out + "]"
}

/// What the values of a sample are taken from.
struct Numbers<'a> {
    hub: &'a Hub,
    outside: &'a Outside<'a>,
    times: &'a Times,
}

/// Takes a value.
type Value = fn(&Numbers<'_>) -> u64;

/// The values of a sample. The first is its time.
const FIELDS: &[(&str, Value)] = &[
    ("time", |from| from.hub.state.now.unix),
    ("connections", |from| from.outside.connections as u64),
    ("clients", |from| from.hub.state.client_count() as u64),
    ("sessions", |from| from.hub.state.session_count() as u64),
    ("rooms", |from| from.hub.state.room_count() as u64),
    ("away", |from| from.hub.returns.away.len() as u64),
    ("published", |from| from.hub.state.stats.published),
    ("delivered", |from| from.hub.state.stats.delivered),
    ("emitted", |from| from.hub.state.stats.emitted),
    ("client_messages", |from| from.hub.state.stats.client_messages),
    ("logins", |from| from.hub.state.stats.logins),
    ("logins_refused", |from| from.hub.state.stats.logins_refused),
    ("closes", |from| from.hub.state.stats.closes),
    ("losses", |from| from.hub.state.stats.losses),
    ("notifies", |from| from.hub.state.stats.notifies),
    ("notifies_refused", |from| from.hub.state.stats.notifies_refused),
    ("fell_behind", |from| from.hub.state.stats.fell_behind),
    ("slow_consumers", |from| from.hub.state.stats.slow_consumers),
    ("memory", |_| memory::allocated() as u64),
    ("memory_limit", |from| from.hub.state.memory_limit as u64),
    ("history_bytes", |from| from.hub.history.bytes() as u64),
    ("cpu", |from| from.outside.cpu),
    ("turn_p50", |from| from.times.turn_p50),
    ("turn_p99", |from| from.times.turn_p99),
    ("turn_max", |from| from.times.turn_max),
    ("delivery_p50", |from| from.times.delivery_p50),
    ("delivery_p99", |from| from.times.delivery_p99),
    ("hook_calls", |from| from.hub.state.stats.hook_calls),
    ("hook_failures", |from| from.hub.state.stats.hook_failures),
    ("redis_published", |from| from.hub.state.stats.redis_published),
    ("redis_received", |from| from.hub.state.stats.redis_received),
    ("message_log_lost", |from| from.hub.log.lost()),
];

const CONTENT_TYPE: &str = "application/x-ndjson";
const HEADERS: [(&str, &str); 3] = [
    ("Cache-Control", "no-store, no-transform"),
    // nginx would keep lines back.
    ("X-Accel-Buffering", "no"),
    ("X-Content-Type-Options", "nosniff"),
];
/// Other relays that a sample describes, and bytes of the description of one.
const MOST_NODES: usize = 32;
const MOST_INFO: usize = 2048;
/// Names of sources in the first line.
const MOST_SOURCES: usize = 1000;
const WRONG_LEVEL: &str = "log must be error, warn, info, debug or trace";
const UNKNOWN_SOURCE: &str = "source must be one of the configured sources, and belongs to room_id";
const WRONG_ROOM: &str = "room_id must be the name of a room";
