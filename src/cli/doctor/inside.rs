//! Relay's own machine.

use std::thread::sleep;

use serde_json::Value as Json;

use super::{
    finding::{Finding, Report},
    hooks, machine, process, redis,
    target::TIMEOUT,
};
use crate::{
    cli::{
        client::{Limits, METRICS, Request},
        credentials::Account,
        endpoint::{Endpoint, Sends},
        setting::Setting,
    },
    config::{Config, ListenAddress},
    server::{
        Options as ServeOptions,
        clock::unix_micros,
        config_file::{Loaded, Origin},
        outlook::Outlook,
    },
    tls::ServerTls,
};

/// The machine with the configuration that the command line names.
pub struct Inside {
    setting: Setting,
}

impl Inside {
    /// The machine of an account's configuration.
    pub fn new(account: Account) -> Inside {
        Inside { setting: account.into_setting() }
    }

    /// Makes all checks.
    pub fn run(mut self, report: &mut Report) {
        let before = machine::offset();
        let origin = self.setting.origin().clone();
        let loaded = match origin.load() {
            Ok(loaded) => loaded,
            Err(problems) => {
                let failure = |problem: &String| Finding::failure("config", problem.clone());
                report.extend(problems.0.iter().map(failure));
                report.add(Finding::skipped("listen", "the configuration cannot be used: 'relay check' says the same"));
                return;
            }
        };
        report.extend(configuration(&origin, &loaded));
        let config = &loaded.config;
        report.add(machine::descriptors(&process::running(&origin), config.limits.connections));
        report.add(machine::disk(&config.message_log.dir));
        report.extend(certificates(&config.tls, unix_micros() / 1_000_000));
        report.extend(redis::check(&config.redis));
        report.add(hooks::check(config));
        let token = self.setting.token();
        let metrics = self.listeners(config, token.as_deref(), report);
        report.add(machine::memory(config, metrics.as_deref()));
        sleep(machine::WATCHED);
        report.add(machine::clock(before));
    }

    /// Asks relay at each of its addresses how it is. Returns its metrics.
    fn listeners(&self, config: &Config, token: Option<&str>, report: &mut Report) -> Option<String> {
        let mut metrics = None;
        for listen in &config.listen {
            if listen.proxied {
                report.add(Finding::skipped("listen", format!("{listen} is for proxies only")));
                continue;
            }
            let finding = match health(config, listen, token) {
                Ok((status, body)) => judge_health(&listen.to_string(), status, &body),
                Err(why) => Finding::failure("listen", format!("relay does not answer at {listen}: {why}")),
            };
            report.add(finding);
            metrics = metrics.or_else(|| {
                let (status, body) = ask(config, listen, "/metrics", token?).ok()?;
                Some(body).filter(|_| status == 200)
            });
        }
        if config.listen.is_empty() {
            report.add(Finding::failure("listen", "`listen` is empty"));
        }
        metrics
    }
}

/// Asks relay how it is: with the token, so that it gives reasons, unless it refuses that.
fn health(config: &Config, listen: &ListenAddress, token: Option<&str>) -> Result<(u16, String), String> {
    match token.map(|token| ask(config, listen, "/healthz", token)) {
        Some(Ok((status @ (200 | 503), body))) => Ok((status, body)),
        Some(Err(why)) => Err(why),
        _ => ask(config, listen, "/healthz", ""),
    }
}

/// A GET to one address of `listen`.
fn ask(config: &Config, listen: &ListenAddress, path: &str, token: &str) -> Result<(u16, String), String> {
    let one = Config { listen: vec![listen.clone()], ..config.clone() };
    let sends = if token.is_empty() { Sends::Question } else { Sends::Credentials };
    let endpoint = Endpoint::listening(&one, "the configuration".into(), sends).map_err(|error| error.to_string())?;
    let answer = endpoint
        .ask(Request::get(path).bearer(token), Limits { answer: TIMEOUT, ..METRICS })
        .map_err(|error| error.to_string())?;
    Ok((answer.status, answer.text()))
}

/// Judges the answer of `/healthz`.
fn judge_health(address: &str, status: u16, body: &str) -> Finding {
    const CHECK: &str = "listen";
    let json: Json = serde_json::from_str(body).unwrap_or_default();
    match json["status"].as_str() {
        Some("ok") if status == 200 => Finding::ok(CHECK, format!("relay answers at {address}")),
        Some("degraded") => {
            let parts = json.as_object().into_iter().flatten().filter(|(_, part)| part["status"] == "failing");
            let parts = parts.map(|(name, part)| match part["error"].as_str() {
                Some(error) => format!("{name} ({error})"),
                None => name.clone(),
            });
            let parts: Vec<String> = parts.collect();
            Finding::warning(CHECK, format!("relay answers at {address}, but parts of it fail: {}", parts.join(", ")))
        }
        Some("stopping") => Finding::failure(CHECK, format!("relay is stopping at {address}")),
        _ => Finding::failure(CHECK, format!("something else than relay answers at {address}, with status {status}")),
    }
}

/// Judges the configuration as `relay check` does.
fn configuration(origin: &Origin, Loaded { config, warnings, .. }: &Loaded) -> Vec<Finding> {
    const CHECK: &str = "config";
    let options = ServeOptions { origin: origin.clone(), listen: Vec::new(), allow_demo_keys: false };
    let outlook = Outlook::new(config, &options);
    let failures = outlook.refused.iter().chain(&outlook.failing);
    let mut findings: Vec<Finding> = failures.map(|problem| Finding::failure(CHECK, problem.clone())).collect();
    // Certificates are a check of their own.
    let warnings = warnings.iter().chain(&outlook.warnings).filter(|warning| !warning.starts_with("tls: "));
    findings.extend(warnings.map(|warning| Finding::warning(CHECK, warning.clone())));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{origin} is valid")));
    }
    findings
}

/// Judges the certificates; that each has its key is part of the configuration.
fn certificates(tls: &ServerTls, unix: u64) -> Vec<Finding> {
    const CHECK: &str = "certificate";
    let one = |identity: &crate::tls::Identity| {
        let warnings = identity.warnings(unix);
        if warnings.is_empty() {
            let days = identity.not_after().saturating_sub(unix) / 86_400;
            let names = identity.names().join(", ");
            return vec![Finding::ok(CHECK, format!("valid for {days} days, for {names}, and the key is that of it"))];
        }
        let is_expired = unix > identity.not_after();
        let finding = if is_expired { Finding::failure } else { Finding::warning };
        warnings.into_iter().map(|warning| finding(CHECK, warning)).collect::<Vec<_>>()
    };
    match tls.identities.as_slice() {
        [] => vec![Finding::ok(CHECK, "not used: relay has no TLS of its own")],
        identities => identities.iter().flat_map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn answers_of_healthz() {
        for (status, body, level, text) in [
            (200, r#"{"status":"ok"}"#, Level::Ok, "relay answers at a"),
            (
                200,
                r#"{"status":"degraded","redis":{"status":"failing","error":"no route"}}"#,
                Level::Warning,
                "redis (no route)",
            ),
            (503, r#"{"status":"stopping"}"#, Level::Failure, "stopping"),
            (404, "<html>", Level::Failure, "something else"),
        ] {
            let found = judge_health("a", status, body);
            assert!(found.level == level && found.text.contains(text), "{body}: {found:?}");
        }
    }
}
