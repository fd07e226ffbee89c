//! The picture of `relay top`: what two samples of `/metrics` say, in lines that fit a terminal.

use std::collections::HashMap;

use super::sample::Sample;
use crate::cli::terminal::visible;

/// Two samples, and the seconds between them.
pub struct Interval<'a> {
    /// The earlier one.
    pub before: &'a Sample,
    /// The later one.
    pub now: &'a Sample,
    /// Seconds.
    pub seconds: f64,
}

impl Interval<'_> {
    /// The picture: at most `height` lines of at most `width` characters.
    pub fn picture(&self, relay: &str, width: usize, height: usize) -> Vec<String> {
        let now = self.now;
        let version = now.labelled("relay_build_info").map(|(version, _)| version).next().unwrap_or_default();
        let mut lines = vec![
            format!("relay {version}   up {}   {relay}", duration(now.get("relay_uptime_seconds"))),
            String::new(),
        ];
        for (label, cells) in self.rows() {
            lines.push(format!("{label:<11} {}", cells.join("   ")));
        }
        let reasons = self.changed("relay_closes_total");
        if !reasons.is_empty() {
            let cells: Vec<String> =
                reasons.iter().map(|(reason, rate)| format!("{reason} {}/s", number(*rate))).collect();
            lines.push(format!("{:<11} {}", "ended", cells.join("   ")));
        }
        lines.extend(self.sources(height.saturating_sub(lines.len())));
        lines.truncate(height);
        lines.iter().map(|line| line.chars().take(width).collect::<String>().trim_end().to_owned()).collect()
    }

    /// At most `height` lines about sources, those with most sessions first. None if there is only one source.
    fn sources(&self, height: usize) -> Vec<String> {
        let mut sources: Vec<(String, f64)> = self.now.labelled("relay_sessions").collect();
        if sources.len() < 2 {
            return Vec::new();
        }
        sources.sort_by(|one, other| other.1.total_cmp(&one.1));
        let rooms: HashMap<String, f64> = self.now.labelled("relay_rooms").collect();
        let line = |(source, sessions): &(String, f64)| {
            let rooms = rooms.get(source).copied().unwrap_or(0.0);
            format!("{:>11} {:>9}   {}", number(*sessions), number(rooms), visible(source))
        };
        let head = [String::new(), format!("{:>11} {:>9}   source", "sessions", "rooms")];
        head.into_iter().chain(sources.iter().map(line)).take(height).collect()
    }

    fn rows(&self) -> Vec<(&'static str, Vec<String>)> {
        let now = self.now;
        let gauge = |name: &str, what: &str| format!("{} {what}", number(now.get(name)));
        let rate = |name: &str, what: &str| format!("{} {what}/s", number(self.rate(name)));
        let part = |part: &str, what: &str| {
            let is = |state: &str| now.get(&format!("relay_{part}_{state}")) > 0.0;
            let state = match (is("enabled"), is("failing")) {
                (_, true) => "FAILING",
                (true, false) => "ok",
                (false, false) => "off",
            };
            format!("{what} {state}")
        };
        let kind = |kind: &str| bytes(now.get(&format!("relay_memory_kind_bytes{{kind=\"{kind}\"}}")));
        vec![
            (
                "clients",
                vec![
                    gauge("relay_clients", "connected"),
                    format!("{} sessions", number(now.sum("relay_sessions"))),
                    format!("{} rooms", number(now.sum("relay_rooms"))),
                    gauge("relay_away_sessions", "away"),
                    gauge("relay_connections", "connections"),
                ],
            ),
            (
                "messages",
                vec![
                    rate("relay_published_total", "published"),
                    rate("relay_delivered_total", "delivered"),
                    rate("relay_notifies_refused_total", "refused"),
                    rate("relay_client_messages_total", "from clients"),
                ],
            ),
            (
                "logins",
                vec![
                    rate("relay_logins_total", "admitted"),
                    rate("relay_logins_refused_total", "refused"),
                    rate("relay_losses_total", "lost"),
                    rate("relay_returned_total", "returned"),
                ],
            ),
            (
                "times",
                vec![
                    format!("turn {}", self.times("relay_turn_seconds")),
                    format!("delivery {}", self.times("relay_delivery_last_write_seconds")),
                ],
            ),
            (
                "memory",
                vec![
                    format!(
                        "{} of {}",
                        bytes(now.get("relay_memory_bytes")),
                        bytes(now.get("relay_memory_limit_bytes"))
                    ),
                    format!("unsent {}", kind("unsent")),
                    format!("history {}", kind("history")),
                ],
            ),
            (
                "slow",
                vec![rate("relay_fell_behind_total", "fell behind"), rate("relay_slow_consumers_total", "closed")],
            ),
            (
                "parts",
                vec![
                    part("hooks", "hooks"),
                    part("redis", "redis"),
                    part("message_log", "message log"),
                    gauge("relay_redis_siblings", "siblings"),
                ],
            ),
        ]
    }

    /// How much a counter has grown in a second. One that has become smaller belongs to a new process.
    fn rate(&self, name: &str) -> f64 {
        ((self.now.get(name) - self.before.get(name)) / self.seconds).max(0.0)
    }

    /// The values of a counter's label that have grown, with their rates, the fastest first.
    fn changed(&self, metric: &str) -> Vec<(String, f64)> {
        let earlier: HashMap<String, f64> = self.before.labelled(metric).collect();
        let found = self.now.labelled(metric).map(|(label, count)| {
            let before = earlier.get(&label).copied().unwrap_or(0.0);
            (label, (count - before) / self.seconds)
        });
        let mut found: Vec<_> = found.filter(|(_, rate)| *rate > 0.0).collect();
        found.sort_by(|one, other| other.1.total_cmp(&one.1));
        found
    }

    /// Half and 99 of 100 of what a histogram counted took at most so long.
    fn times(&self, histogram: &str) -> String {
        let at = |part| self.now.quantile(self.before, histogram, part);
        match (at(0.5), at(0.99)) {
            (Some(half), Some(most)) => format!("p50 {}, p99 {}", at_most(half), at_most(most)),
            _ => "none".into(),
        }
    }
}

/// A bound of a bucket, in seconds.
fn at_most(seconds: f64) -> String {
    match seconds {
        _ if seconds.is_infinite() => "over the largest bound".into(),
        _ if seconds < 0.001 => format!("≤ {} µs", number(seconds * 1e6)),
        _ if seconds < 1.0 => format!("≤ {} ms", number(seconds * 1e3)),
        _ => format!("≤ {} s", number(seconds)),
    }
}

/// A number as people read it: `1,234`, `12.3`, `0.04`.
fn number(value: f64) -> String {
    // Of zeros there are two, and people know one.
    let value = value + 0.0;
    let text = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Bytes in the unit that people read.
fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (value, 0);
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{} {}", if unit == 0 { format!("{value:.0}") } else { format!("{value:.1}") }, UNITS[unit])
}

/// Seconds as `3d 4h`, `5h 6m`, `7m 8s` or `9s`.
fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::{assert_linear, processor_time};

    #[test]
    fn numbers_for_people() {
        let numbers = [-0.0, 0.04, 1.0, 1.26, 99.96, 100.4, 1234.0, 1_234_567.8].map(number);
        assert_eq!(numbers, ["0", "0.04", "1", "1.3", "100.0", "100", "1,234", "1,234,568"]);
        assert_eq!([0.0, 1023.0, 1024.0, 5e7, 3e12].map(bytes), ["0 B", "1023 B", "1.0 KiB", "47.7 MiB", "2.7 TiB"]);
        assert_eq!([9.5, 128.0, 18_360.0, 273_600.0].map(duration), ["9s", "2m 8s", "5h 6m", "3d 4h"]);
        assert_eq!([0.0001, 0.025, 2.5].map(at_most), ["≤ 100 µs", "≤ 25 ms", "≤ 2.5 s"]);
    }

    #[test]
    fn a_picture_has_rates_and_fits() {
        let before = Sample::parse(
            "relay_published_total 100\nrelay_delivered_total 100\nrelay_closes_total{reason=\"lost\"} 1\n",
        );
        let now = Sample::parse(
            "relay_build_info{version=\"1.2.3\"} 1\nrelay_uptime_seconds 61\nrelay_published_total 300\nrelay_delivered_total 2100\n\
             relay_closes_total{reason=\"lost\"} 5\nrelay_closes_total{reason=\"client\"} 0\nrelay_hooks_failing 1\nrelay_redis_enabled 1\n\
             relay_sessions{source=\"a\\u{1b}\"} 1\nrelay_sessions{source=\"b\"} 7\nrelay_rooms{source=\"b\"} 2\n",
        );
        let interval = Interval { before: &before, now: &now, seconds: 2.0 };
        let lines = interval.picture("127.0.0.1:4000", 200, 50);
        assert_eq!(lines[0], "relay 1.2.3   up 1m 1s   127.0.0.1:4000");
        let line = |start: &str| lines.iter().find(|line| line.starts_with(start)).unwrap().as_str();
        assert!(line("messages").starts_with("messages    100 published/s   1,000 delivered/s"), "{lines:?}");
        assert_eq!(line("ended"), "ended       lost 2/s");
        assert!(line("parts").contains("hooks FAILING   redis ok   message log off"), "{lines:?}");
        assert_eq!(line("          7"), "          7         2   b");
        let small = interval.picture("127.0.0.1:4000", 20, 4);
        assert!(small.len() == 4 && small.iter().all(|line| line.chars().count() <= 20), "{small:?}");
        let with_sources = interval.picture("127.0.0.1:4000", 200, lines.len() - 1);
        assert_eq!(with_sources, lines[..lines.len() - 1], "the source with fewest sessions is left out");
        // After a restart counters begin again.
        let restarted = Interval { before: &now, now: &before, seconds: 2.0 };
        let picture = restarted.picture("", 200, 50);
        assert!(picture[3].starts_with("messages    0 published/s"));
        assert!(picture[2].contains(" 0 sessions   0 rooms "), "{picture:?}");
    }

    #[test]
    fn sources_are_looked_through_once() {
        assert_linear(1000, |count| {
            let lines = |metric: &str| -> String {
                (0..count).map(|number| format!("{metric}{{source=\"{number}\"}} {number}\n")).collect()
            };
            let text = lines("relay_sessions") + &lines("relay_rooms") + &lines("relay_closes_total");
            let sample = Sample::parse(&text);
            let interval = Interval { before: &sample, now: &sample, seconds: 2.0 };
            let begin = processor_time();
            let (some, all) = (interval.picture("", 200, 20), interval.picture("", 200, usize::MAX));
            let took = processor_time() - begin;
            assert!(some.last().unwrap().ends_with(&format!("   {}", count - 9)), "{some:?}");
            assert_eq!(all.last().unwrap(), "          0         0   0");
            took
        });
    }
}
