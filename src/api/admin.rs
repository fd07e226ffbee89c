//! The gate before what only operators may see and do, and what the machinery around relay asks: load balancers, which
//! need no token, and monitoring (contract section 7).

use core::{
    fmt::{Display, Write},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use std::collections::HashMap;

use log::warn;
use serde_json::value::RawValue;

use super::{Context, client_ip, online, view::Look};
use crate::{
    clock::Time,
    health::Health,
    http::{Head, Reply},
    hub::Hub,
    json::quote,
    sign::same_secret,
};

/// Who guessed admin tokens wrong. While an address must wait, a short token is refused there though it be right. Each address may do so ten times, and then once in six seconds: a program that tries
/// words gets through 14,400 a day.
#[derive(Default)]
pub struct Guesses {
    /// By address: when all its wrong guesses will be forgiven.
    forgiven: HashMap<Ipv6Addr, Time>,
}

impl Guesses {
    /// How long an address must wait before it may show a token again; nothing if it need not.
    fn wait(&self, who: Ipv6Addr, now: Time) -> Option<Duration> {
        let over = self.forgiven.get(&who)?.since(now).checked_sub(EACH * (BURST - 1))?;
        (!over.is_zero()).then_some(over)
    }

    /// One more wrong token; whether it was the last that the address had.
    fn wrong(&mut self, who: Ipv6Addr, now: Time) -> bool {
        if self.forgiven.len() >= MOST_GUESSERS {
            self.forgiven.retain(|_, forgiven| *forgiven > now);
        }
        // With so many guessers at once the one to be forgiven first is forgotten.
        if self.forgiven.len() >= MOST_GUESSERS
            && let Some(first) = self.forgiven.iter().min_by_key(|(_, forgiven)| **forgiven).map(|(who, _)| *who)
        {
            self.forgiven.remove(&first);
        }
        let forgiven = self.forgiven.entry(who).or_insert(now);
        *forgiven = (*forgiven).max(now).after(EACH);
        self.wait(who, now).is_some()
    }
}

/// Whose guesses are counted together: an address of version 4, or a network of version 6, which one customer has.
fn guesser(ip: Option<IpAddr>) -> Ipv6Addr {
    match ip {
        Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
        Some(IpAddr::V6(ip)) => Ipv6Addr::from(u128::from(ip) >> 64 << 64),
        None => Ipv6Addr::UNSPECIFIED,
    }
}

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

/// `GET /healthz`: 200 while clients are served, 503 while relay takes its leave. What does not keep clients from being
/// served makes it `degraded`, not dead.
pub fn healthz(cx: &Context<'_>) -> Reply {
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
        parts += &format!(",\"{name}\":{{\"status\":\"{status}\"{more}{error}}}");
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

/// `GET /api/stats`: what there is now, and counters since the start.
pub fn stats(cx: &Look<'_>) -> Reply {
    let sources: Vec<_> = cx
        .hub
        .state
        .tenants()
        .map(|(name, sessions, rooms)| format!("{}:{{\"sessions\":{sessions},\"rooms\":{rooms}}}", quote(name)))
        .collect();
    let counters: Vec<_> = counters(cx.hub).map(|(name, count)| format!("\"{name}\":{count}")).collect();
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

/// What `/api/stats` says of all relays: nothing if this one is alone.
fn relays(cx: &Look<'_>) -> String {
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
    hub.state.stats.iter().chain([("message_log_lost", hub.log.lost())])
}

/// `GET /metrics`: the same for Prometheus (text exposition format 0.0.4).
pub fn metrics(cx: &Context<'_>) -> Reply {
    let mut text = String::new();
    let head = |name: &str, kind: &str, help: &str| format!("# HELP relay_{name} {help}\n# TYPE relay_{name} {kind}\n");
    let mut gauge = |name: &str, help: &str, value: &dyn Display| {
        writeln!(text, "{}relay_{name} {value}", head(name, "gauge", help)).expect("writing to memory succeeds");
    };
    gauge("uptime_seconds", "Time since the start.", &(cx.now.time.micros() / 1_000_000));
    gauge("connections", "Connections of all kinds.", &cx.connections);
    gauge("clients", "Peers with an outbox, whether in a namespace or not.", &cx.hub.state.client_count());
    let failing = cx.hub.log.health.reason().is_some();
    gauge("message_log_failing", "Whether the message log cannot be written.", &u8::from(failing));
    let failing = cx.hub.hooks.health().reason().is_some();
    gauge("hooks_failing", "Whether the business backend does not answer.", &u8::from(failing));
    let failing = cx.hub.cluster.health().reason().is_some();
    gauge("redis_failing", "Whether the link to siblings is not whole.", &u8::from(failing));
    gauge("redis_siblings", "Other relays that live.", &cx.hub.cluster.nodes().len());
    for (name, kind) in
        [("sessions", "Clients in a namespace, by source."), ("rooms", "Rooms with members, by source.")]
    {
        text.push_str(&head(name, "gauge", kind));
        for (source, sessions, rooms) in cx.hub.state.tenants() {
            // A source's name has nothing that a label would have to escape.
            let value = if name == "rooms" { rooms } else { sessions };
            writeln!(text, "relay_{name}{{source=\"{source}\"}} {value}").expect("writing to memory succeeds");
        }
    }
    for (name, count) in counters(cx.hub) {
        let name = format!("{name}_total");
        let help = head(&name, "counter", "Since the start; see README.");
        writeln!(text, "{help}relay_{name} {count}").expect("writing to memory succeeds");
    }
    text.push_str(&head("build_info", "gauge", "Always 1, with the version."));
    writeln!(text, "relay_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
        .expect("writing to memory succeeds");
    Reply::new(200, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes()).with("Cache-Control", "no-store")
}

const WRONG: &str = "the admin token is missing or wrong";
/// Bytes from which on a token cannot be guessed.
const LONG: usize = 16;
/// Wrong tokens an address has.
const BURST: u32 = 10;
/// How long it takes to get one back.
const EACH: Duration = Duration::from_secs(6);
/// Addresses whose guesses are remembered.
const MOST_GUESSERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        guesser(text.parse().ok())
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn guesses_are_slowed() {
        let mut guesses = Guesses::default();
        let who = ip("192.0.2.1");
        let locked: Vec<_> = (0..10).map(|_| guesses.wrong(who, at(100))).collect();
        assert_eq!(locked.iter().filter(|locked| **locked).count(), 1, "the tenth is the last");
        assert_eq!(guesses.wait(who, at(100)), Some(Duration::from_secs(6)));
        assert_eq!(guesses.wait(who, at(105)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wait(who, at(106)), None);
        assert!(guesses.wrong(who, at(106)), "one more, and again a wait");
        assert_eq!(guesses.wait(ip("192.0.2.2"), at(106)), None, "others do not wait");
        assert_eq!(guesses.wait(who, at(200)), None);
    }

    #[test]
    fn networks_of_version_6() {
        assert_eq!(ip("2001:db8:1:2:3::4"), ip("2001:db8:1:2:ffff::"));
        assert_ne!(ip("2001:db8:1:2::"), ip("2001:db8:1:3::"));
        assert_ne!(guesser(None), ip("0.0.0.0"));
    }

    #[test]
    fn guessers_are_bounded() {
        let mut guesses = Guesses::default();
        let held = ip("192.0.2.1");
        for _ in 0..10 {
            guesses.wrong(held, at(1));
        }
        for number in 0..100_000u128 {
            guesses.wrong(Ipv6Addr::from(number << 64 | 1 << 127), at(1));
        }
        assert_eq!(guesses.forgiven.len(), MOST_GUESSERS);
        assert!(guesses.wait(held, at(1)).is_some(), "who has guessed most is remembered longest");
        guesses.wrong(held, at(1000));
        assert_eq!(guesses.forgiven.len(), 1, "the rest is forgiven");
    }
}
