//! Time as a value: only the server reads clocks; other code gets the time as an argument.
//!
//! The server reads the clocks at the beginning of a turn and passes a [`Now`] down; tests make their own. A [`Time`] is eight bytes, so
//! that every connection can hold a few deadlines.

use core::{fmt, time::Duration};

use time::{OffsetDateTime, UtcOffset};

/// A point on the monotonic clock: microseconds since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the process.
    pub const START: Time = Time(0);
    /// A deadline that never expires; later than every other time.
    pub const NEVER: Time = Time(u64::MAX);

    /// The point `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since the start.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The time `wait` after this one; [`Time::NEVER`] if that is out of range.
    pub fn after(self, wait: Duration) -> Time {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }

    /// When to send the next ping to a client that is alive now: after `interval`. Intervals of a second or more are rounded
    /// up to the next multiple of 100 ms, so that pings are sent in groups: 18,000 clients with an interval of 25 s wake the
    /// process ten times a second instead of 720 times.
    pub fn ping_after(self, interval: Duration) -> Time {
        let step = if interval < Duration::from_secs(1) { 1 } else { 100_000 };
        Time(self.after(interval).0.checked_next_multiple_of(step).unwrap_or(u64::MAX))
    }

    /// The duration from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Bounds how often something is logged that others can cause.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// When the next line may be written.
    next: Time,
    /// Lines left out since the last one.
    left_out: u64,
}

impl Throttle {
    /// Whether to write a line now: at most one per `interval`. Returns how many were left out since the last one.
    pub fn pass(&mut self, interval: Duration, now: Time) -> Option<u64> {
        if now < self.next {
            self.left_out += 1;
            return None;
        }
        self.next = now.after(interval);
        Some(core::mem::take(&mut self.left_out))
    }
}

/// The clocks at the beginning of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// The monotonic clock, for deadlines and rates.
    pub time: Time,
    /// The wall clock as Unix time in seconds, for signatures and dates.
    pub unix: u64,
    /// The microseconds of the wall clock after these seconds.
    pub micros: u32,
    /// How far local time is ahead of UTC, in seconds, for days and for times that people read.
    pub utc_offset: i32,
}

impl Now {
    /// The local day: days since 1970-01-01.
    pub fn day(self) -> i64 {
        (self.unix as i64 + i64::from(self.utc_offset)).div_euclid(86_400)
    }

    /// The local time.
    pub fn local(self) -> Local {
        self.local_at(self.unix)
    }

    /// The Unix time in seconds at which the monotonic clock was at `time`, an earlier one. For the same `time` the answer stays the
    /// same, unless somebody sets the wall clock.
    pub fn unix_at(self, time: Time) -> u64 {
        let micros = self.unix.saturating_mul(1_000_000).saturating_add(self.micros.into());
        micros.saturating_sub(self.time.micros().saturating_sub(time.micros())) / 1_000_000
    }

    /// The local time at `unix`, a Unix time in seconds, with the offset from UTC of now.
    pub fn local_at(self, unix: u64) -> Local {
        Local { unix, utc_offset: self.utc_offset }
    }
}

/// A local time. `Display` writes `2026-11-21T07:13:36+08:00` (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    unix: u64,
    utc_offset: i32,
}

impl Local {
    /// The day.
    pub fn date(self) -> Date {
        let time = self.time();
        Date { year: time.year(), month: time.month().into(), day: time.day() }
    }

    /// Parses the form of [`Local::unpadded`], a time with that offset from UTC.
    pub fn parse_unpadded(text: &str, utc_offset: i32) -> Option<Local> {
        let (date, clock) = text.split_once(' ')?;
        let mut parts = clock.split(':').map(|part| {
            let digits = part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits)
        });
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let valid = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
        let days = Date::parse(date).filter(|_| valid)?.number();
        let unix = days * 86_400 + hour * 3600 + minute * 60 + second - i64::from(utc_offset);
        Some(Local { unix: u64::try_from(unix).ok()?, utc_offset })
    }

    /// The time without leading zeros in hour, minute and second, as node-socket-im wrote it: `2026-11-20 20:52:3`.
    pub fn unpadded(self) -> String {
        let (hour, minute, second) = self.time().to_hms();
        format!("{} {hour}:{minute}:{second}", self.date())
    }

    fn time(self) -> OffsetDateTime {
        let offset = UtcOffset::from_whole_seconds(self.utc_offset).unwrap_or(UtcOffset::UTC);
        let time = i64::try_from(self.unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
        time.and_then(|time| time.checked_to_offset(offset)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = self.time().to_hms();
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}", self.date())?;
        let sign = if self.utc_offset < 0 { '-' } else { '+' };
        let minutes = self.utc_offset.unsigned_abs() / 60;
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A calendar day. `Display` writes `2026-11-21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// Parses a day in the form `2026-11-21`; `None` if `text` has another form or the day does not exist.
    pub fn parse(text: &str) -> Option<Date> {
        let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let mut parts = text.split('-').filter(|_| plain);
        let date = Date {
            year: parts.next().filter(|year| year.len() == 4)?.parse().ok()?,
            month: parts.next().filter(|month| month.len() == 2)?.parse().ok()?,
            day: parts.next().filter(|day| day.len() == 2)?.parse().ok()?,
        };
        date.calendar().filter(|_| parts.next().is_none()).map(|_| date)
    }

    /// The number of days since 1970-01-01, as [`Now::day`] counts them.
    pub fn number(self) -> i64 {
        let epoch = OffsetDateTime::UNIX_EPOCH.to_julian_day();
        self.calendar().map_or(0, |date| i64::from(date.to_julian_day() - epoch))
    }

    fn calendar(self) -> Option<time::Date> {
        time::Date::from_calendar_date(self.year, time::Month::try_from(self.month).ok()?, self.day).ok()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate() {
        assert_eq!(Time::NEVER.after(Duration::from_secs(1)), Time::NEVER);
        assert_eq!(Time::START.after(Duration::MAX), Time::NEVER);
        assert_eq!(Time::START.since(Time::NEVER), Duration::ZERO);
        assert_eq!(Time::START.ping_after(Duration::MAX), Time::NEVER);
        assert_eq!(Time::from_micros(1).ping_after(Duration::from_secs(25)), Time::from_micros(25_100_000));
        assert_eq!(Time::from_micros(100_000).ping_after(Duration::from_secs(25)), Time::from_micros(25_100_000));
        assert_eq!(Time::from_micros(1).ping_after(Duration::from_millis(80)), Time::from_micros(80_001));
        assert_eq!(Time::from_micros(1500).since(Time::from_micros(500)), Duration::from_millis(1));
    }

    #[test]
    fn lines_are_throttled() {
        let mut throttle = Throttle::default();
        let mut pass = |micros| throttle.pass(Duration::from_micros(10), Time::from_micros(micros));
        assert_eq!([0, 1, 9, 10, 19, 500].map(&mut pass), [Some(0), None, None, Some(2), None, Some(1)]);
    }

    /// Both clocks go on by 0.3 s at a time: the time of an event stays what it was, also when the wall clock's second ends.
    #[test]
    fn the_time_of_an_event_stays_the_same() {
        let now = |step: u64| Now {
            time: Time::from_micros(5_000_000 + step * 300_000),
            unix: (1_000_000_700_000 + step * 300_000) / 1_000_000,
            micros: ((700_000 + step * 300_000) % 1_000_000) as u32,
            utc_offset: 0,
        };
        let event = Time::from_micros(4_400_000);
        assert_eq!((0..20).map(|step| now(step).unix_at(event)).collect::<Vec<_>>(), [1_000_000; 20]);
        assert_eq!(now(0).unix_at(Time::from_micros(4_200_000)), 999_999);
        assert_eq!(Now { unix: 7, ..Now::default() }.unix_at(Time::START), 7);
        assert_eq!(Now { unix: u64::MAX, ..now(0) }.unix_at(Time::NEVER), u64::MAX / 1_000_000);
    }

    #[test]
    fn local_times() {
        let now = |unix, utc_offset| Now { unix, utc_offset, ..Now::default() };
        assert_eq!(now(1_795_247_616, 28_800).local().to_string(), "2026-11-21T15:53:36+08:00");
        assert_eq!(now(1_795_247_616, -12_600).local().to_string(), "2026-11-21T04:23:36-03:30");
        let early = now(1_795_219_203, 28_800).local();
        assert_eq!(early.unpadded(), "2026-11-21 8:0:3");
        assert_eq!(Local::parse_unpadded(&early.unpadded(), 28_800), Some(early));
        for wrong in
            ["", "2026-11-21", "2026-11-21 8:0", "2026-11-21 24:0:0", "2026-11-21 8:0:3:1", "2026-11-21 +8:0:3"]
        {
            assert_eq!(Local::parse_unpadded(wrong, 0), None, "{wrong}");
        }
        let noon = now(1_795_219_200, 0);
        assert_eq!(noon.day(), Date::parse("2026-11-21").unwrap().number());
        assert_eq!(now(1_795_219_199, 0).day(), noon.day() - 1, "the second before midnight");
        assert_eq!(now(1_795_219_199, 1).day(), noon.day(), "local time is ahead of UTC");
        assert_eq!(now(0, -1).day(), -1);
        assert_eq!(now(u64::MAX, 0).local().to_string(), "1970-01-01T00:00:00+00:00", "out of range");
        assert_eq!(Date::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
        for wrong in
            ["", "2026-2-01", "2026-02-30", "20260-1-01", "2026-02-01-", "-026-02-01", "../../../..", "2026-02-1a"]
        {
            assert_eq!(Date::parse(wrong), None, "{wrong}");
        }
    }
}
