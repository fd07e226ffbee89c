//! Placeholders: the objects `{"_placeholder":true,"num":N}` that stand for attachment `N` in the JSON of a packet (Socket.IO
//! protocol, "Packet encoding").

use core::ops::Range;

use serde_json::value::RawValue;

use crate::json::{string, string_end};

/// The placeholders in `json`, which must be valid: the range of each, and the number of its attachment.
pub fn find(json: &str) -> Vec<(Range<usize>, usize)> {
    let bytes = json.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'{' => match placeholder(&json[at..]) {
                Some((length, number)) => {
                    found.push((at..at + length, number));
                    at += length;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    found
}

/// Whether the placeholders of a packet with this number of attachments are valid.
///
/// Each must have an attachment. No attachment may be used twice: a small packet could become arbitrarily large. And no other
/// object may have `_placeholder`: clients would take it for a placeholder (socket.io-parser, `reconstructPacket`).
pub fn are_valid(json: &str, attachments: usize) -> bool {
    let found = find(json);
    let mut numbers: Vec<_> = found.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    let unique = numbers.windows(2).all(|pair| pair[0] != pair[1]);
    let attached = numbers.last().is_none_or(|last| *last < attachments);
    unique && attached && count_marked(json) == Some(found.len())
}

/// The number of objects that have `_placeholder`, with any value but `false`. `None` if `json` is not valid JSON, or is
/// nested deeper than [`MAX_DEPTH`]. Builds no tree: one would take a hundred times the memory of the text.
pub fn count_marked(json: &str) -> Option<usize> {
    serde_json::from_str::<&RawValue>(json).ok()?;
    let bytes = json.as_bytes();
    // For each open object and array: whether it is marked. If a name occurs twice, the last value counts.
    let mut open = Vec::new();
    let (mut count, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at);
                let value = json[end..].trim_ascii_start().strip_prefix(':');
                // Only a key is followed by a colon.
                if let (Some(value), Some(marked)) = (value, open.last_mut())
                    && is_text(&json[at..end], "_placeholder")
                {
                    *marked = !value.trim_ascii_start().starts_with("false");
                }
                at = end;
                continue;
            }
            b'{' | b'[' if open.len() == MAX_DEPTH => return None,
            b'{' | b'[' => open.push(false),
            b'}' | b']' => count += usize::from(open.pop() == Some(true)),
            _ => {}
        }
        at += 1;
    }
    Some(count)
}

/// Whether a JSON string in its quotation marks is `text`, however it is escaped.
pub fn is_text(quoted: &str, text: &str) -> bool {
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    // An escape has at most six characters.
    let may_be_escaped = inner.contains('\\') && inner.len() <= 6 * text.len();
    inner == text || may_be_escaped && string(quoted).is_some_and(|name| name == text)
}

/// Appends `json` to `out` with each placeholder replaced: `fill` appends the replacement for the attachment of this number.
pub fn replace(json: &str, out: &mut Vec<u8>, mut fill: impl FnMut(usize, &mut Vec<u8>)) {
    let mut begin = 0;
    for (range, number) in find(json) {
        out.extend_from_slice(&json.as_bytes()[begin..range.start]);
        fill(number, out);
        begin = range.end;
    }
    out.extend_from_slice(&json.as_bytes()[begin..]);
}

/// The length and the number of the placeholder at the start of `text`. Its two keys may have either order.
fn placeholder(text: &str) -> Option<(usize, usize)> {
    let mut cursor = Cursor(text.strip_prefix('{')?);
    let (mut marked, mut number) = (false, None);
    for end in [',', '}'] {
        match cursor.key()? {
            "_placeholder" if !marked => {
                cursor.0 = cursor.0.trim_ascii_start().strip_prefix("true")?;
                marked = true;
            }
            "num" if number.is_none() => {
                let rest = cursor.0.trim_ascii_start();
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                number = Some(rest[..digits].parse().ok()?);
                cursor.0 = &rest[digits..];
            }
            _ => return None,
        }
        cursor.0 = cursor.0.trim_ascii_start().strip_prefix(end)?;
    }
    Some((text.len() - cursor.0.len(), number?))
}

/// The unread rest of an object.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// Reads the next key and its colon.
    fn key(&mut self) -> Option<&'a str> {
        let (key, rest) = self.0.trim_ascii_start().strip_prefix('"')?.split_once('"')?;
        self.0 = rest.trim_ascii_start().strip_prefix(':')?;
        Some(key)
    }
}

/// Arrays and objects in each other, as many as serde_json allows.
pub const MAX_DEPTH: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_objects_are_counted() {
        for (json, count) in [
            (r#"{"_placeholder":true,"num":0}"#, Some(1)),
            (r#"[{"_placeholder" : 1},{"x":{"_placeholder":null}},{"_placeholder": false}]"#, Some(2)),
            (r#"{"\u005fplaceholder":true}"#, Some(1)),
            (r#"{"_placeholder":true,"_placeholder":false}"#, Some(0)),
            (r#"{"_placeholder":{"_placeholder":[]}}"#, Some(2)),
            (r#"["_placeholder","\"_placeholder\":true",{"a":"_placeholder"}]"#, Some(0)),
            (r#"{"_placeholders":1,"x_placeholder":1,"":"\\","a\\":1}"#, Some(0)),
            ("[}", None),
            ("", None),
        ] {
            assert_eq!(count_marked(json), count, "{json}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(count_marked(&nested(MAX_DEPTH)), Some(0));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(count_marked(&nested(MAX_DEPTH + 1)), None);
        assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn validity() {
        let valid = "{\"_placeholder\":true,\"num\":0}";
        for json in [
            "[\"a\"]",
            &format!("[\"a\",{valid}]"),
            &format!("[{valid},{}]", valid.replace('0', "1")),
            "[{\"_placeholder\":false}]",
        ] {
            assert!(are_valid(json, 2), "{json}");
        }
        for json in [
            format!("[{valid},{valid}]"),
            format!("[{}]", valid.replace('0', "2")),
            valid.replace('0', "-1"),
            valid.replace('0', "0,\"x\":1"),
            valid.replace(",\"num\":0", ""),
            valid.replace('_', "\\u005f"),
            format!("[{valid},{{\"a\":{}}}]", valid.replace('0', "99,\"x\":1")),
            valid.replace("true", "1"),
        ] {
            assert!(!are_valid(&json, 2), "{json}");
        }
    }

    #[test]
    fn placeholders_are_found() {
        let numbers = |json: &str| find(json).into_iter().map(|(_, number)| number).collect::<Vec<_>>();
        assert_eq!(numbers(r#"{"_placeholder":true,"num":0}"#), [0]);
        assert_eq!(
            numbers(r#"[1,{"a":{"num" : 12 , "_placeholder" : true }},"x",{"_placeholder":true,"num":3}]"#),
            [12, 3]
        );
        for none in [
            r#""{\"_placeholder\":true,\"num\":0}""#,
            r#"{"_placeholder":false,"num":0}"#,
            r#"{"_placeholder":true}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":1.5}"#,
            r#"{"_placeholder":true,"num":0,"x":1}"#,
            r#"{"num":0,"num":0}"#,
            "[]",
        ] {
            assert_eq!(numbers(none), [0; 0], "{none}");
        }
    }

    #[test]
    fn placeholders_are_replaced() {
        let mut out = Vec::new();
        replace(
            r#"["\"{",{"_placeholder":true,"num":1},{"b":{"_placeholder":true,"num":0}} ]"#,
            &mut out,
            |number, out| {
                out.extend_from_slice(format!("<{number}>").as_bytes());
            },
        );
        assert_eq!(String::from_utf8(out).unwrap(), r#"["\"{",<1>,{"b":<0>} ]"#);
    }
}
