//! Placeholders: the objects `{"_placeholder":true,"num":N}` that stand for attachment `N` in the JSON of a packet (Socket.IO
//! protocol, "Packet encoding").

use core::ops::Range;

use serde_json::Value;

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
    unique && attached && serde_json::from_str(json).is_ok_and(|value| count_marked(&value) == found.len())
}

/// The number of objects that have `_placeholder`, with any value but `false`.
pub fn count_marked(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(count_marked).sum(),
        Value::Object(fields) => {
            let own = usize::from(fields.get("_placeholder").is_some_and(|mark| *mark != Value::Bool(false)));
            own + fields.values().map(count_marked).sum::<usize>()
        }
        _ => 0,
    }
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

/// The position after the string that begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
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

#[cfg(test)]
mod tests {
    use super::*;

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
