//! The nesting of JSON.

/// Whether `text` is nested more than 128 levels deep. serde_json fails at that depth, and some parsers of clients not
/// much deeper (Python's at 1000).
pub fn is_too_deep(text: &str) -> bool {
    // Nearly all input has fewer brackets than that.
    if text.bytes().map(|byte| u32::from(byte | 0x20 == b'{')).sum::<u32>() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Most levels of arrays and objects.
const MAX_DEPTH: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(&nested(128)) && is_too_deep(&nested(129)));
        assert!(!is_too_deep(&format!("\"{}\"", "[".repeat(500))));
        assert!(!is_too_deep(&format!("\"\\\"{}\"", "[".repeat(500))));
        assert!(!is_too_deep(&"[],".repeat(500)));
    }
}
