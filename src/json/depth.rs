//! The nesting of JSON.

/// Whether the JSON `text` is nested more than `most` levels deep.
pub fn is_deeper(text: &str, most: u32) -> bool {
    // A level needs two brackets, and nearly all input has fewer.
    if text.len() <= 2 * most as usize || text.bytes().map(|byte| u32::from(byte | 0x20 == b'{')).sum::<u32>() <= most {
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
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Most levels of arrays and objects in data, and in each argument of an event.
///
/// What one relay accepts all must accept, or a message would reach only some members. Other relays get data with up to
/// two levels around it and accept [`MAX_PUBLICATION_DEPTH`]; backends get an event with two levels around each argument.
pub const MAX_DEPTH: u32 = 100;

/// Most levels of a publication on Redis. serde_json fails at that depth, and some parsers of clients not much deeper
/// (Python's at 1000).
pub const MAX_PUBLICATION_DEPTH: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        for most in [100, 128] {
            assert!(!is_deeper(&nested(most), most as u32) && is_deeper(&nested(most + 1), most as u32));
            assert!(!is_deeper(&format!("\"{}\"", "[".repeat(500)), most as u32));
            assert!(!is_deeper(&format!("\"\\\"{}\"", "[".repeat(500)), most as u32));
            assert!(!is_deeper(&"[],".repeat(500), most as u32));
        }
    }
}
