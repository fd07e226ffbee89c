//! Why something was refused: the contract's texts, which clients know by heart, live here and nowhere else.

use core::{error, fmt};
use std::borrow::Cow;

use crate::names::NameError;

/// What was wrong with a login, a notification or a client's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much waits for the business backend.
    BackendBusy,
    /// The business backend does not answer.
    BackendDown,
    /// A binary message from a client that speaks JSON.
    BinaryNotJson,
    /// A login without a signature.
    ConnectSignMissing,
    /// A message to so many rooms that all its copies together would be too large.
    TooWide,
    /// A login, join or leave with a wrong one.
    ConnectSignWrong,
    /// No data.
    DataMissing,
    /// A field of a login that has more bytes than this.
    FieldTooLong(&'static str, usize),
    /// A file name that makes another source's file.
    FilenameTaken,
    /// A file name that could lead elsewhere.
    FilenameUnsafe,
    /// A namespace nobody configured.
    NamespaceUnknown,
    /// Nobody acknowledged in time.
    NoAnswer,
    /// The user is not here.
    NotLoggedIn,
    /// Text that is not a JSON object.
    NotJson,
    /// A notification without a signature.
    NotifySignMissing,
    /// A notification with a wrong one.
    NotifySignWrong,
    /// More messages than a client may send.
    RateExceeded,
    /// No room, where a message should go.
    RoomMissing,
    /// A room's name is longer than this many bytes.
    RoomTooLong(usize),
    /// No room, where somebody logs in.
    RoomsMissing,
    /// More rooms than this.
    RoomsTooMany(usize),
    /// No source.
    SourceMissing,
    /// A source nobody configured.
    SourceUnknown,
    /// An event nothing happens to.
    UnknownEvent,
}

impl Refusal {
    /// What who is refused is told.
    pub fn text(self) -> Cow<'static, str> {
        let text = match self {
            Refusal::BackendBusy => "the backend is busy!",
            Refusal::BackendDown => "the backend does not answer!",
            Refusal::BinaryNotJson => "binary messages need format=text!",
            Refusal::ConnectSignMissing => "cilent connect sign can not be null!",
            Refusal::ConnectSignWrong => "sign verify failed!",
            Refusal::DataMissing => "data can not be null!",
            Refusal::FieldTooLong(name, most) => return format!("{name} can not be longer than {most} bytes!").into(),
            Refusal::FilenameTaken => "filename belongs to another source!",
            Refusal::FilenameUnsafe => "filename can only have 1 to 64 of A-Z a-z 0-9 . _ -!",
            Refusal::NamespaceUnknown => "Invalid namespace",
            Refusal::NoAnswer => "nobody answered!",
            Refusal::NotLoggedIn => "未登录",
            Refusal::NotJson => "message must be a JSON object!",
            Refusal::NotifySignMissing => "sign can not be null!",
            Refusal::NotifySignWrong => "api notify sign verify failed!",
            Refusal::RateExceeded => "message rate limit exceeded!",
            Refusal::RoomMissing => "room_id can not be null!",
            Refusal::RoomTooLong(most) => return format!("room_id can not be longer than {most} bytes!").into(),
            Refusal::RoomsMissing => "room_ids can not be null!",
            Refusal::RoomsTooMany(most) => return format!("more than {most} rooms!").into(),
            Refusal::SourceMissing => "source can not be null!",
            Refusal::SourceUnknown => "this source can not be configured!",
            Refusal::TooWide => "message is too large for so many rooms!",
            Refusal::UnknownEvent => "unknown event!",
        };
        text.into()
    }

    /// For a list of rooms that is no list, with the word for "none" that fits the place.
    pub fn from_name(error: NameError, missing: Refusal) -> Refusal {
        match error {
            NameError::Missing => missing,
            NameError::TooLong(most) => Refusal::RoomTooLong(most),
            NameError::TooMany(most) => Refusal::RoomsTooMany(most),
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
            (Refusal::ConnectSignWrong, "sign verify failed!"),
            (Refusal::DataMissing, "data can not be null!"),
            (Refusal::NotLoggedIn, "未登录"),
            (Refusal::NotifySignMissing, "sign can not be null!"),
            (Refusal::NotifySignWrong, "api notify sign verify failed!"),
            (Refusal::RoomMissing, "room_id can not be null!"),
            (Refusal::RoomTooLong(256), "room_id can not be longer than 256 bytes!"),
            (Refusal::SourceMissing, "source can not be null!"),
            (Refusal::SourceUnknown, "this source can not be configured!"),
        ] {
            assert_eq!(refusal.to_string(), text);
        }
    }
}
