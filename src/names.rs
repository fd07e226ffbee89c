//! Names of rooms, sources and events that clients and backends send, validated once.
//!
//! A [`RoomId`] is neither empty nor too long, and a [`Rooms`] list is not empty: code that receives one does not check again.

use core::fmt;
use std::rc::Rc;

use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use crate::json::scalar;

/// The name of a room: not empty, at most `limits.room_id` bytes, any characters but a comma and
/// [control characters](has_control).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomId<'a>(&'a str);

impl<'a> RoomId<'a> {
    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Why a list of rooms is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The list has no name; or it is `*`, which clients of node-socket-im send for no rooms.
    Missing,
    /// An item of an array has a comma, which separates names.
    Comma,
    /// A name has a [control character](has_control).
    Control,
    /// An item of an array is neither a string nor a number.
    NotText,
    /// A name has more bytes than the limit given here.
    TooLong(usize),
    /// The list has more names than the limit given here.
    TooMany(usize),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Missing => f.write_str("no room is named"),
            NameError::Comma => f.write_str("the name of a room has a comma"),
            NameError::NotText => f.write_str("the name of a room is neither a string nor a number"),
            NameError::Control => f.write_str("the name of a room has a control character"),
            NameError::TooLong(limit) => write!(f, "the name of a room has more than {limit} bytes"),
            NameError::TooMany(limit) => write!(f, "more than {limit} rooms are named"),
        }
    }
}

impl std::error::Error for NameError {}

/// The rooms of a comma-separated list, in its order; at least one.
///
/// Empty items are skipped, spaces are kept, and a name that is listed twice is here twice: clients rely on this behaviour of
/// node-socket-im.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rooms<'a> {
    list: SmallVec<[RoomId<'a>; 2]>,
}

impl<'a> Rooms<'a> {
    /// Parses `list`, whose names may have `max_len` bytes each and of which there may be `max_rooms`; 0 means any number.
    pub fn parse(list: &'a str, max_len: usize, max_rooms: usize) -> Result<Rooms<'a>, NameError> {
        if !list.is_empty() && list.len() <= max_len && !list.as_bytes().contains(&b',') && !has_control(list) {
            return Ok(Rooms { list: smallvec![RoomId(list)] });
        }
        let names = || list.split(',').filter(|name| !name.is_empty());
        if max_rooms != 0 && names().nth(max_rooms).is_some() {
            return Err(NameError::TooMany(max_rooms));
        }
        let check = |name: &'a str| match name.len() {
            length if length > max_len => Err(NameError::TooLong(max_len)),
            _ if has_control(name) => Err(NameError::Control),
            _ => Ok(RoomId(name)),
        };
        let list = names().map(check).collect::<Result<SmallVec<_>, _>>()?;
        if list.is_empty() { Err(NameError::Missing) } else { Ok(Rooms { list }) }
    }

    /// Parses the `room_ids` of a login like [`Rooms::parse`], except that the list `*` counts as empty.
    pub fn parse_login(list: &'a str, max_len: usize, max_rooms: usize) -> Result<Rooms<'a>, NameError> {
        if list == "*" { Err(NameError::Missing) } else { Rooms::parse(list, max_len, max_rooms) }
    }

    /// The names, each once, sorted.
    pub fn names(&self) -> Vec<Rc<str>> {
        let mut names: Vec<Rc<str>> = self.list.iter().map(|room| room.0.into()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The rooms in the order of the list.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RoomId<'a>> + '_ {
        self.list.iter().copied()
    }
}

/// The list of rooms in a JSON value, as one string: a string or a number, or an array of those, which are joined with
/// commas. In an array `null` counts as an empty item, as in JavaScript.
pub fn room_list(raw: &RawValue) -> Result<String, NameError> {
    match raw.get().as_bytes().first() {
        Some(b'[') => {}
        Some(b'{' | b't' | b'f') => return Err(NameError::NotText),
        _ => return Ok(scalar(raw).into_owned()),
    }
    let mut list = String::new();
    for (index, item) in serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap_or_default().into_iter().enumerate() {
        if index > 0 {
            list.push(',');
        }
        let name = match item.get().as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9' | b'n') => scalar(item),
            _ => return Err(NameError::NotText),
        };
        if name.contains(',') {
            return Err(NameError::Comma);
        }
        list.push_str(&name);
    }
    Ok(list)
}

/// The list of rooms of a message in a JSON value: a string or number, or an array of those, which are joined with commas. As
/// in node-socket-im, an item may itself be a list; [`room_list`] refuses that.
pub fn nested_room_list(raw: &RawValue) -> String {
    match raw.get().starts_with('[').then(|| serde_json::from_str::<Vec<&RawValue>>(raw.get())) {
        Some(Ok(list)) => list.into_iter().map(scalar).collect::<Vec<_>>().join(","),
        _ => scalar(raw).into_owned(),
    }
}

/// Whether `name` is safe as part of a file's name: `[A-Za-z0-9._-]{1,64}`, and not only dots.
pub fn is_file_safe(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.bytes().any(|byte| byte != b'.')
}

/// Whether a text is a token of HTTP (RFC 7230 section 3.2.6), so that it may stand in a header.
pub fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Whether `text` has a control character of ASCII: U+0000 to U+001F, or U+007F.
///
/// Signatures need this: hmac-sha256 covers fields with a line feed between them, so a line feed in a field would move a
/// border. The other characters are useless in names and dangerous in logs and terminals. U+0080 to U+009F, U+2028 and
/// U+2029 are allowed: in UTF-8 none of their bytes is a line feed, and ids that were converted with a wrong character
/// set have them.
pub fn has_control(text: &str) -> bool {
    // Without an early exit, so that the compiler can check 16 bytes at once.
    text.bytes().fold(false, |found, byte| found | byte.is_ascii_control())
}

/// Whether the event name `name` is reserved by Socket.IO (socket.io-parser, `RESERVED_EVENTS`): clients refuse a packet with
/// such an event.
pub fn is_reserved(name: &str) -> bool {
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<Vec<&str>, NameError> {
        Rooms::parse(list, 4, 3).map(|rooms| rooms.iter().map(RoomId::as_str).collect())
    }

    #[test]
    fn lists() {
        assert_eq!(names("a,b"), Ok(vec!["a", "b"]));
        assert_eq!(names(",a,,a, "), Ok(vec!["a", "a", " "]));
        assert_eq!(names("*,x"), Ok(vec!["*", "x"]));
        assert_eq!(names("abcd"), Ok(vec!["abcd"]));
        assert_eq!(names("abcde"), Err(NameError::TooLong(4)));
        assert_eq!(names("a,b,c,"), Ok(vec!["a", "b", "c"]));
        assert_eq!(names("a,b,c,d"), Err(NameError::TooMany(3)));
        assert_eq!(names(""), Err(NameError::Missing));
        assert_eq!(names(",,"), Err(NameError::Missing));
        assert_eq!(Rooms::parse_login("*", 4, 3), Err(NameError::Missing));
        assert!(Rooms::parse("a,b,c,d,e", 4, 0).is_ok());
    }

    #[test]
    fn lists_in_json() {
        let list = |json: &str| room_list(serde_json::from_str(json).unwrap());
        for (json, joined) in [
            ("\"a,b\"", "a,b"),
            ("7", "7"),
            ("null", ""),
            ("[]", ""),
            ("[\"a\", 7, -1.5, \"\\u4e2d\"]", "a,7,-1.5,中"),
            ("[\"a\",null,\"\",\"b\"]", "a,,,b"),
        ] {
            assert_eq!(list(json).as_deref(), Ok(joined), "{json}");
        }
        for json in ["[\"a,b\"]", "[\"c\",\"a\\u002cb\"]", "[\",\"]"] {
            assert_eq!(list(json), Err(NameError::Comma), "{json}");
        }
        for json in ["{}", "true", "[{}]", "[[\"a\"]]", "[true]", "[\"a\",false]"] {
            assert_eq!(list(json), Err(NameError::NotText), "{json}");
        }
    }

    #[test]
    fn control_characters() {
        for byte in (0..=31).chain([127]) {
            let control = char::from(byte);
            for list in [format!("{control}"), format!("a{control}"), format!("{control}a"), format!("a,b{control},c")]
            {
                assert_eq!(names(&list), Err(NameError::Control), "{list:?}");
                assert_eq!(Rooms::parse_login(&list, 4, 3), Err(NameError::Control), "{list:?}");
            }
        }
        for allowed in ["\u{80}", "\u{85}", "\u{9f}", "\u{2028}", "\u{2029}", " ~", "\u{e4}"] {
            assert_eq!(names(allowed), Ok(vec![allowed]));
        }
        assert_eq!(names("a\nbcd"), Err(NameError::TooLong(4)));
    }

    #[test]
    fn file_names() {
        for name in ["demo", "a.b", "..a", "A-1_2", &"x".repeat(64)] {
            assert!(is_file_safe(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "ä", "a\0", "\r\n", &"x".repeat(65)] {
            assert!(!is_file_safe(name), "{name}");
        }
    }
}
