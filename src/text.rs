//! Text that is cut to a length.

/// The beginning of `text`: at most `most` bytes, and no character in halves.
pub fn truncate(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
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
        assert_eq!([0, 1, 2, 3, 9].map(|most| truncate("aüb", most)), ["", "a", "a", "aü", "aüb"]);
    }
}
