//! Strings and values as JSON text (RFC 8259).

use serde_json::Value;

/// Appends a JSON string with its quotation marks.
///
/// Most strings need no escape and are copied as a whole. serde_json searches for each escape: a delivery of 128 bytes
/// then takes 121 user instructions instead of 117 (`tests/bench/instructions`, delivery-32), and 212 instead of 208
/// with one message at a time.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    if !needs_escape(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    serde_json::to_writer(out, text).expect("a string in memory is always serializable");
}

/// Appends strings as a JSON array.
pub fn write_strings(out: &mut Vec<u8>, list: &[&str]) {
    out.push(b'[');
    for (index, text) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// Whether a string has a control character, a quotation mark or a backslash. Without an early exit, so that the
/// compiler can check 16 bytes at once.
pub(super) fn needs_escape(text: &[u8]) -> bool {
    text.iter().fold(false, |found, byte| found | matches!(byte, 0..b' ' | b'"' | b'\\'))
}

/// The longest prefix of `text` that takes at most `max` bytes as a JSON string, without the quotation marks. It ends at
/// a character boundary.
pub fn written_prefix(text: &str, max: usize) -> &str {
    // The longest escape has six bytes.
    if text.len() <= max / 6 {
        return text;
    }
    let mut written = 0;
    for (at, char) in text.char_indices() {
        written += match char {
            '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' | '"' | '\\' => 2,
            '\0'..' ' => 6,
            char => char.len_utf8(),
        };
        if written > max {
            return &text[..at];
        }
    }
    text
}

/// A string as JSON, in quotation marks.
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string in memory is always serializable")
}

/// A value as compact JSON.
pub fn to_text(value: &Value) -> String {
    serde_json::to_string(value).expect("a value in memory is always serializable")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every ASCII byte at every position of strings that are shorter and longer than a vector.
    #[test]
    fn strings() {
        for byte in 0..=127_u8 {
            for (place, length) in (0..40).flat_map(|place| (place + 1..41).map(move |length| (place, length))) {
                for other in [' ', '~', '\u{7f}', 'é'] {
                    let char = |at| if at == place { char::from(byte) } else { other };
                    let text: String = (0..length).map(char).collect();
                    let mut out = Vec::new();
                    write_string(&mut out, &text);
                    assert_eq!(String::from_utf8(out).unwrap(), serde_json::Value::from(text).to_string());
                }
            }
        }
    }

    #[test]
    fn prefixes_by_their_written_length() {
        for (text, max, prefix) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("aü", 2, "a"),
            ("aü", 3, "aü"),
            ("a\"b", 3, "a\""),
            ("a\"b", 2, "a"),
            ("\u{1}\u{1}", 11, "\u{1}"),
            ("\n\n", 4, "\n\n"),
            ("", 0, ""),
        ] {
            assert_eq!(written_prefix(text, max), prefix, "{text:?} {max}");
        }
        // The lengths are those that are written.
        for byte in 0..=127_u8 {
            let text = String::from(char::from(byte)).repeat(100);
            let length = quote(&text).len() - 2;
            assert_eq!(written_prefix(&text, length), text);
            assert_eq!(written_prefix(&text, length - 1).len(), 99);
        }
    }

    #[test]
    fn lists() {
        for list in [&[][..], &["a"], &["a\"", "", "b"]] {
            let mut out = Vec::new();
            write_strings(&mut out, list);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::Value::from(list).to_string());
        }
    }

    #[test]
    fn values() {
        assert_eq!(quote("a\"\n"), r#""a\"\n""#);
        assert_eq!(to_text(&serde_json::json!({"a": [1, null, "x"]})), r#"{"a":[1,null,"x"]}"#);
    }
}
