//! The values of JSON strings, with a rule for surrogates that are not a pair.

use core::fmt;
use std::borrow::Cow;

use serde_core::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::text::needs_escape;

/// The value of a JSON string; `None` for any other text. JSON can escape half of a surrogate pair (`"\ud83d"`), which is no
/// character: U+FFFD stands for it, as in UTF-8 that JavaScript, .NET and Java write. A value without an escape is not copied.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    if let Some(text) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'))
        && !needs_escape(text.as_bytes())
    {
        return Some(text.into());
    }
    if let Ok(text) = serde_json::from_str::<String>(raw) {
        return Some(text.into());
    }
    // Byte strings are not checked: control characters may be anywhere, and half a pair becomes three bytes (WTF-8).
    serde_json::from_str::<&RawValue>(raw).ok()?;
    serde_json::from_str(raw).ok().map(|Halves(text)| text.into())
}

/// The position after the JSON string that begins at `at` with a quotation mark: the end of the text if the string has none.
pub fn string_end(text: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    text.len().min(at + 1)
}

/// A string with U+FFFD in place of each surrogate without a partner.
struct Halves(String);

impl<'de> Deserialize<'de> for Halves {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(HalvesVisitor).map(Halves)
    }
}

struct HalvesVisitor;

impl Visitor<'_> for HalvesVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        replace_surrogates(bytes.to_vec())
    }
}

/// Writes U+FFFD in place of each surrogate. Fails if the bytes are not UTF-8 even then.
fn replace_surrogates<E: Error>(mut bytes: Vec<u8>) -> Result<String, E> {
    for at in 0..bytes.len().saturating_sub(2) {
        if bytes[at] == 0xed && bytes[at + 1] >= 0xa0 {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8(bytes).map_err(|_| E::custom("a string must be UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_strings() {
        for (text, at, end) in [
            ("\"a\":1", 0, 3),
            (" \"\\\"\" ", 1, 5),
            ("\"\\\\\"x", 0, 4),
            ("\"", 0, 1),
            ("\"\\", 0, 2),
            ("\"中\\中\"", 0, 9),
        ] {
            assert_eq!(string_end(text.as_bytes(), at), end, "{text}");
        }
    }

    /// The expected values come from Node: `Buffer.from(JSON.parse(text)).toString()`.
    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        for (raw, value) in [
            (r#""plain""#, "plain"),
            (r#""\u00e9 é \ud83d\ude00 😀""#, "é é 😀 😀"),
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\ud83d\n\ude00\ud83d""#, "\u{fffd}\n\u{fffd}\u{fffd}"),
            (r#""퟿\ud7ff\ue000""#, "\u{d7ff}\u{d7ff}\u{e000}"),
            (r#" "a" "#, "a"),
        ] {
            assert_eq!(string(raw).as_deref(), Some(value), "{raw}");
        }
        let control = "\"\\ud83d\n\"";
        for other in ["", "7", "null", "[104,105]", "{}", "\"", r#""\ud83""#, r#""\x""#, "\"a\" b", "\"\n\"", control] {
            assert_eq!(string(other), None, "{other}");
        }
        assert!(matches!(string("\"a\""), Some(Cow::Borrowed("a"))), "without an escape nothing is copied");
    }
}
