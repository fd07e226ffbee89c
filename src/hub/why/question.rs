//! Questions of operators, and their answers.

use crate::{clock::Time, key::ClientKey, language::Language, message::MessageId, state::TenantId};

/// A question of an operator, with at least one of a message, a user, a room and a session.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The source.
    pub tenant: TenantId,
    /// A message.
    pub id: Option<MessageId>,
    /// A user; empty if it is about none.
    pub userid: &'a str,
    /// A room; empty if it is about none.
    pub room: &'a str,
    /// A session; empty if it is about none. It may have ended.
    pub socket_id: &'a str,
    /// The stamps up to which clients have all messages, as their kernels say. Of others only what they have proven is known.
    pub confirmed: &'a [(ClientKey, u64)],
}

impl Question<'_> {
    /// Whether it is about a user or a session.
    pub fn is_personal(&self) -> bool {
        !self.userid.is_empty() || !self.socket_id.is_empty()
    }
}

/// The answer to a question.
#[derive(Debug, Default)]
pub struct Explanation {
    /// Since when the journal has everything but refusals. `None`: since relay was started.
    pub since: Option<Time>,
    /// Since when it has all refusals. `None`: since relay was started.
    pub refusals_since: Option<Time>,
    /// The events, the oldest first.
    pub lines: Vec<Line>,
    /// What follows from it.
    pub verdicts: Vec<String>,
    /// The advice, each piece once.
    pub advice: Vec<Advice>,
}

/// Something that has happened.
#[derive(Debug)]
pub struct Line {
    /// When.
    pub time: Time,
    /// What, in words.
    pub text: String,
    /// The id of the message that was published, if it is known.
    pub id: Option<MessageId>,
}

macro_rules! advice {
    ($($(#[doc = $doc:literal])+ $name:ident = $english:literal, $chinese:literal;)*) => {
        /// What can be done about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Advice {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Advice {
            /// All.
            #[cfg(test)]
            pub const ALL: &[Advice] = &[$(Advice::$name,)*];

            /// The words for operators.
            pub fn text(self, language: Language) -> &'static str {
                let (english, chinese) = match self {
                    $(Advice::$name => ($english, $chinese),)*
                };
                language.pick(english, chinese)
            }
        }
    };
}

advice! {
    /// The message is not known.
    Unknown =
        "compare the id and the source with the answer to the notification; with several relays, ask each of them",
        "核对消息 id 和源是否与通知的应答一致；有多个节点时，逐个查询";
    /// The session was not in the room.
    NotMember =
        "let the client name the room in room_ids at its login, or join it: room ids are compared byte for byte",
        "让客户端在登录时用 room_ids 指明该房间，或之后加入：房间 id 按字节逐一比较";
    /// The room keeps nothing.
    KeepsNothing =
        "let the room keep messages, with count in [history] or in [history] rooms",
        "让该房间保存消息：设置 [history] 中的 count，或 [history] rooms";
    /// A login was refused.
    Refused =
        "cure the refusal: docs/troubleshooting.md has each text, and relay sign --explain says what is wrong with a signature",
        "消除拒绝的原因：docs/troubleshooting.md 按英文原文列出了各种拒绝，relay sign --explain 可说明签名错在哪里";
    /// A session has ended and has not come back.
    NotBack =
        "let the client connect again by itself, and say since when it has been away (since), or raise recovery.window",
        "让客户端自行重连，并用 since 说明从何时起离线，或调大 recovery.window";
    /// Connections are lost.
    Lost =
        "find out what ends the connections: the client's network, or a time-out of the proxy (relay doctor URL); relay trace shows the next loss",
        "查明连接因何断开：客户端的网络，或代理的超时（relay doctor URL）；relay trace 可显示下一次断线";
    /// A client reads too slowly.
    Slow =
        "find out why the client reads slowly (its network, or a page in the background), send it less, or raise limits.unsent",
        "查明客户端为何接收过慢（其网络，或页面在后台），减少发给它的消息，或调大 limits.unsent";
    /// The history had dropped messages before they were sent.
    Gap =
        "raise count, age or bytes in [history], and let the page load what is missing when it gets recovered: false",
        "调大 [history] 中的 count、age 或 bytes，并让页面在收到 recovered 为 false 时加载缺失的内容";
    /// Messages were lost between relays.
    Missed =
        "look at relay_redis_missed_total, the log about Redis, and client-output-buffer-limit pubsub of Redis",
        "查看 relay_redis_missed_total、有关 Redis 的日志，以及 Redis 的 client-output-buffer-limit pubsub";
    /// A message of a client was refused.
    OwnRefused =
        "docs/troubleshooting.md has the text; too many messages: limits.message_rate",
        "docs/troubleshooting.md 按英文原文列出了各种拒绝；如果是发送过快，见 limits.message_rate";
    /// The backend has not answered.
    HookFailed =
        "look at the backend of [hooks], its log and hooks.timeout",
        "查看 [hooks] 的后台、它的日志和 hooks.timeout";
    /// A publication was refused.
    PublicationRefused =
        "let the backend read the answer to its notification: code is 0, and msg says why",
        "让后台读取通知的应答：被拒绝时 code 为 0，msg 说明原因";
    /// A publication repeats another one.
    Repeated =
        "give each message an idempotency_key of its own",
        "为每条消息使用各自的 idempotency_key";
    /// relay has done all it can.
    Sent =
        "look in the page: relay can not see what a page does with a message",
        "检查页面：relay 看不到页面如何处理消息";
    /// The client has not confirmed it.
    Unconfirmed =
        "if this stays so, the connection is lost, which its heartbeat finds out (ping_interval)",
        "如果一直如此，则连接已断开，心跳会发现这一点（ping_interval）";
    /// An operator or the backend ends sessions.
    SentAway =
        "ask who sends POST /api/disconnect, or which answers of the backend have disconnect",
        "查明谁在发送 POST /api/disconnect，或后台的哪些应答带有 disconnect";
}
