//! The limits (`docs/protocol.md`, Limits): key, default, range, unit and effect of each.
//!
//! [`TABLE`] is the only definition: the parser of the configuration uses it, and tests compare README and
//! `etc/relay.toml` with it.

use core::time::Duration;

/// The definition of one limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The key in `[limits]`.
    pub key: &'static str,
    /// The default. Durations are in milliseconds, although the file has seconds.
    pub default: u64,
    /// The smallest and the largest value, in the unit of `default`.
    pub range: (u64, u64),
    /// What 0 means, if it is allowed.
    pub zero: Option<&'static str>,
    /// The unit in the file.
    pub unit: &'static str,
    /// The consequence for a client that exceeds it.
    pub effect: &'static str,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $key:ident = $default:literal, $low:literal..=$high:literal, $zero:expr, $unit:literal, $effect:literal;)*) => {
        /// The limits in force. Durations are in milliseconds; 0 means no limit where the limit may be lifted.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $key: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($key: $default,)* }
            }
        }

        /// Every limit, in the order of the configuration file.
        pub const TABLE: &[Limit] = &[$(Limit {
            key: stringify!($key), default: $default, range: ($low, $high), zero: $zero, unit: $unit, effect: $effect,
        },)*];

        impl Limits {
            /// The value of the limit called `key`, or `None` if there is no such limit.
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
    /// Open connections of all kinds; 0: `RLIMIT_NOFILE` less 64.
    connections = 0, 1..=10_000_000, Some("`RLIMIT_NOFILE` less 64"), "connections", "503 and close, then accepting pauses";
    /// Connections and Engine.IO sessions of one address; 0: a quarter of `connections`, at least 256.
    per_address = 0, 1..=10_000_000, Some("a quarter of `connections`, at least 256"), "connections", "429 and close; handshakes 429";
    /// Bytes of a request line with its headers.
    request_head = 16384, 256..=65535, None, "bytes", "431";
    /// Header lines of a request.
    request_headers = 100, 8..=256, None, "lines", "431";
    /// Milliseconds within which the head of a request must arrive, and the longest pause within its body.
    request_timeout = 10_000, 10..=3_600_000, None, "seconds", "408";
    /// Milliseconds that a connection may be idle between two requests.
    keep_alive = 75_000, 10..=86_400_000, None, "seconds", "closed";
    /// Bytes of a request's body.
    body = 1_000_000, 1024..=1_073_741_824, None, "bytes", "413";
    /// Bytes of a message from a client.
    message = 1_000_000, 128..=1_073_741_824, None, "bytes", "WebSocket close 1009";
    /// Rooms that a session may join, and that one message may name.
    rooms_per_session = 100, 1..=65535, None, "rooms", "refused with the reason";
    /// Bytes of the name of a room.
    room_id = 128, 1..=4096, None, "bytes", "refused with the reason";
    /// Bytes by which the unsent data of one client may grow after it fell behind, without those in the kernel.
    unsent = 1_048_576, 4096..=1_073_741_824, None, "bytes", "slow consumer: closed with 1013";
    /// Bytes of incomplete requests and messages of all connections together.
    unfinished = 33_554_432, 1_048_576..=1_099_511_627_776, None, "bytes", "503, WebSocket close 1013";
    /// Bytes that relay may allocate; 0: half of what the machine, the cgroup or `RLIMIT_AS` has.
    memory = 0, 16_777_216..=1_099_511_627_776, Some("half of what the machine, the cgroup or `RLIMIT_AS` has"), "bytes", "slow clients and incomplete input are dropped, then 503";
    /// Messages per second from one client.
    message_rate = 200, 1..=1_000_000, Some("no limit"), "messages/s", "sys_error";
    /// Messages that a client may send at once after a pause.
    message_burst = 400, 1..=10_000_000, None, "messages", "sys_error";
    /// Deliveries per second that the messages of one client may cause.
    delivery_rate = 50_000, 1..=1_000_000_000, Some("no limit"), "deliveries/s", "sys_error";
}

impl Limit {
    /// Whether the limit is a duration: seconds, with fractions, in the file; milliseconds in [`Limits`].
    pub fn is_duration(&self) -> bool {
        self.unit == "seconds"
    }
}

impl Limits {
    /// Bytes of incomplete input above which more is refused: [`Limits::unfinished`], or half of it for clients before their
    /// login, so that strangers cannot use up the other half. Two bodies or messages of the largest size fit into a half.
    pub fn max_unfinished(&self, logged_in: bool) -> usize {
        let all = self.unfinished.max(4 * self.body.max(self.message));
        usize::try_from(if logged_in { all } else { all / 2 }).unwrap_or(usize::MAX)
    }

    /// [`Limits::request_timeout`] as a duration.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout)
    }

    /// [`Limits::per_address`] if there may be `connections` connections.
    pub fn per_address(&self, connections: u64) -> u64 {
        if self.per_address == 0 { (connections / 4).max(256) } else { self.per_address }
    }

    /// [`Limits::keep_alive`] as a duration.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive)
    }
}

/// Bytes of a message, or of the body of a request, from a client that has not logged in: enough for the logins to several
/// namespaces in one body. The bodies of signed requests are apart: they bring their signature with them.
pub const MAX_BEFORE_LOGIN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_range() {
        let mut limits = Limits::default();
        for limit in TABLE {
            let default = *limits.by_key(limit.key).unwrap();
            assert_eq!(default, limit.default);
            let range = limit.range.0..=limit.range.1;
            assert!(range.contains(&default) || (limit.zero.is_some() && default == 0), "{}", limit.key);
        }
    }
}
