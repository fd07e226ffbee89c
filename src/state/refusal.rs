//! Reasons for refusals. Clients compare their texts, so they are defined here and nowhere else.

use core::{error, fmt};
use std::borrow::Cow;

use crate::{
    json::{MAX_DEPTH, quote},
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
    /// The text that clients and backends get. Existing programs compare it: never change one.
    pub fn text(self) -> Cow<'static, str> {
        let text = match self {
            Refusal::BackendBusy => "the backend is busy!",
            Refusal::BackendDown => "the backend does not answer!",
            Refusal::BinaryNotJson => "binary messages need format=text!",
            Refusal::ControlCharacter(name) => return format!("{name} can not have control characters!").into(),
            Refusal::ConnectSignMissing => "cilent connect sign can not be null!",
            Refusal::ConnectSignWrong(_) => "sign verify failed!",
            Refusal::DataMissing => "data can not be null!",
            Refusal::FieldTooLong(name, max) => return format!("{name} can not be longer than {max} bytes!").into(),
            Refusal::FilenameTaken => "filename belongs to another source!",
            Refusal::FilenameUnsafe => "filename can only have 1 to 64 of A-Z a-z 0-9 . _ -!",
            Refusal::KeyReused => "idempotency_key was used for another request!",
            Refusal::MsRange(max) => return format!("ms must be a whole number from 1 to {max}!").into(),
            Refusal::NamespaceUnknown => "Invalid namespace",
            Refusal::NoAnswer => "nobody answered!",
            Refusal::NoMemory => "relay is short of memory!",
            Refusal::NotAllowed => "not allowed!",
            Refusal::NotLoggedIn => "未登录",
            Refusal::NotMember => "only members of a room can post to it!",
            Refusal::NotInRoom => "only members of a room can ask who is in it!",
            Refusal::NotJson => "message must be a JSON object!",
            Refusal::NotifySignMissing => "sign can not be null!",
            Refusal::NotifySignWrong(_) => "api notify sign verify failed!",
            Refusal::OtherUser => "renew needs a login of the same user!",
            Refusal::PostsOff => "clients of this source can not post!",
            Refusal::RateExceeded => "message rate limit exceeded!",
            Refusal::ReadOnly => "this login can not post!",
            Refusal::ReceiptUnknown => "receipt must be 1 or count!",
            Refusal::ReceiptRooms(max) => return format!("a receipt can not have more than {max} rooms!").into(),
            Refusal::Replayed => "sign was used before!",
            Refusal::RoomComma => "room_id can not have commas!",
            Refusal::RoomMissing => "room_id can not be null!",
            Refusal::RoomNotAllowed => "the token does not allow this room!",
            Refusal::RoomNotText => "room_id must be a string or a number!",
            Refusal::RoomTooLong(max) => return format!("room_id can not be longer than {max} bytes!").into(),
            Refusal::RoomsMissing => "room_ids can not be null!",
            Refusal::RoomsTooMany(max) => return format!("more than {max} rooms!").into(),
            Refusal::SourceMissing => "source can not be null!",
            Refusal::SourceUnknown => "this source can not be configured!",
            Refusal::TokenWrong(_) => "jwt verify failed!",
            Refusal::TooDeep(name) => {
                return format!("{name} can not be nested more than {MAX_DEPTH} levels deep!").into();
            }
            Refusal::TooLargeForRooms => "message is too large for so many rooms!",
            Refusal::UnknownEvent => "unknown event!",
            Refusal::WaitUnknown => "wait must be acked!",
        };
        text.into()
    }

    /// More about the refusal, if its text alone leaves it open. Anyone may read it: it says nothing about keys, and only what
    /// a stranger could find out by trying.
    pub fn reason(self) -> Option<String> {
        match self {
            Refusal::ConnectSignWrong(error) | Refusal::NotifySignWrong(error) => Some(error.to_string()),
            Refusal::TokenWrong(error) => Some(error.to_string()),
            Refusal::Replayed => {
                Some("a request with this sign was accepted before: sign again, with another ts".into())
            }
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
}
