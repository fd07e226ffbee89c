//! How the time of some work grows with its amount, for tests of code that must not be quadratic.

use std::time::Duration;

/// Panics if 16 times as much work takes 64 times as long or longer. Linear work takes 16 times as long, and quadratic work 256
/// times, if `few` is so large that its quadratic part dominates. So a machine that is up to four times as slow in one of the two does
/// not change the verdict. `work` says how long the part in question took; the shortest of several runs counts.
pub fn assert_linear(few: usize, work: impl Fn(usize) -> Duration) {
    let shortest = |amount, runs| (0..runs).map(|_| work(amount)).min().unwrap();
    let (short, long) = (shortest(few, 30), shortest(16 * few, 5));
    assert!(long < short * 64, "{short:?} for {few}, {long:?} for {}", 16 * few);
}
