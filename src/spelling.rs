//! The nearest of several words to a misspelt one.

/// The word that `word` is probably a misspelling of: the nearest one, if at most two edits lead to it (Levenshtein distance)
/// and more than half of it stays. Looks at the first 1,000 words of about its length.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let close = known.into_iter().filter(|other| word.len().abs_diff(other.len()) <= MAX_EDITS).take(MOST_WORDS);
    let mut row = Vec::new();
    let (edits, found) = close.map(|other| (distance(other, word, &mut row), other)).min()?;
    (edits <= MAX_EDITS && 2 * edits < found.len().max(2)).then_some(found)
}

/// The number of edits between two words; more than [`MAX_EDITS`] are [`FAR`]. Its cost grows with the length, not with its square:
/// words can be long names of clients. `row` is memory that is used again.
fn distance(one: &str, other: &str, row: &mut Vec<usize>) -> usize {
    row.clear();
    row.extend((0..=other.len()).map(|column| column.min(FAR)));
    let other = other.as_bytes();
    for (i, a) in one.bytes().enumerate() {
        // Further from the diagonal there are more edits than count.
        let (begin, end) = (i.saturating_sub(MAX_EDITS), (i + MAX_EDITS + 1).min(other.len()));
        if begin > end {
            return FAR;
        }
        let mut corner = core::mem::replace(&mut row[begin], if begin == 0 { (i + 1).min(FAR) } else { FAR });
        let mut least = row[begin];
        for j in begin..end {
            let best = (corner + usize::from(a != other[j])).min(row[j] + 1).min(row[j + 1] + 1).min(FAR);
            corner = core::mem::replace(&mut row[j + 1], best);
            least = least.min(best);
        }
        if least == FAR {
            return FAR;
        }
    }
    row[other.len()]
}

const MAX_EDITS: usize = 2;
/// More edits than count.
const FAR: usize = MAX_EDITS + 1;
const MOST_WORDS: usize = 1000;

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

    /// The distance by its definition.
    fn plain_distance(one: &[u8], other: &[u8]) -> usize {
        let (Some((a, one_rest)), Some((b, other_rest))) = (one.split_first(), other.split_first()) else {
            return one.len() + other.len();
        };
        if a == b {
            return plain_distance(one_rest, other_rest);
        }
        let edited = [(one_rest, other_rest), (one, other_rest), (one_rest, other)];
        1 + edited.iter().map(|(one, other)| plain_distance(one, other)).min().unwrap()
    }

    #[test]
    fn the_distance_is_that_of_its_definition() {
        let words: Vec<String> = (0..4_u32.pow(4))
            .map(|number| (0..number % 6).map(|place| ['a', 'b', 'c'][(number >> place) as usize % 3]).collect())
            .collect();
        let mut row = Vec::new();
        for one in &words {
            for other in words.iter().step_by(7) {
                let expected = plain_distance(one.as_bytes(), other.as_bytes()).min(FAR);
                assert_eq!(distance(one, other, &mut row), expected, "{one} {other}");
            }
        }
    }

    /// A thousand long names that differ only at their ends are compared in a moment.
    #[test]
    fn long_words_cost_little() {
        let known: Vec<String> = (0..1000).map(|number| format!("{}{number:04}", "x".repeat(1020))).collect();
        let word = format!("{}{}", "x".repeat(1020), "zzzz");
        assert_eq!(nearest(&word, known.iter().map(String::as_str)), None);
        assert_eq!(nearest(&known[7], known.iter().map(String::as_str)), Some(&*known[7]));
    }
}
