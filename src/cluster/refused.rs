//! Why publications of other relays, old servers and backends are refused.

use core::{error, fmt};

use crate::{
    language::{Language, say},
    state::Refusal,
};

/// Why a publication is refused. `Display` is the reason in the message log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than the limit.
    TooLong {
        /// Its length in bytes.
        bytes: u64,
        /// The limit in bytes.
        longest: u64,
    },
    /// It is not UTF-8.
    NotText,
    /// It is JSON that is nested more than 128 levels deep.
    TooDeep,
    /// It is not a JSON object.
    NotObject,
    /// A command without the signature that `redis.secret` requires.
    Unsigned,
    /// The `node` of a command is empty or has more than this many bytes.
    Node(usize),
    /// The `to` of a `refresh` is unknown.
    RefreshTarget(String),
    /// The name of an event is empty, or reserved by Socket.IO.
    EventName(String),
    /// The arguments of an event are not an array.
    Args,
    /// The `to` of an event is unknown.
    Recipients(String),
    /// JSON with a placeholder whose attachment is missing.
    Attachment,
    /// A command about who is in which room is malformed.
    Presence,
    /// A command about who gets a message is malformed.
    Receipt,
    /// A message with `from_sys` in place of a signature, which `redis.trust_from_sys` does not allow.
    FromSys,
    /// A message that is refused for the same reason as a notification.
    Message(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::Message(refusal)
    }
}

impl Refused {
    /// The reason in a language.
    pub fn words(&self, language: Language) -> String {
        let (english, chinese) = match self {
            Refused::TooLong { bytes, longest } => {
                return say!(
                    language,
                    "the message has {bytes} bytes; at most {longest} are accepted",
                    "消息有 {bytes} 字节，最多接受 {longest} 字节"
                );
            }
            Refused::NotText => ("the message is not UTF-8", "消息不是 UTF-8"),
            Refused::TooDeep => ("the message is nested more than 128 levels deep", "消息的嵌套超过 128 层"),
            Refused::NotObject => ("the message is not a JSON object", "消息不是 JSON 对象"),
            Refused::Unsigned => ("the command is not signed with redis.secret", "命令没有用 redis.secret 签名"),
            Refused::Node(longest) => {
                return say!(
                    language,
                    "the command's node must have 1 to {longest} bytes",
                    "命令的 node 必须有 1 至 {longest} 字节"
                );
            }
            Refused::RefreshTarget(to) => {
                return say!(language, "unknown target of refresh: {to:?}", "未知的 refresh 目标：{to:?}");
            }
            Refused::EventName(name) => {
                return say!(
                    language,
                    "the event's name is empty or reserved: {name:?}",
                    "事件名为空或被保留：{name:?}"
                );
            }
            Refused::Args => ("the event's args must be an array", "事件的 args 必须是数组"),
            Refused::Recipients(to) => {
                return say!(language, "unknown recipients of an event: {to:?}", "未知的事件接收者：{to:?}");
            }
            Refused::Attachment => ("a placeholder without its attachment", "占位符缺少附件"),
            Refused::Presence => ("the command about who is in a room is malformed", "有关房间里有谁的命令格式不正确"),
            Refused::Receipt => ("the command about who gets a message is malformed", "有关谁收到消息的命令格式不正确"),
            Refused::FromSys => (
                "from_sys does not replace a signature, because redis.trust_from_sys is false",
                "from_sys 不能代替签名，因为 redis.trust_from_sys 为 false",
            ),
            Refused::Message(refusal) => {
                let text = refusal.words(language);
                return match refusal.reason_words(language) {
                    Some(reason) => say!(language, "{text} ({reason})", "{text}（{reason}）"),
                    None => text.into(),
                };
            }
        };
        language.pick(english, chinese).into()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(Language::English))
    }
}

impl error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        language::testing::{assert_chinese, samples},
        sign::SignError,
    };

    #[test]
    fn operators_get_them_in_chinese() {
        let all = samples!(Refused:
            Refused::TooLong { .. } => Refused::TooLong { bytes: 5, longest: 4 },
            Refused::NotText => Refused::NotText,
            Refused::TooDeep => Refused::TooDeep,
            Refused::NotObject => Refused::NotObject,
            Refused::Unsigned => Refused::Unsigned,
            Refused::Node(_) => Refused::Node(8),
            Refused::RefreshTarget(_) => Refused::RefreshTarget("x".into()),
            Refused::EventName(_) => Refused::EventName("x".into()),
            Refused::Args => Refused::Args,
            Refused::Recipients(_) => Refused::Recipients("x".into()),
            Refused::Attachment => Refused::Attachment,
            Refused::Presence => Refused::Presence,
            Refused::Receipt => Refused::Receipt,
            Refused::FromSys => Refused::FromSys,
            Refused::Message(_) => Refused::Message(Refusal::NotifySignWrong(SignError::Mismatch)),
        );
        for refused in all.into_iter().chain([Refused::Message(Refusal::RoomMissing)]) {
            let names = ["args", "false", "from_sys", "node", "redis.secret", "redis.trust_from_sys", "refresh"];
            let names = [&names[..], &["room_id", "sign", "x"]].concat();
            assert_chinese(&refused.words(Language::Chinese), &names);
        }
        let wrong = Refused::Message(Refusal::NotifySignWrong(SignError::Mismatch));
        assert_eq!(
            wrong.to_string(),
            "api notify sign verify failed! (sign was not made from these fields with the key of the source)"
        );
    }
}
