//! What a run found: a table for people, an object for programs.

use core::fmt::Write;

use serde_json::{Map, Value};

use super::{histogram::Histogram, ledger::Faults};

/// From when a latency counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From the message's send.
    Send,
    /// From when it should have been sent.
    Schedule,
    /// From the beginning of the connection.
    Connect,
}

/// Figures in the order they are told.
#[derive(Debug, Default)]
pub struct Report {
    object: Map<String, Value>,
    rows: Vec<(String, String)>,
}

impl Report {
    /// A figure for programs; its key names its unit.
    pub fn tell(&mut self, key: &str, value: impl Into<Value>) {
        self.object.insert(key.into(), value.into());
    }

    /// A row for people.
    pub fn show(&mut self, label: &str, text: impl Into<String>) {
        self.rows.push((label.into(), text.into()));
    }

    /// A number for both; nothing if it was not measured.
    pub fn figure(&mut self, key: &str, label: &str, number: Option<f64>, unit: &str) {
        self.tell(key, number.map(rounded));
        if let Some(number) = number {
            self.show(label, format!("{} {unit}", readable(number)));
        }
    }

    /// Latencies, and from when they are counted; nothing if there were none.
    pub fn latency(&mut self, what: &str, histogram: &Histogram, from: From) {
        let (name, text) = match from {
            From::Send => ("send", "from its send"),
            From::Schedule => ("schedule", "from when it was due"),
            From::Connect => ("connect", "from the TCP connect on"),
        };
        self.tell("latency_from", name);
        let micros = |nanos: u64| (histogram.count() > 0).then_some(nanos as f64 / 1000.0);
        let shares = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];
        let mut figures: Vec<_> = shares.map(|(name, share)| (name, micros(histogram.quantile(share)))).into();
        figures.push(("max", micros(histogram.max())));
        let mut row = String::new();
        for (name, micros) in figures {
            self.tell(&format!("latency_{name}_us"), micros.map(rounded));
            let name = if name == "p999" { "p99.9" } else { name };
            let _ = write!(row, "{name} {}  ", micros.map_or("—".into(), readable));
        }
        self.show(&format!("{what}, {text}, µs"), row.trim_end());
    }

    /// What went wrong, and whether nothing did.
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
            self.tell(name, count);
        }
        self.tell("ok", faults.is_empty());
        self.tell("faults", faults.shown.clone());
        let wrong: Vec<_> =
            kinds.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
        self.show(
            "checked",
            if wrong.is_empty() { "nothing lost, doubled, out of order or damaged".into() } else { wrong.join(", ") },
        );
        faults.shown.iter().for_each(|fault| self.show("", fault.as_str()));
    }

    /// One JSON object on a line.
    pub fn json(&self) -> String {
        format!("{}\n", Value::Object(self.object.clone()))
    }

    /// The table.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        self.rows.iter().fold(String::new(), |mut table, (label, text)| {
            let _ = writeln!(table, "{label:width$}  {text}");
            table
        })
    }
}

/// As many digits as mean something.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A number with its thousands apart, and digits behind the point only while it is small.
fn readable(number: f64) -> String {
    let places = if number.abs() < 10.0 { 2 } else { usize::from(number.abs() < 100.0) };
    let text = format!("{number:.places$}");
    let (whole, behind) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && digit.is_ascii_digit() && (whole.len() - index) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + behind
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
    fn both_ways() {
        let mut report = Report::default();
        report.figure("a_us", "a", Some(1.0), "µs");
        report.figure("b_us", "b", None, "µs");
        report.latency("delivery", &Histogram::new(), From::Schedule);
        assert!(report.object["latency_max_us"].is_null());
        report.faults(&Faults { lost: 2, shown: vec!["why".into()], ..Faults::default() });
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((json["a_us"].as_f64(), json["b_us"].is_null()), (Some(1.0), true));
        assert_eq!((&json["latency_from"], &json["ok"], &json["lost"]), (&"schedule".into(), &false.into(), &2.into()));
        let table = report.table();
        assert!(table.starts_with("a  ") && table.contains("2 lost") && table.contains("why"), "{table}");
    }
}
