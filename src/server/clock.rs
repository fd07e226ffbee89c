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

    /// Reads both clocks: two vDSO calls, about 50 ns.
    pub fn now(&mut self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let unix = unix_micros() / 1_000_000;
        // The offset can change only on a quarter-hour.
        if self.offset.0 != unix / 900 {
            self.offset = (unix / 900, utc_offset(unix));
        }
        Now { time: Time::from_micros(micros), unix, utc_offset: self.offset.1 }
    }
}

/// How many seconds local time is ahead of UTC, by `TZ` or `/etc/localtime` (`tzset(3)`).
#[allow(unsafe_code)]
fn utc_offset(unix: u64) -> i32 {
    let Ok(unix) = libc::time_t::try_from(unix) else { return 0 };
    // SAFETY: all fields are numbers, except a pointer to a name, which may be null.
    let mut local: libc::tm = unsafe { core::mem::zeroed() };
    // SAFETY: the call reads one number and fills one structure, both on this stack. It may read the environment, which
    // relay never changes.
    let filled = unsafe { libc::localtime_r(&raw const unix, &raw mut local) };
    if filled.is_null() { 0 } else { i32::try_from(local.tm_gmtoff).unwrap_or(0) }
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
