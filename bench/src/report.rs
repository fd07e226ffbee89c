//! The results of a run, as a table and as a JSON object.

use core::fmt::Write;

use serde_json::{Map, Value};

use crate::{histogram::Histogram, ledger::Faults};

/// The start of a latency measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyFrom {
    /// When the message was sent.
    Send,
    /// When the message was due to be sent.
    Schedule,
    /// When the client started to connect.
    Connect,
}

/// Results, in the order in which they are added.
#[derive(Debug, Default)]
pub struct Report {
    object: Map<String, Value>,
    rows: Vec<(String, String)>,
}

impl Report {
    /// Adds a key to the JSON object. The key names the unit.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.object.insert(key.into(), value.into());
    }

    /// Adds a row to the table.
    pub fn row(&mut self, label: &str, text: impl Into<String>) {
        self.rows.push((label.into(), text.into()));
    }

    /// Adds a number to both. If it was not measured, the JSON value is `null` and the table has no row.
    pub fn figure(&mut self, key: &str, label: &str, number: Option<f64>, unit: &str) {
        self.set(key, number.map(rounded));
        if let Some(number) = number {
            self.row(label, format!("{} {unit}", readable(number)));
        }
    }

    /// Adds the quantiles of a latency, and where its measurement starts. They are `null` if nothing was measured.
    pub fn latency(&mut self, what: &str, histogram: &Histogram, from: LatencyFrom) {
        let (name, text) = match from {
            LatencyFrom::Send => ("send", "from sending"),
            LatencyFrom::Schedule => ("schedule", "from the scheduled time"),
            LatencyFrom::Connect => ("connect", "from the start of the TCP connection"),
        };
        self.set("latency_from", name);
        let micros = |nanos: u64| (histogram.count() > 0).then_some(nanos as f64 / 1000.0);
        let shares = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];
        let mut figures: Vec<_> = shares.map(|(name, share)| (name, micros(histogram.quantile(share)))).into();
        figures.push(("max", micros(histogram.max())));
        let mut row = String::new();
        for (name, micros) in figures {
            self.set(&format!("latency_{name}_us"), micros.map(rounded));
            let name = if name == "p999" { "p99.9" } else { name };
            let _ = write!(row, "{name} {}  ", micros.map_or("—".into(), readable));
        }
        self.row(&format!("{what}, {text}, µs"), row.trim_end());
    }

    /// Adds the faults, and whether there are none.
    pub fn faults(&mut self, faults: &Faults) {
        let kinds = [
            ("lost", faults.lost),
            ("doubled", faults.doubled),
            ("disordered", faults.disordered),
            ("damaged", faults.damaged),
            ("closed", faults.closed),
            ("refused", faults.refused),
            ("unanswered", faults.unanswered),
        ];
        for (name, count) in kinds {
            self.set(name, count);
        }
        self.set("ok", faults.is_empty());
        self.set("faults", faults.examples.clone());
        let wrong: Vec<_> =
            kinds.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
        self.row(
            "checked",
            if wrong.is_empty() { "nothing lost, doubled, out of order or damaged".into() } else { wrong.join(", ") },
        );
        faults.examples.iter().for_each(|example| self.row("", example.as_str()));
    }

    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        format!("{}\n", Value::Object(self.object.clone()))
    }

    /// The table, one row per line.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        self.rows.iter().fold(String::new(), |mut table, (label, text)| {
            let _ = writeln!(table, "{label:width$}  {text}");
            table
        })
    }
}

/// Rounded to three decimals.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A number with thousands separators, and with decimals only if it is small.
fn readable(number: f64) -> String {
    let places = if number.abs() < 10.0 { 2 } else { usize::from(number.abs() < 100.0) };
    let text = format!("{number:.places$}");
    let (whole, decimals) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && digit.is_ascii_digit() && (whole.len() - index) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + decimals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (999.9, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-123.0, "-123"),
        ] {
            assert_eq!(readable(number), text);
        }
    }

    #[test]
    fn table_and_json() {
        let mut report = Report::default();
        report.figure("a_us", "a", Some(1.0), "µs");
        report.figure("b_us", "b", None, "µs");
        report.latency("delivery", &Histogram::new(), LatencyFrom::Schedule);
        assert!(report.object["latency_max_us"].is_null());
        report.faults(&Faults { lost: 2, examples: vec!["why".into()], ..Faults::default() });
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((json["a_us"].as_f64(), json["b_us"].is_null()), (Some(1.0), true));
        assert_eq!((&json["latency_from"], &json["ok"], &json["lost"]), (&"schedule".into(), &false.into(), &2.into()));
        let table = report.table();
        assert!(table.starts_with("a  ") && table.contains("2 lost") && table.contains("why"), "{table}");
    }
}
