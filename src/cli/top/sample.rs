//! The numbers of `/metrics` at one time.

use std::collections::BTreeMap;

/// The numbers of `/metrics`, by their names with labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(BTreeMap<String, f64>);

impl Sample {
    /// Parses the text format of Prometheus. Lines that are not understood are left out.
    pub fn parse(text: &str) -> Sample {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Sample(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// A number; 0 if it is not there.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The numbers of a metric with one label, by the value of the label.
    pub fn labelled<'a>(&'a self, metric: &str) -> impl Iterator<Item = (String, f64)> + use<'a> {
        let prefix = format!("{metric}{{");
        let found = self.0.range(prefix.clone()..).take_while(move |(name, _)| name.starts_with(&prefix));
        found.filter_map(|(name, value)| Some((label(name)?, *value)))
    }

    /// The sum of a metric over all values of its label.
    pub fn sum(&self, metric: &str) -> f64 {
        // `Iterator::sum` of nothing is -0.
        self.labelled(metric).fold(0.0, |sum, (_, value)| sum + value)
    }

    /// The bound of a histogram's bucket below which the part `part` of what was counted since `before` is. `None`: nothing was
    /// counted. Infinity: more than the largest bound.
    pub fn quantile(&self, before: &Sample, histogram: &str, part: f64) -> Option<f64> {
        let metric = format!("{histogram}_bucket");
        let counts = self.labelled(&metric).filter_map(|(bound, count)| {
            let earlier = before.get(&format!("{metric}{{le=\"{bound}\"}}"));
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, (count - earlier).max(0.0)))
        });
        let mut counts: Vec<(f64, f64)> = counts.collect();
        counts.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let all = counts.last()?.1;
        let found = counts.iter().find(|(_, count)| *count >= all * part);
        found.filter(|_| all > 0.0).map(|(bound, _)| *bound)
    }
}

/// The value of the only label of `name{label="value"}`.
fn label(name: &str) -> Option<String> {
    let (_, rest) = name.split_once("=\"")?;
    let text = rest.strip_suffix("\"}")?;
    let (mut value, mut escaped) = (String::new(), false);
    for c in text.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (true, 'n') => {
                value.push('\n');
                escaped = false;
            }
            _ => {
                value.push(c);
                escaped = false;
            }
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels() {
        let text = "# HELP a b 1\n# TYPE a gauge\na 12\nrooms{source=\"one two\"} 3\nrooms{source=\"q\\\"\\\\\\n} 5\"} 4\nrooms_else 9\n\nbad x\n";
        let sample = Sample::parse(text);
        assert_eq!((sample.get("a"), sample.get("nothing"), sample.sum("rooms")), (12.0, 0.0, 7.0));
        let mut found: Vec<_> = sample.labelled("rooms").collect();
        found.sort_by(|one, other| one.1.total_cmp(&other.1));
        assert_eq!(found, [("one two".to_owned(), 3.0), ("q\"\\\n} 5".to_owned(), 4.0)]);
        assert_eq!(Sample::parse("\u{0}{{\"} \n=\"} 1\n{=\" 2").sum("x"), 0.0);
    }

    #[test]
    fn quantiles_are_those_since_the_last_sample() {
        let buckets = |counts: [u32; 3]| {
            let [a, b, c] = counts;
            Sample::parse(&format!(
                "t_bucket{{le=\"0.01\"}} {a}\nt_bucket{{le=\"0.1\"}} {b}\nt_bucket{{le=\"+Inf\"}} {c}\n"
            ))
        };
        let (before, now) = (buckets([100, 100, 100]), buckets([190, 199, 200]));
        assert_eq!(now.quantile(&before, "t", 0.5), Some(0.01));
        assert_eq!(now.quantile(&before, "t", 0.99), Some(0.1));
        assert_eq!(now.quantile(&before, "t", 1.0), Some(f64::INFINITY));
        assert_eq!(now.quantile(&now, "t", 0.5), None);
        assert_eq!(now.quantile(&before, "else", 0.5), None);
    }
}
