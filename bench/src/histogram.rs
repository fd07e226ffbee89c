//! A histogram for millions of durations, with buckets that grow with the value.
//!
//! Each octave has 128 buckets, so the error of a quantile is below 0.4 %. The maximum is exact.

/// Counts of durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }

    /// Adds a duration.
    pub fn record(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest duration in nanoseconds; 0 if the histogram is empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The quantile `share` (0 to 1) in nanoseconds; 0 if the histogram is empty.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return midpoint(index).min(self.max);
            }
        }
        self.max
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

/// The bucket of a value. Each value below `PARTS` has its own bucket; above, the highest bit selects the octave and the next
/// seven bits select the bucket within it.
fn bucket(value: u64) -> usize {
    let octave = value.max(PARTS).ilog2() - PARTS.ilog2();
    (u64::from(octave) * PARTS + (value >> octave)) as usize
}

/// The value that represents a bucket.
fn midpoint(index: usize) -> u64 {
    let index = index as u64;
    let octave = (index / PARTS).saturating_sub(1);
    ((index - octave * PARTS) << octave) + ((1 << octave) >> 1)
}

/// Buckets per octave.
const PARTS: u64 = 128;
const BUCKETS: usize = 58 * PARTS as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_near_the_midpoint_of_its_bucket() {
        let mut last = 0;
        let values =
            (0..2000).chain((11..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + (1 << (bit - 2))]));
        for value in values.chain([u64::MAX - 1, u64::MAX]) {
            let index = bucket(value);
            assert!(index < BUCKETS && index >= last, "{value}");
            last = index;
            let error = midpoint(index).abs_diff(value) as f64 / value.max(1) as f64;
            assert!(error < 0.004, "{value}: {error}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(0.5), histogram.max(), histogram.count()), (0, 0, 0));
        (1..=100_000).for_each(|value| histogram.record(value * 1000));
        for (share, expected) in [(0.0, 1000.0), (0.5, 5e7), (0.99, 9.9e7), (0.999, 9.99e7), (1.0, 1e8)] {
            let found = histogram.quantile(share) as f64;
            assert!((found - expected).abs() / expected < 0.005, "{share}: {found}");
        }
        assert_eq!((histogram.max(), histogram.count()), (100_000_000, 100_000));
        let mut one = Histogram::new();
        one.record(1_234_567);
        assert!(one.quantile(0.5) <= 1_234_567 && one.quantile(0.999) <= one.max());
    }
}
