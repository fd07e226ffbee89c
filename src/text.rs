//! Truncation of text, byte order marks, and the nearest of several words.

/// The longest prefix of `text` that has at most `max` bytes and ends at a character boundary.
pub fn truncate(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The word that `word` is probably a misspelling of: the nearest one, if at most two edits lead to it (Levenshtein distance)
/// and more than half of it stays.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let close = known.into_iter().filter(|other| word.len().abs_diff(other.len()) <= MAX_EDITS);
    let (edits, found) = close.map(|other| (distance(other, word), other)).min()?;
    (edits <= MAX_EDITS && 2 * edits < found.len().max(2)).then_some(found)
}

/// The number of edits between two words.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut corner = core::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let best = (corner + usize::from(a != b)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = core::mem::replace(&mut row[j + 1], best);
        }
    }
    row[other.len()]
}

const MAX_EDITS: usize = 2;
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
    fn misspelt_words() {
        let known = ["listen", "limits", "log", "to", "message", "rate"];
        for (word, found) in [
            ("listn", Some("listen")),
            ("lisetn", Some("listen")),
            ("mesage", Some("message")),
            ("logs", Some("log")),
            ("rat", Some("rate")),
            ("x", None),
            ("colours", None),
            ("", None),
            ("\u{4e09}", None),
        ] {
            assert_eq!(nearest(word, known), found, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }

    #[test]
    fn characters_stay_whole() {
        assert_eq!([0, 1, 2, 3, 9].map(|max| truncate("aüb", max)), ["", "a", "a", "aü", "aüb"]);
    }
}
