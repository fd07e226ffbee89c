//! The text formats of metrics: Prometheus 0.0.4 and OpenMetrics 1.0.0 (docs/protocol.md, Metrics).
//!
//! They differ in a few places: OpenMetrics names a counter without `_total` in its comments, has the types `info` and
//! `# UNIT`, and ends with `# EOF`.

use core::fmt::{Display, Write};

use crate::histogram::Histogram;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus 0.0.4, which every program for metrics understands.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that a client asks for. OpenMetrics must be named and must not have a lower quality than plain text.
    pub fn negotiate(accept: &str) -> Format {
        let (mut plain, mut open) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim_end() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            match &*kind {
                "application/openmetrics-text" if matches!(version, "" | "1.0.0") => open = f64::max(open, quality),
                "text/plain" | "text/*" | "*/*" => plain = f64::max(plain, quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that rises and falls.
    Gauge,
    /// A number that only rises. Its name ends with `_total`.
    Counter,
    /// Counts by upper bounds.
    Histogram,
    /// Always 1; what it says is in its labels. Its name ends with `_info`.
    Info,
}

/// Metrics as text.
pub struct Exposition {
    text: String,
    format: Format,
    /// The name of the metric that is being written.
    name: String,
}

impl Exposition {
    /// No metrics yet.
    pub fn new(format: Format) -> Exposition {
        Exposition { text: String::with_capacity(32 * 1024), format, name: String::new() }
    }

    /// Begins a metric. `name` has no prefix and no suffix of its type.
    pub fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name = format!("relay_{name}{suffix}");
        let open = self.format == Format::OpenMetrics;
        let family = if open { &self.name[..self.name.len() - suffix.len()] } else { &self.name };
        let kind = match kind {
            Kind::Info if open => "info",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        if let Some(unit) = ["bytes", "seconds"].into_iter().find(|unit| open && family.ends_with(&format!("_{unit}")))
        {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }

    /// Writes a sample of the metric. Values of labels must not have characters that are to be escaped: names of sources
    /// have none.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    fn sample_of(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Writes a metric with one sample and no labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.begin(name, kind, help);
        self.sample(&[], value);
    }

    /// Writes a histogram of durations in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, Kind::Histogram, help);
        for (bound, count) in histogram.buckets() {
            self.sample_of("_bucket", &[("le", bound)], count);
        }
        let sum = histogram.sum();
        self.sample_of("_sum", &[], format_args!("{}.{:06}", sum.as_secs(), sum.subsec_micros()));
        self.sample_of("_count", &[], histogram.count());
    }

    /// The text.
    pub fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_negotiated() {
        let open = [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0",
            "application/OpenMetrics-Text;version=\"1.0.0\"",
            // Prometheus 2.
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            // Prometheus 3.
            "application/vnd.google.protobuf;q=0.7,application/openmetrics-text;version=1.0.0;escaping=values;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        ];
        for accept in open {
            assert_eq!(Format::negotiate(accept), Format::OpenMetrics, "{accept}");
        }
        let plain = [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.9",
            "application/openmetrics",
        ];
        for accept in plain {
            assert_eq!(Format::negotiate(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn both_formats() {
        let text = |format| {
            let mut out = Exposition::new(format);
            out.single("x", Kind::Counter, "Things.", 3);
            out.single("y_bytes", Kind::Gauge, "Size.", 4);
            out.begin("build", Kind::Info, "Version.");
            out.sample(&[("a", "1"), ("b", "2")], 1);
            String::from_utf8(out.finish()).unwrap()
        };
        assert_eq!(
            text(Format::Prometheus),
            "# HELP relay_x_total Things.\n# TYPE relay_x_total counter\nrelay_x_total 3\n\
             # HELP relay_y_bytes Size.\n# TYPE relay_y_bytes gauge\nrelay_y_bytes 4\n\
             # HELP relay_build_info Version.\n# TYPE relay_build_info gauge\nrelay_build_info{a=\"1\",b=\"2\"} 1\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP relay_x Things.\n# TYPE relay_x counter\nrelay_x_total 3\n\
             # HELP relay_y_bytes Size.\n# TYPE relay_y_bytes gauge\n# UNIT relay_y_bytes bytes\nrelay_y_bytes 4\n\
             # HELP relay_build Version.\n# TYPE relay_build info\nrelay_build_info{a=\"1\",b=\"2\"} 1\n# EOF\n"
        );
    }
    #[test]
    fn histograms_are_in_seconds() {
        let mut times = Histogram::default();
        times.add(120, 2);
        let mut out = Exposition::new(Format::OpenMetrics);
        out.histogram("z_seconds", "Times.", &times);
        let text = String::from_utf8(out.finish()).unwrap();
        let head = "# HELP relay_z_seconds Times.\n# TYPE relay_z_seconds histogram\n# UNIT relay_z_seconds seconds\n";
        let buckets = "relay_z_seconds_bucket{le=\"0.0001\"} 0\nrelay_z_seconds_bucket{le=\"0.00025\"} 2\n";
        assert!(text.starts_with(&[head, buckets].concat()), "{text}");
        let end =
            "relay_z_seconds_bucket{le=\"+Inf\"} 2\nrelay_z_seconds_sum 0.000240\nrelay_z_seconds_count 2\n# EOF\n";
        assert!(text.ends_with(end), "{text}");
    }
}
