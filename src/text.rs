//! Truncation of text.

/// The longest prefix of `text` that has at most `max` bytes and ends at a character boundary.
pub fn truncate(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole() {
        assert_eq!([0, 1, 2, 3, 9].map(|max| truncate("aüb", max)), ["", "a", "a", "aü", "aüb"]);
    }
}
