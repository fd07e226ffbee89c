//! Why a connection is closed.

use crate::language::Language;

/// A status code and a reason (RFC 6455 sections 5.5.1 and 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: &'static str,
}

/// Names closes: the code, the reason on the wire, and what it means in Chinese, for operators.
macro_rules! closes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $reason:literal, $chinese:literal;)*) => {
        impl Close {
            $($(#[doc = $doc])+ pub const $name: Close = Close { code: $code, reason: $reason };)*

            /// All.
            #[cfg(test)]
            pub const ALL: &[Close] = &[$(Close::$name,)*];

            /// The reason, in words for operators.
            pub fn words(self, language: Language) -> &'static str {
                let chinese = match self {
                    $(Close::$name => $chinese,)*
                    other => other.reason,
                };
                language.pick(self.reason, chinese)
            }
        }
    };
}

closes! {
    /// The client closed its Engine.IO session.
    NORMAL = 1000, "", "";
    /// relay is shutting down; the client should reconnect.
    GOING_AWAY = 1001, "relay is stopping, come back", "relay 正在停止，请稍后重连";
    /// The client violated the protocol, or ten of its logins were refused.
    PROTOCOL = 1002, "protocol error", "协议错误";
    /// The Engine.IO session has a WebSocket already, or one that probes.
    SECOND = 1008, "the session has a WebSocket already", "该会话已有 WebSocket";
    /// A text message is not UTF-8.
    NOT_UTF8 = 1007, "text must be UTF-8", "文本必须是 UTF-8";
    /// The client did not answer a ping, joined no namespace in time, or did not send all attachments in time.
    UNRESPONSIVE = 1008, "no sign of life", "没有任何应答";
    /// The client exceeded `limits.message_rate`, or with `format=text` sent a message that is too large for so many
    /// rooms.
    RATE = 1008, "message rate limit exceeded!", "消息发送过快";
    /// A client with `format=text` sent a message, which `client_posts` of its source does not allow.
    POSTS_OFF = 1008, "clients of this source can not post!", "该源的客户端无权发送";
    /// A client with `format=text` sent a message, and its login only allows it to read.
    READ_ONLY = 1008, "this login can not post!", "该登录无权发送";
    /// The login was valid for a limited time, which has passed. The code is one for private use (RFC 6455 section 7.4.2), like
    /// HTTP's 401, so that a client can tell it from other ends without looking at the text.
    EXPIRED = 4401, "the login has expired, log in again", "登录过期，请重新登录";
    /// An operator or the backend disconnected the client.
    OPERATOR = 1008, "disconnected by the operator", "被管理员断开";
    /// The source or the namespace was removed from the configuration.
    SOURCE_GONE = 1008, "this source can not be configured!", "没有配置该源";
    /// After a reload, the session would no longer be admitted: its namespace asks for a signature or the backend's decision
    /// now, or has another source.
    NOT_ADMITTED = 1008, "the configuration changed, log in again", "配置变更，请重新登录";
    /// A message exceeds `limits.message`, or a Socket.IO packet exceeds `socketio.max_payload`.
    TOO_BIG = 1009, "message too big", "消息过大";
    /// The client was in no namespace, and its place was needed for another.
    UNJOINED = 1013, "too many clients without a namespace", "没有加入命名空间的客户端过多";
    /// A message of the client is incomplete, and all incomplete requests and messages together reach `limits.unfinished`.
    UNFINISHED = 1013, "too many messages are incomplete, try again later", "未完整的消息过多，请稍后重试";
    /// A message of the client is incomplete, and `limits.memory` is reached.
    SHORT = 1013, "relay is short of memory, try again later", "relay 内存不足，请稍后重试";
    /// The client reads its messages too slowly: `limits.unsent` is exceeded, or `limits.memory` is.
    SLOW = 1013, "slow consumer", "接收过慢";
}

impl Close {
    /// The close frame.
    pub fn frame(self) -> Vec<u8> {
        [0x88, 2 + self.reason.len() as u8].into_iter().chain(self.payload()).collect()
    }

    /// The payload of the close frame.
    pub fn payload(self) -> impl Iterator<Item = u8> {
        self.code.to_be_bytes().into_iter().chain(self.reason.bytes())
    }
}
