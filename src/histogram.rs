//! Histograms of durations, with fixed bounds from 100 µs to 2.5 s.

use core::time::Duration;

/// How often durations were up to each bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By the index of the smallest bound that is not exceeded; the last is for those above all.
    counts: [u64; BOUNDS.len() + 1],
    micros: u64,
}

impl Histogram {
    /// Counts a duration in microseconds `times` times.
    #[inline]
    pub fn add(&mut self, micros: u64, times: u64) {
        let index = BOUNDS.iter().position(|(bound, _)| micros <= *bound).unwrap_or(BOUNDS.len());
        self.counts[index] += times;
        self.micros = self.micros.saturating_add(micros.saturating_mul(times));
    }

    /// The bounds in seconds, as text, each with the number of durations that do not exceed it.
    pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        bounds.zip(&self.counts).scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    /// The bound in microseconds that `percent` of the durations since `earlier`, a copy of this histogram, do not exceed; 0
    /// without any. Those above all bounds count as twice the largest bound.
    pub fn percentile_since(&self, earlier: &Histogram, percent: u64) -> u64 {
        let fresh = self.counts.iter().zip(&earlier.counts).map(|(count, before)| count.saturating_sub(*before));
        let total: u64 = fresh.clone().sum();
        let wanted = (total * percent).div_ceil(100);
        let mut passed = 0;
        let found = fresh.into_iter().position(|count| {
            passed += count;
            passed >= wanted && passed > 0
        });
        found.map_or(0, |index| BOUNDS.get(index).map_or(2 * BOUNDS[BOUNDS.len() - 1].0, |(bound, _)| *bound))
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }
}

/// The upper bounds in microseconds, and in seconds as text in the canonical form of OpenMetrics.
const BOUNDS: [(u64, &str); 14] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let mut histogram = Histogram::default();
        for (micros, times) in [(0, 1), (100, 2), (101, 1), (2_500_000, 1), (2_500_001, 3)] {
            histogram.add(micros, times);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets.len(), BOUNDS.len() + 1);
        assert_eq!((buckets[0], buckets[1], buckets[12]), (("0.0001", 3), ("0.00025", 4), ("1.0", 4)));
        assert_eq!((buckets[13], buckets[14]), (("2.5", 5), ("+Inf", 8)));
        assert_eq!((histogram.count(), histogram.sum()), (8, Duration::from_micros(10_000_304)));
        histogram.add(u64::MAX, u64::MAX / 2);
        assert_eq!(histogram.sum(), Duration::from_micros(u64::MAX), "a sum that is too large stays at the end");
    }

    #[test]
    fn percentiles_are_those_since_a_copy() {
        let mut histogram = Histogram::default();
        histogram.add(3_000_000, 50);
        let earlier = histogram.clone();
        assert_eq!(histogram.percentile_since(&earlier, 99), 0);
        assert_eq!(histogram.percentile_since(&Histogram::default(), 50), 5_000_000);
        histogram.add(50, 98);
        histogram.add(700, 1);
        histogram.add(90_000, 1);
        let percentiles = [0, 50, 98, 99, 100].map(|percent| histogram.percentile_since(&earlier, percent));
        assert_eq!(percentiles, [100, 100, 100, 1_000, 100_000]);
    }

    #[test]
    fn bounds_are_what_they_say() {
        for (micros, text) in BOUNDS {
            assert_eq!(text.parse::<f64>().unwrap(), micros as f64 / 1e6);
        }
        assert!(BOUNDS.is_sorted());
    }
}
