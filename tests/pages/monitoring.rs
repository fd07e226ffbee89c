//! etc/alerts.yml and etc/grafana-dashboard.json: every metric and label in them exists, and docs/operations.md has the same
//! alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::support::Relay;

fn read(name: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of all series of a relay, each with its labels and their values.
fn series() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let mut found: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for line in Relay::start("").admin("/metrics").body.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = found.entry(name.to_owned()).or_default();
        let pairs = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(pairs, _)| pairs);
        for (label, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
            labels.insert((label.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    found
}

/// Checks an expression of PromQL: its metrics exist, and so do the labels that it selects or sums by. Prometheus adds
/// `job` and `instance`. Returns the metrics.
fn check(expression: &str, series: &BTreeMap<String, BTreeSet<(String, String)>>) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut metrics = BTreeSet::new();
    for (at, _) in expression.match_indices("relay_").filter(|(at, _)| !expression[..*at].ends_with(is_word)) {
        let rest = &expression[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let labels = series.get(name).unwrap_or_else(|| panic!("there is no metric {name}: {expression}"));
        let selected = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(pairs, _)| pairs);
        for pair in selected.split(',').filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once('=').expect(expression);
            let known = labels.contains(&(label.to_owned(), value.trim_matches('"').to_owned()));
            assert!(known || ["job", "instance"].contains(&label), "{name} has no {pair}: {expression}");
        }
        metrics.insert(name.to_owned());
    }
    for (_, rest) in [" by (", " without ("].iter().flat_map(|word| expression.split_once(word)) {
        for label in rest.split_once(')').unwrap().0.split(',').map(str::trim) {
            let known = metrics.iter().any(|name| series[name].iter().any(|(known, _)| known == label));
            assert!(known || label == "instance", "no metric of {expression} has the label {label}");
        }
    }
    metrics
}

/// The rules: name, expression, and how long it must hold.
fn alerts() -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    for line in read("etc/alerts.yml").lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("- alert: ") {
            found.push((name.into(), String::new(), String::new()));
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            // Plain text in YAML: these would end it or begin something else.
            assert!(![": ", " #"].iter().any(|end| expression.contains(end)), "{expression}");
            assert!(!expression.starts_with(['{', '[', '"', '\'', '*', '&', '!', '|', '>', '%', '@']), "{expression}");
            found.last_mut().unwrap().1 = expression.into();
        } else if let Some(wait) = line.strip_prefix("for: ") {
            found.last_mut().unwrap().2 = wait.into();
        } else {
            let known = ["#", "groups:", "- name: relay", "rules:", "labels: {severity: ", "annotations: {summary: \""];
            assert!(line.is_empty() || known.iter().any(|start| line.starts_with(start)), "{line}");
        }
    }
    found
}

#[test]
fn alerts_are_about_metrics_that_exist() {
    let (series, alerts) = (series(), alerts());
    assert!(alerts.len() > 20);
    let names: BTreeSet<&String> = alerts.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), alerts.len(), "two have one name");
    for (name, expression, _) in &alerts {
        let metrics = check(expression, &series);
        assert!(!metrics.is_empty() || expression.starts_with("up{"), "{name}: {expression}");
    }
}

/// docs/operations.md has a row for each rule of etc/alerts.yml, in its order, and no other.
#[test]
fn alerts_are_documented() {
    let page = read("docs/operations.md");
    let section = page.split("\n### Alerts\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let mut documented = Vec::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [name, when, means, cure] = cells[..] else { panic!("{row}") };
        assert!(!means.is_empty() && !cure.is_empty(), "{row}");
        let (expression, wait) = when.trim_start_matches('`').split_once('`').expect(row);
        let wait = wait.strip_prefix(" for ").unwrap_or(wait);
        documented.push((name.trim_end_matches('`').to_owned(), expression.to_owned(), wait.to_owned()));
    }
    assert_eq!(documented, alerts());
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let series = series();
    let dashboard: Value = serde_json::from_str(&read("etc/grafana-dashboard.json")).unwrap();
    let (mut shown, mut titles, mut ids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(titles.insert(title) && ids.insert(panel["id"].as_u64().unwrap()), "{title} is there twice");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let metrics = check(target["expr"].as_str().unwrap(), &series);
            assert!(!metrics.is_empty(), "{title}");
            let legend = target["legendFormat"].as_str().unwrap();
            if let Some(label) = legend.split_once("{{").map(|(_, rest)| rest.split_once("}}").unwrap().0) {
                let known = metrics.iter().any(|name| series[name].iter().any(|(known, _)| known == label));
                assert!(known || label == "instance", "{title}: no metric has the label {label}");
            }
            shown.extend(metrics);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        check(variable["query"].as_str().unwrap(), &series);
    }
    for note in dashboard["annotations"]["list"].as_array().unwrap() {
        check(note["expr"].as_str().unwrap(), &series);
    }
    for subject in [
        "relay_clients",
        "relay_published_total",
        "relay_delivered_total",
        "relay_turn_seconds_bucket",
        "relay_delivery_last_write_seconds_bucket",
        "relay_memory_kind_bytes",
        "relay_history_kept_total",
        "relay_recovery_gaps_total",
        "relay_redis_missed_total",
        "relay_hook_failures_total",
        "relay_message_log_lost_total",
        "relay_closes_total",
    ] {
        assert!(shown.contains(subject), "{subject}");
    }
}

#[test]
#[should_panic(expected = "there is no metric relay_nothing")]
fn an_unknown_metric_is_found() {
    check("rate(relay_nothing[5m])", &series());
}

#[test]
#[should_panic(expected = "relay_closes_total has no reason=\"boredom\"")]
fn an_unknown_label_is_found() {
    check("rate(relay_closes_total{job=\"relay\",reason=\"boredom\"}[5m])", &series());
}
