//! Text of revision 3 beyond ASCII. Its clients disagree about it: those before Socket.IO 2.0 encode each packet of a
//! payload in UTF-8, and the payload once more. So what they post is decoded twice here, and what relay answers to a poll
//! is ASCII, which is the same to all of them.

/// The text of a body that was encoded twice, decoded once more. `None` if the body is ASCII, or was encoded once: if a
/// character is above U+00FF, or if the characters as bytes are not UTF-8.
///
/// Half a surrogate pair, which these clients encode as if it were a character, becomes U+FFFD; both have three bytes.
pub fn decoded_twice(body: &str) -> Option<String> {
    if body.is_ascii() {
        return None;
    }
    let mut bytes = body.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>().ok()?;
    for at in 0..bytes.len().saturating_sub(2) {
        if let [0xed, 0xa0..=0xbf, 0x80..=0xbf] = bytes[at..at + 3] {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8(bytes).ok()
}

/// A packet with the characters of its JSON beyond ASCII as escapes (`\u4e2d`), which have the same value. Other packets
/// than messages, and the name of a namespace, stay as they are.
pub fn to_ascii(packet: Vec<u8>) -> Vec<u8> {
    if packet.is_ascii() {
        return packet;
    }
    let Ok(text) = core::str::from_utf8(&packet) else { return packet };
    let Some(message) = text.strip_prefix('4') else { return packet };
    // The type, the number of attachments, and the namespace up to the comma.
    let behind = message.trim_start_matches(|byte: char| byte.is_ascii_digit() || byte == '-');
    let json = match behind.starts_with('/') {
        true => behind.split_once(',').map_or("", |(_, json)| json),
        false => behind,
    };
    let (head, json) = text.split_at(text.len() - json.len());
    let mut out = Vec::with_capacity(text.len() * 2);
    out.extend_from_slice(head.as_bytes());
    for character in json.chars() {
        match character.is_ascii() {
            true => out.push(character as u8),
            false => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    out.extend((0..4).rev().map(|digit| HEX[usize::from(*unit >> (digit * 4) & 15)]));
                }
            }
        }
    }
    out
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as a client before 2.0 posts it.
    fn twice(text: &str) -> String {
        text.bytes().map(char::from).collect()
    }

    #[test]
    fn text_that_was_encoded_twice_and_once() {
        for text in ["中", "42[\"ü€😀\"]", "\u{80}", "\u{ffff}a"] {
            assert_eq!(decoded_twice(&twice(text)).as_deref(), Some(text));
        }
        for once in ["", "ascii", "ü", "中", "€ü", "«É»", "aü😀", "\u{c3}"] {
            assert_eq!(decoded_twice(once), None, "{once}");
        }
        // What clients made of half an emoji.
        let half: String = b"4\xed\xa0\xbd!".iter().copied().map(char::from).collect();
        assert_eq!(decoded_twice(&half).as_deref(), Some("4\u{fffd}!"));
        for cut in half.char_indices().map(|(at, _)| at).filter(|at| *at > 1) {
            assert_eq!(decoded_twice(&half[..cut]).is_some(), cut == half.len() - 1, "{cut}");
        }
    }

    #[test]
    fn packets_become_ascii() {
        for (packet, ascii) in [
            ("42[\"ü\",\"😀\"]", "42[\"\\u00fc\",\"\\ud83d\\ude00\"]"),
            ("451-/é,17[\"€\"]", "451-/é,17[\"\\u20ac\"]"),
            ("44\"é\"", "44\"\\u00e9\""),
            ("40/é", "40/é"),
            ("3é", "3é"),
            ("é", "é"),
            ("42[\"a\"]", "42[\"a\"]"),
        ] {
            assert_eq!(String::from_utf8(to_ascii(packet.into())).as_deref(), Ok(ascii));
        }
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        for character in ('\u{80}'..=char::MAX).step_by(13) {
            let packet = format!("42[\"{character}\"]");
            let ascii = String::from_utf8(to_ascii(packet.clone().into())).unwrap();
            assert!(ascii.is_ascii() && value(&ascii[2..]) == value(&packet[2..]), "{character}");
        }
    }
}
