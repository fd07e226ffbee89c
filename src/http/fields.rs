//! Names and values as queries and forms carry them (`application/x-www-form-urlencoded`, WHATWG URL).

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use super::text;

/// Decoded pairs in their order: `+` is a space, a bad escape stays as it is, bytes that are no UTF-8 become U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    pairs: SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]>,
}

impl<'a> Fields<'a> {
    /// Decodes `encoded`.
    pub fn parse(encoded: &'a [u8]) -> Fields<'a> {
        let mut pairs = SmallVec::new();
        let mut rest = encoded;
        while !rest.is_empty() {
            let (pair, behind) = cut(rest, b'&');
            if !pair.is_empty() {
                let (name, value) = cut(pair, b'=');
                pairs.push((decode(name), decode(value)));
            }
            rest = behind;
        }
        Fields { pairs }
    }

    /// The first value of that name; empty if there is none, since nothing and an empty value mean the same everywhere.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Every value of that name.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

/// What stands before the first `byte`, and what behind it.
fn cut(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match memchr(byte, bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// A name or a value, without a copy if it stands there as it is. This is on a notification's way: form_urlencoded, which
/// grows its result byte by byte, took 7,300 of a notification's 24,600 instructions.
fn decode(encoded: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr2(b'%', b'+', encoded) else { return text(encoded) };
    let mut out = Vec::with_capacity(encoded.len());
    let (plain, mut rest) = encoded.split_at(first);
    out.extend_from_slice(plain);
    loop {
        match rest {
            [b'%', high, low, behind @ ..] if let (Some(high), Some(low)) = (digit(*high), digit(*low)) => {
                out.push(high << 4 | low);
                rest = behind;
            }
            [sign, behind @ ..] => {
                out.push(if *sign == b'+' { b' ' } else { b'%' });
                rest = behind;
            }
            [] => break,
        }
        // One letter of another script is several escapes in a row.
        if rest.first() != Some(&b'%') {
            let at = memchr2(b'%', b'+', rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the crate that browsers' standard is tried against decodes it, whatever it is.
    #[test]
    fn like_the_crate() {
        let pieces: [&[u8]; 14] = [
            b"a",
            b"=",
            b"&",
            b"+",
            b"%",
            b"%4",
            b"%41",
            b"%zz",
            b"%e4%b8%ad",
            b"%ff",
            b"\xff",
            "é".as_bytes(),
            b"",
            b"%00",
        ];
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..8 {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                text.extend_from_slice(pieces[(dice % 14) as usize]);
            }
            let expected: Vec<_> = form_urlencoded::parse(&text).collect();
            assert_eq!(Fields::parse(&text).pairs.as_slice(), expected, "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn decoding() {
        let fields = Fields::parse("a=1+2&a=3&b=%E4%B8%AD%zz&c&=x&d=%ff&e=a%3Db%26".as_bytes());
        assert_eq!(fields.get("a"), "1 2");
        assert_eq!(fields.all("a").collect::<Vec<_>>(), ["1 2", "3"]);
        assert_eq!(fields.get("b"), "中%zz");
        assert_eq!(fields.get("c"), "");
        assert_eq!(fields.get("d"), "\u{fffd}");
        assert_eq!(fields.get("e"), "a=b&");
        assert_eq!(fields.get("none"), "");
    }
}
