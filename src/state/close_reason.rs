//! Why sessions end, as `relay_closes_total` counts it (docs/protocol.md, Metrics).

use super::departure::End;
use crate::websocket::Close;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal,)*) => {
        /// Why a session ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CloseReason {
            $($(#[doc = $doc])+ $reason,)*
        }

        impl CloseReason {
            /// All reasons, with their names in metrics.
            pub const ALL: [(CloseReason, &str); [$($name),*].len()] = [$((CloseReason::$reason, $name)),*];
        }
    };
}

reasons! {
    /// The client has left: with a close frame, or with a DISCONNECT of Socket.IO.
    Client = "client",
    /// The connection has ended without a word, or a page was closed or loaded again.
    Lost = "lost",
    /// The client has not answered a ping.
    Timeout = "timeout",
    /// A slow consumer.
    Slow = "slow",
    /// An operator or the backend has ended it.
    Operator = "operator",
    /// The login has expired.
    Expired = "expired",
    /// The configuration does not admit it any more.
    Config = "config",
    /// The client has broken the protocol, or has sent text that is not UTF-8.
    Protocol = "protocol",
    /// `limits.message_rate` or `limits.delivery_rate`.
    Rate = "rate",
    /// The client has posted and may not.
    Posts = "posts",
    /// A message was too big.
    TooBig = "too_big",
    /// Too many messages were incomplete (`limits.unfinished`).
    Unfinished = "unfinished",
    /// `limits.memory`.
    Memory = "memory",
    /// relay has stopped.
    Stopping = "stopping",
}

impl CloseReason {
    /// Its name in metrics and in `client.log`.
    pub fn name(self) -> &'static str {
        CloseReason::ALL[self as usize].1
    }

    /// Why a client is closed.
    pub fn of_close(close: Close) -> CloseReason {
        match close {
            Close::NORMAL => CloseReason::Client,
            Close::GOING_AWAY => CloseReason::Stopping,
            Close::UNRESPONSIVE => CloseReason::Timeout,
            Close::SLOW => CloseReason::Slow,
            Close::OPERATOR => CloseReason::Operator,
            Close::EXPIRED => CloseReason::Expired,
            Close::SOURCE_GONE | Close::NOT_ADMITTED => CloseReason::Config,
            Close::RATE => CloseReason::Rate,
            Close::POSTS_OFF | Close::READ_ONLY => CloseReason::Posts,
            Close::TOO_BIG => CloseReason::TooBig,
            Close::UNFINISHED => CloseReason::Unfinished,
            Close::SHORT | Close::UNJOINED => CloseReason::Memory,
            _ => CloseReason::Protocol,
        }
    }

    /// Why a session ends that ends so.
    pub fn of(end: End) -> CloseReason {
        match end {
            End::Left => CloseReason::Client,
            End::Expelled => CloseReason::Operator,
            End::Closed(close) => CloseReason::of_close(close),
            End::TimedOut | End::ClosedByPeer { pinged: true, .. } => CloseReason::Timeout,
            End::ClosedByPeer { code: Some(GOING_AWAY), .. } | End::Lost => CloseReason::Lost,
            End::ClosedByPeer { .. } => CloseReason::Client,
        }
    }
}

/// A page that is closed or loaded again (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names() {
        let names: BTreeSet<_> = CloseReason::ALL.iter().map(|(_, name)| *name).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
        for (index, (reason, name)) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn ends() {
        let by_peer = |code, pinged| End::ClosedByPeer { code, socketio: false, pinged };
        for (end, name) in [
            (End::Left, "client"),
            (End::Expelled, "operator"),
            (End::Lost, "lost"),
            (End::TimedOut, "timeout"),
            (End::Closed(Close::NORMAL), "client"),
            (End::Closed(Close::NOT_UTF8), "protocol"),
            (End::Closed(Close::SECOND), "protocol"),
            (End::Closed(Close::READ_ONLY), "posts"),
            (End::Closed(Close::SOURCE_GONE), "config"),
            (by_peer(Some(1000), false), "client"),
            (by_peer(Some(1001), false), "lost"),
            (by_peer(None, true), "timeout"),
        ] {
            let found = CloseReason::of(end);
            let known = CloseReason::ALL.into_iter().find(|(reason, _)| *reason == found).unwrap();
            assert_eq!(known.1, name, "{end:?}");
        }
    }
}
