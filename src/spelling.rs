//! The nearest of several words to a misspelt one.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
