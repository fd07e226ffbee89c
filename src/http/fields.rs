//! Names and values of queries and forms: `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use smallvec::SmallVec;

/// Decoded pairs in the order in which they were sent.
///
/// `+` is decoded to a space. A `%` without two hexadecimal digits stays as it is. Bytes that are not UTF-8 become U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    pairs: SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]>,
}

impl<'a> Fields<'a> {
    /// Decodes a query or the body of a form. Any input is accepted; pairs without escapes borrow from it.
    pub fn parse(encoded: &'a [u8]) -> Fields<'a> {
        // UTF-8 is validated once: `&`, `=`, `%` and `+` are ASCII, so a part between two of them is UTF-8 if the whole is.
        let utf8 = core::str::from_utf8(encoded).ok();
        let mut escape = next_escape(encoded, 0);
        let mut part = |begin: usize, end: usize| {
            if escape < begin {
                escape = next_escape(encoded, begin);
            }
            match utf8 {
                _ if escape < end => decode(&encoded[begin..end], escape - begin),
                Some(text) => Cow::Borrowed(&text[begin..end]),
                None => String::from_utf8_lossy(&encoded[begin..end]),
            }
        };
        let (mut pairs, mut begin) = (SmallVec::new(), 0);
        while begin < encoded.len() {
            let end = memchr(b'&', &encoded[begin..]).map_or(encoded.len(), |at| begin + at);
            if begin < end {
                // Names are short: a byte loop finds the end faster than memchr.
                let name_end = encoded[begin..end].iter().position(|byte| *byte == b'=').map_or(end, |at| begin + at);
                let name = part(begin, name_end);
                pairs.push((name, part(end.min(name_end + 1), end)));
            }
            begin = end + 1;
        }
        Fields { pairs }
    }

    /// The first value of `name`. An absent field is an empty string, because relay does not distinguish the two.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The first value of `name`, or `None` if it is absent.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// All pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Every value of `name`.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Cow<'a, str>)> for Fields<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>>(pairs: I) -> Fields<'a> {
        Fields { pairs: pairs.into_iter().collect() }
    }
}

/// The position of the next `%` or `+` from `begin` on, or the length of `encoded`.
fn next_escape(encoded: &[u8], begin: usize) -> usize {
    memchr2(b'%', b'+', &encoded[begin..]).map_or(encoded.len(), |at| begin + at)
}

/// Decodes a name or value whose first `%` or `+` is at `first`.
///
/// form_urlencoded grows its result byte by byte: with it, a notification would take 16,900 instructions instead of
/// 11,100.
fn decode(encoded: &[u8], first: usize) -> Cow<'_, str> {
    let mut out = Vec::with_capacity(encoded.len());
    let (plain, mut rest) = encoded.split_at(first);
    out.extend_from_slice(plain);
    while let [byte, behind @ ..] = rest {
        match escaped(rest) {
            Some(decoded) => {
                out.push(decoded);
                rest = &rest[3..];
            }
            None => {
                out.push(if *byte == b'+' { b' ' } else { b'%' });
                rest = behind;
            }
        }
        // A character that is not ASCII is several escapes in a row.
        if rest.first() != Some(&b'%') {
            let at = next_escape(rest, 0);
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}

/// The byte that `rest` begins with, if that is `%` and two hexadecimal digits.
fn escaped(rest: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = rest else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? << 4 | digit(*low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random input is decoded exactly as form_urlencoded does.
    #[test]
    fn decodes_as_form_urlencoded_does() {
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
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..8 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text.extend_from_slice(pieces[(random % 14) as usize]);
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
