//! Patterns for names of rooms.

use core::fmt;

use super::error::ValueError;
use crate::names::has_control;

/// A name of a room in which each `*` stands for any characters, or for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomPattern(Box<str>);

impl RoomPattern {
    /// The pattern that matches every room.
    pub fn any() -> RoomPattern {
        RoomPattern("*".into())
    }

    /// Parses a pattern. It must be one that can match a name.
    pub fn parse(text: &str) -> Result<RoomPattern, ValueError> {
        let is_possible = !text.is_empty() && text.len() <= MAX_LEN && !text.contains(',') && !has_control(text);
        if is_possible { Ok(RoomPattern(text.into())) } else { Err(ValueError::RoomPattern(text.into())) }
    }

    /// Whether it matches every room.
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether it matches a room with this name.
    pub fn matches(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut name) = name.strip_prefix(start).and_then(|name| name.strip_suffix(end)) else { return false };
        // The first place of each part leaves the most for the parts after it.
        middle.split('*').all(|part| match name.split_once(part) {
            _ if part.is_empty() => true,
            Some((_, after)) => {
                name = after;
                true
            }
            None => false,
        })
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest pattern in bytes: twice the longest name that `limits.room_id` can allow.
const MAX_LEN: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, matching, others) in [
            ("a", &["a"][..], &["", "b", "ab", "*"][..]),
            ("*", &["", "a", "*"], &[]),
            ("price-*", &["price-", "price-1"], &["price", "a-price-1"]),
            ("*-log", &["-log", "a-log"], &["log", "a-log-1"]),
            ("a*a", &["aa", "aba"], &["a", "ab"]),
            ("a*b*c", &["abc", "a-b-c", "abbcc"], &["ac", "acb", "abcd"]),
            ("*ab*ba*", &["abba", "1ab2ba3"], &["aba", "baab"]),
            ("**", &["", "a"], &[]),
            ("中*", &["中", "中文"], &["文"]),
        ] {
            let parsed = RoomPattern::parse(pattern).unwrap();
            assert!(matching.iter().all(|name| parsed.matches(name)), "{pattern}");
            assert!(!others.iter().any(|name| parsed.matches(name)), "{pattern}");
            assert_eq!(parsed.is_any(), pattern.trim_matches('*').is_empty());
        }
        for wrong in ["", "a,b", "a\n", &"x".repeat(MAX_LEN + 1)] {
            assert!(RoomPattern::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
