//! Every bound of contract section 12, once: its key, its default, its unit, and what happens there.

use core::time::Duration;

/// What one bound is about.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The key in `[limits]`.
    pub key: &'static str,
    /// What it is when nobody says anything; durations in milliseconds, though the file says seconds.
    pub default: u64,
    /// The least and the most it may be set to.
    pub range: (u64, u64),
    /// Whether zero lifts it.
    pub liftable: bool,
    /// What is counted.
    pub unit: &'static str,
    /// What who reaches it sees.
    pub effect: &'static str,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $key:ident = $default:literal, $low:literal..=$high:literal, $liftable:literal, $unit:literal, $effect:literal;)*) => {
        /// The bounds in force.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $key: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($key: $default,)* }
            }
        }

        /// The table of contract section 12.
        pub const TABLE: &[Limit] = &[$(Limit {
            key: stringify!($key), default: $default, range: ($low, $high), liftable: $liftable, unit: $unit, effect: $effect,
        },)*];

        impl Limits {
            /// The bound of that key, to set.
            pub fn by_key(&mut self, key: &str) -> Option<&mut u64> {
                match key {
                    $(stringify!($key) => Some(&mut self.$key),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Connections of all kinds at once; zero: what `RLIMIT_NOFILE` allows less 64.
    connections = 0, 1..=10_000_000, true, "connections", "503 and close, then accepting pauses";
    /// Bytes of a request's line and headers.
    request_head = 16384, 256..=65535, false, "bytes", "431";
    /// Header lines of a request.
    request_headers = 100, 8..=256, false, "lines", "431";
    /// Milliseconds a request's head may take to arrive, and the longest pause within its body.
    request_timeout = 10_000, 10..=3_600_000, false, "seconds", "408";
    /// Milliseconds a connection may wait for its next request.
    keep_alive = 75_000, 10..=86_400_000, false, "seconds", "closed";
    /// Bytes of a request's body.
    body = 1_000_000, 1024..=1_073_741_824, false, "bytes", "413";
    /// Bytes of a client's message.
    message = 1_000_000, 128..=1_073_741_824, false, "bytes", "WebSocket close 1009";
    /// Rooms a session may be in, and may name in one message.
    rooms_per_session = 100, 1..=65535, false, "rooms", "refused with why";
    /// Bytes of a room's name.
    room_id = 128, 1..=4096, false, "bytes", "refused with why";
    /// Bytes that may wait for one client beyond what the kernel holds.
    unsent = 1_048_576, 4096..=1_073_741_824, false, "bytes", "slow consumer: closed with 1013";
    /// Messages a client may send each second.
    message_rate = 200, 1..=1_000_000, true, "messages/s", "sys_error";
    /// Messages a client may send at once after a rest.
    message_burst = 400, 1..=10_000_000, false, "messages", "sys_error";
}

impl Limit {
    /// Whether the file gives seconds, with fractions, and [`Limits`] milliseconds.
    pub fn is_duration(&self) -> bool {
        self.unit == "seconds"
    }
}

impl Limits {
    /// [`Limits::request_timeout`] as a duration.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout)
    }

    /// [`Limits::keep_alive`] as a duration.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_possible() {
        let mut limits = Limits::default();
        for limit in TABLE {
            let default = *limits.by_key(limit.key).unwrap();
            assert_eq!(default, limit.default);
            let possible = limit.range.0..=limit.range.1;
            assert!(possible.contains(&default) || (limit.liftable && default == 0), "{}", limit.key);
        }
    }
}
