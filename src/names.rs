//! Names that come from outside, checked once at the door.
//!
//! Behind the door nobody asks again: a [`RoomId`] is neither empty nor too long, a [`Rooms`] list is not empty, a source's
//! name can be part of a file's name.

use smallvec::{SmallVec, smallvec};

/// A room's name: not empty, at most so many bytes, any characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomId<'a>(&'a str);

impl<'a> RoomId<'a> {
    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// What is wrong with a name or a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is no name, or nothing but commas; or it is `*`, which the old clients send for "none".
    Missing,
    /// A room's name has more bytes than allowed: so many are.
    TooLong(usize),
    /// More rooms than allowed: so many are.
    TooMany(usize),
}

/// Rooms named by a comma separated list, in its order. Empty items are skipped, nothing is trimmed, and an item that
/// stands twice stands twice here (the old server's behaviour, which clients rely on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rooms<'a> {
    list: SmallVec<[RoomId<'a>; 2]>,
}

impl<'a> Rooms<'a> {
    /// Splits and checks `list`; `most` of zero sets no bound on the number.
    pub fn parse(list: &'a str, longest: usize, most: usize) -> Result<Rooms<'a>, NameError> {
        if !list.is_empty() && list.len() <= longest && !list.bytes().any(|byte| byte == b',') {
            return Ok(Rooms { list: smallvec![RoomId(list)] });
        }
        let names = || list.split(',').filter(|name| !name.is_empty());
        if most != 0 && names().nth(most).is_some() {
            return Err(NameError::TooMany(most));
        }
        let check =
            |name: &'a str| if name.len() > longest { Err(NameError::TooLong(longest)) } else { Ok(RoomId(name)) };
        let list = names().map(check).collect::<Result<SmallVec<_>, _>>()?;
        if list.is_empty() { Err(NameError::Missing) } else { Ok(Rooms { list }) }
    }

    /// The same for who connects: a list that is just `*` names nothing.
    pub fn parse_login(list: &'a str, longest: usize, most: usize) -> Result<Rooms<'a>, NameError> {
        if list == "*" { Err(NameError::Missing) } else { Rooms::parse(list, longest, most) }
    }

    /// The rooms, at least one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RoomId<'a>> + '_ {
        self.list.iter().copied()
    }
}

/// Whether `name` may become part of a file's name: `[A-Za-z0-9._-]{1,64}` and not dots only.
pub fn is_file_safe(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.bytes().any(|byte| byte != b'.')
}

/// Whether an event's name belongs to the libraries themselves (socket.io-parser, `RESERVED_EVENTS`): a client that gets
/// such an event takes it for a broken packet.
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
    fn file_names() {
        for name in ["demo", "a.b", "..a", "A-1_2", &"x".repeat(64)] {
            assert!(is_file_safe(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "ä", "a\0", "\r\n", &"x".repeat(65)] {
            assert!(!is_file_safe(name), "{name}");
        }
    }
}
