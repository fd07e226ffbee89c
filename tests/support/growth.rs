//! How the work of some code grows with its input, for tests of code that must not be quadratic.

use std::time::Duration;

/// Panics if 16 times as much input takes 64 times as much [`processor_time`], or more. Linear work takes 16 times as much, and
/// quadratic work 256 times, if `few` is so large that its quadratic part dominates. So a processor that is up to four times as
/// slow in one of the two does not change the verdict. `work` says how much the part in question took; the least of several runs
/// counts.
pub fn assert_linear(few: usize, work: impl Fn(usize) -> Duration) {
    let least = |amount, runs| (0..runs).map(|_| work(amount)).min().unwrap();
    let (little, much) = (least(few, 10), least(16 * few, 3));
    assert!(much < little * 64, "{little:?} for {few}, {much:?} for {}", 16 * few);
}

/// The time that this thread has had a processor. Unlike a clock, it stands still while others have it.
#[allow(unsafe_code)]
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local variable of the right type.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
