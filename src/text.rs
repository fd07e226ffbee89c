//! Truncation of text, byte order marks, and plurals.

use core::fmt;

/// A number of things, whose name gets an s unless there is one of them.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub u64, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(number, thing) = self;
        write!(f, "{number} {thing}{}", if *number == 1 { "" } else { "s" })
    }
}

/// The longest prefix of `text` that has at most `max` bytes and ends at a character boundary.
pub fn truncate(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A body, message or file without a byte order mark at its start (U+FEFF). Text of Windows programs often has one: a
/// StreamWriter of .NET writes it, and a PHP file that begins with it puts it before each answer.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM.as_bytes()).unwrap_or(bytes)
}

/// [`without_bom`] for text.
pub fn text_without_bom(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

const BOM: &str = "\u{feff}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_order_mark_is_skipped() {
        for (text, rest) in [("\u{feff}a", "a"), ("a\u{feff}", "a\u{feff}"), ("", ""), ("\u{feff}", "")] {
            assert_eq!((text_without_bom(text), without_bom(text.as_bytes())), (rest, rest.as_bytes()));
        }
        assert_eq!(text_without_bom("\u{feff}\u{feff}"), "\u{feff}");
        assert_eq!((without_bom(b"\xef\xbb"), without_bom(b"\xfe\xff")), (&b"\xef\xbb"[..], &b"\xfe\xff"[..]));
    }

    #[test]
    fn plurals() {
        assert_eq!([0, 1, 2].map(|number| Count(number, "line").to_string()), ["0 lines", "1 line", "2 lines"]);
    }

    #[test]
    fn characters_stay_whole() {
        assert_eq!([0, 1, 2, 3, 9].map(|max| truncate("aüb", max)), ["", "a", "a", "aü", "aüb"]);
    }
}
