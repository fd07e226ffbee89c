//! The system's clocks. Nothing else in relay reads them.

use std::time::{Instant, SystemTime};

use crate::clock::{Now, Time};

/// The monotonic clock and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The quarter-hour in which the offset from UTC was last looked up (Unix time / 900), and that offset in seconds.
    offset: (u64, i32),
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub fn start() -> Clock {
        Clock { start: Instant::now(), offset: (u64::MAX, 0) }
    }

    /// Reads the monotonic clock: one vDSO call.
    pub fn time(&self) -> Time {
        // Not `as_micros`, which has 128 bits.
        let elapsed = self.start.elapsed();
        Time::from_micros(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros()))
    }

    /// Reads both clocks: two vDSO calls, about 50 ns.
    pub fn now(&mut self) -> Now {
        let time = self.time();
        let micros = unix_micros();
        let (unix, micros) = (micros / 1_000_000, (micros % 1_000_000) as u32);
        // The offset can change only on a quarter-hour.
        if self.offset.0 != unix / 900 {
            self.offset = (unix / 900, utc_offset(unix));
        }
        Now { time, unix, micros, utc_offset: self.offset.1 }
    }
}

/// How many seconds local time is ahead of UTC, by `TZ` or `/etc/localtime` (`tzset(3)`).
fn utc_offset(unix: u64) -> i32 {
    local_time(unix).and_then(|local| i32::try_from(local.tm_gmtoff).ok()).unwrap_or(0)
}

// `libc::time_t` has 32 bits on older 32-bit processors and ends in 2038. Both glibc (since 2.34) and musl (since 1.2) have a
// second set of functions for them, with times of 64 bits.
#[allow(unsafe_code)]
unsafe extern "C" {
    #[cfg_attr(all(target_pointer_width = "32", not(target_arch = "riscv32")), link_name = "__localtime64_r")]
    fn localtime_r(time: *const i64, result: *mut libc::tm) -> *mut libc::tm;
}

/// The local time at `unix`; `None` if its year is out of range.
#[allow(unsafe_code)]
fn local_time(unix: u64) -> Option<libc::tm> {
    let unix = i64::try_from(unix).ok()?;
    // SAFETY: all fields are numbers, except a pointer to a name, which may be null.
    let mut local: libc::tm = unsafe { core::mem::zeroed() };
    // SAFETY: the call reads one number and fills one structure, both on this stack. It may read the environment, which
    // relay never changes.
    let filled = unsafe { localtime_r(&raw const unix, &raw mut local) };
    (!filled.is_null()).then_some(local)
}

/// The wall clock, in microseconds since 1970.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The date of documents that relay makes: that of `SOURCE_DATE_EPOCH` (reproducible-builds.org) if it is set, else today in
/// UTC.
pub fn document_date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let unix = given.unwrap_or_else(|| unix_micros() / 1_000_000);
    Now { unix, ..Now::default() }.local().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_goes_on_after_2038() {
        // The middle of a year, whatever the time zone is.
        for (unix, year) in [(1_782_000_000, 2026), (2_160_000_000, 2038), (4_117_000_000, 2100)] {
            assert_eq!(local_time(unix).map(|local| local.tm_year + 1900), Some(year));
        }
        assert!(local_time(u64::MAX).is_none());
        assert_eq!(utc_offset(u64::MAX), 0);
    }
}
