//! How sessions end, and whether their users are expected back.

use std::borrow::Cow;

use crate::{
    config::Unknowing,
    language::{Language, say},
    websocket::Close,
};

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client leaves with a DISCONNECT of Socket.IO.
    Left,
    /// An operator or the backend sends the client away.
    Expelled,
    /// relay closes the client.
    Closed(Close),
    /// The client has sent a close frame.
    ClosedByPeer {
        /// The status code of the frame, if it has one.
        code: Option<u16>,
        /// Whether the client uses Socket.IO.
        socketio: bool,
        /// Whether the client had not answered a ping.
        pinged: bool,
    },
    /// The connection has ended without a word.
    Lost,
    /// The client of a WebSocket has not answered a ping. A client of Engine.IO is closed with [`Close::UNRESPONSIVE`] instead.
    TimedOut,
}

/// Whether the user of a session that ends is expected back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It has left on purpose, or must not come back.
    Goodbye,
    /// It may come back, and counts as present for `presence.grace`.
    Loss,
}

impl End {
    /// Whether the user is expected back (docs/protocol.md, Presence, Loss and goodbye).
    pub fn departure(self) -> Departure {
        match self {
            End::Left | End::Expelled => Departure::Goodbye,
            End::Lost | End::TimedOut => Departure::Loss,
            // A restart, a lack of resources, or a client without a sign of life, which may be in a tunnel.
            End::Closed(close) if matches!(close.code, GOING_AWAY | TRY_AGAIN) => Departure::Loss,
            // With an expired login it may come back with a new one.
            End::Closed(Close::UNRESPONSIVE | Close::EXPIRED) => Departure::Loss,
            End::Closed(_) => Departure::Goodbye,
            // A browser sends this for a page that is closed, and also for one that is reloaded.
            End::ClosedByPeer { code: Some(GOING_AWAY), .. } => Departure::Loss,
            // A page that closes its Socket.IO client leaves its namespaces first, so this is a heartbeat without an answer. The
            // clients for Python send the code of a normal end then.
            End::ClosedByPeer { code: None | Some(NORMAL), socketio: true, .. } => Departure::Loss,
            End::ClosedByPeer { code: None, pinged: true, .. } => Departure::Loss,
            End::ClosedByPeer { .. } => Departure::Goodbye,
        }
    }
}

impl End {
    /// How it ends, in words for operators.
    pub fn words(self, language: Language) -> Cow<'static, str> {
        let (english, chinese) = match self {
            End::Left => ("the client has left", "客户端离开"),
            End::Expelled => ("sent away by an operator or the backend", "被管理员或后台断开"),
            End::Closed(Close { code, reason: "" }) => {
                return say!(language, "closed with {code}", "以代码 {code} 关闭").into();
            }
            End::Closed(close) => {
                let (code, reason) = (close.code, close.words(language));
                return say!(language, "closed with {code}: {reason}", "以代码 {code} 关闭：{reason}").into();
            }
            End::ClosedByPeer { code: None, .. } => ("closed by the client", "客户端关闭了连接"),
            End::ClosedByPeer { code: Some(NORMAL), .. } => {
                ("closed by the client with 1000", "客户端以代码 1000 关闭了连接")
            }
            End::ClosedByPeer { code: Some(GOING_AWAY), .. } => {
                ("the page was closed or loaded again", "页面关闭或重新加载")
            }
            End::ClosedByPeer { code: Some(_), .. } => {
                ("closed by the client with a code of its own", "客户端以自定义的代码关闭了连接")
            }
            End::Lost => ("the connection was lost", "连接断开"),
            End::TimedOut => ("no answer to a ping", "没有应答心跳"),
        };
        language.pick(english, chinese).into()
    }

    /// Whether the session is kept for its return (docs/protocol.md, Return).
    pub fn keeps(self, unknowing: Unknowing) -> bool {
        match self {
            End::Expelled => false,
            // Also the answer to the close packet of a Socket.IO client.
            End::Left | End::Closed(Close::NORMAL) => unknowing == Unknowing::User,
            // A page that is loaded again gets its state from its backend.
            End::ClosedByPeer { code: Some(GOING_AWAY), .. } => unknowing == Unknowing::User,
            End::ClosedByPeer { .. } if unknowing == Unknowing::User => true,
            End::Lost | End::TimedOut | End::Closed(_) | End::ClosedByPeer { .. } => {
                self.departure() == Departure::Loss
            }
        }
    }
}

/// The status codes of a normal end, of a peer that goes away, and of a server that has no resources at the moment (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const TRY_AGAIN: u16 = 1013;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::testing::{assert_chinese, samples};

    #[test]
    fn every_end_is_a_loss_or_a_goodbye() {
        let by_peer = |code, socketio, pinged| End::ClosedByPeer { code, socketio, pinged };
        let losses = [
            End::Lost,
            End::TimedOut,
            End::Closed(Close::GOING_AWAY),
            End::Closed(Close::UNRESPONSIVE),
            End::Closed(Close::SLOW),
            End::Closed(Close::SHORT),
            End::Closed(Close::UNFINISHED),
            End::Closed(Close::EXPIRED),
            by_peer(Some(1001), false, false),
            by_peer(Some(1001), true, false),
            by_peer(None, true, false),
            by_peer(Some(1000), true, true),
            by_peer(None, false, true),
        ];
        let goodbyes = [
            End::Left,
            End::Expelled,
            End::Closed(Close::NORMAL),
            End::Closed(Close::PROTOCOL),
            End::Closed(Close::NOT_UTF8),
            End::Closed(Close::RATE),
            End::Closed(Close::POSTS_OFF),
            End::Closed(Close::OPERATOR),
            End::Closed(Close::SOURCE_GONE),
            End::Closed(Close::NOT_ADMITTED),
            End::Closed(Close::TOO_BIG),
            by_peer(Some(1000), false, false),
            by_peer(Some(4000), false, true),
            by_peer(None, false, false),
        ];
        for end in losses.into_iter().filter(|end| !matches!(end, End::ClosedByPeer { code: Some(1001), .. })) {
            assert!(end.keeps(Unknowing::Return) && end.keeps(Unknowing::User), "{end:?}");
        }
        for end in goodbyes {
            let by_client = matches!(end, End::Left | End::Closed(Close::NORMAL) | End::ClosedByPeer { .. });
            assert_eq!((end.keeps(Unknowing::Return), end.keeps(Unknowing::User)), (false, by_client), "{end:?}");
        }
        for end in losses {
            assert_eq!(end.departure(), Departure::Loss, "{end:?}");
        }
        for end in goodbyes {
            assert_eq!(end.departure(), Departure::Goodbye, "{end:?}");
        }
    }

    #[test]
    fn operators_get_them_in_chinese() {
        let by_peer = |code| End::ClosedByPeer { code, socketio: false, pinged: false };
        let mut all = samples!(End:
            End::Left => End::Left,
            End::Expelled => End::Expelled,
            End::Closed(_) => End::Closed(Close::NORMAL),
            End::ClosedByPeer { .. } => by_peer(None),
            End::Lost => End::Lost,
            End::TimedOut => End::TimedOut,
        );
        all.extend([NORMAL, GOING_AWAY, 4000].map(|code| by_peer(Some(code))));
        all.extend(Close::ALL.iter().copied().map(End::Closed));
        for end in all {
            assert_chinese(&end.words(Language::Chinese), &[]);
        }
        assert_eq!(End::Closed(Close::NORMAL).words(Language::English), "closed with 1000");
        assert_eq!(End::Closed(Close::SLOW).words(Language::English), "closed with 1013: slow consumer");
        assert_eq!(End::Closed(Close::SLOW).words(Language::Chinese), "以代码 1013 关闭：接收过慢");
    }
}
