//! Placeholders: where in a packet's JSON its attachments belong, `{"_placeholder":true,"num":0}`.

use core::ops::Range;

use serde_json::Value;

use crate::plain::sorted;

/// The placeholders in valid JSON: where each stands, and which attachment belongs there.
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

/// The placeholders of a packet with so many attachments, if they are right: each attachment stands in one place at most,
/// or one packet would become as large as its sender likes; and there is nothing else that a client would take for a
/// placeholder, and stumble over (socket.io-parser, `reconstructPacket`, looks at `_placeholder` only).
pub fn are_right(json: &str, attachments: usize) -> bool {
    let found = find(json);
    let numbers = sorted(found.iter().map(|(_, number)| *number).collect());
    let unique = numbers.windows(2).all(|two| two[0] != two[1]);
    let known = numbers.last().is_none_or(|last| *last < attachments);
    unique && known && serde_json::from_str(json).is_ok_and(|value| marked(&value) == found.len())
}

/// How many objects say that they are placeholders, right or not.
pub fn marked(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(marked).sum(),
        Value::Object(fields) => {
            let own = usize::from(fields.get("_placeholder").is_some_and(|mark| *mark != Value::Bool(false)));
            own + fields.values().map(marked).sum::<usize>()
        }
        _ => 0,
    }
}

/// JSON with something else in place of each placeholder: `fill` appends it.
pub fn replace(json: &str, out: &mut Vec<u8>, mut fill: impl FnMut(usize, &mut Vec<u8>)) {
    let mut begin = 0;
    for (place, number) in find(json) {
        out.extend_from_slice(&json.as_bytes()[begin..place.start]);
        fill(number, out);
        begin = place.end;
    }
    out.extend_from_slice(&json.as_bytes()[begin..]);
}

/// Behind the string that begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The placeholder at the start of `text`: its length and number. The two keys may come in either order.
fn placeholder(text: &str) -> Option<(usize, usize)> {
    let mut words = Words(text.strip_prefix('{')?);
    let (mut marked, mut number) = (false, None);
    for end in [',', '}'] {
        match words.key()? {
            "_placeholder" if !marked => {
                words.0 = words.0.trim_ascii_start().strip_prefix("true")?;
                marked = true;
            }
            "num" if number.is_none() => {
                let rest = words.0.trim_ascii_start();
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                number = Some(rest[..digits].parse().ok()?);
                words.0 = &rest[digits..];
            }
            _ => return None,
        }
        words.0 = words.0.trim_ascii_start().strip_prefix(end)?;
    }
    Some((text.len() - words.0.len(), number?))
}

struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// The key that comes next, and its colon.
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
    fn wrong_ones() {
        let right = "{\"_placeholder\":true,\"num\":0}";
        for json in [
            "[\"a\"]",
            &format!("[\"a\",{right}]"),
            &format!("[{right},{}]", right.replace('0', "1")),
            "[{\"_placeholder\":false}]",
        ] {
            assert!(are_right(json, 2), "{json}");
        }
        for json in [
            format!("[{right},{right}]"),
            format!("[{}]", right.replace('0', "2")),
            right.replace('0', "-1"),
            right.replace('0', "0,\"x\":1"),
            right.replace(",\"num\":0", ""),
            right.replace('_', "\\u005f"),
            format!("[{right},{{\"a\":{}}}]", right.replace('0', "99,\"x\":1")),
            right.replace("true", "1"),
        ] {
            assert!(!are_right(&json, 2), "{json}");
        }
    }

    #[test]
    fn found() {
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
    fn replaced() {
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
