//! Reasons for refusals. Clients compare their texts, so they are defined here and nowhere else.

use core::{error, fmt};
use std::borrow::Cow;

use crate::{
    json::{MAX_DEPTH, quote},
    language::{Language, say},
    names::NameError,
    sign::{Explanation, SignError, TokenError},
};

/// The reason why a login, a notification or a client's event is refused (docs/protocol.md, Logins, Notifications, and
/// Namespaces and rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue of calls to the backend is full, or the call waited in it for too long.
    BackendBusy,
    /// The backend gave no usable answer to a hook.
    BackendDown,
    /// A binary frame from a client with `format=json`.
    BinaryNotJson,
    /// A field has a control character, which would blur what its signature covers.
    ControlCharacter(&'static str),
    /// A login, join or leave without a signature.
    ConnectSignMissing,
    /// The backend refuses a login and says no reason.
    NotAllowed,
    /// A message whose copies for all its rooms are too large together.
    TooLargeForRooms,
    /// A login, join or leave with a wrong signature.
    ConnectSignWrong(SignError),
    /// A message without data.
    DataMissing,
    /// A field of a login, or an `idempotency_key`, is longer than this many bytes.
    FieldTooLong(&'static str, usize),
    /// `filename` would lead to a message log file of another source.
    FilenameTaken,
    /// `filename` has characters that a file name may not have.
    FilenameUnsafe,
    /// A request with this `idempotency_key` and other fields was accepted before.
    KeyReused,
    /// The namespace is not configured.
    NamespaceUnknown,
    /// A client posts to a room that it is not in, which `client_posts` of its source does not allow.
    NotMember,
    /// A client asks who is in a room that it is not in.
    NotInRoom,
    /// `ms` of a notification is out of range.
    MsRange(u64),
    /// No receiver acknowledged the event in time.
    NoAnswer,
    /// The user has no session.
    NotLoggedIn,
    /// A login is renewed for another user.
    OtherUser,
    /// The text of a frame is not a JSON object.
    NotJson,
    /// A notification without a signature.
    NotifySignMissing,
    /// A notification or an emitted event with a wrong signature.
    NotifySignWrong(SignError),
    /// The message is large, and `limits.memory` is reached.
    NoMemory,
    /// A client posts, which `client_posts` of its source does not allow.
    PostsOff,
    /// The client exceeds `limits.message_rate` or `limits.delivery_rate`.
    RateExceeded,
    /// A client posts, and its login only allows it to read.
    ReadOnly,
    /// A notification or an emitted event whose signature has been used before.
    Replayed,
    /// A message without a room.
    RoomMissing,
    /// The token of a login does not allow a room.
    RoomNotAllowed,
    /// A room id in an array has a comma, which separates room ids.
    RoomComma,
    /// A room id in an array is neither a string nor a number.
    RoomNotText,
    /// A room id is longer than this many bytes.
    RoomTooLong(usize),
    /// `receipt` of a notification is not one of its values.
    ReceiptUnknown,
    /// A notification with a receipt has more rooms than this number.
    ReceiptRooms(usize),
    /// A login, join or leave without a room.
    RoomsMissing,
    /// More rooms than this number.
    RoomsTooMany(usize),
    /// The source is missing.
    SourceMissing,
    /// The source is not configured.
    SourceUnknown,
    /// The token of a login is not valid.
    TokenWrong(TokenError),
    /// A field has JSON that is nested too deeply.
    TooDeep(&'static str),
    /// No rule handles the event, or the backend is not called for events.
    UnknownEvent,
    /// `wait` of a notification is not one of its values, or is missing beside `ms`.
    WaitUnknown,
}

impl Refusal {
    /// The text that clients and backends get.
    pub fn text(self) -> Cow<'static, str> {
        self.words(Language::English)
    }

    /// The text in a language. Clients and backends get the English one, which existing programs compare: never change one.
    pub fn words(self, language: Language) -> Cow<'static, str> {
        let (english, chinese) = match self {
            Refusal::BackendBusy => ("the backend is busy!", "后台繁忙"),
            Refusal::BackendDown => ("the backend does not answer!", "后台没有应答"),
            Refusal::BinaryNotJson => ("binary messages need format=text!", "二进制消息需要 format=text"),
            Refusal::ControlCharacter(name) => {
                return say!(language, "{name} can not have control characters!", "{name} 不能含有控制字符").into();
            }
            Refusal::ConnectSignMissing => ("cilent connect sign can not be null!", "登录缺少 sign"),
            Refusal::ConnectSignWrong(_) => ("sign verify failed!", "签名校验失败"),
            Refusal::DataMissing => ("data can not be null!", "data 不能为空"),
            Refusal::FieldTooLong(name, max) => {
                return say!(language, "{name} can not be longer than {max} bytes!", "{name} 不能超过 {max} 字节")
                    .into();
            }
            Refusal::FilenameTaken => ("filename belongs to another source!", "filename 属于其他源"),
            Refusal::FilenameUnsafe => (
                "filename can only have 1 to 64 of A-Z a-z 0-9 . _ -!",
                "filename 只能由 1 至 64 个 A-Z a-z 0-9 . _ - 字符组成",
            ),
            Refusal::KeyReused => ("idempotency_key was used for another request!", "idempotency_key 已用于另一个请求"),
            Refusal::MsRange(max) => {
                return say!(language, "ms must be a whole number from 1 to {max}!", "ms 必须是 1 至 {max} 的整数")
                    .into();
            }
            Refusal::NamespaceUnknown => ("Invalid namespace", "命名空间无效"),
            Refusal::NoAnswer => ("nobody answered!", "没有接收者应答"),
            Refusal::NoMemory => ("relay is short of memory!", "relay 内存不足"),
            Refusal::NotAllowed => ("not allowed!", "不允许"),
            Refusal::NotLoggedIn => ("未登录", "未登录"),
            Refusal::NotMember => ("only members of a room can post to it!", "只有房间的成员可以向该房间发送"),
            Refusal::NotInRoom => ("only members of a room can ask who is in it!", "只有房间的成员可以查询房间里有谁"),
            Refusal::NotJson => ("message must be a JSON object!", "消息必须是 JSON 对象"),
            Refusal::NotifySignMissing => ("sign can not be null!", "缺少 sign"),
            Refusal::NotifySignWrong(_) => ("api notify sign verify failed!", "通知的签名校验失败"),
            Refusal::OtherUser => ("renew needs a login of the same user!", "renew 必须使用同一用户的登录"),
            Refusal::PostsOff => ("clients of this source can not post!", "该源的客户端无权发送"),
            Refusal::RateExceeded => ("message rate limit exceeded!", "消息发送过快"),
            Refusal::ReadOnly => ("this login can not post!", "该登录无权发送"),
            Refusal::ReceiptUnknown => ("receipt must be 1 or count!", "receipt 必须是 1 或 count"),
            Refusal::ReceiptRooms(max) => {
                return say!(
                    language,
                    "a receipt can not have more than {max} rooms!",
                    "需要 receipt 时最多 {max} 个房间"
                )
                .into();
            }
            Refusal::Replayed => ("sign was used before!", "sign 已使用过"),
            Refusal::RoomComma => ("room_id can not have commas!", "room_id 不能含有逗号"),
            Refusal::RoomMissing => ("room_id can not be null!", "room_id 不能为空"),
            Refusal::RoomNotAllowed => ("the token does not allow this room!", "令牌不允许此房间"),
            Refusal::RoomNotText => ("room_id must be a string or a number!", "room_id 必须是字符串或数字"),
            Refusal::RoomTooLong(max) => {
                return say!(language, "room_id can not be longer than {max} bytes!", "room_id 不能超过 {max} 字节")
                    .into();
            }
            Refusal::RoomsMissing => ("room_ids can not be null!", "room_ids 不能为空"),
            Refusal::RoomsTooMany(max) => {
                return say!(language, "more than {max} rooms!", "房间超过 {max} 个").into();
            }
            Refusal::SourceMissing => ("source can not be null!", "source 不能为空"),
            Refusal::SourceUnknown => ("this source can not be configured!", "没有配置该源"),
            Refusal::TokenWrong(_) => ("jwt verify failed!", "jwt 校验失败"),
            Refusal::TooDeep(name) => {
                return say!(
                    language,
                    "{name} can not be nested more than {MAX_DEPTH} levels deep!",
                    "{name} 的嵌套不能超过 {MAX_DEPTH} 层"
                )
                .into();
            }
            Refusal::TooLargeForRooms => ("message is too large for so many rooms!", "消息过大，不能发给这么多房间"),
            Refusal::UnknownEvent => ("unknown event!", "未知的事件"),
            Refusal::WaitUnknown => ("wait must be acked!", "wait 必须是 acked"),
        };
        language.pick(english, chinese).into()
    }

    /// More about the refusal, if its text alone leaves it open. Anyone may read it: it says nothing about keys, and only what
    /// a stranger could find out by trying.
    pub fn reason(self) -> Option<String> {
        self.reason_words(Language::English)
    }

    /// [`Refusal::reason`] in a language. Why a token is wrong is never written to the journal, so it is in English only.
    pub fn reason_words(self, language: Language) -> Option<String> {
        match self {
            Refusal::ConnectSignWrong(error) | Refusal::NotifySignWrong(error) => Some(error.words(language)),
            Refusal::TokenWrong(error) => Some(error.to_string()),
            Refusal::Replayed => Some(say!(
                language,
                "a request with this sign was accepted before: sign again, with another ts",
                "已接受过带有此 sign 的请求：请用另一个 ts 重新签名"
            )),
            _ => None,
        }
    }

    /// The members of a JSON object that say more about the refusal, each after a comma; empty if there are none.
    pub fn details(self, explanation: Option<&Explanation>) -> String {
        let mut members = self.reason().map_or_else(String::new, |reason| format!(",\"reason\":{}", quote(&reason)));
        if let Some(explanation) = explanation {
            members += &format!(",\"explanation\":{}", explanation.json());
        }
        members
    }

    /// The refusal for an invalid list of rooms. `missing` is the one for an empty list.
    pub fn from_name(error: NameError, missing: Refusal) -> Refusal {
        match error {
            NameError::Missing => missing,
            NameError::Comma => Refusal::RoomComma,
            NameError::NotText => Refusal::RoomNotText,
            NameError::Control => Refusal::ControlCharacter("room_id"),
            NameError::TooLong(max) => Refusal::RoomTooLong(max),
            NameError::TooMany(max) => Refusal::RoomsTooMany(max),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::testing::{assert_chinese, samples};

    #[test]
    fn clients_compare_these_texts() {
        for (refusal, text) in [
            (Refusal::ConnectSignMissing, "cilent connect sign can not be null!"),
            (Refusal::ConnectSignWrong(SignError::Mismatch), "sign verify failed!"),
            (Refusal::DataMissing, "data can not be null!"),
            (Refusal::FieldTooLong("idempotency_key", 128), "idempotency_key can not be longer than 128 bytes!"),
            (Refusal::KeyReused, "idempotency_key was used for another request!"),
            (Refusal::NotLoggedIn, "未登录"),
            (Refusal::NotifySignMissing, "sign can not be null!"),
            (Refusal::NotifySignWrong(SignError::Mismatch), "api notify sign verify failed!"),
            (Refusal::ControlCharacter("userid"), "userid can not have control characters!"),
            (Refusal::MsRange(10_000), "ms must be a whole number from 1 to 10000!"),
            (Refusal::ReceiptUnknown, "receipt must be 1 or count!"),
            (Refusal::ReceiptRooms(100), "a receipt can not have more than 100 rooms!"),
            (Refusal::WaitUnknown, "wait must be acked!"),
            (Refusal::NotMember, "only members of a room can post to it!"),
            (Refusal::OtherUser, "renew needs a login of the same user!"),
            (Refusal::ReadOnly, "this login can not post!"),
            (Refusal::RoomNotAllowed, "the token does not allow this room!"),
            (Refusal::TokenWrong(TokenError::Parts), "jwt verify failed!"),
            (Refusal::PostsOff, "clients of this source can not post!"),
            (Refusal::Replayed, "sign was used before!"),
            (Refusal::TooDeep("data"), "data can not be nested more than 100 levels deep!"),
            (Refusal::RoomMissing, "room_id can not be null!"),
            (Refusal::RoomComma, "room_id can not have commas!"),
            (Refusal::RoomNotText, "room_id must be a string or a number!"),
            (Refusal::RoomTooLong(256), "room_id can not be longer than 256 bytes!"),
            (Refusal::SourceMissing, "source can not be null!"),
            (Refusal::SourceUnknown, "this source can not be configured!"),
        ] {
            assert_eq!(refusal.to_string(), text);
        }
    }

    #[test]
    fn operators_get_them_in_chinese() {
        let all = samples!(Refusal:
            Refusal::BackendBusy => Refusal::BackendBusy,
            Refusal::BackendDown => Refusal::BackendDown,
            Refusal::BinaryNotJson => Refusal::BinaryNotJson,
            Refusal::ControlCharacter(_) => Refusal::ControlCharacter("userid"),
            Refusal::ConnectSignMissing => Refusal::ConnectSignMissing,
            Refusal::NotAllowed => Refusal::NotAllowed,
            Refusal::TooLargeForRooms => Refusal::TooLargeForRooms,
            Refusal::ConnectSignWrong(_) => Refusal::ConnectSignWrong(SignError::Mismatch),
            Refusal::DataMissing => Refusal::DataMissing,
            Refusal::FieldTooLong(..) => Refusal::FieldTooLong("userid", 9),
            Refusal::FilenameTaken => Refusal::FilenameTaken,
            Refusal::FilenameUnsafe => Refusal::FilenameUnsafe,
            Refusal::KeyReused => Refusal::KeyReused,
            Refusal::NamespaceUnknown => Refusal::NamespaceUnknown,
            Refusal::NotMember => Refusal::NotMember,
            Refusal::NotInRoom => Refusal::NotInRoom,
            Refusal::MsRange(_) => Refusal::MsRange(9),
            Refusal::NoAnswer => Refusal::NoAnswer,
            Refusal::NotLoggedIn => Refusal::NotLoggedIn,
            Refusal::OtherUser => Refusal::OtherUser,
            Refusal::NotJson => Refusal::NotJson,
            Refusal::NotifySignMissing => Refusal::NotifySignMissing,
            Refusal::NotifySignWrong(_) => Refusal::NotifySignWrong(SignError::Mismatch),
            Refusal::NoMemory => Refusal::NoMemory,
            Refusal::PostsOff => Refusal::PostsOff,
            Refusal::RateExceeded => Refusal::RateExceeded,
            Refusal::ReadOnly => Refusal::ReadOnly,
            Refusal::Replayed => Refusal::Replayed,
            Refusal::RoomMissing => Refusal::RoomMissing,
            Refusal::RoomNotAllowed => Refusal::RoomNotAllowed,
            Refusal::RoomComma => Refusal::RoomComma,
            Refusal::RoomNotText => Refusal::RoomNotText,
            Refusal::RoomTooLong(_) => Refusal::RoomTooLong(9),
            Refusal::ReceiptUnknown => Refusal::ReceiptUnknown,
            Refusal::ReceiptRooms(_) => Refusal::ReceiptRooms(9),
            Refusal::RoomsMissing => Refusal::RoomsMissing,
            Refusal::RoomsTooMany(_) => Refusal::RoomsTooMany(9),
            Refusal::SourceMissing => Refusal::SourceMissing,
            Refusal::SourceUnknown => Refusal::SourceUnknown,
            Refusal::TokenWrong(_) => Refusal::TokenWrong(TokenError::Parts),
            Refusal::TooDeep(_) => Refusal::TooDeep("userid"),
            Refusal::UnknownEvent => Refusal::UnknownEvent,
            Refusal::WaitUnknown => Refusal::WaitUnknown,
        );
        for refusal in all {
            assert_chinese(&refusal.words(Language::Chinese), NAMES);
        }
        assert_chinese(&Refusal::Replayed.reason_words(Language::Chinese).unwrap(), NAMES);
    }

    const NAMES: &[&str] = &[
        "A-Z",
        "a-z",
        "acked",
        "count",
        "data",
        "filename",
        "format",
        "idempotency_key",
        "jwt",
        "ms",
        "receipt",
        "renew",
        "room_id",
        "room_ids",
        "sign",
        "source",
        "text",
        "ts",
        "userid",
        "wait",
    ];
}
